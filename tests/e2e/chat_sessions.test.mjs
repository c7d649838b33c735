// docs/clients/chat-sessions.md over real sockets.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EventSource } from 'eventsource';
import { blocks, startParlor } from './server.mjs';

let parlor;
before(async () => {
  parlor = await startParlor();
});
after(() => parlor.remove());

const say = async (id, message, more = {}) => {
  const r = await parlor.post('/api/chat', { message, conversation_id: id, ...more });
  assert.equal(r.status, 200);
  return r.json();
};

test('the isolation example holds word for word', async () => {
  const first = await parlor.post('/api/chat', { message: 'Hello, I am Zhang San', conversation_id: 'test_1' });
  assert.equal(first.status, 200);
  assert.equal(first.headers.get('x-session-id'), 'test_1');
  const answer = await first.json();
  assert.equal(answer.response, 'Hello Zhang San!');
  assert.equal(answer.conversation_id, 'test_1');
  assert.match(answer.task_id, /^task_\d+_[0-9a-z]{20,}$/);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  assert.match((await say('test_1', 'What is my name?')).response, /Zhang San/);
  assert.doesNotMatch((await say('test_2', 'What is my name?')).response, /Zhang/);
});

test('and in Chinese', async () => {
  assert.equal((await say('zh_1', '你好，我是张三')).response, '你好，张三！');
  assert.match((await say('zh_1', '我叫什么名字？')).response, /张三/);
  assert.doesNotMatch((await say('zh_2', '我叫什么名字？')).response, /张三/);
});

test('a stream starts, brings pieces, and is done', async () => {
  const r = await parlor.post('/api/chat/stream', { message: 'Hello, I am Zhang San', conversation_id: 'stream_1' });
  assert.equal(r.headers.get('content-type'), 'text/event-stream; charset=utf-8');
  assert.equal(r.headers.get('cache-control'), 'no-cache, no-transform');
  assert.equal(r.headers.get('x-accel-buffering'), 'no');
  assert.equal(r.headers.get('x-session-id'), 'stream_1');
  const events = blocks(await r.text());
  assert.equal(events[0].data.type, 'start');
  assert.equal(events.at(-1).data.type, 'done');
  const text = events.filter((e) => e.data.type === 'chunk').map((e) => e.data.content).join('');
  assert.equal(text, 'Hello Zhang San!');
  assert.equal(events.at(-1).data.content, text);
  for (const e of events) assert.match(e.id, /^[0-9a-z]+-\d+$/);
});

test('a finished stream can be read again from any place, and says 204 at its end', async () => {
  const r = await parlor.post('/api/chat/stream', { message: 'count to 5', conversation_id: 'resume_1' });
  const all = blocks(await r.text());
  const url = `/api/tasks/${all[0].data.task_id}/events`;
  const whole = blocks(await (await fetch(parlor.url + url)).text());
  assert.deepEqual(whole, all);
  for (let i = 0; i < all.length - 1; i++) {
    const rest = await fetch(parlor.url + url, { headers: { 'Last-Event-ID': all[i].id } });
    assert.deepEqual(blocks(await rest.text()), all.slice(i + 1));
  }
  const end = await fetch(parlor.url + url, { headers: { 'Last-Event-ID': all.at(-1).id } });
  assert.equal(end.status, 204);
  const query = await fetch(`${parlor.url}${url}?lastEventId=${all[0].id}`);
  assert.deepEqual(blocks(await query.text()), all.slice(1));
});

test('a cursor of another store is told so', async () => {
  const r = await parlor.post('/api/chat', { message: 'hi', conversation_id: 'foreign_1' });
  const { task_id } = await r.json();
  const again = await fetch(`${parlor.url}/api/tasks/${task_id}/events`, { headers: { 'Last-Event-ID': 'other-1' } });
  const events = blocks(await again.text());
  assert.equal(events[0].data.type, 'reset');
  assert.equal((await fetch(`${parlor.url}/api/tasks/${task_id}/events`, { headers: { 'Last-Event-ID': '<x' } })).status, 400);
});

test('an EventSource sees everything that happens in a session', async () => {
  await say('watch_1', 'hello');
  const seen = [];
  const source = new EventSource(`${parlor.url}/api/sessions/watch_1/events`);
  await new Promise((resolve) => (source.onopen = resolve));
  const done = new Promise((resolve) => {
    source.onmessage = (m) => {
      const e = JSON.parse(m.data);
      seen.push(e.type);
      if (e.type === 'session_deleted') resolve();
    };
  });
  await say('watch_1', 'Hello, I am Li Si');
  const gone = await fetch(`${parlor.url}/api/sessions/watch_1`, { method: 'DELETE' });
  assert.deepEqual(await gone.json(), { message: 'Session deleted', session_id: 'watch_1' });
  await done;
  source.close();
  assert.equal(seen[0], 'start');
  assert.ok(seen.includes('chunk') && seen.includes('done'));
  assert.equal((await fetch(`${parlor.url}/api/sessions/watch_1`)).status, 404);
  assert.equal((await fetch(`${parlor.url}/api/sessions/watch_1`, { method: 'DELETE' })).status, 404);
});

test('sessions and messages are listed', async () => {
  await say('list_1', 'Hello, I am Wang Wu');
  const one = await (await fetch(`${parlor.url}/api/sessions/list_1`)).json();
  assert.equal(one.session_id, 'list_1');
  assert.equal(one.message_count, 2);
  assert.equal(one.question_count, 1);
  assert.equal(one.active_task, null);
  const page = await (await fetch(`${parlor.url}/api/sessions?limit=1`)).json();
  assert.equal(page.sessions.length, 1);
  assert.ok(page.total >= 1);
  const { messages } = await (await fetch(`${parlor.url}/api/sessions/list_1/messages`)).json();
  assert.deepEqual(messages.map((m) => m.role), ['user', 'assistant']);
  assert.equal(messages[1].content, 'Hello Wang Wu!');
});

test('turns run in order; reject and interrupt do what they say', async () => {
  const slow = { message: 'count to 3', conversation_id: 'busy_1', rehearsal: 'slow:400' };
  const first = parlor.post('/api/chat', slow);
  await new Promise((r) => setTimeout(r, 100));
  assert.equal((await parlor.post('/api/chat', { ...slow, on_busy: 'reject' })).status, 409);
  const second = say('busy_1', 'hello', { on_busy: 'interrupt' });
  const cut = await first;
  assert.equal(cut.status, 409);
  assert.equal((await cut.json()).code, 'cancelled');
  assert.ok((await second).response);
});

test('what can pass is retried, and announced with discard once something was shown', async () => {
  const r = await parlor.post('/api/chat/stream', { message: 'count to 9', conversation_id: 'retry_1', rehearsal: 'cut:3,ok' });
  const events = blocks(await r.text()).map((e) => e.data);
  const at = events.findIndex((e) => e.type === 'retry');
  assert.ok(at > 0);
  assert.equal(events[at].discard, true);
  assert.equal(events[at].attempt, 2);
  const text = events.slice(at).filter((e) => e.type === 'chunk').map((e) => e.content).join('');
  assert.equal(events.at(-1).content, text);
});

test('bad input is refused by name and costs nothing else', async () => {
  for (const [body, status, code, field] of [
    ['{', 400, 'bad_json'],
    ['[]', 400, 'bad_json'],
    ['{"message":"a","message":"b"}', 400, 'bad_json'],
    ['{}', 400, 'invalid_field', 'message'],
    ['{"message":""}', 400, 'invalid_field', 'message'],
    ['{"message":5}', 400, 'invalid_field', 'message'],
    ['{"message":"a","conversation_id":"a b"}', 400, 'invalid_field', 'conversation_id'],
    ['{"message":"a","conversation_id":""}', 400, 'invalid_field', 'conversation_id'],
    ['{"message":"a","max_tokens":1.5}', 400, 'invalid_field', 'max_tokens'],
    ['{"message":"a","on_busy":"x"}', 400, 'invalid_field', 'on_busy'],
    ['{"message":' + '['.repeat(1000) + ']'.repeat(1000) + '}', 400, 'bad_json'],
  ]) {
    for (const path of ['/api/chat', '/api/chat/stream']) {
      const r = await parlor.post(path, body);
      assert.equal(r.status, status, body);
      assert.match(r.headers.get('content-type'), /^application\/problem\+json/);
      const problem = await r.json();
      assert.equal(problem.code, code, body);
      assert.equal(problem.errors?.[0].field, field);
    }
  }
  assert.equal((await parlor.post('/api/chat', '{"message":"a"}', { 'Content-Type': 'text/plain' })).status, 415);
  assert.equal((await fetch(`${parlor.url}/api/chat`)).status, 405);
  assert.equal((await fetch(`${parlor.url}/nothing`)).status, 404);
  assert.equal((await fetch(`${parlor.url}/api/sessions/nobody`)).status, 404);
  assert.equal((await fetch(`${parlor.url}/api/sessions/nobody/messages`)).status, 404);
  assert.equal((await fetch(`${parlor.url}/api/sessions/nobody/events`)).status, 404);
  assert.equal((await fetch(`${parlor.url}/api/tasks/task_0_0/events`)).status, 404);
  const zh = await (await parlor.post('/api/chat', '{}', { 'Accept-Language': 'zh-CN,zh;q=0.9' })).json();
  assert.match(zh.title, /[\u4e00-\u9fff]/);
  assert.equal((await (await fetch(`${parlor.url}/health`)).json()).status, 'healthy');
});

test('a thousand sessions at once: no answer crosses over', async () => {
  const ids = Array.from({ length: 1000 }, (_, i) => `crowd_${i}`);
  const name = (i) => `Name${String.fromCharCode(65 + (i % 26))}${i}`;
  await Promise.all(ids.map((id, i) => say(id, `Hello, I am ${name(i)}`)));
  const answers = await Promise.all(ids.map((id) => say(id, 'What is my name?')));
  answers.forEach((a, i) => assert.match(a.response, new RegExp(`\\b${name(i)}\\b`)));
});

test('pages of the server itself', async () => {
  for (const path of ['/docs', '/openapi.json', '/livez', '/readyz', '/version', '/metrics', '/admin/actors'])
    assert.equal((await fetch(parlor.url + path)).status, 200, path);
});
