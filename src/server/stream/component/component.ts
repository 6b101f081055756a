/**
 * An external component (XEP-0114) as the router sees it: the destination of its domain. Stanzas wait in one bounded
 * outbox and are distributed among its connections by sender. Stanzas of one sender stay in order as long as the
 * connections stay; those pending for a closed connection move to the others.
 */
import type { Logger } from 'pino';
import type { Jid } from '../../address/jid.js';
import type { ComponentSettings } from '../../config/components.js';
import type { Config } from '../../config/schema.js';
import type { Events } from '../../module/index.js';
import { Outbox, type OutboxBudget, type Parcel } from '../../routing/outbox.js';
import type { Origin } from '../../routing/passage.js';
import type { Destination } from '../../routing/router.js';
import { StanzaError, StreamError } from '../../stanza/errors.js';
import type { Stanza } from '../../stanza/stanza.js';
import { type Place, placeOf } from './balance.js';

/** An authenticated connection of a component. */
export interface Line {
  readonly hasRoom: boolean;
  readonly remoteAddress: string;
  /** When it connected, in ms since 1970. */
  readonly since: number;
  send(stanza: Stanza): void;
  close(error: StreamError): void;
}

export interface ComponentParts {
  config(): Config;
  readonly log: Logger;
  limitHit(limit: string): void;
  /** Called after the connection is in use, and after it is not. */
  connected(event: Events['componentConnected']): void;
  gone(event: Events['componentGone']): void;
  /** Sends an error to the sender of a stanza. Never throws. */
  refuse(stanza: Stanza, error: StanzaError): void;
}

/** A connection and its pending stanzas. */
interface Queue extends Place {
  readonly line: Line;
  /** In order. */
  readonly parcels: Set<Parcel>;
}

/** The queue of a sender's pending stanzas, and their number. */
interface Waiting {
  queue: Queue;
  count: number;
}

/** Components have bounds of their own, and their number is configured. */
const unbounded: OutboxBudget['most'] = () => Number.POSITIVE_INFINITY;

export class Component implements Destination {
  /** Stanzas in both directions, and refused handshakes. */
  readonly counts = { received: 0, sent: 0, refusedLogins: 0 };
  readonly #parts: ComponentParts;
  readonly #outbox: Outbox;
  #queues: readonly Queue[] = [];
  /** By sender: later stanzas must follow the pending ones. */
  readonly #waiting = new Map<string, Waiting>();
  #lines = 0;

  constructor(
    readonly jid: Jid,
    parts: ComponentParts,
    public secret: string,
  ) {
    this.#parts = parts;
    this.#outbox = new Outbox({
      bounds: () => this.bounds,
      budget: { most: unbounded, used: 0 },
      limitHit: () => parts.limitHit('component_queue_bytes'),
      refuse: (stanza, error) => this.refuse(stanza, error),
      filled: () => this.#distribute(),
    });
  }

  /** Of the stanzas that are queued for it. */
  get bounds(): { readonly stanzas: number; readonly bytes: number } {
    const { component_queue_stanzas: stanzas, component_queue_bytes: bytes } = this.#parts.config().limits;
    return { stanzas, bytes };
  }

  /** Another node has become the home of its domain. */
  leaves(): void {
    for (const line of this.lines) line.close(moved());
  }

  /** Returns a stanza to its sender. Presence is dropped. */
  refuse(stanza: Stanza, error: StanzaError): void {
    if (stanza.name !== 'presence') this.#parts.refuse(stanza, error);
  }

  get domain(): string {
    return this.jid.domain;
  }
  get settings(): ComponentSettings {
    return this.#parts.config().components[this.domain]!;
  }
  /** Its connections, oldest first. */
  get lines(): readonly Line[] {
    return this.#queues.map(({ line }) => line);
  }
  /** Bytes queued for it. */
  get waitingBytes(): number {
    return this.#outbox.bytes;
  }

  // --- Destination --------------------------------------------------------------------------------------------------

  /**
   * Queues a stanza. Throws StanzaError('remote-server-timeout') (RFC 6120 §8.3.3.17) if the component is not
   * connected. `service-unavailable` would make an occupant of a room believe that they are still in it (XEP-0410
   * §3.2). Presence is dropped then.
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
      this.#queues[0]!.line.close(new StreamError('conflict', 'Replaced by a newer connection.'));
    this.#parts.connected({
      domain: this.domain,
      isFirst: this.#queues.length === 1,
      send: (stanza) => {
        if (this.lines.includes(line)) line.send(stanza);
      },
    });
  }

  /** The connection is closed. Its pending stanzas move to the other connections, or are refused if there is none. */
  leave(line: Line): void {
    const gone = this.#queues.find((queue) => queue.line === line);
    if (gone === undefined) return;
    this.#queues = this.#queues.filter((queue) => queue !== gone);
    this.#parts.log.info({ component: this.domain, address: line.remoteAddress }, 'a component has disconnected');
    for (const [sender, { queue }] of this.#waiting) if (queue === gone) this.#waiting.delete(sender);
    for (const parcel of gone.parcels) this.#assign(parcel);
    if (this.#queues.length === 0) {
      this.#outbox.refuseAll(notConnected());
      this.#parts.gone({ domain: this.domain });
    }
    for (const queue of this.#queues) this.#send(queue);
  }

  /** The connection has room again. */
  drained(line: Line): void {
    const queue = this.#queues.find((one) => one.line === line);
    if (queue !== undefined) this.#send(queue);
  }

  /** Whether stanzas are pending for this connection. */
  isAwaiting(line: Line): boolean {
    return this.#queues.some((queue) => queue.line === line && queue.parcels.size > 0);
  }

  // --- queues -------------------------------------------------------------------------------------------------------

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

/** The stream error for a connection at another node than the home of the component's domain. */
export const moved = (): StreamError =>
  new StreamError('reset', 'The component has moved to another node. Connect again.');

const notConnected = (): StanzaError => new StanzaError('remote-server-timeout', 'The component is not connected.');

const senderOf = ({ stanza }: Parcel): string => stanza.from?.bare ?? '';
