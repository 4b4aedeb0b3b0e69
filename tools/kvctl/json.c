#include "tools/kvctl/base64.h"
#include "tools/kvctl/common.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int ctl_print_json(json_t *json, size_t flags)
{
    if (json == NULL)
        return ctl_fail("out of memory");
    if (json_dumpf(json, stdout, flags) < 0 && !ferror(stdout)) {
        json_decref(json);
        return ctl_fail("out of memory");
    }
    json_decref(json);
    putchar('\n');
    return CTL_OK;
}

json_t *ctl_json_limit(uint64_t limit) { return limit != 0 ? json_integer((json_int_t)limit) : json_null(); }

json_t *ctl_json_time(int64_t ns)
{
    int64_t part = ns % 1000000000;
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm tm;
    char date[64];

    if (part < 0) {
        part += 1000000000;
        seconds--;
    }
    if (gmtime_r(&seconds, &tm) == NULL || strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        return json_null();
    return json_sprintf("%s.%09" PRId64 "Z", date, part);
}

json_t *ctl_json_expiry(int64_t expires_ns)
{
    char text[KV_EXPIRY_TEXT];

    if (expires_ns == 0)
        return json_null();
    kv_expiry_text(expires_ns, text);
    return json_string(text);
}

int ctl_json_attr(json_t *object, const struct kv_node *node)
{
    const struct kv_attr *attr = &node->attr;
    json_t *more = json_pack("{s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "id", (json_int_t)node->id, "uid",
                             (json_int_t)attr->uid, "gid", (json_int_t)attr->gid, "mode",
                             json_sprintf("%04" PRIo32, attr->mode), "created", ctl_json_time(attr->btime_ns),
                             "accessed", ctl_json_time(attr->atime_ns), "modified", ctl_json_time(attr->mtime_ns),
                             "changed", ctl_json_time(attr->ctime_ns));
    int rc = more == NULL ? -1 : json_object_update(object, more);

    json_decref(more);
    return rc;
}

/* Add bytes to an object: under `text` where they are text without NULs, and else under `other` in base64. */
static int json_set_bytes(json_t *text_object, const char *text, json_t *other_object, const char *other,
                          const void *bytes, size_t size)
{
    json_t *value = memchr(bytes, '\0', size) == NULL ? json_stringn(bytes, size) : NULL;
    char *code;
    int rc;

    if (value != NULL)
        return json_object_set_new(text_object, text, value);
    code = base64_encode(bytes, size);
    rc = code != NULL ? json_object_set_new(other_object, other, json_string_nocheck(code)) : -1;
    free(code);
    return rc;
}

int ctl_json_value(json_t *object, const void *bytes, size_t size)
{
    return json_set_bytes(object, "value", object, "base64", size > 0 ? bytes : "", size);
}

int ctl_json_metadata(json_t *object, const struct kv_xattrs *set)
{
    json_t *texts = json_object(), *others = json_object();
    size_t pos = 0, name_size, size;
    const char *name;
    const void *bytes;
    int rc = texts != NULL && others != NULL ? 0 : -1;

    while (rc == 0 && kv_xattrs_next(set, &pos, &name, &name_size, &bytes, &size)) {
        char key[256];

        if (name_size <= CTL_META_PREFIX_SIZE || memcmp(name, CTL_META_PREFIX, CTL_META_PREFIX_SIZE) != 0)
            continue;
        memcpy(key, name + CTL_META_PREFIX_SIZE, name_size - CTL_META_PREFIX_SIZE);
        key[name_size - CTL_META_PREFIX_SIZE] = '\0';
        rc = json_set_bytes(texts, key, others, key, size > 0 ? bytes : "", size);
    }
    if (rc == 0 && json_object_size(texts) > 0)
        rc = json_object_set(object, "metadata", texts);
    if (rc == 0 && json_object_size(others) > 0)
        rc = json_object_set(object, "metadata_base64", others);
    json_decref(texts);
    json_decref(others);
    return rc;
}
