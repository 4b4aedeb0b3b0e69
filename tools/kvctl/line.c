#include "tools/kvctl/line.h"

#include "tools/cli/cli.h"
#include "tools/kvctl/bulk.h"
#include "tools/kvctl/help.h"

#include <ctype.h>
#include <string.h>
#include <time.h>

/* -------------------------------------------------------------------- options */

const struct ctl_option_rule ctl_options[CTL_OPTIONS] = {
    [CTL_STORE] = {"store", "DIR", OPTIONAL, "the store's directory (default: the environment's KVFS_STORE)"},
    [CTL_FOREIGN_STORE] = {"foreign-store", NULL, OPTIONAL,
                           "open a store that belongs to another user, or that others have rights on, too"},
    [CTL_HELP] = {"help", NULL, OPTIONAL, "print a help text; after a command, the command's (-h)"},
    [CTL_VERSION] = {"version", NULL, OPTIONAL, "print the version of kvctl (-V)"},
    [CTL_JSON] = {"json", NULL, OPTIONAL, "print what there is to print as JSON"},
    [CTL_FILE] = {"file", "FILE", OPTIONAL, "read FILE, or with - standard input, as without it"},
    [CTL_TYPE] = {"type", "text|json", OPTIONAL, "json: print the value if it is JSON, and refuse it otherwise"},
    [CTL_META_SET] = {"meta", "NAME=VALUE", REPEATABLE,
                      "keep user.NAME with the value; all --meta together replace what there was"},
    [CTL_META_GET] = {"meta", NULL, OPTIONAL, "print the user.* attributes as a JSON object, not the value"},
    [CTL_META_WITH] = {"meta", NULL, OPTIONAL, "with the user.* attributes of each key"},
    [CTL_VALUES] = {"values", NULL, OPTIONAL, "with the value of each key"},
    [CTL_JSON_LINES] = {"json-lines", NULL, OPTIONAL, "each key as a line of JSON"},
    [CTL_KEY_VERSION] = {"version", NULL, OPTIONAL,
                         "print the key's version, which is another one after each put"},
    [CTL_VERSION_FILE] = {"version-file", "FILE", OPTIONAL,
                          "write the version of what is printed to FILE, for --if-unchanged"},
    [CTL_IF_ABSENT] = {"if-absent", NULL, OPTIONAL, "only what is not there yet"},
    [CTL_IF_VERSION] = {"if-version", "V", OPTIONAL, "only if the key's version is V; 0: if it is absent"},
    [CTL_IF_UNCHANGED] = {"if-unchanged", "FILE", OPTIONAL,
                          "only if the key is what it was when get --version-file wrote FILE"},
    [CTL_TTL] = {"ttl", "DURATION", OPTIONAL, "it expires so long from now on: 90s, 5m, 1h, 2d or 1w"},
    [CTL_EXPIRES] = {"expires", "TIME|never", OPTIONAL,
                     "it expires then: 2026-12-01T12:00:00Z, seconds since 1970, or +1h"},
    [CTL_EMPTY_PUT] = {"empty", NULL, OPTIONAL, "the value may be empty, also where it comes from standard input"},
    [CTL_EMPTY_GET] = {"empty", NULL, OPTIONAL, "exit with 3, and not with 1, where the value is empty"},
    [CTL_PREFIX] = {"prefix", "P", OPTIONAL, "only keys that start with P"},
    [CTL_LIMIT] = {"limit", "N", OPTIONAL, "at most N keys, 1 to 256 (default 256)"},
    [CTL_CURSOR] = {"cursor", "KEY", OPTIONAL, "begin at KEY, or at the next one where KEY is gone"},
    [CTL_ALL] = {"all", NULL, OPTIONAL, "all keys, one a line"},
    [CTL_RECURSIVE] = {"recursive", NULL, OPTIONAL, "delete what is in it, too"},
    [CTL_MOUNT] = {"mount", "DIR", REQUIRED, "where kvfs mounted the store"},
    [CTL_ENV_FORMAT] = {"format", "FORMAT", OPTIONAL,
                        "shell (the default); systemd, for EnvironmentFile=; docker, for --env-file; json"},
    [CTL_BULK_FORMAT] = {"format", "FORMAT", OPTIONAL, "json (JSON Lines, the default), wrangler, csv or env"},
    [CTL_JSON_INPUT] = {"json-lines", NULL, OPTIONAL, "each operation is a line of JSON"},
    [CTL_ATOMIC] = {"atomic", NULL, OPTIONAL, "all keys or none; at most 10000, of one account"},
    [CTL_SKIP] = {"skip", "N", OPTIONAL, "begin behind line N (of wrangler's array: item N)"},
    [CTL_BYTES] =
        {"bytes", "SIZE", OPTIONAL,
         "the most bytes of keys, values and attributes: a number, or one with K, M, G or T (or KiB ...)"},
    [CTL_KEYS] = {"keys", "N|none", OPTIONAL, "the most keys; none: no limit"},
    [CTL_NAMESPACES] = {"namespaces", "N", OPTIONAL, "the most namespaces"},
    [CTL_BINDINGS] = {"bindings", "N|none", OPTIONAL, "the most projects and bindings together; none: no limit"},
    [CTL_OWNER] = {"owner", "USER[:GROUP]", OPTIONAL,
                   "whose it is, by name or number; a USER alone has his own group"},
    [CTL_MODE] = {"mode", "MODE", OPTIONAL, "its permissions, an octal number (default 0700)"},
    [CTL_FAST] = {"fast", NULL, OPTIONAL, "leave out the bytes of the values"},
    [CTL_REPAIR] = {"repair", NULL, OPTIONAL,
                    "repair what can be repaired without a loss; nobody else may have the store open"},
    [CTL_SINCE] = {"since", "TOKEN", OPTIONAL, "begin behind the change that was told with this token"},
    [CTL_EXEC] = {"exec", "COMMAND", OPTIONAL, "run sh -c COMMAND for each change, with the line as its input"},
    [CTL_TIMEOUT] = {"timeout", "TIME", OPTIONAL, "wait for an answer no longer than this (default 5s)"},
    [CTL_INTERVAL] = {"interval", "TIME", OPTIONAL, "ask anew after so long (default 1s)"},
    [CTL_ONCE] = {"once", NULL, OPTIONAL, "print one screen as text, with the rates since each node began"},
};

uint64_t ctl_known_options(const struct ctl_command *command)
{
    uint64_t known = command->options | CTL_ALWAYS;

    if (command->access == CTL_IN_TXN)
        return command->options;
    return known & CTL_BIT(CTL_KEY_VERSION) ? known & ~CTL_BIT(CTL_VERSION) : known;
}

/* --------------------------------------------------------------------- values */

/* Add NAME=VALUE to the attributes of a put. Returns a status. */
static int line_add_meta(struct ctl_request *request, const char *text)
{
    const char *equals = strchr(text, '=');
    char name[256] = CTL_META_PREFIX;
    size_t size;
    json_t *shown;
    int rc;

    if (equals == NULL || equals == text)
        return ctl_fail_usage(request, CTL_META_SET, "--meta %.64s: this is not of the form NAME=VALUE", text);
    size = CTL_META_PREFIX_SIZE + (size_t)(equals - text);
    if (size >= sizeof(name))
        return ctl_fail("--meta: a NAME is too long; it is at most %zu bytes",
                        sizeof(name) - 1 - CTL_META_PREFIX_SIZE);
    memcpy(name + CTL_META_PREFIX_SIZE, text, size - CTL_META_PREFIX_SIZE);
    if (strncmp(name, "user.kvfs.", strlen("user.kvfs.")) == 0)
        return ctl_fail("--meta %.64s: names that begin with kvfs. are the store's own, and read-only", text);
    shown = json_string(text);
    if (shown == NULL)
        return ctl_fail("--meta: NAME and VALUE are UTF-8 text, so that get --meta can print them");
    json_decref(shown);
    rc = kv_xattrs_set(&request->meta, name, size, equals + 1, strlen(equals + 1), 0);
    if (rc < 0)
        return ctl_fail(
            "--meta: all together is too long; names (with user.) and values are at most %d bytes a key",
            KV_XATTR_MAX);
    return CTL_OK;
}

static int line_fail_value(const struct ctl_request *request, enum ctl_option option, const char *value,
                           const char *rule)
{
    return ctl_fail_usage(request, option, "--%s %.64s: %s", ctl_options[option].name, value, rule);
}

/* A number from 1 on, or "none", which is 0. Returns a status. */
static int line_set_limit(const struct ctl_request *request, enum ctl_option option, const char *value,
                          uint64_t *out)
{
    *out = 0;
    if (strcmp(value, "none") == 0 || (cli_parse_number(value, false, out) && *out > 0))
        return CTL_OK;
    return line_fail_value(request, option, value, "it has to be a whole number from 1 on, or none for no limit");
}

static int line_set_number(const struct ctl_request *request, enum ctl_option option, const char *value,
                           uint64_t *out)
{
    return cli_parse_number(value, false, out)
               ? CTL_OK
               : line_fail_value(request, option, value, "it has to be a whole number");
}

static int line_set_time(const struct ctl_request *request, enum ctl_option option, const char *value,
                         int64_t *out)
{
    return cli_parse_time(value, out) && *out >= 10 && *out <= 3600000
               ? CTL_OK
               : line_fail_value(request, option, value, "this is a time of 10ms to 1h, as in 500ms, 5s or 2m");
}

/* --ttl or --expires. Returns a status. */
static int line_set_expiry(struct ctl_request *request, enum ctl_option option, const char *value)
{
    int64_t now_ns = ctl_now_ns(CLOCK_REALTIME), ttl_ns;
    int rc;

    if (ctl_given(request, CTL_TTL) && ctl_given(request, CTL_EXPIRES))
        return ctl_fail_usage(request, option, "--ttl and --expires do not go together: give one");
    if (option == CTL_EXPIRES) {
        rc = kv_expiry_parse(value, now_ns, &request->expires_ns);
        return rc == 0 ? CTL_OK
                       : line_fail_value(request, option, value,
                                         "a time is as 2026-12-01T12:00:00Z, or seconds since 1970, or as +1h, or "
                                         "never");
    }
    rc = kv_duration_parse(value, &ttl_ns);
    if (rc < 0 || ttl_ns == 0 || __builtin_add_overflow(now_ns, ttl_ns, &request->expires_ns))
        return line_fail_value(request, option, value, "a duration is as 90s, 5m, 1h, 2d or 1w, and more than 0");
    return CTL_OK;
}

/* Keep what an option says. Returns a status. */
static int line_set(struct ctl_request *request, enum ctl_option option, const char *value)
{
    uint64_t number;

    request->given |= CTL_BIT(option);
    switch (option) {
    case CTL_STORE:
        request->store_dir = value;
        break;
    case CTL_JSON:
        if (!ctl_given(request, CTL_ENV_FORMAT))
            request->env_format = CTL_ENV_JSON;
        break;
    case CTL_FILE:
        request->file = value;
        break;
    case CTL_TYPE:
        request->json = strcmp(value, "json") == 0;
        if (!request->json && strcmp(value, "text") != 0)
            return line_fail_value(request, option, value, "a type is text or json");
        break;
    case CTL_META_SET:
        return line_add_meta(request, value);
    case CTL_TTL:
    case CTL_EXPIRES:
        return line_set_expiry(request, option, value);
    case CTL_PREFIX:
        request->prefix = value;
        break;
    case CTL_LIMIT:
        if (!cli_parse_number(value, false, &number) || number < 1 || number > KV_LIST_MAX)
            return line_fail_value(request, option, value,
                                   "a page has a limit of 1 to 256 keys; --all prints all of them");
        request->limit = (size_t)number;
        break;
    case CTL_CURSOR:
        request->cursor = value;
        break;
    case CTL_MOUNT:
        request->mount = value;
        break;
    case CTL_ENV_FORMAT:
        request->env_format = ctl_parse_env_format(value);
        if (request->env_format == CTL_ENV_FORMATS)
            return line_fail_value(request, option, value, "a format is shell, systemd, docker or json");
        break;
    case CTL_BULK_FORMAT:
        request->bulk_format = bulk_format_find(value);
        if (request->bulk_format == NULL)
            return line_fail_value(request, option, value, "a format is json, wrangler, csv or env");
        break;
    case CTL_VERSION_FILE:
        request->version_file = value;
        break;
    case CTL_IF_VERSION:
        return line_set_number(request, option, value, &request->if_version);
    case CTL_IF_UNCHANGED:
        request->unchanged_file = value;
        break;
    case CTL_SKIP:
        return line_set_number(request, option, value, &request->skip);
    case CTL_BYTES:
        if (!cli_parse_number(value, true, &request->bytes))
            return line_fail_value(
                request, option, value,
                "a size is a whole number of bytes, or one with K, M, G or T (1K is 1KiB, 1024)");
        break;
    case CTL_KEYS:
        return line_set_limit(request, option, value, &request->keys);
    case CTL_BINDINGS:
        return line_set_limit(request, option, value, &request->bindings);
    case CTL_NAMESPACES:
        return line_set_number(request, option, value, &request->namespaces);
    case CTL_OWNER:
        request->owner = value;
        break;
    case CTL_MODE:
        request->mode = value;
        break;
    case CTL_SINCE:
        if (!ctl_parse_token(value, &request->since))
            return line_fail_value(request, option, value,
                                   "this is no token; it is what the lines of watch have at \"at\"");
        break;
    case CTL_EXEC:
        request->exec = value;
        break;
    case CTL_TIMEOUT:
        return line_set_time(request, option, value, &request->timeout_ms);
    case CTL_INTERVAL:
        return line_set_time(request, option, value, &request->interval_ms);
    default: /* takes none */
        break;
    }
    return CTL_OK;
}

/* ---------------------------------------------------------------------- words */

/* A number is an argument, where the command takes such. */
static bool line_is_option(const struct ctl_request *request, const char *word)
{
    if (word[0] != '-' || word[1] == '\0')
        return false;
    return request->command == NULL || !request->command->takes_negatives || !isdigit((unsigned char)word[1]);
}

static int line_fail_unknown(const struct ctl_request *request, uint64_t known, const char *word)
{
    bool is_long = word[1] == '-';
    size_t size = is_long ? strcspn(word + 2, "=") : 0;
    const char *nearest = is_long ? help_nearest_option(known, word + 2, size) : NULL;

    if (nearest != NULL)
        return ctl_fail_usage(
            request, CTL_OPTIONS,
            "%.64s: there is no such option here; did you mean --%s? (options are not abbreviated)", word,
            nearest);
    return ctl_fail_usage(request, CTL_OPTIONS,
                          "%.64s: there is no such option here; an argument that begins with '-' goes after '--'",
                          word);
}

/* The known option of this name; CTL_OPTIONS: there is none. */
static enum ctl_option line_find(uint64_t known, const char *name, size_t size)
{
    enum ctl_option option = 0;

    while (option < CTL_OPTIONS && !(known & CTL_BIT(option) && strlen(ctl_options[option].name) == size &&
                                     memcmp(ctl_options[option].name, name, size) == 0))
        option++;
    return option;
}

/* Take words[0], which is an option, and its value, which may be words[1].
 * used     how many words that is
 * returns  a status */
static int line_take(struct ctl_request *request, uint64_t known, char **words, int count, int *used)
{
    const char *word = words[0], *value = NULL;
    size_t size = strcspn(word, "=");
    enum ctl_option option;

    *used = 1;
    if (strcmp(word, "-h") == 0)
        return line_set(request, CTL_HELP, "");
    if (strcmp(word, "-V") == 0)
        return line_set(request, CTL_VERSION, "");
    option = word[1] == '-' ? line_find(known, word + 2, size - 2) : CTL_OPTIONS;
    if (option == CTL_OPTIONS)
        return line_fail_unknown(request, known, word);
    if (word[size] == '=')
        value = word + size + 1;
    if (ctl_options[option].argument == NULL && value != NULL)
        return ctl_fail_usage(request, option, "%.64s: this option takes no value", word);
    if (ctl_options[option].argument != NULL && value == NULL) {
        if (count < 2)
            return ctl_fail_usage(request, option, "the option %s takes a value", word);
        value = words[1];
        *used = 2;
    }
    return line_set(request, option, value);
}

int line_parse(struct ctl_request *request, uint64_t known, enum line_end end, char **words, int count, int *used)
{
    int i = 0, status = CTL_OK;

    while (i < count && status == CTL_OK) {
        int taken = 1;

        if (strcmp(words[i], "--") == 0) {
            i++;
            break;
        }
        if (line_is_option(request, words[i]))
            status = line_take(request, known, words + i, count - i, &taken);
        else if (end == LINE_AT_WORD)
            break;
        else
            request->args[request->arg_count++] = words[i];
        i += taken;
    }
    while (end == LINE_AT_END && status == CTL_OK && i < count)
        request->args[request->arg_count++] = words[i++];
    *used = i;
    return status;
}
