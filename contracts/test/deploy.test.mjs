// Deploys on a real node and pays with a public library's wallet: our encodings checked by someone else's.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  createTestClient,
  http,
  parseCompactSignature,
  parseEventLogs,
  parseSignature,
  publicActions,
  serializeCompactSignature,
  signatureToCompactSignature,
  walletActions,
} from 'viem';
import { generatePrivateKey, mnemonicToAccount, privateKeyToAccount } from 'viem/accounts';
import { foundry } from 'viem/chains';
import { packTerms, quoteTypedData, serviceId, validUntilMinute } from '../script/terms.mjs';
import { transactionReceipt } from '../script/transaction.mjs';

const CHAIN_ID = 4441;
const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const MNEMONIC = 'test test test test test test test test test test test junk';
const deployerKey = `0x${Buffer.from(mnemonicToAccount(MNEMONIC).getHdKey().privateKey).toString('hex')}`;
const [payee, operator, subscriber] = [1, 2, 3].map((addressIndex) => mnemonicToAccount(MNEMONIC, { addressIndex }));
const signer = privateKeyToAccount(generatePrivateKey());

let directory;
let node;
let client;
let environment;

const artifact = (name) =>
  JSON.parse(readFileSync(join(ROOT, `contracts/out/${name}.sol/${name}.json`), 'utf8'));

async function startNode() {
  const child = spawn(join(ROOT, 'node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil'), [
    ...['--port', '0', '--chain-id', String(CHAIN_ID), '--mnemonic', MNEMONIC],
  ]);
  let said = '';
  for await (const chunk of child.stdout) {
    said += chunk;
    const [, address] = said.match(/Listening on (\S+)/) ?? [];
    if (address) {
      child.stdout.resume();
      return { child, url: `http://${address}` };
    }
  }
  throw new Error(`the node did not start: ${said}`);
}

async function run(script, changes = {}, ...options) {
  try {
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      [join(ROOT, `contracts/script/${script}.mjs`), ...options],
      { env: { ...process.env, ...environment, ...changes } },
    );
    return { code: 0, said: stdout + stderr };
  } catch (error) {
    return { code: error.code, said: error.stdout + error.stderr };
  }
}

const deploy = (changes) => run('deploy', changes);

const deployment = () => JSON.parse(readFileSync(environment.OCTROI_DEPLOYMENT_FILE, 'utf8'));

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'octroi-contracts-'));
  node = await startNode();
  client = createTestClient({
    mode: 'anvil',
    chain: { ...foundry, id: CHAIN_ID },
    transport: http(node.url),
    pollingInterval: 20,
  })
    .extend(publicActions)
    .extend(walletActions);
  environment = {
    OCTROI_RPC_URL: node.url,
    OCTROI_DEPLOYER_KEY: deployerKey,
    OCTROI_SIGNER_ADDRESS: signer.address,
    OCTROI_PAYEE: payee.address,
    OCTROI_OPERATOR: operator.address,
    OCTROI_FEE_BPS: '250',
    OCTROI_TOKENS: 'dev',
    OCTROI_DEPLOYMENT_FILE: join(directory, 'state', 'deployment.json'),
  };
});

after(() => {
  node?.child.kill();
  rmSync(directory, { recursive: true, force: true });
});

test('settings that are wrong are refused by name, and nothing is sent', async () => {
  const wrong = [
    ['OCTROI_DEPLOYER_KEY', '0x1234'],
    ['OCTROI_DEPLOYER_KEY', ''],
    ['OCTROI_SIGNER_ADDRESS', '0x0000000000000000000000000000000000000000'],
    ['OCTROI_PAYEE', '0x70997970C51812dc3A010C7d01b50e0d17dc79c8'],
    ['OCTROI_OPERATOR', ''],
    ['OCTROI_FEE_BPS', '2001'],
    ['OCTROI_FEE_BPS', '-1'],
    ['OCTROI_ADMIN_DELAY', '1d'],
    ['OCTROI_REFUNDER', '0x1234'],
    ['OCTROI_RECEIPT_SIGNER', '0x0000000000000000000000000000000000000000'],
    ['OCTROI_TOKENS', 'dev,dev'],
    ['OCTROI_TOKENS', 'usdc'],
    ['OCTROI_TOKENS', '0x70997970C51812dc3A010C7d01b50e0d17dc79C8'],
  ];
  for (const [name, value] of wrong) {
    const { code, said } = await deploy({ [name]: value });
    assert.equal(code, 1, `${name}=${value}: ${said}`);
    assert.match(said, new RegExp(name));
  }
  assert.equal(await client.getBlockNumber(), 0n);
});

test('a secret in place of its file, or a secret file in place of another, is not repeated', async () => {
  const secretFile = join(directory, 'secret');
  writeFileSync(secretFile, `"${deployerKey}`, { mode: 0o600 });
  const wrong = [
    ['deploy', { OCTROI_DEPLOYER_KEY_FILE: deployerKey }],
    ['deploy', { OCTROI_DEPLOYER_KEYSTORE: secretFile, OCTROI_DEPLOYER_PASSWORD_FILE: deployerKey }],
    ['deploy', { OCTROI_DEPLOYER_KEYSTORE: deployerKey, OCTROI_DEPLOYER_PASSWORD_FILE: secretFile }],
    ['deploy', { OCTROI_DEPLOYMENT_FILE: secretFile }],
    ['verify', { OCTROI_DEPLOYMENT_FILE: secretFile }],
    ['upgrade', { OCTROI_DEPLOYMENT_FILE: secretFile }],
  ];
  for (const [script, changes] of wrong) {
    const { code, said } = await run(script, changes);
    assert.equal(code, 1, said);
    assert.ok(!said.includes(deployerKey.slice(2, 8)), `${script} ${Object.keys(changes)}: ${said}`);
  }
});

test('a first run deploys, a second finds it', async () => {
  const first = await deploy();
  assert.equal(first.code, 0, first.said);
  assert.ok(!first.said.includes(deployerKey.slice(2)));
  const told = deployment();
  assert.equal(told.chain_id, CHAIN_ID);
  assert.equal(told.signer, signer.address);
  assert.equal(told.payee, payee.address);
  assert.equal(told.token_index, 1);
  assert.equal(told.refunder, operator.address);
  assert.equal(told.receipt_signer, null);
  const { abi } = artifact('Octroi');
  const [token, index] = await Promise.all([
    client.readContract({ address: told.contract, abi, functionName: 'tokenAt', args: [1n] }),
    client.readContract({ address: told.contract, abi, functionName: 'tokenInfo', args: [told.token] }),
  ]);
  assert.equal(token, told.token);
  assert.deepEqual(index, [1, true]);

  const height = await client.getBlockNumber();
  const second = await deploy();
  assert.equal(second.code, 0, second.said);
  assert.match(second.said, /already deployed/);
  assert.equal(await client.getBlockNumber(), height);
  assert.deepEqual(deployment(), told);
});

test('another signer than the contract knows is warned of', async () => {
  const { code, said } = await deploy({ OCTROI_SIGNER_ADDRESS: operator.address });
  assert.equal(code, 0);
  assert.match(said, /warning: the contract's signer is/);
});

test('a quote signed by a public library is paid within the gas promised', async () => {
  const { contract, token } = deployment();
  const { abi } = artifact('Octroi');
  const erc20 = artifact('DevStablecoin').abi;
  const send = async (address, contractAbi, functionName, args) => {
    const hash = await client.writeContract({
      account: subscriber,
      address,
      abi: contractAbi,
      functionName,
      args,
    });
    const receipt = await transactionReceipt(client, hash);
    assert.equal(receipt.status, 'success');
    return receipt;
  };
  await send(token, erc20, 'mint', [subscriber.address, 100_000_000n]);
  await send(token, erc20, 'approve', [contract, 50_000_000n]);
  // The contract holds some of the token, as after any payment.
  await send(token, erc20, 'mint', [contract, 1n]);

  const { timestamp } = await client.getBlock();
  const terms = packTerms({
    start: timestamp,
    expiry: timestamp + 2_592_000n,
    paid: 10_000_000,
    plan: 3,
    rate: 50,
    bandwidth: 0,
    quota: 1000,
    seq: 1,
    token: 1,
    valid_until: validUntilMinute(timestamp + 300n),
  });
  const quote = { subscriber: subscriber.address, serviceId: serviceId('api'), token, terms };
  const signature = await signer.signTypedData(quoteTypedData({ chainId: CHAIN_ID, contract, ...quote }));
  const { r, yParityAndS } = parseCompactSignature(
    serializeCompactSignature(signatureToCompactSignature(parseSignature(signature))),
  );
  const receipt = await send(contract, abi, 'pay', [quote.serviceId, token, terms, r, yParityAndS]);
  console.log(`gas of a new subscription: ${receipt.gasUsed}`);
  assert.ok(receipt.gasUsed < 100_000n);
  const [event] = parseEventLogs({ abi, logs: receipt.logs, eventName: 'Paid' });
  assert.deepEqual(event.args, { ...quote, amount: 10_000_000n });
  const slot = await client.readContract({
    address: contract,
    abi,
    functionName: 'slotOf',
    args: [subscriber.address, quote.serviceId],
  });
  assert.equal(slot, terms);
});

test('an upgrade keeps the state, and only the admin makes one', async () => {
  const told = deployment();
  const { abi } = artifact('Octroi');
  const read = (functionName, args = []) => client.readContract({ address: told.contract, abi, functionName, args });
  const slot = await read('slotOf', [subscriber.address, serviceId('api')]);
  const accounts = await read('accounts', [told.token]);
  assert.notEqual(slot, 0n);
  assert.equal(accounts[0], 10_000_000n);

  const stranger = `0x${Buffer.from(mnemonicToAccount(MNEMONIC, { addressIndex: 2 }).getHdKey().privateKey).toString('hex')}`;
  const refused = await run('upgrade', { OCTROI_DEPLOYER_KEY: stranger });
  assert.equal(refused.code, 1);
  assert.match(refused.said, /the admin is 0x/);
  assert.deepEqual(deployment(), told);
  const prepared = await run('upgrade', { OCTROI_DEPLOYER_KEY: stranger }, '--prepare');
  assert.equal(prepared.code, 0, prepared.said);
  const [, data] = prepared.said.match(/: (0x4f1ef286[0-9a-f]+)/);
  await assert.rejects(client.call({ account: operator, to: told.contract, data }));

  const done = await run('upgrade');
  assert.equal(done.code, 0, done.said);
  assert.ok(!done.said.includes(deployerKey.slice(2)));
  const now = deployment();
  assert.notEqual(now.implementation, told.implementation);
  assert.deepEqual({ ...now, implementation: told.implementation }, told);
  assert.equal(await read('slotOf', [subscriber.address, serviceId('api')]), slot);
  assert.deepEqual(await read('accounts', [told.token]), accounts);
  assert.deepEqual(await read('tokenInfo', [told.token]), [1, true]);
});

test('the refunder sends a payment back after the upgrade, once', async () => {
  const { contract, token } = deployment();
  const { abi } = artifact('Octroi');
  const call = {
    account: operator,
    address: contract,
    abi,
    functionName: 'refund',
    args: [subscriber.address, serviceId('api'), token, 1, 10_000_000n],
  };
  const hash = await client.writeContract(call);
  const receipt = await transactionReceipt(client, hash);
  const [event] = parseEventLogs({ abi, logs: receipt.logs, eventName: 'Refunded' });
  assert.deepEqual(event.args, {
    subscriber: subscriber.address,
    serviceId: serviceId('api'),
    token,
    seq: 1,
    amount: 10_000_000n,
  });
  await assert.rejects(client.writeContract(call), /WrongSeq/);
});

test('the admin role is handed over in two steps', async () => {
  const { contract } = deployment();
  const { abi } = artifact('Octroi');
  const admin = mnemonicToAccount(MNEMONIC);
  const send = async (account, functionName, args = []) => {
    const hash = await client.writeContract({ account, address: contract, abi, functionName, args });
    const { status } = await transactionReceipt(client, hash);
    assert.equal(status, 'success');
  };
  await send(admin, 'beginDefaultAdminTransfer', [payee.address]);
  await assert.rejects(send(operator, 'acceptDefaultAdminTransfer'));
  await send(admin, 'setPayee', [payee.address]);
  await client.increaseTime({ seconds: 2 });
  await client.mine({ blocks: 1 });
  await send(payee, 'acceptDefaultAdminTransfer');
  await assert.rejects(send(admin, 'setPayee', [payee.address]));
  const refused = await run('upgrade');
  assert.match(refused.said, /the admin is 0x/);
});

test('a file that tells of another chain is left alone', async () => {
  const other = join(directory, 'other.json');
  const text = JSON.stringify({ ...deployment(), chain_id: 1 });
  writeFileSync(other, text);
  const { code, said } = await deploy({ OCTROI_DEPLOYMENT_FILE: other });
  assert.equal(code, 1);
  assert.match(said, /tells of chain 1, and this is chain 4441/);
  assert.equal(readFileSync(other, 'utf8'), text);
});

test('a chain that was started anew is deployed on anew', async () => {
  const file = join(directory, 'old.json');
  const unused = privateKeyToAccount(generatePrivateKey()).address;
  writeFileSync(file, JSON.stringify({ ...deployment(), contract: unused }));
  const { code, said } = await deploy({ OCTROI_DEPLOYMENT_FILE: file });
  assert.equal(code, 0, said);
  assert.match(said, /deploying anew/);
  const { contract } = JSON.parse(readFileSync(file, 'utf8'));
  assert.notEqual(contract, unused);
  assert.ok(await client.getCode({ address: contract }));
});
