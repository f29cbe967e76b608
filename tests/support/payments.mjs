// A chain with the contract, a price book's signer, a payer with money, PostgreSQL, NATS and any number of payd: what tests of payd begin with.
// The test plays quoted (it signs quotes) and subd (it answers hints).
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { createPublicClient, createWalletClient, defineChain, encodeFunctionData, http, parseAbi, parseSignature, signatureToCompactSignature } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';

import { packTerms, quoteDigest, quoteTypedData, serviceId, subscriptionId, validUntilMinute } from '../../contracts/script/terms.mjs';
import { transactionReceipt } from '../../contracts/script/transaction.mjs';
import { Bus } from './bus.mjs';
import { freePort, removeDirectory, temporaryDirectory, waitUntil } from './process.mjs';
import { Chain, Nats, Postgres, accounts } from './servers.mjs';
import { Service } from './service.mjs';

const abi = parseAbi([
  'function pay(bytes32 serviceId, address token, uint256 terms, bytes32 r, bytes32 vs)',
  'function mint(address to, uint256 amount)',
  'function approve(address spender, uint256 amount) returns (bool)',
]);

export class Payments {
  signer = privateKeyToAccount(accounts[1]);
  payer = privateKeyToAccount(accounts[2]);
  operator = privateKeyToAccount(accounts[3]);
  payds = [];
  seqs = new Map();
  clock = Math.floor(Date.now() / 1000) - 60;

  // receiptSigner: an address, or none.
  async start({ receiptSigner } = {}) {
    this.dir = temporaryDirectory('payments');
    this.postgres = new Postgres({ dir: join(this.dir, 'postgres') });
    this.nats = new Nats({ dir: join(this.dir, 'nats') });
    this.chain = new Chain({ dir: join(this.dir, 'chain') });
    await Promise.all([this.postgres.start(), this.nats.start(), this.chain.start()]);
    this.deployment = this.chain.deploy({ signer: this.signer.address, payee: this.payer.address, operator: this.operator.address, receiptSigner });
    const chain = defineChain({ id: this.chain.chainId, name: 'test', nativeCurrency: { name: 'x', symbol: 'x', decimals: 18 }, rpcUrls: { default: { http: [this.chain.url] } } });
    const transport = http(this.chain.url);
    this.client = createPublicClient({ chain, transport, pollingInterval: 20, cacheTime: 0 });
    this.wallet = createWalletClient({ account: this.payer, chain, transport });
    await this.write(this.deployment.token, 'mint', [this.payer.address, 10n ** 15n]);
    await this.write(this.deployment.token, 'approve', [this.deployment.contract, 10n ** 15n]);
    await this.connect();
    return this;
  }

  async connect() {
    for (const user of ['quoted', 'subd', 'adminsvc']) this[user] = await new Bus({ port: this.nats.port, user, password: this.nats.passwords[user] }).connect();
    this.tester = await new Bus({ port: this.nats.port, user: 'tester', password: 'tester' }).connect();
  }

  disconnect() {
    for (const user of ['quoted', 'subd', 'adminsvc', 'tester']) this[user]?.close();
  }

  async write(address, functionName, args) {
    const hash = await this.wallet.writeContract({ address, abi, functionName, args, gas: 300_000n });
    const receipt = await transactionReceipt(this.client, hash);
    assert.equal(receipt.status, 'success');
    return receipt;
  }

  // rpc: the endpoints' URLs; more: further lines of the configuration.
  async payd(name, { rpc = [this.chain.url], timeout = '2s', settings = {}, more = '', ready = true } = {}) {
    const port = await freePort();
    const opsPort = await freePort();
    const values = { confirmations: 1, poll: '50ms', backoff_min: '50ms', backoff_max: '300ms', ...settings };
    const config = `
http: "127.0.0.1:${port}"
ops: "127.0.0.1:${opsPort}"
postgres: "${this.postgres.conninfo('payd')}"
nats: { urls: ["${this.nats.url}"], credentials: "${this.nats.credentials('payd')}" }
relay: { retry_min: 100ms, retry_max: 400ms }
chain:
  deployment: "${this.chain.deploymentFile}"
  rpc: [${rpc.map((url, i) => `{ url: "${url}", name: "${'abcdefgh'[i]}", timeout: ${timeout} }`).join(', ')}]
${Object.entries(values).map(([key, value]) => `  ${key}: ${value}`).join('\n')}
${more}
`;
    const service = new Service('payd', { dir: this.dir, name, config, opsPort });
    service.url = `http://127.0.0.1:${port}`;
    this.payds.push(service);
    return ready ? service.start() : service.spawn();
  }

  async stopPayds() {
    await Promise.all(this.payds.splice(0).map((service) => service.stop()));
  }

  async quote(service, { seq, plan = 1, paid = 1_000_000n } = {}) {
    seq ??= (this.seqs.get(service) ?? 0) + 1;
    const terms = packTerms({
      start: this.clock, expiry: this.clock + 86_400, paid, plan, rate: 5, bandwidth: 0, quota: 100, seq, token: this.deployment.token_index,
      valid_until: validUntilMinute(BigInt(Math.floor(Date.now() / 1000) + 3600)),
    });
    const quote = { chainId: this.deployment.chain_id, contract: this.deployment.contract, subscriber: this.payer.address, serviceId: serviceId(service), token: this.deployment.token, terms };
    const compact = signatureToCompactSignature(parseSignature(await this.signer.signTypedData(quoteTypedData(quote))));
    return { ...quote, service, seq, plan, paid, id: quoteDigest(quote), subscription: subscriptionId(quote), r: compact.r, vs: compact.yParityAndS };
  }

  async pay(quote) {
    const receipt = await this.write(this.deployment.contract, 'pay', [quote.serviceId, quote.token, quote.terms, quote.r, quote.vs]);
    this.seqs.set(quote.service, quote.seq);
    return receipt;
  }

  payData(quote) {
    return encodeFunctionData({ abi, functionName: 'pay', args: [quote.serviceId, quote.token, quote.terms, quote.r, quote.vs] });
  }

  async bought(service, options) {
    const quote = await this.quote(service, options);
    return { ...quote, receipt: await this.pay(quote) };
  }

  async get(payd, path) {
    const response = await fetch(`${payd.url}${path}`);
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, body: JSON.parse(text) };
  }

  inState(payd, quote, state) {
    return waitUntil(`${quote.service} to be ${state}`, async () => {
      const { body } = await this.get(payd, `/payment/${quote.id}`);
      return body.state === state && body;
    });
  }

  activate(quote, revision) {
    return this.subd.request('octroi.v1.payment.activated', { payment_id: quote.id, revision, subscription: quote.subscription });
  }

  // Confirmed and applied, as by subd.
  async activated(payd, quote) {
    await this.chain.mine(1);
    const { revision } = await this.inState(payd, quote, 'confirmed');
    assert.deepEqual(await this.activate(quote, revision), { ok: true });
    return this.inState(payd, quote, 'activated');
  }

  // Also after a failure, and then it fails too where a sanitizer complained.
  async stop() {
    const failures = [];
    const end = async (thing) => {
      try {
        await thing?.();
      } catch (error) {
        failures.push(error);
      }
    };
    await end(() => this.stopPayds());
    this.disconnect();
    for (const server of [this.chain, this.nats, this.postgres]) await end(() => server?.stop());
    if (failures.length) throw failures[0];
    removeDirectory(this.dir);
  }
}
