// Requests of a UTC day: two subds lend them without overselling, what is not used goes back to its day, and a model of leases agrees with the tables.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { SiweMessage } from 'siwe';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';

import { makeSecrets } from '../../compose/init.mjs';
import { serviceId, subscriptionId } from '../../contracts/script/terms.mjs';
import { Bus } from '../support/bus.mjs';
import { freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { Nats, Postgres, Redis } from '../support/servers.mjs';
import { Service } from '../support/service.mjs';

const CHAIN = 4441;
const CONTRACT = '0x00000000000000000000000000000000000c0de5';
const DAY = 86400;
const MONTH = 30 * DAY;
// plan: [requests a period, requests a day]
const PLANS = { 1: [0, 100], 2: [0, 1000], 3: [1000, 60], 4: [50, 60], 5: [1000, 0], 6: [0, 0], 7: [5000, 250] };

let dir;
let postgres;
let redis;
let nats;
let payd;
let proxy;
const subds = [];
const now = () => Math.floor(Date.now() / 1000);
const toMidnight = () => DAY - (now() % DAY);
const hex = (bytes) => randomBytes(bytes).toString('hex');

async function subd(name) {
  const opsPort = await freePort();
  const port = await freePort();
  const service = new Service('subd', {
    dir, name, opsPort,
    env: {
      OCTROI_SUBD_LISTEN: `127.0.0.1:${port}`,
      OCTROI_SUBD_OPS: `127.0.0.1:${opsPort}`,
      OCTROI_POSTGRES: postgres.conninfo('subd'),
      OCTROI_REDIS_URL: redis.url,
      OCTROI_NATS_URL: nats.url,
      OCTROI_NATS_CREDENTIALS: nats.credentials('subd'),
      OCTROI_PUBLIC_URL: 'http://octroi.test:8080',
      OCTROI_CHAIN_ID: String(CHAIN),
      OCTROI_TOKEN_KEY_FILE: join(dir, 'token-signer.pem'),
    },
  });
  service.api = `http://127.0.0.1:${port}`;
  subds.push(service);
  service.spawn();
  await service.ready();
}

// payd and quoted as subd sees them: tables in the place of their views.
function publishedViews() {
  postgres.sql(`
    SET ROLE octroi_payd;
    CREATE TABLE payments.payment_v1 (payment_id text PRIMARY KEY, revision bigint, state text, chain_id bigint, contract text, subscriber text,
      service_id text, token text, terms text, amount numeric, plan int, seq int, start_at bigint, expires_at bigint, paid numeric, tx_hash text,
      block_number bigint, log_index int, seen_at timestamptz, confirmed_at timestamptz);
    GRANT USAGE ON SCHEMA payments TO octroi_subd; GRANT SELECT ON payments.payment_v1 TO octroi_subd;
    SET ROLE octroi_quoted;
    CREATE TABLE quotes.plan_v1 (plan int, tier text, version int, period_seconds bigint, rate int, burst int, requests bigint, bytes bigint,
      messages bigint, cost bigint, bandwidth int, requests_per_day bigint);
    CREATE TABLE quotes.service_v1 (service_id text, name text);
    GRANT USAGE ON SCHEMA quotes TO octroi_subd; GRANT SELECT ON quotes.plan_v1, quotes.service_v1 TO octroi_subd;
    RESET ROLE;
    INSERT INTO quotes.service_v1 VALUES ('${serviceId('api')}', 'api');
    ${Object.entries(PLANS).map(([plan, [requests, day]]) =>
    `INSERT INTO quotes.plan_v1 VALUES (${plan}, 'tier${plan}', 1, ${MONTH}, 50, 100, ${requests}, 0, 0, 0, 0, ${day});`).join('\n')}`);
}

class Subscriber {
  constructor() {
    this.account = privateKeyToAccount(generatePrivateKey());
    this.id = subscriptionId({ chainId: CHAIN, contract: CONTRACT, subscriber: this.account.address, serviceId: serviceId('api') });
    this.seq = 0;
    this.start = now() - 10;
  }

  async buys(plan, { start = this.start, expires = start + MONTH } = {}) {
    const id = `0x${hex(32)}`;
    this.start = start;
    this.plan = plan;
    this.seq += 1;
    postgres.sql(`INSERT INTO payments.payment_v1 VALUES ('${id}', 3, 'confirmed', ${CHAIN}, '${CONTRACT}', '${this.account.address.toLowerCase()}',
      '${serviceId('api')}', '0x${'0'.repeat(40)}', '0x${'0'.repeat(64)}', 1, ${plan}, ${this.seq}, ${start}, ${expires}, 1, '0x${'0'.repeat(64)}',
      ${this.seq}, 0, now(), now())`);
    payd.publish('octroi.v1.payment.confirmed', { payment_id: id, revision: 3 });
    await waitUntil(`${this.id} on plan ${plan}`, async () => {
      this.record = (await proxy.request('octroi.v1.sub.check', { subscriptions: [this.id] })).subscriptions[0];
      return this.record.state === 'active' && this.record.plan === plan && this.record.version === this.seq;
    }, { timeout: 15_000 });
    return this;
  }

  // [granted, used] of a day: today unless told.
  day(day = new Date().toISOString().slice(0, 10)) {
    const row = postgres.rows(`SELECT granted_requests AS g, used_requests AS u FROM subscriptions.quota_day WHERE subscription = '${this.id}' AND day = '${day}'`)[0];
    return row && [row.g, row.u];
  }

  period() {
    const row = postgres.rows(`SELECT granted_requests AS g, used_requests AS u FROM subscriptions.quota WHERE subscription = '${this.id}' AND period = ${this.start}`)[0];
    return row && [row.g, row.u];
  }

  async usage() {
    const call = async (path, options) => (await fetch(subds[1].api + path, options)).json();
    const post = (path, body) => call(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
    const challenge = await post('/token/challenge', { address: this.account.address, service: 'api' });
    const message = new SiweMessage(challenge.message).prepareMessage();
    const { access_token: token } = await post('/token', { message, signature: await this.account.signMessage({ message }) });
    const headers = { authorization: `Bearer ${token}` };
    return [await call(`/subscription/${this.id}`, { headers }), await call(`/usage/${this.id}`, { headers })];
  }
}

class Journal {
  constructor() {
    this.id = hex(16);
    this.seq = 0;
    this.round = 0;
    this.last = 0;
    this.watcher = hex(16); // asks how far this one is applied, and changes nothing
    this.watched = 0;
  }

  async ask(asks, { heard = true } = {}) {
    const answer = await proxy.request('octroi.v1.sub.lease', {
      journals: [this.id], round: ++this.round, last: this.last, ask: asks.map((one) => ({ requests: 0, bytes: 0, messages: 0, cost: 0, ...one })),
    }, 10_000);
    assert.equal(answer.error, undefined, JSON.stringify(answer));
    if (heard) this.last = Math.max(this.last, ...answer.grants.map((grant) => grant.lease));
    return answer;
  }

  async lease(sub, requests, options) {
    const { grants, refused } = await this.ask([{ sub: sub.id, requests }], options);
    return grants[0] ?? refused[0];
  }

  entry(lease, amounts) {
    return { sub: lease.sub, lease: lease.lease, period: lease.period, day: lease.day, requests: 0, bytes_in: 0, bytes_out: 0, messages: 0, events: 0, cost: 0, closed: false, ...amounts };
  }

  // Comes back when it is in the ledger.
  async report(entries, { final = false } = {}) {
    const seq = ++this.seq;
    const ack = await proxy.request(`octroi.v1.usage.${this.id}`, JSON.stringify({ v: 1, journal: this.id, seq, final, entries }));
    assert.equal(ack.stream, 'OCTROI_USAGE', JSON.stringify(ack));
    await waitUntil(`journal at ${seq}`, async () => {
      const { applied } = await proxy.request('octroi.v1.sub.lease', { journals: [this.watcher, this.id], round: ++this.watched, last: 0, ask: [] }, 10_000);
      return applied[this.id] >= seq;
    });
  }

  spend(lease, requests, closed = true) {
    return this.report([this.entry(lease, { requests, closed })]);
  }
}

const untilMidnight = (refused) => {
  assert.equal(refused.reason, 'quota-exceeded', JSON.stringify(refused));
  assert.equal(refused.kind, 'requests');
  assert.ok(Math.abs(refused.retry_after - toMidnight()) <= 2, JSON.stringify(refused));
};

before(async () => {
  // No test of this file sees two days.
  if (toMidnight() < 90) await waitUntil('midnight', () => toMidnight() > 90, { timeout: 120_000 });
  dir = temporaryDirectory('day-quota');
  makeSecrets(dir);
  postgres = new Postgres({ dir: join(dir, 'postgres') });
  redis = new Redis({ dir: join(dir, 'redis') });
  nats = new Nats({ dir: join(dir, 'nats') });
  await Promise.all([postgres.start(), redis.start(), nats.start()]);
  publishedViews();
  const connect = (user) => new Bus({ port: nats.port, user, password: nats.passwords[user] }).connect();
  payd = await connect('payd');
  proxy = await connect('proxy');
  payd.subscribe('octroi.v1.payment.activated', ({ reply }) => payd.publish(reply, { ok: true }));
  await Promise.all([subd('subd-1'), subd('subd-2')]);
});

after(async () => {
  const failures = [];
  for (const one of [...subds, payd, proxy, nats, redis, postgres]) {
    try {
      await (one?.stop ? one.stop() : one?.close());
    } catch (error) {
      failures.push(error);
    }
  }
  if (dir) removeDirectory(dir);
  if (failures.length) throw failures[0];
});

test('two subds asked at once never lend more than the day has, and all of it', async () => {
  const sub = await new Subscriber().buys(2);
  assert.deepEqual(sub.record.limits, { rate: 50, burst: 100, requests: 0, bytes: 0, messages: 0, cost: 0, requests_per_day: 1000 });
  const granted = () => Promise.all(subds.map((one) => one.metric('octroi_subd_lease_asks_total', 'result="granted"')));
  const before_ = await granted();
  let sum = 0;
  const held = [];
  await Promise.all(Array.from({ length: 16 }, async () => {
    const journal = new Journal();
    for (;;) {
      const lease = await journal.lease(sub, 90);
      if (lease.reason) {
        assert.equal(lease.reason, 'quota-exceeded');
        assert.equal(lease.retry_after, 1, 'others may still return something');
        return;
      }
      assert.ok(lease.requests >= 1 && lease.requests <= 90, 'no limit of the period, and yet a slice');
      held.push([journal, lease]);
      sum += lease.requests;
    }
  }));
  assert.equal(sum, 1000);
  assert.deepEqual(sub.day(), [1000, 0]);
  const after_ = await granted();
  assert.ok(after_.every((n, i) => n > before_[i]), 'both lent');
  const journals = new Map();
  for (const [journal, lease] of held) journals.set(journal, [...(journals.get(journal) ?? []), journal.entry(lease, { requests: lease.requests, closed: true })]);
  await Promise.all([...journals].map(([journal, entries]) => journal.report(entries)));
  assert.deepEqual(sub.day(), [1000, 1000]);
  untilMidnight(await new Journal().lease(sub, 1));
});

test('slices shrink toward the end of the day, and of two ends the nearer counts', async () => {
  const sub = await new Subscriber().buys(3);
  const journal = new Journal();
  const first = await journal.lease(sub, 1000);
  assert.equal(first.requests, 15, 'a quarter of what the day has');
  await journal.spend(first, 15);
  assert.equal((await journal.lease(sub, 1000)).requests, 11);
  const small = await new Subscriber().buys(4); // the period has less than the day
  const lease = await journal.lease(small, 40);
  await journal.spend(lease, 50); // beyond the lease, to the end of the period
  const refused = await journal.lease(small, 1);
  assert.ok(Math.abs(refused.retry_after - (small.start + MONTH - now())) <= 2, JSON.stringify(refused));
});

test('what a closed, a lost or a final lease did not use goes back to its day', async () => {
  const sub = await new Subscriber().buys(1);
  const [a, b] = [new Journal(), new Journal()];
  const lease = await a.lease(sub, 20);
  await a.spend(lease, 5, false);
  assert.deepEqual(sub.day(), [20, 5], 'an open lease holds what it was granted');
  await a.report([a.entry(lease, { requests: 4 }), a.entry(lease, { requests: -1, closed: true })]);
  assert.deepEqual(sub.day(), [8, 8]);
  await a.lease(sub, 10, { heard: false });
  assert.deepEqual(sub.day(), [18, 8]);
  await a.ask([]);
  assert.deepEqual(sub.day(), [8, 8], 'its grant was never heard of');
  const open = await b.lease(sub, 10);
  await b.spend(open, 3, false);
  assert.deepEqual(sub.day(), [18, 11]);
  await b.report([], { final: true });
  assert.deepEqual(sub.day(), [11, 11]);
  await a.report([a.entry({ ...lease, lease: 999_999_999 }, { requests: 7 })]);
  assert.deepEqual(sub.day(), [18, 18], 'what was served on a lease that nobody knows counts');
});

test('another day begins with nothing used, and what returns late returns to the day it was lent on', async () => {
  const sub = await new Subscriber().buys(1);
  const journal = new Journal();
  const lease = await journal.lease(sub, 25);
  const rest = await journal.lease(sub, 1);
  await journal.spend(rest, 75);
  assert.deepEqual(sub.day(), [100, 75]);
  assert.equal((await journal.lease(sub, 1)).retry_after, 1);
  // As if midnight had passed.
  const yesterday = new Date((now() - DAY) * 1000).toISOString().slice(0, 10);
  for (const table of ['quota_day', 'lease']) postgres.sql(`UPDATE subscriptions.${table} SET day = '${yesterday}' WHERE subscription = '${sub.id}'`);
  const next = await new Journal().lease(sub, 100);
  assert.ok(next.requests > 0 && next.day !== yesterday, JSON.stringify(next));
  assert.deepEqual(sub.day(), [next.requests, 0]);
  await journal.spend({ ...lease, day: yesterday }, 10);
  assert.deepEqual(sub.day(yesterday), [85, 85]);
  assert.deepEqual(sub.day(), [next.requests, 0]);
});

test('an upgrade and a renewal keep what the day has used', async () => {
  const sub = await new Subscriber().buys(6); // without any limit
  const journal = new Journal();
  const open = await journal.lease(sub, 10);
  assert.equal(open.requests, -1);
  await journal.spend(open, 30, false);
  assert.deepEqual(sub.day(), [30, 30]);
  await sub.buys(1, { start: sub.start + 2 });
  await journal.spend(open, 40);
  assert.deepEqual(sub.day(), [70, 70]);
  const lease = await journal.lease(sub, 100);
  assert.equal(lease.requests, 10, 'of the 30 that are left');
  await journal.spend(lease, 30);
  untilMidnight(await journal.lease(sub, 1));
  await sub.buys(1, { expires: sub.start + 2 * MONTH });
  untilMidnight(await journal.lease(sub, 1));
  await sub.buys(7, { start: sub.start + 2 });
  assert.equal((await journal.lease(sub, 5000)).requests, 37, 'a quarter of 250 - 100');
  await sub.buys(5, { start: sub.start + 1 });
  assert.ok((await journal.lease(sub, 1000)).requests > 200, 'no limit of the day any more');
  assert.deepEqual(sub.period()[1], 100);
});

test('a subscriber sees the limit, and what is used and left of the day', async () => {
  const sub = await new Subscriber().buys(3);
  const journal = new Journal();
  await journal.spend(await journal.lease(sub, 10), 4, false);
  const [shown, usage] = await sub.usage();
  assert.equal(shown.limits.requests_per_day, 60);
  assert.equal(usage.day, new Date().toISOString().slice(0, 10));
  assert.deepEqual(usage.limits, { requests: 1000, bytes: null, messages: null, cost: null, requests_per_day: 60 });
  assert.deepEqual(usage.used, { requests: 4, bytes: 0, messages: 0, cost: 0, requests_per_day: 4 });
  assert.deepEqual(usage.left, { requests: 996, bytes: null, messages: null, cost: null, requests_per_day: 56 });
});

// Leases as the tables should hold them.
class Model {
  constructor(sub) {
    this.sub = sub;
    this.leases = [];
    this.extra = 0; // served on leases that nobody knows
  }

  held() {
    return this.extra + this.leases.reduce((sum, { granted, used, closed }) => sum + Math.max(closed ? 0 : granted, used, 0), 0);
  }

  used() {
    return this.extra + this.leases.reduce((sum, { used }) => sum + used, 0);
  }

  left() {
    const [requests, day] = PLANS[this.sub.plan];
    return Math.min(requests ? requests - this.held() : Infinity, day ? day - this.held() : Infinity);
  }
}

function numbers(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

async function step(random, journal, model) {
  const mine = model.leases.filter((lease) => lease.journal === journal && !lease.closed);
  const lease = mine[random(mine.length || 1)];
  const what = random(10);
  if (what < 5 || !lease) {
    const heard = what !== 4;
    for (const gone of model.leases) if (gone.journal === journal && gone.lost) gone.closed = true;
    const left = model.left();
    const got = await journal.lease(model.sub, 1 + random(40), { heard });
    if (got.lease) model.leases.push({ ...got, journal, granted: got.requests, used: 0, closed: false, lost: !heard });
    return [left, got];
  }
  if (lease.lost) return [];
  const amount = what === 9 ? lease.granted - lease.used + random(4) : random(Math.max(lease.granted - lease.used, 1) + 1);
  const closed = what > 6;
  if (what === 5) {
    await journal.report([journal.entry(lease, { requests: amount }), journal.entry({ ...lease, lease: 900_000_000 + random(1000) }, { requests: 1 })]);
    model.extra += 1;
  } else {
    await journal.spend(lease, amount, closed);
  }
  lease.used += amount;
  lease.closed = closed;
  return [];
}

const agree = (model, seed) => assert.deepEqual(model.sub.day() ?? [0, 0], [model.held(), model.used()], `seed ${seed}`);

test('grants, usages, losses and closes in any order agree with a model', async () => {
  for (const [plan, seed] of [[1, 11], [3, 12], [4, 13]]) {
    const random = numbers(seed);
    const model = new Model(await new Subscriber().buys(plan));
    const journals = Array.from({ length: 3 }, () => new Journal());
    for (let i = 0; i < 50; i += 1) {
      const [left, got] = await step(random, journals[random(3)], model);
      if (got) assert.equal(got.reason === undefined, left > 0, `seed ${seed}, step ${i}: ${left} left, ${JSON.stringify(got)}`);
      if (got?.lease) assert.ok(got.requests >= 1 && got.requests <= left, `seed ${seed}, step ${i}: ${left} left, ${JSON.stringify(got)}`);
      if (i % 5 === 0) agree(model, seed);
    }
    agree(model, seed);
    assert.deepEqual(model.sub.period(), [model.held(), model.used()]);
  }
});

test('the same from many journals at once', async () => {
  const seed = 21;
  const models = await Promise.all([1, 2, 3, 7].map(async (plan) => new Model(await new Subscriber().buys(plan))));
  await Promise.all(Array.from({ length: 8 }, async (_, n) => {
    const random = numbers(seed + n);
    const journal = new Journal();
    for (let i = 0; i < 25; i += 1) await step(random, journal, models[random(models.length)]);
    await journal.ask([]); // what it lost is closed
    for (const { leases } of models) for (const lease of leases) if (lease.journal === journal && lease.lost) lease.closed = true;
  }));
  for (const model of models) agree(model, seed);
});
