// HTTP/1.1 on both sides: what is read in one way only passes, the rest is refused; bodies stream.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';

import { freePort, removeDirectory, sleep, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { RawOrigin, answering, ask, connect, ok } from '../support/raw.mjs';
import { Service } from '../support/service.mjs';

let dir;
let origin;
let raw;
let rawHandle;
let proxy;
let port;

const GET = (path = '/', extra = '') => `GET ${path} HTTP/1.1\r\nHost: test\r\n${extra}\r\n`;

before(async () => {
  dir = temporaryDirectory('http1');
  origin = await answering((request) =>
    ok(JSON.stringify({ line: request.line, headers: request.headers, body: request.body.toString('latin1'), trailers: request.trailers })),
  ).start();
  raw = await new RawOrigin((wire, self) => rawHandle(wire, self)).start();
  port = await freePort();
  const opsPort = await freePort();
  proxy = await new Service('proxy', {
    dir,
    opsPort,
    config: `
listeners: [{ address: "127.0.0.1:${port}" }]
workers: "2"
ops: { address: "127.0.0.1:${opsPort}" }
limits: { header_bytes: 8KiB, headers: 40, uri_bytes: 1KiB }
timeouts: { drain_delay: 0s, shutdown: 2s, request_head: 3s, request_body_idle: 3s, keepalive_idle: 3s }
pools:
  echo: { backends: ["http://127.0.0.1:${origin.port}"] }
  raw: { backends: ["http://127.0.0.1:${raw.port}"], timeouts: { response_head: 3s, body_idle: 3s } }
routes:
  - { path: /, pool: echo }
  - { path: /raw, pool: raw }
  - { path: /small, pool: echo, limits: { body_bytes: 10 } }
`,
  }).start();
});

after(async () => {
  await origin?.stop();
  await raw?.stop();
  await proxy?.stop();
  removeDirectory(dir);
});

// Connections of an earlier test are gone before the next begins.
async function serve(handle) {
  rawHandle = handle;
  for (const socket of raw.sockets) socket.destroy();
  await waitUntil('no connection to the raw origin', async () => (await proxy.metric('octroi_proxy_upstream_connections', 'pool="raw"')) === 0);
}

const rss = () => Number(readFileSync(`/proc/${proxy.pid}/statm`, 'utf8').split(' ')[1]) * 4096;
const idle = () => waitUntil('no request in flight', async () => (await proxy.metric('octroi_proxy_requests_in_flight')) === 0);

describe('requests that are refused', () => {
  const H = 'Host: test\r\n';
  const cases = [
    ['a transfer coding with a length', `POST / HTTP/1.1\r\n${H}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc`, 400],
    ['two lengths', `POST / HTTP/1.1\r\n${H}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc`, 400],
    ['a list of lengths', `POST / HTTP/1.1\r\n${H}Content-Length: 3, 3\r\n\r\nabc`, 400],
    ['a signed length', `POST / HTTP/1.1\r\n${H}Content-Length: +3\r\n\r\nabc`, 400],
    ['an empty length', `POST / HTTP/1.1\r\n${H}Content-Length:\r\n\r\n`, 400],
    ['a length beyond 64 bits', `POST / HTTP/1.1\r\n${H}Content-Length: 99999999999999999999\r\n\r\n`, 400],
    ['an unknown coding', `POST / HTTP/1.1\r\n${H}Transfer-Encoding: gzip, chunked\r\n\r\n`, 501],
    ['a coding twice', `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`, 501],
    ['a coding in HTTP/1.0', `POST / HTTP/1.0\r\n${H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    ['a folded header', `GET / HTTP/1.1\r\n${H}A: b\r\n c\r\n\r\n`, 400],
    ['a bare line feed', `GET / HTTP/1.1\n${H}\r\n`, 400],
    ['a bare line feed in a header', `GET / HTTP/1.1\r\n${H}A: b\nC: d\r\n\r\n`, 400],
    ['a bare carriage return', `GET / HTTP/1.1\r\n${H}A: b\rc\r\n\r\n`, 400],
    ['a NUL in a value', `GET / HTTP/1.1\r\n${H}A: b\0c\r\n\r\n`, 400],
    ['a blank before the colon', `GET / HTTP/1.1\r\n${H}A : b\r\n\r\n`, 400],
    ['an empty name', `GET / HTTP/1.1\r\n${H}: b\r\n\r\n`, 400],
    ['a header without a colon', `GET / HTTP/1.1\r\n${H}nonsense\r\n\r\n`, 400],
    ['a bad method', `G@T / HTTP/1.1\r\n${H}\r\n`, 400],
    ['a fragment', `GET /a#b HTTP/1.1\r\n${H}\r\n`, 400],
    ['bytes beyond ASCII in the target', `GET /\xe9 HTTP/1.1\r\n${H}\r\n`, 400],
    ['two blanks in the request line', `GET  / HTTP/1.1\r\n${H}\r\n`, 400],
    ['no Host', 'GET / HTTP/1.1\r\n\r\n', 400],
    ['two Hosts', `GET / HTTP/1.1\r\n${H}${H}\r\n`, 400],
    ['an empty Host', 'GET / HTTP/1.1\r\nHost:\r\n\r\n', 400],
    ['a Host with a path', 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', 400],
    ['a Host with credentials', 'GET / HTTP/1.1\r\nHost: a@b\r\n\r\n', 400],
    ['a Host with a bad port', 'GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n', 400],
    ['an absolute target that disagrees', `GET http://other/ HTTP/1.1\r\n${H}\r\n`, 400],
    ['another scheme', `GET ftp://test/ HTTP/1.1\r\n${H}\r\n`, 400],
    ['a relative target', `GET a HTTP/1.1\r\n${H}\r\n`, 400],
    ['an asterisk with GET', `GET * HTTP/1.1\r\n${H}\r\n`, 400],
    ['CONNECT', 'CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n', 400],
    ['TRACE', `TRACE / HTTP/1.1\r\n${H}\r\n`, 405],
    ['HTTP/0.9', 'GET /\r\n\r\n', 400],
    ['another expectation', `POST / HTTP/1.1\r\n${H}Expect: tea\r\nContent-Length: 1\r\n\r\n`, 417],
    ['a target too long', `GET /${'a'.repeat(1100)} HTTP/1.1\r\n${H}\r\n`, 414],
    ['headers too large', `GET / HTTP/1.1\r\n${H}A: ${'a'.repeat(9000)}\r\n\r\n`, 431],
    ['headers too large and endless', `GET / HTTP/1.1\r\n${H}A: ${'a'.repeat(20000)}`, 431],
    ['too many headers', `GET / HTTP/1.1\r\n${H}${'A: b\r\n'.repeat(60)}\r\n`, 431],
    ['an encoded slash', `GET /a%2fb HTTP/1.1\r\n${H}\r\n`, 400],
    ['an encoded NUL', `GET /a%00 HTTP/1.1\r\n${H}\r\n`, 400],
    ['a backslash', `GET /a\\b HTTP/1.1\r\n${H}\r\n`, 400],
    ['an invalid escape', `GET /a%zz HTTP/1.1\r\n${H}\r\n`, 400],
    ['a chunk size with a prefix', `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n`, 400],
    ['a chunk size with an underscore', `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n5_0\r\n`, 400],
    ['a blank behind a chunk size', `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n`, 400],
    ['a chunk longer than its size', `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n`, 400],
    ['a chunk line without CR', `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n`, 400],
    ['a malformed trailer', `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n0\r\nbad trailer\r\n\r\n`, 400],
    ['a body over the limit', `POST /small HTTP/1.1\r\n${H}Content-Length: 11\r\n\r\nabcdefghijk`, 413],
    ['a chunked body over the limit', `POST /small HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\nb\r\nabcdefghijk\r\n0\r\n\r\n`, 413],
  ];
  for (const [what, bytes, status] of cases)
    test(what, async () => {
      const before = origin.requests.length;
      const wire = await connect(port);
      wire.write(Buffer.from(bytes, 'latin1'));
      const response = await wire.response();
      assert.equal(response.status, status);
      assert.equal(response.headers['content-type'], 'application/problem+json');
      assert.equal(response.json().request_id, response.headers['x-request-id']);
      assert.equal(origin.requests.length, before, 'nothing complete reached the origin');
      if (response.headers.connection === 'close') {
        assert.equal((await wire.rest()).length, 0);
      } else {
        wire.write(GET('/after'));
        assert.equal((await wire.response()).json().line, 'GET /after HTTP/1.1');
      }
      wire.close();
    });

  test('a refusal that does not break the framing keeps the connection', async () => {
    const wire = await connect(port);
    wire.write(`GET /raw%2f HTTP/1.1\r\nHost: test\r\n\r\n${GET('/next')}`);
    assert.equal((await wire.response()).status, 400);
    assert.equal((await wire.response()).json().line, 'GET /next HTTP/1.1');
    wire.close();
  });
});

describe('what passes', () => {
  test('a request split at every byte', async () => {
    const bytes = `POST /split?q=1 HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nX-T: u\r\n\r\n`;
    for (let at = 1; at < bytes.length; at++) {
      const wire = await connect(port);
      await wire.write(bytes.slice(0, at));
      await new Promise(setImmediate);
      wire.write(bytes.slice(at));
      const seen = (await wire.response()).json();
      assert.equal(seen.body, 'abc0123456789', `split at ${at}`);
      assert.deepEqual(seen.trailers, ['X-T: u']);
      wire.close();
    }
    const wire = await connect(port);
    for (const c of bytes) await wire.write(c);
    assert.equal((await wire.response()).json().body, 'abc0123456789');
    wire.close();
  });

  test('a response split at every byte', async () => {
    const bytes = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3\r\nabc\r\n2;e\r\nde\r\n0\r\nX-T: u\r\n\r\n';
    for (let at = 1; at < bytes.length; at++) {
      await serve(async (wire) => {
        for (;;) {
          await wire.request();
          await wire.write(bytes.slice(0, at));
          await new Promise(setImmediate);
          await wire.write(bytes.slice(at));
        }
      });
      const wire = await connect(port);
      wire.write(GET('/raw'));
      assert.equal((await wire.response()).status, 103);
      const response = await wire.response();
      assert.equal(response.line, 'HTTP/1.1 200 Fine');
      assert.equal(response.body.toString(), 'abcde', `split at ${at}`);
      assert.deepEqual(response.trailers, ['X-T: u']);
      wire.close();
    }
  });

  test('pipelined requests are answered in order', async () => {
    const wire = await connect(port);
    let bytes = '';
    for (let i = 0; i < 100; i++) bytes += i % 3 ? GET(`/p${i}`) : `POST /p${i} HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody`;
    wire.write(bytes);
    for (let i = 0; i < 100; i++) assert.match((await wire.response()).json().line, new RegExp(`/p${i} `));
    wire.close();
  });

  test('pipelined refusals are answered in order and do not starve others', async () => {
    const wire = await connect(port);
    wire.write(GET('/raw%2f').repeat(500) + GET('/last'));
    for (let i = 0; i < 500; i++) assert.equal((await wire.response()).status, 400);
    assert.equal((await wire.response()).json().line, 'GET /last HTTP/1.1');
    wire.close();
  });

  test('hop-by-hop headers and those that Connection names stay here', async () => {
    const seen = (await ask(port, GET('/', 'Connection: keep-alive, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=9\r\nTE: trailers\r\nUpgrade: h2c\r\nProxy-Connection: x\r\nX-Kept: 2\r\n'))).json().headers;
    assert.equal(seen['x-kept'], '2');
    for (const name of ['connection', 'x-secret', 'keep-alive', 'te', 'upgrade', 'proxy-connection']) assert.ok(!(name in seen), name);
    await serve(async (wire) => {
      await wire.request();
      await wire.write(ok('x', 'Connection: X-Inner, keep-alive\r\nX-Inner: 1\r\nKeep-Alive: timeout=5\r\nX-Outer: 2\r\n'));
    });
    const response = await ask(port, GET('/raw'));
    assert.equal(response.headers['x-outer'], '2');
    for (const name of ['x-inner', 'keep-alive', 'connection']) assert.ok(!(name in response.headers), name);
  });

  test('forwarded headers are ours', async () => {
    const seen = (await ask(port, GET('/', 'X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nForwarded: for=9.9.9.9\r\nX-Request-Id: mine\r\nOctroi-Tier: gold\r\nOctroi-Subscription: sub_1\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n'))).json().headers;
    assert.equal(seen['x-forwarded-for'], '127.0.0.1');
    assert.equal(seen['x-forwarded-proto'], 'http');
    assert.equal(seen['x-forwarded-host'], 'test');
    assert.equal(seen.forwarded, 'for=127.0.0.1;proto=http;host="test"');
    assert.match(seen['x-request-id'], /^[0-9a-f]{32}$/);
    assert.ok(!('octroi-tier' in seen) && !('octroi-subscription' in seen));
    assert.ok(!('traceparent' in seen), 'unless it is asked for');
    assert.equal(seen.host, 'test');
  });

  test('the path is forwarded in its normal form', async () => {
    for (const [sent, normal] of [['/a/../b', '/b'], ['/%7euser/./x', '/~user/x'], ['//a///b', '/a/b'], ['/a/%2e%2e/%2e%2e/c', '/c'], ['/x%c3%a9?q=%zz/../', '/x%C3%A9?q=%zz/../'], ['/a/b/..', '/a/'], ['http://TEST/abs?x', '/abs?x'], ['http://test?x', '/?x']])
      assert.equal((await ask(port, GET(sent))).json().line, `GET ${normal} HTTP/1.1`);
    assert.equal((await ask(port, 'OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n')).json().line, 'OPTIONS * HTTP/1.1');
    assert.equal((await ask(port, 'OPTIONS http://test HTTP/1.1\r\nHost: test\r\n\r\n')).json().line, 'OPTIONS * HTTP/1.1');
    assert.equal((await ask(port, 'OPTIONS http://test/ HTTP/1.1\r\nHost: test\r\n\r\n')).json().line, 'OPTIONS / HTTP/1.1');
    assert.equal((await ask(port, 'GET http://test?q HTTP/1.1\r\nHost: test\r\n\r\n')).json().line, 'GET /?q HTTP/1.1');
  });

  test('HEAD, 204 and 304 have no body, whatever their headers say', async () => {
    await serve(async (wire) => {
      for (;;) {
        const { method, target } = await wire.request();
        if (method === 'HEAD') await wire.write('HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n');
        else if (target.endsWith('204')) await wire.write('HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n');
        else await wire.write('HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: "a"\r\n\r\n');
      }
    });
    const wire = await connect(port);
    wire.write('HEAD /raw HTTP/1.1\r\nHost: test\r\n\r\n' + GET('/raw/204') + GET('/raw/304') + GET('/next'));
    assert.equal((await wire.response({ head: true })).headers['content-length'], '500');
    const second = await wire.response();
    assert.ok(second.status === 204 && !('content-length' in second.headers));
    assert.equal((await wire.response()).headers.etag, '"a"');
    assert.equal((await wire.response()).status, 200);
    wire.close();
  });

  test('a close-delimited body is whole for either kind of client', async () => {
    await serve(async (wire) => {
      await wire.request();
      await wire.write('HTTP/1.1 200 OK\r\n\r\nthe whole');
      wire.socket.end();
    });
    const modern = await ask(port, GET('/raw'));
    assert.equal(modern.headers['transfer-encoding'], 'chunked');
    assert.equal(modern.body.toString(), 'the whole');
    const old = await ask(port, 'GET /raw HTTP/1.0\r\n\r\n');
    assert.equal(old.headers['transfer-encoding'], undefined);
    assert.equal(old.headers.connection, 'close');
    assert.equal(old.body.toString(), 'the whole');
  });

  test('an HTTP/1.0 client gets a chunked body unchunked, and keeps its connection only where it asks', async () => {
    await serve(async (wire) => {
      for (;;) {
        await wire.request();
        await wire.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n');
      }
    });
    assert.equal((await ask(port, 'GET /raw HTTP/1.0\r\nHost: test\r\n\r\n')).body.toString(), 'abc');
    const wire = await connect(port);
    for (let i = 0; i < 2; i++) {
      wire.write('GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n');
      assert.equal((await wire.response()).headers.connection, 'keep-alive');
    }
    wire.close();
  });

  test('Expect: 100-continue goes to the origin and its answer comes back', async () => {
    await serve(async (wire) => {
      const { headers } = await wire.head();
      await wire.write(headers.expect === '100-continue' ? 'HTTP/1.1 100 Continue\r\n\r\n' : 'HTTP/1.1 500 X\r\n\r\n');
      const body = await wire.take(5);
      await wire.write(ok(`got ${body}`));
    });
    const wire = await connect(port);
    wire.write('POST /raw HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n');
    assert.equal((await wire.response()).status, 100);
    wire.write('hello');
    assert.equal((await wire.response()).body.toString(), 'got hello');
    wire.close();
  });

  test('a final answer instead of 100 ends the connection cleanly', async () => {
    await serve(async (wire) => {
      await wire.head();
      await wire.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno');
    });
    const wire = await connect(port);
    wire.write('POST /raw HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n');
    const response = await wire.response();
    assert.equal(response.status, 403);
    assert.equal(response.headers.connection, 'close');
    await wire.rest();
  });

  test('100 that nobody expects is swallowed', async () => {
    await serve(async (wire) => {
      await wire.request();
      await wire.write(`HTTP/1.1 100 Continue\r\n\r\n${ok('x')}`);
    });
    assert.equal((await ask(port, GET('/raw'))).status, 200);
  });
});

describe('streaming', () => {
  const MB = 1024 * 1024;

  test('a large upload passes without being kept, to a slow origin', async () => {
    let got = 0;
    await serve(async (wire) => {
      await wire.head();
      wire.socket.removeAllListeners('data');
      wire.data = Buffer.alloc(0);
      await new Promise((resolve) => {
        wire.socket.on('data', (bytes) => {
          got += bytes.length;
          if (got >= 64 * MB) resolve();
          wire.socket.pause();
          setTimeout(() => wire.socket.resume(), got % 7 === 0 ? 1 : 0);
        });
      });
      await wire.write(ok('done'));
    });
    const start = rss();
    const wire = await connect(port);
    await wire.write(`POST /raw HTTP/1.1\r\nHost: test\r\nContent-Length: ${64 * MB}\r\n\r\n`);
    let most = 0;
    const block = Buffer.alloc(MB, 97);
    // What the origin read with the head counts as well.
    for (let i = 0; i < 64; i++) {
      await wire.write(block);
      most = Math.max(most, rss());
    }
    await waitUntil('the body to arrive', () => got >= 63 * MB);
    wire.close();
    assert.ok(most - start < 24 * MB, `grew by ${(most - start) / MB} MiB`);
    await idle();
  });

  test('a large download to a slow reader is not kept', async () => {
    await serve(async (wire) => {
      await wire.request();
      await wire.write(`HTTP/1.1 200 OK\r\nContent-Length: ${64 * MB}\r\n\r\n`);
      const block = Buffer.alloc(MB, 98);
      for (let i = 0; i < 64; i++) await wire.write(block);
    });
    const start = rss();
    const wire = await connect(port);
    await wire.write(GET('/raw'));
    await wire.head();
    wire.socket.pause();
    await sleep(300);
    const most = rss();
    assert.ok(most - start < 24 * MB, `grew by ${(most - start) / MB} MiB`);
    let got = wire.data.length;
    wire.socket.removeAllListeners('data');
    wire.socket.on('data', (bytes) => {
      got += bytes.length;
    });
    wire.socket.resume();
    await waitUntil('the body', () => got === 64 * MB);
    wire.close();
  });

  test('both directions stream at once', async () => {
    await serve(async (wire) => {
      await wire.head();
      await wire.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
      for (let i = 0; i < 5; i++) {
        const bytes = await wire.take(10);
        await wire.write(`a\r\n${bytes}\r\n`);
      }
      await wire.write('0\r\n\r\n');
    });
    const wire = await connect(port);
    await wire.write('POST /raw HTTP/1.1\r\nHost: test\r\nContent-Length: 50\r\n\r\n');
    const { headers } = await wire.head();
    assert.equal(headers['transfer-encoding'], 'chunked');
    for (let i = 0; i < 5; i++) {
      await wire.write('0123456789');
      assert.equal(await wire.upTo('\r\n'), 'a\r\n');
      assert.equal((await wire.take(12)).toString(), '0123456789\r\n');
    }
    wire.close();
  });
});

test('a client that has asked for the last time may close its direction and still gets all of the answer', async () => {
  let sent = 0;
  await serve(async (wire) => {
    const length = Number((await wire.request()).target.split('/').pop());
    await wire.write(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`);
    for (let left = length; left > 0 && !wire.ended; left -= 20_000) {
      await wire.write(Buffer.alloc(Math.min(left, 20_000), 'x'));
      sent += 1;
    }
    if (!wire.ended) await wire.rest();
  });
  const begin = async (length) => {
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const client = { socket, length, got: Buffer.alloc(0) };
    socket.on('data', (bytes) => { client.got = Buffer.concat([client.got, bytes]); });
    socket.on('error', () => {});
    client.ended = new Promise((resolve) => { socket.once('end', resolve); socket.once('close', resolve); });
    socket.pause();
    await new Promise((resolve) => socket.write(GET(`/raw/${length}`, 'Connection: close\r\n'), resolve));
    return client;
  };
  // Bytes in the kernel between the proxy and this client.
  const waiting = (client) => {
    const ends = [client, port].map((number) => `0100007F:${number.toString(16).toUpperCase().padStart(4, '0')}`);
    return readFileSync('/proc/net/tcp', 'utf8').split('\n').map((line) => line.trim().split(/\s+/)).filter((row) => ends.includes(row[1]) && ends.includes(row[2]))
      .flatMap((row) => row[4].split(':')).reduce((sum, hex) => sum + parseInt(hex, 16), 0);
  };
  const heldBack = async () => {
    let last = -1;
    await waitUntil('the origin to be held back', () => { const same = sent === last; last = sent; return same && sent > 0; }, { every: 150 });
  };
  const clients = [await begin(64_000_000)];
  try {
    await heldBack();
    const fits = waiting(clients[0].socket.localPort);
    clients[0].socket.destroy();
    // Of answers about as long as what fits on the way, some are over while their end waits in the proxy.
    for (let i = 0; i < 14; i += 1) clients.push(await begin(fits + 130_000 - i * 15_000));
    await heldBack();
    const over = clients.slice(1).filter(({ length }) => proxy.logContains(`"/raw/${length}"`));
    for (const { socket } of over) socket.end();
    await sleep(100);
    for (const { socket, ended } of over) {
      socket.resume();
      await ended;
    }
    for (const { got, length } of over) assert.equal(got.length - got.indexOf('\r\n\r\n') - 4, length);
    assert.ok(over.length > 0, `${fits} bytes were on the way`);
  } finally {
    for (const { socket } of clients) socket.destroy();
  }
  await idle();
});

describe('a head that is allowed to be large', () => {
  test('is read beyond what is read ahead of a body', async () => {
    const own = await freePort();
    const ops = await freePort();
    const service = await new Service('proxy', {
      dir,
      name: 'large-heads',
      opsPort: ops,
      config: `
listeners: ["127.0.0.1:${own}"]
workers: "1"
ops: { address: "127.0.0.1:${ops}" }
limits: { header_bytes: 200KiB }
timeouts: { drain_delay: 0s, shutdown: 2s, request_head: 5s }
pools: { echo: { backends: ["http://127.0.0.1:${origin.port}"] } }
routes: [{ path: /, pool: echo }]
`,
    }).start();
    try {
      const lines = Array.from({ length: 40 }, (_, i) => `X-${i}: ${'b'.repeat(4000)}\r\n`).join('');
      const wire = await connect(own);
      const text = GET('/first', lines) + GET('/second', lines);
      for (let at = 0; at < text.length; at += 50_000) {
        await wire.write(text.slice(at, at + 50_000));
        await sleep(5); // so that it comes in pieces
      }
      assert.equal((await wire.response()).json().line, 'GET /first HTTP/1.1');
      assert.equal((await wire.response()).json().headers['x-39'].length, 4000);
      wire.write(`GET / HTTP/1.1\r\nHost: test\r\n${lines}${lines}`);
      assert.equal((await wire.response()).status, 431);
      wire.close();
    } finally {
      await service.stop();
    }
  });
});

describe('time', () => {
  test('a head that does not end is refused', async () => {
    const wire = await connect(port);
    wire.write('GET / HTTP/1.1\r\nHo');
    assert.equal((await wire.response()).status, 408);
  });

  test('dripping does not extend the time for a head', async () => {
    const wire = await connect(port);
    const drip = setInterval(() => wire.socket.write('a'), 50);
    await wire.write('GET / HTTP/1.1\r\nX: ');
    assert.equal((await wire.response()).status, 408);
    clearInterval(drip);
    wire.close();
  });

  test('a body that stops is refused', async () => {
    const response = await ask(port, 'POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nabc');
    assert.equal(response.status, 408);
  });

  test('an unused connection is closed', async () => {
    const wire = await connect(port);
    wire.write(GET());
    await wire.response();
    assert.equal((await wire.rest()).length, 0);
  });

  test('an origin that does not answer costs 504', async () => {
    await serve(async (wire) => wire.request());
    assert.equal((await ask(port, GET('/raw'))).status, 504);
  });
});
