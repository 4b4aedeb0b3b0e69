#!/bin/bash
# Copying and moving to, from and within a mount: bytes, modes, times and extended attributes arrive.
case_seconds=240
. "$(dirname "$0")/../support/tools.sh"

# A directory of files with modes, times and, where the file system has them, attributes.
make_source() {
    mkdir source
    seq 100 >source/small
    seq 100000 >source/large
    : >source/empty
    head -c 3000 /dev/urandom >source/binary
    chmod 600 source/small
    chmod 755 source/binary
    touch -d '2001-02-03 04:05:06.123456789' source/small
    touch -d '1999-12-31 23:59:59.999999999' source/empty
    chmod 750 source
}

# attributes FILE...: give them some, or skip the case
attributes() {
    local file
    need setfattr getfattr
    for file; do
        setfattr -n user.colour -v "blue of $file" "$file" 2>err || skip "no attributes on $PWD: $(cat err)"
        setfattr -n user.binary -v 0x00ff01 "$file"
    done
}

# alike DIR DIR: the same names, bytes, modes and times in ns
alike() {
    diff -r "$1" "$2" >out || wrong "$2 differs: $(head -c 300 out)"
    (cd "$1" && find . -type f -printf '%f %m %s %T@\n' | sort) >one
    (cd "$2" && find . -type f -printf '%f %m %s %T@\n' | sort) >two
    diff one two >out || wrong "$2 differs in modes, sizes or times: $(cat out)"
}

alike_with_attributes() {
    alike "$@"
    (cd "$1" && getfattr -d -e hex -- *) >one
    (cd "$2" && getfattr -d -e hex -- *) >two
    diff one two >out || wrong "$2 differs in attributes: $(cat out)"
}

# --------------------------------------------------------------------------------- cp

case_cp_a_in_and_out() {
    ready
    make_source
    attributes source/small source/large
    cp -a source/. "$n" || wrong "cp -a in: exit status $?"
    only binary empty large small
    alike_with_attributes source "$n"
    cp -a "$n" out_again || wrong "cp -a out: exit status $?"
    alike_with_attributes source out_again
    same 750 stat -c %a "$n"
}

case_cp_a_of_a_directory_makes_a_namespace() {
    ready
    make_source
    cp -a source "$mnt/a" || wrong "cp -a: exit status $?"
    alike source "$mnt/a/source"
    same 750 stat -c %a "$mnt/a/source"
    cp -r "$mnt/a/source" "$mnt/a/copy" || wrong "cp -r: exit status $?"
    diff -r source "$mnt/a/copy" || wrong "the copy differs"
    same "copy
n
source" ls "$mnt/a"
}

case_cp_between_keys() {
    ready
    seq 200000 >numbers
    cp numbers "$n/k"
    cp "$n/k" "$n/copy" || wrong "cp: exit status $?"
    holds numbers copy
    echo short >"$n/k"
    cp "$n/k" "$n/copy" || wrong "cp over a longer value: exit status $?"
    says short copy
    cp --reflink=auto --sparse=always "$n/k" "$n/copy2" || wrong "cp --sparse: exit status $?"
    says short copy2
    fails_with "are the same file" cp "$n/k" "$n/k"
    only copy copy2 k
}

case_cp_options() {
    ready
    echo one >one
    touch -d 2001-01-01 one
    cp -p one "$n/k" || wrong "cp -p: exit status $?"
    same 978307200 stat -c %Y "$n/k"
    echo newer >two
    cp -u two "$n/k" || wrong "cp -u: exit status $?"
    says newer k
    cp -u one "$n/k" || wrong "cp -u of an older file: exit status $?"
    says newer k
    cp -n one "$n/k"
    says newer k
    cp --remove-destination one "$n/k" || wrong "cp --remove-destination: exit status $?"
    says one k
    cp -S _old -b two "$n/k" || wrong "cp -b -S: exit status $?"
    says newer k
    says one k_old
    fails_with "Invalid argument" cp -b one "$n/k"
    says newer k
    only k k_old
    install -m 640 one "$n/installed" || wrong "install: exit status $?"
    same 640 stat -c %a "$n/installed"
    says one installed
}

case_cp_of_a_file_with_holes() {
    ready
    truncate -s 1M holes
    printf data | dd of=holes bs=1 seek=500000 conv=notrunc status=none
    cp holes "$n/k" || wrong "cp: exit status $?"
    holds holes k
    cp --sparse=always "$n/k" again || wrong "cp --sparse=always: exit status $?"
    cmp holes again || wrong "the copy differs"
}

# --------------------------------------------------------------------------------- mv

case_mv_from_and_to_another_file_system() {
    ready
    make_source
    attributes source/small
    cp -a source wanted
    mv source/small source/large "$n" || wrong "mv in: exit status $?"
    same "binary
empty" ls source
    holds wanted/small small
    holds wanted/large large
    mv "$n/small" "$n/large" source || wrong "mv out: exit status $?"
    same "" ls -A "$n"
    alike_with_attributes wanted source
}

case_mv_of_a_namespace_to_another_account() {
    ready
    seq 1000 >"$n/k"
    seq 2000 >"$n/l"
    mkdir "$mnt/b"
    mv "$n" "$mnt/b/moved" || wrong "mv: exit status $?"
    same "" ls "$mnt/a"
    seq 1000 | cmp - "$mnt/b/moved/k" || wrong "k differs"
    seq 2000 | cmp - "$mnt/b/moved/l" || wrong "l differs"
    mv "$mnt/b/moved/k" "$mnt/b/moved/l" "$PWD" || wrong "mv out: exit status $?"
    seq 1000 | cmp - k || wrong "k differs"
}

case_mv_options() {
    ready
    echo one >"$n/k"
    echo two >"$n/l"
    mv -n "$n/k" "$n/l"
    says two l
    mv -b -S _old "$n/k" "$n/l" || wrong "mv -b: exit status $?"
    says one l
    says two l_old
    only l l_old
}

# -------------------------------------------------------------------------------- tar

case_tar_in_and_out() {
    ready
    need tar
    make_source
    tar --format=posix -cf packed.tar -C source . || wrong "tar -c: exit status $?"
    tar -xpf packed.tar -C "$n" || wrong "tar -x: exit status $?"
    only binary empty large small
    alike source "$n"
    echo other >"$n/small"
    tar -xpf packed.tar -C "$n" || wrong "tar -x over it: exit status $?"
    alike source "$n"
    tar --format=posix -cf again.tar -C "$n" . || wrong "tar -c of keys: exit status $?"
    mkdir again
    tar -xpf again.tar -C again || wrong "tar -x: exit status $?"
    alike source again
    tar --format=posix -czf "$n/packed" -C source . || wrong "tar -cz into a key: exit status $?"
    same "" tar -dzf "$n/packed" -C source
}

case_tar_with_extended_attributes() {
    ready
    need tar
    make_source
    attributes source/small source/binary
    tar --xattrs -cf packed.tar -C source . || wrong "tar -c: exit status $?"
    tar --xattrs -xpf packed.tar -C "$n" || wrong "tar -x: exit status $?"
    alike_with_attributes source "$n"
    tar --xattrs -cf again.tar -C "$n" . || wrong "tar -c of keys: exit status $?"
    mkdir again
    tar --xattrs -xpf again.tar -C again || wrong "tar -x: exit status $?"
    alike_with_attributes source again
}

# ------------------------------------------------------------------------------ rsync

case_rsync() {
    need rsync
    ready
    make_source
    rsync -rt source/ "$n/" || wrong "rsync: exit status $?"
    only binary empty large small
    diff -r source "$n" || wrong "$n differs"
    same "" rsync -rti source/ "$n/"
    echo changed >source/large
    seq 5 >source/new
    rsync -rt source/ "$n/" || wrong "rsync of changes: exit status $?"
    diff -r source "$n" || wrong "$n differs"
    only binary empty large new small
    rsync -rt "$n/" back/ || wrong "rsync out: exit status $?"
    diff -r source back || wrong "back differs"
}

case_rsync_a_and_x() {
    need rsync
    ready
    make_source
    attributes source/small source/large
    rsync -aX source/ "$n/" || wrong "rsync -aX: exit status $?"
    only binary empty large small
    alike_with_attributes source "$n"
    same 750 stat -c %a "$n"
    same "" rsync -aXi source/ "$n/"
    setfattr -n user.colour -v red source/large
    setfattr -x user.binary source/small
    chmod 640 source/large
    touch -d '2010-01-01 00:00:00.5' source/binary
    rsync -aX source/ "$n/" || wrong "rsync -aX of changes: exit status $?"
    alike_with_attributes source "$n"
    rsync -aX "$n/" back/ || wrong "rsync -aX out: exit status $?"
    alike_with_attributes source back
}

case_rsync_in_place() {
    need rsync
    ready
    make_source
    rsync -a --inplace source/ "$n/" || wrong "rsync --inplace: exit status $?"
    alike source "$n"
    sed -i 's/5/five/' source/large
    rsync -a --inplace --no-whole-file source/ "$n/" || wrong "rsync --inplace, by differences: exit status $?"
    alike source "$n"
    only binary empty large small
}

case_rsync_by_differences() {
    need rsync
    ready
    make_source
    cp source/large "$n/large"
    sed -i 5000s/.*/changed/ source/large
    rsync -a --no-whole-file source/ "$n/" || wrong "rsync --no-whole-file: exit status $?"
    alike source "$n"
    rsync -a -c --no-whole-file "$n/" back/ || wrong "rsync -c: exit status $?"
    alike source back
    only binary empty large small
}

case_rsync_deletes() {
    need rsync
    ready
    make_source
    echo surplus >"$n/surplus"
    rsync -a --delete source/ "$n/" || wrong "rsync --delete: exit status $?"
    only binary empty large small
    rm source/large
    rsync -a --delete source/ "$n/" || wrong "rsync --delete: exit status $?"
    only binary empty small
    rsync -a --remove-source-files "$n/small" . || wrong "rsync --remove-source-files: exit status $?"
    only binary empty
}

case_rsync_of_a_whole_account() {
    need rsync
    ready
    mkdir "$mnt/a/m"
    echo 1 >"$n/k"
    echo 2 >"$mnt/a/m/l"
    rsync -a "$mnt/a/" copy/ || wrong "rsync out: exit status $?"
    rsync -a copy/ "$mnt/b/" || wrong "rsync in: exit status $?"
    diff -r "$mnt/a" "$mnt/b" || wrong "b differs"
}

run_cases "$@"
