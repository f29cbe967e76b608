// Memory that runs out: the proxy refuses what would take more of it, first requests, then connections too, and serves again when it was let go.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { rssKib } from '../support/proc.mjs';
import { freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { answering, ask, connect, ok } from '../support/raw.mjs';
import { Service } from '../support/service.mjs';

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

const level = () => proxy.metric('octroi_proxy_memory_level');

before(async () => {
  dir = temporaryDirectory('memory');
  origin = await answering(() => ok('served')).start();
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

const status = async () => (await fetch(`${proxy.ops}/status`)).json();

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
