/* kvctl get --type json: what is printed can be parsed, and a refusal says where the value is wrong.
 *
 * Input: the value. */
#include "tools/kvctl/common.h"

#include "tests/fuzz/fuzz.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t decode_flags = JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL;

/* An accepted value survives being parsed, printed and parsed again. */
static void check_accepted(const uint8_t *bytes, size_t size)
{
    json_t *json = json_loadb((const char *)bytes, size, decode_flags, NULL), *again;
    char *text;

    FUZZ_CHECK(json != NULL && memchr(bytes, '\0', size) == NULL);
    text = json_dumps(json, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    FUZZ_CHECK(text != NULL);
    again = json_loads(text, decode_flags, NULL);
    FUZZ_CHECK(again != NULL && json_typeof(again) == json_typeof(json));
    free(text);
    json_decref(again);
    json_decref(json);
}

static void check_refused(const uint8_t *bytes, size_t size, const char *text, size_t text_size)
{
    size_t lines = 1, line, column, byte;

    for (size_t i = 0; i < size; i++)
        lines += bytes[i] == '\n';
    fuzz_check_error_line(text, text_size);
    FUZZ_CHECK(sscanf(text, "kvctl: a/n/k: the value is not JSON: line %zu, column %zu, byte %zu: ", &line,
                      &column, &byte) == 3);
    /* A text that ends early is wrong behind its end. */
    FUZZ_CHECK(line >= 1 && line <= lines && column >= 1 && column <= byte && byte <= size + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text;
    size_t text_size;
    int status;

    if (size == 0) /* an empty value is as an absent one */
        return 0;
    fuzz_capture_begin();
    status = ctl_check_json("a/n/k", data, size);
    text = fuzz_capture_end(&text_size);
    FUZZ_CHECK(status == CTL_OK || status == CTL_ERROR);
    if (status == CTL_OK) {
        FUZZ_CHECK(text_size == 0);
        check_accepted(data, size);
    } else {
        check_refused(data, size, text, text_size);
    }
    return 0;
}
