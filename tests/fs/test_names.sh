#!/bin/bash
# Keys of 512 bytes, twice as long as other file systems allow, through the programs that people use.
case_seconds=240
. "$(dirname "$0")/../support/mount.sh"

all=0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz

# key LETTER: a key of 512 bytes that ends with it
key() {
    local text=
    while [ ${#text} -lt 511 ]; do text+=$all; done
    printf '%s%s' "${text:0:511}" "$1"
}

# Three keys that differ in the last byte only, in namespace a/n.
make_keys() {
    local letter
    start
    mkdir "$mnt/a" "$mnt/a/n" "$mnt/a/m" || wrong mkdir
    one=$(key 1) two=$(key 2) three=$(key 3)
    for letter in 1 2 3; do
        echo "value $letter" >"$mnt/a/n/$(key $letter)" || wrong "redirection"
    done
    all_keys="$one
$two
$three"
}

case_ls_shows_them() {
    make_keys
    same "$all_keys" ls "$mnt/a/n"
    same 5 grep -c . <<<"$(ls -f1 "$mnt/a/n")"
    same 3 grep -c '^-rw-r--r-- 1 .* 8 ' <<<"$(ls -l "$mnt/a/n")"
    same "$mnt/a/n/$two" ls "$mnt/a/n/$two"
    same "$all_keys" ls -U "$mnt/a/n"
}

case_cat_and_stat_find_them() {
    make_keys
    same "value 1" cat "$mnt/a/n/$one"
    same "value 2
value 3" cat "$mnt/a/n/$two" "$mnt/a/n/$three"
    same 8 stat -c %s "$mnt/a/n/$three"
    same "value 1" head -n 1 "$mnt/a/n/$one"
    same "value 2" cat <"$mnt/a/n/$two"
    echo more >>"$mnt/a/n/$two"
    same "value 2
more" cat "$mnt/a/n/$two"
    same "value 2
more" kv get "a/n/$two"
}

case_globs_expand_to_them() {
    local -a found
    make_keys
    found=("$mnt"/a/n/*)
    same 3 echo ${#found[@]}
    same "$mnt/a/n/$three" echo "${found[2]}"
    found=("$mnt"/a/n/0123*[12])
    same 2 echo ${#found[@]}
    found=("$mnt"/*/*/*3)
    same "$mnt/a/n/$three" echo "${found[0]}"
    cd "$mnt/a/n" || wrong cd
    same "value 1
value 2
value 3" cat *
}

case_cp_copies_them() {
    make_keys
    cp "$mnt/a/n/$one" "$mnt/a/m/$two" || wrong "cp"
    same "value 1" cat "$mnt/a/m/$two"
    cp -a "$mnt/a/n/." "$mnt/a/m" || wrong "cp -a"
    same "$all_keys" ls "$mnt/a/m"
    same "value 2" cat "$mnt/a/m/$two"
    mkdir "$mnt/a/k"
    cp -r "$mnt"/a/n/* "$mnt/a/k" || wrong "cp -r"
    diff -r "$mnt/a/n" "$mnt/a/k" || wrong "diff -r"
    cp "$mnt/a/n/$one" short || wrong "cp out"
    same "value 1" cat short
    fails_with "File name too long" cp "$mnt/a/n/$one" .
}

case_mv_renames_them() {
    make_keys
    mv "$mnt/a/n/$one" "$mnt/a/n/$(key 9)" || wrong "mv"
    same "value 1" cat "$mnt/a/n/$(key 9)"
    mv "$mnt/a/n/$two" "$mnt/a/m" || wrong "mv into a namespace"
    same "$two" ls "$mnt/a/m"
    mv "$mnt/a/n" "$mnt/a/k" || wrong "mv of the namespace"
    same "value 3" cat "$mnt/a/k/$three"
    mkdir "$mnt/b" "$mnt/b/n"
    mv "$mnt"/a/k/* "$mnt/b/n" || wrong "mv to another account"
    same "" ls "$mnt/a/k"
    same "$three
$(key 9)" ls "$mnt/b/n"
    mv "$mnt/b/n/$three" out && mv out "$mnt/b/n/$three" || wrong "mv out and in"
    same "value 3" cat "$mnt/b/n/$three"
}

case_find_finds_them() {
    make_keys
    same 3 grep -c . <<<"$(find "$mnt/a/n" -type f -size 8c)"
    same "$mnt/a/n/$two" find "$mnt" -name "0*2"
    same "value 1
value 2
value 3" sort <<<"$(find "$mnt" -type f -exec cat {} +)"
    same 3 grep -c . <<<"$(find "$mnt" -type f -print0 | xargs -0 -n 1 basename | grep -Ex "[$all]{512}")"
    find "$mnt/a/n" -name "*1" -delete || wrong "find -delete"
    same "$two
$three" ls "$mnt/a/n"
}

case_tar_keeps_them() {
    local format
    make_keys
    touch -d '2001-02-03 04:05:06.789 UTC' "$mnt/a/n/$one"
    chmod 640 "$mnt/a/n/$one"
    for format in gnu posix; do
        tar --format=$format -C "$mnt/a/n" -cf $format.tar . || wrong "tar -c $format"
        rm -f "$mnt"/a/m/*
        tar -C "$mnt/a/m" -xpf $format.tar || wrong "tar -x $format"
        same "$all_keys" ls "$mnt/a/m"
        same "value 3" cat "$mnt/a/m/$three"
        same 640 stat -c %a "$mnt/a/m/$one"
        same 981173106 stat -c %Y "$mnt/a/m/$one"
        tar -C "$mnt/a/n" --compare -f $format.tar || wrong "tar --compare $format"
    done
    tar -C "$mnt/a/n" -c . | tar -C "$mnt/a/m" -x || wrong "tar through a pipe"
}

case_rm_removes_them() {
    make_keys
    rm "$mnt/a/n/$one" || wrong "rm"
    same "$two
$three" ls "$mnt/a/n"
    rm "$mnt"/a/n/* || wrong "rm of a glob"
    same "" ls "$mnt/a/n"
    cp "$0" "$mnt/a/n/$one"
    rm -r "$mnt/a/n" || wrong "rm -r of the namespace"
    same m ls "$mnt/a"
    echo x >"$mnt/a/m/$one"
    rm -r "$mnt/a" || wrong "rm -r of the account"
    same "" ls "$mnt"
}

case_other_programs_read_and_write_them() {
    make_keys
    same "$mnt/a/n/$two:value 2" grep -r "value 2" "$mnt"
    same "3" grep -c . <<<"$(cd "$mnt/a/n" && wc -c *  | grep -v total)"
    same "$(echo value 1 | sha256sum | cut -d' ' -f1)  $mnt/a/n/$one" sha256sum "$mnt/a/n/$one"
    sort -o "$mnt/a/n/$one" "$mnt/a/n/$three" "$mnt/a/n/$two" || wrong "sort -o"
    same "value 2
value 3" cat "$mnt/a/n/$one"
    echo teed | tee "$mnt/a/n/$three" >/dev/null || wrong tee
    same teed cat "$mnt/a/n/$three"
    dd if=/dev/zero of="$mnt/a/n/$three" bs=1000 count=3 status=none || wrong dd
    same 3000 stat -c %s "$mnt/a/n/$three"
    truncate -s 10 "$mnt/a/n/$three" || wrong truncate
    cmp -n 10 /dev/zero "$mnt/a/n/$three" || wrong cmp
    touch "$mnt/a/m/$one" || wrong touch
    [ -f "$mnt/a/m/$one" ] && [ ! -s "$mnt/a/m/$one" ] || wrong "test"
    same "$all_keys" python3 -c 'import os, sys; print("\n".join(sorted(os.listdir(sys.argv[1]))))' "$mnt/a/n"
}

case_every_symbol_can_be_a_key() {
    local i
    start
    mkdir "$mnt/a" "$mnt/a/n"
    for ((i = 0; i < ${#all}; i++)); do
        echo "${all:i:1}" >"$mnt/a/n/${all:i:1}" || wrong "${all:i:1}"
    done
    same "$(fold -w 1 <<<"$all")" ls "$mnt/a/n"
    same "$(fold -w 1 <<<"$all")" cat "$mnt"/a/n/*
    same "$(fold -w 1 <<<"$all")" kv list a/n --all
}

case_one_byte_more_is_refused() {
    make_keys
    fails_with "File name too long" touch "$mnt/a/n/x$one"
    fails_with "File name too long" cat "$mnt/a/n/x$one"
    fails_with "File name too long" mv "$mnt/a/n/$one" "$mnt/a/n/${two}x"
    same 512 getconf NAME_MAX "$mnt/a/n"
    same "$all_keys" ls "$mnt/a/n"
}

run_cases "$@"
