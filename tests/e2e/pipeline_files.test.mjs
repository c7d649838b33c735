// What the program says about the pipelines' files, before it serves anybody.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bin } from './server.mjs';

const shipped = new URL('../../pipelines', import.meta.url).pathname;

function parlor(args, cwd, more = {}) {
  const env = Object.fromEntries(Object.entries(process.env).filter(([k]) => !/^(PARLOR_|OPENAI_)/.test(k)));
  const r = spawnSync(bin, args, { cwd, env: { ...env, ...more }, encoding: 'utf8', timeout: 60_000 });
  return { code: r.status, out: r.stdout, err: r.stderr };
}

test('the pipelines are checked with the configuration, and at the start', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'parlor-'));
  t.after(() => rmSync(dir, { recursive: true }));
  assert.equal(parlor(['check-config'], dir).code, 0); // there need not be any
  const missing = parlor(['check-config', '--pipelines.path=pipes'], dir);
  assert.equal(missing.code, 78);
  assert.match(missing.err, /pipelines\.path: there is no directory pipes/);

  cpSync(shipped, join(dir, 'pipelines'), { recursive: true });
  assert.equal(parlor(['check-config'], dir).code, 0);
  const prompt = join(dir, 'pipelines/roadmaps/curriculum_architect.prompt.md');
  writeFileSync(prompt, readFileSync(prompt, 'utf8').replace('intent_analyzer.weeks', 'intent_analyzer.week'));
  for (const command of ['check-config', 'serve']) {
    const wrong = parlor([command, '--server.listen=127.0.0.1:0'], dir);
    assert.equal(wrong.code, 78);
    assert.equal(
      wrong.err,
      'parlor: pipelines/roadmaps/curriculum_architect.prompt.md:1: ' +
        'the schema of intent_analyzer declares no week; did you mean weeks?\n',
    );
  }
  assert.equal(parlor(['check-config'], dir, { PARLOR_PIPELINES_PATH: '' }).code, 0);
  assert.equal(parlor(['config', 'show'], dir).code, 0); // works, however wrong the rest is
});

test('a server does not start with a file that is wrong, and says where it is wrong', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'parlor-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const faults = [
    ['roadmaps.toml', 'name = "roadmaps"', 'name = "Road maps"', /roadmaps\.toml:6: /],
    ['roadmaps.toml', 'attempts = 3', 'atempts = 3', /roadmaps\.toml:\d+: .*atempts.*did you mean attempts\?/],
    ['roadmaps.toml', '# model = "gpt-4o-mini"', 'model = 7 #', /roadmaps\.toml:\d+: .*model/],
    ['roadmaps.toml', '[[agent]]', '[[agent', /roadmaps\.toml:\d+: /],
    ['roadmaps.toml', 'roadmaps/intent_analyzer.schema.json', 'roadmaps/none.json', /roadmaps\.toml:\d+: .*none\.json/],
    ['roadmaps/intent_analyzer.schema.json', '"minimum": 1', '"least": 1', /intent_analyzer\.schema\.json:\d+: .*least/],
    ['roadmaps/request.schema.json', '{', '', /request\.schema\.json:\d+: /],
    ['roadmaps/intent_analyzer.prompt.md', '{{request.preferences.learning_goal}}', '{{request.goal}}', /intent_analyzer\.prompt\.md:\d+: .*goal/],
  ];
  for (const [file, what, instead, said] of faults) {
    cpSync(shipped, join(dir, 'pipelines'), { recursive: true });
    const path = join(dir, 'pipelines', file);
    const text = readFileSync(path, 'utf8');
    assert.ok(text.includes(what), what);
    writeFileSync(path, text.replace(what, instead));
    const wrong = parlor(['serve', '--server.listen=127.0.0.1:0'], dir);
    assert.equal(wrong.code, 78, `${what}: ${wrong.err}`);
    assert.match(wrong.err, said);
  }
});
