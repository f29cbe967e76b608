// The examples of docs/routing.md are configurations that the proxy accepts.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { removeDirectory, root, temporaryDirectory } from '../support/process.mjs';
import { binary } from '../support/service.mjs';

const blocks = [...readFileSync(join(root, 'docs', 'routing.md'), 'utf8').matchAll(/```yaml\n(.*?)```/gs)].map((match) => match[1]);
let dir;

before(() => (dir = temporaryDirectory('document')));
after(() => removeDirectory(dir));

test('there are examples', () => assert.ok(blocks.length >= 6));

for (const [index, block] of blocks.entries())
  test(`example ${index + 1}: ${block.split('\n').find((line) => line.includes('path:'))?.trim()}`, () => {
    const path = join(dir, `${index}.yaml`);
    writeFileSync(path, block);
    const run = spawnSync(binary('proxy'), ['-t', '-c', path], { encoding: 'utf8' });
    assert.equal(run.status, 0, run.stderr);
  });
