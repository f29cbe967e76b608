// Unix sockets on both sides: as an origin's address, and as one that the proxy listens on.
import assert from 'node:assert/strict';
import { existsSync, statSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { Service } from '../support/service.mjs';

let dir;
let origin;
let proxy;
let port;
let listen;

const ask = (target, path = '/', headers = {}) =>
  new Promise((resolve, reject) => {
    http.get({ ...target, path, headers: { host: 'test', connection: 'close', ...headers } }, (response) => {
      let text = '';
      response.on('data', (bytes) => { text += bytes; });
      response.on('end', () => resolve({ status: response.statusCode, json: response.statusCode === 200 ? JSON.parse(text) : text }));
    }).on('error', reject);
  });

before(async () => {
  dir = temporaryDirectory('unix');
  origin = http.createServer((request, response) => response.end(JSON.stringify(request.headers)));
  const path = join(dir, 'origin.sock');
  listen = join(dir, 'proxy.sock');
  await new Promise((resolve) => origin.listen(path, resolve));
  port = await freePort();
  const opsPort = await freePort();
  proxy = await new Service('proxy', {
    dir,
    opsPort,
    config: `
listeners: ["127.0.0.1:${port}", "unix:${listen}"]
workers: "2"
ops: { address: "127.0.0.1:${opsPort}" }
timeouts: { drain_delay: 0s, shutdown: 1s }
pools:
  unix: { backends: ["unix:${path}"], health: { path: /health, interval: 10s, timeout: 10s } }
  gone: { backends: ["unix:${dir}/nobody.sock"] }
routes:
  - { path: /, pool: unix }
  - { path: /own, pool: unix, host_rewrite: true }
  - { path: /gone, pool: gone }
`,
  }).start();
});

after(async () => {
  origin?.closeAllConnections();
  origin?.close();
  await proxy?.stop();
  removeDirectory(dir);
});

test('an origin behind a Unix socket is reached, and checked', async () => {
  const { status, json } = await ask({ port });
  assert.equal(status, 200);
  assert.equal(json.host, 'test');
  assert.equal((await ask({ port }, '/own')).json.host, 'localhost');
  assert.equal((await ask({ port }, '/gone')).status, 502);
});

test('a client of a Unix socket is served; it has no address', async () => {
  for (let i = 0; i < 10; i += 1) {
    const { status, json } = await ask({ socketPath: listen });
    assert.equal(status, 200);
    assert.equal(json['x-forwarded-for'], 'unknown');
    assert.match(json.forwarded, /^for=unknown;proto=http/);
  }
  await waitUntil('the access log', () => proxy.logContains('"client":"unix"'));
  assert.equal(statSync(listen).mode & 0o777, 0o660);
});

test('a socket that a killed process left is taken over; one that serves is not; a stop removes it', async () => {
  await proxy.kill();
  assert.ok(existsSync(listen));
  await proxy.start();
  assert.equal((await ask({ socketPath: listen })).status, 200);
  const second = new Service('proxy', { dir, name: 'second', opsPort: await freePort(), config: `
listeners: ["unix:${listen}"]
ops: { address: "127.0.0.1:${await freePort()}" }
pools: { unix: { backends: ["unix:${join(dir, 'origin.sock')}"] } }
routes: [{ path: /, pool: unix }]
` });
  second.spawn();
  const { code } = await second.process.exited;
  assert.notEqual(code, 0);
  assert.ok(second.logContains(/in use/i), second.process.log());
  assert.equal((await ask({ socketPath: listen })).status, 200);
  await proxy.stop();
  assert.ok(!existsSync(listen));
});
