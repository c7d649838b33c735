// A client of a stream that decides itself when it reads, and what its events come to.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { blocks } from './server.mjs';

/** Waits until `f` gives something: for conditions, not for times; the limit is for what never comes. */
export async function until(f, what, limit = 60000) {
  for (const from = Date.now(); ; ) {
    const found = await f();
    if (found) return found;
    assert.ok(Date.now() - from < limit, `never: ${what}`);
    await new Promise((r) => setTimeout(r, 20));
  }
}

/**
 * Opens a stream on a connection of its own and resolves with its head. `events` are the whole blocks so far; `over`
 * resolves with 'end' or, when it came without its end, 'cut'. `stopAt` events it stops reading, until `resume`.
 */
export function openStream(url, { method = 'GET', headers = {}, body, stopAt = Infinity } = {}) {
  return new Promise((resolve, reject) => {
    const json = body === undefined ? {} : { 'Content-Type': 'application/json' };
    const request = http.request(url, { method, agent: false, headers: { ...json, ...headers } }, (answer) => {
      let rest = '';
      let limit = stopAt;
      const s = {
        status: answer.statusCode,
        headers: answer.headers,
        events: [],
        last: () => s.events.findLast((e) => e.id)?.id,
        types: () => s.events.map((e) => e.data.type),
        resume: () => ((limit = Infinity), answer.resume()),
        leave: () => request.destroy(),
        has: (type) => until(() => s.events.some((e) => e.data.type === type), type),
      };
      s.over = new Promise((done) => {
        answer.on('end', () => done('end')).on('error', () => done('cut'));
      });
      answer.setEncoding('utf8').on('data', (d) => {
        rest += d;
        const at = rest.lastIndexOf('\n\n') + 2;
        if (at > 1) {
          s.events.push(...blocks(rest.slice(0, at)));
          rest = rest.slice(at);
        }
        if (s.events.length >= limit) answer.pause();
      });
      resolve(s);
    });
    request.on('error', reject).end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** The text a client has that does as docs/clients say. */
export function textOf(events) {
  return events.reduce((text, { data }) => {
    if (data.type === 'chunk') return text + data.content;
    if (data.type === 'retry' && data.discard) return '';
    if (data.type === 'reset') return data.snapshot.task?.content ?? '';
    return text;
  }, '');
}

/** That numbers only grow: nothing came twice or out of order. */
export function assertInOrder(events) {
  const numbers = events.filter((e) => e.id).map((e) => Number(e.id.split('-')[1]));
  numbers.forEach((n, i) => assert.ok(i === 0 || n > numbers[i - 1], `${n} after ${numbers[i - 1]}`));
}

/** Memory of the server's process, MiB. */
export const memoryOf = (server) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.process.pid}/status`, 'utf8'))[1]) / 1024;

/** One series of the metrics, with its labels as they are written. */
export async function metric(server, series) {
  const line = (await (await fetch(`${server.url}/metrics`)).text()).split('\n').find((l) => l.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length));
}
