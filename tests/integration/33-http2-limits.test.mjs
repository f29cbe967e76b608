// HTTP/2: what keeps a connection or a stream busy without doing anything with it, and ends that must not cost a request.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import * as h2 from '../support/h2raw.mjs';
import { freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { answering, connect, ok } from '../support/raw.mjs';
import { Service } from '../support/service.mjs';

let dir;
let origin;
let proxy;
let port;

before(async () => {
  dir = temporaryDirectory('http2-limits');
  const number = (name, { line }) => Number(new RegExp(`${name}=(\\d+)`).exec(line)?.[1] ?? 0);
  const fields = (count) => Array.from({ length: count }, (_, i) => `X-${i}: ${'v'.repeat(4000)}\r\n`).join('');
  origin = await answering((request) => ok('x'.repeat(number('big', request) || 2), fields(number('fields', request)))).start();
});

afterEach(async () => {
  await proxy?.stop();
  proxy = null;
});

after(async () => {
  await origin?.stop();
  removeDirectory(dir);
});

async function start(timeouts, limits = '') {
  port = await freePort();
  const opsPort = await freePort();
  proxy = await new Service('proxy', {
    dir, opsPort,
    config: `
listeners: ["127.0.0.1:${port}"]
workers: "1"
ops: { address: "127.0.0.1:${opsPort}" }
limits: { ${limits} }
timeouts: { drain_delay: 0s, ${timeouts} }
pools: { it: { backends: ["http://127.0.0.1:${origin.port}"] } }
routes: [{ path: /, pool: it }]
`,
  }).start();
}

const connections = () => proxy.metric('octroi_proxy_connections');

describe('idle times', () => {
  test('a body that drips ends at its time, as in HTTP/1.1 (limits.min_rate)', async () => {
    await start('shutdown: 2s, request_body_idle: 1s');
    const client = await h2.connectH2(port);
    await client.write(h2.open(1));
    const drip = setInterval(() => client.write(h2.frame(h2.DATA, 0, 1, 'a')), 100); // 10 bytes a second, of 64
    try {
      assert.equal(await client.status(1), -1);
      const problem = await client.next(({ type, stream }) => type === h2.DATA && stream === 1);
      assert.match(problem.payload.toString(), /request-timeout/);
    } finally {
      clearInterval(drip);
      client.close();
    }
  });

  test('a body that flows, slowly but faster than that, is waited for', async () => {
    await start('shutdown: 2s, request_body_idle: 2s');
    const client = await h2.connectH2(port);
    await client.write(h2.open(1));
    for (let i = 0; i < 12; i += 1) {
      await client.write(h2.frame(h2.DATA, 0, 1, 'a'.repeat(100)));
      await pause(250);
    }
    await client.write(h2.frame(h2.DATA, h2.END_STREAM, 1));
    assert.equal(await client.status(1), 200);
    client.close();
  });

  test('who takes no answers does not stay by asking for more of them', async () => {
    await start('shutdown: 2s, response_write_idle: 1s');
    const client = await h2.connectH2(port, [h2.settings([[4, 0x7fffffff]]), h2.windowUpdate(0, 0x3fffffff)]);
    client.socket.pause();
    let stream = 1;
    const ask = (path) => client.write(h2.get((stream += 2), [], { path }));
    for (let i = 0; i < 80; i += 1) await ask('/?big=200000');
    const more = setInterval(() => ask('/'), 300);
    try {
      await waitUntil('the connection to be closed', async () => (await connections()) === 0);
    } finally {
      clearInterval(more);
      client.close();
    }
  });

  // Time is what is tested: it passes while the process is stopped, and both are due when it goes on.
  test('a request that came before the idle time was looked at is served, over HTTP/1.1 and HTTP/2', async () => {
    await start('shutdown: 2s, keepalive_idle: 3s');
    const client = await h2.connectH2(port);
    const plain = await connect(port);
    await client.write(h2.get(1));
    assert.equal(await client.status(1), 200);
    const get = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
    plain.write(get);
    assert.equal((await plain.response()).status, 200);
    process.kill(proxy.pid, 'SIGSTOP');
    try {
      await pause(3300);
      await client.write(h2.get(3));
      await plain.write(get);
    } finally {
      process.kill(proxy.pid, 'SIGCONT');
    }
    assert.equal(await client.status(3), 200);
    assert.equal((await plain.response()).status, 200);
    client.close();
    plain.close();
  });
});

test('an answer with a head of 100 KB arrives whole', { timeout: 30_000 }, async () => {
  await start('shutdown: 2s', 'header_bytes: 128KiB');
  const client = http2.connect(`http://127.0.0.1:${port}`, { maxHeaderListSize: 1 << 20, maxHeaderListPairs: 500 });
  try {
    const request = client.request({ ':path': '/?fields=25' });
    const [headers] = await once(request, 'response');
    assert.equal(headers[':status'], 200);
    for (let i = 0; i < 25; i += 1) assert.equal(headers[`x-${i}`].length, 4000);
  } finally {
    client.destroy();
  }
});

test('a request with a head of 250 KB arrives whole where header_bytes allows it', { timeout: 30_000 }, async () => {
  await start('shutdown: 2s', 'header_bytes: 256KiB');
  const fields = Object.fromEntries(Array.from({ length: 5 }, (_, i) => [`x-${i}`, `${i}`.repeat(50_000)]));
  const client = http2.connect(`http://127.0.0.1:${port}`, { maxSendHeaderBlockLength: 1 << 20 });
  try {
    const request = client.request({ ':path': '/whole', ...fields });
    const [headers] = await once(request, 'response');
    assert.equal(headers[':status'], 200);
    const arrived = origin.requests.at(-1).headers;
    for (const [name, value] of Object.entries(fields)) assert.equal(arrived[name], value);
  } finally {
    client.destroy();
  }
});

describe('drain', () => {
  test('a connection that speaks HTTP/2 after the drain began is told to go, and its request is served', async () => {
    await start('shutdown: 8s');
    const silent = await connect(port);
    await waitUntil('the connection to be counted', async () => (await connections()) === 1);
    proxy.process.signal('SIGTERM');
    await waitUntil('the drain', () => proxy.logContains(/"draining"/));
    const client = new h2.RawH2(silent.socket);
    await client.write(h2.PREFACE, h2.settings(), h2.get(1));
    assert.equal(await client.status(1), 200);
    const began = Date.now();
    assert.deepEqual(await client.goaway(), { last: 1, code: h2.NO_ERROR });
    await client.end();
    assert.ok(Date.now() - began < 6000, 'before the deadline of the drain');
    await proxy.process.exited;
  });
});
