/* kvctl: records of a store in text, as dump writes and load reads them.
 *
 * A format turns text into records and back. Only JSON Lines has records of all kinds; the others have keys. */
#ifndef KVFS_TOOLS_KVCTL_BULK_H
#define KVFS_TOOLS_KVCTL_BULK_H

#include "tools/kvctl/common.h"

enum bulk_kind { BULK_ACCOUNT, BULK_NAMESPACE, BULK_PROJECT, BULK_BINDING, BULK_KEY };

/* What an account's limits are, as far as the mask says. */
enum bulk_limit { BULK_BYTES = 1, BULK_KEYS = 2, BULK_NAMESPACES = 4, BULK_BINDINGS = 8 };

struct bulk_record {
    uint64_t number; /* of its line or item, from 1 on */
    enum bulk_kind kind;
    /* "" where the text names none */
    char account[KV_NAME_MAX + 1], namespace[KV_NAME_MAX + 1], project[KV_NAME_MAX + 1], variable[KV_NAME_MAX + 1];
    char key[KV_KEY_MAX + 1];
    struct kv_value *value; /* of a key; the record's */
    bool has_metadata;
    struct kv_xattrs metadata;
    enum kv_expiry expiry; /* KEEP: the text has none */
    int64_t expires_ns;
    unsigned attr_mask; /* of KV_MODE, KV_UID, KV_GID, KV_MTIME */
    struct kv_attr attr;
    unsigned limit_mask; /* of enum bulk_limit; limits of which 0 means that there is none are 0 then */
    uint64_t limit_bytes, limit_keys, limit_namespaces, limit_bindings;
};

/* Give back what the record has, and make it one of a number again. */
void bulk_clear(struct bulk_record *record, uint64_t number);

enum bulk_result {
    BULK_END,    /* of the text */
    BULK_RECORD, /* one was read, or written */
    BULK_BAD,    /* this one is wrong; `why` says it. Further ones can be read */
    BULK_BROKEN, /* nothing more can be read; `why` says it */
};

enum { BULK_WHY_SIZE = 320, BULK_COLUMNS = 8 };

/* A text that is read. */
struct bulk_input {
    const char *name; /* for messages; borrowed */
    FILE *file;
    uint64_t line;           /* being read; 0 before the first */
    uint64_t number;         /* of the record that was read last, as far as that is known */
    char why[BULK_WHY_SIZE]; /* what is wrong with it */
    char *text;              /* of the record: `size` bytes and a NUL */
    size_t size, capacity;
    /* the formats' own */
    bool begun;
    int columns[BULK_COLUMNS]; /* what is in each column; csv */
    size_t column_count;
};

struct bulk_format {
    const char *name;
    const char *unit; /* what records are counted in: "line" */
    bool only_keys;
    /* Read the next record, which the caller has cleared. */
    enum bulk_result (*read)(struct bulk_input *input, struct bulk_record *record);
    /* Print what stands before, or behind, all records. May be NULL. */
    void (*begin)(void);
    void (*end)(void);
    /* Print a record.
     * first    it is the first one
     * why      room for BULK_WHY_SIZE bytes
     * returns  BULK_RECORD; BULK_BAD the format has no words for it */
    enum bulk_result (*write)(const struct bulk_record *record, bool first, char *why);
};

/* The format of a name; NULL: there is none. */
const struct bulk_format *bulk_format_find(const char *name);
extern const char bulk_help[]; /* behind the summaries of dump and load */
extern const struct bulk_format bulk_json, bulk_wrangler, bulk_csv, bulk_env;

/* ------------------------------------------------------------------------ input */

/* Open the text of --file, or standard input; who types it is told so. Returns a status; with CTL_OK close it.
 * input    zeroed
 * what     its lines are: "records" */
KV_CHECKED int bulk_open(struct bulk_input *input, const struct ctl_request *request, const char *what);
/* And give back its text. Its name and numbers stay. */
void bulk_close(struct bulk_input *input);

/* Say what is wrong. returns `result` */
enum bulk_result bulk_fail(struct bulk_input *input, enum bulk_result result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The next byte, or EOF. Counts lines. */
int bulk_getc(struct bulk_input *input);
/* Look at it, and leave it there. */
int bulk_peek(struct bulk_input *input);
/* Begin the text of a record anew, and add a byte to it. A record has at most what a value in JSON can take.
 * returns  BULK_RECORD; BULK_BROKEN */
void bulk_text_begin(struct bulk_input *input);
enum bulk_result bulk_text_add(struct bulk_input *input, char c);
/* Make a line the text, without its end. returns BULK_RECORD, BULK_END or BULK_BROKEN */
enum bulk_result bulk_read_line(struct bulk_input *input);

/* ----------------------------------------------------------------------- records */

/* Set a part of a record, and check it. Return BULK_RECORD or BULK_BAD. */
enum bulk_result bulk_set_name(struct bulk_input *input, enum kv_name_kind kind, const char *text, size_t size,
                               char *out);
enum bulk_result bulk_set_value(struct bulk_input *input, struct bulk_record *record, const void *bytes,
                                size_t size);
enum bulk_result bulk_set_base64(struct bulk_input *input, struct bulk_record *record, const char *text,
                                 size_t size);
/* Set the expiry: text as kv_expiry_parse() takes it, but not "+1h"; seconds from now on, which are 0 or more. */
enum bulk_result bulk_set_expiry(struct bulk_input *input, struct bulk_record *record, const char *text);
enum bulk_result bulk_set_ttl(struct bulk_input *input, struct bulk_record *record, int64_t seconds);
/* Add a user's attribute; name is without "user." */
enum bulk_result bulk_add_metadata(struct bulk_input *input, struct bulk_record *record, const char *name,
                                   const void *bytes, size_t size);
/* Add those of a JSON object.
 * loose    values that are no strings become their JSON text; else they are refused */
enum bulk_result bulk_add_metadata_json(struct bulk_input *input, struct bulk_record *record, json_t *object,
                                        bool loose);

/* Set what each field of a JSON object says, until one is wrong. Returns BULK_RECORD, BULK_BAD or BULK_BROKEN. */
typedef enum bulk_result bulk_set_field(struct bulk_input *input, struct bulk_record *record, const char *field,
                                        json_t *value);
enum bulk_result bulk_json_fields(struct bulk_input *input, struct bulk_record *record, json_t *object,
                                  bulk_set_field *set);

/* Make a record of a JSON object, as a line of JSON Lines has it. Returns BULK_RECORD, BULK_BAD or BULK_BROKEN. */
enum bulk_result bulk_json_object(struct bulk_input *input, struct bulk_record *record, json_t *object);

#endif
