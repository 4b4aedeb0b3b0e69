#!/bin/bash
# What README.md and kvfs-guide(7) say to type is typed here; and the sessions that README.md shows are drawn again.
# The session of README.md itself is tried in tests/fs/test_scripts.sh, its other commands in those named below.
case_seconds=300
. "$(dirname "$0")/../support/tools.sh"
source=${KVFS_SOURCE_DIR:?names the source tree}
man=$source/tools/man
as_www="setpriv --reuid=www-data --regid=www-data --clear-groups"

# block NAME: prints what stands behind the comment "run: NAME" of the guide, with the paths of this case
block() {
    awk -v name="$1" '/^\.\\" run: / { on = $3 == name } /^\.Ed/ { on = 0 } on && !/^\./' "$man/kvfs-guide.7.in" |
        sed 's/\\e/\\/g; s/runuser -u kvfs -- //; s/ -o kvfs -g kvfs//' |
        sed "s|/srv/main|$mnt|g; s|/var/lib/kvfs/main|$store|g; s|/var/backups/kvfs|$PWD/backups|g" |
        sed "s|/usr/local/share/kvfs|$source/tools|g"
}

# types WHAT...: a shell with a home of its own does it all without a word of error. WHAT is a block of the guide, or,
# where it has a space in it, lines as they are.
types() {
    local what text
    mkdir -p home bin
    ln -sf "$kvfs" bin/kvfs
    ln -sf "$kvctl" bin/kvctl
    for what; do
        text=$what
        [[ $what == *' '* ]] || text=$(block "$what")
        [ -n "$text" ] || wrong "the guide has no block $what"
        printf '%s\n' "$text"
    done >script
    HOME=$PWD/home PATH=$PWD/bin:$PATH bash -e script >out 2>err </dev/null || wrong "exit status $?: $(cat script err)"
    [ ! -s err ] || wrong "said $(cat err)"
}

# for_others: mount $store at $mnt for all users
for_others() {
    [ "$(id -u)" = 0 ] && id www-data >/dev/null 2>&1 || skip "needs root and user www-data"
    chmod 711 "$case_dir" "$(dirname "$case_dir")"
    start -o allow_other || exit 1
}

# crontab NAME: the commands of a block that is a table of /etc/cron.d
crontab() { block "$1" | sed 's/^\([^ ]* *\)\{6\}//; s/\\%/%/g'; }

# ---------------------------------------------------------------------- what there is

# A block is run by a case that names it.
case_every_block_of_the_guide_is_run() {
    local name
    sed -n 's/^\.\\" run: //p' "$man/kvfs-guide.7.in" >names
    [ "$(grep -c . names)" -gt 20 ] || wrong "the guide has these blocks: $(cat names)"
    same "$(grep -c '^\.Bd' "$man/kvfs-guide.7.in")" grep -c . names
    sed ':again; /\\$/ { N; s/\\\n//; t again }' "$source/tests/tools/test_guide.sh" >script
    while read -r name; do
        grep -qE "(types|block|crontab) .*\<${name//./\\.}( |\)|\$)" script || wrong "nobody runs block $name"
    done <names
}

case_every_command_of_the_readme_has_a_test() {
    local link
    # Start, and what to copy: tests/fs/test_scripts.sh; Speed: test_bench.sh; Install: test_install.sh.
    same "## A session to copy
## Install
## Speed
## Start" eval "awk '/^## / { part = \$0 } /^    / { print part }' '$source/README.md' | sort -u"
    while read -r link; do
        [ -e "$source/$link" ] || wrong "README.md leads to $link, which is not there"
    done < <(grep -o '](\([^)]*\))' "$source/README.md" | tr -d ']()')
    [ -s "${KVFS_TEST_RUN:?names the build tree}/tools/man/kvfs-guide.7" ] || wrong "the guide is not in the build tree"
    same "" eval "cd '$source' && awk 'length > 120' README.md t*/*.md tools/man/*.in"
}

case_every_promise_has_its_test() {
    local pattern
    grep -o 'ctest .*-R [^ ]*' "$source/tests/README.md" | sed "s/.* -R //; s/'//g" | tr '|' '\n' >patterns
    [ "$(grep -c . patterns)" -gt 30 ] || wrong "these are tests: $(cat patterns)"
    while read -r pattern; do
        compgen -G "$source/tests/${pattern%/*}/test_${pattern##*/}*" >/dev/null || wrong "there is no test $pattern"
    done <patterns
}

# ------------------------------------------------------------------------------ pictures

# What a terminal shows, but for times and who we are; of `kvctl top`, where all is figures, what they are of.
steady() {
    sed '/kvctl top/,/^\$/ { /^\$/!s/^\( *[^ ]*\).*/\1/ }' |
        sed "s/\<$(id -un)\>/root/g; s/\<$(id -gn)\>/root/g; s/\<[A-Z][a-z][a-z] [ 0-9][0-9] [0-9:]*[0-9]/DATE/g" |
        sed 's/[0-9-]*T[0-9:]*Z/TIME/g'
}

drawn() { sed -n 's/<[^>]*>//g; s/&gt;/>/g; s/&lt;/</g; s/&amp;/\&/g; /./p' "$1"; }

case_pictures_show_what_the_programs_print() {
    local text
    need python3 jq
    mkdir bin
    ln -s "$kvfs" bin/kvfs
    ln -s "$kvctl" bin/kvctl
    for text in "$source"/tools/picture/*.txt; do
        PATH=$PWD/bin:$PATH TMPDIR=$PWD python3 "$source/tools/picture/draw" "$text" >new.svg ||
            wrong "$text: exit status $?"
        steady < <(drawn new.svg) >new
        steady < <(drawn "${text%.txt}.svg") >committed
        [ "$(grep -c '^\$ ' new)" -gt 0 ] || wrong "$text: shows no command"
        cmp -s new committed || wrong "$text: tools/picture/draw it anew: $(diff committed new)"
        [ "$(stat -c %s "${text%.txt}.svg")" -lt 61440 ] || wrong "$text: its picture is large"
    done
    not_mounted "$PWD" || wrong "still mounted"
}

# ------------------------------------------------------------------------------- writing

case_values_are_written_copied_and_restored() {
    need getfattr gzip
    types setup replace flock attributes 'cd ~' backup stream 'kvctl put app/prices/apple 0' goback \
        'cat ~/kv/app/prices/apple ~/kv/app/jobs/count; kvctl --store ~/kv-again get app/prices/apple' dump \
        'kvctl --store ~/kv-copy get app/prices/apple; kvctl ls app/old_prices; fusermount3 -u ~/kv'
    same "3.40
1
3.40
3.40
apple" tail -n 5 out
    grep -q '^user.kvfs.bytes=' out || wrong "printed $(cat out)"
    same "700
600" stat -c %a home/kv-monday home/kv.gz
}

# ------------------------------------------------------------------------------- recipes

case_configuration_is_read_changed_and_watched() {
    types setup config 'echo "$db_host $db_port"' env watch '
soon() { for ((i = 0; i < 600; i++)); do "$@" && return; sleep 0.05; done; echo "not so: $*"; }
soon test -s ~/watched
kvctl put app/conf/db_port 5434
soon test -s ~/changes
cat ~/changes ~/app.env ~/kv/app/conf/db_host; echo
kill %1
wait %1
fusermount3 -u ~/kv'
    same "db1.example.com 5432
put db_port
db_host=db2.example.com
db_port=5433
db2.example.com" cat out
}

case_counters_and_flags() {
    types setup counter 'echo ; ls ~/kv/app' flags '
cd ~/kv/app/flags; ls; cat sale; echo
getfattr -n user.kvfs.expires --only-values sale; echo
cd; fusermount3 -u ~/kv'
    same "1
11
11
counters
on
sale
until the weekend" head -n -1 out
    [ "$(($(date -d "$(tail -n 1 out)" +%s) - $(date +%s)))" -gt 172000 ] || wrong "expires at $(tail -n 1 out)"
}

case_several_keys_and_a_part_of_them() {
    types setup txn 'echo; cat ~/kv/app/stock/apples; echo' views 'fusermount3 -u ~/kv'
    same "10
7
order_1
order_1" eval 'grep . out'
}

case_a_cart_is_filled_by_many_at_once() {
    local save
    need jq
    save="cat >~/cart <<'SCRIPT'"$'\n'"$(block cart)"$'\nSCRIPT'
    types setup "$save" fill '
for i in 1 2 3 4 5; do sh ~/cart alice pears 1 2>>~/conflicts & children="$children $!"; done
for i in $children; do wait $i; done
cat ~/kv/app/carts/alice
sh ~/cart alice pears x 2>/dev/null || echo "refused: $?"
cat ~/kv/app/carts/alice
fusermount3 -u ~/kv'
    same '{"apples":5}
{"apples":5,"pears":5}
refused: 2
{"apples":5,"pears":5}' cat out
    same "" eval 'grep -v "its version is .* now\|exists already" home/conflicts; true'
}

case_mounts_are_watched() {
    types setup watching 'fusermount3 -u ~/kv'
    grep -q "^ *$PWD/home/kv  rw  pid" out || wrong "status: $(cat out)"
    grep -q "^kvctl top " out || wrong "top: $(cat out)"
    same "$PWD/home/kv: healthy, read-write" tail -n 1 out
}

case_secrets_are_for_those_that_may_read_them() {
    local secret=$mnt/vault/web/db_password
    for_others
    types secrets
    # shellcheck disable=SC2086 # several words
    same s3cret $as_www cat "$secret"
    # shellcheck disable=SC2086
    fails_with 'Permission denied' $as_www sh -c "echo x >>'$secret'"
    fails_with 'Permission denied' setpriv --reuid=nobody --regid=nogroup --clear-groups cat "$secret"
    fails_with 'Permission denied' setpriv --reuid=nobody --regid=nogroup --clear-groups ls "$mnt/vault"
    types secrets.put
    # shellcheck disable=SC2086
    same n3w $as_www cat "$secret"
    same "root www-data 640" stat -c '%U %G %a' "$secret"
}

case_sessions_of_php() {
    local i
    local -a children
    need php
    for_others
    types php
    block php.ini >php.ini
    cat >page.php <<'PAGE'
<?php session_id('abc123'); session_start(); $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1; echo $_SESSION['n'], "\n";
PAGE
    for i in 1 2 3 4 5 6 7 8; do
        # shellcheck disable=SC2086
        $as_www php -c php.ini -d session.use_cookies=0 -d session.cache_limiter= page.php >>pages 2>&1 &
        children+=($!)
    done
    wait "${children[@]}"
    same "1 2 3 4 5 6 7 8 " eval 'sort pages | tr "\n" " "'
    same sess_abc123 ls "$mnt/web/sessions"
    types "$(crontab php.cron)"
    same sess_abc123 ls "$mnt/web/sessions"
    touch -d '2 days ago' "$mnt/web/sessions/sess_abc123"
    types "$(crontab php.cron)"
    same "" ls "$mnt/web/sessions"
}

case_pages_by_nginx() {
    local place=$PWD/nginx
    PATH=$PATH:/usr/sbin
    need nginx curl
    start || exit 1
    mkdir -p "$mnt/web/pages" nginx
    kv put web/pages/index '<h1>one</h1>'
    {
        [ "$(id -u)" != 0 ] || echo "user root;"
        echo "pid $place/pid; error_log $place/errors; daemon off; events {}"
        echo "http { access_log off;"
        for i in client_body proxy fastcgi uwsgi scgi; do echo "${i}_temp_path $place/$i;"; done
        block nginx | sed "s|listen 8080|listen unix:nginx/socket|"
        echo "}"
    } >nginx.conf
    nginx -p "$PWD/" -c "$PWD/nginx.conf" &
    wait_until test -S nginx/socket
    same '<h1>one</h1>' curl -sS --unix-socket nginx/socket http://host/pages/index
    same 'text/html' curl -sS -o /dev/null -w '%{content_type}' --unix-socket nginx/socket http://host/pages/index
    kv put web/pages/index '<h1>two</h1>'
    same '<h1>two</h1>' curl -sS --unix-socket nginx/socket http://host/pages/index
    same 404 curl -sS -o /dev/null -w '%{http_code}' --unix-socket nginx/socket http://host/pages/absent
    kill $!
    wait
}

case_a_backup_by_cron() {
    kv account create a
    types backup.dir
    types "$(crontab backup.cron)"
    same "$(date +%F)" ls backups
    same 700 stat -c %a backups
    mkdir backups/old
    touch -d '32 days ago' backups/old
    kv account create b
    types "$(crontab backup.cron | tail -n 1)"
    same "$(date +%F)" ls backups
}

case_variables_of_a_project() {
    types setup project 'cat ~/web.env; fusermount3 -u ~/kv'
    same "alice
CARTS=\"$PWD/home/kv/app/carts_v2\"" cat out
}

case_functions_of_pages() {
    need node
    [ "$(node -p 'Number(process.versions.node.split(".")[0]) >= 20')" = true ] || skip "needs Node 20"
    types setup project 'echo "console.log(await CARTS.get(\"alice\"));" >server.mjs' pages 'fusermount3 -u ~/kv'
    same "alice
1" eval 'grep . out'
}

# ------------------------------------------------------------------------- the other pages

# examples PAGE: what it has below EXAMPLES
examples() { awk '/^\.Sh/ { on = $2 == "EXAMPLES" } on && !/^\./' "$man/$1.in"; }

case_examples_of_the_other_pages() {
    types "$(examples kvctl.1)"
    same '{"pears": 1}' head -n 1 out
    types "$(examples kvfs.8)"
    same '{"apples": 3}' cat out
}

# ------------------------------------------------------------------------- troubleshooting

# symptom WORDS COMMAND...: the command fails with the words of an item of the guide
symptom() {
    sed -n '/^\.Sh TROUBLE/,$ { s/^\.It \(\\&\)*//p }' "$man/kvfs-guide.7.in" | grep -qF -- "$1" ||
        wrong "the guide knows no symptom $1"
    fails_with "$@"
}

# advice COMMAND: the guide has it
advice() { grep -qF -- "$1" "$man/kvfs-guide.7.in" || wrong "the guide does not say $1"; }

case_symptoms_are_known_and_cured() {
    local conf=$mnt/app/conf
    start || exit 1
    mkdir "$mnt/app" "$conf"
    head -c 5000 /dev/zero >five
    kv account limit app --bytes 1K
    symptom 'Disk quota exceeded' cp five "$conf/five"
    advice 'kvctl account show app'
    same '"limit_bytes": 1024,' eval 'kv account show app | grep -o "\"limit_bytes.*"'
    advice 'kvctl account limit app --bytes 4G'
    kv account limit app --bytes 4G
    same "" cp five "$conf/five"
    symptom 'File too large' sh -c "head -c 26214401 /dev/zero >'$conf/large'"
    symptom 'Invalid argument' touch "$conf/a.b"
    advice 'tail ~/kv/.kvfs/errors'
    tail "$mnt/.kvfs/errors" | grep -q 'a key is 1 to 512 letters' || wrong "errors: $(cat "$mnt/.kvfs/errors")"
    symptom 'Operation not permitted' touch "$mnt/app/file"
    symptom 'Operation not permitted' mkdir "$conf/dir"
    # The shell has emptied the key before the command fails, and kvctl has not.
    kv put app/conf/key value
    same value eval "false | kvctl=$kvctl kv put app/conf/key 2>/dev/null; cat '$conf/key'"
    advice 'command | kvctl put app/conf/key'
    same "" eval "false >'$conf/key'; cat '$conf/key'"
}

case_symptoms_of_mounts_are_known_and_cured() {
    start || exit 1
    mkdir "$mnt/app"
    symptom 'Device or resource busy' sh -c "cd '$mnt' && fusermount3 -u '$mnt'"
    kill -9 "$(daemons)"
    wait_until no_daemons
    stat "$mnt/app" >/dev/null 2>&1 # may wait for the connection's end
    symptom 'Transport endpoint is not connected' stat "$mnt/app"
    start
    same app ls "$mnt"
    stop
    symptom 'no store there: check the path' "$kvfs" "$store.absent" "$mnt" -o nocreate
    chmod 755 "$store"
    symptom 'other users have rights on the directory' "$kvfs" "$store" "$mnt"
    grep -qF 'chmod go= STORE STORE/data.mdb' "$man/kvfs-store.5.in" || wrong "kvfs-store(5) does not say chmod"
    chmod go= "$store" "$store/data.mdb"
    start
}

case_symptoms_of_users_are_known() {
    local as_nobody="setpriv --reuid=nobody --regid=nogroup --clear-groups"
    [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null || skip "needs root and mount namespaces"
    # shellcheck disable=SC2086 # several words
    $as_nobody test -x "$kvfs" || skip "others cannot get to the programs"
    # shellcheck disable=SC2016 # the shell within expands it
    symptom "option allow_other only allowed if 'user_allow_other' is set" where_nobody_can_mount '
        cd "$2" && mkdir mnt && chown nobody mnt && umount /etc/fuse.conf || exit 0
        ! grep -q "^user_allow_other" /etc/fuse.conf || mount --bind /dev/null /etc/fuse.conf
        '"$as_nobody"' "$1" store mnt -o allow_other' "$kvfs" "$case_dir/theirs"
    rm -r "$case_dir/theirs"
    # shellcheck disable=SC2016
    symptom 'Permission denied' where_nobody_can_mount '
        cd "$2" && mkdir mnt && chown nobody mnt && '"$as_nobody"' "$1" store mnt || exit 0
        ls mnt
        status=$?
        umount mnt
        exit $status' "$kvfs" "$case_dir/theirs"
    rm -r "$case_dir/theirs"
    # shellcheck disable=SC2016
    symptom '/dev/fuse: Permission denied' where_nobody_can_mount '
        cd "$2" && mkdir mnt && chown nobody mnt && chmod 600 /dev/fuse || exit 0
        '"$as_nobody"' "$1" store mnt' "$kvfs" "$case_dir/theirs"
}

run_cases "$@"
