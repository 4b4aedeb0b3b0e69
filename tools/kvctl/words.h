/* kvctl: lines of words, quoted as in a shell:
 *
 *   'as it is'   "with \" \\ \$ and \` in it"   so\ too   # a comment
 *
 * Nothing is replaced: $VARIABLE and * stand for themselves. A line goes on in the next one within quotes and behind a
 * backslash. */
#ifndef KVFS_TOOLS_KVCTL_WORDS_H
#define KVFS_TOOLS_KVCTL_WORDS_H

#include "tools/kvctl/bulk.h"

/* Read the next line that has words. input->text is then the words, each with a NUL behind it, and input->number the
 * line where the first one begins.
 * returns  BULK_RECORD; BULK_END; BULK_BROKEN */
enum bulk_result words_read(struct bulk_input *input, size_t *count);

#endif
