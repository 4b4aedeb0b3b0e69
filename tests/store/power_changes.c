/* What a writer does in a session of power cuts. */
#include "store/base/record.h"
#include "tests/store/power.h"

#include <errno.h>
#include <stdlib.h>

enum { UNDER_WAY = 3 };

struct kv_store *power_store;

struct kv_ref power_ref(const struct power_writer *writer, struct history_place place)
{
    char key[16];

    history_name_key(place.key, key);
    return kv_ref_key(writer->namespaces[place.namespace], key, strlen(key));
}

static size_t choose_size(const struct power_session *session, struct test_random *random)
{
    if (session->kind.full)
        return 8 + test_random_below(random, 180000);
    switch (test_random_below(random, 48)) {
    case 0:
        return RECORD_CHUNK + 100; /* too large for the log */
    case 1:
    case 2:
        return 10000 + test_random_below(random, 30000);
    case 3:
    case 4:
        return RECORD_INLINE_MAX - 2 + test_random_below(random, 4);
    case 5:
    case 6:
    case 7:
    case 8:
        return 500; /* records of the same length */
    default:
        return 8 + test_random_below(random, 3000);
    }
}

/* ------------------------------------------------------------------------- the changes */

static void step_done(struct kv_change *change, int rc)
{
    struct power_step *last = change->arg;
    struct power_writer *writer = last->writer;

    for (struct power_step *step = last->joined ? last - 1 : last; step <= last; step++) {
        step->rc = rc;
        if (rc == 0 && writer->session->kind.durability == KV_DURABILITY_CLOSE)
            step->durable = record_io_position();
    }
    for (size_t i = 0; i < sizeof(last->changes) / sizeof(last->changes[0]); i++) {
        kv_value_unref(last->changes[i].value);
        last->changes[i].value = NULL;
    }
    sem_post(&writer->free);
}

static struct kv_change change_of(const struct power_writer *writer, const struct history_step *what)
{
    struct kv_change change = {.ref = power_ref(writer, what->at), .to = power_ref(writer, what->to)};

    change.attr.mode = what->number;
    switch (what->kind) {
    case HISTORY_PUT:
        change.kind = KV_PUT;
        if (kv_value_new(what->size, &change.value) < 0)
            abort();
        history_fill(what->id, change.value->data, what->size);
        change.expiry = what->id % 2 == 0 ? KV_EXPIRY_SET : KV_EXPIRY_KEEP; /* so that there is an index */
        change.expires_ns = what->id % 4 == 0 ? INT64_MAX - (int64_t)(what->id % 1000) : 0;
        break;
    case HISTORY_DELETE:
        change.kind = KV_DELETE;
        break;
    case HISTORY_END:
        change.kind = KV_SETATTR;
        change.expiry = KV_EXPIRY_SET;
        change.expires_ns = 1;
        break;
    case HISTORY_RENAME:
    case HISTORY_EXCHANGE:
        change.kind = KV_RENAME;
        change.flags = what->kind == HISTORY_EXCHANGE ? KV_EXCHANGE : 0;
        break;
    case HISTORY_CHMOD:
        change.kind = KV_SETATTR;
        change.attr_mask = KV_MODE;
        break;
    default:
        change.kind = KV_SETXATTR;
        change.xattr_name = "user.mark";
        change.xattr_name_size = strlen(change.xattr_name);
        change.xattr_value = &what->number;
        change.xattr_value_size = sizeof(what->number);
        break;
    }
    return change;
}

static void submit(struct power_writer *writer, struct power_step *step)
{
    step->changes[0] = change_of(writer, &step->what);
    step->changes[0].done = step_done;
    step->changes[0].arg = step;
    sem_wait(&writer->free);
    step->submitted = record_io_position();
    kv_submit(power_store, &step->changes[0]);
}

static bool is_of_nodes(const struct history_step *what)
{
    return what->kind == HISTORY_MAKE_LAST || what->kind == HISTORY_REMOVE_LAST;
}

static void make_or_remove_last(struct power_writer *writer, struct power_step *step)
{
    const struct power_session *session = writer->session;
    struct kv_node node;
    char name[16];

    history_name_namespace(writer->number, HISTORY_LAST, name);
    step->submitted = record_io_position();
    if (step->what.kind == HISTORY_MAKE_LAST)
        step->rc = kv_node_make(power_store, KV_NAMESPACE, session->account, name, 0, &node);
    else
        step->rc = kv_node_remove(power_store, session->account, name);
    if (step->rc == 0 && session->kind.durability == KV_DURABILITY_CLOSE)
        step->durable = record_io_position();
    if (step->rc == 0 && step->what.kind == HISTORY_MAKE_LAST)
        writer->namespaces[HISTORY_LAST] = node.id;
}

unsigned power_under_way(const struct power_writer *writer)
{
    return writer->session->kind.full || writer->number == POWER_ONE_SHOTS ? 1 : UNDER_WAY;
}

void power_wait_for_all(struct power_writer *writer)
{
    for (unsigned i = 0; i < power_under_way(writer); i++)
        sem_wait(&writer->free);
    for (unsigned i = 0; i < power_under_way(writer); i++)
        sem_post(&writer->free);
}

void power_note_durable(struct power_writer *writer)
{
    if (writer->count > 0 && writer->steps[writer->count - 1].durable == SIZE_MAX)
        writer->steps[writer->count - 1].durable = record_io_position();
}

/* What was refused since the map is full did not happen; whoever deletes is not refused. */
static bool was_refused(struct power_writer *writer, const struct power_step *step)
{
    if (!writer->session->kind.full || step->rc != -ENOSPC || step->what.kind == HISTORY_DELETE)
        return false;
    __atomic_add_fetch(&writer->session->no_space, 1, __ATOMIC_RELAXED);
    return true;
}

static struct power_step *choose_step(struct power_writer *writer)
{
    struct power_step *step = &writer->steps[writer->count];

    *step = (struct power_step){.writer = writer, .durable = SIZE_MAX};
    step->what = history_choose(&writer->made, &writer->random, writer->number,
                                (uint32_t)test_random_below(&writer->random, 1u << 30));
    step->what.size = choose_size(writer->session, &writer->random);
    return step;
}

/* Two steps, on the condition that a key is not there that is not: all of it is done, or none. returns  whether they
 * were made: nodes do not change so */
static bool change_together(struct power_writer *writer)
{
    const struct history_state before = writer->made;
    struct power_step *first, *last;

    if (writer->session->kind.full || writer->count + 2 > POWER_CHANGES)
        return false;
    first = choose_step(writer);
    if (is_of_nodes(&first->what))
        return false;
    history_apply(&writer->made, &first->what);
    writer->count++;
    last = choose_step(writer);
    if (is_of_nodes(&last->what)) {
        writer->made = before;
        writer->count--;
        return false;
    }
    last->joined = true;
    last->changes[0] = (struct kv_change){.kind = KV_CHECK, .conditional = true};
    last->changes[0].ref = kv_ref_key(writer->namespaces[0], "absent", 6);
    last->changes[1] = change_of(writer, &first->what);
    last->changes[2] = change_of(writer, &last->what);
    last->changes[2].done = step_done;
    last->changes[2].arg = last;
    sem_wait(&writer->free);
    first->submitted = last->submitted = record_io_position();
    kv_submit_all(power_store, last->changes, 3);
    history_apply(&writer->made, &last->what);
    writer->count++;
    if (power_under_way(writer) == 1)
        power_wait_for_all(writer);
    return true;
}

void power_change(struct power_writer *writer)
{
    struct power_step *step;

    if (test_random_below(&writer->random, 6) == 0 && change_together(writer))
        return;
    step = choose_step(writer);
    if (is_of_nodes(&step->what))
        make_or_remove_last(writer, step);
    else
        submit(writer, step);
    if (power_under_way(writer) == 1)
        power_wait_for_all(writer);
    if (was_refused(writer, step))
        return;
    history_apply(&writer->made, &step->what);
    writer->count++;
}
