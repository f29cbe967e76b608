// A proxy in front of some pools, each behind the path of its name.
import { freePort, removeDirectory, temporaryDirectory } from './process.mjs';
import { answering, ask, connect, ok } from './raw.mjs';
import { Service } from './service.mjs';

export class Gate {
  // `pools`: name to the pool's YAML text; `routes`: name to what its route has besides; `root`: more keys of the root.
  constructor({ pools, routes = {}, root = '', workers = 2, ...service }) {
    Object.assign(this, { pools, routes, root, workers, service });
  }

  text() {
    const pools = Object.entries(this.pools).map(([name, pool]) => `  ${name}: ${pool}`);
    const routes = Object.keys(this.pools).map((name) => `  - { path: /${name}, pool: ${name}${this.routes[name] ? `, ${this.routes[name]}` : ''} }`);
    return `
listeners: ["127.0.0.1:${this.port}"]
workers: "${this.workers}"
ops: { address: "127.0.0.1:${this.opsPort}" }
trusted_proxies: [127.0.0.0/8]
access_log: { sample: 0 }
${this.root.includes('timeouts:') ? '' : 'timeouts: { drain_delay: 0s, shutdown: 2s }'}
${this.root}
pools:
${pools.join('\n')}
routes:
${routes.join('\n')}
`;
  }

  async start() {
    this.dir = temporaryDirectory('gate');
    this.port = await freePort();
    this.opsPort = await freePort();
    this.proxy = await new Service('proxy', { dir: this.dir, opsPort: this.opsPort, config: this.text(), ...this.service }).start();
    return this;
  }

  async stop() {
    await this.proxy?.stop();
    removeDirectory(this.dir);
  }

  // One request on a connection of its own; `body` makes a Content-Length.
  ask(path, { method = 'GET', headers = '', body = '' } = {}) {
    const length = body || method !== 'GET' ? `Content-Length: ${Buffer.byteLength(body)}\r\n` : '';
    return ask(this.port, `${method} ${path} HTTP/1.1\r\nHost: test\r\n${length}${headers}\r\n${body}`);
  }

  async text_of(path, options) {
    return (await this.ask(path, options)).body.toString();
  }

  connect() {
    return connect(this.port);
  }

  metric(name, labels) {
    return this.proxy.metric(`octroi_proxy_${name}`, labels);
  }
}

// Origins that answer with their name, and do what `on(request, wire)` says where it is set: it returns the reply.
export async function origins(...names) {
  const all = {};
  for (const name of names) {
    const origin = await answering(async (request, wire) => (origin.on ? origin.on(request, wire) : ok(name))).start();
    origin.url = `http://127.0.0.1:${origin.port}`;
    all[name] = origin;
  }
  all.list = Object.values(all);
  all.urls = `[${all.list.map((origin) => `"${origin.url}"`).join(', ')}]`;
  all.stop = async () => {
    for (const origin of all.list) await origin.stop().catch(() => {});
  };
  return all;
}

// A promise that is kept by calling its `open`.
export function latch() {
  let open;
  const promise = new Promise((resolve) => {
    open = resolve;
  });
  promise.open = open;
  return promise;
}

export const tally = (values) => values.reduce((counts, value) => ({ ...counts, [value]: (counts[value] ?? 0) + 1 }), {});
