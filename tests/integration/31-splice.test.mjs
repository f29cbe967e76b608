// Large bodies in the clear go through a pipe: whatever that is like for the kernel, clients and origins see what they saw before.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';

import { freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { RawOrigin, connect, ok } from '../support/raw.mjs';
import { Service } from '../support/service.mjs';

const KB = 1024;
const MB = KB * KB;
const LEAST = 256 * KB; // BODY_BULK
const block = randomBytes(16 * MB);
const hash = (bytes) => createHash('sha256').update(bytes).digest('hex');

let dir;
let origin;
let proxy;
let port;
let handle;

before(async () => {
  dir = temporaryDirectory('splice');
  origin = await new RawOrigin((wire) => handle(wire)).start();
  port = await freePort();
  const opsPort = await freePort();
  const pool = (more = '', idleFor = '30s') => `{ backends: ["http://127.0.0.1:${origin.port}"], timeouts: { response_head: 30s, body_idle: ${idleFor}, keepalive_idle: 60s }${more} }`;
  proxy = await new Service('proxy', {
    dir,
    opsPort,
    config: `
listeners: [{ address: "127.0.0.1:${port}" }]
workers: "1"
ops: { address: "127.0.0.1:${opsPort}" }
timeouts: { drain_delay: 0s, shutdown: 1s, request_body_idle: 8s, response_write_idle: 60s }
pools:
  plain: ${pool()}
  hasty: ${pool('', '1s')}
  kept: ${pool(', retry: { buffer: 4MiB }')}
routes:
  - { path: /, pool: plain }
  - { path: /kept, pool: kept }
  - { path: /hasty, pool: hasty }
  - { path: /limited, pool: plain, limits: { body_bytes: 1MiB } }
`,
  }).start();
});

after(async () => {
  await origin?.stop();
  await proxy?.stop();
  removeDirectory(dir);
});

const GET = (path = '/') => `GET ${path} HTTP/1.1\r\nHost: test\r\n\r\n`;
const POST = (length, path = '/', method = 'POST') => `${method} ${path} HTTP/1.1\r\nHost: test\r\nContent-Length: ${length}\r\n\r\n`;
const HEAD = (length) => `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`;
const rss = () => Number(readFileSync(`/proc/${proxy.pid}/statm`, 'utf8').split(' ')[1]) * 4096;
const spliced = () => proxy.metric('octroi_proxy_spliced_bytes_total');
const idle = () => waitUntil('no request in flight', async () => (await proxy.metric('octroi_proxy_requests_in_flight')) === 0);
const pipes = () => readdirSync(`/proc/${proxy.pid}/fd`).filter((fd) => {
  try { return readlinkSync(`/proc/${proxy.pid}/fd/${fd}`).startsWith('pipe:'); } catch { return false; }
}).length;

// Connections of an earlier test are gone before the next begins.
async function serve(next) {
  handle = next;
  for (const socket of origin.sockets) socket.destroy();
  await idle();
  await waitUntil('no connection to the origin', async () => (await proxy.metric('octroi_proxy_upstream_connections')) === 0);
}

// What was counted while `work` ran.
async function counted(work) {
  const read = async () => ({ in: await proxy.metric('octroi_proxy_received_bytes_total'), out: await proxy.metric('octroi_proxy_sent_bytes_total'), spliced: await spliced() });
  await idle();
  const start = await read();
  await work();
  await idle();
  const end = await read();
  return { in: end.in - start.in, out: end.out - start.out, spliced: end.spliced - start.spliced };
}

// GET /N is answered with N bytes, an upload with what came, as a hash.
const api = async (wire) => {
  for (;;) {
    const { method, target, body } = await wire.request();
    if (method !== 'GET') await wire.write(ok(`${body.length} ${hash(body)}`));
    else {
      const length = Number(target.slice(1));
      wire.write(HEAD(length));
      await wire.write(block.subarray(0, length));
    }
  }
};

describe('bodies pass whole, and connections are kept', () => {
  const sizes = [LEAST - 1, LEAST, LEAST + 1, MB, 16 * MB];

  for (const size of sizes)
    test(`${size} bytes down, and what follows`, async () => {
      await serve(api);
      const connections = origin.connections;
      const wire = await connect(port);
      const sum = await counted(async () => {
        for (const length of [size, 5, size]) {
          wire.write(GET(`/${length}`));
          const { status, body } = await wire.response();
          assert.equal(status, 200);
          assert.equal(hash(body), hash(block.subarray(0, length)));
        }
      });
      wire.close();
      assert.equal(sum.out, 2 * size + 5);
      assert.equal(origin.connections - connections, 1);
      if (size < LEAST) assert.equal(sum.spliced, 0);
      if (size > MB) assert.ok(sum.spliced > size, `${sum.spliced} bytes were spliced`);
    });

  for (const size of sizes)
    test(`${size} bytes up, with the next requests right behind`, async () => {
      await serve(api);
      const connections = origin.connections;
      const wire = await connect(port);
      const sent = block.subarray(0, size);
      const sum = await counted(async () => {
        wire.write(Buffer.concat([Buffer.from(POST(size)), sent, Buffer.from(GET('/7') + POST(size)), sent, Buffer.from(GET('/9'))]));
        const bodies = [];
        for (let i = 0; i < 4; i += 1) bodies.push((await wire.response()).body);
        assert.equal(bodies[0].toString(), `${size} ${hash(sent)}`);
        assert.deepEqual(bodies[1], block.subarray(0, 7));
        assert.equal(bodies[2].toString(), bodies[0].toString());
        assert.deepEqual(bodies[3], block.subarray(0, 9));
      });
      wire.close();
      assert.equal(sum.in, 2 * size);
      assert.equal(origin.connections - connections, 1);
      if (size < LEAST) assert.equal(sum.spliced, 0);
      if (size > MB) assert.ok(sum.spliced > size / 2, `${sum.spliced} bytes were spliced`);
    });

  test('a body that is kept for another attempt is read', async () => {
    await serve(api);
    const wire = await connect(port);
    const sent = block.subarray(0, 2 * MB);
    const sum = await counted(async () => {
      wire.write(POST(sent.length, '/kept', 'PUT'));
      wire.write(sent);
      assert.equal((await wire.response()).body.toString(), `${sent.length} ${hash(sent)}`);
    });
    wire.close();
    assert.deepEqual(sum, { in: sent.length, out: `${sent.length} ${hash(sent)}`.length, spliced: 0 });
  });

  test('a chunked body is read', async () => {
    await serve(async (wire) => {
      await wire.request();
      wire.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400000\r\n');
      wire.write(block.subarray(0, 4 * MB));
      wire.write('\r\n0\r\n\r\n');
    });
    const wire = await connect(port);
    const sum = await counted(async () => {
      wire.write(GET());
      assert.equal(hash((await wire.response()).body), hash(block.subarray(0, 4 * MB)));
    });
    wire.close();
    assert.equal(sum.spliced, 0);
  });

  test('both directions at once', async () => {
    await serve(async (wire) => {
      await wire.head();
      wire.write(HEAD(block.length));
      wire.write(block.subarray(1));
      assert.equal(hash(await wire.take(block.length)), hash(block));
      wire.write(block.subarray(0, 1));
    });
    const wire = await connect(port);
    wire.write(POST(block.length));
    wire.write(block);
    assert.equal(hash((await wire.response()).body), hash(Buffer.concat([block.subarray(1), block.subarray(0, 1)])));
    wire.close();
  });

  test('a request that asks for more than its route takes is refused as before', async () => {
    await serve(api);
    const wire = await connect(port);
    wire.write(POST(2 * MB, '/limited'));
    assert.equal((await wire.response()).status, 413);
    wire.close();
  });

  test('what an origin sends behind its body reaches nobody', async () => {
    let round = 0;
    let go;
    const may = new Promise((resolve) => { go = resolve; });
    const size = 4 * MB;
    const most = size - 100 * KB; // the rest comes when the client has all of this: it leaves at once
    await serve(async (wire) => {
      const mine = (round += 1);
      await wire.request();
      wire.write(HEAD(size));
      wire.write(block.subarray(0, most));
      await may;
      await wire.write(Buffer.concat([block.subarray(most, size), Buffer.from(mine === 1 ? ok('stolen') : '')]));
    });
    const wire = await connect(port);
    wire.write(GET() + GET());
    await wire.head();
    const first = await wire.take(most);
    go();
    assert.equal(hash(Buffer.concat([first, await wire.take(size - most)])), hash(block.subarray(0, size)));
    assert.equal(hash((await wire.response()).body), hash(block.subarray(0, size)));
    assert.equal(round, 2, 'the first connection was used again');
    wire.close();
  });
});

describe('who is slow', () => {
  test('a client that does not read holds its origin back, and has it all in the end', async () => {
    let written = 0;
    const total = 6 * block.length; // more than the kernel's buffers hold, however far it lets them grow
    await serve(async (wire) => {
      await wire.request();
      wire.write(HEAD(total));
      for (; written < total; written += MB) await wire.write(block.subarray(written % block.length, (written % block.length) + MB));
    });
    const before = rss();
    const wire = await connect(port);
    wire.socket.pause();
    wire.write(GET());
    let last = -1;
    await waitUntil('the origin to be held back', () => { const still = written === last; last = written; return still && written > 0; }, { every: 300 });
    assert.ok(written < total, `${written} bytes were taken`);
    assert.ok(rss() - before < 4e6, `grew by ${rss() - before}`);
    const sum = createHash('sha256');
    wire.socket.resume();
    await wire.head();
    let left = total;
    for (; left > MB; left -= MB) sum.update(await wire.take(MB));
    sum.update(await wire.take(left));
    assert.equal(sum.digest('hex'), hash(Buffer.concat(Array(6).fill(block))));
    wire.close();
  });

  test('an origin that does not read holds its client back, and has it all in the end', async () => {
    let go;
    const may = new Promise((resolve) => { go = resolve; });
    const total = 4 * block.length;
    let seen;
    await serve(async (wire) => {
      await wire.head();
      wire.socket.pause();
      await may;
      wire.socket.resume();
      const sum = createHash('sha256');
      for (let at = 0; at < total; at += MB) sum.update(await wire.take(MB));
      seen = sum.digest('hex');
      await wire.write(ok('thanks'));
    });
    const before = rss();
    const wire = await connect(port);
    let written = 0;
    wire.write(POST(total));
    const sending = (async () => { for (; written < total; written += MB) await wire.write(block.subarray(written % block.length, (written % block.length) + MB)); })();
    let last = -1;
    await waitUntil('the client to be held back', () => { const still = written === last; last = written; return still && written > 0; }, { every: 300 });
    assert.ok(written < total / 2, `${written} bytes were taken`);
    assert.ok(rss() - before < 4e6, `grew by ${rss() - before}`);
    go();
    await sending;
    assert.equal((await wire.response()).body.toString(), 'thanks');
    assert.equal(seen, hash(Buffer.concat([block, block, block, block])));
    wire.close();
  });

  test('an origin that falls silent in the middle is given up: the client sees a body that is not whole', async () => {
    await serve(async (wire) => {
      await wire.request();
      wire.write(HEAD(16 * MB));
      wire.write(block.subarray(0, 8 * MB));
    });
    const wire = await connect(port);
    wire.write(GET('/hasty'));
    await wire.head();
    assert.equal(hash(await wire.rest()), hash(block.subarray(0, 8 * MB)));
  });

  test('a client that falls silent in the middle is told so', async () => {
    await serve(async (wire) => { await wire.rest(); });
    const wire = await connect(port);
    wire.write(POST(16 * MB));
    wire.write(block.subarray(0, 8 * MB));
    assert.equal((await wire.response()).status, 408);
    wire.close();
  });
});

describe('who leaves in the middle', () => {
  const ends = { closes: (wire) => wire.socket.end(), resets: (wire) => wire.reset() };

  for (const [what, end] of Object.entries(ends)) {
    test(`an origin that ${what} on the way down`, async () => {
      await serve(async (wire) => {
        await wire.request();
        wire.write(HEAD(16 * MB));
        await wire.write(block.subarray(0, 8 * MB));
        end(wire);
      });
      let got;
      const sum = await counted(async () => {
        const wire = await connect(port);
        wire.write(GET());
        await wire.head();
        got = await wire.rest();
      });
      assert.equal(hash(got), hash(block.subarray(0, got.length)));
      assert.ok(got.length <= 8 * MB && sum.out >= got.length && sum.out <= 8 * MB, `${got.length} bytes came, ${sum.out} were counted`);
      if (what === 'closes') assert.equal(sum.out, 8 * MB);
    });

    test(`an origin that ${what} on the way up`, async () => {
      await serve(async (wire) => {
        await wire.head();
        await wire.take(4 * MB);
        end(wire);
        wire.socket.destroy();
      });
      const wire = await connect(port);
      wire.write(POST(16 * MB));
      wire.write(block.subarray(0, 4 * MB + 64 * KB));
      assert.equal((await wire.response()).status, 502);
      wire.close();
    });

    test(`a client that ${what} on the way down`, async () => {
      let ended = false;
      await serve(async (wire) => {
        await wire.request();
        wire.write(HEAD(4 * block.length));
        for (let i = 0; i < 4 && !wire.ended; i += 1) wire.write(block);
        await wire.rest();
        ended = true;
      });
      const aborts = await proxy.metric('octroi_proxy_client_aborts_total');
      const wire = await connect(port);
      wire.write(GET());
      await wire.head();
      await wire.take(4 * MB);
      end(wire);
      wire.socket.destroy();
      await waitUntil('the end at the origin', () => ended);
      await idle();
      assert.equal(await proxy.metric('octroi_proxy_client_aborts_total'), aborts + 1);
    });

    test(`a client that ${what} on the way up`, async () => {
      let got;
      await serve(async (wire) => {
        await wire.head();
        got = await wire.rest();
      });
      const sum = await counted(async () => {
        const wire = await connect(port);
        wire.write(POST(16 * MB));
        await wire.write(block.subarray(0, 8 * MB));
        end(wire);
        await waitUntil('the end at the origin', () => got);
      });
      assert.ok(got.length <= sum.in && sum.in <= 8 * MB, `${got.length} bytes came, ${sum.in} were counted`);
      assert.equal(hash(got), hash(block.subarray(0, got.length)));
    });
  }

  test('an early answer ends an upload, and reaches the client', async () => {
    await serve(async (wire) => {
      await wire.head();
      await wire.take(4 * MB);
      await wire.write('HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno');
    });
    const wire = await connect(port);
    wire.write(POST(16 * MB));
    wire.write(block.subarray(0, 5 * MB));
    const { status, body } = await wire.response();
    assert.equal(status, 409);
    assert.equal(body.toString(), 'no');
    wire.close();
  });

  test('no pipe is left behind, and there are no more of them than are needed', async () => {
    await serve(async (wire) => {
      await wire.request();
      wire.write(HEAD(6 * MB));
      wire.write(block.subarray(0, 6 * MB));
    });
    await waitUntil('the spare ones only', () => pipes() <= 2 * 16 + 2);
    const wires = [];
    for (let i = 0; i < 70; i += 1) {
      const wire = await connect(port);
      wire.socket.pause();
      wire.write(GET());
      wires.push(wire);
    }
    await waitUntil('all of them to be under way', async () => (await proxy.metric('octroi_proxy_requests_in_flight')) === 70 && pipes() > 2 * 16 + 2);
    assert.ok(pipes() <= 2 * (64 + 16) + 2, `${pipes()} ends of pipes`);
    for (const wire of wires.slice(2, -2)) wire.close();
    for (const wire of [...wires.slice(0, 2), ...wires.slice(-2)]) {
      wire.socket.resume();
      assert.equal(hash((await wire.response()).body), hash(block.subarray(0, 6 * MB)));
      wire.close();
    }
    await idle();
    await waitUntil('the spare ones only', () => pipes() <= 2 * 16 + 2);
  });
});

test('a stop ends what is on the way', async () => {
  await serve(async (wire) => {
    const { line } = await wire.head();
    if (line.startsWith('POST')) {
      wire.socket.pause();
      return;
    }
    wire.write(HEAD(4 * block.length));
    for (let i = 0; i < 4; i += 1) wire.write(block);
  });
  const down = await connect(port);
  down.socket.pause();
  down.write(GET());
  const up = await connect(port);
  up.write(POST(4 * block.length));
  up.write(block);
  await waitUntil('both', async () => (await proxy.metric('octroi_proxy_requests_in_flight')) === 2 && (await spliced()) > 0);
  await proxy.stop();
  proxy = null;
  down.close();
  up.close();
});
