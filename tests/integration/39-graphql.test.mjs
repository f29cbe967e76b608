// GraphQL is weighed before anything is taken for it, and reaches the origin as it came.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';

import { freePort, removeDirectory, temporaryDirectory } from '../support/process.mjs';
import { connect } from '../support/raw.mjs';
import { Service } from '../support/service.mjs';

let dir;
let origin;
let proxy;
let port;
const seen = [];

before(async () => {
  dir = temporaryDirectory('graphql');
  origin = createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    seen.push({ method: request.method, url: request.url, body, expect: request.headers.expect });
    response.end('{"data":{}}');
  });
  await new Promise((resolve) => origin.listen(0, '127.0.0.1', resolve));
  port = await freePort();
  const opsPort = await freePort();
  proxy = await new Service('proxy', {
    dir,
    opsPort,
    config: `
listeners: ["127.0.0.1:${port}"]
workers: "2"
ops: { address: "127.0.0.1:${opsPort}" }
pools:
  api: { backends: ["http://127.0.0.1:${origin.address().port}"] }
routes:
  - { path: /graphql, pool: api, graphql: { max_cost: 100, max_depth: 4 } }
`,
  }).start();
});

after(async () => {
  await proxy?.stop();
  origin?.closeAllConnections();
  origin?.close();
  removeDirectory(dir);
});

const post = (body, headers = {}) => fetch(`http://127.0.0.1:${port}/graphql`, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers }, duplex: 'half' });
const problem = async (response) => `${response.status} ${(await response.json()).type.split('/').pop()}`;
const query = (text, more = {}) => JSON.stringify({ query: text, ...more });

test('what is light enough passes, byte for byte', async () => {
  for (const body of [query('{a b}'), ` ${query('{a(first:99){b}}')} `, `[${query('{a}')},${query('{b}')}]`, query('query($n:Int){a(first:$n){b}}', { variables: { n: 50 } })]) {
    const response = await post(body);
    assert.equal(response.status, 200, await response.text());
    assert.equal(seen.at(-1).body, body);
  }
  const chunked = new ReadableStream({ start(c) { for (const c1 of query('{a}')) c.enqueue(new TextEncoder().encode(c1)); c.close(); } });
  assert.equal((await post(chunked)).status, 200);
  assert.equal(seen.at(-1).body, query('{a}'));
  const get = await fetch(`http://127.0.0.1:${port}/graphql?query=${encodeURIComponent('{a{b}}')}`);
  assert.equal(get.status, 200);
  assert.equal(seen.at(-1).url, `/graphql?query=${encodeURIComponent('{a{b}}')}`);
});

const refused = [
  ['too heavy', query('{a(first:101){b}}'), {}, '400 query-too-complex'],
  ['too heavy by a variable', query('query($n:Int){a(first:$n){b}}', { variables: { n: 1000 } }), {}, '400 query-too-complex'],
  ['too heavy together', `[${query('{a(first:60){b}}')},${query('{a(first:60){b}}')}]`, {}, '400 query-too-complex'],
  ['too deep', query('{a{b{c{d{e}}}}}'), {}, '400 query-too-complex'],
  ['not GraphQL', query('{a'), {}, '400 bad-request'],
  ['not JSON', '{', {}, '400 bad-request'],
  ['a key twice', '{"query":"{a}","query":"{b}"}', {}, '400 bad-request'],
  ['a stored query', JSON.stringify({ extensions: { persistedQuery: { version: 1, sha256Hash: 'x' } } }), {}, '400 bad-request'],
  ['another type', 'query={a}', { 'content-type': 'application/x-www-form-urlencoded' }, '415 unsupported-media-type'],
  ['a coding', 'xx', { 'content-encoding': 'gzip' }, '415 unsupported-media-type'],
  ['too long', `"${'x'.repeat(140_000)}"`, {}, '413 body-too-large'],
];
for (const [what, body, headers, expected] of refused) {
  test(`refused: ${what}`, async () => {
    const before = seen.length;
    assert.equal(await problem(await post(body, headers)), expected);
    assert.equal(seen.length, before);
  });
}

test('a number that bounds a list weighs however it is written', async () => {
  const by = (n) => query('query($n:Int){a(first:$n){b}}', { variables: { n } });
  assert.equal(await problem(await post(by(0).replace('"n":0', '"n":1e3'))), '400 query-too-complex');
  assert.equal(await problem(await post(by(0).replace('"n":0', '"n":1000.0'))), '400 query-too-complex');
  assert.equal(await problem(await post(by('1000'))), '400 query-too-complex');
  assert.equal(await problem(await post(query('{a(first:1e3){b}}'))), '400 query-too-complex');
  assert.equal(await problem(await post(query('query($n:Float=1e3){a(first:$n){b}}'))), '400 query-too-complex');
  for (const n of [50, 0.5, -1000, 'cursor', null, true]) assert.equal((await post(by(n))).status, 200, String(n));
});

// Servers prefer the URL's query to the body's, or read the body in the encoding that it names.
test('a light body does not carry a heavy query past the scales', async () => {
  const heavy = encodeURIComponent('{a(first:1000){b}}');
  const to = (search, headers) => fetch(`http://127.0.0.1:${port}/graphql${search}`, { method: 'POST', body: query('{a}'), headers: { 'content-type': 'application/json', ...headers } });
  const before = seen.length;
  for (const search of [`?query=${heavy}`, `?x=1&%71uery=${heavy}`, '?variables=%7B%22n%22:1000%7D', '?operationName=B', '?extensions=%7B%7D', `?%20query=${heavy}`, `?query[]=${heavy}`, `?x=1;query=${heavy}`]) {
    assert.equal(await problem(await to(search)), '400 bad-request', search);
  }
  for (const charset of ['utf-7', 'utf-16', '"utf-7"', 'utf-8; charset=utf-7']) {
    assert.equal(await problem(await to('', { 'content-type': `application/json; charset=${charset}` })), '415 unsupported-media-type', charset);
  }
  assert.equal(seen.length, before);
  assert.equal((await to('?trace=1&queries=2')).status, 200);
  for (const type of ['application/json;charset=UTF-8', 'Application/JSON ; charset="utf-8"', 'application/json;']) assert.equal((await to('', { 'content-type': type })).status, 200, type);
});

test('a query by GET that servers read in different ways is refused', async () => {
  const light = encodeURIComponent('{a}');
  const heavy = encodeURIComponent('{a(first:1000){b}}');
  const before = seen.length;
  for (const search of [`?query=${light}%23;query=${heavy}`, `?query=${light}&%20query=${heavy}`, `?query=${light}&query%5B%5D=${heavy}`, `?query=${light}&query=${heavy}`, `?query=${light}&query%00=${heavy}`]) {
    assert.equal(await problem(await fetch(`http://127.0.0.1:${port}/graphql${search}`)), '400 bad-request', search);
  }
  assert.equal(seen.length, before);
});

test('other methods are refused; a mutation by GET too', async () => {
  const url = `http://127.0.0.1:${port}/graphql`;
  assert.equal(await problem(await fetch(url, { method: 'PUT', body: '{}' })), '405 method-not-allowed');
  assert.equal(await problem(await fetch(`${url}?query=${encodeURIComponent('mutation{a}')}`)), '400 bad-request');
});

test('a client that waits for 100 gets it from the proxy, and the origin sees no Expect', async () => {
  const wire = await connect(port);
  const body = query('{a}');
  wire.write(`POST /graphql HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: ${body.length}\r\n\r\n`);
  assert.equal((await wire.response()).status, 100);
  wire.write(body);
  assert.equal((await wire.response()).status, 200);
  assert.equal(seen.at(-1).expect, undefined);
  wire.close();
});

test('a client that leaves in the middle of its query reaches no origin', async () => {
  const before = seen.length;
  const wire = await connect(port);
  wire.write('POST /graphql HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"query":');
  wire.close();
  assert.equal((await post(query('{a}'))).status, 200);
  assert.equal(seen.length, before + 1);
});
