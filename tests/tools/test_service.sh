#!/bin/bash
# kvfs as a service: what it tells systemd, and the unit that is installed.
. "$(dirname "$0")/../support/tools.sh"
here=$(dirname "$(realpath "$0")")
source=${KVFS_SOURCE_DIR:?names the source tree}

# The unit as it is installed, but for where the program is.
unit() {
    sed "s#@BINDIR@#$(dirname "$kvfs")#" "$source/tools/systemd/kvfs@.service.in" >"$1"
}

# --------------------------------------------------------------- what the daemon tells

# The address of a socket has room for 108 bytes: more than the path of a case may leave.
socket_dir=$(dirname "$case_dir")

# listen ADDRESS: from now on `told` has what is told to it, one datagram a line
listen() {
    need python3
    : >told
    python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace("@", "\0", 1))
print("listens", flush=True)
while True:
    print("|".join(s.recv(4096).decode().split("\n")), flush=True)
' "$1" >told &
    listener=$!
    wait_until grep -q listens told
}

# told PATTERN [TIMES]
told() {
    wait_until eval "[ \"\$(grep -cx -- '$1' told)\" = ${2:-1} ]" || wrong "told: $(cat told)"
}

case_in_the_foreground_it_tells_when_it_serves_and_when_not() {
    local name pid
    for name in "$socket_dir/notify" "@kvfs-test-$$"; do
        listen "$name"
        NOTIFY_SOCKET=$name "$kvfs" "$store" "$mnt" -f 2>err &
        pid=$!
        told 'READY=1|STATUS=Serving'
        mountpoint -q "$mnt" || wrong "it tells that it serves before it does"
        kill -HUP $pid
        told 'RELOADING=1|MONOTONIC_USEC=[0-9]*'
        told 'READY=1'
        kill $pid
        wait $pid || wrong "exit status $?"
        told 'STOPPING=1|STATUS=Unmounting'
        kill $listener
        wait $listener 2>/dev/null
    done
}

case_in_the_background_it_is_nobodys_service() {
    listen "$socket_dir/notify2"
    NOTIFY_SOCKET=$socket_dir/notify2 "$kvfs" "$store" "$mnt" || wrong "exit status $?"
    stop
    same listens cat told
    NOTIFY_SOCKET=$socket_dir/absent "$kvfs" "$store" "$mnt" -f 2>err &
    wait_until mountpoint -q "$mnt"
    stop
    kill $listener
}

# --------------------------------------------------------------------------- the unit

case_the_unit_is_sound_and_exposes_little() {
    need systemd-analyze
    unit kvfs@main.service
    systemd-analyze verify --man=no ./kvfs@main.service >out 2>&1 || wrong "verify: exit status $?: $(cat out)"
    [ ! -s out ] || wrong "verify: $(cat out)"
    systemd-analyze security --offline=true --no-pager ./kvfs@main.service >out || wrong "security: exit status $?"
    awk '/Overall exposure level/ { exit !($(NF - 2) <= 3.0) }' out || wrong "$(tail -1 out)"
}

# Lines of the manual page that are there to be copied.
case_lines_for_fstab_make_sound_units() {
    local generator=/lib/systemd/system-generators/systemd-fstab-generator lines
    need systemd-analyze
    [ -x $generator ] || skip "there is no systemd-fstab-generator"
    grep '^/[^ ]* /[^ ]* fuse\.kvfs ' "$source/tools/man/kvfs.8.in" >fstab
    lines=$(grep -c . fstab)
    [ "$lines" -ge 2 ] || wrong "kvfs.8 has $lines lines for fstab"
    mkdir units
    SYSTEMD_FSTAB=$PWD/fstab $generator "$PWD/units" "$PWD/units" "$PWD/units" || wrong "exit status $?"
    same "$lines" eval 'ls units | grep -c "\.mount$"'
    systemd-analyze verify --man=no units/*mount >out 2>&1 || wrong "verify: exit status $?: $(cat out)"
    ! grep -v 'systemd-pstore\|plymouth' out || wrong "verify: $(cat out)"
    same "$lines" eval 'cat units/*.mount | grep -c "^Type=fuse.kvfs$"'
}

# systemd itself starts the unit, in namespaces of its own.
case_systemd_starts_reloads_restarts_and_stops_it() {
    local dir=$case_dir/boot
    [ "$(id -u)" = 0 ] && unshare -pfmCuin true 2>/dev/null || skip "needs root and namespaces"
    [ -x /lib/systemd/systemd ] || skip "there is no systemd"
    setpriv --reuid=nobody --regid=nogroup --clear-groups test -x "$kvfs" || skip "others cannot get to the programs"
    mkdir "$dir"
    chmod 711 "$case_dir" "$(dirname "$case_dir")"
    unit kvfs.service
    cat >"$dir/probe" <<'PROBE'
soon() { for ((i = 0; i < 600; i++)); do "$@" && return; sleep 0.05; done; echo "not so: $*"; }
state() { [ "$(systemctl is-active kvfs@main)" = "$1" ]; }
mnt=$(systemctl show -p Environment --value kvfs@main | tr ' ' '\n' | sed -n 's/^MOUNTPOINT=//p')
pid() { systemctl show -p MainPID --value kvfs@main; }
status() { awk -v name="$1:" '$1 == name { print $1, $2 }' "/proc/$(pid)/status"; }
systemctl is-active kvfs@main
systemctl show -p StatusText --value kvfs@main
status Uid; status CapPrm; status CapEff; status NoNewPrivs; status Seccomp
chown root "$mnt/shop" && echo value >"$mnt/shop/n/key" && cat "$mnt/shop/n/key"
systemctl reload kvfs@main && soon state active && cat "$mnt/shop/n/key"
first=$(pid)
kill -9 $first
soon eval '[ "$(pid)" != 0 ] && [ "$(pid)" != $first ]'
soon state active && cat "$mnt/shop/n/key"
systemctl stop kvfs@main
systemctl show -p Result --value kvfs@main
ls -A "$mnt"
mv "${mnt%/srv/main}/lib/main" "${mnt%/srv/main}/lib/gone"
systemctl start kvfs@main 2>/dev/null || echo "a missing store is refused"
ls "${mnt%/srv/main}/lib"
echo over
PROBE
    timeout -k 5 120 unshare -pfmCuin --kill-child bash "$here/service_boot.sh" "$dir" "$kvctl" "$PWD/kvfs.service" \
        >booted 2>&1 &
    wait_until grep -qsx over "$dir/out"
    kill $! 2>/dev/null
    wait
    [ -s "$dir/out" ] || skip "systemd cannot be started here: $(tail -3 booted)"
    same 'active
Serving
Uid: 991
CapPrm: 0000000000200000
CapEff: 0000000000000000
NoNewPrivs: 1
Seccomp: 2
value
value
value
success
a missing store is refused
gone
over' cat "$dir/out"
    wait_until no_daemons
}

run_cases "$@"
