// examples/plan-page in a headless Chromium, and examples/external-ai in a process of its own.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer, request as send } from 'node:http';
import { after, before, test } from 'node:test';
import { startChromium, until } from './chromium.mjs';
import { startExternal, startPlanner } from './planner.mjs';
import { freePort } from './server.mjs';

const examples = new URL('../../examples/', import.meta.url).pathname;

let server, browser, site, pageUrl;
before(async () => {
  const html = readFileSync(`${examples}plan-page/index.html`);
  site = createServer((request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' });
    response.end(request.url.startsWith('/index.html') ? html : '<p>elsewhere');
  });
  await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve));
  server = await startPlanner({ PARLOR_SERVER_CORS_ORIGINS: `http://127.0.0.1:${site.address().port}` });
  pageUrl = `http://127.0.0.1:${site.address().port}/index.html?server=${server.url}`;
  browser = await startChromium();
});
after(async () => {
  await browser?.stop();
  site?.close();
  site?.closeAllConnections();
  await server?.remove();
});

/** Runs `body` with the example service and a page. */
function trial(name, env, body, first = '') {
  test(name, async () => {
    const external = await startExternal(env);
    server.external = external.url;
    const page = await browser.open(pageUrl, { first });
    try {
      await body(page, external);
      assert.deepEqual(page.errors, []);
    } finally {
      await page.close();
      external.stop();
    }
    await until(async () => (await server.pages()) === 0, 'the closed page to leave the server');
  });
}

const state = 'document.body.dataset.state';
const status = `document.querySelector('#status').textContent`;
const plan = `document.querySelector('#plan').textContent`;
const ask = (page, topic = 'Rust') =>
  page.evaluate(`document.querySelector('[name=topic]').value = ${JSON.stringify(topic)}; document.querySelector('button').click()`);
/** Keeps every state the page goes through. */
const record = `addEventListener('DOMContentLoaded', () => {
  window.seen = [document.body.dataset.state];
  new MutationObserver(() => seen.at(-1) !== document.body.dataset.state && seen.push(document.body.dataset.state))
    .observe(document.body, { attributes: true });
  window.texts = new Set();
  new MutationObserver(() => texts.add(document.querySelector('#status').textContent))
    .observe(document.querySelector('#status'), { childList: true });
})`;

trial('idle, updating, completed; the plan is shown once though it came twice', { PROGRESS: '3', TWICE: '1' }, async (page, external) => {
  assert.equal(await page.evaluate(state), 'idle');
  assert.equal(await server.pages(), 0); // nothing to wait for yet
  await ask(page);
  await page.until(`${state} === 'completed'`);
  assert.equal(JSON.parse(await page.evaluate(plan)).title, 'Rust in 3 weeks');
  assert.deepEqual(await page.evaluate('seen'), ['idle', 'updating', 'completed']);
  const texts = await page.evaluate('[...texts]');
  for (const i of [1, 2, 3]) assert.ok(texts.includes(`step ${i} of 3`), texts);
  await until(() => external.said.length === 5, 'five callbacks');
  assert.ok(external.said.every((l) => l.startsWith('callback 200 ')), external.said);
  await until(async () => (await server.pages()) === 0, 'the page to hang up');
  await ask(page, 'Go'); // and once more, in the same session
  await page.until(`${state} === 'completed' && ${plan}.includes('Go in 3 weeks')`);
}, record);

trial('a service that cannot is an error, and the next try may succeed', { FAIL: 'error' }, async (page) => {
  await ask(page);
  await page.until(`${state} === 'error'`);
  assert.equal(await page.evaluate(status), 'Nobody can plan that.');
  const better = await startExternal();
  server.external = better.url;
  await ask(page);
  await page.until(`${state} === 'completed'`);
  better.stop();
});

trial('a service that is busy is tried again, and the page says so', { FAIL: 'refuse:2' }, async (page) => {
  await ask(page);
  await page.until(`${state} === 'completed'`);
  const texts = await page.evaluate('[...texts]');
  for (const n of [2, 3]) assert.ok(texts.some((t) => t.includes(`attempt ${n} in `)), texts);
}, record);

trial('a service that stays away is an error in friendly words', { FAIL: 'refuse' }, async (page) => {
  await ask(page);
  await page.until(`${state} === 'error'`);
  assert.match(await page.evaluate(status), /service is not available/);
});

trial('a reload shows the truth: while it is made, and when it is there', { FAIL: 'silent' }, async (page) => {
  await ask(page);
  await until(async () => (await server.pages()) === 1, 'the page to register');
  await page.until(`${status}.startsWith('Making')`);
  await page.evaluate('window.old = true');
  await page.reload();
  await page.until(`!window.old && ${state} === 'updating' && ${status}.startsWith('Making')`);
  await until(async () => (await server.pages()) === 1, 'the old page to leave the server');
  // Nobody listens while the plan comes: it is kept.
  await page.go(pageUrl.replace('/index.html', '/elsewhere'));
  await until(async () => (await server.pages()) === 0, 'the page to leave');
  const answer = await fetch(await page.evaluate('sessionStorage.callbackUrl'), {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ data: { title: 'kept' } }),
  });
  assert.equal((await answer.json()).delivered, 0);
  await page.back();
  await page.until(`${state} === 'completed' && ${plan}.includes('kept')`);
  await page.evaluate('window.old = true');
  await page.reload();
  await page.until(`!window.old && ${state} === 'completed' && ${plan}.includes('kept')`);
}, `addEventListener('DOMContentLoaded', () => {
  const ask = window.fetch;
  window.fetch = async (...args) => {
    const answer = await ask(...args);
    answer.clone().json().then((j) => j.callbackUrl && (sessionStorage.callbackUrl = j.callbackUrl));
    return answer;
  };
})`);

// Timers of more than a minute are not set but kept, to be run when the test says so.
const timers = `{
  const set = window.setTimeout, clear = window.clearTimeout;
  window.kept = new Map();
  window.setTimeout = (f, ms, ...rest) => (ms > 60_000 ? (kept.set(-kept.size - 1, { f, ms }), -kept.size) : set(f, ms, ...rest));
  window.clearTimeout = (id) => (kept.delete(id) ? undefined : clear(id));
}`;

trial('the page waits five minutes and no longer', { FAIL: 'silent' }, async (page) => {
  await ask(page);
  await until(async () => (await server.pages()) === 1, 'the page to register');
  await page.until('kept.size === 1');
  const ms = await page.evaluate('[...kept.values()][0].ms');
  assert.ok(ms > 299_000 && ms <= 300_000, ms);
  await page.evaluate('[...kept.values()][0].f()');
  assert.equal(await page.evaluate(state), 'error');
  assert.match(await page.evaluate(status), /within 5 minutes/);
  await until(async () => (await server.pages()) === 0, 'the page to hang up');
}, timers);

trial('leaving closes the stream and the timer; coming back opens them again', { FAIL: 'silent' }, async (page) => {
  await ask(page);
  await until(async () => (await server.pages()) === 1, 'the page to register');
  await page.until(`${status}.startsWith('Making')`);
  await page.evaluate(`dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))`);
  await until(async () => (await server.pages()) === 0, 'the stream to be closed');
  assert.equal(await page.evaluate('kept.size'), 0);
  await page.evaluate(`dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))`);
  await until(async () => (await server.pages()) === 1, 'the stream to be opened');
  await page.until('kept.size === 1');
  assert.equal(await page.evaluate(state), 'updating');
}, timers);

trial('S9 a stream that is refused for a while is asked for again', { FAIL: 'silent' }, async (page) => {
  const streams = [];
  let refused = 0;
  const between = createServer((request, response) => {
    const stream = request.url.startsWith('/api/plan/stream');
    if (stream && streams.length === 1 && refused++ === 0) return response.writeHead(503).end();
    if (stream) streams.push(response);
    const on = send(server.url + request.url, { method: request.method, headers: request.headers }, (r) => {
      response.writeHead(r.statusCode, r.headers);
      r.on('error', () => {}).pipe(response);
    }).on('error', () => response.destroy());
    response.on('close', () => on.destroy());
    request.pipe(on);
  });
  await new Promise((resolve) => between.listen(0, '127.0.0.1', resolve));
  try {
    const url = pageUrl.replace(/server=.*/, `server=http://127.0.0.1:${between.address().port}`);
    await page.go(url);
    await page.until(`location.href === ${JSON.stringify(url)} && document.readyState === 'complete'`);
    await ask(page);
    await page.until(`${status}.startsWith('Making')`);
    streams[0].destroy();
    await until(() => refused === 1, 'the browser to come back, and be refused');
    await until(async () => streams.length === 2 && (await server.pages()) === 1, 'the page to ask again');
    assert.equal(await page.evaluate(state), 'updating');
  } finally {
    between.close();
    between.closeAllConnections();
  }
});

trial('a plan is text to the page, and only for its own session', {}, async (page) => {
  const other = await browser.open(pageUrl);
  await ask(page, '<img src=x onerror="document.title=1">');
  await page.until(`${state} === 'completed'`);
  assert.equal(await page.evaluate(`document.querySelectorAll('img').length`), 0);
  assert.match(await page.evaluate(plan), /<img src=x/);
  assert.equal(await other.evaluate(state), 'idle');
  assert.equal(await other.evaluate(plan), '');
  await ask(other, 'Go');
  await other.until(`${state} === 'completed'`);
  assert.match(await other.evaluate(plan), /Go in 3 weeks/);
  assert.doesNotMatch(await page.evaluate(plan), /Go in 3 weeks/);
  await other.close();
});

trial('a server that turns the page away, or is not there, is an error', {}, async (page) => {
  for (const nowhere of [`${server.url}/no`, `http://127.0.0.1:${await freePort()}`]) {
    const url = pageUrl.replace(/server=.*/, `server=${nowhere}`);
    await page.go(url);
    await page.until(`location.href === ${JSON.stringify(url)} && document.readyState === 'complete'`);
    await ask(page);
    await page.until(`${state} === 'error'`);
    assert.match(await page.evaluate(status), /cannot be reached/);
  }
});
