// docs/hard-edges.md, providers, byte for byte: a model service that says exactly what a case needs, on a raw socket.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { blocks, startParlor } from './server.mjs';
import { metric } from './streams.mjs';
import { direct, scriptedModels } from './upstream.mjs';

const words = Array.from({ length: 40 }, (_, i) => `word${i} `);
const text = words.join('');
const event = (data) => `data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`;
const piece = (content) => event({ model: 'm', choices: [{ index: 0, delta: { content }, finish_reason: null }] });
const finish = (reason = 'stop') => event({ choices: [{ index: 0, delta: {}, finish_reason: reason }] });
const pieces = words.map(piece).join('');
const done = event('[DONE]');
const sound = pieces + finish() + done;

const ok = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n';
const chunk = (bytes) => Buffer.concat([Buffer.from(`${Buffer.byteLength(bytes).toString(16)}\r\n`), Buffer.from(bytes), Buffer.from('\r\n')]);
const chunked = (body, end = '0\r\n\r\n', more = '') => Buffer.concat([Buffer.from(`${ok}${more}Transfer-Encoding: chunked\r\n\r\n`), chunk(body), Buffer.from(end)]);
const sized = (body, length = Buffer.byteLength(body)) => `${ok}Content-Length: ${length}\r\n\r\n${body}`;
const untilClose = (body) => `${ok}Connection: close\r\n\r\n${body}`;
const forever = (socket, bytes, every) => {
  const timer = setInterval(() => socket.write(bytes()), every);
  socket.on('close', () => clearInterval(timer));
};

// What is said on a socket whose request, the nth of its case, is whole.
const half = piece('never whole').slice(0, -20);
const cases = {
  // U1: forty pieces, and then no sound end
  'no-terminator': (s) => s.end(chunked(pieces, '')),
  'terminator': (s) => s.end(chunked(pieces)),
  'until-close': (s) => s.end(untilClose(pieces)),
  'short-length': (s) => s.end(sized(pieces, Buffer.byteLength(sound))),
  'done-alone': (s) => s.end(chunked(pieces + done)),
  'abort': (s) => s.end(chunked(pieces + finish('abort') + done)),
  'half-event': (s) => s.end(chunked(pieces + half)),
  'half-chunk': (s) => s.end(chunked(pieces, `ff\r\n${half}`)),
  'half-end': (s) => s.end(chunked(pieces + finish().slice(0, -1))),
  'reset': (s) => s.write(chunked(pieces, ''), () => setTimeout(() => s.resetAndDestroy(), 50)),
  // the same with a sound end
  'whole': (s) => s.write(chunked(sound)),
  'whole-sized': (s) => s.write(sized(sound)),
  'whole-until-close': (s) => s.end(untilClose(sound)),
  'whole-no-done': (s) => s.end(untilClose(pieces + finish())),
  'whole-cut-after': (s) => s.end(chunked(pieces + finish() + done, '')),
  // U2
  'head-only': (s) => s.write(`${ok}Transfer-Encoding: chunked\r\n\r\n`),
  'comments-after': (s) => (s.write(chunked(pieces, '')), forever(s, () => chunk(': still there\n'), 50)),
  'byte-by-byte': (s) => (s.write(chunked(pieces + 'data: {"choices":"', '')), forever(s, () => chunk('x'), 50)),
  // U7, U8
  'gzip': (s) => s.write(chunked(gzipSync(sound), '0\r\n\r\n', 'Content-Encoding: gzip\r\n')),
  'no-gzip': (s) => s.write(chunked(sound, '0\r\n\r\n', 'Content-Encoding: gzip\r\n')),
  'interim': (s) => s.write(`HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nRetry-After: 99\r\n\r\n${sized(sound)}`),
  'flood': (s) => s.write(ok + `X-Flood: ${'x'.repeat(1000)}\r\n`.repeat(1000)),
  'no-lines': (s) => s.write(`${ok}\r\ndata: ${'x'.repeat(1 << 21)}`),
  'broken-json': (s) => s.write(sized(pieces + event('{"choices":[{') + finish() + done)),
  'too-much': (s) => {
    const lots = piece('x'.repeat(500_000));
    s.write(untilClose(''));
    const more = () => { while (s.writable && s.write(lots)); };
    s.on('drain', more);
    more();
  },
  'not-http': (s) => s.end('220 smtp ready\r\n'),
  '529': (s) => s.write('HTTP/1.1 529 Overloaded\r\nContent-Length: 0\r\n\r\n'),
  '408': (s) => s.write('HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n'),
  '307': (s) => s.write('HTTP/1.1 307 Temporary Redirect\r\nLocation: /whole/v1/chat/completions\r\nContent-Length: 0\r\n\r\n'),
  'elsewhere': (s) => s.write(`HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:${stranger.address().port}/v1/chat/completions\r\nContent-Length: 0\r\n\r\n`),
  // U5
  'twice': (s) => s.write(sized(pieces + event({ choices: [{ index: 1, delta: { content: 'nobody asked' } }] }) + finish() + done + piece('too late'))),
  '429-past': (s, n) => s.write(n % 2 ? sized(sound) : 'HTTP/1.1 429 Too Many\r\nRetry-After: -1\r\nContent-Length: 0\r\n\r\n'),
  '429-date': (s, n) => s.write(n % 2 ? sized(sound)
    : `HTTP/1.1 429 Too Many\r\nRetry-After: ${new Date(Date.now() + 2000).toUTCString()}\r\nContent-Length: 0\r\n\r\n`),
  // U10: a connection that was good before
  'goes-after': (s) => s.end(sized(sound)), // with no word that it would
  'goes-unheard': (s, n, ofSocket) => (ofSocket === 0 ? s.write(sized(sound)) : s.destroy()),
  // U6: half an answer, then a whole one
  'half-then-whole': (s, n) => (n % 2 ? s.write(sized(piece('another ') + piece('answer') + finish() + done)) : s.end(chunked(pieces))),
};

const asked = new Map(); // requests of a case
let service, stranger, parlor;
let visits = 0; // of the stranger, whom a redirect names
before(async () => {
  stranger = createServer((socket) => (++visits, socket.destroy()));
  await new Promise((r) => stranger.listen(0, '127.0.0.1', r));
  service = createServer((socket) => {
    let bytes = '';
    let ofSocket = 0;
    socket.setNoDelay(true).on('error', () => {});
    socket.on('data', (d) => {
      bytes += d.toString('latin1');
      for (;;) {
        const head = bytes.indexOf('\r\n\r\n');
        const size = head + 4 + Number(/content-length: (\d+)/i.exec(bytes)?.[1] ?? 0);
        if (head < 0 || bytes.length < size) return;
        const name = bytes.split(' ')[1].split('/')[1];
        bytes = bytes.slice(size);
        const n = asked.get(name) ?? 0;
        asked.set(name, n + 1);
        cases[name](socket, n, ofSocket++);
      }
    });
  });
  await new Promise((r) => service.listen(0, '127.0.0.1', r));
  const config = scriptedModels((name) => `http://127.0.0.1:${service.address().port}/${name}/v1`, Object.keys(cases));
  const quick = { PARLOR_TASK_BACKOFF: '20ms', PARLOR_TASK_FIRST_TOKEN_TIMEOUT: '1500ms', PARLOR_TASK_TOKEN_TIMEOUT: '1500ms' };
  parlor = await startParlor({ ...direct, ...quick, TEST_KEY: 'k', PARLOR_LOG_LEVEL: 'error' }, { config });
});
after(async () => {
  await parlor?.remove();
  service.close();
  stranger.close();
});

let next = 0;
/** One turn in a session of its own: its events, what is kept of it, and how often the service was asked. */
async function turn(model) {
  const before = asked.get(model) ?? 0;
  const id = `b${++next}`;
  const r = await parlor.post('/api/chat/stream', { message: 'hi', model, conversation_id: id });
  assert.equal(r.status, 200);
  const events = blocks(await r.text()).map((e) => e.data);
  const { messages } = await (await fetch(`${parlor.url}/api/sessions/${id}/messages`)).json();
  return { events, end: events.at(-1), kept: messages.slice(1), asked: asked.get(model) - before };
}
async function fails(model, code, attempts, kept = text) {
  const t = await turn(model);
  assert.deepEqual([t.end.type, t.end.code, t.asked], ['error', code, attempts], `${model}: ${JSON.stringify(t.end)}`);
  assert.ok(!t.events.some((e) => e.type === 'done'), model);
  assert.deepEqual(t.kept.map((m) => [m.content, m.partial]), kept ? [[kept, true]] : [], model);
  return t;
}
async function succeeds(model, attempts = 1, said = text) {
  const t = await turn(model);
  assert.deepEqual([t.end.type, t.end.content, t.asked], ['done', said, attempts], `${model}: ${JSON.stringify(t.end)}`);
  assert.deepEqual(t.kept.map((m) => [m.content, m.partial]), [[said, false]], model);
  return t;
}

test('U1 truncation in ten forms is never a success; what was said is kept and marked', async () => {
  for (const model of ['no-terminator', 'terminator', 'until-close', 'short-length', 'done-alone', 'abort', 'half-event', 'half-chunk', 'half-end', 'reset'])
    await fails(model, 'upstream_truncated', 3);
});

test('U1 an answer with its finish_reason is whole, however its message ends', async () => {
  for (const model of ['whole', 'whole-sized', 'whole-until-close', 'whole-no-done', 'whole-cut-after']) await succeeds(model);
});

test('U2 silence has an end, and neither comments nor half an event put it off', async () => {
  const from = Date.now();
  await Promise.all([
    fails('head-only', 'upstream_timeout', 1, ''),
    fails('comments-after', 'upstream_stalled', 1),
    fails('byte-by-byte', 'upstream_stalled', 1),
  ]);
  assert.ok(Date.now() - from < 30000);
});

test('U6 what two attempts say is never joined', async () => {
  const t = await succeeds('half-then-whole', 2, 'another answer');
  const retry = t.events.findIndex((e) => e.type === 'retry');
  const said = (events) => events.filter((e) => e.type === 'chunk').map((e) => e.content).join('');
  assert.deepEqual([said(t.events.slice(0, retry)), t.events[retry].discard, said(t.events.slice(retry))], [text, true, 'another answer']);
});

test('U7 statuses that can pass are tried again, with whatever Retry-After says', async () => {
  await fails('529', 'upstream_error', 3, '');
  await fails('408', 'upstream_error', 3, '');
  const from = Date.now();
  await succeeds('429-past', 2); // what cannot be meant is not heard
  const between = Date.now();
  await succeeds('429-date', 2);
  assert.ok(between - from < 10000);
  assert.ok(Date.now() - between >= 900); // the date has whole seconds
});

test('U8 what is no answer is named, and bounded', async () => {
  await succeeds('gzip');
  await succeeds('interim');
  await fails('no-gzip', 'upstream_protocol', 1, '');
  await fails('flood', 'upstream_too_large', 1, '');
  await fails('no-lines', 'upstream_too_large', 1, '');
  await fails('broken-json', 'upstream_protocol', 3); // not skipped over
  await fails('not-http', 'upstream_protocol', 1, '');
  const whole = asked.get('whole');
  await fails('307', 'upstream_protocol', 1, '');
  assert.equal(asked.get('whole'), whole);
  await fails('elsewhere', 'upstream_protocol', 1, '');
  assert.equal(visits, 0);
});

test('U5 what was not asked for is counted', async () => {
  const ignored = () => metric(parlor, 'parlor_upstream_ignored_total{provider="of twice",model="twice"}');
  const before = await ignored();
  await succeeds('twice');
  assert.ok((await ignored()) > before);
});

test('U8 an answer without end is cut', async () => {
  const r = await parlor.post('/api/chat', { message: 'hi', model: 'too-much', conversation_id: 'endless' });
  assert.deepEqual([r.status, (await r.json()).code, asked.get('too-much')], [502, 'upstream_too_large', 1]);
  const { messages } = await (await fetch(`${parlor.url}/api/sessions/endless/messages`)).json();
  assert.equal(messages.at(-1).partial, true);
  assert.ok(messages.at(-1).content.length > 1 << 20 && messages.at(-1).content.length <= 64 << 20);
});

test('U10 a connection that was closed between two turns is not an error', async () => {
  for (let i = 0; i < 3; i++) await succeeds('goes-after');
  await succeeds('goes-unheard');
  await succeeds('goes-unheard', 2); // the first of the two was on the old connection, and got no byte
});
