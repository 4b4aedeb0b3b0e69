/* What the programs have in common on a command line. */
#ifndef KVFS_TOOLS_CLI_H
#define KVFS_TOOLS_CLI_H

#include "store/kv.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

/* Take what a terminal would obey out of a text, in place: '?' stands for each byte of a control character but NUL, and
 * but for the ends of lines where it may have lines. In UTF-8 there are some of two bytes, too. */
void cli_tame(char *text, size_t size, bool lines);

/* Print one line on standard error: "PROGRAM: " and the message, control bytes made visible. It is one write, so that
 * lines of programs that run side by side do not mix. */
void cli_say(const char *program, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

/* A whole number; with `units` also one with K, M, G or T (of 1024) behind it, or KiB, MiB, GiB or TiB.
 * returns  false where the text is no such number, or it is over 2^63 - 1 */
bool cli_parse_number(const char *text, bool units, uint64_t *out);

/* A time: a whole number of seconds, or one with ms, s, m or h behind it. returns  false where the text is none */
bool cli_parse_time(const char *text, int64_t *ms);

/* What the daemon of a mount says of itself in .kvfs/config, lines NAME=VALUE. This waits where it is stopped.
 * dir_fd   the root of the mount
 * device   its device: what another mount answers is not taken
 * returns  the text, to be freed; NULL there is none */
char *cli_read_config(int dir_fd, dev_t device);
/* The VALUE of a NAME of `size` bytes in it: borrowed, and to the end of its line. NULL: there is none. */
const char *cli_setting(const char *config, const char *name, size_t size);

/* As kv_open(). Where another container has the store open under the number of this process, the program goes on in a
 * child, which has another one: the call returns there, and this process forwards signals to it and
 * ends as it does. So call it before there are threads, and before anything is said that must be said once. */
KV_CHECKED int cli_open_store(const char *dir, const struct kv_options *options, struct kv_store **out,
                              struct kv_error *error);

#endif
