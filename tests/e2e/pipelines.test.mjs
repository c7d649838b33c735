// Pipelines over HTTP: the contract of roadmap-pipeline, what a model can do wrong, and restarts.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { blocks, startParlor } from './server.mjs';
import { assertInOrder, openStream, until } from './streams.mjs';
import { direct } from './upstream.mjs';

const stream = '/api/v1/roadmaps/generate-stream';
let rooms = 0;
const request = (more = {}) => ({
  user_id: 'test-user',
  session_id: `room-${++rooms}`,
  preferences: {
    learning_goal: 'Learn Python web development',
    available_hours_per_week: 10,
    motivation: 'career change',
    current_level: 'beginner',
    career_background: 'marketing',
    content_preference: ['text', 'interactive'],
  },
  ...more,
});
const dataOf = (events) => events.map((e) => e.data);
/** The text of each agent, as a client has it that obeys `retry`, and what they have come to. */
function client(events) {
  const text = {};
  const done = {};
  let at;
  for (const { data: e } of events) {
    if (e.type === 'chunk') text[(at = e.agent)] = (text[e.agent] ?? '') + e.content;
    if (e.type === 'retry' && e.discard) text[e.agent ?? at] = '';
    if (e.type === 'complete') done[e.agent] = e.data;
  }
  return { text, done };
}

let parlor;
before(async () => {
  parlor = await startParlor({ PARLOR_REHEARSAL_TOKENS_PER_SECOND: '50', PARLOR_SESSION_DISCONNECT_GRACE: '0' });
});
after(() => parlor?.remove());

test('two agents, one stream', async () => {
  const from = Date.now();
  const s = await openStream(parlor.url + stream, { method: 'POST', body: request({ session_id: 'one' }) });
  await s.has('chunk');
  assert.ok(Date.now() - from < 1000, 'the first chunk comes at once');
  assert.ok(!s.types().includes('done'));
  assert.equal(await s.over, 'end');
  assert.equal(s.headers['content-type'], 'text/event-stream; charset=utf-8');
  assert.equal(s.headers['x-session-id'], 'one');
  assert.match(s.headers['x-task-id'], /^task_/);
  const types = s.types();
  const shape = types.filter((t, i) => t !== types[i - 1]);
  assert.deepEqual(shape, ['chunk', 'complete', 'chunk', 'complete', 'done']);
  assertInOrder(s.events);
  const { text, done } = client(s.events);
  assert.deepEqual(Object.keys(done), ['intent_analyzer', 'curriculum_architect']);
  for (const agent of Object.keys(done)) assert.deepEqual(JSON.parse(text[agent]), done[agent]);
  const { summary } = s.events.at(-1).data;
  assert.deepEqual(summary.agents.map((a) => a.agent), Object.keys(done));
  assert.equal(summary.total_tokens, summary.agents.reduce((sum, a) => sum + a.usage.total_tokens, 0));
  assert.ok(summary.agents.every((a) => a.duration_ms > 100));
  const session = await (await fetch(`${parlor.url}/api/sessions/one`)).json();
  assert.equal(session.total_tokens, summary.total_tokens);
  assert.equal(session.message_count, 2);
});

test('one answer', async () => {
  const r = await parlor.post('/api/v1/roadmaps/generate', request());
  assert.equal(r.status, 200);
  assert.match(r.headers.get('x-task-id'), /^task_/);
  const answer = await r.json();
  assert.deepEqual(Object.keys(answer), ['success', 'data', 'summary']);
  assert.equal(answer.success, true);
  assert.deepEqual(Object.keys(answer.data), ['intent_analyzer', 'curriculum_architect']);
  assert.equal(answer.summary.agents.length, 2);
});

test('each field that is missing or wrong is named', async () => {
  const long = (n) => 'x'.repeat(n);
  const wrong = {
    user_id: [undefined, null, 5, '', long(129)],
    session_id: [undefined, null, 5, '', 'a b', '房间', long(129)],
    preferences: [undefined, null, 5, []],
    'preferences.learning_goal': [undefined, null, 5, '', long(2001)],
    'preferences.available_hours_per_week': [undefined, null, 'ten', 0, -1, 169],
    'preferences.motivation': [null, 5, long(2001)],
    'preferences.current_level': [null, 5, 'expert'],
    'preferences.career_background': [null, 5, long(2001)],
    'preferences.content_preference': [null, 'text', Array(11).fill('a')],
    'preferences.content_preference[0]': [null, 5, '', long(51)],
    on_busy: [5, 'never'],
    cancel_on_disconnect: [1, 'yes'],
  };
  for (const [field, values] of Object.entries(wrong))
    for (const value of values) {
      const body = request();
      const path = field.split(/[.[]/).map((p) => (p.endsWith(']') ? Number(p.slice(0, -1)) : p));
      path.slice(0, -1).reduce((at, p) => at[p], body)[path.at(-1)] = value;
      for (const route of [stream, '/api/v1/roadmaps/generate']) {
        const r = await parlor.post(route, body);
        const where = `${field} = ${JSON.stringify(value)?.slice(0, 40)}`;
        assert.equal(r.status, 422, where);
        assert.match(r.headers.get('content-type'), /^application\/problem\+json/);
        const problem = await r.json();
        assert.equal(problem.code, 'invalid_request');
        assert.deepEqual(problem.errors.map((e) => e.field), [field], where);
      }
    }
  const all = await (await parlor.post(stream, { session_id: '?', preferences: { content_preference: [1, 'a', 2] } })).json();
  assert.deepEqual(all.errors.map((e) => e.field).sort(), [
    'preferences.available_hours_per_week', 'preferences.content_preference[0]', 'preferences.content_preference[2]',
    'preferences.learning_goal', 'session_id', 'user_id',
  ]);
  const zh = await (await parlor.post(stream, {}, { 'Accept-Language': 'zh' })).json();
  assert.equal(zh.title, '有字段缺失或取值不正确。');
  assert.ok(zh.errors.length === 3 && zh.errors.every((e) => e.detail === '为必填项'));
  assert.equal((await parlor.post('/api/v1/nothing/generate', request())).status, 404);
  assert.equal((await parlor.post(stream, 'x', { 'Content-Type': 'text/plain' })).status, 415);
  assert.equal((await parlor.post(stream, '{')).status, 400);
  assert.equal((await fetch(parlor.url + stream)).status, 405);
});

test('progress, for those who ask for it', async () => {
  const r = await parlor.post(`${stream}?progress=1`, request());
  const events = blocks(await r.text());
  const told = dataOf(events).filter((e) => e.type === 'progress');
  assert.ok(told.length > 3, `${told.length}`);
  assert.ok(told.every((e, i) => e.progress >= 1 && e.progress < 100 && e.agent && (i === 0 || e.progress > told[i - 1].progress)));
  const again = async (query) => blocks(await (await fetch(`${parlor.url}/api/tasks/${r.headers.get('x-task-id')}/events${query}`)).text());
  assert.deepEqual(await again('?progress=1'), events);
  assert.deepEqual(await again(''), events.filter((e) => e.data.type !== 'progress'));
});

test('coming back', async () => {
  const s = await openStream(parlor.url + stream, { method: 'POST', body: request() });
  await until(() => s.events.length >= 5, 'five events');
  const seen = [...s.events];
  const events = `${parlor.url}/api/tasks/${s.headers['x-task-id']}/events`;
  s.leave();
  const rest = await openStream(events, { headers: { 'Last-Event-ID': seen.at(-1).id } });
  assert.equal(await rest.over, 'end');
  const whole = blocks(await (await fetch(events)).text());
  assert.deepEqual([...seen, ...rest.events], whole);
  assert.equal(whole.at(-1).data.type, 'done');
  assert.equal((await fetch(events, { headers: { 'Last-Event-ID': whole.at(-1).id } })).status, 204);
  const other = blocks(await (await fetch(events, { headers: { 'Last-Event-ID': 'other-1' } })).text());
  assert.deepEqual(dataOf(other).map((e) => e.type), ['reset', 'done']);
});

test('the same request twice is one task', async () => {
  const body = request();
  const headers = { 'Idempotency-Key': 'twice' };
  const [a, b] = await Promise.all([parlor.post(stream, body, headers), parlor.post(stream, body, headers)]);
  assert.equal(a.headers.get('x-task-id'), b.headers.get('x-task-id'));
  const texts = await Promise.all([a.text(), b.text()]);
  assert.deepEqual(blocks(texts[0]), blocks(texts[1]));
  const late = await parlor.post(stream, body, headers);
  assert.equal(late.headers.get('idempotency-replayed'), 'true');
  assert.deepEqual(blocks(await late.text()), blocks(texts[0]));
  assert.equal((await parlor.post(stream, request(), headers)).status, 422);
});

test('cancelling', async () => {
  const s = await openStream(parlor.url + stream, { method: 'POST', body: request() });
  await s.has('chunk');
  const r = await fetch(`${parlor.url}/api/generate-async/${s.headers['x-task-id']}`, { method: 'DELETE' });
  assert.equal(r.status, 200);
  assert.equal(await s.over, 'end');
  assert.equal(s.events.at(-1).data.code, 'cancelled');
  assert.equal(s.events.at(-1).data.agent, 'intent_analyzer');

  const left = await openStream(parlor.url + stream, { method: 'POST', body: request({ cancel_on_disconnect: true }) });
  await left.has('chunk');
  left.leave();
  const poll = `${parlor.url}/api/generate-async/${left.headers['x-task-id']}`;
  await until(async () => (await (await fetch(poll)).json()).status === 'cancelled', 'cancelled');
});

test('after kill -9 it goes on behind the agent that was complete', async () => {
  const own = await startParlor({ PARLOR_REHEARSAL_TOKENS_PER_SECOND: '20' });
  try {
    const s = await openStream(own.url + stream, { method: 'POST', body: request({ session_id: 'killed' }) });
    await until(() => s.events.some((e) => e.data.type === 'chunk' && e.data.agent === 'curriculum_architect'), 'the second agent');
    const events = `${own.url}/api/tasks/${s.headers['x-task-id']}/events`;
    await own.stop('SIGKILL');
    assert.equal(await s.over, 'cut');
    await own.start();
    const rest = await openStream(events, { headers: { 'Last-Event-ID': s.last() } });
    assert.equal(await rest.over, 'end');
    const all = [...s.events, ...rest.events];
    assertInOrder(all);
    const completes = dataOf(all).filter((e) => e.type === 'complete');
    assert.deepEqual(completes.map((e) => e.agent), ['intent_analyzer', 'curriculum_architect']); // none twice
    assert.ok(dataOf(rest.events).some((e) => e.type === 'retry' && e.discard));
    const { text, done } = client(all);
    for (const agent of Object.keys(done)) assert.deepEqual(JSON.parse(text[agent]), done[agent]);
    assert.equal(all.at(-1).data.type, 'done');
    assert.ok(all.at(-1).data.summary.agents[0].duration_ms > 100);
    const last = (await (await fetch(events)).text()).trim().split('\n').at(-1);
    await own.stop('SIGKILL');
    await own.start();
    assert.equal((await (await fetch(events)).text()).trim().split('\n').at(-1), last); // told again as it was
    assert.deepEqual(JSON.parse(last.slice(6)), all.at(-1).data);
  } finally {
    await own.remove();
  }
});

// -- a model whose every word is the test's

async function startModel() {
  const asked = []; // {body, closed}
  const answers = [];
  const server = createServer((req, res) => {
    let text = '';
    req.on('data', (d) => (text += d)).on('end', () => {
      const call = { body: JSON.parse(text), closed: false };
      asked.push(call);
      const answer = answers.shift() ?? '{}';
      const event = (delta, finish_reason = null) => res.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason }] })}\n\n`);
      res.on('close', () => (call.closed = !res.writableFinished));
      res.writeHead(200, { 'Content-Type': 'text/event-stream' });
      event({ role: 'assistant', content: answer.text ?? answer });
      if (answer.endless) return; // it would go on
      event({}, 'stop');
      res.write(`data: ${JSON.stringify({ choices: [], usage: { prompt_tokens: 30, completion_tokens: 5, total_tokens: 35 } })}\n\n`);
      res.end('data: [DONE]\n\n');
    });
  });
  await new Promise((r) => server.listen(0, '127.0.0.1', r));
  return { asked, answers, base: `http://127.0.0.1:${server.address().port}/v1`, stop: () => (server.closeAllConnections(), server.close()) };
}

/** A server with a pipeline of its own: `count` gives {n}, `double` is told it and gives {twice}. */
async function startOwn(t) {
  const model = await startModel();
  const dir = mkdtempSync(join(tmpdir(), 'parlor-pipes-'));
  const schema = (name) => JSON.stringify({ type: 'object', required: [name], additionalProperties: false, properties: { [name]: { type: 'integer', maximum: 9 } } });
  writeFileSync(join(dir, 'count.json'), schema('n'));
  writeFileSync(join(dir, 'double.json'), schema('twice'));
  writeFileSync(join(dir, 'request.json'), '{"type":"object","additionalProperties":false,"required":["of"],"properties":{"of":{"type":"string","maxLength":9}}}');
  writeFileSync(
    join(dir, 'sums.toml'),
    `name = "sums"\nrequest = "request.json"
[[agent]]\nname = "count"\nprompt = "Count {{request.of}}."\noutput = "count.json"\nattempts = 2
[[agent]]\nname = "double"\nmodel = "big"\nprompt = "Double {{count.n}}."\noutput = "double.json"\nattempts = 2\n`,
  );
  const config = `[[provider]]\nname = "test"\nkind = "openai"\nbase_url = "${model.base}"\napi_key = "x"\n[[model]]\nname = "big"\nprovider = "test"\n`;
  const served = await startParlor({ ...direct, PARLOR_PIPELINES_PATH: dir }, { config });
  t.after(async () => {
    await served.remove();
    model.stop();
    rmSync(dir, { recursive: true });
  });
  return { served, model };
}

test('a pipeline is a file', async (t) => {
  const { model, served } = await startOwn(t);
  const run = async (body = { of: 'cats' }) => {
    const r = await served.post('/api/v1/sums/generate-stream', body);
    assert.equal(r.status, 200);
    return { events: dataOf(blocks(await r.text())), session: r.headers.get('x-session-id'), task: r.headers.get('x-task-id') };
  };
  const contents = (i) => model.asked[i].body.messages.map((m) => `${m.role}: ${m.content}`);

  model.answers.push('Here it is:\n```json\n{\n  "n": 4\n}\n```\nEnjoy.', '{"twice": 8}');
  const { events, session, task } = await run();
  assert.match(session, /^session_/);
  assert.deepEqual(events.filter((e) => e.type === 'complete'), [
    { type: 'complete', data: { n: 4 }, agent: 'count' },
    { type: 'complete', data: { twice: 8 }, agent: 'double' },
  ]);
  assert.deepEqual(contents(0), ['user: Count cats.']);
  assert.deepEqual(contents(1), ['user: Double 4.']);
  assert.equal(model.asked[0].body.response_format.type, 'json_schema');
  assert.equal(events.at(-1).summary.total_tokens, 70);
  const { messages } = await (await fetch(`${served.url}/api/sessions/${session}/messages`)).json();
  assert.equal(messages[0].content, '{"of":"cats"}');
  assert.deepEqual(JSON.parse(messages[1].content).data, { count: { n: 4 }, double: { twice: 8 } });
  assert.equal((await (await fetch(`${served.url}/api/generate-async/${task}`)).json()).status, 'completed');

  // What violates the schema is stopped at once, and said to the model.
  model.asked.length = 0;
  model.answers.push({ text: '{"n": 11, "why": "', endless: true }, '{"n": 1}', 'I cannot.', '{"twice": 2}');
  const again = (await run()).events;
  assert.ok(model.asked[0].closed);
  assert.deepEqual(contents(1).slice(0, 2), ['user: Count cats.', 'assistant: {"n": 11, "why": "']);
  assert.match(contents(1)[2], /- \/n must be at most 9, not 11/);
  assert.match(contents(3)[2], /the answer holds no JSON/);
  assert.deepEqual(again.filter((e) => e.type === 'retry'), [
    { type: 'retry', attempt: 2, delay_ms: 0, discard: true, reason: '/n must be at most 9, not 11', agent: 'count' },
    { type: 'retry', attempt: 4, delay_ms: 0, discard: true, reason: 'the document is missing: the answer holds no JSON', agent: 'double' },
  ]);
  assert.equal(again.at(-1).type, 'done');

  // After its attempts it has failed.
  model.answers.push('{"n": 1}', '{"twice": "x"}', '[]');
  const failed = (await run()).events;
  assert.deepEqual(failed.at(-1), {
    type: 'error',
    error: "The model's answers did not have the form that was asked for.",
    code: 'schema_violation',
    agent: 'double',
  });
  model.answers.push('{}', '{}');
  const r = await served.post('/api/v1/sums/generate', { of: 'dogs' });
  assert.equal(r.status, 502);
  const problem = await r.json();
  assert.equal(problem.code, 'schema_violation');
  assert.match(problem.detail, /\(count\)$/);

  // The server's own members are not the schema's business; others are.
  model.answers.push('{"n": 1}', '{"twice": 2}');
  assert.equal((await run({ of: 'cats', session_id: 'mine', on_busy: 'reject' })).session, 'mine');
  const wrong = await (await served.post('/api/v1/sums/generate', { of: 'too many cats', more: 1 })).json();
  assert.deepEqual(wrong.errors.map((e) => e.field).sort(), ['more', 'of']);
  assert.equal((await served.post(stream, request())).status, 404); // it is not among these files
});
