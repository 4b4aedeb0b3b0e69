#include "tools/kvctl/keys.h"

#include "tools/kvctl/mount.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char keys_help[] = "Several keys:  ACCOUNT/NAMESPACE/KEY...\n"
                         "               ACCOUNT/NAMESPACE --prefix P\n"
                         "               ACCOUNT/NAMESPACE -   with a KEY in each line of standard input\n"
                         "               -                     with an ACCOUNT/NAMESPACE/KEY in each line\n";

enum { KEYS_TEXT_SIZE = 2 * (KV_NAME_MAX + 1) + KV_KEY_MAX + 1, KEYS_LINE_MAX = 8192 };

static bool keys_are_read(const struct ctl_request *request, size_t arg)
{
    return request->arg_count == arg + 1 && strcmp(request->args[arg], "-") == 0;
}

bool keys_are_many(const struct ctl_request *request)
{
    return request->arg_count > 1 || ctl_given(request, CTL_PREFIX) || keys_are_read(request, 0);
}

int keys_choose_store(struct ctl_request *request)
{
    char *names = NULL;
    int status = CTL_OK;

    if (!keys_are_read(request, 0) && ctl_is_file(request, request->args[0]))
        status = ctl_names_of_file(request, CTL_FORM_KEYS, request->args[0], &names);
    free(names);
    return status;
}

/* Find the namespace of a path, unless it is that of the path before. */
static int keys_find(struct ctl_request *request, const struct ctl_path *path)
{
    bool same = request->second.id != 0 && strcmp(path->account, request->path.account) == 0 &&
                strcmp(path->second, request->path.second) == 0;

    request->path = *path;
    return same ? CTL_OK : ctl_find(request, 2);
}

static int keys_visit_path(struct ctl_request *request, const char *text, keys_visit *visit, void *arg)
{
    struct ctl_path path;
    int status = ctl_parse_path(request, CTL_FORM_KEY, text, &path);

    if (status == CTL_OK)
        status = keys_find(request, &path);
    return status == CTL_OK ? visit(request, arg) : status;
}

/* A key of the namespace that was found. `text` has room for its path. */
static int keys_visit_name(struct ctl_request *request, const char *key, char *text, keys_visit *visit, void *arg)
{
    snprintf(text, KEYS_TEXT_SIZE, "%s/%s/%s", request->path.account, request->path.second, key);
    request->path.text = text;
    memcpy(request->path.key, key, strlen(key) + 1);
    return visit(request, arg);
}

/* ------------------------------------------------------------- standard input */

/* Read a line without its end. returns 1; 0 at the end of the input; -1 it was said why not */
static int keys_read_line(char *line)
{
    size_t size = 0;
    int c;

    while ((c = getc_unlocked(stdin)) != '\n' && c != EOF) {
        if (c == '\0' || size == KEYS_LINE_MAX - 1) {
            line[size] = '\0';
            (void)ctl_fail("standard input: '%.32s...' is no name: %s", line,
                           c == '\0' ? "there is a NUL behind it; names are lines" : "the line is too long");
            return -1;
        }
        line[size++] = (char)c;
    }
    line[size] = '\0';
    if (c != EOF || size > 0)
        return 1;
    if (ferror(stdin))
        (void)ctl_fail("standard input: cannot read it: %s", strerror(errno));
    return ferror(stdin) ? -1 : 0;
}

/* Visit what the lines of standard input name.
 * names    they are KEYs of the namespace that was found, and no paths */
static int keys_visit_lines(struct ctl_request *request, bool names, keys_visit *visit, void *arg)
{
    char line[KEYS_LINE_MAX], text[KEYS_TEXT_SIZE];
    int status = CTL_OK, got = 0;

    if (isatty(STDIN_FILENO))
        ctl_say("waiting for names: type %s a line, and then Ctrl-D at the start of a line; Ctrl-C gives up",
                names ? "a KEY" : "an ACCOUNT/NAMESPACE/KEY");
    while (status == CTL_OK && (got = keys_read_line(line)) > 0) {
        if (names)
            status = ctl_check_name("standard input", KV_NAME_KEY, line);
        if (status == CTL_OK)
            status = names ? keys_visit_name(request, line, text, visit, arg)
                           : keys_visit_path(request, line, visit, arg);
    }
    return got < 0 ? CTL_ERROR : status;
}

/* -------------------------------------------------------------------- visiting */

int keys_with_prefix(struct ctl_request *request, const char *prefix, keys_visit *visit, void *arg)
{
    const char *namespace_text = request->path.text;
    char cursor[KV_KEY_MAX + 1] = "", text[KEYS_TEXT_SIZE];
    bool complete = false;
    int status = CTL_OK;

    while (!complete && status == CTL_OK && !ferror(stdout)) {
        struct kv_list page;
        int rc = kv_list(request->store, request->second.id, prefix, cursor, KV_LIST_MAX, &page);

        if (rc < 0)
            return ctl_fail_store(request, namespace_text, "namespace", rc);
        complete = page.complete;
        if (complete)
            status = ctl_look(request);
        for (size_t i = 0; i < page.count && status == CTL_OK; i++)
            status = keys_visit_name(request, page.keys[i], text, visit, arg);
        memcpy(cursor, page.cursor, sizeof(cursor));
        kv_list_free(&page);
    }
    request->path.text = namespace_text;
    request->path.key[0] = '\0';
    return status;
}

int keys_each(struct ctl_request *request, keys_visit *visit, void *arg)
{
    bool read_names = keys_are_read(request, 1), prefix = ctl_given(request, CTL_PREFIX);
    struct ctl_path path;
    int status = CTL_OK;

    if (prefix && (request->arg_count > 1 || keys_are_read(request, 0)))
        return ctl_fail_usage(request, CTL_PREFIX, "--prefix is for the keys of one ACCOUNT/NAMESPACE");
    if (prefix && *request->prefix != '\0')
        status = ctl_check_name("--prefix", KV_NAME_KEY, request->prefix);
    if (status == CTL_OK && (prefix || read_names)) {
        status = ctl_parse_path(request, CTL_FORM_NAMESPACE, request->args[0], &path);
        if (status == CTL_OK)
            status = keys_find(request, &path);
        if (status != CTL_OK)
            return status;
        return prefix ? keys_with_prefix(request, request->prefix, visit, arg)
                      : keys_visit_lines(request, true, visit, arg);
    }
    if (status == CTL_OK && keys_are_read(request, 0))
        return keys_visit_lines(request, false, visit, arg);
    for (size_t i = 0; i < request->arg_count && status == CTL_OK; i++) /* before anything is done */
        status = ctl_parse_path(request, CTL_FORM_KEYS, request->args[i], &path);
    for (size_t i = 0; i < request->arg_count && status == CTL_OK; i++)
        status = keys_visit_path(request, request->args[i], visit, arg);
    return status;
}
