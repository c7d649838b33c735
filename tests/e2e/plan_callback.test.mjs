// contracts/plan-callback.md over real sockets: pages, starts, callbacks, and what goes wrong with them.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EventSource } from 'eventsource';
import { startExternal, startPlanner } from './planner.mjs';
import { openStream, until } from './streams.mjs';

let server;
let n = 0;
before(async () => {
  server = await startPlanner();
});
after(() => server?.remove());

const json = async (answer) => ({ status: answer.status, body: await answer.json() });
const stream = (id, headers = {}, to = server) => openStream(`${to.url}/api/plan/stream?sessionId=${id}`, { headers });
const start = async (id, request = { topic: 'Rust' }, to = server) => json(await to.post('/api/plan/generate', { sessionId: id, request }));
const callback = async (url, body) =>
  json(await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: typeof body === 'string' ? body : JSON.stringify(body) }));
const data = (page) => page.events.map((e) => e.data);
const fresh = () => `plan-${++n}`;
const error = (code, id) => (a) => {
  assert.equal(a.body.success, false);
  assert.equal(a.body.error.code, code);
  assert.ok(a.body.error.message);
  assert.equal(a.body.sessionId, id);
};

test('a page registers, asks, and sees its plan, with the example service', async () => {
  const external = await startExternal({ PROGRESS: '2', TWICE: '1' });
  server.external = external.url;
  const id = fresh();
  const page = await stream(id);
  assert.equal(page.headers['content-type'], 'text/event-stream; charset=utf-8');
  const taken = await start(id, { topic: 'Go', weeks: 2, exact: 1.5 });
  assert.equal(taken.status, 202);
  const { callbackUrl, ...rest } = taken.body;
  assert.deepEqual(rest, { success: true, sessionId: id, status: 'generating' });
  assert.ok(callbackUrl.startsWith(`${server.url}/api/plan/update?sessionId=${id}&token=`), callbackUrl);
  await page.has('plan');
  assert.deepEqual(data(page).slice(0, 4), [
    { type: 'connected', sessionId: id, status: 'waiting' },
    { type: 'status', status: 'generating' },
    { type: 'status', status: 'generating', progress: 33, message: 'step 1 of 2' },
    { type: 'status', status: 'generating', progress: 67, message: 'step 2 of 2' },
  ]);
  const last = data(page).at(-1);
  assert.equal(last.status, 'completed');
  assert.equal(last.data.title, 'Go in 2 weeks');
  assert.deepEqual(server.asked.at(-1), { sessionId: id, request: { topic: 'Go', weeks: 2, exact: 1.5 }, callbackUrl });
  // The service has posted it twice, and was told 200 twice; the page saw it once.
  await until(() => external.said.length === 4, 'four callbacks');
  assert.ok(external.said.every((l) => l.startsWith('callback 200 ')), external.said);
  assert.equal(JSON.parse(external.said[2].slice(13)).delivered, 1);
  assert.equal(JSON.parse(external.said[3].slice(13)).delivered, 0);
  assert.equal(page.types().filter((t) => t === 'plan').length, 1);
  page.leave();
  external.stop();
});

test('a plan is kept for the page that comes next, and a reload shows the truth', async () => {
  server.external = () => 202;
  const id = fresh();
  const { body } = await start(id);
  const early = await stream(id);
  await early.has('connected');
  assert.equal(data(early)[0].status, 'generating');
  assert.deepEqual((await callback(body.callbackUrl, { progress: 40 })).body, { success: true, sessionId: id, status: 'generating', delivered: 1 });
  await until(() => data(early).some((d) => d.progress === 40), 'progress');
  const reloaded = await stream(id);
  await until(() => data(reloaded).some((d) => d.progress === 40), 'progress after a reload');
  reloaded.leave();
  early.leave();
  await until(async () => (await server.pages()) === 0, 'the pages to leave');
  const done = await callback(body.callbackUrl, { title: 'kept', weeks: [1.0] }); // the object itself is the plan
  assert.deepEqual(done, { status: 200, body: { success: true, sessionId: id, status: 'completed', delivered: 0 } });
  for (let i = 0; i < 2; i++) {
    const page = await stream(id);
    await page.has('plan');
    assert.deepEqual(data(page), [
      { type: 'connected', sessionId: id, status: 'completed' },
      { type: 'plan', status: 'completed', data: { title: 'kept', weeks: [1] } },
    ]);
    page.leave();
  }
  // And begins again.
  assert.equal((await start(id)).status, 202);
  const again = await stream(id);
  await again.has('connected');
  assert.equal(data(again)[0].status, 'generating');
  again.leave();
});

test('a start while generating is 409, and changes nothing', async () => {
  server.external = () => 202;
  const id = fresh();
  const { body } = await start(id);
  const second = await start(id);
  assert.equal(second.status, 409);
  error('session_busy', id)(second);
  assert.equal((await callback(body.callbackUrl, { data: { ok: true } })).status, 200);
});

test('the service says that it failed; a friendly error reaches the page', async () => {
  server.external = () => 202;
  const id = fresh();
  const page = await stream(id);
  const { body } = await start(id);
  const said = await callback(body.callbackUrl, { error: 'No capacity today.' });
  assert.deepEqual(said.body, { success: true, sessionId: id, status: 'error', delivered: 1 });
  await page.has('error');
  assert.deepEqual(data(page).at(-1), { type: 'error', status: 'error', code: 'generation_failed', message: 'No capacity today.' });
  page.leave();
});

test('the service is down: three attempts, each announced, then an error in friendly words', async () => {
  server.external = null;
  const id = fresh();
  const page = await stream(id);
  const before = server.asked.length;
  await start(id);
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
  const page = await stream(id);
  const before = server.asked.length;
  await start(id);
  await page.has('error');
  assert.equal(server.asked.length, before + 1);
  page.leave();
});

test('an answer that comes before the call was answered counts', async () => {
  const id = fresh();
  const page = await stream(id);
  server.external = async (body) => {
    assert.equal((await callback(body.callbackUrl, { data: { quick: true } })).status, 200);
    return 202;
  };
  await start(id);
  await page.has('plan');
  page.leave();
});

test('no answer in time is generation_timeout; what comes later is 409', async () => {
  const slow = await startPlanner({ PARLOR_PLAN_RESULT_TIMEOUT: '200ms', PARLOR_LOG_LEVEL: 'info' });
  try {
    slow.external = () => 202;
    const page = await stream('late', {}, slow);
    const { body } = await start('late', {}, slow);
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
  const a = (await start(mine)).body.callbackUrl;
  const b = (await start(other)).body.callbackUrl;
  const token = (url) => new URL(url).searchParams.get('token');
  const at = (id, t) => `${server.url}/api/plan/update?sessionId=${id}${t === undefined ? '' : `&token=${t}`}`;
  for (const url of [at(mine), at(mine, ''), at(mine, token(b)), at(mine, `${token(a)}x`), at(mine, token(a).slice(0, -1)), at(mine, '1.task_1.AAAA')]) {
    const answer = await callback(url, { data: { evil: true } });
    assert.equal(answer.status, 403, url);
    error('bad_token', mine)(answer);
  }
  assert.equal((await callback(at(mine, token(a)), { data: { good: true } })).status, 200);
  // The token of an earlier generation ends nothing any more.
  const next = (await start(mine)).body.callbackUrl;
  assert.equal((await callback(a, { data: { old: true } })).status, 409);
  assert.equal((await callback(a, { data: { good: true } })).status, 200); // said before, word for word
  assert.equal((await callback(next, { data: { new: true } })).status, 200);
});

test('C3 bad callbacks: the documented status, and the task goes on', async () => {
  server.external = () => 202;
  const id = fresh();
  const { callbackUrl } = (await start(id)).body;
  const token = new URL(callbackUrl).searchParams.get('token');
  const bare = `${server.url}/api/plan/update?token=${token}`;
  const big = `{"data":{"a":"${'x'.repeat(4 * 1024 * 1024)}"}}`;
  for (const [url, body, status, code] of [
    [callbackUrl, '{', 400, 'bad_json'],
    [callbackUrl, '[]', 400, 'bad_json'],
    [callbackUrl, '', 400, 'bad_json'],
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
  const page = await stream(id);
  const { callbackUrl } = (await start(id)).body;
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
  assert.equal((await stream(fresh(), { 'Last-Event-ID': 'nonsense' })).status, 400);
  assert.equal((await fetch(`${server.url}/api/plan/update`)).status, 405);
});

test('kill -9 while it waits: the callback lands, and a page that comes back sees it', async () => {
  const mortal = await startPlanner();
  try {
    mortal.external = () => 202;
    const page = await stream('survivor', {}, mortal);
    const { body } = await start('survivor', { topic: 'x' }, mortal);
    await page.has('status');
    await callback(body.callbackUrl, { progress: 10 });
    await until(() => data(page).some((d) => d.progress === 10), 'progress');
    await until(() => mortal.asked.length === 1, 'the call');
    await mortal.stop('SIGKILL');
    await page.over;
    await mortal.start();
    const back = await stream('survivor', { 'Last-Event-ID': page.last() }, mortal);
    const done = await callback(body.callbackUrl, { data: { after: 'restart' } });
    assert.equal(done.status, 200);
    await back.has('plan');
    assert.equal(data(back)[0].status, 'generating');
    assert.deepEqual(data(back).at(-1).data, { after: 'restart' });
    assert.equal(mortal.asked.length, 1); // it was not called again
    back.leave();
    await mortal.stop('SIGKILL');
    await mortal.start();
    assert.equal((await callback(body.callbackUrl, { data: { after: 'restart' } })).status, 200);
    const later = await stream('survivor', {}, mortal);
    await later.has('plan');
    later.leave();
  } finally {
    await mortal.remove();
  }
});

test('the wait for a plan does not hold up an orderly stop', async () => {
  const mortal = await startPlanner();
  try {
    mortal.external = () => 202;
    const { body } = await start('s', {}, mortal);
    await until(() => mortal.asked.length === 1, 'the call');
    await until(async () => (await callback(body.callbackUrl, { progress: 1 })).status === 200, 'the task');
    assert.deepEqual(await mortal.stop(), { code: 0, signal: null });
    await mortal.start();
    assert.equal((await callback(body.callbackUrl, { data: {} })).status, 200);
  } finally {
    await mortal.remove();
  }
});

test('a stream of plans ends at its age, and EventSource comes back', async () => {
  const brief = await startPlanner({ PARLOR_PLAN_STREAM_LIFETIME: '300ms' });
  try {
    const page = await stream('aged', {}, brief);
    assert.equal(await page.over, 'end');
    assert.deepEqual(data(page), [{ type: 'connected', sessionId: 'aged', status: 'waiting' }, { type: 'connection_timeout' }]);
    brief.external = () => 202;
    const source = new EventSource(`${brief.url}/api/plan/stream?sessionId=aged`);
    const told = [];
    source.onmessage = (m) => told.push(JSON.parse(m.data));
    await until(() => told.some((d) => d.type === 'connection_timeout'), 'the end');
    const { body } = await start('aged', {}, brief);
    await callback(body.callbackUrl, { data: { seen: 1 } });
    await until(() => told.some((d) => d.type === 'plan'), 'the plan, on a later connection');
    source.close();
    assert.equal(told.filter((d) => d.type === 'plan').length, 1);
  } finally {
    await brief.remove();
  }
});

test('resuming: what was missed comes once; a foreign cursor gets the state as it is', async () => {
  server.external = () => 202;
  const id = fresh();
  const page = await stream(id);
  const { body } = await start(id);
  await page.has('status');
  const cursor = page.last();
  page.leave();
  await callback(body.callbackUrl, { data: { a: 1 } });
  const back = await stream(id, { 'Last-Event-ID': cursor });
  await back.has('plan');
  assert.deepEqual(back.types(), ['connected', 'plan']);
  const whole = back.last();
  back.leave();
  const nothing = await stream(id, { 'Last-Event-ID': whole });
  await nothing.has('connected');
  const foreign = await stream(id, { 'Last-Event-ID': 'zzzzzzzz-5' });
  await foreign.has('reset');
  const snapshot = data(foreign).find((d) => d.type === 'reset').snapshot;
  assert.equal(snapshot.status, 'completed');
  assert.deepEqual(snapshot.data, { a: 1 });
  // Both still live: what comes next reaches them.
  const again = await start(id);
  for (const p of [nothing, foreign]) await p.has('status');
  await callback(again.body.callbackUrl, { data: { b: 2 } });
  for (const p of [nothing, foreign]) await p.has('plan');
  assert.deepEqual(nothing.types(), ['connected', 'status', 'plan']);
  assert.deepEqual(foreign.types(), ['connected', 'reset', 'status', 'plan']);
  nothing.leave();
  foreign.leave();
});

test('many sessions at once: each page sees its own plan, and only that', async () => {
  server.external = (body) => {
    setImmediate(() => callback(body.callbackUrl, { data: { for: body.sessionId, saw: body.request.name } }));
    return 202;
  };
  const ids = Array.from({ length: 200 }, () => fresh());
  const pages = await Promise.all(ids.map((id) => stream(id)));
  await Promise.all(ids.map((id) => start(id, { name: `of ${id}` })));
  await Promise.all(pages.map((p) => p.has('plan')));
  pages.forEach((p, i) => {
    assert.deepEqual(p.types(), ['connected', 'status', 'plan']);
    assert.deepEqual(data(p).at(-1).data, { for: ids[i], saw: `of ${ids[i]}` });
    p.leave();
  });
});

test('a conversation in the same session is not a plan', async () => {
  server.external = () => 202;
  const id = fresh();
  await server.post('/api/chat', { message: 'Hello', conversation_id: id });
  const page = await stream(id);
  await server.post('/api/chat', { message: 'And again', conversation_id: id });
  const { body } = await start(id);
  await callback(body.callbackUrl, { data: { a: 1 } });
  await page.has('plan');
  assert.deepEqual(page.types(), ['connected', 'status', 'plan']);
  page.leave();
});

test('stats and metrics say the same', async () => {
  const own = await startPlanner();
  try {
    own.external = () => 202;
    const page = await stream('waits', {}, own);
    const done = await start('done', {}, own);
    const failed = await start('failed', {}, own);
    await start('busy', {}, own);
    await callback(done.body.callbackUrl, { data: {} });
    await callback(failed.body.callbackUrl, { error: 'no' });
    const stats = await own.stats();
    assert.deepEqual(
      { ...stats, averageGenerationMs: 0 },
      { activeSessions: 4, activeConnections: 1, statuses: { waiting: 1, generating: 1, completed: 1, error: 1 }, averageGenerationMs: 0, errorRate: 0.5, timeoutRate: 0 },
    );
    const text = await (await fetch(`${own.url}/metrics`)).text();
    for (const line of [
      'parlor_plan_sessions{status="waiting"} 1',
      'parlor_plan_sessions{status="error"} 1',
      'parlor_plan_connections 1',
      'parlor_plan_generations_total{result="completed"} 1',
      'parlor_plan_generations_total{result="error"} 1',
      'parlor_plan_generations_total{result="timeout"} 0',
    ])
      assert.ok(text.includes(line), line);
    page.leave();
  } finally {
    await own.remove();
  }
});

test('without a service: 503 with the reason; with a key: callbacks need only their token', async () => {
  const bare = await startPlanner({ EXTERNAL_API_URL: '' });
  try {
    const answer = await start('x', {}, bare);
    assert.equal(answer.status, 503);
    error('not_configured', null)(answer);
    assert.equal((await stream('x', {}, bare)).status, 200);
  } finally {
    await bare.remove();
  }
  const locked = await startPlanner({ PARLOR_SERVER_KEY: 'k', PARLOR_SERVER_PUBLIC_URL: 'https://plans.example/parlor/' });
  try {
    locked.external = () => 202;
    assert.equal((await start('x', {}, locked)).status, 401);
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
    const { body } = await start('x', {}, open);
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
