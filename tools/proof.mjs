// Makes and checks access proofs (EIP-712 `Access`), and checks receipts: offline, and against the chain where --rpc is given. Keys come
// from a file or the environment and are never printed. Exit codes: 0 valid, 1 not valid, 2 wrong use, 3 could not be checked.
import { createPublicKey, verify as verifySignature } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { BaseError, ContractFunctionRevertedError, createPublicClient, getAddress, hashTypedData, http, isAddress, isHex, parseAbi, recoverTypedDataAddress } from 'viem';
import { privateKeyToAccount, publicKeyToAddress } from 'viem/accounts';

import { RECEIPT_TYPES, domain as domainOf, quoteDigest, serviceId } from '../contracts/script/terms.mjs';

const USAGE = `usage:
  proof.mjs generate CONTRACT --service NAME --challenge 0x<32 bytes> [--valid SECONDS | --not-after UNIX] [--key-file FILE]
      prints a proof as JSON; the key is in FILE or in OCTROI_KEY (0x and 64 hex digits)
  proof.mjs verify FILE CONTRACT --service NAME --challenge 0x<32 bytes> [--subscriber 0x...] [--rpc URL]
      prints the subscriber; with --rpc also what the grant on the chain allows, and wallets that are contracts are understood
  proof.mjs receipt FILE (--signer 0x... | --deployment FILE) [--rpc URL] [--current]
      checks the answer of GET /receipt/{payment_id}; --rpc asks the contract too, --current wants the grant to stand still

  CONTRACT is --deployment FILE, or --contract 0x... --chain-id N. FILE may be - for standard input.
  Exit codes: 0 valid, 1 not valid, 2 wrong use, 3 could not be checked (no node, another chain).`;

const MAX_LIFETIME = 86_400;
const MAX_INPUT = 64 * 1024;

const ACCESS_TYPES = {
  Access: [
    { name: 'subscriber', type: 'address' },
    { name: 'serviceId', type: 'bytes32' },
    { name: 'notAfter', type: 'uint256' },
    { name: 'challenge', type: 'bytes32' },
  ],
};
const abi = parseAbi([
  'struct Receipt { bytes32 paymentId; address subscriber; bytes32 serviceId; address token; uint256 terms; uint256 amount; bytes32 txHash; uint256 blockNumber; uint256 confirmedAt; }',
  'struct Qos { uint32 start; uint32 expiry; uint16 plan; uint16 rate; uint16 bandwidth; uint32 quota; uint16 seq; }',
  'function verifyAccess(address subscriber, bytes32 serviceId, uint256 notAfter, bytes32 challenge, bytes signature) view returns (Qos)',
  'function verifyReceipt(Receipt receipt, bytes signature) view returns (bool valid, bool current)',
  'error NoAccess()',
  'error ProofExpired()',
  'error ProofTooLong()',
  'error BadProof()',
]);

class Misuse extends Error {}
class Invalid extends Error {}
class Unknown extends Error {}

const isCount = (it) => Number.isSafeInteger(it) && it >= 0;
const isWord = (text) => isHex(text) && text.length === 66;

function wanted(check, value, what, Kind = Misuse) {
  if (!check(value)) throw new Kind(what);
  return value;
}

// `shown` is what an error calls the file.
function readText(path, shown = path) {
  let text;
  try {
    text = readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (error) {
    throw new Misuse(`${shown}: ${error.code ?? 'cannot be read'}`);
  }
  return wanted((it) => it.length <= MAX_INPUT, text, `${shown}: too long`);
}

// What stands where an object should is none: null is an object to typeof.
const object = (value) => (value !== null && typeof value === 'object' ? value : {});

function readJson(path, Kind) {
  try {
    return wanted((it) => it !== null && typeof it === 'object', JSON.parse(readText(path)), '');
  } catch (error) {
    if (error instanceof Misuse && error.message) throw error;
    throw new Kind(`${path}: not a JSON object`);
  }
}

function deploymentOf({ deployment }) {
  return deployment === undefined ? undefined : readJson(deployment, Misuse);
}

function contractOf(options) {
  const deployment = deploymentOf(options);
  const contract = options.contract ?? deployment?.contract;
  const chainId = options['chain-id'] ?? deployment?.chain_id;
  wanted((it) => isAddress(it ?? ''), contract, 'name the contract: --deployment FILE, or --contract and --chain-id');
  wanted((it) => /^[1-9]\d{0,15}$/.test(it), String(chainId), '--chain-id must be a whole number');
  return { chainId: Number(chainId), contract: getAddress(contract) };
}

// Never in an error's text: what stands in the file, in the variable or in the place of the file's name may be a key with a slip of the pen.
function account(options) {
  const text = options['key-file'] === undefined ? process.env.OCTROI_KEY : readText(options['key-file'], '--key-file');
  if (!text) throw new Misuse('no key: --key-file FILE, or OCTROI_KEY');
  try {
    return privateKeyToAccount(wanted(isWord, text.trim(), ''));
  } catch {
    throw new Misuse('the key is not 0x and 64 hex digits of a private key');
  }
}

function client(url, chainId) {
  wanted((it) => /^https?:\/\//.test(it), url, '--rpc must be an http or https URL');
  const made = createPublicClient({ transport: http(url, { timeout: 10_000, retryCount: 1 }) });
  return made.getChainId().then(
    (id) => wanted(() => id === chainId, made, `the node is on chain ${id}, not ${chainId}`, Unknown),
    () => { throw new Unknown('the node does not answer'); },
  );
}

async function ask(reader, contract, functionName, args) {
  try {
    return await reader.readContract({ address: contract, abi, functionName, args });
  } catch (error) {
    const revert = error instanceof BaseError ? error.walk((it) => it instanceof ContractFunctionRevertedError) : null;
    if (revert?.data?.errorName) throw new Invalid(`the contract says ${revert.data.errorName}`);
    throw new Unknown('the contract gave no answer');
  }
}

const now = () => Math.floor(Date.now() / 1000);

async function generate(options) {
  const { chainId, contract } = contractOf(options);
  const signer = account(options);
  const service = wanted((it) => it, options.service, '--service is missing');
  const challenge = wanted(isWord, options.challenge ?? '', '--challenge must be 0x and 64 hex digits: what the verifier gave you');
  const notAfter = Number(options['not-after'] ?? now() + Number(options.valid ?? 600));
  wanted((it) => Number.isSafeInteger(it) && it > now() && it <= now() + MAX_LIFETIME, notAfter, 'a proof ends in the future, at most a day ahead');
  const access = { subscriber: signer.address, serviceId: serviceId(service), notAfter, challenge };
  const domain = domainOf(chainId, contract);
  const signature = await signer.signTypedData({ domain, types: ACCESS_TYPES, primaryType: 'Access', message: { ...access, notAfter: BigInt(notAfter) } });
  return { domain: { ...domain, chainId }, access, signature };
}

function parseProof(path) {
  const { signature, ...said } = readJson(path, Invalid);
  const [domain, access] = [object(said.domain), object(said.access)];
  const bad = 'the file is no access proof';
  wanted((it) => typeof it === 'string' && isAddress(it), access.subscriber, bad, Invalid);
  wanted(isWord, access.serviceId ?? '', bad, Invalid);
  wanted(isWord, access.challenge ?? '', bad, Invalid);
  wanted(Number.isSafeInteger, access.notAfter, bad, Invalid);
  wanted((it) => isHex(it) && it.length % 2 === 0, signature, bad, Invalid);
  return { domain, access, signature };
}

// As strict as the contract: r, s and v of 27 or 28, and s in the lower half of the order (EIP-2).
const HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0n;

async function signedBy(typed, signature, expected) {
  if (signature.length !== 132 || !/1[bc]$/i.test(signature) || BigInt(`0x${signature.slice(66, 130)}`) > HALF_ORDER) return false;
  try {
    return (await recoverTypedDataAddress({ ...typed, signature })) === getAddress(expected);
  } catch {
    return false;
  }
}

async function verify(options, [file]) {
  const { chainId, contract } = contractOf(options);
  const { domain, access, signature } = parseProof(wanted((it) => it, file, 'which file?'));
  const service = wanted((it) => it, options.service, '--service is missing');
  const challenge = wanted(isWord, options.challenge ?? '', '--challenge must be 0x and 64 hex digits: what you gave the subscriber');
  const same = (a, b) => String(a).toLowerCase() === String(b).toLowerCase();
  wanted(() => domain.chainId === chainId && same(domain.verifyingContract, contract), 0, 'the proof is for another contract or chain', Invalid);
  wanted(() => same(access.serviceId, serviceId(service)), 0, 'the proof is for another service', Invalid);
  wanted(() => same(access.challenge, challenge), 0, 'the proof answers another challenge', Invalid);
  if (options.subscriber) wanted(() => same(options.subscriber, access.subscriber), 0, 'the proof is of another subscriber', Invalid);
  wanted((it) => it >= now(), access.notAfter, 'the proof has expired', Invalid);
  wanted((it) => it <= now() + MAX_LIFETIME, access.notAfter, 'the proof is valid for more than a day', Invalid);
  const typed = { domain: domainOf(chainId, contract), types: ACCESS_TYPES, primaryType: 'Access', message: { ...access, notAfter: BigInt(access.notAfter) } };
  const proven = { valid: true, subscriber: getAddress(access.subscriber), service, not_after: access.notAfter };
  const good = await signedBy(typed, signature, access.subscriber);
  if (!options.rpc) {
    wanted(() => good, 0, 'the signature is not the subscriber\'s (that of a wallet that is a contract needs --rpc)', Invalid);
    return { ...proven, checked: 'signature' };
  }
  const reader = await client(options.rpc, chainId);
  const grant = await ask(reader, contract, 'verifyAccess', [access.subscriber, access.serviceId, BigInt(access.notAfter), access.challenge, signature]);
  return { ...proven, checked: 'signature and grant', grant };
}

// The JWS says the same as the rest, and the same key signed it: an address is the hash of its key.
function checkJws(jws, receipt, signer) {
  const bad = 'the JWS is not the signer\'s, or says something else';
  const parts = wanted((it) => it.length === 3, String(jws).split('.'), bad, Invalid);
  try {
    const header = JSON.parse(Buffer.from(parts[0], 'base64url'));
    const payload = JSON.parse(Buffer.from(parts[1], 'base64url'));
    const key = createPublicKey({ key: { kty: 'EC', crv: 'secp256k1', x: header.jwk.x, y: header.jwk.y }, format: 'jwk' });
    const point = Buffer.concat([Buffer.from(header.jwk.x, 'base64url'), Buffer.from(header.jwk.y, 'base64url')]).toString('hex');
    const good = header.alg === 'ES256K' && getAddress(header.kid) === signer && publicKeyToAddress(`0x04${point}`) === signer
      && verifySignature('sha256', Buffer.from(`${parts[0]}.${parts[1]}`), { key, dsaEncoding: 'ieee-p1363' }, Buffer.from(parts[2], 'base64url'))
      && RECEIPT_TYPES.Receipt.every(({ name }) => payload.receipt[name] === receipt[name]);
    wanted(() => good, 0, bad, Invalid);
  } catch {
    throw new Invalid(bad);
  }
}

function parseReceipt(path) {
  const { signature, jws, ...said } = readJson(path, Invalid);
  const [domain, receipt] = [object(said.domain), object(said.receipt)];
  const bad = 'the file is no receipt';
  const { chainId, verifyingContract: contract } = domain;
  wanted(isCount, chainId, bad, Invalid);
  for (const at of [contract, receipt.subscriber, receipt.token]) wanted((it) => typeof it === 'string' && isAddress(it), at, bad, Invalid);
  for (const word of [receipt.paymentId, receipt.serviceId, receipt.terms, receipt.txHash]) wanted((it) => isWord(it ?? ''), word, bad, Invalid);
  wanted((it) => typeof it === 'string' && /^\d{1,78}$/.test(it) && BigInt(it) < 1n << 256n, receipt.amount, bad, Invalid);
  for (const n of [receipt.blockNumber, receipt.confirmedAt]) wanted(isCount, n, bad, Invalid);
  wanted((it) => isHex(it) && it.length === 132, signature, bad, Invalid);
  const message = { ...receipt, terms: BigInt(receipt.terms), amount: BigInt(receipt.amount), blockNumber: BigInt(receipt.blockNumber), confirmedAt: BigInt(receipt.confirmedAt) };
  return { chainId, contract: getAddress(contract), receipt, message, signature, jws };
}

async function receipt(options, [file]) {
  const { chainId, contract, receipt: said, message, signature, jws } = parseReceipt(wanted((it) => it, file, 'which file?'));
  const deployment = deploymentOf(options);
  const expected = options.signer ?? deployment?.receipt_signer;
  const signer = getAddress(wanted((it) => isAddress(it ?? ''), expected, 'name who signs receipts: --signer 0x..., or --deployment FILE with a receipt_signer'));
  if (deployment) wanted(() => deployment.chain_id === chainId && getAddress(deployment.contract) === contract, 0, 'the receipt is of another contract or chain', Invalid);
  const typed = { domain: domainOf(chainId, contract), types: RECEIPT_TYPES, primaryType: 'Receipt', message };
  wanted(() => quoteDigest({ chainId, contract, ...message }) === said.paymentId.toLowerCase(), 0, 'the payment id is not that of the quote it names', Invalid);
  wanted((it) => it, await signedBy(typed, signature, signer), `the signature is not that of ${signer}`, Invalid);
  if (jws !== undefined) checkJws(jws, said, signer);
  const proven = { valid: true, payment_id: said.paymentId, digest: hashTypedData(typed), signer };
  if (!options.rpc) {
    if (options.current) throw new Misuse('--current needs --rpc');
    return proven;
  }
  const [valid, current] = await ask(await client(options.rpc, chainId), contract, 'verifyReceipt', [message, signature]);
  wanted(() => valid, 0, 'the contract does not know this signer, or the payment', Invalid);
  if (options.current) wanted(() => current, 0, 'the grant was renewed, refunded or revoked since', Invalid);
  return { ...proven, current };
}

const COMMANDS = { generate, verify, receipt };
const OPTIONS = ['contract', 'chain-id', 'deployment', 'service', 'challenge', 'valid', 'not-after', 'key-file', 'subscriber', 'signer', 'rpc'];

function parse(argv) {
  try {
    const options = { help: { type: 'boolean', short: 'h' }, current: { type: 'boolean' } };
    for (const name of OPTIONS) options[name] = { type: 'string' };
    return parseArgs({ args: argv, options, allowPositionals: true });
  } catch (error) {
    // Node's words hold the argument, which somebody may have meant to be a key.
    throw new Misuse(error.code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION' ? 'there is no such option' : 'an option lacks its value');
  }
}

async function main(argv) {
  const { values, positionals: [name, ...rest] } = parse(argv);
  if (values.help) return USAGE;
  const command = Object.hasOwn(COMMANDS, name ?? '') ? COMMANDS[name] : undefined;
  if (!command) throw new Misuse(USAGE);
  return JSON.stringify(await command(values, rest), null, 2);
}

/** The command as a function: its exit code and what it prints. */
export async function run(argv) {
  const codes = [[Misuse, 2], [Invalid, 1], [Unknown, 3]];
  try {
    return { code: 0, stdout: await main(argv), stderr: '' };
  } catch (error) {
    const code = codes.find(([Kind]) => error instanceof Kind)?.[1];
    return { code: code ?? 3, stdout: '', stderr: code ? error.message : 'something failed that should not' };
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { code, stdout, stderr } = await run(process.argv.slice(2));
  if (stdout) console.log(stdout);
  if (stderr) console.error(stderr);
  process.exitCode = code;
}
