/** The service that this module provides to others. */
import type { Jid } from '../../server/address/jid.js';

/** An app that is woken. */
export interface PushApp {
  /** For `disable`. */
  readonly id: string;
  /** The address of its push service. */
  readonly service: string;
  /** The resource that enabled it, if a session did. */
  readonly resource: string | undefined;
  /** When it was enabled, in ms since 1970. */
  readonly at: number;
}

export interface PushApps {
  /** The apps of an account of this host, the newest first. Rejects with StanzaError. */
  list(owner: Jid): Promise<readonly PushApp[]>;
  /** Disables some of them. Resolves with how many there were. Rejects with StanzaError. */
  disable(owner: Jid, ids: readonly string[]): Promise<number>;
}

declare module '../../server/module/index.js' {
  interface Services {
    pushApps: PushApps;
  }
}
