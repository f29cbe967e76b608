// What is paid for survives the death of anything: servers and services are killed under load, clients leave at every point, and
// afterwards the ledger holds what the origin served, nothing waits for ever, and no part of a quota is kept from its holder.
import assert from 'node:assert/strict';
import net from 'node:net';
import { fileURLToPath } from 'node:url';
import { after, before, test } from 'node:test';
import { Pool } from 'undici';

import { Bus } from '../support/bus.mjs';
import { Buyer } from '../support/buyer.mjs';
import { removeDirectory, sleep, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { Stack } from '../support/stack.mjs';
import { farFromMidnight } from '../support/subscriptions.mjs';

const dir = temporaryDirectory('faults');
const stack = new Stack({ dir, blockTime: 1, env: { OCTROI_PRICEBOOK: fileURLToPath(new URL('pricebook.yaml', import.meta.url)) } });
const gateways = [];
let token;
let second;

before(async () => {
  await stack.start();
  second = await stack.instance('proxy', 'proxy-2');
  stack.proxies.push(second);
  await second.start();
  gateways.push(stack.gateway, second.url);
  [token] = (await (await fetch(`${stack.gateway}/pricing`)).json()).tokens;
});

after(async () => {
  await stack.stop();
  removeDirectory(dir);
});

async function subscriber(tier) {
  const buyer = await new Buyer({ gateway: stack.gateway, rpcUrl: stack.chain.url }).connect();
  await buyer.fund(token.address);
  const quote = await buyer.quote({ tier, duration_days: 30, token: token.symbol });
  await buyer.pay(quote);
  await buyer.waitPayment(quote);
  await buyer.token();
  return buyer;
}

const subscriptionOf = (buyer) => buyer.grant.subscription;
const quotaOf = (buyer) => stack.postgres.rows(`select granted_requests::int as granted, used_requests::int as used from subscriptions.quota
  where subscription = '${subscriptionOf(buyer)}'`)[0] ?? { granted: 0, used: 0 };
const billedOf = (buyer) => stack.postgres.rows(`select coalesce(sum(requests), 0)::int as n from subscriptions.usage_v1
  where subscription = '${subscriptionOf(buyer)}'`)[0].n;
const count = (table, where = 'true') => stack.postgres.rows(`select count(*)::int as n from subscriptions.${table} where ${where}`)[0].n;

async function threads() {
  return (await stack.proxy.metric('octroi_proxy_workers')) + (await second.metric('octroi_proxy_workers'));
}

// What was lent comes back by itself, every batch is in the ledger, and none had to be set aside.
async function settled(buyer) {
  await waitUntil('all leases to be back and all batches applied', () => {
    const { granted, used } = quotaOf(buyer);
    if (granted !== used) throw new Error(`${granted} granted, ${used} used`);
    const open = count('lease', `subscription = '${subscriptionOf(buyer)}' and not closed`);
    if (open) throw new Error(`${open} leases are open`);
    return count('early_batch') === 0;
  }, { every: 500 });
  assert.equal(count('parked_batch'), 0);
  assert.equal(quotaOf(buyer).used, billedOf(buyer));
}

// Calls until `total` were answered with 200, `connections` at a time over all gateways. What is refused meanwhile is tried again.
async function pour(buyer, { total, connections = 100, at = {}, urls = gateways, limit = 180_000 }) {
  const pools = urls.map((url) => new Pool(url, { connections: Math.ceil(connections / urls.length), pipelining: 1 }));
  const headers = { authorization: `Bearer ${buyer.accessToken}` };
  const statuses = {};
  let faults = Promise.resolve(); // one after the other: calls may go on as if there were none
  const end = Date.now() + limit;
  let answered = 0;
  const worker = async (i) => {
    const pool = pools[i % pools.length];
    while (answered < total && Date.now() < end) {
      try {
        const { statusCode, body } = await pool.request({ path: `/v1/f${i}`, method: 'GET', headers });
        await body.dump();
        statuses[statusCode] = (statuses[statusCode] ?? 0) + 1;
        if (statusCode === 200) {
          answered += 1;
          if (at[answered]) faults = faults.then(at[answered]);
        } else await sleep(100);
      } catch {
        statuses.error = (statuses.error ?? 0) + 1;
        await sleep(20);
      }
    }
  };
  await Promise.all(Array.from({ length: connections }, (_, i) => worker(i)));
  await faults;
  await Promise.all(pools.map((pool) => pool.destroy()));
  assert.ok(answered >= total, `${answered} of ${total} were answered: ${JSON.stringify(statuses)}`);
  return { answered, statuses };
}

async function exactly(buyer, before, answered) {
  const served = (await stack.served()) - before;
  assert.ok(served >= answered, `${served} served, ${answered} answered`);
  await waitUntil(`the ledger to hold ${served}`, () => billedOf(buyer) >= served, { every: 250 });
  await settled(buyer);
  assert.equal(billedOf(buyer), served);
}

test('subd killed in the middle of 5,000 calls, and started again', { timeout: 300_000 }, async (t) => {
  const buyer = await subscriber('bulk');
  const origin = await stack.served();
  const { subd } = stack.services;
  const { answered, statuses } = await pour(buyer, {
    total: 5_000,
    at: {
      1_000: () => subd.kill().then(() => sleep(1_500)).then(() => subd.start()),
      3_500: () => subd.kill().then(() => subd.start()),
    },
  });
  t.diagnostic(JSON.stringify(statuses));
  await exactly(buyer, origin, answered);
});

// What each proxy that lends to the buyer may still spend without asking, as far as it has reported: the least of them.
const leastHeld = (buyer) => {
  const held = stack.postgres.rows(`select sum(granted_requests - used_requests)::int as n from subscriptions.lease
    where subscription = '${subscriptionOf(buyer)}' and not closed group by journal`);
  return held.length < gateways.length ? 0 : Math.min(...held.map(({ n }) => n));
};

test('a busy customer does not notice that subd is away', { timeout: 300_000 }, async (t) => {
  await farFromMidnight(120); // at which leases end
  const buyer = await subscriber('bulk');
  const origin = await stack.served();
  const { subd } = stack.services;
  let busy = 0;
  // What is held grows with use: the customer has to have been busy for a while, however fast that is here.
  while (leastHeld(buyer) < 4_500 && busy < 12_000) busy += (await pour(buyer, { total: 1_000 })).answered;
  await subd.kill();
  try {
    const alone = await pour(buyer, { total: 6_000, limit: 60_000 });
    t.diagnostic(`after ${busy} calls, without subd ${JSON.stringify(alone.statuses)}`);
    assert.deepEqual(Object.keys(alone.statuses), ['200']);
    busy += alone.answered;
  } finally {
    await subd.start();
  }
  await exactly(buyer, origin, busy);
});

test('two subd, each killed in turn under load', { timeout: 300_000 }, async (t) => {
  const buyer = await subscriber('bulk');
  const origin = await stack.served();
  const { subd } = stack.services;
  const other = await stack.instance('subd', 'subd-2');
  stack.proxies.push(other);
  await other.start();
  const { answered, statuses } = await pour(buyer, {
    total: 4_000,
    at: { 800: () => subd.kill().then(() => subd.start()).then(() => other.kill()).then(() => other.start()) },
  });
  t.diagnostic(JSON.stringify(statuses));
  await exactly(buyer, origin, answered);
  await other.stop();
});

test('NATS stopped and killed under load', { timeout: 300_000 }, async (t) => {
  const buyer = await subscriber('bulk');
  const origin = await stack.served();
  const { nats } = stack;
  const { answered, statuses } = await pour(buyer, {
    total: 5_000,
    at: {
      1_000: () => nats.process.stop().then(() => nats.start()),
      3_000: () => nats.process.kill().then(() => sleep(1_000)).then(() => nats.start()),
    },
  });
  t.diagnostic(JSON.stringify(statuses));
  await exactly(buyer, origin, answered);
});

test('PostgreSQL killed under load', { timeout: 300_000 }, async (t) => {
  const buyer = await subscriber('bulk');
  const origin = await stack.served();
  const { postgres } = stack;
  const crash = async () => {
    await postgres.process.kill();
    await sleep(1_000);
    await postgres.start();
  };
  const { answered, statuses } = await pour(buyer, { total: 5_000, at: { 1_000: crash } });
  t.diagnostic(JSON.stringify(statuses));
  await exactly(buyer, origin, answered);
});

// Calls in turn until nothing more is to be had within `patience`, and how many were served.
async function drain(buyer, urls, wanted) {
  let passed = 0;
  await waitUntil(`${wanted} calls to pass`, async () => {
    for (const url of urls) {
      const response = await fetch(`${url}/v1/d`, { headers: { authorization: `Bearer ${buyer.accessToken}` } });
      await response.arrayBuffer();
      if (response.status === 200) passed += 1;
    }
    return passed >= wanted;
  }, { every: 200 });
  return passed;
}

test('two proxies and a quota of 20: never more, and all 20', { timeout: 120_000 }, async () => {
  const buyer = await subscriber('tiny');
  const origin = await stack.served();
  const headers = { authorization: `Bearer ${buyer.accessToken}` };
  const statuses = await Promise.all(Array.from({ length: 60 }, async (_, i) => {
    if (i % 3 === 0) await sleep(i * 10);
    const response = await fetch(`${gateways[i % 2]}/v1/t${i}`, { headers });
    await response.arrayBuffer();
    return response.status;
  }));
  const first = statuses.filter((status) => status === 200).length;
  assert.ok(first <= 20, `${first} of 20 were served`);
  assert.ok(statuses.every((status) => status === 200 || status === 429), JSON.stringify(statuses));
  if (first < 20) await drain(buyer, gateways, 20 - first);
  assert.equal((await stack.served()) - origin, 20);
  for (const url of gateways) assert.equal((await fetch(`${url}/v1/over`, { headers })).status, 429);
  await waitUntil('20 in the ledger', () => billedOf(buyer) === 20);
  await settled(buyer);
  assert.equal((await stack.served()) - origin, 20);
});

test('a proxy that dies with a slice of the quota gives it back through another', { timeout: 120_000 }, async () => {
  const buyer = await subscriber('tiny');
  const origin = await stack.served();
  const headers = { authorization: `Bearer ${buyer.accessToken}` };
  assert.equal((await fetch(`${second.url}/v1/one`, { headers })).status, 200);
  await second.kill();
  await drain(buyer, [stack.gateway], 19);
  assert.equal((await stack.served()) - origin, 20);
  assert.equal((await fetch(`${stack.gateway}/v1/over`, { headers })).status, 429);
  await second.start();
  assert.equal((await fetch(`${second.url}/v1/over`, { headers })).status, 429);
  await settled(buyer);
  assert.equal(billedOf(buyer), 20);
});

test('answers of subd that are lost cost the holder of a small quota nothing', { timeout: 180_000 }, async () => {
  const buyer = await subscriber('tiny');
  const origin = await stack.served();
  const headers = { authorization: `Bearer ${buyer.accessToken}` };
  const response = await fetch(`${stack.gateway}/v1/one`, { headers });
  assert.equal(response.status, 200);
  await response.arrayBuffer();
  await settled(buyer);
  // Asked for in the proxy's name, so that the answer never comes to it.
  const [{ journal, round, last }] = stack.postgres.rows(`select journal, round::int, (select max(id)::int from subscriptions.lease l
    where l.journal = j.journal) as last from subscriptions.journal j join subscriptions.lease using (journal)
    where subscription = '${subscriptionOf(buyer)}' limit 1`);
  const bus = await new Bus({ port: stack.nats.port, user: 'proxy', password: stack.nats.passwords.proxy }).connect();
  for (let i = 1; i <= 3; i += 1) {
    const ask = [{ sub: subscriptionOf(buyer), requests: 5, bytes: 0, messages: 0, cost: 0 }];
    const { grants } = await bus.request('octroi.v1.sub.lease', { journals: [journal], round: round + i, last, ask });
    assert.equal(grants[0].requests, 5);
  }
  bus.close();
  await drain(buyer, [stack.gateway], 19);
  assert.equal((await stack.served()) - origin, 20);
  await settled(buyer);
  assert.equal(billedOf(buyer), 20);
});

test('a subd that sleeps and wakes up grants nothing twice', { timeout: 180_000 }, async () => {
  const buyer = await subscriber('tiny');
  const origin = await stack.served();
  const { subd } = stack.services;
  const other = await stack.instance('subd', 'subd-3');
  stack.proxies.push(other);
  await other.start();
  const headers = { authorization: `Bearer ${buyer.accessToken}` };
  let passed = 0;
  const turn = async (calls) => {
    const statuses = await Promise.all(Array.from({ length: calls }, async (_, i) => {
      const response = await fetch(`${gateways[i % 2]}/v1/s${i}`, { headers });
      await response.arrayBuffer();
      return response.status;
    }));
    passed += statuses.filter((status) => status === 200).length;
  };
  await turn(4);
  for (const sleeper of [subd, other, subd]) {
    sleeper.process.signal('SIGSTOP');
    try {
      for (let i = 0; i < 3; i += 1) await turn(2);
    } finally {
      sleeper.process.signal('SIGCONT');
    }
    await turn(2);
  }
  await waitUntil('20 calls to pass', async () => {
    await turn(2);
    return passed >= 20;
  }, { every: 200 });
  await turn(10);
  assert.equal(passed, 20);
  assert.equal((await stack.served()) - origin, 20);
  await settled(buyer);
  assert.equal(billedOf(buyer), 20);
  await other.stop();
});

test('every period has its own quota, also for calls on its border', { timeout: 120_000 }, async (t) => {
  const buyer = await subscriber('tiny');
  // No plan has a period this short.
  stack.postgres.sql(`update subscriptions.subscription set period_seconds = 10 where id = '${subscriptionOf(buyer)}'`);
  const origin = await stack.served();
  const headers = { authorization: `Bearer ${buyer.accessToken}` };
  const begin = Date.now();
  const statuses = {};
  let answered = 0;
  const worker = async (i) => {
    while (Date.now() - begin < 35_000) {
      const response = await fetch(`${gateways[i % 2]}/v1/p${i}`, { headers });
      await response.arrayBuffer();
      statuses[response.status] = (statuses[response.status] ?? 0) + 1;
      if (response.status === 200) answered += 1;
      await sleep(100);
    }
  };
  await Promise.all(Array.from({ length: 6 }, (_, i) => worker(i)));
  const served = (await stack.served()) - origin;
  t.diagnostic(JSON.stringify(statuses));
  assert.equal(served, answered);
  await waitUntil(`the ledger to hold ${served}`, () => billedOf(buyer) >= served, { every: 250 });
  const rows = () => stack.postgres.rows(`select period, granted_requests::int as granted, used_requests::int as used from subscriptions.quota
    where subscription = '${subscriptionOf(buyer)}' order by period`);
  await waitUntil('all leases to be back', () => rows().every(({ granted, used }) => granted === used), { every: 250 });
  t.diagnostic(JSON.stringify(rows()));
  assert.equal(billedOf(buyer), served);
  assert.ok(rows().every(({ used }) => used <= 20), JSON.stringify(rows()));
  // Three borders were passed, so two periods at least were wholly inside.
  assert.ok(rows().filter(({ used }) => used === 20).length >= 2, JSON.stringify(rows()));
});

test('everything killed at once under load', { timeout: 300_000 }, async (t) => {
  const buyer = await subscriber('bulk');
  const origin = await stack.served();
  const { nats, postgres } = stack;
  const { subd } = stack.services;
  const workers = await threads();
  const disaster = async () => {
    await Promise.all([nats.process.kill(), postgres.process.kill(), subd.kill(), second.kill()]);
    await Promise.all([nats.start(), postgres.start()]);
    await Promise.all([subd.start(), second.start()]);
  };
  const { answered, statuses } = await pour(buyer, { total: 3_000, at: { 1_000: disaster } });
  t.diagnostic(JSON.stringify(statuses));
  const served = (await stack.served()) - origin;
  assert.ok(served >= answered, `${served} served, ${answered} answered`);
  await waitUntil(`the ledger to hold ${served}`, () => billedOf(buyer) >= served, { every: 250 });
  await settled(buyer);
  const billed = billedOf(buyer);
  t.diagnostic(`${served} served, ${billed} billed`);
  assert.ok(billed >= served && billed <= served + workers, `${billed} billed, ${served} served, ${workers} threads`);
});

// Sends the pieces, one a turn, then leaves.
function leave(pieces, { reset = false, wait = 5, until } = {}) {
  return new Promise((resolve) => {
    const socket = net.connect({ port: stack.ports.proxy, host: '127.0.0.1', noDelay: true }, async () => {
      for (const piece of pieces) {
        socket.write(piece);
        await sleep(wait);
      }
      await until;
      if (reset) socket.resetAndDestroy();
      else socket.destroy();
    });
    socket.on('error', () => {});
    socket.on('close', resolve);
  });
}

test('clients that leave in every phase are billed for what reached the origin', { timeout: 180_000 }, async (t) => {
  const buyer = await subscriber('bulk');
  const origin = await stack.served();
  const authorization = `Authorization: Bearer ${buyer.accessToken}\r\n`;
  const get = `GET /v1/a HTTP/1.1\r\nHost: x\r\n${authorization}\r\n`;
  const post = (more, body = '') => `POST /v1/a HTTP/1.1\r\nHost: x\r\n${authorization}${more}\r\n${body}`;
  const rounds = 10;
  // [what is sent, whether it may reach the origin, whether it must be billed]
  const phases = {
    'nothing said': { pieces: [], atMost: 0, atLeast: 0 },
    'in the middle of the head': { pieces: [get.slice(0, get.length - 30)], atMost: 0, atLeast: 0 },
    'with a token that is no good': { pieces: [get.replace('Bearer ', 'Bearer x')], atMost: 0, atLeast: 0 },
    'after the head': { pieces: [get], atMost: 1, atLeast: 1, wait: 30 },
    'at once after the head': { pieces: [get], atMost: 1, atLeast: 0, wait: 0 },
    'before the body': { pieces: [post('Content-Length: 100000\r\n')], atMost: 1, atLeast: 1, wait: 30 },
    'in the middle of the body': { pieces: [post('Content-Length: 100000\r\n'), 'x'.repeat(40_000)], atMost: 1, atLeast: 1, wait: 30 },
    'in the middle of a chunk': { pieces: [post('Transfer-Encoding: chunked\r\n'), '10000\r\nabc'], atMost: 1, atLeast: 1, wait: 30 },
    'waiting for 100': { pieces: [post('Content-Length: 10\r\nExpect: 100-continue\r\n')], atMost: 1, atLeast: 1, wait: 30 },
    'after two in a row': { pieces: [get + get], atMost: 2, atLeast: 1, wait: 30 },
  };
  let atMost = 0;
  let atLeast = 0;
  // The table is warm, so that a request is not still waiting for subd when its client leaves.
  assert.equal((await buyer.call()).status, 200);
  for (const [name, phase] of Object.entries(phases)) {
    for (const reset of [false, true]) {
      const before = await stack.served();
      // What must be billed is at the origin before its client leaves.
      const arrived = async () => (await stack.served()) - before >= phase.atMost * rounds;
      const until = phase.atLeast ? waitUntil('all of them', arrived, { timeout: 10_000 }).catch(() => {}) : null;
      await Promise.all(Array.from({ length: rounds }, () => leave(phase.pieces, { reset, wait: phase.wait, until })));
      await sleep(200);
      const reached = (await stack.served()) - before;
      t.diagnostic(`${name}${reset ? ', reset' : ''}: ${reached} of ${rounds} reached the origin`);
      assert.ok(reached <= phase.atMost * rounds, `${name}: ${reached} reached the origin`);
      atMost += phase.atMost * rounds;
      atLeast += phase.atLeast * rounds;
    }
  }
  const served = (await stack.served()) - origin;
  await waitUntil(`the ledger to hold ${served}`, () => billedOf(buyer) >= served, { every: 250 });
  await settled(buyer);
  const billed = billedOf(buyer);
  t.diagnostic(`${served} served, ${billed} billed`);
  assert.ok(billed >= served && billed >= atLeast + 1 && billed <= atMost + 1, `${billed} billed, ${served} served, ${atLeast + 1} to ${atMost + 1} sent`);
  assert.ok(billed <= served + (await threads()) + 4 * rounds, `${billed} billed, ${served} served`);
});
