/** A room in memory: its configuration, its occupants, and the order of operations in it. */

import { createHash, createHmac } from 'node:crypto';
import type { Jid } from '../../server/address/jid.js';
import { nickname, nicknameKey, PrecisError } from '../../server/address/precis.js';
import { monotonic } from '../../server/clock.js';
import type { Maybe } from '../../server/module/index.js';
import type { Session } from '../../server/routing/session.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el } from '../../server/xml/element.js';
import type { MentionRights } from './mention-rights.js';
import { type Affiliation, isAtLeast, type Role, type Standing } from './privileges.js';
import type { RoomConfig } from './room-config.js';
import { noActivity } from './xep-0502-activity.js';

/** A user's entry in the lists of a room. */
export interface Member {
  readonly affiliation: Exclude<Affiliation, 'none'>;
  /** The reserved nickname (§7.10). */
  readonly nick?: string | undefined;
  readonly reason?: string | undefined;
}

export interface Subject {
  readonly text: string;
  /** The message that set it, as XML. */
  readonly xml: string;
  /** Ms since 1970. */
  readonly at: number;
}

/** XEP-0317. */
export interface Hat {
  readonly uri: string;
  readonly title: string;
  readonly hue?: string | undefined;
}

/** XEP-0488. */
export interface Token {
  readonly token: string;
  /** The bare address of its creator. */
  readonly creator: string;
  /** Ms since 1970. */
  readonly until?: number | undefined;
  /** Remaining uses. */
  readonly left?: number | undefined;
}

/** The stored record of a room, without its members. */
export interface StoredRoom {
  readonly v: 1;
  readonly config: RoomConfig;
  readonly creator: string;
  /** Ms since 1970. */
  readonly created: number;
  /** XEP-0421 §4.1: the key of the occupant ids, base64. */
  readonly secret: string;
  readonly subject?: Subject | undefined;
  /** XEP-0486: the SHA-1 hashes of its avatars. */
  readonly avatar?: readonly string[] | undefined;
  readonly tokens?: readonly Token[] | undefined;
  readonly hats?: readonly Hat[] | undefined;
  /** The URIs of hats, by bare address. */
  readonly wearers?: Readonly<Record<string, readonly string[]>> | undefined;
  /** XEP-0513: the owners' settings. */
  readonly mentions?: MentionRights | undefined;
}

/** One client in the room. */
export interface Seat {
  /** Its real address. */
  readonly jid: Jid;
  /** Undefined for clients of other servers, and for sessions that have moved between nodes since they entered. */
  session: Session | undefined;
  occupant: Occupant;
  /** Its last presence, cleaned of what only the room may say. */
  presence: Stanza;
  /** When it last sent something, or was looked for (ghosts.ts), in ms. */
  heardAt: number;
  /** Occupants whose presence the client has yet to be sent after entering; undefined once complete. */
  entering?: Set<Occupant> | undefined;
  /** Pending while its account handles a stanza of the room: later ones follow. */
  handling?: Promise<void> | undefined;
}

/** The presence of an occupant: with real addresses, and without. */
export interface Shown {
  known?: Stanza;
  unknown?: Stanza;
}

/** A nickname in the room, used by one or more clients of a user. */
export interface Occupant {
  nick: string;
  /** `room@service/nick`. */
  jid: Jid;
  /** A bare address. */
  readonly user: Jid;
  /** XEP-0421. */
  readonly id: string;
  role: Role;
  /** By increasing availability: the presence of the last one is shown. */
  readonly seats: Seat[];
  /** Cache, filled on demand. */
  shown: Shown;
}

/** A message that new occupants are sent. */
export interface Remembered {
  readonly id: string;
  /** Ms since 1970. */
  readonly at: number;
  stanza: Stanza;
}

export interface ListChange {
  readonly since: string;
  readonly until: string;
  /** A bare address. */
  readonly user: string;
  readonly before: Affiliation;
  readonly affiliation: Affiliation;
}

export class Room {
  readonly occupants = new Map<string, Occupant>();
  readonly seats = new Map<string, Seat>();
  readonly members = new Map<string, Member>();
  /** The holder of each reserved nickname. */
  readonly reserved = new Map<string, string>();
  /** Oldest first. */
  history: Remembered[] = [];
  /** Characters of the contents of `history`. */
  historySize = 0;
  readonly activity = noActivity();
  /** XEP-0500: time of each user's last message, in ms, by bare address; most recent last. */
  readonly spoke = new Map<string, number>();
  /** XEP-0463: recent changes of lists, oldest first. */
  readonly listChanges: ListChange[] = [];
  readonly #listState = Buffer.alloc(16);
  /** Listed users by occupant id; built on first use. */
  #byId: Map<string, string> | undefined;
  /**
   * XEP-0437: the subscription count up to which all subscribers have been notified; undefined if some may not have
   * been.
   */
  notifiedCount: number | undefined;
  /** Members whose accounts want no copies of messages (away.ts), by bare address, and until when, ms. */
  readonly copyRefusals = new Map<string, number>();
  /** Nobody who is away wants copies before this time, ms. */
  copiesAgainAt = 0;
  /** Pending invitations: invitee to inviter, bare addresses, oldest first. */
  readonly invited = new Map<string, string>();
  /** Pending registration requests (§9.9): bare addresses, oldest first. */
  readonly applicants = new Set<string>();
  /**
   * §10.1.1: time in ms since which only the owner may enter, until they configure the room; undefined if it is open.
   */
  lockedSince: number | undefined;
  /** Set once the object is stale: look the room up again. */
  isDestroyed = false;
  /** Time of the last access, ms. */
  touched = monotonic();
  /** Time of the last message to all occupants, ms. */
  spokeAt = monotonic();
  #isRunning = false;
  readonly #pending: (() => Maybe<void>)[] = [];

  constructor(
    readonly jid: Jid,
    public stored: StoredRoom,
    /** Bare addresses of users who own every room of the service without being on its lists. */
    readonly globalOwners: ReadonlySet<string> = new Set(),
  ) {}

  get config(): RoomConfig {
    return this.stored.config;
  }

  get name(): string {
    return this.config.name || this.jid.local!;
  }

  // --- order --------------------------------------------------------------------------------------------------

  /**
   * Runs an operation after all earlier ones, synchronously if none is running. Stanzas that the operation itself
   * causes, such as an error that bounces back, are queued too.
   */
  turn<T>(operation: () => Maybe<T>): Maybe<T> {
    if (this.#isRunning) {
      return new Promise<T>((resolve, reject) => {
        this.#pending.push(() => settle(operation, resolve, reject));
      });
    }
    this.#isRunning = true;
    let outcome: Maybe<T>;
    try {
      outcome = operation();
    } catch (error) {
      this.#next();
      throw error;
    }
    if (outcome instanceof Promise) return outcome.finally(() => this.#next());
    this.#next();
    return outcome;
  }

  get isIdle(): boolean {
    return !this.#isRunning;
  }

  #next(): void {
    for (;;) {
      const operation = this.#pending.shift();
      if (operation === undefined) {
        this.#isRunning = false;
        return;
      }
      const done = operation();
      if (done !== undefined) {
        const next = () => this.#next();
        done.then(next, next);
        return;
      }
    }
  }

  // --- affiliations -------------------------------------------------------------------------------------------

  affiliationOf(user: Jid): Affiliation {
    if (this.globalOwners.has(user.bare)) return 'owner';
    const own = this.members.get(user.bare)?.affiliation;
    if (own !== undefined) return own;
    // §9.2: a whole domain can be banned
    return this.members.get(user.domain)?.affiliation === 'outcast' ? 'outcast' : 'none';
  }

  standingOf(occupant: Occupant): Standing {
    return { role: occupant.role, affiliation: this.affiliationOf(occupant.user) };
  }

  seat(jid: Jid): Seat | undefined {
    return this.seats.get(jid.full);
  }

  /** The occupant with this nickname, in any spelling that RFC 8266 treats as equal. */
  occupant(nick: string): Occupant | undefined {
    return this.occupants.get(keyOf(nick));
  }

  occupantsOf(user: string): Occupant[] {
    return [...this.occupants.values()].filter((occupant) => occupant.user.bare === user);
  }

  /** Whether occupants with this role see real addresses (§4.2). */
  knows(role: Role): boolean {
    return this.config.whois === 'anyone' || role === 'moderator';
  }

  /** Whether the presence of this role is broadcast. */
  isShown(role: Role): boolean {
    return this.config.presenceOf.includes(role);
  }

  owners(): string[] {
    return this.withAffiliation('owner');
  }

  withAffiliation(affiliation: Affiliation): string[] {
    return [...this.members].filter(([, member]) => member.affiliation === affiliation).map(([jid]) => jid);
  }

  /** Updates a list entry. The caller applies it to occupants. */
  setMember(user: string, member: Member | undefined): void {
    const before = this.members.get(user);
    if (before?.nick !== undefined) this.reserved.delete(keyOf(before.nick));
    if (member === undefined) this.members.delete(user);
    else this.members.set(user, member);
    if (member?.nick !== undefined) this.reserved.set(keyOf(member.nick), user);
    if (before?.affiliation === member?.affiliation) return;
    this.notifiedCount = undefined;
    this.wantsCopies(user);
    if (before === undefined) this.#byId?.set(this.occupantIdOf(user), user);
    if (member === undefined) this.#byId?.delete(this.occupantIdOf(user));
    if (before !== undefined) this.#toggle(user, before.affiliation);
    if (member !== undefined) this.#toggle(user, member.affiliation);
  }

  /** The user may want copies of messages while away. */
  wantsCopies(user: string): void {
    this.copyRefusals.delete(user);
    this.copiesAgainAt = 0;
  }

  /** XEP-0463: identifies the contents of the lists, independent of the order of changes and stable over restarts. */
  get listVersion(): string {
    return this.#listState.toString('base64url');
  }

  #toggle(user: string, affiliation: Affiliation): void {
    const entry = createHash('sha256').update(`${user} ${affiliation}`).digest();
    for (let at = 0; at < this.#listState.length; at++) this.#listState[at]! ^= entry[at]!;
  }

  /** The bare address of the user who has reserved this nickname. */
  reservedFor(nick: string): string | undefined {
    return this.reserved.get(keyOf(nick));
  }

  /** XEP-0421 §4.1. */
  occupantId(user: Jid): string {
    return this.occupantIdOf(user.bare);
  }

  occupantIdOf(user: string): string {
    return createHmac('sha256', Buffer.from(this.stored.secret, 'base64')).update(user).digest('base64url');
  }

  /** The bare address of a listed user. */
  userOf(occupantId: string): string | undefined {
    this.#byId ??= new Map([...this.members.keys()].map((user) => [this.occupantIdOf(user), user]));
    return this.#byId.get(occupantId);
  }

  // --- presence -----------------------------------------------------------------------------------------------

  /** The presence of an occupant as others see it; cached. */
  presenceOf(occupant: Occupant, isKnown: boolean): Stanza {
    const key = isKnown ? 'known' : 'unknown';
    let stanza = occupant.shown[key];
    if (stanza === undefined) {
      stanza = this.presence(occupant, { isKnown, codes: [] });
      occupant.shown[key] = stanza;
    }
    return stanza;
  }

  /** Both current views, for comparison after a change. */
  shownOf(occupant: Occupant): Shown {
    return { known: this.presenceOf(occupant, true), unknown: this.presenceOf(occupant, false) };
  }

  /** A presence that is not cached. */
  presence(
    occupant: Occupant,
    {
      stanza = lastOf(occupant).presence,
      isKnown,
      codes,
      standing = this.standingOf(occupant),
      item = {},
      seats = occupant.seats,
      more = [],
    }: PresenceParts,
  ): Stanza {
    const { affiliation, role } = standing;
    const { nick, reason, actor } = item;
    const itemOf = (jid?: string) =>
      el(
        'item',
        { affiliation, role, jid, nick },
        actor === undefined ? undefined : el('actor', { nick: actor }),
        reason === undefined ? undefined : el('reason', null, reason),
      );
    // Many clients read only the first item, so it belongs to the client whose presence is shown.
    const items = isKnown
      ? seats
          .slice(-mostItems)
          .reverse()
          .map(({ jid }) => itemOf(jid.full))
      : [itemOf()];
    const x = el('x', { xmlns: NS.mucUser }, ...items, ...more, ...codes.map((code) => el('status', { code })));
    return stanza
      .with({ from: occupant.jid, to: undefined })
      .plus(x, occupantIdElement(occupant.id), this.#hatsOf(occupant));
  }

  /** XEP-0317 §3. */
  #hatsOf({ user }: Occupant): Element | undefined {
    const { hats = [], wearers = {} } = this.stored;
    const worn = hats.filter(({ uri }) => wearers[user.bare]?.includes(uri));
    if (worn.length === 0) return undefined;
    return el('hats', { xmlns: NS.hats }, ...worn.map(({ uri, title, hue }) => el('hat', { title, uri, hue })));
  }
}

export interface PresenceParts {
  /** Defaults to the occupant's last presence. */
  readonly stanza?: Stanza;
  readonly isKnown: boolean;
  readonly codes: readonly string[];
  readonly standing?: Standing;
  readonly item?: ItemParts;
  /** The clients that get an item each if real addresses are shown; defaults to all clients of the occupant. */
  readonly seats?: readonly Seat[];
  /** Further children of `<x/>`. */
  readonly more?: readonly Element[];
}

export interface ItemParts {
  readonly nick?: string | undefined;
  readonly reason?: string | undefined;
  /** The nickname of the occupant who caused the change. */
  readonly actor?: string | undefined;
}

export const occupantIdElement = (id: string): Element => el('occupant-id', { xmlns: NS.occupantId, id });

export const stanzaIdElement = (id: string, by: Jid): Element =>
  el('stanza-id', { xmlns: NS.stanzaId, id, by: by.bare });

/** The client whose presence represents the occupant. */
export const lastOf = (occupant: Occupant): Seat => occupant.seats.at(-1)!;

/** Maximum number of clients of one occupant whose addresses are shown. */
const mostItems = 20;

/** RFC 6121 §4.7.2.1, by increasing availability; no `<show/>` means available. */
const shows = ['dnd', 'xa', 'away', '', 'chat'];

/** Greater is more available; equal `<show/>` values are ordered by priority (RFC 6121 §4.7.2.3). */
function availabilityOf(presence: Stanza): number {
  const show = shows.indexOf(presence.text(NS.client, 'show')?.trim() ?? '');
  const priority = Number(presence.text(NS.client, 'priority') ?? 0);
  return (show < 0 ? shows.indexOf('') : show) * 256 + (Math.min(Math.max(priority, -128), 127) || 0);
}

/** Sets a client's presence and its position among the clients of the occupant; after those of equal availability. */
export function place(seat: Seat, presence: Stanza): void {
  const { seats } = seat.occupant;
  seat.presence = presence;
  const present = seats.indexOf(seat);
  if (present >= 0) seats.splice(present, 1);
  const availability = availabilityOf(presence);
  const next = seats.findIndex((other) => availabilityOf(other.presence) > availability);
  seats.splice(next < 0 ? seats.length : next, 0, seat);
  seat.occupant.shown = {};
}

/** Invisible characters that are not spaces: blanks of Braille, Khitan, Egyptian and music. */
const blanks = /[\u2800\u{16FE4}\u{13441}\u{13442}\u{1D159}]/gu;

/**
 * RFC 8266 §2.3: a nickname as displayed. In addition, invisible characters count as spaces and a combining mark cannot
 * come first, since such a nickname would be invisible or look like another. Throws PrecisError.
 */
export function shownNick(text: string): string {
  const nick = nickname(text.replace(blanks, ' '));
  if (/^\p{M}/u.test(nick)) throw new PrecisError('starts with a combining mark');
  return nick;
}

/**
 * RFC 8266 §2.4: the comparison key of a nickname. Nicknames of invisible characters alone, reserved by earlier
 * versions that accepted them, have a key too. Throws PrecisError.
 */
export function keyOf(nick: string): string {
  const clear = nick.replace(blanks, ' ');
  return nicknameKey(clear.trim() === '' ? nick : clear);
}

/** Whether users with this affiliation may enter or read the room, apart from its password. */
export const isWelcome = ({ config }: Room, affiliation: Affiliation): boolean =>
  affiliation !== 'outcast' && (!config.membersOnly || isAtLeast(affiliation, 'member'));

/** §7.2.10: a locked room does not exist for anyone but its owners. */
export const isOpenTo = (room: Room, asker: Jid): boolean =>
  room.lockedSince === undefined || room.affiliationOf(asker) === 'owner';

/** Whether the user has an affiliation other than outcast. */
export const isListed = (member: Member | undefined): boolean =>
  member !== undefined && member.affiliation !== 'outcast';

/** Who may read the lists of non-anonymous rooms. */
export type ListReaders = 'admins' | 'members' | 'occupants';

/** §9.2, §9.5, §10.5, §10.8: who may read a list. */
export function mayRead(room: Room, reader: Jid, list: Affiliation, openTo: ListReaders): boolean {
  const own = room.affiliationOf(reader);
  if (isAtLeast(own, 'owner')) return true;
  const isHigh = list === 'owner' || list === 'admin';
  if (isAtLeast(own, 'admin') && !isHigh) return true;
  if (list === 'outcast') return false;
  const occupant = room.seat(reader)?.occupant;
  if (occupant !== undefined && room.config.memberListFor.includes(occupant.role)) return true;
  // In a non-anonymous room the lists reveal no addresses.
  if (room.config.whois !== 'anyone' || openTo === 'admins') return false;
  return isAtLeast(own, 'member') || (occupant !== undefined && (room.config.membersOnly || openTo === 'occupants'));
}

function settle<T>(
  operation: () => Maybe<T>,
  resolve: (value: T) => void,
  reject: (error: unknown) => void,
): Maybe<void> {
  try {
    const outcome = operation();
    if (outcome instanceof Promise) return outcome.then(resolve, reject);
    resolve(outcome);
  } catch (error) {
    reject(error);
  }
}
