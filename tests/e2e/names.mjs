// A name service of a test's own, for a server that asks no other.
import { spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// Who looks names up has no choice of port, so the address is one of its own.
const address = `127.53.${(process.pid >> 8) & 255}.${process.pid & 255}`;

function read(query) {
  const labels = [];
  let at = 12;
  for (; query[at] !== 0; at += query[at] + 1) labels.push(query.toString('latin1', at + 1, at + 1 + query[at]));
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at + 1), question: query.subarray(12, at + 5) };
}

/** `found`: addresses of version 4, or the number of an error (2: SERVFAIL, 3: no such name). */
function reply(query, found) {
  const { type, question } = read(query);
  const records = Array.isArray(found) && type === 1 ? found : []; // there are none of version 6
  const head = Buffer.alloc(12);
  query.copy(head, 0, 0, 2);
  head.writeUInt16BE(0x8580 | (Array.isArray(found) ? 0 : found), 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(records.length, 6);
  // The name of the question again, A, IN, to be kept for no time, four bytes.
  return Buffer.concat([head, question, ...records.flatMap((a) => [Buffer.from('c00c00010001000000000004', 'hex'), Buffer.from(a.split('.').map(Number))])]);
}

/**
 * Starts it, or says in `why` what is missing. `names` has what is found (see `reply`), or a function that gives it or a
 * promise of it, and gets how often the name has been looked up; a name that is not there does not exist. `asked` has each
 * name as often as it was looked up. `inside` is for startParlor.
 */
export async function startNames(names) {
  const asked = [];
  let stopped = false;
  const socket = createSocket('udp4');
  socket.on('message', async (query, from) => {
    const { name, type } = read(query);
    if (type === 1) asked.push(name);
    const of = names[name] ?? 3;
    const found = await (typeof of === 'function' ? of(asked.filter((n) => n === name).length) : of);
    if (!stopped) socket.send(reply(query, found), from.port, from.address);
  });
  try {
    await new Promise((resolve, reject) => socket.once('error', reject).bind(53, address, resolve));
  } catch (e) {
    socket.close();
    return { why: `needs port 53 of ${address}: ${e.code}` };
  }
  const dir = mkdtempSync(join(tmpdir(), 'parlor-names-'));
  const stop = () => {
    stopped = true;
    socket.close();
    rmSync(dir, { recursive: true, force: true });
  };
  const files = {
    'resolv.conf': `nameserver ${address}\noptions timeout:20 attempts:1\n`,
    'nsswitch.conf': 'passwd: files\nhosts: files dns\n',
    hosts: '127.0.0.1 localhost\n',
  };
  for (const [file, text] of Object.entries(files)) writeFileSync(join(dir, file), text);
  const mounts = Object.keys(files).map((f) => `mount --bind ${join(dir, f)} /etc/${f}`).join(' && ');
  const inside = ['unshare', '-rm', 'sh', '-c', `${mounts} && exec "$@"`, 'sh'];
  if (spawnSync(inside[0], [...inside.slice(1), 'true'], { timeout: 10000 }).status === 0) return { asked, inside, stop };
  stop();
  return { why: 'needs a mount namespace (unshare -rm)' };
}
