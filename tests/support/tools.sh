# Programs at work on a mount, for test scripts: mount.sh, and an account with a namespace.
. "$(dirname "${BASH_SOURCE[0]}")/mount.sh"

# need PROGRAM...: skip the case where one is not installed
need() {
    local program
    for program; do
        command -v "$program" >/dev/null || skip "$program is not installed"
    done
}

# ready [OPTION...]: mount, with namespace a/n at $n
ready() {
    start "$@" || exit 1
    n=$mnt/a/n
    mkdir "$mnt/a" "$n" || exit 1
}

# only KEY...: these keys are in a/n and nothing else, on this node and in the central
only() {
    local wanted got
    wanted=$(printf '%s\n' "$@" | sort)
    got=$(ls -A "$n") || wrong "ls: exit status $?"
    [ "$got" = "$wanted" ] || wrong "ls: ${got//$'\n'/ }; not $(tr '\n' ' ' <<<"$wanted")"
    got=$(kv list a/n --all) || wrong "kvctl list: exit status $?"
    [ "$got" = "$wanted" ] || wrong "kvctl list: ${got//$'\n'/ }; not $(tr '\n' ' ' <<<"$wanted")"
}

# holds FILE KEY: the key of a/n has the bytes of FILE, on this node and in the central
holds() {
    cmp "$1" "$n/$2" || wrong "$2 is not $1"
    kv get "a/n/$2" | cmp "$1" - || wrong "the central's $2 is not $1"
}

# says TEXT KEY: its value is TEXT and a line end
says() {
    printf '%s\n' "$1" >"$case_dir/says"
    holds "$case_dir/says" "$2"
}
