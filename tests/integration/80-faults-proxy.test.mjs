// Clients that leave and origins that lie: each costs its own request, nothing more.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';

import { latch } from '../support/gate.mjs';
import { freePort, removeDirectory, sleep, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { RawOrigin, answering, ask, connect, ok } from '../support/raw.mjs';
import { Service } from '../support/service.mjs';

let dir;
let raw;
let rawHandle;
let echo;
let full;
let proxy;
let port;
let deadPort;

const GET = (path = '/raw', extra = '') => `GET ${path} HTTP/1.1\r\nHost: test\r\n${extra}\r\n`;
const POST = (length, path = '/raw') => `POST ${path} HTTP/1.1\r\nHost: test\r\nContent-Length: ${length}\r\n\r\n`;

before(async () => {
  dir = temporaryDirectory('faults');
  raw = await new RawOrigin((wire, self) => rawHandle(wire, self)).start();
  echo = await answering((request) => ok(request.method)).start();
  full = await new RawOrigin(async (wire, self) => {
    await wire.request();
    self.open = [...(self.open ?? []), wire];
  }).start();
  port = await freePort();
  deadPort = await freePort();
  const opsPort = await freePort();
  proxy = await new Service('proxy', {
    dir,
    opsPort,
    config: `
listeners: ["127.0.0.1:${port}"]
workers: "2"
ops: { address: "127.0.0.1:${opsPort}" }
limits: { connections: 200 }
timeouts: { drain_delay: 0s, shutdown: 2s, request_body_idle: 2s }
pools:
  raw: { backends: ["http://127.0.0.1:${raw.port}"], timeouts: { response_head: 2s, body_idle: 2s } }
  kept: { backends: ["http://127.0.0.1:${raw.port}"], timeouts: { keepalive_idle: 1m } }
  echo: { backends: ["http://127.0.0.1:${echo.port}"] }
  half: { backends: ["http://127.0.0.1:${deadPort}", "http://127.0.0.1:${echo.port}"] }
  dead: { backends: ["http://127.0.0.1:${deadPort}"] }
  full: { backends: [{ url: "http://127.0.0.1:${full.port}", max_connections: 2 }] }
  lost: { backends: ["http://nowhere.invalid:80"] }
routes:
  - { path: /, pool: echo }
  - { path: /raw, pool: raw }
  - { path: /kept, pool: kept }
  - { path: /half, pool: half }
  - { path: /dead, pool: dead }
  - { path: /full, pool: full }
  - { path: /lost, pool: lost }
  - { path: /small, pool: echo, limits: { body_bytes: 1000 } }
`,
  }).start();
});

after(async () => {
  await raw?.stop();
  await echo?.stop();
  await full?.stop();
  await proxy?.stop();
  removeDirectory(dir);
});

// Connections of an earlier test are gone before the next begins.
async function serve(handle) {
  rawHandle = handle;
  for (const socket of raw.sockets) socket.destroy();
  await waitUntil('no connection to the raw origin', async () => (await proxy.metric('octroi_proxy_upstream_connections', 'pool="raw"')) === 0);
}

// Whatever happened, nothing is left of it and others are served.
afterEach(async () => {
  await waitUntil('no request in flight', async () => (await proxy.metric('octroi_proxy_requests_in_flight')) === 0);
  assert.equal((await ask(port, GET('/'))).status, 200);
});

describe('origins that lie', () => {
  const cases = [
    ['nothing at all', '', 502],
    ['noise', 'garbage\r\n\r\n', 502],
    ['HTTP/2', 'HTTP/2 200 OK\r\n\r\n', 502],
    ['a status that is none', 'HTTP/1.1 2x0 OK\r\n\r\n', 502],
    ['a status out of range', 'HTTP/1.1 999 OK\r\n\r\n', 502],
    ['a negative length', 'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n', 502],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab', 502],
    ['a length and a coding', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 502],
    ['an unknown coding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: foo\r\n\r\n', 502],
    ['a coding in HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 502],
    ['bare line feeds', 'HTTP/1.1 200 OK\nContent-Length: 0\n\n', 502],
    ['a folded header', 'HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n', 502],
    ['a NUL in a header', 'HTTP/1.1 200 OK\r\nA: b\0\r\nContent-Length: 0\r\n\r\n', 502],
    ['a head without end', `HTTP/1.1 200 OK\r\nA: ${'a'.repeat(70000)}`, 502],
    ['headers without end', `HTTP/1.1 200 OK\r\n${'A: b\r\n'.repeat(5000)}`, 502],
    ['a protocol switch', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n', 502],
    ['interim responses without end', 'HTTP/1.1 103 Hints\r\n\r\n'.repeat(30), 502],
    ['half a head', 'HTTP/1.1 200 OK\r\nContent-Le', 502],
    ['a first chunk that is none', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', 502],
  ];
  for (const [what, bytes, status] of cases)
    test(what, async () => {
      await serve(async (wire) => {
        await wire.request();
        await wire.write(Buffer.from(bytes, 'latin1'));
        wire.socket.end();
      });
      const wire = await connect(port);
      wire.write(GET());
      let response = await wire.response();
      while (response.status < 200) response = await wire.response();
      assert.equal(response.status, status);
      assert.equal(response.json().type.split('/').pop(), 'bad-gateway');
      wire.close();
    });

  const truncated = [
    ['a body shorter than its length', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc'],
    ['a chunked body without its end', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n'],
  ];
  for (const [what, bytes] of truncated)
    test(`${what} is not passed on as whole`, async () => {
      await serve(async (wire) => {
        await wire.request();
        await wire.write(bytes);
        wire.socket.end();
      });
      await assert.rejects(ask(port, GET()), /connection ended/);
    });

  test('a broken chunk in the middle is not passed on as whole', async () => {
    await serve(async (wire) => {
      await wire.request();
      await wire.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
      await sleep(30);
      await wire.write('nonsense\r\n');
    });
    await assert.rejects(ask(port, GET()), /connection ended/);
  });

  test('a truncated body reaches an HTTP/1.0 client as a reset', async () => {
    const passed = latch();
    await serve(async (wire) => {
      await wire.request();
      await wire.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
      await passed; // apart: node takes a reset that comes with data for an end
      wire.socket.end();
    });
    const wire = await connect(port);
    wire.write('GET /raw HTTP/1.0\r\nHost: test\r\n\r\n');
    await wire.upTo('abc');
    passed.open();
    await wire.rest();
    assert.equal(wire.error?.code, 'ECONNRESET');
  });

  test('bytes behind a response do not become the next one', async () => {
    await serve(async (wire) => {
      await wire.request();
      await wire.write(`${ok('one')}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`);
      await wire.request().then(() => wire.write(ok('two')));
    });
    const wire = await connect(port);
    wire.write(GET());
    assert.equal((await wire.response()).body.toString(), 'one');
    await serve(async (next) => {
      await next.request();
      await next.write(ok('fresh'));
    });
    wire.write(GET());
    assert.equal((await wire.response()).body.toString(), 'fresh');
    wire.close();
  });

  test('an origin that closes an idle connection costs nobody a request', async () => {
    let requests = 0;
    await serve(async (wire) => {
      for (;;) {
        await wire.request();
        requests += 1;
        await wire.write(ok('x'));
        if (requests % 2 === 0) {
          wire.reset();
          return;
        }
      }
    });
    const wire = await connect(port);
    for (let i = 0; i < 40; i++) {
      wire.write(GET());
      assert.equal((await wire.response()).status, 200);
    }
    wire.close();
  });

  test('a reused connection that dies before its answer is replaced once, for what may be repeated', async () => {
    let seen = [];
    const handle = async (wire) => {
      await wire.request();
      await wire.write(ok('first'));
      const request = await wire.request();
      seen.push(request.method);
      wire.reset();
    };
    await serve(handle);
    const wire = await connect(port);
    wire.write(GET());
    await wire.response();
    wire.write(GET());
    assert.equal((await wire.response()).body.toString(), 'first');
    assert.deepEqual(seen, ['GET']);
    wire.write(`${POST(1)}a`);
    assert.equal((await wire.response()).status, 502, 'a POST is not repeated');
    assert.deepEqual(seen, ['GET', 'POST']);
    wire.close();
  });

  test('what cannot be repeated, a large PUT too, is not trusted to a connection idle for a second', async () => {
    await serve(async (wire) => {
      await wire.request();
      await wire.write(ok('first'));
      await wire.head();
      wire.reset();
    });
    assert.equal((await ask(port, GET('/kept'))).status, 200);
    const since = Date.now();
    await waitUntil('a second to pass', () => Date.now() - since > 1100);
    assert.equal(await proxy.metric('octroi_proxy_upstream_connections', 'pool="kept",state="idle"'), 1);
    const put = await ask(port, `PUT /kept HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n${'a'.repeat(100_000)}`);
    assert.equal(put.body.toString(), 'first');
  });

  test('an early answer to an upload reaches the client', async () => {
    await serve(async (wire) => {
      await wire.head();
      await wire.write('HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno');
      wire.socket.end();
    });
    const wire = await connect(port);
    wire.write(POST(50_000_000));
    wire.socket.write(Buffer.alloc(200_000));
    const response = await wire.response();
    assert.equal(response.status, 413);
    assert.equal(response.headers.connection, 'close');
    wire.close();
  });

  test('a refusal during an upload is seen by the client', async () => {
    const wire = await connect(port);
    wire.write(`POST /small HTTP/1.1\r\nHost: test\r\nContent-Length: 5000000\r\n\r\n`);
    wire.socket.write(Buffer.alloc(150_000));
    assert.equal((await wire.response()).status, 413);
    await wire.rest();
    assert.equal(wire.error, null, 'no reset before it was read');
  });
});

describe('origins that are away', () => {
  test('refused: 502', async () => assert.equal((await ask(port, GET('/dead'))).json().type.split('/').pop(), 'upstream-unreachable'));

  test('unresolved: 503 with Retry-After', async () => {
    const response = await ask(port, GET('/lost'));
    assert.equal(response.status, 503);
    assert.ok(response.headers['retry-after']);
  });

  test('one of two refused: the other serves, a POST too', async () => {
    for (let i = 0; i < 10; i++) assert.equal((await ask(port, `${POST(1, '/half')}a`)).status, 200);
  });

  test('it is used again when it is back', async () => {
    await ask(port, GET('/dead'));
    const back = net.createServer((socket) => socket.once('data', () => socket.end(ok('back'))));
    await new Promise((resolve) => back.listen(deadPort, '127.0.0.1', resolve));
    await waitUntil('the backend', async () => (await ask(port, GET('/dead'))).body.toString() === 'back');
    await new Promise((resolve) => back.close(resolve));
  });

  test('a full backend refuses more, and serves again when there is room', async () => {
    const wires = [await connect(port), await connect(port)];
    for (const wire of wires) wire.write(GET('/full'));
    await waitUntil('both to arrive', () => full.open?.length === 2);
    const response = await ask(port, GET('/full'));
    assert.equal(response.status, 503);
    assert.equal(response.json().type.split('/').pop(), 'overloaded');
    for (const open of full.open) await open.write(ok('done'));
    for (const wire of wires) {
      assert.equal((await wire.response()).status, 200);
      wire.close();
    }
  });
});

describe('clients that leave', () => {
  for (const how of ['close', 'reset']) {
    test(`in the head (${how})`, async () => {
      const wire = await connect(port);
      await wire.write('GET /raw HTTP/1.1\r\nHo');
      await sleep(20);
      wire[how]();
    });

    test(`while the origin thinks: the origin is told (${how})`, async () => {
      const [come, gone] = [latch(), latch()];
      await serve(async (wire) => {
        await wire.request();
        wire.socket.once('close', gone.open);
        come.open();
        await wire.rest();
        gone.open();
      });
      const wire = await connect(port);
      await wire.write(GET());
      await come;
      wire[how]();
      await gone;
    });

    test(`in the middle of an upload (${how})`, async () => {
      const [come, gone] = [latch(), latch()];
      await serve(async (wire) => {
        await wire.head();
        come.open();
        await wire.rest();
        gone.open();
      });
      const wire = await connect(port);
      await wire.write(`${POST(1000)}abc`);
      await come;
      wire[how]();
      await gone;
    });

    test(`in the middle of a download (${how})`, async () => {
      let left;
      const gone = new Promise((resolve) => (left = resolve));
      await serve(async (wire) => {
        await wire.request();
        wire.socket.once('close', left);
        wire.socket.on('error', left);
        await wire.write('HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n');
        const block = Buffer.alloc(100_000);
        for (let i = 0; i < 1000 && !wire.ended; i++) await wire.write(block);
      });
      const wire = await connect(port);
      await wire.write(GET());
      await wire.head();
      wire[how]();
      await gone;
    });
  }

  test('before the connection to the origin is there', async () => {
    for (let i = 0; i < 50; i++) {
      const wire = await connect(port);
      wire.socket.write(GET('/half'));
      wire.reset();
    }
  });
});

test('connections beyond the limit are closed, and room is found again', async () => {
  const wires = [];
  for (let i = 0; i < 220; i++) wires.push(await connect(port));
  await waitUntil('some to be closed', () => wires.filter((wire) => wire.ended).length >= 15);
  for (const wire of wires) wire.close();
  await waitUntil('room', async () => (await ask(port, GET('/'))).status === 200);
});

describe('name servers that do not answer', () => {
  const server = '127.11.53.1';

  const silent = async () => {
    const socket = dgram.createSocket('udp4');
    socket.bind(53, server);
    await once(socket, 'listening');
    return socket;
  };

  // Each of 15 names takes its second, one after the other.
  test('hold up neither the start, nor the end', async (t) => {
    const own = temporaryDirectory('names');
    const file = join(own, 'resolv.conf');
    writeFileSync(file, `nameserver ${server}\noptions timeout:1 attempts:1\n`);
    t.after(() => removeDirectory(own));
    let socket;
    try {
      execFileSync('unshare', ['-m', 'sh', '-c', `mount --bind ${file} /etc/resolv.conf`], { stdio: 'pipe' });
      socket = await silent();
    } catch {
      t.skip('needs a mount namespace and port 53');
      return;
    }
    let asked = 0;
    socket.on('message', () => (asked += 1));
    const opsPort = await freePort();
    const names = Array.from({ length: 15 }, (_, i) => `"http://n${i}.octroi.test:80"`);
    const service = new Service('proxy', {
      dir: own, opsPort,
      wrap: ['unshare', '-m', 'sh', '-c', `mount --bind ${file} /etc/resolv.conf && exec "$@"`, 'sh'],
      config: `
listeners: ["127.0.0.1:${await freePort()}"]
workers: "1"
ops: { address: "127.0.0.1:${opsPort}" }
timeouts: { drain_delay: 0s, shutdown: 1s }
pools: { it: { backends: [${names.join(', ')}] } }
routes: [{ path: /, pool: it }]
`,
    });
    try {
      let began = Date.now();
      await service.start();
      assert.ok(Date.now() - began < 11_000, `the start took ${Date.now() - began} ms`);
      asked = 0;
      await waitUntil('the next look', () => asked > 0);
      began = Date.now();
      await service.stop();
      assert.ok(Date.now() - began < 8_000, `the end took ${Date.now() - began} ms`);
    } finally {
      socket.close();
      await service.stop();
    }
  });
});
