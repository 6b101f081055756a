// Writes the documents that are generated from the code (`npm run docs` compiles it first).
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { standardModules } from '../dist/src/modules/index.js';
import { documents } from '../dist/src/server/docs.js';

const root = new URL('../', import.meta.url);
const project = JSON.parse(readFileSync(new URL('package.json', root), 'utf8'));
for (const [path, text] of documents(standardModules, project)) {
  const file = new URL(path, root);
  mkdirSync(dirname(file.pathname), { recursive: true });
  writeFileSync(file, text);
}
