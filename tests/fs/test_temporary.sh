#!/bin/bash
# Temporary names, which no key can have: what programs write through before they rename it onto a key. They are of this
# node only, listed here, charged to their account, and gone with the unmount.
. "$(dirname "$0")/../support/tools.sh"

# Names that editors and libraries give to the file that becomes KEY: theirs is the suffix.
suffixes='.tmp .temp .new .part .lock ~ .12345 .1234567 .20240131120000 .aB3xZ9'

# put_through NAME: what is written there is put when it is renamed onto the key
put_through() {
    echo "by $1" >"$n/$1" || wrong "$1: cannot be written"
    same "by $1" cat "$n/$1"
    mv "$n/$1" "$n/k" || wrong "$1: mv: exit status $?"
    says "by $1" k
    only k
}

case_a_key_is_put_through_each_suffix_of_temporary_files() {
    local suffix
    ready
    echo old >"$n/k"
    for suffix in $suffixes; do put_through "k$suffix"; done
}

case_a_new_key_is_put_through_a_temporary_name() {
    local suffix
    ready
    for suffix in $suffixes; do
        put_through "k$suffix"
        rm "$n/k"
    done
}

case_mktemp_makes_temporary_files() {
    local new template
    ready
    echo old >"$n/k"
    for template in k.XXXXXX k.XXXXXXXXXX .k.XXXXXX .XXXXXX k-XXXXXX.txt; do
        new=$(mktemp -p "$n" "$template") || wrong "mktemp -p $template: exit status $?"
        same 600 stat -c %a "$new"
        echo "$template" >"$new"
        mv "$new" "$n/k" || wrong "mv: exit status $?"
        says "$template" k
    done
    only k
}

case_programs_replace_a_key_through_their_temporary_files() {
    ready
    printf 'a\nb\n' >"$n/k"
    sed -i s/a/c/ "$n/k" || wrong "sed -i: exit status $?"
    printf 'c\nb\n' >"$case_dir/wanted"
    holds "$case_dir/wanted" k
    if command -v gawk >/dev/null; then
        gawk -i inplace '{ print $0 "!" }' "$n/k" || wrong "gawk -i inplace: exit status $?"
        printf 'c!\nb!\n' >"$case_dir/wanted"
        holds "$case_dir/wanted" k
    fi
    only k
}

case_git_config_edits_a_key() {
    need git
    ready
    git config -f "$n/k" section.name one || wrong "git config: exit status $?"
    git config -f "$n/k" section.name two || wrong "git config, once more: exit status $?"
    same two git config -f "$n/k" section.name
    printf '[section]\n\tname = two\n' >"$case_dir/wanted"
    holds "$case_dir/wanted" k
    only k
    : >"$n/k.lock" # somebody else edits it
    fails_with "could not lock config file" git config -f "$n/k" section.name three
    rm "$n/k.lock"
    git config -f "$n/k" section.name three || wrong "git config, with the lock gone: exit status $?"
}

case_temporary_files_are_listed_on_their_node_only() {
    local other=$case_dir/other
    ready
    mkdir "$other"
    timeout 60 "$kvfs" "$store" "$other" -o cache_ttl=0 || wrong "the other node cannot be mounted"
    echo value >"$n/k"
    echo temporary >"$n/k.tmp"
    mktemp -p "$n" .hidden.XXXXXX >/dev/null || wrong "mktemp: exit status $?"
    same "$(printf '%s\n' k k.tmp)" ls "$n"
    same 3 sh -c "ls -A $n | wc -l"
    same "10 600" sh -c "umask 077; echo temporary >$n/k.new; stat -c '%s %a' $n/k.new"
    same k ls -A "$other/a/n"
    fails_with "No such file" cat "$other/a/n/k.tmp"
    same k kv list a/n --all
    rm "$n/k.tmp" || wrong "rm: exit status $?"
    fails_with "No such file" cat "$n/k.tmp"
    fails_with "No such file" rm "$n/k.tmp"
    fusermount3 -u "$other"
}

case_temporary_files_are_renamed_over_each_other() {
    ready
    echo one >"$n/k.tmp"
    echo two >"$n/k.new"
    mv "$n/k.new" "$n/k.tmp" || wrong "mv: exit status $?"
    same k.tmp ls -A "$n"
    same two cat "$n/k.tmp"
    same "" kv list a/n --all
}

case_attributes_of_a_temporary_file_become_those_of_the_key() {
    ready
    need setfattr
    echo old >"$n/k"
    setfattr -n user.old -v 1 "$n/k"
    echo new >"$n/k.tmp"
    chmod 640 "$n/k.tmp"
    setfattr -n user.new -v 2 "$n/k.tmp" || wrong "setfattr: exit status $?"
    mv "$n/k.tmp" "$n/k"
    same 640 stat -c %a "$n/k"
    same 2 getfattr --absolute-names -n user.new --only-values "$n/k"
    fails_with "No such attribute" getfattr -n user.old "$n/k"
}

case_temporary_files_are_gone_with_the_unmount() {
    ready
    echo value >"$n/k"
    echo temporary >"$n/k.tmp"
    stop
    start || exit 1
    same k ls -A "$n"
    only k
}

case_a_namespace_with_a_temporary_file_is_not_empty() {
    ready
    echo temporary >"$n/k.tmp"
    fails_with "not empty" rmdir "$n"
    rm "$n/k.tmp"
    rmdir "$n" || wrong "rmdir: exit status $?"
}

case_names_that_no_key_can_have_are_refused_with_their_reason() {
    local name
    ready
    echo '{}' >"$case_dir/config.json"
    fails_with "Invalid argument" cp "$case_dir/config.json" "$n/config.json"
    for name in config.json a.b key.1234 key.tmpx .hidden k.conf '~' .tmp 'sp ace'; do
        fails_with "Invalid argument" sh -c "echo x >'$n/$name'"
        grep -Fq "a/n/$name " "$mnt/.kvfs/errors" || wrong "no reason for $name: $(cat "$mnt/.kvfs/errors")"
    done
    grep "config.json" "$mnt/.kvfs/errors" | grep -q "letters" || wrong "the reason does not tell the rule"
    [ -z "$(ls -A "$n")" ] || wrong "something was made: $(ls -A "$n")"
    fails_with "not permitted" sh -c "echo x >$mnt/a/k.tmp"
    fails_with "not permitted" sh -c "echo x >$mnt/k.tmp"
}

case_an_account_has_so_much_room_for_temporary_files() {
    local i
    ready
    mkdir "$mnt/b" "$mnt/b/n"
    for i in 1 2 3; do
        head -c 20M /dev/zero >"$n/k$i.tmp" || wrong "temporary file $i: exit status $?"
    done
    fails_with "Disk quota exceeded" sh -c "head -c 20M /dev/zero >$n/k4.tmp"
    head -c 20M /dev/zero >"$mnt/b/n/k.tmp" || wrong "another account has no room: exit status $?"
    head -c 20M /dev/zero >"$n/k" || wrong "keys have no room: exit status $?"
    rm -f "$n"/*.tmp
    wait_until sh -c "head -c 20M /dev/zero >$n/k5.tmp" 2>/dev/null # what was removed is given back
}

case_a_node_has_so_much_room_for_temporary_files() {
    local account
    ready
    for account in b c d e; do
        mkdir "$mnt/$account" "$mnt/$account/n"
        head -c 20M /dev/zero >"$mnt/$account/n/k1.tmp" && head -c 20M /dev/zero >"$mnt/$account/n/k2.tmp" &&
            head -c 20M /dev/zero >"$mnt/$account/n/k3.tmp" || wrong "$account: exit status $?"
    done
    fails_with "No space left" sh -c "head -c 20M /dev/zero >$n/k.tmp"
    rm "$mnt/b/n/k1.tmp"
    wait_until sh -c "head -c 20M /dev/zero >$n/k.tmp" 2>/dev/null
}

case_a_temporary_file_counts_for_the_accounts_limit() {
    ready
    kv account limit a --bytes 1M
    head -c 600K /dev/zero >"$n/k.tmp"
    fails_with "Disk quota exceeded" sh -c "head -c 1200K /dev/zero >$n/k2.tmp && mv $n/k2.tmp $n/k2"
    [ ! -e "$n/k2" ] || wrong "more was put than the account has room for"
    mv "$n/k.tmp" "$n/k" || wrong "what fits is not put: exit status $?"
    same 614400 stat -c %s "$n/k"
}

# ------------------------------------------------------------------- bindings

case_an_archive_restores_bindings_in_one_pass() {
    ready
    mkdir "$mnt/a/.projects/p" "$mnt/a/zz" "$mnt/b"
    ln -s ../../n "$mnt/a/.projects/p/V"
    ln -s ../../zz "$mnt/a/.projects/p/W"
    echo value >"$n/k"
    same "$(printf '%s\n' n zz .projects)" ls -AU "$mnt/a"
    (cd "$mnt/a" && tar -cf "$case_dir/a.tar" .) || wrong "tar -c: exit status $?"
    (cd "$mnt/b" && tar -xPf "$case_dir/a.tar") || wrong "tar -x: exit status $?"
    same value cat "$mnt/b/.projects/p/V/k"
    same ../../zz readlink "$mnt/b/.projects/p/W"
    if command -v cpio >/dev/null; then
        mkdir "$mnt/c"
        (cd "$mnt/a" && find . | cpio -o --quiet | (cd "$mnt/c" && cpio -id --quiet)) || wrong "cpio: exit status $?"
        same value cat "$mnt/c/.projects/p/V/k"
    fi
}

case_projects_are_listed_only_where_there_is_one() {
    ready
    same n ls -A "$mnt/a"
    mkdir "$mnt/a/.projects/p"
    same "$(printf '%s\n' n .projects)" ls -AU "$mnt/a"
    rmdir "$mnt/a/.projects/p"
    same n ls -A "$mnt/a"
}

run_cases "$@"
