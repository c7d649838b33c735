// docs/hard-edges.md, A4: secrets in places where they are not looked for first. secrets.test.mjs has keys and conversations
// of chats; here are addresses, tickets, callbacks, pipelines and WebSockets.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import http from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { entries, scrape } from './metrics.mjs';
import { startParlor } from './server.mjs';
import { openSocket } from './sockets.mjs';
import { openStream, until } from './streams.mjs';
import { direct } from './upstream.mjs';

const base64 = (text) => Buffer.from(text).toString('base64');
const base64url = (text) => Buffer.from(text).toString('base64url');
const secrets = {
  server: 'serverkeycanary7d1e', upstream: 'sk-upstreamcanary2c9b', wrong: 'wrongkeycanary8a3f', ticket: 'ticketcanary5b7d', cookie: 'cookiecanary1f6a',
  basic: 'basiccanary9e2c', referer: 'referercanary3d8b', target: 'targetcanary6f4e', address: 'addresscanary4a1c', query: 'querycanary8e5d',
  proxy: 'proxycanary2b6f', token: 'tokencanary7c3a',
};
const said = { asked: 'askedcanary5d9e', answered: 'answeredcanary1c7b', wish: 'wishcanary6e2a', plan: 'plancanary3f8d', excuse: 'excusecanary9b4c' };
const all = [...Object.values(secrets), ...Object.values(said)].flatMap((s) => [s, base64url(s), base64url(`user:${s}`)]);

/** A service of both kinds, and a proxy that lets nobody through, that repeats all it was sent wherever it can; the path says how it fails. */
const heard = [];
const parrot = http.createServer(async (request, response) => {
  const words = `${JSON.stringify(request.headers)} ${request.url} ${Buffer.concat(await request.toArray())}`;
  const mode = request.headers['proxy-authorization'] ? '407' : request.url.split('/')[1].split('?')[0];
  heard.push(words);
  const echo = { 'X-Echo': secrets.upstream, 'WWW-Authenticate': `Basic realm="${secrets.upstream}"`, Location: `http://127.0.0.1/${secrets.upstream}` };
  const error = JSON.stringify({ error: { message: words, code: secrets.upstream, type: words.slice(0, 50) } });
  if (mode === 'cut') return request.socket.destroy();
  if (/^\d+$/.test(mode)) return response.writeHead(Number(mode), secrets.upstream, { ...echo, 'Content-Type': 'application/json' }).end(error);
  response.writeHead(200, { ...echo, 'Content-Type': 'text/event-stream' });
  const event = (text) => response.write(`data: ${text}\n\n`);
  const piece = (content, finish_reason = null) => event(JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason }] }));
  piece(`${mode === 'valid' ? '' : 'not JSON: '}{"${said.answered}": 1}`);
  if (mode === 'error') event(error);
  else piece('', 'stop');
  response.end('data: [DONE]\n\n');
});
parrot.on('connect', (request, socket) => {
  heard.push(JSON.stringify(request.headers));
  const echo = `Proxy-Authenticate: Basic realm="${secrets.proxy}"\r\nX-Echo: ${request.headers['proxy-authorization']}\r\n`;
  socket.on('error', () => {}).end(`HTTP/1.1 407 ${secrets.proxy}\r\n${echo}Content-Length: ${secrets.proxy.length}\r\n\r\n${secrets.proxy}`);
});
const modes = ['401', '400', '500', 'cut', 'error', 'prose', 'valid'];
let base, config;
before(async () => {
  await new Promise((r) => parrot.listen(0, '127.0.0.1', r));
  base = `127.0.0.1:${parrot.address().port}`;
  const provider = (name, address) => `[[provider]]\nname = "of ${name}"\nkind = "openai"\nbase_url = "${address}"\napi_key = "\${UPSTREAM_KEY}"\n` +
    `[[model]]\nname = "${name}"\nprovider = "of ${name}"\n`;
  const user = `http://user:${secrets.address}`;
  config = modes.map((m) => provider(m, `${user}@${base}/${m}/v1`)).join('') + provider('nowhere', `${user}@127.0.0.1:1/v1`);
});
after(() => {
  parrot.close();
  parrot.closeAllConnections();
});

const common = {
  ...direct, UPSTREAM_KEY: secrets.upstream, PARLOR_SERVER_KEY: secrets.server, PARLOR_TASK_ATTEMPTS: '2', PARLOR_TASK_BACKOFF: '1ms',
  PARLOR_LOG_LEVEL: 'trace', PARLOR_LOG_FORMAT: 'json',
};
const auth = { Authorization: `Bearer ${secrets.server}` };

/** A server for `use`; afterwards none of the words is in what operators see, nor a secret in its files. Gives the log. */
async function watched(env, use, text = config) {
  const parlor = await startParlor({ ...common, ...env }, { config: text });
  try {
    const answers = []; // of errors: there may be what the client has said, but no secret
    const keep = async (answer) => {
      const r = await answer;
      const body = await r.text();
      answers.push(`${r.status} ${JSON.stringify([...r.headers])} ${body}`);
      return { status: r.status, body };
    };
    const more = (await use(parlor, keep)) ?? [];
    const forbidden = [...all, ...more];
    for (const answer of answers) for (const s of Object.values(secrets)) assert.ok(!answer.includes(s) && !answer.includes(base64url(s)), answer);
    const seen = [(await scrape(parlor, auth)).text];
    for (const path of ['/admin/actors', '/health', '/readyz', '/livez', '/version', '/api/plan/stats', '/api/sessions?limit=1000', '/openapi.json', '/docs'])
      seen.push(await (await fetch(parlor.url + path, { headers: auth })).text());
    const page = await openStream(`${parlor.url}/admin/actors/stream`, { headers: auth });
    assert.equal(page.status, 200);
    await until(() => page.events.length > 0, 'the page of actors');
    page.leave();
    seen.push(JSON.stringify(page.events));
    await parlor.stop();
    assert.ok(parlor.output.length > 0);
    seen.push(parlor.output, parlor.log);
    for (const t of seen)
      for (const word of forbidden) assert.ok(!t.includes(word), `${word}: ${t.slice(Math.max(0, t.indexOf(word) - 300), t.indexOf(word) + 100)}`);
    for (const f of readdirSync(parlor.dir).filter((n) => n !== 'parlor.toml'))
      for (const word of [...Object.values(secrets), ...more]) assert.ok(!readFileSync(join(parlor.dir, f), 'latin1').includes(word), `${word} is in ${f}`);
    return entries(parlor.output);
  } finally {
    await parlor.remove();
  }
}
test('A4 keys and tickets that are offered in any place are nowhere, neither the right one nor others', async () => {
  const log = await watched({}, async (parlor, keep) => {
    const queries = ['ticket', 'key', 'token', 'access_token', 'api_key', 'authorization'].map((n) => `?${n}=${secrets.ticket}&${n}=${secrets.server}`);
    const headers = [
      { Authorization: `Bearer ${secrets.wrong}` }, { Authorization: secrets.wrong }, { Authorization: `Basic ${base64(`user:${secrets.basic}`)}` },
      { Authorization: `Bearer ${secrets.server}${secrets.wrong}` }, { Cookie: `session=${secrets.cookie}; key=${secrets.server}` },
      { 'X-Api-Key': secrets.server }, { 'Proxy-Authorization': `Basic ${base64(`user:${secrets.basic}`)}` },
      { Referer: `http://127.0.0.1/?token=${secrets.referer}`, Origin: `http://${secrets.referer}.example` },
    ];
    for (const path of ['/api/sessions', '/api/chat', '/api/chat/stream', '/ws/learning', '/api/plan/stream', '/metrics', '/admin/actors', '/nothing'])
      for (const method of ['GET', 'POST'])
        for (const [query, of] of [...queries.map((q) => [q, {}]), ...headers.map((h) => ['', h])]) {
          const { status } = await keep(fetch(parlor.url + path + query, { method, headers: of }));
          assert.ok(status >= 400 && status < 500, `${method} ${path}${query} ${JSON.stringify(of)}: ${status}`);
        }
    // With the right key and a secret beside it, right and wrong.
    const beside = { ...auth, Cookie: secrets.cookie, Referer: `http://127.0.0.1/${secrets.referer}` };
    for (const q of queries) await keep(fetch(`${parlor.url}/api/sessions${q}`, { headers: beside }));
    for (const q of queries) await keep(fetch(`${parlor.url}/api/tasks/${secrets.ticket}/events${q}`, { headers: auth }));
    const offer = (key) => ({ protocols: ['learning', `bearer.${base64url(key)}`] });
    const wrong = { headers: { Authorization: `Bearer ${secrets.wrong}` } };
    for (const options of [offer(secrets.wrong), { query: `&ticket=${secrets.ticket}&key=${secrets.server}` }, wrong]) {
      const refused = await openSocket(parlor, 'w', options).catch((e) => e);
      assert.equal(refused.status, 401);
      await keep(new Response(refused.body, { status: 401 }));
    }
    const socket = await openSocket(parlor, 'w', { ...offer(secrets.server), query: `&ticket=${secrets.ticket}` });
    const odd = `{"type":"question","content":"${said.asked}","request_id":5}`;
    for (const text of [`{"type":"${secrets.ticket}"}`, `{"${secrets.ticket}`, odd]) socket.send(text);
    await until(() => socket.seen.length === 3, 'three errors');
    await keep(new Response(JSON.stringify(socket.seen)));
    await socket.leave();
    // Requests that are refused before they are understood.
    for (const head of [
      `GET http://user:${secrets.target}@127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n`, `GET /?ticket=${secrets.target} HTTP/1.1\r\nHost: a\r\nHost: b\r\n`,
      `${secrets.target} / HTTP/1.1\r\nHost: 127.0.0.1\r\n`,
      `GET / HTTP/1.1\r\nHost: ${secrets.target}\r\nAuthorization: Bearer ${secrets.server}\r\nX: \u0001\r\n`,
    ])
      await new Promise((resolve) => {
        let text = '';
        const s = connect(parlor.port, '127.0.0.1', () => s.end(`${head}Connection: close\r\n\r\n`));
        s.on('data', (d) => (text += d)).on('close', () => resolve(keep(new Response(text))));
      });
  });
  const refused = log.filter((l) => l.msg === 'access_refused');
  assert.ok(refused.length >= 1);
  for (const l of refused) assert.match(l.reason, /^(no_key|wrong_key|forbidden_origin)$/);
});

/** A model that fails in this way is the default, at an address with a password. */
const defaultTo = (model) => config.replace(`name = "${model}"\nprovider`, `name = "${model}"\ndefault = true\nprovider`);
const count = (log, msg) => log.filter((l) => l.msg === msg).length;

for (const model of [...modes, 'nowhere'])
  test(`A4 addresses with passwords, and what is said in a pipeline and on a WebSocket (${model})`, async () => {
    const spoken = ['error', 'prose', 'valid'].includes(model); // what was said is shown then
    const log = await watched({}, async (parlor, keep) => {
      const wishes = { learning_goal: said.wish, available_hours_per_week: 1, motivation: said.asked };
      for (const path of ['/api/v1/roadmaps/generate', '/api/v1/roadmaps/generate-stream']) {
        const { body } = await keep(parlor.post(path, { user_id: said.wish, session_id: `p-${path.length}`, preferences: wishes }, auth));
        if (!spoken) for (const word of Object.values(said)) assert.ok(!body.includes(word), body); // what the service says of its failure
      }
      const socket = await openSocket(parlor, 'pupil', { headers: auth });
      socket.ask(said.asked, 'q', { system_prompt: said.wish });
      const end = await until(() => socket.of('q').find((m) => ['error', 'done'].includes(m.type)), 'an end');
      assert.equal(end.type, ['prose', 'valid'].includes(model) ? 'done' : 'error');
      await keep(new Response(JSON.stringify(socket.seen)));
      await socket.leave();
    }, defaultTo(model));
    assert.equal(count(log, 'task_failed'), ['prose', 'valid'].includes(model) ? 2 : 3); // and yet it was said what failed
    if (model === 'prose') assert.ok(count(log, 'answer_refused') >= 2);
  });

test('A4 a proxy that asks for a password, and has it in its address', async () => {
  for (const way of [`http://user:${secrets.proxy}@${base}`, `http://user:${secrets.proxy}@127.0.0.1:1`])
    for (const [name, scheme] of [['http_proxy', 'http'], ['https_proxy', 'https']]) {
      const text = defaultTo('500').replaceAll(`http://user:${secrets.address}@${base}`, `${scheme}://user:${secrets.address}@api.example.test`);
      const log = await watched({ [name]: way }, async (parlor, keep) => {
        const { status } = await keep(parlor.post('/api/chat', { message: said.asked }, auth));
        assert.ok(status >= 500, `${status}`);
      }, text);
      assert.equal(count(log, 'task_failed'), 1);
    }
  assert.equal(heard.filter((h) => h.includes(base64(`user:${secrets.proxy}`))).length, 3); // a 407 is asked for once, a tunnel twice
});

test('A4 a service that calls back: its address, its tokens, and what both sides say', async () => {
  for (const mode of ['202', '500', '400', 'cut']) {
    const address = `http://user:${secrets.address}@${base}/${mode}?token=${secrets.query}`;
    const log = await watched({ EXTERNAL_API_URL: address, PARLOR_PLAN_RESULT_TIMEOUT: mode === '202' ? '3m' : '5s' }, async (parlor, keep) => {
      const page = await openStream(`${parlor.url}/api/plan/stream?sessionId=page`, { headers: auth });
      const started = await (await parlor.post('/api/plan/generate', { sessionId: 'page', request: { topic: said.wish } }, auth)).json();
      const token = new URL(started.callbackUrl).searchParams.get('token');
      const at = (t, id = 'page') => `${parlor.url}/api/plan/update?sessionId=${id}&token=${t}`;
      const post = (url, body) => keep(fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body }));
      const plan = JSON.stringify({ data: { title: said.plan } });
      if (mode !== '202') await page.has('error');
      for (const [url, body, status] of [
        [at(secrets.token), plan, 403], [at(`${token}${secrets.token}`), plan, 403], [at(token, 'other'), plan, 404], [at(token), `{"${said.plan}`, 400],
        [at(token), JSON.stringify({ data: 'x'.repeat(5 << 20) }), 413], [`${parlor.url}/api/plan/update?token=${token}`, plan, 400],
      ])
        assert.equal((await post(url, body)).status, status, url.replace(token, 'TOKEN'));
      if (mode === '202') {
        await until(async () => (await post(at(token), JSON.stringify({ progress: 5, message: said.excuse }))).status === 200, 'it is waited for');
        assert.equal((await post(at(token), plan)).status, 200);
        await page.has('plan');
      }
      assert.equal((await post(at(token), JSON.stringify({ error: said.excuse }))).status, 409);
      page.leave();
      assert.ok(!JSON.stringify(page.events).includes(token) && !JSON.stringify(page.events).includes(secrets.address));
      return [token];
    });
    assert.ok(heard.some((h) => h.includes(`/${mode}?token=${secrets.query}`) && h.includes(base64(`user:${secrets.address}`))), mode);
    assert.ok(count(log, mode === '202' ? 'plan_delivered' : 'task_failed') === 1, mode);
  }
});
