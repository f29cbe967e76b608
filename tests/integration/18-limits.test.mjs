// What one client address may take: requests a second, and connections at a time.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { freePort, removeDirectory, sleep, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { answering, ask, connect, ok } from '../support/raw.mjs';
import { Service } from '../support/service.mjs';

let dir;
let origin;
let proxy;
let port;
let own;
let ownPort;

const start = async (name, listen, text) => {
  const opsPort = await freePort();
  return new Service('proxy', {
    dir,
    name,
    opsPort,
    config: `
listeners: [{ address: "127.0.0.1:${listen}" }]
workers: "2"
ops: { address: "127.0.0.1:${opsPort}" }
pools: { p: { backends: ["http://127.0.0.1:${origin.port}"] } }
${text}
`,
  }).start();
};

before(async () => {
  dir = temporaryDirectory('limits');
  origin = await answering(() => ok('x')).start();
  port = await freePort();
  ownPort = await freePort();
  // A rate of one in 1000 seconds would be clearer, but a rate is N/s: a large burst at 1/s stands still within a test.
  proxy = await start('rates', port, `
timeouts: { drain_delay: 0s, shutdown: 2s }
trusted_proxies: [127.0.0.1/32]
limits: { rate_per_ip: 1/s, burst_per_ip: 40 }
routes:
  - { path: /, pool: p, cors: { origins: ["*"] } }
  - { path: /few, pool: p, rate_per_ip: 1/s, burst_per_ip: 5 }
`);
  own = await start('connections', ownPort, `
limits: { connections_per_ip: 3, min_rate: 200 }
timeouts: { drain_delay: 0s, shutdown: 2s, request_body_idle: 1s }
routes: [{ path: /, pool: p }]
`);
});

after(async () => {
  await origin?.stop();
  await proxy?.stop();
  await own?.stop();
  removeDirectory(dir);
});

const from = (address, path = '/') => ask(port, `GET ${path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: ${address}\r\n\r\n`);

// How many of `count` pass; the rate may let one more in each second that the test takes.
async function passed(count, address, path) {
  let admitted = 0;
  let last;
  for (let i = 0; i < count; i++) {
    last = await from(address, path);
    if (last.status === 200) admitted += 1;
  }
  return { admitted, last };
}

describe('requests of one address', () => {
  test('are limited on a route, over all workers, and say when to come again', async () => {
    const began = Date.now();
    const { admitted } = await passed(20, '192.0.2.1', '/few');
    assert.ok(admitted >= 5 && admitted <= 6 + (Date.now() - began) / 1000, `${admitted}`);
    const refused = await waitUntil('a refusal', async () => {
      const response = await from('192.0.2.1', '/few');
      return response.status === 429 && response;
    });
    assert.match(refused.json().type, /rate-exceeded$/);
    assert.equal(refused.json().retryable, true);
    assert.match(refused.headers['retry-after'], /^[1-5]$/);
    assert.equal(refused.headers['ratelimit-policy'], '"default";q=1;w=1');
    assert.match(refused.headers.ratelimit, /^"default";r=0;t=[1-5]$/);
    assert.notEqual(refused.headers.connection, 'close');
  });

  test('do not limit another address, nor another route', async () => {
    assert.equal((await from('192.0.2.2', '/few')).status, 200);
    assert.equal((await from('192.0.2.1')).status, 200);
  });

  test('are limited over all routes, those that do not exist too, with CORS on the refusal', async () => {
    const began = Date.now();
    const { admitted } = await passed(60, '2001:db8:1:2::1');
    assert.ok(admitted >= 40 && admitted <= 42 + (Date.now() - began) / 1000, `${admitted}`);
    const { last } = await passed(3, '2001:db8:1:2:ffff::9');
    assert.equal(last.status, 429, 'IPv6 counts by /64');
    assert.equal(last.headers['access-control-allow-origin'], '*');
  });

  test('what a stranger says of its address is not believed', async () => {
    const { admitted } = await passed(50, '6.6.6.6, 203.0.113.9');
    assert.ok(admitted >= 40, 'the rightmost one counts');
    assert.equal((await passed(3, '7.7.7.7, 203.0.113.9')).last.status, 429);
    assert.equal((await from('6.6.6.6')).status, 200);
  });
});

test('connections of one address', async () => {
  const held = [];
  for (let i = 0; i < 3; i++) {
    const wire = await connect(ownPort);
    wire.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    assert.equal((await wire.response()).status, 200);
    held.push(wire);
  }
  const fourth = await connect(ownPort);
  assert.equal((await fourth.rest()).length, 0);
  assert.ok((await own.metric('octroi_proxy_connections_refused_total')) >= 1);
  held.pop().close();
  await waitUntil('the place to be free', async () => {
    const response = await ask(ownPort, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n').catch(() => null);
    return response?.status === 200;
  });
  held[0].write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await held[0].response()).status, 200);
  for (const wire of held) wire.close();
});

test('a body that drips is refused, one that is only slow is not', async () => {
  // Sends `piece` each 50 ms until all is sent or an answer has come.
  const send = async (piece, count) => {
    const wire = await connect(ownPort);
    wire.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${piece.length * count}\r\n\r\n`);
    for (let i = 0; i < count && wire.data.length === 0; i++) {
      await wire.write(piece);
      await sleep(50);
    }
    const response = await wire.response();
    wire.close();
    return response.status;
  };
  assert.equal(await send('x', 400), 408);
  assert.equal(await send('x'.repeat(100), 40), 200);
});
