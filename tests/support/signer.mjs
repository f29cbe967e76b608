// Owns one signer: tests/support/signer_probe.c, which starts the real payd-signer as payd does, and talks to it line by line.
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { root } from './process.mjs';
import { binary } from './service.mjs';

export const cast = (...args) => execFileSync(join(root, 'node_modules/@foundry-rs/cast-linux-amd64/bin/cast'), args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();

export class Signer {
  // options: as signer_probe.c reads them, over these.
  constructor(options) {
    this.options = { chain_id: '4441', contract: '0x5fbdb2315678afecb367f032d93f642f64180aa3', max_fee: '200000000000', max_priority_fee: '2000000000', max_gas: '500000', budget: '1000000000', ...options };
    this.health = [];
    this.log = '';
  }

  // The address, or an error as signer_start says it.
  async start() {
    this.process = spawn(binary('signer_probe'), [JSON.stringify(this.options)], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, OCTROI_POSTGRES: 'a-secret-of-payd' },
    });
    this.ended = new Promise((resolve) => this.process.once('exit', (code, signal) => resolve(signal ?? code)));
    this.process.stderr.on('data', (text) => (this.log += text));
    this.process.stdin.on('error', () => {});
    this.lines = createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
    const { address, error } = await this.answer();
    if (error) {
      await this.ended;
      throw new Error(error);
    }
    this.address = address;
    return this;
  }

  async answer() {
    for (;;) {
      const { value, done } = await this.lines.next();
      if (done) throw new Error(`the probe ended: ${this.log}`);
      const said = JSON.parse(value);
      if (said.healthy === undefined) return said;
      this.health.push(said);
    }
  }

  ask(question) {
    this.process.stdin.write(`${JSON.stringify(question)}\n`);
    return this.answer();
  }

  async up() {
    return (await this.ask({ tick: true })).up;
  }

  // A transaction with these members over ones that the policy allows, apart from its data.
  sign(tx) {
    return this.ask({ chain_id: '4441', nonce: '0', priority_fee: '1000000000', max_fee: '30000000000', gas: '200000', to: this.options.contract, value: '0', ...tx });
  }

  // The signer's own process.
  get pid() {
    const { pid } = this.process;
    return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0]);
  }

  async stop() {
    this.process?.stdin.end();
    const code = await this.ended;
    if (/AddressSanitizer|runtime error:|LeakSanitizer/.test(this.log)) throw new Error(this.log);
    return code;
  }
}
