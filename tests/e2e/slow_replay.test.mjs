// Many who read the past slowly: it is handed out page by page, at the pace of each.
import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { startParlor } from './server.mjs';
import { memoryOf, metric, until } from './streams.mjs';
import { direct, scriptedModels, talkative } from './upstream.mjs';

/**
 * Asks for a stream on a bare connection, as HTTP/1.0: what follows the head is the stream itself. Reads `first` bytes of
 * it and then nothing, so that the rest stays in the kernel or with the server. `rest` reads on and resolves with all of it.
 */
async function slowReader(url, first, headers = {}) {
  const { hostname, port, pathname, search } = new URL(url);
  const socket = net.connect({ port: Number(port), host: hostname });
  const lines = Object.entries({ Host: hostname, ...headers }).map(([k, v]) => `${k}: ${v}\r\n`);
  socket.write(`GET ${pathname}${search} HTTP/1.0\r\n${lines.join('')}\r\n`);
  const parts = [];
  let size = 0;
  const over = new Promise((done) => socket.on('end', () => done('end')).on('error', (e) => done(e.code)));
  await new Promise((enough) => {
    socket.on('data', (d) => {
      parts.push(d);
      size += d.length;
      if (size < first) return;
      socket.pause();
      first = Infinity; // once
      enough();
    });
  });
  return {
    async rest() {
      socket.resume();
      assert.equal(await over, 'end');
      const all = Buffer.concat(parts).toString();
      const at = all.indexOf('\r\n\r\n') + 4;
      assert.match(all.slice(0, at), /^HTTP\/1\.[01] 200 /);
      return all.slice(at).replaceAll(/^: ka\n/gm, '');
    },
    leave: () => socket.destroy(),
  };
}

/** Nothing is sent any more: the slow have all that the kernel takes for them. */
async function still(server) {
  let before = -1;
  await until(async () => {
    await new Promise((r) => setTimeout(r, 300));
    const now = await metric(server, 'parlor_subscribers');
    const sent = memoryOf(server);
    const same = before === `${now} ${sent.toFixed(0)}`;
    before = `${now} ${sent.toFixed(0)}`;
    return same;
  }, 'quiet');
}

const size = 12 * 1024 * 1024;

/** A server with a session whose only task has ended with so much text. */
async function withLongTask(run) {
  const model = await talkative(size);
  const config = scriptedModels(model.base, ['talk']);
  const parlor = await startParlor({ PARLOR_SERVER_WRITE_TIMEOUT: '10m', PARLOR_LOG_LEVEL: 'error', TEST_KEY: 'k', ...direct }, { config });
  try {
    const made = await parlor.post('/api/generate-async', { prompt: 'talk', conversationId: 'long', model: 'talk' });
    const { taskId } = await made.json();
    await until(async () => (await (await fetch(`${parlor.url}/api/sessions/long`)).json()).state === 'idle', 'its end');
    await run(parlor, taskId, model.text);
  } finally {
    await parlor.remove();
    model.stop();
  }
}

test('S4 twenty who stop reading the past of a long task cost little, and each gets all of it', async () => {
  await withLongTask(async (parlor, task, text) => {
    const url = `${parlor.url}/api/tasks/${task}/events`;
    const whole = await (await slowReader(url, 1)).rest(); // and what one reader needs has been allocated
    const told = whole.split('\n\n').filter((b) => b.includes('"chunk"'));
    assert.ok(told.map((b) => JSON.parse(b.slice(b.indexOf('data: ') + 6)).content).join('') === text, 'the whole text');
    const before = memoryOf(parlor);
    let least = Infinity;
    // What the allocator happens to keep or to give back is tens of MiB, from round to round; what is held for the
    // readers is there in each.
    for (let round = 0; round < 3; ++round) {
      const slow = await Promise.all(Array.from({ length: 20 }, () => slowReader(url, 100_000)));
      await still(parlor);
      const more = memoryOf(parlor) - before;
      least = Math.min(least, more);
      console.log(`# ${before.toFixed(0)} MiB, ${more.toFixed(1)} MiB more for 20 slow readers`);
      assert.equal(await metric(parlor, 'parlor_subscribers'), 20);
      for (const s of slow) assert.ok((await s.rest()) === whole, 'the same bytes for everybody');
      console.log(`# at the end ${(memoryOf(parlor) - before).toFixed(1)} MiB more`);
      await until(async () => (await metric(parlor, 'parlor_subscribers')) === 0, 'no subscribers');
    }
    assert.ok(least < 60 || process.env.ASAN_OPTIONS, /* it keeps what is freed */ `${least.toFixed(1)} MiB more`);
  });
});
