// The model service that misbehaves on request (tests/support/faulty_upstream.hpp has its scripts).
import { spawn } from 'node:child_process';
import http from 'node:http';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { bin } from './server.mjs';

export async function startUpstream() {
  const process = spawn(join(dirname(bin), 'tests', 'parlor_faulty_upstream'), { stdio: ['ignore', 'pipe', 'inherit'] });
  const line = await new Promise((resolve, reject) => {
    createInterface(process.stdout).once('line', resolve);
    process.once('error', reject);
  });
  const root = `http://127.0.0.1:${line.split(' ')[1]}`;
  return {
    root,
    base: (script) => `${root}/${script}/v1`,
    stats: async () => (await fetch(`${root}/_stats`)).json(),
    /** The whole text of the latest request. */
    last: async () => (await fetch(`${root}/_last`)).text(),
    stop: () => process.kill(),
  };
}

/** A configuration file in which every script is a model of that name, with a provider of its own. */
export function scriptedModels(base, scripts, { provider = '', model = '' } = {}) {
  return scripts
    .map((s) => `[[provider]]\nname = "of ${s}"\nkind = "openai"\nbase_url = "${base(s)}"\napi_key = "\${TEST_KEY}"\n${provider}\n` +
      `[[model]]\nname = "${s}"\nprovider = "of ${s}"\n${model}\n`)
    .join('');
}

/** An environment in which no proxy stands in the way of 127.0.0.1. */
export const direct = Object.fromEntries(
  ['http_proxy', 'https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY', 'no_proxy', 'NO_PROXY'].map((n) => [n, '']),
);

/** Tries `measure` (milliseconds) until it is below `limit`, a few times: the machine may be busy. */
export async function best(limit, measure, times = 8) {
  const all = [];
  do all.push(await measure());
  while (all.at(-1) >= limit && all.length < times);
  return all.at(-1) < limit ? all.at(-1) : `never below ${limit} ms: ${all}`;
}

/** A model service whose answer is `size` bytes of numbered lines, in large pieces and as fast as they are taken; it may lack an end. */
export async function talkative(size, { ends = true } = {}) {
  const lines = Array.from({ length: Math.ceil(size / 16384) }, (_, i) => `${i} `.padEnd(16383, '.') + '\n');
  const server = http.createServer((request, answer) => {
    request.resume().on('end', async () => {
      answer.writeHead(200, { 'Content-Type': 'text/event-stream' });
      for (const content of lines) {
        const more = answer.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta: { content } }] })}\n\n`);
        if (!more) await new Promise((r) => answer.once('drain', r));
      }
      if (ends) answer.end('data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
    });
  });
  await new Promise((r) => server.listen(0, '127.0.0.1', r));
  return { text: lines.join(''), base: () => `http://127.0.0.1:${server.address().port}/v1`, stop: () => (server.close(), server.closeAllConnections()) };
}
