// Measures how much of src/ the tests reach and fails below 100 % of lines and branches. The figures come from
// forge; its output goes to a directory of its own, since what it builds for this is not what is deployed.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const ROOT = new URL('../', import.meta.url);
const HERE = new URL('cache/coverage/', ROOT);
const REPORT = fileURLToPath(new URL('lcov.info', HERE));
const forge = fileURLToPath(new URL('../node_modules/@foundry-rs/forge-linux-amd64/bin/forge', ROOT));

mkdirSync(HERE, { recursive: true });
rmSync(REPORT, { force: true });
// The invariants reach nothing that the other tests do not, and gas is not that of the deployed code.
const { status, stdout, stderr } = spawnSync(
  forge,
  ['coverage', '--report', 'lcov', '--report-file', REPORT, '--no-match-contract', 'GasTest|SolvencyTest'],
  {
    cwd: fileURLToPath(ROOT),
    encoding: 'utf8',
    maxBuffer: 1 << 26,
    env: {
      ...process.env,
      FOUNDRY_OUT: 'cache/coverage/out',
      FOUNDRY_CACHE_PATH: 'cache/coverage/cache',
      FOUNDRY_FUZZ_RUNS: '64',
    },
  },
);
if (status !== 0) {
  console.error(stdout.slice(-4000), stderr.slice(-4000));
  process.exit(1);
}

const total = { lines: 0, linesHit: 0, branches: 0, branchesHit: 0 };
const missed = [];
let file = '';
for (const entry of readFileSync(REPORT, 'utf8').split('\n')) {
  const [, key, value] = entry.match(/^(\w+):(.*)$/) ?? [];
  if (key === 'SF') file = value;
  if (!file.startsWith('src/')) continue;
  const parts = value?.split(',');
  if (key === 'DA') {
    total.lines += 1;
    if (parts[1] === '0') missed.push(`${file}:${parts[0]}: line`);
    else total.linesHit += 1;
  }
  if (key === 'BRDA') {
    total.branches += 1;
    if (['0', '-'].includes(parts[3])) missed.push(`${file}:${parts[0]}: branch ${parts[2]}`);
    else total.branchesHit += 1;
  }
}
console.log(
  `coverage: ${total.linesHit} of ${total.lines} lines, ${total.branchesHit} of ${total.branches} branches of src/`,
);
for (const line of missed) console.error(`coverage: not reached: ${line}`);
if (missed.length > 0 || total.lines < 150 || total.branches < 30) process.exit(1);
