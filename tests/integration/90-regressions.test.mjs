// Bugs that were found once, each by its name.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { freePort, removeDirectory, temporaryDirectory } from '../support/process.mjs';
import { RawOrigin, ask } from '../support/raw.mjs';
import { Service } from '../support/service.mjs';

const GET = 'GET / HTTP/1.1\r\nHost: test\r\n\r\n';

// A proxy in front of one raw origin, for the time of `use(port)`.
async function withProxy(handle, extra, use) {
  const dir = temporaryDirectory('regression');
  const origin = await new RawOrigin(handle).start();
  const port = await freePort();
  const opsPort = await freePort();
  const config = `
listeners: ["127.0.0.1:${port}"]
workers: "1"
ops: { address: "127.0.0.1:${opsPort}" }
timeouts: { drain_delay: 0s, shutdown: 1s }
pools: { raw: { backends: ["http://127.0.0.1:${origin.port}"], ${extra} } }
routes: [{ path: /, pool: raw }]
`;
  const proxy = new Service('proxy', { dir, opsPort, config });
  try {
    await proxy.start();
    await use(port);
  } finally {
    await proxy.stop();
    await origin.stop();
    removeDirectory(dir);
  }
}

test('an origin that sends its head a byte at a time does not move the deadline of the head', async () => {
  let dripping;
  const drip = async (wire) => {
    await wire.request();
    await wire.write('HTTP/1.1 200 OK\r\nX-Slow: ');
    dripping = setInterval(() => wire.ended || wire.write('x'), 50);
  };
  await withProxy(drip, 'timeouts: { response_head: 500ms }', async (port) => {
    const { status } = await ask(port, GET);
    assert.equal(status, 504);
  });
  clearInterval(dripping);
});
