/* Filesystems that a store may lie on. Those that hosts can share are refused. FUSE is any filesystem: those are let in
 * that are known to be local. */
#include "store/lmdb/lmdb_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#define FUSE 0x65735546 /* also of virtiofs */

/* The name of a filesystem that is shared by hosts, whose locks and maps do not reach across; else NULL. */
static const char *filesystem_of_hosts(uint32_t type)
{
    static const struct {
        uint32_t type;
        const char *name;
    } known[] = {
        {0x6969, "NFS"},        {0x517b, "SMB"},        {0xfe534d42, "SMB"},      {0xff534d42, "CIFS"},
        {0x01021997, "9p"},     {0x00c36400, "Ceph"},   {0x5346414f, "AFS"},      {0x6b414653, "AFS"},
        {0x73757245, "Coda"},   {0x0bd00bd0, "Lustre"}, {0x7461636f, "OCFS2"},    {0x01161970, "GFS2"},
        {0x19830326, "BeeGFS"}, {0x47504653, "GPFS"},   {0x20030528, "OrangeFS"}, {0x786f4256, "vboxsf"},
        {0xbacbacbc, "vmhgfs"},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].type == type)
            return known[i].name;
    return NULL;
}

/* The type of what is mounted from a device. type: room for 64 bytes; "fuse" where the mounts do not say */
static void filesystem_mounted(FILE *mounts, dev_t device, char *type)
{
    char *line = NULL;
    size_t room = 0;
    unsigned high, low;

    strcpy(type, "fuse");
    /* id, parent, device, root, mount point, options, any number of tags, "-", type, ... */
    while (mounts != NULL && getline(&line, &room, mounts) > 0) {
        const char *rest = strstr(line, " - ");

        if (rest != NULL && sscanf(line, "%*u %*u %u:%u", &high, &low) == 2 && makedev(high, low) == device &&
            sscanf(rest, " - %63s", type) == 1)
            break;
    }
    free(line);
}

int lmdb_check_fuse(FILE *mounts, dev_t device, const char *dir, struct kv_error *error)
{
    static const char *const local[] = {"fuseblk", "fuse.fuse-overlayfs"};
    char type[64];

    filesystem_mounted(mounts, device, type);
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
        if (strcmp(type, local[i]) == 0)
            return 0;
    if (strcmp(type, "fuse.kvfs") == 0)
        return lmdb_refuse(error, -EOPNOTSUPP, dir,
                           "inside a mounted store, which holds keys only: give the store's own directory");
    return lmdb_refuse(error, -EOPNOTSUPP, dir,
                       "on a filesystem (%s) that several hosts may share, which would damage the store: choose a "
                       "local disk",
                       type);
}

int lmdb_check_filesystem(int fd, const char *dir, struct kv_error *error)
{
    const char *network;
    struct statfs fs;
    struct stat file;
    FILE *mounts;
    int rc;

    if (fstatfs(fd, &fs) != 0 || fstat(fd, &file) != 0)
        return lmdb_refuse_answer(error, dir, errno);
    network = filesystem_of_hosts((uint32_t)fs.f_type);
    if (network != NULL)
        return lmdb_refuse(
            error, -EOPNOTSUPP, dir,
            "on a network filesystem (%s), where several hosts would damage the store: choose a local disk",
            network);
    if ((uint32_t)fs.f_type != FUSE)
        return 0;
    mounts = fopen("/proc/self/mountinfo", "re");
    rc = lmdb_check_fuse(mounts, file.st_dev, dir, error);
    if (mounts != NULL)
        fclose(mounts);
    return rc;
}
