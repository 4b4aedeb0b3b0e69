/* kvctl: values that commands are given, and what is put of them. */
#ifndef KVFS_TOOLS_KVCTL_VALUE_H
#define KVFS_TOOLS_KVCTL_VALUE_H

#include "tools/kvctl/common.h"

/* Read the value that the command line names: VALUE, --file, or else standard input, which must not be empty unless
 * --empty says so.
 * text     VALUE, or NULL
 * out      to be given back with kv_value_unref()
 * returns  a status */
KV_CHECKED int value_read(struct ctl_request *request, const char *text, struct kv_value **out);

/* A put of a value (borrowed) by the caller, now. */
struct kv_change value_put(const struct ctl_request *request, const struct kv_ref *ref, struct kv_value *value);

/* With --json, print what a put or rename has made of the path's key. Returns a status. */
KV_CHECKED int value_print_put(const struct ctl_request *request, const struct kv_meta *meta);

#endif
