#!/bin/bash
# kvctl: the path of a file below a mount, in place of --store and names. See support/mount.sh.
. "$(dirname "$0")/../support/mount.sh"

# The store is found by the path alone.
by_path() { env -u KVFS_STORE timeout 60 "$kvctl" "$@"; }

placed() {
    kv account create a
    kv namespace create a/n
    kv put a/n/k value
    start "$@" || exit 1
    n=$mnt/a/n
}

# refuses WORDS ARGUMENT...: kvctl exits with 2, prints nothing and says WORDS in one line
refuses() {
    local words=$1
    shift
    by_path "$@" >"$case_dir/out" 2>"$case_dir/err" </dev/null
    [ $? = 2 ] || wrong "kvctl $*: another exit status than 2"
    [ ! -s "$case_dir/out" ] || wrong "kvctl $*: printed $(cat "$case_dir/out")"
    [ "$(wc -l <"$case_dir/err")" = 1 ] && [[ $(cat "$case_dir/err") == *"$words"* ]] ||
        wrong "kvctl $*: said '$(cat "$case_dir/err")', not '$words'"
}

case_a_path_stands_for_a_store_and_names() {
    placed
    same value by_path get "$n/k"
    by_path put "$n/new" other || wrong "put: exit status $?"
    same other cat "$n/new"
    same '{"complete":true,"cursor":null,"keys":[{"key":"k"},{"key":"new"}]}' by_path list "$n"
    same $'k\nnew' by_path ls "$n"
    same n by_path ls "$mnt/a"
    same a by_path ls "$mnt"
    same a by_path ls "$mnt/"
    by_path mv "$n/new" "$n/newer" || wrong "mv: exit status $?"
    by_path namespace create "$mnt/a/m" || wrong "namespace create: exit status $?"
    by_path account create "$mnt/b" || wrong "account create: exit status $?"
    by_path account show "$mnt/a" | grep -q '"namespaces": 2' || wrong "account show"
    by_path rm "$n/newer" || wrong "rm: exit status $?"
    by_path get "$n/newer"
    [ $? = 1 ] || wrong "a deleted key is there"
}

case_a_transaction_is_of_one_store() {
    placed
    printf 'put "%s" 1\nrename "%s" %s\ncheck "%s" --if-absent\n' "$n/new" "$n/k" l "$n/none" >operations
    by_path txn <operations || wrong "txn: exit status $?"
    same $'l\nnew' by_path ls "$n"
    same value cat "$n/l"
    printf 'put "%s" 1\nput /tmp/a/n/k 1\n' "$n/new2" >operations
    by_path txn <operations 2>err && wrong "a file that is in no store was put"
    grep -q 'line 2: /tmp/a/n/k: no kvfs is mounted there' err || wrong "said $(cat err)"
    same $'l\nnew' by_path ls "$n"
}

case_projects_lie_in_a_directory_of_their_account() {
    placed
    by_path project create "$mnt/a/.projects/p" || wrong "project create: exit status $?"
    by_path binding create "$mnt/a/.projects/p" V n || wrong "binding create: exit status $?"
    same $'V\tn' by_path binding list "$mnt/a/.projects/p"
    same value by_path get "$mnt/a/.projects/p/V/k"
}

case_relative_paths_and_links_lead_there_too() {
    placed
    ln -s "$n" link
    ln -s "$n/k" key
    same value by_path get ./link/k
    same value by_path get ./key
    by_path put ./key second || wrong "put through a link: exit status $?"
    same second cat "$n/k"
    cd "$n" || exit 1
    same second by_path get ./k
    same second by_path get ../n/k
    same second by_path get k
    same k by_path ls .
    cd / || exit 1
}

# With a store of its own in the environment, what does not look like a path is a name.
case_names_are_names_where_a_store_is_named() {
    local other=$case_dir/other
    placed
    "$kvctl" --store "$other" account create a
    "$kvctl" --store "$other" namespace create a/n
    "$kvctl" --store "$other" put a/n/k 'of the other'
    cd "$mnt" || exit 1
    same 'of the other' env KVFS_STORE="$other" "$kvctl" get a/n/k
    same value env KVFS_STORE="$other" "$kvctl" get ./a/n/k
    same value env KVFS_STORE="$other" "$kvctl" get "$n/k"
    same value by_path --store "$store" get "$n/k"
    refuses 'this is in another store' --store "$other" get "$n/k"
    cd / || exit 1
}

case_what_is_no_path_of_a_mount_is_refused() {
    placed
    mkdir dir
    refuses 'no kvfs is mounted there' --store "$store" get "$PWD/dir/k"
    refuses 'no kvfs is mounted there' --store "$store" get ./absent/a/n/k
    refuses 'no store is named, and this is no file below a mount' get ./dir/k
    refuses 'no store is named' get a/n/k
    refuses 'no store is named' account list
    refuses 'not of the form ACCOUNT/NAMESPACE/KEY' get "$n"
    refuses 'not of the form ACCOUNT/NAMESPACE' list "$n/k"
    refuses 'a key is 1 to 512' get "$n/a.b"
    refuses "is no valid name" ls "$mnt/.kvfs"
    refuses 'no kvfs is mounted there' --store "$store" ls /
}

case_two_stores_do_not_mix() {
    local first=$store second=$case_dir/second
    placed
    mkdir "$second"
    store=$case_dir/other
    kv account create a
    kv namespace create a/n
    timeout 60 "$kvfs" "$store" "$second" </dev/null || wrong "kvfs: exit status $?"
    refuses 'this is in another store' mv "$n/k" "$second/a/n/k"
    same value cat "$n/k"
    store=$first
    fusermount3 -u "$second"
}

case_a_part_of_a_mount_that_is_mounted_elsewhere_is_refused() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    placed
    mkdir part
    mount --bind "$n" part || skip "no bind mounts here"
    refuses "the mount's own root cannot be reached" get ./part/k
    umount part
}

# As in tools/test_env.sh: who can make root believe in a store is root, or the store's owner.
case_the_mount_of_another_user_is_not_believed() {
    [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null || skip "needs root and mount namespaces"
    placed
    in_a_mount_of_nobody '
        "$2" ls "$1" 2>err && echo "a foreign store was opened" >>err
        "$2" --foreign-store account create "$1/x" && "$2" --foreign-store ls "$1" >out 2>&1
        chown -R 12345 "${1%/mnt}/store"
        "$2" --foreign-store ls "$1" 2>other && echo "it was opened" >>other' "$kvctl"
    grep -q 'user 65534 has mounted it, who is neither root, nor you, nor the store.s owner' other ||
        wrong "a mount of somebody else than the owner: $(cat other)"
    grep -q 'belongs to user' err || wrong "root in a user's mount: $(cat err)"
    [ "$(cat out)" = x ] || wrong "with --foreign-store: $(cat out)"
}

case_a_mount_that_lets_nobody_in_is_not_called_absent() {
    placed
    kill -9 "$(daemons)"
    wait_until no_daemons
    fails_with "$mnt: Transport endpoint is not connected" "$kvctl" status "$mnt"
    detach "$mnt"
    [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null || skip "needs root and mount namespaces"
    where_nobody_can_mount '
        setpriv --reuid=nobody --regid=nogroup --clear-groups bash -c "
            mkdir $2/mnt && $1 $2/store $2/mnt" || exit 1
        timeout 60 "$3" status "$2/mnt"
        echo "status $?"
        umount "$2/mnt"' "$kvfs" "$case_dir/theirs" "$kvctl" >out 2>&1
    same "kvctl: $case_dir/theirs/mnt: Permission denied
status 2" cat out
}

run_cases "$@"
