/* The program kvctl: its standard descriptors before and after ctl_main(). All else is a library, so that fuzzers
 * can run command lines within their own process. */
#include "tools/kvctl/common.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A store file that was opened as descriptor 1 would be overwritten by our output: where a standard
 * descriptor is closed, put one in its place that fails when it is used. */
static bool guard_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return false;
    return true;
}

/* What was not written was not done. Returns the status, or CTL_ERROR. */
static int finish_output(int status)
{
    bool failed = ferror(stdout);

    if (status != CTL_OK && status != CTL_NO && status != CTL_EMPTY)
        return status; /* said already */
    if (fclose(stdout) != 0)
        return ctl_fail("standard output: it could not be written: %s", strerror(errno));
    return failed ? ctl_fail("standard output: it could not be written completely") : status;
}

int main(int argc, char **argv)
{
    if (!guard_standard_descriptors())
        return CTL_ERROR;
    signal(SIGXFSZ, SIG_IGN); /* a write beyond the limit of file sizes fails instead */
    return finish_output(ctl_main(argc, argv));
}
