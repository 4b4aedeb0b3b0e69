#include "fs/notify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct notice {
    struct notice *next;
    fuse_ino_t parent;
    void (*then)(void *arg);
    void *arg;
    char name[KV_KEY_MAX + 1];
};

struct fs_notifier {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct notice *head, **tail;
    bool stopping;
};

static struct notice *take(struct fs_notifier *notifier)
{
    struct notice *notice;

    pthread_mutex_lock(&notifier->lock);
    while (notifier->head == NULL && !notifier->stopping)
        pthread_cond_wait(&notifier->work, &notifier->lock);
    notice = notifier->head;
    if (notice != NULL) {
        notifier->head = notice->next;
        if (notifier->head == NULL)
            notifier->tail = &notifier->head;
    }
    pthread_mutex_unlock(&notifier->lock);
    return notice;
}

static void *notify_all(void *arg)
{
    struct fs *fs = arg;
    struct notice *notice;

    while ((notice = take(fs->nodes->notifier)) != NULL) {
        fuse_lowlevel_notify_inval_entry(fs->session, notice->parent, notice->name, strlen(notice->name));
        notice->then(notice->arg);
        free(notice);
    }
    return NULL;
}

int fs_notifier_new(struct fs *fs)
{
    struct fs_notifier *notifier = calloc(1, sizeof(*notifier));
    int rc;

    if (notifier == NULL)
        return -ENOMEM;
    pthread_mutex_init(&notifier->lock, NULL);
    pthread_cond_init(&notifier->work, NULL);
    notifier->tail = &notifier->head;
    fs->nodes->notifier = notifier;
    rc = pthread_create(&notifier->thread, NULL, notify_all, fs);
    if (rc != 0) {
        free(notifier);
        fs->nodes->notifier = NULL;
    }
    return -rc;
}

void fs_notifier_free(struct fs *fs)
{
    struct fs_notifier *notifier = fs->nodes->notifier;

    pthread_mutex_lock(&notifier->lock);
    notifier->stopping = true;
    pthread_cond_signal(&notifier->work);
    pthread_mutex_unlock(&notifier->lock);
    pthread_join(notifier->thread, NULL);
    pthread_mutex_destroy(&notifier->lock);
    pthread_cond_destroy(&notifier->work);
    free(notifier);
    fs->nodes->notifier = NULL;
}

void fs_notify_entry(struct fs *fs, struct fs_inode *inode, const char *name, void (*then)(void *arg), void *arg)
{
    struct fs_notifier *notifier = fs->nodes->notifier;
    struct notice *notice = malloc(sizeof(*notice));

    if (notice == NULL) {
        then(arg);
        return;
    }
    *notice = (struct notice){.parent = fs_inode_parent_id(fs, inode), .then = then, .arg = arg};
    memcpy(notice->name, name, strnlen(name, KV_KEY_MAX));
    pthread_mutex_lock(&notifier->lock);
    *notifier->tail = notice;
    notifier->tail = &notice->next;
    pthread_cond_signal(&notifier->work);
    pthread_mutex_unlock(&notifier->lock);
}

void fs_notify_sizes(struct fs *fs, struct fs_inode *inode)
{
    fuse_ino_t ids[4];
    size_t count = 0;

    pthread_mutex_lock(&fs->nodes->lock);
    for (inode = inode->parent; inode != NULL && count < 4; inode = inode->parent)
        if (inode->has_attr) {
            inode->has_attr = false;
            ids[count++] = inode == fs->nodes->root ? FUSE_ROOT_ID : fs_inode_id(inode);
        }
    pthread_mutex_unlock(&fs->nodes->lock);
    for (size_t i = 0; i < count; i++)
        fuse_lowlevel_notify_inval_inode(fs->session, ids[i], -1, 0);
}
