#!/bin/bash
# Programs that people use, on a mount: each leaves exactly the keys that it should, and their bytes.
case_seconds=90
. "$(dirname "$0")/../support/tools.sh"

# ------------------------------------------------------------------- changing in place

case_sed_in_place() {
    ready
    seq 1000 >"$n/numbers"
    chmod 640 "$n/numbers"
    seq 1000 | sed 's/7/seven/' >wanted
    sed -i 's/7/seven/' "$n/numbers" || wrong "sed: exit status $?"
    holds wanted numbers
    only numbers
    same 640 stat -c %a "$n/numbers"
}

case_sed_in_place_of_many_keys() {
    local i
    ready
    for i in 1 2 3 4 5; do echo "old $i" >"$n/k$i"; done
    sed -i s/old/new/ "$n"/k* || wrong "sed: exit status $?"
    for i in 1 2 3 4 5; do says "new $i" k$i; done
    only k1 k2 k3 k4 k5
}

case_sed_cannot_keep_a_backup_whose_name_is_no_key() {
    ready
    echo old >"$n/k"
    fails_with "Invalid argument" sed -i.bak s/old/new/ "$n/k"
    says old k
    only k
    sed -i'*_bak' s/old/new/ "$n/k" || wrong "sed: exit status $?"
    says new k
    says old k_bak
    only k k_bak
}

case_perl_in_place() {
    need perl
    ready
    seq 1000 >"$n/numbers"
    chmod 600 "$n/numbers"
    seq 1000 | sed 's/7/seven/' >wanted
    perl -pi -e 's/7/seven/' "$n/numbers" || wrong "perl: exit status $?"
    holds wanted numbers
    only numbers
    same 600 stat -c %a "$n/numbers"
    perl -pi'*_old' -e 's/seven/7/' "$n/numbers" || wrong "perl: exit status $?"
    holds wanted numbers_old
    seq 1000 >wanted
    holds wanted numbers
    only numbers numbers_old
}

case_sort_onto_its_own_input() {
    ready
    seq 5000 | sort -R --random-source=<(yes) >"$n/k"
    sort -n -o "$n/k" "$n/k" || wrong "sort: exit status $?"
    seq 5000 >wanted
    holds wanted k
    only k
}

case_sort_with_its_temporary_files_in_the_namespace() {
    ready
    seq 20000 | sort -R --random-source=<(yes) >"$n/k"
    sort -n -S 64K -T "$n" -o "$n/sorted" "$n/k" || wrong "sort: exit status $?"
    seq 20000 >wanted
    holds wanted sorted
    only k sorted
}

case_shuf() {
    ready
    seq 1000 >"$n/k"
    shuf -o "$n/k" "$n/k" || wrong "shuf: exit status $?"
    seq 1000 >wanted
    cmp -s wanted "$n/k" && wrong "not shuffled"
    sort -n "$n/k" | cmp - wanted || wrong "lines were lost"
    only k
    same 10 wc -l < <(shuf -n 10 "$n/k")
}

case_truncate_makes_shorter_and_longer() {
    ready
    echo 0123456789 >"$n/k"
    truncate -s 4 "$n/k" || wrong "truncate: exit status $?"
    printf 0123 >wanted
    holds wanted k
    truncate -s +2 "$n/k" "$n/new" || wrong "truncate: exit status $?"
    printf '0123\0\0' >wanted
    holds wanted k
    printf '\0\0' >wanted
    holds wanted new
    only k new
}

# ----------------------------------------------------------------------------- writing

case_tee_and_tee_append() {
    ready
    echo one | tee "$n/k" "$n/copy" >out || wrong "tee: exit status $?"
    echo two | tee -a "$n/k" "$n/new" >>out || wrong "tee -a: exit status $?"
    holds out k
    says one copy
    says two new
    only copy k new
}

case_dd() {
    ready
    seq 100000 >numbers
    dd if=numbers of="$n/k" bs=4k status=none || wrong "dd: exit status $?"
    holds numbers k
    printf X | dd of="$n/k" bs=1 seek=5000 conv=notrunc status=none || wrong "dd conv=notrunc: exit status $?"
    printf X | dd of=numbers bs=1 seek=5000 conv=notrunc status=none
    holds numbers k
    dd if="$n/k" of="$n/part" bs=1k skip=3 count=2 conv=fsync status=none || wrong "dd skip: exit status $?"
    tail -c +3073 numbers | head -c 2048 >wanted
    holds wanted part
    dd if=numbers of="$n/k" bs=64k oflag=append conv=notrunc status=none || wrong "dd oflag=append: exit status $?"
    cat numbers numbers >wanted
    holds wanted k
    dd if="$n/k" of="$n/direct" bs=64k iflag=direct oflag=direct status=none || wrong "dd direct: exit status $?"
    holds wanted direct
    only direct k part
}

case_dd_up_to_the_limit_and_not_beyond() {
    ready
    head -c 26214400 /dev/urandom >wanted
    dd if=wanted of="$n/k" bs=1M status=none || wrong "dd: exit status $?"
    holds wanted k
    fails_with "File too large" dd if=/dev/zero of="$n/k" bs=1M count=1 oflag=append conv=notrunc
    holds wanted k
    only k
}

case_split_and_cat() {
    ready
    seq 10000 >numbers
    split -b 10000 numbers "$n/part_" || wrong "split: exit status $?"
    only part_aa part_ab part_ac part_ad part_ae
    cat "$n"/part_* | cmp - numbers || wrong "the parts are not the whole"
    cat "$n"/part_* >"$n/whole" || wrong "cat: exit status $?"
    holds numbers whole
    csplit -s -f "$n/c" -n 1 numbers 100 200 || wrong "csplit: exit status $?"
    cat "$n"/c[012] | cmp - numbers || wrong "the pieces are not the whole"
}

case_jq() {
    need jq
    ready
    echo '{"b":[1,2,{"c":null}],"a":"text"}' >"$n/in_json"
    jq -S . "$n/in_json" >"$n/out_json" || wrong "jq: exit status $?"
    jq -S . <"$n/in_json" >wanted
    holds wanted out_json
    same text jq -r .a "$n/out_json"
    jq '.b += [3]' "$n/in_json" >"$n/tmp" && mv "$n/tmp" "$n/in_json" || wrong "jq and mv: exit status $?"
    same 3 jq '.b[-1]' "$n/in_json"
    only in_json out_json
}

case_curl_writes_to_a_key() {
    need curl
    ready
    seq 50000 >numbers
    curl -sS -o "$n/k" "file://$PWD/numbers" || wrong "curl -o: exit status $?"
    holds numbers k
    echo short >short
    curl -sS -o "$n/k" "file://$PWD/short" || wrong "curl -o, over a longer value: exit status $?"
    holds short k
    curl -sS "file://$n/k" >out || wrong "curl file://: exit status $?"
    cmp out short || wrong "curl read something else"
    (cd "$n" && curl -sS -O "file://$case_dir/here/numbers") || wrong "curl -O: exit status $?"
    holds numbers numbers
    only k numbers
}

case_mktemp_and_mv_replace_a_key() {
    local new
    ready
    echo old >"$n/k"
    new=$(mktemp "$n/tmp_XXXXXX") || wrong "mktemp: exit status $?"
    echo new >"$new"
    mv "$new" "$n/k" || wrong "mv: exit status $?"
    says new k
    only k
}

case_patch_and_diff() {
    need patch diff
    ready
    seq 100 >old
    seq 100 | sed s/50/fifty/ >new
    cp old "$n/k"
    diff -u "$n/k" new >changes
    patch -s "$n/k" changes || wrong "patch: exit status $?"
    holds new k
    only k
    same "" diff "$n/k" new
}

# ----------------------------------------------------------------------------- reading

case_git_hashes_a_key() {
    need git
    ready
    seq 100000 >numbers
    cp numbers "$n/k"
    same "$(git hash-object numbers)" git hash-object "$n/k"
    same "$(git hash-object numbers)" git hash-object --stdin <"$n/k"
    echo 1 >"$n/k"
    same "$(echo 1 | git hash-object --stdin)" git hash-object "$n/k"
    only k
}

case_sqlite3_reads_a_database() {
    need sqlite3
    ready
    sqlite3 base 'create table t (i integer primary key, s text);
        with recursive c(x) as (select 1 union all select x + 1 from c where x < 5000)
        insert into t select x, hex(x) from c;'
    cp base "$n/base"
    same "5000|12502500" sqlite3 "$n/base" 'select count(*), sum(i) from t'
    same 31323334 sqlite3 "file:$n/base?mode=ro" 'select s from t where i = 1234'
    same 31323334 sqlite3 "file:$n/base?immutable=1" 'select s from t where i = 1234'
    same ok sqlite3 "$n/base" 'pragma integrity_check'
    holds base base
    only base
}

# A journal beside the database has a name that no key can have.
case_sqlite3_writes_only_with_its_journal_in_memory() {
    need sqlite3
    ready
    sqlite3 base 'create table t (i integer); insert into t values (1);'
    cp base "$n/base"
    fails_with "unable to open database file" sqlite3 "$n/base" 'insert into t values (2)'
    holds base base
    sqlite3 "$n/base" 'pragma journal_mode = memory; insert into t values (2)' >out || wrong "sqlite3: exit status $?"
    same 3 sqlite3 "$n/base" 'select sum(i) from t'
    kv get a/n/base >copy
    same 3 sqlite3 copy 'select sum(i) from t'
    only base
}

case_checksums_and_comparisons() {
    ready
    seq 30000 >one
    seq 30001 >two
    cp one two "$n"
    (cd "$n" && sha256sum one two) >sums || wrong "sha256sum: exit status $?"
    same "one: OK
two: OK" sha256sum -c sums
    cmp one "$n/one" || wrong "cmp finds a difference"
    cmp -s "$n/one" "$n/two" && wrong "cmp finds no difference"
    same 30001 tail -n 1 "$n/two"
    same 12345 sed -n 12345p "$n/one"
    same "  30001 $n/two" wc -l "$n/two" | sed 's/^ *//'
    same "$n/two:30001" grep -r -x 30001 "$n"
    same "$(md5sum <one)" md5sum <"$n/one"
    same "$(tac one | head -n 3)" tac "$n/one" | head -n 3
}

case_compressors() {
    local program
    ready
    seq 30000 >"$n/k"
    for program in gzip bzip2 xz; do
        command -v $program >/dev/null || continue
        $program -c "$n/k" >"$n/packed" || wrong "$program: exit status $?"
        $program -dc "$n/packed" >"$n/unpacked" || wrong "$program -d: exit status $?"
        cmp "$n/k" "$n/unpacked" || wrong "$program: not the same"
        fails_with "Invalid argument" $program -k "$n/k"
    done
    only k packed unpacked
}

case_programs_and_scripts_run_from_keys() {
    ready
    cp /bin/echo "$n/program"
    same "hello world" "$n/program" hello world
    printf '#!/bin/sh\necho "$1, $1"\n' >"$n/script"
    chmod +x "$n/script"
    same "here, here" "$n/script" here
    same "there, there" sh "$n/script" there
    . <(echo "answer=42"; cat "$n/script" | head -c 0)
    echo answer=43 >"$n/settings"
    . "$n/settings"
    [ "$answer" = 43 ] || wrong "sourcing a key"
}

# ------------------------------------------------------------------------- many keys

case_find() {
    local i
    ready
    for i in 1 2 3 4 5 6 7 8 9; do head -c $((i * 1000)) /dev/zero >"$n/k$i"; done
    touch -d 2001-02-03 "$n/k5"
    same "$n/k9" find "$n" -size +8500c
    same "$n/k5" find "$n" -type f ! -newermt 2002-01-01
    same 9 find "$mnt/a" -type f -printf . | wc -c
    find "$n" -name 'k[1-3]' -exec cp {} "$n/copy" \; || wrong "find -exec: exit status $?"
    find "$n" -name 'k[1-8]' -delete || wrong "find -delete: exit status $?"
    only copy k9
    find "$mnt/a" -mindepth 1 -delete || wrong "find -delete: exit status $?"
    same "" ls -A "$mnt/a"
}

case_find_deletes_two_thousand_keys() {
    ready
    (cd "$n" && seq -f 'k%04g' 2000 | xargs touch) || wrong "touch: exit status $?"
    same 2000 find "$n" -type f -printf x\\n | grep -c x
    find "$n" -name 'k*' -delete || wrong "find -delete: exit status $?"
    same "" ls -A "$n"
    same "" kv list a/n --all
}

case_xargs_in_parallel() {
    ready
    export n
    seq 200 | xargs -P 8 -n 5 sh -c 'for i; do echo "value $i" >"$n/k$i" || exit 1; done' sh || wrong "put: status $?"
    same 200 ls "$n" | wc -l
    seq 200 | xargs -P 8 -I{} sh -c '[ "$(cat "$n/k{}")" = "value {}" ]' || wrong "get: status $?"
    seq 200 | xargs -P 8 -n 1 sh -c 'echo "$1" >>"$n/all"' sh || wrong "append: status $?"
    seq 200 | cmp - <(sort -n "$n/all") || wrong "appends were lost"
    ls "$n"/k* | xargs -P 8 -n 10 rm || wrong "rm: status $?"
    only all
}

# --------------------------------------------------------------------------- scripts

case_bash_redirections() {
    local line fd
    ready
    cat >"$n/text" <<TEXT
line 1
line 2
TEXT
    printf 'line 1\nline 2\n' >wanted
    holds wanted text
    { echo a; echo b; } >"$n/k"
    for line in c d; do echo $line; done >>"$n/k"
    printf 'a\nb\nc\nd\n' >wanted
    holds wanted k
    exec {fd}<>"$n/k"
    read -r line <&$fd
    [ "$line" = a ] || wrong "read $line"
    echo X >&$fd
    exec {fd}>&-
    printf 'a\nX\nc\nd\n' >wanted
    holds wanted k
    (set -C && echo over >"$n/k") 2>err && wrong "noclobber"
    holds wanted k
    (set -C && echo new >"$n/fresh") || wrong "noclobber of what is not there"
    says new fresh
    : >"$n/k"
    [ -e "$n/k" ] && [ ! -s "$n/k" ] || wrong "not emptied"
    while read -r line; do echo "<$line>"; done <"$n/text" >"$n/out"
    printf '<line 1>\n<line 2>\n' >wanted
    holds wanted out
    [ "$n/out" -nt "$n/text" ] || wrong "-nt"
    line=$(<"$n/fresh")
    [ "$line" = new ] || wrong "\$(<key): $line"
    only fresh k out text
}

case_a_here_document_replaces_a_longer_value() {
    ready
    seq 10000 >"$n/k"
    cat <<<short >"$n/k"
    says short k
}

case_python() {
    need python3
    ready
    python3 - "$n" <<'PROGRAM' || wrong "python: exit status $?"
import json, mmap, os, pathlib, shutil, sys, tempfile

n = pathlib.Path(sys.argv[1])
(n / "text").write_text("one\ntwo\n")
assert (n / "text").read_text() == "one\ntwo\n"
with open(n / "text", "a") as f:
    f.write("three\n")
with open(n / "text", "r+") as f:
    assert f.readline() == "one\n"
    f.seek(0)
    f.write("ONE")
assert (n / "text").read_text() == "ONE\ntwo\nthree\n"
try:
    open(n / "text", "x")
    assert False
except FileExistsError:
    pass
with open(n / "json", "w") as f:
    json.dump({"a": [1, 2]}, f)
assert json.load(open(n / "json")) == {"a": [1, 2]}
with tempfile.NamedTemporaryFile("w", dir=n, delete=False) as f:
    f.write("replaced")
os.replace(f.name, n / "json")
with tempfile.TemporaryFile(dir=n) as f:
    f.write(b"x" * 100000)
    f.seek(0)
    assert len(f.read()) == 100000
shutil.copyfile(n / "json", n / "copy")
shutil.copy2(n / "json", n / "copy2")
assert os.stat(n / "copy2").st_mtime_ns == os.stat(n / "json").st_mtime_ns
with open(n / "mapped", "w+b") as f:
    f.truncate(10000)
    with mmap.mmap(f.fileno(), 10000) as m:
        m[5000:5005] = b"hello"
with open(n / "mapped", "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
    assert m.find(b"hello") == 5000
with os.scandir(n) as entries:
    assert {e.name: e.stat().st_size for e in entries} == {
        "text": 14, "json": 8, "copy": 8, "copy2": 8, "mapped": 10000}
os.rename(n / "copy", n / "moved")
os.unlink(n / "copy2")
fd = os.open(n / "low", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
assert os.pwritev(fd, [b"ab", b"cd"], 2) == 4
os.ftruncate(fd, 5)
assert os.pread(fd, 10, 0) == b"\0\0abc"
os.fsync(fd)
os.close(fd)
PROGRAM
    only json low mapped moved text
    printf 'ONE\ntwo\nthree\n' >wanted
    holds wanted text
    printf replaced >wanted
    holds wanted json
    holds wanted moved
    { head -c 5000 /dev/zero; printf hello; head -c 4995 /dev/zero; } >wanted
    holds wanted mapped
    printf '\0\0abc' >wanted
    holds wanted low
}

case_python_dbm_and_pickle() {
    need python3
    ready
    python3 - "$n" <<'PROGRAM' || wrong "python: exit status $?"
import csv, io, pickle, sys, zipfile

n = sys.argv[1]
data = {"a": list(range(1000)), "b": None}
pickle.dump(data, open(n + "/pickled", "wb"))
assert pickle.load(open(n + "/pickled", "rb")) == data
with zipfile.ZipFile(n + "/zip", "w") as z:
    z.writestr("one.txt", "1" * 10000)
    z.writestr("two.txt", "2" * 10000)
with zipfile.ZipFile(n + "/zip", "a") as z:
    z.writestr("three.txt", "3")
assert zipfile.ZipFile(n + "/zip").testzip() is None
assert zipfile.ZipFile(n + "/zip").read("three.txt") == b"3"
with open(n + "/csv", "w", newline="") as f:
    csv.writer(f).writerows([[1, "x"], [2, "y,z"]])
assert list(csv.reader(open(n + "/csv", newline=""))) == [["1", "x"], ["2", "y,z"]]
PROGRAM
    only csv pickled zip
}

case_node() {
    need node
    ready
    cat >program.js <<'PROGRAM'
const fs = require('fs'), path = require('path'), assert = require('assert');
const n = process.argv[2], key = name => path.join(n, name);

async function main() {
    fs.writeFileSync(key('text'), 'one\n');
    fs.appendFileSync(key('text'), 'two\n');
    assert.strictEqual(fs.readFileSync(key('text'), 'utf8'), 'one\ntwo\n');
    await Promise.all([...Array(50).keys()].map(i => fs.promises.writeFile(key('p' + i), 'value ' + i)));
    const names = (await fs.promises.readdir(n)).filter(name => name.startsWith('p'));
    assert.strictEqual(names.length, 50);
    for (const name of names)
        assert.strictEqual(await fs.promises.readFile(key(name), 'utf8'), 'value ' + name.slice(1));
    await Promise.all(names.map(name => fs.promises.unlink(key(name))));
    fs.copyFileSync(key('text'), key('copy'));
    fs.renameSync(key('copy'), key('moved'));
    await new Promise((resolve, reject) => {
        const stream = fs.createWriteStream(key('stream'));
        stream.on('finish', resolve).on('error', reject);
        for (let i = 1; i <= 10000; i++)
            stream.write(i + '\n');
        stream.end();
    });
    const file = await fs.promises.open(key('text'), 'r+');
    await file.write('ONE', 0);
    await file.sync();
    await file.close();
    assert.throws(() => fs.readFileSync(key('absent')), {code: 'ENOENT'});
    assert.throws(() => fs.mkdirSync(key('directory')), {code: 'EPERM'});
    assert.throws(() => fs.writeFileSync(key('no.key'), ''), {code: 'EINVAL'});
}
main().catch(error => { console.error(error); process.exit(1); });
PROGRAM
    node program.js "$n" || wrong "node: exit status $?"
    only moved stream text
    printf 'ONE\ntwo\n' >wanted
    holds wanted text
    printf 'one\ntwo\n' >wanted
    holds wanted moved
    seq 10000 >wanted
    holds wanted stream
}

case_awk_reads_and_writes() {
    need awk
    ready
    seq 1000 >"$n/in"
    awk -v out="$n/out" '{ sum += $1; print $1 * 2 >out } END { print sum }' "$n/in" >"$n/sum" || wrong "awk: status $?"
    says 500500 sum
    seq 2 2 2000 >wanted
    holds wanted out
    only in out sum
}

# -------------------------------------------------------------- what is said where it cannot be

case_names_that_are_no_keys_are_refused_with_the_reason() {
    ready
    echo value >file.txt
    fails_with "Invalid argument" cp file.txt "$n"
    fails_with "Invalid argument" touch "$n/.hidden"
    fails_with "Invalid argument" cp file.txt "$n/.file.swp"
    (echo lost >"$n/.dotfile") 2>err && wrong "redirection to a dotfile"
    grep -q "Invalid argument" err || wrong "said $(cat err)"
    fails_with "Invalid argument" mv file.txt "$n"
    same value cat file.txt
    fails_with "Operation not permitted" ln "$n/nothing" "$n/k" || true
    echo value >"$n/k"
    fails_with "Operation not permitted" ln "$n/k" "$n/link"
    fails_with "Operation not permitted" ln -s k "$n/link"
    fails_with "Operation not permitted" mkdir "$n/directory"
    fails_with "Operation not permitted" mkfifo "$n/fifo"
    only k
}

run_cases "$@"
