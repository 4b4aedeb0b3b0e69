# Real mounts for test scripts. A script sources this, defines its cases, and ends with: run_cases "$@"
#
# A case is a function whose name begins with case_ and goes on as a sentence. It runs in a process of its
# own, bounded by $case_seconds, in an empty directory of its own, where $store and $mnt name a store and a
# mount point. However it ends, everything is unmounted behind it; a daemon that does not end then, or a mount
# that was forgotten, fails the case. Usage: KVFS_BIN=PROGRAM KVCTL_BIN=PROGRAM test_WHAT.sh [CASE...]
# The environment's KVFS_TEST_OPTIONS, as io_uring, are options of every mount.
set -u
LC_ALL=C
export LC_ALL
kvfs=${KVFS_BIN:?KVFS_BIN names the program to be tested}
kvctl=${KVCTL_BIN:?KVCTL_BIN names the program to be tested}
kvfs_program=$(realpath "$kvfs")
[ -z "${KVFS_TEST_OPTIONS:-}" ] || kvfs=$(realpath "${BASH_SOURCE%/*}/kvfs_with_options.sh")
case_seconds=${case_seconds:-180}

# ------------------------------------------------------------------ vocabulary

# Something is not as it should be; the case goes on.
wrong() {
    printf '    %s\n' "$*"
    bad=1
}

# The case cannot be tried here.
skip() {
    printf '    %s\n' "$*"
    exit 77
}

# mounts [DIR]: what kvfs has mounted at or below DIR
mounts() {
    awk -v at="${1:-$mnt}" '$3 ~ /^fuse/ && ($2 == at || index($2, at "/") == 1) { print $2 }' /proc/self/mounts
}

# wait_until COMMAND...: it succeeds within 60 seconds
wait_until() {
    local end=$((SECONDS + 60))
    until "$@"; do
        if [ $SECONDS -gt $end ]; then
            wrong "still not so after 60 s: $*"
            return 1
        fi
        sleep 0.05
    done
}

# The daemons that this case started. A zombie has ended.
daemons() {
    local pid
    for pid in $(grep -lzxsF "KVFS_TEST_CASE=${KVFS_TEST_CASE:-none}" /proc/[0-9]*/environ | cut -d/ -f3); do
        case $(readlink "/proc/$pid/exe") in
        "$kvfs_program") echo "$pid" ;;
        esac
    done
}

no_daemons() { [ -z "$(daemons)" ]; }
not_mounted() { [ -z "$(mounts "$@")" ]; }

# start [OPTION...]: mount $store at $mnt, without a word
start() {
    if ! timeout 60 "$kvfs" "$store" "$mnt" "$@" >"$case_dir/out" 2>"$case_dir/err" </dev/null; then
        wrong "kvfs $*: exit status $?: $(cat "$case_dir/err")"
        return 1
    fi
    [ ! -s "$case_dir/out" ] || wrong "kvfs $*: printed $(head -c 200 "$case_dir/out")"
    [ ! -s "$case_dir/err" ] || wrong "kvfs $*: said $(cat "$case_dir/err")"
    [ -n "$(mounts)" ] || wrong "kvfs $*: nothing is mounted"
}

# Unmount $mnt, and wait for the daemon's end.
stop() {
    fusermount3 -u "$mnt" || wrong "fusermount3 -u: exit status $?"
    wait_until no_daemons
}

kv() { timeout 60 "$kvctl" --store "$store" "$@"; }

# same TEXT COMMAND...: the command succeeds and prints TEXT
same() {
    local wanted=$1 got
    shift
    got=$("$@" 2>&1) || wrong "$*: exit status $?"
    [ "$got" = "$wanted" ] || wrong "$*: '${got:0:300}', not '${wanted:0:300}'"
}

# fails_with WORDS COMMAND...: the command fails and says WORDS
fails_with() {
    local words=$1 got
    shift
    got=$("$@" 2>&1) && wrong "$*: succeeded"
    [[ $got == *"$words"* ]] || wrong "$*: said '${got:0:300}', not '$words'"
}

# --------------------------------------------------------------------- running

detach() { umount -l "$1" 2>/dev/null || fusermount3 -uzq "$1"; }

# Leave nothing of a case behind; says what should not have been left. Newest mounts first.
clean_case() {
    local dir pid
    mounts "$case_dir" | tac | while IFS= read -r dir; do
        fusermount3 -uq "$dir" || {
            wrong "cannot be unmounted: $dir"
            detach "$dir"
        }
    done
    bad=0
    wait_until no_daemons
    for pid in $(daemons); do
        kill -9 "$pid"
    done
    rm -rf --one-file-system "$case_dir" || bad=1
    return $bad
}

run_one() {
    local name=$1 status
    case_dir=$top/$name
    KVFS_TEST_CASE=$case_dir
    export KVFS_TEST_CASE case_dir
    mkdir "$case_dir" || return 1
    # In the background, so that a signal to this process is not kept waiting.
    env --default-signal=INT,QUIT timeout --kill-after=5 "$case_seconds" bash "$0" --run "$name" </dev/null &
    running=$!
    wait $running
    status=$?
    running=
    [ $status -ne 124 ] && [ $status -ne 137 ] || echo "    ran out of its $case_seconds s"
    clean_case || status=1
    return $status
}

# Why nothing can be mounted here.
why_not() {
    if ! { exec 3<>/dev/fuse; } 2>"$top/reason"; then
        sed 's/.*: //; s/^/\/dev\/fuse: /' "$top/reason"
        return
    fi
    exec 3>&-
    case ${KVFS_TEST_OPTIONS:-} in
    *io_uring*)
        if [ "$(cat /sys/module/fuse/parameters/enable_uring 2>/dev/null)" != Y ]; then
            echo "the kernel has no FUSE over io_uring, or it is switched off"
            return
        fi
        ;;
    esac
    if ! command -v fusermount3 >/dev/null; then
        echo "fusermount3 is not installed"
    elif [ "$(id -u)" = 0 ]; then
        mkdir "$top/probe"
        mount -t tmpfs probe "$top/probe" 2>&1 && umount "$top/probe"
    fi
}

# Whatever a case that was interrupted left.
clean_up() {
    local dir pid
    [ -z "$running" ] || kill -TERM $running
    mounts "$top" | tac | while IFS= read -r dir; do detach "$dir"; done
    for pid in $(daemons); do kill -9 "$pid"; done
    rm -rf --one-file-system "$top"
}

run_cases() {
    local name reason passed=0 failed=0 skipped=0
    if [ "${1:-}" = --run ]; then
        bad=0
        store=$case_dir/store
        mnt=$case_dir/mnt
        mkdir "$mnt" "$case_dir/here"
        cd "$case_dir/here" || exit 1
        "$2"
        cd /
        exit $bad
    fi
    top=$(mktemp -d "${TMPDIR:-/tmp}/kvfs-test.XXXXXX") || exit 1
    top=$(realpath "$top")
    running=
    trap clean_up EXIT
    trap 'exit 1' HUP INT TERM
    reason=$(why_not)
    if [ -n "$reason" ]; then
        echo "skipped, nothing can be mounted: $reason"
        exit 77
    fi
    [ $# -gt 0 ] || set -- $(compgen -A function case_)
    for name; do
        run_one "$name"
        case $? in
        0) echo "ok $name" && passed=$((passed + 1)) ;;
        77) echo "skipped $name" && skipped=$((skipped + 1)) ;;
        *) echo "FAILED $name" && failed=$((failed + 1)) ;;
        esac
    done
    echo "$passed passed, $failed failed, $skipped skipped"
    [ $failed -eq 0 ]
}

# in_a_mount_of_nobody SCRIPT [ARG...]: run a bash script while user nobody has mounted a store of his own, open to all;
# its $1 is the mount point, and ARG... come after it. In a namespace of mounts, for a fuse.conf that lets users
# allow_other; needs root. The exit status is the script's.
in_a_mount_of_nobody() {
    local script=$1
    shift
    where_nobody_can_mount '
        kvfs=$1 theirs=$2 script=$3
        shift 3
        mkdir -m 777 "$theirs/mnt"
        setpriv --reuid=nobody --regid=nogroup --clear-groups "$kvfs" "$theirs/store" "$theirs/mnt" -o allow_other ||
            exit 1
        bash -c "$script" - "$theirs/mnt" "$@"
        status=$?
        umount "$theirs/mnt"
        exit $status' "$kvfs" "$case_dir/theirs" "$script" "$@"
}

# where_nobody_can_mount SCRIPT [ARG...]: run a bash script as root in a namespace of mounts, in which /dev/fuse is open
# to all, fuse.conf lets users allow_other, and $case_dir/theirs is a directory of user nobody; needs root.
where_nobody_can_mount() {
    mkdir "$case_dir/theirs"
    chown nobody:nogroup "$case_dir/theirs"
    chmod 711 "$case_dir" "$(dirname "$case_dir")"
    echo user_allow_other >fuse.conf
    chmod 644 fuse.conf
    unshare -m bash -c '
        mount --bind fuse.conf /etc/fuse.conf && mkdir "$1/dev" && mount -t tmpfs none "$1/dev" &&
            mknod -m 666 "$1/dev/fuse" c 10 229 && mount --bind "$1/dev/fuse" /dev/fuse || exit 1
        script=$2
        shift 2
        exec bash -c "$script" - "$@"' - "$case_dir/theirs" "$@"
}
