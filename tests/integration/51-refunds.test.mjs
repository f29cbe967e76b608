// Money that goes back, with payd on a real chain, PostgreSQL and NATS: refunds by an operator and unasked, transfers that paid nothing, revocations,
// and what a reorganisation makes of each.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { createPublicClient, createWalletClient, defineChain, encodeFunctionData, http, keccak256, encodeAbiParameters, parseAbi, parseSignature, signatureToCompactSignature, toHex } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';

import { packTerms, quoteDigest, quoteTypedData, serviceId, subscriptionId, validUntilMinute } from '../../contracts/script/terms.mjs';
import { transactionReceipt } from '../../contracts/script/transaction.mjs';
import { Bus } from '../support/bus.mjs';
import { freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { Chain, Nats, Postgres, accounts } from '../support/servers.mjs';
import { Service } from '../support/service.mjs';

const abi = parseAbi([
  'function pay(bytes32 serviceId, address token, uint256 terms, bytes32 r, bytes32 vs)',
  'function refund(address subscriber, bytes32 serviceId, address token, uint16 seq, uint256 amount)',
  'function refundTransfer(bytes32 id, address token, address to, uint256 amount)',
  'function setSigner(address signer, uint64 previousUntil)',
  'function setRevoked(address subscriber, bytes32 serviceId, bool revoked)',
  'function slotOf(address subscriber, bytes32 serviceId) view returns (uint256)',
  'function isRevoked(address subscriber, bytes32 serviceId) view returns (bool)',
  'function mint(address to, uint256 amount)',
  'function topUp(address token, uint72 amount)',
  'function approve(address spender, uint256 amount) returns (bool)',
  'function transfer(address to, uint256 amount) returns (bool)',
  'function balanceOf(address) view returns (uint256)',
  'function grantRole(bytes32 role, address account)',
]);
const MNEMONIC = 'test test test test test test test test test test test junk';
const admin = privateKeyToAccount(accounts[0]);
const signer = privateKeyToAccount(accounts[1]);
const payer = privateKeyToAccount(accounts[2]);
const operator = privateKeyToAccount(accounts[3]); // index 3 of the mnemonic: payd's wallet
const colleague = privateKeyToAccount(accounts[4]); // may refund too, by hand

let dir;
let postgres;
let nats;
let chain;
let deployment;
let client;
let wallet;
let quoted;
let subd;
let adminsvc;
let tester;
let node;

async function payd(name, { purse = true, refunds = true } = {}) {
  const port = await freePort();
  const opsPort = await freePort();
  const config = `
http: "127.0.0.1:${port}"
ops: "127.0.0.1:${opsPort}"
postgres: "${postgres.conninfo('payd')}"
nats: { urls: ["${nats.url}"], credentials: "${nats.credentials('payd')}" }
relay: { retry_min: 100ms, retry_max: 400ms }
refunds: { revoked: ${refunds} }
${purse ? `wallet: { mnemonic_file: "${join(dir, 'mnemonic')}", path: "m/44'/60'/0'/0/3", poll: 50ms }` : ''}
chain:
  deployment: "${chain.deploymentFile}"
  rpc: [{ url: "${chain.url}", timeout: 2s }]
  confirmations: 2
  poll: 50ms
  backoff_min: 50ms
  backoff_max: 300ms
`;
  const service = new Service('payd', { dir, name, config, opsPort });
  service.url = `http://127.0.0.1:${port}`;
  node = service;
  await service.start();
  return service;
}

let clock = Math.floor(Date.now() / 1000) - 60;
const seqs = new Map();

async function makeQuote(service, { seq, paid = 1_000_000n, from = payer } = {}) {
  seq ??= (seqs.get(service) ?? 0) + 1;
  const terms = packTerms({
    start: clock, expiry: clock + 86_400, paid, plan: 1, rate: 5, bandwidth: 0, quota: 100, seq, token: deployment.token_index,
    valid_until: validUntilMinute(BigInt(clock + 3_600)),
  });
  const quote = { chainId: deployment.chain_id, contract: deployment.contract, subscriber: from.address, serviceId: serviceId(service), token: deployment.token, terms };
  const compact = signatureToCompactSignature(parseSignature(await signer.signTypedData(quoteTypedData(quote))));
  return { ...quote, service, seq, paid, id: quoteDigest(quote), r: compact.r, vs: compact.yParityAndS };
}

const mined = async (hash) => {
  const receipt = await transactionReceipt(client, hash);
  assert.equal(receipt.status, 'success');
  return receipt;
};
const send = (account, functionName, args, address = deployment.contract) => wallet.writeContract({ account, address, abi, functionName, args, gas: 400_000n });
const payment = (quote) => send(payer, 'pay', [quote.serviceId, quote.token, quote.terms, quote.r, quote.vs]);

async function bought(service, options) {
  const quote = await makeQuote(service, options);
  quote.receipt = await mined(await payment(quote));
  seqs.set(service, quote.seq);
  return quote;
}

// Also told of by subd, where nothing else is said.
async function active(service, options) {
  const quote = await bought(service, options);
  await chain.mine(2);
  const { revision } = await inState(quote, 'confirmed');
  assert.deepEqual(await activate(quote, revision), { ok: true });
  return quote;
}

const get = async (quote) => (await fetch(`${node.url}/payment/${quote.id}`)).json();
const inState = (quote, state) => waitUntil(`${quote.service} to be ${state}`, async () => {
  const body = await get(quote);
  return body.state === state && body;
});
const states = (quote) => postgres.rows(`select state from payments.payment_event where payment_id = '${quote.id}' order by revision`).map(({ state }) => state).join(' ');
const activate = (quote, revision, more = {}) => subd.request('octroi.v1.payment.activated', { payment_id: quote.id, revision, subscription: subscriptionId(quote), ...more });
const slot = (service) => waitUntil('the chain to be followed', async () => {
  const answer = await quoted.request('octroi.v1.chain.slot', { subscriber: payer.address, service_id: serviceId(service) });
  return answer.error ? false : answer;
});
const verb = (name, body) => adminsvc.request(`octroi.v1.admin.payd.${name}`, { actor: 'key_1', reason: 'asked for', ...body });
const refund = (quote) => verb('refund', { payment_id: quote.id });
const jobs = (kind) => postgres.rows(`select key, kind, state, actor, reason, data from payments.wallet_job where kind = '${kind}' order by id`);
const balance = (of = payer.address) => client.readContract({ address: deployment.token, abi, functionName: 'balanceOf', args: [of] });
const word = (value) => `0x${value.toString(16).padStart(64, '0')}`;
const seqOnly = (seq) => word(BigInt(seq) << 208n);
const onChain = (service) => client.readContract({ address: deployment.contract, abi, functionName: 'slotOf', args: [payer.address, serviceId(service)] });
const hints = async (quote) => (await tester.messages('OCTROI_PAYMENTS')).filter(({ body }) => body.payment_id === quote.id);
const transfers = () => postgres.rows('select * from payments.transfer_v1 order by block_number, log_index');
const transferState = (id, state) => waitUntil(`transfer to be ${state}`, () => transfers().find((t) => t.transfer_id === id && t.state === state));
// Mines until the wallet says that it is done.
const done = (ask) => waitUntil('the wallet to be done', async () => {
  await chain.mine(1);
  const answer = await ask();
  const what = Object.values(answer)[0];
  assert.notEqual(what.state, 'failed', JSON.stringify(answer));
  return what.state === 'done' && what;
}, { every: 100 });

before(async () => {
  dir = temporaryDirectory('refunds');
  writeFileSync(join(dir, 'mnemonic'), `${MNEMONIC}\n`, { mode: 0o600 });
  postgres = new Postgres({ dir: join(dir, 'postgres') });
  nats = new Nats({ dir: join(dir, 'nats') });
  chain = new Chain({ dir: join(dir, 'chain') });
  await Promise.all([postgres.start(), nats.start(), chain.start()]);
  deployment = chain.deploy({ signer: signer.address, payee: colleague.address, operator: operator.address });
  const definition = defineChain({ id: chain.chainId, name: 'test', nativeCurrency: { name: 'x', symbol: 'x', decimals: 18 }, rpcUrls: { default: { http: [chain.url] } } });
  const transport = http(chain.url);
  client = createPublicClient({ chain: definition, transport, pollingInterval: 20, cacheTime: 0 });
  wallet = createWalletClient({ account: payer, chain: definition, transport });
  await mined(await send(admin, 'grantRole', [keccak256(toHex('REFUNDER_ROLE')), colleague.address]));
  await mined(await send(payer, 'mint', [payer.address, 10n ** 15n], deployment.token));
  await mined(await send(payer, 'approve', [deployment.contract, 10n ** 15n], deployment.token));
  const connect = (user, password = nats.passwords[user]) => new Bus({ port: nats.port, user, password }).connect();
  [quoted, subd, adminsvc, tester] = await Promise.all([connect('quoted'), connect('subd'), connect('adminsvc'), connect('tester', 'tester')]);
  // subd's view, as payd reads it.
  postgres.sql(`SET ROLE octroi_subd; CREATE TABLE subscriptions.subscription_v1 (id text, state text);
    GRANT USAGE ON SCHEMA subscriptions TO octroi_payd; GRANT SELECT ON subscriptions.subscription_v1 TO octroi_payd`);
});

afterEach(async () => {
  await node?.stop();
  node = undefined;
});

after(async () => {
  const failures = [];
  for (const one of [node, quoted, subd, adminsvc, tester, chain, nats, postgres]) {
    try {
      await (one?.stop ? one.stop() : one?.close());
    } catch (error) {
      failures.push(error);
    }
  }
  if (dir) removeDirectory(dir);
  if (failures.length) throw failures[0];
});

test('an operator refunds a payment: once, and the slot is free for the next', async () => {
  await payd('first');
  const quote = await active('first');
  const before_ = await balance();
  const asked = await refund(quote);
  assert.equal(asked.refund.payment_id, quote.id);
  assert.equal(asked.refund.amount, '1000000');
  const again = await refund(quote);
  assert.equal(again.refund.amount, '1000000');
  assert.equal((await get(quote)).refund.state.length > 0, true);
  const refunded = await inState(quote, 'refunded');
  assert.equal((await balance()) - before_, 1_000_000n);
  const end = await done(() => refund(quote));
  assert.equal(end.tx_hash, refunded.refund.tx_hash);
  assert.equal(refunded.refund.amount, '1000000');
  assert.deepEqual(jobs('refund').map(({ key, state, actor, reason }) => ({ key, state, actor, reason })),
    [{ key: `refund:${quote.id}`, state: 'done', actor: 'key_1', reason: 'asked for' }]);
  assert.equal(await balance() - before_, 1_000_000n);
  assert.equal(states(quote), 'seen confirming confirmed activated refunded'.replace('confirming ', states(quote).includes('confirming') ? 'confirming ' : ''));
  assert.ok((await hints(quote)).some(({ subject, body }) => subject === 'octroi.v1.payment.reversed' && body.revision === refunded.revision));
  assert.deepEqual(await activate(quote, refunded.revision), { ok: true });
  const now = await slot('first');
  assert.equal(now.slot, seqOnly(2));
  assert.equal(BigInt(now.slot), await onChain('first'));
  assert.equal(now.pending, false);
  const row = postgres.rows(`select state, refund_tx, refund_amount::text, refund_block from payments.payment_v1 where payment_id = '${quote.id}'`)[0];
  assert.deepEqual(row, { state: 'refunded', refund_tx: end.tx_hash, refund_amount: '1000000', refund_block: refunded.refund.block_number });

  const next = await bought('first', { seq: 3 });
  await chain.mine(2);
  await inState(next, 'confirmed'); // not rejected for its seq
  assert.equal((await slot('first')).slot, word(next.terms));
});

test('what cannot be refunded is refused with the reason', async () => {
  await payd('refusals');
  assert.equal((await verb('refund', { payment_id: `0x${'1'.repeat(64)}` })).error.code, 'not-found');
  const wrong = [
    ['refund', { payment_id: '0x12' }], ['refund', { payment_id: `0x${'1'.repeat(64)}`, reason: '' }], ['refund', { payment_id: `0x${'1'.repeat(64)}`, amount: 5 }],
    ['refund', {}], ['refund-transfer', { payment_id: `0x${'1'.repeat(64)}` }], ['withdraw', { token: deployment.token, fees: true }],
    ['withdraw', { token: deployment.token, fees: true, key: 'a b' }], ['withdraw', { token: payer.address, fees: false, key: 'x' }],
    ['set-revoked', { subscriber: payer.address, service_id: '0x01', revoked: true }],
  ];
  for (const [name, body] of wrong) assert.equal((await verb(name, body)).error.code, 'invalid-field', JSON.stringify(body));
  const first = await bought('refusals');
  await inState(first, 'seen');
  assert.equal((await refund(first)).error.code, 'payment-pending');
  await chain.mine(2);
  await inState(first, 'confirmed');
  const second = await bought('refusals', { paid: 3_000_000n });
  await chain.mine(2);
  await inState(second, 'confirmed');
  assert.match((await refund(first)).error.message, /later payment/);

  // A refund that somebody made by hand.
  await mined(await send(colleague, 'refund', [payer.address, second.serviceId, second.token, second.seq, 3_000_000n]));
  const { refund: byHand } = await inState(second, 'refunded');
  assert.equal(byHand.state, 'mined');
  const { error } = await refund(second);
  assert.equal(error.code, 'conflict');
  assert.ok(error.message.includes(byHand.tx_hash));

  const old = await active('refusals-old');
  postgres.sql(`update payments.payment set terms = '${word(old.terms - (BigInt(7 * 1440) << 232n))}' where id = '${old.id}'`);
  assert.equal((await refund(old)).error.code, 'refund-window-over');
});

test('a renewal is refunded with what was rolled into it', async () => {
  await payd('renewal');
  await active('renewal', { paid: 5_000_000n });
  const renewal = await makeQuote('renewal', { paid: 8_000_000n });
  const before_ = await balance();
  await mined(await payment(renewal));
  const due = before_ - (await balance());
  assert.ok(due < 4_000_000n && due >= 3_000_000n); // the first one's rest counts
  await chain.mine(2);
  await inState(renewal, 'confirmed');
  const { amount } = (await refund(renewal)).refund;
  assert.ok(BigInt(amount) > due && BigInt(amount) <= 8_000_000n);
  await inState(renewal, 'refunded');
  assert.equal((await balance()) - before_ + due, BigInt(amount));
});

test('a refund whose block leaves the chain is taken back, with its payment or without', async () => {
  await payd('undone');
  const quote = await active('undone');
  await chain.mine(3);
  const by = (seq) => send(colleague, 'refund', [payer.address, quote.serviceId, quote.token, seq, 1_000_000n]);
  await mined(await by(quote.seq));
  const { revision } = await inState(quote, 'refunded');
  assert.deepEqual(await activate(quote, revision), { ok: true });
  await chain.rpc('anvil_reorg', [1, []]);
  const back = await inState(quote, 'confirmed');
  assert.equal(back.refund, null);
  assert.equal((await slot('undone')).slot, word(quote.terms));
  assert.ok((await hints(quote)).some(({ subject, body }) => subject === 'octroi.v1.payment.confirmed' && body.revision === back.revision));
  assert.deepEqual(await activate(quote, back.revision), { ok: true });
  await inState(quote, 'activated');

  await mined(await by(quote.seq));
  await inState(quote, 'refunded');
  const depth = Number(await client.getBlockNumber()) - Number(quote.receipt.blockNumber) + 1;
  await chain.rpc('anvil_reorg', [depth, []]);
  const gone = await inState(quote, 'orphaned');
  assert.equal(gone.refund, null);
  assert.equal((await slot('undone')).slot, word(0n));
  seqs.delete('undone');

  // Both in one block: refunded before anybody waited for it.
  await chain.rpc('evm_setAutomine', [false]);
  try {
    // The higher tip goes first.
    const one = (account, functionName, args, tip) => wallet.writeContract({ account, address: deployment.contract, abi, functionName, args, gas: 400_000n, maxFeePerGas: 50_000_000_000n, maxPriorityFeePerGas: tip });
    const sent = [
      await one(payer, 'pay', [quote.serviceId, quote.token, quote.terms, quote.r, quote.vs], 2_000_000_000n),
      await one(colleague, 'refund', [payer.address, quote.serviceId, quote.token, quote.seq, 1_000_000n], 1n),
    ];
    await chain.mine(1);
    const receipts = [];
    for (const hash of sent) receipts.push(await mined(hash));
    assert.equal(receipts[0].blockNumber, receipts[1].blockNumber);
  } finally {
    await chain.rpc('evm_setAutomine', [true]);
  }
  await inState(quote, 'refunded');
  assert.match(states(quote), /orphaned seen refunded$/);
  assert.equal((await slot('undone')).slot, seqOnly(2));
  await chain.mine(3);
  await slot('undone');
  assert.match(states(quote), /refunded$/); // depth changes nothing about it
});

test('a transfer that paid nothing is kept, never activated, and sent back', async () => {
  await payd('transfers');
  const known = await active('transfers', { paid: 777n });
  const count = transfers().length;
  assert.equal(transfers().filter(({ tx_hash }) => tx_hash === known.receipt.transactionHash).length, 0);
  await mined(await send(payer, 'topUp', [deployment.token, 777n], deployment.contract));
  const receipt = await mined(await send(payer, 'transfer', [deployment.contract, 777n], deployment.token));
  await mined(await send(payer, 'transfer', [deployment.contract, 0n], deployment.token));
  await mined(await send(payer, 'transfer', [operator.address, 5n], deployment.token));
  const id = keccak256(encodeAbiParameters([{ type: 'uint256' }, { type: 'bytes32' }, { type: 'uint256' }], [BigInt(chain.chainId), receipt.transactionHash, 0n]));
  const seen = await transferState(id, 'confirmed');
  assert.equal(transfers().length, count + 1); // neither a top-up, nor the empty one, nor the one to somebody else
  assert.equal(seen.sender, payer.address.toLowerCase());
  assert.equal(Number(seen.amount), 777);
  assert.equal(seen.same_as, known.id); // what the operator may guess from
  assert.ok(seen.sender_payments >= 1);
  assert.equal(postgres.rows(`select count(*)::int as n from payments.payment where tx_hash = '${receipt.transactionHash}'`)[0].n, 0);
  assert.equal((await verb('refund-transfer', { transfer_id: `0x${'1'.repeat(64)}` })).error.code, 'not-found');
  const ask = () => verb('refund-transfer', { transfer_id: id });
  const before_ = await balance();
  assert.equal((await ask()).refund.amount, '777');
  await ask();
  const sent = await transferState(id, 'refunded');
  const end = await done(ask);
  assert.equal(sent.refund_tx, end.tx_hash);
  assert.equal(sent.refund_to, payer.address.toLowerCase());
  assert.equal((await balance()) - before_, 777n);
  assert.equal(jobs('refund-transfer').length, 1);
  assert.ok((await node.metric('octroi_payd_transfer_transitions_total', 'refunded')) >= 1);
  const told = await waitUntil('the events', async () => {
    const found = (await tester.messages('OCTROI_EVENTS')).filter(({ body }) => body.subject === id);
    return found.length >= 3 && found.map(({ body }) => body.data.state);
  });
  assert.deepEqual(told, ['seen', 'confirmed', 'refunded']);

  const early = await mined(await send(payer, 'transfer', [deployment.contract, 5n], deployment.token));
  const other = keccak256(encodeAbiParameters([{ type: 'uint256' }, { type: 'bytes32' }, { type: 'uint256' }], [BigInt(chain.chainId), early.transactionHash, 0n]));
  await transferState(other, 'seen');
  assert.equal((await verb('refund-transfer', { transfer_id: other })).error.code, 'payment-pending');
  await chain.rpc('anvil_reorg', [1, []]);
  await transferState(other, 'orphaned');
  assert.equal((await verb('refund-transfer', { transfer_id: other })).error.code, 'conflict');
});

// The wallet found it done by somebody else, in a block that has left the chain since.
test('what the wallet holds for done and the chain has no longer is begun anew', async () => {
  await payd('anew');
  const quote = await active('anew');
  const receipt = await mined(await send(payer, 'transfer', [deployment.contract, 31n], deployment.token));
  const id = keccak256(encodeAbiParameters([{ type: 'uint256' }, { type: 'bytes32' }, { type: 'uint256' }], [BigInt(chain.chainId), receipt.transactionHash, 0n]));
  await chain.mine(2);
  await transferState(id, 'confirmed');
  const asks = [['refund', quote.id, () => refund(quote), 1_000_000n], ['refund-transfer', id, () => verb('refund-transfer', { transfer_id: id }), 31n]];
  for (const [kind, target, ask, amount] of asks) {
    postgres.sql(`insert into payments.wallet_job (follower, key, kind, target, data, actor, reason, state, error)
      select id, '${kind}:${target}', '${kind}', '${target}', '0x${'0'.repeat(72)}', 'key_0', 'x', 'done', 'it is so already' from payments.follower`);
    assert.equal((await ask()).refund.state, 'done'); // payd may only not have read of it yet
    postgres.sql(`update payments.wallet_job set updated_at = now() - interval '1 hour' where target = '${target}'`);
    const before_ = await balance();
    assert.notEqual((await ask()).refund.state, 'done');
    const end = await done(ask);
    assert.match(end.tx_hash, /^0x/);
    assert.equal(await balance() - before_, amount);
    assert.equal((await ask()).refund.tx_hash, end.tx_hash);
    assert.equal(jobs(kind).filter(({ key }) => key === `${kind}:${target}`).length, 1);
  }
  await inState(quote, 'refunded');
  await transferState(id, 'refunded');
});

test('a transfer that somebody else sent back in a block that leaves the chain is sent back all the same', async () => {
  await payd('elsewhere');
  const receipt = await mined(await send(payer, 'transfer', [deployment.contract, 37n], deployment.token));
  const id = keccak256(encodeAbiParameters([{ type: 'uint256' }, { type: 'bytes32' }, { type: 'uint256' }], [BigInt(chain.chainId), receipt.transactionHash, 0n]));
  await chain.mine(2);
  await transferState(id, 'confirmed');
  const args = [id, deployment.token, payer.address, 37n];
  await mined(await send(colleague, 'refundTransfer', args));
  postgres.sql(`insert into payments.wallet_job (follower, key, kind, target, data, actor, reason)
    select id, 'refund-transfer:${id}', 'refund-transfer', '${id}', '${encodeFunctionData({ abi, functionName: 'refundTransfer', args })}', 'key_0', 'x' from payments.follower`);
  const job = () => postgres.rows(`select state, error, tx_hash from payments.wallet_job where target = '${id}'`)[0];
  await waitUntil('the wallet to have tried', () => job().error);
  assert.deepEqual([job().state, job().error], ['queued', 'it is so already, in no block that is confirmed']);
  await chain.rpc('anvil_reorg', [1, []]);
  const before_ = await balance();
  await waitUntil('it to be done', async () => {
    await chain.mine(1);
    return job().state === 'done';
  }, { every: 100 });
  assert.match(job().tx_hash, /^0x/);
  assert.equal(await balance() - before_, 37n);
  await transferState(id, 'refunded');
});

test('what was paid for a revoked subscription goes back by itself, once, and only if it was never used', async () => {
  await payd('raced');
  const used = await active('raced');
  const { revision } = await get(used);
  assert.deepEqual(await activate(used, revision, { refused: 'revoked' }), { ok: true });
  const raced = await bought('raced');
  await chain.mine(2);
  const confirmed = await inState(raced, 'confirmed');
  const before_ = await balance();
  await Promise.all(Array.from({ length: 6 }, () => activate(raced, confirmed.revision, { refused: 'revoked' })));
  const { amount } = (await inState(raced, 'refunded')).refund;
  assert.ok(BigInt(amount) > 0n && (await balance()) - before_ === BigInt(amount));
  const end = await done(() => refund(raced));
  assert.equal(end.state, 'done');
  assert.deepEqual(jobs('refund').filter(({ actor }) => actor === 'payd').map(({ key }) => key), [`refund:${raced.id}`]);
  assert.doesNotMatch(states(raced), /activated/);
  assert.equal((await activate(raced, confirmed.revision, { refused: 'late' })).error.code, 'invalid-field');
  assert.equal((await balance()) - before_, BigInt(amount));
});

test('a revocation that subd made is written to the chain, once', async () => {
  await payd('revoked');
  const quote = await active('revoked');
  const id = subscriptionId(quote);
  const isRevoked = () => client.readContract({ address: deployment.contract, abi, functionName: 'isRevoked', args: [payer.address, quote.serviceId] });
  postgres.sql(`insert into subscriptions.subscription_v1 values ('${id}', 'revoked'), ('sub_${'0'.repeat(32)}', 'revoked')`);
  await waitUntil('the slot to be revoked', async () => (await slot('revoked')).revoked);
  assert.equal(await isRevoked(), true);
  const set = (revoked) => verb('set-revoked', { subscriber: payer.address, service_id: quote.serviceId, revoked });
  assert.deepEqual((await done(() => set(true))).subscription, id);
  assert.equal(jobs('revoke').length, 1);
  postgres.sql(`delete from subscriptions.subscription_v1 where id = '${id}'`);
  await set(false);
  await waitUntil('the slot to be free', async () => !(await slot('revoked')).revoked);
  await done(() => set(false));
  assert.equal(await isRevoked(), false);
  assert.equal(jobs('unrevoke').length, 1);
});

test('withdrawals: each key once', async () => {
  await payd('withdrawals');
  const ask = (key, fees = false) => verb('withdraw', { token: deployment.token, fees, key });
  assert.deepEqual({ ...(await ask('one')).withdrawal, state: '', tx_hash: '', error: '' }, { token: deployment.token, fees: false, state: '', tx_hash: '', error: '' });
  await ask('one');
  await ask('one', true);
  assert.deepEqual([...jobs('withdraw'), ...jobs('withdraw-fees')].map(({ key }) => key),
    [`withdraw:${deployment.token.toLowerCase()}:one`, `withdraw-fees:${deployment.token.toLowerCase()}:one`]);
});

test('without a wallet it says so, keeps nothing, and tells of it once', async () => {
  await payd('poor', { purse: false });
  const quote = await active('poor');
  assert.equal((await refund(quote)).error.code, 'no-wallet');
  assert.equal((await verb('withdraw', { token: deployment.token, fees: false, key: 'poor' })).error.code, 'no-wallet');
  const raced = await bought('poor');
  await chain.mine(2);
  const { revision } = await inState(raced, 'confirmed');
  for (let i = 0; i < 3; i++) assert.deepEqual(await activate(raced, revision, { refused: 'revoked' }), { ok: true });
  await waitUntil('the log', () => node.logContains(/cannot be sent back/));
  assert.equal((await get(raced)).state, 'confirmed');
  assert.equal(jobs('refund').filter(({ key }) => [quote.id, raced.id].includes(key.slice(7))).length, 0);
});

test('the signer is the one that the contract names', async () => {
  await payd('signer');
  const other = colleague.address;
  assert.equal((await slot('signer')).signer, signer.address);
  await mined(await send(admin, 'setSigner', [other, 0n]));
  await waitUntil('the new one', async () => (await slot('signer')).signer === other);
  await chain.rpc('anvil_reorg', [1, []]);
  await waitUntil('the old one again', async () => (await slot('signer')).signer === signer.address);
});
