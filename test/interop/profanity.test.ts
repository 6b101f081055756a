/** A user of Profanity in a terminal, and one of xmpp.js. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import type { Device } from './device.js';
import { Profanity } from './profanity.js';
import type { Relay } from './relay.js';
import { patience } from './server.js';
import { Stage, without } from './stage.js';
import { steps } from './steps.js';
import { ways } from './ways.js';

const stage = Stage.forThisFile();
const skip = without('profanity') || without('javascript');

describe('Profanity, STARTTLS', { skip, concurrency: false }, () => {
  let profanity: Profanity;
  let romeo: Device;
  let second: Device;
  let relay: Relay;
  let own: string;
  let other: string;
  const account = stage.account('desk');
  const step = steps();
  after(() => profanity?.quits());

  step('logs in once the certificate is accepted', async () => {
    relay = await stage.relay('c2s');
    romeo = await stage.keep(ways.xmppJsTls.device(stage.account('home'), stage.port('c2s_tls')));
    second = await stage.keep(ways.xmppJsStartTls.device(account, stage.port('c2s')));
    await Promise.all([romeo.online(), second.online()]);
    other = romeo.jid.split('/')[0]!;
    profanity = await Profanity.start();
    await profanity.types('/reconnect 1');
    await profanity.types('/carbons on');
    const screen = await profanity.logsIn(account, relay.port, 'force', 'always');
    own = /(\S+@localhost\/\S+) logged in/.exec(screen)![1]!;
  });

  step('both subscribe, and see each other', async () => {
    await profanity.types(`/roster add ${other} Romeo`);
    await profanity.types(`/sub request ${other}`);
    await romeo.inbox.next('presence', { from: account.bare, type: 'subscribe' });
    await romeo.accept(account.bare);
    await romeo.subscribe(account.bare);
    await profanity.sees(/[Aa]uthorization request|wants? to subscribe|requests? to subscribe/);
    await profanity.types(`/sub allow ${other}`);
    await romeo.inbox.next('presence', { from: account.bare, type: 'subscribed' });
    await romeo.inbox.next('presence', { from: own, type: 'available' });
    const contact = (await romeo.roster()).find(({ jid }) => jid === account.bare);
    assert.equal(contact?.subscription, 'both');
    const mine = (await second.roster()).find(({ jid }) => jid === other);
    assert.deepEqual(mine, { jid: other, subscription: 'both', name: 'Romeo', groups: [] });
  });

  step('both send messages', async () => {
    for (const text of ['Grüße – 日本語', '<b>&amp; "quoted"</b>', 'a long one '.repeat(80).trim()]) {
      await profanity.types(`/msg ${other} ${text}`);
      assert.equal((await romeo.inbox.next('message', { from: own })).body, text);
    }
    await romeo.say(own, 'Wie geht’s, <Julia> & Co.?');
    await profanity.sees(/Wie geht’s, <Julia> & Co\.\?/);
  });

  step('shows messages of another device (XEP-0280)', async () => {
    await second.say(other, 'said elsewhere');
    await profanity.sees(/said elsewhere/);
    await romeo.say(second.jid, 'heard elsewhere');
    await profanity.sees(/heard elsewhere/);
  });

  step('queries the server', async () => {
    await profanity.types('/win 1');
    await pings(profanity);
    await profanity.types('/serversoftware localhost');
    await profanity.sees(/Waxwing/);
    await profanity.types('/blocked add nobody@localhost');
    await profanity.sees(/nobody@localhost successfully blocked/);
    await profanity.types('/blocked remove nobody@localhost');
    await profanity.sees(/nobody@localhost successfully unblocked/);
    assert.deepEqual(await second.blocked(), []);
  });

  step('reconnects after a lost connection, and shows missed messages', async () => {
    await profanity.types(`/msg ${other} before`);
    await romeo.inbox.next('message', { body: 'before' });
    relay.cut();
    await romeo.say(account.bare, 'said during the cut');
    const screen = await profanity.sees(/said during the cut/);
    assert.equal(screen.match(/said during the cut/g)?.length, 1);
    await profanity.types(`/msg ${other} after`);
    await romeo.inbox.next('message', { body: 'after' });
  });

  step('shows offline messages', async () => {
    await second.offline();
    await profanity.types('/disconnect');
    await romeo.inbox.next('presence', { from: own, type: 'unavailable' });
    await romeo.say(account.bare, 'said while away');
    await romeo.ping('localhost');
    await profanity.types('/win 1');
    await profanity.sees(/\[offline\]/);
    await profanity.connects(account, relay.port, 'force');
    await profanity.sees(/\[online\]/);
    await profanity.types(`/msg ${other} back`);
    await romeo.inbox.next('message', { body: 'back' });
    await profanity.sees(/said while away/);
    await profanity.types('/quit');
    await romeo.inbox.next('presence', { from: account.bare, type: 'unavailable' });
  });
});

describe('Profanity, in rooms', { skip, concurrency: false }, () => {
  let profanity: Profanity;
  let romeo: Device;
  const account = stage.account('desk');
  const room = 'globe@conference.localhost';
  const other = 'verona@conference.localhost';
  const step = steps();
  after(() => profanity?.quits());

  step('creates a members-only room, and invites', async () => {
    romeo = await stage.keep(ways.stanzaJs.device(stage.account('home'), stage.port('https')));
    await romeo.online();
    profanity = await Profanity.start();
    await profanity.logsIn(account, stage.port('c2s'), 'force');
    await profanity.types('/presence room all');
    await profanity.types(`/join ${room} nick Paula`);
    await profanity.sees(/joined the room as Paula, role: moderator, affiliation: owner.*Room locked/s);
    await profanity.types('/room config');
    const form = await profanity.sees(/Only members may enter: FALSE.*\/form submit/s);
    const field = (label: string): string => new RegExp(`\\[(field\\d+)\\] ${label}`).exec(form)![1]!;
    await profanity.types(`/${field('Name')} "The Globe"`);
    await profanity.types(`/${field('Only members may enter')} on`);
    await profanity.sees(/Only members may enter: TRUE/);
    await profanity.types('/form submit');
    await profanity.sees(/Room configuration successful/);
    assert.equal(await romeo.rooms.name(room), 'The Globe');
    await assert.rejects(romeo.rooms.enter(room, 'Romeo'), /registration-required/);
    await profanity.types(`/win ${room}`);
    await profanity.types(`/affiliation set member ${bare(romeo.jid)}`);
    await profanity.types('/affiliation list member');
    await profanity.sees(new RegExp(`Affiliation: member.*${bare(romeo.jid)}`, 's'));
    await profanity.types(`/invite send ${bare(romeo.jid)} come in`);
    await romeo.inbox.next('invited', { room, reason: 'come in' });
    await romeo.rooms.enter(room, 'Romeo');
    await profanity.sees(/Romeo has joined/);
  });

  step('all send messages', async () => {
    await profanity.types('Grüße <an> & alle – 日本語');
    await romeo.inbox.next('message', { from: `${room}/Paula`, body: 'Grüße <an> & alle – 日本語' });
    await romeo.rooms.say(room, 'so <do> I & more');
    await profanity.sees(/Romeo: so <do> I & more/);
    await profanity.types('/msg Romeo between us');
    await romeo.inbox.next('message', { from: `${room}/Paula`, type: 'chat', body: 'between us' });
    await romeo.rooms.whisper(room, 'Paula', 'of course');
    await profanity.sees(/of course/);
    await profanity.types(`/win ${room}`);
    await profanity.types('/subject set Fire & thunder');
    await romeo.inbox.next('subject', { from: `${room}/Paula`, subject: 'Fire & thunder' });
    await profanity.types('/nick Paolo');
    await romeo.inbox.next('occupant', { from: `${room}/Paula`, type: 'unavailable', codes: [303], nick: 'Paolo' });
    await romeo.rooms.rename(room, 'Roméo');
    await profanity.sees(/Romeo is now known as Roméo/);
  });

  step('kicks an occupant, who joins again', async () => {
    await profanity.types('/kick Roméo a break');
    await romeo.inbox.next('occupant', { from: `${room}/Roméo`, codes: [307, 110], reason: 'a break' });
    await profanity.sees(/Roméo has been kicked/);
    await romeo.rooms.enter(room, 'Romeo');
    await profanity.types(`/ban ${bare(romeo.jid)} enough`);
    await romeo.inbox.next('occupant', { from: `${room}/Romeo`, codes: [301, 110], reason: 'enough' });
    await assert.rejects(romeo.rooms.enter(room, 'Romeo'), /forbidden/);
  });

  step('is invited, shows the history, and a retraction', async () => {
    await romeo.rooms.enter(other, 'Romeo');
    await romeo.rooms.configure(other, {});
    for (const text of ['said before', 'this as well']) {
      await romeo.rooms.say(other, text);
      await romeo.inbox.next('message', { from: `${other}/Romeo`, body: text });
    }
    await romeo.rooms.setSubject(other, 'Vérone');
    await romeo.inbox.next('subject', { subject: 'Vérone' });
    await profanity.types('/win 1');
    await romeo.rooms.inviteDirectly(other, account.bare, 'this way');
    await profanity.sees(/invite received.*this way/s);
    await romeo.rooms.invite(other, account.bare, 'or that way');
    await profanity.types('/invite list');
    await profanity.sees(new RegExp(`Chat room invites.*${other}`, 's'));
    await profanity.types(`/join ${other} nick Paula`);
    await profanity.sees(/Vérone/);
    await profanity.sees(/Romeo: said before.*Romeo: this as well/s);
    await romeo.inbox.next('occupant', { from: `${other}/Paula`, type: 'available', affiliation: 'none' });
    await romeo.rooms.destroy(other, 'all done');
    await profanity.sees(/Room destroyed/);
  });

  step('destroys its room', async () => {
    await profanity.types(`/win ${room}`);
    await profanity.types('/room destroy');
    await until(async () => !(await romeo.rooms.list('conference.localhost')).includes(room));
  });
});

test('Profanity reads its archive (XEP-0313)', { skip, timeout: 180_000 }, async (t) => {
  const account = stage.account('elsewhere');
  const elsewhere = await stage.keep(ways.stanzaJs.device(account, stage.port('https')));
  const romeo = await stage.keep(ways.xmppJsTls.device(stage.account('home'), stage.port('c2s_tls')));
  await Promise.all([elsewhere.online(), romeo.online()]);
  for (const body of ['first <things> first', 'and last']) {
    await romeo.say(account.bare, body);
    await elsewhere.inbox.next('message', { body });
  }
  await elsewhere.say(romeo.jid, 'so it is');
  await romeo.inbox.next('message', { body: 'so it is' });
  const profanity = await Profanity.start();
  t.after(() => profanity.quits());
  await profanity.types('/mam on');
  await profanity.logsIn(account, stage.port('c2s_tls'), 'legacy');
  await pings(profanity);
  await profanity.types(`/msg ${bare(romeo.jid)}`);
  await profanity.sees(/first <things> first.*and last.*so it is/s);
});

test('Profanity, direct TLS', { skip, timeout: 180_000 }, async (t) => {
  const account = stage.account('desk');
  const profanity = await Profanity.start();
  t.after(() => profanity.quits());
  await profanity.logsIn(account, stage.port('c2s_tls'), 'legacy');
  await pings(profanity);
});

/** It pings only entities that support it, so wait for the queries of its login. */
async function pings(profanity: Profanity): Promise<void> {
  await profanity.types('/disco info localhost');
  await profanity.sees(/urn:xmpp:ping/);
  await profanity.types('/ping');
  await profanity.sees(/Ping response from server/);
}

/** Asks again until it holds: for changes without a notification. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + patience; !(await isSo()); )
    assert.ok(Date.now() < end, `it does not come to be: ${isSo}`);
}

const bare = (jid: string): string => jid.split('/')[0]!;
