#!/bin/bash
# Extended attributes of keys, namespaces and accounts, through the programs that people use for them.
. "$(dirname "$0")/../support/tools.sh"

attr() { getfattr --absolute-names --only-values -n "$1" "$2"; }

case_attributes_are_kept_over_a_remount() {
    local file
    ready
    echo value >"$n/key"
    for file in "$n/key" "$n" "$mnt/a"; do
        setfattr -n user.colour -v red "$file" || wrong "setfattr: exit status $?"
    done
    stop
    start
    for file in "$n/key" "$n" "$mnt/a"; do
        same red attr user.colour "$file"
    done
    same value cat "$n/key"
}

case_attributes_are_listed_replaced_and_removed() {
    ready
    echo value >"$n/key"
    setfattr -n user.one -v 1 "$n/key"
    setfattr -n user.two -v 2 "$n/key"
    setfattr -n user.one -v 3 "$n/key"
    same "user.one=\"3\"
user.two=\"2\"" bash -c "getfattr --absolute-names -d $n/key | grep user | sort"
    setfattr -x user.one "$n/key"
    fails_with "No such attribute" attr user.one "$n/key"
    fails_with "No such attribute" setfattr -x user.one "$n/key"
    same 2 attr user.two "$n/key"
}

case_they_take_1024_bytes_in_all() {
    local most
    ready
    echo value >"$n/key"
    most=$(printf '%01017d' 0) # with user.a: 1023
    setfattr -n user.a -v "$most" "$n/key" || wrong "setfattr: exit status $?"
    setfattr -n user.a -v "1$most" "$n/key" || wrong "setfattr of 1024: exit status $?"
    fails_with "No space left" setfattr -n user.a -v "11$most" "$n/key"
    fails_with "No space left" setfattr -n user.b -v 1 "$n/key"
    same "1$most" attr user.a "$n/key"
    grep -q "a/n/key setxattr: the names and values of an object's attributes are limited to 1024 bytes" \
        "$mnt/.kvfs/errors" || wrong "errors: $(cat "$mnt/.kvfs/errors")"
}

case_other_classes_are_not_supported() {
    ready
    echo value >"$n/key"
    fails_with "not supported" setfattr -n trusted.x -v 1 "$n/key"
    fails_with "not supported" setfattr -n security.x -v 1 "$n/key"
}

case_a_rename_carries_them() {
    ready
    echo value >"$n/key"
    setfattr -n user.colour -v red "$n/key"
    mv "$n/key" "$n/other"
    same red attr user.colour "$n/other"
    echo new >"$n/other"
    same red attr user.colour "$n/other"
}

case_cp_tar_and_rsync_carry_them() {
    need rsync tar
    ready
    echo value >"$n/key"
    setfattr -n user.colour -v red "$n/key"
    cp -a "$n/key" "$n/copy" || wrong "cp: exit status $?"
    same red attr user.colour "$n/copy"
    mkdir "$mnt/a/m" "$mnt/a/o"
    (cd "$n" && tar --xattrs -cf "$case_dir/tar" key) || wrong "tar -c: exit status $?"
    tar --xattrs -xf "$case_dir/tar" -C "$mnt/a/m" || wrong "tar -x: exit status $?"
    same red attr user.colour "$mnt/a/m/key"
    rsync -aX "$n/" "$mnt/a/o/" || wrong "rsync: exit status $?"
    same red attr user.colour "$mnt/a/o/key"
    same value cat "$mnt/a/o/key"
}

case_kvctl_shows_and_sets_them_as_metadata() {
    ready
    kv put a/n/key value --meta colour=red || wrong "kvctl put: exit status $?"
    same red attr user.colour "$n/key"
    setfattr -n user.size -v 12 "$n/key"
    same '{"colour":"red","size":"12"}' bash -c "$kvctl --store $store get a/n/key --meta | tr -d ' \n'"
}

case_computed_attributes_tell_of_space_and_freshness() {
    ready
    echo value >"$n/key"
    same 1 attr user.kvfs.keys "$n"
    same 9 attr user.kvfs.bytes "$n"
    same 9 attr user.kvfs.bytes "$mnt/a"
    same 1073741824 attr user.kvfs.quota_bytes "$n"
    [[ $(attr user.kvfs.version "$n/key") =~ ^[1-9][0-9]*$ ]] || wrong "no version"
    [[ $(attr user.kvfs.age_ms "$n/key") =~ ^[0-9]+$ ]] || wrong "no age"
    [[ $(attr user.kvfs.source "$n/key") =~ ^(cache|central)$ ]] || wrong "no source"
    same "" getfattr --absolute-names -d "$n/key"
    fails_with "not permitted" setfattr -n user.kvfs.version -v 1 "$n/key"
    grep -q 'a/n/key setxattr: attributes user.kvfs.\* are computed' "$mnt/.kvfs/errors" ||
        wrong "errors: $(cat "$mnt/.kvfs/errors")"
}

case_a_listing_of_files_without_any_asks_for_none() {
    local before after
    ready -o durability=fsync
    for i in $(seq 200); do echo "$i" >"$n/k$i"; done
    before=$(awk '/kind="(getxattr|listxattr)"/ { sum += $2 } END { print sum }' "$mnt/.kvfs/stats")
    ls -l "$n" >/dev/null
    after=$(awk '/kind="(getxattr|listxattr)"/ { sum += $2 } END { print sum }' "$mnt/.kvfs/stats")
    [ $((after - before)) -lt 10 ] || wrong "ls -l of 200 keys asked $((after - before)) times for attributes"
}

run_cases "$@"
