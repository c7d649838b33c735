// docs/hard-edges.md, H15, H18, S12, U13: paths that mean something else, no descriptors left, and five hundred streams dropped at once.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import http from 'node:http';
import { connect } from 'node:net';
import { test } from 'node:test';
import { startParlor } from './server.mjs';
import { memoryOf, metric, openStream, until } from './streams.mjs';
import { direct, scriptedModels, talkative } from './upstream.mjs';

/** Sends raw bytes and collects what comes until the server closes. */
function raw(port, bytes) {
  return new Promise((resolve, reject) => {
    let text = '';
    const s = connect(port, '127.0.0.1', () => s.write(bytes));
    s.setTimeout(15000, () => s.destroy(new Error('no end')));
    s.on('data', (d) => (text += d.toString('latin1'))).on('close', () => resolve(text)).on('error', reject);
  });
}

test('H15 no spelling of a path leads to another session, and none is an error of ours', async () => {
  const parlor = await startParlor();
  try {
    for (const id of ['mine', 'Mine', 'x'.repeat(128)])
      assert.equal((await parlor.post('/api/chat', { message: `Hello, I am ${id.slice(0, 9)}`, conversation_id: id })).status, 200);
    const get = async (path) => {
      const text = await raw(parlor.port, Buffer.from(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`, 'latin1'));
      assert.equal(text.match(/HTTP\/1\.1 /g).length, 1, path);
      return { status: Number(text.slice(9, 12)), body: text.slice(text.indexOf('\r\n\r\n') + 4) };
    };
    const there = async (path) => JSON.parse((await get(path)).body).session_id;
    assert.equal(await there('/api/sessions/mine'), 'mine');
    assert.equal(await there('/api/sessions/%6dine'), 'mine'); // another spelling of the same name
    assert.equal(await there('/api/sessions/Mine'), 'Mine'); // another name
    assert.equal(await there(`/api/sessions/${'x'.repeat(128)}`), 'x'.repeat(128));
    for (const path of [
      '/api/sessions/MINE', '/api/sessions/%256dine', '/api/sessions/other/../mine', '/api/sessions/other/%2e%2e/mine', '/api/sessions/./mine',
      '/api/sessions/%2e%2e', '/api/sessions/..', '/api/sessions//mine', '//api/sessions/mine', '/api//sessions/mine', '/api/sessions/mine/',
      '/api/sessions/mine;a=b', '/api/sessions/mine%00', '/api/sessions/%00', '/api/sessions/mine%ff', '/api/sessions/%ff',
      '/api/sessions/%c0%ae%c0%ae', '/api/sessions/mi%6', '/api/sessions/mi%zz', '/api/sessions/%', '/api/sessions/other%2fmine',
      '/api/sessions/other%2f..%2fmine', '/api/sessions/other%5c..%5cmine', '/api/sessions/other\\..\\mine', '/api%2fsessions/mine',
      '/API/sessions/mine', '/api/sessions/mine%20', '/api/sessions/mine%0d%0aX-Forged:%20a', '/api/sessions/mine#a', '/api/sessions/m%u0069ne',
      `/api/sessions/${'x'.repeat(129)}`, `/api/sessions/${'x'.repeat(8000)}`, `/api/sessions/${'%78'.repeat(129)}`, '/../../etc/passwd', '/..',
    ]) {
      const r = await get(path);
      assert.ok(r.status === 400 || r.status === 404, `${path}: ${r.status}`);
      assert.doesNotMatch(r.body, /Hello, I am|X-Forged|root:/, path);
    }
    for (const path of [`/api/sessions/${'x'.repeat(9000)}`]) assert.equal((await get(path)).status, 414);
    assert.equal((await fetch(`${parlor.url}/livez`)).status, 200);
  } finally {
    await parlor.remove();
  }
});

const descriptors = (server) => readdirSync(`/proc/${server.process.pid}/fd`).length;
/** Seconds of processor time that the server has had. */
const busy = (server) => {
  const stat = readFileSync(`/proc/${server.process.pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(stat[11]) + Number(stat[12])) / 100;
};
const lines = (server) => (server.output + server.log).split('\n').length;

test('H18 without descriptors it rests and says little, streams go on, and later it accepts again', async () => {
  const parlor = await startParlor({ PARLOR_REHEARSAL_TOKENS_PER_SECOND: '20' }, { inside: ['prlimit', '--nofile=100'] });
  const late = [];
  try {
    const stream = await openStream(`${parlor.url}/api/chat/stream`, { method: 'POST', body: { message: 'count to 1000' } });
    await stream.has('chunk');
    for (let i = 0; i < 220; i++) {
      const s = connect(parlor.port, '127.0.0.1');
      late.push(s.on('error', () => {}));
      await new Promise((r) => s.once('connect', r).once('close', r)); // the kernel takes them
    }
    await until(() => descriptors(parlor) >= 100, 'no descriptors left');
    const seen = stream.events.length;
    const said = lines(parlor);
    const from = performance.now();
    const used = busy(parlor);
    await until(() => performance.now() - from > 3000, 'three seconds');
    const share = (busy(parlor) - used) / ((performance.now() - from) / 1000);
    assert.ok(share < 0.05, `${share} of a processor`);
    assert.ok(lines(parlor) - said <= 4, 'one line a second at most');
    assert.ok(stream.events.length > seen + 20, 'the stream goes on');
    for (const s of late) s.destroy();
    await until(async () => (await fetch(`${parlor.url}/readyz`).catch(() => ({}))).ok, 'it accepts again');
    assert.equal((await parlor.post('/api/chat', { message: 'count to 2', conversation_id: 'later' })).status, 200);
    stream.leave();
  } finally {
    for (const s of late) s.destroy();
    await parlor.remove();
  }
});

// Asks whether the server is ready, again and again, from a process that does nothing else; each line is the time that took.
const asker = `
  const http = require('node:http');
  const agent = new http.Agent({ keepAlive: true });
  const ask = () => {
    const from = performance.now();
    http.get(process.argv[1] + '/readyz', { agent }, (r) => r.resume().on('end', () => {
      console.log((performance.now() - from).toFixed(2), r.statusCode);
      setTimeout(ask, 2);
    }));
  };
  ask();`;

/** A stream of which only the bytes are counted. */
function counted(url, body) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method: 'POST', agent: false, headers: { 'Content-Type': 'application/json' } }, (answer) => {
      const s = { bytes: 0, leave: () => request.destroy() };
      answer.on('data', (d) => (s.bytes += d.length)).on('error', () => {});
      resolve(s);
    });
    request.on('error', reject).end(JSON.stringify(body));
  });
}

const said = Number(process.env.PARLOR_TEST_SAID ?? 1) * 1024 * 1024; // in each stream before it is dropped

test('S12 U13 five hundred streams at once, and all of them dropped: nothing stands still, and nothing is left', async () => {
  const model = await talkative(said, { ends: false });
  const parlor = await startParlor({
    ...direct, TEST_KEY: 'k', PARLOR_LOG_LEVEL: 'error', PARLOR_SESSION_DISCONNECT_GRACE: '0', PARLOR_SESSION_TURN_MEMORY: '4GiB',
  }, { config: `${scriptedModels(model.base, ['talk'], { provider: 'concurrency = 500' })}[[provider]]\nname = "r"\nkind = "rehearsal"\n[[model]]\nname = "r"\nprovider = "r"\n` });
  const running = async () => metric(parlor, 'parlor_subscribers');
  try {
    assert.equal((await parlor.post('/api/chat', { message: 'count to 3', model: 'r' })).status, 200);
    const baseline = descriptors(parlor);
    let best = Infinity;
    let memory;
    // A busy machine may stop all of us now and then: what clearing up costs would be seen each time.
    for (let round = 0; round < 4 && best >= 100; round++) {
      const streams = await Promise.all(Array.from({ length: 500 }, (_, i) => counted(`${parlor.url}/api/chat/stream`, {
        message: 'talk', model: 'talk', conversation_id: `drop-${round}-${i}`, cancel_on_disconnect: true,
      })));
      await until(() => streams.every((s) => s.bytes > said), 'all has been said', 120000);
      assert.equal(await running(), 500);
      const child = spawn(process.execPath, ['-e', asker, parlor.url], { stdio: ['ignore', 'pipe', 'inherit'] });
      let heard = '';
      child.stdout.on('data', (d) => (heard += d));
      await until(() => heard.split('\n').length > 50, 'the asker is warm');
      const before = heard.length;
      streams.forEach((s) => s.leave());
      await until(async () => (await running()) === 0, 'the streams are gone');
      const tasks = async () => Object.values(await (await fetch(`${parlor.url}/admin/actors`)).json())[0].find((a) => a.kind === 'task').living;
      await until(async () => (await tasks()) === 0, 'no task left');
      await until(() => heard.slice(before).split('\n').length > 120, 'answers meanwhile');
      child.kill();
      const asked = heard.slice(before).trim().split('\n').slice(0, -1).map((l) => l.split(' '));
      assert.ok(asked.every(([, status]) => status === '200'));
      best = Math.min(best, asked.map(([ms]) => Number(ms)).sort((a, b) => a - b)[Math.floor(asked.length * 0.99)]);
      console.log(`# readiness while ${streams.length} streams of ${said} bytes are cleared up: ${best} ms (p99 of ${asked.length}); ${memoryOf(parlor).toFixed(0)} MiB after it`);
      await until(() => descriptors(parlor) <= baseline + 4, 'no descriptor left');
      memory ??= memoryOf(parlor);
      assert.ok(memoryOf(parlor) < memory + 100);
    }
    assert.ok(best < 100, `readiness took ${best} ms`);
    const left = () => spawnSync('sqlite3', ['-readonly', `${parlor.dir}/parlor.db`, 'SELECT count(*) FROM open_task'], { encoding: 'utf8' });
    await until(() => left().stdout.trim() === '0', 'none is open in the store'); // which hears of its end last
  } finally {
    await parlor.remove();
    model.stop();
  }
});
