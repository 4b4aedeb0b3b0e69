// The KV interface of EdgeOne Pages over a mount of kvfs: a namespace is a directory, a key is a file in it.
//
//     import { namespace } from './kv.mjs';
//     const my_kv = namespace(process.env.my_kv); // as kvctl run and kvctl env set it
//
//     await my_kv.put('visits', '1');                    // a string, buffer, view or web stream
//     await my_kv.get('visits');                         // '1'; null where the key is absent or its value empty
//     await my_kv.get('cart', { type: 'json' });         // or 'text', 'arrayBuffer', 'stream'
//     await my_kv.delete('visits');                      // absent or not
//     await my_kv.list({ prefix: 'v', limit: 10 });      // { complete, cursor, keys: [{ key }] }
//
// What is refused rejects with a KvError: its `code` is that of the system, as EDQUOT, and its message says what the
// limit is. It needs Node 18 and no other package.
import { randomInt } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import * as fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';

export const KEY_MAX = 512;
export const VALUE_MAX = 26214400;
export const LIST_MAX = 256;

const KEY = /^[A-Za-z0-9_]{1,512}$/;
const PART = /^[A-Za-z0-9_]*$/;
const TYPES = ['text', 'json', 'arrayBuffer', 'stream'];
const LARGE = 1048576; // one put of such a value at a time: a node has room for few unfinished ones

const WORDS = {
  EACCES: 'the permissions of the account, the namespace or the key do not allow it',
  EDQUOT: 'the account is full, in bytes or keys: delete keys, or raise its limit with kvctl account limit',
  EFBIG: `a value has at most ${VALUE_MAX} bytes (25 MiB)`,
  EINVAL: `a key has 1 to ${KEY_MAX} letters, digits or underscores`,
  EIO: 'the store could not be read or written, or is damaged: run kvctl check',
  ENOENT: 'the namespace is gone, or its store is not mounted',
  ENOSPC: 'the disk or the store is full',
  ENOTCONN: 'the daemon of the mount has ended: mount the store again',
  EROFS: 'the store is mounted read-only',
  ESTALE: 'another program replaced the key, or its namespace, meanwhile: what is there was kept',
  ETIMEDOUT: 'another process kept the store for too long: nothing was changed',
};

export class KvError extends Error {
  constructor(code, subject, cause) {
    super(`${subject}: ${WORDS[code] ?? cause?.message ?? code}`, { cause });
    this.name = 'KvError';
    this.code = code;
  }
}

function refuse(code, subject) {
  throw new KvError(code, subject);
}

function checkKey(key) {
  if (typeof key !== 'string' || !KEY.test(key)) refuse('EINVAL', `key ${JSON.stringify(key)}`);
  return key;
}

// Node has no names for some errors, as that of a full account.
function codeOf(error) {
  if (/^E[A-Z0-9]+$/.test(error.code)) return error.code;
  const names = Object.entries(os.constants.errno);
  return names.find(([, number]) => number === -error.errno)?.[0] ?? error.code;
}

// Run an operation; its errors get words.
async function told(subject, operation) {
  try {
    return await operation();
  } catch (error) {
    if (error instanceof KvError || !error.code) throw error;
    throw new KvError(codeOf(error), subject, error);
  }
}

async function collect(stream) {
  const parts = [];
  let size = 0;
  for await (const part of stream) {
    const bytes = typeof part === 'string' ? Buffer.from(part) : toBytes(part);
    size += bytes.length;
    if (size > VALUE_MAX) refuse('EFBIG', 'a stream');
    parts.push(bytes);
  }
  return Buffer.concat(parts);
}

function toBytes(value) {
  if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) return Buffer.from(value);
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  throw new TypeError('a value is a string, an ArrayBuffer, a view of one, or a stream of them');
}

async function bytesOf(key, value) {
  const isStream = value !== null && typeof value === 'object' && Symbol.asyncIterator in value;
  const bytes = typeof value === 'string' ? Buffer.from(value) : isStream ? await collect(value) : toBytes(value);
  if (bytes.length > VALUE_MAX) refuse('EFBIG', key);
  return bytes;
}

async function writeAll(handle, bytes) {
  try {
    for (let at = 0; at < bytes.length; ) at += (await handle.write(bytes, at)).bytesWritten;
  } finally {
    await handle.close(); // where the value is put; it says what is refused
  }
}

// A new file that only this node has: digits behind its name make it a temporary one.
async function openTemporary(dir) {
  for (;;) {
    const temporary = path.join(dir, `put.${randomInt(1e9, 1e10)}`);
    try {
      return { temporary, handle: await fs.open(temporary, 'wx') };
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
  }
}

class Namespace {
  #dir;
  #large = Promise.resolve(); // until the large puts before are done

  constructor(dir) {
    this.#dir = dir;
  }

  #file(key) {
    return path.join(this.#dir, checkKey(key));
  }

  // Absent means that the namespace is there and the key is not.
  async #absent(error) {
    if (error.code !== 'ENOENT') throw error;
    await fs.access(this.#dir);
    return null;
  }

  async get(key, options = 'text') {
    const type = (typeof options === 'string' ? options : options?.type) ?? 'text';
    if (!TYPES.includes(type)) throw new TypeError(`type ${JSON.stringify(type)}: it is one of ${TYPES.join(', ')}`);
    const file = this.#file(key);
    return told(key, async () => {
      if (type === 'stream') return this.#stream(file);
      const bytes = await fs.readFile(file).catch((error) => this.#absent(error));
      if (bytes === null || bytes.length === 0) return null;
      if (type === 'arrayBuffer')
        return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
      const text = bytes.toString('utf8');
      return type === 'json' ? JSON.parse(text) : text;
    });
  }

  // The value as it is now, whatever is put while it is read.
  async #stream(file) {
    const handle = await fs.open(file).catch((error) => this.#absent(error));
    if (handle === null) return null;
    if ((await handle.stat()).size > 0) return Readable.toWeb(createReadStream(file, { fd: handle }));
    await handle.close();
    return null;
  }

  async put(key, value) {
    const file = this.#file(key);
    const bytes = await bytesOf(key, value);
    if (bytes.length < LARGE) return told(key, () => this.#write(file, bytes));
    const turn = this.#large.then(() => told(key, () => this.#write(file, bytes)));
    this.#large = turn.catch(() => {});
    return turn;
  }

  // Other readers of this mount see what is written to an open file. So it is written under a temporary name and
  // renamed: they see the old value or the new one. A key that is there keeps its mode. One of another owner is written
  // in place where it could not keep him.
  async #write(file, bytes) {
    const there = await fs.stat(file).catch((error) => this.#absent(error));
    const mine = there === null || there.uid === process.geteuid();
    if (!mine && process.geteuid() !== 0)
      return writeAll(await fs.open(file, constants.O_WRONLY | constants.O_TRUNC), bytes);
    const { temporary, handle } = await openTemporary(this.#dir);
    try {
      if (there !== null) {
        await handle.chmod(there.mode & 0o7777);
        if (!mine) await handle.chown(there.uid, there.gid);
      }
      await writeAll(handle, bytes);
      await fs.rename(temporary, file);
    } catch (error) {
      await fs.unlink(temporary).catch(() => {});
      throw error;
    }
    return undefined;
  }

  async delete(key) {
    const file = this.#file(key);
    await told(key, () => fs.unlink(file).catch((error) => this.#absent(error)));
  }

  // A page of keys in byte order, from `cursor` on: the first key of the next page, as the page before tells it.
  async list({ prefix = '', limit = LIST_MAX, cursor = null } = {}) {
    if (!Number.isInteger(limit) || limit < 1 || limit > LIST_MAX)
      throw new RangeError(`limit ${limit}: a page has 1 to ${LIST_MAX} keys`);
    for (const part of [prefix ?? '', cursor ?? ''])
      if (typeof part !== 'string' || part.length > KEY_MAX || !PART.test(part)) refuse('EINVAL', JSON.stringify(part));
    const begins = prefix ?? '';
    const from = cursor ?? '';
    const found = [];
    await told(`list of ${this.#dir}`, async () => {
      // In byte order, which is the order of JavaScript's strings, too: keys are ASCII. All else is a temporary file.
      for await (const { name } of await fs.opendir(this.#dir, { bufferSize: 1024 })) {
        if (!KEY.test(name) || name < from) continue;
        if (name.startsWith(begins)) found.push(name);
        else if (name > begins) break;
        if (found.length > limit) break;
      }
    });
    const complete = found.length <= limit;
    return {
      complete,
      cursor: complete ? null : found[limit],
      keys: found.slice(0, limit).map((key) => ({ key })),
    };
  }
}

// The namespace in a directory of a mount. Nothing is opened before it is used.
export function namespace(dir) {
  if (typeof dir !== 'string' || !path.isAbsolute(dir))
    throw new TypeError('a namespace is the absolute path of its directory, as kvctl run and kvctl env give it');
  return new Namespace(dir);
}
