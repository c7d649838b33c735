// Clients that stop reading: nobody else is held up, memory stays bounded, and nothing is lost.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { bin, blocks, startParlor } from './server.mjs';
import { assertInOrder, memoryOf, metric, openStream, textOf, until } from './streams.mjs';
import { direct, scriptedModels, talkative } from './upstream.mjs';

/** A turn that waits behind one that says nothing, so that watchers can be there before its first word. */
async function held(server, id, body) {
  const first = await (await server.post('/api/generate-async', { prompt: 'x', conversationId: id, rehearsal: 'hang', model: 'mute' })).json();
  const speaker = await openStream(`${server.url}/api/chat/stream`, { method: 'POST', body: { conversation_id: id, ...body } });
  await speaker.has('start');
  return {
    speaker,
    url: `${server.url}/api/tasks/${speaker.events[0].data.task_id}/events`,
    go: () => fetch(`${server.url}/api/generate-async/${first.taskId}`, { method: 'DELETE' }),
  };
}

/** A model beside those of a test, for held(). */
const mute = '[[provider]]\nname = "r"\nkind = "rehearsal"\n[[model]]\nname = "mute"\nprovider = "r"\n';

const dropped = (server, reason) => metric(server, `parlor_subscribers_dropped_total{reason="${reason}"}`);

test('S4 who stops in the middle holds up nobody, costs little, and gets the rest in larger pieces', async () => {
  const parlor = await startParlor({ PARLOR_SERVER_WRITE_TIMEOUT: '10m', PARLOR_LOG_LEVEL: 'error' });
  const words = 140000; // a piece each: more than the kernel takes for a connection, and not too far to catch up with
  try {
    const once = await (await parlor.post('/api/chat', { message: `write ${words} words` })).json();
    const memory = memoryOf(parlor); // with what one such turn needs
    const turn = await held(parlor, 'slow', { message: `write ${words} words` });
    const slow = await Promise.all(Array.from({ length: 100 }, () => openStream(turn.url, { stopAt: 50 })));
    await turn.go();
    assert.equal(await turn.speaker.over, 'end');
    assert.equal(turn.speaker.events.at(-1).data.content, once.response);
    assert.equal(textOf(turn.speaker.events), once.response);
    assert.equal((await (await parlor.post('/api/chat', { message: 'count to 3' })).json()).response, '1 2 3');
    assert.ok(slow.every((s) => s.types().at(-1) === 'chunk'), 'they were to stop before the end');
    const more = memoryOf(parlor) - memory;
    assert.ok(more < 100 || process.env.ASAN_OPTIONS, /* it keeps what is freed */ `${more} MiB more`);
    for (const s of slow.splice(8)) s.leave(); // what the kernel holds for all of them would take a while
    for (const s of slow) s.resume();
    for (const s of slow) {
      assert.equal(await s.over, 'end');
      assert.equal(textOf(s.events), once.response);
      assertInOrder(s.events);
      assert.equal(s.types().at(-1), 'done');
      assert.ok(s.events.length < words, 'what was missed was to be merged');
    }
    await until(async () => (await metric(parlor, 'parlor_subscribers')) === 0, 'no subscribers');
  } finally {
    await parlor.remove();
  }
});

/** Reads the rest of a stream from where this one was left; all its events, as one client saw them. */
async function comeBack(url, left) {
  const again = await openStream(url, { headers: { 'Last-Event-ID': left.last() } });
  assert.equal(again.status, 200);
  assert.equal(await again.over, 'end');
  return [...left.events, ...again.events];
}

test('S4 who takes no byte for server.write_timeout is cut, and comes back for the rest', async () => {
  const model = await talkative(12 * 1024 * 1024); // more than the kernel takes
  const config = scriptedModels(model.base, ['talk']) + mute;
  const parlor = await startParlor({ PARLOR_SERVER_WRITE_TIMEOUT: '1s', PARLOR_LOG_LEVEL: 'error', TEST_KEY: 'k', ...direct }, { config });
  try {
    const turn = await held(parlor, 'stalled', { message: 'talk', model: 'talk' });
    const slow = await openStream(turn.url, { stopAt: 3 });
    await turn.go();
    await until(async () => (await dropped(parlor, 'stalled')) === 1, 'cut');
    slow.resume();
    assert.equal(await slow.over, 'cut');
    assert.equal(await turn.speaker.over, 'end');
    const all = await comeBack(turn.url, slow);
    assert.ok(textOf(all) === model.text, 'the whole text, once');
    assert.ok(all.at(-1).data.content === model.text);
    assertInOrder(all);
  } finally {
    await parlor.remove();
    model.stop();
  }
});

test('S5 a client whose process is stopped is cut as well, and goes on after it', async () => {
  const model = await talkative(12 * 1024 * 1024);
  const config = scriptedModels(model.base, ['talk']) + mute;
  const parlor = await startParlor({ PARLOR_SERVER_WRITE_TIMEOUT: '1s', PARLOR_LOG_LEVEL: 'error', TEST_KEY: 'k', ...direct }, { config });
  try {
    const turn = await held(parlor, 'asleep', { message: 'talk', model: 'talk' });
    const curl = spawn('curl', ['-sN', turn.url], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = new Promise((r) => curl.once('close', r));
    let text = '';
    curl.stdout.setEncoding('utf8').on('data', (d) => (text += d));
    await until(() => text.includes('\n\n'), 'its first event');
    curl.kill('SIGSTOP');
    await turn.go();
    await until(async () => (await dropped(parlor, 'stalled')) === 1, 'cut');
    assert.equal(await turn.speaker.over, 'end');
    await until(async () => (await metric(parlor, 'parlor_subscribers')) === 0, 'nothing is kept for it');
    curl.kill('SIGCONT');
    assert.notEqual(await ended, 0); // it knows that this was not the end
    const events = blocks(text.slice(0, text.lastIndexOf('\n\n') + 2));
    const all = await comeBack(turn.url, { events, last: () => events.at(-1).id });
    assert.ok(textOf(all) === model.text, 'the whole text, once');
    assertInOrder(all);
  } finally {
    await parlor.remove();
    model.stop();
  }
});

test('S4 who is far behind is not cut: it goes on page by page', async () => {
  const model = await talkative(12 * 1024 * 1024);
  const config = scriptedModels(model.base, ['talk']) + mute;
  const parlor = await startParlor({ PARLOR_SERVER_WRITE_TIMEOUT: '10m', PARLOR_LOG_LEVEL: 'error', TEST_KEY: 'k', ...direct }, { config });
  try {
    const turn = await held(parlor, 'behind', { message: 'talk', model: 'talk' });
    const slow = await openStream(turn.url, { stopAt: 3 });
    const poll = `${parlor.url}/api/generate-async/${turn.speaker.events[0].data.task_id}`;
    await turn.go();
    await until(async () => (await (await fetch(poll)).json()).status === 'completed', 'its end');
    slow.resume();
    assert.equal(await slow.over, 'end');
    assert.ok(textOf(slow.events) === model.text, 'the whole text, once');
    assertInOrder(slow.events);
    assert.equal(slow.types().at(-1), 'done');
  } finally {
    await parlor.remove();
    model.stop();
  }
});

// A peer of which nothing more is heard, and whose network swallows what it is sent: a machine of its own, so to say.
const network = `
  unshare -n sleep 600 & there=$!
  until [ $(readlink /proc/$there/ns/net) != $(readlink /proc/$$/ns/net) ]; do sleep 0.05; done
  ip link add va type veth peer name vb netns $there
  ip link set lo up; ip addr add 10.9.9.1/24 dev va; ip link set va up
  inside() { nsenter -t $there -n "$@"; }
  inside ip link set vb address 02:00:00:00:00:02; inside ip addr add 10.9.9.2/24 dev vb; inside ip link set vb up
  ip neigh replace 10.9.9.2 lladdr 02:00:00:00:00:02 dev va nud permanent`;
const possible = spawnSync('unshare', ['-rn', 'sh', '-ec', `${network}\nkill $there`], { timeout: 10000 }).status === 0;

test('S5 who has vanished without a goodbye is noticed', { skip: !possible && 'needs network namespaces (unshare -rn)' }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'parlor-vanished-'));
  writeFileSync(join(dir, 'client.mjs'), `
    import { connect } from 'node:net';
    const s = connect(8080, '10.9.9.1', () => s.write('POST /api/chat/stream HTTP/1.1\\r\\nHost: parlor\\r\\nAuthorization: Bearer a-key-of-16-or-more\\r\\n' +
      'Content-Type: application/json\\r\\nContent-Length: 35\\r\\n\\r\\n{"message":"hi","rehearsal":"hang"}'));
    s.on('error', () => {}).once('data', () => console.log('watching.'));`);
  const env = {
    ...direct,
    PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
    PARLOR_SERVER_LISTEN: '10.9.9.1:8080',
    PARLOR_SERVER_KEY: 'a-key-of-16-or-more',
    PARLOR_STORE_PATH: join(dir, 'parlor.db'),
    PARLOR_LOG_LEVEL: 'error',
    PARLOR_REHEARSAL_ALLOW_SCRIPT: 'true',
  };
  const shell = spawn('unshare', ['-rn', 'sh'], { stdio: ['pipe', 'pipe', 'inherit'], cwd: dir, env, detached: true });
  const gone = new Promise((r) => shell.once('exit', r));
  let said = '';
  shell.stdout.on('data', (d) => (said += d));
  const tell = (line) => shell.stdin.write(`${line}\n`);
  const hear = (word, limit) => until(() => said.includes(`${word}.\n`), word, limit);
  try {
    tell(`${network}\n${bin} serve & parlor=$!`);
    tell('ask() { curl -s -H "Authorization: Bearer a-key-of-16-or-more" 10.9.9.1:8080/metrics | grep -E "^(parlor_subscribers|parlor_http_connections) "; }');
    tell('until ask; do sleep 0.05; done; echo ready.');
    await hear('ready');
    tell(`nsenter -t $there -n ${process.execPath} client.mjs & client=$!`);
    await hear('watching');
    tell('inside ip addr del 10.9.9.2/24 dev vb; ask; echo vanished.');
    await hear('vanished');
    assert.match(said, /^parlor_subscribers 1$/m);
    const from = Date.now();
    tell('until ask | grep "subscribers 0"; do sleep 0.2; done; ask; echo noticed.');
    await hear('noticed', 120000);
    assert.ok(Date.now() - from < 45000); // a comment or keepalive after 10 s, unacknowledged for 32 s
    assert.match(said.slice(said.indexOf('vanished')), /^parlor_http_connections 1$/m); // that of the question
  } finally {
    process.kill(-shell.pid, 'SIGKILL'); // with all that it has started
    await gone;
    rmSync(dir, { recursive: true, force: true });
  }
});
