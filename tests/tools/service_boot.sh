#!/bin/bash
# usage: service_boot.sh DIR KVCTL UNIT
#
# In namespaces of its own (unshare -pfmCuin): let systemd be the first process, with nothing to start but kvfs@main,
# which is made of UNIT, and DIR/probe. What the probe says comes into DIR/out. Nothing outside of DIR is changed.
set -eu
dir=$1 kvctl=$2 unit=$3

mount --make-rprivate /
mount -t proc proc /proc
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
mkdir "$dir"/{units,etc,dev,srv,lib}
mount -t tmpfs none "$dir/dev"
for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 kmsg:1:3 console:1:3 tty:5:0 fuse:10:229; do
    IFS=: read -r name major minor <<<"$device"
    mknod -m 666 "$dir/dev/$name" c "$major" "$minor"
done
mkdir "$dir/dev/shm"
ln -s /proc/self/fd "$dir/dev/fd"

# A system with one service, and the targets that every unit wants.
for target in sysinit basic shutdown local-fs multi-user umount final emergency rescue; do
    printf '[Unit]\nDefaultDependencies=no\n' >"$dir/units/$target.target"
done
printf '[Unit]\nDefaultDependencies=no\nWants=kvfs@main.service probe.service\n' >"$dir/units/test.target"
printf '[Unit]\nDefaultDependencies=no\nAfter=kvfs@main.service
[Service]\nType=oneshot\nExecStart=/bin/bash %s/probe\nStandardOutput=append:%s/out\nStandardError=append:%s/out\n' \
    "$dir" "$dir" "$dir" >"$dir/units/probe.service"
sed "s#/var/lib/kvfs#$dir/lib#g; s#=/srv#=$dir/srv#g
    s#^User=#Environment=ASAN_OPTIONS=detect_leaks=0\n&#" "$unit" >"$dir/units/kvfs@.service"
{ grep -v '^kvfs:' /etc/passwd && echo kvfs:x:991:991::/nonexistent:/usr/sbin/nologin; } >"$dir/etc/passwd"
{ grep -v '^kvfs:' /etc/group && echo kvfs:x:991:; } >"$dir/etc/group"
mkdir "$dir/etc/empty" "$dir/srv/main"
chown 991:991 "$dir/lib"
chmod 700 "$dir/lib"

mount --bind "$dir/dev" /dev
mount -t tmpfs none /run
mount --bind "$dir/units" /lib/systemd/system
mount --bind "$dir/etc/empty" /etc/systemd/system
mount --bind "$dir/etc/passwd" /etc/passwd
mount --bind "$dir/etc/group" /etc/group
mount -t tmpfs none /var/lib/systemd
mount -t tmpfs none /var/log
setpriv --reuid=kvfs --regid=kvfs --clear-groups "$kvctl" --store "$dir/lib/main" account create shop --owner nobody
setpriv --reuid=kvfs --regid=kvfs --clear-groups "$kvctl" --store "$dir/lib/main" namespace create shop/n
export container=lxc dir
exec /lib/systemd/systemd --system --unit=test.target --show-status=no --log-target=null
