import assert from 'node:assert/strict';
import { test } from 'node:test';
import { capsHash, provesCaps, readInfo } from '../../src/server/stanza/caps.js';
import { NS } from '../../src/server/stanza/ns.js';
import { type Element, el } from '../../src/server/xml/element.js';

const discoFeatures = [
  'http://jabber.org/protocol/caps',
  'http://jabber.org/protocol/disco#info',
  'http://jabber.org/protocol/disco#items',
  'http://jabber.org/protocol/muc',
];

const field = (name: string, ...values: string[]): Element =>
  el('field', { var: name }, ...values.map((value) => el('value', null, value)));
const hidden = (...values: string[]): Element =>
  el('field', { var: 'FORM_TYPE', type: 'hidden' }, ...values.map((value) => el('value', null, value)));
const form = (...fields: Element[]): Element => el('x', { xmlns: NS.dataForms, type: 'result' }, ...fields);
const software = form(
  hidden('urn:xmpp:dataforms:softwareinfo'),
  field('ip_version', 'ipv6', 'ipv4'),
  field('software_version', '0.11'),
  field('os', 'Mac'),
  field('os_version', '10.5.1'),
  field('software', 'Psi'),
);
const psi = [
  { category: 'client', type: 'pc', lang: 'en', name: 'Psi 0.11' },
  { category: 'client', type: 'pc', lang: 'el', name: 'Ψ 0.11' },
];

const answer = (...children: Element[]): Element => el('query', { xmlns: NS.discoInfo }, ...children);
const identity = (attributes: Record<string, string>): Element => el('identity', attributes);
const exodus = { category: 'client', type: 'pc', name: 'Exodus 0.9.1' };
const feature = (name: string): Element => el('feature', { var: name });

test('the simple example of XEP-0115 §5.2', () => {
  assert.equal(capsHash([exodus], [...discoFeatures].reverse()), 'QgayPKawpkPSDYmwT/WM94uAlu0=');
});

test('the complex example of XEP-0115 §5.3', () => {
  assert.equal(capsHash(psi, discoFeatures, [software]), 'q07IKJEyjvHSyhy//CH0CxmKi8w=');
});

test('sorting is by the bytes of UTF-8', () => {
  const [low, high] = ['\uFFFD', '\u{10000}'];
  // S = 'client/pc//Exodus 0.9.1<' U+FFFD '<' U+10000 '<'
  for (const features of [
    [low, high],
    [high, low],
  ])
    assert.equal(capsHash([exodus], features), '+JmO35I1ILm681m7cKQmtP69G9Q=');
});

test('a form without a hidden FORM_TYPE is ignored (§5.4)', () => {
  const plain = form(field('FORM_TYPE', 'urn:x'), field('a', 'b'));
  assert.equal(capsHash([exodus], discoFeatures, [plain, form(field('a', 'b'))]), capsHash([exodus], discoFeatures));
});

test('a disco#info result matches its own hash', () => {
  const query = answer(
    ...psi.map(({ lang, ...rest }) => identity({ ...rest, 'xml:lang': lang })),
    ...discoFeatures.map(feature),
    software,
  );
  assert.equal(provesCaps(query, 'sha-1', 'q07IKJEyjvHSyhy//CH0CxmKi8w='), true);
  assert.equal(provesCaps(query, 'sha-1', 'QgayPKawpkPSDYmwT/WM94uAlu0='), false);
  assert.equal(provesCaps(query, 'sha-256', capsHash(psi, discoFeatures, [software], 'sha-256')), true);
  assert.equal(provesCaps(query, 'md5', 'q07IKJEyjvHSyhy//CH0CxmKi8w='), undefined);
});

for (const [what, query] of Object.entries({
  'no identity': answer(feature('a')),
  'a duplicate identity': answer(identity(exodus), identity(exodus), feature('a')),
  'a duplicate feature': answer(identity(exodus), feature('a'), feature('a')),
  'a duplicate form type': answer(identity(exodus), form(hidden('urn:x')), form(hidden('urn:x'), field('a', 'b'))),
  'a form of two types': answer(identity(exodus), form(hidden('urn:x', 'urn:y'))),
  'a separator in a feature': answer(identity(exodus), feature('a<b')),
  'a separator in a name': answer(identity({ ...exodus, name: 'x<http://jabber.org/protocol/muc' })),
  'a separator in a value': answer(identity(exodus), form(hidden('urn:x'), field('a', 'b<c'))),
})) {
  test(`ill-formed, so it matches no hash: ${what}`, () => {
    assert.equal(readInfo(query), null);
    assert.equal(provesCaps(query, 'sha-1', capsHash([exodus], ['a'])), false);
  });
}
