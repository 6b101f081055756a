/**
 * RFC 6121 §2: the roster, with versions (§2.6): the version is a digest of what clients see, so it is right whatever
 * happened to the storage in between, and what changed since a version is known as long as the roster is in memory.
 * Subscriptions (§3) are the presence module's, which writes them through the service `roster`.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { count } from '../../server/config/units.js';
import {
  defineModule,
  demandOwn,
  event,
  type IqHandler,
  type IqRequest,
  iq,
  map,
  prefetch,
  type Services,
  sessionState,
  streamFeature,
} from '../../server/module/index.js';
import type { Session } from '../../server/routing/session.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { randomId } from '../../server/stanza/ids.js';
import { Jid } from '../../server/stanza/jid.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { jid, sentXml } from '../../server/stanza/stored.js';
import { hasFrom } from '../../server/stanza/subscription.js';
import { type Element, el } from '../../server/xml/element.js';
import { Cache } from '../../storage/cache.js';
import type { RosterItem } from './services.js';

/** One account's roster in memory. */
export interface Roster {
  readonly items: Map<string, RosterItem>;
  /** Once somebody asked for it, kept current. */
  version: string | undefined;
  /** The oldest first: a contact whose item changed, and the version that was current before. */
  readonly changes: { readonly version: string; readonly contact: string }[];
}

/** Changes that a client may have missed and still gets one by one. */
const mostChanges = 100;
/** §2.3.3: what may be refused, in characters (names are for people; RFC 7622 gives addresses as much). */
const longestName = 1023;
const mostGroups = 100;

/** An item as it is checked when it is read. */
const storedItem: z.ZodType<RosterItem> = z.object({
  name: z.string().optional(),
  groups: z.array(z.string()),
  subscription: z.enum(['none', 'to', 'from', 'both']),
  ask: z.boolean().optional(),
  approved: z.boolean().optional(),
  pendingIn: sentXml.optional(),
  hidden: z.boolean().optional(),
});

/** It asked for the roster and so gets roster pushes (§2.1.6). */
export const interested = sessionState({ name: 'interested', default: false, stored: z.boolean() });

export default defineModule({
  name: 'roster',
  summary: "Keeps the accounts' contact lists.",
  implements: { 'RFC 6121': '2011', 'XEP-0237': '1.3' },
  provides: ['roster'],
  sessionStates: [interested],
  config: z.strictObject({
    pending_requests: count({ min: 1, unlimited: true })
      .default(200)
      .describe('Requests for subscription that wait for an answer of one account; further ones are refused.'),
    cached: count({ min: 2 }).default(20_000).describe('Rosters that are kept in memory.'),
  }),
  stores: { roster: map<RosterItem>({ storedAs: 'roster', value: storedItem, key: jid }) },

  start: ({ host, config, stores, provide }) => {
    const store = stores.roster;
    const rosters = new Cache<Roster>(config.cached, async (owner) => ({
      items: await store.all(owner),
      version: undefined,
      changes: [],
    }));

    /** Throws where one more would be too many. */
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
      // A copy, so that its texts do not keep alive the stanza that they were cut from.
      const item = wanted && (JSON.parse(JSON.stringify(wanted)) as RosterItem);
      if (item !== undefined && (before === undefined || isHidden(before) !== isHidden(item)))
        makeRoom(roster.items, item);
      const written =
        item === undefined ? store.delete(owner.bare, [key]).then(() => {}) : store.set(owner.bare, [[key, item]]);
      if (item === undefined) roster.items.delete(key);
      else roster.items.set(key, item);
      // A request that waits is no change that the owner's clients would see.
      const isRequest = before?.pendingIn !== item?.pendingIn && lookOf(key, before) === lookOf(key, item);
      if (!isRequest) {
        noteChange(roster, key);
        push(owner, roster, itemElement(key, isVisible(item) ? item : undefined));
        void host.emit('rosterChanged', { owner, contact, item, before });
      }
      return written.catch((error: unknown) => {
        rosters.delete(owner.bare); // what is in memory is not what is on disk
        throw error;
      });
    };

    const get = (owner: string) => {
      const roster = rosters.get(owner);
      return roster instanceof Promise ? roster.then(({ items }) => items) : roster.items;
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
      isInterested: (session) => session.get(interested),
    });

    /** §2.6.3: brings a client up to date, after the empty result that announces it. */
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

    const read: IqHandler = (request) => {
      demandOwn(request);
      const roster = rosters.get(request.to.bare);
      return roster instanceof Promise ? roster.then((loaded) => answer(request, loaded)) : answer(request, roster);
    };

    const change: IqHandler = async (request) => {
      demandOwn(request);
      const { to, payload } = request;
      const { contact, wanted } = readSet(payload);
      const items = await get(to.bare);
      const before = items.get(contact.bare);
      if (wanted === undefined) {
        if (!isVisible(before)) throw new StanzaError('item-not-found'); // §2.5.3
        await set(to, contact, undefined);
        return;
      }
      // RFC 6121 knows no subscription to oneself: its stanzas would go in circles.
      if (contact.bare === to.bare) throw new StanzaError('not-allowed', 'You need not be your own contact.');
      const { hidden: _, ...kept } = before ?? { subscription: 'none' as const };
      await set(to, contact, { ...kept, ...wanted });
    };

    // Others are refused alike, whether the account exists or not.
    const options = { access: 'anyone', absent: true } as const;
    return [
      prefetch(({ bare }) => rosters.get(bare)),
      iq.get('account', NS.roster, 'query', read, options),
      iq.set('account', NS.roster, 'query', change, options),
      streamFeature('authenticated', () => el('ver', { xmlns: NS.rosterver })), // §2.6.1
      // before others act on what is not there any more
      event('accountDeleted', ({ jid }) => rosters.delete(jid.bare), { before: 'all' }),
    ];
  },
});

const isHidden = (item: RosterItem): boolean => item.hidden === true;
const isVisible = (item: RosterItem | undefined): item is RosterItem => item !== undefined && !isHidden(item);

/** §2.1.2; undefined: the contact is not there any more. */
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
 * What a roster set asks for; `wanted` undefined: the removal. `subscription`, `ask` and `approved` are not the
 * client's to set (§2.1.2). Throws the StanzaErrors of §2.3.3.
 */
export function readSet(query: Element): {
  contact: Jid;
  wanted: { name: string | undefined; groups: readonly string[] } | undefined;
} {
  const [item, ...further] = query.getChildren('item', NS.roster);
  if (item === undefined || further.length > 0) throw new StanzaError('bad-request', 'A roster set has one item.');
  const { jid, name, subscription } = item.attrs;
  if (jid === undefined) throw new StanzaError('bad-request', 'An item needs a jid attribute.');
  const contact = Jid.tryParse(jid)?.toBare();
  if (contact === undefined) throw new StanzaError('jid-malformed');
  if (subscription === 'remove') return { contact, wanted: undefined };
  if (name !== undefined && name.length > longestName) throw new StanzaError('not-acceptable', 'The name is too long.');
  const groups = item.getChildren('group', NS.roster).map((group) => group.getText().normalize('NFC'));
  if (groups.some((group) => group === '' || group.length > longestName) || groups.length > mostGroups)
    throw new StanzaError(
      'not-acceptable',
      'A group has a name of reasonable length, and a contact not too many groups.',
    );
  if (new Set(groups).size < groups.length) throw new StanzaError('bad-request', 'A group is named twice.');
  return { contact, wanted: { name: name === '' ? undefined : name, groups } };
}

/** A digest of what the owner's clients see. */
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

/** All that clients see of an item; '' where they see none. */
function lookOf(contact: string, item: RosterItem | undefined): string {
  if (!isVisible(item)) return '';
  const { name, groups, subscription, ask, approved } = item;
  return JSON.stringify([contact, name ?? '', groups, subscription, ask ?? false, approved ?? false]);
}

/** The item of a contact has changed. */
function noteChange(roster: Roster, contact: string): void {
  const { version, changes } = roster;
  if (version === undefined) return; // nobody has seen a version of this roster that could be built upon
  changes.push({ version, contact });
  if (changes.length > mostChanges) changes.shift();
  roster.version = digest(roster.items);
}

/**
 * Contacts whose items differ from what a client with this version has, each with the version that it has afterwards;
 * undefined where that is not known, or the whole roster is shorter.
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
