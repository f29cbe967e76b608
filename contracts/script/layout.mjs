// Compares where state lies in storage with storage-layout.json, which is what deployed contracts hold: a later
// implementation may append to a namespace and add namespaces, and change nothing that is there. `--write`
// records what was appended. State lies in ERC-7201 namespaces only; a plain state variable is refused.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { encodeAbiParameters, keccak256, numberToHex, stringToHex } from 'viem';
import { compile, sources, trees } from './sources.mjs';

const FILE = new URL('../storage-layout.json', import.meta.url);
const HARNESS = 'src/.Layout.sol';
const TAG = /@custom:storage-location\s+erc7201:(\S+)/;

const place = (namespace) => {
  const inner = BigInt(keccak256(stringToHex(namespace))) - 1n;
  const hash = BigInt(keccak256(encodeAbiParameters([{ type: 'uint256' }], [inner])));
  return numberToHex(hash & ~0xffn, { size: 32 });
};

/** Every contract that `name` inherits from, itself included, as [syntax tree, source text]. */
function lineage(texts, name) {
  const all = trees(texts);
  const byId = new Map();
  for (const tree of Object.values(all)) for (const node of tree.nodes) byId.set(node.id, node);
  const contract = [...byId.values()].find((node) => node.nodeType === 'ContractDefinition' && node.name === name);
  return contract.linearizedBaseContracts.map((id) => byId.get(id));
}

const docOf = (node) => node.documentation?.text ?? '';

function namespaces(contracts) {
  const found = [];
  for (const contract of contracts) {
    for (const node of contract.nodes) {
      if (node.nodeType === 'VariableDeclaration' && !node.constant && node.mutability === 'mutable') {
        throw new Error(`${contract.name}.${node.name} lies outside of every namespace`);
      }
      const [, id] = (node.nodeType === 'StructDefinition' && docOf(node).match(TAG)) || [];
      if (id) found.push({ id, struct: node.name });
    }
  }
  return found;
}

/** The members of a struct type, and into `structs` those of the structs they lead to. */
function members(types, type, structs) {
  return types[type].members.map(({ label, offset, slot, type: of }) => {
    note(types, of, structs, false);
    return { label, slot: Number(slot), offset, type: types[of].label };
  });
}

function note(types, type, structs, alone) {
  const { label, encoding, value, base } = types[type];
  if (encoding === 'mapping') return note(types, value, structs, true);
  if (base) return note(types, base, structs, false);
  if (!types[type].members) return undefined;
  // Where a struct is not a mapping's value something follows it, and nothing may be appended.
  structs[label] ??= { alone, members: [] };
  structs[label].alone &&= alone;
  structs[label].members = members(types, type, structs);
  return undefined;
}

/** The layout of contract `name` in `texts`. */
export function layout(texts, name = 'Octroi') {
  const [file] = Object.entries(texts).find(([, text]) => new RegExp(`^contract ${name}\\b`, 'm').test(text));
  const found = namespaces(lineage(texts, name));
  const harness = [
    'pragma solidity 0.8.37;',
    `import "./${file.split('/').pop()}";`,
    `contract Layout is ${name} {`,
    ...found.map(({ struct }, i) => `  ${struct} private space${i};`),
    '}',
  ].join('\n');
  const output = compile({ ...texts, [HARNESS]: harness }, { [HARNESS]: { Layout: ['storageLayout'] } });
  const { storage, types } = output.contracts[HARNESS].Layout.storageLayout;
  const structs = {};
  const spaces = storage.map(({ type }, i) => [
    found[i].id,
    { slot: place(found[i].id), members: members(types, type, structs) },
  ]);
  const sorted = (entries) => Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
  return { namespaces: sorted(spaces), structs: sorted(Object.entries(structs)) };
}

function compareMembers(where, before, after, mayGrow) {
  const wrong = [];
  before.forEach((old, i) => {
    const now = after[i];
    if (!now) wrong.push(`${where}: ${old.label} is gone`);
    else if (JSON.stringify(old) !== JSON.stringify(now)) {
      wrong.push(`${where}: ${JSON.stringify(old)} became ${JSON.stringify(now)}`);
    }
  });
  if (after.length > before.length && !mayGrow) {
    wrong.push(`${where}: something follows it, and ${after[before.length].label} was appended`);
  }
  return wrong;
}

/** Why a contract with layout `after` must not follow one with layout `before`; empty if it may. */
export function compare(before, after) {
  const wrong = [];
  for (const [id, old] of Object.entries(before.namespaces)) {
    const now = after.namespaces[id];
    if (!now) wrong.push(`namespace ${id} is gone`);
    else wrong.push(...compareMembers(`namespace ${id}`, old.members, now.members, true));
    if (now && now.slot !== old.slot) wrong.push(`namespace ${id} lies elsewhere`);
  }
  for (const [label, old] of Object.entries(before.structs)) {
    const now = after.structs[label];
    if (!now) wrong.push(`${label} is gone`);
    else wrong.push(...compareMembers(label, old.members, now.members, old.alone && now.alone));
  }
  return wrong;
}

function main() {
  const now = layout(sources());
  const written = `${JSON.stringify(now, null, 2)}\n`;
  const file = fileURLToPath(FILE);
  let before = { namespaces: {}, structs: {} };
  try {
    before = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if (error.code !== 'ENOENT' || !process.argv.includes('--write')) throw error;
  }
  const wrong = compare(before, now);
  for (const line of wrong) console.error(`layout: ${line}`);
  if (wrong.length > 0) process.exit(1);
  if (process.argv.includes('--write')) return writeFileSync(file, written);
  if (JSON.stringify(before) !== JSON.stringify(now)) {
    console.error('layout: something was appended; node script/layout.mjs --write records it');
    process.exit(1);
  }
  return console.log(`layout: ${Object.keys(now.namespaces).length} namespaces lie where they did`);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) main();
