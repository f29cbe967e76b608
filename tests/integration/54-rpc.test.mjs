// payd and nodes that have a bad day, lag, lie or stand on another fork: what is paid meanwhile is activated once, after it; what is on a fork
// that loses is never activated; and nobody has to do anything.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';

import { Payments } from '../support/payments.mjs';
import { waitUntil } from '../support/process.mjs';
import { Relay, rangeRefusals } from '../support/relay.mjs';
import { Chain } from '../support/servers.mjs';

let site;
let a;
let b;
const relays = [];
const others = [];

const relay = async (upstream, seed = 1) => {
  const made = await new Relay({ upstream, seed }).start();
  relays.push(made);
  return made;
};

// A node that has the chain's history as it is now, block by block, and goes its own way from here.
async function forked(name) {
  const other = await new Chain({ dir: join(site.dir, name) }).start();
  others.push(other);
  await other.rpc('anvil_loadState', [await site.chain.rpc('anvil_dumpState')]);
  const number = await site.chain.rpc('eth_blockNumber');
  const [ours, theirs] = await Promise.all([site.chain, other].map((chain) => chain.rpc('eth_getBlockByNumber', [number, false])));
  assert.equal(theirs.hash, ours.hash, 'the fork shares its history');
  return other;
}

const trail = (quote) => site.postgres.rows(`select state from payments.payment_event where payment_id = '${quote.id}' order by revision`).map((row) => row.state);
// What was told of one kind of trouble: an earlier test may have told of the other.
const events = async (type, reason) => (await site.tester.messages('OCTROI_EVENTS')).map(({ body }) => body)
  .filter((event) => event.type === `octroi.chain.${type}` && event.data.reason === reason);
const state = async (payd, quote) => (await site.get(payd, `/payment/${quote.id}`)).body.state;
const head = async (chain = site.chain) => Number(await chain.rpc('eth_blockNumber'));
const reads = (payd, number) => waitUntil(`block ${number} to be read`, async () => (await payd.metric('octroi_payd_chain_cursor_block')) >= number);
const once = /^seen (confirming )?confirmed activated$/;

// Confirmed without anybody's help, applied, and all that once.
async function activatedOnce(payd, quote) {
  const { revision } = await site.inState(payd, quote, 'confirmed');
  assert.deepEqual(await site.activate(quote, revision), { ok: true });
  await site.inState(payd, quote, 'activated');
  assert.match(trail(quote).join(' '), once);
}

// Everybody's turn has come n times since.
async function turns(n, ...of) {
  const from = of.map(({ posts }) => posts);
  await waitUntil(`${n} more questions`, () => of.every(({ posts }, i) => posts >= from[i] + n));
}

before(async () => {
  site = new Payments(); // known before it starts: what fails half-way is stopped, too
  await site.start();
});

afterEach(async () => {
  for (const one of relays) one.clear();
  await site.stopPayds();
  for (const one of relays.splice(0)) one.stop();
  for (const one of others.splice(0)) await one.stop();
});

after(() => site?.stop());

// Each makes payd do something else; what spoils answers as such is played at random further down.
const faults = [
  ['status', { code: 429, headers: { 'retry-after': '1' } }],
  ['status', { code: 503, headers: { 'retry-after': 'Fri, 31 Dec 1999 23:59:59 GMT' } }],
  ['status', { code: 500, body: 'oops' }],
  ['flood'],
  ['hang'],
  ['chain-id'],
  ['error', { code: -32603, message: 'internal error' }],
  ['error', { code: -32005, message: 'daily request count exceeded, request rate limited' }],
  ['error', { code: -32000, message: 'header not found', methods: ['eth_getLogs'] }],
  ['stale', { blocks: 3 }],
  ['logs-foreign'],
  ['no-logs'],
];

test('whatever the only node does, what was paid meanwhile is activated once after it', async () => {
  a = await relay(site.chain.url);
  const payd = await site.payd('faults', { rpc: [a.url], timeout: '300ms', settings: { confirmations: 2, poll: '20ms' } });
  await reads(payd, await head());
  for (const [kind, options] of faults) {
    a.fault(kind, options);
    // Which chain it is on is asked after an outage only.
    if (kind === 'chain-id') {
      a.fault('reset', { times: 3 });
      await turns(6, a);
    }
    const quote = await site.bought('faults');
    await site.chain.mine(2);
    await turns(2, a);
    assert.equal((await site.get(payd, `/payment/${quote.id}`)).status, 404, `${kind} shows no payment`);
    a.clear();
    await activatedOnce(payd, quote);
  }
});

test('at random, one in three answers is faulty, on two nodes', async () => {
  a = await relay(site.chain.url, 7);
  b = await relay(site.chain.url, 8);
  for (const one of [a, b]) for (const kind of ['reset', 'garbage', 'truncated', 'wrong-length', 'logs-twice', 'html']) one.fault(kind, { rate: 0.06 });
  const payd = await site.payd('random', { rpc: [a.url, b.url], timeout: '500ms', settings: { head_every: '200ms', poll: '20ms' } });
  for (let i = 0; i < 4; i += 1) {
    const quote = await site.bought('random');
    await site.chain.mine(1);
    await activatedOnce(payd, quote);
  }
});

test('the next endpoint serves while the first is away, and the first is asked again after', async () => {
  a = await relay(site.chain.url);
  b = await relay(site.chain.url);
  const payd = await site.payd('failover', { rpc: [a.url, b.url], settings: { head_every: '100ms' } });
  await reads(payd, await head());
  for (const kind of ['reset', 'html', 'huge-head']) {
    a.fault(kind);
    const quote = await site.bought('failover');
    await site.chain.mine(1);
    await activatedOnce(payd, quote);
    await waitUntil('the endpoint to count as down', async () => (await payd.metric('octroi_payd_endpoint_up', 'endpoint="a"')) === 0);
    assert.equal(await payd.metric('octroi_payd_endpoint_up', 'endpoint="b"'), 1);
    a.clear();
    await waitUntil('the endpoint to count as up', async () => (await payd.metric('octroi_payd_endpoint_up', 'endpoint="a"')) === 1);
  }
  await waitUntil('the breaker to close', async () => (await payd.metric('octroi_payd_endpoint_breaker', 'endpoint="a"')) === 0);
});

test('an endpoint that is far behind is not followed, and one that says so of itself alone is not believed', async () => {
  await site.chain.mine(30);
  a = await relay(site.chain.url);
  b = await relay(site.chain.url);
  a.fault('stale', { blocks: 25 });
  const payd = await site.payd('behind', { rpc: [a.url, b.url], settings: { head_every: '100ms', agreement: 'first' } });
  await reads(payd, await head());
  assert.equal(await payd.metric('octroi_payd_endpoint_lag_blocks', 'endpoint="a"'), 25);
  const quote = await site.bought('behind');
  await site.chain.mine(1);
  await activatedOnce(payd, quote);
});

test('one that does not have the block is waited for, and then left', async () => {
  a = await relay(site.chain.url);
  b = await relay(site.chain.url);
  const payd = await site.payd('lags', { rpc: [a.url, b.url], settings: { agreement_wait: '10m', head_every: '100ms' } });
  await reads(payd, await head());
  b.fault('stale', { blocks: 3 });
  const quote = await site.bought('lags');
  await site.chain.mine(1);
  await site.inState(payd, quote, 'confirming');
  await turns(6, b);
  assert.equal(await state(payd, quote), 'confirming');
  // It catches up with what it lacked, though not with the head.
  await site.chain.mine(3);
  await activatedOnce(payd, quote);
  await site.stopPayds();

  const second = await site.payd('left', { rpc: [a.url, b.url], settings: { agreement_wait: '300ms' } });
  const late = await site.bought('lags');
  await site.chain.mine(1);
  await activatedOnce(second, late);
  assert.equal(await second.metric('octroi_payd_chain_disagreement'), 0);
});

test('two nodes on two forks: nothing is confirmed, and it is told, until they agree', async () => {
  a = await relay(site.chain.url);
  b = await relay(site.chain.url);
  const payd = await site.payd('forks', { rpc: [a.url, b.url], settings: { head_every: '100ms' } });
  await reads(payd, await head());
  const other = await forked('fork');
  b.switchTo(other.url);
  await other.mine(4);
  const quote = await site.bought('forks');
  await site.chain.mine(1);
  const told = await waitUntil('the contradiction to be told', async () => (await events('degraded', 'disagreement'))[0]);
  assert.match(told.data.detail, /^b: another block \d+ than 0x[0-9a-f]{64} of a$/);
  assert.equal(await payd.metric('octroi_payd_chain_disagreement'), 1);
  await turns(10, a, b);
  assert.equal(await state(payd, quote), 'confirming');
  assert.equal((await events('degraded', 'disagreement')).length, 1);
  assert.equal((await events('recovered', 'disagreement')).length, 0);
  b.switchTo(site.chain.url);
  await activatedOnce(payd, quote);
  await waitUntil('the agreement to be told', async () => (await events('recovered', 'disagreement')).length === 1);
  assert.equal(await payd.metric('octroi_payd_chain_disagreement'), 0);
  assert.ok(payd.logContains('endpoints contradict each other'));
});

test('the followed node stands on a fork that loses: what was paid there is never confirmed', async () => {
  a = await relay(site.chain.url);
  b = await relay(site.chain.url);
  const payd = await site.payd('loses', { rpc: [a.url, b.url], settings: { head_every: '100ms' } });
  await reads(payd, await head());
  const other = await forked('losing');
  // A payment that only the fork has: paid on the fork, by the same payer.
  const main = site.chain;
  a.switchTo(other.url);
  const quote = await site.quote('loses');
  const transaction = await site.wallet.prepareTransactionRequest({ to: site.deployment.contract, data: site.payData(quote), gas: 300_000n });
  await other.rpc('eth_sendRawTransaction', [await site.wallet.signTransaction(transaction)]);
  await other.mine(2);
  await main.mine(5);
  await site.inState(payd, quote, 'confirming');
  await waitUntil('the contradiction to be noticed', async () => (await payd.metric('octroi_payd_chain_disagreement')) === 1);
  await turns(10, a, b);
  assert.deepEqual(trail(quote), ['seen', 'confirming']);
  a.switchTo(main.url);
  await site.inState(payd, quote, 'orphaned');
  await waitUntil('agreement', async () => (await payd.metric('octroi_payd_chain_disagreement')) === 0);
  assert.deepEqual(trail(quote), ['seen', 'confirming', 'orphaned']);
});

test('batches: in any order, or one by one where a node refuses them; never in part', async () => {
  a = await relay(site.chain.url);
  b = await relay(site.chain.url);
  a.fault('batch-shuffled');
  const payd = await site.payd('batches', { rpc: [a.url, b.url], settings: { head_every: '100ms' } });
  let quote = await site.bought('batches');
  await site.chain.mine(1);
  await activatedOnce(payd, quote);
  assert.ok(a.batches > 0);
  a.clear();
  for (const kind of ['batch-partial', 'batch-doubled', 'batch-refused']) {
    a.fault(kind);
    quote = await site.bought('batches');
    await site.chain.mine(1);
    await activatedOnce(payd, quote);
    if (kind !== 'batch-refused') a.clear();
  }
  // It is remembered: from here on there are none.
  await turns(10, a);
  const { batches } = a;
  await turns(10, a);
  assert.equal(a.batches, batches);
});

test('catching up with a node that caps ranges, in the words of each provider', async () => {
  const quotes = [];
  for (let i = 0; i < 3; i += 1) {
    quotes.push(await site.bought('ranges'));
    await site.chain.mine(200);
  }
  a = await relay(site.chain.url);
  const capped = a.fault('range', { blocks: 25, refusals: Object.values(rangeRefusals) });
  const payd = await site.payd('ranges', { rpc: [a.url], settings: { tail: 4, range: 1000, poll: '20ms' } });
  await reads(payd, await head());
  assert.ok(capped.refused >= Object.keys(rangeRefusals).length, `refused ${capped.refused} times`);
  for (const quote of quotes) await activatedOnce(payd, quote);
});

test('a block that is filled with transfers to the contract, or with odd ones, holds up no payment', async () => {
  a = await relay(site.chain.url);
  const crowds = [{ logs: 2_000 }, { logs: 10_001 }, { logs: 30_000 }, { refusal: rangeRefusals.infura }, { logs: 1, words: 3 }, { logs: 1, words: 2 }];
  const payd = await site.payd('crowd', { rpc: [a.url], timeout: '5s', settings: { poll: '20ms' } });
  await reads(payd, await head());
  for (const crowd of crowds) {
    a.fault('crowd', crowd);
    const quote = await site.bought('crowd');
    await reads(payd, await head());
    a.clear();
    await site.chain.mine(1);
    await activatedOnce(payd, quote);
  }
  assert.ok(payd.logContains('transfers to the contract are too many or cannot be read'));
  await site.stopPayds();

  // Further down the chain too, where blocks are read in ranges.
  for (const [name, crowd] of Object.entries({ refused: { refusal: rangeRefusals.alchemy }, odd: { logs: 1, words: 2 } })) {
    const quote = await site.bought('crowd');
    await site.chain.mine(40);
    a.fault('crowd', crowd);
    const late = await site.payd(`crowd-range-${name}`, { rpc: [a.url], timeout: '5s', settings: { tail: 4, range: 8, poll: '20ms' } });
    await site.inState(late, quote, 'confirmed');
    await site.stopPayds();
    a.clear();
  }
});

test('everything away for many polls: said once, read-only, and back without help or gap', async () => {
  a = await relay(site.chain.url);
  b = await relay(site.chain.url);
  const payd = await site.payd('away', { rpc: [a.url, b.url], settings: { stale_after: '500ms', head_every: '100ms', poll: '20ms' } });
  await reads(payd, await head());
  const [degraded, recovered] = [(await events('degraded', 'away')).length, (await events('recovered', 'away')).length];
  for (const one of [a, b]) one.fault('reset');
  const quotes = [];
  for (let i = 0; i < 4; i += 1) {
    quotes.push(await site.bought(`away${i}`));
    await site.chain.mine(5);
  }
  const { data } = await waitUntil('the outage to be told', async () => (await events('degraded', 'away'))[degraded]);
  await waitUntil('the outage to show', async () => (await payd.metric('octroi_payd_chain_away_seconds')) > 1);
  const ready = await fetch(`${payd.ops}/readyz`);
  assert.equal(ready.status, 200);
  assert.match(JSON.stringify(await ready.json()), /read-only: no usable answer of any endpoint since \d{4}-/);
  const status = await site.quoted.request('octroi.v1.chain.status');
  assert.equal(status.ok, false);
  assert.ok(status.polled_at > 0);
  // Whoever leads: told once.
  await site.stopPayds();
  const next = await site.payd('away2', { rpc: [a.url, b.url], settings: { stale_after: '500ms', head_every: '100ms', poll: '20ms' } });
  await turns(4, a, b);
  for (const one of [a, b]) one.clear();
  for (const quote of quotes) await activatedOnce(next, quote);
  const back = await waitUntil('the return to be told', async () => (await events('recovered', 'away'))[recovered]);
  assert.equal(back.data.since, data.since);
  assert.ok(back.data.seconds >= 1);
  assert.equal((await events('degraded', 'away')).length, degraded + 1);
  await waitUntil('the return to show', async () => (await next.metric('octroi_payd_chain_away_seconds')) === 0);
});
