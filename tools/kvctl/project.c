#include "tools/kvctl/common.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------------ projects */

int ctl_project_create(struct ctl_request *request)
{
    struct kv_node projects, node;
    int rc, status = ctl_find_projects(request, &projects);

    if (status != CTL_OK)
        return status;
    rc = kv_node_make(request->store, KV_PROJECT, projects.id, request->path.second, 0, &node);
    return rc < 0 ? ctl_fail_store(request, request->path.text, "project", rc) : CTL_OK;
}

int ctl_project_delete(struct ctl_request *request)
{
    int rc;

    if (ctl_given(request, CTL_RECURSIVE))
        return ctl_remove_project(request, &request->second);
    rc = kv_node_remove(request->store, request->second.parent, request->path.second);
    return rc < 0 ? ctl_fail_store(request, request->path.text, "project", rc) : CTL_OK;
}

int ctl_project_list(struct ctl_request *request)
{
    struct kv_node projects;
    int status = ctl_find_projects(request, &projects);

    return status != CTL_OK ? status : ctl_print_names(request, projects.id, KV_PROJECT);
}

/* ------------------------------------------------------------------ bindings */

int ctl_binding_create(struct ctl_request *request)
{
    const char *variable = request->args[1], *name = request->args[2];
    struct kv_node namespace, node;
    int rc, status = ctl_check_name(request->path.text, KV_NAME_VARIABLE, variable);

    if (status == CTL_OK)
        status = ctl_check_name(request->path.text, KV_NAME_NAMESPACE, name);
    if (status != CTL_OK)
        return status;
    rc = kv_node_find(request->store, request->account.id, name, strlen(name), &namespace);
    if (rc == -ENOENT)
        return ctl_fail("%s: there is no namespace %s in account %s; create it with: kvctl namespace create %s/%s",
                        request->path.text, name, request->path.account, request->path.account, name);
    if (rc < 0)
        return ctl_fail_store(request, name, "namespace", rc);
    rc = kv_node_make(request->store, KV_BINDING, request->second.id, variable, namespace.id, &node);
    return rc < 0 ? ctl_fail_store(request, variable, "binding", rc) : CTL_OK;
}

int ctl_binding_delete(struct ctl_request *request)
{
    const char *variable = request->args[1];
    int rc, status = ctl_check_name(request->path.text, KV_NAME_VARIABLE, variable);

    if (status != CTL_OK)
        return status;
    rc = kv_node_remove(request->store, request->second.id, variable);
    return rc < 0 ? ctl_fail_store(request, variable, "binding", rc) : CTL_OK;
}

typedef int binding_visit(struct ctl_request *request, const char *variable, const char *namespace);

/* Call `visit` for each binding of the project until it answers another status than CTL_OK. */
static int each_binding(struct ctl_request *request, binding_visit *visit)
{
    struct ctl_nodes bindings;
    int status = ctl_children(request, request->second.id, KV_BINDING, &bindings);

    if (status != CTL_OK)
        return status;
    for (size_t i = 0; i < bindings.count && status == CTL_OK; i++) {
        struct kv_node namespace;
        int rc = kv_node_get(request->store, bindings.items[i].target, &namespace);

        if (rc == 0)
            status = visit(request, bindings.items[i].name, namespace.name);
        else if (rc != -ENOENT) /* -ENOENT: deleted since the scan, and the binding with it */
            status = ctl_fail_store(request, bindings.items[i].name, "namespace", rc);
    }
    free(bindings.items);
    return status;
}

static int print_binding(struct ctl_request *request, const char *variable, const char *namespace)
{
    (void)request;
    printf("%s\t%s\n", variable, namespace);
    return CTL_OK;
}

int ctl_binding_list(struct ctl_request *request) { return each_binding(request, print_binding); }

/* ----------------------------------------------------- variables of a project */

/* Make --mount absolute, without resolving links: a link may later lead elsewhere. */
static int absolute_mount(struct ctl_request *request)
{
    const char *dir = request->mount;
    struct stat st;
    char *cwd, *path;
    size_t size;

    if (stat(dir, &st) < 0)
        return ctl_fail("--mount %s: %s; it takes the directory where kvfs mounted the store", dir,
                        strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return ctl_fail("--mount %s: not a directory; it takes the directory where kvfs mounted the store", dir);
    while (dir[0] == '.' && dir[1] == '/')
        for (dir += 2; *dir == '/'; dir++)
            ;
    cwd = *dir == '/' ? strdup("") : get_current_dir_name();
    if (cwd == NULL)
        return ctl_fail("the working directory: %s", strerror(errno));
    if (strcmp(dir, ".") == 0)
        dir = "";
    if (asprintf(&path, "%s%s%s", cwd, *dir == '/' || *dir == '\0' ? "" : "/", dir) < 0)
        path = NULL;
    free(cwd);
    if (path == NULL)
        return ctl_fail("out of memory");
    for (size = strlen(path); size > 0 && path[size - 1] == '/'; size--)
        path[size - 1] = '\0';
    request->mount_path = path;
    return CTL_OK;
}

/* Print for a shell, which takes all bytes between single quotes as they are. */
static void print_quoted(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            fputs("'\\''", stdout);
        else
            putchar(*text);
    }
}

static int print_export(struct ctl_request *request, const char *variable, const char *namespace)
{
    printf("export %s='", variable);
    print_quoted(request->mount_path);
    printf("/%s/%s'\n", request->path.account, namespace);
    return CTL_OK;
}

int ctl_env(struct ctl_request *request)
{
    int status = absolute_mount(request);

    return status != CTL_OK ? status : each_binding(request, print_export);
}

static int set_variable(struct ctl_request *request, const char *variable, const char *namespace)
{
    char *path;
    int rc = asprintf(&path, "%s/%s/%s", request->mount_path, request->path.account, namespace);

    if (rc >= 0) {
        rc = setenv(variable, path, 1);
        free(path);
    }
    return rc < 0 ? ctl_fail("out of memory") : CTL_OK;
}

int ctl_run(struct ctl_request *request)
{
    char **command = request->args + 1;
    int status = absolute_mount(request);

    if (status == CTL_OK)
        status = each_binding(request, set_variable);
    if (status != CTL_OK)
        return status;
    ctl_close(request);
    signal(SIGXFSZ, SIG_DFL); /* which kvctl ignores, and the command would inherit */
    execvp(command[0], command);
    status = errno == ENOENT ? CTL_RUN_NOT_FOUND : CTL_RUN_NOT_EXECUTABLE;
    (void)ctl_fail("%s: the command cannot be run: %s", command[0], strerror(errno));
    return status;
}
