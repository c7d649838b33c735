// An external AI to try plans with: takes the request, answers 202, and calls back later.
//
//   node examples/external-ai/server.mjs
//   EXTERNAL_API_URL=http://127.0.0.1:9100/ ./dev serve
//
// PORT        where to listen on 127.0.0.1 (9100; 0 takes a free one)
// DELAY_MS    from the request to the plan (3000)
// PROGRESS    how many times it reports on the way (3)
// TWICE       1: posts the plan two times, as a service does that did not get the answer
// FAIL        refuse      answers 503            refuse:2  the first two requests only
//             silent      never calls back       error     calls back to say that it failed
// SILENT_ON   a topic for which it never calls back
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const { PORT = '9100', DELAY_MS = '3000', PROGRESS = '3', TWICE = '', FAIL = '', SILENT_ON = '' } = process.env;
const [fail, times = Infinity] = FAIL.split(':');
let requests = 0;

/** A plan for what was asked. */
function plan({ topic = 'anything', weeks = 3 }) {
  const steps = ['read', 'practise', 'build', 'explain'];
  return {
    title: `${topic} in ${weeks} weeks`,
    weeks: Array.from({ length: weeks }, (_, i) => ({ week: i + 1, goal: `${steps[i % steps.length]} ${topic}` })),
  };
}

async function tell(url, body) {
  try {
    const r = await fetch(url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
    });
    console.log(`callback ${r.status} ${await r.text()}`);
  } catch (e) {
    console.log(`callback failed: ${e.cause?.message ?? e.message}`);
  }
}

async function work({ request, callbackUrl }) {
  const reports = Number(PROGRESS);
  for (let i = 1; i <= reports; i++) {
    await sleep(Number(DELAY_MS) / (reports + 1));
    await tell(callbackUrl, { progress: Math.round((100 * i) / (reports + 1)), message: `step ${i} of ${reports}` });
  }
  await sleep(Number(DELAY_MS) / (reports + 1));
  if (fail === 'silent' || (SILENT_ON && request.topic === SILENT_ON)) return;
  const answer = fail === 'error' ? { error: 'Nobody can plan that.' } : { data: plan(request) };
  await tell(callbackUrl, answer);
  if (TWICE === '1') await tell(callbackUrl, answer);
}

createServer(async (request, response) => {
  const answer = (status, body) => {
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(body));
  };
  if (request.method !== 'POST') return answer(405, { error: 'POST a request' });
  let job;
  try {
    const chunks = await request.toArray();
    job = JSON.parse(Buffer.concat(chunks).toString());
    new URL(job.callbackUrl);
  } catch {
    return answer(400, { error: 'bad request' });
  }
  if (fail === 'refuse' && requests++ < Number(times)) return answer(503, { error: 'busy' });
  answer(202, { accepted: true });
  work(job);
}).listen(Number(PORT), '127.0.0.1', function () {
  console.log(`listening on http://127.0.0.1:${this.address().port}/`);
});
