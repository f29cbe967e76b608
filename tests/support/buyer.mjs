// A customer: a wallet of viem and a Sign-In of siwe, so that every encoding of ours is checked by somebody else's.
import { SiweMessage } from 'siwe';
import { createPublicClient, createWalletClient, defineChain, http, parseEther, recoverTypedDataAddress } from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';

import { transactionReceipt } from '../../contracts/script/transaction.mjs';
import { accounts } from './servers.mjs';
import { waitUntil } from './process.mjs';

const mintAbi = [{ type: 'function', name: 'mint', stateMutability: 'nonpayable', inputs: [{ type: 'address' }, { type: 'uint256' }], outputs: [] }];

export class Buyer {
  constructor({ gateway, rpcUrl, key = generatePrivateKey() }) {
    Object.assign(this, { gateway, rpcUrl });
    this.account = privateKeyToAccount(key);
  }

  get address() {
    return this.account.address;
  }

  async json(method, path, { body, headers = {} } = {}) {
    const response = await fetch(this.gateway + path, {
      method,
      headers: { ...(body ? { 'content-type': 'application/json' } : {}), ...headers },
      body: body ? JSON.stringify(body) : undefined,
    });
    const text = await response.text();
    let parsed;
    try {
      parsed = JSON.parse(text);
    } catch {
      parsed = text;
    }
    return { status: response.status, headers: response.headers, body: parsed };
  }

  async must(status, method, path, options) {
    const answer = await this.json(method, path, options);
    if (answer.status !== status) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  async connect() {
    this.discovery = await this.must(200, 'GET', '/.well-known/octroi');
    const id = this.discovery.chain_id;
    this.chain = defineChain({ id, name: `chain ${id}`, nativeCurrency: { name: 'zkLTC', symbol: 'zkLTC', decimals: 18 }, rpcUrls: { default: { http: [this.rpcUrl] } } });
    const transport = http(this.rpcUrl);
    this.public = createPublicClient({ chain: this.chain, transport, pollingInterval: 50 });
    this.wallet = createWalletClient({ account: this.account, chain: this.chain, transport });
    return this;
  }

  // Development only: gas from a development account, coins from the development stablecoin's open mint.
  async fund(token, amount = 1_000_000_000n) {
    const faucet = createWalletClient({ account: privateKeyToAccount(accounts[4]), chain: this.chain, transport: http(this.rpcUrl) });
    await this.settled(await faucet.sendTransaction({ to: this.address, value: parseEther('1') }));
    await this.settled(await this.wallet.writeContract({ address: token, abi: mintAbi, functionName: 'mint', args: [this.address, amount] }));
  }

  async settled(hash) {
    const receipt = await transactionReceipt(this.public, hash);
    if (receipt.status !== 'success') throw new Error(`transaction ${hash} was reverted`);
    return receipt;
  }

  async quote({ service = 'api', tier, duration_days, token, headers } = {}) {
    return this.must(201, 'POST', '/quote', { body: { service, tier, duration_days, subscriber: this.address, token }, headers });
  }

  // Who signed it, by viem's encoding of the typed data.
  signer(quote) {
    const { domain, types, primaryType, message } = quote.typed_data;
    return recoverTypedDataAddress({ domain, types: { Quote: types.Quote }, primaryType, message, signature: this.expandSignature(quote.signature) });
  }

  // EIP-2098 to r, s, v.
  expandSignature(compact) {
    const vs = BigInt(`0x${compact.slice(66)}`);
    const v = (vs >> 255n) & 1n;
    const s = vs & ((1n << 255n) - 1n);
    return `${compact.slice(0, 66)}${s.toString(16).padStart(64, '0')}${v ? '1c' : '1b'}`;
  }

  // Sends the quote's transactions in order.
  async pay(quote) {
    const receipts = [];
    for (const { to, data, value } of quote.transactions) {
      receipts.push(await this.settled(await this.wallet.sendTransaction({ to, data, value: BigInt(value ?? 0) })));
    }
    return receipts;
  }

  async waitPayment(quote, state = 'activated', onState = () => {}) {
    let last;
    return waitUntil(`payment ${quote.id} to be ${state}`, async () => {
      const { status, body } = await this.json('GET', `/payment/${quote.id}`);
      if (status === 200 && body.state !== last) {
        last = body.state;
        onState(body);
      }
      return status === 200 && body.state === state && body;
    }, { every: 100 });
  }

  async signIn(service = 'api') {
    const challenge = await this.must(200, 'POST', '/token/challenge', { body: { address: this.address, service } });
    // siwe parses our message and writes it again: a difference would fail the signature.
    const message = new SiweMessage(challenge.message).prepareMessage();
    return { message, signature: await this.account.signMessage({ message }) };
  }

  async token(service = 'api') {
    this.grant = await this.must(200, 'POST', '/token', { body: await this.signIn(service) });
    this.accessToken = this.grant.access_token;
    return this.grant;
  }

  call(path = '/v1/hello', options = {}) {
    return this.json(options.method ?? 'GET', path, { ...options, headers: { ...(this.accessToken ? { authorization: `Bearer ${this.accessToken}` } : {}), ...options.headers } });
  }

  usage() {
    return this.must(200, 'GET', `/usage/${this.grant.subscription}`, { headers: { authorization: `Bearer ${this.accessToken}` } });
  }
}
