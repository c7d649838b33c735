// docs/clients/plan-callback.md over real sockets: pages, starts, callbacks, restarts.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EventSource } from 'eventsource';
import { callback, data, error, start, startExternal, startPlanner, stream } from './planner.mjs';
import { until } from './streams.mjs';

let server;
let n = 0;
before(async () => {
  server = await startPlanner();
});
after(() => server?.remove());

const fresh = () => `plan-${++n}`;

test('a page registers, asks, and sees its plan, with the example service', async () => {
  const external = await startExternal({ PROGRESS: '2', TWICE: '1' });
  server.external = external.url;
  const id = fresh();
  const page = await stream(server, id);
  assert.equal(page.headers['content-type'], 'text/event-stream; charset=utf-8');
  const taken = await start(server, id, { topic: 'Go', weeks: 2, exact: 1.5 });
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
  const { body } = await start(server, id);
  const early = await stream(server, id);
  await early.has('connected');
  assert.equal(data(early)[0].status, 'generating');
  assert.deepEqual((await callback(body.callbackUrl, { progress: 40 })).body, { success: true, sessionId: id, status: 'generating', delivered: 1 });
  await until(() => data(early).some((d) => d.progress === 40), 'progress');
  const reloaded = await stream(server, id);
  await until(() => data(reloaded).some((d) => d.progress === 40), 'progress after a reload');
  reloaded.leave();
  early.leave();
  await until(async () => (await server.pages()) === 0, 'the pages to leave');
  const done = await callback(body.callbackUrl, { title: 'kept', weeks: [1.0] }); // the object itself is the plan
  assert.deepEqual(done, { status: 200, body: { success: true, sessionId: id, status: 'completed', delivered: 0 } });
  for (let i = 0; i < 2; i++) {
    const page = await stream(server, id);
    await page.has('plan');
    assert.deepEqual(data(page), [
      { type: 'connected', sessionId: id, status: 'completed' },
      { type: 'plan', status: 'completed', data: { title: 'kept', weeks: [1] } },
    ]);
    page.leave();
  }
  // And begins again.
  assert.equal((await start(server, id)).status, 202);
  const again = await stream(server, id);
  await again.has('connected');
  assert.equal(data(again)[0].status, 'generating');
  again.leave();
});

test('a start while generating is 409, and changes nothing', async () => {
  server.external = () => 202;
  const id = fresh();
  const { body } = await start(server, id);
  const second = await start(server, id);
  assert.equal(second.status, 409);
  error('session_busy', id)(second);
  assert.equal((await callback(body.callbackUrl, { data: { ok: true } })).status, 200);
});

test('the service says that it failed; a friendly error reaches the page', async () => {
  server.external = () => 202;
  const id = fresh();
  const page = await stream(server, id);
  const { body } = await start(server, id);
  const said = await callback(body.callbackUrl, { error: 'No capacity today.' });
  assert.deepEqual(said.body, { success: true, sessionId: id, status: 'error', delivered: 1 });
  await page.has('error');
  assert.deepEqual(data(page).at(-1), { type: 'error', status: 'error', code: 'generation_failed', message: 'No capacity today.' });
  page.leave();
});

test('an answer that comes before the call was answered counts', async () => {
  const id = fresh();
  const page = await stream(server, id);
  server.external = async (body) => {
    assert.equal((await callback(body.callbackUrl, { data: { quick: true } })).status, 200);
    return 202;
  };
  await start(server, id);
  await page.has('plan');
  page.leave();
});

test('kill -9 while it waits: the callback lands, and a page that comes back sees it', async () => {
  const mortal = await startPlanner();
  try {
    mortal.external = () => 202;
    const page = await stream(mortal, 'survivor');
    const { body } = await start(mortal, 'survivor', { topic: 'x' });
    await page.has('status');
    await callback(body.callbackUrl, { progress: 10 });
    await until(() => data(page).some((d) => d.progress === 10), 'progress');
    await until(() => mortal.asked.length === 1, 'the call');
    await mortal.stop('SIGKILL');
    await page.over;
    await mortal.start();
    const back = await stream(mortal, 'survivor', { 'Last-Event-ID': page.last() });
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
    const later = await stream(mortal, 'survivor');
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
    const { body } = await start(mortal, 's');
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
    const page = await stream(brief, 'aged');
    assert.equal(await page.over, 'end');
    assert.deepEqual(data(page), [{ type: 'connected', sessionId: 'aged', status: 'waiting' }, { type: 'connection_timeout' }]);
    brief.external = () => 202;
    const source = new EventSource(`${brief.url}/api/plan/stream?sessionId=aged`);
    const told = [];
    source.onmessage = (m) => told.push(JSON.parse(m.data));
    await until(() => told.some((d) => d.type === 'connection_timeout'), 'the end');
    const { body } = await start(brief, 'aged');
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
  const page = await stream(server, id);
  const { body } = await start(server, id);
  await page.has('status');
  const cursor = page.last();
  page.leave();
  await callback(body.callbackUrl, { data: { a: 1 } });
  const back = await stream(server, id, { 'Last-Event-ID': cursor });
  await back.has('plan');
  assert.deepEqual(back.types(), ['connected', 'plan']);
  const whole = back.last();
  back.leave();
  const nothing = await stream(server, id, { 'Last-Event-ID': whole });
  await nothing.has('connected');
  const foreign = await stream(server, id, { 'Last-Event-ID': 'zzzzzzzz-5' });
  await foreign.has('reset');
  const snapshot = data(foreign).find((d) => d.type === 'reset').snapshot;
  assert.equal(snapshot.status, 'completed');
  assert.deepEqual(snapshot.data, { a: 1 });
  // Both still live: what comes next reaches them.
  const again = await start(server, id);
  for (const p of [nothing, foreign]) await p.has('status');
  await callback(again.body.callbackUrl, { data: { b: 2 } });
  for (const p of [nothing, foreign]) await p.has('plan');
  assert.deepEqual(nothing.types(), ['connected', 'status', 'plan']);
  assert.deepEqual(foreign.types(), ['connected', 'reset', 'status', 'plan']);
  nothing.leave();
  foreign.leave();
});

test('many sessions at once: each page sees its own plan, and only that', async () => {
  const called = [];
  server.external = (body) => {
    setImmediate(() => called.push(callback(body.callbackUrl, { data: { for: body.sessionId, saw: body.request.name } })));
    return 202;
  };
  const ids = Array.from({ length: 200 }, () => fresh());
  const pages = await Promise.all(ids.map((id) => stream(server, id)));
  for (const { status } of await Promise.all(ids.map((id) => start(server, id, { name: `of ${id}` })))) assert.equal(status, 202);
  await until(() => called.length === ids.length, 'the calls');
  for (const { status } of await Promise.all(called)) assert.equal(status, 200);
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
  const page = await stream(server, id);
  await server.post('/api/chat', { message: 'And again', conversation_id: id });
  const { body } = await start(server, id);
  await callback(body.callbackUrl, { data: { a: 1 } });
  await page.has('plan');
  assert.deepEqual(page.types(), ['connected', 'status', 'plan']);
  page.leave();
});

test('stats and metrics say the same', async () => {
  const own = await startPlanner();
  try {
    own.external = () => 202;
    const page = await stream(own, 'waits');
    const done = await start(own, 'done');
    const failed = await start(own, 'failed');
    await start(own, 'busy');
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
