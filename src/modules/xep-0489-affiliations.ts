/**
 * XEP-0489: Reporting Account Affiliations. Other servers learn whether an account was made by its user, by an administrator,
 * or for a single session: when they ask, and from what the account sends to strangers elsewhere. Left out: trust; what other
 * servers say of their accounts is passed on and not used.
 */

import { z } from 'zod';
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
import { formatDateTime } from '../server/stanza/datetime.js';
import { StanzaError } from '../server/stanza/errors.js';
import type { Jid } from '../server/stanza/jid.js';
import { NS } from '../server/stanza/ns.js';
import { whole } from '../server/stanza/stored.js';
import { hasTo } from '../server/stanza/subscription.js';
import { type Element, el } from '../server/xml/element.js';
import { Cache } from '../storage/cache.js';

type Affiliation = 'anonymous' | 'registered' | 'member' | 'admin';

const day = 86_400_000;
const cached = 20_000;
/** Of messages that somebody says to somebody. */
const saidTypes = ['chat', 'normal'];
/** §5. */
const embedding = ['embed-presence-sub', 'embed-presence-directed', 'embed-message'].map((name) => `${NS.raa}#${name}`);

export default defineModule({
  name: 'account_affiliations',
  summary: 'Tells other servers which accounts were made by their users themselves, and when.',
  implements: { 'XEP-0489': '0.1.0' },
  notes: 'Trust.',
  config: z.strictObject({
    query: z
      .enum(['anyone', 'servers', 'nobody'])
      .default('servers')
      .describe('Who may ask: anyone, or servers and services and those who may see the presence of the account.'),
    embed: z
      .boolean()
      .default(true)
      .describe(
        'Whether what an account sends to strangers on other servers says it: messages, directed presence and requests for subscription.',
      ),
    show_admins: z
      .boolean()
      .default(false)
      .describe('Whether administrators are told from other accounts that were not made by their users.'),
  }),
  stores: { registered: document<{ readonly at: number }>({ storedAs: 'registered', value: z.object({ at: whole }) }) },
  needs: ['roster'],

  start: ({ host, config, stores, services: { roster } }) => {
    /** When an account was made by its user, in ms since 1970; null: it was not. */
    const registered = new Cache<number | null>(
      cached,
      async (bare) => (await stores.registered.get(bare))?.at ?? null,
    );

    const affiliationOf = async (bare: Jid): Promise<{ affiliation: Affiliation; since?: number } | undefined> => {
      if ((await host.accounts.get(bare.bare)) === undefined) {
        return host.isAnonymous(bare.bare) ? { affiliation: 'anonymous' } : undefined;
      }
      if (config.show_admins && (await host.isAdmin(bare))) return { affiliation: 'admin' };
      const since = await registered.get(bare.bare);
      return since === null ? { affiliation: 'member' } : { affiliation: 'registered', since };
    };

    /** §3.1; §6.1: to the day. */
    const info = async (account: Jid): Promise<Element | undefined> => {
      const known = await affiliationOf(account.toBare());
      if (known === undefined) return undefined;
      const { affiliation, since } = known;
      const rounded = since === undefined ? undefined : formatDateTime(Math.floor(since / day) * day);
      return el('info', { xmlns: NS.raa, affiliation, since: rounded });
    };

    /** §3.2. Whoever may not ask does not learn who is there. */
    const answer: IqHandler = async ({ from, to, isAbsent }) => {
      const isAllowed =
        from.bare === to.bare ||
        config.query === 'anyone' ||
        (config.query === 'servers' && (from.local === undefined || (await host.permits('contacts', from, to))));
      if (!isAllowed) throw new StanzaError('forbidden');
      const told = isAbsent ? undefined : await info(to);
      if (told === undefined) throw new StanzaError('service-unavailable'); // RFC 6121 §8.5.1
      return told;
    };

    /** Other servers, and what is not ours on this one. */
    const isElsewhere = ({ domain }: Jid): boolean =>
      domain !== host.domain && host.declared.services().every((service) => service.domain !== domain);

    /** §4: to those who have not granted the sender a subscription. */
    const isStranger = (owner: Jid, peer: Jid): Maybe<boolean> => {
      const items = roster.get(owner.bare);
      const isGranted = (all: Awaited<typeof items>) => hasTo(all.get(peer.bare));
      return items instanceof Promise ? items.then((all) => !isGranted(all)) : !isGranted(items);
    };

    /** §3.3: what the client says of itself goes; what we say is put there for strangers elsewhere. */
    const stamp = (passage: Passage, isForStrangers: boolean): Promise<void> | undefined => {
      const { owner, peer } = passage;
      passage.stanza = passage.stanza.without(NS.raa, 'info');
      if (!isForStrangers || peer.bare === owner.bare || !isElsewhere(peer)) return undefined;
      const stranger = isStranger(owner, peer);
      if (stranger === false) return undefined;
      return (async () => {
        if (await stranger) passage.stanza = passage.stanza.plus(await info(owner));
      })();
    };

    const features = config.query === 'nobody' ? [] : [NS.raa];
    return [
      iq.get('account', NS.raa, 'query', answer, { access: 'anyone', absent: true }),
      disco('server', { features: () => (config.embed ? [...features, ...embedding] : features) }),
      event('accountRegistered', async ({ jid }) => {
        const at = wall();
        registered.set(jid.bare, at);
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
                return stamp(passage, stanza.type === undefined || saidTypes.includes(stanza.type));
              },
              { after: ['pubsub'], skips: () => true },
            ),
            adorn(
              (passage) => {
                const { to, type } = passage.stanza;
                // What all are told goes to contacts.
                return stamp(passage, to !== undefined && (type === undefined || type === 'subscribe'));
              },
              { after: ['avatars'] },
            ),
          ]
        : []),
    ];
  },
});
