#include "tools/kvctl/common.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define META_PREFIX "user."
enum { META_PREFIX_SIZE = sizeof(META_PREFIX) - 1 };

static struct kv_ref key_of(const struct ctl_request *request)
{
    return kv_ref_key(request->second.id, request->path.key, strlen(request->path.key));
}

/* ----------------------------------------------------------------------- put */

enum { FIRST_READ = 65536 };

/* Read once, whatever signals come. returns the count, 0 at the end, -1 and errno */
static ssize_t read_some(int fd, void *bytes, size_t size)
{
    ssize_t got;

    do
        got = read(fd, bytes, size);
    while (got < 0 && errno == EINTR);
    return got;
}

/* Read all that `fd` has into *value. At most one byte more than a value can have is read.
 * returns  0; -EFBIG; -ENOMEM or another error of kv_value_resize(); with *failed, one of read() */
static int read_value(int fd, struct kv_value **value, bool *failed)
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
        got = read_some(fd, to, room);
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

/* Read the value from a file, or from standard input where name is NULL. Returns a status. */
static int read_source(struct ctl_request *request, const char *name, struct kv_value **value)
{
    int fd = name == NULL ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC);
    struct stat st = {0};
    bool failed = false;
    int rc;

    if (fd < 0)
        return ctl_fail("%s: cannot open it: %s; nothing was changed", name, strerror(errno));
    rc = fstat(fd, &st) < 0 ? -errno : 0;
    failed = rc < 0;
    if (rc == 0)
        rc = read_value(fd, value, &failed);
    if (name != NULL)
        close(fd);
    else
        name = "standard input";

    if (failed)
        return ctl_fail("%s: cannot read it: %s; nothing was changed", name, strerror(-rc));
    if (rc < 0)
        return ctl_fail_store(request, request->path.text, "key", rc);
    if (fd != STDIN_FILENO && S_ISREG(st.st_mode) && (*value)->size < (uint64_t)st.st_size)
        return ctl_fail("%s: it ended after %zu of %jd bytes; nothing was changed; try again when it is complete",
                        name, (*value)->size, (intmax_t)st.st_size);
    return CTL_OK;
}

static int put_value(struct ctl_request *request, struct kv_value *value)
{
    struct timespec now;
    struct kv_change change = {.kind = KV_PUT, .ref = key_of(request), .value = value};
    int rc;

    clock_gettime(CLOCK_REALTIME, &now);
    change.attr.mode = 0666 & ~request->umask;
    change.attr.uid = geteuid();
    change.attr.gid = getegid();
    change.attr.mtime_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    change.attr.atime_ns = change.attr.ctime_ns = change.attr.btime_ns = change.attr.mtime_ns;
    if (ctl_given(request, CTL_META_SET))
        change.xattrs = &request->meta;
    rc = kv_apply(request->store, &change);
    return rc < 0 ? ctl_fail_store(request, request->path.text, "key", rc) : CTL_OK;
}

int ctl_put(struct ctl_request *request)
{
    const char *text = request->arg_count > 1 ? request->args[1] : NULL;
    struct kv_value *value = NULL;
    int status = CTL_OK, rc;

    if (text != NULL && ctl_given(request, CTL_FILE))
        return ctl_fail("%s: the value is given twice; give VALUE or --file FILE, not both", request->path.text);
    rc = text != NULL ? kv_value_copy(text, strlen(text), &value) : kv_value_new(0, &value);
    if (rc < 0)
        return ctl_fail_store(request, request->path.text, "key", rc);
    if (text == NULL)
        status = read_source(request, request->file, &value);
    if (status == CTL_OK)
        status = put_value(request, value);
    kv_value_unref(value);
    return status;
}

/* ----------------------------------------------------------------------- get */

/* There is no value to print. */
static int print_absent(struct ctl_request *request, bool is_there)
{
    if (!is_there && ctl_look(request) != CTL_OK)
        return CTL_ERROR;
    if (request->json || ctl_given(request, CTL_META_GET))
        puts("null");
    return CTL_NO;
}

/* How many of `size` bytes are the first token's, or something like one. */
static size_t token_size(const uint8_t *text, size_t size)
{
    static const char number[] = "0123456789+-.eE";
    size_t n = 1;

    if (text[0] == '"') {
        while (n < size && text[n] != '"')
            n += text[n] == '\\' ? 2 : 1;
        return n + 1;
    }
    if (isalpha(text[0]))
        while (n < size && isalpha(text[n]))
            n++;
    else if (text[0] == '-' || isdigit(text[0]))
        while (n < size && memchr(number, text[n], sizeof(number) - 1) != NULL)
            n++;
    else
        while (n < size && (text[n] & 0xc0) == 0x80) /* the rest of a character in UTF-8 */
            n++;
    return n;
}

/* Where the token begins that has text[at] in it. */
static size_t token_start(const uint8_t *text, size_t size, size_t at)
{
    size_t start = 0, end = 0;

    while (end <= at && end < size) {
        start = end;
        end += token_size(text + start, size - start);
    }
    return end > at ? start : size;
}

/* Where the bad part begins. The library tells how far it had read. */
static size_t bad_start(const json_error_t *error, const uint8_t *text, size_t size)
{
    size_t got = (size_t)error->position;

    switch (json_error_code(error)) {
    case json_error_invalid_utf8:
        return got; /* the byte that it did not take */
    case json_error_premature_end_of_input:
        return token_start(text, size, size); /* of a string without an end, or the end */
    default:
        return token_start(text, size, got > 0 ? got - 1 : 0);
    }
}

/* A value is not JSON for what begins at text[at]. Columns count characters. Returns a status. */
static int fail_json(const char *subject, const uint8_t *text, size_t at, const char *why)
{
    size_t line = 1, column = 1;

    for (size_t i = 0; i < at; i++) {
        if (text[i] == '\n') {
            line++;
            column = 1;
        } else if ((text[i] & 0xc0) != 0x80) {
            column++;
        }
    }
    return ctl_fail("%s: the value is not JSON: line %zu, column %zu, byte %zu: %s; get it with --type text",
                    subject, line, column, at + 1, why);
}

int ctl_check_json(const char *subject, const void *bytes, size_t size)
{
    /* As lenient as the library can be: numbers too large for an integer and strings with \u0000 are JSON. */
    const size_t flags = JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL;
    const uint8_t *text = bytes, *nul = memchr(bytes, '\0', size);
    json_error_t error;
    json_t *json;

    if (nul != NULL) /* the library overlooks one that ends a number */
        return fail_json(subject, text, (size_t)(nul - text), "a NUL byte");
    json = json_loadb(bytes, size, flags, &error);
    if (json == NULL)
        return fail_json(subject, text, bad_start(&error, text, size), error.text);
    json_decref(json);
    return CTL_OK;
}

static int get_value(struct ctl_request *request)
{
    struct kv_ref ref = key_of(request);
    struct kv_value *value;
    struct kv_meta meta;
    int status = CTL_OK, rc = kv_get(request->store, &ref, &meta, &value, NULL);

    if (rc == -ENOENT)
        return print_absent(request, false);
    if (rc < 0)
        return ctl_fail_store(request, request->path.text, "key", rc);
    if (value->size == 0)
        status = print_absent(request, true);
    else if (request->json)
        status = ctl_check_json(request->path.text, value->data, value->size);
    if (status == CTL_OK && fwrite(value->data, 1, value->size, stdout) != value->size)
        status = ctl_fail("standard output: it could not be written: %s", strerror(errno));
    kv_value_unref(value);
    return status;
}

/* Add the user attributes to a JSON object. Returns a status. */
static int meta_to_json(const struct ctl_request *request, const struct kv_xattrs *set, json_t *object)
{
    size_t pos = 0, name_size, value_size;
    const char *name;
    const void *bytes;

    while (kv_xattrs_next(set, &pos, &name, &name_size, &bytes, &value_size)) {
        json_t *value;

        if (name_size <= META_PREFIX_SIZE || memcmp(name, META_PREFIX, META_PREFIX_SIZE) != 0)
            continue;
        value = json_stringn(bytes, value_size);
        /* takes the reference, and fails where value is NULL */
        if (json_object_setn_new(object, name + META_PREFIX_SIZE, name_size - META_PREFIX_SIZE, value) < 0)
            return ctl_fail("%s: the attribute %.*s is not UTF-8 text, so JSON cannot show it; read it with "
                            "getfattr on a mount",
                            request->path.text, (int)name_size, name);
    }
    return CTL_OK;
}

static int get_meta(struct ctl_request *request)
{
    struct kv_ref ref = key_of(request);
    struct kv_xattrs set;
    json_t *object;
    int status, rc = kv_xattrs_get(request->store, &ref, &set);

    if (rc == -ENOENT)
        return print_absent(request, false);
    if (rc < 0)
        return ctl_fail_store(request, request->path.text, "key", rc);
    object = json_object();
    if (object == NULL)
        return ctl_fail("out of memory");
    status = meta_to_json(request, &set, object);
    if (status == CTL_OK)
        return ctl_print_json(object, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(object);
    return status;
}

int ctl_get(struct ctl_request *request)
{
    return ctl_given(request, CTL_META_GET) ? get_meta(request) : get_value(request);
}

/* -------------------------------------------------------------------- delete */

int ctl_delete(struct ctl_request *request)
{
    struct kv_ref ref = key_of(request);
    int rc = kv_delete(request->store, &ref);

    if (rc == -ENOENT) {
        (void)ctl_fail("%s: there is no such key; nothing was changed", request->path.text);
        return CTL_NO;
    }
    return rc < 0 ? ctl_fail_store(request, request->path.text, "key", rc) : CTL_OK;
}

/* ---------------------------------------------------------------------- list */

static int print_page(const struct kv_list *page)
{
    json_t *keys = json_array();

    for (size_t i = 0; i < page->count; i++) {
        if (json_array_append_new(keys, json_pack("{s:s}", "key", page->keys[i])) < 0) {
            json_decref(keys);
            keys = NULL;
            break;
        }
    }
    /* On failure json_pack() gives the array back, too. */
    return ctl_print_json(json_pack("{s:b, s:s?, s:o}", "complete", page->complete, "cursor",
                                    page->complete ? NULL : page->cursor, "keys", keys),
                          JSON_COMPACT);
}

static int list_page(struct ctl_request *request)
{
    size_t limit = ctl_given(request, CTL_LIMIT) ? request->limit : KV_LIST_MAX;
    struct kv_list page;
    int status, rc = kv_list(request->store, request->second.id, request->prefix, request->cursor, limit, &page);

    if (rc < 0)
        return ctl_fail_store(request, request->path.text, "namespace", rc);
    status = page.complete ? ctl_look(request) : CTL_OK;
    if (status == CTL_OK)
        status = print_page(&page);
    kv_list_free(&page);
    return status;
}

static int list_all(struct ctl_request *request)
{
    char cursor[KV_KEY_MAX + 1] = "";
    bool complete = false;
    int status = CTL_OK;

    while (!complete && status == CTL_OK && !ferror(stdout)) {
        struct kv_list page;
        int rc = kv_list(request->store, request->second.id, request->prefix, cursor, KV_LIST_MAX, &page);

        if (rc < 0)
            return ctl_fail_store(request, request->path.text, "namespace", rc);
        complete = page.complete;
        if (complete)
            status = ctl_look(request);
        for (size_t i = 0; status == CTL_OK && i < page.count; i++)
            puts(page.keys[i]);
        memcpy(cursor, page.cursor, sizeof(cursor));
        kv_list_free(&page);
    }
    return status;
}

int ctl_list(struct ctl_request *request)
{
    const char *text = request->path.text;
    int status = CTL_OK;

    if (ctl_given(request, CTL_ALL) && (ctl_given(request, CTL_LIMIT) || ctl_given(request, CTL_CURSOR)))
        return ctl_fail("%s: --all lists from the start to the end; leave out --limit and --cursor", text);
    if (request->prefix != NULL && *request->prefix != '\0')
        status = ctl_check_name("--prefix", KV_NAME_KEY, request->prefix);
    if (status == CTL_OK && request->cursor != NULL && *request->cursor != '\0')
        status = ctl_check_name("--cursor", KV_NAME_KEY, request->cursor);
    if (status != CTL_OK)
        return status;
    return ctl_given(request, CTL_ALL) ? list_all(request) : list_page(request);
}
