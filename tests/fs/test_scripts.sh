#!/bin/bash
# Small applications in shell on ordinary files: a key store, shopping carts, and README.md's session.
case_seconds=300
. "$(dirname "$0")/../support/tools.sh"

# -------------------------------------------------------------------------- key store

make_keystore() {
    cat >keystore <<'SCRIPT'
#!/bin/bash
# keystore DIR set KEY VALUE | get KEY | delete KEY | list
cd "$1" || exit 2
case $2 in
set) printf '%s' "$4" >"$3" ;;
get) [ -e "$3" ] && cat "$3" ;;
delete) rm "$3" 2>/dev/null ;;
list) ls ;;
*) exit 2 ;;
esac
SCRIPT
    chmod +x keystore
}

case_a_key_store_sets_gets_deletes_and_lists() {
    ready
    make_keystore
    same "" ./keystore "$n" list
    ./keystore "$n" get colour && wrong "get of an absent key succeeds"
    ./keystore "$n" set colour "deep blue" || wrong "set: status $?"
    ./keystore "$n" set size 42 || wrong "set: status $?"
    same "deep blue" ./keystore "$n" get colour
    same "colour
size" ./keystore "$n" list
    ./keystore "$n" set colour red || wrong "set again: status $?"
    same red ./keystore "$n" get colour
    same red kv get a/n/colour
    ./keystore "$n" delete size || wrong "delete: status $?"
    ./keystore "$n" delete size && wrong "delete of an absent key succeeds"
    ./keystore "$n" set 'no key' x 2>err && wrong "set of a name that is no key succeeds"
    grep -q "Invalid argument" err || wrong "said $(cat err)"
    only colour
    stop
    start
    same red ./keystore "$n" get colour
}

case_a_key_store_holds_any_bytes_and_sizes() {
    local size
    ready
    for size in 0 1 4095 4096 4097 100000 5000000; do
        head -c $size /dev/urandom >value
        cat value >"$n/k$size" || wrong "set of $size bytes"
        holds value k$size
    done
    only k0 k1 k100000 k4095 k4096 k4097 k5000000
}

case_a_key_store_is_used_by_many_at_once() {
    local i
    local -a children
    ready
    make_keystore
    for i in 1 2 3 4 5 6; do
        (
            for ((j = 0; j < 40; j++)); do
                ./keystore "$n" set "k${i}_$j" "value $i $j" || exit 1
                [ "$(./keystore "$n" get "k${i}_$j")" = "value $i $j" ] || exit 1
                [ $((j % 4)) -ne 0 ] || ./keystore "$n" delete "k${i}_$j" || exit 1
            done
        ) &
        children+=($!)
    done
    for i in "${children[@]}"; do
        wait "$i" || wrong "one of them failed"
    done
    same 180 grep -c . <(./keystore "$n" list)
    same 180 grep -c . <(kv list a/n --all)
}

# ---------------------------------------------------------------------- shopping carts

# One key for each user; a line for each article: NAME COUNT CENTS.
make_cart() {
    cat >cart <<'SCRIPT'
#!/bin/bash
# cart DIR USER add ARTICLE COUNT CENTS | remove ARTICLE | total | show
key=$1/$2
exec 9>>"$key" || exit 1
flock 9 || exit 1
case $3 in
add)
    new=$(awk -v name="$4" -v count="$5" -v cents="$6" '
        $1 == name { $2 += count; $3 = cents; found = 1 }
        { print }
        END { if (!found) print name, count, cents }' "$key") && printf '%s\n' "$new" >"$key"
    ;;
remove)
    grep -q "^$4 " "$key" && sed "/^$4 /d" "$key" >"$1/new_$2" && cat "$1/new_$2" >"$key" && rm "$1/new_$2"
    ;;
total) awk '{ sum += $2 * $3 } END { printf "%d.%02d\n", sum / 100, sum % 100 }' "$key" ;;
show) cat "$key" ;;
*) exit 2 ;;
esac
SCRIPT
    chmod +x cart
}

case_a_cart_adds_removes_and_totals() {
    need flock awk
    ready
    make_cart
    ./cart "$n" anna add apple 3 120 || wrong "add: status $?"
    ./cart "$n" anna add pear 1 250 || wrong "add: status $?"
    ./cart "$n" anna add apple 2 120 || wrong "add: status $?"
    ./cart "$n" ben add bread 1 399 || wrong "add: status $?"
    same "apple 5 120
pear 1 250" ./cart "$n" anna show
    same 8.50 ./cart "$n" anna total
    same 3.99 ./cart "$n" ben total
    ./cart "$n" anna remove pear || wrong "remove: status $?"
    ./cart "$n" anna remove pear && wrong "remove of what is not there succeeds"
    same 6.00 ./cart "$n" anna total
    ./cart "$n" ben remove bread || wrong "remove: status $?"
    same 0.00 ./cart "$n" ben total
    only anna ben
    stop
    start
    same "apple 5 120" ./cart "$n" anna show
}

case_carts_of_several_users_are_filled_at_once() {
    local user i
    local -a children
    need flock awk
    ready
    make_cart
    for user in anna ben carla dora; do
        for i in 1 2; do
            (
                for ((j = 0; j < 15; j++)); do
                    ./cart "$n" $user add article_$((j % 5)) 1 10 || exit 1
                done
            ) &
            children+=($!)
        done
    done
    for i in "${children[@]}"; do
        wait "$i" || wrong "one of them failed"
    done
    for user in anna ben carla dora; do
        same 3.00 ./cart "$n" $user total
        same 5 grep -c ' 6 10$' "$n/$user"
    done
    only anna ben carla dora
}

# ------------------------------------------------------------------------- README.md

# session [COMMAND...]: run by the shell, or by COMMAND. The programs are where tools/start builds them, and nothing
# else is at hand but what a new user has.
session() {
    awk '/^## / { on = $0 == "## A session to copy" } on && sub(/^    /, "")' \
        "${KVFS_SOURCE_DIR:?names the source tree}/README.md" >session
    [ "$(grep -c . session)" -gt 10 ] || wrong "this is no session: $(cat session)"
    HOME=$PWD/home "$@" bash -e session >out 2>err || wrong "exit status $?"
    [ ! -s err ] || wrong "said $(cat err)"
    grep -Fx -e '{"apples": 3}' -e '{"pears": 1}' -e 1 out >values
    same '{"apples": 3}
{"pears": 1}
1' cat values
    not_mounted home || wrong "still mounted"
    wait_until no_daemons
}

built() {
    mkdir -p build/release/fs build/release/tools home
    ln -s "$kvfs" build/release/fs/kvfs
    ln -s "$kvctl" build/release/tools/kvctl
}

case_the_session_of_the_readme_works_as_written() {
    built
    session
}

case_it_works_for_a_user_without_rights() {
    [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null || skip "needs root and mount namespaces"
    setpriv --reuid=nobody --regid=nogroup --clear-groups test -x "$kvfs" || skip "others cannot get to the programs"
    built
    chown nobody:nogroup home
    # shellcheck disable=SC2016 # the shell within expands it
    session where_nobody_can_mount 'exec setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"'
    same nobody stat -c %U home/kv-backup/data.mdb
}

# ----------------------------------------------------------------------- tools/start

# A clone whose build does not take long: cmake finds the programs.
clone() {
    mkdir -p clone/tools bin home
    cp "${KVFS_SOURCE_DIR:?names the source tree}/tools/start" clone/tools/start
    printf '#!/bin/sh\ntouch %s/began\n' "$PWD" >clone/tools/packages
    printf '#!/bin/sh\nmkdir -p build/release/fs build/release/tools
ln -sf %s build/release/fs/kvfs\nln -sf %s build/release/tools/kvctl\n' "$kvfs" "$kvctl" >bin/cmake
    chmod +x clone/tools/packages bin/cmake
}

run_start() { HOME=$PWD/home PATH=$PWD/bin:$PATH clone/tools/start "$@"; }

case_start_mounts_what_the_readme_goes_on_with() {
    clone
    run_start >out 2>err || wrong "exit status $?: $(cat err)"
    [ ! -s err ] || wrong "said $(cat err)"
    same 1.80 tail -n 1 <(sed -n '/^\$ kvctl/,/^$/p' out | grep .)
    same "$PWD/home/kv" mounts "$PWD/home"
    run_start >out 2>err || wrong "a second time: exit status $?: $(cat err)"
    grep -qx "$PWD/home/kv is mounted already." out || wrong "said nothing of the mount that is there: $(cat out)"
    ln -s clone/build build
    session
}

case_start_refuses_before_it_builds() {
    clone
    mkdir full other
    touch full/file
    fails_with 'lie within each other' run_start "$PWD/store" "$PWD/clone"
    fails_with 'lie within each other' run_start "$PWD/store" "$PWD/clone/mnt"
    fails_with 'lie within each other' run_start "$PWD/clone/store"
    fails_with 'lie within each other' run_start "$PWD/store" "$PWD"
    fails_with 'lie within each other' run_start "$PWD/other/store" "$PWD/other"
    fails_with 'full is not empty' run_start "$PWD/store" "$PWD/full"
    fails_with 'file is no directory' run_start "$PWD/store" "$PWD/full/file"
    fails_with 'full is no store' run_start "$PWD/full"
    fails_with 'usage' run_start a b c
    start
    fails_with "$store is mounted at" run_start "$PWD/store" "$mnt"
    [ ! -e began ] || wrong "the build began"
    [ ! -e "$PWD/store" ] || wrong "a store was made"
}

run_cases "$@"
