// The paid row of the comparison: a real stack, a real purchase, and a proxy with token, rate, quota and metering on. Ends with whether the ledger holds
// what passed: the load is billed like any other.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { Buyer } from '../tests/support/buyer.mjs';
import { removeDirectory, sleep, temporaryDirectory } from '../tests/support/process.mjs';
import { Stack } from '../tests/support/stack.mjs';
import { ports } from './servers.mjs';

process.env.OCTROI_PRESET ??= 'release';
const dir = temporaryDirectory('bench');
const stack = new Stack({ dir, blockTime: 1, env: { OCTROI_PRICEBOOK: fileURLToPath(new URL('pricebook.yaml', import.meta.url)) } });

try {
  await stack.start();
  const buyer = await new Buyer({ gateway: stack.gateway, rpcUrl: stack.chain.url }).connect();
  const { tokens } = await buyer.must(200, 'GET', '/pricing');
  await buyer.fund(tokens[0].address);
  const quote = await buyer.quote({ tier: 'bench', duration_days: 30, token: tokens[0].symbol });
  await buyer.pay(quote);
  await buyer.waitPayment(quote);
  await buyer.token();

  const config = join(dir, 'bench.yaml');
  writeFileSync(config, `
listeners: ["127.0.0.1:${ports.proxy}"]
ops: { address: "127.0.0.1:${ports.ops}" }
workers: "1"
access_log: { sample: 0 }
timeouts: { drain_delay: 0s, shutdown: 5s }
pools: { api: { backends: ["http://127.0.0.1:${ports.origin}"] } }
routes: [{ path: /, pool: api, access: subscription, service: api }]
billing:
  nats: { urls: ["${stack.nats.url}"], credentials: "${stack.nats.credentials('proxy')}" }
  journal: "${join(dir, 'bench-journal')}"
`, { mode: 0o600 });
  const run = spawnSync('node', [fileURLToPath(new URL('run.mjs', import.meta.url))], {
    stdio: 'inherit',
    env: { ...process.env, ROWS: 'h1-small h1-rate', JSON: 'build/bench-paid.json', PAID_CONFIG: config, PAID_HEADER: `Authorization: Bearer ${buyer.accessToken}` },
  });
  await sleep(3_000);
  console.log(`billed: ${(await buyer.usage()).used.requests} requests`);
  process.exitCode = run.status;
} finally {
  await stack.stop();
  removeDirectory(dir);
}
