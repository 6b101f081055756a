/**
 * What strangers send: messages and requests for subscription of who is not in the recipient's roster, whom he has not
 * written to, and whose room he has not entered. They are let in so often, held until he wants them, or refused; and an
 * account makes only so many new acquaintances in a while. Nothing that is said is lost without its sender hearing of it;
 * what somebody types is.
 */

import { z } from 'zod';
import { wall } from '../server/clock.js';
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
  prefetch,
  type RosterItem,
} from '../server/module.js';
import { Rates } from '../server/rates.js';
import type { MessagePassage, Origin, Passage } from '../server/routing/passage.js';
import { Serial } from '../server/serial.js';
import { delay } from '../server/stanza/delay.js';
import { StanzaError } from '../server/stanza/errors.js';
import { idAt, stanzaId, timeOf } from '../server/stanza/ids.js';
import { Jid } from '../server/stanza/jid.js';
import { NS } from '../server/stanza/ns.js';
import { Stanza } from '../server/stanza/stanza.js';
import { sentXml } from '../server/stanza/stored.js';
import { type Element, el } from '../server/xml/element.js';
import { Cache } from '../storage/cache.js';
import { Recent } from '../storage/recent.js';

type Maybe<T> = T | Promise<T>;
type Kind = 'messages' | 'subscriptions';
/** Addresses (bare) that the owner knows, and when that was last written down, in ms since 1970. */
type Acquaintances = Map<string, number>;

/** Which of the messages that are held for an account. */
type Held = { readonly with?: string; readonly to?: string };

/** Who has turned to whom, or been let in: remembered for the count of new acquaintances. */
const rememberedPairs = 100_000;
/** What all passing addresses are counted by: each could begin anew. */
const passing = '';
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
  stores: { acquaintances: map<number>({ value: z.number() }), held: log({ value: sentXml }) },
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
    const taking = new Serial();

    const aside = (work: Promise<unknown>) => {
      work.catch((error: unknown) => logger.error({ err: error }, 'strangers: storage failed'));
    };

    const areUsersKnown = config.local_users === 'auto' ? !isOpen(host.config) : config.local_users === 'known';
    const hosts = new Set(Object.keys(host.config.hosts));
    const isUserHere = ({ domain, local }: Jid) => local !== undefined && hosts.has(domain);
    const { anonymous } = host.config.auth;
    /** XEP-0175: an account that is gone with its session, of somebody whom nobody knows. */
    const isPassing = ({ bare }: Jid) => anonymous && host.sessions(bare)[0]?.isPassing === true;
    const isColleague = (who: Jid) => areUsersKnown && isUserHere(who) && !isPassing(who);
    /** A stranger to nobody: the server and its services, and where that is so the users of it. */
    const isOurs = (who: Jid) => (isUserHere(who) ? isColleague(who) : host.isLocal(who.domain));

    /** Services of this server are no strangers; but whoever makes a room invite somebody is who he is. */
    const speakerOf = (peer: Jid, stanza: Stanza): Jid | undefined => {
      if (!host.isLocal(peer.domain) || isUserHere(peer)) return peer;
      const invitation = invitationIn(stanza);
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

    /** What is to become of it. Throws the StanzaError that its sender is told. */
    const judge = (kind: Kind, owner: Jid, who: Jid, stanza: Stanza): 'allow' | 'hold' | 'drop' => {
      if (allowed.some((pattern) => covers(pattern, who))) return 'allow';
      const isRefused =
        config[kind] === 'refuse' ||
        refused.some((pattern) => covers(pattern, who)) ||
        blockLists?.isListed(who, 'strangers') === true;
      if (isRefused) {
        counts.refused++;
        throw unwanted();
      }
      if (config[kind] === 'allow') return 'allow';
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

    /** Calls with who is a stranger to the owner: at once where that is known at once. */
    const ifStranger = <T>(
      owner: Jid,
      peer: Jid,
      stanza: Stanza,
      then: (who: Jid) => Maybe<T>,
    ): Maybe<T | undefined> => {
      if (isColleague(peer)) return undefined;
      const who = speakerOf(peer, stanza);
      if (who === undefined || who.bare === owner.bare || isOurs(who)) return undefined;
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
      const entry = { id: stanzaId(owner.bare), with: who.bare, value: stanza.toXml(NS.client) };
      await stores.held.append(owner.bare, entry);
      counts.held++;
      if (await knows(owner, who)) release(owner, who);
      else if (isFirst) {
        const words = `${who.bare} has written to you and is not among your contacts. Add the address to your contacts, or write to it, to get what it sent; or block it.`;
        const notice = Stanza.build('message', { from: host.jid, to: owner, id: entry.id }, el('body', null, words));
        void host.route(notice);
      }
      return 'handled';
    };

    /** What the owner did not want before: now he does. */
    const release = (owner: Jid, who: Jid): void => {
      if (config.messages !== 'hold') return;
      const again = async (stanza: Stanza, id: string) => {
        const writes: Promise<unknown>[] = [];
        const acknowledgeAfter = (durable: Promise<unknown>) => void writes.push(durable);
        const origin: Origin = { session: undefined, acknowledges: true, acknowledgeAfter };
        releases.set(origin, timeOf(id));
        await host.route(stanza, origin);
        await Promise.all(writes);
      };
      aside(takeHeld(owner.bare, { with: who.bare }, again));
    };

    const sendBack = (stanza: Stanza): Maybe<void> => {
      counts.sentBack++;
      return host.route(stanza.error(unwanted()));
    };

    /** Does something with each message that is held, and takes it out of the store after that: nothing is lost in between. */
    const takeHeld = (owner: string, filter: Held, use: (stanza: Stanza, id: string) => Maybe<void>): Promise<void> =>
      // One after the other, so that no message goes two ways.
      taking.run(owner, async () => {
        const { entries } = await stores.held.page(owner, { ...filter, limit: config.held });
        for (const { id, value } of entries) {
          await use(Stanza.parse(value), id);
          await stores.held.remove(owner, [id]);
        }
      });

    const expire = async (): Promise<void> => {
      const to = idAt(wall() - config.held_seconds * 1000);
      let after: string | undefined;
      for (;;) {
        const owners = await stores.held.owners({ after, limit: page, suffix: `@${host.domain}` });
        for (const owner of owners) await takeHeld(owner, { to }, sendBack);
        if (owners.length < page) return;
        after = owners.at(-1);
      }
    };

    const receive = (passage: MessagePassage): Maybe<'handled' | undefined> => {
      const { way, owner, peer, stanza, origin } = passage;
      // Groupchat is to a client, and so from a room where it is; to an account it goes nowhere (RFC 6121 §8.5.2).
      if (way === 'out' || peer.bare === owner.bare || stanza.type === 'error' || stanza.type === 'groupchat')
        return undefined;
      const heldSince = config.messages === 'hold' ? releases.get(origin) : undefined;
      if (heldSince !== undefined) {
        passage.stanza = stanza.plus(delay(host.jid, heldSince));
        return undefined;
      }
      return ifStranger(owner, peer, stanza, (who) => {
        const verdict = judge('messages', owner, who, stanza);
        if (verdict === 'hold') return hold(passage, who);
        return verdict === 'drop' ? 'handled' : undefined;
      });
    };

    const receiveRequest = ({ owner, peer, stanza }: Passage): Maybe<void> => {
      const refuse = (error: unknown) => {
        // Presence that is not admitted vanishes: its sender is told here.
        if (error instanceof StanzaError) void host.route(stanza.error(error));
        throw error;
      };
      try {
        const judged = ifStranger(owner, peer, stanza, (who) => void judge('subscriptions', owner, who, stanza));
        return judged?.catch(refuse);
      } catch (error) {
        return refuse(error);
      }
    };

    return [
      prefetch(({ bare }) => known.get(bare)),
      // Behind those who take off what looks like ours.
      message('clean', receive, { after: ['offline'], skips: (stanza) => invitationIn(stanza) === undefined }),
      admit((passage) => {
        if (passage.way === 'out') return send(passage);
        const { name, type } = passage.stanza;
        return name === 'presence' && type === 'subscribe' ? receiveRequest(passage) : undefined;
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
      event('accountDeleting', ({ jid }) => takeHeld(jid.bare, {}, sendBack)),
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

/** Something that somebody does to get to know another; not what clients say by themselves, such as receipts. */
const isApproach = (stanza: Stanza): boolean =>
  stanza.name === 'message' ? isWritten(stanza) : stanza.type === 'subscribe';

/** What makes somebody known to whoever says it to him. */
function isTurning(stanza: Stanza): boolean {
  const { name, type } = stanza;
  if (name === 'presence') return type === undefined || type === 'subscribe';
  return name === 'iq' ? type === 'set' : type !== 'groupchat' && type !== 'error' && isWritten(stanza);
}

/** XEP-0045 §7.8.2: whom somebody wants a room to invite. */
function invitedBy(stanza: Stanza): readonly Jid[] {
  if (stanza.name !== 'message' || stanza.type === 'groupchat' || !stanza.has(NS.mucUser, 'x')) return [];
  const invitations = stanza.child(NS.mucUser, 'x')!.getChildren('invite', NS.mucUser);
  return invitations.flatMap(({ attrs }) => Jid.tryParse(attrs.to ?? '') ?? []);
}

const invitationIn = (stanza: Stanza): Element | undefined =>
  stanza.child(NS.mucUser, 'x')?.getChild('invite', NS.mucUser);

const isWritten = (stanza: Stanza): boolean =>
  stanza.has(NS.client, 'body') ||
  stanza.has(NS.encryption, 'encryption') ||
  stanza.has(NS.conference, 'x') ||
  stanza.has(NS.jingleMessage, 'propose') ||
  stanza.has(NS.jingleMessage, 'proceed');

/** XEP-0085, and nothing else: what a stranger types is nobody's business, and no message of his. */
function isChatState(stanza: Stanza): boolean {
  const names = stanza
    .childNames()
    .filter(({ ns, name }) => ns !== NS.hints && !(ns === NS.client && name === 'thread'));
  return names.length > 0 && names.every(({ ns }) => ns === NS.chatStates);
}

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

const unwanted = (): StanzaError =>
  new StanzaError('policy-violation', 'The recipient does not know you.', { type: 'cancel' });

const tooMany = (text: string): StanzaError => new StanzaError('policy-violation', text, { type: 'wait' });
