// Bugs that were found once, each by its name.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import net from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import tls from 'node:tls';

import { freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { RawOrigin, answering, ask, ok } from '../support/raw.mjs';
import { Service } from '../support/service.mjs';

const GET = 'GET / HTTP/1.1\r\nHost: test\r\n\r\n';

// A proxy in front of one origin, for the time of `use(port)`. `listener(dir)` is what its listener has besides an address.
async function withProxy({ origin, pool = '', listener = () => '', routes = '' }, use) {
  const dir = temporaryDirectory('regression');
  await origin.start();
  const port = await freePort();
  const opsPort = await freePort();
  const config = `
listeners: [{ address: "127.0.0.1:${port}"${listener(dir)} }]
workers: "1"
ops: { address: "127.0.0.1:${opsPort}" }
timeouts: { drain_delay: 0s, shutdown: 1s }
pools: { raw: { backends: ["http://127.0.0.1:${origin.port}"]${pool} } }
routes: [{ path: /, pool: raw }${routes}]
`;
  const proxy = new Service('proxy', { dir, opsPort, config });
  try {
    await proxy.start();
    await use(port);
  } finally {
    await proxy.stop();
    await origin.stop();
    removeDirectory(dir);
  }
}

test('an origin that sends its head a byte at a time does not move the deadline of the head', async () => {
  let dripping;
  const drip = async (wire) => {
    await wire.request();
    await wire.write('HTTP/1.1 200 OK\r\nX-Slow: ');
    dripping = setInterval(() => wire.ended || wire.write('x'), 50);
  };
  await withProxy({ origin: new RawOrigin(drip), pool: ', timeouts: { response_head: 500ms }' }, async (port) => {
    const { status } = await ask(port, GET);
    assert.equal(status, 504);
  });
  clearInterval(dripping);
});

function certificate(dir) {
  const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=test', '-keyout', key, '-out', cert], { stdio: 'pipe' });
  return `, tls: { certificate: "${cert}", key: "${key}" }`;
}

test('a resumed TLS 1.3 session is given a ticket for the next one', async () => {
  const visit = (port, session) => new Promise((resolve, reject) => {
    let fresh;
    const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, minVersion: 'TLSv1.3', session }, () => socket.write(GET));
    socket.on('session', (ticket) => { fresh = ticket; });
    socket.on('error', reject);
    socket.once('data', () => {
      resolve({ reused: socket.isSessionReused(), session: fresh });
      socket.destroy();
    });
  });
  await withProxy({ origin: answering(() => ok('fine')), listener: certificate }, async (port) => {
    const first = await visit(port);
    const second = await visit(port, first.session);
    assert.deepEqual({ first: first.reused, second: second.reused }, { first: false, second: true });
    assert.ok(second.session, 'a ticket for the third visit');
    assert.equal((await visit(port, second.session)).reused, true);
  });
});

// The bus answers nothing, so the last batch is waited for, while the loops have ended already.
test('a loop that has ended is not taken for stuck while the journal is being reported', async () => {
  const dir = temporaryDirectory('regression');
  const bus = net.createServer((socket) => {
    let greeted = false;
    socket.on('error', () => {});
    socket.write('INFO {"server_id":"x","version":"2.10.0","proto":1,"headers":true,"max_payload":1048576}\r\n');
    socket.on('data', (bytes) => {
      if (!greeted && bytes.includes('PING')) socket.write('PONG\r\n');
      greeted = greeted || bytes.includes('PING');
    });
  });
  await new Promise((resolve) => bus.listen(0, '127.0.0.1', resolve));
  const opsPort = await freePort();
  const proxy = new Service('proxy', { dir, opsPort, config: `
listeners: ["127.0.0.1:${await freePort()}"]
workers: "2"
ops: { address: "127.0.0.1:${opsPort}" }
timeouts: { drain_delay: 0s, shutdown: 5s }
watchdog: { stuck: 1s, abort: 3s }
billing: { nats: { urls: ["nats://127.0.0.1:${bus.address().port}"] }, journal: "${dir}/journal/" }
pools: { raw: { backends: ["http://127.0.0.1:1"] } }
routes: [{ path: /, pool: raw }]
` });
  try {
    proxy.spawn();
    await proxy.alive();
    await waitUntil('the bus', () => proxy.logContains('nats is connected'));
    const began = Date.now();
    await proxy.stop();
    assert.deepEqual(proxy.process.exit, { code: 0, signal: null });
    assert.ok(!proxy.logContains('a loop is stuck'));
    assert.ok(Date.now() - began > 4000, 'it had to wait for the bus');
  } finally {
    await proxy.stop();
    bus.close();
    removeDirectory(dir);
  }
});

test('a path parameter does not lead past a route to an origin that cuts it off', async () => {
  const origin = answering((request) => ok(request.target));
  await withProxy({ origin, routes: ', { path: /v1/, respond: { status: 402 } }, { path: /a/b, respond: { status: 402 } }' }, async (port) => {
    const get = async (path) => (await ask(port, `GET ${path} HTTP/1.1\r\nHost: test\r\n\r\n`)).status;
    for (const path of ['/v1;x/data', '/v1;', '/v1;x=1;y/', '/;x/v1/data', '/a;x/b', '/a;/b;c/d']) assert.equal(await get(path), 400, path);
    for (const path of ['/v1/data', '/v1/da;x/ta', '/a/b/c;x']) assert.equal(await get(path), 402, path);
    for (const path of ['/other;x=1/y', '/x;v1/']) assert.equal(await get(path), 200, path);
  });
});
