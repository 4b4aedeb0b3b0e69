#!/bin/bash
# Keys that expire, through a mount: absent at once for whoever looks, on each node; kept by what changes the value.
. "$(dirname "$0")/../support/tools.sh"

expires() { getfattr --absolute-names --only-values -n user.kvfs.expires "$1"; }
swept() { kv account show a | jq -e ".keys == $1" >/dev/null; }
has_not() { ! kv get "$1" >/dev/null 2>&1; }

# gone KEY: nothing on the node at $n has it; asked of the kernel's caches first
gone() {
    [ ! -r "$n/$1" ] || wrong "access(2) allows $1" # for that the kernel needs no more than the mode
    [ ! -e "$n/$1" ] || wrong "stat finds $1"
    fails_with "No such file" cat "$n/$1"
    ls "$n" | grep -qx "$1" && wrong "ls lists $1"
    fails_with "No such file" rm "$n/$1"
}

# with_its_time_over KEY: wait until kvctl, which has no cache, says that it is gone. Whatever the kernel believes of
# the key was believed before.
with_its_time_over() { wait_until has_not "a/n/$1"; }

case_a_key_is_gone_for_every_reader_when_its_time_is_over() {
    ready -o cache_ttl=3600
    echo other >"$n/other"
    kv put a/n/key value --ttl 2s || wrong "kvctl put"
    same value cat "$n/key"
    stat "$n/key" >/dev/null || wrong "stat: exit status $?"
    ls -l "$n" >/dev/null
    with_its_time_over key
    gone key
    only other
    wait_until swept 1
    same 11 bash -c "'$kvctl' --store '$store' account show a | jq .bytes"
    gone key
}

case_a_second_node_of_another_kind_sees_the_same() {
    local mnt2=$case_dir/mnt2
    ready
    mkdir "$mnt2"
    "$kvfs" "$store" "$mnt2" -o invalidate=ttl,cache_ttl=3600 || wrong "a second mount: exit status $?"
    kv put a/n/key value --ttl 2s || wrong "kvctl put"
    same value cat "$n/key"
    same value cat "$mnt2/a/n/key"
    with_its_time_over key
    gone key
    n=$mnt2/a/n
    gone key
    wait_until swept 0
    gone key
    fusermount3 -u "$mnt2"
}

# Two nodes, of which the first has been told all there is to know of the key by the second, and then another time.
two_nodes() {
    mnt2=$case_dir/mnt2
    ready -o "invalidate=$1,cache_ttl=3600"
    mkdir "$mnt2"
    "$kvfs" "$store" "$mnt2" -o cache_ttl=3600 || wrong "a second mount: exit status $?"
    kv put a/n/key value --ttl "$2" || wrong "kvctl put"
    know_all
}

know_all() {
    same value cat "$n/key"
    stat "$n/key" >/dev/null || wrong "stat: exit status $?"
    ls -l "$n" >/dev/null
}

case_an_end_that_another_node_moves_closer_is_seen() {
    two_nodes push 1h
    setfattr -n user.kvfs.expires -v +3s "$mnt2/a/n/key" || wrong "setfattr: exit status $?"
    know_all
    with_its_time_over key
    gone key
    echo again >"$mnt2/a/n/key" # the name was known not to be there
    wait_until [ -e "$n/key" ]
    same again cat "$n/key"
    fails_with "No such attribute" expires "$n/key"
    # And where nobody on the first node looks between what it was told and the end.
    same again cat "$n/key"
    setfattr -n user.kvfs.expires -v 2001-01-01T00:00:00Z "$mnt2/a/n/key" || wrong "setfattr: exit status $?"
    wait_until [ ! -e "$n/key" ]
    gone key
    fusermount3 -u "$mnt2"
}

case_an_end_that_kvctl_moves_closer_is_seen() {
    two_nodes push 1h
    kv put a/n/key value --ttl 2s || wrong "kvctl put"
    with_its_time_over key
    gone key
    fusermount3 -u "$mnt2"
}

# still_there SECONDS: the key is, on the first node, after as many seconds as it had been told
still_there() {
    local end=$((SECONDS + $1 + 1))
    while [ $SECONDS -le $end ]; do
        stat "$n/key" >/dev/null || wrong "stat: exit status $?" # no ls, by which a node learns
        same value cat "$n/key"
        [ -r "$n/key" ] || wrong "access(2) does not find it"
        sleep 0.2
    done
    ls "$n" | grep -qx key || wrong "it is not listed"
    echo more >>"$n/key" || wrong "append"
    same valuemore cat "$mnt2/a/n/key"
}

case_an_end_that_another_node_moves_away_is_seen() {
    two_nodes push 3s
    setfattr -n user.kvfs.expires -v +1h "$mnt2/a/n/key" || wrong "setfattr: exit status $?"
    still_there 3
    fusermount3 -u "$mnt2"
}

# Such a node may believe in the end for as long as it may keep what it knows, but not tell of what never was so.
case_an_end_that_another_node_moves_away_does_not_come_where_nobody_tells_of_it() {
    two_nodes ttl 3s
    setfattr -n user.kvfs.expires -v +1h "$mnt2/a/n/key" || wrong "setfattr: exit status $?"
    still_there 3
    fusermount3 -u "$mnt2"
}

case_setfattr_sets_it_and_takes_it_away() {
    local left
    ready
    echo value >"$n/key"
    fails_with "No such attribute" expires "$n/key"
    setfattr -n user.kvfs.expires -v 2100-12-01T13:00:00+01:00 "$n/key" || wrong "setfattr: exit status $?"
    same 2100-12-01T12:00:00Z expires "$n/key"
    same "value" cat "$n/key"
    same 2100-12-01T12:00:00Z bash -c "'$kvctl' --store '$store' get a/n/key --json | jq -r .expires"
    setfattr -n user.kvfs.expires -v 4131345600.5 "$n/key" || wrong "setfattr: exit status $?"
    same 2100-12-01T12:00:00.5Z expires "$n/key"
    setfattr -n user.kvfs.expires -v +1h "$n/key" || wrong "setfattr: exit status $?"
    left=$(($(date -d "$(expires "$n/key")" +%s) - $(date +%s)))
    [ $left -gt 3400 ] && [ $left -le 3600 ] || wrong "+1h is in $left s"
    setfattr -x user.kvfs.expires "$n/key" || wrong "setfattr -x: exit status $?"
    fails_with "No such attribute" expires "$n/key"
    fails_with "No such attribute" setfattr -x user.kvfs.expires "$n/key"
    setfattr -n user.kvfs.expires -v +1h "$n/key"
    setfattr -n user.kvfs.expires -v never "$n/key" || wrong "setfattr never: exit status $?"
    fails_with "No such attribute" expires "$n/key"
    fails_with "Invalid argument" setfattr -n user.kvfs.expires -v soon "$n/key"
    grep -q 'a/n/key setxattr: an expiry is a time as' "$mnt/.kvfs/errors" || wrong "$(cat "$mnt/.kvfs/errors")"
    fails_with "not permitted" setfattr -n user.kvfs.expires -v +1h "$n"
    same "" getfattr --absolute-names -d "$n/key" # as the others of its kind, it is not listed
}

case_what_the_kernel_was_told_of_an_open_file_ends_too() {
    ready -o invalidate=ttl,cache_ttl=3600
    echo value >"$n/key"
    exec 5<"$n/key"
    stat "$n/key" >/dev/null
    setfattr -n user.kvfs.expires -v +2s "$n/key" || wrong "setfattr: exit status $?"
    with_its_time_over key
    gone key
    same value cat <&5
    exec 5<&-
}

case_what_the_kernel_was_told_before_ends_with_an_expiry_that_is_set() {
    ready -o invalidate=ttl,cache_ttl=3600
    echo value >"$n/key"
    same value cat "$n/key"
    ls -l "$n" >/dev/null
    setfattr -n user.kvfs.expires -v +2s "$n/key" || wrong "setfattr: exit status $?"
    with_its_time_over key
    gone key
    echo anew >"$n/key"
    same anew cat "$n/key"
    fails_with "No such attribute" expires "$n/key"
}

case_what_a_listing_told_ends_too() {
    ready -o cache_ttl=3600
    kv put a/n/key value --ttl 2s || wrong "kvctl put"
    ls -l "$n" | grep -q key || wrong "it is not listed"
    with_its_time_over key
    gone key
}

case_what_was_told_of_a_file_that_is_being_written_ends_too() {
    ready -o cache_ttl=3600
    kv put a/n/key value --ttl 3s || wrong "kvctl put"
    exec 5>>"$n/key"
    /bin/echo more >&5 # of another process: its close puts nothing
    ls -l "$n" >/dev/null
    exec 5>&-
    with_its_time_over key
    gone key
}

case_a_put_that_learns_of_an_expiry_tells_the_kernel() {
    ready -o invalidate=ttl,cache_ttl=3600
    echo value >"$n/key"
    exec 5>>"$n/key" 6<"$n/key"
    kv put a/n/key --ttl 3s </dev/null || wrong "kvctl put"
    /bin/echo more >&5 # of another process: its close puts nothing
    stat "$n/key" >/dev/null || wrong "stat: exit status $?"
    exec 5>&-
    with_its_time_over key
    gone key
    same 'value
more' cat <&6
    exec 6<&-
    gone key
}

case_an_expiry_in_the_past_ends_a_key_at_once() {
    ready -o cache_ttl=3600
    echo value >"$n/key"
    stat "$n/key" >/dev/null
    setfattr -n user.kvfs.expires -v 2001-01-01T00:00:00Z "$n/key" || wrong "setfattr: exit status $?"
    gone key
}

case_writing_and_renaming_keep_it() {
    ready
    kv put a/n/key value --expires 2100-12-01T12:00:00Z
    echo other >"$n/key"
    echo more >>"$n/key"
    truncate -s 3 "$n/key"
    chmod 600 "$n/key"
    same 2100-12-01T12:00:00Z expires "$n/key"
    mv "$n/key" "$n/moved"
    same 2100-12-01T12:00:00Z expires "$n/moved"
    same "oth" cat "$n/moved"
    # Another object that takes its place has its own, or none.
    echo new >"$n/key_new"
    mv "$n/key_new" "$n/moved"
    fails_with "No such attribute" expires "$n/moved"
    stop
    start
    fails_with "No such attribute" expires "$n/moved"
}

case_what_is_not_put_yet_carries_it() {
    ready
    exec 5>"$n/key"
    setfattr -n user.kvfs.expires -v 2100-12-01T12:00:00Z "$n/key" || wrong "setfattr: exit status $?"
    echo value >&5
    exec 5>&-
    same 2100-12-01T12:00:00Z expires "$n/key"
    same 2100-12-01T12:00:00Z bash -c "'$kvctl' --store '$store' get a/n/key --json | jq -r .expires"
    echo value >"$n/other.tmp"
    setfattr -n user.kvfs.expires -v 2100-12-01T12:00:00Z "$n/other.tmp" || wrong "setfattr: exit status $?"
    mv "$n/other.tmp" "$n/other"
    same 2100-12-01T12:00:00Z expires "$n/other"
}

case_an_open_file_keeps_its_content() {
    ready
    kv put a/n/key value --ttl 2s
    exec 5<"$n/key"
    with_its_time_over key
    wait_until swept 0
    same value cat /proc/self/fd/5 5<&5
    exec 5<&-
    gone key
}

case_a_put_through_a_file_that_was_open_makes_the_key_anew() {
    ready
    kv put a/n/key value --ttl 2s
    exec 5<>"$n/key"
    with_its_time_over key
    echo again >&5
    exec 5>&-
    same again cat "$n/key"
    fails_with "No such attribute" expires "$n/key"
}

case_rmdir_takes_a_namespace_with_nothing_but_expired_keys() {
    ready
    kv put a/n/key value --ttl 1s
    kv put a/n/more value --ttl 1s
    with_its_time_over more
    rmdir "$n" || wrong "rmdir: exit status $?"
    same '{"keys":0,"bytes":0}' bash -c "'$kvctl' --store '$store' account show a | jq -c '{keys, bytes}'"
}

case_watch_tells_of_it_as_a_delete_when_it_is_swept() {
    ready
    "$kvctl" --store "$store" watch a/n >lines </dev/null &
    local watcher=$!
    wait_until grep -q at lines
    kv put a/n/key value --ttl 1s
    wait_until grep -q '"op": "delete", .*"key": "key"' lines
    kill $watcher
    wait $watcher
    grep -q '"op": "put", .*"key": "key"' lines || wrong "the put is not told"
}

case_only_the_owner_may_set_it() {
    [ "$(id -u)" = 0 ] || skip "only root can be somebody else"
    ready -o allow_other
    chmod 711 "$(dirname "$case_dir")" "$case_dir" "$mnt/a" "$n"
    echo value >"$n/key"
    chmod 644 "$n/key"
    fails_with "Permission denied" setpriv --reuid=65534 --regid=65534 --clear-groups \
        setfattr -n user.kvfs.expires -v +1h "$n/key"
    same value setpriv --reuid=65534 --regid=65534 --clear-groups cat "$n/key"
    fails_with "No such attribute" expires "$n/key"
    chmod 666 "$n/key" # to write the key is not to remove it
    fails_with "Operation not permitted" setpriv --reuid=65534 --regid=65534 --clear-groups \
        setfattr -n user.kvfs.expires -v 1 "$n/key"
    fails_with "Operation not permitted" setpriv --reuid=65534 --regid=65534 --clear-groups \
        setfattr -x user.kvfs.expires "$n/key"
    same value cat "$n/key"
    chown 65534 "$n/key"
    setpriv --reuid=65534 --regid=65534 --clear-groups setfattr -n user.kvfs.expires -v +1h "$n/key" ||
        wrong "the owner did not"
}

run_cases "$@"
