#!/bin/bash
# kvctl: keys that expire. See support/kvctl.sh.
. "$(dirname "$0")/../support/kvctl.sh"

is_gone() { ! kv get "$1" >/dev/null 2>&1; }

# await COMMAND...: it succeeds within 30 seconds
await() {
    local end=$((SECONDS + 30))
    until "$@"; do
        if [ $SECONDS -gt $end ]; then
            wrong "still not so after 30 s: $*"
            return 1
        fi
        sleep 0.05
    done
}

# expires KEY: its expiry, as JSON shows it; "null" where it has none
expires() { kv get "$1" --json | jq -r .expires; }

# in_about SECONDS TIME: is it so far away, or up to 100 s less?
in_about() {
    local left=$(($(date -d "$2" +%s) - $(date +%s)))
    [ $left -le "$1" ] && [ $left -ge $(($1 - 100)) ] || wrong "$2 is in $left s, not in $1"
}

case_a_key_is_gone_when_its_time_is_over() {
    does put a/n/k value --ttl 1s
    does put a/n/other value
    await is_gone a/n/k
    prints 1 '' get a/n/k
    prints 1 '' get a/n/k --version
    prints 1 $'null\n' get a/n/k --json
    prints 1 $'null\n' get a/n/k --meta
    prints 0 $'other\n' list a/n --all
    prints 0 $'{"complete":true,"cursor":null,"keys":[{"key":"other"}]}\n' list a/n
    does put a/n/k second --if-absent
    prints 0 second get a/n/k
    [ "$(expires a/n/k)" = null ] || wrong "the new key expires, too"
}

case_a_time_is_given_in_many_ways() {
    local time
    for time in 2100-12-01T12:00:00Z 2100-12-01T13:30:00+01:30 4131345600; do
        does put a/n/k value --expires "$time"
        [ "$(expires a/n/k)" = 2100-12-01T12:00:00Z ] || wrong "$time became $(expires a/n/k)"
    done
    does put a/n/k value --expires 4131345600.5
    [ "$(expires a/n/k)" = 2100-12-01T12:00:00.5Z ] || wrong "a fraction became $(expires a/n/k)"
    does put a/n/k value --ttl 2h
    in_about 7200 "$(expires a/n/k)"
    does put a/n/k value --expires +1w
    in_about 604800 "$(expires a/n/k)"
    does put a/n/k value --expires never
    [ "$(expires a/n/k)" = null ] || wrong "never became $(expires a/n/k)"
    refuses 2 '--ttl soon|90s|type: kvctl put ACCOUNT/NAMESPACE/KEY --ttl DURATION [VALUE]' put a/n/k x --ttl soon
    refuses 2 '--ttl 0' put a/n/k x --ttl 0
    refuses 2 '--expires tomorrow|2026-12-01T12:00:00Z' put a/n/k x --expires tomorrow
    refuses 2 '--ttl and --expires|one' put a/n/k x --ttl 1h --expires never
    does put a/n/k x --expires 2001-01-01T00:00:00Z
    prints 1 '' get a/n/k
}

case_put_append_incr_and_rename_keep_it_and_what_says_so_changes_it() {
    does put a/n/k 1 --expires 2100-12-01T12:00:00Z
    does put a/n/k 2
    does append a/n/k 3
    prints 0 $'24\n' incr a/n/k
    does rename a/n/k l
    [ "$(expires a/n/l)" = 2100-12-01T12:00:00Z ] || wrong "it became $(expires a/n/l)"
    does put a/n/l 5 --expires never
    [ "$(expires a/n/l)" = null ] || wrong "it is still $(expires a/n/l)"
}

case_the_expiry_alone_is_changed_without_a_value() {
    local version
    does put a/n/k value --meta m=1
    version=$(kv get a/n/k --version)
    does put a/n/k --ttl 1h
    in_about 3600 "$(expires a/n/k)"
    does put a/n/k --expires 2100-12-01T12:00:00Z --meta m=2
    prints 0 $'{"kvfs.expires":"2100-12-01T12:00:00Z","m":"2"}\n' get a/n/k --meta
    does put a/n/k --expires never
    prints 0 $'{"m":"2"}\n' get a/n/k --meta
    prints 0 value get a/n/k
    [ "$(kv get a/n/k --version)" = "$version" ] || wrong "it made another version"
    refuses 1 'a/n/absent|whose expiry could be changed' put a/n/absent --ttl 1h </dev/null
    refuses 2 'a condition is for a value' put a/n/k --ttl 1h --if-absent </dev/null
    refuses 2 '--file -' put a/n/k --ttl 1h < <(echo a value)
}

case_a_counter_counts_within_the_time_of_its_first_one() {
    local first
    prints 0 $'1\n' incr a/n/k --ttl 1h
    first=$(expires a/n/k)
    in_about 3600 "$first"
    prints 0 $'2\n' incr a/n/k --ttl 2h
    [ "$(expires a/n/k)" = "$first" ] || wrong "the second one moved it to $(expires a/n/k)"
    does put a/n/k --ttl 1
    await is_gone a/n/k
    prints 0 $'1\n' incr a/n/k
}

case_lists_and_dumps_have_it_and_a_load_brings_it_back() {
    local format
    does put a/n/k value --expires 2100-12-01T12:00:00Z
    does put a/n/l value
    prints 0 '{"key":"k","expires":"2100-12-01T12:00:00Z"}
{"key":"l"}
' list a/n --meta --json-lines
    for format in json wrangler csv; do
        kv dump a/n --format $format >dump || wrong "dump --format $format"
        does namespace create a/of_$format
        does load a/of_$format --format $format --file dump
        [ "$(expires a/of_$format/k)" = 2100-12-01T12:00:00Z ] || wrong "$format: $(expires a/of_$format/k)"
        [ "$(expires a/of_$format/l)" = null ] || wrong "$format: the other: $(expires a/of_$format/l)"
    done
    echo '[{"key":"a","value":"1","expiration":4131345600},{"key":"b","value":"1","expiration_ttl":3600}]' >lines
    does load a/n --format wrangler --file lines
    [ "$(expires a/n/a)" = 2100-12-01T12:00:00Z ] || wrong "expiration: $(expires a/n/a)"
    in_about 3600 "$(expires a/n/b)"
    echo '{"key":"k","value":"2"}' | kv load a/n || wrong "load: exit status $?"
    [ "$(expires a/n/k)" = 2100-12-01T12:00:00Z ] || wrong "a record without one: $(expires a/n/k)"
    echo '{"key":"k","value":"2","expires":null}' | kv load a/n || wrong "load: exit status $?"
    [ "$(expires a/n/k)" = null ] || wrong "a record with null: $(expires a/n/k)"
}

case_a_transaction_sets_it() {
    does put a/n/old value --expires 2100-12-01T12:00:00Z
    printf '%s\n' 'put a/n/k value --expires 2100-12-01T12:00:00Z' 'put a/n/l value --ttl 1h' 'put a/n/old new' \
        'put a/n/m value' | kv txn >/dev/null || wrong "txn: exit status $?"
    echo '{"account":"a","namespace":"n","key":"j","value":"1","expires":"2100-12-01T12:00:00Z"}' |
        kv txn --json-lines >/dev/null || wrong "txn --json-lines: exit status $?"
    [ "$(expires a/n/k)" = 2100-12-01T12:00:00Z ] || wrong "k: $(expires a/n/k)"
    in_about 3600 "$(expires a/n/l)"
    [ "$(expires a/n/old)" = 2100-12-01T12:00:00Z ] || wrong "old: $(expires a/n/old)"
    [ "$(expires a/n/m)" = null ] || wrong "m: $(expires a/n/m)"
    [ "$(expires a/n/j)" = 2100-12-01T12:00:00Z ] || wrong "j: $(expires a/n/j)"
}

case_a_record_that_has_expired_is_left_out_and_told() {
    cat >lines <<'END'
{"key":"a","value":"1","expires":"2001-01-01T00:00:00Z"}
{"key":"b","value":"1"}
END
    prints_with_words '{"loaded":1,"there":0,"refused":0,"expired":1}' \
        'lines: line 1: a: it has expired at 2001-01-01T00:00:00Z, and is left out' load a/n --file lines --json
    prints 0 $'b\n' list a/n --all
}

# prints_with_words TEXT WORDS ARGUMENT...: kvctl succeeds, prints TEXT, and says WORDS
prints_with_words() {
    local text=$1 what
    local words=$2
    shift 2
    what="kvctl $*"
    kv "$@" >"$top/out" 2>"$top/err" || wrong "$what: exit status $?"
    [ "$(cat "$top/out")" = "$text" ] || wrong "$what: printed $(cat "$top/out")"
    one_line_with "$words"
}

case_sweep_removes_what_has_expired_and_gives_back_its_bytes() {
    does put a/n/k 12345 --expires 2001-01-01T00:00:00Z
    does put a/n/l 12345 --expires 2100-12-01T12:00:00Z
    shows bytes 12 account show a
    kv sweep | jq -ec '.swept == 1 and .next == "2100-12-01T12:00:00Z"' >/dev/null || wrong "sweep"
    shows bytes 6 account show a
    kv sweep | jq -ec '.swept == 0' >/dev/null || wrong "a second sweep found something"
    shows ok true check
}

case_a_namespace_of_expired_keys_is_deleted_like_an_empty_one() {
    does put a/n/k 12345 --expires 2001-01-01T00:00:00Z
    does namespace delete a/n
    shows keys 0 account show a
    shows ok true check
}

case_backup_restore_and_compact_keep_the_index() {
    does put a/n/k value --expires 2100-12-01T12:00:00Z
    kv backup saved >/dev/null 2>&1 || wrong "backup"
    kv restore saved back >/dev/null 2>&1 || wrong "restore"
    KVFS_STORE=$PWD/back
    kv compact >/dev/null 2>&1 || wrong "compact"
    shows ok true check
    kv sweep | jq -ec '.swept == 0 and .next == "2100-12-01T12:00:00Z"' >/dev/null || wrong "the index is lost"
}

run_kvctl "$@"
