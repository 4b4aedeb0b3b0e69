/* Random steps of several users on two nodes, and a reference in memory that says what each must answer: data, owners,
 * modes, attributes, locks and errors.
 *
 * One step is made at a time, by a process of the user on the node (tests/support/agent.h). With cache_ttl=0 a
 * node asks the store each time, so that every answer is determined; a node that caches is sure of its own changes, and
 * makes all the steps in a run of its own, while the other one only looks. Steps whose answer is left open are not made:
 * of a node, at most one handle is open to a name.
 *
 * Environment: KVFS_TEST_STEPS (4000), KVFS_TEST_SEED (chosen at random, and printed). */
#include "tests/support/agent.h"
#include "tests/support/reference.h"
#include "tests/support/setting.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STEPS = 4000, HANDLES = 3, LOCKS = 2, LOOK_EVERY = 100, TEXTS = 30, SOON_MS = 10000, LOOK_MS = 2 };

/* A user's process on a node, and the descriptors of its handles in the reference. */
struct actor {
    struct agent agent;
    unsigned user, node;
    struct ref_handle handles[HANDLES];
    int lock_fds[LOCKS], locks[LOCKS]; /* LOCK_SH, LOCK_EX or LOCK_UN */
};

struct model {
    struct mount_test *test;
    struct reference reference;
    struct actor actors[REF_NODES * REF_USERS]; /* the first of each node is root's */
    unsigned acting;                            /* the first so many make steps */
    struct test_random random;
    uint64_t steps;
    char texts[TEXTS][200]; /* of the last steps */
};

/* ---------------------------------------------------------------------------- telling */

__attribute__((format(printf, 3, 4))) static void note(struct model *m, const struct actor *who,
                                                       const char *format, ...)
{
    char *text = m->texts[m->steps++ % TEXTS];
    int size = snprintf(text, sizeof(m->texts[0]), "%u on %c: ", ref_users[who->user].uid, 'A' + (char)who->node);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text + size, sizeof(m->texts[0]) - (size_t)size, format, arguments);
    va_end(arguments);
}

__attribute__((noreturn, format(printf, 2, 3))) static void differ(struct model *m, const char *format, ...)
{
    va_list arguments;

    for (uint64_t i = m->steps > TEXTS ? m->steps - TEXTS : 0; i < m->steps; i++)
        printf("    %s\n", m->texts[i % TEXTS]);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    fail();
    abort();
}

/* wanted: an errno, or 0 for success */
static void expect(struct model *m, long result, int wanted)
{
    int got = result < 0 ? errno : 0;

    if (got != wanted)
        differ(m, "step %" PRIu64 ": %s, not %s", m->steps, got == 0 ? "success" : strerrorname_np(got),
               wanted == 0 ? "success" : strerrorname_np(wanted));
}

/* -------------------------------------------------------------------------- choosing */

static unsigned below(struct model *m, unsigned n) { return (unsigned)test_random_below(&m->random, n); }

static struct ref_place choose_place(struct model *m)
{
    return (struct ref_place){below(m, REF_DIRS), below(m, REF_KEYS)};
}

static mode_t choose_mode(struct model *m)
{
    static const mode_t modes[] = {0600, 0644, 0666, 0640, 0660, 0400, 0000, 0606, 0200, 0066};

    return modes[below(m, sizeof(modes) / sizeof(*modes))];
}

static mode_t choose_dir_mode(struct model *m)
{
    static const mode_t modes[] = {0777, 0777, 01777, 01777, 0700, 0755, 0770, 0733, 0711};

    return modes[below(m, sizeof(modes) / sizeof(*modes))];
}

static const char *path_of(struct actor *who, struct ref_place at)
{
    return agent_text(&who->agent, mount_path(&who->agent.test->nodes[who->node], "a/d%u/k%u", at.dir, at.key));
}

static const char *dir_path_of(struct actor *who, unsigned dir)
{
    return agent_text(&who->agent, mount_path(&who->agent.test->nodes[who->node], "a/d%u", dir));
}

static struct actor *root_of(struct model *m, unsigned node) { return &m->actors[node * REF_USERS]; }

/* The handle that a node has open to a name. */
static struct ref_handle *held(struct model *m, unsigned node, struct ref_place at)
{
    for (unsigned i = 0; i < REF_USERS; i++)
        for (int k = 0; k < HANDLES; k++) {
            struct ref_handle *h = &m->actors[node * REF_USERS + i].handles[k];

            if (h->fd >= 0 && !h->displaced && h->at.dir == at.dir && h->at.key == at.key)
                return h;
        }
    return NULL;
}

/* Nothing that another node did since the open makes the node's answer about the name an open question. */
static bool steady(struct model *m, unsigned node, struct ref_place at)
{
    const struct ref_handle *h = held(m, node, at);

    return h == NULL || h->is_new || ref_is_newest(&m->reference, h);
}

static struct ref_handle *held_elsewhere(struct model *m, unsigned node, struct ref_place at)
{
    return held(m, 1 - node, at);
}

/* A key as it is on the node. */
static struct ref_key view(struct model *m, unsigned node, struct ref_place at)
{
    return ref_view(&m->reference, at, held(m, node, at));
}

/* Nobody changes the value, so that everybody knows the same attributes. */
static bool unwritten(struct model *m, unsigned node, struct ref_place at)
{
    const struct ref_handle *here = held(m, node, at), *there = held_elsewhere(m, node, at);

    return (here == NULL || here->flags == O_RDONLY) && (there == NULL || there->flags == O_RDONLY) &&
           steady(m, node, at);
}

/* --------------------------------------------------------------------------- handles */

/* What a put may make of the attribute is not said: look. */
static void adopt_mark(struct model *m, struct ref_key *key, struct ref_place at)
{
    struct actor *root = root_of(m, 1);
    const char *path = path_of(root, at);
    long size = AGENT(&root->agent, SYS_getxattr, (long)path, (long)agent_text(&root->agent, "user.mark"),
                      (long)root->agent.bytes, REF_MARK);

    memset(key->mark, 0, REF_MARK);
    memcpy(key->mark, root->agent.bytes, size > 0 ? (size_t)size : 0);
}

/* The reference's put, after the mount's. */
static void publish(struct model *m, struct ref_handle *h, long result)
{
    bool adopts;
    int wanted = ref_publish(&m->reference, h, &adopts);

    expect(m, result, wanted);
    if (wanted == 0 && adopts)
        adopt_mark(m, ref_key(&m->reference, h->at), h->at);
}

/* returns  the handle, or NULL where the open must fail; *skipped: it was not made */
static struct ref_handle *do_open(struct model *m, struct actor *who, struct ref_place at, int flags,
                                  bool *skipped)
{
    const struct ref_handle *there = held_elsewhere(m, who->node, at);
    struct ref_handle *h = NULL;
    mode_t mode = choose_mode(m);
    int wanted, fd;

    for (int i = 0; i < HANDLES && h == NULL; i++)
        h = who->handles[i].fd < 0 ? &who->handles[i] : NULL;
    *skipped = h == NULL || held(m, who->node, at) != NULL || (there != NULL && there->is_new);
    if (*skipped)
        return NULL;
    if ((flags & O_EXCL) == 0 && ref_key(&m->reference, at)->attr.there &&
        (m->reference.dirs[at.dir].attr.mode & 01000))
        flags &= ~O_CREAT; /* fs.protected_regular */
    wanted = ref_open(&m->reference, who->user, at, flags);
    note(m, who, "open d%u/k%u%s%s%s%s%s mode %o", at.dir, at.key,
         (flags & O_ACCMODE) == O_RDONLY   ? " reading"
         : (flags & O_ACCMODE) == O_WRONLY ? " writing"
                                           : "",
         flags & O_CREAT ? " create" : "", flags & O_EXCL ? " excl" : "", flags & O_TRUNC ? " trunc" : "",
         flags & O_APPEND ? " append" : "", mode);
    fd = agent_open(&who->agent, mount_path(&m->test->nodes[who->node], "a/d%u/k%u", at.dir, at.key), flags, mode);
    expect(m, fd, wanted);
    if (wanted != 0)
        return NULL;
    *h = ref_handle_new(&m->reference, who->user, at, flags, mode);
    h->fd = fd;
    return h;
}

static bool do_write(struct model *m, struct actor *who, struct ref_handle *h)
{
    size_t size = below(m, 40) + 1;

    if ((h->flags & O_ACCMODE) == O_RDONLY || h->position + size > REF_DATA || h->size + size > REF_DATA)
        return false;
    test_random_fill(&m->random, who->agent.bytes, size);
    note(m, who, "write %zu bytes to d%u/k%u%s", size, h->at.dir, h->at.key, h->displaced ? " (displaced)" : "");
    expect(m, AGENT(&who->agent, SYS_write, h->fd, (long)who->agent.bytes, (long)size) == (long)size ? 0 : -1, 0);
    ref_write(h, who->agent.bytes, size);
    return true;
}

static void do_sync(struct model *m, struct actor *who, struct ref_handle *h)
{
    note(m, who, "fsync d%u/k%u", h->at.dir, h->at.key);
    publish(m, h, AGENT(&who->agent, SYS_fsync, h->fd));
}

/* What was only created or emptied is put right after the close. */
static void await(struct model *m, const struct ref_handle *h, unsigned node)
{
    struct actor *root = root_of(m, 1 - node);
    struct stat *attr = (struct stat *)root->agent.bytes;
    int64_t end_ms = mount_now_ms() + SOON_MS;

    while (AGENT(&root->agent, SYS_newfstatat, AT_FDCWD, (long)path_of(root, h->at), (long)attr, 0) < 0 ||
           attr->st_size != 0) {
        if (mount_now_ms() > end_ms)
            differ(m, "what was created or emptied is not put after the close");
        mount_pause_ms(LOOK_MS);
    }
}

static void do_close(struct model *m, struct actor *who, struct ref_handle *h)
{
    bool waits = !h->displaced && !h->wrote && (h->is_new || h->emptied);

    if (waits && !(h->is_new || (ref_is_newest(&m->reference, h) && ref_key(&m->reference, h->at)->size > 0 &&
                                 below(m, 2) == 0))) {
        do_sync(m, who, h);
        waits = false;
    }
    note(m, who, "close d%u/k%u%s", h->at.dir, h->at.key, h->displaced ? " (displaced)" : "");
    publish(m, h, agent_close(&who->agent, h->fd));
    h->fd = -1;
    if (waits)
        await(m, h, who->node);
}

/* ------------------------------------------------------------------------------ steps */

/* Each returns false where it was not made. */
typedef bool step(struct model *m, struct actor *who);

static struct ref_handle *choose_handle(struct model *m, struct actor *who)
{
    struct ref_handle *h = &who->handles[below(m, HANDLES)];

    return h->fd >= 0 ? h : NULL;
}

static bool step_open(struct model *m, struct actor *who)
{
    static const int flags[] = {O_RDONLY,
                                O_RDWR,
                                O_WRONLY,
                                O_RDWR | O_CREAT,
                                O_WRONLY | O_CREAT | O_EXCL,
                                O_RDWR | O_CREAT | O_TRUNC,
                                O_WRONLY | O_TRUNC,
                                O_WRONLY | O_APPEND,
                                O_RDWR | O_CREAT | O_APPEND};
    bool skipped;

    (void)do_open(m, who, choose_place(m), flags[below(m, sizeof(flags) / sizeof(*flags))], &skipped);
    return !skipped;
}

static bool step_write(struct model *m, struct actor *who)
{
    struct ref_handle *h = choose_handle(m, who);

    return h != NULL && do_write(m, who, h);
}

static bool step_read(struct model *m, struct actor *who)
{
    struct ref_handle *h = choose_handle(m, who);
    long size;

    if (h == NULL || (h->flags & O_ACCMODE) == O_WRONLY)
        return false;
    note(m, who, "read d%u/k%u%s", h->at.dir, h->at.key, h->displaced ? " (displaced)" : "");
    size = AGENT(&who->agent, SYS_pread64, h->fd, (long)who->agent.bytes, REF_DATA, 0);
    if (size != (long)h->size || memcmp(who->agent.bytes, h->data, h->size) != 0)
        differ(m, "read %ld bytes, not the %zu of the handle", size, h->size);
    return true;
}

static bool step_ftruncate(struct model *m, struct actor *who)
{
    struct ref_handle *h = choose_handle(m, who);
    size_t size = below(m, 100);

    if (h == NULL || (h->flags & O_ACCMODE) == O_RDONLY)
        return false;
    note(m, who, "ftruncate d%u/k%u to %zu", h->at.dir, h->at.key, size);
    expect(m, AGENT(&who->agent, SYS_ftruncate, h->fd, (long)size), 0);
    ref_resize(h, size);
    return true;
}

static bool step_fsync(struct model *m, struct actor *who)
{
    struct ref_handle *h = choose_handle(m, who);

    if (h == NULL || !(h->displaced || h->is_new || ref_is_newest(&m->reference, h)))
        return false;
    do_sync(m, who, h);
    return true;
}

static bool step_close(struct model *m, struct actor *who)
{
    struct ref_handle *h = choose_handle(m, who);

    if (h != NULL)
        do_close(m, who, h);
    return h != NULL;
}

static bool step_put(struct model *m, struct actor *who)
{
    bool skipped;
    struct ref_handle *h = do_open(m, who, choose_place(m), O_WRONLY | O_CREAT | O_TRUNC, &skipped);

    if (h == NULL)
        return !skipped;
    (void)do_write(m, who, h);
    do_close(m, who, h);
    return true;
}

/* Open, read and close. */
static bool get(struct model *m, struct actor *who, struct ref_place at)
{
    struct ref_key key = view(m, who->node, at);
    int wanted = ref_access(&m->reference, who->user, at, &key, 4), fd;
    long size;

    if (!steady(m, who->node, at))
        return false;
    note(m, who, "get d%u/k%u", at.dir, at.key);
    fd = agent_open(&who->agent, mount_path(&m->test->nodes[who->node], "a/d%u/k%u", at.dir, at.key), O_RDONLY, 0);
    expect(m, fd, wanted);
    if (wanted != 0)
        return true;
    size = AGENT(&who->agent, SYS_read, fd, (long)who->agent.bytes, AGENT_BYTES);
    if (size != (long)key.size || memcmp(who->agent.bytes, key.data, key.size) != 0)
        differ(m, "read %ld bytes, not the %zu that are there", size, key.size);
    expect(m, agent_close(&who->agent, fd), 0);
    return true;
}

static bool step_get(struct model *m, struct actor *who) { return get(m, who, choose_place(m)); }

static bool look(struct model *m, struct actor *who, struct ref_place at)
{
    struct stat *attr = (struct stat *)who->agent.bytes;
    struct ref_key key = view(m, who->node, at);
    int wanted = ref_access(&m->reference, who->user, at, &key, 0);

    if (!steady(m, who->node, at))
        return false;
    note(m, who, "stat d%u/k%u", at.dir, at.key);
    expect(m, AGENT(&who->agent, SYS_newfstatat, AT_FDCWD, (long)path_of(who, at), (long)attr, 0), wanted);
    if (wanted == 0 && (attr->st_uid != key.attr.uid || attr->st_gid != key.attr.gid ||
                        attr->st_mode != (S_IFREG | key.attr.mode) || attr->st_size != (off_t)key.size))
        differ(m, "%u:%u %o %ld bytes, not %u:%u %o %zu", attr->st_uid, attr->st_gid, attr->st_mode & 07777,
               (long)attr->st_size, key.attr.uid, key.attr.gid, key.attr.mode, key.size);
    return true;
}

static bool step_stat(struct model *m, struct actor *who) { return look(m, who, choose_place(m)); }

static void displace(struct model *m, unsigned node, struct ref_place at)
{
    struct ref_handle *h = held(m, node, at);

    if (h != NULL)
        h->displaced = true;
}

static bool step_unlink(struct model *m, struct actor *who)
{
    struct ref_place at = choose_place(m);
    struct ref_key key = view(m, who->node, at);
    int wanted = ref_unlink(&m->reference, who->user, at, &key);

    if (!steady(m, who->node, at))
        return false;
    note(m, who, "unlink d%u/k%u", at.dir, at.key);
    expect(m, AGENT(&who->agent, SYS_unlinkat, AT_FDCWD, (long)path_of(who, at), 0), wanted);
    if (wanted == 0) {
        displace(m, who->node, at);
        ref_key(&m->reference, at)->attr.there = false;
    }
    return true;
}

/* What a rename puts first: its own node's unsaved bytes. */
static bool may_be_renamed(struct model *m, unsigned node, struct ref_place at)
{
    const struct ref_handle *h = held(m, node, at);

    return held_elsewhere(m, node, at) == NULL && steady(m, node, at) && (h == NULL || !h->emptied);
}

static void put_first(struct model *m, struct ref_handle *h)
{
    bool adopts;

    if (h != NULL)
        (void)ref_publish(&m->reference, h, &adopts);
}

static bool step_rename(struct model *m, struct actor *who)
{
    static const unsigned kinds[] = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    struct ref_place from = choose_place(m), to = choose_place(m);
    struct ref_key from_key = view(m, who->node, from), to_key = view(m, who->node, to), *a, *b;
    struct ref_handle *ha = held(m, who->node, from), *hb = held(m, who->node, to);
    unsigned flags = kinds[below(m, 4)];
    int wanted;

    if ((from.dir == to.dir && from.key == to.key) || !may_be_renamed(m, who->node, from) ||
        !may_be_renamed(m, who->node, to))
        return false;
    wanted = ref_rename(&m->reference, who->user, from, &from_key, to, &to_key, flags);
    note(m, who, "rename d%u/k%u d%u/k%u flags %u", from.dir, from.key, to.dir, to.key, flags);
    expect(m,
           AGENT(&who->agent, SYS_renameat2, AT_FDCWD, (long)path_of(who, from), AT_FDCWD, (long)path_of(who, to),
                 flags),
           wanted);
    if (wanted != 0)
        return true;
    put_first(m, ha);
    a = ref_key(&m->reference, from);
    b = ref_key(&m->reference, to);
    if (flags & RENAME_EXCHANGE)
        put_first(m, hb);
    else
        displace(m, who->node, to);
    from_key = *a;
    *a = *b;
    *b = from_key;
    if (!(flags & RENAME_EXCHANGE))
        a->attr.there = false;
    if (ha != NULL)
        ha->at = to;
    if (hb != NULL && !hb->displaced)
        hb->at = from;
    return true;
}

static bool step_chmod(struct model *m, struct actor *who)
{
    struct ref_place at = choose_place(m);
    struct ref_key key = view(m, who->node, at);
    int wanted = ref_own(&m->reference, who->user, at, &key);
    mode_t mode = choose_mode(m);

    if (!unwritten(m, who->node, at))
        return false;
    note(m, who, "chmod %o d%u/k%u", mode, at.dir, at.key);
    expect(m, AGENT(&who->agent, SYS_fchmodat, AT_FDCWD, (long)path_of(who, at), mode), wanted);
    if (wanted == 0)
        ref_key(&m->reference, at)->attr.mode = mode;
    return true;
}

static bool step_chown(struct model *m, struct actor *who)
{
    struct ref_place at = choose_place(m);
    struct ref_key key = view(m, who->node, at);
    uid_t uid = ref_users[below(m, REF_USERS)].uid;
    gid_t gid = below(m, 2) == 0 ? REF_GROUP : ref_users[below(m, REF_USERS)].uid;
    int wanted = ref_chown(&m->reference, who->user, at, &key, uid, gid);

    if (!unwritten(m, who->node, at))
        return false;
    note(m, who, "chown %u:%u d%u/k%u", uid, gid, at.dir, at.key);
    expect(m, AGENT(&who->agent, SYS_fchownat, AT_FDCWD, (long)path_of(who, at), uid, gid, 0), wanted);
    if (wanted == 0) {
        ref_key(&m->reference, at)->attr.uid = uid;
        ref_key(&m->reference, at)->attr.gid = gid;
    }
    return true;
}

static bool step_setxattr(struct model *m, struct actor *who)
{
    struct ref_place at = choose_place(m);
    struct ref_key key = view(m, who->node, at);
    int wanted = ref_access(&m->reference, who->user, at, &key, 2);
    size_t size;

    if (!unwritten(m, who->node, at))
        return false;
    snprintf(key.mark, sizeof(key.mark), "mark %u", below(m, 1000));
    size = strlen(key.mark);
    note(m, who, "setxattr d%u/k%u '%s'", at.dir, at.key, key.mark);
    memcpy(who->agent.bytes, key.mark, size);
    expect(m,
           AGENT(&who->agent, SYS_setxattr, (long)path_of(who, at), (long)agent_text(&who->agent, "user.mark"),
                 (long)who->agent.bytes, (long)size, 0),
           wanted);
    if (wanted == 0)
        memcpy(ref_key(&m->reference, at)->mark, key.mark, sizeof(key.mark));
    return true;
}

static bool step_getxattr(struct model *m, struct actor *who)
{
    struct ref_place at = choose_place(m);
    struct ref_key key = view(m, who->node, at);
    int wanted = ref_access(&m->reference, who->user, at, &key, 4);
    long size;

    if (!unwritten(m, who->node, at))
        return false;
    if (wanted == 0 && key.mark[0] == '\0')
        wanted = ENODATA;
    note(m, who, "getxattr d%u/k%u", at.dir, at.key);
    size = AGENT(&who->agent, SYS_getxattr, (long)path_of(who, at), (long)agent_text(&who->agent, "user.mark"),
                 (long)who->agent.bytes, REF_MARK);
    expect(m, size, wanted);
    if (wanted == 0 && ((size_t)size != strlen(key.mark) || memcmp(who->agent.bytes, key.mark, (size_t)size) != 0))
        differ(m, "'%.*s', not '%s'", (int)size, (char *)who->agent.bytes, key.mark);
    return true;
}

static bool step_truncate(struct model *m, struct actor *who)
{
    struct ref_place at = choose_place(m);
    int wanted = ref_access(&m->reference, who->user, at, ref_key(&m->reference, at), 2);
    size_t size = below(m, 100);

    if (held(m, 0, at) != NULL || held(m, 1, at) != NULL)
        return false;
    note(m, who, "truncate d%u/k%u to %zu", at.dir, at.key, size);
    expect(m, AGENT(&who->agent, SYS_truncate, (long)path_of(who, at), (long)size), wanted);
    if (wanted == 0)
        ref_truncate(&m->reference, at, size);
    return true;
}

/* ------------------------------------------------------------------------ directories */

static bool step_mkdir(struct model *m, struct actor *who)
{
    unsigned dir = below(m, REF_DIRS);
    mode_t mode = choose_dir_mode(m);
    int wanted = ref_mkdir(&m->reference, dir);

    note(m, who, "mkdir d%u mode %o", dir, mode);
    expect(m, AGENT(&who->agent, SYS_mkdirat, AT_FDCWD, (long)dir_path_of(who, dir), mode), wanted);
    if (wanted == 0)
        ref_make_dir(&m->reference, who->user, dir, mode);
    return true;
}

static bool step_rmdir(struct model *m, struct actor *who)
{
    unsigned dir = below(m, REF_DIRS);
    int wanted = ref_rmdir(&m->reference, who->user, dir);

    for (unsigned i = 0; i < REF_NODES * REF_USERS; i++)
        for (int k = 0; k < HANDLES; k++)
            if (m->actors[i].handles[k].fd >= 0 && m->actors[i].handles[k].at.dir == dir)
                return false;
    note(m, who, "rmdir d%u", dir);
    expect(m, AGENT(&who->agent, SYS_unlinkat, AT_FDCWD, (long)dir_path_of(who, dir), AT_REMOVEDIR), wanted);
    if (wanted == 0)
        m->reference.dirs[dir].attr.there = false;
    return true;
}

static bool step_chmod_dir(struct model *m, struct actor *who)
{
    unsigned dir = below(m, REF_DIRS);
    mode_t mode = choose_dir_mode(m);
    int wanted = ref_chmod_dir(&m->reference, who->user, dir);

    note(m, who, "chmod %o d%u", mode, dir);
    expect(m, AGENT(&who->agent, SYS_fchmodat, AT_FDCWD, (long)dir_path_of(who, dir), mode), wanted);
    if (wanted == 0)
        m->reference.dirs[dir].attr.mode = mode;
    return true;
}

/* ------------------------------------------------------------------------------ locks */

static bool step_lock(struct model *m, struct actor *who)
{
    unsigned which = below(m, LOCKS);
    int how = who->locks[which] != LOCK_UN ? LOCK_UN : below(m, 2) == 0 ? LOCK_EX : LOCK_SH, wanted = 0;

    for (unsigned i = 0; i < REF_NODES * REF_USERS; i++) {
        int other = m->actors[i].locks[which];

        if (&m->actors[i] != who && how != LOCK_UN && (other == LOCK_EX || (other == LOCK_SH && how == LOCK_EX)))
            wanted = EAGAIN;
    }
    note(m, who, "%s lock %u", how == LOCK_UN ? "let go of" : how == LOCK_EX ? "take" : "share", which);
    expect(m, AGENT(&who->agent, SYS_flock, who->lock_fds[which], how | LOCK_NB), wanted);
    if (wanted == 0)
        who->locks[which] = how;
    return true;
}

/* Put another value under the lock's name, and another object every other time. */
static bool step_replace_lock(struct model *m, struct actor *who)
{
    struct mount_node *node = &m->test->nodes[who->node];
    const char *path = mount_path(node, "a/locks/l%u", below(m, LOCKS));
    bool moves = below(m, 2) == 0;

    note(m, who, "%s %s", moves ? "move onto" : "put", path + strlen(node->path));
    mount_write_text(moves ? mount_path(node, "a/locks/t") : path, "another value");
    if (moves)
        MOUNT_OK(rename(mount_path(node, "a/locks/t"), path));
    return true;
}

/* ----------------------------------------------------------------------------- the run */

static const struct {
    step *make;
    unsigned weight;
} steps[] = {
    {step_open, 12},        {step_write, 14}, {step_read, 6},  {step_ftruncate, 3}, {step_fsync, 3},
    {step_close, 10},       {step_put, 8},    {step_get, 8},   {step_stat, 8},      {step_unlink, 4},
    {step_rename, 6},       {step_chmod, 5},  {step_chown, 4}, {step_setxattr, 3},  {step_getxattr, 3},
    {step_truncate, 3},     {step_mkdir, 1},  {step_rmdir, 1}, {step_chmod_dir, 2}, {step_lock, 6},
    {step_replace_lock, 1},
};

static void make_step(struct model *m)
{
    unsigned sum = 0, chosen;
    size_t i = 0;

    for (size_t k = 0; k < sizeof(steps) / sizeof(*steps); k++)
        sum += steps[k].weight;
    chosen = below(m, sum);
    while (chosen >= steps[i].weight)
        chosen -= steps[i++].weight;
    (void)steps[i].make(m, &m->actors[below(m, m->acting)]);
}

/* Everything, on both nodes. */
static void look_at_all(struct model *m)
{
    for (unsigned node = 0; node < REF_NODES; node++)
        for (unsigned dir = 0; dir < REF_DIRS; dir++)
            for (unsigned key = 0; key < REF_KEYS; key++) {
                (void)look(m, root_of(m, node), (struct ref_place){dir, key});
                (void)get(m, root_of(m, node), (struct ref_place){dir, key});
            }
}

static void begin(struct model *m, struct mount_test *test)
{
    struct mount_node *node = &test->nodes[0];

    MOUNT_OK(chmod(mount_path(node, "a"), 01777));
    MOUNT_OK(mkdir(mount_path(node, "a/locks"), 0755));
    for (unsigned i = 0; i < LOCKS; i++) {
        mount_write_text(mount_path(node, "a/locks/l%u", i), "");
        MOUNT_OK(chmod(mount_path(node, "a/locks/l%u", i), 0666));
    }
    for (unsigned i = 0; i < REF_NODES * REF_USERS; i++) {
        struct actor *who = &m->actors[i];

        *who = (struct actor){.user = i % REF_USERS, .node = i / REF_USERS};
        who->agent = agent_start(test, ref_users[who->user].uid, ref_users[who->user].group);
        for (unsigned k = 0; k < LOCKS; k++) {
            const char *path = mount_path(&test->nodes[who->node], "a/locks/l%u", k);

            who->lock_fds[k] = (int)MOUNT_OK(agent_open(&who->agent, path, O_RDONLY, 0));
            who->locks[k] = LOCK_UN;
        }
        for (int k = 0; k < HANDLES; k++)
            who->handles[k].fd = -1;
    }
}

static void end(struct model *m)
{
    for (unsigned i = 0; i < REF_NODES * REF_USERS; i++)
        for (int k = 0; k < HANDLES; k++)
            if (m->actors[i].handles[k].fd >= 0)
                do_close(m, &m->actors[i], &m->actors[i].handles[k]);
    look_at_all(m);
}

static void compare(struct mount_test *test, unsigned acting_nodes)
{
    uint64_t count = test_setting("KVFS_TEST_STEPS", STEPS);
    static struct model m;

    m = (struct model){.test = test, .acting = acting_nodes * REF_USERS, .random = {test_seed()}};
    (void)mount_start(test, "allow_other,cache_ttl=0");
    begin(&m, test);
    for (uint64_t i = 1; i <= count; i++) {
        make_step(&m);
        if (i % LOOK_EVERY == 0)
            look_at_all(&m);
    }
    end(&m);
}

static void users_on_two_nodes_see_what_posix_says(void **state) { compare(*state, 2); }
static void users_on_a_node_that_caches_see_what_posix_says(void **state) { compare(*state, 1); }

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST_WITH("allow_other,cache_ttl=0", users_on_two_nodes_see_what_posix_says),
        MOUNT_TEST_WITH("allow_other", users_on_a_node_that_caches_see_what_posix_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("model", run); }
