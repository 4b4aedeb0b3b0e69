#!/bin/bash
# The daemon's log: what it says, where, and from which level on.
. "$(dirname "$0")/../support/mount.sh"

log=

# logged WORDS [TIMES]: that many lines of the log have WORDS in them, within a while
logged() {
    local words=$1 times=${2:-1}
    wait_until eval "[ \"\$(grep -cF -- '$words' '$log')\" = $times ]" || wrong "the log is: $(cat "$log")"
}

refuse_name() { # which is an error in the log
    mkdir -p "$mnt/a/n"
    : >"$mnt/a/n/no.key"
} 2>/dev/null

case_a_log_file_tells_of_begin_errors_and_end() {
    log=$case_dir/log
    start -o "log_file=$log,node=edge"
    logged "info: kvfs $("$kvfs" -V | cut -d' ' -f2) serves $store at $mnt as node edge (rw, durability=close)"
    refuse_name
    logged "error: a/n/no.key"
    stop
    logged "info: $mnt is unmounted"
    same 3 grep -cE '^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z kvfs\[[0-9]+\] (info|error): ' "$log"
    same 3 grep -c . "$log"
    same 600 stat -c %a "$log"
    # It goes on with the file that is there, and a relative name is one of the caller's directory.
    cd "$case_dir" || exit 1
    start --log-file=log -o ro,durability=fsync
    logged "(ro, durability=fsync)"
    kill "$(daemons)"
    wait_until no_daemons
    logged "$mnt is unmounted: Terminated"
    same 5 grep -c . "$log"
}

case_a_level_leaves_out_what_is_of_less_importance() {
    log=$case_dir/log
    start -o "log_file=$log,log_level=error"
    refuse_name
    logged "error: a/n/no.key"
    stop
    same 1 grep -c . "$log"
    rm "$log"
    start -o "log_file=$log,log_level=info"
    stop
    same 2 grep -c . "$log"
    fails_with 'error, warning or info' "$kvfs" "$store" "$mnt" -o log_level=loud
}

case_a_hang_up_opens_the_log_file_anew_and_ends_nothing() {
    log=$case_dir/log
    start -o "log_file=$log"
    mkdir "$mnt/a"
    logged "serves"
    mv "$log" "$case_dir/old"
    kill -HUP "$(daemons)"
    wait_until test -s "$log"
    logged "the log was opened anew"
    mkdir "$mnt/a/n" || wrong "the daemon serves no more"
    # A log that cannot be opened is said in the old one.
    mv "$log" "$case_dir/second"
    mkdir "$log"
    kill -HUP "$(daemons)"
    log=$case_dir/second
    logged "cannot be opened, and the old log goes on"
    rmdir "$case_dir/log"
    stop
    logged "is unmounted"
    same 1 grep -c . "$case_dir/old"
}

case_a_hang_up_without_a_log_file_ends_nothing() {
    start
    kill -HUP "$(daemons)"
    mkdir "$mnt/a" || wrong "the daemon serves no more"
    kill -HUP "$(daemons)"
    mkdir "$mnt/a/n" || wrong "the daemon serves no more"
    stop
}

case_a_log_that_cannot_be_written_is_refused() {
    fails_with 'log_file=' "$kvfs" "$store" "$mnt" -o "log_file=$case_dir/absent/log"
    fails_with 'below the mount point' "$kvfs" "$store" "$mnt" -o "log_file=$mnt/log"
    not_mounted || wrong "mounted all the same"
    [ ! -e "$store" ] || wrong "a store was made"
}

# The journal is told by the environment that it reads standard error, and knows priorities.
case_the_journal_gets_priorities() {
    log=$case_dir/journal
    touch "$log"
    JOURNAL_STREAM=$(stat -c %d:%i "$log") "$kvfs" "$store" "$mnt" -f 2>"$log" &
    wait_until eval '[ -n "$(mounts)" ]'
    logged "<6>kvfs"
    refuse_name
    logged "<3>a/n/no.key"
    stop
    logged "<6>$mnt is unmounted"
    same 3 grep -c . "$log"
    JOURNAL_STREAM=$(stat -c %d:%i "$log") "$kvfs" "$store" "$mnt" -f -o bogus 2>>"$log"
    logged "<3>kvfs: -o bogus: unknown option"
    JOURNAL_STREAM=1:1 "$kvfs" "$store" "$mnt" -f -o bogus 2>"$log"
    same "kvfs: -o bogus: unknown option; kvfs -h lists them" cat "$log"
}

# Whoever fails often is told of all the same, but not line by line.
case_one_who_fails_often_does_not_fill_the_log() {
    local i
    log=$case_dir/log
    start -o "log_file=$log"
    mkdir -p "$mnt/a/n"
    for ((i = 0; i < 500; i++)); do
        : >"$mnt/a/n/no-key$i"
    done 2>/dev/null
    stop
    [ "$(grep -c 'error: a/n/no-key' "$log")" -lt 400 ] || wrong "the log has $(grep -c error: "$log") lines"
    same 500 awk '/error: a\/n\/no-key/ { n++ } /lines were dropped/ { n += $4 } END { print n }' "$log"
}

run_cases "$@"
