#!/bin/bash
# Who may do what on a mount that others may use (allow_other), and on one that nobody may change (ro).
. "$(dirname "$0")/../support/tools.sh"

as() { # UID COMMAND...
    local uid=$1
    shift
    setpriv --reuid "$uid" --regid "$uid" --clear-groups "$@"
}

others() {
    [ "$(id -u)" = 0 ] || skip "only root can try other users"
    need setpriv
    chmod 711 "$(dirname "$case_dir")" "$case_dir"
    as 1001 test -x "$case_dir" || skip "other users cannot reach $case_dir"
    start -o allow_other || exit 1
    chmod 1777 "$mnt"
}

case_an_account_is_closed_to_others_until_it_is_opened() {
    others
    as 1001 mkdir "$mnt/mine" || wrong "mkdir: exit status $?"
    as 1001 mkdir "$mnt/mine/n"
    as 1001 sh -c "echo secret >$mnt/mine/n/key"
    same "700 1001 1001" stat -c '%a %u %g' "$mnt/mine"
    fails_with "Permission denied" as 1002 cat "$mnt/mine/n/key"
    fails_with "Permission denied" as 1002 ls "$mnt/mine"
    fails_with "Permission denied" as 1002 touch "$mnt/mine/n/other"
    as 1001 chmod 755 "$mnt/mine"
    same secret as 1002 cat "$mnt/mine/n/key"
    fails_with "Permission denied" as 1002 sh -c "echo x >$mnt/mine/n/key"
    as 1001 chmod 700 "$mnt/mine"
    fails_with "Permission denied" as 1002 cat "$mnt/mine/n/key"
}

case_owner_group_and_mode_of_keys_are_enforced() {
    others
    mkdir -m 755 "$mnt/a"
    mkdir -m 777 "$mnt/a/n"
    as 1001 sh -c "umask 077; echo one >$mnt/a/n/key"
    same "600 1001 1001" stat -c '%a %u %g' "$mnt/a/n/key"
    fails_with "Permission denied" as 1002 cat "$mnt/a/n/key"
    as 1001 chmod 644 "$mnt/a/n/key"
    same one as 1002 cat "$mnt/a/n/key"
    fails_with "not permitted" as 1002 chmod 666 "$mnt/a/n/key"
    chown 1002:1002 "$mnt/a/n/key"
    as 1002 sh -c "echo two >$mnt/a/n/key" || wrong "the new owner cannot write"
    same two as 1001 cat "$mnt/a/n/key"
    same "644 1002 1002" stat -c '%a %u %g' "$mnt/a/n/key"
}

case_root_is_not_squashed() {
    others
    as 1001 mkdir "$mnt/mine" "$mnt/mine/n"
    as 1001 sh -c "umask 077; echo secret >$mnt/mine/n/key"
    same secret cat "$mnt/mine/n/key"
}

case_a_set_group_id_namespace_passes_its_group_on() {
    others
    mkdir -m 755 "$mnt/a"
    mkdir "$mnt/a/n"
    chown 0:1005 "$mnt/a/n"
    chmod 2777 "$mnt/a/n"
    as 1001 sh -c "echo x >$mnt/a/n/key"
    same "1001 1005" stat -c '%u %g' "$mnt/a/n/key"
}

case_without_allow_other_nobody_else_gets_in() {
    [ "$(id -u)" = 0 ] || skip "only root can try other users"
    need setpriv
    chmod 711 "$(dirname "$case_dir")" "$case_dir"
    as 1001 test -x "$case_dir" || skip "other users cannot reach $case_dir"
    ready
    fails_with "Permission denied" as 1001 ls "$mnt"
}

case_a_read_only_mount_refuses_every_change() {
    ready
    echo value >"$n/key"
    ln -s ../../n "$mnt/a/.projects/X" 2>/dev/null
    stop
    start -o ro || exit 1
    same value cat "$n/key"
    same key ls "$n"
    fails_with "Read-only file system" touch "$n/new"
    fails_with "Read-only file system" sh -c "echo x >$n/key"
    fails_with "Read-only file system" rm "$n/key"
    fails_with "Read-only file system" mv "$n/key" "$n/other"
    fails_with "Read-only file system" mkdir "$mnt/b"
    fails_with "Read-only file system" rmdir "$n"
    fails_with "Read-only file system" chmod 600 "$n/key"
    fails_with "Read-only file system" truncate -s 0 "$n/key"
    fails_with "Read-only file system" setfattr -n user.x -v 1 "$n/key"
    fails_with "Read-only file system" ln -s ../../n "$mnt/a/.projects/Y"
    same value cat "$n/key"
}

run_cases "$@"
