// What subd makes of payments in bad circumstances: of another contract in the same database, of payd's tables out of a backup, of a refund that
// is heard of late; and of a clock that is far ahead.
import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { after, before, test } from 'node:test';

import { subscriptionId, serviceId } from '../../contracts/script/terms.mjs';
import { waitUntil } from '../support/process.mjs';
import { binary } from '../support/service.mjs';
import { CHAIN, CONTRACT, MONTH, Subscriptions, hex, now, post } from '../support/subscriptions.mjs';

const site = new Subscriptions('ledger', { 1: { tier: 'small', requests: 100 }, 2: { tier: 'large', requests: 1000, requests_per_day: 500 } });
const { told } = site;
let postgres;
let subd;

before(async () => {
  ({ postgres } = await site.start());
  subd = await site.subd('subd');
});

after(() => site.stop());

const applied = (payment) => waitUntil('subd to have answered', () => told.find((t) => t.payment_id === payment.id && t.revision === payment.revision));

test('what was paid on another chain or to another contract gives no access', async () => {
  const sub = site.subscriber();
  for (const elsewhere of [{ chain: CHAIN + 1 }, { contract: `0x${hex(20)}` }]) {
    const payment = { id: `0x${hex(32)}`, revision: 3 };
    postgres.sql(site.paymentRow({ ...payment, ...elsewhere, state: 'confirmed', subscriber: sub.account.address, plan: 2, seq: 1, start: sub.start, expires: sub.start + MONTH }));
    site.hint(payment);
    const { chain: chainId = CHAIN, contract = CONTRACT } = elsewhere;
    const id = subscriptionId({ chainId, contract, subscriber: sub.account.address, serviceId: serviceId('api') });
    await waitUntil('it to be on the books', async () => (await site.check(id)).state === 'active');
    const answer = await post(subd.api, '/token', await sub.signIn());
    assert.equal(answer.status, 402, JSON.stringify(answer.body));
  }
  await sub.active(); // and what is bought here does, beside them
  const { subscription, refresh_token: refresh } = await sub.token();
  assert.equal(subscription, sub.id);
  // A refresh token of a time when the other one was honoured.
  const family = hex(16);
  const other = postgres.rows(`SELECT id FROM subscriptions.subscription WHERE lower(subscriber) = '${sub.account.address.toLowerCase()}' AND id <> '${sub.id}' LIMIT 1`)[0].id;
  postgres.sql(`INSERT INTO subscriptions.refresh_family (family, subscription) VALUES ('${family}', '${other}');
    UPDATE subscriptions.refresh_token SET family = '${family}' WHERE family IN (SELECT family FROM subscriptions.refresh_family WHERE subscription = '${sub.id}')`);
  assert.equal((await post(subd.api, '/token/refresh', { refresh_token: refresh })).status, 402);
});

// payd's row out of a backup: an older revision, in the state that it had then.
const restore = (payment, state, revision) => {
  payment.revision = revision;
  postgres.sql(`UPDATE payments.payment_v1 SET state = '${state}', revision = ${revision} WHERE payment_id = '${payment.id}'`);
};

test('after a restore of payd\'s tables a payment that the chain refunds meanwhile ends, and one that it confirms counts', async () => {
  const before_ = await site.alerts('payments-restored');
  const refunded = site.subscriber();
  const first = refunded.pay({ revision: 7 });
  await refunded.become('active');
  const back = site.subscriber();
  const second = back.pay({ revision: 7 });
  await back.become('active');
  back.move(second, 'orphaned', 'reversed');
  await back.become('suspended');
  // payd reads the chain again from where the backup stands, and nobody is suspended while it does.
  restore(first, 'confirming', 2);
  site.hint(first);
  await applied(first);
  assert.equal((await refunded.record()).state, 'active');
  refunded.move(first, 'confirmed', 'confirmed'); // 3
  await applied(first);
  assert.equal((await refunded.record()).version, 1);
  refunded.move(first, 'refunded', 'reversed'); // 4
  await refunded.become('suspended');
  restore(second, 'confirmed', 3);
  site.hint(second);
  await back.become('active');
  assert.ok((await site.alerts('payments-restored')) >= before_ + 2);
  back.move(second, 'orphaned', 'reversed'); // 4: as ever
  await back.become('suspended');
});

test('after a restore of payd\'s tables what no hint tells of is found', async () => {
  const [refunded, again] = [site.subscriber(), site.subscriber()];
  const [first, second] = [refunded.pay({ revision: 9 }), again.pay({ revision: 9 })];
  await Promise.all([refunded.become('active'), again.become('active')]);
  again.move(second, 'orphaned', 'reversed');
  await again.become('suspended');
  restore(first, 'refunded', 4);
  restore(second, 'activated', 10); // the same number with another content
  await Promise.all([refunded.become('suspended'), again.become('active')]);
});

test('an active subscription whose payment payd does not have any more is named', async () => {
  const sub = await site.subscriber().active();
  const [{ payment_id: id }] = postgres.rows(`SELECT payment_id FROM subscriptions.subscription WHERE id = '${sub.id}'`);
  postgres.sql(`DELETE FROM payments.payment_v1 WHERE payment_id = '${id}'`);
  const other = await site.subd('subd-other'); // looks at once, then every ten minutes
  await waitUntil('the alert', async () => (await other.metric('octroi_subd_alerts_total', '"payment-gone"')) === 1);
  await waitUntil('its name', () => other.logContains(id));
  await other.stop();
  assert.equal((await sub.record()).state, 'active');
});

test('what is bought after a refund that is heard of later does not pay for what was used before it', async () => {
  const sub = await site.subscriber().active();
  const [first, start] = [postgres.rows(`SELECT payment_id FROM subscriptions.subscription WHERE id = '${sub.id}'`)[0].payment_id, sub.start];
  const journal = site.journal();
  await journal.spend(await journal.lease(sub, 100), 100);
  const old = { id: first, revision: 3 };
  sub.move(old, 'refunded'); // in payd's table, and no hint of it yet
  sub.seq += 1;
  const second = sub.pay({ start: start + 5 });
  await applied(second);
  assert.equal(sub.quota(start + 5)?.used_requests ?? 0, 0);
  site.hint(old, 'reversed');
  await applied(old);
  assert.equal((await sub.record()).state, 'active');
  assert.equal((await journal.lease(sub, 10)).requests, 10);
});

test('an upgrade takes along what was used, as ever', async () => {
  const sub = await site.subscriber().active();
  const journal = site.journal();
  await journal.spend(await journal.lease(sub, 40), 40);
  await applied(sub.pay({ plan: 2, start: sub.start + 5 }));
  assert.equal(Number(sub.quota(sub.start).used_requests), 40);
});

test('a clock that is a year ahead deletes neither the use of today nor refresh tokens', { skip: process.env.OCTROI_PRESET === 'tsan' }, async () => {
  const sub = await site.subscriber().active({ plan: 2 });
  const { refresh_token: refresh } = await sub.token();
  const journal = site.journal();
  await journal.spend(await journal.lease(sub, 30), 30);
  const old = hex(32);
  postgres.sql(`INSERT INTO subscriptions.refresh_family (family, subscription, created_at) VALUES ('${old}', '${sub.id}', now() - interval '40 days')`);
  const count = (what) => postgres.rows(`SELECT count(*)::int AS n FROM ${what}`)[0].n;
  const env = { LD_PRELOAD: `${dirname(binary('subd'))}/clock_ahead.so`, CLOCK_AHEAD: String(365 * 86400), ASAN_OPTIONS: 'detect_leaks=1:verify_asan_link_order=0' };
  const wrong = await site.subd('subd-ahead', { env });
  assert.ok((await (await fetch(`${wrong.api}/token/challenge`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ address: sub.account.address, service: 'api' }) })).json()).expires_at > now() + 300 * 86400, 'the clock is not ahead');
  // It deletes what is old by any clock, families last.
  await waitUntil('the deletion', () => count(`subscriptions.refresh_family WHERE family = '${old}'`) === 0);
  await wrong.kill(); // with this clock the bus would wait long for its own end
  assert.equal(count(`subscriptions.quota_day WHERE subscription = '${sub.id}' AND used_requests = 30`), 1);
  assert.equal((await post(subd.api, '/token/refresh', { refresh_token: refresh })).status, 200);
});
