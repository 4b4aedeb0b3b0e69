/* kvctl: a key as JSON. */
#ifndef KVFS_TOOLS_KVCTL_RECORD_H
#define KVFS_TOOLS_KVCTL_RECORD_H

#include "tools/kvctl/common.h"

enum record_part {
    RECORD_PATH = 1,     /* account, namespace */
    RECORD_VALUE = 2,    /* value, or base64 */
    RECORD_METADATA = 4, /* metadata, metadata_base64 */
    RECORD_VERSION = 8,  /* version, size */
};

/* Make an object of the path's key, with these parts.
 * size     of its value; may be NULL
 * returns  0 and *out, the caller's; -ENOENT; another error of the store; -ENOMEM */
KV_CHECKED int record_read(struct ctl_request *request, unsigned parts, json_t **out, uint64_t *size);

#endif
