#!/bin/bash
# kvctl: many keys at once: dump and load in every format, and get, delete and list of many. See support/kvctl.sh.
. "$(dirname "$0")/../support/kvctl.sh"

# Some of everything, with what is hard to write down.
fill() {
    local bytes
    does put a/n/text 'plain'
    does put a/n/meta value --meta 'type=text/plain' --meta 'q="\,=' --meta 'empty='
    does put a/n/empty ''
    does put a/n/quotes "it's \"quoted\", with \$HOME \`id\` \\n and , commas"
    does put a/n/lines $'one\ntwo\r\n\tthree\n'
    does put a/n/unicode $'\303\244 \342\202\254 \360\237\230\200'
    does put a/n/spaces '  around  '
    does put a/n/json '{"a": [1, "x"]}'
    does put a/n/equals 'a=b=c'
    printf '%b' "$(printf '\\x%02x' {0..255})" | kv put a/n/bytes
    head -c 300000 /dev/urandom | kv put a/n/large
    bytes=$(kv get a/n/json --version)
    [ -n "$bytes" ] || wrong "the store was not filled"
}

# empty_store: a store with nothing in it, as the one to work on
empty_store() {
    KVFS_STORE=$PWD/other
    rm -rf other
}

# ----------------------------------------------------------------- dump and load

case_a_dump_makes_the_same_store_anew() {
    fill
    does account create b
    does account limit b --bytes 2M --keys 7 --bindings none --namespaces 3
    does namespace create a/m
    does project create a/web
    does binding create a/web CARTS n
    does binding create a/web M m
    does project create b/none
    (umask 077 && kv put a/m/private secret)
    kv dump >dump || wrong "dump: exit status $?"
    jq -es 'length > 15' dump >/dev/null || wrong "it is no JSON Lines"
    empty_store
    does load --file dump
    kv dump | cmp - dump || wrong "a dump of the copy is another one"
    shows ok true check
    shows limit_keys 7 account show b
    prints 0 $'CARTS\tn\nM\tm\n' binding list a/web
    does load --file dump
    kv dump | cmp - dump || wrong "a second load has changed something"
}

case_a_dump_keeps_owners_modes_times_and_bytes_of_attributes() {
    does put a/n/k value
    cat >lines <<'END'
{"account":"a","attributes":{"mode":"0750","uid":1234,"gid":77}}
{"account":"a","namespace":"n","attributes":{"mode":"1777","uid":5,"gid":6},"metadata":{"of":"the namespace"}}
{NAMES,"key":"k","value":"v","attributes":{"mode":"0640","uid":1,"gid":2,"modified":"TIME"},"metadata_base64":{"raw":"/w=="}}
{NAMES,"key":"l","base64":"AAE="}
END
    sed -i 's/TIME/2001-02-03T04:05:06.000000789Z/; s/NAMES/"account":"a","namespace":"n"/' lines
    does load --file lines
    shows mode '"0750"' account show a
    shows uid 5 namespace show a/n
    kv dump a >dump
    grep -qF '"metadata":{"of":"the namespace"},"attributes":{"mode":"1777","uid":5,"gid":6}' dump ||
        wrong "the namespace is not as it was loaded: $(cat dump)"
    grep -F '"metadata_base64":{"raw":"/w=="}' dump |
        grep -qF '"attributes":{"mode":"0640","uid":1,"gid":2,"modified":"2001-02-03T04:05:06.000000789Z"}' ||
        wrong "the key is not as it was loaded: $(cat dump)"
    printf '\0\1' >bytes
    holds bytes a/n/l
}

case_a_store_that_is_over_its_limits_is_dumped_and_loaded() {
    does put a/n/k "$(symbols 100)"
    does put a/n/l 1
    does namespace create a/m
    does account limit a --bytes 10 --keys 1 --namespaces 1
    kv dump >dump
    empty_store
    does load --file dump
    kv dump | cmp - dump || wrong "a dump of the copy is another one"
    shows limit_bytes 10 account show a
    shows limit_keys 1 account show a
    shows limit_namespaces 1 account show a
}

case_every_format_carries_keys_there_and_back() {
    local format
    fill
    for format in json wrangler csv; do
        does namespace create a/$format
        kv dump a/n --format $format >dump.$format || wrong "dump: exit status $?"
        does load a/$format --format $format --file dump.$format
        diff -q <(kv list a/n --json-lines --values --meta) <(kv list a/$format --json-lines --values --meta) ||
            wrong "$format: the keys are others"
        kv dump a/$format --format $format | sed "s/\"$format\"/\"n\"/" | cmp - dump.$format ||
            [ $format = json ] || wrong "$format: another dump"
    done
    # A file for shells has neither metadata nor NULs.
    refuses_some 'a/n/bytes: it is left out|NUL' dump a/n --format env
    cp "$top/out" dump.env
    does namespace create a/env
    does load a/env --format env --file dump.env
    does delete a/n/bytes a/n/large
    diff -q <(kv list a/n --json-lines --values) <(kv list a/env --json-lines --values) || wrong "env: other keys"
    # shellcheck disable=SC1091
    (set -a && . ./dump.env && kv get a/n/quotes >one && printf %s "$quotes" | cmp - one &&
        kv get a/n/lines >one && printf %s "$lines" | cmp - one) || wrong "a shell reads something else"
}

# refuses_some WORDS[|WORDS...] ARGUMENT...: kvctl does a part, exits with 2, and says WORDS in its first line
refuses_some() {
    local words line
    local -a all
    IFS='|' read -r -a all <<<"$1"
    shift
    kv "$@" >"$top/out" 2>"$top/err" </dev/null
    [ $? -eq 2 ] || wrong "kvctl $*: another exit status than 2"
    line=$(head -1 "$top/err")
    for words in "${all[@]}"; do
        [[ $line == *"$words"* ]] || wrong "kvctl $*: said nothing of '$words': $line"
    done
}

case_a_namespace_is_copied_to_another_one() {
    does put a/n/k value --meta m=1
    does account create b
    kv dump a/n | kv load b/copy || wrong "load: exit status $?"
    prints 0 value get b/copy/k
    prints 0 '{"m":"1"}'$'\n' get b/copy/k --meta
    does put a/n/l value
    kv dump a/n --prefix l | kv load a/part || wrong "load: exit status $?"
    prints 0 $'l\n' list a/part --all
    kv dump a | kv load c || wrong "load: exit status $?"
    prints 0 $'n\npart\n' namespace list c
    kv dump a | kv load b/copy 2>"$top/err" && wrong "an account went into a namespace"
    grep -q 'line 1: it is no key, and only keys go into one namespace' "$top/err" || wrong "said $(cat "$top/err")"
}

case_what_list_prints_can_be_loaded() {
    fill
    does namespace create a/m
    kv list a/n --json-lines --values --meta | kv load a/m || wrong "load: exit status $?"
    diff -q <(kv list a/n --json-lines --values --meta) <(kv list a/m --json-lines --values --meta) || wrong "others"
    kv get a/n/meta --json | kv load || wrong "load of get --json: exit status $?"
}

case_what_wrangler_writes_is_loaded() {
    cat >keys.json <<'END'
[
  {"key": "one", "value": "1", "metadata": {"name": "x", "number": 5, "list": [1,2]}},
  {"key": "two", "value": "Mg==", "base64": true}, {"key":"three","value":"","metadata":null,"expiration":null}
]
END
    does load a/n --format wrangler --file keys.json
    prints 0 2 get a/n/two
    prints 0 '{"list":"[1,2]","name":"x","number":"5"}'$'\n' get a/n/one --meta
    prints 3 '' get a/n/three --empty
    echo '[]' | kv load a/n --format wrangler || wrong "an empty array: exit status $?"
}

case_env_files_of_other_programs_are_loaded() {
    cat >env <<'END'
# a comment
PLAIN=hello world   

export EXPORTED="with \"quotes\" and \$DOLLAR\nnext"
SINGLE='as $it is\n'  # behind it
EMPTY=
   SPACED = no
MANY='one
two'
HASH=a#b
END
    printf 'LAST=without a line end' >>env
    refuses_some 'env: line 7|SPACED ' load a/n --format env --file env
    prints 0 'hello world' get a/n/PLAIN
    prints 0 $'with "quotes" and $DOLLAR\nnext' get a/n/EXPORTED
    prints 0 'as $it is\n' get a/n/SINGLE
    prints 3 '' get a/n/EMPTY --empty
    prints 0 $'one\ntwo' get a/n/MANY
    prints 0 'a#b' get a/n/HASH
    prints 0 'without a line end' get a/n/LAST
    prints 0 $'EMPTY\nEXPORTED\nHASH\nLAST\nMANY\nPLAIN\nSINGLE\n' list a/n --all
}

case_csv_of_other_programs_is_loaded() {
    printf '\357\273\277value,key\r\n"a ""b"", c",one\r\n"two\nlines",two\r\n\r\nplain,three' >csv
    does load a/n --format csv --file csv
    prints 0 'a "b", c' get a/n/one
    prints 0 $'two\nlines' get a/n/two
    prints 0 plain get a/n/three
    printf 'key,value\nk\nl,1\n' >csv
    refuses_some 'line 2: it has 1 columns, and the first row 2' load a/n --format csv --file csv
    prints 0 1 get a/n/l
    printf 'key,size\nk,1\n' >csv
    refuses_some "line 1|'size' is none" load a/n --format csv --file csv
    printf 'key,value\nk,"1\n' >csv
    refuses_some 'line 2: a quoted field does not end' load a/n --format csv --file csv
}

# ----------------------------------------------------------------------- errors

case_a_line_that_is_wrong_is_told_and_the_others_are_loaded() {
    cat >lines <<'END'
{"account":"a","namespace":"n","key":"good1","value":"1"}
{"account":"a","namespace":"n","key":"bad.name","value":"1"}
not json

{"account":"a","namespace":"x","key":"k","value":"1"}
{"account":"a","namespace":"n","key":"k"}
{"account":"a","namespace":"n","key":"k","value":5}
{"account":"a","namespace":"n","key":"k","base64":"x"}
{"account":"a","namespace":"n","key":"k","value":"1","expires":"soon"}
{"account":"a","namespace":"n","key":"k","value":"1","colour":"red"}
{"account":"a","namespace":"n","key":"k","value":"1","metadata":{"kvfs.version":"1"}}
{"key":"k","value":"1"}
{"account":"a","namespace":"n","key":"good2","value":"2"}
END
    kv load --file lines >"$top/out" 2>"$top/err" && wrong "it succeeded"
    cat >wanted <<'END'
kvctl: lines: line 2: 'bad.name' is no valid name: a key is 1 to 512 letters, digits or underscores
kvctl: lines: line 3: it is no JSON: column 3: invalid token near 'not'
kvctl: lines: line 5: k: there is no namespace a/x; create it with: kvctl namespace create a/x
kvctl: lines: line 6: the key has no "value" and no "base64"
kvctl: lines: line 7: "value" is no string
kvctl: lines: line 8: the value is no base64
kvctl: lines: line 9: its expiry is no time as 2026-12-01T12:00:00Z
kvctl: lines: line 10: "colour" is no field of a record
kvctl: lines: line 11: the metadata's name 'kvfs.version' begins with kvfs., as the store's own do
kvctl: lines: line 12: k: it names no account, and neither does the command line
END
    tail -1 "$top/err" | grep -q 'lines: 2 loaded, 10 refused; mend what is refused .*, or go on with --skip 1$' ||
        wrong "the last line is $(tail -1 "$top/err")"
    head -n -1 "$top/err" | diff wanted - || wrong "that is not what it has to say"
    prints 0 $'good1\ngood2\n' list a/n --all
}

case_limits_hold_for_every_line() {
    local i
    does account limit a --keys 5
    for i in 1 2 3 4 5 6 7; do
        echo "{\"key\":\"k$i\",\"value\":\"1\"}"
    done >lines
    refuses_some 'lines: line 6: k6|account a has 5 keys|limit is 5' load a/n --file lines
    grep -q 'line 7: k7' "$top/err" || wrong "nothing is said of line 7"
    shows keys 5 account show a
    does account limit a --keys none --bytes 100
    echo "{\"key\":\"k1\",\"value\":\"$(symbols 100)\"}" >lines
    refuses_some 'line 1: k1|account a is full|limit of 100 bytes' load a/n --file lines
    head -c 26214401 /dev/zero | tr '\0' x | jq -Rc '{key: "big", value: .}' >lines
    refuses_some 'line 1|25 MiB' load a/n --file lines
    prints 0 1 get a/n/k1
}

case_too_many_errors_end_a_load() {
    local i
    for i in $(seq 200); do
        echo "{\"key\":\"k.$i\",\"value\":\"1\"}"
    done >lines
    refuses_some 'line 1:' load a/n --file lines
    [ "$(wc -l <"$top/err")" = 101 ] || wrong "$(wc -l <"$top/err") lines were said"
    tail -1 "$top/err" | grep -q '0 loaded, 100 refused, and what follows was not read' || wrong "$(tail -1 "$top/err")"
}

case_a_load_goes_on_behind_a_line() {
    local i
    for i in 1 2 3 4 5; do
        echo "{\"key\":\"k$i\",\"value\":\"1\"}"
    done >lines
    does load a/n --file lines --skip 3
    prints 0 $'k4\nk5\n' list a/n --all
    printf 'x=1\ny=2\n' >env
    does load a/n --format env --file env --skip 1
    prints 1 '' get a/n/x
    prints 0 2 get a/n/y
    echo '[{"key":"i1","value":"1"},{"key":"i2","value":"2"}]' >items
    does load a/n --format wrangler --file items --skip 1
    prints 1 '' get a/n/i1
    prints 0 2 get a/n/i2
    refuses_some '--skip x: it has to be a whole number' load a/n --skip x
}

case_what_is_there_stays_where_that_is_wanted() {
    does put a/n/k old
    printf '{"key":"k","value":"new"}\n{"key":"l","value":"new"}\n' >lines
    prints 0 '{"loaded":1,"there":1,"refused":0,"expired":0}'$'\n' load a/n --file lines --if-absent --json
    prints 0 old get a/n/k
    prints 0 new get a/n/l
}

case_all_or_nothing_is_loaded() {
    local i
    for i in 1 2 3; do
        echo "{\"key\":\"k$i\",\"value\":\"1\"}"
    done >lines
    echo '{"key":"k.4","value":"1"}' >bad
    refuses_some 'line 4' load a/n --atomic --file <(cat lines bad)
    prints 0 '' list a/n --all
    does account limit a --keys 2
    refuses_some "line 3: k3: the account's limits have no room for all" load a/n --atomic --file lines
    prints 0 '' list a/n --all
    does account limit a --keys none
    does load a/n --atomic --file lines
    prints 0 $'k1\nk2\nk3\n' list a/n --all
    does delete a/n/k1
    kv load a/n --atomic --if-absent --file lines 2>"$top/err"
    [ $? -eq 4 ] || wrong "another exit status than 4"
    grep -q 'line 2: k2: this key exists already' "$top/err" || wrong "said $(cat "$top/err")"
    prints 0 $'k2\nk3\n' list a/n --all
    does account create b
    does namespace create b/n
    printf '{"account":"%s","namespace":"n","key":"x","value":"1"}\n' a b >lines
    refuses_some 'not all of one account' load --atomic --file lines
    prints 1 '' get a/n/x
    seq 10001 | jq -c '{key: "k\(.)", value: "1"}' >lines
    refuses_some 'line 10001: --atomic is for at most 10000 keys' load a/n --atomic --file lines
    head -10000 lines >most
    does load a/n --atomic --file most
    shows keys 10000 account show a
}

case_a_load_that_needs_names_says_so() {
    refuses 2 '--format csv|type: kvctl load [ACCOUNT[/NAMESPACE]] --format FORMAT' load --format csv </dev/null
    refuses 2 '--format|ACCOUNT/NAMESPACE' dump a --format env
    refuses 2 '--prefix|ACCOUNT/NAMESPACE' dump a --prefix k
    refuses 2 '--format xml: a format is json, wrangler, csv or env' dump --format xml
    refuses 2 'no namespace x' load a/x --format env </dev/null
    refuses 2 'absent: cannot open it: No such file' load --file absent
    empty_store
    without_store 'other' load a/n
    [ ! -e other ] || wrong "a store was made"
}

case_a_load_of_10000_keys_shares_transactions() {
    local before after
    does account create b
    seq 10000 | jq -c '{key: "k\(.)", value: "value \(.)"}' >lines
    before=$(kv get a/n/k1 --version)
    does load a/n --file lines
    shows keys 10000 account show a
    prints 0 'value 7777' get a/n/k7777
    kv dump a/n | jq -r 'select(.key) | .value' | sort | cmp - <(seq 10000 | sed 's/^/value /' | sort) || wrong "values"
    after=$(kv get a/n/k1 --version)
    [ "$before" != "$after" ] || wrong "the version stayed"
}

case_a_damaged_value_is_left_out_of_a_dump() {
    local at
    does put a/n/k 'a_needle_in_the_file'
    does put a/n/l good
    at=$(grep -abo a_needle_in_the_file "$KVFS_STORE/data.mdb" | cut -d: -f1)
    [ -n "$at" ] || skip "the value is not found in data.mdb"
    for at in $at; do
        printf A | dd of="$KVFS_STORE/data.mdb" bs=1 seek="$at" conv=notrunc 2>/dev/null
    done
    kv dump a/n >dump 2>"$top/err" && wrong "it succeeded"
    grep -q 'a/n/k.*damaged' "$top/err" || grep -q 'a/n.*damaged' "$top/err" || wrong "said $(cat "$top/err")"
}

# As long as lines come, and no longer than 60 s, until it is shown how far it is.
case_a_terminal_shows_how_far_a_load_is() {
    command -v python3 >/dev/null || skip "python3 is not installed"
    python3 - "$kvctl" >"$top/out" 2>&1 <<'END' || wrong "$(cat "$top/out")"
import os, pty, re, subprocess, sys, time
terminal, other = pty.openpty()
os.set_blocking(terminal, False)
load = subprocess.Popen([sys.argv[1], 'load', 'a/n'], stdin=subprocess.PIPE, stderr=other, text=True)
os.close(other)
shown, lines, end = b'', 0, time.time() + 60
while not re.search(rb'line \d+, \d+ loaded, \d+ a second', shown) and time.time() < end:
    lines += 1
    print('{"key":"k%d","value":"1"}' % lines, file=load.stdin, flush=True)
    try: shown += os.read(terminal, 1000)
    except BlockingIOError: pass
load.stdin.close()
status = load.wait(60)
try:
    while True: shown += os.read(terminal, 1000)
except OSError: pass
print('exit status', status, 'said', shown)
sys.exit(status != 0 or not re.search(rb'line \d+, \d+ loaded', shown) or not shown.endswith(b'\r\x1b[K'))
END
    shows ok true check
}

# Not where the dump itself is shown.
case_a_terminal_shows_how_far_a_dump_is() {
    command -v python3 >/dev/null || skip "python3 is not installed"
    does put a/n/k value
    python3 - "$kvctl" >"$top/out" 2>&1 <<'END' || wrong "$(cat "$top/out")"
import os, pty, subprocess, sys
def shown(**output):
    terminal, other = pty.openpty()
    output = output or {'stdout': other}
    status = subprocess.run([sys.argv[1], 'dump'], stderr=other, timeout=60, **output).returncode
    os.close(other)
    text = b''
    try:
        while True: text += os.read(terminal, 1000)
    except OSError: pass
    print('exit status', status, 'said', text)
    return text if status == 0 else b''
beside, within = shown(stdout=subprocess.DEVNULL), shown()
sys.exit(not (b'\rdump: 0.0 of 0.0 MiB, 100%' in beside and beside.endswith(b'\r\x1b[K') and
              b'"key":"k"' in within and b'MiB' not in within))
END
}

# ------------------------------------------------------- get, delete, list of many

case_many_keys_are_got_by_names() {
    does put a/n/k1 one
    does put a/n/k2 two
    does put a/n/l three
    does namespace create a/m
    does put a/m/k four
    prints 0 onetwofour get a/n/k1 a/n/k2 a/m/k
    prints 0 onetwo get a/n --prefix k
    printf 'k2\nl\n' | kv get a/n - >out || wrong "names: exit status $?"
    [ "$(cat out)" = twothree ] || wrong "got $(cat out)"
    printf 'a/m/k\na/n/l' | kv get - >out || wrong "paths: exit status $?"
    [ "$(cat out)" = fourthree ] || wrong "got $(cat out)"
    kv get a/n/k1 a/n/absent a/n/k2 >out 2>"$top/err"
    [ $? -eq 1 ] || wrong "another exit status than 1"
    [ "$(cat out)" = onetwo ] || wrong "got $(cat out)"
    [ "$(cat "$top/err")" = 'kvctl: a/n/absent: there is no such key' ] || wrong "said $(cat "$top/err")"
    kv get a/n --prefix k --json-lines | jq -c '[.key, .value]' >out
    printf '["k1","one"]\n["k2","two"]\n' | cmp - out || wrong "lines: $(cat out)"
    kv get a/n/k1 a/n/absent --json 2>/dev/null | jq -c 'map(.value)' >out
    [ "$(cat out)" = '["one",null]' ] || wrong "an array: $(cat out)"
    prints 0 '' get a/n --prefix nothing
    refuses 2 '--prefix is for the keys of one' get a/n/k1 a/n/k2 --prefix k
    refuses 2 'a/n: this is not of the form ACCOUNT/NAMESPACE/KEY' get a/n/k1 a/n
    printf 'k1\0k2' | refuses 2 "standard input: 'k1...' is no name: there is a NUL" delete a/n -
    refuses 2 'standard input|too long' get a/n - < <(yes | tr -d '\n')
    printf 'k 1\n' | refuses 2 "standard input: 'k 1' is no valid name" get a/n -
}

case_many_keys_are_deleted() {
    local i
    for i in $(seq 700); do
        echo "{\"key\":\"k$i\",\"value\":\"$i\"}"
    done | kv load a/n || wrong "load: exit status $?"
    does put a/n/l 1
    does delete a/n/k1 a/n/k2 a/n/k3
    shows keys 698 account show a
    kv delete a/n/k1 a/n/k4 a/n/k2 2>"$top/err"
    [ $? -eq 1 ] || wrong "another exit status than 1"
    [ "$(grep -c 'there is no such key' "$top/err")" = 2 ] || wrong "said $(cat "$top/err")"
    shows keys 697 account show a
    kv list a/n --all | grep 'k10' | kv delete a/n - || wrong "names: exit status $?"
    shows keys 686 account show a
    printf 'a/n/k5\na/n/k6\n' | kv delete - --json >out || wrong "paths: exit status $?"
    [ "$(cat out)" = '{"deleted":2}' ] || wrong "printed $(cat out)"
    does delete a/n --prefix k
    prints 0 $'l\n' list a/n --all
    does delete a/n --prefix k
    refuses 2 '--prefix|this would delete all keys' delete a/n --prefix ''
    prints 0 $'l\n' list a/n --all
}

case_a_list_has_values_and_metadata_where_they_are_wanted() {
    does put a/n/k1 one --meta m=1
    printf '\0' | kv put a/n/k2
    prints 0 $'{"key":"k1"}\n{"key":"k2"}\n' list a/n --json-lines
    prints 0 $'{"key":"k1","value":"one"}\n{"key":"k2","base64":"AA=="}\n' list a/n --json-lines --values
    prints 0 $'{"key":"k1","metadata":{"m":"1"}}\n{"key":"k2"}\n' list a/n --json-lines --meta
    prints 0 '{"complete":false,"cursor":"k2","keys":[{"key":"k1","value":"one","metadata":{"m":"1"}}]}'$'\n' \
        list a/n --values --meta --limit 1
    prints 0 '{"complete":true,"cursor":null,"keys":[{"key":"k1","value":"one"},{"key":"k2","base64":"AA=="}]}'$'\n' \
        list a/n --values --all --json
    refuses 2 'as JSON|type: kvctl list ACCOUNT/NAMESPACE --json-lines' list a/n --values --all
    refuses 2 'leave out --limit' list a/n --json-lines --limit 3
}

run_kvctl "$@"
