import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { standardModules } from '../../src/modules/index.js';
import { documents } from '../../src/server/docs.js';
import { parse } from '../../src/server/xml/element.js';

const root = new URL('../../../', import.meta.url);
const project = JSON.parse(readFileSync(new URL('package.json', root), 'utf8'));
const made = documents(standardModules, project);

for (const [path, text] of made) {
  test(`${path} is current (npm run docs)`, () => {
    const isCurrent = readFileSync(new URL(path, root), 'utf8') === text;
    assert.ok(isCurrent, `${path} is out of date: npm run docs writes it anew`);
  });
}

test('the DOAP file contains every specification once', () => {
  const implemented = parse(made.get('doap.xml')!)
    .getChild('Project', 'http://usefulinc.com/ns/doap#')!
    .getChildren('implements');
  const addresses = implemented.map((entry) => {
    const xep = entry.getChild('SupportedXep', 'https://linkmauve.fr/ns/xmpp-doap#')?.getChild('xep');
    return (xep ?? entry).attrs['rdf:resource'];
  });
  assert.equal(new Set(addresses).size, addresses.length);
  const claimed = new Set(standardModules.flatMap((module) => Object.keys(module.implements)));
  for (const spec of claimed)
    if (spec.startsWith('XEP'))
      assert.ok(addresses.includes(`https://xmpp.org/extensions/${spec.toLowerCase()}.html`), spec);
});

test('module names are unique', () => {
  const names = standardModules.map(({ name }) => name);
  assert.deepEqual(names, [...new Set(names)]);
});
