/* The picture for who wants to know what a put and a get cost: bars of medians in microseconds, shorter is better. The
 * colours are chosen for a light and a dark page, and where neither is known, the grey of the text is seen on both. */
#include "tools/bench/figures.h"
#include "tools/bench/report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PLOT_WIDTH 760
#define PLOT_PANEL 370 /* from one column to the next */
#define PLOT_LABEL 84
#define PLOT_BAR 190 /* of the longest */
#define PLOT_ROW 22
#define PLOT_TITLE 52
#define PLOT_GAP 18
#define PLOT_MOST 5

static const struct plot_panel {
    const char *title;
    enum bench_workload workload;
    enum bench_subject subjects[PLOT_MOST];
    size_t count;
} plot_panels[] = {
    {"shell: durable put", BENCH_SHELL_PUT, {BENCH_KVFS_CLOSE, BENCH_LOCAL, BENCH_REDIS, BENCH_SQLITE}, 4},
    {"shell: get", BENCH_SHELL_GET, {BENCH_KVFS_CLOSE, BENCH_LOCAL, BENCH_REDIS, BENCH_SQLITE}, 4},
    {"program: durable put",
     BENCH_DURABLE_PUT,
     {BENCH_KVFS_CLOSE, BENCH_LOCAL, BENCH_LMDB, BENCH_BINDFS, BENCH_FLOOR},
     5},
    {"program: get", BENCH_HOT_GET, {BENCH_KVFS_FSYNC, BENCH_LOCAL, BENCH_LMDB, BENCH_BINDFS, BENCH_FLOOR}, 5},
};

#define PLOT_PANELS (sizeof(plot_panels) / sizeof(plot_panels[0]))

static const char plot_style[] = "<style>\n"
                                 "  text { font: 13px sans-serif; fill: #767676 }\n"
                                 "  .title { font-weight: bold }\n"
                                 "  .other { fill: #9aa4b0 }\n"
                                 "  .own { fill: #2f81d0 }\n"
                                 "  @media (prefers-color-scheme: light) { text { fill: #24292f } }\n"
                                 "  @media (prefers-color-scheme: dark) { text { fill: #d0d7de } .other { fill: "
                                 "#6e7781 } .own { fill: #58a6ff } }\n"
                                 "</style>\n";

static const char *plot_label(const struct bench_results *results, enum bench_subject subject)
{
    switch (subject) {
    case BENCH_KVFS_CLOSE:
    case BENCH_KVFS_FSYNC:
        return "kvfs";
    case BENCH_REDIS:
        return "redis-cli";
    case BENCH_SQLITE:
        return "sqlite3";
    case BENCH_FLOOR:
        return "empty FUSE";
    default:
        return bench_name(results, subject);
    }
}

static void plot_bar(FILE *file, const struct bench_results *results, enum bench_subject subject, double figure,
                     double longest, int x, int y)
{
    bool own = subject == BENCH_KVFS_CLOSE || subject == BENCH_KVFS_FSYNC;
    double length = figure / longest * PLOT_BAR;

    fprintf(file, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", x + PLOT_LABEL - 6, y + 15,
            plot_label(results, subject));
    fprintf(file, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>\n",
            own ? "own" : "other", x + PLOT_LABEL, y + 2, length < 1 ? 1 : length, PLOT_ROW - 5);
    fprintf(file, "<text x=\"%.1f\" y=\"%d\">%.*f</text>\n", x + PLOT_LABEL + length + 6, y + 15,
            figure < 10 ? 1 : 0, figure);
}

/* returns  how high it is */
static int plot_panel(FILE *file, const struct bench_results *results, const struct plot_panel *panel, int x,
                      int y)
{
    unsigned measured = results->measured[panel->workload];
    int row = 1;
    double longest = 0;

    fprintf(file, "<text class=\"title\" x=\"%d\" y=\"%d\">%s, µs</text>\n", x + PLOT_LABEL, y + 15, panel->title);
    for (size_t i = 0; i < panel->count; i++)
        if (bench_has(measured, panel->subjects[i])) {
            double figure = figures_of(results, panel->workload, panel->subjects[i]).median;

            longest = figure > longest ? figure : longest;
        }
    for (size_t i = 0; i < panel->count; i++)
        if (bench_has(measured, panel->subjects[i]))
            plot_bar(file, results, panel->subjects[i],
                     figures_of(results, panel->workload, panel->subjects[i]).median, longest, x,
                     y + PLOT_ROW * row++);
    return PLOT_ROW * row;
}

static void plot_write(FILE *file, const struct bench_results *results)
{
    const struct bench_facts *facts = &results->facts;
    int height = PLOT_TITLE + (int)PLOT_PANELS / 2 * ((PLOT_MOST + 1) * PLOT_ROW + PLOT_GAP), y = PLOT_TITLE;

    fprintf(file, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n",
            PLOT_WIDTH, height, PLOT_WIDTH, height);
    fprintf(file, "<title>What a put and a get take</title>\n%s", plot_style);
    fprintf(file, "<text class=\"title\" x=\"%d\" y=\"18\">What a put and a get of %lu bytes take</text>\n",
            PLOT_GAP, (unsigned long)results->options->size);
    fprintf(
        file,
        "<text x=\"%d\" y=\"37\">Medians of %lu rounds; %ld CPUs, %s%s%s, Linux %s. Shorter is better.</text>\n",
        PLOT_GAP, (unsigned long)results->options->rounds, facts->cpus, facts->type,
        facts->journal[0] == '\0' ? "" : ", ", facts->journal, facts->kernel);
    for (size_t i = 0; i < PLOT_PANELS; i += 2) {
        int left = plot_panel(file, results, &plot_panels[i], PLOT_GAP, y);
        int right = plot_panel(file, results, &plot_panels[i + 1], PLOT_GAP + PLOT_PANEL, y);

        y += (left > right ? left : right) + PLOT_GAP;
    }
    fprintf(file, "</svg>\n");
}

bool report_write_plot(const struct bench_results *results, const char *path)
{
    FILE *file = fopen(path, "we");
    bool done = file != NULL;

    if (done) {
        plot_write(file, results);
        done = !ferror(file);
        done = fclose(file) == 0 && done;
    }
    if (!done)
        bench_say("%s: cannot be written: %s", path, strerror(errno));
    return done;
}
