/* kvctl: changes that depend on what is there. */
#ifndef KVFS_TOOLS_KVCTL_SWAP_H
#define KVFS_TOOLS_KVCTL_SWAP_H

#include "tools/kvctl/common.h"

/* Is --if-absent, --if-version or --if-unchanged given? */
bool swap_is_conditional(const struct ctl_request *request);

/* Make a put or delete conditional, as the command line says. Returns a status. */
KV_CHECKED int swap_set_condition(struct ctl_request *request, struct kv_change *change);

/* Say why a change of the path's key was refused. Returns a status: CTL_CONDITION where it is for its condition. */
int swap_fail(struct ctl_request *request, const struct kv_change *change, int rc);

/* Wait for a moment, another one each time, so that others get through. returns false: it was tried often enough */
bool swap_try_again(unsigned tries);

/* Make the new value of the old one, which is NULL where the key is absent. Returns a status. */
typedef int swap_edit(struct ctl_request *request, const struct kv_value *old, struct kv_value **out, void *arg);
/* Replace the value of the path's key by an edited one, in one step: it is edited anew when somebody else was quicker.
 * --ttl is for a key that is absent.
 * meta     of the key then
 * returns  a status */
KV_CHECKED int swap_update(struct ctl_request *request, swap_edit *edit, void *arg, struct kv_meta *meta);

#endif
