import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Jid } from '../../src/server/address/jid.js';
import { delay, readDelay } from '../../src/server/stanza/delay.js';
import { parse, serialize } from '../../src/server/xml/element.js';

describe('delay', () => {
  it('is written', () => {
    assert.equal(
      serialize(delay(Jid.parse('capulet.com'), Date.UTC(2002, 8, 10, 23, 8, 25), 'Offline Storage')),
      '<delay xmlns="urn:xmpp:delay" from="capulet.com" stamp="2002-09-10T23:08:25.000Z">Offline Storage</delay>',
    );
    assert.equal(serialize(delay(undefined, 0)), '<delay xmlns="urn:xmpp:delay" stamp="1970-01-01T00:00:00.000Z"/>');
  });

  it('is read', () => {
    const element = parse(
      "<delay xmlns='urn:xmpp:delay' from='Capulet.com' stamp='2002-09-10T23:08:25Z'>\n Offline \n</delay>",
    );
    const read = readDelay(element);
    assert.deepEqual(
      { ...read, from: read?.from?.full },
      { from: 'capulet.com', stamp: Date.UTC(2002, 8, 10, 23, 8, 25), reason: 'Offline' },
    );
    assert.deepEqual(readDelay(delay(undefined, 1)), { from: undefined, stamp: 1, reason: undefined });
  });

  for (const xml of [
    "<delay xmlns='urn:xmpp:delay'/>",
    "<delay xmlns='urn:xmpp:delay' stamp='20020910T23:08:25'/>",
    "<delay xmlns='urn:xmpp:delay' from='a@b@c' stamp='2002-09-10T23:08:25Z'/>",
    "<delay xmlns='jabber:x:delay' stamp='2002-09-10T23:08:25Z'/>",
    "<x xmlns='urn:xmpp:delay' stamp='2002-09-10T23:08:25Z'/>",
  ]) {
    it(`is missing in ${xml}`, () => assert.equal(readDelay(parse(xml)), undefined));
  }

  it('is missing without an element', () => assert.equal(readDelay(undefined), undefined));
});
