/** docs/decisions/0009-pacing.md: output for many sessions leaves time for others in each turn of the event loop. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Jid } from '../../src/server/address/jid.js';
import { Session } from '../../src/server/routing/session.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { takeClocks } from './clocks.js';

const service = Jid.parse('rooms.localhost');

test('the sources of all sessions share a turn of the event loop', async (t) => {
  const clocks = takeClocks();
  t.after(() => clocks.restore());
  const sessions = 40;
  const each = 50;
  const sent = new Array<number>(sessions).fill(0);
  let ended = 0;
  /** A stanza takes half a millisecond. */
  function* source(to: Jid): Generator<Stanza, void> {
    for (let n = 0; n < each; n++) {
      clocks.pass(0.5);
      yield Stanza.build('message', { to, from: service });
    }
  }
  await new Promise<void>((resolve) => {
    for (let at = 0; at < sessions; at++) {
      const jid = Jid.parse(`u${at}@localhost/x`);
      const session = new Session(jid, { send: () => void sent[at]!++ });
      const done = () => {
        if (++ended === sessions) resolve();
      };
      void session.pour(source(jid), { lane: service.bare, failed: assert.ifError, done });
    }
    let before = 0;
    let turns = 0;
    const look = () => {
      const all = sent.reduce((sum, one) => sum + one, 0);
      // 16 steps between two looks at the clock are 8 ms, of two sessions.
      assert.ok(all - before <= 32, `${all - before} stanzas in one turn`);
      before = all;
      if (++turns === sessions) assert.ok(sent.every((one) => one > 0 && one < each));
      if (ended < sessions) setImmediate(look);
    };
    setImmediate(look);
  });
  assert.ok(sent.every((one) => one === each));
});

test('a session without other sources is served immediately', () => {
  const jid = Jid.parse('juliet@localhost/balcony');
  const sent: string[] = [];
  const session = new Session(jid, { send: ({ id }) => void sent.push(id ?? '') });
  const source = ['1', '2'].map((id) => Stanza.build('message', { to: jid, from: service, id }));
  assert.equal(session.pour(source.values() as Generator<Stanza, void>, { failed: assert.ifError }), undefined);
  assert.deepEqual(sent, ['1', '2']);
  assert.equal(session.isPouring, false);
});
