/* Records: how objects are written as bytes in the engine's tables.
 *
 * Integers are little endian, but for the numbers that names of records have, too. Every record ends with a seal: the
 * XXH3 of its table, its name and its bytes. So a bit that flips in a record, or in the name that it is kept
 * under, is seen by whoever decodes it. Two things have no seal of their own: the value within a key's record, which
 * stands behind the seal, and the chunks of a larger one. Both are covered by the checksum of the value, which is
 * sealed; so a key with a damaged value can still be listed, and its attributes be read.
 *
 * What does not decode is -EIO, whatever the bytes are: damage must never become a wrong answer or a crash.
 */
#ifndef KVFS_STORE_RECORD_H
#define KVFS_STORE_RECORD_H

#include "store/base/engine.h"

/* A value up to this size lives inside its key's record. */
#define RECORD_INLINE_MAX 8192u
/* A larger one is cut into chunks; each fills whole overflow pages of LMDB (64 pages of 4 KiB less the
 * 16 byte header of the first). Where no such room is left it is cut finer: into 16, 4 or single pages. */
#define RECORD_CHUNK (256u * 1024 - 16)
#define RECORD_CUTS 4u

#define RECORD_SEAL 8u /* bytes */
#define RECORD_MAX (256 + sizeof(((struct kv_xattrs *)0)->data) + RECORD_INLINE_MAX)

struct record_bytes {
    size_t size;
    uint8_t data[RECORD_MAX];
};

struct record_key {
    struct kv_meta meta;
    uint64_t checksum;    /* XXH3 of the value */
    struct slice xattrs;  /* an encoded kv_xattrs; may be empty */
    struct slice inlined; /* the value, where meta.size <= RECORD_INLINE_MAX; else empty */
    uint8_t cut;          /* how fine the value is cut: 0 (the least) .. RECORD_CUTS - 1; 0 where it is inline */
};

struct record_node {
    struct kv_node node;
    struct slice xattrs;
};

/* In the byte of the cut: the expiry follows. A record without one has the bytes that it had before there were any; a
 * program that knows of none takes such a record for a damaged one. */
#define RECORD_EXPIRES 0x80u

/* The records. `name` is what the record is kept under in its table. Encoding takes consistent structures and cannot
 * fail. Decoding fills all of *out, or on failure nothing; its slices are borrowed from `bytes`.
 * returns  0; -EIO the seal is broken, or it is nothing that encoding makes: names of keys and nodes obey their rules,
 *          attributes can be stepped through to their end, a node is kept under its own id */
void record_encode_key(struct slice name, const struct record_key *key, struct record_bytes *out);
KV_CHECKED int record_decode_key(struct slice name, struct slice bytes, struct record_key *out);
/* The same, and the key's name: text has room for KV_KEY_MAX + 1 bytes. returns its size; -EIO */
KV_CHECKED int record_decode_named_key(struct slice name, struct slice bytes, char *text, struct record_key *out);
void record_encode_node(struct slice name, const struct record_node *node, struct record_bytes *out);
KV_CHECKED int record_decode_node(struct slice name, struct slice bytes, struct record_node *out);
/* ENGINE_NAMES: the child's id. ENGINE_META: the counter of ids. */
void record_encode_number(enum engine_table table, struct slice name, uint64_t number, struct record_bytes *out);
KV_CHECKED int record_decode_number(enum engine_table table, struct slice name, struct slice bytes, uint64_t *out);

/* ENGINE_KEYS, an entry of the index of expiry (name_of_expiry()): nothing but a seal. */
void record_encode_empty(enum engine_table table, struct slice name, struct record_bytes *out);
KV_CHECKED int record_decode_empty(enum engine_table table, struct slice name, struct slice bytes);

/* What they all are made with: put a seal behind the bytes of a record, which have RECORD_SEAL bytes of room left, or
 * take it off.
 * returns  0 and the bytes before it, borrowed; -EIO it is broken, or there is none */
void record_seal(enum engine_table table, struct slice name, struct record_bytes *record);
KV_CHECKED int record_unseal(enum engine_table table, struct slice name, struct slice record, struct slice *out);

static inline struct slice record_slice(const struct record_bytes *bytes)
{
    return slice_of(bytes->data, bytes->size);
}

/* Copy an encoded attribute set out of a record. returns 0; -EIO, which no set of a decoded record is */
KV_CHECKED int record_xattrs(struct slice encoded, struct kv_xattrs *out);

/* What an account pays for a key: the bytes of its name, of its value and of its attributes' names and values. */
uint64_t record_charge(size_t key_size, const struct record_key *key);

/* How the keys of a namespace are counted, wherever that is done: each record that is kept under its id and a name is a
 * key. It has the bytes of its charge, but a damaged one, which does not tell, has none.
 * charge   set, whatever is answered
 * returns  as record_decode_key(); *out may be untouched */
KV_CHECKED int record_count_key(struct slice name, struct slice bytes, struct record_key *out, uint64_t *charge);

/* The size of all chunks of a value but the last. */
size_t record_chunk_most(uint8_t cut);
/* How many chunks hold a value of this size; 0 where it is inline. */
uint32_t record_chunks(uint64_t size, uint8_t cut);
/* The size of chunk `number` of a value. */
size_t record_chunk_size(uint64_t size, uint8_t cut, uint32_t number);
/* Of a value: its XXH3. bytes may be NULL where size is 0 */
uint64_t record_checksum(const void *bytes, size_t size);

/* Is the node as whoever checked permissions was told? */
static inline bool record_is_as_seen(const struct kv_node *node, const struct kv_seen *seen)
{
    return ((node->attr.mode ^ seen->mode) & 07777) == 0 && node->attr.uid == seen->uid &&
           node->attr.gid == seen->gid;
}

#endif
