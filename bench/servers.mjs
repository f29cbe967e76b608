// The three servers and their origin, each configured for a row and pinned to its core. What they are asked to do is the same: forward over
// kept connections, set X-Forwarded-For, X-Forwarded-Proto and X-Request-Id, write no access log, use one thread.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';

import { canConnect, root, waitUntil } from '../tests/support/process.mjs';

const base = Number(process.env.PORT ?? 18701);
export const ports = { origin: base, proxy: base + 1, nginx: base + 2, haproxy: base + 3, ops: base + 4 };
export const names = ['proxy', 'nginx', 'haproxy'];
export const bin = join(root, 'build', process.env.PRESET ?? 'release', 'bin');

const cores = (availableParallelism?.() ?? cpus().length);
export const serverCore = '0';
export const loadCore = cores > 1 ? `1-${cores - 1}` : '0';
// Descriptors: as many as we may, up to what 10,000 connections through a proxy need.
export const files = Math.min(24_000, Number(execFileSync('sh', ['-c', 'ulimit -Hn']).toString().replace(/\D+/, '')) || 24_000);
export const connectionLimit = Math.floor((files - 256) / 2);

// Ends with the command's pid: taskset and prlimit become what they run.
export function pinned(core, command, args, options) {
  return spawn('taskset', ['-c', core, 'prlimit', `--nofile=${files}`, command, ...args], options);
}

export function makeCertificate(dir) {
  const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '7', '-subj', '/CN=bench',
    '-addext', 'subjectAltName=DNS:bench,IP:127.0.0.1', '-keyout', key, '-out', cert], { stdio: 'pipe' });
  writeFileSync(join(dir, 'both.pem'), readFileSync(cert, 'utf8') + readFileSync(key, 'utf8'), { mode: 0o600 });
}

const many = (count, line) => Array.from({ length: count }, (_, i) => line(i)).join('\n');

const nginxHeaders = `proxy_http_version 1.1; proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Request-Id $request_id;`;

function nginxConfig(dir, row) {
  const connection = row.websocket ? 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;' : 'proxy_set_header Connection "";';
  const tls = row.tls ? `ssl_certificate ${dir}/cert.pem; ssl_certificate_key ${dir}/key.pem; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:s:10m;` : '';
  const locations = row.routes ? many(row.routes, (i) => `location /r${i}/ { proxy_pass http://origin; }`) : 'location / { proxy_pass http://origin; }';
  return `
daemon off; master_process ${row.reload ? 'on' : 'off'}; worker_processes 1; worker_rlimit_nofile ${files}; user root;
pid ${dir}/nginx.pid; error_log ${dir}/nginx.err crit;
events { worker_connections ${files - 64}; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 75s; client_max_body_size 0; client_body_buffer_size 64k;
  client_body_temp_path ${dir}/t1; proxy_temp_path ${dir}/t2; fastcgi_temp_path ${dir}/t3; uwsgi_temp_path ${dir}/t4; scgi_temp_path ${dir}/t5;
  proxy_buffer_size 16k; proxy_buffers 8 32k; proxy_busy_buffers_size 64k; proxy_request_buffering off; proxy_max_temp_file_size 0;
  variables_hash_max_size 4096;
  upstream origin { server 127.0.0.1:${ports.origin}; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${ports.nginx}${row.tls ? ' ssl' : ''}${row.http2 ? ' http2' : ''} backlog=4096; ${tls}
    ${nginxHeaders} ${connection}
    ${locations}
  }
}
`;
}

function haproxyConfig(dir, row) {
  const tls = row.tls ? ` ssl crt ${dir}/both.pem alpn ${row.http2 ? 'h2,' : ''}http/1.1` : '';
  if (row.routes) writeFileSync(join(dir, 'routes.map'), many(row.routes, (i) => `/r${i}/ origin`));
  return `
global
  nbthread 1
  maxconn ${row.splice ? 1024 : connectionLimit}
  stats socket ${dir}/haproxy.sock
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 60s
  option http-keep-alive
  http-reuse always
  ${row.splice ? 'option splice-request\n  option splice-response' : ''}
frontend in
  bind 127.0.0.1:${ports.haproxy}${tls} backlog 4096
  option forwardfor
  http-request set-header X-Forwarded-Proto ${row.tls ? 'https' : 'http'}
  unique-id-format %[rand(1000000000)]%[rand(1000000000)]
  unique-id-header X-Request-Id
  ${row.routes ? `use_backend %[path,map_beg(${dir}/routes.map)]` : 'default_backend origin'}
backend origin
  server a 127.0.0.1:${ports.origin} pool-max-conn 256
`;
}

function proxyConfig(dir, row) {
  if (process.env.PAID_CONFIG) return readFileSync(process.env.PAID_CONFIG, 'utf8');
  const tls = row.tls ? `, tls: { certificate: "${dir}/cert.pem", key: "${dir}/key.pem" }` : '';
  const protocols = row.websocket ? ', protocols: [http, websocket]' : '';
  const routes = row.routes ? many(row.routes, (i) => `  - { path: /r${i}/, pool: api }`) : `  - { path: /, pool: api${protocols} }`;
  return `
listeners: [{ address: "127.0.0.1:${ports.proxy}"${tls} }]
ops: { address: "127.0.0.1:${ports.ops}" }
workers: "1"
limits: { connections: ${connectionLimit} }
access_log: { sample: ${process.env.SAMPLE ?? 0} }
timeouts: { drain_delay: 0s, shutdown: 2s }
pools: { api: { backends: ["http://127.0.0.1:${ports.origin}"] } }
routes:
${routes}
`;
}

const kinds = {
  proxy: { config: proxyConfig, command: (path) => [process.env.BIN ?? join(bin, 'proxy'), '-c', path], reload: 'SIGHUP' },
  nginx: { config: nginxConfig, command: (path) => ['nginx', '-c', path], reload: 'SIGHUP' },
  haproxy: { config: haproxyConfig, command: (path, row) => ['haproxy', row.reload ? '-W' : '-db', '-f', path], reload: 'SIGUSR2' },
};

class Running {
  constructor(name, child, reload, logFile) {
    Object.assign(this, { name, child, reload, logFile, pid: child.pid, port: ports[name] });
    this.ended = new Promise((resolve) => child.once('exit', resolve));
    this.ended.then(() => { this.over = true; });
  }

  log() {
    return readFileSync(this.logFile, 'utf8');
  }

  signal(name) {
    if (!this.over) this.child.kill(name);
  }

  async stop() {
    this.signal('SIGTERM');
    const late = setTimeout(() => this.signal('SIGKILL'), 4000);
    await this.ended;
    clearTimeout(late);
  }
}

async function launch(name, core, [command, ...args], dir, reload) {
  const logFile = join(dir, `${name}.log`);
  const log = openSync(logFile, 'w');
  const running = new Running(name, pinned(core, command, args, { stdio: ['ignore', log, log] }), reload, logFile);
  await waitUntil(`${name} to listen`, () => running.over || canConnect(ports[name]), { timeout: 10_000, every: 20 });
  if (running.over) throw new Error(`does not start: ${running.log().trim().split('\n').at(-1)}`);
  return running;
}

export const startOrigin = (dir) => launch('origin', loadCore, [join(bin, 'bench_origin'), `127.0.0.1:${ports.origin}`], dir);

export async function startServer(name, dir, row) {
  const { config, command, reload } = kinds[name];
  const path = join(dir, `${name}.conf`);
  writeFileSync(path, config(dir, row), { mode: 0o600 });
  const words = command(path, row);
  if (words[0].startsWith('/') && !existsSync(words[0])) throw new Error(`${words[0]} is not built`);
  return launch(name, serverCore, words, dir, reload);
}
