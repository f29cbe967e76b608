// The proxy without any file: REVERSE_PROXY_* variables alone make a one-route proxy.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';

import { freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { answering, ask, ok } from '../support/raw.mjs';
import { Service, binary } from '../support/service.mjs';

const skip = existsSync('/etc/octroi/proxy.yaml') && 'this machine has a configuration at the default place';
const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('REVERSE_PROXY_')));

let dir;
let origins;
let proxy;
let port;
let healthy = true;

before(async () => {
  if (skip) return;
  dir = temporaryDirectory('environment');
  origins = [];
  for (const name of ['one', 'two'])
    origins.push(
      await answering((request) => {
        if (request.target === '/up') return healthy ? ok('up') : 'HTTP/1.1 500 Down\r\nContent-Length: 0\r\n\r\n';
        return ok(JSON.stringify({ name, line: request.line, headers: request.headers, size: request.body.length }));
      }).start(),
    );
  port = await freePort();
  const opsPort = await freePort();
  proxy = await new Service('proxy', {
    dir,
    opsPort,
    config: null,
    env: {
      REVERSE_PROXY_UPSTREAMS: origins.map((origin) => `http://127.0.0.1:${origin.port}`).join(', '),
      REVERSE_PROXY_LISTEN: `127.0.0.1:${port}`,
      REVERSE_PROXY_OPS_ADDRESS: `127.0.0.1:${opsPort}`,
      REVERSE_PROXY_CONNECT_TIMEOUT_MS: '500',
      REVERSE_PROXY_MAX_IN_FLIGHT: '100',
      REVERSE_PROXY_STREAM_LARGE_BODIES: 'true',
      REVERSE_PROXY_STREAM_THRESHOLD_BYTES: '1024',
      REVERSE_PROXY_HEALTHCHECK: '/up',
      REVERSE_PROXY_HEALTHCHECK_INTERVAL_SECS: '1',
      REVERSE_PROXY_SHUTDOWN_GRACE_SECONDS: '2',
      REVERSE_PROXY_CIRCUIT_BREAKER: 'true',
      REVERSE_PROXY_CIRCUIT_BREAKER_FAILURE_THRESHOLD: '3',
      REVERSE_PROXY_CIRCUIT_BREAKER_OPEN_MS: '200',
      REVERSE_PROXY_RETRY_BACKOFF_BASE_MS: '1',
      REVERSE_PROXY_RETRY_BACKOFF_MAX_MS: '5',
      REVERSE_PROXY_TRUSTED_PROXIES: '127.0.0.1/32',
      REVERSE_PROXY_METRICS_BEARER_TOKEN: 's3cret-._~+/=',
      REVERSE_PROXY_EXPOSE_DEBUG_HEADERS: 'true',
    },
  }).start();
});

after(async () => {
  for (const origin of origins ?? []) await origin.stop();
  await proxy?.stop();
  if (dir) removeDirectory(dir);
});

const get = (path, extra = '') => ask(port, `GET ${path} HTTP/1.1\r\nHost: test\r\n${extra}\r\n`);

describe('the environment alone', { skip }, () => {
  test('serves every path from all origins', async () => {
    const names = new Set();
    for (let i = 0; i < 10; i++) {
      const response = await get(`/any/path?${i}`);
      assert.equal(response.status, 200);
      names.add(response.json().name);
    }
    assert.deepEqual([...names].sort(), ['one', 'two']);
  });

  test('streams bodies that are larger than the threshold', async () => {
    const body = 'x'.repeat(300_000);
    const response = await ask(port, `POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    assert.equal(response.json().size, body.length);
  });

  test('believes its trusted proxies', async () => {
    const seen = (await get('/', 'X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n')).json().headers;
    assert.equal(seen['x-forwarded-for'], '203.0.113.7, 127.0.0.1');
    assert.equal(seen['x-forwarded-proto'], 'https');
  });

  test('shows its health on the public port too', async () => {
    assert.equal((await get('/livez')).status, 200);
    assert.equal((await get('/healthz')).status, 200);
    assert.equal((await get('/readyz')).status, 200);
    assert.equal((await get('/healthz?check=upstream')).status, 200);
    assert.equal((await get('/healthzz')).json().line, 'GET /healthzz HTTP/1.1');
  });

  test('shows its metrics to who has the token', async () => {
    assert.equal((await get('/metrics')).status, 401);
    const response = await get('/metrics', 'Authorization: Bearer s3cret-._~+/=\r\n');
    assert.equal(response.status, 200);
    assert.match(response.body.toString(), /^octroi_proxy_requests_total/m);
  });

  test('does not open the rest of the operations listener', async () => {
    for (const path of ['/loglevel', '/status']) assert.match((await get(path)).json().line, new RegExp(`GET ${path} `), path);
    assert.notEqual((await ask(port, 'PUT /livez/../loglevel HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\ndebug')).json().line, undefined);
  });

  test('says so when the origins are down', async () => {
    healthy = false;
    await waitUntil('the check of the origins', async () => (await get('/healthz?check=upstream')).status === 503);
    healthy = true;
    await waitUntil('the origins to be back', async () => (await get('/healthz?check=upstream')).status === 200);
  });
});

describe('variables', { skip }, () => {
  const run = (env) => spawnSync(binary('proxy'), ['-t'], { encoding: 'utf8', env: { ...clean, ...env } });

  test('that are good', () => {
    const result = run({ REVERSE_PROXY_UPSTREAMS: 'http://127.0.0.1:9001' });
    assert.equal(result.status, 0, result.stderr);
  });

  for (const [name, value] of [
    ['REVERSE_PROXY_UPSTREAMS', 'nonsense'],
    ['REVERSE_PROXY_MAX_IN_FLIGHT', '-1'],
    ['REVERSE_PROXY_TRUSTED_PROXIES', '10.0.0.0/99'],
    ['REVERSE_PROXY_CIRCUIT_BREAKER', 'perhaps'],
    ['REVERSE_PROXY_TYPO', '1'],
  ])
    test(`that are not: ${name}=${value}`, () => {
      const result = run({ REVERSE_PROXY_UPSTREAMS: 'http://127.0.0.1:9001', [name]: value });
      assert.notEqual(result.status, 0);
      assert.match(result.stderr, new RegExp(name));
    });

  test('a named file wins, and an absent one is an error', () => {
    const result = run({ REVERSE_PROXY_UPSTREAMS: 'http://127.0.0.1:9001', REVERSE_PROXY_CONFIG_PATH: '/nonexistent.yaml' });
    assert.notEqual(result.status, 0);
    assert.match(result.stderr, /nonexistent\.yaml/);
  });
});
