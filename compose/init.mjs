// Run once before the services of the container stack: makes the development secrets where there are none, and deploys the contracts on
// the development chain. Each value is a file of its own in OCTROI_SECRETS_DIR, for ${file:...} in the configurations.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { privateKeyToAddress } from 'viem/accounts';

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
  return { signer: privateKeyToAddress(signerKey), receiptSigner: privateKeyToAddress(receiptKey) };
}

// The development accounts are paid and operate.
export function deployForDevelopment({ rpcUrl, signer, receiptSigner, directory }) {
  const [payee, operator] = [privateKeyToAddress(accounts[2]), privateKeyToAddress(accounts[3])];
  return deployContracts({ rpcUrl, file: join(directory, 'deployment.json'), signer, payee, operator, receiptSigner });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const directory = process.env.OCTROI_SECRETS_DIR || '/run/octroi';
  const { signer, receiptSigner } = makeSecrets(directory);
  const deployment = deployForDevelopment({ rpcUrl: process.env.OCTROI_RPC_URL || 'http://chain:8545', signer, receiptSigner, directory });
  console.log(`contract ${deployment.contract}, token ${deployment.token}, quote signer ${signer}`);
}
