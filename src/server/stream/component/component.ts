/**
 * An external component (XEP-0114) as the rest of the server knows it: who answers for its domain. Stanzas wait for it in one
 * bounded outbox, and are handed to its connections by sender. What one sender says stays in order as long as the connections
 * stay; what waits for one that ends goes to the others.
 */
import type { Logger } from 'pino';
import type { ComponentSettings } from '../../config/components.js';
import type { Config } from '../../config/schema.js';
import { Outbox, type OutboxBudget, type Parcel } from '../../routing/outbox.js';
import type { Origin } from '../../routing/passage.js';
import type { Destination } from '../../routing/router.js';
import { StanzaError, StreamError } from '../../stanza/errors.js';
import type { Jid } from '../../stanza/jid.js';
import type { Stanza } from '../../stanza/stanza.js';
import { type Place, placeOf } from './balance.js';

/** A connection of a component that has logged in. */
export interface Line {
  readonly hasRoom: boolean;
  readonly remoteAddress: string;
  /** When it was accepted, in ms since 1970. */
  readonly since: number;
  send(stanza: Stanza): void;
  close(error: StreamError): void;
}

export interface ComponentParts {
  config(): Config;
  readonly log: Logger;
  limitHit(limit: string): void;
  /** Tells the sender of a stanza why it is refused. Never throws. */
  refuse(stanza: Stanza, error: StanzaError): void;
}

/** A connection, and what waits for it. */
interface Queue extends Place {
  readonly line: Line;
  /** In order. */
  readonly parcels: Set<Parcel>;
}

/** Where a sender's stanzas wait, and how many. */
interface Waiting {
  queue: Queue;
  count: number;
}

/** Each component has its own bound, and there are only those of the configuration. */
const unbounded: OutboxBudget['most'] = () => Number.POSITIVE_INFINITY;

export class Component implements Destination {
  /** Stanzas from it and to it, and handshakes that were refused. */
  readonly counts = { received: 0, sent: 0, refusedLogins: 0 };
  readonly #parts: ComponentParts;
  readonly #outbox: Outbox;
  #queues: readonly Queue[] = [];
  /** By sender: what it says next goes after what waits. */
  readonly #waiting = new Map<string, Waiting>();
  #lines = 0;

  constructor(
    readonly jid: Jid,
    parts: ComponentParts,
    public secret: string,
  ) {
    this.#parts = parts;
    this.#outbox = new Outbox({
      bounds: () => {
        const { component_queue_stanzas: stanzas, component_queue_bytes: bytes } = parts.config().limits;
        return { stanzas, bytes };
      },
      budget: { most: unbounded, used: 0 },
      limitHit: () => parts.limitHit('component_queue_bytes'),
      refuse: (stanza, error) => {
        if (stanza.name !== 'presence') parts.refuse(stanza, error);
      },
      filled: () => this.#distribute(),
    });
  }

  get domain(): string {
    return this.jid.domain;
  }
  get settings(): ComponentSettings {
    return this.#parts.config().components[this.domain]!;
  }
  /** Its connections, the oldest first. */
  get lines(): readonly Line[] {
    return this.#queues.map(({ line }) => line);
  }
  /** Bytes that wait for it. */
  get waitingBytes(): number {
    return this.#outbox.bytes;
  }

  // --- Destination --------------------------------------------------------------------------------------------------

  /**
   * Takes a stanza, or throws StanzaError: `remote-server-timeout` (RFC 6120 §8.3.3.17) where the component is not connected.
   * That is not `service-unavailable`, by which the occupant of a room would think that it is in the room still (XEP-0410
   * §3.2). Presence is for those who are there, and is dropped.
   */
  receive(stanza: Stanza, origin: Origin): void {
    if (this.#queues.length > 0) this.#outbox.receive(stanza, origin);
    else if (stanza.name !== 'presence') throw notConnected();
  }

  room(): Promise<void> | undefined {
    return this.#outbox.room();
  }

  // --- connections --------------------------------------------------------------------------------------------------

  enter(line: Line): void {
    this.#queues = [...this.#queues, { line, number: this.#lines++, parcels: new Set() }];
    this.#parts.log.info({ component: this.domain, address: line.remoteAddress }, 'a component has connected');
    while (this.#queues.length > this.settings.connections)
      this.#queues[0]!.line.close(new StreamError('conflict', 'The component has connected anew.'));
  }

  /** The connection is over. What waits for it goes to the others; with no other it is refused. */
  leave(line: Line): void {
    const gone = this.#queues.find((queue) => queue.line === line);
    if (gone === undefined) return;
    this.#queues = this.#queues.filter((queue) => queue !== gone);
    this.#parts.log.info({ component: this.domain, address: line.remoteAddress }, 'a component has disconnected');
    for (const [sender, { queue }] of this.#waiting) if (queue === gone) this.#waiting.delete(sender);
    for (const parcel of gone.parcels) this.#assign(parcel);
    if (this.#queues.length === 0) this.#outbox.refuseAll(notConnected());
    for (const queue of this.#queues) this.#send(queue);
  }

  /** The connection has room for more. */
  drained(line: Line): void {
    const queue = this.#queues.find((one) => one.line === line);
    if (queue !== undefined) this.#send(queue);
  }

  /** Whether something waits for this connection. */
  isAwaiting(line: Line): boolean {
    return this.#queues.some((queue) => queue.line === line && queue.parcels.size > 0);
  }

  // --- what waits ---------------------------------------------------------------------------------------------------

  #distribute(): void {
    for (let parcel = this.#outbox.take(); parcel !== undefined; parcel = this.#outbox.take()) this.#assign(parcel);
    for (const queue of this.#queues) this.#send(queue);
  }

  #assign(parcel: Parcel): void {
    const sender = senderOf(parcel);
    const waiting = this.#waiting.get(sender);
    const queue = waiting?.queue ?? placeOf(this.#queues, sender);
    if (queue === undefined) {
      parcel.refuse(notConnected());
      return;
    }
    queue.parcels.add(parcel);
    if (waiting === undefined) this.#waiting.set(sender, { queue, count: 1 });
    else waiting.count++;
  }

  #send({ line, parcels }: Queue): void {
    for (const parcel of parcels) {
      if (!line.hasRoom) return;
      parcels.delete(parcel);
      const sender = senderOf(parcel);
      const waiting = this.#waiting.get(sender)!;
      if (--waiting.count === 0) this.#waiting.delete(sender);
      this.counts.sent++;
      line.send(parcel.stanza);
      parcel.sent();
    }
  }
}

const notConnected = (): StanzaError => new StanzaError('remote-server-timeout', 'The component is not connected.');

const senderOf = ({ stanza }: Parcel): string => stanza.from?.bare ?? '';
