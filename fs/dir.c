#include "fs/dir.h"

#include "fs/attr.h"
#include "fs/control/control.h"
#include "fs/file.h"
#include "fs/lookup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <utlist.h>

enum { DOTS = 2, PAGE_ENTRIES = 1024 };

/* An entry that a scan found, kept until the scan's transaction has ended. */
struct found {
    union {
        struct kv_meta meta; /* in a namespace */
        struct kv_node node; /* elsewhere */
    };
    size_t size;
    char name[KV_KEY_MAX + 1];
};

/* The names of the central that one answer gave, one after the other, each with its NUL. */
struct given {
    off_t first; /* the offset before them */
    off_t count;
    size_t size, capacity;
    char *names;
};

struct fs_dir {
    struct fs_inode *inode;
    struct fs_dir *prev, *next; /* in fs->nodes->dirs; fs->nodes->lock */
    pthread_mutex_t lock;       /* one handle may be shared by threads */
    off_t offset;               /* behind the last entry given */
    size_t last_size;           /* the last name of the central that was given; 0: none yet */
    char last[KV_KEY_MAX + 1];
    struct given given[2]; /* by this answer, or the last one; by the one before */
    size_t locals_count;   /* names known to this node only, as of offset 0; sorted */
    char (*locals)[KV_KEY_MAX + 1];
};

/* The answer that is being filled. */
struct answer {
    fuse_req_t req;
    char *at;
    size_t left;
    bool plus;
};

/* --------------------------------------------------------- names of this node only */

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

static void locals_free(struct fs_dir *dir)
{
    free(dir->locals);
    dir->locals = NULL;
    dir->locals_count = 0;
}

static bool is_in(const struct fs_dir *dir, const struct fs_body *body)
{
    return body->inode->current && body->inode->name->node == dir->inode->id;
}

/* Read again which keys of the namespace were created here and are not in the central yet. */
static int locals_load(struct fs *fs, struct fs_dir *dir)
{
    struct fs_body *body;
    size_t count = 0;
    int rc = 0;

    locals_free(dir);
    pthread_mutex_lock(&fs->nodes->lock);
    DL_FOREACH(fs->nodes->locals, body)
        count += is_in(dir, body);
    if (count > 0) {
        dir->locals = malloc(count * sizeof(*dir->locals));
        if (dir->locals == NULL)
            rc = -ENOMEM;
    }
    if (dir->locals != NULL)
        DL_FOREACH(fs->nodes->locals, body)
            if (is_in(dir, body))
                memcpy(dir->locals[dir->locals_count++], body->inode->name->key, body->inode->name_size + 1);
    pthread_mutex_unlock(&fs->nodes->lock);
    if (dir->locals_count > 0)
        qsort(dir->locals, dir->locals_count, sizeof(*dir->locals), by_name);
    return rc;
}

static bool is_local(const struct fs_dir *dir, const char *name)
{
    return dir->locals_count > 0 &&
           bsearch(name, dir->locals, dir->locals_count, sizeof(*dir->locals), by_name) != NULL;
}

/* ------------------------------------------------------------------------ answering */

/* Add one entry. returns 0; 1 where it does not fit */
static int add(struct answer *answer, const char *name, struct fuse_entry_param *entry, off_t next)
{
    size_t size = answer->plus
                      ? fuse_add_direntry_plus(answer->req, answer->at, answer->left, name, entry, next)
                      : fuse_add_direntry(answer->req, answer->at, answer->left, name, &entry->attr, next);

    if (size > answer->left)
        return 1;
    answer->at += size;
    answer->left -= size;
    return 0;
}

static size_t entry_size(const struct answer *answer, const char *name)
{
    return answer->plus ? fuse_add_direntry_plus(answer->req, NULL, 0, name, NULL, 0)
                        : fuse_add_direntry(answer->req, NULL, 0, name, NULL, 0);
}

static void forget_entry(struct fs *fs, const struct fuse_entry_param *entry)
{
    if (entry->ino != 0)
        fs_inode_forget(fs, fs_inode_of(fs, entry->ino), 1);
}

/* Add "." or "..": the kernel looks neither up. */
static int add_dot(struct fs_dir *dir, struct answer *answer)
{
    struct fs_inode *inode = dir->offset == 0 || dir->inode->parent == NULL ? dir->inode : dir->inode->parent;
    struct fuse_entry_param entry = {.attr = {.st_ino = inode->id, .st_mode = S_IFDIR}};

    return add(answer, dir->offset == 0 ? "." : "..", &entry, dir->offset + 1);
}

/* Add an entry that was looked up. returns 0; 1 full; and an entry that is gone is left out */
static int add_found(struct fs *fs, struct fs_dir *dir, struct answer *answer, const char *name,
                     struct fuse_entry_param *entry, int rc)
{
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    rc = add(answer, name, entry, dir->offset + 1);
    if (rc != 0 || !answer->plus)
        forget_entry(fs, entry);
    return rc;
}

static int read_local(struct fs *fs, struct fs_dir *dir, struct answer *answer)
{
    const char *name = dir->locals[dir->offset - DOTS];
    struct fuse_entry_param entry = {0};

    return add_found(fs, dir, answer, name, &entry, fs_lookup(fs, dir->inode, name, &entry));
}

/* ------------------------------------------------------------------ the central's names */

struct page {
    const struct fs_dir *dir;
    const struct answer *answer;
    size_t room; /* bytes left for entries */
    size_t count;
    struct found *entries;
};

/* returns 0 to go on; 1: the answer is full */
static int page_add(struct page *page, const char *name, size_t size, const struct kv_meta *meta,
                    const struct kv_node *node)
{
    struct found *found = &page->entries[page->count];
    size_t needed = entry_size(page->answer, name);

    if (needed > page->room || page->count == PAGE_ENTRIES)
        return 1;
    page->room -= needed;
    if (meta != NULL)
        found->meta = *meta;
    if (node != NULL)
        found->node = *node;
    found->size = size;
    memcpy(found->name, name, size + 1);
    page->count++;
    return 0;
}

static int page_key(void *arg, const char *key, size_t size, const struct kv_meta *meta)
{
    struct page *page = arg;

    return is_local(page->dir, key) ? 0 : page_add(page, key, size, meta, NULL);
}

static int page_node(void *arg, const struct kv_node *node)
{
    /* ".projects" is there in every account, and shown while it holds a project. */
    if (node->kind == KV_PROJECTS && node->children == 0)
        return 0;
    return page_add(arg, node->name, strlen(node->name), NULL, node);
}

/* The attributes of a found entry. Once this node has changed anything since the scan, keys are looked up anew. */
static int resolve(struct fs *fs, struct fs_dir *dir, const struct found *found, bool unchanged, bool plus,
                   struct fuse_entry_param *entry)
{
    if (dir->inode->node_kind != KV_NAMESPACE) {
        if (plus)
            return fs_lookup_node(fs, dir->inode, &found->node, entry);
        fs_attr_of_node(fs, &found->node, &entry->attr);
        return 0;
    }
    if (plus)
        return unchanged ? fs_lookup_listed_key(fs, dir->inode, found->name, found->size, &found->meta, entry)
                         : fs_lookup(fs, dir->inode, found->name, entry);
    fs_attr_of_key(&found->meta, &entry->attr);
    return 0;
}

/* Another answer begins. */
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

/* Go to an offset right behind a name that is remembered. returns whether it is */
static bool given_seek(struct fs_dir *dir, off_t offset)
{
    for (size_t i = 0; i < 2; i++) {
        const struct given *given = &dir->given[i];
        const char *name = given->names;

        if (offset <= given->first || offset > given->first + given->count)
            continue;
        for (off_t at = given->first + 1; at < offset; at++)
            name += strlen(name) + 1;
        dir->last_size = strlen(name);
        memcpy(dir->last, name, dir->last_size + 1);
        dir->offset = offset;
        return true;
    }
    return false;
}

/* Give what a page found. returns 0 to go on; 1 the answer is full; or why an entry could not be given */
static int give_page(struct fs *fs, struct fs_dir *dir, struct answer *answer, const struct page *page,
                     uint64_t changes)
{
    for (size_t i = 0; i < page->count; i++) {
        const struct found *found = &page->entries[i];
        struct fuse_entry_param entry = {0};
        int rc = resolve(fs, dir, found, atomic_load(&fs->nodes->changes) == changes, answer->plus, &entry);

        rc = answer->plus ? add_found(fs, dir, answer, found->name, &entry, rc)
                          : add(answer, found->name, &entry, dir->offset + 1);
        if (rc != 0)
            return rc;
        given_add(dir, found->name, found->size);
        dir->offset++;
        memcpy(dir->last, found->name, found->size + 1);
        dir->last_size = found->size;
    }
    return 0;
}

/* Find a page of names behind the last one, and give them. returns as give_page() */
static int read_page(struct fs *fs, struct fs_dir *dir, struct answer *answer, struct page *page)
{
    uint64_t changes = atomic_load(&fs->nodes->changes);
    uint64_t id = dir->inode->id;
    bool after = dir->last_size > 0;
    int rc;

    page->room = answer->left;
    page->count = 0;
    rc = dir->inode->node_kind == KV_NAMESPACE
             ? kv_scan(fs->store, id, dir->last, dir->last_size, after, page_key, page)
             : kv_node_scan(fs->store, id, dir->last, dir->last_size, after, page_node, page);
    /* What was found before a failure is given first. The next answer begins behind it, and fails. */
    return rc < 0 && page->count == 0 ? rc : give_page(fs, dir, answer, page, changes);
}

/* Usually one page. An answer without entries would be the end: where all that a page found are gone by now, go on. */
static int read_central(struct fs *fs, struct fs_dir *dir, struct answer *answer)
{
    struct page page = {.dir = dir, .answer = answer};
    size_t left = answer->left;
    int rc;

    page.entries = malloc(PAGE_ENTRIES * sizeof(*page.entries));
    if (page.entries == NULL)
        return -ENOMEM;
    given_begin(dir);
    do {
        rc = read_page(fs, dir, answer, &page);
    } while (rc == 0 && page.count > 0 && answer->left == left);
    free(page.entries);
    return rc < 0 ? rc : 0;
}

static int read_control(struct fs_dir *dir, struct answer *answer)
{
    struct fuse_entry_param entry = {.attr = {.st_mode = S_IFREG}};
    const char *name;

    while ((name = fs_control_name((size_t)dir->offset - DOTS, &entry.attr.st_ino)) != NULL) {
        if (add(answer, name, &entry, dir->offset + 1) != 0)
            break;
        dir->offset++;
    }
    return 0;
}

/* -------------------------------------------------------------------------- positions */

static int rewind_to_start(struct fs *fs, struct fs_dir *dir)
{
    dir->offset = 0;
    dir->last_size = 0;
    dir->given[0].count = dir->given[1].count = 0;
    return locals_load(fs, dir);
}

struct seek {
    struct fs_dir *dir;
    off_t offset;
};

static int seek_name(struct seek *seek, const char *name, size_t size)
{
    if (seek->dir->offset >= seek->offset)
        return 1;
    seek->dir->offset++;
    memcpy(seek->dir->last, name, size + 1);
    seek->dir->last_size = size;
    return 0;
}

static int seek_key(void *arg, const char *key, size_t size, const struct kv_meta *meta)
{
    struct seek *seek = arg;

    (void)meta;
    return is_local(seek->dir, key) ? 0 : seek_name(seek, key, size);
}

static int seek_node(void *arg, const struct kv_node *node)
{
    if (node->kind == KV_PROJECTS && node->children == 0)
        return 0;
    return seek_name(arg, node->name, strlen(node->name));
}

/* Go to an offset that the last answer did not end with. */
static int seek_to(struct fs *fs, struct fs_dir *dir, off_t offset)
{
    struct seek seek = {dir, offset};
    off_t locals = DOTS + (off_t)dir->locals_count;
    int rc;

    if (offset == 0)
        return rewind_to_start(fs, dir);
    if (given_seek(dir, offset))
        return 0;
    dir->last_size = 0;
    dir->offset = offset < locals ? offset : locals;
    if (dir->offset == offset || dir->inode->kind != FS_NODE) {
        dir->offset = offset;
        return 0;
    }
    rc = dir->inode->node_kind == KV_NAMESPACE
             ? kv_scan(fs->store, dir->inode->id, "", 0, false, seek_key, &seek)
             : kv_node_scan(fs->store, dir->inode->id, "", 0, false, seek_node, &seek);
    return rc < 0 ? rc : 0;
}

int fs_dir_open(struct fs *fs, struct fs_inode *inode, struct fs_dir **out)
{
    struct fs_dir *dir = calloc(1, sizeof(*dir));
    int rc;

    if (dir == NULL)
        return -ENOMEM;
    dir->inode = inode;
    pthread_mutex_init(&dir->lock, NULL);
    pthread_mutex_lock(&fs->nodes->lock);
    DL_APPEND(fs->nodes->dirs, dir);
    pthread_mutex_unlock(&fs->nodes->lock);
    rc = rewind_to_start(fs, dir);
    if (rc < 0) {
        fs_dir_close(fs, dir);
        return rc;
    }
    *out = dir;
    return 0;
}

void fs_dirs_end(struct fs *fs)
{
    while (fs->nodes->dirs != NULL)
        fs_dir_close(fs, fs->nodes->dirs);
}

void fs_dir_close(struct fs *fs, struct fs_dir *dir)
{
    pthread_mutex_lock(&fs->nodes->lock);
    DL_DELETE(fs->nodes->dirs, dir);
    pthread_mutex_unlock(&fs->nodes->lock);
    locals_free(dir);
    for (size_t i = 0; i < 2; i++)
        free(dir->given[i].names);
    pthread_mutex_destroy(&dir->lock);
    free(dir);
}

/* Add entries until the answer is full or the directory ends. */
static int fill_answer(struct fs *fs, struct fs_dir *dir, struct answer *answer)
{
    off_t locals = DOTS + (off_t)dir->locals_count;

    while (dir->offset < locals) {
        int rc = dir->offset < DOTS ? add_dot(dir, answer) : read_local(fs, dir, answer);

        if (rc != 0)
            return rc < 0 ? rc : 0;
        dir->offset++;
    }
    return dir->inode->kind == FS_CONTROL_DIR ? read_control(dir, answer) : read_central(fs, dir, answer);
}

int fs_dir_read(struct fs *fs, struct fs_dir *dir, fuse_req_t req, char *buffer, size_t size, off_t offset,
                bool plus)
{
    struct answer answer = {req, buffer, size, plus};
    int rc = 0;

    pthread_mutex_lock(&dir->lock);
    if (offset != dir->offset)
        rc = seek_to(fs, dir, offset);
    if (rc == 0)
        rc = fill_answer(fs, dir, &answer);
    pthread_mutex_unlock(&dir->lock);
    if (rc < 0 && answer.left == size)
        return rc;
    return (int)(size - answer.left);
}
