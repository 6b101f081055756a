/**
 * XEP-0191: Blocking Command. To a blocked address the account looks as if it did not exist. Subscriptions are
 * unchanged (§4, polite blocking). Reports (XEP-0377) in block requests are passed to the module that stores them.
 */
import { z } from 'zod';
import { Jid } from '../server/address/jid.js';
import { count } from '../server/config/units.js';
import {
  admit,
  defineModule,
  event,
  type IqHandler,
  iq,
  type Maybe,
  map,
  message,
  portable,
  prefetch,
  type Refused,
  sessionState,
  takeEach,
} from '../server/module/index.js';
import type { Passage } from '../server/routing/passage.js';
import type { Session } from '../server/routing/session.js';
import { demandFew } from '../server/stanza/addresses.js';
import { StanzaError } from '../server/stanza/errors.js';
import { randomId } from '../server/stanza/ids.js';
import { NS } from '../server/stanza/ns.js';
import { probe } from '../server/stanza/probe.js';
import { inviterIn, someOtherSpeaker } from '../server/stanza/speaker.js';
import { Stanza } from '../server/stanza/stanza.js';
import { jid } from '../server/stanza/stored.js';
import { hasFrom, hasTo } from '../server/stanza/subscription.js';
import { type Element, el, serialize } from '../server/xml/element.js';
import { Cache } from '../storage/cache.js';
import type { RosterItem } from './rfc-6121-roster/services.js';

declare module '../server/module/index.js' {
  interface Services {
    blocking: {
      /** Whether the owner has blocked this address. */
      isBlocked(owner: string, who: Jid): Maybe<boolean>;
    };
  }

  interface Events {
    /** An account is about to block the addresses this covers (XEP-0191). Stanzas to them are still delivered. */
    blocking: { readonly owner: Jid; covers(jid: Jid): boolean };
  }
}

/** Blocked addresses must not reach any other hook. */
const firstOfAll = { before: 'all' } as const;

/** Full JIDs, bare JIDs and domains. */
export type BlockList = ReadonlySet<string>;

interface Item {
  readonly jid: Jid;
  readonly report: Element | undefined;
}

const noOne: BlockList = new Set();
/** Lists cached in memory. */
const cachedLists = 20_000;

/** §3.3: sessions that requested the list get pushes of changes. */
const wantsPushes = sessionState({ name: 'block_list', default: false, stored: z.boolean() });

export default defineModule({
  name: 'blocking',
  summary: 'Lets accounts block addresses.',
  implements: { 'XEP-0191': '1.3' },
  features: { server: [NS.blocking], account: [NS.blocking] },
  config: z.strictObject({
    max_items: count({ min: 1 }).default(1000).describe('Maximum addresses that one account can block.'),
  }),
  // The value does not matter: a key is blocked whatever is stored under it.
  stores: { blocked: map<unknown>({ storedAs: 'blocked', value: z.unknown(), key: jid }) },
  needs: ['roster'],
  wants: ['reports'],
  provides: ['blocking'],
  sessionStates: [wantsPushes],

  start: ({ host, config, stores, services: { roster, reports }, provide, log }) => {
    const lists = new Cache<BlockList>(cachedLists, async (owner) => {
      const blocked = await stores.blocked.all(owner);
      return blocked.size === 0 ? noOne : new Set(blocked.keys());
    });
    const isBlocked = (list: BlockList, who: Jid) => matches(list, who) && who.full !== host.domain;

    /**
     * Incoming messages end in the step 'clean' without an error: an error to a room would remove the occupant, and a
     * missing account does not answer headlines (RFC 6121 §8.5.4). Rooms send groupchat only to sessions.
     */
    const isDroppedSilently = (owner: Jid, { type, to }: Stanza): boolean =>
      type === 'headline' ||
      (type === 'groupchat' && host.sessions(owner.bare).some(({ jid }) => jid.resource === to!.resource));

    /** Whether a service relays it for a blocked address: their stanzas must not arrive via others either. */
    const isRelayed = (list: BlockList, { stanza, origin }: Pick<Passage, 'stanza' | 'origin'>): boolean =>
      someOtherSpeaker(stanza, origin.behalf, (speaker) => isBlocked(list, speaker));

    /** §3.2, the list of rules for incoming and outgoing stanzas. */
    const judge = (list: BlockList, passage: Passage): void => {
      if (list.size === 0) return;
      const { way, owner, peer, stanza } = passage;
      if (!isBlocked(list, peer)) {
        // Relayed messages end in the step 'clean', without an error to the service.
        if (way === 'out' || stanza.name === 'message' || !isRelayed(list, passage)) return;
        throw new StanzaError('service-unavailable', undefined, { hides: true });
      }
      if (way === 'out')
        throw new StanzaError('not-acceptable', undefined, {
          type: 'cancel',
          extra: [el('blocked', { xmlns: NS.blockingErrors })],
        });
      if (stanza.name === 'message' && isDroppedSilently(owner, stanza)) return;
      throw new StanzaError('service-unavailable', undefined, { hides: true });
    };

    /** Drops messages that get no error. */
    const silence = (list: BlockList, passage: Passage): 'handled' | undefined => {
      if (list.size === 0) return undefined;
      const { owner, peer, stanza } = passage;
      const isBlockedSilently = (isDroppedSilently(owner, stanza) && isBlocked(list, peer)) || isRelayed(list, passage);
      return isBlockedSilently ? 'handled' : undefined;
    };

    const change = async (owner: Jid, write: Promise<unknown>, list: BlockList): Promise<void> => {
      lists.set(owner.bare, list);
      try {
        await write;
      } catch (error) {
        lists.delete(owner.bare);
        throw error;
      }
    };

    const push = (owner: Jid, name: 'block' | 'unblock', jids: readonly Jid[]) => {
      for (const session of host.sessions(owner.bare)) {
        if (!session.get(wantsPushes)) continue;
        const payload = el(name, { xmlns: NS.blocking }, ...jids.map(({ full }) => el('item', { jid: full })));
        session.send(Stanza.build('iq', { type: 'set', id: randomId(), from: owner, to: session.jid }, payload));
      }
    };

    /**
     * Sends presence of each session to addresses that `rules` cover, other rules do not, and that may see it (RFC 6121
     * §4.4.2).
     */
    const tell = async (
      owner: Jid,
      rules: readonly Jid[],
      others: BlockList,
      presence: (session: Session) => Stanza | undefined,
    ) => {
      const items = await roster.get(owner.bare);
      const recipients = covered(rules, items, hasFrom).filter((jid) => !isBlocked(others, jid));
      for (const session of host.sessions(owner.bare)) {
        const stanza = session.available ? presence(session) : undefined;
        if (stanza === undefined) continue;
        for (const to of recipients) await host.route(stanza.with({ from: session.jid, to }));
      }
    };

    /** Probes unblocked contacts: their presence was not delivered while they were blocked. */
    const probeUnblocked = async (owner: Jid, rules: readonly Jid[], others: BlockList): Promise<void> => {
      const contacts = covered(rules, await roster.get(owner.bare), hasTo);
      await probe(host, owner, new Set(contacts.filter((jid) => !isBlocked(others, jid)).map(({ bare }) => bare)));
    };

    const list: IqHandler = async ({ to, session }) => {
      session?.set(wantsPushes, true);
      const blocked = await lists.get(to.bare);
      return el('blocklist', { xmlns: NS.blocking }, ...[...blocked].map((jid) => el('item', { jid })));
    };

    const block: IqHandler = async ({ to, payload }) => {
      const items = itemsOf(payload);
      if (items.length === 0) throw new StanzaError('bad-request', 'Name at least one address.');
      const before = await lists.get(to.bare);
      const added = items.map(({ jid }) => jid).filter(({ full }) => !before.has(full));
      if (new Set([...before, ...added.map(({ full }) => full)]).size > config.max_items) {
        host.limitHit('blocking.max_items');
        throw new StanzaError('resource-constraint', `An account can block at most ${config.max_items} addresses.`);
      }
      // §3.2: send unavailable presence before the block, which would drop it
      await tell(to, added, before, () => Stanza.build('presence', { type: 'unavailable' }));
      const rules = new Set(added.map(({ full }) => full));
      await host.emit('blocking', { owner: to, covers: (jid) => matches(rules, jid) });
      const names = added.map(({ full }) => full);
      const write = stores.blocked.set(
        to.bare,
        names.map((jid) => [jid, true]),
      );
      await change(to, write, new Set([...(lists.peek(to.bare) ?? before), ...names]));
      for (const item of items) await passReport(to, item);
      push(
        to,
        'block',
        items.map(({ jid }) => jid),
      );
    };

    const unblock: IqHandler = async ({ to, payload }) => {
      const items = itemsOf(payload);
      const before = await lists.get(to.bare);
      const jids = items.length === 0 ? [...before].map((jid) => Jid.parse(jid)) : items.map(({ jid }) => jid);
      const removed = jids.filter(({ full }) => before.has(full));
      const names = removed.map(({ full }) => full);
      const after = new Set(before);
      for (const name of names) after.delete(name);
      await change(to, stores.blocked.delete(to.bare, names), after.size === 0 ? noOne : after);
      push(
        to,
        'unblock',
        items.map(({ jid }) => jid),
      );
      await tell(to, removed, after, ({ presence }) => presence); // §3.4
      await probeUnblocked(to, removed, after);
    };

    /** XEP-0377 §5: the address is blocked even if the report fails. */
    const passReport = async (by: Jid, { jid: about, report: element }: Item): Promise<void> => {
      if (element === undefined) return;
      await reports?.add({ by, about, element }).catch((error: unknown) => {
        log.error({ err: error }, 'a report could not be persisted');
      });
    };

    provide('blocking', {
      isBlocked: (owner, who) => {
        const known = lists.get(owner);
        return known instanceof Promise ? known.then((blocked) => isBlocked(blocked, who)) : isBlocked(known, who);
      },
    });

    /** Blocks imported addresses. */
    const add = async (owner: Jid, jids: readonly Jid[]): Promise<void> => {
      const all = new Set((await stores.blocked.all(owner.bare)).keys());
      const added = jids.map(({ full }) => full).filter((jid) => !all.has(jid));
      if (all.size + added.length > config.max_items)
        throw new StanzaError('resource-constraint', `an account can block at most ${config.max_items} addresses`);
      await stores.blocked.set(
        owner.bare,
        added.map((jid) => [jid, true]),
      );
    };

    return [
      portable({
        takes: [
          { ns: NS.blocking, name: 'blocklist', containers: 1 },
          { ns: NS.privacy, name: 'query' },
        ],
        async *export({ bare }) {
          const blocked = await stores.blocked.all(bare);
          if (blocked.size > 0)
            yield serialize(
              el('blocklist', { xmlns: NS.blocking }, ...[...blocked.keys()].map((jid) => el('item', { jid }))),
            );
        },
        import: async (owner, parts) => {
          const left: Refused[] = [];
          const refused = await takeEach(
            parts,
            (part) => (part.is('query', NS.privacy) ? 'privacy lists' : 'a blocked address'),
            async (part) => {
              const { jids, others } = part.is('query', NS.privacy)
                ? deniedIn(part)
                : { jids: itemsOf(part).map(({ jid }) => jid), others: 0 };
              for (let rule = 0; rule < others; rule++)
                left.push({
                  what: 'a rule of a privacy list',
                  why: 'only rules that deny everything of an address are kept, as blocks',
                });
              if (jids.length > 0) await add(owner, jids);
            },
          );
          return { refused: [...refused, ...left] };
        },
      }),
      event('moved', ({ concerns }) => lists.deleteIf(concerns)),
      prefetch(({ bare }) => lists.get(bare)),
      iq.get('account', NS.blocking, 'blocklist', list),
      iq.set('account', NS.blocking, 'block', block),
      iq.set('account', NS.blocking, 'unblock', unblock),
      admit((passage) => {
        const known = lists.get(passage.owner.bare);
        return known instanceof Promise ? known.then((blocked) => judge(blocked, passage)) : judge(known, passage);
      }, firstOfAll),
      message(
        'clean',
        (passage) => {
          const { way, owner, peer } = passage;
          if (way === 'out' || peer.bare === owner.bare) return undefined;
          const known = lists.get(owner.bare);
          if (known instanceof Promise) return known.then((blocked) => silence(blocked, passage));
          return silence(known, passage);
        },
        // Stanzas relayed for one speaker carry a `Behalf`, and are routed.
        { ...firstOfAll, skips: (stanza) => inviterIn(stanza) === undefined },
      ),
      event('accountDeleted', ({ jid }) => lists.delete(jid.bare), { before: 'all' }),
    ];
  },
});

/** §6: matches the full JID, the bare JID, domain and resource, or the domain. */
export function matches(list: BlockList, { full, bare, domain, resource }: Jid): boolean {
  if (list.size === 0) return false;
  if (list.has(full) || list.has(bare) || list.has(domain)) return true;
  return resource !== undefined && list.has(`${domain}/${resource}`);
}

/** Contacts that the rules cover, each once, if their roster item is `wanted`. */
export function covered(
  rules: readonly Jid[],
  items: ReadonlyMap<string, RosterItem>,
  wanted: (item: RosterItem) => boolean,
): Jid[] {
  const sees = (bare: string) => {
    const item = items.get(bare);
    return item !== undefined && wanted(item);
  };
  const isDomain = (rule: Jid) => rule.local === undefined && rule.resource === undefined;
  const domains = new Set(rules.filter(isDomain).map(({ domain }) => domain));
  const all = rules.filter((rule) => !isDomain(rule) && sees(rule.bare));
  if (domains.size > 0)
    for (const bare of items.keys()) {
      if (!sees(bare)) continue;
      const jid = Jid.parse(bare);
      if (domains.has(jid.domain)) all.push(jid);
    }
  return [...new Map(all.map((jid) => [jid.full, jid])).values()];
}

/**
 * XEP-0016, in exports of other servers: the addresses that the default list, or each list if there is no default, denies
 * as a whole, and the number of other rules.
 */
function deniedIn(query: Element): { readonly jids: readonly Jid[]; readonly others: number } {
  const name = query.getChild('default', NS.privacy)?.attrs.name;
  const rules = query
    .getChildren('list', NS.privacy)
    .filter(({ attrs }) => name === undefined || attrs.name === name)
    .flatMap((list) => list.getChildren('item', NS.privacy));
  const jids = rules.flatMap((rule) => {
    const { action, type, value = '' } = rule.attrs;
    if (action !== 'deny' || type !== 'jid' || rule.getChildElements().length > 0) return [];
    return Jid.tryParse(value) ?? [];
  });
  // A last rule that allows the rest says nothing.
  const isUsual = ({ attrs: { action, type } }: Element) => action === 'allow' && type === undefined;
  return { jids, others: rules.filter((rule) => !isUsual(rule)).length - jids.length };
}

/** Each address once; the first item for an address counts. */
function itemsOf(payload: Element): Item[] {
  const items = new Map<string, Item>();
  const elements = payload.getChildren('item', NS.blocking);
  demandFew(elements.map(({ attrs }) => attrs.jid));
  for (const item of elements) {
    if (item.attrs.jid === undefined) throw new StanzaError('bad-request', 'An item needs a jid attribute.');
    const jid = Jid.tryParse(item.attrs.jid);
    if (jid === undefined) throw new StanzaError('jid-malformed');
    if (!items.has(jid.full)) items.set(jid.full, { jid, report: item.getChild('report', NS.reporting) });
  }
  return [...items.values()];
}
