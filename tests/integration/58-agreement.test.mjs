// An endpoint that tells lies about real blocks: a payment that nobody made, another amount, one of two payments left out. While an honest
// endpoint contradicts it nothing of that is confirmed; once it is honest, or gone, what is true is activated and what is not never is.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';

import { encodeEventTopics, parseAbi, toHex } from 'viem';

import { Payments } from '../support/payments.mjs';
import { waitUntil } from '../support/process.mjs';
import { Relay } from '../support/relay.mjs';

const abi = parseAbi(['event Paid(address indexed subscriber, bytes32 indexed serviceId, address indexed token, uint256 terms, uint256 amount)',
  'event Refunded(address indexed subscriber, bytes32 indexed serviceId, address indexed token, uint16 seq, uint256 amount)']);
const settings = { head_every: '100ms' };
const word = (value) => toHex(value, { size: 32 }).slice(2);
let site;
let liar;
let honest;

const trail = (quote) => site.postgres.rows(`select state from payments.payment_event where payment_id = '${quote.id}' order by revision`).map((row) => row.state);
const head = async () => Number(await site.chain.rpc('eth_blockNumber'));
const known = async (payd, quote) => (await site.get(payd, `/payment/${quote.id}`)).body.state;
const disagreement = (payd) => payd.metric('octroi_payd_chain_disagreement');
const degraded = async () => (await site.tester.messages('OCTROI_EVENTS')).map(({ body }) => body).filter(({ type }) => type === 'octroi.chain.degraded');

async function twoEndpoints(name, more = {}) {
  const payd = await site.payd(name, { rpc: [liar.url, honest.url], settings: { ...settings, ...more } });
  const number = await head();
  await waitUntil('the chain to be read', async () => (await payd.metric('octroi_payd_chain_cursor_block')) >= number);
  return payd;
}

// The disagreement stands through many questions, and nothing is confirmed meanwhile.
async function stands(payd, ...quotes) {
  await waitUntil('the contradiction to be noticed', async () => (await disagreement(payd)) === 1);
  const from = honest.posts;
  await waitUntil('more questions', () => honest.posts > from + 12);
  assert.equal(await disagreement(payd), 1);
  for (const quote of quotes) assert.ok(!trail(quote).some((state) => /^(confirmed|activated)$/.test(state)), `${quote.service}: ${trail(quote)}`);
}

async function activatedOnce(payd, quote) {
  const { revision } = await site.inState(payd, quote, 'confirmed');
  assert.deepEqual(await site.activate(quote, revision), { ok: true });
  await site.inState(payd, quote, 'activated');
  assert.equal(trail(quote).filter((state) => state === 'confirmed').length, 1);
}

// In the block of a real payment, by its own transaction, one that nobody made.
const invented = (quote) => (logs) => logs.flatMap((log) => {
  const [topic] = encodeEventTopics({ abi, eventName: 'Paid' });
  if (log.topics[0] !== topic) return [log];
  const topics = [topic, log.topics[1], quote.serviceId, log.topics[3]];
  return [log, { ...log, logIndex: toHex(Number(log.logIndex) + 50), topics, data: `0x${word(quote.terms)}${word(quote.paid)}` }];
});
const paidLog = (log, quote) => log.topics[0] === encodeEventTopics({ abi, eventName: 'Paid' })[0] && log.topics[2] === quote.serviceId;

before(async () => {
  site = await new Payments().start();
});

async function relays() {
  [liar, honest] = await Promise.all([1, 2].map((seed) => new Relay({ upstream: site.chain.url, seed }).start()));
}

afterEach(async () => {
  for (const one of [liar, honest]) one?.clear();
  await site.stopPayds();
  for (const one of [liar, honest]) one?.stop();
});

after(() => site?.stop());

test('an invented payment is never confirmed, and is dropped once the liar is honest', async () => {
  await relays();
  const payd = await twoEndpoints('invented');
  const never = await site.quote('never');
  liar.fault('logs-edited', { edit: invented(never) });
  const quote = await site.bought('beside');
  await site.chain.mine(2);
  await stands(payd, quote, never);
  assert.equal(await known(payd, never), 'confirming');
  const [{ data }] = (await degraded()).filter((event) => event.data.reason === 'disagreement');
  assert.match(data.detail, /^b: other events in block \d+ 0x[0-9a-f]{64} than those read$/);
  assert.ok(payd.logContains('endpoints contradict each other'));
  liar.clear();
  await activatedOnce(payd, quote);
  await site.inState(payd, never, 'orphaned');
  assert.equal(await disagreement(payd), 0);
  assert.ok(payd.logContains('it is read again'));
});

test('an invented payment is dropped also where the honest endpoint is the only one left', async () => {
  await relays();
  const payd = await twoEndpoints('gone');
  const never = await site.quote('gone');
  liar.fault('logs-edited', { edit: invented(never) });
  const quote = await site.bought('stays');
  await site.chain.mine(2);
  await stands(payd, quote, never);
  await site.stopPayds();
  const alone = await site.payd('alone', { rpc: [honest.url], settings });
  await activatedOnce(alone, quote);
  await site.inState(alone, never, 'orphaned');
  assert.deepEqual(trail(never), ['seen', 'confirming', 'orphaned']);
  assert.equal(site.postgres.rows('select 1 from payments.chain_trouble').length, 0);
});

test('a payment of another amount, or other terms, is not confirmed as such', async () => {
  await relays();
  const payd = await twoEndpoints('amount');
  const quote = await site.quote('amount');
  const edit = (logs) => logs.map((log) => (paidLog(log, quote) ? { ...log, data: `0x${word(quote.terms)}${word(1n)}` } : log));
  liar.fault('logs-edited', { edit });
  await site.pay(quote);
  await site.chain.mine(2);
  await stands(payd, quote);
  liar.clear();
  await activatedOnce(payd, quote);
  assert.equal(site.postgres.rows(`select amount from payments.payment where id = '${quote.id}'`)[0].amount, Number(quote.paid));

  const other = await site.quote('terms');
  const wrong = await site.quote('terms', { paid: 999_000_000n });
  liar.fault('logs-edited', { edit: (logs) => logs.map((log) => (paidLog(log, other) ? { ...log, data: `0x${word(wrong.terms)}${word(other.paid)}` } : log)) });
  await site.pay(other);
  await site.chain.mine(2);
  await stands(payd, wrong);
  liar.clear();
  await activatedOnce(payd, other);
  await site.inState(payd, wrong, 'orphaned');
});

test('one of two payments of a block is left out: neither is confirmed before both are there', async () => {
  await relays();
  const payd = await twoEndpoints('two');
  const [one, two] = [await site.quote('one'), await site.quote('two')];
  liar.fault('logs-edited', { edit: (logs) => logs.filter((log) => !paidLog(log, two)) });
  await site.chain.rpc('evm_setAutomine', [false]);
  const hashes = [];
  const nonce = await site.client.getTransactionCount({ address: site.payer.address });
  for (const [i, quote] of [one, two].entries()) {
    hashes.push(await site.wallet.sendTransaction({ to: site.deployment.contract, data: site.payData(quote), gas: 300_000n, nonce: nonce + i }));
  }
  await site.chain.mine(1);
  await site.chain.rpc('evm_setAutomine', [true]);
  const [x, y] = await Promise.all(hashes.map((hash) => waitUntil('the receipt', () => site.client.getTransactionReceipt({ hash }))));
  assert.equal(x.blockNumber, y.blockNumber);
  await site.chain.mine(2);
  await stands(payd, one);
  assert.deepEqual(trail(two), []);
  liar.clear();
  await activatedOnce(payd, one);
  await activatedOnce(payd, two);
});

test('an invented refund takes a payment back only until it is contradicted by all', async () => {
  await relays();
  const payd = await twoEndpoints('refund');
  const quote = await site.bought('refund');
  await site.chain.mine(1);
  await activatedOnce(payd, quote);
  const refund = (log) => ({
    ...log,
    logIndex: toHex(Number(log.logIndex) + 50),
    topics: encodeEventTopics({ abi, eventName: 'Refunded', args: { subscriber: site.payer.address, serviceId: quote.serviceId, token: quote.token } }),
    data: `0x${word(BigInt(quote.seq))}${word(quote.paid)}`,
  });
  const next = await site.quote('next');
  liar.fault('logs-edited', { edit: (logs) => logs.flatMap((log) => (paidLog(log, next) ? [log, refund(log)] : [log])) });
  await site.pay(next);
  await site.chain.mine(2);
  await stands(payd, next);
  liar.clear();
  await activatedOnce(payd, next);
  await site.inState(payd, quote, 'confirmed');
});

test('blocks filled with transfers, which no endpoint can tell of, or one cannot, stop no payment', async () => {
  await relays();
  const payd = await twoEndpoints('crowd');
  const refusal = { code: -32005, message: 'query returned more than 10000 results' };
  for (const faulty of [[liar, honest], [honest]]) {
    for (const one of faulty) one.fault('crowd', { refusal });
    const quote = await site.bought('crowd');
    await site.chain.mine(2);
    await activatedOnce(payd, quote);
    for (const one of faulty) one.clear();
  }
});

test('many blocks wait: each is compared once, some in a step, and nothing is asked while nothing waits', async () => {
  await relays();
  const payd = await twoEndpoints('many', { confirmations: 2 });
  honest.fault('reset');
  const quotes = [];
  for (let i = 0; i < 20; i += 1) quotes.push(await site.bought(`many${i}`));
  await site.chain.mine(3);
  honest.clear();
  for (const quote of quotes) await activatedOnce(payd, quote);
  const logs = honest.calls.get('eth_getLogs');
  const from = honest.posts;
  await waitUntil('more questions', () => honest.posts > from + 5);
  assert.equal(honest.calls.get('eth_getLogs'), logs);
});
