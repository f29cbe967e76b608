// Deploys the contract behind its proxy and writes what the services need to know of it. Reads the artifacts
// that contracts/build.sh made, so forge is not needed. Running it again finds the deployment and leaves it.
// Prints addresses and hashes, never a key.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  createPublicClient,
  createWalletClient,
  encodeFunctionData,
  getAddress,
  http,
  isAddress,
  zeroAddress,
} from 'viem';
import { privateKeyToAccount } from 'viem/accounts';

const RPC_PATIENCE_MS = 30_000;
const ARTIFACTS = new URL('../out/', import.meta.url);

class Refusal extends Error {}

const artifact = (name) => {
  const file = new URL(`${name}.sol/${name}.json`, ARTIFACTS);
  try {
    const { abi, bytecode } = JSON.parse(readFileSync(file, 'utf8'));
    return { abi, bytecode: bytecode.object };
  } catch {
    throw new Refusal(`artifact of ${name} is missing or broken: run sh contracts/build.sh first`);
  }
};

function required(name) {
  const value = process.env[name];
  if (!value) throw new Refusal(`${name} must be set`);
  return value;
}

function address(name, value = required(name)) {
  if (!isAddress(value) || /^0x0{40}$/.test(value)) {
    throw new Refusal(`${name} must be an address other than zero, with a right checksum if it has one`);
  }
  return getAddress(value);
}

function deployer() {
  const file = process.env.OCTROI_DEPLOYER_KEY_FILE;
  const key = (file ? readFileSync(file, 'utf8') : required('OCTROI_DEPLOYER_KEY')).trim();
  try {
    return privateKeyToAccount(key.startsWith('0x') ? key : `0x${key}`);
  } catch {
    throw new Refusal('OCTROI_DEPLOYER_KEY must be a private key: 64 hexadecimal digits');
  }
}

function feeBps() {
  const text = process.env.OCTROI_FEE_BPS ?? '0';
  if (!/^\d{1,4}$/.test(text) || Number(text) > 2000) {
    throw new Refusal('OCTROI_FEE_BPS must be a whole number from 0 to 2000');
  }
  return Number(text);
}

function tokens() {
  const list = (process.env.OCTROI_TOKENS ?? 'dev').split(',').map((entry) => entry.trim());
  const read = list.map((entry) => (entry === 'dev' ? entry : address('each of OCTROI_TOKENS', entry)));
  if (read.length > 127) throw new Refusal('OCTROI_TOKENS must name at most 127 tokens');
  if (new Set(read).size !== read.length) throw new Refusal('OCTROI_TOKENS names a token twice');
  return read;
}

function seconds(name) {
  const text = process.env[name] ?? '0';
  if (!/^\d{1,8}$/.test(text)) throw new Refusal(`${name} must be a whole number of seconds`);
  return Number(text);
}

/** An address that may be left out: empty takes the default, `none` is nobody. */
function optional(name, otherwise) {
  const value = process.env[name];
  if (value === 'none') return zeroAddress;
  return value ? address(name, value) : otherwise;
}

function settings() {
  const account = deployer();
  return {
    account,
    url: required('OCTROI_RPC_URL'),
    file: required('OCTROI_DEPLOYMENT_FILE'),
    tokens: tokens(),
    setup: {
      admin: account.address,
      signer: address('OCTROI_SIGNER_ADDRESS'),
      payee: address('OCTROI_PAYEE'),
      operator: address('OCTROI_OPERATOR'),
      feeRecipient: process.env.OCTROI_FEE_RECIPIENT
        ? address('OCTROI_FEE_RECIPIENT')
        : account.address,
      feeBps: feeBps(),
      adminDelay: seconds('OCTROI_ADMIN_DELAY'),
      refunder: optional('OCTROI_REFUNDER', address('OCTROI_OPERATOR')),
      receiptSigner: optional('OCTROI_RECEIPT_SIGNER', zeroAddress),
    },
  };
}

async function chainId(client) {
  const deadline = Date.now() + RPC_PATIENCE_MS;
  for (let pause = 50; ; pause = Math.min(pause * 2, 2000)) {
    try {
      return await client.getChainId();
    } catch {
      if (Date.now() + pause > deadline) throw new Refusal('OCTROI_RPC_URL does not answer');
      await sleep(pause);
    }
  }
}

function written(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw new Refusal(`${file} is there and cannot be read: ${error.message}`);
  }
}

/** Whether the deployment that the file tells of stands on this chain. */
async function stands(client, chain, deployment, file) {
  if (deployment.chain_id !== chain) {
    throw new Refusal(
      `${file} tells of chain ${deployment.chain_id}, and this is chain ${chain}: name another file`,
    );
  }
  const codes = await Promise.all(
    [deployment.contract, deployment.implementation, deployment.token].map((at) =>
      client.getCode({ address: at }),
    ),
  );
  return codes.every((code) => code && code !== '0x');
}

/** A deployment that knows another signer would refuse every quote: say so, but changing it is an admin's act. */
async function warnOfSigner(client, deployment, signer) {
  const { abi } = artifact('Octroi');
  const call = { address: deployment.contract, abi, functionName: 'signer' };
  const [current, previous] = await client.readContract(call);
  if (![current, previous].includes(signer)) {
    console.error(`deploy: warning: the contract's signer is ${current}, not OCTROI_SIGNER_ADDRESS`);
  }
}

async function create(clients, name, args) {
  const { wallet, client } = clients;
  const hash = await wallet.deployContract({ ...artifact(name), args });
  const receipt = await client.waitForTransactionReceipt({ hash, timeout: 120_000 });
  if (receipt.status !== 'success') throw new Refusal(`deployment of ${name} reverted in ${hash}`);
  console.log(`${name} ${getAddress(receipt.contractAddress)} (${hash})`);
  return { address: getAddress(receipt.contractAddress), block: Number(receipt.blockNumber) };
}

async function deploy(clients, chain, { setup, tokens: wanted }) {
  for (const entry of wanted.filter((token) => token !== 'dev')) {
    const code = await clients.client.getCode({ address: entry });
    if (!code || code === '0x') throw new Refusal(`OCTROI_TOKENS: there is no contract at ${entry}`);
  }
  const list = [];
  for (const entry of wanted) {
    list.push(entry === 'dev' ? (await create(clients, 'DevStablecoin', [])).address : entry);
  }
  const implementation = await create(clients, 'Octroi', []);
  // Initialised in its constructor: nobody can come between.
  const initialize = encodeFunctionData({
    abi: artifact('Octroi').abi,
    functionName: 'initialize',
    args: [{ ...setup, tokens: list }],
  });
  const proxy = await create(clients, 'OctroiProxy', [implementation.address, initialize]);
  return {
    chain_id: chain,
    contract: proxy.address,
    implementation: implementation.address,
    token: list[0],
    token_index: 1,
    tokens: list.map((token, i) => ({ token, index: i + 1 })),
    signer: setup.signer,
    payee: setup.payee,
    refunder: setup.refunder === zeroAddress ? null : setup.refunder,
    receipt_signer: setup.receiptSigner === zeroAddress ? null : setup.receiptSigner,
    block: proxy.block,
  };
}

function write(file, deployment) {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(`${file}.tmp`, `${JSON.stringify(deployment, null, 2)}\n`);
  renameSync(`${file}.tmp`, file);
}

async function main() {
  const config = settings();
  const transport = http(config.url, { timeout: 10_000, retryCount: 3 });
  const client = createPublicClient({ transport, pollingInterval: 100 });
  const id = await chainId(client);
  const chain = {
    id,
    name: `chain ${id}`,
    nativeCurrency: { name: 'gas', symbol: 'GAS', decimals: 18 },
    rpcUrls: { default: { http: [config.url] } },
  };
  const found = written(config.file);
  if (found && (await stands(client, id, found, config.file))) {
    console.log(`already deployed at ${found.contract} on chain ${id}: ${config.file}`);
    await warnOfSigner(client, found, config.setup.signer);
    return;
  }
  if (found) console.log(`${config.file} tells of code that this chain does not have: deploying anew`);
  const wallet = createWalletClient({ account: config.account, chain, transport });
  const deployment = await deploy({ client, wallet }, id, config);
  write(config.file, deployment);
  console.log(`deployed at ${deployment.contract} on chain ${id}: ${config.file}`);
}

main().catch((error) => {
  // A library's message may quote the request; its first line tells enough.
  const message = error instanceof Refusal ? error.message : (error.shortMessage ?? error.message);
  console.error(`deploy: ${message.split('\n')[0]}`);
  process.exit(1);
});
