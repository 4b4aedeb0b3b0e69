/* Where it is measured: figures of a file system without a journal, or of a busy machine, are others. */
#include "tools/bench/bench.h"

#include <dirent.h>
#include <libgen.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#define ZFS_MAGIC 0x2fc12fc1 /* not in linux/magic.h */

static const char *facts_type(const char *dir)
{
    struct statfs st;

    if (statfs(dir, &st) < 0)
        return "local";
    switch (st.f_type) {
    case EXT4_SUPER_MAGIC: /* ext2's and ext3's, too */
        return "ext4";
    case BTRFS_SUPER_MAGIC:
        return "btrfs";
    case TMPFS_MAGIC:
        return "tmpfs";
    case XFS_SUPER_MAGIC:
        return "xfs";
    case ZFS_MAGIC:
        return "zfs";
    default:
        return "local";
    }
}

/* Does a directory have an entry that begins so? */
static bool facts_has_entry(const char *path, const char *prefix)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    bool found = false;

    while (dir != NULL && !found && (entry = readdir(dir)) != NULL)
        found = strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    if (dir != NULL)
        closedir(dir);
    return found;
}

/* An ext4 that is mounted with a journal has an entry "DEVICE-INODE" of its own below /proc/fs/jbd2. */
static const char *facts_journal(const char *dir)
{
    char path[64], device[256], known[sizeof("/proc/fs/ext4/") + sizeof(device)], journal[sizeof(device) + 1];
    struct stat st;
    ssize_t size;

    if (stat(dir, &st) < 0)
        return "";
    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(st.st_dev), minor(st.st_dev));
    size = readlink(path, device, sizeof(device) - 1);
    if (size < 0)
        return "";
    device[size] = '\0';
    snprintf(known, sizeof(known), "/proc/fs/ext4/%s", basename(device));
    if (access(known, F_OK) < 0)
        return "";
    snprintf(journal, sizeof(journal), "%s-", basename(device));
    return facts_has_entry("/proc/fs/jbd2", journal) ? "journal" : "no journal";
}

/* "model name : ..." of the first CPU, where the kernel tells it. */
static void facts_cpu(char *out, size_t size)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[256];
    const char *value;

    snprintf(out, size, "unknown");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, "model name", 10) == 0 && (value = strchr(line, ':')) != NULL) {
            value += strspn(value, ": \t");
            snprintf(out, size, "%.*s", (int)strcspn(value, "\n"), value);
            break;
        }
    if (file != NULL)
        fclose(file);
}

void bench_facts(const char *dir, struct bench_facts *out)
{
    struct utsname system;

    uname(&system);
    snprintf(out->type, sizeof(out->type), "%s", facts_type(dir));
    snprintf(out->journal, sizeof(out->journal), "%s", facts_journal(dir));
    snprintf(out->kernel, sizeof(out->kernel), "%s", system.release);
    facts_cpu(out->cpu, sizeof(out->cpu));
    out->cpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (getloadavg(&out->load, 1) != 1)
        out->load = 0;
}
