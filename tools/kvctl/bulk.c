#include "tools/kvctl/bulk.h"

#include "tools/kvctl/base64.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A value in JSON takes up to six bytes for one; and there are names and metadata. */
#define BULK_TEXT_MAX ((size_t)6 * KV_VALUE_MAX + ((size_t)1 << 20))

const char bulk_help[] =
    "Formats:\n"
    "  json       JSON Lines, with all there is: accounts and their limits, namespaces, projects, bindings, keys\n"
    "  wrangler   an array of {key, value, base64, metadata, expiration}, as wrangler kv bulk has it\n"
    "  csv        rows under a first one of key, value, base64, metadata (a JSON object) and expires\n"
    "  env        lines KEY=VALUE, for shells and env files; no metadata and no expiry\n"
    "All but json have only keys: they need an ACCOUNT/NAMESPACE. Where names are given to load, its records\n"
    "go there, whatever names they have. A key that is changed during a dump is in it as before or as after.\n"
    "load goes on behind a record that it refuses, says its line and why, and exits with 2. It can be repeated:\n"
    "what is loaded already does no harm. Records of accounts and namespaces make them where they are not\n"
    "there. A key that is there keeps its metadata and its expiry where the record has none. A record that has\n"
    "expired is left out.\n";

const struct bulk_format *bulk_format_find(const char *name)
{
    static const struct bulk_format *const formats[] = {&bulk_json, &bulk_wrangler, &bulk_csv, &bulk_env};

    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
        if (strcmp(formats[i]->name, name) == 0)
            return formats[i];
    return NULL;
}

void bulk_clear(struct bulk_record *record, uint64_t number)
{
    kv_value_unref(record->value);
    /* All but the metadata, which has a size. */
    record->number = number;
    record->kind = BULK_ACCOUNT;
    record->account[0] = record->namespace[0] = record->project[0] = record->variable[0] = record->key[0] = '\0';
    record->value = NULL;
    record->has_metadata = false;
    record->metadata.size = 0;
    record->expiry = KV_EXPIRY_KEEP;
    record->expires_ns = 0;
    record->attr_mask = record->limit_mask = 0;
    record->attr = (struct kv_attr){.ino = 0};
    record->limit_bytes = record->limit_keys = record->limit_namespaces = record->limit_bindings = 0;
}

/* ----------------------------------------------------------------------- input */

int bulk_open(struct bulk_input *input, const struct ctl_request *request, const char *what)
{
    bool named = request->file != NULL && strcmp(request->file, "-") != 0;

    input->name = named ? request->file : "standard input";
    input->file = named ? fopen(request->file, "re") : stdin;
    if (input->file == NULL)
        return ctl_fail("%s: cannot open it: %s; nothing was changed", request->file, strerror(errno));
    if (!named && isatty(STDIN_FILENO))
        ctl_say("%s: waiting for %s: type them, and then Ctrl-D at the start of a line; Ctrl-C gives up",
                request->command->verb, what);
    return CTL_OK;
}

void bulk_close(struct bulk_input *input)
{
    if (input->file != stdin)
        fclose(input->file);
    free(input->text);
    input->text = NULL;
}

enum bulk_result bulk_fail(struct bulk_input *input, enum bulk_result result, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(input->why, sizeof(input->why), format, args);
    va_end(args);
    return result;
}

int bulk_getc(struct bulk_input *input)
{
    int c = getc_unlocked(input->file);

    if (c == '\n')
        input->line++;
    return c;
}

int bulk_peek(struct bulk_input *input)
{
    int c = getc_unlocked(input->file);

    if (c != EOF)
        ungetc(c, input->file);
    return c;
}

void bulk_text_begin(struct bulk_input *input) { input->size = 0; }

enum bulk_result bulk_text_add(struct bulk_input *input, char c)
{
    if (input->size + 1 >= input->capacity) {
        size_t capacity = input->capacity == 0 ? 4096 : input->capacity * 2;
        char *text = capacity <= BULK_TEXT_MAX * 2 ? realloc(input->text, capacity) : NULL;

        if (text == NULL)
            return bulk_fail(input, BULK_BROKEN, "it is too long");
        input->text = text;
        input->capacity = capacity;
    }
    if (input->size >= BULK_TEXT_MAX)
        return bulk_fail(input, BULK_BROKEN, "it is too long");
    input->text[input->size++] = c;
    input->text[input->size] = '\0';
    return BULK_RECORD;
}

enum bulk_result bulk_read_line(struct bulk_input *input)
{
    enum bulk_result result = BULK_RECORD;
    int c;

    bulk_text_begin(input);
    while (result == BULK_RECORD && (c = bulk_getc(input)) != EOF && c != '\n')
        result = bulk_text_add(input, (char)c);
    if (result != BULK_RECORD)
        return result;
    if (c == EOF && ferror(input->file))
        return bulk_fail(input, BULK_BROKEN, "cannot read it: %s", strerror(errno));
    if (c == EOF && input->size == 0)
        return BULK_END;
    if (input->size > 0 && input->text[input->size - 1] == '\r')
        input->size--;
    result = bulk_text_add(input, '\0'); /* there is a text, also where it is empty */
    input->size--;
    return result;
}

/* ---------------------------------------------------------------------- records */

enum bulk_result bulk_set_name(struct bulk_input *input, enum kv_name_kind kind, const char *text, size_t size,
                               char *out)
{
    enum { SHOWN = 64 };
    int rc = kv_name_check(kind, text, size);

    if (rc < 0)
        return bulk_fail(input, BULK_BAD, "'%.*s%s' is no valid name: %s", (int)(size < SHOWN ? size : SHOWN),
                         text, size > SHOWN ? "..." : "", kv_name_rule(kind));
    memcpy(out, text, size); /* fits: the rule bounds it */
    out[size] = '\0';
    return BULK_RECORD;
}

static enum bulk_result bulk_fail_value(struct bulk_input *input, int rc)
{
    if (rc == -EFBIG)
        return bulk_fail(input, BULK_BAD, "the value is over %u bytes (25 MiB)", KV_VALUE_MAX);
    return bulk_fail(input, BULK_BROKEN, "%s", strerror(-rc));
}

enum bulk_result bulk_set_value(struct bulk_input *input, struct bulk_record *record, const void *bytes,
                                size_t size)
{
    struct kv_value *value;
    int rc = kv_value_copy(bytes, size, &value);

    if (rc < 0)
        return bulk_fail_value(input, rc);
    kv_value_unref(record->value);
    record->value = value;
    return BULK_RECORD;
}

enum bulk_result bulk_set_base64(struct bulk_input *input, struct bulk_record *record, const char *text,
                                 size_t size)
{
    uint8_t *bytes = malloc(base64_bound(size) + 1);
    enum bulk_result result;
    size_t decoded;

    if (bytes == NULL)
        return bulk_fail(input, BULK_BROKEN, "out of memory");
    if (base64_decode(text, size, bytes, &decoded))
        result = bulk_set_value(input, record, bytes, decoded);
    else
        result = bulk_fail(input, BULK_BAD, "the value is no base64");
    free(bytes);
    return result;
}

enum bulk_result bulk_set_expiry(struct bulk_input *input, struct bulk_record *record, const char *text)
{
    if (*text == '+' || kv_expiry_parse(text, 0, &record->expires_ns) < 0)
        return bulk_fail(input, BULK_BAD, "its expiry is no time as 2026-12-01T12:00:00Z");
    record->expiry = KV_EXPIRY_SET;
    return BULK_RECORD;
}

enum bulk_result bulk_set_ttl(struct bulk_input *input, struct bulk_record *record, int64_t seconds)
{
    int64_t now_ns = ctl_now_ns(CLOCK_REALTIME), ttl_ns;

    if (seconds < 0 || __builtin_mul_overflow(seconds, 1000000000, &ttl_ns) ||
        __builtin_add_overflow(now_ns, ttl_ns, &record->expires_ns))
        return bulk_fail(input, BULK_BAD, "its time to live is no number of seconds");
    record->expiry = KV_EXPIRY_SET;
    return BULK_RECORD;
}

enum bulk_result bulk_add_metadata(struct bulk_input *input, struct bulk_record *record, const char *name,
                                   const void *bytes, size_t size)
{
    char full[256];
    int length = snprintf(full, sizeof(full), CTL_META_PREFIX "%s", name);
    int rc;

    if (length <= (int)CTL_META_PREFIX_SIZE || length >= (int)sizeof(full))
        return bulk_fail(input, BULK_BAD, "the metadata's name '%.32s' is empty or too long", name);
    if (strncmp(name, "kvfs.", strlen("kvfs.")) == 0)
        return bulk_fail(input, BULK_BAD, "the metadata's name '%.32s' begins with kvfs., as the store's own do",
                         name);
    record->has_metadata = true;
    rc = kv_xattrs_set(&record->metadata, full, (size_t)length, bytes, size, 0);
    if (rc < 0)
        return bulk_fail(input, BULK_BAD,
                         "the metadata is too long: names (with user.) and values are at most %d bytes a key",
                         KV_XATTR_MAX);
    return BULK_RECORD;
}

enum bulk_result bulk_add_metadata_json(struct bulk_input *input, struct bulk_record *record, json_t *object,
                                        bool loose)
{
    enum bulk_result result = BULK_RECORD;
    const char *name;
    json_t *value;

    if (!json_is_object(object))
        return bulk_fail(input, BULK_BAD, "the metadata is no JSON object");
    record->has_metadata = true;
    json_object_foreach(object, name, value)
    {
        char *text = NULL;

        if (result != BULK_RECORD)
            break;
        if (json_is_string(value)) {
            result = bulk_add_metadata(input, record, name, json_string_value(value), json_string_length(value));
            continue;
        }
        if (loose && (text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY)) != NULL)
            result = bulk_add_metadata(input, record, name, text, strlen(text));
        else
            result = bulk_fail(input, BULK_BAD, "the metadata %.32s is no string", name);
        free(text);
    }
    return result;
}

enum bulk_result bulk_json_fields(struct bulk_input *input, struct bulk_record *record, json_t *object,
                                  bulk_set_field *set)
{
    enum bulk_result result = BULK_RECORD;
    const char *field;
    json_t *value;

    json_object_foreach(object, field, value)
    {
        if (result != BULK_RECORD)
            break;
        result = set(input, record, field, value);
    }
    return result;
}
