/** What becomes of a stanza that is not taken: an answer to its sender, a line in the log where it is our fault. */
import type { Logger } from 'pino';
import { StorageError } from '../../storage/contract.js';
import type { Maybe } from '../maybe.js';
import { StanzaError } from '../stanza/errors.js';
import type { Stanza } from '../stanza/stanza.js';
import { StorageFailures, storageRefusal } from './failing.js';
import type { Origin } from './passage.js';
import { trace } from './trace.js';

/** What refusing needs of the host. */
interface Replying {
  /** Sends an answer back to where a stanza came from. Never rejects. */
  reply(answer: Stanza, origin: Origin): Maybe<void>;
}

export class Refusals {
  readonly #log: Logger;
  readonly #failures: StorageFailures;
  readonly #host: Replying;

  constructor(log: Logger, host: Replying) {
    this.#log = log;
    this.#host = host;
    this.#failures = new StorageFailures({
      first: (error, about) => log.error({ ...about, err: error }, `storage: ${error.failure}`),
      repeated: (failure, count, isOver) => {
        if (isOver) log.info({ failure, count }, 'the storage failed more often than was logged');
        else log.error({ failure, count }, 'the storage goes on failing');
      },
    });
  }

  /**
   * Answers a stanza with what stopped it. A StanzaError is the peer's doing; a StorageError the disk's; anything else
   * is our bug, logged, and hurts this stanza alone. Errors and results are never answered (RFC 6120 §8.3.1).
   */
  refuse(stanza: Stanza, error: unknown, origin: Origin): void {
    const answer = this.refusalOf(stanza, error);
    if (answer !== undefined) void this.#host.reply(answer, origin);
  }

  /** The answer that refuses a stanza; undefined if it must not be answered. What is our fault is logged. */
  refusalOf(stanza: Stanza, error: unknown): Stanza | undefined {
    const refusal = error instanceof StanzaError ? error : this.#ourFault(stanza, error);
    trace(this.#log, stanza, `refused: ${refusal.condition}`);
    if (stanza.type === 'error' || (stanza.name === 'iq' && stanza.type === 'result')) return undefined;
    return stanza.error(refusal);
  }

  #ourFault(stanza: Stanza, error: unknown): StanzaError {
    const about = { err: error, stanza: stanza.name, id: stanza.id, type: stanza.type };
    if (error instanceof StorageError) {
      // One account's lack of room is no failure of the storage.
      if (error.failure !== 'quota') this.#failures.note(error, about);
      return storageRefusal(error);
    }
    this.#log.error(about, 'a stanza failed');
    return new StanzaError('internal-server-error', undefined, { type: 'wait' });
  }

  /** The storage failed lately. */
  get isStorageFailing(): boolean {
    return this.#failures.isFailing;
  }

  /** Tells the log what it was not told yet. */
  end(): void {
    this.#failures.end();
  }
}
