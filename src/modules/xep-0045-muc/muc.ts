/** What every part of the service works with, and how a room speaks to its occupants. */
import { onBehalfOf } from '../../server/module/index.js';
import type { Origin } from '../../server/routing/passage.js';
import { randomId } from '../../server/stanza/ids.js';
import type { Jid } from '../../server/stanza/jid.js';
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

/** What the room sends to one user for somebody: only those who are in the room have asked for that. */
export const relayedFor = (speaker: Jid, room: Room, to: string): Origin =>
  onBehalfOf([speaker], { isAsked: room.occupantsOf(to).length > 0 });

/** Hands one client what its room says. */
export function deliver({ host, blocking }: Muc, { jid, session }: Seat, stanza: Stanza): void {
  const addressed = stanza.with({ to: jid });
  // Straight to a session of ours where its account would just let it pass.
  const isDirect =
    session !== undefined &&
    (stanza.name !== 'message' || host.isUntouched(stanza)) &&
    blocking.isBlocked(jid.bare, stanza.from!) === false;
  if (isDirect) session.send(addressed);
  else void host.route(addressed);
}

/**
 * Hands one client what its room has to tell it piece by piece, as its client takes it. What the room says to it meanwhile
 * comes behind that.
 */
export function pour(muc: Muc, seat: Seat, source: Generator<Stanza | undefined, void>): void {
  const { session } = seat;
  if (session !== undefined) {
    const failed = (error: unknown) => muc.log.error({ err: error }, 'a room could not tell a client everything');
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
    const told = stanza?.with({ to: jid });
    // As in `deliver`: what its account would change goes through the account.
    if (told !== undefined && told.name === 'message' && !host.isUntouched(told)) yield host.route(told) ?? undefined;
    else yield told;
  }
}

/** Hands one client what its own account has to hear of too: that it is out, or came under another name. */
export function deliverByAccount({ host }: Muc, { jid }: Seat, stanza: Stanza): void {
  void host.route(stanza.with({ to: jid }));
}

export function deliverToAll(muc: Muc, room: Room, stanza: Stanza): void {
  for (const seat of room.seats.values()) deliver(muc, seat, stanza);
}

export interface News {
  /** What is said; the occupant's last presence unless it is given. */
  readonly stanza?: Stanza;
  /** Codes for all. */
  readonly codes?: readonly string[];
  /** The client that did it. It gets an answer even if nothing has changed. */
  readonly by?: Seat;
  /** What everybody was shown before: those whose view has not changed are not told. Undefined: all are told. */
  readonly since?: Shown | undefined;
  /** Codes for the client that did it, or else for the whole occupant, besides 110. */
  readonly ownCodes?: readonly string[];
  /** As it is to be told, where it differs from what it is. */
  readonly standing?: Standing;
  readonly item?: ItemParts;
  /** Further children of `<x/>`, for all. */
  readonly more?: readonly Element[];
  /** The same for those that get `ownCodes`. */
  readonly ownMore?: readonly Element[];
  /** Whether the others see it; else as the occupant's role has it. */
  readonly isShown?: boolean;
}

/** Tells everybody of an occupant's presence, himself as well (§7.2.2, §7.7). */
export function announce(muc: Muc, room: Room, occupant: Occupant, news: News = {}): void {
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
  } = news;
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
    // Who is not told of the occupant yet is told how it is then.
    if (seat.entering?.has(occupant) === true) continue;
    versions[key] ??= isPlain
      ? room.presenceOf(occupant, isKnown)
      : room.presence(occupant, { ...parts, isKnown, codes });
    if (seat === by || since?.[key]?.content !== versions[key].content) deliver(muc, seat, versions[key]);
  }
  const isKept = since?.known !== undefined && since.known.content === room.presenceOf(occupant, true).content;
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
    if (isKept && seat !== by) continue;
    // The answer has the id of what it answers, whichever client's presence stands.
    const told = seat === by ? full().with({ id: seat.presence.id }) : (own ??= by === undefined ? full() : plain());
    if (told.type === 'unavailable') deliverByAccount(muc, seat, told);
    else deliver(muc, seat, told);
  }
}

/** §10.2.1: tells all that something has changed. */
export function announceChange(muc: Muc, room: Room, codes: readonly string[]): void {
  if (codes.length === 0) return;
  const x = el('x', { xmlns: NS.mucUser }, ...codes.map((code) => el('status', { code })));
  deliverToAll(muc, room, Stanza.build('message', { from: room.jid, type: 'groupchat', id: randomId() }, x));
}

/** An unavailable presence, to be sent for an occupant. */
export const gone = (from: Jid): Stanza => Stanza.build('presence', { from, type: 'unavailable' });

/**
 * What a client says, without what only a room may say (§17.3, XEP-0421 §4): data of roles and codes, ids of occupants
 * and of the archive, hats, and delays, by which live messages would look like old ones.
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

/** A copy that does not keep alive all that was read from the socket with it. */
export const detached = (stanza: Stanza): Stanza => Stanza.parse(stanza.toXml(NS.client));
