// What a route changes in requests and answers, and what it answers by itself.
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { after, before, describe, test } from 'node:test';

import { freePort, removeDirectory, temporaryDirectory } from '../support/process.mjs';
import { answering, ask, connect } from '../support/raw.mjs';
import { Service } from '../support/service.mjs';

let dir;
let origin;
let proxy;
let port;

before(async () => {
  dir = temporaryDirectory('rules');
  origin = await answering((request) => {
    const body = JSON.stringify({ line: request.line, headers: request.headers });
    return `HTTP/1.1 200 OK\r\nContent-Length: ${Buffer.byteLength(body)}\r\nServer: inner\r\nX-Frame-Options: DENY\r\nAccess-Control-Allow-Origin: https://origin.says\r\nCache-Control: private\r\n\r\n${body}`;
  }).start();
  port = await freePort();
  const opsPort = await freePort();
  proxy = await new Service('proxy', {
    dir,
    opsPort,
    config: `
listeners: [{ address: "127.0.0.1:${port}" }]
workers: "1"
ops: { address: "127.0.0.1:${opsPort}" }
trusted_proxies: [127.0.0.1/32]
timeouts: { drain_delay: 0s, shutdown: 2s }
pools: { p: { backends: ["http://127.0.0.1:${origin.port}"] } }
routes:
  - path: /edit
    pool: p
    host_rewrite: inner.example:8080
    request_headers: { set: { X-Role: guest, X-Via: edge }, remove: [Cookie, X-User] }
    response_headers: { set: { Cache-Control: no-cache, X-Served: octroi }, remove: [Server] }
  - { path: /plain, pool: p }
  - { path: /safe, pool: p, security_headers: true, limits: { body_bytes: 4 } }
  - path: /app
    pool: p
    limits: { body_bytes: 4 }
    cors: { origins: ["https://app.example", "https://b.example:8443"], methods: [GET, PUT], headers: [Authorization, X-A], expose: [X-Served], credentials: true, max_age: 1h }
  - { path: /open, pool: p, cors: { origins: ["*"] } }
  - { path: /sold/moved, cors: { origins: ["*"] }, redirect: { to: "https://example.org/x" } }
  - { path: /secure, pool: p, https_only: true, security_headers: true }
  - { path: /later, respond: { status: 503, body: "back soon\\n", content_type: text/plain }, response_headers: { set: { Retry-After: "120" } } }
  - { path: /nothing, respond: { status: 204 }, security_headers: true }
`,
  }).start();
});

after(async () => {
  await origin?.stop();
  await proxy?.stop();
  removeDirectory(dir);
});

const send = (method, path, extra = '', host = 'test') => ask(port, `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\n${extra}\r\n`);

test('what a route removes does not come as a trailer either, from either side', async () => {
  const own = await freePort();
  const ops = await freePort();
  const late = await answering((request) => `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${JSON.stringify(request.trailers).length.toString(16)}\r\n${JSON.stringify(request.trailers)}\r\n0\r\nServer: inner\r\nX-Sum: 1\r\n\r\n`).start();
  const service = await new Service('proxy', {
    dir,
    name: 'trailers',
    opsPort: ops,
    config: `
listeners: ["127.0.0.1:${own}"]
workers: "1"
ops: { address: "127.0.0.1:${ops}" }
timeouts: { drain_delay: 0s, shutdown: 2s }
pools: { p: { backends: ["http://127.0.0.1:${late.port}"] } }
routes: [{ path: /, pool: p, request_headers: { set: { X-Role: guest }, remove: [X-User] }, response_headers: { remove: [Server] } }]
`,
  }).start();
  try {
    const response = await ask(own, 'PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx_user: admin\r\nX-Check: 1\r\nX-Role: admin\r\n\r\n');
    assert.deepEqual(response.json(), ['X-Check: 1']);
    assert.deepEqual(response.trailers, ['X-Sum: 1']);
  } finally {
    await service.stop();
    await late.stop();
  }
});

describe('headers', () => {
  test('of the request', async () => {
    const seen = (await send('GET', '/edit', 'X-Role: admin\r\nX_Role: admin\r\nCookie: a=b\r\nx_user: root\r\nX-Other: 1\r\n')).json().headers;
    assert.equal(seen['x-role'], 'guest');
    assert.equal(seen['x-via'], 'edge');
    assert.equal(seen['x-other'], '1');
    assert.equal(seen.host, 'inner.example:8080');
    assert.equal(seen['x-forwarded-host'], 'test');
    for (const name of ['cookie', 'x_role', 'x_user', 'x-user']) assert.ok(!(name in seen), name);
  });

  test('of the answer', async () => {
    const { headers } = await send('GET', '/edit');
    assert.equal(headers['cache-control'], 'no-cache');
    assert.equal(headers['x-served'], 'octroi');
    assert.ok(!('server' in headers));
    assert.equal((await send('GET', '/plain')).headers.server, 'inner');
  });

  test('security headers do not override the origin, and HSTS is for https', async () => {
    const { headers } = await send('GET', '/safe');
    assert.equal(headers['x-frame-options'], 'DENY');
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.equal(headers['content-security-policy'], "frame-ancestors 'self'");
    assert.equal(headers['referrer-policy'], 'strict-origin-when-cross-origin');
    assert.ok(!('strict-transport-security' in headers));
    const https = await send('GET', '/safe', 'X-Forwarded-Proto: https\r\n');
    assert.equal(https.headers['strict-transport-security'], 'max-age=31536000');
  });

  test('security headers are on refusals too', async () => {
    const refused = await send('POST', '/safe', 'Content-Length: 5\r\n');
    assert.equal(refused.status, 413);
    assert.equal(refused.headers['x-frame-options'], 'SAMEORIGIN');
  });
});

describe('cors', () => {
  const from = (name) => `Origin: ${name}\r\n`;
  const preflight = (path, name) => send('OPTIONS', path, `${from(name)}Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-a\r\n`);

  test('a preflight is answered here', async () => {
    const before = origin.requests.length;
    const { status, headers } = await preflight('/app', 'https://b.example:8443');
    assert.equal(status, 204);
    assert.equal(headers['access-control-allow-origin'], 'https://b.example:8443');
    assert.equal(headers['access-control-allow-credentials'], 'true');
    assert.equal(headers['access-control-allow-methods'], 'GET, PUT');
    assert.equal(headers['access-control-allow-headers'], 'Authorization, X-A');
    assert.equal(headers['access-control-max-age'], '3600');
    assert.equal(headers.vary, 'Origin');
    assert.ok(!('content-length' in headers));
    assert.equal(origin.requests.length, before);
  });

  test('the connection goes on after a preflight', async () => {
    const wire = await connect(port);
    const bytes = `OPTIONS /app HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n\r\n`;
    wire.write(bytes + bytes);
    assert.equal((await wire.response()).status, 204);
    assert.equal((await wire.response()).status, 204);
    wire.close();
  });

  test('an OPTIONS that is no preflight goes to the origin', async () => {
    assert.equal((await send('OPTIONS', '/app', from('https://app.example'))).json().line, 'OPTIONS /app HTTP/1.1');
    assert.equal((await send('OPTIONS', '/plain', `${from('https://app.example')}Access-Control-Request-Method: PUT\r\n`)).json().line, 'OPTIONS /plain HTTP/1.1');
  });

  test('another page gets nothing that lets it', async () => {
    for (const name of ['https://evil.example', 'https://app.example.evil', 'https://app.exampl', 'http://app.example', 'https://APP.example', 'null', 'https://app.example, https://b.example:8443']) {
      for (const { headers } of [await preflight('/app', name), await send('GET', '/app', from(name))]) {
        assert.equal(headers.vary, 'Origin');
        assert.deepEqual(Object.keys(headers).filter((key) => key.startsWith('access-control-')), [], name);
      }
    }
    const twice = await send('GET', '/app', from('https://app.example') + from('https://evil.example'));
    assert.ok(!('access-control-allow-origin' in twice.headers));
  });

  test('an answer and a refusal carry them', async () => {
    const { headers } = await send('GET', '/app', from('https://app.example'));
    assert.equal(headers['access-control-allow-origin'], 'https://app.example');
    assert.equal(headers['access-control-expose-headers'], 'X-Served');
    assert.equal(headers.vary, 'Origin');
    const refused = await send('PUT', '/app', `${from('https://app.example')}Content-Length: 5\r\n`);
    assert.equal(refused.status, 413);
    assert.equal(refused.headers['access-control-allow-origin'], 'https://app.example');
  });

  test('any origin', async () => {
    const { headers } = await send('GET', '/open', from('https://x.example'));
    assert.equal(headers['access-control-allow-origin'], '*');
    assert.ok(!('vary' in headers));
    assert.equal((await preflight('/open', 'null')).headers['access-control-allow-methods'], 'GET, HEAD, POST');
    assert.equal((await send('GET', '/sold/moved')).headers['access-control-allow-origin'], '*');
  });
});

describe('https only', () => {
  test('cleartext is sent to https', async () => {
    const before = origin.requests.length;
    const { status, headers } = await send('POST', '/secure/a/../b?c=d%20e', 'Content-Length: 0\r\n', 'Shop.Example:8080');
    assert.equal(status, 308);
    assert.equal(headers.location, 'https://shop.example/secure/b?c=d%20e');
    assert.ok(!('strict-transport-security' in headers));
    assert.equal((await ask(port, 'GET /secure HTTP/1.0\r\n\r\n')).status, 400);
    assert.equal(origin.requests.length, before);
  });

  test("a trusted proxy's word counts, a list of words does not", async () => {
    assert.equal((await send('GET', '/secure', 'X-Forwarded-Proto: HTTPS\r\n')).status, 200);
    assert.equal((await send('GET', '/secure', 'X-Forwarded-Proto: https, http\r\n')).status, 308);
    assert.equal((await send('GET', '/secure', 'X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n')).status, 308);
  });
});

describe('fixed answers', () => {
  test('with a body', async () => {
    const { status, headers, body } = await send('GET', '/later/anything');
    assert.equal(status, 503);
    assert.equal(headers['content-type'], 'text/plain');
    assert.equal(headers['retry-after'], '120');
    assert.equal(body.toString(), 'back soon\n');
    assert.equal((await ask(port, 'HEAD /later HTTP/1.1\r\nHost: a\r\n\r\n', { head: true })).headers['content-length'], '10');
  });

  test('without', async () => {
    const { status, headers } = await send('GET', '/nothing');
    assert.equal(status, 204);
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.ok(!('content-length' in headers) && !('content-type' in headers));
  });
});

test('an HTTP/1.0 request whose target names the host keeps it', async () => {
  assert.equal((await ask(port, 'GET http://Named.example:81/plain HTTP/1.0\r\n\r\n')).json().headers.host, 'named.example');
});

test('the same over HTTP/2', async () => {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  const send = (headers) =>
    new Promise((resolve, reject) => {
      const stream = session.request(headers);
      let body = '';
      let head;
      stream.on('response', (received) => (head = received));
      stream.on('data', (part) => (body += part));
      stream.on('error', reject);
      stream.on('end', () => resolve({ status: head[':status'], headers: head, body }));
      stream.end();
    });
  try {
    const preflight = await send({ ':method': 'OPTIONS', ':path': '/app', origin: 'https://app.example', 'access-control-request-method': 'PUT' });
    assert.equal(preflight.status, 204);
    assert.equal(preflight.headers['access-control-allow-origin'], 'https://app.example');
    const edited = await send({ ':path': '/edit', 'x-role': 'admin', x_user: 'root', cookie: 'a=b' });
    const seen = JSON.parse(edited.body).headers;
    assert.equal(seen['x-role'], 'guest');
    assert.ok(!('cookie' in seen) && !('x_user' in seen));
    assert.equal(edited.headers['cache-control'], 'no-cache');
    assert.ok(!('server' in edited.headers));
    assert.equal((await send({ ':path': '/safe' })).headers['x-content-type-options'], 'nosniff');
    const moved = await send({ ':path': '/secure?x=y', ':authority': 'shop.example:8080' });
    assert.equal(moved.status, 308);
    assert.equal(moved.headers.location, 'https://shop.example/secure?x=y');
    assert.equal((await send({ ':path': '/nothing' })).status, 204);
  } finally {
    session.close();
  }
});
