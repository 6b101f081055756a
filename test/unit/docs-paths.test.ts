/** Files, links and functions named in documents exist (CONTRIBUTING.md's path of a message). */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

const root = new URL('../../../', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), 'utf8');
const markdown = (folder: string, recursive = true) =>
  readdirSync(new URL(folder, root), { recursive, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => folder + name.replaceAll('\\', '/'));
const documents = [...markdown('', false), ...markdown('docs/'), ...markdown('bench/'), ...markdown('test/')];

test('files and folders named in documents exist', () => {
  const missing: string[] = [];
  for (const document of documents) {
    const text = read(document);
    for (const [, path] of text.matchAll(/`((?:src|test|docs|conf|bench|examples|scripts)\/[\w./-]*\w)`/g))
      if (!existsSync(new URL(path!, root)) && !existsSync(new URL(`${path}.ts`, root)))
        missing.push(`${document}: ${path}`);
    for (const [, link] of text.matchAll(/\]\((?!https?:|#)([^)#\s]+)(?:#[^)]*)?\)/g))
      if (!existsSync(new URL(link!, new URL(document, root)))) missing.push(`${document}: ${link}`);
  }
  assert.deepEqual(missing, []);
});

test('the path of a message names existing functions', () => {
  const [, path] = read('CONTRIBUTING.md').split('## The path of a message');
  const [walk] = path!.split('\n## ');
  const missing: string[] = [];
  let functions = 0;
  for (const step of walk!.split(/\n(?=\d+\. |\n)/)) {
    const sources = [...step.matchAll(/`(src\/[\w./-]+\.ts)`/g)].map(([, file]) => read(file!));
    for (const [, name] of step.matchAll(/`(#?\w+)\(\)`/g)) {
      functions++;
      const definition = new RegExp(`^  (?:async )?${name}[(<]`, 'm');
      if (!sources.some((source) => definition.test(source))) missing.push(`${name}() in: ${step.slice(0, 60)}`);
    }
  }
  assert.ok(functions > 20, 'the path names its functions');
  assert.deepEqual(missing, []);
});
