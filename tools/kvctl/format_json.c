/* kvctl: records as JSON Lines. What a line has says what it is of:
 *
 *   account                                   an account, with limits
 *   account, namespace                        a namespace
 *   account, project                          a project
 *   account, project, variable, namespace     a binding
 *   account, namespace, key, value or base64  a key
 *
 * Each may have metadata (user.* attributes that are text), metadata_base64 (others) and attributes (mode, uid,
 * gid, and of a key modified), and a key expires: a time as in RFC 3339, or null for never. version and size, which
 * get and list print, are of no meaning here. */
#include "tools/kvctl/base64.h"
#include "tools/kvctl/bulk.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---------------------------------------------------------------------- reading */

static enum bulk_result json_bad(struct bulk_input *input, const char *name, const char *rule)
{
    return bulk_fail(input, BULK_BAD, "\"%.32s\" is %s", name, rule);
}

static enum bulk_result json_name(struct bulk_input *input, const char *field, enum kv_name_kind kind,
                                  json_t *value, char *out)
{
    if (!json_is_string(value))
        return json_bad(input, field, "no string");
    return bulk_set_name(input, kind, json_string_value(value), json_string_length(value), out);
}

static enum bulk_result json_value(struct bulk_input *input, struct bulk_record *record, const char *field,
                                   json_t *value)
{
    if (!json_is_string(value))
        return json_bad(input, field, "no string");
    if (record->value != NULL)
        return bulk_fail(input, BULK_BAD, "there are a \"value\" and a \"base64\"");
    return strcmp(field, "value") == 0
               ? bulk_set_value(input, record, json_string_value(value), json_string_length(value))
               : bulk_set_base64(input, record, json_string_value(value), json_string_length(value));
}

static enum bulk_result json_metadata_base64(struct bulk_input *input, struct bulk_record *record,
                                             const char *name, json_t *value)
{
    uint8_t bytes[2 * KV_XATTR_MAX];
    size_t size = json_string_length(value);

    if (!json_is_string(value) || base64_bound(size) > sizeof(bytes) ||
        !base64_decode(json_string_value(value), size, bytes, &size))
        return json_bad(input, name, "no short base64");
    return bulk_add_metadata(input, record, name, bytes, size);
}

/* As ctl_json_time() writes it. */
static bool json_parse_time(const char *text, int64_t *out)
{
    struct tm tm = {.tm_isdst = 0};
    const char *rest = text != NULL ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    int64_t part = 0, unit = 100000000;
    time_t seconds;

    if (rest != NULL && *rest == '.')
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, unit /= 10)
            part += (*rest - '0') * unit;
    if (rest == NULL || strcmp(rest, "Z") != 0)
        return false;
    seconds = timegm(&tm);
    return !__builtin_mul_overflow((int64_t)seconds, 1000000000, out) && !__builtin_add_overflow(*out, part, out);
}

static enum bulk_result json_attribute(struct bulk_input *input, struct bulk_record *record, const char *field,
                                       json_t *value)
{
    json_int_t number = json_integer_value(value);
    bool is_id = json_is_integer(value) && number >= 0 && number < UINT32_MAX;
    const char *text = json_string_value(value);
    char *end = NULL;

    if (strcmp(field, "uid") == 0 && is_id) {
        record->attr.uid = (uint32_t)number;
        record->attr_mask |= KV_UID;
    } else if (strcmp(field, "gid") == 0 && is_id) {
        record->attr.gid = (uint32_t)number;
        record->attr_mask |= KV_GID;
    } else if (strcmp(field, "mode") == 0 && text != NULL && *text != '\0' &&
               strspn(text, "01234567") == strlen(text) && strlen(text) <= 4) {
        record->attr.mode = (uint32_t)strtoul(text, &end, 8);
        record->attr_mask |= KV_MODE;
    } else if (strcmp(field, "modified") == 0 && json_parse_time(text, &record->attr.mtime_ns)) {
        record->attr_mask |= KV_MTIME;
    } else {
        return bulk_fail(input, BULK_BAD, "\"attributes\" has a \"%.32s\" that is none", field);
    }
    return BULK_RECORD;
}

static const struct {
    const char *name;
    enum bulk_limit bit;
    bool may_be_none;
} json_limits[] = {{"bytes", BULK_BYTES, false},
                   {"keys", BULK_KEYS, true},
                   {"namespaces", BULK_NAMESPACES, false},
                   {"bindings", BULK_BINDINGS, true}};
enum { JSON_LIMITS = sizeof(json_limits) / sizeof(json_limits[0]) };

static uint64_t *json_limit_of(struct bulk_record *record, enum bulk_limit limit)
{
    switch (limit) {
    case BULK_BYTES:
        return &record->limit_bytes;
    case BULK_KEYS:
        return &record->limit_keys;
    case BULK_NAMESPACES:
        return &record->limit_namespaces;
    case BULK_BINDINGS:
        break;
    }
    return &record->limit_bindings;
}

static enum bulk_result json_read_limits(struct bulk_input *input, struct bulk_record *record, json_t *object)
{
    size_t known = 0;

    if (!json_is_object(object))
        return json_bad(input, "limits", "no object");
    for (size_t i = 0; i < JSON_LIMITS; i++) {
        json_t *value = json_object_get(object, json_limits[i].name);
        bool none = json_is_null(value) && json_limits[i].may_be_none;

        if (value == NULL)
            continue;
        if (!none && (!json_is_integer(value) || json_integer_value(value) < json_limits[i].may_be_none))
            return json_bad(input, json_limits[i].name, "no limit");
        *json_limit_of(record, json_limits[i].bit) = none ? 0 : (uint64_t)json_integer_value(value);
        record->limit_mask |= json_limits[i].bit;
        known++;
    }
    if (known < json_object_size(object))
        return bulk_fail(input, BULK_BAD, "\"limits\" has more than bytes, keys, namespaces and bindings");
    return BULK_RECORD;
}

/* An object in a field of a record. */
static enum bulk_result json_object_in(struct bulk_input *input, struct bulk_record *record, const char *field,
                                       json_t *object, bulk_set_field *set)
{
    return json_is_object(object) ? bulk_json_fields(input, record, object, set)
                                  : json_bad(input, field, "no object");
}

static enum bulk_result json_expires(struct bulk_input *input, struct bulk_record *record, json_t *value)
{
    if (!json_is_null(value) && !json_is_string(value))
        return json_bad(input, "expires", "no string");
    return bulk_set_expiry(input, record, json_is_null(value) ? "never" : json_string_value(value));
}

static enum bulk_result json_field(struct bulk_input *input, struct bulk_record *record, const char *field,
                                   json_t *value)
{
    if (strcmp(field, "account") == 0)
        return json_name(input, field, KV_NAME_ACCOUNT, value, record->account);
    if (strcmp(field, "namespace") == 0)
        return json_name(input, field, KV_NAME_NAMESPACE, value, record->namespace);
    if (strcmp(field, "key") == 0)
        return json_name(input, field, KV_NAME_KEY, value, record->key);
    if (strcmp(field, "project") == 0)
        return json_name(input, field, KV_NAME_PROJECT, value, record->project);
    if (strcmp(field, "variable") == 0)
        return json_name(input, field, KV_NAME_VARIABLE, value, record->variable);
    if (strcmp(field, "value") == 0 || strcmp(field, "base64") == 0)
        return json_value(input, record, field, value);
    if (strcmp(field, "metadata") == 0)
        return bulk_add_metadata_json(input, record, value, false);
    if (strcmp(field, "metadata_base64") == 0)
        return json_object_in(input, record, field, value, json_metadata_base64);
    if (strcmp(field, "attributes") == 0)
        return json_object_in(input, record, field, value, json_attribute);
    if (strcmp(field, "limits") == 0)
        return json_read_limits(input, record, value);
    if (strcmp(field, "expires") == 0)
        return json_expires(input, record, value);
    if (strcmp(field, "version") == 0 || strcmp(field, "size") == 0)
        return BULK_RECORD;
    return bulk_fail(input, BULK_BAD, "\"%.32s\" is no field of a record", field);
}

/* What the fields make it. */
static enum bulk_result json_kind(struct bulk_input *input, struct bulk_record *record)
{
    if (record->key[0] != '\0')
        record->kind = BULK_KEY;
    else if (record->variable[0] != '\0')
        record->kind = BULK_BINDING;
    else if (record->project[0] != '\0')
        record->kind = BULK_PROJECT;
    else if (record->namespace[0] != '\0')
        record->kind = BULK_NAMESPACE;
    else
        record->kind = BULK_ACCOUNT;
    if (record->kind == BULK_KEY && record->value == NULL)
        return bulk_fail(input, BULK_BAD, "the key has no \"value\" and no \"base64\"");
    if (record->kind == BULK_KEY && (record->project[0] != '\0' || record->variable[0] != '\0'))
        return bulk_fail(input, BULK_BAD, "a key has no \"project\" and no \"variable\"");
    if (record->kind != BULK_KEY && (record->value != NULL || record->expires_ns != 0))
        return bulk_fail(input, BULK_BAD, "there is %s, and no \"key\"",
                         record->value != NULL ? "a value" : "an expiry");
    if (record->kind == BULK_BINDING && (record->project[0] == '\0' || record->namespace[0] == '\0'))
        return bulk_fail(input, BULK_BAD, "a \"variable\" needs a \"project\" and a \"namespace\"");
    if (record->kind == BULK_PROJECT && record->namespace[0] != '\0')
        return bulk_fail(input, BULK_BAD, "there are a \"project\" and a \"namespace\", and no \"variable\"");
    if (record->kind != BULK_ACCOUNT && record->limit_mask != 0)
        return bulk_fail(input, BULK_BAD, "only an account has \"limits\"");
    if (record->kind == BULK_ACCOUNT && record->account[0] == '\0')
        return bulk_fail(input, BULK_BAD, "it names nothing: there is no \"key\" and no \"account\"");
    return BULK_RECORD;
}

enum bulk_result bulk_json_object(struct bulk_input *input, struct bulk_record *record, json_t *object)
{
    enum bulk_result result;

    if (!json_is_object(object))
        return bulk_fail(input, BULK_BAD, "it is no JSON object");
    result = bulk_json_fields(input, record, object, json_field);
    return result == BULK_RECORD ? json_kind(input, record) : result;
}

static enum bulk_result json_read(struct bulk_input *input, struct bulk_record *record)
{
    enum bulk_result result;
    json_error_t error;
    json_t *object;

    do {
        input->number = record->number = input->line + 1;
        result = bulk_read_line(input);
    } while (result == BULK_RECORD && strspn(input->text, " \t") == input->size);
    if (result != BULK_RECORD)
        return result;
    object =
        json_loadb(input->text, input->size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    if (object == NULL)
        return bulk_fail(input, BULK_BAD, "it is no JSON: column %d: %s", error.column, error.text);
    result = bulk_json_object(input, record, object);
    json_decref(object);
    return result;
}

/* ---------------------------------------------------------------------- writing */

static int json_set_text(json_t *object, const char *field, const char *text)
{
    return *text == '\0' ? 0 : json_object_set_new(object, field, json_string(text));
}

static int json_set_attributes(json_t *object, const struct bulk_record *record)
{
    const struct kv_attr *attr = &record->attr;
    json_t *attributes;
    int rc;

    if (record->attr_mask == 0)
        return 0;
    attributes = json_pack("{s:o, s:I, s:I}", "mode", json_sprintf("%04" PRIo32, attr->mode), "uid",
                           (json_int_t)attr->uid, "gid", (json_int_t)attr->gid);
    rc = json_object_set_new(object, "attributes", attributes);
    if (rc == 0 && record->attr_mask & KV_MTIME)
        rc = json_object_set_new(attributes, "modified", ctl_json_time(attr->mtime_ns));
    return rc;
}

static int json_set_limits(json_t *object, const struct bulk_record *record)
{
    if (record->limit_mask == 0)
        return 0;
    return json_object_set_new(object, "limits",
                               json_pack("{s:I, s:o, s:I, s:o}", "bytes", (json_int_t)record->limit_bytes, "keys",
                                         ctl_json_limit(record->limit_keys), "namespaces",
                                         (json_int_t)record->limit_namespaces, "bindings",
                                         ctl_json_limit(record->limit_bindings)));
}

static enum bulk_result json_write(const struct bulk_record *record, bool first, char *why)
{
    json_t *object = json_object();
    int rc = 0;

    (void)first;
    rc |= json_set_text(object, "account", record->account);
    rc |= json_set_text(object, "project", record->project);
    rc |= json_set_text(object, "variable", record->variable);
    rc |= json_set_text(object, "namespace", record->namespace);
    rc |= json_set_text(object, "key", record->key);
    if (record->value != NULL)
        rc |= ctl_json_value(object, record->value->data, record->value->size);
    rc |= ctl_json_metadata(object, &record->metadata);
    if (record->expires_ns != 0)
        rc |= json_object_set_new(object, "expires", ctl_json_expiry(record->expires_ns));
    rc |= json_set_attributes(object, record);
    rc |= json_set_limits(object, record);
    if (rc == 0)
        rc = json_dumpf(object, stdout, JSON_COMPACT);
    json_decref(object);
    if (rc < 0 && !ferror(stdout)) {
        strcpy(why, "out of memory");
        return BULK_BAD;
    }
    putchar('\n');
    return BULK_RECORD;
}

const struct bulk_format bulk_json = {"json", "line", false, json_read, NULL, NULL, json_write};
