import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Jid, JidError } from '../../src/server/address/jid.js';
import { StanzaError } from '../../src/server/stanza/errors.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { el, parse as readTree, XmlError } from '../../src/server/xml/element.js';
import { readElement } from '../../src/server/xml/reader.js';

const romeo = Jid.parse('romeo@example.net/orchard');
const juliet = Jid.parse('juliet@example.com/balcony');

const CHAT = `<message xmlns='jabber:client' to='romeo@example.net/orchard' from='juliet@example.com/balcony' type='chat' id='1&amp;2' xml:lang='en' other='x'><body>Ö &lt; O</body> <active xmlns='${NS.chatStates}'/><x xmlns='u'><body>inner</body></x><x xmlns='v'/></message>`;

test('the header of a stanza', () => {
  const stanza = Stanza.parse(CHAT);
  assert.equal(stanza.name, 'message');
  assert.equal(stanza.to, romeo);
  assert.equal(stanza.from, juliet);
  assert.equal(stanza.type, 'chat');
  assert.equal(stanza.id, '1&2');
  assert.equal(stanza.lang, 'en');
  const bare = Stanza.parse('<iq/>');
  assert.deepEqual(
    [bare.to, bare.from, bare.type, bare.id, bare.lang, bare.content],
    [undefined, undefined, undefined, undefined, undefined, ''],
  );
});

test('children are found by namespace and name', () => {
  const stanza = Stanza.parse(CHAT);
  assert.ok(stanza.has(NS.client, 'body'));
  assert.ok(stanza.has(NS.chatStates, 'active'));
  assert.ok(stanza.has('v', 'x'));
  assert.ok(!stanza.has(NS.client, 'active'));
  assert.ok(!stanza.has(NS.client, 'bod'));
  assert.ok(!stanza.has('u', 'body'));
  assert.ok(!stanza.has('', 'body'));
  assert.equal(stanza.childCount, 4);
  assert.deepEqual(stanza.childNames(), [
    { ns: NS.client, name: 'body' },
    { ns: NS.chatStates, name: 'active' },
    { ns: 'u', name: 'x' },
    { ns: 'v', name: 'x' },
  ]);
});

test('children are built on demand', () => {
  const stanza = Stanza.parse(CHAT);
  const body = stanza.child(NS.client, 'body');
  assert.equal(body?.getNS(), NS.client);
  assert.equal(body?.getText(), 'Ö < O');
  assert.equal(stanza.child('u', 'x')?.getChildText('body', 'u'), 'inner');
  assert.equal(stanza.child('u', 'y'), undefined);
  assert.deepEqual(
    stanza.children().map((child) => `${child.getNS()} ${child.name}`),
    ['jabber:client body', `${NS.chatStates} active`, 'u x', 'v x'],
  );
});

test('the text of a child is its own character data', () => {
  const cases: [string, string | undefined][] = [
    ['<body>plain</body>', 'plain'],
    ['<body>a &gt; b > c&#10;\r\nd</body>', 'a > b > c\n\nd'],
    ['<body/>', ''],
    ['<body></body>', ''],
    ['<body a=">">b</body>', 'b'],
    ['<body a=">"/>', ''],
    ['<body ></body >', ''],
    ['<body>a<b>c</b>d</body>', 'ad'],
    ['<body><![CDATA[<a>]]></body>', '<a>'],
    ['<bodies>no</bodies>', undefined],
    ["<body xmlns='u'>no</body><body>yes</body>", 'yes'],
  ];
  for (const [xml, text] of cases)
    assert.equal(Stanza.parse(`<message>${xml}</message>`).text(NS.client, 'body'), text, xml);
});

test('a stanza is built from header and elements', () => {
  const stanza = Stanza.build('iq', { to: romeo, type: 'get', id: '1' }, el('ping', { xmlns: NS.ping }), undefined);
  assert.equal(
    stanza.toXml(),
    '<iq to="romeo@example.net/orchard" type="get" id="1"><ping xmlns="urn:xmpp:ping"/></iq>',
  );
  assert.ok(stanza.has(NS.ping, 'ping'));
  assert.equal(Stanza.build('presence', {}).toXml(NS.client), '<presence xmlns="jabber:client"/>');
  assert.equal(
    Stanza.build('message', {}, el('body', { xmlns: NS.client }, 'a')).toXml(),
    '<message><body>a</body></message>',
  );
});

test('a written header is read back unchanged', () => {
  const from = Jid.parse(`a@example.net/"<&>'`);
  const stanza = Stanza.build(
    'message',
    { from, to: romeo, id: `"<&>'\t`, type: '<', lang: '"' },
    el('body', null, '&'),
  );
  const again = Stanza.parse(stanza.toXml());
  assert.ok(again.from?.equals(from));
  assert.equal(again.id, stanza.id);
  assert.equal(again.type, '<');
  assert.equal(again.lang, '"');
  assert.equal(again.toXml(), stanza.toXml());
});

test('a changed stanza is a new object', () => {
  const stanza = Stanza.parse(CHAT);
  const before = stanza.toXml();
  const stamped = stanza.with({ from: romeo, id: undefined });
  assert.equal(stamped.from, romeo);
  assert.equal(stamped.id, undefined);
  assert.equal(stamped.to, romeo);
  assert.equal(stamped.content, stanza.content);
  stanza.plus(el('a'));
  stanza.without('v', 'x');
  assert.equal(stanza.toXml(), before);
});

test('children are appended', () => {
  const stanza = Stanza.parse(CHAT).plus(
    el('stanza-id', { xmlns: NS.stanzaId, id: '1', by: `a' xmlns="w"` }),
    undefined,
    el('own', { a: '1' }),
    el('p:q', { 'xmlns:p': 'urn:p' }, 'ö'),
    '<raw xmlns="r"/>text<two/>',
    el('amp', { xmlns: 'a&b', b: '<' }),
  );
  assert.deepEqual(stanza.childNames().slice(4), [
    { ns: NS.stanzaId, name: 'stanza-id' },
    { ns: NS.client, name: 'own' },
    { ns: 'urn:p', name: 'q' },
    { ns: 'r', name: 'raw' },
    { ns: NS.client, name: 'two' },
    { ns: 'a&b', name: 'amp' },
  ]);
  assert.equal(stanza.child(NS.stanzaId, 'stanza-id')?.attrs.by, `a' xmlns="w"`);
  assert.equal(stanza.text('urn:p', 'q'), 'ö');
  assert.equal(stanza.child('a&b', 'amp')?.attrs.b, '<');
  assert.ok(stanza.has(NS.chatStates, 'active'));
  assert.deepEqual(Stanza.parse(stanza.toXml()).childNames(), stanza.childNames());
});

test('appended text is checked', () => {
  const stanza = Stanza.parse('<message/>');
  for (const xml of ['<a>', '</message><message>', '<a:b/>', '&nbsp;', '<!---->', '</x><x>', '\0']) {
    assert.throws(() => stanza.plus(xml), XmlError, xml);
  }
  assert.equal(stanza.plus("<p:a xmlns:p='u'/><![CDATA[<]]>").content, '<a xmlns="u"/>&lt;');
});

test("appended elements without a namespace get the stanza's, at any depth", () => {
  const stanza = Stanza.parse('<message/>');
  const prefixed = "<p:a xmlns:p='u'><b/></p:a>";
  assert.equal(stanza.plus(prefixed).child('u', 'a')?.children.length, 1);
  assert.equal(stanza.plus(prefixed).content, '<a xmlns="u"><b xmlns="jabber:client"/></a>');
  assert.equal(stanza.plus(el('p:a', { 'xmlns:p': 'u' }, el('b'))).content, stanza.plus(prefixed).content);
  assert.ok(stanza.plus("<body xmlns='jabber:client'>a</body>").has(NS.client, 'body'));
  assert.equal(stanza.plus("<body xmlns='jabber:client'>a</body>").content, '<body>a</body>');
});

test('removing children leaves the others accessible', () => {
  const stanza = Stanza.parse(CHAT);
  assert.equal(stanza.without('w', 'x'), stanza);
  assert.equal(
    stanza.without('u', 'x', () => false),
    stanza,
  );
  const less = stanza.without(NS.client, 'body').without('u', 'x');
  assert.equal(less.content, ` <active xmlns='${NS.chatStates}'/><x xmlns='v'/>`);
  assert.equal(less.child('v', 'x')?.name, 'x');
  assert.ok(!less.has(NS.client, 'body'));
  const ids = Stanza.parse(
    `<message>a${['1', '2', '3'].map((by) => `<i xmlns='u' by='${by}'/>b`).join('')}<c/></message>`,
  );
  assert.equal(ids.without('u', 'i').content, 'abbb<c/>');
  const one = ids.without('u', 'i', ({ by }) => by === '2');
  assert.equal(one.content, "a<i xmlns='u' by='1'/>bb<i xmlns='u' by='3'/>b<c/>");
  assert.deepEqual(
    one.children().map((child) => child.attrs.by),
    ['1', '3', undefined],
  );
});

test('appended elements follow the content, and removal is complete', () => {
  for (const wide of ['é', '漢', 'aé漢']) {
    const xml = `<message><body>hi</body><${wide}></${wide}><x xmlns='u'><${wide}></${wide}></x></message>`;
    const stanza = Stanza.parse(xml);
    assert.equal(stanza.toXml(), xml);
    assert.equal(stanza.plus(el('z')).toXml(), xml.replace('</message>', '<z/></message>'));
    assert.equal(stanza.without('u', 'x').toXml(), `<message><body>hi</body><${wide}></${wide}></message>`);
    assert.equal(Stanza.parse(stanza.toXml()).content, stanza.content);
  }
});

test('namespaces with references are compared unescaped', () => {
  const stanza = Stanza.parse("<message><a xmlns='a&amp;b'/><stanza-id xmlns='urn:xmpp:&#115;id:0'/><b/></message>");
  assert.ok(stanza.has('a&b', 'a'));
  assert.ok(stanza.has(NS.stanzaId, 'stanza-id'));
  assert.equal(stanza.without(NS.stanzaId, 'stanza-id').without('a&b', 'a').content, '<b/>');
  assert.ok(stanza.plus(el('c')).without(NS.client, 'b').has('a&b', 'a'));
});

test("the stanza's own namespace is the same from every stream", () => {
  for (const own of ['jabber:client', 'jabber:server', 'jabber:component:accept', '']) {
    for (const xml of [
      `<message xmlns='${own}'><body>a</body></message>`,
      `<message xmlns='${own}'><body xmlns='${own}'>a</body></message>`,
      `<message xmlns='${own}'><body xmlns='jabber:client'>a</body></message>`,
      `<message xmlns='${own}'><body xmlns='jabber:serve&#114;'>a</body></message>`,
      ...(own === '' ? [] : [`<p:message xmlns:p='${own}'><p:body>a</p:body></p:message>`]),
    ]) {
      const stanza = Stanza.parse(xml);
      assert.equal(stanza.content, '<body>a</body>', xml);
      assert.equal(stanza.text(NS.client, 'body'), 'a');
      assert.equal(stanza.child(NS.client, 'body')?.getNS(), NS.client);
    }
  }
  const others = "<x xmlns='u'><body xmlns='jabber:client'>a</body></x>ö<show xmlns='w'/>";
  assert.equal(Stanza.parse(`<message xmlns='jabber:server'>${others}</message>`).content, others);
});

test('an invalid address is distinguished from an invalid stanza', () => {
  for (const header of ["to='@example.net'", "from='a@b@c'", "to=''"]) {
    const top = readElement(`<iq type='get' id='1' ${header}><q xmlns='u'/></iq>`);
    assert.throws(() => Stanza.fromTopLevel(top), JidError, header);
    assert.equal(
      Stanza.unaddressed(top).with({ to: juliet }).toXml(),
      `<iq to="juliet@example.com/balcony" type="get" id="1"><q xmlns='u'/></iq>`,
    );
  }
  assert.throws(() => Stanza.parse('<auth/>'), TypeError);
});

test('the result of an IQ', () => {
  const request = Stanza.parse(
    `<iq type='get' id='1' to='example.net' from='${juliet}' xml:lang='de'><q xmlns='u'/></iq>`,
  );
  assert.equal(request.result().toXml(), `<iq to="${juliet}" from="example.net" type="result" id="1"/>`);
  assert.equal(
    request.result(el('q', { xmlns: 'u' }, el('r'))).toXml(),
    `<iq to="${juliet}" from="example.net" type="result" id="1"><q xmlns="u"><r/></q></iq>`,
  );
});

test('an error contains the stanza', () => {
  const request = Stanza.parse(
    `<iq type='get' id='1' to='example.net' from='${juliet}' xml:lang='de'><q xmlns='u'/></iq>`,
  );
  assert.equal(
    request.error(new StanzaError('item-not-found')).toXml(),
    `<iq to="${juliet}" from="example.net" type="error" id="1"><q xmlns='u'/><error type="cancel" code="404"><item-not-found xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></error></iq>`,
  );
});

test('adjacent texts keep their meaning (XML 1.0 §2.4, §2.11)', () => {
  const pieces = ['', 'a', '\r', '\n', ']', ']]', '>', ']>', '&gt;', '&#13;'];
  const textOf = (stanza: Stanza) => readTree(stanza.toXml(NS.client)).getText();
  for (const first of pieces)
    for (const second of pieces)
      for (const third of pieces) {
        const content = `${first}<x xmlns='u'/>${second}<x xmlns='u'/><y xmlns='u'>é</y>${third}`;
        const stanza = Stanza.parse(
          `<message xmlns='jabber:client'>${content}<x xmlns='u'/>${second}<z xmlns='v'/></message>`,
        );
        const text = textOf(stanza);
        const rest = stanza.without('u', 'x');
        assert.equal(textOf(rest), text, content);
        assert.equal(rest.text('u', 'y'), 'é', content);
        assert.equal(textOf(rest.without('u', 'y').without('v', 'z')), text, content);
        assert.equal(rest.without('u', 'y').childNames().length, 1);
        assert.ok(rest.without('u', 'y').has('v', 'z'), content);
        if (`${second}${third}`.includes(']]>')) continue;
        const more = rest.without('v', 'z').plus(third, el('w', { xmlns: 'w' }), second);
        assert.equal(
          textOf(more),
          text + readTree(`<t>${third}</t>`).getText() + readTree(`<t>${second}</t>`).getText(),
          content,
        );
        assert.ok(more.has('w', 'w'), content);
      }
});
