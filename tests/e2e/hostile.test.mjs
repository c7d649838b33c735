// docs/hard-edges.md, the inbound cases that need a whole server: what many hostile clients at once cost it, and what they learn.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { startParlor } from './server.mjs';
import { memoryOf, metric, openStream, until } from './streams.mjs';

let parlor;
before(async () => {
  parlor = await startParlor({ PARLOR_SERVER_MAX_CONNECTIONS_PER_CLIENT: '1000', PARLOR_LOG_LEVEL: 'error', PARLOR_DRAIN_TIMEOUT: '100ms' });
  for (let i = 0; i < 300; i++) await (await fetch(`${parlor.url}/readyz`)).text(); // what it needs for itself it has
});
after(() => parlor.remove());

const post = (path, ...more) => ['POST ' + path + ' HTTP/1.1', 'Host: 127.0.0.1', 'Content-Type: application/json', ...more].join('\r\n') + '\r\n\r\n';
const chunked = 'Transfer-Encoding: chunked';

/** A client that sends what it is given and keeps what it hears. */
function open(server = parlor) {
  const c = { heard: '', socket: connect(server.port, '127.0.0.1') };
  c.over = new Promise((resolve) => c.socket.on('close', resolve));
  c.socket.on('data', (d) => (c.heard += d)).on('error', () => {});
  c.status = () => Number(/^HTTP\/1\.1 (\d+)/.exec(c.heard)?.[1]);
  /** False once the server has answered or gone. */
  c.send = (bytes) =>
    new Promise((resolve) => {
      if (c.heard !== '' || c.socket.destroyed) return resolve(false);
      c.socket.write(bytes, (error) => resolve(!error && c.heard === ''));
      c.socket.once('close', () => resolve(false)).setMaxListeners(0);
    });
  return c;
}

/** Milliseconds of the processor that the server has used so far. */
const processor = (server) => readFileSync(`/proc/${server.process.pid}/stat`, 'utf8').split(') ')[1].split(' ').slice(11, 13).reduce((a, b) => a + Number(b), 0) * 10;

/** How long honest requests take until `done` is settled, ms: the 99th of a hundred. */
async function readiness(done, server = parlor) {
  let over = false;
  done.finally(() => (over = true));
  const all = [];
  while (!over || all.length < 20) {
    const from = performance.now();
    assert.equal((await fetch(`${server.url}/readyz`)).status, 200);
    all.push(performance.now() - from);
    await new Promise((r) => setTimeout(r, 5));
  }
  return all.sort((a, b) => a - b)[Math.floor(all.length * 0.99)];
}

test('H6 a chunk extension without end is refused within 16 KiB, and a hundred of them cost next to nothing', async () => {
  const before = memoryOf(parlor);
  const clients = Array.from({ length: 100 }, () => open());
  const sent = await Promise.all(clients.map(async (c) => {
    let bytes = 0;
    for (let more = await c.send(post('/api/chat', chunked) + '1;'); more && bytes < 1024 * 1024; more = await c.send('x'.repeat(1024))) {
      bytes += 1024;
      await new Promise((r) => setTimeout(r, 20)); // so that what has come is seen before the next does
    }
    return bytes;
  }));
  const each = (memoryOf(parlor) - before) / clients.length;
  await Promise.all(clients.map((c) => until(() => c.heard, 'an answer')));
  assert.deepEqual([...new Set(clients.map((c) => c.status()))], [400]);
  assert.ok(Math.max(...sent) <= 20 * 1024, `${Math.max(...sent)} bytes`); // some were on their way
  assert.ok(each < 1, `${each} MiB for each`);
  clients.forEach((c) => c.socket.destroy());
});

test('H6 ten million chunks of one byte are one body, and nobody else waits for it', async () => {
  const chunks = Buffer.from('1\r\nx\r\n'.repeat(100_000));
  const used = processor(parlor);
  const clients = Array.from({ length: 4 }, () => open());
  const all = Promise.all(clients.map(async (c) => {
    let n = 0;
    for (let more = await c.send(post('/api/chat', chunked)); more && n < 100; n++) more = await c.send(chunks);
    await c.send('0\r\n\r\n');
    await until(() => c.heard, 'an answer');
    return n;
  }));
  const p99 = await readiness(all);
  assert.deepEqual([...new Set(clients.map((c) => c.status()))], [400]); // it is no JSON
  const cost = (processor(parlor) - used) / clients.length;
  assert.ok(cost < 5000, `${cost} ms for each`); // were it quadratic, it would be minutes
  assert.ok(p99 < 100, `${p99} ms`);
  clients.forEach((c) => c.socket.destroy());
});

test('H11 megabytes behind a request that hangs stay with their sender, and a reset leaves nothing', async () => {
  const more = Buffer.from('GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n'.repeat(100_000)); // 4 MB
  const connections = () => metric(parlor, 'parlor_http_connections');
  const body = (i) => JSON.stringify({ message: 'hi', rehearsal: 'hang', conversation_id: `behind-${i}` });
  const open0 = await connections();
  const before = memoryOf(parlor);
  const clients = Array.from({ length: 50 }, (_, i) => {
    const c = open();
    c.socket.write(post('/api/chat', `Content-Length: ${body(i).length}`) + body(i));
    c.socket.write(more);
    return c;
  });
  await until(async () => (await Promise.all(clients.map((_, i) => fetch(`${parlor.url}/api/sessions/behind-${i}`)))).every((r) => r.ok), 'they run');
  const waits = () => clients.map((c) => c.socket.writableLength).join();
  for (let last = ''; last !== waits(); await new Promise((r) => setTimeout(r, 300))) last = waits();
  assert.ok(clients.every((c) => c.heard === ''), 'none is answered out of order');
  const each = (memoryOf(parlor) - before) / clients.length;
  assert.ok(each < 0.5, `${each} MiB for each`);
  clients.forEach((c) => c.socket.resetAndDestroy());
  await until(async () => (await connections()) <= open0, 'all connections are gone');
});

test('H4 who asks is decided by the header section, whatever a trailer says', async () => {
  const key = 'sesame-sesame-16';
  const own = await startParlor({ PARLOR_SERVER_KEY: key });
  const body = '{"message":"hello","conversation_id":"trailed"}';
  const request = (header, trailer) => post('/api/chat', chunked, 'Connection: close', ...header) + `${body.length.toString(16)}\r\n${body}\r\n0\r\n${trailer}\r\n`;
  const told = async (header, trailer) => {
    const c = open(own);
    await c.send(request(header, trailer));
    await c.over;
    assert.equal(c.heard.match(/HTTP\/1\.1 \d+/g)?.length, 1, c.heard);
    return c.status();
  };
  try {
    const right = `Authorization: Bearer ${key}`;
    for (const trailer of [`${right}\r\n`, `${right}\r\nHost: 127.0.0.1\r\n`, `Content-Length: 5\r\n${right}\r\n`]) {
      assert.equal(await told([], trailer), 401);
      assert.equal(await told(['Authorization: Bearer no'], trailer), 401);
    }
    const list = async () => (await (await fetch(`${own.url}/api/sessions`, { headers: { Authorization: `Bearer ${key}` } })).json()).sessions;
    assert.deepEqual(await list(), []);
    for (const trailer of ['Authorization: Bearer no\r\n', 'X-Forwarded-For: 10.0.0.1\r\n', 'Host: evil.example\r\n'])
      assert.ok([200, 400].includes(await told([right], trailer)), trailer); // and it is who it was
  } finally {
    await own.remove();
  }
});

test('H12 H13 H14 H16 what a request may not be is answered once, and what follows it is not handled', async () => {
  const smuggled = 'GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n';
  const on = (line, ...more) => [line, 'Host: 127.0.0.1', ...more].join('\r\n') + '\r\n\r\n';
  for (const [status, bytes] of [
    [413, post('/api/chat', 'Expect: 100-continue', 'Content-Length: 10000000000')],
    [417, post('/api/chat', 'Expect: tea', 'Content-Length: 2') + '{}'],
    [501, on('BREW /api/chat HTTP/1.1')],
    [501, on('post /api/chat HTTP/1.1')],
    [505, on('GET /readyz HTTP/1.2')],
    [505, on('GET /readyz HTTP/2.0')],
    [400, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    [400, Buffer.from('16030100c8010000c403035f', 'hex')],
    [400, on('GET /api/sessions HTTP/1.1', 'Content-Length: 5') + 'hello'],
    [400, on('DELETE /api/sessions/a HTTP/1.1', chunked) + '5\r\nhello\r\n0\r\n\r\n'],
  ]) {
    const c = open();
    await c.send(Buffer.concat([Buffer.from(bytes), Buffer.from(smuggled)]));
    await c.over;
    assert.equal(c.status(), status, String(bytes));
    assert.equal(c.heard.match(/HTTP\/1\.1 \d+/g).length, 1, c.heard);
  }
  const c = open(); // an offer to speak another protocol is not taken
  await c.send(on('GET /livez HTTP/1.1', 'Connection: Upgrade, HTTP2-Settings, close', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__'));
  await c.over;
  assert.equal(c.status(), 200);
});

/** An answer without what is new in each: its request's id, and the id that was asked for. */
async function seen(path, id, headers = {}) {
  const from = performance.now();
  const r = await fetch(parlor.url + path.replace('ID', id), { headers });
  const body = (await r.text()).replaceAll(r.headers.get('x-request-id'), 'R').replaceAll(id, 'ID');
  const took = performance.now() - from;
  const told = [...r.headers].filter(([name]) => !['x-request-id', 'date', 'connection'].includes(name));
  return { took, answer: JSON.stringify([r.status, told, body]) };
}

test('S2 what has been deleted cannot be told from what never was, neither by bytes nor by time', async () => {
  const ids = { deleted: [], invented: [] };
  const tasks = { deleted: [], invented: [] };
  for (let i = 0; i < 40; i++) {
    const id = `there-${String(i).padStart(4, '0')}`;
    const { task_id } = await (await parlor.post('/api/chat', { message: 'hi', conversation_id: id })).json();
    ids.deleted.push(id);
    tasks.deleted.push(task_id);
    ids.invented.push(`never-${String(i).padStart(4, '0')}`);
    tasks.invented.push([...task_id.slice(5)].reverse().join('').padStart(task_id.length, task_id.slice(0, 5)));
    assert.equal((await fetch(`${parlor.url}/api/sessions/${id}`, { method: 'DELETE' })).status, 200);
  }
  const s = await openStream(`${parlor.url}/api/chat/stream`, { method: 'POST', body: { message: 'hi', conversation_id: 'living' } });
  assert.equal(await s.over, 'end');
  for (const [path, of, headers] of [
    ['/api/sessions/ID', ids],
    ['/api/sessions/ID/messages', ids],
    ['/api/sessions/ID/events', ids],
    ['/api/sessions/ID/events', ids, { 'Last-Event-ID': s.last() }],
    ['/api/tasks/ID/events', tasks],
    ['/api/generate-async/ID', tasks],
  ]) {
    const took = { deleted: [], invented: [] };
    const answers = new Set();
    for (let round = 0; round < 5; round++)
      for (let i = 0; i < 40; i++)
        for (const kind of ['deleted', 'invented']) {
          const s = await seen(path, of[kind][i], headers);
          took[kind].push(s.took);
          answers.add(s.answer);
        }
    assert.equal(answers.size, 1, [...answers].join('\n'));
    assert.match([...answers][0], /^\[404/);
    const median = (all) => all.sort((a, b) => a - b)[all.length / 2];
    const [a, b] = [median(took.deleted), median(took.invented)];
    assert.ok(Math.max(a, b) < 1.3 * Math.min(a, b), `${path}: ${a} and ${b} ms`);
  }
});

test('J2 what a model nests in the arguments of a tool is text, or fails that answer alone', async () => {
  const deep = '['.repeat(100_000) + ']'.repeat(100_000);
  const deltas = {
    text: { tool_calls: [{ index: 0, id: 'c', type: 'function', function: { name: 'f', arguments: deep } }] },
    nested: `{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":${deep}}}]}`,
    elsewhere: `{"content":"a","x":${deep}}`,
  };
  const service = http.createServer((request, answer) => {
    request.resume().on('end', () => {
      const delta = deltas[request.url.split('/')[1]];
      answer.writeHead(200, { 'Content-Type': 'text/event-stream' });
      answer.write('data: {"choices":[{"index":0,"delta":{"content":"said. "}}]}\n\n');
      answer.write(`data: {"choices":[{"index":0,"delta":${typeof delta === 'string' ? delta : JSON.stringify(delta)}}]}\n\n`);
      answer.end('data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
    });
  });
  await new Promise((r) => service.listen(0, '127.0.0.1', r));
  const config = Object.keys(deltas).map((name) =>
    `[[provider]]\nname = "${name}"\nkind = "openai"\nbase_url = "http://127.0.0.1:${service.address().port}/${name}/v1"\napi_key = "k"\n[[model]]\nname = "${name}"\nprovider = "${name}"\n`);
  const own = await startParlor({ http_proxy: '', no_proxy: '*', PARLOR_LOG_LEVEL: 'error' }, { config: config.join('') });
  try {
    for (const [model, type, code] of [['text', 'done', undefined], ['nested', 'error', 'upstream_protocol'], ['elsewhere', 'error', 'upstream_protocol']]) {
      const s = await openStream(`${own.url}/api/chat/stream`, { method: 'POST', body: { message: 'hi', model, conversation_id: model } });
      assert.equal(await s.over, 'end');
      const end = s.events.at(-1).data;
      assert.deepEqual([end.type, end.code], [type, code], JSON.stringify(end).slice(0, 300));
      const { messages } = await (await fetch(`${own.url}/api/sessions/${model}/messages`)).json();
      assert.deepEqual([messages[1].content, messages[1].partial], ['said. ', type === 'error'], model);
    }
  } finally {
    await own.remove();
    service.close();
  }
});
