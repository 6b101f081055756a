/** Three libraries in a room, in turn as its owner, as a member, and as a guest: everything that people do in rooms. */
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { NS } from '../../src/server/stanza/ns.js';
import type { Device, Happening, Occupant } from './device.js';
import type { Relay } from './relay.js';
import { Stage, without } from './stage.js';
import { steps } from './steps.js';
import { type Way, ways } from './ways.js';

const stage = Stage.forThisFile();

const service = 'conference.localhost';

const casts: readonly (readonly [Way, Way, Way])[] = [
  [ways.xmppJsTls, ways.stanzaJs, ways.slixmppTls],
  [ways.stanzaJs, ways.slixmppStartTls, ways.strophe],
  [ways.slixmppTls, ways.strophe, ways.xmppJsWebSocket],
  [ways.strophe, ways.xmppJsStartTls, ways.stanzaJs],
];

for (const [at, cast] of casts.entries()) {
  const skip = cast.map(({ program }) => without(program)).find((why) => why !== false) ?? false;
  const [owner, member, guest] = cast;
  const title = `${owner.name}, is the owner; ${member.name}, a member; ${guest.name}, a guest`;
  describe(title, { skip, concurrency: false }, () => meet(`room${at}@${service}`, cast));
}

/** 1×1, transparent. */
const picture = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

const texts = [
  'Grüße – 日本語 – 👩‍👩‍👧‍👦',
  '<b>&amp; "quoted" \'so\' ]]> </body></b>',
  'two\nlines',
  'long '.repeat(2000),
];

function meet(room: string, cast: readonly [Way, Way, Way]): void {
  const step = steps();
  let relay: Relay;
  let owner: Device;
  let member: Device;
  let guest: Device;
  /** The room's archive id of a message that the owner has received, by text. */
  const received = new Map<string, string>();
  /** What each is known by in the room (XEP-0421). */
  let guestId: string | undefined;

  /** One sends, and all others receive. Resolves with the id in the room's archive. */
  const speaks = async (from: Device, nick: string, body: string, to: readonly Device[]): Promise<string> => {
    await from.rooms.say(room, body);
    const copies = await Promise.all(
      to.map((device) =>
        device.inbox.next('message', { from: `${room}/${nick}`, type: 'groupchat', body, delayed: false }),
      ),
    );
    const [first] = copies;
    const id = first!.ids[room];
    assert.ok(id !== undefined, 'the room gave no id');
    for (const copy of copies) {
      assert.equal(copy.ids[room], id, 'the others got another id');
      assert.ok(copy.occupant !== undefined);
      assert.equal(copy.occupant, first!.occupant);
    }
    received.set(body, id);
    return id;
  };
  const see = (devices: readonly Device[], wanted: Partial<Occupant>): Promise<Occupant[]> =>
    Promise.all(devices.map((device) => device.inbox.next('occupant', wanted)));

  step('the owner creates a persistent members-only room', async () => {
    const resources = ['owner', 'member', 'guest'] as const;
    relay = await stage.relay(cast[1].listener);
    [owner, member, guest] = (await Promise.all(
      cast.map((way, at) =>
        stage.keep(way.device(stage.account(resources[at]!), way === cast[1] ? relay.port : stage.port(way.listener))),
      ),
    )) as [Device, Device, Device];
    await Promise.all([owner.online(), member.online(), guest.online()]);
    const own = await owner.rooms.enter(room, 'Öwner <1>');
    assert.deepEqual([own.affiliation, own.role], ['owner', 'moderator']);
    for (const code of [110, 201]) assert.ok(own.codes.includes(code), `there is no ${code}`);
    await owner.inbox.next('subject', { from: room, subject: '' });
    await assert.rejects(member.rooms.enter(room, 'Member'), /item-not-found/, 'it is locked until it is configured');
    assert.equal((await owner.rooms.configuration(room))['muc#roomconfig_membersonly'], '0');
    await owner.rooms.configure(room, {
      'muc#roomconfig_roomname': 'The <Globe> & more',
      'muc#roomconfig_membersonly': '1',
      'muc#roomconfig_persistentroom': '1',
      'muc#roomconfig_whois': 'anyone',
      'muc#maxhistoryfetch': '30',
    });
    assert.equal((await owner.rooms.configuration(room))['muc#roomconfig_roomname'], 'The <Globe> & more');
  });

  step('an instant room is open, and destroyed with its last occupant', async () => {
    const instant = `instant-${room}`;
    await owner.rooms.enter(instant, 'one');
    await owner.rooms.configure(instant, {});
    const own = await member.rooms.enter(instant, 'two');
    assert.deepEqual([own.affiliation, own.role], ['none', 'participant']);
    assert.ok((await guest.rooms.list(service)).includes(instant));
    await member.rooms.leave(instant, 'two');
    await owner.rooms.leave(instant, 'one');
    assert.ok(!(await owner.rooms.list(service)).includes(instant));
    for (const device of [owner, member]) drop(device, 'occupant', 'subject');
  });

  step('only invited users can join, and get the history', async () => {
    for (const text of ['one', 'two', 'three']) await speaks(owner, 'Öwner <1>', text, [owner]);
    await assert.rejects(member.rooms.enter(room, 'Member'), /registration-required/);
    await owner.rooms.affiliate(room, bare(member.jid), 'member');
    await owner.rooms.invite(room, bare(member.jid), 'Come <in>');
    const { by } = await member.inbox.next('invited', { room, reason: 'Come <in>', isDirect: false });
    assert.equal(bare(by), bare(owner.jid));
    const own = await member.rooms.enter(room, 'Member');
    assert.deepEqual([own.affiliation, own.role], ['member', 'participant']);
    for (const body of ['one', 'two', 'three']) {
      const old = await member.inbox.next('message', { from: `${room}/Öwner <1>`, body, delayed: true });
      assert.equal(old.ids[room], received.get(body));
    }
    await see([member], { from: `${room}/Öwner <1>`, affiliation: 'owner', role: 'moderator' });
    await see([owner], { from: `${room}/Member`, affiliation: 'member', type: 'available' });
    // The room makes a member of whom an owner invites (§7.8.2).
    await owner.rooms.invite(room, bare(guest.jid), 'You too');
    await guest.inbox.next('invited', { room, reason: 'You too', isDirect: false });
    guestId = (await guest.rooms.enter(room, 'Guest', { max: 1 })).occupant;
    assert.ok(guestId !== undefined);
    await guest.inbox.next('message', { body: 'three', delayed: true });
    // Some libraries show an invitation's body as a message, too.
    const isInvitation = (item: Happening) => item.kind === 'message' && /invites you to the room/.test(item.body);
    assert.deepEqual(
      drop(guest, 'message').filter((item) => !isInvitation(item)),
      [],
    );
    for (const seen of await see([owner, member], { from: `${room}/Guest`, type: 'available' }))
      assert.equal(seen.occupant, guestId);
  });

  step('all send messages, which arrive unchanged', async () => {
    const all = [owner, member, guest];
    for (const text of texts) {
      await speaks(owner, 'Öwner <1>', text, all);
      await speaks(member, 'Member', `${text}!`, all);
      await speaks(guest, 'Guest', `${text}?`, all);
    }
  });

  step('a private message reaches one occupant', async () => {
    await owner.rooms.whisper(room, 'Member', 'between us <two>');
    await member.inbox.next('message', { from: `${room}/Öwner <1>`, type: 'chat', body: 'between us <two>' });
    await member.rooms.whisper(room, 'Öwner <1>', 'yes');
    await owner.inbox.next('message', { from: `${room}/Member`, type: 'chat', body: 'yes' });
    await speaks(member, 'Member', 'aloud', [owner, member, guest]);
    assert.deepEqual(drop(guest, 'message'), []);
    await guest.rooms.whisper(room, 'Nobody', 'hello?');
    await guest.inbox.next('refused', { from: `${room}/Nobody`, condition: 'item-not-found' });
  });

  step('nicknames change, and are unique', async () => {
    await member.rooms.rename(room, 'Mémber');
    await see([owner, guest], { from: `${room}/Member`, type: 'unavailable', codes: [303], nick: 'Mémber' });
    await see([owner, guest], { from: `${room}/Mémber`, type: 'available', affiliation: 'member' });
    await assert.rejects(guest.rooms.rename(room, 'Mémber'), /conflict/);
    await speaks(guest, 'Guest', 'still me', [owner, member, guest]);
  });

  step('everybody sees the subject, but not everybody can change it', async () => {
    await owner.rooms.setSubject(room, 'Fire & <thunder>');
    for (const device of [owner, member, guest])
      await device.inbox.next('subject', { from: `${room}/Öwner <1>`, subject: 'Fire & <thunder>' });
    await guest.rooms.setSubject(room, 'mine');
    await guest.inbox.next('refused', { from: room, condition: 'forbidden' });
  });

  step('affiliations are granted, listed and shown', async () => {
    await owner.rooms.affiliate(room, bare(member.jid), 'admin', 'well done');
    await see([owner, member, guest], { from: `${room}/Mémber`, affiliation: 'admin', role: 'moderator' });
    assert.deepEqual(await owner.rooms.affiliated(room, 'admin'), [bare(member.jid)]);
    assert.deepEqual(await member.rooms.affiliated(room, 'member'), [bare(guest.jid)]);
    await assert.rejects(guest.rooms.affiliate(room, bare(member.jid), 'none'), /forbidden/);
  });

  step('a moderator retracts a message (XEP-0425)', async () => {
    const id = await speaks(guest, 'Guest', 'something rude', [owner, member, guest]);
    const moderate = owner.rooms.moderate ?? member.rooms.moderate;
    assert.ok(moderate !== undefined);
    await moderate(room, id, 'be <nice>');
    for (const device of [owner, member, guest].filter(({ rooms }) => rooms.moderate !== undefined))
      await device.inbox.next('moderated', { from: room, id, reason: 'be <nice>' });
    for (const device of [owner, member, guest]) {
      const { messages } = await device.history({ after: received.get('still me')!, max: 50 }, room);
      const stored = messages.find((message) => message.id === id);
      assert.ok(stored !== undefined, 'there is no tombstone');
      assert.equal(stored.body, '');
      assert.equal(stored.isTombstone, device.library !== 'StanzaJS');
    }
    await assert.rejects(
      (guest.rooms.moderate ?? (() => Promise.reject(new Error('forbidden'))))(room, received.get('one')!, ''),
      /forbidden/,
    );
    for (const device of [owner, member, guest]) drop(device, 'message');
  });

  step('all pings to themselves succeed (XEP-0410)', async () => {
    assert.equal(await owner.rooms.isIn(room, 'Öwner <1>'), true);
    assert.equal(await member.rooms.isIn(room, 'Mémber'), true);
    assert.equal(await guest.rooms.isIn(room, 'Guest'), true);
  });

  step('a lost connection does not leave the room (XEP-0198)', async () => {
    for (const device of [owner, guest]) drop(device, 'occupant');
    drop(member, 'back');
    relay.cut();
    for (const text of ['during 1', 'during 2']) await speaks(owner, 'Öwner <1>', text, [owner, guest]);
    await member.inbox.next('back', { resumed: true });
    for (const body of ['during 1', 'during 2']) await member.inbox.next('message', { body, delayed: false });
    await speaks(member, 'Mémber', 'here again', [owner, member, guest]);
    for (const device of [owner, guest]) assert.deepEqual(drop(device, 'occupant'), [], 'nobody noticed');
    drop(member, 'message');
  });

  step('a returning user reads missed messages in the archive', async () => {
    await guest.rooms.leave(room, 'Guest');
    await see([owner, member], { from: `${room}/Guest`, type: 'unavailable' });
    assert.equal(await guest.rooms.isIn(room, 'Guest'), false);
    const since = new Date();
    const sent = Array.from({ length: 25 }, (_, number) => `missed ${number}`);
    for (const [at, text] of sent.entries())
      await (at % 2 === 0
        ? speaks(owner, 'Öwner <1>', text, [owner, member])
        : speaks(member, 'Mémber', text, [owner, member]));
    const back = await guest.rooms.enter(room, 'Guest back', { max: 0 });
    assert.equal(back.occupant, guestId, 'the same person has another occupant id');
    assert.deepEqual(drop(guest, 'message'), [], 'no history was wanted');
    const found: string[] = [];
    let after = received.get('here again')!;
    for (let isLast = false; !isLast; ) {
      const page = await guest.history({ after, max: 10 }, room);
      for (const { id, body, from } of page.messages) {
        assert.equal(id, received.get(body), body);
        assert.equal(bare(from), room);
        found.push(body);
      }
      after = page.messages.at(-1)?.id ?? after;
      isLast = page.isLast;
    }
    assert.deepEqual(found, sent);
    const byTime = await guest.history({ start: since, max: 50 }, room);
    assert.deepEqual(
      byTime.messages.map(({ body }) => body),
      sent,
    );
    const latest = await guest.history({ before: '', max: 5 }, room);
    assert.deepEqual(
      latest.messages.map(({ body }) => body),
      sent.slice(-5),
    );
    assert.equal(latest.isLast, false);
  });

  step('history since a time is sent on joining', async () => {
    await guest.rooms.leave(room, 'Guest back');
    await speaks(owner, 'Öwner <1>', 'before the time', [owner, member]);
    await untilNextSecond();
    const since = new Date();
    await speaks(owner, 'Öwner <1>', 'after the time', [owner, member]);
    await guest.rooms.enter(room, 'Guest', { since });
    await guest.inbox.next('message', { body: 'after the time', delayed: true });
    assert.deepEqual(drop(guest, 'message'), []);
    for (const device of [owner, member]) drop(device, 'occupant');
  });

  step('avatar and room information', async () => {
    await owner.rooms.setPhoto(room, 'image/png', picture);
    for (const device of [member, guest]) {
      await device.inbox.next('changed', { from: room, codes: [104] });
      assert.equal((await device.rooms.photo(room)).replaceAll(/\s/g, ''), picture);
    }
    assert.equal(await guest.rooms.name(room), 'The <Globe> & more');
    const features = await guest.features(room);
    for (const feature of [
      NS.muc,
      NS.mam,
      NS.occupantId,
      NS.moderate,
      NS.selfPing,
      NS.vcardTemp,
      'muc_membersonly',
      'muc_persistent',
      'muc_nonanonymous',
    ])
      assert.ok(features.includes(feature), `the room does not tell of ${feature}`);
    assert.ok((await guest.rooms.list(service)).includes(room));
  });

  step('a kicked user joins again, by a direct invitation', async () => {
    await owner.rooms.kick(room, 'Guest', 'a <break>');
    await see([owner, member, guest], {
      from: `${room}/Guest`,
      type: 'unavailable',
      role: 'none',
      codes: [307],
      reason: 'a <break>',
    });
    assert.equal(await guest.rooms.isIn(room, 'Guest'), false);
    await guest.rooms.say(room, 'from outside');
    await guest.inbox.next('refused', { from: room, condition: 'not-acceptable' });
    await owner.rooms.inviteDirectly(room, bare(guest.jid), 'again?');
    const { by } = await guest.inbox.next('invited', { room, reason: 'again?', isDirect: true });
    assert.equal(bare(by), bare(owner.jid));
    await guest.rooms.enter(room, 'Guest', { max: 0 });
    await see([owner, member], { from: `${room}/Guest`, type: 'available' });
  });

  step('a banned user cannot join', async () => {
    await owner.rooms.affiliate(room, bare(guest.jid), 'outcast', 'enough');
    await see([owner, member, guest], {
      from: `${room}/Guest`,
      type: 'unavailable',
      affiliation: 'outcast',
      codes: [301],
      reason: 'enough',
    });
    await assert.rejects(guest.rooms.enter(room, 'Guest'), /forbidden/);
    await assert.rejects(guest.history({ max: 1 }, room), /forbidden/);
    assert.deepEqual(await owner.rooms.affiliated(room, 'outcast'), [bare(guest.jid)]);
    await owner.rooms.affiliate(room, bare(guest.jid), 'member');
    await guest.rooms.enter(room, 'Guest', { max: 0 });
    await see([owner, member], { from: `${room}/Guest`, type: 'available', affiliation: 'member' });
  });

  step('an empty room persists until it is destroyed', async () => {
    await Promise.all([
      owner.rooms.leave(room, 'Öwner <1>'),
      member.rooms.leave(room, 'Mémber'),
      guest.rooms.leave(room, 'Guest'),
    ]);
    for (const device of [owner, member, guest]) drop(device, 'occupant', 'subject', 'message');
    const own = await owner.rooms.enter(room, 'Owner');
    assert.ok(!own.codes.includes(201), 'the room is another');
    await owner.inbox.next('subject', { subject: 'Fire & <thunder>' });
    await guest.rooms.enter(room, 'Guest', { max: 0 });
    await owner.rooms.destroy(room, 'all <done>');
    for (const [device, nick] of [
      [owner, 'Owner'],
      [guest, 'Guest'],
    ] as const)
      await device.inbox.next('occupant', {
        from: `${room}/${nick}`,
        type: 'unavailable',
        isDestroyed: true,
        reason: 'all <done>',
      });
    assert.ok(!(await guest.rooms.list(service)).includes(room));
    const another = await guest.rooms.enter(room, 'Guest');
    assert.ok(another.codes.includes(201), 'it is still there');
    await Promise.all([owner.offline(), member.offline(), guest.offline()]);
  });
}

/** Everything of these kinds that has come. */
const drop = (device: Device, ...kinds: readonly Happening['kind'][]): Happening[] =>
  kinds.flatMap((kind) => device.inbox.take(kind));

/** Times on the wire may be whole seconds. */
const untilNextSecond = (): Promise<void> =>
  new Promise((resolve) => void setTimeout(resolve, 1010 - (Date.now() % 1000)));

const bare = (jid: string): string => jid.split('/')[0]!;
