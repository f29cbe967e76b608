// The admin API's payments: what is read out of payd's views, what is asked of payd (played by the test), who may, and that all of it is recorded.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Bus } from '../support/bus.mjs';
import { freePort, removeDirectory, temporaryDirectory } from '../support/process.mjs';
import { Nats, Postgres } from '../support/servers.mjs';
import { Service } from '../support/service.mjs';

const ownerKey = `octroi_${randomBytes(32).toString('hex')}`;
const WALLET = '0x5FbDB2315678afecb367f032d93F642f64180aa3';
const id = (n) => `0x${n.toString(16).padStart(64, '0')}`;

let dir;
let postgres;
let nats;
let payd;
let admin;
let keys;
const asked = [];

async function call(method, path, { key = keys?.operator ?? ownerKey, body, headers = {} } = {}) {
  const response = await fetch(`${admin.url}/admin/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, ...(body ? { 'content-type': 'application/json' } : {}), ...headers },
    body: body && JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}

// payd's views, as its migrations make them, over tables of the test's.
function playViews() {
  postgres.sql(`
    create table payments.payment_v1 (payment_id text, revision bigint, state text, chain_id bigint, contract text, subscriber text, service_id text, token text,
      terms text, amount numeric, plan int, seq int, start_at bigint, expires_at bigint, paid numeric, tx_hash text, block_number bigint, log_index int,
      seen_at timestamptz, confirmed_at timestamptz, subscription text, reason text, activated_at timestamptz, refund_tx text, refund_block bigint,
      refund_amount numeric, refunded_at timestamptz);
    insert into payments.payment_v1 select '0x' || lpad(to_hex(n), 64, '0'), 3, case when n % 5 = 0 then 'refunded' else 'activated' end, 4441, '0xc0', case when n <= 3
      then '${WALLET.toLowerCase()}' else '0x' || lpad(to_hex(n), 40, '0') end, '0x5e', '0x70', '0x00', 18446744073709551615, 1, n, 0, 9, 7, '0x77', 100 + n / 3, n % 3,
      '2026-11-01T10:00:00Z', '2026-11-01T10:01:00Z', 'sub_1', null, null, case when n % 5 = 0 then '0x88' end, case when n % 5 = 0 then 900 end,
      case when n % 5 = 0 then 6 end, case when n % 5 = 0 then '2026-11-02T10:00:00Z'::timestamptz end from generate_series(1, 60) n;
    create table payments.transfer_v1 (transfer_id text, revision bigint, state text, chain_id bigint, contract text, token text, sender text, amount numeric,
      tx_hash text, ordinal int, block_number bigint, log_index int, seen_at timestamptz, confirmed_at timestamptz, refund_tx text, refund_block bigint,
      refund_to text, refund_amount numeric, refunded_at timestamptz, same_as text, sender_payments bigint);
    insert into payments.transfer_v1 values ('${id(1)}', 2, 'confirmed', 4441, '0xc0', '0x70', '${WALLET.toLowerCase()}', 5, '0x77', 0, 9, 1, now(), now(),
      null, null, null, null, null, '${id(9)}', 2);
    grant usage on schema payments to octroi_adminsvc;
    grant select on payments.payment_v1, payments.transfer_v1 to octroi_adminsvc;`);
}

before(async () => {
  dir = temporaryDirectory('admin-payments');
  writeFileSync(join(dir, 'admin.key'), `${ownerKey}\n`, { mode: 0o600 });
  postgres = new Postgres({ dir: join(dir, 'postgres') });
  nats = new Nats({ dir: join(dir, 'nats') });
  await Promise.all([postgres.start(), nats.start()]);
  playViews();
  const [http, ops] = [await freePort(), await freePort()];
  admin = new Service('adminsvc', {
    dir, opsPort: ops, env: {
      OCTROI_ADMINSVC_LISTEN: `127.0.0.1:${http}`,
      OCTROI_ADMINSVC_OPS: `127.0.0.1:${ops}`,
      OCTROI_POSTGRES: postgres.conninfo('adminsvc'),
      OCTROI_NATS_URL: nats.url,
      OCTROI_NATS_CREDENTIALS: nats.credentials('adminsvc'),
      OCTROI_ADMIN_KEY_FILE: join(dir, 'admin.key'),
    },
  });
  admin.url = `http://127.0.0.1:${http}`;
  await admin.start();
  payd = await new Bus({ port: nats.port, user: 'payd', password: nats.passwords.payd }).connect();
  payd.subscribe('octroi.v1.admin.payd.*', ({ subject, text, reply }) => {
    const request = JSON.parse(text);
    const what = subject.split('.').at(-1);
    asked.push({ what, ...request });
    if (request.payment_id === id(404)) payd.publish(reply, { error: { code: 'not-found', message: 'there is no such payment' } });
    else if (request.payment_id === id(503)) payd.publish(reply, { error: { code: 'no-wallet', message: 'payd has no wallet' } });
    else if (request.payment_id === id(7)) payd.publish(reply, { wrong: 1 });
    else payd.publish(reply, { [what === 'withdraw' ? 'withdrawal' : 'refund']: { state: 'queued', tx_hash: null, error: null } });
  });
  const made = {};
  for (const role of ['viewer', 'operator']) made[role] = (await call('POST', '/keys', { key: ownerKey, body: { role, label: role } })).body.key;
  keys = made;
});

after(async () => {
  payd?.close();
  await admin?.stop();
  await Promise.all([postgres, nats].map((server) => server?.stop()));
  removeDirectory(dir);
});

test('payments: newest first, by state and subscriber, in pages', async () => {
  const seen = [];
  let cursor = '';
  for (;;) {
    const { status, body } = await call('GET', `/payments?limit=25${cursor && `&cursor=${cursor}`}`, { key: keys.viewer });
    assert.equal(status, 200, JSON.stringify(body));
    seen.push(...body.items);
    cursor = body.next_cursor;
    if (!cursor) break;
  }
  assert.equal(seen.length, 60);
  assert.equal(new Set(seen.map((p) => p.id)).size, 60);
  const places = seen.map((p) => p.block_number);
  assert.deepEqual(places, [...places].sort((a, b) => b - a));
  assert.equal(seen[0].amount, '18446744073709551615'); // no float between
  assert.equal(seen[0].seen_at, '2026-11-01T10:00:00Z');
  const refunded = (await call('GET', '/payments?state=refunded&limit=200')).body.items;
  assert.equal(refunded.length, 12);
  assert.deepEqual(refunded[0].refund, { tx_hash: '0x88', block_number: 900, amount: '6', at: '2026-11-02T10:00:00Z' });
  assert.equal((await call('GET', `/payments?subscriber=${WALLET}`)).body.items.length, 3);
  for (const query of ['state=paid', 'subscriber=0x12', 'limit=0', 'limit=201', 'cursor=x', `cursor=${Buffer.from('a1').toString('base64url')}`])
    assert.equal((await call('GET', `/payments?${query}`)).status, 400, query);
});

test('two payments that have had the same place on the chain are both on some page', async () => {
  const same = (n, state) => `insert into payments.payment_v1 select '${id(n).replace(/^0x0/, `0x${n % 10}`)}', 2, '${state}', 4441, '0xc0', '0x0c', '0x5e', '0x70', '0x00', 5, 1, 1, 0, 9, 5, '0x77', 7, 3, now();`;
  postgres.sql(same(1001, 'orphaned') + same(1002, 'activated') + same(1003, 'orphaned'));
  const seen = [];
  for (let cursor = ''; cursor !== null;) {
    const { status, body } = await call('GET', `/payments?limit=1${cursor && `&cursor=${cursor}`}`, { key: keys.viewer });
    assert.equal(status, 200, JSON.stringify(body));
    seen.push(...body.items.filter(({ block_number: block }) => block === 7));
    cursor = body.next_cursor;
  }
  assert.deepEqual(seen.map(({ state }) => state).sort(), ['activated', 'orphaned', 'orphaned']);
  postgres.sql('delete from payments.payment_v1 where block_number = 7');
});

test('one payment, and the transfers that paid nothing', async () => {
  assert.equal((await call('GET', `/payments/${id(1)}`, { key: keys.viewer })).body.id, id(1));
  assert.equal((await call('GET', `/payments/${id(999)}`)).status, 404);
  assert.equal((await call('GET', '/payments/0x12')).status, 400);
  const { items } = (await call('GET', '/transfers', { key: keys.viewer })).body;
  assert.equal(items.length, 1);
  assert.deepEqual([items[0].same_as, items[0].sender_payments, items[0].refund], [id(9), 2, null]);
  assert.equal((await call('GET', '/transfers?state=activated')).status, 400);
});

test('operators ask payd, with their key and reason; viewers do not', async () => {
  const refund = (n, options) => call('POST', `/payments/${id(n)}/refund`, { body: { reason: 'asked for' }, ...options });
  assert.equal((await refund(1, { key: keys.viewer })).status, 403);
  assert.deepEqual((await refund(1)).body, { refund: { state: 'queued', tx_hash: null, error: null } });
  assert.deepEqual(asked.at(-1), { what: 'refund', payment_id: id(1), reason: 'asked for', actor: asked.at(-1).actor });
  assert.match(asked.at(-1).actor, /^key_[0-9a-f]{16}$/);
  assert.equal((await refund(404)).status, 404);
  const poor = await refund(503);
  assert.equal(poor.status, 503);
  assert.match(poor.body.type, /no-wallet$/);
  assert.equal((await refund(7)).status, 503);
  const count = asked.length;
  for (const body of [{}, { reason: '' }, { reason: 'x', amount: 1 }, { reason: 'x'.repeat(257) }]) assert.equal((await refund(1, { body })).status, 400, JSON.stringify(body));
  assert.equal(asked.length, count);

  assert.equal((await call('POST', `/transfers/${id(1)}/refund`, { body: { reason: 'r' } })).status, 200);
  assert.deepEqual(asked.at(-1).transfer_id, id(1));
  const withdraw = (body, headers) => call('POST', '/withdrawals', { body, headers });
  const body = { token: WALLET, fees: true, reason: 'monthly' };
  assert.equal((await withdraw(body, { 'idempotency-key': 'nov' })).status, 200);
  assert.deepEqual(asked.at(-1), { what: 'withdraw', token: WALLET, fees: true, key: 'nov', reason: 'monthly', actor: asked.at(-1).actor });
  assert.equal((await withdraw(body)).status, 200);
  assert.notEqual(asked.at(-1).key, 'nov');
  for (const wrong of [{ ...body, token: '0x12' }, { ...body, fees: 1 }, { token: WALLET, reason: 'r' }, { ...body, to: WALLET }]) assert.equal((await withdraw(wrong)).status, 400, JSON.stringify(wrong));
  assert.equal((await withdraw(body, { 'idempotency-key': 'a b' })).status, 400);
});

test('all of it stands in the audit log, begun and done', async () => {
  const rows = postgres.rows(`select action, status, target from admin.audit where action in ('payment.refund', 'withdrawal.create', 'payment.list') order by seq`);
  const refunds = rows.filter(({ action, target }) => action === 'payment.refund' && target === id(1));
  assert.deepEqual(refunds.slice(0, 2).map(({ status }) => status), [0, 200]);
  assert.ok(rows.some(({ action, status }) => action === 'payment.refund' && status === 403));
  assert.ok(rows.some(({ action, status }) => action === 'withdrawal.create' && status === 200));
  assert.ok(rows.some(({ action }) => action === 'payment.list'));
  assert.equal((await call('GET', '/audit/verify', { key: ownerKey })).body.ok, true);
});
