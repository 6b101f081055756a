/**
 * A push service (XEP-0357 §3): users' servers publish notifications to it, and it passes them on to the services that
 * wake devices. Devices are registered by ad-hoc commands (commands.ts). Notifications are queued on disk before they are
 * acknowledged (server/outbound/deliveries.ts).
 *
 * Everything happens at the home of the gateway's address.
 */
import { readFile } from 'node:fs/promises';
import { rootCertificates } from 'node:tls';
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import { networks } from '../../server/config/address.js';
import { Rates } from '../../server/limits/rates.js';
import {
  answers,
  command,
  defineModule,
  defineQuestion,
  disco,
  document,
  event,
  every,
  http,
  type IqHandler,
  iq,
  map,
  metric,
  service,
} from '../../server/module/index.js';
import { Deliveries, destinationIn, type Outcome, type StoredDelivery } from '../../server/outbound/deliveries.js';
import { Poster } from '../../server/outbound/post.js';
import { Reach, UnreachableError } from '../../server/outbound/reach.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { stanzaId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { bareJid, whole } from '../../server/stanza/stored.js';
import { el } from '../../server/xml/element.js';
import { Apns } from './apns.js';
import type { Notice, Push } from './backend.js';
import { byHttp, path } from './by-http.js';
import { cli } from './cli.js';
import { commands } from './commands.js';
import {
  type Device,
  Devices,
  isSecretOf,
  type Kind,
  type Listing,
  storedDevice,
  storedListing,
  type Token,
} from './devices.js';
import { Fcm, readServiceAccount, type ServiceAccount } from './fcm.js';
import { merged, readPublished } from './publishing.js';
import { proofOf, type Registration } from './registering.js';
import { validKeys } from './rfc-8291-encryption.js';
import { newKeys, type StoredKeys, storedKeys, Vapid } from './rfc-8292-vapid.js';
import { type Settings, settings } from './settings.js';
import { WebPush } from './web-push.js';

/** How often the home of the gateway is reminded of what is stored, in ms. */
const reminderMs = 5000;
/** An attempt may take this long, in ms: longer than a request. */
const attemptMs = 15_000;
const failedAtOnce = 1000;

const noticeSchema = z.object({
  count: z.number().optional(),
  pending: z.number().optional(),
  sender: z.string().optional(),
  body: z.string().optional(),
});
/** A notification for a device. `lane`: the service that wakes it. */
interface Job {
  readonly lane: string;
  readonly notice: Notice;
}
const delivery: z.ZodType<StoredDelivery<Job>> = z.object({
  value: z.object({ lane: z.string(), notice: noticeSchema }),
  at: whole,
  until: whole,
  tries: whole,
  why: z.string().optional(),
});

const nothing = z.null();
/** Asked at the gateway's home by the job that reminds it, and by pages and commands at other nodes. */
const goOn = defineQuestion({ name: 'push_gateway.go_on', given: nothing, answer: nothing });
const vapidKey = defineQuestion({ name: 'push_gateway.vapid', given: nothing, answer: z.string() });
const forgotten = defineQuestion({
  name: 'push_gateway.forgotten',
  given: z.object({ account: bareJid }),
  answer: nothing,
});
const listing = defineQuestion({
  name: 'push_gateway.failed',
  given: z.object({ after: z.string().optional(), limit: whole }),
  answer: z.array(z.object({ key: z.string(), user: z.string(), at: whole, tries: whole, why: z.string() })),
});
const change = defineQuestion({
  name: 'push_gateway.change',
  given: z.object({ how: z.enum(['retry', 'drop']), keys: z.array(z.string()).optional() }),
  answer: whole,
});

/** What there is once the keys are read. */
interface Running {
  readonly vapid: Vapid;
  readonly web: WebPush;
}

export default defineModule({
  name: 'push_gateway',
  summary: 'A push service: wakes browsers and apps by Web Push, UnifiedPush, FCM and APNs.',
  implements: { 'RFC 8030': '2016', 'RFC 8291': '2017', 'RFC 8292': '2017' },
  optional: true,
  features: { service: [NS.push, `${NS.pubsub}#publish`, `${NS.pubsub}#publish-options`] },
  config: settings,
  stores: {
    keys: document<StoredKeys>({ value: storedKeys, key: bareJid, damaged: 'refuse' }),
    devices: map<Device>({ value: storedDevice }),
    listings: map<Listing>({ value: storedListing }),
    pending: map<StoredDelivery<Job>>({ value: delivery }),
    failed: map<StoredDelivery<Job>>({ value: delivery }),
  },
  provides: ['pushGateway'],
  cli,

  start: async ({ host, config, stores, provide, log }) => {
    const own = Jid.parse(`${config.subdomain}.${host.domain}`);
    const owner = own.full;
    const live = () => host.config.modules.push_gateway as Settings;
    const allowed = networks(config.allow_networks);
    const ca = config.ca === '' ? undefined : [...rootCertificates, await readFile(config.ca, 'utf8')];
    const reach = new Reach({ allowed: () => allowed, dns: host.config.s2s.dns_servers });
    const poster = new Poster(reach, ca);
    const rates = new Rates(config.notifications_per_minute, 60_000);
    const byAccount = new Rates(config.registrations_per_hour, 3_600_000);
    const byAddress = new Rates(config.registrations_per_hour, 3_600_000);
    let isStopping = false;

    const showsContent = () => live().unencrypted_content;
    const fcm =
      config.fcm.service_account === ''
        ? undefined
        : new Fcm(poster, await serviceAccountIn(config.fcm.service_account), config.fcm.url, showsContent);
    const apns =
      config.apns.key === ''
        ? undefined
        : await Apns.open({
            settings: () => ({ ...live().apns, showsContent: showsContent() }),
            reach,
            ca,
            atOnce: () => live().at_once,
          });
    const kinds: Kind[] = ['webpush', ...(fcm ? (['fcm'] as const) : []), ...(apns ? (['apns'] as const) : [])];

    // --- at the gateway's home --------------------------------------------------------------------------------------

    let opening: Promise<Running> | undefined;
    const running = (): Promise<Running> => {
      opening ??= open().catch((error: unknown) => {
        opening = undefined;
        throw error;
      });
      return opening;
    };

    const keyOfNodes = async () => Buffer.from((await running()).vapid.keys.nodes, 'base64url');

    const devices = new Devices({
      owner,
      devices: stores.devices,
      listings: stores.listings,
      key: keyOfNodes,
      limits: config,
      limitHit: (limit) => host.limitHit(limit),
    });

    const open = async (): Promise<Running> => {
      let keys = await stores.keys.get(owner);
      // Of two that make some, one wins.
      if (keys === undefined && (await stores.keys.compareAndSet(owner, undefined, newKeys())))
        log.info({ gateway: owner }, 'keys for Web Push were made');
      keys ??= (await stores.keys.get(owner))!;
      const vapid = new Vapid(keys, config.contact === '' ? `https://${host.domain}` : config.contact);
      return { vapid, web: new WebPush(poster, vapid) };
    };

    /** Undefined if the service that wakes the device is no longer configured. */
    const laneOf = async (token: Token): Promise<string | undefined> => {
      if (token.kind === 'webpush') return (await running()).web.laneOf(token);
      return token.kind === 'fcm' ? fcm?.laneOf() : apns?.laneOf(token);
    };
    const send = async (token: Token, push: Push): Promise<Outcome> => {
      if (token.kind === 'webpush') return (await running()).web.send(token, push);
      const sent = token.kind === 'fcm' ? fcm?.send(token.token, push) : apns?.send(token, push);
      return (await sent) ?? { kind: 'gone' };
    };

    const deliveries = new Deliveries<Job>({
      owner,
      pending: stores.pending,
      dead: stores.failed,
      id: () => stanzaId(owner),
      laneOf: (_, { lane }) => lane,
      attempt: async (node, { notice }) => {
        const device = await devices.get(node);
        if (device === undefined) return { kind: 'gone' };
        const outcome = await send(device.token, {
          account: device.user,
          alias: device.alias,
          since: device.at,
          notice,
          urgency: notice.count === undefined ? 'normal' : 'high',
          ttlSeconds: live().ttl_seconds,
          topic: node,
        });
        // It may have been registered again meanwhile.
        const isOther = outcome.kind === 'gone' && (await devices.get(node))?.secret !== device.secret;
        return isOther ? { kind: 'retry', why: 'the device has registered again', isOutage: false } : outcome;
      },
      // The administrator does not need what people wrote, and it would outlive their accounts.
      remains: ({ lane, notice: { count, pending } }) => ({
        lane,
        notice: { ...(count !== undefined && { count }), ...(pending !== undefined && { pending }) },
      }),
      merge: (waiting, later) => ({ ...later, notice: merged(waiting.notice, later.notice) }),
      gone: (node) => removeGone(node),
      limits: () => {
        const { pending, failed, tries, at_once } = live();
        return { pending, dead: failed, tries, atOnce: at_once, timeoutMs: attemptMs };
      },
      outage: (lane, isOver, error) => {
        if (isOver) log.info({ service: lane }, 'a push service works again');
        else log.warn({ service: lane, err: error }, 'a push service does not work; notifications for it wait');
      },
      broke: (error) => log.error({ err: error }, 'a notification could not be delivered'),
    });

    /** The service that wakes the device says that it does not exist any more (XEP-0357 §8). */
    const removeGone = async (node: string): Promise<void> => {
      const device = await devices.get(node);
      if (device === undefined) return;
      await devices.remove(device.user, [node]);
      const affiliation = el('affiliation', { jid: device.user, affiliation: 'none' });
      const told = el('pubsub', { xmlns: NS.pubsub, node }, affiliation);
      await host.route(Stanza.build('message', { from: own, to: Jid.parse(device.user) }, told));
    };

    /** Without `kinds`, of all; without a name, all of them. Resolves with how many there were. */
    const remove = async (user: string, kinds?: readonly Kind[], name?: string): Promise<number> => {
      const found: string[] = [];
      for (const [node, { token }] of await devices.list(user)) {
        const isNamed = name === undefined || node === (await devices.nodeOf(user, token.kind, name));
        if (isNamed && (kinds === undefined || kinds.includes(token.kind))) found.push(node);
      }
      await devices.remove(user, found);
      for (const node of found) await deliveries.forget(node);
      return found.length;
    };

    /** XEP-0357 §7. An unknown node and a wrong secret look the same. */
    const publish: IqHandler = async (request) => {
      if (!request.to.equals(own)) throw new StanzaError('item-not-found');
      const { node, secret, notice } = readPublished(request);
      const device = await devices.get(node);
      const isTheirs = device !== undefined && Jid.parse(device.user).domain === request.from.domain;
      if (device === undefined || !isSecretOf(device, secret) || !isTheirs)
        throw new StanzaError('item-not-found', 'There is no such node, or the secret is wrong.');
      if (!rates.take(node)) {
        host.limitHit('push_gateway.notifications_per_minute');
        throw new StanzaError('resource-constraint', 'Too many notifications for this device.', { type: 'wait' });
      }
      const lane = await laneOf(device.token);
      if (lane === undefined) throw new StanzaError('item-not-found', 'The gateway no longer wakes such devices.');
      if (await deliveries.add(node, { lane, notice }, live().ttl_seconds * 1000)) return;
      host.limitHit('push_gateway.pending');
      throw new StanzaError('resource-constraint', 'Too many notifications wait.', { type: 'wait' });
    };

    const checkEndpoint = (url: string, p256dh: string, auth: string): Token => {
      const keys = p256dh === '' && auth === '' ? undefined : validKeys(p256dh, auth);
      if (keys === undefined && `${p256dh}${auth}` !== '')
        throw new StanzaError('not-acceptable', 'The keys of the subscription are invalid.');
      try {
        return { kind: 'webpush', url: reach.check(url).href, ...(keys && { keys }) };
      } catch (error) {
        if (!(error instanceof UnreachableError)) throw error;
        throw new StanzaError('not-acceptable', `The endpoint cannot be used: ${error.message}.`);
      }
    };

    const registering = {
      address: owner,
      kinds,
      checkEndpoint,
      register: async (user: string, { name, token }: Registration) => {
        const account = Jid.parse(user);
        const isLocal = account.domain === host.domain;
        if (host.isAnonymous(user) || (isLocal && !(await host.accounts.exists(user))))
          throw new StanzaError('not-allowed', 'The account has no devices.');
        if (!byAccount.take(host.holderOf(account))) {
          host.limitHit('push_gateway.registrations_per_hour');
          throw new StanzaError('resource-constraint', 'Too many registrations. Try again later.', { type: 'wait' });
        }
        return devices.register(user, name, token);
      },
      unregister: remove,
    };

    // --- from everywhere --------------------------------------------------------------------------------------------

    const keysOf = async (keys: readonly string[] | undefined): Promise<readonly string[]> =>
      keys ?? (await deliveries.listDead({ limit: failedAtOnce })).map(([key]) => key);
    provide('pushGateway', {
      address: owner,
      failed: async (page) => host.askHome(listing, own, page),
      retry: async (keys) => host.askHome(change, own, { how: 'retry', keys: keys && [...keys] }),
      drop: async (keys) => host.askHome(change, own, { how: 'drop', keys: keys && [...keys] }),
    });

    return [
      service({ subdomain: config.subdomain }),
      iq.set('service', NS.pubsub, 'pubsub', publish),
      disco('service', {
        identities: ({ to }) => (to.equals(own) ? [{ category: 'pubsub', type: 'push', name: 'Push service' }] : []),
      }),
      ...commands({
        ...registering,
        access: config.access,
        vapidKey: async () => (await running()).vapid.keys.publicKey,
        list: (user) => devices.list(user),
        proof: async (user) => ({
          token: proofOf(await keyOfNodes(), user, wall()),
          url: host.publicUrl && `${host.publicUrl}${path}`,
        }),
      }).map(command),
      ...byHttp({ ...registering, host, rates: byAddress, key: keyOfNodes }),
      // Pages need it before they can ask the browser for a subscription.
      http('GET', '/push/vapid-key', async () => ({
        headers: { 'cache-control': 'max-age=3600' },
        body: await host.askHome(vapidKey, own, null),
      })),
      answers(vapidKey, async () => (await running()).vapid.keys.publicKey),
      answers(listing, async (page) => {
        const found = await deliveries.listDead(page);
        return Promise.all(
          found.map(async ([key, { at, tries, why = '' }]) => {
            const device = await devices.get(destinationIn(key));
            return { key, user: device?.user ?? '', at, tries, why };
          }),
        );
      }),
      answers(change, async ({ how, keys }) => {
        const all = await keysOf(keys);
        return how === 'drop' ? deliveries.drop(all) : deliveries.retry(all, live().ttl_seconds * 1000);
      }),
      answers(goOn, async () => {
        if (!isStopping) await deliveries.open();
        return null;
      }),
      answers(forgotten, async ({ account }) => {
        await remove(account);
        return null;
      }),
      event('accountDeleted', async ({ jid }) => {
        await host.askHome(forgotten, own, { account: jid.bare });
      }),
      event('moved', ({ concerns }) => {
        if (!concerns(owner)) return;
        deliveries.close();
        devices.forget();
        opening = undefined;
      }),
      // What was stored before a restart, or a move to another node, goes on.
      every(
        reminderMs,
        async () => {
          await host.askHome(goOn, own, null);
        },
        { job: 'push_gateway' },
      ),
      event('stopping', () => {
        isStopping = true;
        deliveries.close();
        poster.close();
        apns?.close();
        reach.close();
      }),
      metric({
        name: 'waxwing_push_gateway_pending',
        help: 'Notifications that wait for push services.',
        read: () => deliveries.size,
      }),
      ...(['delivered', 'retried', 'gone', 'dead'] as const).map((name) =>
        metric({
          name: `waxwing_push_gateway_${name}_total`,
          help: helps[name],
          read: () => deliveries.counts[name],
        }),
      ),
    ];
  },
});

const serviceAccountIn = (file: string): Promise<ServiceAccount> =>
  readFile(file, 'utf8')
    .then(readServiceAccount)
    .catch((error: Error) => {
      // The cause may quote the file, which has a private key.
      const isMissing = 'code' in error && typeof error.code === 'string' && /^E(?!RR_)/.test(error.code);
      throw new Error(`fcm.service_account: ${isMissing ? error.message : `${file} is not a service account`}`);
    });

const helps = {
  delivered: 'Notifications that push services took.',
  retried: 'Attempts that failed and are repeated.',
  gone: 'Devices that their push services no longer know.',
  dead: 'Notifications that were given up.',
} as const;
