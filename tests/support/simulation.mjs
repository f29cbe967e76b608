// What a simulation of payd runs on, and what must be true of it afterwards: real payd (two instances), subd, PostgreSQL, NATS and
// Redis, and in place of the chain one under control. A world is one contract on one chain with settings of its own; the model is the
// chain's own tree, which payd only ever hears of through its nodes.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { makeSecrets } from '../../compose/init.mjs';
import { serviceId } from '../../contracts/script/terms.mjs';
import { Bus } from './bus.mjs';
import { freePort, removeDirectory, sleep, temporaryDirectory } from './process.mjs';
import { Nats, Postgres, Redis } from './servers.mjs';
import { Service } from './service.mjs';
import { Random, SimChain, SimNode } from './simchain.mjs';
import { Sql } from './sql.mjs';

export const SERVICES = ['api', 'stream'];
export const PLANS = [1, 2, 3];
export const UNKNOWN_PLAN = 9;
const CHAIN = 4441;
const CROWD = 20; // transfers that pay nothing which payd keeps of a block

export class Simulation {
  async start() {
    this.dir = temporaryDirectory('simulation');
    this.postgres = new Postgres({ dir: join(this.dir, 'postgres') });
    this.nats = new Nats({ dir: join(this.dir, 'nats') });
    this.redis = new Redis({ dir: join(this.dir, 'redis') });
    await Promise.all([this.postgres, this.nats, this.redis].map((server) => server.start()));
    this.postgres.sql(`
      SET ROLE octroi_quoted;
      CREATE TABLE quotes.plan_v1 (plan int, tier text, version int, period_seconds bigint, rate int, burst int, requests bigint, bytes bigint,
        messages bigint, cost bigint, bandwidth int);
      CREATE TABLE quotes.service_v1 (service_id text, name text);
      GRANT USAGE ON SCHEMA quotes TO octroi_subd, octroi_payd;
      GRANT SELECT ON quotes.plan_v1, quotes.service_v1 TO octroi_subd, octroi_payd;
      ${SERVICES.map((name) => `INSERT INTO quotes.service_v1 VALUES ('${serviceId(name)}', '${name}');`).join('\n')}
      ${PLANS.map((plan) => `INSERT INTO quotes.plan_v1 VALUES (${plan}, 'tier${plan}', 1, 86400, 50, 100, 1000, 0, 0, 0, 0);`).join('\n')}`);
    this.sql = new Sql(this.postgres);
    this.locker = new Sql(this.postgres);
    makeSecrets(this.dir);
    writeFileSync(join(this.dir, 'deployment.json'), JSON.stringify({ chain_id: CHAIN, contract: `0x${'0'.repeat(40)}` })); // worlds have others
    this.subd = await this.makeSubd();
    this.subd.spawn();
    await this.connect();
    return this;
  }

  async makeSubd() {
    const [port, opsPort] = [await freePort(), await freePort()];
    return new Service('subd', {
      dir: this.dir, opsPort,
      env: {
        OCTROI_SUBD_LISTEN: `127.0.0.1:${port}`, OCTROI_SUBD_OPS: `127.0.0.1:${opsPort}`, OCTROI_POSTGRES: this.postgres.conninfo('subd'),
        OCTROI_REDIS_URL: this.redis.url, OCTROI_NATS_URL: this.nats.url, OCTROI_NATS_CREDENTIALS: this.nats.credentials('subd'),
        OCTROI_PUBLIC_URL: 'http://octroi.test:8080', OCTROI_SECRETS: this.dir, OCTROI_TOKEN_KEY_FILE: join(this.dir, 'token-signer.pem'),
      },
    });
  }

  // As after a loss of power: what was not committed is gone, and every session with it.
  async crashDatabase() {
    await this.postgres.stop('SIGQUIT');
    for (const sql of [this.sql, this.locker]) sql.close();
    await this.postgres.start();
    this.sql = new Sql(this.postgres);
    this.locker = new Sql(this.postgres);
  }

  async connect() {
    this.quoted?.close();
    this.quoted = await new Bus({ port: this.nats.port, user: 'quoted', password: this.nats.passwords.quoted }).connect();
  }

  async stop() {
    const failures = [];
    const end = (thing) => Promise.resolve(thing?.stop()).catch((error) => failures.push(error));
    this.quoted?.close();
    await end(this.subd);
    this.sql?.close();
    this.locker?.close();
    await Promise.all([this.redis, this.nats, this.postgres].map(end));
    if (failures.length) throw failures[0];
    removeDirectory(this.dir);
  }
}

// Settings that differ from world to world, so that every path of the follower is taken.
function settingsOf(random) {
  const settings = {
    confirmations: random.pick([0, 1, 1, 2, 2, 3, 5]),
    keep_blocks: random.pick([1, 2, 4, 8, 64]),
    tail: random.pick([1, 2, 4, 8, 64]),
    range: random.pick([1, 3, 10, 2000]),
    batch: random.pick([1, 2, 16]),
    second_look: random.pick([1, 3, 8]),
  };
  const kind = random.next();
  if (kind < 0.15) Object.assign(settings, { tag: random.pick(['safe', 'finalized']), confirmations: random.pick([0, 1]) });
  else if (kind < 0.25) Object.assign(settings, { confirmations: 1000, confirm_after: '150ms' });
  return settings;
}

const legal = new Set(['seen', 'seen confirming', 'seen confirmed', 'confirming confirmed', 'confirmed activated', 'orphaned seen', 'seen rejected',
  'confirming rejected', 'rejected confirming', 'seen orphaned', 'confirming orphaned', 'rejected orphaned', 'confirmed orphaned', 'activated orphaned', 'refunded orphaned',
  'seen refunded', 'confirming refunded', 'confirmed refunded', 'activated refunded', 'rejected refunded', 'refunded seen', 'refunded confirming',
  'refunded confirmed', 'refunded rejected']);
const slotEvents = new Set(['Paid', 'Revoked', 'Refunded']);

export class World {
  constructor(simulation, seed, { settings, instances = ['a', 'b'], env = {}, relay = { retry_min: '100ms', retry_max: '400ms' } } = {}) {
    Object.assign(this, { simulation, seed, instances, env, relay });
    this.random = new Random(seed);
    this.settings = { ...settingsOf(this.random), ...settings };
    this.tag = this.settings.tag === 'latest' ? undefined : this.settings.tag;
    this.byTime = (this.settings.confirm_after ?? '0s') !== '0s';
    this.chain = new SimChain({
      seed: this.random.below(2 ** 32), chainId: CHAIN, contract: this.random.hex(20), token: this.random.hex(20), start: this.random.between(1, 4),
      confirmations: this.byTime ? 0 : this.settings.confirmations,
    });
    this.slots = [];
    for (let i = 0; i < 12; i += 1) this.slots.push({ subscriber: this.random.hex(20), serviceId: serviceId(this.random.pick(SERVICES)) });
    this.payds = [];
    this.trails = new Map();
    this.touched = new Set();
    this.counts = { confirmed: 0, activated: 0, orphaned: 0, refunded: 0, reversed: 0 };
  }

  async start() {
    this.nodes = [await new SimNode(this.chain, { name: 'one' }).start(), await new SimNode(this.chain, { name: 'two', maxRange: 50 }).start()];
    for (const name of this.instances) this.payds.push((await this.makePayd(name)).spawn());
    return this;
  }

  async makePayd(name) {
    const { postgres, nats, dir } = this.simulation;
    const [port, opsPort] = [await freePort(), await freePort()];
    const config = `
http: "127.0.0.1:${port}"
ops: "127.0.0.1:${opsPort}"
postgres: "${postgres.conninfo('payd')}"
nats: { urls: ["${nats.url}"], credentials: "${nats.credentials('payd')}" }
relay: ${JSON.stringify(this.relay)}
chain:
  id: ${CHAIN}
  contract: "${this.chain.contract}"
  start_block: ${this.chain.start}
  rpc: [${this.nodes.map(({ url, name: node }) => `{ url: "${url}", name: "${node}", timeout: 600ms }`).join(', ')}]
  tokens: [{ address: "${this.chain.token}", index: 1 }]
  poll: 20ms
  backoff_min: 10ms
  backoff_max: 80ms
${Object.entries(this.settings).map(([key, value]) => `  ${key}: ${value}`).join('\n')}
`;
    return new Service('payd', { dir, name: `payd-${this.seed}-${name}`, config, opsPort, env: this.env });
  }

  // Another chain than this one, of about the same length.
  elsewhere(more) {
    const { contract, token, start, head } = this.chain;
    const other = new SimChain({ seed: this.seed + head.number, chainId: CHAIN + 1, contract, token, start });
    while (other.head.number < head.number + more) other.mine();
    return other;
  }

  async stop() {
    for (const node of this.nodes ?? []) node.heal();
    const ended = await Promise.allSettled(this.payds.map((service) => {
      if (service.process.exit === null) service.process.signal('SIGCONT');
      return service.stop();
    }));
    for (const node of this.nodes ?? []) node.stop();
    const failed = ended.find(({ status }) => status === 'rejected');
    if (failed) throw failed.reason;
  }

  get sql() {
    return this.simulation.sql;
  }

  // The instance that leads, as the database has it.
  async leader() {
    const [row] = await this.sql.rows(`select leader from payments.follower where contract = '${this.chain.contract}'`).catch(() => []);
    const pid = Number(row?.leader?.split(':').at(-1));
    return this.payds.find((service) => service.pid === pid && service.process.exit === null);
  }

  async epoch() {
    const [row] = await this.sql.rows(`select epoch from payments.follower where contract = '${this.chain.contract}'`).catch(() => []);
    return row?.epoch ?? 0;
  }

  // Everything well again; what was killed is back.
  healEverything() {
    for (const node of this.nodes) node.heal();
    for (const service of this.payds) {
      if (service.process.exit !== null) service.spawn();
      else service.process.signal('SIGCONT');
    }
    if (this.simulation.subd.process.exit !== null) this.simulation.subd.spawn();
  }

  // Whether payd has read up to the head and subd has answered everything: a cheap look.
  async idle() {
    const { contract, head } = this.chain;
    const { cursor, open } = await this.sql.json(`json_build_object('cursor', (select cursor_hash from payments.follower where contract = '${contract}'),
      'open', exists (select from payments.outbox o join payments.follower f on f.id = o.follower where f.contract = '${contract}')
           or exists (select from payments.payment p join payments.follower f on f.id = p.follower where f.contract = '${contract}' and state = 'confirmed'))`);
    return cursor === head.hash && !open;
  }

  async catchUp(timeout) {
    for (const end = Date.now() + timeout; Date.now() < end; await sleep(4)) if (await this.idle().catch(() => false)) return true;
    return false;
  }

  // Waits until payd, subd and the model agree; what is wrong for ever is told at once, the rest after a while.
  async settle({ timeout = 120_000, all = false } = {}) {
    const end = Date.now() + timeout;
    let wrong;
    do {
      await this.catchUp(Math.min(2000, Math.max(1, end - Date.now())));
      wrong = await this.compare().catch((error) => {
        if (error instanceof Fatal) throw error;
        return [`cannot compare: ${error.message}`];
      });
      if (wrong.length === 0) wrong = await this.compareSlots(all ? this.slots : [...this.touched]);
    } while (wrong.length > 0 && Date.now() < end);
    this.touched.clear();
    if (wrong.length > 0) throw new Error(`not as the chain says:\n  ${wrong.slice(0, 20).join('\n  ')}`);
  }

  async state() {
    const { contract } = this.chain;
    const of = (columns, table) => `(select coalesce(json_agg(json_build_array(${columns})), '[]') from ${table} t join payments.follower f on f.id = t.follower where f.contract = '${contract}')`;
    return this.sql.json(`json_build_object(
      'follower', (select row_to_json(f) from payments.follower f where contract = '${contract}'),
      'payments', ${of('t.id, t.revision, t.state, t.reason, t.block_hash, t.block_number, t.tx_hash', 'payments.payment')},
      'transfers', ${of('t.id, t.state, t.block_hash', 'payments.transfer')},
      'blocks', ${of('t.number, t.hash', 'payments.block')},
      'slots', ${of('t.block_number, t.log_index', 'payments.slot_event')},
      'outbox', ${of('t.payment_id', 'payments.outbox')},
      'subscriptions', (select coalesce(json_agg(json_build_array(id, state, coalesce(payment_id, ''), seq)), '[]') from subscriptions.subscription where contract = '${contract}'),
      'applied', (select coalesce(json_agg(json_build_array(a.payment_id, a.revision, a.counts)), '[]') from subscriptions.subscription_payment a
                    join subscriptions.subscription s on s.id = a.subscription where s.contract = '${contract}'))`);
  }

  // What is not as it should be, in words.
  async compare() {
    const state = await this.state();
    const { chain } = this;
    const wrong = [];
    await this.readTrails(state.payments, wrong);
    if (state.follower?.cursor_hash !== chain.head.hash) wrong.push(`cursor is ${state.follower?.cursor_number}, the head ${chain.head.number}`);
    for (const [number, hash] of state.blocks) if (chain.canonical[number]?.hash !== hash) wrong.push(`block ${number} is kept, and not of this chain`);
    const logs = new Set(chain.canonical.flatMap((block) => block.logs.filter(({ eventName }) => slotEvents.has(eventName)).map(({ index }) => `${block.number}/${index}`)));
    for (const [number, index] of state.slots) if (!logs.delete(`${number}/${index}`)) wrong.push(`slot event ${number}/${index} is not on the chain`);
    for (const place of logs) wrong.push(`slot event ${place} is missing`);
    if (state.outbox.length) wrong.push(`${state.outbox.length} hints are open`);
    this.checkHints(state);
    const counting = this.comparePayments(state, wrong);
    this.compareTransfers(state, wrong);
    this.compareSubscriptions(state, counting, wrong);
    return wrong;
  }

  // At every moment: where no hint is open, subd has what payd has. (What no hint told of, subd's sweep would find, but late.)
  checkHints({ payments, outbox, applied }) {
    const open = new Set(outbox.map(([id]) => id));
    const counts = new Map(applied.map(([id, , yes]) => [id, yes]));
    const untold = payments.filter(([id, , now]) => !open.has(id) && (counts.get(id) ?? false) !== (now === 'confirmed' || now === 'activated'));
    if (untold.length) throw new Fatal(`subd is not told of ${untold.map(([id, , now]) => `${id}, which is ${now}`).join(', ')}`);
  }

  objection({ fields, token }) {
    if (token !== this.chain.token) return 'unknown-token';
    return fields.plan === BigInt(UNKNOWN_PLAN) ? 'unknown-plan' : null;
  }

  // Whether payd must hold it for deep enough, as the chain stands.
  ripe({ number }) {
    if (this.byTime) return true;
    const { head, lag } = this.chain;
    const tagged = this.tag ? head.number - lag[this.tag] : head.number;
    return number <= tagged && head.number - number >= this.settings.confirmations;
  }

  // What it may be, as `state (reason)`. Where a shorter chain came, what once was deep enough, or had a block above it, stays so.
  expected({ payment, block }) {
    const reason = this.objection(payment);
    if (this.chain.head.refunded.has(payment.id)) return [`refunded (${reason})`];
    if (reason) return [`rejected (${reason})`];
    if (this.ripe(block)) return ['activated (null)'];
    return ['confirming (null)', ...(block === this.chain.head ? ['seen (null)'] : []), ...(block.ripeAt !== null ? ['activated (null)'] : [])];
  }

  comparePayments(state, wrong) {
    const mined = this.chain.mined();
    const counting = new Map();
    this.open = new Set();
    for (const [id, revision, now, reason, hash, number, tx] of state.payments) {
      const place = mined.get(id);
      if (!this.chain.payments.has(id)) wrong.push(`payment ${id} was never made`);
      else if (!place && now !== 'orphaned') wrong.push(`payment ${id} is ${now}, and not on the chain`);
      else if (place) {
        const want = this.expected(place);
        if (!want.includes(`${now} (${reason})`)) wrong.push(`payment ${id} of block ${place.block.number} is ${now} (${reason}), should be ${want.join(' or ')}`);
        else if (hash !== place.block.hash || number !== place.block.number) wrong.push(`payment ${id} is said to be in block ${number}, not ${place.block.number}`);
        else if (!place.block.txs.some((one) => one.hash === tx)) wrong.push(`payment ${id} is said to be in another transaction`);
        if (now === 'seen' || now === 'confirming') this.open.add(`${place.payment.subscriber}|${place.payment.serviceId}`);
        if (now === 'activated') counting.set(id, { payment: place.payment, revision });
      }
      if (this.trails.get(id)?.length !== revision) wrong.push(`payment ${id} is at revision ${revision}, its trail at ${this.trails.get(id)?.length}`);
      mined.delete(id);
    }
    for (const [id, { block }] of mined) wrong.push(`payment ${id} of block ${block.number} is unknown to payd`);
    return counting;
  }

  // Whether a later payment of its slot was refunded: the grant is gone with it.
  repaid({ subscription, fields }) {
    return [...this.chain.head.refunded].some((id) => {
      const other = this.chain.payments.get(id);
      return other.subscription === subscription && other.fields.seq > fields.seq;
    });
  }

  // Those that are worth a row: the largest of each block.
  worthy() {
    const blocks = new Map();
    for (const place of this.chain.transfers().values()) if (place.tx.amount > 0n) blocks.set(place.block, [place, ...(blocks.get(place.block) ?? [])]);
    const order = ({ tx, block }) => block.txs.indexOf(tx);
    const larger = (a, b) => Number(b.tx.amount - a.tx.amount) || order(a) - order(b);
    return [...blocks.values()].flatMap((places) => places.sort(larger).slice(0, CROWD));
  }

  compareTransfers(state, wrong) {
    const { chain } = this;
    const mined = new Map(this.worthy().map((place) => [chain.transferId(place.tx), place]));
    for (const [id, now, hash] of state.transfers) {
      const place = mined.get(id);
      const want = place ? this.expectedTransfer(place) : ['orphaned'];
      if (!want.includes(now)) wrong.push(`transfer ${id} is ${now}, should be ${want.join(' or ')}`);
      else if (place && hash !== place.block.hash) wrong.push(`transfer ${id} is said to be in another block`);
      mined.delete(id);
    }
    for (const id of mined.keys()) wrong.push(`transfer ${id} is unknown to payd`);
  }

  expectedTransfer({ tx, block }) {
    if (this.chain.head.sentBack.has(tx.hash)) return ['refunded'];
    if (this.ripe(block)) return ['confirmed'];
    return ['confirming', ...(block === this.chain.head ? ['seen'] : []), ...(block.ripeAt !== null ? ['confirmed'] : [])];
  }

  compareSubscriptions(state, counting, wrong) {
    const grants = new Map();
    for (const [id, { payment }] of counting) {
      const best = grants.get(payment.subscription);
      if (this.repaid(payment)) continue;
      if (!best || best.fields.seq < payment.fields.seq) grants.set(payment.subscription, { ...payment, id });
    }
    for (const [id, now, payment, seq] of state.subscriptions) {
      const grant = grants.get(id);
      const want = grant ? `active ${grant.id} ${grant.fields.seq}` : 'suspended  0';
      if (`${now} ${payment} ${seq}` !== want) wrong.push(`subscription ${id} is ${now} ${payment} ${seq}, should be ${want}`);
      grants.delete(id);
    }
    for (const id of grants.keys()) wrong.push(`subscription ${id} is missing`);
    const applied = new Map(state.applied.map(([id, revision, counts]) => [id, { revision, counts }]));
    for (const [id, { revision, counts }] of applied) {
      if (counts !== counting.has(id)) wrong.push(`payment ${id} ${counts ? 'counts' : 'does not count'} for subd`);
      if (revision > (this.trails.get(id)?.length ?? 0)) wrong.push(`payment ${id} is applied at revision ${revision}, which it never had`);
    }
    for (const id of counting.keys()) if (!applied.has(id)) wrong.push(`payment ${id} is not applied by subd`);
  }

  // Reads what is new of the audit trail; every line of it must be allowed by what payd could have seen at that moment.
  async readTrails(payments, wrong) {
    const changed = payments.filter(([id, revision]) => (this.trails.get(id)?.length ?? 0) !== revision).map(([id]) => id);
    if (changed.length === 0) return;
    const rows = await this.sql.rows(`select payment_id as id, revision, coalesce(from_state, '') as before, state, block_hash as block, epoch,
      extract(epoch from at)::float8 * 1000 as at from payments.payment_event where payment_id in ('${changed.join("','")}') order by payment_id, revision`);
    for (const row of rows) {
      const trail = this.trails.get(row.id) ?? [];
      if (row.revision <= trail.length) continue;
      this.trails.set(row.id, trail);
      this.checkLine(row, trail, wrong);
      trail.push(row);
    }
    if (wrong.length) throw new Fatal(`the trail is wrong:\n  ${wrong.slice(0, 20).join('\n  ')}`);
  }

  checkLine(row, trail, wrong) {
    const { chain } = this;
    const say = (what) => wrong.push(`payment ${row.id} revision ${row.revision}, ${row.before} to ${row.state}: ${what}`);
    const block = chain.blocks.get(row.block);
    const last = trail.at(-1);
    if (row.revision !== trail.length + 1) say(`revision ${trail.length + 1} is missing`);
    if (!legal.has(`${row.before} ${row.state}`.trim())) say('no such move');
    if (row.before !== (last?.state ?? '')) say(`it was ${last?.state}`);
    if (!block?.txs.some(({ kind, payment }) => kind === 'pay' && payment.id === row.id)) return say('its block does not hold it');
    if (row.state === 'confirmed') {
      // Its time runs from the beginning of the transaction that wrote it as seen, which is no earlier than a node told of it.
      if (this.byTime && !(block.ripeAt !== null && row.at - block.ripeAt >= 149)) say(`after ${row.at - block.ripeAt} ms only`);
      if (!this.byTime && !(block.ripeAt !== null && row.at >= block.ripeAt - 1)) say(`block ${block.number} was not deep enough`);
      if (this.tag && !(block.taggedAt !== null && row.at >= block.taggedAt - 1)) say(`block ${block.number} was not ${this.tag}`);
      if (this.objection(chain.payments.get(row.id))) say('it should be rejected');
    }
    const refunds = chain.refunds.get(row.id) ?? [];
    if (row.state === 'refunded' && refunds.length === 0) say('it was never refunded');
    if (row.before === 'refunded' && row.state !== 'orphaned' && !refunds.some(({ lost }) => lost)) say('its refund never left the chain');
    // What was read of it, or of one below it, was not all, and it was read again before it was confirmed.
    const again = block.number >= (chain.halfTold ?? Infinity) && !['confirmed', 'activated'].includes(row.before);
    if (row.state === 'orphaned' && !block.lost && !again) say(`block ${block.number} never left the chain`);
    if (row.state in this.counts) this.counts[row.state] += 1;
    if (row.state === 'orphaned' && ['confirmed', 'activated'].includes(row.before)) this.counts.reversed += 1;
    return undefined;
  }

  // The head of each slot as payd tells quoted.
  async compareSlots(slots) {
    const wrong = [];
    for (const { subscriber, serviceId: id } of slots) {
      const want = this.chain.head.slots.get(`${subscriber}|${id}`);
      const answer = await this.simulation.quoted.request('octroi.v1.chain.slot', { subscriber, service_id: id }, 1000).catch((error) => ({ error: error.message }));
      const told = answer.error ? JSON.stringify(answer.error) : `${answer.slot} ${answer.revoked} ${answer.pending} ${answer.head} ${answer.signer?.toLowerCase() ?? null}`;
      const should = `0x${(want?.word ?? 0n).toString(16).padStart(64, '0')} ${want?.revoked ?? false} ${this.open.has(`${subscriber}|${id}`)} ${this.chain.head.number} ${this.chain.head.signer}`;
      if (told !== should) wrong.push(`slot of ${subscriber}: ${told}, should be ${should}`);
    }
    return wrong;
  }
}

// Wrong for ever: waiting does not mend it.
export class Fatal extends Error {}
