// How long a buyer waits: from the block that confirms a payment to the first call that is accepted, on the whole stack. Each purchase is a new
// wallet's first, so no token can be had before: what is measured includes payd reading the block, subd applying the payment, the token (its
// challenge was signed before), and the call through the proxy. Prints p50, p95 and the longest of each step.
import { loadavg } from 'node:os';

import { Buyer } from '../tests/support/buyer.mjs';
import { removeDirectory, sleep, temporaryDirectory, waitUntil } from '../tests/support/process.mjs';
import { Stack } from '../tests/support/stack.mjs';

process.env.OCTROI_PRESET ??= 'release';
const purchases = Number(process.env.PURCHASES ?? 40);
const confirmations = Number(process.env.CONFIRMATIONS ?? 3);
const every = 10; // ms between two looks of a waiting buyer
const dir = temporaryDirectory('bench-activation');
const stack = new Stack({ dir, env: { OCTROI_CONFIRMATIONS: String(confirmations), OCTROI_CONFIRM_AFTER: '0s', OCTROI_QUOTES_PER_CLIENT: '60000' } });

async function reach(condition) {
  for (;;) {
    if (await condition()) return performance.now();
    await sleep(every);
  }
}

async function paid(tier, days, token) {
  const buyer = await new Buyer({ gateway: stack.gateway, rpcUrl: stack.chain.url }).connect();
  await buyer.fund(token.address);
  const quote = await buyer.quote({ tier, duration_days: days, token: token.symbol });
  await buyer.pay(quote);
  await stack.chain.mine(confirmations - 1);
  await waitUntil('all but the last confirmation', async () => (await buyer.json('GET', `/payment/${quote.id}`)).body.confirmations === confirmations - 1);
  return { buyer, quote };
}

// Milliseconds from the confirming block to each step.
async function purchase(tier, days, token) {
  const { buyer, quote } = await paid(tier, days, token);
  const signed = await buyer.signIn();
  // Somewhere between two polls of payd, as in life.
  await sleep(Math.random() * 500);
  const begun = performance.now();
  await stack.chain.mine(1);
  const state = async () => (await buyer.json('GET', `/payment/${quote.id}`)).body.state;
  const steps = {};
  steps.mined = performance.now();
  steps.confirmed = await reach(async () => ['confirmed', 'activated'].includes(await state()));
  steps.activated = await reach(async () => (await state()) === 'activated');
  const grant = await buyer.must(200, 'POST', '/token', { body: signed });
  buyer.accessToken = grant.access_token;
  steps.token = performance.now();
  steps.accepted = await reach(async () => (await buyer.call()).status === 200);
  return Object.fromEntries(Object.entries(steps).map(([name, at]) => [name, at - begun]));
}

const at = (sorted, part) => sorted[Math.min(sorted.length - 1, Math.ceil(part * sorted.length) - 1)].toFixed(0);

function report(results) {
  console.log(`${results.length} purchases, ${confirmations} confirmations, a look each ${every} ms; load ${loadavg()[0].toFixed(2)}; ms from asking for the confirming block:`);
  for (const name of Object.keys(results[0])) {
    const sorted = results.map((one) => one[name]).sort((a, b) => a - b);
    console.log(`  ${name.padEnd(10)} p50 ${at(sorted, 0.5)}  p95 ${at(sorted, 0.95)}  max ${at(sorted, 1)}`);
  }
}

try {
  await stack.start();
  const { tiers, durations, tokens } = await (await fetch(`${stack.gateway}/pricing`)).json();
  const results = [];
  for (let i = 0; i < purchases; i++) results.push(await purchase(tiers[0].name, durations[0].days, tokens[0]));
  report(results);
} finally {
  await stack.stop();
  removeDirectory(dir);
}
