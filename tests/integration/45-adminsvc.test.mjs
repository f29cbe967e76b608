// adminsvc against a real PostgreSQL and NATS; subd is played by the test. Whatever is done or tried stands in a log that shows every change to it.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Bus } from '../support/bus.mjs';
import { freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { Nats, Postgres } from '../support/servers.mjs';
import { Service } from '../support/service.mjs';

const ownerKey = `octroi_${randomBytes(32).toString('hex')}`;
const sub = (n) => `sub_${n.toString(16).padStart(32, '0')}`;
const WALLET = '0x5FbDB2315678afecb367f032d93F642f64180aa3';

let dir;
let postgres;
let nats;
let subd;
let admin;
let keys = {};
const revocations = [];
let answersRevocation = true;

async function call(method, path, { key = ownerKey, body, ip, url = admin.url, headers = {} } = {}) {
  const response = await fetch(`${url}/admin/v1${path}`, {
    method,
    headers: {
      ...(key ? { authorization: `Bearer ${key}` } : {}),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(ip ? { 'x-forwarded-for': ip } : {}),
      ...headers,
    },
    body: body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, body: text ? JSON.parse(text) : null };
}

async function must(status, ...args) {
  const answer = await call(...args);
  assert.equal(answer.status, status, `${args[0]} ${args[1]}: ${answer.text}`);
  return answer.body;
}

const rows = (where = 'true') => postgres.rows(`select * from admin.audit where ${where} order by seq`);

async function service(name, env = {}) {
  const [http, ops] = [await freePort(), await freePort()];
  const made = new Service('adminsvc', {
    dir, name, opsPort: ops, env: {
      OCTROI_ADMINSVC_LISTEN: `127.0.0.1:${http}`,
      OCTROI_ADMINSVC_OPS: `127.0.0.1:${ops}`,
      OCTROI_POSTGRES: postgres.conninfo('adminsvc'),
      OCTROI_NATS_URL: nats.url,
      OCTROI_NATS_CREDENTIALS: nats.credentials('adminsvc'),
      OCTROI_ADMIN_KEY_FILE: join(dir, 'admin.key'),
      ...env,
    },
  });
  made.url = `http://127.0.0.1:${http}`;
  return made;
}

// The published view of subd, over a table of the test's.
function playSubscriptions() {
  postgres.sql(`
    create table subscriptions.t (id text, version bigint, state text, service text, subscriber text, tier text, plan int, start_at bigint, expires_at bigint,
      created_at timestamptz default '2026-11-01T10:00:00Z', updated_at timestamptz default '2026-11-02T10:00:00Z');
    insert into subscriptions.t select 'sub_' || lpad(to_hex(n), 32, '0'), 1, case when n % 5 = 0 then 'expired' else 'active' end,
      case when n % 2 = 0 then 'api' else 'extra' end, case when n <= 3 then '${WALLET.toLowerCase()}' else '0x' || lpad(to_hex(n), 40, '0') end, 'pro', 1, 1790000000, 1792592000
      from generate_series(1, 450) n;
    create view subscriptions.subscription_v1 as select * from subscriptions.t;
    grant usage on schema subscriptions to octroi_adminsvc;
    grant select on subscriptions.subscription_v1 to octroi_adminsvc;`);
}

async function playSubd() {
  subd = await new Bus({ port: nats.port, user: 'subd', password: nats.passwords.subd }).connect();
  subd.subscribe('octroi.v1.admin.subd.revoke', ({ text, reply }) => {
    const request = JSON.parse(text);
    revocations.push(request);
    if (!answersRevocation) return;
    if (request.subscription === sub(999)) {
      subd.publish(reply, { error: { code: 'not-found', message: 'there is no such subscription' } });
      return;
    }
    subd.publish(reply, {
      record: {
        id: request.subscription, version: 8, state: 'revoked', service: 'api', subscriber: WALLET, tier: 'pro', plan: 1, start: 1790000000, expiry: 1792592000,
        period_start: 1790000000, period_end: 1792592000, limits: { rate: 1, burst: 1, requests: 1, bytes: 0, messages: 0, cost: 0 },
      },
    });
  }, 'subd');
}

before(async () => {
  dir = temporaryDirectory('adminsvc');
  writeFileSync(join(dir, 'admin.key'), `${ownerKey}\n`, { mode: 0o600 });
  postgres = new Postgres({ dir: join(dir, 'postgres') });
  nats = new Nats({ dir: join(dir, 'nats') });
  await Promise.all([postgres.start(), nats.start()]);
  admin = await service('adminsvc');
  await admin.start();
  await playSubd();
});

after(async () => {
  subd?.close();
  await admin?.stop();
  await Promise.all([postgres, nats].map((server) => server?.stop()));
  removeDirectory(dir);
});

test('the first owner comes from the configuration and is kept as a hash', async () => {
  const [kept] = postgres.rows('select * from admin.key');
  assert.equal(kept.hash, createHash('sha256').update(ownerKey).digest('hex'));
  assert.equal(kept.id, `key_${kept.hash.slice(0, 16)}`);
  assert.equal(kept.role, 'owner');
  const { items } = await must(200, 'GET', '/keys');
  assert.equal(items.length, 1);
  assert.equal(items[0].label, 'bootstrap');
  assert.equal(rows("action = 'key.bootstrap'").length, 1);
});

test('before subd has published its view there are no subscriptions to list, and the service says so', async () => {
  const refused = await call('GET', '/subscriptions');
  assert.equal(refused.status, 503);
  assert.match(refused.body.type, /unavailable$/);
  playSubscriptions();
  await must(200, 'GET', '/subscriptions');
});

test('a key is shown once; roles are viewer by default, operator, owner', async () => {
  for (const role of [undefined, 'viewer', 'operator', 'owner']) {
    const answer = await call('POST', '/keys', { body: { label: `a ${role} "é"`, ...(role ? { role } : {}) } });
    assert.equal(answer.status, 201, answer.text);
    assert.equal(answer.headers.get('cache-control'), 'no-store');
    assert.match(answer.body.key, /^octroi_[0-9a-f]{64}$/);
    assert.equal(answer.body.role, role ?? 'viewer');
    keys[role ?? 'default'] = answer.body;
  }
  const list = await call('GET', '/keys');
  assert.equal(list.body.items.length, 5);
  for (const { key } of Object.values(keys)) {
    assert.ok(!list.text.includes(key));
    assert.ok(!JSON.stringify(rows()).includes(key));
    assert.ok(!admin.process.log().includes(key));
  }
  assert.ok(!admin.process.log().includes(ownerKey));
});

test('each call needs its role, and refusals are in the log', async () => {
  const calls = [
    ['GET', '/subscriptions', 0], ['GET', `/subscriptions/${sub(1)}`, 0], ['GET', '/audit', 1], ['GET', '/audit/verify', 1],
    ['POST', `/subscriptions/${sub(2)}/revoke`, 1, { reason: 'role test' }], ['GET', '/keys', 2], ['POST', '/keys', 2, { label: 'x' }], ['DELETE', '/keys/key_0000000000000000', 2],
  ];
  for (const [rank, name] of [[0, 'default'], [0, 'viewer'], [1, 'operator'], [2, 'owner']]) {
    for (const [method, path, needed, body] of calls) {
      const { status } = await call(method, path, { key: keys[name].key, body });
      assert.equal(status === 403, rank < needed, `${name} ${method} ${path}: ${status}`);
      assert.notEqual(status, 401);
      const [row] = rows(`actor = '${keys[name].id}'`).slice(-1);
      assert.equal(row.status, status);
      if (status === 403) assert.equal(row.problem, 'forbidden');
    }
  }
});

test('subscriptions are filtered, and paged without a gap or a repeat', async () => {
  const seen = [];
  let cursor = '';
  let pages = 0;
  do {
    const page = await must(200, 'GET', `/subscriptions?limit=200${cursor && `&cursor=${cursor}`}`);
    assert.ok(page.items.length <= 200);
    seen.push(...page.items.map(({ id }) => id));
    cursor = page.next_cursor;
    pages += 1;
  } while (cursor);
  assert.equal(pages, 3);
  assert.deepEqual(seen, Array.from({ length: 450 }, (_, i) => sub(i + 1)));
  assert.equal((await must(200, 'GET', '/subscriptions')).items.length, 50);
  assert.equal((await must(200, 'GET', '/subscriptions?state=expired&service=api&limit=200')).items.length, 45);
  const mine = await must(200, 'GET', `/subscriptions?subscriber=${WALLET}`);
  assert.deepEqual(mine.items.map(({ id }) => id), [sub(1), sub(2), sub(3)]);
  assert.equal(mine.next_cursor, null);
  assert.deepEqual(await must(200, 'GET', `/subscriptions/${sub(5)}`), {
    id: sub(5), version: 1, state: 'expired', service: 'extra', subscriber: `0x${'5'.padStart(40, '0')}`, tier: 'pro', plan: 1,
    start_at: '2026-09-21T14:13:20Z', expires_at: '2026-10-21T14:13:20Z', created_at: '2026-11-01T10:00:00Z', updated_at: '2026-11-02T10:00:00Z',
  });
  await must(404, 'GET', `/subscriptions/${sub(9999)}`);
});

test('what there is not is refused to who has a key, and recorded for all', async () => {
  await must(404, 'GET', '/nothing');
  const wrong = await call('PUT', '/keys', { body: { label: 'x' } });
  assert.equal(wrong.status, 405);
  assert.match(wrong.headers.get('allow'), /GET.*POST/);
  await must(401, 'GET', '/secret', { key: 'octroi_0', ip: '203.0.113.77' });
  const written = rows("action = 'unknown'").map(({ status, problem, target, detail }) => [status, problem, target, detail && JSON.parse(detail).method]);
  assert.deepEqual(written.slice(0, 2), [[404, 'not-found', '/admin/v1/nothing', 'GET'], [405, 'method-not-allowed', '/admin/v1/keys', 'PUT']]);
  assert.deepEqual(rows("action = 'unknown' and client = '203.0.113.77'").map(({ status, actor }) => [status, actor]), [[401, '']]);
  assert.equal((await must(200, 'GET', '/audit/verify')).ok, true);
});

test('each parameter is checked and named', async () => {
  const audit = (await must(200, 'GET', '/audit?limit=1')).next_cursor;
  const bad = [
    ['limit', '/subscriptions?limit=0'], ['limit', '/subscriptions?limit=201'], ['limit', '/subscriptions?limit=-1'], ['limit', '/subscriptions?limit=1e2'],
    ['state', '/subscriptions?state=dead'], ['service', '/subscriptions?service=%27'], ['service', `/subscriptions?service=${'a'.repeat(64)}`],
    ['subscriber', '/subscriptions?subscriber=0x12'], ['cursor', '/subscriptions?cursor=zz'], ['cursor', '/subscriptions?cursor='], ['cursor', `/subscriptions?cursor=${audit}`],
    ['cursor', `/subscriptions?cursor=${'00'.repeat(40)}`], ['cursor', '/audit?cursor=6162'], ['id', '/subscriptions/x'], ['id', `/subscriptions/${sub(1).toUpperCase()}`],
    ['id', '/subscriptions/%ff%fe'],
  ];
  for (const [field, path] of bad) {
    const { status, body } = await call('GET', path);
    assert.equal(status, 400, path);
    assert.ok(body.detail.includes(field), `${path}: ${body.detail}`);
  }
  const badBodies = [
    ['label', '/keys', {}], ['label', '/keys', { label: '' }], ['label', '/keys', { label: 'a'.repeat(101) }], ['label', '/keys', { label: 'a\nb' }],
    ['role', '/keys', { label: 'x', role: 'god' }], ['role', '/keys', { label: 'x', role: 7 }], ['more', '/keys', { label: 'x', more: 1 }],
    ['reason', `/subscriptions/${sub(1)}/revoke`, {}], ['reason', `/subscriptions/${sub(1)}/revoke`, { reason: 'x'.repeat(257) }], ['reason', `/subscriptions/${sub(1)}/revoke`, { reason: '' }], ['id', '/subscriptions/sub_1/revoke', { reason: 'x' }],
  ];
  const before = revocations.length;
  for (const [field, path, body] of badBodies) {
    const answer = await call('POST', path, { body });
    assert.equal(answer.status, 400, `${path} ${JSON.stringify(body)}: ${answer.text}`);
    assert.ok(answer.body.detail.includes(field), answer.text);
  }
  assert.equal(revocations.length, before);
  assert.equal((await call('POST', '/keys', { body: '{' })).status, 400);
  assert.equal((await call('POST', '/keys', { body: JSON.stringify({ label: 'x'.repeat(5000) }) })).status, 413);
});

test('a revocation is asked of subd in the name of the key, and recorded before and after', async () => {
  const { id } = keys.operator;
  const body = await must(200, 'POST', `/subscriptions/${sub(7)}/revoke`, { key: keys.operator.key, body: { reason: 'fraud, "case 12"' } });
  assert.equal(body.record.state, 'revoked');
  assert.deepEqual(revocations.at(-1), { subscription: sub(7), reason: 'fraud, "case 12"', actor: id });
  const written = rows(`target = '${sub(7)}'`);
  assert.deepEqual(written.map(({ status, actor }) => [status, actor]), [[0, id], [200, id]]);
  assert.equal(written[0].request_id, written[1].request_id);
  assert.equal(JSON.parse(written[1].detail).reason, 'fraud, "case 12"');

  await must(404, 'POST', `/subscriptions/${sub(999)}/revoke`, { body: { reason: 'nobody' } });
  assert.deepEqual(rows(`target = '${sub(999)}'`).map(({ status, problem }) => [status, problem]), [[0, ''], [404, 'not-found']]);
});

test('subd away: 503, recorded, and it works again by itself', async () => {
  answersRevocation = false;
  const refused = await call('POST', `/subscriptions/${sub(8)}/revoke`, { body: { reason: 'away' } });
  assert.equal(refused.status, 503);
  assert.ok(Number(refused.headers.get('retry-after')) > 0);
  assert.deepEqual(rows(`target = '${sub(8)}'`).map(({ status }) => status), [0, 503]);
  answersRevocation = true;
  await must(200, 'POST', `/subscriptions/${sub(8)}/revoke`, { body: { reason: 'back' } });
});

test('a deleted key is refused at once; the last owner stays', async () => {
  const gone = await must(200, 'DELETE', `/keys/${keys.viewer.id}`);
  assert.ok(gone.revoked_at);
  assert.deepEqual(await must(200, 'DELETE', `/keys/${keys.viewer.id}`), gone, 'deleting again answers the same');
  await must(401, 'GET', '/subscriptions', { key: keys.viewer.key, ip: '203.0.113.1' });
  await must(404, 'DELETE', '/keys/key_0000000000000000');
  await must(400, 'DELETE', '/keys/nothing');
  await must(200, 'DELETE', `/keys/${keys.owner.id}`);
  const [bootstrap] = postgres.rows("select id from admin.key where label = 'bootstrap'");
  const refused = await must(409, 'DELETE', `/keys/${bootstrap.id}`);
  assert.match(refused.detail, /last owner/);
});

test('wrong keys: 401, then 429 for a minute; the log gets a row and a sum, not a flood', async () => {
  const wrong = [undefined, 'x', `octroi_${'0'.repeat(64)}`, `${ownerKey}0`, ownerKey.slice(0, -1), ownerKey.toUpperCase(), `octroi_${ownerKey.slice(7).split('').reverse().join('')}`];
  const ip = '198.51.100.9';
  for (let i = 0; i < 10; i += 1) {
    const answer = await call('GET', '/subscriptions', { key: wrong[i % wrong.length] ?? null, ip });
    assert.equal(answer.status, 401, answer.text);
    assert.match(answer.headers.get('www-authenticate'), /^Bearer/);
  }
  for (let i = 0; i < 40; i += 1) {
    const answer = await call('GET', '/subscriptions', { ip });
    assert.equal(answer.status, 429, 'also with a good key: a right guess must not be told from a wrong one');
    assert.ok(Number(answer.headers.get('retry-after')) > 0);
  }
  await must(200, 'GET', '/subscriptions', { ip: '198.51.100.10' });
  assert.equal(rows(`client = '${ip}'`).length, 1);
  assert.equal(rows(`client = '${ip}'`)[0].problem, 'invalid-key');
  assert.equal(rows(`client = '${ip}'`)[0].actor, '');
});

test('many clients with wrong keys do not flood the log either', async () => {
  const before = rows("problem = 'invalid-key'").length;
  for (let i = 0; i < 150; i += 1) await must(401, 'GET', '/audit', { key: 'guess', ip: `203.0.113.${i + 2}` });
  assert.ok(rows("problem = 'invalid-key'").length - before <= 60);
});

test('the log is paged newest first, and proves itself', async () => {
  const seqs = [];
  let cursor = '';
  do {
    const page = await must(200, 'GET', `/audit?limit=100${cursor && `&cursor=${cursor}`}`);
    seqs.push(...page.items.map(({ seq }) => seq));
    cursor = page.next_cursor;
  } while (cursor);
  assert.deepEqual(seqs, Array.from({ length: seqs[0] }, (_, i) => seqs[0] - i));
  const report = await must(200, 'GET', '/audit/verify', { key: keys.operator.key });
  assert.equal(report.ok, true);
  assert.ok(report.rows >= seqs.length);

  // The same by hand, as anybody may do it with the published rule.
  const net = (text) => `${Buffer.byteLength(text)}:${text},`;
  let prev = '0'.repeat(64);
  for (const row of rows()) {
    const fields = [prev, `${row.seq}`, `${row.at_ms}`, row.actor, row.role, row.client, row.request_id, row.action, row.target, `${row.status}`, row.problem, row.detail];
    assert.equal(row.prev, prev);
    prev = createHash('sha256').update(fields.map(net).join('')).digest('hex');
    assert.equal(row.hash, prev);
  }
  assert.ok(admin.process.log().includes(rows().at(-2).hash), 'each hash is in the service log too');
});

test('the log cannot be changed, and a change past the triggers shows', async () => {
  for (const statement of ["update admin.audit set actor = ''", 'delete from admin.audit', 'truncate admin.audit', 'delete from admin.audit_head']) {
    assert.throws(() => postgres.sql(statement), /append-only/, statement);
    assert.throws(() => postgres.psql(['-v', 'ON_ERROR_STOP=1', '-c', statement], 'octroi', 'octroi_adminsvc', postgres.passwords.adminsvc), /append-only/, statement);
  }
  const past = (statement) => postgres.sql(`set session_replication_role = replica; ${statement}`);
  const verify = () => must(200, 'GET', '/audit/verify');
  const [{ actor }] = rows('seq = 5');
  past("update admin.audit set actor = 'key_0000000000000000' where seq = 5");
  const changed = await verify();
  assert.deepEqual([changed.ok, changed.broken, changed.reason], [false, 5, "the row's content does not have its hash"]);
  past(`update admin.audit set actor = '${actor}' where seq = 5`);
  assert.equal((await verify()).ok, true);
  past('create table admin.kept as select * from admin.audit where seq = 6; delete from admin.audit where seq = 6');
  const missing = await verify();
  assert.deepEqual([missing.ok, missing.broken, missing.reason], [false, 6, 'the row is missing']);
  past('insert into admin.audit select * from admin.kept');
  assert.equal((await verify()).ok, true);
});

test('many at once: the chain has no gap and no fork', async () => {
  const second = await (await service('adminsvc-2')).start();
  try {
    const answers = await Promise.all(Array.from({ length: 120 }, (_, i) => call('GET', '/subscriptions?limit=1', { url: i % 2 ? admin.url : second.url })));
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
    assert.equal((await must(200, 'GET', '/audit/verify')).ok, true);
    assert.equal(postgres.rows("select * from admin.key where label = 'bootstrap'").length, 1);
  } finally {
    await second.stop();
  }
});

test('no call is answered that cannot be recorded', async () => {
  postgres.sql('alter table admin.audit rename to audit_away');
  try {
    const refused = await call('POST', '/keys', { body: { label: 'unrecorded' } });
    assert.equal(refused.status, 503);
    assert.ok(!refused.text.includes('octroi_'));
    const sent = revocations.length;
    assert.equal((await call('POST', `/subscriptions/${sub(9)}/revoke`, { body: { reason: 'unrecorded' } })).status, 503);
    assert.equal(revocations.length, sent, 'nothing is done that is not recorded first');
  } finally {
    postgres.sql('alter table admin.audit_away rename to audit');
  }
  assert.equal(postgres.rows("select * from admin.key where label = 'unrecorded'").length, 0);
  assert.equal((await must(200, 'GET', '/audit/verify')).ok, true);
});

test('postgres away: 503 and not ready; back: everything goes on', async () => {
  await postgres.stop();
  const refused = await call('GET', '/subscriptions');
  assert.equal(refused.status, 503);
  await waitUntil('not ready', async () => (await fetch(`${admin.ops}/readyz`)).status === 503);
  const waiting = await service('adminsvc-waiting');
  waiting.spawn();
  try {
    await waiting.alive();
    await waitUntil('a refusal', async () => (await call('GET', '/keys', { url: waiting.url })).status === 503);
    await postgres.start();
    await waiting.ready();
    await must(200, 'GET', '/keys', { url: waiting.url });
  } finally {
    await waiting.stop();
  }
  await admin.ready();
  await must(200, 'GET', '/subscriptions');
});

test('what was summed up of failures is written when the service stops', async () => {
  const count = () => rows("action = 'auth.failed'").map(({ detail }) => JSON.parse(detail).count).reduce((a, b) => a + b, 0);
  await admin.stop();
  assert.ok(count() >= 49 + 90, `${count()} failures in sums`);
  assert.ok(admin.logContains(/"msg":"admin call"/));
  await admin.start();
  assert.equal((await must(200, 'GET', '/audit/verify')).ok, true);
});

test('a wrong configuration is refused with its key', async () => {
  const check = async (name, env, expected) => {
    const broken = await service(`adminsvc-${name}`, env);
    broken.args = ['-t'];
    broken.spawn();
    assert.notEqual((await broken.process.exited).code, 0, name);
    assert.match(broken.process.log(), expected, name);
  };
  writeFileSync(join(dir, 'short.key'), 'too-short');
  await check('short', { OCTROI_ADMIN_KEY_FILE: join(dir, 'short.key') }, /bootstrap: the key must have/);
  await check('missing', { OCTROI_ADMIN_KEY_FILE: join(dir, 'none.key') }, /bootstrap.key_file/);
});
