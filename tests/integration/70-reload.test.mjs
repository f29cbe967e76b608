// A configuration changes while the proxy serves: nothing is dropped, nothing that was learnt is lost, and what is wrong is refused whole.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync, readlinkSync, renameSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';

import { Authority, identity } from '../support/certificates.mjs';
import { canConnect, freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { RawOrigin, answering, ask, connect, ok } from '../support/raw.mjs';
import { Service } from '../support/service.mjs';
import { TlsOrigin } from '../support/tls.mjs';
import { Traffic } from '../support/traffic.mjs';

let dir;
let proxy;
let port;
let opsPort;
let origin;
let traffic;

before(() => {
  dir = temporaryDirectory('reload');
});

after(() => removeDirectory(dir));

beforeEach(async () => {
  port = await freePort();
  opsPort = await freePort();
  origin = await answering((request) => ok(`origin ${request.target}`)).start();
});

afterEach(async () => {
  await traffic?.stop();
  traffic = null;
  await proxy?.stop();
  proxy = null;
  await origin.stop();
});

const config = ({ listeners = `[{ address: "127.0.0.1:${port}" }]`, pools, routes, more = '', workers = 2 }) => `
listeners: ${listeners}
workers: "${workers}"
ops: { address: "127.0.0.1:${opsPort}" }
timeouts: { drain_delay: 0s, shutdown: 5s }
access_log: { sample: 0 }
${more}
pools:
  site: { backends: ["http://127.0.0.1:${origin.port}"] }
${pools ?? ''}
routes:
  - { path: /, pool: site }
${routes ?? ''}
`;

const start = async (options, name = 'proxy') => {
  proxy = await new Service('proxy', { dir, name, opsPort, config: config(options) }).start();
  return proxy;
};

const write = (options) => writeFileSync(proxy.configFile, typeof options === 'string' ? options : config(options));
const version = () => proxy.metric('octroi_proxy_config_version');
const reloads = (result) => proxy.metric('octroi_config_reloads_total', `result="${result}"`);
const get = (path, at = port) => ask(at, `GET ${path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n`);
const text = async (path, at) => (await get(path, at)).body.toString();

// Writes a configuration, asks for it, and waits until it is taken over.
const reload = async (options) => {
  const before = await version();
  if (options) write(options);
  proxy.process.signal('SIGHUP');
  await waitUntil('the configuration to be taken over', async () => (await version()) === before + 1);
};

const refuse = async (options, says) => {
  const lines = () => proxy.process.log().split('\n').filter((line) => line.includes('reload refused'));
  const before = lines().length;
  const at = await version();
  write(options);
  proxy.process.signal('SIGHUP');
  await waitUntil('the configuration to be refused', () => lines().length === before + 1);
  assert.equal(await version(), at);
  assert.match(lines().at(-1), says);
};

describe('reload', () => {
  test('100 reloads under load: no request fails, memory and counts stay', async () => {
    await start({});
    traffic = new Traffic(port, { path: () => `/x${Math.floor(Math.random() * 10)}`, check: (response, path) => response.status === 200 && response.body.toString() === `origin ${path}` }).start();
    await waitUntil('some load', () => traffic.served > 100);
    const began = Date.now();
    for (let i = 0; i < 100; i += 1) await reload({ routes: `  - { path: /r${i}, pool: p${i % 3} }`, pools: `  p${i % 3}: { backends: ["http://127.0.0.1:${origin.port}"] }` });
    const took = Date.now() - began;
    await traffic.stop();
    console.log(`100 reloads in ${took} ms under load: ${traffic.served} requests on ${traffic.connections} connections, longest ${traffic.longest} ms`);
    assert.deepEqual(traffic.failures, []);
    assert.equal(await version(), 101);
    await waitUntil('old configurations to be gone', async () => (await proxy.metric('octroi_proxy_configs_alive')) === 1);
    assert.equal(await proxy.metric('octroi_proxy_requests_total', 'route="/",'), traffic.served);
  });

  test('idle connections to an origin outlive a reload', async () => {
    await start({ workers: 1 });
    const wire = await connect(port);
    for (let i = 0; i < 5; i += 1) {
      wire.write('GET /keep HTTP/1.1\r\nHost: test\r\n\r\n');
      assert.equal((await wire.response()).status, 200);
      await reload({ workers: 1, routes: `  - { path: /r${i}, pool: site }` });
    }
    wire.close();
    assert.equal(origin.connections, 1);
  });

  test('smooth round robin goes on where it was', async () => {
    const other = await answering(() => ok('other')).start();
    const pools = `  both: { backends: ["http://127.0.0.1:${origin.port}", "http://127.0.0.1:${other.port}"] }`;
    try {
      await start({ workers: 1, pools, routes: '  - { path: /both, pool: both }' });
      const seen = [];
      for (let i = 0; i < 8; i += 1) {
        seen.push((await text('/both')).split(' ')[0]);
        await reload({ workers: 1, pools, routes: `  - { path: /both, pool: both }\n  - { path: /r${i}, pool: both }` });
      }
      assert.deepEqual(seen, ['origin', 'other', 'origin', 'other', 'origin', 'other', 'origin', 'other']);
    } finally {
      await other.stop();
    }
  });

  test('a request in flight keeps the route, the pool and the origin that a reload removes', async () => {
    let release;
    const slow = await new RawOrigin(async (wire) => {
      await wire.request();
      await wire.write('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf');
      await new Promise((resolve) => {
        release = resolve;
      });
      await wire.write('done');
    }).start();
    try {
      await start({ pools: `  slow: { backends: ["http://127.0.0.1:${slow.port}"] }`, routes: '  - { path: /slow, pool: slow }' });
      const wire = await connect(port);
      wire.write('GET /slow HTTP/1.1\r\nHost: test\r\n\r\n');
      await wire.upTo('half');
      await reload({});
      assert.equal(await text('/slow'), 'origin /slow');
      assert.equal(await proxy.metric('octroi_proxy_configs_alive'), 2);
      release();
      assert.equal((await wire.take(4)).toString(), 'done');
      wire.close();
      await waitUntil('the old configuration to be gone', async () => (await proxy.metric('octroi_proxy_configs_alive')) === 1);
      await waitUntil('the connection to the origin to be closed', () => slow.sockets.size === 0);
    } finally {
      await slow.stop();
    }
  });

  test('idle connections to an origin that is removed are closed', async () => {
    const other = await answering(() => ok('other')).start();
    try {
      await start({ pools: `  other: { backends: ["http://127.0.0.1:${other.port}"] }`, routes: '  - { path: /other, pool: other }' });
      assert.equal(await text('/other'), 'other');
      assert.equal(other.sockets.size, 1);
      await reload({});
      await waitUntil('the idle connection to be closed', () => other.sockets.size === 0);
      assert.equal(await proxy.metric('octroi_proxy_upstream_connections', 'pool="other"'), 0);
    } finally {
      await other.stop();
    }
  });

  test('a connection to an origin that was verified by an authority that is none any more serves no new request', async () => {
    const [first, second] = ['first', 'second'].map((name) => new Authority(dir, name));
    const trusted = join(dir, 'trusted.pem');
    const held = [];
    const secure = await new TlsOrigin(identity(first.issue('origin', ['IP:127.0.0.1'])), async (wire, socket, self) => {
      const number = self.connections;
      for (;;) {
        const { target } = await wire.request();
        if (target.endsWith('/held')) await new Promise((resolve) => held.push(resolve));
        await wire.write(ok(`connection ${number}`));
      }
    }).start();
    const options = {
      workers: 1,
      pools: `  secure: { backends: [{ url: "https://127.0.0.1:${secure.port}", tls: { ca: ${trusted} } }], timeouts: { connect: 10s, keepalive_idle: 60s } }`,
      routes: '  - { path: /secure, pool: secure }',
    };
    try {
      writeFileSync(trusted, first.pem);
      await start(options);
      assert.equal(await text('/secure'), 'connection 1');
      await reload();
      assert.equal(await text('/secure'), 'connection 1', 'nothing has changed');
      const wire = await connect(port);
      wire.write('GET /secure/held HTTP/1.1\r\nHost: test\r\n\r\n');
      await waitUntil('the request at the origin', () => held.length === 1);
      assert.equal(await text('/secure'), 'connection 2');

      writeFileSync(trusted, second.pem);
      await reload();
      await waitUntil('the idle connection to be closed', () => secure.sockets.size === 1);
      assert.equal((await get('/secure')).status, 502);
      held.pop()();
      assert.equal((await wire.response()).body.toString(), 'connection 1', 'what is under way ends well');
      assert.equal((await get('/secure')).status, 502, 'and its connection is not kept');
      wire.close();
    } finally {
      await secure.stop();
    }
  });

  test('a connection that told of its client is not kept when send_proxy goes, nor is one that told of nobody used when it comes', async () => {
    const held = [];
    // A PROXY header and the request behind it are read as one head here.
    const told = await new RawOrigin(async (wire, self) => {
      const number = self.connections;
      let about = 'nobody';
      for (;;) {
        const { text: head } = await wire.head();
        if (head.startsWith('PROXY')) about = 'a client';
        if (head.includes('/held')) await new Promise((resolve) => held.push(resolve));
        await wire.write(ok(`${number} ${about}`));
      }
    }).start();
    const options = (mode) => ({ workers: 1, pools: `  told: { backends: ["http://127.0.0.1:${told.port}"], send_proxy: ${mode} }`, routes: '  - { path: /told, pool: told }' });
    try {
      await start(options('v1'));
      const wire = await connect(port);
      wire.write('GET /told/held HTTP/1.1\r\nHost: test\r\n\r\n');
      await waitUntil('the request at the origin', () => held.length === 1);
      await reload(options('"off"'));
      held.pop()();
      assert.equal((await wire.response()).body.toString(), '1 a client');
      assert.equal(await text('/told'), '2 nobody');
      assert.equal(await text('/told'), '2 nobody');
      await reload(options('v1'));
      assert.equal(await text('/told'), '3 a client');
      wire.close();
    } finally {
      await told.stop();
    }
  });

  test('counts of a route survive', async () => {
    await start({});
    for (let i = 1; i <= 3; i += 1) {
      await text('/');
      await reload({});
      await waitUntil('the count', async () => (await proxy.metric('octroi_proxy_requests_total', 'route="/",')) === i);
    }
  });
});

describe('listeners', () => {
  test('one is added, one is removed', async () => {
    await start({});
    const second = await freePort();
    assert.equal(await canConnect(second), false);
    await reload({ listeners: `[{ address: "127.0.0.1:${port}" }, { address: "127.0.0.1:${second}" }]` });
    assert.equal(await text('/a', second), 'origin /a');
    const kept = await connect(port);
    kept.write('GET /b HTTP/1.1\r\nHost: test\r\n\r\n');
    assert.equal((await kept.response()).status, 200);
    await reload({ listeners: `[{ address: "127.0.0.1:${second}" }]` });
    await waitUntil('the listener to be closed', async () => !(await canConnect(port)));
    kept.write('GET /c HTTP/1.1\r\nHost: test\r\n\r\n');
    assert.equal((await kept.response()).body.toString(), 'origin /c');
    kept.close();
    assert.equal(await text('/d', second), 'origin /d');
  });

  test('an address that is taken by another program refuses the whole', async () => {
    await start({});
    await refuse({ listeners: `[{ address: "127.0.0.1:${port}" }, { address: "127.0.0.1:${origin.port}" }]`, routes: '  - { path: /new, pool: site }' }, /listener 127\.0\.0\.1:\d+: Address already in use/);
    assert.equal(await text('/'), 'origin /');
  });
});

describe('a configuration that is refused', () => {
  const cases = [
    ['no YAML', 'routes: [', /proxy\.yaml:\d+/],
    ['an unknown key', () => config({ more: 'nonsense: 1' }), /proxy\.yaml:\d+: nonsense/],
    ['a route to a pool that is not there', () => config({ routes: '  - { path: /x, pool: gone }' }), /there is no pool gone/],
    ['another number of workers', () => config({ workers: 3 }), /workers: cannot change/],
    ['another ops address', () => config({}).replace(/ops:.*/, 'ops: { address: "127.0.0.1:1" }'), /ops\.address: cannot change/],
  ];
  for (const [what, content, says] of cases) {
    test(what, async () => {
      await start({});
      await refuse(typeof content === 'function' ? content() : content, says);
      assert.equal(await text('/still'), 'origin /still');
      await reload({});
    });
  }

  test('in the middle of load, again and again', async () => {
    await start({});
    traffic = new Traffic(port).start();
    for (let i = 0; i < 20; i += 1) {
      await refuse('routes: {}', /proxy\.yaml:1: listeners/);
      await reload({});
    }
    await traffic.stop();
    assert.deepEqual(traffic.failures, []);
  });
});

describe('watch', () => {
  test('a changed file is taken over by itself, a moved one too', async () => {
    await start({ more: 'watch: true' });
    write({ more: 'watch: true', routes: '  - { path: /w, respond: { status: 200, body: "watched" } }' });
    await waitUntil('the change to be seen', async () => (await version()) === 2);
    assert.equal(await text('/w'), 'watched');
    const next = join(dir, 'next.yaml');
    writeFileSync(next, config({ more: 'watch: true', routes: '  - { path: /w, respond: { status: 200, body: "moved" } }' }));
    renameSync(next, proxy.configFile);
    await waitUntil('the move to be seen', async () => (await version()) === 3);
    assert.equal(await text('/w'), 'moved');
  });

  test('a wrong one is refused once, not again and again', async () => {
    await start({ more: 'watch: true' });
    write('routes: {}');
    await waitUntil('the refusal', async () => (await reloads('refused')) === 1);
    write({ more: 'watch: true' });
    await waitUntil('the right one', async () => (await version()) === 2);
    assert.equal(await reloads('refused'), 1);
  });
});

describe('watch, while a configuration is taken over', () => {
  // A certificate that is a pipe holds the proxy up where it reads it.
  test('a change that comes meanwhile is not lost', async () => {
    const certificate = new Authority(dir, 'pipe').issue('pipe', ['DNS:test']);
    const pipe = join(dir, 'pipe.fifo');
    execFileSync('mkfifo', [pipe]);
    const tlsPort = await freePort();
    await start({ more: 'watch: true' });
    const open = () => readdirSync(`/proc/${proxy.pid}/fd`).some((fd) => {
      try {
        return readlinkSync(`/proc/${proxy.pid}/fd/${fd}`) === pipe;
      } catch {
        return false;
      }
    });
    const feed = async () => {
      await writeFile(pipe, readFileSync(certificate.certificate));
      await waitUntil('the pipe to be read', () => !open());
    };
    try {
      write({ more: 'watch: true', listeners: `[{ address: "127.0.0.1:${port}" }, { address: "127.0.0.1:${tlsPort}", tls: { certificate: "${pipe}", key: "${certificate.key}" } }]` });
      await feed();
      const next = join(dir, 'meanwhile.yaml');
      writeFileSync(next, config({ more: 'watch: true', routes: '  - { path: /m, respond: { status: 200, body: "meanwhile" } }' }));
      renameSync(next, proxy.configFile);
      await feed();
      await waitUntil('the later change to be taken over', async () => (await version()) === 3);
      assert.equal(await text('/m'), 'meanwhile');
    } catch (error) {
      await proxy.kill(); // else it may wait for the pipe
      throw error;
    }
  });
});

describe('a large configuration', () => {
  test('10,000 routes', async () => {
    const routes = Array.from({ length: 10_000 }, (_, i) => `  - { host: h${i % 100}.example, path: /a/b${i}, pool: site }`).join('\n');
    await start({ routes });
    const took = [];
    for (let i = 0; i < 5; i += 1) {
      const began = performance.now();
      await reload({ routes: `${routes}\n  - { path: /last${i}, pool: site }` });
      took.push(Math.round(performance.now() - began));
    }
    assert.equal((await ask(port, 'GET /a/b9977/x HTTP/1.1\r\nHost: h77.example\r\nConnection: close\r\n\r\n')).body.toString(), 'origin /a/b9977/x');
    const said = proxy.process.log().match(/"configuration reloaded".*"duration_ms":[\d.]+/g) ?? [];
    console.log(`reload of 10,000 routes, as seen from outside: ${took.join(', ')} ms; ${said.slice(-5).map((line) => line.split('"duration_ms":')[1]).join(', ')} ms of it in the proxy`);
  });
});
