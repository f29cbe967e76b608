// The endpoint that is followed is all at once on another fork than everybody else. What was confirmed is not taken back by its word alone:
// it is left, told of, and nothing is sold meanwhile. Where the others are on that fork too, all of it is taken back as ever.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';

import { waitUntil } from '../support/process.mjs';
import { Player } from '../support/schedule.mjs';
import { Simulation, World } from '../support/simulation.mjs';

const settings = { confirmations: 1, tail: 4, range: 10, batch: 4, keep_blocks: 8, tag: 'latest', confirm_after: '0s', stale_after: '500ms', head_every: '100ms' };
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

async function inhabit(seed) {
  world = new World(simulation, seed, { settings, instances: ['a'] });
  await world.start();
  player = new Player(world, { seed, ops: [] });
  [one, two] = world.nodes;
  const [payd] = world.payds;
  await payd.ready();
  return payd;
}

const mine = (slot) => {
  const seq = (world.chain.head.slots.get(`${world.slots[slot].subscriber}|${world.slots[slot].serviceId}`)?.seq ?? 0n) + 1n;
  let payment;
  do payment = player.quote(world.slots[slot], seq); while (payment.fields.plan > 3n || payment.token !== world.chain.token);
  world.chain.mine([world.chain.payTx(payment)]);
  return payment;
};
const trail = async ({ id }) => (await simulation.sql.rows(`select state from payments.payment_event where payment_id = '${id}' order by revision`)).map((row) => row.state);
const reaches = (payment, state) => waitUntil(`the payment to be ${state}`, async () => (await trail(payment)).at(-1) === state, { timeout: 30_000 });
const grow = (blocks) => { for (let i = 0; i < blocks; i += 1) world.chain.mine(); };
const disagreement = (payd) => payd.metric('octroi_payd_chain_disagreement');
const slotTold = () => simulation.quoted.request('octroi.v1.chain.slot', { subscriber: world.slots[9].subscriber, service_id: world.slots[9].serviceId }, 1000);

// Another branch, `depth` blocks down, and longer than ours.
function branch(depth) {
  let at = world.chain.canonical[world.chain.head.number - depth];
  for (let i = 0; i < depth + 3; i += 1) at = world.chain.build(at, []);
  return at;
}

test('the followed endpoint alone on a fork takes nothing back that was confirmed, however deep; nothing is sold meanwhile', { timeout: 120_000 }, async () => {
  const payd = await inhabit(5951);
  const [first, second] = [mine(0), mine(1)];
  grow(6);
  for (const payment of [first, second]) await reaches(payment, 'activated');
  await world.settle();
  one.follow(branch(8));
  await waitUntil('the contradiction to be noticed', async () => (await disagreement(payd)) === 1, { timeout: 30_000 });
  await waitUntil('the log of it', () => payd.logContains('confirmed payments would be taken back'));
  // The right chain is followed on, and nothing is confirmed.
  const third = mine(2);
  grow(3);
  await reaches(third, 'confirming');
  const refusal = await waitUntil('quotes to be refused', async () => (await slotTold()).error, { timeout: 30_000 });
  assert.equal(refusal.code ?? refusal, 'chain-unavailable');
  const from = Math.min(one.calls, two.calls);
  await waitUntil('more questions', () => Math.min(one.calls, two.calls) > from + 20, { timeout: 30_000 });
  for (const payment of [first, second]) assert.ok(!(await trail(payment)).includes('orphaned'));
  assert.equal((await trail(third)).at(-1), 'confirming');
  one.heal();
  await reaches(third, 'activated');
  await world.settle();
  await waitUntil('agreement', async () => (await disagreement(payd)) === 0);
  assert.equal(world.counts.reversed, 0);
});

test('a deep reorganisation that all endpoints tell of is taken back at once, and so is a fork on which payd was led alone', { timeout: 120_000 }, async () => {
  const payd = await inhabit(5952);
  const first = mine(0);
  grow(6);
  await reaches(first, 'activated');
  await world.settle();
  world.chain.reorg(7, Array.from({ length: 9 }, () => []));
  await reaches(first, 'orphaned');
  assert.ok(!payd.logContains('others have block'));
  await world.settle();

  // Alone its word counts; when another is there again, who has its block, it does no more.
  const second = mine(0);
  grow(6);
  await reaches(second, 'activated');
  await world.settle();
  two.fault = { kind: 'away' };
  one.follow(branch(7));
  await reaches(second, 'orphaned');
  two.heal();
  await waitUntil('the contradiction to be noticed', async () => { mine(3); return (await disagreement(payd)) === 1 || (await trail(second)).at(-1) === 'confirming'; }, { timeout: 30_000, every: 200 });
  one.heal();
  grow(5);
  await reaches(second, 'activated');
  await world.settle();
});
