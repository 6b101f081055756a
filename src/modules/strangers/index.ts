/**
 * Limits what unknown senders can send. A sender is unknown if they are not in the recipient's roster, the recipient
 * has not written to them, and has not joined their room. Their messages and subscription requests are rate-limited,
 * held until the recipient accepts the sender, or refused. The same setting covers everything else that a client may
 * show: presence with text, errors, groupchat, IQs to a client, and stanzas that a service relays for them
 * (stanza/speaker.ts). The number of new contacts of an account is limited too. Senders of messages get an error on
 * refusal; chat states are dropped silently.
 */

import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import { count, seconds } from '../../server/config/units.js';
import { Rates } from '../../server/limits/rates.js';
import {
  admit,
  defineModule,
  event,
  every,
  type Host,
  log,
  type Maybe,
  type Memory,
  map,
  message,
  metric,
  moves,
  prefetch,
} from '../../server/module/index.js';
import type { MessagePassage, Passage } from '../../server/routing/passage.js';
import { delay } from '../../server/stanza/delay.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { inviterIn } from '../../server/stanza/speaker.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { sentXml } from '../../server/stanza/stored.js';
import { Cache } from '../../storage/cache.js';
import { Recent } from '../../storage/recent.js';
import type { RosterItem } from '../rfc-6121-roster/services.js';
import { Held, Release } from './held.js';
import { absent, tooMany, unwanted } from './refusals.js';
import {
  errorAlone,
  invitedBy,
  isApproach,
  isChatState,
  makesKnown,
  presenceAlone,
  showsSomething,
} from './stanzas.js';

declare module '../../server/module/index.js' {
  interface Services {
    consent: {
      /** Whether an account of this host knows this address: it is in the roster, or the account has written to it. */
      knows(owner: Jid, who: Jid): Maybe<boolean>;
    };
  }
}

type Kind = 'messages' | 'subscriptions';
type Treatment = 'allow' | 'limit' | 'hold' | 'refuse';
/** Bare addresses that the owner knows, with the time each was last persisted, in ms since 1970. */
type Acquaintances = Map<string, number>;

/** Pairs that have already been in contact: not counted as new contacts. */
const rememberedPairs = 100_000;
const rememberedQuestions = 20_000;
/** The common key for all anonymous accounts in rate limits, since each login would start a new one. */
const allAnonymous = '';
/** In ms: how often an acquaintance is persisted again. */
const day = 86_400_000;
const sweepMs = 600_000;

const patterns = (purpose: string) =>
  z
    .array(
      z
        .string()
        .refine(
          (text) => Jid.tryParse(text.replace(/^\*\./, ''))?.isBare === true,
          'is neither an address nor a domain',
        ),
    )
    .default([])
    .describe(`${purpose} Addresses, domains, and "*.DOMAIN" for the subdomains of a domain.`)
    .meta({ example: '*.example.org' });

export default defineModule({
  name: 'strangers',
  summary: 'Limits what unknown senders can send.',
  implements: {},
  config: z.strictObject({
    messages: z
      .enum(['allow', 'limit', 'hold', 'refuse'])
      .default('limit')
      .describe(
        'What to do with messages of unknown senders: "limit" delivers them up to a rate; "hold" also holds them until the recipient adds the sender to their contacts or writes to them, notifies the recipient, and sends them back on expiry; "refuse" sends them back. Text in presence of unknown senders is treated the same, but never held; their IQs reach no client unless this is "allow".',
      ),
    subscriptions: z
      .enum(['allow', 'limit', 'refuse'])
      .default('limit')
      .describe('What to do with subscription requests of unknown senders.'),
    local_users: z
      .enum(['auto', 'known', 'strangers'])
      .default('known')
      .describe(
        'Whether users of this server count as unknown to each other. "auto": if anybody can register (modules.register.open).',
      ),
    allow_from: patterns('Senders that never count as unknown.'),
    refuse_from: patterns('Senders whose messages and requests are refused if they are unknown.'),
    per_sender: count({ min: 1, unlimited: true })
      .default(50)
      .describe('"limit", "hold": messages and requests of one unknown sender in window_seconds.'),
    per_domain: count({ min: 1, unlimited: true })
      .default(500)
      .describe('The same for all unknown senders of one other server, or for all anonymous accounts of this one.'),
    per_domain_newcomers: count({ min: 1, unlimited: true })
      .default(50)
      .describe(
        'The same for all unknown senders of one other server that it reports (XEP-0489) as anonymous, or as registered by their users within newcomer_seconds.',
      ),
    newcomer_seconds: seconds({ min: 0 })
      .default(604_800)
      .describe('How long an account of another server counts as new.'),
    per_receiver: count({ min: 1, unlimited: true })
      .default(200)
      .describe('The same for all unknown senders to one account.'),
    new_contacts: count({ min: 1, unlimited: true })
      .default(200)
      .describe('New addresses that one account can write to, or request a subscription from, in window_seconds.'),
    window_seconds: seconds({ min: 1 })
      .default(3600)
      .describe('How long a message, a request or a new contact counts.'),
    held: count({ min: 1 }).default(100).describe('Maximum messages held for one account; further ones are refused.'),
    held_seconds: seconds({ min: 60 }).default(1_209_600).describe('How long a message is held.'),
    remembered: count({ min: 10 })
      .default(1000)
      .describe('Known addresses outside the roster that are stored for one account; the oldest are evicted.'),
    cached: count({ min: 10 }).default(20_000).describe('Accounts whose known addresses are cached in memory.'),
  }),
  stores: {
    acquaintances: map<number>({ storedAs: 'acquaintances', isPortable: true, value: z.number() }),
    held: log({ storedAs: 'held', isPortable: true, value: sentXml }),
  },
  needs: ['roster'],
  wants: ['blockLists', 'affiliations'],
  provides: ['consent'],

  start: ({ host, config, stores, services: { roster, blockLists, affiliations }, provide, log: logger }) => {
    const window = config.window_seconds * 1000;
    const allowed = config.allow_from.map(normalised);
    const refused = config.refuse_from.map(normalised);
    const bySender = new Rates(config.per_sender, window, 50_000);
    const byDomain = new Rates(config.per_domain, window);
    const byNewcomers = new Rates(config.per_domain_newcomers, window);
    const byReceiver = new Rates(config.per_receiver, window, 50_000);
    const newContacts = new Rates(config.new_contacts, window, 50_000);
    const pairs = new Recent<true>(rememberedPairs);
    /** Pending IQs to unknown addresses. */
    const questions = new Recent<true>(rememberedQuestions);
    const known = new Cache<Acquaintances>(config.cached, async (owner) => {
      const all = [...(await stores.acquaintances.all(owner))];
      return new Map(all.sort(([, one], [, other]) => one - other));
    });

    const counts = { refused: 0 };

    const inBackground = (work: Promise<unknown>) => {
      work.catch((error: unknown) => logger.error({ err: error }, 'strangers: storage failed'));
    };

    const areUsersKnown = config.local_users === 'auto' ? !isOpen(host.config) : config.local_users === 'known';
    const hosts = new Set(Object.keys(host.config.hosts));
    const isUserHere = ({ domain, local }: Jid) => local !== undefined && hosts.has(domain);
    const { anonymous } = host.config.auth;
    /** XEP-0175: an anonymous account ends with its session. */
    const isAnonymous = ({ bare }: Jid) => anonymous && host.isAnonymous(bare);
    const isKnownUser = (who: Jid) => areUsersKnown && isUserHere(who) && !isAnonymous(who);
    /** Never unknown: the server, its services and, depending on `local_users`, its users. */
    const isAlwaysKnown = (who: Jid) => (isUserHere(who) ? isKnownUser(who) : host.isLocal(who.domain));

    /**
     * The sender to judge. A service of this server is never unknown, but the address it relays for may be. Returns
     * undefined if the service speaks for itself.
     */
    const speakerOf = ({ peer, stanza, origin: { behalf } }: Passage): Jid | undefined => {
      if (behalf !== undefined) return behalf.isAsked ? undefined : behalf.speakers[0];
      return !host.isLocal(peer.domain) || isUserHere(peer) ? peer : inviterIn(stanza);
    };

    // --- who knows whom -----------------------------------------------------------------------------------------

    /** Whether the owner knows this address. Synchronous if both are in memory. */
    const knows = (owner: Jid, who: Jid): Maybe<boolean> => {
      const hasMet = (): Maybe<boolean> => {
        const others = known.get(owner.bare);
        return others instanceof Promise ? others.then((met) => met.has(who.bare)) : others.has(who.bare);
      };
      const items = roster.get(owner.bare);
      if (items instanceof Promise) return items.then((all) => isContact(all.get(who.bare)) || hasMet());
      return isContact(items.get(who.bare)) || hasMet();
    };

    const remember = (owner: Jid, who: Jid, acquaintances: Acquaintances): void => {
      const now = wall();
      const before = acquaintances.get(who.bare);
      if (before !== undefined && now - before < day) return;
      acquaintances.delete(who.bare);
      acquaintances.set(who.bare, now);
      const surplus = [...acquaintances.keys()].slice(0, Math.max(0, acquaintances.size - config.remembered));
      for (const one of surplus) acquaintances.delete(one);
      if (isAnonymous(owner)) return;
      inBackground(stores.acquaintances.set(owner.bare, [[who.bare, now]]));
      if (surplus.length > 0) inBackground(stores.acquaintances.delete(owner.bare, surplus));
    };

    const held = new Held({
      host,
      store: stores.held,
      most: config.held,
      seconds: config.held_seconds,
      knows,
      inBackground,
    });
    /** Delivers the held messages of an address that the owner now knows. */
    const release = (owner: Jid, who: Jid): void => {
      if (config.messages === 'hold') held.release(owner, who);
    };

    /** Throws StanzaError if the owner has contacted too many new addresses. Replies do not count. */
    const countNew = (owner: Jid, who: Jid): void => {
      const pair = pairOf(owner, who);
      if (pairs.get(pair) !== undefined) return;
      if (!newContacts.take(isAnonymous(owner) ? allAnonymous : owner.bare)) {
        host.limitHit('strangers.new_contacts');
        throw tooMany('You have contacted too many new addresses. Try again later.');
      }
      pairs.set(pair, true);
    };

    /** Makes an address known to the owner. Throws StanzaError if it counts and there are too many new ones. */
    const makeContact = (owner: Jid, who: Jid, isCounted: boolean): Maybe<void> => {
      if (isAlwaysKnown(who)) return undefined;
      const meet = (others: Acquaintances) => {
        const isNew = !others.has(who.bare);
        if (isNew && isCounted) countNew(owner, who);
        remember(owner, who, others);
        if (isNew) release(owner, who);
      };
      const note = (all: ReadonlyMap<string, RosterItem>): Maybe<void> => {
        if (isContact(all.get(who.bare))) return undefined;
        const others = known.get(owner.bare);
        return others instanceof Promise ? others.then(meet) : meet(others);
      };
      const items = roster.get(owner.bare);
      return items instanceof Promise ? items.then(note) : note(items);
    };

    const send = ({ owner, peer, stanza }: Passage): Maybe<void> => {
      if (stanza.name === 'iq' && (stanza.type === 'get' || stanza.type === 'set') && !isAlwaysKnown(peer))
        questions.set(questionOf(stanza.from, peer, stanza.id), true);
      if (!isAlwaysKnown(peer)) return makesKnown(stanza) ? makeContact(owner, peer, isApproach(stanza)) : undefined;
      if (isUserHere(peer)) return undefined;
      const waiting: Promise<void>[] = [];
      for (const invited of invitedBy(stanza)) {
        const pending = makeContact(owner, invited, true);
        if (pending !== undefined) waiting.push(pending);
      }
      return waiting.length === 0 ? undefined : Promise.all(waiting).then(() => {});
    };

    // --- stanzas of unknown senders -----------------------------------------------------------------------------

    const treatmentOf = (kind: Kind, who: Jid): Treatment => {
      if (allowed.some((pattern) => covers(pattern, who))) return 'allow';
      const isListed =
        refused.some((pattern) => covers(pattern, who)) || blockLists?.isListed(who, 'strangers') === true;
      return isListed ? 'refuse' : config[kind];
    };

    /** XEP-0489: whether another server says of the sender of a stanza that anybody could have made the account just now. */
    const isNewcomer = (who: Jid, stanza: Stanza): boolean => {
      // Relayed content is no information about the originator.
      if (host.isLocal(who.domain) || stanza.from?.bare !== who.bare) return false;
      const reported = affiliations?.reported(stanza);
      if (reported?.affiliation !== 'registered') return reported?.affiliation === 'anonymous';
      return reported.since !== undefined && wall() - reported.since < config.newcomer_seconds * 1000;
    };

    /** Decides on a stanza. Throws the StanzaError for its sender. */
    const judge = (kind: Kind, owner: Jid, who: Jid, stanza: Stanza): 'allow' | 'hold' | 'drop' => {
      const treatment = treatmentOf(kind, who);
      if (treatment === 'refuse') {
        counts.refused++;
        throw unwanted();
      }
      if (treatment === 'allow') return 'allow';
      if (isChatState(stanza)) return 'drop';
      const all: [Rates, string, string][] = [
        [byReceiver, owner.bare, 'strangers.per_receiver'],
        [bySender, who.bare, 'strangers.per_sender'],
      ];
      if (!host.isLocal(who.domain) || isAnonymous(who)) all.push([byDomain, who.domain, 'strangers.per_domain']);
      if (isNewcomer(who, stanza)) all.push([byNewcomers, who.domain, 'strangers.per_domain_newcomers']);
      const empty = Rates.takeAll(...all.map(([rates, key]) => [rates, key] as const));
      if (empty !== undefined) {
        host.limitHit(all[empty]![2]);
        throw tooMany(
          'The recipient does not know you, and has received too many messages or requests from unknown senders. Try again later.',
        );
      }
      // A reply does not count as a new contact.
      pairs.set(pairOf(owner, who), true);
      return config[kind] === 'hold' ? 'hold' : 'allow';
    };

    /** Known, or an administrator: these may write to all of their users. */
    const isWelcome = (owner: Jid, who: Jid): Maybe<boolean> => {
      const isKnown = knows(owner, who);
      if (isKnown instanceof Promise) return isKnown.then((yes) => yes || host.isAdmin(who));
      return isKnown || host.isAdmin(who);
    };

    /** Calls `then` if the sender is unknown to the owner. Synchronous if that is in memory. */
    const ifStranger = <T>(passage: Passage, then: (who: Jid) => Maybe<T>): Maybe<T | undefined> => {
      const { owner, peer } = passage;
      if (isKnownUser(peer)) return undefined;
      const who = speakerOf(passage);
      if (who === undefined || who.bare === owner.bare || isAlwaysKnown(who)) return undefined;
      const isKnown = isWelcome(owner, who);
      if (isKnown instanceof Promise) return isKnown.then((yes) => (yes ? undefined : then(who)));
      return isKnown ? undefined : then(who);
    };

    const receive = (passage: MessagePassage): Maybe<'handled' | undefined> => {
      const { way, owner, peer, stanza, origin } = passage;
      if (way === 'out' || peer.bare === owner.bare) return undefined;
      if (origin instanceof Release) {
        passage.stanza = stanza.plus(delay(host.jid, origin.since));
        return undefined;
      }
      return ifStranger(passage, (who) => (stanza.type === 'error' ? strip(passage, who) : admitMessage(passage, who)));
    };

    const admitMessage = (passage: MessagePassage, who: Jid): Maybe<'handled' | undefined> => {
      const { owner, stanza, origin } = passage;
      const isGroupchat = stanza.type === 'groupchat';
      const refuse = (error: unknown): 'handled' => {
        if (!(error instanceof StanzaError)) throw error;
        // Relayed stanzas are dropped: the relaying service needs no error.
        if (origin.behalf !== undefined) return 'handled';
        // Same as for a missing client: a room that the recipient never joined learns nothing.
        throw isGroupchat ? absent() : error;
      };
      try {
        const verdict = judge('messages', owner, who, stanza);
        if (verdict === 'hold' && isGroupchat) throw absent();
        if (verdict === 'hold') return held.hold(passage, who).catch(refuse);
        return verdict === 'allow' ? undefined : 'handled';
      } catch (error) {
        return refuse(error);
      }
    };

    /** Reduces an error to its condition: an unknown sender could put any content into it. */
    const strip = (passage: Passage, who: Jid): undefined => {
      if (passage.origin.isByServer !== true && treatmentOf('messages', who) !== 'allow')
        passage.stanza = errorAlone(passage.stanza);
    };

    /**
     * Presence except subscription requests: shown content counts as a message. Bare availability is still emitted for
     * XEP-0163.
     */
    const receivePresence = (passage: Passage): Maybe<void> => {
      const { owner, stanza } = passage;
      return ifStranger(passage, (who) => {
        if (stanza.type === 'error') return strip(passage, who);
        const treatment = treatmentOf('messages', who);
        if (treatment === 'allow') return undefined;
        if (treatment === 'limit') {
          if (showsSomething(stanza)) judge('messages', owner, who, stanza);
          return undefined;
        }
        counts.refused++;
        passage.stanza = presenceAlone(stanza);
        if (stanza.type !== undefined) return undefined;
        if (stanza.to?.resource === undefined) void host.emit('contactPresence', { owner, stanza: passage.stanza });
        throw absent();
      });
    };

    /** Unknown senders get no answer from a client, and may send only answers to IQs sent to them. */
    const receiveIq = (passage: Passage): Maybe<void> =>
      ifStranger(passage, (who) => {
        if (treatmentOf('messages', who) === 'allow') return;
        const { type, id, from, to } = passage.stanza;
        const isAnswer = type === 'result' || type === 'error';
        const question = isAnswer ? questionOf(to, from, id) : '';
        if (!isAnswer || questions.get(question) === undefined) throw absent();
        questions.delete(question);
      });

    const receiveRequest = (passage: Passage): Maybe<void> => {
      const { owner, stanza } = passage;
      const judgeRequest = (who: Jid): void => {
        judge('subscriptions', owner, who, stanza);
        // The request is allowed; its text counts as a message.
        const treatment = treatmentOf('messages', who);
        if (treatment === 'hold' || treatment === 'refuse') passage.stanza = presenceAlone(stanza);
      };
      const refuse = (error: unknown) => {
        // Refused presence gets no error from the router, so it is sent here.
        if (error instanceof StanzaError) void host.route(stanza.error(error));
        throw error;
      };
      try {
        return ifStranger(passage, judgeRequest)?.catch(refuse);
      } catch (error) {
        return refuse(error);
      }
    };

    provide('consent', { knows });

    return [
      event('moved', ({ concerns }) => {
        known.deleteIf(concerns);
        // They come back with the address if they still hold.
        pairs.deleteIf((pair) => concerns(firstOf(pair)));
        questions.deleteIf((question) => concerns(askerOf(question)));
      }),
      moves(byReceiver.memory('strangers.by_receiver')),
      moves(newContacts.memory('strangers.new_contacts')),
      moves(keysOf('strangers.pairs', pairs, firstOf)),
      moves(keysOf('strangers.questions', questions, askerOf)),
      prefetch(({ bare }) => known.get(bare)),
      // After forged ids and the like have been removed.
      message('clean', receive, {
        after: ['stanza_id', 'offline', 'carbons'],
        skips: (stanza) => inviterIn(stanza) === undefined,
      }),
      admit((passage) => {
        if (passage.way === 'out') return send(passage);
        const { name, type, to } = passage.stanza;
        if (name === 'message') return undefined;
        if (name === 'presence') return type === 'subscribe' ? receiveRequest(passage) : receivePresence(passage);
        return to?.resource === undefined ? undefined : receiveIq(passage);
      }),
      event('rosterChanged', ({ owner, contact, item }) => {
        if (isContact(item)) release(owner, contact);
      }),
      event('blocking', ({ owner, covers: isBlocked }) => {
        if (config.messages !== 'hold') return;
        inBackground(held.sendBackBlocked(owner.bare, isBlocked));
      }),
      event('accountDeleting', ({ jid }) => held.sendBack(jid.bare)),
      event('accountDeleted', ({ jid }) => known.delete(jid.bare), { before: 'all' }),
      every(sweepMs, () => held.expire(), { job: 'strangers' }),
      metric({
        name: 'waxwing_strangers_refused_total',
        help: 'Messages and requests of unknown senders refused by rule',
        read: () => counts.refused,
      }),
      metric({
        name: 'waxwing_strangers_held_total',
        help: 'Messages of unknown senders that were held',
        read: () => held.counts.held,
      }),
      metric({
        name: 'waxwing_strangers_sent_back_total',
        help: 'Held messages of unknown senders that were sent back',
        read: () => held.counts.sentBack,
      }),
    ];
  },
});

/** In the roster by the owner's choice, and not just because of a pending subscription request. */
export const isContact = (item: RosterItem | undefined): boolean => item !== undefined && item.hidden !== true;

const questionOf = (asker: Jid | undefined, asked: Jid | undefined, id: string | undefined): string =>
  `${asker?.full} ${asked?.full} ${id}`;

const pairOf = (owner: Jid, who: Jid): string => `${owner.bare} ${who.bare}`;

/** The first of the addresses in a key. */
const firstOf = (key: string): string => key.slice(0, key.indexOf(' '));

/** The account of the client that has asked. */
const askerOf = (question: string): string => firstOf(question).split('/', 1)[0]!;

/** How keys move with their addresses to another node. */
const keysOf = (name: string, keys: Recent<true>, addressOf: (key: string) => string): Memory<string> => ({
  name,
  schema: z.string(),
  *describe(concerns) {
    for (const [key] of keys.entries()) if (concerns(addressOf(key))) yield [addressOf(key), key];
  },
  restore: (_, key) => keys.set(key, true),
});

/** Whether anybody can register an account. */
function isOpen({ modules }: Host['config']): boolean {
  const { open } = (modules.register ?? {}) as { readonly open?: boolean };
  return open === true && !modules.disabled.includes('register');
}

/** Normalises a pattern like an address. */
const normalised = (pattern: string): string =>
  pattern.startsWith('*.') ? `*.${Jid.parse(pattern.slice(2)).bare}` : Jid.parse(pattern).bare;

/** Whether a pattern matches an address. */
export function covers(pattern: string, { bare, domain }: Jid): boolean {
  if (pattern.startsWith('*.')) return domain.endsWith(pattern.slice(1));
  return pattern === bare || pattern === domain;
}
