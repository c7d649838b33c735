// The frames of /ws/learning: what the client that many use (ws) makes of them, and wrong ones over bare sockets.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { startParlor } from './server.mjs';
import { openSocket } from './sockets.mjs';
import { until } from './streams.mjs';

let parlor;
before(async () => {
  parlor = await startParlor({ PARLOR_REHEARSAL_TOKENS_PER_SECOND: '1000' });
});
after(() => parlor?.remove());

const words = (n) => Array.from({ length: n }, (_, i) => i + 1).join(' ');
const frame = (opcode, payload, { fin = true, rsv = 0, masked = true } = {}) => {
  const p = Buffer.from(payload);
  const n = p.length;
  const head = [(fin ? 0x80 : 0) | (rsv << 4) | opcode, (masked ? 0x80 : 0) | (n < 126 ? n : n < 65536 ? 126 : 127)];
  const length = Buffer.alloc(n < 126 ? 0 : n < 65536 ? 2 : 8);
  for (let i = length.length - 1, rest = n; i >= 0; i--, rest = Math.floor(rest / 256)) length[i] = rest % 256;
  const key = masked ? randomBytes(4) : Buffer.alloc(0);
  return Buffer.concat([Buffer.from(head), length, key, masked ? p.map((b, i) => b ^ key[i % 4]) : p]);
};

/** A bare socket past the handshake; `frames` are what has come. */
function bare(session, headers = '') {
  return new Promise((resolve, reject) => {
    const socket = net.connect(parlor.port, '127.0.0.1');
    const s = { socket, frames: [], ended: false, head: '', send: (...all) => socket.write(Buffer.concat(all)) };
    let bytes = Buffer.alloc(0);
    socket.on('error', reject).on('end', () => (s.ended = true));
    socket.on('data', (d) => {
      bytes = Buffer.concat([bytes, d]);
      if (s.head === '') {
        const end = bytes.indexOf('\r\n\r\n');
        if (end < 0) return;
        s.head = String(bytes.subarray(0, end));
        bytes = bytes.subarray(end + 4);
        assert.match(s.head, /^HTTP\/1.1 101 /);
        resolve(s);
      }
      for (;;) {
        if (bytes.length < 2) return;
        const n = bytes[1] < 126 ? bytes[1] : bytes[1] === 126 ? bytes.length >= 4 && bytes.readUInt16BE(2) : bytes.length >= 10 && Number(bytes.readBigUInt64BE(2));
        const from = bytes[1] < 126 ? 2 : bytes[1] === 126 ? 4 : 10;
        if (n === false || bytes.length < from + n) return;
        s.frames.push({ fin: bytes[0] >= 0x80, rsv: (bytes[0] >> 4) & 7, opcode: bytes[0] & 15, payload: bytes.subarray(from, from + n) });
        bytes = bytes.subarray(from + n);
      }
    });
    socket.write(`GET /ws/learning?session_id=${session} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${headers}\r\n`);
  });
}
const closeCode = async (s) => {
  const bye = await until(() => s.frames.find((f) => f.opcode === 8), 'a closing frame');
  return bye.payload.readUInt16BE(0);
};
const question = (content, request_id) => Buffer.from(JSON.stringify({ type: 'question', content, request_id }));

test('an answer is the same, compressed or not, and every message compressed by itself', async () => {
  const text = words(3000);
  for (const perMessageDeflate of [true, false, { serverMaxWindowBits: 9 }, { serverNoContextTakeover: true, clientNoContextTakeover: true }]) {
    const s = await openSocket(parlor, 'compressed', { perMessageDeflate });
    assert.equal(/permessage-deflate/.test(s.socket.extensions), perMessageDeflate !== false);
    for (const id of ['r1', 'r2']) {
      s.ask(`count to 3000 ${' '.repeat(5000)}`, id);
      await s.has('done', id, 30_000);
      assert.equal(s.text(id), text);
      assert.equal(s.of(id).find((m) => m.type === 'content_finished').full_content, text);
    }
    assert.equal((await s.leave()).code, 1000);
  }
});

test('a question in fragments, with pings between them', async () => {
  const s = await openSocket(parlor, 'fragments');
  const text = JSON.stringify({ type: 'question', content: 'count to 4', request_id: 'r1', note: '你好'.repeat(5000) });
  const pongs = [];
  s.socket.on('pong', (data) => pongs.push(String(data)));
  const bytes = Buffer.from(text);
  for (let i = 0; i < bytes.length; i += 4001) {
    s.socket.send(bytes.subarray(i, i + 4001), { binary: false, fin: i + 4001 >= bytes.length });
    s.socket.ping(String(i));
  }
  await s.has('done', 'r1');
  await until(() => pongs.length === Math.ceil(bytes.length / 4001), 'pongs');
  assert.deepEqual(pongs, pongs.map((_, i) => String(i * 4001)));
  assert.equal(s.text('r1'), '1 2 3 4');
  await s.leave();
});

test('a question byte by byte, and two in one segment', async () => {
  const s = await bare('bytes');
  for (const byte of frame(1, question('count to 2', 'slow'))) {
    s.socket.write(Buffer.of(byte));
    await new Promise(setImmediate);
  }
  s.send(frame(1, question('count to 3', 'a')), frame(1, question('count to 1', 'b')), frame(9, 'still there'));
  const texts = () => s.frames.filter((f) => f.opcode === 1).map((f) => JSON.parse(f.payload));
  for (const id of ['slow', 'a', 'b']) await until(() => texts().find((m) => m.type === 'done' && m.request_id === id), id);
  await until(() => s.frames.find((f) => f.opcode === 10 && String(f.payload) === 'still there'), 'a pong');
  assert.ok(s.frames.every((f) => f.rsv === 0));
  s.send(frame(8, Buffer.of(3, 232)));
  assert.equal(await closeCode(s), 1000);
  await until(() => s.ended, 'the end');
});

test('what breaks the rules is closed with its code, and the server lives', async () => {
  const part = { fin: false };
  const cases = [
    [1002, frame(1, 'x', { masked: false })],
    [1002, frame(1, 'x', { rsv: 4 })],
    [1002, frame(1, 'x', { rsv: 2 })],
    [1002, frame(3, 'x')],
    [1002, frame(11, '')],
    [1002, frame(9, 'x', part)],
    [1002, frame(9, 'x'.repeat(126))],
    [1002, frame(0, 'x')],
    [1002, frame(1, 'x', part), frame(1, 'x')],
    [1002, Buffer.of(0x81, 0xfe, 0, 5)],
    [1002, frame(8, 'x')],
    [1002, frame(8, Buffer.of(3, 237))],
    [1003, frame(2, Buffer.of(1, 2, 3))],
    [1007, frame(1, Buffer.of(0xff))],
    [1007, frame(1, Buffer.of(0xe4, 0xbd), part), frame(0, 'x')],
    [1007, frame(8, Buffer.of(3, 232, 0xff))],
    [1009, Buffer.of(0x81, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255)],
    [1001, frame(8, Buffer.of(3, 233))],
  ];
  await Promise.all(
    cases.map(async ([code, ...bytes], i) => {
      const s = await bare(`rules_${i}`);
      s.send(...bytes);
      assert.equal(await closeCode(s), code, `case ${i}`);
      await until(() => s.ended, 'the end');
      s.socket.destroy();
    }),
  );
  const compressed = await bare('rules', 'Sec-WebSocket-Extensions: permessage-deflate\r\n');
  assert.match(compressed.head, /permessage-deflate; server_no_context_takeover; client_no_context_takeover/);
  compressed.send(frame(1, Buffer.of(0xff, 0xff, 0xff), { rsv: 4 }));
  assert.equal(await closeCode(compressed), 1007);
  compressed.socket.destroy();
  assert.equal((await fetch(`${parlor.url}/livez`)).status, 200);
});

test('W6 pings without end are closed with 1008', async () => {
  const s = await bare('pings');
  s.send(...Array.from({ length: 1000 }, (_, i) => frame(9, `${i}`)));
  assert.equal(await closeCode(s), 1008);
  const pongs = s.frames.filter((f) => f.opcode === 10).map((f) => String(f.payload));
  assert.ok(pongs.length > 50 && pongs.length <= 101, `${pongs.length}`);
  s.socket.destroy();
});

test('one answer to many sockets, compressed and not', async () => {
  const all = await Promise.all(Array.from({ length: 60 }, (_, i) => openSocket(parlor, 'many', { perMessageDeflate: i % 2 === 0 })));
  all[0].ask('count to 2000', 'r1');
  await Promise.all(all.map((s) => s.has('done', 'r1', 30_000)));
  for (const s of all) assert.equal(s.text('r1'), words(2000));
  await Promise.all(all.map((s) => s.leave()));
});
