/* kvctl: keys as comma separated values (RFC 4180). The first row names the columns: key and value, base64 in place of
 * a value, metadata, a JSON object, and expires, a time as in RFC 3339. */
#include "tools/kvctl/base64.h"
#include "tools/kvctl/bulk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum csv_column { CSV_KEY, CSV_VALUE, CSV_BASE64, CSV_METADATA, CSV_EXPIRES, CSV_COLUMNS };

static const char *const csv_names[CSV_COLUMNS] = {"key", "value", "base64", "metadata", "expires"};

/* The fields of a row, one behind the other in the input's text. */
struct csv_row {
    size_t count;
    struct {
        size_t at, size;
    } fields[BULK_COLUMNS];
};

/* Read what is behind an opening quote, to the closing one. */
static enum bulk_result csv_read_quoted(struct bulk_input *input)
{
    enum bulk_result result = BULK_RECORD;
    int c;

    while (result == BULK_RECORD) {
        c = bulk_getc(input);
        if (c == EOF)
            return bulk_fail(input, BULK_BROKEN, "a quoted field does not end");
        if (c == '"') {
            if (bulk_peek(input) != '"')
                break;
            (void)bulk_getc(input);
        }
        result = bulk_text_add(input, (char)c);
    }
    if (result == BULK_RECORD && strchr(",\r\n", bulk_peek(input)) == NULL && bulk_peek(input) != EOF)
        return bulk_fail(input, BULK_BROKEN, "there is something behind a closing quote");
    return result;
}

/* Read a field to what ends it, which is *end: ',', '\n' or EOF. */
static enum bulk_result csv_read_field(struct bulk_input *input, struct csv_row *row, int *end)
{
    enum bulk_result result = BULK_RECORD;
    size_t at = input->size;
    bool quoted = bulk_peek(input) == '"';
    int c;

    if (row->count == BULK_COLUMNS)
        return bulk_fail(input, BULK_BROKEN, "the row has too many columns");
    if (quoted) {
        (void)bulk_getc(input);
        result = csv_read_quoted(input);
    }
    while (result == BULK_RECORD && (c = bulk_getc(input)) != ',' && c != '\n' && c != EOF)
        if (c != '\r' || bulk_peek(input) != '\n')
            result = bulk_text_add(input, (char)c);
    if (result != BULK_RECORD)
        return result;
    *end = c;
    row->fields[row->count].at = at;
    row->fields[row->count++].size = input->size - at;
    return bulk_text_add(input, '\0');
}

/* Read a row that is not empty. returns BULK_RECORD, BULK_END or BULK_BROKEN */
static enum bulk_result csv_read_row(struct bulk_input *input, struct csv_row *row)
{
    enum bulk_result result = BULK_RECORD;
    int end = ',';

    while (bulk_peek(input) == '\n' || bulk_peek(input) == '\r')
        (void)bulk_getc(input);
    input->number = input->line + 1;
    if (bulk_peek(input) == EOF)
        return ferror(input->file) ? bulk_fail(input, BULK_BROKEN, "cannot read it: %s", strerror(errno))
                                   : BULK_END;
    bulk_text_begin(input);
    row->count = 0;
    while (end == ',' && result == BULK_RECORD)
        result = csv_read_field(input, row, &end);
    return result;
}

static enum bulk_result csv_read_head(struct bulk_input *input)
{
    struct csv_row row;
    enum bulk_result result = csv_read_row(input, &row);
    unsigned seen = 0;

    if (result != BULK_RECORD)
        return result;
    for (size_t i = 0; i < row.count; i++) {
        const char *name = input->text + row.fields[i].at;
        int column = 0;

        while (column < CSV_COLUMNS && strcmp(csv_names[column], name) != 0)
            column++;
        if (column == CSV_COLUMNS || seen & 1u << column)
            return bulk_fail(
                input, BULK_BROKEN,
                "the first row names the columns, of key, value, base64, metadata and expires, and '%.32s' is %s",
                name, column == CSV_COLUMNS ? "none" : "there twice");
        seen |= 1u << column;
        input->columns[i] = column;
    }
    if (!(seen & 1u << CSV_KEY) || !(seen & (1u << CSV_VALUE | 1u << CSV_BASE64)))
        return bulk_fail(input, BULK_BROKEN, "the first row names the columns, and has no key, or no value");
    input->column_count = row.count;
    input->begun = true;
    return BULK_RECORD;
}

static enum bulk_result csv_read_metadata(struct bulk_input *input, struct bulk_record *record, const char *text,
                                          size_t size)
{
    json_error_t error;
    json_t *object = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    enum bulk_result result = object != NULL
                                  ? bulk_add_metadata_json(input, record, object, true)
                                  : bulk_fail(input, BULK_BAD, "the metadata is no JSON: %s", error.text);

    json_decref(object);
    return result;
}

static enum bulk_result csv_set(struct bulk_input *input, struct bulk_record *record, int column, const char *text,
                                size_t size)
{
    switch (column) {
    case CSV_KEY:
        return bulk_set_name(input, KV_NAME_KEY, text, size, record->key);
    case CSV_VALUE:
        return size > 0 || record->value == NULL ? bulk_set_value(input, record, text, size) : BULK_RECORD;
    case CSV_BASE64:
        return size > 0 || record->value == NULL ? bulk_set_base64(input, record, text, size) : BULK_RECORD;
    case CSV_EXPIRES: /* a field ends with a NUL */
        return size > 0 ? bulk_set_expiry(input, record, text) : BULK_RECORD;
    default:
        return size > 0 ? csv_read_metadata(input, record, text, size) : BULK_RECORD;
    }
}

static enum bulk_result csv_read(struct bulk_input *input, struct bulk_record *record)
{
    enum bulk_result result = input->begun ? BULK_RECORD : csv_read_head(input);
    struct csv_row row;

    if (result == BULK_RECORD)
        result = csv_read_row(input, &row);
    record->number = input->number;
    record->kind = BULK_KEY;
    if (result == BULK_RECORD && row.count != input->column_count)
        return bulk_fail(input, BULK_BAD, "it has %zu columns, and the first row %zu", row.count,
                         input->column_count);
    for (size_t i = 0; result == BULK_RECORD && i < row.count; i++)
        result = csv_set(input, record, input->columns[i], input->text + row.fields[i].at, row.fields[i].size);
    return result;
}

/* ---------------------------------------------------------------------- writing */

static void csv_write_field(const char *text, size_t size)
{
    bool quoted = false;

    for (size_t i = 0; i < size; i++)
        quoted = quoted || strchr("\",\r\n", text[i]) != NULL;
    if (quoted)
        putchar('"');
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"')
            putchar('"');
        putchar(text[i]);
    }
    if (quoted)
        putchar('"');
}

static enum bulk_result csv_write(const struct bulk_record *record, bool first, char *why)
{
    json_t *object = json_object(), *metadata;
    const char *field[] = {"value", "base64"};
    enum bulk_result result = BULK_RECORD;
    char *text = NULL, expires[KV_EXPIRY_TEXT] = "";
    int rc = ctl_json_value(object, record->value->data, record->value->size) |
             ctl_json_metadata(object, &record->metadata);

    (void)first;
    metadata = json_object_get(object, "metadata");
    if (rc == 0 && metadata != NULL)
        rc = (text = json_dumps(metadata, JSON_COMPACT)) != NULL ? 0 : -1;
    if (rc < 0) {
        strcpy(why, "out of memory");
        result = BULK_BAD;
    } else if (json_object_get(object, "metadata_base64") != NULL) {
        strcpy(why, "its metadata is no text, which only the format json can have");
        result = BULK_BAD;
    } else {
        fputs(record->key, stdout);
        for (size_t i = 0; i < sizeof(field) / sizeof(field[0]); i++) {
            json_t *value = json_object_get(object, field[i]);

            putchar(',');
            if (value != NULL)
                csv_write_field(json_string_value(value), json_string_length(value));
        }
        putchar(',');
        csv_write_field(text != NULL ? text : "", text != NULL ? strlen(text) : 0);
        if (record->expires_ns != 0)
            kv_expiry_text(record->expires_ns, expires);
        printf(",%s\n", expires);
    }
    free(text);
    json_decref(object);
    return result;
}

static void csv_begin(void) { puts("key,value,base64,metadata,expires"); }

const struct bulk_format bulk_csv = {"csv", "line", true, csv_read, csv_begin, NULL, csv_write};
