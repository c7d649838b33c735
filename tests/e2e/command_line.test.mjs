// What somebody at a terminal sees: the welcome, and a clear line and exit code for each mistake.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { bin, startParlor } from './server.mjs';
import { until } from './streams.mjs';

const dir = mkdtempSync(join(tmpdir(), 'parlor-cli-'));
after(() => rmSync(dir, { recursive: true, force: true }));
const clean = Object.fromEntries(Object.entries(process.env).filter(([k]) => !/^(PARLOR_|OPENAI_)/.test(k)));

function parlor(args, env = {}) {
  const r = spawnSync(bin, args, {
    cwd: dir,
    env: { ...clean, PARLOR_SERVER_LISTEN: '127.0.0.1:0', PARLOR_STORE_PATH: join(dir, 'parlor.db'), ...env },
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { code: r.status, out: r.stdout, err: r.stderr };
}
/** One line, which begins with the program's name. */
function refused(code, wanted, args, env) {
  const r = parlor(args, env);
  assert.equal(r.code, code, r.out + r.err);
  assert.match(r.err, /^parlor: [^\n]+\n$/);
  assert.match(r.err, wanted);
}

/** The last of the welcome, which may come after the first answer of the server. */
async function curlLine(server) {
  await until(() => /curl .*\n/.test(server.output), 'a curl line');
  return /curl .*/.exec(server.output)[0];
}

test('the welcome says where to go, and its curl line works when pasted', async () => {
  const server = await startParlor({ PARLOR_LOG_FORMAT: 'text' });
  try {
    const line = await curlLine(server);
    assert.match(server.output, new RegExp(`listening +${server.url}\n`));
    const [, page] = /API page +(\S+)\n/.exec(server.output);
    assert.equal((await fetch(page)).status, 200);
    const { stdout, status } = spawnSync('bash', ['-c', line], { encoding: 'utf8', timeout: 60_000 });
    assert.equal(status, 0);
    assert.match(stdout, /"type":"done".*Hello Zhang San!/);
  } finally {
    await server.remove();
  }
});

test('and with a key', async () => {
  const server = await startParlor({ PARLOR_SERVER_KEY: 'a-key-for-tests', PARLOR_LOG_FORMAT: 'text' });
  try {
    const line = await curlLine(server);
    const { stdout } = spawnSync('bash', ['-c', line], { encoding: 'utf8', timeout: 60_000, env: { ...clean, PARLOR_SERVER_KEY: 'a-key-for-tests' } });
    assert.match(stdout, /"type":"done"/);
  } finally {
    await server.remove();
  }
});

test('what is asked for is printed, and nothing is served', () => {
  for (const args of [['--help'], ['-h'], ['help'], ['serve', '--help']]) {
    const r = parlor(args);
    assert.deepEqual([r.code, r.err], [0, ''], args.join());
    assert.match(r.out, /^Usage: parlor[\s\S]*--server\.listen/);
  }
  assert.ok(JSON.parse(parlor(['version']).out).version);
  assert.match(parlor(['check-config']).out, /is valid/);
  const shown = parlor(['config', 'show'], { PARLOR_SERVER_KEY: 'a-key-for-tests' });
  assert.match(shown.out, /key = "\*\*\*"/);
  assert.doesNotMatch(shown.out, /a-key-for-tests/);
  writeFileSync(join(dir, 'default.toml'), parlor(['config', 'default']).out);
  assert.equal(parlor(['check-config', '--config', 'default.toml']).code, 0);
});

test('mistakes in the configuration: 78, with the place and the nearest name', () => {
  refused(78, /--server\.lissen: unknown option; did you mean --server\.listen\?/, ['serve', '--server.lissen=1']);
  refused(78, /--listn: unknown option; did you mean --server\.listen\?/, ['serve', '--listn=1']);
  refused(78, /sevre: unknown command; did you mean serve\?/, ['sevre']);
  refused(78, /--log\.level needs a value/, ['serve', '--log.level']);
  refused(78, /--log\.level must be one of trace, debug, info, warn, error, off/, ['serve', '--log.level=loud']);
  refused(78, /--task\.attempts must be from 1 to 100/, ['serve', '--task.attempts=0']);
  refused(78, /--task\.backoff must be a duration like/, ['serve', '--task.backoff=5']);
  refused(78, /--server\.listen must be address:port/, ['serve', '--server.listen=8080']);
  refused(78, /no key is configured/, ['serve', '--server.listen=0.0.0.0:0']);
  refused(78, /no key is configured/, ['check-config', '--server.listen=0.0.0.0:0']);
  refused(78, /can be guessed/, ['serve', '--server.listen=0.0.0.0:0'], { PARLOR_SERVER_KEY: 'changeme' });
  refused(78, /--server\.key: others can read a command line; set PARLOR_SERVER_KEY/, ['serve', '--server.key=0123456789abcdef']);
  refused(78, /--store\.path needs a value/, ['serve', '--store.path=', '--log.level=info']);
  refused(78, /--server\.cors_origins must be origins as browsers send them/, ['serve', '--server.cors_origins=*']);
  refused(78, /would be sent unencrypted/, ['check-config'], { OPENAI_API_KEY: 'k', OPENAI_BASE_URL: 'http://api.example.com/v1' });
  refused(78, /PARLOR_LOG_LEVL: unknown variable.*did you mean PARLOR_LOG_LEVEL\?/, ['serve'], { PARLOR_LOG_LEVL: 'x' });
  refused(78, /PARLOR_LOG_LEVEL: log\.level must be one of/, ['serve'], { PARLOR_LOG_LEVEL: 'x' });
  refused(78, /--config: cannot read no\.toml/, ['serve', '--config', 'no.toml']);
  for (const [text, wanted] of [
    ['[server]\nlistn = "x"\n', /bad\.toml:2: unknown key server\.listn; did you mean server\.listen\?/],
    ['[sever]\nlisten = "x"\n', /bad\.toml:1: unknown key sever; did you mean server\?/],
    ['\n[server]\nmax_body = "1XB"\n', /bad\.toml:3: server\.max_body must be a size like/],
    ['[server\n', /bad\.toml:1: /],
    ["[[provider]]\nname='a'\nkind='openai'\nbase_url='http://127.0.0.1:1'\napi_key='${NO_SUCH_KEY}'\n", /bad\.toml:5: \$\{NO_SUCH_KEY\} is not set/],
    ["[[provider]]\nname='a'\nkind='rehearsal'\n[[model]]\nname='m'\nprovider='b'\n", /bad\.toml:4: model m names an unknown provider b/],
  ]) {
    writeFileSync(join(dir, 'bad.toml'), text);
    refused(78, wanted, ['serve', '--config', 'bad.toml']);
    refused(78, wanted, ['check-config'], { PARLOR_CONFIG: 'bad.toml' });
  }
});

test('what stops it from starting: 1, with the address or the file', async () => {
  const server = await startParlor();
  try {
    refused(1, new RegExp(`cannot listen on 127\\.0\\.0\\.1:${server.port}: Address already in use`), ['serve', `--server.listen=127.0.0.1:${server.port}`]);
    refused(1, /is in use by another process/, ['serve', `--store.path=${join(server.dir, 'parlor.db')}`]);
  } finally {
    await server.remove();
  }
  refused(1, /cannot open \S*no\/such\.db\S*: No such file or directory/, ['serve', '--store.path=no/such.db']);
  refused(1, /the path of the store must not be empty/, ['serve'], { PARLOR_STORE_PATH: '' });
  refused(1, /: Is a directory/, ['serve', `--store.path=${dir}`]);
  writeFileSync(join(dir, 'text.db'), 'not a database, but long enough to be looked at '.repeat(100));
  refused(1, /cannot open \S*text\.db: .*not a database/, ['serve', '--store.path=text.db']);
  if (process.getuid() === 0) return; // nothing is closed to root
  mkdirSync(join(dir, 'closed'));
  chmodSync(join(dir, 'closed'), 0o000);
  refused(1, /cannot open \S*closed\/parlor\.db\S*: Permission denied/, ['serve', '--store.path=closed/parlor.db']);
  chmodSync(join(dir, 'closed'), 0o700);
});
