// docs/hard-edges.md, U9: model services whose TLS is not what it should be, and answers over it that end too early.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http2 from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import tls from 'node:tls';
import { startParlor } from './server.mjs';
import { direct } from './upstream.mjs';

const key = 'sk-canary-31fe';
const dir = mkdtempSync(join(tmpdir(), 'parlor-tls-'));
const services = {}; // by the name of their model
let parlor;

function openssl(...words) {
  const made = spawnSync('openssl', words, { cwd: dir });
  assert.equal(made.status, 0, String(made.stderr));
}

/** A certificate for `names`, good from `from` to `to` (YYMMDDhhmmssZ), by the authority; its key and itself. */
function certificate(name, names, { from, to, by = 'ca' } = {}) {
  openssl('req', '-new', '-newkey', 'rsa:2048', '-nodes', '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.csr`);
  writeFileSync(join(dir, `${name}.cnf`), [
    '[ca]', 'default_ca=d', '[d]', `database=${name}.txt`, `serial=${name}.srl`, 'new_certs_dir=.', 'default_md=sha256', 'policy=p',
    'unique_subject=no', '[p]', 'commonName=supplied', '[e]', `subjectAltName=${names}`, 'basicConstraints=CA:FALSE', '',
  ].join('\n'));
  writeFileSync(join(dir, `${name}.txt`), '');
  writeFileSync(join(dir, `${name}.srl`), `${Math.floor(Math.random() * 1e9 + 1e9)}`.slice(0, 10));
  openssl('ca', '-batch', '-config', `${name}.cnf`, '-extensions', 'e', '-cert', `${by}.pem`, '-keyfile', `${by}.key`,
    '-startdate', from ?? '20200101000000Z', '-enddate', to ?? '20990101000000Z', '-in', `${name}.csr`, '-out', `${name}.pem`, '-notext');
  return { key: readFileSync(join(dir, `${name}.key`)), cert: readFileSync(join(dir, `${name}.pem`)) };
}
const authority = (name) =>
  openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '3650', '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.pem`);

const head = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n';
const chunked = (text) => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
const piece = (content, finish = null) => `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason: finish }] })}\n\n`;
const whole = piece('over ') + piece('TLS', 'stop');
const truncated = piece('over ') + piece('TLS');

/** A service that answers each request with `answer(socket)`; counts what comes through. */
async function serve(name, options, answer = (s) => s.end(head + `Connection: close\r\n\r\n${whole}data: [DONE]\n\n`)) {
  const service = { connections: 0, requests: 0, bytes: '' };
  const server = tls.createServer(options, (s) => {
    s.on('error', () => {}).on('data', (d) => {
      service.bytes += d;
      if (!String(d).includes('\r\n\r\n')) return;
      service.requests++;
      answer(s);
    });
  });
  server.on('connection', () => service.connections++).on('tlsClientError', () => {});
  await listen(name, server, service);
}
async function listen(name, server, service) {
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  services[name] = Object.assign(service, { server, port: server.address().port });
}
/** The end of the connection, with no word from TLS. */
const cut = (s, text) => s.write(text, () => s._parent?.destroy() ?? s._handle.close());

before(async () => {
  authority('ca');
  authority('stranger');
  const here = 'DNS:localhost,IP:127.0.0.1';
  const good = certificate('good', here);
  await serve('good', good);
  await serve('expired', certificate('expired', here, { to: '20200201000000Z' }));
  await serve('early', certificate('early', here, { from: '20980101000000Z' }));
  await serve('unknown-authority', certificate('unknown', here, { by: 'stranger' }));
  openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost', '-addext', `subjectAltName=${here}`,
    '-keyout', 'self.key', '-out', 'self.pem');
  await serve('self-signed', { key: readFileSync(join(dir, 'self.key')), cert: readFileSync(join(dir, 'self.pem')) });
  await serve('wrong-host', certificate('wrong', 'DNS:other.example,IP:192.0.2.1'));
  await serve('name-only-in-subject', certificate('127.0.0.1', 'DNS:other.example'));
  const old = (version) => ({ ...good, minVersion: version, maxVersion: version, ciphers: 'DEFAULT@SECLEVEL=0' });
  await serve('tls-1.0', old('TLSv1'));
  await serve('tls-1.1', old('TLSv1.1'));
  await serve('tls-1.2', { ...good, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' });
  await serve('tls-1.3', { ...good, minVersion: 'TLSv1.3' });

  const until = `${head}Connection: close\r\n\r\n`; // the end of the connection is that of the answer
  const framed = `${head}Transfer-Encoding: chunked\r\n\r\n`;
  await serve('cut', good, (s) => cut(s, until + truncated));
  await serve('cut-in-chunk', good, (s) => cut(s, framed + chunked(piece('over ')) + chunked(piece('TLS')).slice(0, 20)));
  await serve('cut-between-chunks', good, (s) => cut(s, framed + chunked(truncated)));
  await serve('cut-with-done', good, (s) => cut(s, `${until + truncated}data: [DONE]\n\n`));
  await serve('cut-at-head', good, (s) => cut(s, head));
  await serve('cut-without-answer', good, (s) => cut(s, ''));
  await serve('cut-but-whole', good, (s) => cut(s, until + whole));
  await serve('cut-but-whole-chunked', good, (s) => cut(s, framed + chunked(whole)));
  await serve('close-notify', good, (s) => s.end(until + truncated));
  await serve('close-notify-chunked', good, (s) => s.end(`${head}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n${chunked(truncated)}0\r\n\r\n`));
  await serve('garbage', good, (s) => s.write(until + truncated, () => s._parent?.write('not a record of TLS') ?? s.destroy()));

  const two = (name, end) => {
    const service = { connections: 0, requests: 0, bytes: '' };
    const server = http2.createSecureServer({ ...good, allowHTTP1: false });
    server.on('secureConnection', () => service.connections++).on('sessionError', () => {}).on('stream', (stream) => {
      service.requests++;
      stream.on('error', () => {}).respond({ ':status': 200, 'content-type': 'text/event-stream' });
      end(stream);
    });
    return listen(name, server, service);
  };
  await two('h2', (s) => s.end(`${whole}data: [DONE]\n\n`));
  await two('h2-reset', (s) => s.write(truncated, () => s.close(http2.constants.NGHTTP2_INTERNAL_ERROR)));
  await two('h2-end', (s) => s.end(truncated));
  await two('h2-cut', (s) => s.write(truncated, () => setImmediate(() => s.session?.socket && s.session.destroy())));

  // Every third stream is reset in the middle of the answer.
  await two('h2-moody', (s) => (services['h2-moody'].requests % 3 ? s.end(`${whole}data: [DONE]\n\n`) : s.write(truncated, () => s.close(http2.constants.NGHTTP2_INTERNAL_ERROR))));

  const config = Object.entries(services).map(([name, { port }]) =>
    `[[provider]]\nname = "of ${name}"\nkind = "openai"\nbase_url = "https://127.0.0.1:${port}/v1"\napi_key = "\${TEST_KEY}"\n[[model]]\nname = "${name}"\nprovider = "of ${name}"\n`);
  parlor = await startParlor(
    { ...direct, TEST_KEY: key, SSL_CERT_FILE: join(dir, 'ca.pem'), PARLOR_TASK_BACKOFF: '1ms', PARLOR_TASK_ATTEMPTS: '2' },
    { config: config.join('') },
  );
});
after(async () => {
  await parlor?.remove();
  for (const { server } of Object.values(services)) server.close();
  rmSync(dir, { recursive: true, force: true });
});

async function turn(model) {
  const r = await parlor.post('/api/chat', { message: 'hi', model });
  return { status: r.status, ...(await r.json()) };
}

test('U9 a service that proves who it is is spoken to, by TLS 1.2 and later', async () => {
  for (const name of ['good', 'tls-1.2', 'tls-1.3', 'h2']) {
    const answer = await turn(name);
    assert.equal(answer.response, 'over TLS', `${name}: ${JSON.stringify(answer)}`);
    assert.equal(services[name].requests, 1);
  }
});

test('U9 one that does not is told nothing, and not asked again', async () => {
  for (const name of ['expired', 'early', 'unknown-authority', 'self-signed', 'wrong-host', 'name-only-in-subject']) {
    const answer = await turn(name);
    assert.deepEqual([answer.status, answer.code], [502, 'upstream_tls'], `${name}: ${JSON.stringify(answer)}`);
    const { connections, requests, bytes } = services[name];
    assert.deepEqual([connections, requests, bytes], [1, 0, ''], name);
  }
});

test('U9 nor one that speaks only TLS 1.0 or 1.1', async () => {
  for (const [name, version] of [['tls-1.0', 'TLSv1'], ['tls-1.1', 'TLSv1.1']]) {
    // That it is there, and would speak to others.
    const other = tls.connect({ port: services[name].port, host: '127.0.0.1', rejectUnauthorized: false, minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' });
    assert.equal(await new Promise((done, failed) => other.on('secureConnect', () => done(other.getProtocol())).on('error', failed)), version);
    other.destroy();
    const answer = await turn(name);
    assert.deepEqual([answer.status, answer.code], [502, 'upstream_tls'], `${name}: ${JSON.stringify(answer)}`);
    assert.deepEqual([services[name].requests, services[name].bytes], [0, ''], name);
  }
});

/** What a client of the stream is told last, and the text that it has. */
async function streamed(model) {
  const r = await parlor.post('/api/chat/stream', { message: 'hi', model });
  const events = (await r.text()).split('\n').filter((l) => l.startsWith('data: ')).map((l) => JSON.parse(l.slice(6)));
  return { last: events.at(-1), types: events.map((e) => e.type) };
}

test('U9 an answer that is cut off without close_notify is never a success', async () => {
  for (const name of ['cut', 'cut-in-chunk', 'cut-between-chunks', 'cut-with-done', 'close-notify', 'close-notify-chunked', 'garbage', 'h2-reset', 'h2-end', 'h2-cut']) {
    const answer = await turn(name);
    // Or the second attempt has met the connection on its way out.
    const codes = name.startsWith('h2') ? ['upstream_truncated', 'upstream_unreachable'] : ['upstream_truncated'];
    assert.equal(answer.status, 502, name);
    assert.ok(codes.includes(answer.code), `${name}: ${JSON.stringify(answer)}`);
    assert.ok(services[name].requests >= 2, `${name} is tried again`);
    const { last, types } = await streamed(name);
    assert.equal(last.type, 'error', `${name}: ${types}`);
    assert.ok(codes.includes(last.code), `${name}: ${JSON.stringify(last)}`);
    assert.ok(!types.includes('done'), name);
  }
  for (const name of ['cut-at-head', 'cut-without-answer']) {
    const answer = await turn(name);
    assert.deepEqual([answer.status, answer.code], [502, name === 'cut-at-head' ? 'upstream_truncated' : 'upstream_unreachable'], `${name}: ${JSON.stringify(answer)}`);
  }
});

test('U9 one that had its finish_reason is whole, however the connection ends', async () => {
  for (const name of ['cut-but-whole', 'cut-but-whole-chunked']) {
    const answer = await turn(name);
    assert.equal(answer.response, 'over TLS', `${name}: ${JSON.stringify(answer)}`);
    assert.equal(services[name].requests, 1);
  }
});

test('U10 HTTP/2: turns before do not spoil turns after, one by one and at once, on few connections', async () => {
  const answers = [];
  for (let i = 0; i < 20; ++i) answers.push(await turn('h2-moody'));
  answers.push(...(await Promise.all(Array.from({ length: 40 }, () => turn('h2-moody')))));
  for (const answer of answers) {
    const lost = ['upstream_truncated', 'upstream_unreachable'].includes(answer.code); // both of its attempts were reset
    assert.ok(lost || answer.response === 'over TLS', JSON.stringify(answer));
  }
  const { requests, connections } = services['h2-moody'];
  assert.ok(requests > 60, `${requests} requests`);
  assert.ok(answers.filter((a) => a.status === 200).length >= 45, `${answers.map((a) => a.status)}`);
  assert.ok(connections <= 10, `${connections} connections`);
});

test('U9 whoever makes plans must prove who it is, too', async () => {
  for (const name of ['expired', 'wrong-host', 'tls-1.0']) {
    const before = services[name].requests;
    const planner = await startParlor({
      ...direct, SSL_CERT_FILE: join(dir, 'ca.pem'), EXTERNAL_API_URL: `https://127.0.0.1:${services[name].port}/`, PARLOR_TASK_BACKOFF: '1ms',
    });
    try {
      const page = await fetch(`${planner.url}/api/plan/stream?sessionId=p`);
      await planner.post('/api/plan/generate', { sessionId: 'p', request: { a: 1 } });
      let text = '';
      for await (const d of page.body) if ((text += Buffer.from(d)).includes('"error"')) break;
      assert.match(text, /"code":"upstream_tls"/, name);
      assert.equal(services[name].requests, before, name);
    } finally {
      await planner.remove();
    }
  }
});

test('U9 the key is in no log', () => {
  assert.ok(!(parlor.output + parlor.log).includes(key));
  for (const s of Object.values(services)) assert.ok(!s.bytes || s.bytes.includes(`Bearer ${key}`));
});
