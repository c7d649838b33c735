// docs/hard-edges.md, S11 and promise 10: every way in which a stream can end is told, in every dialect; and S12, H10: how many there may be.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { EventSource } from 'eventsource';
import { startParlor } from './server.mjs';
import { openSocket } from './sockets.mjs';
import { openStream, textOf, until } from './streams.mjs';

let service;
before(async () => {
  service = createServer((request, answer) => request.resume().on('end', () => answer.writeHead(202).end()));
  await new Promise((resolve) => service.listen(0, '127.0.0.1', resolve));
});
after(() => {
  service.close();
  service.closeAllConnections();
});
const start = (env = {}) => startParlor({ PARLOR_DRAIN_TIMEOUT: '100ms', EXTERNAL_API_URL: `http://127.0.0.1:${service.address().port}/`, ...env });
const remove = (server, id) => fetch(`${server.url}/api/sessions/${id}`, { method: 'DELETE' });

/** One watcher of every kind, each of something that does not end by itself. */
async function everyKind(server) {
  const post = (path, body) => openStream(server.url + path, { method: 'POST', body });
  const watch = (path) => openStream(server.url + path);
  const all = { turn: await post('/api/chat/stream', { message: 'count to 9', conversation_id: 's', rehearsal: 'stall:2' }) };
  await all.turn.has('chunk');
  const task = all.turn.events[0].data.task_id;
  all.task = await watch(`/api/tasks/${task}/events`);
  all.session = await watch('/api/sessions/s/events');
  all.generate = await watch(`/api/generate-async/${task}/stream`);
  all.deltas = await watch(`/api/generate-async/${task}/stream?deltas=1`);
  const plan = { user_id: 'u', session_id: 'p', preferences: { learning_goal: 'Go', available_hours_per_week: 3 }, rehearsal: 'stall:2' };
  all.pipeline = await post('/api/v1/roadmaps/generate-stream', plan);
  await all.pipeline.has('chunk');
  all.page = await watch('/api/plan/stream?sessionId=q');
  const socket = await openSocket(server, 's');
  const answer = server.post('/api/chat', { message: 'x', conversation_id: 'j', rehearsal: 'hang' });
  await until(async () => (await fetch(`${server.url}/api/sessions/j`)).ok, 'the turn is taken');
  for (const s of Object.values(all)) assert.equal(s.status, 200);
  return { streams: all, socket, answer, task, sessions: ['s', 'p', 'q', 'j'] };
}
/** How all streams end: in order, within five seconds; their last events. */
async function ends(streams) {
  const from = Date.now();
  for (const [name, s] of Object.entries(streams)) assert.equal(await s.over, 'end', name);
  assert.ok(Date.now() - from < 5000);
  return Object.fromEntries(Object.entries(streams).map(([name, s]) => [name, s.events.at(-1)?.data]));
}

test('S11 a session that is deleted: every watcher is told', async () => {
  const server = await start();
  try {
    const all = await everyKind(server);
    for (const id of all.sessions) assert.equal((await remove(server, id)).status, 200);
    const last = await ends(all.streams);
    for (const name of ['turn', 'task', 'session']) assert.deepEqual(last[name], { type: 'session_deleted' }, name);
    for (const name of ['generate', 'deltas']) assert.deepEqual([last[name].type, last[name].code], ['failed', 'session_deleted'], name);
    for (const name of ['pipeline', 'page']) assert.deepEqual([last[name].type, last[name].code], ['error', 'session_deleted'], name);
    assert.equal((await all.socket.over).code, 1001);
    assert.equal(all.socket.seen.at(-1).code, 'session_deleted');
    const answer = await all.answer;
    assert.deepEqual([answer.status, (await answer.json()).code], [410, 'session_deleted']);
  } finally {
    await server.remove();
  }
});

test('S11 a session that expires: whoever only watches is told', async () => {
  const server = await start({ PARLOR_SESSION_IDLE_EXPIRY: '1s' }); // as long as a socket waits for `resume`
  try {
    for (let round = 0; round < 3; round++) {
      const id = `idle_${round}`;
      await (await server.post('/api/chat', { message: 'hi', conversation_id: id })).text();
      const socket = await openSocket(server, id);
      const streams = { session: await openStream(`${server.url}/api/sessions/${id}/events`), page: await openStream(`${server.url}/api/plan/stream?sessionId=page_${round}`) };
      const last = await ends(streams);
      assert.equal(last.session.type, 'session_expired');
      assert.equal(last.page.code, 'session_expired');
      assert.equal((await socket.over).code, 1001);
      assert.equal(socket.seen.at(-1).code, 'session_expired');
    }
  } finally {
    await server.remove();
  }
});

test('S11 a task that is cancelled or fails: its streams end with that, the session goes on', async () => {
  const server = await start({ PARLOR_TASK_ATTEMPTS: '1' });
  try {
    const all = await everyKind(server);
    assert.equal((await fetch(`${server.url}/api/generate-async/${all.task}`, { method: 'DELETE' })).status, 200);
    const { turn, task, generate, deltas } = all.streams;
    const last = await ends({ turn, task, generate, deltas });
    for (const name of ['turn', 'task']) assert.deepEqual([last[name].type, last[name].code], ['error', 'cancelled'], name);
    for (const name of ['generate', 'deltas']) assert.equal(last[name].type, 'cancelled', name);
    await all.streams.session.has('error');
    await all.socket.has('error');
    const next = await openStream(`${server.url}/api/chat/stream`, { method: 'POST', body: { message: 'hi', conversation_id: 's', rehearsal: 'cut:1' } });
    assert.equal((await ends({ next })).next.code, 'upstream_truncated');
    await until(() => all.streams.session.events.at(-1).data.code === 'upstream_truncated', 'the session is told, too');
    assert.equal(all.socket.socket.readyState, 1);
    all.answer.catch(() => {});
  } finally {
    await server.remove();
  }
});

test('a server that stops ends every stream in order, and says when to come back', async () => {
  const server = await start();
  try {
    const all = await everyKind(server);
    const raw = {}; // what a stream brings, to the byte
    for (const path of ['/api/sessions/s/events', `/api/tasks/${all.task}/events`, '/api/plan/stream?sessionId=q'])
      raw[path] = (await fetch(server.url + path)).text();
    const seen = Object.fromEntries(Object.entries(all.streams).map(([name, s]) => [name, s.events.length]));
    assert.deepEqual(await server.stop(), { code: 0, signal: null });
    await ends(all.streams);
    for (const [name, s] of Object.entries(all.streams)) assert.equal(s.events.length, seen[name], `${name} has no event more`);
    for (const [path, body] of Object.entries(raw)) assert.match(await body, /(^|\n\n)(: ka\n)*: the server stops\nretry: [123]\d\d\d\n$/, path);
    assert.equal((await all.socket.over).code, 1012);
    const answer = await all.answer;
    assert.deepEqual([answer.status, (await answer.json()).code], [503, 'interrupted']);
    assert.ok(Number(answer.headers.get('retry-after')) > 0);
  } finally {
    await server.remove();
  }
});

test('a page comes back to the next server by itself, at its time, and misses nothing', async () => {
  const server = await start();
  const first = await openStream(`${server.url}/api/chat/stream`, { method: 'POST', body: { message: 'count to 5', conversation_id: 'back', rehearsal: 'stall:2' } });
  const source = new EventSource(`${server.url}/api/tasks/${(await first.has('start'), first.events[0].data.task_id)}/events`);
  try {
    const seen = [];
    let lost = 0;
    source.onmessage = (m) => seen.push({ id: m.lastEventId, data: JSON.parse(m.data) });
    source.onerror = () => (lost ||= performance.now());
    await until(() => textOf(seen).trim() === '1 2', 'two pieces');
    await server.stop();
    await server.start();
    await until(() => seen.some((e) => e.data.type === 'retry'), 'the turn, made again');
    const waited = performance.now() - lost;
    assert.ok(waited > 950, `it came back after ${waited} ms, not at once`);
    await until(() => textOf(seen).trim() === '1 2', 'two pieces again');
    assert.equal((await fetch(`${server.url}/api/generate-async/${first.events[0].data.task_id}`, { method: 'DELETE' })).status, 200);
    await until(() => seen.at(-1).data.code === 'cancelled', 'the end');
    assert.equal(new Set(seen.map((e) => e.id)).size, seen.length);
  } finally {
    source.close();
    await server.remove();
  }
});

// -- how many

test('S12 a hundred streams of one origin are served; past the limit the answer is 429, or 503, in the words of the dialect', async () => {
  const server = await start({ PARLOR_SESSION_MAX_STREAMS: '100', PARLOR_SERVER_MAX_STREAMS: '102' });
  try {
    const { taskId } = await (await server.post('/api/generate-async', { prompt: 'x', conversationId: 'many', rehearsal: 'hang' })).json();
    const path = '/api/sessions/many/events';
    const watchers = await Promise.all(Array.from({ length: 100 }, () => openStream(server.url + path, { headers: { Origin: server.url } })));
    assert.ok(watchers.every((w) => w.status === 200));
    const refused = async (where, code = (body) => body.code) => {
      const r = await fetch(server.url + where);
      assert.equal(r.status, 429, where);
      assert.equal(r.headers.get('retry-after'), '5');
      const body = await r.json();
      assert.equal(code(body), 'too_many_streams', JSON.stringify(body));
      return body;
    };
    assert.equal((await refused(path)).status, 429);
    assert.equal((await refused(`/api/tasks/${taskId}/events`)).type, '/problems/too_many_streams');
    assert.equal((await refused(`/api/generate-async/${taskId}/stream`)).success, false);
    assert.equal((await refused('/api/plan/stream?sessionId=many', (b) => b.error.code)).sessionId, 'many');
    const knock = await openSocket(server, 'many').then(() => assert.fail('opened'), (e) => e);
    assert.deepEqual([knock.status, knock.headers['retry-after'], JSON.parse(knock.body).code], [429, '5', 'too_many_streams']);
    assert.equal((await fetch(`${server.url}/api/generate-async/${taskId}`)).status, 200); // what takes no time

    // In all: two more elsewhere, and then no third one, nor a turn that nobody could be told of.
    const turn = (id) => openStream(`${server.url}/api/chat/stream`, { method: 'POST', body: { message: 'x', conversation_id: id, rehearsal: 'hang' } });
    const taken = [await turn('a'), await turn('b')];
    for (const t of taken) assert.equal((await t.has('start')) && t.status, 200);
    assert.equal((await turn('c')).status, 503);
    const full = await server.post('/api/chat', { message: 'x', conversation_id: 'd' });
    assert.deepEqual([full.status, full.headers.get('retry-after'), (await full.json()).code], [503, '5', 'out_of_streams']);
    const back = await openStream(`${server.url}/api/sessions/a/events`, { headers: { 'Last-Event-ID': taken[0].last() } }); // S9
    assert.deepEqual([back.status, back.headers['retry-after']], [503, '5']);
    assert.equal((await fetch(`${server.url}/api/sessions/c`)).status, 404);
    watchers[0].leave();
    await until(async () => {
      const w = await openStream(server.url + path);
      return w.status === 200;
    }, 'room again');
  } finally {
    await server.remove();
  }
});

/** Keeps a connection from an address of this machine, and asks on it. */
function client(server, localAddress) {
  const c = { text: '', open: true };
  c.socket = connect({ port: server.port, host: '127.0.0.1', localAddress });
  c.socket.on('data', (d) => (c.text += d)).on('error', () => {}).on('close', () => (c.open = false));
  c.connected = new Promise((done) => c.socket.on('connect', done).on('close', done));
  c.ask = async (path, more = '') => {
    c.text = '';
    c.socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${more}\r\n`);
    await until(() => c.text.endsWith('}') || !c.open, 'an answer');
    return c.text;
  };
  return c;
}

test('H10 one address has only so many connections, and is told so in the words of what it asks for', async () => {
  const limits = { PARLOR_SERVER_PROXIES: '127.0.0.3/32', PARLOR_SERVER_MAX_CONNECTIONS_PER_CLIENT: '4' };
  const server = await start({ ...limits, PARLOR_SERVER_CORS_ORIGINS: 'https://app.example' });
  const all = [];
  const open = async (address) => {
    all.push(client(server, address));
    await all.at(-1).connected;
    return all.at(-1);
  };
  try {
    for (let i = 0; i < 4; i++) assert.match(await (await open('127.0.0.2')).ask('/livez'), /^HTTP\/1.1 200 /);
    const problem = await (await open('127.0.0.2')).ask('/api/sessions', 'Origin: https://app.example\r\nAccept-Language: zh\r\n');
    assert.match(problem, /^HTTP\/1.1 429 /);
    assert.match(problem, /\r\nRetry-After: 5\r\n/);
    assert.match(problem, /\r\nConnection: close\r\n/);
    assert.match(problem, /\r\nAccess-Control-Allow-Origin: https:\/\/app.example\r\n/);
    assert.match(problem, /"code":"too_many_connections"/);
    assert.match(problem, /来自此地址的连接过多/);
    assert.match(await (await open('127.0.0.2')).ask('/api/generate-async/x'), /429 [^]*\{"success":false,[^]*too_many_connections/);
    assert.match(await (await open('127.0.0.2')).ask('/api/plan/stats'), /429 [^]*"error":\{"code":"too_many_connections"/);
    for (let i = 0; i < 20; i++) assert.match(await (await open('127.0.0.3')).ask('/livez'), /^HTTP\/1.1 200 /); // the proxy
    assert.match(await (await open('127.0.0.4')).ask('/livez'), /^HTTP\/1.1 200 /);
    for (let i = 0; i < 30; i++) await open('127.0.0.2'); // who does not listen is not answered any more
    await until(() => all.slice(-30).filter((c) => !c.open).length >= 26, 'closed at once');
    all.at(-31).text = '';
    const page = await (await fetch(`${server.url}/metrics`).catch(() => ({ text: () => '' }))).text(); // from 127.0.0.1
    assert.match(page, /\nparlor_http_connections_refused_total 2\d\n/);
    await until(() => /client_over_limit/.test(server.output), 'said');
  } finally {
    for (const c of all) c.socket.destroy();
    await server.remove();
  }
});

test('H10 a connection is closed after its last request, and by then nobody has lost one', async () => {
  const server = await start({ PARLOR_SERVER_MAX_REQUESTS: '5' });
  try {
    const c = client(server, '127.0.0.1');
    for (let i = 1; i <= 5; i++) assert.equal(/\r\nConnection: close\r\n/.test(await c.ask('/livez')), i === 5);
    await until(() => !c.open, 'closed');
    const statuses = await Promise.all(Array.from({ length: 50 }, async () => (await fetch(`${server.url}/livez`)).status));
    assert.deepEqual(new Set(statuses), new Set([200]));
  } finally {
    await server.remove();
  }
});
