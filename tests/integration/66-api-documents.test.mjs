// docs/openapi, held against the running services: every documented answer is given once, and nothing else is. docs/asyncapi.yaml, held against all
// that they say to each other meanwhile.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { parseAbi } from 'viem';

import { AsyncApi } from '../support/asyncapi.mjs';
import { Bus } from '../support/bus.mjs';
import { Buyer } from '../support/buyer.mjs';
import { OpenApi } from '../support/openapi.mjs';
import { removeDirectory, root, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { Stack } from '../support/stack.mjs';

const dir = temporaryDirectory('api-documents');
const stack = new Stack({
  dir, env: { OCTROI_PRICEBOOK: join(root, 'tests/e2e/pricebook.yaml'), OCTROI_CONFIRMATIONS: '3', OCTROI_CONFIRM_AFTER: '1d', OCTROI_QUOTES_PER_SUBSCRIBER: '8' },
});
const pages = { quoted: new OpenApi('quoted'), payd: new OpenApi('payd'), subd: new OpenApi('subd'), admin: new OpenApi('admin') };
const messages = new AsyncApi();
const UNKNOWN = `0x${'ab'.repeat(32)}`;
let buyer;
let quote; // that the buyer pays
let listener;

before(async () => {
  await stack.start();
  listener = await new Bus({ port: stack.nats.port, user: 'tester', password: 'tester' }).connect();
  messages.listen(listener);
  buyer = await newBuyer();
});

after(async () => {
  listener?.close();
  await stack.stop();
  removeDirectory(dir);
});

async function newBuyer() {
  const made = await new Buyer({ gateway: stack.gateway, rpcUrl: stack.chain.url }).connect();
  await made.fund(made.discovery.tokens[0].address);
  return made;
}

// Asks, expects this status (or one of these), holds the answer against the page, and gives its body.
async function ask(service, status, method, path, { body, bearer, type = 'application/json', headers = {}, base = stack.gateway } = {}) {
  const response = await fetch(base + path, {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': type }), ...(bearer ? { authorization: `Bearer ${bearer}` } : {}), ...headers },
    body: body === undefined || typeof body === 'string' ? body : JSON.stringify(body),
  });
  const answer = { status: response.status, headers: response.headers, text: await response.text() };
  assert.ok([status].flat().includes(answer.status), `${method} ${path}: ${answer.status} ${answer.text}`);
  pages[service].check(method, path, answer, typeof body === 'object' ? body : undefined);
  return JSON.parse(answer.text);
}

const order = (who, changes = {}) => ({ service: 'api', tier: 'bulk', duration_days: 30, subscriber: who.address, token: 'ODD', ...changes });
const refusals = async (service, path) => {
  await ask(service, 400, 'POST', path, { body: '{}' });
  await ask(service, 413, 'POST', path, { body: JSON.stringify({ service: 'x'.repeat(20_000) }) });
  await ask(service, 415, 'POST', path, { body: '{}', type: 'text/plain' });
};

async function pays(quote) {
  await buyer.pay(quote);
  await waitUntil('payd to see it', async () => (await buyer.json('GET', `/payment/${quote.id}`)).status === 200);
}

test('prices, quotes and discovery', async () => {
  await ask('quoted', 200, 'GET', '/pricing');
  await ask('quoted', 200, 'GET', '/.well-known/octroi');
  await refusals('quoted', '/quote');
  await ask('quoted', 201, 'POST', '/quote', { body: order(buyer), headers: { 'idempotency-key': 'one' } });
  await ask('quoted', 422, 'POST', '/quote', { body: order(buyer, { tier: 'tiny' }), headers: { 'idempotency-key': 'one' } });
  const other = new Buyer({ gateway: stack.gateway, rpcUrl: stack.chain.url });
  const { id } = await ask('quoted', 201, 'POST', '/quote', { body: order(other) });
  await Promise.all(Array.from({ length: 30 }, () => ask('quoted', [201, 429], 'POST', '/quote', { body: order(other) })));
  await ask('quoted', 200, 'GET', `/quote/${id}`);
  await ask('quoted', 400, 'GET', '/quote/0x12');
  await ask('quoted', 404, 'GET', `/quote/${UNKNOWN}`);
  stack.redis.command('DEL', `octroi:{${id}}:quote`); // as if its time were over
  await ask('quoted', 410, 'GET', `/quote/${id}`);
});

test('a payment, its receipt, and its refund', async () => {
  quote = await ask('quoted', 201, 'POST', '/quote', { body: order(buyer) });
  for (const kind of ['payment', 'receipt']) {
    await ask('payd', 400, 'GET', `/${kind}/0x12`);
    await ask('payd', 404, 'GET', `/${kind}/${quote.id}`);
  }
  await pays(quote);
  assert.equal((await ask('payd', 200, 'GET', `/payment/${quote.id}`)).confirmed_at, null);
  await ask('payd', 409, 'GET', `/receipt/${quote.id}`);
  await ask('quoted', 409, 'POST', '/quote', { body: order(buyer, { tier: 'tiny' }) });
  await stack.chain.mine(3);
  await buyer.waitPayment(quote);
  await ask('payd', 200, 'GET', `/payment/${quote.id}`);
  await ask('payd', 200, 'GET', `/receipt/${quote.id}`);
});

// bearer: the owner's key, unless another is named.
function admin(status, method, path, options = {}) {
  const bearer = readFileSync(join(stack.secrets, 'admin.key'), 'utf8').trim();
  return ask('admin', status, method, path, { bearer, base: `${stack.services.adminsvc.url}/admin/v1`, ...options });
}

test('administration', async () => {
  const { id, key } = await admin(201, 'POST', '/keys', { body: { label: 'for a while', role: 'viewer' } });
  assert.ok((await admin(200, 'GET', '/keys')).items.some((one) => one.id === id));
  const [mine] = (await admin(200, 'GET', '/keys')).items.filter(({ role }) => role === 'owner');
  await admin(409, 'DELETE', `/keys/${mine.id}`); // the last owner
  const { subscription, token } = await admin(200, 'GET', `/payments/${quote.id}`);
  await admin(200, 'GET', `/subscriptions/${subscription}`);
  for (const what of ['subscriptions', 'payments', 'transfers', 'audit']) {
    await admin(200, 'GET', `/${what}`);
    await admin(400, 'GET', `/${what}?limit=0`);
    await admin(401, 'GET', `/${what}`, { bearer: undefined });
  }
  for (const [method, path, body] of [['GET', '/keys'], ['POST', '/keys', { label: 'x' }], ['DELETE', `/keys/${id}`], ['POST', `/subscriptions/${subscription}/revoke`, { reason: 'x' }],
    ['POST', `/payments/${quote.id}/refund`, { reason: 'x' }], ['POST', `/transfers/${UNKNOWN}/refund`, { reason: 'x' }],
    ['POST', '/withdrawals', { token, fees: false, reason: 'x' }], ['GET', '/audit/verify']]) await admin(403, method, path, { body, bearer: key });
  await admin(404, 'GET', `/subscriptions/sub_${'0'.repeat(32)}`);
  await admin(404, 'GET', `/payments/${UNKNOWN}`);
  await admin(200, 'DELETE', `/keys/${id}`);
  await admin(200, 'POST', '/withdrawals', { body: { token, fees: false, reason: 'the month' }, headers: { 'idempotency-key': 'month' } });
  assert.equal((await admin(200, 'GET', '/audit/verify')).ok, true);

  // Money that came by itself goes back; and a subscription is taken away, on the chain too.
  const stray = await newBuyer();
  await stray.settled(await stray.wallet.writeContract({ address: token, abi: parseAbi(['function transfer(address, uint256) returns (bool)']), functionName: 'transfer', args: [stack.deployment.contract, 5n] }));
  await stack.chain.mine(3);
  const found = await waitUntil('the transfer to be final', async () => (await admin(200, 'GET', '/transfers?state=confirmed')).items[0]);
  await admin(200, 'POST', `/transfers/${found.id}/refund`, { body: { reason: 'nothing was bought' } });
  const taken = await newBuyer();
  const sold = await ask('quoted', 201, 'POST', '/quote', { body: order(taken) });
  await taken.pay(sold);
  await stack.chain.mine(3);
  await taken.waitPayment(sold);
  await admin(200, 'POST', `/subscriptions/${(await admin(200, 'GET', `/payments/${sold.id}`)).subscription}/revoke`, { body: { reason: 'fraud' } });

  // What nobody asks by himself here.
  const { subscriber, service_id } = await admin(200, 'GET', `/payments/${quote.id}`);
  await listener.request('octroi.v1.sub.keys', {});
  const chain = await listener.request('octroi.v1.chain.status', {});
  assert.equal(chain.ok, true);
  await listener.request('octroi.v1.admin.payd.set-revoked', { subscriber, service_id, revoked: false, reason: 'by hand', actor: 'key_1' });

  // What is not written down is not there.
  for (const [template, methods] of Object.entries(pages.admin.page.paths)) {
    const path = template.replace('{id}', template.startsWith('/subscriptions') ? subscription : template.startsWith('/keys') ? mine.id : quote.id);
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'].filter((one) => !methods[one.toLowerCase()])) {
      const response = await fetch(`${stack.services.adminsvc.url}/admin/v1${path}`, { method, headers: { authorization: `Bearer ${readFileSync(join(stack.secrets, 'admin.key'), 'utf8').trim()}` } });
      assert.equal(response.status, 405, `${method} ${path}: ${await response.text()}`);
    }
  }
});

test('Sign-In, tokens, and what a subscriber sees', async () => {
  const stranger = await newBuyer();
  const challenge = (who) => ask('subd', 200, 'POST', '/token/challenge', { body: { address: who.address, service: 'api' } });
  const signed = async (who) => {
    const { message } = await challenge(who);
    return { message, signature: await who.account.signMessage({ message }) };
  };
  for (const path of ['/token/challenge', '/token', '/token/refresh']) await refusals('subd', path);
  const grant = await ask('subd', 200, 'POST', '/token', { body: await signed(buyer) });
  await ask('subd', 401, 'POST', '/token', { body: { ...(await signed(buyer)), signature: `0x${'11'.repeat(65)}` } });
  await ask('subd', 402, 'POST', '/token', { body: await signed(stranger) });
  const next = await ask('subd', 200, 'POST', '/token/refresh', { body: { refresh_token: grant.refresh_token } });
  await ask('subd', 401, 'POST', '/token/refresh', { body: { refresh_token: 'x'.repeat(43) } });
  assert.equal((await buyer.call('/v1/hello', { headers: { authorization: `Bearer ${next.access_token}` } })).status, 200);
  for (const what of ['subscription', 'usage']) {
    await ask('subd', 200, 'GET', `/${what}/${grant.subscription}`, { bearer: grant.access_token });
    await ask('subd', 401, 'GET', `/${what}/${grant.subscription}`);
    await ask('subd', 404, 'GET', `/${what}/sub_${'0'.repeat(32)}`, { bearer: grant.access_token });
  }
  await ask('subd', 200, 'GET', '/.well-known/jwks.json');

  // With the money the subscription goes, and the receipt.
  await admin(200, 'POST', `/payments/${quote.id}/refund`, { body: { reason: 'asked for' } });
  await buyer.waitPayment(quote, 'refunded');
  await ask('payd', 200, 'GET', `/payment/${quote.id}`);
  await ask('payd', 410, 'GET', `/receipt/${quote.id}`);
  await waitUntil('the subscription to end', async () => (await buyer.json('POST', '/token', { body: await buyer.signIn() })).status === 402);
  await ask('subd', 402, 'POST', '/token/refresh', { body: { refresh_token: next.refresh_token } });

  await stack.postgres.stop();
  await ask('payd', 503, 'GET', `/payment/${quote.id}`);
  await ask('payd', 503, 'GET', `/receipt/${quote.id}`);
  for (const what of ['subscription', 'usage']) await ask('subd', 503, 'GET', `/${what}/${grant.subscription}`, { bearer: grant.access_token });
  await ask('subd', 503, 'POST', '/token/refresh', { body: { refresh_token: 'x'.repeat(43) } });
  const late = await signed(buyer);
  await ask('subd', 503, 'POST', '/token', { body: late });
  await stack.redis.stop();
  await ask('subd', 503, 'POST', '/token/challenge', { body: { address: buyer.address, service: 'api' } });
  await ask('quoted', 503, 'POST', '/quote', { body: order(stranger) });
  await ask('quoted', 503, 'GET', `/quote/${UNKNOWN}`);
});

test('what the services say to each other is documented, and what is documented is said', () => {
  assert.deepEqual(messages.failures, []);
  assert.deepEqual(messages.unmet, ['octroi.v1.events.payment.refund-failed', 'octroi.v1.events.chain.{what}']); // these in 53-wallet
});

test('nothing is documented that was not met', () => {
  const unmet = Object.fromEntries(Object.entries(pages).map(([name, page]) => [name, page.unmet]));
  assert.deepEqual(unmet, { quoted: ['GET /pricing default'], payd: [], subd: [], admin: [] });
});
