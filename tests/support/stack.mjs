// The whole stack on the loopback: third-party servers, contracts, our services, a sample origin. Tests start it on free ports in a temporary
// directory; `make up` on fixed ports, detached, with its state kept.
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { deployForDevelopment, makeSecrets } from '../../compose/init.mjs';
import { Process, freePort, root, waitUntil } from './process.mjs';
import { Chain, Nats, Postgres, Redis, busUsers, roles } from './servers.mjs';
import { Service } from './service.mjs';

const noted = () => {};

export class Stack {
  // ports: by name, free ones where absent. say: told of each step. proxyConfig: YAML in place of config/proxy.yaml.
  constructor({ dir, postgresDir = join(dir, 'postgres'), ports = {}, detached = false, say = noted, blockTime = 0, proxyConfig, chainId = 4441, env = {} }) {
    Object.assign(this, { dir, postgresDir, detached, say, blockTime, proxyConfig, chainId, env });
    this.ports = { ...ports };
    this.services = {};
    this.proxies = [];
  }

  get gateway() {
    return `http://127.0.0.1:${this.ports.proxy}`;
  }

  async port(name) {
    this.ports[name] ??= await freePort();
    return this.ports[name];
  }

  // Passwords are made once and kept beside the state.
  passwords() {
    const file = join(this.secrets, 'passwords.json');
    if (!existsSync(file)) {
      const made = { postgres: {}, nats: {}, superuser: randomBytes(16).toString('hex') };
      for (const role of roles) made.postgres[role] = randomBytes(16).toString('hex');
      for (const user of busUsers) made.nats[user] = randomBytes(16).toString('hex');
      writeFileSync(file, JSON.stringify(made), { mode: 0o600 });
    }
    return JSON.parse(readFileSync(file, 'utf8'));
  }

  async servers() {
    this.secrets = join(this.dir, 'secrets');
    mkdirSync(this.secrets, { recursive: true, mode: 0o700 });
    const passwords = this.passwords();
    const { detached } = this;
    this.postgres = new Postgres({ dir: this.postgresDir, port: await this.port('postgres'), detached, durable: detached, password: passwords.superuser, passwords: passwords.postgres });
    this.redis = new Redis({ dir: join(this.dir, 'redis'), port: await this.port('redis'), detached });
    this.nats = new Nats({ dir: join(this.dir, 'nats'), port: await this.port('nats'), detached, passwords: passwords.nats });
    this.chain = new Chain({ dir: join(this.dir, 'chain'), port: await this.port('chain'), detached, chainId: this.chainId, blockTime: this.blockTime });
    await Promise.all([this.postgres, this.redis, this.nats, this.chain].map(async (server) => {
      await server.start();
      this.say(`${server.constructor.name} on port ${server.port}`);
    }));
  }

  async deploy() {
    const { signer, receiptSigner, wallet } = makeSecrets(this.secrets);
    this.deployment = await deployForDevelopment({ rpcUrl: this.chain.url, signer, receiptSigner, wallet, directory: this.secrets });
    this.say(`contract ${this.deployment.contract} on chain ${this.chainId}, operated by ${wallet}`);
  }

  environment(service) {
    const secret = (name) => join(this.secrets, name);
    return {
      OCTROI_NATS_URL: this.nats.url,
      OCTROI_NATS_CREDENTIALS: this.nats.credentials(service),
      OCTROI_REDIS_URL: this.redis.url,
      OCTROI_RPC_URL: this.chain.url,
      OCTROI_CHAIN_ID: String(this.chainId),
      OCTROI_SECRETS: this.secrets,
      OCTROI_PUBLIC_URL: this.gateway,
      ...(roles.includes(service) ? { OCTROI_POSTGRES: this.postgres.conninfo(service) } : {}),
      [`OCTROI_${service.toUpperCase()}_LISTEN`]: `127.0.0.1:${this.ports[service]}`,
      [`OCTROI_${service.toUpperCase()}_OPS`]: `127.0.0.1:${this.ports[`${service}_ops`]}`,
      OCTROI_ORIGIN_URL: `http://127.0.0.1:${this.ports.origin}`,
      OCTROI_QUOTED_URL: `http://127.0.0.1:${this.ports.quoted}`,
      OCTROI_PAYD_URL: `http://127.0.0.1:${this.ports.payd}`,
      OCTROI_SUBD_URL: `http://127.0.0.1:${this.ports.subd}`,
      OCTROI_JOURNAL: join(this.dir, 'journal'),
      ...this.env,
      ...(service === 'quoted' ? { OCTROI_SIGNER_KEY_FILE: secret('quote-signer.key') } : {}),
      ...(service === 'payd' ? { OCTROI_WALLET_KEYSTORE: secret('wallet.json'), OCTROI_WALLET_PASSWORD_FILE: secret('wallet.password') } : {}),
      ...(service === 'subd' ? { OCTROI_TOKEN_KEY_FILE: secret('token-signer.pem') } : {}),
      ...(service === 'adminsvc' ? { OCTROI_ADMIN_KEY_FILE: secret('admin.key') } : {}),
    };
  }

  // One more instance of a service, on ports of its own.
  async instance(service, name = service, { env = {}, config, ports = {} } = {}) {
    const opsPort = ports.ops ?? (await freePort());
    const port = ports.http ?? (await freePort());
    const upper = service.toUpperCase();
    const instance = new Service(service, {
      dir: join(this.dir, 'services'),
      name,
      config,
      detached: this.detached,
      opsPort,
      env: { ...this.environment(service), [`OCTROI_${upper}_LISTEN`]: `127.0.0.1:${port}`, [`OCTROI_${upper}_OPS`]: `127.0.0.1:${opsPort}`, ...env },
    });
    instance.url = `http://127.0.0.1:${port}`;
    mkdirSync(instance.dir, { recursive: true });
    return instance;
  }

  async start() {
    for (const name of ['proxy', 'proxy_ops', 'origin', ...roles, ...roles.map((role) => `${role}_ops`)]) await this.port(name);
    await this.servers();
    await this.deploy();
    await this.startOrigin();
    await Promise.all(roles.map(async (role) => {
      this.services[role] = await this.instance(role, role, { ports: { http: this.ports[role], ops: this.ports[`${role}_ops`] } });
      await this.services[role].start();
      this.say(`${role} on port ${this.ports[role]}`);
    }));
    // payd serves while the chain is away; a stack that is ready can sell.
    await waitUntil('payd to have read the chain', async () => {
      const { dependencies } = await (await fetch(`${this.services.payd.ops}/readyz`)).json();
      return dependencies.find(({ name }) => name === 'chain')?.ok;
    });
    await waitUntil('quotes to be given', async () => (await (await fetch(`${this.services.quoted.url}/.well-known/octroi`)).json()).status.selling);
    this.proxy = await this.instance('proxy', 'proxy', { config: this.proxyConfig, ports: { http: this.ports.proxy, ops: this.ports.proxy_ops } });
    await this.proxy.start();
    this.say(`proxy on port ${this.ports.proxy}`);
    return this;
  }

  async startOrigin() {
    this.origin = new Process('origin', process.execPath, [join(root, 'tests/support/origin.mjs'), String(this.ports.origin)], { dir: join(this.dir, 'services'), detached: this.detached });
    await this.origin.ensure();
    await this.origin.waitReady(() => this.served().then(() => true));
    this.say(`sample origin on port ${this.ports.origin}`);
  }

  async served() {
    return (await (await fetch(`http://127.0.0.1:${this.ports.origin}/served`)).json()).served;
  }

  // Our services first, then what they need; a sanitizer report in any of them fails the caller.
  async stop() {
    const failures = [];
    const end = (thing) => Promise.resolve(thing?.stop()).catch((error) => failures.push(error));
    await end(this.proxy);
    for (const extra of this.proxies) await end(extra);
    await Promise.all(Object.values(this.services).map(end));
    await Promise.all([this.origin, this.postgres, this.redis, this.nats, this.chain].map(end));
    if (failures.length) throw failures[0];
  }
}
