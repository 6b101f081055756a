/**
 * The stored snapshot of a stream management session (XEP-0198), for restarts and crashes: its record, the formats of
 * earlier versions, and the session restored from it.
 */
import { z } from 'zod';
import { Jid } from '../address/jid.js';
import { elapsedSince, type Moment, wall } from '../clock.js';
import type { Link, Sent } from '../routing/link.js';
import { Session } from '../routing/session.js';
import { readStates, type SessionState, type StoredStates } from '../routing/session-state.js';
import { jid, stanzaXml, whole } from '../stanza/stored.js';
import { type UserAgent, userAgent } from '../stanza/user-agent.js';
import { modulus } from './xep-0198-received.js';

const counter = whole.lt(modulus);

interface SavedStanza {
  readonly xml: string;
  /** Reference of its receipt. */
  readonly reference?: string | undefined;
}

/** State of an Sm that survives a restart or a crash. */
export interface SavedSm extends UserAgent {
  readonly jid: string;
  readonly mechanism: string;
  readonly received: number;
  readonly acknowledged: number;
  readonly queue: readonly SavedStanza[];
  /** Module state by name. Earlier versions stored it among the fields of the record. */
  readonly state?: Readonly<Record<string, unknown>> | undefined;
  /** Remaining lifetime of the session at a moment; undefined if it was connected. */
  readonly left?: { readonly ms: number; readonly at: Moment } | undefined;
  /** Earlier versions stored this instead of `left`: its end by the wall clock; 0 if it was connected. */
  readonly expires?: number | undefined;
  readonly holdSeconds: number;
}

/** Schema of a record when it is read: a session with a damaged record cannot be resumed. */
export const savedSm: z.ZodType<SavedSm> = z.object({
  jid: jid.refine((text) => Jid.tryParse(text)?.resource !== undefined),
  mechanism: z.string(),
  ...userAgent.shape,
  received: counter,
  acknowledged: counter,
  queue: z.array(z.object({ xml: stanzaXml, reference: z.string().optional() })),
  state: z.record(z.string(), z.unknown()).optional(),
  left: z.object({ ms: z.number(), at: z.object({ wall: z.number(), uptime: z.number() }) }).optional(),
  expires: z.number().optional(),
  holdSeconds: whole,
});

/** Stanzas that an old home has handled, and that may be acknowledged once it says so. */
const lateCount = z.object({ ticket: z.string(), node: z.string(), count: whole });
export type LateCount = z.output<typeof lateCount>;

/** State of an Sm that moves to another node. */
export const movedSm = z.object({
  id: z.string(),
  saved: savedSm,
  /** As it would be in the answer to the pending `<r/>`. */
  asked: counter.optional(),
  /** How many of the last stanzas of the queue were never written. */
  unsent: whole,
  /** Stanzas over the limit that may stay. */
  excess: whole,
  /** Handled stanzas that are not in `saved.received`, in order. */
  late: z.array(lateCount),
  /** The stanza numbers that the first and the last unanswered `<r/>` of the client want acknowledged. */
  owed: z.array(counter),
});
export type MovedSm = z.output<typeof movedSm>;

/** State of a session outside its Sm. */
export interface Surroundings {
  /** Stanzas held before the Sm (XEP-0352), oldest first. */
  readonly held: readonly Sent[];
  readonly state: StoredStates['values'];
}

/** Remaining lifetime of a saved session in ms. If it was connected, its time starts with this process. */
export function msLeft({ left, expires, holdSeconds }: SavedSm): number {
  const most = holdSeconds * 1000;
  if (left !== undefined) return Math.min(left.ms - elapsedSince(left.at), most);
  return expires ? Math.min(expires - wall(), most) : most;
}

/** Restores the session of a saved Sm, with all readable states. `damaged` is called for each unreadable one. */
export function revived(
  saved: SavedSm,
  link: Link,
  states: readonly SessionState[],
  damaged: (state: SessionState) => void,
): Session {
  const session = new Session(Jid.parse(saved.jid), link, saved.mechanism, userAgent.parse(saved));
  readStates(session, states, saved.state ?? { ...saved }, damaged);
  session.acknowledges = true;
  return session;
}
