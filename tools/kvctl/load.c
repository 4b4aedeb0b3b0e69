/* kvctl load: many records, thousands of them under way together. A record that was loaded already is loaded again
 * without harm: so a load that was cut off is simply done once more, or from a line on. */
#include "tools/kvctl/load.h"

#include "tools/kvctl/value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* More mistakes than this are of one kind, and the reader has seen it. */
enum { LOAD_REFUSED_MAX = 100, LOAD_PROGRESS_MS = 200 };

/* ------------------------------------------------------------------------ errors */

static void load_count_refused(struct load *load, uint64_t number)
{
    load->refused++;
    if (load->first_refused == 0 || number < load->first_refused)
        load->first_refused = number;
    if (load->refused >= LOAD_REFUSED_MAX)
        load->stop = true;
}

int load_refuse(struct load *load, uint64_t number, const char *format, ...)
{
    char why[2 * BULK_WHY_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    (void)ctl_fail("%s: %s %" PRIu64 ": %s", load->input.name, load->format->unit, number, why);
    load_count_refused(load, number);
    return CTL_ERROR;
}

/* Will every further change fail, too? */
static bool load_is_fatal(int rc) { return rc == -EIO || rc == -ENOSPC || rc == -ETIMEDOUT || rc == -EROFS; }

/* returns  the subject of a message, which is to be freed; or NULL */
static char *load_subject(const struct load *load, uint64_t number, const char *name)
{
    char *subject;

    return asprintf(&subject, "%s: %s %" PRIu64 ": %s", load->input.name, load->format->unit, number, name) < 0
               ? NULL
               : subject;
}

int load_refuse_store(struct load *load, const struct bulk_record *record, const char *name, const char *noun,
                      int rc)
{
    char *subject = load_subject(load, record->number, name);

    (void)ctl_fail_store(load->request, subject != NULL ? subject : name, noun, rc);
    free(subject);
    load_count_refused(load, record->number);
    load->stop = load->stop || load_is_fatal(rc);
    return CTL_ERROR;
}

/* What became of a key. */
static void load_verdict(void *arg, struct window_slot *slot, int rc)
{
    struct load *load = arg;
    const struct kv_ref *ref = &slot->change.ref;
    char *subject;

    if (rc == 0) {
        load->loaded++;
        return;
    }
    if (rc == -EEXIST && slot->change.conditional) {
        load->there++;
        return;
    }
    subject = load_subject(load, slot->number, ref->key);
    (void)ctl_fail_key(load->request, subject != NULL ? subject : ref->key, ref, rc);
    free(subject);
    load_count_refused(load, slot->number);
    load->stop = load->stop || load_is_fatal(rc);
}

/* ----------------------------------------------------------------------- records */

/* Names of the command line go before those of the records. */
static int load_override(struct load *load, struct bulk_record *record)
{
    const struct ctl_path *path = &load->request->path;

    if (path->second[0] != '\0' && record->kind != BULK_KEY && record->kind != BULK_NAMESPACE)
        return load_refuse(load, record->number, "it is no key, and only keys go into one namespace");
    if (path->account[0] != '\0')
        strcpy(record->account, path->account);
    if (path->second[0] != '\0')
        strcpy(record->namespace, path->second);
    return CTL_OK;
}

/* A record that has expired is left out, and told. */
static bool load_is_over(struct load *load, const struct bulk_record *record)
{
    char text[KV_EXPIRY_TEXT];

    if (record->expires_ns == 0 || record->expires_ns > ctl_now_ns(CLOCK_REALTIME))
        return false;
    kv_expiry_text(record->expires_ns, text);
    ctl_say("%s: %s %" PRIu64 ": %s: it has expired at %s, and is left out", load->input.name, load->format->unit,
            record->number, record->key, text);
    load->expired++;
    return true;
}

static int load_key(struct load *load, struct bulk_record *record)
{
    struct window_slot *slot;
    struct kv_change *change;
    struct kv_ref ref;
    uint64_t id;
    int status;

    if (load_is_over(load, record))
        return CTL_OK;
    status = load_find_namespace(load, record, &id);
    if (status != CTL_OK)
        return status;
    slot = window_take(&load->window);
    load->stop = load->stop || slot == NULL;
    if (slot == NULL)
        return load_refuse(load, record->number, "%s: out of memory", record->key);
    ref = kv_ref_key(id, record->key, strlen(record->key));
    change = &slot->change;
    *change = value_put(load->request, &ref, record->value);
    record->value = NULL; /* it is the slot's now */
    kv_attr_set(&change->attr, &record->attr, record->attr_mask);
    change->attr_mask = record->attr_mask;
    change->conditional = ctl_given(load->request, CTL_IF_ABSENT);
    change->expiry = record->expiry;
    change->expires_ns = record->expires_ns;
    slot->number = record->number;
    if (record->has_metadata) {
        slot->xattrs = record->metadata;
        change->xattrs = &slot->xattrs;
    }
    if (ctl_given(load->request, CTL_ATOMIC))
        return load_keep(load, slot);
    window_submit(&load->window, slot);
    return CTL_OK;
}

/* With --atomic, nothing is done before all was read. */
static int load_node_later(struct load *load, const struct bulk_record *record)
{
    uint64_t id;

    if (record->kind == BULK_NAMESPACE)
        return load_find_namespace(load, record, &id);
    return load_refuse(load, record->number, "it is no key; --atomic is for keys");
}

static int load_record(struct load *load, struct bulk_record *record)
{
    int status = load_override(load, record);

    if (status != CTL_OK)
        return status;
    if (record->kind == BULK_KEY)
        return load_key(load, record);
    return ctl_given(load->request, CTL_ATOMIC) ? load_node_later(load, record) : load_node(load, record);
}

/* ---------------------------------------------------------------------- progress */

/* A line on a terminal, which is written over. */
struct load_progress {
    bool wanted, shown;
    int64_t start_ms, next_ms;
};

static void load_show(const struct load *load, struct load_progress *progress)
{
    int64_t now_ms = progress->wanted ? ctl_now_ms() : 0;

    if (!progress->wanted || now_ms < progress->next_ms)
        return;
    fprintf(stderr, "\r%s: %s %" PRIu64 ", %" PRIu64 " loaded, %" PRIu64 " a second\033[K", load->input.name,
            load->format->unit, load->input.number, load->loaded,
            load->loaded * 1000 / (uint64_t)(now_ms - progress->start_ms));
    progress->shown = true;
    progress->next_ms = now_ms + LOAD_PROGRESS_MS;
}

static void load_hide(struct load_progress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
    progress->shown = false;
}

/* -------------------------------------------------------------------------- load */

/* Read and load records until the end, or until nothing else can be done. Returns CTL_OK, or CTL_ERROR where the input
 * is broken. */
static int load_records(struct load *load)
{
    struct load_progress progress = {.wanted = isatty(STDERR_FILENO), .start_ms = ctl_now_ms()};
    struct bulk_record *record = calloc(1, sizeof(*record));
    enum bulk_result result = BULK_RECORD;
    int status = CTL_OK;

    if (record == NULL)
        return ctl_fail("out of memory");
    progress.next_ms = progress.start_ms + LOAD_PROGRESS_MS;
    while (!load->stop) {
        bulk_clear(record, 0);
        result = load->format->read(&load->input, record);
        if (result == BULK_END || result == BULK_BROKEN)
            break;
        if (record->number > load->request->skip) {
            uint64_t refused = load->refused;

            if (result == BULK_BAD)
                (void)load_refuse(load, record->number, "%s", load->input.why);
            else
                (void)load_record(load, record);
            if (load->refused > refused)
                load_hide(&progress);
        }
        load_show(load, &progress);
    }
    load_hide(&progress);
    if (result == BULK_BROKEN)
        status = load_refuse(load, load->input.number, "%s; what follows was not read", load->input.why);
    bulk_clear(record, 0);
    free(record);
    return status;
}

static int load_report(struct load *load)
{
    int status = CTL_OK;

    if (load->refused > 0 && ctl_given(load->request, CTL_ATOMIC))
        status = ctl_fail("%s: nothing was loaded, because of what is said above", load->input.name);
    else if (load->refused > 0)
        status = ctl_fail("%s: %" PRIu64 " loaded, %" PRIu64
                          " refused%s; mend what is refused and load it again, which "
                          "does no harm to what is loaded, or go on with --skip %" PRIu64,
                          load->input.name, load->loaded, load->refused,
                          load->stop ? ", and what follows was not read" : "", load->first_refused - 1);
    if (ctl_given(load->request, CTL_JSON) &&
        ctl_print_json(json_pack("{s:I, s:I, s:I, s:I}", "loaded", (json_int_t)load->loaded, "there",
                                 (json_int_t)load->there, "refused", (json_int_t)load->refused, "expired",
                                 (json_int_t)load->expired),
                       JSON_COMPACT) != CTL_OK)
        return CTL_ERROR;
    return status;
}

/* Programs on other systems put a mark before UTF-8. returns false: what begins so is something else */
static bool load_skip_mark(FILE *file)
{
    int c = getc(file);

    if (c != 0xef) {
        if (c != EOF)
            ungetc(c, file);
        return true;
    }
    return getc(file) == 0xbb && getc(file) == 0xbf;
}

static int load_run(struct load *load)
{
    int status;

    window_init(&load->window, load->request->store, load_verdict, load);
    status = load_skip_mark(load->input.file) ? load_records(load)
                                              : load_refuse(load, 1, "it begins with bytes that are no text");
    if (status == CTL_OK && load->refused == 0)
        status = load_all(load);
    load_forget(load);
    window_finish(&load->window);
    return load_report(load) == CTL_OK ? status : status == CTL_CONDITION ? CTL_CONDITION : CTL_ERROR;
}

int ctl_load(struct ctl_request *request)
{
    struct load load = {.request = request,
                        .format = ctl_given(request, CTL_BULK_FORMAT) ? request->bulk_format : &bulk_json};
    unsigned finds = (unsigned)(request->path.account[0] != '\0') + (request->path.second[0] != '\0');
    int status;

    if (load.format->only_keys && finds < 2)
        return ctl_fail_usage(request, CTL_BULK_FORMAT,
                              "--format %s names no accounts and namespaces: say into which ACCOUNT/NAMESPACE",
                              load.format->name);
    if (load.format->only_keys && (status = ctl_find(request, 2)) != CTL_OK)
        return status;
    status = bulk_open(&load.input, request, "records");
    if (status != CTL_OK)
        return status;
    status = load_run(&load);
    bulk_close(&load.input);
    return status;
}
