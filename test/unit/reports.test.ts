import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forwardedElements, made, reportElement, wordsOf } from '../../src/modules/xep-0377-reports/report.js';
import { Jid } from '../../src/server/address/jid.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { el, parse, serialize } from '../../src/server/xml/element.js';

const report = (inside: string, reason = 'urn:xmpp:reporting:spam') =>
  parse(`<report xmlns='${NS.reporting}' reason='${reason}'>${inside}</report>`);
const sent = (body: string, more = '') =>
  Stanza.parse(
    `<message xmlns='${NS.client}' from='eve@x.org/r' to='alice@example.org' type='chat' id='1'><body>${body}</body>${more}</message>`,
  );
const retained = (element = report(''), messages: readonly Stanza[] = []) =>
  made({ by: Jid.parse('alice@example.org/a'), about: Jid.parse('eve@x.org'), element }, messages);

test('the stored size of a report is limited', () => {
  const ids = Array.from({ length: 200 }, (_, at) => `<stanza-id xmlns='${NS.stanzaId}' by='x' id='i${at}'/>`).join('');
  const long = 'x'.repeat(5000);
  const stored = retained(
    report(`${ids}<text>${long}</text>`, long),
    Array.from({ length: 30 }, () => sent('y'.repeat(20_000))),
  );
  assert.equal(stored.messages.length, 50);
  assert.equal(stored.text.length, 1000);
  assert.equal(stored.reason.length, 1000);
  assert.equal(stored.evidence!.length, 10);
  assert.ok(JSON.stringify(stored).length < 30_000);
  assert.match(stored.evidence![0]!, /from="eve@x.org\/r".*<body>y{1000}<\/body>/);
});

test('reported messages do not contain their recipient (XEP-0377 §4)', () => {
  const id = serialize(el('stanza-id', { xmlns: NS.stanzaId, by: 'alice@example.org', id: '7' }));
  const stored = retained(report(''), [sent('Buy gold', id)]);
  assert.doesNotMatch(stored.evidence![0]!, /alice/);
  const [forwarded] = forwardedElements(stored, 0);
  assert.equal(forwarded!.getChild('message', NS.client)?.getChildText('body'), 'Buy gold', String(forwarded));
});

test('as forwarded to others', () => {
  const stored = retained(report(`<text xml:lang='de'>Zu viel &lt;Gold&gt;</text>`), [sent('Buy gold')]);
  assert.equal(wordsOf(stored), 'alice@example.org reports eve@x.org (spam)\nZu viel <Gold>\n> Buy gold');
  assert.equal(
    String(reportElement(stored)),
    `<report xmlns="${NS.reporting}" reason="urn:xmpp:reporting:spam"><jid xmlns="${NS.jid}">eve@x.org</jid><text xml:lang="de">Zu viel &lt;Gold&gt;</text></report>`,
  );
  assert.match(
    wordsOf({ ...retained(), reason: '', room: 'hall@rooms.org' }),
    /eve@x.org in hall@rooms.org \(no reason\)/,
  );
});
