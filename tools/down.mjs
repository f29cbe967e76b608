// Stops what `make up` started: the processes that it recorded, and no other.
import { existsSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { endPid } from '../tests/support/process.mjs';
import { postgresDir, state } from './stack.mjs';

const directories = [join(state, 'services'), join(state, 'redis'), join(state, 'nats'), join(state, 'chain'), join(dirname(postgresDir()), 'postgres-log')];
const records = directories.filter(existsSync).flatMap((dir) =>
  readdirSync(dir).filter((file) => file.endsWith('.process.json')).map((file) => ({ file: join(dir, file), ...JSON.parse(readFileSync(join(dir, file), 'utf8')) })));

// Our services before what they need.
const last = ['postgres', 'redis', 'nats', 'anvil'];
for (const group of [records.filter(({ name }) => name === 'proxy'), records.filter(({ name }) => name !== 'proxy' && !last.includes(name)), records.filter(({ name }) => last.includes(name))]) {
  await Promise.all(group.map(async (record) => {
    await endPid(record);
    rmSync(record.file, { force: true });
    console.log(`  ${record.name} stopped`);
  }));
}
console.log(records.length ? `state is kept under ${state}` : 'nothing was running');
