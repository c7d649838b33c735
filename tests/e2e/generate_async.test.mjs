// docs/clients/generate-async.md over real sockets, and what survives a restart.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { blocks, startParlor } from './server.mjs';

let parlor;
before(async () => {
  parlor = await startParlor();
});
after(() => parlor.remove());

const create = async (body, headers) => parlor.post('/api/generate-async', body, headers);
const get = (path, headers = {}) => fetch(parlor.url + path, { headers });
async function finished(id) {
  for (;;) {
    const t = await (await get(`/api/generate-async/${id}`)).json();
    if (!['pending', 'running'].includes(t.status)) return t;
    await new Promise((r) => setTimeout(r, 10));
  }
}

test('create, listen, poll', async () => {
  const r = await create({ prompt: 'count to 40', rehearsal: 'slow:100' });
  assert.equal(r.status, 200);
  const made = await r.json();
  assert.deepEqual(Object.keys(made), ['success', 'taskId', 'status']);
  assert.equal(made.status, 'pending');
  assert.match(made.taskId, /^task_\d+_[0-9a-z]{20,}$/);
  const events = blocks(await (await get(`/api/generate-async/${made.taskId}/stream`)).text());
  assert.equal(events[0].data.type, 'connected');
  assert.equal(events[0].id, undefined);
  assert.equal(events.at(-1).data.type, 'completed');
  assert.equal(events.filter((e) => e.data.type === 'chunk').length, 0);
  const shown = events.filter((e) => e.data.type === 'progress_update').map((e) => e.data.progress);
  shown.forEach((p, i) => assert.ok(i === 0 || p > shown[i - 1]));
  const polled = await finished(made.taskId);
  assert.equal(polled.progress, 100);
  assert.deepEqual(polled.result, events.at(-1).data.result);
  assert.equal(polled.error, null);
  const late = blocks(await (await get(`/api/generate-async/${made.taskId}/stream`)).text());
  assert.deepEqual(late.map((e) => e.data.type), ['connected', 'completed']);
  const tag = (await get(`/api/generate-async/${made.taskId}`)).headers.get('etag');
  assert.equal((await get(`/api/generate-async/${made.taskId}`, { 'If-None-Match': tag })).status, 304);
});

test('deltas on request', async () => {
  const { taskId } = await (await create({ prompt: 'count to 5', rehearsal: 'slow:100' })).json();
  const events = blocks(await (await get(`/api/generate-async/${taskId}/stream?deltas=1`)).text()).map((e) => e.data);
  const text = events.filter((e) => e.type === 'chunk').map((e) => e.content).join('');
  assert.equal(text, events.at(-1).result.content);
});

test('the same key is the same task; another body is refused', async () => {
  const key = { 'Idempotency-Key': 'k1' };
  const [a, b] = await Promise.all([create({ prompt: 'one' }, key), create({ prompt: 'one' }, key)]);
  assert.equal((await a.json()).taskId, (await b.json()).taskId);
  const other = await create({ prompt: 'two' }, key);
  assert.equal(other.status, 422);
  assert.equal((await other.json()).code, 'idempotency_mismatch');
});

test('cancel', async () => {
  const { taskId } = await (await create({ prompt: 'hi', rehearsal: 'hang' })).json();
  const r = await fetch(`${parlor.url}/api/generate-async/${taskId}`, { method: 'DELETE' });
  assert.equal(r.status, 200);
  assert.equal((await finished(taskId)).status, 'cancelled');
  assert.equal((await fetch(`${parlor.url}/api/generate-async/${taskId}`, { method: 'DELETE' })).status, 409);
});

test('errors have the dialect\'s shape', async () => {
  for (const [body, status] of [['{', 400], ['{}', 400], ['{"prompt":"  "}', 400]]) {
    const r = await create(body);
    assert.equal(r.status, status);
    const e = await r.json();
    assert.equal(e.success, false);
    assert.ok(e.error && e.code);
  }
  assert.equal((await get('/api/generate-async/task_0_none')).status, 404);
});

test('everything is there after a clean restart, and streams again exactly as it was', async () => {
  const { taskId } = await (await create({ prompt: 'count to 8', conversationId: 'kept' })).json();
  await finished(taskId);
  const before = blocks(await (await get(`/api/tasks/${taskId}/events`)).text());
  const stopped = await parlor.stop();
  assert.equal(stopped.code, 0);
  await parlor.start();
  assert.deepEqual(blocks(await (await get(`/api/tasks/${taskId}/events`)).text()), before);
  const session = await (await get('/api/sessions/kept')).json();
  assert.equal(session.message_count, 2);
  const more = await (await parlor.post('/api/chat', { message: 'hello', conversation_id: 'kept' })).json();
  assert.ok(more.response);
});

test('a task whose server was killed is run again', async () => {
  const { taskId } = await (await create({ prompt: 'count to 5', rehearsal: 'hang,ok' })).json();
  await parlor.stop('SIGKILL');
  await parlor.start();
  const t = await finished(taskId);
  assert.equal(t.status, 'completed');
});
