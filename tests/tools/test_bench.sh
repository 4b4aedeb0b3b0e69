#!/bin/bash
# kvfs-bench with tiny counts: what it prints and writes, and that it leaves nothing behind. No time is looked at, but
# counts of requests are.
. "$(dirname "$0")/../support/tools.sh"
bench=${KVFS_BENCH_BIN:?KVFS_BENCH_BIN names the program to be tested}
recorded=${KVFS_SOURCE_DIR:?KVFS_SOURCE_DIR names the source tree}/tools/bench/recorded

# bench OPTION...: in a directory and a tmpfs of the case; prints into $case_dir/out
bench() {
    timeout 170 "$bench" --kvfs "$kvfs" --dir . --tmpfs "$shm" "$@" >"$case_dir/out" 2>"$case_dir/err" </dev/null
}

# measure OPTION...: with counts as small as can be
measure() {
    bench --rounds 2 --files 3 --writers 2 --large-files 1 --large-size 300K --many 20 --shell 2 "$@"
}

# Where tmpfs is; the type of the file system that the case is on.
shm_type() { stat -f -c %T "$shm"; }
disk_type() { sed -nE '2s/^([a-z0-9]+)[,;] .*/\1/p' "$case_dir/out"; }

make_shm() {
    shm=$(mktemp -d /dev/shm/kvfs-test.XXXXXX 2>/dev/null) || shm=$(mktemp -d -p "$case_dir")
    trap 'rm -rf "$shm"' EXIT
}

# Processes of the case but this one, and those that look for them.
others() {
    local pid
    for pid in $(grep -lzxsF "KVFS_TEST_CASE=$case_dir" /proc/[0-9]*/environ | cut -d/ -f3); do
        case $(readlink "/proc/$pid/exe") in
        */redis* | */rclone | */bindfs | */sqlite3 | */kvfs*) echo "$pid" ;;
        esac
    done
}

no_others() { [ -z "$(others)" ]; }

nothing_is_left() {
    not_mounted "$case_dir" || wrong "still mounted: $(mounts "$case_dir")"
    no_others || wrong "still running: $(ps -o pid,args -p "$(others | paste -sd,)")"
    [ -z "$(compgen -G './kvfs-bench.*')$(compgen -G "$shm/kvfs-bench.*")" ] || wrong "left: $(ls -A . "$shm")"
}

has_row() { # WORKLOAD SUBJECT
    local ratio='([0-9.]+|-)'
    grep -Eq "^$1 +[A-Za-z/0-9]+ +$2 +[0-9.]+ +[0-9.]+ \.\. [0-9.]+ +$ratio +$ratio( +best peer)?$" "$case_dir/out"
}

is_left_out() { grep -q "^left out: $1: ." "$case_dir/out"; }

# rows WORKLOAD SUBJECT...: the table has a row of each; of a subject with ? behind it, or says that it is left out
rows() {
    local workload=$1 subject
    shift
    for subject; do
        has_row "$workload" "${subject%\?}" && continue
        [[ $subject == *\? ]] && is_left_out "${subject%\?}" && continue
        wrong "no row: $workload, $subject: $(grep '^left out' "$case_dir/out")"
    done
}

ended_by() { # SIGNAL STATUS: a run that gets the signal while it measures
    local pid status
    env --default-signal=INT,QUIT timeout -s KILL 150 "$bench" --kvfs "$kvfs" --dir . --tmpfs "$shm" --rounds 100 \
        --files 10000 --many 10 >"$case_dir/out" 2>"$case_dir/err" </dev/null &
    wait_until measuring
    pid=$(pgrep -P $! -x kvfs-bench)
    kill "-$1" "$pid" || wrong "it had ended: $(cat "$case_dir/err")"
    { wait $!; } 2>/dev/null # which the shell would tell of a kill
    status=$?
    [ $status -eq "$2" ] || wrong "signal $1: exit status $status"
    wait_until not_mounted "$case_dir"
}

measuring() { [ -n "$(compgen -G './kvfs-bench.*/kvfs-close/mnt/bench/bench/key_*')" ]; }

# Is every bar there whose rows are, and are all rows of the table in the JSON?
json_is_as_the_table() {
    python3 - "$case_dir/json" "$case_dir/out" <<'PYTHON' || wrong "the JSON is not as the table"
import json, re, sys
all = json.load(open(sys.argv[1]))
table = open(sys.argv[2]).read()
rows = re.findall(r"^(\S+) +\S+ +(\S+) +[0-9.]+ +[0-9.]+ \.\. [0-9.]+ .*?(?:-|\d)(?:  best peer)?$", table, re.M)
assert rows == [(row["workload"], row["of"]) for row in all["rows"]], rows
assert all["rows"][0]["rounds"].__len__() == all["options"]["rounds"] == 2
assert table.count("left out: ") == len(all["left_out"])
bars = re.findall(r"^(\S+: .*?) +[0-9.]+ +[0-9.]+ \.\. [0-9.]+ +[<>]= +[0-9.]+  (yes|NO)$", table, re.M)
assert bars == [(bar["bar"], "yes" if bar["within"] else "NO") for bar in all["bars"]], bars
assert len(bars) >= 18, bars
assert all["filesystem"] and all["kernel"] and all["cpus"] > 0 and all["journal"] in ("", "journal", "no journal")
PYTHON
}

svg_is_a_picture() {
    python3 - "$case_dir/svg" <<'PYTHON' || wrong "no picture: $(head -c 300 "$case_dir/svg")"
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
space = "{http://www.w3.org/2000/svg}"
assert root.tag == space + "svg"
words = [text.text for text in root.iter(space + "text")]
assert sum(word == "kvfs" for word in words) == 4, words
assert len(list(root.iter(space + "rect"))) >= 8
for box in root.iter(space + "rect"):
    assert 0 <= float(box.get("x")) + float(box.get("width")) <= float(root.get("width"))
PYTHON
}

case_every_row_and_bar_is_in_the_table() {
    local workload disk over
    need python3
    make_shm
    measure --json "$case_dir/json" --plot "$case_dir/svg" || wrong "exit status $?: $(cat "$case_dir/err")"
    [ ! -s "$case_dir/err" ] || wrong "said $(cat "$case_dir/err")"
    disk=$(disk_type)
    over="kvfs-fsync kvfs-ring? floor floor-ring? passthrough? bindfs? rclone?"
    # shellcheck disable=SC2086 # words
    {
        for workload in create overwrite unlink; do
            rows $workload kvfs-close $over "$disk" tmpfs?
        done
        for workload in cold-get hot-get; do
            rows $workload $over "$disk" tmpfs? lmdb
        done
        for workload in stat large-get large-hot-get; do
            rows $workload $over "$disk" tmpfs?
        done
    }
    rows hot-get kvfs-ro
    rows stat kvfs-ro
    for workload in durable-put large-put; do
        rows $workload kvfs-close floor passthrough? bindfs? "$disk"
    done
    rows create-fsync kvfs-close kvfs-fsync floor "$disk"
    rows writers kvfs-close floor "$disk" lmdb
    for workload in list list-long; do
        rows $workload kvfs-many "$disk" tmpfs?
    done
    for workload in scale-get scale-put page mount; do
        rows $workload kvfs-few kvfs-many
    done
    rows mount floor bindfs? rclone?
    rows page lmdb
    rows memory kvfs-many
    rows idle kvfs-close kvfs-fsync kvfs-ring? floor bindfs? rclone? redis?
    rows shell-put kvfs-close kvfs-fsync floor "$disk" tmpfs? redis? sqlite?
    rows shell-get kvfs-close floor "$disk" tmpfs? redis? sqlite?
    json_is_as_the_table
    svg_is_a_picture
    nothing_is_left
}

case_only_what_is_asked_for_is_measured() {
    make_shm
    measure --only stat --only cold-get --of kvfs-fsync --of floor || wrong "exit status $?: $(cat "$case_dir/err")"
    rows stat kvfs-fsync floor
    rows cold-get kvfs-fsync floor
    ! grep -Eq '^(create|writers|large-put) ' "$case_dir/out" || wrong "more was printed"
    ! grep -Eq '^[a-z-]+ .* (tmpfs|lmdb|bindfs) ' "$case_dir/out" || wrong "others were measured"
    nothing_is_left
}

case_a_failure_is_an_exit_status_and_leaves_nothing() {
    make_shm
    measure --only create --kvfs /bin/false
    [ $? -eq 1 ] || wrong "a kvfs that mounts nothing: not exit status 1"
    grep -q 'mounts nothing' "$case_dir/err" || wrong "said $(cat "$case_dir/err")"
    nothing_is_left
    measure --dir ./none
    [ $? -eq 1 ] || wrong "no directory: not exit status 1"
    nothing_is_left
    measure --only stat --of floor --plot ./none/plot
    [ $? -eq 1 ] || wrong "a picture that cannot be written: not exit status 1"
    nothing_is_left
}

# What is installed or not, and works or not, does not stop the others.
case_a_peer_that_fails_is_left_out() {
    local how
    make_shm
    printf '#!/bin/sh\necho "it has no time"\nexit 1\n' >refuses
    printf '#!/bin/sh\nfor last; do :; done\nexec mount -t tmpfs -o ro none "$last"\n' >ends
    chmod +x refuses ends
    for how in "none is not installed" "./refuses it has no time" "./ends it failed"; do
        [ "$how" = "./ends it failed" ] && [ "$(id -u)" != 0 ] && continue # who cannot mount
        measure --only create --of floor --of passthrough --passthrough "${how%% *}" || wrong "$how: status $?"
        rows create floor
        ! has_row create passthrough || wrong "$how: it has a row"
        [ "${how%% *}" = none ] && how="none $how"
        grep -Fqx "left out: passthrough: ${how#* }" "$case_dir/out" || wrong "$how: $(cat "$case_dir/out")"
        nothing_is_left
    done
}

# A kvfs that takes the option, whatever it does then.
case_io_uring_is_measured_where_it_mounts() {
    make_shm
    printf '#!/bin/bash\nexec %q "${@/,io_uring/}"\n' "$kvfs" >takes
    chmod +x takes
    measure --only hot-get --of kvfs-ring --of kvfs-fsync --kvfs "$PWD/takes" || wrong "exit status $?"
    rows hot-get kvfs-ring kvfs-fsync
    grep -q '^hot-get: kvfs-ring / kvfs-fsync ' "$case_dir/out" || wrong "no bar: $(cat "$case_dir/out")"
    nothing_is_left
}

case_a_terminal_sees_how_far_it_is() {
    need script
    make_shm
    timeout 60 script -qec "$(printf '%q ' "$bench" --dir . --rounds 2 --files 3 --only stat --of floor)" /dev/null \
        >"$case_dir/out" 2>&1 </dev/null
    grep -q 'round 1 of 2: stat, floor' "$case_dir/out" || wrong "$(cat -v "$case_dir/out")"
    grep -q 'round 2 of 2: stat, floor' "$case_dir/out" || wrong "$(cat -v "$case_dir/out")"
    nothing_is_left
}

first_line_of_help() { "$bench" --help | head -n 1; }

case_what_cannot_be_meant_is_refused() {
    local words
    shm=.
    for words in --none "--only none" "--of none" "--files 0" "--rounds many" "--large-size 26M" "--idle 0" word; do
        # shellcheck disable=SC2086 # words
        measure $words
        [ $? -eq 2 ] || wrong "$words: not exit status 2"
        [ -s "$case_dir/err" ] || wrong "$words: nothing was said"
    done
    same "usage: kvfs-bench [OPTION]..." first_line_of_help
    "$bench" --help | awk 'length > 120 { exit 1 }' || wrong "the help has long lines"
}

# The daemon is asked no more than it was, and makes no more system calls for it.
case_counts_are_as_recorded() {
    make_shm
    bench --counts "$recorded" || wrong "exit status $?: $(cat "$case_dir/out" "$case_dir/err")"
    ! grep -q 'MORE' "$case_dir/out" || wrong "$(cat "$case_dir/out")"
    grep -Eq '^create +kvfs-close +requests [1-9][0-9.]* \([1-9][0-9.]*\)' "$case_dir/out" ||
        grep -q 'counts are not compared' "$case_dir/out" || wrong "$(cat "$case_dir/out")"
    nothing_is_left
}

case_a_request_more_is_seen() {
    make_shm
    sed -E 's/^kernel .*/kernel 1.0/; s/^(hot-get +kvfs-fsync +)[0-9.]+/\10.00/' "$recorded" >changed
    bench --counts changed
    [ $? -eq 1 ] || wrong "not exit status 1: $(cat "$case_dir/out")"
    grep -Eq '^hot-get .*requests [0-9.]+ \(0\.00\) MORE' "$case_dir/out" || wrong "$(cat "$case_dir/out")"
    [ "$(grep -c MORE "$case_dir/out")" = 1 ] || wrong "more than that: $(cat "$case_dir/out")"
    sed 's/^kernel .*/kernel 999.0/' changed >later
    bench --counts later || wrong "an older kernel than the recorded one: exit status $?"
    echo nonsense >>changed
    bench --counts changed
    [ $? -eq 1 ] || wrong "a bad file: not exit status 1"
    grep -q 'line [0-9]* is none' "$case_dir/err" || wrong "said $(cat "$case_dir/err")"
    nothing_is_left
}

case_what_is_recorded_can_be_compared_with() {
    make_shm
    bench --record new || wrong "exit status $?: $(cat "$case_dir/err")"
    [ "$(cut -d' ' -f1 new | sort)" = "$(cut -d' ' -f1 "$recorded" | sort)" ] || wrong "other lines: $(cat new)"
    bench --counts new || wrong "exit status $?: $(cat "$case_dir/out")"
    nothing_is_left
}

# A ratio that is too large is measured once more, and tells.
case_a_ratio_that_is_too_large_fails_when_it_is_found_twice() {
    make_shm
    sed -E '/^hot-get|^kernel/!d; s/^kernel .*/kernel 999.0/; /^hot-get/s/[0-9.]+$/0.01/' "$recorded" >changed
    bench --ci changed
    [ $? -eq 1 ] || wrong "not exit status 1: $(cat "$case_dir/out")"
    [ "$(grep -c '^hot-get .*ratio to the floor .* MORE$' "$case_dir/out")" = 2 ] || wrong "$(cat "$case_dir/out")"
    sed -i -E 's/ 0\.01$/ 99999/' changed
    bench --ci changed || wrong "a ratio that is small enough: exit status $?: $(cat "$case_dir/err")"
    [ "$(grep -c 'ratio to the floor' "$case_dir/out")" = 1 ] || wrong "$(cat "$case_dir/out")"
    nothing_is_left
}

case_whoever_interrupts_it_finds_nothing_left() {
    make_shm
    ended_by INT 1
    grep -q interrupted "$case_dir/err" || wrong "said $(cat "$case_dir/err")"
    nothing_is_left
    ended_by TERM 1
    nothing_is_left
}

# Nobody can remove its directory then; but its file systems and servers end.
case_its_daemons_end_with_it_when_it_is_killed() {
    make_shm
    ended_by KILL 137
    wait_until no_others
}

run_cases "$@"
