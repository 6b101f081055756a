/** Messages that can go from a room directly to the sessions of accounts: no step would change them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { standardModules } from '../../src/modules/index.js';
import { Jid } from '../../src/server/address/jid.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { startHost } from './module-host.js';

test('a plain groupchat message is skipped by every standard module, one with forged elements is not', async () => {
  const { host, stop } = await startHost(standardModules);
  const ids = `<stanza-id xmlns='${NS.stanzaId}' by='coven@conference.example.org' id='1'/><occupant-id xmlns='${NS.occupantId}' id='x'/>`;
  const cases: [string, boolean][] = [
    ['', true],
    [`<delay xmlns='${NS.delay}' from='coven@conference.example.org' stamp='2026-01-01T00:00:00Z'/>`, true],
    [`<reactions xmlns='${NS.reactions}' id='1'/><store xmlns='${NS.hints}'/>`, true],
    [`<stanza-id xmlns='${NS.stanzaId}' by='romeo@example.org' id='1'/>`, false],
    [`<stanza-id xmlns='${NS.stanzaId}' by=' COVEN@conference.example.org' id='1'/>`, false],
    [`<delay xmlns='${NS.delay}' from='example.org' stamp='2026-01-01T00:00:00Z'/>`, false],
    [`<sent xmlns='${NS.carbons}'/>`, false],
    [`<x xmlns='${NS.mucUser}'><invite from='a@b.example'/></x>`, false],
  ];
  for (const [content, expected] of cases) {
    const from = Jid.parse('coven@conference.example.org/firstwitch');
    const stanza = Stanza.parse(`<message type='groupchat'><body>x</body>${ids}${content}</message>`).with({ from });
    assert.equal(host.isUntouched(stanza), expected, content);
    assert.equal(host.isUntouched(stanza.with({})), expected, content);
  }
  stop();
});
