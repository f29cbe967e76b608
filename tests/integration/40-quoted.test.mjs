// quoted against a real PostgreSQL, Redis and NATS; payd is played by the test. What it signs is checked with viem.
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  compactSignatureToSignature, createPublicClient, createWalletClient, decodeFunctionData, defineChain, hashTypedData, http, parseAbi, parseCompactSignature,
  recoverTypedDataAddress, serializeSignature,
} from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';

import { packTerms, serviceId, subscriptionId } from '../../contracts/script/terms.mjs';
import { transactionReceipt } from '../../contracts/script/transaction.mjs';
import { Bus } from '../support/bus.mjs';
import { freePort, removeDirectory, root, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { Chain, Nats, Postgres, Redis, accounts } from '../support/servers.mjs';
import { Service } from '../support/service.mjs';

const CONTRACT = '0x5FbDB2315678afecb367f032d93F642f64180aa3';
const RECEIPT_SIGNER = '0x70997970C51812dc3A010C7d01b50e0d17dc79C8';
const TOKENS = ['0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512', '0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0'];
const CHAIN = 4441;
const TTL = 300;
const DAY = 86_400;
const erc20 = parseAbi(['function approve(address spender, uint256 amount) returns (bool)']);
const octroi = parseAbi([
  'function pay(bytes32 serviceId, address token, uint256 terms, bytes32 r, bytes32 vs)',
  'function slotOf(address subscriber, bytes32 serviceId) view returns (uint256)',
  'function mint(address to, uint256 amount)',
  'function balanceOf(address owner) view returns (uint256)',
]);

const BOOK = `
tokens:
  ODD: { decimals: 6, index: 1 }
  ALT: { decimals: 18, index: 2 }
services: { api: the API, extra: { title: another, protocols: [sse, http, graphql] } }
durations: [30, { days: 60, discount: 10% }]
tiers:
  small:
    limits: { rate: 10, requests: 1000 }
    prices: { ODD: "3.00", ALT: "3" }
    services: { extra: { prices: { ODD: "9.99" } } }
  large:
    limits: { rate: 100, burst: 500, requests: 9000000000, requests_per_day: 500000, bytes: 1GiB, bandwidth: 512 }
    prices: { ODD: "30.00" }
`;
const SERVICES = [{ name: 'api', id: serviceId('api'), protocols: ['http'] }, { name: 'extra', id: serviceId('extra'), protocols: ['http', 'sse', 'graphql'] }];

let dir;
let postgres;
let redis;
let nats;
let payd;
let quoted;
const key = generatePrivateKey();
const slots = new Map();
let chainAnswers = true;
let live; // a contract whose slots payd tells, in place of those of the test

const wallet = () => privateKeyToAccount(generatePrivateKey()).address;

async function call(method, path, { body, headers = {}, url = quoted.url } = {}) {
  const response = await fetch(url + path, {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    body: body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body),
  });
  const text = await response.text();
  let json;
  try {
    json = JSON.parse(text);
  } catch {
    json = null;
  }
  return { status: response.status, headers: response.headers, text, body: json };
}

const order = (subscriber, changes = {}) => ({ service: 'api', tier: 'small', duration_days: 30, subscriber, token: 'ODD', ...changes });
const ask = (subscriber, changes, options) => call('POST', '/quote', { body: order(subscriber, changes), ...options });

async function quote(subscriber, changes, options) {
  const answer = await ask(subscriber, changes, options);
  assert.equal(answer.status, 201, answer.text);
  return answer.body;
}

// What payd would say of this subscriber's slot.
function holds(subscriber, terms, { pending = false, revoked = false, service = 'api' } = {}) {
  slots.set(`${subscriber.toLowerCase()} ${serviceId(service)}`, { slot: terms ? packTerms(terms) : 0n, pending, revoked });
}

async function service(name, env = {}) {
  const [http, ops] = [await freePort(), await freePort()];
  const made = new Service('quoted', {
    dir, name, opsPort: ops, env: {
      OCTROI_QUOTED_LISTEN: `127.0.0.1:${http}`,
      OCTROI_QUOTED_OPS: `127.0.0.1:${ops}`,
      OCTROI_POSTGRES: postgres.conninfo('quoted'),
      OCTROI_REDIS_URL: redis.url,
      OCTROI_NATS_URL: nats.url,
      OCTROI_NATS_CREDENTIALS: nats.credentials('quoted'),
      OCTROI_SECRETS: dir,
      OCTROI_SIGNER_KEY_FILE: join(dir, 'quote-signer.key'),
      OCTROI_PRICEBOOK: join(dir, 'pricebook.yaml'),
      ...env,
    },
  });
  made.url = `http://127.0.0.1:${http}`;
  return made;
}

async function playPayd() {
  payd = await new Bus({ port: nats.port, user: 'payd', password: nats.passwords.payd }).connect();
  payd.subscribe('octroi.v1.chain.slot', async ({ text, reply }) => {
    if (!chainAnswers) return;
    const { subscriber, service_id: id } = JSON.parse(text);
    if (live) {
      const { contract, slotOf } = live;
      const slot = await slotOf(subscriber, id).catch(() => null); // quoted may ask still when its test is over and the chain is gone
      if (slot !== null) payd.publish(reply, { slot: `0x${slot.toString(16).padStart(64, '0')}`, pending: false, revoked: false, head: 12, chain_id: CHAIN, contract });
      return;
    }
    const { slot = 0n, pending = false, revoked = false } = slots.get(`${subscriber.toLowerCase()} ${id}`) ?? {};
    payd.publish(reply, { slot: `0x${slot.toString(16).padStart(64, '0')}`, pending, revoked, head: 12, chain_id: CHAIN, contract: CONTRACT });
  }, 'payd');
}

before(async () => {
  dir = temporaryDirectory('quoted');
  writeFileSync(join(dir, 'quote-signer.key'), `${key}\n`, { mode: 0o600 });
  writeFileSync(join(dir, 'pricebook.yaml'), BOOK);
  writeFileSync(join(dir, 'deployment.json'), JSON.stringify({
    chain_id: CHAIN, contract: CONTRACT, implementation: TOKENS[1], token: TOKENS[0], token_index: 1, receipt_signer: RECEIPT_SIGNER,
    tokens: TOKENS.map((token, i) => ({ token, index: i + 1 })), signer: privateKeyToAccount(key).address, payee: CONTRACT, block: 3,
  }));
  postgres = new Postgres({ dir: join(dir, 'postgres') });
  redis = new Redis({ dir: join(dir, 'redis') });
  nats = new Nats({ dir: join(dir, 'nats') });
  await Promise.all([postgres.start(), redis.start(), nats.start()]);
  await playPayd();
  quoted = await service('quoted');
  await quoted.start();
});

after(async () => {
  payd?.close();
  await quoted?.stop();
  await Promise.all([postgres, redis, nats].map((server) => server?.stop()));
  removeDirectory(dir);
});

test('prices are exact, per service and duration, and carry the version of the price book', async () => {
  const { status, headers, body } = await call('GET', '/pricing');
  assert.equal(status, 200);
  assert.match(headers.get('content-type'), /^application\/json/);
  assert.equal(headers.get('access-control-allow-origin'), '*');
  assert.equal(headers.get('cache-control'), 'no-store');
  assert.deepEqual(body.tokens, [
    { symbol: 'ODD', address: TOKENS[0], decimals: 6, index: 1 }, { symbol: 'ALT', address: TOKENS[1], decimals: 18, index: 2 }]);
  assert.deepEqual(body.durations, [{ days: 30, discount_percent: 0 }, { days: 60, discount_percent: 10 }]);
  assert.deepEqual(body.services, SERVICES);
  const [small, large] = body.tiers;
  assert.deepEqual(small.limits, { rate: 10, burst: 10, requests: 1000, requests_per_day: 0, bytes: 0, messages: 0, cost: 0, bandwidth: 0 });
  assert.equal(large.limits.requests_per_day, 500_000);
  assert.equal(large.limits.bytes, 2 ** 30);
  const price = (service, token) => small.prices.find((one) => one.service === service && one.token === token);
  assert.deepEqual(price('api', 'ODD').durations, [{ days: 30, amount: '3000000' }, { days: 60, amount: '5400000' }]);
  assert.equal(price('extra', 'ODD').price, '9.99');
  assert.equal(price('api', 'ALT').amount, '3000000000000000000');
  assert.match(body.version, /^[0-9a-f]{64}$/);
});

test('discovery names the chain, the contract, the signer and the endpoints', async () => {
  const { body, headers } = await call('GET', '/.well-known/octroi');
  assert.equal(headers.get('access-control-allow-origin'), '*');
  assert.equal(body.chain_id, CHAIN);
  assert.equal(body.contract, CONTRACT);
  assert.equal(body.quote_signer, privateKeyToAccount(key).address);
  assert.equal(body.receipt_signer, RECEIPT_SIGNER);
  assert.equal(body.endpoints.quote, 'http://127.0.0.1:8080/quote');
  assert.equal(body.tokens.length, 2);
  assert.deepEqual(body.services, SERVICES);
});

test('viem finds our signer in a quote, and the transactions say what was signed', async () => {
  const subscriber = wallet();
  const before = Math.floor(Date.now() / 1000);
  const body = await quote(subscriber);
  const after = Math.floor(Date.now() / 1000);
  const { domain, types, primaryType, message } = body.typed_data;
  const signature = serializeSignature(compactSignatureToSignature(parseCompactSignature(body.signature)));
  assert.equal(await recoverTypedDataAddress({ domain, types, primaryType, message, signature }), privateKeyToAccount(key).address);
  assert.equal(hashTypedData({ domain, types, primaryType, message }), body.id);
  assert.equal(BigInt(message.terms), BigInt(body.quote.terms));
  const start = body.terms.start;
  assert.ok(start % TTL === 0 && start <= after && start > before - TTL);
  assert.equal(BigInt(body.quote.terms), packTerms({
    start, expiry: start + 30 * DAY, paid: 3_000_000, plan: body.terms.plan, rate: 10, bandwidth: 0, quota: 1000, seq: 1, token: 1,
    valid_until: (start + 2 * TTL - 1_767_225_600) / 60,
  }));
  assert.equal(body.kind, 'new');
  assert.equal(body.price, '3000000');
  assert.equal(body.amount_due, '3000000');
  assert.equal(Date.parse(body.expires_at) / 1000, start + 2 * TTL + 59);
  assert.equal(Date.parse(body.issued_at) / 1000, start);
  assert.equal(body.subscription_id, subscriptionId({ chainId: CHAIN, contract: CONTRACT, subscriber, serviceId: serviceId('api') }));
  assert.equal(body.signature, body.r + body.vs.slice(2));

  const [approve, pay] = body.transactions;
  assert.equal(approve.to, TOKENS[0]);
  assert.deepEqual(decodeFunctionData({ abi: erc20, data: approve.data }).args, [CONTRACT, 3_000_000n]);
  assert.equal(pay.to, CONTRACT);
  assert.deepEqual(decodeFunctionData({ abi: octroi, data: pay.data }).args,
    [serviceId('api'), TOKENS[0], BigInt(body.quote.terms), body.r, body.vs]);
});

test('the same question has the same answer, byte for byte, also by token address and from another instance', async () => {
  const subscriber = wallet();
  const second = await (await service('quoted-2')).start();
  try {
    // A bucket may end between two questions; then the later pair is the one to compare.
    await waitUntil('two answers of one bucket', async () => {
      const answers = [await ask(subscriber), await ask(subscriber.toLowerCase(), { token: TOKENS[0] }), await ask(subscriber, {}, { url: second.url })];
      answers.forEach(({ status, text }) => assert.equal(status, 201, text));
      return new Set(answers.map(({ text }) => text)).size === 1;
    });
  } finally {
    await second.stop();
  }
  assert.equal(postgres.rows('select * from quotes.plan').length, 2, 'two instances with one price book make no plan twice');
});

test('a quote is read again, then gone, then unknown', async () => {
  const answer = await ask(wallet());
  const { id } = answer.body;
  assert.equal(answer.headers.get('location'), `/quote/${id}`);
  assert.equal((await call('GET', `/quote/${id}`)).text, answer.text);
  assert.equal((await call('GET', `/quote/0x${id.slice(2).toUpperCase()}`)).status, 200);
  const left = Number(redis.command('TTL', `octroi:{${id}}:quote`));
  assert.ok(left > TTL && left <= 2 * TTL + 60, `${left} s`);
  const tomb = Number(redis.command('TTL', `octroi:{${id}}:expired`));
  assert.ok(tomb > DAY + TTL && tomb <= DAY + 2 * TTL + 60, `${tomb} s`);
  redis.command('DEL', `octroi:{${id}}:quote`);
  const gone = await call('GET', `/quote/${id}`);
  assert.equal(gone.status, 410);
  assert.match(gone.body.type, /quote-expired$/);
  redis.command('DEL', `octroi:{${id}}:expired`);
  assert.equal((await call('GET', `/quote/${id}`)).status, 404);
  assert.equal((await call('GET', '/quote/0x12')).status, 400);
});

test('a renewal keeps the start, adds the value and extends the end', async () => {
  const subscriber = wallet();
  const first = await quote(subscriber);
  holds(subscriber, { ...first.terms, paid: 3_000_000, valid_until: 1 });
  const body = await quote(subscriber, { duration_days: 60 });
  assert.equal(body.kind, 'renewal');
  assert.equal(body.terms.start, first.terms.start);
  assert.equal(body.terms.expiry, first.terms.expiry + 60 * DAY);
  assert.equal(body.terms.paid, '8400000');
  assert.equal(body.amount_due, '5400000');
  assert.equal(body.terms.seq, 2);
});

test('a change of plan counts what is unused, rounded against the buyer', async () => {
  const subscriber = wallet();
  const { terms } = await quote(subscriber);
  const now = terms.start;
  const held = { ...terms, paid: 3_000_001, start: now - 10 * DAY - 7, expiry: now + 20 * DAY, seq: 4, valid_until: 1 };
  holds(subscriber, held);
  const body = await quote(subscriber, { tier: 'large' });
  const unused = (3_000_001n * BigInt(held.expiry - body.terms.start)) / BigInt(held.expiry - held.start);
  assert.equal(body.kind, 'change');
  assert.equal(body.price, '30000000');
  assert.equal(BigInt(body.amount_due), 30_000_000n - unused);
  assert.equal(body.terms.start, Date.parse(body.issued_at) / 1000);
  assert.equal(body.terms.seq, 5);
  assert.equal(body.terms.quota, 2 ** 32 - 1, 'a quota above 32 bits saturates in the slot');
  assert.equal(body.terms.bandwidth, 512);

  holds(subscriber, { ...held, paid: 900_000_000 });
  const refused = await ask(subscriber, { tier: 'large' });
  assert.equal(refused.status, 409);
  assert.match(refused.body.detail, /still holds .* ODD/);

  holds(subscriber, { ...held, expiry: now - TTL });
  assert.equal((await quote(subscriber, { tier: 'large' })).kind, 'new');
});

test('a running subscription is not quoted in another token', async () => {
  const subscriber = wallet();
  const { terms } = await quote(subscriber);
  holds(subscriber, { ...terms, paid: 3_000_000, token: 2, valid_until: 1 });
  const refused = await ask(subscriber);
  assert.equal(refused.status, 409);
  assert.match(refused.body.detail, /another token/);
});

test('a pending payment and a revoked slot are conflicts that say which', async () => {
  const subscriber = wallet();
  holds(subscriber, null, { pending: true });
  const pending = await ask(subscriber, {}, { headers: { 'idempotency-key': 'pending-1' } });
  assert.equal(pending.status, 409);
  assert.match(pending.body.type, /payment-pending$/);
  assert.ok(Number(pending.headers.get('retry-after')) > 0);
  holds(subscriber, null);
  assert.equal((await ask(subscriber, {}, { headers: { 'idempotency-key': 'pending-1' } })).status, 201, 'a refusal that may be repeated does not stick to its key');
  holds(subscriber, null, { revoked: true });
  const revoked = await ask(subscriber);
  assert.equal(revoked.status, 409);
  assert.match(revoked.body.detail, /revoked/);
});

test('an Idempotency-Key gives the same bytes, and refuses another order', async () => {
  const subscriber = wallet();
  const headers = { 'idempotency-key': `order-${subscriber}` };
  const first = await ask(subscriber, {}, { headers });
  assert.equal(first.status, 201, first.text);
  holds(subscriber, null, { pending: true });
  const again = await ask(subscriber, {}, { headers });
  assert.equal(again.status, 201);
  assert.equal(again.text, first.text);
  const other = await ask(subscriber, { tier: 'large' }, { headers });
  assert.equal(other.status, 422);
  const elsewhere = await ask(wallet(), {}, { headers });
  assert.equal(elsewhere.status, 201, 'the key is scoped by subscriber');
});

test('each field is checked and named', async () => {
  const subscriber = wallet();
  const bad = [
    ['service', { service: 'nothing' }], ['service', { service: '' }], ['service', { service: 7 }], ['service', { service: 'a'.repeat(64) }],
    ['tier', { tier: 'huge' }], ['tier', { tier: 'small\n' }], ['duration_days', { duration_days: 31 }], ['duration_days', { duration_days: 0 }],
    ['duration_days', { duration_days: 30.5 }], ['duration_days', { duration_days: '30' }], ['duration_days', { duration_days: 1e18 }],
    ['token', { token: 'XYZ' }], ['token', { token: CONTRACT }], ['token', { tier: 'large', token: 'ALT' }], ['token', { token: null }],
    ['subscriber', { subscriber: '0x12' }], ['subscriber', { subscriber: `0x${'0'.repeat(40)}` }], ['subscriber', { subscriber: undefined }],
    ['subscriber', { subscriber: '0xE7f1725E7734CE288F8367e1Bb143E90bb3F0512' }], ['extra', { extra: 1 }],
  ];
  for (const [field, change] of bad) {
    const { status, body, headers } = await ask(subscriber, change);
    assert.equal(status, 400, `${JSON.stringify(change)}: ${JSON.stringify(body)}`);
    assert.match(headers.get('content-type'), /application\/problem\+json/);
    assert.match(body.type, /invalid-field$/, JSON.stringify(change));
    assert.ok(body.detail.includes(field), `${JSON.stringify(change)}: ${body.detail}`);
    assert.ok(body.request_id);
  }
  const raw = async (body, type = 'application/json') => (await call('POST', '/quote', { body, headers: { 'content-type': type } })).status;
  assert.equal(await raw('{'), 400);
  assert.equal(await raw('[]'), 400);
  assert.equal(await raw('{"service":"api","service":"api"}'), 400);
  assert.equal(await raw('['.repeat(3000)), 400);
  assert.equal(await raw(JSON.stringify(order(subscriber)), 'text/plain'), 415);
  assert.equal(await raw(JSON.stringify({ ...order(subscriber), service: 'x'.repeat(5000) })), 413);
  assert.equal((await call('DELETE', '/quote')).status, 405);
  assert.equal((await call('GET', '/nothing')).status, 404);
});

test('browsers may ask', async () => {
  const answer = await new Promise((resolve, reject) => {
    const request = httpRequest(`${quoted.url}/quote`, { method: 'OPTIONS', headers: { origin: 'https://shop.example', 'access-control-request-method': 'POST' } }, resolve);
    request.on('error', reject);
    request.end();
  });
  answer.resume();
  assert.equal(answer.statusCode, 204);
  assert.equal(answer.headers['access-control-allow-origin'], '*');
  assert.match(answer.headers['access-control-allow-methods'], /POST/);
});

test('one client cannot ask without end, and a stranger does not use up what the owner may ask', async () => {
  const subscriber = wallet();
  const from = (ip) => ({ headers: { 'x-forwarded-for': ip } });
  const statuses = [];
  for (let i = 0; i < 11; i += 1) statuses.push((await ask(subscriber, {}, from('198.51.100.7'))).status);
  assert.deepEqual(statuses, [...Array(10).fill(201), 429]);
  const refused = await ask(subscriber, {}, from('198.51.100.7'));
  assert.equal(refused.status, 429);
  assert.match(refused.body.type, /rate-exceeded$/);
  assert.ok(Number(refused.headers.get('retry-after')) >= 1);
  assert.equal((await ask(subscriber, {}, from('198.51.100.8'))).status, 201);
  assert.ok(Number(redis.command('PTTL', `octroi:{198.51.100.7}:quotes:${subscriber.toLowerCase()}`)) > 0, 'every key has a time to live');
});

test('plans are numbered once and cannot be changed', async () => {
  const plans = postgres.rows('select * from quotes.plan_v1 order by plan');
  assert.deepEqual(plans.map(({ plan, tier, version }) => [plan, tier, version]), [[1, 'small', 1], [2, 'large', 1]]);
  assert.equal(plans[1].requests, 9_000_000_000);
  assert.deepEqual(plans.map((plan) => plan.requests_per_day), [0, 500_000]);
  assert.equal(Object.keys(plans[0]).at(-1), 'requests_per_day', 'what is new in a published view stands at its end');
  assert.equal(plans[0].period_seconds, 30 * DAY);
  for (const statement of ['update quotes.plan set rate = 1', 'delete from quotes.plan', 'truncate quotes.plan', 'delete from quotes.price_book', 'update quotes.service set name = name']) {
    assert.throws(() => postgres.sql(statement), /append-only/, statement);
  }
  const readers = ['subd', 'payd', 'adminsvc'];
  for (const role of readers) assert.match(postgres.psql(['-At', '-c', 'select count(*) from quotes.service_v1, quotes.plan_v1'], 'octroi', `octroi_${role}`, postgres.passwords[role]), /^4/);
  assert.throws(() => postgres.psql(['-c', 'select * from quotes.plan'], 'octroi', 'octroi_payd', postgres.passwords.payd), /permission denied/);
});

test('a changed price book comes into force on HUP: changed limits make a new plan, changed prices do not', async () => {
  const file = join(dir, 'pricebook.yaml');
  const reload = async (text, expected) => {
    writeFileSync(file, text);
    quoted.process.signal('SIGHUP');
    await waitUntil(expected, async () => quoted.logContains(expected));
  };
  const version = async () => (await call('GET', '/pricing')).body.version;
  const first = await version();
  await reload(BOOK.replace('"3.00"', '"3.0000001"'), /pricebook.yaml:10: tiers.small.prices.ODD: must be digits/);
  assert.equal(await version(), first, 'a wrong price book changes nothing');

  writeFileSync(file, BOOK.replace('"3.00"', '"4.00"'));
  quoted.process.signal('SIGHUP');
  await waitUntil('the new price', async () => (await version()) !== first);
  const dearer = await quote(wallet());
  assert.equal(dearer.price, '4000000');
  assert.equal(dearer.terms.plan, 1);

  writeFileSync(file, BOOK.replace('requests: 1000 ', 'requests: 2000 '));
  quoted.process.signal('SIGHUP');
  await waitUntil('the new plan', async () => (await quote(wallet())).terms.plan === 3);
  writeFileSync(file, BOOK.replace('requests: 1000 ', 'requests: 1000, requests_per_day: 100 '));
  quoted.process.signal('SIGHUP');
  await waitUntil('the plan with a limit of the day', async () => (await quote(wallet())).terms.plan === 4);
  assert.equal(postgres.rows('select requests_per_day from quotes.plan_v1 where plan = 4')[0].requests_per_day, 100);
  writeFileSync(file, BOOK);
  quoted.process.signal('SIGHUP');
  await waitUntil('the old plan', async () => (await quote(wallet())).terms.plan === 1);
  assert.deepEqual(postgres.rows('select tier, version from quotes.plan order by id').map(({ tier, version: n }) => `${tier} ${n}`), ['small 1', 'large 1', 'small 2', 'small 3']);
  assert.equal(postgres.rows('select * from quotes.price_book').length, 5);
});

test('payd away: 503 with Retry-After, prices stay, and it recovers by itself', async () => {
  chainAnswers = false;
  const refused = await ask(wallet(), {}, { headers: { 'idempotency-key': 'chain-away' } });
  assert.equal(refused.status, 503);
  assert.match(refused.body.type, /chain-unavailable$/);
  assert.ok(Number(refused.headers.get('retry-after')) > 0);
  assert.equal((await call('GET', '/pricing')).status, 200);
  chainAnswers = true;
  const subscriber = wallet();
  await waitUntil('quotes after payd came back', async () => (await ask(subscriber, {}, { headers: { 'idempotency-key': 'chain-away' } })).status === 201);
});

test('redis, nats and postgres away: prices stay, quotes are refused or given as far as they can be, and all recovers', async () => {
  const steady = await quote(wallet());
  await redis.process.kill();
  const refused = await ask(wallet());
  assert.equal(refused.status, 503);
  assert.match(refused.body.type, /\/unavailable$/);
  assert.equal((await call('GET', `/quote/${steady.id}`)).status, 503);
  assert.equal((await call('GET', '/pricing')).status, 200);
  await redis.start();
  await waitUntil('quotes after redis came back', async () => (await ask(wallet())).status === 201);

  await nats.process.kill();
  payd.close();
  const noBus = await ask(wallet());
  assert.equal(noBus.status, 503);
  assert.match(noBus.body.type, /chain-unavailable$/);
  assert.equal((await call('GET', '/pricing')).status, 200);
  await nats.start();
  await playPayd();
  await waitUntil('quotes after nats came back', async () => (await ask(wallet())).status === 201);

  await postgres.stop();
  assert.equal((await ask(wallet())).status, 201, 'plans are known: quotes need no PostgreSQL');
  await postgres.start();
});

test('a dependency that is away at start is waited for, and shown', async () => {
  await postgres.stop();
  const waiting = await service('quoted-waiting');
  waiting.spawn();
  try {
    await waiting.alive();
    await waitUntil('redis and nats to be seen', async () => {
      const ready = await fetch(`${waiting.ops}/readyz`);
      const text = await ready.text();
      return ready.status === 503 && /price book/.test(text);
    });
    await waitUntil('prices, which come from the file', async () => (await call('GET', '/pricing', { url: waiting.url })).status === 200);
    const refused = await ask(wallet(), {}, { url: waiting.url });
    assert.equal(refused.status, 503);
    await postgres.start();
    await waiting.ready();
    await quote(wallet(), {}, { url: waiting.url });
  } finally {
    await waiting.stop();
  }
});

test('a wrong configuration is refused with its place, and no secret is ever logged', async () => {
  const check = async (name, env, expected) => {
    const broken = await service(`quoted-${name}`, env);
    broken.args = ['-t'];
    broken.spawn();
    const { code } = await broken.process.exited;
    assert.notEqual(code, 0, name);
    assert.match(broken.process.log(), expected, name);
  };
  const book = (name, text) => {
    writeFileSync(join(dir, name), text);
    return { OCTROI_PRICEBOOK: join(dir, name) };
  };
  await check('inexact', book('inexact.yaml', BOOK.replace('"3.00"', '"3.000001"')), /inexact.yaml:10: tiers.small.prices.ODD: the price of 60 days/);
  await check('overflow', book('overflow.yaml', BOOK.replace('ALT: "3"', 'ALT: "19"')), /overflow.yaml:10: tiers.small.prices.ALT/);
  await check('unknown', book('unknown.yaml', BOOK.replace('limits: { rate: 10,', 'limits: { rat: 10,')), /unknown.yaml:9: .*rat/);
  await check('key', { OCTROI_SIGNER_KEY_FILE: join(dir, 'pricebook.yaml') }, /signer.key_file: (not a secp256k1|.*too long)/);
  mkdirSync(join(dir, 'empty'), { recursive: true });
  await check('deployment', { OCTROI_SECRETS: join(dir, 'empty') }, /chain.deployment/);
  copyFileSync(join(root, 'config/pricebook.yaml'), join(dir, 'shipped.yaml'));
  const shipped = await service('quoted-shipped', { OCTROI_PRICEBOOK: join(dir, 'shipped.yaml') });
  shipped.args = ['-t'];
  shipped.spawn();
  assert.equal((await shipped.process.exited).code, 0, shipped.process.log());
  const logs = readFileSync(quoted.process.logFile, 'utf8');
  assert.ok(!logs.includes(key.slice(2, 20)) && !logs.includes('quoted-password'));
  assert.ok(logs.includes(privateKeyToAccount(key).address), 'the address of the signing key is logged');
});

test('the contract takes what was quoted: new, renewal, change of plan; and each quote once', async () => {
  const chain = new Chain({ dir: join(dir, 'chain'), chainId: CHAIN });
  let seller;
  try {
    await chain.start();
    const payer = privateKeyToAccount(accounts[2]);
    const { contract, token } = chain.deploy({ signer: privateKeyToAccount(key).address, payee: payer.address, operator: payer.address });
    const network = defineChain({ id: CHAIN, name: 'test', nativeCurrency: { name: 'x', symbol: 'x', decimals: 18 }, rpcUrls: { default: { http: [chain.url] } } });
    const client = createPublicClient({ chain: network, transport: http(chain.url), pollingInterval: 20 });
    const purse = createWalletClient({ account: payer, chain: network, transport: http(chain.url) });
    const settled = async (hash) => (await transactionReceipt(client, hash)).status;
    const balance = () => client.readContract({ address: token, abi: octroi, functionName: 'balanceOf', args: [payer.address] });
    live = { contract, slotOf: (subscriber, id) => client.readContract({ address: contract, abi: octroi, functionName: 'slotOf', args: [subscriber, id] }) };
    assert.equal(await settled(await purse.writeContract({ address: token, abi: octroi, functionName: 'mint', args: [payer.address, 10n ** 9n] })), 'success');
    writeFileSync(join(dir, 'live.yaml'), BOOK.replace(', ALT: "3"', '').replace(/\n {2}ALT:.*/, ''));
    seller = await service('quoted-live', { OCTROI_SECRETS: join(dir, 'chain'), OCTROI_PRICEBOOK: join(dir, 'live.yaml') });
    await seller.start();
    for (const [changes, kind] of [[{}, 'new'], [{ duration_days: 60 }, 'renewal'], [{ tier: 'large' }, 'change'], [{ tier: 'large' }, 'renewal']]) {
      const body = await quote(payer.address, changes, { url: seller.url });
      assert.equal(body.kind, kind);
      const held = await balance();
      for (const { to, data, value } of body.transactions) assert.equal(await settled(await purse.sendTransaction({ to, data, value: BigInt(value) })), 'success', kind);
      assert.equal(held - (await balance()), BigInt(body.amount_due), kind);
      assert.equal(await live.slotOf(payer.address, serviceId('api')), BigInt(body.quote.terms));
      const [{ to, data }] = body.transactions.slice(-1);
      await assert.rejects(client.call({ account: payer.address, to, data }), 'a quote is paid once');
    }
  } finally {
    live = undefined;
    await seller?.stop();
    await chain.stop();
  }
});

test('metrics count quotes and refusals', async () => {
  assert.ok((await quoted.metric('octroi_quoted_quotes_total', 'tier="small"')) > 10);
  assert.ok((await quoted.metric('octroi_quoted_refusals_total', 'problem="rate-exceeded"')) >= 2);
  assert.ok((await quoted.metric('octroi_quoted_http_requests_total', 'route="/pricing"')) > 3);
});
