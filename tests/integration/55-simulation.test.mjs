// A simulation: thousands of random schedules of blocks, reorganisations, crashes and faults of nodes against the real payd, subd,
// PostgreSQL and NATS. After each one: every final payment is activated exactly once, nothing else is, and what left the chain is taken back.
// SCHEDULES and SEED choose how many and which, SETTINGS (JSON) overrides what the seed says of the chain's; a failure says how to play it again.
import { after, before, test } from 'node:test';

import { Player, makeSchedule } from '../support/schedule.mjs';
import { Simulation, World } from '../support/simulation.mjs';

const SCHEDULES = Number(process.env.SCHEDULES ?? 40);
const SEED = Number(process.env.SEED ?? 4441);
const WORLD = Number(process.env.SCHEDULES_IN_A_WORLD ?? 40);

let simulation;
before(async () => { simulation = await new Simulation().start(); });
after(() => simulation?.stop());

function explain(world, index, schedule, error) {
  const logs = world.payds.map((service) => `${service.name}:\n${service.process.tail(15)}`).join('\n');
  return new Error(`SEED=${world.seed} SCHEDULES=${index + 1} plays it again. ${error.message}\nsettings ${JSON.stringify(world.settings)}\n`
    + `schedule ${index + 1} (seed ${schedule.seed}):\n  ${schedule.ops.map((op) => JSON.stringify(op)).join('\n  ')}\n${logs}`, { cause: error });
}

// As many schedules as are left of one world; how long each took.
async function inhabit(seed, count, totals) {
  const world = new World(simulation, seed, { settings: JSON.parse(process.env.SETTINGS ?? '{}') });
  try {
    await world.start();
    for (let i = 0; i < count; i += 1) {
      const schedule = makeSchedule(world.random.below(2 ** 32), world.settings);
      try {
        await new Player(world, schedule).play();
        await world.settle({ all: i === count - 1 });
      } catch (error) {
        throw explain(world, i, schedule, error);
      }
      totals.schedules += 1;
    }
  } finally {
    await world.stop();
    for (const [name, n] of Object.entries(world.counts)) totals[name] = (totals[name] ?? 0) + n;
  }
}

test(`${SCHEDULES} schedules`, { timeout: 1e9 }, async (t) => {
  const totals = { schedules: 0 };
  const start = Date.now();
  for (let done = 0, seed = SEED; done < SCHEDULES; done += WORLD, seed += 1) {
    await inhabit(seed, Math.min(WORLD, SCHEDULES - done), totals);
    if (process.env.SIMULATION_PROGRESS) console.error(`${((Date.now() - start) / 1000).toFixed(0)} s, seed ${seed}: ${JSON.stringify(totals)}`);
  }
  t.diagnostic(`${JSON.stringify(totals)} in ${Math.round((Date.now() - start) / 1000)} s`);
});
