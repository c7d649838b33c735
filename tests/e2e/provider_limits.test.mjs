// How calls to a model service end before their time, and how many there may be at once. Times are
// the service's own.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { blocks, startParlor } from './server.mjs';
import { openStream } from './streams.mjs';
import { best, direct, scriptedModels, startUpstream } from './upstream.mjs';

let upstream, parlor;
before(async () => {
  upstream = await startUpstream();
  const config =
    scriptedModels(upstream.base, ['pace-20', 'hang', 'stall-2', 'drip', '429-20', 'ok']) +
    scriptedModels(upstream.base, ['slow-300'], { provider: 'concurrency = 1\nqueue = 1' });
  parlor = await startParlor({ ...direct, TEST_KEY: 'k', PARLOR_SESSION_DISCONNECT_GRACE: '1s' }, { config });
});
after(async () => {
  await parlor?.remove();
  upstream?.stop();
});

let next = 0;
const fresh = () => `l${++next}`;
const generate = async (model, more = {}) => (await parlor.post('/api/generate-async', { prompt: 'hi', model, ...more })).json();
const remove = (path) => fetch(parlor.url + path, { method: 'DELETE' });
const now = () => (performance.timeOrigin + performance.now()) * 1000; // microseconds since 1970
const played = async () => (await upstream.stats()).log;
const until = async (f) => {
  for (let i = 0; i < 2000; i++) {
    const found = await f();
    if (found) return found;
    await new Promise((r) => setTimeout(r, 5));
  }
  throw new Error('it did not come');
};
/** Starts a call, ends it by `stop`, and says after how many ms the service saw its client go. */
async function cut(model, stop) {
  const n = (await played()).length;
  const session = fresh();
  const { taskId } = await generate(model, { conversationId: session });
  await until(async () => (await played()).length > n);
  await new Promise((r) => setTimeout(r, 60)); // some pieces, where there are any
  const from = now();
  const r = await stop(taskId, session);
  assert.equal(r.status, 200);
  const line = await until(async () => ((l) => l.ended > 0 && l)((await played())[n]));
  assert.equal(line.by, 'client');
  return (line.ended - from) / 1000;
}
const sql = (query) => {
  const r = spawnSync('sqlite3', ['-json', '-readonly', join(parlor.dir, 'parlor.db'), query], { encoding: 'utf8' });
  assert.equal(r.status, 0, r.stderr);
  return JSON.parse(r.stdout || '[]');
};

for (const model of ['pace-20', 'hang', 'stall-2', 'drip']) {
  test(`U11 DELETE of a task reaches the service within 50 ms (${model})`, async () => {
    const took = await best(50, () => cut(model, (task) => remove(`/api/generate-async/${task}`)));
    assert.ok(took < 50, took);
  });

  test(`U11 DELETE of a session reaches the service within 50 ms (${model})`, async () => {
    const took = await best(50, () => cut(model, (_, session) => remove(`/api/sessions/${session}`)));
    assert.ok(took < 50, took);
  });
}

/** How many ms after the turn was over the service saw its client go. */
async function wentAfter(own, model, over) {
  const n = (await played()).length;
  const { taskId } = await (await own.post('/api/generate-async', { prompt: 'hi', model })).json();
  await until(async () => (await played()).length > n);
  const from = await over(taskId);
  const line = await until(async () => ((l) => l.ended > 0 && l)((await played())[n]));
  assert.equal(line.by, 'client');
  return (line.ended - from) / 1000;
}

test('U2 a service that falls silent is left within a second of that', async () => {
  const config = scriptedModels(upstream.base, ['hang', 'stall-2'], { model: 'first_token_timeout = "300ms"\ntoken_timeout = "300ms"' });
  const own = await startParlor({ ...direct, TEST_KEY: 'k' }, { config });
  try {
    for (const model of ['hang', 'stall-2']) {
      const took = await wentAfter(own, model, (task) =>
        until(async () => (await (await fetch(`${own.url}/api/generate-async/${task}`)).json()).status === 'failed' && now()));
      assert.ok(took < 1000, `${took} ms`);
    }
  } finally {
    await own.remove();
  }
});

test('U11 a server that stops leaves its services within a second of the end of its patience', async () => {
  const own = await startParlor({ ...direct, TEST_KEY: 'k', PARLOR_DRAIN_TIMEOUT: '300ms' }, { config: scriptedModels(upstream.base, ['stall-2']) });
  try {
    const took = await wentAfter(own, 'stall-2', () => (own.stop(), now()));
    assert.ok(took > 250 && took < 1300, `${took} ms`);
  } finally {
    await own.remove();
  }
});

test('U11 U12 what was cancelled is kept, counted, and told', async () => {
  const session = fresh();
  const watching = fetch(`${parlor.url}/api/chat/stream`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ message: 'hi', model: 'stall-2', conversation_id: session }),
  });
  const response = await watching;
  const task = await until(async () => (await (await fetch(`${parlor.url}/api/sessions/${session}`)).json()).active_task);
  await until(async () => /* the pieces are there */ (await played()).some((l) => l.script === 'stall-2' && l.ended === 0));
  await new Promise((r) => setTimeout(r, 100));
  assert.equal((await remove(`/api/generate-async/${task}`)).status, 200);
  const events = blocks(await response.text()).map((e) => e.data);
  assert.equal(events.at(-1).code, 'cancelled');
  const { messages } = await (await fetch(`${parlor.url}/api/sessions/${session}/messages`)).json();
  assert.deepEqual(messages.map((m) => [m.content, m.partial]), [['hi', false], ['word1 word2', true]]);
  const usage = sql(`SELECT exact, error, completion_tokens > 0 c FROM usage WHERE task = '${task}'`);
  assert.deepEqual(usage, [{ exact: 0, error: 'cancelled', c: 1 }]);
});

test('U7 U11 a task that waits to be tried again is cancelled at once, and not tried again', async () => {
  const n = (await played()).length;
  const { taskId } = await generate('429-20');
  await until(async () => (await played())[n]?.ended > 0);
  await new Promise((r) => setTimeout(r, 50));
  assert.equal((await remove(`/api/generate-async/${taskId}`)).status, 200);
  const t = await (await fetch(`${parlor.url}/api/generate-async/${taskId}`)).json();
  assert.equal(t.status, 'cancelled');
  assert.equal((await played()).length, n + 1);
});

/** A turn whose asker has gone: its place in the log of the upstream, session, task and last id. */
async function left(more) {
  const n = (await played()).length;
  const session = fresh();
  const s = await openStream(`${parlor.url}/api/chat/stream`, {
    method: 'POST',
    body: { message: 'hi', model: 'pace-20', conversation_id: session, ...more },
  });
  await s.has('chunk');
  await until(async () => (await played()).length > n);
  s.leave();
  return { n, session, url: `${parlor.url}/api/tasks/${s.events[0].data.task_id}/events`, last: s.last() };
}

test('U11 who goes away does not stop the turn, unless that was asked for', async () => {
  const stopped = await left({ cancel_on_disconnect: true });
  const line = await until(async () => ((l) => l.ended > 0 && l)((await played())[stopped.n]));
  assert.equal(line.by, 'client');
  await until(async () => (await (await fetch(`${parlor.url}/api/sessions/${stopped.session}`)).json()).active_task === null);
  const goes = await left({});
  await new Promise((r) => setTimeout(r, 2000));
  const one = await (await fetch(`${parlor.url}/api/sessions/${goes.session}`)).json();
  assert.ok(one.active_task);
  assert.equal((await played())[goes.n].ended, 0);
  await remove(`/api/sessions/${goes.session}`);
});

test('U11 who comes back within session.disconnect_grace finds the turn going on, and it ends when he goes again', async () => {
  const cut = await left({ cancel_on_disconnect: true });
  const again = await openStream(cut.url, { headers: { 'Last-Event-ID': cut.last } });
  assert.equal(again.status, 200);
  await new Promise((r) => setTimeout(r, 2000));
  assert.equal((await played())[cut.n].ended, 0);
  const had = again.events.length;
  await until(() => again.events.length > had);
  again.leave();
  const line = await until(async () => ((l) => l.ended > 0 && l)((await played())[cut.n]));
  assert.equal(line.by, 'client');
});

test('a provider is called as often at once as it may be; one waits, the next is refused', async () => {
  const asked = async () => (await played()).filter((l) => l.script === 'slow-300');
  const chat = () => parlor.post('/api/chat', { message: 'hi', model: 'slow-300', conversation_id: fresh() });
  const first = chat();
  await until(async () => (await asked()).length === 1);
  const second = chat();
  await until(async () => /parlor_tasks_queued\{[^}]*slow-300[^}]*\} 1/.test(await (await fetch(`${parlor.url}/metrics`)).text()));
  const third = await chat();
  assert.equal(third.status, 429);
  assert.match(third.headers.get('retry-after'), /^[1-9]\d*$/);
  assert.equal((await third.json()).code, 'saturated');
  const refused = await generate('slow-300');
  assert.equal(refused.success, false);
  assert.equal(refused.code, 'saturated');
  assert.equal((await first).status, 200);
  assert.equal((await second).status, 200);
  const log = await asked();
  assert.equal(log.length, 2);
  assert.ok(log[1].began >= log[0].ended);
  // The place is free again, also after a refusal and after a waiting one was cancelled.
  const running = generate('slow-300');
  const waiting = await until(async () => ((t) => t.success && t)(await generate('slow-300')));
  assert.equal((await remove(`/api/generate-async/${waiting.taskId}`)).status, 200);
  await running;
  await until(async () => (await chat()).status === 200);
});
