// Schedules of a simulation: what may happen to a chain, its nodes, and the processes that follow it. A schedule is a list of
// operations made of a seed; playing it leaves the chain as the seed says, however fast the processes are.
import { sleep, waitUntil } from './process.mjs';
import { Random } from './simchain.mjs';
import { PLANS, UNKNOWN_PLAN } from './simulation.mjs';

const WEIGHTS = {
  mine: 30, pair: 5, burst: 1, revoke: 3, refund: 5, send: 2, crowd: 0.4, sendBack: 1, changeSigner: 0.5, reorg: 16, await: 16, fault: 9, behind: 4, fork: 4, stray: 0.5, forget: 6, lone: 3, heal: 8, hold: 5, pause: 5, blink: 1.5, doze: 1.5, terminate: 2.5,
  kill: 1.2, stall: 0.8, lock: 1, depose: 1, subd: 0.2, bus: 0.15, database: 0.15,
};
const DISTURBANCES = { reorg: 4, mine: 2, kill: 1.2, killBoth: 0.3, stall: 0.6, terminate: 1, depose: 0.5, away: 2 };
const METHODS = ['eth_getBlockByNumber', 'eth_getLogs', '*'];
const TABLES = ['payment', 'payment_event', 'slot_event', 'block', 'outbox', 'follower'];
const FAULTS = ['away', 'hang', '429', '500', 'garbage', 'nonsense', 'truncated', 'wrong-chain', 'limit'];

const which = (random) => random.pick([[0], [1], [0, 1]]);

const makers = {
  mine: (random) => ({ blocks: random.between(1, 4), payments: random.between(0, 3) }),
  crowd: (random) => ({ transfers: random.between(15, 40), payments: random.between(0, 2) }),
  burst: (random) => ({ payments: random.between(5, 20) }),
  reorg: (random, { keep_blocks: keep, tail }) => ({
    depth: random.chance(0.75) ? random.between(1, 6) : random.between(1, Math.min(120, 2 * Math.max(keep, tail) + 10)),
    longer: random.pick([-1, 0, 1, 1, 1, 2, 3]), keep: random.pick([0, 0.3, 0.7, 1, 1]), replace: random.pick([0, 0, 0.3, 1]), late: random.chance(0.4),
  }),
  fault: (random) => ({ nodes: which(random), kind: random.pick(FAULTS), left: random.pick([1, 2, 5, 1000]) }),
  behind: (random) => ({ nodes: which(random), by: random.between(1, 12) }),
  fork: (random) => ({ nodes: which(random), depth: random.between(1, 5), blocks: random.between(1, 7), payments: random.between(0, 2) }),
  stray: (random) => ({ nodes: which(random), more: random.between(-5, 5) }),
  forget: (random) => ({ some: random.chance(0.5), ranges: random.chance(0.6), alone: random.chance(0.5), blocks: random.pick([1, 4, 20]) }),
  lone: (random) => ({ depth: random.between(1, 8), blocks: random.between(1, 12), payments: random.between(0, 2), answers: random.pick([0, 20, 60]) }),
  hold: (random) => ({ method: random.pick(METHODS), nodes: which(random), skip: random.below(4), blocks: random.pick([1, 1, 3, 8]), then: random.weighted(DISTURBANCES), depth: random.between(1, 8) }),
  pause: (random) => ({ ms: random.between(1, 40) }),
  blink: (random) => ({ ms: random.between(5, 60) }),
  doze: (random) => ({ ms: random.between(20, 200), depth: random.between(1, 4) }),
  terminate: (random) => ({ sessions: random.pick(['payd-leader', 'payd-leader', 'payd', 'payd%', '%d%']) }),
  kill: (random) => ({ who: random.pick(['leader', 'leader', 'standby', 'both']) }),
  stall: (random) => ({ ms: random.between(0, 200), takeover: random.chance(0.7), depth: random.between(1, 6) }),
  lock: (random) => ({ table: random.pick(TABLES), then: random.pick(['kill', 'kill', 'terminate', 'depose', 'nothing']), reorg: random.chance(0.5), depth: random.between(1, 6) }),
};

export function makeSchedule(seed, settings, weights = WEIGHTS) {
  const random = new Random(seed);
  const ops = [];
  for (let n = random.between(3, 9); n > 0; n -= 1) {
    const op = random.weighted(weights);
    ops.push({ op, ...makers[op]?.(random, settings) });
  }
  return { seed, ops };
}

export class Player {
  constructor(world, schedule) {
    Object.assign(this, { world, chain: world.chain, nodes: world.nodes, schedule });
    // Of its own, so that what is mined does not hang on who was quick.
    this.random = new Random(schedule.seed ^ 0x5bd1e995);
  }

  async play() {
    // Always something to lose.
    this.mine({ blocks: 1, payments: 2 });
    for (const one of this.schedule.ops) await this[one.op](one);
    // What is shorter than what payd has read, and is told of no further, could as well be a node that lags: chains grow.
    const { chain } = this;
    while (chain.head.number < chain.highest) chain.mine();
    this.world.healEverything();
    // What was left out is found when it is read again, which it is when it lies so far behind.
    const { second_look: behind } = this.world.settings;
    if (this.schedule.ops.some(({ op }) => op === 'forget')) for (let i = 0; i < behind + Math.floor(behind / 4) + 1; i += 1) chain.mine();
  }

  touch({ subscriber, serviceId }) {
    const slot = this.world.slots.find((one) => one.subscriber === subscriber && one.serviceId === serviceId);
    if (slot) this.world.touched.add(slot);
  }

  // A quote for what comes next on the slot as that branch has it.
  quote(slot, seq) {
    const { random, chain } = this;
    const start = chain.now - random.between(10, 5000);
    const plan = random.chance(0.04) ? UNKNOWN_PLAN : random.pick(PLANS);
    const token = random.chance(0.02) ? `0x${'e'.repeat(40)}` : chain.token;
    const held = chain.head.slots.get(`${slot.subscriber}|${slot.serviceId}`)?.word ?? 0n;
    const paid = ((held >> 64n) & 0xffffffffffffffffn) + BigInt(random.between(1, 1_000_000));
    return chain.quote({ ...slot, token, fields: { start, expiry: chain.now + 86_400 * random.between(1, 30), paid, plan, seq } });
  }

  newPayment(slots = this.chain.head.slots, slot = this.random.pick(this.world.slots)) {
    this.touch(slot);
    const seq = (slots.get(`${slot.subscriber}|${slot.serviceId}`)?.seq ?? 0n) + 1n;
    return this.chain.payTx(this.quote(slot, seq));
  }

  mine({ blocks, payments }) {
    for (let i = 0; i < blocks; i += 1) this.chain.mine(Array.from({ length: this.random.between(0, payments) }, () => this.newPayment()));
  }

  // A purchase and its renewal in one block.
  pair() {
    const slot = this.random.pick(this.world.slots);
    this.touch(slot);
    const seq = (this.chain.head.slots.get(`${slot.subscriber}|${slot.serviceId}`)?.seq ?? 0n) + 1n;
    const first = this.quote(slot, seq);
    const second = this.chain.quote({ ...slot, token: first.token, fields: { ...first.fields, paid: first.fields.paid + 7n, seq: seq + 1n } });
    this.chain.mine([this.chain.payTx(first), this.chain.payTx(second)]);
  }

  burst({ payments }) {
    this.chain.mine(Array.from({ length: payments }, () => this.newPayment()));
  }

  revoke() {
    const slot = this.random.pick(this.world.slots);
    this.touch(slot);
    const revoked = !(this.chain.head.slots.get(`${slot.subscriber}|${slot.serviceId}`)?.revoked ?? false);
    this.chain.mine([this.chain.transaction('revoke', { ...slot, revoked })]);
  }

  // Of a slot that has something to give back, where there is one.
  refund() {
    const { head } = this.chain;
    const paid = this.world.slots.filter((slot) => head.slots.get(`${slot.subscriber}|${slot.serviceId}`)?.paid);
    if (paid.length === 0) return;
    const slot = this.random.pick(paid);
    this.touch(slot);
    this.chain.mine([this.chain.transaction('refund', slot), ...(this.random.chance(0.3) ? [this.newPayment()] : [])]);
  }

  send() {
    const { subscriber } = this.random.pick(this.world.slots);
    this.chain.mine([this.chain.transaction('send', { subscriber, amount: BigInt(this.random.between(1, 1000)) })]);
  }

  // Dust among payments: only the largest of it is worth a row.
  crowd({ transfers, payments }) {
    const { random, chain } = this;
    const dust = Array.from({ length: transfers }, () => chain.transaction('send', { subscriber: random.pick(this.world.slots).subscriber, amount: BigInt(random.between(0, 30)) }));
    chain.mine(random.shuffle([...dust, ...Array.from({ length: payments }, () => this.newPayment())]));
  }

  sendBack() {
    const sent = [...this.chain.transfers().values()].map(({ tx }) => tx).filter(({ hash }) => !this.chain.head.sentBack.has(hash));
    if (sent.length > 0) this.chain.mine([this.chain.transaction('sendBack', { sent: this.random.pick(sent) })]);
  }

  changeSigner() {
    this.chain.mine([this.chain.transaction('changeSigner', { signer: this.random.hex(20) })]);
  }

  // Blocks leave the chain; their transactions come again, or come elsewhere, or others in their place, or not.
  reorg({ depth: wanted, longer = 1, keep = 1, replace = 0, late = false }) {
    const { chain, random } = this;
    const depth = Math.min(wanted, chain.head.number - chain.start + 1);
    if (depth < 1) return;
    let txs = chain.canonical.slice(chain.head.number - depth + 1).flatMap((block) => block.txs);
    for (const tx of txs) this.touch(tx);
    txs = txs.filter(() => random.chance(keep)).map((tx) => {
      if (tx.kind !== 'pay') return tx;
      if (random.chance(replace)) return chain.payTx(this.quote(tx, tx.payment.fields.seq));
      return random.chance(0.2) ? chain.payTx(tx.payment) : tx;
    });
    if (random.chance(0.3)) random.shuffle(txs);
    const lists = Array.from({ length: Math.max(1, depth + longer) }, () => []);
    // In order, each in its own or a later block.
    let at = late ? random.below(lists.length) : 0;
    for (const tx of txs) {
      if (random.chance(0.5)) at = Math.min(lists.length - 1, at + random.below(2));
      lists[at].push(tx);
    }
    chain.reorg(depth, lists);
  }

  async await() {
    await this.world.catchUp(300);
  }

  pause({ ms }) {
    return sleep(ms);
  }

  fault({ nodes, kind, left }) {
    for (const i of nodes) this.nodes[i].fault = { kind, left };
  }

  behind({ nodes, by }) {
    for (const i of nodes) this.nodes[i].behind = by;
  }

  // A branch that only these nodes believe in.
  fork({ nodes, depth, blocks, payments }) {
    let at = this.chain.canonical[Math.max(this.chain.start - 1, this.chain.head.number - depth)];
    for (let i = 0; i < blocks; i += 1) at = this.chain.build(at, Array.from({ length: payments }, () => this.newPayment(at.slots)));
    for (const i of nodes) this.nodes[i].follow(at);
  }

  // A node on a wrong fork, alone for a while or contradicted at once, and then beside one on the right chain.
  async lone({ answers, ...rest }) {
    const at = this.schedule.seed % 2;
    if (answers > 0) this.nodes[1 - at].fault = { kind: 'away', left: answers };
    this.fork({ nodes: [at], ...rest });
    await this.world.catchUp(120);
    this.mine({ blocks: 3, payments: 1 });
    await this.world.catchUp(120);
  }

  stray({ nodes, more }) {
    const other = this.world.elsewhere(more);
    for (const i of nodes) this.nodes[i].stray(other);
  }

  // One node, always the same in a schedule, has blocks and not (all of) what happened in them, and may be the only one that answers.
  async forget({ some, ranges, alone, blocks }) {
    const at = this.schedule.seed % 2;
    this.chain.halfTold = 0;
    this.nodes[at].leaveOut((block, { tx }) => !some || (parseInt(tx.at(-1), 16) % 2 === 0 && block.txs.find(({ hash }) => hash === tx).kind !== 'send'), { ranges });
    if (alone) this.nodes[1 - at].fault = { kind: 'away', left: 40 };
    this.mine({ blocks, payments: 2 });
    await this.world.catchUp(250);
  }

  heal() {
    for (const node of this.nodes) node.heal();
  }

  // An answer is held back, something happens, then it comes: each step of the follower is met in its middle.
  async hold({ method, nodes, skip, blocks, then, depth }) {
    this.mine({ blocks, payments: 2 });
    let met = Promise.race(nodes.map((i) => this.nodes[i].hold(method)));
    for (let i = 0; i < skip; i += 1) {
      await Promise.race([met, sleep(120)]);
      for (const n of nodes) this.nodes[n].letGo();
      met = Promise.race(nodes.map((n) => this.nodes[n].hold(method)));
    }
    await Promise.race([met, sleep(150)]);
    await this.disturb(then, depth);
    for (const i of nodes) this.nodes[i].letGo();
  }

  async disturb(then, depth) {
    switch (then) {
      case 'reorg': return this.reorg({ depth, keep: 0.7, late: true });
      case 'mine': return this.mine({ blocks: 2, payments: 1 });
      case 'kill': return this.kill({ who: 'leader' });
      case 'killBoth': return this.kill({ who: 'both' });
      case 'stall': return this.stall({ ms: 20, takeover: true, depth });
      case 'terminate': return this.terminate({ sessions: 'payd-leader' });
      case 'depose': return this.depose();
      case 'away': for (const node of this.nodes) node.server.closeAllConnections(); return undefined;
      default: return undefined;
    }
  }

  async kill({ who }) {
    const leader = await this.world.leader();
    const victims = this.world.payds.filter((service) => who === 'both' || (who === 'leader') === (service === leader));
    await Promise.all(victims.map((service) => service.kill()));
    for (const service of victims) service.spawn();
  }

  async blink({ ms }) {
    const leader = await this.world.leader();
    leader?.process.signal('SIGSTOP');
    await sleep(ms);
    leader?.process.signal('SIGCONT');
  }

  // A standby has been told by subd what it has applied, and writes it down when the chain has moved on.
  async doze({ ms, depth }) {
    const leader = await this.world.leader();
    const standby = this.world.payds.find((service) => service !== leader);
    standby.process.signal('SIGSTOP');
    this.mine({ blocks: 3, payments: 2 });
    await sleep(80);
    this.reorg({ depth, keep: 0.7, late: true });
    await sleep(ms);
    standby.process.signal('SIGCONT');
  }

  // The leader hangs and the server ends its session, as it does after a time; it wakes up when another one leads.
  async stall({ ms, takeover, depth }) {
    const leader = await this.world.leader();
    if (!leader) return;
    const epoch = await this.world.epoch();
    leader.process.signal('SIGSTOP');
    this.mine({ blocks: 1, payments: 1 });
    await this.terminate({ sessions: 'payd-leader' });
    if (takeover) await waitUntil('another leader', async () => (await this.world.epoch()) > epoch, { timeout: 3000, every: 20 }).catch(() => {});
    this.reorg({ depth, keep: 0.7, late: true });
    await sleep(ms);
    leader.process.signal('SIGCONT');
  }

  terminate({ sessions }) {
    return this.world.sql.run(`select pg_terminate_backend(pid) from pg_stat_activity where application_name like '${sessions}' and usename like 'octroi_%'`);
  }

  // As a new leader would, whose predecessor still has its session.
  depose() {
    return this.world.sql.run(`update payments.follower set epoch = epoch + 1 where contract = '${this.chain.contract}'`);
  }

  // The leader's transaction stands still in its middle, and something happens to it.
  async lock({ table, then, reorg, depth }) {
    const { locker } = this.world.simulation;
    await locker.run(`begin; set local lock_timeout = '300ms'; lock table payments.${table} in access exclusive mode`);
    if (reorg) this.reorg({ depth, keep: 0.7 });
    else this.mine({ blocks: 1, payments: 3 });
    await sleep(60);
    // Who leads is read from a table that may be locked: the log of sessions tells as well.
    if (then === 'kill') await this.killLeading();
    if (then === 'terminate') await this.terminate({ sessions: 'payd-leader' });
    await locker.run('rollback');
    if (then === 'depose') await this.depose();
  }

  async killLeading() {
    const victims = this.world.payds.filter(() => this.random.chance(0.7));
    await Promise.all(victims.map((service) => service.kill()));
    for (const service of victims) service.spawn();
  }

  async subd() {
    const { subd } = this.world.simulation;
    await subd.kill();
    subd.spawn();
  }

  async database() {
    this.mine({ blocks: 1, payments: 2 });
    await this.world.simulation.crashDatabase();
  }

  async bus() {
    const { nats } = this.world.simulation;
    this.mine({ blocks: 1, payments: 2 });
    await nats.process.kill();
    await sleep(30);
    await nats.start();
    await this.world.simulation.connect();
  }
}
