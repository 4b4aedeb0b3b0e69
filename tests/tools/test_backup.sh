#!/bin/bash
# kvctl backup, restore and compact: what a copy of a store in use has, what is left where one is cut off, and that
# nothing is lost or shown that should not be.
#
# See support/mount.sh.
. "$(dirname "$0")/../support/tools.sh"

# ------------------------------------------------------------------ vocabulary

of() { # of STORE ARGUMENT...: kvctl on that store
    local dir=$1
    shift
    timeout 120 "$kvctl" --store "$dir" "$@"
}

restore() { timeout 120 "$kvctl" restore "$@"; }

is_sound() { # is_sound STORE: a check finds nothing
    of "$1" check >check.json 2>&1 || wrong "$1 is not sound: $(head -c 500 check.json)"
}

no_store() { # no_store DIR: nothing there that looks like a store
    [ ! -e "$1/data.mdb" ] || wrong "$1 has a data.mdb"
    of "$1" account list >/dev/null 2>&1 && wrong "$1 is opened as a store"
}

absent() {
    local path
    for path; do
        [ ! -e "$path" ] || wrong "$path is there: $(ls -A "$path")"
    done
}

# Everything that kvctl shows of a store.
shown() {
    local account namespace project key
    for account in $(of "$1" account list); do
        of "$1" account show "$account"
        for namespace in $(of "$1" namespace list "$account"); do
            of "$1" namespace show "$account/$namespace"
            for key in $(of "$1" list "$account/$namespace" --all); do
                echo "$key"
                of "$1" get "$account/$namespace/$key" | md5sum
                of "$1" get "$account/$namespace/$key" --meta
            done
        done
        for project in $(of "$1" project list "$account"); do
            echo "$project"
            of "$1" binding list "$account/$project"
        done
    done
}

# What a mount shows of all files: kind, mode, owner, size, inode number, time.
mounted() {
    timeout 60 "$kvfs" "$1" "$mnt" -o ro || wrong "$1 is not mounted"
    (cd "$mnt" && find . -printf '%p %y %m %U %G %s %i %T@ %l\n' | sort)
    stop
}

# Some of everything.
fill() {
    of "$1" account create a
    of "$1" namespace create a/n
    of "$1" namespace create a/m
    of "$1" account create b --owner 1234:567 --mode 0750
    of "$1" account limit b --keys 77 --bytes 5M --namespaces 3
    of "$1" namespace create b/n
    of "$1" put b/n/k text --meta color=blue --meta 'size=7 feet'
    of "$1" put a/n/empty ''
    for size in 1 8191 8192 8193 100000 3000000; do
        head -c $size /dev/urandom | of "$1" put "a/n/k$size"
    done
    of "$1" project create a/web
    of "$1" binding create a/web CARTS n
    of "$1" binding create a/web OTHER m
    timeout 60 "$kvfs" "$1" "$mnt" || wrong "$1 is not mounted"
    chmod 0640 "$mnt/a/n/k1"
    chmod 0750 "$mnt/a/m"
    touch -d '2001-02-03 04:05:06.789' "$mnt/a/n/k8192"
    setfattr -n user.note -v remembered "$mnt/a/n/k8193"
    if [ "$(id -u)" = 0 ]; then
        chown 99:98 "$mnt/a/n/k1"
    fi
    stop
}

# A store that takes some time to be copied, of which a part is free.
fill_much() {
    of "$1" account create a
    of "$1" namespace create a/n
    for i in 1 2 3 4 5 6; do
        head -c 20000000 /dev/urandom | of "$1" put a/n/large$i
    done
    for i in 1 2 3; do
        of "$1" delete a/n/large$i
    done
    of "$1" put a/n/small text
}

# ------------------------------------------------------------------ what is in it

# Write key after key, and note in ./done each that was closed.
write_keys() {
    local i=0
    while :; do
        i=$((i + 1))
        echo "value $i" >"$mnt/a/n/key$i" && echo $i >>done
    done
}

many_done() { [ "$(wc -l <done)" -ge "$1" ]; }

has_what_was_done() {
    local writer part
    ready -o "durability=$1"
    : >done
    write_keys &
    writer=$!
    for round in 1 2 3 4 5; do
        wait_until many_done $((round * 40))
        cp done before
        kv backup copy$round || wrong "backup: exit status $?"
        part=$(of copy$round list a/n --all | sed 's/key//' | sort | comm -13 - <(sort before) | tr '\n' ' ')
        [ -z "$part" ] || wrong "copy$round lacks what was done before: $part"
        is_sound copy$round
        same "value 40" of copy$round get a/n/key40
    done
    kill $writer
    wait $writer 2>/dev/null
}

case_a_copy_of_a_store_in_use_has_all_that_was_done() { has_what_was_done close; }

case_so_it_has_before_anything_is_flushed() { has_what_was_done fsync; }

case_what_is_restored_is_the_same() {
    fill "$store"
    shown "$store" >shown.before 2>&1
    mounted "$store" >mounted.before
    kv backup copy || wrong "backup: exit status $?"
    restore copy back || wrong "restore: exit status $?"
    kv backup - | cat >stream || wrong "backup -: exit status $?"
    restore stream file || wrong "restore FILE: exit status $?"
    cat stream | restore - pipe || wrong "restore -: exit status $?"
    for dir in copy back file pipe; do
        is_sound $dir
        shown $dir >shown.after 2>&1
        diff shown.before shown.after >diff || wrong "$dir is not the same: $(head -c 500 diff)"
        mounted $dir >mounted.after
        diff mounted.before mounted.after >diff || wrong "$dir is not the same in a mount: $(head -c 500 diff)"
        of $dir put a/n/new more || wrong "$dir takes no change"
        is_sound $dir
    done
    is_sound "$store"
    mkdir empty
    restore copy empty || wrong "an empty directory is refused"
    is_sound empty
}

case_whatever_the_umask_is_they_are_the_users_own() {
    fill "$store"
    for mask in 0000 0077 0277; do
        (umask $mask && kv backup copy$mask && restore copy$mask back$mask) || wrong "umask $mask: exit status $?"
        same "700 700" echo $(stat -c %a copy$mask back$mask)
        same "600" echo $(stat -c %a copy$mask/* back$mask/* | sort -u)
        is_sound back$mask
    done
}

case_what_was_deleted_is_not_in_it() {
    ready
    stop
    kv put a/n/secrets short
    yes VeRySeCrEt | head -c 500000 | kv put a/n/large
    yes VeRySeCrEt | head -c 5000 | kv put a/n/larger
    kv put a/n/secret VeRySeCrEt
    grep -q VeRySeCrEt "$store/data.mdb" || wrong "the store itself does not have it"
    for key in large larger secret; do
        kv delete a/n/$key
    done
    kv backup - >stream
    grep -q VeRySeCrEt stream && wrong "it is in the stream"
    kv backup copy
    grep -q VeRySeCrEt copy/* && wrong "it is in the copy"
    kv compact >/dev/null || wrong "compact: exit status $?"
    grep -q VeRySeCrEt "$store/data.mdb" && wrong "it is in the compacted store"
    same short kv get a/n/secrets
}

case_a_place_in_its_log_is_none_in_a_restored_ones() {
    local token
    ready
    kv put a/n/k 1
    token=$(timeout 60 "$kvctl" --store "$store" watch a 2>said | head -n 1 | sed 's/.*: "//; s/".*//')
    stop
    kv backup copy
    kv compact >/dev/null
    kv put a/n/k 2
    timeout 60 "$kvctl" --store "$store" watch a --since "$token" 2>said | head -n 2 | grep -q '"key": "k"' ||
        wrong "the watch does not go on in the compacted store: $(cat said)"
    of copy put a/n/k 2 || wrong "the copy takes no change"
    of copy watch a --since "$token" >lines 2>said
    status=$?
    [ $status -eq 5 ] || wrong "the watch of the copy ended with $status, not 5"
}

# ------------------------------------------------------------------ refused

case_what_is_no_backup_is_refused() {
    fill "$store"
    kv backup - >stream
    for what in "head -c 100000 stream" "head -c -1 stream" "head -c 5000 stream" "echo text" "cat stream stream" \
        "true" "cat $store/data.mdb" "head -c 1000000 /dev/zero"; do
        $what >file
        fails_with "what was to be restored is no copy of a store, or is damaged" restore file back
        no_store back
    done
    fails_with "name the directory of the store" restore "$store/data.mdb" back
    fails_with "No such file" restore nothing back
    restore stream back || wrong "nothing can be restored after that"
    is_sound back
}

case_what_is_there_is_not_overwritten() {
    fill "$store"
    kv backup copy
    mkdir full
    echo text >full/file
    echo text >file
    fails_with "not empty" kv backup copy
    fails_with "not empty" kv backup full
    fails_with "there is a file already" kv backup file
    fails_with "there is a store already" restore copy "$store"
    fails_with "holds other things" restore copy full
    fails_with "a name of its own" kv backup .
    fails_with "a name of its own" kv backup ../
    fails_with "does not exist" restore copy no/such/place
    fails_with "cannot be made" kv backup no/such/place
    same text cat full/file
    same text cat file
    is_sound "$store"
    is_sound copy
    mkdir ready.part other.part
    echo text >other.part/file
    fails_with "it is in the way" kv backup other
    same text cat other.part/file
    flock ready.part "$kvctl" --store "$store" backup ready 2>said && wrong "two make the same backup"
    grep -q "another backup of this name" said || wrong "it said $(cat said)"
    kv backup ready || wrong "backup: exit status $?"
    absent ready.part
}

case_damaged_pages_are_told_and_not_copied() {
    ready
    stop
    for i in $(seq 30); do
        kv put a/n/k$i ThisIsTheValue
    done
    grep -qa ThisIsTheValue "$store/data.mdb" || wrong "there is no such page"
    for page in $(grep -abo ThisIsTheValue "$store/data.mdb" | cut -d: -f1); do
        printf '\377\377\377\377' | dd of="$store/data.mdb" bs=1 seek=$((page / 4096 * 4096)) conv=notrunc status=none
    done
    fails_with "is damaged" kv backup copy
    absent copy copy.part
    kv backup - >stream 2>said && wrong "backup - succeeded"
    [ ! -s stream ] || wrong "something of the damaged store was written"
    fails_with "is damaged" restore "$store" back
    no_store back
    fails_with "damaged" kv compact
}

case_a_damaged_value_is_copied_and_told() {
    local at
    ready
    stop
    yes ThisIsTheValue | head -c 50000 | kv put a/n/bad
    kv put a/n/good fine
    at=$(grep -abo ThisIsTheValue "$store/data.mdb" | sed -n 100p | cut -d: -f1)
    printf 'XXX' | dd of="$store/data.mdb" bs=1 seek="$at" conv=notrunc status=none
    kv backup copy 2>said
    status=$?
    [ $status -eq 1 ] || wrong "backup: exit status $status, not 1"
    grep -q "a/n/bad" said || wrong "it said $(cat said)"
    same fine of copy get a/n/good
    fails_with "could not be read" of copy get a/n/bad
    restore copy back 2>said
    status=$?
    [ $status -eq 1 ] || wrong "restore: exit status $status, not 1"
    same fine of back get a/n/good
}

# ------------------------------------------------------------------ cut off

case_a_full_disk_leaves_nothing() {
    fill_much "$store"
    (ulimit -f 1000 && fails_with "File too large" kv backup copy && exit "$bad") || bad=1
    absent copy copy.part
    kv backup - >stream
    (ulimit -f 1000 && fails_with "could not be written" restore stream back && exit "$bad") || bad=1
    no_store back
    kv backup - >/dev/full 2>said && wrong "a full disk is no failure"
    grep -q "No space left" said || wrong "it said $(cat said)"
    (ulimit -f 1000 && fails_with "File too large" kv compact && exit "$bad") || bad=1
    is_sound "$store"
    if [ "$(id -u)" = 0 ]; then
        mkdir disk
        mount -t tmpfs -o size=20m backup-test disk || return
        fails_with "No space left" kv backup disk/copy
        absent disk/copy disk/copy.part
        fails_with "No space left" restore stream disk/back
        no_store disk/back
        umount disk
    fi
    restore stream back || wrong "nothing can be restored after that"
    is_sound back
}

case_nobody_reads() {
    fill_much "$store"
    (kv backup - 2>said; echo $? >status) | head -c 10 >/dev/null
    same 2 cat status
    grep -q "nobody reads it" said || wrong "it said $(cat said)"
}

# killed ROUND COMMAND...: kill it, each round somewhat later. returns false once it ends before that
killed() {
    local round=$1 pid
    shift
    "$kvctl" --store "$store" "$@" >/dev/null 2>said &
    pid=$!
    sleep "$(awk "BEGIN { print $round * $round * 0.002 }")"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    [ $? -eq 137 ]
}

case_a_killed_backup_is_none() {
    local round=0 cuts=0
    fill_much "$store"
    while killed $round backup copy; do
        round=$((round + 1))
        cuts=$((cuts + 1))
        [ ! -e copy ] || is_sound copy # killed behind the rename
        rm -rf copy
    done
    [ -s said ] && wrong "the last one said $(cat said)"
    [ $cuts -gt 0 ] || wrong "none was killed"
    is_sound copy
    absent copy.part
    # What is whole, but was not given its name
    mv copy copy.part
    kv delete a/n/small
    kv backup copy || wrong "backup: exit status $?"
    absent copy.part
    kv backup new
    diff <(of new list a/n --all) <(of copy list a/n --all) || wrong "it is the older copy"
}

case_a_killed_compact_leaves_a_whole_store() {
    local round=0
    fill_much "$store"
    shown "$store" >before
    cp -r "$store" kept
    while killed $round compact; do
        round=$((round + 1))
        shown "$store" | diff before - >diff || wrong "round $round: not the same: $(head -c 300 diff)"
        is_sound "$store"
        kv put a/n/small text
        absent "$store/data.mdb.new"
        if [ "$(stat -c %s "$store/data.mdb")" -lt 70000000 ]; then # it was killed behind the rename
            rm -r "$store"
            cp -r kept "$store"
        fi
        [ $round -lt 100 ] || break
    done
    [ $round -gt 0 ] || wrong "none was killed"
    shown "$store" | diff before - >diff || wrong "not the same: $(head -c 300 diff)"
    is_sound "$store"
}

case_a_daemon_that_is_killed_after_a_compact_loses_nothing() {
    fill "$store"
    kv compact >/dev/null || wrong "compact: exit status $?"
    start
    for i in 1 2 3 4 5 6 7 8 9; do
        echo "value $i" >"$mnt/a/n/after$i"
    done
    kill -9 "$(daemons)"
    wait_until no_daemons
    fusermount3 -u "$mnt"
    is_sound "$store"
    same "value 9" kv get a/n/after9
}

# ------------------------------------------------------------------ compact

case_compact_gives_space_back() {
    local before after
    fill_much "$store"
    shown "$store" >shown.before
    before=$(stat -c %s "$store/data.mdb")
    kv compact >report || wrong "compact: exit status $?"
    after=$(stat -c %s "$store/data.mdb")
    [ $((before - after)) -gt 50000000 ] || wrong "the file had $before bytes, and has $after"
    awk -F'[:,]' '/given_back/ { exit !($2 > 50000000) }' report || wrong "it reported $(cat report)"
    same 600 stat -c %a "$store/data.mdb"
    shown "$store" | diff shown.before - >diff || wrong "it is not the same: $(head -c 300 diff)"
    is_sound "$store"
    absent "$store/data.mdb.new"
    mounted "$store" >/dev/null
}

case_compact_of_a_store_in_use_is_refused() {
    ready
    kv put a/n/k 1
    fails_with "others have the store open, process $(daemons)" kv compact
    echo 2 >"$n/k2" || wrong "the mount takes no change any more"
    says 2 k2
    stop
    kv compact >/dev/null || wrong "compact: exit status $?"
    same 2 kv get a/n/k2
}

run_cases "$@"
