/**
 * XEP-0441: Message Archive Management Preferences: whose messages an account wants archived, and for how long (the
 * command of §2.2).
 */
import { z } from 'zod';
import { Jid } from '../server/address/jid.js';
import { count } from '../server/config/units.js';
import {
  type CommandStep,
  command,
  defineModule,
  demandOwn,
  document,
  event,
  iq,
  type Maybe,
  prefetch,
} from '../server/module/index.js';
import { demandFew } from '../server/stanza/addresses.js';
import { defineForm } from '../server/stanza/define-form.js';
import { StanzaError } from '../server/stanza/errors.js';
import { NS } from '../server/stanza/ns.js';
import { jid } from '../server/stanza/stored.js';
import { type Element, el } from '../server/xml/element.js';
import { Cache } from '../storage/cache.js';

const policies = ['always', 'never', 'roster'] as const;
type Policy = (typeof policies)[number];

export interface Preferences {
  readonly default: Policy;
  /** Bare and full addresses. */
  readonly always: readonly string[];
  readonly never: readonly string[];
  /** Days after which messages may be deleted. If undefined, the server decides. */
  readonly days?: number | undefined;
}

const cachedPreferences = 20_000;
const secondsADay = 86_400;

const form = defineForm('urn:xmpp:mam#configure', {
  default: {
    type: 'list-single',
    label: 'Archive messages',
    options: [
      { value: 'always', label: 'From everybody' },
      { value: 'roster', label: 'From my contacts' },
      { value: 'never', label: 'From nobody' },
    ],
  },
  always: { type: 'jid-multi', label: 'Always from these addresses' },
  never: { type: 'jid-multi', label: 'Never from these addresses' },
  days: {
    type: 'text-single',
    datatype: 'xs:integer',
    min: 1,
    max: 36_500,
    label: 'Delete messages after this many days',
  },
});

export default defineModule({
  name: 'mam_prefs',
  summary: 'Lets accounts choose whose messages are archived, and for how long.',
  implements: { 'XEP-0441': '0.2.0' },
  config: z.strictObject({
    default: z
      .enum(policies)
      .default('always')
      .describe('Whose messages are archived for an account without preferences: "always", "roster", "never".'),
    max_items: count({ min: 0 }).default(1000).describe('Maximum addresses in the preferences of one account.'),
  }),
  stores: {
    archive_preferences: document<Preferences>({
      storedAs: 'archive_preferences',
      isPortable: true,
      value: z.object({
        default: z.enum(policies),
        always: z.array(jid),
        never: z.array(jid),
        days: z.number().optional(),
      }),
    }),
  },
  needs: ['archive', 'roster'],

  start: ({ host, config, stores, services: { archive, roster } }) => {
    const store = stores.archive_preferences;
    const usual: Preferences = { default: config.default, always: [], never: [] };
    const cache = new Cache<Preferences>(cachedPreferences, async (owner) => (await store.get(owner)) ?? usual);

    const wants = (preferences: Preferences, owner: Jid, peer: Jid): Maybe<boolean> => {
      if (preferences === usual && usual.default === 'always') return true;
      // §2.3.1; if an address is in both lists, never archive
      if (names(preferences.never, peer)) return false;
      if (names(preferences.always, peer)) return true;
      if (preferences.default !== 'roster' || peer.bare === owner.bare) return preferences.default !== 'never';
      const isContact = (items: Awaited<ReturnType<typeof roster.get>>) => {
        const item = items.get(peer.bare);
        return item !== undefined && item.hidden !== true;
      };
      const items = roster.get(owner.bare);
      return items instanceof Promise ? items.then(isContact) : isContact(items);
    };

    archive.prefer({
      wants: (owner, peer) => {
        const preferences = cache.get(owner.bare);
        return preferences instanceof Promise
          ? preferences.then((read) => wants(read, owner, peer))
          : wants(preferences, owner, peer);
      },
      keeps: async (owner) => {
        // Called for every archive, and rooms have no preferences: caching these would only evict useful entries.
        const { days = Number.POSITIVE_INFINITY } = cache.peek(owner) ?? (await store.get(owner)) ?? usual;
        return days * secondsADay;
      },
    });

    const set = async (owner: string, preferences: Preferences): Promise<void> => {
      if (preferences.always.length + preferences.never.length > config.max_items) {
        host.limitHit('mam_prefs.max_items');
        throw new StanzaError('resource-constraint', `Preferences can have at most ${config.max_items} addresses.`);
      }
      const written = store.set(owner, preferences);
      cache.set(owner, preferences);
      await written.catch((error: unknown) => {
        cache.delete(owner);
        throw error;
      });
    };

    const configure = async ({ request: { to }, action, form: submitted }: CommandStep) => {
      const preferences = await cache.get(to.bare);
      if (submitted === undefined || action === 'prev') {
        const { days, always, never } = preferences;
        const asked = form.form(
          { default: preferences.default, days, always: always.map(Jid.parse), never: never.map(Jid.parse) },
          { title: 'Message archive' },
        );
        return { status: 'executing', actions: ['complete'], payload: [asked] } as const;
      }
      const wanted = form.read(submitted);
      if (wanted !== undefined) {
        const { always, never, ...rest } = wanted;
        await set(to.bare, {
          ...preferences,
          ...rest,
          ...(always && { always: always.map(({ full }) => full) }),
          ...(never && { never: never.map(({ full }) => full) }),
          days: wanted.days, // an empty field resets it
        });
      }
      return { status: 'completed', note: { type: 'info', text: 'Saved.' } } as const;
    };

    const others = { access: 'anyone', absent: true } as const;
    return [
      event('moved', ({ concerns }) => cache.deleteIf(concerns)),
      prefetch(({ bare }) => cache.get(bare)),
      iq.get(
        'account',
        NS.mam,
        'prefs',
        async (request) => {
          demandOwn(request);
          return elementOf(await cache.get(request.to.bare));
        },
        others,
      ),
      iq.set(
        'account',
        NS.mam,
        'prefs',
        async (request) => {
          demandOwn(request);
          const { days } = await cache.get(request.to.bare);
          const preferences = { ...readPreferences(request.payload), ...(days !== undefined && { days }) };
          await set(request.to.bare, preferences);
          return elementOf(preferences);
        },
        others,
      ),
      command({
        node: 'urn:xmpp:mam#configure',
        name: 'Configure the message archive',
        target: 'account',
        access: 'owner',
        run: configure,
      }),
      event('accountDeleted', ({ jid }) => cache.delete(jid.bare), { before: 'all' }),
    ];
  },
});

/** §2.3.1. */
const names = (listed: readonly string[], peer: Jid): boolean =>
  listed.length > 0 && (listed.includes(peer.bare) || listed.includes(peer.full));

/** Throws StanzaError. */
export function readPreferences(prefs: Element): Preferences {
  const policy = policies.find((one) => one === prefs.attrs.default);
  if (policy === undefined) throw new StanzaError('bad-request', `The default must be one of ${policies.join(', ')}.`); // §2.1.1
  return { default: policy, always: readList(prefs, 'always'), never: readList(prefs, 'never') };
}

function readList(prefs: Element, name: string): string[] {
  const addresses = prefs
    .getChildren(name, NS.mam)
    .flatMap((list) => list.getChildren('jid', NS.mam))
    .map((item) => item.getText().trim());
  demandFew(addresses);
  const jids = addresses.map((address) => Jid.tryParse(address));
  if (jids.includes(undefined)) throw new StanzaError('jid-malformed');
  return [...new Set(jids.map((jid) => jid!.full))];
}

const elementOf = (preferences: Preferences): Element =>
  el(
    'prefs',
    { xmlns: NS.mam, default: preferences.default },
    listOf('always', preferences.always),
    listOf('never', preferences.never),
  );

const listOf = (name: string, jids: readonly string[]): Element =>
  el(name, null, ...jids.map((jid) => el('jid', null, jid)));
