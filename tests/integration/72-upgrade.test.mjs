// The binary is replaced while it serves (USR2): the new process takes over the very sockets, and the old one goes on where it cannot.
// Drain: what is under way is finished, idle connections are closed, a second signal ends at once.
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';

import { canConnect, freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { RawOrigin, answering, ask, connect, ok } from '../support/raw.mjs';
import { Service, binary } from '../support/service.mjs';
import { Traffic } from '../support/traffic.mjs';

const built = binary('proxy');
let dir;
let proxy;
let port;
let opsPort;
let origin;
let traffic;
let program;

before(() => {
  dir = temporaryDirectory('upgrade');
  process.env.OCTROI_BIN = dir;
  program = join(dir, 'proxy');
});

after(() => removeDirectory(dir));

const install = (content) => {
  const next = join(dir, 'next');
  if (content) writeFileSync(next, content);
  else copyFileSync(built, next);
  chmodSync(next, 0o755);
  renameSync(next, program);
};

const config = ({ workers = 2, more = '', timeouts = '' } = {}) => `
listeners: [{ address: "127.0.0.1:${port}" }]
workers: "${workers}"
ops: { address: "127.0.0.1:${opsPort}" }
timeouts: { drain_delay: 0s, shutdown: 10s ${timeouts} }
access_log: { sample: 0 }
pools:
  site: { backends: ["http://127.0.0.1:${origin.port}"] }
routes:
  - { path: /, pool: site }
${more}
`;

const running = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

const livez = async () => (await fetch(`http://127.0.0.1:${opsPort}/livez`, { headers: { connection: 'close' } })).json();
const readyz = async () => (await fetch(`http://127.0.0.1:${opsPort}/readyz`, { headers: { connection: 'close' } })).status;
const write = (options) => writeFileSync(proxy.configFile, config(options));

let pids;
const start = async (options) => {
  proxy = await new Service('proxy', { dir, opsPort, config: config(options) }).start();
  pids = [proxy.pid];
  return proxy;
};

// The pid of the process that serves after it.
const upgrade = async () => {
  const old = pids.at(-1);
  process.kill(old, 'SIGUSR2');
  const pid = await waitUntil('the new process', async () => {
    const now = (await livez()).pid;
    return now !== old && (await readyz()) === 200 && now;
  });
  pids.push(pid);
  return { old, pid };
};

const fails = async (says) => {
  const marks = () => proxy.process.log().split('\n').filter((line) => line.includes('upgrade failed'));
  const before = marks().length;
  process.kill(pids.at(-1), 'SIGUSR2');
  await waitUntil('the upgrade to fail', () => marks().length === before + 1);
  assert.match(marks().at(-1), says);
  assert.equal((await livez()).pid, pids.at(-1));
  assert.equal(await readyz(), 200);
};

beforeEach(async () => {
  install();
  port = await freePort();
  opsPort = await freePort();
  origin = await answering((request) => ok(`origin ${request.target}`)).start();
});

afterEach(async () => {
  await traffic?.stop();
  traffic = null;
  for (const pid of (pids ?? []).slice(1)) {
    if (running(pid)) process.kill(pid, 'SIGTERM');
    await waitUntil(`process ${pid} to end`, () => !running(pid));
  }
  await proxy?.stop();
  rmSync(proxy.process.logFile, { force: true });
  proxy = null;
  await origin.stop();
});

describe('USR2', () => {
  test('5 upgrades under load, each with another number of workers: nothing is dropped', async () => {
    await start();
    traffic = new Traffic(port, { check: (response, path) => response.status === 200 && response.body.toString() === `origin ${path}`, path: () => '/load' }).start();
    await waitUntil('some load', () => traffic.served > 100);
    const took = [];
    for (const workers of [1, 3, 2, 4, 2]) {
      const served = traffic.served;
      const began = Date.now();
      write({ workers });
      const { old } = await upgrade();
      took.push(Date.now() - began);
      await waitUntil('the old process to end', () => !running(old) || (pids.length === 2 && proxy.process.exit));
      await waitUntil('more load', () => traffic.served > served + 50);
    }
    await traffic.stop();
    console.log(`5 upgrades in ${took.join(', ')} ms: ${traffic.served} requests on ${traffic.connections} connections, longest ${traffic.longest} ms`);
    assert.deepEqual(traffic.failures, []);
  });

  test('/readyz answers 200 throughout', async () => {
    await start();
    const seen = [];
    let asking = true;
    const ended = (async () => {
      while (asking) seen.push(await readyz().catch((error) => error.message));
    })();
    await upgrade();
    await upgrade();
    asking = false;
    await ended;
    assert.deepEqual([...new Set(seen)], [200]);
  });

  test('a request that the old process has is finished there, the new one takes what is new', async () => {
    let release;
    const slow = await new RawOrigin(async (wire) => {
      await wire.request();
      await wire.write('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf');
      await new Promise((resolve) => {
        release = resolve;
      });
      await wire.write('done');
    }).start();
    try {
      await start();
      writeFileSync(proxy.configFile, config().replace(String(origin.port), String(slow.port)));
      proxy.process.signal('SIGHUP');
      await waitUntil('the reload', async () => (await proxy.metric('octroi_proxy_config_version')) === 2);
      const wire = await connect(port);
      wire.write('GET /slow HTTP/1.1\r\nHost: test\r\n\r\n');
      await wire.upTo('half');
      write({});
      const { old } = await upgrade();
      assert.equal((await ask(port, 'GET /new HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n')).body.toString(), 'origin /new');
      assert.ok(running(old));
      release();
      assert.equal((await wire.take(4)).toString(), 'done');
      await waitUntil('the old process to end', () => proxy.process.exit);
      assert.deepEqual(proxy.process.exit, { code: 0, signal: null });
      wire.close();
    } finally {
      await slow.stop();
    }
  });

  const failures = [
    ['ends at once', () => install('#!/bin/sh\nexit 3\n'), /ended before it was ready.*exit status 3/],
    ['is no program', () => install('nonsense'), /Exec format error/],
    ['is not there', () => rmSync(program), /No such file/],
    ['never becomes ready', () => install('#!/bin/sh\nexec sleep 600\n'), /did not become ready in time.*signal 9/],
    ['does not take the configuration', () => writeFileSync(proxy.configFile, 'nonsense: 1\n'), /exit status 1/],
  ];
  for (const [what, prepare, says] of failures) {
    test(`a new binary that ${what}: the old process goes on, and a good one follows`, async () => {
      await start({ timeouts: ', upgrade: 3s' });
      traffic = new Traffic(port, { kept: 2, fresh: 2 }).start();
      prepare();
      await fails(says);
      install();
      write({});
      await upgrade();
      await traffic.stop();
      assert.deepEqual(traffic.failures, []);
    });
  }

  test('a reload that comes while the new process starts is not lost', async () => {
    await start();
    process.kill(proxy.pid, 'SIGUSR2');
    await waitUntil('the upgrade to begin', () => proxy.logContains('"upgrade begins"'), { every: 1 });
    process.kill(proxy.pid, 'SIGHUP');
    const pid = await waitUntil('the new process', async () => {
      const now = (await livez()).pid;
      return now !== proxy.pid && now;
    });
    pids.push(pid);
    await waitUntil('its reload', async () => (await proxy.metric('octroi_config_reloads_total', 'ok')) === 1);
  });
});

describe('drain', () => {
  test('/readyz says so first, while requests are still served; what is under way is finished', async () => {
    proxy = await new Service('proxy', { dir, opsPort, config: config().replace('drain_delay: 0s', 'drain_delay: 2s') }).start();
    pids = [proxy.pid];
    proxy.process.signal('SIGTERM');
    await waitUntil('/readyz to say no', async () => (await readyz()) === 503);
    assert.equal((await ask(port, 'GET /still HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n')).status, 200);
    await waitUntil('the listener to close', async () => !(await canConnect(port)));
    await waitUntil('the end', () => proxy.process.exit);
    assert.deepEqual(proxy.process.exit, { code: 0, signal: null });
  });

  test('a connection that was accepted and has said nothing yet is still answered, with Connection: close', async () => {
    await start({ workers: 1 });
    const wire = await connect(port);
    await waitUntil('it to be accepted', async () => (await proxy.metric('octroi_proxy_connections')) === 1);
    proxy.process.signal('SIGTERM');
    await waitUntil('the listener to close', async () => !(await canConnect(port)));
    wire.write('GET /late HTTP/1.1\r\nHost: test\r\n\r\n');
    const response = await wire.response();
    assert.equal(response.status, 200);
    assert.equal(response.headers.connection, 'close');
    await waitUntil('the end', () => proxy.process.exit);
  });

  test('a second TERM ends at once', async () => {
    const stuck = await new RawOrigin(async (wire) => {
      await wire.request();
    }).start();
    try {
      await start();
      writeFileSync(proxy.configFile, config().replace(String(origin.port), String(stuck.port)));
      proxy.process.signal('SIGHUP');
      await waitUntil('the reload', async () => (await proxy.metric('octroi_proxy_config_version')) === 2);
      const wire = await connect(port);
      wire.write('GET / HTTP/1.1\r\nHost: test\r\n\r\n');
      await waitUntil('the request to be under way', () => stuck.connections === 1);
      proxy.process.signal('SIGTERM');
      await waitUntil('the drain', () => proxy.logContains('"draining"'));
      await waitUntil('the listener to close', async () => !(await canConnect(port)));
      assert.equal(proxy.process.exit, null);
      proxy.process.signal('SIGTERM');
      await waitUntil('the end', () => proxy.process.exit, { timeout: 8000 });
      assert.deepEqual(proxy.process.exit, { code: 0, signal: null });
      wire.close();
    } finally {
      await stuck.stop();
    }
  });
});
