#!/bin/bash
# kvfs-bench with tiny counts: what it prints, and that it leaves nothing behind. No figure is looked at.
. "$(dirname "$0")/../support/mount.sh"
bench=${KVFS_BENCH_BIN:?KVFS_BENCH_BIN names the program to be tested}

# measure OPTION...: with counts as small as can be, in a directory and a tmpfs of the case; prints into $case_dir/out
measure() {
    timeout 150 "$bench" --kvfs "$kvfs" --dir . --tmpfs "$shm" --rounds 2 --files 3 --writers 2 --large-files 1 \
        --large-size 300K "$@" >"$case_dir/out" 2>"$case_dir/err" </dev/null
}

# Where tmpfs is; the type of the file system that the case is on.
shm_type() { stat -f -c %T "$shm"; }
disk_type() { sed -n '1s/.* writers; \([a-z0-9]*\), .*/\1/p' "$case_dir/out"; }

make_shm() {
    shm=$(mktemp -d /dev/shm/kvfs-test.XXXXXX 2>/dev/null) || shm=$(mktemp -d -p "$case_dir")
    trap 'rm -rf "$shm"' EXIT
}

nothing_is_left() {
    not_mounted "$case_dir" || wrong "still mounted: $(mounts "$case_dir")"
    [ -z "$(compgen -G './kvfs-bench.*')$(compgen -G "$shm/kvfs-bench.*")" ] || wrong "left: $(ls -A . "$shm")"
}

# rows WORKLOAD SUBJECT...: the table has a row of each
rows() {
    local workload=$1 subject
    shift
    for subject; do
        grep -Eq "^$workload +(us|1/s|MiB/s) +$subject +[0-9.]+ +[0-9.]+ \.\. [0-9.]+ +[0-9.]+ +[0-9.]+$" \
            "$case_dir/out" || wrong "no row: $workload, $subject"
    done
}

ended_by() { # SIGNAL STATUS: a run that gets the signal while it measures
    local pid status
    env --default-signal=INT,QUIT timeout -s KILL 150 "$bench" --kvfs "$kvfs" --dir . --tmpfs "$shm" --rounds 100 \
        --files 10000 >"$case_dir/out" 2>"$case_dir/err" </dev/null &
    wait_until measuring
    pid=$(pgrep -P $! -x kvfs-bench)
    kill "-$1" "$pid" || wrong "it had ended: $(cat "$case_dir/err")"
    { wait $!; } 2>/dev/null # which the shell would tell of a kill
    status=$?
    [ $status -eq "$2" ] || wrong "signal $1: exit status $status"
    wait_until not_mounted "$case_dir"
}

measuring() { [ -n "$(compgen -G './kvfs-bench.*/kvfs_close/mnt/bench/bench/key_*')" ]; }

case_every_row_and_bar_is_in_the_table() {
    local workload disk tmpfs=
    make_shm
    measure --json "$case_dir/json" || wrong "exit status $?: $(cat "$case_dir/err")"
    [ ! -s "$case_dir/err" ] || wrong "said $(cat "$case_dir/err")"
    disk=$(disk_type)
    [ "$(shm_type)" != tmpfs ] || [ "$disk" = tmpfs ] || tmpfs=tmpfs
    for workload in create overwrite unlink large-put; do
        rows $workload "kvfs close" "kvfs fsync" "$disk fsync" "$disk" $tmpfs floor
    done
    for workload in cold-get hot-get stat large-get; do
        rows $workload "kvfs close" "$disk" $tmpfs floor
    done
    rows writers "kvfs close" "$disk fsync" floor
    [ "$(grep -Ec ' [<>]= [0-9.]+  (yes|NO)$' "$case_dir/out")" = 4 ] || wrong "not four bars"
    [ "$(grep -c '"workload"' "$case_dir/json")" = "$(grep -c ' \.\. [0-9.]* .*[0-9]$' "$case_dir/out")" ] ||
        wrong "the rows of the JSON are not those of the table"
    nothing_is_left
}

case_only_what_is_asked_for_is_measured() {
    make_shm
    measure --only stat --only cold-get || wrong "exit status $?: $(cat "$case_dir/err")"
    rows stat "kvfs close" floor
    rows cold-get "kvfs close" floor
    ! grep -Eq '^(create|writers|large-put|bar) ' "$case_dir/out" || wrong "more was printed"
    nothing_is_left
}

case_a_failure_is_an_exit_status_and_leaves_nothing() {
    make_shm
    measure --kvfs /bin/false
    [ $? -eq 1 ] || wrong "a kvfs that mounts nothing: not exit status 1"
    grep -q 'mounts nothing' "$case_dir/err" || wrong "said $(cat "$case_dir/err")"
    nothing_is_left
    measure --dir ./none
    [ $? -eq 1 ] || wrong "no directory: not exit status 1"
    nothing_is_left
}

first_line_of_help() { "$bench" --help | head -n 1; }

case_what_cannot_be_meant_is_refused() {
    local words
    shm=.
    for words in --none "--only none" "--files 0" "--rounds many" "--large-size 26M" word; do
        # shellcheck disable=SC2086 # words
        measure $words
        [ $? -eq 2 ] || wrong "$words: not exit status 2"
        [ -s "$case_dir/err" ] || wrong "$words: nothing was said"
    done
    same "usage: kvfs-bench [OPTION]..." first_line_of_help
}

case_whoever_interrupts_it_finds_nothing_left() {
    make_shm
    ended_by INT 1
    grep -q interrupted "$case_dir/err" || wrong "said $(cat "$case_dir/err")"
    nothing_is_left
    ended_by TERM 1
    nothing_is_left
}

# Nobody can remove its directory then; but its file systems end.
case_its_mounts_end_with_it_when_it_is_killed() {
    make_shm
    ended_by KILL 137
    wait_until no_daemons
}

run_cases "$@"
