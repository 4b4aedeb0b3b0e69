#!/bin/bash
# Views of a namespace, .prefix/P and .from/KEY, for the programs that people use. See support/mount.sh.
. "$(dirname "$0")/../support/tools.sh"

made() {
    start || exit 1
    mkdir "$mnt/a" "$mnt/a/n" || wrong mkdir
    n=$mnt/a/n
    local key
    for key in other user_1 user_2 user_30 zed; do echo "$key" >"$n/$key"; done
}

case_ls_and_globs_show_a_part() {
    local -a found
    made
    same $'user_1\nuser_2\nuser_30' ls "$n/.prefix/user_"
    same $'user_2\nuser_30\nzed' ls "$n/.from/user_2"
    same 3 grep -c '^-rw-r--r-- ' <<<"$(ls -l "$n/.prefix/user_")"
    found=("$n"/.prefix/user_/*)
    same 3 echo ${#found[@]}
    same user_2 cat "${found[1]}"
    same $'user_1\nuser_2\nuser_30' cat "$n"/.prefix/user_/*
    cd "$n/.prefix/user_" || wrong cd
    same "$n/.prefix/user_" pwd -P
    same user_30 cat user_30
    cd /
}

# A page of two keys, and then the page behind it.
case_from_goes_through_a_namespace_in_pages() {
    local page first= all=
    made
    page=$(ls -U "$n/.from/0" | head -n 3)
    while first=$(sed -n 3p <<<"$page") && [ -n "$first" ]; do
        all+=" "$(head -n 2 <<<"$page" | tr '\n' ' ')
        page=$(ls -U "$n/.from/$first" | head -n 3)
    done
    same "other user_1 user_2 user_30 zed" echo $all $page
}

case_what_walks_a_namespace_does_not_come_into_its_views() {
    made
    same 6 grep -c . <<<"$(find "$n")"
    same 5 grep -c . <<<"$(find "$n" -type f)"
    cp -a "$mnt/a" copy || wrong "cp -a"
    same 7 grep -c . <<<"$(find copy)"
    tar -C "$mnt" -cf all.tar a || wrong "tar -c"
    same 5 grep -c 'n/[a-z]' <<<"$(tar -tf all.tar)"
    same 5 grep -c . <<<"$(du -a "$n" | grep -v 'n$')"
    ! ls -A "$n" | grep -q '^\.' || wrong "ls -A shows what begins with a dot"
    rm -r "$n" || wrong "rm -r"
    same "" ls "$mnt/a"
}

case_a_view_can_be_copied_and_written_to() {
    made
    cp -r "$n/.prefix/user_" copy || wrong "cp -r"
    same $'user_1\nuser_2\nuser_30' ls copy
    tar -C "$n/.prefix" -cf part.tar user_ || wrong "tar -c"
    same 4 grep -c . <<<"$(tar -tf part.tar)"
    same 4 grep -c . <<<"$(find "$n/.prefix/user_")"
    echo new >"$n/.prefix/user_/user_1" || wrong "redirection"
    echo more >>"$n/.from/user/user_1" || wrong "redirection"
    same $'new\nmore' cat "$n/user_1"
    fails_with "Operation not permitted" touch "$n/.prefix/user_/user_4"
    fails_with "Operation not permitted" rm "$n/.prefix/user_/user_1"
    fails_with "Operation not permitted" mv "$n/.prefix/user_/user_1" "$n/user_4"
    same 3 grep -c 'views only show keys: make, remove and rename them in the namespace itself' "$mnt/.kvfs/errors"
}

case_kvctl_names_keys_by_their_namespace() {
    made
    fails_with "not of the form ACCOUNT/NAMESPACE/KEY" "$kvctl" get "$n/.prefix/user_/user_1"
    fails_with "not of the form ACCOUNT/NAMESPACE/KEY" "$kvctl" put "$n/.from/user_/user_9" x
    fails_with "not of the form ACCOUNT/NAMESPACE" "$kvctl" list "$n/.prefix/user_"
    same $'other\nuser_1\nuser_2\nuser_30\nzed' ls "$n"
}

run_cases "$@"
