/** The service that this module provides to others. */
import type { Jid } from '../../server/address/jid.js';

/** A group of accounts of a host. */
export interface SharedGroup {
  readonly id: string;
  /** The name of the group in the members' contact lists. */
  readonly name: string;
  /** Bare addresses, in alphabetical order. */
  readonly members: readonly string[];
  /** Whether it is in the configuration, and changed there alone. */
  readonly isConfigured: boolean;
}

declare module '../../server/module/index.js' {
  interface Services {
    sharedGroups: {
      /** In alphabetical order of the ids. */
      list(): Promise<readonly SharedGroup[]>;
      /** Throws StanzaError if there is one, or there are too many. */
      create(id: string, name: string): Promise<void>;
      /** Its members lose the contacts that they had only by it. Throws StanzaError. */
      remove(id: string): Promise<void>;
      /** Throws StanzaError if there is no such group, or it is full or configured. */
      add(id: string, member: Jid): Promise<void>;
      /** Returns false if the account was no member. Throws StanzaError. */
      drop(id: string, member: Jid): Promise<boolean>;
    };
  }
}
