// Receipts: given for what is confirmed and for nothing else, the same bytes from everybody, and believed by those who know neither payd nor
// its database: viem, a JOSE library, the contract, and the command that users get. Access proofs by the same command.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { EmbeddedJWK, compactVerify } from 'jose';
import { createWalletClient, hashTypedData, http, parseAbi, recoverTypedDataAddress } from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';

import { serviceId } from '../../contracts/script/terms.mjs';
import { transactionReceipt } from '../../contracts/script/transaction.mjs';
import { Payments } from '../support/payments.mjs';
import { freePort, root, waitUntil } from '../support/process.mjs';
import { accounts } from '../support/servers.mjs';
import { run } from '../../tools/proof.mjs';

const abi = parseAbi([
  'struct Receipt { bytes32 paymentId; address subscriber; bytes32 serviceId; address token; uint256 terms; uint256 amount; bytes32 txHash; uint256 blockNumber; uint256 confirmedAt; }',
  'function verifyReceipt(Receipt receipt, bytes signature) view returns (bool valid, bool current)',
  'function receiptDigest(Receipt receipt) view returns (bytes32)',
  'function refund(address subscriber, bytes32 serviceId, address token, uint16 seq, uint256 amount)',
]);
const types = {
  Receipt: [
    { name: 'paymentId', type: 'bytes32' }, { name: 'subscriber', type: 'address' }, { name: 'serviceId', type: 'bytes32' }, { name: 'token', type: 'address' },
    { name: 'terms', type: 'uint256' }, { name: 'amount', type: 'uint256' }, { name: 'txHash', type: 'bytes32' }, { name: 'blockNumber', type: 'uint256' }, { name: 'confirmedAt', type: 'uint256' },
  ],
};
const key = generatePrivateKey();
const signer = privateKeyToAccount(key);
const stand = new Payments();
let more;

before(async () => {
  await stand.start({ receiptSigner: signer.address });
  const file = join(stand.dir, 'receipt-signer.key');
  writeFileSync(file, `${key}\n`, { mode: 0o600 });
  more = `receipts: { key_file: "${file}" }`;
});
afterEach(() => stand.stopPayds());
after(() => stand.stop());

const receiptOf = (payd, quote) => stand.get(payd, `/receipt/${quote.id}`);
const message = ({ receipt }) => ({ ...receipt, terms: BigInt(receipt.terms), amount: BigInt(receipt.amount), blockNumber: BigInt(receipt.blockNumber), confirmedAt: BigInt(receipt.confirmedAt) });
const typed = (body) => ({ domain: body.domain, types, primaryType: 'Receipt', message: message(body) });
const onChain = (body) => stand.client.readContract({ address: stand.deployment.contract, abi, functionName: 'verifyReceipt', args: [message(body), body.signature] });

// The command within this process; `input` stands for a file.
async function proof(args, { env = {}, input } = {}) {
  const file = join(stand.dir, 'input.json');
  if (input !== undefined) writeFileSync(file, input);
  process.env.OCTROI_KEY = env.OCTROI_KEY ?? '';
  return run(args.map((arg) => (arg === '-' ? file : arg)));
}

// As users start it.
function spawned(args, { input = '', env = {} } = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'tools/proof.mjs'), ...args], { input, env: { ...process.env, ...env }, encoding: 'utf8' });
  return { code: status, stdout, stderr };
}

let given; // a receipt for later tests, whose payd is gone by then
let bought;

test('refused until it is confirmed; then signed twice, and believed offline and by the contract', async () => {
  const payd = await stand.payd('first', { more });
  assert.equal((await stand.get(payd, `/receipt/0x${'1'.repeat(64)}`)).status, 404);
  assert.equal((await stand.get(payd, '/receipt/0x12')).body.type, 'https://octroi.dev/problems/invalid-field');
  bought = await stand.bought('first');
  await stand.inState(payd, bought, 'seen');
  const early = await receiptOf(payd, bought);
  assert.equal(early.status, 409);
  assert.equal(early.body.type, 'https://octroi.dev/problems/payment-pending');
  assert.ok(early.headers.get('retry-after'));

  await stand.chain.mine(1);
  const payment = await stand.inState(payd, bought, 'confirmed');
  const answer = await receiptOf(payd, bought);
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get('cache-control'), 'no-store');
  given = answer.body;
  const { receipt, signature, jws, ...rest } = given;
  assert.deepEqual(receipt, {
    paymentId: bought.id, subscriber: stand.payer.address, serviceId: bought.serviceId, token: stand.deployment.token, terms: `0x${bought.terms.toString(16).padStart(64, '0')}`,
    amount: '1000000', txHash: bought.receipt.transactionHash, blockNumber: Number(bought.receipt.blockNumber), confirmedAt: payment.confirmed_at,
  });
  assert.deepEqual(rest, {
    domain: { name: 'Octroi', version: '1', chainId: 4441, verifyingContract: stand.deployment.contract },
    grant: { subscription: bought.subscription, plan: 1, seq: 1, start: stand.clock, expiry: stand.clock + 86_400, paid: '1000000' },
    signer: signer.address,
    // The price book's history is not there in this database.
    sold: { service: null, tier: null, tier_version: null },
  });
  assert.equal(await recoverTypedDataAddress({ ...typed(given), signature }), signer.address);
  assert.equal(await stand.client.readContract({ address: stand.deployment.contract, abi, functionName: 'receiptDigest', args: [message(given)] }), hashTypedData(typed(given)));
  // The very bytes that another RFC 6979 signer makes.
  assert.equal(signature, await signer.signTypedData(typed(given)));

  const verified = await compactVerify(jws, EmbeddedJWK, { algorithms: ['ES256K'] });
  assert.equal(verified.protectedHeader.kid, signer.address);
  const payload = JSON.parse(new TextDecoder().decode(verified.payload));
  assert.deepEqual(payload, {
    iss: `eip155:4441:${stand.deployment.contract}`, sub: stand.payer.address, jti: bought.id, iat: payment.confirmed_at, receipt, grant: given.grant,
  });
  assert.deepEqual(await onChain(given), [true, true]);
});

test('the same bytes from every instance, before and after activation', async () => {
  const [a, b] = [await stand.payd('left', { more }), await stand.payd('right', { more })];
  const before = await receiptOf(a, bought);
  assert.deepEqual(before.body, given);
  const { revision } = await stand.inState(a, bought, 'confirmed');
  assert.deepEqual(await stand.activate(bought, revision), { ok: true });
  await stand.inState(b, bought, 'activated');
  assert.equal((await receiptOf(a, bought)).text, before.text);
  assert.equal((await receiptOf(b, bought)).text, before.text);
});

test('one changed bit anywhere, or another key, and nobody believes it', async () => {
  const flip = (text, at) => text.slice(0, at) + (text[at] === '0' ? '1' : '0') + text.slice(at + 1);
  const forged = [];
  for (const name of ['paymentId', 'subscriber', 'serviceId', 'token', 'terms', 'txHash']) {
    const value = name === 'subscriber' || name === 'token' ? stand.deployment.contract : flip(given.receipt[name], 40);
    forged.push({ ...given, receipt: { ...given.receipt, [name]: value } });
  }
  for (const name of ['blockNumber', 'confirmedAt']) forged.push({ ...given, receipt: { ...given.receipt, [name]: given.receipt[name] + 1 } });
  forged.push({ ...given, receipt: { ...given.receipt, amount: '1000001' } }, { ...given, signature: flip(given.signature, 50) });
  const stranger = privateKeyToAccount(accounts[4]);
  forged.push({ ...given, signature: await stranger.signTypedData(typed(given)) });
  for (const body of forged) {
    assert.deepEqual(await onChain(body), [false, false]);
    const file = join(stand.dir, 'forged.json');
    writeFileSync(file, JSON.stringify(body));
    assert.equal((await proof(['receipt', file, '--signer', signer.address])).code, 1);
  }
  // A JWS that somebody else signed with a key of his own in the header.
  const [header, payload] = given.jws.split('.');
  const file = join(stand.dir, 'forged.json');
  writeFileSync(file, JSON.stringify({ ...given, jws: `${header}.${payload}.${Buffer.from(randomBytes(64)).toString('base64url')}` }));
  assert.match((await proof(['receipt', file, '--signer', signer.address])).stderr, /JWS/);
});

test('after a renewal a receipt is valid and no longer current', async () => {
  const payd = await stand.payd('renewal', { more });
  const renewal = await stand.bought('first', { paid: 3_000_000n });
  await stand.activated(payd, renewal);
  assert.deepEqual(await onChain(given), [true, false]);
  const { body } = await receiptOf(payd, renewal);
  assert.deepEqual(await onChain(body), [true, true]);
  assert.equal(body.grant.seq, 2);
  // What was paid is less than what the grant holds: the rest was there.
  assert.ok(BigInt(body.receipt.amount) < 3_000_000n);
  assert.equal(body.grant.paid, '3000000');
});

test('states without a receipt say why', async () => {
  const payd = await stand.payd('states', { more });
  const lost = await stand.bought('lost');
  await stand.activated(payd, lost);
  const first = (await receiptOf(payd, lost)).body;
  await stand.chain.rpc('anvil_reorg', [2, []]);
  await stand.inState(payd, lost, 'orphaned');
  const orphaned = await receiptOf(payd, lost);
  assert.equal(orphaned.status, 409);
  assert.match(orphaned.body.detail, /orphaned/);
  await stand.pay(lost);
  await stand.activated(payd, lost);
  const again = (await receiptOf(payd, lost)).body;
  assert.equal(again.receipt.paymentId, first.receipt.paymentId);
  assert.notEqual(again.receipt.txHash, first.receipt.txHash);

  stand.postgres.sql(`update payments.payment set state = 'rejected' where id = '${lost.id}'`);
  assert.match((await receiptOf(payd, lost)).body.detail, /rejected/);
  stand.postgres.sql(`update payments.payment set state = 'activated' where id = '${lost.id}'`);
});

test('a refund withdraws the receipt; where it leaves the chain, the same receipt is given again', async () => {
  const payd = await stand.payd('refund', { more });
  const quote = await stand.bought('refund');
  await stand.activated(payd, quote);
  const before = await receiptOf(payd, quote);
  const operator = createWalletClient({ account: stand.operator, chain: stand.wallet.chain, transport: http(stand.chain.url) });
  const hash = await operator.writeContract({ address: stand.deployment.contract, abi, functionName: 'refund', args: [stand.payer.address, quote.serviceId, quote.token, quote.seq, 1_000_000n] });
  assert.equal((await transactionReceipt(stand.client, hash)).status, 'success');
  await stand.inState(payd, quote, 'refunded');
  const refunded = await receiptOf(payd, quote);
  assert.deepEqual([refunded.status, refunded.body.type], [410, 'https://octroi.dev/problems/receipt-withdrawn']);
  assert.deepEqual(await onChain(before.body), [true, false]);

  await stand.chain.rpc('anvil_reorg', [1, []]);
  await waitUntil('the payment to count again', async () => (await receiptOf(payd, quote)).status === 200);
  assert.equal((await receiptOf(payd, quote)).text, before.text);
  assert.deepEqual(await onChain(before.body), [true, true]);
});

test('without a key there are none; with a wrong one it does not start; another key is told of', async () => {
  const none = await stand.payd('nokey');
  const answer = await receiptOf(none, bought);
  assert.deepEqual([answer.status, answer.body.type], [404, 'https://octroi.dev/problems/no-receipts']);
  await stand.stopPayds();

  const bad = join(stand.dir, 'bad.key');
  writeFileSync(bad, `${key.slice(0, -1)}g\n`);
  await assert.rejects(stand.payd('badkey', { more: `receipts: { key_file: "${bad}" }` }));
  const failed = stand.payds.splice(0)[0];
  assert.ok(await failed.logContains(/receipts\.key_file/));
  assert.ok(!(await failed.logContains(key.slice(2, 40))));
  await failed.stop().catch(() => {});

  const other = join(stand.dir, 'other.key');
  writeFileSync(other, accounts[4]);
  const payd = await stand.payd('otherkey', { more: `receipts: { key_file: "${other}" }` });
  assert.ok(await payd.logContains(/another receipt signer/));
  assert.deepEqual(await onChain((await receiptOf(payd, bought)).body), [false, false]);
});

test('the names of what was sold, where the price book is known', async () => {
  stand.postgres.sql(`create table quotes.plan_v1 (plan int, tier text, version int); insert into quotes.plan_v1 values (1, 'basic', 7);
    create table quotes.service_v1 (service_id text, name text); insert into quotes.service_v1 values ('${serviceId('first')}', 'first');
    grant usage on schema quotes to octroi_payd; grant select on quotes.plan_v1, quotes.service_v1 to octroi_payd`);
  const payd = await stand.payd('names', { more });
  const { body } = await receiptOf(payd, bought);
  assert.deepEqual(body.sold, { service: 'first', tier: 'basic', tier_version: 7 });
  // They are not part of what is signed.
  assert.deepEqual([body.signature, body.jws], [given.signature, given.jws]);
  stand.postgres.sql('drop table quotes.plan_v1, quotes.service_v1');
});

test('the command checks receipts', async () => {
  const file = join(stand.dir, 'receipt.json');
  writeFileSync(file, JSON.stringify(given));
  const offline = await proof(['receipt', file, '--deployment', stand.chain.deploymentFile]);
  assert.equal(offline.code, 0, offline.stderr);
  assert.deepEqual(JSON.parse(offline.stdout), { valid: true, payment_id: bought.id, digest: hashTypedData(typed(given)), signer: signer.address });
  const asked = spawned(['receipt', '-', '--signer', signer.address, '--rpc', stand.chain.url], { input: JSON.stringify(given) });
  assert.equal(asked.code, 0, asked.stderr);
  assert.equal(JSON.parse(asked.stdout).current, false);
  assert.equal((await proof(['receipt', file, '--signer', signer.address, '--rpc', stand.chain.url, '--current'])).code, 1);
  assert.equal((await proof(['receipt', file, '--signer', stand.payer.address])).code, 1);
  assert.equal((await proof(['receipt', file])).code, 2);
  assert.equal((await proof(['receipt', file, '--signer', signer.address, '--rpc', `http://127.0.0.1:${await freePort()}`])).code, 3);
  const changed = (more, chain = {}) => JSON.stringify({ ...given, domain: { ...given.domain, ...chain }, receipt: { ...given.receipt, ...more } });
  const odd = [changed({ blockNumber: -1 }), changed({ confirmedAt: -1 }), changed({ amount: '9'.repeat(78) }), changed({ amount: [given.receipt.amount] }), changed({}, { chainId: -5 }), changed({}, { verifyingContract: [stand.deployment.contract] })];
  for (const input of ['', '{', 'null', '{"receipt": null}', '{"domain": null}', '[]', 'x'.repeat(70_000), ...odd]) {
    const { code, stderr } = await proof(['receipt', '-', '--signer', signer.address], { input });
    assert.ok([1, 2].includes(code), `${input.slice(0, 20)}: ${code}`);
    assert.doesNotMatch(stderr, /should not|at .*mjs/);
  }
});

const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

function highS(signature) {
  const s = ORDER - BigInt(`0x${signature.slice(66, 130)}`);
  return `${signature.slice(0, 66)}${s.toString(16).padStart(64, '0')}${signature.endsWith('1b') ? '1c' : '1b'}`;
}

test('the command makes and checks access proofs, and never shows a key', async () => {
  const challenge = `0x${randomBytes(32).toString('hex')}`;
  const contract = ['--deployment', stand.chain.deploymentFile];
  const made = await proof(['generate', ...contract, '--service', 'first', '--challenge', challenge], { env: { OCTROI_KEY: accounts[2] } });
  assert.equal(made.code, 0, made.stderr);
  const file = join(stand.dir, 'proof.json');
  writeFileSync(file, made.stdout);
  const { access, signature } = JSON.parse(made.stdout);
  assert.equal(access.subscriber, stand.payer.address);
  const ask = ['--service', 'first', '--challenge', challenge];
  const offline = await proof(['verify', file, '--contract', stand.deployment.contract, '--chain-id', '4441', ...ask]);
  assert.equal(offline.code, 0, offline.stderr);
  assert.deepEqual(JSON.parse(offline.stdout), { valid: true, subscriber: stand.payer.address, service: 'first', not_after: access.notAfter, checked: 'signature' });
  const asked = await proof(['verify', file, ...contract, ...ask, '--rpc', stand.chain.url]);
  assert.equal(asked.code, 0, asked.stderr);
  assert.deepEqual(JSON.parse(asked.stdout).grant.seq, 2);

  const refused = async (args, pattern, { code = 1, text = made.stdout } = {}) => {
    const answer = await proof(['verify', '-', ...args], { input: text });
    assert.equal(answer.code, code, `${args}: ${answer.stderr}`);
    assert.match(answer.stderr, pattern);
  };
  await refused([...contract, '--service', 'second', '--challenge', challenge], /another service/);
  await refused([...contract, '--service', 'first', '--challenge', `0x${'0'.repeat(64)}`], /another challenge/);
  await refused(['--contract', stand.deployment.contract, '--chain-id', '1', ...ask], /another contract or chain/);
  await refused([...contract, ...ask, '--subscriber', signer.address], /another subscriber/);
  await refused([...contract, ...ask], /signature/, { text: JSON.stringify({ ...JSON.parse(made.stdout), signature: signature.replace(/..$/, signature.endsWith('1b') ? '1c' : '1b') }) });
  // Forms that libraries take and the contract does not: v of 0 or 1, and the other s.
  const loose = [signature.replace(/1b$/, '00').replace(/1c$/, '01'), highS(signature)];
  for (const other of loose) await refused([...contract, ...ask], /signature/, { text: JSON.stringify({ ...JSON.parse(made.stdout), signature: other }) });
  await refused([...contract, ...ask], /signature/, { text: JSON.stringify({ ...JSON.parse(made.stdout), access: { ...access, notAfter: access.notAfter + 1 } }) });
  await refused([...contract, ...ask], /expired/, { text: JSON.stringify({ ...JSON.parse(made.stdout), access: { ...access, notAfter: 1 } }) });
  await refused([...contract, ...ask], /more than a day/, { text: JSON.stringify({ ...JSON.parse(made.stdout), access: { ...access, notAfter: access.notAfter + 100_000 } }) });
  for (const text of ['{}', '[]', '{"domain":null}', '{"access":null}', '{"access":7,"domain":"x"}']) await refused([...contract, ...ask], /no access proof/, { text });
  await refused(contract, /--service/, { code: 2 });
  await refused([...contract, ...ask, '--rpc', `http://127.0.0.1:${await freePort()}`], /does not answer/, { code: 3 });
  // A right signature of somebody who holds nothing.
  const poor = await proof(['generate', ...contract, '--service', 'first', '--challenge', challenge], { env: { OCTROI_KEY: accounts[4] } });
  await refused([...contract, ...ask, '--rpc', stand.chain.url], /NoAccess/, { text: poor.stdout });

  const keyFile = join(stand.dir, 'payer.key');
  writeFileSync(keyFile, `${accounts[2]}\n`);
  const filed = await proof(['generate', '--contract', stand.deployment.contract, '--chain-id', '4441', '--service', 'first', '--challenge', challenge, '--key-file', keyFile, '--not-after', String(access.notAfter)]);
  assert.deepEqual(JSON.parse(filed.stdout), JSON.parse(made.stdout));
  const secret = accounts[2].slice(2);
  for (const [args, env] of [
    [['generate', ...contract, '--service', 'first', '--challenge', challenge], { OCTROI_KEY: `${accounts[2]}0` }],
    [['generate', ...contract, '--service', 'first', '--challenge', challenge, '--valid', '100000'], { OCTROI_KEY: accounts[2] }],
    [['generate', ...contract, '--service', 'first', '--challenge', challenge], { OCTROI_KEY: '' }],
    [['generate', `--key=${accounts[2]}`], {}],
    [['generate', ...contract, '--service', 'first', '--challenge', challenge, '--key-file', accounts[2]], {}],
    [['nonsense'], {}],
    [['constructor'], {}],
    [[], {}],
  ]) {
    const { code, stdout, stderr } = await proof(args, { env });
    assert.equal(code, 2, stderr);
    assert.ok(!`${stdout}${stderr}`.includes(secret.slice(4, 40)));
  }
  assert.match((await proof(['--help'])).stdout, /usage:/);
  assert.equal(spawned(['nonsense']).code, 2);
});
