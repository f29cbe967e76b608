// The chain goes away and comes back, on the whole stack: what customers, buyers and operators see meanwhile, and how long it takes until all is
// well again. One payment is made on the chain while payd cannot see it. Away for SECONDS (120): payd's only endpoint
// resets every connection.
import { Buyer } from '../tests/support/buyer.mjs';
import { cpuMicroseconds, rssKib } from '../tests/support/proc.mjs';
import { freePort, removeDirectory, sleep, temporaryDirectory, waitUntil } from '../tests/support/process.mjs';
import { Relay } from '../tests/support/relay.mjs';
import { Stack } from '../tests/support/stack.mjs';

process.env.OCTROI_PRESET ??= 'release';
const seconds = Number(process.env.SECONDS ?? 120);
const dir = temporaryDirectory('bench-outage');
let relay;
let stack;

async function customer(order) {
  const buyer = await new Buyer({ gateway: stack.gateway, rpcUrl: stack.chain.url }).connect();
  await buyer.fund(order.address);
  return { buyer, quote: await buyer.quote(order) };
}

// Asks again and again, and counts what it is answered.
class Asking {
  constructor(ask, every) {
    this.seen = {};
    this.running = true;
    this.ended = (async () => {
      while (this.running) {
        const what = await ask().catch((error) => error.message);
        this.seen[what] = (this.seen[what] ?? 0) + 1;
        await sleep(every);
      }
    })();
  }

  async stop() {
    this.running = false;
    await this.ended;
    return Object.entries(this.seen).map(([what, times]) => `${times} × ${what}`).join(', ');
  }
}

const payd = () => stack.services.payd;
const chainReady = async () => (await (await fetch(`${payd().ops}/readyz`)).json()).dependencies.find(({ name }) => name === 'chain').ok;
const selling = async () => (await (await fetch(`${stack.gateway}/.well-known/octroi`)).json()).status.selling;
const metric = async (name) => payd().metric(name);
const since = (begun) => `${((performance.now() - begun) / 1000).toFixed(1)} s`;

try {
  const chain = await freePort();
  relay = await new Relay({ upstream: `http://127.0.0.1:${chain}` }).start();
  stack = new Stack({ dir, ports: { chain }, blockTime: 1, env: { OCTROI_RPC_URL: relay.url, OCTROI_QUOTES_PER_CLIENT: '60000', OCTROI_QUOTES_PER_SUBSCRIBER: '60000' } });
  await stack.start();
  const { tiers, durations, tokens } = await (await fetch(`${stack.gateway}/pricing`)).json();
  const order = { tier: tiers[0].name, duration_days: durations[0].days, token: tokens[0].symbol, address: tokens[0].address };
  const { buyer: old, quote } = await customer(order);
  await old.pay(quote);
  await old.waitPayment(quote);
  await old.token();
  const { buyer: late, quote: open } = await customer(order);

  const before = { cpu: cpuMicroseconds(payd().pid), rss: rssKib(payd().pid), posts: relay.posts, blocks: await metric('octroi_payd_chain_blocks_total') };
  const away = performance.now();
  relay.fault('reset');
  const calls = new Asking(async () => String((await old.call()).status), 100);
  const tokensAsked = new Asking(async () => String((await old.json('POST', '/token', { body: await old.signIn() })).status), 5000);
  const noticed = await waitUntil('quotes to be refused', async () => !(await selling()) && since(away), { every: 50 });
  const unready = await waitUntil('payd to say so', async () => !(await chainReady()) && since(away), { every: 50 });
  const quotes = new Asking(async () => {
    const { status, headers, body } = await late.json('POST', '/quote', { body: { service: 'api', ...order, address: undefined, subscriber: late.address } });
    return `${status}${status === 201 ? '' : ` ${body.type?.split('/').at(-1)}, Retry-After ${headers.get('retry-after')}`}`;
  }, 1000);
  await late.pay(open);
  await sleep(seconds * 1000 - (performance.now() - away));
  const said = [await calls.stop(), await tokensAsked.stop(), await quotes.stop()];
  const cost = { cpu: cpuMicroseconds(payd().pid) - before.cpu, rss: rssKib(payd().pid) - before.rss, posts: relay.posts - before.posts };

  relay.clear();
  const back = performance.now();
  const ready = waitUntil('payd to be ready', async () => (await chainReady()) && since(back), { every: 20 });
  const sells = waitUntil('quotes to be given', async () => (await selling()) && since(back), { every: 20 });
  await late.waitPayment(open);
  const activated = since(back);
  await late.token();
  await waitUntil('the call', async () => (await late.call()).status === 200);
  const called = since(back);
  console.log(`The chain away for ${seconds} s:
- /.well-known/octroi says selling: false after ${noticed}, payd's /readyz chain: false after ${unready}
- paid calls: ${said[0]}; tokens: ${said[1]}
- POST /quote: ${said[2]}
- payd: ${cost.posts} tries, ${(cost.cpu / 1000).toFixed(0)} ms of CPU, RSS ${cost.rss >= 0 ? '+' : ''}${cost.rss} KiB
And back:
- payd ready after ${await ready}, selling after ${await sells}
- what was paid meanwhile is activated after ${activated}, and called with after ${called}; ${(await metric('octroi_payd_chain_blocks_total')) - before.blocks} blocks read since it went`);
} finally {
  await stack?.stop();
  relay?.stop();
  removeDirectory(dir);
}
