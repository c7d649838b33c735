// web/openapi.json by itself: it is whole, and it names what the program has.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { api, faults, operations, resolve, root, source } from './openapi.mjs';

test('the validator can find fault', () => {
  const s = { type: 'object', properties: { a: { type: 'integer', minimum: 0 }, b: { oneOf: [{ type: 'null' }, { enum: ['x'] }] } }, required: ['a'] };
  assert.deepEqual(faults({ a: 1, b: null }, s), []);
  for (const bad of [{}, { a: -1 }, { a: 1.5 }, { a: '1' }, { a: 1, c: 1 }, { a: 1, b: 'y' }, [], null]) assert.notDeepEqual(faults(bad, s), [], JSON.stringify(bad));
  assert.throws(() => faults(1, { not: {} }));
});

test('every route of the program is documented, and nothing else is', () => {
  const plain = (path) => path.replace(/\{[^}]*\}/g, '{}');
  const routes = [...readFileSync(join(root, 'app/routes.hpp'), 'utf8').matchAll(/\{"([A-Z]+)", "([^"]+)"\}/g)].map(([, verb, path]) => `${verb} ${plain(path)}`);
  const documented = Object.values(operations).map(({ verb, path }) => `${verb} ${plain(path)}`);
  assert.ok(routes.length > 20);
  assert.deepEqual(documented.sort(), routes.sort());
});

test('every reference of the document leads somewhere, and nothing lies unused', () => {
  const used = new Set([...source.matchAll(/"\$ref": "#\/components\/(\w+)\/([^"]+)"/g)].map(([, kind, name]) => `${kind}/${name}`));
  const there = new Set(Object.entries(api.components).flatMap(([kind, all]) => (kind === 'securitySchemes' ? [] : Object.keys(all).map((name) => `${kind}/${name}`))));
  assert.deepEqual([...used].sort(), [...there].sort());
  for (const { path, op } of Object.values(operations))
    assert.deepEqual(
      (op.parameters ?? []).map(resolve).filter((p) => p.in === 'path').map((p) => `{${p.name}}`),
      path.match(/\{\w+\}/g) ?? [],
      path,
    );
});
