// The PROXY protocol: read on a listener that requires it, alone and before TLS, and written to origins.
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';

import { Authority, identity } from '../support/certificates.mjs';
import { freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { RawOrigin, Wire, answering, ask, connect, ok } from '../support/raw.mjs';
import { Service } from '../support/service.mjs';
import { TlsOrigin } from '../support/tls.mjs';

const REQUEST = 'GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n';
const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');

const v2 = ({ command = 0x21, family = 0x11, body = Buffer.alloc(0), length = body.length } = {}) =>
  Buffer.concat([SIGNATURE, Buffer.from([command, family, length >> 8, length & 255]), body]);
const inet = (source, destination, ports, tlvs = Buffer.alloc(0)) => {
  const numbers = Buffer.alloc(4);
  numbers.writeUInt16BE(ports[0], 0);
  numbers.writeUInt16BE(ports[1], 2);
  return Buffer.concat([Buffer.from(source), Buffer.from(destination), numbers, tlvs]);
};
const V2 = v2({ body: inet([203, 0, 113, 9], [198, 51, 100, 1], [5000, 443]) });
const V2_6 = v2({ family: 0x21, body: inet([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], new Array(16).fill(1), [1, 2]) });

let dir;
let authority;
let proxy;
const ports = {};
const origins = {};

before(async () => {
  dir = temporaryDirectory('proxy-protocol');
  authority = new Authority(dir);
  const leaf = authority.issue('leaf', ['DNS:a.test', 'IP:127.0.0.1']);
  origins.plain = await answering((request) => ok(JSON.stringify(request.headers))).start();
  // Says what its connection began with.
  origins.v1 = await new RawOrigin(async (wire) => {
    const header = await wire.upTo('\r\n');
    await wire.request();
    await wire.write(ok(header));
  }).start();
  origins.v2 = await new RawOrigin(async (wire, origin) => {
    const fixed = await wire.take(16);
    const body = await wire.take(fixed.readUInt16BE(14));
    for (;;) {
      await wire.request();
      await wire.write(ok(JSON.stringify({ header: Buffer.concat([fixed, body]).toString('hex'), connection: origin.connections })));
    }
  }).start();
  // A PROXY header in the clear, then TLS.
  const secure = new TlsOrigin(identity(leaf), async (wire) => {
    const request = await wire.request();
    await wire.write(ok(request.target));
  });
  origins.secure = await new RawOrigin(async (wire, origin) => {
    const header = await wire.take(28);
    origin.header = header.toString('hex');
    wire.socket.removeAllListeners('data');
    wire.socket.pause();
    if (wire.data.length) wire.socket.unshift(wire.data);
    secure.secure.emit('connection', wire.socket);
  }).start();
  for (const name of ['clear', 'proxied', 'secure', 'ops']) ports[name] = await freePort();
  const url = (origin) => `http://127.0.0.1:${origin.port}`;
  proxy = await new Service('proxy', {
    dir,
    opsPort: ports.ops,
    config: `
listeners:
  - address: "127.0.0.1:${ports.clear}"
  - { address: "127.0.0.1:${ports.proxied}", proxy_protocol: required }
  - { address: "127.0.0.1:${ports.secure}", proxy_protocol: required, tls: { certificate: ${leaf.certificate}, key: ${leaf.key} } }
workers: "1"
ops: { address: "127.0.0.1:${ports.ops}" }
timeouts: { drain_delay: 0s, shutdown: 2s }
pools:
  plain: { backends: ["${url(origins.plain)}"] }
  v1: { backends: ["${url(origins.v1)}"], send_proxy: v1 }
  v2: { backends: ["${url(origins.v2)}"], send_proxy: v2 }
  secure: { backends: [{ url: "https://127.0.0.1:${origins.secure.port}", tls: { ca: ${authority.file} } }], send_proxy: v2 }
routes:
  - { path: /, pool: plain }
  - { path: /v1, pool: v1 }
  - { path: /v2, pool: v2 }
  - { path: /secure, pool: secure }
`,
  }).start();
});

after(async () => {
  for (const origin of Object.values(origins)) await origin.stop();
  await proxy?.stop();
  removeDirectory(dir);
});

const failures = (reason) => proxy.metric('octroi_proxy_ingress_failures_total', `stage="proxy_protocol",reason="${reason}"`);
const bytes = (...parts) => Buffer.concat(parts.map((part) => Buffer.from(part)));

describe('read', () => {
  for (const [name, header, client] of [
    ['v1 over IPv4', 'PROXY TCP4 203.0.113.9 198.51.100.1 5000 443\r\n', '203.0.113.9'],
    ['v1 over IPv6', 'PROXY TCP6 2001:db8::7 ::1 1 65535\r\n', '2001:db8::7'],
    ['v1 of unknown', 'PROXY UNKNOWN\r\n', '127.0.0.1'],
    ['v1 of unknown with something behind it', 'PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n', '127.0.0.1'],
    ['v2 over IPv4', V2, '203.0.113.9'],
    ['v2 over IPv6', V2_6, '2001:db8::7'],
    ['v2 LOCAL', v2({ command: 0x20, family: 0 }), '127.0.0.1'],
    ['v2 UNSPEC', v2({ family: 0, body: Buffer.from('whatever') }), '127.0.0.1'],
    ['v2 with TLVs', v2({ body: inet([203, 0, 113, 9], [1, 1, 1, 1], [1, 2], Buffer.from([4, 0, 2, 0, 0, 2, 0, 3, 97, 98, 99])) }), '203.0.113.9'],
  ]) {
    test(name, async () => {
      const answer = await ask(ports.proxied, bytes(header, REQUEST));
      assert.equal(answer.status, 200);
      assert.equal(answer.json()['x-forwarded-for'], client);
    });
  }

  for (const [name, header] of [['v1', 'PROXY TCP4 203.0.113.9 198.51.100.1 5000 443\r\n'], ['v2', V2]]) {
    test(`${name}, a byte at a time`, async () => {
      const wire = await connect(ports.proxied);
      for (const byte of bytes(header, REQUEST)) await wire.write(Buffer.from([byte]));
      assert.equal((await wire.response()).json()['x-forwarded-for'], '203.0.113.9');
      wire.close();
    });

    test(`${name}, then TLS in the same packet or not`, async () => {
      for (const together of [true, false]) {
        const raw = net.connect(ports.secure, '127.0.0.1');
        raw.setNoDelay(true);
        await new Promise((resolve) => raw.once('connect', resolve));
        if (together) raw.cork();
        raw.write(header);
        const socket = tls.connect({ socket: raw, servername: 'a.test', ca: authority.pem });
        process.nextTick(() => raw.uncork());
        await new Promise((resolve, reject) => {
          socket.once('secureConnect', resolve);
          socket.once('error', reject);
        });
        const wire = new Wire(socket);
        await wire.write(REQUEST);
        const answer = await wire.response();
        assert.equal(answer.json()['x-forwarded-for'], '203.0.113.9');
        assert.equal(answer.json()['x-forwarded-proto'], 'https');
        wire.close();
      }
    });
  }
});

describe('refused', () => {
  for (const [name, header] of [
    ['a request without a header', REQUEST],
    ['an unknown protocol', 'PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n'],
    ['a missing port', 'PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n'],
    ['a port that is too large', 'PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n'],
    ['a bare line feed', 'PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n'],
    ['a line without end', `PROXY TCP4 ${'1'.repeat(200)}`],
    ['an address of the other family', 'PROXY TCP4 ::1 ::1 1 2\r\n'],
    ['v2 of another version', v2({ command: 0x31 })],
    ['v2 of an unknown command', v2({ command: 0x22 })],
    ['v2 over UDP', v2({ family: 0x12, body: Buffer.alloc(12) })],
    ['v2 that is too short for its family', v2({ body: Buffer.alloc(11) })],
    ['v2 that is too long', v2({ length: 0xffff })],
    ['v2 whose TLVs do not add up', v2({ body: inet([1, 1, 1, 1], [1, 1, 1, 1], [1, 2], Buffer.from([4, 0, 9, 0])) })],
  ]) {
    test(name, async () => {
      const before = await failures('malformed');
      const wire = await connect(ports.proxied);
      await wire.write(bytes(header, REQUEST));
      assert.equal((await wire.rest()).length, 0);
      assert.equal(await failures('malformed'), before + 1);
    });
  }
  test('an end in the middle', async () => {
    const before = await failures('closed');
    const wire = await connect(ports.proxied);
    await wire.write(V2.subarray(0, 20));
    wire.socket.end();
    await wire.rest();
    assert.equal(await failures('closed'), before + 1);
  });
});

describe('trust and time', () => {
  const own = async (rest, work) => {
    const port = await freePort();
    const opsPort = await freePort();
    const service = await new Service('proxy', {
      dir, name: `own-${port}`, opsPort,
      config: `
listeners: [{ address: "127.0.0.1:${port}", proxy_protocol: required }]
workers: "1"
ops: { address: "127.0.0.1:${opsPort}" }
pools: { plain: { backends: ["http://127.0.0.1:${origins.plain.port}"] } }
routes: [{ path: /, pool: plain }]
${rest}`,
    }).start();
    try {
      await work(port, (reason) => service.metric('octroi_proxy_ingress_failures_total', `reason="${reason}"`));
    } finally {
      await service.stop();
    }
  };

  test('who is not among the trusted proxies may not speak it', () =>
    own('trusted_proxies: [10.0.0.0/8]\ntimeouts: { drain_delay: 0s, shutdown: 2s }', async (port, count) => {
      const wire = await connect(port);
      assert.equal((await wire.rest()).length, 0);
      assert.equal(await count('untrusted'), 1);
    }));

  test('one of them may, and X-Forwarded-For of the client that it names is not believed', () =>
    own('trusted_proxies: [127.0.0.1/32]\ntimeouts: { drain_delay: 0s, shutdown: 2s }', async (port) => {
      const answer = await ask(port, bytes(V2, 'GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n'));
      assert.equal(answer.json()['x-forwarded-for'], '203.0.113.9');
    }));

  test('a header has a deadline', () =>
    own('timeouts: { drain_delay: 0s, shutdown: 2s, request_head: 200ms }', async (port, count) => {
      const wire = await connect(port);
      await wire.write('PROXY ');
      await wire.rest();
      await waitUntil('the timeout to be counted', async () => (await count('timeout')) === 1);
    }));
});

describe('written', () => {
  test('v1: who asks, and where', async () => {
    const wire = await connect(ports.clear);
    const { localPort } = wire.socket;
    await wire.write('GET /v1 HTTP/1.1\r\nHost: a.test\r\n\r\n');
    assert.equal((await wire.response()).body.toString(), `PROXY TCP4 127.0.0.1 127.0.0.1 ${localPort} ${ports.clear}\r\n`);
    wire.close();
  });

  test('v2: what was read is passed on', async () => {
    const answer = await ask(ports.proxied, bytes(V2, 'GET /v2 HTTP/1.1\r\nHost: a.test\r\n\r\n'));
    assert.equal(answer.json().header, V2.toString('hex'));
  });

  test('v2 over IPv6', async () => {
    const answer = await ask(ports.proxied, bytes(V2_6, 'GET /v2 HTTP/1.1\r\nHost: a.test\r\n\r\n'));
    assert.equal(answer.json().header, V2_6.toString('hex'));
  });

  test('a connection is of one client: it is not used again for another', async () => {
    const first = await ask(ports.proxied, bytes(V2, 'GET /v2 HTTP/1.1\r\nHost: a.test\r\n\r\n'));
    const second = await ask(ports.proxied, bytes(V2_6, 'GET /v2 HTTP/1.1\r\nHost: a.test\r\n\r\n'));
    assert.notEqual(first.json().connection, second.json().connection);
    assert.equal(second.json().header, V2_6.toString('hex'));
  });

  test('before TLS, in the clear', async () => {
    const answer = await ask(ports.proxied, bytes(V2, 'GET /secure HTTP/1.1\r\nHost: a.test\r\n\r\n'));
    assert.equal(answer.status, 200);
    assert.equal(origins.secure.header, V2.toString('hex'));
  });
});
