/** Lists of addresses are measured before any of them is parsed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Jid } from '../../src/server/address/jid.js';
import { demandFew } from '../../src/server/stanza/addresses.js';
import { StanzaError } from '../../src/server/stanza/errors.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { withoutIdsBy } from '../../src/server/stanza/stanza-id.js';

const refused = (addresses: readonly (string | undefined)[]) =>
  assert.throws(
    () => demandFew(addresses),
    (error) => error instanceof StanzaError && error.condition === 'policy-violation',
  );
const list = (count: number, address: (index: number) => string) => Array.from({ length: count }, (_, n) => address(n));

test('the length of a list is limited, and so are addresses that need mapping', () => {
  demandFew(list(1000, (n) => `u${n}@example.org`));
  refused(list(1001, (n) => `u${n}@example.org`));
  demandFew([...list(1000, (n) => `u${n}@example.org`), undefined]);
  demandFew(list(1000, (n) => `\u6f22\u5b57${n}@\u4f8b.example`));
  refused(list(20, (n) => `${n}${'\u0130'.repeat(600)}@example.org`));
  refused([`a@b/${'\u30fb'.repeat(10_001)}`]);
});

test('none of too many claims is accepted', () => {
  const owner = Jid.parse('romeo@example.org');
  const id = (by: string) => `<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='${by}'/>`;
  const of = (ids: string) => Stanza.parse(`<message>${ids}<body>x</body></message>`);
  const others = list(1000, (n) => id(`u${n}@example.org`)).join('');
  assert.equal(withoutIdsBy(of(others), owner).childCount, 1001);
  assert.equal(withoutIdsBy(of(others + id('ROMEO@example.org') + id('x@example.org')), owner).childCount, 1001);
  assert.equal(withoutIdsBy(of(id('romeo@example.org').repeat(3000)), owner).childCount, 1);
});
