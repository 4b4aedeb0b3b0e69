#!/bin/sh
# usage: tests/fuzz/run.sh TARGET RUNS [OPTION...]
#        tests/fuzz/run.sh keep TARGET
#
# Builds the fuzzers with clang's libFuzzer and the sanitizers, and gives one of them RUNS inputs (OPTIONs are
# libFuzzer's). Inputs that reach something new are kept in build/fuzz/corpus/TARGET, where the next run begins; one
# that crashes, leaks or hangs in build/fuzz/TARGET-*. `keep` adds a few of them to the corpus of the source tree, so that
# it reaches every branch that all of them do.
#
# TARGET: a fuzz_TARGET.c. KVFS_FUZZ_BUILD: another build directory than build/fuzz.
set -eu
cd "$(dirname "$0")/../.."

if [ $# -lt 2 ]; then
    echo "usage: tests/fuzz/run.sh TARGET RUNS [OPTION...], or tests/fuzz/run.sh keep TARGET" >&2
    exit 2
fi
[ "$1" = keep ] && target=$2 || target=$1

build=${KVFS_FUZZ_BUILD:-build/fuzz}
mkdir -p "$build/corpus/$target"
build=$(cd "$build" && pwd)
cmake --preset fuzz -B "$build" >"$build/configure.log" || { cat "$build/configure.log" && exit 1; }
cmake --build "$build" --target "fuzz_$target" >"$build/build.log" || { cat "$build/build.log" && exit 1; }

kept=$PWD/tests/fuzz/corpus/$target
found=$build/corpus/$target
# Freed memory is used again soon: what is kept from use costs more than all else.
export ASAN_OPTIONS="quarantine_size_mb=16:malloc_context_size=12${ASAN_OPTIONS:+:$ASAN_OPTIONS}"

# Sanitizers fail to find room for their shadow memory where the kernel spreads addresses widely.
fuzz() {
    if setarch -R true 2>/dev/null; then
        setarch -R "$build/tests/fuzz/fuzz_$target" "$@"
    else
        "$build/tests/fuzz/fuzz_$target" "$@"
    fi
}

if [ "$1" = keep ]; then
    fuzz -set_cover_merge=1 -use_counters=0 -max_len=512 "$kept" "$found"
    ls "$kept" | wc -l
    exit
fi
runs=$2
shift 2
fuzz -runs="$runs" -max_len=1024 -timeout=30 -print_final_stats=1 -artifact_prefix="$build/$target-" "$@" \
    "$found" "$kept"
