// WebSockets through the proxy: frames pass as they are, what is not one ends the connection, and every end is clean.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';

import WebSocket, { WebSocketServer } from 'ws';

import { freePort, removeDirectory, sleep, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { RawOrigin, ask, connect } from '../support/raw.mjs';
import { Service } from '../support/service.mjs';
import { KEY, OP, accept, closing, frame, open, readFrame, switching, upgrade } from '../support/websocket.mjs';

let dir;
let echo;
let raw;
let halves;
let rawHandle;
let proxy;
let port;

const config = (listen, ops, timeouts) => `
listeners: ["127.0.0.1:${listen}"]
workers: "2"
ops: { address: "127.0.0.1:${ops}" }
timeouts: ${timeouts}
pools:
  echo: { backends: ["http://127.0.0.1:${echo.address().port}"] }
  raw: { backends: ["http://127.0.0.1:${raw.port}"], timeouts: { response_head: 2s, body_idle: 1s } }
  half: { backends: ["http://127.0.0.1:${halves.port}"] }
routes:
  - { path: /half, pool: half, protocols: [websocket] }
  - { path: /, pool: echo, protocols: [http, websocket] }
  - { path: /raw, pool: raw, protocols: [http, websocket] }
  - { path: /only, pool: raw, protocols: [websocket] }
  - { path: /plain, pool: raw }
`;

before(async () => {
  dir = temporaryDirectory('websocket');
  echo = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: true, handleProtocols: (protocols) => (protocols.has('chat') ? 'chat' : false) });
  echo.on('connection', (socket) => {
    socket.on('message', (data, binary) => socket.send(data, { binary }));
    socket.on('error', () => {});
  });
  raw = await new RawOrigin((wire, self) => rawHandle(wire, self)).start();
  halves = await new RawOrigin(switched(async (wire) => {
    while (!wire.ended) await wire.more();
    await wire.write(Buffer.concat([frame(OP.text, `after ${wire.data.length} bytes`), closing(1000)]));
    wire.socket.end();
  }), { allowHalfOpen: true }).start();
  port = await freePort();
  const opsPort = await freePort();
  proxy = await new Service('proxy', {
    dir,
    opsPort,
    config: config(port, opsPort, '{ drain_delay: 0s, shutdown: 2s, request_body_idle: 1s, tunnel_idle: 30s }'),
  }).start();
});

after(async () => {
  for (const socket of echo?.clients ?? []) socket.terminate();
  await new Promise((resolve) => echo.close(resolve));
  await raw?.stop();
  await halves?.stop();
  await proxy?.stop();
  removeDirectory(dir);
});

const rss = () => Number(readFileSync(`/proc/${proxy.pid}/statm`, 'utf8').split(' ')[1]) * 4096;
const idle = () => waitUntil('no request in flight', async () => (await proxy.metric('octroi_proxy_requests_in_flight')) === 0);

const dial = (path = '/', protocols = [], options = {}) =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, protocols, options);
    socket.once('open', () => resolve(socket));
    socket.once('error', reject);
  });
const next = (socket) => new Promise((resolve, reject) => {
  socket.once('message', (data, binary) => resolve({ data, binary }));
  socket.once('close', (code, reason) => reject(new Error(`closed ${code} ${reason}`)));
});
const closed = (socket) => new Promise((resolve) => socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() })));

// Connections of an earlier test are gone before the next begins.
async function serve(handle) {
  rawHandle = handle;
  for (const socket of raw.sockets) socket.destroy();
  await waitUntil('no connection to the raw origin', async () => (await proxy.metric('octroi_proxy_upstream_connections', 'pool="raw"')) === 0);
}

// An origin that has switched, and what it does then.
const switched = (act, extra) => async (wire) => {
  const request = await wire.request();
  await wire.write(switching(request, extra));
  await act(wire, request);
};

describe('messages', () => {
  for (const perMessageDeflate of [false, true]) {
    test(`of every size come back as they went, deflate ${perMessageDeflate}`, async () => {
      const socket = await dial('/', [], { perMessageDeflate });
      for (const size of [0, 1, 125, 126, 127, 65535, 65536, 70001, 1_000_000, 5_000_000]) {
        const sent = randomBytes(size);
        const back = next(socket);
        socket.send(sent);
        const { data, binary } = await back;
        assert.ok(binary && sent.equals(data), `size ${size}`);
      }
      socket.send('täxt');
      assert.equal((await next(socket)).data.toString(), 'täxt');
      socket.close(1000, 'bye');
      assert.deepEqual(await closed(socket), { code: 1000, reason: 'bye' });
    });
  }

  test('in fragments, with a ping between them', async () => {
    const socket = await dial();
    const pong = new Promise((resolve) => socket.once('pong', resolve));
    socket.send('one', { fin: false });
    socket.ping('are you there');
    socket.send('two', { fin: false });
    const back = next(socket);
    socket.send('three', { fin: true });
    assert.equal((await pong).toString(), 'are you there');
    assert.equal((await back).data.toString(), 'onetwothree');
    socket.close();
    await closed(socket);
  });

  test('cut into single bytes', async () => {
    const wire = await open(port, '/');
    for (const byte of Buffer.concat([frame(OP.text, 'hello', { masked: true }), frame(OP.binary, randomBytes(300), { masked: true })])) await wire.write(Buffer.from([byte]));
    assert.equal((await readFrame(wire)).payload.toString(), 'hello');
    assert.equal((await readFrame(wire)).payload.length, 300);
    wire.close();
  });

  test('many at once', async () => {
    const socket = await dial();
    const count = 20_000;
    let seen = 0;
    const all = new Promise((resolve) => socket.on('message', () => { if (++seen === count) resolve(); }));
    for (let i = 0; i < count; i++) socket.send(`message ${i}`);
    await all;
    socket.close();
    await closed(socket);
  });

  test('that come with the handshake, from either side', async () => {
    await serve(async (wire) => {
      const request = await wire.request();
      await wire.write(Buffer.concat([Buffer.from(switching(request)), frame(OP.text, 'early origin')]));
      const read = await readFrame(wire);
      assert.ok(read.masked);
      await wire.write(frame(OP.text, `got ${read.payload}`));
    });
    const wire = await open(port, '/raw', '', frame(OP.text, 'early client', { masked: true }));
    assert.equal((await readFrame(wire)).payload.toString(), 'early origin');
    assert.equal((await readFrame(wire)).payload.toString(), 'got early client');
    wire.close();
  });
});

describe('the handshake', () => {
  test('reaches the origin whole, and nothing else of Upgrade does', async () => {
    let seen;
    await serve(switched(async (wire, request) => {
      seen = request;
      wire.close();
    }));
    const wire = await open(port, '/raw', 'Sec-WebSocket-Protocol: chat, octroi.v1, octroi.bearer.secret\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nX-Mine: 1\r\n');
    assert.equal(seen.headers.connection, 'Upgrade');
    assert.equal(seen.headers.upgrade, 'websocket');
    assert.equal(seen.headers['sec-websocket-key'], KEY);
    assert.equal(seen.headers['sec-websocket-version'], '13');
    assert.equal(seen.headers['sec-websocket-protocol'], 'chat');
    assert.equal(seen.headers['sec-websocket-extensions'], 'permessage-deflate; client_max_window_bits');
    assert.equal(seen.headers['http2-settings'], undefined);
    assert.ok(!seen.text.includes('secret'));
    assert.equal(wire.response.headers['sec-websocket-accept'], accept(KEY));
    assert.equal(wire.response.headers.connection, 'Upgrade');
    assert.equal(wire.response.headers.upgrade, 'websocket');
    assert.equal(wire.response.headers['sec-websocket-protocol'], 'octroi.v1');
    assert.equal(wire.response.headers['content-length'], undefined);
    wire.close();
  });

  test('offers of many subprotocols and extensions cost no more than their length', async () => {
    let seen;
    await serve(async (wire) => { seen = await wire.request(); await wire.write('HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n'); });
    const before = rss();
    const protocols = Array.from({ length: 10_000 }, () => 'a');
    const extensions = Array.from({ length: 500 }, () => 'permessage-deflate');
    const lists = `Sec-WebSocket-Protocol: ${protocols.join(',')}\r\nSec-WebSocket-Extensions: ${extensions.join(',')}\r\n`;
    assert.equal((await ask(port, upgrade('/raw', lists))).status, 403);
    assert.equal(seen.headers['sec-websocket-protocol'], protocols.join(', '));
    assert.equal(seen.headers['sec-websocket-extensions'], extensions.join(', '));
    assert.ok(rss() - before < 16e6, `grew by ${rss() - before}`);
  });

  test("the origin's choice of a subprotocol stands", async () => {
    const socket = await dial('/', ['octroi.v1', 'chat']);
    assert.equal(socket.protocol, 'chat');
    socket.close();
    await closed(socket);
    const other = await dial('/', ['octroi.v1', 'octroi.bearer.abc']);
    assert.equal(other.protocol, 'octroi.v1');
    other.close();
    await closed(other);
  });

  const refused = [
    ['another version', upgrade('/', '', { version: '8' }), 426],
    ['a version twice', upgrade('/', 'Sec-WebSocket-Version: 13\r\n'), 426],
    ['a short key', upgrade('/', '', { key: 'dGhlIHNhbXBsZQ==' }), 400],
    ['a key that is no base64', upgrade('/', '', { key: '!!!!!!!!!!!!!!!!!!!!!!==' }), 400],
    ['a key twice', upgrade('/', `Sec-WebSocket-Key: ${KEY}\r\n`), 400],
    ['no Connection', upgrade('/', '', { connection: 'keep-alive' }), 400],
    ['a body', upgrade('/', 'Content-Length: 1\r\n') + 'x', 400],
    ['another method', upgrade('/').replace('GET', 'POST'), 405],
    ['HTTP/1.0', upgrade('/').replace('HTTP/1.1', 'HTTP/1.0'), 400],
    ['no upgrade where nothing else is served', 'GET /only HTTP/1.1\r\nHost: test\r\n\r\n', 426],
  ];
  for (const [what, bytes, status] of refused)
    test(`is refused: ${what}`, async () => {
      const response = await ask(port, bytes);
      assert.equal(response.status, status);
      assert.match(response.headers['content-type'], /problem\+json/);
      if (status === 426) {
        assert.equal(response.headers.upgrade, 'websocket');
        assert.equal(response.headers['sec-websocket-version'], '13');
      }
    });

  for (const [what, path, options] of [['h2c', '/raw', { token: 'h2c', connection: 'Upgrade, HTTP2-Settings' }], ['any on a route without WebSockets', '/plain', {}]])
    test(`is not passed on: ${what}`, async () => {
      let seen;
      await serve(async (wire) => {
        seen = await wire.request();
        await wire.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      });
      assert.equal((await ask(port, upgrade(path, '', options))).status, 200);
      assert.equal(seen.headers.upgrade, undefined);
      assert.equal(seen.headers.connection, undefined);
    });

  test("an origin's refusal passes as it is", async () => {
    await serve(async (wire) => {
      await wire.request();
      await wire.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\nX-Why: so\r\n\r\nnope');
    });
    const response = await ask(port, upgrade('/raw'));
    assert.equal(response.status, 403);
    assert.equal(response.headers['x-why'], 'so');
    assert.equal(response.body.toString(), 'nope');
  });

  const bad = [
    ['without having been asked', '/plain', (request) => switching({ headers: { 'sec-websocket-key': KEY } }), 'GET /plain HTTP/1.1\r\nHost: test\r\n\r\n'],
    ['to another key', '/raw', () => switching({ headers: { 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==' } })],
    ['without an accept', '/raw', () => 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n'],
    ['to another protocol', '/raw', (request) => switching(request).replace('Upgrade: websocket', 'Upgrade: h2c')],
    ['without Connection', '/raw', (request) => switching(request).replace('Connection: Upgrade\r\n', '')],
    ['with a subprotocol of its own', '/raw', (request) => switching(request, 'Sec-WebSocket-Protocol: mine\r\n')],
    ['with an extension of its own', '/raw', (request) => switching(request, 'Sec-WebSocket-Extensions: permessage-deflate\r\n')],
    ['with a length', '/raw', (request) => switching(request, 'Content-Length: 3\r\n')],
  ];
  for (const [what, path, answer, bytes] of bad)
    test(`a switch ${what} is a bad gateway`, async () => {
      await serve(async (wire) => {
        const request = await wire.request();
        await wire.write(answer(request));
      });
      const response = await ask(port, bytes ?? upgrade(path));
      assert.equal(response.status, 502);
    });
});

describe('ends', () => {
  test("the client's end reaches the origin, which may go on", async () => {
    const wire = await open(port, '/half');
    wire.socket.allowHalfOpen = true;
    const last = frame(OP.text, 'last', { masked: true });
    wire.socket.end(last);
    assert.equal((await readFrame(wire)).payload.toString(), `after ${last.length} bytes`);
    assert.equal((await readFrame(wire)).code, 1000);
    assert.equal((await wire.rest()).length, 0);
    await idle();
  });

  test("the origin's end reaches the client", async () => {
    await serve(switched(async (wire) => {
      await wire.write(closing(1000, 'done'));
      wire.socket.end();
    }));
    const wire = await open(port, '/raw');
    const last = await readFrame(wire);
    assert.equal(last.code, 1000);
    assert.equal((await wire.rest()).length, 0);
    assert.equal(wire.error, null);
    wire.close();
    await idle();
  });

  test('a client that vanishes takes its origin along', async () => {
    let gone;
    await serve(switched(async (wire) => {
      while (!wire.ended) await wire.more();
      gone = true;
    }));
    const wire = await open(port, '/raw');
    wire.reset();
    await waitUntil('the origin to see it', () => gone);
    await idle();
  });

  test('what follows a close frame is not passed on', async () => {
    const frames = [];
    await serve(switched(async (wire) => {
      for (;;) frames.push(await readFrame(wire));
    }));
    const wire = await open(port, '/raw');
    wire.socket.end(Buffer.concat([closing(1000, '', { masked: true }), frame(OP.text, 'more', { masked: true })]));
    await waitUntil('the close frame', () => frames.length > 0);
    await idle();
    assert.deepEqual(frames.map((one) => one.opcode), [OP.close]);
    wire.close();
  });

  const masked = { masked: true };
  const hostile = [
    ['an unmasked frame', frame(OP.text, 'x')],
    ['a reserved bit', frame(OP.text, 'x', { ...masked, rsv: 0x20 })],
    ['deflate that was not agreed', frame(OP.text, 'x', { ...masked, rsv: 0x40 })],
    ['a reserved opcode', frame(3, 'x', masked)],
    ['a fragmented ping', frame(OP.ping, 'x', { ...masked, fin: false })],
    ['a long ping', frame(OP.ping, 'x'.repeat(126), masked)],
    ['a lone continuation', frame(OP.continuation, 'x', masked)],
    ['a message in a message', Buffer.concat([frame(OP.text, 'x', { ...masked, fin: false }), frame(OP.text, 'y', masked)])],
    ['a length too long in form', Buffer.from([0x82, 0x80 | 126, 0, 5, 0, 0, 0, 0])],
    ['a length beyond 2^63', Buffer.from([0x82, 0x80 | 127, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0])],
    ['a close frame of one byte', frame(OP.close, 'x', masked)],
  ];
  for (const [what, bytes] of hostile)
    test(`a client's violation ends both with 1002: ${what}`, async () => {
      const frames = [];
      await serve(switched(async (wire) => {
        for (;;) frames.push(await readFrame(wire));
      }));
      const wire = await open(port, '/raw');
      await wire.write(Buffer.concat([frame(OP.text, 'good', masked), bytes]));
      const last = await readFrame(wire);
      assert.equal(last.code, 1002);
      assert.ok(last.reason.length > 0 && !last.masked);
      await waitUntil('the end at the origin', () => frames.at(-1)?.code === 1002);
      assert.equal(frames[0].payload.toString(), 'good');
      assert.ok(frames.at(-1).masked);
      wire.close();
      await idle();
    });

  test("an origin's violation ends both with 1002", async () => {
    const frames = [];
    await serve(switched(async (wire) => {
      await wire.write(Buffer.concat([frame(OP.text, 'good'), frame(OP.text, 'masked', masked)]));
      for (;;) frames.push(await readFrame(wire));
    }));
    const wire = await open(port, '/raw');
    assert.equal((await readFrame(wire)).payload.toString(), 'good');
    assert.equal((await readFrame(wire)).code, 1002);
    await waitUntil('the end at the origin', () => frames.at(-1)?.code === 1002);
    assert.equal((await wire.rest()).length, 0);
    wire.close();
    await idle();
  });

  test('an end decided inside a frame waits for it', async () => {
    await serve(switched(async (wire) => {
      const whole = frame(OP.text, 'in two parts');
      await wire.write(whole.subarray(0, 5));
      await readFrame(wire);
      await wire.write(whole.subarray(5));
      await wire.rest();
    }));
    const wire = await open(port, '/raw');
    await waitUntil('a part of the frame', () => wire.data.length === 5);
    await wire.write(Buffer.concat([frame(OP.text, 'go on', masked), frame(3, '', masked)]));
    assert.equal((await readFrame(wire)).payload.toString(), 'in two parts');
    assert.equal((await readFrame(wire)).code, 1002);
    wire.close();
    await idle();
  });
});

describe('slow peers', () => {
  test('a client that never reads costs a bounded memory', async () => {
    let written = 0;
    await serve(switched(async (wire) => {
      const block = frame(OP.binary, randomBytes(60_000));
      while (!wire.ended && written < 200_000_000) {
        written += block.length;
        if (!wire.socket.write(block)) await new Promise((resolve) => { wire.socket.once('drain', resolve); wire.socket.once('close', resolve); });
      }
    }));
    const before = rss();
    const wire = await open(port, '/raw');
    wire.socket.pause();
    let last = -1;
    await waitUntil('the origin to be held back', () => { const still = written === last; last = written; return still && written > 0; }, { every: 300 });
    assert.ok(written < 100_000_000, `${written} bytes were taken`);
    assert.ok(rss() - before < 32e6, `grew by ${rss() - before}`);
    wire.close();
    await idle();
  });

  test('an origin that never reads holds its client back', async () => {
    await serve(switched(async (wire) => {
      wire.socket.pause();
      await new Promise((resolve) => wire.socket.once('close', resolve));
    }));
    const before = rss();
    const wire = await open(port, '/raw');
    const block = frame(OP.binary, randomBytes(60_000), masked());
    let written = 0;
    let last = -1;
    const pump = () => { while (written < 200_000_000 && !wire.socket.destroyed) { written += block.length; if (!wire.socket.write(block)) { wire.socket.once('drain', pump); return; } } };
    pump();
    await waitUntil('the client to be held back', () => { const still = written === last; last = written; return still && written > 0; }, { every: 300 });
    assert.ok(written < 100_000_000, `${written} bytes were taken`);
    assert.ok(rss() - before < 32e6, `grew by ${rss() - before}`);
    wire.close();
    for (const socket of raw.sockets) socket.destroy();
    await idle();
  });

  // What was read ahead of a slow origin goes on in pieces that fit where headers are put together again.
  test('small frames behind a slow origin, with small heads allowed, arrive whole', async () => {
    const own = await freePort();
    const ops = await freePort();
    let taken = 0;
    let reader;
    await serve(switched(async (wire) => {
      reader = wire.socket;
      reader.removeAllListeners('data');
      reader.pause();
      taken += wire.data.length;
      reader.on('data', (bytes) => { taken += bytes.length; });
      reader.pause();
      await new Promise((resolve) => reader.once('close', resolve));
    }));
    const narrow = await new Service('proxy', { dir, name: 'narrow', opsPort: ops, config: `limits: { header_bytes: 1KiB }\n${config(own, ops, '{ drain_delay: 0s, shutdown: 2s }')}` }).start();
    try {
      const wire = await open(own, '/raw');
      const frames = Buffer.concat(Array.from({ length: 45_001 }, () => frame(OP.binary, '', { masked: true })));
      const slice = 45_001; // of frames of 6 bytes: it ends inside a header, in each place in turn
      let written = 0;
      for (let round = 0; round < 8; round += 1) {
        for (let stuck = false; !stuck && !wire.ended;) {
          const at = written % frames.length;
          written += slice;
          await Promise.race([wire.write(frames.subarray(at, at + slice)), sleep(60).then(() => { stuck = true; })]);
          await sleep(4); // each is read by itself
        }
        assert.ok(!wire.ended, 'the proxy is still there');
        const target = Math.min(written - 6, taken + 1_000_000);
        reader.resume();
        await waitUntil('some of it to be taken', () => taken >= target);
        if (round < 7) reader.pause();
      }
      const rest = (6 - (written % 6)) % 6; // of the last frame
      await wire.write(frames.subarray(written % frames.length, (written % frames.length) + rest));
      await waitUntil('all of it to be taken', () => taken === written + rest);
      wire.close();
    } finally {
      await narrow.stop();
    }
  });

  function masked() {
    return { masked: true };
  }

  test('both at full speed, both ways', async () => {
    const socket = await dial('/', [], { perMessageDeflate: false });
    const total = 40;
    let seen = 0;
    const block = randomBytes(1 << 20);
    const all = new Promise((resolve) => socket.on('message', (data) => { assert.equal(data.length, block.length); if (++seen === total) resolve(); }));
    for (let i = 0; i < total; i++) socket.send(block);
    await all;
    socket.close();
    await closed(socket);
  });
});

describe('time', () => {
  test('silence ends a tunnel with 1001; a drain ends it shortly before its deadline', async () => {
    const own = await freePort();
    const opsPort = await freePort();
    const quick = await new Service('proxy', {
      dir,
      name: 'quick',
      opsPort,
      config: config(own, opsPort, '{ drain_delay: 0s, shutdown: 1s, tunnel_idle: 1s, request_body_idle: 100ms }'),
    }).start();
    const silent = await open(own, '/');
    const silence = await readFrame(silent);
    assert.equal(silence.code, 1001);
    assert.match(silence.reason, /too long/);
    const busy = await open(own, '/');
    const frames = [];
    const chatter = setInterval(() => { if (!busy.ended) busy.write(frame(OP.ping, 'x', { masked: true })); }, 100);
    const reading = (async () => { for (;;) frames.push(await readFrame(busy)); })().catch(() => {});
    await waitUntil('a pong', () => frames.length > 0);
    const stopping = quick.stop();
    await waitUntil('the end', () => frames.some((one) => one.opcode === OP.close));
    clearInterval(chatter);
    assert.equal(frames.find((one) => one.opcode === OP.close).code, 1001);
    await stopping;
    await reading;
    silent.close();
    busy.close();
  });
});
