/** XEP-0106: an escaped address is one like any other. The server neither escapes nor unescapes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Jid, JidError } from '../../src/server/address/jid.js';
import { NS } from '../../src/server/stanza/ns.js';
import { scenario } from './dialogue.js';

const escaped = [
  String.raw`space\20cadet`,
  String.raw`call\20me\20\22ishmael\22`,
  String.raw`at\26t\20guy`,
  String.raw`d\27artagnan`,
  String.raw`\2f.fanboy`,
  String.raw`\3a\3afoo\3a\3a`,
  String.raw`\3cfoo\3e`,
  String.raw`user\40host`,
  String.raw`c\3a\net`,
  String.raw`c\3a\5ccool\20stuff`,
  String.raw`c\3a\5c5commas`,
];

test('§5.1: the example addresses stay unchanged', () => {
  for (const local of escaped) {
    const jid = Jid.parse(`${local}@example.com/r`);
    assert.equal(jid.local, local);
    assert.equal(jid.full, `${local}@example.com/r`);
  }
});

test('§4.1: unescaped characters are invalid', () => {
  for (const character of [' ', '"', '&', "'", '/', ':', '<', '>', '@']) {
    if (character === '/' || character === '@') continue; // these divide the address somewhere else
    assert.throws(() => Jid.of(`a${character}b`, 'example.com'), JidError, character);
  }
  assert.throws(() => Jid.of('a/b', 'example.com'), JidError);
  assert.throws(() => Jid.of('a@b', 'example.com'), JidError);
});

test('§4.1: escapes are not unescaped, and compared without case', () => {
  assert.notEqual(Jid.parse(String.raw`foo\5cbar@example.com`).bare, Jid.parse(String.raw`foo\bar@example.com`).bare);
  assert.equal(Jid.parse(String.raw`C\3A\5Ccool@example.com`).bare, String.raw`c\3a\5ccool@example.com`);
  // §4.3: what only looks like an escape
  for (const local of [String.raw`\2plus\2is\4`, String.raw`foo\bar`, String.raw`foob\41r`])
    assert.equal(Jid.parse(`${local}@example.com`).local, local);
});

scenario('§4: an account with an escaped name is an ordinary one', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const soldier = await actor(String.raw`d\27artagnan@localhost/gate`, { presence: true });
  await romeo.sends(String.raw`<message to='D\27Artagnan@localhost' type='chat'><body>en garde</body></message>`);
  await soldier.receives(
    String.raw`<message to='d\27artagnan@localhost' from='romeo@localhost/orchard' type='chat'><body>en garde</body></message>`,
  );
  await soldier.sends(`<message to='romeo@localhost/orchard' type='chat'><body>touché</body></message>`);
  await romeo.receives(
    String.raw`<message from='d\27artagnan@localhost/gate' type='chat'><body>touché</body></message>`,
  );
  // §4.1: the unescaped version is not sent, and not taken for it
  await romeo.sends(`<message to="d'artagnan@localhost" type='chat' id='1'><body>?</body></message>`);
  await romeo.receives(`<message type='error' id='1'><error><jid-malformed xmlns='${NS.stanzas}'/></error></message>`);
  await romeo.sends(String.raw`<message to='d\5c27artagnan@localhost' type='chat' id='2'><body>?</body></message>`);
  await romeo.receives(
    `<message type='error' id='2'><error><service-unavailable xmlns='${NS.stanzas}'/></error></message>`,
  );
  await soldier.receivesNothing();
});
