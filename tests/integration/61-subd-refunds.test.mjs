// What subd makes of refunds: a grant that was paid back is gone with all that was rolled into it, in whatever order subd hears of it; and what is
// paid for a revoked subscription is named to payd, each time, until it is sent back.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { waitUntil } from '../support/process.mjs';
import { MONTH, Subscriptions, hex, now, slotOf } from '../support/subscriptions.mjs';

const PLANS = ['none', 'small', 'large', 'huge', 'vast', 'open'];
const START = now() - 100;
const site = new Subscriptions('subd-refunds', PLANS.map((tier, plan) => ({ tier, requests: plan * 100 })));
const { told } = site;
let postgres;
let admin;

// Statements are sent together where `batch` is a list: starting psql is what costs here.
let batch = null;
const run = (sql) => (batch ? batch.push(sql) : postgres.sql(sql));
const send = () => {
  postgres.sql(batch.join(';\n'));
  batch = [];
};

// Payments as payd publishes them, of one subscriber.
class Slot {
  constructor() {
    this.subscriber = `0x${hex(20)}`;
    this.id = slotOf(this.subscriber);
    this.payments = [];
  }

  add(state, { seq = this.payments.length + 1, revision = 1, service = 'api', start = START } = {}) {
    const payment = { id: `0x${hex(32)}`, seq, revision, state };
    this.payments.push(payment);
    run(site.paymentRow({ ...payment, subscriber: this.subscriber, service, plan: seq, start, expires: start + MONTH }));
    return payment;
  }

  set(payment, state) {
    payment.state = state;
    payment.revision += 1;
    run(`UPDATE payments.payment_v1 SET state = '${state}', revision = ${payment.revision} WHERE payment_id = '${payment.id}'`);
  }

  hint(payment) {
    site.hint(payment, ['confirmed', 'activated'].includes(payment.state) ? 'confirmed' : 'reversed');
  }

  async move(payment, state) {
    this.set(payment, state);
    this.hint(payment);
    await this.heard(payment);
  }

  heard(payment) {
    return waitUntil(`subd to apply ${payment.state} of seq ${payment.seq}`, () => told.find((t) => t.payment_id === payment.id && t.revision === payment.revision));
  }

  record() {
    return site.check(this.id);
  }

  // The rule, written down once more: the highest seq that counts, if no refund is above it.
  get grant() {
    const top = (states) => this.payments.filter(({ state }) => states.includes(state)).sort((a, b) => b.seq - a.seq)[0];
    const best = top(['confirmed', 'activated']);
    return best && best.seq > (top(['refunded'])?.seq ?? -1) ? best : undefined;
  }
}

before(async () => {
  ({ postgres, adminsvc: admin } = await site.start());
  await site.subd('subd');
});

after(() => site.stop());

test('a refund takes what was rolled into the grant with it, and a reorganisation gives it back', async () => {
  const slot = new Slot();
  const first = slot.add('seen');
  await slot.move(first, 'confirmed');
  const second = slot.add('seen');
  await slot.move(second, 'confirmed');
  assert.equal((await slot.record()).tier, 'large');
  await slot.move(second, 'refunded');
  assert.equal((await slot.record()).state, 'suspended'); // not the first again: its rest was paid back too
  await slot.move(second, 'confirmed');
  assert.deepEqual([(await slot.record()).state, (await slot.record()).tier], ['active', 'large']);
  await slot.move(second, 'refunded');
  const next = slot.add('seen', { seq: 4 });
  await slot.move(next, 'confirmed');
  assert.deepEqual([(await slot.record()).state, (await slot.record()).tier], ['active', 'vast']);
  await slot.move(next, 'orphaned');
  assert.equal((await slot.record()).state, 'suspended');
  await slot.move(second, 'orphaned'); // the payment and its refund are gone: the first stands again
  assert.deepEqual([(await slot.record()).state, (await slot.record()).tier], ['active', 'small']);
});

test('a payment that was refunded before it was ever confirmed ends what it was paid for', async () => {
  const slot = new Slot();
  const first = slot.add('seen');
  await slot.move(first, 'confirmed');
  const renewal = slot.add('seen');
  await slot.move(renewal, 'refunded');
  assert.equal((await slot.record()).state, 'suspended');
  await slot.move(renewal, 'seen'); // its refund left the chain
  assert.deepEqual([(await slot.record()).state, (await slot.record()).tier], ['active', 'small']);
});

test('what is bought after a refund is whole, although what was refunded was used up', async () => {
  const slot = new Slot();
  const first = slot.add('seen');
  await slot.move(first, 'confirmed');
  run(`INSERT INTO subscriptions.quota (subscription, period, granted_requests, used_requests) VALUES ('${slot.id}', ${START}, 100, 100)`);
  await slot.move(first, 'refunded');
  const anew = slot.add('seen', { seq: 3, start: START + 10 });
  await slot.move(anew, 'confirmed');
  const used = (start) => postgres.rows(`SELECT used_requests::int AS n FROM subscriptions.quota WHERE subscription = '${slot.id}' AND period = ${start}`)[0]?.n ?? 0;
  assert.equal(used(START + 10), 0);
  // An upgrade of it takes along what it has used, and not what was refunded.
  run(`INSERT INTO subscriptions.quota (subscription, period, granted_requests, used_requests) VALUES ('${slot.id}', ${START + 10}, 7, 7)
    ON CONFLICT (subscription, period) DO UPDATE SET granted_requests = 7, used_requests = 7`);
  const upgrade = slot.add('seen', { seq: 4, start: START + 20 });
  await slot.move(upgrade, 'confirmed');
  assert.equal(used(START + 20), 7);
  run(`UPDATE subscriptions.quota SET granted_requests = 9, used_requests = 9 WHERE subscription = '${slot.id}' AND period = ${START + 20}`);
  await slot.move(upgrade, 'orphaned'); // and back again: nothing is given away
  assert.equal(used(START + 10), 9);
});

test('a refund of what we do not sell is answered and makes nothing', async () => {
  const slot = new Slot();
  const payment = slot.add('rejected', { service: 'unheard-of' });
  await slot.move(payment, 'refunded');
  assert.equal(postgres.rows(`SELECT count(*)::int AS n FROM subscriptions.subscription WHERE subscriber = '${slot.subscriber}'`)[0].n, 0);
});

test('a refund that no hint told of is found', async () => {
  const slot = new Slot();
  await slot.move(slot.add('seen'), 'confirmed');
  slot.set(slot.payments[0], 'refunded');
  await waitUntil('the sweep', async () => (await slot.record()).state === 'suspended');
});

// A payment's own revisions come in their order (subd reads the row as it is), those of different payments in any.
test('any order of arrival ends in the same grant', async () => {
  let seed = 0x5eed;
  const random = (n) => {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
    return (seed >> 8) % n;
  };
  const states = ['confirmed', 'refunded', 'orphaned', 'confirmed', 'activated', 'seen'];
  const slots = [];
  batch = [];
  for (let n = 0; n < 25; n++) {
    const slot = new Slot();
    const count = 2 + random(4);
    for (let seq = 1; seq <= count; seq++) slot.add('seen', { seq });
    slots.push(slot);
  }
  for (let round = 0; round < 3; round++) {
    const hints = [];
    for (const slot of slots) {
      for (const payment of slot.payments) {
        if (round > 0 && random(2)) continue;
        slot.set(payment, states[random(states.length)]);
        hints.push({ slot, payment, order: random(1000) });
      }
    }
    send();
    for (const { slot, payment } of hints.sort((a, b) => a.order - b.order)) slot.hint(payment);
    await Promise.all(hints.map(({ slot, payment }) => slot.heard(payment)));
    const rows = postgres.rows('SELECT id, state, payment_id, seq, tier FROM subscriptions.subscription');
    for (const slot of slots) {
      const { grant } = slot;
      const row = rows.find(({ id }) => id === slot.id);
      const what = JSON.stringify(slot.payments.map(({ seq, state }) => [seq, state]));
      if (grant) {
        assert.deepEqual(row, { id: slot.id, state: 'active', payment_id: grant.id, seq: grant.seq, tier: PLANS[grant.seq] }, what);
      } else if (row) assert.ok(row.payment_id === null && row.state !== 'active', what);
    }
  }
  batch = null;
});

test('what is paid for a revoked subscription is refused each time that it is told of, what was used is not', async () => {
  const slot = new Slot();
  const used = slot.add('seen');
  await slot.move(used, 'confirmed');
  await admin.request('octroi.v1.admin.subd.revoke', { subscription: slot.id, reason: 'fraud', actor: 'key_1' });
  const late = slot.add('seen');
  await slot.move(late, 'confirmed');
  slot.hint(late);
  const of = (payment) => told.filter((t) => t.payment_id === payment.id);
  await waitUntil('it to be told again', () => of(late).length >= 2);
  assert.ok(of(late).every(({ refused }) => refused === 'revoked'));
  await slot.move(used, 'orphaned');
  await slot.move(used, 'confirmed'); // mined again: it had its time
  assert.ok(of(used).every(({ refused }) => refused === undefined));
  await slot.move(late, 'refunded');
  assert.equal(of(late).at(-1).refused, undefined);
  assert.equal((await slot.record()).state, 'revoked');
});
