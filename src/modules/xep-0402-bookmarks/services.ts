/** The service that this module provides to others. */
import type { Jid } from '../../server/address/jid.js';
import type { Maybe } from '../../server/module/index.js';
import type { Element } from '../../server/xml/element.js';

export interface Bookmark {
  /** Whether the user wants to be in the room. */
  readonly autojoin: boolean;
  readonly nick: string | undefined;
  /** Of other specifications. Read-only. */
  readonly extensions: readonly Element[];
}

declare module '../../server/module/index.js' {
  interface Services {
    bookmarks: {
      /** The bookmark of a room (a bare address) of an account that lives here; null if there is none. Cached. */
      get(owner: Jid, room: Jid): Maybe<Bookmark | null>;
    };
  }
}
