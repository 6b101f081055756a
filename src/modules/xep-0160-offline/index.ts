/**
 * XEP-0160: stores messages until their recipient is online. Messages in flight to a client that acknowledges
 * (XEP-0198) are stored until it has acknowledged them: a message acknowledged to its sender is durable, or has been
 * delivered.
 *
 * A message in the archive (XEP-0313) is stored by its id alone, in `offline_archived`, and read from the archive in
 * pages; the archive bounds these, and a message that it trims is no longer an offline message. All others are stored
 * whole, in the log `offline`, bounded by `limits.offline_messages` and `bytes`; beyond that, the sender gets an error.
 *
 * A message in flight has a `Delivery` as its receipt, which knows where it is stored: until it is delivered (and
 * removed) or lost (and stays an offline message, as it does after a crash). A graceful shutdown persists the queues of
 * sessions that can be resumed, with the id of each stored message. The messages stay stored until they are delivered,
 * since the next process may crash.
 */
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { bytes } from '../../server/config/units.js';
import {
  binding,
  defineModule,
  event,
  log,
  type Maybe,
  map,
  message,
  portable,
  prefetch,
  repeatedFrame,
  storedFrom,
} from '../../server/module/index.js';
import type { Receipt } from '../../server/routing/link.js';
import type { MessagePassage } from '../../server/routing/passage.js';
import type { Session } from '../../server/routing/session.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { stanzaId, timeOf } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { withStanzaId } from '../../server/stanza/stanza-id.js';
import { sentXml, whole } from '../../server/stanza/stored.js';
import { portableOffline } from './portable.js';
import { isBacklogged, isForReachable, isReachable } from './reachable.js';
import { isDispensable, isOurs, isStorable, storedForm } from './stanzas.js';
import { type Entry, openOfflineStore, type Place, pageLength } from './store.js';

declare module '../../server/module/index.js' {
  interface Services {
    offline: {
      /** Resumes tracking a delivery after a restart, by the receipt's `reference`. */
      receipt(owner: Jid, reference: string): Receipt;
      /** Sends stored messages to the account's reachable sessions, unless they are in flight already. */
      readOut(owner: string): void;
    };
  }
}

/** Characters of messages in flight before delivery must be confirmed. */
const mostUnconfirmed = 262_144;

/** The stored messages of one account are being sent to its sessions. */
interface Flush {
  /** A message was added, or a session became reachable: read again before finishing. */
  again: boolean;
  /** A message was lost that may precede the last one sent: restart from the beginning, to keep the order. */
  back: boolean;
  /** A send is in progress: messages lost during it are not sent again. */
  sending: boolean;
  /** Ids of messages that came during the flush: no delay element for sessions that were online. */
  readonly live: Set<string>;
  /** Ids of messages delivered since the current page was read. */
  readonly arrived: Set<string>;
  /** Ends the wait for acknowledgements. */
  wake: () => void;
  /** Resolves when there is something to flush, or nothing. Until then no message has to wait for others. */
  readonly opening: Promise<void>;
  readonly opened: () => void;
}

export default defineModule({
  name: 'offline',
  summary: 'Stores messages for recipients that are offline.',
  implements: { 'XEP-0160': '1.0.1' },
  features: { server: ['msgoffline'] },
  provides: ['offline'],
  config: z.strictObject({
    bytes: bytes({ min: 0, unlimited: true })
      .default(8_388_608)
      .describe(
        'Maximum bytes of offline messages of one account that are not in its archive; further messages are refused. Their number is limited by limits.offline_messages.',
      ),
  }),
  // For archived messages: size in bytes, by archive id.
  stores: {
    offline: log({ storedAs: 'offline', value: sentXml }),
    offline_archived: map<number>({ storedAs: 'offline_archived', value: whole }),
  },
  wants: ['archive'],

  start: async ({ host, config, stores, services, provide, log: logger }) => {
    const messages = openOfflineStore({
      host,
      bytes: config.bytes,
      store: stores.offline,
      references: stores.offline_archived,
      archive: services.archive,
      failed: (error) => logger.error({ err: error }, 'delivered messages could not be removed from the offline store'),
    });
    /** Stored messages in flight, by account and id. Bounded by the session queues. */
    const inFlight = new Map<string, Map<string, Delivery>>();
    const flushes = new Map<string, Flush>();
    const reachable = (owner: string) => host.sessions(owner).filter(isReachable);

    const track = (owner: string, id: string, delivery: Delivery) => {
      const ids = inFlight.get(owner);
      if (ids === undefined) inFlight.set(owner, new Map([[id, delivery]]));
      else ids.set(id, delivery);
    };

    const untrack = (owner: string, id: string) => {
      const ids = inFlight.get(owner);
      if (ids?.delete(id) && ids.size === 0) inFlight.delete(owner);
    };

    /** A message in flight to one or more sessions. Delivered once any of them has it; lost once all have lost it. */
    class Delivery implements Receipt {
      #expected = Number.POSITIVE_INFINITY;
      #losses = 0;
      #over = false;

      constructor(
        readonly owner: Jid,
        readonly id: string,
        /** Where it is stored. Undefined if it is not, since its sender needs no acknowledgement. */
        public storedIn: Place | undefined,
        readonly isArchived: boolean,
        readonly ended: () => void = () => {},
      ) {
        if (storedIn !== undefined) track(owner.bare, id, this);
      }

      get reference(): string | undefined {
        if (this.#over) return '';
        return this.storedIn === undefined ? undefined : this.id;
      }

      /** Sets the number of sessions it was sent to. Until then it does not count as lost. */
      sentTo(to: number, stanza: Stanza): void {
        this.#expected = to;
        if (to > 0 && this.#losses >= to) this.#lose(stanza);
      }

      /** Counts one more session, to which the previous process sent it. */
      sentToAnother(): void {
        this.#expected = Number.isFinite(this.#expected) ? this.#expected + 1 : 1;
      }

      delivered(): void {
        if (this.#over) return;
        this.#end();
        if (this.storedIn === undefined) return;
        flushes.get(this.owner.bare)?.arrived.add(this.id);
        messages.remove(this.owner.bare, this.id, this.storedIn);
      }

      lost(stanza: Stanza): void {
        this.#losses++;
        if (this.#losses >= this.#expected) this.#lose(stanza);
      }

      /** Ends the delivery without an attempt. Returns whether the message stays stored. */
      cancel(): boolean {
        this.#end();
        return this.storedIn !== undefined;
      }

      #lose(stanza: Stanza): void {
        if (this.#over) return;
        this.#end();
        if (this.storedIn === undefined) {
          const stored = this.isArchived
            ? messages.refer(this.owner, this.id, stanza)
            : messages.append(this.owner, this.id, stanza);
          stored.catch((error: unknown) =>
            logger.error({ err: error }, 'an unacknowledged message could not be stored'),
          );
        }
        readOut(this.owner.bare, true);
      }

      #end(): void {
        this.#over = true;
        if (this.storedIn !== undefined) untrack(this.owner.bare, this.id);
        if (this.isArchived) messages.recount(this.owner.bare);
        this.ended();
      }
    }

    /** Sends stored messages to reachable sessions, in order and with back-pressure. */
    const flush = async (owner: string, state: Flush): Promise<void> => {
      try {
        let after: string | undefined;
        for (;;) {
          state.again = false;
          state.back = false;
          state.arrived.clear();
          const { entries, next } = await messages.page(owner, after);
          if (entries.length > 0 || next !== undefined) state.opened();
          let unconfirmed: Promise<void>[] = [];
          let size = 0;
          for (const entry of entries) {
            if (state.back) break;
            let sessions = reachable(owner);
            while (isBacklogged(sessions) && !state.back) {
              await room(sessions, state);
              sessions = reachable(owner);
            }
            if (state.back) break;
            if (sessions.length === 0) return;
            after = entry.id;
            if (inFlight.get(owner)?.has(entry.id) || state.arrived.has(entry.id)) continue;
            state.sending = true;
            unconfirmed.push(send(sessions, owner, entry, state.live.delete(entry.id)));
            state.sending = false;
            if (!sessions.some(({ hasRoom }) => hasRoom)) await room(sessions, state);
            size += entry.value.length;
            if (size < mostUnconfirmed) continue;
            await arrival(unconfirmed, state);
            unconfirmed = [];
            size = 0;
          }
          if (next !== undefined && !state.back) await arrival(unconfirmed, state);
          if (state.back) after = undefined;
          else if (next !== undefined) after = next;
          else if (!state.again) return;
        }
      } finally {
        // In the same turn as the last check: later messages are delivered directly.
        flushes.delete(owner);
        state.opened();
      }
    };

    /** Resolves when the message is delivered or lost. */
    const send = (
      sessions: readonly Session[],
      owner: string,
      { id, storedIn, value }: Entry,
      isLive: boolean,
    ): Promise<void> =>
      new Promise((resolve) => {
        const jid = Jid.parse(owner);
        const parsed = Stanza.parse(value);
        const own = storedIn === 'log' ? parsed : withStanzaId(parsed, id, jid);
        const stanza = isLive ? withoutOurDelay(own.with({ to: jid })) : storedForm(own, jid, host.domain, timeOf(id));
        const delivery = new Delivery(jid, id, storedIn, storedIn === 'archive', resolve);
        for (const to of sessions) to.send(stanza, delivery);
        delivery.sentTo(sessions.length, stanza);
      });

    /** Resolves when one of the sessions has room, or the flush must restart. */
    const room = (sessions: readonly Session[], state: Flush): Promise<void> =>
      new Promise((resolve) => {
        state.wake = resolve;
        for (const session of sessions) {
          // biome-ignore lint/correctness/useYield: called when there is room, and sends nothing
          const notify = (function* (): Generator<undefined, void> {
            resolve();
          })();
          void session.pour(notify, { lane: '/offline', replaces: true, failed: () => {}, stopped: resolve });
        }
      });

    const arrival = (unconfirmed: readonly Promise<void>[], state: Flush): Promise<unknown> => {
      const woken = new Promise<void>((resolve) => {
        state.wake = resolve;
      });
      return Promise.race([Promise.all(unconfirmed), woken]);
    };

    /** Removes messages that the client has read from the archive, except those in flight. */
    const drop = async (owner: string, ids: readonly string[]): Promise<void> => {
      if (!(await messages.hasArchived(owner))) return;
      const active = inFlight.get(owner);
      await messages.drop(
        owner,
        ids.filter((id) => active?.has(id) !== true),
      );
    };

    /** XEP-0386 §3.2: a client that binds this way reads the archive. */
    const dropArchived = async (owner: string): Promise<void> => {
      for (let after: string | undefined; ; ) {
        const ids = await messages.archivedIds(owner, after);
        if (ids.length > 0) await drop(owner, ids);
        if (ids.length < pageLength) return;
        after = ids.at(-1);
      }
    };

    /** Starts a flush, or makes the running one read again. */
    const readOut = (owner: string, back = false): void => {
      const running = flushes.get(owner);
      if (running !== undefined) {
        if (running.sending) return;
        running.again = true;
        if (!back) return;
        running.back = true;
        running.wake();
        return;
      }
      if (reachable(owner).length === 0) return;
      let opened = () => {};
      const opening = new Promise<void>((resolve) => {
        opened = resolve;
      });
      const state: Flush = {
        again: false,
        back: false,
        sending: false,
        live: new Set(),
        arrived: new Set(),
        wake: () => {},
        opening,
        opened,
      };
      flushes.set(owner, state);
      flush(owner, state).catch((error: unknown) => logger.error({ err: error }, 'offline messages could not be read'));
    };

    /** A session became reachable: do not make it wait for another client's acknowledgements. */
    const welcome = (owner: string): void => {
      readOut(owner);
      flushes.get(owner)?.wake();
    };

    const withoutOurDelay = (stanza: Stanza): Stanza =>
      stanza.without(NS.delay, 'delay', ({ from }) => isOurs(from, host.domain));
    const hasDelay = (stanza: Stanza): boolean => withoutOurDelay(stanza) !== stanza;

    const store = (passage: MessagePassage, hasRoomYet: boolean): 'handled' => {
      const { owner, archivedAs } = passage;
      if (!hasRoomYet) throw new StanzaError('service-unavailable'); // XEP-0160 §2
      const id = archivedAs ?? stanzaId(owner.bare);
      const running = flushes.get(owner.bare);
      // Its recipient was online when it came; only older messages precede it.
      if (running !== undefined && !isBacklogged(passage.sessions) && !hasDelay(passage.seen)) running.live.add(id);
      if (archivedAs === undefined) passage.acknowledgeAfter(messages.append(owner, id, passage.seen, passage.origin));
      else {
        // The former home of the account may have referred to it already.
        if (repeatedFrame(passage.origin) === undefined) messages.referred(owner.bare);
        else messages.recount(owner.bare);
        passage.acknowledgeAfter(messages.refer(owner, id, passage.seen));
      }
      readOut(owner.bare);
      return 'handled';
    };

    /** A message that the former home of the account has stored is read from there. */
    const unlessStored = (
      passage: MessagePassage,
      run: (passage: MessagePassage) => Maybe<'handled' | undefined>,
    ): Maybe<'handled' | undefined> => {
      const { owner, archivedAs, origin, seen } = passage;
      const frame = repeatedFrame(origin);
      if (frame === undefined || archivedAs !== undefined) return run(passage);
      return storedFrom(stores.offline, owner.bare, frame, seen).then((id) => {
        if (id === undefined) return run(passage);
        readOut(owner.bare);
        return 'handled';
      });
    };

    /** Stores a message after those being flushed, so that it does not overtake them. */
    const storeIfRoom = (passage: MessagePassage): Maybe<'handled'> => {
      // The archive stores and bounds it, so there is always room.
      if (passage.archivedAs !== undefined) return store(passage, true);
      const room = messages.hasRoom(passage.owner.bare);
      return room instanceof Promise ? room.then((yes) => store(passage, yes)) : store(passage, room);
    };

    /** Runs once it is known whether the account has stored messages, which go first. */
    const afterOpening = (
      passage: MessagePassage,
      run: (passage: MessagePassage) => Maybe<'handled' | undefined>,
    ): Maybe<'handled' | undefined> => {
      const flush = flushes.get(passage.owner.bare);
      return flush === undefined ? run(passage) : flush.opening.then(() => run(passage));
    };

    /** A message on its way to clients: stored until one has acknowledged it, or sent with the stored ones. */
    const keep = (passage: MessagePassage): Maybe<'handled' | undefined> => {
      const { owner, origin, sessions, archivedAs } = passage;
      if ((flushes.has(owner.bare) || isBacklogged(sessions)) && isForReachable(passage)) return storeIfRoom(passage);
      if (!sessions.some(({ acknowledges }) => acknowledges)) return undefined;
      const isArchived = archivedAs !== undefined;
      const storedIn = origin.acknowledges ? (isArchived ? 'archive' : 'log') : undefined;
      const delivery = new Delivery(owner, archivedAs ?? stanzaId(owner.bare), storedIn, isArchived);
      passage.receipt = delivery;
      if (storedIn === undefined) return undefined;
      const written = (isArchived ? messages.refer : messages.append)(owner, delivery.id, passage.seen, origin);
      passage.acknowledgeAfter(written);
      written.catch(() => {
        untrack(owner.bare, delivery.id);
        delivery.storedIn = undefined;
      });
      return undefined;
    };

    /** A flush may have started since `keep`: the message must not overtake it. */
    const queue = (passage: MessagePassage): Maybe<'handled' | undefined> => {
      const { owner, receipt } = passage;
      const running = flushes.get(owner.bare);
      if (running === undefined || !isForReachable(passage)) return undefined;
      if (!(receipt instanceof Delivery) || !receipt.cancel()) return storeIfRoom(passage);
      if (!hasDelay(passage.seen)) running.live.add(receipt.id);
      readOut(owner.bare);
      return 'handled';
    };

    provide('offline', {
      receipt: (owner, reference) => {
        if (reference === '') return alreadyDelivered;
        const delivery = inFlight.get(owner.bare)?.get(reference) ?? new Delivery(owner, reference, 'either', true);
        delivery.sentToAnother();
        return delivery;
      },
      readOut: (owner) => readOut(owner),
    });

    return [
      portable(
        portableOffline({
          host,
          messages,
          store: stores.offline,
          references: stores.offline_archived,
          archive: services.archive,
        }),
      ),
      prefetch(({ bare }) => (reachable(bare).length === 0 ? messages.prefetch(bare) : undefined)),
      message(
        'clean',
        (passage) => {
          // XEP-0203 §6: clients must be able to trust delays stamped by the host.
          if (passage.way === 'in' && passage.peer.full === host.domain) return;
          passage.stanza = withoutOurDelay(passage.stanza);
        },
        { skips: (stanza) => withoutOurDelay(stanza) === stanza },
      ),
      message(
        'archive',
        (passage) => {
          const { way, sessions } = passage;
          if (way !== 'in' || sessions.length === 0 || !isStorable(passage.stanza)) return undefined;
          return afterOpening(passage, (opened) => unlessStored(opened, keep));
        },
        { after: ['mam'] },
      ),
      message('deliver', (passage) => {
        if (passage.way !== 'in' || !flushes.has(passage.owner.bare) || !isStorable(passage.stanza)) return undefined;
        return afterOpening(passage, queue);
      }),
      message(
        'copy',
        ({ receipt, deliveredTo, copies, seen }) => {
          if (receipt instanceof Delivery && deliveredTo.length > 0) receipt.sentTo(deliveredTo.length + copies, seen);
        },
        { after: ['carbons'] },
      ),
      message('absent', (passage) => {
        const { receipt, stanza } = passage;
        if (receipt instanceof Delivery && receipt.cancel()) {
          readOut(passage.owner.bare);
          return 'handled';
        }
        if (isStorable(stanza)) return unlessStored(passage, storeIfRoom);
        return isDispensable(stanza) ? 'handled' : undefined;
      }),
      event('available', ({ session: { jid, priority } }) => {
        if (priority >= 0) welcome(jid.bare);
      }),
      event('presenceChanged', ({ session: { jid, priority }, priorityBefore }) => {
        if (priority >= 0 && priorityBefore < 0) welcome(jid.bare);
      }),
      event('moved', ({ concerns }) => {
        messages.deleteIf(concerns);
        for (const owner of inFlight.keys()) if (concerns(owner)) inFlight.delete(owner);
        // They find no session.
        for (const [owner, { wake }] of flushes) if (concerns(owner)) wake();
      }),
      event('archiveRead', ({ owner, ids }) => drop(owner.bare, ids)),
      binding(({ jid }) => dropArchived(jid.bare)),
      event('accountDeleted', ({ jid }) => messages.recount(jid.bare), { before: 'all' }),
    ];
  },
});

/** For a message that was already delivered elsewhere. */
const alreadyDelivered: Receipt = { delivered() {}, lost() {}, reference: '' };
