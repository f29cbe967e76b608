// A Web3 secret storage file (keystore version 3) of a private key, as wallets write it: scrypt, AES-128-CTR. For development and tests.
import { createCipheriv, randomBytes, randomUUID, scryptSync } from 'node:crypto';
import { concatHex, keccak256, toHex } from 'viem';
import { privateKeyToAddress } from 'viem/accounts';

// n: the cost; what it protects here is worth nothing, and starting should be quick.
export function makeKeystore(key, password, { n = 8192 } = {}) {
  const salt = randomBytes(32);
  const iv = randomBytes(16);
  const derived = scryptSync(password, salt, 32, { N: n, r: 8, p: 1, maxmem: 256 * n * 8 });
  const cipher = createCipheriv('aes-128-ctr', derived.subarray(0, 16), iv);
  const ciphertext = Buffer.concat([cipher.update(Buffer.from(key.slice(2), 'hex')), cipher.final()]);
  const mac = keccak256(concatHex([toHex(derived.subarray(16, 32)), toHex(ciphertext)]));
  return JSON.stringify({
    version: 3,
    id: randomUUID(),
    address: privateKeyToAddress(key).slice(2).toLowerCase(),
    crypto: {
      cipher: 'aes-128-ctr',
      cipherparams: { iv: iv.toString('hex') },
      ciphertext: ciphertext.toString('hex'),
      kdf: 'scrypt',
      kdfparams: { dklen: 32, n, r: 8, p: 1, salt: salt.toString('hex') },
      mac: mac.slice(2),
    },
  });
}

export const keystoreAddress = (text) => `0x${JSON.parse(text).address}`;
