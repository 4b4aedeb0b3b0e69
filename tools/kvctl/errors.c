#include "tools/cli/cli.h"
#include "tools/kvctl/help.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Where it is, in a text of many lines. */
static struct {
    const char *name;
    uint64_t line;
} errors_place;

void ctl_set_place(const char *name, uint64_t line)
{
    errors_place.name = name;
    errors_place.line = line;
}

__attribute__((format(printf, 1, 2))) static void errors_print(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    cli_say("kvctl", format, args);
    va_end(args);
}

__attribute__((format(printf, 1, 0))) static void errors_say(const char *format, va_list args)
{
    char *text;

    if (errors_place.name == NULL) {
        cli_say("kvctl", format, args);
        return;
    }
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    errors_print("%s: line %" PRIu64 ": %s", errors_place.name, errors_place.line,
                 text != NULL ? text : "out of memory");
    free(text);
}

int ctl_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    errors_say(format, args);
    va_end(args);
    return CTL_ERROR;
}

void ctl_say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    errors_say(format, args);
    va_end(args);
}

int ctl_fail_usage(const struct ctl_request *request, enum ctl_option option, const char *format, ...)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    va_list args;

    if (out != NULL) {
        va_start(args, format);
        vfprintf(out, format, args);
        va_end(args);
        fputs("; type: ", out);
        help_write_line(out, request->command, option);
        if (fclose(out) != 0) {
            free(text);
            text = NULL;
        }
    }
    (void)ctl_fail("%s", text != NULL ? text : "out of memory");
    free(text);
    return CTL_ERROR;
}

/* What the errors of kv.h mean to a person. Those that need figures are in fail_store(). */
static const struct {
    int error;
    bool sure; /* nothing was changed */
    const char *text;
} error_words[] = {
    {EINVAL, true, "the store refused it as invalid; names and limits are in kvctl --help"},
    {ENOSPC, true,
     "the disk is full, or the store has reached its largest size, or a limit of file sizes (ulimit -f); free "
     "some space"},
    {EROFS, true, "the store is read-only"},
    {EACCES, true, "no permission on the store's files; run kvctl as the user that owns the store"},
    {ECANCELED, true, "it was changed by somebody else meanwhile; try again"},
    {EXDEV, true, "that is another account; names change within an account only"},
    {EIO, false,
     "the store could not be read or written, or is damaged, which does not mean that the object is absent; look "
     "at the disk and the system's log, and run kvctl check"},
    {ETIMEDOUT, true, "the store did not answer in time"},
    {ENOMEM, false, "out of memory"},
};

/* What a failure means for what was asked. */
static const char *outcome(const struct ctl_request *request, bool sure)
{
    if (request->command->access == CTL_READ)
        return "";
    if (ctl_given(request, CTL_RECURSIVE))
        return "; some of it may be deleted already";
    return sure ? "; nothing was changed" : "; it may have been done all the same: look before you try again";
}

/* The account that has not enough room: that of the key, or that of the path. What was read at the start is good enough
 * for a message where it cannot be read now. */
static struct kv_node full_account(struct ctl_request *request, const struct kv_ref *key)
{
    struct kv_node account = request->account, namespace;
    uint64_t id = account.id;
    int rc = 0;

    if (key != NULL) {
        rc = kv_node_get(request->store, key->node, &namespace);
        id = rc == 0 ? namespace.parent : 0;
    }
    if (rc == 0)
        rc = kv_node_get(request->store, id, &account);
    return account;
}

/* Is it the number of keys that a put would pass? */
static bool is_key_too_many(struct ctl_request *request, const struct kv_node *account, const struct kv_ref *key)
{
    struct kv_meta meta;

    return account->limit_keys != 0 && account->keys >= account->limit_keys &&
           kv_stat(request->store, key, &meta, NULL) == -ENOENT;
}

static int fail_quota(struct ctl_request *request, const char *subject, const char *noun, const struct kv_ref *key)
{
    struct kv_node account = full_account(request, key);

    if (strcmp(noun, "namespace") == 0)
        return ctl_fail("%s: account %s has %" PRIu64 " namespaces, and its limit is %" PRIu64
                        "; delete one, or raise the limit with: kvctl account limit %s --namespaces N",
                        subject, account.name, account.children, account.limit_namespaces, account.name);
    if (strcmp(noun, "project") == 0 || strcmp(noun, "binding") == 0)
        return ctl_fail("%s: account %s has %" PRIu64 " projects and bindings, and its limit is %" PRIu64
                        "; delete one, or raise the limit with: kvctl account limit %s --bindings N",
                        subject, account.name, account.bindings, account.limit_bindings, account.name);
    if (key != NULL && is_key_too_many(request, &account, key))
        return ctl_fail("%s: account %s has %" PRIu64 " keys, and its limit is %" PRIu64
                        "; delete one, or raise the limit with: kvctl account limit %s --keys N",
                        subject, account.name, account.keys, account.limit_keys, account.name);
    return ctl_fail("%s: account %s is full: it holds %" PRIu64
                    " bytes of keys, values and attributes, and this would pass its "
                    "limit of %" PRIu64 " bytes; delete keys, or raise the limit with: "
                    "kvctl account limit %s --bytes SIZE",
                    subject, account.name, account.bytes, account.limit_bytes, account.name);
}

static int fail_store(struct ctl_request *request, const char *subject, const char *noun, const struct kv_ref *key,
                      int rc)
{
    pid_t writer = rc == -ETIMEDOUT ? kv_writer_pid(request->store) : 0;

    if (rc == -ENOENT && ctl_look(request) != CTL_OK)
        return CTL_ERROR;
    if (writer > 0)
        return ctl_fail(
            "%s: process %d has been writing to the store all the time, or is stopped; let it go on or "
            "end it, and try again%s",
            subject, (int)writer, outcome(request, true));
    switch (rc) {
    case -ENOENT:
        return ctl_fail("%s: there is no such %s, or what it belongs to is gone%s", subject, noun,
                        outcome(request, true));
    case -EEXIST:
        return ctl_fail("%s: this %s exists already; choose another name, or delete it first", subject, noun);
    case -ENOTEMPTY:
        return ctl_fail("%s: the %s is not empty, and only an empty one can be deleted; --recursive deletes "
                        "what is in it, too",
                        subject, noun);
    case -EFBIG:
        return ctl_fail("%s: a value is at most %u bytes (25 MiB); nothing was changed", subject, KV_VALUE_MAX);
    case -EDQUOT:
        return fail_quota(request, subject, noun, key);
    default:
        for (size_t i = 0; i < sizeof(error_words) / sizeof(error_words[0]); i++)
            if (error_words[i].error == -rc)
                return ctl_fail("%s: %s%s", subject, error_words[i].text, outcome(request, error_words[i].sure));
        return ctl_fail("%s: the store failed: %s%s", subject, strerror(-rc), outcome(request, false));
    }
}

int ctl_fail_store(struct ctl_request *request, const char *subject, const char *noun, int rc)
{
    struct kv_ref key = ctl_key(request);

    return fail_store(request, subject, noun, strcmp(noun, "key") == 0 ? &key : NULL, rc);
}

int ctl_fail_key(struct ctl_request *request, const char *subject, const struct kv_ref *ref, int rc)
{
    return fail_store(request, subject, "key", ref, rc);
}
