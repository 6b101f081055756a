/**
 * What strangers send. A stranger is somebody who is not in the recipient's roster, whom the recipient has not written to,
 * and whose room the recipient has not entered. Their messages and requests for subscription are let in so often, held until
 * the recipient wants them, or refused. Whatever else can show something is treated by the same setting: presence with text,
 * errors, group chat, IQs to a client, and what a service relays for them (stanza/speaker.ts). An account makes only so many
 * new acquaintances in a while. The sender of a message hears what becomes of it; what somebody types vanishes.
 */

import { z } from 'zod';
import { wall } from '../../server/clock.js';
import { count, seconds } from '../../server/config/units.js';
import {
  admit,
  defineModule,
  event,
  every,
  type Host,
  log,
  type Maybe,
  map,
  message,
  metric,
  prefetch,
} from '../../server/module/index.js';
import { Rates } from '../../server/rates.js';
import type { MessagePassage, Passage } from '../../server/routing/passage.js';
import { delay } from '../../server/stanza/delay.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { Jid } from '../../server/stanza/jid.js';
import { inviterIn } from '../../server/stanza/speaker.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { sentXml } from '../../server/stanza/stored.js';
import { Cache } from '../../storage/cache.js';
import { Recent } from '../../storage/recent.js';
import type { RosterItem } from '../rfc-6121-roster/services.js';
import { Held, Release } from './held.js';
import { absent, tooMany, unwanted } from './refusals.js';
import { errorAlone, invitedBy, isApproach, isChatState, isTurning, presenceAlone, showsSomething } from './stanzas.js';

declare module '../../server/module/index.js' {
  interface Services {
    consent: {
      /** Whether an account of this host knows this address: by its roster, or by what it wrote before. */
      knows(owner: Jid, who: Jid): boolean | Promise<boolean>;
    };
  }
}

type Kind = 'messages' | 'subscriptions';
type Treatment = 'allow' | 'limit' | 'hold' | 'refuse';
/** Addresses (bare) that the owner knows, and when that was last written down, in ms since 1970. */
type Acquaintances = Map<string, number>;

/** Who has turned to whom, or been let in: remembered for the count of new acquaintances. */
const rememberedPairs = 100_000;
const rememberedQuestions = 20_000;
/** What all passing addresses are counted by: each could begin anew. */
const passing = '';
/** In ms: how often it is written down that somebody is still known. */
const day = 86_400_000;
const sweepMs = 600_000;

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
        'What becomes of messages of strangers: "limit" lets them in so often; "hold" keeps them until the recipient adds the sender to their contacts or writes to them, tells the recipient that they are there, and sends them back otherwise; "refuse" sends them back. Text in the presence of strangers is treated the same, but never held; their IQs reach no client unless this is "allow".',
      ),
    subscriptions: z
      .enum(['allow', 'limit', 'refuse'])
      .default('limit')
      .describe('What becomes of requests for subscription.'),
    local_users: z
      .enum(['auto', 'known', 'strangers'])
      .default('known')
      .describe(
        'Whether users of this server are strangers to each other. "auto": where anybody can register (modules.register.open).',
      ),
    allow_from: patterns('Who is never a stranger.'),
    refuse_from: patterns('Whose messages and requests are refused where he is a stranger.'),
    per_sender: count({ min: 1, unlimited: true })
      .default(50)
      .describe('"limit", "hold": messages and requests of one stranger in window_seconds.'),
    per_domain: count({ min: 1, unlimited: true })
      .default(500)
      .describe('The same of all strangers from one other server, or of all anonymous users of this one.'),
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
  stores: {
    acquaintances: map<number>({ storedAs: 'acquaintances', value: z.number() }),
    held: log({ storedAs: 'held', value: sentXml }),
  },
  needs: ['roster'],
  wants: ['blockLists'],
  provides: ['consent'],

  start: ({ host, config, stores, services: { roster, blockLists }, provide, log: logger }) => {
    const window = config.window_seconds * 1000;
    const allowed = config.allow_from.map(normalised);
    const refused = config.refuse_from.map(normalised);
    const bySender = new Rates(config.per_sender, window, 50_000);
    const byDomain = new Rates(config.per_domain, window);
    const byReceiver = new Rates(config.per_receiver, window, 50_000);
    const newContacts = new Rates(config.new_contacts, window, 50_000);
    const pairs = new Recent<true>(rememberedPairs);
    /** IQs to strangers that wait for an answer. */
    const questions = new Recent<true>(rememberedQuestions);
    const known = new Cache<Acquaintances>(config.cached, async (owner) => {
      const all = [...(await stores.acquaintances.all(owner))];
      return new Map(all.sort(([, one], [, other]) => one - other));
    });

    const counts = { refused: 0 };

    const aside = (work: Promise<unknown>) => {
      work.catch((error: unknown) => logger.error({ err: error }, 'strangers: storage failed'));
    };

    const areUsersKnown = config.local_users === 'auto' ? !isOpen(host.config) : config.local_users === 'known';
    const hosts = new Set(Object.keys(host.config.hosts));
    const isUserHere = ({ domain, local }: Jid) => local !== undefined && hosts.has(domain);
    const { anonymous } = host.config.auth;
    /** XEP-0175: an account that is gone with its session, of somebody whom nobody knows. */
    const isPassing = ({ bare }: Jid) => anonymous && host.isAnonymous(bare);
    const isColleague = (who: Jid) => areUsersKnown && isUserHere(who) && !isPassing(who);
    /** A stranger to nobody: the server and its services, and where that is so the users of it. */
    const isOurs = (who: Jid) => (isUserHere(who) ? isColleague(who) : host.isLocal(who.domain));

    /** A service of this server is no stranger, but those whom it speaks for may be. Undefined: it speaks for itself. */
    const speakerOf = ({ peer, stanza, origin: { behalf } }: Passage): Jid | undefined => {
      if (behalf !== undefined) return behalf.isAsked ? undefined : behalf.speakers[0];
      return !host.isLocal(peer.domain) || isUserHere(peer) ? peer : inviterIn(stanza);
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

    const remember = (owner: Jid, who: Jid, acquaintances: Acquaintances): void => {
      const now = wall();
      const before = acquaintances.get(who.bare);
      if (before !== undefined && now - before < day) return;
      acquaintances.delete(who.bare);
      acquaintances.set(who.bare, now);
      const surplus = [...acquaintances.keys()].slice(0, Math.max(0, acquaintances.size - config.remembered));
      for (const one of surplus) acquaintances.delete(one);
      if (isPassing(owner)) return;
      aside(stores.acquaintances.set(owner.bare, [[who.bare, now]]));
      if (surplus.length > 0) aside(stores.acquaintances.delete(owner.bare, surplus));
    };

    const held = new Held({
      host,
      store: stores.held,
      most: config.held,
      seconds: config.held_seconds,
      knows,
      aside,
    });
    /** Delivers what was held from an address that the owner knows now. */
    const release = (owner: Jid, who: Jid): void => {
      if (config.messages === 'hold') held.release(owner, who);
    };

    /** Throws StanzaError where the owner has turned to too many; not to those who have turned to him. */
    const countNew = (owner: Jid, who: Jid): void => {
      const pair = pairOf(owner, who);
      if (pairs.get(pair) !== undefined) return;
      if (!newContacts.take(isPassing(owner) ? passing : owner.bare)) {
        host.limitHit('strangers.new_contacts');
        throw tooMany('You write to too many people whom you do not know.');
      }
      pairs.set(pair, true);
    };

    /** From now on the owner knows him. Throws StanzaError where these are too many, and it is counted. */
    const turnTo = (owner: Jid, who: Jid, isCounted: boolean): Maybe<void> => {
      if (isOurs(who)) return undefined;
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
      if (stanza.name === 'iq' && (stanza.type === 'get' || stanza.type === 'set') && !isOurs(peer))
        questions.set(questionOf(stanza.from, peer, stanza.id), true);
      if (!isOurs(peer)) return isTurning(stanza) ? turnTo(owner, peer, isApproach(stanza)) : undefined;
      if (isUserHere(peer)) return undefined;
      const waiting: Promise<void>[] = [];
      for (const invited of invitedBy(stanza)) {
        const turned = turnTo(owner, invited, true);
        if (turned !== undefined) waiting.push(turned);
      }
      return waiting.length === 0 ? undefined : Promise.all(waiting).then(() => {});
    };

    // --- what strangers send ------------------------------------------------------------------------------------

    const treatmentOf = (kind: Kind, who: Jid): Treatment => {
      if (allowed.some((pattern) => covers(pattern, who))) return 'allow';
      const isListed =
        refused.some((pattern) => covers(pattern, who)) || blockLists?.isListed(who, 'strangers') === true;
      return isListed ? 'refuse' : config[kind];
    };

    /** What is to become of it. Throws the StanzaError that its sender is told. */
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
      if (!host.isLocal(who.domain) || isPassing(who)) all.push([byDomain, who.domain, 'strangers.per_domain']);
      const empty = Rates.takeAll(...all.map(([rates, key]) => [rates, key] as const));
      if (empty !== undefined) {
        host.limitHit(all[empty]![2]);
        throw tooMany('The recipient does not know you, and gets no more of this for a while.');
      }
      // To answer is not to turn to somebody.
      pairs.set(pairOf(owner, who), true);
      return config[kind] === 'hold' ? 'hold' : 'allow';
    };

    /** Administrators have something to say to all of their users. */
    const isWelcome = (owner: Jid, who: Jid): Maybe<boolean> => {
      const isKnown = knows(owner, who);
      if (isKnown instanceof Promise) return isKnown.then((yes) => yes || host.isAdmin(who));
      return isKnown || host.isAdmin(who);
    };

    /** Calls with who is a stranger to the owner: at once where that is known at once. */
    const ifStranger = <T>(passage: Passage, then: (who: Jid) => Maybe<T>): Maybe<T | undefined> => {
      const { owner, peer } = passage;
      if (isColleague(peer)) return undefined;
      const who = speakerOf(passage);
      if (who === undefined || who.bare === owner.bare || isOurs(who)) return undefined;
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
        // A service that relays is no sender who has to know.
        if (origin.behalf !== undefined) return 'handled';
        // As where no such client is: a room that the recipient never entered learns nothing.
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

    /** An error says what went wrong: what else a stranger puts into it, the recipient has never sent. */
    const strip = (passage: Passage, who: Jid): undefined => {
      const { session, acknowledges, behalf } = passage.origin;
      const isOurs = session === undefined && !acknowledges && behalf === undefined;
      if (!isOurs && treatmentOf('messages', who) !== 'allow') passage.stanza = errorAlone(passage.stanza);
    };

    /** Presence but a request: what it shows counts as a message. The bare fact stays, for those who read nodes (XEP-0163). */
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

    /** A stranger sees no presence of a client, and so gets no answer from it; they answer only what they were asked. */
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
        // It may be made; what is said with it is a message.
        const treatment = treatmentOf('messages', who);
        if (treatment === 'hold' || treatment === 'refuse') passage.stanza = presenceAlone(stanza);
      };
      const refuse = (error: unknown) => {
        // Presence that is not admitted vanishes: its sender is told here.
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
      prefetch(({ bare }) => known.get(bare)),
      // Once what looks like ours was taken off.
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
        aside(held.sendBackBlocked(owner.bare, isBlocked));
      }),
      event('accountDeleting', ({ jid }) => held.sendBack(jid.bare)),
      event('accountDeleted', ({ jid }) => known.delete(jid.bare), { before: 'all' }),
      every(sweepMs, () => held.expire(), { job: 'strangers' }),
      metric({
        name: 'waxwing_strangers_refused_total',
        help: 'Messages and requests of strangers that were refused by rule',
        read: () => counts.refused,
      }),
      metric({
        name: 'waxwing_strangers_held_total',
        help: 'Messages of strangers that were held',
        read: () => held.counts.held,
      }),
      metric({
        name: 'waxwing_strangers_sent_back_total',
        help: 'Messages of strangers that were held, and sent back',
        read: () => held.counts.sentBack,
      }),
    ];
  },
});

/** In the roster because the owner wants it there, and not because somebody asks for a subscription. */
export const isContact = (item: RosterItem | undefined): boolean => item !== undefined && item.hidden !== true;

const questionOf = (asker: Jid | undefined, asked: Jid | undefined, id: string | undefined): string =>
  `${asker?.full} ${asked?.full} ${id}`;

const pairOf = (owner: Jid, who: Jid): string => `${owner.bare} ${who.bare}`;

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
