// docs/hard-edges.md, JSON and text, over real sockets: what is JSON and what is not, and that text survives unchanged.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { blocks, startParlor } from './server.mjs';
import { metric, openStream, textOf } from './streams.mjs';

let parlor;
before(async () => {
  parlor = await startParlor();
});
after(() => parlor.remove());

const routes = [['/api/chat', 'message'], ['/api/chat/stream', 'message'], ['/api/generate-async', 'prompt']];

/** What the dialect whose text is called `text` calls that field. */
const own = (field, text) => (text === 'message' ? field : { message: 'prompt', conversation_id: 'conversationId' }[field] ?? field);

/** Every route refuses the body in the shape of its dialect; `body(field)` is text or bytes. */
async function refused(body, code, field) {
  for (const [path, text] of routes) {
    const bytes = body(text);
    const r = await fetch(parlor.url + path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: bytes });
    const shown = String(bytes).slice(0, 80);
    assert.equal(r.status, 400, `${path} ${shown}`);
    const answer = await r.text();
    const e = JSON.parse(answer);
    assert.equal(e.code, code, `${path} ${shown}: ${answer}`);
    if (path === '/api/generate-async') {
      assert.equal(e.success, false);
      if (field) assert.ok(e.error.startsWith(own(field, text)), e.error);
    } else if (field) {
      assert.equal(e.errors[0].field, field);
    }
    assert.doesNotMatch(answer, /canary/); // J7: what was sent is not repeated
    Buffer.from(answer).forEach((b) => assert.ok(b < 0x80, 'fixed text')); // English, so plain
  }
}
const bytes = (...parts) => Buffer.concat(parts.map((p) => (typeof p === 'string' ? Buffer.from(p) : Buffer.from(p))));

test('J1 what is not JSON is refused', async () => {
  for (const text of [
    '', ' ', '{', '}', '{"', '{"canary', '{"MESSAGE":"a",}', '{"MESSAGE":"a"}}', '{"MESSAGE":"a"} x',
    '{"MESSAGE":"a"}{"MESSAGE":"a"}', "{'MESSAGE':'a'}",
    '{MESSAGE:"a"}', '{"MESSAGE":"a" /* canary */}', '{"MESSAGE":"a"}//', '{"MESSAGE":"a\nb"}', '{"MESSAGE":"a\tb"}', '{"MESSAGE":"\\x41"}',
    '{"MESSAGE":"\\u12"}',
    '{"MESSAGE":"\\"}', '{"MESSAGE":a}', '{"MESSAGE":"a","n":01}', '{"MESSAGE":"a","n":1.}', '{"MESSAGE":"a","n":.5}', '{"MESSAGE":"a","n":+1}',
    '{"MESSAGE":"a","n":NaN}', '{"MESSAGE":"a","n":Infinity}', '{"MESSAGE":"a","n":0x1}', '{"MESSAGE":"a","n":1e}', '{"MESSAGE":"a","n":tru}',
    '{"MESSAGE":"a","n":[1,]}', '{"MESSAGE":"a","n":[1 2]}', '{"MESSAGE" "a"}', '{"MESSAGE":}', '{:1}', '\u00a0{"MESSAGE":"a"}',
    '\ufeff{"MESSAGE":"a"}',
    '[]', '"canary"', 'null', '5', 'true', '[{"MESSAGE":"a"}]',
  ])
    await refused((name) => text.replace('MESSAGE', name), 'bad_json');
});

test('J2 nesting has an end', async () => {
  const deep = (n, open = '[', close = ']') => open.repeat(n) + close.repeat(n);
  for (const n of [64, 1000, 100_000, 1_000_000]) {
    await refused((name) => `{"${name}":"a","metadata":{"x":${deep(n)}}}`, 'bad_json');
    await refused((name) => `{"${name}":"a","x":${'{"a":'.repeat(n)}1${'}'.repeat(n)}}`, 'bad_json');
    await refused(() => '['.repeat(n), 'bad_json');
  }
  const r = await parlor.post('/api/chat', `{"message":"hi","metadata":{"x":${deep(60)}}}`);
  assert.equal(r.status, 200);
});

test('J2 what a model nests is only text when it is too deep', async () => {
  for (const [n, parsed] of [[50, true], [65, false], [100_000, false]]) {
    const text = '['.repeat(n) + ']'.repeat(n);
    const { task_id } = await (await parlor.post('/api/chat', { message: `echo: ${text}` })).json();
    const { result } = await (await fetch(`${parlor.url}/api/generate-async/${task_id}`)).json();
    assert.equal(result.content, text);
    assert.equal(result.data === undefined, !parsed);
  }
});

test('J3 a key that occurs twice is refused, also when it is written differently', async () => {
  for (const body of [
    (name) => `{"${name}":"a","${name}":"b"}`,
    (name) => `{"${name}":"a","\\u00${name.charCodeAt(0).toString(16)}${name.slice(1)}":"b"}`,
    (name) => `{"${name}":"a","model":"a","model":"b"}`,
    (name) => `{"${name}":"a","metadata":{"k":1,"k":2}}`,
    (name) => `{"${name}":"a","metadata":{"k":1,"\\u006b":2}}`,
    (name) => `{"${name}":"a","metadata":{},"metadata":{}}`,
  ])
    await refused(body, 'bad_json');
});

test('J4 what is not UTF-8 is refused', async () => {
  for (const bad of [
    [0x80], [0xbf], [0xc0, 0x80], [0xc1, 0xbf], [0xc2], [0xe0, 0x80, 0x80], [0xe2, 0x82], [0xed, 0xa0, 0x80], [0xed, 0xbf, 0xbf],
    [0xf0, 0x80, 0x80, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xf8, 0x88, 0x80, 0x80, 0x80], [0xfe], [0xff],
  ]) {
    await refused((name) => bytes(`{"${name}":"canary`, bad, '"}'), 'bad_json');
    await refused((name) => bytes(`{"${name}":"a","metadata":{"`, bad, '":1}}'), 'bad_json');
  }
  for (const lone of ['\\ud800', '\\udfff', '\\udc00\\ud800', '\\ud83dx', '\\ud83d\\u0041'])
    await refused((name) => `{"${name}":"canary${lone}"}`, 'bad_json');
});

test('J4 all else comes back as it was said, whichever way one asks', async () => {
  const texts = [
    'NUL \0 end', 'bell \x07 escape \x1b[31m delete \x7f', 'line\u2028separator\u2029', '\ufeffmark',
    '\u{10ffff}\u{1f468}\u200d\u{1f469}\u200d\u{1f467}', 'a' + '\u0301'.repeat(32 * 1024),
    'data: x\n\nid: 9\n\nevent: forged\n\n', '\r\n\r\r\n\n', '": "\\', '\\u0041 \\n', '<script>alert(1)</script>', '\u202eleft\u202c', '你好，世界',
    '\ufffe\uffff \ufffd',
  ];
  for (const [i, text] of texts.entries()) {
    const said = `echo: ${text}.`; // the rehearsal says what follows, without the blanks before it
    const heard = `${text}.`.replace(/^[ ]+/, '');
    const id = `text_${i}`;
    const stream = await openStream(`${parlor.url}/api/chat/stream`, { method: 'POST', body: { message: said, conversation_id: id } });
    assert.equal(await stream.over, 'end');
    assert.equal(textOf(stream.events), heard);
    assert.deepEqual(new Set(stream.types()), new Set(['start', 'chunk', 'done']));
    const { task_id, content } = stream.events.at(-1).data;
    assert.equal(content, heard);
    const replay = blocks(await (await fetch(`${parlor.url}/api/tasks/${task_id}/events`)).text());
    if (text.length < 1000) assert.deepEqual(replay, stream.events);
    else assert.equal(textOf(replay), heard); // pieces may be merged for who is behind
    assert.equal((await (await fetch(`${parlor.url}/api/generate-async/${task_id}`)).json()).result.content, heard);
    assert.equal((await (await parlor.post('/api/chat', { message: said })).json()).response, heard);
    const { messages } = await (await fetch(`${parlor.url}/api/sessions/${id}/messages`)).json();
    assert.deepEqual(messages.map((m) => m.content), [said, heard]);
  }
});

test('J4 names of sessions are plain', async () => {
  for (const id of ['a b', 'a/b', 'a\0b', '\0', 'ä', 'a\n', '', 'x'.repeat(129), '../a', 'a%20b', '\u202e', 'a"b'])
    await refused((name) => JSON.stringify({ [name]: 'a', [own('conversation_id', name)]: id }), 'invalid_field', 'conversation_id');
  for (const id of ['x'.repeat(128), 'A.b-c_d:e@f'])
    assert.equal((await parlor.post('/api/chat', { message: 'hi', conversation_id: id })).status, 200);
});

test('J5 numbers out of range are refused', async () => {
  for (const n of [
    '0', '-1', '-0', '1.5', '1e999', '-1e999', '1e2', '9223372036854775808', '-9223372036854775809', '99999999999999999999', '10000001',
    '"5"', 'true', '[]', '{}',
  ])
    await refused((name) => `{"${name}":"a","max_tokens":${n}}`, 'invalid_field', 'max_tokens');
  for (const n of ['-0.1', '2.0001', '1e999', '-1e999', '99999999999999999999', '"1"', 'false'])
    await refused((name) => `{"${name}":"a","temperature":${n}}`, 'invalid_field', 'temperature');
  for (const more of [
    '"max_tokens":10000000', '"max_tokens":1', '"max_tokens":null',
    '"temperature":0', '"temperature":2.0', '"temperature":-0.0', '"temperature":1e-400',
  ])
    assert.equal((await parlor.post('/api/chat', `{"message":"hi",${more}}`)).status, 200, more);
  const odd = '{"n":[-0,1e400,123456789012345678901234567890,1E+2,0.1e-7]}'; // nobody's business but the client's
  assert.equal((await parlor.post('/api/chat', `{"message":"hi","metadata":${odd}}`)).status, 200);
});

test('J6 sizes and types', async () => {
  await refused((name) => `{"${name}":null}`, 'invalid_field', 'message');
  for (const wrong of ['5', 'true', '[]', '{}', '["a"]', '{"text":"a"}', '""', '" \\t\\r\\n "'])
    await refused((name) => `{"${name}":${wrong}}`, 'invalid_field', 'message');
  for (const [field, wrong] of [
    ['model', '1'], ['model', '[]'], ['system_prompt', '{}'], ['metadata', '"a"'], ['metadata', '[]'], ['on_busy', '"never"'], ['on_busy', '1'],
    ['cancel_on_disconnect', '"true"'], ['cancel_on_disconnect', '1'], ['response_format', '"json"'],
  ])
    await refused((name) => `{"${name}":"a","${field}":${wrong}}`, 'invalid_field', field);
  assert.equal((await parlor.post('/api/chat', '{"message":"hi","unknown":{"a":[1]},"model":null,"metadata":null}')).status, 200);

  const long = 'x'.repeat(1024 * 1024);
  assert.equal((await (await parlor.post('/api/chat', { message: `echo: ${long}` })).json()).response, long);
  assert.equal((await parlor.post('/api/chat', { message: 'hi', metadata: { many: Array(100_000).fill(0) } })).status, 200);
  const wide = await parlor.post('/api/chat', { message: 'hi', metadata: { many: Array(10_000_000).fill(0) } });
  assert.equal(wide.status, 400);
  assert.equal((await wide.json()).detail, 'the document has too many values');
  const r = await parlor.post('/api/chat', `{"message":"${'x'.repeat(25 * 1024 * 1024)}"}`);
  assert.equal(r.status, 413);
  assert.equal((await r.json()).code, 'body_too_large');
});

test('J7 after all of that nothing has failed', async () => {
  for (const line of (await (await fetch(`${parlor.url}/metrics`)).text()).split('\n'))
    if (line.startsWith('parlor_actor_failures_total')) assert.match(line, / 0$/);
  assert.equal(await metric(parlor, 'parlor_refusals_total{code="internal"}'), 0);
  assert.equal(parlor.process.exitCode, null);
});
