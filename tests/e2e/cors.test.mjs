// Pages of other origins: what a browser is told, and what is refused whatever the browser does.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { startParlor } from './server.mjs';

const app = 'https://app.example';
const local = 'http://localhost:5173';
const strangers = [
  'https://evil.example', 'https://app.example.evil.example', 'https://app.exampl', 'https://app.example:444',
  'http://app.example', 'HTTPS://APP.EXAMPLE', 'https://app.example/', `${app},${local}`, 'null', 'file://',
];
let parlor, guarded;
before(async () => {
  const origins = { PARLOR_SERVER_CORS_ORIGINS: `${app}, ${local}` };
  parlor = await startParlor(origins);
  guarded = await startParlor({ ...origins, PARLOR_SERVER_KEY: 'a-key-for-tests' });
});
after(async () => {
  await parlor?.remove();
  await guarded?.remove();
});

/** One request with exactly these headers; fetch would not send Origin and Host as told. */
function ask(server, method, path, headers = {}, body = '') {
  return new Promise((resolve, reject) => {
    const r = http.request({ host: '127.0.0.1', port: server.port, method, path, headers, agent: false }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (d) => (text += d)).on('end', () => resolve({ status: answer.statusCode, headers: answer.headers, text }));
    });
    r.on('error', reject).end(body);
  });
}
const preflight = (server, path, origin, method = 'POST', headers = 'content-type') =>
  ask(server, 'OPTIONS', path, { Origin: origin, 'Access-Control-Request-Method': method, 'Access-Control-Request-Headers': headers });
const items = (value) => (value ?? '').split(',').map((v) => v.trim().toLowerCase());

test('a preflight of a known origin is answered, also where a key is needed', async () => {
  for (const server of [parlor, guarded])
    for (const origin of [app, local])
      for (const [path, method] of [
        ['/api/chat', 'POST'], ['/api/chat/stream', 'POST'], ['/api/generate-async', 'POST'],
        ['/api/generate-async/task_1/stream', 'GET'], ['/api/generate-async/task_1', 'DELETE'],
        ['/api/sessions/a/events', 'GET'], ['/api/sessions/a', 'DELETE'],
      ]) {
        const r = await preflight(server, path, origin, method);
        assert.equal(r.status, 204, path);
        assert.equal(r.text, '');
        assert.equal(r.headers['access-control-allow-origin'], origin);
        assert.ok(items(r.headers['access-control-allow-methods']).includes(method.toLowerCase()));
        const allowed = items(r.headers['access-control-allow-headers']);
        for (const h of ['authorization', 'content-type', 'last-event-id', 'idempotency-key', 'if-none-match', 'x-request-id'])
          assert.ok(allowed.includes(h), h); // S10: a browser asks before it comes back with a long cursor
        assert.ok(Number(r.headers['access-control-max-age']) > 0);
        assert.ok(items(r.headers.vary).includes('origin'));
        assert.equal(r.headers['access-control-allow-credentials'], undefined);
      }
});

test('a stranger\'s preflight gets no permission', async () => {
  for (const origin of strangers) {
    const r = await preflight(guarded, '/api/chat', origin);
    assert.equal(r.headers['access-control-allow-origin'], undefined, origin);
    assert.equal(r.headers['access-control-allow-methods'], undefined, origin);
    assert.ok(r.status >= 400, origin);
  }
});

test('answers, streams and errors can be read by a known origin, with the headers they need', async () => {
  const json = { Origin: app, 'Content-Type': 'application/json' };
  const chat = await ask(parlor, 'POST', '/api/chat', json, '{"message":"hi","conversation_id":"c1"}');
  assert.equal(chat.status, 200);
  const { task_id } = JSON.parse(chat.text);
  for (const r of [
    chat,
    await ask(parlor, 'POST', '/api/chat/stream', json, '{"message":"hi"}'),
    await ask(parlor, 'GET', `/api/tasks/${task_id}/events`, { Origin: app }),
    await ask(parlor, 'GET', '/api/sessions/c1', { Origin: app }),
    await ask(parlor, 'GET', '/api/sessions/nobody', { Origin: app }),
    await ask(parlor, 'GET', '/nothing', { Origin: app }),
    await ask(parlor, 'DELETE', '/api/chat', { Origin: app }),
    await ask(parlor, 'POST', '/api/chat', json, '{'),
    await ask(parlor, 'GET', '/health', { Origin: app }),
    await ask(guarded, 'POST', '/api/chat', json, '{"message":"hi"}'),
  ]) {
    assert.equal(r.headers['access-control-allow-origin'], app, r.text);
    assert.ok(items(r.headers.vary).includes('origin'));
    const exposed = items(r.headers['access-control-expose-headers']);
    for (const h of ['etag', 'idempotency-replayed', 'retry-after', 'x-request-id', 'x-session-id']) assert.ok(exposed.includes(h), h);
    assert.equal(r.headers['access-control-allow-credentials'], undefined);
  }
});

test('a stranger with the key is served, but its page may not read the answer', async () => {
  for (const origin of strangers) {
    const r = await ask(guarded, 'GET', '/api/sessions', { Origin: origin, Authorization: 'Bearer a-key-for-tests' });
    assert.equal(r.status, 200);
    assert.equal(r.headers['access-control-allow-origin'], undefined, origin);
    assert.ok(items(r.headers.vary).includes('origin')); // a cache must not give it to others
  }
});

test('A7 without a key, what a page of another origin sends is not done', async () => {
  const n = async () => JSON.parse((await ask(parlor, 'GET', '/api/sessions')).text).total;
  const before = await n();
  for (const origin of strangers)
    for (const headers of [{}, { 'Content-Type': 'application/json' }, { 'Content-Type': 'text/plain' }]) { // the first needs no preflight
      const r = await ask(parlor, 'POST', '/api/chat', { Origin: origin, ...headers }, '{"message":"hi"}');
      assert.equal(r.status, 403, origin);
      assert.equal(JSON.parse(r.text).code, 'forbidden_origin');
      assert.equal(r.headers['access-control-allow-origin'], undefined);
    }
  const generate = await ask(parlor, 'POST', '/api/generate-async', { Origin: 'null' }, '{"prompt":"hi"}');
  assert.equal(generate.status, 403);
  assert.equal(JSON.parse(generate.text).success, false);
  assert.equal(await n(), before);
});

test('A7 without a key, a body must say that it is JSON, which no page of another origin can unasked', async () => {
  const post = (server, path, type, more = {}) =>
    ask(server, 'POST', path, { ...(type === undefined ? {} : { 'Content-Type': type }), ...more }, path === '/api/chat' ? '{"message":"hi"}' : '{"prompt":"hi"}');
  for (const path of ['/api/chat', '/api/generate-async']) {
    for (const type of [undefined, '', ' ', 'text/plain', 'application/jsonx', 'application/json-patch+json', 'text/plain, application/json', 'application/x-www-form-urlencoded', 'multipart/form-data']) {
      const r = await post(parlor, path, type);
      assert.equal(r.status, 415, `${path} ${type}`);
      assert.equal(JSON.parse(r.text).code, 'unsupported_media_type');
    }
    for (const type of ['application/json', 'Application/JSON', 'application/json;charset=utf-8', 'application/json ; charset=utf-8'])
      assert.equal((await post(parlor, path, type)).status, 200, type);
    const key = { Authorization: 'Bearer a-key-for-tests' }; // a page does not have it
    assert.equal((await post(guarded, path, undefined, key)).status, 200);
    assert.equal((await post(guarded, path, 'text/plain', key)).status, 415);
  }
});

test('A7 without a key, what a foreign page embeds is not served: browsers name no origin then, but say that it is foreign', async () => {
  const there = '/api/plan/stream?sessionId=embedded';
  const r = await ask(parlor, 'GET', there, { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'no-cors', 'Sec-Fetch-Dest': 'image' });
  assert.equal(r.status, 403);
  assert.equal(JSON.parse(r.text).error.code, 'forbidden_origin');
  assert.equal((await ask(parlor, 'GET', '/api/sessions/embedded')).status, 404);
  for (const site of ['same-origin', 'same-site', 'none'])
    assert.equal((await ask(parlor, 'GET', '/api/sessions', { 'Sec-Fetch-Site': site })).status, 200, site);
  const link = { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'navigate' };
  assert.equal((await ask(parlor, 'GET', '/admin/actors', link)).status, 200);
  assert.equal((await ask(parlor, 'GET', '/api/sessions', { 'Sec-Fetch-Site': 'cross-site', Origin: app })).status, 200);
  assert.equal((await ask(guarded, 'GET', '/api/sessions', { 'Sec-Fetch-Site': 'cross-site', Authorization: 'Bearer a-key-for-tests' })).status, 200);
});

test('A7 without a key, no other name of this machine is answered to', async () => {
  const port = parlor.port;
  for (const host of [' ', 'evil.example', `evil.example:${port}`, `127.evil.example:${port}`, `localhost.evil.example:${port}`, `[::1].evil.example`, `0.0.0.0:${port}`]) {
    for (const path of ['/api/sessions', '/admin/actors', '/metrics']) {
      const r = await ask(parlor, 'GET', path, { Host: host });
      assert.equal(r.status, 403, `${host} ${path}`);
      assert.equal(JSON.parse(r.text).code, 'forbidden_host');
    }
    // As a page of that name would send it: for the browser it is not another origin.
    const r = await ask(parlor, 'POST', '/api/chat', { Host: host, Origin: `http://${host}`, 'Content-Type': 'application/json' }, '{"message":"hi"}');
    assert.equal(r.status, 403, host);
  }
  for (const host of [`localhost:${port}`, 'LocalHost', '127.0.0.1', `127.0.0.1:${port}`, `127.1.2.3:${port}`, `[::1]:${port}`, '[::1]', 'app.example', 'localhost:5173'])
    assert.equal((await ask(parlor, 'GET', '/api/sessions', { Host: host })).status, 200, host);
  assert.equal((await ask(guarded, 'GET', '/api/sessions', { Host: 'parlor.example', Authorization: 'Bearer a-key-for-tests' })).status, 200);
  assert.equal((await ask(parlor, 'GET', '/livez', { Host: 'a-probe' })).status, 200);
});

test('the server\'s own pages may call it', async () => {
  const own = `http://127.0.0.1:${parlor.port}`;
  const r = await ask(parlor, 'POST', '/api/chat', { Origin: own, 'Content-Type': 'application/json' }, '{"message":"hi"}');
  assert.equal(r.status, 200);
});

test('nothing is allowed unless it is configured', async () => {
  const plain = await startParlor({ PARLOR_SERVER_KEY: 'a-key-for-tests' });
  try {
    const r = await preflight(plain, '/api/chat', app);
    assert.equal(r.status, 405);
    assert.equal(r.headers['access-control-allow-origin'], undefined);
    const health = await ask(plain, 'GET', '/health', { Origin: app });
    assert.equal(health.status, 200);
    assert.equal(health.headers['access-control-allow-origin'], undefined);
  } finally {
    await plain.remove();
  }
});
