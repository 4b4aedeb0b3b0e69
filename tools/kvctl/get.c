#include "tools/kvctl/keys.h"
#include "tools/kvctl/record.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

struct get {
    bool many;
    int status;    /* of all keys: CTL_NO goes before CTL_EMPTY */
    json_t *array; /* with --json, of many */
};

static int get_fail(struct ctl_request *request, int rc)
{
    return ctl_fail_store(request, request->path.text, "key", rc);
}

static void get_note(struct get *get, int status)
{
    if (status != CTL_OK && get->status != CTL_NO)
        get->status = status;
}

/* The value is empty. */
static void get_note_empty(const struct ctl_request *request, struct get *get)
{
    get_note(get, ctl_given(request, CTL_EMPTY_GET) ? CTL_EMPTY : CTL_NO);
}

/* The key is not there. One that is asked for alone is answered by the exit status. Returns a status. */
static int get_note_absent(struct ctl_request *request, struct get *get)
{
    if (ctl_look(request) != CTL_OK)
        return CTL_ERROR;
    if (get->many)
        ctl_say("%s: there is no such key", request->path.text);
    get_note(get, CTL_NO);
    return CTL_OK;
}

/* --------------------------------------------------------------------- version */

/* Keep the version that was read, for --if-unchanged; 0 where the key is absent. Returns a status. */
static int get_write_version(const struct ctl_request *request, uint64_t version)
{
    const char *name = request->version_file;
    FILE *file;
    bool good;

    if (!ctl_given(request, CTL_VERSION_FILE))
        return CTL_OK;
    file = fopen(name, "we");
    if (file == NULL)
        return ctl_fail("--version-file %s: %s", name, strerror(errno));
    good = fprintf(file, "%" PRIu64 "\n", version) > 0;
    if (fclose(file) != 0 || !good)
        return ctl_fail("--version-file %s: it could not be written: %s", name, strerror(errno));
    return CTL_OK;
}

static int get_version(struct ctl_request *request, struct get *get)
{
    struct kv_ref ref = ctl_key(request);
    struct kv_meta meta;
    int rc = kv_stat(request->store, &ref, &meta, NULL);

    if (rc == -ENOENT)
        return get_note_absent(request, get);
    if (rc < 0)
        return get_fail(request, rc);
    if (ctl_given(request, CTL_JSON))
        return ctl_print_json(json_integer((json_int_t)meta.version), JSON_ENCODE_ANY);
    printf("%" PRIu64 "\n", meta.version);
    return CTL_OK;
}

/* ----------------------------------------------------------------------- value */

static int get_value(struct ctl_request *request, struct get *get)
{
    struct kv_ref ref = ctl_key(request);
    struct kv_value *value;
    struct kv_meta meta;
    int status, rc = kv_get(request->store, &ref, &meta, &value, NULL);

    if (rc < 0 && rc != -ENOENT)
        return get_fail(request, rc);
    status = rc == -ENOENT ? get_note_absent(request, get) : CTL_OK;
    if (status == CTL_OK)
        status = get_write_version(request, rc == 0 ? meta.version : 0);
    if (rc == -ENOENT || value->size == 0) {
        if (request->json && status == CTL_OK)
            puts("null");
        if (rc == 0)
            get_note_empty(request, get);
    } else if (status == CTL_OK && request->json) {
        status = ctl_check_json(request->path.text, value->data, value->size);
    }
    if (rc == 0 && value->size > 0 && status == CTL_OK &&
        fwrite(value->data, 1, value->size, stdout) != value->size)
        status = ctl_fail("standard output: it could not be written: %s", strerror(errno));
    if (rc == 0)
        kv_value_unref(value);
    return status;
}

/* ---------------------------------------------------------------------- record */

static int get_meta(struct ctl_request *request, struct get *get)
{
    struct kv_ref ref = ctl_key(request);
    json_t *object = json_object(), *metadata;
    struct kv_xattrs set;
    struct kv_meta meta;
    int status = CTL_OK, rc = record_fetch(request->store, &ref, &meta, NULL, &set);

    if (rc == -ENOENT) {
        status = get_note_absent(request, get);
        if (status == CTL_OK)
            puts("null");
    } else if (rc < 0) {
        status = get_fail(request, rc);
    } else if (ctl_json_metadata(object, &set) < 0) {
        status = ctl_fail("out of memory");
    } else if (json_object_get(object, "metadata_base64") != NULL) {
        status = ctl_fail("%s: an attribute is not UTF-8 text, so JSON cannot show it; read it with getfattr on a "
                          "mount, or with kvctl get --json",
                          request->path.text);
    } else {
        metadata = json_object_get(object, "metadata");
        metadata = metadata != NULL ? json_incref(metadata) : json_object();
        if (meta.expires_ns != 0) /* as the attribute on a mount; no user's is called so */
            (void)json_object_set_new(metadata, "kvfs.expires", ctl_json_expiry(meta.expires_ns));
        status = ctl_print_json(metadata, JSON_COMPACT | JSON_SORT_KEYS);
    }
    json_decref(object);
    return status;
}

/* What stands for a key that is not there. */
static json_t *get_absent(const struct ctl_request *request, const struct get *get)
{
    const struct ctl_path *path = &request->path;

    if (!get->many)
        return json_null();
    return json_pack("{s:s, s:s, s:s, s:n}", "account", path->account, "namespace", path->second, "key", path->key,
                     "value");
}

static int get_record(struct ctl_request *request, struct get *get)
{
    uint64_t size = 0;
    json_t *object;
    int rc = record_read(request, RECORD_PATH | RECORD_VERSION | RECORD_VALUE | RECORD_METADATA, &object, &size);

    if (rc < 0 && rc != -ENOENT)
        return get_fail(request, rc);
    if (rc == -ENOENT && get_note_absent(request, get) != CTL_OK)
        return CTL_ERROR;
    if (rc == -ENOENT) {
        object = get_absent(request, get);
    } else if (size == 0) {
        get_note_empty(request, get);
    }
    if (get->array == NULL)
        return ctl_print_json(object, JSON_COMPACT | JSON_ENCODE_ANY);
    return json_array_append_new(get->array, object) == 0 ? CTL_OK : ctl_fail("out of memory");
}

static int get_one(struct ctl_request *request, void *arg)
{
    struct get *get = arg;

    if (ctl_given(request, CTL_KEY_VERSION))
        return get_version(request, get);
    if (ctl_given(request, CTL_META_GET))
        return get_meta(request, get);
    if (ctl_given(request, CTL_JSON) || ctl_given(request, CTL_JSON_LINES))
        return get_record(request, get);
    return get_value(request, get);
}

/* ------------------------------------------------------------------------- get */

static int get_check(const struct ctl_request *request, bool many)
{
    const uint64_t what =
        CTL_BIT(CTL_KEY_VERSION) | CTL_BIT(CTL_META_GET) | CTL_BIT(CTL_TYPE) | CTL_BIT(CTL_JSON_LINES);
    uint64_t chosen = request->given & what;

    if (chosen & (chosen - 1))
        return ctl_fail_usage(request, CTL_OPTIONS,
                              "--version, --meta, --type and --json-lines say what is printed: give one of them");
    if (ctl_given(request, CTL_VERSION_FILE) &&
        (many || chosen & ~CTL_BIT(CTL_TYPE) || ctl_given(request, CTL_JSON)))
        return ctl_fail_usage(request, CTL_VERSION_FILE, "--version-file is for the value of one key");
    if (many && ctl_given(request, CTL_TYPE))
        return ctl_fail_usage(request, CTL_JSON_LINES,
                              "--type is for one key; several are printed by --json-lines");
    return CTL_OK;
}

int ctl_get(struct ctl_request *request)
{
    struct get get = {.many = keys_are_many(request), .status = CTL_OK};
    int status = get_check(request, get.many);

    if (status != CTL_OK)
        return status;
    if (get.many && ctl_given(request, CTL_JSON) &&
        !(request->given & (CTL_BIT(CTL_JSON_LINES) | CTL_BIT(CTL_META_GET) | CTL_BIT(CTL_KEY_VERSION))) &&
        (get.array = json_array()) == NULL)
        return ctl_fail("out of memory");
    status = keys_each(request, get_one, &get);
    if (get.array != NULL && status == CTL_OK)
        return ctl_print_json(get.array, JSON_COMPACT) == CTL_OK ? get.status : CTL_ERROR;
    json_decref(get.array);
    return status == CTL_OK ? get.status : status;
}
