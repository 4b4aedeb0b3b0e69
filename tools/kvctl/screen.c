#include "tools/kvctl/screen.h"

#include "tools/kvctl/grow.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BLOCKS_MOST 10u /* lines of accounts and of errors, where there is any number of rows */

struct screen {
    const struct screen_mount *mounts;
    size_t count;
    double now_s;
    FILE *text; /* not cut, and with whatever bytes */
};

static double screen_value(const struct screen_mount *mount, const char *name)
{
    return figures_value(&mount->figures, name, NULL, NULL);
}

/* Seconds in which what rates are made of was counted. */
static double screen_seconds(const struct screen *screen, const struct screen_mount *mount)
{
    double up_s = screen->now_s - screen_value(mount, "kvfs_start_time_seconds");

    if (mount->before.count > 0)
        return mount->seconds > 0.001 ? mount->seconds : 0.001;
    return up_s > 1 ? up_s : 1;
}

/* How much a counter grew in them. */
static double screen_grown(const struct screen_mount *mount, const char *name, const char *label,
                           const char *value)
{
    double grown =
        figures_value(&mount->figures, name, label, value) - figures_value(&mount->before, name, label, value);

    return grown > 0 ? grown : 0;
}

static bool screen_info(const struct screen_mount *mount, const char *label, char *out, size_t size)
{
    for (size_t i = 0; i < mount->figures.count; i++)
        if (strcmp(mount->figures.items[i].name, "kvfs_node_info") == 0)
            return figures_label(mount->figures.items[i].labels, label, out, size);
    snprintf(out, size, "?");
    return false;
}

/* ------------------------------------------------------------------------- a mount */

struct screen_kind {
    char name[32];
    double rate;
};

static int screen_compare_kinds(const void *a, const void *b)
{
    const struct screen_kind *first = a, *second = b;

    return first->rate > second->rate ? -1 : first->rate < second->rate;
}

/* The kinds of requests of which there were most. */
static void screen_write_requests(const struct screen *screen, const struct screen_mount *mount)
{
    enum { KINDS = 64, SHOWN = 6 };
    struct screen_kind kinds[KINDS];
    double all = 0, seconds = screen_seconds(screen, mount);
    size_t count = 0;

    for (size_t i = 0; i < mount->figures.count && count < KINDS; i++) {
        const struct figure *figure = &mount->figures.items[i];
        struct screen_kind *kind = &kinds[count];

        if (strcmp(figure->name, "kvfs_fuse_requests_total") != 0 ||
            !figures_label(figure->labels, "kind", kind->name, sizeof(kind->name)))
            continue;
        kind->rate = screen_grown(mount, figure->name, "kind", kind->name) / seconds;
        all += kind->rate;
        count += kind->rate > 0;
    }
    qsort(kinds, count, sizeof(kinds[0]), screen_compare_kinds);
    fprintf(screen->text, "  requests %6.0f/s ", all);
    for (size_t i = 0; i < count && i < SHOWN; i++)
        fprintf(screen->text, " %s %.*f", kinds[i].name, kinds[i].rate < 10, kinds[i].rate);
    putc('\n', screen->text);
}

static void screen_write_latency(const struct screen *screen, const struct screen_mount *mount, const char *word,
                                 const char *name)
{
    double quantile[] = {0.5, 0.99}, grown;
    char count[64], shown[2][FIGURES_TEXT] = {"-", "-"};

    snprintf(count, sizeof(count), "%s_count", name);
    grown = screen_grown(mount, count, NULL, NULL);
    for (size_t i = 0; i < 2 && grown > 0; i++)
        (void)figures_time(figures_quantile(&mount->figures, &mount->before, name, quantile[i]), shown[i]);
    fprintf(screen->text, "  %-8s %6.0f/s  p50 %-8s p99 %s\n", word, grown / screen_seconds(screen, mount),
            shown[0], shown[1]);
}

static void screen_write_cache(const struct screen *screen, const struct screen_mount *mount)
{
    double hits = screen_grown(mount, "kvfs_cache_hits_total", NULL, NULL);
    double all = hits + screen_grown(mount, "kvfs_cache_misses_total", NULL, NULL);
    char bytes[FIGURES_TEXT], limit[FIGURES_TEXT];

    fputs("  cache    ", screen->text);
    if (all > 0)
        fprintf(screen->text, "%.1f%% hits, ", 100 * hits / all);
    fprintf(screen->text, "%s of %s, %.0f keys\n", figures_bytes(screen_value(mount, "kvfs_cache_bytes"), bytes),
            figures_bytes(screen_value(mount, "kvfs_cache_limit_bytes"), limit),
            screen_value(mount, "kvfs_cache_entries"));
}

static void screen_write_store(const struct screen *screen, const struct screen_mount *mount)
{
    char a[FIGURES_TEXT], b[FIGURES_TEXT], c[FIGURES_TEXT];

    fprintf(screen->text, "  queue    %.0f changes, %s   log %s of %s   checkpoint %s ago\n",
            screen_value(mount, "kvfs_queue_changes"),
            figures_time(screen_value(mount, "kvfs_queue_age_seconds"), a),
            figures_bytes(screen_value(mount, "kvfs_log_bytes"), b),
            figures_bytes(screen_value(mount, "kvfs_log_limit_bytes"), c),
            figures_time(screen_value(mount, "kvfs_checkpoint_age_seconds"), (char[FIGURES_TEXT]){""}));
    fprintf(screen->text, "  store    ");
    if (screen_value(mount, "kvfs_store_failed") > 0)
        fputs("FAILED: it takes no change   ", screen->text);
    if (figures_have(&mount->figures, "kvfs_keys"))
        fprintf(screen->text, "%.0f keys, %s   ", screen_value(mount, "kvfs_keys"),
                figures_bytes(screen_value(mount, "kvfs_data_bytes"), a));
    fprintf(screen->text, "database %s, %s free   ",
            figures_bytes(screen_value(mount, "kvfs_database_used_bytes"), a),
            figures_bytes(screen_value(mount, "kvfs_database_free_bytes"), b));
    fprintf(screen->text, "open %.0f\n", screen_value(mount, "kvfs_open_handles"));
}

static void screen_write_errors_of(const struct screen *screen, const struct screen_mount *mount)
{
    bool none = true;
    char kind[32];

    fputs("  errors  ", screen->text);
    for (size_t i = 0; i < mount->figures.count; i++) {
        const struct figure *figure = &mount->figures.items[i];

        if (strcmp(figure->name, "kvfs_errors_total") != 0 || figure->value <= 0 ||
            !figures_label(figure->labels, "errno", kind, sizeof(kind)))
            continue;
        fprintf(screen->text, " %s %.0f", kind, figure->value);
        none = false;
    }
    fputs(none ? " none\n" : "\n", screen->text);
}

static void screen_write_mount(const struct screen *screen, const struct screen_mount *mount)
{
    char mode[8], node[128], version[32], up[FIGURES_TEXT];

    if (mount->trouble != NULL)
        fprintf(screen->text, "%s  ** %s **\n", mount->point, mount->trouble);
    if (mount->figures.count == 0)
        return;
    (void)screen_info(mount, "mode", mode, sizeof(mode));
    (void)screen_info(mount, "node", node, sizeof(node));
    (void)screen_info(mount, "version", version, sizeof(version));
    if (mount->trouble == NULL)
        fprintf(screen->text, "%s  %s  node %s  kvfs %s  up %s\n", mount->point, mode, node, version,
                figures_time(screen->now_s - screen_value(mount, "kvfs_start_time_seconds"), up));
    screen_write_requests(screen, mount);
    screen_write_latency(screen, mount, "gets", "kvfs_get_seconds");
    screen_write_latency(screen, mount, "puts", "kvfs_put_seconds");
    screen_write_latency(screen, mount, "commits", "kvfs_commit_seconds");
    screen_write_cache(screen, mount);
    screen_write_store(screen, mount);
    screen_write_errors_of(screen, mount);
}

/* ------------------------------------------------------------------------- accounts */

struct screen_account {
    char name[KV_NAME_MAX + 1];
    double bytes, limit_bytes, keys;
};

/* By what they use. */
static int screen_compare_accounts(const void *a, const void *b)
{
    const struct screen_account *first = a, *second = b;

    return first->bytes > second->bytes ? -1 : first->bytes < second->bytes;
}

/* Is the store of a mount that of one before it? */
static bool screen_is_shown(const struct screen *screen, size_t which)
{
    char store[1024], other[1024];

    if (!screen_info(&screen->mounts[which], "store", store, sizeof(store)))
        return true;
    for (size_t i = 0; i < which; i++)
        if (screen_info(&screen->mounts[i], "store", other, sizeof(other)) && strcmp(store, other) == 0)
            return true;
    return false;
}

/* Collect the accounts of all stores.
 * *items   NULL before; to be freed, whatever is answered
 * returns  how many there are; -ENOMEM */
static ssize_t screen_accounts(const struct screen *screen, struct screen_account **items)
{
    size_t count = 0, room = 0;

    for (size_t m = 0; m < screen->count; m++) {
        const struct figures *figures = &screen->mounts[m].figures;

        for (size_t i = 0; i < figures->count && !screen_is_shown(screen, m); i++) {
            struct screen_account account = {.bytes = figures->items[i].value}, *more;

            if (strcmp(figures->items[i].name, "kvfs_account_used_bytes") != 0 ||
                !figures_label(figures->items[i].labels, "account", account.name, sizeof(account.name)))
                continue;
            account.limit_bytes = figures_value(figures, "kvfs_account_limit_bytes", "account", account.name);
            account.keys = figures_value(figures, "kvfs_account_keys", "account", account.name);
            more = grow(*items, count, &room, sizeof(*more));
            if (more == NULL)
                return -ENOMEM;
            *items = more;
            (*items)[count++] = account;
        }
    }
    if (count > 0)
        qsort(*items, count, sizeof(**items), screen_compare_accounts);
    return (ssize_t)count;
}

static void screen_write_accounts(const struct screen *screen, const struct screen_account *items, size_t count)
{
    char used[FIGURES_TEXT], limit[FIGURES_TEXT];

    fprintf(screen->text, "\n%-24s %10s %10s %6s %12s\n", "ACCOUNT", "USED", "LIMIT", "FULL", "KEYS");
    for (size_t i = 0; i < count; i++)
        fprintf(screen->text, "%-24s %10s %10s %5.1f%% %12.0f\n", items[i].name,
                figures_bytes(items[i].bytes, used), figures_bytes(items[i].limit_bytes, limit),
                items[i].limit_bytes > 0 ? 100 * items[i].bytes / items[i].limit_bytes : 0.0, items[i].keys);
}

/* --------------------------------------------------------------------------- errors */

/* Lines begin with their time. */
static int screen_compare_lines(const void *a, const void *b)
{
    const char *const *first = a, *const *second = b;

    return strncmp(*first, *second, sizeof("2000-01-01T00:00:00Z") - 1);
}

/* Collect the lines of all mounts, oldest first. *lines as *items above. returns how many there are; -ENOMEM */
static ssize_t screen_errors(const struct screen *screen, const char ***lines)
{
    size_t count = 0, room = 0;

    for (size_t m = 0; m < screen->count; m++)
        for (const char *line = screen->mounts[m].errors; line != NULL && *line != '\0';
             line += strcspn(line, "\n"), line += *line == '\n') {
            const char **more = grow(*lines, count, &room, sizeof(*more));

            if (more == NULL)
                return -ENOMEM;
            *lines = more;
            (*lines)[count++] = line;
        }
    if (count > 0)
        qsort(*lines, count, sizeof(**lines), screen_compare_lines);
    return (ssize_t)count;
}

/* ----------------------------------------------------------------------- the screen */

/* Lines of the blocks below the mounts: of what is left each has half, and what the other does not need. */
static void screen_share(unsigned left, size_t *accounts, size_t *errors)
{
    size_t each = left > 4 ? (left - 4) / 2 : 0; /* an empty line and a heading belong to each */
    size_t spare = *errors < each ? each - *errors : 0;

    *accounts = *accounts < each + spare ? *accounts : each + spare;
    spare = left > 4 + *accounts ? left - 4 - *accounts : 0;
    *errors = *errors < spare ? *errors : spare;
}

static size_t screen_lines(const char *text)
{
    size_t lines = 0;

    for (; *text != '\0'; text++)
        lines += *text == '\n';
    return lines;
}

/* Nothing but printable ASCII, as much as fits. */
static void screen_copy(FILE *out, const char *text, unsigned rows, unsigned columns)
{
    unsigned row = 0, column = 0;

    for (; *text != '\0' && (rows == 0 || row < rows); text++) {
        if (*text == '\n') {
            putc('\n', out);
            row++;
            column = 0;
        } else if (columns == 0 || column++ < columns) {
            putc(*text >= ' ' && *text <= '~' ? *text : '?', out);
        }
    }
}

static int screen_write_blocks(const struct screen *screen, unsigned left)
{
    struct screen_account *accounts = NULL;
    const char **errors = NULL;
    ssize_t account_count = screen_accounts(screen, &accounts);
    ssize_t error_count = account_count < 0 ? account_count : screen_errors(screen, &errors);
    size_t shown = account_count > 0 ? (size_t)account_count : 0, last = error_count > 0 ? (size_t)error_count : 0;

    if (account_count >= 0 && error_count >= 0) {
        screen_share(left, &shown, &last);
        if (shown > 0)
            screen_write_accounts(screen, accounts, shown);
        if (last > 0)
            fputs("\nLAST ERRORS\n", screen->text);
        for (size_t i = (size_t)error_count - last; i < (size_t)error_count; i++)
            fprintf(screen->text, "%.*s\n", (int)strcspn(errors[i], "\n"), errors[i]);
    }
    free(accounts);
    free(errors);
    return error_count < 0 ? (int)error_count : 0;
}

int screen_write(FILE *out, const struct screen_mount *mounts, size_t count, unsigned rows, unsigned columns,
                 double now_s)
{
    struct screen screen = {.mounts = mounts, .count = count, .now_s = now_s};
    time_t now = (time_t)now_s;
    char *text = NULL, when[32] = "";
    struct tm utc;
    size_t size;
    unsigned used;
    int rc;

    screen.text = open_memstream(&text, &size);
    if (screen.text == NULL)
        return -ENOMEM;
    if (gmtime_r(&now, &utc) != NULL)
        strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &utc);
    fprintf(screen.text, "kvctl top  %s  %zu mount%s%s\n", when, count, count == 1 ? "" : "s",
            rows > 0 ? "  (q quits)" : "  (rates since each node began)");
    for (size_t i = 0; i < count; i++)
        screen_write_mount(&screen, &mounts[i]);
    fflush(screen.text);
    used = (unsigned)screen_lines(text);
    rc = screen_write_blocks(&screen, rows == 0 ? 4 + 2 * BLOCKS_MOST : rows > used ? rows - used : 0);
    if (fclose(screen.text) != 0)
        rc = -ENOMEM;
    if (rc == 0)
        screen_copy(out, text, rows, columns);
    free(text);
    return rc;
}
