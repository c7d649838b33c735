// docs/hard-edges.md, U10: model services whose name leads nowhere, late, or to many addresses.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import http from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { entries } from './metrics.mjs';
import { startNames } from './names.mjs';
import { blocks, startParlor } from './server.mjs';
import { until } from './streams.mjs';
import { direct, scriptedModels } from './upstream.mjs';

const key = 'sk-canary-name-4b1d';
const refusing = Array.from({ length: 50 }, (_, i) => `127.66.0.${i + 1}`); // nobody listens there
const swallowing = Array.from({ length: 50 }, (_, i) => `127.77.0.${i + 1}`); // see startHole

let keeps = ['127.0.0.1']; // of kept.test
let release; // of held.test
const held = new Promise((r) => (release = r));
const never = () => new Promise(() => {});
const names = await startNames({
  'good.test': ['127.0.0.1'],
  'broken.test': 2,
  'empty.test': [],
  'made.test': (times) => (times === 1 ? 3 : ['127.0.0.1']),
  'kept.test': () => keeps,
  'held.test': () => held,
  'late.test': () => new Promise((r) => setTimeout(r, 5000, ['127.0.0.1'])),
  'mute.test': never,
  'silent.test': never,
  'second.test': ['127.0.0.3', '127.0.0.1'],
  'refuse.test': refusing,
  'swallow.test': swallowing,
});
const skip = names.why ?? false;

/** Addresses that answer nothing at all: one socket for all of 127.0.0.0/8 that accepts nobody, and whose queue is full. */
async function startHole() {
  const script = `const s = require('node:net').createServer().listen({ port: 0, host: '0.0.0.0', backlog: 1 }, () => {
    console.log(s.address().port);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600_000); // longer than anybody waits
  });`;
  const process_ = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const port = Number(await new Promise((r) => createInterface(process_.stdout).once('line', r)));
  let taken = 0;
  const queue = Array.from({ length: 8 }, () => connect(port, '127.0.0.1', () => ++taken).on('error', () => {}));
  await until(() => taken >= 2, 'its queue is full');
  return { port, stop: () => (queue.forEach((s) => s.destroy()), process_.kill('SIGKILL')) };
}

/** A service whose answer says which address was found. */
const service = http.createServer((request, response) => {
  request.resume().on('end', () => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    const content = `from ${request.socket.localAddress}`;
    response.end(`data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason: 'stop' }] })}\n\ndata: [DONE]\n\n`);
  });
});
const patient = ['good', 'broken', 'empty', 'nowhere', 'made', 'kept', 'held', 'late', 'second', 'silent'];
const hasty = ['mute', 'refuse', 'swallow'];
const connectTimeout = 400;
const backoff = 20;
let parlor, hole;
before(async () => {
  if (skip) return;
  hole = await startHole();
  await new Promise((r) => service.listen(0, '127.0.0.1', r));
  const base = (name) => `http://${name}.test:${name === 'swallow' ? hole.port : service.address().port}/v1`;
  const config = scriptedModels(base, patient) + scriptedModels(base, hasty, { model: `connect_timeout = "${connectTimeout}ms"` });
  const env = { ...direct, TEST_KEY: key, PARLOR_TASK_BACKOFF: `${backoff}ms`, PARLOR_LOG_LEVEL: 'trace', PARLOR_LOG_FORMAT: 'json' };
  parlor = await startParlor(env, { config, inside: names.inside });
});
after(async () => {
  await parlor?.remove();
  hole?.stop();
  service.close();
  service.closeAllConnections();
  names.stop?.();
});

let next = 0;
const fresh = () => `n${++next}`;
const lookups = (name) => names.asked.filter((n) => n === `${name}.test`).length;
const chat = async (model, conversation_id = fresh()) => {
  const from = performance.now();
  const r = await parlor.post('/api/chat', { message: 'hi', model, conversation_id });
  return { status: r.status, ...(await r.json()), took: performance.now() - from };
};
const stream = async (model) => blocks(await (await parlor.post('/api/chat/stream', { message: 'hi', model })).text()).map((e) => e.data);
const usage = (task) => {
  const query = `SELECT error, exact FROM usage WHERE task = '${task}'`;
  const r = spawnSync('sqlite3', ['-json', '-readonly', join(parlor.dir, 'parlor.db'), query], { encoding: 'utf8' });
  assert.equal(r.status, 0, r.stderr);
  return JSON.parse(r.stdout || '[]');
};
/** All that three attempts may take, of which each gives up in time. */
const bound = 3 * connectTimeout + 4 * backoff + 1500;

for (const [model, what] of [['nowhere', 'a name that does not exist'], ['empty', 'one without addresses'], ['broken', 'one that nobody can tell of']])
  test(`U10 ${what} is upstream_unreachable at once, looked up by each attempt`, { skip }, async () => {
    const answer = await chat(model);
    assert.deepEqual([answer.status, answer.code, lookups(model)], [502, 'upstream_unreachable', 3]);
    assert.ok(answer.took < 2000, `${answer.took} ms`);
    const lines = await until(() => {
      const all = entries(parlor.output.slice(0, parlor.output.lastIndexOf('\n') + 1)).filter((e) => e.model === model);
      return all.length === 3 && all;
    }, 'three lines about it');
    assert.deepEqual(lines.map((l) => [l.msg, l.code, l.detail]), [
      ...Array(2).fill(['attempt_failed', 'upstream_unreachable', "Couldn't resolve host name"]),
      ['task_failed', 'upstream_unreachable', "Couldn't resolve host name"],
    ]);
    assert.deepEqual(usage(lines[0].task), Array(3).fill({ error: 'upstream_unreachable', exact: 0 }));
    const events = await stream(model);
    assert.deepEqual(events.map((e) => e.type), ['start', 'retry', 'retry', 'error']);
    assert.deepEqual(events.filter((e) => e.type === 'retry').map((e) => e.discard ?? false), [false, false]);
    // A client is not told where its model lives.
    for (const text of [JSON.stringify(answer), JSON.stringify(events)]) assert.ok(!text.includes(key) && !text.includes('.test'), text);
    assert.ok(!(parlor.output + parlor.log).includes(key));
  });

test('U10 a name that comes to be between two attempts is found by the second', { skip }, async () => {
  const events = await stream('made');
  assert.deepEqual(events.map((e) => e.type), ['start', 'retry', 'chunk', 'done']);
  assert.deepEqual([events.at(-1).content, lookups('made')], ['from 127.0.0.1', 2]);
});

test('U10 a connection that is kept needs no name service, and follows no name', { skip }, async () => {
  assert.equal((await chat('kept')).response, 'from 127.0.0.1');
  for (const now of [2, ['127.0.0.3']]) {
    keeps = now;
    assert.equal((await chat('kept')).response, 'from 127.0.0.1');
  }
  assert.equal(lookups('kept'), 1);
});

test('U10 while names are looked up nobody else waits, and the turns succeed when they are found', { skip }, async () => {
  const waiting = Array.from({ length: 20 }, () => chat('held'));
  const late = chat('late'); // five seconds
  await until(() => lookups('held') === 20 && lookups('late') === 1, 'all look it up');
  const ready = async () => {
    const from = performance.now();
    assert.equal((await fetch(`${parlor.url}/readyz`)).status, 200);
    return performance.now() - from;
  };
  const times = [];
  let over = false;
  late.then(() => (over = true));
  while (!over) {
    times.push(await ready());
    assert.equal((await chat('good')).response, 'from 127.0.0.1');
    await new Promise((r) => setTimeout(r, 10)); // others use this machine, too
  }
  assert.ok(times.length > 20, `${times.length}`);
  const median = times.sort((a, b) => a - b)[times.length >> 1];
  assert.ok(median < 100, `${median} ms`);
  assert.deepEqual([(await late).status, (await late).response], [200, 'from 127.0.0.1']);
  assert.ok((await late).took >= 4900, `${(await late).took} ms`);
  release(['127.0.0.1']);
  for (const answer of await Promise.all(waiting)) assert.deepEqual([answer.status, answer.response], [200, 'from 127.0.0.1']);
});

test('U10 a name service that says nothing is upstream_timeout, each attempt after connect_timeout', { skip }, async () => {
  const answer = await chat('mute');
  assert.deepEqual([answer.status, answer.code, lookups('mute')], [504, 'upstream_timeout', 3]);
  assert.ok(answer.took >= 3 * connectTimeout && answer.took < bound, `${answer.took} ms`);
});

test('U11 U12 a turn that looks up a name is cancelled at once, and counted', { skip }, async () => {
  const { taskId } = await (await parlor.post('/api/generate-async', { prompt: 'hi', model: 'silent' })).json();
  await until(() => lookups('silent') === 1, 'it is looked up');
  const from = performance.now();
  assert.equal((await fetch(`${parlor.url}/api/generate-async/${taskId}`, { method: 'DELETE' })).status, 200);
  assert.ok(performance.now() - from < 1000, `${performance.now() - from} ms`); // it would wait for ten seconds
  assert.equal((await (await fetch(`${parlor.url}/api/generate-async/${taskId}`)).json()).status, 'cancelled');
  assert.deepEqual(usage(taskId), [{ error: 'cancelled', exact: 0 }]);
});

test('U10 a lookup without end does not hold up an orderly stop', { skip }, async () => {
  const config = scriptedModels(() => 'http://silent.test/v1', ['silent']);
  const own = await startParlor({ ...direct, TEST_KEY: key, PARLOR_DRAIN_TIMEOUT: '100ms' }, { config, inside: names.inside });
  try {
    const before = lookups('silent');
    await own.post('/api/generate-async', { prompt: 'hi', model: 'silent' });
    await until(() => lookups('silent') > before, 'it is looked up');
    const from = performance.now();
    assert.deepEqual(await own.stop(), { code: 0, signal: null });
    assert.ok(performance.now() - from < 3000, `${performance.now() - from} ms`);
  } finally {
    await own.remove();
  }
});

test('U10 where the first address refuses, the second is found', { skip }, async () => {
  const answer = await chat('second');
  assert.deepEqual([answer.status, answer.response, lookups('second')], [200, 'from 127.0.0.1', 1]);
});

for (const [model, what] of [['swallow', 'answer nothing'], ['refuse', 'refuse']])
  test(`U10 fifty addresses that all ${what} take no longer than one`, { skip }, async () => {
    const answer = await chat(model);
    assert.equal(answer.code, model === 'swallow' ? 'upstream_timeout' : 'upstream_unreachable');
    assert.equal(answer.status, answer.code === 'upstream_timeout' ? 504 : 502);
    assert.ok(answer.took < bound, `${answer.took} ms`);
    assert.equal((await chat('good')).status, 200);
  });
