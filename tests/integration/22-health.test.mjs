// Health checks: what is asked, when a backend is down and up again, over HTTP, HTTPS and a connection alone.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import https from 'node:https';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';

import { Authority, identity } from '../support/certificates.mjs';
import { Gate, origins, tally } from '../support/gate.mjs';
import { freePort, removeDirectory, temporaryDirectory, waitUntil } from '../support/process.mjs';
import { ok } from '../support/raw.mjs';

const sick = 'HTTP/1.1 500 Sick\r\nContent-Length: 0\r\n\r\n';

// Null before it was first looked at.
async function up(gate, pool, origin) {
  const series = `octroi_proxy_backend_up{pool="${pool}",backend="127.0.0.1:${origin.port}"} `;
  const line = (await gate.proxy.metrics()).split('\n').find((text) => text.startsWith(series));
  return line ? Number(line.slice(series.length)) : null;
}
const becomes = (gate, pool, origin, value) => waitUntil(`${pool} ${value}`, async () => (await up(gate, pool, origin)) === value);

describe('a backend by HTTP', () => {
  let set;
  let gate;
  let health;
  let times;

  before(async () => {
    set = await origins('a', 'b');
    health = [];
    times = [];
    set.a.on = (request) => {
      if (request.target !== '/well?deep=1') return ok('a');
      times.push(performance.now());
      health.push(request);
      return set.a.answer ?? ok('');
    };
    gate = await new Gate({
      pools: {
        p: `{ backends: ${set.urls}, health: { path: "/well?deep=1", method: HEAD, host: health.test, interval: 800ms, timeout: 800ms, rise: 2, fall: 3, expect: 200-399 } }`,
        only: `{ backends: ["${set.a.url}"], health: { path: "/well?deep=1", interval: 100ms, timeout: 100ms, rise: 1, fall: 1 } }`,
      },
    }).start();
  });
  after(async () => {
    await gate?.stop();
    await set?.stop();
  });

  test('is asked at once, as configured', async () => {
    await waitUntil('the first check', () => health.some((request) => request.method === 'HEAD'));
    const request = health.find(({ method }) => method === 'HEAD');
    assert.equal(request.headers.host, 'health.test');
    assert.equal(request.target, '/well?deep=1');
  });

  test('at times that have jitter', async () => {
    const heads = () => times.filter((_, i) => health[i].method === 'HEAD');
    await waitUntil('checks', () => heads().length > 7);
    const gaps = heads().slice(1).map((time, i) => Math.round(time - heads()[i]));
    assert.ok(new Set(gaps).size > 2, `${gaps}`);
  });

  test('falls after so many bad ones, and rises after so many good ones', async () => {
    health.length = times.length = 0;
    const changes = (state) => gate.metric('backend_changes_total', `pool="p",kind="health",state="${state}"`);
    const start = [await changes('down'), await changes('up')];
    set.a.answer = sick;
    await becomes(gate, 'p', set.a, 0);
    assert.ok(health.filter(({ method }) => method === 'HEAD').length >= 3);
    const names = [];
    for (let i = 0; i < 10; i++) names.push(await gate.text_of('/p'));
    assert.deepEqual(tally(names), { b: 10 });
    set.a.answer = null;
    await becomes(gate, 'p', set.a, 1);
    await waitUntil('its share', async () => (await gate.text_of('/p')) === 'a');
    assert.deepEqual([await changes('down'), await changes('up')], start.map((count) => count + 1));
  });

  test('one bad check is nothing', async () => {
    let bad = 0;
    const downs = () => gate.metric('backend_changes_total', 'pool="p",kind="health",state="down"');
    const start = await downs();
    set.a.on = (request) => {
      if (request.method !== 'HEAD') return ok(request.target.startsWith('/well') ? '' : 'a');
      bad += 1;
      return bad % 3 ? sick : ok('');
    };
    await waitUntil('checks', () => bad > 9);
    assert.equal(await downs(), start);
    set.a.on = null;
  });

  test('which is the only one is still tried', async () => {
    set.a.on = (request) => (request.target.startsWith('/well') ? sick : ok('a'));
    await becomes(gate, 'only', set.a, 0);
    assert.equal(await gate.text_of('/only'), 'a');
  });

  test('that does not answer in time is down, and so is one whose answer is endless or no HTTP', async () => {
    set.a.on = () => ok('');
    await becomes(gate, 'only', set.a, 1);
    set.a.on = () => undefined;
    await becomes(gate, 'only', set.a, 0);
    for (const answer of ['nonsense\r\n\r\n', `HTTP/1.1 200 OK\r\n${'X: y\r\n'.repeat(20000)}`]) {
      set.a.on = () => ok('');
      await becomes(gate, 'only', set.a, 1);
      set.a.on = () => answer;
      await becomes(gate, 'only', set.a, 0);
    }
    // A large body is no fault.
    set.a.on = () => ok('x'.repeat(300_000));
    await becomes(gate, 'only', set.a, 1);
  });
});

test('a backend by a connection alone, at a port of its own', async (t) => {
  const set = await origins('a');
  const port = await freePort();
  const gate = await new Gate({
    pools: { p: `{ backends: ${set.urls}, health: { type: tcp, port: ${port}, interval: 100ms, timeout: 50ms, rise: 1, fall: 2 } }` },
  }).start();
  const server = net.createServer((socket) => socket.on('error', () => {}).resume());
  t.after(async () => {
    await gate.stop();
    await set.stop();
    server.close();
  });
  await becomes(gate, 'p', set.a, 0);
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  await becomes(gate, 'p', set.a, 1);
  assert.equal(set.a.requests.length, 0);
});

describe('a backend by HTTPS', () => {
  let dir;
  let servers;
  let gate;
  const seen = {};

  const serve = (name, options) =>
    new Promise((resolve) => {
      const server = https.createServer(options, (request, response) => {
        seen[name] = { servername: request.socket.servername, authorized: request.socket.authorized };
        response.end('well');
      });
      server.on('tlsClientError', () => {});
      server.listen(0, '127.0.0.1', () => resolve(Object.assign(server, { port: server.address().port })));
    });

  before(async () => {
    dir = temporaryDirectory('health');
    const authority = new Authority(dir);
    const leaf = identity(authority.issue('origin', ['DNS:origin.test']));
    const client = authority.issue('client', []);
    servers = {
      good: await serve('good', leaf),
      mutual: await serve('mutual', { ...leaf, requestCert: true, rejectUnauthorized: true, ca: authority.pem }),
    };
    const health = 'health: { path: /, interval: 10s, timeout: 10s, rise: 1, fall: 1 }'; // nobody here is only slow
    const pool = (port, tls) => `{ backends: [{ url: "https://127.0.0.1:${port}", tls: { ${tls} } }], ${health} }`;
    const ca = `ca: "${authority.file}"`;
    gate = await new Gate({
      pools: {
        good: pool(servers.good.port, `${ca}, server_name: origin.test`),
        name: pool(servers.good.port, `${ca}, server_name: other.test`),
        address: pool(servers.good.port, ca),
        stranger: pool(servers.good.port, 'server_name: origin.test'),
        mutual: pool(servers.mutual.port, `${ca}, server_name: origin.test, certificate: "${client.certificate}", key: "${client.key}"`),
        nobody: pool(servers.mutual.port, `${ca}, server_name: origin.test`),
      },
    }).start();
  });
  after(async () => {
    await gate?.stop();
    for (const server of Object.values(servers ?? {})) {
      server.closeAllConnections();
      server.close();
    }
    removeDirectory(dir);
  });

  const cases = [
    ['good', 1, 'with the name that its certificate carries'],
    ['name', 0, 'with another name'],
    ['address', 0, 'with its address for a name'],
    ['stranger', 0, 'of an authority that nobody knows'],
    ['mutual', 1, 'that wants to know us'],
    ['nobody', 0, 'that wants to know us, and does not'],
  ];
  for (const [pool, value, what] of cases)
    test(`${what}: ${value ? 'up' : 'down'}`, async () => {
      const labels = `pool="${pool}",result="${value ? 'good' : 'bad'}"`;
      await waitUntil('checks', async () => (await gate.metric('health_checks_total', labels)) > 0);
      await waitUntil('the gauge', async () => (await gate.metric('backend_up', `pool="${pool}"`)) === value);
      assert.equal(await gate.metric('health_checks_total', `pool="${pool}",result="${value ? 'bad' : 'good'}"`), 0);
    });

  test('is told the name', () => assert.equal(seen.good.servername, 'origin.test'));
});

test('a reload: what is new is checked, what is not checked any more is up, what stays keeps its state', async (t) => {
  const set = await origins('a', 'b');
  for (const origin of set.list) origin.on = (request) => (request.target === '/well' ? sick : ok('served'));
  const rules = 'health: { path: /well, interval: 100ms, timeout: 100ms, rise: 1, fall: 2 }';
  const gate = await new Gate({ pools: { p: `{ backends: ["${set.a.url}"], ${rules} }`, q: `{ backends: ["${set.b.url}"] }` } }).start();
  t.after(async () => {
    await gate.stop();
    await set.stop();
  });
  const reload = async (version, pools) => {
    gate.pools = pools;
    writeFileSync(gate.proxy.configFile, gate.text());
    gate.proxy.process.signal('SIGHUP');
    await waitUntil('the new configuration', () => gate.proxy.logContains(new RegExp(`taken over".*"version":${version}`)));
  };
  await becomes(gate, 'p', set.a, 0);
  await reload(2, { p: `{ backends: ["${set.a.url}"], ${rules} }`, q: `{ backends: ["${set.b.url}"], ${rules} }` });
  await becomes(gate, 'q', set.b, 0);
  assert.equal(await gate.metric('backend_changes_total', 'pool="p",kind="health"'), 1);
  await reload(3, { p: `{ backends: ["${set.a.url}"] }`, q: `{ backends: ["${set.b.url}"] }` });
  await becomes(gate, 'p', set.a, 1);
  await becomes(gate, 'q', set.b, 1);
  assert.equal(await gate.text_of('/p'), 'served');
});

test('a backend that a reload takes away is not shown for ever as it was last', async (t) => {
  const set = await origins('a', 'b');
  set.b.on = () => sick;
  const held = [];
  set.a.on = (request) => (request.target === '/p' ? new Promise((resolve) => { held.push(resolve); }) : ok('served'));
  const well = 'health: { path: /well, interval: 100ms, timeout: 100ms, rise: 1, fall: 1 }';
  const pools = { p: `{ backends: ["${set.a.url}"] }`, q: `{ backends: ["${set.b.url}"], ${well} }` };
  const gate = await new Gate({ pools }).start();
  t.after(async () => {
    await gate.stop();
    await set.stop();
  });
  const answer = gate.ask('/p');
  await waitUntil('the request to be seen', async () => (await gate.metric('backend_requests_in_flight', 'pool="p"')) === 1);
  await becomes(gate, 'q', set.b, 0);
  gate.pools = { r: `{ backends: ["${set.a.url}"] }` };
  writeFileSync(gate.proxy.configFile, gate.text());
  gate.proxy.process.signal('SIGHUP');
  await waitUntil('nothing to be at it', async () => (await gate.metric('backend_requests_in_flight', 'pool="p"')) === 0);
  await becomes(gate, 'q', set.b, 1);
  held.forEach((release) => release(ok('late')));
  assert.equal((await answer).body.toString(), 'late');
});
