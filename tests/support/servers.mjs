// The third-party servers, each a real one on a free port with its state in a directory of its own.
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { Process, canConnect, freePort, root } from './process.mjs';

export const roles = ['quoted', 'payd', 'subd', 'adminsvc'];
export const busUsers = ['proxy', 'quoted', 'payd', 'subd', 'adminsvc'];
const PG_BIN = process.env.OCTROI_PG_BIN || '/usr/lib/postgresql/15/bin';

// PostgreSQL refuses root: as root it runs as the user `postgres`, in a directory that this user can reach.
function asPostgres(command, args) {
  if (process.getuid() !== 0) return [command, args];
  return ['setpriv', ['--reuid=postgres', '--regid=postgres', '--clear-groups', '--', command, ...args]];
}

export class Postgres {
  constructor({ dir, port, detached = false, password = 'postgres', passwords = {}, durable = false }) {
    Object.assign(this, { dir, port, detached, password, durable });
    this.passwords = Object.fromEntries(roles.map((role) => [role, passwords[role] ?? `${role}-password`]));
  }

  conninfo(role) {
    return `postgresql://octroi_${role}:${this.passwords[role]}@127.0.0.1:${this.port}/octroi`;
  }

  initialise() {
    const data = join(this.dir, 'data');
    mkdirSync(this.dir, { recursive: true });
    const pwfile = join(this.dir, 'superuser');
    writeFileSync(pwfile, this.password, { mode: 0o600 });
    if (process.getuid() === 0) {
      const uid = Number(execFileSync('id', ['-u', 'postgres']).toString());
      const gid = Number(execFileSync('id', ['-g', 'postgres']).toString());
      chmodSync(this.dir, 0o755);
      chownSync(this.dir, uid, gid);
      chownSync(pwfile, uid, gid);
    }
    const args = ['-D', data, '-U', 'postgres', '-A', 'scram-sha-256', `--pwfile=${pwfile}`, '-E', 'UTF8', '--locale=C.UTF-8'];
    if (!this.durable) args.push('--no-sync');
    const [command, argv] = asPostgres(join(PG_BIN, 'initdb'), args);
    execFileSync(command, argv, { stdio: 'pipe', cwd: '/' });
    return data;
  }

  async start() {
    this.port ??= await freePort();
    const data = join(this.dir, 'data');
    const fresh = !existsSync(join(data, 'PG_VERSION'));
    if (fresh) this.initialise();
    const args = ['-D', data, '-p', String(this.port), '-k', this.dir, '-c', 'listen_addresses=127.0.0.1', '-c', 'max_connections=200'];
    if (!this.durable) args.push('-c', 'fsync=off', '-c', 'full_page_writes=off');
    const [command, argv] = asPostgres(join(PG_BIN, 'postgres'), args);
    this.process = new Process('postgres', command, argv, { dir: `${this.dir}-log`, detached: this.detached, cwd: '/' });
    await this.process.ensure();
    await this.process.waitReady(() => this.sql('select 1', { database: 'postgres' }));
    this.bootstrap();
    return this;
  }

  // Roles, database and schemas: the same file as in the containers.
  bootstrap() {
    const args = ['-v', 'ON_ERROR_STOP=1', '-f', join(root, 'compose/postgres/bootstrap.sql')];
    for (const role of roles) args.push('-v', `${role}_password=${this.passwords[role]}`);
    this.psql(args, 'postgres');
  }

  psql(args, database, user = 'postgres', password = this.password) {
    return execFileSync('psql', ['-X', '-q', '-h', '127.0.0.1', '-p', String(this.port), '-U', user, '-d', database, ...args], {
      env: { ...process.env, PGPASSWORD: password },
      stdio: 'pipe',
    }).toString();
  }

  // Rows as objects. For tests and tools; values only from our own code.
  rows(query, { database = 'octroi' } = {}) {
    const text = this.psql(['-At', '-v', 'ON_ERROR_STOP=1', '-c', `select coalesce(json_agg(t), '[]') from (${query}) t`], database);
    return JSON.parse(text);
  }

  sql(statement, { database = 'octroi' } = {}) {
    return this.psql(['-At', '-v', 'ON_ERROR_STOP=1', '-c', statement], database).trim() || true;
  }

  async stop(signal = 'SIGINT') {
    await this.process?.stop({ signal });
  }
}

export class Redis {
  constructor({ dir, port, detached = false }) {
    Object.assign(this, { dir, port, detached });
  }

  get url() {
    return `redis://127.0.0.1:${this.port}`;
  }

  async start() {
    this.port ??= await freePort();
    mkdirSync(this.dir, { recursive: true });
    this.process = new Process('redis', 'redis-server',
      ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.dir, '--save', '', '--appendonly', 'no'],
      { dir: this.dir, detached: this.detached });
    await this.process.ensure();
    await this.process.waitReady(() => canConnect(this.port));
    return this;
  }

  command(...args) {
    return execFileSync('redis-cli', ['-p', String(this.port), ...args]).toString().trim();
  }

  async stop() {
    await this.process?.stop();
  }
}

export class Nats {
  constructor({ dir, port, detached = false, passwords = {} }) {
    Object.assign(this, { dir, port, detached });
    this.passwords = Object.fromEntries(busUsers.map((user) => [user, passwords[user] ?? `${user}-password`]));
  }

  get url() {
    return `nats://127.0.0.1:${this.port}`;
  }

  credentials(user) {
    return `${user}:${this.passwords[user]}`;
  }

  // The shipped configuration; in tests with one more user, who may look into the streams.
  configuration() {
    const shipped = join(root, 'compose/nats/nats.conf');
    if (this.detached) return shipped;
    const file = join(this.dir, 'nats.conf');
    writeFileSync(file, readFileSync(shipped, 'utf8').replace('users: [', 'users: [\n    { user: tester, password: tester }'));
    return file;
  }

  async start() {
    this.port ??= await freePort();
    mkdirSync(this.dir, { recursive: true });
    const env = { NATS_STORE_DIR: join(this.dir, 'jetstream') };
    for (const user of busUsers) env[`NATS_${user.toUpperCase()}_PASSWORD`] = JSON.stringify(this.passwords[user]);
    this.process = new Process('nats', 'nats-server', ['-c', this.configuration(), '-a', '127.0.0.1', '-p', String(this.port)],
      { dir: this.dir, detached: this.detached, env });
    await this.process.ensure();
    await this.process.waitReady(() => canConnect(this.port));
    return this;
  }

  async stop() {
    await this.process?.stop();
  }
}

// The accounts of anvil's well-known development mnemonic: worth nothing anywhere.
export const accounts = [
  '0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80',
  '0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d',
  '0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a',
  '0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6',
  '0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a',
];

// Deploys the contracts and a development stablecoin from the first development account; finds them where `file` names them already.
export function deployContracts({ rpcUrl, file, signer, payee, operator, receiptSigner }) {
  execFileSync('node', [join(root, 'contracts/script/deploy.mjs')], {
    env: {
      ...process.env,
      OCTROI_RPC_URL: rpcUrl,
      OCTROI_DEPLOYER_KEY: accounts[0],
      OCTROI_SIGNER_ADDRESS: signer,
      OCTROI_PAYEE: payee,
      OCTROI_OPERATOR: operator,
      ...(receiptSigner ? { OCTROI_RECEIPT_SIGNER: receiptSigner } : {}),
      OCTROI_FEE_BPS: '100',
      OCTROI_TOKENS: 'dev',
      OCTROI_DEPLOYMENT_FILE: file,
    },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return JSON.parse(readFileSync(file, 'utf8'));
}

export class Chain {
  constructor({ dir, port, detached = false, chainId = 4441, blockTime = 0, env = {} }) {
    Object.assign(this, { dir, port, detached, chainId, blockTime, env });
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  get deploymentFile() {
    return join(this.dir, 'deployment.json');
  }

  async start() {
    this.port ??= await freePort();
    mkdirSync(this.dir, { recursive: true });
    const anvil = join(root, `node_modules/@foundry-rs/anvil-linux-${process.arch === 'x64' ? 'amd64' : process.arch}/bin/anvil`);
    const args = ['--port', String(this.port), '--host', '127.0.0.1', '--chain-id', String(this.chainId), '--state', join(this.dir, 'state.json'), '--state-interval', '2'];
    if (this.blockTime) args.push('--block-time', String(this.blockTime), '--mixed-mining');
    this.process = new Process('anvil', anvil, args, { dir: this.dir, detached: this.detached });
    await this.process.ensure();
    await this.process.waitReady(() => this.rpc('eth_chainId'));
    return this;
  }

  async rpc(method, params = []) {
    const response = await fetch(this.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
    });
    const answer = await response.json();
    if (answer.error) throw new Error(`${method}: ${answer.error.message}`);
    return answer.result ?? true;
  }

  async mine(blocks = 1) {
    await this.rpc('anvil_mine', [`0x${blocks.toString(16)}`]);
  }

  // `signer` is the quote signer's address.
  deploy({ signer, payee, operator, receiptSigner }) {
    return deployContracts({ rpcUrl: this.url, file: this.deploymentFile, signer, payee, operator, receiptSigner });
  }

  async stop() {
    await this.process?.stop();
  }
}
