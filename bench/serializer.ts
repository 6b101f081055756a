/**
 * Cost of writing, µs of CPU: forwarding stanzas with a new header and their content as text, compared with ltx, which
 * serializes the whole tree; trees built with `el()`; escaping. Columns with "bytes" also write to a buffer, as a
 * socket does. `node dist/bench/serializer.js`
 */
import { escapeXML, escapeXMLText, Element as LtxElement, parse as ltxParse } from 'ltx';
import { Jid } from '../src/server/address/jid.js';
import { NS } from '../src/server/stanza/ns.js';
import { Stanza } from '../src/server/stanza/stanza.js';
import { type Child, type Element, el, escapeAttribute, escapeText, serialize } from '../src/server/xml/element.js';
import { costs } from './measure.js';

const out = Buffer.alloc(1 << 16);
const from = Jid.parse('juliet@example.com/balcony');
const to = Jid.parse('romeo@example.net/orchard');
const fixed = (microseconds: number): string => microseconds.toFixed(2);
const base64 = (length: number): string => Buffer.alloc(length, 'Zm9vYmFy').toString();

const chat = (body: string): string =>
  `<message xmlns='jabber:client' to='romeo@example.net' type='chat' id='b7c1a2f0-93d4-4e57-8a6b-0c1d2e3f4a5b' xml:lang='en'><body>${body}</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>`;
const keys = Array.from({ length: 8 }, (_, i) => `<key rid='${i * 987654 + 12345}'>${base64(220)}</key>`).join('');

const forwarded: Readonly<Record<string, string>> = {
  chat: chat('Wherefore art thou, Romeo? Deny thy father.'),
  'chat, Cyrillic': chat('О, Ромео, зачем же ты Ромео? Отринь отца.'),
  'presence, caps': `<presence xmlns='jabber:client' id='p1'><show>away</show><priority>5</priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://conversations.im' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/></presence>`,
  'OMEMO message': `<message xmlns='jabber:client' to='romeo@example.net' type='chat' id='m1'><encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1837263541'>${keys}<iv>${base64(16)}</iv></header><payload>${base64(180)}</payload></encrypted><store xmlns='urn:xmpp:hints'/></message>`,
};

const forwardedRows: Record<string, Record<string, string>> = {};
for (const [name, xml] of Object.entries(forwarded)) {
  const stanza = Stanza.parse(xml);
  const tree = ltxParse(xml);
  const { text, bytes, ltx } = costs({
    text: () => stanza.with({ from, to }).toXml(),
    bytes: () => out.write(stanza.with({ from, to }).toXml()),
    ltx: () => {
      tree.attrs.from = from.full;
      tree.attrs.to = to.full;
      out.write(tree.toString());
    },
  });
  forwardedRows[name] = {
    characters: String(xml.length),
    'µs, text': fixed(text),
    'µs, bytes': fixed(bytes),
    'ltx µs, bytes': fixed(ltx),
    'ltx ratio': (ltx / bytes).toFixed(1),
  };
}
console.log('Passed on under a new header');
console.table(forwardedRows);

/** The counterpart of `el` for ltx elements. */
function ltxEl(
  name: string,
  attributes?: Record<string, string> | null,
  ...children: (LtxElement | string)[]
): LtxElement {
  const element = new LtxElement(name, attributes ?? {});
  for (const child of children) typeof child === 'string' ? element.t(child) : element.cnode(child);
  return element;
}
type Make<E> = (name: string, attributes?: Record<string, string> | null, ...children: (E | string)[]) => E;
const ours: Make<Element> = (name, attributes, ...children: Child[]) => el(name, attributes, ...children);

const built: Readonly<Record<string, <E>(make: Make<E>) => E>> = {
  'stanza id': (make) => make('stanza-id', { xmlns: NS.stanzaId, id: '01k9ssjoq00001gd', by: 'juliet@example.com' }),
  'end of an archive page': (make) =>
    make(
      'fin',
      { xmlns: NS.mam, complete: 'true' },
      make('set', { xmlns: NS.rsm }, make('first', { index: '0' }, '28482-98726'), make('count', null, '50')),
    ),
  'disco, 50 features': (make) =>
    make(
      'query',
      { xmlns: NS.discoInfo },
      make('identity', { category: 'server', type: 'im', name: 'Waxwing' }),
      ...Array.from({ length: 50 }, (_, i) => make('feature', { var: `urn:xmpp:feature:${i}` })),
    ),
  'roster of 100': (make) =>
    make(
      'query',
      { xmlns: NS.roster, ver: 'ver14' },
      ...Array.from({ length: 100 }, (_, i) =>
        make(
          'item',
          { jid: `contact${i}@example${i % 7}.net`, name: `Contact & ${i}`, subscription: 'both' },
          make('group', null, 'Friends'),
        ),
      ),
    ),
};

const trees: Record<string, Record<string, string>> = {};
for (const [name, build] of Object.entries(built)) {
  const element = build(ours);
  const tree = build<LtxElement>(ltxEl);
  const taken = costs({
    written: () => out.write(serialize(element, NS.client)),
    ltx: () => out.write(tree.toString()),
    built: () => out.write(serialize(build(ours), NS.client)),
    ltxBuilt: () => out.write(build<LtxElement>(ltxEl).toString()),
    stanza: () => out.write(Stanza.build('iq', { from, to, type: 'result', id: 'a1' }, build(ours)).toXml()),
  });
  trees[name] = {
    characters: String(serialize(element, NS.client).length),
    'µs, written': fixed(taken.written),
    'ltx µs, written': fixed(taken.ltx),
    'ltx ratio': (taken.ltx / taken.written).toFixed(1),
    'µs, built and written': fixed(taken.built),
    'ltx µs, built and written': fixed(taken.ltxBuilt),
    'µs, as a stanza': fixed(taken.stanza),
  };
}
console.log('Trees');
console.table(trees);

const texts: Readonly<Record<string, string>> = {
  'plain, 50': 'Wherefore art thou, Romeo? Deny thy father, refuse.',
  'plain, 1,000': 'Wherefore art thou Romeo '.repeat(40),
  'Cyrillic, 1,000': 'О, Ромео, зачем же ты Ромео '.repeat(36),
  'one & in 1,000': `${'Wherefore art thou Romeo '.repeat(20)}&${'Deny thy father, refuse. '.repeat(20)}`,
  '40 of <>& in 1,000': 'if (a < b && c > d) f(a); '.repeat(10).padEnd(1000, ' plain text of a program'),
  'one emoji in 1,000': `${'Wherefore art thou Romeo '.repeat(20)}\u{1f339}${'Deny thy father, refuse. '.repeat(20)}`,
};

const escapes: Record<string, Record<string, string>> = {};
for (const [name, text] of Object.entries(texts)) {
  let length = 0;
  const taken = costs({
    text: () => (length += escapeText(text).length),
    attribute: () => (length += escapeAttribute(text).length),
    ltxText: () => (length += escapeXMLText(text).length),
    ltxAttribute: () => (length += escapeXML(text).length),
  });
  escapes[name] = {
    'text µs': fixed(taken.text),
    'ltx text ratio': (taken.ltxText / taken.text).toFixed(1),
    'attribute µs': fixed(taken.attribute),
    'ltx attribute ratio': (taken.ltxAttribute / taken.attribute).toFixed(1),
  };
}
console.log('Escaping');
console.table(escapes);
