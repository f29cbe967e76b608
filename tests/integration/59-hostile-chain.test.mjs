// What a chain, or who tells of it, does to payd without breaking a rule of JSON-RPC: floods of transfers that pay nothing, and an endpoint that
// all at once belongs to another chain. Real payd, subd and database on a chain under control.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';

import { serviceId } from '../../contracts/script/terms.mjs';
import { Bus } from '../support/bus.mjs';
import { waitUntil } from '../support/process.mjs';
import { Player } from '../support/schedule.mjs';
import { Simulation, UNKNOWN_PLAN, World } from '../support/simulation.mjs';

const settings = { confirmations: 1, tail: 4, range: 10, batch: 4, keep_blocks: 8, tag: 'latest', confirm_after: '0s' };
let simulation;
let world;
let player;

before(async () => { simulation = await new Simulation().start(); });

afterEach(async () => {
  await world?.stop();
  world = null;
});

after(() => simulation?.stop());

async function inhabit(seed, more) {
  world = new World(simulation, seed, { settings, instances: ['a'], ...more });
  await world.start();
  player = new Player(world, { seed, ops: [] });
  return world.payds[0].ready();
}

const send = (amount) => world.chain.transaction('send', { subscriber: world.slots[0].subscriber, amount: BigInt(amount) });
const amounts = (sql = '') => simulation.sql.json(`(select coalesce(json_agg(t.amount order by t.block_number, t.log_index), '[]') from payments.transfer t
  join payments.follower f on f.id = t.follower where f.contract = '${world.chain.contract}' ${sql})`);
const settle = async () => {
  world.chain.mine();
  await world.settle();
};

test('of a flood of transfers that pay nothing the largest of a block are kept and the rest is counted; what was paid in it is activated', { timeout: 120_000 }, async () => {
  await inhabit(5901);
  const [payd] = world.payds;
  const dust = Array.from({ length: 300 }, (_, i) => send(1 + (i * 7) % 300));
  world.chain.mine([...dust.slice(0, 150), player.newPayment(), ...dust.slice(150)]);
  await settle();
  assert.deepEqual((await amounts()).sort((a, b) => a - b), Array.from({ length: 20 }, (_, i) => 281 + i));
  assert.equal(await payd.metric('octroi_payd_transfers_unrecorded_total'), 280);
  assert.equal(world.counts.activated, 1);
  assert.ok(payd.logContains('the smaller ones are not recorded'));

  // When there were many lately, only the largest of a block is.
  await simulation.sql.run(`insert into payments.transfer (id, follower, revision, state, token, sender, amount, tx_hash, ordinal, block_number, block_hash, log_index, mined_at, seen_at)
    select '0x' || lpad(to_hex(n), 64, '0'), f.id, 1, 'confirmed', '', '', 1000000 + n, '', 0, 0, '', 0, now(), now() from generate_series(1, 2000) n, payments.follower f
    where f.contract = '${world.chain.contract}'`);
  world.chain.mine([send(400), send(402), player.newPayment(), send(401)]);
  await waitUntil('the block to be read', async () => (await amounts('and t.block_number > 0 and t.amount > 300')).length > 0);
  assert.deepEqual(await amounts('and t.block_number > 0 and t.amount > 300'), [402]);
  assert.equal(await payd.metric('octroi_payd_transfers_unrecorded_total'), 282);
});

// Sold and paid in a token of the contract's table that payd was not told of.
test('what was paid in a token that was listed too late is activated once it is listed', { timeout: 120_000 }, async () => {
  await inhabit(5903);
  const [payd] = world.payds;
  const late = `0x${'1a'.repeat(20)}`;
  const pay = (slot, token, fields) => {
    const quote = world.chain.quote({ ...world.slots[slot], token, fields: { start: world.chain.now - 10, expiry: world.chain.now + 86_400, paid: 1000n, plan: 1, seq: 1n, ...fields } });
    world.chain.mine([world.chain.payTx(quote)]);
    return quote.id;
  };
  const first = pay(0, late);
  const renewal = pay(0, world.chain.token, { seq: 2n, paid: 5000n });
  const unsold = pay(1, late, { plan: UNKNOWN_PLAN });
  const other = pay(2, `0x${'2b'.repeat(20)}`);
  const alone = pay(3, late);
  for (let i = 0; i < 3; i += 1) world.chain.mine();
  const states = async (...ids) => {
    const all = await simulation.sql.json(`(select json_object_agg(id, state) from payments.payment where id in (${ids.map((id) => `'${id}'`).join()}))`);
    return ids.map((id) => all?.[id]);
  };
  await waitUntil('them to be judged', async () => (await states(first, renewal, unsold, other, alone)).join() === 'rejected,activated,rejected,rejected,rejected', { timeout: 60_000 });
  await payd.stop();
  payd.config = payd.config.replace('tokens: [', `tokens: [{ address: "${late}", index: 1 }, `);
  payd.spawn();
  await waitUntil('them to be judged anew', async () => (await states(first, renewal, unsold, other, alone)).join() === 'activated,activated,rejected,rejected,activated', { timeout: 60_000 });
  const granted = await simulation.sql.rows(`select payment_id, state from subscriptions.subscription where contract = '${world.chain.contract}'`);
  assert.deepEqual(granted.map(({ payment_id: id, state }) => `${id} ${state}`).sort(), [`${renewal} active`, `${alone} active`].sort());
});

// Each repetition of its hint was delivered again each second for a day, until nothing else was.
test('a payment that cannot be activated does not pile up hints, and is activated when it can be', { timeout: 120_000 }, async () => {
  await inhabit(5904, { relay: { retry_min: '100ms', retry_max: '300ms' } });
  const [payd] = world.payds;
  const slot = world.slots.find(({ serviceId: id }) => id === serviceId('stream'));
  await simulation.sql.run(`delete from quotes.service_v1 where name = 'stream'`);
  world.chain.mine([player.newPayment(undefined, slot)]);
  world.chain.mine();
  const published = () => payd.metric('octroi_payd_hints_total', 'published');
  await waitUntil('the hint to be repeated', async () => (await published()) >= 40, { timeout: 60_000 });
  const tester = await new Bus({ port: simulation.nats.port, user: 'tester', password: 'tester' }).connect();
  const { num_ack_pending: pending } = await tester.request('$JS.API.CONSUMER.INFO.OCTROI_PAYMENTS.subd', {});
  tester.close();
  await simulation.sql.run(`insert into quotes.service_v1 values ('${serviceId('stream')}', 'stream')`);
  await settle();
  assert.equal(world.counts.activated, 1);
  assert.ok(pending < 25, `${pending} of ${await published()} hints are delivered again and again`);
});

test('an endpoint that leads to another chain takes nothing back', { timeout: 120_000 }, async () => {
  await inhabit(5902);
  const [payd] = world.payds;
  for (let i = 0; i < 6; i += 1) player.mine({ blocks: 1, payments: 1 });
  world.chain.mine([player.newPayment()]);
  await settle();
  assert.ok(world.counts.activated > 0);
  for (const more of [-3, 0, 3, 30]) {
    const other = world.elsewhere(more);
    for (const node of world.nodes) node.stray(other);
    const failures = await payd.metric('octroi_payd_poll_failures_total');
    const reorgs = () => payd.metric('octroi_payd_reorgs_total');
    await waitUntil('some tries', async () => (await payd.metric('octroi_payd_poll_failures_total')) > failures + 6 || (await reorgs()) > 0);
    assert.equal(await reorgs(), 0);
    for (const node of world.nodes) node.heal();
    world.chain.mine([player.newPayment()]);
    await settle();
  }
  assert.ok(payd.logContains('chain id is 4442, configured is 4441'));
  assert.equal(world.counts.reversed, 0);
});
