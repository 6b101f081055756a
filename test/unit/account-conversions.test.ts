/** Bookmarks (XEP-0402, XEP-0048) and cards (XEP-0292, XEP-0054) from one form to the other, and back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fourFrom, tempFrom } from '../../src/modules/xep-0292-vcard4/mapping.js';
import { collate, differences } from '../../src/modules/xep-0402-bookmarks/conversion.js';
import { NS } from '../../src/server/stanza/ns.js';
import { type Element, parse, serialize } from '../../src/server/xml/element.js';

const storage = (inner: string): Element => parse(`<storage xmlns='${NS.bookmarksPrivate}'>${inner}</storage>`);
const item = (inner = '', attributes = ''): Element =>
  parse(`<conference xmlns='${NS.bookmarks}' ${attributes}>${inner}</conference>`);
const temp = (inner: string): Element => parse(`<vCard xmlns='${NS.vcardTemp}'>${inner}</vCard>`);
const four = (inner: string): Element => parse(`<vcard xmlns='${NS.vcard4}'>${inner}</vcard>`);
const same = (one: Element, other: Element): void => assert.equal(serialize(parse(serialize(one))), serialize(other));

const a = `<x xmlns='urn:x' a='1'>t</x>`;

test('a list built from items has their meaning', () => {
  const lists = [
    '',
    `<conference jid='r@c'/>`,
    `<conference jid='r@c' name='&lt;R&gt;' autojoin='1'><nick>n</nick><password>p</password></conference>`,
    `<conference jid='r@c'>${a}<y/></conference><url url='u'/><conference/><conference jid='@'/><conference jid='r@c/n'/>`,
    `<conference jid='r@c'><extensions>${a}${a}</extensions></conference><conference jid='s@c'>${a}</conference>text`,
    `<conference jid='r@c' name='1'/><conference jid='R@C' name='2'/>`,
  ];
  for (const inner of lists)
    for (const items of [new Map<string, Element>(), new Map([['r@c', item(a, `autojoin='true' other='o'`)]])]) {
      const list = storage(inner);
      const { publish, retract } = differences(list, items);
      const after = new Map([...items, ...publish]);
      for (const id of retract) after.delete(id);
      assert.deepEqual(differences(list, after), { publish: new Map(), retract: [] }, inner);
      const collated = collate(list, after);
      assert.deepEqual(differences(collated, after), { publish: new Map(), retract: [] }, inner);
      same(collate(collated, after), parse(serialize(collated)));
    }
});

test('the last of two bookmarks of a room wins, and the item keeps its id', () => {
  const items = new Map([['R@c', item()]]);
  const { publish, retract } = differences(
    storage(`<conference jid='r@c' name='1'/><conference jid='r@C' name='2'/>`),
    items,
  );
  assert.deepEqual([[...publish.keys()], retract], [['R@c'], []]);
  assert.equal(publish.get('R@c')!.attrs.name, '2');
});

test('elements that an older client drops are kept, and its changes applied', () => {
  const before = item(
    `<nick>n</nick><password>p</password><extensions>${a}<y xmlns='urn:y'/></extensions><z xmlns='urn:z'/>`,
    `o='1'`,
  );
  const { publish } = differences(
    storage(
      `<conference jid='r@c' name='N'><nick>m</nick><x xmlns='urn:x'>new</x><z xmlns='urn:z' v='2'/></conference>`,
    ),
    new Map([['r@c', before]]),
  );
  same(
    publish.get('r@c')!,
    item(
      `<nick>m</nick><extensions><y xmlns='urn:y'/><x xmlns='urn:x'>new</x></extensions><z xmlns='urn:z' v='2'/>`,
      `o='1' name='N'`,
    ),
  );
});

test('an equivalent card is not changed', () => {
  const cards = [
    '',
    '<FN>  J  </FN><N/><NICKNAME/><TEL><NUMBER> 1 </NUMBER></TEL>',
    '<NOTE>n</NOTE><DESC>d</DESC><ORG><ORGUNIT>u</ORGUNIT></ORG>',
    '<ADR><DOM/><HOME/><STREET>a</STREET></ADR><ADR><WORK/></ADR><EMAIL><INTERNET/><PREF/><USERID>j@x</USERID></EMAIL>',
    '<PHOTO><TYPE>image/png</TYPE><BINVAL>\nAA\nAA</BINVAL></PHOTO><PHOTO><EXTVAL>http://x/</EXTVAL></PHOTO>',
    '<GEO><LAT>1</LAT></GEO><CATEGORIES/><KEY><TYPE>pgp</TYPE><CRED>c</CRED></KEY><AGENT><vCard/></AGENT>',
    `<FN xmlns='urn:other'>no</FN>text`,
  ];
  for (const inner of cards) {
    const card = temp(inner);
    const other = fourFrom(undefined, card);
    same(tempFrom(card, parse(serialize(other))), temp(inner.replace(/text$/, '')));
    same(fourFrom(parse(serialize(other)), card), parse(serialize(other)));
  }
  for (const inner of [
    '<fn><text>J</text></fn><n><surname>A</surname><surname>B</surname></n><lang><language-tag>en</language-tag></lang>',
    '<tel><parameters><type><text>WORK</text></type><pref>1</pref></parameters><text>1</text></tel><impp><uri>sip:x</uri></impp>',
    '<photo><uri>data:image/png;charset=x;base64,AA AA</uri></photo><photo/><nickname><text>a</text><text>b</text></nickname>',
    '<geo><uri>geo:1,2;u=3</uri></geo><key><uri>http://k/</uri></key><note><text/></note><related><uri>u</uri></related>',
  ]) {
    const card = four(inner);
    const other = tempFrom(undefined, card);
    same(fourFrom(card, parse(serialize(other))), card);
    same(tempFrom(parse(serialize(other)), card), parse(serialize(other)));
  }
});
