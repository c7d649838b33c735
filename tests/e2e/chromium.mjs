// A headless Chromium, driven by the DevTools protocol over a pipe. PARLOR_CHROMIUM names another.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const program = process.env.PARLOR_CHROMIUM ?? 'chromium';

/** Waits until `probe` gives something true, and gives that. The machine may be busy. */
export async function until(probe, what = probe, limit = 30_000) {
  for (const end = Date.now() + limit; ; await new Promise((r) => setTimeout(r, 20))) {
    const found = await probe();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited ${limit} ms in vain for ${what}`);
  }
}

export async function startChromium() {
  const profile = mkdtempSync(join(tmpdir(), 'parlor-chromium-'));
  const child = spawn(
    program,
    ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--no-proxy-server',
      '--disable-background-networking', '--disable-component-update', `--user-data-dir=${profile}`, '--remote-debugging-pipe', 'about:blank'],
    { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] },
  );
  const exited = new Promise((resolve) => {
    child.once('exit', resolve);
    child.once('error', resolve);
  });
  const pending = new Map();
  const handlers = new Map(); // by DevTools session
  let last = 0;
  let partial = '';
  const fail = (why) => {
    for (const { reject } of pending.values()) reject(why);
    pending.clear();
  };
  child.once('error', fail);
  child.once('exit', () => fail(new Error(`${program} ended`)));
  child.stdio[3].on('error', () => {});
  child.stdio[4].setEncoding('utf8').on('data', (text) => {
    const messages = (partial + text).split('\0');
    partial = messages.pop();
    for (const m of messages.map((t) => JSON.parse(t))) {
      if (m.id === undefined) handlers.get(m.sessionId)?.(m.method, m.params);
      else {
        const { resolve, reject } = pending.get(m.id) ?? {};
        pending.delete(m.id);
        if (m.error) reject?.(new Error(m.error.message));
        else resolve?.(m.result);
      }
    }
  });
  const call = (method, params = {}, sessionId = undefined) =>
    new Promise((resolve, reject) => {
      pending.set(++last, { resolve, reject });
      child.stdio[3].write(`${JSON.stringify({ id: last, method, params, sessionId })}\0`);
    });
  await call('Browser.getVersion');

  /** A tab with storage of its own. `first` is a script that runs before those of every page. */
  async function open(url, { first = '' } = {}) {
    const { browserContextId } = await call('Target.createBrowserContext');
    const { targetId } = await call('Target.createTarget', { url: 'about:blank', browserContextId });
    const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true });
    const page = { errors: [] }; // what the page's scripts threw
    const send = (method, params) => call(method, params, sessionId);
    handlers.set(sessionId, (method, { exceptionDetails: e }) => {
      if (method === 'Runtime.exceptionThrown') page.errors.push(e.exception?.description ?? e.text);
    });
    await send('Page.enable');
    await send('Runtime.enable');
    if (first) await send('Page.addScriptToEvaluateOnNewDocument', { source: first });
    page.go = (to) => send('Page.navigate', { url: to });
    page.reload = () => send('Page.reload');
    page.back = () => page.evaluate('history.back()');
    page.evaluate = async (expression) => {
      const { result, exceptionDetails } = await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
      return result.value;
    };
    /** Waits until the expression is true; while a page is being replaced there is nothing to ask. */
    page.until = (expression) => until(() => page.evaluate(expression).catch(() => false), expression);
    page.close = () => call('Target.disposeBrowserContext', { browserContextId });
    await page.go(url);
    await page.until(`location.href === ${JSON.stringify(url)} && document.readyState === 'complete'`);
    return page;
  }

  return {
    open,
    stop: async () => {
      await call('Browser.close').catch(() => {});
      const timer = setTimeout(() => child.kill('SIGKILL'), 5000);
      await exited;
      clearTimeout(timer);
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
