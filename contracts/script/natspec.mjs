// Fails when something that users of the contract meet is not documented: every public or external function and
// variable, constructor, event, error and struct of src/ needs a @notice, and a @param or @return for each part.
import { pathToFileURL } from 'node:url';
import { sources, trees } from './sources.mjs';

const text = (node) => (typeof node.documentation === 'string' ? node.documentation : node.documentation?.text) ?? '';
const tags = (doc, tag) => [...doc.matchAll(new RegExp(`@${tag}\\s+(\\S+)`, 'g'))].map(([, word]) => word);

const VISIBLE = ['public', 'external'];

/** What of a node must be documented: null for nothing, or its names. */
function duties(node) {
  const names = (list) => (list?.parameters ?? []).map(({ name }) => name);
  switch (node.nodeType) {
    case 'FunctionDefinition':
      if (node.kind === 'constructor') return { params: names(node.parameters), returns: 0 };
      if (!VISIBLE.includes(node.visibility)) return null;
      return { params: names(node.parameters), returns: node.returnParameters.parameters.length };
    case 'VariableDeclaration':
      return node.stateVariable && node.visibility === 'public' ? { params: [], returns: 0 } : null;
    case 'EventDefinition':
    case 'ErrorDefinition':
      return { params: names(node.parameters), returns: 0 };
    case 'StructDefinition':
      // What only storage holds is told of by its namespace, and its members by their names.
      if (/@custom:storage-location/.test(text(node))) return null;
      return { params: node.members.map(({ name }) => name), returns: 0 };
    default:
      return null;
  }
}

function lacks(node) {
  const duty = duties(node);
  const doc = text(node);
  if (!duty || /@inheritdoc/.test(doc)) return [];
  const missing = /@notice\s+\S/.test(doc) ? [] : ['@notice'];
  const params = tags(doc, 'param');
  missing.push(...duty.params.filter((name) => !params.includes(name)).map((name) => `@param ${name}`));
  if (tags(doc, 'return').length < duty.returns) missing.push('@return');
  return missing;
}

/** What the sources lack, one line each, and how many things were looked at. */
export function check(texts) {
  const found = [];
  let looked = 0;
  for (const [path, tree] of Object.entries(trees(texts))) {
    if (!(path in texts)) continue;
    for (const outer of tree.nodes) {
      for (const node of [outer, ...(outer.nodes ?? [])]) {
        if (duties(node)) looked += 1;
        const missing = lacks(node);
        if (missing.length === 0) continue;
        const line = texts[path].slice(0, Number(node.src.split(':')[0])).split('\n').length;
        found.push(`${path}:${line}: ${node.name || node.kind}: ${missing.join(', ')}`);
      }
    }
  }
  return { found, looked };
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { found, looked } = check(sources());
  for (const line of found) console.error(line);
  if (found.length > 0 || looked < 100) {
    console.error(`natspec: ${found.length} of ${looked} are not documented`);
    process.exit(1);
  }
  console.log(`natspec: ${looked} functions, variables, events, errors and structs are documented`);
}
