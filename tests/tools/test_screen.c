/* kvctl top: figures as a daemon tells them, and the screen that is made of them, whatever they are. */
#include "tests/support/store.h"
#include "tools/kvctl/screen.h"

#include <stdio.h>
#include <stdlib.h>

static const char told[] =
    "# HELP kvfs_keys Keys.\n"
    "# TYPE kvfs_keys gauge\n"
    "kvfs_node_info{mount=\"/m\",node=\"a\\\"b\\\\,\",store=\"/s\",mode=\"rw\",version=\"1\"} 1\n"
    "kvfs_keys{mount=\"/m\"} 3\n"
    "kvfs_account_used_bytes{mount=\"/m\",account=\"x\033[2Jy\"} 5\n"
    "kvfs_broken{mount=\"/m\" 4\n"
    "kvfs_broken{mount=\"/m\"} four\n"
    "kvfs_broken 4\n"
    "kvfs_put_seconds_bucket{mount=\"/m\",le=\"0.001\"} 10\n"
    "kvfs_put_seconds_bucket{mount=\"/m\",le=\"0.002\"} 20\n"
    "kvfs_put_seconds_bucket{mount=\"/m\",le=\"+Inf\"} 20\n"
    "kvfs_put_seconds_count{mount=\"/m\"} 20\n";

static struct figures figures_of(const char *text)
{
    struct figures figures;

    assert_int_equal(figures_parse(&figures, text), 0);
    return figures;
}

static void figures_are_found_by_name_and_label(void **state)
{
    struct figures figures = figures_of(told), none = {.items = NULL};
    char text[16];

    (void)state;
    assert_true(figures_have(&figures, "kvfs_keys"));
    assert_false(figures_have(&figures, "kvfs_broken"));
    assert_true(figures_value(&figures, "kvfs_keys", NULL, NULL) == 3);
    assert_true(figures_value(&figures, "kvfs_put_seconds_bucket", "le", "0.002") == 20);
    assert_true(figures_value(&figures, "kvfs_put_seconds_bucket", "le", "9") == 0);
    assert_true(figures_label(figures.items[0].labels, "node", text, sizeof(text)));
    assert_string_equal(text, "a\"b\\,");
    assert_true(figures_label(figures.items[0].labels, "version", text, sizeof(text)));
    assert_string_equal(text, "1");
    assert_false(figures_label(figures.items[0].labels, "od", text, sizeof(text)));
    assert_true(figures_quantile(&figures, &none, "kvfs_put_seconds", 0.75) > 0.00149);
    assert_true(figures_quantile(&figures, &none, "kvfs_put_seconds", 0.75) < 0.00151);
    assert_true(figures_quantile(&figures, &figures, "kvfs_put_seconds", 0.75) == 0);
    figures_free(&figures);
}

static void nothing_but_printable_symbols_is_shown(void **state)
{
    struct screen_mount mount = {.point = "/m\033[31m",
                                 .figures = figures_of(told),
                                 .errors = "2026-01-01T00:00:00Z a\a\n2026-01-02T00:00:00Z \xff\n"};
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    (void)state;
    assert_non_null(out);
    assert_int_equal(screen_write(out, &mount, 1, 0, 0, 0), 0);
    assert_int_equal(fclose(out), 0);
    assert_non_null(strstr(text, "/m?[31m  rw  node a\"b\\,"));
    assert_non_null(strstr(text, "\nx?[2Jy "));
    assert_non_null(strstr(text, "\n2026-01-02T00:00:00Z ?\n"));
    for (const char *c = text; *c != '\0'; c++)
        assert_true(*c == '\n' || (*c >= ' ' && *c <= '~'));
    free(text);
    figures_free(&mount.figures);
}

/* 100 accounts and 100 errors. */
static void a_screen_is_no_larger_than_the_terminal(void **state)
{
    struct screen_mount mount = {.point = "/m"};
    char *stats = NULL, *errors = NULL, *text;
    unsigned lines, column, longest;
    size_t size;
    FILE *out = open_memstream(&stats, &size), *more = open_memstream(&errors, &size);

    (void)state;
    for (int i = 0; i < 100; i++) {
        fprintf(out, "kvfs_account_used_bytes{mount=\"/m\",account=\"account%d\"} %d\n", i, i);
        fprintf(more, "2026-01-01T00:00:%02dZ %0150d\n", i % 60, i);
    }
    fprintf(out, "%s", told);
    assert_int_equal(fclose(out) + fclose(more), 0);
    mount.figures = figures_of(stats);
    mount.errors = errors;
    for (unsigned rows = 1; rows < 60; rows++) {
        out = open_memstream(&text, &size);
        assert_int_equal(screen_write(out, &mount, 1, rows, 80, 0), 0);
        assert_int_equal(fclose(out), 0);
        lines = column = longest = 0;
        for (const char *c = text; *c != '\0'; c++) {
            column = *c == '\n' ? 0 : column + 1;
            lines += *c == '\n';
            longest = column > longest ? column : longest;
        }
        assert_true(lines <= rows);
        assert_true(longest <= 80);
        if (rows >= 24) {
            assert_non_null(strstr(text, "\naccount99 "));
            assert_non_null(strstr(text, "\n2026-01-01T00:00:59Z "));
        }
        free(text);
    }
    figures_free(&mount.figures);
    free(stats);
    free(errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_found_by_name_and_label),
        cmocka_unit_test(nothing_but_printable_symbols_is_shown),
        cmocka_unit_test(a_screen_is_no_larger_than_the_terminal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
