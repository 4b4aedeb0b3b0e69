/* kvctl: the options of a command line. */
#ifndef KVFS_TOOLS_KVCTL_LINE_H
#define KVFS_TOOLS_KVCTL_LINE_H

#include "tools/kvctl/common.h"

/* Where the options that are looked for end. */
enum line_end {
    LINE_AT_WORD, /* at the first word that is none, or behind "--" */
    LINE_AT_END,  /* with the line; words among them are collected in request->args, and so is what follows "--" */
};

/* Take the options in `known` out of the words. An option is written in full: a script that abbreviates one would
 * break when another one that begins so is added.
 * used     how many words were looked at
 * returns  a status */
KV_CHECKED int line_parse(struct ctl_request *request, uint64_t known, enum line_end end, char **words, int count,
                          int *used);

#endif
