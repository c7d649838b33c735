// A client of /ws/learning that keeps what it is told.
import assert from 'node:assert/strict';
import WebSocket from 'ws';
import { until } from './streams.mjs';

/** Opens a socket of a session; `over` resolves with {code, reason}. `seen` are the messages so far, parsed. */
export function openSocket(server, session, { headers = {}, protocols = [], query = '', ...options } = {}) {
  return new Promise((resolve, reject) => {
    const url = `${server.url.replace('http', 'ws')}/ws/learning?session_id=${encodeURIComponent(session)}${query}`;
    const socket = new WebSocket(url, protocols, { headers, ...options });
    const s = {
      socket,
      seen: [],
      times: [],
      send: (message) => socket.send(typeof message === 'string' ? message : JSON.stringify(message)),
      ask: (content, request_id, more = {}) => s.send({ type: 'question', content, request_id, ...more }),
      types: (id) => s.of(id).map((m) => m.type),
      /** Those of one question. */
      of: (id) => s.seen.filter((m) => m.request_id === id),
      has: (type, id, limit) => until(() => s.seen.find((m) => m.type === type && (id === undefined || m.request_id === id)), `${type} ${id}`, limit),
      text: (id) => s.of(id).reduce((text, m) => (m.type !== 'content' ? text : (m.full_content ?? text + m.content)), ''),
      lastSeq: () => Math.max(0, ...s.seen.map((m) => m.seq ?? 0)),
      leave: () => (socket.close(1000), s.over),
      cut: () => socket.terminate(),
    };
    s.over = new Promise((done) => socket.on('close', (code, reason) => done({ code, reason: String(reason) })));
    socket.on('message', (data, binary) => {
      assert.equal(binary, false);
      s.seen.push(JSON.parse(String(data)));
      s.times.push(Date.now());
    });
    socket.on('open', () => resolve(s));
    socket.on('unexpected-response', (_, answer) => {
      let body = '';
      answer.on('data', (d) => (body += d)).on('end', () => reject(Object.assign(new Error(`${answer.statusCode}`), { status: answer.statusCode, headers: answer.headers, body })));
    });
    socket.on('error', (e) => reject(e));
  });
}

/** That numbers only grow. */
export function assertGrowing(messages) {
  const numbers = messages.filter((m) => m.seq !== undefined).map((m) => m.seq);
  numbers.forEach((n, i) => assert.ok(i === 0 || n > numbers[i - 1], `${n} after ${numbers[i - 1]}`));
}
