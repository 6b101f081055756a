/** What rooms offer those who administer them. */
import type { Jid } from '../../server/stanza/jid.js';

/** A room, as its administrators see it. */
export interface RoomFacts {
  readonly jid: Jid;
  readonly name: string;
  /** How many are in it now. */
  readonly occupants: number;
  readonly isPublic: boolean;
  readonly isPersistent: boolean;
  readonly isMembersOnly: boolean;
  readonly hasPassword: boolean;
  /** A bare address. */
  readonly creator: string;
}

/** The whole of it: bare addresses, but for the full ones of those who are there. */
export interface RoomDetails extends RoomFacts {
  readonly description: string;
  readonly subject: string;
  /** Ms since 1970. */
  readonly created: number;
  readonly isArchived: boolean;
  readonly isModerated: boolean;
  /** Whether all see the real addresses of all. */
  readonly isNonAnonymous: boolean;
  readonly owners: readonly string[];
  readonly admins: readonly string[];
  readonly members: number;
  readonly banned: number;
  readonly present: readonly { readonly nick: string; readonly jids: readonly string[]; readonly role: string }[];
}

/** The rooms of a host (XEP-0045), for those who administer it. */
export interface RoomAdministration {
  /** The address of the service. */
  readonly jid: Jid;
  /** Rooms in the order of their addresses, from behind `after`. */
  list(page: { readonly after?: string | undefined; readonly limit: number }): readonly RoomFacts[];
  show(room: Jid): Promise<RoomDetails | undefined>;
  /** Makes a lasting room that is open at once; false: there is one of that address. Throws StanzaError. */
  create(
    room: Jid,
    owner: Jid,
    how: { readonly name?: string | undefined; readonly isMembersOnly: boolean; readonly isPublic: boolean },
  ): Promise<boolean>;
  /** Puts everybody out and removes it, and what was said in it; false: there is none. */
  destroy(room: Jid, reason?: string): Promise<boolean>;
}

declare module '../../server/module/index.js' {
  interface Services {
    rooms: RoomAdministration;
  }
}
