/** RFC 6121 §3 and Appendix A: managing presence subscriptions. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { overTcp, type Peer, scenario } from './dialogue.js';
import { bareOf, befriends, refusal, subscribes } from './phrases.js';

const query = (...items: string[]) => `<query xmlns='${NS.roster}'>${items.join('')}</query>`;
const push = (item: string) => `<iq type='set' id='*'>${query(item)}</iq>`;

/** Asks for the roster, so that pushes come. */
async function wantsPushes(peer: Peer): Promise<void> {
  await peer.sends(`<iq type='get' id='roster'>${query()}</iq>`);
  await peer.receives(`<iq type='result' id='roster'/>`);
}

/** The item of the contact in the roster, if there is one. */
async function itemOf(peer: Peer, contact: string) {
  await peer.sends(`<iq type='get' id='item'>${query()}</iq>`);
  const result = await peer.receives(`<iq type='result' id='item'/>`);
  const items = result.getChild('query', NS.roster)?.getChildElements() ?? [];
  return items.find(({ attrs }) => attrs.jid === contact)?.attrs;
}

// ---------------------------------------------------------------------------------------------------------------
// Appendix A: each of the four stanzas in each of the nine states, at who sends it (§A.2) and who gets it (§A.3)

type Type = 'subscribe' | 'unsubscribe' | 'subscribed' | 'unsubscribed';
/** Of the sender. `+ out`: sent a request; `+ in`: received a request. */
type State = 'none' | 'none+out' | 'none+in' | 'none+out+in' | 'to' | 'to+in' | 'from' | 'from+out' | 'both';

/** The stanzas of both that lead to the state (`romeo subscribe` …), and the state of the contact. */
const states: Readonly<Record<State, { readonly by: string; readonly other: State }>> = {
  none: { by: '', other: 'none' },
  'none+out': { by: 'romeo subscribe', other: 'none+in' },
  'none+in': { by: 'juliet subscribe', other: 'none+out' },
  'none+out+in': { by: 'romeo subscribe, juliet subscribe', other: 'none+out+in' },
  to: { by: 'romeo subscribe, juliet subscribed', other: 'from' },
  'to+in': { by: 'romeo subscribe, juliet subscribed, juliet subscribe', other: 'from+out' },
  from: { by: 'juliet subscribe, romeo subscribed', other: 'to' },
  'from+out': { by: 'juliet subscribe, romeo subscribed, romeo subscribe', other: 'to+in' },
  both: { by: 'juliet subscribe, romeo subscribed, romeo subscribe, juliet subscribed', other: 'both' },
};

/** The sender's next state where there is one: then, and only then, the other's clients get the stanza. */
const next: Readonly<Record<Type, Partial<Readonly<Record<State, State>>>>> = {
  subscribe: { none: 'none+out', 'none+in': 'none+out+in', from: 'from+out' },
  unsubscribe: {
    'none+out': 'none',
    'none+out+in': 'none+in',
    to: 'none',
    'to+in': 'none+in',
    'from+out': 'from',
    both: 'from',
  },
  subscribed: { 'none+in': 'from', 'none+out+in': 'from+out', 'to+in': 'both' },
  unsubscribed: {
    'none+in': 'none',
    'none+out+in': 'none+out',
    'to+in': 'to',
    from: 'none',
    'from+out': 'none+out',
    both: 'to',
  },
};

const isSubscribed = (state: State) => state.startsWith('to') || state === 'both';
/** The state as shown in the roster, which hides a request that is pending for its owner (§A.1). */
const shown = (state: State) => state.replace('+in', '');

const pushed = (contact: Peer, state: State) => {
  const [subscription, ask] = shown(state).split('+');
  return push(`<item jid='${bareOf(contact)}' subscription='${subscription}'${ask ? ` ask='subscribe'` : ''}/>`);
};

/** The state that an account is in: the roster, and whether a request is shown to who becomes available. */
async function stateOf(peer: Peer, contact: Peer): Promise<string> {
  const item = await itemOf(peer, bareOf(contact));
  await peer.sends(`<presence type='unavailable'/><presence/>`);
  await peer.syncs();
  const isAsked = peer.forgets().some(({ attrs }) => attrs.type === 'subscribe' && attrs.from === bareOf(contact));
  await contact.syncs();
  contact.forgets();
  return `${item?.subscription}${item?.ask === 'subscribe' ? '+out' : ''}${isAsked ? '+in' : ''}`;
}

async function begins(romeo: Peer, juliet: Peer, state: State): Promise<void> {
  for (const action of ['remove', 'none'])
    for (const [peer, contact] of [[romeo, juliet] as const, [juliet, romeo] as const]) {
      const item = `<item jid='${bareOf(contact)}' subscription='${action}'/>`;
      await peer.sends(`<iq type='set' id='begins'>${query(item)}</iq>`);
      await peer.syncs();
    }
  for (const sent of states[state].by.split(', ').filter((text) => text !== '')) {
    const [who, type] = sent.split(' ');
    const [peer, contact] = who === 'romeo' ? [romeo, juliet] : [juliet, romeo];
    await peer.sends(`<presence type='${type}' to='${bareOf(contact)}'/>`);
    await peer.syncs();
  }
  await romeo.syncs();
  await juliet.syncs();
  romeo.forgets();
  juliet.forgets();
}

for (const state of Object.keys(states) as State[]) {
  scenario(`§A.2, §A.3: subscription stanzas in the state ${state}`, async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    await wantsPushes(romeo);
    await wantsPushes(juliet);
    for (const type of Object.keys(next) as Type[]) {
      await begins(romeo, juliet, state);
      const after = next[type][state] ?? state;
      const { other } = states[state];
      const otherAfter = states[after].other;
      await romeo.sends(`<presence type='${type}' to='juliet@localhost'/>`);

      const toJuliet: string[] = [];
      if (after !== state) toJuliet.push(`<presence type='${type}' from='romeo@localhost' to='juliet@localhost'/>`);
      if (shown(other) !== shown(otherAfter)) toJuliet.push(pushed(romeo, otherAfter));
      if (isSubscribed(otherAfter) && !isSubscribed(other)) toJuliet.push(`<presence from='romeo@localhost/orchard'/>`);
      if (isSubscribed(other) && !isSubscribed(otherAfter))
        toJuliet.push(`<presence type='unavailable' from='romeo@localhost/orchard'/>`);
      await juliet.receivesAnyOrder(toJuliet);
      await juliet.receivesNothing();

      const toRomeo: string[] = [];
      if (shown(state) !== shown(after)) toRomeo.push(pushed(juliet, after));
      // §3.3.3; §3.1.3: a repeated request is answered again, with the current state
      if (isSubscribed(state) && !isSubscribed(after))
        toRomeo.push(`<presence type='unavailable' from='juliet@localhost/balcony'/>`);
      if (type === 'subscribe' && isSubscribed(state)) toRomeo.push(`<presence from='juliet@localhost/balcony'/>`);
      // §3.4: pre-approved
      const isBeforehand = type === 'subscribed' && after === state && !state.startsWith('from') && state !== 'both';
      if (isBeforehand) toRomeo.push(push(`<item jid='juliet@localhost' approved='true'/>`));
      await romeo.receivesAnyOrder(toRomeo);
      await romeo.receivesNothing();

      assert.equal(await stateOf(romeo, juliet), after, `romeo after ${type}`);
      assert.equal(await stateOf(juliet, romeo), otherAfter, `juliet after ${type}`);
    }
  });
}

// ---------------------------------------------------------------------------------------------------------------
// Asking, and answering

scenario('§3.1.2, §3.1.3: a request is between bare addresses, whatever address was used', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const chamber = await actor('juliet@localhost/chamber');
  await wantsPushes(romeo);
  await wantsPushes(juliet);
  await romeo.sends(
    `<presence type='subscribe' to='juliet@localhost/balcony' id='1'><status>It is me.</status>
      <nick xmlns='http://jabber.org/protocol/nick'>Romeo</nick></presence>`,
  );
  await romeo.receives(push(`<item jid='juliet@localhost' subscription='none' ask='subscribe'/>`));
  await juliet.receives(`<presence type='subscribe' id='1' from='romeo@localhost' to='juliet@localhost'>
    <status>It is me.</status><nick xmlns='http://jabber.org/protocol/nick'>Romeo</nick></presence>`);
  // §A.1: the roster does not show who asks; a client that is not there is not asked
  await juliet.receivesNothing();
  await chamber.receivesNothing();
  assert.equal(await itemOf(juliet, 'romeo@localhost'), undefined);
  // §3.1.5, §3.1.6
  await juliet.sends(`<presence type='subscribed' to='romeo@localhost/orchard' id='2'/>`);
  await juliet.receives(push(`<item jid='romeo@localhost' subscription='from'/>`));
  await romeo.receivesAnyOrder([
    `<presence type='subscribed' id='2' from='juliet@localhost' to='romeo@localhost'/>`,
    push(`<item jid='juliet@localhost' subscription='to'/>`),
    `<presence from='juliet@localhost/balcony'/>`,
  ]);
  await romeo.receivesNothing();
});

scenario('§3.1.4: a request is denied', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await wantsPushes(romeo);
  await romeo.sends(`<presence type='subscribe' to='juliet@localhost'/>`);
  await romeo.receives(push(`<item jid='juliet@localhost' ask='subscribe'/>`));
  await juliet.receives(`<presence type='subscribe'/>`);
  await juliet.sends(`<presence type='unsubscribed' to='romeo@localhost'/>`);
  await romeo.receivesAnyOrder([
    `<presence type='unsubscribed' from='juliet@localhost' to='romeo@localhost'/>`,
    push(`<item jid='juliet@localhost' subscription='none'/>`),
  ]);
  assert.equal((await itemOf(romeo, 'juliet@localhost'))?.ask, undefined);
  assert.equal(await itemOf(juliet, 'romeo@localhost'), undefined);
  await juliet.sends('<presence/>');
  await juliet.receives(`<presence from='juliet@localhost/balcony'/>`);
  await romeo.receivesNothing();
});

const requests = new MemoryStorage();
scenario(
  '§3.1.3: a request stays pending across restarts until it is answered',
  { storage: () => requests },
  async ({ actor, stage }) => {
    await stage.account('juliet@localhost');
    for (const name of ['romeo', 'paris']) {
      const suitor = await actor(`${name}@localhost/orchard`, { presence: true });
      await suitor.sends(`<presence type='subscribe' to='juliet@localhost'><status>${name}</status></presence>`);
      await suitor.sends(`<presence type='subscribe' to='juliet@localhost'><status>again</status></presence>`);
      await suitor.syncs();
    }
    await stage.restart();
    const request = (name: string) =>
      `<presence type='subscribe' from='${name}@localhost' to='juliet@localhost'><status>${name}</status></presence>`;
    const own = (resource: string) => `<presence from='juliet@localhost/${resource}'/>`;
    const balcony = await actor('juliet@localhost/balcony');
    await balcony.receivesNothing();
    await balcony.sends('<presence/>');
    await balcony.receivesAnyOrder([own('balcony'), request('romeo'), request('paris')]);
    await balcony.sends('<presence><show>away</show></presence>');
    await balcony.receives(own('balcony'));
    await balcony.receivesNothing(); // only initial presence asks again
    const chamber = await actor('juliet@localhost/chamber');
    await chamber.sends('<presence/>');
    await chamber.receivesAnyOrder([own('balcony'), own('chamber'), request('romeo'), request('paris')]);
    await chamber.sends(`<presence type='subscribed' to='romeo@localhost'/>`);
    await chamber.sends(`<presence type='unsubscribed' to='paris@localhost'/>`);
    await chamber.receivesNothing();
    const garden = await actor('juliet@localhost/garden');
    await garden.sends('<presence/>');
    await garden.receivesAnyOrder([own('balcony'), own('chamber'), own('garden')]);
    await garden.receivesNothing();
  },
);

scenario('§3.1.2: a pending request is sent again until it is answered', async ({ actor, stage }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  await romeo.sends(`<presence type='subscribe' to='juliet@localhost'/>`);
  await romeo.syncs();
  await stage.account('juliet@localhost');
  await romeo.sends(`<presence type='unavailable'/>`);
  await romeo.syncs();
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await juliet.receivesNothing(); // there was no such account at the time of the request
  await romeo.sends('<presence/>');
  await juliet.receives(`<presence type='subscribe' from='romeo@localhost' to='juliet@localhost'/>`);
});

scenario('§3.1.6: an approval arrives while the requester is offline', overTcp, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: '<presence><status>here</status></presence>' });
  await romeo.sends(`<presence type='subscribe' to='juliet@localhost'/>`);
  await romeo.syncs();
  romeo.cut();
  await juliet.receives(`<presence type='subscribe'/>`);
  await juliet.sends(`<presence type='subscribed' to='romeo@localhost'/>`);
  await juliet.syncs();
  const later = await actor('romeo@localhost/garden');
  assert.equal((await itemOf(later, 'juliet@localhost'))?.subscription, 'to');
  await later.sends('<presence/>');
  await later.receivesAnyOrder([
    `<presence from='romeo@localhost/garden'/>`,
    `<presence from='juliet@localhost/balcony'><status>here</status></presence>`,
  ]);
});

scenario("§3.2: the contact's subscription is cancelled", async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const balcony = await actor('juliet@localhost/balcony', { presence: true });
  const chamber = await actor('juliet@localhost/chamber', { presence: true });
  await wantsPushes(romeo);
  await befriends(romeo, balcony);
  chamber.forgets();
  await balcony.sends(`<presence type='unsubscribed' to='romeo@localhost'/>`);
  await romeo.receivesAnyOrder([
    `<presence type='unavailable' from='juliet@localhost/balcony'/>`,
    `<presence type='unavailable' from='juliet@localhost/chamber'/>`,
    `<presence type='unsubscribed' from='juliet@localhost' to='romeo@localhost'/>`,
    push(`<item jid='juliet@localhost' subscription='from'/>`),
  ]);
  await balcony.sends('<presence><show>dnd</show></presence>');
  await romeo.receivesNothing();
  // Romeo is still seen
  await romeo.sends('<presence><show>xa</show></presence>');
  await chamber.receivesAnyOrder([
    `<presence from='juliet@localhost/balcony'><show>dnd</show></presence>`,
    `<presence from='romeo@localhost/orchard'><show>xa</show></presence>`,
  ]);
});

scenario('§3.3: the user unsubscribes while the contact is offline', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await subscribes(romeo, juliet);
  await juliet.closes();
  await juliet.isClosed();
  await romeo.receives(`<presence type='unavailable' from='juliet@localhost/balcony'/>`);
  await romeo.sends(`<presence type='unsubscribe' to='juliet@localhost'/>`);
  await romeo.receivesNothing();
  const later = await actor('juliet@localhost/balcony', { presence: true });
  assert.equal((await itemOf(later, 'romeo@localhost'))?.subscription, 'none');
  await romeo.receivesNothing();
});

scenario('§3.4: pre-approval', async ({ actor, connect, stage }) => {
  await stage.account('paris@localhost');
  const paris = await connect();
  await paris.opens();
  await paris.receivesFeatures();
  const features = await paris.authenticates('paris');
  assert.ok(features.getChild('sub', NS.subPreApproval), '§3.4.1');

  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await wantsPushes(romeo);
  await wantsPushes(juliet);
  await juliet.sends(`<presence type='subscribed' to='romeo@localhost'/>`);
  await juliet.receives(push(`<item jid='romeo@localhost' subscription='none' approved='true'/>`));
  await romeo.receivesNothing();
  await romeo.sends(`<presence type='subscribe' to='juliet@localhost'/>`);
  await romeo.receivesAnyOrder([
    push(`<item jid='juliet@localhost' subscription='none' ask='subscribe'/>`),
    `<presence type='subscribed' from='juliet@localhost' to='romeo@localhost'/>`,
    push(`<item jid='juliet@localhost' subscription='to'/>`),
    `<presence from='juliet@localhost/balcony'/>`,
  ]);
  await juliet.receives(push(`<item jid='romeo@localhost' subscription='from' approved='true'/>`));
  await juliet.receivesNothing(); // she gets no request
});

scenario('§3.4.2: a pre-approval is withdrawn', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await wantsPushes(juliet);
  await juliet.sends(`<presence type='subscribed' to='romeo@localhost'/>`);
  await juliet.receives(push(`<item jid='romeo@localhost' approved='true'/>`));
  await juliet.sends(`<presence type='unsubscribed' to='romeo@localhost'/>`);
  await juliet.receives(push(`<item jid='romeo@localhost' subscription='none'/>`));
  assert.equal((await itemOf(juliet, 'romeo@localhost'))?.approved, undefined);
  await romeo.receivesNothing();
  await romeo.sends(`<presence type='subscribe' to='juliet@localhost'/>`);
  await juliet.receives(`<presence type='subscribe' from='romeo@localhost'/>`);
});

// ---------------------------------------------------------------------------------------------------------------
// What goes nowhere

scenario('§3, §8.5.1: subscription stanzas to missing accounts', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  for (const type of ['subscribe', 'subscribed', 'unsubscribe', 'unsubscribed'])
    await romeo.sends(`<presence type='${type}' to='nobody@localhost'/>`);
  await romeo.receivesNothing();
});

scenario('§3: subscription stanzas from a sender without a subscription', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await wantsPushes(juliet);
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  for (const type of ['subscribed', 'unsubscribe', 'unsubscribed'])
    await romeo.sends(`<presence type='${type}' to='juliet@localhost'/>`);
  await juliet.receivesNothing();
  await juliet.sends('<presence><show>away</show></presence>');
  await juliet.receives(`<presence from='juliet@localhost/balcony'/>`);
  await romeo.receivesNothing();
  assert.equal(await itemOf(juliet, 'romeo@localhost'), undefined);
});

scenario('§3.1.1: a user cannot subscribe to themselves', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  await romeo.sends(`<presence type='subscribe' id='1'/>`);
  await romeo.receives(`<presence type='error' id='1'>${refusal('modify', 'bad-request')}</presence>`);
  await romeo.sends(`<presence type='subscribe' id='2' to='romeo@localhost'/>`);
  await romeo.receives(`<presence type='error' id='2'>${refusal('cancel', 'not-allowed')}</presence>`);
  await romeo.sends(`<presence type='subscribed' id='3' to='romeo@localhost/garden'/>`);
  await romeo.receives(`<presence type='error' id='3'>${refusal('cancel', 'not-allowed')}</presence>`);
  await romeo.receivesNothing();
});

const few = { config: { modules: { roster: { pending_requests: 1 } } } };
scenario('§3.1.3: pending requests are limited, and a refusal gives no reason', few, async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const paris = await actor('paris@localhost/street', { presence: true });
  await romeo.sends(`<presence type='subscribe' to='juliet@localhost'/>`);
  await juliet.receives(`<presence type='subscribe' from='romeo@localhost'/>`);
  await paris.sends(`<presence type='subscribe' to='juliet@localhost'/>`);
  await juliet.receivesNothing();
  await paris.receivesNothing();
  // Once there is room, the request arrives: it is sent again at each login
  await juliet.sends(`<presence type='subscribed' to='romeo@localhost'/>`);
  await juliet.syncs();
  juliet.forgets();
  await paris.sends(`<presence type='unavailable'/><presence/>`);
  await juliet.receives(`<presence type='subscribe' from='paris@localhost'/>`);
});

scenario('§3: between two hosts of the server', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@elsewhere.example/balcony', { presence: true });
  await befriends(romeo, juliet);
  await romeo.sends('<presence><show>chat</show></presence>');
  await juliet.receives(`<presence from='romeo@localhost/orchard'><show>chat</show></presence>`);
  await juliet.sends(`<presence type='unavailable'/>`);
  await romeo.receivesAnyOrder([
    `<presence from='romeo@localhost/orchard'/>`,
    `<presence type='unavailable' from='juliet@elsewhere.example/balcony'/>`,
  ]);
});

scenario('§3.2: deleting an account cancels its subscriptions', async ({ actor, server }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await wantsPushes(romeo);
  await befriends(romeo, juliet);
  await server.accounts.remove('juliet@localhost');
  await romeo.receivesAnyOrder([
    push(`<item jid='juliet@localhost' subscription='to'/>`),
    push(`<item jid='juliet@localhost' subscription='none'/>`),
    `<presence type='unavailable' from='juliet@localhost/balcony'/>`,
    `<presence type='unsubscribe' from='juliet@localhost'/>`,
    `<presence type='unsubscribed' from='juliet@localhost'/>`,
  ]);
  await juliet.receives(`<presence type='unavailable' from='juliet@localhost/balcony'/>`);
  await juliet.closed('not-authorized');
  await romeo.receivesNothing();
  assert.equal((await itemOf(romeo, 'juliet@localhost'))?.subscription, 'none');
});
