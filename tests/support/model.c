#include "tests/support/model.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MODEL_SOON_MS = 10000, MODEL_LOOK_MS = 2, MODEL_TOLD = 30 };

/* ---------------------------------------------------------------------------- telling */

void model_note(struct model *m, const struct model_actor *who, const char *format, ...)
{
    char *text = m->texts[m->steps % MODEL_TEXTS];
    int size = snprintf(text, sizeof(m->texts[0]), "%u on %c: ", ref_users[who->user].uid, 'A' + (char)who->node);
    va_list arguments;

    m->steps += !m->quiet;
    va_start(arguments, format);
    vsnprintf(text + size, sizeof(m->texts[0]) - (size_t)size, format, arguments);
    va_end(arguments);
}

/* The last steps that name `what`; "": any. */
static void model_tell(const struct model *m, const char *what, unsigned most)
{
    uint64_t end = m->steps + m->quiet, oldest = end > MODEL_TEXTS ? end - MODEL_TEXTS : 0, from = end;

    for (unsigned found = 0; found < most && from > oldest;)
        found += strstr(m->texts[--from % MODEL_TEXTS], what) != NULL;
    for (; from < end; from++)
        if (strstr(m->texts[from % MODEL_TEXTS], what) != NULL)
            printf("%8" PRIu64 "  %s\n", from + 1, m->texts[from % MODEL_TEXTS]);
}

void model_differ(struct model *m, const char *format, ...)
{
    const char *last = m->texts[(m->steps + m->quiet - 1) % MODEL_TEXTS], *key = strstr(last, "/k");
    va_list arguments;
    char name[6] = "";

    model_tell(m, "", MODEL_TOLD);
    if (key != NULL) {
        memcpy(name, key - 2, sizeof(name) - 1);
        printf("and of %s\n", name);
        model_tell(m, name, MODEL_TOLD);
    }
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    fail();
    abort();
}

void model_expect(struct model *m, long result, int wanted)
{
    char *text = m->texts[(m->steps + m->quiet - 1) % MODEL_TEXTS];
    int got = result < 0 ? errno : 0;

    if (got != 0)
        snprintf(text + strlen(text), sizeof(m->texts[0]) - strlen(text), ": %s", strerrorname_np(got));
    if (got != wanted)
        model_differ(m, "step %" PRIu64 ": %s, not %s", m->steps, got == 0 ? "success" : strerrorname_np(got),
                     wanted == 0 ? "success" : strerrorname_np(wanted));
}

/* -------------------------------------------------------------------------- choosing */

unsigned model_below(struct model *m, unsigned n) { return (unsigned)test_random_below(&m->random, n); }

struct ref_place model_place(struct model *m)
{
    return (struct ref_place){model_below(m, REF_DIRS), model_below(m, REF_KEYS), model_below(m, MODEL_WAYS)};
}

const char *model_way(struct ref_place at)
{
    static const char *const ways[MODEL_WAYS] = {"", "/.prefix/k", "/.from/k"};

    return ways[at.way];
}

mode_t model_mode(struct model *m)
{
    static const mode_t modes[] = {0600, 0644, 0666, 0640, 0660, 0400, 0000, 0606, 0200, 0066};

    return modes[model_below(m, sizeof(modes) / sizeof(*modes))];
}

mode_t model_dir_mode(struct model *m)
{
    static const mode_t modes[] = {0777, 0777, 01777, 01777, 0700, 0755, 0770, 0733, 0711};

    return modes[model_below(m, sizeof(modes) / sizeof(*modes))];
}

const char *model_path(struct model_actor *who, struct ref_place at)
{
    return agent_text(
        &who->agent, mount_path(&who->agent.test->nodes[who->node], "a/d%u%s/k%u", at.dir, model_way(at), at.key));
}

const char *model_dir_path(struct model_actor *who, unsigned dir)
{
    return agent_text(&who->agent, mount_path(&who->agent.test->nodes[who->node], "a/d%u", dir));
}

struct model_actor *model_root(struct model *m, unsigned node) { return &m->actors[node * REF_USERS]; }

/* The handle that a node has open to a name. */
struct ref_handle *model_held(struct model *m, unsigned node, struct ref_place at)
{
    for (unsigned i = 0; i < REF_USERS; i++)
        for (int k = 0; k < MODEL_HANDLES; k++) {
            struct ref_handle *h = &m->actors[node * REF_USERS + i].handles[k];

            if (h->fd >= 0 && !h->displaced && h->at.dir == at.dir && h->at.key == at.key)
                return h;
        }
    return NULL;
}

/* Nothing that another node did since the open makes the node's answer about the name an open question. */
bool model_steady(struct model *m, unsigned node, struct ref_place at)
{
    const struct ref_handle *h = model_held(m, node, at);

    return h == NULL || (h->is_new && !ref_key(&m->reference, at)->attr.there) || ref_is_newest(&m->reference, h);
}

struct ref_handle *model_held_elsewhere(struct model *m, unsigned node, struct ref_place at)
{
    return model_held(m, 1 - node, at);
}

/* A key as it is on the node. */
struct ref_key model_view(struct model *m, unsigned node, struct ref_place at)
{
    return ref_view(&m->reference, at, model_held(m, node, at));
}

/* Nobody changes the value, so that everybody knows the same attributes. */
bool model_unwritten(struct model *m, unsigned node, struct ref_place at)
{
    const struct ref_handle *here = model_held(m, node, at), *there = model_held_elsewhere(m, node, at);

    return (here == NULL || here->flags == O_RDONLY) && (there == NULL || there->flags == O_RDONLY) &&
           model_steady(m, node, at);
}

/* --------------------------------------------------------------------------- handles */

/* What a put may make of the attribute is not said: look. */
static void model_adopt_mark(struct model *m, struct ref_key *key, struct ref_place at)
{
    struct model_actor *root = model_root(m, 1);
    const char *path = model_path(root, at);
    long size = AGENT(&root->agent, SYS_getxattr, (long)path, (long)agent_text(&root->agent, "user.mark"),
                      (long)root->agent.bytes, REF_MARK);

    memset(key->mark, 0, REF_MARK);
    memcpy(key->mark, root->agent.bytes, size > 0 ? (size_t)size : 0);
}

/* The reference's put, after the mount's. */
static void model_publish(struct model *m, struct ref_handle *h, long result)
{
    bool adopts;
    int wanted = ref_publish(&m->reference, h, &adopts);

    model_expect(m, result, wanted);
    if (wanted == 0 && adopts)
        model_adopt_mark(m, ref_key(&m->reference, h->at), h->at);
}

/* returns  the handle, or NULL where the open must fail; *skipped: it was not made */
struct ref_handle *model_open(struct model *m, struct model_actor *who, struct ref_place at, int flags,
                              bool *skipped)
{
    const struct ref_handle *there = model_held_elsewhere(m, who->node, at);
    struct ref_handle *h = NULL;
    mode_t mode = model_mode(m);
    int wanted, fd;

    for (int i = 0; i < MODEL_HANDLES && h == NULL; i++)
        h = who->handles[i].fd < 0 ? &who->handles[i] : NULL;
    *skipped = h == NULL || model_held(m, who->node, at) != NULL || (there != NULL && there->is_new);
    if (*skipped)
        return NULL;
    if ((flags & O_EXCL) == 0 && ref_key(&m->reference, at)->attr.there &&
        (m->reference.dirs[at.dir].attr.mode & 01000))
        flags &= ~O_CREAT; /* fs.protected_regular */
    wanted = ref_open(&m->reference, who->user, at, flags);
    if (flags & O_CREAT)
        at.way = MODEL_STRAIGHT;
    model_note(m, who, "open d%u%s/k%u%s%s%s%s%s mode %o", at.dir, model_way(at), at.key,
               (flags & O_ACCMODE) == O_RDONLY   ? " reading"
               : (flags & O_ACCMODE) == O_WRONLY ? " writing"
                                                 : "",
               flags & O_CREAT ? " create" : "", flags & O_EXCL ? " excl" : "", flags & O_TRUNC ? " trunc" : "",
               flags & O_APPEND ? " append" : "", mode);
    fd = agent_open(&who->agent,
                    mount_path(&m->test->nodes[who->node], "a/d%u%s/k%u", at.dir, model_way(at), at.key), flags,
                    mode);
    model_expect(m, fd, wanted);
    if (wanted != 0)
        return NULL;
    *h = ref_handle_new(&m->reference, who->user, at, flags, mode);
    h->fd = fd;
    return h;
}

bool model_write(struct model *m, struct model_actor *who, struct ref_handle *h)
{
    size_t size = model_below(m, 40) + 1;

    if ((h->flags & O_ACCMODE) == O_RDONLY || h->position + size > REF_DATA || h->size + size > REF_DATA)
        return false;
    test_random_fill(&m->random, who->agent.bytes, size);
    model_note(m, who, "write %zu bytes to d%u/k%u%s", size, h->at.dir, h->at.key,
               h->displaced ? " (displaced)" : "");
    model_expect(
        m, AGENT(&who->agent, SYS_write, h->fd, (long)who->agent.bytes, (long)size) == (long)size ? 0 : -1, 0);
    ref_write(h, who->agent.bytes, size);
    return true;
}

void model_sync(struct model *m, struct model_actor *who, struct ref_handle *h)
{
    model_note(m, who, "fsync d%u/k%u", h->at.dir, h->at.key);
    model_publish(m, h, AGENT(&who->agent, SYS_fsync, h->fd));
}

/* What was only created or emptied is put right after the close. */
static void model_await(struct model *m, struct ref_place at, unsigned node)
{
    struct model_actor *root = model_root(m, 1 - node);
    struct stat *attr = (struct stat *)root->agent.bytes;
    int64_t end_ms = mount_now_ms() + MODEL_SOON_MS;
    long rc;

    while ((rc = AGENT(&root->agent, SYS_newfstatat, AT_FDCWD, (long)model_path(root, at), (long)attr, 0)) < 0 ||
           attr->st_size != 0) {
        if (mount_now_ms() > end_ms)
            model_differ(m, "what was created or emptied is not put after the close: %s",
                         rc < 0 ? strerrorname_np(errno) : "it has the old size");
        mount_pause_ms(MODEL_LOOK_MS);
    }
}

void model_close(struct model *m, struct model_actor *who, struct ref_handle *h)
{
    bool waits = !h->displaced && !h->wrote && (h->is_new || h->emptied);
    const struct ref_key *key = ref_key(&m->reference, h->at);
    bool will_show =
        h->is_new ? !key->attr.there : ref_is_newest(&m->reference, h) && key->size > 0 && model_below(m, 2) == 0;

    if (waits && (!will_show || model_held_elsewhere(m, who->node, h->at) != NULL)) {
        model_sync(m, who, h);
        waits = false;
    }
    model_note(m, who, "close d%u/k%u%s", h->at.dir, h->at.key, h->displaced ? " (displaced)" : "");
    model_publish(m, h, agent_close(&who->agent, h->fd));
    h->fd = -1;
    if (waits)
        model_await(m, h->at, who->node);
}

bool model_get(struct model *m, struct model_actor *who, struct ref_place at)
{
    struct ref_key key = model_view(m, who->node, at);
    int wanted = ref_access(&m->reference, who->user, at, &key, 4), fd;
    long size;

    if (!model_steady(m, who->node, at))
        return false;
    model_note(m, who, "get d%u%s/k%u", at.dir, model_way(at), at.key);
    fd = agent_open(&who->agent,
                    mount_path(&m->test->nodes[who->node], "a/d%u%s/k%u", at.dir, model_way(at), at.key), O_RDONLY,
                    0);
    model_expect(m, fd, wanted);
    if (wanted != 0)
        return true;
    size = AGENT(&who->agent, SYS_read, fd, (long)who->agent.bytes, AGENT_BYTES);
    if (size != (long)key.size || memcmp(who->agent.bytes, key.data, key.size) != 0)
        model_differ(m, "read %ld bytes, not the %zu that are there", size, key.size);
    model_expect(m, agent_close(&who->agent, fd), 0);
    return true;
}

bool model_look(struct model *m, struct model_actor *who, struct ref_place at)
{
    struct stat *attr = (struct stat *)who->agent.bytes;
    struct ref_key key = model_view(m, who->node, at);
    int wanted = ref_access(&m->reference, who->user, at, &key, 0);

    if (!model_steady(m, who->node, at))
        return false;
    model_note(m, who, "stat d%u%s/k%u", at.dir, model_way(at), at.key);
    model_expect(m, AGENT(&who->agent, SYS_newfstatat, AT_FDCWD, (long)model_path(who, at), (long)attr, 0),
                 wanted);
    if (wanted == 0 && (attr->st_uid != key.attr.uid || attr->st_gid != key.attr.gid ||
                        attr->st_mode != (S_IFREG | key.attr.mode) || attr->st_size != (off_t)key.size))
        model_differ(m, "%u:%u %o %ld bytes, not %u:%u %o %zu", attr->st_uid, attr->st_gid, attr->st_mode & 07777,
                     (long)attr->st_size, key.attr.uid, key.attr.gid, key.attr.mode, key.size);
    return true;
}

/* Everything, on both nodes. */
void model_look_at_all(struct model *m)
{
    m->quiet = true;
    for (unsigned node = 0; node < REF_NODES; node++)
        for (unsigned dir = 0; dir < REF_DIRS; dir++)
            for (unsigned key = 0; key < REF_KEYS; key++) {
                (void)model_look(m, model_root(m, node), (struct ref_place){dir, key, MODEL_STRAIGHT});
                (void)model_get(m, model_root(m, node), (struct ref_place){dir, key, MODEL_STRAIGHT});
            }
    m->quiet = false;
}
