// Which backend gets a request: shares, stickiness, load; and that clients notice nothing when one dies, flaps or comes back.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Gate, latch, origins, tally } from '../support/gate.mjs';
import { removeDirectory, sleep, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { ok } from '../support/raw.mjs';

// As many requests as clients make until `over()`; returns how many there were of each status.
async function load(gate, path, over, { clients = 8, method = 'GET' } = {}) {
  const seen = [];
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (!over()) seen.push((await gate.ask(path, { method })).status);
    }),
  );
  return tally(seen);
}

describe('shares', () => {
  let set;
  let gate;

  before(async () => {
    set = await origins('a', 'b', 'c');
    const weighted = `[{ url: "${set.a.url}", weight: 3 }, "${set.b.url}"]`;
    gate = await new Gate({
      workers: 1,
      pools: {
        round: `{ backends: ${weighted} }`,
        random: `{ balance: random_two, backends: ${set.urls} }`,
        hash: `{ balance: ip_hash, backends: ${set.urls} }`,
        least: `{ balance: least_connections, backends: ["${set.a.url}", "${set.b.url}"] }`,
        full: `{ backends: [{ url: "${set.c.url}", max_connections: 1 }] }`,
      },
    }).start();
  });
  after(async () => {
    await gate?.stop();
    await set?.stop();
  });

  test('round robin is exact', async () => {
    const names = [];
    for (let i = 0; i < 40; i++) names.push(await gate.text_of('/round'));
    assert.deepEqual(tally(names), { a: 30, b: 10 });
    assert.match(names.join(''), /^(aaba|abaa|baaa|aaab){10}$/);
  });

  test('two random ones reach all', async () => {
    const names = [];
    for (let i = 0; i < 60; i++) names.push(await gate.text_of('/random'));
    assert.deepEqual(Object.keys(tally(names)).sort(), ['a', 'b', 'c']);
  });

  test('a client stays with its backend, and clients spread', async () => {
    const homes = {};
    for (let client = 0; client < 60; client++) {
      const headers = `X-Forwarded-For: 192.0.2.${client}\r\n`;
      homes[client] = await gate.text_of('/hash', { headers });
      assert.equal(await gate.text_of('/hash', { headers }), homes[client]);
    }
    const counts = tally(Object.values(homes));
    assert.equal(Object.keys(counts).length, 3);
    // Whoever loses its backend moves; nobody else does.
    await set.b.stop();
    for (let client = 0; client < 60; client++) {
      const now = await gate.text_of('/hash', { headers: `X-Forwarded-For: 192.0.2.${client}\r\n` });
      if (homes[client] === 'b') assert.notEqual(now, 'b');
      else assert.equal(now, homes[client]);
    }
    await set.b.start();
  });

  test('the least loaded gets the next', async () => {
    const held = latch();
    set.a.on = async () => {
      await held;
      return ok('a');
    };
    const first = [];
    while (!(await gate.metric('backend_requests_in_flight', `pool="least",backend="127.0.0.1:${set.a.port}"`)) && first.length < 4) {
      const before = set.a.requests.length;
      const answer = gate.text_of('/least');
      await Promise.race([answer, waitUntil('a request at a', () => set.a.requests.length > before)]).catch(() => {});
      if (set.a.requests.length > before) {
        first.push(answer);
        break;
      }
    }
    assert.ok(first.length > 0, 'a was never asked');
    for (let i = 0; i < 10; i++) assert.equal(await gate.text_of('/least'), 'b');
    held.open();
    assert.equal(await first[0], 'a');
    set.a.on = null;
  });

  test('a full backend refuses, and says when to come back', async () => {
    const held = latch();
    set.c.on = async () => {
      await held;
      return ok('c');
    };
    const count = set.c.requests.length;
    const first = gate.text_of('/full');
    await waitUntil('the first request', () => set.c.requests.length > count);
    const second = await gate.ask('/full');
    assert.equal(second.status, 503);
    assert.equal(second.json().type.split('/').pop(), 'overloaded');
    assert.equal(second.headers['retry-after'], '1');
    held.open();
    assert.equal(await first, 'c');
    set.c.on = null;
    assert.equal(await gate.text_of('/full'), 'c');
  });
});

describe('backends that fail', () => {
  let set;
  let gate;

  before(async () => {
    set = await origins('a', 'b');
    const passive = 'passive: { failures: 3, window: 5s, eject: 300ms }';
    gate = await new Gate({
      pools: {
        two: `{ backends: ${set.urls}, ${passive} }`,
        least: `{ balance: least_connections, backends: ${set.urls}, ${passive} }`,
        random: `{ balance: random_two, backends: ${set.urls}, ${passive} }`,
        slow: `{ backends: ${set.urls}, passive: { failures: 1, eject: 500ms }, slow_start: 4s }`,
        none: '{ backends: ["http://127.0.0.1:1"] }',
      },
    }).start();
  });
  after(async () => {
    await gate?.stop();
    await set?.stop();
  });

  for (const pool of ['two', 'least', 'random']) {
    test(`${pool}: one of two dies under load, and no client sees it`, async () => {
      let over = false;
      const counts = load(gate, `/${pool}`, () => over);
      await sleep(100);
      await set.a.stop();
      await waitUntil('the ejection', async () => (await gate.metric('backend_changes_total', `pool="${pool}",kind="ejection"`)) > 0);
      await sleep(400); // past the ejection: it is tried again, and fails again
      over = true;
      assert.deepEqual(Object.keys(await counts), ['200']);
      await set.a.start();
      await waitUntil('its return', async () => (await gate.text_of(`/${pool}`)) === 'a');
    });
  }

  test('not even who sends a POST: nothing was sent', async () => {
    await set.a.stop();
    for (let i = 0; i < 20; i++) assert.equal((await gate.ask('/two', { method: 'POST', body: 'x' })).status, 200);
    await set.a.start();
  });

  test('one that flaps costs no client anything', async () => {
    let over = false;
    const counts = load(gate, '/two', () => over);
    for (let i = 0; i < 6; i++) {
      await set.b.stop();
      await sleep(60);
      await set.b.start();
      await sleep(60);
    }
    over = true;
    assert.deepEqual(Object.keys(await counts), ['200']);
  });

  test('who comes back gets few requests at first, and its share in the end', async () => {
    await set.a.stop();
    await waitUntil('the ejection', async () => {
      await gate.ask('/slow');
      return (await gate.metric('backend_changes_total', 'pool="slow",kind="ejection",state="out"')) > 0;
    });
    await set.a.start();
    const back = performance.now();
    const shares = [];
    let most = 1;
    await waitUntil('its full share', async () => {
      const names = [];
      for (let i = 0; i < 40; i++) names.push(await gate.text_of('/slow'));
      const share = (tally(names).a ?? 0) / names.length;
      if (share > 0) shares.push(share);
      // Its weight at the end of the first of them, at the most: on a busy machine they take a part of the four seconds.
      if (shares.length === 1) most = Math.max(0.3, 0.1 + (performance.now() - back) / 8000);
      return share > 0.45;
    });
    assert.ok(shares[0] < most, `it began with ${shares}`);
  });

  test('all of them: the client learns it', async () => {
    const response = await gate.ask('/none');
    assert.equal(response.status, 502);
    assert.equal(response.json().type.split('/').pop(), 'upstream-unreachable');
  });
});

describe('names', () => {
  test('an address that does not answer is passed over for another of the same name', async (t) => {
    const set = await origins('a');
    const gate = await new Gate({ pools: { local: `{ backends: ["http://localhost:${set.a.port}"] }` } }).start();
    t.after(async () => {
      await gate.stop();
      await set.stop();
    });
    for (let i = 0; i < 10; i++) assert.equal(await gate.text_of('/local', { method: 'POST' }), 'a');
  });

  test('a name that moves is followed', async (t) => {
    const dir = temporaryDirectory('hosts');
    const hosts = join(dir, 'hosts');
    writeFileSync(hosts, '127.0.0.1 localhost moving.test\n');
    try {
      execFileSync('unshare', ['-m', 'sh', '-c', `mount --bind ${hosts} /etc/hosts`], { stdio: 'pipe' });
    } catch {
      removeDirectory(dir);
      t.skip('needs a mount namespace');
      return;
    }
    const set = await origins('a');
    const gate = await new Gate({
      pools: { moving: `{ backends: ["http://moving.test:${set.a.port}"], resolve: 100ms }` },
      wrap: ['unshare', '-m', 'sh', '-c', `mount --bind ${hosts} /etc/hosts && exec "$@"`, 'sh'],
    }).start();
    t.after(async () => {
      await gate.stop();
      await set.stop();
      removeDirectory(dir);
    });
    assert.equal(await gate.text_of('/moving'), 'a');
    writeFileSync(hosts, '127.0.0.9 localhost moving.test\n');
    await waitUntil('the new address', async () => (await gate.ask('/moving', { headers: 'Connection: close\r\n' })).status === 502);
    writeFileSync(hosts, '127.0.0.1 localhost moving.test\n');
    await waitUntil('the old one', async () => (await gate.text_of('/moving')) === 'a');
  });
});
