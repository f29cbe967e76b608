// The signature of a quote: nobody can change a bit of it, the same inputs have the same one, and its key is changed while quotes are asked for and paid.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { encodeFunctionData, parseAbi, toFunctionSelector } from 'viem';
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts';

import { Crowd } from '../support/impersonate.mjs';
import { removeDirectory, root, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { accounts } from '../support/servers.mjs';
import { Stack } from '../support/stack.mjs';

const run = promisify(execFile);
const octroi = parseAbi([
  'function pay(bytes32 serviceId, address token, uint256 terms, bytes32 r, bytes32 vs)',
  'function payWithAuthorization(address subscriber, bytes32 serviceId, address token, uint256 terms, bytes32 r, bytes32 vs, (uint256 validAfter, uint256 validBefore, uint8 v, bytes32 r, bytes32 s) authorization)',
  'function setSigner(address signer, uint64 previousUntil)',
]);
const BAD_SIGNER = toFunctionSelector('BadSigner(address)');
const cast = join(root, 'node_modules/.bin');

let dir;
let stack;
let crowd;
let order;
let quoted;
let configFile;

const signerKey = () => join(stack.secrets, 'quote-signer.key');

async function discovery() {
  return (await fetch(`${quoted.url}/.well-known/octroi`)).json();
}

async function ask(subscriber) {
  const response = await fetch(`${quoted.url}/quote`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ ...order, subscriber }) });
  const text = await response.text();
  return { status: response.status, text, body: JSON.parse(text), retryAfter: response.headers.get('retry-after') };
}

async function quote(subscriber) {
  const answer = await ask(subscriber);
  assert.equal(answer.status, 201, answer.text);
  return answer.body;
}

before(async () => {
  dir = temporaryDirectory('quote-keys');
  stack = new Stack({ dir, env: { OCTROI_QUOTES_PER_CLIENT: '600000' } });
  await stack.start();
  crowd = new Crowd({ chain: stack.chain, token: stack.deployment.token });
  const { tiers, durations, tokens } = await (await fetch(`${stack.services.quoted.url}/pricing`)).json();
  order = { service: 'api', tier: tiers[0].name, duration_days: durations[0].days, token: tokens[0].symbol };
  // One of its own, whose file can be changed; quotes of an hour outlive the overlap.
  const config = readFileSync(join(root, 'config/quoted.yaml'), 'utf8').replace(/^signer: .*$/m, `signer: { key_file: "${signerKey()}" }`).replace(/^ttl: .*$/m, 'ttl: 1h');
  quoted = await stack.instance('quoted', 'quoted-keys', { config });
  await quoted.start();
  configFile = quoted.configFile;
  await waitUntil('quotes to be given', async () => (await discovery()).status.selling);
});

after(async () => {
  await quoted?.stop();
  await stack?.stop();
  removeDirectory(dir);
});

// The answers of many calls, one request.
async function callAll(calls) {
  const body = calls.map((call, id) => ({ jsonrpc: '2.0', id, method: 'eth_call', params: [{ gas: '0x7a120', ...call }, 'latest'] }));
  const answers = await (await fetch(stack.chain.url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })).json();
  return answers.sort((a, b) => a.id - b.id);
}

const flip = (hex, bit) => `0x${(BigInt(hex) ^ (1n << BigInt(bit))).toString(16).padStart(hex.length - 2, '0')}`;

test('the contract refuses a quote of which any single bit was changed', async () => {
  const subscriber = await crowd.member();
  const body = await quote(subscriber);
  const [approve] = body.transactions;
  await crowd.send(subscriber, approve);
  const signed = { subscriber, serviceId: body.quote.serviceId, token: body.quote.token.toLowerCase(), terms: body.quote.terms, r: body.r, vs: body.vs };
  const none = { validAfter: 0n, validBefore: 2n ** 64n, v: 27, r: body.r, s: body.r };
  // As the subscriber's own transaction; for the subscriber's bits also by an authorization, where it is an argument.
  const own = (q) => ({ from: q.subscriber, to: body.contract.address, data: encodeFunctionData({ abi: octroi, functionName: 'pay', args: [q.serviceId, q.token, BigInt(q.terms), q.r, q.vs] }) });
  const relayed = (q) => ({ from: subscriber, to: body.contract.address, data: encodeFunctionData({ abi: octroi, functionName: 'payWithAuthorization', args: [q.subscriber, q.serviceId, q.token, BigInt(q.terms), q.r, q.vs, none] }) });
  const calls = [];
  const names = [];
  for (const [field, value] of Object.entries(signed)) {
    for (let bit = 0; bit < (value.length - 2) * 4; bit += 1) {
      for (const way of field === 'subscriber' ? [own, relayed] : [own]) {
        calls.push(way({ ...signed, [field]: flip(value, bit) }));
        names.push(`${field} bit ${bit}`);
      }
    }
  }
  assert.equal(calls.length, 256 * 4 + 160 * 3);
  const [good] = await callAll([own(signed)]);
  assert.equal(good.error, undefined, 'the quote as it was signed is payable');
  (await callAll(calls)).forEach(({ error }, i) => assert.equal(error?.data?.slice(0, 10), BAD_SIGNER, `${names[i]}: ${JSON.stringify(error)}`));
});

test('a restart gives the same bytes', async () => {
  const subscriber = await crowd.member();
  await waitUntil('two answers of one hour', async () => {
    const first = await ask(subscriber);
    assert.equal(first.status, 201, first.text);
    await quoted.stop();
    await quoted.start();
    await waitUntil('quotes to be given', async () => (await discovery()).status.selling);
    return (await ask(subscriber)).text === first.text;
  });
});

// The shell blocks of docs/operations/keys.md, in their order; variables live on.
async function follow(step, env) {
  const blocks = [...readFileSync(join(root, 'docs/operations/keys.md'), 'utf8').matchAll(/^(\d+)\. [^]*?```sh\n([^]*?)```/gm)].filter(([, number]) => Number(number) === step);
  assert.equal(blocks.length, 1, `step ${step} has one block`);
  const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', `${blocks[0][2]}\necho "UNTIL=\${UNTIL-}"`], { env: { ...process.env, PATH: `${cast}:${process.env.PATH}`, ...env }, timeout: 60_000 });
  return stdout.match(/^UNTIL=(.*)$/m)[1];
}

test('the key is changed by the steps of the document, while quotes are asked for and paid: none is refused for the key', async () => {
  const old = (await discovery()).quote_signer;
  const kept = await crowd.member();
  const keptQuote = await quote(kept);
  await crowd.send(kept, keptQuote.transactions[0]);
  const early = await crowd.member();
  const earlyQuote = await quote(early);

  const signers = [];
  let over = false;
  const worker = async () => {
    while (!over) {
      const buyer = await crowd.member();
      // payd tells of no slot while it is more than two blocks behind, and this chain mines a block for each transaction.
      const bought = await waitUntil('payd to have read them', async () => {
        const answer = await ask(buyer);
        if (answer.status === 201) return answer.body;
        assert.match(answer.body.type, /chain-unavailable$/, answer.text);
        return null;
      });
      await crowd.pay(buyer, bought);
      signers.push((await discovery()).quote_signer);
    }
  };
  const work = worker();
  const sold = (count) => Promise.race([work, waitUntil(`${count} more payments`, ((goal) => () => signers.length >= goal)(signers.length + count))]);
  const env = {
    SECRETS: stack.secrets, QUOTED_CONFIG: configFile, QUOTED_PID: String(quoted.pid), QUOTED_URL: quoted.url, RPC_URL: stack.chain.url, CONTRACT: stack.deployment.contract, ADMIN_KEY: accounts[0],
  };
  let until;
  try {
    await sold(3);
    for (const step of [1, 2, 3, 4]) {
      const said = await follow(step, env);
      until ||= said;
      await sold(2);
    }
    assert.notEqual((await discovery()).quote_signer, old);
    assert.equal((await discovery()).quote_signers.length, 2);
    await follow(5, env);
    await waitUntil('one key', async () => (await discovery()).quote_signers.length === 1);
    await sold(3);
  } finally {
    over = true;
    await work;
  }
  assert.equal(signers[0], old);
  assert.notEqual(signers.at(-1), old);
  await crowd.pay(early, earlyQuote); // of the old key, in the overlap

  const left = Number(until) - Math.floor(Date.now() / 1000);
  assert.ok(left > 3000 && left <= 3600, `${left} s`);
  const [, pay] = keptQuote.transactions;
  const call = { from: kept, to: pay.to, data: pay.data };
  assert.equal((await callAll([call]))[0].error, undefined);
  const snapshot = await stack.chain.rpc('evm_snapshot');
  try {
    await stack.chain.rpc('evm_setNextBlockTimestamp', [Number(until) + 1]);
    await stack.chain.mine();
    assert.ok(Date.parse(keptQuote.expires_at) / 1000 > Number(until) + 1, 'it has not expired by itself');
    assert.equal((await callAll([call]))[0].error?.data?.slice(0, 10), BAD_SIGNER);
  } finally {
    await stack.chain.rpc('evm_revert', [snapshot]);
  }
});

test('a signer that is none of ours: no quotes, said everywhere, until its key is there; a reload that would lose the key is refused', async () => {
  const key = generatePrivateKey();
  const [now, next] = [(await discovery()).quote_signer, privateKeyToAddress(key)];
  const setSigner = (signer) => run(join(cast, 'cast'), ['send', '--rpc-url', stack.chain.url, '--private-key', accounts[0], stack.deployment.contract, 'setSigner(address,uint64)', signer, '0']);
  const subscriber = await crowd.member();
  await setSigner(next);
  await waitUntil('the mismatch to be seen', async () => (await discovery()).status.reason === 'signer-mismatch');
  const refused = await ask(subscriber);
  assert.equal(refused.status, 503);
  assert.match(refused.body.type, /\/unavailable$/);
  assert.match(refused.body.detail, /quote signer/);
  assert.ok(Number(refused.retryAfter) > 0);
  assert.equal(await quoted.metric('octroi_quoted_signer_mismatch'), 1);
  assert.equal(await quoted.metric('octroi_quoted_selling'), 0);
  const ready = await fetch(`${quoted.ops}/readyz`);
  assert.equal(ready.status, 200);
  const report = await ready.json();
  assert.equal(report.mode, 'read-only');
  assert.equal(report.dependencies.find(({ name }) => name === 'chain').ok, false);
  assert.equal((await fetch(`${quoted.url}/pricing`)).status, 200);
  for (let i = 0; i < 5; i += 1) assert.equal((await ask(subscriber)).status, 503);
  assert.equal(quoted.process.log().split('none of our keys').length - 1, 1, 'logged once');

  const file = join(stack.secrets, 'third.key');
  writeFileSync(file, `${key}\n`, { mode: 0o600 });
  const before = readFileSync(configFile, 'utf8');
  writeFileSync(configFile, before.replace(/^signer: .*$/m, `signer: { key_file: "${signerKey()}", next_key_file: "${file}" }`));
  quoted.process.signal('SIGHUP');
  await waitUntil('the new key to sign', async () => (await discovery()).quote_signer === next && (await ask(subscriber)).status === 201);
  await waitUntil('the alert to end', async () => (await quoted.metric('octroi_quoted_signer_mismatch')) === 0 && (await quoted.metric('octroi_quoted_selling')) === 1);

  writeFileSync(configFile, before);
  quoted.process.signal('SIGHUP');
  await waitUntil('the refusal of the reload', () => quoted.logContains(/reload refused.*the contract's signer is .*not there any more/));
  assert.equal((await ask(await crowd.member())).status, 201);

  // The other way: the change left the chain, or was taken back.
  await setSigner(now);
  await waitUntil('the old key to sign', async () => (await discovery()).quote_signer === now && (await ask(subscriber)).status === 201);
  const logs = quoted.process.log();
  assert.ok(!logs.includes(key.slice(2, 20)) && !logs.includes(readFileSync(signerKey(), 'utf8').slice(2, 20)));
});
