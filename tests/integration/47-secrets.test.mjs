// Every secret that payd and quoted are given, against whatever they write and answer, while all that they need is away, refuses them, or
// repeats what it was sent.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { generatePrivateKey } from 'viem/accounts';

import { makeKeystore } from '../support/keystore.mjs';
import { freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { Postgres } from '../support/servers.mjs';
import { Service } from '../support/service.mjs';

const ADDRESS = '0x5FbDB2315678afecb367f032d93F642f64180aa3';
const BOOK = 'tokens: { ODD: { decimals: 6, index: 1 } }\nservices: { api: the API }\ndurations: [30]\ntiers: { small: { limits: { rate: 10 }, prices: { ODD: "3.00" } } }\n';

let dir;
const servers = [];
const running = [];

async function listen(server) {
  servers.push(server);
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return server.address().port;
}

// What a node, Redis, or a NATS server says that repeats all it was sent.
const echoingNode = () => createServer((request, response) => {
  let body = '';
  request.on('data', (piece) => (body += piece));
  request.on('end', () => {
    const [asked] = [JSON.parse(body)].flat();
    const message = `no: ${request.url} ${request.headers.authorization} ${Buffer.from((request.headers.authorization ?? '').replace('Basic ', ''), 'base64')}`;
    response.setHeader('content-type', 'application/json').end(JSON.stringify({ jsonrpc: '2.0', id: asked.id, error: { code: -32000, message } }));
  });
});
const echoing = (greeting, refusal) => net.createServer((socket) => {
  if (greeting) socket.write(greeting);
  socket.on('error', () => {});
  socket.on('data', (data) => socket.end(refusal(data.toString().replaceAll(/[\r\n]+/g, ' '))));
});

const file = (name, text) => {
  const path = join(dir, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
};

async function started(service, config, env = {}) {
  const opsPort = await freePort();
  const one = new Service(service, { dir, name: `${service}-secrets`, opsPort, env, config: `http: "127.0.0.1:${await freePort()}"\nops: "127.0.0.1:${opsPort}"\nlog: { level: debug }\n${config}` });
  running.push(one);
  one.spawn();
  await one.alive();
  return one;
}

async function said(service) {
  const pages = await Promise.all(['/livez', '/readyz', '/metrics'].map(async (path) => (await fetch(service.ops + path)).text()));
  return `${pages.join('\n')}\n${service.process.log()}`;
}

function assertSilent(text, secrets) {
  for (const [what, secret] of Object.entries(secrets)) assert.ok(!text.includes(secret), `${what} is repeated: ${text.split('\n').find((line) => line.includes(secret))}`);
}

// Its keys' pages, which hold nothing else: writable, small, and left out of core dumps (proc(5), VmFlags).
// Who is not root cannot look, though the process is his own.
function keysGuarded(service) {
  const look = () => readFileSync(`/proc/${service.pid}/smaps`, 'utf8');
  assert.doesNotMatch(service.process.log(), /a key is not kept out/);
  if (process.getuid() !== 0) return assert.throws(look, /EACCES|EPERM/);
  const maps = look().split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const found = maps.filter((map) => /^\S+ rw-p/.test(map) && Number(map.match(/^Size:\s+(\d+)/m)[1]) <= 8 && /^VmFlags:.* dd\b/m.test(map));
  return assert.ok(found.length > 0, 'no page of a key is kept out of core dumps');
}

before(() => {
  dir = temporaryDirectory('secrets');
  file('deployment.json', JSON.stringify({ chain_id: 4441, contract: ADDRESS, block: 1, token: ADDRESS, token_index: 1, tokens: [{ token: ADDRESS, index: 1 }], signer: ADDRESS, payee: ADDRESS }));
});

after(async () => {
  for (const one of running) await one.stop();
  for (const one of servers) {
    one.closeAllConnections?.();
    await one.close();
  }
  removeDirectory(dir);
});

const nodes = { 'the key in the path': 'pathSecretKey', 'the key in the query': 'querySecretKey', 'the user\'s password': 'userSecretPassword' };
const chain = (port) => `
chain:
  deployment: "${join(dir, 'deployment.json')}"
  rpc:
    - "http://127.0.0.1:${port}/v2/${nodes['the key in the path']}?key=${nodes['the key in the query']}"
    - "http://user:${nodes['the user\'s password']}@127.0.0.1:${port}/"
  poll: 50ms
`;

test('payd, whose database and bus refuse it', async () => {
  const keys = { wallet: generatePrivateKey(), receipts: generatePrivateKey() };
  const secrets = {
    'the database\'s password': 'dbSecretPassword', 'the bus\'s password': 'busSecretPassword',
    ...nodes, 'the keystore\'s password': 'keystoreSecretPassword', 'the operator\'s key': keys.wallet.slice(2, 34), 'the receipts\' key': keys.receipts.slice(2, 34),
  };
  const bus = await listen(echoing('INFO {"server_id":"x","version":"2.9.0","max_payload":1048576,"auth_required":true}\r\n', (text) => `-ERR 'Authorization Violation ${text.slice(0, 400)}'\r\n`));
  const payd = await started('payd', `
postgres: "postgresql://octroi_payd:${secrets['the database\'s password']}/a@127.0.0.1:1/octroi"
nats: { urls: ["nats://127.0.0.1:${bus}"], credentials: "payd:${secrets['the bus\'s password']}" }
${chain(await freePort())}receipts: { key_file: "${file('receipt.key', keys.receipts)}" }
wallet: { keystore: "${file('wallet.json', makeKeystore(keys.wallet, secrets['the keystore\'s password']))}", password_file: "${file('wallet.password', secrets['the keystore\'s password'])}" }
`);
  await waitUntil('the database to be away', async () => /postgres is away/.test(await said(payd)));
  await waitUntil('the bus to be away', () => payd.logContains('"nats reported an error"') || payd.logContains('"nats is away"'));
  assertSilent(await said(payd), secrets);
  keysGuarded(payd);
});

test('payd, whose nodes repeat what they are asked', async () => {
  const postgres = new Postgres({ dir: join(dir, 'postgres') });
  servers.push({ close: () => postgres.stop() });
  await postgres.start();
  let asked = 0;
  const server = echoingNode();
  server.on('request', () => asked++);
  const payd = await started('payd', `postgres: "${postgres.conninfo('payd')}"\nnats: { urls: ["nats://127.0.0.1:1"] }${chain(await listen(server))}`);
  await waitUntil('the nodes to be asked and left', () => asked > 4 && payd.logContains('the chain is away'));
  await waitUntil('both to be told of', () => payd.process.log().split('RPC endpoint').length > 2);
  assertSilent(await said(payd), nodes);
});

test('quoted', async () => {
  const keys = { quotes: generatePrivateKey(), next: generatePrivateKey() };
  const secrets = { 'the database\'s password': 'dbSecretPassword', 'the store\'s password': 'redisSecretPassword', 'the bus\'s password': 'busSecretPassword', 'the key': keys.quotes.slice(2, 34), 'the next key': keys.next.slice(2, 34) };
  const redis = await listen(echoing('', (text) => `-ERR unknown command, with args beginning with: ${text}\r\n`));
  const quoted = await started('quoted', `
postgres: "\${DATABASE}"
redis: "redis://u:${secrets['the store\'s password']}@127.0.0.1:${redis}"
nats: { urls: ["nats://127.0.0.1:1"], credentials: "quoted:${secrets['the bus\'s password']}" }
chain: { deployment: "${join(dir, 'deployment.json')}" }
signer: { key: "\${file:${file('quotes.key', keys.quotes)}}", next_key_file: "${file('next.key', keys.next)}" }
pricebook: "${file('book.yaml', BOOK)}"
`, { DATABASE: `postgresql://octroi_quoted:${secrets['the database\'s password']}%zz@127.0.0.1:1/octroi` });
  await waitUntil('the database to be away', async () => /postgres is away/.test(await said(quoted)));
  await waitUntil('the store to be away', async () => /redis is away/.test(await said(quoted)));
  assertSilent(await said(quoted), secrets);
  keysGuarded(quoted);
});

// The service does not start; what it says of that.
async function refused(service, config) {
  const one = new Service(service, { dir, name: `${service}-refused`, opsPort: 1, config, args: ['-t'] }).spawn();
  await one.process.exited;
  return one.process.log();
}

test('a file that others may read is warned of; a secret in the place of its file is not repeated', async () => {
  const key = generatePrivateKey();
  const rest = `postgres: "postgresql:///"\nnats: { urls: ["nats://127.0.0.1:1"] }\nchain: { deployment: "${join(dir, 'deployment.json')}" }\npricebook: "${file('book.yaml', BOOK)}"\n`;
  const path = join(dir, 'open.key');
  writeFileSync(path, key, { mode: 0o644 });
  const quoted = await started('quoted', `${rest}signer: { key_file: "${path}" }\n`);
  await waitUntil('the warning', async () => /others may read or change a secret's file.*signer\.key_file/.test(await said(quoted)));
  const text = await refused('quoted', `http: "127.0.0.1:1"\n${rest}signer: { key_file: "${key}" }\n`);
  assert.match(text, /signer\.key_file/);
  assertSilent(text, { 'the key': key.slice(2, 34) });
});
