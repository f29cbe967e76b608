// The whole story on the real stack: a wallet of viem buys, signs in with siwe, calls, and is billed exactly.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SignJWT, UnsecuredJWT, decodeJwt, decodeProtectedHeader, generateKeyPair, importPKCS8 } from 'jose';
import { Pool } from 'undici';

import { Buyer } from '../support/buyer.mjs';
import { removeDirectory, sleep, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { Stack } from '../support/stack.mjs';
import { run } from '../../tools/proof.mjs';

const dir = temporaryDirectory('e2e');
const stack = new Stack({ dir, blockTime: 1, env: { OCTROI_PRICEBOOK: fileURLToPath(new URL('pricebook.yaml', import.meta.url)) } });
let token;

before(async () => {
  await stack.start();
  const pricing = await (await fetch(`${stack.gateway}/pricing`)).json();
  token = pricing.tokens[0];
});

after(async () => {
  await stack.stop();
  removeDirectory(dir);
});

async function newBuyer() {
  const buyer = await new Buyer({ gateway: stack.gateway, rpcUrl: stack.chain.url }).connect();
  await buyer.fund(token.address);
  return buyer;
}

async function subscriber(tier) {
  const buyer = await newBuyer();
  buyer.quoted = await buyer.quote({ tier, duration_days: 30, token: token.symbol });
  buyer.receipts = await buyer.pay(buyer.quoted);
  await buyer.waitPayment(buyer.quoted);
  await buyer.token();
  return buyer;
}

const settled = (buyer, count) => waitUntil(`${count} requests in the ledger`, async () => {
  const usage = await buyer.usage();
  return usage.used.requests >= count && usage;
});

test('a call without a token is 402 and says how to buy', async () => {
  const before = await stack.served();
  const { status, body, headers } = await (await new Buyer({ gateway: stack.gateway, rpcUrl: stack.chain.url })).call();
  assert.equal(status, 402);
  assert.match(headers.get('content-type'), /application\/problem\+json/);
  assert.match(body.type, /payment-required$/);
  assert.match(body.next, /quote/);
  assert.ok(body.request_id);
  assert.equal(await stack.served(), before);
});

test('a wallet buys, signs in, calls, and the ledger holds what the origin served', async () => {
  const buyer = await newBuyer();
  const quote = await buyer.quote({ tier: 'bulk', duration_days: 30, token: token.symbol });
  assert.equal((await buyer.signer(quote)).toLowerCase(), stack.deployment.signer.toLowerCase());
  await buyer.pay(quote);
  const payment = await buyer.waitPayment(quote);
  assert.equal(payment.state, 'activated');
  const grant = await buyer.token();
  assert.equal(grant.subscription, quote.subscription_id);

  // Through the gateway, by the signer that discovery names, and believed by the contract.
  const receipt = await buyer.must(200, 'GET', `/receipt/${quote.id}`);
  assert.deepEqual([receipt.sold.service, receipt.sold.tier], ['api', 'bulk']);
  writeFileSync(join(dir, 'receipt.json'), JSON.stringify(receipt));
  const checked = await run(['receipt', join(dir, 'receipt.json'), '--signer', buyer.discovery.receipt_signer, '--rpc', stack.chain.url, '--current']);
  assert.equal(checked.code, 0, checked.stderr);

  const before = await stack.served();
  for (let i = 0; i < 50; i += 1) {
    const { status, body } = await buyer.call(`/v1/item/${i}`);
    assert.equal(status, 200);
    assert.equal(body.subscription, grant.subscription);
  }
  assert.equal((await stack.served()) - before, 50);
  const usage = await settled(buyer, 50);
  assert.equal(usage.used.requests, 50);
  const subscription = await buyer.must(200, 'GET', `/subscription/${grant.subscription}`, { headers: { authorization: `Bearer ${buyer.accessToken}` } });
  assert.equal(subscription.state, 'active');
  assert.equal(subscription.tier, 'bulk');
});

test('forged, expired, wrong-key and unsigned tokens are 401 and reach no origin', async () => {
  const buyer = await subscriber('bulk');
  const header = decodeProtectedHeader(buyer.accessToken);
  const claims = decodeJwt(buyer.accessToken);
  const key = await importPKCS8(readFileSync(join(dir, 'secrets/token-signer.pem'), 'utf8'), 'ES256');
  const other = (await generateKeyPair('ES256')).privateKey;
  const now = Math.floor(Date.now() / 1000);
  const sign = (changes, signer = key, protectedHeader = header) => new SignJWT({ ...claims, ...changes }).setProtectedHeader(protectedHeader).sign(signer);
  const [head, payload, signature] = buyer.accessToken.split('.');
  const flipped = Buffer.from(signature, 'base64url');
  flipped[10] ^= 1;
  const forgedClaims = Buffer.from(JSON.stringify({ ...claims, tier: 'gold' })).toString('base64url');
  const bad = {
    'flipped signature bit': `${head}.${payload}.${flipped.toString('base64url')}`,
    'other claims under the signature': `${head}.${forgedClaims}.${signature}`,
    expired: await sign({ iat: now - 3600, exp: now - 60 }),
    'wrong key, known kid': await sign({}, other),
    'unknown kid': await sign({}, other, { ...header, kid: 'A'.repeat(43) }),
    'alg none': new UnsecuredJWT(claims).encode(),
    'alg none with a kid': `${Buffer.from(JSON.stringify({ ...header, alg: 'none' })).toString('base64url')}.${payload}.`,
    'HMAC of the public key': await new SignJWT(claims).setProtectedHeader({ ...header, alg: 'HS256' }).sign(Buffer.from(header.kid)),
    garbage: 'a.b.c',
    empty: '.',
  };
  const before = await stack.served();
  for (const [name, value] of Object.entries(bad)) {
    const { status, headers, body } = await buyer.call('/v1/x', { headers: { authorization: `Bearer ${value}` } });
    assert.equal(status, 401, `${name}: ${JSON.stringify(body)}`);
    assert.match(headers.get('www-authenticate') ?? '', /^Bearer/, name);
  }
  assert.equal(await stack.served(), before);
  assert.equal((await buyer.call('/v1/x', { headers: { authorization: `Bearer ${await sign({ jti: 'another' })}` } })).status, 200, 'our own signature over good claims passes');
});

test('the call after the last of a quota is 429 and is not forwarded', async () => {
  const buyer = await subscriber('tiny');
  const before = await stack.served();
  for (let i = 0; i < 20; i += 1) assert.equal((await buyer.call(`/v1/${i}`)).status, 200, `call ${i + 1} of 20`);
  const refused = await buyer.call('/v1/over');
  assert.equal(refused.status, 429);
  assert.match(refused.body.type, /quota-exceeded$/);
  assert.ok(Number(refused.headers.get('retry-after')) > 0);
  assert.equal((await stack.served()) - before, 20);
  const usage = await settled(buyer, 20);
  assert.equal(usage.used.requests, 20);
  assert.equal(usage.left.requests, 0);
});

test('the call after the last of a day is 429 until midnight, also where the period has no limit', { timeout: 120_000 }, async () => {
  const toMidnight = () => 86400 - (Math.floor(Date.now() / 1000) % 86400);
  const buyer = await subscriber('daily');
  if (toMidnight() < 45) await waitUntil('midnight', () => toMidnight() > 45, { timeout: 60_000 });
  const before = await stack.served();
  const statuses = await Promise.all(Array.from({ length: 30 }, (_, i) => buyer.call(`/v1/d${i}`).then(({ status }) => status)));
  assert.equal(statuses.filter((status) => status === 200).length, 20);
  assert.equal(statuses.filter((status) => status === 429).length, 10);
  assert.equal((await stack.served()) - before, 20);
  const usage = await settled(buyer, 20);
  assert.equal(usage.limits.requests, null);
  assert.equal(usage.used.requests_per_day, 20);
  assert.equal(usage.left.requests_per_day, 0);
  await waitUntil('all that was lent to be back', async () => {
    const refused = await buyer.call('/v1/over');
    assert.equal(refused.status, 429);
    assert.match(refused.body.type, /quota-exceeded$/);
    return Math.abs(Number(refused.headers.get('retry-after')) - toMidnight()) <= 3;
  });
});

test('a quota asked for by many at once is spent to the last and not further', async () => {
  const buyer = await subscriber('tiny');
  const before = await stack.served();
  const statuses = await Promise.all(Array.from({ length: 60 }, (_, i) => buyer.call(`/v1/p${i}`).then(({ status }) => status)));
  assert.equal(statuses.filter((status) => status === 200).length, 20);
  assert.equal(statuses.filter((status) => status === 429).length, 40);
  assert.equal((await stack.served()) - before, 20);
});

test('a revoked subscription is refused within a second', async () => {
  const buyer = await subscriber('bulk');
  assert.equal((await buyer.call()).status, 200);
  const key = readFileSync(join(dir, 'secrets/admin.key'), 'utf8').trim();
  const admin = `http://127.0.0.1:${stack.ports.adminsvc}/admin/v1`;
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  const revoked = await fetch(`${admin}/subscriptions/${buyer.grant.subscription}/revoke`, { method: 'POST', headers, body: JSON.stringify({ reason: 'end-to-end test' }) });
  assert.equal(revoked.status, 200, await revoked.text());
  // The promise is a second; what is waited for is the event, and what is asserted is that nothing passes after the first refusal.
  const refused = await waitUntil('the revocation to reach the proxy', async () => {
    const answer = await buyer.call();
    return answer.status === 402 && answer;
  }, { every: 20 });
  assert.match(refused.body.detail, /revoked/);
  const before = await stack.served();
  assert.equal((await buyer.call()).status, 402);
  assert.equal(await stack.served(), before);
  // Nobody sells to who is revoked: the payment would be for nothing.
  const again = await buyer.json('POST', '/quote', { body: { service: 'api', tier: 'bulk', duration_days: 30, subscriber: buyer.address, token: token.symbol } });
  assert.equal(again.status, 409);
  assert.match(again.body.detail, /revoked/);
  const audit = await (await fetch(`${admin}/audit`, { headers })).json();
  assert.ok(JSON.stringify(audit).includes(buyer.grant.subscription));
});

test('a renewal keeps the period and extends the subscription', async () => {
  const buyer = await subscriber('bulk');
  const first = await buyer.must(200, 'GET', `/subscription/${buyer.grant.subscription}`, { headers: { authorization: `Bearer ${buyer.accessToken}` } });
  const quote = await buyer.quote({ tier: 'bulk', duration_days: 30, token: token.symbol });
  assert.equal(quote.subscription_id, buyer.grant.subscription);
  await buyer.pay(quote);
  await buyer.waitPayment(quote);
  const second = await buyer.must(200, 'GET', `/subscription/${buyer.grant.subscription}`, { headers: { authorization: `Bearer ${buyer.accessToken}` } });
  assert.equal(second.expiry - first.expiry, 30 * 86_400);
  assert.equal(second.period_start, first.period_start);
  assert.equal(second.start, first.start);
});

test('a payment seen by two payd instances is activated once', async () => {
  const second = await stack.instance('payd', 'payd-2');
  stack.proxies.push(second);
  await second.spawn().alive();
  const buyer = await subscriber('bulk');
  const events = stack.postgres.rows(`select count(*)::int as n from payments.payment_event where payment_id = '${buyer.quoted.id.toLowerCase()}' and state = 'activated'`);
  assert.equal(events[0].n, 1);
  const applied = stack.postgres.rows(`select version::int from subscriptions.subscription_v1 where id = '${buyer.grant.subscription}'`);
  assert.equal(applied.length, 1);
  const usage = await buyer.usage();
  assert.equal(usage.left.requests, 100_000);
});

test('a proxy killed in the middle of 10,000 calls, 200 at a time, loses no count', { timeout: 300_000 }, async () => {
  const buyer = await subscriber('bulk');
  const before = await stack.served();
  const total = 10_000;
  const pool = new Pool(stack.gateway, { connections: 200, pipelining: 1 });
  const headers = { authorization: `Bearer ${buyer.accessToken}` };
  let sent = 0;
  let answered = 0;
  let killed = null;
  const worker = async () => {
    while (sent < total) {
      sent += 1;
      if (sent === total / 2) killed = stack.proxy.kill().then(() => stack.proxy.start());
      try {
        const { statusCode, body } = await pool.request({ path: `/v1/k${sent}`, method: 'GET', headers });
        await body.dump();
        if (statusCode === 200) answered += 1;
      } catch {
        await sleep(20);
      }
    }
  };
  await Promise.all(Array.from({ length: 200 }, worker));
  await killed;
  await pool.destroy();
  const threads = await stack.proxy.metric('octroi_proxy_workers');
  const served = (await stack.served()) - before;
  assert.ok(served >= answered, `${served} served, ${answered} answered`);
  assert.ok(served > total / 2 - 200, `only ${served} served`);
  await buyer.token();
  // The dead process's journal is adopted, sealed and applied: wait until it is gone and the ledger stands still.
  const usage = await waitUntil('the ledger to hold what was served', async () => {
    const { used } = await buyer.usage();
    return used.requests >= served && used;
  }, { timeout: 60_000, every: 250 });
  await sleep(2_000);
  const billed = (await buyer.usage()).used.requests;
  assert.ok(billed >= served && billed <= served + Math.max(1, threads), `billed ${billed}, served ${served}, ${threads} threads`);
  assert.ok(usage.requests >= served);
});
