// docs/hard-edges.md, U11: clients that go away at any moment of a turn, and what stops one. The model service goes
// on when the test says so, and nothing depends on how fast anybody is.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import http from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startParlor } from './server.mjs';
import { openSocket } from './sockets.mjs';
import { assertInOrder, metric, openStream, textOf, until } from './streams.mjs';
import { direct, scriptedModels } from './upstream.mjs';

const grace = 700;
const drain = 200;
const whole = 'the first half and the second half';
const piece = (content, finish_reason = null) => `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason }] })}\n\n`;

/** The calls of each session, by the name it has; `cut` is when the service saw its client go, `go` ends the answer. */
const calls = new Map();
const service = http.createServer(async (request, response) => {
  const { messages } = JSON.parse(Buffer.concat(await request.toArray()));
  const call = { cut: undefined, over: false };
  calls.set(messages[0].content, [...(calls.get(messages[0].content) ?? []), call]);
  response.on('close', () => (call.over ? undefined : (call.cut = performance.now())));
  const mid = request.url.startsWith('/mid/');
  if (mid) response.writeHead(200, { 'Content-Type': 'text/event-stream' }).write(piece('the first half '));
  call.go = () => {
    call.over = true;
    if (!mid) response.writeHead(200, { 'Content-Type': 'text/event-stream' }).write(piece('the first half '));
    response.end(`${piece('and the second half', 'stop')}data: [DONE]\n\n`);
  };
});

let parlor, config;
const env = { ...direct, TEST_KEY: 'k', PARLOR_LOG_LEVEL: 'error', PARLOR_SESSION_DISCONNECT_GRACE: `${grace}ms` };
before(async () => {
  await new Promise((r) => service.listen(0, '127.0.0.1', r));
  config = scriptedModels((name) => `http://127.0.0.1:${service.address().port}/${name}/v1`, ['early', 'mid']);
  parlor = await startParlor(env, { config });
});
after(async () => {
  await parlor?.remove();
  service.close();
  service.closeAllConnections();
});

const get = async (path, server = parlor) => (await fetch(server.url + path)).json();
const remove = (path, server = parlor) => fetch(server.url + path, { method: 'DELETE' });
const usage = (task, server = parlor) => {
  const query = `SELECT error, exact, prompt_tokens > 0 AS asked, completion_tokens > 0 AS said FROM usage WHERE task = '${task}' ORDER BY attempt`;
  const r = spawnSync('sqlite3', ['-json', '-readonly', join(server.dir, 'parlor.db'), query], { encoding: 'utf8' });
  assert.equal(r.status, 0, r.stderr);
  return JSON.parse(r.stdout || '[]');
};

const progress = async (server, { conversation_id }) => {
  const { active_task } = await get(`/api/sessions/${conversation_id}`, server);
  return active_task && (await get(`/api/generate-async/${active_task}`, server)).progress > 0;
};

/**
 * The ways to ask. `leave` is to go without a word, `piece` waits for the first half, `told` is what it is told at last, or
 * that it is told nothing more.
 */
const ways = {
  'a stream': async (server, body) => {
    const s = await openStream(`${server.url}/api/chat/stream`, { method: 'POST', body });
    const told = s.over.then((how) => (({ type, code }) => (['done', 'error', 'session_deleted'].includes(type) ? (code ?? type) : how))(s.events.at(-1).data));
    return { leave: s.leave, piece: () => s.has('chunk'), told, events: s.events, last: s.last };
  },
  'an answer in one piece': async (server, body) => {
    const text = JSON.stringify(body);
    const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) };
    const request = http.request(`${server.url}/api/chat`, { method: 'POST', agent: false, headers });
    const told = new Promise((resolve) => {
      request.on('error', () => resolve('cut'));
      request.on('response', async (r) => resolve(`${r.statusCode} ${JSON.parse(Buffer.concat(await r.toArray())).code}`));
    });
    request.end(text);
    return { leave: () => request.destroy(), piece: () => until(() => progress(server, body), 'a piece'), told };
  },
  'a WebSocket': async (server, { message, conversation_id, ...more }) => {
    const s = await openSocket(server, conversation_id);
    s.ask(message, 'q', more);
const told = new Promise((resolve) => {
      s.socket.on('message', (text) => {
        const { type, code } = JSON.parse(String(text));
        if (type === 'error') resolve(code);
      });
      s.over.then(({ code }) => resolve(code));
    });
    return { leave: s.cut, piece: () => s.has('content', 'q'), told };
  },
};
/** What each of them is told of an end. */
const words = {
  cancelled: { 'a stream': 'cancelled', 'an answer in one piece': '409 cancelled', 'a WebSocket': 'cancelled' },
  deleted: { 'a stream': 'session_deleted', 'an answer in one piece': '410 session_deleted', 'a WebSocket': 'session_deleted' },
  stopped: { 'a stream': 'end', 'an answer in one piece': '503 interrupted', 'a WebSocket': 1012 },
};
const moments = { early: 'before the first byte', mid: 'in the middle' };

let next = 0;
/** A turn in a session of its own, at the moment when its client may go. */
async function begin(way, model, more = {}, server = parlor) {
  const id = `go-${++next}`;
  const body = { message: `of ${id}`, model, conversation_id: id, ...more };
  const asker = await ways[way](server, body);
  const [call] = await until(() => calls.get(`of ${id}`), 'the call');
  if (model === 'mid') await asker.piece();
  const { active_task: task } = await get(`/api/sessions/${id}`, server);
  assert.ok(task);
  return { id, task, call, asker, body };
}
const ended = (task, server) =>
  until(async () => ((t) => ['completed', 'failed', 'cancelled'].includes(t.status) && t)(await get(`/api/generate-async/${task}`, server)), 'its end');
const measured = (model) => {
  const labels = { operation_name: 'chat', provider_name: `of ${model}`, request_model: model };
  const written = Object.entries(labels).map(([name, value]) => `gen_ai_${name}="${value}"`);
  return metric(parlor, `gen_ai_client_operation_duration_seconds_count{${written}}`);
};
/** Waits until the service has seen its client go, and says how many ms after `from`. */
const cut = async (call, from) => (await until(() => call.cut, 'the service sees it go')) - from;

for (const way of Object.keys(ways))
  for (const [model, moment] of Object.entries(moments)) {
    const said = model === 'mid' ? [['the first half ', true]] : [];
    const spent = (error) => ({ error, exact: 0, asked: 1, said: said.length });

    test(`U11 who leaves ${way} ${moment} stops nothing, and finds the whole answer`, async () => {
      const { id, task, call, asker, body } = await begin(way, model);
      asker.leave();
      await until(async () => (await metric(parlor, 'parlor_subscribers')) === 0, 'the server has seen it go');
      assert.equal((await get(`/api/generate-async/${task}`)).status, 'running');
      assert.equal(call.cut, undefined);
      call.go();
      const polled = await ended(task);
      assert.deepEqual([polled.status, polled.result.content], ['completed', whole]);
      const again = await openStream(`${parlor.url}/api/tasks/${task}/events`, { headers: asker.last?.() ? { 'Last-Event-ID': asker.last() } : {} });
      assert.equal(await again.over, 'end');
      const events = [...(asker.events ?? []), ...again.events];
      assertInOrder(events);
      assert.deepEqual([textOf(events), events.at(-1).data.type, events.at(-1).data.content], [whole, 'done', whole]);
      const { messages } = await get(`/api/sessions/${id}/messages`);
      assert.deepEqual(messages.map((m) => [m.content, m.partial]), [[body.message, false], [whole, false]]);
      assert.deepEqual(usage(task), [{ error: 'none', exact: 0, asked: 1, said: 1 }]);
      assert.equal(calls.get(body.message).length, 1);
    });

    test(`U11 U12 who leaves ${way} ${moment} with cancel_on_disconnect ends the call after the grace`, async () => {
      const { id, task, call, asker } = await begin(way, model, { cancel_on_disconnect: true });
      const from = performance.now();
      asker.leave();
      const took = await cut(call, from);
      assert.ok(took >= grace - 5 && took < grace + 1000, `${took} ms`);
      assert.equal((await ended(task)).status, 'cancelled');
      assert.deepEqual(usage(task), [spent('cancelled')]);
      const { messages } = await get(`/api/sessions/${id}/messages`);
      assert.deepEqual(messages.slice(1).map((m) => [m.content, m.partial]), said);
    });

    test(`U11 U12 who waits for ${way} ${moment} is told of a cancel, and the call ends within a second`, async () => {
      const { task, call, asker } = await begin(way, model);
      const from = performance.now();
      assert.equal((await remove(`/api/generate-async/${task}`)).status, 200);
      const took = await cut(call, from);
      assert.ok(took < 1000, `${took} ms`);
      assert.equal(await asker.told, words.cancelled[way]);
      assert.deepEqual(usage(task), [spent('cancelled')]);
      asker.leave();
    });

    test(`U11 U12 who waits for ${way} ${moment} is told that the session is deleted, and the call ends within a second`, async () => {
      const { id, task, call, asker } = await begin(way, model);
      const before = await measured(model);
      const turns = () => metric(parlor, 'parlor_turns_total{result="cancelled"}');
      const cancelled = await turns();
      const from = performance.now();
      assert.equal((await remove(`/api/sessions/${id}`)).status, 200);
      const took = await cut(call, from);
      assert.ok(took < 1000, `${took} ms`);
      assert.equal(await asker.told, words.deleted[way]);
      // Its record goes with the session; that there was such a call stays in the metrics.
      await until(async () => (await measured(model)) === before + 1, 'it is measured');
      assert.equal(await turns(), cancelled + 1);
      assert.deepEqual(usage(task), []);
      assert.equal((await fetch(`${parlor.url}/api/tasks/${task}/events`)).status, 404);
      asker.leave();
    });

    test(`U11 U12 while ${way} waits ${moment} the server stops: the call ends in time, is counted, and made again`, async () => {
      const own = await startParlor({ ...env, PARLOR_DRAIN_TIMEOUT: `${drain}ms` }, { config });
      try {
        const { id, task, call, asker, body } = await begin(way, model, {}, own);
        const from = performance.now();
        const over = own.stop();
        const took = await cut(call, from);
        assert.ok(took >= drain - 5 && took < drain + 1000, `${took} ms`);
        assert.equal(await asker.told, words.stopped[way]);
        assert.deepEqual(await over, { code: 0, signal: null });
        await own.start();
        const again = await until(() => calls.get(body.message)[1], 'the call of the next process');
        again.go();
        assert.equal((await ended(task, own)).result.content, whole);
        const { messages } = await get(`/api/sessions/${id}/messages`, own);
        assert.deepEqual(messages.map((m) => [m.content, m.partial]), [[body.message, false], [whole, false]]);
        assert.deepEqual(usage(task, own).map((u) => [u.error, u.asked]), [['interrupted', 1], ['none', 1]]);
        assert.equal(usage(task, own)[0].said, said.length); // as far as it had come when it was stopped
      } finally {
        await own.remove();
      }
    });
  }
