// What is paid while subd is away; and what backups do: of payd's tables alone, and of the whole database at once, put back by pg_restore while the chain, the bus, Redis and the proxy
// go on. payd reads again what came after the backup, and everything ends as the chain has it.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Buyer } from '../support/buyer.mjs';
import { removeDirectory, root, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { Stack } from '../support/stack.mjs';

const dir = temporaryDirectory('restore');
const stack = new Stack({ dir, env: { OCTROI_PRICEBOOK: join(root, 'tests/e2e/pricebook.yaml'), OCTROI_CONFIRMATIONS: '1', OCTROI_CONFIRM_AFTER: '0s' } });
let token;

before(async () => {
  await stack.start();
  token = (await new Buyer({ gateway: stack.gateway, rpcUrl: stack.chain.url }).connect()).discovery.tokens[0];
});

after(async () => {
  await stack.stop();
  removeDirectory(dir);
});

async function purchase(tier = 'bulk') {
  const buyer = await new Buyer({ gateway: stack.gateway, rpcUrl: stack.chain.url }).connect();
  await buyer.fund(token.address);
  await buys(buyer, tier);
  await buyer.token();
  assert.equal((await buyer.call()).status, 200);
  return buyer;
}

async function buys(buyer, tier) {
  buyer.bought = await buyer.quote({ tier, duration_days: 30, token: token.symbol });
  await buyer.pay(buyer.bought);
  await stack.chain.mine(1);
  await buyer.waitPayment(buyer.bought);
}

async function command(path) {
  const key = readFileSync(join(stack.secrets, 'admin.key'), 'utf8').trim();
  const answer = await fetch(`${stack.services.adminsvc.url}/admin/v1${path}`, {
    method: 'POST', headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' }, body: JSON.stringify({ reason: 'asked for' }),
  });
  assert.equal(answer.status, 200, await answer.text());
}

const revoke = (buyer) => command(`/subscriptions/${buyer.grant.subscription}/revoke`);

async function refund(buyer) {
  await command(`/payments/${buyer.bought.id}/refund`);
  await waitUntil('the refund', async () => {
    await stack.chain.mine(1);
    return (await buyer.json('GET', `/payment/${buyer.bought.id}`)).body.state === 'refunded';
  });
  await state(buyer, 'suspended');
}

const row = (buyer) => stack.postgres.rows(`select state, tier, version from subscriptions.subscription where id = '${buyer.grant.subscription}'`)[0];
const state = (buyer, wanted) => waitUntil(`${buyer.grant.subscription} to be ${wanted}`, () => row(buyer)?.state === wanted);
const call = (buyer, status) => waitUntil(`the proxy to answer ${status}`, async () => (await buyer.call()).status === status);

const run = (program, ...args) => execFileSync(program, ['-h', '127.0.0.1', '-p', String(stack.postgres.port), '-U', 'postgres', '-d', 'octroi', ...args], {
  env: { ...process.env, PGPASSWORD: stack.postgres.password }, stdio: 'pipe',
});
const backup = (name, ...args) => run('pg_dump', '--format=custom', `--file=${join(dir, name)}`, ...args);
const restore = (name) => run('pg_restore', '--clean', '--if-exists', '--exit-on-error', '--single-transaction', join(dir, name));

test('what is quoted and paid while subd is away is activated by itself when it is back, once', async () => {
  const buyer = await new Buyer({ gateway: stack.gateway, rpcUrl: stack.chain.url }).connect();
  await buyer.fund(token.address);
  await stack.services.subd.stop();
  buyer.bought = await buyer.quote({ tier: 'bulk', duration_days: 30, token: token.symbol });
  await buyer.pay(buyer.bought);
  await stack.chain.mine(1);
  await buyer.waitPayment(buyer.bought, 'confirmed');
  const attempts = () => Number(stack.postgres.rows(`select attempts from payments.outbox where payment_id = '${buyer.bought.id}'`)[0]?.attempts);
  await waitUntil('a second hint', () => attempts() >= 2); // all of them wait in the stream
  await stack.services.subd.start();
  await buyer.waitPayment(buyer.bought);
  await buyer.token();
  assert.deepEqual(row(buyer), { state: 'active', tier: 'bulk', version: 1 });
  const states = stack.postgres.rows(`select state from payments.payment_event where payment_id = '${buyer.bought.id}' order by revision`).map((one) => one.state);
  assert.equal(states.filter((one) => one === 'activated').length, 1, states.join());
  await call(buyer, 200);
});

test('payd\'s tables alone, out of a backup: what was paid and what was refunded since is found again', async () => {
  const old = await purchase();
  const refunded = await purchase();
  backup('payments', '--schema=payments');
  await refund(refunded);
  const later = await purchase();
  await stack.services.payd.stop();
  restore('payments');
  await stack.services.payd.start();
  await later.waitPayment(later.bought);
  await refunded.waitPayment(refunded.bought, 'refunded');
  await state(refunded, 'suspended');
  for (const buyer of [old, later]) {
    assert.equal(row(buyer).version, 1);
    assert.equal((await buyer.call()).status, 200);
  }
  await refund(old); // whose revisions go on from the backup's
  await call(old, 402);
});

test('the whole database out of a backup: everybody hears of what is true now, and use is billed again', async () => {
  const OWN = ['quoted', 'payd', 'subd', 'adminsvc'];
  const [steady, moved, taken] = [await purchase(), await purchase(), await purchase()];
  backup('all');
  await refund(moved);
  await buys(moved, 'tiny');
  await refund(moved);
  const later = await purchase();
  await revoke(taken);
  for (const buyer of [moved, taken]) await call(buyer, 402); // the proxy has heard of more changes than the backup has
  await call(steady, 200);
  await waitUntil('the use to be in the ledger', () => used(steady) >= 2);

  await Promise.all(OWN.map((name) => stack.services[name].stop()));
  restore('all');
  stack.postgres.sql('select subscriptions.after_restore()');
  await Promise.all(OWN.map((name) => stack.services[name].start()));
  await later.waitPayment(later.bought);
  await moved.waitPayment(moved.bought, 'refunded');
  await state(moved, 'suspended');
  await call(later, 200);
  await call(steady, 200);
  await call(taken, 200); // which nothing but the audit log knew of
  await revoke(taken);
  await call(taken, 402);
  await buys(moved, 'tiny');
  await moved.token();
  await call(moved, 200);

  const before_ = used(steady);
  await call(steady, 200);
  await waitUntil('what waits for lost batches', () => {
    stack.postgres.sql('select subscriptions.skip_lost_batches()');
    return used(steady) > before_;
  });
  const paid = stack.postgres.rows("select state, count(*)::int as n from payments.payment group by 1 order by 1");
  assert.deepEqual(paid, [{ state: 'activated', n: 6 }, { state: 'refunded', n: 4 }]);
});

const used = (buyer) => Number(stack.postgres.rows(`select coalesce(sum(used_requests), 0) as n from subscriptions.quota where subscription = '${buyer.grant.subscription}'`)[0].n);
