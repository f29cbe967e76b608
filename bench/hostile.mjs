// What the proxy's memory does through what would make it grow, and what is lost while it changes: a GB each way, heads that are too large,
// heads without end, resets, readers that do not read; a hundred reloads and five binary upgrades under load. Prints a table; ends with 1 if anything was lost, or
// a peak went above 32 MiB where a GB is streamed, or above the limit of 64 MiB. TIMES (100) scales the attacks in percent.
import { execFile } from 'node:child_process';
import { copyFileSync, renameSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import tls from 'node:tls';
import { promisify } from 'node:util';

import * as h2 from '../tests/support/h2raw.mjs';
import { peakKib, resetPeak, rssKib } from '../tests/support/proc.mjs';
import { freePort, removeDirectory, sleep, temporaryDirectory, waitUntil } from '../tests/support/process.mjs';
import { RawOrigin, ask, connect } from '../tests/support/raw.mjs';
import { Service } from '../tests/support/service.mjs';
import { Traffic } from '../tests/support/traffic.mjs';
import { bin, makeCertificate, ports, startOrigin } from './servers.mjs';

const run = promisify(execFile);
const dir = temporaryDirectory('bench-hostile');
const scaled = (count) => Math.ceil((count * Number(process.env.TIMES ?? 100)) / 100);
const GB = 2 ** 30;
const GET = (path = '/') => `GET ${path} HTTP/1.1\r\nHost: test\r\n\r\n`;
const mib = (kib) => (kib / 1024).toFixed(1);
let proxy;
let port;
let tlsPort;
let opsPort;
let silent;

const config = (more = '') => `
listeners:
  - "127.0.0.1:${port}"
  - { address: "127.0.0.1:${tlsPort}", tls: { certificate: "${dir}/cert.pem", key: "${dir}/key.pem" } }
workers: "2"
limits: { memory: 64MiB }
ops: { address: "127.0.0.1:${opsPort}" }
access_log: { sample: 0 }
timeouts: { drain_delay: 0s, shutdown: 10s }
pools:
  api: { backends: ["http://127.0.0.1:${ports.origin}"] }
  silent: { backends: ["http://127.0.0.1:${silent.port}"] }
routes:
  - { path: /, pool: api }
  - { path: /silent, pool: silent }
${more}
`;

const load = async (to, options) => JSON.parse((await run(join(bin, 'bench_load'),
  Object.entries({ to: `127.0.0.1:${to}`, connections: 1, count: 1, warmup: 0, ...options }).flatMap(([name, value]) => [`-${name}`, String(value)]), { timeout: 120_000 })).stdout);

const whole = async (to, options) => {
  const { lost, why } = await load(to, options);
  if (lost) throw new Error(`a stream was cut: ${why}`);
  return 'whole';
};

async function inBatches(count, size, work) {
  const seen = {};
  for (let done = 0; done < count; done += size)
    for (const what of await Promise.all(Array.from({ length: Math.min(size, count - done) }, (_, i) => work(done + i)))) seen[what] = (seen[what] ?? 0) + 1;
  return Object.entries(seen).map(([what, times]) => `${times.toLocaleString('en')} × ${what}`).join(', ');
}

// An answer's status, or that the connection ended first: who still writes when enough was drained sees a reset.
async function status(bytes) {
  const wire = await connect(port);
  wire.write(bytes);
  const seen = await wire.response().then((response) => String(response.status), () => 'closed');
  wire.close();
  return seen;
}

const bomb = `GET / HTTP/1.1\r\nHost: test\r\n${`X-Bomb: ${'x'.repeat(30_000)}\r\n`.repeat(20)}\r\n`;

// One entry of the table, referred to thousands of times: 12 MB of headers in 7 KB.
async function http2Bomb() {
  const wire = await h2.connectH2(port);
  const block = Buffer.concat([h2.block(h2.request()), h2.indexed('x-bomb', 'b'.repeat(3800)), ...Array.from({ length: 3000 }, () => h2.index(62))]);
  await wire.write(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, block));
  const goaway = await wire.goaway();
  wire.close();
  return goaway ? `GOAWAY ${goaway.code}` : 'closed';
}

// A connection that is reset while it is idle, in its head, or while its answer is awaited.
async function tcpReset(i) {
  const wire = await connect(port);
  if (i % 3) await wire.write(i % 3 === 1 ? 'GET / HT' : GET('/silent'));
  wire.reset();
  return 'reset';
}

// Streams that are opened and reset at once, until the proxy has enough of it: each connection gets as far as it gets.
async function rapidReset(total) {
  let sent = 0;
  let connections = 0;
  while (sent < total) {
    const wire = await h2.connectH2(port);
    connections += 1;
    for (let id = 1; !wire.ended && sent < total; id += 2, sent += 1) await wire.write(h2.get(id, [], { path: '/silent' }), h2.reset(id));
    wire.close();
  }
  return `${sent.toLocaleString('en')} sent on ${connections} connections, origin saw ${silent.connections} connections`;
}

async function slowReaders(count, dial) {
  const sockets = Array.from({ length: count }, () => {
    const socket = dial().on('error', () => {}).pause();
    socket.write(GET(`/bytes/${GB}`));
    return socket;
  });
  await waitUntil('all to be at it', async () => (await proxy.metric('octroi_proxy_requests_in_flight')) === count);
  await sleep(3000);
  sockets.forEach((socket) => socket.destroy());
  return `${count} × 1 GB asked for and not read`;
}

// 30 KB each, for the whole time: memory of the proxy's that only it can refuse to give.
async function heads(count) {
  const wires = [];
  while (wires.length < count) {
    const batch = await Promise.all(Array.from({ length: 100 }, () => connect(port).catch(() => null)));
    for (const wire of batch) wire?.write(`GET / HTTP/1.1\r\nHost: test\r\nX-Held: ${'x'.repeat(30_000)}`);
    wires.push(...batch);
    await sleep(10);
  }
  await sleep(500);
  const held = wires.filter((wire) => wire && !wire.ended).length;
  wires.forEach((wire) => wire?.close());
  await waitUntil('memory to be let go', async () => (await proxy.metric('octroi_proxy_memory_level')) === 0);
  return `${held.toLocaleString('en')} held, the others closed at once; then ${await status(GET())}`;
}

const settled = () => waitUntil('nothing to be under way', async () => (await proxy.metric('octroi_proxy_connections')) === 0);

// MiB before, at the peak, and when all is over.
async function row(what, work, most = Infinity) {
  await settled();
  const before = rssKib(proxy.pid);
  resetPeak(proxy.pid);
  const said = await work();
  const peak = peakKib(proxy.pid);
  await settled();
  console.log(`| ${what} | ${mib(before)} | ${mib(peak)} | ${mib(rssKib(proxy.pid))} | ${said} |`);
  if (peak / 1024 > most) throw new Error(`${what}: ${mib(peak)} MiB is more than ${most}`);
}

const traffic = () => new Traffic(port, { check: ({ status: code, body }) => code === 200 && body.length === 12 }).start();

async function reloads(count) {
  const client = traffic();
  const version = () => proxy.metric('octroi_proxy_config_version');
  for (let i = 0; i < count; i++) {
    const before = await version();
    writeFileSync(proxy.configFile, config(`  - { path: /r${i}, pool: api }`));
    proxy.process.signal('SIGHUP');
    await waitUntil('the configuration to be taken over', async () => (await version()) > before);
  }
  return lossless(`${count} reloads`, await client.stop());
}

async function upgrades(count) {
  const client = traffic();
  const serving = async () => (await fetch(`${proxy.ops}/livez`, { headers: { connection: 'close' } })).json();
  for (let i = 0; i < count; i++) {
    const { pid } = await serving();
    const served = client.served;
    process.kill(pid, 'SIGUSR2');
    await waitUntil('the next process', async () => (await serving().catch(() => ({ pid }))).pid !== pid);
    await waitUntil('load on it', () => client.served > served + 200);
  }
  const result = lossless(`${count} binary upgrades`, await client.stop());
  process.kill((await serving()).pid, 'SIGTERM');
  return result;
}

function lossless(what, { served, connections, failures }) {
  if (failures.length) throw new Error(`${what}: ${failures.join('; ')}`);
  return `${served.toLocaleString('en')} requests on ${connections.toLocaleString('en')} connections, 0 lost`;
}

let origin;
try {
  [port, tlsPort, opsPort] = [await freePort(), await freePort(), await freePort()];
  makeCertificate(dir);
  origin = await startOrigin(dir);
  silent = await new RawOrigin((wire) => wire.rest()).start();
  // A copy: what is upgraded is the file that it was started from.
  copyFileSync(join(bin, 'proxy'), join(dir, 'next'));
  renameSync(join(dir, 'next'), join(dir, 'proxy'));
  process.env.OCTROI_BIN = dir;
  proxy = await new Service('proxy', { dir, opsPort, config: config() }).start();
  await inBatches(200, 50, () => status(GET()));
  console.log('| RSS in MiB | before | peak | after | |\n|---|---|---|---|---|');
  await row('1 GB down', () => whole(port, { path: `/bytes/${GB}` }), 32);
  await row('1 GB up', () => whole(port, { mode: 'upload', bytes: GB }), 32);
  await row('1 GB down over TLS', () => whole(tlsPort, { tls: 1, path: `/bytes/${GB}` }), 32);
  await row('1 GB up over TLS', () => whole(tlsPort, { tls: 1, mode: 'upload', bytes: GB }), 32);
  await row('header bombs, 600 KB each, 100 at a time', () => inBatches(scaled(2000), 100, () => status(bomb)));
  await row('HTTP/2 header bombs, 12 MB each when unpacked, 50 at a time', () => inBatches(scaled(1000), 50, http2Bomb));
  await row('4,000 heads of 30 KB without end, `limits.memory: 64MiB`', () => heads(scaled(4000)), 64);
  await row('TCP resets, 200 at a time', () => inBatches(scaled(10_000), 200, tcpReset));
  await row('HTTP/2 rapid resets', () => rapidReset(scaled(10_000)));
  await row('slow readers', () => slowReaders(scaled(100), () => net.connect({ port, host: '127.0.0.1' })));
  await row('slow readers over TLS', () => slowReaders(scaled(100), () => tls.connect({ port: tlsPort, host: '127.0.0.1', rejectUnauthorized: false })));
  await row('reloads under load', () => reloads(scaled(100)));
  console.log(`| binary upgrades under load | | | | ${await upgrades(5)} |`);
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await proxy?.stop();
  await origin?.stop();
  await silent?.stop();
  removeDirectory(dir);
}
