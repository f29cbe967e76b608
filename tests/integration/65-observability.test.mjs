// What an operator sees: access log, traces, /status, debug headers, health; and what must never be seen.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import http2 from 'node:http2';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import WebSocket, { WebSocketServer } from 'ws';

import { Authority } from '../support/certificates.mjs';
import { freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { RawOrigin, answering, ask, connect, ok } from '../support/raw.mjs';
import { Service, binary } from '../support/service.mjs';
import { askTls } from '../support/tls.mjs';

const GET = (path, extra = '') => `GET ${path} HTTP/1.1\r\nHost: Test:80\r\n${extra}\r\n`;
const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = `00-${TRACE}-00f067aa0ba902b7-01`;

let dir;
let origin;
let silent;

before(async () => {
  dir = temporaryDirectory('observability');
  origin = await answering((request) => ok(JSON.stringify({ headers: request.headers }))).start();
  silent = await new RawOrigin((wire) => wire.rest()).start();
});

after(async () => {
  await origin?.stop();
  await silent?.stop();
  removeDirectory(dir);
});

let number = 0;
async function start({ top = '', routes = '', pools = '', listeners = '', env = {}, log = 'access.log', access = '' } = {}) {
  number += 1;
  const port = await freePort();
  const opsPort = await freePort();
  const logFile = log.startsWith('/') ? log : join(dir, `${number}-${log}`);
  const proxy = await new Service('proxy', {
    dir,
    name: `proxy-${number}`,
    opsPort,
    env,
    config: `
listeners: [{ address: "127.0.0.1:${port}" } ${listeners}]
workers: "2"
ops: { address: "127.0.0.1:${opsPort}", metrics_bearer_token: "\${OPS_TOKEN:-}" }
access_log: { path: "${logFile}" ${access} }
timeouts: { drain_delay: 0s, shutdown: 1s }
${top}
pools:
  api: { backends: ["http://127.0.0.1:${origin.port}"] }
  silent: { backends: ["http://127.0.0.1:${silent.port}"], timeouts: { response_head: 30s } }
${pools}
routes:
  - { path: /, pool: api }
  - { path: /hang, pool: silent }
  - { host: old.example, redirect: { to: "http://new.example" } }
${routes}
`,
  }).start();
  const lines = () => (existsSync(logFile) ? readFileSync(logFile, 'utf8').split('\n').filter(Boolean) : []);
  return { proxy, port, logFile, lines, find: (what) => waitUntil(`a line with ${what}`, () => lines().find((line) => line.includes(what))) };
}

describe('access log', () => {
  let it;
  before(async () => {
    it = await start();
  });
  after(() => it?.proxy.stop());

  test('every field of a request that was served', async () => {
    const reply = await ask(it.port, GET('/items/1?access_token=hunter2', 'Authorization: Bearer hunter2\r\n'));
    const line = JSON.parse(await it.find('/items/1'));
    assert.deepEqual(Object.keys(line), [
      'ts', 'level', 'service', 'msg', 'request_id', 'trace_id', 'client', 'method', 'protocol', 'tls', 'host', 'status', 'problem', 'route', 'pool',
      'backend', 'attempts', 'bytes_in', 'bytes_out', 'duration_ms', 'upstream_connect_ms', 'upstream_head_ms', 'path', 'aborted',
    ]);
    assert.match(line.ts, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.ok(Math.abs(Date.parse(line.ts) - Date.now()) < 60_000);
    assert.deepEqual(
      { ...line, ts: 0, duration_ms: 0, upstream_connect_ms: 0, upstream_head_ms: 0 },
      {
        ts: 0, level: 'info', service: 'proxy', msg: 'request', request_id: reply.headers['x-request-id'], trace_id: null, client: '127.0.0.1',
        method: 'GET', protocol: 'HTTP/1.1', tls: null, host: 'test', status: 200, problem: null, route: '/', pool: 'api',
        backend: `127.0.0.1:${origin.port}`, attempts: 1, bytes_in: 0, bytes_out: reply.body.length, duration_ms: 0, upstream_connect_ms: 0,
        upstream_head_ms: 0, path: '/items/1', aborted: false,
      },
    );
    for (const key of ['duration_ms', 'upstream_connect_ms', 'upstream_head_ms']) assert.ok(line[key] >= 0 && line[key] < 60_000, key);
    assert.ok(!readFileSync(it.logFile, 'utf8').includes('hunter2'));
    assert.ok(!it.proxy.logContains('hunter2'));
  });

  test('a connection that stood already took no time', async () => {
    await ask(it.port, GET('/again-1'));
    await ask(it.port, GET('/again-2'));
    const lines = [JSON.parse(await it.find('/again-1')), JSON.parse(await it.find('/again-2'))];
    // Each worker has its own connections: one of three requests at the latest finds one.
    await ask(it.port, GET('/again-3'));
    lines.push(JSON.parse(await it.find('/again-3')));
    assert.ok(lines.some((line) => line.upstream_connect_ms === null));
  });

  test('a refusal, with its problem', async () => {
    const reply = await ask(it.port, GET('/a%2fb?token=hunter2'));
    assert.equal(reply.status, 400);
    const line = JSON.parse(await it.find(reply.headers['x-request-id']));
    assert.equal(line.problem, 'bad-request');
    assert.equal(line.route, null);
    assert.equal(line.bytes_out, reply.body.length);
  });

  test('what is no JSON and no UTF-8 in a message', async () => {
    await ask(it.port, GET('/q%22%0a'));
    const line = JSON.parse(await it.find('/q%22%0'));
    assert.equal(line.path.toUpperCase(), '/Q%22%0A');
  });

  test('a client that leaves', async () => {
    const wire = await connect(it.port);
    wire.write(GET('/hang/aborted'));
    await waitUntil('the request at the origin', async () => (await it.proxy.metric('octroi_proxy_backend_requests_in_flight', 'silent')) > 0 || silent.connections > 0);
    wire.close();
    const line = JSON.parse(await it.find('/hang/aborted'));
    assert.equal(line.aborted, true);
    assert.equal(line.upstream_head_ms, null);
  });

  for (const signal of ['SIGUSR1', 'SIGHUP']) {
    test(`logrotate and ${signal}`, async () => {
      await ask(it.port, GET(`/before-${signal}`));
      await it.find(`/before-${signal}`);
      renameSync(it.logFile, `${it.logFile}.${signal}`);
      it.proxy.process.signal(signal);
      await waitUntil('the new file', () => existsSync(it.logFile));
      await waitUntil('a line in it', async () => {
        await ask(it.port, GET(`/after-${signal}`));
        return it.lines().some((line) => line.includes(`/after-${signal}`));
      });
      assert.ok(!readFileSync(it.logFile, 'utf8').includes(`/before-${signal}`));
    });
  }
});

test('HTTP/2 and WebSockets say so, and are counted while they last', async () => {
  const echo = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await new Promise((resolve) => echo.once('listening', resolve));
  echo.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
  const it = await start({ routes: '  - { path: /ws, pool: ws, protocols: [websocket] }', pools: `  ws: { backends: ["http://127.0.0.1:${echo.address().port}"] }` });
  const open = (protocol) => it.proxy.metric('octroi_proxy_connections_by_protocol', `protocol="${protocol}"`);

  const session = http2.connect(`http://127.0.0.1:${it.port}`);
  const stream = session.request({ ':path': '/two?token=hunter2' });
  stream.resume();
  await new Promise((resolve, reject) => { stream.once('end', resolve); stream.once('error', reject); });
  assert.equal(await open('http2'), 1);
  const two = JSON.parse(await it.find('"/two"'));
  assert.equal(two.protocol, 'HTTP/2');
  assert.equal(two.status, 200);
  session.close();
  await waitUntil('its end', async () => (await open('http2')) === 0);

  const socket = new WebSocket(`ws://127.0.0.1:${it.port}/ws?token=hunter2`);
  await new Promise((resolve, reject) => { socket.once('open', resolve); socket.once('error', reject); });
  socket.send('hello');
  await new Promise((resolve) => socket.once('message', resolve));
  assert.equal(await open('websocket'), 1);
  const status = await (await fetch(`${it.proxy.ops}/status`)).json();
  assert.equal(status.requests.oldest[0].route, '/ws');
  assert.ok(status.requests.oldest[0].bytes_in > 5);
  socket.close();
  const line = JSON.parse(await it.find('"/ws"'));
  assert.equal(line.protocol, 'websocket');
  assert.equal(line.status, 101);
  assert.equal(await open('websocket'), 0);
  assert.equal(await it.proxy.metric('octroi_proxy_request_duration_seconds_count', 'route="/ws"'), 0);
  assert.ok(!readFileSync(it.logFile, 'utf8').includes('hunter2'));
  await it.proxy.stop();
  echo.close();
});

test('TLS says its version', async () => {
  const { certificate, key } = new Authority(dir).issue('test', ['DNS:test']);
  const secure = await freePort();
  const it = await start({ listeners: `, { address: "127.0.0.1:${secure}", tls: { certificate: "${certificate}", key: "${key}" } }` });
  await askTls(secure, GET('/secure'), { rejectUnauthorized: false });
  assert.equal(JSON.parse(await it.find('"/secure"')).tls, 'TLSv1.3');
  await askTls(secure, GET('/older'), { rejectUnauthorized: false, maxVersion: 'TLSv1.2' });
  assert.equal(JSON.parse(await it.find('"/older"')).tls, 'TLSv1.2');
  await it.proxy.stop();
});

test('the combined format', async () => {
  const it = await start({ access: ', format: combined' });
  const reply = await ask(it.port, GET('/page?q=hunter2', 'Referer: http://shop.test/basket?session=hunter2\r\nUser-Agent: test "agent"\r\n'));
  const line = await it.find('/page');
  assert.match(
    line,
    new RegExp(`^127\\.0\\.0\\.1 - - \\[\\d\\d/[A-Z][a-z]{2}/\\d{4}:\\d\\d:\\d\\d:\\d\\d \\+0000\\] "GET /page HTTP/1\\.1" 200 ${reply.body.length} "http://shop\\.test/basket" "test \\\\x22agent\\\\x22"$`),
  );
  await it.proxy.stop();
});

test('a sample leaves out what went well, and never a refusal', async () => {
  const it = await start({ access: ', sample: 0.00000000001' });
  for (let i = 0; i < 20; i += 1) await ask(it.port, GET(`/fine/${i}`));
  for (let i = 0; i < 5; i += 1) await ask(it.port, GET('/bad%2f'));
  await waitUntil('the refusals', () => it.lines().length >= 5);
  assert.equal(it.lines().filter((line) => line.includes('bad-request')).length, 5);
  assert.equal(it.lines().filter((line) => line.includes('/fine/')).length, 0);
  await it.proxy.stop();
});

test('a sample of 0 turns the log off', async () => {
  const it = await start({ access: ', sample: 0' });
  await ask(it.port, GET('/bad%2f'));
  await it.proxy.stop();
  assert.equal(it.lines().length, 0);
});

test('a full disk costs lines, not requests, and they come back', async () => {
  const link = join(dir, 'disk');
  symlinkSync('/dev/full', link);
  const it = await start({ log: link });
  for (let i = 0; i < 50; i += 1) assert.equal((await ask(it.port, GET(`/full/${i}`))).status, 200);
  await waitUntil('lost lines', async () => (await it.proxy.metric('octroi_proxy_access_log_dropped_lines_total', 'write')) === 50);
  await waitUntil('the log to say so', () => it.proxy.logContains('the access log cannot be written'));
  unlinkSync(link);
  it.proxy.process.signal('SIGUSR1');
  await waitUntil('the new file', () => existsSync(link));
  await waitUntil('a line', async () => {
    await ask(it.port, GET('/room/again'));
    return it.lines().some((line) => line.includes('/room/again'));
  });
  await waitUntil('the log to say so', () => it.proxy.logContains('the access log is written again'));
  const status = await (await fetch(`${it.proxy.ops}/status`)).json();
  assert.ok(status.access_log.lost >= 50);
  await it.proxy.stop();
});

test('a reload moves the log and changes its format, whole or not at all', async () => {
  const it = await start();
  const status = async () => (await fetch(`${it.proxy.ops}/status`)).json();
  assert.deepEqual((await status()).configuration, { file: it.proxy.configFile, version: 1 });
  await ask(it.port, GET('/first'));
  await it.find('/first');
  const text = readFileSync(it.proxy.configFile, 'utf8');
  const moved = join(dir, 'moved.log');
  writeFileSync(it.proxy.configFile, text.replace(it.logFile, moved).replace('access_log: {', 'access_log: { format: combined,'));
  it.proxy.process.signal('SIGHUP');
  await waitUntil('the new version', async () => (await status()).configuration.version === 2);
  await ask(it.port, GET('/second'));
  await waitUntil('the line', () => existsSync(moved) && / "GET \/second HTTP\/1\.1" 200 /.test(readFileSync(moved, 'utf8')));
  assert.ok(!readFileSync(it.logFile, 'utf8').includes('/second'));
  writeFileSync(it.proxy.configFile, text.replace(it.logFile, join(dir, 'no', 'such', 'log')));
  it.proxy.process.signal('SIGHUP');
  await waitUntil('the refusal', () => it.proxy.logContains('reload refused'));
  await ask(it.port, GET('/third'));
  await waitUntil('the line', () => readFileSync(moved, 'utf8').includes('/third'));
  assert.equal((await status()).configuration.version, 2);
  writeFileSync(it.proxy.configFile, text.replace(it.logFile, '-'));
  it.proxy.process.signal('SIGHUP');
  await waitUntil('the new version', async () => (await status()).configuration.version === 3);
  await ask(it.port, GET('/fourth'));
  await waitUntil('the line', () => it.proxy.logContains('"path":"/fourth"'));
  await it.proxy.stop();
});

test('a log that cannot be opened is an error at the start', async () => {
  const opsPort = await freePort();
  const proxy = new Service('proxy', {
    dir, name: 'no-log', opsPort,
    config: `listeners: ["127.0.0.1:${await freePort()}"]\nops: { address: "127.0.0.1:${opsPort}" }\naccess_log: { path: ${dir}/no/such/log }\nroutes: [{ path: /, redirect: { to: "http://x" } }]\n`,
  }).spawn();
  const exit = await proxy.process.exited;
  assert.equal(exit.code, 1);
  assert.ok(proxy.logContains('access_log.path'));
});

describe('trace context', () => {
  const seen = (reply) => reply.json().headers;

  test('of a trusted proxy it passes unchanged, without an exporter', async () => {
    const it = await start({ top: 'trusted_proxies: ["127.0.0.1/32"]' });
    const headers = seen(await ask(it.port, GET('/t', `traceparent: ${PARENT}\r\ntracestate: a=1\r\n`)));
    assert.equal(headers.traceparent, PARENT);
    assert.equal(headers.tracestate, 'a=1');
    assert.equal(JSON.parse(await it.find('"/t"')).trace_id, TRACE);
    const bad = seen(await ask(it.port, GET('/u', `traceparent: ${PARENT.toUpperCase()}\r\ntracestate: a=1\r\n`)));
    assert.equal(bad.traceparent, undefined);
    assert.equal(bad.tracestate, undefined);
    const twice = seen(await ask(it.port, GET('/v', `traceparent: ${PARENT}\r\ntraceparent: ${PARENT}\r\n`)));
    assert.equal(twice.traceparent, undefined);
    await it.proxy.stop();
  });

  test('of anybody else it does not', async () => {
    const it = await start();
    const headers = seen(await ask(it.port, GET('/t', `traceparent: ${PARENT}\r\ntracestate: a=1\r\n`)));
    assert.equal(headers.traceparent, undefined);
    assert.equal(headers.tracestate, undefined);
    assert.equal(JSON.parse(await it.find('"/t"')).trace_id, null);
    await it.proxy.stop();
  });

  test('of anybody where the configuration says so', async () => {
    const it = await start({ top: 'traceparent: always' });
    assert.equal(seen(await ask(it.port, GET('/t', `traceparent: ${PARENT}\r\n`))).traceparent, PARENT);
    await it.proxy.stop();
  });
});

describe('spans', () => {
  let collector;
  let batches;
  let status;
  let port;

  before(async () => {
    batches = [];
    status = 200;
    collector = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk) => { body += chunk; });
      request.on('end', () => {
        batches.push({ url: request.url, headers: request.headers, body: JSON.parse(body) });
        response.statusCode = status;
        response.end('{}');
      });
    });
    await new Promise((resolve) => collector.listen(0, '127.0.0.1', resolve));
    port = collector.address().port;
  });
  after(() => {
    collector.closeAllConnections();
    collector.close();
  });

  const environment = (more = {}) => ({
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
    OTEL_EXPORTER_OTLP_HEADERS: 'x-key=a%20b,x-other=1',
    OTEL_SERVICE_NAME: 'edge "1"',
    ...more,
  });
  const spans = () => batches.flatMap((batch) => batch.body.resourceSpans[0].scopeSpans[0].spans);
  const attributes = (span) => Object.fromEntries(span.attributes.map(({ key, value }) => [key, value.stringValue ?? Number(value.intValue)]));

  test('one of the server and one of the client for a request', async () => {
    const it = await start({ env: environment(), top: 'trusted_proxies: ["127.0.0.1/32"]' });
    const reply = await ask(it.port, GET('/spans?token=hunter2', `traceparent: ${PARENT}\r\ntracestate: a=1\r\n`));
    const passed = reply.json().headers;
    await waitUntil('two spans', () => spans().length >= 2);
    const [server, client] = [spans().find((span) => span.kind === 2), spans().find((span) => span.kind === 3)];
    assert.equal(server.traceId, TRACE);
    assert.equal(server.parentSpanId, '00f067aa0ba902b7');
    assert.equal(server.name, 'GET /');
    assert.equal(client.parentSpanId, server.spanId);
    assert.equal(passed.traceparent, `00-${TRACE}-${client.spanId}-01`);
    assert.equal(passed.tracestate, 'a=1');
    assert.ok(BigInt(server.startTimeUnixNano) <= BigInt(client.startTimeUnixNano));
    assert.ok(BigInt(server.endTimeUnixNano) >= BigInt(server.startTimeUnixNano));
    assert.ok(Math.abs(Number(BigInt(server.endTimeUnixNano) / 1_000_000n) - Date.now()) < 60_000);
    assert.deepEqual(server.status, {});
    assert.deepEqual({ ...attributes(server) }, {
      'http.request.method': 'GET', 'url.scheme': 'http', 'client.address': '127.0.0.1', 'network.protocol.version': '1.1',
      'octroi.request_id': reply.headers['x-request-id'], 'http.route': '/', 'http.response.status_code': 200, 'http.request.body.size': 0,
      'http.response.body.size': reply.body.length, 'server.address': 'test', 'url.path': '/spans',
    });
    assert.equal(attributes(client)['server.address'], `127.0.0.1:${origin.port}`);
    const batch = batches[0];
    assert.equal(batch.url, '/v1/traces');
    assert.equal(batch.headers['x-key'], 'a b');
    assert.equal(batch.headers['content-type'], 'application/json');
    assert.equal(batch.body.resourceSpans[0].resource.attributes[0].value.stringValue, 'edge "1"');
    assert.ok(!JSON.stringify(batches).includes('hunter2'));
    await it.proxy.stop();
  });

  test('a trace begins here, a refusal is an error, long and odd texts stay JSON', async () => {
    const it = await start({ env: environment() });
    batches.length = 0;
    const passed = (await ask(it.port, GET('/fresh', `traceparent: ${PARENT}\r\ntracestate: a=1\r\n`))).json().headers;
    assert.match(passed.traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    assert.notEqual(passed.traceparent.slice(3, 35), TRACE);
    assert.equal(passed.tracestate, undefined);
    await ask(it.port, `GET /${'%22'.repeat(2000)} HTTP/1.1\r\nHost: ${'a'.repeat(200)}\r\n\r\n`);
    await ask(it.port, `ODD${'X'.repeat(20)} /long/${'x'.repeat(5000)} HTTP/1.1\r\nHost: test\r\n\r\n`);
    await waitUntil('six spans', () => spans().length >= 6);
    const fresh = spans().find((span) => attributes(span)['url.path'] === '/fresh');
    assert.equal(fresh.parentSpanId, undefined);
    assert.equal(JSON.parse(await it.find('/fresh')).trace_id, fresh.traceId);
    assert.ok(spans().some((span) => attributes(span)['http.request.method'] === '_OTHER'));
    await waitUntil('the count', async () => (await it.proxy.metric('octroi_proxy_trace_spans_total', 'sent')) >= 6);
    await it.proxy.stop();
  });

  test('the sampler begins none, and follows who has begun one', async () => {
    const it = await start({ env: environment({ OTEL_TRACES_SAMPLER_ARG: '0' }), top: 'traceparent: always' });
    batches.length = 0;
    assert.match((await ask(it.port, GET('/none'))).json().headers.traceparent, /-00$/);
    await ask(it.port, GET('/theirs', `traceparent: ${PARENT}\r\n`));
    await ask(it.port, GET('/not-theirs', `traceparent: ${PARENT.replace(/01$/, '00')}\r\n`));
    await waitUntil('spans', () => spans().length >= 2);
    await it.proxy.stop();
    assert.equal(spans().length, 2);
    assert.ok(spans().every((span) => span.traceId === TRACE));
  });

  test('a collector that refuses or is away costs spans alone', async () => {
    const it = await start({ env: environment() });
    status = 503;
    assert.equal((await ask(it.port, GET('/x'))).status, 200);
    await waitUntil('the failure', async () => (await it.proxy.metric('octroi_proxy_trace_spans_total', 'failed')) >= 2);
    assert.ok(it.proxy.logContains('the collector does not take them'));
    status = 200;
    await it.proxy.stop();
    const away = await start({ env: environment({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `http://127.0.0.1:${await freePort()}/x` }) });
    assert.equal((await ask(away.port, GET('/x'))).status, 200);
    await waitUntil('the failure', async () => (await away.proxy.metric('octroi_proxy_trace_spans_total', 'failed')) >= 2);
    await away.proxy.stop();
  });

  test('what is written, is sent at the end', async () => {
    const it = await start({ env: environment() });
    batches.length = 0;
    for (let i = 0; i < 5; i += 1) await ask(it.port, GET(`/end/${i}`));
    await it.proxy.stop();
    assert.equal(spans().length, 10);
  });
});

describe('status', () => {
  let it;
  const status = async (options) => (await fetch(`${it.proxy.ops}/status`, options)).json();

  before(async () => {
    it = await start({ top: 'limits: { in_flight: 77 }' });
  });
  after(() => it?.proxy.stop());

  test('requests under way are shown where they are, without what they ask', async () => {
    const before = await status();
    assert.equal(before.requests.in_flight, 0);
    const wires = [];
    for (let i = 0; i < 3; i += 1) {
      const wire = await connect(it.port);
      wires.push(wire);
      wire.write(GET(`/hang/${i}/secret-path?token=hunter2`, `X-Tag: ${i}\r\n`));
      await waitUntil(`${i + 1} requests`, async () => (await status()).requests.by_room.upstream === i + 1);
    }
    const idle = await connect(it.port);
    await waitUntil('the idle connection', async () => (await status()).workers.reduce((sum, worker) => sum + worker.connections.http1, 0) === 4);
    const now = await status();
    assert.equal(now.requests.in_flight, 3);
    assert.deepEqual(Object.keys(now.requests.by_room).slice(0, 3), ['meter', 'admit', 'route']);
    assert.equal(now.requests.oldest.length, 3);
    for (const request of now.requests.oldest) {
      assert.match(request.id, /^[0-9a-f]{32}$/);
      assert.deepEqual({ ...request, id: 0, age_ms: 0 }, {
        id: 0, method: 'GET', route: '/hang', room: 'upstream', age_ms: 0, backend: `127.0.0.1:${silent.port}`, attempts: 1, bytes_in: 0, bytes_out: 0,
      });
    }
    const ages = now.requests.oldest.map((request) => request.age_ms);
    assert.deepEqual(ages, [...ages].sort((a, b) => b - a));
    assert.ok(!/secret-path|hunter2/.test(JSON.stringify(now)));
    assert.equal(now.process.pid, it.proxy.pid);
    assert.equal(now.process.draining, false);
    assert.equal(now.workers.length, 2);
    assert.ok(now.workers.every((worker) => worker.stuck === false && worker.lag_ms >= 0));
    assert.deepEqual(now.limits.in_flight, { now: 3, limit: 77 });
    assert.equal(now.limits.connections.now, 4);
    const pool = now.pools.find(({ name }) => name === 'silent');
    assert.equal(pool.usable, true);
    assert.equal(pool.backends[0].in_flight, 3);
    assert.equal(pool.backends[0].breaker, 'closed');
    assert.equal(pool.backends[0].health, 'up');
    for (const wire of [...wires, idle]) wire.close();
    await waitUntil('no request', async () => (await status()).requests.in_flight === 0);
    const later = await status();
    assert.equal(later.routes.find(({ name }) => name === '/hang').requests, 3);
  });

  test('all bodies on their way are counted', async () => {
    const wire = await connect(it.port);
    wire.write('POST /hang HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n0123456789');
    await waitUntil('the bytes', async () => (await status()).requests.oldest[0]?.bytes_in === 10);
    wire.close();
  });
});

test('status and metrics are for who has the token', async () => {
  const it = await start({ env: { OPS_TOKEN: 'let-me-in' } });
  assert.equal((await fetch(`${it.proxy.ops}/status`)).status, 401);
  assert.equal((await fetch(`${it.proxy.ops}/status`, { headers: { authorization: 'Bearer let-me-out' } })).status, 401);
  const reply = await fetch(`${it.proxy.ops}/status`, { headers: { authorization: 'Bearer let-me-in' } });
  assert.equal(reply.status, 200);
  assert.equal(reply.headers.get('cache-control'), 'no-store');
  await it.proxy.stop();
});

test('debug headers are absent unless they are asked for', async () => {
  const names = ['x-octroi-route', 'x-octroi-pool', 'x-octroi-backend', 'x-octroi-attempts', 'server-timing'];
  const it = await start();
  for (const path of ['/', '/bad%2f']) {
    const { headers } = await ask(it.port, GET(path));
    for (const name of names) assert.equal(headers[name], undefined, name);
  }
  await it.proxy.stop();
  const open = await start({ top: 'expose_debug_headers: true' });
  const { headers } = await ask(open.port, GET('/'));
  assert.equal(headers['x-octroi-route'], '/');
  assert.equal(headers['x-octroi-pool'], 'api');
  assert.equal(headers['x-octroi-backend'], `127.0.0.1:${origin.port}`);
  assert.equal(headers['x-octroi-attempts'], '1');
  assert.match(headers['server-timing'], /^proxy;dur=\d+\.\d{3}, connect;dur=\d+\.\d{3}, origin;dur=\d+\.\d{3}$/);
  const refused = await ask(open.port, GET('/bad%2f'));
  assert.equal(refused.headers['x-octroi-backend'], undefined);
  assert.equal(refused.headers['x-octroi-attempts'], '0');
  await open.proxy.stop();
});

test('health says which pool has nobody to ask', async () => {
  const dead = await freePort();
  const port = await freePort();
  const opsPort = await freePort();
  const proxy = await new Service('proxy', {
    dir, name: 'health', opsPort,
    config: `
listeners: ["127.0.0.1:${port}"]
ops: { address: "127.0.0.1:${opsPort}" }
timeouts: { drain_delay: 0s, shutdown: 1s }
pools:
  good: { backends: ["http://127.0.0.1:${origin.port}"] }
  dead: { backends: ["http://127.0.0.1:${dead}"], health: { path: /, interval: 100ms, timeout: 100ms, rise: 1, fall: 1 } }
routes:
  - { path: /, pool: good }
  - { path: /dead, pool: dead }
`,
  }).start();
  const health = () => fetch(`${proxy.ops}/healthz?check=upstream`);
  await waitUntil('the dead pool', async () => (await health()).status === 503);
  assert.deepEqual(await (await health()).json(), { status: 'no usable backend', pool: 'dead' });
  assert.equal((await fetch(`${proxy.ops}/healthz`)).status, 200);
  const server = createServer((request, response) => response.end());
  await new Promise((resolve) => server.listen(dead, '127.0.0.1', resolve));
  await waitUntil('the pool to be back', async () => (await health()).status === 200);
  assert.deepEqual(await (await health()).json(), { status: 'ok' });
  server.closeAllConnections();
  server.close();
  await proxy.stop();
});

test('a thousand routes are bounded in metrics and status', async () => {
  const routes = Array.from({ length: 1000 }, (_, i) => `  - { path: "/r${i}/", pool: api }`).join('\n');
  const it = await start({ routes });
  const wire = await connect(it.port);
  for (let i = 0; i < 1000; i += 1) {
    wire.write(GET(`/r${i}/`));
    assert.equal((await wire.response()).status, 200);
  }
  wire.close();
  await waitUntil('the last of them', async () => (await it.proxy.metric('octroi_proxy_requests_total', 'method="GET"')) === 1000);
  const series = (await it.proxy.metrics()).split('\n').filter((line) => line.startsWith('octroi_proxy_requests_total{'));
  assert.ok(series.length <= 500, `${series.length} series`);
  assert.ok((await it.proxy.metric('octroi_proxy_requests_total', 'route="other"')) >= 500);
  const status = await (await fetch(`${it.proxy.ops}/status`)).json();
  assert.ok(status.routes.length <= 500);
  assert.equal(status.routes.reduce((sum, route) => sum + route.requests, 0), 1000);
  await it.proxy.stop();
});

describe('octroi-top', () => {
  // The program's end: its status, and what it wrote.
  const run = (...args) =>
    new Promise((resolve) => {
      const child = spawn(binary('octroi-top'), args, { stdio: ['ignore', 'pipe', 'pipe'] });
      let [out, error] = ['', ''];
      child.stdout.on('data', (data) => { out += data.toString('latin1'); });
      child.stderr.on('data', (data) => { error += data; });
      child.on('close', (code) => resolve({ code, out, error }));
    });
  // An ops listener that answers anything.
  const answer = async (handle) => {
    const server = createServer(handle);
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { url: `http://127.0.0.1:${server.address().port}`, stop: () => { server.closeAllConnections(); server.close(); } };
  };

  test('one page of a running proxy', async () => {
    const it = await start({ env: { OPS_TOKEN: 'let-me-in' } });
    const wire = await connect(it.port);
    wire.write(GET('/hang/secret-path'));
    const token = join(dir, 'token');
    writeFileSync(token, 'let-me-in\n');
    const page = await waitUntil('the request', async () => {
      const result = await run('--once', '--url', it.proxy.ops, '--token-file', token);
      assert.equal(result.code, 0, result.error);
      return / upstream 1/.test(result.out) && result.out;
    });
    assert.match(page, new RegExp(`^octroi proxy \\S+ +pid ${it.proxy.pid} +up 0d 00:\\d\\d:\\d\\d +serving\n`));
    assert.match(page, new RegExp(`\nsilent +127\\.0\\.0\\.1:${silent.port} +up +1 `));
    assert.match(page, /\n +\d+\.\ds GET +\/hang +upstream /);
    assert.ok(page.split('\n').every((line) => line.length <= 80));
    assert.ok(!page.includes('secret-path'));
    const refused = await run('--once', '--url', it.proxy.ops);
    assert.equal(refused.code, 1);
    assert.match(refused.error, /the token is missing or wrong/);
    wire.close();
    await it.proxy.stop();
  });

  test('hostile and broken answers', async () => {
    const evil = await answer((request, response) => response.end(JSON.stringify({ process: { service: '\u001b[2J\u009b31m', version: '\r\n' } })));
    const page = await run('--once', '--url', evil.url);
    evil.stop();
    assert.equal(page.code, 0);
    assert.match(page.out, /^[\n\x20-\x7e]*$/);
    const cases = [
      [(request, response) => response.end('{"process":'), /./],
      [(request, response) => response.end('[]'), /no answer of \/status/],
      [(request, response) => { response.writeHead(302, { location: 'file:///etc/passwd' }); response.end(); }, /status 302/],
      [(request, response) => {
        response.on('error', () => {});
        const more = () => { while (!response.destroyed && response.write('x'.repeat(65536))); response.once('drain', more); };
        more();
      }, /larger than 8 MiB/],
    ];
    for (const [handle, error] of cases) {
      const server = await answer(handle);
      const result = await run('--once', '--url', server.url);
      server.stop();
      assert.equal(result.code, 1);
      assert.match(result.error, error);
    }
    assert.equal((await run('--once', '--url', `http://127.0.0.1:${await freePort()}`)).code, 1);
    assert.equal((await run('--once', '--url', 'file:///etc')).code, 1);
    assert.equal((await run('--nonsense')).code, 2);
    assert.match((await run()).error, /no terminal/);
  });

  test('on a terminal it ends cleanly with Ctrl-C', async (t) => {
    const it = await start();
    const out = join(dir, 'typescript');
    // exec: a shell of $SHELL that stays would take the signal too, and end by it.
    const child = spawn('script', ['-qfec', `exec ${binary('octroi-top')} --url ${it.proxy.ops}`, out], {
      stdio: ['pipe', 'ignore', 'ignore'],
      env: { ...process.env, SHELL: '/bin/sh' },
    });
    t.after(() => child.kill('SIGKILL'));
    const closed = new Promise((resolve) => child.on('close', resolve));
    const screen = () => (existsSync(out) ? readFileSync(out, 'latin1') : '');
    await waitUntil('a page', () => screen().includes('octroi proxy'));
    child.stdin.write('\x03');
    assert.equal(await closed, 0);
    assert.ok(screen().includes('\x1b[?1049h'));
    assert.ok(screen().lastIndexOf('\x1b[?25h\x1b[?1049l') > screen().lastIndexOf('octroi proxy'));
    await it.proxy.stop();
  });
});
