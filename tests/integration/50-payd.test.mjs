// payd against a real chain, PostgreSQL and NATS: payments are found, confirmed and handed on exactly once, whatever
// the chain takes back, whoever dies, and whatever is away.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { createPublicClient, createWalletClient, defineChain, http, parseAbi, parseSignature, signatureToCompactSignature } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';

import { packTerms, quoteDigest, quoteTypedData, serviceId, subscriptionId, validUntilMinute } from '../../contracts/script/terms.mjs';
import { transactionReceipt } from '../../contracts/script/transaction.mjs';
import { Bus } from '../support/bus.mjs';
import { freePort, removeDirectory, sleep, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { Relay } from '../support/relay.mjs';
import { Chain, Nats, Postgres, accounts } from '../support/servers.mjs';
import { Service } from '../support/service.mjs';
import { Sql } from '../support/sql.mjs';

const abi = parseAbi([
  'function pay(bytes32 serviceId, address token, uint256 terms, bytes32 r, bytes32 vs)',
  'function setRevoked(address subscriber, bytes32 serviceId, bool revoked)',
  'function slotOf(address subscriber, bytes32 serviceId) view returns (uint256)',
  'function mint(address to, uint256 amount)',
  'function approve(address spender, uint256 amount) returns (bool)',
]);
const signer = privateKeyToAccount(accounts[1]);
const payer = privateKeyToAccount(accounts[2]);
const operator = privateKeyToAccount(accounts[3]);

let dir;
let postgres;
let nats;
let chain;
let deployment;
let client;
let wallet;
let quoted;
let subd;
let tester;
const payds = [];

// Stands before the chain, and can be away or talk nonsense.
let node;

async function payd(name, { rpc = [node.url], settings = {}, database, ready = true } = {}) {
  const port = await freePort();
  const opsPort = await freePort();
  const values = { confirmations: 2, poll: '50ms', stale_after: '1500ms', backoff_min: '50ms', backoff_max: '300ms', ...settings };
  const config = `
http: "127.0.0.1:${port}"
ops: "127.0.0.1:${opsPort}"
postgres: "${database ?? postgres.conninfo('payd')}"
nats: { urls: ["${nats.url}"], credentials: "${nats.credentials('payd')}" }
relay: { retry_min: 100ms, retry_max: 400ms }
chain:
  deployment: "${chain.deploymentFile}"
  rpc: [${rpc.map((url) => `{ url: "${url}", timeout: 1s }`).join(', ')}]
${Object.entries(values).map(([key, value]) => `  ${key}: ${value}`).join('\n')}
`;
  const service = new Service('payd', { dir, name, config, opsPort });
  service.url = `http://127.0.0.1:${port}`;
  payds.push(service);
  if (ready) await service.start();
  else service.spawn();
  return service;
}

// Also after a failure: what is left running would lead in the next test.
async function stopAll() {
  node?.clear();
  await Promise.all(payds.splice(0).map((service) => service.stop()));
}

let clock = Math.floor(Date.now() / 1000) - 60;
const seqs = new Map();

async function makeQuote(service, { seq, plan = 1, paid = 1_000_000n } = {}) {
  seq ??= (seqs.get(service) ?? 0) + 1;
  const terms = packTerms({
    start: clock, expiry: clock + 86_400, paid, plan, rate: 5, bandwidth: 0, quota: 100, seq, token: deployment.token_index,
    valid_until: validUntilMinute(BigInt(clock + 3600)),
  });
  const quote = { chainId: deployment.chain_id, contract: deployment.contract, subscriber: payer.address, serviceId: serviceId(service), token: deployment.token, terms };
  const compact = signatureToCompactSignature(parseSignature(await signer.signTypedData(quoteTypedData(quote))));
  return { ...quote, service, seq, id: quoteDigest(quote), r: compact.r, vs: compact.yParityAndS };
}

async function pay(quote) {
  const hash = await wallet.writeContract({ address: deployment.contract, abi, functionName: 'pay', args: [quote.serviceId, quote.token, quote.terms, quote.r, quote.vs], gas: 300_000n });
  const receipt = await transactionReceipt(client, hash);
  assert.equal(receipt.status, 'success');
  seqs.set(quote.service, quote.seq);
  return receipt;
}

async function bought(service, options) {
  const quote = await makeQuote(service, options);
  const receipt = await pay(quote);
  return { ...quote, receipt };
}

async function get(service, id) {
  const response = await fetch(`${service.url}/payment/${id}`);
  return { status: response.status, headers: response.headers, body: await response.json() };
}

const inState = (service, quote, state) => waitUntil(`${quote.service} to be ${state}`, async () => {
  const { body } = await get(service, quote.id);
  return body.state === state && body;
});

const trail = (quote) => postgres.rows(`select revision, from_state, state, reason from payments.payment_event where payment_id = '${quote.id}' order by revision`);
const states = (quote) => trail(quote).map((row) => row.state).join(' ');
const activate = (quote, revision) => subd.request('octroi.v1.payment.activated', { payment_id: quote.id, revision, subscription: subscriptionId(quote) });
const slot = (service) => quoted.request('octroi.v1.chain.slot', { subscriber: payer.address, service_id: serviceId(service) });
const followed = (service) => waitUntil('the chain to be followed', async () => {
  const answer = await slot(service);
  return answer.error ? false : answer;
});
const hints = async (quote) => (await tester.messages('OCTROI_PAYMENTS')).filter(({ body }) => body.payment_id === quote.id);
const word = (value) => `0x${value.toString(16).padStart(64, '0')}`;
const leader = async (services) => {
  for (const service of services) if (service.process.exit === null && (await service.metric('octroi_payd_leader').catch(() => 0)) === 1) return service;
  return undefined;
};

before(async () => {
  dir = temporaryDirectory('payd');
  postgres = new Postgres({ dir: join(dir, 'postgres') });
  nats = new Nats({ dir: join(dir, 'nats') });
  chain = new Chain({ dir: join(dir, 'chain') });
  await Promise.all([postgres.start(), nats.start(), chain.start()]);
  deployment = chain.deploy({ signer: signer.address, payee: payer.address, operator: operator.address });
  const definition = defineChain({ id: chain.chainId, name: 'test', nativeCurrency: { name: 'x', symbol: 'x', decimals: 18 }, rpcUrls: { default: { http: [chain.url] } } });
  const transport = http(chain.url);
  client = createPublicClient({ chain: definition, transport, pollingInterval: 20, cacheTime: 0 });
  wallet = createWalletClient({ account: payer, chain: definition, transport });
  for (const [functionName, args] of [['mint', [payer.address, 10n ** 15n]], ['approve', [deployment.contract, 10n ** 15n]]]) {
    const hash = await wallet.writeContract({ address: deployment.token, abi, functionName, args });
    await transactionReceipt(client, hash);
  }
  quoted = await new Bus({ port: nats.port, user: 'quoted', password: nats.passwords.quoted }).connect();
  subd = await new Bus({ port: nats.port, user: 'subd', password: nats.passwords.subd }).connect();
  tester = await new Bus({ port: nats.port, user: 'tester', password: 'tester' }).connect();
  node = await new Relay({ upstream: chain.url }).start();
});

afterEach(stopAll);

after(async () => {
  const failures = [];
  const end = async (stop) => {
    try {
      await stop();
    } catch (error) {
      failures.push(error);
    }
  };
  quoted?.close();
  subd?.close();
  tester?.close();
  node?.stop();
  for (const server of [chain, nats, postgres]) await end(() => server?.stop());
  if (failures.length) throw failures[0];
  removeDirectory(dir);
});

test('a payment is seen, confirmed and handed on until it is answered', async () => {
  const a = await payd('first');
  assert.deepEqual(await followed('first'), {
    slot: word(0n), pending: false, revoked: false, head: Number(await client.getBlockNumber()), chain_id: 4441, contract: deployment.contract, signer: signer.address,
  });
  assert.equal((await get(a, `0x${'1'.repeat(64)}`)).status, 404);
  assert.match((await get(a, `0x${'1'.repeat(64)}`)).body.detail, /not|yet/i);
  assert.equal((await get(a, '0x12')).status, 400);

  const quote = await bought('first');
  const seen = await inState(a, quote, 'seen');
  assert.equal(seen.confirmations, 0);
  assert.equal(seen.confirmations_required, 2);
  assert.equal(seen.tx_hash, quote.receipt.transactionHash);
  assert.equal(seen.block_number, Number(quote.receipt.blockNumber));
  assert.equal(seen.amount, '1000000');
  assert.equal(seen.token, deployment.token);
  assert.equal(seen.subscription, subscriptionId(quote));
  assert.equal((await slot('first')).pending, true);
  await chain.mine(1);
  assert.equal((await inState(a, quote, 'confirming')).confirmations, 1);
  await chain.mine(1);
  const confirmed = await inState(a, quote, 'confirmed');
  assert.equal(confirmed.revision, 3);
  const now = await slot('first');
  assert.equal(now.pending, false);
  assert.equal(now.slot, word(quote.terms));
  assert.equal(BigInt(now.slot), await client.readContract({ address: deployment.contract, abi, functionName: 'slotOf', args: [payer.address, quote.serviceId] }));

  // Repeated, each time under another message id, until the answer.
  const told = await waitUntil('the hint to be repeated', async () => {
    const found = await hints(quote);
    return found.length >= 3 && found;
  });
  for (const [i, { subject, body, headers }] of told.entries()) {
    assert.equal(subject, 'octroi.v1.payment.confirmed');
    assert.deepEqual(body, { payment_id: quote.id, revision: 3 });
    assert.equal(headers['nats-msg-id'], `${quote.id}:3:${i + 1}`);
  }
  assert.equal((await activate(quote, 2)).error.code, 'conflict');
  assert.deepEqual(await activate(quote, 3), { ok: true });
  assert.deepEqual(await activate(quote, 3), { ok: true });
  assert.equal((await inState(a, quote, 'activated')).revision, 4);
  assert.deepEqual(await activate(quote, 4), { ok: true });
  assert.equal(states(quote), 'seen confirming confirmed activated');
  const count = (await hints(quote)).length;
  await sleep(600);
  assert.equal((await hints(quote)).length, count);
  const response = await fetch(`${a.url}/payment/${quote.id.toUpperCase().replace('0X', '0x')}`, { headers: { origin: 'https://x.example' } });
  assert.equal(response.headers.get('cache-control'), 'no-store');
  assert.equal(response.headers.get('access-control-allow-origin'), '*');
  assert.equal((await response.json()).payment_id, quote.id);
});

test('others read the published view and nothing else; the trail cannot be changed', async () => {
  const asSubd = (statement) => postgres.psql(['-At', '-v', 'ON_ERROR_STOP=1', '-c', statement], 'octroi', 'octroi_subd', postgres.passwords.subd).trim();
  const [row] = JSON.parse(asSubd('select json_agg(v) from payments.payment_v1 v'));
  assert.deepEqual(Object.keys(row), ['payment_id', 'revision', 'state', 'chain_id', 'contract', 'subscriber', 'service_id', 'token', 'terms', 'amount', 'plan', 'seq',
    'start_at', 'expires_at', 'paid', 'tx_hash', 'block_number', 'log_index', 'seen_at', 'confirmed_at', 'subscription', 'reason', 'activated_at', 'refund_tx', 'refund_block', 'refund_amount', 'refunded_at']);
  assert.equal(row.subscriber, payer.address.toLowerCase());
  assert.equal(row.contract, deployment.contract.toLowerCase());
  assert.throws(() => asSubd('select * from payments.payment'), /permission denied/);
  for (const change of ["update payments.payment_event set state = 'seen'", 'delete from payments.payment_event', 'truncate payments.payment_event']) {
    assert.throws(() => postgres.sql(change), /append-only/);
  }
});

test('a block that leaves the chain takes its payments along, before and after confirmation', async () => {
  const a = await payd('reorg');
  const quote = await bought('reorg');
  await inState(a, quote, 'seen');
  await chain.rpc('anvil_reorg', [1, []]);
  const gone = await inState(a, quote, 'orphaned');
  assert.equal(gone.confirmations, 0);
  assert.equal((await slot('reorg')).slot, word(0n));
  assert.equal((await slot('reorg')).pending, false);

  const again = await pay(quote);
  await inState(a, quote, 'seen');
  assert.equal((await get(a, quote.id)).body.tx_hash, again.transactionHash);
  await chain.mine(2);
  const { revision } = await inState(a, quote, 'confirmed');
  assert.deepEqual(await activate(quote, revision), { ok: true });
  await inState(a, quote, 'activated');

  await chain.mine(3);
  await chain.rpc('anvil_reorg', [6, []]);
  const reversed = await inState(a, quote, 'orphaned');
  const told = await waitUntil('the reversal', async () => (await hints(quote)).find(({ subject }) => subject === 'octroi.v1.payment.reversed'));
  assert.equal(told.body.revision, reversed.revision);
  assert.deepEqual(await activate(quote, reversed.revision), { ok: true });
  assert.equal(postgres.rows(`select 1 from payments.outbox where payment_id = '${quote.id}'`).length, 0);

  await pay(quote);
  await chain.mine(2);
  const last = await inState(a, quote, 'confirmed');
  assert.deepEqual(await activate(quote, last.revision), { ok: true });
  assert.match(states(quote), /^seen orphaned seen (confirming )?confirmed activated orphaned seen (confirming )?confirmed activated$/);
  const revisions = trail(quote).map((row) => row.revision);
  assert.deepEqual(revisions, revisions.map((_, i) => i + 1));
  assert.ok((await a.metric('octroi_payd_reorgs_total')) >= 2);
});

test('a reorganisation deeper than the blocks that are kept', async () => {
  const a = await payd('deep', { settings: { confirmations: 2, keep_blocks: 4, tail: 4 } });
  const quote = await bought('deep');
  await chain.mine(30);
  const { revision } = await inState(a, quote, 'confirmed');
  assert.deepEqual(await activate(quote, revision), { ok: true });
  await chain.rpc('anvil_reorg', [31, []]);
  await inState(a, quote, 'orphaned');
});

test('two instances: one leads, a payment is activated once, and a killed leader is replaced', async () => {
  const pair = [await payd('left'), await payd('right')];
  const first = await waitUntil('a leader', () => leader(pair));
  const other = pair.find((service) => service !== first);
  assert.equal(await other.metric('octroi_payd_leader'), 0);
  const one = await bought('pair');
  await chain.mine(2);
  const { revision } = await inState(other, one, 'confirmed');
  const answers = await Promise.all(Array.from({ length: 8 }, () => activate(one, revision)));
  for (const answer of answers) assert.deepEqual(answer, { ok: true });
  assert.equal(trail(one).filter((row) => row.state === 'activated').length, 1);
  assert.equal(trail(one).filter((row) => row.state === 'confirmed').length, 1);

  const [{ epoch }] = postgres.rows('select epoch from payments.follower');
  await first.kill();
  const two = await bought('pair');
  await chain.mine(2);
  await inState(other, two, 'confirmed');
  assert.equal(await leader(pair), other);
  assert.equal(postgres.rows('select epoch from payments.follower')[0].epoch, epoch + 1);
  const status = await quoted.request('octroi.v1.chain.status');
  assert.equal(status.ok, true);
  assert.equal(status.leader, true);
});

test('a stale leader commits nothing', async () => {
  const a = await payd('stale');
  await waitUntil('a leader', () => leader([a]));
  postgres.sql('update payments.follower set epoch = epoch + 1');
  const quote = await bought('stale');
  await waitUntil('the epoch to be noticed', () => a.logContains('leadership lost'));
  await chain.mine(2);
  await inState(a, quote, 'confirmed');
  assert.deepEqual(trail(quote).filter((row) => row.state === 'seen').length, 1);
});

test('a leader that hangs is replaced, and follows again as a standby', async () => {
  const pair = [await payd('hangs'), await payd('waits')];
  const first = await waitUntil('a leader', () => leader(pair));
  const other = pair.find((service) => service !== first);
  first.process.signal('SIGSTOP');
  const quote = await bought('hangs');
  await chain.mine(2);
  await waitUntil('the other to confirm it', async () => (await get(other, quote.id)).body.state === 'confirmed');
  first.process.signal('SIGCONT');
  await waitUntil('the first to give way', async () => (await first.metric('octroi_payd_leader')) === 0);
  assert.equal(await other.metric('octroi_payd_leader'), 1);
  assert.match(states(quote), /^seen (confirming )?confirmed$/);
});

test('a chain that is away, hangs or talks nonsense is waited for', async () => {
  node.fault('reset');
  const a = await payd('away');
  await waitUntil('the chain to count as away', async () => (await slot('away')).error?.code === 'chain-unavailable');
  assert.equal((await quoted.request('octroi.v1.chain.status')).ok, false);
  assert.match(JSON.stringify(await (await fetch(`${a.ops}/readyz`)).json()), /chain/);
  node.clear();
  await followed('away');
  for (const mode of ['reset', 'html', 'flood', 'hang']) {
    node.fault(mode);
    await waitUntil(`${mode} to be noticed`, async () => (await slot('away')).error?.code === 'chain-unavailable');
    const quote = await bought('away');
    await chain.mine(2);
    node.clear();
    await inState(a, quote, 'confirmed');
    assert.deepEqual(await activate(quote, (await get(a, quote.id)).body.revision), { ok: true });
  }
});

test('PostgreSQL and NATS come back by themselves', async () => {
  const a = await payd('stores');
  await waitUntil('a leader', () => leader([a]));
  await nats.stop();
  const quote = await bought('stores');
  await chain.mine(2);
  await inState(a, quote, 'confirmed');
  await nats.start();
  quoted = await new Bus({ port: nats.port, user: 'quoted', password: nats.passwords.quoted }).connect();
  subd = await new Bus({ port: nats.port, user: 'subd', password: nats.passwords.subd }).connect();
  tester = await new Bus({ port: nats.port, user: 'tester', password: 'tester' }).connect();
  await waitUntil('the hint', async () => (await hints(quote)).length > 0);
  await postgres.stop();
  assert.equal((await fetch(`${a.url}/payment/${quote.id}`)).status, 503);
  const second = await bought('stores');
  await postgres.start();
  await chain.mine(2);
  await inState(a, second, 'confirmed');
});

test('killed again and again while it catches up: every payment once', async (t) => {
  const quotes = [];
  for (let i = 0; i < 12; i += 1) {
    quotes.push(await bought('catchup'));
    await chain.mine(40);
  }
  const settings = { range: 7, tail: 6, batch: 2, keep_blocks: 8, poll: '20ms' };
  const sql = new Sql(postgres); // a psql for each look holds up the relay, which is in this process
  t.after(() => sql.close());
  const cursor = async () => (await sql.rows('select cursor_number from payments.follower'))[0].cursor_number;
  const head = Number(await client.getBlockNumber());
  for (let round = 0; round < 6; round += 1) {
    const from = await cursor();
    const victim = await payd(`catchup${round}`, { settings, ready: false });
    // Where this test is slow and payd is not, it may be there before the last round.
    await waitUntil('some progress', async () => (await cursor()) > Math.min(from + 15, head - 1) || victim.process.exit, { every: 5 });
    await victim.kill();
    payds.pop();
  }
  const a = await payd('catchup', { settings });
  for (const quote of quotes) {
    await inState(a, quote, 'confirmed');
    assert.match(states(quote), /^seen (confirming )?confirmed$/);
  }
});

test('by time, where no block follows', async () => {
  const a = await payd('time', { settings: { confirmations: 1000, confirm_after: '1s' } });
  const quote = await bought('time');
  await inState(a, quote, 'seen');
  const done = await inState(a, quote, 'confirmed');
  assert.equal(done.confirmations, 0);
});

test('only below the finalized block, where so configured', async () => {
  const a = await payd('tag', { settings: { confirmations: 0, tag: 'finalized' } });
  const quote = await bought('tag');
  await inState(a, quote, 'seen');
  await chain.mine(1);
  await inState(a, quote, 'confirming');
  await chain.mine(70);
  await inState(a, quote, 'confirmed');
});

test('a revocation shows in the slot, and leaves it with its block', async () => {
  const a = await payd('revoked');
  const chainOf = createWalletClient({ account: operator, chain: wallet.chain, transport: http(chain.url) });
  const hash = await chainOf.writeContract({ address: deployment.contract, abi, functionName: 'setRevoked', args: [payer.address, serviceId('revoked'), true] });
  await transactionReceipt(client, hash);
  await waitUntil('the revocation', async () => (await slot('revoked')).revoked === true);
  await chain.rpc('anvil_reorg', [1, []]);
  await waitUntil('its end', async () => (await slot('revoked')).revoked === false);
});

test('endpoints: the next one serves, another chain is refused, keys are not told', async () => {
  const dead = await freePort();
  const other = await new Chain({ dir: join(dir, 'other'), chainId: 99 }).start();
  const a = await payd('endpoints', {
    rpc: [`http://user:hunter22@127.0.0.1:${dead}/v2/SECRETKEY1`, `${other.url}/?key=SECRETKEY2`, `${node.url}/SECRETKEY3`],
  });
  const quote = await bought('endpoints');
  await chain.mine(2);
  await inState(a, quote, 'confirmed');
  assert.ok(a.logContains('chain id is 99, configured is 4441'));
  assert.ok(!a.logContains(/SECRETKEY|hunter22/));
  assert.doesNotMatch(await a.metrics(), /SECRETKEY|hunter22/);
  await other.stop();
});

test('what we would not have sold is rejected, and told', async () => {
  const a = await payd('objections', { settings: { tokens: `[{ address: "${deployment.contract}", index: 1 }]` } });
  const quote = await bought('objections');
  const rejected = await inState(a, quote, 'rejected');
  assert.equal(rejected.reason, 'unknown-token');
  assert.equal((await activate(quote, 1)).error.code, 'conflict');
});

test('a plan that the price book does not have is rejected until it has it', async () => {
  postgres.sql('create table quotes.plan (plan int); create view quotes.plan_v1 as select plan from quotes.plan; grant usage on schema quotes to octroi_payd; grant select on quotes.plan_v1 to octroi_payd');
  const a = await payd('plans');
  const quote = await bought('plans', { plan: 7 });
  assert.equal((await inState(a, quote, 'rejected')).reason, 'unknown-plan');
  postgres.sql('insert into quotes.plan values (7)');
  await chain.mine(2);
  assert.equal((await inState(a, quote, 'confirmed')).reason, null);
  assert.match(states(quote), /^seen rejected confirming confirmed$/);
});
