/**
 * RFC 6121 §2: the roster, with versioning (§2.6). The version is a digest of what clients see, so that it is correct
 * whatever happened to the storage. The changes since a version are known while the roster is cached. Subscriptions
 * (§3) are handled by the presence module, through the service `roster`.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { count } from '../../server/config/units.js';
import {
  defineModule,
  demandOwn,
  event,
  type IqHandler,
  type IqRequest,
  iq,
  type Maybe,
  map,
  moves,
  portable,
  prefetch,
  type Services,
  sessionState,
  streamFeature,
} from '../../server/module/index.js';
import type { Session } from '../../server/routing/session.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { jid, sentXml } from '../../server/stanza/stored.js';
import { hasFrom, hasTo } from '../../server/stanza/subscription.js';
import { type Element, el } from '../../server/xml/element.js';
import { Cache } from '../../storage/cache.js';
import { Recent } from '../../storage/recent.js';
import { portableRoster } from './portable.js';
import type { RosterItem } from './services.js';

/** A cached roster of one account. */
export interface Roster {
  readonly items: Map<string, RosterItem>;
  /** Set and updated once a client has requested it. */
  version: string | undefined;
  /** Changed contacts, the oldest first, each with the version before the change. */
  readonly changes: Change[];
}

interface Change {
  readonly version: string;
  readonly contact: string;
}

/** What is known of a cached roster besides its items, for the next home of its account. */
interface History {
  /** The version after the last change. */
  readonly version: string;
  readonly changes: readonly Change[];
}

/** Maximum changes sent one by one. */
const mostChanges = 100;
/** §2.3.3: limits in characters (names are for people; RFC 7622 allows as much for addresses). */
const longestName = 1023;
const mostGroups = 100;

const subscriptions = ['none', 'to', 'from', 'both'] as const;

/** The stored item, validated on reading. */
const storedItem: z.ZodType<RosterItem> = z.object({
  name: z.string().optional(),
  groups: z.array(z.string()),
  subscription: z.enum(subscriptions),
  ask: z.boolean().optional(),
  approved: z.boolean().optional(),
  pendingIn: sentXml.optional(),
  hidden: z.boolean().optional(),
});

const history: z.ZodType<History> = z.object({
  version: z.string(),
  changes: z.array(z.object({ version: z.string(), contact: z.string() })).max(mostChanges),
});

/** The session has requested the roster and gets roster pushes (§2.1.6). */
export const interested = sessionState({ name: 'interested', default: false, stored: z.boolean() });

export default defineModule({
  name: 'roster',
  summary: 'Stores the contact lists of accounts.',
  implements: { 'RFC 6121': '2011', 'XEP-0237': '1.3' },
  provides: ['roster'],
  sessionStates: [interested],
  config: z.strictObject({
    pending_requests: count({ min: 1, unlimited: true })
      .default(200)
      .describe('Maximum pending subscription requests of one account; further ones are refused.'),
    cached: count({ min: 2 }).default(20_000).describe('Rosters cached in memory.'),
  }),
  stores: { roster: map<RosterItem>({ storedAs: 'roster', value: storedItem, key: jid }) },

  start: ({ host, config, stores, provide }) => {
    const store = stores.roster;
    /** Of accounts that have moved here, until their rosters are read. */
    const histories = new Recent<History>(config.cached);
    const rosters = new Cache<Roster>(config.cached, async (owner) => {
      const items = await store.all(owner);
      const known = histories.get(owner);
      histories.delete(owner);
      if (known === undefined || known.version !== digest(items)) return { items, version: undefined, changes: [] };
      return { items, version: known.version, changes: [...known.changes] };
    });

    /** Throws StanzaError if there is no room for one more. */
    const makeRoom = (items: ReadonlyMap<string, RosterItem>, item: RosterItem) => {
      let alike = 0;
      for (const other of items.values()) if (isHidden(other) === isHidden(item)) alike++;
      const [limit, name] = isHidden(item)
        ? [config.pending_requests, 'roster.pending_requests']
        : [host.config.limits.roster_items, 'roster_items'];
      if (alike < limit) return;
      host.limitHit(name);
      throw new StanzaError('resource-constraint');
    };

    /** §2.1.6: a roster push. */
    const push = (owner: Jid, roster: Roster, item: Element) => {
      let stanza: Stanza | undefined;
      for (const session of host.sessions(owner.bare)) {
        if (!session.get(interested)) continue;
        stanza ??= pushOf(item, versionOf(roster));
        session.send(stanza.with({ to: session.jid }));
      }
    };

    const set: Services['roster']['set'] = (owner, contact, wanted) => {
      const roster = rosters.get(owner.bare);
      if (roster instanceof Promise) return roster.then(() => set(owner, contact, wanted));
      const key = contact.bare;
      const before = roster.items.get(key);
      if (wanted === before) return Promise.resolve();
      // A copy: substrings would retain the whole stanza.
      const item = wanted && (JSON.parse(JSON.stringify(wanted)) as RosterItem);
      if (item !== undefined && (before === undefined || isHidden(before) !== isHidden(item)))
        makeRoom(roster.items, item);
      const written =
        item === undefined ? store.delete(owner.bare, [key]).then(() => {}) : store.set(owner.bare, [[key, item]]);
      if (item === undefined) roster.items.delete(key);
      else roster.items.set(key, item);
      // A pending request is not visible to the owner's clients.
      const isRequest = before?.pendingIn !== item?.pendingIn && lookOf(key, before) === lookOf(key, item);
      if (!isRequest) {
        noteChange(roster, key);
        push(owner, roster, itemElement(key, isVisible(item) ? item : undefined));
        void host.emit('rosterChanged', { owner, contact, item, before });
      }
      return written.catch((error: unknown) => {
        rosters.delete(owner.bare); // the cached roster is not what is stored
        throw error;
      });
    };

    const get = (owner: string) => {
      const roster = rosters.get(owner);
      return roster instanceof Promise ? roster.then(({ items }) => items) : roster.items;
    };

    /** §2.6.3: sends missed changes as pushes, after the empty result. */
    const sendChanges = (roster: Roster, session: Session, seen: string) => {
      session.set(interested, true);
      for (const { contact, version } of changesSince(roster, seen) ?? []) {
        const item = roster.items.get(contact);
        const push = pushOf(itemElement(contact, isVisible(item) ? item : undefined), version);
        session.send(push.with({ to: session.jid }));
      }
    };

    /** §2.1.3, §2.6.2. */
    const answer = ({ payload, session }: IqRequest, roster: Roster): Element | undefined => {
      const seen = payload.attrs.ver;
      const changes = seen === undefined ? undefined : changesSince(roster, seen);
      if (seen !== undefined && changes !== undefined && changes.length > 0 && session !== undefined) {
        setImmediate(sendChanges, roster, session, seen);
        return undefined;
      }
      if (session !== undefined) session.set(interested, true);
      if (changes?.length === 0) return undefined;
      const items: Element[] = [];
      for (const [contact, item] of roster.items) if (isVisible(item)) items.push(itemElement(contact, item));
      return el('query', { xmlns: NS.roster, ver: seen === undefined ? undefined : versionOf(roster) }, ...items);
    };

    const read: Services['roster']['read'] = (request) => {
      const roster = rosters.get(request.to.bare);
      return roster instanceof Promise ? roster.then((loaded) => answer(request, loaded)) : answer(request, roster);
    };

    const change: Services['roster']['change'] = async ({ to, payload }, grants) => {
      const { contact, wanted } = readSet(payload);
      const items = await get(to.bare);
      const before = items.get(contact.bare);
      if (wanted === undefined) {
        if (!isVisible(before)) throw new StanzaError('item-not-found'); // §2.5.3
        await set(to, contact, undefined);
        return;
      }
      // RFC 6121 has no subscription to oneself: such stanzas would loop.
      if (contact.bare === to.bare) throw new StanzaError('not-allowed', 'You cannot add yourself as a contact.');
      const { hidden: _, ...current }: RosterItem = before ?? { subscription: 'none', groups: [] };
      const subscription = grants?.(contact) === true ? subscriptionIn(payload) : undefined;
      await set(to, contact, { ...current, ...wanted, ...(subscription && withSubscription(current, subscription)) });
    };

    const own =
      (handler: (request: IqRequest) => Maybe<Element | undefined | void>): IqHandler =>
      (request) => {
        demandOwn(request);
        return handler(request);
      };

    provide('roster', {
      get,
      sees: (owner, contact) => {
        if (contact.bare === owner) return true;
        const items = get(owner);
        const isSubscribed = (known: ReadonlyMap<string, RosterItem>) => hasFrom(known.get(contact.bare));
        return items instanceof Promise ? items.then(isSubscribed) : isSubscribed(items);
      },
      set,
      read,
      change,
      element: (contact, item) => (isVisible(item) ? itemElement(contact.bare, item) : undefined),
      isInterested: (session) => session.get(interested),
    });

    const ported = portableRoster({
      store,
      mostItems: () => host.config.limits.roster_items,
      mostRequests: config.pending_requests,
      elementOf: itemElement,
      read: readSet,
    });

    // Other users get the same error whether the account exists or not.
    const options = { access: 'anyone', absent: true } as const;
    return [
      portable(ported),
      event('moved', ({ concerns }) => {
        rosters.deleteIf(concerns);
        histories.deleteIf(concerns);
      }),
      // Clients with an older version get the changes alone (§2.6).
      moves({
        name: 'roster.changes',
        schema: history,
        *describe(concerns) {
          for (const [owner, known] of histories.entries()) if (concerns(owner)) yield [owner, known];
          for (const [owner, { version, changes }] of rosters.entries())
            if (version !== undefined && concerns(owner)) yield [owner, { version, changes }];
        },
        restore: (owner, known) => histories.set(owner, known),
      }),
      prefetch(({ bare }) => rosters.get(bare)),
      iq.get('account', NS.roster, 'query', own(read), options),
      iq.set('account', NS.roster, 'query', own(change), options),
      streamFeature('authenticated', () => el('ver', { xmlns: NS.rosterver })), // §2.6.1
      // before others act on a stale roster
      event('accountDeleted', ({ jid }) => rosters.delete(jid.bare), { before: 'all' }),
    ];
  },
});

const isHidden = (item: RosterItem): boolean => item.hidden === true;
const isVisible = (item: RosterItem | undefined): item is RosterItem => item !== undefined && !isHidden(item);

/** §2.1.2. `item` is undefined if the contact was removed. */
export function itemElement(contact: string, item: RosterItem | undefined): Element {
  if (item === undefined) return el('item', { jid: contact, subscription: 'remove' });
  return el(
    'item',
    {
      jid: contact,
      name: item.name,
      subscription: item.subscription,
      ask: item.ask ? 'subscribe' : undefined,
      approved: item.approved ? 'true' : undefined,
    },
    ...item.groups.map((group) => el('group', null, group)),
  );
}

const pushOf = (item: Element, ver: string): Stanza =>
  Stanza.build('iq', { type: 'set', id: randomId(9) }, el('query', { xmlns: NS.roster, ver }, item));

/**
 * Parses a roster set; `wanted` is undefined for a removal. `subscription`, `ask` and `approved` are ignored, since
 * clients cannot set them (§2.1.2). Throws the StanzaErrors of §2.3.3.
 */
export function readSet(query: Element): {
  contact: Jid;
  wanted: { name: string | undefined; groups: readonly string[] } | undefined;
} {
  const [item, ...further] = query.getChildren('item', NS.roster);
  if (item === undefined || further.length > 0)
    throw new StanzaError('bad-request', 'A roster set must have one item.');
  const { jid, name, subscription } = item.attrs;
  if (jid === undefined) throw new StanzaError('bad-request', 'An item needs a jid attribute.');
  const contact = Jid.tryParse(jid)?.toBare();
  if (contact === undefined) throw new StanzaError('jid-malformed');
  if (subscription === 'remove') return { contact, wanted: undefined };
  if (name !== undefined && name.length > longestName) throw new StanzaError('not-acceptable', 'The name is too long.');
  const groups = item.getChildren('group', NS.roster).map((group) => group.getText().normalize('NFC'));
  if (groups.some((group) => group === '' || group.length > longestName) || groups.length > mostGroups)
    throw new StanzaError('not-acceptable', 'The name of a group is empty or too long, or there are too many groups.');
  if (new Set(groups).size < groups.length) throw new StanzaError('bad-request', 'The same group is listed twice.');
  return { contact, wanted: { name: name === '' ? undefined : name, groups } };
}

/** The subscription that a roster set names, for requesters who may decide on it. */
function subscriptionIn(query: Element): RosterItem['subscription'] | undefined {
  const named = query.getChild('item', NS.roster)?.attrs.subscription;
  return subscriptions.find((one) => one === named);
}

/** What follows from a subscription that was set: requests that it answers are over. */
const withSubscription = (
  { ask, pendingIn }: RosterItem,
  subscription: RosterItem['subscription'],
): Pick<RosterItem, 'subscription' | 'ask' | 'pendingIn'> => ({
  subscription,
  ask: hasTo({ subscription }) ? undefined : ask,
  pendingIn: hasFrom({ subscription }) ? undefined : pendingIn,
});

/** A digest of the roster as the owner's clients see it. */
function versionOf(roster: Roster): string {
  roster.version ??= digest(roster.items);
  return roster.version;
}

export function digest(items: ReadonlyMap<string, RosterItem>): string {
  const hash = createHash('sha256');
  for (const contact of [...items.keys()].sort()) {
    hash.update(lookOf(contact, items.get(contact)));
  }
  return hash.digest('base64url').slice(0, 22);
}

/** An item as clients see it; '' if they do not. */
function lookOf(contact: string, item: RosterItem | undefined): string {
  if (!isVisible(item)) return '';
  const { name, groups, subscription, ask, approved } = item;
  return JSON.stringify([contact, name ?? '', groups, subscription, ask ?? false, approved ?? false]);
}

/** Records that the item of a contact has changed. */
function noteChange(roster: Roster, contact: string): void {
  const { version, changes } = roster;
  if (version === undefined) return; // no client has a version of this roster
  changes.push({ version, contact });
  if (changes.length > mostChanges) changes.shift();
  roster.version = digest(roster.items);
}

/**
 * Contacts that changed after a version, each with the version that the client has after the push. Returns undefined if
 * they are not known, or the whole roster is shorter.
 */
export function changesSince(roster: Roster, version: string): { contact: string; version: string }[] | undefined {
  const current = versionOf(roster);
  if (version === current) return [];
  const { changes, items } = roster;
  const start = changes.findLastIndex((change) => change.version === version);
  if (start < 0) return undefined;
  const latest = new Map<string, string>();
  for (let index = start; index < changes.length; index++) {
    const { contact } = changes[index]!;
    latest.delete(contact);
    latest.set(contact, changes[index + 1]?.version ?? current);
  }
  if (latest.size > items.size) return undefined;
  return [...latest].map(([contact, after]) => ({ contact, version: after }));
}
