#include "tools/kvctl/mount.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FORM_PARTS = 3 };

static const struct {
    const char *text;
    size_t least, most; /* parts */
    enum kv_name_kind kind[FORM_PARTS];
    bool optional;
} forms[] = {
    [CTL_FORM_NONE] = {"", 0, 0, {0}, true},
    [CTL_FORM_ACCOUNT] = {"ACCOUNT", 1, 1, {KV_NAME_ACCOUNT}, false},
    [CTL_FORM_NAMESPACE] = {"ACCOUNT/NAMESPACE", 2, 2, {KV_NAME_ACCOUNT, KV_NAME_NAMESPACE}, false},
    [CTL_FORM_KEY] = {"ACCOUNT/NAMESPACE/KEY", 3, 3, {KV_NAME_ACCOUNT, KV_NAME_NAMESPACE, KV_NAME_KEY}, false},
    [CTL_FORM_KEYS] = {"ACCOUNT/NAMESPACE/KEY", 3, 3, {KV_NAME_ACCOUNT, KV_NAME_NAMESPACE, KV_NAME_KEY}, false},
    [CTL_FORM_PROJECT] = {"ACCOUNT/PROJECT", 2, 2, {KV_NAME_ACCOUNT, KV_NAME_PROJECT}, false},
    [CTL_FORM_WATCH] =
        {"ACCOUNT[/NAMESPACE[/KEY]]", 1, 3, {KV_NAME_ACCOUNT, KV_NAME_NAMESPACE, KV_NAME_KEY}, false},
    [CTL_FORM_STORE] = {"[MOUNTPOINT]", 0, 0, {0}, true},
    [CTL_FORM_TREE] = {"[ACCOUNT[/NAMESPACE]]", 0, 2, {KV_NAME_ACCOUNT, KV_NAME_NAMESPACE}, true},
};

const char *ctl_form_text(enum ctl_form form) { return forms[form].text; }

bool ctl_form_is_optional(enum ctl_form form) { return forms[form].optional; }

/* A message shows no more of an argument than this; every valid path is shorter. */
enum { SHOWN_MAX = 700 };

static int check_name(const char *subject, enum kv_name_kind kind, const char *name, size_t size)
{
    int rc = kv_name_check(kind, name, size);

    if (rc == -ENAMETOOLONG)
        return ctl_fail("%.*s: '%.16s...' is too long with %zu bytes; %s", SHOWN_MAX, subject, name, size,
                        kv_name_rule(kind));
    if (rc < 0)
        return ctl_fail("%.*s: '%.*s' is no valid name; %s", SHOWN_MAX, subject,
                        (int)(size < SHOWN_MAX ? size : SHOWN_MAX), name, kv_name_rule(kind));
    return CTL_OK;
}

int ctl_check_name(const char *subject, enum kv_name_kind kind, const char *name)
{
    return check_name(subject, kind, name, strlen(name));
}

/* Split names at their slashes and check each.
 * root     no names at all stand for the root, which some forms allow
 * returns  a status */
static int parse_names(const struct ctl_request *request, enum ctl_form form, const char *names, bool root,
                       struct ctl_path *path)
{
    char *parts[FORM_PARTS] = {path->account, path->second, path->key};
    size_t count = *names == '\0' && root ? 0 : 1;

    for (const char *c = names; *c != '\0'; c++)
        count += *c == '/';
    if (count < forms[form].least || count > forms[form].most)
        return ctl_fail_usage(request, CTL_OPTIONS, "%.*s: this is not of the form %s", SHOWN_MAX, path->text,
                              forms[form].text);

    for (size_t i = 0; i < count; i++) {
        size_t size = strcspn(names, "/");
        int status = check_name(path->text, forms[form].kind[i], names, size);

        if (status != CTL_OK)
            return status;
        memcpy(parts[i], names, size); /* fits: the rule bounds it */
        names += size + 1;
    }
    return CTL_OK;
}

int ctl_parse_path(struct ctl_request *request, enum ctl_form form, const char *text, struct ctl_path *out)
{
    struct ctl_path path = {.text = text};
    char *names = NULL;
    int status = CTL_OK;

    if (ctl_is_file(request, text))
        status = ctl_names_of_file(request, form, text, &names);
    else if (form == CTL_FORM_STORE)
        status =
            ctl_fail_usage(request, CTL_STORE, "%.*s: this is no path below a mount; it begins with /, ./ or ../",
                           SHOWN_MAX, text);
    if (status == CTL_OK && form != CTL_FORM_STORE)
        status = parse_names(request, form, names != NULL ? names : text, names != NULL, &path);
    free(names);
    if (status == CTL_OK)
        *out = path;
    return status;
}

int ctl_parse_new(struct ctl_request *request, const struct ctl_path *path, const char *text, struct ctl_path *out)
{
    struct ctl_path beside = *path;
    int status;

    if (strchr(text, '/') != NULL)
        return ctl_parse_path(request, CTL_FORM_KEY, text, out);
    status = ctl_check_name(text, KV_NAME_KEY, text);
    if (status != CTL_OK)
        return status;
    beside.text = text;
    strcpy(beside.key, text); /* fits: the rule bounds it */
    *out = beside;
    return CTL_OK;
}
