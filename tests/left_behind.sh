#!/bin/sh
# usage: left_behind.sh BUILD_DIR REPORT_DIR [SECONDS]
#
# What tests must not leave behind: processes that they started (known by KVFS_TEST_RUN=BUILD_DIR in
# their environment), mounts below $TMPDIR, sanitizer reports in REPORT_DIR. Shows and removes them.
# Waits SECONDS (20) for processes to end by themselves. Exit status 1 if there was anything.
build=$1
reports=$2
tries=$((${3:-20} * 10))
found=0

processes() {
    grep -lzxsF "KVFS_TEST_RUN=$build" /proc/[0-9]*/environ | cut -d/ -f3
}

# Newest first, so that nested mounts go before what they stand on.
mounts() {
    [ -n "${TMPDIR:-}" ] || return 0
    awk -v below="$(realpath "$TMPDIR")/" '
        { gsub(/\\040/, " ", $2) }
        index($2, below) == 1 { at[++n] = $2 }
        END { while (n > 0) print at[n--] }' /proc/self/mounts
}

# A daemon ends a moment after its unmount, with sanitizers some more.
while [ -n "$(processes)" ] && [ $tries -gt 0 ]; do
    sleep 0.1
    tries=$((tries - 1))
done

for pid in $(processes); do
    found=1
    echo "left behind: process $pid: $(tr '\0' ' ' <"/proc/$pid/cmdline")"
    kill -9 "$pid"
done

mounts | while IFS= read -r dir; do
    echo "left behind: mount $dir"
    umount -l "$dir" 2>/dev/null || fusermount3 -uz "$dir"
done | grep . && found=1

for report in "$reports"/*; do
    [ -s "$report" ] || continue
    found=1
    echo "left behind: $report"
    cat "$report"
    rm -f "$report"
done

exit $found
