// Runs test files with node's own runner, the same under Node 18 and later: node tools/node-tests.mjs CONCURRENCY FILE...
import { resolve } from 'node:path';
import { run } from 'node:test';
import * as reporters from 'node:test/reporters';

const [concurrency, ...files] = process.argv.slice(2);
run({ files: files.map((file) => resolve(file)), concurrency: Number(concurrency), timeout: 10 * 60_000 })
  .on('test:fail', () => { process.exitCode = 1; })
  .compose(reporters.tap)
  .pipe(process.stdout);
