#!/bin/bash
# Counters in shell: processes that change one key under a lock, or append to it, lose nothing.
case_seconds=240
. "$(dirname "$0")/../support/tools.sh"

# Writes the counter script: count KEY TIMES adds one, TIMES times, under a lock of the key.
make_counter() {
    cat >count <<'SCRIPT'
#!/bin/bash
# count KEY TIMES
for ((i = 0; i < $2; i++)); do
    exec 9<>"$1" || exit 1
    flock 9 || exit 1
    read -r value <&9 || exit 1
    echo $((value + 1)) >"$1" || exit 1
    exec 9>&- # and with it the lock
done
SCRIPT
    chmod +x count
}

case_eight_counters_lose_nothing() {
    local i
    local -a children
    need flock
    ready
    make_counter
    echo 0 >"$n/count"
    for i in 1 2 3 4 5 6 7 8; do
        ./count "$n/count" 500 &
        children+=($!)
    done
    for i in "${children[@]}"; do
        wait "$i" || wrong "a counter ended with status $?"
    done
    says 4000 count
    only count
    stop
    start
    says 4000 count
}

# The lock may be on any file, also one that is no key of the same namespace.
case_a_lock_beside_the_counter() {
    local i
    local -a children
    need flock
    ready
    echo 0 >"$n/count"
    : >"$n/lock"
    for i in 1 2 3 4; do
        (
            for ((j = 0; j < 50; j++)); do
                flock "$n/lock" bash -c 'echo $(($(<"$1") + 1)) >"$1"' bash "$n/count" || exit 1
            done
        ) &
        children+=($!)
    done
    for i in "${children[@]}"; do
        wait "$i" || wrong "a counter ended with status $?"
    done
    says 200 count
    only count lock
}

case_counting_by_appending_needs_no_lock() {
    local i
    ready
    for i in 1 2 3 4 5 6 7 8; do
        (
            exec 9>>"$n/log"
            for ((j = 0; j < 100; j++)); do echo "$i $j" >&9 || exit 1; done
        ) &
    done
    wait
    same 800 grep -c . "$n/log"
    for i in 1 2 3 4 5 6 7 8; do
        same 100 grep -c "^$i " "$n/log"
    done
    same 800 grep -c . <(kv get a/n/log)
}

run_cases "$@"
