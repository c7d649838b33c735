// Many WebSocket clients with a question each, and many sessions that wait for callbacks.
//
//   node benchmarks/clients.mjs [sockets|callbacks] [COUNT] [--write]
//
// Needs the packages of tests/e2e (./dev test brings them). The clients are on the core that the server is not on, where there
// are two. Every client checks what it is told. --write puts the figures into benchmarks/README.md. PARLOR_BIN names the program.
import { strict as assert } from 'node:assert';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { Agent, createServer, request } from 'node:http';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { startParlor } from '../tests/e2e/server.mjs';

const root = new URL('..', import.meta.url).pathname;
const { WebSocket } = createRequire(join(root, 'tests/e2e/'))('ws');
const pinned = cpus().length > 1;
process.env.TMPDIR = join(root, 'build'); // the store: on a disk, not in memory as /tmp may be
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function startServer(env) {
  const config = '[[provider]]\nname = "rehearsal"\nkind = "rehearsal"\nconcurrency = 100000\n[[model]]\nname = "rehearsal"\n';
  const server = await startParlor(
    { PARLOR_SERVER_THREADS: '1', PARLOR_SERVER_MAX_CONNECTIONS: '20000', PARLOR_LOG_LEVEL: 'error', ...env },
    { config, inside: pinned ? ['taskset', '-c', '0'] : [] },
  );
  const proc = (name) => readFileSync(`/proc/${server.process.pid}/${name}`, 'utf8');
  return {
    url: server.url, port: server.port,
    rss: () => Number(/^VmRSS:\s+(\d+)/m.exec(proc('status'))[1]) * 1024,
    cpu: () => proc('stat').split(') ')[1].split(' ').slice(11, 13).reduce((a, t) => a + Number(t) * 10_000, 0), // µs
    stop: () => server.stop('SIGKILL').then(server.remove),
  };
}

/** `limit` at a time. */
async function all(count, limit, work) {
  let next = 0;
  await Promise.all(Array.from({ length: Math.min(limit, count) }, async () => {
    while (next < count) await work(next++);
  }));
}

/** Each asks a question whose answer comes at 20 tokens a second. */
async function sockets(count) {
  const words = 300;
  const server = await startServer({
    PARLOR_REHEARSAL_TOKENS_PER_SECOND: '20',
  });
  try {
    const before = server.rss();
    const clients = [];
    await all(count, 100, async (i) => {
      const socket = new WebSocket(`ws://127.0.0.1:${server.port}/ws/learning?session_id=bench_${i}`, { perMessageDeflate: false });
      const c = { socket, deltas: 0, text: '', done: null };
      c.done = new Promise((done, failed) => {
        socket.on('message', (m) => {
          const e = JSON.parse(m);
          if (e.type === 'content') c.deltas++, (c.text += e.content);
          else if (e.type === 'content_finished') assert.equal(c.text, e.full_content);
          else if (e.type === 'done') done();
          else if (e.type === 'error') failed(new Error(JSON.stringify(e)));
        });
        socket.on('error', failed).on('close', () => failed(new Error('closed')));
      });
      c.done.catch(() => {});
      clients.push(c);
      await new Promise((open, failed) => socket.once('open', open).once('error', failed));
    });
    const idle = (server.rss() - before) / count;
    const deltas = () => clients.reduce((n, c) => n + c.deltas, 0);
    for (const [i, c] of clients.entries()) c.socket.send(JSON.stringify({ type: 'question', content: `count to ${words}`, request_id: `r${i}` }));
    while (clients.some((c) => c.deltas === 0)) await pause(50);
    await pause(1000); // all of them are under way
    const [cpu, n, at] = [server.cpu(), deltas(), performance.now()];
    await pause(4000);
    const [used, told, ms] = [server.cpu() - cpu, deltas() - n, performance.now() - at];
    const busy = (server.rss() - before) / count;
    await Promise.all(clients.map((c) => c.done));
    const numbers = Array.from({ length: words }, (_, i) => i + 1).join(' ');
    for (const c of clients) assert.equal(c.text, numbers);
    for (const c of clients) c.socket.removeAllListeners('close').terminate();
    return [
      ['WebSocket clients, each with a question at 20 tokens/s', `${count}`],
      ['messages/s', `${Math.round(told / (ms / 1000))} of ${count * 20}`],
      ['CPU of the server', `${Math.round(used / (ms * 10))} % of a core, ${(used / told).toFixed(1)} µs a message`],
      ['RSS for a connection, idle; with its session, task and answer', `${(idle / 1024).toFixed(1)} KiB; ${(busy / 1024).toFixed(1)} KiB`],
    ];
  } finally {
    await server.stop();
  }
}

/** All sessions wait; then all callbacks arrive. */
async function callbacks(count) {
  const urls = [];
  const service = createServer((incoming, answer) => {
    let text = '';
    incoming.on('data', (d) => (text += d)).on('end', () => {
      urls.push(JSON.parse(text).callbackUrl);
      answer.writeHead(202).end();
    });
  });
  await new Promise((done) => service.listen(0, '127.0.0.1', done));
  const server = await startServer({ EXTERNAL_API_URL: `http://127.0.0.1:${service.address().port}/`, PARLOR_SESSION_MEMORY: '10m' });
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const post = (url, body) =>
    new Promise((done, failed) => {
      const r = request(url, { method: 'POST', agent, headers: { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) } }, (answer) => {
        let text = '';
        answer.on('data', (d) => (text += d)).on('end', () => done({ status: answer.statusCode, text }));
      });
      r.on('error', failed).end(body);
    });
  try {
    await post(`${server.url}/api/plan/generate`, '{"sessionId":"warm","request":{}}');
    const before = server.rss();
    let from = performance.now();
    await all(count, 64, async (i) => {
      const { status } = await post(`${server.url}/api/plan/generate`, `{"sessionId":"bench_${i}","request":{"topic":"number ${i}"}}`);
      assert.equal(status, 202);
    });
    const started = performance.now() - from;
    while (urls.length < count + 1) await pause(10);
    const waiting = (server.rss() - before) / count;
    from = performance.now();
    const cpu = server.cpu();
    await all(urls.length, 64, async (i) => {
      const { status, text } = await post(urls[i], `{"data":{"title":"plan ${i}","weeks":[1,2,3]}}`);
      assert.equal(status, 200, text);
    });
    const took = performance.now() - from;
    const stats = await (await fetch(`${server.url}/api/plan/stats`)).json();
    assert.deepEqual(stats.statuses, { waiting: 0, generating: 0, completed: count + 1, error: 0 });
    return [
      ['sessions waiting for a callback', `${count}`],
      ['starts/s, each durable and handed to the service', `${Math.round(count / (started / 1000))}`],
      ['RSS for a session that waits', `${(waiting / 1024).toFixed(1)} KiB`],
      ['callbacks/s, all at once, each durable before its 200', `${Math.round(urls.length / (took / 1000))}`],
      ['CPU of the server for a callback', `${Math.round((server.cpu() - cpu) / urls.length)} µs`],
    ];
  } finally {
    await server.stop();
    agent.destroy();
    service.close();
    service.closeAllConnections();
  }
}

const words = process.argv.slice(2).filter((w) => w !== '--write');
const which = words.filter((w) => w in { sockets, callbacks });
const count = Number(words.find((w) => /^\d+$/.test(w)) ?? 0);
if (pinned) spawnSync('taskset', ['-acp', '1', `${process.pid}`], { stdio: 'ignore' });
const rows = [];
for (const name of which.length ? which : ['sockets', 'callbacks'])
  rows.push(...(name === 'sockets' ? await sockets(count || 5000) : await callbacks(count || 10_000)));
const table = ['| measure | figure |', '|---|---|', ...rows.map(([a, b]) => `| ${a} | ${b} |`)].join('\n');
console.log(table);
if (process.argv.includes('--write')) {
  const page = join(root, 'benchmarks/README.md');
  const text = readFileSync(page, 'utf8');
  writeFileSync(page, text.replace(/<!-- clients:begin -->[^]*<!-- clients:end -->/, `<!-- clients:begin -->\n${table}\n<!-- clients:end -->`));
}
