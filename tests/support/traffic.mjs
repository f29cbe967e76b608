// Load that notices every loss: connections that are kept and ones that are new for each request, until it is stopped.
// Each answer must be a 200 whose body is what the path asked for; whatever else happens is kept as a failure.
import { connect } from './raw.mjs';

export class Traffic {
  constructor(port, { kept = 8, fresh = 4, path = () => '/', check = (response) => response.status === 200 } = {}) {
    Object.assign(this, { port, kept, fresh, path, check, served: 0, connections: 0, failures: [], running: false, longest: 0 });
  }

  start() {
    this.running = true;
    const loops = [];
    for (let i = 0; i < this.kept; i += 1) loops.push(this.keep());
    for (let i = 0; i < this.fresh; i += 1) loops.push(this.renew());
    this.ended = Promise.all(loops);
    return this;
  }

  async ask(wire, close) {
    const path = this.path();
    const began = Date.now();
    wire.write(`GET ${path} HTTP/1.1\r\nHost: test\r\n${close ? 'Connection: close\r\n' : ''}\r\n`);
    const response = await wire.response();
    this.longest = Math.max(this.longest, Date.now() - began);
    if (this.check(response, path)) this.served += 1;
    else this.fail(`${path}: ${response.text}${response.body}`);
    return response.headers.connection !== 'close';
  }

  fail(what) {
    if (this.failures.length < 20) this.failures.push(`${new Date().toISOString()} ${what}`);
  }

  async open() {
    const wire = await connect(this.port);
    this.connections += 1;
    return wire;
  }

  async keep() {
    let wire = null;
    let used = 0;
    while (this.running) {
      try {
        if (!wire) {
          wire = await this.open();
          used = 0;
        }
        used += 1;
        if (await this.ask(wire, false)) continue;
      } catch (error) {
        this.fail(`kept, request ${used} of its connection: ${error.message}`);
      }
      wire?.close();
      wire = null;
    }
    wire?.close();
  }

  async renew() {
    while (this.running) {
      let wire;
      try {
        wire = await this.open();
        await this.ask(wire, true);
      } catch (error) {
        this.fail(`new connection: ${error.message}`);
      }
      wire?.close();
    }
  }

  async stop() {
    this.running = false;
    await this.ended;
    return this;
  }
}
