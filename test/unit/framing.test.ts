/** How a stream looks on TCP (RFC 6120) and on WebSocket (RFC 7395). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StreamError } from '../../src/server/stanza/errors.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { framingOf } from '../../src/server/stream/framing.js';
import type { Transport } from '../../src/server/transport/transport.js';
import { el } from '../../src/server/xml/element.js';
import { readElement, type StreamItem, XmlReader } from '../../src/server/xml/reader.js';

const of = (framing: Transport['framing']) => framingOf({ framing } as Transport);
const tcp = of('stream');
const webSocket = of('websocket');
const limits = { stanzaBytes: 1000, depth: 10, attributes: 10 };

/** What the other side reads from the output of a framing. */
function read({ mode, read }: typeof tcp, texts: readonly string[]): StreamItem[] {
  const reader = new XmlReader(mode, limits);
  const items: StreamItem[] = [];
  for (const text of texts) {
    reader.push(Buffer.from(text));
    for (let item = reader.next(); item !== undefined; item = reader.next()) items.push(read(item));
  }
  return items;
}

const outline = (item: StreamItem) =>
  item.kind === 'close'
    ? 'close'
    : `${item.kind} {${item.ns}}${item.name} ${item.kind === 'open' ? item.defaultNs : item.content}`;

for (const [name, framing] of [
  ['TCP', tcp],
  ['WebSocket', webSocket],
] as const) {
  test(`${name}: each side reads what the other writes`, () => {
    const error = new StreamError('conflict', 'Twice.').toElements();
    const items = read(framing, [
      framing.open({ from: 'a & b', to: undefined, id: '"1"', version: '1.0' }, NS.client),
      framing.features([el('bind', { xmlns: NS.bind })]),
      framing.stanza(Stanza.build('message', { id: '1' }, el('body', null, '<')), NS.client),
      ...framing.end(error),
    ]);
    assert.deepEqual(items.map(outline), [
      `open {${NS.stream}}stream ${NS.client}`,
      `element {${NS.stream}}features <bind xmlns="${NS.bind}"/>`,
      `element {${NS.client}}message <body>&lt;</body>`,
      `element {${NS.stream}}error <conflict xmlns="${NS.streams}"/><text xmlns="${NS.streams}" xml:lang="en">Twice.</text>`,
      'close',
    ]);
    const [open] = items;
    assert.ok(open?.kind === 'open');
    assert.deepEqual(
      [open.attrs.from, open.attrs.to, open.attrs.id, open.attrs.version],
      ['a & b', undefined, '"1"', '1.0'],
    );
  });

  test(`${name}: an end without error is one write`, () => {
    assert.equal(framing.end(undefined).length, 1);
  });
}

test('on TCP the content namespace is declared once, in the header', () => {
  const open = tcp.open({ version: '1.0' }, NS.server);
  assert.match(open, /^<\?xml version='1\.0'\?><stream:stream xmlns="jabber:server" [^>]*[^/]>$/);
  assert.equal(tcp.stanza(Stanza.build('iq', { id: '1' }), NS.server), '<iq id="1"/>');
});

test('on WebSocket each message declares it (RFC 7395 §3.3.3)', () => {
  assert.equal(webSocket.stanza(Stanza.build('iq', { id: '1' }), NS.client), '<iq xmlns="jabber:client" id="1"/>');
});

test("on WebSocket only the framing's own <open/> and <close/> are special (§3.4, §3.6)", () => {
  const element = (xml: string) => webSocket.read(readElement(xml)).kind;
  assert.equal(element(`<open xmlns='${NS.framing}'/>`), 'open');
  assert.equal(element(`<close xmlns='${NS.framing}'/>`), 'close');
  for (const xml of [`<open xmlns='${NS.client}'/>`, `<close xmlns='x'/>`, `<other xmlns='${NS.framing}'/>`])
    assert.equal(element(xml), 'element');
  assert.equal(tcp.read(readElement(`<close xmlns='${NS.framing}'/>`)).kind, 'element');
});

test("after our closing tag only the peer's closing tag is handled", () => {
  assert.equal(webSocket.isEnd(Buffer.from(`<close xmlns='${NS.framing}'/>`)), true);
  for (const text of ['', '<', '<clos', '<message/>', ' <close/>'])
    assert.equal(webSocket.isEnd(Buffer.from(text)), false);
  assert.equal(tcp.isEnd(Buffer.from('</stream:stream>')), false);
});

test('white space keeps TCP alive, and WebSocket uses pings (RFC 6120 §4.6.1, RFC 7395 §3.7)', () => {
  assert.equal(tcp.keepalive, ' ');
  assert.equal(webSocket.keepalive, undefined);
});
