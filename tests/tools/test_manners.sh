#!/bin/bash
# kvctl: the habits that people bring from other programs, and what keeps them from accidents. See support/kvctl.sh.
. "$(dirname "$0")/../support/kvctl.sh"

# -------------------------------------------------------------------- commands

case_commands_have_the_names_that_people_type() {
    does set a/n/k value
    prints 0 value cat a/n/k
    does rm a/n/k
    refuses 1 'a/n/k|no such key' del a/n/k
    does put a/n/k value
    does mv a/n/k l
    prints 0 value get a/n/l
    does namespace mv a/n m
    does namespace rm a/m --recursive
    does account del a
    kv cat --help | cmp -s - <(kv get --help) || wrong "cat --help is not get --help"
    kv get --help | grep -q 'Other names: cat' || wrong "get --help does not tell of cat"
}

case_ls_prints_names_one_a_line() {
    does account create b
    does namespace create a/m
    does put a/n/k2 2
    does put a/n/k1 1
    prints 0 $'a\nb\n' ls
    prints 0 $'m\nn\n' ls a
    prints 0 $'k1\nk2\n' ls a/n
    prints 0 $'k2\n' ls a/n --prefix k2
    prints 0 '' ls b
    prints 0 $'["a","b"]\n' ls --json
    refuses 2 'no account c' ls c
    refuses 2 "'' is no valid name" ls ''
    refuses 2 '--prefix is for the keys|type: kvctl ls [ACCOUNT[/NAMESPACE]] --prefix P' ls a --prefix k
}

case_a_wrong_word_is_told_the_right_one() {
    refuses 2 'lst: there is no such command; did you mean list?' lst a/n
    refuses 2 'did you mean get?|type: kvctl get --help' gte a/n/k
    refuses 2 'did you mean list?' keys a/n
    refuses 2 'did you mean txn?' multi
    refuses 2 'did you mean account?' acount list
    refuses 2 'account lsit: there is no such command; did you mean list?|type: kvctl account list --help' account lsit
    refuses 2 'namespace purge|type: kvctl namespace create|delete' namespace purge a/n
    refuses 2 '--prefx|did you mean --prefix?' list a/n --prefx k
}

case_options_are_not_abbreviated() {
    does put a/n/k 1
    refuses 2 '--lim|did you mean --limit?|not abbreviated' list a/n --lim 1
    refuses 2 '--pre=k|did you mean --prefix?' list a/n --pre=k
    refuses 2 '--st: there is no such option' --st x list a/n
    refuses 2 '--recurs|did you mean --recursive?' account delete a --recurs
}

case_a_group_lists_its_commands() {
    local group
    for group in account namespace project binding; do
        kv $group --help >out 2>"$top/err" || wrong "$group --help: exit status $?"
        grep -q "^  kvctl $group create " out || wrong "$group --help says nothing of create"
        grep -q "^  kvctl get" out && wrong "$group --help tells of get"
        kv $group -h | cmp -s - out || wrong "$group -h is not $group --help"
        refuses 2 "one more word is needed|type: kvctl $group create|" $group
    done
}

case_every_usage_error_prints_the_line_to_type() {
    refuses 2 'type: kvctl get ACCOUNT/NAMESPACE/KEY' get
    refuses 2 'type: kvctl put ACCOUNT/NAMESPACE/KEY [VALUE]' put a/n/k v surplus
    refuses 2 'type: kvctl list ACCOUNT/NAMESPACE --limit N' list a/n --limit 0
    refuses 2 'type: kvctl list ACCOUNT/NAMESPACE --limit N' list a/n --limit
    refuses 2 'type: kvctl list ACCOUNT/NAMESPACE' list a/n --frobnicate
    refuses 2 'type: kvctl list ACCOUNT/NAMESPACE' list a
    refuses 2 'type: kvctl account limit ACCOUNT --bytes SIZE' account limit a --bytes 1.5G
    refuses 2 'type: kvctl account limit ACCOUNT --bytes SIZE' account limit a
    refuses 2 'type: kvctl namespace rename ACCOUNT/NAMESPACE NEW' namespace rename a/n
    refuses 2 'type: kvctl env ACCOUNT/PROJECT --mount DIR' env a/p
    refuses 2 'type: kvctl put ACCOUNT/NAMESPACE/KEY --meta NAME=VALUE [VALUE]' put a/n/k v --meta x
    refuses 2 'type: kvctl --store DIR COMMAND' frobnicate
    unset KVFS_STORE
    without_store 'no store is named|type: kvctl account list --store DIR' account list
}

case_sizes_are_written_as_people_write_them() {
    local size
    for size in 1G 1GiB 1g 1giB; do
        does account limit a --bytes 5
        kv account limit a --bytes $size 2>"$top/err" || {
            [ $size = 1giB ] || wrong "$size: $(cat "$top/err")"
            continue
        }
        shows limit_bytes 1073741824 account show a
    done
    does account limit a --bytes 2KiB
    shows limit_bytes 2048 account show a
    refuses 2 '--bytes 1GB' account limit a --bytes 1GB
    refuses 2 '--bytes 1iB' account limit a --bytes 1iB
    refuses 2 '--bytes 1GiBs' account limit a --bytes 1GiBs
}

# ---------------------------------------------------------------------- values

case_a_failed_command_in_a_pipe_empties_no_key() {
    does put a/n/k old
    false | refuses 2 'a/n/k|standard input is empty|nothing was changed|--empty' put a/n/k
    refuses 2 'standard input is empty' put a/n/k </dev/null
    refuses 2 'standard input is empty' put a/n/k --file - </dev/null
    prints 0 old get a/n/k
    : | kv put a/n/k --empty || wrong "put --empty: exit status $?"
    prints 1 '' get a/n/k
    does put a/n/k2 ''
    : >empty
    does put a/n/k3 --file empty
    prints 0 $'k\nk2\nk3\n' list a/n --all
}

case_a_file_called_dash_is_standard_input() {
    printf in | kv put a/n/k --file - || wrong "exit status $?"
    prints 0 in get a/n/k
    echo in | refuses 2 'a/n/k|the value is given twice|type: kvctl put' put a/n/k value --file -
    prints 0 in get a/n/k
}

# Scripts run with any standard input: it is nothing to be said of where the value is given.
case_standard_input_is_left_alone_where_the_value_is_given() {
    echo in >file
    kv put a/n/k value <file || wrong "exit status $?"
    echo in | kv put a/n/k2 value || wrong "exit status $?"
    prints 0 value get a/n/k
    prints 0 value get a/n/k2
}

case_metadata_alone_leaves_the_value() {
    local version
    does put a/n/k value --meta a=1 --meta b=2
    version=$(kv get a/n/k --json | jq .version)
    does put a/n/k --meta b=3 --meta c=4
    prints 0 value get a/n/k
    prints 0 '{"b":"3","c":"4"}'$'\n' get a/n/k --meta
    [ "$(kv get a/n/k --json | jq .version)" = "$version" ] || wrong "the version is another one"
    refuses 1 'a/n/absent|no such key' put a/n/absent --meta a=1 </dev/null
    does account limit a --bytes 20
    refuses 2 'account a is full' put a/n/k --meta "b=$(symbols 100)" --meta c=5 </dev/null
    prints 0 '{"b":"3","c":"4"}'$'\n' get a/n/k --meta
}

case_metadata_with_a_value_in_standard_input_has_to_be_said() {
    does put a/n/k value --meta a=1
    echo other | refuses 2 'a/n/k|--meta alone|add --file -|</dev/null' put a/n/k --meta a=2
    prints 0 value get a/n/k
    printf other | kv put a/n/k --meta a=2 --file - || wrong "exit status $?"
    prints 0 other get a/n/k
    prints 0 '{"a":"2"}'$'\n' get a/n/k --meta
}

# terminal INPUT ARGUMENT...: what kvctl says with a terminal as its standard input, where INPUT is typed
terminal() {
    local input=$1
    shift
    printf '%b' "$input" | python3 -c '
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o666), 1)
    os.execv(sys.argv[2], sys.argv[2:])
text = b""
while b"\n" not in text:
    text += os.read(fd, 1000)
os.write(fd, sys.stdin.buffer.read())
try:
    while True:
        text += os.read(fd, 1000)
except OSError:
    pass
sys.stdout.buffer.write(text.replace(b"\r", b""))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))' "$top/out" "$kvctl" "$@"
}

case_a_terminal_is_told_what_is_waited_for() {
    command -v python3 >/dev/null || skip "python3 is not installed"
    terminal 'typed\n\0004' put a/n/k >said || wrong "exit status $?"
    head -1 said | grep -q '^kvctl: a/n/k: waiting for the value: .*Ctrl-D' || wrong "said $(cat said)"
    prints 0 $'typed\n' get a/n/k
    terminal '\0004' put a/n/k >said && wrong "an empty value was put"
    prints 0 $'typed\n' get a/n/k
}

# ----------------------------------------------------------------- exit status

case_a_terminal_is_told_that_names_are_waited_for() {
    command -v python3 >/dev/null || skip "python3 is not installed"
    does put a/n/k value
    terminal 'k\n\0004' get a/n - >said || wrong "exit status $?"
    head -1 said | grep -q '^kvctl: waiting for names: type a KEY a line' || wrong "said $(cat said)"
    [ "$(cat "$top/out")" = value ] || wrong "printed $(cat "$top/out")"
    terminal 'a/n/k\n\0004' delete - >said || wrong "exit status $?"
    head -1 said | grep -q 'type an ACCOUNT/NAMESPACE/KEY a line' || wrong "said $(cat said)"
    prints 1 '' get a/n/k
    terminal 'put a/n/k typed\n\0004' txn >said || wrong "exit status $?"
    head -1 said | grep -q '^kvctl: txn: waiting for operations' || wrong "said $(cat said)"
    prints 0 typed get a/n/k
}

case_the_exit_status_tells_absent_from_empty_where_that_is_wanted() {
    does put a/n/empty ''
    prints 1 '' get a/n/empty
    prints 3 '' get a/n/empty --empty
    prints 1 '' get a/n/absent --empty
    does put a/n/k v
    prints 0 v get a/n/k --empty
    prints 3 $'null\n' get a/n/empty --type json --empty
}

# ------------------------------------------------------------------------ JSON

case_json_is_printed_where_it_is_wanted() {
    does project create a/p
    does binding create a/p V n
    prints 0 '["a"]'$'\n' account list --json
    prints 0 '["n"]'$'\n' namespace list a --json
    prints 0 '["p"]'$'\n' project list a --json
    prints 0 '{"V":"n"}'$'\n' binding list a/p --json
    shows keys 0 account show a --json
    shows keys 0 namespace show a/n --json
    shows ok true check --json
    kv put a/n/k value --json --meta m=1 >out || wrong "put --json: exit status $?"
    jq -e '.account == "a" and .namespace == "n" and .key == "k" and .size == 5 and .version > 0' out >/dev/null ||
        wrong "put --json: $(cat out)"
    jq .version out >version
    kv get a/n/k --json | jq -c 'del(.version)' >got
    echo '{"account":"a","namespace":"n","key":"k","size":5,"value":"value","metadata":{"m":"1"}}' | cmp -s - got ||
        wrong "get --json: $(cat got)"
    kv get a/n/k --json | jq .version | cmp -s - version || wrong "the version is not that of the put"
    prints 1 $'null\n' get a/n/absent --json
    printf '\377\0' | kv put a/n/bytes
    kv get a/n/bytes --json | jq -e '.base64 == "/wA=" and (has("value") | not)' >/dev/null || wrong "no base64"
    prints 0 '{"deleted":1}'$'\n' delete a/n/k --json
    does namespace create a/m --json
    does put a/n/k value
    kv rename a/n/k a/m/l --json | jq -c '[.account, .namespace, .key, .size, .version > 0]' >got
    [ "$(cat got)" = '["a","m","l",5,true]' ] || wrong "rename --json: $(cat got)"
}

case_a_page_and_all_keys_are_json_of_the_same_form() {
    local i page='{"complete":true,"cursor":null,"keys":[{"key":"k1"},{"key":"k2"},{"key":"k3"}]}'$'\n'
    for i in 1 2 3; do
        does put a/n/k$i $i
    done
    prints 0 "$page" list a/n
    prints 0 "$page" list a/n --json
    prints 0 "$page" list a/n --all --json
    prints 0 "$page" ls a/n --json
    prints 0 '{"complete":false,"cursor":"k3","keys":[{"key":"k1"},{"key":"k2"}]}'$'\n' list a/n --json --limit 2
    prints 0 '{"complete":true,"cursor":null,"keys":[]}'$'\n' list a/n --all --json --prefix x
}

# ---------------------------------------------------------------------- rename

case_a_key_is_renamed_within_its_account() {
    does namespace create a/m
    does account create b
    does namespace create b/n
    does put a/n/k value --meta a=1
    does rename a/n/k a/m/l
    prints 0 value get a/m/l
    prints 0 '{"a":"1"}'$'\n' get a/m/l --meta
    prints 1 '' get a/n/k
    does put a/m/other old
    does rename a/m/l other
    prints 0 value get a/m/other
    refuses 1 'a/n/k|no such key' rename a/n/k l
    refuses 2 'another account' rename a/m/other b/n/k
    refuses 2 '1 to 512' rename a/m/other 'a b'
    refuses 2 'no namespace x' rename a/m/other a/x/k
    refuses 2 'not of the form ACCOUNT/NAMESPACE/KEY' rename a/m/other a/b
    prints 0 value get a/m/other
}

run_kvctl "$@"
