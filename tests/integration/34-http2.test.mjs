// HTTP/2 towards clients: streams are requests of their own, bodies stream, TLS, WebSocket over a stream, drain.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import http2 from 'node:http2';
import tls from 'node:tls';
import { after, before, describe, test } from 'node:test';

import * as h2 from '../support/h2raw.mjs';
import { Http2Gate, fetch2 } from '../support/http2.mjs';
import { waitUntil } from '../support/process.mjs';
import { Wire, ok } from '../support/raw.mjs';
import { Service } from '../support/service.mjs';
import { OP, closing, frame, readFrame, switching } from '../support/websocket.mjs';

const MB = 1024 * 1024;

const gate = new Http2Gate();
let dir;
let port;
let tlsPort;
let authority;

before(async () => {
  ({ dir, port, tlsPort, authority } = await gate.start());
});

after(() => gate.stop());

describe('requests and answers', () => {
  test('an origin sees an ordinary HTTP/1.1 request', async () => {
    const { status, headers, json } = await gate.ask({ ':path': '/a/../b?c=d', 'x-mine': 'v', cookie: ['a=1', 'b=2'], te: 'trailers' });
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
    const client = await gate.session();
    const answers = await Promise.all(Array.from({ length: 90 }, (_, i) => fetch2(client, { ':path': `/n/${i}` })));
    answers.forEach((answer, i) => assert.equal(answer.json().line, `GET /n/${i} HTTP/1.1`));
    client.destroy();
  });

  test('bodies: with a length, without one, and none after all', async () => {
    const sized = (await gate.ask({ ':method': 'POST', 'content-length': '5' }, { body: 'hello' })).json();
    assert.equal(sized.body, 'hello');
    assert.equal(sized.headers['content-length'], '5');
    const unsized = (await gate.ask({ ':method': 'POST' }, { body: 'hello' })).json();
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
    const up = (await gate.ask({ ':method': 'POST' }, { body: 'x', trailers: { 'x-sum': '7', 'x-forwarded-for': '9.9.9.9' } })).json();
    assert.deepEqual(up.trailers, ['x-sum: 7']);
    await gate.serve(async (wire) => {
      await wire.request();
      await wire.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n');
    });
    const down = await gate.ask({ ':path': '/raw' });
    assert.equal(down.body.toString(), 'abc');
    assert.equal(down.trailers['x-sum'], '9');
    assert.ok(!('transfer-encoding' in down.headers) && !('trailer' in down.headers));
  });

  test('trailers without a body', async () => {
    await gate.serve(async (wire) => {
      await wire.request();
      await wire.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\ngrpc-status: 5\r\n\r\n');
    });
    const { body, trailers } = await gate.ask({ ':path': '/raw' });
    assert.equal(body.length, 0);
    assert.equal(trailers['grpc-status'], '5');
  });

  test('trailers beyond the limit of headers cut the answer', async () => {
    await gate.serve(async (wire) => {
      await wire.request();
      await wire.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n${'a:b\r\n'.repeat(600)}\r\n`);
    });
    await assert.rejects(gate.ask({ ':path': '/raw' }), /INTERNAL_ERROR/);
    await gate.idle();
  });

  test('HEAD, 204 and 304 have no body', async () => {
    await gate.serve(async (wire) => {
      for (;;) {
        const { method, target } = await wire.request();
        if (method === 'HEAD') await wire.write('HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n');
        else if (target.endsWith('204')) await wire.write('HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n');
        else await wire.write('HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n');
      }
    });
    const client = await gate.session();
    assert.equal((await fetch2(client, { ':method': 'HEAD', ':path': '/raw' })).headers['content-length'], '500');
    const empty = await fetch2(client, { ':path': '/raw/204' });
    assert.ok(empty.status === 204 && !('content-length' in empty.headers));
    assert.equal((await fetch2(client, { ':path': '/raw/304' })).headers.etag, '"a"');
    client.destroy();
  });

  test('interim answers pass, 100 only where it is expected', async () => {
    await gate.serve(async (wire) => {
      for (;;) {
        const { headers } = await wire.head();
        await wire.write('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n');
        if (headers['content-length']) await wire.take(2);
        await wire.write(ok('x'));
      }
    });
    const plain = await gate.ask({ ':path': '/raw' });
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
    await gate.serve(async (wire) => {
      const { target } = await wire.request();
      await wire.write(target.endsWith('cut') ? 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf' : 'HTTP/1.1 200 OK\r\n\r\nthe whole');
      wire.socket.end();
    });
    assert.equal((await gate.ask({ ':path': '/raw' })).body.toString(), 'the whole');
    await assert.rejects(gate.ask({ ':path': '/raw/cut' }), /INTERNAL_ERROR/);
    await gate.idle();
  });

  test('streams share what a slow client takes', async () => {
    await gate.serve(async (wire) => {
      await wire.request();
      await wire.write(`HTTP/1.1 200 OK\r\nContent-Length: ${8 * MB}\r\n\r\n`);
      await wire.write(Buffer.alloc(8 * MB));
    });
    const client = await gate.session();
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
    await gate.idle();
  });

  test('a connection-specific header of an origin does not reach the client', async () => {
    await gate.serve(async (wire) => {
      await wire.request();
      await wire.write('HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-End: 2\r\nContent-Length: 1\r\n\r\nx');
    });
    const { headers } = await gate.ask({ ':path': '/raw' });
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
    await gate.serve(async (wire) => {
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
    await gate.idle();
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
    await gate.serve(async (wire) => {
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
    await gate.idle();
  });

  test('an origin that declines answers as it likes', async () => {
    await gate.serve(async (wire) => {
      await wire.head();
      await wire.write('HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno');
    });
    const client = await h2.connectH2(port);
    await client.write(extended());
    assert.equal(await client.status(1), 404);
    client.close();
    await gate.idle();
  });

  // Over HTTP/1.1 such an answer is no WebSocket; over HTTP/2 any 2xx would be one.
  test('an origin that answers 200 instead of switching has failed', async () => {
    await gate.serve(async (wire) => {
      await wire.head();
      await wire.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno');
    });
    const client = await h2.connectH2(port);
    await client.write(extended());
    assert.equal((await refusal(client)).status, 502);
    client.close();
    await gate.idle();
  });

  test('a route that takes no WebSocket refuses, and its origin is not asked', async () => {
    let asked = false;
    await gate.serve(async (wire) => {
      await wire.head();
      asked = true;
      await wire.write(ok('plain'));
    });
    const client = await h2.connectH2(port);
    await client.write(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.block([[':method', 'CONNECT'], [':protocol', 'websocket'], ...h2.request([], { path: '/raw' }).slice(1), ['sec-websocket-version', '13']])));
    assert.equal((await refusal(client)).status, 501);
    assert.ok(!asked);
    client.close();
    await gate.idle();
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
      const answer = await gate.ask(headers);
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
    await gate.idle();
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
    await gate.serve(async (wire) => {
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
    const client = await gate.session();
    const start = gate.rss();
    let most = 0;
    const stream = client.request({ ':method': 'POST', ':path': '/raw', 'content-length': String(64 * MB) });
    const answer = new Promise((resolve) => stream.on('response', resolve));
    const block = Buffer.alloc(MB, 97);
    for (let i = 0; i < 64; i++) {
      await new Promise((resolve) => stream.write(block, resolve));
      most = Math.max(most, gate.rss());
    }
    stream.end();
    assert.equal((await answer)[':status'], 200);
    assert.equal(head['content-length'], String(64 * MB));
    assert.ok(most - start < 24 * MB, `grew by ${(most - start) / MB} MiB`);
    client.destroy();
    await gate.idle();
  });

  test('a large download to a slow reader is not kept, and other streams are served meanwhile', async () => {
    await gate.serve(async (wire) => {
      await wire.request();
      await wire.write(`HTTP/1.1 200 OK\r\nContent-Length: ${64 * MB}\r\n\r\n`);
      const block = Buffer.alloc(MB, 98);
      for (let i = 0; i < 64; i++) await wire.write(block);
    });
    // The client keeps less for a paused stream than the connection's window.
    const client = await gate.session({ settings: { initialWindowSize: 16384 } });
    const start = gate.rss();
    const stream = client.request({ ':path': '/raw' });
    await new Promise((resolve) => stream.on('response', resolve));
    stream.pause();
    for (let i = 0; i < 20; i++) assert.equal((await fetch2(client, { ':path': `/${i}` })).status, 200);
    const most = gate.rss();
    assert.ok(most - start < 24 * MB, `grew by ${(most - start) / MB} MiB`);
    let got = 0;
    stream.on('data', (bytes) => { got += bytes.length; });
    stream.resume();
    await new Promise((resolve) => stream.on('end', resolve));
    assert.equal(got, 64 * MB);
    client.destroy();
  });

  test('both directions stream at once', async () => {
    await gate.serve(async (wire) => {
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
    const client = await gate.session();
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
    await gate.idle();
  });

  test('stalled uploads of some streams do not hold up the others', async () => {
    await gate.serve(async (wire) => {
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
    await gate.idle();
  });
});

describe('drain', () => {
  test('GOAWAY twice, and what is under way is finished', async () => {
    let release;
    await gate.serve(async (wire) => {
      await wire.request();
      await new Promise((resolve) => { release = resolve; });
      await wire.write(ok('late'));
    });
    const own = await gate.ports();
    const second = await new Service('proxy', {
      dir,
      name: 'draining',
      opsPort: own.opsPort,
      config: gate.config(own).replace('shutdown: 2s', 'shutdown: 10s').replace('response_head: 2s', 'response_head: 20s'),
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
