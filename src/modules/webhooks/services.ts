/** The service that this module provides to the commands of the program. */

/** An event that was given up. */
export interface FailedEvent {
  /** For `retry` and `drop`. */
  readonly key: string;
  readonly receiver: string;
  readonly kind: string;
  /** Whose event it is. */
  readonly owner: string;
  /** When it happened, in ms since 1970. */
  readonly at: number;
  readonly tries: number;
  readonly why: string;
}

export interface Webhooks {
  failed(page: { readonly after?: string | undefined; readonly limit: number }): Promise<readonly FailedEvent[]>;
  /** Tries them again; undefined stands for all. Resolves with how many there were. */
  retry(keys: readonly string[] | undefined): Promise<number>;
  drop(keys: readonly string[] | undefined): Promise<number>;
}

declare module '../../server/module/index.js' {
  interface Services {
    webhooks: Webhooks;
  }
}
