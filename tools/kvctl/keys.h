/* kvctl: the keys that get and delete are about.
 *
 *   ACCOUNT/NAMESPACE/KEY...        these
 *   ACCOUNT/NAMESPACE --prefix P    those that begin with P
 *   ACCOUNT/NAMESPACE -             those that standard input names, a KEY a line
 *   -                               the same, ACCOUNT/NAMESPACE/KEY a line
 */
#ifndef KVFS_TOOLS_KVCTL_KEYS_H
#define KVFS_TOOLS_KVCTL_KEYS_H

#include "tools/kvctl/common.h"

extern const char keys_help[]; /* behind the summary of such a command */

/* Where the first argument is a file below a mount, choose its store. Returns a status. */
KV_CHECKED int keys_choose_store(struct ctl_request *request);

/* Can it be more than one key? */
bool keys_are_many(const struct ctl_request *request);

/* Called with a key as the request's path and its namespace as request->second. request->path.text is only there until
 * it returns. returns a status; all but CTL_OK ends the visit */
typedef int keys_visit(struct ctl_request *request, void *arg);
/* Visit each. Namespaces have to be there; keys only where they are found by their prefix. Returns a status. */
KV_CHECKED int keys_each(struct ctl_request *request, keys_visit *visit, void *arg);

/* Visit the keys of request->second that begin with a prefix (NULL: all), page by page. As above, but path.text
 * stays. */
KV_CHECKED int keys_with_prefix(struct ctl_request *request, const char *prefix, keys_visit *visit, void *arg);

#endif
