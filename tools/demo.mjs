// Buys a subscription from a running stack and uses it, printing each step; ends with what the origin served and what was billed.
// OCTROI_GATEWAY and OCTROI_RPC_URL name another stack than the one of `make up`.
import { formatUnits } from 'viem';

import { Buyer } from '../tests/support/buyer.mjs';
import { waitUntil } from '../tests/support/process.mjs';
import { ports } from './stack.mjs';

const gateway = process.env.OCTROI_GATEWAY || `http://127.0.0.1:${ports.proxy}`;
const rpcUrl = process.env.OCTROI_RPC_URL || `http://127.0.0.1:${ports.chain}`;
const calls = Number(process.env.OCTROI_DEMO_CALLS || 25);

let step = 0;
const say = (title, ...lines) => {
  step += 1;
  console.log(`${String(step).padStart(2)}. ${title}`);
  for (const line of lines) console.log(`      ${line}`);
};
const served = async (buyer) => (await buyer.must(200, 'GET', '/served')).served;

try {
  const buyer = await new Buyer({ gateway, rpcUrl }).connect();
  say('a new wallet', `address ${buyer.address}`, `gateway ${gateway}, chain ${buyer.discovery.chain_id}`);

  const refused = await buyer.call();
  say('a call without a token', `GET /v1/hello -> ${refused.status} ${refused.body.type}`, refused.body.next);

  const pricing = await buyer.must(200, 'GET', '/pricing');
  const tier = pricing.tiers.find((one) => one.name === (process.env.OCTROI_DEMO_TIER || 'starter')) ?? pricing.tiers[0];
  const token = pricing.tokens[0];
  say('the price list', ...pricing.tiers.map((one) => `${one.name}: ${JSON.stringify(one.limits)}`));

  await buyer.fund(token.address);
  say(`development coins: 1 zkLTC for gas and 1000 ${token.symbol}`);

  const quote = await buyer.quote({ tier: tier.name, duration_days: pricing.durations[0].days, token: token.symbol });
  const signer = await buyer.signer(quote);
  say('a signed quote', `id ${quote.id}`, `due ${formatUnits(BigInt(quote.amount_due), token.decimals)} ${token.symbol}, payable until ${quote.expires_at}`,
    `signed by ${signer} (recovered by viem)`);

  const receipts = await buyer.pay(quote);
  say('paid on the chain', ...receipts.map((receipt, i) => `${quote.transactions[i].description}: ${receipt.transactionHash} (gas ${receipt.gasUsed})`));

  const states = [];
  const payment = await buyer.waitPayment(quote, 'activated', (body) => states.push(`${body.state} (${body.confirmations} confirmations)`));
  say('payment followed', states.join(' -> '), `transaction ${payment.tx_hash} in block ${payment.block_number}`);

  const { status: given, body: receipt } = await buyer.json('GET', `/receipt/${quote.id}`);
  if (given === 200) {
    say('a signed receipt', `${formatUnits(BigInt(receipt.receipt.amount), token.decimals)} ${token.symbol} for ${receipt.sold.service}, ${receipt.sold.tier}`,
      `signed by ${receipt.signer}; check it: node tools/proof.mjs receipt FILE --signer ${buyer.discovery.receipt_signer}`);
  }

  const grant = await buyer.token();
  say('signed in with the wallet (EIP-4361)', `subscription ${grant.subscription}`, `access token for ${grant.expires_in} s`);

  const before = await served(buyer);
  const statuses = {};
  for (let i = 0; i < calls; i += 1) {
    const { status } = await buyer.call(`/v1/hello?n=${i}`);
    statuses[status] = (statuses[status] ?? 0) + 1;
  }
  const count = (await served(buyer)) - before;
  say(`${calls} metered calls`, ...Object.entries(statuses).map(([status, n]) => `${n} x ${status}`));

  const usage = await waitUntil('the ledger to hold every call', async () => {
    const body = await buyer.usage();
    return body.used.requests >= count && body;
  });
  say('the ledger', `used ${JSON.stringify(usage.used)}`, `left ${JSON.stringify(usage.left)}`);

  const billed = usage.used.requests;
  console.log(`\nserved ${count} ${count === billed ? '=' : '!='} billed ${billed}`);
  process.exitCode = count === billed ? 0 : 1;
} catch (error) {
  console.error(`\nthe demo stopped: ${error.message}`);
  console.error(`Is the stack running? \`make up\` starts it.`);
  process.exitCode = 1;
}
