#include "tests/support/history.h"

#include <stdio.h>
#include <stdlib.h>

static const struct history_slot absent;

static bool is_empty(const struct history_slot *slots)
{
    for (unsigned i = 0; i < HISTORY_KEYS; i++)
        if (slots[i].id != 0)
            return false;
    return true;
}

static struct history_place choose_place(const struct history_state *state, struct test_random *random)
{
    unsigned namespaces = state->last_is_there ? HISTORY_NAMESPACES : HISTORY_LAST;

    return (struct history_place){(unsigned)test_random_below(random, namespaces),
                                  (unsigned)test_random_below(random, HISTORY_KEYS)};
}

struct history_step history_choose(const struct history_state *state, struct test_random *random, uint32_t writer,
                                   uint32_t number)
{
    struct history_step step = {
        .kind = HISTORY_PUT, .at = choose_place(state, random), .to = choose_place(state, random)};
    bool there = state->slots[step.at.namespace][step.at.key].id != 0;
    size_t dice = test_random_below(random, 100);

    if (dice < 4 && is_empty(state->slots[HISTORY_LAST]))
        step.kind = state->last_is_there ? HISTORY_REMOVE_LAST : HISTORY_MAKE_LAST;
    else if (dice < 50 && there)
        step.kind = dice < 14   ? HISTORY_DELETE
                    : dice < 20 ? HISTORY_END
                    : dice < 28 ? HISTORY_RENAME
                    : dice < 34 ? HISTORY_EXCHANGE
                    : dice < 42 ? HISTORY_CHMOD
                                : HISTORY_MARK;
    if (step.kind == HISTORY_EXCHANGE && state->slots[step.to.namespace][step.to.key].id == 0)
        step.kind = HISTORY_RENAME;
    if (step.kind == HISTORY_RENAME && memcmp(&step.at, &step.to, sizeof(step.at)) == 0)
        step.kind = HISTORY_DELETE;
    if (step.kind == HISTORY_PUT)
        step.id = (uint64_t)(writer + 1) << 32 | number;
    step.number = step.kind == HISTORY_MARK ? number : 0600 | (uint32_t)test_random_below(random, 0200);
    return step;
}

void history_apply(struct history_state *state, const struct history_step *step)
{
    struct history_slot *at = &state->slots[step->at.namespace][step->at.key];
    struct history_slot *to = &state->slots[step->to.namespace][step->to.key], other = *to;

    switch (step->kind) {
    case HISTORY_PUT:
        if (at->id == 0)
            at->mode = step->number;
        at->id = step->id;
        break;
    case HISTORY_DELETE:
    case HISTORY_END:
        *at = absent;
        break;
    case HISTORY_RENAME:
        *to = *at;
        *at = absent;
        break;
    case HISTORY_EXCHANGE:
        *to = *at;
        *at = other;
        break;
    case HISTORY_CHMOD:
        at->mode = step->number;
        break;
    case HISTORY_MARK:
        at->mark = step->number;
        break;
    case HISTORY_MAKE_LAST:
    case HISTORY_REMOVE_LAST:
        state->last_is_there = step->kind == HISTORY_MAKE_LAST;
        break;
    }
}

bool history_same(const struct history_state *a, const struct history_state *b)
{
    return a->last_is_there == b->last_is_there && memcmp(a->slots, b->slots, sizeof(a->slots)) == 0;
}

void history_fill(uint64_t id, void *bytes, size_t size)
{
    struct test_random random = {id ^ size};

    test_random_fill(&random, bytes, size);
    memcpy(bytes, &id, sizeof(id));
}

uint64_t history_id(const void *bytes, size_t size)
{
    uint64_t id;
    void *wanted;
    bool same;

    if (size < HISTORY_VALUE_MIN)
        return 0;
    memcpy(&id, bytes, sizeof(id));
    wanted = malloc(size);
    if (wanted == NULL)
        abort();
    history_fill(id, wanted, size);
    same = memcmp(bytes, wanted, size) == 0;
    free(wanted);
    return same ? id : 0;
}

void history_name_namespace(uint32_t writer, unsigned namespace, char *name)
{
    snprintf(name, 16, "w%u_%c", writer & 0xffff, 'a' + (char)namespace);
}

void history_name_key(unsigned key, char *name) { snprintf(name, 16, "key_%u", key); }

int history_key_of(const char *name)
{
    char wanted[16];

    for (unsigned key = 0; key < HISTORY_KEYS; key++) {
        history_name_key(key, wanted);
        if (strcmp(name, wanted) == 0)
            return (int)key;
    }
    return -1;
}
