/**
 * The reader against saxes, on modified stanzas. What the reader accepts, saxes accepts with the same tree; what only
 * the reader refuses is refused for one of the reasons in `allowances`. Chunk boundaries change nothing, and written
 * elements are read back. SEED and ROUNDS in the environment repeat and extend a run.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SaxesParser } from 'saxes';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { childrenOf, el, elementOf, parse, serialize } from '../../src/server/xml/element.js';
import { type ReaderLimits, type StreamItem, XmlError, XmlReader } from '../../src/server/xml/reader.js';
import { addText, isName, type Tree, treeOf } from '../strict.js';

const SEED = Number(process.env.SEED ?? 1);
const ROUNDS = Number(process.env.ROUNDS ?? 8000);
const LIMITS: ReaderLimits = { stanzaBytes: 4000, depth: 12, attributes: 12, nameLength: 60 };

const HEADERS = [
  `<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:p='urn:outer' to='example.net' version='1.0'>`,
  `<stream xmlns='http://etherx.jabber.org/streams' xmlns:c='jabber:client' xmlns:p='urn:outer'>`,
];

const CORPUS = [
  `<message to='romeo@example.net/orchard' type='chat' id='ktx72v49' xml:lang='en'><body>Art thou not Romeo, &amp; a Montague?</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>`,
  `<message xmlns='jabber:client' from="a'b@example.net" id='x"y'><body>ö€\u{1f600} &#x1F600;&#10;&lt;</body>\r\n<x xmlns='jabber:x:oob'><url>https://example.net/?a=1&amp;b=2</url></x></message>`,
  `<presence><show>away</show><priority>5</priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://example.net' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/></presence>`,
  `<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='a@b' name='A&#9;B'><group>F</group></item></query></iq>`,
  `<iq type='set' id='2'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='n'><item id='i'><a:entry xmlns:a='urn:a' a:x='1' x='2'><a:b/><c xmlns=''/></a:entry></item></publish></pubsub></iq>`,
  `<message><p:ext p:a='1' b='2'><inner p:c="3"><deep/></inner></p:ext><body>leans</body></message>`,
  `<c:message xmlns:c='jabber:client' c:own='1'><c:body>prefixed</c:body><body>not</body></c:message>`,
  `<message><![CDATA[a<b]]><body><![CDATA[<not>&markup;]]]]></body></message>`,
  `<a xmlns='u1' xmlns:b='u2' b:c='1' c='2'><b:d xmlns:b='u3' b:e='f'/><d xmlns='u1' xml:space='preserve'/> text </a>`,
  `<r xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3' h='17' />\n<enable\txmlns="urn:xmpp:sm:3"\nresume = 'true'></enable >`,
  `<é:ñame xmlns:é='urn:é' à='ü'><é:b é:c='d'/>text</é:ñame>`,
];

const TOKENS = [
  ...`< > / " ' = & ; : ! ? ] ]] ]]> - . 0 a`.split(' '),
  ...`&amp; &lt; &#x0; &#9; &#10; &#xD800; &#65; &#x10FFFF; &#xFFFE; &nbsp; &amp &; &#; &#x; &a:b;`.split(' '),
  ...`<a> </a> <a/> <a:b/> </message> <body> </body> <![CDATA[ <![CDATA[]]> <!-- --> <!----> <? ?> <?a?> <!DOCTYPE <!`.split(
    ' ',
  ),
  ` xmlns=''`,
  ` xmlns='urn:x'`,
  ` xmlns='jabber:client'`,
  ` xmlns:p='urn:x'`,
  ` xmlns:q='urn:outer' q:a='1' p:a='2'`,
  ` xmlns:a=''`,
  ` xmlns:xml='http://www.w3.org/XML/1998/namespace'`,
  ` xmlns:a='http://www.w3.org/XML/1998/namespace'`,
  ` xmlns='http://www.w3.org/2000/xmlns/'`,
  ` xmlns:xmlns='a'`,
  ` xml:lang='de'`,
  ` a='1'`,
  ` a="1" a='2'`,
  ` p:a='<'`,
  'p:',
  'xml:',
  'xmlns:',
  '<p:a>',
  '</p:a>',
  '<xml:a/>',
  '<p:stream/>',
  "<stream xmlns='http://etherx.jabber.org/streams'/>",
  '\t',
  '\r\n',
  '\r',
  ' ',
  '\0',
  '\x01',
  '\x7f',
  '\x85',
  'é',
  '€',
  '\u{1f600}',
  '\u{effff}',
  '\ufffe',
  '\uffff',
  '\ufeff',
  '\u00b7',
  '\u00d7',
  '\u2028',
  'a'.repeat(70),
  ' b="c"'.repeat(13),
].map((token) => Buffer.from(token));
const BROKEN = ['c3', 'e282', 'f09f98', 'eda080', 'c080', 'f8888080', 'f4908080', 'ff', '80', 'efbfbe', 'e08080'].map(
  (hex) => Buffer.from(hex, 'hex'),
);

/** Mulberry32. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

type Random = ReturnType<typeof random>;

function pick<T>(from: readonly T[], rnd: Random): T {
  return from[rnd(from.length)]!;
}

function tamper(bytes: Buffer, rnd: Random): Buffer {
  const at = rnd(bytes.length + 1);
  const to = Math.min(bytes.length, at + 1 + rnd(rnd(8) === 0 ? 60 : 4));
  const put = (middle: Buffer, from: number, until: number) =>
    Buffer.concat([bytes.subarray(0, from), middle, bytes.subarray(until)]);
  switch (rnd(9)) {
    case 0:
      return put(Buffer.alloc(0), at, to);
    case 1:
      return put(Buffer.of(rnd(256)), at, Math.min(at + 1, bytes.length));
    case 2:
      return put(pick(BROKEN, rnd), at, at);
    case 3:
      return put(bytes.subarray(rnd(at + 1), at), at, at);
    case 4: {
      const other = Buffer.from(pick(CORPUS, rnd));
      const from = rnd(other.length);
      return put(other.subarray(from, from + rnd(80)), at, to);
    }
    case 5: {
      // At a place where markup begins or ends: there most mutants live on.
      const places = [...bytes.keys()].filter((i) => '<> ='.includes(String.fromCharCode(bytes[i]!)));
      const place = places.length === 0 ? 0 : pick(places, rnd) + rnd(2);
      return put(pick(TOKENS, rnd), place, place);
    }
    case 6:
      return put(pick(TOKENS, rnd), at, to);
    default:
      return put(pick(TOKENS, rnd), at, at);
  }
}

interface Verdict {
  readonly error?: string | undefined;
  readonly trees: readonly Tree[];
  /** Parts of the document that a stream must not have, or has too many of. */
  readonly allowances: ReadonlySet<string>;
}

/** What saxes makes of a document: the trees of the root's children (`inside`), or of the root. */
function bySaxes(bytes: Buffer, inside: boolean): Verdict {
  const allowances = new Set<string>();
  const trees: Tree[] = [];
  const open: Tree[] = [];
  const top = inside ? 1 : 0;
  let prefixes = 0;
  let error: string | undefined;
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    const parser = new SaxesParser({ xmlns: true, position: false });
    parser.on('error', (problem) => {
      throw problem;
    });
    parser.on('opentag', ({ uri, prefix, local, attributes }) => {
      const attrs: [string, string][] = [];
      for (const a of Object.values(attributes)) {
        // saxes trims namespaces; we refuse such white space.
        if (a.uri === 'http://www.w3.org/2000/xmlns/' && a.value.trim() !== a.value) allowances.add('not-well-formed');
        if (a.uri !== 'http://www.w3.org/2000/xmlns/') attrs.push([`${a.local} ${a.uri}`, a.value]);
        else if (a.value.length > 256) allowances.add('policy-violation');
        if (a.prefix === 'xmlns') prefixes++;
        // XML-NAMES §2.2 and §4 forbid what saxes lets pass here.
        if (a.prefix === 'xmlns' && a.value === '') allowances.add('not-well-formed');
        if (!isName(a.local) || !isName(a.prefix || 'a')) allowances.add('not-well-formed');
        if (Buffer.byteLength(a.name) > LIMITS.nameLength!) allowances.add('policy-violation');
      }
      if (Object.keys(attributes).length > LIMITS.attributes || prefixes > LIMITS.attributes)
        allowances.add('policy-violation');
      if (!isName(local) || !isName(prefix || 'a')) allowances.add('not-well-formed');
      if (prefix === 'xml') allowances.add('bad-namespace-prefix');
      if (Buffer.byteLength(local) + prefix.length + 1 > LIMITS.nameLength!) allowances.add('policy-violation');
      if (open.length - top >= LIMITS.depth) allowances.add('policy-violation');
      if (inside && open.length === 1 && local === 'stream' && uri === 'http://etherx.jabber.org/streams') {
        allowances.add('bad-format');
      }
      const tree: Tree = [uri, local, attrs.sort()];
      if (open.length === top) trees.push(tree);
      else open.at(-1)?.push(tree);
      open.push(tree);
    });
    parser.on('closetag', () => {
      open.pop();
    });
    parser.on('text', (data) => {
      if (open.length > top) addText(open.at(-1)!, data);
      else if (/[^ \t\r\n]/.test(data)) allowances.add('bad-format');
    });
    parser.on('cdata', (data) => {
      if (open.length > top) addText(open.at(-1)!, data);
      else allowances.add('bad-format');
    });
    // A framed message has nothing after its element.
    const refused = () =>
      allowances.add('restricted-xml').add(trees.length > 0 && !inside ? 'bad-format' : 'restricted-xml');
    parser.on('comment', refused);
    parser.on('processinginstruction', refused);
    parser.on('doctype', () => allowances.add('restricted-xml'));
    if (/&#[^;]{14}/.test(text) || bytes.length > LIMITS.stanzaBytes) allowances.add('policy-violation');
    // A reference to white space between stanzas is no white space (XML 1.0 §2.10); saxes does not tell them apart.
    if (text.includes('&#')) allowances.add('bad-format');
    parser.write(text).close();
  } catch (problem) {
    error = (problem as Error).message;
  }
  return { error, trees, allowances };
}

interface Reading {
  readonly items: readonly StreamItem[];
  readonly error?: XmlError | undefined;
}

/** Reads the bytes in chunks of the sizes from `cut`. */
function read(mode: 'stream' | 'framed', bytes: Buffer, cut: () => number): Reading {
  const reader = new XmlReader(mode, LIMITS);
  const items: StreamItem[] = [];
  try {
    for (let at = 0; at < bytes.length; ) {
      const size = cut();
      // A copy that is overwritten afterwards: nothing may hang on to the chunk once it asks for more.
      const chunk = Buffer.from(bytes.subarray(at, at + size));
      at += size;
      reader.push(chunk);
      for (let item = reader.next(); item !== undefined; item = reader.next()) items.push(item);
      chunk.fill(0x21);
    }
    return { items };
  } catch (error) {
    if (error instanceof XmlError) return { items, error };
    throw error;
  }
}

/** The index of a stanza matches its tree. */
function checkStanza(stanza: Stanza): void {
  const children = childrenOf(parse(stanza.toXml(NS.client)));
  const names = children.map((child) => ({ ns: child.getNS(), name: child.name }));
  assert.deepEqual(stanza.childNames(), names);
  assert.deepEqual(stanza.children().map(treeOf), children.map(treeOf));
  for (const { ns, name } of stanza.childNames()) {
    const first = children.find((child) => child.is(name, ns) && child.getNS() === ns)!;
    assert.equal(stanza.text(ns, name), first.getText());
    const rest = stanza.without(ns, name).plus(el('end', { xmlns: 'urn:end' }, 'ö'));
    const stored = names.filter((other) => other.ns !== ns || other.name !== name);
    assert.deepEqual(rest.childNames(), [...stored, { ns: 'urn:end', name: 'end' }]);
    assert.deepEqual(Stanza.parse(rest.toXml(NS.client)).childNames(), rest.childNames());
  }
}

function check(bytes: Buffer, header: string, rnd: Random): 'accepted' | 'refused' {
  const inside = header !== '';
  const mode = inside ? 'stream' : 'framed';
  const document = inside
    ? Buffer.concat([
        Buffer.from(header),
        bytes,
        Buffer.from(header.includes('stream:stream') ? '</stream:stream>' : '</stream>'),
      ])
    : bytes;
  const whole = read(mode, document, () => document.length);

  if (inside) {
    for (const cut of [() => 1, () => 1 + rnd(40)]) {
      const again = read(mode, document, cut);
      assert.equal(JSON.stringify(again.items), JSON.stringify(whole.items));
      assert.equal(again.error?.message, whole.error?.message);
    }
  }

  const elements = whole.items.filter((item) => item.kind === 'element');
  for (const top of elements) {
    const element = elementOf(top);
    const tree = JSON.stringify(treeOf(element));
    // Self-contained content has the same meaning for others.
    const alone = bySaxes(Buffer.from(serialize(element)), false);
    assert.equal(alone.error, undefined);
    assert.equal(JSON.stringify(alone.trees[0]), tree);
    const shell = `<x xmlns="${top.ns
      .replace(/&/g, '&amp;')
      .replace(/</g, '&lt;')
      .replace(/"/g, '&quot;')
      .replace(/\s/g, (c) => `&#${c.charCodeAt(0)};`)}">`;
    const carried = bySaxes(Buffer.from(`${shell}${top.content}</x>`), false);
    assert.equal(carried.error, undefined);
    assert.equal(JSON.stringify(carried.trees[0]!.slice(3)), JSON.stringify(treeOf(element).slice(3)));
    assert.equal(JSON.stringify(treeOf(parse(serialize(element)))), tree);
    checkStanza(Stanza.fromTopLevel({ ...top, name: 'message', attrs: {} }));
  }

  // The stream ended before the document: the rest is ignored.
  if (inside && whole.items.at(-1)?.kind === 'close' && bytes.includes('</stream')) return 'accepted';
  const theirs = bySaxes(document, inside);
  if (whole.error === undefined && (!inside || whole.items.at(-1)?.kind === 'close')) {
    assert.equal(theirs.error, undefined, 'we accept what saxes refuses');
    assert.equal(JSON.stringify(elements.map((top) => treeOf(elementOf(top)))), JSON.stringify(theirs.trees));
    return 'accepted';
  }
  if (theirs.error === undefined) {
    assert.ok(whole.error !== undefined, 'saxes has all it needs, we wait');
    assert.ok(theirs.allowances.has(whole.error.condition), `saxes accepts, we say ${whole.error.message}`);
  }
  return 'refused';
}

test('modified stanzas are read like saxes reads them, or refused', () => {
  const rnd = random(SEED);
  const seen = { accepted: 0, refused: 0 };
  for (const header of [...HEADERS, '']) {
    for (const xml of CORPUS) {
      if (header === '' && (xml.includes('p:') || xml.includes('/><'))) continue;
      check(Buffer.from(xml), header, rnd);
    }
  }
  for (let round = 0; round < ROUNDS; round++) {
    let bytes = Buffer.from(pick(CORPUS, rnd));
    for (let times = 1 + rnd(3); times > 0; times--) bytes = Buffer.from(tamper(bytes, rnd));
    const header = rnd(4) === 0 ? '' : pick(HEADERS, rnd);
    try {
      seen[check(bytes, header, rnd)]++;
    } catch (error) {
      (error as Error).message +=
        `\nSEED=${SEED}, round ${round}: ${header}${JSON.stringify(bytes.toString('latin1'))}`;
      throw error;
    }
  }
  // Both sides have to be met often enough for the run to mean something.
  assert.ok(seen.accepted > ROUNDS / 20 && seen.refused > ROUNDS / 20, JSON.stringify(seen));
});
