import type { Jid } from '../address/jid.js';
import type { Behalf } from '../stanza/speaker.js';
import type { Stanza } from '../stanza/stanza.js';
import type { Receipt } from './link.js';
import type { Session } from './session.js';

/**
 * The steps of a message through an account, in order. clean: remove what must not come from outside. archive: store
 * it. deliver: to the recipient's sessions, or on the way out to the router. copy: to further sessions of the owner.
 * absent: it was delivered to nobody (way in only).
 */
export const steps = ['clean', 'archive', 'deliver', 'copy', 'absent'] as const;
export type Step = (typeof steps)[number];

export type Way = 'out' | 'in';

/** What an acknowledgement waits for: a local write, or a network peer, which may take long. */
export type Awaited = 'disk' | 'network';

/** The first frame between nodes that carried a stanza, wherever it went from there. */
export interface FirstFrame {
  /** Differs from those of all other frames of the cluster. */
  readonly id: string;
  /** It was sent again: a home that is gone may have handled the stanza already. */
  readonly isRepeated: boolean;
}

/** Where a stanza came from: the stream of a session, another server, or this server itself. */
export interface Origin {
  /** The session that sent it, if it is ours. */
  readonly session: Session | undefined;
  /** The sender relies on the acknowledgement: a client (XEP-0198), or another server. */
  readonly acknowledges: boolean;
  /** Delays the acknowledgement until `done` settles. Pending writes slow the sender down; the network does not. */
  acknowledgeAfter(done: Promise<unknown>, what?: Awaited): void;
  /** This server itself wrote the stanza. A component or another server that sends one is not this server. */
  readonly isByServer?: boolean | undefined;
  /** Set when a service relays for others: they decide who may reach whom, not `from`. */
  readonly behalf?: Behalf | undefined;
  /** The domain of the component that acts for the sender (XEP-0356). */
  readonly component?: string | undefined;
  /** Set when the account's home chooses the sessions. Otherwise address and type decide. */
  readonly audience?: Audience | undefined;
  /** An error that this server raised for a session, here or at another node, which is still there. */
  readonly isRaised?: boolean | undefined;
  /** Set if it came from another node. What it has led to is stored with it. */
  readonly frame?: FirstFrame | undefined;
  /** A session at another node sent it to another server. */
  readonly isUsers?: boolean | undefined;
}

/**
 * Which sessions of an account of this server a stanza is for, if the sender cannot know them because they live at the
 * account's home. A stanza for no session is dropped there without reading the account.
 * present: as RFC 6121 §8 says, if the account has a session.
 * willing: available sessions whose clients announce `feature` (XEP-0115), except the full addresses in `except`.
 * unwilling: as RFC 6121 §8 says, unless a session is 'willing'.
 */
export type Audience =
  | { readonly kind: 'present' }
  | { readonly kind: 'willing' | 'unwilling'; readonly feature: string; readonly except: readonly string[] };

/** A stanza passing through an account: the sender's on the way out, the recipient's on the way in. */
export interface Passage {
  readonly way: Way;
  /** The owner of the account, bare. */
  readonly owner: Jid;
  /** The other party, as addressed. */
  readonly peer: Jid;
  /** Replaceable; itself immutable. */
  stanza: Stanza;
  readonly origin: Origin;
}

/** A message passing through an account (or room). */
export interface MessagePassage extends Passage {
  /** The owner's sessions, looked up once. */
  readonly sessions: readonly Session[];
  /** Set by 'archive': the id in the owner's archive (XEP-0359). */
  archivedAs: string | undefined;
  /** What the owner's sessions get: the stanza with the owner's archive id. */
  readonly seen: Stanza;
  /** Set by 'deliver': the owner's sessions that got it. */
  deliveredTo: readonly Session[];
  /** Delays the sender's acknowledgement until `done` settles; the message is not delayed. */
  acknowledgeAfter(done: Promise<unknown>, what?: Awaited): void;
  /** Gets the outcome of the delivery to the sessions in `deliveredTo`. Set before 'deliver'. */
  receipt: Receipt | undefined;
  /** Further sessions of the owner that got a copy with the same `receipt`. Set by 'copy'. */
  copies: number;
}
