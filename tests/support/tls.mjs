// TLS by hand: a client and an origin whose every byte a test can see.
import net from 'node:net';
import { Duplex } from 'node:stream';
import tls from 'node:tls';

import { Wire } from './raw.mjs';

// A Wire over TLS; `wire.socket` is node's TLSSocket. Rejects where the handshake fails.
export const connectTls = (port, options = {}) =>
  new Promise((resolve, reject) => {
    const socket = tls.connect({ port, host: '127.0.0.1', servername: 'default.test', ...options }, () => resolve(new Wire(socket)));
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed in the handshake')));
  });

export async function askTls(port, bytes, options) {
  const wire = await connectTls(port, options);
  try {
    wire.write(bytes);
    return await wire.response();
  } finally {
    wire.close();
  }
}

// Passes what is written on to a socket in pieces of `size` bytes, each in a packet of its own.
export class Trickle extends Duplex {
  constructor(port, size) {
    super();
    this.size = size;
    this.socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    this.socket.on('data', (data) => this.push(data));
    this.socket.on('end', () => this.push(null));
    this.socket.on('error', (error) => this.destroy(error));
  }

  _read() {}

  _write(data, encoding, done) {
    const next = (at) => {
      if (at >= data.length) return done();
      return this.socket.write(data.subarray(at, at + this.size), () => setImmediate(next, at + this.size));
    };
    next(0);
  }

  _final(done) {
    this.socket.end(done);
  }

  _destroy(error, done) {
    this.socket.destroy();
    done(error);
  }
}

// Runs `handle(wire, raw, origin)` for each connection: `raw` is the TCP socket below.
export class TlsOrigin {
  constructor(options, handle) {
    Object.assign(this, { options, handle, connections: 0, handshakes: 0, resumed: 0, sockets: new Set() });
    this.server = net.createServer({ noDelay: true }, (raw) => {
      this.connections += 1;
      this.sockets.add(raw);
      raw.on('close', () => this.sockets.delete(raw));
      raw.on('error', () => {});
    });
    // tls.Server keeps the ticket keys; the connection is ours.
    this.secure = tls.createServer(options, (socket) => {
      this.handshakes += 1;
      if (socket.isSessionReused()) this.resumed += 1;
      socket.on('error', () => {});
      Promise.resolve(this.handle(new Wire(socket), socket, this)).catch(() => {});
    });
    this.secure.on('tlsClientError', () => {});
    this.server.on('connection', (raw) => this.secure.emit('connection', raw));
  }

  async start() {
    await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    this.port = this.server.address().port;
    return this;
  }

  // Ends every connection below TLS: nothing is announced.
  cutAll() {
    for (const socket of this.sockets) socket.end();
  }

  async stop() {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
