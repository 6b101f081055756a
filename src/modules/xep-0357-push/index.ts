/**
 * XEP-0357: Push Notifications: wakes the apps of an account that are not connected, through the push services that
 * they have named. Left out: a push service of our own.
 *
 * An app is one service and node. It is awake while a session that enabled it, or one with the resource that did, is
 * connected. A message for an app that is not awake causes one notification. Further ones follow after a pause, while
 * the app is not awake, and stand for all messages meanwhile. Messages of rooms are in rooms.ts.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { flat } from '../../server/address/flat.js';
import { Jid } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import { count, seconds } from '../../server/config/units.js';
import {
  answers,
  defineModule,
  defineQuestion,
  type Events,
  event,
  type IqHandler,
  iq,
  type Maybe,
  map,
  message,
  metric,
  prefetch,
  session,
  sessionState,
} from '../../server/module/index.js';
import type { MessagePassage } from '../../server/routing/passage.js';
import type { Session } from '../../server/routing/session.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { readForm } from '../../server/stanza/forms.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { elementXml } from '../../server/stanza/stored.js';
import { serialize } from '../../server/xml/element.js';
import { Cache } from '../../storage/cache.js';
import { Bursts, type Last } from './bursts.js';
import { notifications } from './mentions.js';
import { isFinal, notification, reduced, type Summary } from './notification.js';
import { Rooms } from './rooms.js';
import type { PushApp } from './services.js';
import { isOfRoom, wakes } from './wakes.js';

/** An app that wants to be woken. Its key is `keyOf` its service and node. */
interface App {
  /** The resource that enabled it, if a session did. */
  readonly resource?: string;
  /** When it was enabled, in ms since 1970. */
  readonly at: number;
  /** The form with the publish-options, as XML. */
  readonly options?: string;
}

type Apps = ReadonlyMap<string, App>;
const none: Apps = new Map();

/** Accounts whose apps are cached in memory. */
const cachedAccounts = 20_000;
/** Most characters of a node, and of a form with options. */
const longestNode = 1024;
const longestOptions = 4096;
/** No address has it. */
const separator = ' ';
const keyOf = (service: string, node: string): string => `${service}${separator}${node}`;

/** Stands for a key outside of the server: a node may have any characters, and may be a secret. */
const idOf = (key: string): string => createHash('sha256').update(key).digest('base64url').slice(0, 22);

const listing = defineQuestion<null, readonly PushApp[]>({
  name: 'push.list',
  given: z.null(),
  answer: z.array(
    z.object({ id: z.string(), service: z.string(), resource: z.string().optional(), at: z.number() }),
  ) as z.ZodType<readonly PushApp[]>,
});
const disabling = defineQuestion({
  name: 'push.disable',
  given: z.object({ ids: z.array(z.string()).readonly() }),
  answer: z.number(),
});

/** The app that the client of a session has enabled: a key; '' for none. */
const enabled = sessionState({ name: 'push', default: '', stored: z.string() });

const settings = z.strictObject({
  apps: count({ min: 1, max: 1000 })
    .default(32)
    .describe('Maximum apps of one account. A further one replaces the one that was enabled the longest time ago.'),
  pause_seconds: seconds({ min: 1, max: 3600 })
    .default(10)
    .describe('Shortest time between two notifications for an app that does not connect.')
    .meta({ live: true }),
  waiting: count({ min: 1 })
    .default(100_000)
    .describe('Maximum apps that wait for the end of their pause. Beyond it, no further app is notified.')
    .meta({ live: true }),
  failures: count({ min: 1 })
    .default(16)
    .describe(
      'After so many failures in a row an app is disabled. An error that says that the app is gone disables it at once; a service that cannot be reached does not count.',
    )
    .meta({ live: true }),
  rooms: z
    .enum(['auto', ...notifications])
    .default('auto')
    .describe(
      'When messages of a room wake apps, unless the user has set that for the room (XEP-0492). "auto": always in rooms that only members may enter, in others for mentions.',
    )
    .meta({ live: true }),
  silent_while_active: z
    .boolean()
    .default(false)
    .describe(
      'Whether no app is woken while the user is at another client: one that is available, neither away nor busy, and not in the background (XEP-0352).',
    )
    .meta({ live: true }),
  sender: z
    .boolean()
    .default(false)
    .describe(
      'Whether notifications name the sender of the last message. The makers of apps can read it. The push gateway of the host gets it anyway.',
    )
    .meta({ live: true }),
  body: z
    .boolean()
    .default(false)
    .describe('Whether they have its text, if it is not encrypted. The makers of apps can read it.')
    .meta({ live: true }),
});

type Settings = z.output<typeof settings>;

export default defineModule({
  name: 'push',
  summary: 'Wakes the apps of users on phones through the push services of their makers.',
  implements: { 'XEP-0357': '0.4.1', 'XEP-0492': '0.2.0' },
  features: { account: [NS.push] },
  config: settings,
  stores: {
    apps: map<App>({
      isPortable: true,
      value: z.object({
        resource: z.string().exactOptional(),
        at: z.number(),
        options: elementXml.exactOptional(),
      }),
      key: z.string().includes(separator),
    }),
  },
  sessionStates: [enabled],
  provides: ['pushApps'],
  wants: ['bookmarks', 'presence', 'pushGateway', 'roster'],

  start: ({ host, stores, services: { bookmarks, presence, pushGateway, roster }, provide, log }) => {
    const configured = () => host.config.modules.push as Settings;
    const rooms = new Rooms({ host, bookmarks, presence, usual: () => configured().rooms });
    const cache = new Cache<Apps>(cachedAccounts, async (owner) => {
      const found = await stores.apps.all(owner);
      return found.size === 0 ? none : found;
    });
    let isStopping = false;
    let sent = 0;
    let failed = 0;

    /** Writes; a failed write leaves nothing wrong in the cache. */
    const change = async (owner: string, apps: Apps, write: Promise<unknown>): Promise<void> => {
      cache.set(owner, apps.size === 0 ? none : apps);
      try {
        await write;
      } catch (error) {
        cache.delete(owner);
        throw error;
      }
    };

    const isAwake = (owner: string, key: string, { resource }: App): boolean =>
      host
        .sessions(owner)
        .some((one) => one.connection !== undefined && (one.get(enabled) === key || one.jid.resource === resource));

    // --- notifications --------------------------------------------------------------------------------------------

    /** Resolves once the service has answered, or has not in time. Never rejects. */
    const notify = async (owner: string, key: string, summary: Summary): Promise<void> => {
      const app = (await cache.get(owner)).get(key);
      if (app === undefined) return;
      const [service, node] = split(key);
      try {
        const told = service.full === pushGateway?.address ? summary : reduced(summary, configured());
        await host.ask(notification({ from: host.jid, service, node, options: app.options, summary: told }));
        sent++;
        bursts.succeeded(owner, key);
      } catch (error) {
        failed++;
        if (!(error instanceof StanzaError)) throw error;
        log.debug({ owner, service: service.full, condition: error.condition }, 'a push service refused');
        // §7.1
        if (isFinal(error) || bursts.failed(owner, key, error) >= configured().failures) await disable(owner, [key]);
      }
    };

    const bursts = new Bursts({
      pauseMs: () => configured().pause_seconds * 1000,
      most: () => configured().waiting,
      isFull: () => host.limitHit('push.waiting'),
      isAwake: async (owner, key) => {
        const app = (await cache.get(owner)).get(key);
        return app === undefined || isAwake(owner, key, app);
      },
      notify,
      broke: (error) => log.error({ err: error }, 'an app could not be notified'),
    });

    const isAtClient = (owner: string): boolean =>
      configured().silent_while_active && host.sessions(owner).some(isInUse);

    /** `count`: 1 for a message. */
    const notifyAll = (apps: Apps, owner: string, last: Last, count: 0 | 1): void => {
      if (apps === none || isStopping || isAtClient(owner)) return;
      for (const [key, app] of apps) if (!isAwake(owner, key, app)) bursts.add(owner, key, last, count);
    };

    const wake = (apps: Apps, owner: string, stanza: Stanza): void => {
      const { sender, body } = configured();
      const isTold = pushGateway !== undefined;
      const last = {
        sender: sender || isTold ? stanza.from?.full : undefined,
        body: body || isTold ? stanza.text(NS.client, 'body') : undefined,
      };
      notifyAll(apps, owner, last, 1);
    };

    /** The message does not wait for it. */
    const inBackground = <T>(found: Maybe<T>, use: (found: T) => Maybe<void>): void => {
      const done = found instanceof Promise ? found.then(use) : use(found);
      if (done instanceof Promise)
        done.catch((error: unknown) => log.error({ err: error }, 'the apps of an account could not be woken'));
    };

    const arrives = ({ way, owner, stanza, sessions }: MessagePassage): void => {
      if (way === 'out') return;
      const apps = cache.get(owner.bare);
      if (apps === none) return;
      if (wakes(stanza)) inBackground(apps, (found) => wake(found, owner.bare, stanza));
      else if (isOfRoom(stanza)) {
        if (stanza.type !== 'groupchat') {
          ofRoom(owner, stanza);
          return;
        }
        const to = sessions.find(({ jid }) => jid.resource === stanza.to!.resource);
        if (to !== undefined && to.connection === undefined) ofRoom(owner, stanza, to);
      }
    };

    /** A message of a room. `session`: the client that it was sent to, if it was; only its app is woken. */
    const ofRoom = (owner: Jid, stanza: Stanza, to?: Session): void => {
      const key = to?.get(enabled);
      if (key === '') return;
      const wakeIf = async (apps: Apps): Promise<void> => {
        const meant = key === undefined ? apps : only(apps, key);
        if (meant !== none && (await rooms.concerns(owner, stanza, to))) wake(meant, owner.bare, stanza);
      };
      inBackground(Promise.resolve(cache.get(owner.bare)).then(wakeIf), () => {});
    };

    /** A copy for a user who is not in the room. Throws StanzaError if no more are wanted. */
    const copied = async ({ owner, stanza }: MessagePassage): Promise<'handled'> => {
      const apps = await cache.get(owner.bare);
      if (apps === none || !(await rooms.wantsCopies(owner, stanza.from!.toBare())))
        throw new StanzaError('service-unavailable');
      if (isOfRoom(stanza)) ofRoom(owner, stanza);
      return 'handled';
    };

    /** RFC 6121 §3.1.3: a subscription request is pending. */
    const requested = ({ owner }: Events['subscriptionRequested']): void =>
      inBackground(cache.get(owner.bare), async (apps) => {
        if (apps === none) return;
        const items = (await roster?.get(owner.bare)) ?? new Map();
        const pending = [...items.values()].filter(({ pendingIn }) => pendingIn !== undefined).length;
        notifyAll(apps, owner.bare, { sender: undefined, body: undefined, pending }, 0);
      });

    /** The connection was lost with messages that the client may not have got. */
    const hibernates = (one: Session): void => {
      const key = one.get(enabled);
      if (key === '') return;
      const left = [...one.unacknowledged];
      for (const stanza of left) if (isOfRoom(stanza)) ofRoom(one.jid.toBare(), stanza, one);
      const last = left.filter(wakes);
      if (last.length === 0) return;
      const owner = one.jid.bare;
      inBackground(cache.get(owner), (apps) => {
        for (const stanza of last) wake(only(apps, key), owner, stanza);
      });
    };

    // --- requests -------------------------------------------------------------------------------------------------

    /** §5. */
    const enable: IqHandler = async ({ to: owner, payload, session: by }) => {
      if (host.isAnonymous(owner.bare)) throw new StanzaError('not-allowed', 'Anonymous accounts have no apps.');
      const service = serviceOf(payload.attrs.jid);
      const { node = '' } = payload.attrs;
      const form = payload.getChild('x', NS.dataForms);
      if (form !== undefined) readForm(form, `${NS.pubsub}#publish-options`);
      const options = form === undefined ? undefined : serialize(form);
      if (node.length > longestNode || (options?.length ?? 0) > longestOptions)
        throw new StanzaError('not-acceptable', 'The node or the options are too long.');
      const key = keyOf(service.full, node);
      const app: App = {
        at: wall(),
        ...(by?.jid.resource !== undefined && { resource: flat(by.jid.resource) }),
        ...(options !== undefined && { options: flat(options) }),
      };
      const apps = new Map(await cache.get(owner.bare)).set(flat(key), app);
      const excess = oldest(apps, configured().apps);
      for (const one of excess) apps.delete(one);
      by?.set(enabled, flat(key));
      bursts.forget(owner.bare, key);
      await change(
        owner.bare,
        apps,
        Promise.all([
          stores.apps.set(owner.bare, [[key, app]]),
          excess.length === 0 ? undefined : stores.apps.delete(owner.bare, excess),
        ]),
      );
    };

    const disable = async (owner: string, keys: readonly string[]): Promise<void> => {
      if (keys.length === 0) return;
      const apps = new Map(await cache.get(owner));
      for (const key of keys) {
        apps.delete(key);
        bursts.forget(owner, key);
      }
      await change(owner, apps, stores.apps.delete(owner, keys));
    };

    /** §6: without a node, all of the service. */
    const stop: IqHandler = async ({ to: owner, payload, session: by }) => {
      const service = serviceOf(payload.attrs.jid);
      const { node } = payload.attrs;
      const isMeant = (key: string) =>
        node === undefined ? key.startsWith(keyOf(service.full, '')) : key === keyOf(service.full, node);
      if (by !== undefined && isMeant(by.get(enabled))) by.set(enabled, '');
      await disable(owner.bare, [...(await cache.get(owner.bare)).keys()].filter(isMeant));
    };

    /** §8: the service wants no more notifications. */
    const withdrawn = async ({ way, owner, peer, stanza }: MessagePassage): Promise<'handled' | undefined> => {
      const pubsub = way === 'in' ? stanza.child(NS.pubsub, 'pubsub') : undefined;
      const { jid, affiliation } = pubsub?.getChild('affiliation')?.attrs ?? {};
      if (affiliation !== 'none' || (jid !== owner.bare && jid !== host.domain)) return undefined;
      const key = keyOf(peer.full, pubsub!.attrs.node ?? '');
      if (!(await cache.get(owner.bare)).has(key)) return undefined;
      await disable(owner.bare, [key]);
      return 'handled';
    };

    // --- for the user's page ----------------------------------------------------------------------------------------

    provide('pushApps', {
      list: async (owner) => host.askHome(listing, owner, null),
      disable: async (owner, ids) => host.askHome(disabling, owner, { ids }),
    });
    const list = async (owner: Jid): Promise<PushApp[]> =>
      [...(await cache.get(owner.bare))]
        .map(([key, { resource, at }]) => ({ id: idOf(key), service: split(key)[0].full, resource, at }))
        .sort((one, other) => other.at - one.at);
    const disableById = async (owner: Jid, ids: readonly string[]): Promise<number> => {
      const keys = [...(await cache.get(owner.bare)).keys()].filter((key) => ids.includes(idOf(key)));
      for (const one of host.sessions(owner.bare)) if (keys.includes(one.get(enabled))) one.set(enabled, '');
      await disable(owner.bare, keys);
      return keys.length;
    };

    return [
      answers(listing, (_, owner) => list(owner)),
      answers(disabling, ({ ids }, owner) => disableById(owner, ids)),
      iq.set('account', NS.push, 'enable', enable),
      iq.set('account', NS.push, 'disable', stop),
      prefetch(({ bare }) => cache.get(bare)),
      message('clean', (passage) => (isAboutNode(passage.stanza) ? withdrawn(passage) : undefined), {
        skips: (stanza) => !isAboutNode(stanza),
      }),
      // Clients, to which rooms send directly, have full addresses.
      message('clean', (passage) => (isCopy(passage) ? copied(passage) : undefined), { skips: () => true }),
      // Before a step can end the passage.
      message('archive', arrives, { after: ['mam'], before: ['offline'] }),
      event('subscriptionRequested', requested),
      session('hibernated', hibernates),
      session('resumed', (one) => bursts.forget(one.jid.bare, one.get(enabled))),
      event('accountDeleted', ({ jid }) => {
        cache.delete(jid.bare);
        bursts.forgetAll((owner) => owner === jid.bare);
      }),
      event('moved', ({ concerns }) => {
        cache.deleteIf(concerns);
        bursts.forgetAll(concerns);
      }),
      // After a restart: clients may not have noticed that their connection is gone.
      event('revived', (revived) => hibernates(revived.session)),
      event('stopping', () => {
        isStopping = true;
        bursts.forgetAll(() => true);
      }),
      metric({
        name: 'waxwing_push_notifications_total',
        help: 'Notifications that push services took.',
        read: () => sent,
      }),
      metric({ name: 'waxwing_push_failures_total', help: 'Notifications that failed.', read: () => failed }),
    ];
  },
});

/** A message of a room to an account. No client gets it (RFC 6121 §8.5.2.1.1). */
const isCopy = ({ way, stanza }: MessagePassage): boolean =>
  way === 'in' && stanza.type === 'groupchat' && stanza.to!.resource === undefined;

/** The user looks at this client. */
function isInUse({ connection, isInactive, presence }: Session): boolean {
  if (connection === undefined || isInactive || presence === undefined) return false;
  const show = presence.text(NS.client, 'show')?.trim() ?? '';
  return show === '' || show === 'chat';
}

/** The app with this key alone. */
function only(apps: Apps, key: string): Apps {
  const app = apps.get(key);
  return app === undefined ? none : new Map([[key, app]]);
}

function isAboutNode(stanza: Stanza): boolean {
  return stanza.has(NS.pubsub, 'pubsub');
}

function serviceOf(text: string | undefined): Jid {
  const service = Jid.tryParse(text ?? '');
  if (service === undefined) throw new StanzaError('bad-request', 'Name the address of a push service as jid.');
  return service;
}

function split(key: string): readonly [service: Jid, node: string] {
  const at = key.indexOf(separator);
  return [Jid.parse(key.slice(0, at)), key.slice(at + separator.length)];
}

/** The keys of the apps beyond the newest so many. */
function oldest(apps: Apps, most: number): string[] {
  const excess = apps.size - most;
  if (excess <= 0) return [];
  return [...apps]
    .sort(([, a], [, b]) => a.at - b.at)
    .slice(0, excess)
    .map(([key]) => key);
}
