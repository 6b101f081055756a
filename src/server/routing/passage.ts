import type { Jid } from '../stanza/jid.js';
import type { Behalf } from '../stanza/speaker.js';
import type { Stanza } from '../stanza/stanza.js';
import type { Receipt } from './link.js';
import type { Session } from './session.js';

/**
 * The steps of a message through an account, in the order in which it takes them.
 * clean: take off what must not come from outside. archive: keep it. deliver: the recipient's sessions, or on the
 * way out the router. copy: further sessions of the owner. absent: nobody was there to take it (way in only).
 */
export const steps = ['clean', 'archive', 'deliver', 'copy', 'absent'] as const;
export type Step = (typeof steps)[number];

export type Way = 'out' | 'in';

/** What an acknowledgement waits for: a write of ours, or somebody beyond a network, who may take long. */
export type Awaited = 'disk' | 'network';

/** Where a stanza came in: the stream of a session, another server, or this server itself. */
export interface Origin {
  /** The session that sent it, where it is one of ours. */
  readonly session: Session | undefined;
  /** Somebody is told when the stanza has been dealt with, so that truth matters: XEP-0198, another server. */
  readonly acknowledges: boolean;
  /** The acknowledgement waits for this. Too much that waits for the disk slows the sender down; the network never does. */
  acknowledgeAfter(done: Promise<unknown>, what?: Awaited): void;
  /** Set where a service relays what somebody else made: who may reach whom is decided by them, not by `from`. */
  readonly behalf?: Behalf | undefined;
  /** Set where the account's home chooses the sessions that get the stanza; undefined: as its address and type say. */
  readonly audience?: Audience | undefined;
}

/**
 * Which sessions of an account of this server a stanza is for, where its sender cannot know them: they live at the
 * account's home. A stanza for no session is dropped there before anything is read.
 * present: whoever RFC 6121 §8 says, if the account has a session.
 * willing: available sessions whose clients announce `feature` (XEP-0115), but for the full addresses in `except`.
 * unwilling: whoever RFC 6121 §8 says, unless a session is 'willing'.
 */
export type Audience =
  | { readonly kind: 'present' }
  | { readonly kind: 'willing' | 'unwilling'; readonly feature: string; readonly except: readonly string[] };

/** A stanza passing an account: the sender's on the way out, the recipient's on the way in. */
export interface Passage {
  readonly way: Way;
  /** Whose account this is, bare. */
  readonly owner: Jid;
  /** The other party, as addressed. */
  readonly peer: Jid;
  /** Replaceable; itself immutable. */
  stanza: Stanza;
  readonly origin: Origin;
}

/** One message passing one account (or room). */
export interface MessagePassage extends Passage {
  /** The owner's sessions, looked up once. */
  readonly sessions: readonly Session[];
  /** Set by 'archive': the id in the owner's archive (XEP-0359). */
  archivedAs: string | undefined;
  /** What the owner's sessions get: the stanza with the owner's archive id. */
  readonly seen: Stanza;
  /** Set by 'deliver': the sessions of the owner that got it. */
  deliveredTo: readonly Session[];
  /** The sender's acknowledgement waits for this; the message does not. */
  acknowledgeAfter(done: Promise<unknown>, what?: Awaited): void;
  /** Tells `receipt` what became of the delivery to the sessions in `deliveredTo`. For steps before 'deliver'. */
  receipt: Receipt | undefined;
  /** How many more of the owner's sessions were sent a copy that tells `receipt` too. Set by 'copy'. */
  copies: number;
}
