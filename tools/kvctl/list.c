#include "tools/kvctl/keys.h"
#include "tools/kvctl/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How keys are printed. */
struct list {
    enum { LIST_NAMES, LIST_OBJECTS, LIST_LINES } how;
    unsigned parts; /* of each object: enum record_part */
    bool first;     /* of the objects */
};

/* Print the path's key. One that is gone by now is left out. */
static int list_print(struct ctl_request *request, void *arg)
{
    struct list *list = arg;
    json_t *object;
    char *text;
    int rc;

    if (list->how == LIST_NAMES) {
        puts(request->path.key);
        return CTL_OK;
    }
    rc = record_read(request, list->parts, &object, NULL);
    if (rc == -ENOENT)
        return CTL_OK;
    if (rc < 0)
        return ctl_fail_store(request, request->path.text, "key", rc);
    text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (text == NULL)
        return ctl_fail("out of memory");
    printf("%s%s%s", list->how == LIST_OBJECTS && !list->first ? "," : "", text,
           list->how == LIST_LINES ? "\n" : "");
    list->first = false;
    free(text);
    return CTL_OK;
}

/* A page has the same form as all keys. */
static void list_print_head(const struct list *list, const char *cursor)
{
    if (list->how == LIST_OBJECTS && cursor != NULL)
        printf("{\"complete\":false,\"cursor\":\"%s\",\"keys\":[", cursor);
    else if (list->how == LIST_OBJECTS)
        fputs("{\"complete\":true,\"cursor\":null,\"keys\":[", stdout);
}

static void list_print_end(const struct list *list)
{
    if (list->how == LIST_OBJECTS)
        puts("]}");
}

static int list_page(struct ctl_request *request, struct list *list)
{
    size_t limit = ctl_given(request, CTL_LIMIT) ? request->limit : KV_LIST_MAX;
    struct kv_list page;
    int status = CTL_OK, rc;

    rc = kv_list(request->store, request->second.id, request->prefix, request->cursor, limit, &page);
    if (rc < 0)
        return ctl_fail_store(request, request->path.text, "namespace", rc);
    if (page.complete)
        status = ctl_look(request);
    if (status == CTL_OK)
        list_print_head(list, page.complete ? NULL : page.cursor);
    for (size_t i = 0; i < page.count && status == CTL_OK; i++) {
        memcpy(request->path.key, page.keys[i], sizeof(page.keys[i]));
        status = list_print(request, list);
    }
    if (status == CTL_OK)
        list_print_end(list);
    kv_list_free(&page);
    return status;
}

static int list_all(struct ctl_request *request, struct list *list)
{
    int status;

    list_print_head(list, NULL);
    status = keys_with_prefix(request, request->prefix, list_print, list);
    if (status == CTL_OK)
        list_print_end(list);
    return status;
}

static int list_check(const struct ctl_request *request)
{
    const char *text = request->path.text;
    int status = CTL_OK;
    bool all = ctl_given(request, CTL_ALL) || ctl_given(request, CTL_JSON_LINES);

    if (all && (ctl_given(request, CTL_LIMIT) || ctl_given(request, CTL_CURSOR)))
        return ctl_fail_usage(request, CTL_ALL,
                              "%s: --all and --json-lines list from the start to the end; leave out --limit and "
                              "--cursor",
                              text);
    if (ctl_given(request, CTL_ALL) && !ctl_given(request, CTL_JSON_LINES) && !ctl_given(request, CTL_JSON) &&
        (ctl_given(request, CTL_VALUES) || ctl_given(request, CTL_META_WITH)))
        return ctl_fail_usage(request, CTL_JSON_LINES, "%s: with values or metadata, all keys are printed as JSON",
                              text);
    if (request->prefix != NULL && *request->prefix != '\0')
        status = ctl_check_name("--prefix", KV_NAME_KEY, request->prefix);
    if (status == CTL_OK && request->cursor != NULL && *request->cursor != '\0')
        status = ctl_check_name("--cursor", KV_NAME_KEY, request->cursor);
    return status;
}

int ctl_list(struct ctl_request *request)
{
    struct list list = {.how = LIST_OBJECTS, .first = true};
    bool lines = ctl_given(request, CTL_JSON_LINES), all = ctl_given(request, CTL_ALL) || lines;
    int status = list_check(request);

    if (status != CTL_OK)
        return status;
    if (ctl_given(request, CTL_VALUES))
        list.parts |= RECORD_VALUE;
    if (ctl_given(request, CTL_META_WITH))
        list.parts |= RECORD_METADATA;
    if (lines)
        list.how = LIST_LINES;
    else if (all && !ctl_given(request, CTL_JSON))
        list.how = LIST_NAMES;
    return all ? list_all(request, &list) : list_page(request, &list);
}

int ctl_ls(struct ctl_request *request)
{
    bool keys = request->path.second[0] != '\0';
    int status = ctl_find(request, keys ? 2 : request->path.account[0] != '\0');

    if (status != CTL_OK)
        return status;
    if (!keys && ctl_given(request, CTL_PREFIX))
        return ctl_fail_usage(request, CTL_PREFIX, "--prefix is for the keys of an ACCOUNT/NAMESPACE");
    request->given |= CTL_BIT(CTL_ALL);
    if (keys)
        return ctl_list(request);
    return request->path.account[0] != '\0' ? ctl_namespace_list(request) : ctl_account_list(request);
}
