/* Which requests are served now: whatever may wait for a commit never takes more than its share, users take turns, and
 * nothing is lost or overtaken by a later change of the same user. */
#include "fs/transport/changes_internal.h"
#include "fs/transport/loop.h"

#include "fs/base/ledger.h"
#include "tests/support/setting.h"

#include <setjmp.h>
#include <stdarg.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { USERS = 5, STEPS = 200000, MANY = 1000 };

static struct changes changes;

/* A request, and a number in it by which it is known again. */
struct request {
    struct fuse_in_header header;
    union {
        struct fuse_open_in open;
        unsigned number;
    };
};

static struct request request_of(uint32_t opcode, uid_t uid, unsigned number)
{
    return (struct request){.header = {.len = sizeof(struct request), .opcode = opcode, .uid = uid},
                            .number = number};
}

/* returns  true: it is served now */
static bool enter(struct request *request, struct changes_user **user)
{
    const struct fuse_buf buf = {.mem = request, .size = sizeof(*request)};

    return changes_enter_locked(&changes, &buf, NULL, user) == CHANGES_SERVE;
}

static bool enter_change(uid_t uid, unsigned number, struct changes_user **user)
{
    struct request request = request_of(FUSE_SETATTR, uid, number);

    return enter(&request, user);
}

/* End a change of the user. returns the number of the one that is served next; -1 none */
static int end(struct changes_user **user, uid_t *uid)
{
    struct change *change = changes_next_locked(&changes, user);
    struct request request;

    if (change == NULL)
        return -1;
    assert_int_equal(change->size, sizeof(request));
    memcpy(&request, change->bytes, sizeof(request));
    free(change);
    *uid = request.header.uid;
    return (int)request.number;
}

static enum changes_verdict enter_by_ring(uint32_t opcode, uid_t uid, sem_t *turn, struct changes_user **user)
{
    struct request request = request_of(opcode, uid, 0);

    return changes_enter_locked(&changes, &(struct fuse_buf){.mem = &request, .size = sizeof(request)}, turn,
                                user);
}

/* End a change of the user. returns the turn that comes next, or NULL */
static sem_t *end_by_ring(struct changes_user **user)
{
    struct change *change = changes_next_locked(&changes, user);
    sem_t *turn = change != NULL ? change->turn : NULL;

    free(change);
    return turn;
}

static void expect_empty(void)
{
    assert_int_equal(changes.aside, 0);
    assert_int_equal(changes.running, 0);
    assert_null(changes.users);
    assert_null(changes.turns);
}

static void reads_are_always_served(void **state)
{
    static const uint32_t reads[] = {FUSE_LOOKUP,      FUSE_GETATTR, FUSE_READ,         FUSE_WRITE,
                                     FUSE_READDIRPLUS, FUSE_FORGET,  FUSE_BATCH_FORGET, FUSE_INTERRUPT,
                                     FUSE_GETXATTR,    FUSE_SETLKW,  FUSE_OPENDIR};
    struct changes_user *running[MANY], *user;
    unsigned served = 0;
    uid_t uid;

    (void)state;
    for (unsigned i = 0; i < MANY; i++)
        served += enter_change(i % USERS, i, &running[served]);
    assert_int_equal(served, FS_CHANGES);
    for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++) {
        struct request request = request_of(reads[i], 1, 0);

        assert_true(enter(&request, &user));
        assert_null(user);
    }
    for (unsigned i = 0; i < served; i++)
        while (end(&running[i], &uid) >= 0)
            ;
    expect_empty();
}

static void an_open_that_can_change_something_is_a_change(void **state)
{
    static const int reads[] = {O_RDONLY, O_RDONLY | O_APPEND, O_RDONLY | O_DIRECT};
    static const int writes[] = {O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC, O_WRONLY | O_APPEND};
    struct request request = request_of(FUSE_OPEN, 1, 0);
    struct changes_user *user;
    uid_t uid;

    (void)state;
    for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++) {
        request.open.flags = (uint32_t)reads[i];
        assert_true(enter(&request, &user));
        assert_null(user);
    }
    for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
        request.open.flags = (uint32_t)writes[i];
        assert_true(enter(&request, &user));
        assert_non_null(user);
        assert_int_equal(end(&user, &uid), -1);
    }
    expect_empty();
}

static void one_user_leaves_half_to_the_others(void **state)
{
    struct changes_user *first[MANY], *second;
    unsigned served = 0;
    uid_t uid;

    (void)state;
    for (unsigned i = 0; i < MANY; i++)
        served += enter_change(1, i, &first[served]);
    assert_int_equal(served, FS_CHANGES / 2);
    assert_true(enter_change(2, 0, &second));
    assert_int_equal(end(&second, &uid), -1); /* user 1 has its half */
    for (unsigned i = 0; i < MANY - FS_CHANGES / 2; i++)
        assert_int_equal(end(&first[0], &uid), FS_CHANGES / 2 + i);
    for (unsigned i = 0; i < served; i++)
        assert_int_equal(end(&first[i], &uid), -1);
    expect_empty();
}

static void users_take_turns(void **state)
{
    struct changes_user *running[FS_CHANGES], *user;
    unsigned served = 0;
    uid_t uid;

    (void)state;
    for (unsigned i = 0; i < FS_CHANGES; i++)
        assert_true(enter_change(1 + i % 2, i, &running[served++]));
    for (unsigned i = 0; i < 100; i++)
        assert_false(enter_change(3, i, &user));
    assert_false(enter_change(4, 0, &user)); /* it does not wait behind the hundred */
    assert_int_equal(end(&running[0], &uid), 0);
    assert_int_equal(uid, 3);
    assert_int_equal(end(&running[1], &uid), 0);
    assert_int_equal(uid, 4);
    for (unsigned i = 0; i < served; i++)
        while (end(&running[i], &uid) >= 0)
            ;
    expect_empty();
}

static void whatever_happens_all_are_served_in_order(void **state)
{
    struct changes_user *running[2 * FS_CHANGES];
    unsigned of_user[USERS] = {0}, entered[USERS] = {0}, taken[USERS] = {0}, served = 0;
    uid_t uids[2 * FS_CHANGES];

    (void)state;
    srand((unsigned)test_seed());
    for (unsigned step = 0; step < STEPS || served > 0; step++) {
        uid_t uid = (uid_t)rand() % USERS;
        bool comes = step < STEPS && rand() % (step / 1000 % 2 == 0 ? 3 : 2) != 0;

        if (comes) {
            bool now = enter_change(uid, entered[uid]++, &running[served]);

            assert_int_equal(now, served < FS_CHANGES && of_user[uid] < FS_CHANGES / 2);
            taken[uid] += now;
            of_user[uid] += now;
            uids[served] = uid;
            served += now;
        } else if (served > 0) {
            unsigned i = (unsigned)rand() % served;
            int number;

            of_user[uids[i]]--;
            number = end(&running[i], &uids[i]);
            if (number < 0) {
                running[i] = running[--served];
                uids[i] = uids[served];
            } else {
                assert_int_equal(number, taken[uids[i]]++);
                of_user[uids[i]]++;
            }
        }
        for (uid_t i = 0; i < USERS; i++)
            assert_true(of_user[i] <= FS_CHANGES / 2);
    }
    assert_memory_equal(entered, taken, sizeof(taken));
    expect_empty();
}

static void a_ring_waits_for_its_turn_and_only_so_many_do(void **state)
{
    static sem_t turns[CHANGES_ASIDE_MAX]; /* only their places count */
    struct changes_user *first[FS_CHANGES / 2], *user, *waiting;
    unsigned most = CHANGES_ASIDE_MAX / 2;

    (void)state;
    for (unsigned i = 0; i < FS_CHANGES / 2; i++)
        assert_int_equal(enter_by_ring(FUSE_FLUSH, 1, &turns[0], &first[i]), CHANGES_SERVE);
    for (unsigned i = 0; i < most; i++)
        assert_int_equal(enter_by_ring(FUSE_FLUSH, 1, &turns[i], &waiting), CHANGES_ASIDE);
    assert_int_equal(enter_by_ring(FUSE_FLUSH, 1, &turns[0], &user), CHANGES_REFUSE);
    assert_int_equal(enter_by_ring(FUSE_RELEASE, 1, &turns[most], &user), CHANGES_ASIDE); /* it gives back */
    assert_int_equal(enter_by_ring(FUSE_LOOKUP, 1, &turns[0], &user), CHANGES_SERVE);
    assert_null(user);
    assert_int_equal(enter_by_ring(FUSE_FLUSH, 2, &turns[0], &user), CHANGES_SERVE);
    assert_null(end_by_ring(&user));
    for (unsigned i = 0; i <= most; i++) {
        assert_ptr_equal(end_by_ring(&first[0]), &turns[i]);
        assert_ptr_equal(first[0], waiting);
    }
    for (unsigned i = 0; i < FS_CHANGES / 2; i++)
        assert_null(end_by_ring(&first[i]));
    expect_empty();
}

static void users_who_wait_leave_room_for_others_until_there_is_none(void **state)
{
    struct changes_user *running[FS_CHANGES], *user;
    unsigned aside = 0, uid = 3;
    sem_t turn; /* never posted */

    (void)state;
    for (unsigned i = 0; i < FS_CHANGES; i++)
        assert_int_equal(enter_by_ring(FUSE_FLUSH, i % 2, &turn, &running[i]), CHANGES_SERVE);
    while (enter_by_ring(FUSE_FLUSH, aside % 2, &turn, &user) == CHANGES_ASIDE)
        aside++;
    assert_in_range(aside, CHANGES_ASIDE_MAX / 2, CHANGES_ASIDE_MAX - 100);
    while (enter_by_ring(FUSE_FLUSH, uid++, &turn, &user) == CHANGES_ASIDE)
        aside++;
    assert_int_equal(aside, CHANGES_ASIDE_MAX);
    for (unsigned i = 0; i < FS_CHANGES; i++)
        while (end_by_ring(&running[i]) != NULL)
            ;
    expect_empty();
}

static void a_ledger_keeps_to_its_limits(void **state)
{
    struct fs_ledger *ledger;

    (void)state;
    assert_int_equal(fs_ledger_new(&ledger), 0);
    assert_int_equal(fs_ledger_charge(ledger, 7, FS_LOCKS, 3, 5), 0);
    assert_int_equal(fs_ledger_charge(ledger, 7, FS_LOCKS, 3, 5), -EDQUOT);
    assert_int_equal(fs_ledger_charge(ledger, 7, FS_LOCKS, 2, 5), 0);
    assert_int_equal(fs_ledger_charge(ledger, 7, FS_LOCKS, 1, 5), -EDQUOT);
    assert_int_equal(fs_ledger_charge(ledger, 7, FS_LOCKS, UINT64_MAX, 5), -EDQUOT);
    assert_int_equal(fs_ledger_charge(ledger, 7, FS_HANDLES, 5, 5), 0); /* another resource */
    assert_int_equal(fs_ledger_charge(ledger, 8, FS_LOCKS, 5, 5), 0);   /* another user */
    assert_int_equal(fs_ledger_charge(ledger, 7, FS_LOCKS, 100, UINT64_MAX), 0);
    assert_int_equal(fs_ledger_used(ledger, 7, FS_LOCKS), 105);
    fs_ledger_release(ledger, 7, FS_LOCKS, 104);
    assert_int_equal(fs_ledger_used(ledger, 7, FS_LOCKS), 1);
    assert_int_equal(fs_ledger_charge(ledger, 7, FS_LOCKS, 4, 5), 0);
    fs_ledger_release(ledger, 7, FS_LOCKS, 5);
    assert_int_equal(fs_ledger_used(ledger, 7, FS_LOCKS), 0);
    assert_int_equal(fs_ledger_used(ledger, 7, FS_HANDLES), 5);
    assert_int_equal(fs_ledger_used(ledger, 9, FS_HANDLES), 0);
    fs_ledger_free(ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_are_always_served),
        cmocka_unit_test(an_open_that_can_change_something_is_a_change),
        cmocka_unit_test(one_user_leaves_half_to_the_others),
        cmocka_unit_test(users_take_turns),
        cmocka_unit_test(whatever_happens_all_are_served_in_order),
        cmocka_unit_test(a_ring_waits_for_its_turn_and_only_so_many_do),
        cmocka_unit_test(users_who_wait_leave_room_for_others_until_there_is_none),
        cmocka_unit_test(a_ledger_keeps_to_its_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
