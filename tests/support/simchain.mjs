// A chain under control: a block tree with our contract's slots in it, and nodes that tell of it over JSON-RPC as real ones do, or
// badly, as asked. Other tests use the real development chain; this one exists because thousands of reorganisations in a few minutes
// need a chain that does what it is told. All of it follows from a seed: blocks, hashes, transactions. Every branch carries its own
// truth: the slots as the contract would hold them after each block.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { encodeAbiParameters, encodeEventTopics, hexToBytes, keccak256, parseAbi } from 'viem';

import { due, packTerms, quoteDigest, subscriptionId, unpackTerms } from '../../contracts/script/terms.mjs';

// Small, fast, and the same everywhere (mulberry32).
export class Random {
  constructor(seed) {
    this.state = Number(BigInt.asUintN(32, BigInt(seed) * 0x9e3779b1n + 0x7f4a7c15n));
  }

  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  // 0 to n - 1.
  below(n) {
    return Math.floor(this.next() * n);
  }

  between(low, high) {
    return low + this.below(high - low + 1);
  }

  chance(p) {
    return this.next() < p;
  }

  pick(list) {
    return list[this.below(list.length)];
  }

  // One of the keys, as often as its weight says.
  weighted(weights) {
    let at = this.next() * Object.values(weights).reduce((sum, weight) => sum + weight, 0);
    for (const [name, weight] of Object.entries(weights)) {
      at -= weight;
      if (at < 0) return name;
    }
    return Object.keys(weights)[0];
  }

  shuffle(list) {
    for (let i = list.length - 1; i > 0; i -= 1) {
      const j = this.below(i + 1);
      [list[i], list[j]] = [list[j], list[i]];
    }
    return list;
  }

  hex(bytes) {
    let text = '0x';
    for (let i = 0; i < bytes; i += 1) text += this.below(256).toString(16).padStart(2, '0');
    return text;
  }
}

const events = parseAbi([
  'event Paid(address indexed subscriber, bytes32 indexed serviceId, address indexed token, uint256 terms, uint256 amount)',
  'event Revoked(address indexed subscriber, bytes32 indexed serviceId, uint16 seq, bool revoked)',
  'event Refunded(address indexed subscriber, bytes32 indexed serviceId, address indexed token, uint16 seq, uint256 amount)',
  'event SignerChanged(address indexed signer, address indexed previous, uint64 previousUntil)',
  'event TransferRefunded(bytes32 indexed id, address indexed token, address indexed to, uint256 amount)',
  'event Transfer(address indexed from, address indexed to, uint256 value)',
]);

function log(address, eventName, args, dataTypes, data) {
  const topics = encodeEventTopics({ abi: events, eventName, args });
  return { eventName, address: address.toLowerCase(), topics: topics.map((topic) => topic.toLowerCase()), data: encodeAbiParameters(dataTypes.map((type) => ({ type })), data) };
}

const quantity = (n) => `0x${n.toString(16)}`;
const word = (n) => `0x${n.toString(16).padStart(64, '0')}`;

const bits = new Map();
function bloomBits(value) {
  if (!bits.has(value)) {
    const hash = hexToBytes(keccak256(value));
    bits.set(value, [0, 2, 4].map((i) => ((hash[i] << 8) | hash[i + 1]) & 2047));
  }
  return bits.get(value);
}

const NO_BLOOM = `0x${'0'.repeat(512)}`;
function bloomOf(logs) {
  if (logs.length === 0) return NO_BLOOM;
  const bloom = Buffer.alloc(256);
  for (const { address, topics } of logs) {
    for (const value of [address, ...topics]) for (const bit of bloomBits(value)) bloom[255 - (bit >> 3)] |= 1 << (bit & 7);
  }
  return `0x${bloom.toString('hex')}`;
}

const EMPTY_SLOT = { word: 0n, seq: 0n, revoked: false, amount: 0n };

export class SimChain {
  // On a block's record: `lost` where a view of the chain without it was ever told; ripeAt, taggedAt: when payd could first have
  // held its payments for deep enough.
  constructor({ seed, chainId = 4441, contract, token, start = 1, confirmations = 0, now = Math.floor(Date.now() / 1000) }) {
    Object.assign(this, { random: new Random(seed), chainId, contract: contract.toLowerCase(), token: token.toLowerCase(), start, confirmations, now });
    this.blocks = new Map();
    this.canonical = [];
    this.payments = new Map();
    this.refunds = new Map();
    this.lag = { safe: 2, finalized: 4 };
    this.salt = 0;
    this.highest = 0; // that a node ever told of
    this.setHead(this.build(null, []));
    for (let i = 1; i < start; i += 1) this.mine();
  }

  hash(...parts) {
    return `0x${createHash('sha3-256').update(parts.join()).digest('hex')}`;
  }

  // A block on `parent`: transactions that the contract refuses leave no trace.
  build(parent, txs) {
    const number = parent ? parent.number + 1 : 0;
    const block = {
      number, parent, time: this.now + number, logs: [], txs: [], slots: parent?.slots ?? new Map(), signer: parent?.signer ?? null,
      ripeAt: null, taggedAt: null, lost: false,
      sentBack: parent?.sentBack ?? new Set(), refunded: parent?.refunded ?? new Set(),
    };
    this.salt += 1;
    block.hash = this.hash(this.contract, parent?.hash, number, this.salt, ...txs.map(({ hash }) => hash));
    for (const tx of txs) this.execute(block, tx);
    this.blocks.set(block.hash, block);
    return block;
  }

  execute(block, tx) {
    const key = `${tx.subscriber}|${tx.serviceId}`;
    const before = block.slots.get(key) ?? EMPTY_SLOT;
    const outcome = this[tx.kind](tx, before, block);
    if (!outcome) return;
    if (outcome.slot) {
      if (block.slots === block.parent.slots) block.slots = new Map(block.slots);
      block.slots.set(key, outcome.slot);
    }
    if (outcome.refunded) block.refunded = new Set(block.refunded).add(outcome.refunded.id);
    block.txs.push(tx);
    for (const entry of outcome.logs) block.logs.push({ ...entry, tx: tx.hash, txIndex: block.txs.length - 1, index: block.logs.length });
  }

  pay({ payment }, before) {
    const amount = due(before.word, payment.terms);
    if (before.revoked || before.seq + 1n !== payment.fields.seq || amount === null) return null;
    const { subscriber, serviceId, token, terms } = payment;
    return {
      slot: { word: terms, seq: payment.fields.seq, revoked: false, paid: payment },
      logs: [
        log(this.contract, 'Paid', { subscriber, serviceId, token }, ['uint256', 'uint256'], [terms, amount]),
        log(token, 'Transfer', { from: subscriber, to: this.contract }, ['uint256'], [amount]),
      ],
    };
  }

  revoke({ subscriber, serviceId, revoked }, before) {
    if (before.revoked === revoked) return null;
    return { slot: { ...before, revoked }, logs: [log(this.contract, 'Revoked', { subscriber, serviceId }, ['uint16', 'bool'], [Number(before.seq), revoked])] };
  }

  // The grant is cleared and its seq used up.
  refund({ subscriber, serviceId }, before, block) {
    if (!before.paid) return null;
    const { token, fields } = before.paid;
    const seq = before.seq + 1n;
    this.refunds.set(before.paid.id, [...(this.refunds.get(before.paid.id) ?? []), block]);
    return {
      slot: { word: packTerms({ ...unpackTerms(0n), seq }), seq, revoked: before.revoked },
      refunded: before.paid,
      logs: [
        log(token, 'Transfer', { from: this.contract, to: subscriber }, ['uint256'], [fields.paid]),
        log(this.contract, 'Refunded', { subscriber, serviceId, token }, ['uint16', 'uint256'], [Number(before.seq), fields.paid]),
      ],
    };
  }

  // Money that pays for nothing.
  send({ subscriber, amount }) {
    return { logs: [log(this.token, 'Transfer', { from: subscriber, to: this.contract }, ['uint256'], [amount])] };
  }

  // And what is sent back of it, once.
  sendBack({ sent }, before, block) {
    if (block.sentBack.has(sent.hash) || ![...this.transfers(block)].some(([hash]) => hash === sent.hash)) return null;
    block.sentBack = new Set(block.sentBack).add(sent.hash);
    return {
      logs: [
        log(this.token, 'Transfer', { from: this.contract, to: sent.subscriber }, ['uint256'], [sent.amount]),
        log(this.contract, 'TransferRefunded', { id: this.transferId(sent), token: this.token, to: sent.subscriber }, ['uint256'], [sent.amount]),
      ],
    };
  }

  changeSigner({ signer }, before, block) {
    const previous = block.signer ?? `0x${'0'.repeat(40)}`;
    block.signer = signer;
    return { logs: [log(this.contract, 'SignerChanged', { signer, previous }, ['uint64'], [0n])] };
  }

  transferId({ hash }) {
    return keccak256(encodeAbiParameters([{ type: 'uint256' }, { type: 'bytes32' }, { type: 'uint256' }], [BigInt(this.chainId), hash, 0n]));
  }

  // Transfers that paid nothing in the branch that ends with `head`: transaction's hash to its block.
  transfers(head = this.head) {
    const found = new Map();
    for (let block = head; block; block = block.parent) for (const tx of block.txs) if (tx.kind === 'send') found.set(tx.hash, { tx, block });
    return found;
  }

  transaction(kind, rest) {
    this.salt += 1;
    return { kind, hash: this.hash('tx', this.contract, this.salt), ...rest };
  }

  // A quote that somebody may pay; `fields` of its terms.
  quote({ subscriber, serviceId, token = this.token, fields }) {
    const all = { rate: 5, bandwidth: 0, quota: 100, token: 1, valid_until: 1000, ...fields };
    const terms = packTerms(all);
    const quote = { chainId: this.chainId, contract: this.contract, subscriber, serviceId, token, terms };
    const payment = { ...quote, fields: unpackTerms(terms), id: quoteDigest(quote), subscription: subscriptionId(quote) };
    this.payments.set(payment.id, payment);
    return payment;
  }

  payTx(payment) {
    return this.transaction('pay', { payment, subscriber: payment.subscriber, serviceId: payment.serviceId });
  }

  get head() {
    return this.canonical[this.canonical.length - 1];
  }

  isCanonical(block) {
    return this.canonical[block.number] === block;
  }

  setHead(head) {
    const fresh = [];
    let at = head;
    for (; at && this.canonical[at.number] !== at; at = at.parent) fresh.push(at);
    for (const gone of this.canonical.splice(at ? at.number + 1 : 0)) gone.lost = true;
    this.canonical.push(...fresh.reverse());
  }

  mine(txs = []) {
    const block = this.build(this.head, txs);
    this.setHead(block);
    return block;
  }

  // The newest `depth` blocks give way to `lists.length` others; the block that they stand on must not be the first of all.
  reorg(depth, lists) {
    let at = this.canonical[this.head.number - depth];
    for (const txs of lists) at = this.build(at, txs);
    this.setHead(at);
  }

  // The block of that number in the branch that ends with `head`.
  at(head, number) {
    let block = head;
    while (block && block.number > number) block = this.isCanonical(block) ? this.canonical[number] : block.parent;
    return block?.number === number ? block : undefined;
  }

  // A node told of this block: payd may hold for deep enough what has enough blocks above it.
  told(head) {
    const now = Date.now();
    this.highest = Math.max(this.highest, head.number);
    let block = this.confirmations === 0 ? head : this.at(head, head.number - this.confirmations);
    for (; block && block.ripeAt === null; block = block.parent) block.ripeAt = now;
  }

  toldTagged(tagged) {
    const now = Date.now();
    for (let block = tagged; block && block.taggedAt === null; block = block.parent) block.taggedAt = now;
  }

  // What is mined in the branch that ends with `head`: payment id to { payment, block }.
  mined(head = this.head) {
    const found = new Map();
    for (let block = head; block; block = block.parent) {
      for (const tx of block.txs) if (tx.kind === 'pay') found.set(tx.payment.id, { payment: tx.payment, block });
    }
    return found;
  }
}

class Refusal extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

// One JSON-RPC endpoint with a view of the chain, and faults to order.
export class SimNode {
  constructor(chain, { name = 'node', maxRange = Infinity } = {}) {
    Object.assign(this, { chain, home: chain, name, maxRange, calls: 0, held: [], delay: 0 });
    this.heal();
  }

  async start() {
    this.server = createServer((request, response) => {
      const parts = [];
      request.on('data', (part) => parts.push(part));
      request.on('end', () => this.serve(Buffer.concat(parts).toString(), request, response));
    });
    this.server.keepAliveTimeout = 60_000;
    await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  stop() {
    this.server?.closeAllConnections();
    this.server?.close();
  }

  // fault: { kind, ... } and how many answers it spoils; behind: blocks that the node lacks; fork: the head of another branch.
  heal() {
    this.chain = this.home;
    this.fault = null;
    this.behind = 0;
    this.fork = null;
    this.leavesOut = null;
    this.holding = null;
    this.letGo();
  }

  // Its index has not all logs, though it has the blocks: whatever(block, log), in questions about ranges or also in those about one block.
  leaveOut(whatever, { ranges = false } = {}) {
    this.leavesOut = { whatever, ranges };
  }

  // Answers to `method` wait until letGo, so that something may happen in the midst of a step.
  hold(method) {
    return new Promise((resolve) => { this.holding = { method, resolve }; });
  }

  letGo() {
    this.holding = null;
    for (const answer of this.held.splice(0)) answer();
  }

  get view() {
    if (this.fork) return this.fork;
    const { head } = this.chain;
    return this.behind ? this.chain.canonical[Math.max(0, head.number - this.behind)] : head;
  }

  // Somebody's name or balancer leads to another chain's node.
  stray(chain) {
    this.heal();
    this.chain = chain;
  }

  follow(head) {
    this.chain = this.home;
    this.fork = head;
    this.hide();
  }

  // Seen from the fork, the blocks of ours above it are gone, also those that came since; and from here those of the fork.
  hide() {
    const { chain } = this;
    let common = this.fork;
    for (; !chain.isCanonical(common); common = common.parent) common.lost = true;
    for (let i = common.number + 1; i < chain.canonical.length; i += 1) chain.canonical[i].lost = true;
  }

  serve(text, request, response) {
    const { fault } = this;
    this.calls += 1;
    if (this.fork) this.hide();
    if (fault) {
      if (fault.left !== undefined && fault.left-- <= 0) this.fault = null;
      else if (this.spoil(fault, text, request, response)) return;
    }
    const body = this.reply(text);
    const send = () => {
      if (response.destroyed) return;
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
      response.end(body);
    };
    const { holding } = this;
    if (holding && (holding.method === '*' || text.includes(`"${holding.method}"`))) {
      this.held.push(send);
      holding.resolve();
    } else if (this.delay) setTimeout(send, this.delay);
    else send();
  }

  spoil(fault, text, request, response) {
    const say = (status, type, body) => {
      response.writeHead(status, { 'content-type': type });
      response.end(body);
      return true;
    };
    switch (fault.kind) {
      case 'away': request.socket.destroy(); return true;
      case 'hang': return true;
      case '429': return say(429, 'text/plain', 'too many requests');
      case '500': return say(500, 'text/html', '<html>internal error</html>');
      case 'garbage': return say(200, 'application/json', '{"jsonrpc":"2.0","id":');
      case 'nonsense': return say(200, 'application/json', '{"jsonrpc":"2.0","id":1,"result":{"number":"0x01","hash":7}}');
      case 'truncated': {
        const body = this.reply(text);
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
        response.write(body.slice(0, body.length / 2));
        setImmediate(() => request.socket.destroy());
        return true;
      }
      case 'limit': return text.includes('eth_getLogs') && say(200, 'application/json',
        JSON.stringify({ jsonrpc: '2.0', id: JSON.parse(text).id ?? null, error: { code: -32005, message: 'query returned more than 10000 results' } }));
      case 'wrong-chain': return false;
      default: throw new Error(`no fault ${fault.kind}`);
    }
  }

  reply(text) {
    const request = JSON.parse(text);
    return JSON.stringify(Array.isArray(request) ? request.map((one) => this.one(one)) : this.one(request));
  }

  one({ id, method, params }) {
    try {
      const answer = this[method]?.(...params);
      if (answer === undefined) throw new Refusal(-32601, `the method ${method} does not exist`);
      return { jsonrpc: '2.0', id, result: answer };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return { jsonrpc: '2.0', id, error: { code: error.code, message: error.message } };
    }
  }

  eth_chainId() {
    return quantity(this.fault?.kind === 'wrong-chain' ? 99 : this.chain.chainId);
  }

  eth_blockNumber() {
    return quantity(this.view.number);
  }

  tagged(tag) {
    const { view, chain } = this;
    switch (tag) {
      case 'latest':
      case 'pending': return view;
      case 'earliest': return chain.canonical[0];
      case 'safe':
      case 'finalized': {
        const block = chain.at(view, Math.max(0, view.number - chain.lag[tag]));
        chain.toldTagged(block);
        return block;
      }
      default: return chain.at(view, Number(tag));
    }
  }

  eth_getBlockByNumber(which) {
    return this.show(this.tagged(which));
  }

  eth_getBlockByHash(hash) {
    return this.show(this.known(hash));
  }

  // A node has the blocks of its branch, and those that it saw leave it.
  known(hash) {
    const block = this.chain.blocks.get(hash);
    if (!block) return undefined;
    return this.chain.at(this.view, block.number) === block || (block.lost && block.number <= this.view.number) ? block : undefined;
  }

  show(block) {
    if (!block) return null;
    this.chain.told(block);
    block.bloom ??= bloomOf(block.logs);
    return {
      number: quantity(block.number), hash: block.hash, parentHash: block.parent?.hash ?? word(0n), timestamp: quantity(block.time), logsBloom: block.bloom,
      nonce: '0x0000000000000000', miner: `0x${'0'.repeat(40)}`, gasLimit: '0x1c9c380', gasUsed: '0x0', baseFeePerGas: '0x7', extraData: '0x', size: '0x200',
      transactions: block.txs.map(({ hash }) => hash), uncles: [],
    };
  }

  showLog(block, entry) {
    return {
      address: entry.address, topics: entry.topics, data: entry.data, blockNumber: quantity(block.number), blockHash: block.hash, transactionHash: entry.tx,
      transactionIndex: quantity(entry.txIndex), logIndex: quantity(entry.index), removed: false,
    };
  }

  eth_getLogs({ blockHash, fromBlock, toBlock, address, topics = [] }) {
    const { chain, view } = this;
    const addresses = address && [address].flat().map((one) => one.toLowerCase());
    const gone = (block, entry) => this.leavesOut && !(this.leavesOut.ranges && blockHash) && this.leavesOut.whatever(block, entry);
    const fits = (entry) => (!addresses || addresses.includes(entry.address)) &&
      topics.every((topic, i) => topic === null || [topic].flat().some((one) => one === null || one.toLowerCase() === entry.topics[i]));
    if (blockHash) {
      const block = this.known(blockHash);
      if (!block) throw new Refusal(-32000, 'unknown block');
      return block.logs.filter((entry) => fits(entry) && !gone(block, entry)).map((entry) => this.showLog(block, entry));
    }
    const from = this.tagged(fromBlock ?? 'latest')?.number ?? Number(fromBlock);
    const to = Math.min(this.tagged(toBlock ?? 'latest')?.number ?? Number(toBlock), view.number);
    if (to - from + 1 > this.maxRange) throw new Refusal(-32602, `block range is limited to ${this.maxRange}`);
    const found = [];
    for (let number = from; number <= to; number += 1) {
      const block = chain.at(view, number);
      for (const entry of block.logs) if (fits(entry) && !gone(block, entry)) found.push(this.showLog(block, entry));
    }
    return found;
  }

  eth_getTransactionReceipt(hash) {
    for (let block = this.view; block; block = block.parent) {
      const index = block.txs.findIndex((tx) => tx.hash === hash);
      if (index < 0) continue;
      return {
        transactionHash: hash, transactionIndex: quantity(index), blockHash: block.hash, blockNumber: quantity(block.number), status: '0x1', type: '0x2',
        to: this.chain.contract, contractAddress: null, logsBloom: bloomOf(block.logs), logs: block.logs.filter(({ tx }) => tx === hash).map((entry) => this.showLog(block, entry)),
      };
    }
    return null;
  }

  // slotOf(address,bytes32) as a real contract would answer it, for whoever compares.
  eth_call({ data }) {
    const subscriber = `0x${data.slice(34, 74)}`;
    const id = `0x${data.slice(74, 138)}`;
    return word(this.view.slots.get(`${subscriber}|${id}`)?.word ?? 0n);
  }
}
