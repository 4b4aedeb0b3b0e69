/* kvctl txn --json-lines: operations as objects. A put is a key as dump prints it. */
#include "tools/kvctl/txn.h"
#include "tools/kvctl/value.h"

#include <stdlib.h>
#include <string.h>

/* Take a field out of an object. returns  a new reference; NULL: there is none */
static json_t *txn_take(json_t *object, const char *field)
{
    json_t *value = json_incref(json_object_get(object, field));

    if (value != NULL)
        (void)json_object_del(object, field);
    return value;
}

/* Take the conditions, as far as this kind of operation has them. Returns a status. */
static int txn_take_condition(json_t *object, struct kv_change *change)
{
    json_t *absent = change->kind != KV_DELETE ? txn_take(object, "if_absent") : NULL;
    json_t *version = change->kind != KV_RENAME ? txn_take(object, "if_version") : NULL;
    const char *wrong = NULL;

    if (absent != NULL && version != NULL)
        wrong = "\"if_absent\" and \"if_version\" do not go together";
    else if (absent != NULL && !json_is_true(absent))
        wrong = "\"if_absent\" is true, or not there";
    else if (version != NULL && (!json_is_integer(version) || json_integer_value(version) < 0))
        wrong = "\"if_version\" is no whole number";
    else if (change->kind == KV_CHECK && absent == NULL && version == NULL)
        wrong = "check needs an \"if_absent\" or \"if_version\"";
    if (change->kind == KV_RENAME)
        change->flags = absent != NULL ? KV_NOREPLACE : 0;
    else
        change->conditional = absent != NULL || version != NULL;
    if (wrong == NULL && version != NULL)
        change->if_version = (uint64_t)json_integer_value(version);
    json_decref(absent);
    json_decref(version);
    return wrong != NULL ? ctl_fail("%s", wrong) : CTL_OK;
}

/* Fill in the names of a key, and nothing else. */
static enum bulk_result txn_take_names(struct bulk_input *input, struct bulk_record *record, json_t *object)
{
    const struct {
        const char *field;
        enum kv_name_kind kind;
        char *out;
    } names[] = {{"account", KV_NAME_ACCOUNT, record->account},
                 {"namespace", KV_NAME_NAMESPACE, record->namespace},
                 {"key", KV_NAME_KEY, record->key}};
    enum bulk_result result = BULK_RECORD;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && result == BULK_RECORD; i++) {
        json_t *name = txn_take(object, names[i].field);

        result = json_is_string(name)
                     ? bulk_set_name(input, names[i].kind, json_string_value(name), json_string_length(name),
                                     names[i].out)
                     : bulk_fail(input, BULK_BAD, "\"%s\" is missing, or no string", names[i].field);
        json_decref(name);
    }
    if (result == BULK_RECORD && json_object_size(object) > 0)
        return bulk_fail(input, BULK_BAD, "\"%.32s\" is no field of such an operation",
                         json_object_iter_key(json_object_iter(object)));
    return result;
}

/* Make the change of a record. Returns a status. */
static int txn_fill_put(const struct ctl_request *request, struct bulk_record *record, struct txn_op *op)
{
    struct kv_change change = op->change;
    struct kv_ref later = {.size = 0};

    if (record->kind != BULK_KEY || record->account[0] == '\0' || record->namespace[0] == '\0')
        return ctl_fail("a put needs an \"account\", a \"namespace\" and a \"key\"");
    op->change = value_put(request, &later, record->value);
    op->change.conditional = change.conditional;
    op->change.if_version = change.if_version;
    record->value = NULL; /* it is the operation's now */
    kv_attr_set(&op->change.attr, &record->attr, record->attr_mask);
    op->change.attr_mask = record->attr_mask;
    op->change.expiry = record->expiry;
    op->change.expires_ns = record->expires_ns;
    if (record->has_metadata) {
        op->change.xattrs = op->xattrs = malloc(sizeof(*op->xattrs));
        if (op->xattrs == NULL)
            return ctl_fail("out of memory");
        *op->xattrs = record->metadata;
    }
    return CTL_OK;
}

static int txn_set_path(struct txn_op *op, const struct bulk_record *record)
{
    if (asprintf(&op->text, "%s/%s/%s", record->account, record->namespace, record->key) < 0) {
        op->text = NULL;
        return ctl_fail("out of memory");
    }
    op->path.text = op->text;
    strcpy(op->path.account, record->account);
    strcpy(op->path.second, record->namespace);
    strcpy(op->path.key, record->key);
    return CTL_OK;
}

/* What kind of operation it is. Returns a status. */
static int txn_take_kind(json_t *object, struct txn_op *op)
{
    json_t *kind = txn_take(object, "op");
    int status = CTL_OK;

    if (kind != NULL && !json_is_string(kind))
        status = ctl_fail("\"op\" is no string");
    else
        op->command = txn_find_command(kind != NULL ? json_string_value(kind) : "put");
    if (op->command == NULL)
        status = CTL_ERROR;
    else
        op->change.kind = txn_kind(op->command);
    json_decref(kind);
    return status;
}

/* The key that a rename makes: a KEY of the same namespace, or ACCOUNT/NAMESPACE/KEY. Returns a status. */
static int txn_take_new(struct ctl_request *request, json_t *new, struct txn_op *op)
{
    int status = json_is_string(new) ? ctl_parse_new(request, &op->path, json_string_value(new), &op->to)
                                     : ctl_fail("\"new\" is missing, or no string");

    op->to.text = op->text;
    return status;
}

static int txn_parse_object(struct txn *txn, struct bulk_record *record, json_t *object, struct txn_op *op)
{
    json_t *new = NULL;
    enum bulk_result result;
    int status = json_is_object(object) ? txn_take_kind(object, op) : ctl_fail("it is no JSON object");

    if (status == CTL_OK)
        status = txn_take_condition(object, &op->change);
    if (status != CTL_OK)
        return status;
    if (op->change.kind == KV_RENAME)
        new = txn_take(object, "new");
    result = op->change.kind == KV_PUT ? bulk_json_object(&txn->input, record, object)
                                       : txn_take_names(&txn->input, record, object);
    status = result != BULK_RECORD ? ctl_fail("%s", txn->input.why) : txn_set_path(op, record);
    if (status == CTL_OK && op->change.kind == KV_PUT)
        status = txn_fill_put(txn->request, record, op);
    if (status == CTL_OK && op->change.kind == KV_RENAME)
        status = txn_take_new(txn->request, new, op);
    json_decref(new);
    return status;
}

int txn_read_json(struct txn *txn, struct txn_op *op, bool *read)
{
    struct bulk_input *input = &txn->input;
    struct bulk_record *record = calloc(1, sizeof(*record));
    enum bulk_result result = BULK_RECORD;
    json_error_t error;
    json_t *object;
    int status;

    if (record == NULL)
        return ctl_fail("out of memory");
    do {
        op->line = input->line + 1;
        result = bulk_read_line(input);
    } while (result == BULK_RECORD && strspn(input->text, " \t") == input->size);
    ctl_set_place(txn->input.name, op->line);
    *read = result == BULK_RECORD;
    if (result != BULK_RECORD) {
        free(record);
        return result == BULK_END ? CTL_OK : ctl_fail("%s", input->why);
    }
    object =
        json_loadb(input->text, input->size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    status = object != NULL ? txn_parse_object(txn, record, object, op)
                            : ctl_fail("it is no JSON: column %d: %s", error.column, error.text);
    json_decref(object);
    bulk_clear(record, 0);
    free(record);
    return status;
}
