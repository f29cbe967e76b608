// A proxy that speaks HTTP/2 with and without TLS, before an origin that echoes and one that does what a test says; and node's client for it.
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';

import { Authority } from './certificates.mjs';
import { freePort, removeDirectory, temporaryDirectory, waitUntil } from './process.mjs';
import { RawOrigin, answering, ok } from './raw.mjs';
import { Service } from './service.mjs';

export class Http2Gate {
  async start() {
    this.dir = temporaryDirectory('http2');
    this.origin = await answering((request) =>
      ok(JSON.stringify({ line: request.line, headers: request.headers, body: request.body.toString('latin1'), trailers: request.trailers })),
    ).start();
    this.raw = await new RawOrigin((wire, self) => this.rawHandle(wire, self)).start();
    this.authority = new Authority(this.dir);
    this.leaf = this.authority.issue('api', ['DNS:localhost', 'IP:127.0.0.1']);
    Object.assign(this, await this.ports());
    this.proxy = await new Service('proxy', { dir: this.dir, opsPort: this.opsPort, config: this.config(this) }).start();
    return this;
  }

  async ports() {
    return { port: await freePort(), tlsPort: await freePort(), opsPort: await freePort() };
  }

  config({ port, tlsPort, opsPort }) {
    return `
listeners:
  - "127.0.0.1:${port}"
  - { address: "127.0.0.1:${tlsPort}", tls: { certificate: "${this.leaf.certificate}", key: "${this.leaf.key}" } }
workers: "1"
ops: { address: "127.0.0.1:${opsPort}" }
limits: { header_bytes: 8KiB, headers: 40, uri_bytes: 1KiB }
timeouts: { drain_delay: 0s, shutdown: 2s, request_head: 1s, request_body_idle: 1s, response_write_idle: 1s, keepalive_idle: 3s }
pools:
  echo: { backends: ["http://127.0.0.1:${this.origin.port}"] }
  raw: { backends: ["http://127.0.0.1:${this.raw.port}"], timeouts: { response_head: 2s, body_idle: 5s } }
routes:
  - { path: /, pool: echo }
  - { path: /raw, pool: raw }
  - { path: /ws, pool: raw, protocols: [websocket] }
  - { path: /small, pool: echo, limits: { body_bytes: 10 } }
`;
  }

  async stop() {
    await this.origin?.stop();
    await this.raw?.stop();
    await this.proxy?.stop();
    removeDirectory(this.dir);
  }

  // What the raw origin does from here on; connections of an earlier test are gone before the next begins.
  async serve(handle) {
    this.rawHandle = handle;
    for (const socket of this.raw.sockets) socket.destroy();
    await waitUntil('no connection to the raw origin', async () => (await this.proxy.metric('octroi_proxy_upstream_connections', 'pool="raw"')) === 0);
  }

  rss() {
    return Number(readFileSync(`/proc/${this.proxy.pid}/statm`, 'utf8').split(' ')[1]) * 4096;
  }

  idle() {
    return waitUntil('no request in flight', async () => (await this.proxy.metric('octroi_proxy_requests_in_flight')) === 0);
  }

  abuses(kind) {
    return this.proxy.metric('octroi_proxy_http2_abuses_total', `kind="${kind}"`);
  }

  async session(options) {
    const client = http2.connect(`http://127.0.0.1:${this.port}`, options);
    client.on('error', () => {});
    await new Promise((resolve, reject) => {
      client.once('connect', resolve);
      client.once('error', reject);
    });
    return client;
  }

  // On a connection of its own.
  async ask(headers, options) {
    const client = await this.session();
    try {
      return await fetch2(client, headers, options);
    } finally {
      client.destroy();
    }
  }
}

// One request of a session: everything that came back.
export function fetch2(client, headers, { body, trailers } = {}) {
  return new Promise((resolve, reject) => {
    const stream = client.request({ ':path': '/', ...headers }, { endStream: body === undefined && !trailers, waitForTrailers: Boolean(trailers) });
    const got = { interim: [], trailers: null };
    const parts = [];
    if (trailers) stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    stream.on('headers', (head) => got.interim.push(head));
    stream.on('response', (head) => {
      got.headers = head;
      got.status = head[':status'];
    });
    stream.on('trailers', (head) => { got.trailers = head; });
    stream.on('data', (bytes) => parts.push(bytes));
    stream.on('error', reject);
    stream.on('close', () => {
      const body = Buffer.concat(parts);
      resolve({ ...got, body, code: stream.rstCode, json: () => JSON.parse(body.toString()) });
    });
    if (body !== undefined || trailers) stream.end(body);
  });
}
