#!/bin/bash
# What the daemon may do while it serves: no more than it needs, in none of its threads.
. "$(dirname "$0")/../support/mount.sh"
self=$(realpath "$0")

need_root() { [ "$(id -u)" = 0 ] || skip "needs root"; }

# each_thread NAME VALUE: every thread of the daemon has this line in its status
each_thread() {
    local pid status
    pid=$(daemons)
    for status in /proc/"$pid"/task/*/status; do
        [ "$(awk -v name="$1:" '$1 == name { $1 = ""; print substr($0, 2) }' "$status")" = "$2" ] ||
            wrong "$(grep "^$1" "$status"), not $2"
    done
}

# roots CAPABILITIES: what root keeps, also where the whole run is over io_uring
roots() {
    case ${KVFS_TEST_OPTIONS:-} in
    *io_uring*) printf '%016x' $((16#$1 | 16#4000)) ;;
    *) echo "$1" ;;
    esac
}

# CAP_IPC_LOCK: else the rings of all of root's mounts would share one limit of locked memory.
case_root_keeps_what_rings_need() {
    need_root
    [ "$(cat /sys/module/fuse/parameters/enable_uring 2>/dev/null)" = Y ] || skip "io_uring is not switched on here"
    grep -q '^CapPrm:.*[4567cdef]...$' /proc/self/status ||
        skip "this root has no CAP_IPC_LOCK"
    start -o io_uring
    each_thread CapEff 0000000000004004
    stop
}

# CAP_SYS_ADMIN to unmount, CAP_DAC_READ_SEARCH to find the way.
case_root_keeps_what_it_needs_to_unmount() {
    need_root
    grep -q '^CapPrm:.*[2367abef].....$' /proc/self/status || skip "this root has no CAP_SYS_ADMIN"
    start
    mkdir -p "$mnt/a/n"
    each_thread CapPrm "$(roots 0000000000200004)"
    each_thread CapBnd "$(roots 0000000000200004)"
    each_thread CapEff "$(roots 0000000000000004)"
    each_thread CapInh 0000000000000000
    each_thread CapAmb 0000000000000000
    each_thread NoNewPrivs 1
    kill "$(daemons)"
    wait_until no_daemons
    not_mounted || wrong "it could not unmount"
    # A daemon that has been left alone with its mount lets the next one in.
    start
    kill -9 "$(daemons)"
    wait_until no_daemons
    start
    stop
}

case_in_the_store_of_another_user_root_keeps_what_that_takes() {
    need_root
    start
    stop
    chown -R nobody:nogroup "$store"
    start -o foreign_store
    mkdir -p "$mnt/a/n"
    echo value >"$mnt/a/n/key"
    each_thread CapPrm "$(roots 00000000002000cf)"
    each_thread NoNewPrivs 1
    stop
    same "" find "$store" ! -user nobody
}

# Whatever is done is the user's: the store, the mount, the log.
as_nobody() {
    need_root
    chmod 711 "$case_dir" "$(dirname "$case_dir")"
    mkdir "$case_dir/theirs"
    chown nobody:nogroup "$case_dir/theirs"
    store=$case_dir/theirs/store
}

# As systemd starts it with User= and AmbientCapabilities=.
as_capable_nobody() {
    setpriv --reuid=nobody --regid=nogroup --clear-groups --inh-caps=+sys_admin --ambient-caps=+sys_admin "$@"
}

# Begin the case anew in a mount namespace where everybody may use /dev/fuse, as they may on most machines.
for_all() {
    [ -z "${FUSE_FOR_ALL:-}" ] || return 0
    need_root
    cd / && rmdir "$mnt" "$case_dir/here" && mkdir "$case_dir/dev" || exit 1
    FUSE_FOR_ALL=1 exec unshare -m bash -c 'mount -t tmpfs none "$1" && mknod -m 666 "$1/fuse" c 10 229 &&
        mount --bind "$1/fuse" /dev/fuse && exec bash "$2" --run "$3"' - "$case_dir/dev" "$self" "${FUNCNAME[1]}"
}

case_root_becomes_the_user_to_run_as() {
    as_nobody
    start -o "run_as=nobody,allow_other,log_file=$case_dir/theirs/log"
    each_thread Uid "$(id -u nobody) $(id -u nobody) $(id -u nobody) $(id -u nobody)"
    each_thread Gid "$(id -g nobody) $(id -g nobody) $(id -g nobody) $(id -g nobody)"
    each_thread Groups "$(id -G nobody)"
    each_thread CapPrm 0000000000000000
    each_thread CapEff 0000000000000000
    grep -q " $mnt fuse.kvfs .*user_id=$(id -u nobody),group_id=$(id -g nobody),.*allow_other" /proc/self/mounts ||
        wrong "mounted as $(grep " $mnt " /proc/self/mounts)"
    mkdir -p "$mnt/a/n" || wrong "root cannot make an account"
    echo value >"$mnt/a/n/key"
    same "" find "$case_dir/theirs" ! -user nobody
    stop
    start -o "run_as=nobody,allow_other"
    same value cat "$mnt/a/n/key"
    kill "$(daemons)"
    wait_until no_daemons
    not_mounted || wrong "it could not unmount"
}

case_without_allow_other_the_mount_is_the_users_alone() {
    as_nobody
    start -o run_as=nobody
    fails_with 'Permission denied' ls "$mnt"
    setpriv --reuid=nobody --regid=nogroup --clear-groups mkdir "$mnt/a" || wrong "the user cannot get in"
    umount "$mnt" || wrong "root cannot unmount"
    wait_until no_daemons
}

case_only_root_becomes_another_user_and_only_one_that_there_is() {
    for_all
    chmod 777 . "$case_dir"
    chmod 711 "$(dirname "$case_dir")"
    chown nobody "$mnt"
    fails_with 'there is no such user' "$kvfs" "$store" "$mnt" -o run_as=no_user_here
    # Whoever has the capability to mount, but is not root:
    fails_with 'only root can become' as_capable_nobody "$kvfs" "$store" "$mnt" -o run_as=daemon
    mkdir rootly
    fails_with 'you are user 65534' "$kvfs" "$PWD/rootly" "$mnt" -o run_as=nobody
    not_mounted || wrong "mounted all the same"
}

case_a_user_with_the_capability_to_mount_needs_no_fusermount() {
    for_all
    as_nobody
    mkdir bin
    as_capable_nobody env PATH="$PWD/bin" "$kvfs" "$store" "$mnt" -o allow_other || wrong "kvfs: exit status $?"
    each_thread CapPrm 0000000000200000
    each_thread CapEff 0000000000000000
    each_thread CapAmb 0000000000000000
    each_thread NoNewPrivs 1
    mkdir "$mnt/a" || wrong "not usable"
    kill "$(daemons)"
    wait_until no_daemons
    not_mounted || wrong "it could not unmount"
}

# Sanitizers have to trace the process, so only a build without them can show it.
case_its_memory_is_not_dumped() {
    ldd "$kvfs" | grep -q 'lib[a-z]*san' && skip "built with sanitizers"
    for_all
    as_nobody
    start -o run_as=nobody
    same root stat -c %U "/proc/$(daemons)/environ"
    stop
    as_capable_nobody "$kvfs" "$store" "$mnt" -d -o allow_other 2>/dev/null &
    wait_until eval '[ -n "$(mounts)" ]'
    same nobody stat -c %U "/proc/$(daemons)/environ"
    stop
}

run_cases "$@"
