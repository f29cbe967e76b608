// What can be read in two ways: each is refused with its problem and ends the connection, whoever sent it; and what is
// accepted means the same to a second, independent parser behind the proxy.
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';

import { freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { RawOrigin, answering, ask, connect, ok } from '../support/raw.mjs';
import { Service } from '../support/service.mjs';

let dir;
let origin;
let raw;
let rawHandle;
let judge;
let proxy;
let port;
const judged = [];

// An origin that is Node's own parser.
const record = (list) => (request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('error', () => {});
  request.on('end', () => {
    list.push({ method: request.method, url: request.url, headers: request.headers, body: Buffer.concat(parts).toString('latin1') });
    response.end('ok');
  });
};

before(async () => {
  dir = temporaryDirectory('strict');
  origin = await answering((request) => ok(JSON.stringify({ line: request.line, headers: request.headers }))).start();
  raw = await new RawOrigin((wire, self) => rawHandle(wire, self)).start();
  judge = http.createServer({ insecureHTTPParser: false, keepAliveTimeout: 60_000 }, record(judged));
  judge.errors = [];
  judge.on('clientError', (error, socket) => {
    // A method that Node does not know is a method all the same.
    if (error.code === 'HPE_INVALID_METHOD' && /^[!-~]+ \S+ HTTP\/1\.1\r\n/.test(error.rawPacket?.toString('latin1') ?? '')) socket.end('HTTP/1.1 501 Unknown\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    else if (error.code !== 'ECONNRESET' && error.code !== 'HPE_INVALID_EOF_STATE') judge.errors.push(`${error.code} ${error.reason ?? ''} ${error.rawPacket?.toString('latin1')}`);
    socket.destroy();
  });
  await new Promise((resolve) => judge.listen(0, '127.0.0.1', resolve));
  port = await freePort();
  const opsPort = await freePort();
  proxy = await new Service('proxy', {
    dir,
    opsPort,
    config: `
listeners: [{ address: "127.0.0.1:${port}" }]
workers: "1"
ops: { address: "127.0.0.1:${opsPort}" }
limits: { header_bytes: 8KiB, headers: 40, uri_bytes: 1KiB }
timeouts: { drain_delay: 0s, shutdown: 2s, request_head: 1s, request_body_idle: 1s }
pools:
  echo: { backends: ["http://127.0.0.1:${origin.port}"] }
  raw: { backends: ["http://127.0.0.1:${raw.port}"], timeouts: { response_head: 2s, body_idle: 1s }, passive: { failures: 0 }, retry: { attempts: 1 } }
  judge: { backends: ["http://127.0.0.1:${judge.address().port}"], passive: { failures: 0 } }
routes:
  - { path: /, pool: echo }
  - { path: /raw, pool: raw }
  - { path: /judge, pool: judge }
`,
  }).start();
});

after(async () => {
  await origin?.stop();
  await raw?.stop();
  judge?.closeAllConnections();
  judge?.close();
  await proxy?.stop();
  removeDirectory(dir);
});

describe('requests', () => {
  const H = 'Host: test\r\n';
  const P = `POST / HTTP/1.1\r\n${H}`;
  const C = `${P}Transfer-Encoding: chunked\r\n\r\n`;
  const G = (target, host = 'test') => `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
  // The framing is in doubt: closed after the refusal.
  const fatal = [
    ['a coding and a length', `${P}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n`, 400],
    ['a length and a coding', `${P}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    ['a coding twice', `${P}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n`, 501],
    ['chunked, chunked', `${P}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n`, 501],
    ['xchunked', `${P}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`, 501],
    ['a vertical tab before chunked', `${P}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n`, 400],
    ['a blank before the colon', `${P}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`, 400],
    ['a coding on a folded line', `${P}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n`, 400],
    ['a coding in HTTP/1.0', `POST / HTTP/1.0\r\n${H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    ['two equal lengths', `${P}Content-Length: 0\r\nContent-Length: 0\r\n\r\n`, 400],
    ['a length in hexadecimal', `${P}Content-Length: 0x0\r\n\r\n`, 400],
    ['a negative length', `${P}Content-Length: -1\r\n\r\n`, 400],
    ['a length with a blank inside', `${P}Content-Length: 1 0\r\n\r\n`, 400],
    ['a length beyond 64 bits', `${P}Content-Length: 18446744073709551616\r\n\r\n`, 400],
    ['a bare LF as the end of the head', `GET / HTTP/1.1\r\n${H}\n`, 400],
    ['a bare CR in the request line', `GET /\r HTTP/1.1\r\n${H}\r\n`, 400],
    ['a bare CR as the end of a line', `GET / HTTP/1.1\r${H}\r\n`, 400],
    ['a NUL in a name', `GET / HTTP/1.1\r\n${H}a\0b: c\r\n\r\n`, 400],
    ['HTTP/1.2', `GET / HTTP/1.2\r\n${H}\r\n`, 505],
    ['HTTP/2.0 as text', `GET / HTTP/2.0\r\n${H}\r\n`, 505],
    ['no version', `GET /\r\n${H}\r\n`, 400],
    ['two Hosts', `GET / HTTP/1.1\r\n${H}Host: other\r\n\r\n`, 400],
    ['many options of Connection', `GET / HTTP/1.1\r\n${H}Connection: ${'a,'.repeat(100)}b\r\n\r\n`, 400],
    ['a chunk size that is signed', `${C}+1\r\na\r\n0\r\n\r\n`, 400],
    ['a chunk size that is huge', `${C}fffffffffffffffff\r\n`, 400],
    ['a chunk without CRLF', `${C}1\r\na0\r\n\r\n`, 400],
    ['a chunk that ends with LF', `${C}1\r\na\n0\r\n\r\n`, 400],
    ['an extension with a bare LF', `${C}1;a\nb\r\na\r\n0\r\n\r\n`, 400],
    ['a flood of extensions', `${C}1;${'a'.repeat(2000)}\r\na\r\n0\r\n\r\n`, 400],
    ['a flood of trailers', `${C}0\r\n${'a: b\r\n'.repeat(3000)}\r\n`, 400],
    ['a folded trailer', `${C}0\r\na: b\r\n c\r\n\r\n`, 400],
  ];
  for (const [what, bytes, status] of fatal)
    test(`${what}: refused, closed, and what follows is not a request`, async () => {
      const before = origin.requests.length;
      const wire = await connect(port);
      wire.write(Buffer.from(`${bytes}GET /smuggled HTTP/1.1\r\n${H}\r\n`, 'latin1'));
      const response = await wire.response();
      assert.equal(response.status, status);
      assert.equal(response.headers['content-type'], 'application/problem+json');
      assert.equal(response.headers.connection, 'close');
      assert.equal((await wire.rest()).length, 0);
      wire.close();
      assert.ok(!origin.requests.slice(before).some((request) => /smuggled/.test(request.line)));
    });

  // The framing is clear: only this request is refused.
  const mild = [
    ['a dot segment with parameters', G('/..;/v1'), 400],
    ['an overlong slash', G('/a%c0%afb'), 400],
    ['an overlong slash, in three bytes', G('/a%e0%80%afb'), 400],
    ['an overlong dot, in six bytes', G('/%fc%80%80%80%80%ae/a'), 400],
    ['an authority with another port', G('http://test:81/', 'test:82'), 400],
    ['an authority with a port and a Host with none', G('http://test:81/'), 400],
    ['an authority with a user', G('http://me@test/'), 400],
    ['an authority that is empty', G('http:///a'), 400],
    ['the form of an authority', G('test:80'), 400],
    ['an IPv6 Host that is none', G('/', '[::1::2]'), 400],
    ['a Host with a comma', G('/', 'a,b'), 400],
    ['a Host with a blank', G('/', 'a b'), 400],
    ['a Host with a percent', G('/', 'a%2eb'), 400],
    ['CONNECT', 'CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n', 400],
    ['TRACE', `TRACE / HTTP/1.1\r\n${H}\r\n`, 405],
  ];
  for (const [what, bytes, status] of mild)
    test(`${what}: refused, and the next one is served`, async () => {
      const wire = await connect(port);
      wire.write(Buffer.from(bytes + G('/next'), 'latin1'));
      assert.equal((await wire.response()).status, status);
      assert.equal((await wire.response()).json().line, 'GET /next HTTP/1.1');
      wire.close();
    });

  test('the same port in both is no disagreement', async () => {
    for (const [target, host] of [['http://test:80/', 'test'], ['http://test/', 'TEST:80'], ['http://test:81/x', 'test.:81'], ['HTTP://[::1]/', '[::1]:80']])
      assert.equal((await ask(port, G(target, host))).status, 200, `${target} ${host}`);
  });

  test('names in disguise and forwarding headers of strangers do not pass', async () => {
    const { headers } = (await ask(port, `GET / HTTP/1.1\r\n${H}X_Forwarded_For: 6.6.6.6\r\nX-Forwarded-Port: 1\r\nx-forwarded-prefix: /x\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\nOctroi_Tier: gold\r\nX_Mine: 1\r\n\r\n`)).json();
    for (const name of Object.keys(headers)) assert.ok(!/_forwarded|_length|_encoding|octroi|-port|-prefix/.test(name), name);
    assert.equal(headers['x-forwarded-for'], '127.0.0.1');
    assert.equal(headers.x_mine, '1');
  });

  test('what Connection may not take away stays', async () => {
    const { headers } = (await ask(port, `GET / HTTP/1.1\r\n${H}Connection: host, content-length, x-forwarded-for, x-request-id, authorization\r\nAuthorization: Basic x\r\n\r\n`)).json();
    assert.equal(headers.host, 'test');
    assert.equal(headers['x-forwarded-for'], '127.0.0.1');
    assert.equal(headers.authorization, 'Basic x');
    assert.ok(headers['x-request-id']);
  });
});

describe('responses', () => {
  const OK = 'HTTP/1.1 200 OK\r\n';
  const refused = [
    ['a coding and a length', `${OK}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n`],
    ['two lengths', `${OK}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc`],
    ['a list of lengths', `${OK}Content-Length: 3, 3\r\n\r\nabc`],
    ['a negative length', `${OK}Content-Length: -3\r\n\r\nabc`],
    ['another coding', `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
    ['a coding in HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['a bare LF', 'HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n'],
    ['a folded header', `${OK}A: b\r\n c\r\nContent-Length: 0\r\n\r\n`],
    ['a NUL', `${OK}A: b\0c\r\nContent-Length: 0\r\n\r\n`],
    ['a switch that nobody asked for', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'],
    ['a flood of interim responses', 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'.repeat(40)],
    ['a head without end', `${OK}${`A: ${'b'.repeat(100)}\r\n`.repeat(200)}`],
    ['too many headers', `${OK}${'A: b\r\n'.repeat(60)}\r\n`],
    ['HTTP/2 as text', 'HTTP/2.0 200 OK\r\n\r\n'],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n'],
    ['no HTTP at all', 'SSH-2.0-OpenSSH_9.2\r\n'],
    ['nothing but an end', ''],
  ];
  for (const [what, bytes] of refused)
    test(`${what} is a bad gateway`, async () => {
      rawHandle = async (wire) => {
        await wire.request();
        await wire.write(Buffer.from(bytes, 'latin1'));
        wire.socket.end();
      };
      const wire = await connect(port);
      wire.write('GET /raw HTTP/1.1\r\nHost: test\r\n\r\n');
      let response = await wire.response();
      while (response.status === 103) response = await wire.response();
      assert.equal(response.status, 502);
      wire.close();
    });

  // The head was good: what is missing must be seen.
  const short = [
    ['a length that is longer than the body', `${OK}Content-Length: 10\r\n\r\nabc`],
    ['a chunk that is cut off', `${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nabc`],
    ['chunks without an end', `${OK}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n`],
    ['a last chunk without its empty line', `${OK}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n`],
    ['a chunk size that is none', `${OK}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n`],
    ['a chunk that is too long', `${OK}Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n`],
    ['a malformed trailer', `${OK}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nbad trailer\r\n\r\n`],
  ];
  // Node takes a reset that comes with data for an end; only after a reset nothing can be written.
  const until = (bytes) =>
    new Promise((resolve) => {
      let got = '';
      let reset = false;
      const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true }, () => socket.write(bytes));
      socket.on('data', (part) => (got += part.toString('latin1')));
      socket.on('error', () => (reset = true));
      socket.on('end', () => socket.write('x', (error) => {
        if (error) reset = true;
        socket.destroy();
      }));
      socket.on('close', () => resolve({ got, reset }));
    });
  for (const [what, bytes] of short)
    for (const version of ['1.1', '1.0'])
      test(`${what} is not passed on as whole to HTTP/${version}`, async () => {
        // Head and body apart: the client has the head when the rest turns out to be missing.
        const at = bytes.indexOf('\r\n\r\n') + 4 + (/chunked/.test(bytes) ? 3 : 0);
        rawHandle = async (wire) => {
          await wire.request();
          await wire.write(bytes.slice(0, at));
          await new Promise((resolve) => setTimeout(resolve, 30));
          await wire.write(bytes.slice(at));
          wire.socket.end();
        };
        const { got, reset } = await until(`GET /raw HTTP/${version}\r\nHost: test\r\n\r\n`);
        if (/^HTTP\/1\.1 502/.test(got)) return;
        assert.match(got, /^HTTP\/1\.1 200/);
        assert.ok(!got.endsWith('\n0\r\n\r\n'), `no last chunk: ${JSON.stringify(got)}`);
        if (!/content-length/i.test(got) && !/chunked/i.test(got)) assert.ok(reset);
      });

  test('bytes behind an answer do not become the next one', async () => {
    rawHandle = async (wire) => {
      const { target } = await wire.request();
      await wire.write(target.endsWith('first') ? `${OK}Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison` : ok('fresh'));
      for (;;) {
        await wire.request();
        await wire.write(ok('fresh'));
      }
    };
    const wire = await connect(port);
    wire.write('GET /raw/first HTTP/1.1\r\nHost: test\r\n\r\n');
    assert.equal((await wire.response()).body.toString(), 'ok');
    wire.write('GET /raw/second HTTP/1.1\r\nHost: test\r\n\r\n');
    assert.equal((await wire.response()).body.toString(), 'fresh');
    wire.close();
  });

  test('a body behind 204, 304 or the answer to HEAD is not passed on', async () => {
    for (const [method, status] of [['GET', 204], ['GET', 304], ['HEAD', 200]]) {
      for (const socket of raw.sockets) socket.destroy();
      await waitUntil('no connection to the raw origin', async () => (await proxy.metric('octroi_proxy_upstream_connections', 'pool="raw"')) === 0);
      rawHandle = async (wire) => {
        await wire.request();
        await wire.write(`HTTP/1.1 ${status} X\r\nContent-Length: 6\r\n\r\npoison`);
        await wire.rest();
      };
      const wire = await connect(port);
      wire.write(`${method} /raw HTTP/1.1\r\nHost: test\r\n\r\nGET /next HTTP/1.1\r\nHost: test\r\n\r\n`);
      assert.equal((await wire.response({ head: true })).status, status);
      assert.equal((await wire.response()).json().line, 'GET /next HTTP/1.1');
      wire.close();
    }
  });

  test('a body that is announced for 204 and comes late is not the next answer', async () => {
    for (const announced of ['Content-Length: 49', 'Transfer-Encoding: chunked']) {
      for (const socket of raw.sockets) socket.destroy();
      await waitUntil('no connection to the raw origin', async () => (await proxy.metric('octroi_proxy_upstream_connections', 'pool="raw"')) === 0);
      rawHandle = async (wire) => {
        const first = await wire.request();
        await wire.write(first.target === '/raw' ? `HTTP/1.1 204 No Content\r\n${announced}\r\n\r\n` : ok('own'));
        await wire.request();
        await wire.write(ok('poison'));
      };
      assert.equal((await ask(port, 'GET /raw HTTP/1.1\r\nHost: test\r\n\r\n')).status, 204);
      assert.equal((await ask(port, 'GET /raw/next HTTP/1.1\r\nHost: test\r\n\r\n')).body.toString(), 'own', announced);
    }
  });
});

describe('a second parser', () => {
  // mulberry32: the same requests each time.
  const seed = Number(process.env.OCTROI_SEED || 20261121);
  let state = seed;
  const random = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const pick = (list) => list[Math.floor(random() * list.length)];
  const maybe = (share, text) => (random() < share ? text : '');

  const inner = (n) => `GET /judge/smuggled-${n}- HTTP/1.1\r\nHost: test\r\n\r\n`;
  const bodies = (n) => ['', 'x', inner(n), '0\r\n\r\n', `0\r\n\r\n${inner(n)}`, '\r\n', 'a'.repeat(100)];
  const chunk = (text) => `${pick(['', '', '0'])}${text.length.toString(16)}${pick(['', '', ';a=b', ' ', '\t'])}\r\n${text}\r\n`;
  const headers = [
    'Connection: keep-alive', 'Connection: close', 'Connection: X-Case, Host', 'Connection: transfer-encoding', 'Connection: content-length', 'TE: trailers', 'Upgrade: h2c',
    'X-A:\tb\t', 'X-A: \xe9', 'X-A:', 'X_Content-Length: 3', 'Content_Length: 3', 'Trailer: X', 'Expect: 100-continue', 'Cookie: a="\r', ' X-Folded: 1', 'X-B: a\r\n folded',
    'Content-Type: text/plain', 'Keep-Alive: timeout=3', 'Proxy-Connection: keep-alive', 'X-A: b\n', 'X-A\x00: b', 'Host: test', 'Content-Length: 0', 'Transfer-Encoding: chunked', 'transfer-encoding: identity', 'HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA',
  ];
  const interesting = ['\r', '\n', '\r\n', ' ', '\t', '\0', ':', ',', ';', '0', 'f', 'x', '\x7f', '\x80', '\xff', '#', '?', '\\', '"', '/', '%', '+', '-', '_', 'Transfer-Encoding: chunked\r\n', 'Content-Length: 5\r\n', '\r\n\r\n'];

  // Not every number is one: a mutated one is seen as such.
  const label = (n) => `${n}-${(n * 7919) % 9973}`;
  const number = (text) => (text === label(Number(text?.split('-')[0])) ? Number(text.split('-')[0]) : undefined);

  function make(n) {
    const body = pick(bodies(n));
    const kind = pick(['none', 'length', 'chunked', 'odd']);
    let framing = '';
    let payload = '';
    if (kind === 'length') [framing, payload] = [`Content-Length: ${body.length + pick([0, 0, 0, 0, 1, -1])}\r\n`, body];
    if (kind === 'chunked') [framing, payload] = ['Transfer-Encoding: chunked\r\n', `${body ? chunk(body) : ''}${maybe(0.3, chunk('more'))}0\r\n${maybe(0.2, 'X-T: u\r\n')}${maybe(0.1, 'Content-Length: 3\r\n')}\r\n`];
    if (kind === 'odd')
      [framing, payload] = [`${pick(['Content-Length: 3, 3', 'Content-Length: +3', 'Content-Length:3', 'content-length:\t3 ', 'Transfer-Encoding: \tchunked ', 'Transfer-Encoding: chunked, chunked', 'Transfer-Encoding: x', 'Content-Length: 03', 'Transfer-Encoding : chunked'])}\r\n`, pick(['abc', '3\r\nabc\r\n0\r\n\r\n'])];
    const line = `${pick(['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'HEAD', 'PROPFIND', 'post'])} ${pick(['', '', '', 'http://test'])}/judge${pick(['', '/', '/a/../b', '//x', '/%41', '?a=b', '?q=%0d%0a', '/a b', '/;p', '/..%2f', '/\xe9', '?a#b', "?a='\"<>|"])} HTTP/1.${pick(['1', '1', '1', '1', '0'])}\r\n`;
    let extra = '';
    for (let i = Math.floor(random() * 4); i > 0; i--) extra += `${pick(headers)}\r\n`;
    let text = `${line}Host: ${pick(['test', 'test', 'test', 'test:80', 'TEST.', 'x'])}\r\nX-Case: ${label(n)}\r\n${random() < 0.5 ? framing + extra : extra + framing}\r\n${payload}`;
    if (random() < 0.4) {
      const at = Math.floor(random() * text.length);
      text = text.slice(0, at) + pick(interesting) + text.slice(at + pick([0, 0, 1, 2]));
    }
    return Buffer.from(text + maybe(0.3, `GET /judge/tail HTTP/1.1\r\nHost: test\r\nX-Case: tail-${n}\r\n\r\n`), 'latin1');
  }

  // Sends it and waits for the first answer, or the end; an unfinished request ends by the proxy's own deadlines.
  const through = (bytes) =>
    new Promise((resolve) => {
      let got = '';
      const socket = net.connect(port, '127.0.0.1', () => socket.write(bytes));
      socket.on('data', (part) => {
        got += part.toString('latin1');
        if (/^HTTP\/1\.1 [2-5]/m.test(got)) socket.destroy();
      });
      socket.on('error', () => {});
      socket.on('close', () => resolve(got.match(/^HTTP\/1\.1 ([2-5]\d\d)/m)?.[1]));
    });

  // What Node makes of the original bytes, without the proxy.
  async function direct(all) {
    const list = [];
    const server = http.createServer({ insecureHTTPParser: false }, (request, response) => record(request.socket.records)(request, response));
    server.on('connection', (socket) => (socket.records = list[socket.remotePort] = []));
    server.on('clientError', (error, socket) => socket.destroy());
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    const results = [];
    for (const bytes of all)
      results.push(
        await new Promise((resolve) => {
          let key;
          const socket = net.connect(server.address().port, '127.0.0.1', () => {
            key = socket.localPort;
            socket.end(bytes);
          });
          socket.resume();
          socket.on('error', () => {});
          socket.on('close', () => resolve(list[key] ?? []));
        }),
      );
    server.close();
    return results;
  }

  test('reads what is forwarded as the same single request', async (t) => {
    const count = 1500;
    const sent = Array.from({ length: count }, (_, n) => make(n));
    const statuses = [];
    let next = 0;
    await Promise.all(
      Array.from({ length: 64 }, async () => {
        while (next < count) {
          const n = next++;
          statuses[n] = await through(sent[n]);
        }
      }),
    );
    await waitUntil('every request to be over', async () => (await proxy.metric('octroi_proxy_requests_in_flight')) === 0);
    const alone = await direct(sent);
    assert.deepEqual(judge.errors, [], `seed ${seed}: what was forwarded is malformed to the second parser`);
    const seen = new Map();
    for (const request of judged) {
      const key = number(request.headers['x-case']);
      const show = `seed ${seed}: ${JSON.stringify({ request, sent: sent[key]?.toString('latin1') })}`;
      // What was in a body for the second parser alone must not have become a request on the way.
      const smuggled = request.url.match(/smuggled-(\d+)-/)?.[1];
      if (smuggled !== undefined)
        assert.ok(!alone[smuggled].some(({ body }) => body.includes(`smuggled-${smuggled}-`)), `${show} ${sent[smuggled].toString('latin1')}`);
      if (key === undefined) continue;
      assert.ok(!seen.has(key), `twice: ${show}`);
      seen.set(key, request);
      const original = alone[key][0];
      if (!original || number(original.headers['x-case']) !== key) continue;
      assert.equal(request.method, original.method, show);
      assert.equal(request.body, original.body, show);
      if (original.headers.host) assert.equal(request.headers.host, original.headers.host, show);
    }
    const accepted = statuses.filter((status) => status === '200').length;
    t.diagnostic(`${count} requests: ${accepted} accepted, ${seen.size} seen by the second parser, which alone reads ${alone.filter((list) => list.length).length} of the originals`);
    assert.ok(accepted > count / 10 && accepted < count, 'both kinds are in it');
  });
});
