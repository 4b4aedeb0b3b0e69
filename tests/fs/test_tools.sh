#!/bin/bash
# Programs that people use, on a mount: each leaves exactly the keys that it should, and their bytes.
case_seconds=240
. "$(dirname "$0")/../support/tools.sh"

# ------------------------------------------------------------------- changing in place

case_sed_in_place() {
    ready
    seq 1000 >"$n/numbers"
    chmod 640 "$n/numbers"
    seq 1000 | sed 's/7/seven/' >wanted
    sed -i 's/7/seven/' "$n/numbers" || wrong "sed: exit status $?"
    holds wanted numbers
    only numbers
    same 640 stat -c %a "$n/numbers"
}

case_sed_in_place_of_many_keys() {
    local i
    ready
    for i in 1 2 3 4 5; do echo "old $i" >"$n/k$i"; done
    sed -i s/old/new/ "$n"/k* || wrong "sed: exit status $?"
    for i in 1 2 3 4 5; do says "new $i" k$i; done
    only k1 k2 k3 k4 k5
}

case_sed_cannot_keep_a_backup_whose_name_is_no_key() {
    ready
    echo old >"$n/k"
    fails_with "Invalid argument" sed -i.bak s/old/new/ "$n/k"
    says old k
    only k
    sed -i'*_bak' s/old/new/ "$n/k" || wrong "sed: exit status $?"
    says new k
    says old k_bak
    only k k_bak
}

case_perl_in_place() {
    need perl
    ready
    seq 1000 >"$n/numbers"
    chmod 600 "$n/numbers"
    seq 1000 | sed 's/7/seven/' >wanted
    perl -pi -e 's/7/seven/' "$n/numbers" || wrong "perl: exit status $?"
    holds wanted numbers
    only numbers
    same 600 stat -c %a "$n/numbers"
    perl -pi'*_old' -e 's/seven/7/' "$n/numbers" || wrong "perl: exit status $?"
    holds wanted numbers_old
    seq 1000 >wanted
    holds wanted numbers
    only numbers numbers_old
}

case_sort_onto_its_own_input() {
    ready
    seq 5000 | sort -R --random-source=<(yes) >"$n/k"
    sort -n -o "$n/k" "$n/k" || wrong "sort: exit status $?"
    seq 5000 >wanted
    holds wanted k
    only k
}

case_sort_with_its_temporary_files_in_the_namespace() {
    ready
    seq 20000 | sort -R --random-source=<(yes) >"$n/k"
    sort -n -S 64K -T "$n" -o "$n/sorted" "$n/k" || wrong "sort: exit status $?"
    seq 20000 >wanted
    holds wanted sorted
    only k sorted
}

case_shuf() {
    ready
    seq 1000 >"$n/k"
    shuf -o "$n/k" "$n/k" || wrong "shuf: exit status $?"
    seq 1000 >wanted
    cmp -s wanted "$n/k" && wrong "not shuffled"
    sort -n "$n/k" | cmp - wanted || wrong "lines were lost"
    only k
    [ "$(shuf -n 10 "$n/k" | wc -l)" = 10 ] || wrong "shuf -n"
}

case_truncate_makes_shorter_and_longer() {
    ready
    echo 0123456789 >"$n/k"
    truncate -s 4 "$n/k" || wrong "truncate: exit status $?"
    printf 0123 >wanted
    holds wanted k
    truncate -s +2 "$n/k" "$n/new" || wrong "truncate: exit status $?"
    printf '0123\0\0' >wanted
    holds wanted k
    printf '\0\0' >wanted
    holds wanted new
    only k new
}

# ----------------------------------------------------------------------------- writing

case_tee_and_tee_append() {
    ready
    echo one | tee "$n/k" "$n/copy" >out || wrong "tee: exit status $?"
    echo two | tee -a "$n/k" "$n/new" >>out || wrong "tee -a: exit status $?"
    holds out k
    says one copy
    says two new
    only copy k new
}

case_dd() {
    ready
    seq 100000 >numbers
    dd if=numbers of="$n/k" bs=4k status=none || wrong "dd: exit status $?"
    holds numbers k
    printf X | dd of="$n/k" bs=1 seek=5000 conv=notrunc status=none || wrong "dd conv=notrunc: exit status $?"
    printf X | dd of=numbers bs=1 seek=5000 conv=notrunc status=none
    holds numbers k
    dd if="$n/k" of="$n/part" bs=1k skip=3 count=2 conv=fsync status=none || wrong "dd skip: exit status $?"
    tail -c +3073 numbers | head -c 2048 >wanted
    holds wanted part
    dd if=numbers of="$n/k" bs=64k oflag=append conv=notrunc status=none || wrong "dd oflag=append: exit status $?"
    cat numbers numbers >wanted
    holds wanted k
    dd if="$n/k" of="$n/direct" bs=64k iflag=direct oflag=direct status=none || wrong "dd direct: exit status $?"
    holds wanted direct
    only direct k part
}

case_dd_up_to_the_limit_and_not_beyond() {
    ready
    head -c 26214400 /dev/urandom >wanted
    dd if=wanted of="$n/k" bs=1M status=none || wrong "dd: exit status $?"
    holds wanted k
    fails_with "File too large" dd if=/dev/zero of="$n/k" bs=1M count=1 oflag=append conv=notrunc
    holds wanted k
    only k
}

case_split_and_cat() {
    ready
    seq 10000 >numbers
    split -b 10000 numbers "$n/part_" || wrong "split: exit status $?"
    only part_aa part_ab part_ac part_ad part_ae
    cat "$n"/part_* | cmp - numbers || wrong "the parts are not the whole"
    cat "$n"/part_* >"$n/whole" || wrong "cat: exit status $?"
    holds numbers whole
    csplit -s -f "$n/c" -n 1 numbers 100 200 || wrong "csplit: exit status $?"
    cat "$n"/c[012] | cmp - numbers || wrong "the pieces are not the whole"
}

case_jq() {
    need jq
    ready
    echo '{"b":[1,2,{"c":null}],"a":"text"}' >"$n/in_json"
    jq -S . "$n/in_json" >"$n/out_json" || wrong "jq: exit status $?"
    jq -S . <"$n/in_json" >wanted
    holds wanted out_json
    same text jq -r .a "$n/out_json"
    jq '.b += [3]' "$n/in_json" >"$n/tmp" && mv "$n/tmp" "$n/in_json" || wrong "jq and mv: exit status $?"
    same 3 jq '.b[-1]' "$n/in_json"
    only in_json out_json
}

case_curl_writes_to_a_key() {
    need curl
    ready
    seq 50000 >numbers
    curl -sS -o "$n/k" "file://$PWD/numbers" || wrong "curl -o: exit status $?"
    holds numbers k
    echo short >short
    curl -sS -o "$n/k" "file://$PWD/short" || wrong "curl -o, over a longer value: exit status $?"
    holds short k
    curl -sS "file://$n/k" >out || wrong "curl file://: exit status $?"
    cmp out short || wrong "curl read something else"
    (cd "$n" && curl -sS -O "file://$case_dir/here/numbers") || wrong "curl -O: exit status $?"
    holds numbers numbers
    only k numbers
}

case_mktemp_and_mv_replace_a_key() {
    local new
    ready
    echo old >"$n/k"
    new=$(mktemp "$n/tmp_XXXXXX") || wrong "mktemp: exit status $?"
    echo new >"$new"
    mv "$new" "$n/k" || wrong "mv: exit status $?"
    says new k
    only k
}

case_diff_and_patch_to_standard_output() {
    need patch diff
    ready
    seq 100 >old
    seq 100 | sed s/50/fifty/ >new
    cp old "$n/k"
    diff -u "$n/k" new >changes
    fails_with "Invalid argument" patch -s "$n/k" changes # its temporary file k.oXXXXXX is no key
    holds old k
    patch -s -o - "$n/k" changes >"$n/new" || wrong "patch -o: exit status $?"
    holds new new
    same "" diff "$n/new" new
    only k new
}

# ----------------------------------------------------------------------------- reading

case_git_hashes_a_key() {
    need git
    ready
    seq 100000 >numbers
    cp numbers "$n/k"
    same "$(git hash-object numbers)" git hash-object "$n/k"
    same "$(git hash-object numbers)" git hash-object --stdin <"$n/k"
    echo 1 >"$n/k"
    same "$(echo 1 | git hash-object --stdin)" git hash-object "$n/k"
    only k
}

case_sqlite3_reads_a_database() {
    need sqlite3
    ready
    sqlite3 base 'create table t (i integer primary key, s text);
        with recursive c(x) as (select 1 union all select x + 1 from c where x < 5000)
        insert into t select x, hex(x) from c;'
    cp base "$n/base"
    same "5000|12502500" sqlite3 "$n/base" 'select count(*), sum(i) from t'
    same 31323334 sqlite3 "file:$n/base?mode=ro" 'select s from t where i = 1234'
    same 31323334 sqlite3 "file:$n/base?immutable=1" 'select s from t where i = 1234'
    same ok sqlite3 "$n/base" 'pragma integrity_check'
    holds base base
    only base
}

# A journal beside the database has a name that no key can have.
case_sqlite3_writes_only_with_its_journal_in_memory() {
    need sqlite3
    ready
    sqlite3 base 'create table t (i integer); insert into t values (1);'
    cp base "$n/base"
    fails_with "unable to open database file" sqlite3 "$n/base" 'insert into t values (2)'
    holds base base
    sqlite3 "$n/base" 'pragma journal_mode = memory; insert into t values (2)' >out || wrong "sqlite3: exit status $?"
    same 3 sqlite3 "$n/base" 'select sum(i) from t'
    kv get a/n/base >copy
    same 3 sqlite3 copy 'select sum(i) from t'
    only base
}

case_checksums_and_comparisons() {
    ready
    seq 30000 >one
    seq 30001 >two
    cp one two "$n"
    (cd "$n" && sha256sum one two) >sums || wrong "sha256sum: exit status $?"
    same "one: OK
two: OK" sha256sum -c sums
    cmp one "$n/one" || wrong "cmp finds a difference"
    cmp -s "$n/one" "$n/two" && wrong "cmp finds no difference"
    same 30001 tail -n 1 "$n/two"
    same 12345 sed -n 12345p "$n/one"
    same "30001 $n/two" wc -l "$n/two"
    same "$n/two:30001" grep -r -x 30001 "$n"
    same "$(md5sum <one)" md5sum <"$n/one"
    tac one | cmp - <(tac "$n/one") || wrong "tac"
}

case_compressors() {
    local program
    ready
    seq 30000 >"$n/k"
    for program in gzip bzip2 xz; do
        command -v $program >/dev/null || continue
        $program -c "$n/k" >"$n/packed" || wrong "$program: exit status $?"
        $program -dc "$n/packed" >"$n/unpacked" || wrong "$program -d: exit status $?"
        cmp "$n/k" "$n/unpacked" || wrong "$program: not the same"
        fails_with "Invalid argument" $program -k "$n/k"
    done
    only k packed unpacked
}

case_programs_and_scripts_run_from_keys() {
    ready
    cp /bin/echo "$n/program"
    same "hello world" "$n/program" hello world
    printf '#!/bin/sh\necho "$1, $1"\n' >"$n/script"
    chmod +x "$n/script"
    same "here, here" "$n/script" here
    same "there, there" sh "$n/script" there
    . <(echo "answer=42"; cat "$n/script" | head -c 0)
    echo answer=43 >"$n/settings"
    . "$n/settings"
    [ "$answer" = 43 ] || wrong "sourcing a key"
}

# ------------------------------------------------------------------------- many keys

case_find() {
    local i
    ready
    for i in 1 2 3 4 5 6 7 8 9; do head -c $((i * 1000)) /dev/zero >"$n/k$i"; done
    touch -d 2001-02-03 "$n/k5"
    same "$n/k9" find "$n" -type f -size +8500c
    same "$n/k5" find "$n" -type f ! -newermt 2002-01-01
    same $'k1\nk2\nk3\nk4\nk5\nk6\nk7\nk8\nk9' find "$mnt/a" -type f -printf '%f\n'
    find "$n" -name 'k[1-3]' -exec cp {} "$n/copy" \; || wrong "find -exec: exit status $?"
    find "$n" -name 'k[1-8]' -delete || wrong "find -delete: exit status $?"
    only copy k9
    find "$mnt/a" -mindepth 1 -delete || wrong "find -delete: exit status $?"
    same "" ls -A "$mnt/a"
}

case_find_deletes_two_thousand_keys() {
    ready
    (cd "$n" && seq -f 'k%04g' 2000 | xargs touch) || wrong "touch: exit status $?"
    same 2000 grep -c . <(find "$n" -type f)
    find "$n" -name 'k*' -delete || wrong "find -delete: exit status $?"
    same "" ls -A "$n"
    same "" kv list a/n --all
}

case_xargs_in_parallel() {
    ready
    export n
    seq 200 | xargs -P 8 -n 5 sh -c 'for i; do echo "value $i" >"$n/k$i" || exit 1; done' sh || wrong "put: status $?"
    same 200 grep -c . <(ls "$n")
    seq 200 | xargs -P 8 -I{} sh -c '[ "$(cat "$n/k{}")" = "value {}" ]' || wrong "get: status $?"
    seq 200 | xargs -P 8 -n 1 sh -c 'echo "$1" >>"$n/all"' sh || wrong "append: status $?"
    seq 200 | cmp - <(sort -n "$n/all") || wrong "appends were lost"
    ls "$n"/k* | xargs -P 8 -n 10 rm || wrong "rm: status $?"
    only all
}

# -------------------------------------------------------------- what is said where it cannot be

case_names_that_are_no_keys_are_refused_with_the_reason() {
    ready
    echo value >file.txt
    fails_with "Invalid argument" cp file.txt "$n"
    fails_with "Invalid argument" touch "$n/.hidden"
    fails_with "Invalid argument" cp file.txt "$n/.file.swp"
    (echo lost >"$n/.dotfile") 2>err && wrong "redirection to a dotfile"
    grep -q "Invalid argument" err || wrong "said $(cat err)"
    fails_with "Invalid argument" mv file.txt "$n"
    same value cat file.txt
    echo value >"$n/k"
    fails_with "Operation not permitted" ln "$n/k" "$n/link"
    fails_with "Operation not permitted" ln -s k "$n/link"
    fails_with "Operation not permitted" mkdir "$n/directory"
    fails_with "Operation not permitted" mkfifo "$n/fifo"
    only k
}

run_cases "$@"
