#include "tools/kvctl/value.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FIRST_READ = 65536 };

/* Read all that `fd` has into *value. At most one byte more than a value can have is read.
 * returns  0; -EFBIG; -ENOMEM or another error of kv_value_resize(); with *failed, one of read() */
static int value_read_all(int fd, struct kv_value **value, bool *failed)
{
    size_t size = 0;

    for (;;) {
        uint8_t beyond, *to = &beyond;
        size_t room = sizeof(beyond);
        ssize_t got;

        if (size < KV_VALUE_MAX) {
            if (size == (*value)->size) {
                size_t grown = size == 0 ? FIRST_READ : size * 2;
                int rc = kv_value_resize(value, grown < KV_VALUE_MAX ? grown : KV_VALUE_MAX);

                if (rc < 0)
                    return rc;
            }
            to = (*value)->data + size;
            room = (*value)->size - size;
        }
        got = TEMP_FAILURE_RETRY(read(fd, to, room));
        if (got < 0) {
            *failed = true;
            return -errno;
        }
        if (got == 0)
            return kv_value_resize(value, size);
        if (to == &beyond)
            return -EFBIG;
        size += (size_t)got;
    }
}

/* Read the value from an open file. Returns a status. */
static int value_read_file(struct ctl_request *request, const char *name, int fd, struct kv_value **value)
{
    bool failed = false;
    struct stat st;
    int rc = value_read_all(fd, value, &failed);

    if (failed)
        return ctl_fail("%s: cannot read it: %s; nothing was changed", name, strerror(-rc));
    if (rc < 0)
        return ctl_fail_store(request, request->path.text, "key", rc);
    if (fd != STDIN_FILENO && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (*value)->size < (uint64_t)st.st_size)
        return ctl_fail("%s: it ended after %zu of %jd bytes; nothing was changed; try again when it is complete",
                        name, (*value)->size, (intmax_t)st.st_size);
    return CTL_OK;
}

static int value_read_stdin(struct ctl_request *request, struct kv_value **value)
{
    int status;

    if (isatty(STDIN_FILENO))
        ctl_say("%s: waiting for the value: type it, and then Ctrl-D at the start of a line; Ctrl-C gives up",
                request->path.text);
    status = value_read_file(request, "standard input", STDIN_FILENO, value);
    if (status == CTL_OK && (*value)->size == 0 && !ctl_given(request, CTL_EMPTY_PUT))
        status =
            ctl_fail_usage(request, CTL_EMPTY_PUT,
                           "%s: standard input is empty, as it is when the command that writes it has failed; "
                           "nothing was changed",
                           request->path.text);
    return status;
}

static int value_read_named(struct ctl_request *request, struct kv_value **value)
{
    int status, fd = open(request->file, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return ctl_fail("%s: cannot open it: %s; nothing was changed", request->file, strerror(errno));
    status = value_read_file(request, request->file, fd, value);
    close(fd);
    return status;
}

int value_read(struct ctl_request *request, const char *text, struct kv_value **out)
{
    struct kv_value *value;
    int status = CTL_OK, rc;

    if (text != NULL && ctl_given(request, CTL_FILE))
        return ctl_fail_usage(request, CTL_FILE,
                              "%s: the value is given twice; give VALUE or --file FILE, not both",
                              request->path.text);
    rc = text != NULL ? kv_value_copy(text, strlen(text), &value) : kv_value_new(0, &value);
    if (rc < 0)
        return ctl_fail_store(request, request->path.text, "key", rc);
    if (text == NULL)
        status = request->file == NULL || strcmp(request->file, "-") == 0 ? value_read_stdin(request, &value)
                                                                          : value_read_named(request, &value);
    if (status == CTL_OK)
        *out = value;
    else
        kv_value_unref(value);
    return status;
}

struct kv_change value_put(const struct ctl_request *request, const struct kv_ref *ref, struct kv_value *value)
{
    struct kv_change change = {.kind = KV_PUT, .ref = *ref, .value = value};

    change.attr.mode = 0666 & ~request->umask;
    change.attr.uid = geteuid();
    change.attr.gid = getegid();
    change.attr.mtime_ns = ctl_now_ns(CLOCK_REALTIME);
    change.attr.atime_ns = change.attr.ctime_ns = change.attr.btime_ns = change.attr.mtime_ns;
    return change;
}

int value_print_put(const struct ctl_request *request, const struct kv_meta *meta)
{
    const struct ctl_path *path = &request->path;

    if (!ctl_given(request, CTL_JSON))
        return CTL_OK;
    return ctl_print_json(json_pack("{s:s, s:s, s:s, s:I, s:I}", "account", path->account, "namespace",
                                    path->second, "key", path->key, "version", (json_int_t)meta->version, "size",
                                    (json_int_t)meta->size),
                          JSON_COMPACT);
}
