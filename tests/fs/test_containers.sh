#!/bin/bash
# Processes of several pid namespaces, which have the same numbers, on one store.
. "$(dirname "$0")/../support/tools.sh"

# "${contained[@]}" COMMAND...: as the first process of a pid namespace. The search for leaks looks for its threads in
# /proc, which is not of that namespace: it would find those of others.
contained=(env "ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0" unshare -pf --kill-child)

containers() {
    [ "$(id -u)" = 0 ] && "${contained[@]}" true 2>/dev/null || skip "needs root and pid namespaces"
    mkdir -p "$mnt" "$case_dir/second"
    second=$case_dir/second
    kv account create a
    kv namespace create a/n
}

# child PID: its first child, which it surely has
child() {
    local pids
    pids=$(cat "/proc/$1/task/$1/children") && [ -n "$pids" ] && echo "${pids%% *}"
}

# end_contained PID [CHILD]: let kvfs end, and what it is contained in
end_contained() {
    local pid
    pid=${2:-$(child "$1")} && kill "$pid" || exit 1
    wait "$1" || wrong "it ended with $?"
}
mounted() { [ -n "$(mounts "$1")" ]; }
is_stopped() { grep -q '^State:.T' "/proc/$1/status"; }
is_running() { ! is_stopped "$1"; }

case_two_containers_share_a_store() {
    local one two
    containers
    "${contained[@]}" "$kvfs" "$store" "$mnt" -f -o cache_ttl=0 & one=$!
    wait_until mounted "$mnt"
    "${contained[@]}" "$kvfs" "$store" "$second" -f -o cache_ttl=0 & two=$!
    wait_until mounted "$second"
    echo hello >"$mnt/a/n/key"
    same hello cat "$second/a/n/key"
    echo again >"$second/a/n/key"
    same again cat "$mnt/a/n/key"
    echo third | "${contained[@]}" "$kvctl" --store "$store" put a/n/key || wrong "kvctl put: exit status $?"
    same third "${contained[@]}" "$kvctl" --store "$store" get a/n/key
    same third cat "$mnt/a/n/key"

    end_contained $two
    mounted "$second" && wrong "the second one is still mounted"
    end_contained $one
}

case_kvctl_ends_as_it_does_outside_of_a_container() {
    local one
    containers
    "${contained[@]}" "$kvfs" "$store" "$mnt" -f & one=$!
    wait_until mounted "$mnt"
    kv project create a/p
    "${contained[@]}" "$kvctl" --store "$store" get a/n/key
    [ $? = 1 ] || wrong "get of an absent key: exit status $?"
    "${contained[@]}" "$kvctl" --store "$store" put a/m/key x 2>err && wrong "put without a namespace succeeded"
    [ "$(wc -l <err)" = 1 ] || wrong "said: $(cat err)"
    "${contained[@]}" --mount-proc "$kvctl" --store "$store" run a/p --mount "$mnt" -- sh -c 'exit 7'
    [ $? = 7 ] || wrong "run: exit status $?"
    "${contained[@]}" --mount-proc "$kvctl" --store "$store" run a/p --mount "$mnt" -- sh -c 'kill -9 $$'
    [ $? = 137 ] || wrong "run of what is killed: exit status $?"
    end_contained $one
}

case_signals_reach_the_process_that_has_the_store_open() {
    local one two shell stand_in daemon
    containers
    "${contained[@]}" sh -c '"$@"; exit $?' - "$kvfs" "$store" "$mnt" -f & one=$!
    wait_until mounted "$mnt"
    "${contained[@]}" sh -c '"$@"; exit $?' - "$kvfs" "$store" "$second" -f & two=$!
    wait_until mounted "$second"
    shell=$(child $two) && stand_in=$(child "$shell") && daemon=$(child "$stand_in") || exit 1
    kill -STOP "$daemon"
    wait_until is_stopped "$stand_in"
    kill -CONT "$stand_in"
    wait_until is_running "$daemon"
    same "" ls "$second/a/n"
    kill "$stand_in"
    wait $two || wrong "the second one ended with $?"
    shell=$(child $one) && end_contained $one "$(child "$shell")"
}

case_a_daemon_in_a_container_keeps_no_terminal() {
    local one two stay='touch up; while [ ! -e over ]; do sleep 0.1; done'
    containers
    "${contained[@]}" sh -c "\"\$@\" && $stay" - "$kvfs" "$store" "$mnt" & one=$!
    wait_until test -e up
    rm up
    "${contained[@]}" sh -c "out=\$(\"\$@\" 2>&1) && $stay" - "$kvfs" "$store" "$second" & two=$!
    wait_until test -e up # what it was started with has ended
    mounted "$mnt" && mounted "$second" || wrong "not both are mounted"
    fusermount3 -u "$second"
    fusermount3 -u "$mnt"
    wait_until no_daemons
    touch over
    wait $one $two
}

run_cases "$@"
