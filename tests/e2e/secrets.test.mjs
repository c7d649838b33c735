// Logs, metrics and pages for operators say what failed and never what was said, nor a key: also
// when the model's service repeats both in everything it answers.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { entries, eventually, scrape } from './metrics.mjs';
import { startParlor } from './server.mjs';
import { direct } from './upstream.mjs';

// Plain words, such as codes are made of.
const said = { prompt: 'promptcanary5e1', system: 'systemcanary2b7', answer: 'answercanary9c4' };
const keys = { server: 'serverkeycanary3f8', upstream: 'sk-upstreamcanary6a2', wrong: 'wrongkeycanary1d5' };

/** A service that repeats what it was sent wherever it can; the path says how it fails. */
function startParrot() {
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (d) => (body += d)).on('end', () => {
      const mode = request.url.split('/')[1];
      const key = request.headers.authorization.slice('Bearer '.length);
      const all = `${key} ${body}`;
      const error = { error: { message: `wrong: ${all}`, type: said.prompt, param: key, code: mode.includes('key') ? key : said.prompt } };
      const stream = () => response.writeHead(200, said.prompt, { 'Content-Type': 'text/event-stream', 'X-Echo': key });
      const event = (o) => response.write(`data: ${JSON.stringify(o)}\n\n`);
      const piece = (content, finish_reason = null) =>
        event({ id: key, model: said.prompt, system_fingerprint: key, choices: [{ index: 0, delta: { content }, finish_reason }] });
      const status = /^status-(\d+)/.exec(mode);
      if (status) {
        response.writeHead(Number(status[1]), said.prompt, { 'Content-Type': 'application/json', 'Retry-After': said.prompt, 'X-Echo': key });
        response.end(JSON.stringify(error));
      } else if (mode === 'json') {
        response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(error));
      } else if (mode === 'html') {
        response.writeHead(200, { 'Content-Type': 'text/html' }).end(`<h1>${all}</h1>`);
      } else if (mode === 'redirect') {
        response.writeHead(302, { Location: `http://127.0.0.1/${key}/${said.prompt}` }).end(all);
      } else if (mode === 'flood') {
        stream();
        for (let i = 0; i < 400; ++i) piece('x'.repeat(64 * 1024));
        piece('', 'stop');
        response.end('data: [DONE]\n\n');
      } else {
        stream();
        response.write(`: ${all}\n\n`);
        piece(said.answer);
        if (mode === 'error' || mode === 'error-key') event(error);
        if (mode === 'garbage') response.write(`data: {"${all}\n\n`);
        if (mode === 'reason') piece('', said.prompt);
        if (mode === 'ok') piece('', 'stop');
        if (mode === 'reset') return response.destroy();
        response.end(mode === 'ok' ? 'data: [DONE]\n\n' : '');
      }
    });
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

const modes = [
  'ok', 'status-400', 'status-401', 'status-403', 'status-404', 'status-429', 'status-500', 'status-500-key', 'json', 'html', 'redirect',
  'error', 'error-key', 'garbage', 'reason', 'cut', 'reset',
];
let parrot, base;
before(async () => {
  parrot = await startParrot();
  base = `http://127.0.0.1:${parrot.address().port}`;
});
after(() => parrot.close());

const models = (names, url = (name) => `${base}/${name}/v1`) =>
  names.map((m) => `[[provider]]\nname = "of ${m}"\nkind = "openai"\nbase_url = "${url(m)}"\napi_key = "\${UPSTREAM_KEY}"\n` +
    `[[model]]\nname = "${m}"\nprovider = "of ${m}"\n`).join('');
const quick = { ...direct, UPSTREAM_KEY: keys.upstream, PARLOR_TASK_ATTEMPTS: '2', PARLOR_TASK_BACKOFF: '1ms', PARLOR_LOG_LEVEL: 'trace' };

/** Where in the database a word is: the columns. */
function places(server, word) {
  const query = (q) => {
    const r = spawnSync('sqlite3', ['-json', '-readonly', join(server.dir, 'parlor.db'), q], { encoding: 'utf8' });
    assert.equal(r.status, 0, r.stderr);
    return JSON.parse(r.stdout || '[]');
  };
  const columns = query("SELECT m.name AS t, c.name AS c FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'");
  assert.ok(columns.length > 40);
  const found = query(columns.map(({ t, c }) => `SELECT '${t}.${c}' AS at, count(*) AS n FROM "${t}" WHERE instr(CAST("${c}" AS TEXT), '${word}')`).join(' UNION ALL '));
  return found.filter(({ n }) => n > 0).map(({ at }) => at);
}

for (const format of ['json', 'text'])
  test(`A4: no secret and no text of a conversation in what operators see (log.format=${format})`, async () => {
    const parlor = await startParlor({ ...quick, PARLOR_SERVER_KEY: keys.server, PARLOR_LOG_FORMAT: format }, { config: models(modes) });
    try {
      const auth = { Authorization: `Bearer ${keys.server}` };
      const answers = [];
      const keep = async (r) => answers.push(await (await r).text());
      for (const model of modes)
        for (const path of ['/api/chat', '/api/chat/stream'])
          await keep(parlor.post(path, { message: said.prompt, system_prompt: said.system, model, conversation_id: `${model}${path.length}` }, auth));
      // Wrong keys, in every place a key can be in; and what cannot be read.
      for (let i = 0; i < 20; ++i) await keep(fetch(`${parlor.url}/api/sessions`, { headers: { Authorization: `Bearer ${keys.wrong}` } }));
      await keep(fetch(`${parlor.url}/api/sessions?key=${keys.wrong}&token=${keys.server}`));
      await keep(fetch(`${parlor.url}/${keys.wrong}`, { headers: auth }));
      await keep(parlor.post('/api/chat', `{"message": "${said.prompt}`, auth));
      await keep(parlor.post('/api/chat', { message: said.prompt, conversation_id: [said.prompt] }, auth));
      await new Promise((resolve) => {
        const s = connect(parlor.port, '127.0.0.1', () => s.end(`GET /${keys.wrong} HTTP/1.1\r\nHost: a\r\nHost: b\r\nAuthorization: Bearer ${keys.server}\r\n\r\n`));
        s.on('data', (d) => answers.push(String(d))).on('close', resolve);
      });
      // In a text that a client gets there may be what the client or the model said; never a key.
      for (const text of answers) for (const key of Object.values(keys)) assert.ok(!text.includes(key), text);
      // Nor, from failures, what the service said of it.
      for (const text of answers.filter((a) => a.includes('"code"'))) assert.ok(!text.includes('wrong: '), text);

      // What is in memory would be in a core, too.
      assert.match(readFileSync(`/proc/${parlor.process.pid}/limits`, 'utf8'), /^Max core file size +0 +0 /m);
      const seen = [(await scrape(parlor, auth)).text];
      for (const path of ['/admin/actors', '/health', '/readyz', '/livez', '/version'])
        seen.push(await (await fetch(parlor.url + path, { headers: auth })).text());
      const stop = new AbortController();
      const stream = await fetch(`${parlor.url}/admin/actors/stream`, { headers: auth, signal: stop.signal });
      seen.push(new TextDecoder().decode((await stream.body.getReader().read()).value));
      stop.abort();

      for (const key of Object.values(keys)) assert.deepEqual(places(parlor, key), [], key);
      const talk = ['message.content', 'ended_task.content', 'ended_task.text', 'checkpoint.text', 'open_task.said'];
      const only = (word, allowed) => {
        const found = places(parlor, word);
        assert.ok(found.length > 0, `${word} is nowhere`);
        assert.deepEqual(found.filter((at) => !allowed.includes(at)), [], word);
      };
      only(said.prompt, talk);
      only(said.answer, talk);
      only(said.system, ['session_text.system_prompt']);

      await parlor.stop();
      seen.push(parlor.output, parlor.log);
      for (const text of seen)
        for (const word of [...Object.values(said), ...Object.values(keys)])
          assert.ok(!text.includes(word), text.slice(Math.max(0, text.indexOf(word) - 300), text.indexOf(word) + 100));
      for (const f of readdirSync(parlor.dir).filter((n) => n !== 'parlor.toml'))
        for (const key of Object.values(keys)) assert.ok(!readFileSync(join(parlor.dir, f), 'latin1').includes(key), `${key} is in ${f}`);

      // And yet it was said what failed.
      const failed = parlor.output.split('\n').filter((l) => l.includes('task_failed'));
      assert.equal(failed.length, 2 * (modes.length - 1));
      assert.match(failed.find((l) => l.includes('status-429')), /upstream_rate_limited.*HTTP 429/);
      assert.equal(parlor.output.split('\n').filter((l) => l.includes('attempt_failed')).length > 10, true);
      const refused = parlor.output.split('\n').filter((l) => l.includes('access_refused'));
      assert.ok(refused.length >= 1 && refused.length <= 21, `${refused.length}`);
      assert.match(refused[0], /wrong_key/);
      assert.match(refused[0], /127\.0\.0\.1/);
    } finally {
      await parlor.remove();
    }
  });

const odd = [
  'a\r\n{"level":"error","msg":"forged"}', 'x level=error msg=forged', '"quoted\\', '\u001b[31mred\u0007', '\u009b2J', 'line\u2028separator', '\u202eturned',
  'm'.repeat(128), '漢字\u0000',
];
test('A5: a line is a line, whatever a client names its model', async () => {
  for (const format of ['json', 'text']) {
    const config = models(['*'], () => `${base}/status-500/v1`);
    const parlor = await startParlor({ ...quick, PARLOR_TASK_ATTEMPTS: '1', PARLOR_LOG_LEVEL: 'info', PARLOR_LOG_FORMAT: format }, { config });
    try {
      let failed = 0;
      for (const model of odd) {
        const id = 'r'.repeat(8);
        const r = await parlor.post('/api/chat', { message: 'hi', model, conversation_id: 'odd' }, { 'X-Request-Id': id });
        await r.text();
        if (r.status >= 500) ++failed;
        assert.equal(r.headers.get('x-request-id'), id);
        // Not fit to be repeated: it gets another.
        const other = await fetch(`${parlor.url}/livez`, { headers: { 'X-Request-Id': 'a {"level":"error"}' } });
        assert.match(other.headers.get('x-request-id'), /^req_/);
      }
      assert.ok(failed >= 5, `${failed} turns`);
      await parlor.stop();
      const log = parlor.output.slice(parlor.output.indexOf(format === 'json' ? '{' : '\n\n20') + (format === 'json' ? 0 : 2));
      assert.ok(!/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e]/.test(log));
      const lines = log.split('\n').filter((l) => l !== '');
      assert.equal(lines.length, failed + 3); // started, draining, stopped
      if (format === 'json') {
        const of = entries(log).filter((e) => e.msg === 'task_failed');
        assert.equal(of.length, failed);
        for (const e of of) assert.deepEqual([e.level, e.code, e.request_id], ['warn', 'upstream_error', 'rrrrrrrr']);
        assert.ok(of.some((e) => e.model === odd[0]));
      } else {
        for (const l of lines) assert.match(l, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z (info |warn ) (started|draining|stopped|task_failed)( \w+=("([^"\\]|\\.)*"|[^ "=\\]+))*$/);
      }
    } finally {
      await parlor.remove();
    }
  }
});

test('a reader that takes nothing is cut, counted and named', async () => {
  const parlor = await startParlor({ ...quick, PARLOR_SERVER_WRITE_TIMEOUT: '1s' }, { config: models(['flood']) });
  try {
    const body = JSON.stringify({ message: 'hi', model: 'flood', conversation_id: 'slow' });
    const s = connect(parlor.port, '127.0.0.1');
    s.on('error', () => {});
    s.pause();
    s.write(`POST /api/chat/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-Id: slow-one\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    const page = await eventually(async () => {
      const p = await scrape(parlor);
      return p.sum('parlor_subscribers_dropped_total') > 0 && p;
    }, 'it is cut', 60_000);
    s.destroy();
    assert.equal(page.sum('parlor_subscribers_dropped_total', { reason: 'stalled' }), 1);
    await eventually(() => parlor.output.includes('_reader_cut'), 'it is said');
    const [line, ...more] = entries(parlor.output).filter((e) => e.msg.endsWith('_reader_cut'));
    assert.deepEqual(more, []);
    assert.deepEqual([line.level, line.msg, line.request_id, line.remote], ['warn', 'stalled_reader_cut', 'slow-one', '127.0.0.1']);
    // The turn does not end with its reader.
    await eventually(async () => (await scrape(parlor)).sum('parlor_turns_total', { result: 'completed' }) === 1, 'the turn ends', 60_000);
  } finally {
    await parlor.remove();
  }
});
