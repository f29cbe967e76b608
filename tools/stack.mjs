// The stack of `make up`: fixed ports on the loopback, state under .octroi/. OCTROI_PORT_<NAME> changes a port.
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { root } from '../tests/support/process.mjs';

export const state = process.env.OCTROI_STATE || join(root, '.octroi');

const defaults = {
  proxy: 8080, proxy_ops: 9480, quoted: 8101, quoted_ops: 9481, payd: 8102, payd_ops: 9482, subd: 8103, subd_ops: 9483,
  adminsvc: 8104, adminsvc_ops: 9484, origin: 9001, postgres: 25432, redis: 26379, nats: 24222, chain: 28545,
};
export const ports = Object.fromEntries(Object.entries(defaults).map(([name, port]) => [name, Number(process.env[`OCTROI_PORT_${name.toUpperCase()}`] ?? port)]));

// PostgreSQL runs as another user than root, who may not enter the clone: its state then lives under /var/lib, one directory a clone.
export function postgresDir() {
  if (process.getuid() !== 0) return join(state, 'postgres');
  const dir = join('/var/lib/octroi-dev', createHash('sha256').update(state).digest('hex').slice(0, 12), 'postgres');
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  return dir;
}
