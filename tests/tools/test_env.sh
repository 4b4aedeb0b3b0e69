#!/bin/bash
# kvctl env and run: what programs are given as their namespaces, and which mounts and names are refused.
. "$(dirname "$0")/../support/mount.sh"
old_binding=${OLD_BINDING_BIN:?OLD_BINDING_BIN names the program that makes a binding of an older version}

# Mount, with binding my_kv of project a/p to namespace a/n.
bound() {
    kv account create a
    kv namespace create a/n
    kv project create a/p
    kv binding create a/p my_kv n
    start "$@" || exit 1
}

# refuses STATUS WORDS COMMAND...: it fails with this exit status, prints nothing, and says WORDS in one line
refuses() {
    local status=$1 words=$2 got
    shift 2
    "$@" >out 2>err </dev/null
    got=$?
    [ $got = "$status" ] || wrong "$*: exit status $got, not $status"
    [ ! -s out ] || wrong "$*: printed $(cat out)"
    [ "$(wc -l <err)" = 1 ] && [[ $(cat err) == *"$words"* ]] || wrong "$*: said '$(cat err)', not '$words'"
}

case_env_prints_lines_for_a_shell() {
    bound
    same "export my_kv='$mnt/a/n'" kv env a/p --mount "$mnt"
    same "export my_kv='$mnt/a/n'" kv env a/p --mount "$mnt//" --format shell
    kv namespace create a/m
    kv binding create a/p Z m
    cd "$case_dir" || exit 1
    same "export Z='$mnt/a/m'
export my_kv='$mnt/a/n'" kv env a/p --mount mnt
    same "export Z='$mnt/a/m'
export my_kv='$mnt/a/n'" kv env a/p --mount ./mnt//
    cd mnt || exit 1
    same "export Z='$mnt/a/m'
export my_kv='$mnt/a/n'" kv env a/p --mount .
    kv project create a/none
    same "" kv env a/none --mount .
    cd /
}

case_a_link_to_the_mount_stays_a_link() {
    bound
    ln -s "$mnt" "$case_dir/link"
    same "export my_kv='$case_dir/link/a/n'" kv env a/p --mount "$case_dir/link"
}

case_env_writes_what_systemd_docker_and_others_read() {
    bound
    same "my_kv=\"$mnt/a/n\"" kv env a/p --mount "$mnt" --format systemd
    same "my_kv=$mnt/a/n" kv env a/p --mount "$mnt" --format docker
    same "{
  \"my_kv\": \"$mnt/a/n\"
}" kv env a/p --mount "$mnt" --format json
    kv env a/p --mount "$mnt" >/dev/full 2>err && wrong "env to a full disk succeeded"
    refuses 2 'shell, systemd, docker or json' kv env a/p --mount "$mnt" --format xml
    kv project create a/none
    same "" kv env a/none --mount "$mnt" --format systemd
    same "{}" kv env a/none --mount "$mnt" --format json
}

# mounted_at DIR: the store is mounted there, in place of $mnt
mounted_at() {
    mkdir -p "$1" || exit 1
    timeout 60 "$kvfs" "$store" "$1" </dev/null || wrong "kvfs: exit status $?"
}

case_env_quotes_whatever_the_directory_is_called() {
    local dir got
    bound
    stop
    # shellcheck disable=SC2016,SC1003 # nothing of this may be expanded
    for dir in "it's" '$(touch touched)' 'two words' '"q"' '`id`' $'new\nline' "''" '\' '*' $'\xff'; do
        mounted_at "$case_dir/$dir"
        got=$(sh -c "$(kv env a/p --mount "$case_dir/$dir")"$'\nprintf %s "$my_kv"')
        [ "$got" = "$case_dir/$dir/a/n" ] || wrong "in $dir, my_kv is $got"
        got=$(kv run a/p --mount "$case_dir/$dir" -- sh -c 'printf %s "$my_kv"')
        [ "$got" = "$case_dir/$dir/a/n" ] || wrong "run in $dir: my_kv is $got"
        fusermount3 -u "$case_dir/$dir" || wrong "fusermount3: exit status $?"
        wait_until no_daemons
    done
    [ ! -e touched ] || wrong "a command in the name was run"
}

case_formats_that_are_text_quote_or_refuse_a_name() {
    local dir=$case_dir/'a "b" $c `d` \e' odd=$case_dir/$'new\nline' bytes=$case_dir/$'\xff' format
    bound
    stop
    mounted_at "$dir"
    same "my_kv=\"$case_dir/a \\\"b\\\" \\\$c \\\`d\\\` \\\\e/a/n\"" kv env a/p --mount "$dir" --format systemd
    same "my_kv=$dir/a/n" kv env a/p --mount "$dir" --format docker
    same "$dir/a/n" jq -r .my_kv <<<"$(kv env a/p --mount "$dir" --format json)"
    mounted_at "$odd"
    mounted_at "$bytes"
    for format in systemd docker json; do
        refuses 2 'only the format shell' kv env a/p --mount "$odd" --format $format
        refuses 2 'only the format shell' kv env a/p --mount "$bytes" --format $format
    done
    fusermount3 -u "$dir"
    fusermount3 -u "$odd"
    fusermount3 -u "$bytes"
    wait_until no_daemons
}

case_a_directory_is_no_mount() {
    bound
    mkdir -p "$case_dir/empty/.kvfs"
    cp "$mnt/.kvfs/config" "$case_dir/empty/.kvfs/config"
    touch file
    refuses 2 '--mount DIR is missing' kv env a/p
    refuses 2 'No such file' kv env a/p --mount absent
    refuses 2 'Not a directory' kv env a/p --mount file
    refuses 2 'No such file' kv env a/p --mount ''
    refuses 2 'no kvfs is mounted here' kv env a/p --mount "$case_dir/empty"
    refuses 2 'no kvfs is mounted here' kv env a/p --mount /
    refuses 2 'within a mount' kv env a/p --mount "$mnt/a"
    refuses 2 'within a mount' kv env a/p --mount "$mnt/a/n"
    refuses 2 'within a mount' kv env a/p --mount "$mnt/.kvfs"
    refuses 125 'no kvfs is mounted here' kv run a/p --mount "$case_dir/empty" -- touch ran
    stop
    refuses 2 'no kvfs is mounted here' kv env a/p --mount "$mnt"
    refuses 125 'no kvfs is mounted here' kv run a/p --mount "$mnt" -- touch ran
    [ ! -e ran ] || wrong "the command was run"
}

case_a_directory_within_a_mount_that_is_mounted_once_more_is_none() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    bound
    mkdir "$case_dir/twice" "$case_dir/whole"
    mount --bind "$mnt/a" "$case_dir/twice" || skip "no bind mounts here"
    mount --bind "$mnt" "$case_dir/whole"
    refuses 2 'within a mount' kv env a/p --mount "$case_dir/twice"
    same "export my_kv='$case_dir/whole/a/n'" kv env a/p --mount "$case_dir/whole"
    umount "$case_dir/twice" "$case_dir/whole"
}

case_another_store_is_mounted_there() {
    local first=$store second=$case_dir/second
    bound
    mkdir "$second"
    store=$case_dir/other
    timeout 60 "$kvfs" "$store" "$second" </dev/null || wrong "kvfs: exit status $?"
    store=$first
    refuses 2 "another store is mounted here, $case_dir/other" kv env a/p --mount "$second"
    refuses 125 "another store" kv run a/p --mount "$second" -- touch ran
    # The same store at two places is the same store; so it is under another name.
    fusermount3 -u "$second"
    timeout 60 "$kvfs" "$store" "$second" </dev/null || wrong "kvfs: exit status $?"
    same "export my_kv='$second/a/n'" kv env a/p --mount "$second"
    ln -s "$store" "$case_dir/link"
    store=$case_dir/link
    same "export my_kv='$second/a/n'" kv env a/p --mount "$second"
    fusermount3 -u "$second"
}

# The mount of a user can say of itself what it likes, so it has to be of one who may be trusted.
case_a_mount_of_somebody_else_is_refused() {
    [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null || skip "needs root and mount namespaces"
    bound
    refuses 2 'user 65534 has mounted it, who is neither root' in_a_mount_of_nobody '
        "$2" --store "$3" env a/p --mount "$1"' "$kvctl" "$store"
}

case_run_gives_a_command_the_variables() {
    bound
    # shellcheck disable=SC2016 # the inner shell expands it
    same "$mnt/a/n" kv run a/p --mount "$mnt" -- sh -c 'printf %s "$my_kv"'
    same '-x --store --help -- y' kv run a/p --mount "$mnt" -- printf '%s %s %s %s %s' -x --store --help -- y
    same '-n' kv run --mount "$mnt" a/p -- printf %s -n
    [ "$(echo in | kv run a/p --mount "$mnt" -- cat)" = in ] || wrong "the command does not get the input"
    printf 'echo "script $my_kv"' >script
    chmod +x script
    same "script $mnt/a/n" kv run a/p --mount "$mnt" -- ./script
}

case_run_exits_as_its_command_does() {
    bound
    refuses 125 '--mount DIR is missing' kv run a/p -- true
    kv run a/p --mount "$mnt" -- sh -c 'exit 7'
    [ $? = 7 ] || wrong "exit status $?, not 7"
    kv run a/p --mount "$mnt" -- false
    [ $? = 1 ] || wrong "exit status $?, not 1"
    touch file
    mkdir dir
    refuses 127 'No such file' kv run a/p --mount "$mnt" -- ./absent
    refuses 127 'no_such_command_here' kv run a/p --mount "$mnt" -- no_such_command_here
    refuses 127 'No such file' kv run a/p --mount "$mnt" -- ''
    refuses 126 'Permission denied' kv run a/p --mount "$mnt" -- ./file
    refuses 126 'Permission denied' kv run a/p --mount "$mnt" -- ./dir
    refuses 125 'no project q' kv run a/q --mount "$mnt" -- true
    refuses 125 'an argument is missing' kv run a/p --mount "$mnt"
    refuses 125 "'--'" kv run a/p --mount "$mnt" sh -c true
}

case_run_leaves_a_command_its_limits_of_file_sizes() {
    local status
    bound
    (ulimit -f 1 && kv run a/p --mount "$mnt" -- sh -c 'exec head -c 9999 /dev/zero >big') 2>err
    status=$?
    [ $status = $((128 + $(kill -l XFSZ))) ] || wrong "run: exit status $status"
}

case_run_finds_its_command_in_the_path_of_the_caller() {
    bound
    mkdir first second
    printf '#!/bin/sh\necho second\n' >second/mine
    echo 'no program' >first/mine
    chmod +x second/mine
    PATH=$PWD/first:$PWD/second:$PATH same second kv run a/p --mount "$mnt" -- mine
    PATH=$PWD/first:$PATH refuses 126 'Permission denied' kv run a/p --mount "$mnt" -- mine
    cd second || exit 1
    PATH=$PATH: same second kv run a/p --mount "$mnt" -- mine
}

case_names_that_programs_obey_cannot_be_bound() {
    local name p
    bound
    p=$mnt/a/.projects/p
    for name in PATH HOME IFS ENV BASH_ENV BASH_FUNC_x LD_PRELOAD LD_LIBRARY_PATH PYTHONPATH PYTHONSTARTUP PERL5LIB \
        PERL5OPT NODE_OPTIONS NODE_PATH RUBYLIB GCONV_PATH MALLOC_CHECK_ GLIBC_TUNABLES LOCPATH TMPDIR UID _ path \
        KVFS_STORE GIT_DIR JAVA_TOOL_OPTIONS SHELLOPTS PS4 CDPATH; do
        refuses 2 'programs would obey it' kv binding create a/p "$name" n
        fails_with 'Invalid argument' ln -s ../../n "$p/$name"
        mv "$p/my_kv" "$p/$name" 2>err && wrong "mv to $name succeeded"
    done
    grep -q "a/.projects/p/CDPATH.*programs obey" "$mnt/.kvfs/errors" ||
        wrong "errors says: $(tail -1 "$mnt/.kvfs/errors")"
    for name in MY_PATH PATHS LD PYTHO HISTORY PHP_SESSIONS NODE_KV HOMES a; do
        kv binding create a/p "$name" n || wrong "$name is refused"
        rm "$p/$name" || wrong "rm of $name: exit status $?"
    done
    same "my_kv	n" kv binding list a/p
}

case_a_binding_of_an_older_version_runs_nothing_and_can_be_deleted() {
    local name
    kv account create a
    kv namespace create a/n
    kv project create a/p
    kv binding create a/p good n
    for name in PATH LD_PRELOAD PYTHONPATH; do
        kv binding create a/p made n
        "$old_binding" "$store" a p made $name || wrong "old_binding: exit status $?"
    done
    start || exit 1
    printf '#!/bin/sh\ntouch %s/ran\n' "$PWD" >"$mnt/a/n/id"
    chmod 755 "$mnt/a" "$mnt/a/n" "$mnt/a/n/id"
    refuses 125 'kvctl binding delete a/p LD_PRELOAD' kv run a/p --mount "$mnt" -- id
    refuses 2 'kvctl binding delete a/p LD_PRELOAD' kv env a/p --mount "$mnt"
    refuses 2 'kvctl binding delete a/p LD_PRELOAD' kv env a/p --mount "$mnt" --format docker
    [ ! -e ran ] || wrong "the tenant's program was run"
    same "LD_PRELOAD PATH PYTHONPATH good" echo $(ls "$mnt/a/.projects/p")
    same ../../n readlink "$mnt/a/.projects/p/PATH"
    kv binding delete a/p LD_PRELOAD || wrong "binding delete: exit status $?"
    rm "$mnt/a/.projects/p/PATH" || wrong "rm: exit status $?"
    mv "$mnt/a/.projects/p/PYTHONPATH" "$mnt/a/.projects/p/better" || wrong "mv: exit status $?"
    same "$mnt/a/n" kv run a/p --mount "$mnt" -- sh -c 'echo $better'
    stop
    kv check >out || wrong "check: $(cat out)"
}

run_cases "$@"
