// Writes the gas table of docs/contracts.md from the snapshot that the tests measure; `--check` compares.
import { readFileSync, writeFileSync } from 'node:fs';

const SNAPSHOT = new URL('../snapshots/GasTest.json', import.meta.url);
const PAGE = new URL('../../docs/contracts.md', import.meta.url);
const [BEGIN, END] = ['<!-- gas -->\n', '<!-- /gas -->'];

const gas = JSON.parse(readFileSync(SNAPSHOT, 'utf8'));
const rows = Object.entries(gas).map(([name, used]) => `| ${name} | ${Number(used).toLocaleString('en-US')} |\n`);
const page = readFileSync(PAGE, 'utf8');
const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)];
if (from < 0 || to < from) throw new Error('docs/contracts.md has no place for the gas table');
const written = `${page.slice(0, from)}${BEGIN}| transaction | gas |\n|---|--:|\n${rows.join('')}${page.slice(to)}`;
if (!process.argv.includes('--check')) {
  writeFileSync(PAGE, written);
} else if (written !== page) {
  console.error('gas: docs/contracts.md is not what node contracts/script/gas.mjs writes');
  process.exit(1);
}
