/** The services that this module provides to others. */
import type { Jid } from '../../server/address/jid.js';

export interface Invite {
  /** The inviting account, bare; undefined for an administrator on the command line. */
  readonly by?: string | undefined;
  /** The local part of the account that it is for; undefined if the invited choose. */
  readonly name?: string | undefined;
  /** The role of the account; undefined for that of a user. */
  readonly role?: 'admin' | undefined;
  /** Ids of the shared groups of which the account becomes a member. */
  readonly groups?: readonly string[] | undefined;
  /** Whether an account can be registered with it (XEP-0445). */
  readonly registers: boolean;
  /** Whether the inviting account and who redeems it become contacts. */
  readonly connects: boolean;
  /** How often it can still be redeemed. */
  readonly uses: number;
  /** When it was made, and when it expires, in ms since 1970. */
  readonly at: number;
  readonly until: number;
}

/** What a new invite is to be. */
export type Wanted = Pick<Invite, 'by' | 'name' | 'role' | 'groups' | 'registers' | 'connects' | 'uses' | 'until'>;

export interface MadeInvite {
  readonly id: string;
  /** RFC 5122, with the token. It is not stored, and cannot be shown again. */
  readonly uri: string;
  /** The page for browsers; undefined if there is none. */
  readonly url: string | undefined;
  readonly invite: Invite;
}

declare module '../../server/module/index.js' {
  interface Services {
    invites: {
      /** Throws StanzaError if there are too many, or the name is taken. */
      make(wanted: Omit<Wanted, 'until'> & { readonly seconds?: number | undefined }): Promise<MadeInvite>;
      /** Those that can still be redeemed, the oldest first. */
      list(): Promise<readonly (readonly [id: string, invite: Invite])[]>;
      /** Returns false if there is none. */
      revoke(id: string): Promise<boolean>;
    };
    /** For the module that registers accounts. */
    invitedRegistration: {
      /** Whether an unauthenticated stream, or an HTTP request, has shown a token with which an account can be registered. */
      isInvited(stream: object): boolean;
      /**
       * Uses the token of the stream, if it has shown one, for this account. Throws StanzaError if that is not possible,
       * or if the name is reserved for another invite.
       */
      redeem(stream: object, account: Jid): Promise<Redeemed>;
    };
  }
}

/** A token that was used for an account. */
export interface Redeemed {
  /** The role that the account gets. */
  readonly role: 'admin' | 'user';
  /** The account exists: it becomes a contact of who invited, and a member of groups. */
  done(): Promise<void>;
  /** It could not be made: the token can be used again. */
  undo(): Promise<void>;
}
