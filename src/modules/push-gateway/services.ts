/** The service that this module provides to other modules, and to the commands of the program. */

/** A notification that was given up. */
export interface FailedPush {
  /** For `retry` and `drop`. */
  readonly key: string;
  /** The account, bare; empty if the device was removed meanwhile. */
  readonly user: string;
  /** When it was published, in ms since 1970. */
  readonly at: number;
  readonly tries: number;
  readonly why: string;
}

export interface PushGateway {
  /** Of the push service. What it is told is encrypted on its way to browsers, and others are told numbers only. */
  readonly address: string;
  failed(page: { readonly after?: string | undefined; readonly limit: number }): Promise<readonly FailedPush[]>;
  /** Tries them again; undefined stands for all. Resolves with how many there were. */
  retry(keys: readonly string[] | undefined): Promise<number>;
  drop(keys: readonly string[] | undefined): Promise<number>;
}

declare module '../../server/module/index.js' {
  interface Services {
    pushGateway: PushGateway;
  }
}
