/* Names: the rules, and the packing of keys. */
#include "tests/support/store.h"

#include "store/base/name.h"

#include <errno.h>
#include <stdlib.h>

static const char symbols[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

static bool is_symbol(unsigned char c) { return c != '\0' && strchr(symbols, c) != NULL; }

static int check(enum kv_name_kind kind, const char *name) { return kv_name_check(kind, name, strlen(name)); }

/* A name of `size` letters. */
static int check_size(enum kv_name_kind kind, size_t size)
{
    char name[1024];

    memset(name, 'x', sizeof(name));
    return kv_name_check(kind, name, size);
}

/* -------------------------------------------------------------------- rules */

static void keys_have_1_to_512_symbols(void **state)
{
    (void)state;
    assert_int_equal(check_size(KV_NAME_KEY, 0), -EINVAL);
    assert_int_equal(check_size(KV_NAME_KEY, 1), 0);
    assert_int_equal(check_size(KV_NAME_KEY, 64), 0);
    assert_int_equal(check_size(KV_NAME_KEY, 65), 0);
    assert_int_equal(check_size(KV_NAME_KEY, 512), 0);
    assert_int_equal(check_size(KV_NAME_KEY, 513), -ENAMETOOLONG);
    assert_int_equal(check_size(KV_NAME_KEY, 1000), -ENAMETOOLONG);
}

static void other_names_have_1_to_64_bytes(void **state)
{
    static const enum kv_name_kind kinds[] = {KV_NAME_ACCOUNT, KV_NAME_NAMESPACE, KV_NAME_PROJECT,
                                              KV_NAME_VARIABLE};

    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        assert_int_equal(check_size(kinds[i], 0), -EINVAL);
        assert_int_equal(check_size(kinds[i], 1), 0);
        assert_int_equal(check_size(kinds[i], 64), 0);
        assert_int_equal(check_size(kinds[i], 65), -ENAMETOOLONG);
        assert_int_equal(check_size(kinds[i], 512), -ENAMETOOLONG);
        assert_int_equal(check_size(kinds[i], 513), -ENAMETOOLONG);
    }
}

/* Every byte, as the first and as a later one, against the rule as the design states it. */
static void every_byte_is_allowed_exactly_where_the_rule_says(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        char first[] = {(char)byte, 'x'}, later[] = {'x', (char)byte};
        bool symbol = is_symbol((unsigned char)byte), digit = byte >= '0' && byte <= '9';

        assert_int_equal(kv_name_check(KV_NAME_KEY, first, 2), symbol ? 0 : -EINVAL);
        assert_int_equal(kv_name_check(KV_NAME_KEY, later, 2), symbol ? 0 : -EINVAL);
        for (int kind = KV_NAME_ACCOUNT; kind <= KV_NAME_PROJECT; kind++) {
            assert_int_equal(kv_name_check((enum kv_name_kind)kind, first, 2), symbol ? 0 : -EINVAL);
            assert_int_equal(kv_name_check((enum kv_name_kind)kind, later, 2),
                             symbol || byte == '-' ? 0 : -EINVAL);
        }
        assert_int_equal(kv_name_check(KV_NAME_VARIABLE, first, 2), symbol && !digit ? 0 : -EINVAL);
        assert_int_equal(kv_name_check(KV_NAME_VARIABLE, later, 2), symbol ? 0 : -EINVAL);
    }
}

static void names_that_people_try_are_refused(void **state)
{
    static const char *const names[] = {".",         "..",     ".projects", "a.b",   "a/b",    "/",   "a b",
                                        "caf\u00e9", "\u00fc", "a\n",       ".kvfs", "x.tmp~", "a:b", "*"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        for (int kind = KV_NAME_KEY; kind <= KV_NAME_VARIABLE; kind++)
            assert_int_equal(check((enum kv_name_kind)kind, names[i]), -EINVAL);
    assert_int_equal(kv_name_check(KV_NAME_KEY, "a\0b", 3), -EINVAL);
    assert_int_equal(kv_name_check(KV_NAME_ACCOUNT, "a\0b", 3), -EINVAL);
    assert_int_equal(check(KV_NAME_KEY, "a-b"), -EINVAL);
    assert_int_equal(check(KV_NAME_ACCOUNT, "-a"), -EINVAL);
    assert_int_equal(check(KV_NAME_NAMESPACE, "-"), -EINVAL);
    assert_int_equal(check(KV_NAME_PROJECT, "a-b-"), 0);
    assert_int_equal(check(KV_NAME_VARIABLE, "a-b"), -EINVAL);
    assert_int_equal(check(KV_NAME_VARIABLE, "1a"), -EINVAL);
    assert_int_equal(check(KV_NAME_VARIABLE, "_1"), 0);
}

/* ENAMETOOLONG promises that a shorter name of the same kind would do. */
static void a_long_name_with_a_bad_byte_is_invalid_not_too_long(void **state)
{
    char name[600];

    (void)state;
    memset(name, 'x', sizeof(name));
    name[599] = '.';
    for (int kind = KV_NAME_KEY; kind <= KV_NAME_VARIABLE; kind++)
        assert_int_equal(kv_name_check((enum kv_name_kind)kind, name, sizeof(name)), -EINVAL);
}

/* An entry stands for itself, or for all that begins so; nothing else is refused. */
static void variables_that_programs_obey_are_not_safe(void **state)
{
    static const char *const obeyed[] = {"PATH", "LD_", "LD_PRELOAD", "PYTHONPATH", "PYTHON", "_"};
    static const char *const safe[] = {"PATHS", "MY_PATH", "LD", "ld_preload", "my_kv", "__", "Path"};

    (void)state;
    for (size_t i = 0; i < sizeof(obeyed) / sizeof(obeyed[0]); i++)
        assert_false(kv_variable_is_safe(obeyed[i], strlen(obeyed[i])));
    for (size_t i = 0; i < sizeof(safe) / sizeof(safe[0]); i++)
        assert_true(kv_variable_is_safe(safe[i], strlen(safe[i])));
    assert_false(kv_variable_is_safe("PATHS", 4));
}

static void every_kind_has_a_rule_in_words(void **state)
{
    (void)state;
    for (int kind = KV_NAME_KEY; kind <= KV_NAME_VARIABLE; kind++) {
        const char *rule = kv_name_rule((enum kv_name_kind)kind);

        assert_non_null(strstr(rule, kind == KV_NAME_KEY ? "1 to 512" : "1 to 64"));
    }
}

/* ------------------------------------------------------------------ packing */

static int sign(int value) { return (value > 0) - (value < 0); }

/* As engines compare: memcmp, and a prefix comes first. */
static int compare_packed(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);

    return sign(order != 0 ? order : (a_size > b_size) - (a_size < b_size));
}

static size_t pack(const char *key, uint8_t *out)
{
    int size = name_pack(key, strlen(key), out);

    assert_true(size > 0);
    return (size_t)size;
}

static void packed_keys_order_as_strcmp_orders_keys(void **state)
{
    struct test_random random = {1};
    uint8_t packed_a[NAME_PACKED_MAX], packed_b[NAME_PACKED_MAX];
    char a[KV_KEY_MAX + 1], b[KV_KEY_MAX + 1];

    (void)state;
    for (int i = 0; i < 200000; i++) {
        size_t max = i % 10 == 0 ? KV_KEY_MAX : 8;
        size_t a_size = test_random_key(&random, max, a), b_size = test_random_key(&random, max, b);

        if (i % 2 == 0) { /* pairs that agree for a while say more */
            size_t same = test_random_below(&random, (a_size < b_size ? a_size : b_size) + 1);

            memcpy(b, a, same);
        }
        a_size = pack(a, packed_a);
        b_size = pack(b, packed_b);
        if (compare_packed(packed_a, a_size, packed_b, b_size) != sign(strcmp(a, b)))
            fail_msg("the order of %s and %s changed", a, b);
    }
}

static void all_pairs_of_symbols_keep_their_order(void **state)
{
    (void)state;
    for (size_t i = 0; symbols[i] != '\0'; i++)
        for (size_t j = 0; symbols[j] != '\0'; j++) {
            char a[] = {'q', symbols[i], '\0'}, b[] = {'q', symbols[j], '\0'};
            uint8_t packed_a[NAME_PACKED_MAX], packed_b[NAME_PACKED_MAX];
            size_t a_size = pack(a, packed_a), b_size = pack(b, packed_b);

            assert_int_equal(compare_packed(packed_a, a_size, packed_b, b_size), sign(strcmp(a, b)));
        }
}

static bool bit(const uint8_t *bytes, size_t at) { return bytes[at / 8] >> (7 - at % 8) & 1; }

static void prefixes_stay_prefixes_bit_by_bit(void **state)
{
    struct test_random random = {2};
    uint8_t whole[NAME_PACKED_MAX], part[NAME_PACKED_MAX];
    char key[KV_KEY_MAX + 1];

    (void)state;
    for (int i = 0; i < 2000; i++) {
        size_t size = test_random_key(&random, i % 20 == 0 ? KV_KEY_MAX : 20, key);
        size_t prefix = 1 + test_random_below(&random, size), packed;

        pack(key, whole);
        packed = (size_t)name_pack(key, prefix, part);
        for (size_t at = 0; at < prefix * 6; at++)
            assert_int_equal(bit(part, at), bit(whole, at));
        for (size_t at = prefix * 6; at < packed * 8; at++)
            assert_false(bit(part, at)); /* padding */
    }
}

static void symbols_take_6_bits_each_and_512_take_384_bytes(void **state)
{
    uint8_t packed[NAME_PACKED_MAX];
    char key[KV_KEY_MAX + 1];

    (void)state;
    memset(key, 'z', sizeof(key));
    for (size_t size = 1; size <= KV_KEY_MAX; size++)
        assert_int_equal(name_pack(key, size, packed), (size * 6 + 7) / 8);
    assert_int_equal(name_pack(key, 512, packed), 384);
    assert_int_equal(NAME_PACKED_MAX, 384);
}

static void expect_round_trip(const char *key, size_t size)
{
    uint8_t packed[NAME_PACKED_MAX];
    char back[KV_KEY_MAX + 1];
    int packed_size = name_pack(key, size, packed);

    assert_true(packed_size > 0);
    assert_int_equal(name_unpack(packed, (size_t)packed_size, back), size);
    assert_memory_equal(back, key, size);
    assert_int_equal(back[size], '\0');
}

static void every_single_symbol_survives_packing(void **state)
{
    (void)state;
    for (size_t i = 0; symbols[i] != '\0'; i++)
        expect_round_trip(&symbols[i], 1);
}

static void keys_of_every_length_survive_packing(void **state)
{
    struct test_random random = {3};
    char key[KV_KEY_MAX + 1];

    (void)state;
    for (size_t size = 1; size <= KV_KEY_MAX; size++) {
        for (size_t i = 0; i < size; i++)
            key[i] = symbols[test_random_below(&random, 63)];
        expect_round_trip(key, size);
        memset(key, '0', size);
        expect_round_trip(key, size);
        memset(key, 'z', size);
        expect_round_trip(key, size);
    }
}

static void packing_refuses_what_is_no_key(void **state)
{
    uint8_t packed[NAME_PACKED_MAX];
    char key[KV_KEY_MAX + 2];

    (void)state;
    memset(key, 'a', sizeof(key));
    assert_int_equal(name_pack(key, 0, packed), -EINVAL);
    assert_int_equal(name_pack(key, 513, packed), -EINVAL);
    for (int byte = 0; byte < 256; byte++)
        for (size_t at = 0; at < 5; at++) {
            char text[5] = {'a', 'a', 'a', 'a', 'a'};

            text[at] = (char)byte;
            assert_int_equal(name_pack(text, 5, packed), is_symbol((unsigned char)byte) ? 4 : -EINVAL);
        }
}

/* Whatever unpacks is the packing of what it unpacks to, so no two records can show the same key. */
static bool expect_unpack_is_exact(const uint8_t *bytes, size_t size)
{
    uint8_t again[NAME_PACKED_MAX];
    char key[KV_KEY_MAX + 1];
    int count = name_unpack(bytes, size, key);

    if (count < 0) {
        assert_int_equal(count, -EIO);
        return false;
    }
    assert_in_range(count, 1, KV_KEY_MAX);
    assert_int_equal(strlen(key), count);
    assert_int_equal(kv_name_check(KV_NAME_KEY, key, (size_t)count), 0);
    assert_int_equal(name_pack(key, (size_t)count, again), size);
    assert_memory_equal(again, bytes, size);
    return true;
}

static void unpacking_refuses_what_packing_never_makes(void **state)
{
    struct test_random random = {4};
    unsigned unpacked = 0, refused = 0;

    (void)state;
    for (int i = 0; i < 300000; i++) {
        size_t size = test_random_below(&random, i % 10 == 0 ? 400 : 7);
        uint8_t *bytes = malloc(size > 0 ? size : 1); /* exact, so that the sanitizer sees a read past it */

        assert_non_null(bytes);
        test_random_fill(&random, bytes, size);
        if (size > 0 && i % 3 == 0) /* padding that could be right */
            bytes[size - 1] &= (uint8_t)(0xff << test_random_below(&random, 8));
        if (expect_unpack_is_exact(bytes, size))
            unpacked++;
        else
            refused++;
        free(bytes);
    }
    assert_true(unpacked > 1000); /* both happened */
    assert_true(refused > 1000);
}

static void unpacking_judges_every_short_string_of_bytes(void **state)
{
    unsigned unpacked = 0;

    (void)state;
    for (unsigned bits = 0; bits < 1u << 16; bits++) {
        uint8_t bytes[] = {(uint8_t)(bits >> 8), (uint8_t)bits};

        unpacked += expect_unpack_is_exact(bytes, 2);
        if (bytes[1] == 0)
            unpacked += expect_unpack_is_exact(bytes, 1);
    }
    assert_int_equal(unpacked, 63 + 63 * 63);
}

static void a_damaged_packing_unpacks_to_its_own_key_or_not_at_all(void **state)
{
    struct test_random random = {5};
    uint8_t packed[NAME_PACKED_MAX];
    char key[KV_KEY_MAX + 1];

    (void)state;
    for (int i = 0; i < 20000; i++) {
        size_t size;

        test_random_key(&random, i % 20 == 0 ? KV_KEY_MAX : 12, key);
        size = pack(key, packed);
        packed[test_random_below(&random, size)] ^= (uint8_t)(1u << test_random_below(&random, 8));
        expect_unpack_is_exact(packed, size);
    }
}

static void more_than_512_symbols_do_not_unpack(void **state)
{
    uint8_t packed[NAME_PACKED_MAX + 3];
    char key[KV_KEY_MAX + 1];

    (void)state;
    memset(packed, 0xff, sizeof(packed));
    assert_int_equal(name_unpack(packed, 384, key), 512);
    assert_int_equal(name_unpack(packed, 385, key), -EIO);
    assert_int_equal(name_unpack(packed, 387, key), -EIO);
    packed[384] = 0;
    assert_int_equal(name_unpack(packed, 385, key), -EIO);
    assert_int_equal(name_unpack(packed, 0, key), -EIO);
}

/* ------------------------------------------------------------- record names */

static void integers_order_by_value_and_survive(void **state)
{
    static const uint64_t values[] = {0,          1,         255, 256, 65535, 65536, 1ull << 32, (1ull << 63) - 1,
                                      1ull << 63, UINT64_MAX};
    uint8_t before[8], bytes[8];

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        name_put_u64(bytes, values[i]);
        assert_true(name_get_u64(bytes) == values[i]);
        if (i > 0)
            assert_true(memcmp(before, bytes, 8) < 0);
        memcpy(before, bytes, 8);
    }
}

static void record_names_of_the_longest_names_fit_an_engine(void **state)
{
    char text[KV_KEY_MAX + 1];
    struct name name;

    (void)state;
    memset(text, 'z', sizeof(text));
    assert_int_equal(name_of_key(UINT64_MAX, text, KV_KEY_MAX, &name), 0);
    assert_true(name.size <= ENGINE_KEY_MAX);
    name_of_child(UINT64_MAX, text, KV_NAME_MAX, &name);
    assert_true(name.size <= ENGINE_KEY_MAX);
    assert_int_equal(name_of_key(1, "a.b", 3, &name), -EINVAL);
}

static void the_place_before_a_namespace_lies_between_its_neighbours(void **state)
{
    struct name last, place, first;

    (void)state;
    assert_int_equal(name_of_key(6, "zzzz", 4, &last), 0);
    assert_int_equal(name_of_key(7, "", 0, &place), 0);
    assert_int_equal(name_of_key(7, "0", 1, &first), 0);
    assert_int_equal(compare_packed(last.data, last.size, place.data, place.size), -1);
    assert_int_equal(compare_packed(place.data, place.size, first.data, first.size), -1);
}

static void references_carry_the_key_and_its_end(void **state)
{
    char text[600];
    struct kv_ref ref;

    (void)state;
    memset(text, 'k', sizeof(text));
    ref = kv_ref_key(9, text, 5);
    assert_int_equal(ref.node, 9);
    assert_int_equal(ref.size, 5);
    assert_string_equal(ref.key, "kkkkk");
    ref = kv_ref_key(9, text, sizeof(text));
    assert_int_equal(ref.size, KV_KEY_MAX);
    assert_int_equal(strlen(ref.key), KV_KEY_MAX);
    ref = kv_ref_node(9);
    assert_int_equal(ref.node, 9);
    assert_int_equal(ref.size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_have_1_to_512_symbols),
        cmocka_unit_test(other_names_have_1_to_64_bytes),
        cmocka_unit_test(every_byte_is_allowed_exactly_where_the_rule_says),
        cmocka_unit_test(names_that_people_try_are_refused),
        cmocka_unit_test(a_long_name_with_a_bad_byte_is_invalid_not_too_long),
        cmocka_unit_test(variables_that_programs_obey_are_not_safe),
        cmocka_unit_test(every_kind_has_a_rule_in_words),
        cmocka_unit_test(packed_keys_order_as_strcmp_orders_keys),
        cmocka_unit_test(all_pairs_of_symbols_keep_their_order),
        cmocka_unit_test(prefixes_stay_prefixes_bit_by_bit),
        cmocka_unit_test(symbols_take_6_bits_each_and_512_take_384_bytes),
        cmocka_unit_test(every_single_symbol_survives_packing),
        cmocka_unit_test(keys_of_every_length_survive_packing),
        cmocka_unit_test(packing_refuses_what_is_no_key),
        cmocka_unit_test(unpacking_refuses_what_packing_never_makes),
        cmocka_unit_test(unpacking_judges_every_short_string_of_bytes),
        cmocka_unit_test(a_damaged_packing_unpacks_to_its_own_key_or_not_at_all),
        cmocka_unit_test(more_than_512_symbols_do_not_unpack),
        cmocka_unit_test(integers_order_by_value_and_survive),
        cmocka_unit_test(record_names_of_the_longest_names_fit_an_engine),
        cmocka_unit_test(the_place_before_a_namespace_lies_between_its_neighbours),
        cmocka_unit_test(references_carry_the_key_and_its_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
