/** What peers are told, and the log, when the storage fails. */
import type { StorageError, StorageFailure } from '../../storage/contract.js';
import { monotonic } from '../clock.js';
import { StanzaError } from '../stanza/errors.js';

/** Another node, or this one later, can do what was asked. */
const constrained: ReadonlySet<StorageFailure> = new Set(['full', 'unavailable', 'locked', 'fenced']);

/** The StanzaError that tells a peer of a failed storage: it may try again later. */
export function storageRefusal({ failure }: StorageError): StanzaError {
  if (failure === 'quota')
    return new StanzaError('resource-constraint', 'There is no room left in the account.', { type: 'wait' });
  const isConstrained = constrained.has(failure);
  return new StanzaError(isConstrained ? 'resource-constraint' : 'internal-server-error', undefined, { type: 'wait' });
}

/** Ms after a failure within which others like it are only counted. */
const quiet = 60_000;
/** Ms after a failure within which the storage is taken to fail still. */
const memory = 10_000;

/** Errors of the storage, one line in the log for each kind and minute; and whether the storage fails just now. */
export class StorageFailures {
  readonly #counts = new Map<StorageFailure, number>();
  #last = Number.NEGATIVE_INFINITY;

  constructor(
    readonly log: {
      first(error: StorageError, about: object): void;
      /** `isOver`: these are the last. */
      repeated(failure: StorageFailure, count: number, isOver: boolean): void;
    },
  ) {}

  note(error: StorageError, about: object = {}): void {
    const { failure } = error;
    this.#last = monotonic();
    const count = this.#counts.get(failure);
    if (count !== undefined) {
      this.#counts.set(failure, count + 1);
      return;
    }
    this.#counts.set(failure, 0);
    this.log.first(error, about);
    this.#watch(failure);
  }

  /** As long as it goes on, one line a minute tells how often. */
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

  /** Tells the counts that were not told yet. */
  end(): void {
    for (const [failure, count] of this.#counts) if (count > 0) this.log.repeated(failure, count, true);
    this.#counts.clear();
  }

  get isFailing(): boolean {
    return this.#last !== Number.NEGATIVE_INFINITY && monotonic() - this.#last < memory;
  }
}
