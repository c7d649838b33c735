// The server's side of the plan contract, for trying the example page and the example service
// before, and without, the real one: in memory, with the waits of the contract shortened.
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';

export async function startPlanMock({ external, backoff = [10, 20] }) {
  const sessions = new Map();
  const find = (id) => {
    if (!sessions.has(id)) sessions.set(id, { status: 'waiting', pages: new Set(), seq: 0, last: null });
    return sessions.get(id);
  };
  const tell = (session, data) => {
    const block = `id: mock-${++session.seq}\ndata: ${JSON.stringify(data)}\n\n`;
    if (['plan', 'error'].includes(data.type)) session.last = block;
    for (const page of session.pages) page.write(block);
  };
  const end = (session, status, event) => {
    session.status = status;
    tell(session, { ...event, status });
  };

  async function call(session, body) {
    for (let attempt = 1; ; attempt++) {
      const answer = await fetch(mock.external, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
      }).catch(() => ({ ok: false }));
      if (answer.ok) return;
      if (attempt > backoff.length)
        return end(session, 'error', { type: 'error', code: 'upstream_unreachable', message: 'The planning service is not available.' });
      tell(session, { type: 'retry', attempt: attempt + 1, delay_ms: backoff[attempt - 1] });
      await new Promise((r) => setTimeout(r, backoff[attempt - 1]));
    }
  }

  const routes = {
    'GET /api/plan/stream': ({ query, response }) => {
      const id = query.get('sessionId');
      const session = find(id);
      response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8', 'Access-Control-Allow-Origin': '*' });
      response.write(`data: ${JSON.stringify({ type: 'connected', sessionId: id, status: session.status })}\n\n`);
      if (['completed', 'error'].includes(session.status)) response.write(session.last);
      session.pages.add(response);
      response.on('close', () => session.pages.delete(response));
    },
    'POST /api/plan/generate': ({ body, answer }) => {
      const { sessionId, request } = body;
      const session = find(sessionId);
      const error = (code, message) => ({ success: false, error: { code, message }, sessionId });
      if (session.status === 'generating') return answer(409, error('session_busy', 'The session is busy with another turn.'));
      session.status = 'generating';
      session.token = randomBytes(8).toString('hex');
      session.posted = null;
      tell(session, { type: 'status', status: 'generating' });
      const callbackUrl = `${mock.url}/api/plan/update?sessionId=${encodeURIComponent(sessionId)}&token=${session.token}`;
      answer(202, { success: true, sessionId, status: 'generating', callbackUrl });
      return call(session, { sessionId, request, callbackUrl });
    },
    'POST /api/plan/update': ({ query, body, answer }) => {
      const sessionId = query.get('sessionId') ?? body.sessionId;
      const session = sessions.get(sessionId);
      const error = (code) => ({ success: false, error: { code, message: code }, sessionId });
      mock.callbacks.push(body);
      if (!session) return answer(404, error('session_not_found'));
      if (query.get('token') !== session.token) return answer(403, error('bad_token'));
      const done = (delivered) => answer(200, { success: true, sessionId, status: session.status, delivered });
      if (session.posted === JSON.stringify(body)) return done(0);
      if (session.status !== 'generating') return answer(409, error('not_waiting'));
      if (body.progress !== undefined) tell(session, { type: 'status', status: 'generating', ...body });
      else {
        session.posted = JSON.stringify(body);
        if (body.error) end(session, 'error', { type: 'error', code: 'generation_failed', message: body.error });
        else end(session, 'completed', { type: 'plan', data: body.data ?? body });
      }
      return done(session.pages.size);
    },
  };

  const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://mock');
    const answer = (status, body) => {
      response.writeHead(status, {
        'Content-Type': 'application/json',
        'Access-Control-Allow-Origin': '*',
        'Access-Control-Allow-Headers': 'content-type',
      });
      response.end(JSON.stringify(body));
    };
    const route = routes[`${request.method} ${url.pathname}`];
    if (!route) return answer(request.method === 'OPTIONS' ? 200 : 404, {});
    const text = Buffer.concat(await request.toArray()).toString();
    return route({ query: url.searchParams, body: text && JSON.parse(text), response, answer });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const mock = {
    url: `http://127.0.0.1:${server.address().port}`,
    external, // may be changed
    callbacks: [], // the bodies that came
    pages: () => [...sessions.values()].reduce((n, s) => n + s.pages.size, 0),
    stop: () => {
      server.close();
      server.closeAllConnections();
    },
  };
  return mock;
}
