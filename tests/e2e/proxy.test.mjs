// Behind an nginx that nobody has told anything about streams, and one with connections that are kept; HTTP/1.0.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { EventSource } from 'eventsource';
import { blocks, freePort, startParlor } from './server.mjs';
import { metric, openStream, textOf, until } from './streams.mjs';
import { best } from './upstream.mjs';

/** An nginx with these lines in its `http` section; resolves when it answers. */
async function startNginx(lines) {
  const dir = mkdtempSync(join(tmpdir(), 'parlor-nginx-'));
  const port = await freePort();
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((n) => `${n}_temp_path ${dir}/${n};`).join(' ');
  writeFileSync(join(dir, 'nginx.conf'), `daemon off; master_process off; pid ${dir}/nginx.pid; error_log stderr crit; events {}
    http { access_log off; ${temp} ${lines(port)} }`);
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` };
  const nginx = spawn('nginx', ['-e', 'stderr', '-c', join(dir, 'nginx.conf')], { stdio: 'inherit', env });
  const gone = new Promise((r) => nginx.once('exit', r));
  const url = `http://127.0.0.1:${port}`;
  await until(async () => {
    assert.equal(nginx.exitCode, null, 'nginx ended');
    return fetch(`${url}/readyz`).then((r) => r.ok, () => false);
  }, 'nginx');
  return {
    url,
    post: (path, body, headers) =>
      fetch(url + path, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    stop: async () => {
      nginx.kill();
      await gone;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

let parlor, stock, kept, deaf;
before(async () => {
  parlor = await startParlor({ PARLOR_SESSION_DISCONNECT_GRACE: '500ms' });
  const to = `http://127.0.0.1:${parlor.port}`;
  // Only the limit of bodies is raised: nginx has one of its own, far below Parlor's.
  stock = await startNginx((port) => `client_max_body_size 30m; server { listen 127.0.0.1:${port}; location / { proxy_pass ${to}; } }`);
  kept = await startNginx((port) => `upstream parlor { server 127.0.0.1:${parlor.port}; keepalive 2; } server { listen 127.0.0.1:${port};
    location / { proxy_pass http://parlor; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host; } }`);
  // Does not listen to what Parlor says about buffering: shows that the tests would see it.
  deaf = await startNginx((port) => `server { listen 127.0.0.1:${port}; location / { proxy_ignore_headers X-Accel-Buffering; proxy_pass ${to}; } }`);
});
after(async () => {
  for (const nginx of [stock, kept, deaf]) await nginx?.stop();
  await parlor?.remove();
});

/** Three pieces, and then nothing until the turn is cancelled: who has them has not waited for the end. */
const stalled = { message: 'count to 9', rehearsal: 'stall:3' };
const start = async (nginx, more = {}) => {
  const s = await openStream(`${nginx.url}/api/chat/stream`, { method: 'POST', body: { ...stalled, ...more } });
  await until(() => textOf(s.events).trim() === '1 2 3', 'three pieces');
  return Object.assign(s, { task: s.events[0].data.task_id });
};
const cancel = (nginx, task) => fetch(`${nginx.url}/api/generate-async/${task}`, { method: 'DELETE' });
const status = async (task) => (await (await fetch(`${parlor.url}/api/generate-async/${task}`)).json()).status;

test('H17 through stock settings the first piece is there within 200 ms', async () => {
  const took = await best(200, async () => {
    const from = performance.now();
    const s = await openStream(`${stock.url}/api/chat/stream`, { method: 'POST', body: { message: 'count to 9', rehearsal: 'stall:1' } });
    await s.has('chunk');
    const ms = performance.now() - from;
    s.leave();
    await cancel(stock, s.events[0].data.task_id);
    return ms;
  });
  assert.ok(took < 200, took);
});

for (const [name, nginx] of [['stock settings', () => stock], ['connections that are kept', () => kept]]) {
  test(`${name}: pieces arrive as they are said, and so does the end`, async () => {
    const s = await start(nginx());
    assert.equal(s.headers['x-accel-buffering'], undefined); // it was for nginx
    assert.match(s.headers['x-session-id'], /^session_/);
    const source = new EventSource(`${nginx().url}/api/generate-async/${s.task}/stream?deltas=1`);
    const seen = [];
    source.onmessage = (m) => seen.push(JSON.parse(m.data));
    await until(() => seen.some((e) => e.type === 'status_update' || e.type === 'chunk'), 'what a page sees');
    assert.equal((await cancel(nginx(), s.task)).status, 200);
    assert.equal(await s.over, 'end');
    assert.equal(s.events.at(-1).data.code, 'cancelled');
    await until(() => seen.at(-1).type === 'cancelled', 'its end');
    source.close();
  });

  test(`${name}: a stream is picked up where it was left`, async () => {
    const s = await start(nginx());
    s.leave();
    const again = await openStream(`${nginx().url}/api/tasks/${s.task}/events`, { headers: { 'Last-Event-ID': s.events[1].id } });
    await until(() => again.events.length === s.events.length - 2, 'the rest');
    assert.deepEqual(again.events, s.events.slice(2));
    await cancel(nginx(), s.task);
    assert.equal(await again.over, 'end');
    const over = await fetch(`${nginx().url}/api/tasks/${s.task}/events`, { headers: { 'Last-Event-ID': again.last() } });
    assert.equal(over.status, 204);
  });

  test(`${name}: who leaves cancels, if it said so, and only then`, async () => {
    const stays = await start(nginx());
    const goes = await start(nginx(), { cancel_on_disconnect: true });
    stays.leave();
    goes.leave();
    await until(async () => (await status(goes.task)) === 'cancelled', 'cancelled');
    assert.equal(await status(stays.task), 'running');
    await cancel(nginx(), stays.task);
  });

  test(`${name}: whole answers, unchanged ones and errors pass`, async () => {
    const { task_id } = await (await nginx().post('/api/chat', { message: 'Hello, I am Zhang San' })).json();
    const url = `${nginx().url}/api/generate-async/${task_id}`;
    const first = await fetch(url);
    assert.equal((await first.json()).result.content, 'Hello Zhang San!');
    assert.equal((await fetch(url, { headers: { 'If-None-Match': first.headers.get('etag') } })).status, 304);
    assert.equal((await nginx().post('/api/chat', '{')).status, 400);
    const zh = await (await nginx().post('/api/chat', '{}', { 'Accept-Language': 'zh-CN' })).json();
    assert.match(zh.title, /[\u4e00-\u9fff]/);
  });
}

test('a proxy that does not listen holds streams back: the tests above would see it', async () => {
  const s = openStream(`${deaf.url}/api/chat/stream`, { method: 'POST', body: { ...stalled, conversation_id: 'deaf' } });
  const task = await until(async () => {
    const r = await fetch(`${parlor.url}/api/sessions/deaf`);
    return r.ok && (await r.json()).active_task;
  }, 'a turn');
  const direct = await openStream(`${parlor.url}/api/tasks/${task}/events`);
  await cancel(parlor, task);
  assert.equal(await direct.over, 'end');
  const held = await s;
  assert.equal(await held.over, 'end');
  assert.deepEqual(held.events, direct.events); // late, but whole
});

test('bodies of 25 MiB pass, and larger ones are refused by name', async () => {
  const limit = 25 * 1024 * 1024;
  const body = (size) => '{"message":"Hello, I am Zhang San"}'.padEnd(size, ' ');
  const r = await stock.post('/api/chat', body(limit));
  assert.equal(r.status, 200);
  assert.equal((await r.json()).response, 'Hello Zhang San!');
  const refused = await stock.post('/api/chat', body(limit + 1));
  assert.equal(refused.status, 413);
  assert.equal((await refused.json()).code, 'body_too_large');
});

test('connections are kept between answers, and not after a stream', async () => {
  const ask = async () => assert.equal((await kept.post('/api/chat', { message: 'hi' })).status, 200);
  await ask();
  const before = await metric(parlor, 'parlor_http_connections_total');
  for (let i = 0; i < 20; i++) await ask();
  assert.ok((await metric(parlor, 'parlor_http_connections_total')) - before <= 5);
  for (let i = 0; i < 10; i++) { // a connection that is used once more than it lives would be a 502
    const events = blocks(await (await kept.post('/api/chat/stream', { message: 'count to 3' })).text());
    assert.equal(textOf(events), '1 2 3');
    await ask();
  }
});

/** Sends a request as a program of 1996 would, and resolves with everything until the connection ends. */
function old(text, until = () => false) {
  return new Promise((resolve, reject) => {
    let got = '';
    const s = connect(parlor.port, '127.0.0.1', () => s.write(text));
    s.setTimeout(60000, () => s.destroy(new Error(`no end: ${got}`)));
    s.on('error', reject).on('close', () => resolve(got)).on('data', (d) => {
      got += d;
      if (until(got)) s.end();
    });
  });
}
const request = (method, path, body = '', more = '') =>
  `${method} ${path} HTTP/1.0\r\n${more}${body && `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`}\r\n${body}`;
const local = 'Host: 127.0.0.1\r\n';

test('HTTP/1.0: answers have a length, streams end with the connection, nothing is in chunks', async () => {
  const chat = await old(request('POST', '/api/chat', '{"message":"count to 3"}', local));
  assert.match(chat, /^HTTP\/1\.[01] 200 /);
  assert.doesNotMatch(chat, /transfer-encoding/i);
  const [head, body] = chat.split('\r\n\r\n');
  assert.equal(Number(/content-length: (\d+)/i.exec(head)[1]), Buffer.byteLength(body));
  assert.equal(JSON.parse(body).response, '1 2 3');

  const stream = await old(request('POST', '/api/chat/stream', '{"message":"count to 3"}', local));
  assert.doesNotMatch(stream, /transfer-encoding|content-length/i);
  assert.match(stream, /\r\nconnection: close\r\n/i);
  const said = stream.slice(stream.indexOf('\r\n\r\n') + 4);
  assert.match(said, /^id: /);
  assert.match(said, /\n\n$/);
  assert.equal(textOf(blocks(said)), '1 2 3');
});

test('HTTP/1.0: a connection is kept if that is asked for', async () => {
  const two = await old(request('GET', '/livez', '', 'Connection: keep-alive\r\n') + request('GET', '/livez'));
  assert.equal(two.match(/HTTP\/1\.[01] 200 /g).length, 2);
  assert.match(two, /\r\nconnection: keep-alive\r\n/i);
});

test('HTTP/1.0: pieces arrive before the end, and who leaves cancels if it said so', async () => {
  const body = JSON.stringify({ ...stalled, conversation_id: 'old', cancel_on_disconnect: true });
  const said = (got) => textOf(blocks(got.slice(got.lastIndexOf('\r\n\r\n'))));
  const text = await old(request('POST', '/api/chat/stream', body, local), (got) => said(got).trim() === '1 2 3');
  const { task_id } = JSON.parse(/\{"type":"start".*\}/.exec(text)[0]);
  await until(async () => (await status(task_id)) === 'cancelled', 'cancelled');
});
