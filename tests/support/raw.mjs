// HTTP/1.1 by hand: a client and an origin that send exactly the bytes a test says.
import net from 'node:net';

import { freePort } from './process.mjs';

// What is not answered fails its test instead of holding up the whole run; no measurement.
const PATIENCE_MS = 60_000;

// Bytes as they come, asked for by count or up to a mark.
export class Wire {
  constructor(socket) {
    this.socket = socket;
    this.parts = []; // put together when they are looked at: bodies of megabytes come in thousands of them
    this.length = 0;
    this.ended = false;
    this.error = null;
    this.wake = () => {};
    socket.on('data', (bytes) => {
      this.parts.push(bytes);
      this.length += bytes.length;
      this.wake();
    });
    const end = (error) => {
      if (error instanceof Error) this.error = error;
      this.ended = true;
      this.wake();
    };
    socket.on('end', end);
    socket.on('close', end);
    socket.on('error', end);
  }

  // What came and was not taken yet.
  get data() {
    if (this.parts.length !== 1) this.parts = [Buffer.concat(this.parts)];
    return this.parts[0];
  }

  set data(bytes) {
    this.parts = [bytes];
    this.length = bytes.length;
  }

  write(bytes) {
    return new Promise((resolve) => this.socket.write(bytes, () => resolve()));
  }

  async more() {
    if (this.ended) throw new Error(`connection ended${this.error ? `: ${this.error.message}` : ''} after ${JSON.stringify(this.data.toString('latin1').slice(0, 300))}`);
    let quiet;
    await new Promise((resolve, reject) => {
      this.wake = resolve;
      quiet = setTimeout(reject, PATIENCE_MS, new Error(`nothing came for ${PATIENCE_MS} ms after ${JSON.stringify(this.data.toString('latin1').slice(0, 300))}`));
    }).finally(() => clearTimeout(quiet));
  }

  async upTo(mark) {
    for (;;) {
      const at = this.data.indexOf(mark);
      if (at >= 0) {
        const bytes = this.data.subarray(0, at + mark.length);
        this.data = this.data.subarray(at + mark.length);
        return bytes.toString('latin1');
      }
      await this.more();
    }
  }

  async take(count) {
    while (this.length < count) await this.more();
    const bytes = this.data.subarray(0, count);
    this.data = this.data.subarray(count);
    return bytes;
  }

  async rest() {
    while (!this.ended) await this.more();
    const bytes = this.data;
    this.data = Buffer.alloc(0);
    return bytes;
  }

  async chunked() {
    const parts = [];
    for (;;) {
      const size = parseInt(await this.upTo('\r\n'), 16);
      if (size === 0) break;
      parts.push(await this.take(size));
      await this.take(2);
    }
    const trailers = [];
    for (;;) {
      const line = await this.upTo('\r\n');
      if (line === '\r\n') return { body: Buffer.concat(parts), trailers };
      trailers.push(line.trim());
    }
  }

  // A message's head: start line and headers by lower-case name (repeated ones joined by ", ").
  async head() {
    const text = await this.upTo('\r\n\r\n');
    const [line, ...fields] = text.slice(0, -4).split('\r\n');
    const headers = {};
    for (const field of fields) {
      const at = field.indexOf(':');
      const name = field.slice(0, at).toLowerCase();
      const value = field.slice(at + 1).trim();
      headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
    }
    return { line, headers, text };
  }

  async response({ head = false } = {}) {
    const { line, headers, text } = await this.head();
    const status = Number(line.split(' ')[1]);
    let body = Buffer.alloc(0);
    let trailers = [];
    if (!head && status >= 200 && status !== 204 && status !== 304) {
      if (headers['transfer-encoding']) ({ body, trailers } = await this.chunked());
      else if ('content-length' in headers) body = await this.take(Number(headers['content-length']));
      else body = await this.rest();
    }
    return { status, line, headers, text, body, trailers, json: () => JSON.parse(body.toString()) };
  }

  async request() {
    const { line, headers, text } = await this.head();
    const [method, target] = line.split(' ');
    let body = Buffer.alloc(0);
    let trailers = [];
    if (headers['transfer-encoding']) ({ body, trailers } = await this.chunked());
    else if (headers['content-length']) body = await this.take(Number(headers['content-length']));
    return { method, target, line, headers, text, body, trailers };
  }

  close() {
    this.socket.destroy();
  }

  // As a crashed peer's kernel would.
  reset() {
    this.socket.resetAndDestroy();
  }
}

export const connect = (port, host = '127.0.0.1') =>
  new Promise((resolve, reject) => {
    const socket = net.connect({ port, host, noDelay: true }, () => resolve(new Wire(socket)));
    socket.once('error', reject);
  });

// One exchange on a connection of its own.
export async function ask(port, bytes, options) {
  const wire = await connect(port);
  try {
    wire.write(bytes);
    return await wire.response(options);
  } finally {
    wire.close();
  }
}

// Runs `handle(wire, origin)` for each connection; what it throws when the peer leaves is dropped.
export class RawOrigin {
  constructor(handle, options = {}) {
    this.handle = handle;
    this.connections = 0;
    this.requests = [];
    this.sockets = new Set();
    this.server = net.createServer({ noDelay: true, ...options }, (socket) => {
      this.connections += 1;
      this.sockets.add(socket);
      socket.on('close', () => this.sockets.delete(socket));
      Promise.resolve(this.handle(new Wire(socket), this)).catch(() => {});
    });
  }

  // Started again, it has the port that it had.
  async start() {
    this.port ??= await freePort();
    await new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(this.port, '127.0.0.1', resolve);
    });
    return this;
  }

  async stop() {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

// An origin that answers every request of a connection with `answer(request)`: text or bytes.
export const answering = (answer) =>
  new RawOrigin(async (wire, origin) => {
    for (;;) {
      const request = await wire.request();
      origin.requests.push(request);
      const reply = await answer(request, wire);
      if (reply !== undefined) await wire.write(reply);
    }
  });

export const ok = (body, extra = '') => `HTTP/1.1 200 OK\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${extra}\r\n${body}`;
