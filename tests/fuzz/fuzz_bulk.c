/* kvctl load, dump and txn: whatever a text is, it is read to its end, or it is said what is wrong with it; and what
 * was read is the same once it is written and read again.
 *
 * Input: the format, and the text. */
#include "tools/kvctl/words.h"

#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const formats[] = {"json", "wrangler", "csv", "env"};

static void check_same_metadata(const struct kv_xattrs *one, const struct kv_xattrs *other)
{
    size_t pos = 0, name_size, size;
    const char *name;
    const void *value;
    struct kv_xattrs rest = *other;

    FUZZ_CHECK(one->size == other->size);
    while (kv_xattrs_next(one, &pos, &name, &name_size, &value, &size)) {
        size_t at = 0, found_name_size, found_size;
        const char *found_name;
        const void *found;
        bool same = false;

        while (kv_xattrs_next(&rest, &at, &found_name, &found_name_size, &found, &found_size))
            same |= found_name_size == name_size && memcmp(found_name, name, name_size) == 0 &&
                    found_size == size && memcmp(found, value, size) == 0;
        FUZZ_CHECK(same);
    }
}

static void check_same(const struct bulk_record *one, const struct bulk_record *other, bool with_metadata)
{
    FUZZ_CHECK(one->kind == other->kind);
    FUZZ_CHECK(strcmp(one->account, other->account) == 0 && strcmp(one->namespace, other->namespace) == 0);
    FUZZ_CHECK(strcmp(one->project, other->project) == 0 && strcmp(one->variable, other->variable) == 0);
    FUZZ_CHECK(strcmp(one->key, other->key) == 0);
    FUZZ_CHECK((one->value == NULL) == (other->value == NULL));
    if (one->value != NULL)
        FUZZ_CHECK(one->value->size == other->value->size &&
                   (one->value->size == 0 || memcmp(one->value->data, other->value->data, one->value->size) == 0));
    if (with_metadata)
        check_same_metadata(&one->metadata, &other->metadata);
    FUZZ_CHECK((one->attr_mask & ~other->attr_mask) == 0 && (one->limit_mask & ~other->limit_mask) == 0);
    FUZZ_CHECK(!(one->attr_mask & KV_MTIME) || one->attr.mtime_ns == other->attr.mtime_ns);
    FUZZ_CHECK(!(one->limit_mask & BULK_KEYS) || one->limit_keys == other->limit_keys);
}

/* Write it alone. returns the text, to be freed; NULL: the format has no words for it */
static char *write_record(const struct bulk_format *format, const struct bulk_record *record, size_t *size)
{
    FILE *saved = stdout;
    char *text = NULL, why[BULK_WHY_SIZE];
    enum bulk_result result;

    stdout = open_memstream(&text, size);
    FUZZ_CHECK(stdout != NULL);
    if (format->begin != NULL)
        format->begin();
    result = format->write(record, true, why);
    if (format->end != NULL)
        format->end();
    fclose(stdout);
    stdout = saved;
    FUZZ_CHECK(result == BULK_RECORD || result == BULK_BAD);
    if (result == BULK_RECORD)
        return text;
    free(text);
    return NULL;
}

static void write_and_read(const struct bulk_format *format, const struct bulk_record *record)
{
    struct bulk_input input = {.line = 0};
    struct bulk_record *again;
    size_t size;
    char *text = write_record(format, record, &size);

    if (text == NULL)
        return;
    again = calloc(1, sizeof(*again));
    input.file = fmemopen(text, size, "r");
    FUZZ_CHECK(again != NULL && input.file != NULL);
    FUZZ_CHECK(format->read(&input, again) == BULK_RECORD);
    check_same(record, again, format != &bulk_env);
    bulk_clear(again, 0);
    FUZZ_CHECK(format->read(&input, again) == BULK_END);
    fclose(input.file);
    free(input.text);
    free(again);
    free(text);
}

static void read_all(const struct bulk_format *format, FILE *file)
{
    struct bulk_input input = {.file = file};
    struct bulk_record *record = calloc(1, sizeof(*record));
    enum bulk_result result = BULK_RECORD;

    FUZZ_CHECK(record != NULL);
    for (int i = 0; i < 10000 && (result == BULK_RECORD || result == BULK_BAD); i++) {
        bulk_clear(record, 0);
        input.why[0] = '\0';
        result = format->read(&input, record);
        if (result == BULK_RECORD)
            write_and_read(format, record);
        else if (result != BULK_END)
            FUZZ_CHECK(input.why[0] != '\0');
    }
    FUZZ_CHECK(result == BULK_END || result == BULK_BROKEN);
    bulk_clear(record, 0);
    free(record);
    free(input.text);
}

/* ------------------------------------------------------------------------- words */

/* Words within quotes, in which there is nothing else than themselves. To be freed. */
static char *quote_words(const char *words, size_t size, size_t *quoted_size)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, quoted_size);
    bool begin = true;

    FUZZ_CHECK(out != NULL);
    for (size_t i = 0; i < size; i++) {
        if (begin)
            putc('\'', out);
        begin = words[i] == '\0';
        if (words[i] == '\'')
            fputs("'\\''", out);
        else
            fputs(begin ? "' " : (char[]){words[i], '\0'}, out);
    }
    fclose(out);
    return text;
}

static void quote_and_read(const struct bulk_input *first, size_t count)
{
    struct bulk_input input = {.line = 0};
    size_t size, again;
    char *text = quote_words(first->text, first->size, &size);

    input.file = fmemopen(text, size, "r");
    FUZZ_CHECK(input.file != NULL && words_read(&input, &again) == BULK_RECORD);
    FUZZ_CHECK(again == count && input.size == first->size && memcmp(input.text, first->text, input.size) == 0);
    FUZZ_CHECK(words_read(&input, &again) == BULK_END);
    fclose(input.file);
    free(input.text);
    free(text);
}

static void read_words(FILE *file)
{
    struct bulk_input input = {.file = file};
    enum bulk_result result;
    size_t count;

    while ((result = words_read(&input, &count)) == BULK_RECORD) {
        size_t ends = 0;

        for (size_t i = 0; i < input.size; i++)
            ends += input.text[i] == '\0';
        FUZZ_CHECK(count > 0 && ends == count && input.text[input.size - 1] == '\0');
        FUZZ_CHECK(input.number >= 1 && input.number <= input.line + 1);
        quote_and_read(&input, count);
    }
    FUZZ_CHECK(result == BULK_END || (result == BULK_BROKEN && input.why[0] != '\0'));
    free(input.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    unsigned how = fuzz_u8(&in);
    size_t text_size;
    const uint8_t *text = fuzz_bytes(&in, in.left, &text_size);
    FILE *file;

    if (text_size == 0)
        return 0;
    file = fmemopen((void *)(uintptr_t)text, text_size, "r");
    FUZZ_CHECK(file != NULL);
    if (how >= 250)
        read_words(file);
    else
        read_all(bulk_format_find(formats[how % 4]), file);
    fclose(file);
    return 0;
}
