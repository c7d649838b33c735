// docs/clients/plan-callback.md: services that fail, callbacks that are refused, and the settings of both.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { callback, data, error, json, start, startPlanner, stream } from './planner.mjs';
import { until } from './streams.mjs';

let server;
let n = 0;
before(async () => {
  server = await startPlanner();
});
after(() => server?.remove());

const fresh = () => `plan-${++n}`;

test('the service is down: three attempts, each announced, then an error in friendly words', async () => {
  server.external = null;
  const id = fresh();
  const page = await stream(server, id);
  const before = server.asked.length;
  await start(server, id);
  await page.has('error');
  const told = data(page);
  assert.deepEqual(told.filter((d) => d.type === 'retry').map((d) => d.attempt), [2, 3]);
  assert.ok(told.find((d) => d.type === 'retry').delay_ms >= 30);
  assert.match(told.at(-1).message, /service is not available/);
  assert.equal(server.asked.length, before + 3);
  const urls = server.asked.slice(before).map((b) => b.callbackUrl);
  assert.equal(new Set(urls).size, 3); // each attempt has a token of its own
  page.leave();
});

test('a service that refuses for good is asked once', async () => {
  server.external = () => 400;
  const id = fresh();
  const page = await stream(server, id);
  const before = server.asked.length;
  await start(server, id);
  await page.has('error');
  assert.equal(server.asked.length, before + 1);
  page.leave();
});

test('no answer in time is generation_timeout; what comes later is 409', async () => {
  const slow = await startPlanner({ PARLOR_PLAN_RESULT_TIMEOUT: '200ms', PARLOR_LOG_LEVEL: 'info' });
  try {
    slow.external = () => 202;
    const page = await stream(slow, 'late');
    const { body } = await start(slow, 'late');
    await page.has('error');
    assert.equal(data(page).at(-1).code, 'generation_timeout');
    const late = await callback(body.callbackUrl, { data: { too: 'late' } });
    assert.equal(late.status, 409);
    error('not_waiting', 'late')(late);
    await until(() => slow.output.includes('plan_callback_too_late'), 'a line about it');
    for (const line of ['plan_session_registered', 'task_failed']) assert.ok(slow.output.includes(line), line);
    const stats = await slow.stats();
    assert.equal(stats.timeoutRate, 1);
    assert.equal(stats.statuses.error, 1);
    page.leave();
  } finally {
    await slow.remove();
  }
});

test('C3 foreign, forged and missing tokens are 403; the session is not touched', async () => {
  server.external = () => 202;
  const [mine, other] = [fresh(), fresh()];
  const a = (await start(server, mine)).body.callbackUrl;
  const b = (await start(server, other)).body.callbackUrl;
  const token = (url) => new URL(url).searchParams.get('token');
  const at = (id, t) => `${server.url}/api/plan/update?sessionId=${id}${t === undefined ? '' : `&token=${t}`}`;
  for (const url of [at(mine), at(mine, ''), at(mine, token(b)), at(mine, `${token(a)}x`), at(mine, token(a).slice(0, -1)), at(mine, '1.task_1.AAAA')]) {
    const answer = await callback(url, { data: { evil: true } });
    assert.equal(answer.status, 403, url);
    error('bad_token', mine)(answer);
  }
  assert.equal((await callback(at(mine, token(a)), { data: { good: true } })).status, 200);
  // The token of an earlier generation ends nothing any more.
  const next = (await start(server, mine)).body.callbackUrl;
  assert.equal((await callback(a, { data: { old: true } })).status, 409);
  assert.equal((await callback(a, { data: { good: true } })).status, 200); // said before, word for word
  assert.equal((await callback(next, { data: { new: true } })).status, 200);
});

test('C3 J2 bad callbacks: the documented status, and the task goes on', async () => {
  server.external = () => 202;
  const id = fresh();
  const { callbackUrl } = (await start(server, id)).body;
  const token = new URL(callbackUrl).searchParams.get('token');
  const bare = `${server.url}/api/plan/update?token=${token}`;
  const big = `{"data":{"a":"${'x'.repeat(4 * 1024 * 1024)}"}}`;
  for (const [url, body, status, code] of [
    [callbackUrl, '{', 400, 'bad_json'],
    [callbackUrl, '[]', 400, 'bad_json'],
    [callbackUrl, '', 400, 'bad_json'],
    [callbackUrl, `{"data":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 400, 'bad_json'],
    [callbackUrl, { data: 7 }, 400, 'invalid_field'],
    [callbackUrl, { progress: 101, message: 'm' }, 400, 'invalid_field'],
    [callbackUrl, big, 413, 'body_too_large'],
    [bare, { data: {} }, 400, 'invalid_field'],
    [`${server.url}/api/plan/update?sessionId=nobody&token=${token}`, { data: {} }, 404, 'session_not_found'],
    [`${server.url}/api/plan/update?sessionId=a%20b&token=${token}`, { data: {} }, 400, 'invalid_field'],
  ]) {
    const answer = await callback(url, body);
    assert.equal(answer.status, status, `${url} ${JSON.stringify(body).slice(0, 60)}`);
    assert.equal(answer.body.error.code, code);
    assert.equal(answer.body.success, false);
  }
  assert.equal((await callback(bare, { sessionId: id, data: { by: 'body' } })).status, 200); // the fallback
});

test('C3 a thousand callbacks at once that say the same are one event', async () => {
  server.external = () => 202;
  const id = fresh();
  const page = await stream(server, id);
  const { callbackUrl } = (await start(server, id)).body;
  const answers = await Promise.all(Array.from({ length: 1000 }, () => callback(callbackUrl, { data: { one: 1 } })));
  assert.ok(answers.every((a) => a.status === 200 && a.body.status === 'completed'));
  await page.has('plan');
  assert.equal((await callback(callbackUrl, { progress: 50 })).status, 409); // out of order
  assert.deepEqual(page.types(), ['connected', 'status', 'plan']);
  page.leave();
});

test('bad starts and registrations', async () => {
  for (const [body, status, code] of [
    ['', 400, 'bad_json'],
    ['[]', 400, 'bad_json'],
    [{ request: {} }, 400, 'invalid_field'],
    [{ sessionId: 'a b', request: {} }, 400, 'invalid_field'],
    [{ sessionId: 'x' }, 400, 'invalid_field'],
    [{ sessionId: 'x', request: 'text' }, 400, 'invalid_field'],
  ]) {
    const answer = await json(await server.post('/api/plan/generate', body));
    assert.equal(answer.status, status, JSON.stringify(body));
    assert.equal(answer.body.error.code, code);
  }
  assert.equal((await server.post('/api/plan/generate', '{}', { 'Content-Type': 'text/plain' })).status, 415);
  for (const query of ['', '?sessionId=', '?sessionId=a%20b'])
    assert.equal((await fetch(`${server.url}/api/plan/stream${query}`)).status, 400, query);
  assert.equal((await stream(server, fresh(), { 'Last-Event-ID': 'nonsense' })).status, 400);
  assert.equal((await fetch(`${server.url}/api/plan/update`)).status, 405);
});

test('without a service: 503 with the reason; with a key: callbacks need only their token', async () => {
  const bare = await startPlanner({ EXTERNAL_API_URL: '' });
  try {
    const answer = await start(bare, 'x');
    assert.equal(answer.status, 503);
    error('not_configured', null)(answer);
    assert.equal((await stream(bare, 'x')).status, 200);
  } finally {
    await bare.remove();
  }
  const locked = await startPlanner({ PARLOR_SERVER_KEY: 'k', PARLOR_SERVER_PUBLIC_URL: 'https://plans.example/parlor/' });
  try {
    locked.external = () => 202;
    assert.equal((await start(locked, 'x')).status, 401);
    const taken = await json(await locked.post('/api/plan/generate', { sessionId: 'x', request: {} }, { Authorization: 'Bearer k' }));
    assert.ok(taken.body.callbackUrl.startsWith('https://plans.example/parlor/api/plan/update?sessionId=x&token='), taken.body.callbackUrl);
    const { search } = new URL(taken.body.callbackUrl);
    assert.equal((await callback(`${locked.url}/api/plan/update?sessionId=x`, { data: {} })).status, 403);
    assert.equal((await callback(`${locked.url}/api/plan/update${search}`, { data: {} })).status, 200);
  } finally {
    await locked.remove();
  }
});

test('tokens can be switched off for services that lose the query', async () => {
  const open = await startPlanner({ PARLOR_PLAN_TOKENS: 'false' });
  try {
    open.external = () => 202;
    const { body } = await start(open, 'x');
    assert.equal(body.callbackUrl, `${open.url}/api/plan/update?sessionId=x`);
    assert.equal((await callback(`${open.url}/api/plan/update`, { sessionId: 'x', data: { a: 1 } })).status, 200);
    assert.equal((await callback(`${open.url}/api/plan/update`, { sessionId: 'x', data: { a: 1 } })).body.delivered, 0);
    assert.equal((await callback(`${open.url}/api/plan/update`, { sessionId: 'x', data: { a: 2 } })).status, 409);
    const foreign = await fetch(`${open.url}/api/plan/update`, { method: 'POST', headers: { Origin: 'https://evil.example', 'Content-Type': 'application/json' }, body: '{"sessionId":"x","data":{}}' });
    assert.equal(foreign.status, 403);
  } finally {
    await open.remove();
  }
});
