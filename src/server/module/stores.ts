/** Store declarations of modules. The loader opens the stores; drivers know nothing of features. */
import type { z } from 'zod';
import type { BlobStore } from '../../storage/blobs.js';
import type { DocumentStore, LogOptions, LogStore, MapStore, Reading, Shape } from '../../storage/contract.js';

/**
 * A store declared by a module; `start` gets it under the same name. Names are local to the module: the storage calls
 * it `MODULE/STORE`.
 */
export type StoreDeclaration<S = unknown> = Pick<LogDeclaration, 'text' | 'option'> &
  RecordDeclaration<unknown> & {
    readonly shape: Shape | 'blobs';
    readonly __store?: S;
  };

/** Stored records are input: without a schema they are not validated. */
interface RecordDeclaration<T> {
  /** The name in the storage, if existing databases use another one. */
  readonly storedAs?: string | undefined;
  /** Schema of a value. A record that does not match is logged and counted, and handled as `damaged` says. */
  readonly value?: z.ZodType<T> | undefined;
  /** Schema of a key: of a document, its owner; of a log, the id. */
  readonly key?: z.ZodType<string> | undefined;
  /**
   * Its owners are accounts, and `waxwing export` writes its records as they are, for `waxwing import` of another Waxwing. A
   * module whose data has a form that other servers know has a hook `portable` instead.
   */
  readonly isPortable?: true;
  /**
   * Nothing depends on what it holds: it may be missing at any time, and writes may fail. So it may be on Redis. `seconds`:
   * its data about an owner may expire so long after the last write. Documents and maps only.
   */
  readonly mayBeLost?: { readonly seconds?: number } | undefined;
  /** See `Reading` of the storage contract. By default a damaged record is skipped. */
  readonly damaged?: Reading<T>['damaged'];
}

interface LogDeclaration extends Pick<LogOptions, 'text'>, Omit<RecordDeclaration<string>, 'damaged' | 'mayBeLost'> {
  /** The boolean option of the module that enables full-text search. */
  readonly option?: string;
}

export const document = <T>(records: RecordDeclaration<T> = {}): StoreDeclaration<DocumentStore<T>> =>
  ({ shape: 'document', ...records }) as StoreDeclaration<DocumentStore<T>>;
export const map = <T>(records: RecordDeclaration<T> = {}): StoreDeclaration<MapStore<T>> =>
  ({ shape: 'map', ...records }) as StoreDeclaration<MapStore<T>>;
export const log = (options: LogDeclaration = {}): StoreDeclaration<LogStore> => ({ shape: 'log', ...options });
/** Contents of any size, such as uploaded files; the records about them are in other stores. */
export const blobs = (): StoreDeclaration<BlobStore> => ({ shape: 'blobs' });

/** The opened store of a declaration. */
export type Opened<D> = D extends StoreDeclaration<infer S> ? S : never;
