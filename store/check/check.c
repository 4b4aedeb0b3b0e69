#include "store/check/check.h"

#include "store/rules/tx.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BEGINS_MAX 100  /* that other processes' commits may spoil in a row */
#define REPAIRS_MAX 100 /* each of which can bring more within reach: where damage lay upon damage */

/* ------------------------------------------------------------------- what is noted */

int check_grow(void **items, size_t count, size_t *capacity, size_t size)
{
    size_t wanted = count < 16 ? 16 : count + count / 2;
    void *grown;

    if (count < *capacity)
        return 0;
    grown = reallocarray(*items, wanted, size);
    if (grown == NULL)
        return -ENOMEM;
    *items = grown;
    *capacity = wanted;
    return 0;
}

int check_note_record(struct check_records *records, struct slice name)
{
    uint16_t size = (uint16_t)name.size; /* no key of an engine's is longer */

    if (records->capacity - records->size < sizeof(size) + name.size) {
        size_t wanted = records->capacity * 2 + sizeof(struct name);
        uint8_t *grown = realloc(records->bytes, wanted);

        if (grown == NULL)
            return -ENOMEM;
        records->bytes = grown;
        records->capacity = wanted;
    }
    memcpy(records->bytes + records->size, &size, sizeof(size));
    memcpy(records->bytes + records->size + sizeof(size), name.data, name.size);
    records->size += sizeof(size) + name.size;
    return 0;
}

bool check_next_record(const struct check_records *records, size_t *pos, struct slice *name)
{
    uint16_t size;

    if (*pos >= records->size)
        return false;
    memcpy(&size, records->bytes + *pos, sizeof(size));
    *name = slice_of(records->bytes + *pos + sizeof(size), size);
    *pos += sizeof(size) + size;
    return true;
}

void check_note_number(struct check *check, uint64_t number)
{
    if (number > check->highest && number <= CHECK_ID_MAX)
        check->highest = number;
}

int check_note_ino(struct check *check, uint64_t ino)
{
    int rc = check_grow((void **)&check->inos, check->inos_count, &check->inos_capacity, sizeof(*check->inos));

    if (rc == 0)
        check->inos[check->inos_count++] = ino;
    check_note_number(check, ino);
    return rc;
}

/* ------------------------------------------------------------------------ findings */

static void make_printable(char *text)
{
    for (; *text != '\0'; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

void check_found(struct check *check, const char *kind, bool repairable, const char *where, const char *format,
                 ...)
{
    struct kv_finding finding = {.kind = kind, .repairable = repairable};
    char where_text[2 * KV_KEY_MAX], what_text[512];
    va_list args;

    if (check->again && !repairable)
        return;
    check->report.findings++;
    check->repairable += repairable;
    if (check->options->found == NULL)
        return;
    snprintf(where_text, sizeof(where_text), "%s", where);
    va_start(args, format);
    vsnprintf(what_text, sizeof(what_text), format, args);
    va_end(args);
    make_printable(where_text);
    make_printable(what_text);
    finding.where = where_text;
    finding.what = what_text;
    check->options->found(check->options->arg, &finding);
}

struct check_node *check_find(struct check *check, uint64_t id)
{
    struct check_node *found;

    HASH_FIND(hh, check->nodes, &id, sizeof(id), found);
    return found;
}

/* The names from the root's child down to a node, joined by '/'. What has no name is shown by its id. */
static size_t put_path(struct check *check, uint64_t id, int depth, char *out, size_t room)
{
    struct check_node *found = check_find(check, id);
    size_t used = 0;
    int more;

    if (id == KV_ROOT_ID)
        return 0;
    if (found == NULL || found->node.name[0] == '\0' || depth == CHECK_DEPTH_MAX) {
        more = snprintf(out, room, "(id %" PRIu64 ")", id);
    } else {
        used = put_path(check, found->node.parent, depth + 1, out, room);
        more = snprintf(out + used, room - used, "%s%s", used > 0 ? "/" : "", found->node.name);
    }
    return used + (size_t)more < room ? used + (size_t)more : room - 1;
}

struct check_place check_place_node(struct check *check, uint64_t id)
{
    struct check_place place = {"/"};

    if (id != KV_ROOT_ID)
        put_path(check, id, 0, place.text, sizeof(place.text));
    return place;
}

struct check_place check_place_key(struct check *check, uint64_t namespace_id, const char *key)
{
    struct check_place place;
    size_t used = put_path(check, namespace_id, 0, place.text, sizeof(place.text));

    snprintf(place.text + used, sizeof(place.text) - used, "%s%s", used > 0 || key[0] == '\0' ? "/" : "", key);
    return place;
}

/* -------------------------------------------------------------------------- tables */

static void found_in_database(void *arg, const char *what)
{
    struct check *check = arg;

    check->unreadable = true;
    check_found(check, "database", false, "database", "%s; restore the store from a copy", what);
}

int check_scan(struct check *check, enum engine_table table, struct slice from, engine_visit *visit)
{
    static const char *const tables[ENGINE_TABLES] = {"meta", "names", "nodes", "keys", "chunks"};
    int rc = check->txn->ops->scan(check->txn, table, from, visit, check);
    char what[64];

    if (rc == -EIO) {
        snprintf(what, sizeof(what), "the table %s cannot be read to its end", tables[table]);
        found_in_database(check, what);
    }
    return rc == -EIO || rc > 0 ? 0 : rc;
}

static int check_database(struct check *check)
{
    const struct engine_ops *ops = check->txn->ops;

    return ops->verify != NULL ? ops->verify(check->txn, 0, found_in_database, check) : 0;
}

/* What is there beside the counter and the format was the name of one of them. */
static int visit_setting(void *arg, struct slice name, struct slice value)
{
    static const char *const known[] = {TX_NEXT_ID, TX_FORMAT};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (name.size == strlen(known[i]) && memcmp(name.data, known[i], name.size) == 0)
            return 0;
    (void)value;
    check_found(arg, "format", true, "(unknown)", "a record of the store's settings that no store has");
    return check_note_record(&((struct check *)arg)->drop_settings, name);
}

static int check_format(struct check *check)
{
    struct slice record;
    struct name name;
    uint32_t version;
    int rc;

    name_of_setting(TX_FORMAT, &name);
    rc = check->txn->ops->get(check->txn, ENGINE_META, name_slice(&name), &record);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (rc < 0 || tx_format_decode(record, &version) < 0)
        check_found(
            check, "format", false, TX_FORMAT,
            "the record of the store's format is damaged, so that it cannot be opened again; copy what is in "
            "it to a new store");
    else if (rc < 0)
        return rc;
    return check_scan(check, ENGINE_META, slice_of(NULL, 0), visit_setting);
}

int check_read_counter(struct engine_txn *txn, uint64_t *next_id)
{
    struct slice bytes;
    struct name name;
    int rc;

    name_of_setting(TX_NEXT_ID, &name);
    rc = txn->ops->get(txn, ENGINE_META, name_slice(&name), &bytes);
    if (rc == -ENOENT || (rc == 0 && record_decode_number(ENGINE_META, name_slice(&name), bytes, next_id) < 0))
        return 1;
    return rc;
}

static int check_counter(struct check *check)
{
    uint64_t next_id = 0;
    int rc = check_read_counter(check->txn, &next_id);

    if (rc < 0)
        return rc;
    if (next_id > check->highest && next_id >= TX_FIRST_ID && next_id <= CHECK_ID_MAX) {
        check->no_ids = next_id > CHECK_ID_REPAIRABLE;
        return 0;
    }
    check->no_ids = check->highest > CHECK_ID_REPAIRABLE;
    check->raise_next_id = !check->no_ids;
    if (rc == 1)
        check_found(check, "counter", check->raise_next_id, TX_NEXT_ID,
                    "the counter of ids is missing or damaged");
    else
        check_found(check, "counter", check->raise_next_id, TX_NEXT_ID,
                    "the counter of ids is at %" PRIu64 ", and %" PRIu64 " is in use", next_id, check->highest);
    return 0;
}

/* ---------------------------------------------------------------------- the course */

static int look(struct check *check)
{
    static int (*const steps[])(struct check *) = {
        check_database, check_format, check_nodes,   check_names,  check_tree,
        check_keys,     check_chunks, check_numbers, check_counts, check_counter,
    };
    int rc = 0;

    for (size_t i = 0; rc == 0 && !check->unreadable && i < sizeof(steps) / sizeof(steps[0]); i++)
        rc = steps[i](check);
    /* A record that was there before cannot be read now. */
    if (rc == -EIO) {
        found_in_database(check, "a record cannot be read");
        rc = 0;
    }
    return rc;
}

static void free_noted(struct check *check)
{
    struct check_node *node, *next;

    HASH_ITER(hh, check->nodes, node, next) {
        HASH_DEL(check->nodes, node);
        free(node);
    }
    free(check->entries);
    free(check->inos);
    free(check->values);
    free(check->value);
    free(check->drop_chunks.bytes);
    free(check->drop_names.bytes);
    free(check->drop_settings.bytes);
    free(check->drop_expiries.bytes);
    free(check->renumber.bytes);
    free(check->add_expiries.bytes);
}

/* Look at the whole store, and repair what this look found. `again`: tell only what the repair before brought within
 * reach, which is what can be repaired now. */
static int check_once(struct engine *engine, const struct check_means *means,
                      const struct kv_check_options *options, bool again, struct kv_check_report *report)
{
    struct check check = {.options = options, .again = again};
    int rc = 0;

    for (int begins = 0; begins == 0 || (rc == -EAGAIN && begins < BEGINS_MAX); begins++) {
        rc = engine->ops->begin(engine, false, &check.txn);
        if (rc == 0) {
            rc = look(&check);
            check.txn->ops->abort(check.txn);
        }
    }
    if (rc == -EAGAIN)
        rc = -ETIMEDOUT;
    if (rc == 0 && options->repair && !check.unreadable && !check.no_ids && check.repairable > 0) {
        rc = engine_acquire(engine, means->wait_ns);
        if (rc == 0) {
            rc = check_repair(&check, engine, means->now_ns);
            engine_release(engine);
        }
        check.report.repaired = check.repairable;
    }
    free_noted(&check);
    if (rc == 0)
        *report = check.report;
    return rc;
}

int check_engine(struct engine *engine, const struct check_means *means, const struct kv_check_options *options,
                 struct kv_check_report *report)
{
    struct kv_check_report now, sum = {0};
    int rc = 0;

    if (options->repair && engine->ops->claim != NULL)
        rc = engine->ops->claim(engine);
    if (rc < 0)
        return rc;
    for (int repairs = 0; repairs < REPAIRS_MAX; repairs++) {
        rc = check_once(engine, means, options, repairs > 0, &now);
        if (rc < 0)
            return rc;
        now.findings += sum.findings;
        now.repaired += sum.repaired;
        if (now.repaired == sum.repaired)
            break;
        sum = now;
    }
    *report = now;
    return 0;
}
