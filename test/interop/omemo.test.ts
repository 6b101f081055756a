/** End-to-end encryption by OMEMO (XEP-0384), which rests on PEP: two people with slixmpp, and Profanity. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Device } from './device.js';
import { Profanity } from './profanity.js';
import { slixmpp } from './slixmpp.js';
import { certificate, Stage, without } from './stage.js';
import { steps } from './steps.js';

const stage = Stage.forThisFile();

const device = (account: ReturnType<Stage['account']>): Promise<Device> =>
  stage.keep(slixmpp({ ...account, port: stage.port('c2s_tls'), tls: 'direct', certificate, omemo: true }));

describe('slixmpp with OMEMO', { skip: without('slixmpp'), concurrency: false }, () => {
  const step = steps();
  let juliet: Device;
  let desk: Device;
  let romeo: Device;
  const account = stage.account('phone');
  const other = stage.account('home');
  const receives = async (who: Device, body: string, wanted: object = {}): Promise<void> => {
    const { isEncrypted } = await who.inbox.next('message', { body, ...wanted });
    assert.equal(isEncrypted, true, `${body} was not encrypted`);
  };

  step('two users who are not contacts', async () => {
    [juliet, romeo] = await Promise.all([device(account), device(other)]);
    await Promise.all([juliet.online(), romeo.online()]);
    await juliet.sayEncrypted!(romeo.jid, 'Grüße <&> 🌼');
    await receives(romeo, 'Grüße <&> 🌼', { from: juliet.jid });
    await romeo.sayEncrypted!(juliet.jid, 'back');
    await receives(juliet, 'back', { from: romeo.jid });
  });

  step('two contacts, one with two devices', async () => {
    await juliet.subscribe(other.bare);
    await romeo.inbox.next('presence', { from: account.bare, type: 'subscribe' });
    await romeo.accept(account.bare);
    await romeo.subscribe(account.bare);
    await juliet.inbox.next('presence', { from: other.bare, type: 'subscribe' });
    await juliet.accept(other.bare);
    await romeo.inbox.next('presence', { from: juliet.jid, type: 'available' });
    desk = await device({ ...account, resource: 'desk' });
    await desk.online();
    await desk.enableCarbons();
    await juliet.enableCarbons();
    await romeo.inbox.next('presence', { from: desk.jid, type: 'available' });
    await romeo.sayEncrypted!(juliet.jid, 'to both');
    await receives(juliet, 'to both', { from: romeo.jid });
    await receives(desk, 'to both', { from: romeo.jid, carbon: 'received' });
    await desk.sayEncrypted!(other.bare, 'from the desk');
    await receives(romeo, 'from the desk', { from: desk.jid });
    await receives(juliet, 'from the desk', { carbon: 'sent' });
  });

  step('an offline user decrypts later, and the other device from the archive', async () => {
    await Promise.all([juliet.offline(), desk.offline()]);
    for (const jid of [juliet.jid, desk.jid]) await romeo.inbox.next('presence', { from: jid, type: 'unavailable' });
    for (const body of ['away 1', 'away 2', 'away 3']) await romeo.sayEncrypted!(account.bare, body);
    await romeo.ping('localhost');
    await juliet.online();
    for (const body of ['away 1', 'away 2', 'away 3']) await receives(juliet, body, { delayed: true });
    await desk.online();
    const { messages } = await desk.history({ with: other.bare, before: '', max: 3 });
    assert.deepEqual(
      messages.map(({ body }) => body),
      ['away 1', 'away 2', 'away 3'],
    );
  });

  step('in a members-only room', async () => {
    const room = 'secret@conference.localhost';
    await juliet.rooms.enter(room, 'Juliet');
    await juliet.rooms.configure(room, {
      'muc#roomconfig_membersonly': '1',
      'muc#roomconfig_whois': 'anyone',
      'muc#roomconfig_persistentroom': '1',
    });
    await juliet.rooms.affiliate(room, other.bare, 'member');
    await romeo.rooms.enter(room, 'Romeo');
    await desk.rooms.enter(room, 'Juliet');
    const people = async (who: Device): Promise<string[]> => {
      const lists = await Promise.all(['owner', 'admin', 'member'].map((list) => who.rooms.affiliated(room, list)));
      return lists.flat();
    };
    assert.deepEqual((await people(romeo)).sort(), [account.bare, other.bare].sort());
    await juliet.sayEncrypted!(room, 'among us', await people(juliet));
    for (const who of [juliet, desk, romeo])
      await receives(who, 'among us', { from: `${room}/Juliet`, type: 'groupchat' });
    await romeo.sayEncrypted!(room, 'only us', await people(romeo));
    for (const who of [juliet, desk, romeo])
      await receives(who, 'only us', { from: `${room}/Romeo`, type: 'groupchat' });
    await romeo.rooms.leave(room, 'Romeo');
    await juliet.sayEncrypted!(room, 'while romeo is away', await people(juliet));
    await receives(desk, 'while romeo is away');
    await romeo.rooms.enter(room, 'Romeo', { max: 0 });
    const { messages } = await romeo.history({ before: '', max: 1 }, room);
    assert.deepEqual(
      messages.map(({ body }) => body),
      ['while romeo is away'],
    );
    await Promise.all([juliet.offline(), desk.offline(), romeo.offline()]);
  });
});

describe('Profanity with OMEMO', { skip: without('profanity') || without('slixmpp') }, () => {
  test('and slixmpp', { timeout: 180_000 }, async (t) => {
    const account = stage.account('desk');
    const romeo = await device(stage.account('home'));
    await romeo.online();
    const other = romeo.jid.split('/')[0]!;
    const profanity = await Profanity.start();
    t.after(() => profanity.quits());
    await profanity.types('/omemo trustmode blind');
    await profanity.logsIn(account, stage.port('c2s'), 'force');
    await profanity.types('/omemo gen');
    await profanity.sees(/Your Device ID is/);
    await profanity.types(`/sub request ${other}`);
    await romeo.inbox.next('presence', { from: account.bare, type: 'subscribe' });
    await romeo.accept(account.bare);
    await romeo.subscribe(account.bare);
    await profanity.types(`/sub allow ${other}`);
    await romeo.inbox.next('presence', { from: account.bare, type: 'subscribed' });
    await profanity.types(`/msg ${other}`);
    await profanity.types('/omemo start');
    // It has the keys of the other, and can begin.
    await profanity.types('/win 1');
    await profanity.sees(new RegExp(`Blind trust for ${other}`));
    await profanity.types(`/msg ${other} in secret – Grüße`);
    const { isEncrypted } = await romeo.inbox.next('message', { body: 'in secret – Grüße' });
    assert.equal(isEncrypted, true);
    await romeo.sayEncrypted!(account.bare, 'and an answer');
    await profanity.types(`/msg ${other}`);
    await profanity.sees(/and an answer/);
  });
});
