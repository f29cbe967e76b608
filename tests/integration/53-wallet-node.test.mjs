// The operator's wallet and a node that is wrong for a while, and a contract that refuses for a while: what was asked for is not lost, and nothing of
// what the node said keeps the wallet from working once it is right again.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { createWalletClient, encodeFunctionData, http, keccak256, parseAbi, toHex } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';

import { Door } from '../support/door.mjs';
import { makeKeystore } from '../support/keystore.mjs';
import { Payments } from '../support/payments.mjs';
import { waitUntil } from '../support/process.mjs';
import { accounts } from '../support/servers.mjs';
import { Sql } from '../support/sql.mjs';

const abi = parseAbi([
  'function setRevoked(address subscriber, bytes32 serviceId, bool revoked)',
  'function isRevoked(address subscriber, bytes32 serviceId) view returns (bool)',
  'function slotOf(address subscriber, bytes32 serviceId) view returns (uint256)',
  'function grantRole(bytes32 role, address account)',
  'function revokeRole(bytes32 role, address account)',
]);
const FAR = '0x7fffffffffffffff';
const REFUNDER = keccak256(toHex('REFUNDER_ROLE'));
const admin = privateKeyToAccount(accounts[0]);

const payments = new Payments();
let chain;
let sql;
let door;
let contract;

const payd = (name) => payments.payd(name, {
  rpc: [door.url],
  settings: { confirmations: 2 },
  more: `wallet:\n  keystore: "${join(payments.dir, 'wallet.json')}"\n  password_file: "${join(payments.dir, 'wallet.password')}"\n  poll: 100ms\n  bump_after: 600ms\n`,
});

const service = (name) => keccak256(toHex(name));
const job = async (key) => (await sql.rows(`select * from payments.wallet_job where key = '${key}'`))[0];
const attempts = (key) => sql.rows(`select t.* from payments.wallet_tx t join payments.wallet_job j on j.id = t.job where j.key = '${key}' order by t.nonce, t.attempt`);
const automine = (on) => chain.rpc('evm_setAutomine', [on]);
const used = (blockTag = 'latest') => payments.client.getTransactionCount({ address: payments.operator.address, blockTag });
const read = (functionName, name) => payments.client.readContract({ address: contract, abi, functionName, args: [payments.payer.address, service(name)] });
const waits = (service_, what) => service_.metric('octroi_payd_wallet_waiting', `for="${what}"`);

const inState = (key, state) => waitUntil(`${key} to be ${state}`, async () => {
  const row = await job(key);
  return row.state === state && row;
}, { every: 50 });

// Mines until it is.
const done = (key) => waitUntil(`${key} to be done`, async () => {
  await chain.mine(1);
  const row = await job(key);
  return row.state === 'done' && row;
}, { every: 100 });

// A revocation of a slot of its own.
async function revoke(name) {
  const key = `revoke:${name}`;
  const data = encodeFunctionData({ abi, functionName: 'setRevoked', args: [payments.payer.address, service(name), true] });
  await sql.run(`insert into payments.wallet_job (follower, key, kind, target, data, actor, reason) select id, '${key}', 'revoke', '${name}', '${data}', 'test', 'test' from payments.follower`);
  return key;
}

// `change` is given every result that the node answers with.
function lie(change) {
  door.rewrite = (text) => {
    const answer = JSON.parse(text);
    for (const one of [answer].flat()) change(one, answer);
    return JSON.stringify(answer);
  };
}

const roles = (functionName, fees = {}) => createWalletClient({ account: admin, chain: payments.wallet.chain, transport: http(chain.url) })
  .writeContract({ address: contract, abi, functionName, args: [REFUNDER, payments.operator.address], gas: 200_000n, ...fees });

const ask = (quote) => payments.adminsvc.request('octroi.v1.admin.payd.refund', { actor: 'key_1', reason: 'test', payment_id: quote.id });

before(async () => {
  await payments.start();
  ({ chain } = payments);
  ({ contract } = payments.deployment);
  sql = new Sql(payments.postgres);
  writeFileSync(join(payments.dir, 'wallet.json'), makeKeystore(accounts[3], 'a password'), { mode: 0o600 });
  writeFileSync(join(payments.dir, 'wallet.password'), 'a password\n', { mode: 0o600 });
  door = await new Door(chain.url).start();
});

afterEach(async () => {
  door.rewrite = (text) => text;
  await payments.stopPayds();
  await automine(true);
});

after(async () => {
  door?.stop();
  sql?.close();
  await payments.stop();
});

for (const [title, nonce] of [['far ahead', '0x3e8'], ['that no account reaches', FAR]]) {
  test(`a node names a nonce ${title} for a while: the wallet goes on when it does no longer`, async () => {
    const service_ = await payd('payd');
    const key = `revoke:${nonce}`;
    let told = 0;
    lie((one, answer) => {
      // The wallet's look at the chain: a block, two counts, a balance.
      if (answer.length !== 4 || !answer[0].result?.baseFeePerGas || typeof answer[1].result !== 'string' || (one !== answer[1] && one !== answer[2])) return;
      one.result = nonce;
      told += 1;
    });
    await revoke(nonce);
    await waitUntil('the wallet to have heard it', () => told >= 4);
    if (nonce !== FAR) await waitUntil('it to be believed', async () => (await attempts(key)).length > 0);
    door.rewrite = (text) => text;
    await done(key);
    const next = `${nonce}-next`;
    await done(await revoke(next));
    assert.deepEqual([await read('isRevoked', nonce), await read('isRevoked', next)], [true, true]);
    assert.equal(await used('pending'), await used());
    assert.equal(await service_.metric('octroi_payd_wallet_jobs', 'sent'), 0);
  });
}

test('a node names a receipt of a block that nobody has: the job is followed to the block that it is in', async () => {
  await payd('payd');
  let told = 0;
  lie((one) => {
    if (one.result?.status === undefined || one.result.from?.toLowerCase() !== payments.operator.address.toLowerCase()) return;
    one.result.blockNumber = '0x7fffffff';
    told += 1;
  });
  const key = await revoke('receipt');
  await waitUntil('the receipt to be read', () => told >= 1);
  await waitUntil('the wallet to look again', async () => (await sql.rows(`select from payments.wallet_job where key = '${key}' and updated_at < clock_timestamp() - interval '500 milliseconds'`)).length === 1);
  door.rewrite = (text) => text;
  await done(key);
});

test('a refund that is refused for a while waits, visibly, and is made', async () => {
  const service_ = await payd('payd');
  const quote = await payments.bought('refused');
  await chain.mine(2);
  await payments.activated(service_, quote);
  const key = `refund:${quote.id}`;
  await automine(false);
  await ask(quote);
  await waitUntil('it to be pending', async () => (await used('pending')) === (await used()) + 1);
  // Ahead of it in the same block: what was estimated well reverts.
  const dear = { maxFeePerGas: 100n * 10n ** 9n, maxPriorityFeePerGas: 60n * 10n ** 9n };
  await roles('revokeRole', dear);
  await chain.mine(1);
  await automine(true);
  await waitUntil('it to wait', async () => {
    await chain.mine(1);
    return (await waits(service_, 'refused')) === 1;
  }, { every: 100 });
  assert.equal(await service_.metric('octroi_payd_wallet_transactions_total', 'reverted'), 1);
  const { refund } = await waitUntil('more tries than fail another job', async () => (await job(key)).attempts > 3 && ask(quote), { every: 50 });
  assert.equal(refund.state, 'queued');
  assert.match(refund.error, /^AccessControlUnauthorizedAccount/);
  const ready = await (await fetch(`${service_.ops}/readyz`)).json();
  assert.ok(ready.dependencies.some(({ name, ok, detail }) => name === 'wallet' && !ok && /refund/.test(detail)));
  assert.equal(await waits(service_, 'refused'), 1);
  await roles('grantRole');
  await done(key);
  assert.equal(await read('slotOf', 'refused'), 2n << 208n);
  await waitUntil('it to wait no more', async () => (await waits(service_, 'refused')) === 0);
  await payments.inState(service_, quote, 'refunded');
});
