/* kvctl: arrays that grow. */
#ifndef KVFS_TOOLS_KVCTL_GROW_H
#define KVFS_TOOLS_KVCTL_GROW_H

#include <stdlib.h>

/* Make room for one more item.
 * items    the array, of malloc(); NULL where *room is 0
 * count    items that it has
 * room     items that it has room for
 * size     bytes of an item
 * returns  the array, which may have moved; NULL: out of memory, and `items` is as it was, still the caller's */
static inline void *grow(void *items, size_t count, size_t *room, size_t size)
{
    size_t more = 2 * *room + 16;

    if (count < *room)
        return items;
    items = reallocarray(items, more, size);
    if (items != NULL)
        *room = more;
    return items;
}

#endif
