/* kvctl: keys as wrangler kv bulk has them: an array of objects with key, value, base64 (the value is so encoded) and
 * metadata. Items are counted, since such an array is often one line. */
#include "tools/kvctl/base64.h"
#include "tools/kvctl/bulk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Skip white space. returns the next byte, which stays */
static int wrangler_skip(struct bulk_input *input)
{
    int c;

    while ((c = bulk_peek(input)) == ' ' || c == '\t' || c == '\n' || c == '\r')
        (void)bulk_getc(input);
    return c;
}

/* Only white space is left. */
static enum bulk_result wrangler_end(struct bulk_input *input)
{
    (void)bulk_getc(input); /* the bracket */
    return wrangler_skip(input) == EOF ? BULK_END
                                       : bulk_fail(input, BULK_BROKEN, "there is something behind the array");
}

/* Seconds since the epoch, or from now on. */
static enum bulk_result wrangler_expiration(struct bulk_input *input, struct bulk_record *record,
                                            const char *field, json_t *value)
{
    char text[32];

    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return bulk_fail(input, BULK_BAD, "\"%s\" is no number of seconds", field);
    if (strcmp(field, "expiration_ttl") == 0)
        return bulk_set_ttl(input, record, json_integer_value(value));
    snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    return bulk_set_expiry(input, record, text);
}

static enum bulk_result wrangler_field(struct bulk_input *input, struct bulk_record *record, const char *field,
                                       json_t *value)
{
    if (strcmp(field, "key") == 0 && json_is_string(value))
        return bulk_set_name(input, KV_NAME_KEY, json_string_value(value), json_string_length(value), record->key);
    if (strcmp(field, "metadata") == 0)
        return json_is_null(value) ? BULK_RECORD : bulk_add_metadata_json(input, record, value, true);
    if ((strcmp(field, "value") == 0 && json_is_string(value)) ||
        (strcmp(field, "base64") == 0 && (json_is_boolean(value) || json_is_null(value))))
        return BULK_RECORD; /* both together, behind the loop */
    if (strcmp(field, "expiration") == 0 || strcmp(field, "expiration_ttl") == 0)
        return json_is_null(value) ? BULK_RECORD : wrangler_expiration(input, record, field, value);
    return bulk_fail(input, BULK_BAD, "\"%.32s\" is not what wrangler has", field);
}

static enum bulk_result wrangler_object(struct bulk_input *input, struct bulk_record *record, json_t *object)
{
    json_t *text = json_object_get(object, "value");
    enum bulk_result result;

    if (!json_is_object(object))
        return bulk_fail(input, BULK_BAD, "it is no JSON object");
    result = bulk_json_fields(input, record, object, wrangler_field);
    if (result != BULK_RECORD)
        return result;
    if (record->key[0] == '\0' || text == NULL)
        return bulk_fail(input, BULK_BAD, "it has no \"%s\"", record->key[0] == '\0' ? "key" : "value");
    record->kind = BULK_KEY;
    return json_is_true(json_object_get(object, "base64"))
               ? bulk_set_base64(input, record, json_string_value(text), json_string_length(text))
               : bulk_set_value(input, record, json_string_value(text), json_string_length(text));
}

/* Where the next item begins. returns BULK_RECORD, BULK_END or BULK_BROKEN */
static enum bulk_result wrangler_next(struct bulk_input *input)
{
    int c = wrangler_skip(input), wanted = input->begun ? ',' : '[';

    if (c == ']' && input->begun)
        return wrangler_end(input);
    if (c != wanted)
        return bulk_fail(input, BULK_BROKEN,
                         input->begun ? "the array ends in the middle" : "it is no JSON array");
    (void)bulk_getc(input);
    c = wrangler_skip(input);
    if (c == ']' && !input->begun)
        return wrangler_end(input);
    input->begun = true;
    return c == EOF ? bulk_fail(input, BULK_BROKEN, "the array ends in the middle") : BULK_RECORD;
}

static enum bulk_result wrangler_read(struct bulk_input *input, struct bulk_record *record)
{
    enum bulk_result result;
    json_error_t error;
    json_t *object;

    record->number = ++input->number;
    result = wrangler_next(input);
    if (result != BULK_RECORD)
        return result;
    object = json_loadf(input->file, JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (object == NULL)
        return bulk_fail(input, BULK_BROKEN, "it is no JSON object: %s", error.text);
    result = wrangler_object(input, record, object);
    json_decref(object);
    return result;
}

static json_t *wrangler_make(const struct bulk_record *record)
{
    const struct kv_value *value = record->value;
    json_t *object = json_pack("{s:s}", "key", record->key), *code;
    int rc = object != NULL ? ctl_json_value(object, value->data, value->size) : -1;

    code = json_object_get(object, "base64");
    if (rc == 0 && code != NULL)
        rc = json_object_set(object, "value", code) | json_object_set_new(object, "base64", json_true());
    if (rc == 0)
        rc = ctl_json_metadata(object, &record->metadata);
    if (rc == 0 && record->expires_ns != 0) /* whole seconds: rather later than before its time */
        rc = json_object_set_new(object, "expiration", json_integer((record->expires_ns - 1) / 1000000000 + 1));
    if (rc == 0)
        return object;
    json_decref(object);
    return NULL;
}

static enum bulk_result wrangler_write(const struct bulk_record *record, bool first, char *why)
{
    json_t *object = wrangler_make(record);
    enum bulk_result result = BULK_RECORD;

    if (object == NULL) {
        strcpy(why, "out of memory");
        return BULK_BAD;
    }
    if (json_object_get(object, "metadata_base64") != NULL) {
        strcpy(why, "its metadata is no text, which only the format json can have");
        result = BULK_BAD;
    } else {
        fputs(first ? "\n" : ",\n", stdout);
        (void)json_dumpf(object, stdout, JSON_COMPACT); /* the dispatcher sees whether stdout has failed */
    }
    json_decref(object);
    return result;
}

static void wrangler_begin(void) { putchar('['); }
static void wrangler_finish(void) { puts("\n]"); }

const struct bulk_format bulk_wrangler = {"wrangler",     "item",          true,          wrangler_read,
                                          wrangler_begin, wrangler_finish, wrangler_write};
