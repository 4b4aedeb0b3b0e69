#!/bin/bash
# What is installed: programs, manual pages, completion, the library; and Debian packages of it.
case_seconds=600
. "$(dirname "$0")/../support/tools.sh"
source=${KVFS_SOURCE_DIR:?names the source tree}
build=${KVFS_TEST_RUN:?names the build tree}

# The programs of a build with sanitizers are not for others.
is_release() { ! ldd "$kvfs" | grep -q 'lib[a-z]*san'; }

# ----------------------------------------------------------------------- installation

case_what_is_installed_works_and_is_taken_away_again() {
    is_release || skip "built with sanitizers"
    cp -a "$build/install_manifest.txt" before 2>/dev/null
    cmake --install "$build" --prefix "$PWD/inst" --strip >out 2>&1 || wrong "install: $(tail -3 out)"
    local file
    for file in bin/kvfs bin/kvctl sbin/mount.fuse.kvfs lib/systemd/system/kvfs@.service lib/sysusers.d/kvfs.conf \
        lib/tmpfiles.d/kvfs.conf share/man/man1/kvctl.1 share/man/man5/kvfs-store.5 share/man/man7/kvfs-guide.7 \
        share/man/man8/kvfs.8 share/man/man8/mount.fuse.kvfs.8 \
        share/bash-completion/completions/kvctl share/zsh/site-functions/_kvctl \
        share/kvfs/candidates share/kvfs/pages/kv.mjs share/kvfs/grafana/kvfs.json \
        share/kvfs/grafana/alerts.yml include/kvfs/kv.h; do
        [ -s "inst/$file" ] || wrong "there is no $file"
    done
    grep -qF "ExecStart=$PWD/inst/bin/kvfs " inst/lib/systemd/system/kvfs@.service ||
        wrong "the unit is for another place"
    ! readelf -S inst/bin/kvfs | grep -q '\.debug_info' || wrong "kvfs is not stripped"
    kvfs=$PWD/inst/bin/kvfs kvctl=$PWD/inst/bin/kvctl
    kv account create a
    inst/sbin/mount.fuse.kvfs "$store" "$mnt" || wrong "the helper: exit status $?"
    mkdir "$mnt/a/n" || wrong "not usable"
    stop
    cmake --build "$build" --target uninstall >out 2>&1 || wrong "uninstall: $(tail -3 out)"
    same "" find inst ! -type d
    [ ! -e before ] || cp -a before "$build/install_manifest.txt"
}

case_a_program_is_compiled_with_the_installed_library() {
    is_release || skip "built with sanitizers"
    need cc pkg-config
    cmake --install "$build" --prefix "$PWD/inst" --component devel >out 2>&1 || wrong "install: $(tail -3 out)"
    PKG_CONFIG_PATH=$(dirname "$(find "$PWD/inst" -name kvfs.pc)")
    export PKG_CONFIG_PATH
    # shellcheck disable=SC2046 # several words
    cc -Wall -Wextra -Werror "$source/tools/install/example/counter.c" \
        $(pkg-config --cflags --libs --static kvfs) -o counter || wrong "cc: exit status $?"
    same 1 ./counter "$store"
    same 2 ./counter "$store"
    same 2 kv get counters/runs/example
    # Only its own names are seen, so that they are in nobody's way.
    same "" eval 'nm -g --defined-only "$(find inst -name libkvfs.a)" | awk "NF == 3 && \$3 !~ /^kv_/"'
}

# ----------------------------------------------------------------------- manual pages

pages() {
    local page
    mkdir pages
    for page in kvfs.8 kvfs-store.5 kvfs-guide.7; do
        sed 's/@VERSION@/1/' "$source/tools/man/$page.in" >pages/$page
    done
    "$source/tools/man/kvctl" "$kvctl" "$source/tools/man/kvctl.1.in" >pages/kvctl.1 || wrong "kvctl.1: exit status $?"
}

case_manual_pages_are_sound() {
    local page
    need mandoc
    pages
    for page in pages/*; do
        mandoc -Tlint -Wwarning "$page" >out 2>&1
        ! grep -v 'outdated mandoc.db' out || wrong "$page: $(cat out)"
    done
}

case_manual_pages_have_every_command_and_option() {
    local word
    need mandoc
    pages
    mandoc -Tascii pages/kvctl.1 | col -b | tr -s ' \n' ' ' >kvctl.text
    "$kvctl" --help | sed -n 's/^  kvctl //p' | grep -oE '^[a-z]+( [a-z]+)?' >commands
    [ "$(grep -c . commands)" -gt 20 ] || wrong "kvctl has these commands: $(cat commands)"
    while read -r word; do
        grep -qF " $word " kvctl.text || wrong "kvctl.1 has no command $word"
        # shellcheck disable=SC2086 # a command is one word or two
        "$kvctl" $word --help | sed 1q | grep -o -- '--[a-z][a-z-]*' | sort >"options of $word"
        awk -v head=".It Ic \"$word" '/^\.(It Ic|Sh)/ { on = index($0, head) == 1 } on && /^.It Fl/ { print "-" $3 }' \
            pages/kvctl.1 | sort | cmp - "options of $word" || wrong "kvctl.1 has other options of $word"
    done <commands
    [ "$(cat "options of "* | grep -c .)" -gt 50 ] || wrong "kvctl has these options: $(cat "options of "*)"
    mandoc -Tascii pages/kvfs.8 | col -b | tr -s ' \n' ' ' >kvfs.text
    "$kvfs" -h | sed -n '/^options:/,$s/^  \([a-z_]*\).*/\1/p' >options
    [ "$(grep -c . options)" -gt 15 ] || wrong "kvfs has these options: $(cat options)"
    while read -r word; do
        grep -qE " $word([= ,]|$)" kvfs.text || wrong "kvfs.8 has no option $word"
    done <options
}

# ------------------------------------------------------------------------- completion

filled() {
    kv account create shop
    kv account create shed
    kv namespace create shop/carts
    kv namespace create shop/cars
    kv put shop/carts/bob 1
    kv put shop/carts/bea 1
    kv project create shop/web
    kv binding create shop/web CARTS carts
    export KVFS_STORE=$store
}

# offers WORDS ARGUMENT...: what completion finds for the last argument
offers() {
    local wanted=$1 got
    shift
    got=$("$source/tools/completion/candidates" "$@" | tr '\n' ' ')
    [ "${got% }" = "$wanted" ] || wrong "${*:2}: offers '${got% }', not '$wanted'"
}

case_completion_knows_commands_options_and_names() {
    filled
    offers "account" "$kvctl" acc
    offers "create delete limit list show" "$kvctl" account ''
    offers "shed shop" "$kvctl" account show ''
    offers "shed/ shop/" "$kvctl" get sh
    offers "shop/cars/ shop/carts/" "$kvctl" get shop/
    offers "shop/carts/bea shop/carts/bob" "$kvctl" get shop/carts/b
    offers "shop/cars shop/carts" "$kvctl" list shop/ca
    offers "shop/web" "$kvctl" env shop/
    offers "CARTS" "$kvctl" binding delete shop/web ''
    offers "cars carts" "$kvctl" binding create shop/web NAME ''
    offers "--type" "$kvctl" get shop/carts/bob --ty
    offers "text json" "$kvctl" get shop/carts/bob --type ''
    offers "@directories" "$kvctl" env shop/web --mount ''
    offers "@directories" "$kvctl" --store ''
    offers "txn" "$kvctl" tx
    offers "--file" "$kvctl" txn --fi
    offers "@files" "$kvctl" txn --file ''
    offers "shop" "$kvctl" --store "$store" account show sho
    offers "" "$kvctl" --store "$PWD/absent" account show ''
    offers "" "$kvctl" get shop/absent/
    offers "@directories" "$kvfs" ''
    offers "durability=close durability=fsync" "$kvfs" "$store" "$mnt" -o dura
    offers "ro,nocreate ro,node= ro,nosuid ro,nodev ro,noexec ro,noatime" "$kvfs" -o ro,no
}

# As it is installed.
laid_out() {
    mkdir -p share/kvfs share/bash-completion/completions share/zsh/site-functions
    cp "$source/tools/completion/candidates" share/kvfs/
    cp "$source/tools/completion/kvctl.bash" share/bash-completion/completions/kvctl
    cp "$source/tools/completion/_kvctl" share/zsh/site-functions/
}

case_bash_completes() {
    filled
    laid_out
    cat >try <<'TRY'
. share/bash-completion/completions/kvctl
compopt() { :; }
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
$(complete -p kvctl | sed 's/.*-F \([^ ]*\).*/\1/') "$1"
echo "${COMPREPLY[*]}"
TRY
    same "shop/carts/bea shop/carts/bob" bash try "$kvctl" get shop/carts/b
    same "shop/cars/ shop/carts/" bash try "$kvctl" --store = "$store" get shop/
    same "close" bash try "$kvfs" -o durability = cl
}

case_zsh_completes() {
    need zsh
    filled
    laid_out
    cat >try <<'TRY'
fpath=($PWD/share/zsh/site-functions $fpath)
autoload -Uz _kvctl
words=("$@") CURRENT=$#
compadd() { eval "print -r -- \${${@[-1]}}"; }
_files() { print files }
_kvctl
TRY
    same "shop/carts/bea shop/carts/bob" eval 'zsh -f try "$kvctl" get shop/carts/b | grep .'
    same "shop/cars/ shop/carts/" eval 'zsh -f try "$kvctl" get shop/ | grep .'
    same files eval 'zsh -f try "$kvctl" --store "" | grep .'
}

# --------------------------------------------------------------------- Debian packages

packed() {
    is_release || skip "built with sanitizers"
    need cpack dpkg-deb
    cpack --config "$build/CPackConfig.cmake" -B "$PWD/deb" >out 2>&1 || wrong "cpack: $(tail -3 out)"
    package=$(echo deb/kvfs_*.deb)
}

case_packages_are_as_debian_wants_them() {
    packed
    need lintian
    lintian --allow-root deb/*.deb >out 2>&1
    ! grep -E '^[EW]:' out | grep -v pkg-config-unavailable-for-cross-compilation || wrong "lintian: $(cat out)"
    dpkg-deb -c deb/kvfs-dbgsym_*.deb | grep 'usr/lib/debug/.build-id/../.*\.debug' >out ||
        wrong "there are no debug symbols"
    dpkg-deb -f "$package" Depends >depends
    grep -q 'fuse3.*libfuse3-3' depends || wrong "it depends on $(cat depends)"
}

# In a copy of this machine that is thrown away.
case_a_package_is_installed_mounted_and_purged() {
    packed
    [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null || skip "needs root and mount namespaces"
    ! dpkg-query -W kvfs >/dev/null 2>&1 || skip "kvfs is installed here"
    cat >session <<'SESSION'
cd /
dpkg -i /tmp/kvfs.deb >/tmp/out 2>&1 || { cat /tmp/out; exit 1; }
kvctl --version | sed 's/ .*//'
stat -c '%U %a' /var/lib/kvfs
mkdir /srv/kv /srv/missing
setpriv --reuid=kvfs --regid=kvfs --clear-groups kvctl --store /var/lib/kvfs/main account create shop
echo '/var/lib/kvfs/main /srv/kv fuse.kvfs run_as=kvfs,allow_other 0 0' >>/etc/fstab
echo '/var/lib/kvfs/gone /srv/missing fuse.kvfs run_as=kvfs 0 0' >>/etc/fstab
mount /srv/kv || exit 1
mount /srv/missing 2>/dev/null || echo refused
mkdir /srv/kv/shop/n && echo value >/srv/kv/shop/n/key && cat /srv/kv/shop/n/key
man -w kvfs kvctl kvfs-store kvfs-guide mount.fuse.kvfs >/tmp/out || cat /tmp/out
umount /srv/kv
dpkg --purge kvfs >/tmp/out 2>&1 || cat /tmp/out
ls -A /var/lib/kvfs
rm -r /var/lib/kvfs/main
dpkg -i /tmp/kvfs.deb >/dev/null 2>&1 && dpkg --purge kvfs >/dev/null 2>&1
find /etc /lib /run /srv /usr /var -xdev -path '*/doc-base' -prune -o -newer /tmp/began -name '*kvfs*' -print
SESSION
    touch -d '1 second ago' began
    same "kvctl
kvfs 700
refused
value
main" unshare -m bash -c '
        mkdir root && mount -t tmpfs none root && mkdir root/upper root/work root/all || exit 1
        mount -t overlay -o lowerdir=/,upperdir=root/upper,workdir=root/work none root/all || exit 77
        mount -t tmpfs none root/all/tmp && mount -t proc proc root/all/proc && mount --bind /dev root/all/dev || exit 1
        cp "$1" root/all/tmp/kvfs.deb && cp -p session began root/all/tmp/ && exec chroot root/all bash /tmp/session
        ' - "$package"
    wait_until no_daemons
}

run_cases "$@"
