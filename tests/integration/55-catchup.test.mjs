// payd has been away for a hundred thousand blocks: it comes back to the head in memory that does not grow with the way, and says how far it
// is. Then all of it leaves the chain at once, and comes again.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { waitUntil } from '../support/process.mjs';
import { peakKib, resetPeak, rssKib } from '../support/proc.mjs';
import { Player } from '../support/schedule.mjs';
import { Simulation, World } from '../support/simulation.mjs';

const BLOCKS = Number(process.env.BLOCKS ?? 100_000);
const PAYMENTS = Number(process.env.PAYMENTS ?? 400);

let simulation;
let world;
before(async () => { simulation = await new Simulation().start(); });
after(async () => {
  try {
    await world?.stop();
  } finally {
    await simulation?.stop();
  }
});

// The same payments a block each, somewhere on the way.
function grow(player, { chain, random }) {
  const places = Array.from({ length: PAYMENTS }, () => random.below(BLOCKS - 10)).sort((a, b) => a - b);
  for (let i = 0, next = 0; i < BLOCKS; i += 1) {
    const txs = [];
    for (; places[next] === i; next += 1) txs.push(player.newPayment());
    chain.mine(txs);
  }
}

async function chainDetail(payd) {
  const { dependencies } = await (await fetch(`${payd.ops}/readyz`)).json();
  return dependencies.find(({ name }) => name === 'chain');
}

test(`${BLOCKS} blocks with ${PAYMENTS} payments, and back`, { timeout: 1_800_000 }, async (t) => {
  world = new World(simulation, 1, {
    settings: { confirmations: 2, tail: 64, range: 2000, batch: 16, keep_blocks: 256, tag: 'latest', confirm_after: '0s' },
    instances: ['a'],
    relay: {},
    // What the sanitizer keeps of freed memory would hide what is not freed.
    env: { ASAN_OPTIONS: 'detect_leaks=1:quarantine_size_mb=1:thread_local_quarantine_size_kb=16' },
  });
  const player = new Player(world, { seed: 1, ops: [] });
  grow(player, world);
  const begin = Date.now();
  await world.start();
  const [payd] = world.payds;
  // Slow enough that there is something to be seen of it.
  for (const node of world.nodes) node.delay = 5;
  await payd.ready();
  // Its memory, once a tenth of the way is behind it.
  const left = () => payd.metric('octroi_payd_chain_lag_blocks');
  const told = await waitUntil('a word about the way', async () => {
    const { ok, detail } = await chainDetail(payd);
    return !ok && /^catching up: (\d+) blocks left$/.exec(detail)?.[1];
  }, { every: 5, timeout: 300_000 });
  await waitUntil('a tenth of the way', async () => (await payd.metric('octroi_payd_chain_cursor_block')) > BLOCKS / 10, { every: 5, timeout: 300_000 });
  const lag = await left();
  for (const node of world.nodes) node.delay = 0;
  const early = rssKib(payd.pid);
  resetPeak(payd.pid);
  await waitUntil('the head', async () => (await payd.metric('octroi_payd_chain_cursor_block')) === world.chain.head.number, { timeout: 800_000, every: 50 });
  const seconds = (Date.now() - begin) / 1000;
  const grown = peakKib(payd.pid) - early;
  assert.ok(Number(told) > 64 && Number(told) <= BLOCKS, told);
  assert.ok(lag > 0 && lag < BLOCKS, String(lag));
  assert.equal(await left(), 0);
  await waitUntil('nothing more to say', async () => (await chainDetail(payd)).ok);
  await world.settle({ timeout: 400_000 });
  const activated = (Date.now() - begin) / 1000;
  t.diagnostic(`${BLOCKS} blocks read in ${seconds.toFixed(1)} s, all activated after ${activated.toFixed(1)} s; ${Math.round(rssKib(payd.pid) / 1024)} MiB resident, ${Math.round(grown / 1024)} MiB more than at a tenth`);
  assert.ok(grown < 24 * 1024, `${grown} KiB more than at a tenth of the way`);

  const before = rssKib(payd.pid);
  resetPeak(payd.pid);
  const back = Date.now();
  world.chain.reorg(world.chain.head.number - 1, Array.from({ length: BLOCKS / 10 }, () => []));
  await world.settle({ timeout: 300_000 });
  const more = peakKib(payd.pid) - before;
  t.diagnostic(`${PAYMENTS} payments taken back in ${((Date.now() - back) / 1000).toFixed(1)} s, ${more} KiB more at the peak`);
  assert.ok(world.counts.confirmed > PAYMENTS * 0.8);
  assert.equal(world.counts.reversed, world.counts.confirmed);
  assert.ok(more < 24 * 1024 + 4 * PAYMENTS, `${more} KiB more for ${PAYMENTS} payments`);
});
