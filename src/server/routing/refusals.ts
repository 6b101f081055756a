/** Refuses stanzas: with an error to the sender, and a log line if the error is internal. */
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
  /** Sends an answer to where the stanza came from. Never rejects. */
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
        if (isOver) log.info({ failure, count }, 'storage failures since the last log line');
        else log.error({ failure, count }, 'the storage is still failing');
      },
    });
  }

  /**
   * Answers a stanza with an error. A StanzaError is the peer's fault; a StorageError the storage's; anything else is a
   * bug of ours, which is logged and affects only this stanza. Errors and results are never answered (RFC 6120 §8.3.1).
   */
  refuse(stanza: Stanza, error: unknown, origin: Origin): void {
    const answer = this.refusalOf(stanza, error);
    if (answer !== undefined) void this.#host.reply(answer, origin);
  }

  /** The error reply to a stanza. Returns undefined if it must not be answered. Internal errors are logged. */
  refusalOf(stanza: Stanza, error: unknown): Stanza | undefined {
    const refusal = error instanceof StanzaError ? error : this.#ourFault(stanza, error);
    trace(this.#log, stanza, `refused: ${refusal.condition}`);
    if (stanza.type === 'error' || (stanza.name === 'iq' && stanza.type === 'result')) return undefined;
    return stanza.error(refusal);
  }

  #ourFault(stanza: Stanza, error: unknown): StanzaError {
    const about = { err: error, stanza: stanza.name, id: stanza.id, type: stanza.type };
    if (error instanceof StorageError) {
      // A used-up quota of one account is not a storage failure.
      if (error.failure !== 'quota') this.#failures.note(error, about);
      return storageRefusal(error);
    }
    this.#log.error(about, 'a stanza failed with an internal error');
    return new StanzaError('internal-server-error', undefined, { type: 'wait' });
  }

  /** Whether the storage failed recently. */
  get isStorageFailing(): boolean {
    return this.#failures.isFailing;
  }

  /** Logs the remaining counts. */
  end(): void {
    this.#failures.end();
  }
}
