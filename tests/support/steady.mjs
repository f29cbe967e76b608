// A client that behaves, while others do not: it asks again and again, on a kept connection and on new ones, and remembers what went wrong.
import { ask, connect } from './raw.mjs';

export class Steady {
  constructor(port, path = '/') {
    this.port = port;
    this.bytes = `GET ${path} HTTP/1.1\r\nHost: test\r\n\r\n`;
    this.served = 0;
    this.failures = [];
  }

  start() {
    this.running = true;
    this.loops = [this.loop('kept', () => this.kept()), this.loop('new', () => this.fresh())];
    return this;
  }

  async kept() {
    if (!this.wire || this.wire.ended) this.wire = await connect(this.port);
    await this.wire.write(this.bytes);
    return this.wire.response();
  }

  fresh() {
    return ask(this.port, this.bytes);
  }

  async loop(what, turn) {
    while (this.running) {
      const began = Date.now();
      try {
        const { status } = await turn();
        if (status === 200) this.served += 1;
        else this.failures.push(`status ${status}`);
      } catch (error) {
        this.failures.push(`${what} connection, after ${Date.now() - began} ms: ${error.message}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  async stop() {
    this.running = false;
    await Promise.all(this.loops);
    this.wire?.close();
    return this;
  }
}
