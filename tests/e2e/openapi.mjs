// web/openapi.json as the tests read it, and what an answer must be by it.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const root = new URL('../../', import.meta.url).pathname;
export const source = readFileSync(join(root, 'web/openapi.json'), 'utf8');
export const api = JSON.parse(source);
export const resolve = (part) => (part?.$ref ? part.$ref.slice(2).split('/').reduce((at, key) => at[key], api) : part);
/** {operationId: {verb, path, op}} */
export const operations = Object.fromEntries(
  Object.entries(api.paths).flatMap(([path, item]) => Object.entries(item).map(([verb, op]) => [op.operationId, { verb: verb.toUpperCase(), path, op }])),
);

const typeOf = (v) => (v === null ? 'null' : Array.isArray(v) ? 'array' : Number.isInteger(v) ? 'integer' : typeof v);
const known = ['$ref', 'const', 'default', 'description', 'enum', 'format', 'items', 'maxLength', 'maximum', 'minimum', 'oneOf', 'pattern', 'properties', 'required', 'type'];

/** What is wrong with a value; an object may have no member that is not documented. */
export function faults(value, schema, at = 'body') {
  const s = resolve(schema);
  for (const word of Object.keys(s)) assert.ok(known.includes(word), `${word} is not understood here`);
  if (s.oneOf) {
    const each = s.oneOf.map((o) => faults(value, o, at));
    const fits = each.filter((f) => f.length === 0).length;
    return fits === 1 ? [] : [`${at} fits ${fits} of ${each.length}: ${each.map((f) => f[0]).join('; ')}`];
  }
  if ('const' in s && value !== s.const) return [`${at} is not ${s.const}`];
  if (s.enum && !s.enum.includes(value)) return [`${at} is ${JSON.stringify(value)}, not one of ${s.enum}`];
  const type = typeOf(value);
  const allowed = s.type && [s.type].flat();
  if (allowed && !allowed.includes(type) && !(type === 'integer' && allowed.includes('number'))) return [`${at} is ${type}, not ${allowed}`];
  if (s.minimum > value || s.maximum < value) return [`${at} is ${value}`];
  if (s.pattern && !new RegExp(s.pattern).test(value)) return [`${at} is ${value}`];
  if (s.format === 'date-time' && !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(value)) return [`${at} is ${value}`];
  if (type === 'array') return value.flatMap((v, i) => faults(v, s.items ?? {}, `${at}[${i}]`));
  if (type !== 'object' || !s.properties) return [];
  return [
    ...(s.required ?? []).filter((k) => !(k in value)).map((k) => `${at}.${k} is missing`),
    ...Object.keys(value).flatMap((k) => (s.properties[k] ? faults(value[k], s.properties[k], `${at}.${k}`) : [`${at}.${k} is not documented`])),
  ];
}
