// Owns one real process: a log file, readiness, a clean stop, and a failure on any sanitizer report.
import { spawn } from 'node:child_process';
import { createHash, randomInt } from 'node:crypto';
import { chmodSync, closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function within(ms, what, promise) {
  let late;
  try {
    return await Promise.race([promise, new Promise((resolve, reject) => { late = setTimeout(reject, ms, new Error(`no answer about ${what}`)); })]);
  } finally {
    clearTimeout(late);
  }
}

// Asks until it is truthy; an exception counts as not yet. The limit only bounds a failure, it is not a measurement.
export async function waitUntil(what, ask, { timeout = 60_000, every = 25 } = {}) {
  const end = Date.now() + timeout;
  let last;
  for (;;) {
    try {
      const value = await within(Math.max(end - Date.now(), 1000), what, ask());
      if (value) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`waited ${timeout} ms for ${what}${last ? `: ${last.message}` : ''}`);
    await sleep(every);
  }
}

// Below the kernel's ephemeral ports: one of those may be the near end of somebody's connection a moment later. A process has blocks of them to itself
// while it lives: it listens on the first of each, so that no test file beside it takes what is to be listened on later, or again, or never.
const BLOCKS = { from: 11_000, count: 210, size: 100 };
const mine = [];
let taking = null;

const listener = (port) =>
  new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', () => resolve(null));
    server.listen(port, '127.0.0.1', () => resolve(server));
  });

async function takeBlock() {
  const start = randomInt(BLOCKS.count);
  for (let i = 0; i < BLOCKS.count; i += 1) {
    const first = BLOCKS.from + ((start + i) % BLOCKS.count) * BLOCKS.size;
    const held = await listener(first);
    if (!held) continue;
    held.unref();
    for (let port = first + 1; port < first + BLOCKS.size; port += 1) mine.push(port);
    return;
  }
  throw new Error('no free port found');
}

export async function freePort() {
  for (;;) {
    while (mine.length === 0) await (taking ??= takeBlock().finally(() => { taking = null; }));
    const port = mine.shift();
    const server = await listener(port);
    if (server) return new Promise((resolve) => server.close(() => resolve(port)));
  }
}

export const canConnect = (port, host = '127.0.0.1') =>
  new Promise((resolve) => {
    const socket = net.connect({ port, host });
    const done = (ok) => {
      socket.destroy();
      resolve(ok);
    };
    socket.once('connect', () => done(true));
    socket.once('error', () => done(false));
  });

// Readable for all: PostgreSQL runs as another user.
export function temporaryDirectory(name) {
  const path = mkdtempSync(join(tmpdir(), `octroi-${name}-`));
  chmodSync(path, 0o755);
  return path;
}

export function removeDirectory(path) {
  rmSync(path, { recursive: true, force: true, maxRetries: 5 });
}

// When a process started, in the kernel's ticks: with the pid, its identity.
function started(pid) {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')[19];
  } catch {
    return null;
  }
}

// Ends a recorded process, politely first.
export async function endPid({ pid, started: since }, timeout = 45_000) {
  const there = () => started(pid) === since;
  if (!there()) return;
  process.kill(pid, 'SIGTERM');
  const end = Date.now() + timeout;
  while (there() && Date.now() < end) await sleep(50);
  if (there()) process.kill(pid, 'SIGKILL');
}

// What a failed test left running must not keep its file waiting, nor outlive it.
const living = new Set();
process.on('exit', () => {
  for (const child of living) child.kill('SIGKILL');
});

const SANITIZER = /(AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|Assertion .* failed|assertion failed)/;

export class Process {
  constructor(name, command, args, { dir, env = {}, detached = false, cwd = root } = {}) {
    Object.assign(this, { name, command, args, dir, detached, cwd });
    this.own = env;
    this.env = { ...process.env, ...env };
    this.child = null;
    this.exit = null;
  }

  // Detached processes leave a record, so that a later run of the same program finds them, and finds out whether they are
  // still what it would start: the same binary, arguments and environment.
  get recordFile() {
    return join(this.dir, `${this.name}.process.json`);
  }

  fingerprint() {
    const hash = createHash('sha256').update(JSON.stringify([this.command, this.args, this.own]));
    for (const file of [this.command, ...this.args]) {
      if (file.startsWith('/') && existsSync(file) && statSync(file).isFile()) hash.update(`${statSync(file).mtimeMs}`);
    }
    return hash.digest('hex');
  }

  // The recorded process, where it still runs: a pid alone could be somebody else's.
  recorded() {
    if (!existsSync(this.recordFile)) return null;
    const record = JSON.parse(readFileSync(this.recordFile, 'utf8'));
    return started(record.pid) === record.started ? record : null;
  }

  async takeOver() {
    const record = this.recorded();
    if (!record) return false;
    if (record.fingerprint === this.fingerprint()) {
      this.running = record.pid;
      return true;
    }
    await endPid(record);
    return false;
  }

  // Started, or found running from an earlier run.
  async ensure() {
    if (!(this.detached && (await this.takeOver()))) this.spawn();
    return this;
  }

  get logFile() {
    return join(this.dir, `${this.name}.log`);
  }

  get pid() {
    return this.child?.pid ?? this.running;
  }

  spawn() {
    mkdirSync(this.dir, { recursive: true });
    const log = openSync(this.logFile, 'a');
    this.exit = null;
    this.child = spawn(this.command, this.args, {
      cwd: this.cwd,
      env: this.env,
      stdio: ['ignore', log, log],
      detached: this.detached,
    });
    closeSync(log);
    const child = this.child;
    this.end = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }));
      child.once('error', (error) => resolve({ code: -1, signal: null, error }));
    });
    this.end.then((exit) => {
      living.delete(child);
      if (this.child === child) this.exit = exit;
    });
    child.unref();
    if (!this.detached) living.add(child);
    else {
      writeFileSync(this.recordFile, JSON.stringify({ name: this.name, pid: child.pid, started: started(child.pid), fingerprint: this.fingerprint() }));
    }
    return this;
  }

  // { code, signal } of its end; who asks waits for it, and so does the program.
  get exited() {
    this.child.ref();
    return this.end;
  }

  async waitReady(ask, timeout = 60_000) {
    await waitUntil(`${this.name} to be ready`, async () => {
      if (this.exit) return true;
      return ask();
    }, { timeout });
    if (this.exit) throw new Error(`${this.name} ended with ${JSON.stringify(this.exit)}\n${this.tail()}`);
    return this;
  }

  log() {
    return existsSync(this.logFile) ? readFileSync(this.logFile, 'utf8') : '';
  }

  tail(lines = 40) {
    return this.log().split('\n').slice(-lines).join('\n');
  }

  logContains(pattern) {
    return pattern instanceof RegExp ? pattern.test(this.log()) : this.log().includes(pattern);
  }

  // kill -9, and its end.
  async kill() {
    if (!this.child || this.exit) return;
    this.child.kill('SIGKILL');
    await this.exited;
  }

  signal(name) {
    this.child.kill(name);
  }

  async stop({ signal = 'SIGTERM', timeout = 20_000 } = {}) {
    if (!this.child && this.running) await endPid(this.recorded() ?? {});
    if (this.child && !this.exit) {
      this.child.kill(signal);
      const late = setTimeout(() => this.child.kill('SIGKILL'), timeout);
      await this.exited;
      clearTimeout(late);
    }
    const report = this.log().match(SANITIZER);
    if (report) throw new Error(`${this.name}: ${report[0]}\n${this.tail(80)}`);
  }
}
