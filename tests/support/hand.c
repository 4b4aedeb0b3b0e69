#include "tests/support/hand.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)

struct place_path {
    char text[MOUNT_PATH + 64];
};

struct hand hand_of(const struct mount_node *node, uint32_t writer, struct test_random *random,
                    const volatile bool *excused)
{
    struct hand hand = {node, writer, random, excused, malloc(HAND_VALUE_MAX + 1)};

    if (hand.bytes == NULL)
        abort();
    return hand;
}

void hand_stop(const struct hand *hand, const char *format, ...)
{
    va_list arguments;

    if (hand->excused != NULL && *hand->excused)
        _exit(0);
    printf("writer %u: ", hand->writer);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    fflush(stdout);
    _exit(1);
}

static struct place_path path_of(const struct hand *hand, struct history_place place, bool with_key)
{
    struct place_path path;
    char namespace[16], key[16] = "";

    history_name_namespace(hand->writer, place.namespace, namespace);
    if (with_key)
        history_name_key(place.key, key);
    snprintf(path.text, sizeof(path.text), "%s/a/%s/%s", hand->node->path, namespace, key);
    return path;
}

void hand_succeed(const struct hand *hand, long result, const char *what)
{
    if (result < 0)
        hand_stop(hand, "%s: %s", what, strerrorname_np(errno));
}

/* Some values come in parts, as a shell's redirection of a slow program does. */
static void write_parts(const struct hand *hand, int fd, size_t size)
{
    size_t part = test_random_below(hand->random, 3) == 0 ? size / 3 + 1 : size;

    for (size_t at = 0; at < size;) {
        ssize_t written = pwrite(fd, hand->bytes + at, size - at < part ? size - at : part, (off_t)at);

        hand_succeed(hand, written, "write");
        at += (size_t)written;
    }
}

/* returns whether it was synced */
static bool put(const struct hand *hand, const struct history_step *step)
{
    struct place_path path = path_of(hand, step->at, true);
    struct test_random *random = hand->random;
    bool truncates = test_random_below(random, 4) > 0, syncs = test_random_below(random, 4) == 0;
    int fd = open(path.text, O_WRONLY | O_CREAT | O_CLOEXEC | (truncates ? O_TRUNC : 0), step->number);

    hand_succeed(hand, fd, "open");
    history_fill(step->id, hand->bytes, step->size);
    write_parts(hand, fd, step->size);
    if (!truncates)
        hand_succeed(hand, ftruncate(fd, (off_t)step->size), "ftruncate");
    if (syncs)
        hand_succeed(hand, fsync(fd), "fsync");
    hand_succeed(hand, close(fd), "close");
    return syncs;
}

bool hand_do(const struct hand *hand, const struct history_step *step)
{
    struct place_path at = path_of(hand, step->at, true), to = path_of(hand, step->to, true);
    struct place_path last = path_of(hand, (struct history_place){HISTORY_LAST, 0}, false);

    switch (step->kind) {
    case HISTORY_PUT:
        return put(hand, step);
    case HISTORY_DELETE:
        hand_succeed(hand, unlink(at.text), "unlink");
        break;
    case HISTORY_END:
        hand_succeed(hand, setxattr(at.text, "user.kvfs.expires", "1", 1, 0), "setxattr of an expiry");
        break;
    case HISTORY_RENAME:
        hand_succeed(hand, rename(at.text, to.text), "rename");
        break;
    case HISTORY_EXCHANGE:
        hand_succeed(hand, renameat2(AT_FDCWD, at.text, AT_FDCWD, to.text, RENAME_EXCHANGE), "exchange");
        break;
    case HISTORY_CHMOD:
        hand_succeed(hand, chmod(at.text, step->number), "chmod");
        break;
    case HISTORY_MARK:
        hand_succeed(hand, setxattr(at.text, "user.mark", &step->number, sizeof(step->number), 0), "setxattr");
        break;
    case HISTORY_MAKE_LAST:
        hand_succeed(hand, mkdir(last.text, 0755), "mkdir");
        break;
    case HISTORY_REMOVE_LAST:
        hand_succeed(hand, rmdir(last.text), "rmdir");
        break;
    }
    return false;
}

size_t hand_choose_size(struct test_random *random)
{
    switch (test_random_below(random, 24)) {
    case 0:
        return HAND_VALUE_MAX - test_random_below(random, 3);
    case 1:
    case 2:
    case 3:
    case 4:
        return 20 * KIB + test_random_below(random, KIB);
    default:
        return HISTORY_VALUE_MIN + test_random_below(random, 200);
    }
}

bool hand_is_there(const struct hand *hand, struct history_place place)
{
    struct place_path path = path_of(hand, place, true);
    int fd = open(path.text, O_RDONLY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT)
        return false;
    hand_succeed(hand, fd, "open of what is there or not");
    close(fd);
    return true;
}

struct history_slot hand_read(const struct hand *hand, struct history_place place)
{
    struct place_path path = path_of(hand, place, true);
    struct history_slot slot = {0};
    struct stat attr;
    size_t size = 0;
    ssize_t got = 1;
    int fd = open(path.text, O_RDONLY | O_CLOEXEC);

    hand_succeed(hand, fd, "open to compare");
    while (got > 0) {
        got = read(fd, hand->bytes + size, HAND_VALUE_MAX + 1 - size);
        hand_succeed(hand, got, "read");
        size += (size_t)got;
    }
    hand_succeed(hand, fstat(fd, &attr), "fstat");
    if ((size_t)attr.st_size != size)
        hand_stop(hand, "%s: stat says %lld bytes, read %zu", path.text, (long long)attr.st_size, size);
    slot.mode = attr.st_mode & 07777;
    slot.id = history_id(hand->bytes, size);
    if (slot.id == 0)
        hand_stop(hand, "%s: %zu bytes that are no value that was ever written", path.text, size);
    if (fgetxattr(fd, "user.mark", &slot.mark, sizeof(slot.mark)) < 0 && errno != ENODATA)
        hand_stop(hand, "%s: getxattr: %s", path.text, strerrorname_np(errno));
    close(fd);
    return slot;
}

static void read_namespace(const struct hand *hand, unsigned namespace, struct history_state *state)
{
    struct place_path path = path_of(hand, (struct history_place){namespace, 0}, false);
    DIR *dir = opendir(path.text);
    struct dirent *entry;

    if (namespace == HISTORY_LAST)
        state->last_is_there = dir != NULL;
    if (dir == NULL && errno == ENOENT && namespace == HISTORY_LAST)
        return;
    if (dir == NULL)
        hand_stop(hand, "%s: %s", path.text, strerrorname_np(errno));
    while (errno = 0, (entry = readdir(dir)) != NULL) {
        int key = history_key_of(entry->d_name);

        if (entry->d_name[0] == '.')
            continue;
        if (key < 0)
            hand_stop(hand, "%s has a key %s", path.text, entry->d_name);
        state->slots[namespace][key] = hand_read(hand, (struct history_place){namespace, (unsigned)key});
    }
    if (errno != 0)
        hand_stop(hand, "%s: readdir: %s", path.text, strerrorname_np(errno));
    closedir(dir);
}

void hand_say(const char *what, const struct history_state *state)
{
    printf("  %s: %s\n", what, state->last_is_there ? "with the last namespace" : "without the last namespace");
    for (unsigned i = 0; i < HISTORY_NAMESPACES; i++)
        for (unsigned j = 0; j < HISTORY_KEYS; j++)
            if (state->slots[i][j].id != 0)
                printf("    %c/%u: value %" PRIx64 ", mode %o, mark %u\n", 'a' + (char)i, j, state->slots[i][j].id,
                       state->slots[i][j].mode, state->slots[i][j].mark);
}

void hand_read_all(const struct hand *hand, struct history_state *state)
{
    *state = (struct history_state){0};
    for (unsigned i = 0; i < HISTORY_NAMESPACES; i++)
        read_namespace(hand, i, state);
}
