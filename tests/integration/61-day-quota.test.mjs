// Requests of a UTC day: two subds lend them without overselling, what is not used goes back to its day, and a model of leases agrees with the tables.
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';

import { DAY, MONTH, Subscriptions, farFromMidnight, get, now, toMidnight } from '../support/subscriptions.mjs';

// plan: [requests a period, requests a day]
const PLANS = { 1: [0, 100], 2: [0, 1000], 3: [1000, 60], 4: [50, 60], 5: [1000, 0], 6: [0, 0], 7: [5000, 250] };
const site = new Subscriptions('day-quota', Object.fromEntries(
  Object.entries(PLANS).map(([plan, [requests, requests_per_day]]) => [plan, { tier: `tier${plan}`, requests, requests_per_day }])));
const { subds } = site;
const today = () => new Date().toISOString().slice(0, 10);

// Comes back when subd has it.
async function buys(sub, plan, options) {
  sub.pay({ plan, ...options });
  await sub.become('active', (record) => record.plan === plan && record.version === sub.seq);
  return sub;
}

const buyer = (plan) => buys(site.subscriber(), plan);
const amounts = (row) => row && [row.g, row.u];

// [granted, used] of a day, and of the period.
const ofDay = (sub, day = today()) =>
  amounts(site.postgres.rows(`SELECT granted_requests AS g, used_requests AS u FROM subscriptions.quota_day WHERE subscription = '${sub.id}' AND day = '${day}'`)[0]);
const ofPeriod = (sub) =>
  amounts(site.postgres.rows(`SELECT granted_requests AS g, used_requests AS u FROM subscriptions.quota WHERE subscription = '${sub.id}' AND period = ${sub.start}`)[0]);

const untilMidnight = (refused) => {
  assert.equal(refused.reason, 'quota-exceeded', JSON.stringify(refused));
  assert.equal(refused.kind, 'requests');
  assert.ok(Math.abs(refused.retry_after - toMidnight()) <= 2, JSON.stringify(refused));
};

before(async () => {
  await site.start();
  await Promise.all([site.subd('subd-1'), site.subd('subd-2')]);
});

after(() => site.stop());

// No test of this file sees two days.
beforeEach(() => farFromMidnight());

test('two subds asked at once never lend more than the day has, and all of it', async () => {
  const sub = await buyer(2);
  assert.deepEqual((await sub.record()).limits, { rate: 50, burst: 100, requests: 0, bytes: 0, messages: 0, cost: 0, requests_per_day: 1000 });
  const granted = () => Promise.all(subds.map((one) => one.metric('octroi_subd_lease_asks_total', 'result="granted"')));
  const before_ = await granted();
  let sum = 0;
  const held = [];
  await Promise.all(Array.from({ length: 16 }, async () => {
    const journal = site.journal();
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
  assert.deepEqual(ofDay(sub), [1000, 0]);
  const after_ = await granted();
  assert.ok(after_.every((n, i) => n > before_[i]), 'both lent');
  const journals = new Map();
  for (const [journal, lease] of held) journals.set(journal, [...(journals.get(journal) ?? []), journal.entry(lease, { requests: lease.requests, closed: true })]);
  await Promise.all([...journals].map(([journal, entries]) => journal.bill(entries)));
  assert.deepEqual(ofDay(sub), [1000, 1000]);
  untilMidnight(await site.journal().lease(sub, 1));
});

test('slices shrink toward the end of the day, and of two ends the nearer counts', async () => {
  const sub = await buyer(3);
  const journal = site.journal();
  const first = await journal.lease(sub, 1000);
  assert.equal(first.requests, 15, 'a quarter of what the day has');
  await journal.spend(first, 15);
  assert.equal((await journal.lease(sub, 1000)).requests, 11);
  const small = await buyer(4); // the period has less than the day
  const lease = await journal.lease(small, 40);
  await journal.spend(lease, 50); // beyond the lease, to the end of the period
  const refused = await journal.lease(small, 1);
  assert.ok(Math.abs(refused.retry_after - (small.start + MONTH - now())) <= 2, JSON.stringify(refused));
});

test('what a closed, a lost or a final lease did not use goes back to its day', async () => {
  const sub = await buyer(1);
  const [a, b] = [site.journal(), site.journal()];
  const lease = await a.lease(sub, 20);
  await a.spend(lease, 5, false);
  assert.deepEqual(ofDay(sub), [20, 5], 'an open lease holds what it was granted');
  await a.bill([a.entry(lease, { requests: 4 }), a.entry(lease, { requests: -1, closed: true })]);
  assert.deepEqual(ofDay(sub), [8, 8]);
  await a.lease(sub, 10, { heard: false });
  assert.deepEqual(ofDay(sub), [18, 8]);
  await a.ask([]);
  assert.deepEqual(ofDay(sub), [8, 8], 'its grant was never heard of');
  const open = await b.lease(sub, 10);
  await b.spend(open, 3, false);
  assert.deepEqual(ofDay(sub), [18, 11]);
  await b.bill([], { final: true });
  assert.deepEqual(ofDay(sub), [11, 11]);
  await a.bill([a.entry({ ...lease, lease: 999_999_999 }, { requests: 7 })]);
  assert.deepEqual(ofDay(sub), [18, 18], 'what was served on a lease that nobody knows counts');
});

test('another day begins with nothing used, and what returns late returns to the day it was lent on', async () => {
  const sub = await buyer(1);
  const journal = site.journal();
  const lease = await journal.lease(sub, 25);
  const rest = await journal.lease(sub, 1);
  await journal.spend(rest, 75);
  assert.deepEqual(ofDay(sub), [100, 75]);
  assert.equal((await journal.lease(sub, 1)).retry_after, 1);
  // As if midnight had passed.
  const yesterday = new Date((now() - DAY) * 1000).toISOString().slice(0, 10);
  for (const table of ['quota_day', 'lease']) site.postgres.sql(`UPDATE subscriptions.${table} SET day = '${yesterday}' WHERE subscription = '${sub.id}'`);
  const next = await site.journal().lease(sub, 100);
  assert.ok(next.requests > 0 && next.day !== yesterday, JSON.stringify(next));
  assert.deepEqual(ofDay(sub), [next.requests, 0]);
  await journal.spend({ ...lease, day: yesterday }, 10);
  assert.deepEqual(ofDay(sub, yesterday), [85, 85]);
  assert.deepEqual(ofDay(sub), [next.requests, 0]);
});

test('an upgrade and a renewal keep what the day has used', async () => {
  const sub = await buyer(6); // without any limit
  const journal = site.journal();
  const open = await journal.lease(sub, 10);
  assert.equal(open.requests, -1);
  await journal.spend(open, 30, false);
  assert.deepEqual(ofDay(sub), [30, 30]);
  await buys(sub, 1, { start: sub.start + 2 });
  await journal.spend(open, 40);
  assert.deepEqual(ofDay(sub), [70, 70]);
  const lease = await journal.lease(sub, 100);
  assert.equal(lease.requests, 10, 'of the 30 that are left');
  await journal.spend(lease, 30);
  untilMidnight(await journal.lease(sub, 1));
  await buys(sub, 1, { expires: sub.start + 2 * MONTH });
  untilMidnight(await journal.lease(sub, 1));
  await buys(sub, 7, { start: sub.start + 2 });
  assert.equal((await journal.lease(sub, 5000)).requests, 37, 'a quarter of 250 - 100');
  await buys(sub, 5, { start: sub.start + 1 });
  assert.ok((await journal.lease(sub, 1000)).requests > 200, 'no limit of the day any more');
  assert.deepEqual(ofPeriod(sub)[1], 100);
});

test('a subscriber sees the limit, and what is used and left of the day', async () => {
  const sub = await buyer(3);
  const journal = site.journal();
  await journal.spend(await journal.lease(sub, 10), 4, false);
  const { access_token: token } = await sub.token();
  const shown = await get(subds[1].api, `/subscription/${sub.id}`, token);
  const { body: usage } = await get(subds[1].api, `/usage/${sub.id}`, token);
  assert.equal(shown.body.limits.requests_per_day, 60);
  assert.equal(usage.day, today());
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
    await journal.bill([journal.entry(lease, { requests: amount }), journal.entry({ ...lease, lease: 900_000_000 + random(1000) }, { requests: 1 })]);
    model.extra += 1;
  } else {
    await journal.spend(lease, amount, closed);
  }
  lease.used += amount;
  lease.closed = closed;
  return [];
}

const agree = (model, seed) => assert.deepEqual(ofDay(model.sub) ?? [0, 0], [model.held(), model.used()], `seed ${seed}`);

test('grants, usages, losses and closes in any order agree with a model', async () => {
  for (const [plan, seed] of [[1, 11], [3, 12], [4, 13]]) {
    const random = numbers(seed);
    const model = new Model(await buyer(plan));
    const journals = Array.from({ length: 3 }, () => site.journal());
    for (let i = 0; i < 50; i += 1) {
      const [left, got] = await step(random, journals[random(3)], model);
      if (got) assert.equal(got.reason === undefined, left > 0, `seed ${seed}, step ${i}: ${left} left, ${JSON.stringify(got)}`);
      if (got?.lease) assert.ok(got.requests >= 1 && got.requests <= left, `seed ${seed}, step ${i}: ${left} left, ${JSON.stringify(got)}`);
      if (i % 5 === 0) agree(model, seed);
    }
    agree(model, seed);
    assert.deepEqual(ofPeriod(model.sub), [model.held(), model.used()]);
  }
});

test('the same from many journals at once', async () => {
  const seed = 21;
  const models = await Promise.all([1, 2, 3, 7].map(async (plan) => new Model(await buyer(plan))));
  await Promise.all(Array.from({ length: 8 }, async (_, n) => {
    const random = numbers(seed + n);
    const journal = site.journal();
    for (let i = 0; i < 25; i += 1) await step(random, journal, models[random(models.length)]);
    await journal.ask([]); // what it lost is closed
    for (const { leases } of models) for (const lease of leases) if (lease.journal === journal && lease.lost) lease.closed = true;
  }));
  for (const model of models) agree(model, seed);
});
