/**
 * XEP-0489: Reporting Account Affiliations. Tells other servers whether an account was registered by its user, created
 * by an administrator, or is anonymous: on request, and in stanzas of the account to non-contacts elsewhere. Left out:
 * trust. Affiliations that other servers report in stanzas are passed on, and used by the filter for unknown senders.
 */

import { z } from 'zod';
import type { Jid } from '../server/address/jid.js';
import { wall } from '../server/clock.js';
import {
  adorn,
  defineModule,
  disco,
  document,
  event,
  type IqHandler,
  iq,
  type Maybe,
  message,
} from '../server/module/index.js';
import type { Passage } from '../server/routing/passage.js';
import { formatDateTime, parseDateTime } from '../server/stanza/datetime.js';
import { StanzaError } from '../server/stanza/errors.js';
import { NS } from '../server/stanza/ns.js';
import type { Stanza } from '../server/stanza/stanza.js';
import { whole } from '../server/stanza/stored.js';
import { hasTo } from '../server/stanza/subscription.js';
import { type Element, el } from '../server/xml/element.js';
import { Cache } from '../storage/cache.js';

declare module '../server/module/index.js' {
  interface Services {
    affiliations: {
      /**
       * What the sender's server, another one, reports of the sender in a stanza. Undefined if it reports nothing, or is
       * not known to remove what its clients claim.
       */
      reported(stanza: Stanza): Reported | undefined;
    };
  }
}

type Affiliation = 'anonymous' | 'registered' | 'member' | 'admin';
export interface Reported {
  readonly affiliation: Affiliation;
  /** When the account was created, in ms since 1970. */
  readonly since: number | undefined;
}

/** What is reported of an account here. */
interface Known {
  readonly affiliation: Affiliation;
  /** XEP-0082; §6.1: rounded to the day. */
  readonly since?: string;
}

const day = 86_400_000;
const cached = 20_000;
const affiliations: readonly string[] = ['anonymous', 'registered', 'member', 'admin'];
/** Message types that are stamped: those of one-to-one chats. */
const messageTypes = ['chat', 'normal'];
/** §5. */
const embedding = ['embed-presence-sub', 'embed-presence-directed', 'embed-message'].map((name) => `${NS.raa}#${name}`);

const dayOf = (at: number): string => formatDateTime(Math.floor(at / day) * day);

const written = (known: Known | undefined): Element | undefined => known && el('info', { xmlns: NS.raa, ...known });

/** The same as text for `Stanza.plusWritten`, since it is part of each message to a non-contact. */
const asText = ({ affiliation, since }: Known): string =>
  `<info xmlns="${NS.raa}" affiliation="${affiliation}"${since === undefined ? '' : ` since="${since}"`}/>`;

export default defineModule({
  name: 'account_affiliations',
  summary: 'Tells other servers which accounts were registered by their users, and when.',
  implements: { 'XEP-0489': '0.1.0' },
  notes: 'Trust.',
  config: z.strictObject({
    query: z
      .enum(['anyone', 'servers', 'nobody'])
      .default('servers')
      .describe('Who may query: anyone, or servers, services and contacts that may see the presence of the account.'),
    embed: z
      .boolean()
      .default(true)
      .describe(
        'Whether to add the affiliation to stanzas that an account sends to non-contacts on other servers: messages, directed presence and subscription requests.',
      ),
    show_admins: z
      .boolean()
      .default(false)
      .describe(
        'Whether administrators are reported as such, and not like other accounts that were not registered by their users.',
      ),
  }),
  stores: {
    registered: document<{ readonly at: number }>({
      storedAs: 'registered',
      isPortable: true,
      value: z.object({ at: whole }),
    }),
  },
  needs: ['roster'],
  wants: ['disco'],
  provides: ['affiliations'],

  start: ({ host, config, stores, services: { roster, disco: others }, provide }) => {
    /** The day on which the user registered the account; null if it was created otherwise. */
    const registered = new Cache<string | null>(cached, async (bare) => {
      const found = await stores.registered.get(bare);
      return found === undefined ? null : dayOf(found.at);
    });

    const affiliationOf = (bare: Jid): Maybe<Known | undefined> => {
      const account = host.accounts.get(bare.bare);
      return account instanceof Promise ? account.then((one) => ofAccount(bare, one)) : ofAccount(bare, account);
    };

    const ofAccount = (bare: Jid, account: object | undefined): Maybe<Known | undefined> => {
      if (account === undefined) return host.isAnonymous(bare.bare) ? { affiliation: 'anonymous' } : undefined;
      const isAdmin = config.show_admins && host.isAdmin(bare);
      return isAdmin instanceof Promise ? isAdmin.then((yes) => ofUser(bare, yes)) : ofUser(bare, isAdmin);
    };

    const ofUser = (bare: Jid, isAdmin: boolean): Maybe<Known> => {
      if (isAdmin) return { affiliation: 'admin' };
      const known = (since: string | null): Known =>
        since === null ? { affiliation: 'member' } : { affiliation: 'registered', since };
      const since = registered.get(bare.bare);
      return since instanceof Promise ? since.then(known) : known(since);
    };

    /** §3.1. Synchronous if all is in memory. */
    const info = (account: Jid): Maybe<Element | undefined> => {
      const known = affiliationOf(account.toBare());
      return known instanceof Promise ? known.then(written) : written(known);
    };

    /** §3.2. The answer does not reveal to unauthorized requesters whether the account exists. */
    const answer: IqHandler = async ({ from, to, isAbsent }) => {
      const isAllowed =
        from.bare === to.bare ||
        config.query === 'anyone' ||
        (config.query === 'servers' && (from.local === undefined || (await host.permits('contacts', from, to))));
      if (!isAllowed) throw new StanzaError('forbidden');
      const known = isAbsent ? undefined : await info(to);
      if (known === undefined) throw new StanzaError('service-unavailable'); // RFC 6121 §8.5.1
      return known;
    };

    /** Addresses of other servers, and of other hosts of this one. */
    const isElsewhere = ({ domain }: Jid): boolean =>
      domain !== host.domain && host.declared.services().every((service) => service.domain !== domain);

    /** §4: whether the peer has not granted the owner a presence subscription. */
    const isNonContact = (owner: Jid, peer: Jid): Maybe<boolean> => {
      const items = roster.get(owner.bare);
      const isGranted = (all: Awaited<typeof items>) => hasTo(all.get(peer.bare));
      return items instanceof Promise ? items.then((all) => !isGranted(all)) : !isGranted(items);
    };

    /** §3.3: removes the element if the client sent one; adds the server's for non-contacts elsewhere. */
    const stamp = (passage: Passage, isDirected: boolean): Maybe<void> => {
      const { owner, peer } = passage;
      passage.stanza = passage.stanza.without(NS.raa, 'info');
      if (!isDirected || peer.bare === owner.bare || !isElsewhere(peer)) return undefined;
      const nonContact = isNonContact(owner, peer);
      return nonContact instanceof Promise
        ? nonContact.then((yes) => (yes ? embed(passage) : undefined))
        : nonContact
          ? embed(passage)
          : undefined;
    };

    const embed = (passage: Passage): Maybe<void> => {
      const add = (known: Known | undefined) => {
        if (known !== undefined) passage.stanza = passage.stanza.plusWritten(asText(known));
      };
      const known = affiliationOf(passage.owner);
      return known instanceof Promise ? known.then(add) : add(known);
    };

    const announced = others?.announced(embedding, 'account_affiliations.asking');

    provide('affiliations', {
      reported(stanza) {
        const { from, name, type } = stanza;
        const info = stanza.child(NS.raa, 'info')?.attrs;
        if (from === undefined || info === undefined || !affiliations.includes(info.affiliation ?? ''))
          return undefined;
        const kind = name === 'message' ? 'message' : type === 'subscribe' ? 'presence-sub' : 'presence-directed';
        // §3.3, §6.2: otherwise a client may have written it.
        if (host.isLocal(from.domain) || announced?.has(from.domain, `${NS.raa}#embed-${kind}`) !== true)
          return undefined;
        return {
          affiliation: info.affiliation as Affiliation,
          since: info.since === undefined ? undefined : parseDateTime(info.since),
        };
      },
    });

    const features = config.query === 'nobody' ? [] : [NS.raa];
    return [
      event('moved', ({ concerns }) => registered.deleteIf(concerns)),
      iq.get('account', NS.raa, 'query', answer, { access: 'anyone', absent: true }),
      disco('server', { features: () => (config.embed ? [...features, ...embedding] : features) }),
      event('accountRegistered', async ({ jid }) => {
        const at = wall();
        registered.set(jid.bare, dayOf(at));
        await stores.registered.set(jid.bare, { at });
      }),
      event('accountDeleted', ({ jid }) => registered.delete(jid.bare), { before: 'all' }),
      ...(config.embed
        ? [
            message(
              'clean',
              (passage) => {
                const { way, stanza } = passage;
                if (way !== 'out') return undefined;
                return stamp(passage, stanza.type === undefined || messageTypes.includes(stanza.type));
              },
              { after: ['pubsub'], skips: () => true },
            ),
            adorn(
              (passage) => {
                const { to, type } = passage.stanza;
                // Broadcast presence goes to contacts only.
                return stamp(passage, to !== undefined && (type === undefined || type === 'subscribe'));
              },
              { after: ['avatars'] },
            ),
          ]
        : []),
    ];
  },
});
