/** `errorOf`: what a module of ours gets if its request is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errorOf } from '../../src/server/routing/asks.js';
import { StanzaError } from '../../src/server/stanza/errors.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { el } from '../../src/server/xml/element.js';

const reply = (content: string): Stanza =>
  Stanza.parse(`<iq xmlns='${NS.client}' type='error' id='1' from='a@b' to='c@d'>${content}</iq>`);
const stanzas = `xmlns='${NS.stanzas}'`;

test('RFC 6120 §8.3.2: an error reply keeps its condition, type, text and application-specific element', () => {
  const sent = new StanzaError('not-allowed', 'Only on Sundays.', {
    type: 'wait',
    extra: [el('closed', { xmlns: 'urn:example' })],
  });
  const error = errorOf(reply(sent.toElement().toString()));
  assert.deepEqual(
    [error.condition, error.type, error.text, error.toElement().toString()],
    ['not-allowed', 'wait', 'Only on Sundays.', sent.toElement().toString()],
  );
});

for (const [what, content, condition, type] of [
  ['no error', '', 'undefined-condition', 'cancel'],
  ['an unknown condition', `<error type='wait'><oops ${stanzas}/></error>`, 'undefined-condition', 'wait'],
  ['an unknown type', `<error type='oops'><forbidden ${stanzas}/></error>`, 'forbidden', 'auth'],
  ['no type', `<error><forbidden ${stanzas}/></error>`, 'forbidden', 'auth'],
  ['a condition of another namespace', `<error type='auth'><forbidden/></error>`, 'undefined-condition', 'auth'],
] as const)
  test(`a reply with ${what}`, () => {
    const error = errorOf(reply(content));
    assert.deepEqual([error.condition, error.type, error.text], [condition, type, undefined]);
  });
