// Clients and origins that mean harm, many at a time: each is bounded in memory and in time, nobody else notices, and nothing spins afterwards.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import net from 'node:net';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import tls from 'node:tls';

import { Authority } from '../support/certificates.mjs';
import { cpuMicroseconds, rssKib } from '../support/proc.mjs';
import { freePort, removeDirectory, sleep, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { RawOrigin, answering, ask, connect, ok } from '../support/raw.mjs';
import { Service } from '../support/service.mjs';
import { Steady } from '../support/steady.mjs';

const MB = 1024;
const GET = (path = '/', extra = '') => `GET ${path} HTTP/1.1\r\nHost: test\r\n${extra}\r\n`;
const big = Buffer.alloc(8 << 20, 'b');
// Freed memory goes back at once instead of waiting for a late use: what grows then is what leaks.
const env = { ASAN_OPTIONS: 'detect_leaks=1:quarantine_size_mb=1:thread_local_quarantine_size_kb=64' };

let dir;
let echo;
let hostile;
let proxy;
let port;
let tlsPort;
let steady;

async function flood(wire, bytes) {
  while (!wire.ended) {
    await wire.write(bytes);
    await sleep(0);
  }
}

// How each path's origin misbehaves.
const misdeeds = {
  '/slow-head': async (wire) => {
    await wire.write('HTTP/1.1 200 OK\r\nX-Slow: ');
    while (!wire.ended) {
      await wire.write('x');
      await sleep(50);
    }
  },
  '/endless-head': async (wire) => {
    await wire.write('HTTP/1.1 200 OK\r\n');
    await flood(wire, `X-More: ${'x'.repeat(1000)}\r\n`);
  },
  '/interims': (wire) => flood(wire, 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'.repeat(100)),
  '/reset': async (wire) => {
    await wire.write('HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nsome of it');
    wire.reset();
  },
  '/stall': (wire) => wire.write('HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nsome of it'),
  '/garbage': (wire) => wire.write(Buffer.alloc(100_000, 0)),
  '/silent': () => {},
  '/big': async (wire) => {
    await wire.write(`HTTP/1.1 200 OK\r\nContent-Length: ${big.length}\r\n\r\n`);
    await wire.write(big);
  },
};

// Those that answer at once are refused for what they say, not for the time they take.
const pools = { '/big': 'big', '/endless-head': 'talks', '/interims': 'talks', '/garbage': 'talks', '/reset': 'talks', '/stall': 'talks' };

before(async () => {
  dir = temporaryDirectory('abuse');
  echo = await answering((request) => ok(request.target)).start();
  hostile = await new RawOrigin(async (wire) => {
    for (;;) {
      const { target } = await wire.request();
      await misdeeds[target](wire);
    }
  }).start();
  const leaf = new Authority(dir).issue('server', ['IP:127.0.0.1']);
  port = await freePort();
  tlsPort = await freePort();
  const opsPort = await freePort();
  const dead = await freePort();
  proxy = await new Service('proxy', {
    dir,
    opsPort,
    env,
    config: `
listeners:
  - { address: "127.0.0.1:${port}" }
  - { address: "127.0.0.1:${tlsPort}", tls: { certificate: "${leaf.certificate}", key: "${leaf.key}" } }
workers: "2"
ops: { address: "127.0.0.1:${opsPort}" }
limits: { connections: 2500, in_flight: 2000, header_bytes: 16KiB }
timeouts: { drain_delay: 0s, shutdown: 2s, tls_handshake: 1s, request_head: 6s, request_body_idle: 1s, response_write_idle: 2s, keepalive_idle: 20s }
pools:
  echo: { backends: ["http://127.0.0.1:${echo.port}"] }
  hostile: { backends: ["http://127.0.0.1:${hostile.port}"], timeouts: { response_head: 1s, body_idle: 1s } }
  talks: { backends: ["http://127.0.0.1:${hostile.port}"], timeouts: { response_head: 30s, body_idle: 1s } }
  big: { backends: ["http://127.0.0.1:${hostile.port}"] }
  dead: { backends: ["http://127.0.0.1:${dead}"] }
routes:
  - { path: /, pool: echo }
  - { path: /dead, pool: dead }
  - { path: /bounded, pool: echo, timeouts: { request: 2s } }
${Object.keys(misdeeds).map((path) => `  - { path: ${path}, pool: ${pools[path] ?? 'hostile'} }`).join('\n')}
`,
  }).start();
});

after(async () => {
  await proxy?.stop();
  await echo?.stop();
  await hostile?.stop();
  removeDirectory(dir);
});

beforeEach(() => {
  steady = new Steady(port).start();
});

// Others were served meanwhile, all is let go afterwards, and an idle proxy is idle.
afterEach(async () => {
  await waitUntil('a well-behaved client to be served', () => steady.served > 20);
  await steady.stop();
  assert.deepEqual(steady.failures.slice(0, 3), []);
  await waitUntil('connections to end', async () => (await proxy.metric('octroi_proxy_connections')) === 0);
  assert.equal(await proxy.metric('octroi_proxy_requests_in_flight'), 0);
  await assertIdle(proxy.pid);
});

async function assertIdle(pid) {
  const start = cpuMicroseconds(pid);
  await sleep(500);
  const used = cpuMicroseconds(pid) - start;
  assert.ok(used < 150_000, `${used} µs of CPU time in half an idle second`);
}

// `first` is written as soon as a connection stands: who is long silent is only closed.
const open = async (count, { at = port, first } = {}) => {
  const wires = [];
  const one = async () => {
    const wire = await connect(at);
    if (first) wire.write(first);
    return wire;
  };
  while (wires.length < count) wires.push(...(await Promise.all(Array.from({ length: Math.min(100, count - wires.length) }, one))));
  return wires;
};

// A status, or how the connection ended.
const outcome = (wire) => wire.response().then(({ status }) => status, (error) => (/ended/.test(error.message) ? 'ended' : error.message));
const tally = (values) => values.reduce((counts, value) => ({ ...counts, [value]: (counts[value] ?? 0) + 1 }), {});

// KiB at the peak, said in the test's report.
async function growth(t, work) {
  const start = rssKib(proxy.pid);
  let peak = start;
  const timer = setInterval(() => { peak = Math.max(peak, rssKib(proxy.pid)); }, 20);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  t.diagnostic(`RSS grew by ${peak - start} KiB`);
  return peak - start;
}

describe('clients', () => {
  test('500 slow heads get their 408 at the deadline of the head, not of a byte', async () => {
    const wires = await open(500, { first: 'GET / HTTP/1.1\r\nHost: test\r\nX-Slow: ' });
    const timer = setInterval(() => wires.forEach((wire) => wire.ended || wire.write('x')), 100);
    const seen = tally(await Promise.all(wires.map(outcome)));
    clearInterval(timer);
    assert.deepEqual(seen, { 408: 500 });
    wires.forEach((wire) => wire.close());
  });

  test('1,000 connections that never say a word are closed', async () => {
    const wires = await open(1000);
    await Promise.all(wires.map((wire) => wire.rest()));
  });

  test('200 bodies that stop coming get their 408', async () => {
    const wires = await open(200, { first: 'POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nsome' });
    assert.deepEqual(tally(await Promise.all(wires.map(outcome))), { 408: 200 });
    wires.forEach((wire) => wire.close());
  });

  test('100 bodies that come a byte at a time end with the time of their requests', async () => {
    const wires = await open(100, { first: 'POST /bounded HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n' });
    const timer = setInterval(() => wires.forEach((wire) => wire.ended || wire.write('x')), 100);
    const seen = tally(await Promise.all(wires.map(outcome)));
    clearInterval(timer);
    assert.deepEqual(Object.keys(seen).filter((one) => !/^(408|504|ended)$/.test(one)), [], JSON.stringify(seen));
    wires.forEach((wire) => wire.close());
  });

  test('50 clients that never read 8 MB cost a bounded share of it, and are cut off', async (t) => {
    const sockets = [];
    const grown = await growth(t, async () => {
      for (let i = 0; i < 50; i += 1) {
        const socket = net.connect({ port, host: '127.0.0.1' });
        socket.on('error', () => {});
        socket.pause();
        socket.write(GET('/big'));
        sockets.push(socket);
      }
      await waitUntil('the proxy to give up', async () => (await proxy.metric('octroi_proxy_client_aborts_total')) >= 50);
    });
    sockets.forEach((socket) => socket.destroy());
    assert.ok(grown < 40 * MB, `grew by ${grown} KiB for 400 MB that nobody reads`);
  });

  test('200 header bombs are refused at the limit', async (t) => {
    const grown = await growth(t, async () => {
      const wires = await open(200, { first: GET('/', `X-Bomb: ${'x'.repeat(30_000)}\r\n`.repeat(20)) });
      // Who is still writing when the proxy has drained enough sees a reset instead of the answer.
      const { 431: refused, ended = 0, ...others } = tally(await Promise.all(wires.map(outcome)));
      assert.deepEqual([refused + ended, others], [200, {}]);
      wires.forEach((wire) => wire.close());
    });
    assert.ok(grown < 40 * MB, `grew by ${grown} KiB`);
  });

  test('a head of very many short lines is refused', async () => {
    const wires = await open(100, { first: `GET / HTTP/1.1\r\nHost: test\r\n${'a:\r\n'.repeat(3000)}\r\n` });
    assert.deepEqual(tally(await Promise.all(wires.map(outcome))), { 431: 100 });
    wires.forEach((wire) => wire.close());
  });

  test('10,000 connections come and go, resets among them', async () => {
    for (let batch = 0; batch < 50; batch += 1) {
      const wires = await open(200);
      wires.forEach((wire, i) => {
        if (i % 4 === 0) wire.reset();
        else wire.write(i % 4 === 1 ? GET() : 'GET / HT');
      });
      await Promise.all(wires.filter((_, i) => i % 4 === 1).map(async (wire) => assert.equal(await outcome(wire), 200)));
      wires.forEach((wire, i) => (i % 4 === 2 ? wire.reset() : wire.close()));
    }
  });

  test('connections beyond the limit are turned away; there is room again when the others left', async () => {
    const limit = 2500;
    // Of its own: the silent ones leave room again after six seconds, in which a busy machine does not accept so many.
    const [own, ops] = [await freePort(), await freePort()];
    const full = await new Service('proxy', { dir, name: 'full', opsPort: ops, env, config: `
listeners: ["127.0.0.1:${own}"]
workers: "2"
ops: { address: "127.0.0.1:${ops}" }
limits: { connections: ${limit}, in_flight: 2000 }
timeouts: { drain_delay: 0s, shutdown: 2s, request_head: 5m }
pools: { echo: { backends: ["http://127.0.0.1:${echo.port}"] } }
routes: [{ path: /, pool: echo }]
` }).start();
    const sockets = Array.from({ length: limit + 500 }, () => net.connect({ port: own, host: '127.0.0.1' }).on('error', () => {}));
    try {
      await waitUntil('500 to be refused', async () => (await full.metric('octroi_proxy_connections_refused_total')) >= 500);
      sockets.forEach((socket) => socket.destroy());
      await waitUntil('room', async () => (await ask(own, GET())).status === 200);
    } finally {
      sockets.forEach((socket) => socket.destroy());
      await full.stop();
    }
  });

  test('20,000 pipelined requests whose answers nobody reads wait in bounded memory, and are answered in order', async (t) => {
    const count = 20_000;
    const socket = net.connect({ port, host: '127.0.0.1' });
    let answers = '';
    socket.pause();
    const grown = await growth(t, async () => {
      for (let i = 0; i < count; i += 1) socket.write(GET(`/${i}`));
      await sleep(1000);
    });
    assert.ok(grown < 30 * MB, `grew by ${grown} KiB`);
    socket.on('data', (data) => { answers += data.toString('latin1'); });
    socket.resume();
    await waitUntil('the answers', () => answers.endsWith(`/${count - 1}`), { timeout: 180_000 });
    const order = [...answers.matchAll(/\r\n\r\n\/(\d+)/g)].map((match) => Number(match[1]));
    assert.deepEqual(order, Array.from({ length: count }, (_, i) => i));
    socket.destroy();
  });

  test('half-closed connections do not stay', async () => {
    const wires = await open(300);
    wires.forEach((wire, i) => wire.socket.end(i % 2 ? 'GET / HT' : undefined));
    await Promise.all(wires.map((wire) => wire.rest()));
  });
});

describe('TLS', () => {
  const rest = (wires) => Promise.all(wires.map((wire) => wire.rest()));

  test('500 handshakes that do not begin are ended at their deadline', async () => {
    await rest(await open(500, { at: tlsPort }));
  });

  test('500 handshakes a byte at a time are ended at the same deadline', async () => {
    const wires = await open(500, { at: tlsPort });
    const hello = Buffer.concat([Buffer.from('1603010200010001fc0303', 'hex'), Buffer.alloc(506)]);
    let at = 0;
    const timer = setInterval(() => {
      wires.forEach((wire) => wire.ended || wire.write(hello.subarray(at, at + 1)));
      at += 1;
    }, 50);
    await rest(wires);
    clearInterval(timer);
  });

  test('what is no handshake is closed', async () => {
    const wires = await open(300, { at: tlsPort });
    const garbage = ['GET / HTTP/1.1\r\nHost: test\r\n\r\n', Buffer.alloc(20_000, 0xff), Buffer.alloc(20_000), Buffer.from('16030140000100', 'hex')];
    wires.forEach((wire, i) => wire.write(garbage[i % garbage.length]));
    await rest(wires);
  });

  test('memory is flat over 3,000 handshakes, a third of them left halfway', async (t) => {
    const visit = (i) => new Promise((resolve) => {
      const socket = tls.connect({ port: tlsPort, host: '127.0.0.1', rejectUnauthorized: false });
      socket.on('error', resolve).on('close', resolve);
      socket.on('secureConnect', () => socket.write(GET('/', 'Connection: close\r\n')));
      socket.on('data', () => {});
      if (i % 3 === 0) socket.once('connect', () => setImmediate(() => socket.destroy()));
    });
    const churn = async (count) => {
      for (let done = 0; done < count; done += 50) await Promise.all(Array.from({ length: 50 }, (_, i) => visit(i)));
    };
    await churn(500);
    const start = rssKib(proxy.pid);
    await churn(3000);
    const grown = rssKib(proxy.pid) - start;
    t.diagnostic(`RSS grew by ${grown} KiB`);
    assert.ok(grown < 8 * MB, `grew by ${grown} KiB over 3,000 handshakes`);
  });
});

describe('origins', () => {
  const expected = {
    '/slow-head': { 504: 50 },
    '/endless-head': { 502: 50 },
    '/interims': { 502: 50 },
    '/garbage': { 502: 50 },
    '/silent': { 504: 50 },
    '/reset': { ended: 50 },
    '/stall': { ended: 50 },
  };

  test('whatever they do at once: the right error for each, bounded memory', async (t) => {
    const grown = await growth(t, async () => {
      const seen = await Promise.all(Object.keys(expected).map(async (path) => {
        const wires = await open(50, { first: GET(path) });
        const outcomes = await Promise.all(wires.map(async (wire) => {
          for (;;) {
            const result = await outcome(wire);
            if (result !== 103) return result;
          }
        }));
        wires.forEach((wire) => wire.close());
        return [path, tally(outcomes)];
      }));
      assert.deepEqual(Object.fromEntries(seen), expected);
    });
    assert.ok(grown < 60 * MB, `grew by ${grown} KiB`);
  });

  test('an origin that refuses connections costs its own requests, and no time', async () => {
    const started = cpuMicroseconds(proxy.pid);
    for (let batch = 0; batch < 10; batch += 1) {
      const answers = await Promise.all(Array.from({ length: 100 }, () => ask(port, GET('/dead'))));
      assert.deepEqual(Object.keys(tally(answers.map(({ status }) => status))).filter((status) => status !== '502' && status !== '503'), []);
    }
    const each = (cpuMicroseconds(proxy.pid) - started) / 1000;
    assert.ok(each < 10_000, `${each} µs of CPU time for each`);
  });
});

describe('exhaustion', () => {
  const limitFiles = (limit) => execFileSync('prlimit', ['--pid', String(proxy.pid), `--nofile=${limit}:`]);
  const softLimit = () => Number(execFileSync('prlimit', ['--pid', String(proxy.pid), '--nofile', '--raw', '--noheadings', '--output', 'SOFT']).toString());

  test('without descriptors it sheds and waits, does not spin, and recovers', async (t) => {
    await steady.stop();
    const normal = softLimit();
    const kept = await connect(port);
    await kept.write(GET());
    assert.equal((await kept.response()).status, 200);
    limitFiles(40);
    const sockets = [];
    try {
      for (let i = 0; i < 200; i += 1) sockets.push(net.connect({ port, host: '127.0.0.1' }).on('error', () => {}));
      await sleep(300);
      const start = cpuMicroseconds(proxy.pid);
      await sleep(1000);
      const used = cpuMicroseconds(proxy.pid) - start;
      t.diagnostic(`${used} µs of CPU time`);
      assert.ok(used < 300_000, `${used} µs of CPU time in a second without descriptors`);
      await kept.write(GET());
      assert.equal((await kept.response()).status, 200, 'who is there is served');
    } finally {
      limitFiles(normal);
    }
    sockets.forEach((socket) => socket.destroy());
    kept.close();
    await waitUntil('new connections', async () => (await ask(port, GET())).status === 200);
    steady = new Steady(port).start();
  });

  test('memory is flat over 20,000 connections', async (t) => {
    const churn = async (count) => {
      for (let done = 0; done < count; done += 100) {
        const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => ask(port, i % 10 ? GET() : 'nonsense\r\n\r\n')));
        assert.deepEqual(tally(answers.map(({ status }) => status)), { 200: 90, 400: 10 });
      }
    };
    await churn(4000);
    const start = rssKib(proxy.pid);
    await churn(20_000);
    const grown = rssKib(proxy.pid) - start;
    t.diagnostic(`RSS grew by ${grown} KiB`);
    assert.ok(grown < 8 * MB, `grew by ${grown} KiB over 20,000 connections`);
  });
});
