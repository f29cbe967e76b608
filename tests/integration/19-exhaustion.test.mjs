// What runs out on the machine: memory, local ports. What would take more of it is refused, who is there is served, nothing spins or crashes, and all is
// well when there is some again. (Descriptors: 24 and 35; the disk of the log: 65.)
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';

import { Gate } from '../support/gate.mjs';
import { cpuMicroseconds, rssKib } from '../support/proc.mjs';
import { freePort, removeDirectory, sleep, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { answering, ask, connect, ok } from '../support/raw.mjs';
import { Service, binary } from '../support/service.mjs';

const GET = 'GET / HTTP/1.1\r\nHost: test\r\n\r\n';
const ROOM_KIB = 40 * 1024;
// What is let go is given back to the system at once, so that it is seen.
const env = { ASAN_OPTIONS: 'detect_leaks=1:quarantine_size_mb=1:thread_local_quarantine_size_kb=64:allocator_release_to_os_interval_ms=50' };

let dir;
let origin;
let proxy;
let port;

const config = (memory) => `
listeners: ["127.0.0.1:${port}"]
workers: "1"
ops: { address: "127.0.0.1:${proxy.opsPort}" }
limits: { memory: ${memory} }
timeouts: { drain_delay: 0s, shutdown: 2s, request_head: 10m }
pools: { site: { backends: ["http://127.0.0.1:${origin.port}"] } }
routes: [{ path: /, pool: site }]
`;

const status = async () => (await fetch(`${proxy.ops}/status`)).json();
const level = () => proxy.metric('octroi_proxy_memory_level');

before(async () => {
  dir = temporaryDirectory('memory');
  origin = await answering(async () => {
    await origin.hold;
    return ok('served');
  }).start();
  port = await freePort();
  proxy = new Service('proxy', { dir, opsPort: await freePort(), env });
  proxy.config = config(0);
  await proxy.start();
});

after(async () => {
  await proxy?.stop();
  await origin?.stop();
  removeDirectory(dir);
});

async function leaveRoom() {
  for (let i = 0; i < 20; i += 1) assert.equal((await ask(port, GET)).status, 200);
  writeFileSync(proxy.configFile, config(`${rssKib(proxy.pid) + ROOM_KIB}KiB`));
  proxy.process.signal('SIGHUP');
  await waitUntil('the limit to hold', async () => (await proxy.metric('octroi_proxy_config_version')) === 2);
}

// Heads that never end, until the proxy says that memory is at this level. `turn` waits until the loop has come to what was sent before.
async function hold(wires, wanted, turn) {
  const bytes = `GET / HTTP/1.1\r\nHost: test\r\nX-Held: ${'x'.repeat(30_000)}`;
  while ((await level()) < wanted) {
    assert.ok(wires.length < 10_000, `${wires.length} connections hold 30 KB each, and memory is not short`);
    for (let i = 0; i < 50; i += 1) {
      const wire = await connect(port);
      wire.write(bytes);
      wires.push(wire);
    }
    await turn();
  }
}

test('requests are refused while memory is short, connections while it is spent; then all are served again', async () => {
  await leaveRoom();
  const kept = await connect(port);
  const asked = () => kept.write(GET).then(() => kept.response());
  const wires = [];
  try {
    assert.equal((await asked()).status, 200);
    await hold(wires, 1, asked);
    const refused = await asked();
    assert.equal(refused.status, 503);
    assert.match(refused.json().type, /overloaded$/);
    assert.equal(refused.json().detail, 'memory is short');
    assert.ok(Number(refused.headers['retry-after']) > 0);
    const { now, limit } = (await status()).limits.memory;
    assert.ok(now >= limit * 0.85, `${now} of ${limit}`);

    await hold(wires, 2, asked);
    const before = await proxy.metric('octroi_proxy_connections_refused_total');
    await assert.rejects(ask(port, GET), /connection ended|ECONNRESET/);
    assert.ok((await proxy.metric('octroi_proxy_connections_refused_total')) > before);
    assert.equal((await fetch(`${proxy.ops}/livez`)).status, 200);
    assert.equal((await asked()).status, 503);
  } finally {
    wires.forEach((wire) => wire.close());
  }
  await waitUntil('memory to be let go', async () => (await level()) === 0);
  assert.equal((await asked()).status, 200);
  assert.equal((await ask(port, GET)).body.toString(), 'served');
  for (const line of ['memory is spent: connections are refused', 'there is memory again']) assert.ok(proxy.logContains(line), line);
  kept.close();
});

test('a limit that nothing could run in is refused', async () => {
  writeFileSync(proxy.configFile, config('1MiB'));
  proxy.process.signal('SIGHUP');
  await waitUntil('the reload to be refused', () => proxy.logContains(/memory is 0 or at least 16MiB/));
  assert.equal((await ask(port, GET)).status, 200);
});

test('without local ports kept connections serve, what needs a new one is refused, and the backend is not blamed', async () => {
  const none = join(dir, 'no-ports');
  const gate = await new Gate({
    workers: 1,
    pools: { site: `{ backends: ["http://127.0.0.1:${origin.port}"], timeouts: { keepalive_idle: 10m }, passive: { failures: 2 }, circuit_breaker: { failures: 2 } }` },
    env: { LD_PRELOAD: `${dirname(binary('proxy'))}/no_ports.so`, NO_PORTS: none, ASAN_OPTIONS: 'detect_leaks=1:verify_asan_link_order=0' },
  }).start();
  let release;
  try {
    assert.equal((await gate.ask('/site')).status, 200);
    writeFileSync(none, '');
    assert.equal((await gate.ask('/site')).status, 200, 'by the connection that is kept');

    origin.hold = new Promise((resolve) => { release = resolve; });
    const held = gate.ask('/site');
    await waitUntil('it to be at the origin', async () => (await gate.metric('upstream_connections', 'state="active"')) === 1);
    for (let i = 0; i < 10; i += 1) {
      const refused = await gate.ask('/site');
      assert.equal(refused.status, 503);
      assert.match(refused.json().type, /overloaded$/);
      assert.ok(Number(refused.headers['retry-after']) > 0);
    }
    const start = cpuMicroseconds(gate.proxy.pid);
    await sleep(500);
    const used = cpuMicroseconds(gate.proxy.pid) - start;
    assert.ok(used < 150_000, `${used} µs of CPU time in half an idle second`);
    release();
    assert.equal((await held).status, 200);
    assert.equal(await gate.metric('backend_changes_total'), 0);

    rmSync(none);
    const answers = await Promise.all(Array.from({ length: 10 }, () => gate.ask('/site')));
    assert.deepEqual(answers.map(({ status }) => status), Array(10).fill(200));
  } finally {
    release?.();
    await gate.stop();
  }
});
