// Starts the whole stack on the loopback, or finds it running; ends with where things are and what to do next.
import { mkdirSync } from 'node:fs';

import { canConnect } from '../tests/support/process.mjs';
import { Stack } from '../tests/support/stack.mjs';
import { ports, postgresDir, state } from './stack.mjs';

process.env.OCTROI_PRESET ??= 'release';
mkdirSync(state, { recursive: true });
const begun = Date.now();
const stack = new Stack({ dir: state, postgresDir: postgresDir(), ports, detached: true, blockTime: 1, say: (line) => console.log(`  ${line}`) });

try {
  await stack.start();
} catch (error) {
  console.error(`\nnot started: ${error.message}`);
  for (const [name, port] of Object.entries(ports)) {
    if (/EADDRINUSE|in use/i.test(error.message) && (await canConnect(port))) console.error(`port ${port} is taken; OCTROI_PORT_${name.toUpperCase()} changes it`);
  }
  console.error(`logs: ${state}/*/*.log`);
  process.exit(1);
}

console.log(`
ready after ${((Date.now() - begun) / 1000).toFixed(1)} s

  gateway      ${stack.gateway}          curl -i ${stack.gateway}/v1/hello   (402: how to buy)
  prices       ${stack.gateway}/pricing
  chain        ${stack.chain.url}         chain id ${stack.chainId}
  admin API    http://127.0.0.1:${ports.adminsvc}/admin/v1      key: ${state}/secrets/admin.key
  metrics      http://127.0.0.1:${ports.proxy_ops}/metrics
  logs         ${state}/services/*.log

next:  make demo     (buys a subscription and uses it)
       make down     (stops everything)`);
process.exit(0);
