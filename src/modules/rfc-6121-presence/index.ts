/**
 * RFC 6121 §3 and §4: presence and subscriptions. Handles every presence stanza from and to an account. The state
 * machine of subscriptions is in subscription.ts, by the tables of Appendix A.
 */
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { count, seconds } from '../../server/config/units.js';
import {
  answers,
  defineModule,
  defineQuestion,
  derive,
  event,
  every,
  type Maybe,
  map,
  presence,
  session,
  sessionState,
  streamFeature,
} from '../../server/module/index.js';
import type { Origin, Passage } from '../../server/routing/passage.js';
import type { Session } from '../../server/routing/session.js';
import { repeatsCaps, withCapsOf } from '../../server/stanza/caps.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { bareJid, storedJid } from '../../server/stanza/stored.js';
import { hasFrom, hasTo } from '../../server/stanza/subscription.js';
import { el } from '../../server/xml/element.js';
import type { RosterItem } from '../rfc-6121-roster/services.js';
import { Denied } from './denied.js';
import { Departed, visibleSchema } from './departed.js';
import { inbound, isSubscriptionType, outbound, type SubscriptionType } from './subscription.js';

type Items = ReadonlyMap<string, RosterItem>;

/** Maximum characters of a stored subscription request; longer ones are stored without content. */
const longestRequest = 16_384;

/** Addresses with directed available presence that have not received unavailable yet (§4.6), by full JID. */
const directed = sessionState<Map<string, Jid> | undefined>({
  name: 'directed',
  default: undefined,
  stored: z.codec(z.array(storedJid), z.map(z.string(), z.custom<Jid>()), {
    decode: (all) => new Map(all.map((to) => [to.full, to])),
    encode: (byAddress) => [...byAddress.values()],
  }),
});

/** Contacts whose server answered with an error: they get no presence until they send some (§4.4.2). */
const unreached = sessionState<Set<string> | undefined>({
  name: 'unreached',
  default: undefined,
  stored: z.codec(z.array(bareJid), z.set(z.string()), {
    decode: (all) => new Set(all),
    encode: (contacts) => [...contacts],
  }),
});

/** Asked at an account of this host: whether a resource is available. */
const availability = defineQuestion({
  name: 'presence.available',
  given: z.object({ resource: z.string().optional() }),
  answer: z.boolean(),
});

/**
 * Sessions of this server that were available to this one when it was persisted: the account's others, and those of
 * contacts. After a restart its client is informed of those that were not restored.
 */
const seen = sessionState<readonly Jid[]>({ name: 'seen', default: [], stored: z.array(storedJid) });

/** How often changes of the policy for other servers are noticed, and what others see of sessions is stored, in ms. */
const lookMs = 1000;

const noAddresses: ReadonlyMap<string, Jid> = new Map();

const toThosePresent: Origin = {
  session: undefined,
  acknowledges: false,
  acknowledgeAfter() {},
  audience: { kind: 'present' },
};

export default defineModule({
  name: 'presence',
  summary: 'Delivers presence between contacts and manages subscriptions.',
  implements: { 'RFC 6121': '2011' },
  needs: ['roster'],
  provides: ['presence'],
  sessionStates: [directed, unreached, seen],
  stores: { visible: map({ value: visibleSchema }) },
  config: z.strictObject({
    return_seconds: seconds({ min: 1, max: 3600 })
      .default(60)
      .describe(
        'How long clients of a node that has died may take to return, before contacts and rooms are told that they are gone. In a cluster only.',
      ),
    directed: count({ min: 10 })
      .default(2000)
      .describe(
        'Maximum addresses outside the roster, such as rooms, to which one session can send available presence.',
      ),
  }),

  start: ({ host, config, stores, services: { roster }, provide, log }) => {
    const directedOf = (one: Session): ReadonlyMap<string, Jid> => one.get(directed) ?? noAddresses;

    const addDirected = (one: Session, to: Jid): void => {
      one.set(directed, (one.get(directed) ?? new Map<string, Jid>()).set(to.full, to));
      departed.changed(one);
    };

    /** Returns whether the address had directed presence. */
    const dropDirected = (one: Session, to: Jid): boolean => {
      const all = one.get(directed);
      if (all?.delete(to.full) !== true) return false;
      one.set(directed, all.size === 0 ? undefined : all);
      departed.changed(one);
      return true;
    };

    /** A contact that was unreachable has sent presence. */
    const reached = (one: Session, { bare }: Jid): void => {
      const all = one.get(unreached);
      if (all?.delete(bare) === true) one.set(unreached, all);
    };

    /** Calls `then` with the roster. Synchronous if it is cached. */
    const withRoster = (owner: Jid, then: (items: Items) => Maybe<void>): Maybe<void> => {
      const items = roster.get(owner.bare);
      return items instanceof Promise ? items.then(then) : then(items);
    };

    /** Sends a stanza that the server makes on behalf of the account, unless the account blocks the recipient. */
    const tell = (stanza: Stanza, origin?: Origin): Maybe<void> => {
      const admitted = host.admits(stanza);
      if (admitted instanceof Promise) return admitted.then((yes) => (yes ? host.route(stanza, origin) : undefined));
      return admitted ? host.route(stanza, origin) : undefined;
    };

    const here = `@${host.domain}`;
    /** The same to a contact. Nothing is loaded for offline contacts of this host. */
    const tellContact = (stanza: Stanza, contact: string): Maybe<void> =>
      tell(stanza.with({ to: Jid.parse(contact) }), contact.endsWith(here) ? toThosePresent : undefined);

    const available = (owner: Jid) => host.sessions(owner.bare).filter((other) => other.available);

    // --- out: presence to all ---------------------------------------------------------------------------------

    /**
     * §4.2.2, §4.4.2, §4.5.2: to all subscribers. If all of them have received the capabilities before (XEP-0115 §8.4),
     * and none was skipped since, they get `brief`.
     */
    const broadcast = (from: Session, stanza: Stanza, items: Items, brief = stanza): Maybe<void> => {
      const stale = from.get(unreached);
      const toAll = stale === undefined ? brief : stanza;
      const sent: Maybe<void>[] = [];
      for (const [contact, item] of items) {
        if (!hasFrom(item) || stale?.has(contact) === true) continue;
        sent.push(tellContact(toAll, contact));
      }
      return allOf(sent);
    };

    /**
     * §4.3, §3.1.3: probes the contacts that the account is subscribed to, with back-pressure from the client, then
     * sends it the pending subscription requests.
     */
    function* probe(from: Session, items: Items): Generator<Stanza | Promise<unknown> | undefined, void> {
      const question = Stanza.build('presence', { from: from.jid, type: 'probe' });
      for (const [contact, item] of items) {
        if (!from.available) return;
        if (!hasTo(item)) continue;
        const answering = tellContact(question, contact);
        yield answering === undefined ? undefined : answering;
      }
      for (const { pendingIn } of items.values()) if (pendingIn !== undefined) yield Stanza.parse(pendingIn);
    }

    /** To all available resources of the account itself. */
    const toOwn = (owner: Jid, stanza: Stanza) => {
      for (const own of available(owner)) own.send(stanza.with({ to: own.jid }));
    };

    /** §4.2, §4.4. */
    const becomeAvailable = (from: Session, original: Stanza, items: Items): Maybe<void> => {
      if (from.isOver) return undefined; // gone while the roster was loaded
      const { presence: before, priority: priorityBefore } = from;
      const stanza = withCapsOf(original, before);
      const owner = from.jid.toBare();
      // Parsed again: a copy does not retain the buffer read from the socket.
      from.appears(Stanza.parse(stanza.toXml(NS.client)), priorityOf(stanza));
      toOwn(owner, stanza);
      departed.changed(from);
      if (before !== undefined) {
        const brief = repeatsCaps(stanza, before) ? stanza.without(NS.caps, 'c') : stanza;
        const sent = broadcast(from, stanza, items, brief);
        void host.emit('presenceChanged', { session: from, before, priorityBefore });
        return sent;
      }
      from.set(unreached, undefined);
      for (const other of available(owner))
        if (!other.jid.equals(from.jid)) from.send(other.presence!.with({ to: from.jid }));
      const failed = (error: unknown) =>
        log.error({ err: error }, 'the presence of contacts could not be sent to a client');
      const sent = [
        broadcast(from, stanza, items),
        from.pour(probe(from, items), { lane: '/contacts', replaces: true, failed }),
      ];
      for (const [contact, { ask }] of items) {
        if (ask) sent.push(tellContact(Stanza.build('presence', { from: owner, type: 'subscribe' }), contact)); // §3.1.2
      }
      void host.emit('available', { session: from });
      return allOf(sent);
    };

    /** §4.5, §4.6.3: to everybody who received the session's presence. */
    const becomeUnavailable = (from: Session, stanza: Stanza): Maybe<void> => {
      const others = [...directedOf(from).values()];
      const wasAvailable = from.available;
      const owner = from.jid.toBare();
      if (wasAvailable) toOwn(owner, stanza); // including the session itself
      if (!wasAvailable && others.length === 0) return undefined;
      from.appears(undefined);
      from.set(directed, undefined);
      departed.changed(from);
      if (wasAvailable) void host.emit('unavailable', { session: from, stanza });
      return withRoster(owner, (items) => {
        const sent: Maybe<void>[] = [];
        if (wasAvailable) sent.push(broadcast(from, stanza, items));
        const isCovered = (to: Jid) => wasAvailable && (to.bare === owner.bare || hasFrom(items.get(to.bare)));
        for (const to of others) if (!isCovered(to)) sent.push(tell(stanza.with({ to })));
        return allOf(sent);
      });
    };

    // --- out: to one --------------------------------------------------------------------------------------------

    /** §4.6.2: presence to one address. Throws StanzaError if the session has sent it to too many. */
    const direct = (from: Session, to: Jid, original: Stanza, origin: Origin): Maybe<void> => {
      const stanza = original.type === undefined ? withCapsOf(original, from.presence) : original;
      reached(from, to);
      if (stanza.type === 'unavailable') dropDirected(from, to);
      else {
        const others = directedOf(from);
        if (others.size >= config.directed && !others.has(to.full)) {
          host.limitHit('presence.directed');
          throw new StanzaError('resource-constraint');
        }
        addDirected(from, to);
      }
      return host.route(stanza, origin);
    };

    const out = ({ owner, peer, stanza, origin }: Passage): Maybe<void> => {
      const { type, to } = stanza;
      const from = origin.session;
      if (from === undefined) return undefined;
      if (isSubscriptionType(type)) {
        if (to === undefined) throw new StanzaError('bad-request', 'A subscription stanza needs a "to" attribute.');
        if (peer.bare === owner.bare)
          throw new StanzaError('not-allowed', 'You cannot subscribe to your own presence.');
        return withRoster(owner, (items) => subscriptionOut(type, owner, stanza, items, origin));
      }
      switch (type) {
        case undefined:
          // The session has ended: nothing would send unavailable presence later.
          if (from.isOver) return undefined;
          if (to !== undefined) return direct(from, to, stanza, origin);
          priorityOf(stanza); // throws before any change
          return withRoster(owner, (items) => becomeAvailable(from, stanza, items));
        case 'unavailable':
          if (to !== undefined) return direct(from, to, stanza, origin);
          return becomeUnavailable(from, stanza);
        case 'probe':
        case 'error':
          return to === undefined ? undefined : host.route(stanza, origin);
        default:
          throw new StanzaError('bad-request', 'The presence type is not defined.'); // §4.7.1
      }
    };

    // --- subscriptions ------------------------------------------------------------------------------------------

    /** Starts to persist a changed item; the stanza is acknowledged once it is durable. */
    const persist = (owner: Jid, contact: Jid, item: RosterItem | undefined, stanza: Stanza, origin: Origin) =>
      host.acknowledgeAfter(stanza, origin, roster.set(owner, contact, item));

    /** Sends one contact the presence of every available resource, or unavailable presence from each. */
    const tellPresence = (owner: Jid, contact: Jid, gone = false): Maybe<void> =>
      allOf(
        available(owner).map(({ jid, presence: last }) =>
          tell((gone ? unavailable(jid) : last!).with({ to: contact })),
        ),
      );

    /**
     * §3.1.2, §3.1.5, §3.2.2, §3.3.2, §3.4.2: from a client. Roster pushes precede the stanza, since answers may come
     * at once.
     */
    const subscriptionOut = (
      type: SubscriptionType,
      owner: Jid,
      stanza: Stanza,
      items: Items,
      origin: Origin,
    ): Maybe<void> => {
      const contact = stanza.to!.toBare();
      const before = items.get(contact.bare);
      const { item, route } = outbound(type, before);
      if (item !== before) persist(owner, contact, item, stanza, origin);
      if (!route) return undefined;
      const sent: Maybe<void>[] = [];
      // §3.2.2: before the subscription ends
      if (type === 'unsubscribed' && hasFrom(before)) sent.push(tellPresence(owner, contact, true));
      sent.push(host.route(stanza.with({ from: owner, to: contact }), origin));
      if (type === 'subscribed') sent.push(tellPresence(owner, contact));
      return allOf(sent);
    };

    /** §3.1.3, §3.1.6, §3.2.3, §3.3.3: from a contact. The stanza precedes the resulting roster push. */
    const subscriptionIn = (
      type: SubscriptionType,
      { owner, peer, stanza, origin }: Passage,
      items: Items,
    ): Maybe<void> => {
      const contact = peer.toBare();
      if (contact.bare === owner.bare) return undefined;
      const received = stanza.with({ from: contact, to: owner });
      const before = items.get(contact.bare);
      const { item, deliver, approve } = inbound(type, before, requestOf(type, received));
      const isRequest = type === 'subscribe';
      if (isRequest && item !== before) persist(owner, contact, item, stanza, origin); // throws if too many are pending
      if (deliver)
        for (const own of host.sessions(owner.bare))
          if (isRequest ? own.available : roster.isInterested(own)) own.send(received);
      if (isRequest && deliver) void host.emit('subscriptionRequested', { owner, contact });
      if (!isRequest && item !== before) persist(owner, contact, item, stanza, origin);
      if (approve) return allOf([tell(subscription('subscribed', owner, contact)), tellPresence(owner, contact)]);
      if (type === 'unsubscribe' && hasFrom(before)) return tellPresence(owner, contact, true);
      return undefined;
    };

    /** §2.5.2: the contact was removed from the roster; cancels the subscriptions in both directions. */
    const cancel = (owner: Jid, contact: Jid, before: RosterItem): Maybe<void> => {
      const sent: Maybe<void>[] = [];
      if (hasTo(before) || before.ask) sent.push(tell(subscription('unsubscribe', owner, contact)));
      if (hasFrom(before)) sent.push(tellPresence(owner, contact, true));
      if (hasFrom(before) || before.pendingIn !== undefined)
        sent.push(tell(subscription('unsubscribed', owner, contact)));
      return allOf(sent);
    };

    // --- in -----------------------------------------------------------------------------------------------------

    /** §8.5.2.1.2, §8.5.3.1: to all available resources, or to the addressed one. */
    const deliver = ({ owner, peer, stanza }: Passage): Maybe<void> => {
      const to = stanza.to!;
      if (to.resource === undefined) {
        if (stanza.type !== 'error') void host.emit('contactPresence', { owner, stanza });
        for (const own of available(owner)) {
          if (stanza.type !== 'error') reached(own, peer);
          own.send(stanza);
        }
        return;
      }
      const own = host.sessions(owner.bare).find(({ jid }) => jid.resource === to.resource);
      if (own === undefined) return;
      if (stanza.type === undefined) reached(own, peer);
      // From a room that was left or never joined; otherwise from a contact that is unreachable.
      else if (!dropDirected(own, peer) && stanza.type === 'error') notReached(own, peer);
      own.send(stanza);
    };

    const notReached = (own: Session, { bare }: Jid): void => {
      const all = own.get(unreached) ?? new Set<string>();
      if (all.size < config.directed) own.set(unreached, all.add(bare));
    };

    /** §4.3.2. */
    const answerProbe = (owner: Jid, to: Jid, prober: Jid, item: RosterItem | undefined): Maybe<void> => {
      if (!hasFrom(item) && prober.bare !== owner.bare) {
        // A pending request must not be answered with a refusal.
        return item?.pendingIn === undefined ? tell(subscription('unsubscribed', owner, prober.toBare())) : undefined;
      }
      const asked = available(owner).filter(({ jid }) => to.resource === undefined || jid.resource === to.resource);
      if (asked.length === 0) return tell(unavailable(to).with({ to: prober }));
      return allOf(asked.map((own) => tell(own.presence!.with({ to: prober }))));
    };

    const into = (passage: Passage): Maybe<void> => {
      const { owner, peer, stanza } = passage;
      const { type } = stanza;
      if (isSubscriptionType(type)) return withRoster(owner, (items) => subscriptionIn(type, passage, items));
      switch (type) {
        case undefined:
        case 'unavailable':
        case 'error':
          return deliver(passage);
        case 'probe':
          return withRoster(owner, (items) => answerProbe(owner, stanza.to!, peer, items.get(peer.bare)));
        default:
          throw new StanzaError('bad-request');
      }
    };

    provide('presence', { directed: directedOf });

    const denied = new Denied({
      host,
      roster: (owner) => roster.get(owner),
      directed: (one) => directedOf(one).values(),
      shut(one, address) {
        dropDirected(one, address);
        one.send(unavailable(address).with({ to: one.jid }));
      },
      reopened(one, contact, item) {
        reached(one, contact);
        const sent = [tell(Stanza.build('presence', { from: one.jid, to: contact, type: 'probe' }))];
        if (hasFrom(item) && one.presence !== undefined) sent.push(tell(one.presence.with({ to: contact })));
        return allOf(sent);
      },
    });

    const departed = new Departed({
      host,
      store: stores.visible,
      patience: config.return_seconds * 1000,
      directed: (one) => directedOf(one).keys(),
      roster: (owner) => roster.get(owner),
      farewell(jid, { isAvailable, directed }, items) {
        const owner = jid.toBare();
        const stanza = unavailable(jid);
        const sent: Maybe<void>[] = [];
        if (isAvailable) {
          toOwn(owner, stanza);
          for (const [contact, item] of items) if (hasFrom(item)) sent.push(tellContact(stanza, contact));
        }
        const isCovered = (to: Jid) => isAvailable && (to.bare === owner.bare || hasFrom(items.get(to.bare)));
        for (const to of directed.map((full) => Jid.parse(full)))
          if (!isCovered(to)) sent.push(tell(stanza.with({ to })));
        return allOf(sent);
      },
      failed: (error) =>
        log.error({ err: error }, 'what others see of sessions in the cluster could not be stored or read'),
    });

    /** Returns undefined if the roster is not cached. */
    const seenBy = (one: Session): readonly Jid[] | undefined => {
      if (!one.available) return [];
      const owner = one.jid.toBare();
      const items = roster.get(owner.bare);
      if (items instanceof Promise) {
        items.catch(() => {}); // the next caller gets the error
        return undefined;
      }
      const others = available(owner).filter(({ jid }) => !jid.equals(one.jid));
      // Only sessions on this node: they are lost if it crashes.
      for (const [contact, item] of items)
        if (hasTo(item)) for (const other of host.sessions(contact)) if (other.available) others.push(other);
      return others.map(({ jid }) => jid);
    };

    return [
      presence((passage) => (passage.way === 'out' ? out(passage) : into(passage))),
      session('gone', (gone) => becomeUnavailable(gone, unavailable(gone.jid))),
      // Sessions that were not restored could not send unavailable presence.
      event('revived', ({ session: own }) => {
        const { jid: to } = own;
        if (to.domain !== host.domain) return undefined;
        const others = own.get(seen);
        own.set(seen, []);
        const farewell = (jid: Jid) => (isAvailable: boolean) =>
          isAvailable ? undefined : tell(unavailable(jid).with({ to }));
        return allOf(
          others.map((jid) => {
            const isAvailable = host.askHome(availability, jid.toBare(), { resource: jid.resource });
            return isAvailable instanceof Promise ? isAvailable.then(farewell(jid)) : farewell(jid)(isAvailable);
          }),
        );
      }),
      event('reloaded', () => denied.changed()),
      event('serverListsChanged', () => denied.changed()),
      every(lookMs, () => denied.look()),
      every(lookMs, () => departed.write()),
      every(lookMs, () => departed.look()),
      event('moved', () => departed.moved()),
      event('nodesGone', () => departed.nodeGone()),
      derive(seen, seenBy),
      event('rosterChanged', ({ owner, contact, item, before }) =>
        item === undefined && before !== undefined ? cancel(owner, contact, before) : undefined,
      ),
      // XEP-0191 §3.2: also to directed presence, before the block, which would drop it
      event('blocking', ({ owner, covers }) => {
        const sent: Maybe<void>[] = [];
        for (const own of host.sessions(owner.bare)) {
          for (const to of [...directedOf(own).values()].filter(covers)) {
            dropDirected(own, to);
            sent.push(tell(unavailable(own.jid).with({ to })));
          }
        }
        return allOf(sent);
      }),
      answers(availability, ({ resource }, owner) => available(owner).some(({ jid }) => jid.resource === resource)),
      event('accountDeleting', async ({ jid: owner }) => {
        for (const own of host.sessions(owner.bare)) await becomeUnavailable(own, unavailable(own.jid));
        for (const [contact, item] of await roster.get(owner.bare)) await cancel(owner, Jid.parse(contact), item);
      }),
      streamFeature('authenticated', () => el('sub', { xmlns: NS.subPreApproval })), // §3.4
    ];
  },
});

/** Waits for all that are pending. */
function allOf(outcomes: readonly Maybe<void>[]): Maybe<void> {
  const waiting = outcomes.filter((outcome) => outcome instanceof Promise);
  return waiting.length === 0 ? undefined : Promise.all(waiting).then(() => {});
}

const subscription = (type: SubscriptionType, from: Jid, to: Jid): Stanza =>
  Stanza.build('presence', { from, to, type });

const unavailable = (from: Jid): Stanza => Stanza.build('presence', { from, type: 'unavailable' });

/** §4.7.2.3. Throws StanzaError unless it is an integer from -128 to 127. */
export function priorityOf(stanza: Stanza): number {
  const text = stanza.text(NS.client, 'priority')?.trim();
  if (text === undefined) return 0;
  const priority = /^[+-]?\d{1,4}$/.test(text) ? Number(text) : Number.NaN;
  if (priority >= -128 && priority <= 127) return priority;
  throw new StanzaError('bad-request', 'The priority must be an integer from -128 to 127.');
}

/** A subscription request in its stored form (§3.1.3). */
function requestOf(type: SubscriptionType, stanza: Stanza): string {
  if (type !== 'subscribe') return '';
  const xml = stanza.toXml(NS.client);
  if (xml.length <= longestRequest) return xml;
  const { from, to, id } = stanza;
  return Stanza.build('presence', { from, to, type, id }).toXml(NS.client);
}
