/**
 * The way to another server or a component in a cluster: its streams are at the home of its domain. Stanzas that arise
 * at another node wait here in a bounded outbox for each domain and go to that home in order; what becomes of them there
 * decides when their senders get acknowledgements. While the streams of a domain move, its stanzas wait for the new home.
 */

import type { Jid } from '../address/jid.js';
import type { Away } from '../cluster/homes.js';
import { ParcelError } from '../cluster/parcel.js';
import { StanzaError } from '../stanza/errors.js';
import type { Stanza } from '../stanza/stanza.js';
import { isSentOnce } from './elsewhere.js';
import { Outbox, type OutboxBudget, type OutboxParts, type Parcel } from './outbox.js';
import type { Origin } from './passage.js';
import { type Departures, type Destination, domainOf } from './router.js';

export interface ForwardingParts extends Pick<OutboxParts, 'bounds' | 'refuse' | 'limitHit'> {
  /** Sends stanzas of the domains whose home is this node. */
  readonly inner: Pick<Destination, 'room'> & { receive(stanza: Stanza, origin: Origin): void };
  readonly budget: OutboxBudget;
  /** The home of a domain. Returns undefined if it is this node. */
  homeOf(domain: Jid): Away | undefined;
  readonly departures: Pick<Departures, 'depart' | 'move'>;
}

interface Box {
  readonly home: Jid;
  readonly outbox: Outbox;
}

export class Forwarding implements Destination {
  readonly isAtHome = true;
  readonly #parts: ForwardingParts;
  readonly #boxes = new Map<string, Box>();
  /** Stanzas of users: they open streams at the cost of their senders. */
  readonly #users = new WeakSet<Stanza>();
  readonly #repeated = new WeakSet<Stanza>();
  /** Taken back from streams that move, by domain: they go before all others. */
  readonly #returned = new Map<string, Parcel[]>();
  /** The domains whose streams are about to move. */
  #halts: ((domain: string) => boolean) | undefined;
  /** This node stops: its streams send nothing more. */
  #isStopping = false;

  constructor(parts: ForwardingParts) {
    this.#parts = parts;
  }

  // --- Destination --------------------------------------------------------------------------------------------------

  receive(stanza: Stanza, origin: Origin): void {
    const home = domainOf(stanza.to!);
    const isBehind = this.#isHalted(home) || this.#boxes.get(home.domain)?.outbox.isWaiting === true;
    if (!isBehind && this.#parts.homeOf(home) === undefined) {
      this.#parts.inner.receive(stanza, origin);
      return;
    }
    if (origin.session !== undefined || origin.isUsers === true) this.#users.add(stanza);
    this.#boxOf(home).outbox.receive(stanza, origin);
  }

  room(to: Jid): Promise<void> | undefined {
    return this.#boxes.get(to.domain)?.outbox.room() ?? this.#parts.inner.room?.(to);
  }

  /** Bytes of stanzas that other nodes send, or have not taken yet. */
  get waitingBytes(): number {
    return this.#parts.budget.used;
  }

  #boxOf(home: Jid): Box {
    const known = this.#boxes.get(home.domain);
    if (known !== undefined) return known;
    const { bounds, budget, refuse, limitHit } = this.#parts;
    const filled = () => {
      if (!this.#isHalted(home)) this.#flush(box);
    };
    const box: Box = { home, outbox: new Outbox({ bounds, budget, refuse, limitHit, filled }) };
    this.#boxes.set(home.domain, box);
    return box;
  }

  // --- to the home --------------------------------------------------------------------------------------------------

  #flush(box: Box): void {
    const { home, outbox } = box;
    const away = this.#parts.homeOf(home);
    for (const parcel of this.#returned.get(home.domain) ?? []) this.#move(box, parcel, away);
    this.#returned.delete(home.domain);
    for (let parcel = outbox.take(); parcel !== undefined; parcel = outbox.take()) {
      if (away === undefined) this.#sendHere(parcel);
      else if (this.#isStopping) this.#move(box, parcel, away);
      else this.#depart(box, parcel, away);
    }
    this.#drop(box);
  }

  #drop({ home, outbox }: Box): void {
    if (outbox.size === 0) this.#boxes.delete(home.domain);
  }

  #sendHere(parcel: Parcel): void {
    let isPending = false;
    const origin: Origin = {
      session: undefined,
      acknowledges: true,
      isUsers: this.#users.has(parcel.stanza),
      acknowledgeAfter(done) {
        isPending = true;
        const sent = () => parcel.sent();
        done.then(sent, sent);
      },
    };
    try {
      this.#parts.inner.receive(parcel.stanza, origin);
      // What is dropped has nothing to wait for.
      if (!isPending) parcel.sent();
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error;
      parcel.refuse(error);
    }
  }

  #depart(box: Box, parcel: Parcel, away: Away): void {
    const { stanza } = parcel;
    this.#settle(box, parcel, this.#parts.departures.depart(away, stanza, box.home, this.#users.has(stanza)));
  }

  #settle(box: Box, parcel: Parcel, sent: Promise<unknown>): void {
    sent.then(
      () => {
        parcel.sent();
        this.#drop(box);
      },
      (error: unknown) => {
        this.#failed(box, parcel, error);
        this.#drop(box);
      },
    );
  }

  /** To the new home of streams that move, which may send it long after this node has gone. */
  #move(box: Box, parcel: Parcel, away: Away | undefined): void {
    if (away === undefined) {
      this.#sendHere(parcel);
      return;
    }
    this.#settle(box, parcel, this.#parts.departures.move(away, parcel.stanza, box.home));
  }

  #failed(box: Box, parcel: Parcel, error: unknown): void {
    const { stanza } = parcel;
    const reason = error instanceof ParcelError ? error.reason : 'closed';
    if (reason === 'full')
      parcel.refuse(
        new StanzaError('resource-constraint', 'Another node of this server is overloaded. Try again later.', {
          type: 'wait',
        }),
      );
    // The home is gone, and may have sent it.
    else if (reason === 'closed' || isSentOnce(stanza) || this.#repeated.has(stanza))
      parcel.refuse(new StanzaError('remote-server-timeout'));
    else {
      this.#repeated.add(stanza);
      const away = this.#parts.homeOf(box.home);
      if (away === undefined) this.#sendHere(parcel);
      else this.#depart(box, parcel, away);
    }
  }

  // --- moves --------------------------------------------------------------------------------------------------------

  #isHalted(home: Jid): boolean {
    return this.#halts?.(home.domain) === true || (this.#isStopping && this.#parts.homeOf(home) === undefined);
  }

  /** This node stops: stanzas wait until other nodes have taken over their domains. */
  stop(): void {
    this.#isStopping = true;
  }

  /** The streams of these domains are about to move: from now on stanzas wait for `go`. */
  halt(moves: (domain: string) => boolean): void {
    this.#halts = moves;
  }

  /** Stanzas that no stream of this node has sent, in order. They go to the home of their domain with `go`. */
  return(parcels: readonly Parcel[]): void {
    for (const parcel of parcels) {
      const home = domainOf(parcel.stanza.to!);
      this.#boxOf(home);
      const same = this.#returned.get(home.domain);
      if (same === undefined) this.#returned.set(home.domain, [parcel]);
      else same.push(parcel);
    }
  }

  /** What waits goes to the homes of its domains, which may be here still. */
  go(): void {
    this.#halts = undefined;
    for (const box of [...this.#boxes.values()]) if (!this.#isHalted(box.home)) this.#flush(box);
  }
}
