import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as ltx from 'ltx';
import { Stanza } from '../../src/server/stanza/stanza.js';
import {
  childrenOf,
  Element,
  el,
  elementOf,
  parse,
  serialize,
  verbatim,
  XmlError,
} from '../../src/server/xml/element.js';
import { readElement } from '../../src/server/xml/reader.js';

test('elements are built from attributes and children, undefined ones omitted', () => {
  const element = el('a', { xmlns: 'u', b: '1', c: undefined }, 'text', undefined, el('d', null, '<'));
  assert.equal(serialize(element), '<a xmlns="u" b="1">text<d>&lt;</d></a>');
  assert.equal(element.getChild('d')?.getNS(), 'u');
});

test('text is escaped', () => {
  const cases: [string, string][] = [
    ['a & b', 'a &amp; b'],
    ['<b>', '&lt;b&gt;'],
    [']]>', ']]&gt;'],
    [`'"`, `'"`],
    ['\t\n', '\t\n'],
    ['\r\n', '&#13;\n'],
    ['\0\x08\x0b\x1f\ufffe\uffff', '\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd'],
    ['\u{1f600}', '\u{1f600}'],
    ['\ud83dx', '\ufffdx'],
    ['\udc00\ud800', '\ufffd\ufffd'],
    ['\x7f\x85\u2028\ufeff', '\x7f\x85\u2028\ufeff'],
  ];
  for (const [text, written] of cases) assert.equal(serialize(el('a', null, text)), `<a>${written}</a>`);
});

test('attributes are escaped', () => {
  const cases: [string, string][] = [
    [`<&>'"`, '&lt;&amp;&gt;&apos;&quot;'],
    ['\t\n\r', '&#9;&#10;&#13;'],
    ['\0', '\ufffd'],
    ['\ud83d', '\ufffd'],
    ['ö\u{1f600}', 'ö\u{1f600}'],
  ];
  for (const [value, written] of cases) assert.equal(serialize(el('a', { b: value })), `<a b="${written}"/>`);
});

test('invalid names are not written', () => {
  for (const name of ['', 'a b', '1', '-a', 'a>', 'a:', ':a', 'a:b:c', 'a:1', 'a"', '\u00d7', '€', '\ud800']) {
    assert.throws(() => serialize(el(name)), TypeError, name);
    assert.throws(() => serialize(el('a', { [name]: '1' })), TypeError, name);
  }
  for (const name of ['a', 'a:b', '_', 'é.1-2', 'stream:features', 'жизнь', '名前']) {
    assert.equal(serialize(el(name, { [name]: '1' })), `<${name} ${name}="1"/>`);
  }
});

test('a namespace in scope is not declared again', () => {
  const tree = el(
    'a',
    { xmlns: 'u' },
    el('b', { xmlns: 'u' }),
    el('c', { xmlns: 'v' }, el('d', { xmlns: 'v' }, el('e', { xmlns: '' }))),
  );
  assert.equal(serialize(tree), '<a xmlns="u"><b/><c xmlns="v"><d><e xmlns=""/></d></c></a>');
  assert.equal(serialize(tree, 'u'), '<a><b/><c xmlns="v"><d><e xmlns=""/></d></c></a>');
});

test('an element taken out of its tree keeps its namespace', () => {
  const tree = el('a', { xmlns: 'u' }, el('b', null, el('c')));
  assert.equal(serialize(childrenOf(tree)[0]!), '<b xmlns="u"><c/></b>');
  assert.equal(serialize(childrenOf(tree)[0]!, 'u'), '<b><c/></b>');
  const other = parse(`<a xmlns='u' xmlns:p='v'><p:b p:c='1'><d/></p:b></a>`);
  assert.equal(serialize(childrenOf(other)[0]!, 'u'), '<b xmlns="v" p:c="1" xmlns:p="v"><d xmlns="u"/></b>');
});

test('ltx elements, and numbers, are written too', () => {
  const element = new ltx.Element('a', { xmlns: 'u', n: 1 });
  element
    .c('b')
    .t('x')
    .up()
    .cnode(2 as unknown as ltx.Element);
  assert.equal(serialize(element), '<a xmlns="u" n="1"><b>x</b>2</a>');
});

test('writing stops at a limit', () => {
  const element = el('a', null, ...Array.from({ length: 100 }, () => el('b')));
  assert.throws(() => serialize(element, undefined, 100), RangeError);
  assert.equal(serialize(element, undefined, 1000).length, 407);
});

test('a tree knows its namespaces', () => {
  const tree = parse(
    `<?xml version="1.0"?>\n<a xmlns='u' xmlns:p='v' p:x='1' x='2'><b/><p:c xml:lang='en'/><d xmlns=''><e/></d><b xmlns='w'>text</b></a>`,
  );
  assert.equal(tree.getNS(), 'u');
  assert.deepEqual(tree.attrs, { xmlns: 'u', 'p:x': '1', x: '2', 'xmlns:p': 'v' });
  assert.equal(tree.getAttr('x', 'v'), '1');
  const [b, c, d, w] = childrenOf(tree);
  assert.equal(b?.getNS(), 'u');
  assert.equal(c?.name, 'c');
  assert.equal(c?.getNS(), 'v');
  assert.equal(c?.findNS('xml'), 'http://www.w3.org/XML/1998/namespace');
  assert.equal(d?.getNS(), '');
  assert.equal(childrenOf(d!)[0]?.getNS(), '');
  assert.equal(tree.getChild('b', 'w'), w);
  assert.equal(tree.getChild('b'), b);
  assert.equal(tree.getChild('b', 'x'), undefined);
  assert.deepEqual(tree.getChildren('b'), [b, w]);
  assert.equal(tree.getChildText('b', 'w'), 'text');
  assert.equal(tree.getChildText('x'), null);
  assert.ok(w?.is('b', 'w'));
  assert.equal(w?.parent, tree);
});

test('text and attributes are unescaped', () => {
  const tree = parse(
    `<a b='1&#10;2\t3\r\n4&apos;&quot;' __proto__='5'>\r\n&lt;<![CDATA[&lt;\r]]>&#x1F600;&#13;<c/>]]&gt;</a>`,
  );
  assert.equal(tree.attrs.b, `1\n2 3 4'"`);
  assert.ok(Object.hasOwn(tree.attrs, '__proto__'));
  assert.deepEqual(
    tree.children.map((child) => (child instanceof Element ? child.name : child)),
    ['\n<&lt;\n\u{1f600}\r', 'c', ']]>'],
  );
  assert.equal(serialize(parse(serialize(tree))), serialize(tree));
});

test('the namespace of the context is the default', () => {
  assert.equal(parse('<a/>').getNS(), '');
  assert.equal(parse('<a/>', 'u').getNS(), 'u');
  assert.equal(parse("<a xmlns='v'/>", 'u').getNS(), 'v');
});

test('anything except one element is refused', () => {
  for (const xml of [
    '',
    ' ',
    'a',
    '<a',
    '<a>',
    '<a/><b/>',
    '<a/>b',
    '<a:b/>',
    '<!--a--><a/>',
    '<a>&b;</a>',
    '<a>\ud800</a>',
    "<a b='\udc00'/>",
  ]) {
    assert.throws(() => parse(xml), XmlError, xml);
  }
});

test('a top-level element becomes a tree', () => {
  const top = readElement(`<p:iq xmlns:p='u' id='&lt;' p:x='1'>a<p:b/><c/></p:iq>`);
  const tree = elementOf(top);
  assert.equal(serialize(tree), '<iq xmlns="u" id="&lt;" p:x="1" xmlns:p="u">a<b/><c xmlns=""/></iq>');
});

test('strings do not retain the text that they were cut from', () => {
  // Not to be seen from outside; but they have to be right.
  const value = 'thirteen and more characters';
  const tree = parse(`<a b='${value}' c='${'x'.repeat(5000)}'><d>${value}</d><e>${value}&amp;</e></a>`);
  assert.equal(tree.attrs.b, value);
  assert.equal(tree.getChildText('d'), value);
  assert.equal(tree.getChildText('e'), `${value}&`);
});

test('a stored element is written as its text, with the same meaning everywhere', () => {
  const texts = [
    `<x xmlns="u"/>`,
    `<x xmlns="u" é="&lt;">é<y xmlns=""/>&amp;</x>`,
    `<x a="1" xmlns="u&amp;v">\u{1f600}<p:y xmlns:p="w"/></x>`,
    `<é xmlns="u"><z/></é>`,
    // Text that serialize did not write is rewritten: a prefix, no namespace, an XML declaration.
    `<p:x xmlns:p="u"><p:y/></p:x>`,
    `<x><y xmlns="u"/></x>`,
    `<?xml version="1.0"?><x xmlns='u'/>`,
  ];
  for (const text of texts) {
    const tree = parse(text);
    const stored = verbatim(text);
    assert.equal(stored.getName(), tree.getName());
    assert.equal(stored.getNS(), tree.getNS());
    for (const ns of ['jabber:client', 'u', '']) {
      const around = (child: Element) => serialize(parse(serialize(el('around', { xmlns: ns }, child, el('after')))));
      assert.equal(around(stored), around(tree), text);
      const stanza = (child: Element) => Stanza.build('message', {}, el('first'), child, el('last'));
      assert.deepEqual(stanza(stored).childNames(), stanza(tree).childNames(), text);
      assert.equal(serialize(stanza(stored).children()[1]!), serialize(stanza(tree).children()[1]!), text);
    }
  }
});

test('a damaged stored text has no element', () => {
  for (const text of ['', 'x', '<x', '<x xmlns="u">', '<x xmlns="u"/><y/>', '<x xmlns="u"></é>', '<x xmlns="u"/>>'])
    assert.throws(() => verbatim(text), XmlError, text);
});
