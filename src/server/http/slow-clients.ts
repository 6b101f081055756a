/** Cuts clients that send a body or take an answer too slowly (`limits.http_bytes_per_second`). */
import type { Writable } from 'node:stream';
import { HttpError } from '../module/http.js';
import { cut, type Incoming, type Outgoing, sinkOf } from './message.js';

/** How long a transfer may stand still at its beginning, in ms: connections stall for a while when networks change. */
const grace = 30_000;

/** A transfer that is watched. Its owner counts the bytes. */
export interface Transfer {
  bytes: number;
}

interface Watched extends Transfer {
  /** Since when the client is slow, if it is: moved forward while this server is what the transfer waits for. */
  since: number;
  /** Whether the client is what the transfer waits for. */
  isWaiting(): boolean;
  end(): void;
}

export interface SlowClientsParts {
  bytesPerSecond(): number;
  now(): number;
  limitHit(limit: string): void;
}

export class SlowClients {
  readonly #parts: SlowClientsParts;
  readonly #watched = new Set<Watched>();
  #last: number;

  constructor(parts: SlowClientsParts) {
    this.#parts = parts;
    this.#last = parts.now();
  }

  /** Watches a body while it is read. `late` gets the error that answers the request. */
  watchBody(request: Incoming, late: (error: HttpError) => void): Transfer {
    const transfer: Watched = {
      bytes: 0,
      since: this.#parts.now(),
      isWaiting: () => !request.isPaused(),
      end: () => late(new HttpError(408, 'The body arrived too slowly.')),
    };
    return this.#watch(transfer, request, 'end');
  }

  /** Watches an answer until it is complete. `bytes` are those that the client has to take. */
  watchAnswer(response: Outgoing): Transfer {
    const sink = sinkOf(response);
    const transfer: Watched = {
      bytes: 0,
      since: this.#parts.now(),
      isWaiting: () => sink.writableNeedDrain || sink.writableEnded,
      end: () => cut(response),
    };
    return this.#watch(transfer, sink, 'finish');
  }

  #watch(transfer: Watched, of: Incoming | Writable, end: 'end' | 'finish'): Transfer {
    this.#watched.add(transfer);
    const done = () => void this.#watched.delete(transfer);
    of.once(end, done);
    of.once('close', done);
    return transfer;
  }

  /** Cuts the transfers that are too slow. Call it every second or so. */
  cutSlow(): void {
    const now = this.#parts.now();
    const elapsed = now - this.#last;
    this.#last = now;
    const perMs = this.#parts.bytesPerSecond() / 1000;
    for (const transfer of this.#watched) {
      if (!transfer.isWaiting()) transfer.since += elapsed;
      else if (now - transfer.since > grace + transfer.bytes / perMs) {
        this.#watched.delete(transfer);
        this.#parts.limitHit('http_bytes_per_second');
        transfer.end();
      }
    }
  }
}
