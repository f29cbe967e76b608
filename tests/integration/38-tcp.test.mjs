// Listeners in mode tcp: bytes pass as they are, in both directions and each to its own end.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';

import { freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { RawOrigin, Wire, connect } from '../support/raw.mjs';
import { Service } from '../support/service.mjs';

let dir;
let proxy;
let origin;
let other;
let handle;
const ports = {};
const served = { origin: 0, other: 0 };

const half = { allowHalfOpen: true };
const dial = (port) => new Promise((resolve, reject) => {
  const socket = net.connect({ port, host: '127.0.0.1', noDelay: true, ...half }, () => resolve(new Wire(socket)));
  socket.once('error', reject);
});

before(async () => {
  dir = temporaryDirectory('tcp');
  const serve = (name) => new RawOrigin(async (wire) => { served[name] += 1; await handle(wire, name); }, half).start();
  origin = await serve('origin');
  other = await serve('other');
  for (const name of ['one', 'two', 'dead', 'half', 'few', 'socket', 'header', 'quiet', 'ops', 'nobody']) ports[name] = await freePort();
  const dead = await freePort();
  proxy = await new Service('proxy', {
    dir,
    opsPort: ports.ops,
    config: `
listeners:
  - { address: "127.0.0.1:${ports.one}", mode: tcp, pool: one }
  - { address: "127.0.0.1:${ports.two}", mode: tcp, pool: two }
  - { address: "127.0.0.1:${ports.dead}", mode: tcp, pool: dead }
  - { address: "127.0.0.1:${ports.half}", mode: tcp, pool: half }
  - { address: "127.0.0.1:${ports.few}", mode: tcp, pool: few }
  - { address: "127.0.0.1:${ports.socket}", mode: tcp, pool: socket }
  - { address: "127.0.0.1:${ports.header}", mode: tcp, pool: header, proxy_protocol: required }
workers: "2"
ops: { address: "127.0.0.1:${ports.ops}" }
timeouts: { drain_delay: 0s, shutdown: 1s, tunnel_idle: 2s }
pools:
  one: { backends: ["http://127.0.0.1:${origin.port}"] }
  two: { backends: ["http://127.0.0.1:${origin.port}", "http://127.0.0.1:${other.port}"] }
  dead: { backends: ["http://127.0.0.1:${dead}"] }
  half: { backends: ["http://127.0.0.1:${dead}", "http://127.0.0.1:${other.port}"] }
  few: { backends: [{ url: "http://127.0.0.1:${origin.port}", max_connections: 1 }] }
  socket: { backends: ["unix:${dir}/nobody.sock", "http://127.0.0.1:${other.port}"] }
  header: { backends: ["http://127.0.0.1:${origin.port}"], send_proxy: v2 }
routes: [{ path: /, pool: one }]
`,
  }).start();
});

after(async () => {
  await origin?.stop();
  await other?.stop();
  await proxy?.stop();
  removeDirectory(dir);
});

const echo = async (wire) => {
  wire.socket.pipe(wire.socket);
  await new Promise((resolve) => wire.socket.once('close', resolve));
};
const rss = () => Number(readFileSync(`/proc/${proxy.pid}/statm`, 'utf8').split(' ')[1]) * 4096;
const gone = () => waitUntil('no tunnel', async () => (await proxy.metric('octroi_proxy_connections_by_protocol', 'tcp')) === 0);

describe('bytes', () => {
  test('pass both ways, and each end by itself', async () => {
    handle = async (wire) => {
      await wire.write('hello ');
      const rest = await wire.rest();
      await wire.write(`${rest} `);
      wire.socket.end('bye');
    };
    const wire = await dial(ports.one);
    await wire.upTo('hello ');
    wire.socket.end('to the end');
    assert.equal((await wire.rest()).toString(), 'to the end bye');
    await gone();
    await waitUntil('the line of the access log', () => proxy.logContains(/"protocol":"TCP".*"pool":"one"|"pool":"one".*"protocol":"TCP"/));
    const line = proxy.process.log().split('\n').map((text) => { try { return JSON.parse(text); } catch { return {}; } }).find(({ protocol }) => protocol === 'TCP');
    assert.equal(line.bytes_in, 10);
    assert.equal(line.bytes_out, 20);
    assert.equal(line.backend, `127.0.0.1:${origin.port}`);
  });

  test('in bulk, both ways at once, unharmed', async () => {
    handle = echo;
    const total = 64 << 20;
    const sent = createHash('sha256');
    const back = createHash('sha256');
    const socket = net.connect({ port: ports.one, host: '127.0.0.1', ...half });
    let count = 0;
    const all = new Promise((resolve, reject) => {
      socket.on('data', (bytes) => { count += bytes.length; back.update(bytes); });
      socket.on('end', resolve);
      socket.on('error', reject);
    });
    for (let at = 0; at < total; at += 1 << 18) {
      const block = randomBytes(1 << 18);
      sent.update(block);
      if (!socket.write(block)) await new Promise((resolve) => socket.once('drain', resolve));
    }
    socket.end();
    await all;
    assert.equal(count, total);
    assert.equal(back.digest('hex'), sent.digest('hex'));
    await gone();
  });

  test('a byte at a time', async () => {
    handle = echo;
    const wire = await dial(ports.one);
    for (let i = 0; i < 200; i += 1) {
      await wire.write(Buffer.from([i]));
      assert.equal((await wire.take(1))[0], i);
    }
    wire.socket.end();
    await wire.rest();
    await gone();
  });

  test('a peer that never reads costs a bounded memory', async () => {
    let written = 0;
    handle = async (wire) => {
      const block = randomBytes(1 << 18);
      while (!wire.ended && written < 400_000_000) {
        written += block.length;
        if (!wire.socket.write(block)) await new Promise((resolve) => { wire.socket.once('drain', resolve); wire.socket.once('close', resolve); });
      }
    };
    const before = rss();
    const wire = await dial(ports.one);
    wire.socket.pause();
    let last = -1;
    await waitUntil('the origin to be held back', () => { const still = written === last; last = written; return still && written > 0; }, { every: 300 });
    assert.ok(written < 100_000_000, `${written} bytes were taken`);
    assert.ok(rss() - before < 32e6, `grew by ${rss() - before}`);
    wire.close();
    await gone();
  });

  test('a reset is passed on as one, whoever sends it', async () => {
    let seen;
    handle = async (wire) => {
      await wire.write('x');
      await wire.rest();
      seen = wire.error?.code;
    };
    const wire = await dial(ports.one);
    await wire.take(1);
    wire.reset();
    await waitUntil('the reset', () => seen === 'ECONNRESET');
    handle = async (raw) => {
      await raw.take(1);
      raw.reset();
    };
    const second = await dial(ports.one);
    await second.write('x');
    await second.rest();
    assert.equal(second.error?.code, 'ECONNRESET');
    await gone();
  });
});

describe('backends', () => {
  test('are taken in turn', async () => {
    handle = async (wire, name) => wire.socket.end(name);
    const seen = new Set();
    for (let i = 0; i < 8; i += 1) {
      const wire = await dial(ports.two);
      seen.add((await wire.rest()).toString());
      wire.close();
    }
    assert.deepEqual([...seen].sort(), ['origin', 'other']);
  });

  test('one that does not accept is passed over before a byte is lost', async () => {
    handle = echo;
    for (let i = 0; i < 6; i += 1) {
      const wire = await dial(ports.half);
      await wire.write('still whole');
      assert.equal((await wire.take(11)).toString(), 'still whole');
      wire.close();
    }
    await gone();
  });

  test('a Unix socket that refuses at once is passed over too, and it is its failure', async () => {
    handle = echo;
    const before = await proxy.metric('octroi_proxy_refusals_total', 'overloaded');
    for (let i = 0; i < 4; i += 1) {
      const wire = await dial(ports.socket);
      await wire.write('still whole');
      assert.equal((await wire.take(11)).toString(), 'still whole');
      wire.close();
    }
    assert.ok((await proxy.metric('octroi_proxy_upstream_connects_total', 'pool="socket",result="failed"')) >= 2);
    assert.equal(await proxy.metric('octroi_proxy_refusals_total', 'overloaded'), before);
    await gone();
  });

  test('none that accepts: the connection is closed, and counted', async () => {
    const wire = await dial(ports.dead);
    await wire.rest();
    await waitUntil('the count', async () => (await proxy.metric('octroi_proxy_refusals_total', 'upstream-unreachable')) > 0);
    wire.close();
    await gone();
  });

  test('a full one takes no more, until there is room again', async () => {
    handle = echo;
    const first = await dial(ports.few);
    await first.write('a');
    await first.take(1);
    const second = await dial(ports.few);
    assert.equal((await second.rest()).length, 0);
    first.socket.end();
    await first.rest();
    await gone();
    const third = await dial(ports.few);
    await third.write('b');
    assert.equal((await third.take(1)).toString(), 'b');
    third.close();
    second.close();
    await gone();
  });

  test('hear who connected, by the PROXY protocol that was heard', async () => {
    let head;
    handle = async (wire) => {
      head = await wire.take(28);
      await wire.write(`after ${(await wire.take(5)).toString()}`);
      wire.socket.end();
    };
    const wire = await dial(ports.header);
    await wire.write('PROXY TCP4 203.0.113.7 198.51.100.2 1234 443\r\nearly');
    assert.equal((await wire.rest()).toString(), 'after early');
    assert.equal(head.subarray(0, 12).toString('latin1'), '\r\n\r\n\0\r\nQUIT\n');
    assert.deepEqual([...head.subarray(12, 24)], [0x21, 0x11, 0, 12, 203, 0, 113, 7, 198, 51, 100, 2]);
    assert.equal(head.readUInt16BE(24), 1234);
    assert.equal(head.readUInt16BE(26), 443);
    wire.close();
    await gone();
  });
});

test('silence ends a tunnel', async () => {
  handle = echo;
  const wire = await dial(ports.one);
  await wire.write('x');
  await wire.take(1);
  assert.equal((await wire.rest()).length, 0);
  wire.close();
  await gone();
});

test('a drain lets tunnels be until its deadline', async () => {
  handle = echo;
  const wire = await dial(ports.one);
  await wire.write('x');
  await wire.take(1);
  const stopping = proxy.stop();
  await waitUntil('the listener to close', () => connect(ports.one).then((late) => { late.close(); return false; }, () => true));
  await wire.write('y');
  assert.equal((await wire.take(1)).toString(), 'y');
  await wire.rest();
  wire.close();
  await stopping;
});
