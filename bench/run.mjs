// The proxy beside nginx and HAProxy: the same origin, the servers on core 0 and everything else on the other cores, interleaved rounds, medians.
// Prints a table and writes the figures as JSON. Environment: ROWS="h1-small h2-small" picks rows (ROWS=list names them), ROUNDS, SECONDS_EACH,
// CONNECTIONS, IDLE (connections held), JSON (file), PRESET or BIN (the proxy), PORT (first of five). docs/performance.md says how to read it.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { removeDirectory, root, temporaryDirectory } from '../tests/support/process.mjs';
import { heading, line, summarize } from './report.mjs';
import { rows } from './rows.mjs';
import { makeCertificate, names, startOrigin, startServer } from './servers.mjs';

const rounds = Number(process.env.ROUNDS ?? 3);
const json = process.env.JSON ?? join(root, 'build/bench.json');
const dir = temporaryDirectory('bench');
const notes = [];

// The servers that do what the row measures.
async function startAll(row) {
  const running = {};
  for (const name of names) {
    let server;
    try {
      server = await startServer(name, dir, row);
      await row.probe(server, row);
      running[name] = server;
    } catch (error) {
      notes.push(`${row.name}: not supported by ${name}: ${error.message.split('\n')[0]}`);
      await server?.stop();
    }
  }
  return running;
}

// What fails is left out of its round, and said.
async function measureOnce(row, server, busy) {
  try {
    const result = await row.measure(server, row, dir);
    if (result.busy !== undefined) busy[server.name] = Math.min(busy[server.name] ?? 1, result.busy);
    return result.figures;
  } catch (error) {
    notes.push(`${row.name}: ${error.message.split('\n')[0]}`);
    return {};
  }
}

async function measureRow(row) {
  const running = await startAll(row);
  const results = [];
  const busy = {};
  try {
    for (let round = 0; round < (row.once ? 1 : rounds); round += 1) {
      results.push({});
      for (const [name, server] of Object.entries(running)) results[round][name] = await measureOnce(row, server, busy);
    }
  } finally {
    for (const server of Object.values(running)) await server.stop();
  }
  for (const [name, share] of Object.entries(busy))
    if (share < 0.9) notes.push(`${row.name}: ${name} was asked for ${Math.round(share * 100)} % of its core: the load was the limit`);
  return results;
}

async function main() {
  if (process.env.ROWS === 'list') {
    for (const row of rows) console.log(`${row.name}\t${row.what}`);
    return;
  }
  const wanted = process.env.ROWS?.split(/[\s,]+/);
  const figures = [];
  makeCertificate(dir);
  const origin = await startOrigin(dir);
  console.log(heading);
  try {
    for (const row of rows.filter(({ name }) => !wanted || wanted.includes(name))) {
      const summary = summarize(row, await measureRow(row));
      summary.forEach((entry) => console.log(line(entry)));
      figures.push(...summary);
    }
  } finally {
    await origin.stop();
  }
  mkdirSync(dirname(json), { recursive: true });
  writeFileSync(json, `${JSON.stringify({ at: new Date().toISOString(), rounds, figures, notes }, null, 1)}\n`);
  if (notes.length) console.log(`\n${notes.map((note) => `- ${note}`).join('\n')}`);
}

try {
  await main();
} finally {
  removeDirectory(dir);
}
