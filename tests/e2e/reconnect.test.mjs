// The server is killed in the middle of an answer, and started again: clients that come back have the whole text, once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventSource } from 'eventsource';
import { startParlor } from './server.mjs';
import { assertInOrder, openStream, textOf, until } from './streams.mjs';

const counted = Array.from({ length: 400 }, (_, i) => i + 1).join(' ');
const settings = { PARLOR_REHEARSAL_TOKENS_PER_SECOND: '100', PARLOR_LOG_LEVEL: 'error' };

/** The client that browsers have. What it has seen, over all its connections. */
function follow(url) {
  const source = new EventSource(url);
  const seen = [];
  let opened = 0;
  source.onopen = () => ++opened;
  source.onmessage = (m) => seen.push({ id: m.lastEventId || undefined, data: JSON.parse(m.data) });
  const types = () => seen.map((e) => e.data.type);
  return { source, seen, types, opened: () => opened, has: (type) => until(() => types().includes(type), type) };
}

/** As textOf, for both dialects: in the other one a new attempt is announced by a status. */
const whole = (events) => textOf(events.map(({ data }) => ({ data: data.attempt && data.discard ? { type: 'retry', discard: true } : data })));

async function killAndStart(parlor) {
  await parlor.stop('SIGKILL');
  await parlor.start();
}

test('an EventSource through kill -9 in the middle of an answer ends with the whole text, once', async () => {
  const parlor = await startParlor(settings);
  try {
    const { taskId } = await (await parlor.post('/api/generate-async', { prompt: 'count to 400', conversationId: 'killed' })).json();
    const clients = [
      follow(`${parlor.url}/api/tasks/${taskId}/events`),
      follow(`${parlor.url}/api/generate-async/${taskId}/stream?deltas=1`),
      follow(`${parlor.url}/api/sessions/killed/events`),
    ];
    const [chat, generate, session] = clients;
    await until(() => clients.every((c) => whole(c.seen).length > 50), 'a part of it');
    await killAndStart(parlor);
    // Once more, while it says it again: they come back to the third attempt.
    const poll = async () => (await fetch(`${parlor.url}/api/generate-async/${taskId}`)).json();
    await until(async () => (await poll()).progress > 0, 'a part of it, again');
    await killAndStart(parlor);
    await chat.has('done');
    await generate.has('completed');
    await session.has('done');
    for (const c of clients) {
      assert.equal(whole(c.seen), counted);
      assertInOrder(c.seen);
      assert.equal(c.seen.filter((e) => ['done', 'completed'].includes(e.data.type)).length, 1);
    }
    assert.equal(chat.seen.at(-1).data.content, counted);
    assert.equal(generate.seen.at(-1).data.result.content, counted);
    assert.ok(!chat.types().includes('reset'), 'the store is the same');
    assert.ok(chat.seen.some((e) => e.data.type === 'retry' && e.data.discard), 'a new attempt was announced');
    assert.ok(clients.every((c) => c.opened() === 2), 'they were there before and after');
    // They stop by themselves: the end is the end.
    for (const c of [chat, generate]) await until(() => c.source.readyState === EventSource.CLOSED, 'closed');
    session.source.close();
    const { messages } = await (await fetch(`${parlor.url}/api/sessions/killed/messages`)).json();
    assert.deepEqual(messages.map((m) => m.content), ['count to 400', counted]);
  } finally {
    await parlor.remove();
  }
});

test('a stream that began with POST is taken up with GET after kill -9', async () => {
  const parlor = await startParlor(settings);
  try {
    const first = await openStream(`${parlor.url}/api/chat/stream`, { method: 'POST', body: { message: 'count to 400' } });
    await until(() => textOf(first.events).length > 100, 'a part');
    await killAndStart(parlor);
    assert.equal(await first.over, 'cut');
    const url = `${parlor.url}/api/tasks/${first.events[0].data.task_id}/events`;
    const again = await openStream(url, { headers: { 'Last-Event-ID': first.last() } });
    assert.equal(await again.over, 'end');
    const all = [...first.events, ...again.events];
    assertInOrder(all);
    assert.equal(textOf(all), counted);
    assert.equal(again.types()[0], 'retry');
    // Whoever reads it from its start, now or later, gets the same.
    const later = await openStream(url);
    assert.equal(await later.over, 'end');
    assert.equal(textOf(later.events), counted);
  } finally {
    await parlor.remove();
  }
});

test('where interrupted turns are not run again, clients are told how it ended', async () => {
  const parlor = await startParlor({ ...settings, PARLOR_SESSION_RECOVER: 'fail' });
  try {
    const { taskId } = await (await parlor.post('/api/generate-async', { prompt: 'count to 400', conversationId: 'failed' })).json();
    const client = follow(`${parlor.url}/api/tasks/${taskId}/events`);
    await until(() => whole(client.seen).length > 50, 'a part');
    await killAndStart(parlor);
    await client.has('error');
    assertInOrder(client.seen);
    assert.equal(client.seen.at(-1).data.code, 'interrupted');
    assert.ok(counted.startsWith(whole(client.seen)));
    await until(() => client.source.readyState === EventSource.CLOSED, 'closed');
    assert.equal((await (await fetch(`${parlor.url}/api/generate-async/${taskId}`)).json()).status, 'failed');
  } finally {
    await parlor.remove();
  }
});

test('a clean restart between two answers is no gap for who watches', async () => {
  const parlor = await startParlor({ PARLOR_LOG_LEVEL: 'error' });
  try {
    await parlor.post('/api/chat', { message: 'Hello, I am Zhang San', conversation_id: 'watched' });
    const client = follow(`${parlor.url}/api/sessions/watched/events`);
    await until(() => client.opened() === 1, 'watching');
    await parlor.post('/api/chat', { message: 'count to 3', conversation_id: 'watched' });
    await client.has('done');
    assert.deepEqual(await parlor.stop(), { code: 0, signal: null });
    await parlor.start();
    await parlor.post('/api/chat', { message: 'What is my name?', conversation_id: 'watched' }); // before it is back
    await until(() => client.types().filter((t) => t === 'done').length === 2, 'what it missed');
    client.source.close();
    assert.deepEqual([...new Set(client.types())], ['start', 'chunk', 'done']);
    assertInOrder(client.seen);
    assert.equal(whole(client.seen), '1 2 3Your name is Zhang San.');
  } finally {
    await parlor.remove();
  }
});
