/* kvctl load: what its parts share. */
#ifndef KVFS_TOOLS_KVCTL_LOAD_H
#define KVFS_TOOLS_KVCTL_LOAD_H

#include "tools/kvctl/bulk.h"
#include "tools/kvctl/window.h"

struct load {
    struct ctl_request *request;
    const struct bulk_format *format;
    struct bulk_input input;
    struct window window;

    /* Where the last key went. id 0: nowhere */
    char account_name[KV_NAME_MAX + 1], namespace_name[KV_NAME_MAX + 1];
    uint64_t account_id, namespace_id;

    uint64_t loaded, there, refused; /* records: done; left as they were, because of --if-absent; not done */
    uint64_t expired;                /* left out */
    uint64_t first_refused;          /* its number; 0: none */
    bool stop;                       /* nothing else can be done */

    /* --atomic: keys that wait for the end */
    struct window_slot **batch;
    size_t batch_count;
};

/* Say why a record is refused, and count it. Return CTL_ERROR. */
int load_refuse(struct load *load, uint64_t number, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same of what the store says. */
int load_refuse_store(struct load *load, const struct bulk_record *record, const char *name, const char *noun,
                      int rc);

/* Find the namespace of a key. Returns a status; what is wrong was told, and counted. */
KV_CHECKED int load_find_namespace(struct load *load, const struct bulk_record *record, uint64_t *out);
/* Make an account, a namespace, a project or a binding what the record says it is. Returns a status, as above. */
KV_CHECKED int load_node(struct load *load, const struct bulk_record *record);

/* Keep a key's change for the end. Returns a status, as above. */
KV_CHECKED int load_keep(struct load *load, struct window_slot *slot);
/* Do what was kept, all or nothing. Returns a status. */
KV_CHECKED int load_all(struct load *load);
/* Give back what is kept still. */
void load_forget(struct load *load);

#endif
