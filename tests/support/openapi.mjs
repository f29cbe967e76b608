// A page of docs/openapi against what a service answers: each answer must be one that is written down (status, content type, headers, body),
// and at the end each that is written down must have been met. A schema keyword that is not understood here is an error.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';

import { root } from './process.mjs';

const TYPES = {
  object: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  array: Array.isArray,
  string: (value) => typeof value === 'string',
  integer: Number.isInteger,
  number: (value) => typeof value === 'number',
  boolean: (value) => typeof value === 'boolean',
  null: (value) => value === null,
};
const FORMATS = {
  'date-time': (text) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(text) && !Number.isNaN(Date.parse(text)),
  date: (text) => /^\d{4}-\d\d-\d\d$/.test(text) && !Number.isNaN(Date.parse(text)),
  uuid: (text) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text),
  uri: (text) => URL.canParse?.(text) ?? Boolean(new URL(text)),
};
// keyword: whether (value, of the schema, the schema) is right.
const RULES = {
  type: (value, types) => [types].flat().some((type) => TYPES[type](value)),
  enum: (value, among) => among.includes(value),
  pattern: (value, pattern) => new RegExp(pattern, 'u').test(value),
  format: (value, format) => FORMATS[format](value),
  minLength: (value, least) => value.length >= least,
  maxLength: (value, most) => value.length <= most,
  minimum: (value, least) => value >= least,
  maximum: (value, most) => value <= most,
  minItems: (value, least) => value.length >= least,
  maxItems: (value, most) => value.length <= most,
  required: (value, names) => names.every((name) => Object.hasOwn(value, name)),
};
const ELSEWHERE = ['$ref', 'description', 'nullable', 'default', 'properties', 'additionalProperties', 'items', 'allOf'];

// A comma in an unquoted description makes a key of what follows it.
function noStrayKeys(thing, at) {
  for (const [key, value] of Object.entries(thing)) {
    assert.ok(value !== null || Array.isArray(thing), `${at}: '${key}' means nothing`);
    if (typeof value === 'object' && value !== null) noStrayKeys(value, `${at}/${key}`);
  }
}

// A page with schemas.
export class Page {
  constructor(file, name) {
    this.name = name;
    this.page = parse(readFileSync(join(root, 'docs', file), 'utf8'));
    noStrayKeys(this.page, name);
    this.met = new Set();
  }

  resolve(thing) {
    if (!thing?.$ref) return thing;
    const found = thing.$ref.slice(2).split('/').reduce((at, key) => at?.[key], this.page);
    assert.ok(found, `${this.name}: nothing is at ${thing.$ref}`);
    return this.resolve(found);
  }

  // Where the value is not as the schema says, '' if it is.
  differs(value, named, at = 'body') {
    const schema = this.resolve(named);
    if (value === null && schema.nullable) return '';
    for (const [keyword, rule] of Object.entries(schema)) {
      assert.ok(keyword in RULES || ELSEWHERE.includes(keyword), `${this.name}: ${keyword} is not understood`);
      if (RULES[keyword] && !RULES[keyword](value, rule)) return `${at}: ${JSON.stringify(value)?.slice(0, 300)} is not of ${keyword} ${JSON.stringify(rule)}`;
    }
    return this.differsInside(value, schema, at);
  }

  differsInside(value, { properties = {}, additionalProperties = true, items, allOf = [] }, at) {
    const found = allOf.map((one) => this.differs(value, one, at));
    if (items) value.forEach((one, i) => found.push(this.differs(one, items, `${at}[${i}]`)));
    if (TYPES.object(value)) {
      for (const [key, one] of Object.entries(value)) {
        const schema = Object.hasOwn(properties, key) ? properties[key] : additionalProperties;
        if (schema === false) found.push(`${at}.${key} is not documented`);
        else if (schema !== true) found.push(this.differs(one, schema, `${at}.${key}`));
      }
    }
    return found.find(Boolean) ?? '';
  }
}

export class OpenApi extends Page {
  constructor(name) {
    super(`openapi/${name}.yaml`, name);
    this.operations = Object.entries(this.page.paths).flatMap(([template, methods]) => Object.entries(methods).map(([method, operation]) => ({
      method: method.toUpperCase(), template, operation, matches: new RegExp(`^${template.replaceAll('.', '\\.').replace(/\{\w+\}/g, '[^/]+')}$`),
    })));
  }

  // An answer as { status, headers (of fetch), text } to a request with this body, if it has one that should be right.
  check(method, path, { status, headers, text }, asked) {
    const what = `${this.name}: ${method} ${path}: ${status}`;
    const found = this.operations.find((one) => one.method === method && one.matches.test(path.split('?')[0]));
    assert.ok(found, `${what}: no such operation is documented`);
    const { operation, template } = found;
    const key = operation.responses[status] ? String(status) : 'default';
    assert.ok(operation.responses[key], `${what} is not documented: ${text.slice(0, 300)}`);
    const response = this.resolve(operation.responses[key]);
    for (const [name, { schema }] of Object.entries(response.headers ?? {})) {
      const value = headers.get(name);
      assert.ok(value !== null, `${what}: without ${name}`);
      assert.equal(this.differs(this.resolve(schema).type === 'integer' ? Number(value) : value, schema, name), '', what);
    }
    const type = headers.get('content-type')?.split(';')[0];
    assert.ok(response.content?.[type], `${what}: ${type} is not documented`);
    assert.equal(this.differs(JSON.parse(text), response.content[type].schema), '', what);
    if (asked && status < 300) assert.equal(this.differs(asked, this.resolve(operation.requestBody).content['application/json'].schema, 'request'), '', what);
    this.met.add(`${method} ${template} ${key}`);
  }

  // Documented answers that no check has met.
  get unmet() {
    return this.operations.flatMap(({ method, template, operation }) => Object.keys(operation.responses).map((key) => `${method} ${template} ${key}`))
      .filter((one) => !this.met.has(one));
  }
}
