// What the documentation names must exist: links and headings, files, targets, metrics, problems, settings, variables; and each command in it is
// either run by a test or one that is named here with its reason.
// usage: node tools/check-docs.mjs
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const read = (file) => readFileSync(join(root, file), 'utf8');
const files = execFileSync('git', ['ls-files', '-z'], { cwd: root, maxBuffer: 64 << 20 }).toString().split('\0').filter((file) => file && existsSync(join(root, file)));
const documents = files.filter((file) => /^(README|SECURITY)\.md$|^docs\/.*\.(md|yaml)$/.test(file));
const names = new Set(files.flatMap((file) => [file, ...file.split('/').map((_, i, parts) => parts.slice(0, i).join('/'))]));
const bases = new Set(files.map((file) => basename(file)));
const wrong = [];

// Commands of the documentation: what they look like, and the test that runs them (or the reason why none does) with a text that shows it.
const COMMANDS = [
  [/^make (up|down|demo)$/, 'tests/containers/20-clean-machine.test.mjs', 'make demo'],
  [/^make test$/, '.ci/run', 'make test'],
  [/^curl -i?s? ?.*http:\/\/127\.0\.0\.1:8080\/(v1\/hello|pricing|quote)\b/, 'tests/containers/20-clean-machine.test.mjs', "grep '^curl' README.md"],
  [/^docker compose up( --scale \w+=\d)*$/, 'tests/containers/10-compose.test.mjs', "'--scale', 'proxy=2', '--scale', 'subd=2'"],
  [/^curl -s http:\/\/127\.0\.0\.1:8080\/receipt\/0x… > receipt\.json$/, 'tests/integration/66-api-documents.test.mjs', '/receipt/'],
  [/^node tools\/proof\.mjs (receipt|generate|verify) /, 'tests/integration/56-receipts.test.mjs', "'tools/proof.mjs'"],
  [/^sh contracts\/build\.sh$/, 'package.json', 'contracts:build'],
  [/contracts\/script\/deploy\.mjs$/, 'contracts/test/deploy-any.test.mjs', "'deploy'"],
  [/contracts\/script\/verify\.mjs$/, 'contracts/test/deploy-any.test.mjs', "'verify'"],
  [/^octroi-top --/, 'tests/integration/65-observability.test.mjs', "binary('octroi-top')"],
  [/^(h2spec|h2load|testssl|slowhttptest) /, 'programs of others: docs/conformance.md says what they found'],
  [/node bench\/run\.mjs$/, 'benchmarks run where they are compared, not in every test run'],
];
// Pages whose commands a test takes from the page itself.
const PAGES = { 'docs/operations/keys.md': ['tests/integration/41-quote-keys.test.mjs', 'keys.md'] };

const anchor = (heading) => heading.toLowerCase().replace(/`/g, '').replace(/[^\p{L}\p{N} _-]/gu, '').trim().replace(/ /g, '-');
const headings = (file) => new Set([...read(file).matchAll(/^#+ +(.*)$/gm)].map(([, text]) => anchor(text)));

function links(file, text) {
  for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
    if (/^[a-z]+:/.test(target)) continue;
    const [path, fragment] = target.split('#');
    const found = path ? relative(root, join(root, dirname(file), path)) : file;
    if (!names.has(found.replace(/\/$/, ''))) wrong.push(`${file}: link to ${target}`);
    else if (fragment && !headings(found).has(fragment)) wrong.push(`${file}: no heading for ${target}`);
  }
}

const PLACES = /^(bench|compose|config|contracts|docs|libcommon|services|tests|tools)\/[\w./*<>-]*$/;
const GENERATED = /^contracts\/(out|cache)\b/;
const PROGRAM = /^[\w-]+\.(c|h|mjs|sol|sh|def)$/;

// Settings by their last two names: `pools.<name>.timeouts.connect` is spoken of as `timeouts.connect`.
const settings = new Set();
const sections = new Set();
let section = '';
for (const line of read('docs/configuration.md').split('\n')) {
  const heading = /^##(#?) (.*)$/.exec(line);
  if (heading) section = heading[1] ? heading[2].replace(/[`]|\[\]|\.?<[^>]*>/g, '').split('.').at(-1) : '';
  const key = /^\| `([a-z0-9_]+)` \|/.exec(line);
  if (!key) continue;
  settings.add(section ? `${section}.${key[1]}` : key[1]);
  if (section) sections.add(section);
}
const metrics = read('docs/metrics.md');
const problems = new Set([...read('docs/problems.md').matchAll(/^## (.*)$/gm)].map(([, name]) => name));
const PROGRAMS = new Set(['payd-signer', 'octroi-top']);
const events = read('docs/asyncapi.yaml');
const sources = files.filter((file) => !documents.includes(file) && /\.(c|h|mjs|cjs|sh|yaml|def|sql|service|conf)$|Makefile|Dockerfile/.test(file)).map(read).join('\n');
const targets = new Set([...read('Makefile').matchAll(/^([a-z]+):/gm)].map(([, name]) => name));

function spans(file, text) {
  for (const [, span] of text.matchAll(/`([^`\n]+)`/g)) {
    const word = span.split(/[ :]/)[0];
    const parts = word.replace(/\[\]/g, '').split('.');
    const isSetting = !PROGRAM.test(word) && parts.length === 2 && sections.has(parts[0]) && /^[a-z_]+$/.test(parts[1]);
    if (PLACES.test(word) && !/[*<]/.test(word) && !GENERATED.test(word) && !names.has(word.replace(/\/$/, ''))) wrong.push(`${file}: no file ${word}`);
    else if (PROGRAM.test(word) && !bases.has(word)) wrong.push(`${file}: no file ${word}`);
    else if (/^octroi_[a-z0-9_]+$/.test(word) && !metrics.includes(word) && !sources.includes(word)) wrong.push(`${file}: no metric ${word}`);
    else if (isSetting && !settings.has(parts.join('.')) && !events.includes(parts.join('.')) && !sources.includes(parts.join('.'))) wrong.push(`${file}: no setting ${word}`);
    else if (/^[a-z]+(-[a-z]+)+$/.test(span) && !problems.has(span) && !PROGRAMS.has(span) && !sources.includes(`"${span}"`)) wrong.push(`${file}: no problem or reason ${span}`);
    for (const [, target] of span.matchAll(/^make ([a-z]+)/g)) if (!targets.has(target)) wrong.push(`${file}: no target of make ${target}`);
  }
  for (const [variable] of text.matchAll(/\b(OCTROI|REVERSE_PROXY)_[A-Z0-9_]*[A-Z0-9]\b/g)) {
    if (!sources.includes(variable) && !sources.includes(variable.replace(/_[A-Z0-9]+$/, '_'))) wrong.push(`${file}: no variable ${variable}`);
  }
}

function commands(file, text) {
  for (const [, language, block] of text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)) {
    if (language === '' && /^(\w+=\S+ )*(make|node|npm|curl|docker|octroi-\w+|sh|bash|cast|openssl|psql|systemctl) /m.test(block)) wrong.push(`${file}: commands without \`\`\`sh: ${block.split('\n')[0]}`);
    if (!['sh', 'bash', 'console'].includes(language)) continue;
    for (const line of block.replace(/\\\n/g, ' ').split('\n').map((one) => one.replace(/\s+#.*$/, '').trim()).filter(Boolean)) {
      const [, test, needle] = PAGES[file] ? [null, ...PAGES[file]] : COMMANDS.find(([looks]) => looks.test(line)) ?? [];
      if (!test) wrong.push(`${file}: no test runs: ${line}`);
      else if (needle && !read(test).includes(needle)) wrong.push(`${file}: ${test} does not run: ${line}`);
      const script = /([\w./-]+\.mjs)/.exec(line)?.[1];
      if (script && !names.has(script)) wrong.push(`${file}: no file ${script}`);
      else if (script) for (const [option] of line.matchAll(/--[a-z-]+/g)) if (!read(script).includes(option.slice(2))) wrong.push(`${file}: ${script} has no ${option}`);
    }
  }
}

// The subjects of the bus: those of the page are in the sources, those of the protocol's headers on the page.
function subjects() {
  for (const [, name] of events.matchAll(/^ {2}"?(octroi\.v1\.[^:"]+)"?:$/gm)) {
    const fixed = name.startsWith('octroi.v1.events.') ? 'octroi.v1.events.' : name.split('{')[0];
    if (!sources.includes(`"${fixed}`)) wrong.push(`docs/asyncapi.yaml: no subject ${name}`);
  }
  const protocol = files.filter((file) => /^libcommon\/proto\/.*\.h$/.test(file)).map(read).join('\n');
  for (const [, name] of protocol.matchAll(/"(octroi\.v1\.[a-z.-]+)"/g)) if (!events.includes(name)) wrong.push(`docs/asyncapi.yaml: without ${name}`);
}

subjects();
for (const file of documents) {
  const text = read(file);
  links(file, text);
  spans(file, text);
  commands(file, text);
}
for (const one of wrong) console.error(one);
console.log(`${documents.length} documents, ${wrong.length} things that are not so`);
process.exitCode = wrong.length ? 1 : 0;
