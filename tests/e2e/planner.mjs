// A Parlor whose external service can be changed while it runs, and the example service.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createServer, request as call } from 'node:http';
import { createInterface } from 'node:readline';
import { startParlor } from './server.mjs';
import { openStream } from './streams.mjs';

const examples = new URL('../../examples/', import.meta.url).pathname;

/** The example service; `env` says how it behaves. */
export async function startExternal(env = {}) {
  const child = spawn(process.execPath, [`${examples}external-ai/server.mjs`], {
    env: { PATH: process.env.PATH, PORT: '0', DELAY_MS: '20', PROGRESS: '0', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const external = { said: [], stop: () => child.kill() };
  const lines = createInterface(child.stdout);
  const first = await new Promise((resolve) => lines.once('line', resolve));
  lines.on('line', (line) => external.said.push(line));
  external.url = first.split(' ').at(-1);
  return external;
}

/**
 * `server.external`: the address of the service, or a function that gets (body, headers) and gives a status. Where
 * there is none it cannot be reached. `server.asked`: the bodies that went out.
 */
export async function startPlanner(env = {}, options = {}) {
  const asked = [];
  let server;
  const relay = createServer(async (incoming, answer) => {
    const text = Buffer.concat(await incoming.toArray()).toString();
    asked.push(JSON.parse(text));
    const to = server.external;
    if (!to) return incoming.socket.destroy();
    if (typeof to === 'function') {
      const status = await to(JSON.parse(text), incoming.headers);
      return status && answer.writeHead(status).end('{}');
    }
    const onward = call(to, { method: 'POST', headers: { 'Content-Type': 'application/json' } }, (r) => {
      r.resume();
      answer.writeHead(r.statusCode).end('{}');
    });
    return onward.on('error', () => incoming.socket.destroy()).end(text);
  });
  await new Promise((resolve) => relay.listen(0, '127.0.0.1', resolve));
  server = await startParlor(
    { EXTERNAL_API_URL: `http://127.0.0.1:${relay.address().port}/plans`, PARLOR_TASK_BACKOFF: '30ms', PARLOR_LOG_LEVEL: 'error', ...env },
    options,
  );
  server.asked = asked;
  server.stats = async () => (await fetch(`${server.url}/api/plan/stats`)).json();
  server.pages = async () => (await server.stats()).activeConnections;
  const { remove } = server;
  server.remove = async () => {
    relay.close();
    relay.closeAllConnections();
    await remove();
  };
  return server;
}

// -- a page, a start, and a service's callback

export const json = async (answer) => ({ status: answer.status, body: await answer.json() });
export const stream = (server, id, headers = {}) => openStream(`${server.url}/api/plan/stream?sessionId=${id}`, { headers });
export const start = async (server, id, request = { topic: 'Rust' }) => json(await server.post('/api/plan/generate', { sessionId: id, request }));
export const callback = async (url, body) =>
  json(await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: typeof body === 'string' ? body : JSON.stringify(body) }));
export const data = (page) => page.events.map((e) => e.data);

/** A check of an answer: refused with this code, for this session. */
export const error = (code, id) => (a) => {
  assert.equal(a.body.success, false);
  assert.equal(a.body.error.code, code);
  assert.ok(a.body.error.message);
  assert.equal(a.body.sessionId, id);
};
