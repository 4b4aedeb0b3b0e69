#!/bin/bash
# Watching mounts: .kvfs/stats, kvctl stats, status, health and top, the dashboard and the alerts.
case_seconds=120
. "$(dirname "$0")/../support/tools.sh"
source=${KVFS_SOURCE_DIR:?names the source tree}
second=${case_dir:-}/second # where a case may mount, too

# check_text FILE: it is what Prometheus reads
check_text() {
    python3 "$source/tests/support/exposition.py" "$1" || wrong "$1 is not as it should be"
    if command -v promtool >/dev/null; then
        promtool check metrics <"$1" >checked 2>&1 || wrong "promtool on $1: $(cat checked)"
    else
        echo "    skipped: promtool is not installed (the Debian package prometheus has it)"
    fi
}

# figure NAME{LABELS}: its value in the first mount, without the label that all have
figure() {
    sed 's/{mount="[^"]*"}//; s/{mount="[^"]*",/{/' "$mnt/.kvfs/stats" |
        awk -v name="kvfs_$1" '$1 == name { print $2 }'
}

mount_second() {
    mkdir -p "$second"
    timeout 60 "$kvfs" "$store" "$second" "$@" </dev/null || wrong "a second mount: exit status $?"
}

# pid_at MOUNTPOINT: of the daemon there
pid_at() { kv status --json | jq --arg at "$1" '.mounts[] | select(.mountpoint == $at).pid'; }

# ------------------------------------------------------------------------------ stats

case_stats_of_each_mount_and_of_all_are_prometheus_text() {
    need python3
    ready
    second="$case_dir/a \"b\" \\c$(printf '\033')[1m"
    mount_second -o ro
    echo 1 >"$n/k"
    cat "$second/a/n/k" >/dev/null
    { : >"$mnt/no_file_here"; } 2>/dev/null
    cat "$mnt/.kvfs/stats" >first || wrong "stats cannot be read"
    cat "$second/.kvfs/stats" >other || wrong "stats cannot be read"
    "$kvctl" stats "$mnt/" "$second" "$mnt" >all || wrong "kvctl stats: exit status $?"
    check_text first
    check_text other
    check_text all
    same 1 grep -cF "kvfs_keys{mount=\"$mnt\"} 1" all
    same 1 grep -cF 'kvfs_keys{mount="'"$case_dir"'/a \"b\" \\c\\x1b[1m"} 1' all
    same 1 grep -cF 'kvfs_up{mount="'"$case_dir"'/a \"b\" \\c\\x1b[1m"} 1' all
    same 2 grep -c '^kvfs_up.* 1$' all
    [ "$(wc -l <all)" -lt $(($(wc -l <first) + $(wc -l <other))) ] || wrong "HELP and TYPE are repeated"
    "$kvctl" stats "$mnt" --json | jq -e --arg at "$mnt" '.[$at] | to_entries | length > 100' >/dev/null || wrong "JSON"
    fusermount3 -u "$second" || wrong "fusermount3 -u: exit status $?"
}

case_series_are_the_same_after_a_new_start() {
    ready
    sed -n '/^kvfs_node_info/d; s/^\(kvfs_.*}\) .*/\1/p' "$mnt/.kvfs/stats" >before
    stop
    start
    sed -n '/^kvfs_node_info/d; s/^\(kvfs_.*}\) .*/\1/p' "$mnt/.kvfs/stats" >after
    [ "$(wc -l <before)" -gt 100 ] || wrong "few series: $(cat before)"
    diff before after || wrong "other series"
}

case_accounts_errors_and_the_log_are_in_the_stats() {
    local log
    ready
    kv account limit a --bytes 1000 --keys 10
    printf 12345 >"$n/k"
    log=$(figure log_bytes)
    same 6 figure 'account_used_bytes{account="a"}'
    same 1000 figure 'account_limit_bytes{account="a"}'
    same 1 figure 'account_keys{account="a"}'
    same 10 figure 'account_limit_keys{account="a"}'
    same 0 figure 'errors_total{errno="EDQUOT"}'
    head -c 2000 /dev/zero >"$n/large" 2>/dev/null && wrong "an account took more than its limit"
    [ "$(figure 'errors_total{errno="EDQUOT"}')" -gt 0 ] || wrong "EDQUOT is not counted"
    same 0 figure store_failed
    same 16777216 figure log_limit_bytes
    [ "$log" -gt 0 ] || wrong "a put left nothing in the log"
    # A second after the last commit the store is clean.
    log_is_empty() { [ "$(figure log_bytes)" = 0 ]; }
    wait_until log_is_empty
    for i in 1 2 3 4 5; do printf '%d' $i >"$n/k"; done
    [ "$(figure database_free_bytes)" -gt 0 ] || wrong "no page is free"
    exec 3<"$n/k" 4<"$n"
    same 2 figure open_handles
    exec 3<&- 4<&-
    [ "$(figure start_time_seconds | cut -d. -f1)" -le "$(date +%s)" ] || wrong "it starts in the future"
}

case_who_may_not_read_an_account_learns_nothing_of_it() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    need setpriv
    chmod 711 "$case_dir" "$(dirname "$case_dir")"
    start -o allow_other
    kv account create shown --mode 0755
    kv account create hidden --mode 0700
    setpriv --reuid 12345 --regid 12345 --clear-groups cat "$mnt/.kvfs/stats" >theirs || wrong "stats cannot be read"
    grep -q 'account="shown"' theirs || wrong "an account that all may read is not there"
    ! grep -E 'hidden|^kvfs_(keys|accounts|data_bytes)' theirs || wrong "it is told"
    grep -q 'account="hidden"' "$mnt/.kvfs/stats" || wrong "root does not see it"
}

# ----------------------------------------------------------------------------- status

case_status_shows_who_has_the_store_mounted() {
    ready -o node=edge-1
    mount_second -o ro,node=edge-2
    echo 1 >"$n/k"
    kv status --json >status || wrong "status: exit status $?"
    jq -e --arg at "$mnt" --arg second "$second" --arg host "$(hostname)" --arg store "$store" '
        .store == $store and .format == 2 and .failed == false and .data.keys == 1 and .log.limit_bytes > 0 and
        (.mounts | sort_by(.node) | map([.node, .mountpoint, .mode, .host])) ==
            [["edge-1", $at, "rw", $host], ["edge-2", $second, "ro", $host]] and
        all(.mounts[]; .pid > 0 and .version != null and (.since | startswith("20")))' status >/dev/null ||
        wrong "status: $(cat status)"
    "$kvctl" status "$mnt" >by_path || wrong "status by path: exit status $?"
    "$kvctl" status "$n" | cmp - by_path || wrong "status by another path"
    grep -qE "^  $mnt  rw  pid [0-9]+ on $(hostname)  node edge-1  kvfs [0-9.]+  since 20" by_path ||
        wrong "status: $(cat by_path)"
    fails_with 'this is no path below a mount' "$kvctl" --store "$store" status a
    fails_with 'no kvfs is mounted there; name the mount point of one' kv status "$case_dir"
    kill -9 "$(pid_at "$second")"
    second_is_forgotten() { [ "$(kv status --json | jq '.mounts | length')" = 1 ]; }
    wait_until second_is_forgotten
    stop
    same 0 eval 'kv status --json | jq ".mounts | length"'
    same true eval 'kv status --json | jq .clean'
    same "" ls "$store/mounts"
    detach "$second"
}

case_a_file_that_a_killed_mount_left_goes() {
    ready
    kill -STOP "$(pid_at "$mnt")"
    same 1 eval 'ls "$store/mounts" | wc -l'
    kill -9 "$(pid_at "$mnt")"
    wait_until no_daemons
    same 1 eval 'ls "$store/mounts" | wc -l'
    echo 'mountpoint=/nowhere' >"$store/mounts/0123456789abcdef"
    same '[]' eval 'kv status --json | jq -c .mounts'
    same "" ls "$store/mounts"
    detach "$mnt"
}

# ----------------------------------------------------------------------------- health

# is_unhealthy WORDS MOUNTPOINT [OPTION...]: health says so on one line, with exit status 1
is_unhealthy() {
    local words=$1
    shift
    timeout 30 "$kvctl" health "$@" >out 2>err
    same 1 echo $?
    [ ! -s err ] || wrong "health $*: said $(cat err)"
    [[ $(cat out) == *": not healthy: "*"$words"* ]] && same 1 eval 'wc -l <out' || wrong "health $*: printed $(cat out)"
}

case_health_tells_what_is_wrong() {
    ready
    mount_second -o ro
    same "$mnt: healthy, read-write" "$kvctl" health "$mnt"
    same "$second: healthy, read-only" "$kvctl" health "$second"
    "$kvctl" health "$mnt" --json | jq -e '.healthy and .mode == "rw" and .reason == null' >/dev/null || wrong "JSON"
    is_unhealthy 'no kvfs is mounted there' "$case_dir"
    is_unhealthy 'No such file' "$case_dir/absent"
    is_unhealthy 'not the mount point itself' "$n"
    kill -9 "$(pid_at "$second")"
    second_has_ended() { [ -z "$(pid_at "$second")" ]; }
    wait_until second_has_ended
    is_unhealthy 'its daemon has ended' "$second"
    detach "$second"
    rm -r "$store"
    is_unhealthy 'its files were taken away' "$mnt"
}

case_nobody_waits_for_a_mount_that_is_stopped() {
    local pid
    ready
    mount_second
    pid=$(pid_at "$mnt")
    kill -STOP "$pid"
    is_unhealthy 'no answer within 500.0 ms' "$mnt" --timeout 500ms
    # Nobody waits for the output of what was left behind, either.
    same "$mnt: not healthy: no answer within 200.0 ms" eval '"$kvctl" health "$mnt" --timeout 200ms; true'
    "$kvctl" health "$mnt" --timeout 200ms --json | jq -e '.healthy == false' >/dev/null || wrong "JSON"
    timeout 30 "$kvctl" stats "$mnt" "$second" --timeout 500ms >all 2>err
    same 1 echo $?
    grep -qxF "kvfs_up{mount=\"$mnt\"} 0" all || wrong "kvfs_up of the one that is stopped"
    grep -qxF "kvfs_up{mount=\"$second\"} 1" all || wrong "kvfs_up of the other one"
    grep -qF "kvfs_keys{mount=\"$second\"}" all || wrong "the other one is left out"
    grep -qF "$mnt: no answer in time" err || wrong "stats said $(cat err)"
    kv status | grep -qF "  $mnt  rw  pid $pid " || wrong "status: $(kv status)"
    timeout 30 "$kvctl" top --once "$mnt" "$second" >screen
    same 1 echo $?
    grep -qxF "$mnt  ** no answer **" screen && grep -qE "^$second  rw" screen || wrong "top: $(cat screen)"
    kill -CONT "$pid"
    same "$mnt: healthy, read-write" "$kvctl" health "$mnt"
}

# A load is stopped while it has the right to write: $writer.
stop_a_writer() {
    local i
    seq 10000 | sed 's/.*/{"key":"k&","value":"&"}/' >keys
    for i in $(seq 20); do
        "$kvctl" --store "$store" load --atomic a/n --file keys >/dev/null 2>&1 &
        writer=$!
        while kill -STOP $writer 2>/dev/null; do
            kv status | grep -qx "writer    process $writer" && return 0
            kill -CONT $writer
            sleep 0.02
        done
    done
    return 1
}

case_changes_that_wait_are_counted_and_make_a_mount_unhealthy() {
    local put
    ready
    stop_a_writer || skip "no writer was caught"
    echo 1 >"$n/waits" &
    put=$!
    waits() { [ "$(figure queue_changes)" -gt 0 ] && [[ $(figure queue_age_seconds) != 0.* ]]; }
    wait_until waits
    is_unhealthy 'changes have waited for the store for' "$mnt" --timeout 1s
    kv status | grep -q "^writer    process $writer\$" || wrong "status: $(kv status)"
    kill -CONT "$writer"
    wait $put || wrong "the put failed"
    wait
    same 0 figure queue_changes
    same "$mnt: healthy, read-write" "$kvctl" health "$mnt"
}

# -------------------------------------------------------------------------------- top

case_top_prints_a_screen_of_text() {
    ready
    mount_second
    for i in 1 2 3; do echo $i >"$n/k$i"; done
    kv account create b
    { : >"$mnt/"$'\e]0;x\a'; } 2>/dev/null && wrong "a name with control bytes was taken"
    "$kvctl" top --once "$mnt" "$second" >screen || wrong "top: exit status $?"
    "$kvctl" top "$mnt" </dev/null | grep -q "^$mnt  rw" || wrong "without a terminal there is no screen"
    grep -qE '^kvctl top  20.*  2 mounts ' screen || wrong "no heading"
    grep -qE "^$mnt  rw  node [^ ]+  kvfs [0-9.]+  up " screen || wrong "no line of the mount"
    grep -qE '^  requests +[0-9]+/s  .*[a-z]+ [0-9.]+' screen || wrong "no requests"
    grep -qE '^  puts +[0-9]+/s  p50 [0-9.]+ (us|ms|s) +p99 [0-9.]+ (us|ms|s)$' screen || wrong "no latency of puts"
    grep -qE '^  cache    .*KiB|B of 256.0 MiB, [0-9]+ keys$' screen || wrong "no cache"
    grep -qE '^  queue    0 changes, .*log .* of 16.0 MiB   checkpoint .* ago$' screen || wrong "no queue"
    grep -qE '^a +12 B +1.0 GiB +0.0% +3$' screen || wrong "no account"
    same 1 grep -c '^b ' screen
    grep -qF 'x1b]0;x' screen || wrong "no error"
    ! grep -q '[^ -~]' screen || wrong "it has control bytes"
    [ "$bad" = 0 ] || cat screen
    "$kvctl" top --once --interval 1x "$mnt" 2>err && wrong "a time that is none"
    grep -q 'a time of 10ms to 1h' err || wrong "said $(cat err)"
}

terminal() { tmux -f /dev/null -S t "$@"; }
screen_shows() { terminal capture-pane -p | grep -qE -e "$1"; }

case_top_is_a_screen_of_a_terminal() {
    need tmux
    ready
    trap 'terminal kill-server 2>/dev/null' EXIT
    terminal new-session -d -x 80 -y 24 "env -u PROMPT_COMMAND PS1='prompt> ' bash --norc" || wrong "tmux: $?"
    wait_until screen_shows '^prompt>'
    terminal send-keys "stty -g >before; '$kvctl' top --interval 100ms '$mnt'; echo ended \$?; stty -g >after" Enter
    wait_until screen_shows '^kvctl top .*1 mount  \(q quits\)'
    wait_until screen_shows '^ACCOUNT'
    ! screen_shows '^prompt>' || wrong "it is not on a screen of its own"
    puts_are_shown() {
        echo 1 >"$n/k"
        screen_shows '^  puts  *[1-9][0-9]*/s'
    }
    wait_until puts_are_shown
    terminal resize-window -x 60 -y 5
    wait_until eval '! screen_shows "^ACCOUNT" && screen_shows "^kvctl top"'
    same 5 eval 'terminal capture-pane -p | wc -l'
    terminal resize-window -x 80 -y 24
    wait_until screen_shows '^ACCOUNT'
    terminal send-keys q
    wait_until screen_shows '^ended 0'
    wait_until test -s after
    cmp before after || wrong "the terminal is not as it was"
    for signal in INT TERM; do
        rm -f after
        terminal send-keys "clear; echo \$\$ >shell; '$kvctl' top '$mnt'; echo ended \$?; stty -g >after" Enter
        wait_until screen_shows '^kvctl top'
        pkill -$signal -P "$(cat shell)" -f ' top ' || wrong "no process to end"
        wait_until screen_shows '^ended 0'
        wait_until test -s after
        cmp before after || wrong "after SIG$signal the terminal is not as it was"
    done
    terminal kill-server
}

# --------------------------------------------------------------------------- dashboard

case_dashboard_and_alerts_ask_for_what_there_is() {
    local name
    need jq
    ready
    "$kvctl" stats "$mnt" >all
    jq -e '.panels | length > 10' "$source/tools/grafana/kvfs.json" >/dev/null || wrong "the dashboard is no JSON"
    jq -r '.. | .expr? // empty' "$source/tools/grafana/kvfs.json" >asked
    grep 'expr:' "$source/tools/grafana/alerts.yml" >>asked
    [ "$(wc -l <asked)" -gt 30 ] || wrong "few questions: $(cat asked)"
    for name in $(grep -o 'kvfs_[a-z_]*' asked | sort -u); do
        grep -q "^$name{" all || wrong "there is no $name"
    done
    ! command -v promtool >/dev/null || promtool check rules "$source/tools/grafana/alerts.yml" >out 2>&1 ||
        wrong "promtool: $(cat out)"
}

run_cases "$@"
