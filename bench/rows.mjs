// The rows of the comparison: how each server is configured (`tls`, `http2`, `websocket`, `routes`, `reload`, `splice`), and a measurement that
// gives figures of which less is better. `probe` tells whether the server does at all what is measured.
import { execFile } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { sleep, waitUntil } from '../tests/support/process.mjs';
import { cpuMicroseconds, demandMicroseconds, peakKib, resetPeak, rssKib } from '../tests/support/proc.mjs';
import { bin, connectionLimit, files, loadCore, pinned } from './servers.mjs';

const seconds = Number(process.env.SECONDS_EACH ?? 2);
const connections = Number(process.env.CONNECTIONS ?? 64);
const idleConnections = Math.min(Number(process.env.IDLE ?? 10_000), connectionLimit);
const GB = 2 ** 30;
const run = promisify(execFile);

const pinnedRun = async (command, args, timeout = 60_000) =>
  (await run('taskset', ['-c', loadCore, 'prlimit', `--nofile=${files}`, command, ...args], { timeout, maxBuffer: 1 << 24 })).stdout;

const options = (server, row, extra) => {
  const all = { to: `127.0.0.1:${server.port}`, tls: row.tls ? 1 : 0, ...extra };
  if (server.name === 'proxy' && process.env.PAID_HEADER) all.header = process.env.PAID_HEADER;
  return Object.entries(all).flatMap(([name, value]) => [`-${name}`, String(value)]);
};

const load = async (server, row, extra, timeout) => {
  const result = JSON.parse(await pinnedRun(join(bin, 'bench_load'), options(server, row, extra), timeout));
  if (result.lost && !row.reload) throw new Error(`${server.name}: ${result.lost} requests were lost (${result.why})`);
  if (!extra.count && !result.max && extra.mode !== 'idle') throw new Error(`${server.name}: nothing was answered in time`);
  return result;
};

// The work, with what it cost the server: CPU time, and the share of a core that the server asked for meanwhile.
async function costing(server, work) {
  const before = { cpu: cpuMicroseconds(server.pid), demand: demandMicroseconds(server.pid), at: process.hrtime.bigint() };
  const result = await work();
  const took = Number(process.hrtime.bigint() - before.at) / 1000;
  return { result, cpu: cpuMicroseconds(server.pid) - before.cpu, busy: (demandMicroseconds(server.pid) - before.demand) / took };
}

const latencies = ({ p50, p99, p999 }) => ({ 'p50 µs': p50, 'p99 µs': p99, 'p99.9 µs': p999 });

// As fast as it is answered: what a request costs when there is always another one.
const requests = (extra = {}) => async (server, row) => {
  const { result, cpu, busy } = await costing(server, () => load(server, row, { seconds, connections, ...extra }));
  return { figures: { 'CPU µs': cpu / result.requests, ...latencies(result) }, busy };
};

// So many a second, whatever comes back.
const paced = (rate, extra = {}) => async (server, row) => {
  const { result, cpu } = await costing(server, () => load(server, row, { seconds: seconds + 1, connections, rate, ...extra }));
  return { figures: { 'CPU µs': cpu / result.requests, ...latencies(result), behind: result.behind } };
};

const connectionsMade = (extra) => async (server, row) => {
  const { result, cpu, busy } = await costing(server, () => load(server, row, { mode: 'handshake', seconds, connections: 16, ...extra }));
  if (extra.resume && result.resumed < result.requests * 0.9) throw new Error(`${server.name}: ${result.resumed} of ${result.requests} were resumed`);
  return { figures: { 'CPU µs': cpu / result.requests, 'p50 µs': result.p50, 'p99 µs': result.p99 }, busy };
};

const http2Load = async (server, path, extra, log) => {
  const output = await pinnedRun('h2load', ['-t1', '-c16', '-m16', ...(log ? [`--log-file=${log}`] : []), ...extra, `https://127.0.0.1:${server.port}${path}`]);
  const [, total, , , done, failed] = output.match(/requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed/) ?? [];
  if (!/Application protocol: h2\b/.test(output) || !Number(done) || Number(failed)) throw new Error(`${server.name}: h2load: ${output.match(/requests: .*/)?.[0]}`);
  return { total: Number(total), done: Number(done) };
};

const http2Requests = (path) => async (server, row, dir) => {
  const log = join(dir, 'h2load.log');
  await http2Load(server, path, ['-n2000']);
  rmSync(log, { force: true });
  const { result, cpu, busy } = await costing(server, () => http2Load(server, path, ['-D', String(seconds)], log));
  const times = Uint32Array.from(readFileSync(log, 'utf8').split('\n'), (line) => Number(line.split('\t')[2] ?? 0)).sort();
  const at = (q) => times[Math.floor(q * (times.length - 1))];
  return { figures: { 'CPU µs': cpu / result.done, ...latencies({ p50: at(0.5), p99: at(0.99), p999: at(0.999) }) }, busy };
};

const stream = (extra) => async (server, row) => {
  resetPeak(server.pid);
  const { cpu } = await costing(server, () => load(server, row, { connections: 1, count: 1, warmup: 0, ...extra }));
  return { figures: { 'CPU s a GB': cpu / 1e6, 'peak RSS MiB': peakKib(server.pid) / 1024 } };
};

const idle = (extra) => async (server, row) => {
  if (row.http2) await http2Load(server, '/', ['-n100']);
  else await load(server, row, { count: 100 });
  const before = rssKib(server.pid);
  const holder = pinned(loadCore, join(bin, 'bench_load'), options(server, row, { mode: 'idle', connections: idleConnections, ...extra }), { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => holder.once('exit', resolve));
  try {
    await Promise.race([
      new Promise((resolve) => holder.stdout.once('data', resolve)),
      ended.then(() => { throw new Error(`${server.name}: holds no ${idleConnections} connections`); }),
    ]);
    await sleep(1000); // what is freed after an answer
    const held = rssKib(server.pid);
    return { figures: { 'KiB a connection': (held - before) / idleConnections, 'RSS MiB': held / 1024 } };
  } finally {
    holder.stdin.end();
    await ended;
  }
};

// What reaches nobody while the configuration is read again ten times.
const reloads = async (server, row) => {
  const timer = setInterval(() => server.signal(server.reload), 300);
  try {
    const result = await load(server, row, { rate: 2000, seconds: 3.3, connections: 32 });
    return { figures: { lost: result.lost, 'p50 µs': result.p50, 'p99 µs': result.p99, 'p99.9 µs': result.p999 } };
  } finally {
    clearInterval(timer);
  }
};

const request = (server, row) => load(server, row, { count: 1, connections: 1, ...(row.routes ? { path: '/r', paths: row.routes } : {}) }, 5000);
const http2 = (server) => http2Load(server, '/', ['-n1', '-c1'], undefined);
const echo = (server, row) => load(server, row, { mode: 'websocket', count: 1, connections: 1 }, 5000);
// nginx and HAProxy are known to; the proxy says so.
const reload = async (server, row) => {
  server.signal(server.reload);
  await waitUntil('a reload', () => server.name !== 'proxy' || server.log().includes('configuration reloaded'), { timeout: 3000 });
  await waitUntil('an answer', () => request(server, row), { timeout: 3000 });
};

const messages = { mode: 'websocket', bytes: 64 };
export const rows = [
  { name: 'h1-small', what: 'HTTP/1.1, 12 bytes', probe: request, measure: requests() },
  { name: 'h1-64k', what: 'HTTP/1.1, 64 KB', probe: request, measure: requests({ path: '/64k' }) },
  { name: 'h1-rate', what: 'HTTP/1.1, 10,000 a second', probe: request, measure: paced(10_000) },
  { name: 'h1-tls', what: 'HTTP/1.1 over TLS, kept, 12 bytes', tls: true, probe: request, measure: requests() },
  { name: 'h1-tls-64k', what: 'HTTP/1.1 over TLS, kept, 64 KB', tls: true, probe: request, measure: requests({ path: '/64k' }) },
  { name: 'h2-small', what: 'HTTP/2 over TLS, 12 bytes', tls: true, http2: true, probe: http2, measure: http2Requests('/') },
  { name: 'h2-64k', what: 'HTTP/2 over TLS, 64 KB', tls: true, http2: true, probe: http2, measure: http2Requests('/64k') },
  { name: 'tls-new', what: 'new TLS connection, full handshake, one request', tls: true, probe: request, measure: connectionsMade({}) },
  { name: 'tls-resumed', what: 'new TLS connection, resumed, one request', tls: true, probe: request, measure: connectionsMade({ resume: 1 }) },
  { name: 'websocket', what: 'WebSocket echo, a 64-byte message', websocket: true, probe: echo, measure: requests(messages) },
  { name: 'download', what: '1 GB down', splice: true, probe: request, measure: stream({ path: `/bytes/${GB}` }) },
  { name: 'upload', what: '1 GB up', splice: true, probe: request, measure: stream({ mode: 'upload', bytes: GB }) },
  { name: 'idle', what: 'idle connections', once: true, probe: request, measure: idle({}) },
  { name: 'idle-tls', what: 'idle connections, TLS', once: true, tls: true, probe: request, measure: idle({}) },
  { name: 'idle-h2', what: 'idle connections, HTTP/2 over TLS', once: true, tls: true, http2: true, probe: http2, measure: idle({ http2: 1 }) },
  { name: 'routes-10', what: '10 routes', routes: 10, probe: request, measure: requests({ path: '/r', paths: 10 }) },
  { name: 'routes-10000', what: '10,000 routes', routes: 10_000, probe: request, measure: requests({ path: '/r', paths: 10_000 }) },
  { name: 'reload', what: 'ten reloads, 2,000 requests a second', reload: true, probe: reload, measure: reloads },
];
