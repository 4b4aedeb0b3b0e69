#include "tests/support/mount.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <mntent.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { DAEMON_END_MS = 60000, DAEMON_END_MORE = 4 /* times, on a machine with too much to do */, SKIPPED = 77 };

static char top[MOUNT_PATH - 64]; /* the run's directory */

/* -------------------------------------------------------------------------- time */

int64_t mount_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void mount_pause_ms(int ms)
{
    struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};

    nanosleep(&time, NULL);
}

/* --------------------------------------------------------------- cleaning up */

static void detach(const char *path)
{
    char *const argv[] = {"fusermount3", "-u", "-z", "-q", (char *)path, NULL};
    pid_t pid;

    if (umount2(path, MNT_DETACH) == 0)
        return;
    if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) == 0)
        waitpid(pid, NULL, 0);
}

/* Unmount what is mounted below the run's directory. returns how much that was */
static unsigned unmount_all(void)
{
    unsigned count = 0;

    for (bool found = true; found && count < 100;) {
        FILE *mounts = setmntent("/proc/self/mounts", "r");
        char last[MOUNT_PATH] = "";
        struct mntent *entry;

        if (mounts == NULL)
            break;
        while ((entry = getmntent(mounts)) != NULL)
            if (strncmp(entry->mnt_dir, top, strlen(top)) == 0)
                snprintf(last, sizeof(last), "%s", entry->mnt_dir);
        endmntent(mounts);
        found = last[0] != '\0';
        if (found) {
            printf("left mounted: %s\n", last);
            detach(last);
            count++;
        }
    }
    return count;
}

/* Call f for each child process of this one. */
static void each_child(void (*f)(pid_t pid, void *arg), void *arg)
{
    DIR *processes = opendir("/proc");
    struct dirent *entry;

    if (processes == NULL)
        return;
    while ((entry = readdir(processes)) != NULL) {
        char path[300], text[512], *after_name;
        int fd, parent;
        ssize_t size;

        if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
            continue;
        snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        size = read(fd, text, sizeof(text) - 1);
        close(fd);
        text[size > 0 ? size : 0] = '\0';
        after_name = strrchr(text, ')');
        if (after_name != NULL && sscanf(after_name + 1, " %*c %d", &parent) == 1 && parent == getpid())
            f((pid_t)strtol(entry->d_name, NULL, 10), arg);
    }
    closedir(processes);
}

static void kill_child(pid_t pid, void *arg)
{
    unsigned *count = arg;

    kill(pid, SIGKILL);
    ++*count;
}

/* End every process that the run left. returns how many there were */
static unsigned kill_all(void)
{
    unsigned count = 0, before;

    /* What was killed with its test may take a moment to end. */
    for (int tries = 0; waitpid(-1, NULL, WNOHANG) >= 0 && tries < 200; tries++)
        mount_pause_ms(10);
    do {
        before = count;
        each_child(kill_child, &count);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        mount_pause_ms(10);
    } while (count > before && count < 1000);
    return count;
}

static int remove_entry(const char *path, const struct stat *attr, int type, struct FTW *ftw)
{
    (void)attr;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_tree(const char *path)
{
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) < 0)
        printf("cannot remove %s: %s\n", path, strerror(errno));
}

/* ------------------------------------------------------------------ supervisor */

/* Does every mount of the run need io_uring, which this kernel does not have? */
static bool lacks_io_uring(void)
{
    const char *options = getenv("KVFS_TEST_OPTIONS");
    char value = 'N';
    int fd;

    if (options == NULL || strstr(options, "io_uring") == NULL)
        return false;
    fd = open("/sys/module/fuse/parameters/enable_uring", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, &value, 1) != 1)
            value = 'N';
        close(fd);
    }
    return value != 'Y';
}

/* Why nothing can be mounted here, or NULL. */
static const char *why_not(void)
{
    static char reason[256];
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC), rc = 0;
    char options[128];

    if (fd < 0) {
        snprintf(reason, sizeof(reason), "/dev/fuse: %s", strerror(errno));
        return reason;
    }
    if (lacks_io_uring()) {
        close(fd);
        return "the kernel has no FUSE over io_uring, or it is switched off";
    }
    if (geteuid() == 0) {
        snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
        rc = mount("probe", top, "fuse", MS_NOSUID | MS_NODEV, options);
        snprintf(reason, sizeof(reason), "mount: %s", strerror(errno));
        if (rc == 0)
            umount2(top, MNT_DETACH);
    } else if (system("command -v fusermount3 >/dev/null") != 0) {
        rc = -1;
        snprintf(reason, sizeof(reason), "not root, and fusermount3 is not installed");
    }
    close(fd);
    return rc < 0 ? reason : NULL;
}

static int make_top(const char *name)
{
    const char *parent = getenv("TMPDIR");
    char path[sizeof(top)], *real;

    snprintf(path, sizeof(path), "%s/kvfs-%s.XXXXXX", parent != NULL ? parent : "/tmp", name);
    if (mkdtemp(path) == NULL || (real = realpath(path, NULL)) == NULL) {
        printf("cannot make %s: %s\n", path, strerror(errno));
        return -1;
    }
    snprintf(top, sizeof(top), "%s", real);
    free(real);
    return 0;
}

/* Wait for the child's end, which a signal to this process makes come at once. returns its exit status */
static int supervise(pid_t child, const sigset_t *signals)
{
    int status;

    while (waitpid(child, &status, WNOHANG) == 0) {
        int signal_number = sigwaitinfo(signals, NULL);

        if (signal_number > 0 && signal_number != SIGCHLD) {
            printf("ended by signal %d\n", signal_number);
            kill(child, SIGKILL);
        }
    }
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    if (WTERMSIG(status) == SIGALRM)
        printf("the test that began last ran out of its time\n");
    else
        printf("the tests were ended by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
    return 1;
}

int mount_tests(const char *name, int (*run)(void))
{
    const char *reason;
    sigset_t signals, old;
    unsigned left;
    int status;
    pid_t child;

    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    if (getenv("KVFS_BIN") == NULL || getenv("KVCTL_BIN") == NULL) {
        printf("KVFS_BIN and KVCTL_BIN must name the programs to be tested\n");
        return 1;
    }
    if (make_top(name) < 0)
        return 1;
    reason = why_not();
    if (reason != NULL) {
        printf("%s: skipped, nothing can be mounted: %s\n", name, reason);
        remove_tree(top);
        return SKIPPED;
    }
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, &old);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    child = fork();
    if (child == 0) {
        sigprocmask(SIG_SETMASK, &old, NULL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_CHILD_SUBREAPER, 1); /* daemons become children of this process */
        cmocka_set_test_filter(getenv("KVFS_TEST_ONLY"));
        exit(run() == 0 ? 0 : 1);
    }
    status = child < 0 ? 1 : supervise(child, &signals);
    left = unmount_all() + kill_all();
    if (left > 0) {
        printf("%s: %u mounts or processes were left\n", name, left);
        status = 1;
    }
    remove_tree(top);
    return status;
}

/* -------------------------------------------------------------------- processes */

static pid_t spawn(const char *const *argv, int in, int out)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int rc;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
    rc = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (rc != 0)
        fail_msg("%s: %s", argv[0], strerror(rc));
    return pid;
}

/* Read all that the program writes; a daemon lets go of its output when it is ready. */
static void collect(struct mount_test *test, int fd)
{
    size_t size = 0;
    ssize_t got;
    char more[4096];

    while ((got = read(fd, more, sizeof(more))) > 0) {
        size_t fits = sizeof(test->output) - 1 - size;

        fits = (size_t)got < fits ? (size_t)got : fits;
        memcpy(test->output + size, more, fits);
        size += fits;
    }
    test->output[size] = '\0';
}

int mount_run(struct mount_test *test, const char *const *argv)
{
    int ends[2], null = open("/dev/null", O_RDONLY | O_CLOEXEC), status;
    pid_t pid;

    assert_true(null >= 0);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = spawn(argv, null, ends[1]);
    close(null);
    close(ends[1]);
    collect(test, ends[0]);
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void mount_kvctl(struct mount_test *test, const char *const *arguments)
{
    const char *argv[16] = {getenv("KVCTL_BIN"), "--store", test->store};
    size_t count = 3;

    while (*arguments != NULL && count < 15)
        argv[count++] = *arguments++;
    argv[count] = NULL;
    if (mount_run(test, argv) != 0)
        fail_msg("kvctl %s %s: %s", argv[3], argv[4], test->output);
}

pid_t mount_fork(struct mount_test *test)
{
    pid_t pid, parent = getpid();

    assert_true(test->child_count < MOUNT_CHILDREN);
    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        return 0;
    }
    test->children[test->child_count++] = pid;
    return pid;
}

int mount_wait(struct mount_test *test, pid_t child)
{
    int status;

    assert_int_equal(waitpid(child, &status, 0), child);
    for (size_t i = 0; i < test->child_count; i++)
        if (test->children[i] == child)
            test->children[i] = test->children[--test->child_count];
    return status;
}

/* ------------------------------------------------------------------------ nodes */

struct search {
    const struct mount_test *test;
    pid_t found;
};

static void find_daemon(pid_t pid, void *arg)
{
    struct search *search = arg;
    const struct mount_test *test = search->test;

    for (size_t i = 0; i < test->child_count; i++)
        if (test->children[i] == pid)
            return;
    for (size_t i = 0; i < test->node_count; i++)
        if (test->nodes[i].daemon == pid)
            return;
    search->found = pid;
}

void mount_again(struct mount_node *node, const char *options)
{
    struct mount_test *test = node->test;
    struct search search = {.test = test};
    const char *more = getenv("KVFS_TEST_OPTIONS"), *argv[8] = {getenv("KVFS_BIN"), test->store, node->path};
    size_t count = 3;
    int status;

    if (options != NULL) {
        argv[count++] = "-o";
        argv[count++] = options;
    }
    if (more != NULL) {
        argv[count++] = "-o";
        argv[count++] = more;
    }
    status = mount_run(test, argv);
    if (status != 0)
        fail_msg("kvfs: exit status %d: %s", status, test->output);
    each_child(find_daemon, &search); /* it became a child of this process when its parent ended */
    assert_true(search.found > 0);
    node->daemon = search.found;
}

struct mount_node *mount_start(struct mount_test *test, const char *options)
{
    struct mount_node *node = &test->nodes[test->node_count];
    size_t size = strlen(test->dir);

    assert_true(test->node_count < MOUNT_NODES);
    *node = (struct mount_node){.test = test};
    memcpy(node->path, test->dir, size);
    node->path[size] = '/';
    node->path[size + 1] = (char)('A' + test->node_count);
    assert_int_equal(mkdir(node->path, 0755), 0);
    test->node_count++;
    mount_again(node, options);
    return node;
}

/* Does the process work, or wait for a processor or the disk? One that hangs does not. *ticks: of time that it had used
 * when it was asked before */
static bool is_busy(pid_t pid, unsigned long *ticks)
{
    unsigned long user = 0, system = 0, before = *ticks;
    char path[64], state = 'X';
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (file == NULL)
        return false;
    if (fscanf(file, "%*d (%*[^)]) %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &state, &user, &system) !=
        3)
        state = 'X';
    fclose(file);
    *ticks = user + system;
    return state == 'R' || state == 'D' || *ticks > before;
}

/* Give the test so many more milliseconds, if its time is bounded. */
static void more_time(unsigned ms)
{
    unsigned left = alarm(0);

    if (left > 0)
        alarm(left + ms / 1000);
}

/* Wait until the daemon ends. returns its wait status; -1 when it took too long and was killed */
static int daemon_end(struct mount_node *node)
{
    int fd = (int)syscall(SYS_pidfd_open, node->daemon, 0), status;
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    bool ended = fd >= 0 && poll(&wait, 1, DAEMON_END_MS) == 1;
    unsigned long ticks = 0;

    for (int i = 0; fd >= 0 && !ended && i < DAEMON_END_MORE && is_busy(node->daemon, &ticks); i++) {
        more_time(DAEMON_END_MS);
        ended = poll(&wait, 1, DAEMON_END_MS) == 1;
    }
    if (!ended)
        kill(node->daemon, SIGKILL);
    if (fd >= 0)
        close(fd);
    if (waitpid(node->daemon, &status, 0) != node->daemon)
        status = -1;
    node->daemon = 0;
    return ended ? status : -1;
}

static int unmount(const char *path)
{
    char *const argv[] = {"fusermount3", "-u", "-q", (char *)path, NULL};
    int status = -1;
    pid_t pid;

    if (geteuid() == 0)
        return umount2(path, UMOUNT_NOFOLLOW);
    if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) == 0)
        waitpid(pid, &status, 0);
    return status == 0 ? 0 : -1;
}

static void ended_with(struct mount_node *node, int wanted)
{
    int status = daemon_end(node);

    if (!WIFEXITED(status) || WEXITSTATUS(status) != wanted)
        fail_msg("the daemon of %s %s: wait status %#x", node->path, status == -1 ? "did not end" : "ended badly",
                 (unsigned)status);
}

void mount_ended(struct mount_node *node) { ended_with(node, 0); }

void mount_stop_with(struct mount_node *node, int status)
{
    if (unmount(node->path) < 0)
        fail_msg("cannot unmount %s: %s", node->path, strerror(errno));
    ended_with(node, status);
}

void mount_stop(struct mount_node *node) { mount_stop_with(node, 0); }

void mount_signal(struct mount_node *node, int number)
{
    assert_int_equal(kill(node->daemon, number), 0);
    mount_ended(node);
}

const char *mount_path(const struct mount_node *node, const char *format, ...)
{
    static _Thread_local char paths[16][MOUNT_PATH + 1024];
    static _Thread_local unsigned last;
    char *path = paths[++last % 16];
    va_list arguments;
    int size;

    size = snprintf(path, sizeof(paths[0]), "%s/", node->path);
    va_start(arguments, format);
    vsnprintf(path + size, sizeof(paths[0]) - (size_t)size, format, arguments);
    va_end(arguments);
    return path;
}

/* ------------------------------------------------------------------------ setup */

int mount_setup_empty(void **state)
{
    struct mount_test *test = calloc(1, sizeof(*test));

    assert_non_null(test);
    alarm(MOUNT_SECONDS);
    umask(022);
    snprintf(test->dir, sizeof(test->dir), "%s/XXXXXX", top);
    assert_non_null(mkdtemp(test->dir));
    snprintf(test->store, sizeof(test->store), "%s/store", test->dir);
    test->first_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(test->first_fd >= 0);
    *state = test;
    return 0;
}

int mount_setup(void **state)
{
    const char *options = *state;
    struct mount_node *node;

    if (mount_setup_empty(state) < 0)
        return -1;
    node = mount_start(*state, options);
    assert_int_equal(mkdir(mount_path(node, "a"), 0755), 0);
    assert_int_equal(mkdir(mount_path(node, "a/n"), 0755), 0);
    return 0;
}

int mount_teardown(void **state)
{
    struct mount_test *test = *state;
    int rc = 0;

    for (size_t i = 0; i < test->node_count;
         i++) /* a test may have stopped it, and nobody who waits for it ends */
        if (test->nodes[i].daemon > 0)
            kill(test->nodes[i].daemon, SIGCONT);
    for (size_t i = 0; i < test->child_count; i++) /* one may wait for another */
        kill(test->children[i], SIGKILL);
    for (size_t i = 0; i < test->child_count; i++)
        waitpid(test->children[i], NULL, 0);
    close_range((unsigned)test->first_fd, ~0u, 0);
    for (size_t i = 0; i < test->node_count; i++) {
        struct mount_node *node = &test->nodes[i];
        int status;

        if (node->daemon == 0)
            continue;
        if (unmount(node->path) < 0) {
            printf("cannot unmount %s: %s\n", node->path, strerror(errno));
            detach(node->path);
            rc = -1;
        }
        status = daemon_end(node);
        if (status != 0) {
            printf("the daemon of %s ended badly: wait status %#x\n", node->path, (unsigned)status);
            rc = -1;
        }
    }
    if (unmount_all() > 0)
        rc = -1;
    remove_tree(test->dir);
    free(test);
    alarm(0);
    return rc;
}

/* ------------------------------------------------------------------------- files */

void mount_fails(long result, int wanted_errno, const char *call, const char *file, int line)
{
    int got_errno = errno;

    if (result == -1 && got_errno == wanted_errno)
        return;
    printf("%s: ", call);
    if (result == -1)
        printf("%s, not %s\n", strerrorname_np(got_errno), strerrorname_np(wanted_errno));
    else
        printf("answered %ld, not %s\n", result, strerrorname_np(wanted_errno));
    _fail(file, line);
}

long mount_ok(long result, const char *call, const char *file, int line)
{
    if (result == -1) {
        printf("%s: %s\n", call, strerrorname_np(errno));
        _fail(file, line);
    }
    return result;
}

void mount_write(const char *path, const void *bytes, size_t size)
{
    int fd = (int)MOUNT_OK(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));

    for (size_t at = 0; at < size;)
        at += (size_t)MOUNT_OK(write(fd, (const char *)bytes + at, size - at));
    if (size == 0) /* else it is put behind the close */
        MOUNT_OK(fsync(fd));
    MOUNT_OK(close(fd));
}

void mount_write_text(const char *path, const char *text) { mount_write(path, text, strlen(text)); }

static size_t read_all(int fd, void *bytes, size_t capacity)
{
    size_t size = 0, got = 1;

    while (size < capacity && got > 0) {
        got = (size_t)MOUNT_OK(read(fd, (char *)bytes + size, capacity - size));
        size += got;
    }
    return size;
}

size_t mount_read(const char *path, void *bytes, size_t capacity)
{
    int fd = (int)MOUNT_OK(open(path, O_RDONLY | O_CLOEXEC));
    size_t size = read_all(fd, bytes, capacity);

    MOUNT_OK(close(fd));
    return size;
}

const char *mount_text(const char *path)
{
    static char text[1 << 20];

    text[mount_read(path, text, sizeof(text) - 1)] = '\0';
    return text;
}

void mount_expect(const char *path, const void *bytes, size_t size)
{
    char *got = malloc(size + 1);

    assert_non_null(got);
    assert_int_equal(mount_stat(path).st_size, size);
    assert_int_equal(mount_read(path, got, size + 1), size);
    for (size_t i = 0; i < size; i++)
        if (got[i] != ((const char *)bytes)[i])
            fail_msg("%s: byte %zu of %zu differs", path, i, size);
    free(got);
}

void mount_expect_text(const char *path, const char *text)
{
    assert_string_equal(mount_text(path), text);
    mount_expect(path, text, strlen(text));
}

enum { SOON_MS = 20000 };

void mount_await_text(const char *path, const char *text)
{
    for (int64_t end = mount_now_ms() + SOON_MS; !mount_is_there(path) || strcmp(mount_text(path), text) != 0;) {
        if (mount_now_ms() > end)
            fail_msg("%s: still not '%.100s'", path, text);
        mount_pause_ms(5);
    }
}

void mount_await_absence(const char *path)
{
    for (int64_t end = mount_now_ms() + SOON_MS; mount_is_there(path); mount_pause_ms(5))
        if (mount_now_ms() > end)
            fail_msg("%s: still there", path);
}

struct stat mount_stat(const char *path)
{
    struct stat attr;

    if (lstat(path, &attr) < 0)
        fail_msg("%s: %s", path, strerror(errno));
    return attr;
}

bool mount_is_there(const char *path)
{
    struct stat attr;

    if (lstat(path, &attr) == 0)
        return true;
    if (errno != ENOENT)
        fail_msg("%s: %s", path, strerror(errno));
    return false;
}

uint8_t *mount_bytes(uint64_t seed, size_t size)
{
    struct test_random random = {seed};
    uint8_t *bytes = malloc(size + 1);

    assert_non_null(bytes);
    test_random_fill(&random, bytes, size);
    return bytes;
}

char *mount_list(const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    size_t size;
    char *names = NULL;
    FILE *text = open_memstream(&names, &size);

    if (count < 0)
        fail_msg("%s: %s", path, strerror(errno));
    assert_non_null(text);
    for (int i = 0; i < count; i++) {
        if (strcmp(entries[i]->d_name, ".") != 0 && strcmp(entries[i]->d_name, "..") != 0)
            fprintf(text, "%s%s", ftell(text) > 0 ? " " : "", entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    assert_int_equal(fclose(text), 0);
    return names;
}

void mount_expect_list(const char *path, const char *names)
{
    char *got = mount_list(path);

    assert_string_equal(got, names);
    free(got);
}
