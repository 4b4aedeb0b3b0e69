#!/bin/bash
# tools/pages: the KV interface of EdgeOne Pages for Node, over a mount.
. "$(dirname "$0")/../support/tools.sh"
pages=${KVFS_SOURCE_DIR:?names the source tree}/tools/pages

bound() {
    need node
    [ "$(node -p 'Number(process.versions.node.split(".")[0]) >= 18')" = true ] || skip "needs Node 18"
    ready "$@"
    kv project create a/p
    kv binding create a/p my_kv n
    cat >begin.mjs <<PROGRAM
import assert from 'node:assert';
import * as fs from 'node:fs';
import { namespace, KvError } from '$pages/kv.mjs';
const my_kv = namespace(process.env.my_kv);
const dir = process.env.my_kv;
const refused = (promise, code, words) => assert.rejects(promise, (error) => {
  assert(error instanceof KvError, String(error));
  assert.strictEqual(error.code, code);
  assert(error.message.includes(words), error.message);
  return true;
});
PROGRAM
}

# runs: the program on standard input, behind begin.mjs, ends well with the project's variables
runs() {
    cat begin.mjs - >program.mjs
    kv run a/p --mount "$mnt" -- node program.mjs >out 2>err || wrong "exit status $?: $(head -c 1000 err)"
    [ ! -s err ] || wrong "said $(head -c 1000 err)"
}

# The service's own example: it counts the visits of a page, and knows nothing of files.
case_the_example_function_of_the_service_counts_visits() {
    bound
    cat >function.mjs <<'PROGRAM'
export async function onRequest({ request, params, env }) {
  const visitCount = await my_kv.get('visitCount');
  let visitCountInt = Number(visitCount);
  visitCountInt += 1;
  await my_kv.put('visitCount', visitCountInt.toString());

  const res = JSON.stringify({
    visitCount: visitCountInt,
  });

  return new Response(res, {
    headers: {
      'content-type': 'application/json; charset=UTF-8',
      'Access-Control-Allow-Origin': '*',
    },
  });
}
PROGRAM
    cat >server.mjs <<'PROGRAM'
import { onRequest } from './function.mjs';
const answer = await onRequest({ request: new Request('http://localhost/'), params: {}, env: {} });
console.log(answer.headers.get('content-type'), await answer.text());
PROGRAM
    for count in 1 2 3; do
        same "application/json; charset=UTF-8 {\"visitCount\":$count}" \
            kv run a/p --mount "$mnt" -- node --import "$pages/globals.mjs" server.mjs
    done
    same 3 kv get a/n/visitCount
    # What is no namespace of a mount becomes no global, and no global is replaced.
    same "object undefined undefined function" env my_dir="$PWD" above="$mnt/a" fetch="$n" \
        "$kvctl" --store "$store" run a/p --mount "$mnt" -- node --import "$pages/globals.mjs" -p \
        '[typeof my_kv, typeof my_dir, typeof above, typeof fetch].join(" ")'
}

case_a_value_is_read_in_each_type() {
    bound
    runs <<'PROGRAM'
assert.strictEqual(await my_kv.put('text', 'grüße\n'), undefined);
assert.strictEqual(await my_kv.get('text'), 'grüße\n');
assert.strictEqual(await my_kv.get('text', 'text'), 'grüße\n');
assert.strictEqual(await my_kv.get('text', { type: 'text' }), 'grüße\n');
assert.strictEqual(await my_kv.get('text', {}), 'grüße\n');
await my_kv.put('json', JSON.stringify({ apples: [1, 2, { red: true }] }));
assert.deepStrictEqual(await my_kv.get('json', { type: 'json' }), { apples: [1, 2, { red: true }] });
await assert.rejects(my_kv.get('text', 'json'), SyntaxError);
const bytes = Uint8Array.from({ length: 100000 }, (_, i) => i % 256);
await my_kv.put('view', bytes.subarray(1));
await my_kv.put('buffer', bytes.buffer);
await my_kv.put('stream', new Blob([bytes]).stream());
const buffer = await my_kv.get('buffer', { type: 'arrayBuffer' });
assert(buffer instanceof ArrayBuffer);
assert.deepStrictEqual(new Uint8Array(buffer), bytes);
assert.deepStrictEqual(new Uint8Array(await my_kv.get('view', 'arrayBuffer')), bytes.slice(1));
const stream = await my_kv.get('stream', { type: 'stream' });
assert(stream instanceof ReadableStream);
await my_kv.put('stream', 'other'); // the stream goes on with the value that it began with
assert.deepStrictEqual(new Uint8Array(await new Response(stream).arrayBuffer()), bytes);
assert.strictEqual(await my_kv.get('stream'), 'other');
await assert.rejects(my_kv.get('text', 'xml'), TypeError);
await assert.rejects(my_kv.put('text', 5), TypeError);
await assert.rejects(my_kv.put('text', null), TypeError);
assert.throws(() => namespace('relative'), TypeError);
PROGRAM
    same 'grüße' kv get a/n/text
    only buffer json stream text view
}

case_absent_and_empty_are_null_and_damage_is_not() {
    bound
    runs <<'PROGRAM'
for (const type of ['text', 'json', 'arrayBuffer', 'stream']) {
  assert.strictEqual(await my_kv.get('absent', { type }), null);
  await my_kv.put('empty', '');
  assert.strictEqual(await my_kv.get('empty', { type }), null);
}
await my_kv.delete('empty');
await my_kv.delete('empty');
assert.strictEqual(fs.existsSync(dir + '/empty'), false);
const gone = namespace(dir + '_gone');
for (const type of ['text', 'stream']) await refused(gone.get('key', type), 'ENOENT', 'the namespace is gone');
await refused(gone.put('key', ''), 'ENOENT', 'the namespace is gone');
await refused(gone.delete('key'), 'ENOENT', 'the namespace is gone');
await refused(gone.list(), 'ENOENT', 'the namespace is gone');
PROGRAM
}

case_limits_are_errors() {
    bound
    runs <<'PROGRAM'
const most = 'k'.repeat(512);
await my_kv.put(most, 'value');
assert.strictEqual(await my_kv.get(most), 'value');
await my_kv.delete(most);
for (const key of ['', 'a.b', 'a/b', '..', 'a-b', 'é', 'k'.repeat(513), 5, null, undefined, 'a\n'])
  for (const call of [my_kv.get(key), my_kv.put(key, 'x'), my_kv.delete(key)])
    await refused(call, 'EINVAL', '1 to 512 letters');
await my_kv.put('large', new Uint8Array(26214400));
assert.strictEqual((await my_kv.get('large', 'arrayBuffer')).byteLength, 26214400);
await refused(my_kv.put('large', new Uint8Array(26214401)), 'EFBIG', '25 MiB');
await refused(my_kv.put('large', new Blob([new Uint8Array(26214401)]).stream()), 'EFBIG', '25 MiB');
assert.strictEqual((await my_kv.get('large', 'arrayBuffer')).byteLength, 26214400);
// Many at once find room.
await Promise.all(Array.from({ length: 6 }, () => my_kv.put('large', new Uint8Array(20000000))));
assert.deepStrictEqual(fs.readdirSync(dir), ['large']);
PROGRAM
    kv account limit a --bytes 20001000
    runs <<'PROGRAM'
await refused(my_kv.put('more', 'x'.repeat(5000)), 'EDQUOT', 'the account is full');
assert.strictEqual(await my_kv.get('more'), null);
await my_kv.put('more', 'x'.repeat(500));
await refused(my_kv.put('more', 'y'.repeat(5000)), 'EDQUOT', 'the account is full');
assert.strictEqual(await my_kv.get('more'), 'x'.repeat(500));
assert.deepStrictEqual(fs.readdirSync(dir), ['large', 'more']);
PROGRAM
    stop
    start -o ro
    runs <<'PROGRAM'
await refused(my_kv.put('more', 'x'), 'EROFS', 'mounted read-only');
await refused(my_kv.delete('more'), 'EROFS', 'mounted read-only');
PROGRAM
}

case_pages_lead_through_all_keys() {
    bound
    runs <<'PROGRAM'
const lists = async (options, keys, cursor = null) => assert.deepStrictEqual(await my_kv.list(options),
  { complete: cursor === null, cursor, keys: keys.map((key) => ({ key })) });
await lists(undefined, []);
for (const key of ['b', 'B', '_', '0']) await my_kv.put(key, 'value');
await lists({}, ['0', 'B', '_', 'b']);
await lists({ limit: 2 }, ['0', 'B'], '_');
await lists({ limit: 2, cursor: '_' }, ['_', 'b']);
const all = Array.from({ length: 1000 }, (_, i) => 'key_' + String(i).padStart(4, '0'));
await Promise.all(all.map((key) => my_kv.put(key, key)));
fs.writeFileSync(dir + '/key_0001.tmp', 'no key');
const seen = [];
let pages = 0, cursor = null, page;
do {
  page = await my_kv.list({ prefix: 'key_', cursor });
  seen.push(...page.keys.map(({ key }) => key));
  cursor = page.cursor;
  pages++;
} while (!page.complete);
assert.deepStrictEqual(seen, all);
assert.strictEqual(pages, 4);
await lists({ prefix: 'key_099', limit: 3, cursor: 'key_0998' }, ['key_0998', 'key_0999']);
await lists({ prefix: 'none', cursor: undefined }, []);
assert.strictEqual((await my_kv.list({ limit: 256 })).keys.length, 256);
for (const limit of [0, 257, 1.5, '5', null]) await assert.rejects(my_kv.list({ limit }), RangeError);
await refused(my_kv.list({ prefix: 'a.b' }), 'EINVAL', '1 to 512 letters');
await refused(my_kv.list({ cursor: '../' }), 'EINVAL', '1 to 512 letters');
PROGRAM
}

case_readers_see_the_old_value_or_the_new_one() {
    bound
    runs <<'PROGRAM'
const values = ['a', 'b'].map((letter) => letter.repeat(300000));
await my_kv.put('key', values[0]);
let over = false;
const seen = new Set();
const reader = (async () => {
  while (!over) {
    const value = await my_kv.get('key');
    assert(values.includes(value), `a torn value of ${value?.length} bytes`);
    seen.add(value);
  }
})();
for (let i = 1; i <= 200; i++) await my_kv.put('key', values[i % 2]);
over = true;
await reader;
assert.strictEqual(seen.size, 2);
PROGRAM
}

case_a_key_keeps_its_mode_and_owner() {
    bound
    echo secret >"$n/key"
    chmod 640 "$n/key"
    if [ "$(id -u)" = 0 ]; then chown 5001:5002 "$n/key"; fi
    owner=$(stat -c '%a %u %g' "$n/key")
    runs <<'PROGRAM'
await my_kv.put('key', 'other');
PROGRAM
    same other cat "$n/key"
    same "$owner" stat -c '%a %u %g' "$n/key"
}

run_cases "$@"
