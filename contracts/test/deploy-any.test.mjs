// Deploying where it matters: settings of a real chain, interruptions, and a verification that finds what is wrong.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createTestClient, http, parseEther, publicActions, walletActions } from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { foundry } from 'viem/chains';
import { encryptKeystoreJsonSync } from 'ethers';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const CHAIN_ID = 4441;
const [deployer, admin, operator, payee] = Array.from({ length: 4 }, () => privateKeyToAccount(generatePrivateKey()));
const deployerKey = generatePrivateKey();
const account = privateKeyToAccount(deployerKey);
const signer = deployer.address;
const nodes = [];
let directory;
let url;
let client;

async function startNode(chain = CHAIN_ID, ...more) {
  const child = spawn(join(ROOT, 'node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil'), ['--port', '0', '--chain-id', String(chain), ...more]);
  nodes.push(child);
  let said = '';
  for await (const chunk of child.stdout) {
    said += chunk;
    const [, address] = said.match(/Listening on (\S+)/) ?? [];
    if (address) {
      child.stdout.resume();
      return `http://${address}`;
    }
  }
  throw new Error(`the node did not start: ${said}`);
}

const connect = (at) => createTestClient({ mode: 'anvil', chain: { ...foundry, id: CHAIN_ID }, transport: http(at), pollingInterval: 20 }).extend(publicActions).extend(walletActions);

async function script(name, changes, { onOutput } = {}) {
  const environment = {
    OCTROI_RPC_URL: url,
    OCTROI_CHAIN_ID: String(CHAIN_ID),
    OCTROI_DEPLOYER_KEY: deployerKey,
    OCTROI_SIGNER_ADDRESS: signer,
    OCTROI_ADMIN: admin.address,
    OCTROI_PAYEE: payee.address,
    OCTROI_OPERATOR: operator.address,
    OCTROI_FEE_BPS: '250',
    OCTROI_FEE_RECIPIENT: admin.address,
    OCTROI_DEPLOY_MAX_FEE_PER_GAS: '50000000000',
    OCTROI_TOKENS: 'dev',
    ...changes,
  };
  const run = promisify(execFile)(process.execPath, [join(ROOT, `contracts/script/${name}.mjs`)], { env: { ...process.env, ...environment } });
  if (onOutput) run.child.stdout.on('data', (data) => onOutput(String(data), run.child));
  try {
    const { stdout, stderr } = await run;
    return { code: 0, said: stdout + stderr };
  } catch (error) {
    return { code: error.code ?? error.signal, said: error.stdout + error.stderr };
  }
}

const file = (name) => join(directory, `${name}.json`);
const json = (name) => JSON.parse(readFileSync(file(name), 'utf8'));

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'octroi-deploy-'));
  url = await startNode();
  client = connect(url);
  await client.setBalance({ address: account.address, value: parseEther('10') });
});

after(() => {
  for (const child of nodes) child.kill();
  rmSync(directory, { recursive: true, force: true });
});

test('what would fail later is refused before anything is spent', async () => {
  const poor = generatePrivateKey();
  const cases = [
    [{ OCTROI_CHAIN_ID: '1' }, /OCTROI_CHAIN_ID is 1, and the endpoint is of chain 4441/],
    [{ OCTROI_DEPLOYER_KEY: poor }, /has 0, and about .* is needed/],
    [{ OCTROI_TOKENS: payee.address }, /there is no contract at/],
    [{ OCTROI_TOKENS: '' }, /OCTROI_TOKENS must be set/],
    [{ OCTROI_RPC_URL: 'ws://127.0.0.1:1' }, /OCTROI_RPC_URL must hold/],
    [{ OCTROI_DEPLOY_CONFIRMATIONS: 'many' }, /OCTROI_DEPLOY_CONFIRMATIONS/],
    [{ OCTROI_DEPLOYER_KEYSTORE: file('no-keystore'), OCTROI_DEPLOYER_PASSWORD_FILE: '/dev/null' }, /OCTROI_DEPLOYER_KEYSTORE: the file cannot be read/],
  ];
  for (const [changes, says] of cases) {
    const { code, said } = await script('deploy', { OCTROI_DEPLOYMENT_FILE: file('refused'), ...changes });
    assert.equal(code, 1, said);
    assert.match(said, says);
    assert.ok(!said.includes(deployerKey.slice(2)) && !said.includes(poor.slice(2)));
  }
  assert.equal(await client.getBlockNumber(), 0n);
  assert.ok(!existsSync(file('refused')));
});

test('endpoints of different chains are refused, as no call may stray to the other', async () => {
  const other = await startNode(CHAIN_ID + 1);
  const { code, said } = await script('deploy', { OCTROI_RPC_URL: `${url},${other}`, OCTROI_DEPLOYMENT_FILE: file('strayed') });
  assert.equal(code, 1, said);
  assert.match(said, /the endpoints of OCTROI_RPC_URL are of different chains: 444\d, 444\d/);
});

test('where no block follows by itself it says what it waited for, and the next run goes on', async () => {
  const waiting = { OCTROI_DEPLOY_CONFIRMATIONS: '3', OCTROI_DEPLOY_PATIENCE: '1', OCTROI_DEPLOYMENT_FILE: file('waiting') };
  const first = await script('deploy', waiting);
  assert.equal(first.code, 1, first.said);
  const [, hash] = first.said.match(/DevStablecoin: (0x\w+) has too few confirmations after 1 s\. .*OCTROI_DEPLOY_CONFIRMATIONS must be 1/);
  const second = await script('deploy', { ...waiting, OCTROI_DEPLOY_CONFIRMATIONS: '1' });
  assert.equal(second.code, 0, second.said);
  assert.match(second.said, new RegExp(`^DevStablecoin \\S+ \\(${hash}`, 'm'));
});

test('an endpoint that fails is not taken for one that does not know the transaction', async () => {
  const lost = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    if (body.includes('eth_getTransactionByHash')) return response.writeHead(503).end();
    const answer = await fetch(url, { method: 'POST', body, headers: { 'content-type': 'application/json' } });
    return response.writeHead(200, { 'content-type': 'application/json' }).end(await answer.text());
  });
  await new Promise((resolve) => lost.listen(0, '127.0.0.1', resolve));
  try {
    const changes = { OCTROI_DEPLOYMENT_FILE: file('lost') };
    await script('deploy', changes, { onOutput: (text, child) => text.includes('Octroi 0x') && child.kill('SIGKILL') });
    const nonce = await client.getTransactionCount({ address: account.address });
    const { code } = await script('deploy', { ...changes, OCTROI_RPC_URL: `http://127.0.0.1:${lost.address().port}` });
    assert.equal(code, 1);
    assert.equal(await client.getTransactionCount({ address: account.address }), nonce, 'nothing was deployed again');
  } finally {
    lost.close();
    lost.closeAllConnections();
  }
});

test('a chain before Cancun is refused', async () => {
  const old = await startNode(CHAIN_ID, '--hardfork', 'shanghai');
  await connect(old).setBalance({ address: account.address, value: parseEther('10') });
  const { code, said } = await script('deploy', { OCTROI_RPC_URL: old, OCTROI_DEPLOYMENT_FILE: file('old') });
  assert.equal(code, 1);
  assert.match(said, /does not know the instructions of Cancun/);
});

test('the second endpoint serves where the first does not; the admin is another than the deployer, who keeps nothing', async () => {
  const away = createServer((request, response) => response.writeHead(503).end());
  await new Promise((resolve) => away.listen(0, '127.0.0.1', resolve));
  try {
    const changes = { OCTROI_RPC_URL: `http://127.0.0.1:${away.address().port},${url}`, OCTROI_DEPLOYMENT_FILE: file('main') };
    const { code, said } = await script('deploy', changes);
    assert.equal(code, 0, said);
    assert.doesNotMatch(said, /WRONG/);
    assert.match(said, new RegExp(`ok +the admin: ${admin.address}`));
    assert.match(said, /ok +the deployer does not hold TREASURER_ROLE/);
    assert.ok(!existsSync(`${file('main')}.progress`));
  } finally {
    away.close();
  }
});

test('the sources that are written beside it compile to the bytecode that stands on the chain', async () => {
  const { input, contract } = json('main.sources');
  const [path, name] = contract.split(':');
  const solc = createRequire(join(ROOT, 'package.json'))('solc');
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  assert.deepEqual((output.errors ?? []).filter(({ severity }) => severity === 'error'), []);
  const { object } = output.contracts[path][name].evm.bytecode;
  const built = JSON.parse(readFileSync(join(ROOT, `contracts/out/${name}.sol/${name}.json`), 'utf8')).bytecode.object;
  assert.equal(`0x${object}`, built);
});

test('verification needs no key, and finds what is not as the file says', async () => {
  const keyless = { OCTROI_DEPLOYER_KEY: '', OCTROI_DEPLOYMENT_FILE: file('main') };
  const good = await script('verify', keyless);
  assert.equal(good.code, 0, good.said);
  const told = json('main');
  const wrong = [
    ['payee', { ...told, payee: operator.address }],
    ['the proxy points', { ...told, implementation: told.token }],
    ['refunder', { ...told, refunder: payee.address }],
    ['receipt signer', { ...told, receipt_signer: payee.address }],
    ['number of tokens', { ...told, tokens: [] }],
  ];
  for (const [what, content] of wrong) {
    writeFileSync(file('wrong'), JSON.stringify(content));
    const { code, said } = await script('verify', { ...keyless, OCTROI_DEPLOYMENT_FILE: file('wrong') });
    assert.equal(code, 1, what);
    assert.match(said, new RegExp(`WRONG .*${what}`));
  }
});

test('killed in the middle: the next run goes on, and deploys nothing twice', async () => {
  const name = 'killed';
  const first = await script('deploy', { OCTROI_DEPLOYMENT_FILE: file(name) }, {
    onOutput: (text, child) => {
      if (text.includes('Octroi 0x')) child.kill('SIGKILL');
    },
  });
  assert.equal(first.code, 'SIGKILL');
  const nonce = await client.getTransactionCount({ address: account.address });
  const said = first.said.match(/^Octroi (0x\w+)/m)[1];
  const { code, said: second } = await script('deploy', { OCTROI_DEPLOYMENT_FILE: file(name) });
  assert.equal(code, 0, second);
  assert.equal(json(name).implementation, said);
  const spent = (await client.getTransactionCount({ address: account.address })) - nonce;
  assert.ok(spent <= 1, `${spent} more transactions`);
});

test('a deployer in a keystore', async () => {
  writeFileSync(file('keystore'), encryptKeystoreJsonSync({ address: account.address, privateKey: deployerKey }, 'open sesame', { scrypt: { N: 1024 } }));
  writeFileSync(file('password'), 'open sesame\n');
  const { code, said } = await script('deploy', {
    OCTROI_DEPLOYMENT_FILE: file('by-keystore'), OCTROI_DEPLOYER_KEY: '', OCTROI_DEPLOYER_KEYSTORE: file('keystore'), OCTROI_DEPLOYER_PASSWORD_FILE: file('password'),
  });
  assert.equal(code, 0, said);
});
