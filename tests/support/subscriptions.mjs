// PostgreSQL, Redis, NATS and any number of subd: what tests of subscriptions begin with. The test plays payd and quoted (tables in the place of
// their views, and hints), proxies (journals) and adminsvc.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SiweMessage } from 'siwe';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';

import { makeSecrets } from '../../compose/init.mjs';
import { serviceId, subscriptionId } from '../../contracts/script/terms.mjs';
import { Bus } from './bus.mjs';
import { freePort, removeDirectory, temporaryDirectory, waitUntil } from './process.mjs';
import { Nats, Postgres, Redis } from './servers.mjs';
import { Service } from './service.mjs';

export const CHAIN = 4441;
export const CONTRACT = '0x00000000000000000000000000000000000c0de5';
export const PUBLIC_URL = 'http://octroi.test:8080';
export const DAY = 86400;
export const MONTH = 30 * DAY;

export const now = () => Math.floor(Date.now() / 1000);
export const toMidnight = () => DAY - (now() % DAY);

// For a test that must not see two days of UTC: this much of a day is before it.
export async function farFromMidnight(seconds = 60) {
  if (toMidnight() < seconds) await waitUntil('midnight', () => toMidnight() >= seconds, { timeout: (seconds + 30) * 1000 });
}

export const hex = (bytes) => randomBytes(bytes).toString('hex');
export const slotOf = (subscriber, service = 'api') => subscriptionId({ chainId: CHAIN, contract: CONTRACT, subscriber, serviceId: serviceId(service) });

export async function send(method, url, { body, headers = {} } = {}) {
  const response = await fetch(url, { method, headers: { ...(body ? { 'content-type': 'application/json' } : {}), ...headers }, body });
  const text = await response.text();
  let parsed = text;
  try {
    parsed = JSON.parse(text);
  } catch { /* not JSON */ }
  return { status: response.status, headers: response.headers, body: parsed };
}

export const post = (api, path, body) => send('POST', api + path, { body: JSON.stringify(body) });
export const get = (api, path, token) => send('GET', api + path, { headers: token ? { authorization: `Bearer ${token}` } : {} });

export class Subscriptions {
  subds = [];
  told = []; // what subd answered payd
  heard = []; // the changes that proxies hear of

  // plans: number -> { tier, requests, bytes, requests_per_day }; a view without requests_per_day is what an older quoted publishes.
  constructor(name, plans) {
    Object.assign(this, { name, plans });
  }

  async start() {
    this.dir = temporaryDirectory(this.name);
    makeSecrets(this.dir);
    writeFileSync(join(this.dir, 'deployment.json'), JSON.stringify({ chain_id: CHAIN, contract: CONTRACT }));
    this.postgres = new Postgres({ dir: join(this.dir, 'postgres') });
    this.redis = new Redis({ dir: join(this.dir, 'redis') });
    this.nats = new Nats({ dir: join(this.dir, 'nats') });
    await Promise.all([this.postgres.start(), this.redis.start(), this.nats.start()]);
    this.publishViews();
    for (const user of ['payd', 'proxy', 'adminsvc']) this[user] = await this.connect(user);
    this.listen();
    return this;
  }

  connect(user) {
    return new Bus({ port: this.nats.port, user, password: this.nats.passwords[user] }).connect();
  }

  listen() {
    this.payd.subscribe('octroi.v1.payment.activated', ({ text, reply }) => {
      this.told.push(JSON.parse(text));
      this.payd.publish(reply, { ok: true });
    });
    this.proxy.subscribe('octroi.v1.sub.changed.*', ({ text }) => this.heard.push({ ...JSON.parse(text), at: Date.now() }));
  }

  // After NATS was away.
  async reconnect() {
    for (const one of [this.payd, this.proxy, this.adminsvc]) {
      one.close();
      Object.assign(one, { buffer: Buffer.alloc(0), errors: [], handlers: new Map() });
      await one.connect();
    }
    this.listen();
  }

  publishViews() {
    const daily = Object.values(this.plans).some(({ requests_per_day }) => requests_per_day !== undefined);
    const row = ([plan, { tier, requests = 0, bytes = 0, requests_per_day = 0 }]) =>
      `INSERT INTO quotes.plan_v1 VALUES (${plan}, '${tier}', 1, ${MONTH}, 50, 100, ${requests}, ${bytes}, 0, 0, 0${daily ? `, ${requests_per_day}` : ''});`;
    this.postgres.sql(`
      SET ROLE octroi_payd;
      CREATE TABLE payments.payment_v1 (payment_id text PRIMARY KEY, revision bigint, state text, chain_id bigint, contract text, subscriber text,
        service_id text, token text, terms text, amount numeric, plan int, seq int, start_at bigint, expires_at bigint, paid numeric, tx_hash text,
        block_number bigint, log_index int, seen_at timestamptz, confirmed_at timestamptz);
      GRANT USAGE ON SCHEMA payments TO octroi_subd; GRANT SELECT ON payments.payment_v1 TO octroi_subd;
      SET ROLE octroi_quoted;
      CREATE TABLE quotes.plan_v1 (plan int, tier text, version int, period_seconds bigint, rate int, burst int, requests bigint, bytes bigint,
        messages bigint, cost bigint, bandwidth int${daily ? ', requests_per_day bigint' : ''});
      CREATE TABLE quotes.service_v1 (service_id text, name text);
      GRANT USAGE ON SCHEMA quotes TO octroi_subd; GRANT SELECT ON quotes.plan_v1, quotes.service_v1 TO octroi_subd;
      RESET ROLE;
      INSERT INTO quotes.service_v1 VALUES ('${serviceId('api')}', 'api');
      ${Object.entries(this.plans).map(row).join('\n')}`);
  }

  async subd(name, { ready = true, env = {} } = {}) {
    const opsPort = await freePort();
    const port = await freePort();
    const service = new Service('subd', {
      dir: this.dir, name, opsPort,
      env: {
        OCTROI_SUBD_LISTEN: `127.0.0.1:${port}`,
        OCTROI_SUBD_OPS: `127.0.0.1:${opsPort}`,
        OCTROI_POSTGRES: this.postgres.conninfo('subd'),
        OCTROI_REDIS_URL: this.redis.url,
        OCTROI_NATS_URL: this.nats.url,
        OCTROI_NATS_CREDENTIALS: this.nats.credentials('subd'),
        OCTROI_PUBLIC_URL: PUBLIC_URL,
        OCTROI_SECRETS: this.dir,
        OCTROI_TOKEN_KEY_FILE: join(this.dir, 'token-signer.pem'),
        ...env,
      },
    });
    service.api = `http://127.0.0.1:${port}`;
    this.subds.push(service);
    service.spawn();
    if (ready) await service.ready();
    return service;
  }

  subscriber() {
    return new Subscriber(this);
  }

  journal() {
    return new Journal(this);
  }

  // The statement by which payd publishes a payment.
  paymentRow({ id, revision, state, subscriber, service = 'api', plan, seq, start, expires, chain = CHAIN, contract = CONTRACT }) {
    return `INSERT INTO payments.payment_v1 VALUES ('${id}', ${revision}, '${state}', ${chain}, '${contract}', '${subscriber.toLowerCase()}',
      '${serviceId(service)}', '0x${'0'.repeat(40)}', '0x${'0'.repeat(64)}', 1, ${plan}, ${seq}, ${start}, ${expires}, 1, '0x${'0'.repeat(64)}',
      ${seq}, 0, now(), now())`;
  }

  hint({ id, revision }, what = 'confirmed') {
    this.payd.publish(`octroi.v1.payment.${what}`, { payment_id: id, revision });
  }

  async check(subscription) {
    return (await this.proxy.request('octroi.v1.sub.check', { subscriptions: [subscription] })).subscriptions[0];
  }

  changes({ id }) {
    return this.heard.filter(({ record }) => record.id === id);
  }

  async alerts(what) {
    let sum = 0;
    for (const one of this.subds.filter(({ process }) => process && !process.exit)) sum += await one.metric('octroi_subd_alerts_total', `"${what}"`);
    return sum;
  }

  // What JetStream says of a stream.
  async stream(name) {
    const bus = await this.connect('subd');
    try {
      return await bus.request(`$JS.API.STREAM.INFO.${name}`, '');
    } finally {
      bus.close();
    }
  }

  // Also after a failure, and then it fails too where a sanitizer complained.
  async stop() {
    const failures = [];
    for (const one of [...this.subds, this.payd, this.proxy, this.adminsvc, this.nats, this.redis, this.postgres]) {
      try {
        await (one?.stop ? one.stop() : one?.close());
      } catch (error) {
        failures.push(error);
      }
    }
    if (this.dir) removeDirectory(this.dir);
    if (failures.length) throw failures[0];
  }
}

class Subscriber {
  constructor(site) {
    this.site = site;
    this.account = privateKeyToAccount(generatePrivateKey());
    this.id = slotOf(this.account.address);
    this.seq = 0;
    this.start = now() - 10;
  }

  // A payment as payd would publish it. hint: tell subd.
  pay({ plan = 1, start = this.start, expires = start + MONTH, state = 'confirmed', revision = 3, hint = true } = {}) {
    const payment = { id: `0x${hex(32)}`, revision };
    this.start = start;
    this.plan = plan;
    this.seq += 1;
    this.site.postgres.sql(this.site.paymentRow({ ...payment, state, subscriber: this.account.address, plan, seq: this.seq, start, expires }));
    if (hint) this.site.hint(payment);
    return payment;
  }

  move(payment, state, hint) {
    payment.revision += 1;
    this.site.postgres.sql(`UPDATE payments.payment_v1 SET state = '${state}', revision = ${payment.revision} WHERE payment_id = '${payment.id}'`);
    if (hint) this.site.hint(payment, hint);
  }

  record() {
    return this.site.check(this.id);
  }

  become(state, also = () => true) {
    return waitUntil(`${this.id} to be ${state}`, async () => {
      const record = await this.record();
      return record.state === state && also(record) && record;
    });
  }

  async active(options) {
    this.pay(options);
    await this.become('active');
    return this;
  }

  quota(period = this.start) {
    return this.site.postgres.rows(`SELECT * FROM subscriptions.quota WHERE subscription = '${this.id}' AND period = ${period}`)[0];
  }

  async signIn(api = this.site.subds[0].api, { service = 'api', change = (m) => m, sign = this.account } = {}) {
    const challenge = await post(api, '/token/challenge', { address: this.account.address, service });
    assert.equal(challenge.status, 200, JSON.stringify(challenge.body));
    const message = change(new SiweMessage(challenge.body.message).prepareMessage());
    return { message, signature: await sign.signMessage({ message }) };
  }

  async token(api = this.site.subds[0].api) {
    const answer = await post(api, '/token', await this.signIn(api));
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    return answer.body;
  }
}

class Journal {
  constructor(site) {
    this.site = site;
    this.id = hex(16);
    this.seq = 0;
    this.round = 0;
    this.last = 0;
    this.watcher = hex(16); // asks how far this one is applied, and changes nothing
    this.watched = 0;
  }

  // heard: the answer reached the proxy.
  async ask(asks, { others = [], heard = true } = {}) {
    const answer = await this.site.proxy.request('octroi.v1.sub.lease', {
      journals: [this.id, ...others],
      round: ++this.round,
      last: this.last,
      ask: asks.map((one) => ({ requests: 0, bytes: 0, messages: 0, cost: 0, ...one })),
    }, 10_000);
    assert.equal(answer.error, undefined, JSON.stringify(answer));
    if (heard) this.last = Math.max(this.last, ...answer.grants.map((grant) => grant.lease));
    return answer;
  }

  async lease(sub, requests, { heard, ...also } = {}) {
    const { grants, refused } = await this.ask([{ sub: sub.id, requests, ...also }], { heard });
    return grants[0] ?? refused[0];
  }

  entry(lease, amounts = {}) {
    return {
      sub: lease.sub, lease: lease.lease, period: lease.period, day: lease.day,
      requests: 0, bytes_in: 0, bytes_out: 0, messages: 0, events: 0, cost: 0, closed: false, ...amounts,
    };
  }

  batch(entries, { seq = ++this.seq, final = false } = {}) {
    return JSON.stringify({ v: 1, journal: this.id, seq, final, entries });
  }

  send(text) {
    return this.site.proxy.request(`octroi.v1.usage.${this.id}`, text);
  }

  // Comes back when JetStream has it.
  async report(entries, options) {
    const ack = await this.send(this.batch(entries, options));
    assert.equal(ack.stream, 'OCTROI_USAGE', JSON.stringify(ack));
  }

  // Comes back when it is in the ledger.
  async bill(entries, options) {
    await this.report(entries, options);
    await this.settled();
  }

  spend(lease, requests, closed = true) {
    return this.bill([this.entry(lease, { requests, closed })]);
  }

  settled(seq = this.seq) {
    return waitUntil(`journal at ${seq}`, async () => {
      const ask = { journals: [this.watcher, this.id], round: ++this.watched, last: 0, ask: [] };
      const { applied } = await this.site.proxy.request('octroi.v1.sub.lease', ask, 10_000);
      return applied?.[this.id] === seq;
    }, { timeout: 120_000 }); // what a killed subd had taken comes again only after 30 s
  }
}
