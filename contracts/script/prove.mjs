// Proves the statements of contracts/proofs for all inputs: solc's SMTChecker asks, z3 answers. Fails on a
// statement that is violated or that z3 does not decide in time, on a function that has none proved, and when
// a planted falsehood is not found, since a prover that says yes to everything proves nothing.
// OCTROI_Z3 names another z3, OCTROI_Z3_SECONDS its time for one question.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import solc from 'solc';

const ROOT = new URL('../', import.meta.url);
const PROOFS = 'proofs/Arithmetic.sol';
const Z3 = process.env.OCTROI_Z3 ?? 'z3';
const SECONDS = process.env.OCTROI_Z3_SECONDS ?? '60';
// Codes of solc's messages: what is proved is an Info, these are no finding.
const PROVED = '2961';
const HARMLESS = new Map([
  ['3993', 'the engine is deprecated'],
  ['8364', 'the arguments of a custom error are not modelled'],
]);

function fail(message) {
  console.error(`prove: ${message}`);
  process.exit(1);
}

let questions = 0;
function ask(question) {
  const z3 = spawnSync(Z3, ['-in', `-T:${SECONDS}`], { input: question, encoding: 'utf8' });
  if (z3.error) fail(`${Z3} does not run (${z3.error.code}); it is Debian's package z3`);
  questions += 1;
  return { contents: z3.stdout };
}

const read = (file) => readFileSync(new URL(file, ROOT), 'utf8');
const line = (text, at) => text.slice(0, at).split('\n').length;

function check(proofs, contracts) {
  const input = {
    language: 'Solidity',
    sources: Object.fromEntries(
      [[PROOFS, proofs], ...['src/Ledger.sol', 'src/Terms.sol'].map((file) => [file, read(file)])].map(
        ([file, content]) => [file, { content }],
      ),
    ),
    settings: {
      evmVersion: 'cancun',
      modelChecker: {
        contracts: { [PROOFS]: contracts },
        engine: 'bmc',
        solvers: ['smtlib2'],
        targets: ['assert', 'overflow', 'underflow', 'divByZero'],
        showProvedSafe: true,
        showUnproved: true,
        showUnsupported: true,
      },
    },
  };
  const { errors = [] } = JSON.parse(solc.compile(JSON.stringify(input), { smtSolver: ask }));
  const findings = errors.filter(({ errorCode }) => errorCode !== PROVED && !HARMLESS.has(errorCode));
  return { proved: errors.filter(({ errorCode }) => errorCode === PROVED), findings };
}

const proofs = read(PROOFS);
const contracts = [...proofs.matchAll(/^contract (\w+)/gm)].map(([, name]) => name);
const { proved, findings } = check(proofs, contracts);
for (const { formattedMessage } of findings) console.error(formattedMessage);
if (findings.length > 0) fail(`${findings.length} statements are violated or not proved`);

const asserted = [...proofs.matchAll(/^ +assert\(/gm)].map(({ index }) => line(proofs, index));
const provedLines = new Set(
  proved
    .filter(({ message, sourceLocation }) => sourceLocation.file === PROOFS && /Assertion/.test(message))
    .map(({ sourceLocation }) => line(proofs, sourceLocation.start)),
);
const silent = asserted.filter((at) => !provedLines.has(at));
if (silent.length > 0) fail(`nothing was said of the assertions in lines ${silent.join(', ')} of ${PROOFS}`);

const planted = proofs.replace('assert(cut * 5 <= amount);', 'assert(cut * 6 <= amount);');
if (planted === proofs) fail('the falsehood to plant has no place');
if (check(planted, ['LedgerProof']).findings.length !== 1) fail('a planted falsehood was not found');

console.log(
  `prove: ${asserted.length} assertions and ${proved.length - asserted.length} absences of overflow, underflow and division by zero proved; ${questions} questions`,
);
