/* kvctl: a project's variables, for programs. Each is the directory of its namespace, below the mount. */
#include "tools/kvctl/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <paths.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Check the mount and the project's bindings. Bindings that programs would obey can be there, of older versions. Then
 * none is used: a program that lacks one of its variables may do worse than one that is not run.
 * out      free() its items
 * returns  a status */
static int env_prepare(struct ctl_request *request, struct ctl_bindings *out)
{
    int status = ctl_use_mount(request);

    if (status == CTL_OK)
        status = ctl_bindings(request, out);
    if (status != CTL_OK)
        return status;
    for (size_t i = 0; i < out->count && status == CTL_OK; i++) {
        const char *variable = out->items[i].variable;

        if (!kv_variable_is_safe(variable, strlen(variable)))
            status = ctl_fail("%s: programs would obey its variable %s, so none is given to them; delete it with: "
                              "kvctl binding delete %s %s",
                              request->path.text, variable, request->path.text, variable);
    }
    if (status != CTL_OK)
        free(out->items);
    return status;
}

/* ------------------------------------------------------------------------- env */

enum ctl_env_format ctl_parse_env_format(const char *name)
{
    static const char *const names[CTL_ENV_FORMATS] = {"shell", "systemd", "docker", "json"};
    enum ctl_env_format format = 0;

    while (format < CTL_ENV_FORMATS && strcmp(names[format], name) != 0)
        format++;
    return format;
}

/* Only a shell has a way to write any bytes. */
static int env_check_text(const struct ctl_request *request)
{
    json_t *text = json_string(request->mount_path); /* NULL where it is not UTF-8 */
    bool plain = text != NULL;

    json_decref(text);
    for (const char *c = request->mount_path; *c != '\0'; c++)
        plain = plain && (unsigned char)*c >= ' ' && *c != 0x7f;
    return plain
               ? CTL_OK
               : ctl_fail("--mount %s: only the format shell can write this name, since it is not printable UTF-8",
                          request->mount);
}

/* A shell takes all bytes between single quotes as they are; a single quote stands outside of them, escaped. */
static void env_print_shell(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text == '\'')
            fputs("'\\''", stdout);
        else
            putchar(*text);
}

/* Within double quotes systemd knows a backslash before these as an escape, and expands nothing. */
static void env_print_systemd(const char *text)
{
    for (; *text != '\0'; text++) {
        if (strchr("\"\\$`", *text) != NULL)
            putchar('\\');
        putchar(*text);
    }
}

static void env_print_line(const struct ctl_request *request, const struct ctl_binding *binding)
{
    const char *account = request->path.account;

    switch (request->env_format) {
    case CTL_ENV_SYSTEMD:
        printf("%s=\"", binding->variable);
        env_print_systemd(request->mount_path);
        printf("/%s/%s\"\n", account, binding->namespace);
        break;
    case CTL_ENV_DOCKER: /* takes what is behind the '=' as it is */
        printf("%s=%s/%s/%s\n", binding->variable, request->mount_path, account, binding->namespace);
        break;
    default:
        printf("export %s='", binding->variable);
        env_print_shell(request->mount_path);
        printf("/%s/%s'\n", account, binding->namespace);
        break;
    }
}

static int env_print_json(const struct ctl_request *request, const struct ctl_bindings *bindings)
{
    json_t *object = json_object();

    for (size_t i = 0; i < bindings->count && object != NULL; i++)
        if (json_object_set_new(object, bindings->items[i].variable,
                                json_sprintf("%s/%s/%s", request->mount_path, request->path.account,
                                             bindings->items[i].namespace)) < 0) {
            json_decref(object);
            object = NULL;
        }
    return ctl_print_json(object, JSON_INDENT(2));
}

int ctl_env(struct ctl_request *request)
{
    struct ctl_bindings bindings;
    int status = env_prepare(request, &bindings);

    if (status != CTL_OK)
        return status;
    if (request->env_format != CTL_ENV_SHELL)
        status = env_check_text(request);
    if (status == CTL_OK && request->env_format == CTL_ENV_JSON)
        status = env_print_json(request, &bindings);
    else
        for (size_t i = 0; i < bindings.count && status == CTL_OK; i++)
            env_print_line(request, &bindings.items[i]);
    free(bindings.items);
    return status;
}

/* ------------------------------------------------------------------------- run */

/* returns  0; a positive errno why this file cannot be run */
static int env_check_program(const char *path)
{
    struct stat attr;

    if (stat(path, &attr) < 0 || faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
        return errno;
    return S_ISREG(attr.st_mode) ? 0 : EACCES;
}

/* The file that a command means to the caller, before any variable is set: the first of its name in PATH that can be
 * run. A name with a slash is a file already. *out is to be freed.
 * returns  0; a positive errno */
static int env_find_program(const char *command, char **out)
{
    const char *path = getenv("PATH");
    int rc = ENOENT, why;

    *out = NULL;
    if (strchr(command, '/') != NULL || *command == '\0')
        return (*out = strdup(command)) == NULL ? ENOMEM : env_check_program(command);
    for (path = path != NULL ? path : _PATH_DEFPATH; path != NULL; path = *path == ':' ? path + 1 : NULL) {
        int size = (int)strcspn(path, ":");

        free(*out);
        if (asprintf(out, "%.*s/%s", size > 0 ? size : 1, size > 0 ? path : ".", command) < 0) {
            *out = NULL;
            return ENOMEM;
        }
        why = env_check_program(*out);
        if (why == 0)
            return 0;
        rc = why == EACCES ? why : rc;
        path += size;
    }
    return rc;
}

static int env_fail_program(const char *command, int why)
{
    (void)ctl_fail("%s: the command cannot be run: %s", command, strerror(why));
    return why == ENOENT || why == ENOTDIR ? CTL_RUN_NOT_FOUND : CTL_RUN_NOT_EXECUTABLE;
}

static int env_set(const struct ctl_request *request, const struct ctl_binding *binding)
{
    char *path;
    int rc = asprintf(&path, "%s/%s/%s", request->mount_path, request->path.account, binding->namespace);

    if (rc >= 0) {
        rc = setenv(binding->variable, path, 1);
        free(path);
    }
    return rc < 0 ? ctl_fail("out of memory") : CTL_OK;
}

int ctl_run(struct ctl_request *request)
{
    char **command = request->args + 1, *program = NULL;
    struct ctl_bindings bindings;
    int why, status = env_prepare(request, &bindings);

    if (status != CTL_OK)
        return status;
    why = env_find_program(command[0], &program);
    if (why != 0)
        status = env_fail_program(command[0], why);
    for (size_t i = 0; i < bindings.count && status == CTL_OK; i++)
        status = env_set(request, &bindings.items[i]);
    free(bindings.items);
    if (status == CTL_OK) {
        ctl_close(request);
        signal(SIGXFSZ, SIG_DFL); /* which kvctl ignores, and the command would inherit */
        execvp(program, command); /* it has a slash: nothing is searched; a script without #! goes to the shell */
        status = env_fail_program(command[0], errno);
    }
    free(program);
    return status;
}
