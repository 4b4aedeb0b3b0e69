# kvctl, seen from a shell, for test scripts. A script sources this, defines its cases, and ends with: run_kvctl "$@"
#
# A case is a function whose name begins with case_ and goes on as a sentence. It runs in a subshell
# with a store of its own, in which there are account a and namespace a/n, and in a directory of its
# own. Usage: KVCTL_BIN=PROGRAM test_WHAT.sh [CASE...]
set -u
LC_ALL=C
export LC_ALL
kvctl=${KVCTL_BIN:?KVCTL_BIN names the program to be tested}
passed=0
failed=0
skipped=0

top=$(mktemp -d "${TMPDIR:-/tmp}/kvctl-test.XXXXXX") || exit 1
mounted=$top/mounted # where a case may mount
clean_up() {
    if [ -d "$mounted" ]; then
        fusermount3 -uq "$mounted" || fusermount3 -uzq "$mounted"
    fi
    rm -rf "$top"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

# ------------------------------------------------------------------ vocabulary

kv() {
    timeout 120 "$kvctl" "$@"
}

wrong() {
    printf '%s\n' "$*"
    bad=1
}

skip() {
    printf '%s\n' "$*"
    exit 77
}

# does ARGUMENT...: kvctl succeeds without a word
does() {
    kv "$@" </dev/null >"$top/out" 2>"$top/err" || wrong "kvctl $*: exit status $?: $(cat "$top/err")"
    [ ! -s "$top/out" ] || wrong "kvctl $*: printed $(head -c 200 "$top/out")"
    [ ! -s "$top/err" ] || wrong "kvctl $*: said $(cat "$top/err")"
}

# prints STATUS TEXT ARGUMENT...: kvctl exits with STATUS, and its output is TEXT, byte for byte
prints() {
    local status=$1 text=$2 got
    shift 2
    kv "$@" </dev/null >"$top/out" 2>"$top/err"
    got=$?
    [ $got -eq "$status" ] || wrong "kvctl $*: exit status $got, not $status: $(cat "$top/err")"
    printf '%s' "$text" | cmp -s - "$top/out" ||
        wrong "kvctl $*: printed '$(head -c 300 "$top/out" | tr '\0' '?')', not '${text:0:300}'"
    [ ! -s "$top/err" ] || wrong "kvctl $*: said $(cat "$top/err")"
}

# One line on standard error that begins with "kvctl: " and has every WORDS in it.
one_line_with() {
    local words
    local -a lines
    mapfile lines <"$top/err"
    if [ ${#lines[@]} -ne 1 ] || [[ ${lines[0]} != 'kvctl: '?*$'\n' ]]; then
        wrong "$what: not one line of the form 'kvctl: ...': ${lines[*]}"
        return
    fi
    for words in "$@"; do
        [[ ${lines[0]} == *"$words"* ]] || wrong "$what: said nothing of '$words': ${lines[0]}"
    done
}

# What every commit changes: the two header pages of LMDB's file.
state() {
    head -c 8192 "$KVFS_STORE/data.mdb"
}

# refuses STATUS WORDS[|WORDS...] ARGUMENT...: kvctl exits with STATUS, prints nothing, says why in one
# line that has all WORDS, and leaves the store as it was. Its input is this shell's.
refuses() {
    local status=$1 got what
    local -a words
    IFS='|' read -r -a words <<<"$2"
    shift 2
    what="kvctl $*"
    what=${what:0:300}
    state >"$top/before"
    kv "$@" >"$top/out" 2>"$top/err"
    got=$?
    [ $got -eq "$status" ] || wrong "$what: exit status $got, not $status"
    [ ! -s "$top/out" ] || wrong "$what: printed $(head -c 200 "$top/out")"
    one_line_with "${words[@]}"
    state | cmp -s - "$top/before" || wrong "$what: changed the store"
}

# holds FILE KEY: the key's value is FILE's bytes
holds() {
    kv get "$2" 2>"$top/err" | cmp - "$1" >"$top/cmp" 2>&1 || wrong "$2 is not $1: $(cat "$top/cmp" "$top/err")"
}

# shows KEY NUMBER WHAT...: `show` of WHAT has this figure
shows() {
    local key=$1 number=$2
    shift 2
    kv "$@" >"$top/out" 2>"$top/err" || wrong "kvctl $*: $(cat "$top/err")"
    grep -qE "^ *\"$key\": $number,?\$" "$top/out" ||
        wrong "kvctl $*: $key is not $number: $(tr -d '\n' <"$top/out")"
}

symbols() { # COUNT: a name of that many symbols
    head -c "$1" /dev/zero | tr '\0' k
}

# without_store WORDS ARGUMENT...: as refuses, where there is no store to look into
without_store() {
    local what="kvctl ${*:2}" status
    local -a words
    IFS='|' read -r -a words <<<"$1"
    shift
    kv "$@" </dev/null >"$top/out" 2>"$top/err"
    status=$?
    [ $status -eq 2 ] || wrong "$what: exit status $status"
    [ ! -s "$top/out" ] || wrong "$what: printed $(head -c 200 "$top/out")"
    one_line_with "${words[@]}"
}

# -------------------------------------------------------------------- running

template=$top/template
export KVFS_STORE=$template
if ! kv account create a || ! kv namespace create a/n; then
    echo "kvctl cannot make a store"
    exit 1
fi

run_kvctl() {
    local case status sentence
    local -a cases=("$@")
    [ $# -gt 0 ] || mapfile -t cases < <(compgen -A function case_)
    for case in "${cases[@]}"; do
        rm -rf "$top/store" "$top/directory"
        mkdir "$top/directory"
        cp -a "$template" "$top/store"
        (
            bad=0
            KVFS_STORE=$top/store
            cd "$top/directory" || exit 1
            "$case"
            exit $bad
        ) >"$top/log" 2>&1
        status=$?
        sentence=${case#case_}
        case $status in
        0) passed=$((passed + 1)) ;;
        77)
            skipped=$((skipped + 1))
            echo "skipped: ${sentence//_/ }: $(cat "$top/log")"
            ;;
        *)
            failed=$((failed + 1))
            echo "FAILED: ${sentence//_/ }"
            sed 's/^/    /' "$top/log"
            ;;
        esac
    done
    [ $skipped -eq 0 ] || echo "$skipped skipped"
    echo "$passed passed, $failed failed"
    [ $failed -eq 0 ] && [ $passed -gt 0 ]
}
