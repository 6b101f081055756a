/** The service that rooms provide for administration. */
import type { Jid } from '../../server/address/jid.js';

/** A room in an administrator's list. */
export interface RoomFacts {
  readonly jid: Jid;
  readonly name: string;
  /** Number of occupants now. */
  readonly occupants: number;
  readonly isPublic: boolean;
  readonly isPersistent: boolean;
  readonly isMembersOnly: boolean;
  readonly hasPassword: boolean;
  /** A bare address. */
  readonly creator: string;
}

/** All details. Addresses are bare, except the full ones of occupants' clients. */
export interface RoomDetails extends RoomFacts {
  readonly description: string;
  readonly subject: string;
  /** Ms since 1970. */
  readonly created: number;
  readonly isArchived: boolean;
  readonly isModerated: boolean;
  /** Whether all occupants see each other's real addresses. */
  readonly isNonAnonymous: boolean;
  readonly owners: readonly string[];
  readonly admins: readonly string[];
  readonly members: number;
  readonly banned: number;
  readonly present: readonly { readonly nick: string; readonly jids: readonly string[]; readonly role: string }[];
}

/** Administration of the rooms of a host (XEP-0045). */
export interface RoomAdministration {
  /** The address of the service. */
  readonly jid: Jid;
  /** Rooms ordered by address, starting after `after`. */
  list(page: { readonly after?: string | undefined; readonly limit: number }): readonly RoomFacts[];
  show(room: Jid): Promise<RoomDetails | undefined>;
  /** Creates a persistent, unlocked room. Resolves with false if the address is taken. Throws StanzaError. */
  create(
    room: Jid,
    owner: Jid,
    how: { readonly name?: string | undefined; readonly isMembersOnly: boolean; readonly isPublic: boolean },
  ): Promise<boolean>;
  /** Removes all occupants, the room and its messages. Resolves with false if there is no such room. */
  destroy(room: Jid, reason?: string): Promise<boolean>;
}

/** What a link to a room shows. */
export interface LinkedRoom {
  readonly name: string;
  readonly description: string;
  /** When its token expires, in ms since 1970; null if it does not, or there is none. */
  readonly until: number | null;
}

/** Links to rooms of a host, for people who open them in a browser. */
export interface RoomLinks {
  /** The address of the service. */
  readonly jid: Jid;
  /**
   * Resolves with undefined unless the token (XEP-0488) is valid, or it is '' and everybody may find and enter the room.
   */
  look(room: Jid, token: string): Promise<LinkedRoom | undefined>;
  /** Makes a token by which `by` invites. `until`: in ms since 1970. Rejects with StanzaError if they may not. */
  issue(
    room: Jid,
    by: Jid,
    limits: { readonly seconds?: number | undefined; readonly uses?: number | undefined },
  ): Promise<{ readonly token: string; readonly until?: number | undefined }>;
}

declare module '../../server/module/index.js' {
  interface Services {
    rooms: RoomAdministration;
    roomLinks: RoomLinks;
  }
  interface Events {
    /** A room of the host was created. `by`: its first owner, who may be of another server. */
    roomCreated: { readonly room: Jid; readonly by: Jid };
    /** A room of the host and its data were removed. */
    roomDestroyed: { readonly room: Jid };
  }
}
