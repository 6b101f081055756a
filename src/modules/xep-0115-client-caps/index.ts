/**
 * XEP-0115: Entity Capabilities of clients, learned from their presence: of this host's sessions, and of all others
 * that send presence to an account (contacts on other servers, unknown senders). Each version is queried once, verified
 * and persisted. An answer that does not match the announced hash is used for that one client only. The server's own
 * capabilities are in ../xep-0115-caps.ts.
 */

import { z } from 'zod';
import { flat } from '../../server/address/flat.js';
import { Jid } from '../../server/address/jid.js';
import { monotonic, wall } from '../../server/clock.js';
import { count } from '../../server/config/units.js';
import {
  answers,
  defineModule,
  defineQuestion,
  event,
  type Maybe,
  type Memory,
  map,
  moves,
  session as sessionHook,
} from '../../server/module/index.js';
import type { Session } from '../../server/routing/session.js';
import { provesCaps, readInfo } from '../../server/stanza/caps.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { jid } from '../../server/stanza/stored.js';
import { hasFrom } from '../../server/stanza/subscription.js';
import { type Element, el } from '../../server/xml/element.js';
import type { RosterItem } from '../rfc-6121-roster/services.js';
import {
  type Announced,
  announced,
  announcedAs,
  announcedIn,
  announcing,
  Client,
  type Features,
  features,
  learned,
  none,
  queried,
  type Visitor,
} from './client.js';

export type { Visitor } from './client.js';

declare module '../../server/module/index.js' {
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

/** A verified version, as stored. */
interface Stored {
  readonly at: number;
  readonly features: readonly string[];
}

/** Limits of one client: its features, and the characters of each. Answers beyond them are not stored. */
const mostFeatures = 500;
const longestFeature = 1000;
/** Timeout of a disco#info query. */
const patienceMs = 10_000;
/** Visitors of one account: contacts on other servers, and others. */
const mostContacts = 2000;
const mostUnknown = 50;

/** A visitor of an account that moves to another node. */
const movedVisitor = z.object({
  jid,
  isContact: z.boolean(),
  show: z.string().optional(),
  caps: announced.optional(),
  isKnown: z.boolean(),
  /** Absent if they are those of a verified version, which all nodes know. Of the previous version if `isKnown` is false. */
  features: features.optional(),
  /** The old home has sent a query for its version. */
  isAwaited: z.boolean(),
});
type MovedVisitor = z.output<typeof movedVisitor>;

/** To all nodes: a version was verified. */
const verified = defineQuestion({
  name: 'client_caps.verified',
  given: z.object({ key: z.string(), features }),
  answer: z.null(),
});

/**
 * To the home of an account that has moved: what came of the query that a visitor was waiting for. `features`: null if
 * there was no answer; absent if the visitor was not asked.
 */
const explained = defineQuestion({
  name: 'client_caps.explained',
  given: z.object({
    visitor: jid,
    key: z.string(),
    features: features.nullable().optional(),
    /** The modules of the old home know. */
    isTold: z.boolean(),
  }),
  answer: z.null(),
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
      mayBeLost: {},
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

    /** At every node. Returns the version that it replaces. */
    const note = (key: string, features: Features): string | undefined => {
      versions.set(key, features);
      if (versions.size <= config.stored) return undefined;
      const [oldest] = versions.keys();
      versions.delete(oldest!);
      return oldest;
    };

    const persist = (key: string, features: Features): void => {
      const failed = (error: unknown) => log.warn({ err: error }, 'capabilities could not be persisted');
      const replaced = note(key, features);
      store.set(host.domain, [[key, { at: wall(), features: [...features] }]]).catch(failed);
      if (replaced !== undefined) store.delete(host.domain, [replaced]).catch(failed);
      aside(host.askNodes(verified, { key, features: [...features] }));
    };

    /** A node that does not answer asks clients itself. */
    const aside = (asked: Maybe<unknown>): void => {
      if (asked instanceof Promise)
        asked.catch((error: unknown) => log.warn({ err: error }, 'capabilities could not be told to another node'));
    };

    /** Clients that still announce this version and do not know its features. */
    const waitingFor = (key: string, clients: readonly Client[]) =>
      clients.filter((client) => client.key === key && !client.isKnown && isPresent(client));

    /** It is available, and its session has not moved to another node. */
    const isPresent = ({ isAvailable, session }: Client) => isAvailable && session?.isOver !== true;

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
        if (asked.hasMoved) explain(asked, key, answer === undefined ? null : [...answer.features]);
        // It may have announced another version in the meantime.
        if (isPresent(asked) && asked.key !== '' && asked.key !== key && !asked.isKnown) learn(asked);
      }
      asking.delete(key);
      for (const client of queue) if (client.hasMoved) explain(client, key, undefined);
    };

    /** For a visitor of an account that has moved. */
    const explain = (client: Client, key: string, features: string[] | null | undefined, isTold = false): void => {
      client.hasMoved = false;
      aside(host.askHome(explained, client.asker, { visitor: client.jid.full, key, features, isTold }));
    };

    const featuresOf = async (
      client: Client,
      { hash, node, ver }: Announced,
    ): Promise<{ features: Features; proven: boolean } | undefined> => {
      const { jid, asker, session, pendingQuery } = client;
      const id = pendingQuery ?? randomId();
      client.pendingQuery = undefined;
      session?.set(queried, { id, key: client.key });
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
      if (session !== undefined && session.get(queried)?.id === id) session.set(queried, undefined);
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
      if (client.isAsked || monotonic() < client.waitsUntil) return; // learned after that query
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
      // The node that has queried it is gone.
      const isForgotten = !client.isKnown && client.waitsUntil > 0 && monotonic() >= client.waitsUntil;
      if (client.announces(announced) || isForgotten) learn(client);
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
      const query = session.get(queried);
      const client = begin(session);
      client.restore(known ?? { caps: announcedIn(session.presence), features: undefined, before: none });
      if (client.isKnown) return;
      if (query?.key === client.key) client.pendingQuery = query.id;
      learn(client);
    };

    const leaves = (session: Session): void => {
      const client = session.get(announcing);
      if (client !== undefined) client.isAvailable = false;
      session.set(announcing, undefined);
      session.set(learned, undefined);
    };

    // --- visitors -----------------------------------------------------------------------------------------------

    const visit = (owner: Jid, stanza: Stanza, item: RosterItem | undefined): void => {
      const from = stanza.from!;
      const isContact = hasFrom(item);
      if (isContact && from.domain === host.domain) return; // has a session here
      const here = visitors.get(owner.bare) ?? new Map<string, Client>();
      // A copy: substrings would retain the whole stanza.
      const client = here.get(from.full) ?? enter(owner, here, Jid.parse(flat(from.full)), isContact);
      if (client !== undefined) look(client, stanza);
    };

    /** Returns undefined if there is no room for it. */
    const enter = (owner: Jid, here: Map<string, Client>, jid: Jid, isContact: boolean): Client | undefined => {
      if (!hasRoom(here, isContact)) return undefined;
      const tell = (visitor: Client, gained: Features) => void host.emit('visitorKnown', { owner, visitor, gained });
      const client = new Client(jid, owner, isContact, tell);
      visitors.set(owner.bare, here.set(jid.full, client));
      visiting++;
      return client;
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

    /** An account has left this node, or is gone. */
    const forget = (owner: string, each: (client: Client) => void): void => {
      const here = visitors.get(owner);
      if (here === undefined) return;
      for (const client of here.values()) {
        client.isAvailable = false;
        each(client);
      }
      visiting -= here.size;
      visitors.delete(owner);
    };

    // --- visitors of accounts that move -------------------------------------------------------------------------

    const describe = (client: Client): MovedVisitor => {
      const { jid, isContact, show, caps, isKnown, key } = client;
      const isQueued = asking.get(key)?.includes(client) === true;
      client.isAwaited = !isKnown && (client.isAsked || isQueued || monotonic() < client.waitsUntil);
      // One that lied has features of its own.
      const isVersion = isKnown && isSame(versions.get(key), client.features());
      const features = isVersion ? undefined : [...client.features()];
      return { jid: jid.full, isContact, show, caps, isKnown, features, isAwaited: client.isAwaited };
    };

    const memory: Memory<MovedVisitor> = {
      name: 'client_caps.visitors',
      schema: movedVisitor,
      *describe(concerns) {
        for (const [owner, here] of visitors)
          if (concerns(owner)) for (const client of here.values()) yield [owner, describe(client)];
      },
      restore: (owner, { jid, isContact, show, caps, isKnown, features, isAwaited }) => {
        const here = visitors.get(owner) ?? new Map<string, Client>();
        const client = enter(Jid.parse(owner), here, Jid.parse(jid), isContact);
        if (client === undefined) return;
        client.show = show;
        const given = features && new Set(features);
        const before = isKnown ? undefined : given;
        client.restore({
          caps: caps && announcedAs(caps),
          features: isKnown ? given : undefined,
          before: before ?? none,
        });
        if (isAwaited) client.waitsUntil = monotonic() + patienceMs;
        else if (!isKnown) client.reset();
        else if (!client.isKnown) {
          const known = versions.get(client.key);
          if (known === undefined) learn(client);
          else client.recall(known);
        }
      },
    };

    const receiveExplanation = (owner: Jid, given: z.output<typeof explained.given>): null => {
      const client = visitors.get(owner.bare)?.get(given.visitor);
      if (client === undefined || client.isKnown) return null;
      client.waitsUntil = 0;
      const { features } = given;
      if (client.key !== given.key || features === undefined) learn(client);
      else if (features === null) client.reset();
      else if (given.isTold) client.recall(new Set(features));
      else client.settle(new Set(features));
      return null;
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
      event('accountDeleted', ({ jid }) => forget(jid.bare, () => {}), { before: 'all' }),
      moves(memory),
      event('moved', ({ concerns }) => {
        for (const owner of visitors.keys())
          if (concerns(owner))
            forget(owner, (client) => {
              client.hasMoved = client.isAwaited;
              // Its answer has come after it was described.
              if (client.isAwaited && client.isKnown) explain(client, client.key, [...client.features()], true);
            });
      }),
      answers(verified, ({ key, features }) => {
        note(key, new Set(features));
        return null;
      }),
      answers(explained, (given, owner) => receiveExplanation(owner, given)),
    ];
  },
});

const isSame = (one: Features | undefined, other: Features): boolean =>
  one?.size === other.size && [...one].every((feature) => other.has(feature));
