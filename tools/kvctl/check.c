#include "tools/kvctl/common.h"

#include <errno.h>
#include <string.h>

/* The report under way. */
struct findings {
    json_t *left, *repaired; /* arrays */
    bool repair;             /* what is repairable is going to be repaired */
    bool failed;             /* out of memory */
};

static void note_finding(void *arg, const struct kv_finding *finding)
{
    struct findings *findings = arg;
    json_t *json = json_pack("{s:s, s:s, s:s, s:b}", "kind", finding->kind, "where", finding->where, "what",
                             finding->what, "repairable", finding->repairable);
    bool repaired = findings->repair && finding->repairable;

    if (json_array_append_new(repaired ? findings->repaired : findings->left, json) < 0)
        findings->failed = true;
}

static int fail_check(struct ctl_request *request, int rc)
{
    const char *dir = request->store_dir;

    if (rc == -EBUSY && ctl_given(request, CTL_REPAIR))
        return ctl_fail("%s: the store is in use, and is repaired only while nobody else has it open; unmount it "
                        "everywhere and try again",
                        dir);
    if (rc == -ETIMEDOUT || rc == -EBUSY)
        return ctl_fail("%s: the store is too busy to be checked; try again later", dir);
    return ctl_fail_store(request, dir, "store", rc);
}

/* Look once. Returns a status. */
static int check(struct ctl_request *request, struct findings *findings, struct kv_check_report *report)
{
    struct kv_check_options options = {
        .fast = ctl_given(request, CTL_FAST), .repair = findings->repair, .found = note_finding, .arg = findings};
    int rc = kv_check(request->store, &options, report);

    if (rc < 0)
        return fail_check(request, rc);
    return findings->failed ? ctl_fail("out of memory") : CTL_OK;
}

static int print_report(struct findings *findings, const struct kv_check_report *report, bool repair)
{
    bool ok = json_array_size(findings->left) == 0;
    json_t *json = json_pack("{s:b, s:I, s:I, s:I, s:I, s:O}", "ok", ok, "keys", (json_int_t)report->keys, "bytes",
                             (json_int_t)report->bytes, "nodes", (json_int_t)report->nodes, "chunks",
                             (json_int_t)report->chunks, "findings", findings->left);
    int status;

    if (json != NULL && repair && json_object_set(json, "repaired", findings->repaired) < 0) {
        json_decref(json);
        json = NULL;
    }
    status = ctl_print_json(json, JSON_INDENT(2));
    if (status != CTL_OK)
        return status;
    return ok ? CTL_OK : CTL_NO;
}

int ctl_check(struct ctl_request *request)
{
    bool repair = ctl_given(request, CTL_REPAIR);
    struct findings findings = {.left = json_array(), .repaired = json_array(), .repair = repair};
    struct kv_check_report report;
    int status = check(request, &findings, &report);

    if (status == CTL_OK && repair) {
        /* What is left is what counts: look again. */
        findings.repair = false;
        json_array_clear(findings.left);
        if (report.repaired == 0)
            json_array_clear(findings.repaired); /* a damaged database is not repaired */
        status = check(request, &findings, &report);
    }
    if (status == CTL_OK)
        status = print_report(&findings, &report, repair);
    json_decref(findings.left);
    json_decref(findings.repaired);
    return status;
}
