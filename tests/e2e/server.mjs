// A Parlor of its own for each test file: free port, fresh store, rehearsal model.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:net';

export const bin = process.env.PARLOR_BIN ?? new URL('../../build/release/parlor', import.meta.url).pathname;

export function freePort() {
  return new Promise((resolve) => {
    const s = createServer().listen(0, '127.0.0.1', () => {
      const { port } = s.address();
      s.close(() => resolve(port));
    });
  });
}

/** `env` is added to its environment; `config` is the text of a configuration file; `inside` is a command that runs it. */
export async function startParlor(env = {}, { config, inside = [] } = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'parlor-'));
  const port = await freePort();
  const server = { url: `http://127.0.0.1:${port}`, port, dir };
  const file = join(dir, 'parlor.toml');
  if (config !== undefined) writeFileSync(file, config);
  server.start = async () => {
    const clean = Object.fromEntries(Object.entries(process.env).filter(([k]) => !/^(PARLOR_|OPENAI_)/.test(k)));
    const [command, ...words] = [...inside, bin, 'serve'];
    server.process = spawn(command, words, {
      env: {
        ...clean,
        PARLOR_SERVER_LISTEN: `127.0.0.1:${port}`,
        PARLOR_STORE_PATH: join(dir, 'parlor.db'),
        PARLOR_REHEARSAL_ALLOW_SCRIPT: 'true',
        PARLOR_SERVER_MAX_TURN_WAIT: '0', // a test's machine may be slow; what is refused then has tests of its own
        PARLOR_PIPELINES_PATH: new URL('../../pipelines', import.meta.url).pathname,
        ...(config === undefined ? {} : { PARLOR_CONFIG: file }),
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    server.output = '';
    server.log ??= ''; // what it said on standard error, over all its lives
    server.process.stderr.on('data', (d) => {
      server.log += d;
      process.stderr.write(d);
    });
    server.process.stdout.on('data', (d) => (server.output += d));
    server.exited = new Promise((resolve) => server.process.once('exit', (code, signal) => resolve({ code, signal })));
    for (;;) {
      try {
        if ((await fetch(`${server.url}/readyz`)).ok) return;
      } catch {
        if (server.process.exitCode !== null) throw new Error(`parlor ended: ${server.output}`);
      }
      await new Promise((r) => setTimeout(r, 20));
    }
  };
  server.stop = async (signal = 'SIGTERM') => {
    server.process.kill(signal);
    return server.exited;
  };
  server.remove = async () => {
    if (server.process.exitCode === null && server.process.signalCode === null) await server.stop();
    rmSync(dir, { recursive: true, force: true });
  };
  server.post = (path, body, headers = {}) =>
    fetch(server.url + path, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  await server.start();
  return server;
}

/** The blocks of a whole SSE body: [{id, data}], data parsed. */
export function blocks(text) {
  return text
    .split('\n\n')
    .filter((b) => b.includes('data: '))
    .map((b) => {
      const line = (name) => b.split('\n').find((l) => l.startsWith(`${name}: `))?.slice(name.length + 2);
      return { id: line('id'), data: JSON.parse(line('data')) };
    });
}
