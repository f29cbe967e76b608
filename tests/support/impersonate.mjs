// Buyers without keys: the development chain sends for any address. For tests that need many of them.
import { randomBytes } from 'node:crypto';
import { encodeFunctionData, parseAbi } from 'viem';

const abi = parseAbi(['function mint(address to, uint256 amount)']);

export class Crowd {
  constructor({ chain, token }) {
    Object.assign(this, { chain, token });
  }

  async member() {
    const address = `0x${randomBytes(20).toString('hex')}`;
    await this.chain.rpc('anvil_setBalance', [address, '0xde0b6b3a7640000']);
    await this.chain.rpc('anvil_impersonateAccount', [address]);
    await this.send(address, { to: this.token, data: encodeFunctionData({ abi, functionName: 'mint', args: [address, 10n ** 12n] }) });
    return address;
  }

  // The receipt; a transaction that is reverted is an error.
  async send(from, { to, data }) {
    const hash = await this.chain.rpc('eth_sendTransaction', [{ from, to, data, gas: '0x7a120' }]);
    for (;;) {
      const receipt = await this.chain.rpc('eth_getTransactionReceipt', [hash]);
      if (receipt !== true && receipt.status !== '0x1') throw new Error(`${hash} of ${from} was reverted`);
      if (receipt !== true) return receipt;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async pay(from, quote) {
    for (const transaction of quote.transactions) await this.send(from, transaction);
  }
}
