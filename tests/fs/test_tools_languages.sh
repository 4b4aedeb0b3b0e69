#!/bin/bash
# Keys as files of programs in bash, awk, Python and JavaScript.
case_seconds=240
. "$(dirname "$0")/../support/tools.sh"

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

run_cases "$@"
