/**
 * Real-time block lists: pubsub nodes (XEP-0060) whose items are named by the SHA-256 of an address or a domain, in
 * hexadecimal, such as `muc_bans_sha256`; or in lists of servers by the domain itself, such as `spam_source_domains`. The
 * server fetches them when it starts and subscribes to changes; the persisted lists are in force after a restart until
 * then. Used by rooms, by the filter for unknown senders, and for streams with other servers.
 */

import { createHash } from 'node:crypto';
import { z } from 'zod';
import { parentsOf } from '../server/address/domain.js';
import { Jid } from '../server/address/jid.js';
import { monotonic } from '../server/clock.js';
import { count, seconds } from '../server/config/units.js';
import {
  answers,
  defineModule,
  defineQuestion,
  every,
  map,
  metric,
  serverGate,
  serverMessage,
} from '../server/module/index.js';
import { StanzaError } from '../server/stanza/errors.js';
import { NS } from '../server/stanza/ns.js';
import { Stanza } from '../server/stanza/stanza.js';
import { type Element, el } from '../server/xml/element.js';
import { Recent } from '../storage/recent.js';

declare module '../server/module/index.js' {
  interface Services {
    blockLists: {
      /** Whether an address is on one of the lists, and the lists apply there. */
      isListed(jid: Jid, where: 'rooms' | 'strangers'): boolean;
      /** Fetches all lists again. */
      sync(): Promise<void>;
    };
  }
}

interface List {
  /** As written in the configuration. */
  readonly name: string;
  readonly service: Jid;
  readonly node: string;
  hashes: Set<string>;
  /** When the next fetch is due, in ms since 1970. */
  due: number;
  failures: number;
  /** Changes that arrived during a fetch, in order. Undefined if no fetch is running. */
  changes: ((hashes: Set<string>) => void)[] | undefined;
}

/** Items requested at once. */
const page = 200;
const tickMs = 1000;
const longestPause = 600_000;
/** Domains of other servers whose look-up in the lists is remembered. */
const rememberedServers = 10_000;
/** At all nodes: an item of a list was published or retracted, or all of them. `hash`: in lower case. */
const changed = defineQuestion({
  name: 'rtbl.changed',
  given: z.object({
    list: z.string(),
    changes: z.array(
      z.discriminatedUnion('kind', [
        z.object({ kind: z.enum(['item', 'retract']), hash: z.string() }),
        z.object({ kind: z.literal('clear') }),
      ]),
    ),
  }),
  answer: z.null(),
});
type Change = z.output<typeof changed.given>['changes'][number];

/** At all nodes: fetches all lists. */
const syncing = defineQuestion({ name: 'rtbl.sync', given: z.null(), answer: z.null() });

/** Cannot occur in an address, a node or a hash. */
const separator = '\u0001';

const listName = z.string().refine((text) => {
  const jid = Jid.tryParse(text);
  return jid?.resource !== undefined;
}, 'is not a list: write SERVICE/NODE, such as "lists.example.org/muc_bans_sha256"');

export default defineModule({
  name: 'rtbl',
  summary: 'Follows block lists published by other services, for rooms, unknown senders and servers.',
  implements: {},
  config: z.strictObject({
    lists: z
      .array(listName)
      .default([])
      .describe('Lists of addresses and domains, as SERVICE/NODE.')
      .meta({ example: 'lists.example.org/muc_bans_sha256' }),
    server_lists: z
      .array(listName)
      .default([])
      .describe(
        'Lists of servers: there are no streams with a listed domain or its subdomains, unless a rule in s2s.domains allows them. Addresses on these lists are ignored.',
      )
      .meta({ example: 'lists.example.org/spam_source_domains' }),
    rooms: z
      .boolean()
      .default(true)
      .describe('Whether listed addresses are barred from entering rooms and speaking in them.'),
    strangers: z
      .boolean()
      .default(false)
      .describe('Whether messages and subscription requests of listed unknown senders are refused.'),
    max_items: count({ min: 1 }).default(50_000).describe('Maximum entries per list; further entries are ignored.'),
    resync_seconds: seconds({ min: 60 })
      .default(21_600)
      .describe('How often a list is fetched again and the subscription to it renewed.'),
  }),
  stores: { rtbl: map<unknown>({ storedAs: 'rtbl', value: z.unknown() }) },
  provides: ['blockLists'],

  start: async ({ host, config, stores: { rtbl: store }, provide, log }) => {
    const lists = [...new Set([...config.lists, ...config.server_lists])].map((name): List => {
      const jid = Jid.parse(name);
      return {
        name,
        service: jid.toBare(),
        node: jid.resource!,
        hashes: new Set(),
        due: 0,
        failures: 0,
        changes: undefined,
      };
    });
    const addressLists = lists.filter(({ name }) => config.lists.includes(name));
    const serverLists = lists.filter(({ name }) => config.server_lists.includes(name));
    const servers = new Recent<boolean>(rememberedServers);
    let refused = 0;
    const stale: string[] = [];
    for (const key of (lists.length === 0 ? new Map<string, true>() : await store.all(host.domain)).keys()) {
      const [name, hash] = key.split(separator) as [string, string];
      const list = lists.find((one) => one.name === name);
      if (list === undefined) stale.push(key);
      else list.hashes.add(hash);
    }
    if (stale.length > 0) await store.delete(host.domain, stale);

    const isListed = (jid: Jid, where: 'rooms' | 'strangers'): boolean => {
      if (addressLists.length === 0 || !config[where]) return false;
      const [address, domain] = [hashOf(jid.bare), hashOf(jid.domain)];
      // A list that names our domain must not lock our users out of their own rooms.
      const isOwn = jid.domain === host.domain;
      const listed = addressLists.some(({ hashes }) => hashes.has(address) || (!isOwn && hashes.has(domain)));
      if (listed) refused++;
      return listed;
    };

    /** Whether a domain, or one that it is a subdomain of, is on a list of servers. */
    const isListedServer = (domain: string): boolean => {
      const known = servers.get(domain);
      if (known !== undefined) return known;
      const isSource = lists.some(({ service }) => service.domain === domain);
      // A list that names a top-level domain by mistake must not cut off all of it.
      const parents = [...parentsOf(domain)].filter((parent) => parent.includes('.'));
      const hashes = [domain, ...parents].map(hashOf);
      const listed = !isSource && serverLists.some((list) => hashes.some((hash) => list.hashes.has(hash)));
      servers.set(domain, listed);
      return listed;
    };

    /** Persists the difference between two states of a list. A failure is harmless: the list is fetched again. */
    const write = (name: string, before: ReadonlySet<string>, after: ReadonlySet<string>): void => {
      const key = (hash: string) => `${name}${separator}${hash}`;
      const added = [...after].filter((hash) => !before.has(hash)).map(key);
      const removed = [...before].filter((hash) => !after.has(hash)).map(key);
      const failed = (error: unknown) => log.error({ err: error, list: name }, 'a block list could not be persisted');
      if (added.length > 0)
        store
          .set(
            host.domain,
            added.map((one) => [one, true]),
          )
          .catch(failed);
      if (removed.length > 0) store.delete(host.domain, removed).catch(failed);
    };

    /** The hash of an item: its id, or in a list of servers that of the domain that the id is. None otherwise. */
    const hashesOf = (list: List, id = ''): string[] => {
      const name = id.toLowerCase();
      if (/^[0-9a-f]{64}$/.test(name)) return [name];
      const jid = serverLists.includes(list) ? Jid.tryParse(id) : undefined;
      return jid?.full === jid?.domain && jid !== undefined ? [hashOf(jid.domain)] : [];
    };

    const add = (hashes: Set<string>, hash: string): void => {
      if (hashes.has(hash)) return;
      if (hashes.size >= config.max_items) host.limitHit('rtbl.max_items');
      else hashes.add(hash);
    };

    const ask = async (
      { service }: List,
      type: 'get' | 'set',
      ...children: Element[]
    ): Promise<Element | undefined> => {
      const request = el('pubsub', { xmlns: NS.pubsub }, ...children);
      const answer = await host.ask(Stanza.build('iq', { type, from: host.jid, to: service }, request));
      return answer.child(NS.pubsub, 'pubsub');
    };

    const serversChanged = (): void => {
      servers.clear();
      if (serverLists.length > 0) void host.emit('serverListsChanged', {});
    };

    /** All items of the list, page by page if the service supports it (XEP-0059). */
    const fetch = async (list: List): Promise<Set<string>> => {
      const hashes = new Set<string>();
      let after: string | undefined;
      for (let pages = 0; pages * page <= config.max_items; pages++) {
        const set = el('set', { xmlns: NS.rsm }, el('max', null, String(page)), after && el('after', null, after));
        const answer = await ask(list, 'get', el('items', { node: list.node }), set);
        const items = answer?.getChild('items', NS.pubsub)?.getChildren('item', NS.pubsub) ?? [];
        for (const { attrs } of items) for (const hash of hashesOf(list, attrs.id)) add(hashes, hash);
        const last = answer?.getChild('set', NS.rsm)?.getChildText('last', NS.rsm) ?? undefined;
        if (items.length === 0 || last === undefined || last === after) break;
        after = last;
      }
      return hashes;
    };

    const sync = async (list: List): Promise<void> => {
      if (list.changes !== undefined) return;
      list.changes = [];
      list.due = Number.POSITIVE_INFINITY;
      try {
        // Subscribe first, so that no change is missed.
        await ask(list, 'set', el('subscribe', { node: list.node, jid: host.domain }));
        const hashes = await fetch(list);
        for (const change of list.changes) change(hashes);
        write(list.name, list.hashes, hashes);
        list.hashes = hashes;
        serversChanged();
        list.failures = 0;
        list.due = monotonic() + config.resync_seconds * 1000;
        log.info({ list: list.name, entries: hashes.size }, 'a block list was fetched');
      } catch (error) {
        list.failures++;
        list.due = monotonic() + Math.min(longestPause, 1000 * 2 ** list.failures);
        if (!(error instanceof StanzaError)) throw error;
        log.warn({ list: list.name, condition: error.condition }, 'a block list could not be fetched');
      } finally {
        list.changes = undefined;
      }
    };

    /** `hashes`: those the change may affect. */
    const change = (list: List, hashes: Iterable<string>, apply: (hashes: Set<string>) => void): void => {
      list.changes?.push(apply);
      const concerned = [...hashes];
      const present = () => new Set(concerned.filter((hash) => list.hashes.has(hash)));
      const before = present();
      apply(list.hashes);
      serversChanged();
      write(list.name, before, present());
    };

    /** XEP-0060 §7.1.2, §7.2.2, §8.4, §8.5: accepted only from the service itself. */
    const receiveEvent = (stanza: Stanza): 'handled' | undefined => {
      const own = lists.filter(({ service }) => service.equals(stanza.from));
      const event = own.length === 0 ? undefined : stanza.child(NS.pubsubEvent, 'event');
      if (event === undefined || stanza.type === 'error') return undefined;
      for (const part of event.getChildElements()) {
        const list = own.find(({ node }) => node === part.attrs.node);
        if (list === undefined) continue;
        if (part.is('purge') || part.is('delete')) tell(list, [{ kind: 'clear' }]);
        if (part.is('items'))
          tell(
            list,
            part.getChildElements().flatMap(({ name, attrs }) => {
              const kind = name === 'item' || name === 'retract' ? name : undefined;
              return kind === undefined ? [] : hashesOf(list, attrs.id).map((hash) => ({ kind, hash }));
            }),
          );
      }
      return 'handled';
    };

    /** The service notifies one node. One that misses it gets the change when it fetches the list again. */
    const tell = ({ name }: List, changes: Change[]): void => {
      const delivered = host.askNodes(changed, { list: name, changes });
      if (delivered instanceof Promise)
        delivered.catch((error: unknown) =>
          log.warn({ err: error, list: name }, 'a node did not get a change of a block list'),
        );
    };

    const tick = async () => {
      await Promise.all(lists.filter(({ due }) => due <= monotonic()).map(sync));
    };

    provide('blockLists', {
      isListed,
      sync: async () => {
        if (lists.length > 0) await host.askNodes(syncing, null);
      },
    });

    if (lists.length === 0) return [];
    return [
      ...(serverLists.length > 0 ? [serverGate(isListedServer)] : []),
      serverMessage(receiveEvent),
      answers(changed, ({ list: name, changes }) => {
        const list = lists.find((one) => one.name === name);
        if (list === undefined) return null; // This node was started with another configuration.
        const concerned = changes.flatMap((one) => (one.kind === 'clear' ? [...list.hashes] : one.hash));
        change(list, concerned, (hashes) => {
          for (const one of changes) {
            if (one.kind === 'item') add(hashes, one.hash);
            else if (one.kind === 'retract') hashes.delete(one.hash);
            else hashes.clear();
          }
        });
        return null;
      }),
      answers(syncing, async () => {
        await Promise.all(lists.map(sync));
        return null;
      }),
      every(tickMs, tick),
      metric({
        name: 'waxwing_rtbl_entries',
        help: 'Entries of all followed block lists',
        read: () => lists.reduce((sum, { hashes }) => sum + hashes.size, 0),
      }),
      metric({
        name: 'waxwing_rtbl_refused_total',
        help: 'Refusals because of a block list',
        read: () => refused,
      }),
    ];
  },
});

export const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex');
