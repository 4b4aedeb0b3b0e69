#include "tests/fuzz/pages.h"

#include "store/lmdb/format_internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pages pages;
static uint8_t *base; /* as they were */

void pages_take(const char *path, size_t size)
{
    int fd = open(path, O_RDONLY);

    FUZZ_CHECK(sysconf(_SC_PAGESIZE) == PAGE);
    pages.count = size / PAGE;
    base = malloc(size);
    pages.now = malloc(size);
    FUZZ_CHECK(base != NULL && pages.now != NULL && fd >= 0 && pread(fd, base, size, 0) == (ssize_t)size);
    memcpy(pages.now, base, size);
    close(fd);
}

void pages_undo(void)
{
    for (unsigned i = 0; i < pages.touched_count; i++)
        memcpy(pages.now + pages.touched[i] * PAGE, base + pages.touched[i] * PAGE, PAGE);
}

static void set_u16(uint8_t *at, uint64_t value)
{
    uint16_t number = (uint16_t)value;

    memcpy(at, &number, sizeof(number));
}

static void set_u32(uint8_t *at, uint64_t value)
{
    uint32_t number = (uint32_t)value;

    memcpy(at, &number, sizeof(number));
}

static void set_u64(uint8_t *at, uint64_t value) { memcpy(at, &value, sizeof(value)); }

/* Near what was there, a number of a page, or one that programs get wrong. */
static uint64_t choose_number(struct fuzz_input *in, uint64_t was)
{
    static const uint64_t numbers[] = {0,        1,          2,          8,         16,         PAGE,
                                       PAGE - 1, 0x7fff,     0x8000,     0xffff,    0x10000,    INT32_MAX,
                                       1u << 31, UINT32_MAX, 1ull << 32, INT64_MAX, 1ull << 63, UINT64_MAX,
                                       511,      512,        2038,       2040,      4080,       4088};
    unsigned how = fuzz_u8(in);

    if (how < 100)
        return was + (uint64_t)(int64_t)(int8_t)fuzz_u8(in);
    if (how < 170)
        return fuzz_u8(in) % (pages.count + 2);
    if (how < 250)
        return numbers[how % (sizeof(numbers) / sizeof(numbers[0]))];
    return fuzz_u64(in);
}

static uint8_t *touch(size_t page)
{
    FUZZ_CHECK(pages.touched_count < sizeof(pages.touched) / sizeof(pages.touched[0]));
    pages.touched[pages.touched_count++] = page;
    return pages.now + page * PAGE;
}

static uint8_t *choose_page(struct fuzz_input *in) { return touch(fuzz_u16(in) % pages.count); }

/* A node of a page, at a place that it need not have; NULL: none fits. */
static uint8_t *choose_node(struct fuzz_input *in, uint8_t *page)
{
    unsigned lower = format_u16(page + 12), number = fuzz_u8(in), count;
    size_t at;

    if (lower < PAGE_HEADER + 2 || lower > PAGE)
        return NULL;
    count = (lower - PAGE_HEADER) / 2;
    at = PAGE_HEADER + 2 * (size_t)(number % count);
    at = at + 2 <= PAGE ? format_u16(page + at) : PAGE;
    return at + NODE_HEADER + 32 <= PAGE ? page + at : NULL;
}

static void change_byte(struct fuzz_input *in)
{
    uint8_t *page = choose_page(in);

    page[fuzz_u16(in) % PAGE] ^= (uint8_t)(1u << fuzz_below(in, 8));
}

static void change_flags(struct fuzz_input *in)
{
    uint8_t *page = choose_page(in);

    set_u16(page + 10, fuzz_u8(in) & 1 ? format_u16(page + 10) ^ 1u << fuzz_below(in, 16) : fuzz_u8(in));
}

static void change_bounds(struct fuzz_input *in)
{
    uint8_t *page = choose_page(in), *bound = page + 12 + 2 * fuzz_below(in, 2);

    set_u16(bound, choose_number(in, format_u16(bound)));
}

static void change_place(struct fuzz_input *in)
{
    uint8_t *page = choose_page(in), *place = page + PAGE_HEADER + 2 * fuzz_below(in, 40);
    const uint8_t *other = page + PAGE_HEADER + 2 * fuzz_below(in, 40);

    set_u16(place, fuzz_u8(in) & 1 ? format_u16(other) : choose_number(in, format_u16(place)));
}

static void swap_places(struct fuzz_input *in)
{
    uint8_t *page = choose_page(in), *one = page + PAGE_HEADER + 2 * fuzz_below(in, 40);
    uint8_t *other = page + PAGE_HEADER + 2 * fuzz_below(in, 40);
    uint16_t was = format_u16(one);

    set_u16(one, format_u16(other));
    set_u16(other, was);
}

static void change_node(struct fuzz_input *in)
{
    static const uint8_t places[] = {0, 2, 4,
                                     6}; /* of the size of the value two, its flags, the size of the key */
    uint8_t *node = choose_node(in, choose_page(in)), *field;

    if (node == NULL)
        return;
    field = node + places[fuzz_below(in, sizeof(places))];
    set_u16(field, choose_number(in, format_u16(field)));
}

/* One node gets what another one loses, so that their sum stays. */
static void shift_sizes(struct fuzz_input *in)
{
    uint8_t *page = choose_page(in), *one = choose_node(in, page), *other = choose_node(in, page);
    unsigned by = 2 * (1u + fuzz_below(in, 16));
    bool keys = fuzz_u8(in) & 1;

    if (one == NULL || other == NULL)
        return;
    if (keys) {
        set_u16(one + 6, format_u16(one + 6) + by);
        set_u16(other + 6, format_u16(other + 6) - by);
    } else {
        set_u32(one, format_u32(one) + by);
        set_u32(other, format_u32(other) - by);
    }
}

/* The value of a node: of a table its tree, of a large record its first page, of the free list its numbers. */
static void change_value(struct fuzz_input *in)
{
    uint8_t *page = choose_page(in), *node = choose_node(in, page), *word;
    size_t at;

    if (node == NULL)
        return;
    at = (size_t)(node - page) + NODE_HEADER + format_u16(node + 6) + 8u * fuzz_below(in, 8);
    if (at + 8 > PAGE)
        return;
    word = page + at;
    set_u64(word, choose_number(in, format_u64(word)));
}

static void change_number(struct fuzz_input *in)
{
    uint8_t *page = choose_page(in);

    set_u64(page, choose_number(in, format_u64(page)));
}

static void change_count(struct fuzz_input *in)
{
    uint8_t *page = choose_page(in);

    set_u32(page + 12, choose_number(in, format_u32(page + 12)));
}

static void copy_page(struct fuzz_input *in)
{
    uint8_t *to = choose_page(in);
    uint64_t number = format_u64(to);

    memmove(to, choose_page(in), PAGE);
    if (fuzz_u8(in) & 1)
        set_u64(to, number);
}

static void change_header(struct fuzz_input *in)
{
    static const uint8_t places[] = {META_MAGIC,
                                     META_VERSION,
                                     META_PAGE_SIZE,
                                     META_TREES + TREE_FLAGS,
                                     META_TREES + TREE_DEPTH,
                                     META_TREES + TREE_ENTRIES,
                                     META_TREES + TREE_ROOT,
                                     META_TREES + TREE_SIZE,
                                     META_TREES + TREE_SIZE + TREE_FLAGS,
                                     META_TREES + TREE_SIZE + TREE_DEPTH,
                                     META_TREES + TREE_SIZE + TREE_ENTRIES,
                                     META_TREES + TREE_SIZE + TREE_ROOT,
                                     META_LAST,
                                     META_TXN,
                                     META_VERSION + 4,
                                     META_VERSION + 12};
    uint8_t *at = touch(fuzz_below(in, 2)) + places[fuzz_below(in, sizeof(places))];

    if (fuzz_u8(in) & 1)
        set_u16(at, choose_number(in, format_u16(at)));
    else
        set_u64(at, choose_number(in, format_u64(at)));
}

bool pages_damage(struct fuzz_input *in)
{
    static void (*const kinds[])(struct fuzz_input *) = {
        change_byte, change_flags, change_bounds, change_place,  swap_places,  change_node, change_node,
        shift_sizes, change_value, change_value,  change_number, change_count, copy_page,   change_header,
    };
    unsigned times = 1 + fuzz_below(in, 6);
    bool changed = false;

    for (unsigned i = 0; i < times && in->left > 0; i++)
        kinds[fuzz_below(in, sizeof(kinds) / sizeof(kinds[0]))](in);
    for (unsigned i = 0; i < pages.touched_count; i++)
        changed |= memcmp(pages.now + pages.touched[i] * PAGE, base + pages.touched[i] * PAGE, PAGE) != 0;
    return changed;
}
