/* Random steps of several users on two nodes, and a reference in memory that says what each must answer: data,
 * owners, modes, attributes, locks and errors.
 *
 * One step is made at a time, by a process of the user on the node (tests/support/agent.h). With cache_ttl=0 a
 * node asks the store each time, so that every answer is determined; a node that caches is sure of its own
 * changes, and makes all the steps in a run of its own, while the other one only looks. Steps whose answer is left
 * open are not made: of a node, at most one handle is open to a name.
 *
 * Environment: KVFS_TEST_STEPS (12000 in each test), KVFS_TEST_SEED (chosen at random, and printed). */
#include "tests/support/model.h"
#include "tests/support/setting.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STEPS = 20000, LOOK_EVERY = 100 };

/* ------------------------------------------------------------------------------ steps */

/* Each returns false where it was not made. */
typedef bool step(struct model *m, struct model_actor *who);

static struct ref_handle *choose_handle(struct model *m, struct model_actor *who)
{
    struct ref_handle *h = &who->handles[model_below(m, MODEL_HANDLES)];

    return h->fd >= 0 ? h : NULL;
}

static bool step_open(struct model *m, struct model_actor *who)
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

    (void)model_open(m, who, model_place(m), flags[model_below(m, sizeof(flags) / sizeof(*flags))], &skipped);
    return !skipped;
}

static bool step_write(struct model *m, struct model_actor *who)
{
    struct ref_handle *h = choose_handle(m, who);

    return h != NULL && model_write(m, who, h);
}

static bool step_read(struct model *m, struct model_actor *who)
{
    struct ref_handle *h = choose_handle(m, who);
    long size;

    if (h == NULL || (h->flags & O_ACCMODE) == O_WRONLY)
        return false;
    model_note(m, who, "read d%u/k%u%s", h->at.dir, h->at.key, h->displaced ? " (displaced)" : "");
    size = AGENT(&who->agent, SYS_pread64, h->fd, (long)who->agent.bytes, REF_DATA, 0);
    if (size != (long)h->size || memcmp(who->agent.bytes, h->data, h->size) != 0)
        model_differ(m, "read %ld bytes, not the %zu of the handle", size, h->size);
    return true;
}

static bool step_ftruncate(struct model *m, struct model_actor *who)
{
    struct ref_handle *h = choose_handle(m, who);
    size_t size = model_below(m, 100);

    if (h == NULL || (h->flags & O_ACCMODE) == O_RDONLY)
        return false;
    model_note(m, who, "ftruncate d%u/k%u to %zu", h->at.dir, h->at.key, size);
    model_expect(m, AGENT(&who->agent, SYS_ftruncate, h->fd, (long)size), 0);
    ref_resize(h, size);
    return true;
}

static bool step_fsync(struct model *m, struct model_actor *who)
{
    struct ref_handle *h = choose_handle(m, who);

    if (h == NULL || !(h->displaced || ref_is_newest(&m->reference, h) ||
                       (h->is_new && !ref_key(&m->reference, h->at)->attr.there)))
        return false;
    model_sync(m, who, h);
    return true;
}

static bool step_close(struct model *m, struct model_actor *who)
{
    struct ref_handle *h = choose_handle(m, who);

    if (h != NULL)
        model_close(m, who, h);
    return h != NULL;
}

static bool step_put(struct model *m, struct model_actor *who)
{
    bool skipped;
    struct ref_handle *h = model_open(m, who, model_place(m), O_WRONLY | O_CREAT | O_TRUNC, &skipped);

    if (h == NULL)
        return !skipped;
    (void)model_write(m, who, h);
    model_close(m, who, h);
    return true;
}

static bool step_get(struct model *m, struct model_actor *who) { return model_get(m, who, model_place(m)); }

static bool step_stat(struct model *m, struct model_actor *who) { return model_look(m, who, model_place(m)); }

static void displace(struct model *m, unsigned node, struct ref_place at)
{
    struct ref_handle *h = model_held(m, node, at);

    if (h != NULL)
        h->displaced = true;
}

static bool step_unlink(struct model *m, struct model_actor *who)
{
    struct ref_place at = model_place(m);
    struct ref_key key = model_view(m, who->node, at);
    int wanted = ref_unlink(&m->reference, who->user, at, &key);

    if (!model_steady(m, who->node, at))
        return false;
    at.way = MODEL_STRAIGHT;
    model_note(m, who, "unlink d%u/k%u", at.dir, at.key);
    model_expect(m, AGENT(&who->agent, SYS_unlinkat, AT_FDCWD, (long)model_path(who, at), 0), wanted);
    if (wanted == 0) {
        displace(m, who->node, at);
        ref_key(&m->reference, at)->attr.there = false;
    }
    return true;
}

/* What a rename puts first: its own node's unsaved bytes. */
static bool may_be_renamed(struct model *m, unsigned node, struct ref_place at)
{
    const struct ref_handle *h = model_held(m, node, at);

    return model_held_elsewhere(m, node, at) == NULL && model_steady(m, node, at) && (h == NULL || !h->emptied);
}

static void put_first(struct model *m, struct ref_handle *h)
{
    bool adopts;

    if (h != NULL)
        (void)ref_publish(&m->reference, h, &adopts);
}

static bool step_rename(struct model *m, struct model_actor *who)
{
    static const unsigned kinds[] = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    struct ref_place from = model_place(m), to = model_place(m);
    struct ref_key from_key = model_view(m, who->node, from), to_key = model_view(m, who->node, to), *a, *b;
    struct ref_handle *ha = model_held(m, who->node, from), *hb = model_held(m, who->node, to);
    unsigned flags = kinds[model_below(m, 4)];
    int wanted;

    if ((from.dir == to.dir && from.key == to.key) || !may_be_renamed(m, who->node, from) ||
        !may_be_renamed(m, who->node, to))
        return false;
    wanted = ref_rename(&m->reference, who->user, from, &from_key, to, &to_key, flags);
    from.way = to.way = MODEL_STRAIGHT;
    model_note(m, who, "rename d%u/k%u d%u/k%u flags %u", from.dir, from.key, to.dir, to.key, flags);
    model_expect(m,
                 AGENT(&who->agent, SYS_renameat2, AT_FDCWD, (long)model_path(who, from), AT_FDCWD,
                       (long)model_path(who, to), flags),
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

static bool step_chmod(struct model *m, struct model_actor *who)
{
    struct ref_place at = model_place(m);
    struct ref_key key = model_view(m, who->node, at);
    int wanted = ref_own(&m->reference, who->user, at, &key);
    mode_t mode = model_mode(m);

    if (!model_unwritten(m, who->node, at))
        return false;
    model_note(m, who, "chmod %o d%u%s/k%u", mode, at.dir, model_way(at), at.key);
    model_expect(m, AGENT(&who->agent, SYS_fchmodat, AT_FDCWD, (long)model_path(who, at), mode), wanted);
    if (wanted == 0)
        ref_key(&m->reference, at)->attr.mode = mode;
    return true;
}

static bool step_chown(struct model *m, struct model_actor *who)
{
    struct ref_place at = model_place(m);
    struct ref_key key = model_view(m, who->node, at);
    uid_t uid = ref_users[model_below(m, REF_USERS)].uid;
    gid_t gid = model_below(m, 2) == 0 ? REF_GROUP : ref_users[model_below(m, REF_USERS)].uid;
    int wanted = ref_chown(&m->reference, who->user, at, &key, uid, gid);

    if (!model_unwritten(m, who->node, at))
        return false;
    model_note(m, who, "chown %u:%u d%u%s/k%u", uid, gid, at.dir, model_way(at), at.key);
    model_expect(m, AGENT(&who->agent, SYS_fchownat, AT_FDCWD, (long)model_path(who, at), uid, gid, 0), wanted);
    if (wanted == 0) {
        ref_key(&m->reference, at)->attr.uid = uid;
        ref_key(&m->reference, at)->attr.gid = gid;
    }
    return true;
}

static bool step_setxattr(struct model *m, struct model_actor *who)
{
    struct ref_place at = model_place(m);
    struct ref_key key = model_view(m, who->node, at);
    int wanted = ref_access(&m->reference, who->user, at, &key, 2);
    size_t size;

    if (!model_unwritten(m, who->node, at))
        return false;
    snprintf(key.mark, sizeof(key.mark), "mark %u", model_below(m, 1000));
    size = strlen(key.mark);
    model_note(m, who, "setxattr d%u%s/k%u '%s'", at.dir, model_way(at), at.key, key.mark);
    memcpy(who->agent.bytes, key.mark, size);
    model_expect(m,
                 AGENT(&who->agent, SYS_setxattr, (long)model_path(who, at),
                       (long)agent_text(&who->agent, "user.mark"), (long)who->agent.bytes, (long)size, 0),
                 wanted);
    if (wanted == 0)
        memcpy(ref_key(&m->reference, at)->mark, key.mark, sizeof(key.mark));
    return true;
}

static bool step_getxattr(struct model *m, struct model_actor *who)
{
    struct ref_place at = model_place(m);
    struct ref_key key = model_view(m, who->node, at);
    int wanted = ref_access(&m->reference, who->user, at, &key, 4);
    long size;

    if (!model_unwritten(m, who->node, at))
        return false;
    if (wanted == 0 && key.mark[0] == '\0')
        wanted = ENODATA;
    model_note(m, who, "getxattr d%u%s/k%u", at.dir, model_way(at), at.key);
    size = AGENT(&who->agent, SYS_getxattr, (long)model_path(who, at), (long)agent_text(&who->agent, "user.mark"),
                 (long)who->agent.bytes, REF_MARK);
    model_expect(m, size, wanted);
    if (wanted == 0 && ((size_t)size != strlen(key.mark) || memcmp(who->agent.bytes, key.mark, (size_t)size) != 0))
        model_differ(m, "'%.*s', not '%s'", (int)size, (char *)who->agent.bytes, key.mark);
    return true;
}

static bool step_truncate(struct model *m, struct model_actor *who)
{
    struct ref_place at = model_place(m);
    int wanted = ref_access(&m->reference, who->user, at, ref_key(&m->reference, at), 2);
    size_t size = model_below(m, 100);

    if (model_held(m, 0, at) != NULL || model_held(m, 1, at) != NULL)
        return false;
    model_note(m, who, "truncate d%u%s/k%u to %zu", at.dir, model_way(at), at.key, size);
    model_expect(m, AGENT(&who->agent, SYS_truncate, (long)model_path(who, at), (long)size), wanted);
    if (wanted == 0)
        ref_truncate(&m->reference, at, size);
    return true;
}

/* ------------------------------------------------------------------------ directories */

static bool step_mkdir(struct model *m, struct model_actor *who)
{
    unsigned dir = model_below(m, REF_DIRS);
    mode_t mode = model_dir_mode(m);
    int wanted = ref_mkdir(&m->reference, dir);

    model_note(m, who, "mkdir d%u mode %o", dir, mode);
    model_expect(m, AGENT(&who->agent, SYS_mkdirat, AT_FDCWD, (long)model_dir_path(who, dir), mode), wanted);
    if (wanted == 0)
        ref_make_dir(&m->reference, who->user, dir, mode);
    return true;
}

static bool step_rmdir(struct model *m, struct model_actor *who)
{
    unsigned dir = model_below(m, REF_DIRS);
    int wanted = ref_rmdir(&m->reference, who->user, dir);

    for (unsigned i = 0; i < REF_NODES * REF_USERS; i++)
        for (int k = 0; k < MODEL_HANDLES; k++)
            if (m->actors[i].handles[k].fd >= 0 && m->actors[i].handles[k].at.dir == dir)
                return false;
    model_note(m, who, "rmdir d%u", dir);
    model_expect(m, AGENT(&who->agent, SYS_unlinkat, AT_FDCWD, (long)model_dir_path(who, dir), AT_REMOVEDIR),
                 wanted);
    if (wanted == 0)
        m->reference.dirs[dir].attr.there = false;
    return true;
}

static bool step_chmod_dir(struct model *m, struct model_actor *who)
{
    unsigned dir = model_below(m, REF_DIRS);
    mode_t mode = model_dir_mode(m);
    int wanted = ref_chmod_dir(&m->reference, who->user, dir);

    model_note(m, who, "chmod %o d%u", mode, dir);
    model_expect(m, AGENT(&who->agent, SYS_fchmodat, AT_FDCWD, (long)model_dir_path(who, dir), mode), wanted);
    if (wanted == 0)
        m->reference.dirs[dir].attr.mode = mode;
    return true;
}

/* ------------------------------------------------------------------------------ locks */

static bool step_lock(struct model *m, struct model_actor *who)
{
    unsigned which = model_below(m, MODEL_LOCKS);
    int how = who->locks[which] != LOCK_UN ? LOCK_UN : model_below(m, 2) == 0 ? LOCK_EX : LOCK_SH, wanted = 0;

    for (unsigned i = 0; i < REF_NODES * REF_USERS; i++) {
        int other = m->actors[i].locks[which];

        if (&m->actors[i] != who && how != LOCK_UN && (other == LOCK_EX || (other == LOCK_SH && how == LOCK_EX)))
            wanted = EAGAIN;
    }
    model_note(m, who, "%s lock %u", how == LOCK_UN ? "let go of" : how == LOCK_EX ? "take" : "share", which);
    model_expect(m, AGENT(&who->agent, SYS_flock, who->lock_fds[which], how | LOCK_NB), wanted);
    if (wanted == 0)
        who->locks[which] = how;
    return true;
}

/* Put another value under the lock's name, and another object every other time. */
static bool step_replace_lock(struct model *m, struct model_actor *who)
{
    struct mount_node *node = &m->test->nodes[who->node];
    const char *path = mount_path(node, "a/locks/l%u", model_below(m, MODEL_LOCKS));
    bool moves = model_below(m, 2) == 0;

    model_note(m, who, "%s %s", moves ? "move onto" : "put", path + strlen(node->path));
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
    chosen = model_below(m, sum);
    while (chosen >= steps[i].weight)
        chosen -= steps[i++].weight;
    (void)steps[i].make(m, &m->actors[model_below(m, m->acting)]);
}

static void begin(struct model *m, struct mount_test *test)
{
    struct mount_node *node = &test->nodes[0];

    MOUNT_OK(chmod(mount_path(node, "a"), 01777));
    MOUNT_OK(mkdir(mount_path(node, "a/locks"), 0755));
    for (unsigned i = 0; i < MODEL_LOCKS; i++) {
        mount_write_text(mount_path(node, "a/locks/l%u", i), "");
        MOUNT_OK(chmod(mount_path(node, "a/locks/l%u", i), 0666));
    }
    for (unsigned i = 0; i < REF_NODES * REF_USERS; i++) {
        struct model_actor *who = &m->actors[i];

        *who = (struct model_actor){.user = i % REF_USERS, .node = i / REF_USERS};
        who->agent = agent_start(test, ref_users[who->user].uid, ref_users[who->user].group);
        for (unsigned k = 0; k < MODEL_LOCKS; k++) {
            const char *path = mount_path(&test->nodes[who->node], "a/locks/l%u", k);

            who->lock_fds[k] = (int)MOUNT_OK(agent_open(&who->agent, path, O_RDONLY, 0));
            who->locks[k] = LOCK_UN;
        }
        for (int k = 0; k < MODEL_HANDLES; k++)
            who->handles[k].fd = -1;
    }
}

static void end(struct model *m)
{
    for (unsigned i = 0; i < REF_NODES * REF_USERS; i++)
        for (int k = 0; k < MODEL_HANDLES; k++)
            if (m->actors[i].handles[k].fd >= 0)
                model_close(m, &m->actors[i], &m->actors[i].handles[k]);
    model_look_at_all(m);
}

static void compare(struct mount_test *test, unsigned acting_nodes)
{
    uint64_t count = test_setting("KVFS_TEST_STEPS", STEPS);
    static struct model m;

    alarm((unsigned)(MOUNT_SECONDS + count / 100));
    m = (struct model){.test = test, .acting = acting_nodes * REF_USERS, .random = {test_seed()}};
    (void)mount_start(test, "allow_other,cache_ttl=0");
    begin(&m, test);
    for (uint64_t i = 1; i <= count; i++) {
        make_step(&m);
        if (i % LOOK_EVERY == 0)
            model_look_at_all(&m);
    }
    end(&m);
}

static void users_on_two_nodes_see_what_posix_says(void **state) { compare(*state, 2); }
static void users_on_a_node_that_caches_see_what_posix_says(void **state) { compare(*state, 1); }

/* The shortest steps in which a node's kernel knows another owner than the store: what its user changes next,
 * without looking first, is another user's key by now. */
static void a_former_owner_changes_nothing(void **state)
{
    struct mount_test *test = *state;
    struct mount_node *here = &test->nodes[0], *other = mount_start(test, "allow_other,cache_ttl=0");
    struct agent user = agent_start(test, ref_users[1].uid, 0);
    const char *path;

    MOUNT_OK(chmod(mount_path(here, "a"), 0777));
    MOUNT_OK(chmod(mount_path(here, "a/n"), 0777));
    for (int round = 0; round < 40; round++) {
        int fd = (int)MOUNT_OK(agent_open(&user, mount_path(here, "a/n/key"), O_RDWR | O_CREAT | O_EXCL, 0600));

        MOUNT_OK(AGENT(&user, SYS_write, fd, (long)user.bytes, 10));
        MOUNT_OK(agent_close(&user, fd));
        if (round % 2 == 0) {
            mount_write_text(mount_path(other, "a/n/t"), "of root");
            MOUNT_OK(chmod(mount_path(other, "a/n/t"), 0600));
            MOUNT_OK(rename(mount_path(other, "a/n/t"), mount_path(other, "a/n/key")));
        } else {
            MOUNT_OK(chown(mount_path(other, "a/n/key"), 0, 0));
        }
        path = agent_text(&user, mount_path(here, "a/n/key"));
        if (round / 2 % 3 == 0)
            MOUNT_FAILS(EPERM, AGENT(&user, SYS_fchmodat, AT_FDCWD, (long)path, 0666));
        else if (round / 2 % 3 == 1)
            MOUNT_FAILS(EPERM, AGENT(&user, SYS_fchownat, AT_FDCWD, (long)path, -1, ref_users[1].uid, 0));
        else
            MOUNT_FAILS(EACCES, AGENT(&user, SYS_truncate, (long)path, 0));
        assert_int_equal(mount_stat(mount_path(other, "a/n/key")).st_mode, S_IFREG | 0600);
        MOUNT_OK(unlink(mount_path(other, "a/n/key")));
    }
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        MOUNT_TEST_WITH("allow_other,cache_ttl=0", users_on_two_nodes_see_what_posix_says),
        MOUNT_TEST_WITH("allow_other,cache_ttl=0", a_former_owner_changes_nothing),
        MOUNT_TEST_WITH("allow_other", users_on_a_node_that_caches_see_what_posix_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return mount_tests("model", run); }
