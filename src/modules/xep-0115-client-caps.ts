/**
 * XEP-0115: Entity Capabilities of clients, learned from their presence: of this host's sessions, and of all others
 * that send presence to an account (contacts on other servers, unknown senders). Each version is queried once, verified
 * and persisted. An answer that does not match the announced hash is used for that one client only. The server's own
 * capabilities are in xep-0115-caps.ts.
 */

import { z } from 'zod';
import { flat } from '../server/address/flat.js';
import { Jid } from '../server/address/jid.js';
import { wall } from '../server/clock.js';
import { count } from '../server/config/units.js';
import { defineModule, event, map, session as sessionHook, sessionState } from '../server/module/index.js';
import type { Session } from '../server/routing/session.js';
import { provesCaps, readInfo } from '../server/stanza/caps.js';
import { StanzaError } from '../server/stanza/errors.js';
import { randomId } from '../server/stanza/ids.js';
import { NS } from '../server/stanza/ns.js';
import { Stanza } from '../server/stanza/stanza.js';
import { hasFrom } from '../server/stanza/subscription.js';
import { type Element, el } from '../server/xml/element.js';
import type { RosterItem } from './rfc-6121-roster/services.js';

declare module '../server/module/index.js' {
  interface Services {
    clientCaps: {
      /** The features of an available session; empty until they are known. Read-only. */
      features(session: Session): ReadonlySet<string>;
      /** Others present at an account, by full JID: not its own sessions, nor contacts on this host. */
      visitors(owner: string): ReadonlyMap<string, Visitor>;
    };
  }
  interface Events {
    /** The features of an available session are known. `gained`: those new since it became available. */
    featuresKnown: { readonly session: Session; readonly gained: ReadonlySet<string> };
    /** The same for a visitor. */
    visitorKnown: { readonly owner: Jid; readonly visitor: Visitor; readonly gained: ReadonlySet<string> };
    /** An address that was, or may have been, present at an account has become unavailable. */
    visitorGone: { readonly owner: Jid; readonly jid: Jid };
  }
}

/** A client that sent presence to an account. */
export interface Visitor {
  readonly jid: Jid;
  /** RFC 6121 §4.7.2.1. Undefined for plain available presence. */
  readonly show: string | undefined;
  /** Empty until they are known. */
  features(): ReadonlySet<string>;
}

interface Announced {
  readonly hash: string | undefined;
  readonly node: string;
  readonly ver: string;
}

/** A verified version, as stored. */
interface Stored {
  readonly at: number;
  readonly features: readonly string[];
}

type Features = ReadonlySet<string>;

const none: Features = new Set();
/** Limits of one client: its features, and the characters of each. Answers beyond them are not stored. */
const mostFeatures = 500;
const longestFeature = 1000;
/** Timeout of a disco#info query. */
const patienceMs = 10_000;
/** Characters of hash, ver and node together. */
const longestKey = 2000;
/** Visitors of one account: contacts on other servers, and others. */
const mostContacts = 2000;
const mostUnknown = 50;

/** A client while it is available. */
class Client {
  /** The announced version. Undefined if none. */
  caps: Announced | undefined;
  key = '';
  show: string | undefined;
  isAvailable = true;
  /** A query to it is pending. */
  isAsked = false;
  /** The id of a query that it was sent at another node. */
  pendingQuery: string | undefined;
  #features: Features | undefined;
  /** The features of its previous version, valid until the answer arrives. */
  #before = none;

  constructor(
    readonly jid: Jid,
    /** The sender of the query. */
    readonly asker: Jid,
    readonly isContact: boolean,
    readonly tell: (client: Client, gained: Features) => void,
    /** Its session, if it has one here. */
    readonly session?: Session,
  ) {}

  features(): Features {
    return this.#features ?? this.#before;
  }

  get isKnown(): boolean {
    return this.#features !== undefined;
  }

  /** Whether it now announces something else. */
  announces(caps: Announced | undefined): boolean {
    const key = caps === undefined ? '' : `${caps.hash ?? ''}\n${caps.ver}\n${caps.node}`;
    if (key === this.key) return false;
    this.#before = this.features();
    this.#features = caps === undefined ? none : undefined;
    this.caps = caps;
    this.key = key;
    return caps !== undefined;
  }

  settle(features: Features): void {
    this.#features = features;
    this.session?.set(learned, [...features]);
    const before = this.#before;
    const gained = before.size === 0 ? features : new Set([...features].filter((one) => !before.has(one)));
    if (gained.size > 0) this.tell(this, gained);
  }

  /** Sets its features from a known version, without an event. */
  recall(features: Features): void {
    this.#features = features;
    this.session?.set(learned, [...features]);
  }

  /** Its features could not be learned: queried again after its next presence, or when it is resumed. */
  reset(): void {
    this.key = '';
    this.#features = undefined;
  }
}

/** The client of an available session. Not stored: restored from the stored presence and versions. */
const announcing = sessionState<Client | undefined>({ name: 'client', default: undefined, stored: false });
/** What moves with the session to another node: its features, or the id of the query that it has not answered. */
const learned = sessionState<readonly string[] | undefined>({
  name: 'client_features',
  default: undefined,
  stored: false,
  moved: z.array(z.string()),
});
const queried = sessionState<string | undefined>({
  name: 'client_query',
  default: undefined,
  stored: false,
  moved: z.string(),
});

export default defineModule({
  name: 'client_caps',
  summary: 'Learns the features of clients from the capabilities that they announce.',
  implements: { 'XEP-0115': '1.6.0' },
  config: z.strictObject({
    stored: count({ min: 10 })
      .default(2000)
      .describe('Client versions whose capabilities are stored; the oldest are evicted.'),
    visitors: count({ min: 10 })
      .default(100_000)
      .describe('Clients on other servers whose presence is held in memory, to send them the events that they want.'),
  }),
  stores: {
    client_caps: map<Stored>({
      storedAs: 'client_caps',
      value: z.object({ at: z.number(), features: z.array(z.string()) }),
    }),
  },
  needs: ['roster'],
  provides: ['clientCaps'],
  sessionStates: [announcing, learned, queried],

  start: async ({ host, config, stores: { client_caps: store }, services: { roster }, provide, log }) => {
    /** Verified versions, the oldest first. */
    const versions = new Map<string, Features>();
    /** By the bare address of the account and the full address of the visitor. */
    const visitors = new Map<string, Map<string, Client>>();
    const noClients: ReadonlyMap<string, Client> = new Map();
    let visiting = 0;
    /** Clients that wait for the pending query of their version. */
    const asking = new Map<string, Client[]>();

    const stored = [...(await store.all(host.domain))].sort(([, one], [, other]) => one.at - other.at);
    for (const [key, { features }] of stored.slice(-config.stored)) versions.set(key, new Set(features));
    if (stored.length > config.stored)
      await store.delete(
        host.domain,
        stored.slice(0, -config.stored).map(([key]) => key),
      );

    const persist = (key: string, features: Features): void => {
      const failed = (error: unknown) => log.warn({ err: error }, 'capabilities could not be persisted');
      versions.set(key, features);
      store.set(host.domain, [[key, { at: wall(), features: [...features] }]]).catch(failed);
      if (versions.size <= config.stored) return;
      const [oldest] = versions.keys();
      versions.delete(oldest!);
      store.delete(host.domain, [oldest!]).catch(failed);
    };

    /** Clients that still announce this version and do not know its features. */
    const waitingFor = (key: string, clients: readonly Client[]) =>
      clients.filter((client) => client.key === key && !client.isKnown && client.isAvailable);

    /** Queries one client after the other until an answer matches the hash; that answer then applies to all. */
    const ask = async (key: string, caps: Announced): Promise<void> => {
      const queue = asking.get(key)!;
      for (let at = 0; at < queue.length; at++) {
        const [asked] = waitingFor(key, [queue[at]!]);
        if (asked === undefined) continue;
        asked.isAsked = true;
        const answer = await featuresOf(asked, caps).finally(() => (asked.isAsked = false));
        const proven = answer?.proven === true;
        if (proven) persist(key, answer.features);
        for (const client of waitingFor(key, proven ? queue : [asked])) {
          if (answer !== undefined) client.settle(answer.features);
          else client.reset();
        }
        // It may have announced another version in the meantime.
        if (asked.isAvailable && asked.key !== key && !asked.isKnown) learn(asked);
      }
      asking.delete(key);
    };

    const featuresOf = async (
      client: Client,
      { hash, node, ver }: Announced,
    ): Promise<{ features: Features; proven: boolean } | undefined> => {
      const { jid, asker, session, pendingQuery } = client;
      const id = pendingQuery ?? randomId();
      client.pendingQuery = undefined;
      session?.set(queried, id);
      const query = el('query', { xmlns: NS.discoInfo, node: `${node}#${ver}` });
      let answer: Element | undefined;
      try {
        const request = Stanza.build('iq', { type: 'get', from: asker, to: jid }, query);
        const own = session === undefined ? {} : { id, isSent: pendingQuery !== undefined };
        const options = { timeoutMs: patienceMs, ...own };
        answer = (await host.ask(request, options)).child(NS.discoInfo, 'query');
      } catch (error) {
        if (!(error instanceof StanzaError)) throw error;
      }
      if (session !== undefined && session.get(queried) === id) session.set(queried, undefined);
      const info = answer === undefined ? null : readInfo(answer);
      if (answer === undefined || info === null) return undefined;
      const names = info.features.filter(({ length }) => length <= longestFeature).slice(0, mostFeatures);
      // A copy: substrings would retain the whole stanza.
      const features = new Set(JSON.parse(JSON.stringify(names)) as string[]);
      return { features, proven: hash !== undefined && provesCaps(answer, hash, ver) === true };
    };

    /** From the known versions, or by a query. */
    const learn = (client: Client): void => {
      const { key, caps } = client;
      if (caps === undefined) return;
      const features = versions.get(key);
      if (features !== undefined) {
        client.settle(features);
        return;
      }
      if (client.isAsked) return; // learned after that query
      const queue = asking.get(key);
      if (queue !== undefined) {
        if (!queue.includes(client)) queue.push(client);
        return;
      }
      asking.set(key, [client]);
      ask(key, caps).catch((error: unknown) => {
        asking.delete(key);
        log.error({ err: error }, 'capabilities could not be queried');
      });
    };

    const look = (client: Client, presence: Stanza): void => {
      client.show = presence.has(NS.client, 'show') ? presence.text(NS.client, 'show')?.trim() : undefined;
      // §8.4: omitted capabilities are unchanged
      const announced = presence.has(NS.caps, 'c') ? announcedIn(presence) : client.caps;
      if (client.announces(announced)) learn(client);
    };

    // --- sessions -----------------------------------------------------------------------------------------------

    const lookAt = (session: Session, isNew: boolean): void => {
      const client = (isNew ? undefined : session.get(announcing)) ?? begin(session);
      if (session.presence !== undefined) look(client, session.presence);
    };

    const begin = (session: Session): Client => {
      const tell = (_: Client, gained: Features) => void host.emit('featuresKnown', { session, gained });
      const client = new Client(session.jid, host.jid, true, tell, session);
      session.set(announcing, client);
      return client;
    };

    /** Restores the features of a resumed session without events; unknown ones are queried again. */
    const recognize = (session: Session): void => {
      if (session.jid.domain !== host.domain || session.presence === undefined) return;
      const client = begin(session);
      client.announces(announcedIn(session.presence));
      const features = versions.get(client.key);
      if (features === undefined) client.reset();
      else client.recall(features);
    };

    /** A session has moved to this node. */
    const arrives = (session: Session): void => {
      if (session.jid.domain !== host.domain || session.presence === undefined) return;
      const known = session.get(learned);
      const client = begin(session);
      client.announces(announcedIn(session.presence));
      const features = known === undefined ? versions.get(client.key) : new Set(known);
      if (features !== undefined) client.recall(features);
      else {
        client.pendingQuery = session.get(queried);
        learn(client);
      }
    };

    const leaves = (session: Session): void => {
      const client = session.get(announcing);
      if (client !== undefined) client.isAvailable = false;
      session.set(announcing, undefined);
    };

    // --- visitors -----------------------------------------------------------------------------------------------

    const visit = (owner: Jid, stanza: Stanza, item: RosterItem | undefined): void => {
      const from = stanza.from!;
      const isContact = hasFrom(item);
      if (isContact && from.domain === host.domain) return; // has a session here
      const here = visitors.get(owner.bare) ?? new Map<string, Client>();
      let client = here.get(from.full);
      if (client === undefined) {
        if (!hasRoom(here, isContact)) return;
        // A copy: substrings would retain the whole stanza.
        const jid = Jid.parse(flat(from.full));
        const tell = (visitor: Client, gained: Features) => void host.emit('visitorKnown', { owner, visitor, gained });
        client = new Client(jid, owner, isContact, tell);
        visitors.set(owner.bare, here.set(jid.full, client));
        visiting++;
      }
      look(client, stanza);
    };

    const hasRoom = (here: ReadonlyMap<string, Client>, isContact: boolean): boolean => {
      let alike = 0;
      for (const client of here.values()) if (client.isContact === isContact) alike++;
      const isFree = visiting < (isContact ? config.visitors : config.visitors / 2);
      if (isFree && alike < (isContact ? mostContacts : mostUnknown)) return true;
      host.limitHit('client_caps.visitors');
      return false;
    };

    /** Unavailable presence from a bare JID applies to all its resources. */
    const depart = (owner: Jid, jid: Jid): void => {
      const here = visitors.get(owner.bare) ?? noClients;
      const one = here.get(jid.full);
      const going = one ? [one] : jid.resource ? [] : [...here.values()].filter((other) => other.jid.bare === jid.bare);
      for (const client of going) {
        client.isAvailable = false;
        visitors.get(owner.bare)!.delete(client.jid.full);
        visiting--;
      }
      if (here.size === 0) visitors.delete(owner.bare);
      void host.emit('visitorGone', { owner, jid });
    };

    provide('clientCaps', {
      features: (session) => session.get(announcing)?.features() ?? none,
      visitors: (owner) => visitors.get(owner) ?? noClients,
    });

    return [
      event('available', ({ session }) => lookAt(session, true)),
      event('presenceChanged', ({ session }) => lookAt(session, false)),
      event('unavailable', ({ session }) => leaves(session)),
      event('revived', ({ session }) => recognize(session)),
      event('arrived', ({ session }) => arrives(session)),
      sessionHook('resumed', (session) => {
        if (session.available) lookAt(session, false);
      }),
      event('contactPresence', ({ owner, stanza }) => {
        const { from, type } = stanza;
        if (from === undefined || from.bare === owner.bare) return undefined;
        if (type === 'unavailable') return depart(owner, from);
        if (type !== undefined) return undefined;
        const items = roster.get(owner.bare);
        if (items instanceof Promise) return items.then((all) => visit(owner, stanza, all.get(from.bare)));
        return visit(owner, stanza, items.get(from.bare));
      }),
      event(
        'accountDeleted',
        ({ jid }) => {
          const here = visitors.get(jid.bare);
          if (here === undefined) return;
          for (const client of here.values()) client.isAvailable = false;
          visiting -= here.size;
          visitors.delete(jid.bare);
        },
        { before: 'all' },
      ),
    ];
  },
});

/** §4. Returns undefined if the presence announces no capabilities, or oversized ones. */
function announcedIn(presence: Stanza): Announced | undefined {
  const c = presence.child(NS.caps, 'c');
  const { hash, node, ver } = c?.attrs ?? {};
  if (node === undefined || ver === undefined) return undefined;
  if (node.length + ver.length + (hash?.length ?? 0) > longestKey) return undefined;
  return { hash, node, ver };
}
