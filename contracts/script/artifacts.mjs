// The artifacts that contracts/build.sh made, and what an explorer needs to verify the sources.
import { readFileSync } from 'node:fs';
import { Refusal } from './settings.mjs';

const OUT = new URL('../out/', import.meta.url);

function read(name) {
  try {
    return JSON.parse(readFileSync(new URL(`${name}.sol/${name}.json`, OUT), 'utf8'));
  } catch {
    throw new Refusal(`artifact of ${name} is missing or broken: run sh contracts/build.sh first`);
  }
}

export function artifact(name) {
  const { abi, bytecode } = read(name);
  return { abi, bytecode: bytecode.object };
}

// Whether code on a chain is what we compiled: all but the values that a constructor wrote into it.
export function isCodeOf(name, code) {
  const { object, immutableReferences = {} } = read(name).deployedBytecode;
  if (code?.length !== object.length) return false;
  const blank = (text) => {
    const bytes = Buffer.from(text.slice(2), 'hex');
    for (const { start, length } of Object.values(immutableReferences).flat()) bytes.fill(0, start, start + length);
    return bytes;
  };
  return blank(code).equals(blank(object));
}

// The compiler's standard JSON input, whose output is the deployed bytecode: what explorers take as proof of the sources.
export function standardJson(name) {
  const { sources, settings, language } = read(name).metadata;
  const { compilationTarget, ...rest } = settings;
  const content = (path) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
  return {
    language,
    sources: Object.fromEntries(Object.keys(sources).map((path) => [path, { content: content(path) }])),
    settings: { ...rest, outputSelection: { '*': { '*': ['evm.bytecode', 'evm.deployedBytecode', 'metadata'] } } },
  };
}

export const compilerVersion = (name) => read(name).metadata.compiler.version;
