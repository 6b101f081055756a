/** Rooms of some hundred occupants, on links that count stanzas: events cost no more than the XEPs require. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import presence from '../../src/modules/rfc-6121-presence/index.js';
import roster from '../../src/modules/rfc-6121-roster/index.js';
import disco from '../../src/modules/xep-0030-disco.js';
import muc from '../../src/modules/xep-0045-muc/index.js';
import blocking from '../../src/modules/xep-0191-blocking.js';
import mam from '../../src/modules/xep-0313-mam/index.js';
import { NS } from '../../src/server/stanza/ns.js';
import { type Client, startHost } from './module-host.js';

const crowd = 200;
const room = 'coven@conference.example.org';

const joins = (nick: string, inside = ''): string =>
  `<presence xmlns='${NS.client}' to='${room}/${nick}'><x xmlns='${NS.muc}'>${inside}</x></presence>`;
const configures = (fields: Readonly<Record<string, readonly string[]>>): string =>
  `<iq xmlns='${NS.client}' type='set' id='c' to='${room}'><query xmlns='${NS.mucOwner}'><x xmlns='${NS.dataForms}' type='submit'>
    ${Object.entries(fields)
      .map(
        ([name, values]) => `<field var='${name}'>${values.map((value) => `<value>${value}</value>`).join('')}</field>`,
      )
      .join('')}</x></query></iq>`;

/** An owner in their room, a host to fill it, and a counter of stanzas. */
async function founded(fields: Readonly<Record<string, readonly string[]>> = {}) {
  const started = await startHost([disco, roster, blocking, presence, mam, muc]);
  const clients: Client[] = [];
  const client = (name: string): Client => {
    const made = started.connect(`${name}@example.org/desktop`);
    clients.push(made);
    return made;
  };
  /** Stanzas that were sent to all, and those to one, while it happened. */
  const counted = async (happening: () => Promise<unknown>, one?: Client) => {
    for (const { received } of clients) received.length = 0;
    await happening();
    return { all: clients.reduce((sum, { received }) => sum + received.length, 0), one: one?.received.length ?? 0 };
  };
  const owner = client('owner');
  await owner.says(joins('owner'));
  await owner.says(configures(fields));
  const filled = async (): Promise<Client[]> => {
    const others = Array.from({ length: crowd }, (_, n) => client(`user${n}`));
    for (const [n, other] of others.entries()) await other.says(joins(`nick${n}`));
    return others;
  };
  return { ...started, client, owner, counted, filled };
}

test('XEP-0045 §7.2: a join costs a presence from each and to each occupant, a message one to each', async () => {
  const { counted, filled, client, stop } = await founded();
  const others = await filled();
  const there = crowd + 1;
  const guest = client('guest');
  const entered = await counted(() => guest.says(joins('guest')), guest);
  // §7.2.2: all others, himself, and the subject
  assert.deepEqual(entered, { all: there + there + 2, one: there + 2 });
  const speaks = () =>
    others[7]!.says(`<message xmlns='${NS.client}' to='${room}' type='groupchat'><body>Hail</body></message>`);
  assert.equal((await counted(speaks)).all, there + 1);
  const again = () => others[7]!.says(joins('nick7'));
  // §17.3: nobody else gets the new occupant's presence
  const synchronised = await counted(again, others[7]);
  assert.equal(synchronised.all, synchronised.one);
  const leaves = () => guest.says(`<presence xmlns='${NS.client}' to='${room}/guest' type='unavailable'/>`);
  assert.equal((await counted(leaves)).all, there + 1);
  stop();
});

test('§7.2.8: another client of an occupant is shown to those who see addresses', async () => {
  const { counted, filled, connect, stop } = await founded();
  await filled();
  const second = connect('user7@example.org/phone');
  const entered = await counted(() => second.says(joins('nick7')));
  // the owner, who is a moderator, and the first client of the same user
  assert.equal(entered.all, 2);
  assert.equal(second.received.length, crowd + 2);
  stop();
});

test('muc#roomconfig_presencebroadcast: joins of hidden visitors are not broadcast', async () => {
  const { counted, filled, client, owner, stop } = await founded({
    'muc#roomconfig_moderatedroom': ['1'],
    'muc#roomconfig_presencebroadcast': ['moderator', 'participant'],
  });
  // each: the owner's presence, the occupant's own, the subject
  assert.equal((await counted(filled)).all, 3 * crowd);
  const guest = client('guest');
  assert.deepEqual(await counted(() => guest.says(joins('guest')), guest), { all: 3, one: 3 });
  const becomes = (role: string) => () =>
    owner.says(
      `<iq xmlns='${NS.client}' type='set' id='r' to='${room}'><query xmlns='${NS.mucAdmin}'><item nick='guest' role='${role}'/></query></iq>`,
    );
  // with voice the occupant is seen by all, once; and the answer
  assert.equal((await counted(becomes('participant'))).all, crowd + 2 + 1);
  // without it the occupant disappears for all others, and is notified of that
  assert.equal((await counted(becomes('visitor'))).all, crowd + 2 + 1);
  const busy = () => guest.says(`<presence xmlns='${NS.client}' to='${room}/guest'><show>dnd</show></presence>`);
  assert.deepEqual(await counted(busy, guest), { all: 1, one: 1 });
  stop();
});

test('§10.9, §11.2: a destroyed room or service sends each occupant only their own presence', async () => {
  for (const end of ['room', 'service'] as const) {
    const { counted, filled, owner, host, stop } = await founded();
    await filled();
    const destroy = `<iq xmlns='${NS.client}' type='set' id='d' to='${room}'><query xmlns='${NS.mucOwner}'><destroy/></query></iq>`;
    const gone = await counted(async () => (end === 'room' ? owner.says(destroy) : host.emit('stopping', {})));
    assert.equal(gone.all, crowd + 1 + (end === 'room' ? 1 : 0));
    stop();
  }
});

test('XEP-0463 §5.2: a change of a list is sent once to each, and long lists in parts', async () => {
  const { counted, filled, owner, client, stop } = await founded();
  await filled();
  const grants = (from: number, count: number) => () => {
    const items = Array.from(
      { length: count },
      (_, n) => `<item affiliation='member' jid='absent${from + n}@example.org'/>`,
    );
    return owner.says(
      `<iq xmlns='${NS.client}' type='set' id='g' to='${room}'><query xmlns='${NS.mucAdmin}'>${items.join('')}</query></iq>`,
    );
  };
  // §10.3, semi-anonymous: only who may see addresses hears of absent ones, once each; and the answer
  assert.equal((await counted(grants(0, 1))).all, 2);
  await grants(1, 999)();
  const before = owner.received.length;
  owner.received.length = 0;
  assert.ok(before > 0);
  await owner.says(joins('owner', `<mav xmlns='${NS.mav}'/>`));
  const parts = owner.received.filter((xml) => xml.startsWith('<message') && xml.includes('until='));
  const versions = parts.map((xml) => /<mav xmlns="[^"]*"(?: since="([^"]*)")? until="([^"]*)"/.exec(xml)!.slice(1));
  assert.equal(parts.length, 3); // 1000 members and an owner, 500 at once
  assert.equal(versions[0]![0], undefined);
  assert.equal(versions[1]![0], versions[0]![1]);
  assert.equal(versions[2]![0], versions[1]![1]);
  assert.equal(parts.join('').match(/<item /g)?.length, 1001);
  const current = owner.received.find((xml) => xml.includes('code="110"'))!;
  assert.ok(current.includes(`until="${versions[2]![1]}"`));
  // a user with the version of a part requests everything
  const guest = client('guest');
  await owner.says(
    `<iq xmlns='${NS.client}' type='set' id='g' to='${room}'><query xmlns='${NS.mucAdmin}'><item affiliation='admin' jid='guest@example.org'/></query></iq>`,
  );
  await guest.says(joins('guest', `<mav xmlns='${NS.mav}' since='${versions[0]![1]}'/>`));
  assert.ok(/<mav xmlns="[^"]*" until=/.test(guest.received[0]!));
  stop();
});

test('XEP-0045 §7.2.13: the history is limited in characters', async () => {
  const { owner, client, stop } = await founded();
  const long = 'x'.repeat(60_000);
  for (let n = 0; n < 40; n++)
    await owner.says(
      `<message xmlns='${NS.client}' to='${room}' type='groupchat' id='m${n}'><body>${long}</body></message>`,
    );
  const guest = client('guest');
  await guest.says(joins('guest', `<history maxstanzas='100'/>`));
  const ids = guest.received.flatMap((xml) => / id="(m\d+)"/.exec(xml)?.[1] ?? []);
  assert.ok(ids.length >= 5 && ids.length <= 17, `${ids.length} messages`);
  assert.equal(ids.at(-1), 'm39');
  stop();
});
