// What ends by itself: sessions nobody uses, and tasks that have been kept for long enough.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startParlor } from './server.mjs';
import { metric, openStream, textOf, until } from './streams.mjs';

let parlor;
before(async () => {
  parlor = await startParlor({ PARLOR_SESSION_IDLE_EXPIRY: '1s' });
});
after(() => parlor.remove());

const say = async (message, id, more = {}) => (await parlor.post('/api/chat', { message, conversation_id: id, ...more })).json();
const watch = (id, headers) => openStream(`${parlor.url}/api/sessions/${id}/events`, { headers });
/** Says it, and watches its session before that can expire. */
async function watched(message, id, watchers = 1) {
  for (;;) {
    const { task_id } = await say(message, id);
    const all = await Promise.all(Array.from({ length: watchers }, () => watch(id)));
    if (all.every((w) => w.status === 200)) return { task: task_id, watchers: all };
  }
}
const get = (path) => fetch(parlor.url + path);
const speak = (server, message, conversation_id) =>
  openStream(`${server.url}/api/chat/stream`, { method: 'POST', body: { message, conversation_id } });
const number = (id) => Number(id.split('-')[1]);

test('a session nobody uses expires, and whoever watches is told', async () => {
  const { watchers } = await watched('Hello, I am Zhang San', 'idle', 2);
  for (const w of watchers) {
    assert.equal(await w.over, 'end');
    assert.deepEqual(w.events.map((e) => e.data), [{ type: 'session_expired' }]);
  }
  assert.equal(watchers[0].last(), watchers[1].last());
  for (const path of ['', '/messages', '/events']) {
    const r = await get(`/api/sessions/idle${path}`);
    assert.equal(r.status, 404);
    assert.equal((await r.json()).code, 'session_not_found');
  }
  assert.equal((await fetch(`${parlor.url}/api/sessions/idle`, { method: 'DELETE' })).status, 404);
  assert.equal((await watch('idle', { 'Last-Event-ID': watchers[0].last() })).status, 404); // stops an EventSource

  // The name is free: who takes it knows nothing, and no number is used again.
  const next = await speak(parlor, 'What is my name?', 'idle');
  assert.equal(await next.over, 'end');
  assert.doesNotMatch(textOf(next.events), /Zhang/);
  assert.ok(number(next.events[0].id) > number(watchers[0].last()));
});

test('expired sessions are in no count, and leave no actor', async () => {
  for (const id of ['one', 'two']) await say('hi', id);
  const { watchers } = await watched('hi', 'three');
  await until(async () => (await (await get('/api/sessions')).json()).total === 0, 'none left');
  assert.equal(await watchers[0].over, 'end');
  assert.deepEqual((await (await get('/api/sessions')).json()).sessions, []);
  assert.equal((await (await get('/health')).json()).session_count, 0);
  await until(async () => (await metric(parlor, 'parlor_sessions_active')) === 0, 'no actor');
  assert.equal(await metric(parlor, 'parlor_subscribers'), 0);
  assert.ok((await metric(parlor, 'parlor_events_appended_total{kind="session_removed"}')) >= 3);
});

test('a turn that takes longer than that is not cut off', async () => {
  const turn = say('count to 3', 'busy', { rehearsal: 'slow:3000' });
  const watcher = await until(async () => {
    const w = await watch('busy');
    return w.status === 200 && w;
  }, 'a session');
  assert.equal((await turn).response, '1 2 3');
  assert.equal(await watcher.over, 'end');
  const types = watcher.types();
  assert.ok(types.indexOf('done') >= 0 && types.indexOf('done') < types.indexOf('session_expired'), types.join());
  assert.equal(types.at(-1), 'session_expired');
});

test('what a session has finished can be read after it has expired', async () => {
  const { task, watchers } = await watched('count to 3', 'reader');
  assert.equal(await watchers[0].over, 'end');
  assert.equal((await (await get(`/api/generate-async/${task}`)).json()).result.content, '1 2 3');
  const replay = await openStream(`${parlor.url}/api/tasks/${task}/events`);
  assert.equal(await replay.over, 'end');
  assert.equal(textOf(replay.events), '1 2 3');
});

test('an expired session has not come back after a restart', async () => {
  const { task, watchers } = await watched('Hello, I am Zhang San', 'gone');
  assert.equal(await watchers[0].over, 'end');
  await parlor.stop('SIGKILL');
  await parlor.start();
  assert.equal((await get('/api/sessions/gone')).status, 404);
  assert.equal((await get(`/api/generate-async/${task}`)).status, 200);
  assert.equal((await say('What is my name?', 'gone')).response, "I don't know your name yet.");
});

test('a finished task is kept for task.retention; the conversation is kept', async () => {
  const short = await startParlor({ PARLOR_TASK_RETENTION: '1s' });
  try {
    const first = await speak(short, 'Hello, I am Zhang San', 'kept');
    assert.equal(await first.over, 'end');
    const task = first.events[0].data.task_id;
    const running = await (await short.post('/api/generate-async', { prompt: 'x', conversationId: 'other', rehearsal: 'hang' })).json();
    const gone = await until(async () => {
      const r = await fetch(`${short.url}/api/generate-async/${task}`);
      return r.status === 404 && r.json();
    }, 'gone');
    assert.deepEqual([gone.success, gone.code], [false, 'task_not_found']);
    for (const path of [`/api/generate-async/${task}/stream`, `/api/tasks/${task}/events`])
      for (const headers of [{}, { 'Last-Event-ID': first.last() }])
        assert.equal((await fetch(short.url + path, { headers })).status, 404, path);
    assert.equal((await fetch(`${short.url}/api/generate-async/${task}`, { method: 'DELETE' })).status, 404);
    const other = `${short.url}/api/generate-async/${running.taskId}`;
    assert.equal((await (await fetch(other)).json()).status, 'running'); // its time has not begun
    assert.equal((await fetch(other, { method: 'DELETE' })).status, 200);

    const { messages } = await (await fetch(`${short.url}/api/sessions/kept/messages`)).json();
    assert.equal(messages[1].content, 'Hello Zhang San!');
    const answer = await (await short.post('/api/chat', { message: 'What is my name?', conversation_id: 'kept' })).json();
    assert.match(answer.response, /Zhang San/);

    // Also for a process that has to read it all from the disk; and a gap in the events is said, not hidden.
    await short.stop();
    await short.start();
    assert.equal((await (await fetch(`${short.url}/api/sessions/kept`)).json()).message_count, 4);
    const late = await openStream(`${short.url}/api/sessions/kept/events`, { headers: { 'Last-Event-ID': first.events[1].id } });
    await until(() => late.events.length > 0, 'something');
    assert.equal(late.events[0].data.type, 'reset');
    assert.equal(late.events[0].data.snapshot.session.message_count, 4);
    late.leave();
  } finally {
    await short.remove();
  }
});
