// HTTP/2 towards clients: streams are requests of their own, bodies stream, and a client that abuses loses its connection, nobody else.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import tls from 'node:tls';
import { after, before, describe, test } from 'node:test';

import { Authority } from '../support/certificates.mjs';
import * as h2 from '../support/h2raw.mjs';
import { freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { RawOrigin, Wire, answering, ok } from '../support/raw.mjs';
import { Service } from '../support/service.mjs';
import { OP, closing, frame, readFrame, switching } from '../support/websocket.mjs';

const MB = 1024 * 1024;

let dir;
let origin;
let raw;
let rawHandle;
let proxy;
let port;
let opsPort;
let tlsPort;
let authority;
let leaf;

const config = () => `
listeners:
  - "127.0.0.1:${port}"
  - { address: "127.0.0.1:${tlsPort}", tls: { certificate: "${leaf.certificate}", key: "${leaf.key}" } }
workers: "1"
ops: { address: "127.0.0.1:${opsPort}" }
limits: { header_bytes: 8KiB, headers: 40, uri_bytes: 1KiB }
timeouts: { drain_delay: 0s, shutdown: 2s, request_head: 1s, request_body_idle: 1s, response_write_idle: 1s, keepalive_idle: 3s }
pools:
  echo: { backends: ["http://127.0.0.1:${origin.port}"] }
  raw: { backends: ["http://127.0.0.1:${raw.port}"], timeouts: { response_head: 2s, body_idle: 5s } }
routes:
  - { path: /, pool: echo }
  - { path: /raw, pool: raw }
  - { path: /ws, pool: raw, protocols: [websocket] }
  - { path: /small, pool: echo, limits: { body_bytes: 10 } }
`;

before(async () => {
  dir = temporaryDirectory('http2');
  origin = await answering((request) =>
    ok(JSON.stringify({ line: request.line, headers: request.headers, body: request.body.toString('latin1'), trailers: request.trailers })),
  ).start();
  raw = await new RawOrigin((wire, self) => rawHandle(wire, self)).start();
  port = await freePort();
  tlsPort = await freePort();
  opsPort = await freePort();
  authority = new Authority(dir);
  leaf = authority.issue('api', ['DNS:localhost', 'IP:127.0.0.1']);
  proxy = await new Service('proxy', { dir, opsPort, config: config() }).start();
});

after(async () => {
  await origin?.stop();
  await raw?.stop();
  await proxy?.stop();
  removeDirectory(dir);
});

async function serve(handle) {
  rawHandle = handle;
  for (const socket of raw.sockets) socket.destroy();
  await waitUntil('no connection to the raw origin', async () => (await proxy.metric('octroi_proxy_upstream_connections', 'pool="raw"')) === 0);
}

const rss = () => Number(readFileSync(`/proc/${proxy.pid}/statm`, 'utf8').split(' ')[1]) * 4096;
const idle = () => waitUntil('no request in flight', async () => (await proxy.metric('octroi_proxy_requests_in_flight')) === 0);
const abuses = (kind) => proxy.metric('octroi_proxy_http2_abuses_total', `kind="${kind}"`);

async function session(options) {
  const client = http2.connect(`http://127.0.0.1:${port}`, options);
  client.on('error', () => {});
  await new Promise((resolve, reject) => {
    client.once('connect', resolve);
    client.once('error', reject);
  });
  return client;
}

// One request of a session: everything that came back.
function fetch2(client, headers, { body, trailers } = {}) {
  return new Promise((resolve, reject) => {
    const stream = client.request({ ':path': '/', ...headers }, { endStream: body === undefined && !trailers, waitForTrailers: Boolean(trailers) });
    const got = { interim: [], body: Buffer.alloc(0), trailers: null };
    if (trailers) stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    stream.on('headers', (head) => got.interim.push(head));
    stream.on('response', (head) => {
      got.headers = head;
      got.status = head[':status'];
    });
    stream.on('trailers', (head) => { got.trailers = head; });
    stream.on('data', (bytes) => { got.body = Buffer.concat([got.body, bytes]); });
    stream.on('error', reject);
    stream.on('close', () => resolve({ ...got, code: stream.rstCode, json: () => JSON.parse(got.body.toString()) }));
    if (body !== undefined || trailers) stream.end(body);
  });
}

// On a connection of its own.
async function ask(headers, options) {
  const client = await session();
  try {
    return await fetch2(client, headers, options);
  } finally {
    client.destroy();
  }
}

describe('requests and answers', () => {
  test('an origin sees an ordinary HTTP/1.1 request', async () => {
    const { status, headers, json } = await ask({ ':path': '/a/../b?c=d', 'x-mine': 'v', cookie: ['a=1', 'b=2'], te: 'trailers' });
    assert.equal(status, 200);
    const seen = json();
    assert.equal(seen.line, 'GET /b?c=d HTTP/1.1');
    assert.equal(seen.headers['x-mine'], 'v');
    assert.equal(seen.headers.cookie, 'a=1; b=2');
    assert.equal(seen.headers.host, `127.0.0.1:${port}`);
    assert.equal(seen.headers['x-forwarded-for'], '127.0.0.1');
    assert.ok(!('te' in seen.headers) && !('transfer-encoding' in seen.headers));
    assert.match(headers['x-request-id'], /^[0-9a-f]{32}$/);
    assert.ok(headers.date);
    assert.equal(headers['content-length'], String(Buffer.byteLength(JSON.stringify(seen))));
  });

  test('many streams of one connection, each with its own answer', async () => {
    const client = await session();
    const answers = await Promise.all(Array.from({ length: 90 }, (_, i) => fetch2(client, { ':path': `/n/${i}` })));
    answers.forEach((answer, i) => assert.equal(answer.json().line, `GET /n/${i} HTTP/1.1`));
    client.destroy();
  });

  test('bodies: with a length, without one, and none after all', async () => {
    const sized = (await ask({ ':method': 'POST', 'content-length': '5' }, { body: 'hello' })).json();
    assert.equal(sized.body, 'hello');
    assert.equal(sized.headers['content-length'], '5');
    const unsized = (await ask({ ':method': 'POST' }, { body: 'hello' })).json();
    assert.equal(unsized.body, 'hello');
    assert.equal(unsized.headers['transfer-encoding'], 'chunked');
    const client = await h2.connectH2(port);
    await client.write(h2.open(1, [], { method: 'GET' }), h2.frame(h2.DATA, h2.END_STREAM, 1));
    assert.equal(await client.status(1), 200);
    const { payload } = await client.next(({ type }) => type === h2.DATA);
    assert.ok(!('transfer-encoding' in JSON.parse(payload.toString()).headers));
    client.close();
  });

  test('trailers pass in both directions, without those that must not come late', async () => {
    const up = (await ask({ ':method': 'POST' }, { body: 'x', trailers: { 'x-sum': '7', 'x-forwarded-for': '9.9.9.9' } })).json();
    assert.deepEqual(up.trailers, ['x-sum: 7']);
    await serve(async (wire) => {
      await wire.request();
      await wire.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n');
    });
    const down = await ask({ ':path': '/raw' });
    assert.equal(down.body.toString(), 'abc');
    assert.equal(down.trailers['x-sum'], '9');
    assert.ok(!('transfer-encoding' in down.headers) && !('trailer' in down.headers));
  });

  test('trailers without a body', async () => {
    await serve(async (wire) => {
      await wire.request();
      await wire.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\ngrpc-status: 5\r\n\r\n');
    });
    const { body, trailers } = await ask({ ':path': '/raw' });
    assert.equal(body.length, 0);
    assert.equal(trailers['grpc-status'], '5');
  });

  test('trailers beyond the limit of headers cut the answer', async () => {
    await serve(async (wire) => {
      await wire.request();
      await wire.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n${'a:b\r\n'.repeat(600)}\r\n`);
    });
    await assert.rejects(ask({ ':path': '/raw' }), /INTERNAL_ERROR/);
    await idle();
  });

  test('HEAD, 204 and 304 have no body', async () => {
    await serve(async (wire) => {
      for (;;) {
        const { method, target } = await wire.request();
        if (method === 'HEAD') await wire.write('HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n');
        else if (target.endsWith('204')) await wire.write('HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n');
        else await wire.write('HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n');
      }
    });
    const client = await session();
    assert.equal((await fetch2(client, { ':method': 'HEAD', ':path': '/raw' })).headers['content-length'], '500');
    const empty = await fetch2(client, { ':path': '/raw/204' });
    assert.ok(empty.status === 204 && !('content-length' in empty.headers));
    assert.equal((await fetch2(client, { ':path': '/raw/304' })).headers.etag, '"a"');
    client.destroy();
  });

  test('interim answers pass, 100 only where it is expected', async () => {
    await serve(async (wire) => {
      for (;;) {
        const { headers } = await wire.head();
        await wire.write('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n');
        if (headers['content-length']) await wire.take(2);
        await wire.write(ok('x'));
      }
    });
    const plain = await ask({ ':path': '/raw' });
    assert.deepEqual(plain.interim.map((head) => head[':status']), [103]);
    assert.equal(plain.interim[0].link, '</a>');
    const client = await h2.connectH2(port);
    await client.write(h2.open(1, [['expect', '100-continue'], ['content-length', '2']], { path: '/raw' }));
    assert.equal(await client.status(1), -1); // 100
    assert.equal(await client.status(1), -1); // 103
    await client.write(h2.frame(h2.DATA, h2.END_STREAM, 1, 'ok'));
    assert.equal(await client.status(1), 200);
    client.close();
  });

  test('a close-delimited body is whole, a truncated one is not passed on as whole', async () => {
    await serve(async (wire) => {
      const { target } = await wire.request();
      await wire.write(target.endsWith('cut') ? 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf' : 'HTTP/1.1 200 OK\r\n\r\nthe whole');
      wire.socket.end();
    });
    assert.equal((await ask({ ':path': '/raw' })).body.toString(), 'the whole');
    await assert.rejects(ask({ ':path': '/raw/cut' }), /INTERNAL_ERROR/);
    await idle();
  });

  test('streams share what a slow client takes', async () => {
    await serve(async (wire) => {
      await wire.request();
      await wire.write(`HTTP/1.1 200 OK\r\nContent-Length: ${8 * MB}\r\n\r\n`);
      await wire.write(Buffer.alloc(8 * MB));
    });
    const client = await session();
    const taken = [0, 0, 0, 0];
    const streams = taken.map(() => client.request({ ':path': '/raw' }));
    await new Promise((resolve) => {
      for (const [i, stream] of streams.entries()) {
        stream.on('data', (bytes) => {
          taken[i] += bytes.length;
          if (taken.reduce((a, b) => a + b) > 4 * MB) resolve();
        });
      }
    });
    assert.ok(Math.min(...taken) > MB / 4, `${taken}`);
    client.destroy();
    await idle();
  });

  test('a connection-specific header of an origin does not reach the client', async () => {
    await serve(async (wire) => {
      await wire.request();
      await wire.write('HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-End: 2\r\nContent-Length: 1\r\n\r\nx');
    });
    const { headers } = await ask({ ':path': '/raw' });
    assert.ok(!('connection' in headers) && !('x-hop' in headers) && !('keep-alive' in headers));
    assert.equal(headers['x-end'], '2');
  });

  test('the preface may come in pieces', async () => {
    const client = await h2.connectH2(port, []);
    client.close();
    const { RawH2 } = h2;
    const net = await import('node:net');
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    const slow = new RawH2(socket);
    for (const byte of h2.PREFACE) await slow.write(byte);
    await slow.write(h2.settings(), h2.get(1));
    assert.equal(await slow.status(1), 200);
    slow.close();
  });
});

describe('over TLS', () => {
  test('ALPN chooses, and bodies of some megabytes pass unchanged in both directions', async () => {
    const body = randomBytes(5 * MB);
    await serve(async (wire) => {
      for (;;) {
        const request = await wire.request();
        await wire.write(`HTTP/1.1 200 OK\r\nContent-Length: ${request.body.length}\r\nX-Proto: ${request.headers['x-forwarded-proto']}\r\n\r\n`);
        await wire.write(request.body);
      }
    });
    const client = http2.connect(`https://localhost:${tlsPort}`, { ca: authority.pem });
    const answers = await Promise.all([0, 1, 2].map(() => fetch2(client, { ':method': 'POST', ':path': '/raw' }, { body })));
    assert.equal(client.alpnProtocol, 'h2');
    for (const answer of answers) {
      assert.equal(answer.headers['x-proto'], 'https');
      assert.ok(answer.body.equals(body), `${answer.body.length} of ${body.length}, code ${answer.code}`);
    }
    client.destroy();
    await idle();
  });

  test('who offers HTTP/1.1 only gets it', async () => {
    const socket = tls.connect({ port: tlsPort, host: '127.0.0.1', servername: 'localhost', ca: authority.pem, ALPNProtocols: ['http/1.1'] });
    await new Promise((resolve, reject) => {
      socket.once('secureConnect', resolve);
      socket.once('error', reject);
    });
    assert.equal(socket.alpnProtocol, 'http/1.1');
    const wire = new Wire(socket);
    wire.write('GET / HTTP/1.1\r\nHost: test\r\n\r\n');
    assert.equal((await wire.response()).status, 200);
    wire.close();
  });

  test('a preface that is none ends a connection that has chosen h2', async () => {
    const socket = tls.connect({ port: tlsPort, host: '127.0.0.1', servername: 'localhost', ca: authority.pem, ALPNProtocols: ['h2'] });
    const client = new h2.RawH2(socket);
    await client.write('GET / HTTP/1.1\r\nHost: test\r\n\r\n');
    assert.equal((await client.goaway()).code, h2.PROTOCOL_ERROR);
    await client.end();
  });
});

describe('WebSocket over a stream (RFC 8441)', () => {
  const extended = (extra = []) => h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.block([[':method', 'CONNECT'], [':protocol', 'websocket'], ...h2.request([], { path: '/ws' }).slice(1), ['sec-websocket-version', '13'], ...extra]));

  const refusal = async (client) => JSON.parse((await client.next(({ type, stream }) => type === h2.DATA && stream === 1)).payload);

  test('the origin sees an upgrade, the client a 200, and bytes pass both ways', async () => {
    let seen;
    await serve(async (wire) => {
      seen = await wire.head();
      await wire.write(switching(seen));
      const hello = await readFrame(wire);
      await wire.write(frame(OP.text, `got ${hello.payload}`));
      await readFrame(wire);
      await wire.write(closing(1000));
      wire.socket.end();
    });
    const client = await h2.connectH2(port);
    await client.write(extended());
    const head = await client.next(({ type, stream }) => type === h2.HEADERS && stream === 1);
    assert.equal(head.payload[0], 0x88);
    assert.ok(!(head.flags & h2.END_STREAM));
    assert.ok(!head.payload.includes('sec-websocket-accept'));
    assert.equal(seen.line, 'GET /ws HTTP/1.1');
    assert.match(seen.headers.upgrade, /websocket/i);
    await client.write(h2.frame(h2.DATA, 0, 1, frame(OP.text, 'hi', { masked: true })), h2.get(3));
    assert.equal((await client.next(({ type, stream }) => type === h2.DATA && stream === 1)).payload.subarray(2).toString(), 'got hi');
    await client.write(h2.frame(h2.DATA, 0, 1, closing(1000, '', { masked: true })));
    const last = await client.next(({ type, stream }) => type === h2.DATA && stream === 1);
    assert.equal(last.payload[0], 0x88, 'a close frame');
    await client.write(h2.get(5));
    assert.equal(await client.status(5), 200);
    client.close();
    await idle();
  });

  test('an origin that declines answers as it likes', async () => {
    await serve(async (wire) => {
      await wire.head();
      await wire.write('HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno');
    });
    const client = await h2.connectH2(port);
    await client.write(extended());
    assert.equal(await client.status(1), 404);
    client.close();
    await idle();
  });

  // Over HTTP/1.1 such an answer is no WebSocket; over HTTP/2 any 2xx would be one.
  test('an origin that answers 200 instead of switching has failed', async () => {
    await serve(async (wire) => {
      await wire.head();
      await wire.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno');
    });
    const client = await h2.connectH2(port);
    await client.write(extended());
    assert.equal((await refusal(client)).status, 502);
    client.close();
    await idle();
  });

  test('a route that takes no WebSocket refuses, and its origin is not asked', async () => {
    let asked = false;
    await serve(async (wire) => {
      await wire.head();
      asked = true;
      await wire.write(ok('plain'));
    });
    const client = await h2.connectH2(port);
    await client.write(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.block([[':method', 'CONNECT'], [':protocol', 'websocket'], ...h2.request([], { path: '/raw' }).slice(1), ['sec-websocket-version', '13']])));
    assert.equal((await refusal(client)).status, 501);
    assert.ok(!asked);
    client.close();
    await idle();
  });

  test('another protocol', async () => {
    const client = await h2.connectH2(port);
    await client.write(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.block([[':method', 'CONNECT'], [':protocol', 'connect-udp'], ...h2.request().slice(1)])));
    const found = await client.next(({ type, stream }) => type === h2.HEADERS && stream === 1);
    assert.ok(found.payload[0] !== 0x88);
    client.close();
  });
});

describe('requests that are refused', () => {
  const cases = [
    ['Host that disagrees', [['host', 'other']], {}, 400],
    ['a path that is not absolute', [], { path: 'x' }, 'reset'],
    ['an absolute target in :path', [], { path: 'http://evil/' }, 'reset'],
    ['a space in :path', [], { path: '/a HTTP/1.1' }, 'reset or 400'],
    ['an encoded NUL', [], { path: '/a%00' }, 400],
    ['an unknown scheme', [], { scheme: 'ftp' }, 400],
    ['user information in :authority', [], { authority: 'a@test' }, 400],
    ['Transfer-Encoding', [['transfer-encoding', 'chunked']], {}, 'reset'],
    ['Connection', [['connection', 'close']], {}, 'reset'],
    ['Upgrade', [['upgrade', 'h2c']], {}, 'reset'],
    ['te beyond trailers', [['te', 'gzip']], {}, 'reset'],
    ['a name in upper case', [['X-Mine', '1']], {}, 'reset'],
    ['a space in a name', [['x mine', '1']], {}, 'reset'],
    ['a line break in a value', [['x', 'a\r\nHost: evil']], {}, 'reset'],
    ['a line feed in a value', [['x', 'a\nb']], {}, 'reset'],
    ['a NUL in a value', [['x', 'a\0b']], {}, 'reset'],
    ['an unknown pseudo-header', [[':other', '1']], {}, 'reset'],
    ['a pseudo-header twice', [[':path', '/b']], {}, 'reset'],
    ['a pseudo-header of responses', [[':status', '200']], {}, 'reset'],
    ['a pseudo-header behind a field', [['a', 'b'], [':scheme', 'https']], {}, 'reset'],
    ['a length that is a list', [['content-length', '3, 3']], {}, 'reset'],
    ['a method with a space', [], { method: 'GE T' }, 'reset or 400'],
    ['an expectation that nobody knows', [['expect', 'magic']], {}, -1],
    ['a long target', [], { path: `/${'a'.repeat(1100)}` }, -1],
    ['too many headers', Array.from({ length: 50 }, (_, i) => [`x-${i}`, 'v']), {}, -1],
    ['a large header', [['x', 'v'.repeat(9000)]], {}, -1],
  ];
  for (const [name, extra, options, expected] of cases)
    test(name, async () => {
      const client = await h2.connectH2(port);
      await client.write(h2.get(1, extra, options), h2.get(3));
      const found = await client.next(({ type, stream }) => stream === 1 && (type === h2.HEADERS || type === h2.RST_STREAM));
      assert.ok(found, 'an answer');
      if (found.type === h2.RST_STREAM) {
        assert.match(String(expected), /reset/);
        assert.equal(found.payload.readUInt32BE(0), h2.PROTOCOL_ERROR);
      } else {
        assert.ok(expected === 'reset or 400' || expected === 400 ? found.payload[0] === 0x8c : expected === -1 && found.payload[0] !== 0x88, `head ${found.payload.toString('hex')}`);
      }
      assert.equal(await client.status(3), 200, 'the next stream is served');
      client.close();
    });

  test('each with its problem', async () => {
    for (const [headers, status] of [[{ ':path': `/${'a'.repeat(1100)}` }, 414], [{ x: 'v'.repeat(9000) }, 431], [{ expect: 'magic' }, 417], [{ ':method': 'CONNECT', ':authority': 'a:1' }, 405]]) {
      if (headers[':method'] === 'CONNECT') continue;
      const answer = await ask(headers);
      assert.equal(answer.status, status);
      assert.equal(answer.headers['content-type'], 'application/problem+json');
      assert.equal(answer.json().status, status);
    }
  });

  test('CONNECT', async () => {
    const client = await h2.connectH2(port);
    await client.write(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.block([[':method', 'CONNECT'], [':authority', 'test:443']])));
    const found = await client.next(({ type, stream }) => stream === 1 && type === h2.HEADERS);
    assert.ok(found.payload.includes('405') || found.payload[0] !== 0x88);
    client.close();
  });

  test('more or fewer bytes than content-length', async () => {
    for (const [body, length] of [['abcd', '3'], ['ab', '3']]) {
      const client = await h2.connectH2(port);
      await client.write(h2.open(1, [['content-length', length]]), h2.frame(h2.DATA, h2.END_STREAM, 1, body));
      assert.equal(await client.resetOf(1), h2.PROTOCOL_ERROR);
      client.close();
    }
    await idle();
  });

  test('during an upload: the answer, then RST_STREAM NO_ERROR', async () => {
    const client = await h2.connectH2(port);
    await client.write(h2.open(1, [], { path: '/small' }), h2.frame(h2.DATA, 0, 1, Buffer.alloc(100)));
    assert.equal(await client.status(1), -1);
    const problem = await client.next(({ type }) => type === h2.DATA);
    assert.equal(JSON.parse(problem.payload.toString()).status, 413);
    assert.equal(await client.resetOf(1), h2.NO_ERROR);
    await client.write(h2.frame(h2.DATA, 0, 1, Buffer.alloc(100)), h2.get(3));
    assert.equal(await client.status(3), 200);
    client.close();
  });
});

describe('streaming', () => {
  test('a large upload passes without being kept, to a slow origin', async () => {
    let got = 0;
    let head;
    await serve(async (wire) => {
      head = (await wire.head()).headers;
      wire.socket.removeAllListeners('data');
      got = wire.data.length;
      wire.data = Buffer.alloc(0);
      await new Promise((resolve) => {
        wire.socket.on('data', (bytes) => {
          got += bytes.length;
          if (got >= 64 * MB) resolve();
          wire.socket.pause();
          setImmediate(() => wire.socket.resume());
        });
      });
      await wire.write(ok('done'));
    });
    const client = await session();
    const start = rss();
    let most = 0;
    const stream = client.request({ ':method': 'POST', ':path': '/raw', 'content-length': String(64 * MB) });
    const answer = new Promise((resolve) => stream.on('response', resolve));
    const block = Buffer.alloc(MB, 97);
    for (let i = 0; i < 64; i++) {
      await new Promise((resolve) => stream.write(block, resolve));
      most = Math.max(most, rss());
    }
    stream.end();
    assert.equal((await answer)[':status'], 200);
    assert.equal(head['content-length'], String(64 * MB));
    assert.ok(most - start < 24 * MB, `grew by ${(most - start) / MB} MiB`);
    client.destroy();
    await idle();
  });

  test('a large download to a slow reader is not kept, and other streams are served meanwhile', async () => {
    await serve(async (wire) => {
      await wire.request();
      await wire.write(`HTTP/1.1 200 OK\r\nContent-Length: ${64 * MB}\r\n\r\n`);
      const block = Buffer.alloc(MB, 98);
      for (let i = 0; i < 64; i++) await wire.write(block);
    });
    // The client keeps less for a paused stream than the connection's window.
    const client = await session({ settings: { initialWindowSize: 16384 } });
    const start = rss();
    const stream = client.request({ ':path': '/raw' });
    await new Promise((resolve) => stream.on('response', resolve));
    stream.pause();
    for (let i = 0; i < 20; i++) assert.equal((await fetch2(client, { ':path': `/${i}` })).status, 200);
    const most = rss();
    assert.ok(most - start < 24 * MB, `grew by ${(most - start) / MB} MiB`);
    let got = 0;
    stream.on('data', (bytes) => { got += bytes.length; });
    stream.resume();
    await new Promise((resolve) => stream.on('end', resolve));
    assert.equal(got, 64 * MB);
    client.destroy();
  });

  test('both directions stream at once', async () => {
    await serve(async (wire) => {
      await wire.head();
      await wire.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
      for (let i = 0; i < 5; i++) {
        const { 0: size } = (await wire.upTo('\r\n')).split('\r\n');
        const bytes = await wire.take(parseInt(size, 16));
        await wire.take(2);
        await wire.write(`${size}\r\n${bytes}\r\n`);
      }
      await wire.write('0\r\n\r\n');
    });
    const client = await session();
    const stream = client.request({ ':method': 'POST', ':path': '/raw' });
    for (let i = 0; i < 5; i++) {
      const echoed = new Promise((resolve) => stream.once('data', resolve));
      stream.write(`round ${i}`);
      assert.equal((await echoed).toString(), `round ${i}`);
    }
    stream.end();
    stream.resume();
    await new Promise((resolve) => stream.on('end', resolve));
    client.destroy();
    await idle();
  });

  test('stalled uploads of some streams do not hold up the others', async () => {
    await serve(async (wire) => {
      await wire.head();
      wire.socket.pause();
    });
    const client = await h2.connectH2(port);
    const block = Buffer.alloc(16000);
    for (const id of [1, 3, 5]) {
      await client.write(h2.open(id, [], { path: '/raw' }));
      for (let i = 0; i < 4; i++) await client.write(h2.frame(h2.DATA, 0, id, block));
    }
    for (let id = 7; id < 27; id += 2) {
      await client.write(h2.open(id), h2.frame(h2.DATA, h2.END_STREAM, id, block));
      assert.equal(await client.status(id), 200);
    }
    client.close();
    await idle();
  });
});

describe('abuse', () => {
  // The connection ends as it should, and another client is served before, meanwhile and after.
  async function flood(frames, { times = 400, hello, kind, code = h2.ENHANCE_YOUR_CALM } = {}) {
    const before = kind ? await abuses(kind) : 0;
    const other = await session();
    const client = await h2.connectH2(port, hello);
    let next = 1;
    const pump = (async () => {
      for (let i = 0; i < times && !client.ended; i++) {
        await client.write(...frames(next, i));
        next += 2;
      }
    })();
    const goaway = await client.goaway();
    await pump;
    await client.end();
    assert.equal(goaway?.code, code);
    if (kind) assert.equal((await abuses(kind)) - before, 1);
    assert.equal((await fetch2(other, {})).status, 200);
    other.destroy();
    client.close();
    await idle();
  }

  test('rapid reset, while the origin is at work', async () => {
    await serve(async (wire) => wire.request());
    await flood((id) => [h2.get(id, [], { path: '/raw' }), h2.reset(id)], { kind: 'reset' });
    assert.ok(raw.connections < 250, `${raw.connections} connections to the origin`);
  });

  test('rapid reset in bulk never reaches an origin', async () => {
    await serve(async (wire) => wire.request());
    const before = raw.connections;
    const bulk = Buffer.concat(Array.from({ length: 100 }, (_, i) => [h2.get(1 + 2 * i, [], { path: '/raw' }), h2.reset(1 + 2 * i)]).flat());
    const client = await h2.connectH2(port);
    await client.write(bulk, h2.get(1001));
    assert.equal(await client.status(1001), 200);
    // What came with its reset in one read was never begun.
    assert.ok(raw.connections - before <= 5, `${raw.connections - before} connections`);
    client.close();
    await idle();
  });

  test('resets that the client provokes', async () => {
    await serve(async (wire) => wire.request());
    await flood((id) => [h2.get(id, [], { path: '/raw' }), h2.windowUpdate(id, 0x7fffffff)], { kind: 'reset' });
    await flood((id) => [h2.get(id, [['connection', 'close']])], { kind: 'reset' });
    await flood((id) => [h2.open(id, [['content-length', '1']]), h2.frame(h2.DATA, h2.END_STREAM, id, 'abc')], { kind: 'reset' });
  });

  test('SETTINGS', () => flood(() => [h2.settings([[4, 65535]])], { kind: 'settings' }));
  test('PING', () => flood(() => [h2.frame(h2.PING, 0, 0, Buffer.alloc(8))], { kind: 'ping' }));
  test('PRIORITY', () => flood((id) => [h2.frame(h2.PRIORITY, 0, id, Buffer.from([0, 0, 0, 0, 1]))], { kind: 'control', times: 5000 }));
  test('WINDOW_UPDATE', () => flood(() => [h2.windowUpdate(0, 1)], { kind: 'control', times: 5000 }));
  test('empty DATA', () => flood((id, i) => [...(i === 0 ? [h2.open(1)] : []), h2.frame(h2.DATA, 0, 1)], { kind: 'empty' }));

  test('CONTINUATION without end', () =>
    flood((id, i) => (i === 0 ? [h2.frame(h2.HEADERS, 0, 1, h2.block(h2.request()))] : [h2.frame(h2.CONTINUATION, 0, 1, h2.header(`x${i}`, 'y'))]), { kind: 'continuation' }));
  test('empty CONTINUATION without end', () =>
    flood((id, i) => (i === 0 ? [h2.frame(h2.HEADERS, 0, 1, h2.block(h2.request()))] : [h2.frame(h2.CONTINUATION, 0, 1)]), { kind: 'continuation' }));

  test('a header bomb: one entry of the table, referred to thousands of times', async () => {
    const start = rss();
    const bomb = Buffer.concat([h2.block(h2.request()), h2.indexed('x-bomb', 'b'.repeat(3800)), ...Array.from({ length: 3000 }, () => h2.index(62))]);
    await flood((id) => [h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, id, bomb)], { kind: 'headers', times: 20 });
    assert.ok(rss() - start < 8 * MB, `grew by ${(rss() - start) / MB} MiB`);
  });

  test('a list somewhat too large is refused with 431, again and again, in bounded memory', async () => {
    const client = await session();
    const start = rss();
    for (let i = 0; i < 50; i++) assert.equal((await fetch2(client, { x: 'v'.repeat(7000), y: 'w'.repeat(7000) })).status, 431);
    assert.ok(rss() - start < 8 * MB, `grew by ${(rss() - start) / MB} MiB`);
    client.destroy();
  });

  test('a window beyond 2^31-1', () => flood(() => [h2.windowUpdate(0, 0x7fffffff)], { code: h2.FLOW_CONTROL_ERROR }));

  test('more than 100 streams', async () => {
    await serve(async (wire) => wire.request());
    const client = await h2.connectH2(port);
    for (let i = 0; i < 101; i++) await client.write(h2.get(1 + 2 * i, [], { path: '/raw' }));
    assert.equal(await client.resetOf(201), h2.REFUSED_STREAM);
    // Who has acknowledged the limit breaks the protocol.
    await client.write(h2.frame(h2.SETTINGS, h2.ACK, 0), h2.get(203, [], { path: '/raw' }));
    assert.equal((await client.goaway()).code, h2.PROTOCOL_ERROR);
    client.close();
    await idle();
  });

  test('answers that are never read: PINGs and requests pile up nowhere', async () => {
    const start = rss();
    const client = await h2.connectH2(port);
    client.socket.pause();
    let sent = 0;
    const ping = Buffer.concat(Array.from({ length: 100 }, () => h2.frame(h2.PING, 0, 0, Buffer.alloc(8))));
    while (!client.socket.destroyed && sent++ < 200 && client.socket.writableLength < MB) client.socket.write(ping);
    assert.ok(rss() - start < 8 * MB);
    client.socket.resume();
    await client.end();
    client.close();
  });

  for (const size of [0, 1])
    test(`a window of ${size} stalls its stream only until response_write_idle`, async () => {
      const client = await h2.connectH2(port, [h2.settings([[4, size]])]);
      await client.write(h2.get(1));
      assert.equal(await client.status(1), 200);
      assert.equal(await client.resetOf(1), h2.CANCEL);
      await client.write(h2.get(3));
      assert.equal(await client.status(3), 200);
      client.close();
      await idle();
    });

  test('a window opened byte by byte is no progress', async () => {
    const client = await h2.connectH2(port, [h2.settings([[4, 0]])]);
    await client.write(h2.get(1, [['x', 'v'.repeat(4000)]]));
    const drip = setInterval(() => client.write(h2.windowUpdate(1, 1)), 20);
    assert.equal(await client.resetOf(1), h2.CANCEL);
    clearInterval(drip);
    client.close();
  });
});

describe('what breaks the protocol ends the connection with its code', () => {
  const cases = [
    ['a frame larger than allowed', h2.frame(h2.DATA, 0, 1, Buffer.alloc(17000)), 6],
    ['DATA on stream 0', h2.frame(h2.DATA, 0, 0, 'x'), h2.PROTOCOL_ERROR],
    ['HEADERS on an even stream', h2.get(2), h2.PROTOCOL_ERROR],
    ['CONTINUATION without HEADERS', h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, 'x'), h2.PROTOCOL_ERROR],
    ['a frame between HEADERS and CONTINUATION', Buffer.concat([h2.frame(h2.HEADERS, 0, 1, h2.block(h2.request())), h2.frame(h2.PING, 0, 0, Buffer.alloc(8))]), h2.PROTOCOL_ERROR],
    ['header compression that is none', h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff])), 9],
    ['PING of the wrong size', h2.frame(h2.PING, 0, 0, 'abc'), 6],
    ['RST_STREAM of an idle stream', h2.reset(9), h2.PROTOCOL_ERROR],
    ['PUSH_PROMISE', h2.frame(5, h2.END_HEADERS, 1, Buffer.alloc(8)), h2.PROTOCOL_ERROR],
    ['a stream that is closed', Buffer.concat([h2.get(3), h2.reset(3), h2.get(3)]), h2.STREAM_CLOSED],
    ['a stream that was passed over', Buffer.concat([h2.get(3), h2.get(1)]), h2.PROTOCOL_ERROR],
  ];
  for (const [name, bytes, code] of cases)
    test(name, async () => {
      const client = await h2.connectH2(port);
      await client.write(bytes);
      assert.equal((await client.goaway())?.code, code);
      await client.end();
      client.close();
    });
});

describe('time', () => {
  test('a header list that does not end', async () => {
    const client = await h2.connectH2(port);
    await client.write(h2.frame(h2.HEADERS, 0, 1, h2.block(h2.request())));
    assert.equal((await client.goaway()).code, h2.ENHANCE_YOUR_CALM);
    client.close();
  });

  test('a connection without a request', async () => {
    const client = await h2.connectH2(port);
    const ping = setInterval(() => client.write(h2.frame(h2.PING, 0, 0, Buffer.alloc(8))), 100);
    assert.equal((await client.goaway()).code, h2.NO_ERROR);
    clearInterval(ping);
    client.close();
  });

  test('a body that stops', async () => {
    const client = await session();
    const stream = client.request({ ':method': 'POST', 'content-length': '10' });
    stream.write('abc');
    const head = await new Promise((resolve) => stream.on('response', resolve));
    assert.equal(head[':status'], 408);
    assert.equal((await fetch2(client, {})).status, 200);
    client.destroy();
  });

  test('a client that leaves ends its requests', async () => {
    await serve(async (wire) => wire.request());
    const client = await h2.connectH2(port);
    await client.write(h2.get(1, [], { path: '/raw' }), h2.get(3, [], { path: '/raw' }));
    await waitUntil('both are in flight', async () => (await proxy.metric('octroi_proxy_requests_in_flight')) === 2);
    client.close();
    await idle();
    await waitUntil('the connection is gone', async () => (await proxy.metric('octroi_proxy_connections_by_protocol', 'http2')) === 0);
  });
});

describe('drain', () => {
  test('GOAWAY twice, and what is under way is finished', async () => {
    let release;
    await serve(async (wire) => {
      await wire.request();
      await new Promise((resolve) => { release = resolve; });
      await wire.write(ok('late'));
    });
    const own = { port: await freePort(), tls: await freePort(), ops: await freePort() };
    const second = await new Service('proxy', {
      dir,
      name: 'draining',
      opsPort: own.ops,
      config: config().replace(`127.0.0.1:${port}`, `127.0.0.1:${own.port}`).replace(`127.0.0.1:${tlsPort}`, `127.0.0.1:${own.tls}`).replace(`127.0.0.1:${opsPort}`, `127.0.0.1:${own.ops}`).replace('shutdown: 2s', 'shutdown: 10s').replace('response_head: 2s', 'response_head: 20s'),
    }).start();
    const client = await h2.connectH2(own.port);
    await client.write(h2.get(1, [], { path: '/raw' }));
    await waitUntil('the origin is at it', () => release);
    second.process.signal('SIGTERM');
    const warning = await client.next(({ type }) => type === h2.GOAWAY);
    assert.equal(warning.payload.readUInt32BE(0), 0x7fffffff);
    // On its way when the warning was: still served.
    await client.write(h2.get(3));
    assert.equal(await client.status(3), 200);
    const ping = Buffer.alloc(8);
    await client.write(h2.frame(h2.PING, h2.ACK, 0, ping));
    assert.deepEqual(await client.goaway(), { last: 3, code: 0 });
    release();
    assert.equal(await client.status(1), 200);
    await client.end();
    await second.process.exited;
    await second.stop();
  });
});
