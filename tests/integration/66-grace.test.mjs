// What a proxy makes of a subd that it hears nothing of, or nothing good: the test plays subd on a real bus.
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Bus } from '../support/bus.mjs';
import { freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { Nats } from '../support/servers.mjs';
import { Service } from '../support/service.mjs';

const now = () => Math.floor(Date.now() / 1000);
const base64 = (value) => Buffer.from(value).toString('base64url');
const record = {
  id: `sub_${randomBytes(16).toString('hex')}`, version: 1, state: 'active', service: 'api', subscriber: '0x70997970C51812dc3A010C7d01b50e0d17dc79C8', tier: 'open', plan: 1,
  start: now() - 100, expiry: now() + 100_000, period_start: now() - 100, period_end: now() + 100_000,
  limits: { rate: 0, burst: 0, requests: 0, bytes: 0, messages: 0, cost: 0 },
};
const played = { keys: [], away: false, beats: [] };
let dir;
let nats;
let bus;
let origin;
let proxy;
let url;
let lease = 0;

class Key {
  constructor() {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const { kty, crv, x, y } = publicKey.export({ format: 'jwk' });
    const kid = createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url');
    this.privateKey = privateKey;
    this.jwk = { kty, crv, x, y, kid, use: 'sig', alg: 'ES256' };
  }

  token({ life = 300, ago = 0 } = {}) {
    const claims = { iss: 'test', aud: 'api', sub: record.id, iat: now() - ago, exp: now() - ago + life };
    const text = `${base64(JSON.stringify({ alg: 'ES256', typ: 'at+jwt', kid: this.jwk.kid }))}.${base64(JSON.stringify(claims))}`;
    return `${text}.${sign('sha256', Buffer.from(text), { key: this.privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
  }
}

const answers = {
  'octroi.v1.sub.check': ({ subscriptions }) => ({ head: 1, subscriptions: subscriptions.map((id) => (id === record.id ? record : { id, version: 0, state: 'unknown' })) }),
  'octroi.v1.sub.keys': () => ({ keys: played.keys.map(({ jwk }) => jwk) }),
  'octroi.v1.sub.lease': ({ journals, ask }) => ({
    applied: Object.fromEntries(journals.map((journal) => [journal, 0])),
    grants: ask.map(({ sub }) => ({ sub, lease: (lease += 1), period: record.period_start, day: new Date().toISOString().slice(0, 10), ttl_ms: 1000, requests: -1, bytes: -1, messages: -1, cost: -1 })),
    refused: [],
  }),
};

const beat = (healthy = true, instance = 'one') => bus.publish('octroi.v1.sub.heartbeat', { instance, healthy, postgres: healthy, redis: true, head: 1, at_ms: Date.now() });
const beating = (how = beat) => {
  clearInterval(played.timer);
  how();
  played.timer = setInterval(how, 500);
};

before(async () => {
  dir = temporaryDirectory('grace');
  nats = new Nats({ dir: join(dir, 'nats') });
  await nats.start();
  bus = await new Bus({ port: nats.port, user: 'subd', password: nats.passwords.subd }).connect();
  for (const [subject, answer] of Object.entries(answers)) {
    bus.subscribe(subject, ({ text, reply }) => played.away || bus.publish(reply, answer(JSON.parse(text || '{}'))));
  }
  origin = createServer((request, response) => {
    if (request.url !== '/v1/events') return response.end('fine');
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    return response.write('data: begin\n\n');
  });
  await new Promise((resolve) => origin.listen(0, '127.0.0.1', resolve));
  const [port, opsPort] = [await freePort(), await freePort()];
  url = `http://127.0.0.1:${port}`;
  proxy = new Service('proxy', { dir, opsPort, config: `
listeners: ["127.0.0.1:${port}"]
workers: "1"
ops: { address: "127.0.0.1:${opsPort}" }
timeouts: { drain_delay: 0s, shutdown: 2s }
pools: { api: { backends: ["http://127.0.0.1:${origin.address().port}"] } }
routes: [{ path: /v1/, pool: api, access: subscription, service: api, protocols: [http, sse] }]
billing: { nats: { urls: ["${nats.url}"], credentials: "${nats.credentials('proxy')}" }, journal: "${dir}/journal/", grace: 9s }
` });
  played.keys = [new Key()];
  proxy.spawn();
  await proxy.alive();
  beating();
  await waitUntil('the first call', async () => (await call()).status === 200);
  await waitUntil('a heartbeat', async () => (await proxy.metric('octroi_proxy_subd_healthy')) === 1);
});

after(async () => {
  clearInterval(played.timer);
  origin?.closeAllConnections();
  origin?.close();
  bus?.close();
  await proxy?.stop();
  await nats?.stop();
  if (dir) removeDirectory(dir);
});

async function call(token = played.keys[0].token(), path = '/v1/x') {
  const response = await fetch(url + path, { headers: { authorization: `Bearer ${token}` } });
  return { status: response.status, body: await response.text() };
}

// A subd that is ill beside one that is well is no reason to honour what has expired.
test('one healthy subd is enough', async () => {
  let turn = 0;
  const stale = () => call(played.keys[0].token({ life: 60, ago: 66 })); // by more than clocks may differ, by less than the grace
  beating(() => beat((turn += 1) % 2 === 0, `i${turn % 2}`));
  for (let i = 0; i < 20; i += 1) {
    assert.equal((await stale()).status, 401);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  beating(() => beat(false));
  await waitUntil('the grace period', async () => (await stale()).status === 200);
  beating();
  await waitUntil('its end', async () => (await stale()).status === 401);
});

test('a key that cannot be asked for is no fault of the token', async () => {
  const fresh = new Key();
  const status = async () => (await call(fresh.token())).status;
  played.away = true;
  await waitUntil('a question', async () => (await status()) === 503, { timeout: 15_000 });
  for (let i = 0; i < 5; i += 1) assert.equal(await status(), 503);
  played.away = false;
  await waitUntil('the keys', async () => (await status()) === 401, { timeout: 15_000 });
  played.keys.push(fresh);
  await waitUntil('the new key', async () => (await status()) === 200, { timeout: 15_000 });
});

test('a stream of a proxy that is cut off ends when no token would be honoured any more', async () => {
  const response = await fetch(`${url}/v1/events`, { headers: { authorization: `Bearer ${played.keys[0].token({ life: 2 })}` } });
  assert.equal(response.status, 200);
  const began = Date.now();
  let text = '';
  const ended = (async () => {
    for await (const chunk of response.body) text += Buffer.from(chunk).toString();
    return true;
  })();
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assert.ok(!text.includes('octroi.end'), 'it goes on past its lease while subd is there');
  clearInterval(played.timer);
  played.away = true;
  const late = new Promise((resolve) => setTimeout(resolve, 30_000, false).unref());
  assert.ok(await Promise.race([ended, late]), 'it went on');
  assert.match(text, /event: octroi\.end\ndata: .*billing-unavailable/);
  assert.ok(Date.now() - began >= 5000, 'not before the life of a token and the grace period');
});
