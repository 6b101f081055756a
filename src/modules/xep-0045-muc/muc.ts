/** The parts of the service, and how a room sends to its occupants. */

import type { Jid } from '../../server/address/jid.js';
import { monotonic } from '../../server/clock.js';
import { type Maybe, onBehalfOf } from '../../server/module/index.js';
import type { Origin } from '../../server/routing/passage.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { withoutIdsBy } from '../../server/stanza/stanza-id.js';
import { type Element, el } from '../../server/xml/element.js';
import type { MucParts } from './parts.js';
import type { Standing } from './privileges.js';
import type { ItemParts, Occupant, Room, Seat, Shown } from './room.js';
import type { Rooms } from './rooms.js';
import type { Subscribers } from './subscribers.js';

export type { Settings, Stores } from './parts.js';

export interface Muc extends MucParts {
  readonly rooms: Rooms;
  readonly subscribers: Subscribers;
}

/** Origin of a stanza that the room relays to one user. Only occupants count as having asked for it. */
export const relayedFor = (speaker: Jid, room: Room, to: string): Origin =>
  onBehalfOf([speaker], { isAsked: room.occupantsOf(to).length > 0 });

/** Sends one client a stanza of its room, after all earlier ones. */
export function deliver(muc: Muc, seat: Seat, stanza: Stanza): void {
  const { handling } = seat;
  noteHandling(seat, handling === undefined ? send(muc, seat, stanza) : handling.then(() => send(muc, seat, stanza)));
}

/** What is sent directly must not overtake what the client's account still handles. `sent` never rejects. */
function noteHandling(seat: Seat, sent: Maybe<void>): void {
  if (!(sent instanceof Promise)) return;
  const done: Promise<void> = sent.then(() => {
    if (seat.handling === done) seat.handling = undefined;
  });
  seat.handling = done;
}

function send({ host, blocking }: Muc, { jid, session }: Seat, stanza: Stanza): Maybe<void> {
  const addressed = stanza.with({ to: jid });
  // Directly to a local session if its account would pass the stanza unchanged. An account may wake a client that has
  // lost its connection (XEP-0357).
  const isDirect =
    session?.connection !== undefined &&
    (stanza.name !== 'message' || host.isUntouched(stanza)) &&
    blocking.isBlocked(jid.bare, stanza.from!) === false &&
    // What is routed to an account that is about to move waits, and must not be overtaken.
    host.livesHere(jid);
  if (!isDirect) return host.route(addressed);
  session.send(addressed);
}

/**
 * Sends a client a sequence of stanzas, paced by the client. Later stanzas of the room to this client are queued after
 * them.
 */
export function pour(muc: Muc, seat: Seat, source: Generator<Stanza | undefined, void>): void {
  const { session } = seat;
  if (session !== undefined) {
    const failed = (error: unknown) => muc.log.error({ err: error }, 'sending room state to a client failed');
    void session.pour(addressed(muc, seat, source), { lane: seat.occupant.jid.bare, failed });
  } else for (const stanza of source) if (stanza !== undefined) deliver(muc, seat, stanza);
}

function* addressed(
  { blocking, host }: Muc,
  { jid, occupant }: Seat,
  source: Iterable<Stanza | undefined>,
): Generator<Stanza | Promise<unknown> | undefined, void> {
  let isBlocked = blocking.isBlocked(jid.bare, occupant.jid);
  if (isBlocked instanceof Promise)
    yield isBlocked.then((yes) => {
      isBlocked = yes;
    });
  if (isBlocked === true) return;
  for (const stanza of source) {
    const outgoing = stanza?.with({ to: jid });
    // As in `deliver`: messages that the account would change are routed through the account.
    if (outgoing !== undefined && outgoing.name === 'message' && !host.isUntouched(outgoing))
      yield host.route(outgoing) ?? undefined;
    else yield outgoing;
  }
}

/**
 * Sends one client a stanza that its own account must see too: it is out of the room, or entered under another
 * nickname.
 */
export function deliverByAccount({ host }: Muc, seat: Seat, stanza: Stanza): void {
  const addressed = stanza.with({ to: seat.jid });
  const { handling } = seat;
  noteHandling(seat, handling === undefined ? host.route(addressed) : handling.then(() => host.route(addressed)));
}

export function deliverToAll(muc: Muc, room: Room, stanza: Stanza): void {
  room.spokeAt = monotonic();
  for (const seat of room.seats.values()) deliver(muc, seat, stanza);
}

export interface Announcement {
  /** The presence to announce; defaults to the occupant's last presence. */
  readonly stanza?: Stanza;
  /** Codes for all. */
  readonly codes?: readonly string[];
  /** The client that caused it. It gets an answer even if nothing has changed. */
  readonly by?: Seat;
  /** What each view showed before; occupants whose view is unchanged are skipped. Undefined notifies all. */
  readonly since?: Shown | undefined;
  /** Codes besides 110 for the client that caused it, or if there is none for all clients of the occupant. */
  readonly ownCodes?: readonly string[];
  /** Role and affiliation to announce; default to the current ones. */
  readonly standing?: Standing;
  readonly item?: ItemParts;
  /** Further children of `<x/>`, for all. */
  readonly more?: readonly Element[];
  /** The same, for clients that get `ownCodes` only. */
  readonly ownMore?: readonly Element[];
  /** Whether the others see it; defaults to the setting for the occupant's role. */
  readonly isShown?: boolean;
}

/** Sends an occupant's presence to all occupants, including the occupant (§7.2.2, §7.7). */
export function announce(muc: Muc, room: Room, occupant: Occupant, announcement: Announcement = {}): void {
  const {
    stanza,
    codes = [],
    by,
    since,
    ownCodes = [],
    standing,
    item,
    more,
    ownMore,
    isShown = room.isShown(occupant.role),
  } = announcement;
  const isPlain = stanza === undefined && codes.length === 0 && !standing && !item && !more;
  const parts = {
    ...(stanza && { stanza }),
    ...(standing && { standing }),
    ...(item && { item }),
    ...(more && { more }),
  };
  const versions: Shown = {};
  for (const seat of room.seats.values()) {
    if (seat.occupant === occupant || !isShown) continue;
    const isKnown = room.knows(seat.occupant.role);
    const key = isKnown ? 'known' : 'unknown';
    // Occupants not yet sent to this client will be sent in their current state.
    if (seat.entering?.has(occupant) === true) continue;
    versions[key] ??= isPlain
      ? room.presenceOf(occupant, isKnown)
      : room.presence(occupant, { ...parts, isKnown, codes });
    if (seat === by || since?.[key]?.content !== versions[key].content) deliver(muc, seat, versions[key]);
  }
  const isUnchanged = since?.known !== undefined && since.known.content === room.presenceOf(occupant, true).content;
  const plain = () => room.presence(occupant, { ...parts, isKnown: true, codes: [...codes, '110'] });
  const full = () =>
    room.presence(occupant, {
      ...parts,
      ...(ownMore && { more: [...(more ?? []), ...ownMore] }),
      isKnown: true,
      codes: [...ownCodes, ...codes, '110'],
    });
  let own: Stanza | undefined;
  for (const seat of occupant.seats) {
    if (isUnchanged && seat !== by) continue;
    // The answer has the id of the request, whichever client's presence represents the occupant.
    const outgoing =
      seat === by ? full().with({ id: seat.presence.id }) : (own ??= by === undefined ? full() : plain());
    if (outgoing.type === 'unavailable') deliverByAccount(muc, seat, outgoing);
    else deliver(muc, seat, outgoing);
  }
}

/** §10.2.1: notifies all occupants of a configuration change. */
export function announceChange(muc: Muc, room: Room, codes: readonly string[]): void {
  if (codes.length === 0) return;
  const x = el('x', { xmlns: NS.mucUser }, ...codes.map((code) => el('status', { code })));
  deliverToAll(muc, room, Stanza.build('message', { from: room.jid, type: 'groupchat', id: randomId() }, x));
}

/** An unavailable presence sent on behalf of an occupant. */
export const unavailableFrom = (from: Jid): Stanza => Stanza.build('presence', { from, type: 'unavailable' });

/**
 * A client's stanza without what only a room may say (§17.3, XEP-0421 §4): roles and status codes, occupant and archive
 * ids, hats, and delays, which would make live messages look like history.
 */
export function cleaned(stanza: Stanza, room: Jid): Stanza {
  const others = stanza
    .without(NS.muc, 'x')
    .without(NS.mucUser, 'x')
    .without(NS.occupantId, 'occupant-id')
    .without(NS.hats, 'hats')
    .without(NS.delay, 'delay')
    .without(NS.delayLegacy, 'x');
  return withoutIdsBy(others, room, true);
}

/** A copy that does not retain the socket's read buffer. */
export const detached = (stanza: Stanza): Stanza => Stanza.parse(stanza.toXml(NS.client));
