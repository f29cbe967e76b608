// Everything at once on one subscription: HTTP/1.1 and HTTP/2, clients that leave, origins that die, retries, queues, GraphQL, WebSockets, reloads
// and binary upgrades. Afterwards the ledger holds exactly what reached an origin, once.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Pool } from 'undici';
import WebSocket, { WebSocketServer } from 'ws';

import { Buyer } from '../support/buyer.mjs';
import { removeDirectory, root, sleep, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { Stack } from '../support/stack.mjs';

const dir = temporaryDirectory('mixed');
const seen = { requests: new Map(), messages: 0, attempts: 0, deaths: 0 };
const pids = [];
let origins;
let stack;
let port;
let buyer;

// Every so often it dies of a request that it has read: the connection ends without an answer, or in the middle of one.
class Mortal {
  async start() {
    this.server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => this.answer(request, response));
    this.sockets = new WebSocketServer({ server: this.server });
    this.server.on('upgrade', (request) => this.note(request));
    this.sockets.on('connection', (socket) => {
      socket.on('error', () => {});
      socket.on('message', (data) => {
        seen.messages += 1;
        socket.send(data.toString());
      });
    });
    await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    this.port = this.server.address().port;
    return this;
  }

  note(request) {
    const id = new URL(request.url, 'http://origin').searchParams.get('id');
    seen.attempts += 1;
    seen.requests.set(id, (seen.requests.get(id) ?? 0) + 1);
  }

  answer(request, response) {
    this.note(request);
    request.on('error', () => {});
    request.resume();
    if (seen.attempts % 7 === 0) {
      seen.deaths += 1;
      if (seen.attempts % 2) response.write('half');
      request.socket.destroySoon();
    } else if (seen.attempts % 11 === 0) response.writeHead(503).end();
    else if (seen.attempts % 5 === 0) setTimeout(() => response.end('late'), 5);
    else response.end('{"data":{}}');
  }

  stop() {
    for (const socket of this.sockets.clients) socket.terminate();
    this.server.closeAllConnections();
    this.server.close();
  }
}

const edition = (n) => readFileSync(join(root, 'config/proxy.yaml'), 'utf8')
  .replace('pools:\n', `workers: "2"
timeouts: { drain_delay: 0s, shutdown: 3s }
pools:
  mixed:
    backends: [{ url: "http://127.0.0.1:${origins[0].port}", weight: ${1 + (n % 3)}, max_connections: 6 }, { url: "http://127.0.0.1:${origins[1].port}", max_connections: 6 }]
    queue: { size: 200, timeout: 5s }
    retry: { attempts: 3, budget: 100%, base: 2ms, max: 10ms }
    circuit_breaker: { failures: 5, open: 100ms }
`)
  .replace('routes:\n', `routes:
  - { path: /v1/mixed, pool: mixed, access: subscription, service: api, protocols: [http, websocket], response_headers: { set: { X-Edition: "${n}" } } }
  - { path: /v1/graphql, pool: mixed, access: subscription, service: api, graphql: { max_cost: 1000 } }
`);

before(async () => {
  origins = [await new Mortal().start(), await new Mortal().start()];
  stack = new Stack({ dir, blockTime: 1, proxyConfig: edition(0), env: { OCTROI_PRICEBOOK: fileURLToPath(new URL('pricebook.yaml', import.meta.url)) } });
  await stack.start();
  port = stack.ports.proxy;
  pids.push(stack.proxy.pid);
  const [token] = (await (await fetch(`${stack.gateway}/pricing`)).json()).tokens;
  buyer = await new Buyer({ gateway: stack.gateway, rpcUrl: stack.chain.url }).connect();
  await buyer.fund(token.address);
  const quote = await buyer.quote({ tier: 'bulk', duration_days: 30, token: token.symbol });
  await buyer.pay(quote);
  await buyer.waitPayment(quote);
  await buyer.token();
});

const running = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};
const ended = (pid) => waitUntil(`process ${pid} to end`, () => !running(pid));

after(async () => {
  // A process that took over is not the stack's child.
  for (const pid of pids.slice(1)) {
    if (running(pid)) process.kill(pid, 'SIGTERM');
    await ended(pid);
  }
  for (const origin of origins ?? []) origin.stop();
  await stack?.stop();
  removeDirectory(dir);
});

const tally = { answered: new Set(), statuses: {}, echoes: 0, weights: new Map(), sockets: 0, left: 0 };
let over = false;
let last = 0;
const fresh = () => `i${(last += 1)}`;
const done = (id, status) => {
  tally.statuses[status] = (tally.statuses[status] ?? 0) + 1;
  if (status === 200) tally.answered.add(id);
};
const bearer = () => ({ authorization: `Bearer ${buyer.accessToken}` });

async function overHttp1(pool) {
  while (!over) {
    const id = fresh();
    const post = last % 4 === 0;
    try {
      const { statusCode, body } = await pool.request({ path: `/v1/mixed?id=${id}`, method: post ? 'POST' : 'GET', headers: bearer(), body: post ? 'x'.repeat(last % 3000) : null });
      await body.dump();
      done(id, statusCode);
    } catch {
      done(id, 'error');
    }
  }
}

async function overHttp2() {
  let session;
  while (!over) {
    if (!session || session.closed || session.destroyed) {
      session = http2.connect(stack.gateway);
      session.on('error', () => {});
      session.on('goaway', () => session.close());
    }
    await Promise.all(Array.from({ length: 6 }, async () => {
      const id = fresh();
      const leaves = last % 3 === 0;
      const status = await new Promise((resolve) => {
        let stream;
        try {
          stream = session.request({ ':path': `/v1/mixed?id=${id}`, ':method': last % 5 ? 'GET' : 'POST', ...bearer() });
        } catch {
          resolve('error');
          return;
        }
        let head = 'error';
        stream.on('response', (headers) => { head = headers[':status']; });
        stream.on('error', () => { head = 'error'; });
        stream.on('close', () => resolve(leaves ? 'left' : head));
        stream.resume();
        if (last % 5) stream.end();
        else stream.end('y'.repeat(last % 2000));
        if (leaves) setTimeout(() => stream.close(http2.constants.NGHTTP2_CANCEL), last % 4);
      });
      done(id, status);
    }));
    await sleep(1);
  }
  session?.destroy();
}

async function leaving() {
  while (!over) {
    const id = fresh();
    const wait = last % 4;
    await new Promise((resolve) => {
      const socket = net.connect({ port, host: '127.0.0.1' }, async () => {
        socket.write(`${last % 2 ? 'GET' : 'POST'} /v1/mixed?id=${id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${buyer.accessToken}\r\n${last % 2 ? '' : 'Content-Length: 100\r\n'}\r\n`);
        await sleep(wait);
        if (last % 3) socket.resetAndDestroy();
        else socket.destroy();
      });
      socket.on('error', () => {});
      socket.on('close', resolve);
    });
    tally.left += 1;
  }
}

async function weighed(pool) {
  while (!over) {
    const id = fresh();
    const items = last % 90;
    const query = `{a(first:${items}){b}}`;
    tally.weights.set(id, 1 + Math.max(items, 1));
    const get = last % 2;
    try {
      const { statusCode, body } = await pool.request(get
        ? { path: `/v1/graphql?id=${id}&query=${encodeURIComponent(query)}`, method: 'GET', headers: bearer() }
        : { path: `/v1/graphql?id=${id}`, method: 'POST', headers: { ...bearer(), 'content-type': 'application/json' }, body: JSON.stringify({ query }) });
      await body.dump();
      done(id, statusCode);
    } catch {
      done(id, 'error');
    }
  }
}

// Some leave after a while, others talk until their process goes away.
async function talking(patience) {
  while (!over) {
    const id = fresh();
    let left = patience;
    await new Promise((resolve) => {
      const socket = new WebSocket(`${stack.gateway.replace('http', 'ws')}/v1/mixed?id=${id}`, { headers: bearer() });
      socket.on('open', () => {
        tally.sockets += 1;
        socket.send('0');
      });
      socket.on('message', (data) => {
        tally.echoes += 1;
        left -= 1;
        if (over || !left) socket.close(1000);
        else socket.send(String(Number(data) + 1));
      });
      socket.on('error', () => {});
      socket.on('close', resolve);
    });
  }
}

const livez = async () => (await fetch(`${stack.proxy.ops}/livez`, { headers: { connection: 'close' } })).json();
const editionNow = async () => Number((await fetch(`${stack.gateway}/v1/mixed?id=${fresh()}`, { headers: { ...bearer(), connection: 'close' } })).headers.get('x-edition'));

async function reload(n) {
  writeFileSync(stack.proxy.configFile, edition(n));
  process.kill(pids.at(-1), 'SIGHUP');
  await waitUntil(`edition ${n}`, async () => (await editionNow()) === n);
}

async function upgrade() {
  const old = pids.at(-1);
  process.kill(old, 'SIGUSR2');
  pids.push(await waitUntil('the new process', async () => {
    const { pid } = await livez();
    return pid !== old && (await fetch(`${stack.proxy.ops}/readyz`, { headers: { connection: 'close' } })).status === 200 && pid;
  }));
}

const enough = (more) => {
  const from = tally.answered.size;
  return waitUntil(`${more} more answers`, () => tally.answered.size >= from + more);
};
const sql = (text) => stack.postgres.rows(text)[0];
const ledger = () => sql(`select coalesce(sum(requests), 0)::int as requests, coalesce(sum(messages), 0)::int as messages, coalesce(sum(cost), 0)::int as cost
  from subscriptions.usage_v1 where subscription = '${buyer.grant.subscription}'`);

test('what reached an origin is billed once, whatever happens meanwhile', { timeout: 120_000 }, async (t) => {
  const pool = new Pool(stack.gateway, { connections: 10, pipelining: 1 });
  const load = Promise.all([...Array.from({ length: 8 }, () => overHttp1(pool)), overHttp2(), overHttp2(), leaving(), leaving(), weighed(pool), weighed(pool), talking(20), talking(Infinity)]);
  let n = 0;
  for (let round = 0; round < 2; round += 1) {
    for (let i = 0; i < 4; i += 1) {
      await enough(100);
      await reload((n += 1));
    }
    await upgrade();
    await enough(100);
  }
  await reload((n += 1));
  await enough(100);
  over = true;
  await load;
  await pool.destroy();
  for (const pid of pids.slice(0, -1)) await ended(pid);
  await waitUntil('no request in flight', async () => (await stack.proxy.metric('octroi_proxy_requests_in_flight')) === 0);
  await waitUntil('all leases to be back', () => {
    const { granted, used } = sql(`select granted_requests::int as granted, used_requests::int as used from subscriptions.quota where subscription = '${buyer.grant.subscription}'`);
    const { open } = sql(`select count(*)::int as open from subscriptions.lease where subscription = '${buyer.grant.subscription}' and not closed`);
    if (granted !== used || open) throw new Error(`${granted} granted, ${used} used, ${open} leases are open`);
    return true;
  });
  const billed = ledger();
  const again = [...seen.requests.values()].filter((times) => times > 1).length;
  t.diagnostic(`${JSON.stringify(tally.statuses)}, ${tally.left} left, ${seen.deaths} deaths, ${again} of ${seen.requests.size} tried again, ${tally.sockets} sockets, ${JSON.stringify(billed)}`);
  for (const id of tally.answered) assert.ok(seen.requests.has(id), `${id} was answered by nobody`);
  assert.ok(again > 20 && seen.deaths > 20 && tally.sockets > 4, 'nothing of interest has happened');
  let weight = 0;
  for (const [id, one] of tally.weights) if (seen.requests.has(id)) weight += one;
  assert.deepEqual(billed, { requests: seen.requests.size, messages: seen.messages + tally.echoes, cost: weight });
  assert.equal(sql('select count(*)::int as n from subscriptions.parked_batch').n, 0);
});
