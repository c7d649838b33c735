// The server below the contracts: framing, pipelining, limits, metrics, keys, how it ends.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { startParlor } from './server.mjs';

let parlor;
before(async () => {
  parlor = await startParlor();
});
after(() => parlor.remove());

/** Sends raw bytes and collects what comes until the server closes. */
function raw(bytes) {
  return new Promise((resolve, reject) => {
    let text = '';
    const s = connect(parlor.port, '127.0.0.1', () => s.write(bytes));
    s.setTimeout(15000, () => s.destroy(new Error('no end')));
    s.on('data', (d) => (text += d)).on('close', () => resolve(text)).on('error', reject);
  });
}
const answers = (text) => text.match(/HTTP\/1\.1 \d+/g) ?? [];

test('H11 pipelined requests are answered in order', async () => {
  const get = (path, more = '') => `GET ${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`;
  const text = await raw(get('/livez') + get('/nothing') + get('/readyz', 'Connection: close\r\n'));
  assert.deepEqual(answers(text), ['HTTP/1.1 200', 'HTTP/1.1 404', 'HTTP/1.1 200']);
});

test('H1 one answer, and nothing smuggled', async () => {
  for (const te of ['xchunked', 'gzip', 'chunked, chunked', 'identity, chunked, identity, chunked', '"chunked"']) {
    const text = await raw(
      `POST /api/chat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ${te}\r\nContent-Length: 5\r\n\r\nhello` +
        'GET /livez HTTP/1.1\r\nHost: a\r\n\r\n',
    );
    assert.deepEqual(answers(text), ['HTTP/1.1 400'], te);
  }
});

test('a chunked body is read', async () => {
  const body = '{"message":"hello"}';
  const text = await raw(
    'POST /api/chat HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n' +
      `5\r\n${body.slice(0, 5)}\r\ne\r\n${body.slice(5)}\r\n0\r\n\r\n`,
  );
  assert.deepEqual(answers(text), ['HTTP/1.1 200']);
});

test('H9 H12 limits', async () => {
  assert.deepEqual(answers(await raw(`GET /${'a'.repeat(9000)} HTTP/1.1\r\nHost: a\r\n\r\n`)), ['HTTP/1.1 414']);
  const big = await raw('POST /api/chat HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 10000000000\r\n\r\n');
  assert.deepEqual(answers(big), ['HTTP/1.1 413']);
  assert.deepEqual(answers(await raw('POST /api/chat HTTP/1.1\r\nHost: a\r\nExpect: x\r\nContent-Length: 2\r\n\r\n')), ['HTTP/1.1 417']);
});

test('S2 a query is read as it was written, and what is wrong in it is not taken for absent', async () => {
  const get = async (target) => answers(await raw(`GET ${target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`))[0];
  assert.equal((await parlor.post('/api/chat', { message: 'hi', conversation_id: 'query' })).status, 200);
  for (const query of ['lastEventId=<', 'lastEventId=%', 'lastEventId=%zz', 'lastEventId=a|1', 'a={b}&lastEventId=[', 'a=%&lastEventId=%00', 'lastEventId=a-1%0a', '&&lastEventId=+'])
    assert.equal(await get(`/api/sessions/query/events?${query}`), 'HTTP/1.1 400', query);
  for (const query of ['limit=0', 'limit=<', 'x={}|^`"&limit=%30', 'l%69mit=0', 'limit=0&limit=1']) assert.equal(await get(`/api/sessions?${query}`), 'HTTP/1.1 400', query);
  for (const query of ['limit=1', 'x={}|^`"&limit=1', 'limit=%31', 'limit=1&limit=0', '', '&', 'limit', '=', 'limit=']) assert.equal(await get(`/api/sessions?${query}`), 'HTTP/1.1 200', query);
});

test('H10 headers that drip are given up on at the deadline', async () => {
  const from = Date.now();
  const text = await new Promise((resolve, reject) => {
    let got = '';
    const s = connect(parlor.port, '127.0.0.1', () => s.write('GET / HTTP/1.1\r\nHost: a\r\n'));
    const drip = setInterval(() => s.write('A: b\r\n'), 1000);
    s.on('data', (d) => (got += d)).on('error', reject);
    s.on('close', () => {
      clearInterval(drip);
      resolve(got);
    });
  });
  assert.deepEqual(answers(text), ['HTTP/1.1 408']);
  assert.ok(Date.now() - from < 12000);
});

test('A6 the metrics are clean', async () => {
  const text = await (await fetch(`${parlor.url}/metrics`)).text();
  const check = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
  assert.equal(check.status, 0, check.stdout + check.stderr);
});

test('a key is asked for where one is set, and others are not served without', async () => {
  const guarded = await startParlor({ PARLOR_SERVER_KEY: 'a-key-for-tests' });
  try {
    assert.equal((await fetch(`${guarded.url}/api/sessions`)).status, 401);
    assert.equal((await fetch(`${guarded.url}/api/sessions`, { headers: { Authorization: 'Bearer wrong' } })).status, 401);
    assert.equal((await fetch(`${guarded.url}/api/sessions`, { headers: { Authorization: 'Bearer a-key-for-tests' } })).status, 200);
    assert.ok(!guarded.output.includes('a-key-for-tests'));
  } finally {
    await guarded.remove();
  }
});
