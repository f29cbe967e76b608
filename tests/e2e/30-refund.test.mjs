// Money that goes back, on the real stack: an operator refunds through the admin API, the wallet has it again, calls end, and the next purchase works;
// what was paid while a subscription was revoked comes back by itself.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseAbi } from 'viem';

import { Buyer } from '../support/buyer.mjs';
import { removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { Stack } from '../support/stack.mjs';

const abi = parseAbi(['function balanceOf(address) view returns (uint256)', 'function transfer(address to, uint256 amount) returns (bool)']);
const dir = temporaryDirectory('e2e-refund');
const stack = new Stack({ dir, blockTime: 1, env: { OCTROI_PRICEBOOK: fileURLToPath(new URL('pricebook.yaml', import.meta.url)) } });
let token;
let key;

before(async () => {
  await stack.start();
  key = readFileSync(join(stack.secrets, 'admin.key'), 'utf8').trim();
  token = (await (await fetch(`${stack.gateway}/pricing`)).json()).tokens[0];
});

after(async () => {
  await stack.stop();
  removeDirectory(dir);
});

async function admin(method, path, body) {
  const response = await fetch(`${stack.services.adminsvc.url}/admin/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, ...(body ? { 'content-type': 'application/json' } : {}) },
    body: body && JSON.stringify(body),
  });
  const answer = await response.json();
  assert.equal(response.status, 200, JSON.stringify(answer));
  return answer;
}

async function newBuyer() {
  const buyer = await new Buyer({ gateway: stack.gateway, rpcUrl: stack.chain.url }).connect();
  await buyer.fund(token.address);
  buyer.balance = () => buyer.public.readContract({ address: token.address, abi, functionName: 'balanceOf', args: [buyer.address] });
  return buyer;
}

async function buy(buyer, tier = 'bulk') {
  const quote = await buyer.quote({ tier, duration_days: 30, token: token.symbol });
  await buyer.pay(quote);
  await buyer.waitPayment(quote);
  await buyer.token();
  assert.equal((await buyer.call()).status, 200);
  return quote;
}

test('an operator refunds: the money is back, calls end, and the next purchase works', async () => {
  const buyer = await newBuyer();
  const full = await buyer.balance();
  const quote = await buy(buyer);
  const price = full - (await buyer.balance());
  assert.ok(price > 0n);
  const ask = () => admin('POST', `/payments/${quote.id}/refund`, { reason: 'asked for' });
  assert.equal((await ask()).refund.amount, String(price));
  await buyer.waitPayment(quote, 'refunded');
  assert.equal(await buyer.balance(), full);
  await waitUntil('calls to end', async () => (await buyer.call()).status === 402);
  const { refund } = await waitUntil('the wallet to be done', async () => {
    const answer = await ask();
    return answer.refund.state === 'done' && answer;
  });
  const told = await admin('GET', `/payments/${quote.id}`);
  assert.equal(told.state, 'refunded');
  assert.equal(told.refund.tx_hash, refund.tx_hash);
  assert.equal(await buyer.balance(), full); // asking again sent nothing more

  await buy(buyer);
  assert.ok((await admin('GET', `/payments?subscriber=${buyer.address}`)).items.length === 2);
});

test('what was paid while the subscription was revoked comes back by itself', async () => {
  const buyer = await newBuyer();
  const first = await buy(buyer);
  const renewal = await buyer.quote({ tier: 'bulk', duration_days: 30, token: token.symbol });
  const [pay, ...before_] = [...renewal.transactions].reverse();
  for (const { to, data } of before_.reverse()) await buyer.settled(await buyer.wallet.sendTransaction({ to, data }));
  const full = await buyer.balance();
  await admin('POST', `/subscriptions/${first.subscription_id}/revoke`, { reason: 'abuse' });
  await buyer.settled(await buyer.wallet.sendTransaction({ to: pay.to, data: pay.data }));
  const spent = full - (await buyer.balance());
  const { refund } = await buyer.waitPayment(renewal, 'refunded');
  assert.ok(BigInt(refund.amount) >= spent);
  assert.equal(await buyer.balance(), full - spent + BigInt(refund.amount));
  assert.equal((await buyer.call()).status, 402);
  const trail = stack.postgres.rows(`select state from payments.payment_event where payment_id = '${renewal.id}' order by revision`).map(({ state }) => state);
  assert.ok(!trail.includes('activated'), trail.join(' '));
  // The chain knows of the revocation too, so nobody pays for it again.
  await waitUntil('the slot to be revoked', () => stack.postgres.rows(`select 1 from payments.slot_event where kind = 'revoked' and revoked`).length === 1);
});

test('a plain transfer to the contract buys nothing and is sent back', async () => {
  const buyer = await newBuyer();
  const full = await buyer.balance();
  await buyer.settled(await buyer.wallet.writeContract({ address: token.address, abi, functionName: 'transfer', args: [stack.deployment.contract, 123n] }));
  const found = () => waitUntil('the transfer', async () => (await admin('GET', '/transfers?state=confirmed')).items.find(({ sender }) => sender === buyer.address.toLowerCase()));
  const transfer = await found();
  assert.equal(transfer.amount, '123');
  await admin('POST', `/transfers/${transfer.id}/refund`, { reason: 'a mistake' });
  await waitUntil('it to be back', async () => (await buyer.balance()) === full);
  await waitUntil('it to be told', async () => (await admin('GET', '/transfers?state=refunded')).items.length === 1);
});
