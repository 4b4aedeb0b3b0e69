#include "store/check/check.h"

#include "store/rules/tx.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------- values */

static int make_room(struct check *check, size_t size)
{
    uint8_t *room = size <= check->value_room ? check->value : realloc(check->value, size);

    if (room == NULL)
        return -ENOMEM;
    check->value_room = size > check->value_room ? size : check->value_room;
    check->value = room;
    return 0;
}

/* Look for all parts of a value; unless `fast`, put them together.
 * returns  0 they are there; 1 a finding was told; negative: as the engine's get() */
static int gather_chunks(struct check *check, const struct record_key *record, const char *where)
{
    const struct kv_meta *meta = &record->meta;
    uint32_t chunks = record_chunks(meta->size, record->cut);
    uint8_t *at = check->value;

    for (uint32_t i = 0; i < chunks; i++) {
        size_t size = record_chunk_size(meta->size, record->cut, i);
        struct slice bytes;
        struct name name;
        int rc;

        name_of_chunk(meta->version, i, &name);
        rc = check->txn->ops->get(check->txn, ENGINE_CHUNKS, name_slice(&name), &bytes);
        if (rc < 0 && rc != -ENOENT)
            return rc;
        if (rc == -ENOENT) {
            check_found(check, "value", false, where, "part %" PRIu32 " of %" PRIu32 " is missing", i + 1, chunks);
            return 1;
        }
        if (bytes.size != size) {
            check_found(check, "value", false, where,
                        "part %" PRIu32 " of %" PRIu32 " has %zu bytes instead of %zu", i + 1, chunks, bytes.size,
                        size);
            return 1;
        }
        if (!check->options->fast) {
            memcpy(at, bytes.data, size);
            at += size;
        }
    }
    return 0;
}

static int check_value(struct check *check, const struct record_key *record, const char *where)
{
    const struct kv_meta *meta = &record->meta;
    const void *bytes = record->inlined.data;
    int rc = 0;

    if (record_chunks(meta->size, record->cut) > 0) {
        if (!check->options->fast)
            rc = make_room(check, (size_t)meta->size);
        if (rc == 0)
            rc = gather_chunks(check, record, where);
        if (rc != 0)
            return rc < 0 ? rc : 0;
        bytes = check->value;
    }
    if (!check->options->fast && record_checksum(bytes, (size_t)meta->size) != record->checksum)
        check_found(check, "value", false, where, "its bytes are not those that were put");
    return 0;
}

/* ---------------------------------------------------------------------------- keys */

static int note_value(struct check *check, const struct record_key *record)
{
    const struct kv_meta *meta = &record->meta;
    int rc =
        check_grow((void **)&check->values, check->values_count, &check->values_capacity, sizeof(*check->values));

    if (rc == 0)
        check->values[check->values_count++] =
            (struct check_value){meta->version, record_chunks(meta->size, record->cut)};
    check_note_number(check, meta->version);
    return rc;
}

/* Keys of a namespace follow each other: one finding for all. */
static void tell_no_namespace(struct check *check)
{
    struct check_place place = check_place_node(check, check->no_namespace);

    if (check->no_namespace_keys > 0)
        check_found(check, "key", false, place.text, "%" PRIu64 " keys are in a namespace that does not exist",
                    check->no_namespace_keys);
    check->no_namespace_keys = 0;
}

static void note_no_namespace(struct check *check, uint64_t id)
{
    if (id != check->no_namespace)
        tell_no_namespace(check);
    check->no_namespace = id;
    check->no_namespace_keys++;
}

static bool is_given_out(uint64_t number) { return number >= TX_FIRST_ID && number <= CHECK_ID_MAX; }

static int check_key_numbers(struct check *check, struct slice name, const struct kv_meta *meta, const char *where)
{
    if (!is_given_out(meta->version))
        check_found(check, "number", false, where, "its version is %" PRIu64 ", which is never given out",
                    meta->version);
    if (is_given_out(meta->attr.ino))
        return 0;
    check_found(check, "number", true, where, "its inode number is %" PRIu64 ", which is never given out",
                meta->attr.ino);
    return check_note_record(&check->renumber, name);
}

/* Has the index of expiry the key? */
static int check_indexed(struct check *check, struct slice name, const struct kv_meta *meta, const char *where)
{
    struct slice bytes;
    struct name entry;
    int rc;

    if (meta->expires_ns == 0)
        return 0;
    name_of_expiry(meta->expires_ns, name, &entry);
    rc = check->txn->ops->get(check->txn, ENGINE_KEYS, name_slice(&entry), &bytes);
    if (rc == 0 && record_decode_empty(ENGINE_KEYS, name_slice(&entry), bytes) == 0)
        return 0;
    if (rc < 0 && rc != -ENOENT)
        return rc;
    check_found(check, "expiry", true, where, "it has an expiry, but would not be swept then");
    return check_note_record(&check->add_expiries, name);
}

/* Is an entry of the index that of its key? One that cannot be read may have had any expiry. */
static int check_entry(struct check *check, struct slice name)
{
    struct check_place place = {"(unreadable)"};
    char text[KV_KEY_MAX + 1];
    struct record_key record;
    struct slice key, bytes;
    int64_t at_ns;
    int rc = name_split_expiry(name, &at_ns, &key);

    if (rc == 0) {
        if (name_split_key(key, text) > 0)
            place = check_place_key(check, name_get_u64(key.data), text);
        rc = check->txn->ops->get(check->txn, ENGINE_KEYS, key, &bytes);
        if (rc < 0 && rc != -ENOENT)
            return rc;
        if (rc == 0 && (record_decode_key(key, bytes, &record) < 0 || record.meta.expires_ns == at_ns))
            return 0;
    }
    check_found(check, "expiry", true, place.text, "an entry of the index of expiry that no key has");
    return check_note_record(&check->drop_expiries, name);
}

static int check_record(struct check *check, struct slice name, struct slice value, const char *where,
                        struct check_sums *sums)
{
    struct record_key record;
    uint64_t charge;
    int rc = record_count_key(name, value, &record, &charge);

    if (rc < 0) {
        check_found(check, "key", false, where,
                    "its record or its name is damaged, so that it reads as an error; delete it or put it anew "
                    "with kvctl");
        check->lost_values = true;
        sums->damaged = true;
        return 0;
    }
    sums->bytes += charge;
    check->report.bytes += charge;
    rc = check_key_numbers(check, name, &record.meta, where);
    if (rc == 0 && is_given_out(record.meta.attr.ino))
        rc = check_note_ino(check, record.meta.attr.ino);
    if (rc == 0)
        rc = note_value(check, &record);
    if (rc == 0)
        rc = check_indexed(check, name, &record.meta, where);
    return rc == 0 ? check_value(check, &record, where) : rc;
}

static int visit_key(void *arg, struct slice name, struct slice value)
{
    struct check *check = arg;
    struct check_sums elsewhere = {0}, *sums = &elsewhere;
    struct check_node *found;
    struct check_place place;
    char key[KV_KEY_MAX + 1];
    uint64_t id;

    if (name_is_expiry(name))
        return check_entry(check, name);
    check->report.keys++;
    if (name.size <= 8) {
        check_found(check, "key", false, "(no name)", "a key's record is kept under no name");
        check->lost_values = true;
        return 0;
    }
    id = name_get_u64(name.data);
    found = check_find(check, id);
    if (found == NULL || (!found->damaged && found->node.kind != KV_NAMESPACE))
        note_no_namespace(check, id);
    else
        sums = &found->own;
    if (name_split_key(name, key) < 0)
        strcpy(key, "(unreadable)");
    place = check_place_key(check, id, key);
    sums->keys++;
    return check_record(check, name, value, place.text, sums);
}

static int compare_values(const void *a, const void *b)
{
    uint64_t left = ((const struct check_value *)a)->version, right = ((const struct check_value *)b)->version;

    return (left > right) - (left < right);
}

int check_keys(struct check *check)
{
    int rc = check_scan(check, ENGINE_KEYS, slice_of(NULL, 0), visit_key);

    tell_no_namespace(check);
    if (check->values_count > 0)
        qsort(check->values, check->values_count, sizeof(*check->values), compare_values);
    return rc;
}

/* -------------------------------------------------------------------------- chunks */

static bool has_owner(const struct check *check, uint64_t version, uint32_t number)
{
    size_t low = 0, high = check->values_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (check->values[middle].version < version)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < check->values_count && check->values[low].version == version; low++)
        if (number < check->values[low].chunks)
            return true;
    return false;
}

static void tell_orphans(struct check *check)
{
    char where[32];

    snprintf(where, sizeof(where), "(version %" PRIu64 ")", check->orphans.version);
    if (check->orphans.count > 0)
        check_found(check, "chunk", !check->lost_values, where,
                    "%" PRIu64 " parts of a value, %" PRIu64 " bytes, belong to no key", check->orphans.count,
                    check->orphans.bytes);
    check->orphans.count = check->orphans.bytes = 0;
}

static int visit_chunk(void *arg, struct slice name, struct slice value)
{
    struct check *check = arg;
    const uint8_t *number = (const uint8_t *)name.data + 8;
    uint64_t version;

    check->report.chunks++;
    if (name.size != 12) {
        check_found(check, "chunk", !check->lost_values, "(no version)",
                    "a part of a value is kept under no number");
        return check->lost_values ? 0 : check_note_record(&check->drop_chunks, name);
    }
    version = name_get_u64(name.data);
    if (has_owner(check, version,
                  (uint32_t)number[0] << 24 | (uint32_t)number[1] << 16 | (uint32_t)number[2] << 8 | number[3]))
        return 0;
    if (version != check->orphans.version)
        tell_orphans(check);
    check->orphans.version = version;
    check->orphans.count++;
    check->orphans.bytes += value.size;
    if (!check->lost_values)
        return check_note_record(&check->drop_chunks, name);
    check_note_number(check, version); /* they stay, and no new value must get mixed with them */
    return 0;
}

int check_chunks(struct check *check)
{
    int rc = check_scan(check, ENGINE_CHUNKS, slice_of(NULL, 0), visit_chunk);

    tell_orphans(check);
    return rc;
}

/* ------------------------------------------------------------------------- numbers */

static int compare_numbers(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

/* Keep, once each, the numbers that are there more than once. returns how many */
static size_t keep_doubles(uint64_t *numbers, size_t count)
{
    size_t kept = 0;

    if (count > 0)
        qsort(numbers, count, sizeof(*numbers), compare_numbers);
    for (size_t i = 1; i < count; i++)
        if (numbers[i] == numbers[i - 1] && (kept == 0 || numbers[kept - 1] != numbers[i]))
            numbers[kept++] = numbers[i];
    return kept;
}

static bool is_among(const uint64_t *numbers, size_t count, uint64_t number)
{
    return count > 0 && bsearch(&number, numbers, count, sizeof(number), compare_numbers) != NULL;
}

/* Numbers that are used twice: `inos` and the versions in `values`. */
static int visit_doubles(void *arg, struct slice name, struct slice value)
{
    struct check *check = arg;
    struct check_value version;
    struct record_key record;
    char key[KV_KEY_MAX + 1];
    struct check_place place;

    if (name_is_expiry(name) || record_decode_named_key(name, value, key, &record) < 0)
        return 0;
    place = check_place_key(check, name_get_u64(name.data), key);
    version.version = record.meta.version;
    if (check->values_count > 0 &&
        bsearch(&version, check->values, check->values_count, sizeof(version), compare_values) != NULL)
        check_found(check, "number", false, place.text, "its version %" PRIu64 " is another key's, too",
                    record.meta.version);
    if (!is_among(check->inos, check->inos_count, record.meta.attr.ino))
        return 0;
    check_found(check, "number", true, place.text, "its inode number %" PRIu64 " is another one's, too",
                record.meta.attr.ino);
    return check_note_record(&check->renumber, name);
}

int check_numbers(struct check *check)
{
    size_t kept = 0;

    check->inos_count = keep_doubles(check->inos, check->inos_count);
    for (size_t i = 1; i < check->values_count; i++)
        if (check->values[i].version == check->values[i - 1].version)
            check->values[kept++] = check->values[i];
    check->values_count = kept;
    if (check->inos_count == 0 && check->values_count == 0)
        return 0;
    return check_scan(check, ENGINE_KEYS, slice_of(NULL, 0), visit_doubles);
}
