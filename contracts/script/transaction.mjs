// Waits for a transaction's receipt. viem's own wait looks again only when there is a new block: where a node tells of a block before it tells
// of its receipts, and no other block follows, it never finds what is there.
import { setTimeout as sleep } from 'node:timers/promises';

/** The receipt, mined under so many blocks (its own is the first); an error after `timeout` ms without it. */
export async function transactionReceipt(client, hash, { confirmations = 1, timeout = 120_000 } = {}) {
  const end = Date.now() + timeout;
  for (;;) {
    const receipt = await client.getTransactionReceipt({ hash }).catch((error) => {
      if (error.name !== 'TransactionReceiptNotFoundError') throw error;
      return null;
    });
    if (receipt && confirmations <= 1) return receipt;
    if (receipt && (await client.getBlockNumber({ cacheTime: 0 })) - receipt.blockNumber + 1n >= confirmations) return receipt;
    if (Date.now() > end) {
      const message = `${hash} ${receipt ? 'has too few confirmations' : 'is not mined'} after ${timeout / 1000} s`;
      throw Object.assign(new Error(message), { code: 'ETIMEDOUT' });
    }
    await sleep(Math.min(client.pollingInterval, 1000));
  }
}
