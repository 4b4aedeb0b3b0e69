#include "tests/support/users.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int users_tests(const char *name, int (*run)(void))
{
    if (geteuid() != 0) {
        printf("%s: skipped, only root can try other users\n", name);
        return 77;
    }
    return mount_tests(name, run);
}

int users_setup(void **state)
{
    struct mount_test *test;
    char *above;

    if (setgroups(0, NULL) < 0 || mount_setup(state) < 0)
        return -1;
    test = *state;
    above = strdup(test->dir);
    assert_non_null(above);
    *strrchr(above, '/') = '\0';
    MOUNT_OK(chmod(above, 0711));
    free(above);
    MOUNT_OK(chmod(test->dir, 0711));
    MOUNT_OK(chmod(mount_path(&test->nodes[0], "a"), 0777));
    MOUNT_OK(chmod(mount_path(&test->nodes[0], "a/n"), 0777));
    return 0;
}

/* A change of the user makes the kernel forget the signal that comes with the parent's death. */
static void become(uid_t uid)
{
    if (setresgid(uid, uid, 0) < 0 || setresuid(uid, uid, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        abort();
}

void users_become(uid_t uid) { become(uid); }

long users_return(long result)
{
    int call_errno = errno;

    if (setresuid(0, 0, 0) < 0) /* the group needs it */
        abort();
    become(0);
    errno = call_errno;
    return result;
}

void users_refused(long result, const char *call, const char *file, int line)
{
    int got_errno = errno;

    if (result == -1 && (got_errno == EACCES || got_errno == EPERM || got_errno == ESTALE))
        return;
    if (result == -1)
        printf("%s: %s, not a refusal\n", call, strerrorname_np(got_errno));
    else
        printf("%s: answered %ld, not refused\n", call, result);
    _fail(file, line);
}

long users_write(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode), call_errno;

    if (fd < 0)
        return -1;
    if (write(fd, text, strlen(text)) == (ssize_t)strlen(text))
        return close(fd);
    call_errno = errno;
    close(fd);
    errno = call_errno;
    return -1;
}

long users_read_fd(int fd, char *text, size_t capacity)
{
    ssize_t size = pread(fd, text, capacity - 1, 0);

    text[size > 0 ? size : 0] = '\0';
    return size;
}

long users_read(const char *path, char *text, size_t capacity)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), call_errno;
    long size;

    text[0] = '\0';
    if (fd < 0)
        return -1;
    size = users_read_fd(fd, text, capacity);
    call_errno = errno;
    close(fd);
    errno = call_errno;
    return size;
}

void users_expect_end(void **state, pid_t child, const char *what)
{
    struct mount_test *test = *state;
    int64_t end = mount_now_ms() + USERS_PATIENCE_MS;
    siginfo_t info = {.si_pid = 0};

    while (waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0) {
        if (mount_now_ms() > end)
            fail_msg("%s: still not done", what);
        mount_pause_ms(10);
    }
    assert_int_equal(mount_wait(test, child), 0);
}

void users_must(bool condition, const char *what)
{
    if (condition)
        return;
    printf("%s: %s\n", what, strerrorname_np(errno));
    _exit(1);
}
