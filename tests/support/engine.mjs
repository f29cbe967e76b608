// A container engine of our own: dockerd from Debian's package in a directory of its own, the compose plugin, and base images made of
// Debian packages where no image registry can be reached. docs/decisions/0005-container-tests.md has the reasons.
import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { Process, root, sleep } from './process.mjs';

const cache = '/var/cache/octroi-test';
const standins = { 'postgres:15': 'postgres', 'redis:7': 'redis', 'nats:2-alpine': 'nats' };

export class Engine {
  constructor({ dir }) {
    this.dir = dir;
    this.socket = `unix://${join(dir, 'docker.sock')}`;
    this.env = { ...process.env, DOCKER_HOST: this.socket, DOCKER_CONFIG: join(dir, 'config'), DOCKER_BUILDKIT: '1' };
  }

  async start() {
    this.plugins();
    this.daemon = new Process('dockerd', 'dockerd', ['--data-root', join(this.dir, 'data'), '--exec-root', join(this.dir, 'exec'),
      '-H', this.socket, '-p', join(this.dir, 'pid')], { dir: this.dir }).spawn();
    await this.daemon.waitReady(() => this.docker(['version']));
    await this.baseImage();
    await Promise.all(Object.entries(standins).map(([tag, name]) => this.build(tag, name)));
    return this;
  }

  docker(args, options = {}) {
    return execFileSync('docker', args, { env: this.env, cwd: root, stdio: 'pipe', maxBuffer: 64 << 20, ...options }).toString();
  }

  // The same without blocking: builds take minutes.
  run(args, { timeout = 20 * 60_000, env = {} } = {}) {
    return new Promise((resolve, reject) => {
      const child = spawn('docker', args, { env: { ...this.env, ...env }, cwd: root, stdio: ['ignore', 'pipe', 'pipe'], timeout });
      let output = '';
      child.stdout.on('data', (data) => { output += data; });
      child.stderr.on('data', (data) => { output += data; });
      child.once('error', reject);
      child.once('exit', (code) => (code === 0 ? resolve(output) : reject(new Error(`docker ${args.join(' ')}: exit ${code}\n${output.slice(-6000)}`))));
    });
  }

  build(tag, name) {
    const context = join(root, 'tests/containers/standins');
    return this.run(['build', '-t', tag, '-f', join(context, `${name}.Dockerfile`), context]);
  }

  // Debian 12 has no compose v2: the next release's package holds one static-enough binary, which is unpacked, not installed.
  plugins() {
    const target = join(this.env.DOCKER_CONFIG, 'cli-plugins');
    mkdirSync(target, { recursive: true });
    const found = ['/usr/libexec/docker/cli-plugins', '/usr/lib/docker/cli-plugins', join(process.env.HOME ?? '/root', '.docker/cli-plugins')];
    for (const plugin of ['docker-compose', 'docker-buildx']) {
      const there = found.map((path) => join(path, plugin)).find(existsSync);
      if (there) copyFileSync(there, join(target, plugin));
      else copyFileSync(join(this.unpackPlugins(), plugin), join(target, plugin));
    }
  }

  unpackPlugins() {
    const dir = join(cache, 'plugins');
    const done = join(dir, 'x/usr/libexec/docker/cli-plugins');
    if (existsSync(done)) return done;
    for (const sub of ['lists/partial', 'archives/partial']) mkdirSync(join(dir, sub), { recursive: true });
    const site = execFileSync('apt-get', ['indextargets', '--format', '$(SITE)']).toString().split('\n').find((line) => line.endsWith('/debian'));
    writeFileSync(join(dir, 'sources.list'), `deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${site} trixie main\n`);
    const options = [`Dir::Etc::sourcelist=${dir}/sources.list`, 'Dir::Etc::sourceparts=-', `Dir::State::lists=${dir}/lists`,
      'Dir::Cache::pkgcache=', 'Dir::Cache::srcpkgcache=', 'APT::Sandbox::User=root'].flatMap((option) => ['-o', option]);
    execFileSync('apt-get', [...options, 'update'], { stdio: 'pipe' });
    execFileSync('apt-get', [...options, 'download', 'docker-compose', 'docker-buildx'], { stdio: 'pipe', cwd: dir });
    for (const file of readdirSync(dir).filter((name) => name.endsWith('.deb'))) execFileSync('dpkg-deb', ['-x', join(dir, file), join(dir, 'x')]);
    return done;
  }

  // debian:bookworm-slim out of debootstrap. This machine's CA bundle goes in as an extra one, so that npm works behind an inspecting proxy.
  async baseImage() {
    const tree = await debootstrap();
    await new Promise((resolve, reject) => {
      const tar = spawn('tar', ['-C', tree, '-c', '.'], { stdio: ['ignore', 'pipe', 'inherit'] });
      const load = spawn('docker', ['import', '--change', 'ENV NODE_EXTRA_CA_CERTS=/etc/octroi-test-ca.crt', '-', 'debian:bookworm-slim'],
        { env: this.env, stdio: [tar.stdout, 'ignore', 'inherit'] });
      load.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`docker import: exit ${code}`))));
    });
  }

  async stop() {
    await this.daemon?.stop({ timeout: 60_000 });
    for (let i = 0; i < 20; i += 1) {
      try {
        rmSync(this.dir, { recursive: true, force: true });
        return;
      } catch {
        await sleep(250);
      }
    }
  }
}

// A minimal Debian 12 in a directory, made once and kept for the next test on this machine.
export async function debootstrap() {
  const tree = join(cache, 'bookworm');
  const done = join(cache, 'bookworm.done');
  if (!existsSync(done)) {
    rmSync(tree, { recursive: true, force: true });
    mkdirSync(cache, { recursive: true });
    execFileSync('debootstrap', ['--variant=minbase', 'bookworm', tree], { stdio: 'pipe', timeout: 10 * 60_000 });
    copyFileSync('/etc/ssl/certs/ca-certificates.crt', join(tree, 'etc/octroi-test-ca.crt'));
    writeFileSync(done, '');
  }
  return tree;
}
