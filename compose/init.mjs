// Run once before the services of the container stack: makes the development secrets where there are none, and deploys the contracts on
// the development chain. Each value is a file of its own in OCTROI_SECRETS_DIR, for ${file:...} in the configurations.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createPublicClient, createWalletClient, defineChain, http, keccak256, parseAbi, parseEther, toHex } from 'viem';
import { privateKeyToAccount, privateKeyToAddress } from 'viem/accounts';

import { transactionReceipt } from '../contracts/script/transaction.mjs';
import { keystoreAddress, makeKeystore } from '../tests/support/keystore.mjs';
import { accounts, deployContracts } from '../tests/support/servers.mjs';

export function makeSecrets(directory) {
  const secret = (name, make) => {
    const file = join(directory, name);
    if (!existsSync(file)) writeFileSync(file, `${make()}\n`, { mode: 0o600 });
    return readFileSync(file, 'utf8').trim();
  };
  const signerKey = secret('quote-signer.key', () => `0x${randomBytes(32).toString('hex')}`);
  const receiptKey = secret('receipt-signer.key', () => `0x${randomBytes(32).toString('hex')}`);
  secret('token-signer.pem', () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }).trim());
  secret('admin.key', () => `octroi_${randomBytes(32).toString('hex')}`);
  const password = secret('wallet.password', () => randomBytes(16).toString('hex'));
  const keystore = secret('wallet.json', () => makeKeystore(`0x${randomBytes(32).toString('hex')}`, password));
  return { signer: privateKeyToAddress(signerKey), receiptSigner: privateKeyToAddress(receiptKey), wallet: keystoreAddress(keystore) };
}

const roles = parseAbi(['function hasRole(bytes32 role, address account) view returns (bool)', 'function grantRole(bytes32 role, address account)']);

// The operator's wallet has gas and may do all that payd asks it for; where that is so already, nothing happens.
async function equipWallet({ rpcUrl, contract, wallet }) {
  const transport = http(rpcUrl);
  const client = createPublicClient({ transport, pollingInterval: 50, cacheTime: 0 });
  const chain = defineChain({ id: await client.getChainId(), name: 'development', nativeCurrency: { name: 'coin', symbol: 'COIN', decimals: 18 }, rpcUrls: { default: { http: [rpcUrl] } } });
  const admin = createWalletClient({ account: privateKeyToAccount(accounts[0]), chain, transport });
  const mined = async (hash) => transactionReceipt(client, await hash);
  if ((await client.getBalance({ address: wallet })) < parseEther('1')) await mined(admin.sendTransaction({ to: wallet, value: parseEther('10') }));
  for (const role of ['OPERATOR_ROLE', 'REFUNDER_ROLE', 'TREASURER_ROLE']) {
    const call = { address: contract, abi: roles, args: [keccak256(toHex(role)), wallet] };
    if (!(await client.readContract({ ...call, functionName: 'hasRole' }))) await mined(admin.writeContract({ ...call, functionName: 'grantRole' }));
  }
}

// A development account is paid; the wallet operates and refunds.
export async function deployForDevelopment({ rpcUrl, signer, receiptSigner, wallet, directory }) {
  const deployment = deployContracts({ rpcUrl, file: join(directory, 'deployment.json'), signer, receiptSigner, payee: privateKeyToAddress(accounts[2]), operator: wallet });
  await equipWallet({ rpcUrl, contract: deployment.contract, wallet });
  return deployment;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const directory = process.env.OCTROI_SECRETS_DIR || '/run/octroi';
  const { signer, receiptSigner, wallet } = makeSecrets(directory);
  const deployment = await deployForDevelopment({ rpcUrl: process.env.OCTROI_RPC_URL || 'http://chain:8545', signer, receiptSigner, wallet, directory });
  console.log(`contract ${deployment.contract}, token ${deployment.token}, quote signer ${signer}, wallet ${wallet}`);
}
