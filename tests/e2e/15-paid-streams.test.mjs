// What lives long on the real stack: messages and events are billed as they pass, and end cleanly when what was bought ends.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import WebSocket, { WebSocketServer } from 'ws';

import { Buyer } from '../support/buyer.mjs';
import { freePort, removeDirectory, root, sleep, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { connect } from '../support/raw.mjs';
import { Stack } from '../support/stack.mjs';
import { OP, frame, open, readFrame } from '../support/websocket.mjs';

const dir = temporaryDirectory('streams');
let stack;
let origin;
let sockets;
let seen;
let streaming;
let token;

before(async () => {
  seen = { messages: 0, protocols: [] };
  origin = createServer((request, response) => streaming(request, response));
  sockets = new WebSocketServer({ server: origin });
  sockets.on('connection', (socket, request) => {
    seen.protocols.push(request.headers['sec-websocket-protocol']);
    seen.subscription = request.headers['octroi-subscription'];
    seen.authorization = request.headers.authorization;
    socket.on('message', (data, binary) => { seen.messages += 1; if (data.toString() !== 'hush') socket.send(data, { binary }); });
    socket.on('close', (code, reason) => { seen.closed = { code, reason: reason.toString() }; });
    socket.on('error', () => {});
  });
  await new Promise((resolve) => origin.listen(0, '127.0.0.1', resolve));
  const base = readFileSync(join(root, 'config/proxy.yaml'), 'utf8');
  const proxyConfig = base
    .replace('pools:\n', `pools:\n  streams: { backends: ["http://127.0.0.1:${origin.address().port}"] }\n`)
    .replace('routes:\n', 'routes:\n  - { path: /v1/streams/, pool: streams, access: subscription, service: api, protocols: [http, websocket, sse] }\n  - { path: /v1/graphql, pool: streams, access: subscription, service: api, graphql: { max_cost: 90 } }\n  - { path: /v1/query/, pool: streams, access: subscription, service: api, access_token_query: true }\n');
  stack = new Stack({ dir, blockTime: 1, proxyConfig, env: { OCTROI_PRICEBOOK: fileURLToPath(new URL('pricebook.yaml', import.meta.url)) } });
  await stack.start();
  token = (await (await fetch(`${stack.gateway}/pricing`)).json()).tokens[0];
});


after(async () => {
  for (const socket of sockets?.clients ?? []) socket.terminate();
  origin?.closeAllConnections();
  origin?.close();
  await stack?.stop();
  removeDirectory(dir);
});

async function subscriber(tier) {
  const buyer = await new Buyer({ gateway: stack.gateway, rpcUrl: stack.chain.url }).connect();
  await buyer.fund(token.address);
  const quote = await buyer.quote({ tier, duration_days: 30, token: token.symbol });
  await buyer.pay(quote);
  await buyer.waitPayment(quote);
  await buyer.token();
  return Object.assign(buyer, { id: quote.subscription_id });
}

const dial = (buyer, { bearer = true } = {}) =>
  new Promise((resolve, reject) => {
    const url = `${stack.gateway.replace('http', 'ws')}/v1/streams/talk`;
    const socket = bearer ? new WebSocket(url, ['octroi.v1', `octroi.bearer.${buyer.accessToken}`]) : new WebSocket(url, { headers: { authorization: `Bearer ${buyer.accessToken}` } });
    socket.frames = [];
    socket.on('message', (data) => socket.frames.push(data.toString()));
    socket.ended = new Promise((done) => socket.once('close', (code, reason) => done({ code, reason: reason.toString() })));
    socket.once('open', () => resolve(socket));
    socket.once('unexpected-response', (_, response) => reject(new Error(`status ${response.statusCode}`)));
    socket.once('error', reject);
  });

const ledger = (buyer, ask) => waitUntil('the ledger', async () => {
  const usage = await buyer.usage();
  return ask(usage) && usage;
});

test('a WebSocket without a good token is refused, and reaches no origin', async () => {
  const before = seen.protocols.length;
  await assert.rejects(dial({ accessToken: 'a.b.c' }), /status 401/);
  await assert.rejects(dial({ accessToken: 'a.b.c' }, { bearer: false }), /status 401/);
  assert.equal(seen.protocols.length, before);
});

test('the token as a subprotocol admits, and stays here', async () => {
  const buyer = await subscriber('bulk');
  const socket = await dial(buyer);
  assert.equal(socket.protocol, 'octroi.v1');
  assert.equal(seen.protocols.at(-1), undefined);
  assert.equal(seen.authorization, undefined);
  assert.equal(seen.subscription, buyer.id);
  for (let i = 0; i < 40; i += 1) socket.send(`message ${i}`);
  await waitUntil('all echoes', () => socket.frames.length === 40);
  socket.close(1000);
  assert.equal((await socket.ended).code, 1000);
  const usage = await ledger(buyer, ({ used }) => used.messages >= 80);
  assert.equal(usage.used.messages, 80);
  assert.equal(usage.used.requests, 1);
});

test('a quota of messages is spent to its last one; then 1008 to both sides', async () => {
  const buyer = await subscriber('talk');
  const socket = await dial(buyer, { bearer: false });
  const before = seen.messages;
  seen.closed = null; // of the test before
  for (let i = 0; i < 40; i += 1) socket.send(`message ${i}`);
  const { code, reason } = await socket.ended;
  assert.equal(code, 1008);
  assert.match(reason, /quota-exceeded.*messages/);
  await waitUntil('the close at the origin', () => seen.closed);
  assert.equal(seen.closed.code, 1008);
  const passed = seen.messages - before + socket.frames.length;
  assert.equal(passed, 25);
  const usage = await ledger(buyer, ({ used }) => used.messages >= 25);
  assert.equal(usage.used.messages, 25);
  assert.equal(usage.left.messages, 0);
  assert.equal((await buyer.call('/v1/still')).status, 200, 'requests are left');
});

test('a message that waits for a quota which has ended ends the WebSocket with 1008, though nobody says anything more', async () => {
  const buyer = await subscriber('talk');
  const socket = await dial(buyer, { bearer: false });
  const before = seen.messages;
  seen.closed = null;
  for (let i = 1; i <= 25; i += 1) {
    socket.send('hush');
    await waitUntil(`message ${i}`, () => seen.messages - before === i);
  }
  await sleep(1500); // a refusal that is known already would be said at once
  socket.send('hush');
  const { code, reason } = await socket.ended;
  assert.equal(code, 1008);
  assert.match(reason, /quota-exceeded.*messages/);
  assert.equal(seen.messages - before, 25);
  await waitUntil('the close at the origin', () => seen.closed);
  assert.equal(seen.closed.code, 1008);
});

test('a WebSocket goes on when there are no more requests: it has messages left', async () => {
  const buyer = await subscriber('talk');
  const socket = await dial(buyer);
  const headers = { authorization: `Bearer ${buyer.accessToken}` };
  await Promise.all(Array.from({ length: 20 }, async () => {
    let status;
    do {
      const response = await fetch(`${stack.gateway}/v1/used`, { headers });
      await response.arrayBuffer();
      status = response.status;
    } while (status === 200);
    assert.equal(status, 429);
  }));
  await waitUntil('all requests to be used', async () => (await buyer.usage()).left.requests === 0);
  for (let i = 0; i < 12; i += 1) {
    socket.send(`message ${i}`);
    await Promise.race([waitUntil(`echo ${i}`, () => socket.frames.length > i), socket.ended.then(({ reason }) => assert.fail(reason))]);
  }
  socket.close(1000);
  const usage = await ledger(buyer, ({ used }) => used.messages >= 24);
  assert.equal(usage.used.messages, 24);
  assert.equal((await buyer.call('/v1/still')).status, 429);
});

test('a revocation ends a silent WebSocket with 1008, within seconds', async () => {
  const buyer = await subscriber('bulk');
  const socket = await dial(buyer);
  socket.send('hello');
  await waitUntil('the echo', () => socket.frames.length === 1);
  await revoke(buyer);
  const { code, reason } = await socket.ended;
  assert.equal(code, 1008);
  assert.match(reason, /payment-required/);
});

async function revoke(buyer) {
  const key = readFileSync(join(dir, 'secrets/admin.key'), 'utf8').trim();
  const answer = await fetch(`${stack.services.adminsvc.url}/admin/v1/subscriptions/${buyer.id}/revoke`, { method: 'POST', headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' }, body: JSON.stringify({ reason: 'a test' }) });
  assert.ok(answer.ok, `${answer.status} ${await answer.text()}`);
}

async function events(buyer) {
  const wire = await connect(stack.ports.proxy);
  wire.write(`GET /v1/streams/events HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\nAuthorization: Bearer ${buyer.accessToken}\r\n\r\n`);
  return Object.assign(wire, await wire.head());
}

test('events are counted, and an ending subscription ends the stream with an event', async () => {
  const buyer = await subscriber('bulk');
  let encoding;
  let response;
  streaming = (request, answer) => {
    encoding = request.headers['accept-encoding'];
    response = answer;
    answer.writeHead(200, { 'content-type': 'text/event-stream' });
    answer.write('\ufeffdata: one\n\ndata: two\r\n\r\n: nothing\n\nevent: x\rda');
  };
  const wire = await events(buyer);
  assert.equal(encoding, undefined);
  await waitUntil('a half event', () => wire.data.includes('event: x'));
  response.write('ta: three\r\rdata: half');
  await waitUntil('the rest of it', () => wire.data.includes('half'));
  const count = ({ days }) => days.reduce((sum, { events: more }) => sum + more, 0); // of both days, at midnight
  assert.equal(count(await ledger(buyer, (usage) => count(usage) >= 3)), 3);
  await revoke(buyer);
  const { body } = await wire.chunked();
  const text = body.toString();
  assert.ok(text.endsWith('\n\n'));
  const last = text.slice(text.indexOf('event: octroi.end'));
  assert.match(last, /^event: octroi\.end\ndata: \{[^\n]*\}\n\n$/);
  assert.match(JSON.parse(last.split('\ndata: ')[1]).type, /payment-required$/);
  wire.close();
});

const spliced = () => stack.proxy.metric('octroi_proxy_spliced_bytes_total');
const paid = (buyer, method, length) => `${method} /v1/streams/large HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer ${buyer.accessToken}\r\nContent-Length: ${length}\r\n\r\n`;

test('large bodies that go through a pipe are billed to the byte', async () => {
  const buyer = await subscriber('bulk');
  const size = 12 * 2 ** 20 + 1;
  streaming = (request, answer) => {
    request.resume().on('end', () => answer.writeHead(200, { 'content-length': size }).end(Buffer.alloc(size, 'x')));
  };
  const before = await spliced();
  const wire = await connect(stack.ports.proxy);
  for (let i = 0; i < 2; i += 1) {
    wire.write(paid(buyer, 'POST', size));
    wire.write(Buffer.alloc(size, 'y'));
    assert.equal((await wire.response()).body.length, size);
  }
  wire.close();
  const usage = await ledger(buyer, ({ used }) => used.bytes >= 4 * size);
  assert.equal(usage.used.bytes, 4 * size);
  assert.equal(usage.used.requests, 2);
  await waitUntil('the count', async () => (await spliced()) - before > size);
});

test('bytes that run out in the middle of a large body cut it, in either direction', async () => {
  const size = 32 * 2 ** 20;
  const quota = 4194304;
  const least = quota - 4 * 65536; // the piece that is refused, and what waited to be written
  const most = quota + 3 * 1048576;
  let got = 0;
  streaming = (request, answer) => {
    if (request.method === 'GET') answer.writeHead(200, { 'content-length': size }).end(Buffer.alloc(size, 'x'));
    else request.on('data', (data) => { got += data.length; }).on('error', () => {});
  };
  const down = await connect(stack.ports.proxy);
  down.write(paid(await subscriber('sip'), 'GET', 0));
  const { line } = await down.head();
  assert.match(line, / 200 /);
  const { length } = await down.rest();
  assert.ok(length >= least && length < most, `${length} bytes came`);
  const up = await connect(stack.ports.proxy);
  up.socket.on('error', () => {});
  up.write(paid(await subscriber('sip'), 'POST', size));
  up.write(Buffer.alloc(size, 'y'));
  await up.rest();
  assert.ok(got >= least && got < most, `${got} bytes came`);
});

test('bytes that run out end an event stream with the problem', async () => {
  const buyer = await subscriber('sip');
  const block = `data: ${'x'.repeat(60_000)}\n\n`;
  streaming = (request, answer) => {
    answer.writeHead(200, { 'content-type': 'text/event-stream' });
    const more = () => { while (!answer.destroyed && answer.write(block)); answer.once('drain', more); };
    more();
  };
  const wire = await events(buyer);
  const { body } = await wire.chunked();
  const text = body.toString();
  const last = text.slice(text.indexOf('event: octroi.end'));
  assert.match(JSON.parse(last.split('\ndata: ')[1]).type, /quota-exceeded$/);
  assert.ok(text.slice(0, -last.length).endsWith('\n\n'));
  assert.ok(body.length < 4194304 + 3 * 1048576, `${body.length} bytes passed`);
  wire.close();
});

test('a GraphQL quota is spent to its last point; what it cannot pay reaches no origin, and costs nothing', async () => {
  const buyer = await subscriber('graph');
  let served = 0;
  streaming = (request, answer) => {
    served += 1;
    request.resume().on('end', () => answer.end('{}'));
  };
  const ask = async (first) => {
    const body = JSON.stringify({ query: `{a(first:${first}){b}}` });
    const headers = { authorization: `Bearer ${buyer.accessToken}`, 'content-type': 'application/json' };
    const response = await fetch(`${stack.gateway}/v1/graphql`, { method: 'POST', headers, body });
    await response.arrayBuffer();
    return response.status;
  };
  assert.equal(await ask(29), 200);
  assert.equal(await ask(59), 200);
  assert.equal(await ask(89), 429);
  assert.equal(await ask(90), 400);
  assert.equal(await ask(9), 200);
  assert.equal(await ask(1), 429);
  assert.equal(served, 3);
  const usage = await ledger(buyer, ({ used }) => used.cost >= 100);
  assert.equal(usage.used.cost, 100);
  assert.equal(usage.used.requests, 3);
});

test('a token in the query is taken where the route allows it, and goes no further', async () => {
  const buyer = await subscriber('bulk');
  const urls = [];
  streaming = (request, answer) => {
    urls.push(request.url);
    answer.end();
  };
  const status = async (path) => {
    const response = await fetch(stack.gateway + path);
    await response.arrayBuffer();
    return response.status;
  };
  assert.equal(await status(`/v1/query/x?a=1&access_token=${buyer.accessToken}&b=2`), 200);
  assert.equal(await status(`/v1/query/x?access_token=${buyer.accessToken}`), 200);
  assert.deepEqual(urls, ['/v1/query/x?a=1&b=2', '/v1/query/x']);
  assert.equal(await status(`/v1/query/x?access_token=${buyer.accessToken}&access_token=x`), 401);
  assert.equal(await status('/v1/query/x'), 402);
  assert.equal(await status(`/v1/streams/x?access_token=${buyer.accessToken}`), 402);
  assert.ok(!stack.proxy.logContains(buyer.accessToken));
});
