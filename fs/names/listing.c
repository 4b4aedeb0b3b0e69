#include "fs/names/listing.h"

#include "fs/base/ledger.h"
#include "fs/control/control.h"
#include "fs/names/listing_internal.h"
#include "fs/nodes/push.h"
#include "fs/nodes/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum { DOTS = 2 };

/* The names that one answer gave, one after the other, each with its NUL. */
struct given {
    off_t first; /* the offset before them */
    off_t count;
    size_t size, capacity;
    char *names;
};

struct fs_dir {
    enum fs_handle_kind kind;
    struct fs_inode *inode;
    uid_t uid;
    struct fs_dir *prev, *next;
    pthread_mutex_t lock;      /* one handle may be shared by threads */
    off_t offset;              /* behind the last entry given */
    char last[KV_KEY_MAX + 1]; /* the last name given; "": none yet */
    struct given given[2];     /* by this answer, or the last one; by the one before */
};

static pthread_mutex_t dirs_lock = PTHREAD_MUTEX_INITIALIZER;
static struct fs_dir *dirs; /* of the process's only node */

/* ------------------------------------------------------------------------------ answering */

/* Add one entry.
 * returns  0; 1 where it does not fit */
static int answer_add(struct fs_dir_answer *answer, const char *name, const struct fuse_entry_param *entry,
                      off_t next)
{
    char *at = answer->bytes + answer->used;
    size_t left = answer->size - answer->used;
    size_t size = answer->plus ? fuse_add_direntry_plus(answer->req, at, left, name, entry, next)
                               : fuse_add_direntry(answer->req, at, left, name, &entry->attr, next);

    if (size > left)
        return 1;
    answer->used += size;
    return 0;
}

/* Make room to remember a reference that the kernel gets with an entry.
 * returns  0; -ENOMEM */
static int answer_reserve_id(struct fs_dir_answer *answer)
{
    size_t capacity = 2 * answer->ids_capacity + 64;
    uint64_t *ids;

    if (answer->ids_count == answer->ids_capacity) {
        ids = realloc(answer->ids, capacity * sizeof(*ids));
        if (ids == NULL)
            return -ENOMEM;
        answer->ids = ids;
        answer->ids_capacity = capacity;
    }
    return 0;
}

/* Add "." or "..": the kernel looks neither up. */
static int answer_add_dot(struct fs *fs, struct fs_dir *dir, struct fs_dir_answer *answer)
{
    struct fuse_entry_param entry = {.attr = {.st_ino = dir->inode->name->node, .st_mode = S_IFDIR}};
    char label[KV_NAME_MAX + 1];
    struct fs_inode *parent = dir->offset == 0 ? NULL : fs_inode_parent(fs, dir->inode, label);

    if (dir->inode->kind == FS_VIEW)
        entry.attr.st_ino = dir->offset == 0 ? fs_view_ino(dir->inode) : fs_view_ino_above(dir->inode);
    else if (parent != NULL)
        entry.attr.st_ino = parent->name->node;
    fs_inode_put(fs, parent);
    return answer_add(answer, dir->offset == 0 ? "." : "..", &entry, dir->offset + 1);
}

/* ------------------------------------------------------------------------ remembered places */

static void given_begin(struct fs_dir *dir)
{
    struct given oldest = dir->given[1];

    dir->given[1] = dir->given[0];
    dir->given[0] = oldest;
    dir->given[0].first = dir->offset;
    dir->given[0].count = 0;
    dir->given[0].size = 0;
}

/* Remember one more name of this answer. Without memory for it that place is found by counting. */
static void given_add(struct fs_dir *dir, const char *name, size_t size)
{
    struct given *given = &dir->given[0];

    if (given->capacity - given->size < size + 1) {
        size_t capacity = 2 * given->capacity + 4 * KV_KEY_MAX;
        char *names = realloc(given->names, capacity);

        if (names == NULL)
            return;
        given->names = names;
        given->capacity = capacity;
    }
    if (given->first + given->count != dir->offset)
        return; /* one before was not remembered */
    memcpy(given->names + given->size, name, size + 1);
    given->size += size + 1;
    given->count++;
}

/* Go to an offset right behind a name that is remembered.
 * returns  whether it is */
static bool given_seek(struct fs_dir *dir, off_t offset)
{
    for (size_t i = 0; i < 2; i++) {
        const struct given *given = &dir->given[i];
        const char *name = given->names;

        if (offset <= given->first || offset > given->first + given->count)
            continue;
        for (off_t at = given->first + 1; at < offset; at++)
            name += strlen(name) + 1;
        memcpy(dir->last, name, strlen(name) + 1);
        dir->offset = offset;
        return true;
    }
    return false;
}

/* ---------------------------------------------------------------------------------- names */

/* The attributes of a found entry, and with `plus` a reference of the kernel. */
static int dir_resolve(struct fs *fs, struct fs_dir *dir, const struct listing_entry *found, bool plus,
                       struct fuse_entry_param *entry)
{
    int rc;

    switch (found->kind) {
    case LISTING_KEY:
        if (plus)
            return fs_lookup_listed_key(fs, dir->inode, found->name, found->size, &found->meta, entry);
        fs_stat_of_key(&found->meta, &entry->attr);
        return 0;
    case LISTING_NODE:
        if (plus)
            return fs_lookup_node(fs, dir->inode, &found->node, entry);
        fs_stat_of_node(fs, &found->node, &entry->attr);
        return 0;
    case LISTING_LOCAL:
        break;
    }
    rc = fs_lookup_listed_key(fs, fs_view_namespace(dir->inode), found->name, found->size, NULL, entry);
    if (rc == 0 && !plus)
        fs_inode_forget(fs, entry->ino, 1);
    return rc;
}

/* Give one entry. One in a view comes alone: the kernel may know it for no time, and would look it up again anyway.
 * returns  0; 1 the answer is full; or why it could not be given */
static int dir_give(struct fs *fs, struct fs_dir *dir, const struct listing_entry *found,
                    struct fs_dir_answer *answer)
{
    bool known = answer->plus && dir->inode->kind != FS_VIEW;
    struct fuse_entry_param entry = {0};
    int rc = dir_resolve(fs, dir, found, known, &entry);

    if (rc == -ENOENT || rc == -ESTALE)
        return 0; /* it is gone by now */
    if (rc < 0)
        return rc;
    if (known) {
        fs_push_present(fs, answer->before, &entry);
        rc = answer_reserve_id(answer);
    }
    if (rc == 0)
        rc = answer_add(answer, found->name, &entry, dir->offset + 1);
    if (rc == 0 && known)
        answer->ids[answer->ids_count++] = entry.ino;
    else if (known)
        fs_inode_forget(fs, entry.ino, 1);
    if (rc != 0)
        return rc;
    given_add(dir, found->name, found->size);
    dir->offset++;
    return 0;
}

/* Give a page's entries; or, where answer is NULL, count them up to an offset. */
static int dir_give_page(struct fs *fs, struct fs_dir *dir, const struct listing_page *page, off_t until,
                         struct fs_dir_answer *answer)
{
    int rc = 0;

    for (size_t i = 0; i < page->count && rc == 0; i++) {
        const struct listing_entry *found = &page->entries[i];

        if (answer == NULL && dir->offset == until)
            return 1;
        if (answer == NULL)
            dir->offset++;
        else
            rc = dir_give(fs, dir, found, answer);
        if (rc == 0)
            memcpy(dir->last, found->name, found->size + 1);
    }
    return rc;
}

/* Read pages behind the last name. An answer without entries would be the end: where all that a page found are
 * gone by now, go on. What was found before a failure is given first; the next answer begins behind it, and fails.
 */
static int dir_read_names(struct fs *fs, struct fs_dir *dir, off_t until, struct fs_dir_answer *answer)
{
    struct listing_page page = {.room = answer != NULL ? answer->size - answer->used : SIZE_MAX};
    size_t used = answer != NULL ? answer->used : 0;
    int rc = listing_page_new(&page);

    while (rc == 0) {
        if (answer != NULL)
            answer->before = fs_push_before(fs);
        rc = listing_page_load(fs, dir->inode, dir->last, answer != NULL && answer->plus, &page);
        if (rc < 0 && page.count > 0)
            rc = 0;
        if (rc < 0 || page.count == 0)
            break;
        rc = dir_give_page(fs, dir, &page, until, answer);
        if (rc != 0 || (answer != NULL && answer->used > used))
            break;
    }
    listing_page_free(&page);
    return rc < 0 ? rc : 0;
}

static void dir_read_control(struct fs_dir *dir, struct fs_dir_answer *answer)
{
    struct fuse_entry_param entry = {.attr = {.st_mode = S_IFREG}};
    const char *name;

    while ((name = fs_control_name((size_t)dir->offset - DOTS, &entry.attr.st_ino)) != NULL &&
           answer_add(answer, name, &entry, dir->offset + 1) == 0)
        dir->offset++;
}

/* Go to an offset that the last answer did not end with. */
static int dir_seek(struct fs *fs, struct fs_dir *dir, off_t offset)
{
    if (offset > 0 && given_seek(dir, offset))
        return 0;
    dir->last[0] = '\0';
    dir->offset = offset < DOTS ? offset : DOTS;
    if (offset == 0)
        dir->given[0].count = dir->given[1].count = 0;
    if (offset <= DOTS)
        return 0;
    if (dir->inode->kind != FS_CONTROL_DIR)
        return dir_read_names(fs, dir, offset, NULL);
    dir->offset = offset;
    return 0;
}

int fs_dir_read(struct fs *fs, struct fs_dir *dir, off_t offset, struct fs_dir_answer *answer)
{
    int rc = 0;

    pthread_mutex_lock(&dir->lock);
    if (offset != dir->offset || offset == 0)
        rc = dir_seek(fs, dir, offset);
    while (rc == 0 && dir->offset < DOTS && answer_add_dot(fs, dir, answer) == 0)
        dir->offset++;
    if (rc == 0 && dir->offset >= DOTS && dir->inode->kind == FS_CONTROL_DIR) {
        dir_read_control(dir, answer);
    } else if (rc == 0 && dir->offset >= DOTS) {
        given_begin(dir);
        rc = dir_read_names(fs, dir, 0, answer);
    }
    pthread_mutex_unlock(&dir->lock);
    return rc < 0 && answer->used == 0 ? rc : 0;
}

/* -------------------------------------------------------------------------------- handles */

int fs_dir_open(struct fs *fs, struct fs_inode *inode, uid_t uid, struct fs_dir **out)
{
    bool lists = inode->kind == FS_NODE || inode->kind == FS_VIEW || inode->kind == FS_CONTROL_DIR;
    int rc = inode->kind == FS_GONE ? -ESTALE : !lists ? -ENOTDIR : fs_check_seen(fs, inode, NULL);
    struct fs_dir *dir;

    if (rc < 0)
        return rc;
    if (fs_ledger_charge(fs->users, uid, FS_HANDLES, 1, fs_limit_of(uid, FS_HANDLES_MAX)) < 0)
        return fs_because(-ENFILE, "a user may have 16384 files open on a node: close some");
    dir = calloc(1, sizeof(*dir));
    if (dir == NULL) {
        fs_ledger_release(fs->users, uid, FS_HANDLES, 1);
        return -ENOMEM;
    }
    dir->kind = FS_HANDLE_DIR;
    dir->inode = inode;
    dir->uid = uid;
    pthread_mutex_init(&dir->lock, NULL);
    pthread_mutex_lock(&dirs_lock);
    DL_APPEND(dirs, dir);
    pthread_mutex_unlock(&dirs_lock);
    *out = dir;
    return 0;
}

void fs_dir_close(struct fs *fs, struct fs_dir *dir)
{
    pthread_mutex_lock(&dirs_lock);
    DL_DELETE(dirs, dir);
    pthread_mutex_unlock(&dirs_lock);
    for (size_t i = 0; i < 2; i++)
        free(dir->given[i].names);
    pthread_mutex_destroy(&dir->lock);
    fs_ledger_release(fs->users, dir->uid, FS_HANDLES, 1);
    free(dir);
}

void fs_dirs_end(struct fs *fs)
{
    while (dirs != NULL)
        fs_dir_close(fs, dirs);
}
