/** XEP-0437: what moves with a room about who was notified of its messages. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noSubscribers, notices, type Subscribers } from '../../src/modules/xep-0045-muc/subscribers.js';
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
