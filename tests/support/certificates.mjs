// Certificates for tests, made on the spot by openssl: an authority, and leaves that it signs.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const openssl = (args) => execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] });

export class Authority {
  constructor(dir, name = 'authority') {
    Object.assign(this, { dir, name, file: join(dir, `${name}.pem`), key: join(dir, `${name}.key`), count: 0 });
    openssl(['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', this.key, '-out', this.file,
      '-subj', `/CN=${name}`, '-days', '30', '-addext', 'basicConstraints=critical,CA:TRUE']);
  }

  get pem() {
    return readFileSync(this.file, 'utf8');
  }

  // `names` as subjectAltName has them: DNS:api.test, IP:127.0.0.1. `days` may be negative: it has expired.
  issue(name, names, { days = 10, rsa = false } = {}) {
    this.count += 1;
    const base = join(this.dir, `${name}-${this.count}`);
    const files = { certificate: `${base}.pem`, key: `${base}.key` };
    const key = rsa ? ['-newkey', 'rsa:2048'] : ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
    openssl(['req', '-new', ...key, '-nodes', '-keyout', files.key, '-out', `${base}.csr`, '-subj', `/CN=${name}`]);
    writeFileSync(`${base}.ext`, names.length ? `subjectAltName=${names.join(',')}\n` : 'basicConstraints=CA:FALSE\n');
    openssl(['x509', '-req', '-in', `${base}.csr`, '-CA', this.file, '-CAkey', this.key, '-set_serial', String(this.count),
      '-days', String(days), '-out', files.certificate, '-extfile', `${base}.ext`]);
    return files;
  }
}

// As options of node:tls.
export const identity = ({ certificate, key }) => ({ cert: readFileSync(certificate), key: readFileSync(key) });
