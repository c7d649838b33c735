// A disk without room: nothing is promised that cannot be kept, what is there is served, and all goes on when there is room.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { blocks, startParlor } from './server.mjs';
import { metric, openStream, textOf, until } from './streams.mjs';

const settings = { PARLOR_LOG_LEVEL: 'error', PARLOR_REHEARSAL_TOKENS_PER_SECOND: '100' };
const get = async (server, path, headers) => (await fetch(server.url + path, { headers })).json();

/** No file of the process may grow, and none may be written beyond its first byte. */
async function byLimit() {
  const server = await startParlor(settings);
  const limit = (bytes) => {
    const r = spawnSync('prlimit', ['--pid', server.process.pid, `--fsize=${bytes}:`], { encoding: 'utf8' });
    assert.equal(r.status, 0, r.stderr);
  };
  return {
    server,
    path: join(server.dir, 'parlor.db'),
    check: spawnSync,
    fill: () => limit(1),
    free: () => limit('unlimited'),
    remove: () => {},
  };
}

/** A small disk of its own, which somebody else fills. */
async function byDisk() {
  const dir = mkdtempSync(join(tmpdir(), 'parlor-disk-'));
  const mount = `mount -t tmpfs -o size=2m none ${dir}; echo mounted; exec sleep 600`;
  const keeper = spawn('unshare', ['-rm', 'sh', '-ec', mount], { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((r) => keeper.stdout.once('data', r));
  const inside = ['nsenter', '-t', `${keeper.pid}`, '-U', '-m', '--preserve-credentials'];
  const check = (command, words, options) => spawnSync(inside[0], [...inside.slice(1), command, ...words], options);
  const path = join(dir, 'parlor.db');
  const server = await startParlor({ ...settings, PARLOR_STORE_PATH: path }, { inside });
  const ballast = join(dir, 'ballast');
  return {
    server, path, check,
    fill: () => check('sh', ['-c', `cat /dev/zero >> ${ballast}`], { stdio: 'ignore' }),
    free: () => check('rm', [ballast]),
    remove: () => {
      keeper.kill('SIGKILL');
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
const mountable = spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0;

for (const [name, make, skip] of [
  ['D5 files that may not grow', byLimit, false],
  ['D5 a full disk', byDisk, !mountable && 'needs mount namespaces (unshare -rm)'],
])
  test(`${name}: refusals, reads, turns under way, room again, and a restart`, { skip }, async () => {
    const { server, path, fill, free, check, remove } = await make();
    try {
      const kept = await (await server.post('/api/chat', { message: 'Hello, I am Zhang San', conversation_id: 'kept' })).json();
      const running = await openStream(`${server.url}/api/chat/stream`, { method: 'POST', body: { message: 'count to 200', conversation_id: 'running' } });
      await running.has('chunk');
      fill();
      const refused = await until(async () => {
        const r = await server.post('/api/chat', { message: 'x'.repeat(20000), conversation_id: 'new' });
        return r.status === 507 ? r : void assert.equal(r.status, 200);
      }, 'full');
      assert.ok(Number(refused.headers.get('retry-after')) > 0);
      assert.match(refused.headers.get('content-type'), /^application\/problem\+json/);
      assert.equal((await refused.json()).code, 'store_full');
      const size = 'x'.repeat(1000000); // no gap on the disk is as large
      for (const id of ['kept', 'another']) {
        const stream = await server.post('/api/chat/stream', { message: size, conversation_id: id });
        assert.equal(stream.status, 507);
        const task = await server.post('/api/generate-async', { prompt: size, conversationId: id });
        assert.equal(task.status, 507);
        const { success, code } = await task.json();
        assert.deepEqual([success, code], [false, 'store_full']);
      }
      assert.equal((await fetch(`${server.url}/api/sessions/another`)).status, 404); // as if it had never been asked for
      assert.equal((await get(server, '/api/sessions/kept')).message_count, 2);

      // What is there is served.
      assert.equal((await fetch(`${server.url}/readyz`)).status, 200);
      assert.equal((await get(server, '/health')).status, 'healthy');
      assert.equal((await get(server, '/api/sessions/kept/messages')).messages[1].content, 'Hello Zhang San!');
      assert.ok((await get(server, '/api/sessions')).sessions.some((s) => s.session_id === 'kept'));
      assert.equal((await get(server, `/api/generate-async/${kept.task_id}`)).status, 'completed');
      const again = blocks(await (await fetch(`${server.url}/api/tasks/${kept.task_id}/events`)).text());
      assert.equal(textOf(again), 'Hello Zhang San!');
      assert.equal(again.at(-1).data.type, 'done');

      // The turn under way says all it has to say; that it is over is told when that is on the disk.
      await until(() => textOf(running.events).endsWith(' 200'), 'its last word');
      if (make === byLimit) {
        assert.equal((await fetch(`${server.url}/api/sessions/kept`, { method: 'DELETE' })).status, 507);
        await until(async () => (await metric(server, 'parlor_journal_errors_total{op="commit"}')) > 9, 'tries');
        assert.equal(running.types().at(-1), 'chunk');
        assert.equal((await get(server, '/api/sessions/kept')).message_count, 2); // still there
      }
      assert.equal(server.process.exitCode, null);

      free();
      assert.equal(await running.over, 'end');
      const counted = Array.from({ length: 200 }, (_, i) => i + 1).join(' ');
      assert.equal(textOf(running.events), counted);
      const { type, content } = running.events.at(-1).data;
      assert.deepEqual([type, content], ['done', counted]);
      for (const [id, knows] of [['kept', /Zhang San/], ['another', /know your name/], ['running', /know your name/]]) {
        const r = await server.post('/api/chat', { message: 'What is my name?', conversation_id: id });
        assert.match((await r.json()).response, knows);
      }
      assert.ok((await metric(server, 'parlor_journal_errors_total{op="commit"}')) > 0);

      // And the next process finds it all.
      assert.deepEqual(await server.stop(), { code: 0, signal: null });
      assert.equal(check('sqlite3', [path, 'PRAGMA integrity_check'], { encoding: 'utf8' }).stdout, 'ok\n');
      await server.start();
      const { messages } = await get(server, '/api/sessions/running/messages');
      assert.deepEqual(messages.slice(0, 2).map((m) => [m.content, m.partial]), [['count to 200', false], [counted, false]]);
      assert.equal((await get(server, '/api/sessions/kept/messages')).messages.length, 4);
      assert.equal((await fetch(`${server.url}/api/sessions/kept`, { method: 'DELETE' })).status, 200);
    } finally {
      await server.remove();
      remove();
    }
  });

test('D5 killed on a full disk: the next process serves what is there, and ends what was begun once there is room',
  { skip: !mountable && 'needs mount namespaces (unshare -rm)' }, async () => {
    const { server, fill, free, remove } = await byDisk();
    try {
      await server.post('/api/chat', { message: 'Hello, I am Zhang San', conversation_id: 'kept' });
      const { taskId } = await (await server.post('/api/generate-async', { prompt: 'count to 200' })).json();
      fill();
      await server.stop('SIGKILL');
      await server.start();
      assert.equal((await get(server, '/api/sessions/kept/messages')).messages[1].content, 'Hello Zhang San!');
      assert.equal((await get(server, `/api/generate-async/${taskId}`)).status, 'running');
      free();
      const end = await until(async () => {
        const task = await get(server, `/api/generate-async/${taskId}`);
        return task.status !== 'running' && task;
      }, 'its end');
      assert.equal(end.status, 'completed');
      assert.match(end.result.content, /^1 2 3 .* 200$/);
    } finally {
      await server.remove();
      remove();
    }
  });
