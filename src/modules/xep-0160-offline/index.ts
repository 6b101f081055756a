/**
 * XEP-0160: messages for somebody who is not there are kept until he is. And what is on its way to somebody whose client
 * acknowledges (XEP-0198) is kept until that has: what its sender was told is done is on disk, or has arrived.
 *
 * What the archive (XEP-0313) has is kept by its id alone, among the `offline_archived`, and read from there in pages; the
 * archive bounds it, and what the archive trims is no offline message any more. All else is kept whole, in the log
 * `offline`, which is bounded by `limits.offline_messages` and `bytes`; beyond that the sender is refused.
 *
 * A message that goes out has a `Delivery` for a receipt, which knows where it is `kept` meanwhile: until it has arrived (and
 * is removed) or was lost (and is an offline message as any other, as it is after a crash). A process that stops in order
 * writes down the queues of the sessions that can be resumed, and the id that each of their messages is kept by; it stays
 * there until it arrived, since the next process may crash.
 */
import { z } from 'zod';
import { bytes } from '../../server/config/units.js';
import { binding, defineModule, event, log, map, message, prefetch } from '../../server/module/index.js';
import type { Receipt } from '../../server/routing/link.js';
import type { MessagePassage } from '../../server/routing/passage.js';
import type { Session } from '../../server/routing/session.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { stanzaId, timeOf } from '../../server/stanza/ids.js';
import { Jid } from '../../server/stanza/jid.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { withStanzaId } from '../../server/stanza/stanza-id.js';
import { sentXml, whole } from '../../server/stanza/stored.js';
import { type Entry, type Kept, openKept, pageLength } from './kept.js';
import { isBacklogged, isForReachable, isReachable } from './reachable.js';
import { asKept, isDispensable, isOurs, isWorthKeeping } from './stanzas.js';

declare module '../../server/module/index.js' {
  interface Services {
    offline: {
      /** Takes up the delivery of a message again, after a restart: what was the receipt's `reference`. */
      receipt(owner: Jid, reference: string): Receipt;
      /** Sends what is kept to those of the account who are there and have not been sent it. */
      readOut(owner: string): void;
    };
  }
}

/** Characters of messages that go out before the first must have arrived. */
const mostOnTheWay = 262_144;

/** The log of one account is being read out to its sessions. */
interface Flush {
  /** Something was added, or somebody came: look again before it is over. */
  again: boolean;
  /** Something was lost, which may lie before what was sent last: go on from the beginning, so that order is kept. */
  back: boolean;
  /** What is lost while it is being sent is not sent again. */
  sending: boolean;
  /** Ids of what came while it was being read out: it is not delayed for anybody who is there. */
  readonly live: Set<string>;
  /** Ids of what arrived elsewhere since the present page was read. */
  readonly arrived: Set<string>;
  /** Ends the wait for acknowledgements. */
  wake: () => void;
}

export default defineModule({
  name: 'offline',
  summary: 'Keeps messages for those who are not there.',
  implements: { 'XEP-0160': '1.0.1' },
  features: { server: ['msgoffline'] },
  provides: ['offline'],
  config: z.strictObject({
    bytes: bytes({ min: 0, unlimited: true })
      .default(8_388_608)
      .describe(
        'Bytes of the same: what is kept of one account while it is offline and is not in its archive; further messages are refused. Their number is limits.offline_messages.',
      ),
  }),
  // Of what the archive has: its bytes, by its id.
  stores: {
    offline: log({ storedAs: 'offline', value: sentXml }),
    offline_archived: map<number>({ storedAs: 'offline_archived', value: whole }),
  },
  wants: ['archive'],

  start: async ({ host, config, stores, services, provide, log: logger }) => {
    const messages = openKept({
      host,
      bytes: config.bytes,
      store: stores.offline,
      references: stores.offline_archived,
      archive: services.archive,
      failed: (error) => logger.error({ err: error }, 'messages that arrived could not be removed'),
    });
    /** Ids of kept messages that some session has been sent, by account. As many as session queues hold. */
    const inFlight = new Map<string, Map<string, Delivery>>();
    const flushes = new Map<string, Flush>();
    const reachable = (owner: string) => host.sessions(owner).filter(isReachable);

    const setOff = (owner: string, id: string, delivery: Delivery) => {
      const ids = inFlight.get(owner);
      if (ids === undefined) inFlight.set(owner, new Map([[id, delivery]]));
      else ids.set(id, delivery);
    };

    const landed = (owner: string, id: string) => {
      const ids = inFlight.get(owner);
      if (ids?.delete(id) && ids.size === 0) inFlight.delete(owner);
    };

    /** One message on its way to one or more sessions. The first that has it counts; lost is what all have lost. */
    class Delivery implements Receipt {
      #expected = Number.POSITIVE_INFINITY;
      #losses = 0;
      #over = false;

      constructor(
        readonly owner: Jid,
        readonly id: string,
        /** undefined: nowhere, its sender is not told that it was. */
        public kept: Kept | undefined,
        readonly isArchived: boolean,
        readonly settled: () => void = () => {},
      ) {
        if (kept !== undefined) setOff(owner.bare, id, this);
      }

      get reference(): string | undefined {
        if (this.#over) return '';
        return this.kept === undefined ? undefined : this.id;
      }

      /** To so many sessions it went; before that is known, nothing is lost. */
      went(to: number, stanza: Stanza): void {
        this.#expected = to;
        if (to > 0 && this.#losses >= to) this.#lose(stanza);
      }

      /** To one more session it went, in the process before. */
      wentBefore(): void {
        this.#expected = Number.isFinite(this.#expected) ? this.#expected + 1 : 1;
      }

      delivered(): void {
        if (this.#over) return;
        this.#end();
        if (this.kept === undefined) return;
        flushes.get(this.owner.bare)?.arrived.add(this.id);
        messages.remove(this.owner.bare, this.id, this.kept);
      }

      lost(stanza: Stanza): void {
        this.#losses++;
        if (this.#losses >= this.#expected) this.#lose(stanza);
      }

      /** It is not on its way: it stays where it is kept. Whether it is. */
      stay(): boolean {
        this.#end();
        return this.kept !== undefined;
      }

      #lose(stanza: Stanza): void {
        if (this.#over) return;
        this.#end();
        if (this.kept === undefined) {
          const kept = this.isArchived
            ? messages.refer(this.owner, this.id, stanza)
            : messages.append(this.owner, this.id, stanza);
          kept.catch((error: unknown) =>
            logger.error({ err: error }, 'a message that was not acknowledged could not be kept'),
          );
        }
        readOut(this.owner.bare, true);
      }

      #end(): void {
        this.#over = true;
        if (this.kept !== undefined) landed(this.owner.bare, this.id);
        if (this.isArchived) messages.recount(this.owner.bare);
        this.settled();
      }
    }

    /** Sends what is kept to those who are there, in order, no more at a time than they can take. */
    const flush = async (owner: string, state: Flush): Promise<void> => {
      try {
        let after: string | undefined;
        for (;;) {
          state.again = false;
          state.back = false;
          state.arrived.clear();
          const { entries, next } = await messages.page(owner, after);
          let onTheWay: Promise<void>[] = [];
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
            onTheWay.push(send(sessions, owner, entry, state.live.delete(entry.id)));
            state.sending = false;
            if (!sessions.some(({ hasRoom }) => hasRoom)) await room(sessions, state);
            size += entry.value.length;
            if (size < mostOnTheWay) continue;
            await arrival(onTheWay, state);
            onTheWay = [];
            size = 0;
          }
          if (next !== undefined && !state.back) await arrival(onTheWay, state);
          if (state.back) after = undefined;
          else if (next !== undefined) after = next;
          else if (!state.again) return;
        }
      } finally {
        // In the turn of the last look: what comes now goes out directly.
        flushes.delete(owner);
      }
    };

    /** Resolves when it has arrived somewhere, or nowhere. */
    const send = (
      sessions: readonly Session[],
      owner: string,
      { id, kept, value }: Entry,
      isLive: boolean,
    ): Promise<void> =>
      new Promise((resolve) => {
        const jid = Jid.parse(owner);
        const parsed = Stanza.parse(value);
        const own = kept === 'log' ? parsed : withStanzaId(parsed, id, jid);
        const stanza = isLive ? withoutOurDelay(own.with({ to: jid })) : asKept(own, jid, host.domain, timeOf(id));
        const delivery = new Delivery(jid, id, kept, kept === 'archive', resolve);
        for (const to of sessions) to.send(stanza, delivery);
        delivery.went(sessions.length, stanza);
      });

    /** Resolves when one of them has room for more, or there is news. */
    const room = (sessions: readonly Session[], state: Flush): Promise<void> =>
      new Promise((resolve) => {
        state.wake = resolve;
        for (const session of sessions) {
          // biome-ignore lint/correctness/useYield: it is called when there is room, and has nothing to send
          const told = (function* (): Generator<undefined, void> {
            resolve();
          })();
          void session.pour(told, { lane: '/offline', replaces: true, failed: () => {}, stopped: resolve });
        }
      });

    const arrival = (onTheWay: readonly Promise<void>[], state: Flush): Promise<unknown> => {
      const woken = new Promise<void>((resolve) => {
        state.wake = resolve;
      });
      return Promise.race([Promise.all(onTheWay), woken]);
    };

    /** Its client has these from the archive. What is on its way to some session stays until that has it. */
    const drop = async (owner: string, ids: readonly string[]): Promise<void> => {
      if (!(await messages.hasArchived(owner))) return;
      const onTheirWay = inFlight.get(owner);
      await messages.drop(
        owner,
        ids.filter((id) => onTheirWay?.has(id) !== true),
      );
    };

    /** XEP-0386 §3.2: whoever binds so reads the archive. */
    const dropArchived = async (owner: string): Promise<void> => {
      for (let after: string | undefined; ; ) {
        const ids = await messages.archivedIds(owner, after);
        if (ids.length > 0) await drop(owner, ids);
        if (ids.length < pageLength) return;
        after = ids.at(-1);
      }
    };

    /** There is something kept for those who are there. */
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
      const state: Flush = {
        again: false,
        back: false,
        sending: false,
        live: new Set(),
        arrived: new Set(),
        wake: () => {},
      };
      flushes.set(owner, state);
      flush(owner, state).catch((error: unknown) => logger.error({ err: error }, 'offline messages could not be read'));
    };

    /** Somebody is there now, and does not wait for what another client takes its time to acknowledge. */
    const welcome = (owner: string): void => {
      readOut(owner);
      flushes.get(owner)?.wake();
    };

    const withoutOurDelay = (stanza: Stanza): Stanza =>
      stanza.without(NS.delay, 'delay', ({ from }) => isOurs(from, host.domain));
    const hasDelay = (stanza: Stanza): boolean => withoutOurDelay(stanza) !== stanza;

    const keep = (passage: MessagePassage, hasRoomYet: boolean): 'handled' => {
      const { owner, archivedAs } = passage;
      if (!hasRoomYet) throw new StanzaError('service-unavailable'); // XEP-0160 §2
      const id = archivedAs ?? stanzaId(owner.bare);
      const running = flushes.get(owner.bare);
      // Its recipient was there when it came, and only waits for what is older.
      if (running !== undefined && !isBacklogged(passage.sessions) && !hasDelay(passage.seen)) running.live.add(id);
      if (archivedAs === undefined) passage.acknowledgeAfter(messages.append(owner, id, passage.seen));
      else {
        messages.referred(owner.bare);
        passage.acknowledgeAfter(messages.refer(owner, id, passage.seen));
      }
      readOut(owner.bare);
      return 'handled';
    };

    /** Behind what is being read out, so that it does not overtake it. */
    const keepOrAsk = (passage: MessagePassage): 'handled' | Promise<'handled'> => {
      // The archive has it already, and bounds what it has: all of that is delivered.
      if (passage.archivedAs !== undefined) return keep(passage, true);
      const room = messages.hasRoom(passage.owner.bare);
      return room instanceof Promise ? room.then((yes) => keep(passage, yes)) : keep(passage, room);
    };

    provide('offline', {
      receipt: (owner, reference) => {
        if (reference === '') return settled;
        const delivery = inFlight.get(owner.bare)?.get(reference) ?? new Delivery(owner, reference, 'either', true);
        delivery.wentBefore();
        return delivery;
      },
      readOut: (owner) => readOut(owner),
    });

    return [
      prefetch(({ bare }) => (reachable(bare).length === 0 ? messages.prefetch(bare) : undefined)),
      message(
        'clean',
        (passage) => {
          // XEP-0203 §6: our word on delays is ours.
          if (passage.way === 'in' && passage.peer.full === host.domain) return;
          passage.stanza = withoutOurDelay(passage.stanza);
        },
        { skips: (stanza) => withoutOurDelay(stanza) === stanza },
      ),
      message(
        'archive',
        (passage) => {
          const { way, owner, origin, sessions } = passage;
          if (way !== 'in' || sessions.length === 0 || !isWorthKeeping(passage.stanza)) return undefined;
          if ((flushes.has(owner.bare) || isBacklogged(sessions)) && isForReachable(passage)) return keepOrAsk(passage);
          if (!sessions.some(({ acknowledges }) => acknowledges)) return undefined;
          const { archivedAs } = passage;
          const isArchived = archivedAs !== undefined;
          const kept = origin.acknowledges ? (isArchived ? 'archive' : 'log') : undefined;
          const delivery = new Delivery(owner, archivedAs ?? stanzaId(owner.bare), kept, isArchived);
          passage.receipt = delivery;
          if (kept === undefined) return undefined;
          const written = (isArchived ? messages.refer : messages.append)(owner, delivery.id, passage.seen);
          passage.acknowledgeAfter(written);
          written.catch(() => {
            landed(owner.bare, delivery.id);
            delivery.kept = undefined;
          });
          return undefined;
        },
        { after: ['mam'] },
      ),
      // Others may have been waited for since, and somebody have come meanwhile: it must not overtake what is read out to him.
      message('deliver', (passage) => {
        const { way, owner, receipt } = passage;
        if (way !== 'in' || !flushes.has(owner.bare)) return undefined;
        if (!isWorthKeeping(passage.stanza) || !isForReachable(passage)) return undefined;
        if (!(receipt instanceof Delivery) || !receipt.stay()) return keepOrAsk(passage);
        if (!hasDelay(passage.seen)) flushes.get(owner.bare)!.live.add(receipt.id);
        readOut(owner.bare);
        return 'handled';
      }),
      message(
        'copy',
        ({ receipt, deliveredTo, copies, seen }) => {
          if (receipt instanceof Delivery && deliveredTo.length > 0) receipt.went(deliveredTo.length + copies, seen);
        },
        { after: ['carbons'] },
      ),
      message('absent', (passage) => {
        const { receipt, stanza } = passage;
        if (receipt instanceof Delivery && receipt.stay()) {
          readOut(passage.owner.bare);
          return 'handled';
        }
        if (isWorthKeeping(stanza)) return keepOrAsk(passage);
        return isDispensable(stanza) ? 'handled' : undefined;
      }),
      event('available', ({ session: { jid, priority } }) => {
        if (priority >= 0) welcome(jid.bare);
      }),
      event('presenceChanged', ({ session: { jid, priority }, priorityBefore }) => {
        if (priority >= 0 && priorityBefore < 0) welcome(jid.bare);
      }),
      event('archiveRead', ({ owner, ids }) => drop(owner.bare, ids)),
      binding(({ jid }) => dropArchived(jid.bare)),
      event('accountDeleted', ({ jid }) => messages.recount(jid.bare), { before: 'all' }),
    ];
  },
});

/** Of a message that has arrived elsewhere already. */
const settled: Receipt = { delivered() {}, lost() {}, reference: '' };
