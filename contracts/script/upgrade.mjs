// Puts the code that contracts/build.sh made behind the proxy that a deployment file names, after checking that
// state lies where it did. `--prepare` only deploys the code and prints the call, for an admin that is a wallet
// of several people. Reads the environment as the deploy script does; prints addresses and hashes, never a key.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { encodeFunctionData, getAddress } from 'viem';
import { artifact, isCodeOf } from './artifacts.mjs';
import { compare, layout } from './layout.mjs';
import { deployer, deploymentFile, endpoints, reader, readJson, Refusal, run, writer } from './settings.mjs';
import { sources } from './sources.mjs';
import { transactionReceipt } from './transaction.mjs';

// EIP-1967: keccak256("eip1967.proxy.implementation") - 1.
const IMPLEMENTATION = '0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc';
const LAYOUT = new URL('../storage-layout.json', import.meta.url);

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

async function mined(client, hash, what) {
  const receipt = await transactionReceipt(client, hash);
  if (receipt.status !== 'success') throw new Refusal(`${what} reverted in ${hash}`);
  return receipt;
}

async function upgrade(client, wallet, proxy, implementation) {
  const before = await state(client, proxy);
  const hash = await wallet.writeContract({ ...proxy, functionName: 'upgradeToAndCall', args: [implementation, '0x'] });
  await mined(client, hash, 'the upgrade');
  const slot = await client.getStorageAt({ address: proxy.address, slot: IMPLEMENTATION });
  if (getAddress(`0x${slot.slice(-40)}`) !== implementation) {
    throw new Refusal(`the proxy does not name the new code after ${hash}`);
  }
  if ((await state(client, proxy)) !== before) throw new Refusal(`the contract's state is another after ${hash}`);
  return hash;
}

run('upgrade', async () => {
  const file = deploymentFile();
  const urls = endpoints();
  const deployment = readJson(file);
  const { abi, bytecode } = artifact('Octroi');
  const client = reader(urls);
  const id = await client.getChainId();
  if (id !== deployment.chain_id) {
    throw new Refusal(`${file} tells of chain ${deployment.chain_id}, and this is chain ${id}`);
  }
  requireLayout();
  const account = await deployer();
  const wallet = writer(urls, id, account);
  const proxy = { address: deployment.contract, abi };
  const preparing = process.argv.includes('--prepare');
  const admin = await client.readContract({ ...proxy, functionName: 'defaultAdmin' });
  if (!preparing && admin !== account.address) {
    throw new Refusal(`the admin is ${admin}, not ${account.address}: use --prepare, and let the admin call`);
  }

  const created = await wallet.deployContract({ abi, bytecode });
  const implementation = getAddress((await mined(client, created, 'the deployment')).contractAddress);
  if (!isCodeOf('Octroi', await client.getCode({ address: implementation }))) {
    throw new Refusal(`the code at ${implementation} is not ours`);
  }
  console.log(`Octroi ${implementation} (${created})`);
  if (preparing) {
    const data = encodeFunctionData({ abi, functionName: 'upgradeToAndCall', args: [implementation, '0x'] });
    console.log(`to ${deployment.contract}, from ${admin}: ${data}`);
    console.log(`once that is done, put ${implementation} into ${file} as implementation`);
    return;
  }

  const hash = await upgrade(client, wallet, proxy, implementation);
  writeFileSync(`${file}.tmp`, `${JSON.stringify({ ...deployment, implementation }, null, 2)}\n`);
  renameSync(`${file}.tmp`, file);
  console.log(`upgraded ${deployment.contract} on chain ${id} (${hash}): ${file}`);
});
