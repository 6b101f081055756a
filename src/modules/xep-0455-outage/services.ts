/** The service that this module provides to its commands. */

/** XEP-0455 §2.2: the file. `beginning` and `expected_end` in the DateTime format of XEP-0082. */
export interface Outage {
  readonly planned: boolean;
  readonly beginning: string;
  readonly expected_end?: string;
  /** By language; `default` is required. */
  readonly message?: Readonly<Record<string, string>>;
}

declare module '../../server/module/index.js' {
  interface Services {
    outage: {
      get(): Promise<Outage | undefined>;
      /** Undefined if the outage is over. Resolves once it is durable. */
      set(outage: Outage | undefined): Promise<void>;
      /** The addresses published to clients. */
      addresses(): readonly string[];
    };
  }
}
