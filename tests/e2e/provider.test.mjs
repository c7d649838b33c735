// The server with a model service behind it, which fails in every way such services fail.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { bin, blocks, freePort, startParlor } from './server.mjs';
import { direct, scriptedModels, startUpstream } from './upstream.mjs';

const key = 'sk-canary-5f2c1e';
const scripts = [
  'refuse', 'garbage', 'html', 'json-error', 'rst', 'eof', 'cut-2', 'done-only', 'error', '500', '401', '403', '404',
  '429', 'redirect', 'huge', 'stall-2', 'hang', 'drip', '500,ok', '500,401,ok', '429-1,ok', 'cut-1,ok', 'rst,cut-1,usage',
  'ok', 'usage', 'split', 'pace-20',
];
let upstream, parlor;
before(async () => {
  upstream = await startUpstream();
  const nobody = await freePort();
  const config =
    scriptedModels(upstream.base, scripts) +
    scriptedModels(() => `http://127.0.0.1:${nobody}/v1`, ['nobody']) +
    scriptedModels(() => 'http://does-not-exist.invalid/v1', ['unknown-host']);
  const quick = { PARLOR_TASK_BACKOFF: '20ms', PARLOR_TASK_FIRST_TOKEN_TIMEOUT: '400ms', PARLOR_TASK_TOKEN_TIMEOUT: '400ms' };
  parlor = await startParlor({ ...direct, ...quick, TEST_KEY: key, PARLOR_LOG_LEVEL: 'trace' }, { config });
});
after(async () => {
  await parlor?.remove();
  upstream?.stop();
});

let next = 0;
const fresh = () => `s${++next}`;
const chat = (model, more = {}) => parlor.post('/api/chat', { message: 'hi', model, conversation_id: fresh(), ...more });
const stream = async (model, more = {}) => {
  const r = await parlor.post('/api/chat/stream', { message: 'hi', model, conversation_id: fresh(), ...more });
  assert.equal(r.status, 200);
  return blocks(await r.text()).map((e) => e.data);
};
const textOf = (events) => events.filter((e) => e.type === 'chunk').map((e) => e.content).join('');
const played = async () => (await upstream.stats()).log;
const sql = (query) => {
  const r = spawnSync('sqlite3', ['-json', '-readonly', join(parlor.dir, 'parlor.db'), query], { encoding: 'utf8' });
  assert.equal(r.status, 0, r.stderr);
  return JSON.parse(r.stdout || '[]');
};

test('OPENAI_API_KEY and OPENAI_BASE_URL are all it needs', async () => {
  const own = await startParlor({ ...direct, OPENAI_API_KEY: key, OPENAI_BASE_URL: `${upstream.base('usage')}/` });
  try {
    const say = (message, more = {}) => own.post('/api/chat', { message, conversation_id: 'a', ...more });
    const answer = await (await say('first question')).json();
    assert.equal(answer.response, 'word1 word2 word3');
    assert.deepEqual(answer.usage, { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 });
    assert.equal((await say('second question', { model: 'other-model', temperature: 0.5, max_tokens: 77 })).status, 200);
    const [head, body] = (await upstream.last()).split('\r\n\r\n');
    assert.match(head, /^POST \/usage\/v1\/chat\/completions HTTP\/1\.1\r\n/);
    assert.match(head, new RegExp(`\r\nAuthorization: Bearer ${key}(\r\n|$)`));
    const sent = JSON.parse(body);
    assert.equal(sent.model, 'other-model');
    assert.equal(sent.stream, true);
    assert.equal(sent.temperature, 0.5);
    assert.deepEqual(sent.messages.map((m) => [m.role, m.content]), [
      ['user', 'first question'],
      ['assistant', 'word1 word2 word3'],
      ['user', 'second question'],
    ]);
    assert.ok(!(own.output + own.log).includes(key));
  } finally {
    await own.remove();
  }
});

test('U3 U12 a turn end to end, however its bytes are cut', async () => {
  for (const model of ['ok', 'split', 'usage']) {
    const events = await stream(model);
    assert.equal(events[0].type, 'start');
    assert.equal(textOf(events), 'word1 word2 word3');
    const done = events.at(-1);
    assert.equal(done.type, 'done');
    assert.equal(done.content, 'word1 word2 word3');
    assert.equal(done.finish_reason, 'stop');
    assert.equal(done.usage.total_tokens, done.usage.prompt_tokens + done.usage.completion_tokens);
    assert.equal(done.usage.estimated, model === 'usage' ? undefined : true);
    const [row] = sql(`SELECT exact, prompt_tokens p, completion_tokens c, error FROM usage WHERE task = '${done.task_id}'`);
    assert.deepEqual(row, { exact: model === 'usage' ? 1 : 0, p: done.usage.prompt_tokens, c: done.usage.completion_tokens, error: 'none' });
    assert.ok(row.p > 0 && row.c > 0);
  }
});

test('U10 connections to the service are used again', async () => {
  await stream('ok');
  const before = (await upstream.stats()).connections;
  for (let i = 0; i < 10; i++) await stream('ok');
  assert.ok((await upstream.stats()).connections - before <= 3); // the questions for the figures are some
});

test('U1 U2 U7 U8 U10 U12 every failure has its name, its status, its number of attempts and its usage', async () => {
  for (const [model, code, status, attempts, text = ''] of [
    ['refuse', 'upstream_unreachable', 502, 3],
    ['nobody', 'upstream_unreachable', 502, 0],
    ['unknown-host', 'upstream_unreachable', 502, 0],
    ['garbage', 'upstream_protocol', 502, 3, 'word1'],
    ['html', 'upstream_protocol', 502, 1],
    ['json-error', 'upstream_error', 502, 3],
    ['rst', 'upstream_truncated', 502, 3, 'word1 word2'],
    ['eof', 'upstream_truncated', 502, 3, 'word1 word2'],
    ['cut-2', 'upstream_truncated', 502, 3, 'word1 word2'],
    ['done-only', 'upstream_truncated', 502, 3, 'word1 word2'],
    ['error', 'upstream_error', 502, 3, 'word1'],
    ['500', 'upstream_error', 502, 3],
    ['401', 'upstream_auth', 502, 1],
    ['403', 'upstream_auth', 502, 1],
    ['404', 'upstream_rejected', 502, 1],
    ['429', 'upstream_rate_limited', 503, 3],
    ['redirect', 'upstream_protocol', 502, 1],
    ['huge', 'upstream_too_large', 502, 1],
    ['stall-2', 'upstream_stalled', 504, 1, 'word1 word2'],
    ['hang', 'upstream_timeout', 504, 1],
    ['drip', 'upstream_timeout', 504, 1],
  ]) {
    const what = `model ${model}`;
    const asked = (await played()).length;
    const id = fresh();
    const r = await chat(model, { conversation_id: id });
    const problem = await r.json();
    assert.equal(problem.code, code, what);
    assert.equal(r.status, status, what);
    assert.match(r.headers.get('content-type'), /^application\/problem\+json/, what);
    const log = (await played()).slice(asked);
    assert.deepEqual(log.map((l) => l.script), Array(attempts).fill(model), what);
    // What was shown is kept, marked, and nothing of the other attempts with it.
    const { messages } = await (await fetch(`${parlor.url}/api/sessions/${id}/messages`)).json();
    assert.deepEqual(
      messages.map((m) => [m.role, m.content, m.partial]),
      [['user', 'hi', false], ...(text ? [['assistant', text, true]] : [])],
      what,
    );
    const usage = sql(`SELECT u.error e, u.prompt_tokens > 0 p, u.completion_tokens > 0 c, u.exact x FROM usage u
      JOIN task t ON t.name = u.task WHERE t.session_name = '${id}' ORDER BY u.attempt`);
    assert.equal(usage.length, Math.max(attempts, attempts === 0 ? 3 : 1), what);
    for (const u of usage) assert.deepEqual(u, { e: code, p: 1, c: text ? 1 : 0, x: 0 }, what);
    // The stream says the same.
    const events = await stream(model);
    assert.equal(events.at(-1).type, 'error', what);
    assert.equal(events.at(-1).code, code, what);
  }
  const health = await (await fetch(`${parlor.url}/health`)).json();
  assert.equal(health.status, 'healthy');
});

test('U1 the other dialect names failures the same way', async () => {
  const made = await (await parlor.post('/api/generate-async', { prompt: 'hi', model: 'done-only' })).json();
  const events = blocks(await (await fetch(`${parlor.url}/api/generate-async/${made.taskId}/stream`)).text()).map((e) => e.data);
  assert.equal(events.at(-1).type, 'failed');
  assert.equal(events.at(-1).code, 'upstream_truncated');
  const polled = await (await fetch(`${parlor.url}/api/generate-async/${made.taskId}`)).json();
  assert.equal(polled.status, 'failed');
  assert.equal(polled.code, 'upstream_truncated');
  assert.equal(polled.result, null);
  assert.notEqual(polled.progress, 100);
});

test('U6 before the first piece a retry changes nothing that is shown', async () => {
  const events = await stream('500,ok');
  assert.equal(textOf(events), 'word1 word2 word3');
  assert.ok(!events.some((e) => e.discard));
  assert.equal(events.at(-1).type, 'done');
  assert.equal((await stream('500,401,ok')).at(-1).code, 'upstream_auth'); // the second time it cannot pass
});

test('U7 Retry-After is obeyed', async () => {
  const asked = (await played()).length;
  const events = await stream('429-1,ok');
  assert.equal(events.at(-1).content, 'word1 word2 word3');
  const [first, second] = (await played()).slice(asked);
  assert.ok(second.began - first.ended >= 1_000_000, `${second.began - first.ended} us`);
  assert.ok(second.began - first.ended < 6_000_000);
});

test('U6 U12 after the first piece a retry says discard, and only the last attempt counts', async () => {
  for (const [model, attempts] of [['cut-1,ok', 2], ['rst,cut-1,usage', 3]]) {
    const id = fresh();
    const r = await parlor.post('/api/chat/stream', { message: 'hi', model, conversation_id: id });
    const whole = blocks(await r.text());
    const events = whole.map((e) => e.data);
    const retries = events.filter((e) => e.type === 'retry');
    assert.deepEqual(retries.map((e) => [e.attempt, e.discard]), [[2, true], [3, true]].slice(0, attempts - 1));
    const after = events.slice(events.lastIndexOf(retries.at(-1)));
    assert.equal(textOf(after), 'word1 word2 word3');
    assert.notEqual(textOf(events), textOf(after)); // something had been shown
    assert.equal(events.at(-1).content, 'word1 word2 word3');
    // Whoever comes later is told the same, from any place.
    const url = `${parlor.url}/api/tasks/${events[0].task_id}/events`;
    for (let i = 0; i < whole.length - 1; i++) {
      const rest = await fetch(url, { headers: { 'Last-Event-ID': whole[i].id } });
      assert.deepEqual(blocks(await rest.text()), whole.slice(i + 1));
    }
    const { messages } = await (await fetch(`${parlor.url}/api/sessions/${id}/messages`)).json();
    assert.deepEqual(messages.map((m) => m.content), ['hi', 'word1 word2 word3']);
    const usage = sql(`SELECT attempt, error FROM usage WHERE task = '${events[0].task_id}' ORDER BY attempt`);
    assert.equal(usage.length, attempts);
    assert.deepEqual(usage.map((u) => u.error), [...Array(attempts - 1).fill('upstream_truncated'), 'none']);
  }
});

test('U8 a redirect is not followed and nobody is told the key', async () => {
  const asked = (await played()).length;
  await chat('redirect');
  assert.deepEqual((await played()).slice(asked).map((l) => l.script), ['redirect']);
});

test('A4 the key and what the service said are nowhere to be seen', async () => {
  const seen = [parlor.output, parlor.log];
  for (const model of ['401', '500', 'error', 'json-error', 'html']) {
    seen.push(await (await chat(model)).text());
    seen.push(JSON.stringify(await stream(model)));
  }
  for (const path of ['/metrics', '/health', '/readyz', '/version', '/openapi.json', '/docs', '/admin/actors', '/api/sessions?limit=1000'])
    seen.push(await (await fetch(parlor.url + path)).text());
  const shown = spawnSync(bin, ['config', 'show'], { env: { TEST_KEY: key, PARLOR_CONFIG: join(parlor.dir, 'parlor.toml') }, encoding: 'utf8' });
  assert.equal(shown.status, 0);
  seen.push(shown.stdout);
  for (const f of readdirSync(parlor.dir)) seen.push(readFileSync(join(parlor.dir, f), 'latin1'));
  for (const text of seen)
    for (const secret of [key, 'secret prompt']) assert.ok(!text.includes(secret), text.slice(Math.max(0, text.indexOf(secret) - 200)).slice(0, 400));
});
