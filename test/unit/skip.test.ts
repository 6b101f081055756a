/** Elements that exceed a limit of a reader are skipped, and what follows them is read. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ReaderLimits, type StreamItem, XmlError, XmlReader } from '../../src/server/xml/reader.js';

const limits: ReaderLimits = { stanzaBytes: 300, depth: 4, attributes: 6, elements: 10, skippedBytes: 4000 };
const header = `<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:x='urn:x'>`;
const after = `<message id='after'><body>ü</body></message>`;

/** The items of a stream that arrives in chunks of `size` bytes. */
function read(content: string, size: number, given = limits): StreamItem[] {
  const reader = new XmlReader('stream', given);
  const bytes = Buffer.from(header + content);
  const items: StreamItem[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    reader.push(Buffer.from(bytes.subarray(at, at + size)));
    for (let item = reader.next(); item !== undefined; item = reader.next()) items.push(item);
  }
  return items.slice(1);
}

const errorOf = (content: string, given = limits): string => {
  try {
    read(content, 7, given);
  } catch (error) {
    if (error instanceof XmlError) return error.condition;
    throw error;
  }
  return 'none';
};

const many = (count: number, name: string): string => `<${name}/>`.repeat(count);
const attributes = (count: number): string => Array.from({ length: count }, (_, n) => `a${n}='${n}'`).join(' ');

/** What stands between the tags, and why the element is skipped. */
const contents: readonly (readonly [what: string, content: string, reason: RegExp])[] = [
  ['depth', '<a><b><c><d/></c></b></a>', /nested/],
  ['depth, with other end tags', '<a><b><c><d ></d\n></c></b></a >', /nested/],
  ['elements', many(12, 'a'), /elements/],
  ['attributes', `<a ${attributes(7)}/>`, /attributes/],
  ['bytes', 'ü'.repeat(200), /bytes/],
  ['bytes of markup', '<a>t</a>'.repeat(50), /bytes|elements/],
  ['quotes and markup in values', `<a b='>/"' c=">'/>"/>${many(12, `a b='/>"' c="'>"`)}`, /bytes|elements/],
  ['CDATA', `<a><![CDATA[</message>]]]]><![CDATA[>]]></a><a><![CDATA[]>]]></a>${many(12, 'a')}`, /elements/],
  ['a rewritten element', `<a><![CDATA[${'&'.repeat(100)}]]></a>`, /bytes/],
  ['a name', `<${'n'.repeat(260)}/>`, /name|bytes/],
];

for (const [what, content, reason] of contents)
  test(`an element is skipped: ${what}`, () => {
    const whole = `<message from='a@b' to='c@d' xml:lang='de'>${content}</message>`;
    for (let size = 1; size <= 400; size += size < 20 ? 1 : 37) {
      const items = read(`${whole} ${whole}${after}`, size);
      assert.equal(items.length, 3, `chunks of ${size}`);
      for (const item of items.slice(0, 2)) {
        assert.ok(item.kind === 'element');
        assert.deepEqual(
          [item.name, item.ns, item.attrs, item.content, item.children],
          ['message', 'jabber:server', { from: 'a@b', to: 'c@d', 'xml:lang': 'de' }, '', []],
        );
        assert.match(item.excess ?? '', reason);
      }
      const [, , last] = items;
      assert.ok(last?.kind === 'element' && last.excess === undefined);
      assert.deepEqual([last.attrs, last.content], [{ id: 'after' }, '<body>ü</body>']);
    }
  });

test('the start tag itself exceeds a limit: nothing is known of the element', () => {
  for (const tag of [`<message ${attributes(7)}`, `<message to='${'x'.repeat(400)}'`])
    for (const end of ['/>', '>text</message>', ' ></message >'])
      for (const size of [1, 3, 50, 1000]) {
        const items = read(tag + end + after, size);
        assert.deepEqual(
          items.map(
            (item) => item.kind === 'element' && [item.name, item.ns, item.attrs.id, item.excess !== undefined],
          ),
          [
            ['', '', undefined, true],
            ['message', 'jabber:server', 'after', false],
          ],
        );
      }
});

test('a prefix that the header declares', () => {
  const [item] = read(`<x:message>${many(12, 'a')}</x:message>`, 9);
  assert.ok(item?.kind === 'element');
  assert.deepEqual([item.name, item.ns], ['message', 'urn:x']);
});

test('an element that is far too long ends the stream', () => {
  assert.equal(errorOf(`<message>${'x'.repeat(3900)}</message>${after}`), 'none');
  assert.equal(errorOf(`<message>${'x'.repeat(5000)}</message>`), 'policy-violation');
  assert.equal(errorOf(`<message a='${'x'.repeat(5000)}'/>`), 'policy-violation');
});

test('other errors end the stream, and so do limits of streams that skip nothing', () => {
  assert.equal(errorOf('<message><a></message>'), 'not-well-formed');
  assert.equal(errorOf(`<message>${many(12, 'a')}<?pi?></message>`), 'restricted-xml');
  assert.equal(errorOf(`<message>${many(12, 'a')}<!-- --></message>`), 'restricted-xml');
  assert.equal(
    errorOf(`<message>${many(12, 'a')}</message>`, { ...limits, skippedBytes: undefined }),
    'policy-violation',
  );
});
