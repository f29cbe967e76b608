// Which request goes where: hosts, prefixes, redirects, rewriting, trusted proxies, and what a configuration may say.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { latch } from '../support/gate.mjs';
import { canConnect, freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { answering, ask, connect, ok } from '../support/raw.mjs';
import { Service, binary } from '../support/service.mjs';

let dir;
let proxy;
let port;
let opsPort;
const origins = {};

before(async () => {
  dir = temporaryDirectory('routing');
  for (const name of ['site', 'api', 'v2', 'wild', 'two']) {
    origins[name] = await answering((request) => ok(JSON.stringify({ name, line: request.line, headers: request.headers }))).start();
  }
  port = await freePort();
  opsPort = await freePort();
  const url = (name) => `"http://127.0.0.1:${origins[name].port}"`;
  proxy = await new Service('proxy', {
    dir,
    opsPort,
    config: `
listeners: [{ address: "127.0.0.1:${port}" }]
workers: "1"
ops: { address: "127.0.0.1:${opsPort}" }
trusted_proxies: [127.0.0.0/8]
timeouts: { drain_delay: 0s, shutdown: 2s }
pools:
  site: { backends: [${url('site')}] }
  api: { backends: [${url('api')}] }
  v2: { backends: [${url('v2')}] }
  wild: { backends: [${url('wild')}] }
  both: { backends: [{ url: ${url('site')}, weight: 3 }, ${url('two')}] }
  least: { balance: least_connections, backends: [${url('site')}, ${url('two')}] }
routes:
  - { path: /, pool: site }
  - { path: /v1/, pool: api }
  - { path: /v1/two, pool: v2, strip_prefix: true, host_rewrite: true }
  - { path: /v3/, pool: v2, prefix_rewrite: /api/v4/ }
  - { path: /top, pool: v2, prefix_rewrite: / }
  - { host: api.example.com, path: /x, pool: api }
  - { host: "*.example.com", path: /, pool: wild }
  - { host: old.example.org, redirect: { to: "https://example.org", status: 308 } }
  - { path: /gone, redirect: { to: "https://example.org/new", status: 302 } }
  - { path: /both, pool: both }
  - { path: /least, pool: least }
`,
  }).start();
});

after(async () => {
  for (const origin of Object.values(origins)) await origin.stop();
  await proxy?.stop();
  removeDirectory(dir);
});

const get = (path, host = 'test', extra = '') => ask(port, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${extra}\r\n`);
const where = async (path, host) => (await get(path, host)).json().name;

describe('routes', () => {
  const cases = [
    ['/', 'test', 'site'],
    ['/v1', 'test', 'api'],
    ['/v1/', 'test', 'api'],
    ['/v1/a', 'test', 'api'],
    ['/v1x', 'test', 'site'],
    ['/v1/two', 'test', 'v2'],
    ['/v1/two/deep/er', 'test', 'v2'],
    ['/v1/twos', 'test', 'api'],
    ['/x/../v1/a', 'test', 'api'],
    ['/%76%31/a', 'test', 'api'],
    ['//v1/a', 'test', 'api'],
    ['/x', 'api.example.com', 'api'],
    ['/x', 'API.Example.COM.:80', 'api'],
    ['/y', 'api.example.com', 'wild'],
    ['/x', 'deep.er.example.com', 'wild'],
    ['/x', 'example.com', 'site'],
    ['/x', 'notexample.com', 'site'],
  ];
  for (const [path, host, name] of cases) test(`${host}${path} goes to ${name}`, async () => assert.equal(await where(path, host), name));

  test('a stripped prefix and a rewritten Host', async () => {
    const seen = (await get('/v1/two/deep?q')).json();
    assert.equal(seen.line, 'GET /deep?q HTTP/1.1');
    assert.equal(seen.headers.host, `127.0.0.1:${origins.v2.port}`);
    assert.equal((await get('/v1/two')).json().line, 'GET / HTTP/1.1');
  });

  test('a prefix is replaced by another, at its boundary', async () => {
    const line = async (path) => (await get(path)).json().line;
    assert.equal(await line('/v3/a/b?q=/v3/'), 'GET /api/v4/a/b?q=/v3/ HTTP/1.1');
    assert.equal(await line('/v3'), 'GET /api/v4 HTTP/1.1');
    assert.equal(await line('/v3/'), 'GET /api/v4/ HTTP/1.1');
    assert.equal(await line('/v3//evil.example/../%2e/x'), 'GET /api/v4/x HTTP/1.1');
    assert.equal(await line('/top'), 'GET / HTTP/1.1');
    assert.equal(await line('/top?q'), 'GET /?q HTTP/1.1');
    assert.equal(await line('/top//evil.example/x'), 'GET /evil.example/x HTTP/1.1');
    assert.equal(await where('/v3x'), 'site');
  });

  test('what the origin would see is bounded as what the client says is', async () => {
    const longest = 8192 - '/api/v4/'.length;
    assert.equal((await get(`/v3/${'a'.repeat(longest)}`)).status, 200);
    assert.equal((await get(`/v3/${'a'.repeat(longest + 1)}`)).status, 414);
  });

  test('redirects', async () => {
    const moved = await get('/a/b?c=d', 'old.example.org');
    assert.equal(moved.status, 308);
    assert.equal(moved.headers.location, 'https://example.org/a/b?c=d');
    assert.equal((await get('/gone/away')).headers.location, 'https://example.org/new');
  });

  test('weights', async () => {
    const counts = { site: 0, two: 0 };
    for (let i = 0; i < 40; i++) counts[await where('/both')] += 1;
    assert.deepEqual(counts, { site: 30, two: 10 });
  });

  test('least connections uses both', async () => {
    const names = new Set();
    for (let i = 0; i < 40; i++) names.add(await where('/least'));
    assert.equal(names.size, 2);
  });
});

test('Max-Forwards of OPTIONS is counted down, and at 0 the answer is ours (RFC 9110 section 7.6.2)', async () => {
  const before = origins.site.requests.length;
  const send = (method, ...values) =>
    ask(port, `${method} /a HTTP/1.1\r\nHost: test\r\n${values.map((value) => `Max-Forwards: ${value}\r\n`).join('')}\r\n`);
  for (const [sent, seen] of [['10', '9'], ['1', '0'], ['007', '6'], ['99999999999999999999', '999999998']]) {
    assert.equal((await send('OPTIONS', sent)).json().headers['max-forwards'], seen);
  }
  assert.equal((await send('GET', '0')).json().headers['max-forwards'], '0', 'of other methods it means nothing');
  assert.equal((await send('OPTIONS')).json().headers['max-forwards'], undefined);
  assert.equal(origins.site.requests.length, before + 6);
  assert.equal((await send('OPTIONS', '0')).status, 204);
  for (const wrong of [['-1'], ['x'], [''], ['1, 2'], ['1', '2']]) assert.equal((await send('OPTIONS', ...wrong)).status, 400);
  assert.equal(origins.site.requests.length, before + 6, 'the origin was not asked');
});

test('a trusted proxy speaks for its client', async () => {
  const seen = (await get('/', 'test', 'X-Forwarded-For: 6.6.6.6, 203.0.113.7, 127.0.0.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\nX-Request-Id: abc-1\r\nForwarded: for=203.0.113.7\r\n')).json().headers;
  assert.equal(seen['x-forwarded-for'], '6.6.6.6, 203.0.113.7, 127.0.0.9, 127.0.0.1');
  assert.equal(seen['x-forwarded-proto'], 'https');
  assert.equal(seen['x-forwarded-host'], 'shop.example');
  assert.equal(seen['x-request-id'], 'abc-1');
  assert.match(seen.forwarded, /^for=203\.0\.113\.7, for=127\.0\.0\.1;proto=http;host="test"$/);
  await waitUntil('the log line', () => proxy.logContains('"client":"203.0.113.7"'));
});

test('blanks, tabs and empty elements in X-Forwarded-For hide nobody', async () => {
  const spellings = ['203.0.113.21 , 127.0.0.9', '203.0.113.22,\t127.0.0.9\t', '203.0.113.23, , 127.0.0.9', ',203.0.113.24,,', ' 203.0.113.25\t,127.0.0.9'];
  for (const list of spellings) await get('/', 'test', `X-Forwarded-For: ${list}\r\n`);
  for (let i = 21; i <= 25; i += 1) await waitUntil(`the log line of ${i}`, () => proxy.logContains(`"client":"203.0.113.${i}"`));
});

test('a trusted proxy may speak by Forwarded alone; what is malformed goes no further', async () => {
  const seen = (await get('/', 'test', 'Forwarded: for=6.6.6.6, for="203.0.113.8:99", for=127.0.0.9\r\n')).json().headers;
  assert.equal(seen['x-forwarded-for'], '127.0.0.1');
  await waitUntil('the log line', () => proxy.logContains('"client":"203.0.113.8"'));
  const broken = (await get('/', 'test', 'Forwarded: for="6.6.6.6\r\n')).json().headers;
  assert.match(broken.forwarded, /^for=127\.0\.0\.1;/);
});

test('the query never reaches the log', async () => {
  const id = (await get('/?access_token=topsecret')).headers['x-request-id'];
  await waitUntil('the log line', () => proxy.logContains(id));
  assert.ok(!proxy.logContains('topsecret'));
});

test('metrics count by route, method and class', async () => {
  const name = 'octroi_proxy_requests_total';
  const labels = 'route="/v1/",method="DELETE",class="2xx"';
  await ask(port, 'DELETE /v1/z HTTP/1.1\r\nHost: test\r\n\r\n');
  assert.equal(await proxy.metric(name, labels), 1);
});

test('drain finishes what is under way and says so', async () => {
  const held = latch();
  const slow = await answering(async ({ target }) => {
    if (target === '/held') await held;
    return ok('slow');
  }).start();
  const own = await freePort();
  const ops = await freePort();
  const service = await new Service('proxy', {
    dir,
    name: 'drained',
    opsPort: ops,
    config: `
listeners: ["127.0.0.1:${own}"]
ops: { address: "127.0.0.1:${ops}" }
timeouts: { drain_delay: 0s, shutdown: 30s }
pools: { slow: { backends: ["http://127.0.0.1:${slow.port}"] } }
routes: [{ pool: slow }]
`,
  }).start();
  const wire = await connect(own);
  const idle = await connect(own);
  idle.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await idle.response();
  wire.write('GET /held HTTP/1.1\r\nHost: a\r\n\r\n');
  await waitUntil('it to be under way', () => slow.requests.length === 2);
  service.process.signal('SIGTERM');
  await waitUntil('the listener to close', async () => !(await canConnect(own)));
  held.open();
  const response = await wire.response();
  assert.equal(response.body.toString(), 'slow');
  assert.equal(response.headers.connection, 'close');
  assert.equal((await idle.rest()).length, 0);
  await service.process.exited;
  assert.equal(service.process.exit.code, 0);
  await service.stop();
  await slow.stop();
});

describe('a configuration that is refused', () => {
  const base = { listeners: '["127.0.0.1:1"]', pools: '{ a: { backends: ["http://127.0.0.1:1"] } }', routes: '[{ path: /, pool: a }]' };
  const cases = [
    ['an unknown key', { nonsense: '1' }, /nonsense/],
    ['an unknown protocol', { routes: '[{ path: /, pool: a, protocols: [gopher] }]' }, /protocols/],
    ['an unknown pool', { routes: '[{ path: /, pool: b }]' }, /no pool b/],
    ['a route twice', { routes: '[{ path: /v1, pool: a }, { path: /v1/, pool: a }]' }, /twice/],
    ['a pool and a redirect', { routes: '[{ path: /, pool: a, redirect: { to: "http://x" } }]' }, /one of pool, redirect and respond/],
    ['a sold route without billing', { routes: '[{ path: /, pool: a, access: subscription, service: s }]' }, /billing/],
    ['a sold route without a service', { routes: '[{ path: /, pool: a, access: subscription }]' }, /service/],
    ['a backend with another scheme', { pools: '{ a: { backends: ["ftp://127.0.0.1:1"] } }' }, /http:\/\//],
    ['a backend with a path', { pools: '{ a: { backends: ["http://127.0.0.1:1/x"] } }' }, /host and port/],
    ['a bad network', { trusted_proxies: '[10.0.0.0/33]' }, /10\.0\.0\.0\/33/],
    ['no workers', { workers: '"0"' }, /workers/],
  ];
  for (const [what, change, says] of cases)
    test(what, () => {
      const path = join(dir, 'refused.yaml');
      writeFileSync(path, Object.entries({ ...base, ...change }).map(([key, value]) => `${key}: ${value}\n`).join(''));
      const run = spawnSync(binary('proxy'), ['-c', path, '-t'], { encoding: 'utf8' });
      assert.notEqual(run.status, 0, run.stdout + run.stderr);
      assert.match(run.stdout + run.stderr, says);
    });
});
