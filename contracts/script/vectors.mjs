// Writes contracts/test-vectors/quote.json with viem: what the C services compute is checked against
// numbers that somebody else's library produced. `--check` compares instead of writing.
import { readFileSync, writeFileSync } from 'node:fs';
import {
  compactSignatureToSignature,
  domainSeparator,
  encodeAbiParameters,
  encodeEventTopics,
  encodeFunctionData,
  hashTypedData,
  keccak256,
  numberToHex,
  parseAbi,
  parseCompactSignature,
  parseSignature,
  recoverTypedDataAddress,
  serializeCompactSignature,
  serializeSignature,
  signatureToCompactSignature,
  stringToHex,
  toEventSelector,
  toFunctionSelector,
} from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import {
  cleared,
  domain,
  due,
  packTerms,
  quoteDigest,
  quoteTypedData,
  receiptTypedData,
  serviceId,
  slotKey,
  subscriptionId,
  TERMS_FIELDS,
  transferId,
  unpackTerms,
  unused,
} from './terms.mjs';

const FILE = new URL('../test-vectors/quote.json', import.meta.url);

// Public development keys of the mnemonic "test test … junk"; they hold nothing anywhere.
const SIGNER_KEY = '0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d';
const OTHER_KEY = '0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a';
const CONTRACT = '0x5FbDB2315678afecb367f032d93F642f64180aa3';
const TOKEN = '0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512';
const SUBSCRIBER = '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266';
const MAX_ADDRESS = '0xFFfFfFffFFfffFFfFFfFFFFFffFFFffffFfFFFfF';
const ZERO_ADDRESS = '0x0000000000000000000000000000000000000000';

const ABI = parseAbi([
  'function pay(bytes32 serviceId, address token, uint256 terms, bytes32 r, bytes32 vs)',
  'function slotOf(address subscriber, bytes32 serviceId) view returns (uint256)',
  'event Paid(address indexed subscriber, bytes32 indexed serviceId, address indexed token, uint256 terms, uint256 amount)',
  'event Revoked(address indexed subscriber, bytes32 indexed serviceId, uint16 seq, bool revoked)',
  'event Refunded(address indexed subscriber, bytes32 indexed serviceId, address indexed token, uint16 seq, uint256 amount)',
  'event TransferRefunded(bytes32 indexed id, address indexed token, address indexed to, uint256 amount)',
  'event SignerChanged(address indexed signer, address indexed previous, uint64 previousUntil)',
  'event ReceiptSignerChanged(address indexed signer, address indexed previous)',
  'function refund(address subscriber, bytes32 serviceId, address token, uint16 seq, uint256 amount)',
  'function refundTransfer(bytes32 id, address token, address to, uint256 amount)',
  'function setRevoked(address subscriber, bytes32 serviceId, bool revoked)',
  'function withdraw(address token)',
  'function withdrawFees(address token)',
]);

const month = {
  start: 1795000000,
  expiry: 1797592000,
  paid: 10_000_000,
  plan: 3,
  rate: 50,
  bandwidth: 1024,
  quota: 100_000,
  seq: 1,
  token: 1,
  valid_until: 462_915,
};
const zero = Object.fromEntries(TERMS_FIELDS.map(([name]) => [name, 0]));
const max = Object.fromEntries(TERMS_FIELDS.map(([name, bits]) => [name, (1n << bits) - 1n]));
const usual = { chainId: 4441, contract: CONTRACT, subscriber: SUBSCRIBER, service: 'api', token: TOKEN };

const QUOTES = [
  { name: 'a month, first payment', ...usual, terms: month, key: SIGNER_KEY },
  {
    name: 'renewal keeps the start',
    ...usual,
    terms: { ...month, expiry: 1800184000, paid: 20_000_000, seq: 2, valid_until: 463_000 },
    key: SIGNER_KEY,
  },
  {
    name: 'another chain',
    ...usual,
    chainId: 31337,
    terms: month,
    key: SIGNER_KEY,
  },
  { name: 'chain id of 53 bits', ...usual, chainId: 9007199254740991, terms: month, key: SIGNER_KEY },
  { name: 'another signer', ...usual, terms: month, key: OTHER_KEY },
  { name: 'service name with UTF-8', ...usual, service: 'métrique/v2 ☂', terms: month, key: SIGNER_KEY },
  { name: 'empty service name', ...usual, service: '', terms: month, key: SIGNER_KEY },
  {
    name: 'all fields zero',
    ...usual,
    subscriber: ZERO_ADDRESS,
    token: ZERO_ADDRESS,
    terms: zero,
    key: SIGNER_KEY,
  },
  {
    name: 'all fields at their maximum',
    ...usual,
    subscriber: MAX_ADDRESS,
    token: MAX_ADDRESS,
    contract: MAX_ADDRESS,
    terms: max,
    key: SIGNER_KEY,
  },
  ...TERMS_FIELDS.map(([name]) => ({
    name: `only ${name} at its maximum`,
    ...usual,
    terms: { ...zero, [name]: max[name] },
    key: SIGNER_KEY,
  })),
  // Both parities of the recovery id are needed: with these seqs both occur.
  ...[10, 11, 12, 13].map((seq) => ({
    name: `seq ${seq}`,
    ...usual,
    terms: { ...month, seq },
    key: SIGNER_KEY,
  })),
];

const word = (value) => numberToHex(BigInt(value), { size: 32 });

async function quoteVector({ name, terms: fields, service, key, ...where }) {
  const account = privateKeyToAccount(key);
  const terms = packTerms(fields);
  const quote = { ...where, serviceId: serviceId(service), terms };
  const typed = quoteTypedData(quote);
  const signature = await account.signTypedData(typed);
  const compact = signatureToCompactSignature(parseSignature(signature));
  const packed = serializeCompactSignature(compact);
  const recovered = await recoverTypedDataAddress({
    ...typed,
    signature: serializeSignature(compactSignatureToSignature(parseCompactSignature(packed))),
  });
  if (recovered !== account.address) throw new Error(`${name}: recovered ${recovered}`);
  const amount = fields.paid;
  return {
    name,
    chain_id: where.chainId,
    contract: where.contract,
    subscriber: where.subscriber,
    service,
    service_id: quote.serviceId,
    token: where.token,
    fields: Object.fromEntries(TERMS_FIELDS.map(([field]) => [field, String(fields[field])])),
    terms: word(terms),
    domain_separator: domainSeparator({ domain: domain(where.chainId, where.contract) }),
    digest: quoteDigest(quote),
    signature_compact: packed,
    signature_65: signature,
    recovered,
    subscription: subscriptionId(quote),
    slot_key: slotKey(where.subscriber, quote.serviceId),
    pay_calldata: encodeFunctionData({
      abi: ABI,
      functionName: 'pay',
      args: [quote.serviceId, where.token, terms, compact.r, compact.yParityAndS],
    }),
    slot_of_calldata: encodeFunctionData({
      abi: ABI,
      functionName: 'slotOf',
      args: [where.subscriber, quote.serviceId],
    }),
    paid_log: {
      topics: encodeEventTopics({
        abi: ABI,
        eventName: 'Paid',
        args: { subscriber: where.subscriber, serviceId: quote.serviceId, token: where.token },
      }),
      data: encodeAbiParameters([{ type: 'uint256' }, { type: 'uint256' }], [terms, BigInt(amount)]),
      amount: String(amount),
    },
    revoked_log: {
      topics: encodeEventTopics({
        abi: ABI,
        eventName: 'Revoked',
        args: { subscriber: where.subscriber, serviceId: quote.serviceId },
      }),
      data: encodeAbiParameters([{ type: 'uint16' }, { type: 'bool' }], [Number(fields.seq), true]),
    },
  };
}

function dueVector(name, slotFields, termsFields) {
  const slot = slotFields === null ? 0n : packTerms(slotFields);
  const terms = packTerms(termsFields);
  const { start } = unpackTerms(terms);
  const amount = due(slot, terms);
  return {
    name,
    slot: word(slot),
    terms: word(terms),
    unused: String(unused(slot, start)),
    due: amount === null ? null : String(amount),
  };
}

const half = { ...month, start: month.start + 1_296_000, seq: 2 };
const DUES = [
  dueVector('empty slot', null, month),
  dueVector('renewal at the kept start', month, { ...month, expiry: 1800184000, paid: 20_000_000, seq: 2 }),
  dueVector('change at half time', month, { ...half, paid: 30_000_000 }),
  dueVector('change one second before half time', month, { ...half, start: half.start - 1, paid: 30_000_000 }),
  dueVector('change after one second rounds the held value down', month, {
    ...half,
    start: month.start + 1,
    paid: 30_000_000,
  }),
  dueVector('change in the last second', month, { ...half, start: month.expiry - 1, expiry: month.expiry + 9 }),
  dueVector('change at the expiry', month, { ...half, start: month.expiry, expiry: month.expiry + 9 }),
  dueVector('long after the expiry', month, { ...half, start: month.expiry + 999999, expiry: 4294967295 }),
  dueVector('a start before the slot’s own counts as its start', month, { ...half, start: 1, paid: 10_000_001 }),
  dueVector('exactly what is held costs nothing', month, { ...half, paid: 5_000_000 }),
  dueVector('less than what is held is refused', month, { ...half, paid: 4_999_999 }),
  dueVector('another token counts as nothing', month, { ...half, token: 2, paid: 4_999_999 }),
  dueVector(
    'the largest product',
    { ...max, start: 0, seq: 1, token: 1 },
    { ...max, start: 1, seq: 2, token: 1 },
  ),
  dueVector(
    'a slot cleared down to its seq holds nothing',
    { ...zero, seq: 7 },
    { ...month, seq: 8 },
  ),
];

function refundVector(name, fields, amount) {
  const slot = packTerms(fields);
  const { seq } = unpackTerms(slot);
  const id = serviceId('api');
  return {
    name,
    slot: word(slot),
    seq: String(seq),
    amount: String(amount),
    slot_after: word(cleared(slot)),
    calldata: encodeFunctionData({
      abi: ABI,
      functionName: 'refund',
      args: [SUBSCRIBER, id, TOKEN, Number(seq), BigInt(amount)],
    }),
    log: {
      topics: encodeEventTopics({
        abi: ABI,
        eventName: 'Refunded',
        args: { subscriber: SUBSCRIBER, serviceId: id, token: TOKEN },
      }),
      data: encodeAbiParameters([{ type: 'uint16' }, { type: 'uint256' }], [Number(seq), BigInt(amount)]),
    },
  };
}

function transferVector(chainId, txHash, ordinal, amount) {
  const id = transferId(chainId, txHash, ordinal);
  return {
    chain_id: chainId,
    tx_hash: txHash,
    ordinal,
    id,
    token: TOKEN,
    to: SUBSCRIBER,
    amount: String(amount),
    calldata: encodeFunctionData({
      abi: ABI,
      functionName: 'refundTransfer',
      args: [id, TOKEN, SUBSCRIBER, BigInt(amount)],
    }),
    log: {
      topics: encodeEventTopics({
        abi: ABI,
        eventName: 'TransferRefunded',
        args: { id, token: TOKEN, to: SUBSCRIBER },
      }),
      data: word(amount),
    },
  };
}

async function receiptVector(name, fields, changes = {}) {
  const terms = packTerms(fields);
  const quote = { ...usual, serviceId: serviceId('api'), terms };
  const receipt = {
    paymentId: quoteDigest(quote),
    subscriber: SUBSCRIBER,
    serviceId: quote.serviceId,
    token: TOKEN,
    terms,
    amount: BigInt(fields.paid),
    txHash: keccak256(stringToHex(name)),
    blockNumber: 1234n,
    confirmedAt: 1795000060n,
    ...changes,
  };
  const typed = receiptTypedData(usual.chainId, CONTRACT, receipt);
  const account = privateKeyToAccount(SIGNER_KEY);
  return {
    name,
    chain_id: usual.chainId,
    contract: CONTRACT,
    receipt: Object.fromEntries(
      Object.entries(receipt).map(([key, value]) => [key, key === 'terms' ? word(value) : String(value)]),
    ),
    digest: hashTypedData(typed),
    signature_65: await account.signTypedData(typed),
    signer: account.address,
  };
}

const vectors = {
  about: 'Written by contracts/script/vectors.mjs with viem. Signatures are RFC 6979 with low s, so they can be compared byte for byte.',
  quote_type: 'Quote(address subscriber,bytes32 serviceId,address token,uint256 terms)',
  quote_type_hash: keccak256(
    stringToHex('Quote(address subscriber,bytes32 serviceId,address token,uint256 terms)'),
  ),
  domain_type_hash: keccak256(
    stringToHex('EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)'),
  ),
  selectors: Object.fromEntries(
    ABI.filter(({ type }) => type === 'function').map((item) => [item.name, toFunctionSelector(item)]),
  ),
  topics: Object.fromEntries(
    ABI.filter(({ type }) => type === 'event').map((item) => [item.name, toEventSelector(item)]),
  ),
  signer_key: SIGNER_KEY,
  other_key: OTHER_KEY,
  quotes: await Promise.all(QUOTES.map(quoteVector)),
  dues: DUES,
  refunds: [
    refundVector('a first payment', month, 10_000_000),
    refundVector('part of it', { ...month, seq: 7 }, 9_000_000),
    refundVector('the last seq', { ...month, seq: 65_535 }, 10_000_000),
    refundVector('the largest', max, (1n << 64n) - 1n),
  ],
  transfers: [
    transferVector(4441, keccak256(stringToHex('transfer')), 0, 5),
    transferVector(1, `0x${'f'.repeat(64)}`, 3, (1n << 256n) - 1n),
  ],
  receipt_type_hash: keccak256(
    stringToHex(
      'Receipt(bytes32 paymentId,address subscriber,bytes32 serviceId,address token,uint256 terms,uint256 amount,bytes32 txHash,uint256 blockNumber,uint256 confirmedAt)',
    ),
  ),
  receipts: [
    await receiptVector('a first payment', month),
    await receiptVector('the largest', max, { amount: (1n << 64n) - 1n, blockNumber: (1n << 64n) - 1n }),
  ],
};

const text = `${JSON.stringify(vectors, null, 2)}\n`;
if (process.argv.includes('--check')) {
  if (readFileSync(FILE, 'utf8') !== text) {
    console.error('contracts/test-vectors/quote.json is not what contracts/script/vectors.mjs writes');
    process.exit(1);
  }
} else {
  writeFileSync(FILE, text);
}
