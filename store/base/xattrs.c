#include "store/kv.h"

#include <errno.h>
#include <string.h>

enum { ENTRY_HEADER = 3 }; /* u8 name size, u16 value size */

bool kv_xattrs_next(const struct kv_xattrs *set, size_t *pos, const char **name, size_t *name_size,
                    const void **value, size_t *value_size)
{
    const uint8_t *entry = set->data + *pos;
    size_t left = set->size - *pos;

    if (left < ENTRY_HEADER)
        return false;
    *name_size = entry[0];
    *value_size = (size_t)entry[1] | (size_t)entry[2] << 8;
    if (left - ENTRY_HEADER < *name_size + *value_size)
        return false;
    *name = (const char *)entry + ENTRY_HEADER;
    *value = entry + ENTRY_HEADER + *name_size;
    *pos += ENTRY_HEADER + *name_size + *value_size;
    return true;
}

int kv_xattrs_set(struct kv_xattrs *set, const char *name, size_t name_size, const void *value, size_t value_size,
                  int flags)
{
    size_t pos = 0, from = 0, old_size = 0, sum = 0;
    const char *other;
    const void *other_value;
    size_t other_size, other_value_size;
    bool there = false;
    uint8_t *entry;

    if (name_size == 0 || name_size > 255)
        return -ERANGE;
    for (size_t start = 0; kv_xattrs_next(set, &pos, &other, &other_size, &other_value, &other_value_size);
         start = pos) {
        if (other_size == name_size && memcmp(other, name, name_size) == 0) {
            there = true;
            from = start;
            old_size = pos - start;
        } else {
            sum += other_size + other_value_size;
        }
    }
    if (!there && (value == NULL || flags == KV_XATTR_REPLACE))
        return -ENODATA;
    if (there && flags == KV_XATTR_CREATE)
        return -EEXIST;
    if (value != NULL && (value_size > KV_XATTR_MAX || sum + name_size + value_size > KV_XATTR_MAX ||
                          set->size - old_size + ENTRY_HEADER + name_size + value_size > sizeof(set->data)))
        return -ENOSPC;

    if (there) {
        memmove(set->data + from, set->data + from + old_size, set->size - from - old_size);
        set->size -= old_size;
    }
    if (value == NULL)
        return 0;
    entry = set->data + set->size;
    entry[0] = (uint8_t)name_size;
    entry[1] = (uint8_t)value_size;
    entry[2] = (uint8_t)(value_size >> 8);
    memcpy(entry + ENTRY_HEADER, name, name_size);
    memcpy(entry + ENTRY_HEADER + name_size, value, value_size);
    set->size += ENTRY_HEADER + name_size + value_size;
    return 0;
}
