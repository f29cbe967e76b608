// A NATS client of a few lines, for tests that play one of our services: publish, subscribe, request, and reading a stream.
import net from 'node:net';

export class Bus {
  // `user` is also the inbox prefix, as the server's permissions want it.
  constructor({ port, user, password }) {
    Object.assign(this, { port, user, password });
    this.handlers = new Map();
    this.next = 1;
    this.buffer = Buffer.alloc(0);
    this.errors = [];
  }

  async connect() {
    this.socket = net.connect(this.port, '127.0.0.1');
    this.socket.on('error', (error) => this.errors.push(error.message));
    await new Promise((resolve, reject) => {
      this.socket.once('connect', resolve);
      this.socket.once('error', reject);
    });
    const ready = new Promise((resolve) => { this.onPong = resolve; });
    this.socket.on('data', (data) => this.read(data));
    const hello = { verbose: false, pedantic: false, headers: true, no_responders: true, user: this.user, pass: this.password, lang: 'node', version: '0' };
    this.socket.write(`CONNECT ${JSON.stringify(hello)}\r\nPING\r\n`);
    await ready;
    if (this.errors.length) throw new Error(this.errors.join('; '));
    return this;
  }

  read(data) {
    this.buffer = Buffer.concat([this.buffer, data]);
    for (;;) {
      const end = this.buffer.indexOf('\r\n');
      if (end < 0) return;
      const words = this.buffer.subarray(0, end).toString().split(/\s+/);
      const kind = words[0].toUpperCase();
      if (kind !== 'MSG' && kind !== 'HMSG') {
        this.buffer = this.buffer.subarray(end + 2);
        if (kind === 'PING') this.socket.write('PONG\r\n');
        if (kind === 'PONG') this.onPong?.();
        if (kind === '-ERR') {
          this.errors.push(words.slice(1).join(' '));
          this.onPong?.();
        }
        continue;
      }
      const total = Number(words.at(-1));
      if (this.buffer.length < end + 2 + total + 2) return;
      const body = this.buffer.subarray(end + 2, end + 2 + total);
      this.buffer = this.buffer.subarray(end + 2 + total + 2);
      this.deliver(kind, words, body);
    }
  }

  deliver(kind, words, body) {
    const split = kind === 'HMSG' ? Number(words.at(-2)) : 0;
    const fixed = kind === 'HMSG' ? 5 : 4;
    const head = body.subarray(0, split).toString();
    const headers = Object.fromEntries(head.split('\r\n').slice(1).filter((line) => line.includes(':')).map((line) => {
      const at = line.indexOf(':');
      return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()];
    }));
    const status = /^NATS\/1\.0 (\d+)/.exec(head)?.[1];
    this.handlers.get(words[2])?.({ subject: words[1], reply: words.length > fixed ? words[3] : undefined, status, headers, text: body.subarray(split).toString() });
  }

  subscribe(subject, handler, queue = '') {
    const sid = String(this.next++);
    this.handlers.set(sid, handler);
    this.socket.write(`SUB ${subject} ${queue} ${sid}\r\n`);
    return sid;
  }

  unsubscribe(sid) {
    this.handlers.delete(sid);
    this.socket.write(`UNSUB ${sid}\r\n`);
  }

  publish(subject, body = '', reply = '') {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    this.socket.write(`PUB ${subject} ${reply} ${Buffer.byteLength(text)}\r\n${text}\r\n`);
  }

  request(subject, body = {}, timeout = 5000) {
    const inbox = `_INBOX_${this.user}.${Math.random().toString(36).slice(2)}`;
    return new Promise((resolve, reject) => {
      const sid = this.subscribe(inbox, ({ status, text }) => {
        clearTimeout(late);
        this.unsubscribe(sid);
        if (status) reject(new Error(`${subject}: status ${status}`));
        else resolve(JSON.parse(text));
      });
      const late = setTimeout(() => {
        this.unsubscribe(sid);
        reject(new Error(`${subject}: no answer within ${timeout} ms${this.errors.length ? `: ${this.errors.at(-1)}` : ''}`));
      }, timeout);
      this.publish(subject, body, inbox);
    });
  }

  // Every message that a stream holds.
  async messages(stream) {
    const name = `all${Math.random().toString(36).slice(2)}`;
    const config = { name, deliver_policy: 'all', ack_policy: 'none', inactive_threshold: 10_000_000_000 };
    const made = await this.request(`$JS.API.CONSUMER.CREATE.${stream}.${name}`, { stream_name: stream, config });
    if (made.error) throw new Error(JSON.stringify(made.error));
    const inbox = `_INBOX_${this.user}.${name}`;
    const found = [];
    await new Promise((resolve) => {
      const sid = this.subscribe(inbox, (message) => {
        if (message.status) {
          this.unsubscribe(sid);
          resolve();
        } else found.push({ ...message, body: JSON.parse(message.text) });
      });
      this.publish(`$JS.API.CONSUMER.MSG.NEXT.${stream}.${name}`, { batch: 10_000, no_wait: true }, inbox);
    });
    return found;
  }

  close() {
    this.socket?.destroy();
  }
}
