// subd against a real PostgreSQL, Redis and NATS: what was bought is activated once, lent without overselling, billed once, ended on time.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';

import { freePort, sleep, waitUntil } from '../support/process.mjs';
import { MONTH, PUBLIC_URL, Subscriptions, farFromMidnight, get, hex, now, post, send } from '../support/subscriptions.mjs';

const site = new Subscriptions('subd', {
  1: { tier: 'small', requests: 100 },
  2: { tier: 'large', requests: 1000 },
  3: { tier: 'bytes', requests: 1000, bytes: 1_000_000 },
  4: { tier: 'open' },
  5: { tier: 'large', requests: 5000 },
});
const { subds, told, heard } = site;
let dir;
let postgres;
let redis;
let nats;
let payd;
let proxy;
let admin;

before(async () => {
  ({ dir, postgres, redis, nats, payd, proxy, adminsvc: admin } = await site.start());
  await Promise.all([site.subd('subd-1'), site.subd('subd-2')]);
});

after(() => site.stop());

test('a confirmed payment activates once, whatever number of hints and instances', async () => {
  const sub = site.subscriber();
  const payment = sub.pay({ plan: 2 });
  for (let i = 0; i < 20; i += 1) payd.publish('octroi.v1.payment.confirmed', { payment_id: payment.id, revision: payment.revision });
  const record = await sub.become('active');
  assert.deepEqual(record, {
    id: sub.id, version: 1, state: 'active', service: 'api', subscriber: sub.account.address, tier: 'large', plan: 2,
    start: sub.start, expiry: sub.start + MONTH, period_start: sub.start, period_end: sub.start + MONTH,
    limits: { rate: 50, burst: 100, requests: 1000, bytes: 0, messages: 0, cost: 0 },
  });
  await waitUntil('payd to be told', () => told.filter((t) => t.payment_id === payment.id).length >= 21);
  assert.ok(told.every((t) => t.payment_id !== payment.id || (t.revision === 3 && t.subscription === sub.id)));
  assert.equal((await sub.record()).version, 1);
  await waitUntil('the change', () => site.changes(sub).length > 0);
  assert.equal(site.changes(sub).length, 1);
  assert.deepEqual(site.changes(sub)[0].record, record);
});

test('a payment that no hint told of is found', async () => {
  const sub = site.subscriber();
  const payment = sub.pay({ hint: false });
  await sub.become('active');
  await waitUntil('payd to be told', () => told.some((t) => t.payment_id === payment.id));
});

test('payd is told again until it answers', async () => {
  const sub = site.subscriber();
  const payment = sub.pay();
  payd.publish('octroi.v1.payment.confirmed', { payment_id: payment.id, revision: 3 });
  await sub.become('active');
  sub.move(payment, 'activated');
  payd.publish('octroi.v1.payment.confirmed', { payment_id: payment.id, revision: 3 });
  await waitUntil('the later revision', () => told.some((t) => t.payment_id === payment.id && t.revision === 4));
  assert.equal((await sub.record()).version, 1);
});

test('hints are not proof: an unknown, unconfirmed or malformed one changes nothing', async () => {
  const before_ = await site.alerts('unknown-payment');
  payd.publish('octroi.v1.payment.confirmed', { payment_id: `0x${hex(32)}`, revision: 1 });
  payd.publish('octroi.v1.payment.confirmed', 'nonsense');
  const sub = site.subscriber();
  const payment = sub.pay({ state: 'confirming' });
  await waitUntil('payd to hear of it', () => told.some((t) => t.payment_id === payment.id));
  await waitUntil('the alert', async () => (await site.alerts('unknown-payment')) === before_ + 1);
  assert.deepEqual(await sub.record(), { id: sub.id, version: 0, state: 'unknown' });
});

test('a payment that is taken back suspends, or falls back to the one before', async () => {
  const sub = site.subscriber();
  const first = sub.pay();
  await sub.become('active');
  const second = sub.pay({ plan: 2, start: sub.start, expires: sub.start + 2 * MONTH });
  await sub.become('active', (r) => r.tier === 'large' && r.version === 2 && r.expiry === sub.start + 2 * MONTH);
  sub.move(second, 'orphaned', 'reversed');
  await sub.become('active', (r) => r.tier === 'small' && r.version === 3 && r.expiry === sub.start + MONTH);
  sub.move(first, 'orphaned', 'reversed');
  await sub.become('suspended', (r) => r.version === 4);
  assert.equal((await site.journal().lease(sub, 1)).reason, 'payment-required');
  sub.move(second, 'confirmed', 'confirmed'); // the later one first
  await sub.become('active', (r) => r.tier === 'large' && r.version === 5);
  sub.move(first, 'confirmed', 'confirmed');
  await waitUntil('payd to be told', () => told.some((t) => t.payment_id === first.id && t.revision === first.revision));
  assert.equal((await sub.record()).version, 5); // nothing to change
});

test('check answers in the order asked, also for what it does not know', async () => {
  const subs = await Promise.all([site.subscriber().active(), site.subscriber().active({ plan: 4 })]);
  const unknown = `sub_${hex(16)}`;
  const { head, subscriptions } = await proxy.request('octroi.v1.sub.check', { subscriptions: [subs[1].id, unknown, subs[0].id, subs[1].id] });
  assert.deepEqual(subscriptions.map(({ id, state }) => [id, state]), [[subs[1].id, 'active'], [unknown, 'unknown'], [subs[0].id, 'active'], [subs[1].id, 'active']]);
  assert.ok(Number.isInteger(head) && head > 0);
  for (const wrong of ['', '{}', '{"subscriptions": ["x"]}', `{"subscriptions": [${Array(257).fill(`"${unknown}"`)}]}`]) {
    assert.equal((await proxy.request('octroi.v1.sub.check', wrong)).error.code, 'bad-request', wrong);
  }
});

test('changes are numbered without a gap, and the heartbeat carries the number', async () => {
  const beat = await new Promise((resolve) => {
    const sid = proxy.subscribe('octroi.v1.sub.heartbeat', ({ text }) => {
      proxy.unsubscribe(sid);
      resolve(JSON.parse(text));
    });
  });
  assert.equal(beat.healthy, true);
  assert.equal(beat.postgres, true);
  assert.equal(beat.redis, true);
  await Promise.all(Array.from({ length: 20 }, () => site.subscriber().active()));
  const heads = () => heard.map(({ head }) => head);
  await waitUntil('all changes', () => heads().at(-1) >= beat.head + 20);
  assert.deepEqual(heads(), Array.from({ length: heads().length }, (_, i) => i + 1));
  const stored = new Set(postgres.rows('SELECT published FROM subscriptions.relay').map((r) => r.published));
  assert.ok(stored.has(heads().at(-1)));
});

test('a single proxy uses a quota to the last request', async () => {
  await farFromMidnight();
  const sub = await site.subscriber().active();
  const journal = site.journal();
  let held = 0;
  for (let want = 7; held < 100; want += 5) {
    const lease = await journal.lease(sub, want);
    assert.ok(lease.requests >= 1 && lease.requests <= want, JSON.stringify(lease));
    assert.equal(lease.bytes, -1);
    assert.equal(lease.period, sub.start);
    assert.equal(lease.day, new Date().toISOString().slice(0, 10));
    assert.ok(lease.ttl_ms > 0 && lease.ttl_ms <= 1_800_000);
    held += lease.requests;
    await journal.report([journal.entry(lease, { requests: lease.requests, closed: true })]);
  }
  assert.equal(held, 100);
  await journal.settled();
  const refused = await journal.lease(sub, 1);
  assert.equal(refused.reason, 'quota-exceeded');
  assert.equal(refused.kind, 'requests');
  assert.ok(Math.abs(refused.retry_after - (sub.start + MONTH - now())) <= 2, JSON.stringify(refused));
  assert.equal(sub.quota().used_requests, 100);
});

test('many proxies at once are never lent more than the quota, and all of it', async () => {
  const sub = await site.subscriber().active({ plan: 2 });
  const journals = Array.from({ length: 16 }, () => site.journal());
  let sum = 0;
  let least = Infinity;
  await Promise.all(journals.map(async (journal) => {
    for (;;) {
      const lease = await journal.lease(sub, 90);
      if (lease.reason) {
        assert.equal(lease.reason, 'quota-exceeded');
        assert.ok(lease.retry_after >= 1 && lease.retry_after <= 5, 'others may still return something');
        return;
      }
      least = Math.min(least, lease.requests);
      sum += lease.requests;
    }
  }));
  assert.equal(sum, 1000);
  assert.equal(least, 1);
  assert.equal(sub.quota().granted_requests, 1000);
});

test('many asks in one message; a repeated one is answered once', async () => {
  const subs = await Promise.all([site.subscriber().active(), site.subscriber().active({ plan: 4 }), site.subscriber().active({ plan: 3 })]);
  const unknown = `sub_${hex(16)}`;
  const journal = site.journal();
  const other = hex(16);
  const answer = await journal.ask([
    { sub: subs[0].id, requests: 10 }, { sub: unknown, requests: 1 }, { sub: subs[1].id }, { sub: subs[0].id, requests: 10 },
    { sub: subs[2].id, requests: 5, bytes: 70_000 },
  ], { others: [other] });
  assert.deepEqual(answer.applied, { [journal.id]: 0, [other]: 0 });
  assert.deepEqual(answer.grants.map(({ sub, requests, bytes }) => [sub, requests, bytes]),
    [[subs[0].id, 10, -1], [subs[1].id, -1, -1], [subs[2].id, 5, 70_000]]);
  assert.equal(new Set(answer.grants.map(({ lease }) => lease)).size, 3);
  assert.deepEqual(answer.refused.map(({ sub, reason }) => [sub, reason]), [[unknown, 'payment-required']]);
});

test('what a closed lease did not use returns; what an open one holds stays', async () => {
  await farFromMidnight();
  const sub = await site.subscriber().active();
  const [a, b] = [site.journal(), site.journal()];
  const first = await a.lease(sub, 100);
  assert.equal(first.requests, 25, 'a quarter of what is left');
  while ((await a.lease(sub, 100)).lease);
  assert.equal((await b.lease(sub, 1)).retry_after, 1);
  await a.report([a.entry(first, { requests: 15, bytes_in: 5, bytes_out: 70 })]);
  await a.settled();
  assert.equal((await b.lease(sub, 1)).reason, 'quota-exceeded');
  await a.report([a.entry(first, { requests: 6 }), a.entry(first, { requests: -1, closed: true })]);
  await a.settled();
  assert.equal(sub.quota().granted_requests, 95);
  assert.equal((await b.lease(sub, 100)).requests, 1, 'little is left, and another holds leases');
  const day = postgres.rows(`SELECT * FROM subscriptions.usage_v1 WHERE subscription = '${sub.id}'`);
  assert.deepEqual(day, [{ subscription: sub.id, period: sub.start, day: first.day, requests: 20, bytes_in: 5, bytes_out: 70, messages: 0, events: 0, cost: 0 }]);
});

test('batches are applied in order, each once, in whatever order and number they come', async () => {
  const sub = await site.subscriber().active({ plan: 2 });
  const journal = site.journal();
  const lease = await journal.lease(sub, 500);
  const texts = Array.from({ length: 200 }, () => journal.batch([journal.entry(lease, { requests: 1 })]));
  await Promise.all([...texts].reverse().map((text) => journal.send(text)));
  await Promise.all(texts.map((text) => journal.send(text)));
  await journal.settled(200);
  await waitUntil('the queue to be empty', async () => {
    const rows = postgres.rows(`SELECT used_requests FROM subscriptions.lease WHERE id = ${lease.lease}`);
    assert.equal(rows[0].used_requests, 200);
    return (await site.stream('OCTROI_USAGE')).state.messages === 0;
  });
  assert.equal(sub.quota().used_requests, 200);
  assert.equal(sub.quota().granted_requests, 250);
  assert.deepEqual(postgres.rows('SELECT * FROM subscriptions.early_batch'), []);
});

test('a repeated number with other content is an alert and kept aside', async () => {
  const sub = await site.subscriber().active();
  const journal = site.journal();
  const lease = await journal.lease(sub, 10);
  await journal.report([journal.entry(lease, { requests: 1 })]);
  await journal.settled();
  const before_ = await site.alerts('differing-batch');
  const text = journal.batch([journal.entry(lease, { requests: 2 })], { seq: 1 });
  await journal.send(text);
  await waitUntil('the alert', async () => (await site.alerts('differing-batch')) === before_ + 1);
  await waitUntil('the batch aside', () => postgres.rows(`SELECT convert_from(payload, 'UTF8') AS p FROM subscriptions.parked_batch WHERE subject LIKE '%${journal.id}'`)[0]?.p === text);
  assert.equal(sub.quota().used_requests, 1);
});

test('malformed batches are kept aside and hold up nobody', async () => {
  const sub = await site.subscriber().active();
  const journal = site.journal();
  const lease = await journal.lease(sub, 10);
  const wrong = [
    'nonsense', '{}', '[]', journal.batch([journal.entry(lease, { day: '2026-02-31' })], { seq: 1 }),
    journal.batch([journal.entry(lease, { requests: 1.5 })], { seq: 1 }), journal.batch([journal.entry(lease, { more: 1 })], { seq: 1 }),
    journal.batch([journal.entry(lease)], { seq: 0 }), site.journal().batch([journal.entry(lease)]),
  ];
  const before_ = await site.alerts('malformed-batch');
  for (const text of wrong) await journal.send(text);
  await waitUntil('the alerts', async () => (await site.alerts('malformed-batch')) === before_ + wrong.length);
  await journal.report([journal.entry(lease, { requests: 3 })], { seq: 1 });
  await journal.settled(1);
  assert.equal(sub.quota().used_requests, 3);
  assert.equal(postgres.rows(`SELECT count(*) AS n FROM subscriptions.parked_batch WHERE subject LIKE '%${journal.id}'`)[0].n, wrong.length);
});

test('usage on a lease that nobody knows is billed all the same, with an alert', async () => {
  const sub = await site.subscriber().active();
  const journal = site.journal();
  const lease = await journal.lease(sub, 10);
  const before_ = await site.alerts('unknown-lease');
  await journal.report([journal.entry(lease, { requests: 2 }), journal.entry({ ...lease, lease: 999_999_999 }, { requests: 5 })]);
  await journal.settled();
  assert.equal(await site.alerts('unknown-lease'), before_ + 1);
  assert.equal(sub.quota().used_requests, 7);
  assert.equal(sub.quota().granted_requests, 15);
  assert.equal(postgres.rows(`SELECT sum(requests)::int AS n FROM subscriptions.usage_v1 WHERE subscription = '${sub.id}'`)[0].n, 7);
});

test('what was spent beyond a lease is billed and counts against the quota', async () => {
  const sub = await site.subscriber().active({ plan: 3 });
  const journal = site.journal();
  const lease = await journal.lease(sub, 1, { bytes: 70_000 });
  assert.equal(lease.bytes, 70_000);
  await journal.report([journal.entry(lease, { requests: 1, bytes_in: 10_000, bytes_out: 90_000, closed: true })]);
  await journal.settled();
  assert.equal(sub.quota().used_bytes, 100_000);
  assert.equal(sub.quota().granted_bytes, 100_000);
});

test('usage of many journals at the same time is exact', async () => {
  const subs = await Promise.all(Array.from({ length: 4 }, () => site.subscriber().active({ plan: 2 })));
  const journals = Array.from({ length: 8 }, () => site.journal());
  const spent = new Map(subs.map((sub) => [sub.id, 0]));
  await Promise.all(journals.map(async (journal) => {
    for (let round = 0; round < 10; round += 1) {
      const { grants } = await journal.ask(subs.map((sub) => ({ sub: sub.id, requests: 20 })));
      const entries = grants.map((lease) => {
        const requests = Math.floor(Math.random() * (lease.requests + 1));
        spent.set(lease.sub, spent.get(lease.sub) + requests);
        return journal.entry(lease, { requests, closed: true });
      });
      await journal.report(entries);
    }
    await journal.settled();
  }));
  for (const sub of subs) {
    assert.equal(sub.quota().used_requests, spent.get(sub.id));
    assert.equal(sub.quota().granted_requests, spent.get(sub.id));
  }
});

test('an upgrade takes along what was used, a renewal resets nothing', async () => {
  const sub = await site.subscriber().active();
  const journal = site.journal();
  const used = await journal.lease(sub, 20);
  const open = await journal.lease(sub, 20);
  await journal.report([journal.entry(used, { requests: 20, closed: true }), journal.entry(open, { requests: 5 })]);
  await journal.settled();
  sub.pay({ expires: sub.start + 2 * MONTH });
  await sub.become('active', (r) => r.version === 2 && r.expiry === sub.start + 2 * MONTH);
  assert.equal(sub.quota().used_requests, 25);
  sub.pay({ plan: 2, start: sub.start + 5 });
  const record = await sub.become('active', (r) => r.version === 3 && r.tier === 'large');
  assert.equal(record.period_start, sub.start);
  assert.equal(sub.quota().used_requests, 25);
  assert.equal(sub.quota().granted_requests, 40);
  await journal.report([journal.entry(open, { requests: 5, closed: true })]); // a lease of before, spent on the new quota
  await journal.settled();
  assert.equal(sub.quota().used_requests, 30);
  assert.equal(sub.quota().granted_requests, 30);
  assert.equal((await journal.lease(sub, 5000)).requests, 242);
});

test('a subscription ends on time, asked or not, and a new payment brings it back', async () => {
  const sub = site.subscriber();
  const end = now() + 3;
  sub.pay({ expires: end });
  await sub.become('active');
  const lease = await site.journal().lease(sub, 1);
  assert.ok(lease.ttl_ms <= 3000);
  const change = await waitUntil('the change', () => site.changes(sub).find(({ record }) => record.state === 'expired'));
  assert.ok(change.at >= end * 1000, 'not before its time');
  assert.equal(change.record.version, 2);
  assert.equal((await site.journal().lease(sub, 1)).reason, 'payment-required');
  sub.pay({ start: now() });
  await sub.become('active', (r) => r.version === 3);
  assert.equal(sub.quota(), undefined);
});

test('what a wrong clock has ended before its time comes back', async () => {
  const sub = await site.subscriber().active();
  const before_ = await site.alerts('ended-early');
  postgres.sql(`UPDATE subscriptions.subscription SET state = 'expired', version = version + 1 WHERE id = '${sub.id}'`);
  const record = await sub.become('active', (r) => r.version === 3);
  assert.equal(record.expiry, sub.start + MONTH);
  await waitUntil('the change', () => site.changes(sub).find((change) => change.record.version === 3 && change.record.state === 'active'));
  assert.equal(await site.alerts('ended-early'), before_ + 1);
  assert.ok((await site.journal().lease(sub, 1)).requests === 1);
});

test('a payment whose time is over makes an expired subscription', async () => {
  const sub = site.subscriber();
  sub.pay({ start: now() - 100, expires: now() - 50 });
  await sub.become('expired');
});

test('revoked without being asked about, for good, with reason and actor', async () => {
  const sub = await site.subscriber().active();
  const ask = { subscription: sub.id, reason: 'fraud', actor: 'key_1' };
  const first = await admin.request('octroi.v1.admin.subd.revoke', ask);
  assert.equal(first.record.state, 'revoked');
  assert.equal(first.record.version, 2);
  await waitUntil('the change', () => site.changes(sub).find(({ record }) => record.state === 'revoked'));
  assert.deepEqual(await admin.request('octroi.v1.admin.subd.revoke', { ...ask, reason: 'again', actor: 'key_2' }), first);
  assert.deepEqual(postgres.rows(`SELECT revoked_reason, revoked_by FROM subscriptions.subscription WHERE id = '${sub.id}'`), [{ revoked_reason: 'fraud', revoked_by: 'key_1' }]);
  const owed = await site.alerts('paid-while-revoked');
  const payment = sub.pay({ plan: 2 });
  await waitUntil('payd to be told', () => told.some((t) => t.payment_id === payment.id));
  assert.equal((await sub.record()).state, 'revoked');
  assert.equal(await site.alerts('paid-while-revoked'), owed + 1);
  assert.equal((await site.journal().lease(sub, 1)).reason, 'payment-required');
  assert.equal((await admin.request('octroi.v1.admin.subd.revoke', { ...ask, subscription: `sub_${hex(16)}` })).error.code, 'not-found');
  assert.equal((await admin.request('octroi.v1.admin.subd.revoke', { subscription: sub.id })).error.code, 'bad-request');
});

test('a wallet signs in and gets a token that another library accepts', async () => {
  const sub = await site.subscriber().active();
  const grant = await sub.token();
  assert.equal(grant.token_type, 'Bearer');
  assert.equal(grant.expires_in, 300);
  assert.equal(grant.subscription, sub.id);
  const jwks = await get(subds[1].api, '/.well-known/jwks.json');
  assert.equal(jwks.status, 200);
  assert.deepEqual(await proxy.request('octroi.v1.sub.keys'), jwks.body);
  const { payload, protectedHeader } = await jwtVerify(grant.access_token, createLocalJWKSet(jwks.body), { issuer: PUBLIC_URL, audience: 'api', typ: 'at+jwt', algorithms: ['ES256'] });
  assert.deepEqual(Object.keys(protectedHeader).sort(), ['alg', 'kid', 'typ']);
  assert.equal(payload.sub, sub.id);
  assert.equal(payload.tier, 'small');
  assert.equal(payload.exp - payload.iat, 300);
  assert.equal(payload.lim.requests, 100);
  assert.ok(payload.jti && payload.fam);
  assert.ok(grant.access_token.length < 2048);
});

test('a challenge works once, for its wallet, and only as it was written', async () => {
  const sub = await site.subscriber().active();
  const api = subds[0].api;
  const spent = await sub.signIn();
  assert.equal((await post(api, '/token', spent)).status, 200);
  const again = await post(subds[1].api, '/token', spent);
  assert.equal(again.status, 401);
  assert.match(again.body.detail, /nonce/);
  assert.equal(again.headers.get('content-type'), 'application/problem+json');

  const refused = async (status, options, detail) => {
    const answer = await post(api, '/token', await sub.signIn(api, options));
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    assert.match(answer.body.detail, detail);
  };
  await refused(401, { sign: privateKeyToAccount(generatePrivateKey()) }, /signature/);
  await refused(401, { change: (m) => m.replace('octroi.test:8080 wants', 'evil.test wants') }, /domain/);
  await refused(401, { change: (m) => m.replace('URI: http://octroi.test:8080', 'URI: http://evil.test') }, /URI/);
  await refused(401, { change: (m) => m.replace('Chain ID: 4441', 'Chain ID: 1') }, /chain/);
  await refused(401, { change: (m) => m.replace(/Nonce: \w+/, `Nonce: ${hex(16)}`) }, /nonce/);
  await refused(401, { change: (m) => m.replace('service:api', 'service:other') }, /nonce/);
  await refused(401, { change: (m) => m.replace(/Expiration Time: \S+/, 'Expiration Time: 2020-01-01T00:00:00Z') }, /expired/);
  await refused(400, { change: (m) => m.replace('Version: 1', 'Version: 2') }, /version/);
  await refused(400, { change: (m) => `${m}\n` }, /message/);

  // Another's signature does not spend the nonce.
  const mine = await sub.signIn();
  const forged = { message: mine.message, signature: `0x${'11'.repeat(65)}` };
  assert.equal((await post(api, '/token', forged)).status, 401);
  assert.equal((await post(api, '/token', mine)).status, 200);

  // The 64-byte form.
  const full = await sub.signIn();
  const s = BigInt(`0x${full.signature.slice(66, 130)}`) | (full.signature.endsWith('1c') ? 1n << 255n : 0n);
  const compact = `${full.signature.slice(0, 66)}${s.toString(16).padStart(64, '0')}`;
  assert.equal((await post(api, '/token', { message: full.message, signature: compact })).status, 200);
});

test('no subscription, an expired or a revoked one: 402', async () => {
  const none = site.subscriber();
  const answer = await post(subds[0].api, '/token', await none.signIn());
  assert.equal(answer.status, 402);
  assert.match(answer.body.type, /payment-required/);
  const sub = await site.subscriber().active();
  await admin.request('octroi.v1.admin.subd.revoke', { subscription: sub.id, reason: 'r', actor: 'key_1' });
  const revoked = await post(subds[0].api, '/token', await sub.signIn());
  assert.equal(revoked.status, 402);
  assert.match(revoked.body.detail, /revoked/);
});

test('a subscriber sees their own subscription and usage, and nobody else their', async () => {
  await farFromMidnight();
  const sub = await site.subscriber().active();
  const other = await site.subscriber().active();
  const { access_token: token } = await sub.token();
  const { access_token: strange } = await other.token();
  const journal = site.journal();
  const lease = await journal.lease(sub, 10);
  await journal.report([journal.entry(lease, { requests: 4, bytes_in: 1, bytes_out: 2 })]);
  await journal.settled();
  const api = subds[1].api;
  const shown = await get(api, `/subscription/${sub.id}`, token);
  assert.equal(shown.status, 200);
  assert.deepEqual(shown.body, await sub.record());
  assert.equal(shown.headers.get('cache-control'), 'no-store');
  const usage = await get(api, `/usage/${sub.id}`, token);
  assert.deepEqual(usage.body, {
    subscription: sub.id, state: 'active', period: { start: sub.start, end: sub.start + MONTH },
    day: lease.day, limits: { requests: 100, bytes: null, messages: null, cost: null, requests_per_day: null },
    used: { requests: 4, bytes: 3, messages: 0, cost: 0, requests_per_day: 4 }, left: { requests: 96, bytes: null, messages: null, cost: null, requests_per_day: null },
    days: [{ day: lease.day, requests: 4, bytes_in: 1, bytes_out: 2, messages: 0, events: 0, cost: 0 }],
  });
  assert.equal((await get(api, `/usage/${sub.id}`, strange)).status, 404);
  assert.equal((await get(api, `/subscription/${sub.id}`, strange)).status, 404);
  for (const wrong of [undefined, 'x', `${token}x`, token.replace(/\.[^.]+$/, '.AAAA')]) {
    const answer = await get(api, `/usage/${sub.id}`, wrong);
    assert.equal(answer.status, 401);
    assert.match(answer.headers.get('www-authenticate'), /^Bearer/);
  }
});

test('refresh tokens: each is spent once, a repeat gets the same, a theft ends the family', async () => {
  const sub = await site.subscriber().active();
  const { refresh_token: first } = await sub.token();
  const refresh = (token, api = subds[0].api) => post(api, '/token/refresh', { refresh_token: token });
  const second = await refresh(first);
  assert.equal(second.status, 200, JSON.stringify(second.body));
  assert.equal(second.body.subscription, sub.id);
  const repeats = await Promise.all([refresh(first), refresh(first, subds[1].api), refresh(first)]);
  for (const repeat of repeats) assert.equal(repeat.body.refresh_token, second.body.refresh_token);
  const third = await refresh(second.body.refresh_token);
  assert.equal(third.status, 200);
  assert.equal((await refresh(first)).status, 401); // its successor is used: somebody has a copy
  assert.equal((await refresh(third.body.refresh_token)).status, 401);
  assert.equal((await refresh('x'.repeat(43))).status, 401);
  const { refresh_token: kept } = await sub.token();
  await admin.request('octroi.v1.admin.subd.revoke', { subscription: sub.id, reason: 'r', actor: 'key_1' });
  assert.equal((await refresh(kept)).status, 402);
  assert.ok(!postgres.psql(['-At', '-c', 'SELECT * FROM subscriptions.refresh_token'], 'octroi').includes(first));
});

test('bad requests are refused with the field and the rule', async () => {
  const api = subds[0].api;
  const { address } = site.subscriber().account;
  const rows = [
    ['/token/challenge', {}, /address/],
    ['/token/challenge', { address: 'x', service: 'api' }, /address/],
    ['/token/challenge', { address: address.slice(0, -1), service: 'api' }, /address/],
    ['/token/challenge', { address, service: 'a b' }, /service/],
    ['/token/challenge', { address, service: 'a'.repeat(64) }, /service/],
    ['/token/challenge', { address, service: 'api', more: 1 }, /more/],
    ['/token/challenge', { address: 5, service: 'api' }, /address/],
    ['/token', { message: 'x' }, /signature/],
    ['/token', { message: 'x', signature: '0x00' }, /message/],
    ['/token', { message: 7, signature: '0x00' }, /message/],
    ['/token', { message: 'x'.repeat(5000), signature: '0x00' }, /message/],
    ['/token/refresh', { refresh_token: 'x'.repeat(44) }, /refresh_token/],
    ['/token/refresh', {}, /refresh_token/],
  ];
  for (const [path, body, detail] of rows) {
    const answer = await post(api, path, body);
    assert.equal(answer.status, 400, `${path} ${JSON.stringify(body)}: ${JSON.stringify(answer.body)}`);
    assert.match(answer.body.detail, detail);
  }
  assert.equal((await send('POST', `${api}/token`, { body: 'nonsense' })).status, 400);
  assert.equal((await send('POST', `${api}/token`, { body: 'x'.repeat(20_000) })).status, 413);
  assert.equal((await send('GET', `${api}/token`)).status, 405);
  assert.equal((await send('GET', `${api}/nothing`)).status, 404);
});

test('kill -9 of an instance: the other goes on, and nothing is lost or done twice', async () => {
  const victim = subds[1];
  const sub = await site.subscriber().active({ plan: 5 });
  const journal = site.journal();
  let billed = 0;
  const lease = await journal.lease(sub, 5000);
  const work = (async () => {
    for (let i = 0; i < 150; i += 1) {
      billed += 3;
      await journal.report([journal.entry(lease, { requests: 3 })]);
    }
  })();
  const others = Array.from({ length: 10 }, () => site.subscriber());
  others.forEach((one) => one.pay());
  await sleep(50);
  await victim.kill();
  await work;
  await Promise.all(others.map((one) => one.become('active', (r) => r.version === 1)));
  await journal.settled(150);
  assert.equal(sub.quota().used_requests, billed);
  victim.spawn();
  await victim.ready();
  const heads = heard.map(({ head }) => head);
  assert.deepEqual([...new Set(heads)], Array.from({ length: heads.at(-1) }, (_, i) => i + 1));
});

test('Redis away: Sign-In says so, everything else goes on; it comes back by itself', async () => {
  const sub = await site.subscriber().active();
  await redis.stop();
  const refused = await post(subds[0].api, '/token/challenge', { address: sub.account.address, service: 'api' });
  assert.equal(refused.status, 503);
  assert.ok(Number((await site.journal().lease(sub, 1)).requests) === 1);
  await redis.start();
  await waitUntil('challenges again', async () => (await post(subds[0].api, '/token/challenge', { address: sub.account.address, service: 'api' })).status === 200);
  await sub.token();
});

test('a grant that was lost goes back, one that was heard of does not, and a final journal holds nothing', async () => {
  const sub = await site.subscriber().active();
  const journal = site.journal();
  const granted = () => Number(postgres.rows(`SELECT sum(granted_requests) AS n FROM subscriptions.quota WHERE subscription = '${sub.id}'`)[0].n);
  const lease = await journal.lease(sub, 10);
  await journal.lease(sub, 20);
  assert.equal(granted(), 30);
  journal.last = lease.lease;
  await journal.ask([]);
  assert.equal(granted(), 10);
  // Overtaken by the request above: it must neither grant nor take back what came after it.
  const late = { journals: [journal.id], round: journal.round - 1, last: 0, ask: [{ sub: sub.id, requests: 5, bytes: 0, messages: 0, cost: 0 }] };
  assert.equal((await proxy.request('octroi.v1.sub.lease', late)).error.code, 'unavailable');
  assert.equal(granted(), 10);
  await journal.report([journal.entry(lease, { requests: 4 })]);
  await journal.settled();
  assert.equal(granted(), 10);
  await journal.report([], { final: true });
  await journal.settled();
  assert.equal(granted(), 4);
  const after = { ...late, round: ++journal.round, last: journal.last };
  assert.equal((await proxy.request('octroi.v1.sub.lease', after)).error.code, 'unavailable');
  assert.equal(granted(), 4);
});

test('PostgreSQL away: refused as unavailable and not ready; it comes back by itself', async () => {
  const sub = await site.subscriber().active();
  const journal = site.journal();
  const lease = await journal.lease(sub, 10);
  await postgres.stop();
  await journal.send(journal.batch([journal.entry(lease, { requests: 6 })]));
  const answer = await proxy.request('octroi.v1.sub.lease', { journals: [journal.id], round: ++journal.round, last: journal.last, ask: [] }, 10_000);
  assert.equal(answer.error.code, 'unavailable');
  await waitUntil('not ready', async () => (await fetch(`${subds[0].ops}/readyz`)).status === 503);
  const beat = await new Promise((resolve) => {
    const sid = proxy.subscribe('octroi.v1.sub.heartbeat', ({ text }) => {
      proxy.unsubscribe(sid);
      resolve(JSON.parse(text));
    });
  });
  assert.equal(beat.healthy, false);
  await postgres.start();
  await Promise.all(subds.map((one) => one.ready()));
  await waitUntil('the batch', () => sub.quota().used_requests === 6);
  await site.subscriber().active();
});

test('NATS away: it comes back by itself, and streams that were lost are made again', async () => {
  const sub = site.subscriber();
  await nats.stop();
  await waitUntil('not ready', async () => (await fetch(`${subds[0].ops}/readyz`)).status === 503);
  const payment = sub.pay({ hint: false });
  rmSync(join(dir, 'nats', 'jetstream'), { recursive: true });
  await nats.start();
  await site.reconnect();
  await Promise.all(subds.map((one) => one.ready()));
  await sub.become('active');
  await waitUntil('payd to be told', () => told.some((t) => t.payment_id === payment.id));
  await waitUntil('the streams', async () => !(await site.stream('OCTROI_USAGE')).error);
  const journal = site.journal();
  const lease = await journal.lease(sub, 5);
  await journal.report([journal.entry(lease, { requests: 5 })]);
  await journal.settled();
  const hinted = await site.subscriber().active();
  await waitUntil('the change', () => site.changes(hinted).length === 1);
});

test('nothing is there at the start: it waits, and says so', async () => {
  const port = await freePort();
  const late = await site.subd('subd-late', { ready: false, env: { OCTROI_POSTGRES: `postgresql://octroi_subd:x@127.0.0.1:${port}/octroi`, OCTROI_NATS_URL: `nats://127.0.0.1:${port}`, OCTROI_REDIS_URL: `redis://127.0.0.1:${port}` } });
  await late.alive();
  await waitUntil('what it waits for', async () => {
    const ready = await fetch(`${late.ops}/readyz`);
    assert.equal(ready.status, 503);
    return /postgres.*nats/.test(await ready.text());
  });
  const ask = { address: privateKeyToAccount(generatePrivateKey()).address, service: 'api' };
  await waitUntil('the API', async () => (await post(late.api, '/token/challenge', ask)).status === 503);
  assert.ok(!late.process.log().includes('octroi_subd:x'));
  await late.stop();
  subds.splice(subds.indexOf(late), 1);
});
