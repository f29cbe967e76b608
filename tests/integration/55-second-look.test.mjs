// A node that has blocks and not all that happened in them. What it leaves out when payd reads is found when the same blocks are read a second
// time, and counts from then on as if it had been there at once: activated once, refunded where it was, taken back where its block goes.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';

import { waitUntil } from '../support/process.mjs';
import { Player } from '../support/schedule.mjs';
import { Simulation, World } from '../support/simulation.mjs';

const settings = { confirmations: 1, tail: 4, range: 10, batch: 4, keep_blocks: 8, tag: 'latest', confirm_after: '0s', second_look: 6 };
let simulation;
let world;
let player;
let one;
let two;

before(async () => { simulation = await new Simulation().start(); });

afterEach(async () => {
  await world?.stop();
  world = null;
});

after(() => simulation?.stop());

// `past`: what has happened before payd starts.
async function inhabit(seed, past, more = {}) {
  world = new World(simulation, seed, { settings: { ...settings, ...more }, instances: ['a'] });
  player = new Player(world, { seed, ops: [] });
  // The nodes are made by start(), and payd starts with them: it is held back by nodes that are away.
  await world.start();
  [one, two] = world.nodes;
  for (const node of world.nodes) node.fault = { kind: 'away' };
  await past?.();
  return world.payds[0];
}

const grow = (blocks) => { for (let i = 0; i < blocks; i += 1) world.chain.mine(); };
const pay = (slot, seq) => {
  const payment = player.quote(world.slots[slot], BigInt(seq));
  return payment.fields.plan > 3n || payment.token !== world.chain.token ? pay(slot, seq) : payment;
};
const mine = (...payments) => world.chain.mine(payments.map((payment) => world.chain.payTx(payment)));
const state = async (payment) => (await simulation.sql.rows(`select state from payments.payment where id = '${payment.id}'`))[0]?.state;
const trail = async (payment) => (await simulation.sql.rows(`select state from payments.payment_event where payment_id = '${payment.id}' order by revision`)).map((row) => row.state);
const known = (payment, wanted) => waitUntil(`the payment to be ${wanted}`, async () => (await state(payment)) === wanted, { timeout: 30_000 });
const late = (payd) => payd.metric('octroi_payd_late_events_total');
const read = (payd) => waitUntil('the head to be read', async () => (await payd.metric('octroi_payd_chain_cursor_block')) === world.chain.head.number, { timeout: 30_000 });
const looked = () => simulation.sql.rows(`select looked_number as n from payments.follower where contract = '${world.chain.contract}'`).then(([row]) => row.n);

test('a payment that was left out of a range while payd caught up is found, also after a restart, and activated once', { timeout: 120_000 }, async () => {
  let payment;
  const payd = await inhabit(5501, () => {
    grow(20);
    mine(payment = pay(0, 1));
    grow(30);
  });
  one.heal();
  one.leaveOut(() => true, { ranges: true });
  await read(payd);
  assert.equal(await state(payment), undefined);
  // One endpoint alone cannot say: it may be the one that left it out.
  assert.ok((await looked()) < world.chain.mined().get(payment.id).block.number);
  await payd.stop();
  payd.spawn();
  one.leavesOut = null;
  two.heal();
  await known(payment, 'activated');
  assert.deepEqual(await trail(payment), ['seen', 'confirmed', 'activated']);
  await world.settle();
  await waitUntil('it to be told of', async () => (await late(payd)) >= 1 && payd.logContains('a second reading has added them'));
  await waitUntil('the rest to be looked at', async () => (await looked()) >= world.chain.head.number - 7);
});

test('while the endpoint goes on leaving it out nothing is added, and the operator is told; what others paid goes on', { timeout: 120_000 }, async () => {
  let payment;
  const payd = await inhabit(5502, () => {
    grow(20);
    mine(payment = pay(0, 1));
    grow(30);
  });
  const { block } = world.chain.mined().get(payment.id);
  one.heal();
  two.heal();
  one.leaveOut((at) => at === block);
  await read(payd);
  await waitUntil('the omission to be told of', async () => (await payd.metric('octroi_payd_chain_omission')) === 1, { timeout: 30_000 });
  const trouble = await waitUntil('its row', async () => (await simulation.sql.rows(`select detail from payments.chain_trouble where kind = 'omission'`))[0]);
  assert.equal(trouble.detail, `two tells of events in block ${block.number} ${block.hash} that were not read, one does not`);
  const other = pay(1, 1);
  mine(other);
  grow(20);
  await known(other, 'activated');
  assert.equal(await state(payment), undefined);
  one.leavesOut = null;
  await known(payment, 'activated');
  await world.settle();
  await waitUntil('the end to be told of', async () => (await payd.metric('octroi_payd_chain_omission')) === 0, { timeout: 30_000 });
});

test('what a payment that was left out brings about comes right with it: its renewal, its refund, and the transfer that was taken for money without a purpose', { timeout: 120_000 }, async () => {
  const all = {};
  let sent;
  const payd = await inhabit(5503, () => {
    grow(20);
    mine(all.first = pay(0, 1), all.paidBack = pay(1, 1));
    grow(2);
    mine(all.renewal = pay(0, 2));
    world.chain.mine([world.chain.transaction('refund', world.slots[1])]);
    sent = world.chain.transaction('send', { subscriber: world.slots[2].subscriber, amount: 77n });
    world.chain.mine([sent]);
    grow(30);
  });
  const { block } = world.chain.mined().get(all.first.id);
  one.heal();
  one.leaveOut((at, { eventName, tx }) => (at === block && eventName === 'Paid') || tx === sent.hash);
  await read(payd);
  assert.equal(await state(all.first), undefined);
  assert.equal(await state(all.renewal), 'rejected');
  const transfers = () => simulation.sql.rows(`select t.amount, t.state from payments.transfer t join payments.follower f on f.id = t.follower where f.contract = '${world.chain.contract}' order by 1`);
  assert.equal((await transfers()).filter((row) => row.state === 'confirmed').length, 2);
  two.heal();
  one.leavesOut = null;
  await known(all.first, 'activated');
  await known(all.renewal, 'activated');
  await known(all.paidBack, 'refunded');
  await world.settle();
  assert.deepEqual((await transfers()).filter((row) => row.state !== 'orphaned'), [{ amount: 77, state: 'confirmed' }]);
});

test('what was found late is taken back where its block leaves the chain, and counts again where it is mined again', { timeout: 120_000 }, async () => {
  let payment;
  const payd = await inhabit(5504, () => {
    grow(20);
    mine(payment = pay(0, 1));
    grow(30);
  });
  one.heal();
  one.leaveOut(() => true, { ranges: true });
  await read(payd);
  two.heal();
  one.leavesOut = null;
  await known(payment, 'activated');
  const lists = Array.from({ length: 36 }, () => []);
  world.chain.reorg(33, lists);
  await known(payment, 'orphaned');
  await world.settle();
  mine(payment);
  grow(2);
  await known(payment, 'activated');
  await world.settle();
});

test('with one endpoint it is this one that is read a second time', { timeout: 120_000 }, async () => {
  let payment;
  const payd = await inhabit(5505, () => {
    grow(20);
    mine(payment = pay(0, 1));
    grow(4);
  }, { second_look: 12 });
  await payd.stop();
  payd.config = payd.config.replace(/rpc: \[(\{[^}]*\}).*\]/, 'rpc: [$1]');
  payd.spawn();
  one.heal();
  one.leaveOut(() => true);
  await read(payd);
  assert.equal(await state(payment), undefined);
  one.leavesOut = null;
  grow(14);
  await known(payment, 'activated');
  await world.settle();
  await waitUntil('it to be counted', async () => (await late(payd)) >= 1);
});
