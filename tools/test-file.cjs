// Loaded into the process of each test file by node-tests.mjs: when its tests have ended, what a test left open (a server, a socket, a child)
// holds the file up for a minute at the most, and is named; a file that is told to end takes the processes it started with it.
'use strict';
const { after } = require('node:test');

// For this process alone, not for the programs that its tests run.
if (process.env.OCTROI_NODE_OPTIONS) process.env.NODE_OPTIONS = process.env.OCTROI_NODE_OPTIONS;
else delete process.env.NODE_OPTIONS;
delete process.env.OCTROI_NODE_OPTIONS;

// Children that a test started by itself.
function endChildren() {
  for (const handle of process._getActiveHandles()) if (handle.pid && typeof handle.kill === 'function') handle.kill('SIGKILL');
}

after(() => {
  const late = () => {
    process.stderr.write(`left open a minute after the last test: ${process.getActiveResourcesInfo().join(', ')}\n`);
    endChildren();
    process.exit(1);
  };
  setTimeout(late, 60_000).unref();
});
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    endChildren();
    process.exit(1);
  });
}
