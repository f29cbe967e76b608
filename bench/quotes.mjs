// How long a quote takes: POST /quote so many times a second whatever comes back, for many subscribers, some of whom hold a subscription, against the
// real quoted, payd, subd, PostgreSQL, Redis, NATS and a chain that mines. Nothing is pinned: quoted shares the machine with all it asks.
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { packTerms, serviceId, subscriptionId } from '../contracts/script/terms.mjs';
import { cpuMicroseconds } from '../tests/support/proc.mjs';
import { removeDirectory, root, temporaryDirectory, waitUntil } from '../tests/support/process.mjs';
import { Stack } from '../tests/support/stack.mjs';

process.env.OCTROI_PRESET ??= 'release';
const rate = Number(process.env.RATE ?? 500);
const seconds = Number(process.env.SECONDS_EACH ?? 20);
const rounds = Number(process.env.ROUNDS ?? 3);
const subscribers = Number(process.env.SUBSCRIBERS ?? 20_000);
const run = promisify(execFile);
const dir = temporaryDirectory('bench-quotes');
const stack = new Stack({ dir, blockTime: 1, env: { OCTROI_QUOTES_PER_CLIENT: '6000000', OCTROI_QUOTES_PER_SUBSCRIBER: '60000', OCTROI_QUOTES_KEPT: '10000000' } });

// Half of them hold a subscription that runs: its last payment as payd would have found it, and its record in subd.
function seed(addresses) {
  const { chain_id: chainId, contract } = stack.deployment;
  const [service, start] = [serviceId('api'), Math.floor(Date.now() / 1000) - 86_400];
  const terms = { start, expiry: start + 30 * 86_400, paid: 1_000_000, plan: 1, rate: 10, bandwidth: 0, quota: 1000, seq: 1, token: 1, valid_until: 1 };
  const word = `0x${packTerms(terms).toString(16).padStart(64, '0')}`;
  const rows = addresses.filter((_, i) => i % 2).map((subscriber, i) => [subscriptionId({ chainId, contract, subscriber, serviceId: service }), subscriber, i].join('\t'));
  const file = join(dir, 'seed.sql');
  writeFileSync(file, `
create temporary table held (id text, subscriber text, n int);
copy held from stdin;
${rows.join('\n')}
\\.
insert into payments.slot_event (follower, block_number, log_index, kind, subscriber, service_id, seq, terms)
  select (select min(id) from payments.follower), 0, n, 'paid', subscriber, '${service}', 1, '${word}' from held;
insert into subscriptions.subscription (id, chain_id, contract, subscriber, service_id, service, state, version, start_at, expires_at, tier, plan)
  select id, ${chainId}, '${contract.toLowerCase()}', subscriber, '${service}', 'api', 'active', 1, ${start}, ${start + 30 * 86_400}, 'small', 1 from held;
analyze payments.slot_event, subscriptions.subscription;
`);
  stack.postgres.psql(['-v', 'ON_ERROR_STOP=1', '-f', file], 'octroi');
}

async function measure(file) {
  const parts = ['quoted', 'payd', 'subd'].map((name) => [name, stack.services[name].pid]).concat([['redis', stack.redis.process.pid], ['nats', stack.nats.process.pid]]);
  const before = parts.map(([, pid]) => cpuMicroseconds(pid));
  const { stdout } = await run(join(root, 'build', process.env.OCTROI_PRESET, 'bin/bench_load'), ['-to', `127.0.0.1:${stack.ports.quoted}`, '-path', '/quote', '-bodies', file,
    '-status', '201', '-rate', String(rate), '-seconds', String(seconds), '-warmup', '2', '-connections', '64'], { timeout: (seconds + 30) * 1000 });
  const result = JSON.parse(stdout);
  const cpu = parts.map(([name, pid], i) => `${name} ${Math.round((cpuMicroseconds(pid) - before[i]) / result.requests)}`).join(', ');
  console.log(`${result.requests} quotes at ${rate}/s: p50 ${result.p50} µs, p99 ${result.p99} µs, p99.9 ${result.p999} µs, max ${result.max} µs; lost ${result.lost}${result.why ? ` (${result.why})` : ''}, behind ${result.behind}; CPU µs a quote: ${cpu}; load ${loadavg()[0].toFixed(2)}`);
  return result;
}

try {
  await stack.start();
  const { tiers, durations, tokens } = await (await fetch(`${stack.services.quoted.url}/pricing`)).json();
  const addresses = Array.from({ length: subscribers }, () => `0x${randomBytes(20).toString('hex')}`);
  seed(addresses);
  const tier = tiers.find(({ prices }) => prices.some(({ service, token }) => service === 'api' && token === tokens[0].symbol));
  const order = { service: 'api', tier: tier.name, duration_days: durations[0].days, token: tokens[0].symbol };
  const file = join(dir, 'orders');
  writeFileSync(file, addresses.map((subscriber) => JSON.stringify({ ...order, subscriber })).join('\n'));
  await waitUntil('a quote', async () => (await fetch(`${stack.services.quoted.url}/quote`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ ...order, subscriber: addresses[0] }) })).status === 201);
  if (process.env.PID_FILE) writeFileSync(process.env.PID_FILE, `${stack.services.quoted.pid} ${stack.services.payd.pid} ${stack.services.subd.pid}`);
  const results = [];
  for (let i = 0; i < rounds; i++) results.push(await measure(file));
  const p99 = results.map((result) => result.p99).sort((a, b) => a - b)[Math.floor((rounds - 1) / 2)];
  console.log(`| POST /quote, ${rate} a second, ${subscribers} subscribers | p99 µs (median of ${rounds}) | ${p99} |`);
  if (results.some(({ lost }) => lost)) process.exitCode = 1;
} finally {
  await stack.stop();
  removeDirectory(dir);
}
