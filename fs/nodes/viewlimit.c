/* How many views the kernel remembers.
 *
 * Views take no room in the store, and a program can ask for any number of them: of each the kernel keeps the name
 * until memory gets short, although it was told of it for no time, and so we keep the view. Beyond VIEWS_KEPT it is had
 * forget those that it was told of first. One that is in use stays, and comes to the end of the line: how many these
 * can be, the bound of open files says.
 *
 * That takes a thread of its own: before it answers a notification the kernel waits for the directory's lock, which a
 * request holds that waits for a handler. */
#include "fs/base/notify.h"
#include "fs/nodes/nodes_internal.h"
#include "fs/nodes/view.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

#define VIEWS_KEPT 4096
#define VIEWS_PAUSE_NS 1000000000 /* until what is forgotten is back, and so between two looks at what is in use */

void nodes_view_add(struct fs_nodes *nodes, struct fs_inode *view)
{
    DL_APPEND2(nodes->views, fs_node_of(view), view_prev, view_next);
    if (++nodes->view_count > VIEWS_KEPT)
        pthread_cond_signal(&nodes->views_change);
}

void nodes_view_remove(struct fs_nodes *nodes, struct fs_inode *view)
{
    DL_DELETE2(nodes->views, fs_node_of(view), view_prev, view_next);
    nodes->view_count--;
}

/* Have the kernel forget the view that it was told of first. The lock is let go meanwhile. */
static void viewlimit_forget_locked(struct fs *fs)
{
    struct fs_nodes *nodes = fs->nodes;
    struct fs_node *view = nodes->views;
    const struct fs_name *name = view->inode.name, *above;
    char text[KV_KEY_MAX + 1];
    size_t size;
    uint64_t id;

    DL_DELETE2(nodes->views, view, view_prev, view_next);
    DL_APPEND2(nodes->views, view, view_prev, view_next);
    if (fs_view_first(&view->inode) == NULL)
        return; /* `.prefix` or `.from` of a namespace, which is bounded */
    size = (size_t)snprintf(text, sizeof(text), "%s", fs_view_first(&view->inode));
    above = nodes_name_find(nodes, name->node, name->key, name->size - size - 1);
    id = above != NULL && above->current != NULL ? above->current->id : 0;
    pthread_mutex_unlock(&nodes->lock);
    if (id != 0)
        (void)fs_notify_entry(fs, id, text, size); /* fails where it has forgotten it by itself */
    pthread_mutex_lock(&nodes->lock);
}

static void *viewlimit_run(void *arg)
{
    struct fs *fs = arg;
    struct fs_nodes *nodes = fs->nodes;
    struct timespec until;

    pthread_mutex_lock(&nodes->lock);
    while (!nodes->views_stop) {
        if (nodes->view_count <= VIEWS_KEPT) {
            pthread_cond_wait(&nodes->views_change, &nodes->lock);
            continue;
        }
        for (unsigned left = nodes->view_count - VIEWS_KEPT; left > 0 && !nodes->views_stop; left--)
            viewlimit_forget_locked(fs);
        until = fs_after_ns(VIEWS_PAUSE_NS);
        while (!nodes->views_stop &&
               pthread_cond_clockwait(&nodes->views_change, &nodes->lock, CLOCK_MONOTONIC, &until) == 0)
            ;
    }
    pthread_mutex_unlock(&nodes->lock);
    return NULL;
}

int fs_viewlimit_start(struct fs *fs)
{
    return -pthread_create(&fs->nodes->views_thread, NULL, viewlimit_run, fs);
}

void fs_viewlimit_stop(struct fs *fs)
{
    pthread_mutex_lock(&fs->nodes->lock);
    fs->nodes->views_stop = true;
    pthread_cond_signal(&fs->nodes->views_change);
    pthread_mutex_unlock(&fs->nodes->lock);
    pthread_join(fs->nodes->views_thread, NULL);
}
