// Events of payd on the bus: every one at least once, each time under the same id, those of one payment in order, whoever dies and whatever is
// away; and never in the way of money.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';

import { Payments } from '../support/payments.mjs';
import { waitUntil } from '../support/process.mjs';

const stand = new Payments();

before(() => stand.start());
afterEach(() => stand.stopPayds());
after(() => stand.stop());

const all = async () => {
  try {
    return await stand.tester.messages('OCTROI_EVENTS');
  } catch (error) {
    if (/not found/.test(error.message)) return [];
    throw error;
  }
};
const eventsOf = async (quote) => (await all()).filter(({ body }) => body.subject === quote.id);
const waiting = (where = 'true') => Number(stand.postgres.rows(`select count(*) from payments.event_outbox where ${where}`)[0].count);

// The first time that each event was seen, in the stream's order.
function firsts(messages) {
  const seen = new Map();
  for (const { body } of messages) {
    if (!seen.has(body.id)) seen.set(body.id, body);
    else assert.deepEqual(body, seen.get(body.id), 'what is sent again is the same event');
  }
  return [...seen.values()];
}

const told = (quote, what) => waitUntil(`${quote.service}: ${what}`, async () => {
  const found = firsts(await eventsOf(quote)).map(({ data }) => data.state).join(' ');
  return found === what;
});

test('the life of a payment as CloudEvents', async () => {
  const payd = await stand.payd('life');
  const quote = await stand.bought('life');
  await stand.inState(payd, quote, 'seen');
  const done = await stand.activated(payd, quote);
  await told(quote, 'seen confirmed activated');
  const messages = await eventsOf(quote);
  assert.deepEqual(messages.map(({ subject }) => subject), ['seen', 'confirmed', 'activated'].map((what) => `octroi.v1.events.payment.${what}`));
  for (const { body, headers } of messages) {
    const { id, time, data, ...rest } = body;
    assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.equal(headers['nats-msg-id'], id);
    assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
    assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000);
    assert.deepEqual(rest, {
      specversion: '1.0', source: `/payd/4441/${stand.deployment.contract.toLowerCase()}`, type: `octroi.payment.${data.state}`, subject: quote.id, datacontenttype: 'application/json',
    });
  }
  assert.deepEqual(messages[2].body.data, {
    payment_id: quote.id, revision: done.revision, state: 'activated', from: 'confirmed', reason: null, subscriber: stand.payer.address.toLowerCase(), service_id: quote.serviceId,
    subscription: quote.subscription, token: stand.deployment.token.toLowerCase(), amount: '1000000', plan: 1, seq: 1, start: stand.clock, expiry: stand.clock + 86_400,
    tx_hash: quote.receipt.transactionHash, block_number: Number(quote.receipt.blockNumber), block_hash: quote.receipt.blockHash, refund_tx: null, refund_amount: null,
  });
  assert.equal(messages[0].body.data.from, null);
  await waitUntil('the outbox to be empty', () => waiting() === 0);
  assert.ok((await payd.metric('octroi_payd_events_total', 'result="published"')) >= 3);
});

test('failures are events: what is taken back, and what we would not have sold', async () => {
  const payd = await stand.payd('failures');
  const lost = await stand.bought('lost');
  await stand.inState(payd, lost, 'seen');
  await stand.chain.rpc('anvil_reorg', [1, []]);
  await told(lost, 'seen orphaned');
  await stand.pay(lost);
  await stand.activated(payd, lost);
  await told(lost, 'seen orphaned seen confirmed activated');
  const revisions = firsts(await eventsOf(lost)).map(({ data }) => data.revision);
  assert.deepEqual(revisions, [...revisions].sort((a, b) => a - b));

  await stand.stopPayds();
  const strict = await stand.payd('strict', { settings: { tokens: `[{ address: "0x${'12'.repeat(20)}", index: 9 }]` } });
  const unsold = await stand.bought('unsold');
  await stand.inState(strict, unsold, 'rejected');
  await told(unsold, 'seen rejected');
  assert.equal(firsts(await eventsOf(unsold))[1].data.reason, 'unknown-token');
});

test('adminsvc may read the stream, and nobody else may touch it', async () => {
  const payd = await stand.payd('readers');
  const quote = await stand.bought('readers');
  await told(quote, 'seen');
  const made = await stand.adminsvc.request('$JS.API.CONSUMER.DURABLE.CREATE.OCTROI_EVENTS.adminsvc', {
    stream_name: 'OCTROI_EVENTS', config: { durable_name: 'adminsvc', deliver_policy: 'all', ack_policy: 'explicit' },
  });
  assert.equal(made.error, undefined);
  await assert.rejects(stand.subd.request('$JS.API.STREAM.INFO.OCTROI_EVENTS', '', 500), /no answer/);
  await assert.rejects(stand.adminsvc.request('$JS.API.STREAM.DELETE.OCTROI_EVENTS', '', 500), /no answer/);
  const { config } = await stand.tester.request('$JS.API.STREAM.INFO.OCTROI_EVENTS', '');
  assert.deepEqual([config.subjects, config.storage, config.discard, config.max_age], [['octroi.v1.events.>'], 'file', 'old', 7 * 86_400 * 1e9]);
  assert.equal((await payd.metric('octroi_payd_leader')), 1);
});

test('the bus away: payments go on, and afterwards every event comes, in order', async () => {
  const payd = await stand.payd('away');
  const warm = await stand.bought('warm');
  await told(warm, 'seen');
  stand.disconnect();
  await stand.nats.stop();
  const quotes = [];
  for (let i = 0; i < 4; i++) quotes.push(await stand.bought(`away${i}`));
  await stand.chain.mine(1);
  for (const quote of quotes) await stand.inState(payd, quote, 'confirmed');
  assert.ok(waiting() >= 8);
  await waitUntil('the gauge to show it', async () => (await payd.metric('octroi_payd_event_outbox_rows')) >= 8);
  // Nobody is to blame while the server is away.
  assert.equal(waiting('attempts > 1'), 0);
  await stand.nats.start();
  await stand.connect();
  for (const quote of quotes) await told(quote, 'seen confirmed');
  await waitUntil('the outbox to be empty', () => waiting() === 0);
});

test('killed at any moment: nothing is lost, what comes twice is the same, order holds', async () => {
  const quotes = [];
  let payd = await stand.payd('kill0');
  for (let round = 1; round <= 5; round++) {
    for (let i = 0; i < 3; i++) quotes.push(await stand.bought(`kill-${round}-${i}`));
    await stand.chain.mine(1);
    // Somewhere between reading the chain and deleting from the outbox, each time elsewhere.
    if (round % 2) await waitUntil('a row', () => waiting() > 0 || stand.postgres.rows(`select 1 from payments.payment where id = '${quotes.at(-1).id}'`).length > 0);
    else await waitUntil('the first of them in the stream', async () => (await eventsOf(quotes.at(-3))).length > 0);
    await payd.kill();
    payd = await stand.payd(`kill${round}`);
  }
  for (const quote of quotes) await stand.inState(payd, quote, 'confirmed');
  for (const quote of quotes) await told(quote, 'seen confirmed');
  await waitUntil('the outbox to be empty', () => waiting() === 0);
});

test('an event that was sent and not yet deleted goes out again under its id', async () => {
  const payd = await stand.payd('again');
  const quote = await stand.bought('again');
  await told(quote, 'seen');
  const [{ body: first }] = await eventsOf(quote);
  await waitUntil('the outbox to be empty', () => waiting() === 0);
  // As after a crash between the two; the stream is made anew, so that the server does not drop it as one that it knows.
  await stand.tester.request('$JS.API.STREAM.DELETE.OCTROI_EVENTS', '');
  stand.postgres.sql(`insert into payments.event_outbox (event, follower, type, subject, data, at) select '${first.id}', id, 'payment.seen', '${quote.id}', '${JSON.stringify(first.data)}', '${first.time}' from payments.follower`);
  await told(quote, 'seen');
  const [{ body: second }] = await eventsOf(quote);
  assert.deepEqual(second, first);
  assert.equal(payd.process.exit, null);
});

test('what the stream does not take holds up only what is about the same thing', async () => {
  await stand.payd('refused');
  const warm = await stand.bought('refused-warm');
  await told(warm, 'seen');
  // payd may not publish this kind: the server drops it and the acknowledgement never comes.
  stand.postgres.sql("insert into payments.event_outbox (follower, type, subject, data) select id, 'nobody.asked', 'stuck', '{}' from payments.follower");
  stand.postgres.sql("insert into payments.event_outbox (follower, type, subject, data) select id, 'chain.recovered', 'stuck', '{}' from payments.follower");
  const quote = await stand.bought('refused');
  await told(quote, 'seen');
  assert.equal(waiting("subject = 'stuck'"), 2);
  stand.postgres.sql("delete from payments.event_outbox where type = 'nobody.asked'");
  await waitUntil('what waited behind it', () => waiting() === 0);
});

test('what nobody takes is dropped at the bound, with an alert', async () => {
  await stand.payd('bound-first');
  await stand.stopPayds();
  stand.postgres.sql(`insert into payments.event_outbox (follower, type, subject, data, at, attempts, next_at)
    select f.id, 'nobody.asked', 's' || n, '{}', now() - case when n <= 5 then interval '8 days' else interval '0' end, 1, now() + interval '1 hour' from payments.follower f, generate_series(1, 40) n`);
  const payd = await stand.payd('bound', { more: 'events: { keep: 168h, max_rows: 10 }' });
  await waitUntil('the bound', () => waiting() <= 10);
  assert.deepEqual(stand.postgres.rows("select subject from payments.event_outbox where type = 'nobody.asked' order by id limit 1"), [{ subject: 's31' }]);
  await waitUntil('the alert', () => payd.logContains(/events that nobody took were dropped/));
  assert.equal(await payd.metric('octroi_payd_events_total', 'result="dropped"'), 30);
  stand.postgres.sql("delete from payments.event_outbox where type = 'nobody.asked'");
});
