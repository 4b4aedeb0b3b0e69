#!/bin/bash
# kvctl watch: which lines it prints of what is changed through a mount and by kvctl, where it goes on, how it ends.
#
# See support/mount.sh. A case that calls `watch` looks at its lines in ./lines and at what it says in ./said.
. "$(dirname "$0")/../support/tools.sh"

# ------------------------------------------------------------------ vocabulary

line_count() { wc -l <lines; }
has_lines() { [ "$(line_count)" -ge "$1" ]; }

# watch ARGUMENT...: begin to watch, and wait for the first line
watch() {
    : >lines
    "$kvctl" --store "$store" watch "$@" >>lines 2>said </dev/null &
    watcher=$!
    wait_until has_lines 1 || exit 1
}

# ends STATUS: the watch ends with it
ends() {
    wait $watcher
    local status=$?
    [ $status -eq "$1" ] || wrong "the watch ended with $status, not $1: $(cat said)"
    [ "$1" -eq 5 ] || [ ! -s said ] || wrong "the watch said $(cat said)"
}

stop_watch() {
    kill -TERM $watcher
    ends 0
}

# tells TEXT: so much was printed behind the first line, but for tokens and versions
tells() {
    local wanted=$1 count
    count=$(wc -l <<<"$wanted")
    wait_until has_lines $((count + 1))
    sed -E '1d; s/"at": "[0-9a-f]{48}", //; s/"version": [0-9]+, //' lines | diff <(echo "$wanted") - >diff ||
        wrong "the lines are not as they should be: $(cat diff)"
}

# token NUMBER: of that line; the first is 1
token() { sed -nE "$1"'s/^\{"at": "([0-9a-f]{48})".*/\1/p' lines; }

# Is each line of this form?
only_tokens() { ! grep -vqE '^\{"at": "[0-9a-f]{48}"(, "op": "[a-z-]+", "account": "a".*)?\}$' lines; }

# Some of everything, with names that change and come again.
history='{"op": "put", "account": "a", "namespace": "n", "key": "k", "size": 6}
{"op": "put", "account": "a", "namespace": "n", "key": "k", "size": 3}
{"op": "delete", "account": "a", "namespace": "n", "key": "k", "more": true}
{"op": "put", "account": "a", "namespace": "n", "key": "l", "size": 3}
{"op": "project-create", "account": "a", "project": "web"}
{"op": "binding-create", "account": "a", "project": "web", "variable": "V", "namespace": "n"}
{"op": "namespace-rename", "account": "a", "namespace": "n", "to": "m"}
{"op": "put", "account": "a", "namespace": "m", "key": "l", "size": 5}
{"op": "namespace-create", "account": "a", "namespace": "n"}
{"op": "put", "account": "a", "namespace": "n", "key": "l", "size": 7}
{"op": "delete", "account": "a", "namespace": "m", "key": "l"}
{"op": "binding-delete", "account": "a", "project": "web", "variable": "V", "more": true}
{"op": "namespace-delete", "account": "a", "namespace": "m"}
{"op": "namespace-rename", "account": "a", "namespace": "n", "to": "m"}
{"op": "account-change", "account": "a", "mode": "0700", "uid": UID, "gid": GID, "limit_bytes": 1048576, "limit_namespaces": 10}
{"op": "delete", "account": "a", "namespace": "m", "key": "l"}
{"op": "namespace-delete", "account": "a", "namespace": "m"}
{"op": "project-delete", "account": "a", "project": "web"}'
history=${history/UID/$(id -u)}
history=${history/GID/$(id -g)}

make_history() {
    echo first >"$n/k" || wrong "put"
    kv put a/n/k two || wrong "kvctl put"
    mv "$n/k" "$n/l" || wrong "mv"
    kv project create a/web || wrong "project create"
    ln -s ../../n "$mnt/a/.projects/web/V" || wrong "ln"
    kv namespace rename a/n m || wrong "namespace rename"
    kv put a/m/l third || wrong "put"
    kv namespace create a/n || wrong "namespace create"
    kv put a/n/l another || wrong "put"
    kv delete a/m/l || wrong "delete"
    kv namespace delete a/m || wrong "namespace delete"
    kv namespace rename a/n m || wrong "namespace rename"
    kv account limit a --bytes 1M || wrong "limit"
    kv delete a/m/l || wrong "delete"
    kv namespace delete a/m || wrong "namespace delete"
    kv project delete a/web || wrong "project delete"
}

# ------------------------------------------------------------------ lines

case_each_change_of_an_account_is_a_line() {
    umask 022
    ready -o cache_ttl=60
    mkdir "$mnt/b" "$mnt/b/n"
    watch a
    echo other >"$mnt/b/n/k"
    make_history
    tells "$history"
    only_tokens || wrong "a line is of another form: $(cat lines)"
    stop_watch
}

# From each place; also what is about names that are gone by now, or lead elsewhere.
case_a_watch_goes_on_behind_any_token() {
    umask 022
    ready
    watch a
    make_history
    tells "$history"
    stop_watch
    cp lines all
    for number in $(grep -nv '"more"' all | cut -d: -f1); do
        cp all lines
        watch a --since "$(token "$number")"
        wait_until has_lines $(($(wc -l <all) - number + 1))
        diff <(tail -n +$((number + 1)) all) <(tail -n +2 lines) >diff || wrong "behind line $number: $(cat diff)"
        [ "$(token 1)" = "$(sed -nE "$number"'s/^\{"at": "([0-9a-f]*)".*/\1/p' all)" ] || wrong "another first token"
        stop_watch
    done
    [ "$(sed -nE '4s/.*"at": "([0-9a-f]*)".*/\1/p' all)" = "$(sed -nE '5s/.*"at": "([0-9a-f]*)".*/\1/p' all)" ] ||
        wrong "two changes of one commit have other tokens"
}

# A program that ends and begins again, while others change things all the time.
case_nothing_is_missed_between_two_watches() {
    ready
    watch a
    mv lines all
    (for i in {1..200}; do echo "$i" >"$n/k$i"; done) &
    writer=$!
    kill -TERM $watcher
    wait $watcher
    for round in {1..6}; do
        cp all lines
        watch a/n --since "$(token "$(wc -l <all)")"
        sleep 0.3 # whatever it gets to see in this time
        kill -TERM $watcher
        wait $watcher
        tail -n +2 lines >>all
    done
    wait $writer
    cp all lines
    watch a/n --since "$(token "$(wc -l <all)")"
    wait_until has_lines $((200 - $(wc -l <all) + 2))
    stop_watch
    tail -n +2 lines >>all
    diff <(printf 'k%s\n' {1..200}) <(sed -nE 's/.*"op": "put".*"key": "([^"]*)".*/\1/p' all) >diff ||
        wrong "not each once and in their order: $(head -5 diff)"
}

case_a_namespace_or_a_key_is_watched_alone() {
    ready
    mkdir "$mnt/a/other"
    watch a/n
    first=$(token 1)
    echo 1 >"$n/k"
    echo 1 >"$n/l"
    echo 1 >"$mnt/a/other/k"
    chmod 700 "$n"
    mv "$n" "$mnt/a/m"
    echo 22 >"$mnt/a/m/k"
    mkdir "$n"
    echo 333 >"$n/k"
    rm "$n/k"
    rmdir "$n"
    tells '{"op": "put", "account": "a", "namespace": "n", "key": "k", "size": 2}
{"op": "put", "account": "a", "namespace": "n", "key": "l", "size": 2}
{"op": "namespace-change", "account": "a", "namespace": "n", "mode": "0700", "uid": '"$(id -u)"', "gid": '"$(id -g)"'}
{"op": "namespace-rename", "account": "a", "namespace": "n", "to": "m"}
{"op": "namespace-create", "account": "a", "namespace": "n"}
{"op": "put", "account": "a", "namespace": "n", "key": "k", "size": 4}
{"op": "delete", "account": "a", "namespace": "n", "key": "k"}
{"op": "namespace-delete", "account": "a", "namespace": "n"}'
    stop_watch
    watch a/n/k --since "$first"
    tells '{"op": "put", "account": "a", "namespace": "n", "key": "k", "size": 2}
{"op": "namespace-rename", "account": "a", "namespace": "n", "to": "m"}
{"op": "put", "account": "a", "namespace": "n", "key": "k", "size": 4}
{"op": "delete", "account": "a", "namespace": "n", "key": "k"}'
    stop_watch
}

case_attributes_of_a_key_leave_its_version() {
    ready
    echo 1 >"$n/k"
    watch a
    chmod 600 "$n/k"
    setfattr -n user.x -v 1 "$n/k" 2>/dev/null || touch "$n/k"
    head -c 3000000 /dev/zero >"$n/k"
    wait_until has_lines 4
    [ "$(grep -c '"op": "put"' lines)" = 3 ] || wrong "$(cat lines)"
    [ "$(sed -nE 's/.*"version": ([0-9]+).*/\1/p' lines | uniq | wc -l)" = 2 ] || wrong "versions: $(cat lines)"
    grep -q '"size": 3000000}' lines || wrong "the size: $(cat lines)"
    stop_watch
}

case_an_account_is_watched_under_its_name() {
    ready
    watch a
    mv "$mnt/a" "$mnt/b"
    echo 1 >"$mnt/b/n/k"
    mkdir "$mnt/a" "$mnt/a/m"
    tells '{"op": "account-rename", "account": "a", "to": "b"}
{"op": "account-create", "account": "a"}
{"op": "namespace-create", "account": "a", "namespace": "m"}'
    rmdir "$mnt/a/m" "$mnt/a"
    wait_until grep -q account-delete lines
    stop_watch
}

# ------------------------------------------------------------------ what was missed

fill() { # more than the log of a small store holds
    head -c 8000 /dev/urandom >bytes
    for _ in {1..200}; do cp bytes "$n/filler" || wrong "cp"; done
}

case_what_the_log_does_not_have_any_more_is_told() {
    ready -o map_size=64M
    watch a
    first=$(token 1)
    stop_watch
    fill
    for place in a a/n a/n/k; do
        kv watch $place --since "$first" >lines 2>said
        [ $? -eq 5 ] || wrong "exit status not 5: $(cat lines said)"
        [ ! -s lines ] || wrong "it printed $(cat lines)"
        [ "$(wc -l <said)" = 1 ] && grep -q '^kvctl: .*missed.*without --since' said || wrong "it said $(cat said)"
    done
}

case_a_watch_that_is_held_up_for_too_long_tells_so() {
    ready -o map_size=64M
    watch a
    kill -STOP $watcher
    fill
    kill -CONT $watcher
    ends 5
    grep -q '^kvctl: .*missed' said || wrong "it said $(cat said)"
}

case_a_token_outlives_a_recovery() {
    ready
    watch a
    first=$(token 1)
    stop_watch
    echo 1 >"$n/k"
    watch a --since "$first"
    tells '{"op": "put", "account": "a", "namespace": "n", "key": "k", "size": 2}'
    stop_watch
    echo 2 >"$n/k"
    kill -9 "$(daemons)"
    wait_until no_daemons
    fusermount3 -u "$mnt"
    watch a --since "$first"
    tells "$(printf '%s\n' '{"op": "put", "account": "a", "namespace": "n", "key": "k", "size": 2}'{,})"
    stop_watch
}

# ------------------------------------------------------------------ --exec

case_a_command_is_run_for_each_change() {
    ready
    watch a --exec 'echo "$KVFS_OP,$KVFS_ACCOUNT,$KVFS_NAMESPACE,$KVFS_KEY" >>ran; cat >>input; ls -l /proc/self/fd >fds'
    echo 1 >"$n/k"
    rm "$n/k"
    kv project create a/web
    mv "$n" "$mnt/a/m"
    wait_until has_lines 5
    printf '%s\n' put,a,n,k delete,a,n,k project-create,a,, namespace-rename,a,n, | diff - ran >diff ||
        wrong "the environment: $(cat diff)"
    tail -n +2 lines | diff - input || wrong "the input is not the lines"
    grep -F "$store" fds && wrong "it has the store's files open"
    stop_watch
}

case_a_command_that_fails_does_not_end_the_watch() {
    ready
    watch a --exec 'test $KVFS_KEY != bad || exit 3; test $KVFS_KEY != worse || kill -9 $$'
    for key in good bad worse better; do echo 1 >"$n/$key"; done
    wait_until has_lines 5
    kill -TERM $watcher
    wait $watcher || wrong "exit status $?"
    [ "$(wc -l <said)" = 2 ] || wrong "it said $(cat said)"
    grep -q '^kvctl: --exec: .*status 3, for {.*"key": "bad"' said || wrong "it said $(cat said)"
    grep -q '^kvctl: --exec: .*signal 9, for {.*"key": "worse"' said || wrong "it said $(cat said)"
}

case_a_signal_ends_the_command_too() {
    ready
    watch a --exec 'echo $$ >pid; exec sleep 1000'
    first=$(token 1)
    echo 1 >"$n/k"
    wait_until [ -s pid ]
    stop_watch
    kill -0 "$(cat pid)" 2>/dev/null && wrong "the command goes on"
    has_lines 2 && wrong "a line is printed of what was not done: $(cat lines)"
    watch a --since "$first"
    tells '{"op": "put", "account": "a", "namespace": "n", "key": "k", "size": 2}'
    stop_watch
}

case_a_command_finds_the_signals_as_they_were() {
    ready
    watch a --exec 'grep ^Sig /proc/self/status >signals'
    echo 1 >"$n/k"
    wait_until has_lines 2
    grep -qE '^SigBlk:\s0{16}$' signals || wrong "blocked: $(cat signals)"
    grep -qE '^SigIgn:\s[0-9a-f]{12}[02468ace]' signals || wrong "ignored: $(cat signals)"
    [ $((0x$(awk '/^SigIgn/ { print $2 }' signals) & 0x1000)) = 0 ] || wrong "SIGPIPE is ignored: $(cat signals)"
    stop_watch
}

# ------------------------------------------------------------------ its end

case_signals_end_it_well() {
    ready
    for signal in INT TERM; do
        watch a
        kill -$signal $watcher
        ends 0
    done
}

case_it_ends_when_nobody_reads() {
    local first
    ready
    first=$(timeout 60 "$kvctl" --store "$store" watch a 2>said | head -n 1) # nothing else is changed
    [[ $first =~ ^\{\"at\":\ \"[0-9a-f]{48}\"\}$ ]] || wrong "the first line is '$first'"
    [ ! -s said ] || wrong "it said $(cat said)"
    (timeout 60 "$kvctl" --store "$store" watch a 2>said; echo $? >status) | head -n 1 >/dev/null
    [ "$(cat status)" = 0 ] || wrong "exit status $(cat status)"
    kv watch a >/dev/full 2>said && wrong "a full disk is no failure"
    grep -q '^kvctl: standard output' said || wrong "it said $(cat said)"
}

case_it_sleeps_while_nothing_happens() {
    local before after
    ready
    watch a
    before=$(cut -d' ' -f14,15 /proc/$watcher/stat)
    sleep 3
    after=$(cut -d' ' -f14,15 /proc/$watcher/stat)
    [ $((${after/ / + } - (${before/ / + }))) -lt 50 ] || wrong "it took $before, then $after hundredths of a second"
    stop_watch
}

case_it_follows_without_a_mount() {
    kv account create a
    kv namespace create a/n
    watch a
    kv put a/n/k 1
    tells '{"op": "put", "account": "a", "namespace": "n", "key": "k", "size": 1}'
    stop_watch
}

case_what_is_no_token_is_refused() {
    ready
    watch a
    first=$(token 1)
    stop_watch
    for text in "" 1 "${first}0" "${first%?}" "${first%?}g" "${first^^}" " ${first%?}" "0x${first:2}" \
        "0000000000000000${first:16}" "${first:0:32}0000000000000000"; do
        [ "$text" = "$first" ] || fails_with "this is no token" kv watch a --since "$text"
    done
    # Of a commit that never was: it may wait for what comes behind it.
    timeout 2 "$kvctl" --store "$store" watch a --since "${first:0:32}ffffffffffffffff" >lines 2>said
    [ $? -eq 5 ] || [ ! -s said ] || wrong "$(cat said)"
    fails_with "there is no account b" kv watch b
    fails_with "there is no namespace m" kv watch a/m
    fails_with "not of the form ACCOUNT[/NAMESPACE[/KEY]]" kv watch a/n/k/l
}

run_cases "$@"
