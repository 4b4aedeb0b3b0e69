/* The daemon: options, mount point, fork, store, session, loop; and back.
 *
 * The store is opened after the fork: an LMDB environment must not be carried over one. The process that
 * the shell started waits until the kernel has accepted the mount, or prints nothing more than the one line
 * that its child printed. */
#include "fs/base/errorlog.h"
#include "fs/cli/helper.h"
#include "fs/cli/options.h"
#include "fs/cli/say.h"
#include "fs/handlers/session.h"
#include "fs/nodes/push.h"
#include "fs/nodes/view.h"
#include "fs/transport/channel.h"
#include "fs/transport/loop.h"
#include "fs/transport/mountpoint.h"
#include "fs/transport/privileges.h"
#include "fs/transport/service.h"
#include "fs/transport/uring.h"
#include "tools/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* That are looked through before the mount: 400 MiB of records, in some 0.1 s. */
#define VERIFY_PAGES 100000u

/* What libfuse has to say while it serves. */
static struct fs_error_log *main_log;

__attribute__((format(printf, 2, 0))) static void main_log_message(enum fuse_log_level level, const char *format,
                                                                   va_list args)
{
    char text[256];

    if (level > FUSE_LOG_ERR)
        return;
    vsnprintf(text, sizeof(text), format, args);
    fs_error_log_say(main_log, FS_LOG_ERROR, "%s", text);
}

/* The pipe to the process that waits for the mount; -1 in the foreground. */
static int ready_fd = -1;

struct mounted {
    const struct fs *fs;
    bool is;
};

static void report_mounted(void *arg)
{
    struct mounted *mounted = arg;
    const struct fs_options *options = mounted->fs->options;
    int null;

    mounted->is = true;
    fs_error_log_say(mounted->fs->error_log, FS_LOG_INFO, "kvfs %s serves %s at %s as node %s (%s, durability=%s)",
                     KVFS_VERSION, options->store, options->mountpoint, options->node,
                     options->read_only ? "ro" : "rw",
                     options->durability == KV_DURABILITY_CLOSE ? "close" : "fsync");
    fs_service_tell("READY=1\nSTATUS=Serving");
    if (ready_fd < 0)
        return;
    null = open("/dev/null", O_RDWR);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        close(null);
    }
    (void)!write(ready_fd, "", 1); /* fails where nobody waits for the mount any more */
    close(ready_fd);
    ready_fd = -1;
}

static int fail(const char *what, int rc)
{
    fs_say("%s: %s", what, strerror(-rc));
    return EXIT_FAILURE;
}

/* Go on in a child; the parent ends with the child's first word. */
static int daemonize(void)
{
    int ends[2], status;
    ssize_t got;
    pid_t child;
    char byte;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    child = fork();
    if (child < 0)
        return -errno;
    if (child > 0) {
        close(ends[1]);
        got = TEMP_FAILURE_RETRY(read(ends[0], &byte, 1));
        if (got != 1 && waitpid(child, &status, 0) == child && WIFSIGNALED(status))
            fs_say("nothing is mounted: signal %d ended the daemon", WTERMSIG(status));
        _exit(got == 1 ? EXIT_SUCCESS : EXIT_FAILURE); /* a child that ended by itself has said why */
    }
    close(ends[0]);
    ready_fd = ends[1];
    setsid();
    return chdir("/") < 0 ? -errno : 0;
}

static int open_store(struct fs_options *options, struct kv_store **out)
{
    struct kv_options store_options = kv_options_default();
    struct kv_error error;
    struct stat attr;
    int rc;

    store_options.read_only = options->read_only;
    store_options.sweep = true;
    store_options.create = options->create;
    store_options.foreign_store = options->foreign_store;
    store_options.verify_pages = VERIFY_PAGES;
    store_options.cache_ttl_ms = options->cache_ttl_ms;
    store_options.cache_bytes = options->cache_bytes;
    store_options.map_bytes = options->map_bytes;
    store_options.memory_bytes = options->memory_bytes;
    store_options.durability = options->durability;
    store_options.invalidate = options->invalidate;
    store_options.commit_interval_ms = options->commit_interval_ms;
    store_options.commit_timeout_ms = options->commit_timeout_ms;
    rc = cli_open_store(options->store, &store_options, out, &error);
    if (rc == -ENOENT && !options->create)
        fs_say("%s (with nocreate, which mount(8) implies, none is made; a disk may be missing)", error.text);
    else if (rc < 0)
        fs_say("%s", error.text);
    if (rc == 0 && stat(options->store, &attr) == 0) {
        options->store_device = attr.st_dev;
        options->store_inode = attr.st_ino;
    }
    return rc;
}

/* SIGHUP: whoever rotates logs has moved ours away. */
static void reload(struct fs *fs)
{
    int rc;

    fs_service_tell_reload();
    rc = fs_log_reopen();
    if (rc < 0)
        fs_error_log_say(fs->error_log, FS_LOG_ERROR, "%s: cannot be opened, and the old log goes on: %s",
                         fs->options->log_file, strerror(-rc));
    else if (fs->options->log_file != NULL)
        fs_error_log_say(fs->error_log, FS_LOG_INFO, "the log was opened anew");
    fs_service_tell("READY=1");
}

static int end(struct fs *fs, bool abandon)
{
    fs_service_tell("STOPPING=1\nSTATUS=Unmounting");
    return fs_session_end(fs, abandon);
}

static void say_end(const struct fs *fs, int rc)
{
    const char *mountpoint = fs->options->mountpoint;

    if (rc < 0)
        fs_error_log_say(fs->error_log, FS_LOG_ERROR, "%s: stopped: %s", mountpoint, strerror(-rc));
    else if (rc > 0)
        fs_error_log_say(fs->error_log, FS_LOG_INFO, "%s is unmounted: %s", mountpoint, strsignal(rc));
    else
        fs_error_log_say(fs->error_log, FS_LOG_INFO, "%s is unmounted", mountpoint);
}

static int mount_and_serve(struct fs *fs)
{
    const struct fs_options *options = fs->options;
    struct kv_error error;
    struct fs_push *push = NULL;
    struct mounted mounted = {.fs = fs};
    int rc;

    if (fs_mountpoint_mount(fs->session, options->mountpoint, &error) < 0) {
        fs_say("%s", error.text);
        return EXIT_FAILURE;
    }
    if (!options->debug)
        fuse_set_log_func(main_log_message);
    main_log = fs->error_log;
    fs->mounted = report_mounted;
    fs->mounted_arg = &mounted;
    rc = fs_privileges_end(options);
    if (rc == 0)
        rc = fs_channel_use(fs->session);
    if (rc == 0)
        rc = fs_push_start(fs, &push);
    if (rc == 0)
        rc = fs_viewlimit_start(fs);
    if (rc == 0) {
        rc = fs_loop(fs, reload, end);
        fs_viewlimit_stop(fs);
    }
    fs_push_stop(push);
    fs_mountpoint_unmount(fs->session);
    say_end(fs, rc);
    if (!mounted.is)
        fs_say("%s: cannot mount here: %s", options->mountpoint,
               rc < 0 ? strerror(-rc) : "it was ended before the kernel had accepted it");
    return rc < 0 || !mounted.is ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run(struct fs_options *options)
{
    struct fs fs = {.options = options};
    struct kv_error error = {""};
    int status, rc;

    fs_loop_block_signals();
    if (options->foreground) /* else the daemon is nobody's service */
        fs_service_begin();
    if (fs_privileges_begin(options, &error) < 0 || (options->io_uring && fs_uring_check(&error) < 0)) {
        fs_say("%s", error.text);
        return EXIT_FAILURE;
    }
    rc = fs_log_open(options);
    if (rc < 0) {
        fs_say("log_file=%s: %s", options->log_file, strerror(-rc));
        return EXIT_FAILURE;
    }
    if (open_store(options, &fs.store) < 0)
        return EXIT_FAILURE;
    rc = fs_options_name_node(options);
    if (rc == 0)
        rc = fs_session_start(&fs, &options->fuse);
    if (rc < 0) {
        kv_close(fs.store);
        return fail("cannot start", rc);
    }
    status = mount_and_serve(&fs);
    fs_session_free(&fs);
    return status;
}

/* The store must not be opened as a standard descriptor, which is written to and replaced. */
static bool guard_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            return false;
    return true;
}

/* With a whole command line: become the daemon, and serve. */
static int start(struct fs_options *options)
{
    struct kv_error error;
    int rc = fs_mountpoint_prepare(options->mountpoint, options->store, &error);

    if (rc < 0) {
        fs_say("%s", error.text);
        return EXIT_FAILURE;
    }
    rc = options->foreground ? 0 : daemonize();
    return rc < 0 ? fail("cannot start", rc) : run(options);
}

int main(int argc, char **argv)
{
    struct fs_options options;
    enum fs_helper helper;
    int status = EXIT_SUCCESS;

    signal(SIGXFSZ, SIG_IGN); /* a write beyond the limit of file sizes fails instead, and the node goes on */
    if (!guard_standard_descriptors())
        return EXIT_FAILURE;
    helper = fs_helper(&argc, &argv);
    if (helper == FS_HELPER_DONE)
        return EXIT_SUCCESS;
    if (helper == FS_HELPER_FAILED || fs_options_parse(argc, argv, &options) < 0)
        return EXIT_FAILURE;
    if (options.help)
        fs_options_usage(argv[0]);
    else if (options.version)
        printf("kvfs %s\n", KVFS_VERSION);
    else
        status = start(&options);
    fs_options_free(&options);
    return status;
}
