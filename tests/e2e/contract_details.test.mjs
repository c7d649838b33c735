// Statements of the two contracts that are easy to lose: languages, shapes of errors, cursors,
// entity tags, names of models.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { blocks, startParlor } from './server.mjs';

let parlor;
before(async () => {
  parlor = await startParlor();
});
after(() => parlor.remove());

const get = (path, headers = {}) => fetch(parlor.url + path, { headers });
const zh = { 'Accept-Language': 'zh-CN,zh;q=0.9,en;q=0.8' };
const chinese = /[\u4e00-\u9fff]/;
async function ended(body) {
  const { taskId } = await (await parlor.post('/api/generate-async', body)).json();
  blocks(await (await get(`/api/generate-async/${taskId}/stream`)).text());
  return taskId;
}

test('what is wrong with a request is said by field and in both languages', async () => {
  for (const [body, field] of [
    ['{', undefined],
    ['[]', undefined],
    ['{"a":1,"a":2}', undefined],
    ['[[', undefined],
    ['{}', 'message'],
    ['{"message":5}', 'message'],
    ['{"message":" "}', 'message'],
    ['{"message":"a","conversation_id":"a b"}', 'conversation_id'],
    [`{"message":"a","model":"${'m'.repeat(129)}"}`, 'model'],
    ['{"message":"a","model":1}', 'model'],
    ['{"message":"a","temperature":3}', 'temperature'],
    ['{"message":"a","max_tokens":0}', 'max_tokens'],
    ['{"message":"a","metadata":1}', 'metadata'],
    ['{"message":"a","on_busy":"no"}', 'on_busy'],
    ['{"message":"a","cancel_on_disconnect":1}', 'cancel_on_disconnect'],
  ]) {
    const en = await (await parlor.post('/api/chat', body)).json();
    const cn = await (await parlor.post('/api/chat', body, zh)).json();
    assert.equal(en.errors?.[0].field, field, body);
    assert.deepEqual([cn.code, cn.errors?.[0].field], [en.code, field], body);
    assert.doesNotMatch(en.detail, chinese, body);
    assert.match(cn.detail, chinese, body);
    const own = body.replace('message', 'prompt').replace('conversation_id', 'conversationId');
    const named = field?.replace('message', 'prompt').replace('conversation_id', 'conversationId') ?? '';
    for (const [headers, script] of [[{}, /^[^\u4e00-\u9fff]+$/], [zh, chinese]]) {
      const r = await parlor.post('/api/generate-async', own, headers);
      assert.equal(r.status, 400, body);
      const e = await r.json();
      assert.deepEqual(Object.keys(e), ['success', 'error', 'code']);
      assert.ok(e.error.startsWith(named), e.error);
      assert.match(e.error, script);
    }
  }
});

test('every refusal under /api/generate-async has its shape', async () => {
  for (const [r, status, code] of [
    [await get('/api/generate-async/none'), 404, 'task_not_found'],
    [await get('/api/generate-async/none/stream'), 404, 'task_not_found'],
    [await get('/api/generate-async/none/stream?deltas=1'), 404, 'task_not_found'],
    [await get('/api/generate-async/none/stream', { 'Last-Event-ID': '<' }), 400, 'bad_cursor'],
    [await fetch(`${parlor.url}/api/generate-async/none`, { method: 'DELETE' }), 404, 'task_not_found'],
    [await get('/api/generate-async'), 405, 'method_not_allowed'],
    [await parlor.post('/api/generate-async', 'a', { 'Content-Type': 'text/plain' }), 415, 'unsupported_media_type'],
  ]) {
    assert.equal(r.status, status);
    if (status === 405) assert.equal(r.headers.get('allow'), 'POST');
    assert.match(r.headers.get('content-type'), /^application\/json/);
    const e = await r.json();
    assert.deepEqual([e.success, e.code], [false, code]);
  }
});

test('a cursor of another store gets the snapshot and the end, nothing twice', async () => {
  const id = await ended({ prompt: 'count to 5' });
  const foreign = { 'Last-Event-ID': 'other-7' };
  const chat = blocks(await (await get(`/api/tasks/${id}/events`, foreign)).text()).map((e) => e.data);
  assert.deepEqual(chat.map((e) => e.type), ['reset', 'done']);
  assert.equal(chat[0].snapshot.task.content, '1 2 3 4 5');
  const own = blocks(await (await get(`/api/generate-async/${id}/stream`, foreign)).text()).map((e) => e.data);
  assert.deepEqual(own.map((e) => e.type), ['connected', 'reset', 'completed']);
  assert.deepEqual(own[1].snapshot.result, own[2].result);
});

test('polling takes every form of If-None-Match', async () => {
  const path = `/api/generate-async/${await ended({ prompt: 'hi' })}`;
  const tag = (await get(path)).headers.get('etag');
  for (const [given, status] of [[tag, 304], [`"x", W/${tag}`, 304], ['*', 304], ['"x"', 200]])
    assert.equal((await get(path, { 'If-None-Match': given })).status, status, given);
  assert.notEqual((await get(path, zh)).headers.get('etag'), tag); // another text, another tag
});

test('a page that no page before named is refused', async () => {
  await ended({ prompt: 'hi', conversationId: 'pages' });
  for (const [path, field] of [
    ['/api/sessions?cursor=zzz', 'cursor'],
    ['/api/sessions?cursor=17', 'cursor'],
    ['/api/sessions?limit=1001', 'limit'],
    ['/api/sessions/pages/messages?before=x', 'before'],
    ['/api/sessions/pages/messages?limit=0', 'limit'],
  ]) {
    const r = await get(path);
    assert.equal(r.status, 400, path);
    assert.equal((await r.json()).errors[0].field, field);
  }
  for (const list of ['/api/sessions', '/api/sessions/pages/messages']) {
    const key = list === '/api/sessions' ? ['cursor', 'next_cursor'] : ['before', 'next_before'];
    await ended({ prompt: 'hi' });
    const first = await (await get(`${list}?limit=1`)).json();
    assert.ok(first[key[1]], list);
    assert.equal((await get(`${list}?limit=1&${key[0]}=${first[key[1]]}`)).status, 200);
  }
});

test('the rehearsal model plays any model a client names', async () => {
  const id = await ended({ prompt: 'Build a modern React app', model: 'deepseek-chat', conversationId: 'conv_123' });
  const task = await (await get(`/api/generate-async/${id}`)).json();
  assert.deepEqual([task.status, task.result.model], ['completed', 'deepseek-chat']);
});
