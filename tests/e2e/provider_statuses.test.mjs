// docs/hard-edges.md, U7: what becomes of each status of a model service, and of what it says about when to come again.
// That the waits are kept to the millisecond is in tests/actors/task.cpp, in virtual time.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import http from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { blocks, startParlor } from './server.mjs';
import { openStream } from './streams.mjs';
import { direct, scriptedModels } from './upstream.mjs';

const backoff = 40;
const asked = new Map(); // when a model was asked, and how often
const later = (ms, now = Date.now()) => new Date(now + ms).toUTCString();
/** What is said in `Retry-After` by the models of that name; the first call gets 429. */
const waits = {
  absent: undefined,
  five: '5',
  'five-and-a-half': '5.5',
  negative: '-1',
  'negative-zero': '-0',
  zero: '0',
  'far-too-long': '99999',
  'beyond-numbers': '9'.repeat(40),
  words: 'soon',
  empty: '',
  'with-unit': '5s',
  date: () => later(20_000),
  'date-far-off': () => later(86_400_000),
  'date-past': () => later(-86_400_000),
  'date-broken': 'Thu, 99 Foo 2030 00:00:00 GMT',
};

const service = http.createServer((request, response) => {
  request.resume().on('end', () => {
    const name = request.url.split('/')[1];
    const n = asked.get(name)?.length ?? 0;
    asked.set(name, [...(asked.get(name) ?? []), performance.now()]);
    const [status, then] = name.split('-then-');
    if (n > 0 && then === 'ok') {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' });
      return response.end('data: {"choices":[{"index":0,"delta":{"content":"at last"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
    }
    const wait = name in waits ? waits[name] : undefined;
    const said = typeof wait === 'function' ? wait() : wait;
    // What such services add, and a client must not take for ours.
    const headers = { 'WWW-Authenticate': 'Basic realm="theirs"', 'Set-Cookie': 'a=theirs', 'X-Request-Id': 'theirs', 'Content-Type': 'application/json' };
    response.writeHead(name in waits ? 429 : Number(status), { ...headers, ...(said === undefined ? {} : { 'Retry-After': said }) });
    response.end(response.statusCode === 204 || response.statusCode === 304 ? '' : '{"error":{"message":"theirs"}}');
  });
});

const three = { calls: 3, code: 'upstream_error', status: 502 };
const rejected = { calls: 1, code: 'upstream_rejected', status: 502 };
const nothing = { calls: 1, code: 'upstream_protocol', status: 502 };
const refused = { calls: 1, code: 'upstream_auth', status: 502 }; // never 401: it is not the client's key that is wrong
const statuses = {
  400: rejected, 401: refused, 402: rejected, 403: refused, 404: rejected, 405: rejected, 408: three, 409: three, 410: rejected, 413: rejected,
  418: rejected, 422: rejected, 429: { calls: 3, code: 'upstream_rate_limited', status: 503 }, 451: rejected,
  500: three, 501: three, 502: three, 503: three, 504: three, 529: three, 599: three,
  201: nothing, 204: nothing, 206: nothing, 301: nothing, 304: nothing, 308: nothing,
};
const passing = Object.keys(statuses).filter((s) => statuses[s].calls > 1);

let parlor;
before(async () => {
  await new Promise((r) => service.listen(0, '127.0.0.1', r));
  const models = [...Object.keys(statuses), ...passing.map((s) => `${s}-then-ok`), ...Object.keys(waits)];
  const base = (name) => `http://127.0.0.1:${service.address().port}/${name}/v1`;
  const config = scriptedModels(base, models) +
    scriptedModels(() => base('far-too-long'), ['no-time'], { model: 'total_timeout = "20s"' }) +
    scriptedModels(() => base('503'), ['once'], { model: 'attempts = 1' });
  parlor = await startParlor({ ...direct, TEST_KEY: 'k', PARLOR_TASK_BACKOFF: `${backoff}ms`, PARLOR_LOG_LEVEL: 'error' }, { config });
});
after(async () => {
  await parlor?.remove();
  service.close();
  service.closeAllConnections();
});

let next = 0;
const fresh = () => `u${++next}`;
const calls = (name) => asked.get(name)?.length ?? 0;
const chat = (model, id = fresh()) => parlor.post('/api/chat', { message: 'hi', model, conversation_id: id });
const stream = async (model) => {
  const r = await parlor.post('/api/chat/stream', { message: 'hi', model, conversation_id: fresh() });
  return blocks(await r.text()).map((e) => e.data);
};
const usage = (task) => {
  const query = `SELECT attempt, error FROM usage WHERE task = '${task}' ORDER BY attempt`;
  const r = spawnSync('sqlite3', ['-json', '-readonly', join(parlor.dir, 'parlor.db'), query], { encoding: 'utf8' });
  assert.equal(r.status, 0, r.stderr);
  return JSON.parse(r.stdout || '[]');
};
/** The waits that the events of a turn announce are within what is documented: the backoff doubles, and a fifth at most is added. */
function assertWaits(events, what) {
  const announced = events.filter((e) => e.type === 'retry').map((e) => e.delay_ms);
  announced.forEach((ms, i) => assert.ok(ms >= backoff * 2 ** i && ms <= backoff * 2 ** i * 1.2, `${what}: ${announced}`));
  return announced;
}

for (const [name, { calls: times, code, status }] of Object.entries(statuses))
  test(`U7 ${name} is asked ${times === 1 ? 'once' : 'three times'} and becomes ${code}`, async () => {
    const r = await chat(name);
    const text = await r.text();
    const problem = JSON.parse(text);
    assert.deepEqual([r.status, problem.status, problem.code, calls(name)], [status, status, code, times]);
    assert.ok(!(text + JSON.stringify([...r.headers])).includes('theirs'), 'what the service says of it is not passed on');
    assert.equal(r.headers.get('www-authenticate'), null);
    assert.equal(r.headers.has('retry-after'), times > 1); // of the server's own, where asking again may help
    const events = await stream(name);
    assert.deepEqual(events.map((e) => e.type), ['start', ...Array(times - 1).fill('retry'), 'error']);
    assert.deepEqual([events.at(-1).code, calls(name)], [code, 2 * times]);
    assertWaits(events, name);
    assert.deepEqual(usage(events[0].task_id), Array.from({ length: times }, (_, i) => ({ attempt: i + 1, error: code })));
    // The calls came as far apart as was announced.
    const [first, ...more] = asked.get(name).slice(times);
    more.forEach((at, i) => assert.ok(at - first >= backoff * (2 ** (i + 1) - 1) - 2, `${at - first} ms`));
  });

test('U7 what can pass and passes is seen by nobody', async () => {
  for (const status of passing) {
    const name = `${status}-then-ok`;
    const r = await chat(name);
    assert.deepEqual([r.status, (await r.json()).response, calls(name)], [200, 'at last', 2], name);
  }
});

test('U7 task.attempts is how often a turn is tried', async () => {
  const before = calls('503');
  const r = await chat('once');
  assert.deepEqual([r.status, (await r.json()).code, calls('503') - before], [502, 'upstream_error', 1]);
});

/** The wait after the first call, as it is announced. The turn is cancelled then, and does not wait for it. */
async function announced(model) {
  const s = await openStream(`${parlor.url}/api/chat/stream`, { method: 'POST', body: { message: 'hi', model, conversation_id: fresh() } });
  await s.has('retry');
  const { task_id } = s.events[0].data;
  await fetch(`${parlor.url}/api/generate-async/${task_id}`, { method: 'DELETE' });
  assert.equal(await s.over, 'end');
  return s.events.find((e) => e.data.type === 'retry').data.delay_ms;
}

const own = [backoff, backoff * 1.2];
for (const [name, [least, most], what] of [
  ['absent', own, 'nothing'],
  ['five', [5000, 6000], 'seconds'],
  ['five-and-a-half', [5000, 6600], 'a fraction'],
  ['zero', own, 'zero'],
  ['negative-zero', own, 'less than zero'],
  ['negative', own, 'less than zero'],
  ['far-too-long', [30_000, 36_000], 'more than half a minute'],
  ['words', own, 'words'],
  ['empty', own, 'an empty line'],
  ['with-unit', own, 'a number with something behind it'],
  ['date', [18_500, 24_000], 'a date'],
  ['date-far-off', [30_000, 36_000], 'a date far off'],
  ['date-past', own, 'a date that is past'],
  ['date-broken', own, 'no date'],
])
  test(`U7 Retry-After that says ${what} (${name}) is a wait of ${least} to ${most} ms`, async () => {
    const ms = await announced(name);
    assert.ok(ms >= least && ms <= most, `${ms} ms`);
    assert.equal(calls(name), 1);
  });

test('U7 a number that no number can hold is no wait without end', async () => {
  const ms = await announced('beyond-numbers');
  assert.ok(ms >= backoff && ms <= 36_000, `${ms} ms`);
});

test('U7 a wait beyond the deadline of the turn is not begun', async () => {
  const before = calls('far-too-long');
  const from = performance.now();
  const r = await chat('no-time');
  assert.deepEqual([r.status, (await r.json()).code, calls('far-too-long') - before], [503, 'upstream_rate_limited', 1]);
  assert.ok(performance.now() - from < 5000);
});

test('U7 the waits are not all the same, and within their bounds', async () => {
  const all = await Promise.all(Array.from({ length: 40 }, () => stream('503')));
  const announced = all.map((events) => assertWaits(events, '503'));
  for (const i of [0, 1]) assert.ok(new Set(announced.map((a) => a[i])).size > 2, `${announced.map((a) => a[i])}`);
});
