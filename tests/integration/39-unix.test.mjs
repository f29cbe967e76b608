// Unix sockets as addresses of origins.
import assert from 'node:assert/strict';
import http from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { freePort, removeDirectory, temporaryDirectory } from '../support/process.mjs';
import { Service } from '../support/service.mjs';

let dir;
let origin;
let proxy;
let port;

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
  await new Promise((resolve) => origin.listen(path, resolve));
  port = await freePort();
  const opsPort = await freePort();
  proxy = await new Service('proxy', {
    dir,
    opsPort,
    config: `
listeners: ["127.0.0.1:${port}"]
workers: "2"
ops: { address: "127.0.0.1:${opsPort}" }
timeouts: { drain_delay: 0s, shutdown: 1s }
pools:
  unix: { backends: ["unix:${path}"], health: { path: /health, interval: 200ms, timeout: 200ms } }
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
