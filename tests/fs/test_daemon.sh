#!/bin/bash
# The daemon, seen from a shell: its command line, its refusals, how it comes and goes, its control files.
case_seconds=240
. "$(dirname "$0")/../support/mount.sh"

# refused WORDS ARGUMENT...: kvfs fails with one line that has WORDS in it, and mounts nothing
refused() {
    local words=$1 status
    local -a lines
    shift
    timeout 60 "$kvfs" "$@" >"$case_dir/out" 2>"$case_dir/err" </dev/null
    status=$?
    [ $status -ne 0 ] || wrong "kvfs $*: succeeded"
    [ $status -lt 124 ] || wrong "kvfs $*: exit status $status"
    [ ! -s "$case_dir/out" ] || wrong "kvfs $*: printed $(head -c 200 "$case_dir/out")"
    mapfile lines <"$case_dir/err"
    if [ ${#lines[@]} -ne 1 ] || [[ ${lines[0]} != 'kvfs: '?*$'\n' ]]; then
        wrong "kvfs $*: not one line of the form 'kvfs: ...': ${lines[*]}"
    elif [[ ${lines[0]} != *"$words"* ]]; then
        wrong "kvfs $*: said nothing of '$words': ${lines[0]}"
    fi
}

refused_and_not_mounted() {
    refused "$@"
    wait_until no_daemons
    not_mounted || wrong "kvfs ${*:2}: mounted all the same"
}

make_keys() {
    mkdir "$mnt/a" "$mnt/a/n" || wrong "mkdir"
    echo value >"$mnt/a/n/key" || wrong "write"
}

# ------------------------------------------------------------------ command line

case_help_is_printed_on_standard_output() {
    local option
    for option in -h --help; do
        "$kvfs" $option >out 2>err || wrong "$option: exit status $?"
        [ ! -s err ] || wrong "$option: said $(cat err)"
        grep -q '^usage: .* STORE MOUNTPOINT' out || wrong "$option: no usage"
        grep -q 'cache_ttl=' out || wrong "$option: no options"
        [ "$(wc -l <out)" -le 25 ] || wrong "$option: $(wc -l <out) lines are more than a screen has"
    done
    "$kvfs" "$store" "$mnt" -h >out || wrong "-h behind arguments: exit status $?"
    [ ! -e "$store" ] || wrong "-h made a store"
}

case_the_version_is_printed() {
    local option
    for option in -V --version; do
        "$kvfs" $option >out 2>err || wrong "$option: exit status $?"
        grep -Eqx 'kvfs [0-9]+\.[0-9]+\.[0-9]+' out || wrong "$option: printed $(cat out)"
        [ ! -s err ] || wrong "$option: said $(cat err)"
    done
}

case_wrong_arguments_are_refused() {
    refused_and_not_mounted usage
    refused_and_not_mounted usage "$store"
    refused_and_not_mounted "one argument too many" "$store" "$mnt" third
    refused_and_not_mounted usage "" "$mnt"
    refused_and_not_mounted usage "$store" ""
    refused_and_not_mounted "-o: options are missing" "$store" "$mnt" -o
    refused_and_not_mounted "a??b" "$store" "$mnt" $'a\n\033b'
    [ ! -e "$store" ] && [ ! -e third ] || wrong "made something"
}

case_options_that_there_are_not_are_refused() {
    local option
    for option in -x --bogus -s; do
        refused_and_not_mounted "kvfs: $option: unknown option; kvfs -h" "$store" "$mnt" $option
    done
    for option in bogus bogus=3 uid=5 gid=5 umask=0 max_read=4096 max_read blkdev fsname=x subtype=x fd=3 \
        modules=subdir ro=1 suid=1 Ro; do
        refused_and_not_mounted "kvfs: -o $option: unknown option; kvfs -h" "$store" "$mnt" -o "$option"
        refused_and_not_mounted "kvfs: -o $option: unknown option" "$store" "$mnt" -o "cache_ttl=5,$option"
    done
    for option in cache_ttl node map_size durability commit_timeout; do
        refused_and_not_mounted "kvfs: -o $option: this option takes a value" "$store" "$mnt" -o $option
    done
    [ ! -e "$store" ] || wrong "made a store"
}

case_options_of_every_mount_are_taken() {
    start -o _netdev,nofail,noauto,auto,user,users,nouser,user=me,owner,group,defaults,comment=x \
        -o x-systemd.automount,nonempty,default_permissions,relatime,nodiratime,strictatime -o '' || return
    same yes awk -v at="$mnt" '$2 == at { print $4 ~ /^rw,nosuid,nodev,relatime,/ ? "yes" : $4 }' /proc/self/mounts
    stop
    start -o suid,dev,noexec,noatime,sync -o nosuid,nodev,exec,atime,async || return
    same yes awk -v at="$mnt" '$2 == at { print $4 ~ /^rw,nosuid,nodev,.*relatime,/ ? "yes" : $4 }' /proc/self/mounts
    stop
    start -o noexec,noatime,rw || return
    same yes awk -v at="$mnt" '$2 == at { print $4 ~ /^rw,nosuid,nodev,noexec,noatime,/ ? "yes" : $4 }' \
        /proc/self/mounts
}

case_of_ro_and_rw_the_last_one_counts() {
    start || return
    make_keys
    stop
    start -o rw,ro || return
    same ro=yes grep '^ro=' "$mnt/.kvfs/config"
    fails_with "Read-only file system" touch "$mnt/a/n/new"
    stop
    start -o ro,rw || return
    same ro=no grep '^ro=' "$mnt/.kvfs/config"
    touch "$mnt/a/n/new" || wrong "not writable"
}

case_mount_of_util_linux_takes_a_store() {
    [ "$(id -u)" = 0 ] && [ -x /sbin/mount.fuse ] || skip "needs root and mount.fuse"
    timeout 60 mount -t fuse -o cache_ttl=5,nofail,noatime,_netdev "$kvfs#$store" "$mnt" >out 2>&1 ||
        wrong "mount: exit status $?: $(cat out)"
    same cache_ttl=5.000 grep cache_ttl "$mnt/.kvfs/config"
    umount "$mnt" || wrong "umount"
}

case_debug_prints_requests() {
    local option pid
    for option in -d --debug -odebug; do
        "$kvfs" "$store" "$mnt" $option >out 2>err &
        pid=$!
        wait_until test -e "$mnt/.kvfs/config"
        kill $pid
        wait $pid || wrong "$option: exit status $?"
        grep -q 'opcode: LOOKUP' err || wrong "$option: printed $(head -c 300 err)"
    done
}

case_a_daemon_that_is_killed_before_it_serves_is_no_success() {
    local parent
    # The daemon waits for who makes the store.
    mkdir "$store" && exec 9>"$store/lock.mdb" && flock 9
    "$kvfs" "$store" "$mnt" 2>err 9>&- &
    parent=$!
    wait_until pgrep -P $parent >child
    kill -9 "$(cat child)"
    wait $parent
    [ $? = 1 ] || wrong "the exit status is not 1"
    exec 9>&-
    same "kvfs: nothing is mounted: signal 9 ended the daemon" cat err
    not_mounted || wrong "something is mounted"
}

case_closed_standard_descriptors_are_not_taken_for_others() {
    local i
    "$kvfs" "$store" "$mnt" <&- >&- 2>&- || wrong "exit status $?"
    make_keys
    stop
    start && same value cat "$mnt/a/n/key"
    stop
    for i in 1 2 3; do
        "$kvfs" "$store" "$mnt" -f <&- >&- 2>&- &
        wait_until test -e "$mnt/a"
        same value cat "$mnt/a/n/key"
        stop
    done
}

case_wrong_values_of_options_are_refused() {
    local value
    for value in $'a\nb' $'\033[31m' $'\377' $'a\303' $'\300\200' $'\302\205' $'\355\240\200' $'a\177' '\\'; do
        refused_and_not_mounted "printable UTF-8" "$store" "$mnt" -o "node=$value"
    done
    for value in cache_ttl= cache_ttl=x cache_ttl=-1 cache_ttl=1s cache_ttl=nan cache_size= cache_size=1X \
        cache_size=-1 cache_size=99999999999999999999 durability= durability=none commit_interval_ms=x \
        commit_interval_ms=-5 commit_timeout=0 commit_timeout=-1 commit_timeout=x \
        map_size=x memory_size=x map_size=0 map_size=1M memory_size=0 node= 'node=a"b'; do
        refused_and_not_mounted "${value%%=*}" "$store" "$mnt" -o "$value"
    done
    refused_and_not_mounted "0 to 1000000" "$store" "$mnt" -o cache_ttl=2000000
    refused_and_not_mounted "at least 4096K" "$store" "$mnt" -o map_size=1M
    refused_and_not_mounted "at least 1K" "$store" "$mnt" -o memory_size=0
    refused_and_not_mounted "cache_size=10M,memory_size=16M: the cache is at most half" "$store" "$mnt" \
        -o cache_size=10M,memory_size=16M
    [ ! -e "$store" ] || wrong "made a store"
}

case_options_are_taken_and_shown_in_config() {
    start -o cache_ttl=1.5,cache_size=10M,node=edge-1,commit_timeout=2.5 -o durability=fsync,commit_interval_ms=50
    grep -qx 'cache_ttl=1.500' "$mnt/.kvfs/config" || wrong "cache_ttl"
    grep -qx 'cache_size=10485760' "$mnt/.kvfs/config" || wrong "cache_size"
    grep -qx 'node=edge-1' "$mnt/.kvfs/config" || wrong "node"
    grep -qx 'durability=fsync' "$mnt/.kvfs/config" || wrong "durability"
    grep -qx 'commit_timeout=2.500' "$mnt/.kvfs/config" || wrong "commit_timeout"
    grep -qx 'commit_interval_ms=50' "$mnt/.kvfs/config" || wrong "commit_interval_ms"
    grep -qx "store=$store" "$mnt/.kvfs/config" || wrong "store"
    grep -qx "mountpoint=$mnt" "$mnt/.kvfs/config" || wrong "mountpoint"
    grep -qx 'ro=no' "$mnt/.kvfs/config" || wrong "ro"
    grep -q 'kvfs_node_info{mount="[^"]*",node="edge-1",.*,mode="rw",version="[0-9.]*"} 1' "$mnt/.kvfs/stats" ||
        wrong "node in stats"
    stop
    start
    grep -qx 'cache_ttl=60.000' "$mnt/.kvfs/config" || wrong "default cache_ttl"
    grep -qx 'cache_size=268435456' "$mnt/.kvfs/config" || wrong "default cache_size"
    grep -qx 'memory_size=536870912' "$mnt/.kvfs/config" || wrong "default memory_size"
    grep -Eqx 'map_size=[1-9][0-9]{9,}' "$mnt/.kvfs/config" || wrong "default map_size"
    grep -qx 'durability=close' "$mnt/.kvfs/config" || wrong "default durability"
    grep -qx "node=$(hostname)-$(daemons)" "$mnt/.kvfs/config" || wrong "default $(grep node= "$mnt/.kvfs/config")"
}

# sizes CACHE MEMORY MAP OPTIONS: what config shows of them
sizes() {
    start -o "$4" || return
    same "cache_size=$(numfmt --from=iec "$1")
memory_size=$(numfmt --from=iec "$2")
map_size=$(numfmt --from=iec "$3")" grep '_size=' "$mnt/.kvfs/config"
    stop
}

case_config_shows_the_sizes_that_are_in_force() {
    sizes 400M 800M 64M cache_size=400M,map_size=64M
    sizes 8M 16M 64M memory_size=16M,map_size=64M
    sizes 8M 512M 64M cache_size=8M,map_size=64M
    sizes 8M 16M 64M cache_size=8M,memory_size=16M,map_size=64M
    sizes 0 16M 64M cache_size=0,memory_size=16M,map_size=64M
}

case_a_node_is_called_in_any_language() {
    start -o 'node=büro 2 – 東京 🙂' || return
    same 'node=büro 2 – 東京 🙂' grep '^node=' "$mnt/.kvfs/config"
}

# ---------------------------------------------------------------- store and mount point

# The store that is mounted at DIR. The kernel escapes some bytes.
source_of() { printf '%b' "$(awk -v at="$1" '$2 == at { print $1 }' /proc/self/mounts)"; }

case_a_store_may_be_called_anything() {
    local name
    for name in 's,ro' 's\t' 's\' 'a b' $'a\tb' 's\,ro' 'fsname=x,ro' '-o' '"'; do
        store=$PWD/$name
        start || continue
        make_keys
        same "$PWD/$name" source_of "$mnt"
        [ -e "$store/data.mdb" ] || wrong "$name: the store is elsewhere: $(ls)"
        stop
        start -o auto_unmount || continue
        same value cat "$mnt/a/n/key"
        touch "$mnt/a/n/new" || wrong "$name: not writable"
        stop
        wait_until not_mounted
    done
}

# as_other COMMAND...: run it in a mount namespace of its own as another user, who may use /dev/fuse
as_other() {
    [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null || skip "needs root and mount namespaces"
    chmod 711 "$(dirname "$case_dir")" "$case_dir"
    chmod 777 "$case_dir/here"
    setpriv --reuid nobody --regid nogroup --clear-groups test -x "$case_dir" -a -x "$kvfs" ||
        skip "others cannot get there"
    mkdir -p "$case_dir/dev"
    timeout 60 unshare -m bash -c 'mount -t tmpfs none "$1" && mknod -m 666 "$1/fuse" c 10 229 &&
        mount --bind "$1/fuse" /dev/fuse && shift && exec setpriv --reuid nobody --regid nogroup --clear-groups "$@"' \
        - "$case_dir/dev" "$@"
}

case_another_user_mounts_a_store() {
    local name
    chown nobody "$mnt" 2>/dev/null
    for name in store 's,ro' 's\t'; do
        same "$case_dir/here/$name
value" as_other bash -c '"$1" "$2" "$3" && mkdir -p "$3/a/n" && echo value >"$3/a/n/key" || exit
            printf "%b\n" "$(awk -v at="$3" "\$2 == at { print \$1 }" /proc/self/mounts)"
            cat "$3/a/n/key"; fusermount3 -u "$3"' - "$kvfs" "$case_dir/here/$name" "$mnt"
        wait_until no_daemons
    done
}

# refused_to_other WORDS ARGUMENT...: as refused, to another user
refused_to_other() {
    local words=$1 status
    shift
    as_other "$kvfs" "$@" >out 2>err </dev/null
    status=$?
    [ $status -eq 1 ] || wrong "kvfs $*: exit status $status"
    [ ! -s out ] || wrong "kvfs $*: printed $(cat out)"
    [[ $(cat err) == "kvfs: "*"$words"* ]] && [ "$(grep -c . err)" = 1 ] || wrong "kvfs $*: said $(cat err)"
    wait_until no_daemons
}

case_another_user_is_told_why_nothing_is_mounted() {
    refused_to_other "$mnt: you may not mount here; a mount point must be" other "$mnt"
    [ ! -e other ] || wrong "made a store"
    chmod 1777 "$mnt"
    refused_to_other "$mnt: you may not mount here; a mount point must be" other "$mnt"
    chown nobody "$mnt"
    grep -qsx user_allow_other /etc/fuse.conf && skip "others may mount for others here"
    refused_to_other "cannot mount here: fusermount3: option allow_other only allowed if 'user_allow_other'" \
        other "$mnt" -o allow_other
    refused_to_other "cannot mount here: fusermount3: option allow_other only" other "$mnt" -o allow_other -f
}

case_an_absent_store_is_made() {
    start
    make_keys
    stop
    start
    same value cat "$mnt/a/n/key"
}

case_an_empty_directory_becomes_a_store() {
    mkdir "$store"
    start
    make_keys
    same value cat "$mnt/a/n/key"
}

case_a_store_is_for_its_owner_only_whatever_the_mask_is() {
    umask 0
    start
    same 700 stat -c %a "$store"
    stop
    rm -r "$store"
    mkdir -m 755 "$store" # empty, and ours
    start
    same 700 stat -c %a "$store"
    stop
}

case_a_store_that_others_have_rights_on_is_opened_only_when_told_to() {
    start
    make_keys
    stop
    chmod 750 "$store"
    refused_and_not_mounted "other users have rights on the directory (mode 0750)" "$store" "$mnt"
    refused_and_not_mounted "chmod go= on it" "$store" "$mnt" -o ro
    start -o foreign_store
    same foreign_store=yes grep foreign_store "$mnt/.kvfs/config"
    same value cat "$mnt/a/n/key"
}

case_a_store_of_another_user_is_opened_only_when_told_to() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    start
    make_keys
    stop
    chown -R nobody "$store"
    refused_and_not_mounted "belongs to user $(id -u nobody), and you are user 0" "$store" "$mnt"
    rm "$store/lock.mdb" "$store/writer"
    start -o foreign_store
    same value cat "$mnt/a/n/key"
    echo new >"$mnt/a/n/key" || wrong "cannot write"
    same nobody flock "$mnt/a/n/key" sh -c 'stat -c %U "$1"/locks/*' - "$store"
    stop
    same "" find "$store" ! -user nobody
}

# A daemon that a signal of the limit ends would leave a dead mount.
case_a_limit_of_file_sizes_is_a_full_disk() {
    head -c 20000000 /dev/zero >value
    (ulimit -f 65536 && exec "$kvfs" "$store" "$mnt") || wrong "exit status $?"
    mkdir "$mnt/a" "$mnt/a/n"
    for i in 1 2 3 4; do
        cp value "$mnt/a/n/k$i" 2>err || break
    done
    [ "$i" -gt 1 ] || wrong "no value fits: $(cat err)"
    grep -q "No space left on device" err || wrong "the $i. value: $(cat err)"
    grep -q "limit of file sizes" "$mnt/.kvfs/errors" || wrong "errors: $(cat "$mnt/.kvfs/errors")"
    cmp value "$mnt/a/n/k1" || wrong "the first value"
    rm "$mnt/a/n/k1" || wrong "cannot remove"
    echo value >"$mnt/a/n/key" || wrong "no small value fits"
    same value cat "$mnt/a/n/key"
    stop
}

case_relative_paths_are_taken_from_where_the_user_is() {
    mkdir mnt
    "$kvfs" store mnt || wrong "exit status $?"
    mkdir mnt/a mnt/a/n
    echo value >mnt/a/n/key
    cat mnt/a/n/key >/dev/null || wrong "cannot read"
    [ -e store/data.mdb ] || wrong "the store is not here: $(ls)"
    same "store=$PWD/store" grep '^store=' mnt/.kvfs/config
    fusermount3 -u mnt || wrong "unmount"
    wait_until no_daemons
    "$kvfs" ../here/store ./mnt/../mnt || wrong "exit status $?"
    same value cat mnt/a/n/key
    fusermount3 -u mnt
}

case_a_mount_point_that_is_not_there_is_refused() {
    refused_and_not_mounted "$case_dir/absent" "$store" "$case_dir/absent"
    [ ! -e "$case_dir/absent" ] || wrong "it was made"
}

case_a_mount_point_that_is_a_file_is_refused() {
    echo content >file
    refused_and_not_mounted "directory" "$store" file
    same content cat file
}

case_a_second_mount_on_the_same_point_is_refused() {
    start
    make_keys
    refused "already" "$store" "$mnt"
    refused "already" "$case_dir/other" "$mnt"
    same value cat "$mnt/a/n/key"
    same 1 grep -c . <<<"$(mounts)"
}

case_a_store_that_is_a_file_is_refused() {
    echo content >file
    refused_and_not_mounted file file "$mnt"
    same content cat file
}

case_a_directory_with_other_things_is_no_store() {
    mkdir foreign
    echo content >foreign/file
    refused_and_not_mounted foreign foreign "$mnt"
    same file ls -A foreign
    same content cat foreign/file
}

case_a_store_below_nothing_is_refused() {
    refused_and_not_mounted absent "$case_dir/absent/store" "$mnt"
}

damage_headers() {
    dd if=/dev/urandom of="$store/$1" bs=8192 count=1 conv=notrunc status=none
}

# The log has another copy of what the database begins with.
case_a_database_with_damaged_headers_is_mended() {
    start
    make_keys
    stop
    damage_headers data.mdb
    start || return
    same value cat "$mnt/a/n/key"
    touch "$mnt/a/n/new" || wrong "not writable"
    stop
    kv check >out || wrong "kvctl check: exit status $?: $(cat out)"
}

case_a_damaged_store_is_refused() {
    start
    make_keys
    stop
    damage_headers data.mdb
    damage_headers log
    refused_and_not_mounted "$store" "$store" "$mnt"
    mkdir other
    head -c 100000 /dev/urandom >other/data.mdb
    refused_and_not_mounted other other "$mnt"
}

case_store_and_mount_point_must_not_lie_within_each_other() {
    mkdir -p inner/mnt
    refused_and_not_mounted within "$mnt" "$mnt"
    refused_and_not_mounted within "$mnt/store" "$mnt"
    refused_and_not_mounted within inner inner/mnt
}

case_a_missing_fuse_device_is_named() {
    [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null || skip "needs root and mount namespaces"
    unshare -m bash -c 'mount -t tmpfs none /dev && exec "$@"' - "$kvfs" "$store" "$mnt" >out 2>err &&
        wrong "mounted without /dev/fuse"
    grep -q '^kvfs: /dev/fuse: ' err && [ "$(grep -c . err)" = 1 ] || wrong "said $(cat err)"
    [ ! -s out ] || wrong "printed $(cat out)"
}

# rings_refused WORDS COMMAND...: after COMMAND in a mount namespace of its own, -o io_uring is refused with these words
rings_refused() {
    local words=$1
    shift
    unshare -m bash -c '"${@:4}" && exec "$1" "$2" "$3" -o io_uring' - "$KVFS_BIN" "$store" "$mnt" "$@" >out 2>err &&
        wrong "mounted without io_uring"
    grep -q "^kvfs: io_uring: .*$words" err && [ "$(grep -c . err)" = 1 ] || wrong "said $(cat err)"
    [ ! -s out ] || wrong "printed $(cat out)"
}

case_io_uring_is_refused_in_words_where_it_cannot_be_had() {
    local parameters=/sys/module/fuse/parameters
    [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null || skip "needs root and mount namespaces"
    [ -e $parameters/enable_uring ] || skip "this kernel has no FUSE over io_uring"
    rings_refused "came with Linux 6.14" mount -t tmpfs none $parameters
    echo N >off
    rings_refused "echo Y > $parameters/enable_uring" mount --bind off $parameters/enable_uring
    not_mounted || wrong "something is mounted"
}

case_io_uring_serves_each_cpu_until_the_unmount() {
    [ "$(cat /sys/module/fuse/parameters/enable_uring 2>/dev/null)" = Y ] || skip "it is not switched on here"
    start -o io_uring
    same "io_uring=yes" grep ^io_uring= "$mnt/.kvfs/config"
    mkdir -p "$mnt/a/n"
    same value bash -c 'echo value >"$1/a/n/key"; cat "$1/a/n/key"' - "$mnt"
    same yes bash -c '[ $(readlink /proc/"$1"/fd/* | grep -c "^anon_inode:.io_uring") -gt $(nproc) ] && echo yes' - \
        "$(daemons)" # a keeper each, and who served
    stop
}

# Who waits for a lock has a ring until it gets it. Where there are no more, others are served all the same.
case_io_uring_with_few_rings_serves_others_beside_those_who_wait_for_locks() {
    [ "$(cat /sys/module/fuse/parameters/enable_uring 2>/dev/null)" = Y ] || skip "it is not switched on here"
    ulimit -n 128 # room for 64 rings
    start -o io_uring
    mkdir -p "$mnt/a/n"
    echo value >"$mnt/a/n/key"
    exec 7<"$mnt/a/n/key"
    flock 7
    for _ in {1..100}; do
        (
            exec 7<&-
            timeout 60 flock "$mnt/a/n/key" true
            echo $? >>codes
        ) 2>/dev/null &
    done
    wait_until grep -qsx 71 codes # no locks available: the 64 are taken
    timeout -s KILL 20 cat "$mnt/a/n/key" >got || kill "$(daemons)" # else nobody could be ended
    same value cat got
    same key timeout -s KILL 20 ls "$mnt/a/n"
    exec 7<&- # lets it go
    wait
    same 100 bash -c 'grep -cxE "0|65|71" codes' # or no descriptor for it
    stop
}

case_the_shell_gets_its_prompt_back_when_the_mount_answers() {
    local round
    for round in 1 2 3 4 5; do
        "$kvfs" "$store" "$mnt" && ls -d "$mnt/.kvfs" >/dev/null && mkdir "$mnt/account$round" || wrong "not ready"
        stop
    done
    # Nobody who waits for the end of its output waits for the daemon.
    same "" timeout 30 "$kvfs" "$store" "$mnt"
}

# ------------------------------------------------------------------------- read-only

no_change() {
    fails_with "Read-only file system" "$@"
}

case_a_read_only_mount_refuses_every_change() {
    local before
    start
    make_keys
    mkdir "$mnt/a/.projects/p" "$mnt/a/empty"
    ln -s ../../n "$mnt/a/.projects/p/KV"
    stop
    start -o ro
    before=$(find "$mnt" -ls)
    no_change mkdir "$mnt/b"
    no_change mkdir "$mnt/a/m"
    no_change mkdir "$mnt/a/.projects/q"
    no_change ln -s ../../n "$mnt/a/.projects/p/KV2"
    no_change rm "$mnt/a/.projects/p/KV"
    no_change rmdir "$mnt/a/empty"
    no_change touch "$mnt/a/n/new"
    no_change touch "$mnt/a/n/key"
    no_change rm -f "$mnt/a/n/key"
    no_change mv "$mnt/a/n/key" "$mnt/a/n/new"
    no_change mv "$mnt/a/empty" "$mnt/a/other"
    no_change truncate -s 1 "$mnt/a/n/key"
    no_change chmod 600 "$mnt/a/n/key"
    no_change chmod 777 "$mnt/a"
    no_change chgrp 99 "$mnt/a/n/key"
    no_change bash -c 'echo new >"$1"' - "$mnt/a/n/key"
    no_change bash -c 'echo new >>"$1"' - "$mnt/a/n/key"
    no_change bash -c 'echo new >"$1"' - "$mnt/a/n/new"
    no_change ln "$mnt/a/n/key" "$mnt/a/n/new"
    no_change mkfifo "$mnt/a/n/fifo"
    no_change python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.a", b"1")' "$mnt/a/n/key"
    no_change python3 -c 'import os, sys; os.open(sys.argv[1], os.O_RDWR)' "$mnt/a/n/key"
    same value cat "$mnt/a/n/key"
    same value cat "$mnt/a/.projects/p/KV/key"
    same "$before" find "$mnt" -ls
    same ro=yes grep '^ro=' "$mnt/.kvfs/config"
    kv put a/n/key changed || wrong "kvctl put"
    stop
    same changed kv get a/n/key
}

case_a_read_only_mount_makes_no_store() {
    refused_and_not_mounted "$store" "$store" "$mnt" -o ro
    [ ! -e "$store" ] || wrong "it made one"
}

# --------------------------------------------------------------------- coming and going

case_fusermount_ends_the_daemon() {
    start
    make_keys
    fusermount3 -u "$mnt" || wrong "exit status $?"
    not_mounted || wrong "still mounted"
    wait_until no_daemons
    same "" ls -A "$mnt"
    start
    same value cat "$mnt/a/n/key"
}

case_a_busy_mount_is_not_unmounted_unless_lazily() {
    start
    make_keys
    exec 4>"$mnt/a/n/key"
    fusermount3 -uq "$mnt" && wrong "unmounted although it is in use"
    fusermount3 -uz "$mnt" || wrong "lazily: exit status $?"
    not_mounted || wrong "still mounted"
    echo new >&4 || wrong "the open file is not usable any more"
    exec 4>&- || wrong "close"
    wait_until no_daemons
    start
    same new cat "$mnt/a/n/key"
}

case_signals_unmount() {
    local signal
    start
    make_keys
    stop
    for signal in TERM INT; do
        start
        same value cat "$mnt/a/n/key"
        kill -$signal "$(daemons)"
        wait_until no_daemons
        not_mounted || wrong "still mounted after SIG$signal"
        same "" ls -A "$mnt"
    done
    start
    same value cat "$mnt/a/n/key"
}

case_in_the_foreground_it_stays_until_a_signal() {
    local pid status signal
    for signal in TERM INT; do
        # A job that a script starts in the background ignores SIGINT, unless it says otherwise.
        env --default-signal=INT "$kvfs" "$store" "$mnt" -f >out 2>err &
        pid=$!
        wait_until test -e "$mnt/.kvfs/config"
        mkdir -p "$mnt/a/n" && echo value >"$mnt/a/n/key" || wrong "not usable"
        kill -0 $pid || wrong "it ended"
        kill -$signal $pid
        wait $pid
        status=$?
        [ $status -eq 0 ] || wrong "SIG$signal: exit status $status"
        not_mounted || wrong "still mounted after SIG$signal"
        [ ! -s out ] || wrong "printed $(cat out)"
        [[ $(cat err) == *" serves $store at $mnt "*$'\n'*"$mnt is unmounted: "* ]] || wrong "said $(cat err)"
    done
}

case_in_the_foreground_an_unmount_ends_it() {
    local pid
    "$kvfs" "$store" "$mnt" -f &
    pid=$!
    wait_until test -e "$mnt/.kvfs/config"
    fusermount3 -u "$mnt" || wrong "unmount"
    wait $pid || wrong "exit status $?"
}

case_a_dead_mount_point_is_recovered() {
    start
    make_keys
    kill -9 "$(daemons)"
    wait_until no_daemons
    fails_with "Transport endpoint is not connected" ls "$mnt"
    start
    same value cat "$mnt/a/n/key"
    echo new >"$mnt/a/n/key" || wrong "write"
    same new cat "$mnt/a/n/key"
    same 1 grep -c . <<<"$(mounts)"
}

case_several_dead_mounts_on_a_point_are_recovered() {
    start
    make_keys
    kill -9 "$(daemons)"
    wait_until no_daemons
    # A dead mount on top of another is nothing that kvfs makes; a bind mount shows the same.
    [ "$(id -u)" = 0 ] && mount --bind "$mnt" "$mnt" 2>/dev/null
    start
    same value cat "$mnt/a/n/key"
}

case_a_dead_mount_is_recovered_through_a_link() {
    start
    make_keys
    kill -9 "$(daemons)"
    wait_until no_daemons
    ln -s "$mnt" "$case_dir/link"
    "$kvfs" "$store" "$case_dir/link/" >out 2>&1 || wrong "exit status $?: $(cat out)"
    same value cat "$mnt/a/n/key"
    same 1 grep -c . <<<"$(mounts)"
}

case_a_dead_mount_of_another_program_is_left_alone() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    exec 7<>/dev/fuse
    mount -i -t fuse.other -o fd=7,rootmode=40000,user_id=0,group_id=0 other "$mnt" || wrong "mount"
    exec 7>&-
    fails_with "Transport endpoint is not connected" ls "$mnt"
    refused "a dead mount (fuse.other) is in the way" "$store" "$mnt"
    same fuse.other awk -v at="$mnt" '$2 == at { print $3 }' /proc/self/mounts
    umount -l "$mnt" || wrong "umount"
}

case_auto_unmount_leaves_no_dead_mount() {
    local i
    case ${KVFS_TEST_OPTIONS:-} in
    *io_uring*) skip "over io_uring the kernel may say ECANCELED of a killed daemon, which fusermount3 does not know" ;;
    esac
    start -o auto_unmount
    make_keys
    for i in {1..10}; do # what unmounts must not look before the mount is dead
        kill -9 "$(daemons)"
        wait_until not_mounted || return
        same "" ls -A "$mnt"
        start -o auto_unmount
    done
    same value cat "$mnt/a/n/key"
    kill -TERM "$(daemons)"
    wait_until not_mounted
    wait_until no_daemons
}

case_two_mounts_of_a_store_live_side_by_side() {
    local other=$case_dir/other
    mkdir "$other"
    start
    make_keys
    "$kvfs" "$store" "$other" || wrong "exit status $?"
    same value cat "$other/a/n/key"
    stop_one=$(daemons | wc -l)
    [ "$stop_one" = 2 ] || wrong "$stop_one daemons"
    fusermount3 -u "$mnt" || wrong "unmount"
    same value cat "$other/a/n/key"
    echo new >"$other/a/n/key2" || wrong "write"
    start
    same new cat "$mnt/a/n/key2"
    fusermount3 -u "$other"
}

# ---------------------------------------------------------------------- control files

case_control_files_are_found_but_not_listed() {
    start
    make_keys
    same a ls -A "$mnt"
    same "$mnt
$mnt/a
$mnt/a/n
$mnt/a/n/key" find "$mnt"
    same "config
errors
stats" ls -A "$mnt/.kvfs"
    same "" cat "$mnt/.kvfs/errors"
    [ -n "$(cat "$mnt/.kvfs/stats")" ] || wrong "stats is empty"
    same "$(cat "$mnt/.kvfs/config")" dd if="$mnt/.kvfs/config" bs=7 status=none
    fails_with "No such file" cat "$mnt/.kvfs/other"
}

case_control_files_cannot_be_changed() {
    local file
    start
    make_keys
    for file in config errors stats; do
        fails_with "ermi" bash -c 'echo x >"$1"' - "$mnt/.kvfs/$file"
        fails_with "ermi" bash -c 'echo x >>"$1"' - "$mnt/.kvfs/$file"
        fails_with "ermi" bash -c 'echo x 1<>"$1"' - "$mnt/.kvfs/$file"
        fails_with "ermi" truncate -s 0 "$mnt/.kvfs/$file"
        fails_with "ermi" rm -f "$mnt/.kvfs/$file"
        fails_with "ermi" mv "$mnt/.kvfs/$file" "$mnt/a/n/key2"
        fails_with "ermi" mv -T "$mnt/a/n/key" "$mnt/.kvfs/$file"
        fails_with "ermi" chmod 777 "$mnt/.kvfs/$file"
        fails_with "ermi" touch "$mnt/.kvfs/$file"
        sync "$mnt/.kvfs/$file" || wrong "sync $file"
    done
    fails_with "ermi" rmdir "$mnt/.kvfs"
    fails_with "ermi" touch "$mnt/.kvfs/new"
    fails_with "ermi" mkdir "$mnt/.kvfs/new"
    grep -q node= "$mnt/.kvfs/config" || wrong "config is damaged"
    same value cat "$mnt/a/n/key"
    grep -q ' .kvfs/config delete: .* nobody what is in .kvfs$' "$mnt/.kvfs/errors" ||
        wrong "errors: $(cat "$mnt/.kvfs/errors")"
}

# Series without the label that all have.
without_mount() { sed 's/{mount="[^"]*"}//; s/{mount="[^"]*",/{/'; }

case_stats_are_prometheus_text() {
    start
    make_keys
    cat "$mnt/a/n/key" >/dev/null
    cat "$mnt/.kvfs/stats" >stats || wrong "cannot be read"
    awk '
        function fail(text) { print "    " FILENAME ":" FNR ": " text ": " $0; bad = 1 }
        function base(name) { sub(/_(bucket|sum|count)$/, "", name); return name }
        /^# HELP / { if (NF < 4) fail("no text"); help[$3]++; next }
        /^# TYPE / {
            if (NF != 4 || $4 !~ /^(counter|gauge|histogram)$/) fail("no type")
            if (type[$3] != "") fail("second type"); type[$3] = $4; next
        }
        /^#/ { fail("a comment"); next }
        {
            if (!match($0, /^[a-zA-Z_:][a-zA-Z0-9_:]*/)) { fail("no name"); next }
            name = substr($0, 1, RLENGTH); rest = substr($0, RLENGTH + 1)
            if (rest !~ /^(\{[a-z_]+="[^"\\]*"(,[a-z_]+="[^"\\]*")*\})? (-?[0-9.]+(e[-+]?[0-9]+)?|\+Inf|NaN)$/)
                fail("not NAME{LABELS} NUMBER")
            of = type[name] != "" ? name : base(name)
            if (type[of] == "" || !help[of]) fail("without type or help")
            if (of != name && type[of] != "histogram") fail("part of what is no histogram")
            if (seen[name rest ""]++ || key[substr($0, 1, length($0) - length($NF))]++) fail("twice")
            if (type[of] == "counter" && name !~ /_total$/) fail("a counter without _total")
            if (name ~ /_bucket$/) { if ($NF < last[of]) fail("below the bucket before"); last[of] = $NF }
            if (name ~ /_count$/ && $NF != last[of]) fail("count differs from the last bucket")
        }
        END { exit bad }' stats || wrong "stats are not as they should be"
    [ "$(tail -c 1 stats | wc -l)" = 1 ] || wrong "no line end at the end"
    local name
    for name in cache_hits_total cache_misses_total cache_expired_total cache_evictions_total cache_bytes \
        central_reads_total central_writes_total commits_total 'fuse_requests_total{kind="lookup"}' \
        'get_seconds_bucket{le="+Inf"}' put_seconds_count commit_seconds_sum; do
        grep -qF "kvfs_$name " <(without_mount <stats) || wrong "no $name"
    done
}

stat_of() { without_mount <"$mnt/.kvfs/stats" | awk -v name="kvfs_$1" '$1 == name { print $2 }'; }

case_stats_count_what_happens() {
    local writes commits hits creates
    start
    make_keys
    writes=$(stat_of central_writes_total)
    commits=$(stat_of commits_total)
    creates=$(stat_of 'fuse_requests_total{kind="create"}')
    for i in 1 2 3 4 5; do echo $i >"$mnt/a/n/key_$i"; done
    same $((writes + 5)) stat_of central_writes_total
    same $((creates + 5)) stat_of 'fuse_requests_total{kind="create"}'
    [ "$(stat_of commits_total)" -ge $((commits + 5)) ] || wrong "commits"
    hits=$(stat_of cache_hits_total)
    cat "$mnt/a/n/key_1" >/dev/null
    [ "$(stat_of cache_hits_total)" -gt "$hits" ] || wrong "hits"
    [ "$(stat_of cache_bytes)" -gt 0 ] || wrong "cache_bytes"
}

case_errors_are_noted_in_words() {
    start
    make_keys
    kv account limit a --bytes 100
    head -c 200 /dev/zero >"$mnt/a/n/large" 2>/dev/null && wrong "over the limit"
    grep -Eq '^20[0-9-]+T[0-9:]+Z a/n/large (write|close): the account is full' "$mnt/.kvfs/errors" ||
        wrong "errors: $(cat "$mnt/.kvfs/errors")"
}

# ----------------------------------------------------------------------------- kvctl

case_kvctl_works_while_mounted() {
    start
    make_keys
    same value kv get a/n/key
    kv put a/n/other "from kvctl" || wrong "put"
    same "from kvctl" cat "$mnt/a/n/other"
    same '{"complete":true,"cursor":null,"keys":[{"key":"key"},{"key":"other"}]}' kv list a/n
    kv namespace create a/m || wrong "namespace create"
    echo new >"$mnt/a/m/key" || wrong "write"
    same new kv get a/m/key
    kv delete a/n/other || wrong "delete"
    same key ls "$mnt/a/n"
    kv account create b || wrong "account create"
    same "a
b" ls "$mnt"
    kv namespace rename a/m m2 || wrong "namespace rename"
    same "m2
n" ls "$mnt/a"
    stop
    same value kv get a/n/key
    kv put a/n/third 3 || wrong "put while not mounted"
    start
    same 3 cat "$mnt/a/n/third"
}

run_cases "$@"
