/** Rooms of one server with occupants of the other (XEP-0045). `other` has the room and its owner. */
import assert from 'node:assert/strict';
import { NS } from '../../../src/server/stanza/ns.js';
import type { Client } from './client.js';
import { domainOf, type Peer, roomsOf } from './peer.js';
import type { Play } from './scene.js';

let made = 0;
/** The address of a room that is not there yet. */
export const newRoom = (server: Peer): string => `room${++made}@${roomsOf(domainOf(server.name, 'external'))}`;

/** Makes a room with the usual settings. */
export async function opens(owner: Client, room: string, nick: string): Promise<void> {
  await owner.can.rooms.enter(room, nick);
  await owner.can.rooms.configure(room, {});
}

/** Both are in the room, and see each other. */
async function meet(room: string, owner: Client, guest: Client): Promise<void> {
  await opens(owner, room, 'juliet');
  await guest.can.rooms.enter(room, 'romeo');
  await guest.inbox.next('occupant', { from: `${room}/juliet`, type: 'available', affiliation: 'owner' });
  await owner.inbox.next('occupant', { from: `${room}/romeo`, type: 'available', role: 'participant' });
}

export const rooms: readonly Play[] = [
  {
    title: 'a room: joining, talking, a subject, private messages, a new nickname, leaving',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other);
      const room = newRoom(other);
      await meet(room, juliet, romeo);
      await romeo.can.rooms.say(room, 'But soft!');
      for (const person of [romeo, juliet])
        await person.inbox.next('message', { from: `${room}/romeo`, type: 'groupchat', body: 'But soft!' });
      await juliet.can.rooms.say(room, 'Ay me!');
      for (const person of [romeo, juliet])
        await person.inbox.next('message', { from: `${room}/juliet`, type: 'groupchat', body: 'Ay me!' });
      await juliet.can.rooms.setSubject(room, 'Roses');
      for (const person of [romeo, juliet])
        await person.inbox.next('subject', { from: `${room}/juliet`, subject: 'Roses' });
      await romeo.can.rooms.whisper(room, 'juliet', 'psst');
      await juliet.inbox.next('message', { from: `${room}/romeo`, type: 'chat', body: 'psst' });
      await juliet.can.rooms.whisper(room, 'romeo', 'yes?');
      await romeo.inbox.next('message', { from: `${room}/juliet`, type: 'chat', body: 'yes?' });
      await romeo.can.rooms.rename(room, 'montague');
      await juliet.inbox.next('occupant', {
        from: `${room}/romeo`,
        type: 'unavailable',
        codes: [303],
        nick: 'montague',
      });
      await juliet.inbox.next('occupant', { from: `${room}/montague`, type: 'available' });
      assert.ok(await romeo.can.rooms.isIn(room, 'montague'));
      await romeo.can.rooms.leave(room, 'montague');
      await juliet.inbox.next('occupant', { from: `${room}/montague`, type: 'unavailable' });
      assert.ok(!(await romeo.can.rooms.isIn(room, 'montague')));
    },
  },
  {
    title: 'a room: its history, its archive (XEP-0313) and its description, for somebody from elsewhere',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other);
      const room = newRoom(other);
      await opens(juliet, room, 'juliet');
      await juliet.can.rooms.configure(room, { 'muc#roomconfig_publicroom': '1' });
      for (const text of ['first', 'second', 'third']) await juliet.can.rooms.say(room, text);
      await juliet.inbox.next('message', { from: `${room}/juliet`, body: 'third' });
      await romeo.can.rooms.enter(room, 'romeo', { max: 2 });
      for (const text of ['second', 'third'])
        await romeo.inbox.next('message', { from: `${room}/juliet`, body: text, delayed: true });
      assert.deepEqual(romeo.inbox.take('message'), []);
      const { messages } = await romeo.can.history({ max: 10 }, room);
      const sent = messages.filter(({ body }) => body !== '').map(({ from, body }) => [from, body]);
      assert.deepEqual(
        sent,
        ['first', 'second', 'third'].map((text) => [`${room}/juliet`, text]),
      );
      assert.ok((await romeo.can.features(room)).includes(NS.muc));
      assert.ok((await romeo.can.rooms.list(room.split('@')[1]!)).includes(room));
    },
  },
  {
    title: 'a room: invitations, direct (XEP-0249) and by the room',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other);
      const room = newRoom(other);
      await opens(juliet, room, 'juliet');
      await juliet.can.rooms.inviteDirectly(room, romeo.bare, 'come');
      await romeo.inbox.next('invited', { room, isDirect: true, reason: 'come' });
      await juliet.can.rooms.invite(room, romeo.bare, 'please');
      await romeo.inbox.next('invited', { room, isDirect: false, reason: 'please' });
      await romeo.can.rooms.enter(room, 'romeo');
    },
  },
  {
    title: 'a room: somebody from elsewhere is kicked, comes back, is banned, and may come again',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other);
      const room = newRoom(other);
      await meet(room, juliet, romeo);
      await juliet.can.rooms.kick(room, 'romeo', 'enough');
      const kicked = await romeo.inbox.next('occupant', {
        from: `${room}/romeo`,
        type: 'unavailable',
        codes: [307, 110],
      });
      assert.equal(kicked.reason, 'enough');
      await juliet.inbox.next('occupant', { from: `${room}/romeo`, type: 'unavailable', codes: [307] });
      await romeo.can.rooms.enter(room, 'romeo');
      await juliet.can.rooms.affiliate(room, romeo.bare, 'outcast', 'for good');
      await romeo.inbox.next('occupant', { from: `${room}/romeo`, type: 'unavailable', codes: [301, 110] });
      assert.deepEqual(await juliet.can.rooms.affiliated(room, 'outcast'), [romeo.bare]);
      await assert.rejects(romeo.can.rooms.enter(room, 'romeo'), /forbidden/);
      await juliet.can.rooms.affiliate(room, romeo.bare, 'none');
      await romeo.can.rooms.enter(room, 'romeo');
    },
  },
  {
    title: 'a room: an owner from elsewhere configures and moderates it',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other);
      const room = newRoom(other);
      await meet(room, juliet, romeo);
      await juliet.can.rooms.affiliate(room, romeo.bare, 'owner');
      await romeo.inbox.next('occupant', { from: `${room}/romeo`, type: 'available', affiliation: 'owner' });
      await romeo.can.rooms.configure(room, { 'muc#roomconfig_roomname': 'Garden' });
      assert.equal((await romeo.can.rooms.configuration(room))['muc#roomconfig_roomname'], 'Garden');
      const tybalt = await scene.someone(other);
      await tybalt.can.rooms.enter(room, 'tybalt');
      await romeo.can.rooms.kick(room, 'tybalt', 'no');
      await tybalt.inbox.next('occupant', { from: `${room}/tybalt`, type: 'unavailable', codes: [307, 110] });
      await romeo.can.rooms.destroy(room, 'done');
      await juliet.inbox.next('occupant', { from: `${room}/juliet`, type: 'unavailable', isDestroyed: true });
    },
  },
  {
    title: 'a room: who is kept out from elsewhere is told why',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other);
      const room = newRoom(other);
      await meet(room, juliet, romeo);
      const paris = await scene.someone(one);
      await assert.rejects(paris.can.rooms.enter(room, 'romeo'), /conflict/);
      await juliet.can.rooms.configure(room, {
        'muc#roomconfig_passwordprotectedroom': '1',
        'muc#roomconfig_roomsecret': 'rose',
      });
      await assert.rejects(paris.can.rooms.enter(room, 'paris'), /not-authorized/);
      await juliet.can.rooms.configure(room, {
        'muc#roomconfig_passwordprotectedroom': '0',
        'muc#roomconfig_roomsecret': '',
        'muc#roomconfig_membersonly': '1',
      });
      await assert.rejects(paris.can.rooms.enter(room, 'paris'), /registration-required/);
      await juliet.can.rooms.affiliate(room, paris.bare, 'member');
      await paris.can.rooms.enter(room, 'paris');
    },
  },
];
