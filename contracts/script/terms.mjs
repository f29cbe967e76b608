// The 256-bit word of a quote's terms, which is also the contract's storage slot: packing, and the
// arithmetic of what a slot still holds. Test vectors and tests share it, so that the layout stands
// in one place on the JavaScript side.
import { encodeAbiParameters, hashTypedData, keccak256, slice, stringToHex } from 'viem';

export const EPOCH_OF_VALID_UNTIL = 1767225600n; // 2026-01-01T00:00:00Z

export const TERMS_FIELDS = [
  // name, bits; from the least significant bit upwards
  ['start', 32n],
  ['expiry', 32n],
  ['paid', 64n],
  ['plan', 16n],
  ['rate', 16n],
  ['bandwidth', 16n],
  ['quota', 32n],
  ['seq', 16n],
  ['token', 8n],
  ['valid_until', 24n],
];

export function packTerms(fields) {
  let word = 0n;
  let shift = 0n;
  for (const [name, bits] of TERMS_FIELDS) {
    const value = BigInt(fields[name]);
    if (value < 0n || value >> bits !== 0n) throw new RangeError(`${name} does not fit ${bits} bits`);
    word |= value << shift;
    shift += bits;
  }
  return word;
}

export function unpackTerms(word) {
  const fields = {};
  let rest = BigInt(word);
  for (const [name, bits] of TERMS_FIELDS) {
    fields[name] = rest & ((1n << bits) - 1n);
    rest >>= bits;
  }
  return fields;
}

/** The minute number that a quote carries to be payable at least until `seconds`, and at most 59 s longer. */
export function validUntilMinute(seconds) {
  return (BigInt(seconds) - EPOCH_OF_VALID_UNTIL) / 60n;
}

export function unused(slot, at) {
  const { start, expiry, paid } = unpackTerms(slot);
  if (at <= start) return paid;
  if (at >= expiry) return 0n;
  return (paid * (expiry - at)) / (expiry - start);
}

/** What a payment of `terms` on `slot` costs, or null where the contract refuses it. */
export function due(slot, terms) {
  const before = unpackTerms(slot);
  const after = unpackTerms(terms);
  const held = before.token === after.token ? unused(slot, after.start) : 0n;
  return after.paid < held ? null : after.paid - held;
}

/** The word that a refund leaves in the slot: the next seq alone, and the last one for ever. */
export function cleared(slot) {
  const { seq } = unpackTerms(slot);
  return (seq === 0xffffn ? seq : seq + 1n) << 208n;
}

export const serviceId = (name) => keccak256(stringToHex(name));

export function subscriptionId({ chainId, contract, subscriber, serviceId }) {
  const encoded = encodeAbiParameters(
    [{ type: 'uint256' }, { type: 'address' }, { type: 'address' }, { type: 'bytes32' }],
    [BigInt(chainId), contract, subscriber, serviceId],
  );
  return `sub_${slice(keccak256(encoded), 0, 16).slice(2)}`;
}

export const slotKey = (subscriber, serviceId) =>
  keccak256(encodeAbiParameters([{ type: 'address' }, { type: 'bytes32' }], [subscriber, serviceId]));

export const domain = (chainId, contract) => ({
  name: 'Octroi',
  version: '1',
  chainId: BigInt(chainId),
  verifyingContract: contract,
});

export const QUOTE_TYPES = {
  Quote: [
    { name: 'subscriber', type: 'address' },
    { name: 'serviceId', type: 'bytes32' },
    { name: 'token', type: 'address' },
    { name: 'terms', type: 'uint256' },
  ],
};

export function quoteTypedData({ chainId, contract, subscriber, serviceId, token, terms }) {
  return {
    domain: domain(chainId, contract),
    types: QUOTE_TYPES,
    primaryType: 'Quote',
    message: { subscriber, serviceId, token, terms },
  };
}

export const RECEIPT_TYPES = {
  Receipt: [
    { name: 'paymentId', type: 'bytes32' },
    { name: 'subscriber', type: 'address' },
    { name: 'serviceId', type: 'bytes32' },
    { name: 'token', type: 'address' },
    { name: 'terms', type: 'uint256' },
    { name: 'amount', type: 'uint256' },
    { name: 'txHash', type: 'bytes32' },
    { name: 'blockNumber', type: 'uint256' },
    { name: 'confirmedAt', type: 'uint256' },
  ],
};

export const receiptTypedData = (chainId, contract, message) => ({
  domain: domain(chainId, contract),
  types: RECEIPT_TYPES,
  primaryType: 'Receipt',
  message,
});

/** Names a transfer for refundTransfer; ordinal counts the Transfer logs of listed tokens to the contract in its transaction. */
export const transferId = (chainId, txHash, ordinal) =>
  keccak256(
    encodeAbiParameters(
      [{ type: 'uint256' }, { type: 'bytes32' }, { type: 'uint256' }],
      [BigInt(chainId), txHash, BigInt(ordinal)],
    ),
  );

export const quoteDigest = (quote) => hashTypedData(quoteTypedData(quote));
