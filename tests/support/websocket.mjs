// WebSockets by hand: frames that a library would not write, and their reading.
import { createHash, randomBytes } from 'node:crypto';

import { connect } from './raw.mjs';

export const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
export const accept = (key) => createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');

export const upgrade = (path, extra = '', { key = KEY, version = '13', connection = 'Upgrade', token = 'websocket' } = {}) =>
  `GET ${path} HTTP/1.1\r\nHost: test\r\nConnection: ${connection}\r\nUpgrade: ${token}\r\nSec-WebSocket-Version: ${version}\r\nSec-WebSocket-Key: ${key}\r\n${extra}\r\n`;

export const switching = (request, extra = '') =>
  `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept(request.headers['sec-websocket-key'])}\r\n${extra}\r\n`;

export const OP = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 };

export function frame(opcode, payload = '', { fin = true, masked = false, rsv = 0 } = {}) {
  const body = Buffer.from(payload);
  const first = (fin ? 0x80 : 0) | rsv | opcode;
  let head;
  if (body.length < 126) head = Buffer.from([first, body.length]);
  else if (body.length < 65536) head = Buffer.from([first, 126, body.length >> 8, body.length & 255]);
  else {
    head = Buffer.alloc(10);
    head[0] = first;
    head[1] = 127;
    head.writeBigUInt64BE(BigInt(body.length), 2);
  }
  if (!masked) return Buffer.concat([head, body]);
  head[1] |= 0x80;
  const mask = randomBytes(4);
  return Buffer.concat([head, mask, body.map((byte, i) => byte ^ mask[i & 3])]);
}

export const closing = (code, reason = '', options = {}) => frame(OP.close, Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]), options);

// The next frame of a Wire.
export async function readFrame(wire) {
  const [first, second] = await wire.take(2);
  let length = second & 127;
  if (length === 126) length = (await wire.take(2)).readUInt16BE();
  else if (length === 127) length = Number((await wire.take(8)).readBigUInt64BE());
  const mask = second & 128 ? await wire.take(4) : null;
  const body = await wire.take(length);
  const payload = mask ? Buffer.from(body.map((byte, i) => byte ^ mask[i & 3])) : body;
  const read = { fin: (first & 128) !== 0, rsv: first & 0x70, opcode: first & 15, masked: mask !== null, payload };
  if (read.opcode === OP.close && length >= 2) Object.assign(read, { code: payload.readUInt16BE(), reason: payload.subarray(2).toString() });
  return read;
}

// A raw client whose handshake has succeeded.
export async function open(port, path, extra = '', early = '') {
  const wire = await connect(port);
  wire.write(Buffer.concat([Buffer.from(upgrade(path, extra)), Buffer.from(early)]));
  const response = await wire.response({ head: true });
  if (response.status !== 101) throw new Error(`no switch: ${response.text}`);
  return Object.assign(wire, { response });
}
