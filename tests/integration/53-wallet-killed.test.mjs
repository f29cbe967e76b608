// Refunds while the operator's signer and payd are killed under them: each goes back once, no nonce is left out or used twice, and no key is written
// anywhere.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { parseAbi, parseAbiItem } from 'viem';

import { Door } from '../support/door.mjs';
import { makeKeystore } from '../support/keystore.mjs';
import { Payments } from '../support/payments.mjs';
import { waitUntil } from '../support/process.mjs';
import { accounts } from '../support/servers.mjs';
import { Sql } from '../support/sql.mjs';

const REFUNDS = 6;
const refundedEvent = parseAbiItem('event Refunded(address indexed subscriber, bytes32 indexed serviceId, address indexed token, uint16 seq, uint256 amount)');
const erc20 = parseAbi(['function balanceOf(address) view returns (uint256)']);

const payments = new Payments();
const started = [];
let door;
let sql;

async function payd(name, more = '') {
  const service = await payments.payd(name, {
    rpc: [door.url],
    settings: { confirmations: 2 },
    more: `wallet:\n  keystore: "${join(payments.dir, 'wallet.json')}"\n  password_file: "${join(payments.dir, 'wallet.password')}"\n  poll: 100ms\n  bump_after: 30s\n${more}`,
  });
  started.push(service);
  return service;
}

// The process that holds the key; null while there is none.
function signerOf({ pid }) {
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    for (const child of readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim().split(' ').filter(Boolean)) {
      if (readFileSync(`/proc/${child}/comm`, 'utf8').trim() === 'payd-signer') return Number(child);
    }
  }
  return null;
}

function killSigner(service) {
  const pid = signerOf(service);
  assert.ok(pid, 'there is a signer to kill');
  process.kill(pid, 'SIGKILL');
}

const automine = (on) => payments.chain.rpc('evm_setAutomine', [on]);
const used = (blockTag = 'latest') => payments.client.getTransactionCount({ address: payments.operator.address, blockTag });
const balance = () => payments.client.readContract({ address: payments.deployment.token, abi: erc20, functionName: 'balanceOf', args: [payments.payer.address] });
const jobs = (where = 'true') => sql.rows(`select * from payments.wallet_job where kind = 'refund' and ${where} order by id`);

// Bought, confirmed and applied.
async function sold(service, name) {
  const list = [];
  for (let i = 0; i < REFUNDS; i += 1) list.push(await payments.bought(`${name}-${i}`));
  for (const quote of list) await payments.activated(service, quote);
  return { list, balance: await balance(), used: await used() };
}

// Again where payd dies before it has answered.
async function ask({ list }) {
  for (const quote of list) {
    await waitUntil('the refund to be asked for', async () => {
      try {
        return !(await payments.adminsvc.request('octroi.v1.admin.payd.refund', { actor: 'key_1', reason: 'asked for', payment_id: quote.id })).error;
      } catch {
        return false;
      }
    });
  }
}

// Calls at the nth request of a method, before or after it is passed on.
function at(phase, method, nth, act) {
  let seen = 0;
  return async (now, methods) => {
    if (now !== phase || !methods.includes(method)) return true;
    seen += 1;
    return seen === nth ? act() : true;
  };
}

async function over(service, { list, balance: had, used: from }) {
  await waitUntil('every refund to be done', async () => {
    await payments.chain.mine(1);
    return (await jobs("state <> 'done'")).length === 0;
  }, { timeout: 120_000, every: 200 });
  const logs = await payments.client.getLogs({ address: payments.deployment.contract, event: refundedEvent, fromBlock: 0n });
  for (const quote of list) {
    const of = logs.filter(({ args }) => args.serviceId === quote.serviceId);
    assert.deepEqual(of.map(({ args }) => [args.seq, args.amount]), [[quote.seq, quote.paid]], quote.service);
    await payments.inState(service, quote, 'refunded');
  }
  assert.equal(await balance() - had, list.reduce((sum, { paid }) => sum + paid, 0n));
  // A nonce each, one behind the other, all of them known.
  assert.equal(await used(), from + REFUNDS);
  assert.equal(await used('pending'), from + REFUNDS);
  const nonces = await sql.rows(`select distinct nonce from payments.wallet_tx where nonce >= ${from} order by nonce`);
  assert.deepEqual(nonces.map(({ nonce }) => Number(nonce)), list.map((_, i) => from + i));
}

before(async () => {
  await payments.start();
  sql = new Sql(payments.postgres);
  writeFileSync(join(payments.dir, 'wallet.json'), makeKeystore(accounts[3], 'wr0ng-secret'), { mode: 0o600 });
  writeFileSync(join(payments.dir, 'wallet.password'), 'wr0ng-secret\n', { mode: 0o600 });
  door = await new Door(payments.chain.url).start();
});

afterEach(async () => {
  door.watch = null;
  await payments.stopPayds();
  await automine(true);
});

after(async () => {
  door?.stop();
  sql?.close();
  await payments.stop();
});

test('the signer is killed three times while refunds are pending', async () => {
  const service = await payd('payd');
  const sale = await sold(service, 'signer');
  let kills = 0;
  let queued = 0;
  let asked;
  door.watch = async (phase, methods) => {
    if (phase !== 'before' || !methods.includes('eth_sendRawTransaction') || kills === 3) return true;
    await asked;
    if (kills === 3 || !signerOf(service)) return true;
    queued ||= (await jobs("state = 'queued'")).length;
    killSigner(service);
    kills += 1;
    return true;
  };
  asked = ask(sale);
  await waitUntil('the wait to be seen', async () => (await service.metric('octroi_payd_wallet_waiting', 'for="signer"')) === 1);
  await over(service, sale);
  assert.ok(queued > 1, `${queued} refunds were queued when the signer was killed first`);
  assert.equal(kills, 3);
  assert.ok(service.logContains('the signer is away') && service.logContains('the signer is back'));
  await waitUntil('it to wait no more', async () => (await service.metric('octroi_payd_wallet_waiting', 'for="signer"')) === 0);
});

test('payd is killed between signature and broadcast, between broadcast and block, and its signer meanwhile', async () => {
  let service = await payd('first');
  const sale = await sold(service, 'payd');
  await automine(false);
  const kill = async () => {
    await service.kill();
    return false;
  };
  // Signed and committed, not sent.
  door.watch = at('before', 'eth_sendRawTransaction', 2, kill);
  const asked = ask(sale);
  await waitUntil('the first kill', () => service.process.exit);
  assert.equal((await sql.rows('select from payments.wallet_tx where sends = 0')).length, 1);
  // Sent, not mined.
  door.watch = at('after', 'eth_sendRawTransaction', 4, kill);
  service = await payd('second');
  await waitUntil('the second kill', () => service.process.exit);
  assert.ok((await used('pending')) - (await used()) >= 2);
  // The signer is away while what was signed is mined.
  door.watch = null;
  service = await payd('third');
  await asked;
  await waitUntil('all to be sent', async () => (await used('pending')) - (await used()) === REFUNDS);
  killSigner(service);
  // Mined, not written down.
  door.watch = at('after', 'eth_getTransactionReceipt', 2, kill);
  await automine(true);
  await payments.chain.mine(1);
  await waitUntil('the third kill', () => service.process.exit);
  door.watch = null;
  service = await payd('fourth');
  await over(service, sale);
});

test('no key, no password and no signature of a transaction stands in any log', async () => {
  const raws = (await sql.rows('select raw from payments.wallet_tx')).map(({ raw }) => raw.slice(-64));
  assert.ok(started.length > 4 && raws.length >= 2 * REFUNDS);
  for (const service of started) {
    const log = service.process.log();
    assert.match(log, /the wallet's address/);
    for (const secret of [accounts[3].slice(2), 'wr0ng-secret', ...raws]) assert.ok(!log.toLowerCase().includes(secret.toLowerCase()), `${service.process.name}: ${secret.slice(0, 6)}...`);
  }
});
