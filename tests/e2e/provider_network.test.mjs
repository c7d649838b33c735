// Between the server and the model service: proxies and certificates.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { freePort, startParlor } from './server.mjs';
import { direct, startUpstream } from './upstream.mjs';

const key = 'sk-canary-77aa';
let upstream, dir, certificate;
before(async () => {
  upstream = await startUpstream();
  dir = mkdtempSync(join(tmpdir(), 'parlor-tls-'));
  const made = spawnSync('openssl', [
    'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost',
    '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', join(dir, 'key.pem'), '-out', join(dir, 'cert.pem'),
  ]);
  assert.equal(made.status, 0, String(made.stderr));
  certificate = { key: readFileSync(join(dir, 'key.pem')), cert: readFileSync(join(dir, 'cert.pem')) };
});
after(() => {
  upstream.stop();
  rmSync(dir, { recursive: true, force: true });
});

const listen = (server) => new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));
/** What a turn comes to with this environment: the answer's status and body, and what was logged. */
async function turn(env) {
  const parlor = await startParlor({ ...direct, OPENAI_API_KEY: key, PARLOR_TASK_BACKOFF: '10ms', ...env });
  try {
    const r = await parlor.post('/api/chat', { message: 'hi' });
    return { status: r.status, ...(await r.json()), log: parlor.log + parlor.output };
  } finally {
    await parlor.remove();
  }
}

/** A forward proxy for http that remembers what it was asked, and for CONNECT. */
function forwardProxy() {
  const asked = [];
  const server = http.createServer((request, response) => {
    asked.push(request.url);
    const on = http.request(request.url, { method: request.method, headers: request.headers }, (from) => {
      response.writeHead(from.statusCode, from.headers);
      from.pipe(response);
    });
    on.on('error', () => response.destroy());
    request.pipe(on);
  });
  server.on('connect', (request, socket) => {
    asked.push(`CONNECT ${request.url}`);
    const [host, port] = request.url.split(':');
    const on = net.connect(port, host === 'api.example.test' ? '127.0.0.1' : host, () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      on.pipe(socket).pipe(on);
    });
    on.on('error', () => socket.destroy());
    socket.on('error', () => on.destroy());
  });
  return { server, asked };
}

/** A service with a certificate nobody knows. */
function secureService() {
  const requests = [];
  const server = https.createServer(certificate, (request, response) => {
    requests.push(request.headers.authorization);
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.end('data: {"choices":[{"index":0,"delta":{"content":"over TLS"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
  });
  server.on('tlsClientError', () => {});
  return { server, requests };
}

test('a proxy of the environment is used for http', async () => {
  const { server, asked } = forwardProxy();
  const port = await listen(server);
  const base = upstream.base('usage');
  const answer = await turn({ http_proxy: `http://127.0.0.1:${port}`, OPENAI_BASE_URL: base });
  assert.equal(answer.response, 'word1 word2 word3');
  assert.deepEqual(asked, [`${base}/chat/completions`]);
  // no_proxy makes an exception.
  const without = await turn({ http_proxy: `http://127.0.0.1:${port}`, no_proxy: '127.0.0.1', OPENAI_BASE_URL: base });
  assert.equal(without.response, 'word1 word2 word3');
  assert.equal(asked.length, 1);
  server.close();
});

test('a proxy that is not there is named as unreachable', async () => {
  const port = await freePort();
  const answer = await turn({ http_proxy: `http://127.0.0.1:${port}`, OPENAI_BASE_URL: upstream.base('usage') });
  assert.equal(answer.code, 'upstream_unreachable');
  assert.equal(answer.status, 502);
});

test('U9 a certificate nobody has signed is refused before a byte of the request', async () => {
  const { server, requests } = secureService();
  const port = await listen(server);
  const answer = await turn({ OPENAI_BASE_URL: `https://127.0.0.1:${port}/v1` });
  assert.equal(answer.status, 502);
  assert.equal(answer.code, 'upstream_tls');
  assert.equal(requests.length, 0);
  assert.ok(!answer.log.includes(key));
  server.close();
});

test('U9 through a tunnel of the proxy the certificate is looked at just the same', async () => {
  const { server, requests } = secureService();
  const port = await listen(server);
  const proxy = forwardProxy();
  const way = await listen(proxy.server);
  const answer = await turn({ https_proxy: `http://127.0.0.1:${way}`, OPENAI_BASE_URL: `https://api.example.test:${port}/v1` });
  assert.equal(answer.code, 'upstream_tls');
  assert.ok(proxy.asked.includes(`CONNECT api.example.test:${port}`));
  assert.equal(requests.length, 0);
  proxy.server.close();
  server.close();
});

test('U9 a service with a certificate of a known authority is spoken to, one of another name is not', async () => {
  const { server, requests } = secureService();
  const port = await listen(server);
  const known = { SSL_CERT_FILE: join(dir, 'cert.pem') };
  const answer = await turn({ ...known, OPENAI_BASE_URL: `https://127.0.0.1:${port}/v1` });
  assert.equal(answer.response, 'over TLS');
  assert.deepEqual(requests, [`Bearer ${key}`]);
  const proxy = forwardProxy();
  const way = await listen(proxy.server);
  const other = await turn({ ...known, https_proxy: `http://127.0.0.1:${way}`, OPENAI_BASE_URL: `https://api.example.test:${port}/v1` });
  assert.equal(other.code, 'upstream_tls');
  assert.equal(requests.length, 1);
  proxy.server.close();
  server.close();
});

test('U9 a service that ends TLS connections before they begin can be tried again', async () => {
  let connections = 0;
  const server = net.createServer((s) => {
    connections++;
    s.on('error', () => {});
    s.once('data', () => s.end('HTTP/1.1 400 Bad Request\r\n\r\n')); // plain HTTP on a TLS port
  });
  const port = await listen(server);
  const answer = await turn({ OPENAI_BASE_URL: `https://127.0.0.1:${port}/v1` });
  assert.equal(answer.code, 'upstream_tls');
  assert.equal(connections, 3);
  server.close();
});
