// docs/hard-edges.md, U10: names with several addresses, of which some are dead.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import http from 'node:http';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { startNames } from './names.mjs';
import { startParlor } from './server.mjs';
import { until } from './streams.mjs';
import { direct, scriptedModels } from './upstream.mjs';

// Who looks a name up sorts what it finds: nearer to the own address comes first. 127.128.0.1 is the farthest, so it stays the last.
const last = '127.128.0.1';
const refusing = (n) => Array.from({ length: n }, (_, i) => `127.0.0.${i + 10}`);
let flips = ['127.128.0.1'];
const names = await startNames({
  'two.test': [...refusing(2), last],
  'fifty.test': [...refusing(49), last],
  'silent-first.test': ['127.0.0.9', last],
  'none.test': refusing(50),
  'flips.test': () => flips,
});
const skip = names.why ?? false;
const listen = (address, port) => new Promise((resolve) => {
  const server = http.createServer((request, response) => request.resume().on('end', () => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream', Connection: 'close' });
    response.end(`data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: `from ${address}` }, finish_reason: 'stop' }] })}\n\ndata: [DONE]\n\n`);
  }));
  server.listen(port, address, () => resolve(server));
});
let parlor, hole, service, other;
before(async () => {
  hole = spawn(process.execPath, ['-e', `const s = require('node:net').createServer().listen({ port: 0, host: '127.0.0.9', backlog: 1 }, () => {
    console.log(s.address().port);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  })`], { stdio: ['ignore', 'pipe', 'inherit'] });
  const port = Number(await new Promise((r) => createInterface(hole.stdout).once('line', r)));
  let taken = 0;
  for (let i = 0; i < 8; i++) connect(port, '127.0.0.9', () => ++taken).on('error', () => {}).unref();
  await until(() => taken >= 2, 'its queue is full');
  service = await listen(last, port);
  const config = scriptedModels((name) => `http://${name}.test:${port}/v1`, ['two', 'fifty', 'silent-first', 'none', 'flips']);
  const env = { ...direct, TEST_KEY: 'k', PARLOR_TASK_BACKOFF: '20ms', PARLOR_TASK_CONNECT_TIMEOUT: '2s', PARLOR_TASK_TOTAL_TIMEOUT: '20s', PARLOR_LOG_LEVEL: 'error' };
  parlor = await startParlor(env, { config, inside: names.inside });
});
after(async () => {
  await parlor?.remove();
  hole?.kill('SIGKILL');
  service?.close();
  other?.close();
  names.stop?.();
});
const chat = async (model) => (await parlor.post('/api/chat', { message: 'hi', model })).json();

for (const model of ['two', 'fifty', 'silent-first'])
  test(`U10 the last address of ${model}.test answers`, { skip }, async () => assert.equal((await chat(model)).response, `from ${last}`));

test('U10 fifty addresses that all refuse are upstream_unreachable, and at once', { skip }, async () => {
  const from = Date.now();
  assert.equal((await chat('none')).code, 'upstream_unreachable');
  assert.ok(Date.now() - from < 2000);
});

test('U10 a name that leads elsewhere since the last turn is followed', { skip }, async () => {
  assert.equal((await chat('flips')).response, `from ${last}`);
  const { port } = service.address();
  await new Promise((r) => service.close(r));
  flips = ['127.128.0.2'];
  other = await listen('127.128.0.2', port);
  assert.equal((await chat('flips')).response, 'from 127.128.0.2');
});
