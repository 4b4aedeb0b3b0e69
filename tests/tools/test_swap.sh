#!/bin/bash
# kvctl: changes that depend on what is there: conditions, counters, appending, taking. See support/kvctl.sh.
. "$(dirname "$0")/../support/kvctl.sh"

# ------------------------------------------------------------------ conditions

case_a_put_if_absent_replaces_nothing() {
    does put a/n/k first --if-absent
    refuses 4 'a/n/k|exists already|nothing was changed' put a/n/k second --if-absent
    prints 0 first get a/n/k
    does put a/n/empty ''
    refuses 4 'exists already' put a/n/empty x --if-absent
    does delete a/n/k
    does put a/n/k third --if-absent --meta m=1
    prints 0 third get a/n/k
}

case_a_put_if_version_replaces_that_value_only() {
    local version
    does put a/n/k first
    version=$(kv get a/n/k --version)
    [[ $version =~ ^[0-9]+$ ]] || wrong "the version is '$version'"
    [ "$(kv get a/n/k --version)" = "$version" ] || wrong "it is another one the second time"
    does put a/n/k --meta m=1
    [ "$(kv get a/n/k --version)" = "$version" ] || wrong "metadata made another version"
    does put a/n/k second --if-version "$version"
    refuses 4 "a/n/k|its version is $(kv get a/n/k --version) now, and not $version|nothing was changed" \
        put a/n/k third --if-version "$version"
    prints 0 second get a/n/k
    refuses 4 "not there any more with version $version" put a/n/absent x --if-version "$version"
    does put a/n/new x --if-version 0
    refuses 4 'exists already' put a/n/new y --if-version 0
    refuses 2 '--if-version x|whole number|type: kvctl put ACCOUNT/NAMESPACE/KEY --if-version V [VALUE]' \
        put a/n/k y --if-version x
    prints 1 '' get a/n/absent --version
}

case_a_file_keeps_the_version_that_was_read() {
    does put a/n/k first
    prints 0 first get a/n/k --version-file version
    does put a/n/k second --if-unchanged version
    refuses 4 'a/n/k|its version is' put a/n/k third --if-unchanged version
    prints 0 second get a/n/k --version-file version
    refuses 4 'a/n/other' delete a/n/other --if-unchanged version
    does delete a/n/k --if-unchanged version
    prints 1 '' get a/n/k --version-file version
    does put a/n/k new --if-unchanged version
    refuses 4 'exists already' put a/n/k newer --if-unchanged version
    echo text >file
    refuses 2 '--if-unchanged file|no version|--version-file' put a/n/k x --if-unchanged file
    refuses 2 '--if-unchanged absent: No such file' put a/n/k x --if-unchanged absent
    refuses 2 '--version-file /absent/file: No such file' get a/n/k --version-file /absent/file
    refuses 2 '--version-file is for the value of one key' get a/n/k a/n/k --version-file version
}

case_a_delete_if_version_deletes_that_value_only() {
    local version
    does put a/n/k first
    version=$(kv get a/n/k --version)
    does put a/n/k second
    refuses 4 'a/n/k|its version is' delete a/n/k --if-version "$version"
    prints 0 second get a/n/k
    does delete a/n/k --if-version "$(kv get a/n/k --version)"
    refuses 4 'a/n/k|not there any more' delete a/n/k --if-version "$version"
    refuses 2 'a condition is for one key' delete a/n/k a/n/l --if-version 5
}

case_conditions_do_not_go_together() {
    refuses 2 'give one' put a/n/k v --if-absent --if-version 5
    refuses 2 'a condition is for a value' put a/n/k --meta m=1 --if-absent </dev/null
}

case_a_rename_if_absent_replaces_nothing() {
    does put a/n/k 1
    does put a/n/l 2
    refuses 4 'l: this key exists already' rename a/n/k l --if-absent
    prints 0 2 get a/n/l
    does rename a/n/k m --if-absent
    prints 0 1 get a/n/m
}

# Each of many writers puts only what it has read: none is lost.
case_writers_that_check_the_version_lose_nothing() {
    local writer
    does put a/n/list ''
    for writer in 1 2 3 4; do
        for i in 1 2 3 4 5; do
            until {
                kv get a/n/list --empty --version-file version$writer >value$writer
                echo "$writer.$i" >>value$writer
                kv put a/n/list --file value$writer --if-unchanged version$writer 2>/dev/null
            }; do
                [ $? -eq 4 ] || echo "another exit status than 4"
            done
        done >failed$writer 2>&1 &
    done
    wait
    cat failed? >failed
    [ ! -s failed ] || wrong "$(head -3 failed)"
    [ "$(kv get a/n/list | sort | tr '\n' ' ')" = "$(printf '%s ' {1,2,3,4}.{1,2,3,4,5})" ] ||
        wrong "lost some: $(kv get a/n/list | sort | tr '\n' ' ')"
}

# -------------------------------------------------------------------- counters

case_a_counter_counts() {
    prints 0 $'1\n' incr a/n/c
    prints 0 $'6\n' incr a/n/c 5
    prints 0 $'-4\n' incr a/n/c -10
    prints 0 -4 get a/n/c
    prints 0 $'-4\n' incr a/n/c 0
    does put a/n/c $'41\n' --meta m=1
    prints 0 $'42\n' incr a/n/c
    prints 0 $'42\n' get a/n/c
    prints 0 '{"m":"1"}'$'\n' get a/n/c --meta
    does put a/n/empty ''
    prints 0 $'1\n' incr a/n/empty
    does put a/n/plus +7
    prints 0 $'8\n' incr a/n/plus
    kv incr a/n/plus --json | jq -e '.number == 9 and .version > 0' >/dev/null || wrong "--json"
}

case_what_is_no_number_is_not_counted() {
    local value
    for value in x 1x ' 1' 1.5 0x10 - $'1\n\n' 9223372036854775808 99999999999999999999999999 '{}'; do
        does put a/n/c "$value"
        refuses 2 'a/n/c|is no whole number|nothing was changed' incr a/n/c
        prints 0 "$value" get a/n/c
    done
    printf '1\0' | kv put a/n/c
    refuses 2 'a/n/c|is no whole number' incr a/n/c
    does put a/n/c 9223372036854775807
    refuses 2 'a/n/c: 9223372036854775807 and 1 are beyond' incr a/n/c
    prints 0 $'-1\n' incr a/n/c -9223372036854775808
    refuses 2 'x: this is no whole number|type: kvctl incr ACCOUNT/NAMESPACE/KEY [N]' incr a/n/c x
    refuses 2 'this is no whole number' incr a/n/c 1.5
    refuses 2 '-x|no such option' incr a/n/c -x
}

case_a_counter_of_many_processes_loses_nothing() {
    local process
    for process in 1 2 3 4 5 6; do
        for _ in 1 2 3 4 5 6 7 8; do
            kv incr a/n/c || echo "failed: $?"
        done >counted$process 2>&1 &
    done
    wait
    prints 0 48 get a/n/c
    [ "$(cat counted? | sort -n | uniq | wc -l)" = 48 ] || wrong "a number was printed twice: $(cat counted?)"
}

# ----------------------------------------------------------- appending and taking

case_values_are_appended() {
    does append a/n/log 'one '
    does append a/n/log two
    printf ' three' | kv append a/n/log || wrong "exit status $?"
    prints 0 'one two three' get a/n/log
    refuses 2 'standard input is empty' append a/n/log </dev/null
    kv append a/n/log x --json | jq -e '.size == 14' >/dev/null || wrong "--json"
    head -c 26214400 /dev/zero | kv put a/n/full
    refuses 2 'a/n/full|25 MiB' append a/n/full x
}

case_appends_of_many_processes_are_all_there() {
    local process
    for process in 1 2 3 4; do
        for i in 1 2 3 4 5 6; do
            kv append a/n/log "$process$i"$'\n' || echo "failed: $?"
        done >failed$process 2>&1 &
    done
    wait
    cat failed? >failed
    [ ! -s failed ] || wrong "$(head -3 failed)"
    [ "$(kv get a/n/log | sort | tr -d '\n')" = 111213141516212223242526313233343536414243444546 ] ||
        wrong "the log is $(kv get a/n/log | tr '\n' ' ')"
}

case_a_key_is_taken_once() {
    local process
    does put a/n/k value --meta m=1
    prints 0 value take a/n/k
    prints 1 '' take a/n/k
    prints 1 '' get a/n/k
    does put a/n/k value --meta m=1
    kv take a/n/k --json | jq -c '[.key, .value, .metadata.m]' >out
    [ "$(cat out)" = '["k","value","1"]' ] || wrong "--json: $(cat out)"
    prints 1 $'null\n' take a/n/k --json
    does put a/n/empty ''
    prints 3 '' take a/n/empty --empty
    for i in 1 2 3 4 5 6 7 8; do
        does put a/n/job$i job$i
    done
    for process in 1 2 3 4; do
        for i in 1 2 3 4 5 6 7 8; do
            kv take a/n/job$i && echo
        done >taken$process 2>&1 &
    done
    wait
    [ "$(cat taken? | sort | tr -d '\n')" = job1job2job3job4job5job6job7job8 ] || wrong "taken: $(cat taken?)"
}

# Who takes a key takes what he prints, although it is put anew all the time.
case_a_value_that_is_put_anew_is_taken_too() {
    local process i
    for process in 1 2 3; do
        until [ -e end ]; do
            kv take a/n/k && echo
        done >taken$process 2>&1 &
    done
    for i in $(seq 40); do
        until kv put a/n/k "job$i" --if-absent 2>/dev/null; do
            :
        done
    done
    until kv put a/n/k end --if-absent 2>/dev/null; do
        :
    done
    touch end
    wait
    [ "$(cat taken? | grep -v end | sort | tr '\n' ' ')" = "$(seq 40 | sed 's/^/job/' | sort | tr '\n' ' ')" ] ||
        wrong "taken: $(cat taken?)"
}

case_what_nobody_gets_is_put_back() {
    does put a/n/k value --meta m=1
    kv take a/n/k >/dev/full 2>"$top/err"
    [ $? -eq 2 ] || wrong "another exit status than 2"
    grep -q 'a/n/k: standard output could not be written, and the key was put back' "$top/err" ||
        wrong "said $(cat "$top/err")"
    prints 0 value get a/n/k
    prints 0 '{"m":"1"}'$'\n' get a/n/k --meta
}

run_kvctl "$@"
