// quoted while payd is silent, says no, or is gone; while Redis is full; and under a flood of subscribers that somebody invented. payd is played by the test.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts';

import { Bus } from '../support/bus.mjs';
import { freePort, removeDirectory, root, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { Nats, Postgres, Redis } from '../support/servers.mjs';
import { Service } from '../support/service.mjs';

const CONTRACT = '0x5FbDB2315678afecb367f032d93F642f64180aa3';
const TOKEN = '0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512';
const CHAIN = 4441;
const BOOK = `
tokens: { ODD: { decimals: 6, index: 1 } }
services: { api: the API }
durations: [30]
tiers: { small: { limits: { rate: 10 }, prices: { ODD: "3.00" } } }
`;

let dir;
let servers;
let quoted;
let payd;
let subd;
let answer = () => ({}); // what payd adds to its answer; undefined: it is silent
let asked = 0;
const key = generatePrivateKey();

let made = 0;
const wallet = () => `0x${(++made).toString(16).padStart(40, '0')}`;

async function call(method, path, { body, headers = {}, url = quoted.url } = {}) {
  const at = process.hrtime.bigint();
  const response = await fetch(url + path, {
    method, headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers }, body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, body: JSON.parse(text), ms: Number(process.hrtime.bigint() - at) / 1e6 };
}

const ask = (subscriber, { from, ...options } = {}) =>
  call('POST', '/quote', { body: { service: 'api', tier: 'small', duration_days: 30, subscriber, token: 'ODD' }, ...options, headers: { ...(from ? { 'x-forwarded-for': from } : {}), ...options.headers } });
const status = async () => (await call('GET', '/.well-known/octroi')).body.status;
const selling = () => waitUntil('quotes to be given', async () => (await status()).selling);

async function service(name, config) {
  const [http, ops] = [await freePort(), await freePort()];
  const started = new Service('quoted', {
    dir, name, opsPort: ops, config,
    env: {
      OCTROI_QUOTED_LISTEN: `127.0.0.1:${http}`, OCTROI_QUOTED_OPS: `127.0.0.1:${ops}`, OCTROI_POSTGRES: servers.postgres.conninfo('quoted'), OCTROI_REDIS_URL: servers.redis.url,
      OCTROI_NATS_URL: servers.nats.url, OCTROI_NATS_CREDENTIALS: servers.nats.credentials('quoted'), OCTROI_SECRETS: dir, OCTROI_SIGNER_KEY_FILE: join(dir, 'quote-signer.key'),
      OCTROI_PRICEBOOK: join(dir, 'pricebook.yaml'), OCTROI_QUOTES_PER_CLIENT: '6000000',
    },
  });
  started.url = `http://127.0.0.1:${http}`;
  await started.start();
  return started;
}

async function play(user, subject, reply) {
  const bus = await new Bus({ port: servers.nats.port, user, password: servers.nats.passwords[user] }).connect();
  bus.subscribe(subject, (message) => {
    const said = reply(JSON.parse(message.text));
    if (said) bus.publish(message.reply, said);
  }, user);
  return bus;
}

const playPayd = async () => {
  payd = await play('payd', 'octroi.v1.chain.slot', () => {
    asked += 1;
    const added = answer();
    return added?.error ? added : added && { slot: `0x${'0'.repeat(64)}`, pending: false, revoked: false, head: 12, chain_id: CHAIN, contract: CONTRACT, signer: privateKeyToAddress(key), ...added };
  });
};

before(async () => {
  dir = temporaryDirectory('quote-away');
  writeFileSync(join(dir, 'quote-signer.key'), `${key}\n`, { mode: 0o600 });
  writeFileSync(join(dir, 'pricebook.yaml'), BOOK);
  writeFileSync(join(dir, 'deployment.json'), JSON.stringify({
    chain_id: CHAIN, contract: CONTRACT, implementation: TOKEN, token: TOKEN, token_index: 1, tokens: [{ token: TOKEN, index: 1 }], signer: privateKeyToAddress(key), payee: CONTRACT, block: 3,
  }));
  servers = { postgres: new Postgres({ dir: join(dir, 'postgres') }), redis: new Redis({ dir: join(dir, 'redis') }), nats: new Nats({ dir: join(dir, 'nats') }) };
  await Promise.all(Object.values(servers).map((server) => server.start()));
  await playPayd();
  quoted = await service('quoted');
  await selling();
});

after(async () => {
  payd?.close();
  subd?.close();
  await quoted?.stop();
  await Promise.all(Object.values(servers ?? {}).map((server) => server.stop()));
  removeDirectory(dir);
});

test('payd silent under load: prices and quotes stay quick, refusals come at once and say so, and it ends by itself', async () => {
  const given = await ask(wallet());
  assert.equal(given.status, 201, given.text);
  const load = async (count, work) => Promise.all(Array.from({ length: count }, (_, i) => work(i)));
  answer = () => undefined;
  // Far more than there are threads, before anybody knows: none of the reads waits for a timeout of payd's (1 s each, 8 threads).
  const orders = load(400, () => ask(wallet()));
  const reads = await load(40, (i) => call('GET', i % 2 ? '/pricing' : `/quote/${given.body.id}`));
  const refused = await orders;
  assert.ok(reads.every((read) => read.status === 200));
  for (const one of refused) {
    assert.equal(one.status, 503);
    assert.match(one.body.type, /chain-unavailable$/);
    assert.ok(Number(one.headers.get('retry-after')) > 0);
  }
  // One after the other they would take 400 s / 8.
  assert.ok(Math.max(...refused.map(({ ms }) => ms)) < 20_000);
  await waitUntil('the outage to be shown', async () => (await status()).reason === 'chain-unavailable');

  // From now on nobody but the probe asks payd.
  const before = asked;
  const again = await load(200, () => ask(wallet()));
  assert.ok(again.every((one) => one.status === 503));
  assert.ok(asked - before < 100, `${asked - before} questions for 200 refusals`);
  assert.equal(await quoted.metric('octroi_quoted_selling'), 0);
  const ready = await fetch(`${quoted.ops}/readyz`);
  assert.equal(ready.status, 200);
  const report = await ready.json();
  assert.equal(report.mode, 'read-only');
  assert.deepEqual(report.dependencies.filter(({ ok }) => !ok).map(({ name, critical }) => [name, critical]), [['chain', false]]);
  const told = await status();
  assert.equal(told.selling, false);
  assert.ok(Math.abs(Date.parse(told.since) - Date.now()) < 120_000);

  answer = () => ({});
  await selling();
  assert.equal((await ask(wallet())).status, 201);
  await waitUntil('the alert to end', async () => (await quoted.metric('octroi_quoted_selling')) === 1 && (await (await fetch(`${quoted.ops}/readyz`)).json()).mode === 'full');
  assert.equal((await status()).reason, null);
});

test('what payd says instead of a slot, or of another chain, is an outage, not a quote', async () => {
  for (const [name, said] of Object.entries({
    refusal: { error: { code: 'chain-unavailable', message: 'payd has not read the chain up to its head' } },
    chain: { chain_id: CHAIN + 1 },
    contract: { contract: TOKEN },
    nonsense: { head: -1 },
    unknown: { more: 1 },
  })) {
    answer = () => said;
    const refused = await ask(wallet());
    assert.equal(refused.status, 503, name);
    assert.match(refused.body.type, /chain-unavailable$/, name);
    answer = () => ({});
    await selling();
  }
});

test('another signer than ours is no quote, and none that is known is ours', async () => {
  answer = () => ({ signer: TOKEN });
  await waitUntil('the mismatch', async () => (await status()).reason === 'signer-mismatch');
  assert.match((await ask(wallet())).body.type, /\/unavailable$/);
  answer = () => ({ signer: undefined });
  await selling();
  assert.equal((await ask(wallet())).status, 201);
  answer = () => ({});
});

test('subd away or silent: quotes are given; there again: who is revoked gets none', async () => {
  assert.equal((await ask(wallet())).status, 201, 'nobody answers for subd');
  let silent = true;
  subd = await play('subd', 'octroi.v1.sub.check', ({ subscriptions: [id] }) => (silent ? undefined : {
    head: 1, subscriptions: [{ id, version: 3, state: 'revoked', service: 'api', subscriber: CONTRACT, tier: 'small', plan: 1, start: 1, expiry: 2, period_start: 1, period_end: 2,
      limits: { rate: 0, burst: 0, requests: 0, bytes: 0, messages: 0, cost: 0 } }],
  }));
  assert.equal((await ask(wallet())).status, 201, 'subd is silent');
  silent = false;
  await waitUntil('subd to be asked again', async () => {
    const refused = await ask(wallet());
    return refused.status === 409 && /revoked/.test(refused.body.detail);
  });
  subd.close();
  await waitUntil('quotes without subd', async () => (await ask(wallet())).status === 201);
});

test('one Idempotency-Key at the same time makes one quote; with another body it is refused', async () => {
  const subscriber = wallet();
  const headers = { 'idempotency-key': 'at-once' };
  const answers = await Promise.all(Array.from({ length: 7 }, () => ask(subscriber, { headers })));
  const given = answers.filter((one) => one.status === 201);
  assert.ok(given.length > 0);
  assert.equal(new Set(given.map(({ text }) => text)).size, 1);
  for (const one of answers.filter(({ status: code }) => code !== 201)) assert.match(one.body.detail, /under way/, one.text);
  assert.equal((await ask(subscriber, { headers })).headers.get('idempotent-replayed'), 'true');
  const other = await call('POST', '/quote', { body: { service: 'api', tier: 'small', duration_days: 31, subscriber, token: 'ODD' }, headers });
  assert.equal(other.status, 400, 'what cannot be sold is said first');
  const spaced = await fetch(`${quoted.url}/quote`, { method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body: `${JSON.stringify({ service: 'api', tier: 'small', duration_days: 30, subscriber, token: TOKEN })}` });
  assert.equal(spaced.status, 422);
});

// A configuration with small bounds.
const small = (changes) => {
  const text = readFileSync(join(root, 'config/quoted.yaml'), 'utf8');
  return text.replace(/^limits: .*$/m, `limits: { subscriber_per_minute: 2, subscriber_burst: 2, client_per_minute: 5, client_burst: 5, kept: 12, remembered: 9, idempotent: 1${changes?.limits ?? ''} }`)
    .replace(/^http: \{ (.*) \}$/m, `http: { $1${changes?.http ?? ''} }`);
};

test('a flood of invented subscribers from many addresses: each client has its rate, all together a bound, and Redis holds no more', async () => {
  const flooded = await service('quoted-flood', small());
  try {
    await waitUntil('quotes to be given', async () => (await call('GET', '/.well-known/octroi', { url: flooded.url })).body.status.selling);
    servers.redis.command('FLUSHALL');
    const statuses = async (from, count) => {
      const all = [];
      for (let i = 0; i < count; i += 1) all.push((await ask(wallet(), { url: flooded.url, from })).status);
      return all;
    };
    assert.deepEqual(await statuses('203.0.113.1', 6), [201, 201, 201, 201, 201, 429], 'an IPv4 address is one client');
    assert.deepEqual(await statuses('2001:db8:0:1::1', 3), [201, 201, 201]);
    assert.deepEqual(await statuses('2001:db8:0:1:ffff::2', 3), [201, 201, 429], 'a /64 is one client');
    assert.deepEqual(await statuses('2001:db8:0:2::1', 2), [201, 201], 'the next /64 is another');
    const full = await ask(wallet(), { url: flooded.url, from: '203.0.113.2' });
    assert.equal(full.status, 503, 'twelve are kept');
    assert.match(full.body.detail, /too many quotes are open/);
    assert.ok(Number(full.headers.get('retry-after')) > 0);
    for (let i = 3; i < 40; i += 1) assert.equal((await ask(wallet(), { url: flooded.url, from: `203.0.113.${i}` })).status, 503);
    const keyed = () => ask(wallet(), { url: flooded.url, from: '203.0.114.1', headers: { 'idempotency-key': `k${made}` } });
    assert.match((await keyed()).body.detail, /quotes are open/, 'one a day with a key');
    const refused = await keyed();
    assert.equal(refused.status, 503);
    assert.match(refused.body.detail, /Idempotency-Key/);
    const keys = servers.redis.command('KEYS', '*').split('\n');
    const of = (pattern) => keys.filter((name) => pattern.test(name));
    assert.equal(of(/:quote$/).length, 12);
    assert.equal(of(/:expired$/).length, 9);
    assert.equal(servers.redis.command('EVAL', "local n = 0 for _, k in ipairs(redis.call('KEYS', '*')) do if redis.call('PTTL', k) == -1 then n = n + 1 end end return n", '0'), '0', 'every key has a time to live');
    assert.equal(await flooded.metric('octroi_quoted_quotes_kept'), 12);
    assert.equal((await call('GET', '/pricing', { url: flooded.url })).status, 200);
  } finally {
    await flooded.stop();
  }
});

test('only a trusted proxy says who the client is', async () => {
  const strict = await service('quoted-strict', small({ http: ', trusted_proxies: [192.0.2.0/24]' }));
  try {
    await waitUntil('quotes to be given', async () => (await call('GET', '/.well-known/octroi', { url: strict.url })).body.status.selling);
    servers.redis.command('FLUSHALL');
    for (let i = 1; i <= 5; i += 1) assert.equal((await ask(wallet(), { url: strict.url, from: `198.51.100.${i}` })).status, 201);
    assert.equal((await ask(wallet(), { url: strict.url, from: '198.51.100.6' })).status, 429, 'this peer is none: its header counts for nothing');
  } finally {
    await strict.stop();
  }
  const wrong = new Service('quoted', { dir, name: 'quoted-wrong', opsPort: 1, config: small({ http: ', trusted_proxies: [192.0.2.0/33]' }), args: ['-t'], env: quoted.env }).spawn();
  assert.notEqual((await wrong.process.exited).code, 0);
  assert.match(wrong.process.log(), /trusted_proxies: 192\.0\.2\.0\/33/);
});

test('Redis full: a clear 503, prices stay, and quotes are given again once there is room', async () => {
  servers.redis.command('FLUSHALL');
  const { id } = (await ask(wallet())).body;
  servers.redis.command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
  servers.redis.command('CONFIG', 'SET', 'maxmemory', '1');
  const refused = await ask(wallet());
  assert.equal(refused.status, 503);
  assert.match(refused.body.type, /\/unavailable$/);
  assert.match(refused.body.detail, /cannot be kept/);
  assert.ok(Number(refused.headers.get('retry-after')) > 0);
  assert.equal((await call('GET', '/pricing')).status, 200);
  assert.equal((await call('GET', `/quote/${id}`)).status, 200);
  servers.redis.command('CONFIG', 'SET', 'maxmemory', '0');
  await waitUntil('quotes again', async () => (await ask(wallet())).status === 201);
});
