/** XEP-0437: what moves with a room about who was notified of its messages. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  forgetFormer,
  noSubscribers,
  notices,
  type Subscribers,
  subscribedOccupants,
} from '../../src/modules/xep-0045-muc/subscribers.js';
import { Jid } from '../../src/server/address/jid.js';

const room = 'forres@conference.localhost';
const client = 'hag66@localhost/pda';

function subscribed(id: string, ...notified: string[]): Subscribers {
  const subscribers = noSubscribers(10);
  subscribers.clients.set(client, { jid: Jid.parse(client), id, notified: new Set(notified) });
  return subscribers;
}

test('a client is notified once, wherever the room is', () => {
  const handed = [...notices(subscribed('one', room, 'heath@conference.localhost')).describe((bare) => bare === room)];
  const next = subscribed('one');
  for (const [bare, notice] of handed) notices(next).restore(bare, notice);
  assert.deepEqual([...next.clients.get(client)!.notified], [room]);
});

test('a client that has subscribed again meanwhile is notified again', () => {
  const handed = [...notices(subscribed('one', room)).describe(() => true)];
  const next = subscribed('two');
  for (const [bare, notice] of handed) notices(next).restore(bare, notice);
  assert.equal(next.clients.get(client)!.notified.size, 0);
  assert.equal(handed.length, 1);
});

test('the new home of a room knows which occupants have subscribed before', () => {
  const occupants = new Map([['thirdwitch', { user: Jid.parse('hag66@localhost') }]]);
  const rooms = (here: readonly string[]) => ({
    loaded: () => here.map((bare) => ({ jid: Jid.parse(bare), occupants })),
    joins: () => here.length,
  });
  const before = noSubscribers(10);
  before.users.set('hag66@localhost', new Set());
  const next = noSubscribers(10);
  const memory = subscribedOccupants(next, rooms([]));
  for (const [bare, user] of subscribedOccupants(before, rooms([room])).describe((one) => one === room))
    memory.restore(bare, user);
  assert.deepEqual([...next.users.keys()], ['hag66@localhost']);
  forgetFormer(next, rooms([room]));
  assert.equal(next.users.size, 1);
  forgetFormer(next, rooms([]));
  assert.equal(next.users.size, 0);
});
