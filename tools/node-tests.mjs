// Runs test files with node's own runner, the same under Node 18 and later: node tools/node-tests.mjs CONCURRENCY [MINUTES] FILE...
// MINUTES: what a file may take (default 5).
import { resolve } from 'node:path';
import { run } from 'node:test';
import * as reporters from 'node:test/reporters';
import { fileURLToPath } from 'node:url';

const [concurrency, ...rest] = process.argv.slice(2);
const minutes = /^\d+$/.test(rest[0]) ? Number(rest.shift()) : 5;

if (process.env.NODE_OPTIONS) process.env.OCTROI_NODE_OPTIONS = process.env.NODE_OPTIONS;
process.env.NODE_OPTIONS = `${process.env.NODE_OPTIONS ?? ''} --require ${JSON.stringify(fileURLToPath(new URL('test-file.cjs', import.meta.url)))}`;

// Who is told to end takes the files along, and they what they started.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    for (const handle of process._getActiveHandles()) if (handle.pid && typeof handle.kill === 'function') handle.kill('SIGTERM');
    process.exit(1);
  });
}

run({ files: rest.map((file) => resolve(file)), concurrency: Number(concurrency), timeout: minutes * 60_000 })
  .on('test:fail', () => { process.exitCode = 1; })
  .once('end', () => setTimeout(() => process.exit(), 10_000).unref()) // a file that was told to end, and does not
  .compose(reporters.tap)
  .pipe(process.stdout);
