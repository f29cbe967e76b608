// What is tried again and what never is; the budget; circuits; ejection; the queue; and time limits.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';

import { Authority, identity } from '../support/certificates.mjs';
import { Gate, latch, origins, tally } from '../support/gate.mjs';
import { removeDirectory, sleep, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { RawOrigin, ok } from '../support/raw.mjs';
import { TlsOrigin } from '../support/tls.mjs';

const type = (response) => response.json().type.split('/').pop();
const status = (code, extra = '') => `HTTP/1.1 ${code} Whatever\r\nContent-Length: 0\r\n${extra}\r\n`;
// As an origin that crashes with the request in its hands.
const crash = async (request, wire) => {
  wire.reset();
};

function forget(set) {
  for (const origin of set.list) {
    origin.requests.length = 0;
    origin.on = null;
  }
}
const asked = (set) => set.list.reduce((sum, origin) => sum + origin.requests.length, 0);

describe('a request that its origin has read whole when it drops the connection', () => {
  let dir;
  let gate;
  let read; // what origins have read since the last forget
  let plain;
  let secure;

  before(async () => {
    dir = temporaryDirectory('resilience');
    const authority = new Authority(dir);
    // The second request is the one: on a connection that is kept, and known to be alive.
    const handle = async (wire, drop) => {
      for (;;) {
        const request = await wire.request();
        read.push(request.body.length);
        if (read.length === 2) drop();
        else await wire.write(ok('served'));
      }
    };
    plain = await new RawOrigin((wire) => handle(wire, () => wire.reset())).start();
    secure = await new TlsOrigin(identity(authority.issue('origin', ['IP:127.0.0.1'])), (wire, socket, self) =>
      handle(wire, () => { for (const raw of self.sockets) raw.resetAndDestroy(); })).start();
    const pool = (url, tls, rules) => `{ backends: [{ url: "${url}"${tls} }], passive: { failures: 0 }, retry: { base: 1ms${rules} }, timeouts: { connect: 10s } }`;
    const pools = {};
    for (const [name, rules] of [['again', ''], ['once', ', attempts: 1']]) {
      pools[name] = pool(`http://127.0.0.1:${plain.port}`, '', rules);
      pools[`${name}-tls`] = pool(`https://127.0.0.1:${secure.port}`, `, tls: { ca: ${authority.file} }`, rules);
    }
    gate = await new Gate({ workers: 1, pools }).start();
  });
  after(async () => {
    await gate?.stop();
    await plain?.stop();
    await secure?.stop();
    removeDirectory(dir);
  });

  for (const [what, path, method, size, repeated] of [
    ['a GET', 'again', 'GET', 0, true],
    ['a PUT that was kept', 'again', 'PUT', 5000, true],
    ['a PUT that is too large to be', 'again', 'PUT', 300_000, false],
    ['a POST without a body', 'again', 'POST', 0, false],
    ['a POST', 'again', 'POST', 5000, false],
    ['a large POST', 'again', 'POST', 300_000, false],
    ['a PATCH', 'again', 'PATCH', 5000, false],
    ['a GET that is to be tried once', 'once', 'GET', 0, false],
    ['a PUT that is to be tried once', 'once', 'PUT', 5000, false],
    ['a POST that is to be tried once', 'once', 'POST', 5000, false],
  ]) {
    for (const tls of ['', '-tls']) {
      test(`${what} is ${repeated ? 'repeated' : 'never repeated'}${tls ? ', TLS' : ''}`, async () => {
        read = [];
        const body = 'x'.repeat(size);
        assert.equal((await gate.ask(`/${path}${tls}`)).status, 200);
        const answer = await gate.ask(`/${path}${tls}`, { method, body });
        assert.deepEqual([answer.status, read], repeated ? [200, [0, size, size]] : [502, [0, size]]);
      });
    }
  }
});

describe('retries', () => {
  let set;
  let gate;

  before(async () => {
    set = await origins('a', 'b');
    const off = 'passive: { failures: 0 }';
    gate = await new Gate({
      workers: 1,
      pools: {
        two: `{ backends: ${set.urls}, ${off}, retry: { base: 1ms, max: 2s, buffer: 1KiB } }`,
        once: `{ backends: ${set.urls}, ${off} }`,
        one: `{ backends: ["${set.a.url}"], ${off}, retry: { base: 1ms, max: 2s } }`,
        storm: `{ backends: ["${set.a.url}"], ${off}, retry: { attempts: 5, budget: 20%, base: 1ms, max: 1ms } }`,
        spent: `{ backends: ${set.urls}, ${off}, retry: { budget: 0%, base: 1ms } }`,
      },
      routes: { once: 'retry: { attempts: 1 }' },
    }).start();
  });
  after(async () => {
    await gate?.stop();
    await set?.stop();
  });

  // One of the two crashes on whatever it gets, and the other answers: enough requests meet both.
  async function crossing(path, options) {
    forget(set);
    set.a.on = crash;
    const responses = [];
    for (let i = 0; i < 4; i++) responses.push(await gate.ask(path, options));
    const a = set.a.requests.slice();
    const b = set.b.requests.slice();
    forget(set);
    assert.ok(a.length > 0);
    return { responses, a, b };
  }

  test('a GET whose origin crashes is repeated at another', async () => {
    const { responses } = await crossing('/two');
    assert.deepEqual(tally(responses.map((r) => r.body.toString())), { b: 4 });
    assert.ok((await gate.metric('upstream_retries_total', 'pool="two",reason="broken"')) > 0);
  });

  for (const method of ['POST', 'PATCH']) {
    test(`a ${method} never is`, async () => {
      const { responses, a, b } = await crossing('/two', { method, body: 'x' });
      assert.deepEqual(tally(responses.map((r) => r.status)), { 200: 2, 502: 2 });
      assert.equal(a.length + b.length, 4);
    });
  }

  test('a PUT is, with the body that was kept', async () => {
    const body = 'k'.repeat(1000);
    const { responses, b } = await crossing('/two', { method: 'PUT', body });
    assert.deepEqual(tally(responses.map((r) => r.status)), { 200: 4 });
    for (const request of b) assert.equal(request.body.toString(), body);
  });

  test('a chunked PUT is, with its trailers', async () => {
    forget(set);
    set.a.on = crash;
    for (let i = 0; i < 2; i++) {
      const wire = await gate.connect();
      await wire.write('PUT /two HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n');
      await sleep(20);
      await wire.write('4\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n');
      assert.equal((await wire.response()).body.toString(), 'b');
      wire.close();
    }
    assert.ok(set.a.requests.length > 0);
    for (const request of set.b.requests) {
      assert.equal(request.body.toString(), 'abcdefg');
      assert.deepEqual(request.trailers, ['X-Sum: 7']);
    }
    forget(set);
  });

  test('a PUT larger than the buffer streams, and is not', async () => {
    const { responses } = await crossing('/two', { method: 'PUT', body: 'k'.repeat(5000) });
    assert.deepEqual(tally(responses.map((r) => r.status)), { 200: 2, 502: 2 });
  });

  test('a route may forbid it', async () => {
    const { responses } = await crossing('/once');
    assert.deepEqual(tally(responses.map((r) => r.status)), { 200: 2, 502: 2 });
  });

  test('without a budget there is none', async () => {
    const { responses } = await crossing('/spent');
    assert.deepEqual(tally(responses.map((r) => r.status)), { 200: 2, 502: 2 });
    assert.ok((await gate.metric('retry_budget_exhausted_total', 'pool="spent"')) >= 2);
  });

  test('never after a byte of the answer', async () => {
    forget(set);
    const passed = latch();
    set.a.on = async (request, wire) => {
      await wire.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc');
      await passed;
      wire.reset();
    };
    set.b.on = set.a.on;
    const client = await gate.connect();
    await client.write('GET /two HTTP/1.1\r\nHost: a\r\n\r\n');
    await client.upTo('abc');
    passed.open();
    assert.equal((await client.rest()).length, 0);
    assert.equal(asked(set), 1);
    forget(set);
  });

  for (const code of [502, 503, 504]) {
    test(`${code} from one origin: another is asked`, async () => {
      forget(set);
      set.a.on = () => status(code);
      for (let i = 0; i < 4; i++) assert.equal((await gate.ask('/two')).status, 200);
      assert.ok(set.a.requests.length > 0);
      // Not for a POST.
      const posts = [];
      for (let i = 0; i < 2; i++) posts.push((await gate.ask('/two', { method: 'POST', body: 'x' })).status);
      assert.deepEqual(posts.sort(), [200, code]);
      forget(set);
    });
  }

  test('500 and 429 are the answer', async () => {
    forget(set);
    for (const code of [500, 429]) {
      set.a.on = set.b.on = () => status(code);
      assert.equal((await gate.ask('/two')).status, code);
    }
    assert.equal(asked(set), 2);
    forget(set);
  });

  test('with one origin 503 is the answer, unless it says when to come back', async () => {
    forget(set);
    set.a.on = () => status(503);
    assert.equal((await gate.ask('/one')).status, 503);
    assert.equal(set.a.requests.length, 1);
    forget(set);
    const times = [];
    set.a.on = () => {
      times.push(performance.now());
      return times.length === 1 ? status(503, 'Retry-After: 1\r\n') : ok('well');
    };
    assert.equal(await gate.text_of('/one'), 'well');
    assert.ok(times[1] - times[0] > 980, `${times[1] - times[0]} ms`);
    forget(set);
    set.a.on = () => status(503, 'Retry-After: 10\r\n');
    const response = await gate.ask('/one');
    assert.equal(response.status, 503);
    assert.equal(response.headers['retry-after'], '10');
    assert.equal(set.a.requests.length, 1);
    forget(set);
  });

  test('the budget stops a storm', async () => {
    forget(set);
    set.a.on = crash;
    const requests = 400;
    for (let i = 0; i < requests / 20; i++) await Promise.all(Array.from({ length: 20 }, () => gate.ask('/storm')));
    // Not five times as many: a fifth more, and the hundred that a pool begins with.
    const seen = set.a.requests.length;
    assert.ok(seen >= requests && seen <= requests * 1.2 + 100, `${seen} for ${requests}`);
    forget(set);
  });

  test('a client that leaves during the wait ends it', async () => {
    forget(set);
    set.a.on = () => status(503, 'Retry-After: 2\r\n');
    const wire = await gate.connect();
    await wire.write('GET /one HTTP/1.1\r\nHost: a\r\n\r\n');
    await waitUntil('the first attempt', () => set.a.requests.length === 1);
    wire.close();
    await waitUntil('its end', async () => (await gate.metric('requests_in_flight', '')) === 0);
    assert.equal(set.a.requests.length, 1);
    forget(set);
  });
});

describe('circuit breaker', () => {
  test('opens, lets a trial of exactly so many through, and closes', async (t) => {
    const set = await origins('a');
    const gate = await new Gate({
      pools: { p: `{ backends: ${set.urls}, retry: { attempts: 1 }, passive: { failures: 0 }, circuit_breaker: { failures: 3, open: 3s, half_open_requests: 2 } }` },
    }).start();
    t.after(async () => {
      await gate.stop();
      await set.stop();
    });
    const changes = (state) => gate.metric('backend_changes_total', `kind="breaker",state="${state}"`);
    set.a.on = crash;
    for (let i = 0; i < 3; i++) assert.equal((await gate.ask('/p')).status, 502);
    assert.equal(await changes('open'), 1);
    const refused = await gate.ask('/p');
    assert.equal(refused.status, 503);
    assert.equal(type(refused), 'no-backend');
    assert.match(refused.headers['retry-after'], /^[1-4]$/);
    assert.equal(set.a.requests.length, 3);
    assert.equal(await changes('half-open'), 0);

    const held = latch();
    set.a.on = async () => {
      await held;
      return ok('well');
    };
    await waitUntil('the gauge', async () => (await gate.metric('backend_breaker', '')) === 1);
    const trial = [];
    await waitUntil('the trial', async () => {
      const wire = await gate.connect();
      await wire.write('GET /p HTTP/1.1\r\nHost: a\r\n\r\n');
      const answer = wire.response();
      const first = await Promise.race([answer, waitUntil('it', () => set.a.requests.length > 3 + trial.length, { timeout: 2000 }).then(() => null)]);
      if (first === null) trial.push(answer);
      return trial.length === 2;
    });
    for (let i = 0; i < 4; i++) assert.equal((await gate.ask('/p')).status, 503);
    assert.equal(set.a.requests.length, 5);
    held.open();
    for (const answer of trial) assert.equal((await answer).status, 200);
    assert.equal(await changes('closed'), 1);
    for (let i = 0; i < 10; i++) assert.equal((await gate.ask('/p')).status, 200);

    // A client that leaves decides nothing, and its place in the trial is free again.
    set.a.on = crash;
    for (let i = 0; i < 3; i++) await gate.ask('/p');
    assert.equal(await changes('open'), 2);
  });
});

describe('passive ejection', () => {
  test('never more than the share', async (t) => {
    const set = await origins('a', 'b', 'c', 'd', 'e');
    const gate = await new Gate({
      pools: { p: `{ backends: ${set.urls}, retry: { attempts: 1 }, passive: { failures: 2, window: 10s, eject: 30s, max_ejected: 40% } }` },
    }).start();
    t.after(async () => {
      await gate.stop();
      await set.stop();
    });
    for (const origin of set.list) origin.on = () => status(503);
    for (let i = 0; i < 100; i++) await gate.ask('/p');
    assert.equal(await gate.metric('backend_changes_total', 'kind="ejection",state="out"'), 2);
    await waitUntil('the gauges', async () => (await gate.metric('backend_ejected', 'pool="p"')) === 2);
    // The others are asked, bad as they are; those two are not.
    const before = set.list.map((origin) => origin.requests.length);
    for (let i = 0; i < 30; i++) await gate.ask('/p');
    const more = set.list.map((origin, i) => origin.requests.length - before[i]);
    assert.equal(more.filter((n) => n === 0).length, 2);
  });
});

describe('the queue', () => {
  let set;
  let gate;
  let held;

  before(async () => {
    set = await origins('a');
    const one = `[{ url: "${set.a.url}", max_connections: 1 }]`;
    gate = await new Gate({
      workers: 4,
      pools: {
        order: `{ backends: ${one}, queue: { size: 100, timeout: 20s } }`,
        bound: `{ backends: ${set.urls}, max_in_flight: 2, queue: { size: 3, timeout: 20s } }`,
        short: `{ backends: ${one}, queue: { size: 10, timeout: 200ms } }`,
        many: `{ backends: ${set.urls}, max_in_flight: 3, queue: { size: 1000, timeout: 30s } }`,
      },
    }).start();
  });
  after(async () => {
    await gate?.stop();
    await set?.stop();
  });

  const waits = (pool, result) => gate.metric('pool_queue_waits_total', `pool="${pool}",result="${result}"`);

  // Requests that are sent one after the other, each seen to wait before the next comes.
  async function line(pool, count, first = 1) {
    held = latch();
    const served = [];
    set.a.requests.length = 0;
    set.a.on = async (request) => {
      served.push(Number(request.target.split('=')[1]));
      await held;
      return ok(request.target);
    };
    const wires = [];
    for (let i = 0; i < count; i++) {
      const wire = await gate.connect();
      await wire.write(`GET /${pool}?n=${i} HTTP/1.1\r\nHost: a\r\n\r\n`);
      wires.push(wire);
      const arrived = async () => (await gate.metric('requests_in_flight', '')) === i + 1;
      await waitUntil(`request ${i}`, i < first ? () => served.length === i + 1 : arrived, { every: 5 });
    }
    return { wires, served };
  }
  const length = (pool) => gate.metric('pool_queue_length', `pool="${pool}"`);

  test('is in order of arrival, whatever thread they are on', async () => {
    const { wires, served } = await line('order', 7);
    held.open();
    for (const [i, wire] of wires.entries()) {
      assert.equal((await wire.response()).body.toString(), `/order?n=${i}`);
      wire.close();
    }
    assert.deepEqual(served, [0, 1, 2, 3, 4, 5, 6]);
    assert.equal(await waits('order', 'placed'), 6);
  });

  test('who leaves it loses nothing for the others', async () => {
    const { wires, served } = await line('order', 5);
    wires[1].close();
    wires[3].close();
    await waitUntil('that they left', async () => (await waits('order', 'left')) === 2);
    held.open();
    for (const i of [0, 2, 4]) assert.equal((await wires[i].response()).status, 200);
    assert.deepEqual(served, [0, 2, 4]);
    for (const wire of wires) wire.close();
  });

  test('is bounded', async () => {
    const { wires } = await line('bound', 5, 2);
    const refused = await gate.ask('/bound?n=9');
    assert.equal(refused.status, 503);
    assert.equal(type(refused), 'overloaded');
    assert.equal(refused.headers['retry-after'], '1');
    held.open();
    for (const wire of wires) {
      assert.equal((await wire.response()).status, 200);
      wire.close();
    }
    assert.equal(await waits('bound', 'full'), 1);
  });

  test('has a time limit', async () => {
    const { wires } = await line('short', 1);
    const started = performance.now();
    const late = await gate.ask('/short?n=1');
    assert.equal(late.status, 503);
    assert.ok(late.headers['retry-after']);
    assert.ok(performance.now() - started >= 190);
    assert.equal(await waits('short', 'timeout'), 1);
    held.open();
    await wires[0].response();
    wires[0].close();
    assert.equal((await gate.ask('/short?n=2')).status, 200);
  });

  test('loses nobody under load, some leaving at any time', async () => {
    set.a.on = async (request) => {
      await new Promise(setImmediate);
      return ok(request.target);
    };
    const statuses = [];
    await Promise.all(
      Array.from({ length: 40 }, async (_, client) => {
        for (let i = 0; i < 30; i++) {
          if ((client + i) % 7) {
            statuses.push((await gate.ask(`/many?n=${i}`)).status);
          } else {
            const wire = await gate.connect();
            await wire.write(`GET /many?n=${i} HTTP/1.1\r\nHost: a\r\n\r\n`);
            await sleep((client * i) % 5);
            wire.close();
          }
        }
      }),
    );
    assert.deepEqual(Object.keys(tally(statuses)), ['200']);
    await waitUntil('an empty queue', async () => (await length('many')) === 0);
    set.a.on = null;
  });
});

describe('time', () => {
  let set;
  let gate;

  before(async () => {
    set = await origins('a', 'b');
    gate = await new Gate({
      root: 'timeouts: { drain_delay: 0s, shutdown: 2s, request: 4s }',
      pools: {
        whole: `{ backends: ${set.urls} }`,
        own: `{ backends: ${set.urls} }`,
        head: `{ backends: ${set.urls}, timeouts: { response_head: 1s } }`,
      },
      routes: { own: 'timeouts: { request: 1s }', head: 'timeouts: { request: 20s }' },
    }).start();
  });
  after(async () => {
    await gate?.stop();
    await set?.stop();
  });

  test('of a whole exchange, before its answer', async () => {
    set.a.on = set.b.on = () => undefined;
    for (const [path, least] of [['/whole', 3900], ['/own', 900]]) {
      const started = performance.now();
      const response = await gate.ask(path);
      assert.equal(response.status, 504);
      const took = performance.now() - started;
      assert.ok(took >= least && (path === '/whole' || took < 3900), `${path}: ${took} ms`);
    }
  });

  test('and in the middle of it: the answer is cut', async () => {
    set.a.on = set.b.on = async (request, wire) => {
      await wire.write('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx');
    };
    await assert.rejects(gate.ask('/own'), /connection ended/);
  });

  test('of an answer that does not come: it is not asked for again', async () => {
    forget(set);
    set.a.on = set.b.on = () => undefined;
    const response = await gate.ask('/head');
    assert.equal(response.status, 504);
    assert.equal(type(response), 'upstream-timeout');
    assert.equal(asked(set), 1);
  });
});

describe('our own shortage', () => {
  test('of descriptors is not the backend\'s failure, and passes', async (t) => {
    const set = await origins('a');
    const gate = await new Gate({
      workers: 1,
      pools: { p: `{ backends: ${set.urls}, passive: { failures: 1, max_ejected: 100% }, circuit_breaker: { failures: 1, open: 60s } }` },
    }).start();
    t.after(async () => {
      await gate.stop();
      await set.stop();
    });
    const held = latch();
    set.a.on = async () => {
      await held;
      return ok('a');
    };
    const wires = [];
    for (let i = 0; i < 30; i++) wires.push(await gate.connect());
    await waitUntil('the connections', async () => (await gate.metric('connections', '')) === 30);
    // Ten more may be opened, for thirty requests (the looks at metrics need some, too).
    const { pid } = gate.proxy;
    const count = readdirSync(`/proc/${pid}/fd`).length;
    execFileSync('prlimit', ['--pid', String(pid), `--nofile=${count + 10}:${count + 10}`]);
    for (const wire of wires) await wire.write('GET /p HTTP/1.1\r\nHost: a\r\n\r\n');
    const answers = wires.map((wire) => wire.response());
    await waitUntil('the requests that got through', () => set.a.requests.length >= 5);
    held.open();
    const seen = tally((await Promise.all(answers)).map((response) => response.status));
    assert.ok(seen[200] >= 5 && seen[503] >= 10, JSON.stringify(seen));
    assert.deepEqual(Object.keys(seen), ['200', '503']);
    for (const wire of wires.slice(10)) wire.close();
    await waitUntil('room again', async () => (await gate.metric('connections', '')) === 10);
    assert.equal(await gate.metric('backend_changes_total', 'pool="p"'), 0);
    await wires[0].write('GET /p HTTP/1.1\r\nHost: a\r\n\r\n');
    assert.equal((await wires[0].response()).status, 200);
    for (const wire of wires) wire.close();
  });
});

test('a drain serves those that wait, too', async () => {
  const set = await origins('a');
  const gate = await new Gate({
    root: 'timeouts: { drain_delay: 0s, shutdown: 20s }',
    pools: { p: `{ backends: ${set.urls}, max_in_flight: 1, queue: { size: 10, timeout: 20s } }` },
  }).start();
  const held = latch();
  set.a.on = async () => {
    await held;
    return ok('a');
  };
  const answers = [];
  for (let i = 0; i < 4; i++) {
    answers.push(gate.ask('/p'));
    await waitUntil('it', async () => (await gate.metric('requests_in_flight', '')) === i + 1, { every: 5 });
  }
  gate.proxy.process.signal('SIGTERM');
  await waitUntil('the drain', async () => (await fetch(`${gate.proxy.ops}/readyz`)).status === 503);
  held.open();
  for (const answer of answers) assert.equal((await answer).status, 200);
  await gate.stop();
  await set.stop();
});

// Everything at once: what was held must all have been given back in the end.
test('origins and clients that do what they like leave no place taken', async () => {
  const set = await origins('a', 'b', 'c');
  let seed = 1;
  const random = (n) => {
    seed = (seed * 48271) % 2147483647;
    return seed % n;
  };
  const whims = [
    (request, wire) => crash(request, wire),
    () => status(503),
    () => status(503, 'Retry-After: 0\r\n'),
    async (request, wire) => {
      await wire.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc');
      wire.reset();
    },
    () => 'no HTTP\r\n\r\n',
    () => undefined,
    async () => {
      await sleep(random(40));
      return ok('late');
    },
  ];
  let calm = false;
  for (const origin of set.list) origin.on = (request, wire) => (calm || random(3) ? ok('well') : whims[random(whims.length)](request, wire));
  const pool = `backends: [${set.list.map(({ url }) => `{ url: "${url}", max_connections: 4 }`).join(', ')}], max_in_flight: 8, queue: { size: 20, timeout: 300ms }, timeouts: { response_head: 2s }, retry: { attempts: 3, budget: 100%, base: 2ms }, passive: { failures: 3, eject: 100ms }, circuit_breaker: { failures: 4, open: 100ms, half_open_requests: 2 }, slow_start: 200ms`;
  const pools = Object.fromEntries(['round_robin', 'least_connections', 'ip_hash', 'random_two'].map((balance) => [balance, `{ balance: ${balance}, ${pool} }`]));
  const gate = await new Gate({ pools }).start();
  const names = Object.keys(pools);
  await Promise.all(
    Array.from({ length: 32 }, async (_, client) => {
      for (let i = 0; i < 25; i++) {
        const path = `/${names[(client + i) % 4]}`;
        const method = ['GET', 'POST', 'PUT'][i % 3];
        if (random(5)) {
          await gate.ask(path, { method, body: method === 'GET' ? '' : 'x'.repeat(random(3000) + 1) }).catch(() => {});
        } else {
          const wire = await gate.connect();
          await wire.write(`${method} ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: ${method === 'GET' ? 0 : 10}\r\n\r\n`);
          await sleep(random(60));
          wire.close();
        }
      }
    }),
  );
  calm = true;
  await waitUntil('the end of all requests', async () => (await gate.metric('requests_in_flight', '')) === 0);
  await waitUntil('all places', async () => (await gate.metric('backend_requests_in_flight', '')) === 0);
  await waitUntil('empty queues', async () => (await gate.metric('pool_queue_length', '')) === 0);
  // As many at a time as the pool allows: none of its places is lost.
  for (const name of names) {
    await waitUntil(`closed circuits of ${name}`, async () => {
      const responses = await Promise.all(Array.from({ length: 8 }, () => gate.ask(`/${name}`)));
      // By the client's address two of the three serve all: the circuit of the third stays as it was, for want of requests.
      return responses.every((response) => response.status === 200) && (name === 'ip_hash' || (await gate.metric('backend_breaker', `pool="${name}"`)) === 0);
    });
    const held = latch();
    let now = 0;
    for (const origin of set.list)
      origin.on = async () => {
        now += 1;
        await held;
        return ok('held');
      };
    const answers = Array.from({ length: 8 }, () => gate.ask(`/${name}`));
    await waitUntil(`eight at a time in ${name}`, () => now === 8);
    held.open();
    for (const answer of answers) assert.equal((await answer).status, 200);
  }
  await gate.stop();
  await set.stop();
});
