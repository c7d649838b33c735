// What is refused before any route sees it: still in the shape, in the language and with the headers that
// whoever asked understands.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { startParlor } from './server.mjs';

const app = 'https://app.example';
let parlor;
before(async () => {
  parlor = await startParlor({ PARLOR_SERVER_CORS_ORIGINS: app, PARLOR_SERVER_MAX_BODY: '4096', PARLOR_SERVER_HEADER_TIMEOUT: '1s' });
});
after(() => parlor.remove());

/** Sends raw bytes; the one answer that comes. */
function raw(bytes, port = parlor.port) {
  return new Promise((resolve, reject) => {
    let text = '';
    const s = connect(port, '127.0.0.1', () => s.write(bytes));
    s.setTimeout(20000, () => s.destroy(new Error('no end')));
    s.on('error', reject).on('data', (d) => (text += d)).on('close', () => {
      const [head, body] = text.split('\r\n\r\n');
      const [line, ...fields] = head.split('\r\n');
      assert.equal(text.match(/HTTP\/1\.1 \d+/g)?.length, 1, text);
      const headers = Object.fromEntries(fields.map((f) => [f.slice(0, f.indexOf(':')).toLowerCase(), f.slice(f.indexOf(':') + 2)]));
      resolve({ status: Number(line.split(' ')[1]), headers, json: JSON.parse(body) });
    });
  });
}
const head = (path, ...more) => [`POST ${path} HTTP/1.1`, 'Host: 127.0.0.1', 'Content-Type: application/json', ...more].join('\r\n');
const end = '\r\n\r\n';
const large = 'Content-Length: 100000';

/** Each way to be refused below the routes: its status, its code, and a request of that kind. */
const ways = {
  'a body that is too large': [413, 'body_too_large', (path, ...more) => head(path, large, ...more) + end],
  'chunks that are too much': [413, 'body_too_large', (path, ...more) => head(path, 'Transfer-Encoding: chunked', ...more) + `${end}2000\r\n${'x'.repeat(8192)}\r\n0${end}`],
  'headers that are too large': [431, 'headers_too_large', (path, ...more) => head(path, ...more, `A: ${'a'.repeat(17000)}`) + end],
  'a length said twice': [400, 'bad_framing', (path, ...more) => head(path, 'Content-Length: 2', 'Content-Length: 3', ...more) + end],
  'headers that never end': [408, 'request_timeout', (path, ...more) => head(path, ...more) + '\r\n'],
  'an expectation': [417, 'expectation_failed', (path, ...more) => head(path, 'Content-Length: 2', 'Expect: tea', ...more) + end],
};

for (const [name, [status, code, request]] of Object.entries(ways)) {
  test(`${name}: ${status} in the shape of either API`, async () => {
    const generate = await raw(request('/api/generate-async'));
    assert.equal(generate.status, status);
    assert.equal(generate.headers['content-type'], 'application/json; charset=utf-8');
    assert.deepEqual(Object.keys(generate.json).sort(), ['code', 'error', 'success']);
    assert.equal(generate.json.success, false);
    assert.equal(generate.json.code, code);
    const chat = await raw(request('/api/chat', 'X-Request-Id: mine-1'));
    assert.equal(chat.status, status);
    assert.equal(chat.headers['content-type'], 'application/problem+json; charset=utf-8');
    assert.equal(chat.json.code, code);
    assert.equal(chat.json.status, status);
    assert.equal(chat.json.request_id, 'mine-1');
    assert.equal(chat.headers['x-request-id'], 'mine-1');
    assert.equal(chat.headers.connection, 'close');
  });

  test(`${name}: in the language that was asked for`, async () => {
    for (const path of ['/api/generate-async', '/api/chat']) {
      const [zh, en] = [await raw(request(path, 'Accept-Language: zh-CN')), await raw(request(path, 'Accept-Language: en'))];
      const text = (r) => r.json.error ?? r.json.title;
      assert.match(text(zh), /\p{Script=Han}/u, path);
      assert.doesNotMatch(text(en), /\p{Script=Han}/u, path);
    }
  });

  test(`${name}: a page of a known origin can read it, another cannot`, async () => {
    const ours = await raw(request('/api/generate-async', `Origin: ${app}`));
    assert.equal(ours.status, status);
    assert.equal(ours.headers['access-control-allow-origin'], app);
    assert.match(ours.headers['access-control-expose-headers'], /X-Request-Id/);
    for (const origin of ['https://evil.example', `${app}.evil.example`, 'null']) {
      const r = await raw(request('/api/generate-async', `Origin: ${origin}`));
      assert.equal(r.status, name.startsWith('chunks') ? 403 : status); // what may not come in is not read so far
      assert.equal(r.headers['access-control-allow-origin'], undefined, origin);
      assert.equal(r.headers.vary, 'Origin');
    }
  });
}

test('what says nothing that could be read is refused as well', async () => {
  for (const bytes of ['nonsense\r\n\r\n', '\x16\x03\x01\x02\x00', 'GET /a b HTTP/1.1\r\n\r\n', 'GET http://a/api/generate-async HTTP/1.1\r\nHost: a\r\n\r\n']) {
    const r = await raw(bytes);
    assert.equal(r.status, 400);
    assert.equal(r.json.code, 'bad_framing');
  }
});

test('H17 a stream is never compressed, nor may anybody on the way change or hold it', async () => {
  const r = await fetch(`${parlor.url}/api/chat/stream`, {
    method: 'POST', headers: { 'Content-Type': 'application/json', 'Accept-Encoding': 'gzip, deflate, br' }, body: '{"message":"hi"}',
  });
  assert.equal(r.headers.get('content-encoding'), null);
  assert.match(r.headers.get('cache-control'), /no-transform/);
  assert.equal(r.headers.get('x-accel-buffering'), 'no');
  assert.match(await r.text(), /"type":"done"/);
});

test('H12 who may not come in is told so before a body that would take room', async () => {
  const own = await startParlor({ PARLOR_SERVER_KEY: 'sesame-sesame-16', EXTERNAL_API_URL: 'http://127.0.0.1:9/' });
  const to = (text) => raw(text, own.port); // nothing of a body is sent
  const key = 'Authorization: Bearer sesame-sesame-16';
  try {
    for (const size of [large, 'Transfer-Encoding: chunked', `${large}\r\nExpect: 100-continue`]) {
      const none = await to(head('/api/chat', size) + end);
      assert.deepEqual([none.status, none.json.code, none.headers['www-authenticate']], [401, 'unauthorized', 'Bearer']);
      assert.equal(none.headers.connection, 'close');
      assert.equal((await to(head('/api/chat', size, 'Authorization: Bearer other') + end)).status, 401);
      assert.equal((await to(head('/nowhere', size, key) + end)).status, 404);
      const other = await to(head('/api/generate-async/x', size, key) + end);
      assert.deepEqual([other.status, other.json.success, other.headers.allow], [405, false, 'GET, HEAD, DELETE']);
      const forged = await to(head('/api/plan/update?sessionId=a&token=b', size) + end);
      assert.deepEqual([forged.status, forged.json.error.code], [403, 'bad_token']);
    }
    const body = JSON.stringify({ message: 'Hello', system_prompt: 'x'.repeat(50_000) });
    const r = await own.post('/api/chat', body, { Authorization: 'Bearer sesame-sesame-16' });
    assert.equal(r.status, 200);
  } finally {
    await own.remove();
  }
});
