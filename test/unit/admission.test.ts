/** The requirements on stanzas of clients' and servers' streams (routing/admission.ts). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Jid, JidError } from '../../src/server/address/jid.js';
import { Admission, type Entrance, isLonger } from '../../src/server/routing/admission.js';
import { StreamError } from '../../src/server/stanza/errors.js';
import type { Stanza } from '../../src/server/stanza/stanza.js';
import { readElement } from '../../src/server/xml/reader.js';

const romeo = Jid.parse('romeo@verona/orchard');

/** The result for an element: the admitted stanza, the refusal, or the stream error. */
function outcome(xml: string, sender: Jid | undefined, lang?: string): string {
  const hits: string[] = [];
  const admission = new Admission({
    limits: () => ({ presence_bytes: 20 }),
    limitHit: (limit) => void hits.push(limit),
  });
  let refusal = '';
  const entrance: Entrance = {
    sender,
    lang,
    speaksFor: (from) => (sender === undefined ? from.domain === 'mantua' : from.bare === sender.bare),
    refused: (stanza: Stanza, error) => {
      assert.equal(refusal, '', 'refused once');
      refusal = `refused ${error.condition} to ${stanza.from?.full}`;
    },
  };
  try {
    const stanza = admission.admit(readElement(xml), entrance);
    assert.equal(stanza === undefined, refusal !== '');
    if (refusal !== '') return [refusal, ...hits].join(', ');
    return stanza!.toXml();
  } catch (error) {
    assert.equal(refusal, '');
    if (error instanceof StreamError) return `stream ${error.condition}`;
    if (error instanceof JidError) return 'not an address';
    throw error;
  }
}

const fromRomeo = 'to="juliet@verona" from="romeo@verona/orchard"';

for (const [what, xml, expected] of [
  ['no from', `<message to="juliet@verona"/>`, `<message ${fromRomeo}/>`],
  ['its own full address', `<message to="juliet@verona" from="romeo@verona/orchard"/>`, `<message ${fromRomeo}/>`],
  [
    'its own address in another case',
    `<message to="juliet@verona" from="ROMEO@Verona/orchard"/>`,
    `<message ${fromRomeo}/>`,
  ],
  ['its own bare address', `<message to="juliet@verona" from="romeo@verona"/>`, `<message ${fromRomeo}/>`],
  ["another account's address", `<message to="juliet@verona" from="tybalt@verona"/>`, 'stream invalid-from'],
  ['an invalid from', `<message to="juliet@verona" from="@"/>`, 'stream invalid-from'],
  ['an invalid to', `<message to="@"/>`, 'refused jid-malformed to romeo@verona/orchard'],
  ['no to', `<presence/>`, `<presence from="romeo@verona/orchard"/>`],
  [
    'presence at the limit',
    `<presence><x>1234567890123</x></presence>`,
    `<presence from="romeo@verona/orchard"><x>1234567890123</x></presence>`,
  ],
  [
    'presence beyond the limit',
    `<presence><x>12345678901234</x></presence>`,
    'refused policy-violation to romeo@verona/orchard, presence_bytes',
  ],
  [
    'presence with few characters and many bytes',
    `<presence><x>ééééééé</x></presence>`,
    'refused policy-violation to romeo@verona/orchard, presence_bytes',
  ],
  ['an IQ without id', `<iq type="get"><x/></iq>`, 'refused bad-request to romeo@verona/orchard'],
  ['an IQ without type', `<iq id="1"><x/></iq>`, 'refused bad-request to romeo@verona/orchard'],
  ['an IQ of unknown type', `<iq id="1" type="GET"><x/></iq>`, 'refused bad-request to romeo@verona/orchard'],
  ['a request without child', `<iq id="1" type="set"/>`, 'refused bad-request to romeo@verona/orchard'],
  ['a request with two children', `<iq id="1" type="get"><x/><y/></iq>`, 'refused bad-request to romeo@verona/orchard'],
  [
    'a result with two children',
    `<iq id="1" type="result"><x/><y/></iq>`,
    'refused bad-request to romeo@verona/orchard',
  ],
  ['a result without a child', `<iq id="1" type="result"/>`, `<iq from="romeo@verona/orchard" type="result" id="1"/>`],
  [
    'an error with two children',
    `<iq id="1" type="error"><x/><y/></iq>`,
    `<iq from="romeo@verona/orchard" type="error" id="1"><x/><y/></iq>`,
  ],
] as const)
  test(`a client sends ${what}`, () => {
    assert.equal(outcome(xml, romeo), expected);
  });

for (const [what, xml, expected] of [
  [
    'an address of its domain',
    `<message to="juliet@verona" from="friar@mantua/cell"/>`,
    `<message to="juliet@verona" from="friar@mantua/cell"/>`,
  ],
  ["another domain's address", `<message to="juliet@verona" from="friar@padua"/>`, 'stream invalid-from'],
  ['no from', `<message to="juliet@verona"/>`, 'stream improper-addressing'],
  ['no to', `<message from="friar@mantua"/>`, 'stream improper-addressing'],
  ['an invalid from', `<message to="juliet@verona" from="@mantua"/>`, 'stream improper-addressing'],
  ['an invalid to', `<message to="@" from="friar@mantua"/>`, 'not an address'],
  [
    'an IQ without id',
    `<iq type="get" to="verona" from="friar@mantua"><x/></iq>`,
    'refused bad-request to friar@mantua',
  ],
  [
    'much presence',
    `<presence to="juliet@verona" from="friar@mantua"><x>12345678901234</x></presence>`,
    'refused policy-violation to friar@mantua, presence_bytes',
  ],
] as const)
  test(`another server sends ${what}`, () => {
    assert.equal(outcome(xml, undefined), expected);
  });

test('the default language of a stanza is that of its stream (RFC 6120 §8.1.5)', () => {
  assert.match(outcome(`<message/>`, romeo, 'it'), / xml:lang="it"/);
  assert.match(outcome(`<message xml:lang="la"/>`, romeo, 'it'), / xml:lang="la"/);
  assert.match(outcome(`<message xml:lang=""/>`, romeo, 'it'), / xml:lang=""/);
  assert.doesNotMatch(outcome(`<message/>`, romeo), /lang/);
});

test('limits count bytes, not characters', () => {
  for (const [text, bytes] of [
    ['', 0],
    ['abc', 3],
    ['é', 2],
    ['€', 3],
    ['😀', 4],
  ] as const) {
    assert.equal(isLonger(text, bytes), false, text);
    assert.equal(isLonger(text, bytes - 1), true, text);
  }
});
