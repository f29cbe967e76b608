// Puts the code that contracts/build.sh made behind the proxy that a deployment file names, after checking that
// state lies where it did. `--prepare` only deploys the code and prints the call, for an admin that is a wallet
// of several people. Prints addresses and hashes, never a key.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createPublicClient, createWalletClient, encodeFunctionData, getAddress, http } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { compare, layout } from './layout.mjs';
import { sources } from './sources.mjs';

// ERC-1967: where a proxy keeps the address of its code.
const IMPLEMENTATION = '0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc';
const LAYOUT = new URL('../storage-layout.json', import.meta.url);
const ARTIFACT = new URL('../out/Octroi.sol/Octroi.json', import.meta.url);

class Refusal extends Error {}

function required(name) {
  if (!process.env[name]) throw new Refusal(`${name} must be set`);
  return process.env[name];
}

function account() {
  const file = process.env.OCTROI_DEPLOYER_KEY_FILE;
  const key = (file ? readFileSync(file, 'utf8') : required('OCTROI_DEPLOYER_KEY')).trim();
  try {
    return privateKeyToAccount(key.startsWith('0x') ? key : `0x${key}`);
  } catch {
    throw new Refusal('OCTROI_DEPLOYER_KEY must be a private key: 64 hexadecimal digits');
  }
}

function requireLayout() {
  const [wrong] = compare(JSON.parse(readFileSync(LAYOUT, 'utf8')), layout(sources()));
  if (wrong) throw new Refusal(`this code would find its state elsewhere: ${wrong}`);
}

/** What an upgrade must leave as it is; the slots of subscribers lie in a namespace that the layout covers. */
async function state(client, { address, abi }) {
  const names = ['signer', 'payee', 'fee', 'tokenCount', 'paused', 'defaultAdmin', 'receiptSigner', 'eip712Domain'];
  const read = await Promise.all(names.map((functionName) => client.readContract({ address, abi, functionName })));
  return JSON.stringify(read, (_, value) => (typeof value === 'bigint' ? String(value) : value));
}

async function send(client, hash, what) {
  const receipt = await client.waitForTransactionReceipt({ hash, timeout: 120_000 });
  if (receipt.status !== 'success') throw new Refusal(`${what} reverted in ${hash}`);
  return receipt;
}

async function main() {
  const file = required('OCTROI_DEPLOYMENT_FILE');
  const deployment = JSON.parse(readFileSync(file, 'utf8'));
  const { abi, bytecode } = JSON.parse(readFileSync(ARTIFACT, 'utf8'));
  const transport = http(required('OCTROI_RPC_URL'), { timeout: 10_000, retryCount: 3 });
  const client = createPublicClient({ transport, pollingInterval: 100 });
  const id = await client.getChainId();
  if (id !== deployment.chain_id) {
    throw new Refusal(`${file} tells of chain ${deployment.chain_id}, and this is chain ${id}`);
  }
  requireLayout();
  const chain = {
    id,
    name: `chain ${id}`,
    nativeCurrency: { name: 'gas', symbol: 'GAS', decimals: 18 },
    rpcUrls: { default: { http: [] } },
  };
  const wallet = createWalletClient({ account: account(), chain, transport });
  const proxy = { address: deployment.contract, abi };
  const preparing = process.argv.includes('--prepare');
  const admin = await client.readContract({ ...proxy, functionName: 'defaultAdmin' });
  if (!preparing && admin !== wallet.account.address) {
    throw new Refusal(`the admin is ${admin}, not ${wallet.account.address}: use --prepare, and let the admin call`);
  }

  const created = await wallet.deployContract({ abi, bytecode: bytecode.object });
  const implementation = getAddress((await send(client, created, 'the deployment')).contractAddress);
  console.log(`Octroi ${implementation} (${created})`);
  const call = { ...proxy, functionName: 'upgradeToAndCall', args: [implementation, '0x'] };
  if (preparing) {
    console.log(`to ${deployment.contract}, from ${admin}: ${encodeFunctionData(call)}`);
    return;
  }

  const before = await state(client, proxy);
  const hash = await wallet.writeContract(call);
  await send(client, hash, 'the upgrade');
  const slot = await client.getStorageAt({ address: deployment.contract, slot: IMPLEMENTATION });
  if (getAddress(`0x${slot.slice(-40)}`) !== implementation) throw new Refusal(`the proxy does not name the new code after ${hash}`);
  if ((await state(client, proxy)) !== before) throw new Refusal(`the contract's state is another after ${hash}`);
  writeFileSync(`${file}.tmp`, `${JSON.stringify({ ...deployment, implementation }, null, 2)}\n`);
  renameSync(`${file}.tmp`, file);
  console.log(`upgraded ${deployment.contract} on chain ${id} (${hash}): ${file}`);
}

main().catch((error) => {
  // A library's message may quote the request; its first line tells enough.
  const message = error instanceof Refusal ? error.message : (error.shortMessage ?? error.message);
  console.error(`upgrade: ${message.split('\n')[0]}`);
  process.exit(1);
});
