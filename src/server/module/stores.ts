/** The stores that a module declares. The loader opens them; drivers know nothing of features. */
import type { z } from 'zod';
import type { DocumentStore, LogOptions, LogStore, MapStore, Reading } from '../../storage/contract.js';

/**
 * A store that a module declares; `start` finds it opened under the same name. Names are the module's own: the storage has
 * it as `MODULE/STORE`.
 */
export type StoreDeclaration<S = unknown> = Pick<LogDeclaration, 'text' | 'option'> &
  RecordDeclaration<unknown> & {
    readonly shape: 'document' | 'map' | 'log';
    readonly __store?: S;
  };

/** Stored records are input: without a schema a module gets whatever is stored. */
interface RecordDeclaration<T> {
  /** What the storage calls it instead: the name under which databases have it already. */
  readonly storedAs?: string | undefined;
  /** What a value is. One that is not is logged and counted, and `damaged` says what the module gets for it. */
  readonly value?: z.ZodType<T> | undefined;
  /** What a key is; of a document, its owner; of a log, the id. */
  readonly key?: z.ZodType<string> | undefined;
  /** See `Reading` of the storage contract; without it a damaged record is skipped. */
  readonly damaged?: Reading<T>['damaged'];
}

interface LogDeclaration extends Pick<LogOptions, 'text'>, Omit<RecordDeclaration<string>, 'damaged'> {
  /** The module's option (a boolean) without which nobody searches for words. */
  readonly option?: string;
}

export const document = <T>(records: RecordDeclaration<T> = {}): StoreDeclaration<DocumentStore<T>> =>
  ({ shape: 'document', ...records }) as StoreDeclaration<DocumentStore<T>>;
export const map = <T>(records: RecordDeclaration<T> = {}): StoreDeclaration<MapStore<T>> =>
  ({ shape: 'map', ...records }) as StoreDeclaration<MapStore<T>>;
export const log = (options: LogDeclaration = {}): StoreDeclaration<LogStore> => ({ shape: 'log', ...options });

/** What `start` gets for a declaration. */
export type Opened<D> = D extends StoreDeclaration<infer S> ? S : never;
