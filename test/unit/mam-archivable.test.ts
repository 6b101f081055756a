import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isArchivable, searchable } from '../../src/modules/xep-0313-mam/archivable.js';
import { Jid } from '../../src/server/address/jid.js';
import type { Way } from '../../src/server/routing/passage.js';
import { isLasting } from '../../src/server/stanza/lasting.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';

const BODY = '<body>Hi</body>';
const hint = (name: string) => `<${name} xmlns='${NS.hints}'/>`;
const romeo = Jid.parse('romeo@example.org');
const juliet = Jid.parse('juliet@example.org/balcony');

const parse = (type: string, content: string) =>
  Stanza.parse(`<message${type === '' ? '' : ` type='${type}'`}>${content}</message>`);
const isStored = (type: string, content: string, way: Way = 'in', peer = juliet) =>
  isArchivable({ way, owner: romeo, peer, stanza: parse(type, content) });

test('what is archived for an account, and for a room (XEP-0313 §6.1, XEP-0334 §4)', () => {
  const cases: [title: string, type: string, content: string, stored: boolean][] = [
    ['chat', 'chat', BODY, true],
    ['normal', 'normal', BODY, true],
    ['without a type', '', BODY, true],
    ['headline', 'headline', BODY, false],
    ['a headline with a store hint', 'headline', BODY + hint('store'), true],
    ['error', 'error', BODY, false],
    ['an error with a store hint', 'error', BODY + hint('store'), false],
    ['groupchat', 'groupchat', BODY, false],
    ['groupchat with a store hint', 'groupchat', BODY + hint('store'), false],
    ['with no-store', 'chat', BODY + hint('no-store'), false],
    ['with no-permanent-store', 'chat', BODY + hint('no-permanent-store'), false],
    ['with no-store and store', 'chat', BODY + hint('store') + hint('no-store'), false],
    ['with no-copy', 'chat', BODY + hint('no-copy'), true],
    ['a chat state', 'chat', `<composing xmlns='${NS.chatStates}'/>`, false],
    ['a chat state with a store hint', 'chat', `<active xmlns='${NS.chatStates}'/>${hint('store')}`, true],
    ['nothing', 'chat', '', false],
    ['a thread and ids', 'chat', `<thread>x</thread><origin-id xmlns='${NS.stanzaId}' id='1'/>`, false],
    ['an event of a node', '', `<event xmlns='${NS.pubsubEvent}'/>`, false],
    ['encrypted', 'chat', `<encrypted xmlns='${NS.omemo}'/>`, true],
    ['encrypted, in the older way', 'chat', `<encrypted xmlns='${NS.omemoLegacy}'/>`, true],
    ['encrypted with OpenPGP', 'chat', `<openpgp xmlns='${NS.openPgp}'/>`, true],
    ['a receipt', 'chat', `<received xmlns='${NS.receipts}' id='1'/>`, true],
    ['only a request for a receipt', 'chat', `<request xmlns='${NS.receipts}'/>`, false],
    ['a displayed marker', 'chat', `<displayed xmlns='${NS.markers}' id='1'/>`, true],
    ['markable alone', 'chat', `<markable xmlns='${NS.markers}'/>`, false],
    ['a reaction', 'chat', `<reactions xmlns='${NS.reactions}' id='1'/>`, true],
    ['a retraction', 'chat', `<retract xmlns='${NS.retract}' id='1'/>`, true],
    ['a retraction, in the older way', 'chat', `<apply-to xmlns='${NS.fasten}' id='1'/>`, true],
    ['a call', 'chat', `<propose xmlns='${NS.jingleMessage}' id='1'/>`, true],
    ['an invitation to a call', 'chat', `<invite xmlns='${NS.callInvites}'/>`, true],
    ['an invitation', 'normal', `<x xmlns='${NS.conference}' jid='a@b'/>`, true],
    ['an invitation by the room', 'normal', `<x xmlns='${NS.mucUser}'><invite from='a@b'/></x>`, true],
    ['a subject', '', '<subject>Hi</subject>', true],
    ['a file', 'chat', `<file-sharing xmlns='${NS.fileSharing}'/>`, true],
    ['a link', 'chat', `<x xmlns='${NS.outOfBand}'/>`, true],
    ['only text with markup', 'chat', `<html xmlns='${NS.xhtml}'/>`, true],
    ['real-time text', 'chat', "<rtt xmlns='urn:xmpp:rtt:0'/>", false],
  ];
  for (const [title, type, content, kept] of cases) {
    assert.equal(isStored(type, content), kept, title);
    // messages to a room are archived by the same rules
    if (type === 'chat') assert.equal(isLasting(parse('groupchat', content)), kept, title);
  }
});

test('a message to oneself is archived once', () => {
  assert.equal(isStored('chat', BODY, 'out', romeo), false);
  assert.equal(isStored('chat', BODY, 'out', romeo.withResource('x')), false);
  assert.equal(isStored('chat', BODY, 'in', romeo.withResource('x')), true);
  assert.equal(isStored('chat', BODY, 'out'), true);
});

test('the text for a search', () => {
  const long = 'x'.repeat(20_000);
  const cases: [content: string, text: string | undefined][] = [
    [BODY, 'Hi'],
    ['<body>&lt;b&gt;</body>', '<b>'],
    ['<body/>', undefined],
    ['<subject>Hi</subject>', undefined],
    [`${BODY}<encryption xmlns='${NS.encryption}' namespace='${NS.omemo}'/>`, undefined],
    [`${BODY}<encrypted xmlns='${NS.omemo}'/>`, undefined],
    [`${BODY}<encrypted xmlns='${NS.omemoLegacy}'/>`, undefined],
    [`${BODY}<openpgp xmlns='${NS.openPgp}'>a</openpgp>`, undefined],
    [`${BODY}<x xmlns='${NS.pgpLegacy}'>a</x>`, undefined],
    ['<body>?OTRv23?</body>', undefined],
    [`<body>${long}</body>`, long.slice(0, 10_000)],
  ];
  for (const [content, text] of cases) assert.equal(searchable(parse('chat', content)), text, content.slice(0, 80));
});
