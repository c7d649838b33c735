// What operators see: figures that agree with what was sent, and a line for each turn that failed.
import assert from 'node:assert/strict';
import { Agent, request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { entries, eventually, scrape } from './metrics.mjs';
import { blocks, freePort, startParlor } from './server.mjs';
import { direct, scriptedModels, startUpstream } from './upstream.mjs';

// Each script, the code its calls fail with, and how many calls a turn makes of it.
const failures = {
  500: ['upstream_error', 2, 500], 404: ['upstream_rejected', 1, 404], 401: ['upstream_auth', 1, 401],
  429: ['upstream_rate_limited', 2, 429], html: ['upstream_protocol', 1], redirect: ['upstream_protocol', 1, 302],
  refuse: ['upstream_unreachable', 2], nobody: ['upstream_unreachable', 2], 'cut-2': ['upstream_truncated', 2],
  error: ['upstream_error', 2], huge: ['upstream_too_large', 1], hang: ['upstream_timeout', 1], 'stall-2': ['upstream_stalled', 1],
};
let upstream, parlor;
before(async () => {
  upstream = await startUpstream();
  const nobody = await freePort();
  const scripts = Object.keys(failures).filter((s) => s !== 'nobody');
  const config =
    scriptedModels(upstream.base, [...scripts, 'usage', '500,usage', 'pace-20']) +
    scriptedModels(() => `http://127.0.0.1:${nobody}/v1`, ['nobody']) +
    '[[provider]]\nname = "any"\nkind = "rehearsal"\n[[model]]\nname = "*"\nprovider = "any"\ndefault = true\n';
  parlor = await startParlor(
    {
      ...direct, TEST_KEY: 'k', PARLOR_TASK_ATTEMPTS: '2', PARLOR_TASK_BACKOFF: '10ms', PARLOR_TASK_FIRST_TOKEN_TIMEOUT: '3s',
      PARLOR_TASK_TOKEN_TIMEOUT: '3s',
    },
    { config },
  );
});
after(async () => {
  await parlor?.remove();
  upstream?.stop();
});

let next = 0;
const turn = async (model, { path = '/api/chat', ...more } = {}) => {
  const r = await parlor.post(path, { message: 'hi', model, conversation_id: `m${++next}`, ...more });
  return { status: r.status, id: r.headers.get('x-request-id'), text: await r.text() };
};
/** A page in which nothing is under way but its own request. */
const settled = () =>
  eventually(async () => {
    const p = await scrape(parlor);
    return p.sum('http_server_active_requests') === 1 && p.sum('parlor_subscribers') === 0 && p;
  }, 'the server is at rest');
const provider = (script) => ({ provider: `of ${script}` });

test('every failure is counted once, by provider and code, and leaves one line', async () => {
  const first = await settled();
  const ids = {};
  await Promise.all(Object.keys(failures).map(async (s) => {
    const r = await turn(s);
    assert.ok(r.status >= 500 || r.status === 429, `${s}: ${r.status}`);
    ids[s] = r.id;
  }));
  const page = await settled();
  page.checkHistograms();
  assert.equal(page.sum('parlor_http_responses_total'), page.sum('http_server_request_duration_seconds_count'));
  const grown = (name, labels) => page.sum(name, labels) - first.sum(name, labels);
  for (const [script, [code, calls]] of Object.entries(failures)) {
    assert.equal(grown('parlor_upstream_failures_total', { ...provider(script), code }), calls, script);
    assert.equal(grown('parlor_upstream_failures_total', provider(script)), calls, script);
    assert.equal(grown('parlor_upstream_retries_total', { ...provider(script), reason: code }), calls - 1, script);
    assert.equal(grown('gen_ai_client_operation_duration_seconds_count', { gen_ai_request_model: script }), calls, script);
  }
  const turns = Object.keys(failures).length;
  assert.equal(grown('parlor_turns_total', { result: 'timeout' }), 2);
  assert.equal(grown('parlor_turns_total', { result: 'failed' }), turns - 2);
  assert.equal(grown('parlor_turns_total'), turns);
  assert.equal(grown('parlor_turn_duration_seconds_count'), turns);
  assert.equal(grown('parlor_sessions_created_total'), turns);
  assert.equal(grown('parlor_http_responses_total', { http_route: '/api/chat', status: '5xx' }) +
    grown('parlor_http_responses_total', { http_route: '/api/chat', status: '4xx' }), turns);
  assert.equal(grown('http_server_request_duration_seconds_count', { http_route: '/api/chat' }), turns);
  // Where a piece came before the failure there was a first one; nothing told of tokens.
  assert.equal(grown('gen_ai_client_operation_time_to_first_chunk_seconds_count', { gen_ai_request_model: 'stall-2' }), 1);
  assert.equal(grown('gen_ai_client_operation_time_to_first_chunk_seconds_count', { gen_ai_request_model: 'hang' }), 0);
  assert.equal(page.sum('gen_ai_client_token_usage_count', { gen_ai_provider_name: 'of error' }), 0);

  const lines = entries(parlor.output).filter((e) => e.msg === 'task_failed');
  assert.equal(lines.length, turns);
  for (const [script, [code, calls, status]] of Object.entries(failures)) {
    const [line, ...more] = lines.filter((l) => l.model === script);
    assert.deepEqual(more, []);
    assert.equal(line.level, 'warn');
    assert.equal(line.code, code, script);
    assert.equal(line.provider, `of ${script}`);
    assert.equal(line.attempts, String(calls), script);
    assert.equal(line.upstream_status, status === undefined ? line.upstream_status : String(status), script);
    assert.equal(line.request_id, ids[script], script);
    assert.match(line.session, /^m\d+$/);
    assert.match(line.task, /^task_/);
  }
});

test('turns that succeed, with the tokens the provider told', async () => {
  const first = await settled();
  const model = { gen_ai_request_model: 'usage' };
  for (let i = 0; i < 5; ++i) assert.equal((await turn('usage')).status, 200);
  for (let i = 0; i < 3; ++i) assert.equal((await turn('usage', { path: '/api/chat/stream' })).status, 200);
  assert.equal((await turn('500,usage')).status, 200);
  const page = await settled();
  const grown = (name, labels) => page.sum(name, labels) - first.sum(name, labels);
  assert.equal(grown('parlor_turns_total', { result: 'completed' }), 9);
  assert.equal(grown('parlor_turns_total'), 9);
  assert.equal(grown('gen_ai_client_operation_duration_seconds_count', model), 8);
  assert.equal(grown('gen_ai_client_operation_time_to_first_chunk_seconds_count', model), 8);
  for (const [kind, tokens] of [['input', 11], ['output', 7]]) {
    const of = { ...model, gen_ai_token_type: kind };
    assert.equal(grown('gen_ai_client_token_usage_count', of), 8);
    assert.equal(grown('gen_ai_client_token_usage_sum', of), 8 * tokens);
  }
  assert.equal(grown('parlor_upstream_failures_total', provider('500,usage')), 1);
  assert.equal(grown('parlor_upstream_retries_total', { ...provider('500,usage'), reason: 'upstream_error' }), 1);
  assert.equal(grown('parlor_turn_first_event_seconds_count'), 3); // the streams
  assert.equal(grown('parlor_turn_first_token_seconds_count'), 9);
  assert.equal(grown('parlor_http_responses_total', { http_route: '/api/chat/stream', status: '2xx' }), 3);
  assert.equal(grown('parlor_events_appended_total', { kind: 'task_ended' }), 9);
  assert.ok(grown('parlor_journal_commit_seconds_count') > 0);
  assert.equal(grown('parlor_journal_errors_total'), 0);
  assert.ok(page.sum('parlor_journal_bytes') > 0);
  // A commit's facts are what was appended, and those keys that were looked up.
  assert.equal(grown('parlor_journal_batch_events_sum'), grown('parlor_events_appended_total'));
});

test('what is refused, cancelled and left', async () => {
  const first = await settled();
  assert.equal((await parlor.post('/api/chat', '{')).status, 400);
  assert.equal((await parlor.post('/api/chat', { message: '', conversation_id: 'x' })).status, 400);
  assert.equal((await fetch(`${parlor.url}/api/sessions/nobody`)).status, 404);
  assert.equal((await fetch(`${parlor.url}/nowhere`)).status, 404);
  assert.equal((await fetch(`${parlor.url}/api/sessions`, { headers: { Origin: 'http://evil.example' } })).status, 403);
  const gone = new AbortController();
  const r = await parlor.post('/api/generate-async', { prompt: 'p', model: 'pace-20' });
  assert.equal(r.status, 200);
  const { taskId: task } = await r.json();
  const stream = await fetch(`${parlor.url}/api/generate-async/${task}/stream`, { signal: gone.signal });
  assert.equal(stream.status, 200);
  const busy = await eventually(async () => {
    const p = await scrape(parlor);
    return p.sum('parlor_tasks_inflight', provider('pace-20')) === 1 && p.sum('parlor_subscribers') === 1 && p;
  }, 'the call is under way');
  assert.equal(busy.sum('parlor_actors', { kind: 'task' }), 1);
  assert.equal(busy.sum('http_server_active_requests'), 2);
  gone.abort();
  await stream.text().catch(() => {});
  assert.equal((await fetch(`${parlor.url}/api/generate-async/${task}`, { method: 'DELETE' })).status, 200);
  const page = await settled();
  const grown = (name, labels) => page.sum(name, labels) - first.sum(name, labels);
  assert.equal(grown('parlor_refusals_total', { code: 'bad_json' }), 1);
  assert.equal(grown('parlor_refusals_total', { code: 'invalid_field' }), 1);
  assert.equal(grown('parlor_refusals_total', { code: 'session_not_found' }), 1);
  assert.equal(grown('parlor_refusals_total', { code: 'route_not_found' }), 1);
  assert.equal(grown('parlor_refusals_total', { code: 'forbidden_origin' }), 1);
  assert.equal(grown('parlor_refusals_total'), 5);
  assert.equal(grown('parlor_auth_failures_total', { reason: 'forbidden_origin' }), 1);
  assert.equal(grown('parlor_http_responses_total', { http_route: 'unmatched', status: '4xx' }), 1);
  assert.equal(grown('parlor_http_responses_total', { status: '4xx' }), 5);
  assert.equal(grown('parlor_turns_total', { result: 'cancelled' }), 1);
  assert.equal(grown('parlor_turns_total'), 1);
  assert.equal(page.sum('parlor_tasks_inflight'), 0);
});

/** As many requests as there are, some at a time, over connections that are kept. */
async function flood(requests) {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  const statuses = {};
  const one = ({ path, method = 'GET', headers = {}, body }) =>
    new Promise((resolve, reject) => {
      const q = httpRequest({ agent, host: '127.0.0.1', port: parlor.port, path, method, headers }, (r) => {
        statuses[r.statusCode] = (statuses[r.statusCode] ?? 0) + 1;
        r.resume().on('end', resolve);
      });
      q.on('error', reject).end(body);
    });
  const left = requests[Symbol.iterator]();
  await Promise.all(Array.from({ length: 16 }, async () => {
    for (const r of left) await one(r);
  }));
  agent.destroy();
  return statuses;
}

test('A6: a million names leave no series behind', async () => {
  const first = await scrape(parlor);
  const each = 1000; // server.max_requests: then the server closes
  const ask = (n) =>
    new Promise((resolve, reject) => {
      const names = Array.from({ length: each }, (_, i) => `${n}-${i}`);
      const socket = connect(parlor.port, '127.0.0.1');
      let said = '';
      socket.setEncoding('latin1').on('data', (d) => (said += d)).on('error', reject);
      socket.on('close', () => resolve(said.match(/HTTP\/1\.1 404 /g)?.length));
      socket.write(names.map((x) => `GET /${x}?${x} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: ${x}\r\nX-Request-Id: ${x}\r\nCookie: ${x}\r\n\r\n`).join(''));
    });
  const all = Array.from({ length: 1000 }, (_, n) => n)[Symbol.iterator]();
  await Promise.all(Array.from({ length: 8 }, async () => {
    for (const n of all) assert.equal(await ask(n), each);
  }));
  const page = await scrape(parlor);
  assert.deepEqual(page.names, first.names);
  assert.equal(page.text.length < first.text.length + 1000, true, 'no more to read'); // longer numbers, nothing else
  assert.equal(page.sum('parlor_http_responses_total', { status: '4xx' }) - first.sum('parlor_http_responses_total', { status: '4xx' }), 1_000_000);
});

test('A6: the series are the same, whatever clients send', async () => {
  const first = await scrape(parlor);
  const n = 1000;
  const turns = [];
  const all = [];
  const type = { 'Content-Type': 'application/json' };
  for (let i = 0; i < n; ++i) {
    const turnOf = { message: 'hi', conversation_id: `many-${i}`, model: `model-${i}"\n\\` };
    turns.push({ path: '/api/chat', method: 'POST', headers: { ...type, 'Idempotency-Key': `key-${i}` }, body: JSON.stringify(turnOf) });
    all.push(
      { path: `/path-${i}/x`, headers: { 'User-Agent': `agent-${i}` } },
      { path: `/api/sessions/many-${i}`, headers: { 'X-Request-Id': `id-${i}` } },
      { path: `/api/tasks/task-${i}/events?lastEventId=abc-${i}` },
      { path: '/api/sessions', headers: { Origin: `http://origin-${i}.example` } },
      { path: `/problems/code-${i}`, method: 'HEAD' },
      { path: '/api/sessions', headers: { Authorization: `Bearer key-${i}`, Host: `host-${i}.example` } },
    );
  }
  assert.deepEqual(await flood(turns), { 200: n });
  assert.deepEqual(await flood(all), { 200: n, 403: 2 * n, 404: 3 * n });
  const page = await settled();
  assert.deepEqual(page.names, first.names);
  for (const word of ['many-', 'model-', 'path-', 'id-', 'task-', 'origin-', 'code-', 'host-', 'agent-', 'key-'])
    assert.ok(!new RegExp(`"[^"]*${word}\\d`).test(page.text), word);
  // All those models are one: the one that takes every name.
  assert.equal(page.sum('gen_ai_client_operation_duration_seconds_count', { gen_ai_request_model: '*' }) -
    first.sum('gen_ai_client_operation_duration_seconds_count', { gen_ai_request_model: '*' }), n);
  // The log grows with what fails, not with what is refused at the door.
  const refused = entries(parlor.output).filter((e) => e.msg === 'access_refused');
  assert.ok(refused.length >= 1 && refused.length < 200, `${refused.length} lines`);
  assert.equal(page.sum('parlor_auth_failures_total') - first.sum('parlor_auth_failures_total'), 2 * n);
  assert.ok(page.checkHistograms() > 30);
});

test('the actors by kind, and once a second', async () => {
  const shape = (a) => {
    assert.deepEqual(a.actors.map((k) => k.kind), ['edge', 'lobby', 'session', 'task', 'external_task', 'keeper', 'archive']);
    for (const k of a.actors) {
      assert.deepEqual(Object.keys(k), ['kind', 'living', 'handled', 'busy_seconds', 'mailbox', 'failures']);
      for (const v of Object.values(k).slice(1)) assert.ok(typeof v === 'number' && v >= 0, JSON.stringify(k));
      assert.equal(k.failures, 0);
    }
    return Object.fromEntries(a.actors.map((k) => [k.kind, k]));
  };
  const r = await fetch(`${parlor.url}/admin/actors`);
  assert.match(r.headers.get('content-type'), /^application\/json/);
  const now = shape(await r.json());
  assert.equal(now.keeper.living, 1);
  assert.ok(now.keeper.handled > 0);

  const stop = new AbortController();
  const stream = await fetch(`${parlor.url}/admin/actors/stream`, { signal: stop.signal });
  assert.match(stream.headers.get('content-type'), /^text\/event-stream/);
  const from = Date.now();
  const at = [];
  let text = '';
  for await (const piece of stream.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    while (at.length < blocks(text.slice(0, text.lastIndexOf('\n\n') + 2)).length) at.push(Date.now() - from);
    if (at.length >= 3) break;
  }
  stop.abort();
  // The first at once, then one a second: three take two seconds, and not much less.
  assert.ok(at[2] >= 1500, `${at}`);
  const seen = blocks(text.slice(0, text.lastIndexOf('\n\n') + 2)).map((b) => shape(b.data));
  for (let i = 1; i < seen.length; ++i) assert.ok(seen[i].edge.handled >= seen[i - 1].edge.handled);
  const page = await settled();
  assert.equal(page.sum('parlor_http_responses_total', { http_route: '/admin/actors/stream', status: '2xx' }), 1);
});

test('a client that leaves before its answer, and one that breaks the framing', async () => {
  const first = await settled();
  await new Promise((resolve) => {
    const s = connect(parlor.port, '127.0.0.1', () => {
      const body = JSON.stringify({ message: 'hi', model: 'hang', conversation_id: 'leaves' });
      s.write(`POST /api/chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`, () => s.destroy());
    });
    s.on('close', resolve);
  });
  await new Promise((resolve) => {
    const s = connect(parlor.port, '127.0.0.1', () => s.end('GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'));
    s.resume().on('close', resolve);
  });
  const page = await eventually(async () => {
    const p = await settled();
    return p.sum('parlor_turns_total', { result: 'timeout' }) > first.sum('parlor_turns_total', { result: 'timeout' }) && p;
  }, 'the turn goes on, and ends');
  const grown = (name, labels) => page.sum(name, labels) - first.sum(name, labels);
  assert.equal(grown('parlor_http_responses_total', { http_route: '/api/chat', status: 'none' }), 1);
  assert.equal(grown('parlor_http_responses_total', { http_route: 'unmatched', status: '4xx' }), 1);
  assert.equal(grown('parlor_http_refused_total'), 1);
  assert.equal(grown('parlor_refusals_total', { code: 'bad_framing' }), 1);
});
