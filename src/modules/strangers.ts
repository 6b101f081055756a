/**
 * What strangers send: messages and requests for subscription of who is not in the recipient's roster, whom he has not
 * written to, and whose room he has not entered. They are let in so often, held until he wants them, or refused; and an
 * account makes only so many new acquaintances in a while. Nothing is lost without its sender hearing of it.
 */
import { z } from 'zod';
import { count, seconds } from '../server/config/units.js';
import {
  admit,
  defineModule,
  event,
  every,
  type Host,
  log,
  map,
  message,
  metric,
  type RosterItem,
} from '../server/module.js';
import { Rates } from '../server/rates.js';
import type { MessagePassage, Origin } from '../server/routing/passage.js';
import { delay } from '../server/stanza/delay.js';
import { StanzaError } from '../server/stanza/errors.js';
import { idAt, stanzaId, timeOf } from '../server/stanza/ids.js';
import { Jid } from '../server/stanza/jid.js';
import { NS } from '../server/stanza/ns.js';
import { Stanza } from '../server/stanza/stanza.js';
import { el } from '../server/xml/element.js';
import { Cache } from '../storage/cache.js';
import { Recent } from '../storage/recent.js';

type Maybe<T> = T | Promise<T>;
type Kind = 'messages' | 'subscriptions';
/** Addresses (bare) that the owner knows, and when that was last written down, in ms since 1970. */
type Acquaintances = Map<string, number>;

/** Pairs of accounts that are remembered to know each other, for the count of new acquaintances. */
const rememberedPairs = 100_000;
/** In ms: how often it is written down that somebody is still known. */
const day = 86_400_000;
const sweepMs = 600_000;
const page = 500;

const patterns = (purpose: string) =>
  z
    .array(
      z
        .string()
        .refine((text) => Jid.tryParse(text.replace(/^\*\./, ''))?.isBare === true, 'is no address and no domain'),
    )
    .default([])
    .describe(`${purpose} Addresses, domains, and "*.DOMAIN" for what is below a domain.`)
    .meta({ example: '*.example.org' });

export default defineModule({
  name: 'strangers',
  summary: 'Bounds what those can send who are unknown to the recipient.',
  implements: {},
  config: z.strictObject({
    messages: z
      .enum(['allow', 'limit', 'hold', 'refuse'])
      .default('limit')
      .describe(
        'What becomes of messages of strangers: "limit" lets them in so often; "hold" keeps them until the recipient adds the sender to his contacts or writes to him, tells the recipient that they are there, and sends them back if he does not; "refuse" sends them back.',
      ),
    subscriptions: z
      .enum(['allow', 'limit', 'refuse'])
      .default('limit')
      .describe('What becomes of requests for subscription.'),
    local_users: z
      .enum(['auto', 'known', 'strangers'])
      .default('auto')
      .describe(
        'Whether users of this server are strangers to each other. "auto": only where anybody can register (modules.register.open).',
      ),
    allow_from: patterns('Who is never a stranger.'),
    refuse_from: patterns('Whose messages and requests are refused where he is a stranger.'),
    per_sender: count({ min: 1, unlimited: true })
      .default(50)
      .describe('"limit", "hold": messages and requests of one stranger in window_seconds.'),
    per_domain: count({ min: 1, unlimited: true })
      .default(500)
      .describe('The same of all strangers from one other server.'),
    per_receiver: count({ min: 1, unlimited: true }).default(200).describe('The same to one account of all strangers.'),
    new_contacts: count({ min: 1, unlimited: true })
      .default(200)
      .describe('Strangers that one account can write to, or ask for a subscription, in window_seconds.'),
    window_seconds: seconds({ min: 1 })
      .default(3600)
      .describe('How long a message, a request or a new contact counts.'),
    held: count({ min: 1 }).default(100).describe('Messages that are held for one account; further ones are refused.'),
    held_seconds: seconds({ min: 60 }).default(1_209_600).describe('How long a message is held.'),
    remembered: count({ min: 10 })
      .default(1000)
      .describe('Addresses outside the roster that are remembered of one account as known; the oldest make room.'),
    cached: count({ min: 10 }).default(20_000).describe('Accounts whose known addresses are kept in memory.'),
  }),
  stores: { acquaintances: map<number>(), held: log() },
  needs: ['roster'],
  wants: ['blockLists'],

  start: ({ host, config, stores, services: { roster, blockLists }, log: logger }) => {
    const window = config.window_seconds * 1000;
    const allowed = config.allow_from.map(normalised);
    const refused = config.refuse_from.map(normalised);
    const bySender = new Rates(config.per_sender, window, 50_000);
    const byDomain = new Rates(config.per_domain, window);
    const byReceiver = new Rates(config.per_receiver, window, 50_000);
    const newContacts = new Rates(config.new_contacts, window, 50_000);
    const pairs = new Recent<true>(rememberedPairs);
    const known = new Cache<Acquaintances>(config.cached, async (owner) => {
      const all = [...(await stores.acquaintances.all(owner))];
      return new Map(all.sort(([, one], [, other]) => one - other));
    });

    const counts = { refused: 0, held: 0, sentBack: 0 };
    /** Held messages on their way again, and when they came, in ms since 1970. */
    const releases = new WeakMap<Origin, number>();

    const aside = (work: Promise<unknown>) => {
      work.catch((error: unknown) => logger.error({ err: error }, 'strangers: storage failed'));
    };

    const areUsersKnown = config.local_users === 'auto' ? !isOpen(host.config) : config.local_users === 'known';
    const hosts = new Set(Object.keys(host.config.hosts));
    const isUserHere = ({ domain, local }: Jid) => local !== undefined && hosts.has(domain);

    /** Services of this server are no strangers; but whoever makes a room invite somebody is who he is. */
    const speakerOf = (peer: Jid, stanza: Stanza): Jid | undefined => {
      if (!host.isLocal(peer.domain) || isUserHere(peer)) return peer;
      const invitation = stanza.child(NS.mucUser, 'x')?.getChild('invite', NS.mucUser);
      return invitation === undefined ? undefined : Jid.tryParse(invitation.attrs.from ?? '');
    };

    // --- who knows whom -----------------------------------------------------------------------------------------

    /** Whether the owner knows this address; at once where that is in memory. */
    const knows = (owner: Jid, who: Jid): Maybe<boolean> => {
      const hasMet = (): Maybe<boolean> => {
        const others = known.get(owner.bare);
        return others instanceof Promise ? others.then((met) => met.has(who.bare)) : others.has(who.bare);
      };
      const items = roster.get(owner.bare);
      if (items instanceof Promise) return items.then((all) => isContact(all.get(who.bare)) || hasMet());
      return isContact(items.get(who.bare)) || hasMet();
    };

    const remember = (owner: Jid, who: Jid, acquaintances: Acquaintances, lasts: boolean): void => {
      const now = Date.now();
      const before = acquaintances.get(who.bare);
      if (before !== undefined && now - before < day) return;
      acquaintances.delete(who.bare);
      acquaintances.set(who.bare, now);
      const surplus = [...acquaintances.keys()].slice(0, Math.max(0, acquaintances.size - config.remembered));
      for (const one of surplus) acquaintances.delete(one);
      if (!lasts) return;
      aside(stores.acquaintances.set(owner.bare, [[who.bare, now]]));
      if (surplus.length > 0) aside(stores.acquaintances.delete(owner.bare, surplus));
    };

    /** Throws StanzaError where the owner has turned to too many. */
    const countNew = (owner: Jid, who: Jid): void => {
      const pair = `${owner.bare} ${who.bare}`;
      if (pairs.get(pair) !== undefined) return;
      if (!newContacts.take(owner.bare)) {
        host.limitHit('strangers.new_contacts');
        throw tooMany('You write to too many people whom you do not know.');
      }
      pairs.set(pair, true);
    };

    /** The owner turns to somebody. Throws StanzaError where these are too many, and it is counted. */
    const turnTo = (owner: Jid, who: Jid, isCounted: boolean, lasts: boolean): Maybe<void> => {
      if (host.isLocal(who.domain) && !isUserHere(who)) return undefined;
      const meet = (others: Acquaintances) => {
        if (isCounted && !others.has(who.bare)) countNew(owner, who);
        remember(owner, who, others, lasts);
        release(owner, who);
      };
      const note = (all: ReadonlyMap<string, RosterItem>): Maybe<void> => {
        if (isContact(all.get(who.bare))) return undefined;
        if (isUserHere(who) && areUsersKnown) return isCounted ? countNew(owner, who) : undefined;
        const others = known.get(owner.bare);
        return others instanceof Promise ? others.then(meet) : meet(others);
      };
      const items = roster.get(owner.bare);
      return items instanceof Promise ? items.then(note) : note(items);
    };

    // --- what strangers send ------------------------------------------------------------------------------------

    /** What is to become of it. Throws the StanzaError that its sender is told. */
    const judge = (kind: Kind, owner: Jid, who: Jid): 'allow' | 'hold' => {
      if (allowed.some((pattern) => covers(pattern, who))) return 'allow';
      const isRefused =
        config[kind] === 'refuse' ||
        refused.some((pattern) => covers(pattern, who)) ||
        blockLists?.isListed(who, 'strangers') === true;
      if (isRefused) {
        counts.refused++;
        throw new StanzaError('policy-violation', 'The recipient does not know you.', { type: 'cancel' });
      }
      if (config[kind] === 'allow') return 'allow';
      const all: [Rates, string, string][] = [
        [byReceiver, owner.bare, 'strangers.per_receiver'],
        [bySender, who.bare, 'strangers.per_sender'],
      ];
      if (!host.isLocal(who.domain)) all.push([byDomain, who.domain, 'strangers.per_domain']);
      const empty = Rates.takeAll(...all.map(([rates, key]) => [rates, key] as const));
      if (empty !== undefined) {
        host.limitHit(all[empty]![2]);
        throw tooMany('The recipient does not know you, and gets no more of this for a while.');
      }
      return config[kind] === 'hold' ? 'hold' : 'allow';
    };

    /** Calls with who is a stranger to the owner: at once where that is known at once. */
    const ifStranger = <T>(
      owner: Jid,
      peer: Jid,
      stanza: Stanza,
      then: (who: Jid) => Maybe<T>,
    ): Maybe<T | undefined> => {
      if (areUsersKnown && isUserHere(peer)) return undefined;
      const who = speakerOf(peer, stanza);
      if (who === undefined || who.bare === owner.bare) return undefined;
      if (areUsersKnown && isUserHere(who)) return undefined;
      const isKnown = knows(owner, who);
      if (isKnown instanceof Promise) return isKnown.then((yes) => (yes ? undefined : then(who)));
      return isKnown ? undefined : then(who);
    };

    // --- held messages ------------------------------------------------------------------------------------------

    const hold = async (passage: MessagePassage, who: Jid): Promise<'handled'> => {
      const { owner, stanza } = passage;
      if ((await stores.held.count(owner.bare, {}, config.held)) >= config.held) {
        host.limitHit('strangers.held');
        throw tooMany('The recipient does not know you, and too much waits for him.');
      }
      const isFirst = (await stores.held.count(owner.bare, { with: who.bare }, 1)) === 0;
      const entry = { id: stanzaId(), with: who.bare, value: stanza.toXml(NS.client) };
      await stores.held.append(owner.bare, entry);
      counts.held++;
      if (isFirst) {
        const words = `${who.bare} has written to you and is not among your contacts. Add the address to your contacts, or write to it, to get what it sent; or block it.`;
        const notice = Stanza.build('message', { from: host.jid, to: owner, id: entry.id }, el('body', null, words));
        void host.route(notice);
      }
      return 'handled';
    };

    /** What the owner did not want before: now he does. */
    const release = (owner: Jid, who: Jid): void => {
      if (config.messages !== 'hold') return;
      const again = (stanza: Stanza, id: string) => {
        const origin: Origin = { session: undefined, acknowledges: false, acknowledgeAfter() {} };
        releases.set(origin, timeOf(id));
        return host.route(stanza, origin);
      };
      aside(takeHeld(owner.bare, { with: who.bare }, again));
    };

    const sendBack = (stanza: Stanza): Maybe<void> => {
      counts.sentBack++;
      return host.route(
        stanza.error(new StanzaError('policy-violation', 'The recipient does not know you.', { type: 'cancel' })),
      );
    };

    /** Takes what is held out of the store, and does something with each message. */
    const takeHeld = async (
      owner: string,
      filter: { readonly with?: string; readonly to?: string },
      use: (stanza: Stanza, id: string) => Maybe<void>,
    ): Promise<void> => {
      const { entries } = await stores.held.page(owner, { ...filter, limit: config.held });
      for (const { id, value } of entries) {
        // Of two who take it, one has it.
        if ((await stores.held.remove(owner, [id])) === 1) await use(Stanza.parse(value), id);
      }
    };

    const expire = async (): Promise<void> => {
      const to = idAt(Date.now() - config.held_seconds * 1000);
      let after: string | undefined;
      for (;;) {
        const owners = await stores.held.owners({ after, limit: page, suffix: `@${host.domain}` });
        for (const owner of owners) await takeHeld(owner, { to }, sendBack);
        if (owners.length < page) return;
        after = owners.at(-1);
      }
    };

    const pass = (passage: MessagePassage): Maybe<'handled' | undefined> => {
      const { way, owner, peer, stanza, origin } = passage;
      const { type } = stanza;
      if (peer.bare === owner.bare || type === 'error') return undefined;
      if (way === 'out') {
        if (type === 'groupchat' || !isWritten(stanza)) return undefined;
        const turned = turnTo(owner, peer, true, !isPassing(origin.session?.mechanism));
        return turned?.then(() => undefined);
      }
      const heldSince = config.messages === 'hold' ? releases.get(origin) : undefined;
      if (heldSince !== undefined) {
        passage.stanza = stanza.plus(delay(host.jid, heldSince));
        return undefined;
      }
      // To a client, and so from a room where it is; to an account it goes nowhere (RFC 6121 §8.5.2).
      if (type === 'groupchat') return undefined;
      return ifStranger(owner, peer, stanza, (who) =>
        judge('messages', owner, who) === 'hold' ? hold(passage, who) : undefined,
      );
    };

    return [
      // Behind those who take off what looks like ours.
      message('clean', pass, { after: ['offline'] }),
      admit(({ way, owner, peer, stanza, origin }) => {
        const { name, type } = stanza;
        if (name === 'message') return undefined;
        if (way === 'out') {
          const isRequest = name === 'presence' && type === 'subscribe';
          const isTurning = isRequest || (name === 'presence' ? type === undefined : type === 'set');
          return isTurning ? turnTo(owner, peer, isRequest, !isPassing(origin.session?.mechanism)) : undefined;
        }
        if (name !== 'presence' || type !== 'subscribe') return undefined;
        const refuse = (error: unknown) => {
          // Presence that is not admitted vanishes: its sender is told here.
          if (error instanceof StanzaError) void host.route(stanza.error(error));
          throw error;
        };
        try {
          const judged = ifStranger(owner, peer, stanza, (who) => void judge('subscriptions', owner, who));
          return judged?.catch(refuse);
        } catch (error) {
          return refuse(error);
        }
      }),
      event('rosterChanged', ({ owner, contact, item }) => {
        if (isContact(item)) release(owner, contact);
      }),
      event('blocking', ({ owner, covers: isBlocked }) => {
        if (config.messages !== 'hold') return;
        aside(
          (async () => {
            const { entries } = await stores.held.page(owner.bare, { limit: config.held });
            const blocked = new Set(
              entries.flatMap(({ with: who }) => (who && isBlocked(Jid.parse(who)) ? [who] : [])),
            );
            for (const who of blocked) await takeHeld(owner.bare, { with: who }, sendBack);
          })(),
        );
      }),
      event('accountDeleted', ({ jid }) => known.delete(jid.bare)),
      every(sweepMs, expire),
      metric({
        name: 'waxwing_strangers_refused_total',
        help: 'Messages and requests of strangers that were refused by rule',
        read: () => counts.refused,
      }),
      metric({
        name: 'waxwing_strangers_held_total',
        help: 'Messages of strangers that were held',
        read: () => counts.held,
      }),
      metric({
        name: 'waxwing_strangers_sent_back_total',
        help: 'Messages of strangers that were held, and sent back',
        read: () => counts.sentBack,
      }),
    ];
  },
});

/** In the roster because the owner wants it there, and not because somebody asks for a subscription. */
export const isContact = (item: RosterItem | undefined): boolean => item !== undefined && item.hidden !== true;

/** Something that somebody says, or at least does; not what clients say by themselves, such as receipts. */
const isWritten = (stanza: Stanza): boolean =>
  stanza.has(NS.client, 'body') ||
  stanza.has(NS.encryption, 'encryption') ||
  stanza.has(NS.conference, 'x') ||
  stanza.has(NS.jingleMessage, 'propose') ||
  stanza.has(NS.jingleMessage, 'proceed');

/** XEP-0175: an account that is gone with its session. */
const isPassing = (mechanism: string | undefined): boolean => mechanism === 'ANONYMOUS';

/** Whether anybody can make an account. */
function isOpen({ modules }: Host['config']): boolean {
  const { open } = (modules.register ?? {}) as { readonly open?: boolean };
  return open === true && !modules.disabled.includes('register');
}

/** As addresses are compared. */
const normalised = (pattern: string): string =>
  pattern.startsWith('*.') ? `*.${Jid.parse(pattern.slice(2)).bare}` : Jid.parse(pattern).bare;

/** Whether a rule is about somebody. */
export function covers(pattern: string, { bare, domain }: Jid): boolean {
  if (pattern.startsWith('*.')) return domain.endsWith(pattern.slice(1));
  return pattern === bare || pattern === domain;
}

const tooMany = (text: string): StanzaError => new StanzaError('policy-violation', text, { type: 'wait' });
