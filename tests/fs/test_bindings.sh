#!/bin/bash
# Projects and their bindings, as directories and links of a mount and through kvctl.
. "$(dirname "$0")/../support/tools.sh"

bound() { # a/.projects/web with CARTS -> n
    ready "$@"
    mkdir "$mnt/a/.projects/web" || wrong "mkdir: exit status $?"
    ln -s ../../n "$mnt/a/.projects/web/CARTS" || wrong "ln: exit status $?"
    p=$mnt/a/.projects/web
}

case_a_binding_leads_to_its_namespace() {
    bound
    echo value >"$p/CARTS/key"
    same value cat "$n/key"
    same ../../n readlink "$p/CARTS"
    same CARTS ls "$p"
    same "CARTS	n" kv binding list a/web
    [ "$(stat -c %s "$p/CARTS")" = 7 ] || wrong "the size of a link is that of its target"
}

case_projects_are_listed_only_while_there_is_one() {
    ready
    same n ls -A "$mnt/a"
    [ -d "$mnt/a/.projects" ] || wrong ".projects cannot be found by name"
    mkdir "$mnt/a/.projects/web"
    same ".projects
n" ls -A "$mnt/a"
    rmdir "$mnt/a/.projects/web"
    same n ls -A "$mnt/a"
}

case_an_absolute_path_into_the_account_binds() {
    bound
    ln -s "$n" "$p/ABSOLUTE" || wrong "ln: exit status $?"
    same ../../n readlink "$p/ABSOLUTE"
}

case_what_is_no_namespace_of_the_account_is_not_bound() {
    bound
    mkdir "$mnt/b" "$mnt/b/other"
    fails_with "No such file" ln -s ../../absent "$p/X"
    fails_with "Invalid argument" ln -s "$mnt/b/other" "$p/X"
    fails_with "Invalid argument" ln -s /tmp "$p/X"
    fails_with "Invalid argument" ln -s ../../n/key "$p/X"
    fails_with "Invalid argument" ln -s ../../n "$p/1X"
    fails_with "File exists" ln -sT ../../n "$p/CARTS"
    fails_with "not permitted" ln -s ../n "$n/link"
    fails_with "not permitted" ln -s ../../n "$mnt/a/link"
    fails_with "not permitted" touch "$p/file"
    same CARTS ls "$p"
}

case_rm_unbinds_and_leaves_the_namespace() {
    bound
    echo value >"$n/key"
    rm "$p/CARTS" || wrong "rm: exit status $?"
    same "" ls "$p"
    same value cat "$n/key"
}

case_a_binding_follows_the_rename_of_its_namespace() {
    bound
    echo value >"$n/key"
    mv "$n" "$mnt/a/renamed" || wrong "mv: exit status $?"
    same ../../renamed readlink "$p/CARTS"
    same value cat "$p/CARTS/key"
}

case_deleting_a_namespace_removes_its_bindings() {
    bound
    mkdir "$mnt/a/.projects/app" "$mnt/a/second"
    ln -s ../../n "$mnt/a/.projects/app/ONE"
    ln -s ../../second "$mnt/a/.projects/app/TWO"
    rmdir "$n" || wrong "rmdir: exit status $?"
    same "" kv binding list a/web
    same "TWO	second" kv binding list a/app
    stop
    start
    same "" ls "$p"
    same TWO ls "$mnt/a/.projects/app"
}

case_many_projects_bind_many_namespaces() {
    local project namespace
    ready
    for namespace in one two three; do mkdir "$mnt/a/$namespace"; done
    for project in p1 p2 p3; do
        kv project create "a/$project" || wrong "kvctl project create: exit status $?"
        for namespace in one two three; do
            ln -s "../../$namespace" "$mnt/a/.projects/$project/V_$namespace" || wrong "ln: exit status $?"
        done
    done
    same "p1
p2
p3" kv project list a
    same 9 bash -c "ls $mnt/a/.projects/* | grep -c V_"
    mv "$mnt/a/.projects/p1/V_one" "$mnt/a/.projects/p2/MOVED" || wrong "mv: exit status $?"
    same ../../one readlink "$mnt/a/.projects/p2/MOVED"
}

case_a_project_with_bindings_is_not_empty() {
    bound
    fails_with "not empty" rmdir "$p"
    rm "$p/CARTS"
    rmdir "$p" || wrong "rmdir: exit status $?"
}

case_rm_r_removes_an_account_with_all_that_is_in_it() {
    bound
    echo value >"$n/key"
    rm -r "$mnt/a" || wrong "rm -r: exit status $?"
    same "" ls -A "$mnt"
    same "" kv account list
}

case_env_exports_what_is_bound() {
    bound
    echo 7 >"$n/count"
    (
        eval "$(kv env a/web --mount "$mnt")"
        same 7 cat "$CARTS/count"
        bash -c '[ "$(cat "$CARTS/count")" = 7 ]' || wrong "the variable is not exported"
        exit $bad
    ) || bad=1
    same "export CARTS='$mnt/a/n'" kv env a/web --mount "$mnt"
}

case_run_gives_a_command_the_variables_and_its_exit_status() {
    bound
    echo 7 >"$n/count"
    same 7 kv run a/web --mount "$mnt" -- sh -c 'cat "$CARTS/count"'
    kv run a/web --mount "$mnt" -- sh -c 'exit 9'
    [ $? = 9 ] || wrong "the exit status is not the command's"
}

case_bindings_survive_unmount_and_mount() {
    bound
    stop
    start
    same ../../n readlink "$p/CARTS"
}

run_cases "$@"
