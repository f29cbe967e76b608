// Owns one of our services: its configuration as a file or from the environment, its ops port, its readiness.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { Process, root } from './process.mjs';

// The build that tests run: sanitizers on, unless the environment names another by the time it is asked.
export const binary = (service) => join(process.env.OCTROI_BIN || join(root, 'build', process.env.OCTROI_PRESET || 'asan', 'bin'), service);

export class Service {
  // `config` is YAML text (written to a file), or undefined to use `configFile`; null: the environment alone.
  constructor(service, { dir, name = service, config, configFile = join(root, 'config', `${service}.yaml`), env = {}, opsPort, detached = false, args = [], wrap = [] }) {
    Object.assign(this, { service, name, dir, config, configFile, env, opsPort, detached, args, wrap });
  }

  get ops() {
    return `http://127.0.0.1:${this.opsPort}`;
  }

  get pid() {
    return this.process?.pid;
  }

  prepare() {
    if (!existsSync(binary(this.service))) throw new Error(`${binary(this.service)} is not built`);
    if (this.config) {
      this.configFile = join(this.dir, `${this.name}.yaml`);
      writeFileSync(this.configFile, this.config, { mode: 0o600 });
    }
    const env = { UBSAN_OPTIONS: 'print_stacktrace=1', ASAN_OPTIONS: 'detect_leaks=1', ...this.env };
    // `wrap`: a program that runs it, with its own arguments.
    const [command, ...args] = [...this.wrap, binary(this.service), ...(this.config === null ? [] : ['-c', this.configFile]), ...this.args];
    this.process = new Process(this.name, command, args, { dir: this.dir, env, detached: this.detached });
    return this;
  }

  spawn() {
    this.prepare();
    this.process.spawn();
    return this;
  }

  async start() {
    if (this.detached) {
      this.prepare();
      await this.process.ensure();
    } else this.spawn();
    await this.ready();
    return this;
  }

  async ready() {
    await this.process.waitReady(async () => (await fetch(`${this.ops}/readyz`)).status === 200);
  }

  async alive() {
    await this.process.waitReady(async () => (await fetch(`${this.ops}/livez`)).status === 200);
  }

  async metrics() {
    return (await fetch(`${this.ops}/metrics`)).text();
  }

  // The sum of a metric's series whose label text contains `labels`.
  async metric(name, labels = '') {
    let sum = 0;
    for (const line of (await this.metrics()).split('\n')) {
      const match = line.match(/^([a-z0-9_]+)(\{[^}]*\})? (\S+)/);
      if (match && match[1] === name && (match[2] ?? '').includes(labels)) sum += Number(match[3]);
    }
    return sum;
  }

  logContains(pattern) {
    return this.process.logContains(pattern);
  }

  kill() {
    return this.process.kill();
  }

  async stop(options) {
    await this.process?.stop(options);
  }
}
