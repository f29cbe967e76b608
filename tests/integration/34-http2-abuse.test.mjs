// HTTP/2 by clients that mean harm: whoever floods, stalls or breaks the protocol loses the connection, and nobody else notices.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import * as h2 from '../support/h2raw.mjs';
import { Http2Gate, fetch2 } from '../support/http2.mjs';
import { waitUntil } from '../support/process.mjs';

const MB = 1024 * 1024;

const gate = new Http2Gate();
let raw;
let proxy;
let port;

before(async () => {
  ({ raw, proxy, port } = await gate.start());
});

after(() => gate.stop());

describe('abuse', () => {
  // The connection ends as it should, and another client is served before, meanwhile and after.
  async function flood(frames, { times = 400, hello, kind, code = h2.ENHANCE_YOUR_CALM } = {}) {
    const before = kind ? await gate.abuses(kind) : 0;
    const other = await gate.session();
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
    if (kind) assert.equal((await gate.abuses(kind)) - before, 1);
    assert.equal((await fetch2(other, {})).status, 200);
    other.destroy();
    client.close();
    await gate.idle();
  }

  test('rapid reset, while the origin is at work', async () => {
    await gate.serve(async (wire) => wire.request());
    await flood((id) => [h2.get(id, [], { path: '/raw' }), h2.reset(id)], { kind: 'reset' });
    assert.ok(raw.connections < 250, `${raw.connections} connections to the origin`);
  });

  test('rapid reset in bulk never reaches an origin', async () => {
    await gate.serve(async (wire) => wire.request());
    const before = raw.connections;
    const bulk = Buffer.concat(Array.from({ length: 100 }, (_, i) => [h2.get(1 + 2 * i, [], { path: '/raw' }), h2.reset(1 + 2 * i)]).flat());
    const client = await h2.connectH2(port);
    await client.write(bulk, h2.get(1001));
    assert.equal(await client.status(1001), 200);
    // What came with its reset in one read was never begun.
    assert.ok(raw.connections - before <= 5, `${raw.connections - before} connections`);
    client.close();
    await gate.idle();
  });

  test('resets that the client provokes', async () => {
    await gate.serve(async (wire) => wire.request());
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
    const start = gate.rss();
    const bomb = Buffer.concat([h2.block(h2.request()), h2.indexed('x-bomb', 'b'.repeat(3800)), ...Array.from({ length: 3000 }, () => h2.index(62))]);
    await flood((id) => [h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, id, bomb)], { kind: 'headers', times: 20 });
    assert.ok(gate.rss() - start < 8 * MB, `grew by ${(gate.rss() - start) / MB} MiB`);
  });

  test('a list somewhat too large is refused with 431, again and again, in bounded memory', async () => {
    const client = await gate.session();
    const start = gate.rss();
    for (let i = 0; i < 50; i++) assert.equal((await fetch2(client, { x: 'v'.repeat(7000), y: 'w'.repeat(7000) })).status, 431);
    assert.ok(gate.rss() - start < 8 * MB, `grew by ${(gate.rss() - start) / MB} MiB`);
    client.destroy();
  });

  test('a window beyond 2^31-1', () => flood(() => [h2.windowUpdate(0, 0x7fffffff)], { code: h2.FLOW_CONTROL_ERROR }));

  test('more than 100 streams', async () => {
    await gate.serve(async (wire) => wire.request());
    const client = await h2.connectH2(port);
    for (let i = 0; i < 101; i++) await client.write(h2.get(1 + 2 * i, [], { path: '/raw' }));
    assert.equal(await client.resetOf(201), h2.REFUSED_STREAM);
    // Who has acknowledged the limit breaks the protocol.
    await client.write(h2.frame(h2.SETTINGS, h2.ACK, 0), h2.get(203, [], { path: '/raw' }));
    assert.equal((await client.goaway()).code, h2.PROTOCOL_ERROR);
    client.close();
    await gate.idle();
  });

  test('answers that are never read: PINGs and requests pile up nowhere', async () => {
    const start = gate.rss();
    const client = await h2.connectH2(port);
    client.socket.pause();
    let sent = 0;
    const ping = Buffer.concat(Array.from({ length: 100 }, () => h2.frame(h2.PING, 0, 0, Buffer.alloc(8))));
    while (!client.socket.destroyed && sent++ < 200 && client.socket.writableLength < MB) client.socket.write(ping);
    assert.ok(gate.rss() - start < 8 * MB);
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
      await gate.idle();
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
    const client = await gate.session();
    const stream = client.request({ ':method': 'POST', 'content-length': '10' });
    stream.write('abc');
    const head = await new Promise((resolve) => stream.on('response', resolve));
    assert.equal(head[':status'], 408);
    assert.equal((await fetch2(client, {})).status, 200);
    client.destroy();
  });

  test('a client that leaves ends its requests', async () => {
    await gate.serve(async (wire) => wire.request());
    const client = await h2.connectH2(port);
    await client.write(h2.get(1, [], { path: '/raw' }), h2.get(3, [], { path: '/raw' }));
    await waitUntil('both are in flight', async () => (await proxy.metric('octroi_proxy_requests_in_flight')) === 2);
    client.close();
    await gate.idle();
    await waitUntil('the connection is gone', async () => (await proxy.metric('octroi_proxy_connections_by_protocol', 'http2')) === 0);
  });
});
