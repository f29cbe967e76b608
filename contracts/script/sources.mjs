// What solc says of the sources without generating code: abstract syntax trees and storage layouts. Quick, and
// apart from forge, whose artifacts leave out what checks of the sources themselves need.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import solc from 'solc';

const ROOT = new URL('../', import.meta.url);

function load(path) {
  const file = [new URL(path, ROOT), new URL(`node_modules/${path}`, ROOT)].find((url) => existsSync(url));
  return file ? { contents: readFileSync(file, 'utf8') } : { error: `${path} is not there` };
}

/** The sources of src/, by path. */
export const sources = () =>
  Object.fromEntries(
    readdirSync(new URL('src/', ROOT))
      .filter((name) => name.endsWith('.sol'))
      .map((name) => [`src/${name}`, load(`src/${name}`).contents]),
  );

/** solc's output for `texts`, source by path; throws on an error in them. */
export function compile(texts, outputSelection) {
  const input = {
    language: 'Solidity',
    sources: Object.fromEntries(Object.entries(texts).map(([path, content]) => [path, { content }])),
    settings: { evmVersion: 'cancun', outputSelection },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: load }));
  const errors = (output.errors ?? []).filter(({ severity }) => severity === 'error');
  if (errors.length > 0) throw new Error(errors.map(({ formattedMessage }) => formattedMessage).join('\n'));
  return output;
}

/** Syntax trees of `texts` and all that they import, by path. */
export function trees(texts) {
  const output = compile(texts, { '*': { '': ['ast'] } });
  return Object.fromEntries(Object.entries(output.sources).map(([path, { ast }]) => [path, ast]));
}
