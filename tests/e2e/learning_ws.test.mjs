// /ws/learning over real sockets, with a client that many use (ws).
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { startParlor } from './server.mjs';
import { assertGrowing, openSocket } from './sockets.mjs';
import { memoryOf, metric, until } from './streams.mjs';
import { direct, scriptedModels } from './upstream.mjs';

let parlor;
before(async () => {
  parlor = await startParlor({ PARLOR_LEARNING_KEEPALIVE: '200ms', PARLOR_REHEARSAL_TOKENS_PER_SECOND: '100' });
});
after(() => parlor?.remove());

const pngOf = (bytes) => {
  const image = Buffer.alloc(bytes, 7);
  Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]).copy(image);
  return `data:image/png;base64,${image.toString('base64')}`;
};
const kinds = (messages) => messages.map((m) => m.type).filter((t, i, all) => t !== 'content' || all[i - 1] !== 'content');

test('the order of the contract, for each question', async () => {
  const s = await openSocket(parlor, 'order');
  s.ask('count to 5', 'r1', { full_content: true });
  s.ask('count to 3', 'r2');
  await s.has('done', 'r2');
  for (const [id, text] of [['r1', '1 2 3 4 5'], ['r2', '1 2 3']]) {
    assert.deepEqual(kinds(s.of(id)), ['content', 'content_finished', 'done']);
    assert.equal(s.text(id), text);
    assert.equal(s.of(id).at(-2).full_content, text);
    assert.ok(s.of(id).at(-1).usage.total_tokens > 0);
  }
  for (const [i, m] of s.of('r1').filter((m) => m.type === 'content').entries())
    assert.equal(m.full_content, s.of('r1').slice(0, i + 1).map((x) => x.content).join(''));
  assert.ok(s.of('r2').every((m) => m.type !== 'content' || !('full_content' in m)), 'only where it was asked for');
  const [one, two] = ['r1', 'r2'].map((id) => s.of(id).at(-1).session);
  assert.deepEqual([one.question_count, two.question_count], [1, 2]);
  assert.equal(two.total_tokens, s.of('r1').at(-1).usage.total_tokens + s.of('r2').at(-1).usage.total_tokens);
  assert.match(two.last_active_at, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  assertGrowing(s.seen);
  const view = await (await fetch(`${parlor.url}/api/sessions/order`)).json();
  assert.deepEqual([view.total_tokens, view.question_count], [two.total_tokens, two.question_count]);
  assert.equal((await s.leave()).code, 1000);
});

test('a sign of life while a question is open, and none after it', async () => {
  const s = await openSocket(parlor, 'alive');
  s.ask('hi', 'r1', { rehearsal: 'slow:900' });
  await s.has('done', 'r1');
  const alive = s.seen.filter((m) => m.type === 'keepalive');
  assert.ok(alive.length >= 2, `${alive.length}`);
  for (const m of alive) assert.deepEqual(m, { type: 'keepalive', content: '', full_content: '' });
  const n = s.seen.length;
  s.ask('count to 2', 'r2');
  await s.has('done', 'r2');
  assert.ok(s.seen.slice(n).every((m) => m.type !== 'keepalive'));
  await s.leave();
});

test('cancel, errors of one question, and messages that are none', async () => {
  const s = await openSocket(parlor, 'errors', { headers: { 'Accept-Language': 'zh' } });
  s.ask('hi', 'r1', { rehearsal: 'hang' });
  s.send({ type: 'cancel', request_id: 'r1' });
  assert.equal((await s.has('error', 'r1')).code, 'cancelled');
  for (const [message, code] of [['{', 'bad_json'], [{ type: 'sing' }, 'invalid_field'], [{ type: 'question', request_id: 'r2' }, 'invalid_field'],
    [{ type: 'question', content: 'x', images: ['data:text/plain;base64,AAAA'] }, 'invalid_field'], [{ type: 'cancel', request_id: 'r9' }, 'task_not_found']]) {
    const n = s.seen.length;
    s.send(message);
    const told = await until(() => s.seen[n], code);
    assert.deepEqual([told.type, told.code], ['error', code]);
    assert.match(told.message, /[\u4e00-\u9fff]/);
  }
  s.ask('hi', 'r3', { rehearsal: 'auth' });
  assert.equal((await s.has('error', 'r3')).code, 'upstream_auth');
  s.ask('count to 2', 'r4'); // and it lives
  await s.has('done', 'r4');
  s.socket.send(Buffer.from([1, 2, 3]));
  assert.equal((await s.over).code, 1003);
});

test('timeouts of the model have the names of the contract', async () => {
  const late = await startParlor({ PARLOR_TASK_FIRST_TOKEN_TIMEOUT: '100ms', PARLOR_TASK_TOKEN_TIMEOUT: '100ms' });
  try {
    const s = await openSocket(late, 'late');
    s.ask('count to 9', 'r1', { rehearsal: 'hang' });
    assert.equal((await s.has('error', 'r1')).code, 'processing_timeout');
    s.ask('count to 9', 'r2', { rehearsal: 'stall:2' });
    assert.equal((await s.has('error', 'r2')).code, 'content_timeout');
    assert.equal(s.text('r2').trim(), '1 2');
    await s.leave();
  } finally {
    await late.remove();
  }
});

test('sockets of one session hear the same, those of two nothing of each other', async () => {
  const [a, b, other] = await Promise.all(['same', 'same', 'other'].map((id) => openSocket(parlor, id)));
  a.ask('count to 4', 'r1');
  other.ask('My name is Zhang San', 'r1');
  other.ask('What is my name?', 'r2');
  b.ask('What is my name?', 'r2');
  const done = (s, ...ids) => ids.map((id) => s.has('done', id)); // whichever came first
  await Promise.all([...done(a, 'r1', 'r2'), ...done(b, 'r1', 'r2'), ...done(other, 'r1', 'r2')]);
  assert.deepEqual(a.of('r1').filter((m) => m.type !== 'content'), b.of('r1').filter((m) => m.type !== 'content'));
  assert.equal(a.text('r1'), '1 2 3 4');
  assert.equal(b.text('r1'), '1 2 3 4');
  assert.match(b.text('r2'), /don't know/);
  assert.match(other.text('r2'), /Zhang San/);
  assert.ok([...a.seen, ...b.seen].every((m) => !JSON.stringify(m).includes('Zhang')));
  for (const s of [a, b, other]) {
    assertGrowing(s.seen);
    await s.leave();
  }
});

test('W7 many sockets in many sessions, all at once', async () => {
  const all = await Promise.all(Array.from({ length: 60 }, (_, i) => openSocket(parlor, `many_${i % 30}`)));
  all.forEach((s, i) => s.ask(`echo: {"n": ${i}}`, `r${i}`));
  await Promise.all(all.map((s, i) => s.has('done', `r${i}`)));
  for (const [i, s] of all.entries()) {
    assert.equal(s.text(`r${i}`), `{"n": ${i}}`);
    assert.ok(s.seen.every((m) => m.request_id === undefined || [i % 30, (i % 30) + 30].includes(Number(m.request_id.slice(1)))));
    assertGrowing(s.seen);
  }
  for (const s of all.slice(30)) assert.equal((await s.leave()).code, 1000);
  for (const s of all.slice(0, 30)) s.cut();
  await until(async () => (await metric(parlor, 'parlor_subscribers')) === 0, 'nobody is left');
});

test('W2 messages are compressed when that is agreed on, and bounded inflated', async () => {
  const small = await startParlor({ PARLOR_LEARNING_MAX_IMAGE_BYTES: '1KiB' });
  try {
    const s = await openSocket(small, 'deflate', { perMessageDeflate: { threshold: 0 } });
    assert.match(s.socket.extensions, /permessage-deflate/);
    s.ask(`echo: {"text": "${'long '.repeat(2000)}"}`, 'r1');
    await s.has('done', 'r1');
    assert.equal(JSON.parse(s.text('r1')).text.length, 10000);
    const memory = memoryOf(small);
    s.ask('0'.repeat(64 * 1024 * 1024), 'r2'); // 64 KiB on the wire
    assert.equal((await s.over).code, 1009);
    assert.ok(memoryOf(small) - memory < 32, `${memoryOf(small) - memory} MiB`);
    const plain = await openSocket(small, 'deflate', { perMessageDeflate: false });
    assert.equal(plain.socket.extensions, '');
    plain.send(' '.repeat(4 * 1024 * 1024));
    assert.equal((await plain.over).code, 1009);
  } finally {
    await small.remove();
  }
});

test('ten photos of 20 MiB in all reach the model as parts, in order; one more byte does not', async () => {
  let said;
  let all;
  const model = http.createServer((request, answer) => {
    const parts = [];
    request.on('data', (d) => parts.push(d)).on('end', () => {
      all = JSON.parse(Buffer.concat(parts)).messages;
      said = all.at(-1);
      answer.writeHead(200, { 'Content-Type': 'text/event-stream' });
      answer.end('data: {"choices":[{"index":0,"delta":{"content":"seen"}}]}\n\ndata: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
    });
  });
  await new Promise((r) => model.listen(0, '127.0.0.1', r));
  const base = () => `http://127.0.0.1:${model.address().port}/v1`;
  const server = await startParlor({ TEST_KEY: 'k', ...direct }, { config: scriptedModels(base, ['eyes']) });
  try {
    const images = Array.from({ length: 10 }, () => pngOf(2 * 1024 * 1024));
    const s = await openSocket(server, 'photos', { perMessageDeflate: false });
    s.ask('Explain', 'r1', { images: [...images.slice(0, 9), pngOf(2 * 1024 * 1024 + 1)] });
    assert.equal((await s.has('error', 'r1')).code, 'invalid_field');
    s.ask('Explain', 'r2', { images: [...images, 'https://example.org/11.jpg'] });
    assert.equal((await s.has('error', 'r2')).field, 'images');
    s.ask('Explain', 'r3', { images });
    await s.has('done', 'r3');
    assert.deepEqual(said.content[0], { type: 'text', text: 'Explain' });
    assert.deepEqual(said.content.slice(1).map((p) => p.image_url.url.length), images.map((i) => i.length));
    assert.ok(s.of('r3').at(-1).usage.total_tokens < 20000, 'images do not count by their base64');
    s.ask('And now?', 'r4');
    await s.has('done', 'r4');
    assert.equal(said.content, 'And now?');
    assert.equal(all[0].content, 'Explain\n\n[images left out]'); // they are beyond session.image_budget
    s.ask('Look', 'r5', { images: [images[0]] });
    await s.has('done', 'r5');
    s.ask('And there?', 'r6');
    await s.has('done', 'r6');
    assert.equal(all.at(-3).content[1].image_url.url, images[0]); // within it
    await s.leave();
  } finally {
    await server.remove();
    model.close();
  }
});

test('a reader that stops holds up nobody, and gets the rest in larger pieces', async () => {
  const fast = await startParlor({ PARLOR_SERVER_WRITE_TIMEOUT: '10m', PARLOR_LOG_LEVEL: 'error' });
  try {
    const words = 140000;
    const [slow, quick] = [await openSocket(fast, 'slow', { perMessageDeflate: false }), await openSocket(fast, 'slow')];
    slow.ask('count to 2', 'r0');
    await slow.has('done', 'r0');
    slow.socket.pause();
    quick.ask(`write ${words} words`, 'r1');
    await quick.has('done', 'r1');
    slow.socket.resume();
    await slow.has('done', 'r1');
    const text = quick.of('r1').find((m) => m.type === 'content_finished').full_content;
    assert.ok(slow.text('r1') === text, 'the whole text, once');
    assertGrowing(slow.seen);
    assert.ok(slow.of('r1').length < words, 'what was missed was to be merged');
    await Promise.all([slow.leave(), quick.leave()]);
  } finally {
    await fast.remove();
  }
});

test('after kill -9 a client that resumes gets each thing once, and what was done is there', async () => {
  const mortal = await startParlor({ PARLOR_REHEARSAL_TOKENS_PER_SECOND: '200' });
  try {
    let seen = [];
    const textOf = (id) => seen.filter((m) => m.request_id === id).reduce((t, m) => (m.type !== 'content' ? t : m.full_content === undefined ? t + m.content : m.full_content), '');
    for (let round = 1; round <= 5; ++round) {
      let s = await openSocket(mortal, 'mortal');
      if (seen.length > 0) s.send({ type: 'resume', last_seq: Math.max(...seen.map((m) => m.seq ?? 0)) });
      s.ask('count to 30', `r${round}`);
      await until(() => s.of(`r${round}`).filter((m) => m.type === 'content').length > round * 4, 'some of it');
      mortal.process.kill('SIGKILL');
      await mortal.exited;
      await s.over;
      seen.push(...s.seen);
      await mortal.start();
      s = await openSocket(mortal, 'mortal');
      s.send({ type: 'resume', last_seq: Math.max(...seen.map((m) => m.seq ?? 0)) });
      const done = await s.has('done', `r${round}`);
      seen.push(...s.seen);
      mortal.process.kill('SIGKILL'); // at once: done says that it is stored
      await mortal.exited;
      await mortal.start();
      const view = await (await fetch(`${mortal.url}/api/sessions/mortal`)).json();
      assert.deepEqual([view.total_tokens, view.question_count], [done.session.total_tokens, done.session.question_count]);
      const { messages } = await (await fetch(`${mortal.url}/api/sessions/mortal/messages`)).json();
      assert.ok(messages.some((m) => m.role === 'assistant' && !m.partial && m.content === textOf(`r${round}`)), 'the answer, as it was told');
    }
    assertGrowing(seen);
    const wanted = Array.from({ length: 30 }, (_, i) => i + 1).join(' ');
    for (let round = 1; round <= 5; ++round) {
      assert.equal(textOf(`r${round}`), wanted);
      assert.equal(seen.filter((m) => m.request_id === `r${round}` && m.type === 'done').length, 1);
    }
  } finally {
    await mortal.remove();
  }
});

test('a server that stops finishes what it does, then closes with 1012', async () => {
  const going = await startParlor({ PARLOR_REHEARSAL_TOKENS_PER_SECOND: '50' });
  try {
    const [s, idle] = [await openSocket(going, 'going'), await openSocket(going, 'idle')];
    s.ask('count to 20', 'r1');
    await s.has('content', 'r1');
    const stopped = going.stop();
    assert.deepEqual(await s.over, { code: 1012, reason: 'the server stops; come back' });
    assert.equal((await idle.over).code, 1012);
    assert.deepEqual(kinds(s.of('r1')), ['content', 'content_finished', 'done']);
    assert.equal((await stopped).code, 0);
  } finally {
    await going.remove();
  }
});

// -- who may

const refused = async (server, options, session = 'x') => {
  const e = await openSocket(server, session, options).then((s) => (s.cut(), 'let in'), (e) => e);
  return e.status ?? e;
};

test('W6 pages of other origins are refused', async () => {
  const listed = await startParlor({ PARLOR_SERVER_CORS_ORIGINS: 'https://school.example', PARLOR_LOG_LEVEL: 'error' });
  const guarded = await startParlor({ PARLOR_SERVER_CORS_ORIGINS: 'https://school.example', PARLOR_SERVER_KEY: 'k?ey', PARLOR_LOG_LEVEL: 'error' });
  try {
    for (const server of [listed, guarded]) {
      const Authorization = 'Bearer k?ey';
      for (const origin of ['https://evil.example', 'null', `http://127.0.0.1:${server.port}.evil.example`])
        assert.equal(await refused(server, { headers: { Authorization }, origin }), 403, origin);
      assert.equal(await refused(server, { headers: { Authorization, Cookie: 'a=b' }, origin: 'https://evil.example' }), 403);
      for (const origin of ['https://school.example', server.url, undefined])
        assert.equal(await refused(server, { headers: { Authorization }, origin }), 'let in', origin);
    }
    assert.equal(await refused(listed, { headers: { Host: 'evil.example' } }), 403);
  } finally {
    await listed.remove();
    await guarded.remove();
  }
});

test('a key is asked for, in the header or as a subprotocol', async () => {
  const guarded = await startParlor({ PARLOR_SERVER_KEY: 'k?ey', PARLOR_LOG_LEVEL: 'error' });
  try {
    const as = (key) => ['learning', `bearer.${Buffer.from(key).toString('base64url')}`];
    for (const options of [{}, { headers: { Authorization: 'Bearer no' } }, { protocols: as('no') }, { protocols: ['learning', 'bearer.k'] }, { query: '&key=k?ey' }])
      assert.equal(await refused(guarded, options), 401, JSON.stringify(options));
    assert.equal(await refused(guarded, { headers: { Authorization: 'Bearer k?ey' } }), 'let in');
    const s = await openSocket(guarded, 'x', { protocols: as('k?ey') });
    assert.equal(s.socket.protocol, 'learning'); // and never the key
    s.ask('count to 2', 'r1');
    await s.has('done', 'r1');
    await s.leave();
    assert.ok(!guarded.log.includes('k?ey') && !guarded.output.includes('k?ey'));
  } finally {
    await guarded.remove();
  }
});

test('a session must be named', async () => {
  for (const session of ['', 'a b', 'x'.repeat(129)]) assert.equal(await refused(parlor, {}, session), 400, session);
});
