#!/bin/bash
# kvctl txn: several operations, all or none. See support/kvctl.sh.
. "$(dirname "$0")/../support/kvctl.sh"

# txn LINES OPTION...: the operations, with printf's escapes, succeed without a word
txn() {
    local lines=$1
    shift
    printf '%b' "$lines" >operations
    does txn --file operations "$@"
}

# txn_refuses STATUS WORDS LINES OPTION...: as refuses. NAMES in a line of JSON are those of a/m
txn_refuses() {
    local status=$1 words=$2 lines=${3//NAMES/'"account":"a","namespace":"m"'}
    shift 3
    printf '%b' "$lines" >operations
    refuses "$status" "$words" txn "$@" <operations
}

# -------------------------------------------------------------------- all or none

case_operations_are_done_together() {
    does namespace create a/m
    does put a/n/from value --meta of=from
    does put a/n/old 1
    txn 'put a/n/k v1\ndelete a/n/old\nrename a/n/from a/m/to\nput a/n/l v2 --meta type=text\n'
    prints 0 v1 get a/n/k
    prints 1 '' get a/n/old
    prints 0 value get a/m/to
    prints 0 '{"of":"from"}'$'\n' get a/m/to --meta
    prints 0 '{"type":"text"}'$'\n' get a/n/l --meta
    txn 'set a/n/k v3\nrm a/n/l\nmv a/m/to again\n'
    prints 0 v3 get a/n/k
    prints 0 value get a/m/again
    shows ok true check
}

case_one_that_is_refused_undoes_all() {
    does put a/n/k old
    does put a/n/l other
    txn_refuses 2 'standard input: line 2: a/n/absent|no such key|nothing was changed' \
        'put a/n/k new\ndelete a/n/absent\nput a/n/m new\n'
    txn_refuses 2 'line 3: a/n/absent|no such key' 'put a/n/k new\ndelete a/n/l\nrename a/n/absent k2\n'
    does account limit a --keys 3
    txn_refuses 2 'line 3: a/n/m2|limits of account a have no room|kvctl account limit a' \
        'put a/n/k new\nput a/n/m1 1\nput a/n/m2 1\n'
    does account limit a --keys none --bytes 20
    txn_refuses 2 "line 1: a/n/k|limits of account a" "put a/n/k $(symbols 30)\n"
    prints 0 old get a/n/k
    prints 0 $'k\nl\n' list a/n --all
}

case_a_condition_that_is_not_met_undoes_all() {
    local version
    does put a/n/k old
    does put a/n/l other
    version=$(kv get a/n/k --version)
    txn_refuses 4 'standard input: line 2: a/n/k|exists already|nothing was changed' \
        'put a/n/m 1\nput a/n/k new --if-absent\n'
    txn_refuses 4 "line 2: a/n/k|its version is $version now, and not 5|nothing was changed" \
        'put a/n/m 1\nput a/n/k new --if-version 5\nput a/n/l 1\n'
    txn_refuses 4 "line 1: a/n/k|its version is $version now, and not 5" \
        'delete a/n/k --if-version 5\ncheck a/n/l --if-version 5\n'
    txn_refuses 4 'line 2: a/n/l: this key exists already' 'put a/n/m 1\nrename a/n/k l --if-absent\n'
    prints 0 $'k\nl\n' list a/n --all
    kv get a/n/k --version-file version >/dev/null
    txn "put a/n/m 1\ndelete a/n/l --if-version $(kv get a/n/l --version)\nput a/n/k new --if-unchanged version"
    prints 0 $'k\nm\n' list a/n --all
    prints 0 new get a/n/k
}

case_a_check_changes_nothing_and_holds_up_the_others() {
    local version
    does put a/n/lock free
    version=$(kv get a/n/lock --version)
    txn_refuses 4 'line 1: a/n/lock: this key exists already' 'check a/n/lock --if-absent\nput a/n/k 1\n'
    prints 1 '' get a/n/k
    txn "check a/n/lock --if-version $version\ncheck a/n/none --if-absent\nput a/n/k 1\n"
    prints 0 1 get a/n/k
    [ "$(kv get a/n/lock --version)" = "$version" ] || wrong "a check made another version"
    does put a/n/lock taken
    txn_refuses 4 "line 1: a/n/lock|and not $version" "check a/n/lock --if-version $version\nput a/n/k 2\n"
    prints 0 1 get a/n/k
    txn_refuses 2 'check needs a condition|type: check ACCOUNT/NAMESPACE/KEY --if-version V' 'check a/n/k\n'
    txn_refuses 4 'line 1: a/n/none|not there any more' 'check a/n/none --if-version 5\n'
}

case_each_sees_what_those_before_it_did() {
    local version
    does put a/n/k old
    version=$(kv get a/n/k --version)
    txn 'delete a/n/k\nput a/n/k new --if-absent\nrename a/n/k l\nrename a/n/l m --if-absent\n'
    prints 0 $'m\n' list a/n --all
    txn_refuses 4 "line 2: a/n/k|not met after the operations before" \
        "put a/n/k 1\ncheck a/n/k --if-version $version\n"
    txn_refuses 4 "line 2: a/n/l|not met after the operations before" 'rename a/n/m l\ncheck a/n/l --if-absent\n'
    prints 0 new get a/n/m
}

case_they_are_of_one_account() {
    does account create b
    does namespace create b/n
    does put a/n/k 1
    txn_refuses 2 'line 2: b/n/k: it is in account b, but line 1 in account a' 'put a/n/l 1\nput b/n/k 1\n'
    txn_refuses 2 'in account b, but line 1 in account a' 'rename a/n/k b/n/k\n'
    prints 0 $'k\n' list a/n --all
    prints 0 '' list b/n --all
}

# --------------------------------------------------------------------------- text

case_words_are_quoted_as_in_a_shell() {
    cat >operations <<'END'

# a comment
put a/n/single 'it is $HOME "so" \n'
put a/n/double "a \"b\" \\ \$c \d 'e'"
put a/n/lines 'one
two'
  put   a/n/empty ''  # another one
put a/n/joined a\ "b"'c'#d
put a/n/on \
2
put a/n/dash -- -5
END
    printf 'put a/n/k\tv\r\n' >>operations
    printf 'put a/n/last 1' >>operations
    does txn --file operations
    prints 0 'it is $HOME "so" \n' get a/n/single
    prints 0 "a \"b\" \\ \$c \\d 'e'" get a/n/double
    prints 0 $'one\ntwo' get a/n/lines
    prints 3 '' get a/n/empty --empty
    prints 0 'a bc#d' get a/n/joined
    prints 0 2 get a/n/on
    prints 0 -5 get a/n/dash
    prints 0 v get a/n/k
    prints 0 1 get a/n/last
    txn_refuses 2 "line 2: a quote ' is not closed" "put a/n/x 1\nput a/n/y 'no end\n\n"
    txn_refuses 2 'line 1: there is nothing behind the backslash' 'put a/n/x 1\\'
    txn_refuses 2 'line 1: there is a NUL' 'put a/n/x 1\00002\n'
    txn_refuses 2 'line 4: frob: this is no operation; they are put, delete, rename and check' \
        "\nput a/n/x '\n'\nfrob a/n/x\n"
    prints 1 '' get a/n/x
}

case_a_value_comes_from_a_file() {
    head -c 300000 /dev/urandom >large
    : >empty
    txn 'put a/n/large --file large\nput a/n/empty --file empty --if-absent\n'
    holds large a/n/large
    prints 3 '' get a/n/empty --empty
    txn_refuses 2 'line 2: absent: cannot open it' 'put a/n/x 1\nput a/n/y --file absent\n'
    txn_refuses 2 'line 1: a/n/x: --file - is not' 'put a/n/x --file -\n'
    txn_refuses 2 'line 1: a/n/x: there is no VALUE and no --file|type: put' 'put a/n/x\n'
    txn_refuses 2 'line 1: a/n/x: the value is given twice' 'put a/n/x v --file large\n'
    head -c 26214401 /dev/zero >over
    txn_refuses 2 'line 2: a/n/x|25 MiB' 'put a/n/y 1\nput a/n/x --file over\n'
    prints 1 '' get a/n/y
}

case_a_line_that_is_wrong_is_told() {
    txn_refuses 2 'line 2: a/x/k: there is no namespace x' 'put a/n/k 1\nput a/x/k 1\n'
    txn_refuses 2 "line 1: a/n/k.k: 'k.k' is no valid name" 'put a/n/k.k 1\n'
    txn_refuses 2 'line 1: a/n: this is not of the form|type: delete ACCOUNT/NAMESPACE/KEY' 'delete a/n\n'
    txn_refuses 2 'line 1: more: one argument too many|type: put' 'put a/n/k 1 more\n'
    txn_refuses 2 'line 1: an argument is missing|type: rename ACCOUNT/NAMESPACE/KEY NEW' 'rename a/n/k\n'
    txn_refuses 2 'line 1: --if-vers|did you mean --if-version?' 'delete a/n/k --if-vers 5\n'
    txn_refuses 2 'line 1: --store: there is no such option here' 'put a/n/k 1 --store x\n'
    txn_refuses 2 'do not go together' 'put a/n/k 1 --if-absent --if-version 5\n'
    txn_refuses 2 'standard input: there is no operation in it|kvctl txn --help' ''
    refuses 2 'absent: cannot open it: No such file' txn --file absent
    seq 10001 | sed 's,.*,put a/n/k& 1,' >operations
    refuses 2 'operations: line 10001: there are more than 10000 operations' txn --file operations
    head -10000 operations >most
    does txn --file most
    shows keys 10000 account show a
}

case_a_line_can_be_json() {
    local version
    does namespace create a/m
    cat >lines <<'END'
{"account":"a","namespace":"n","key":"k","value":"one","metadata":{"m":"1"}}

{"op":"put","account":"a","namespace":"n","key":"bytes","base64":"AAE=","attributes":{"mode":"0600"},"if_absent":true}
{"op":"check","account":"a","namespace":"n","key":"none","if_absent":true}
{"op":"rename","account":"a","namespace":"n","key":"k","new":"a/m/k","if_absent":true}
END
    kv txn --json-lines --json <lines >out || wrong "exit status $?"
    [ "$(jq -c 'map([.op, .namespace, .key, has("version")])' out)" = \
        '[["put","n","k",true],["put","n","bytes",true],["check","n","none",false],["rename","m","k",true]]' ] ||
        wrong "printed $(cat out)"
    version=$(kv get a/m/k --version)
    [ "$(jq '.[3].version' out)" = "$version" ] || wrong "another version: $(cat out)"
    prints 0 '{"m":"1"}'$'\n' get a/m/k --meta
    printf '\0\1' >bytes
    holds bytes a/n/bytes
    txn_refuses 4 'line 2: a/m/k|and not 5' \
        '{"account":"a","namespace":"n","key":"x","value":"1"}\n{"op":"delete",NAMES,"key":"k","if_version":5}\n' \
        --json-lines
    prints 1 '' get a/n/x
    txn_refuses 2 'line 1: it is no JSON' 'put a/n/k 1\n' --json-lines
    txn_refuses 2 'line 1: "value" is no field' \
        '{"op":"delete","account":"a","namespace":"m","key":"k","value":"x"}\n' --json-lines
    txn_refuses 2 'line 1: "if_version" is no field' \
        '{"op":"rename","account":"a","namespace":"m","key":"k","new":"l","if_version":5}\n' --json-lines
    txn_refuses 2 'line 1: "account" is missing' '{"op":"delete","namespace":"m","key":"k"}\n' --json-lines
    txn_refuses 2 'a put needs an "account"' '{"key":"k","value":"x"}\n' --json-lines
    txn_refuses 2 'watch: this is no operation' '{"op":"watch"}\n' --json-lines
}

case_a_key_expires_as_it_is_said() {
    txn 'put a/n/k 1 --ttl 1h\nput a/n/l 2\nput a/n/m 3 --expires 2100-01-02T03:04:05Z --meta m=1\n'
    kv dump a/n | jq -c 'select(.key)' >lines
    [ "$(jq -r '.key + " " + (.expires // "never")' lines | sed 's/k 2.*Z/k soon/' | tr '\n' ,)" = \
        'k soon,l never,m 2100-01-02T03:04:05Z,' ] || wrong "they are $(cat lines)"
    does delete a/n/k a/n/l a/n/m
    does txn --json-lines --file lines
    kv dump a/n | jq -c 'select(.key)' | cmp - lines || wrong "a line of JSON makes another one"
    txn_refuses 2 'line 1: --ttl and --expires do not go together' 'put a/n/k 1 --ttl 1h --expires never\n'
    # An expired key is absent.
    does put a/n/gone 1 --expires 2001-02-03T04:05:06Z
    txn 'check a/n/gone --if-absent\nput a/n/gone 2 --if-absent --expires never\n'
    prints 0 2 get a/n/gone
}

case_a_dump_of_a_namespace_is_a_transaction() {
    does put a/n/k1 one --meta m=1
    does put a/n/k2 two
    kv dump a/n | jq -c 'select(.key)' >lines
    does delete a/n --prefix k
    does txn --json-lines --file lines
    kv dump a/n | jq -c 'select(.key)' | cmp - lines || wrong "the keys are others"
}

# ---------------------------------------------------------------------- many, killed

# Money goes between two keys by several processes at a time: the sum stays.
case_transactions_of_many_processes_lose_nothing() {
    local process
    txn 'put a/n/here 100\nput a/n/there 0\n'
    for process in 1 2 3; do
        for _ in 1 2 3 4 5; do
            until {
                kv get a/n/here --version-file here$process >value$process
                here=$(cat value$process)
                kv get a/n/there --version-file there$process >value$process
                there=$(cat value$process)
                kv txn 2>error$process <<END
put a/n/here $((here - 1)) --if-unchanged here$process
put a/n/there $((there + 1)) --if-unchanged there$process
END
            }; do
                [ $? -eq 4 ] || echo "another exit status than 4: $(cat error$process)"
            done
        done >failed$process 2>&1 &
    done
    wait
    cat failed? >failed
    [ ! -s failed ] || wrong "$(head -3 failed)"
    prints 0 85 get a/n/here
    prints 0 15 get a/n/there
}

# Each round is killed somewhat later than the one before, until one ends by itself.
case_a_killed_transaction_is_done_whole_or_not_at_all() {
    local round=0 status=137 cuts=0 i
    does namespace create a/m
    for i in $(seq 20); do
        printf 'put a/n/k%d --file value\nput a/m/k%d --file value\n' "$i" "$i"
    done >operations
    while [ $status -eq 137 ] && [ $round -lt 300 ]; do
        round=$((round + 1))
        head -c 10000 /dev/zero | tr '\0' x >value
        printf %d $round >>value
        "$kvctl" txn --file operations 2>error &
        sleep "$(awk "BEGIN { print $round * 0.004 }")"
        kill -9 $! 2>/dev/null
        wait $! 2>/dev/null
        status=$?
        [ $status -ne 137 ] || cuts=$((cuts + 1))
        kv dump a | jq -r 'select(.key) | .value' | tr -d x | sort -u >rounds
        [ "$(wc -l <rounds)" -le 1 ] || wrong "round $round: values of rounds $(tr '\n' ' ' <rounds)"
        [ ! -s rounds ] || shows keys 40 account show a
        [ "$bad" = 0 ] || break
    done
    [ $cuts -gt 0 ] || wrong "none was killed"
    [ $status -eq 0 ] || wrong "the last one: exit status $status: $(cat error)"
    [ "$(cat rounds)" = $round ] || wrong "the last one is not there: $(cat rounds)"
    shows ok true check
}

run_kvctl "$@"
