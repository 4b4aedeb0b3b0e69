// Makes the variables of a project global, as functions of EdgeOne Pages expect them:
//
//     kvctl run ACCOUNT/PROJECT --mount DIR -- node --import /path/of/globals.mjs server.mjs
//
// A variable counts where its value is a directory in a FUSE file system, two levels below the mount point.
import { statSync, statfsSync } from 'node:fs';
import path from 'node:path';

import { namespace } from './kv.mjs';

const FUSE = 0x65735546;
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

function isNamespace(dir) {
  try {
    const mount = path.resolve(dir, '../..');
    return (
      path.isAbsolute(dir) &&
      statfsSync(dir).type === FUSE &&
      statSync(dir).isDirectory() &&
      statSync(path.join(mount, '.kvfs/config')).dev === statSync(dir).dev
    );
  } catch {
    return false;
  }
}

for (const [name, dir] of Object.entries(process.env))
  if (NAME.test(name) && !(name in globalThis) && isNamespace(dir)) globalThis[name] = namespace(dir);
