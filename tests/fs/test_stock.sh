#!/bin/bash
# A store that is mounted, but at rest, is a clean LMDB database: others can read it with LMDB's own tools, and a copy of it
# is a store.
. "$(dirname "$0")/../support/tools.sh"
tables=${KVFS_LMDB_TABLES_BIN:?KVFS_LMDB_TABLES_BIN names the program that reads a database by LMDB alone}

# A copy of a store is opened where that was clean, and refused where it was not.
copy_is_a_store() {
    rm -rf "$case_dir/copy"
    cp -a "$store" "$case_dir/copy"
    "$kvctl" --store "$case_dir/copy" list a/n --all >"$case_dir/listed" 2>"$case_dir/why"
}

# entries TABLE: as mdb_stat prints them
entries() {
    mdb_stat -s "$1" "$store" | sed -n 's/^ *Entries: //p'
}

case_a_store_at_rest_is_read_by_lmdb_alone() {
    local i
    ready
    for i in 1 2 3 4 5 6 7 8 9; do
        echo "$i" >"$n/key$i"
    done
    head -c 3000000 /dev/zero >"$n/large"
    rm "$n/key1"
    mv "$n/key2" "$n/moved"
    wait_until copy_is_a_store || wrong "$(cat "$case_dir/why")"
    same "$(cat "$case_dir/listed")" ls -A "$n"
    "$tables" "$store" >"$case_dir/tables" 2>&1 || wrong "exit status $?: $(cat "$case_dir/tables")"
    grep -q '^keys 9$' "$case_dir/tables" || wrong "tables: $(tr '\n' ' ' <"$case_dir/tables")"
    same "$(printf '%s\n' chunks keys marks meta names nodes)" sed 's/ .*//' "$case_dir/tables"
    if command -v mdb_stat >/dev/null; then
        same 9 entries keys
        same "$(sed -n 's/^chunks //p' "$case_dir/tables")" entries chunks
    fi
    echo more >"$n/key1" # it does not harm who has it mounted
    says more key1
    wait_until copy_is_a_store || wrong "$(cat "$case_dir/why")"
    same "$(cat "$case_dir/listed")" ls -A "$n"
}

run_cases "$@"
