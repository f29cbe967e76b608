// The operator's wallet against a real chain: what it is asked for is on the chain once, whoever is killed and whatever the chain does with its
// transactions, and no nonce is skipped.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { createWalletClient, encodeFunctionData, http, keccak256, parseAbi, parseAbiItem, toHex } from 'viem';

import { AsyncApi } from '../support/asyncapi.mjs';
import { Door } from '../support/door.mjs';
import { makeKeystore } from '../support/keystore.mjs';
import { Payments } from '../support/payments.mjs';
import { sleep, waitUntil } from '../support/process.mjs';
import { dice } from '../support/relay.mjs';
import { accounts } from '../support/servers.mjs';
import { Sql } from '../support/sql.mjs';

const abi = parseAbi([
  'function setRevoked(address subscriber, bytes32 serviceId, bool revoked)',
  'function withdraw(address token)',
  'function refund(address subscriber, bytes32 serviceId, address token, uint16 seq, uint256 amount)',
]);
const revokedEvent = parseAbiItem('event Revoked(address indexed subscriber, bytes32 indexed serviceId, uint16 seq, bool revoked)');

const payments = new Payments();
let chain;
let sql;
let door;
let address;

const payd = (name = 'payd', settings = {}) => payments.payd(name, {
  rpc: [door.url],
  settings: { confirmations: 2, ...settings.chain },
  more: settings.none ? '' : `wallet:\n  keystore: "${join(payments.dir, 'wallet.json')}"\n  password_file: "${join(payments.dir, 'wallet.password')}"\n  poll: 100ms\n  bump_after: ${settings.bumpAfter ?? '600ms'}\n  max_fee_per_gas: 50000000000\n  max_priority_fee_per_gas: 4000000000\n${settings.spend ? `  max_spend_per_hour: ${settings.spend}\n` : ''}`,
});

let made = 0;
const service = (name) => keccak256(toHex(name));

const rows = (query) => sql.rows(query);

async function put(kind, target, data) {
  const key = `${kind}:${target}`;
  await sql.run(`insert into payments.wallet_job (follower, key, kind, target, data, actor, reason) select id, '${key}', '${kind}', '${target}', '${data}', 'test', 'test' from payments.follower`);
  return key;
}

// A revocation of a slot of its own.
async function revoke() {
  const name = `slot-${(made += 1)}`;
  const data = encodeFunctionData({ abi, functionName: 'setRevoked', args: [payments.payer.address, service(name), true] });
  return { name, key: await put('revoke', name, data) };
}

const job = async ({ key }) => (await rows(`select * from payments.wallet_job where key = '${key}'`))[0];
const attempts = ({ key }) => rows(`select t.* from payments.wallet_tx t join payments.wallet_job j on j.id = t.job where j.key = '${key}' order by t.nonce, t.attempt`);
const inState = (one, state, options) => waitUntil(`${one.key} to be ${state}`, async () => {
  const row = await job(one);
  return row.state === state && row;
}, { every: 50, ...options });
const used = (blockTag = 'latest') => payments.client.getTransactionCount({ address, blockTag });
const mine = (blocks = 1) => chain.mine(blocks);
const waits = (service_, what) => service_.metric('octroi_payd_wallet_waiting', `for="${what}"`);
const automine = (on) => chain.rpc('evm_setAutomine', [on]);

async function done(one) {
  await inState(one, 'mined');
  await mine(3);
  return inState(one, 'done');
}

// Each of them once, counted on the chain.
async function once(list) {
  const logs = await payments.client.getLogs({ address: payments.deployment.contract, event: revokedEvent, fromBlock: 0n });
  for (const { name } of list) {
    const of = logs.filter(({ args }) => args.serviceId === service(name));
    assert.equal(of.length, 1, `${name}: ${of.length} times on the chain`);
  }
}

// Every nonce below what the chain counts was used by one transaction that we know, or that `foreign` names.
async function noGaps(foreign = 0) {
  const known = (await rows(`select distinct nonce from payments.wallet_tx where nonce < ${await used()}`)).length;
  assert.equal(known + foreign, await used());
  assert.equal(await used('pending'), await used());
}

before(async () => {
  await payments.start();
  ({ chain } = payments);
  sql = new Sql(payments.postgres);
  address = payments.operator.address;
  writeFileSync(join(payments.dir, 'wallet.json'), makeKeystore(accounts[3], 'a password'), { mode: 0o600 });
  writeFileSync(join(payments.dir, 'wallet.password'), 'a password\n', { mode: 0o600 });
  door = await new Door(chain.url).start();
});

afterEach(async () => {
  door.watch = null;
  door.rewrite = (text) => text;
  await payments.stopPayds();
  await automine(true);
});

after(async () => {
  door?.stop();
  sql?.close();
  await payments.stop();
});

test('a job goes to the chain once; its state, transaction and reason can be read', async () => {
  const service_ = await payd();
  const one = await revoke();
  const row = await done(one);
  assert.equal(row.error, null);
  const receipt = await payments.client.getTransactionReceipt({ hash: row.tx_hash });
  assert.equal(receipt.status, 'success');
  assert.equal(receipt.from.toLowerCase(), address.toLowerCase());
  assert.equal((await attempts(one)).length, 1);
  // The same again is so already, and takes no nonce.
  const again = { key: await put('revoke', `${one.name}-again`, row.data) };
  assert.equal((await inState(again, 'done')).error, 'it is so already');
  assert.equal((await attempts(again)).length, 0);
  await once([one]);
  await noGaps();
  await waitUntil('the gauges', async () => (await service_.metric('octroi_payd_wallet_balance_gwei')) > 0);
  await waitUntil('no job to be left', async () => (await service_.metric('octroi_payd_wallet_jobs')) === 0);
});

test('what the contract refuses has failed, with its reason and an event', async () => {
  const service_ = await payd();
  const refund = encodeFunctionData({ abi, functionName: 'refund', args: [payments.payer.address, service('nothing'), payments.deployment.token, 7, 1n] });
  const one = { key: await put('refund', `0x${'ab'.repeat(32)}`, refund) };
  const row = await inState(one, 'failed');
  assert.match(row.error, /^(WrongSeq|NothingToRefund)/);
  assert.equal((await attempts(one)).length, 0);
  const event = await waitUntil('the event', async () => (await payments.tester.messages('OCTROI_EVENTS')).find(({ body }) => body.type.endsWith('payment.refund-failed')));
  assert.equal(event.body.subject, `0x${'ab'.repeat(32)}`);
  assert.equal(event.body.data.reason, row.error);
  const other = { key: await put('withdraw', payments.deployment.token, encodeFunctionData({ abi, functionName: 'withdraw', args: [payments.deployment.token] })) };
  assert.equal((await inState(other, 'failed')).error, 'NothingToWithdraw');
  await waitUntil('the gauge', async () => (await service_.metric('octroi_payd_wallet_jobs', 'failed')) === 2);
  await noGaps();
});

for (const [title, phase, method] of [
  ['between commit and broadcast', 'before', 'eth_sendRawTransaction'],
  ['after the broadcast', 'after', 'eth_sendRawTransaction'],
  ['between receipt and update', 'after', 'eth_getTransactionReceipt'],
]) {
  test(`killed ${title}, it goes on with the same transaction`, async () => {
    const service_ = await payd();
    let hit = false;
    door.watch = async (at, methods) => {
      if (hit || at !== phase || !methods.includes(method)) return true;
      hit = true;
      await service_.kill();
      return false;
    };
    const one = await revoke();
    await waitUntil('the kill', () => service_.process.exit);
    const [before_] = await attempts(one);
    assert.equal((await job(one)).state, 'sent');
    await payd('payd-again');
    const row = await done(one);
    assert.equal(row.tx_hash, before_.hash);
    assert.equal((await attempts(one)).length, 1);
    await once([one]);
    await noGaps();
  });
}

test('twenty jobs, two instances and kills at random moments: each once, and no nonce is missing', async () => {
  const seed = Number(process.env.OCTROI_SEED || 4441);
  const roll = dice(seed);
  const running = await Promise.all([payd('one'), payd('two')]);
  const all = [];
  const kills = (async () => {
    for (let round = 0; round < 4; round += 1) {
      await sleep(100 + roll() * 700);
      const place = Math.floor(roll() * 2);
      await running[place].kill();
      running[place] = await payd(`again-${round}`);
    }
  })();
  for (let i = 0; i < 20; i += 1) {
    all.push(await revoke());
    await sleep(roll() * 100);
  }
  await kills;
  await waitUntil(`all to be done (seed ${seed})`, async () => {
    await mine();
    return (await rows("select from payments.wallet_job where state <> 'done' and key like 'revoke:%'")).length === 0;
  }, { every: 200 });
  await once(all);
  await noGaps();
});

test('a transaction that the node drops is sent again as it was', async () => {
  await payd('payd', { bumpAfter: '20s' });
  await automine(false);
  const one = await revoke();
  const hash = await waitUntil('it to be sent', async () => (await attempts(one)).find((tx) => tx.sent_at)?.hash);
  await chain.rpc('anvil_dropTransaction', [hash]);
  assert.equal(await used('pending'), await used());
  await waitUntil('it to be sent again', async () => (await used('pending')) === (await used()) + 1);
  await mine();
  assert.equal((await done(one)).tx_hash, hash);
  await once([one]);
});

test('one that is stuck is replaced by one that offers more, up to the cap; then it waits', async () => {
  const service_ = await payd();
  await automine(false);
  const one = await revoke();
  const list = await waitUntil('a replacement', async () => {
    const found = await attempts(one);
    return found.length >= 3 && found;
  });
  for (let i = 1; i < list.length; i += 1) {
    assert.equal(list[i].nonce, list[0].nonce);
    assert.ok(list[i].max_fee >= list[i - 1].max_fee * 1.1 && list[i].priority_fee >= list[i - 1].priority_fee * 1.1);
  }
  await waitUntil('the cap', async () => (await waits(service_, 'fee-cap')) === 1);
  const ended = await attempts(one);
  assert.ok(ended.every((tx) => tx.priority_fee <= 4_000_000_000 && tx.max_fee <= 50_000_000_000));
  const ready = await (await fetch(`${service_.ops}/readyz`)).json();
  assert.ok(ready.dependencies.some(({ name, ok }) => name === 'wallet' && !ok));
  assert.equal((await fetch(`${service_.ops}/readyz`)).status, 200);
  await mine();
  await done(one);
  await waitUntil('it to wait no more', async () => (await waits(service_, 'fee-cap')) === 0);
  await once([one]);
  await noGaps();
});

test('above the cap nothing is signed; when gas is cheap again, it goes on', async () => {
  const service_ = await payd();
  await chain.rpc('anvil_setNextBlockBaseFeePerGas', ['0x2e90edd000']); // 200 gwei
  await mine();
  const one = await revoke();
  await waitUntil('the cap', async () => (await waits(service_, 'fee-cap')) === 1);
  assert.equal((await attempts(one)).length, 0);
  assert.match((await job(one)).error, /max_fee_per_gas/);
  await chain.rpc('anvil_setNextBlockBaseFeePerGas', ['0x3b9aca00']);
  await mine();
  await done(one);
  await once([one]);
});

// What a job costs at most when the base fee is 10 gwei, in gwei.
// payd's next look at the chain: for jobs from then on it goes by the prices of now.
async function looked() {
  let seen = false;
  door.watch = async (phase, methods) => (seen ||= phase === 'before' && methods.includes('eth_getBalance')) || true;
  await waitUntil('payd to look', () => seen);
  door.watch = null;
}

async function priceOfAJob() {
  await chain.rpc('anvil_setNextBlockBaseFeePerGas', ['0x2540be400']);
  await mine();
  await looked();
  const one = await revoke();
  await waitUntil('it to be signed', async () => (await attempts(one)).length === 1);
  const [{ gas, max_fee: fee }] = await attempts(one);
  await done(one);
  await chain.rpc('anvil_setNextBlockBaseFeePerGas', ['0x2540be400']);
  await mine();
  await looked();
  return Math.ceil((Number(gas) * Number(fee)) / 1e9);
}

// What was signed so far was signed long ago.
const anHourLater = () => sql.run("update payments.wallet_tx set created_at = created_at - interval '61 minutes'");

const told = async (what) => (await payments.tester.messages('OCTROI_EVENTS')).filter(({ body }) => body.type === `octroi.chain.${what}` && body.data.reason === 'wallet-budget').length;

test('beyond the budget of an hour jobs wait, visibly and without a pause, also after a restart, and go on with a new hour', async () => {
  await payd();
  const price = await priceOfAJob();
  await payments.stopPayds();
  await anHourLater();
  const service_ = await payd('spent', { spend: Math.ceil(price * 1.3) });
  const one = await revoke();
  await inState(one, 'mined');
  const other = await revoke();
  await waitUntil('the wait', async () => (await waits(service_, 'budget')) === 1);
  assert.match((await job(other)).error, /the budget of \d+ gwei an hour is spent/);
  assert.equal((await attempts(other)).length, 0);
  const ready = await (await fetch(`${service_.ops}/readyz`)).json();
  assert.ok(ready.dependencies.some(({ name, ok, detail }) => name === 'wallet' && !ok && /max_spend_per_hour/.test(detail)));
  await waitUntil('it to be told', () => service_.logContains("the wallet's budget of this hour is spent"));
  assert.equal(await told('degraded'), 1);
  // Tried again and again, with pauses: it waits all the time.
  const { attempts: tries } = await job(other);
  await waitUntil('more tries', async () => {
    assert.equal(await waits(service_, 'budget'), 1);
    return (await job(other)).attempts >= Number(tries) + 3;
  }, { every: 20 });
  assert.equal(await told('degraded'), 1);
  await service_.stop();
  // The signer's own books are empty now.
  const restarted = await payd('restarted', { spend: Math.ceil(price * 1.3) });
  const { attempts: before_ } = await job(other);
  await waitUntil('more tries', async () => (await job(other)).attempts >= Number(before_) + 2, { every: 20 });
  assert.equal(await waits(restarted, 'budget'), 1);
  assert.equal((await attempts(other)).length, 0);
  assert.equal(await told('degraded'), 1);
  await anHourLater();
  await done(other);
  await waitUntil('its end to be told', async () => (await told('recovered')) === 1);
  await once([one, other]);
  await noGaps();
});

test('a replacement that is not signed does not keep what was sent from being sent again', async () => {
  await payd();
  const price = await priceOfAJob();
  await payments.stopPayds();
  await anHourLater();
  // Not even the first replacement, which offers a seventh more, is within it.
  const service_ = await payd('spent', { spend: Math.ceil(price * 1.05) });
  await automine(false);
  const one = await revoke();
  const { hash } = await waitUntil('it to be sent', async () => (await attempts(one)).find((tx) => tx.sent_at));
  await waitUntil('a replacement to be refused', async () => (await waits(service_, 'budget')) === 1);
  await chain.rpc('anvil_dropTransaction', [hash]);
  assert.equal(await used('pending'), await used());
  await waitUntil('it to be sent again', async () => (await used('pending')) === (await used()) + 1);
  await automine(true);
  await mine();
  assert.equal((await done(one)).tx_hash, hash);
  assert.equal((await attempts(one)).length, 1);
  await once([one]);
});

test('the first of a hundred and twenty replacements is mined: it is known', async () => {
  const service_ = await payd('payd', { bumpAfter: '20s' });
  await automine(false);
  const one = await revoke();
  const { hash } = await waitUntil('it to be sent', async () => (await attempts(one)).find((tx) => tx.sent_at));
  await sql.run(`insert into payments.wallet_tx (follower, address, nonce, attempt, job, hash, raw, max_fee, priority_fee, gas, epoch, sent_at, sends)
    select follower, address, nonce, n, job, '0x' || lpad(to_hex(n), 64, '0'), raw, max_fee, priority_fee, gas, epoch, sent_at, 1 from payments.wallet_tx, generate_series(2, 121) n where hash = '${hash}'`);
  await automine(true);
  await mine();
  assert.equal((await done(one)).tx_hash, hash);
  assert.equal(await service_.metric('octroi_payd_wallet_transactions_total', 'lost'), 0);
  await once([one]);
});

test('a wallet without gas waits, says so, and goes on when it is funded', async () => {
  const service_ = await payd();
  await chain.rpc('anvil_setBalance', [address, '0x0']);
  const one = await revoke();
  await waitUntil('the wait', async () => (await waits(service_, 'balance')) === 1);
  assert.equal((await attempts(one)).length, 0);
  assert.equal(await service_.metric('octroi_payd_wallet_balance_gwei'), 0);
  await chain.rpc('anvil_setBalance', [address, '0x56bc75e2d63100000']);
  await done(one);
  await once([one]);
  await noGaps();
});

test('a replacement that the wallet cannot pay for is not signed: what it could pay for stays', async () => {
  const service_ = await payd();
  const price = await priceOfAJob();
  await chain.rpc('anvil_setBalance', [address, toHex(BigInt(Math.ceil(price * 1.05)) * 10n ** 9n)]);
  await automine(false);
  const one = await revoke();
  const { hash } = await waitUntil('it to be sent', async () => (await attempts(one)).find((tx) => tx.sent_at));
  await waitUntil('the wait', async () => (await waits(service_, 'balance')) === 1);
  await chain.rpc('anvil_dropTransaction', [hash]);
  await waitUntil('it to be sent again', async () => (await used('pending')) === (await used()) + 1);
  assert.equal((await attempts(one)).length, 1);
  await chain.rpc('anvil_setBalance', [address, '0x56bc75e2d63100000']);
  await waitUntil('a replacement', async () => (await attempts(one)).length > 1);
  await automine(true);
  await mine();
  await done(one);
  await once([one]);
});

test('what has failed and is asked for again is as old as the last time', async () => {
  const service_ = await payd();
  const ask = () => payments.adminsvc.request('octroi.v1.admin.payd.withdraw', { actor: 'key_1', reason: 'test', token: payments.deployment.token, fees: false, key: 'again' });
  await ask();
  const [{ key }] = await waitUntil('it to fail', async () => {
    const found = await rows("select key from payments.wallet_job where state = 'failed' and key like 'withdraw:%:again'");
    return found.length === 1 && found;
  });
  await service_.stop();
  await sql.run(`update payments.wallet_job set created_at = clock_timestamp() - interval '40 days' where key = '${key}'`);
  door.watch = async (phase, methods) => !methods.includes('eth_estimateGas');
  const again = await payd('again');
  await ask();
  await inState({ key }, 'queued');
  await waitUntil('its age', async () => (await again.metric('octroi_payd_wallet_jobs', 'queued')) === 1);
  assert.ok((await again.metric('octroi_payd_wallet_oldest_seconds')) < 3600);
});

test('a reorganisation takes it off the chain: it is sent again, also when it was done', async () => {
  await payd('payd', { bumpAfter: '1500ms' });
  const one = await revoke();
  const mined = await inState(one, 'mined');
  await chain.rpc('anvil_reorg', [1, []]);
  await waitUntil('another block', async () => {
    const { block_hash: hash } = await job(one);
    return hash && hash !== mined.block_hash;
  });
  const row = await done(one);
  assert.equal(row.tx_hash, mined.tx_hash);
  await chain.rpc('anvil_reorg', [Number(await payments.client.getBlockNumber()) - row.block_number + 1, []]);
  await mine();
  await waitUntil('it to be mined again', async () => {
    const { block_hash: hash, state } = await job(one);
    return hash !== row.block_hash && state === 'mined';
  });
  await done(one);
  await once([one]);
  await noGaps();
});

test('no job is done because of what only waits to be mined; what is mined and reverts has failed, and its nonce is used', async () => {
  const service_ = await payd('payd', { bumpAfter: '20s' });
  await automine(false);
  const one = await revoke();
  const { data } = await job(one);
  const same = { name: one.name, key: await put('revoke', `${one.name}-same`, data) };
  await waitUntil('both to be pending', async () => (await used('pending')) === (await used()) + 2);
  await automine(true);
  await mine(4);
  await inState(one, 'done');
  const row = await inState(same, 'failed');
  assert.equal(row.error, 'its transaction reverted');
  assert.equal((await payments.client.getTransactionReceipt({ hash: row.tx_hash })).status, 'reverted');
  assert.equal(await service_.metric('octroi_payd_wallet_transactions_total', 'reverted'), 1);
  await once([one]);
  await noGaps();
});

test('a chain whose blocks name no base fee: nothing is signed, and it is said', async () => {
  door.rewrite = (text) => text.replace(/"baseFeePerGas":"0x[0-9a-f]+",?/g, '');
  const service_ = await payd();
  const one = await revoke();
  await waitUntil('the wait', async () => (await waits(service_, 'not-eip1559')) === 1);
  assert.match((await job(one)).error, /EIP-1559/);
  assert.equal((await attempts(one)).length, 0);
  door.rewrite = (text) => text;
  await done(one);
  await once([one]);
});

test('a nonce that something else used: the job takes another one, and the operator hears of it', async () => {
  const service_ = await payd('payd', { bumpAfter: '20s' });
  await automine(false);
  const one = await revoke();
  const ours = await waitUntil('it to be sent', async () => (await attempts(one)).find((tx) => tx.sent_at));
  const rival = createWalletClient({ account: payments.operator, chain: payments.wallet.chain, transport: http(chain.url) });
  await rival.sendTransaction({ to: payments.payer.address, value: 1n, nonce: ours.nonce, maxFeePerGas: 60n * 10n ** 9n, maxPriorityFeePerGas: 30n * 10n ** 9n, gas: 21_000n });
  await mine();
  await waitUntil('the wait', async () => (await waits(service_, 'foreign-nonce')) === 1);
  assert.equal((await job(one)).nonce, ours.nonce);
  await automine(true);
  await mine(3);
  await waitUntil('another nonce', async () => (await job(one)).nonce > ours.nonce);
  assert.equal(await service_.metric('octroi_payd_wallet_transactions_total', 'lost'), 1);
  assert.equal((await job(one)).lost_nonces, 1);
  await done(one);
  await once([one]);
  await noGaps();
});

test('a nonce that something else had and lost is filled', async () => {
  const service_ = await payd();
  await automine(false);
  const at = await used();
  const rival = createWalletClient({ account: payments.operator, chain: payments.wallet.chain, transport: http(chain.url) });
  const hash = await rival.sendTransaction({ to: payments.payer.address, value: 1n, nonce: at, maxFeePerGas: 60n * 10n ** 9n, maxPriorityFeePerGas: 30n * 10n ** 9n, gas: 21_000n });
  const one = await revoke();
  await waitUntil('it to be signed behind the other', async () => (await job(one)).nonce === at + 1);
  await chain.rpc('anvil_dropTransaction', [hash]);
  await waitUntil('the gap to be filled', async () => (await attempts(one)).some(({ nonce }) => nonce === at));
  assert.equal(await service_.metric('octroi_payd_wallet_transactions_total', 'gap-filled'), 1);
  await waitUntil('both to be pending', async () => (await used('pending')) === at + 2);
  await automine(true);
  await mine();
  await done(one);
  await once([one]);
  await noGaps();
});

test('without a wallet nothing of it runs', async () => {
  const service_ = await payd('payd', { none: true });
  const one = await revoke();
  const ready = await (await fetch(`${service_.ops}/readyz`)).json();
  assert.ok(!ready.dependencies.some(({ name }) => name === 'wallet'));
  await waitUntil('the chain to be followed', async () => (await service_.metric('octroi_payd_chain_head_block')) > 0);
  assert.equal((await job(one)).state, 'queued');
});

test('what was told of all this is as docs/asyncapi.yaml says', async () => {
  const documented = new AsyncApi();
  for (const message of await payments.tester.messages('OCTROI_EVENTS')) documented.hear({ ...message, reply: undefined });
  assert.deepEqual(documented.failures, []);
  for (const what of ['payment.refund-failed', 'chain.{what}']) assert.ok(documented.met.has(`octroi.v1.events.${what}`), what);
});
