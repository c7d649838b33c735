// Reads the text format of Prometheus.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';

/** The page as it is, after promtool has found nothing wrong with it. */
export async function scrape(server, headers = {}) {
  const r = await fetch(`${server.url}/metrics`, { headers });
  assert.equal(r.status, 200);
  const text = await r.text();
  const check = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
  assert.equal(check.status, 0, check.stdout + check.stderr);
  return new Page(text);
}

class Page {
  series = new Map(); // 'name{a="b"}' -> number
  types = new Map();

  constructor(text) {
    this.text = text;
    for (const line of text.split('\n')) {
      const type = /^# TYPE (\S+) (\S+)$/.exec(line);
      if (type) this.types.set(type[1], type[2]);
      if (line === '' || line.startsWith('#')) continue;
      const [, name, value] = /^(\w+(?:\{.*\})?) (\S+)$/.exec(line) ?? assert.fail(line);
      assert.ok(!this.series.has(name), `twice: ${name}`);
      this.series.set(name, value === '+Inf' ? Infinity : Number(value));
    }
  }
  /** The sum of the series of that name whose labels have these values. */
  sum(name, labels = {}) {
    let sum = 0;
    let found = false;
    for (const [series, value] of this.series) {
      if (series !== name && !series.startsWith(`${name}{`)) continue;
      if (!Object.entries(labels).every(([k, v]) => series.includes(`${k}="${v}"`))) continue;
      found = true;
      sum += value;
    }
    assert.ok(found, `there is no ${name} ${JSON.stringify(labels)}`);
    return sum;
  }
  get names() {
    return [...this.series.keys()].sort();
  }
  /** Buckets never fall, and the last one is the count: of every histogram. Returns how many there are. */
  checkHistograms() {
    const seen = new Map(); // 'name{labels}' -> [[le, count]]
    for (const [series, value] of this.series) {
      const [, name, labels] = /^(\w+)_bucket\{(.*)\}$/.exec(series) ?? [];
      if (!name) continue;
      const le = /le="([^"]+)"/.exec(labels)[1];
      const key = `${name}{${labels.replace(/,?le="[^"]+"/, '')}}`.replace('{}', '');
      seen.set(key, [...(seen.get(key) ?? []), [le === '+Inf' ? Infinity : Number(le), value]]);
    }
    for (const [key, buckets] of seen) {
      const of = (what) => this.series.get(key.replace(/^\w+/, `$&_${what}`));
      for (let i = 1; i < buckets.length; ++i) {
        assert.ok(buckets[i][0] > buckets[i - 1][0], key);
        assert.ok(buckets[i][1] >= buckets[i - 1][1], key);
      }
      assert.equal(buckets.at(-1)[0], Infinity, key);
      assert.equal(of('count'), buckets.at(-1)[1], key);
      assert.ok(of('sum') >= 0, key);
      assert.equal(of('count') === 0, of('sum') === 0 && of('count') === 0, key);
    }
    return seen.size;
  }
}

/** The entries of a log that is JSON, every line of it. */
export const entries = (output) => output.split('\n').filter((l) => l !== '').map((l) => JSON.parse(l));

/** Waits for what a condition returns, once it is true. */
export async function eventually(condition, what, limit = 20_000) {
  const until = Date.now() + limit;
  for (;;) {
    const found = await condition();
    if (found) return found;
    assert.ok(Date.now() < until, `never: ${what}`);
    await new Promise((r) => setTimeout(r, 20));
  }
}
