import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from '../../src/server/xml/element.js';
import {
  type ReaderLimits,
  type StreamItem,
  type StreamOpen,
  type TopLevel,
  XmlError,
  XmlReader,
} from '../../src/server/xml/reader.js';

const LIMITS: ReaderLimits = { stanzaBytes: 10_000, depth: 100, attributes: 100 };
const STREAM = 'http://etherx.jabber.org/streams';
const HEADER = `<stream:stream xmlns='jabber:client' xmlns:stream='${STREAM}' to='example.net' version='1.0'>`;

function pull(reader: XmlReader): StreamItem[] {
  const items: StreamItem[] = [];
  for (let item = reader.next(); item !== undefined; item = reader.next()) items.push(item);
  return items;
}

function feed(reader: XmlReader, text: string | Buffer, size = Number.POSITIVE_INFINITY): StreamItem[] {
  const bytes = Buffer.from(text);
  const items: StreamItem[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    reader.push(bytes.subarray(at, Math.min(bytes.length, at + size)));
    items.push(...pull(reader));
  }
  return items;
}

/** A reader after a stream header. */
function opened(limits = LIMITS, header = HEADER): XmlReader {
  const reader = new XmlReader('stream', limits);
  assert.equal(feed(reader, header)[0]?.kind, 'open');
  return reader;
}

function conditionOf(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    assert.ok(error instanceof XmlError, String(error));
    return error.condition;
  }
  return 'accepted';
}

function only(items: StreamItem[]): TopLevel {
  assert.equal(items.length, 1);
  const top = items[0]!;
  assert.ok(top.kind === 'element');
  return top;
}

test('the stream header is read with its declarations', () => {
  for (const size of [1, 1000]) {
    const reader = new XmlReader('stream', LIMITS);
    const text = `\ufeff<?xml version='1.0' encoding="utf-8" ?>\n${HEADER.replace('>', " from='a&amp;b' xml:lang='en' xmlns:db='jabber:server:dialback' db:x='1'>")}`;
    const open = feed(reader, text, size)[0] as StreamOpen;
    assert.deepEqual(open, {
      kind: 'open',
      name: 'stream',
      ns: STREAM,
      prefix: 'stream',
      attrs: {
        to: 'example.net',
        from: 'a&b',
        'xml:lang': 'en',
        version: '1.0',
        'db:x': '1',
        'xmlns:db': 'jabber:server:dialback',
      },
      defaultNs: 'jabber:client',
      prefixes: { stream: STREAM, db: 'jabber:server:dialback' },
    });
  }
});

test('a header without prefix is a header', () => {
  const open = feed(new XmlReader('stream', LIMITS), `<stream xmlns='${STREAM}'>`)[0] as StreamOpen;
  assert.equal(open.prefix, undefined);
  assert.equal(open.ns, STREAM);
  assert.equal(open.defaultNs, STREAM);
});

test('invalid input before a header', () => {
  const cases: [string, string][] = [
    ['GET / HTTP/1.1\r\n', 'not-well-formed'],
    ['\x16\x03\x01', 'not-well-formed'],
    ["<?xml version='1.1'?>", 'not-well-formed'],
    ['<?xml ?>', 'not-well-formed'],
    ["<?xml encoding='UTF-8'?>", 'not-well-formed'],
    ["<?xml version='1.0' encoding='ISO-8859-1'?>", 'unsupported-encoding'],
    ["<?xml version='1.0' encoding='UTF-16'?>", 'unsupported-encoding'],
    [` <?xml version='1.0'?>`, 'restricted-xml'],
    [`<?xml version='1.0'?><?xml version='1.0'?>`, 'restricted-xml'],
    [`<?xml version='1.0'${' '.repeat(300)}?>`, 'not-well-formed'],
    ["<?xml-stylesheet href='a'?>", 'restricted-xml'],
    ['<?php', 'restricted-xml'],
    ['<!DOCTYPE stream', 'restricted-xml'],
    ['<!-- hello', 'restricted-xml'],
    ['<![CDATA[ ]]>', 'not-well-formed'],
    ['</stream:stream>', 'not-well-formed'],
    ['<stream:stream>', 'bad-namespace-prefix'],
    [`\ufeff\ufeff${HEADER}`, 'not-well-formed'],
  ];
  for (const [text, condition] of cases) {
    for (const size of [1, 1000]) {
      const reader = new XmlReader('stream', LIMITS);
      assert.equal(
        conditionOf(() => feed(reader, text, size)),
        condition,
        text,
      );
    }
  }
});

test('invalid stanzas', () => {
  const cases: [condition: string, ...texts: string[]][] = [
    [
      'restricted-xml',
      '<!DOCTYPE a [<!ENTITY b "c">]>',
      '<!-- -->',
      '<m><!-- --></m>',
      '<m><!ELEMENT</m>',
      '<?a?>',
      '<m><?a b?></m>',
      "<?xml version='1.0'?>",
      '<m>&nbsp;</m>',
      '<m>&a:b;</m>',
      "<m a='&lol;'/>",
      `<m>&${'a'.repeat(40)}`,
      '<m>&é;</m>',
    ],
    ['bad-format', 'text', '<a/>text<b/>', '<a/>&#32;<b/>', '<![CDATA[]]>', HEADER, `<stream xmlns='${STREAM}'/>`, 'é'],
    [
      'not-well-formed',
      // XML 1.0 §2.2, §4.1
      '\0',
      '<m>\0</m>',
      '<m>\x1f</m>',
      '<m>\ufffe</m>',
      '<m>\uffff</m>',
      "<m a='\x08'/>",
      '<m><![CDATA[\x08]]></m>',
      '<m>&#0;</m>',
      '<m>&#8;</m>',
      '<m>&#xD800;</m>',
      '<m>&#xFFFE;</m>',
      '<m>&#x110000;</m>',
      '<m>&#;</m>',
      '<m>&#x;</m>',
      '<m>&#1a;</m>',
      '<m>&#X41;</m>',
      '<m>& </m>',
      '<m>&;</m>',
      '<m>&amp </m>',
      '<m>&1;</m>',
      "<m a='& '/>",
      // §2.4
      '<m>]]></m>',
      '<m>]]]></m>',
      // §3, §3.1
      '<m></n>',
      '<m></mm>',
      '<mm></m>',
      '<m></m x>',
      '<m><n></m></n>',
      '</m>',
      '<m/ >',
      '< m/>',
      '<m><></m>',
      '<1/>',
      '<-a/>',
      '<m\u00b7/><\u00b7m/>',
      '<m\u00d7/>',
      // names of the fifth edition only
      '<m€/>',
      '<\ufeffm/>',
      "<m \u{1f600}='1'/>",
      '<m a/>',
      '<m a=/>',
      '<m a=b/>',
      '<m a="b\'/><n c="d"/>',
      '<m a="<"/>',
      "<m a='1'b='2'/>",
      "<m a='1' a='1'/>",
      "<m ab='1' c='2' ab='3'/>",
      "<m 1='a'/>",
      '<m "a"/>',
      '<m><![cdata[]]></m>',
      '<m><![CDATA]]></m>',
      '<m><!></m>',
      // XML-NAMES §2-6
      '<a:b:c/>',
      '<:a/>',
      '<a:/>',
      '<a:1/>',
      "<m a:='1'/>",
      "<m :a='1'/>",
      "<m xmlns:='u'/>",
      "<m xmlns:1='u'/>",
      "<m xmlns:a=''/>",
      "<m xmlns:xmlns='u'/>",
      "<m xmlns:xml='u'/>",
      "<m xmlns:a='http://www.w3.org/XML/1998/namespace'/>",
      "<m xmlns='http://www.w3.org/XML/1998/namespace'/>",
      "<m xmlns='http://www.w3.org/XML/1998/namespac&#101;'/>",
      "<m xmlns:a='http://www.w3.org/2000/xmlns/'/>",
      "<m xmlns='http://www.w3.org/2000/xmlns/'/>",
      "<m xmlns:a='u' xmlns:b='u' a:c='1' b:c='2'/>",
      "<m xmlns:a='a&amp;b' xmlns:b='a&#38;b' a:c='1' b:c='2'/>",
      "<m xmlns=' u'/>",
      "<m xmlns:a='u&#9;'/>",
      "<m xmlns='\u00a0u'/>",
      // RFC 6120 §4.4
      '</stream>',
      '</stream:streams>',
      '</stream:stream x>',
    ],
    ['bad-namespace-prefix', '<a:m/>', "<m a:b='1'/>", "<m><n xmlns:a='u'/><a:b/></m>", '<xmlns:m/>', '<xml:m/>'],
  ];
  for (const [condition, ...texts] of cases) {
    for (const text of texts) {
      for (const size of [1, 3, 1000]) {
        assert.equal(
          conditionOf(() => feed(opened(), text, size)),
          condition,
          JSON.stringify(text),
        );
      }
    }
  }
});

test('only valid UTF-8 is accepted, in text, attributes and names', () => {
  const bad =
    'c080 c1bf 80 bf c3 c328 e08080 e09fbf eda080 edbfbf e282 e28228 efbfbe efbfbf f0808080 f08fbfbf f09f98 f4908080 f5808080 f8 ff';
  for (const hex of bad.split(' ')) {
    const bytes = Buffer.from(hex, 'hex');
    for (const [before, after] of [
      ['<m>', '</m>'],
      ["<m a='", "'/>"],
      ['<m><![CDATA[', ']]></m>'],
      ['<a', '/>'],
      ['<', '/>'],
      ['<m a', "='1'/>"],
    ] as const) {
      for (const size of [1, 1000]) {
        const text = Buffer.concat([Buffer.from(before), bytes, Buffer.from(after)]);
        assert.equal(
          conditionOf(() => feed(opened(), text, size)),
          'not-well-formed',
          `${before}${hex}`,
        );
      }
    }
  }
});

test('all XML characters are accepted, however they are split', () => {
  const text = '\t\n \x7f\x80\x85\u07ff\u0800\u2028\ud7ff\ue000\ufffd\u{10000}\u{1ffff}\u{10ffff}ö€';
  for (const size of [1, 2, 3, 5, 1000]) {
    const top = only(feed(opened(), `<m a='${text.slice(2)}' b='2'><b>${text}</b><c xmlns='ö'>${text}</c></m>`, size));
    assert.equal(top.attrs.a, text.slice(2));
    assert.equal(top.attrs.b, '2');
    assert.equal(top.content, `<b>${text}</b><c xmlns='ö'>${text}</c>`);
    const [start, end, name, ns, length] = top.children.slice(5);
    assert.equal(top.content.slice(start, end), `<c xmlns='ö'>${text}</c>`);
    assert.equal(top.content.slice(ns, ns! + length!), 'ö');
    assert.equal(name, 1);
  }
});

test('the index locates children, whatever the width of earlier characters', () => {
  const wide = 'aé漢';
  const value = `${wide}\u{1f600}`;
  const contents = [
    `<${wide}></${wide}>`,
    `<${wide}/>`,
    `<${wide} ${wide}='${value}'>${value}</${wide} >`,
    `<a><${wide}>${value}<${wide}></${wide}></${wide}\n></a>`,
    `<${wide} xmlns='${value}'><b xmlns:${wide}='${value}'><${wide}:${wide} ${wide}:a='1'></${wide}:${wide}></b></${wide}>`,
    `<${wide}:${wide} xmlns:${wide}='${value}'></${wide}:${wide}>`,
    `<a><![CDATA[${value}]]></a>`,
    value,
  ];
  for (const content of contents) {
    for (const [start, end] of [
      ['<m>', '</m>'],
      [`<m ${wide}='${value}'>`, '</m>'],
      [`<${wide}>`, `</${wide}>`],
      [`<${wide}:m xmlns='jabber:client' xmlns:${wide}='jabber:client'>`, `</${wide}:m >`],
    ]) {
      for (const size of [1, 2, 3, 5, 1000]) {
        const reader = opened();
        const top = only(feed(reader, `${start}${content}<z xmlns='urn:z'>${content}</z><b/>${end}`, size));
        assert.ok(top.content.endsWith('</z><b/>'), top.content);
        const children: string[] = [];
        for (let at = 0; at < top.children.length; at += 5) {
          const [from, to, name, ns, length] = top.children.slice(at, at + 5);
          const child = top.content.slice(from, to);
          assert.match(child, /^<.*>$/s);
          const local = child.slice(1, 1 + name!);
          assert.ok([wide, 'a', 'b', 'z'].includes(local) && /[ />]/.test(child[1 + name!]!), child);
          assert.ok(child.endsWith('/>') || child.trimEnd().replace(/\s+>$/, '>').endsWith(`</${local}>`), child);
          if (ns !== -1) assert.ok([value, 'urn:z'].includes(top.content.slice(ns, ns! + length!)), child);
          children.push(local);
        }
        assert.deepEqual(children.slice(-2), ['z', 'b']);
        assert.equal(children.length, content === value ? 2 : 3);
        assert.equal(only(feed(reader, '<next/>', size)).name, 'next');
      }
    }
  }
});

test('the header of a stanza is unescaped, its content unchanged', () => {
  const xml = `<message\n to = "a@b/'c'"\r\n\tid='&lt;&#x41;&#9;\t\r\n&quot;' xml:lang='en' other='x'  ><body a="1" >&lt;\r\n</body> <x xmlns='u'/></message\n>`;
  for (const size of [1, 7, 1000]) {
    assert.deepEqual(only(feed(opened(), xml, size)), {
      kind: 'element',
      name: 'message',
      ns: 'jabber:client',
      attrs: { to: "a@b/'c'", id: '<A\t  "', 'xml:lang': 'en', other: 'x' },
      content: `<body a="1" >&lt;\r\n</body> <x xmlns='u'/>`,
      children: [0, 26, 4, -1, 0, 27, 41, 1, 37, 1],
    });
  }
});

test('an empty stanza has neither content nor children', () => {
  for (const xml of ['<iq/>', '<iq></iq>', "<iq xmlns='jabber:client' />"]) {
    const top = only(feed(opened(), xml));
    assert.equal(top.name, 'iq');
    assert.equal(top.ns, 'jabber:client');
    assert.equal(top.content, '');
    assert.deepEqual(top.children, []);
  }
});

test('content that depends on outer declarations becomes self-contained', () => {
  const header = HEADER.replace('>', " xmlns:o='urn:outer'>");
  const cases: [xml: string, ns: string, content: string][] = [
    [
      "<m><o:x o:a='1' b='2'><o:y/></o:x></m>",
      'jabber:client',
      '<x xmlns="urn:outer" o:a="1" b="2" xmlns:o="urn:outer"><y/></x>',
    ],
    ["<m xmlns:i='urn:i'><a xmlns='u'><i:b/></a></m>", 'jabber:client', '<a xmlns="u"><b xmlns="urn:i"/></a>'],
    ["<m><a o:b='1'/></m>", 'jabber:client', '<a o:b="1" xmlns:o="urn:outer"/>'],
    ["<c:m xmlns:c='jabber:client'><c:a/><a/></c:m>", 'jabber:client', '<a/><a/>'],
    [
      "<o:m><o:a><b/></o:a>&amp;<c xmlns=''/></o:m>",
      'urn:outer',
      '<a><b xmlns="jabber:client"/></a>&amp;<c xmlns=""/>',
    ],
    ["<c:m xmlns:c='a&amp;b'><c:a/></c:m>", 'a&b', '<a/>'],
    ['<m><![CDATA[<&]]>]]&gt;<b><![CDATA[]]]]><![CDATA[>]]></b></m>', 'jabber:client', '&lt;&amp;]]&gt;<b>]]&gt;</b>'],
    // What needs nothing from outside stays as it is.
    [
      "<m><a xmlns:i='urn:i' ><i:b i:c='d' ></i:b ></a ></m>",
      'jabber:client',
      "<a xmlns:i='urn:i' ><i:b i:c='d' ></i:b ></a >",
    ],
    ["<m xmlns:unused='u'><a xml:lang='en'/></m>", 'jabber:client', "<a xml:lang='en'/>"],
    // A prefix on a child is taken off, so that the index can tell its name.
    ["<m><i:a xmlns:i='urn:i'/></m>", 'jabber:client', '<a xmlns="urn:i"/>'],
  ];
  for (const [xml, ns, content] of cases) {
    for (const size of [1, 1000]) {
      const top = only(feed(opened(LIMITS, header), xml, size));
      assert.equal(top.name, 'm');
      assert.equal(top.ns, ns);
      assert.equal(top.content, content);
    }
  }
});

test('rewriting cannot exceed the limit of a stanza', () => {
  const header = HEADER.replace('>', ` xmlns:o='${'u'.repeat(250)}'>`);
  const wide = `<o:a>${'é'.repeat(30)}</o:a>`;
  for (const xml of [
    `<m>${'<o:a/>'.repeat(200)}</m>`,
    `<m><o:a>${'<b/>'.repeat(500)}</o:a></m>`,
    `<m>${wide.repeat(32)}</m>`,
  ]) {
    assert.equal(
      conditionOf(() => feed(opened(LIMITS, header), xml)),
      'policy-violation',
    );
    const { content } = only(feed(opened({ ...LIMITS, stanzaBytes: 100_000 }, header), xml));
    assert.ok(Buffer.byteLength(content) > 10_000);
  }
});

test('prefixed attributes keep their namespace', () => {
  const top = only(feed(opened(), "<m xmlns:a='urn:a' a:b='1' __proto__='2' xml:space='preserve'/>"));
  assert.deepEqual(Object.entries(top.attrs), [
    ['a:b', '1'],
    ['xmlns:a', 'urn:a'],
    ['__proto__', '2'],
    ['xml:space', 'preserve'],
  ]);
});

test('limits apply while reading, before the element is complete', () => {
  const endless: [string, string, number][] = [
    ['<m>', 'x', 10_000],
    ["<m a='", '>', 10_000],
    ['<m ', ' ', 10_000],
    ['<m a', ' ', 10_000],
    ['<m></m', ' ', 10_000],
    ['<m>', '<a/>', 10_000],
    ['<m>', ']', 10_000],
    ['<m><![CDATA[', ']', 10_000],
    ['<', 'm', 257],
    ['<m ', 'a', 259],
    ['<m><', 'é', 260],
    ['<m>', '<a>', 3 + 3 * 100],
    ['<m', " a='1'", 2 + 6 * 100 + 2],
  ];
  for (const [start, more, bytes] of endless) {
    const text = start + more.repeat(11_000);
    for (const size of [1, 100_000]) {
      const reader = opened();
      let consumed = 0;
      const condition = conditionOf(() => {
        for (; consumed < text.length; consumed += size) feed(reader, text.slice(consumed, consumed + size));
      });
      // Many attributes of one name are not well-formed, but that shows first.
      assert.equal(condition, start === '<m' ? 'not-well-formed' : 'policy-violation', start);
      if (size === 1 && start !== '<m') assert.ok(consumed <= bytes + 1, `${start}: ${consumed}`);
    }
  }
});

test('each limit is exact', () => {
  const attributes = (count: number) => Array.from({ length: count }, (_, i) => ` a${i}='1'`).join('');
  const prefixes = (count: number) => Array.from({ length: count }, (_, i) => ` xmlns:a${i}='u${i}'`).join('');
  const cases: ((more: number) => string)[] = [
    (more) => `<m>${'x'.repeat(10_000 - 7 + more)}</m>`,
    (more) => `${'<m>'.repeat(100 + more)}${'</m>'.repeat(100 + more)}`,
    (more) => `${'<m>'.repeat(99 + more)}<m/>${'</m>'.repeat(99 + more)}`,
    (more) => `<m${attributes(100 + more)}/>`,
    (more) => `<m${prefixes(100 + more)}/>`,
    (more) => `<m${prefixes(50)}><n${prefixes(50 + more)}/><n${prefixes(50)}/></m>`,
    (more) => `<${'n'.repeat(256 + more)}/>`,
    (more) => `<m ${'n'.repeat(256 + more)}='1'/>`,
    (more) => `<m xmlns='${'u'.repeat(256 + more)}'/>`,
    (more) => `<m xmlns:a='${'u'.repeat(256 + more)}'/>`,
  ];
  for (const make of cases) {
    for (const size of [1, 100_000]) {
      assert.equal(feed(opened(), make(0), size).length, 1, make(0).slice(0, 50));
      assert.equal(
        conditionOf(() => feed(opened(), make(1), size)),
        'policy-violation',
        make(1).slice(0, 50),
      );
    }
  }
});

test('limits can be raised during the stream', () => {
  const reader = opened({ ...LIMITS, stanzaBytes: 200 });
  reader.limits = LIMITS;
  assert.equal(only(feed(reader, `<m>${'x'.repeat(1000)}</m>`)).content.length, 1000);
});

test('large elements can be read byte by byte', () => {
  const limits = { ...LIMITS, stanzaBytes: 300_000 };
  for (const xml of [
    `<m a='${'>'.repeat(100_000)}'/>`,
    `<m>${'<a b="c"/>'.repeat(10_000)}</m>`,
    `<m>${'ж'.repeat(50_000)}</m>`,
  ]) {
    assert.deepEqual(feed(opened(limits), xml, 1), feed(opened(limits), xml));
  }
});

test('items are pulled one by one', () => {
  const reader = opened();
  reader.push(Buffer.from('<a/> <b>1</b>\n<c'));
  assert.equal(reader.buffered, 16);
  assert.equal(only([reader.next()!]).name, 'a');
  assert.equal(reader.buffered, 12);
  reader.push(Buffer.from('/><d/>'));
  assert.deepEqual(
    pull(reader).map((item) => item.kind === 'element' && item.name),
    ['b', 'c', 'd'],
  );
  assert.equal(reader.buffered, 0);
});

test('white space between stanzas is ignored', () => {
  const reader = opened();
  assert.deepEqual(feed(reader, ' \n\t\r '), []);
  assert.equal(reader.buffered, 0);
});

test('no chunk is retained when more input is needed', () => {
  const reader = opened();
  for (const part of ['<message><body>one, ', 'two', '</body></message> ', '<', 'iq/>']) {
    const chunk = Buffer.from(part);
    reader.push(chunk);
    const items = pull(reader);
    chunk.fill(0);
    if (part.startsWith('</body')) assert.equal(only(items).content, '<body>one, two</body>');
    if (part === 'iq/>') assert.equal(only(items).name, 'iq');
  }
});

test('a stream ends with its closing tag, and later data is ignored', () => {
  for (const size of [1, 1000]) {
    const reader = opened();
    assert.deepEqual(
      feed(reader, '<a/></stream:stream \n><b/>&', size).map((item) => item.kind),
      ['element', 'close'],
    );
    assert.equal(reader.buffered, 0);
    assert.deepEqual(feed(reader, '<c/>'), []);
  }
  const empty = new XmlReader('stream', LIMITS);
  assert.deepEqual(
    feed(empty, HEADER.replace('>', '/>')).map((item) => item.kind),
    ['open', 'close'],
  );
});

test('an error is final', () => {
  const reader = opened();
  reader.push(Buffer.from('<a/><!--'));
  assert.equal(reader.next()?.kind, 'element');
  const first = conditionOf(() => reader.next());
  assert.equal(first, 'restricted-xml');
  reader.push(Buffer.from('<b/>'));
  assert.equal(
    conditionOf(() => reader.next()),
    'restricted-xml',
  );
  assert.equal(reader.buffered, 0);
});

test('after a restart there is another header', () => {
  const reader = opened();
  reader.push(
    Buffer.from(
      `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>\n <?xml version='1.0'?>${HEADER.replaceAll('client', 'server')}<m/>`,
    ),
  );
  assert.equal((reader.next() as TopLevel).name, 'auth');
  reader.restart();
  assert.equal((reader.next() as StreamOpen).defaultNs, 'jabber:server');
  assert.equal((reader.next() as TopLevel).ns, 'jabber:server');
});

test('plaintext after starttls can be discarded', () => {
  const reader = opened();
  const injected = `${HEADER}<iq/>`;
  reader.push(Buffer.from(`<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>${injected}`));
  assert.equal((reader.next() as TopLevel).name, 'starttls');
  assert.equal(reader.discard(), injected.length);
  assert.equal(reader.buffered, 0);
  reader.restart();
  assert.equal(feed(reader, HEADER)[0]?.kind, 'open');
});

test('framed: each message is one element', () => {
  const reader = new XmlReader('framed', LIMITS);
  const read = (text: string) => {
    reader.push(Buffer.from(text));
    return pull(reader);
  };
  const open = only(read("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a'/>"));
  assert.equal(open.ns, 'urn:ietf:params:xml:ns:xmpp-framing');
  assert.equal(only(read(" <message xmlns='jabber:client'><body>1</body></message>\n")).content, '<body>1</body>');
  assert.equal(only(read(`<?xml version='1.0'?><stream:features xmlns:stream='${STREAM}'/>`)).ns, STREAM);
  assert.equal(only(read('<m/>')).ns, '');
  assert.deepEqual(read(' '), []);
  assert.deepEqual(read(''), []);
});

test('framed: messages that arrive together are separate', () => {
  const reader = new XmlReader('framed', LIMITS);
  for (const text of ['<a/>', ' ', '', '<b/>']) reader.push(Buffer.from(text));
  assert.equal(reader.buffered, 9);
  assert.deepEqual(
    pull(reader).map((item) => item.kind === 'element' && item.name),
    ['a', 'b'],
  );
});

test('framed: anything except one element is refused', () => {
  const cases: [string, string][] = [
    ['<a/><b/>', 'bad-format'],
    ['<a/>text', 'bad-format'],
    ['text', 'bad-format'],
    ['<a>', 'not-well-formed'],
    ['<', 'not-well-formed'],
    ['</a>', 'not-well-formed'],
    ['<a><b></a>', 'not-well-formed'],
    ["<?xml version='1.0'?>", 'accepted'],
    ["<?xml version='1.0'", 'not-well-formed'],
    ['<!DOCTYPE a><a/>', 'restricted-xml'],
    ["<a><![CDATA[<!DOCTYPE a [<!ENTITY b 'c'>]>]]></a>", 'accepted'],
    ['<stream:a/>', 'bad-namespace-prefix'],
    [`<a>${'x'.repeat(10_000)}</a>`, 'policy-violation'],
  ];
  for (const [text, condition] of cases) {
    assert.equal(
      conditionOf(() => feed(new XmlReader('framed', LIMITS), text)),
      condition,
      text,
    );
  }
});

test('elements of a stanza are limited, and counted per stanza', () => {
  for (const size of [1, 7, 1000]) {
    const reader = opened({ ...LIMITS, elements: 5 });
    assert.equal(feed(reader, `<message><a/><b><c/></b><d/></message>`.repeat(3), size).length, 3);
    assert.equal(
      conditionOf(() => feed(reader, '<message><a/><b><c/></b><d/><e/></message>', size)),
      'policy-violation',
    );
  }
});

test('attributes beyond five count as elements', () => {
  const read = (attributes: number, count: number) => {
    const reader = new XmlReader('framed', { stanzaBytes: 100_000, depth: 10, attributes: 100, elements: 101 });
    const tag = `<a ${Array.from({ length: attributes }, (_, n) => `a${n}=''`).join(' ')}/>`;
    reader.push(Buffer.from(`<x>${tag.repeat(count)}</x>`));
    return reader.next();
  };
  assert.equal(read(5, 100)?.kind, 'element');
  assert.equal(read(6, 50)?.kind, 'element');
  assert.throws(() => read(6, 51), /more than 101 elements/);
  assert.throws(() => read(100, 2), /more than 101 elements/);
});

test('references are decoded once, of every kind', () => {
  const read = (xml: string) => parse(`<a>${xml}</a>`).getText();
  assert.equal(read('&amp;lt;&lt;&amp;amp;'), '&lt;<&amp;');
  assert.equal(read('&#38;lt;&#x26;amp;&gt;'), '&lt;&amp;>');
  assert.equal(read('&apos;&quot;&amp;quot;$&amp;'), `'"&quot;$&`);
});
