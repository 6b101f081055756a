/** Storage failures: the errors that peers get, and the log. */
import type { StorageError, StorageFailure } from '../../storage/contract.js';
import { monotonic } from '../clock.js';
import { StanzaError } from '../stanza/errors.js';

/** Another node can serve the request, or this one later. */
const constrained: ReadonlySet<StorageFailure> = new Set(['full', 'unavailable', 'locked', 'fenced', 'busy']);

/** The StanzaError for a storage failure: the peer may try again later. */
export function storageRefusal({ failure }: StorageError): StanzaError {
  if (failure === 'quota')
    return new StanzaError('resource-constraint', 'The storage quota of the account is used up.', { type: 'wait' });
  const isConstrained = constrained.has(failure);
  return new StanzaError(isConstrained ? 'resource-constraint' : 'internal-server-error', undefined, { type: 'wait' });
}

/** After a failure, further ones of the same kind are only counted, in ms. */
const quiet = 60_000;
/** After a failure, the storage counts as failing, in ms. */
const memory = 10_000;

/** Logs storage errors, one line per kind and minute; knows whether the storage is failing. */
export class StorageFailures {
  readonly #counts = new Map<StorageFailure, number>();
  #last = Number.NEGATIVE_INFINITY;

  constructor(
    readonly log: {
      first(error: StorageError, about: object): void;
      /** `isOver`: this was the last. */
      repeated(failure: StorageFailure, count: number, isOver: boolean): void;
    },
  ) {}

  note(error: StorageError, about: object = {}): void {
    const { failure } = error;
    this.#last = monotonic();
    // The breaker logs it.
    if (failure === 'busy') return;
    const count = this.#counts.get(failure);
    if (count !== undefined) {
      this.#counts.set(failure, count + 1);
      return;
    }
    this.#counts.set(failure, 0);
    this.log.first(error, about);
    this.#watch(failure);
  }

  /** Logs the number of failures every minute while they continue. */
  #watch(failure: StorageFailure): void {
    setTimeout(() => {
      const count = this.#counts.get(failure) ?? 0;
      if (count > 0) {
        this.log.repeated(failure, count, false);
        this.#counts.set(failure, 0);
        this.#watch(failure);
      } else this.#counts.delete(failure);
    }, quiet).unref();
  }

  /** Logs the remaining counts. */
  end(): void {
    for (const [failure, count] of this.#counts) if (count > 0) this.log.repeated(failure, count, true);
    this.#counts.clear();
  }

  get isFailing(): boolean {
    return this.#last !== Number.NEGATIVE_INFINITY && monotonic() - this.#last < memory;
  }
}
