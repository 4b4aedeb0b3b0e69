#!/bin/bash
# mount(8), /etc/fstab and kvfs: the helper mount.fuse.kvfs, nocreate, remounts.
. "$(dirname "$0")/../support/mount.sh"

# The helper is kvfs under another name.
kvfs=$KVFS_BIN # whatever options a run has: the helper stands beside it
helper=$(dirname "$kvfs")/mount.fuse.kvfs

# with_helper COMMAND...: as root, in a mount namespace in which mount(8) finds the helper. What is mounted there is
# unmounted there.
with_helper() {
    [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null || skip "needs root and mount namespaces"
    mkdir -p sbin
    ln -sf "$helper" sbin/mount.fuse.kvfs
    unshare -m bash -c 'mount -t overlay -o "lowerdir=$1/sbin:/usr/sbin" none /usr/sbin' - "$PWD" 2>/dev/null ||
        skip "no overlay file systems here"
    timeout 60 unshare -m bash -c 'mount -t overlay -o "lowerdir=$1/sbin:/usr/sbin" none /usr/sbin && shift &&
        eval "$1" && umount "$0"' "$mnt" "$PWD" "$1" </dev/null
}

case_with_nocreate_no_store_is_made() {
    mkdir disk
    fails_with 'no store there' "$kvfs" disk/store "$mnt" -o nocreate
    fails_with 'a disk may be missing' "$kvfs" disk "$mnt" -o nocreate,rw -f
    same "" ls -A disk
    not_mounted || wrong "something is mounted"
    wait_until no_daemons
    start -o nocreate,create
    stop
    start -o nocreate
    stop
    start -o create,nocreate
}

case_the_helper_mounts_what_is_there_and_makes_nothing() {
    mkdir disk
    fails_with 'no store there' "$helper" disk "$mnt" -o rw
    fails_with 'no store there' "$helper" disk "$mnt"
    same "" ls -A disk
    "$helper" disk "$mnt" -s -n -v -t fuse.kvfs -o rw,create -o cache_ttl=3 || wrong "exit status $?"
    same cache_ttl=3.000 grep cache_ttl "$mnt/.kvfs/config"
    stop
    "$helper" disk "$mnt" -f -o rw || wrong "-f: exit status $?"
    not_mounted || wrong "a mount that was not to be done was done"
    "$helper" disk "$mnt" -o ro || wrong "exit status $?"
    same ro=yes grep ^ro= "$mnt/.kvfs/config"
    stop
}

case_the_helper_refuses_what_mount_never_says() {
    local arguments
    mkdir disk
    for arguments in "" "disk" "disk $mnt third" "disk $mnt -x" "disk $mnt -o" "disk $mnt -N 1"; do
        # shellcheck disable=SC2086 # several words
        fails_with 'usage: mount.fuse.kvfs' "$helper" $arguments
    done
    fails_with '-o bogus: unknown option' "$helper" disk "$mnt" -o bogus
    same "" ls -A disk
}

case_a_line_of_fstab_mounts_the_store_that_is_there() {
    start
    mkdir -p "$mnt/a/n"
    echo value >"$mnt/a/n/key"
    stop
    echo "$store $mnt fuse.kvfs nofail,cache_ttl=5,_netdev,x-systemd.automount 0 0" >fstab
    same "value
cache_ttl=5.000" with_helper "mount -T fstab $mnt && cat $mnt/a/n/key && grep cache_ttl $mnt/.kvfs/config"
    wait_until no_daemons
    same "value" with_helper "mount -T fstab -a 2>/dev/null; cat $mnt/a/n/key"
    wait_until no_daemons
    mkdir disk
    fails_with 'a disk may be missing' with_helper "mount -t fuse.kvfs $PWD/disk $mnt"
    fails_with 'a disk may be missing' with_helper "mount -t fuse.kvfs $PWD/disk/store $mnt"
    same "" ls -A disk
    wait_until no_daemons
}

case_a_mount_becomes_read_only_and_writable_again() {
    echo "$store $mnt fuse.kvfs nofail,cache_ttl=5,cache_size=1M,nosuid 0 0" >fstab
    start
    mkdir -p "$mnt/a/n"
    stop
    same "no
yes
ro,nosuid
rw,nosuid" with_helper "mount -T fstab $mnt && mount -T fstab -o remount,ro $mnt &&
        { touch $mnt/a/n/key 2>/dev/null && echo yes || echo no; } && findmnt -no OPTIONS $mnt >options &&
        mount -T fstab -o remount,rw $mnt && { touch $mnt/a/n/key && echo yes || echo no; } &&
        cut -d, -f1,2 options && findmnt -no OPTIONS $mnt | cut -d, -f1,2"
    wait_until no_daemons
}

case_what_only_a_new_mount_can_change_is_refused() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    start -o cache_ttl=5,cache_size=1M
    "$helper" none "$mnt" -o remount,cache_ttl=5.0,cache_size=1048576,rw,nofail || wrong "exit status $?"
    fails_with 'cache_ttl=6: in this mount it is 5.000' "$helper" none "$mnt" -o remount,ro,cache_ttl=6
    fails_with 'cache_size=2M: in this mount it is 1048576' "$helper" none "$mnt" -o cache_size=2M,remount
    touch "$mnt/.kvfs/x" 2>/dev/null && wrong "a file of the daemon's own was made"
    mkdir "$mnt/a" || wrong "a refused remount made the mount read-only"
    fails_with 'no kvfs is mounted' "$helper" none "$PWD" -o remount,ro
    fails_with 'No such file' "$helper" none absent -o remount,ro
    stop
    start -o ro
    fails_with 'the store was opened read-only' "$helper" none "$mnt" -o remount,rw
    stop
}

run_cases "$@"
