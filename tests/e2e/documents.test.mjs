// What the documents say is so: their examples run and answer as shown, the files and tests they
// name exist, and their tables are those of the program. The rules for examples are in
// docs/clients/README.md.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { startExternal } from './planner.mjs';
import { bin, freePort, startParlor } from './server.mjs';

const root = new URL('../../', import.meta.url).pathname;
const scratch = mkdtempSync(join(tmpdir(), 'parlor-documents-'));
after(() => rmSync(scratch, { recursive: true, force: true }));
const read = (path) => readFileSync(join(root, path), 'utf8');

/** The fenced blocks of a page: [{language, text, line}]. */
function fences(page) {
  const found = [];
  let open = null;
  read(page).split('\n').forEach((line, i) => {
    const fence = /^```(.*)$/.exec(line);
    if (open === null && fence) open = { language: fence[1], lines: [], line: i + 1 };
    else if (open !== null && fence) {
      found.push({ language: open.language, text: open.lines.join('\n'), line: open.line });
      open = null;
    } else if (open !== null) open.lines.push(line);
  });
  assert.equal(open, null, `${page}: a fence is not closed`);
  return found;
}

/** The examples of a page, each with the answer shown after it, if there is one. */
function examples(page) {
  const runs = ({ language, text }) => language === 'js' || (language === 'sh' && /^([A-Z]+=\$\()?curl /.test(text));
  const all = fences(page);
  for (const { language, text, line } of all)
    assert.ok(language !== 'sh' || !/\bcurl\b/.test(text) || runs({ language, text }), `${page}:${line} is not run`);
  return all.flatMap((block, i) => {
    if (!runs(block)) return [];
    const next = all[i + 1];
    return [{ ...block, shown: next && ['json', 'text'].includes(next.language) ? next : null }];
  });
}

// -- comparing

/** Puts names in the place of what differs from run to run; the same id gets the same name. */
function same(text) {
  const names = new Map();
  const name = (kind) => (id) => names.get(id) ?? names.set(id, `${kind}#${names.size + 1}`).get(id);
  return text
    .replace(/\btask_\d+_[0-9a-z]{20,}/g, name('task'))
    .replace(/\b(?:msg|session|req)_[0-9a-z]{16,}/g, name('id'))
    .replace(/^id: [0-9a-z]+-\d+$/gm, 'id: #')
    .replace(/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, '#time')
    .replace(/(": ?)1\d{12}\b/g, '$1"#ms"');
}

const pattern = (shown) => shown.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll('…', '[^\\n]*');

function compareText(got, shown) {
  const trim = (t) => t.replace(/[ \t]+$/gm, '').replace(/\n+$/, '');
  const lines = pattern(trim(same(shown))).split('\n').map((l) => `${l}\n`);
  const wanted = lines.map((l) => (l === '[^\\n]*\n' ? '(?:[^\\n]*\\n)*?' : l)).join('');
  assert.match(`${trim(same(got))}\n`, new RegExp(`^${wanted}$`));
}

function compareJson(got, shown, at = 'answer') {
  if (typeof shown === 'string' && shown.includes('…')) {
    assert.match(String(got), new RegExp(`^${pattern(shown)}$`, 's'), at);
  } else if (shown !== null && typeof shown === 'object') {
    assert.ok(got !== null && typeof got === 'object', at);
    assert.deepEqual(Object.keys(got), Object.keys(shown), at);
    for (const key of Object.keys(shown)) compareJson(got[key], shown[key], `${at}.${key}`);
  } else {
    assert.deepEqual(got, shown, at);
  }
}

function compare(got, shown) {
  if (shown.language === 'text') return compareText(got, shown.text);
  compareJson(JSON.parse(same(got)), JSON.parse(same(shown.text).replace(/(": ?)…/g, '$1"…"')));
}

test('the comparison can fail', () => {
  const text = (got, shown) => compareText(got, shown);
  text('id: abc-1\ndata: 1\n\nx', 'id: zzz-77\ndata: …\n…');
  text('a\nb\nc\n', 'a\n…\nc');
  assert.throws(() => text('a\nb\nd\n', 'a\n…\nc'));
  assert.throws(() => text('ab', 'a'));
  const [a, b] = ['task_1_aaaaaaaaaaaaaaaaaaaa', 'task_1_bbbbbbbbbbbbbbbbbbbb'];
  text(`${a} ${a}`, `${b} ${b}`);
  assert.throws(() => text(`${a} ${b}`, `${b} ${b}`));
  const json = (got, shown) => compare(got, { language: 'json', text: shown });
  json('{"a":"x1","t":1700000000000}', '{"a": "x…", "t": 1800000000000}');
  assert.throws(() => json('{"a":1}', '{"a":2}'));
  assert.throws(() => json('{"a":1,"b":2}', '{"a":1}'));
  assert.throws(() => json('{"a":[1,2]}', '{"a":[1]}'));
});

// -- running

function run(command, args, input, env = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: scratch,
      env: { ...process.env, CURL_HOME: scratch, no_proxy: '*', ...env },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.on('data', (d) => (text += d));
    child.on('close', (code) => resolve({ code, text }));
    child.stdin.end(input);
  });
}
// A page must not hang for ever, and progress meters are not answers.
writeFileSync(join(scratch, '.curlrc'), 'silent\nmax-time = 60\n');

/** Runs the sh blocks in one shell; what each one printed. */
async function shell(blocks) {
  const script = blocks.map((b) => `${b.text}\nprintf '\\x1e'\n`).join('');
  const { text } = await run('bash', ['-s'], script);
  return text.split('\x1e');
}

/** Runs a js block with what a browser has and Node has not; what it printed. */
async function javascript(block) {
  const [source, ws] = ['eventsource', 'ws'].map((name) => JSON.stringify(createRequire(import.meta.url).resolve(name)));
  const file = join(scratch, 'example.mjs');
  writeFileSync(file, `import browser from ${source};\nimport WebSocket from ${ws};\nglobalThis.EventSource ??= browser.EventSource;\nglobalThis.WebSocket ??= WebSocket;\n${block.text}`);
  const { code, text } = await run(process.execPath, [file], '');
  assert.equal(code, 0, text);
  return text;
}

let external;
before(async () => {
  external = await startExternal({ SILENT_ON: 'by hand' });
});
after(() => external?.stop());

function pageTest(page, env, least) {
  test(`the examples of ${page} run and answer as shown`, async (t) => {
    const parlor = await startParlor({ PARLOR_REHEARSAL_ALLOW_SCRIPT: 'false', EXTERNAL_API_URL: external.url, ...env });
    try {
      const here = examples(page).map((e) => ({ ...e, text: e.text.replaceAll('127.0.0.1:8080', `127.0.0.1:${parlor.port}`) }));
      assert.ok(here.length >= least, `only ${here.length} examples were found`);
      const inShell = here.filter((e) => e.language === 'sh');
      const printed = await shell(inShell);
      for (const e of here) {
        const got = e.language === 'sh' ? printed[inShell.indexOf(e)] : await javascript(e);
        await t.test(`${page}:${e.line}`, () => {
          assert.ok(got !== undefined, 'was not run');
          if (e.shown) compare(got, e.shown);
        });
      }
    } finally {
      await parlor.remove();
    }
  });
}

for (const page of readdirSync(join(root, 'docs/clients')).filter((f) => f.endsWith('.md') && f !== 'README.md'))
  pageTest(`docs/clients/${page}`, { PARLOR_REHEARSAL_TOKENS_PER_SECOND: '20' }, 4);
pageTest('README.md', {}, 3);
pageTest('docs/operations.md', {}, 2);

// -- tables

/** The rows of the tables of a page whose first cell is code, cell by cell. */
const rows = (page) =>
  read(page)
    .split('\n')
    .filter((l) => l.startsWith('| `'))
    .map((l) => l.split(' | ').map((c) => c.replace(/^\| | \|$/g, '').trim()));

test('the table of errors is the one of the program', () => {
  const row = /\{errc::\w+,\s*"(\w+)",\s*(\d+),\s*(true|false),\s*"([^"]*)",\s*"([^"]*)"\}/g;
  const wanted = [...read('protocol/errc.cpp').matchAll(row)]
    .map(([, code, status, again, en, zh]) => [`\`${code}\``, status, again === 'true' ? 'yes' : 'no', en, zh])
    .filter(([code]) => code !== '`none`');
  assert.ok(wanted.length > 40);
  assert.deepEqual(rows('docs/api/errors.md'), wanted);
});

test('the table of settings is the one of the program', () => {
  const help = spawnSync(bin, ['--help'], { encoding: 'utf8' }).stdout;
  const wanted = [...help.matchAll(/^  (?:--(\w+\.\w+)|PARLOR_(\w+)) (\S+)(?:  \[(.*)\])?\n      (.*)$/gm)].map(([, flag, secret, unit, value, meaning]) => [
    `\`${flag ?? secret.toLowerCase().replace('_', '.')}\``,
    `\`PARLOR_${secret ?? flag.toUpperCase().replace('.', '_')}\``,
    value ? `\`${value}\`` : '',
    unit.replaceAll('|', ', '),
    meaning,
  ]);
  assert.ok(wanted.length > 25);
  const table = read('README.md').split('\n').filter((l) => l.startsWith('| `') && l.includes('`PARLOR_'));
  assert.deepEqual(table.map((l) => l.slice(1, -1).split('|').map((c) => c.trim())), wanted);
});

test('the keys of providers and models are those of the program', () => {
  const source = read('app/config_file.cpp');
  const of = (name) => [...new RegExp(`${name}_keys\\{([^}]*)\\}`).exec(source)[1].matchAll(/"(\w+)"/g)].map(([, key]) => key);
  const page = read('docs/operations.md');
  for (const kind of ['provider', 'model']) {
    const table = page.split(`| key of \`[[${kind}]]\` |`)[1].split('\n\n')[0];
    assert.deepEqual([...table.matchAll(/^\| `(\w+)`/gm)].map(([, key]) => key).sort(), of(kind).sort());
  }
});

test('the table of metrics is what the program shows', async () => {
  const parlor = await startParlor();
  try {
    const text = await (await fetch(`${parlor.url}/metrics`)).text();
    const shown = [...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)].map(([, name, type]) => `${name} ${type}`);
    const told = rows('docs/operations.md').filter(([name]) => /^`(parlor|process|http_server|gen_ai)_/.test(name)).map(([name, type]) => `${name.slice(1, -1)} ${type}`);
    assert.ok(shown.length > 15);
    assert.deepEqual(told.sort(), shown.sort());
    const series = (name) => name.replace(/_(bucket|sum|count)$/, '');
    for (const [name] of read('examples/alerts.yml').matchAll(/\b(?:parlor|process|http_server|gen_ai)_\w+/g)) assert.match(text, new RegExp(`^# TYPE (${name}|${series(name)}) `, 'm'));
  } finally {
    await parlor.remove();
  }
});

test('the table of log lines is what the program can log', () => {
  const sources = ['actors', 'app', 'http'].flatMap((d) => readdirSync(join(root, d)).filter((f) => /\.[ch]pp$/.test(f)).map((f) => read(`${d}/${f}`)));
  const lines = (text) => [...text.matchAll(/\b(?:notice|log)\(log_level::(\w+),\s*"(\w+)"/g)].map(([, level, msg]) => `${msg} ${level}`);
  const written = [...new Set(sources.flatMap(lines))];
  assert.ok(written.length > 15);
  const table = read('docs/operations.md').split('| `msg` |')[1].split('\n\n')[0];
  assert.deepEqual([...table.matchAll(/^\| `(\w+)` \| (\w+) /gm)].map(([, msg, level]) => `${msg} ${level}`).sort(), written.sort());
});

test('the numbers of hard edges are those in the names of the tests', () => {
  const files = readdirSync(join(root, 'tests'), { recursive: true }).filter((f) => /\.(cpp|test\.mjs)$/.test(f) && !f.includes('node_modules'));
  const named = new Set(files.flatMap((f) => [...read(`tests/${f}`).matchAll(/\b(?:TEST_CASE\(|test\()\s*["'`]((?:[A-Z]\d+ ?)+)\b/g)].flatMap(([, numbers]) => numbers.trim().split(' '))));
  const page = [...read('docs/hard-edges.md').matchAll(/^\| ([A-Z]\d+) /gm)].map(([, number]) => number);
  assert.ok(page.length > 50);
  assert.deepEqual(page.sort(), [...named].sort());
});

test('the libraries that the program needs are in the packages of the page', () => {
  const needed = [...spawnSync('readelf', ['-d', bin], { encoding: 'utf8' }).stdout.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, name]) => name);
  assert.ok(needed.length > 10);
  const page = read('docs/operations.md').split('apt-get install ')[1].split('```')[0].split(/[\s\\]+/);
  for (const name of needed) {
    const of = spawnSync('dpkg', ['-S', `*/${name}`], { encoding: 'utf8' }).stdout.split('\n').map((l) => l.split(':')[0]);
    if (!of.some((p) => /^(libc6|libgcc-s1|libstdc\+\+6|lib(asan|ubsan|tsan)\d+)$/.test(p))) assert.ok(of.some((p) => page.includes(p)), `${name} is in ${of}`);
  }
});

// -- names

const pages = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...readdirSync(join(root, 'docs'), { recursive: true }).filter((f) => f.endsWith('.md')).map((f) => `docs/${f}`)];

test('what the pages link to and name exists', () => {
  const missing = [];
  const folders = readdirSync(root);
  for (const page of pages) {
    const prose = read(page).replace(/^```[\s\S]*?^```/gm, '');
    for (const [, target] of prose.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g))
      if (!existsSync(join(root, dirname(page), target))) missing.push(`${page} links to ${target}`);
    for (const [, named] of prose.matchAll(/`([\w.-]+\/[\w./*-]*)`/g)) {
      if (!folders.includes(named.split('/')[0]) || named.startsWith('build/')) continue;
      const [folder, start] = /^(.*\/)?([^/]*)\*$/.exec(named)?.slice(1) ?? [];
      const there = folder ? readdirSync(join(root, folder)).some((f) => f.startsWith(start)) : existsSync(join(root, named));
      if (!there) missing.push(`${page} names ${named}`);
    }
    for (const [, file, anchor] of prose.matchAll(/\]\(([^)#:]*)#([^)]+)\)/g)) {
      const heads = [...read(file ? join(dirname(page), file) : page).matchAll(/^#+ (.*)$/gm)].map(([, h]) => h.toLowerCase().replace(/[^\w -]/g, '').replaceAll(' ', '-'));
      if (!heads.includes(anchor)) missing.push(`${page} links to #${anchor}`);
    }
  }
  assert.deepEqual(missing, []);
});

test('each promise names what proves it', () => {
  const promises = read('docs/promises.md').split(/^(?=\d+\. )/m).slice(1);
  assert.equal(promises.length, 11);
  for (const p of promises) {
    const proofs = [...p.matchAll(/`(tests\/[^`]+)`/g)];
    assert.ok(proofs.length > 0, p);
    for (const [, file] of proofs) assert.ok(existsSync(join(root, file)), file);
  }
});

// -- the shipped examples

test('the example configuration is valid', () => {
  const r = spawnSync(bin, ['check-config', '--config', join(root, 'examples/parlor.toml')], { encoding: 'utf8', env: { DEEPSEEK_API_KEY: 'x' } });
  assert.equal(r.status, 0, r.stderr);
});

test('the alerting rules are valid', () => {
  const r = spawnSync('promtool', ['check', 'rules', join(root, 'examples/alerts.yml')], { encoding: 'utf8' });
  assert.equal(r.status, 0, r.stdout + r.stderr);
});

test('the systemd unit is valid', (t) => {
  const unit = join(scratch, 'parlor.service');
  writeFileSync(unit, read('examples/parlor.service').replaceAll('/usr/local/bin/parlor', bin));
  const r = spawnSync('systemd-analyze', ['verify', unit], { encoding: 'utf8' });
  if (r.error) return t.skip('there is no systemd here');
  assert.deepEqual([r.status, r.stderr], [0, '']);
});

test('streams pass through the nginx of the example as they come', async () => {
  const key = 'behind-a-proxy-1';
  const parlor = await startParlor({ PARLOR_REHEARSAL_TOKENS_PER_SECOND: '20', PARLOR_SERVER_KEY: key });
  const port = await freePort();
  const config = join(scratch, 'nginx.conf');
  const example = read('examples/nginx.conf').replaceAll('127.0.0.1:8080', `127.0.0.1:${parlor.port}`).replaceAll('60s', '1s'); // a minute is long
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((n) => `${n}_temp_path ${scratch}/${n};`).join(' ');
  writeFileSync(
    config,
    `daemon off; master_process off; pid ${scratch}/nginx.pid; error_log stderr; events {}
    http { access_log off; ${temp} server { listen 127.0.0.1:${port};
    ${example} } }`,
  );
  const nginx = spawn('nginx', ['-e', 'stderr', '-c', config], { stdio: 'inherit', env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } });
  try {
    const url = `http://127.0.0.1:${port}`;
    for (;;) {
      if (await fetch(`${url}/readyz`).then((r) => r.ok, () => false)) break;
      assert.equal(nginx.exitCode, null, 'nginx ended');
      await new Promise((r) => setTimeout(r, 20));
    }
    const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${key}` };
    const ask = (path) => fetch(`${url}${path}`, { method: 'POST', headers, body: JSON.stringify({ message: 'count to 40', conversation_id: 'proxied' }) });
    const r = await ask('/api/chat/stream');
    let whole = '', pieces = 0;
    for await (const piece of r.body) {
      whole += Buffer.from(piece);
      pieces++;
    }
    assert.match(whole, /"type":"done"/);
    assert.ok(pieces > 5, `came in ${pieces} pieces`);
    const late = Date.now();
    assert.equal((await ask('/api/chat')).status, 200); // in one piece, and late
    assert.ok(Date.now() - late > 1200, 'no later than other answers may be');
    const status = (...more) => spawnSync('curl', ['-s', '-o', join(scratch, 'answer'), '-w', '%{http_code}', '-H', 'Host: chat.example.org', ...more], { encoding: 'utf8' }).stdout;
    assert.equal(status('-H', `Authorization: Bearer ${key}`, `${url}/api/sessions`), '200');
    for (const path of ['/api/sessions', '/metrics', '/admin/actors']) assert.equal(status(`${url}${path}`), '401', path);
  } finally {
    nginx.kill();
    await parlor.remove();
  }
});
