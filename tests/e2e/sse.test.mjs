// docs/hard-edges.md, streams, over real sockets: streams, and coming back to them in every way there is.
import assert from 'node:assert/strict';
import http from 'node:http';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { EventSource } from 'eventsource';
import { blocks, startParlor } from './server.mjs';
import { assertInOrder, metric, openStream, textOf, until } from './streams.mjs';

const origin = 'https://app.example';
let parlor, silence, silentPage;
before(async () => {
  parlor = await startParlor({ PARLOR_SERVER_CORS_ORIGINS: origin });
  // For the last test, which needs silence for longer than the others take.
  silence = listen('POST', '/api/chat/stream', { message: 'x', conversation_id: 'silent', rehearsal: 'hang' });
  await until(() => silence.text.endsWith('}\n\n'), 'its start');
  silentPage = page('/api/sessions/silent/events', (e) => e.type === 'error');
});
after(() => parlor.remove());

const get = (path, headers = {}) => fetch(parlor.url + path, { headers });
const read = async (path, headers) => blocks(await (await get(path, headers)).text());
const data = (events) => events.map((e) => e.data);
const speak = async (body) => {
  const s = await openStream(`${parlor.url}/api/chat/stream`, { method: 'POST', body });
  await s.has('start');
  return Object.assign(s, { task: s.events[0].data.task_id, url: `/api/tasks/${s.events[0].data.task_id}/events` });
};
const cancel = (task) => fetch(`${parlor.url}/api/generate-async/${task}`, { method: 'DELETE' });

/** Everything a connection brings, as it comes. */
function listen(method, path, body) {
  const text = body === undefined ? '' : JSON.stringify(body);
  const head = `${method} ${path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}`;
  const socket = connect(parlor.port, '127.0.0.1', () => socket.write(`${head}\r\n\r\n${text}`));
  const heard = { text: '', socket, body: () => heard.text.slice(heard.text.indexOf('\r\n\r\n') + 4) };
  socket.on('data', (d) => (heard.text += d)).on('error', () => {});
  heard.over = new Promise((r) => socket.on('close', r));
  return heard;
}

/** What a page gets with the client that browsers have, until an event for which `last` is true. */
function page(path, last) {
  return new Promise((resolve, reject) => {
    const seen = [];
    const source = new EventSource(parlor.url + path);
    source.onerror = (e) => e.code && reject(e);
    source.onmessage = (m) => {
      seen.push({ id: m.lastEventId || undefined, data: JSON.parse(m.data) });
      if (!last(seen.at(-1).data)) return;
      source.close();
      resolve(seen);
    };
  });
}

test('S1 text cannot forge fields or events', async () => {
  const text = 'data: x\nid: 9\r\nevent: y\n\nretry: 1\r\rdata\n: comment\n\n\ufeff\u2028end\0.';
  const s = await speak({ message: `echo: ${text}` });
  assert.equal(await s.over, 'end');
  assert.equal(textOf(s.events), text);
  const raw = listen('GET', s.url);
  await raw.over;
  for (const block of raw.body().split('\n\n').slice(0, -1))
    assert.match(block, /^id: [0-9a-z]{8}-[0-9]+\ndata: \{[^\r\n]*\}$/);
  assert.equal(raw.body().slice(-2), '\n\n');
  const seen = await page(s.url, (e) => e.type === 'done');
  assert.deepEqual(seen, s.events);
});

test('S2 a task that has ended, from every place', async () => {
  const s = await speak({ message: 'count to 5', conversation_id: 'places' });
  assert.equal(await s.over, 'end');
  const [epoch, end] = s.last().split('-');
  const from = (id, path = s.url) => read(path, { 'Last-Event-ID': id });
  for (const [i, e] of s.events.entries())
    if (e.data.type !== 'done') assert.deepEqual(await from(e.id), s.events.slice(i + 1));
  assert.deepEqual(await from(`${epoch}-0`), s.events);
  assert.deepEqual(await from(''), s.events);
  assert.deepEqual(await read(s.url), s.events);
  assert.equal((await get(s.url, { 'Last-Event-ID': s.last() })).status, 204);
  const ahead = () => metric(parlor, 'parlor_resumes_total{result="ahead"}');
  const before = await ahead();
  for (const id of [`other000-${end}`, 'a-1', `${epoch}-${Number(end) + 1}`, `${epoch}-${Number(end) + 5_000_000}`, `${epoch}-18446744073709551615`]) {
    const events = await from(id);
    assert.deepEqual(events.map((e) => e.data.type), ['reset', 'done'], id);
    assert.equal(events[0].data.snapshot.session.message_count, 2);
    assert.ok(events[0].data.snapshot.session.created_at > '2020');
    assert.equal(textOf(events), '1 2 3 4 5');
  }
  assert.equal(await ahead(), before + 3);
  // The other dialect.
  const generate = `/api/generate-async/${s.task}/stream`;
  const whole = await from(`${epoch}-0`, `${generate}?deltas=1`);
  assert.equal(whole[0].data.type, 'connected');
  assert.equal(whole[0].id, undefined);
  assert.equal(textOf(whole), '1 2 3 4 5');
  assert.equal(whole.at(-1).data.result.content, '1 2 3 4 5');
  assertInOrder(whole);
  for (let i = 1; i < whole.length - 1; i++)
    assert.deepEqual((await from(whole[i].id, `${generate}?deltas=1`)).slice(1), whole.slice(i + 1));
  assert.deepEqual(data(await read(generate)).map((e) => e.type), ['connected', 'completed']);
  assert.equal((await get(generate, { 'Last-Event-ID': whole.at(-1).id })).status, 204);
  // Numbers are the session's: those of its later turns are behind the end, too.
  const later = await speak({ message: 'count to 2', conversation_id: 'places' });
  assert.equal(await later.over, 'end');
  for (const e of later.events) assert.equal((await get(s.url, { 'Last-Event-ID': e.id })).status, 204);
});

test('S2 a task that runs, from every place', async () => {
  const s = await speak({ message: 'count to 9', rehearsal: 'stall:4' });
  await until(() => textOf(s.events).trim() === '1 2 3 4', 'four pieces');
  const [epoch, tail] = s.last().split('-');
  const from = (id) => openStream(parlor.url + s.url, { headers: id === undefined ? {} : { 'Last-Event-ID': id } });
  const places = await Promise.all([undefined, '', `${epoch}-0`, ...s.events.map((e) => e.id)].map(from));
  const strangers = await Promise.all([`other000-${tail}`, `${epoch}-${Number(tail) + 100000}`].map(from));
  await Promise.all(strangers.map((r) => r.has('reset')));
  await cancel(s.task);
  assert.equal(await s.over, 'end');
  for (const [i, p] of places.entries()) {
    assert.equal(await p.over, 'end');
    assert.deepEqual(p.events, s.events.slice(Math.max(0, i - 2)));
  }
  for (const p of strangers) {
    assert.equal(await p.over, 'end');
    assert.deepEqual(p.types(), ['reset', 'error']);
    const { task } = p.events[0].data.snapshot;
    assert.deepEqual([task.task_id, task.status, task.content.trim()], [s.task, 'running', '1 2 3 4']);
  }
});

test('S2 a session, from every place', async () => {
  const first = await speak({ message: 'Hello, I am Zhang San', conversation_id: 'many' });
  const second = await speak({ message: 'count to 3', conversation_id: 'many' });
  await first.over;
  await second.over;
  const all = [...first.events, ...second.events];
  const [epoch, tail] = all.at(-1).id.split('-');
  const path = `${parlor.url}/api/sessions/many/events`;
  for (const i of [0, 1, first.events.length - 1, first.events.length, all.length - 2]) {
    const s = await openStream(path, { headers: { 'Last-Event-ID': all[i].id } });
    await until(() => s.events.length >= all.length - i - 1, 'the rest');
    assert.deepEqual(s.events, all.slice(i + 1));
    s.leave();
  }
  const counts = () => Promise.all(['gap', 'ahead'].map((r) => metric(parlor, `parlor_resumes_total{result="${r}"}`)));
  const [gaps, ahead] = await counts();
  for (const [i, id] of [`other000-${tail}`, `${epoch}-${Number(tail) + 100000}`].entries()) {
    const s = await openStream(path, { headers: { 'Last-Event-ID': id } });
    await s.has('reset');
    assert.equal(s.events.length, 1);
    assert.equal(s.events[0].data.snapshot.session.session_id, 'many');
    assert.equal(s.events[0].data.snapshot.session.message_count, 4 + 2 * i);
    // From the id of the reset it goes on as from any other.
    const next = await openStream(path, { headers: { 'Last-Event-ID': s.last() } });
    const third = await speak({ message: 'count to 2', conversation_id: 'many' });
    await third.over;
    for (const w of [s, next]) await w.has('done');
    assert.deepEqual(s.events.slice(1), third.events);
    assert.deepEqual(next.events, third.events);
    s.leave();
    next.leave();
  }
  assert.deepEqual(await counts(), [gaps + 1, ahead + 1]); // an operator can see it
});

test('S2 the number of another session shows nothing of that session', async () => {
  const mine = await speak({ message: 'Hello, I am Zhang San', conversation_id: 'mine' });
  const other = await speak({ message: 'Hello, I am Li Si', conversation_id: 'other' });
  await mine.over;
  await other.over;
  for (const { id } of other.events) {
    const r = await get(mine.url, { 'Last-Event-ID': id });
    assert.doesNotMatch(await r.text(), /Li Si/);
  }
  assert.equal((await get('/api/sessions/mine/events', { 'Last-Event-ID': 'x' })).status, 400);
  assert.equal((await get('/api/sessions/nobody/events', { 'Last-Event-ID': mine.last() })).status, 404);
});

test('S2 what is no id of an event is refused, and the header comes before the query', async () => {
  const s = await speak({ message: 'count to 3', conversation_id: 'garbage' });
  await s.over;
  const [epoch] = s.last().split('-');
  const streams = [s.url, `/api/generate-async/${s.task}/stream`, '/api/sessions/garbage/events'];
  for (const id of [
    'x', '-', '-1', `${epoch}-`, `${epoch}`, '7', `${epoch}--`, `${epoch}-1x`, `${epoch}-+1`, `${epoch}-1.5`, `${epoch}-0x1`, `${epoch}-07`, `${epoch} -1`,
    `${epoch.toUpperCase()}A-1`, '<x>-1', `${epoch}-18446744073709551616`, `${epoch}-${'9'.repeat(30)}`, 'a'.repeat(41), 'a'.repeat(129),
    '"-1', 'é-1',
  ])
    for (const path of streams) {
      const r = await get(path, { 'Last-Event-ID': id });
      assert.equal(r.status, 400, `${path} ${id}`);
      assert.equal((await r.json()).code, 'bad_cursor');
      const q = await get(`${path}?lastEventId=${encodeURIComponent(id)}`);
      assert.equal(q.status, 400, `${path}?${id}`);
    }
  for (const id of ['%00', `${epoch}-1%00`, `${epoch}-1%0d%0aid:2`, '%ff-1'])
    assert.equal((await get(`${s.url}?lastEventId=${id}`)).status, 400, id);
  const [, second, third] = s.events;
  assert.deepEqual(await read(`${s.url}?lastEventId=${second.id}`), s.events.slice(2));
  assert.deepEqual(await read(`${s.url}?lastEventId=${second.id}`, { 'Last-Event-ID': third.id }), s.events.slice(3));
  assert.deepEqual(await read(`${s.url}?lastEventId=x`, { 'Last-Event-ID': third.id }), s.events.slice(3));
  assert.deepEqual(await read(`${s.url}?lastEventId=`), s.events);
});

/** Reads a turn as it is written, going and coming back wherever it happens to be, until it has ended. */
async function restless(url, times) {
  const seen = [];
  for (let left = times; ; left--) {
    const headers = seen.length ? { 'Last-Event-ID': seen.at(-1).id } : {};
    const s = await openStream(url, { headers });
    assert.equal(s.status, 200);
    const upTo = left > 0 ? 1 + Math.floor(Math.random() * 1200) : Infinity;
    let ended = false;
    s.over.then((how) => (ended = how === 'end'));
    await until(() => ended || s.events.length >= upTo, 'enough, or the end');
    seen.push(...s.events.slice(0, upTo));
    if (ended && s.events.length <= upTo) return { seen, back: times - left };
    s.leave();
  }
}

test('S3 a thousand times somebody comes back at any place while ten thousand pieces a second are written: each gets the rest, once', async () => {
  const fast = await startParlor({ PARLOR_REHEARSAL_TOKENS_PER_SECOND: '10000' });
  try {
    const s = await openStream(`${fast.url}/api/chat/stream`, { method: 'POST', body: { message: 'write 40000 words' } });
    await s.has('chunk');
    const url = `${fast.url}/api/tasks/${s.events[0].data.task_id}/events`;
    const all = await Promise.all(Array.from({ length: 25 }, () => restless(url, 40)));
    assert.equal(await s.over, 'end');
    for (const { seen } of all) {
      assertInOrder(seen);
      assert.equal(textOf(seen), s.events.at(-1).data.content);
    }
    const back = all.reduce((n, one) => n + one.back, 0);
    assert.ok(back >= 1000, `${back} times`);
  } finally {
    await fast.remove();
  }
});

test('S6 who breaks off in the middle harms nobody', async () => {
  const s = await speak({ message: 'write 5000 words', conversation_id: 'reset' });
  await Promise.all(Array.from({ length: 50 }, (_, i) => new Promise((done) => {
    const r = http.get(parlor.url + s.url, { agent: false }, (answer) => answer.once('data', () => {
      if (i % 2 === 0) answer.socket.resetAndDestroy();
      else answer.socket.destroy();
    }));
    r.on('error', () => {}).on('close', done);
  })));
  assert.equal(await s.over, 'end');
  assert.equal(textOf(s.events), s.events.at(-1).data.content);
  await until(async () => (await metric(parlor, 'parlor_subscribers')) === 2, 'all gone but the silent ones');
});

test('S7 an EventSource ends by itself after the end, and does not come back', async () => {
  const { task_id } = await (await parlor.post('/api/chat', { message: 'count to 3' })).json();
  const source = new EventSource(`${parlor.url}/api/tasks/${task_id}/events`);
  const opened = [];
  source.onopen = () => opened.push(1);
  const seen = [];
  source.onmessage = (m) => seen.push(JSON.parse(m.data));
  await until(() => source.readyState === EventSource.CLOSED, 'closed'); // it came back once, and was told 204
  assert.equal(opened.length, 1);
  assert.equal(seen.filter((e) => e.type === 'done').length, 1);
  assert.equal(textOf(seen.map((e) => ({ data: e }))), '1 2 3');
});

test('S9 what an EventSource cannot have it is told by a status', async () => {
  const guarded = await startParlor({ PARLOR_SERVER_KEY: 'a-key-for-tests' });
  try {
    for (const [url, status] of [
      [`${guarded.url}/api/sessions/a/events`, 401],
      [`${parlor.url}/api/sessions/nobody/events`, 404],
      [`${parlor.url}/api/tasks/nothing/events`, 404],
      [`${parlor.url}/api/generate-async/nothing/stream`, 404],
      [`${parlor.url}/api/tasks/nothing/events?lastEventId=x`, 400],
    ]) {
      const source = new EventSource(url);
      const error = await new Promise((r) => (source.onerror = r));
      assert.equal(error.code, status, url);
      assert.equal(source.readyState, EventSource.CLOSED);
      const r = await fetch(url);
      assert.match(r.headers.get('content-type'), /^application\/(problem\+)?json/);
      assert.ok((await r.json()).code);
    }
  } finally {
    await guarded.remove();
  }
});

test('S10 a long cursor, for which browsers ask first', async () => {
  const forged = { Origin: origin, 'Last-Event-ID': 'a'.repeat(129) };
  const asked = await fetch(`${parlor.url}/api/tasks/x/events`, {
    method: 'OPTIONS',
    headers: { Origin: origin, 'Access-Control-Request-Method': 'GET', 'Access-Control-Request-Headers': 'last-event-id' },
  });
  assert.equal(asked.status, 204);
  assert.match(asked.headers.get('access-control-allow-headers'), /last-event-id/i);
  const r = await get('/api/tasks/x/events', forged);
  assert.equal(r.status, 400);
  assert.equal(r.headers.get('access-control-allow-origin'), origin);
  const s = await speak({ message: 'count to 3' });
  await s.over;
  for (const { id } of s.events) assert.match(id, /^[0-9a-z-]{1,40}$/); // ours need no question
});

test('S11 a session that is deleted takes its streams along', async () => {
  const s = await speak({ message: 'count to 9', conversation_id: 'doomed', rehearsal: 'stall:2' });
  const waiting = await speak({ message: 'next', conversation_id: 'doomed' });
  const all = [
    s,
    waiting,
    await openStream(`${parlor.url}/api/sessions/doomed/events`),
    await openStream(parlor.url + s.url),
    await openStream(`${parlor.url}/api/generate-async/${s.task}/stream`),
    await openStream(`${parlor.url}/api/generate-async/${waiting.task}/stream?deltas=1`),
  ];
  const answer = parlor.post('/api/chat', { message: 'and then', conversation_id: 'doomed' });
  const waits = async () => (await (await get('/api/sessions/doomed')).json()).question_count === 3;
  await until(waits, 'it waits');
  assert.equal((await fetch(`${parlor.url}/api/sessions/doomed`, { method: 'DELETE' })).status, 200);
  for (const w of all) assert.equal(await w.over, 'end');
  for (const w of all.slice(0, 4)) assert.equal(w.types().at(-1), 'session_deleted');
  for (const w of all.slice(4)) assert.deepEqual([w.types().at(-1), w.events.at(-1).data.code], ['failed', 'session_deleted']);
  assert.equal((await answer).status, 410);
  for (const path of [s.url, `/api/generate-async/${s.task}`, '/api/sessions/doomed/events'])
    assert.equal((await get(path)).status, 404, path);
});

test('S12 a hundred streams of one client', async () => {
  const s = await speak({ message: 'count to 9', conversation_id: 'hundred', rehearsal: 'stall:3' });
  const session = `/api/sessions/hundred/events?lastEventId=${s.events[0].id}`;
  const all = await Promise.all(Array.from({ length: 100 }, (_, i) => openStream(parlor.url + (i % 2 ? s.url : session))));
  await cancel(s.task);
  assert.equal(await s.over, 'end');
  for (const [i, w] of all.entries()) {
    await w.has('error');
    assert.deepEqual(w.events, i % 2 ? s.events : s.events.slice(1));
    w.leave();
  }
});

test('S8 silence is filled with comments that no client takes for an event', async () => {
  await until(() => silence.body().endsWith(': ka\n'), 'a comment');
  assert.match(silence.body(), /^id: [^\n]+\ndata: [^\n]+\n\n(: ka\n)+$/);
  await cancel(blocks(silence.body())[0].data.task_id);
  assert.deepEqual((await silentPage).map((e) => e.data.type), ['error']);
  await silence.over;
  assert.equal(blocks(silence.body()).at(-1).data.code, 'cancelled');
});
