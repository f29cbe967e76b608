// HTTP/2 by hand: a client that sends exactly the frames a test says, well-formed or not.
import net from 'node:net';

export const DATA = 0;
export const HEADERS = 1;
export const PRIORITY = 2;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;

export const END_STREAM = 1;
export const ACK = 1;
export const END_HEADERS = 4;

export const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
export const NO_ERROR = 0;
export const PROTOCOL_ERROR = 1;
export const FLOW_CONTROL_ERROR = 3;
export const STREAM_CLOSED = 5;
export const REFUSED_STREAM = 7;
export const CANCEL = 8;
export const ENHANCE_YOUR_CALM = 11;

export function frame(type, flags, stream, payload = Buffer.alloc(0)) {
  const bytes = Buffer.from(payload);
  const head = Buffer.alloc(9);
  head.writeUIntBE(bytes.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, bytes]);
}

const u32 = (value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
};

export const settings = (entries = []) =>
  frame(SETTINGS, 0, 0, Buffer.concat(entries.map(([id, value]) => Buffer.concat([Buffer.from([id >> 8, id & 255]), u32(value)]))));
export const reset = (stream, code = CANCEL) => frame(RST_STREAM, 0, stream, u32(code));
export const windowUpdate = (stream, by) => frame(WINDOW_UPDATE, 0, stream, u32(by));

// HPACK: a length or index behind a prefix of so many bits.
function integer(value, bits, first) {
  const most = (1 << bits) - 1;
  if (value < most) return Buffer.from([first | value]);
  const bytes = [first | most];
  for (value -= most; value >= 128; value >>= 7) bytes.push(128 | (value & 127));
  bytes.push(value);
  return Buffer.from(bytes);
}

const string = (text) => Buffer.concat([integer(Buffer.byteLength(text, 'latin1'), 7, 0), Buffer.from(text, 'latin1')]);

// Literals that leave the table as it is; `indexed` puts one into it, an index (a number) refers to it.
export const header = (name, value) => Buffer.concat([Buffer.from([0]), string(name), string(value)]);
export const indexed = (name, value) => Buffer.concat([Buffer.from([0x40]), string(name), string(value)]);
export const index = (number) => integer(number, 7, 0x80);
export const block = (list) => Buffer.concat(list.map(([name, value]) => header(name, value)));

export const request = (extra = [], { method = 'GET', path = '/', authority = 'test', scheme = 'http' } = {}) => [
  [':method', method],
  [':scheme', scheme],
  [':authority', authority],
  [':path', path],
  ...extra,
];

export const get = (stream, extra, options) => frame(HEADERS, END_HEADERS | END_STREAM, stream, block(request(extra, options)));
export const open = (stream, extra, options) => frame(HEADERS, END_HEADERS, stream, block(request(extra, { method: 'POST', ...options })));

export class RawH2 {
  constructor(socket) {
    this.socket = socket;
    this.data = Buffer.alloc(0);
    this.frames = [];
    this.ended = false;
    this.wake = () => {};
    socket.on('data', (bytes) => this.take(bytes));
    const end = () => {
      this.ended = true;
      this.wake();
    };
    for (const event of ['end', 'close', 'error']) socket.on(event, end);
  }

  take(bytes) {
    this.data = Buffer.concat([this.data, bytes]);
    while (this.data.length >= 9 && this.data.length >= 9 + this.data.readUIntBE(0, 3)) {
      const length = this.data.readUIntBE(0, 3);
      this.frames.push({ type: this.data[3], flags: this.data[4], stream: this.data.readUInt32BE(5), payload: Buffer.from(this.data.subarray(9, 9 + length)) });
      this.data = this.data.subarray(9 + length);
    }
    this.wake();
  }

  write(...frames) {
    return new Promise((resolve) => {
      if (this.ended || this.socket.destroyed) resolve();
      else this.socket.write(Buffer.concat(frames.map((bytes) => Buffer.from(bytes))), () => resolve());
    });
  }

  // The next frame that is wanted; those before it are dropped. null: the connection ended first.
  async next(wanted) {
    for (;;) {
      while (this.frames.length) {
        const found = this.frames.shift();
        if (wanted(found)) return found;
      }
      if (this.ended) return null;
      await new Promise((resolve) => {
        this.wake = resolve;
      });
    }
  }

  async goaway() {
    const found = await this.next(({ type, payload }) => type === GOAWAY && payload.readUInt32BE(0) !== 0x7fffffff);
    return found && { last: found.payload.readUInt32BE(0), code: found.payload.readUInt32BE(4) };
  }

  async resetOf(stream) {
    const found = await this.next((one) => one.type === RST_STREAM && one.stream === stream);
    return found && found.payload.readUInt32BE(0);
  }

  // Status of a stream's head. Of the common ones HPACK has a number; others come as literals.
  async status(stream) {
    const known = { 0x88: 200, 0x89: 204, 0x8a: 206, 0x8b: 304, 0x8c: 400, 0x8d: 404, 0x8e: 500 };
    const found = await this.next((one) => one.type === HEADERS && one.stream === stream);
    if (!found) return null;
    return known[found.payload[0]] ?? -1;
  }

  async end() {
    while (!this.ended) await new Promise((resolve) => { this.wake = resolve; });
  }

  close() {
    this.socket.destroy();
  }
}

// `hello`: the frames that begin the connection.
export const connectH2 = (port, hello = [settings()]) =>
  new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true }, () => {
      const raw = new RawH2(socket);
      raw.write(PREFACE, ...hello);
      resolve(raw);
    });
    socket.once('error', reject);
  });
