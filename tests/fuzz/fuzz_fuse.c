/* Random requests to the handlers, in the place of a kernel.
 *
 * Input: options of the node, then requests: what, which node or handle of those that are known, names, sizes,
 * flags. The store before is always the same; account a has room for 256 KiB. At the end everything is released
 * and forgotten: nothing may be left but the root, and the store must be sound. */
#include "fs/base/ledger.h"
#include "fs/base/options.h"
#include "fs/content/handle.h"
#include "fs/handlers/session.h"
#include "fs/nodes/nodes_internal.h"

#include "store/rules/apply.h"

#include "tests/fuzz/base.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

enum { REQUESTS_MAX = 64, NAME_MAX_BYTES = 1024, DIR_BYTES_MAX = 4096, WRITE_MAX = 128 * 1024, IDLE_MS = 20000 };

enum { DIRS = 1, FILES = 2, LINKS = 4, ANY = 7 };

static struct fs fs;
static struct kernel_request request;
static bool scratch_made;

/* ------------------------------------------------------------- what an input chooses from */

static unsigned type_bit(const struct kernel_node *node)
{
    return S_ISDIR(node->type) ? DIRS : S_ISREG(node->type) ? FILES : LINKS;
}

/* One of the known nodes of these types, or NULL. */
static struct kernel_node *choose_node(struct fuzz_input *in, unsigned types)
{
    struct kernel_node *nodes = kernel_nodes(), *found[KERNEL_NODES];
    unsigned count = 0, number = fuzz_u8(in);

    for (size_t i = 0; i < KERNEL_NODES; i++)
        if (nodes[i].lookups > 0 && type_bit(&nodes[i]) & types)
            found[count++] = &nodes[i];
    return count > 0 ? found[number % count] : NULL;
}

typedef bool handle_test(const struct kernel_handle *handle);

static bool is_file(const struct kernel_handle *handle) { return type_bit(handle->node) == FILES; }

static bool is_dir(const struct kernel_handle *handle) { return type_bit(handle->node) == DIRS; }

static bool may_read(const struct kernel_handle *handle)
{
    return is_file(handle) && (handle->flags & O_ACCMODE) != O_WRONLY;
}

static bool may_write(const struct kernel_handle *handle)
{
    return is_file(handle) && (handle->flags & O_ACCMODE) != O_RDONLY;
}

static bool may_flush(const struct kernel_handle *handle) { return is_file(handle) && !handle->no_flush; }

/* One of the open handles, or NULL. */
static struct kernel_handle *choose_handle(struct fuzz_input *in, handle_test *test)
{
    struct kernel_handle *handles = kernel_handles(), *found[KERNEL_HANDLES];
    unsigned count = 0, number = fuzz_u8(in);

    for (size_t i = 0; i < KERNEL_HANDLES; i++)
        if (handles[i].node != NULL && test(&handles[i]))
            found[count++] = &handles[i];
    return count > 0 ? found[number % count] : NULL;
}

/* A request names something that can be named: no slash, no NUL, not empty, neither "." nor "..". */
static void make_possible(char *name)
{
    for (char *c = name; *c != '\0'; c++)
        if (*c == '/')
            *c = '_';
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        strcpy(name, "k");
}

/* Borrowed until the next but one is chosen. */
static const char *choose_name(struct fuzz_input *in)
{
    static const char *const names[] = {"a",     "b",   "n",  "m",     "k1",        "k2",      "k3",     "new",
                                        "p",     "V",   "W",  ".kvfs", "stats",     "errors",  "config", ".t",
                                        ".1.sw", "x-y", "-x", "k1~",   ".projects", ".prefix", ".from",  "k"};
    static const size_t sizes[] = {64, 65, 255, 511, 512, 513, NAME_MAX_BYTES};
    static char made[2][NAME_MAX_BYTES + 1];
    static int turn;
    unsigned number = fuzz_u8(in);
    char *name = made[turn = !turn];
    const uint8_t *bytes;
    size_t size;

    if (number < 224)
        return names[number % (sizeof(names) / sizeof(names[0]))];
    memset(name, 0, sizeof(made[0]));
    if (number < 240) {
        bytes = fuzz_bytes(in, number - 223, &size);
        memcpy(name, bytes, size);
    } else {
        memset(name, number & 8 ? '.' : 'k', sizes[(number & 7) % (sizeof(sizes) / sizeof(sizes[0]))]);
    }
    make_possible(name);
    return name;
}

/* A size or an offset: mostly small, sometimes around the limits. */
static uint64_t choose_size(struct fuzz_input *in)
{
    static const uint64_t sizes[] = {
        4096, 8192, 8193, 100000, 200000, 262144, KV_VALUE_MAX, KV_VALUE_MAX + 1ull, INT64_MAX / 2};
    unsigned number = fuzz_u8(in);

    if (number < 128)
        return number;
    return number < 192 ? fuzz_u16(in) : sizes[number % (sizeof(sizes) / sizeof(sizes[0]))];
}

/* ----------------------------------------------------------------------------- sending */

static void begin(uint32_t opcode, const struct kernel_node *node)
{
    request.opcode = opcode;
    request.node = node;
    request.interrupted = request.left = false;
    request.size = 0;
}

/* returns true for a reply with what was asked for; a sound store gives no errors but those of the tree */
static bool send(struct kernel_reply *reply)
{
    *reply = kernel_send(&request);
    FUZZ_CHECK(reply->error != EIO && reply->error != ENOMEM && reply->error != EFAULT &&
               reply->error != ETIMEDOUT);
    return !reply->lost && reply->error == 0;
}

/* For requests whose reply is empty. */
static void send_simple(void)
{
    struct kernel_reply reply;

    if (send(&reply))
        FUZZ_CHECK(reply.size == 0);
}

/* Some of the requests whose reply gives the kernel something are interrupted. */
static void maybe_interrupt(struct fuzz_input *in) { request.interrupted = fuzz_u8(in) >= 0xf0; }

static struct kernel_node *send_for_entry(void)
{
    struct kernel_reply reply;

    if (!send(&reply))
        return NULL;
    FUZZ_CHECK(reply.size == sizeof(struct fuse_entry_out));
    return kernel_add_entry((const void *)reply.body);
}

static void add_handle(struct kernel_node *node, const struct fuse_open_out *opened, int flags)
{
    struct kernel_handle *handle = kernel_free_handle();

    *handle = (struct kernel_handle){node, opened->fh, flags, opened->open_flags & FOPEN_NOFLUSH};
    node->opens++;
}

static void send_for_handle(struct kernel_node *node, int flags)
{
    struct kernel_reply reply;

    if (!send(&reply))
        return;
    FUZZ_CHECK(reply.size == sizeof(struct fuse_open_out));
    add_handle(node, (const void *)reply.body, flags);
}

/* -------------------------------------------------------------------------------- names */

static void op_lookup(struct fuzz_input *in)
{
    begin(FUSE_LOOKUP, choose_node(in, DIRS));
    kernel_add_name(&request, choose_name(in));
    maybe_interrupt(in);
    if (kernel_has_room(1))
        (void)send_for_entry();
}

static void op_mkdir(struct fuzz_input *in)
{
    struct fuse_mkdir_in mkdir = {.mode = 0755};

    begin(FUSE_MKDIR, choose_node(in, DIRS));
    mkdir.mode = fuzz_u8(in) & 1 ? 0755 : 02777;
    kernel_add(&request, &mkdir, sizeof(mkdir));
    kernel_add_name(&request, choose_name(in));
    maybe_interrupt(in);
    if (kernel_has_room(1))
        (void)send_for_entry();
}

static void op_mknod(struct fuzz_input *in)
{
    static const uint32_t modes[] = {S_IFREG | 0644, S_IFREG | 0600, S_IFIFO | 0644, S_IFCHR | 0600,
                                     S_IFSOCK | 0777};
    struct fuse_mknod_in mknod = {.rdev = 0};

    begin(FUSE_MKNOD, choose_node(in, DIRS));
    mknod.mode = modes[fuzz_below(in, sizeof(modes) / sizeof(modes[0]))];
    kernel_add(&request, &mknod, sizeof(mknod));
    kernel_add_name(&request, choose_name(in));
    maybe_interrupt(in);
    if (kernel_has_room(1))
        (void)send_for_entry();
}

static void op_symlink(struct fuzz_input *in)
{
    static const char *const targets[] = {"../../n",   "../../m", "../../zz", "/kvfs/a/n",
                                          "/kvfs/b/n", "/kvfs/a", "n",        "/"};

    begin(FUSE_SYMLINK, choose_node(in, DIRS));
    kernel_add_name(&request, choose_name(in));
    if (fuzz_u8(in) & 1)
        kernel_add_name(&request, targets[fuzz_below(in, sizeof(targets) / sizeof(targets[0]))]);
    else
        kernel_add_name(&request, choose_name(in));
    maybe_interrupt(in);
    if (kernel_has_room(1))
        (void)send_for_entry();
}

static void op_readlink(struct fuzz_input *in)
{
    struct kernel_node *node = choose_node(in, LINKS);
    struct kernel_reply reply;

    if (node == NULL)
        return;
    begin(FUSE_READLINK, node);
    if (send(&reply))
        FUZZ_CHECK(reply.size > 0 && reply.size < 4096 && memchr(reply.body, '\0', reply.size) == NULL);
}

static void op_unlink(struct fuzz_input *in)
{
    uint32_t opcode = fuzz_u8(in) & 1 ? FUSE_UNLINK : FUSE_RMDIR;

    begin(opcode, choose_node(in, DIRS));
    kernel_add_name(&request, choose_name(in));
    send_simple();
}

static void op_rename(struct fuzz_input *in)
{
    struct fuse_rename2_in rename = {.flags = fuzz_below(in, 5)};
    struct kernel_node *from = choose_node(in, DIRS);

    rename.newdir = choose_node(in, DIRS)->id;
    begin(rename.flags == 0 ? FUSE_RENAME : FUSE_RENAME2, from);
    kernel_add(&request, &rename, rename.flags == 0 ? sizeof(struct fuse_rename_in) : sizeof(rename));
    kernel_add_name(&request, choose_name(in));
    kernel_add_name(&request, choose_name(in));
    send_simple();
}

static void op_link(struct fuzz_input *in)
{
    struct fuse_link_in link = {.oldnodeid = choose_node(in, ANY)->id};

    begin(FUSE_LINK, choose_node(in, DIRS));
    kernel_add(&request, &link, sizeof(link));
    kernel_add_name(&request, choose_name(in));
    if (kernel_has_room(1))
        (void)send_for_entry();
}

static void send_forget(struct kernel_node *node, uint64_t lookups)
{
    struct fuse_forget_in forget = {.nlookup = lookups};
    struct kernel_reply reply;

    kernel_forget(node, lookups);
    begin(FUSE_FORGET, node);
    kernel_add(&request, &forget, sizeof(forget));
    (void)send(&reply);
}

static void op_forget(struct fuzz_input *in)
{
    struct kernel_node *node = choose_node(in, ANY);
    uint64_t lookups = 1 + fuzz_u8(in) % node->lookups;

    if (node != kernel_root() && (lookups < node->lookups || node->opens == 0))
        send_forget(node, lookups);
}

/* All that is not open, in one request. */
static void op_forget_all(struct fuzz_input *in)
{
    struct fuse_batch_forget_in batch = {.count = 0};
    struct kernel_node *nodes = kernel_nodes();
    struct kernel_reply reply;

    (void)in;
    begin(FUSE_BATCH_FORGET, NULL);
    kernel_add(&request, &batch, sizeof(batch));
    for (size_t i = 1; i < KERNEL_NODES; i++) {
        struct fuse_forget_one one = {nodes[i].id, nodes[i].lookups};

        if (nodes[i].lookups == 0 || nodes[i].opens > 0)
            continue;
        kernel_forget(&nodes[i], nodes[i].lookups);
        kernel_add(&request, &one, sizeof(one));
        batch.count++;
    }
    memcpy(request.body, &batch, sizeof(batch));
    (void)send(&reply);
}

/* --------------------------------------------------------------------------- attributes */

static void check_attr(const struct kernel_node *node, const struct kernel_reply *reply)
{
    const struct fuse_attr_out *attr = (const void *)reply->body;

    FUZZ_CHECK(reply->size == sizeof(*attr) && attr->attr.ino != 0 && (attr->attr.mode & S_IFMT) == node->type);
    FUZZ_CHECK(attr->attr.mtimensec < 1000000000 && attr->attr.atimensec < 1000000000);
}

static void op_getattr(struct fuzz_input *in)
{
    struct kernel_handle *handle = choose_handle(in, is_file);
    struct fuse_getattr_in getattr = {.getattr_flags = handle != NULL ? FUSE_GETATTR_FH : 0};
    struct kernel_node *node = choose_node(in, ANY);
    struct kernel_reply reply;

    if (handle != NULL) {
        node = handle->node;
        getattr.fh = handle->id;
    }
    begin(FUSE_GETATTR, node);
    kernel_add(&request, &getattr, sizeof(getattr));
    if (send(&reply))
        check_attr(node, &reply);
}

static void op_setattr(struct fuzz_input *in)
{
    struct fuse_setattr_in setattr = {.valid = fuzz_u16(in) & (FATTR_MODE | FATTR_UID | FATTR_GID | FATTR_ATIME |
                                                               FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW)};
    struct kernel_handle *handle = fuzz_u8(in) & 1 ? choose_handle(in, may_write) : NULL;
    struct kernel_node *node = handle != NULL ? handle->node : choose_node(in, ANY);
    struct kernel_reply reply;

    if (handle != NULL) {
        setattr.valid |= FATTR_FH;
        setattr.fh = handle->id;
    }
    if (type_bit(node) == FILES && fuzz_u8(in) & 1) {
        setattr.valid |= FATTR_SIZE;
        setattr.size = choose_size(in);
    }
    setattr.mode = node->type | (fuzz_u16(in) & 07777);
    setattr.uid = fuzz_u8(in);
    setattr.gid = fuzz_u8(in);
    setattr.mtime = setattr.valid & FATTR_MTIME ? fuzz_u64(in) : 0;
    setattr.atime = setattr.mtime / 2;
    setattr.mtimensec = setattr.atimensec = fuzz_u16(in);
    begin(FUSE_SETATTR, node);
    kernel_add(&request, &setattr, sizeof(setattr));
    if (send(&reply))
        check_attr(node, &reply);
}

static void op_statfs(struct fuzz_input *in)
{
    struct kernel_reply reply;

    begin(FUSE_STATFS, choose_node(in, ANY));
    if (send(&reply))
        FUZZ_CHECK(reply.size == sizeof(struct fuse_statfs_out));
}

static const char *choose_xattr(struct fuzz_input *in)
{
    static const char *const names[] = {"user.a",
                                        "user.b",
                                        "user.kvfs.version",
                                        "user.kvfs.age_ms",
                                        "user.kvfs.source",
                                        "user.kvfs.keys",
                                        "user.kvfs.quota_bytes",
                                        "user.kvfs.bytes",
                                        "user.",
                                        "security.capability",
                                        "trusted.x",
                                        "system.posix_acl_access"};
    static char name[XATTR_NAME_MAX + 1];
    unsigned number = fuzz_u8(in);

    if (number < 240)
        return names[number % (sizeof(names) / sizeof(names[0]))];
    snprintf(name, sizeof(name), "user.%0*u", XATTR_NAME_MAX - 5 - (int)(number & 1), number);
    return name;
}

static void op_setxattr(struct fuzz_input *in)
{
    static const uint8_t value[65536];
    struct fuse_setxattr_in setxattr = {.flags = fuzz_below(in, 3)};
    size_t size = choose_size(in) % (sizeof(value) + 1);

    setxattr.size = (uint32_t)size;
    begin(FUSE_SETXATTR, choose_node(in, ANY));
    kernel_add(&request, &setxattr, FUSE_COMPAT_SETXATTR_IN_SIZE);
    kernel_add_name(&request, choose_xattr(in));
    kernel_add(&request, value, size);
    send_simple();
}

static void check_xattr(const struct kernel_reply *reply, uint32_t size)
{
    FUZZ_CHECK(size == 0 ? reply->size == sizeof(struct fuse_getxattr_out) : reply->size <= size);
}

static void op_getxattr(struct fuzz_input *in)
{
    bool list = fuzz_u8(in) & 1;
    struct fuse_getxattr_in getxattr = {.size = (uint32_t)(choose_size(in) % 65537)};
    struct kernel_reply reply;

    begin(list ? FUSE_LISTXATTR : FUSE_GETXATTR, choose_node(in, ANY));
    kernel_add(&request, &getxattr, sizeof(getxattr));
    if (!list)
        kernel_add_name(&request, choose_xattr(in));
    if (send(&reply))
        check_xattr(&reply, getxattr.size);
}

static void op_removexattr(struct fuzz_input *in)
{
    begin(FUSE_REMOVEXATTR, choose_node(in, ANY));
    kernel_add_name(&request, choose_xattr(in));
    send_simple();
}

/* -------------------------------------------------------------------------------- files */

static void op_open(struct fuzz_input *in)
{
    struct kernel_node *node = choose_node(in, FILES);
    unsigned what = fuzz_u8(in);
    int flags = (int)(what % 3) | (what & 0x40 ? O_TRUNC : 0) | (what & 0x80 ? O_APPEND : 0);
    struct fuse_open_in open = {.flags = (uint32_t)flags};

    if (node == NULL || kernel_free_handle() == NULL)
        return;
    begin(FUSE_OPEN, node);
    kernel_add(&request, &open, sizeof(open));
    maybe_interrupt(in);
    send_for_handle(node, flags);
}

static void op_create(struct fuzz_input *in)
{
    struct kernel_node *dir = choose_node(in, DIRS), *node;
    const char *name = choose_name(in);
    unsigned what = fuzz_u8(in);
    int flags = O_CREAT | (int)(what % 3) | (what & 0x20 ? O_EXCL : 0) | (what & 0x40 ? O_TRUNC : 0);
    struct fuse_create_in create = {.flags = (uint32_t)flags, .mode = S_IFREG | (what & 0x10 ? 04755 : 0600)};
    struct kernel_reply reply;

    if (kernel_free_handle() == NULL || !kernel_has_room(1))
        return;
    begin(FUSE_CREATE, dir);
    kernel_add(&request, &create, sizeof(create));
    kernel_add_name(&request, name);
    maybe_interrupt(in);
    scratch_made |= name[0] == '.';
    if (!send(&reply))
        return;
    FUZZ_CHECK(reply.size == sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out));
    node = kernel_add_entry((const void *)reply.body);
    FUZZ_CHECK(node != NULL && S_ISREG(node->type));
    add_handle(node, (const void *)(reply.body + sizeof(struct fuse_entry_out)), flags);
}

static void op_read(struct fuzz_input *in)
{
    struct kernel_handle *handle = choose_handle(in, may_read);
    struct fuse_read_in read = {.size = 4096};
    struct kernel_reply reply;

    if (handle == NULL)
        return;
    read.fh = handle->id;
    read.offset = choose_size(in);
    read.size = 1 + (uint32_t)(choose_size(in) % (1u << 20));
    begin(FUSE_READ, handle->node);
    kernel_add(&request, &read, sizeof(read));
    if (send(&reply))
        FUZZ_CHECK(reply.size <= read.size);
}

static void op_write(struct fuzz_input *in)
{
    static uint8_t bytes[WRITE_MAX];
    struct kernel_handle *handle = choose_handle(in, may_write);
    struct fuse_write_in write = {.size = 0};
    struct kernel_reply reply;

    if (handle == NULL)
        return;
    write.fh = handle->id;
    write.offset = choose_size(in);
    write.size = 1 + (uint32_t)(choose_size(in) % WRITE_MAX);
    memset(bytes, fuzz_u8(in), write.size);
    begin(FUSE_WRITE, handle->node);
    kernel_add(&request, &write, sizeof(write));
    kernel_add(&request, bytes, write.size);
    if (send(&reply)) {
        const struct fuse_write_out *written = (const void *)reply.body;

        FUZZ_CHECK(reply.size == sizeof(*written) && written->size == write.size);
    }
}

static void op_fallocate(struct fuzz_input *in)
{
    static const uint32_t modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                     FALLOC_FL_ZERO_RANGE, FALLOC_FL_COLLAPSE_RANGE};
    struct kernel_handle *handle = choose_handle(in, may_write);
    struct fuse_fallocate_in fallocate = {.mode = modes[fuzz_below(in, sizeof(modes) / sizeof(modes[0]))]};

    if (handle == NULL)
        return;
    fallocate.fh = handle->id;
    fallocate.offset = choose_size(in);
    fallocate.length = 1 + choose_size(in);
    begin(FUSE_FALLOCATE, handle->node);
    kernel_add(&request, &fallocate, sizeof(fallocate));
    send_simple();
}

static void op_copy(struct fuzz_input *in)
{
    struct kernel_handle *from = choose_handle(in, may_read), *to = choose_handle(in, may_write);
    struct fuse_copy_file_range_in copy = {.flags = 0};
    struct kernel_reply reply;

    if (from == NULL || to == NULL)
        return;
    copy.fh_in = from->id;
    copy.off_in = choose_size(in);
    copy.nodeid_out = to->node->id;
    copy.fh_out = to->id;
    copy.off_out = choose_size(in);
    copy.len = choose_size(in);
    begin(FUSE_COPY_FILE_RANGE, from->node);
    kernel_add(&request, &copy, sizeof(copy));
    if (send(&reply)) {
        const struct fuse_write_out *written = (const void *)reply.body;

        FUZZ_CHECK(reply.size == sizeof(*written) && written->size <= copy.len);
    }
}

static void op_flush(struct fuzz_input *in)
{
    struct kernel_handle *handle = choose_handle(in, may_flush);
    struct fuse_flush_in flush = {.lock_owner = 1};

    if (handle == NULL)
        return;
    flush.fh = handle->id;
    begin(FUSE_FLUSH, handle->node);
    kernel_add(&request, &flush, sizeof(flush));
    request.left = fuzz_u8(in) & 1;
    send_simple();
}

static void op_fsync(struct fuzz_input *in)
{
    struct kernel_handle *handle = choose_handle(in, is_file);
    struct fuse_fsync_in fsync = {.fsync_flags = 0};

    if (handle == NULL)
        return;
    fsync.fh = handle->id;
    begin(FUSE_FSYNC, handle->node);
    kernel_add(&request, &fsync, sizeof(fsync));
    request.left = fuzz_u8(in) & 1;
    send_simple();
}

/* No request of a handle is under way any more when it is released. */
static void release(struct kernel_handle *handle)
{
    struct fuse_release_in release = {.fh = handle->id, .flags = (uint32_t)handle->flags};

    kernel_wait();
    begin(is_dir(handle) ? FUSE_RELEASEDIR : FUSE_RELEASE, handle->node);
    kernel_add(&request, &release, sizeof(release));
    send_simple();
    handle->node->opens--;
    handle->node = NULL;
}

static void op_release(struct fuzz_input *in)
{
    struct kernel_handle *handle = choose_handle(in, fuzz_u8(in) & 1 ? is_file : is_dir);

    if (handle != NULL)
        release(handle);
}

/* -------------------------------------------------------------------------- directories */

static void op_opendir(struct fuzz_input *in)
{
    struct fuse_open_in open = {.flags = O_RDONLY | O_DIRECTORY};
    struct kernel_node *node = choose_node(in, DIRS);

    if (kernel_free_handle() == NULL)
        return;
    begin(FUSE_OPENDIR, node);
    kernel_add(&request, &open, sizeof(open));
    maybe_interrupt(in);
    send_for_handle(node, (int)open.flags);
}

static bool is_dot(const struct fuse_dirent *entry)
{
    return entry->name[0] == '.' && (entry->namelen == 1 || (entry->namelen == 2 && entry->name[1] == '.'));
}

/* Check one entry. returns its size */
static size_t check_dirent(const struct fuse_dirent *entry, size_t left)
{
    FUZZ_CHECK(left >= FUSE_NAME_OFFSET && left >= FUSE_DIRENT_SIZE(entry));
    FUZZ_CHECK(entry->namelen > 0 && entry->namelen <= KV_KEY_MAX && entry->ino != 0);
    FUZZ_CHECK(memchr(entry->name, '/', entry->namelen) == NULL &&
               memchr(entry->name, '\0', entry->namelen) == NULL);
    return FUSE_DIRENT_SIZE(entry);
}

static size_t check_direntplus(const struct fuse_direntplus *entry, size_t left)
{
    FUZZ_CHECK(left >= FUSE_NAME_OFFSET_DIRENTPLUS);
    (void)check_dirent(&entry->dirent, left - sizeof(entry->entry_out));
    if (is_dot(&entry->dirent))
        FUZZ_CHECK(entry->entry_out.nodeid == 0);
    else
        (void)kernel_add_entry(&entry->entry_out);
    return FUSE_DIRENTPLUS_SIZE(entry);
}

static void op_readdir(struct fuzz_input *in)
{
    struct kernel_handle *handle = choose_handle(in, is_dir);
    struct fuse_read_in read = {.size = 1 + (uint32_t)(choose_size(in) % DIR_BYTES_MAX)};
    bool plus = fuzz_u8(in) & 1;
    struct kernel_reply reply;

    read.offset = choose_size(in);
    if (handle == NULL || (plus && !kernel_has_room(1 + read.size / FUSE_NAME_OFFSET_DIRENTPLUS)))
        return;
    read.fh = handle->id;
    begin(plus ? FUSE_READDIRPLUS : FUSE_READDIR, handle->node);
    kernel_add(&request, &read, sizeof(read));
    if (!send(&reply))
        return;
    FUZZ_CHECK(reply.size <= read.size);
    for (size_t at = 0; at < reply.size;)
        at += plus ? check_direntplus((const void *)(reply.body + at), reply.size - at)
                   : check_dirent((const void *)(reply.body + at), reply.size - at);
}

static void op_fsyncdir(struct fuzz_input *in)
{
    struct kernel_handle *handle = choose_handle(in, is_dir);
    struct fuse_fsync_in fsync = {.fsync_flags = 0};

    if (handle == NULL)
        return;
    fsync.fh = handle->id;
    begin(FUSE_FSYNCDIR, handle->node);
    kernel_add(&request, &fsync, sizeof(fsync));
    send_simple();
}

/* What no handler is there for. */
static void op_other(struct fuzz_input *in)
{
    static const uint32_t opcodes[] = {FUSE_ACCESS, FUSE_LSEEK, FUSE_GETLK, FUSE_IOCTL, FUSE_POLL, FUSE_BMAP, 999};
    static const uint8_t zeros[64];
    uint32_t opcode = opcodes[fuzz_below(in, sizeof(opcodes) / sizeof(opcodes[0]))];
    struct kernel_reply reply;

    begin(opcode, choose_node(in, FILES | DIRS));
    kernel_add(&request, zeros, sizeof(zeros));
    FUZZ_CHECK(!send(&reply) && reply.error != 0);
}

static void make_requests(struct fuzz_input *in)
{
    static void (*const operations[])(struct fuzz_input *) = {
        op_lookup,   op_lookup,   op_lookup,      op_lookup,    op_create, op_create,     op_open,    op_open,
        op_write,    op_write,    op_write,       op_read,      op_flush,  op_flush,      op_release, op_release,
        op_getattr,  op_setattr,  op_unlink,      op_unlink,    op_rename, op_rename,     op_mkdir,   op_mknod,
        op_symlink,  op_readlink, op_link,        op_forget,    op_forget, op_forget_all, op_statfs,  op_setxattr,
        op_getxattr, op_getxattr, op_removexattr, op_fallocate, op_copy,   op_fsync,      op_opendir, op_readdir,
        op_readdir,  op_fsyncdir, op_other,
    };

    for (int i = 0; i < REQUESTS_MAX && in->left > 0; i++)
        operations[fuzz_below(in, sizeof(operations) / sizeof(operations[0]))](in);
}

/* --------------------------------------------------------------------------------- end */

static struct kernel_handle *open_dir(struct kernel_node *dir)
{
    struct fuse_open_in open = {.flags = O_RDONLY | O_DIRECTORY};
    struct kernel_handle *handle = kernel_free_handle();

    begin(FUSE_OPENDIR, dir);
    kernel_add(&request, &open, sizeof(open));
    send_for_handle(dir, (int)open.flags);
    FUZZ_CHECK(handle->node == dir);
    return handle;
}

static struct kernel_reply read_dir(const struct kernel_handle *handle, uint32_t opcode, uint64_t offset)
{
    struct fuse_read_in read = {.fh = handle->id, .size = DIR_BYTES_MAX, .offset = offset};
    struct kernel_reply reply;

    begin(opcode, handle->node);
    kernel_add(&request, &read, sizeof(read));
    FUZZ_CHECK(send(&reply));
    return reply;
}

/* Look up all that is in a directory. */
static void look_up_all(struct kernel_node *dir)
{
    struct kernel_handle *handle = open_dir(dir);
    struct kernel_reply reply;
    uint64_t offset = 0;

    do {
        reply = read_dir(handle, FUSE_READDIRPLUS, offset);
        for (size_t at = 0; at < reply.size;) {
            const struct fuse_direntplus *entry = (const void *)(reply.body + at);

            offset = entry->dirent.off;
            at += check_direntplus(entry, reply.size - at);
        }
    } while (reply.size > 0);
    release(handle);
}

/* Find a name in a namespace that begins with a dot. */
static bool find_scratch(struct kernel_node *namespace, char name[KV_KEY_MAX + 1])
{
    struct kernel_handle *handle = open_dir(namespace);
    struct kernel_reply reply = read_dir(handle, FUSE_READDIR, 0);
    bool found = false;

    for (size_t at = 0; at < reply.size && !found;) {
        const struct fuse_dirent *entry = (const void *)(reply.body + at);

        at += check_dirent(entry, reply.size - at);
        snprintf(name, KV_KEY_MAX + 1, "%.*s", (int)entry->namelen, entry->name);
        found = !is_dot(entry) && kv_name_check(KV_NAME_KEY, name, strlen(name)) < 0;
    }
    release(handle);
    return found;
}

/* Scratch files live until the unmount, unless somebody unlinks them. */
static void unlink_scratch(void)
{
    struct kernel_node *nodes = kernel_nodes();
    char name[KV_KEY_MAX + 1];

    look_up_all(kernel_root());
    for (size_t i = 1; i < KERNEL_NODES; i++)
        if (nodes[i].lookups > 0 && fs_inode_of(&fs, nodes[i].id)->node_kind == KV_ACCOUNT)
            look_up_all(&nodes[i]);
    for (size_t i = 1; i < KERNEL_NODES; i++)
        while (nodes[i].lookups > 0 && fs_inode_of(&fs, nodes[i].id)->node_kind == KV_NAMESPACE &&
               find_scratch(&nodes[i], name)) {
            begin(FUSE_UNLINK, &nodes[i]);
            kernel_add_name(&request, name);
            send_simple();
        }
}

/* Is nothing left of all requests? What they left to other threads may take a moment. */
/* Temporary files stay until the unmount. */
static bool is_idle(void)
{
    bool temporary = fs_ledger_used(fs.accounts, FS_LEDGER_NODE, FS_TEMP_BYTES) > 0, idle;

    fs_opened_ahead_end(&fs, true);
    pthread_mutex_lock(&fs.nodes->lock);
    idle = (temporary || (fs.nodes->by_id.count == 1 && fs.nodes->names.count == 1)) &&
           fs_ledger_used(fs.users, 0, FS_HANDLES) == 0 && fs_ledger_used(fs.users, 0, FS_CONTROL_HANDLES) == 0;
    pthread_mutex_unlock(&fs.nodes->lock);
    return idle;
}

static void found(void *arg, const struct kv_finding *finding)
{
    (void)arg;
    fprintf(stderr, "%s: %s: %s\n", finding->kind, finding->where, finding->what);
}

static void check_store(void)
{
    struct kv_check_options options = {.found = found};
    struct kv_check_report report;

    FUZZ_CHECK(kv_check(fs.store, &options, &report) == 0 && report.findings == 0);
}

static void end(void)
{
    kernel_wait();
    for (size_t i = 0; i < KERNEL_HANDLES; i++)
        if (kernel_handles()[i].node != NULL)
            release(&kernel_handles()[i]);
    op_forget_all(NULL);
    if (scratch_made) {
        unlink_scratch();
        op_forget_all(NULL);
    }
    FUZZ_CHECK(kv_sync(fs.store) == 0);
    for (int ms = 0; !is_idle(); ms++) {
        FUZZ_CHECK(ms < IDLE_MS);
        usleep(1000);
    }
    check_store();
    FUZZ_CHECK(fs_session_end(&fs, false) == 0);
    FUZZ_CHECK(fs_ledger_used(fs.accounts, FS_LEDGER_NODE, FS_TEMP_BYTES) == 0);
    fs_session_free(&fs);
    kernel_stop();
}

/* ------------------------------------------------------------------------------- start */

/* The store before, made once. */
static struct engine *base(void)
{
    static uint8_t bytes[RECORD_INLINE_MAX + 100];
    static struct engine *engine;
    uint64_t a, b, a_n, a_m, b_n, project;
    struct kv_change limits = {.kind = KV_NODE_LIMITS};
    struct tx *tx;

    if (engine != NULL)
        return engine;
    memset(bytes, 'v', sizeof(bytes));
    tx = fuzz_base_begin(&engine);
    a = fuzz_base_node(tx, KV_ACCOUNT, KV_ROOT_ID, "a", 0);
    b = fuzz_base_node(tx, KV_ACCOUNT, KV_ROOT_ID, "b", 0);
    a_n = fuzz_base_node(tx, KV_NAMESPACE, a, "n", 0);
    a_m = fuzz_base_node(tx, KV_NAMESPACE, a, "m", 0);
    b_n = fuzz_base_node(tx, KV_NAMESPACE, b, "n", 0);
    project = fuzz_base_node(tx, KV_PROJECT, a + 1, "p", 0);
    (void)fuzz_base_node(tx, KV_BINDING, project, "V", a_n);
    (void)fuzz_base_key(tx, a_n, "k1", bytes, 5, NULL);
    (void)fuzz_base_key(tx, a_n, "k2", bytes, sizeof(bytes), NULL);
    (void)fuzz_base_key(tx, a_m, "k1", bytes, 0, NULL);
    (void)fuzz_base_key(tx, b_n, "k1", bytes, 100, NULL);
    limits.node = (struct kv_node){.id = a, .limit_bytes = 256 * 1024, .limit_namespaces = 3};
    FUZZ_CHECK(apply(tx, &limits) == 0);
    fuzz_base_end(tx);
    return engine;
}

static void start(struct fs_options *options)
{
    static char *arguments[] = {(char *)(uintptr_t) "kvfs", NULL};
    struct kv_options store_options = kv_options_default();
    struct fuse_args args = FUSE_ARGS_INIT(1, arguments);
    struct kv_error error;
    struct engine *engine;

    setlogmask(LOG_MASK(LOG_DEBUG));
    fs = (struct fs){.options = options};
    FUZZ_CHECK(engine_memory_copy(base(), &engine) == 0);
    store_options.backend = test_backend(engine);
    store_options.read_only = options->read_only;
    store_options.cache_ttl_ms = options->cache_ttl_ms;
    store_options.cache_bytes = options->cache_bytes;
    store_options.durability = options->durability;
    store_options.commit_interval_ms = options->commit_interval_ms;
    FUZZ_CHECK(kv_open("memory", &store_options, &fs.store, &error) == 0);
    FUZZ_CHECK(fs_session_start(&fs, &args) == 0);
    fuse_opt_free_args(&args);
    kernel_start(&fs);
    scratch_made = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char store[] = "/", mountpoint[] = "/kvfs", node[] = "fuzz";
    struct fs_options options = {.store = store, .mountpoint = mountpoint, .node = node, .commit_interval_ms = 1};
    struct fuzz_input in = {data, size};
    unsigned mode = fuzz_u8(&in);

    options.cache_bytes = mode & 1 ? 0 : 65536;
    options.cache_ttl_ms = mode & 2 ? 0 : 60000;
    options.durability = mode & 4 ? KV_DURABILITY_FSYNC : KV_DURABILITY_CLOSE;
    options.read_only = (mode & 0xf8) == 0xf8;
    start(&options);
    make_requests(&in);
    end();
    return 0;
}
