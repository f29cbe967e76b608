// compose/.env.example is the list of what can be set from outside: it names every variable that the configurations of quoted and payd, the compose
// files and the deploy script read, and none that nobody reads; its values are the defaults.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { root } from '../support/process.mjs';

const read = (name) => readFileSync(join(root, name), 'utf8');
const unique = (names) => [...new Set(names)].sort();
const names = (text, pattern) => unique([...text.matchAll(pattern)].map(([, name]) => name));

const example = read('compose/.env.example');
const listed = names(example, /^(?:# )?([A-Z][A-Z0-9_]+)=/gm);
const configurations = ['config/payd.yaml', 'config/quoted.yaml'];
const composeFiles = ['compose.yaml', 'compose/real-chain.yaml'];

// What the compose file gives each container itself: addresses inside, and paths of what it mounts.
const wired = /^OCTROI_(\w+_LISTEN|\w+_OPS|POSTGRES|REDIS_URL|NATS_URL|NATS_CREDENTIALS|SECRETS|PRICEBOOK|SIGNER_KEY_FILE)$/;

test('every variable that something reads is listed', () => {
  const inConfigurations = configurations.flatMap((file) => names(read(file), /\$\{([A-Z0-9_]+)/g)).filter((name) => !wired.test(name));
  const inCompose = composeFiles.flatMap((file) => names(read(file), /\$\{([A-Z0-9_]+)/g));
  const inScript = names(read('contracts/script/settings.mjs'), /\b(OCTROI_[A-Z_]+)\b/g);
  for (const name of unique([...inConfigurations, ...inCompose, ...inScript])) assert.ok(listed.includes(name), `${name} is not in compose/.env.example`);
});

test('every variable that is listed is read by something', () => {
  const sources = [...configurations, ...composeFiles, 'contracts/script/settings.mjs'].map(read).join('\n');
  for (const name of listed) assert.match(sources, new RegExp(`\\b${name}\\b`), `nothing reads ${name}`);
});

test('what payd and quoted take from it reaches their containers', () => {
  const compose = read('compose.yaml');
  for (const file of configurations) {
    for (const name of names(read(file), /\$\{([A-Z0-9_]+)/g).filter((entry) => !wired.test(entry) && !/MNEMONIC|WALLET_USER|^OCTROI_SECRETS$/.test(entry))) {
      assert.match(compose, new RegExp(`^ +${name}:`, 'm'), `compose.yaml does not pass ${name} on`);
    }
  }
});

// Of the pages that the binaries write: a section's keys.
function keys(service, section) {
  const page = read('docs/configuration.md').split(`\n## ${service}\n`)[1].split('\n## ')[0];
  return names(page.split(`\n### \`${section}\`\n`)[1].split('\n### ')[0], /^\| `([a-z_]+)` \|/gm);
}

test('every setting of the endpoints, the keys and the fees has its variable', () => {
  // In the deployment file, which the deploy script writes; and the key itself in place of its file.
  const elsewhere = ['id', 'contract', 'start_block', 'tokens', 'deployment', 'key'];
  for (const [service, section] of [['payd', 'chain'], ['payd', 'wallet'], ['payd', 'receipts'], ['payd', 'refunds'], ['quoted', 'chain'], ['quoted', 'signer']]) {
    const found = keys(service, section).filter((key) => !elsewhere.includes(key));
    assert.ok(found.length > 0, section);
    const text = read(`config/${service}.yaml`).split(`\n${section}:`)[1].split(/\n(?=[a-z])/)[0];
    for (const key of found) assert.match(text, new RegExp(`\\b${key}: "\\$\\{OCTROI_`), `${service} ${section}.${key}`);
  }
});

test('the values are the defaults', () => {
  const defaults = new Map([...[...configurations, ...composeFiles].map(read).join('\n').matchAll(/\$\{([A-Z0-9_]+):-([^}]*)\}/g)].map(([, name, value]) => [name, value]));
  for (const [, name, value] of example.matchAll(/^([A-Z][A-Z0-9_]+)=(.*)$/gm)) {
    if (defaults.has(name) && !/^OCTROI_(CONFIRMATIONS|CONFIRM_AFTER|CHAIN_POLL)$/.test(name)) assert.equal(value, defaults.get(name), name);
  }
});

test('the document of a real chain names only variables that exist', () => {
  for (const name of names(read('docs/operations/chain.md'), /\b(OCTROI_[A-Z_]+)\b/g)) assert.ok(listed.includes(name), `${name} is not in compose/.env.example`);
});
