/**
 * What of stream management (XEP-0198) is stored of a session, for a restart and for a crash: the record, what earlier
 * versions wrote, and the session that comes of it.
 */
import { z } from 'zod';
import { elapsedSince, type Moment, wall } from '../clock.js';
import type { Link, Sent } from '../routing/link.js';
import { Session } from '../routing/session.js';
import { readStates, type SessionState, type StoredStates } from '../routing/session-state.js';
import { Jid } from '../stanza/jid.js';
import { jid, stanzaXml, whole } from '../stanza/stored.js';

/** Counters wrap at 2^32 (§4). */
export const modulus = 2 ** 32;
const counter = whole.lt(modulus);

interface SavedStanza {
  readonly xml: string;
  /** Of its receipt. */
  readonly reference?: string | undefined;
}

/** What of an Sm survives a restart, or a crash. */
export interface SavedSm {
  readonly jid: string;
  readonly mechanism: string;
  readonly clientId?: string | undefined;
  readonly received: number;
  readonly acknowledged: number;
  readonly queue: readonly SavedStanza[];
  /** What modules declare, by the names of the states. Earlier versions wrote it among the fields of the record. */
  readonly state?: Readonly<Record<string, unknown>> | undefined;
  /** How long the session had to live at a moment; undefined if it was connected. */
  readonly left?: { readonly ms: number; readonly at: Moment } | undefined;
  /** What earlier versions wrote instead of `left`: when it ends by the wall clock; 0 if it was connected. */
  readonly expires?: number | undefined;
  readonly holdSeconds: number;
}

/** The record as it is checked when it is read: a session whose record is damaged cannot be resumed. */
export const savedSm: z.ZodType<SavedSm> = z.object({
  jid: jid.refine((text) => Jid.tryParse(text)?.resource !== undefined),
  mechanism: z.string(),
  clientId: z.string().optional(),
  received: counter,
  acknowledged: counter,
  queue: z.array(z.object({ xml: stanzaXml, reference: z.string().optional() })),
  state: z.record(z.string(), z.unknown()).optional(),
  left: z.object({ ms: z.number(), at: z.object({ wall: z.number(), uptime: z.number() }) }).optional(),
  expires: z.number().optional(),
  holdSeconds: whole,
});

/** What of a session its Sm does not know. */
export interface Surroundings {
  /** What is held back before the Sm (XEP-0352). */
  readonly held: readonly Sent[];
  readonly state: StoredStates['values'];
}

/** How long a saved session has to live. If it was connected, its time starts with this process. */
export function msLeft({ left, expires, holdSeconds }: SavedSm): number {
  const most = holdSeconds * 1000;
  if (left !== undefined) return Math.min(left.ms - elapsedSince(left.at), most);
  return expires ? Math.min(expires - wall(), most) : most;
}

/** The session of a saved Sm, as it was: with what of these states can be read. `damaged` is told of the others. */
export function revived(
  saved: SavedSm,
  link: Link,
  states: readonly SessionState[],
  damaged: (state: SessionState) => void,
): Session {
  const session = new Session(Jid.parse(saved.jid), link, saved.mechanism, saved.clientId);
  readStates(session, states, saved.state ?? { ...saved }, damaged);
  session.acknowledges = true;
  return session;
}
