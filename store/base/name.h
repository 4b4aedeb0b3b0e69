/* Names: packing of keys, and the bytes that name records in the engine's tables. */
#ifndef KVFS_STORE_NAME_H
#define KVFS_STORE_NAME_H

#include "store/base/engine.h"

/* Keys are packed 6 bits a symbol, in the order 0-9 A-Z _ a-z with codes 1 to 63, zero padded to a
 * whole byte. So memcmp order of packed keys is byte order of keys, and 512 symbols take 384 bytes. */
#define NAME_PACKED_MAX ((KV_KEY_MAX * 6 + 7) / 8)

/* Pack a key of valid symbols. out has room for NAME_PACKED_MAX bytes.
 * returns  the packed size; -EINVAL a symbol or length that no key has */
KV_CHECKED int name_pack(const char *key, size_t size, uint8_t *out);
/* Unpack. key has room for KV_KEY_MAX + 1 bytes and is NUL-terminated.
 * returns  the number of symbols; -EIO bytes that name_pack() never makes */
KV_CHECKED int name_unpack(const uint8_t *packed, size_t size, char *key);

/* The name of an account's list of projects. No other node can have it. */
#define NAME_PROJECTS ".projects"

/* Is this what a node of this kind can be named? */
bool name_is_of(enum kv_node_kind kind, const char *name, size_t size);

/* A record's name in the engine: `data` and `size` make the slice. */
struct name {
    size_t size;
    uint8_t data[ENGINE_KEY_MAX];
};

/* ENGINE_KEYS: namespace id and packed key; size 0 names the place before the namespace's first key.
 * returns  0; -EINVAL as name_pack(), and *out is not to be used */
KV_CHECKED int name_of_key(uint64_t namespace_id, const char *key, size_t size, struct name *out);
/* Take one apart: the id is its first 8 bytes, key has room for KV_KEY_MAX + 1 bytes and is NUL-terminated.
 * returns  the size of the key; -EIO it is no name of a key */
KV_CHECKED int name_split_key(struct slice name, char *key);
/* ENGINE_KEYS, too: an entry of the index of keys by expiry, in the order of time. It is the id 0, which no namespace
 * has, the time, and the name that the key is kept under. A program that knows of no expiry never looks there. */
void name_of_expiry(int64_t expires_ns, struct slice key, struct name *out);
/* Is it one of them, whether or not it can be taken apart? */
bool name_is_expiry(struct slice name);
/* Take one apart; *key is borrowed from it. returns  0; -EIO it is no entry that name_of_expiry() makes */
KV_CHECKED int name_split_expiry(struct slice name, int64_t *expires_ns, struct slice *key);
/* ENGINE_NAMES: parent id and name (at most KV_NAME_MAX bytes). */
void name_of_child(uint64_t parent, const char *child, size_t size, struct name *out);
/* Does the node say itself that this is its name there? An entry that leads elsewhere is damage. */
bool name_leads_to(struct slice name, const struct kv_node *node);
/* ENGINE_META: text of at most ENGINE_KEY_MAX bytes. */
void name_of_setting(const char *text, struct name *out);
/* ENGINE_NODES: id. */
void name_of_node(uint64_t id, struct name *out);
/* ENGINE_CHUNKS: value version and chunk number. */
void name_of_chunk(uint64_t version, uint32_t number, struct name *out);

static inline struct slice name_slice(const struct name *name) { return slice_of(name->data, name->size); }

/* Big-endian integers, which memcmp orders by value. */
void name_put_u64(uint8_t *to, uint64_t value);
uint64_t name_get_u64(const uint8_t *from);

#endif
