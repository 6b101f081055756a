/**
 * Webhooks: programs that are named in the configuration are notified of events by HTTPS, at least once, and in order for each
 * account, room or address. An event is on disk before a message is acknowledged or an account made; it is tried until a
 * receiver takes it, and given up after many attempts (server/outbound/deliveries.ts).
 *
 * The queue of a host lives at the home of the host's own address; other nodes hand their events over.
 */
import { readFile } from 'node:fs/promises';
import { rootCertificates } from 'node:tls';
import { z } from 'zod';
import type { Jid } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import { networks } from '../../server/config/address.js';
import {
  answers,
  defineModule,
  defineQuestion,
  event,
  every,
  type Hook,
  map,
  message,
  metric,
} from '../../server/module/index.js';
import { Deliveries, destinationIn, type StoredDelivery } from '../../server/outbound/deliveries.js';
import { Poster } from '../../server/outbound/post.js';
import { Reach } from '../../server/outbound/reach.js';
import type { MessagePassage } from '../../server/routing/passage.js';
import type { Session } from '../../server/routing/session.js';
import { stanzaId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { cli } from './cli.js';
import { keyOf, send } from './request.js';
import type { FailedEvent } from './services.js';
import { type EventKind, kinds, minSecret, type Settings, settings } from './settings.js';

/** An event as it is sent: `body` is JSON. */
interface Told {
  readonly id: string;
  readonly kind: EventKind;
  readonly body: string;
}
const told: z.ZodType<Told> = z.object({ id: z.string(), kind: z.enum(kinds), body: z.string() });
const delivery: z.ZodType<StoredDelivery<Told>> = z.object({
  value: told,
  at: z.number(),
  until: z.number(),
  tries: z.number(),
  why: z.string().optional(),
});

/** No name of a receiver has it. */
const separator = ':';
/** Of an attempt, in ms: longer than a request may take. */
const attemptMs = 30_000;
const reminderMs = 10_000;
/** Events that a command without a key concerns at most. */
const failedAtOnce = 1000;

const adding = defineQuestion({
  name: 'webhooks.add',
  given: z.object({ destinations: z.array(z.string()), value: told }),
  answer: z.null(),
});
const listing = defineQuestion<{ readonly after?: string | undefined; readonly limit: number }, readonly FailedEvent[]>(
  {
    name: 'webhooks.failed',
    given: z.object({ after: z.string().optional(), limit: z.number() }),
    answer: z.array(
      z.object({
        key: z.string(),
        receiver: z.string(),
        kind: z.string(),
        owner: z.string(),
        at: z.number(),
        tries: z.number(),
        why: z.string(),
      }),
    ),
  },
);
const change = defineQuestion({
  name: 'webhooks.change',
  given: z.object({ how: z.enum(['retry', 'drop']), keys: z.array(z.string()).optional() }),
  answer: z.number(),
});
const goOn = defineQuestion({ name: 'webhooks.go_on', given: z.null(), answer: z.null() });

interface Receiver {
  readonly name: string;
  readonly url: string;
  readonly key: Buffer;
  readonly events: ReadonlySet<EventKind>;
  readonly content: boolean;
}

export default defineModule({
  name: 'webhooks',
  summary: 'Tells programs of events by signed HTTPS requests.',
  implements: {},
  optional: true,
  config: settings,
  stores: {
    pending: map<StoredDelivery<Told>>({ value: delivery }),
    failed: map<StoredDelivery<Told>>({ value: delivery }),
  },
  provides: ['webhooks'],
  cli,

  start: async ({ host, config, stores, provide, log }) => {
    const own = host.jid;
    const owner = own.full;
    const live = () => host.config.modules.webhooks as Settings;
    const allowed = networks(config.allow_networks);
    const reach = new Reach({ allowed: () => allowed, dns: host.config.s2s.dns_servers });
    const ca = config.ca === '' ? undefined : [...rootCertificates, await readFile(config.ca, 'utf8')];
    const poster = new Poster(reach, ca);
    const receivers = new Map<string, Receiver>();
    for (const [name, one] of Object.entries(config.receivers)) receivers.set(name, await receiverOf(name, one, reach));
    let lost = 0;

    // --- at the queue's home ------------------------------------------------------------------------------------------

    const deliveries = new Deliveries<Told>({
      owner,
      pending: stores.pending,
      dead: stores.failed,
      id: () => stanzaId(owner),
      laneOf: (destination) => partsOf(destination).receiver,
      attempt: async (destination, { id, body }) => {
        const receiver = receivers.get(partsOf(destination).receiver);
        return receiver === undefined ? { kind: 'gone' } : send(poster, { ...receiver, id, body });
      },
      remains: withoutContent,
      merge: () => undefined,
      // It is not in the configuration any more.
      gone: async () => {},
      limits: () => {
        const { pending, failed, tries, at_once } = live();
        return { pending, dead: failed, tries, atOnce: at_once, timeoutMs: attemptMs };
      },
      outage: (lane, isOver, error) => {
        if (isOver) log.info({ receiver: lane }, 'a receiver of webhooks works again');
        else log.warn({ receiver: lane, err: error }, 'a receiver of webhooks does not work; its events wait');
      },
      broke: (error) => log.error({ err: error }, 'an event could not be delivered'),
    });

    // --- from everywhere ----------------------------------------------------------------------------------------------

    /** Resolves once it is durable. Never rejects: what it is about goes on. `dataFor`: with or without content. */
    const tell = async (
      kind: EventKind,
      about: string,
      name: string,
      dataFor: (withContent: boolean) => object,
    ): Promise<void> => {
      const id = stanzaId(owner);
      const at = new Date(wall()).toISOString();
      for (const withContent of [false, true]) {
        const destinations = [...receivers.values()]
          .filter(({ events, content }) => events.has(kind) && content === withContent)
          .map((one) => one.name + separator + about);
        if (destinations.length === 0) continue;
        const body = JSON.stringify({
          id,
          type: `${kind}.${name}`,
          timestamp: at,
          host: host.domain,
          data: dataFor(withContent),
        });
        try {
          await host.askHome(adding, own, { destinations, value: { id, kind, body } });
        } catch (error) {
          lost += destinations.length;
          log.error({ err: error, event: kind }, 'an event could not be queued, and is lost');
        }
      }
    };
    const wanted = new Set([...receivers.values()].flatMap(({ events }) => [...events]));

    const passes = (passage: MessagePassage): void => {
      const { way, owner: account, stanza, archivedAs } = passage;
      if (stanza.type === 'error' || (archivedAs === undefined && !stanza.has(NS.client, 'body'))) return;
      const from = stanza.from?.full;
      const base = {
        account: account.bare,
        from,
        to: stanza.to?.full,
        type: stanza.type ?? 'normal',
        id: stanza.id,
        archive_id: archivedAs,
      };
      const told = tell('message', account.bare, way === 'out' ? 'sent' : 'received', (withContent) => ({
        ...base,
        ...(withContent && { body: stanza.text(NS.client, 'body') }),
      }));
      passage.acknowledgeAfter(told);
    };

    const shows = (session: Session, presence: Stanza | undefined) => {
      const base = { account: session.jid.bare, session: session.jid.full, show: presence?.text(NS.client, 'show') };
      return tell(
        'presence',
        session.jid.bare,
        presence === undefined ? 'unavailable' : 'available',
        (withContent) => ({
          ...base,
          ...(withContent && { status: presence?.text(NS.client, 'status') }),
        }),
      );
    };

    const ofAccount = (name: string) => (given: { readonly jid: Jid; readonly isAnonymous?: boolean }) =>
      given.isAnonymous === true
        ? undefined
        : tell('account', given.jid.bare, name, () => ({ account: given.jid.bare }));

    const hooksOf: Readonly<Record<EventKind, () => readonly Hook[]>> = {
      message: () => [message('archive', passes, { after: ['mam'], before: ['offline'] })],
      presence: () => [
        event('available', ({ session }) => shows(session, session.presence)),
        event('presenceChanged', ({ session }) => shows(session, session.presence)),
        event('unavailable', ({ session }) => shows(session, undefined)),
      ],
      account: () => [
        event('accountCreated', ofAccount('created')),
        event('passwordChanged', ofAccount('password_changed')),
        event('accountDisabled', ofAccount('disabled')),
        event('accountDeleted', ofAccount('deleted')),
      ],
      room: () => [
        event('roomCreated', ({ room, by }) =>
          tell('room', room.bare, 'created', () => ({ room: room.bare, by: by?.bare })),
        ),
        event('roomDestroyed', ({ room }) => tell('room', room.bare, 'destroyed', () => ({ room: room.bare }))),
      ],
      report: () => [
        event('reported', ({ id, by, about, room, reason }) =>
          tell('report', about.bare, 'made', () => ({
            report: id,
            by: by.bare,
            about: about.full,
            room: room?.bare,
            reason,
          })),
        ),
      ],
    };

    const keysOf = async (keys: readonly string[] | undefined): Promise<readonly string[]> =>
      keys ?? (await deliveries.listDead({ limit: failedAtOnce })).map(([key]) => key);
    provide('webhooks', {
      failed: async (page) => host.askHome(listing, own, page),
      retry: async (keys) => host.askHome(change, own, { how: 'retry', keys: keys && [...keys] }),
      drop: async (keys) => host.askHome(change, own, { how: 'drop', keys: keys && [...keys] }),
    });

    return [
      ...kinds.filter((kind) => wanted.has(kind)).flatMap((kind) => hooksOf[kind]()),
      answers(adding, async ({ destinations, value }) => {
        for (const destination of destinations)
          if (!(await deliveries.add(destination, value, live().keep_seconds * 1000))) {
            lost++;
            host.limitHit('webhooks.pending');
          }
        return null;
      }),
      answers(listing, async (page) =>
        (await deliveries.listDead(page)).map(([key, { value, at, tries, why = '' }]) => {
          const { receiver, about } = partsOf(destinationIn(key));
          return { key, receiver, kind: value.kind, owner: about, at, tries, why };
        }),
      ),
      answers(change, async ({ how, keys }) => {
        const all = await keysOf(keys);
        return how === 'drop' ? deliveries.drop(all) : deliveries.retry(all, live().keep_seconds * 1000);
      }),
      answers(goOn, async () => {
        await deliveries.open();
        return null;
      }),
      event('moved', ({ concerns }) => {
        if (concerns(owner)) deliveries.close();
      }),
      // What was stored before a restart, or a move to another node, goes on.
      every(
        reminderMs,
        async () => {
          await host.askHome(goOn, own, null);
        },
        { job: 'webhooks' },
      ),
      event('stopping', () => {
        deliveries.stop();
        poster.close();
        reach.close();
      }),
      metric({
        name: 'waxwing_webhooks_pending',
        help: 'Events that wait for receivers.',
        read: () => deliveries.size,
      }),
      metric({ name: 'waxwing_webhooks_lost_total', help: 'Events that could not be queued.', read: () => lost }),
      metric({
        name: 'waxwing_webhooks_delivered_total',
        help: 'Events that receivers took.',
        read: () => deliveries.counts.delivered,
      }),
      metric({
        name: 'waxwing_webhooks_retried_total',
        help: 'Attempts that failed and are repeated.',
        read: () => deliveries.counts.retried,
      }),
      metric({
        name: 'waxwing_webhooks_dead_total',
        help: 'Events that were given up.',
        read: () => deliveries.counts.dead,
      }),
    ];
  },
});

/** What people wrote is not kept for the administrator: it would outlive their accounts. */
function withoutContent({ body, ...rest }: Told): Told {
  const event = JSON.parse(body) as { readonly data: object };
  return { ...rest, body: JSON.stringify({ ...event, data: { ...event.data, body: undefined, status: undefined } }) };
}

function partsOf(destination: string): { readonly receiver: string; readonly about: string } {
  const at = destination.indexOf(separator);
  return { receiver: destination.slice(0, at), about: destination.slice(at + 1) };
}

/** Rejects with what is wrong with its settings. */
async function receiverOf(name: string, one: Settings['receivers'][string], reach: Reach): Promise<Receiver> {
  const wrong = (what: string, cause?: unknown) => new Error(`receivers.${name}: ${what}`, { cause });
  if ((one.secret === '') === (one.secret_file === '')) throw wrong('set either secret or secret_file');
  const read = async () =>
    (
      await readFile(one.secret_file, 'utf8').catch((error: Error) => {
        throw wrong(`secret_file cannot be read: ${error.message}`, error);
      })
    ).trim();
  const secret = one.secret === '' ? await read() : one.secret;
  if (secret.length < minSecret) throw wrong(`the secret has fewer than ${minSecret} characters`);
  try {
    reach.check(one.url);
  } catch (error) {
    throw wrong(`url cannot be used: ${(error as Error).message}`, error);
  }
  return { name, url: one.url, key: keyOf(secret), events: new Set(one.events), content: one.content };
}
