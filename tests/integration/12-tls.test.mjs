// TLS on both sides: versions, names, sessions, certificates, what goes wrong in a handshake, and bodies through it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Authority, identity } from '../support/certificates.mjs';
import { freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { RawOrigin, answering, ask, connect, ok } from '../support/raw.mjs';
import { Service, binary } from '../support/service.mjs';
import { TlsOrigin, Trickle, askTls, connectTls } from '../support/tls.mjs';

const GET = (path, host = 'default.test') => `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

let dir;
let authority;
let stranger;
let proxy;
let ca;
const files = {};
const ports = {};
const origins = {};

// Answers with what it was asked, however large.
const echo = async (wire, socket, origin) => {
  for (;;) {
    const request = await wire.request();
    await wire.write(ok(JSON.stringify({ path: request.target, bytes: request.body.length, hash: sha256(request.body), connection: origin.connections })));
  }
};

function issue() {
  authority = new Authority(dir);
  stranger = new Authority(dir, 'stranger');
  ca = authority.pem;
  files.default = authority.issue('default', ['DNS:default.test']);
  files.api = authority.issue('api', ['DNS:api.test', 'DNS:*.wild.test'], { rsa: true });
  files.cn = authority.issue('cn.test', []);
  files.expired = authority.issue('expired', ['DNS:expired.test'], { days: -1 });
  files.origin = authority.issue('origin', ['DNS:origin.test', 'IP:127.0.0.1']);
  files.client = authority.issue('client', ['DNS:client.test']);
  files.stranger = stranger.issue('stranger', ['DNS:client.test']);
}

async function startOrigins() {
  const secure = { ...identity(files.origin), ALPNProtocols: ['http/1.1'] };
  origins.plain = await answering((request) => ok(JSON.stringify({ headers: request.headers, bytes: request.body.length, hash: sha256(request.body) }))).start();
  origins.tls13 = await new TlsOrigin({ ...secure, minVersion: 'TLSv1.3' }, echo).start();
  origins.tls12 = await new TlsOrigin({ ...secure, maxVersion: 'TLSv1.2' }, echo).start();
  origins.mutual = await new TlsOrigin({ ...secure, ca, requestCert: true, rejectUnauthorized: true }, echo).start();
  origins.nottls = await new RawOrigin((wire) => wire.write('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n')).start();
  // A body that ends with the connection: announced on /whole, not on /cut.
  origins.ending = await new TlsOrigin(secure, async (wire, socket, origin) => {
    const request = await wire.request();
    await wire.write(`HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n${'x'.repeat(100_000)}`);
    if (request.target === '/ending/whole') socket.end();
    else origin.cutAll();
  }).start();
}

const tlsOf = (certificate) => `{ certificate: ${certificate.certificate}, key: ${certificate.key} }`;

function configuration() {
  const https = (origin, settings) => `{ backends: [{ url: "https://127.0.0.1:${origin.port}", tls: { ${settings} } }], timeouts: { connect: 10s } }`;
  const trust = `ca: ${authority.file}`;
  const client = (mode) => `{ certificate: ${files.default.certificate}, key: ${files.default.key}, client_ca: ${authority.file}, client_auth: ${mode} }`;
  return `
listeners:
  - address: "127.0.0.1:${ports.clear}"
  - address: "127.0.0.1:${ports.tls}"
    tls:
      certificate: ${files.default.certificate}
      key: ${files.default.key}
      certificates: [${[files.api, files.cn, files.expired].map(tlsOf).join(', ')}]
  - { address: "127.0.0.1:${ports.new}", tls: { certificate: ${files.default.certificate}, key: ${files.default.key}, min_version: "1.3" } }
  - { address: "127.0.0.1:${ports.optional}", tls: ${client('optional')} }
  - { address: "127.0.0.1:${ports.required}", tls: ${client('required')} }
workers: "2"
ops: { address: "127.0.0.1:${proxy_ops()}" }
timeouts: { drain_delay: 0s, shutdown: 2s }
pools:
  plain: { backends: ["http://127.0.0.1:${origins.plain.port}"] }
  tls13: ${https(origins.tls13, `${trust}, server_name: origin.test`)}
  tls12: ${https(origins.tls12, `${trust}, server_name: origin.test`)}
  address: ${https(origins.tls13, trust)}
  wrong13: ${https(origins.tls13, `${trust}, server_name: other.test`)}
  wrong12: ${https(origins.tls12, `${trust}, server_name: other.test`)}
  wrongip: { backends: [{ url: "https://127.0.0.1:${origins.tls13.port}", tls: { ${trust}, server_name: 127.0.0.2 } }] }
  untrusted: ${https(origins.tls13, `ca: ${stranger.file}, server_name: origin.test`)}
  system: { backends: ["https://127.0.0.1:${origins.tls13.port}"] }
  mutual: ${https(origins.mutual, `${trust}, certificate: ${files.client.certificate}, key: ${files.client.key}`)}
  anonymous: ${https(origins.mutual, trust)}
  ending: ${https(origins.ending, trust)}
  nottls: { backends: [{ url: "https://127.0.0.1:${origins.nottls.port}", tls: { ${trust} } }] }
routes:
  - { path: /, pool: plain }
${['tls13', 'tls12', 'address', 'wrong13', 'wrong12', 'wrongip', 'untrusted', 'system', 'mutual', 'anonymous', 'ending', 'nottls'].map((name) => `  - { path: /${name}, pool: ${name} }`).join('\n')}
`;
}
const proxy_ops = () => ports.ops;

before(async () => {
  dir = temporaryDirectory('tls');
  issue();
  await startOrigins();
  for (const name of ['clear', 'tls', 'new', 'optional', 'required', 'ops']) ports[name] = await freePort();
  proxy = await new Service('proxy', { dir, opsPort: ports.ops, config: configuration() }).start();
});

after(async () => {
  for (const origin of Object.values(origins)) await origin.stop();
  await proxy?.stop();
  removeDirectory(dir);
});

const failures = (reason) => proxy.metric('octroi_proxy_ingress_failures_total', `stage="tls",reason="${reason}"`);

describe('versions and ciphers', () => {
  for (const version of ['TLSv1.2', 'TLSv1.3']) {
    test(`${version}, request after request`, async () => {
      const wire = await connectTls(ports.tls, { ca, minVersion: version, maxVersion: version });
      assert.equal(wire.socket.getProtocol(), version);
      for (let i = 0; i < 3; i += 1) {
        await wire.write(GET('/x'));
        const answer = await wire.response();
        assert.equal(answer.status, 200);
        assert.equal(answer.json().headers['x-forwarded-proto'], 'https');
        assert.match(answer.json().headers.forwarded, /proto=https/);
      }
      wire.close();
    });
  }

  test('TLS 1.1 is refused', async () => {
    const before = await failures('unsupported');
    await assert.rejects(connectTls(ports.tls, { ca, minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }));
    await waitUntil('it to be counted', async () => (await failures('unsupported')) === before + 1);
  });

  test('a listener for 1.3 only', async () => {
    await assert.rejects(connectTls(ports.new, { ca, maxVersion: 'TLSv1.2' }));
    assert.equal((await askTls(ports.new, GET('/'), { ca })).status, 200);
  });

  test('a cipher without forward secrecy is refused', async () => {
    await assert.rejects(connectTls(ports.tls, { ca, maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA:AES256-SHA256' }));
  });

  test('AES-128 is preferred, but ChaCha where the client puts it first', async () => {
    const cipher = async (ciphers) => {
      const wire = await connectTls(ports.tls, { ca, ciphers });
      const { name } = wire.socket.getCipher();
      wire.close();
      return name;
    };
    assert.equal(await cipher('TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256'), 'TLS_AES_128_GCM_SHA256');
    assert.equal(await cipher('TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256'), 'TLS_CHACHA20_POLY1305_SHA256');
  });

  test('ALPN chooses http/1.1, and nothing that is not spoken', async () => {
    const wire = await connectTls(ports.tls, { ca, ALPNProtocols: ['spdy/3', 'http/1.1'] });
    assert.equal(wire.socket.alpnProtocol, 'http/1.1');
    wire.close();
    await assert.rejects(connectTls(ports.tls, { ca, ALPNProtocols: ['spdy/3'] }), /ALERT_NO_APPLICATION_PROTOCOL|no application protocol/i);
  });

  test('renegotiation is refused', async () => {
    const wire = await connectTls(ports.tls, { ca, maxVersion: 'TLSv1.2' });
    await assert.rejects(new Promise((resolve, reject) => {
      wire.socket.once('error', reject);
      wire.socket.once('close', () => reject(new Error('closed')));
      wire.socket.renegotiate({}, (error) => (error ? reject(error) : resolve()));
    }));
    wire.close();
  });
});

describe('the certificate by name', () => {
  const shown = async (servername) => {
    const wire = await connectTls(ports.tls, { ca, servername, rejectUnauthorized: false });
    const { subject } = wire.socket.getPeerCertificate();
    wire.close();
    return subject.CN;
  };
  for (const [name, expected] of [
    ['default.test', 'default'], ['api.test', 'api'], ['API.Test', 'api'], ['a.wild.test', 'api'], ['wild.test', 'default'], ['a.b.wild.test', 'default'],
    ['cn.test', 'cn.test'], ['nobody.test', 'default'], ['', 'default'],
  ]) {
    test(`${name || 'no name'}: ${expected}`, async () => assert.equal(await shown(name), expected));
  }

  test('one that has expired is served, and told in the log', async () => {
    assert.equal(await shown('expired.test'), 'expired');
    assert.ok(proxy.logContains('the certificate has expired'));
  });
});

describe('sessions', () => {
  // A ticket that a connection got, by what the server sent until the first answer.
  const ticket = async (port, options) => {
    const wire = await connectTls(port, { ca, ...options });
    const got = new Promise((resolve) => {
      wire.socket.once('session', resolve);
    });
    await wire.write(GET('/'));
    await wire.response();
    const session = options.maxVersion === 'TLSv1.2' ? wire.socket.getSession() : await got;
    wire.close();
    return session;
  };
  const resumes = async (port, options) => {
    const wire = await connectTls(port, { ca, ...options });
    await wire.write(GET('/'));
    assert.equal((await wire.response()).status, 200);
    const reused = wire.socket.isSessionReused();
    wire.close();
    return reused;
  };
  for (const version of ['TLSv1.2', 'TLSv1.3']) {
    test(`are resumed under ${version}, on whatever thread`, async () => {
      const options = { minVersion: version, maxVersion: version };
      const session = await ticket(ports.tls, options);
      assert.equal(await resumes(ports.tls, options), false);
      for (let i = 0; i < 20; i += 1) assert.equal(await resumes(ports.tls, { ...options, session }), true);
    });
  }

  test('a session without a certificate is none where one is required', async () => {
    const session = await ticket(ports.optional, {});
    await assert.rejects(resumes(ports.required, { session }));
  });
});

describe('client certificates', () => {
  const get = (port, options) => askTls(port, GET('/'), { ca, ...options });
  test('required, and shown', async () => assert.equal((await get(ports.required, identity(files.client))).status, 200));
  test('required, and missing', async () => {
    const before = await failures('certificate');
    await assert.rejects(get(ports.required, {}));
    await waitUntil('it to be counted', async () => (await failures('certificate')) === before + 1);
  });
  test('required, and of another authority', () => assert.rejects(get(ports.required, identity(files.stranger))));
  test('optional, and missing', async () => assert.equal((await get(ports.optional, {})).status, 200));
  test('optional, and shown', async () => assert.equal((await get(ports.optional, identity(files.client))).status, 200));
  test('optional, and of another authority', () => assert.rejects(get(ports.optional, identity(files.stranger))));
});

describe('a handshake that is none', () => {
  const closed = async (bytes) => {
    const wire = await connect(ports.tls);
    if (bytes.length) await wire.write(bytes);
    wire.socket.end();
    await wire.rest();
  };
  for (const [name, bytes, reason] of [
    ['a request in the clear', GET('/'), 'not_tls'],
    ['random bytes', randomBytes(2000).fill(0x99, 0, 8), 'not_tls'],
    ['a record that is too long', Buffer.from([22, 3, 1, 0xff, 0xff, 1, 0, 0, 0]), null],
    ['a ClientHello of nothing', Buffer.from([22, 3, 1, 0, 4, 1, 0, 0, 0]), null],
    ['application data first', Buffer.from([23, 3, 3, 0, 5, 1, 2, 3, 4, 5]), null],
    ['the beginning of one', Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]), 'closed'],
    ['an alert first', Buffer.from([21, 3, 1, 0, 2, 2, 40]), 'other'],
    ['nothing', Buffer.alloc(0), 'closed'],
  ]) {
    test(name, async () => {
      const count = () => (reason ? failures(reason) : proxy.metric('octroi_proxy_ingress_failures_total', 'stage="tls"'));
      const before = await count();
      await closed(bytes);
      await waitUntil('the failure to be counted', async () => (await count()) === before + 1);
    });
  }

  test('a client that does not like our certificate says so in an alert', async () => {
    const before = await failures('alert');
    spawnSync('openssl', ['s_client', '-connect', `127.0.0.1:${ports.tls}`, '-CAfile', stranger.file, '-verify_return_error'], { input: '' });
    await waitUntil('the alert', async () => (await failures('alert')) === before + 1);
  });

  test('byte by byte is slow, not wrong', async () => {
    const socket = new Trickle(ports.tls, 1);
    const wire = await connectTls(undefined, { socket, ca, host: undefined });
    await wire.write(GET('/slow'));
    assert.equal((await wire.response()).status, 200);
    wire.close();
  });

  test('nothing of it is left open', async () => {
    await waitUntil('the connections to be closed', async () => (await proxy.metric('octroi_proxy_connections')) === 0);
  });
});

describe('bodies', () => {
  const MIB = 1024 * 1024;
  for (const pool of ['plain', 'tls12', 'tls13']) {
    test(`1 MiB up and its length down, in the clear or not: ${pool}`, async () => {
      const body = randomBytes(MIB);
      const wire = await connectTls(ports.tls, { ca });
      wire.write(`POST /${pool} HTTP/1.1\r\nHost: default.test\r\nContent-Length: ${MIB}\r\n\r\n`);
      wire.write(body);
      const answer = await wire.response();
      assert.deepEqual([answer.status, answer.json().bytes, answer.json().hash], [200, MIB, sha256(body)]);
      wire.close();
    });
  }

  test('1 MiB down, in one piece and chunked', async () => {
    const body = randomBytes(MIB);
    const origin = await new TlsOrigin(identity(files.origin), async (wire) => {
      for (;;) {
        const { target } = await wire.request();
        await wire.write(target.endsWith('chunked') ? 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n' : `HTTP/1.1 200 OK\r\nContent-Length: ${MIB}\r\n\r\n`);
        await wire.write(body);
        if (target.endsWith('chunked')) await wire.write('\r\n0\r\n\r\n');
      }
    }).start();
    const own = await startOwn(`pools: { it: { backends: [{ url: "https://127.0.0.1:${origin.port}", tls: { ca: ${authority.file} } }] } }
routes: [{ path: /, pool: it }]`);
    try {
      const wire = await connectTls(own.port, { ca });
      for (const path of ['/sized', '/chunked', '/sized']) {
        await wire.write(GET(path));
        const answer = await wire.response();
        assert.equal(sha256(answer.body), sha256(body), path);
      }
      wire.close();
    } finally {
      await own.stop();
      await origin.stop();
    }
  });

  test('a large upload waits for an origin that does not read, and arrives whole', async () => {
    const SIZE = 24 * MIB;
    let release;
    const released = new Promise((resolve) => {
      release = resolve;
    });
    const hash = createHash('sha256');
    let bytes = 0;
    const origin = await new TlsOrigin(identity(files.origin), async (wire, socket) => {
      await wire.head();
      socket.removeAllListeners('data');
      hash.update(wire.data);
      bytes += wire.data.length;
      socket.pause();
      await released;
      socket.on('data', (data) => {
        hash.update(data);
        bytes += data.length;
        if (bytes === SIZE) socket.write(ok('all'));
      });
      socket.resume();
    }).start();
    const own = await startOwn(`pools: { it: { backends: [{ url: "https://127.0.0.1:${origin.port}", tls: { ca: ${authority.file} } }] } }
routes: [{ path: /, pool: it }]`);
    try {
      const body = randomBytes(SIZE);
      const wire = await connectTls(own.port, { ca });
      wire.write(`POST / HTTP/1.1\r\nHost: default.test\r\nContent-Length: ${SIZE}\r\n\r\n`);
      wire.write(body);
      await waitUntil('the origin to be asked', () => origin.handshakes === 1);
      assert.ok(wire.socket.writableLength > 0, 'the client is held back');
      release();
      assert.equal((await wire.response()).body.toString(), 'all');
      assert.equal(hash.digest('hex'), sha256(body));
      wire.close();
    } finally {
      await own.stop();
      await origin.stop();
    }
  });

  test('a client that closes in an orderly way gets our close_notify', async () => {
    const wire = await connectTls(ports.tls, { ca });
    wire.write('GET / HTTP/1.0\r\nHost: default.test\r\n\r\n');
    const answer = await wire.response();
    assert.equal(answer.status, 200);
    await wire.rest();
    assert.equal(wire.error, null);
  });
});

async function startOwn(rest, { timeouts = '', tlsSettings = tlsOf(files.default) } = {}) {
  const port = await freePort();
  const opsPort = await freePort();
  const name = `own-${port}`;
  const service = await new Service('proxy', {
    dir, name, opsPort,
    config: `
listeners: [{ address: "127.0.0.1:${port}", tls: ${tlsSettings} }]
workers: "1"
ops: { address: "127.0.0.1:${opsPort}" }
timeouts: { drain_delay: 0s, shutdown: 2s${timeouts} }
${rest}
`,
  }).start();
  service.port = port;
  return service;
}

describe('origins', () => {
  for (const name of ['tls13', 'tls12', 'address', 'mutual']) {
    test(`verified: ${name}`, async () => {
      const answer = await ask(ports.clear, GET(`/${name}`));
      assert.deepEqual([answer.status, answer.json().path], [200, `/${name}`]);
    });
  }
  for (const name of ['wrong13', 'wrong12', 'wrongip', 'untrusted', 'system', 'anonymous', 'nottls']) {
    test(`refused: ${name}`, async () => {
      const answer = await ask(ports.clear, GET(`/${name}`));
      assert.equal(answer.status, 502);
    });
  }

  for (const [good, wrong] of [['tls13', 'wrong13'], ['tls12', 'wrong12']]) {
    test(`a session is resumed, but by no other name: ${good}`, async () => {
      const origin = origins[good];
      // Answers that close make a connection for each request; a ticket comes with the first answer at the latest.
      await waitUntil('a resumed session', async () => {
        const before = origin.resumed;
        const answers = await Promise.all(Array.from({ length: 8 }, () => ask(ports.clear, GET(`/${good}`))));
        assert.ok(answers.every((answer) => answer.status === 200));
        return origin.resumed > before;
      });
      for (let i = 0; i < 4; i += 1) assert.equal((await ask(ports.clear, GET(`/${wrong}`))).status, 502);
      assert.ok((await proxy.metric('octroi_proxy_upstream_tls_handshakes_total', `pool="${good}",result="resumed"`)) > 0);
      assert.ok((await proxy.metric('octroi_proxy_upstream_tls_handshakes_total', `pool="${wrong}",result="certificate"`)) >= 4);
      assert.equal(await proxy.metric('octroi_proxy_upstream_tls_handshakes_total', `pool="${wrong}",result="resumed"`), 0);
    });
  }

  test('the log says why', () => assert.ok(proxy.logContains(/TLS with an origin failed.*(hostname mismatch|IP address mismatch|unable to get local issuer|self-signed)/)));

  test('a body that ends with an announced end is whole', async () => {
    const answer = await ask(ports.clear, GET('/ending/whole'));
    assert.equal(answer.body.length, 100_000);
  });

  test('a body whose end was not announced is never passed on as whole', async () => {
    await assert.rejects(ask(ports.clear, GET('/ending/cut')), /connection ended/);
    // Without a length only a reset says so. Node does not show every reset; an orderly end would never be one.
    const reset = (open) => waitUntil('a reset', async () => {
      const socket = await open();
      const ended = new Promise((resolve) => {
        socket.once('error', resolve);
        socket.once('close', () => resolve(null));
      });
      return (await ended)?.code === 'ECONNRESET';
    });
    const request = 'GET /ending/cut HTTP/1.0\r\nHost: default.test\r\n\r\n';
    await reset(async () => {
      const wire = await connect(ports.clear);
      wire.write(request);
      return wire.socket;
    });
    await reset(async () => {
      const socket = new Trickle(ports.tls, 65536);
      const wire = await connectTls(undefined, { socket, ca, host: undefined });
      wire.write(request);
      return socket.socket;
    });
  });
});

describe('a reload', () => {
  const cn = (wire) => wire.socket.getPeerCertificate().subject.CN;

  test('takes new certificates; connections and sessions go on; a bad file changes nothing', async () => {
    const files = authority.issue('before', ['DNS:default.test']);
    const place = { certificate: join(dir, 'live.pem'), key: join(dir, 'live.key') };
    const put = (from) => {
      copyFileSync(from.certificate, place.certificate);
      copyFileSync(from.key, place.key);
    };
    put(files);
    const own = await startOwn(`pools: { it: { backends: ["http://127.0.0.1:${origins.plain.port}"] } }\nroutes: [{ path: /, pool: it }]`, { tlsSettings: tlsOf(place) });
    try {
      const old = await connectTls(own.port, { ca });
      const session = new Promise((resolve) => {
        old.socket.once('session', resolve);
      });
      assert.equal(cn(old), 'before');
      await old.write(GET('/'));
      assert.equal((await old.response()).status, 200);

      put(authority.issue('after', ['DNS:default.test']));
      own.process.signal('SIGHUP');
      await waitUntil('the new certificate', async () => {
        const wire = await connectTls(own.port, { ca });
        const name = cn(wire);
        wire.close();
        return name === 'after';
      });
      await old.write(GET('/'));
      assert.equal((await old.response()).status, 200);
      const resumed = await connectTls(own.port, { ca, session: await session });
      assert.equal(resumed.socket.isSessionReused(), true);

      writeFileSync(place.certificate, 'garbage');
      own.process.signal('SIGHUP');
      await waitUntil('the refusal', () => own.logContains(/listeners\[0\]\.tls: certificate: [^"]*live\.pem/));
      const still = await connectTls(own.port, { ca });
      assert.equal(cn(still), 'after');
      for (const wire of [old, resumed, still]) wire.close();
    } finally {
      await own.stop();
    }
  });
});

describe('time', () => {
  test('a handshake has a deadline, whatever it has said until then', async () => {
    const own = await startOwn('pools: { it: { backends: ["http://127.0.0.1:1"] } }\nroutes: [{ path: /, pool: it }]', { timeouts: ', tls_handshake: 200ms' });
    try {
      const silent = await connect(own.port);
      const halfway = await connect(own.port);
      await halfway.write(Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]));
      await silent.rest();
      await halfway.rest();
      assert.equal(await own.metric('octroi_proxy_ingress_failures_total', 'stage="tls",reason="timeout"'), 2);
    } finally {
      await own.stop();
    }
  });

  test('a crowd that says nothing does not keep out who speaks: the oldest has to go', async () => {
    const own = await startOwn(`pools: { it: { backends: ["http://127.0.0.1:${origins.plain.port}"] } }\nroutes: [{ path: /, pool: it }]`, { timeouts: ', tls_handshake: 5m' });
    const crowd = [];
    try {
      while (crowd.length < 2048) crowd.push(...(await Promise.all(Array.from({ length: 128 }, () => connect(own.port)))));
      await waitUntil('all to be accepted', async () => (await own.metric('octroi_proxy_connections')) === 2048);
      assert.equal((await askTls(own.port, GET('/'), { ca })).status, 200);
      assert.equal(await own.metric('octroi_proxy_ingress_failures_total', 'reason="crowded"'), 1);
      await waitUntil('one to be closed', () => crowd.some((wire) => wire.ended));
    } finally {
      for (const wire of crowd) wire.close();
      await own.stop();
    }
  });

  test('who has not said a word does not hold up the end', async () => {
    const own = await startOwn('pools: { it: { backends: ["http://127.0.0.1:1"] } }\nroutes: [{ path: /, pool: it }]');
    const silent = await connect(own.port);
    await waitUntil('the connection to be counted', async () => (await own.metric('octroi_proxy_connections')) === 1);
    own.process.signal('SIGTERM');
    await silent.rest();
    await own.stop();
  });
});

describe('a configuration that is refused', () => {
  const refused = [
    ['a certificate that is not there', () => `{ certificate: ${dir}/none.pem, key: ${files.default.key} }`, /listeners\[0\]\.tls: certificate: .*none\.pem: No such file/],
    ['a key that is not there', () => `{ certificate: ${files.default.certificate}, key: ${dir}/none.key }`, /tls: key: .*none\.key: No such file/],
    ['a certificate that is none', () => `{ certificate: ${dir}/garbage.pem, key: ${files.default.key} }`, /tls: certificate: .*garbage\.pem: /],
    ['a key of another certificate', () => `{ certificate: ${files.default.certificate}, key: ${files.origin.key} }`, /tls: key: .*: (it is not the key of|.*mismatch)/],
    ['one of several', () => `{ certificate: ${files.default.certificate}, key: ${files.default.key}, certificates: [{ certificate: ${dir}/none.pem, key: ${files.default.key} }] }`, /tls: certificates\[0\]: certificate: .*none\.pem/],
    ['an authority that is none', () => `{ certificate: ${files.default.certificate}, key: ${files.default.key}, client_ca: ${dir}/garbage.pem, client_auth: required }`, /tls: client_ca: .*garbage\.pem/],
  ];
  for (const [name, settings, expected] of refused) {
    test(name, () => {
      writeFileSync(join(dir, 'garbage.pem'), 'garbage\n');
      const file = join(dir, 'refused.yaml');
      writeFileSync(file, `listeners: [{ address: "127.0.0.1:1", tls: ${settings()} }]\nroutes: [{ path: /, redirect: { to: "https://x.test" } }]\npools: {}\n`);
      const result = spawnSync(binary('proxy'), ['-t', '-c', file], { encoding: 'utf8' });
      assert.notEqual(result.status, 0);
      assert.match(result.stderr, expected);
    });
  }

  test("an origin's authority that is none", () => {
    const file = join(dir, 'refused.yaml');
    writeFileSync(file, `listeners: ["127.0.0.1:1"]\npools: { it: { backends: [{ url: "https://a.test", tls: { ca: ${dir}/none.pem } }] } }\nroutes: [{ path: /, pool: it }]\n`);
    const result = spawnSync(binary('proxy'), ['-t', '-c', file], { encoding: 'utf8' });
    assert.notEqual(result.status, 0);
    assert.match(result.stderr, /pool it: backend https:\/\/a\.test: tls: ca: .*none\.pem: No such file/);
  });
});
