// What the scripts of this directory are told, by the environment alone: read once, refused by name, never printed.
import { readFileSync } from 'node:fs';
import { createPublicClient, createWalletClient, fallback, getAddress, http, isAddress, zeroAddress } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';

export class Refusal extends Error {}

const MAX_TOKENS = 127;
const MAX_FEE_BPS = 2000;

export function required(name) {
  const value = process.env[name];
  if (!value) throw new Refusal(`${name} must be set`);
  return value;
}

export function address(name, value = required(name)) {
  if (!isAddress(value) || /^0x0{40}$/.test(value)) {
    throw new Refusal(`${name} must be an address other than zero, with a right checksum if it has one`);
  }
  return getAddress(value);
}

// An address that may be left out: empty takes the default, `none` is nobody.
function optional(name, otherwise) {
  const value = process.env[name];
  if (value === 'none') return zeroAddress;
  return value ? address(name, value) : otherwise;
}

function whole(name, fallbackText, max) {
  const text = process.env[name] || fallbackText;
  if (!/^\d{1,18}$/.test(text) || BigInt(text) > BigInt(max)) {
    throw new Refusal(`${name} must be a whole number from 0 to ${max}`);
  }
  return BigInt(text);
}

// A secret's file. What stands in place of its name may be the secret itself: the variable is named, not what it holds.
function secretText(name) {
  try {
    return readFileSync(required(name), 'utf8');
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal(`${name}: the file cannot be read (${error.code})`);
  }
}

/** A file of JSON that is no secret; its content is not quoted all the same, for another file may have been named. */
export function readJson(file) {
  const text = readFileSync(file, 'utf8');
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal(`${file} is not JSON`);
  }
}

async function keystoreKey() {
  const { decryptKeystoreJson } = await import('ethers');
  const password = secretText('OCTROI_DEPLOYER_PASSWORD_FILE').replace(/\r?\n$/, '');
  const content = secretText('OCTROI_DEPLOYER_KEYSTORE');
  try {
    return (await decryptKeystoreJson(content, password)).privateKey;
  } catch {
    throw new Refusal('OCTROI_DEPLOYER_KEYSTORE is no keystore that OCTROI_DEPLOYER_PASSWORD_FILE opens');
  }
}

export async function deployer() {
  const { OCTROI_DEPLOYER_KEYSTORE: keystore, OCTROI_DEPLOYER_KEY_FILE: file } = process.env;
  let key;
  if (keystore) key = await keystoreKey();
  else key = (file ? secretText('OCTROI_DEPLOYER_KEY_FILE') : required('OCTROI_DEPLOYER_KEY')).trim();
  try {
    return privateKeyToAccount(key.startsWith('0x') ? key : `0x${key}`);
  } catch {
    throw new Refusal('OCTROI_DEPLOYER_KEY must be a private key: 64 hexadecimal digits');
  }
}

function tokens() {
  if (!process.env.OCTROI_TOKENS) throw new Refusal('OCTROI_TOKENS must be set: addresses by commas; dev is a token that anybody mints, for a development chain');
  const list = process.env.OCTROI_TOKENS.split(',').map((entry) => entry.trim());
  const read = list.map((entry) => (entry === 'dev' ? entry : address('each of OCTROI_TOKENS', entry)));
  if (read.length > MAX_TOKENS) throw new Refusal(`OCTROI_TOKENS must name at most ${MAX_TOKENS} tokens`);
  if (new Set(read).size !== read.length) throw new Refusal('OCTROI_TOKENS names a token twice');
  return read;
}

// Several endpoints, by commas: the next one is asked where one does not answer.
export function endpoints() {
  const urls = required('OCTROI_RPC_URL').split(',').map((url) => url.trim()).filter(Boolean);
  for (const url of urls) {
    if (!/^https?:\/\//.test(url)) throw new Refusal('OCTROI_RPC_URL must hold http:// or https:// URLs');
  }
  return urls;
}

export const deploymentFile = () => required('OCTROI_DEPLOYMENT_FILE');

export const chainExpected = () => (process.env.OCTROI_CHAIN_ID ? Number(whole('OCTROI_CHAIN_ID', '0', Number.MAX_SAFE_INTEGER)) : null);

export async function deploySettings() {
  const account = await deployer();
  return {
    account,
    urls: endpoints(),
    file: deploymentFile(),
    chain: chainExpected(),
    confirmations: Number(whole('OCTROI_DEPLOY_CONFIRMATIONS', '1', 1000)),
    patience: Number(whole('OCTROI_DEPLOY_PATIENCE', '300', 86_400)), // seconds for each transaction
    maxFeePerGas: whole('OCTROI_DEPLOY_MAX_FEE_PER_GAS', '0', 10 ** 15), // wei; 0: what the node proposes
    tokens: tokens(),
    setup: {
      admin: optional('OCTROI_ADMIN', account.address),
      signer: address('OCTROI_SIGNER_ADDRESS'),
      payee: address('OCTROI_PAYEE'),
      operator: address('OCTROI_OPERATOR'),
      feeRecipient: optional('OCTROI_FEE_RECIPIENT', account.address),
      feeBps: Number(whole('OCTROI_FEE_BPS', '0', MAX_FEE_BPS)),
      adminDelay: Number(whole('OCTROI_ADMIN_DELAY', '0', 99_999_999)), // seconds
      refunder: optional('OCTROI_REFUNDER', address('OCTROI_OPERATOR')),
      receiptSigner: optional('OCTROI_RECEIPT_SIGNER', zeroAddress),
    },
  };
}

const definition = (id, urls) => ({
  id,
  name: `chain ${id}`,
  nativeCurrency: { name: 'gas', symbol: 'GAS', decimals: 18 },
  rpcUrls: { default: { http: urls } },
});

const transport = (urls) => fallback(urls.map((url) => http(url, { timeout: 10_000, retryCount: 3 })));

export const reader = (urls) => createPublicClient({ transport: transport(urls), pollingInterval: 100 });

export const writer = (urls, id, account) => createWalletClient({ account, chain: definition(id, urls), transport: transport(urls) });

// Runs a script's main function: a refusal in one line, and no library's quotation of a request.
export function run(name, main) {
  main().catch((error) => {
    const message = error instanceof Refusal ? error.message : (error.shortMessage ?? error.message);
    console.error(`${name}: ${message.split('\n')[0]}`);
    process.exit(1);
  });
}
