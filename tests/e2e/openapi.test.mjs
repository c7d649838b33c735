// Every answer a request here brings is documented in web/openapi.json for its operation, and its body has the documented
// form, without a member more.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http, { createServer } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { api, faults, operations, resolve } from './openapi.mjs';
import { blocks, startParlor } from './server.mjs';
import { until } from './streams.mjs';

// What no request here can bring about: documented, but not asked for.
const generic = { 503: 'the store does not work', 507: 'the disk is full' };

const dir = mkdtempSync(join(tmpdir(), 'parlor-openapi-'));
let parlor, guarded;
const ids = {};
const seen = {}; // operationId: the statuses it was seen to answer

/** The answer of an operation, checked against the document. */
async function ask(id, { status, server = parlor, query = '', body, headers = {}, path = {}, events, opened } = {}) {
  const { verb, path: template } = operations[id];
  const url = server.url + template.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(path[name] ?? ids[name] ?? name)) + query;
  const r = await fetch(url, {
    method: verb,
    headers: { ...(body === undefined ? {} : { 'Content-Type': 'application/json' }), ...headers },
    body: body === undefined || typeof body === 'string' ? body : JSON.stringify(body),
  });
  opened?.();
  let text = '';
  if (events === undefined) text = await r.text();
  else
    for await (const piece of r.body) {
      text += Buffer.from(piece);
      if (text.split('\ndata: ').length > events) break;
    }
  check(id, r.status, r.headers, text, status);
  return text;
}

function check(id, status, headers, text, wanted) {
  const { op, path } = operations[id];
  const where = `${id} ${path} answered ${status} ${text.slice(0, 300)}`;
  if (wanted) assert.equal(status, wanted, where);
  assert.ok(op.responses[status], `not documented: ${where}`);
  (seen[id] ??= new Set()).add(String(status));
  const answer = resolve(op.responses[status]);
  assert.ok(headers.get('x-request-id'), where);
  for (const [name, header] of Object.entries(answer.headers ?? {}))
    if (headers.has(name)) {
      const value = headers.get(name);
      assert.deepEqual(faults(resolve(header).schema.type === 'integer' ? Number(value) : value, resolve(header).schema, name), [], where);
    } else assert.ok(['Idempotency-Replayed', 'Retry-After'].includes(name), `no ${name}: ${where}`);
  if (!answer.content) return assert.equal(text, '', where);
  const [type, media] = Object.entries(answer.content)[0];
  assert.equal(headers.get('content-type')?.split(';')[0], type, where);
  if (type.endsWith('json')) assert.deepEqual(faults(JSON.parse(text), media.schema), [], where);
  if (media['x-event']) {
    const all = blocks(text);
    assert.ok(all.length > 0, where);
    for (const { data } of all) assert.deepEqual(faults(data, media['x-event'], 'event'), [], where);
  }
}

before(async () => {
  const config = join(dir, 'parlor.toml');
  writeFileSync(config, "[[provider]]\nname = 'here'\nkind = 'rehearsal'\n[[model]]\nname = 'one'\nprovider = 'here'\n");
  ids.name = 'roadmaps';
  parlor = await startParlor({
    PARLOR_CONFIG: config, // one model, so that others are unknown
    PARLOR_SERVER_MAX_BODY: '64KiB',
    PARLOR_SESSION_MAX_TURNS: '2',
    PARLOR_TASK_ATTEMPTS: '1',
    PARLOR_TASK_BACKOFF: '1ms',
    PARLOR_TASK_FIRST_TOKEN_TIMEOUT: '60s',
  });
  guarded = await startParlor({ PARLOR_SERVER_KEY: 'a-key-for-tests' });
});
after(async () => {
  await parlor?.remove();
  await guarded?.remove();
  rmSync(dir, { recursive: true, force: true });
});

const starts = {
  chat: (text, more) => ({ message: text, ...more }),
  chatStream: (text, more) => ({ message: text, ...more }),
  generateCreate: (text, { conversation_id, ...more } = {}) => ({ prompt: text, conversationId: conversation_id, ...more }),
  pipelineStream: (text, more) => pipelineBody(text, more),
  pipelineGenerate: (text, more) => pipelineBody(text, more),
};
let rooms = 0;
const pipelineBody = (text, { conversation_id: session_id = `pipeline_${++rooms}`, ...more } = {}) => ({
  user_id: 'u',
  session_id,
  preferences: { learning_goal: text, available_hours_per_week: 3 },
  ...more,
});
/** A task that runs until somebody ends it; its id. */
async function endless(conversationId) {
  return JSON.parse(await ask('generateCreate', { status: 200, body: { prompt: 'hi', conversationId, rehearsal: 'hang' } })).taskId;
}

test('the document is served as it is', async () => {
  assert.deepEqual(JSON.parse(await ask('openapi', { status: 200 })), api);
  assert.match(await ask('docs', { status: 200 }), /docs\.js/);
  await ask('docsScript', { status: 200 });
});

test('the pages of the server', async () => {
  for (const id of ['health', 'livez', 'readyz', 'version', 'metrics', 'actors']) await ask(id, { status: 200 });
  assert.equal(JSON.parse(await ask('version')).version, api.info.version);
  await ask('actorsStream', { status: 200, events: 2 });
  await ask('problem', { status: 200, path: { code: 'session_not_found' } });
  await ask('problem', { status: 404, path: { code: 'nothing' } });
});

test('turns and what is left of them', async () => {
  const answer = JSON.parse(await ask('chat', { status: 200, body: { message: 'Hello', conversation_id: 'one' } }));
  Object.assign(ids, { session_id: 'one', task_id: answer.task_id, taskId: answer.task_id });
  await ask('chat', { status: 200, body: { message: 'count to 9', max_tokens: 3, metadata: { a: 1 }, system_prompt: 'Be brief' } });
  await ask('chatStream', { status: 200, body: { message: 'Hello', conversation_id: 'one' } });
  const failed = await ask('chatStream', { status: 200, body: { message: 'Hello', rehearsal: 'cut:1' } });
  assert.equal(blocks(failed).at(-1).data.type, 'error');
  const all = blocks(await ask('taskEvents', { status: 200 }));
  await ask('taskEvents', { status: 200, headers: { 'Last-Event-ID': 'other-7' } });
  await ask('taskEvents', { status: 204, headers: { 'Last-Event-ID': all.at(-1).id } });
  await ask('taskEvents', { status: 400, headers: { 'Last-Event-ID': '<' } });
  await ask('taskEvents', { status: 404, path: { task_id: 'none' } });
  for (const query of ['', '?limit=1']) await ask('listSessions', { status: 200, query });
  for (const query of ['?limit=0', '?cursor=x']) await ask('listSessions', { status: 400, query });
  await ask('getSession', { status: 200 });
  for (const query of ['', '?limit=1']) await ask('listMessages', { status: 200, query });
  await ask('listMessages', { status: 400, query: '?before=x' });
  await ask('sessionEvents', { status: 200, headers: { 'Last-Event-ID': all[0].id }, events: 3 });
  await ask('sessionEvents', { status: 200, headers: { 'Last-Event-ID': 'other-7' }, events: 1 });
  await ask('sessionEvents', { status: 400, query: '?lastEventId=%3C' });
  for (const id of ['getSession', 'listMessages', 'sessionEvents', 'deleteSession']) await ask(id, { status: 404, path: { session_id: 'none' } });
});

test('generations', async () => {
  const make = async (prompt, more = {}) => JSON.parse(await ask('generateCreate', { status: 200, body: { prompt, ...more } })).taskId;
  const taskId = await make('echo: {"a": [1]}');
  const of = (taskId) => ({ path: { taskId } });
  const all = blocks(await ask('generateStream', { status: 200, query: '?deltas=1', ...of(taskId) }));
  assert.ok(all.at(-1).data.result.data);
  await ask('generatePoll', { status: 200, ...of(taskId) });
  await ask('generatePoll', { status: 304, headers: { 'If-None-Match': '*' }, ...of(taskId) });
  await ask('generateStream', { status: 204, headers: { 'Last-Event-ID': all.at(-1).id }, ...of(taskId) });
  await ask('generateStream', { status: 200, headers: { 'Last-Event-ID': 'other-7' }, ...of(taskId) });
  await ask('generateStream', { status: 400, headers: { 'Last-Event-ID': '<' }, ...of(taskId) });
  await ask('generateCancel', { status: 409, ...of(taskId) });
  const bad = await make('hi', { rehearsal: 'auth' });
  await ask('generateStream', { status: 200, ...of(bad) });
  await ask('generatePoll', { status: 200, ...of(bad) });
  const long = await endless('long');
  await ask('generatePoll', { status: 200, ...of(long) });
  const watching = ask('generateStream', { status: 200, ...of(long) });
  await ask('generateCancel', { status: 200, ...of(long) });
  await watching;
  await ask('generatePoll', { status: 200, ...of(long) });
  for (const id of ['generatePoll', 'generateStream', 'generateCancel']) await ask(id, { status: 404, ...of('none') });
});

test('pipelines', async () => {
  const all = blocks(await ask('pipelineStream', { status: 200, query: '?progress=1', body: pipelineBody('Python') }));
  for (const type of ['chunk', 'complete', 'progress', 'done']) assert.ok(all.some((e) => e.data.type === type), type);
  const failed = blocks(await ask('pipelineStream', { status: 200, body: pipelineBody('Python', { rehearsal: 'auth' }) }));
  assert.equal(failed.at(-1).data.type, 'error');
  await ask('pipelineGenerate', { status: 200, body: pipelineBody('Python') });
  await ask('pipelineGenerate', { status: 502, body: pipelineBody('Python', { rehearsal: 'auth' }) });
  const late = await startParlor({ PARLOR_TASK_FIRST_TOKEN_TIMEOUT: '50ms', PARLOR_TASK_ATTEMPTS: '1' });
  try {
    await ask('pipelineGenerate', { status: 504, server: late, body: pipelineBody('Python', { rehearsal: 'hang' }) });
  } finally {
    await late.remove();
  }
  const waiting = ask('pipelineGenerate', { status: 410, body: pipelineBody('Python', { conversation_id: 'gone_too', rehearsal: 'hang' }) });
  await until(async () => (await fetch(`${parlor.url}/api/sessions/gone_too`)).ok, 'its session');
  await ask('deleteSession', { status: 200, path: { session_id: 'gone_too' } });
  await waiting;
  for (const id of ['pipelineStream', 'pipelineGenerate']) {
    await ask(id, { status: 404, path: { name: 'none' }, body: {} });
    for (const body of ['{', '[]']) await ask(id, { status: 400, body });
    await ask(id, { status: 422, body: {} });
  }
});

/** A handshake, and what it is answered with. */
async function knock(query, server, status) {
  const headers = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA==' };
  const [r, socket] = await new Promise((done, failed) => {
    const request = http.get(`${server.url}/ws/learning${query}`, { headers });
    request.on('upgrade', (...all) => done(all)).on('response', (answer) => done([answer])).on('error', failed);
  });
  const text = socket ? '' : Buffer.concat(await r.toArray()).toString();
  socket?.destroy();
  check('learning', r.statusCode, new Headers(r.headers), text, status);
}

test('a WebSocket', async () => {
  await knock('?session_id=one', parlor, 101);
  await ask('learning', { status: 426, query: '?session_id=one' });
  await knock('?session_id=%20', parlor, 400);
});

test('what is refused before any work starts', async () => {
  for (const [id, make] of Object.entries(starts)) {
    const wrong = [make(''), make('a', { conversation_id: ' ' }), make('a', { model: 'two' })];
    for (const body of ['{', '[]', ...(id.startsWith('pipeline') ? [] : wrong)]) await ask(id, { status: 400, body });
    await ask(id, { status: 415, body: 'a', headers: { 'Content-Type': 'text/plain' } });
    const headers = { 'Idempotency-Key': 'a-key' };
    const same = make('a');
    for (const body of [same, same]) await ask(id, { status: 200, headers, body });
    await ask(id, { status: 422, headers, body: make('b') });
  }
});

test('a busy session', async () => {
  for (const [id, make] of Object.entries(starts)) {
    const conversation_id = `busy_${id}`;
    const running = await endless(conversation_id);
    await ask(id, { status: 409, body: make('hi', { conversation_id, on_busy: 'reject' }) });
    await endless(conversation_id); // the one turn that may wait
    await ask(id, { status: 429, body: make('hi', { conversation_id }) });
    await ask('generateCancel', { status: 200, path: { taskId: running } });
    await ask('deleteSession', { status: 200, path: { session_id: conversation_id } });
  }
});

test('a session that enough are watching', async () => {
  const narrow = await startParlor({ PARLOR_SESSION_MAX_STREAMS: '1', EXTERNAL_API_URL: 'http://127.0.0.1:1/' });
  try {
    const one = { server: narrow, status: 200 };
    const taskId = JSON.parse(await ask('generateCreate', { ...one, body: { prompt: 'hi', conversationId: 'few', rehearsal: 'hang' } })).taskId;
    const only = await fetch(`${narrow.url}/api/sessions/few/events`);
    const path = { session_id: 'few', task_id: taskId, taskId };
    const many = { server: narrow, status: 429, path };
    for (const id of ['taskEvents', 'sessionEvents', 'generateStream']) await ask(id, many);
    await ask('planStream', { ...many, query: '?sessionId=few' });
    await knock('?session_id=few', narrow, 429);
    for (const [id, make] of Object.entries(starts))
      if (id !== 'generateCreate') await ask(id, { ...many, path: {}, body: make('hi', { conversation_id: 'few' }) });
    await only.body.cancel();
    await ask('generateCancel', { ...one, path });
  } finally {
    await narrow.remove();
  }
});

test('more turns than are accepted in time', async () => {
  const slow = await startParlor({ PARLOR_SERVER_MAX_TURN_WAIT: '1ms', EXTERNAL_API_URL: 'http://127.0.0.1:1/' });
  const file = `${slow.dir}/parlor.db`;
  const other = spawn('sqlite3', [file], { stdio: ['pipe', 'ignore', 'inherit'] });
  try {
    // Nothing can be recorded until it ends. It waits for the lock, which whoever asks below may have for a moment.
    other.stdin.write('.timeout 30000\nBEGIN IMMEDIATE;\n');
    await until(async () => spawnSync('sqlite3', [file, 'BEGIN IMMEDIATE']).status !== 0, 'the lock of the store');
    const crowd = [];
    let refused = false;
    const join = async () => {
      const r = await slow.post('/api/generate-async', { prompt: 'hi' });
      refused ||= r.status === 429;
      return r.status;
    };
    while (crowd.length < 64) crowd.push(join());
    await until(async () => {
      crowd.push(join());
      return refused;
    }, 'a refusal');
    const late = { server: slow, status: 429 };
    for (const [id, make] of Object.entries(starts)) assert.equal(JSON.parse(await ask(id, { ...late, body: make('hi') })).code, 'saturated', id);
    assert.equal(JSON.parse(await ask('planGenerate', { ...late, body: { sessionId: 'late', request: {} } })).error.code, 'saturated');
    other.stdin.end('ROLLBACK;\n');
    const statuses = await Promise.all(crowd);
    assert.ok(statuses.every((s) => s === 200 || s === 429) && statuses.filter((s) => s === 200).length >= 64, `${statuses}`);
    await ask('planGenerate', { ...late, status: 202, body: { sessionId: 'late', request: {} } });
  } finally {
    other.kill();
    await slow.remove();
  }
});

test('turns that end otherwise', async () => {
  const fail = (status, rehearsal) => ask('chat', { status, body: { message: 'hi', rehearsal } });
  await fail(502, 'auth');
  await fail(503, '429:0');
  const late = await startParlor({ PARLOR_TASK_FIRST_TOKEN_TIMEOUT: '50ms', PARLOR_TASK_ATTEMPTS: '1' });
  try {
    await ask('chat', { status: 504, server: late, body: { message: 'hi', rehearsal: 'hang' } });
  } finally {
    await late.remove();
  }
  const waiting = ask('chat', { status: 410, body: { message: 'hi', conversation_id: 'gone', rehearsal: 'hang' } });
  await until(async () => (await fetch(`${parlor.url}/api/sessions/gone`)).ok, 'its session');
  let watching;
  await new Promise((opened) => {
    watching = ask('sessionEvents', { status: 200, path: { session_id: 'gone' }, opened });
  });
  await ask('deleteSession', { status: 200, path: { session_id: 'gone' } });
  await waiting;
  assert.equal(blocks(await watching).at(-1).data.type, 'session_deleted');
});

test('plans', async () => {
  const service = createServer((request, answer) => request.resume().on('end', () => answer.writeHead(202).end()));
  await new Promise((resolve) => service.listen(0, '127.0.0.1', resolve));
  const server = await startParlor({ EXTERNAL_API_URL: `http://127.0.0.1:${service.address().port}/`, PARLOR_SERVER_MAX_BODY: '64KiB' });
  const start = (sessionId, more) => ask('planGenerate', { server, body: { sessionId, request: { a: 1 } }, ...more });
  const update = (status, query, body, more) => ask('planUpdate', { server, status, query, body, ...more });
  try {
    await ask('planStream', { server, status: 200, query: '?sessionId=p', events: 0 });
    await ask('planStream', { server, status: 400 });
    const headers = { 'Idempotency-Key': 'once' };
    const { search } = new URL(JSON.parse(await start('p', { status: 202, headers })).callbackUrl);
    await start('p', { status: 202, headers });
    await start('p', { status: 422, headers, body: { sessionId: 'p', request: {} } });
    await start('p', { status: 409 });
    await start('a b', { status: 400 });
    await start('q', { status: 415, headers: { 'Content-Type': 'text/plain' } });
    await start('q', { status: 413, body: { sessionId: 'q', request: { a: 'a'.repeat(70_000) } } });
    await update(400, search, '{');
    await update(413, search, { data: { a: 'a'.repeat(70_000) } });
    await update(415, search, { data: {} }, { headers: { 'Content-Type': 'text/plain' } });
    await update(403, '?sessionId=p', { data: {} });
    await update(404, '?sessionId=nobody', { data: {} });
    await until(async () => JSON.parse(await update(undefined, search, { data: { a: 1 } })).success, 'an update that is taken'); // once it is called
    await update(200, search, { data: { a: 1 } });
    await update(409, search, { data: { a: 2 } });
    await ask('planStream', { server, status: 200, query: '?sessionId=p', events: 1 });
    await ask('planStats', { server, status: 200 });
  } finally {
    await server.remove();
    service.close();
    service.closeAllConnections();
  }
});

test('a key is asked for exactly where the document says so', async () => {
  for (const [id, { op, verb }] of Object.entries(operations)) {
    const body = verb === 'POST' ? '{}' : undefined;
    if (op.security?.length === 0) {
      assert.ok(!op.responses[401], id);
      assert.notEqual((await fetch(guarded.url + operations[id].path)).status, 401, id);
    } else await ask(id, { status: 401, server: guarded, body });
  }
});

test('bodies that are too large', async () => {
  for (const [id, make] of Object.entries(starts)) await ask(id, { status: 413, body: make('a'.repeat(70_000)) });
});

/** Requests on connections made before; the server answers while it takes no new ones. */
function kept(server) {
  const s = connect(server.port, '127.0.0.1');
  let text = '';
  s.on('data', (d) => (text += d));
  s.on('error', () => {});
  return async (verb, path, body) => {
    text = '';
    const head = `${verb} ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n`;
    s.write(body ? `${head}Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}` : `${head}\r\n`);
    return until(() => {
      const [, top, rest] = /^([\s\S]*?)\r\n\r\n([\s\S]*)$/.exec(text) ?? [];
      const headers = new Headers(top?.split('\r\n').slice(1).map((l) => l.split(/: (.*)/).slice(0, 2)));
      assert.ok(!s.destroyed, `${path}: the connection was closed, ${text}`);
      return top && Buffer.byteLength(rest) >= Number(headers.get('content-length')) && { status: Number(top.split(' ')[1]), headers, text: rest };
    }, `an answer to ${path}`);
  };
}

test('while it drains', async () => {
  const going = ['readyz', 'health', ...Object.keys(starts)];
  const lines = going.map(() => kept(parlor));
  for (const line of lines) await line('GET', '/livez');
  await endless('last'); // it is waited for
  parlor.process.kill('SIGTERM');
  await until(async () => !JSON.parse((await lines[0]('GET', '/readyz')).text).ready, 'the drain');
  for (const [i, id] of going.entries()) {
    const { verb, path } = operations[id];
    const r = await lines[i](verb, path.replace('{name}', 'roadmaps'), starts[id] && JSON.stringify(starts[id]('hi')));
    check(id, r.status, r.headers, r.text, 503);
    assert.ok(!starts[id] || r.headers.has('retry-after'), id);
  }
});

test('everything documented has been seen', () => {
  const missing = Object.entries(operations).flatMap(([id, { op }]) => Object.keys(op.responses).filter((s) => !seen[id]?.has(s) && !generic[s]).map((s) => `${id} ${s}`));
  assert.deepEqual(missing, []);
});
