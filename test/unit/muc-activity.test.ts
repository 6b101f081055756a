import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Room, type StoredRoom } from '../../src/modules/xep-0045-muc/room.js';
import { defaultsOf, settings } from '../../src/modules/xep-0045-muc/settings.js';
import { activityOf, countMessage } from '../../src/modules/xep-0045-muc/xep-0502-activity.js';
import { Jid } from '../../src/server/address/jid.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { takeClocks } from './clocks.js';

const room = (changes: Partial<StoredRoom['config']> = {}): Room => {
  const config = { ...defaultsOf(settings.parse({})), persistent: true, ...changes };
  return new Room(Jid.parse('coven@conference.localhost'), { v: 1, config, creator: '', created: 0, secret: '' });
};
const spoken = Stanza.parse(`<message xmlns='jabber:client'><body>x</body></message>`);
const hour = 3_600_000;

test('XEP-0502: messages per hour, over the full hours of the last day', (t) => {
  const clocks = takeClocks();
  t.after(clocks.restore);
  const coven = room();
  assert.equal(activityOf(coven), undefined, 'not known yet');
  for (let n = 0; n < 6; n++) countMessage(coven, spoken);
  countMessage(coven, Stanza.parse(`<message xmlns='jabber:client'><subject>x</subject></message>`));
  countMessage(
    coven,
    Stanza.parse(
      `<message xmlns='jabber:client'><body>y</body><replace id='1' xmlns='urn:xmpp:message-correct:0'/></message>`,
    ),
  );
  clocks.pass(hour);
  assert.equal(activityOf(coven), 6);
  clocks.pass(3 * hour);
  assert.equal(activityOf(coven), 1.5);
  clocks.pass(20 * hour);
  assert.equal(activityOf(coven), 0.25);
  clocks.pass(hour);
  assert.equal(activityOf(coven), 0);
});

test('XEP-0502 §3, §9: only for persistent, public and open rooms', (t) => {
  const clocks = takeClocks();
  t.after(clocks.restore);
  const rooms = [{ persistent: false }, { public: false }, { membersOnly: true }, { password: 'x' }].map(room);
  clocks.pass(2 * hour);
  for (const one of rooms) assert.equal(activityOf(one), undefined);
});

test('a room handles its events one after another', async () => {
  const coven = room();
  const done: string[] = [];
  let finish = () => {};
  const first = coven.turn(async () => {
    done.push('first begins');
    await new Promise<void>((resolve) => {
      finish = resolve;
    });
    done.push('first ends');
  });
  const second = coven.turn(() => {
    // its own follow-up events wait as well
    void coven.turn(() => void done.push('third'));
    done.push('second');
  });
  const failing = coven.turn(() => {
    throw new Error('mine alone');
  });
  assert.deepEqual(done, ['first begins']);
  finish();
  await Promise.all([first, second, assert.rejects(async () => failing)]);
  await coven.turn(() => {});
  assert.deepEqual(done, ['first begins', 'first ends', 'second', 'third']);
  assert.ok(coven.isIdle);
});
