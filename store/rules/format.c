/* The format of a store: what it begins with, and which ones this program knows.
 *
 * The record is the magic, the version as 4 bytes, little endian, and a seal. It has this form in every format from 2
 * on, so that each program can tell a newer store from a damaged one. In format 1 it had no seal. */
#include "store/rules/tx.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define FORMAT_MAGIC "kvfs store"
#define FORMAT_VERSION 2u

enum { MAGIC_SIZE = sizeof(FORMAT_MAGIC) - 1, FORMAT_SIZE = MAGIC_SIZE + 4 };

static uint32_t format_get_version(struct slice bytes)
{
    const uint8_t *at = (const uint8_t *)bytes.data + MAGIC_SIZE;

    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static bool format_has_magic(struct slice bytes)
{
    return bytes.size == FORMAT_SIZE && memcmp(bytes.data, FORMAT_MAGIC, MAGIC_SIZE) == 0;
}

int tx_format_decode(struct slice record, uint32_t *version)
{
    struct slice bytes;
    struct name name;

    name_of_setting(TX_FORMAT, &name);
    if (format_has_magic(record) && format_get_version(record) == 1) {
        *version = 1;
        return -EPROTONOSUPPORT;
    }
    if (record_unseal(ENGINE_META, name_slice(&name), record, &bytes) < 0 || !format_has_magic(bytes))
        return -EIO;
    *version = format_get_version(bytes);
    return *version == FORMAT_VERSION ? 0 : -EPROTONOSUPPORT;
}

static int format_read(struct engine_txn *txn, uint32_t *version)
{
    struct slice record;
    struct name name;
    int rc;

    name_of_setting(TX_FORMAT, &name);
    rc = txn->ops->get(txn, ENGINE_META, name_slice(&name), &record);
    return rc == 0 ? tx_format_decode(record, version) : rc;
}

const char *tx_format_advice(uint32_t version)
{
    if (version < FORMAT_VERSION)
        return "of a version before the first release, and this program knows format 2 only; make a new store, "
               "mount the old one with the kvfs that wrote it, and copy the accounts with cp -a";
    return "which is newer than this program; use a newer kvfs";
}

static int format_write(struct tx *tx)
{
    struct kv_node root = {.kind = KV_ROOT, .id = KV_ROOT_ID, .attr = {.ino = KV_ROOT_ID, .mode = 0755}};
    struct record_bytes bytes = {.size = FORMAT_SIZE, .data = FORMAT_MAGIC};
    struct name name;
    int rc;

    name_of_setting(TX_FORMAT, &name);
    bytes.data[MAGIC_SIZE] = FORMAT_VERSION;
    record_seal(ENGINE_META, name_slice(&name), &bytes);
    rc = tx_put(tx, ENGINE_META, &name, record_slice(&bytes));
    if (rc < 0)
        return rc;
    tx->next_id = TX_FIRST_ID;
    tx->next_id_dirty = true;
    root.attr.uid = geteuid();
    root.attr.gid = getegid();
    root.attr.atime_ns = root.attr.mtime_ns = root.attr.ctime_ns = root.attr.btime_ns = tx->now_ns;
    return tx_node_add(tx, &root);
}

static int format_create(struct engine *engine, int64_t now_ns, uint32_t *version)
{
    struct tx *tx;
    int rc = tx_begin_bare(engine, now_ns, &tx);

    if (rc < 0)
        return rc;
    rc = format_read(tx->txn, version);
    if (rc != -ENOENT) { /* another process was first */
        tx_abort(tx);
        return rc;
    }
    rc = format_write(tx);
    if (rc < 0) {
        tx_abort(tx);
        return rc;
    }
    *version = FORMAT_VERSION;
    return tx_commit(tx);
}

int tx_format(struct engine *engine, int64_t now_ns, bool create, int64_t wait_ns, uint32_t *version)
{
    struct engine_txn *txn;
    int rc = engine->ops->begin(engine, false, &txn);

    if (rc < 0)
        return rc;
    rc = format_read(txn, version);
    txn->ops->abort(txn);
    if (rc != -ENOENT)
        return rc;
    rc = create ? engine_acquire(engine, wait_ns) : -EIO;
    if (rc < 0)
        return rc;
    rc = format_create(engine, now_ns, version);
    engine_release(engine);
    return rc;
}
