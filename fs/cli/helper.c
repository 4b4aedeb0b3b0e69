#include "fs/cli/helper.h"

#include "fs/cli/remount.h"
#include "fs/cli/say.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HELPER_NAME "mount.fuse.kvfs"
#define HELPER_USAGE "usage: " HELPER_NAME " STORE MOUNTPOINT [-sfnv] [-o OPTION,...] [-t fuse.kvfs]"

/* The command line, as mount(8) describes it under "EXTERNAL HELPERS". */
struct helper_words {
    char *names[2]; /* the store and the mount point */
    int count;
    char *options; /* owned; NULL: none */
    bool fake;
};

static enum fs_helper helper_fail(const char *text)
{
    fs_say("%s; %s", text, HELPER_USAGE);
    return FS_HELPER_FAILED;
}

/* Options can be given in several parts. */
static bool helper_add_options(struct helper_words *words, const char *more)
{
    char *all;

    if (asprintf(&all, "%s%s%s", words->options != NULL ? words->options : "", words->options != NULL ? "," : "",
                 more) < 0)
        return false;
    free(words->options);
    words->options = all;
    return true;
}

static enum fs_helper helper_parse(int argc, char **argv, struct helper_words *words)
{
    int letter;

    opterr = 0;
    while ((letter = getopt(argc, argv, "-sfnvN:o:t:")) != -1) {
        switch (letter) {
        case 1:
            if (words->count == 2)
                return helper_fail("one argument too many");
            words->names[words->count++] = optarg;
            break;
        case 'f':
            words->fake = true;
            break;
        case 'o':
            if (!helper_add_options(words, optarg))
                return helper_fail("out of memory");
            break;
        case 'N':
            return helper_fail("-N: kvfs mounts in its own namespace only; go into the other one with nsenter(1)");
        case 's': /* options of others are ignored anyway */
        case 'n': /* there is no table of mounts but the kernel's */
        case 'v':
        case 't':
            break;
        default:
            return helper_fail("this is no option of a mount helper, or its value is missing");
        }
    }
    for (; optind < argc && words->count < 2; optind++)
        words->names[words->count++] = argv[optind];
    if (words->count < 2 || optind < argc)
        return helper_fail("a store and a mount point are needed, and nothing more");
    return FS_HELPER_MOUNT;
}

static bool helper_is_remount(const struct helper_words *words)
{
    const char *at = words->options, *found;
    size_t size = strlen("remount");

    while (at != NULL && (found = strstr(at, "remount")) != NULL) {
        if ((found == words->options || found[-1] == ',') && (found[size] == '\0' || found[size] == ','))
            return true;
        at = found + size;
    }
    return false;
}

static enum fs_helper helper_remount(const struct helper_words *words)
{
    return fs_remount(words->names[1], words->options) < 0 ? FS_HELPER_FAILED : FS_HELPER_DONE;
}

/* "nocreate" comes first: so a `create` among the options counts. */
static enum fs_helper helper_translate(struct helper_words *words, int *argc, char ***argv)
{
    static char *arguments[6], *options, flag[] = "-o";
    const char *more = words->options;

    if (asprintf(&options, "nocreate%s%s", more != NULL ? "," : "", more != NULL ? more : "") < 0)
        return helper_fail("out of memory");
    arguments[0] = (*argv)[0];
    arguments[1] = words->names[0];
    arguments[2] = words->names[1];
    arguments[3] = flag;
    arguments[4] = options;
    *argv = arguments;
    *argc = 5;
    return FS_HELPER_MOUNT;
}

enum fs_helper fs_helper(int *argc, char ***argv)
{
    const char *name = *argc > 0 ? strrchr((*argv)[0], '/') : NULL;
    struct helper_words words = {.options = NULL};
    enum fs_helper outcome;

    name = name != NULL ? name + 1 : *argc > 0 ? (*argv)[0] : "";
    if (strcmp(name, HELPER_NAME) != 0)
        return FS_HELPER_NOT;
    outcome = helper_parse(*argc, *argv, &words);
    if (outcome == FS_HELPER_MOUNT)
        outcome = words.fake                  ? FS_HELPER_DONE
                  : helper_is_remount(&words) ? helper_remount(&words)
                                              : helper_translate(&words, argc, argv);
    free(words.options);
    return outcome;
}
