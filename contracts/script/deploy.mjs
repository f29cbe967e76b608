// Deploys the contract behind its proxy on any EVM chain, verifies what then stands there, and writes what the services need to
// know of it. All of it comes from the environment (docs/operations/chain.md); forge is not needed. Running it again finds the
// deployment, or goes on where an interrupted run ended. Prints addresses and hashes, never a key.
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeFunctionData, formatEther, getAddress, zeroAddress } from 'viem';
import { artifact, compilerVersion, isCodeOf, standardJson } from './artifacts.mjs';
import { Refusal, deploySettings, readJson, reader, run, writer } from './settings.mjs';
import { transactionReceipt } from './transaction.mjs';
import { tell, verify } from './verify.mjs';

const RPC_PATIENCE_MS = 30_000;
const GAS_OF_ALL = 7_500_000n;

// PUSH0, TSTORE and MCOPY (Cancun), then RETURN of nothing: a chain without them answers with an error.
const NEEDS_CANCUN = '0x5f5f5d5f5f5f5e5f5ff3';

// Of every endpoint that answers: reads go to the next one where one fails, which must not lead to another chain.
async function chainId(urls) {
  const deadline = Date.now() + RPC_PATIENCE_MS;
  for (let pause = 50; ; pause = Math.min(pause * 2, 2000)) {
    const answers = await Promise.all(urls.map((url) => reader([url]).getChainId().catch(() => null)));
    const ids = new Set(answers.filter((id) => id !== null));
    if (ids.size > 1) throw new Refusal(`the endpoints of OCTROI_RPC_URL are of different chains: ${[...ids].join(', ')}`);
    if (ids.size === 1) return ids.values().next().value;
    if (Date.now() + pause > deadline) throw new Refusal('OCTROI_RPC_URL does not answer');
    await sleep(pause);
  }
}

function readIfThere(file) {
  try {
    return readJson(file);
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw error instanceof Refusal ? error : new Refusal(`${file} is there and cannot be read: ${error.code}`);
  }
}

function writeJson(file, value) {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(`${file}.tmp`, `${JSON.stringify(value, null, 2)}\n`);
  renameSync(`${file}.tmp`, file);
}

/** Whether the deployment that the file tells of stands on this chain. */
async function stands(client, chain, deployment, file) {
  if (deployment.chain_id !== chain) {
    throw new Refusal(`${file} tells of chain ${deployment.chain_id}, and this is chain ${chain}: name another file`);
  }
  const parts = [deployment.contract, deployment.implementation, deployment.token];
  const codes = await Promise.all(parts.map((at) => client.getCode({ address: at })));
  return codes.every((code) => code && code !== '0x');
}

/** A deployment that knows another signer would refuse every quote: say so, but changing it is an admin's act. */
async function warnOfSigner(client, deployment, signer) {
  const call = { address: deployment.contract, abi: artifact('Octroi').abi, functionName: 'signer' };
  const [current, previous] = await client.readContract(call);
  if (![current, previous].includes(signer)) {
    console.error(`deploy: warning: the contract's signer is ${current}, not OCTROI_SIGNER_ADDRESS`);
  }
}

/** What would fail later, before anything is spent. */
async function precheck(client, config) {
  try {
    await client.call({ data: NEEDS_CANCUN, gas: 100_000n });
  } catch {
    throw new Refusal('the chain does not know the instructions of Cancun (PUSH0, TSTORE, MCOPY), which the contract needs');
  }
  for (const entry of config.tokens.filter((token) => token !== 'dev')) {
    const code = await client.getCode({ address: entry });
    if (!code || code === '0x') throw new Refusal(`OCTROI_TOKENS: there is no contract at ${entry}`);
  }
  const [balance, price] = await Promise.all([client.getBalance({ address: config.account.address }), client.getGasPrice()]);
  const needs = GAS_OF_ALL * price;
  if (balance < needs) {
    throw new Refusal(`the deployer ${config.account.address} has ${formatEther(balance)}, and about ${formatEther(needs)} is needed at the present gas price`);
  }
}

// What an interrupted run has deployed stands in a file beside the deployment's, written before its transaction is waited for.
class Steps {
  constructor(clients, config, chain) {
    Object.assign(this, { ...clients, config, chain, file: `${config.file}.progress` });
    const kept = readIfThere(this.file);
    this.done = kept?.chain_id === chain && kept.deployer === config.account.address ? kept.steps : {};
  }

  keep(step, entry) {
    this.done[step] = entry;
    writeJson(this.file, { chain_id: this.chain, deployer: this.config.account.address, steps: this.done });
  }

  async receiptOf(name, hash) {
    const { confirmations, patience } = this.config;
    try {
      return await transactionReceipt(this.client, hash, { confirmations, timeout: patience * 1000 });
    } catch (error) {
      if (error.code !== 'ETIMEDOUT') throw error;
      throw new Refusal(`${name}: ${error.message}. Run this again to go on; where blocks come only with transactions, OCTROI_DEPLOY_CONFIRMATIONS must be 1`);
    }
  }

  // A transaction of an earlier run may be mined by now, be still under way, or be gone with its chain.
  async found(step, name, args) {
    const entry = this.done[step];
    if (!entry || entry.args !== JSON.stringify(args)) return null;
    const known = await this.client.getTransaction({ hash: entry.hash }).catch((error) => {
      if (error.name === 'TransactionNotFoundError') return null;
      throw error;
    });
    if (!known) return null;
    const receipt = await this.receiptOf(name, entry.hash);
    if (receipt.status !== 'success') return null;
    return isCodeOf(name, await this.client.getCode({ address: receipt.contractAddress })) ? receipt : null;
  }

  async create(step, name, args) {
    let receipt = await this.found(step, name, args);
    if (!receipt) {
      const cap = this.config.maxFeePerGas ? { maxFeePerGas: this.config.maxFeePerGas } : {};
      const hash = await this.wallet.deployContract({ ...artifact(name), args, ...cap });
      this.keep(step, { hash, args: JSON.stringify(args) });
      receipt = await this.receiptOf(name, hash);
      if (receipt.status !== 'success') throw new Refusal(`deployment of ${name} reverted in ${hash}`);
    }
    console.log(`${name} ${getAddress(receipt.contractAddress)} (${receipt.transactionHash}, gas ${receipt.gasUsed})`);
    return { address: getAddress(receipt.contractAddress), block: Number(receipt.blockNumber) };
  }
}

async function deploy(steps, { setup, tokens }) {
  const list = [];
  for (const entry of tokens) list.push(entry === 'dev' ? (await steps.create('token', 'DevStablecoin', [])).address : entry);
  const implementation = await steps.create('implementation', 'Octroi', []);
  // Initialised in its constructor: nobody can come between.
  const initialize = encodeFunctionData({ abi: artifact('Octroi').abi, functionName: 'initialize', args: [{ ...setup, tokens: list }] });
  const proxy = await steps.create('proxy', 'OctroiProxy', [implementation.address, initialize]);
  return {
    chain_id: steps.chain,
    contract: proxy.address,
    implementation: implementation.address,
    token: list[0],
    token_index: 1,
    tokens: list.map((token, i) => ({ token, index: i + 1 })),
    signer: setup.signer,
    payee: setup.payee,
    refunder: setup.refunder === zeroAddress ? null : setup.refunder,
    receipt_signer: setup.receiptSigner === zeroAddress ? null : setup.receiptSigner,
    block: proxy.block,
  };
}

async function main() {
  const config = await deploySettings();
  const client = reader(config.urls);
  const id = await chainId(config.urls);
  if (config.chain !== null && config.chain !== id) throw new Refusal(`OCTROI_CHAIN_ID is ${config.chain}, and the endpoint is of chain ${id}`);
  const found = readIfThere(config.file);
  if (found && (await stands(client, id, found, config.file))) {
    console.log(`already deployed at ${found.contract} on chain ${id}: ${config.file}`);
    await warnOfSigner(client, found, config.setup.signer);
    return;
  }
  if (found) console.log(`${config.file} tells of code that this chain does not have: deploying anew`);
  await precheck(client, config);
  const steps = new Steps({ client, wallet: writer(config.urls, id, config.account) }, config, id);
  const deployment = await deploy(steps, config);
  const expected = { ...config.setup, deployer: config.account.address };
  if (!tell(await verify(client, deployment, expected))) throw new Refusal(`what stands at ${deployment.contract} is not what was asked for; ${config.file} was not written`);
  writeJson(`${config.file.replace(/\.json$/, '')}.sources.json`, { compiler: compilerVersion('Octroi'), contract: 'src/Octroi.sol:Octroi', input: standardJson('Octroi') });
  writeJson(config.file, deployment);
  rmSync(steps.file, { force: true });
  console.log(`deployed at ${deployment.contract} on chain ${id}: ${config.file}`);
}

run('deploy', main);
