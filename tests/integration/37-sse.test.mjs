// Event streams and long polls: nothing is held back, and silence is not taken for failure.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { RawOrigin, ask, connect } from '../support/raw.mjs';
import { Service } from '../support/service.mjs';

let dir;
let raw;
let rawHandle;
let proxy;
let port;

const GET = (path, extra = '') => `GET ${path} HTTP/1.1\r\nHost: test\r\n${extra}\r\n`;
const stream = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n';
const chunk = (text) => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;

before(async () => {
  dir = temporaryDirectory('sse');
  raw = await new RawOrigin((wire, self) => rawHandle(wire, self)).start();
  port = await freePort();
  const opsPort = await freePort();
  proxy = await new Service('proxy', {
    dir,
    opsPort,
    config: `
listeners: ["127.0.0.1:${port}"]
workers: "2"
ops: { address: "127.0.0.1:${opsPort}" }
timeouts: { drain_delay: 0s, shutdown: 2s, tunnel_idle: 3s }
pools:
  raw: { backends: ["http://127.0.0.1:${raw.port}"], timeouts: { response_head: 800ms, body_idle: 800ms } }
routes:
  - { path: /, pool: raw }
  - { path: /events, pool: raw, protocols: [http, sse] }
  - { path: /poll, pool: raw, timeouts: { response_head: 10s } }
`,
  }).start();
});

after(async () => {
  await raw?.stop();
  await proxy?.stop();
  removeDirectory(dir);
});

async function serve(handle) {
  rawHandle = handle;
  for (const socket of raw.sockets) socket.destroy();
  await waitUntil('no connection to the raw origin', async () => (await proxy.metric('octroi_proxy_upstream_connections', 'pool="raw"')) === 0);
}

test('each event arrives before the next is sent', async () => {
  let wire;
  await serve(async (origin) => {
    await origin.request();
    await origin.write(stream);
    for (let i = 0; i < 20; i += 1) {
      await origin.write(chunk(`data: ${i}\n\n`));
      await waitUntil(`event ${i} at the client`, () => wire.data.includes(`data: ${i}\n\n`), { every: 2 });
    }
    await origin.write('0\r\n\r\n');
  });
  wire = await connect(port);
  wire.write(GET('/events', 'Accept-Encoding: gzip\r\n'));
  await waitUntil('the end', () => wire.data.includes('0\r\n\r\n'));
  const { status, body } = await wire.response();
  assert.equal(status, 200);
  assert.equal(body.toString().match(/data:/g).length, 20);
  wire.close();
});

test('an event stream may be silent for longer than a body; for tunnel_idle', async () => {
  let sent = false;
  let cut = false;
  await serve(async (origin) => {
    await origin.request();
    await origin.write(stream + chunk('data: 1\n\n'));
    await waitUntil('more than body_idle', ((start) => () => Date.now() - start > 1200)(Date.now()));
    await origin.write(chunk('data: 2\n\n'));
    sent = true;
    while (!origin.ended) await origin.more();
    cut = true;
  });
  const wire = await connect(port);
  wire.write(GET('/events'));
  await waitUntil('the second event', () => wire.data.includes('data: 2'));
  assert.ok(sent);
  await waitUntil('the silence to end it', () => cut && wire.ended);
  assert.ok(!wire.data.includes('\r\n0\r\n'), 'what was cut does not look whole');
});

test('elsewhere the same silence ends the body', async () => {
  await serve(async (origin) => {
    await origin.request();
    await origin.write(stream + chunk('data: 1\n\n'));
  });
  const wire = await connect(port);
  wire.write(GET('/other'));
  await waitUntil('the cut', () => wire.ended);
  assert.ok(!wire.data.includes('\r\n0\r\n'));
});

test('a long poll waits as its route says', async () => {
  await serve(async (origin) => {
    await origin.request();
    await waitUntil('more than response_head', ((start) => () => Date.now() - start > 2000)(Date.now()));
    await origin.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnews');
  });
  assert.equal((await ask(port, GET('/poll'))).body.toString(), 'news');
  assert.equal((await ask(port, GET('/impatient'))).status, 504);
});
