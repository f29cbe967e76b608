// A faulty relay before real nodes: what a bad day, a lazy provider or a liar makes of a node's answers. Faults are added by tests, for some
// methods or all, always or at a seeded rate, and go when the test takes them back. Knows nothing of what stands behind it but JSON-RPC.
import { createServer } from 'node:http';

const hex = (number) => `0x${number.toString(16)}`;
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// The same seed plays the same faults (mulberry32).
export function dice(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

// How real providers refuse a range that is too long for them.
export const rangeRefusals = {
  infura: { code: -32005, message: 'query returned more than 10000 results' },
  alchemy: { code: -32602, message: 'Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range' },
  ankr: { code: -32600, message: 'block range is too wide' },
  geth: { code: -32000, message: 'block range too large' },
  quicknode: { code: -32614, message: 'eth_getLogs is limited to a 10,000 range' },
};

// Faults of the HTTP answer. Each takes (relay, request, response, fault, pass): pass() is the honest answer's text.
const transport = {
  status: async (relay, request, response, { code = 500, headers = {}, body = '' }) => {
    response.writeHead(code, headers);
    response.end(body);
  },
  html: async (relay, request, response) => {
    response.writeHead(503, { 'content-type': 'text/html' });
    response.end('<html><body>bad gateway</body></html>');
  },
  garbage: async (relay, request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(Buffer.from(Array.from({ length: 200 }, () => Math.floor(relay.random() * 256))));
  },
  flood: async (relay, request, response, { bytes = 9_000_000 }) => {
    response.writeHead(200);
    response.end(Buffer.alloc(bytes, 32));
  },
  // Cut in the middle, and said to be whole.
  truncated: async (relay, request, response, fault, pass) => {
    const text = await pass();
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(text.slice(0, Math.floor(text.length / 2)));
  },
  // Says that more is to come, and leaves.
  'wrong-length': async (relay, request, response, fault, pass) => {
    const text = await pass();
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) + 100 });
    response.write(text, () => request.socket.destroy());
  },
  reset: async (relay, request) => request.socket.destroy(),
  hang: async () => {},
};

// Faults of what one call is answered: (relay, call, fault, ask) → an answer without its id.
const answers = {
  error: async (relay, call, { code = -32603, message = 'internal error' }) => ({ error: { code, message } }),
  'chain-id': async (relay, call, { id = 99 }, ask) => (call.method === 'eth_chainId' ? { result: hex(id) } : ask(call)),
  // The view of a node that is `blocks` behind.
  stale: async (relay, call, { blocks = 10, consistent = true }, ask) => {
    const head = (await relay.head()) - blocks;
    const [first] = call.params ?? [];
    if (call.method === 'eth_blockNumber') return { result: hex(head) };
    if (call.method === 'eth_getBlockByNumber' && first === 'latest') return ask({ ...call, params: [hex(head), call.params[1]] });
    if (!consistent) return ask(call);
    if (call.method === 'eth_getBlockByNumber') return Number(first) > head ? { result: null } : ask(call);
    if (call.method === 'eth_getBlockByHash') {
      const answer = await ask(call);
      return answer.result && Number(answer.result.number) > head ? { result: null } : answer;
    }
    if (call.method !== 'eth_getLogs') return ask(call);
    if (!first.blockHash) return Number(first.fromBlock) > head ? { result: [] } : ask({ ...call, params: [{ ...first, toBlock: hex(Math.min(Number(first.toBlock), head)) }] });
    const { result } = await relay.ask({ method: 'eth_getBlockByHash', params: [first.blockHash, false] });
    return result && Number(result.number) <= head ? ask(call) : { error: { code: -32000, message: 'unknown block' } };
  },
  // A head far above all others; `proven`: with a block that can be shown.
  'huge-head': async (relay, call, { blocks = 1_000_000 }, ask) => {
    if (call.method === 'eth_blockNumber') return { result: hex((await relay.head()) + blocks) };
    const answer = await ask(call);
    if (call.method !== 'eth_getBlockByNumber' || call.params[0] !== 'latest') return answer;
    return { result: { ...answer.result, number: hex(Number(answer.result.number) + blocks) } };
  },
  // Has the block, and says that nothing happened in it.
  'no-logs': async (relay, call, fault, ask) => (call.method === 'eth_getLogs' ? { result: [] } : ask(call)),
  'logs-twice': async (relay, call, fault, ask) => {
    const answer = await ask(call);
    return call.method === 'eth_getLogs' && answer.result ? { result: [...answer.result, ...answer.result] } : answer;
  },
  'logs-foreign': async (relay, call, fault, ask) => {
    const answer = await ask(call);
    return call.method === 'eth_getLogs' && answer.result ? { result: answer.result.map((log) => ({ ...log, address: `0x${'66'.repeat(20)}` })) } : answer;
  },
  // Somebody has filled the blocks with transfers of nothing to the contract: so many, or more than the provider tells of; or a token has its own form of them.
  crowd: async (relay, call, { logs, refusal, words = 1 }, ask) => {
    const [filter] = call.params ?? [];
    if (call.method !== 'eth_getLogs' || filter.topics.length < 3) return ask(call);
    if (refusal) return { error: refusal };
    const [method, which] = filter.blockHash ? ['eth_getBlockByHash', filter.blockHash] : ['eth_getBlockByNumber', filter.toBlock];
    const { result: block } = await relay.ask({ method, params: [which, false] });
    const log = { address: filter.address[0], topics: [filter.topics[0], filter.topics[2], filter.topics[2]], data: `0x${'0'.repeat(64 * words)}`, blockNumber: block.number, blockHash: block.hash };
    return { result: Array.from({ length: logs }, (_, i) => ({ ...log, transactionHash: `0x${'0c'.repeat(32)}`, logIndex: hex(1000 + i) })) };
  },
  // A liar about what happened in a block that exists: `edit` makes of the logs others, in every answer about them.
  'logs-edited': async (relay, call, { edit }, ask) => {
    const answer = await ask(call);
    return call.method === 'eth_getLogs' && answer.result ? { result: edit(structuredClone(answer.result), call.params[0]) } : answer;
  },
  // Each refusal in the words of the next provider.
  range: async (relay, call, fault, ask) => {
    const { blocks = 10, refusals = [rangeRefusals.geth] } = fault;
    const [filter] = call.params ?? [];
    if (call.method !== 'eth_getLogs' || filter.blockHash || Number(filter.toBlock) - Number(filter.fromBlock) < blocks) return ask(call);
    fault.refused = (fault.refused ?? 0) + 1;
    return { error: refusals[fault.refused % refusals.length] };
  },
};

// Faults of how a batch is answered: (relay, answers) → what is sent in their place.
const batches = {
  'batch-refused': () => ({ jsonrpc: '2.0', id: null, error: { code: -32600, message: 'batch requests are not supported' } }),
  'batch-shuffled': (relay, list) => [...list].reverse(),
  'batch-partial': (relay, list) => list.slice(1),
  'batch-doubled': (relay, list) => [...list.slice(1), list[list.length - 1]],
};

export class Relay {
  constructor({ upstream, seed = 1 }) {
    this.upstream = upstream;
    this.random = dice(seed);
    this.faults = [];
    this.posts = 0;
    this.calls = new Map();
    this.batches = 0;
  }

  async start() {
    this.server = createServer((request, response) => this.serve(request, response).catch(() => request.socket.destroy()));
    await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  // From here on this fault too; `methods`: of these calls only, `rate`: of so many of them, `times`: so often and no more.
  fault(kind, options = {}) {
    if (!transport[kind] && !answers[kind] && !batches[kind] && kind !== 'delay') throw new Error(`no such fault: ${kind}`);
    const fault = { kind, rate: 1, times: Infinity, ...options };
    this.faults.push(fault);
    return fault;
  }

  // Well again, also for those who still wait for an answer.
  clear() {
    this.faults = [];
    this.server.closeAllConnections();
    return this;
  }

  // Another node answers: a fork where the two share a history.
  switchTo(upstream) {
    this.upstream = upstream;
  }

  async ask(call) {
    const answer = await fetch(this.upstream, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: call.method, params: call.params ?? [] }),
    });
    const { result, error } = await answer.json();
    return error ? { error } : { result };
  }

  async head() {
    return Number((await this.ask({ method: 'eth_blockNumber' })).result);
  }

  strikes(fault, calls) {
    if (fault.times <= 0 || (fault.methods && !calls.some(({ method }) => fault.methods.includes(method))) || this.random() >= fault.rate) return false;
    fault.times -= 1;
    return true;
  }

  async answer(call) {
    let ask = (asked) => this.ask(asked);
    for (const fault of this.faults.filter(({ kind }) => answers[kind])) {
      if (!this.strikes(fault, [call])) continue;
      const before = ask;
      ask = (asked) => answers[fault.kind](this, asked, fault, before);
    }
    return { jsonrpc: '2.0', id: call.id, ...(await ask(call)) };
  }

  async pass(body, calls) {
    if (!Array.isArray(body)) return JSON.stringify(await this.answer(body));
    this.batches += 1;
    let list = await Promise.all(calls.map((call) => this.answer(call)));
    for (const fault of this.faults.filter(({ kind }) => batches[kind])) {
      if (Array.isArray(list) && this.strikes(fault, calls)) list = batches[fault.kind](this, list);
    }
    return JSON.stringify(list);
  }

  async serve(request, response) {
    const parts = [];
    for await (const part of request) parts.push(part);
    const body = JSON.parse(Buffer.concat(parts).toString());
    const calls = Array.isArray(body) ? body : [body];
    this.posts += 1;
    for (const { method } of calls) this.calls.set(method, (this.calls.get(method) ?? 0) + 1);
    const delay = this.faults.find((fault) => fault.kind === 'delay' && this.strikes(fault, calls));
    if (delay) await wait(delay.ms ?? 200);
    const pass = () => this.pass(body, calls);
    const fault = this.faults.find((one) => transport[one.kind] && this.strikes(one, calls));
    if (fault) {
      await transport[fault.kind](this, request, response, fault, pass);
      return;
    }
    const text = await pass();
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(text);
  }

  stop() {
    this.server?.closeAllConnections();
    this.server?.close();
  }
}
