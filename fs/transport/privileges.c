#include "fs/transport/privileges.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FAIL(error, rc, ...) (snprintf((error)->text, sizeof((error)->text), __VA_ARGS__), (rc))
#define BIT(capability) (1ull << (capability))

/* Sets of capabilities, of a thread. */
struct capabilities {
    uint64_t effective, permitted;
};

static struct {
    bool becomes; /* another user: `uid` */
    uid_t uid;
} privileges;

static int capabilities_get(struct capabilities *out)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &header, data) < 0)
        return -errno;
    out->effective = data[0].effective | (uint64_t)data[1].effective << 32;
    out->permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
    return 0;
}

/* Nothing is left for programs that are started to inherit. */
static int capabilities_set(const struct capabilities *set)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {
        {(uint32_t)set->effective, (uint32_t)set->permitted, 0},
        {(uint32_t)(set->effective >> 32), (uint32_t)(set->permitted >> 32), 0}};

    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

static bool has_admin(void)
{
    struct capabilities now;

    return capabilities_get(&now) == 0 && (now.permitted & BIT(CAP_SYS_ADMIN)) != 0;
}

bool fs_privileges_may_mount(void) { return geteuid() == 0 || has_admin(); }

/* No program that is started shall have more either: for where `no_new_privs` is not, and for user namespaces. */
static void limit_bounding_set(uint64_t keep)
{
    for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
        if ((keep & BIT(capability)) == 0)
            (void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0); /* fails where this process may not, and has less */
}

/* A store of somebody else is refused, but it has to be looked at for that. */
static bool is_own(const char *store)
{
    char path[PATH_MAX];
    struct stat attr;

    if (stat(store, &attr) < 0)
        return true; /* it is going to be, or is not there */
    if (attr.st_uid != geteuid() || snprintf(path, sizeof(path), "%s/data.mdb", store) >= (int)sizeof(path))
        return false;
    return lstat(path, &attr) < 0 || attr.st_uid == geteuid();
}

/* Keep what root needs; where it comes from a systemd that gave it to another user, the same. */
static int limit(const struct fs_options *options)
{
    uint64_t keep = BIT(CAP_SYS_ADMIN) | BIT(CAP_DAC_READ_SEARCH);
    struct capabilities now;
    int rc = capabilities_get(&now);

    if (rc < 0 || now.permitted == 0)
        return rc;
    if (options->io_uring) /* without it all rings of a user's processes share RLIMIT_MEMLOCK, some 1,000 */
        keep |= BIT(CAP_IPC_LOCK);
    if (options->foreign_store || !is_own(options->store))
        keep |= BIT(CAP_SETUID) | BIT(CAP_SETGID) | BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FOWNER);
    keep &= now.permitted;
    limit_bounding_set(keep);
    rc = capabilities_set(&(struct capabilities){keep & ~BIT(CAP_SYS_ADMIN), keep});
    if (rc == 0 && (keep & BIT(CAP_SYS_ADMIN)) != 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        rc = -errno;
    return rc;
}

/* The store is the user's, and the mount: libfuse tells the kernel the real user. Root is kept aside for mounting. */
static int become(const char *name, struct kv_error *error)
{
    const struct passwd *user = getpwnam(name);

    if (user == NULL)
        return FAIL(error, -ENOENT, "run_as=%s: there is no such user", name);
    if (geteuid() != 0)
        return FAIL(error, -EPERM, "run_as=%s: only root can become another user", name);
    if (initgroups(name, user->pw_gid) < 0 || setresgid(user->pw_gid, user->pw_gid, user->pw_gid) < 0 ||
        setresuid(user->pw_uid, user->pw_uid, 0) < 0)
        return FAIL(error, -errno, "run_as=%s: %s", name, strerror(errno));
    privileges.becomes = user->pw_uid != 0;
    privileges.uid = user->pw_uid;
    return 0;
}

int fs_privileges_begin(const struct fs_options *options, struct kv_error *error)
{
    int rc = options->run_as != NULL ? become(options->run_as, error) : 0;

    if (rc == 0 && !privileges.becomes)
        rc = limit(options);
    if (rc < 0 && error->text[0] == '\0')
        return FAIL(error, rc, "privileges cannot be given up: %s", strerror(-rc));
    return rc;
}

static void set_effective(bool admin)
{
    struct capabilities now;

    if (capabilities_get(&now) < 0 || (now.permitted & BIT(CAP_SYS_ADMIN)) == 0)
        return;
    now.effective = admin ? now.effective | BIT(CAP_SYS_ADMIN) : now.effective & ~BIT(CAP_SYS_ADMIN);
    (void)capabilities_set(&now); /* within what is permitted, it cannot fail; else the mount says so */
}

void fs_privileges_raise(void)
{
    if (privileges.becomes)
        (void)!seteuid(0); /* refused once they are given up: then fusermount3 is asked */
    else
        set_effective(true);
}

void fs_privileges_lower(void)
{
    if (privileges.becomes)
        (void)!seteuid(privileges.uid); /* fs_privileges_end() makes sure of it */
    else
        set_effective(false);
}

int fs_privileges_end(const struct fs_options *options)
{
    if (privileges.becomes) {
        if (setresuid(privileges.uid, privileges.uid, privileges.uid) < 0)
            return -errno;
        if (seteuid(0) == 0)
            return -EPERM;
    }
#ifndef KVFS_SANITIZED /* whose reports need to trace the process */
    if (!options->debug && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -errno;
#endif
    (void)options;
    return 0;
}
