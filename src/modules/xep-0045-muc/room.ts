/** A room while it is in memory: what it is, who is there, and the order in which things happen in it. */

import { createHash, createHmac } from 'node:crypto';
import { monotonic } from '../../server/clock.js';
import type { Maybe } from '../../server/module/index.js';
import type { Session } from '../../server/routing/session.js';
import type { Jid } from '../../server/stanza/jid.js';
import { NS } from '../../server/stanza/ns.js';
import { nickname, nicknameKey, PrecisError } from '../../server/stanza/precis.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el } from '../../server/xml/element.js';
import type { MentionRights } from './mention-rights.js';
import { type Affiliation, isAtLeast, type Role, type Standing } from './privileges.js';
import type { RoomConfig } from './room-config.js';
import { noActivity } from './xep-0502-activity.js';

/** Whom the room has a lasting relation with. */
export interface Member {
  readonly affiliation: Exclude<Affiliation, 'none'>;
  /** Reserved for him (§7.10). */
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
  /** Who made it: a bare address. */
  readonly creator: string;
  /** Ms since 1970. */
  readonly until?: number | undefined;
  /** How often it can still be used. */
  readonly left?: number | undefined;
}

/** What is stored of a room, besides its members. */
export interface StoredRoom {
  readonly v: 1;
  readonly config: RoomConfig;
  readonly creator: string;
  /** Ms since 1970. */
  readonly created: number;
  /** XEP-0421 §4.1: the key of the occupant ids, base64. */
  readonly secret: string;
  readonly subject?: Subject | undefined;
  /** XEP-0486: the SHA-1 hashes of its pictures. */
  readonly avatar?: readonly string[] | undefined;
  readonly tokens?: readonly Token[] | undefined;
  readonly hats?: readonly Hat[] | undefined;
  /** The URIs of hats by bare address. */
  readonly wearers?: Readonly<Record<string, readonly string[]>> | undefined;
  /** XEP-0513: what the owners have set. */
  readonly mentions?: MentionRights | undefined;
}

/** One client in the room. */
export interface Seat {
  /** Its real address. */
  readonly jid: Jid;
  /** Where it is a session of this server. */
  readonly session: Session | undefined;
  occupant: Occupant;
  /** Its last presence, without what only the room may say. */
  presence: Stanza;
  /** Whom it is still to be told of, since it came in; undefined: it has been. */
  entering?: Set<Occupant> | undefined;
}

/** The presence of an occupant: as those see it who know real addresses, and as the others do. */
export interface Shown {
  known?: Stanza;
  unknown?: Stanza;
}

/** A nickname in the room, with one client of a user or several. */
export interface Occupant {
  nick: string;
  /** `room@service/nick`. */
  jid: Jid;
  /** Whose it is. */
  readonly user: Jid;
  /** XEP-0421. */
  readonly id: string;
  role: Role;
  /** The most available one comes last: its presence is shown. */
  readonly seats: Seat[];
  /** Built when it is needed. */
  shown: Shown;
}

/** A message that who enters is sent. */
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
  /** Whose each reserved nickname is. */
  readonly reserved = new Map<string, string>();
  /** The oldest first. */
  history: Remembered[] = [];
  /** Characters of their contents. */
  historySize = 0;
  readonly activity = noActivity();
  /** XEP-0500: when users last spoke, in ms: by bare address, whoever spoke last comes last. */
  readonly spoke = new Map<string, number>();
  /** XEP-0463: the latest changes of lists, the oldest first. */
  readonly listChanges: ListChange[] = [];
  readonly #listState = Buffer.alloc(16);
  /** Who is on the lists by occupant id, from when somebody first asks. */
  #byId: Map<string, string> | undefined;
  /** XEP-0437: as many subscriptions as there had been when nobody was left to be told of news; undefined: one may be. */
  toldAll: number | undefined;
  /** Who was invited, and by whom: bare addresses, the oldest first. */
  readonly invited = new Map<string, string>();
  /** Who asked to be registered, and has not been (§9.9): bare addresses, the oldest first. */
  readonly applicants = new Set<string>();
  /** §10.1.1: nobody else comes in until its owner has configured it. Since when, ms; undefined: it is open. */
  lockedSince: number | undefined;
  /** No more the room of this address: ask for it again. */
  isGone = false;
  /** When somebody last asked for it, ms. */
  touched = monotonic();
  #isBusy = false;
  readonly #waiting: (() => Maybe<void>)[] = [];

  constructor(
    readonly jid: Jid,
    public stored: StoredRoom,
    /** Bare addresses of users who own every room of the service, and are on no list for that. */
    readonly rulers: ReadonlySet<string> = new Set(),
  ) {}

  get config(): RoomConfig {
    return this.stored.config;
  }

  get name(): string {
    return this.config.name || this.jid.local!;
  }

  // --- order --------------------------------------------------------------------------------------------------

  /**
   * Does something in the room when all that was begun before is done: at once where nothing is. What the room itself
   * sets off meanwhile, such as an error that comes back, waits as well.
   */
  turn<T>(operation: () => Maybe<T>): Maybe<T> {
    if (this.#isBusy) {
      return new Promise<T>((resolve, reject) => {
        this.#waiting.push(() => settled(operation, resolve, reject));
      });
    }
    this.#isBusy = true;
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
    return !this.#isBusy;
  }

  #next(): void {
    for (;;) {
      const waiting = this.#waiting.shift();
      if (waiting === undefined) {
        this.#isBusy = false;
        return;
      }
      const done = waiting();
      if (done !== undefined) {
        const next = () => this.#next();
        done.then(next, next);
        return;
      }
    }
  }

  // --- who is who ---------------------------------------------------------------------------------------------

  affiliationOf(user: Jid): Affiliation {
    if (this.rulers.has(user.bare)) return 'owner';
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

  /** The occupant of that nickname, however it is spelled. */
  occupant(nick: string): Occupant | undefined {
    return this.occupants.get(keyOf(nick));
  }

  occupantsOf(user: string): Occupant[] {
    return [...this.occupants.values()].filter((occupant) => occupant.user.bare === user);
  }

  /** Whether somebody in this role sees the real addresses of others (§4.2). */
  knows(role: Role): boolean {
    return this.config.whois === 'anyone' || role === 'moderator';
  }

  /** Whether the others see somebody in this role. */
  isShown(role: Role): boolean {
    return this.config.presenceOf.includes(role);
  }

  owners(): string[] {
    return this.withAffiliation('owner');
  }

  withAffiliation(affiliation: Affiliation): string[] {
    return [...this.members].filter(([, member]) => member.affiliation === affiliation).map(([jid]) => jid);
  }

  /** Notes a relation; what it means for who is there is the caller's. */
  setMember(user: string, member: Member | undefined): void {
    const before = this.members.get(user);
    if (before?.nick !== undefined) this.reserved.delete(keyOf(before.nick));
    if (member === undefined) this.members.delete(user);
    else this.members.set(user, member);
    if (member?.nick !== undefined) this.reserved.set(keyOf(member.nick), user);
    if (before?.affiliation === member?.affiliation) return;
    this.toldAll = undefined;
    if (before === undefined) this.#byId?.set(this.occupantIdOf(user), user);
    if (member === undefined) this.#byId?.delete(this.occupantIdOf(user));
    if (before !== undefined) this.#toggle(user, before.affiliation);
    if (member !== undefined) this.#toggle(user, member.affiliation);
  }

  /** XEP-0463: stands for what the lists hold, in whatever order it came; the same after a restart. */
  get listVersion(): string {
    return this.#listState.toString('base64url');
  }

  #toggle(user: string, affiliation: Affiliation): void {
    const entry = createHash('sha256').update(`${user} ${affiliation}`).digest();
    for (let at = 0; at < this.#listState.length; at++) this.#listState[at]! ^= entry[at]!;
  }

  /** Whose this nickname is by reservation: a bare address. */
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

  /** The bare address of somebody on the lists. */
  userOf(occupantId: string): string | undefined {
    this.#byId ??= new Map([...this.members.keys()].map((user) => [this.occupantIdOf(user), user]));
    return this.#byId.get(occupantId);
  }

  // --- presence -----------------------------------------------------------------------------------------------

  /** The presence of an occupant as others see it. */
  presenceOf(occupant: Occupant, isKnown: boolean): Stanza {
    const key = isKnown ? 'known' : 'unknown';
    let stanza = occupant.shown[key];
    if (stanza === undefined) {
      stanza = this.presence(occupant, { isKnown, codes: [] });
      occupant.shown[key] = stanza;
    }
    return stanza;
  }

  /** What everybody is shown now, to be compared with what they are shown later. */
  shownOf(occupant: Occupant): Shown {
    return { known: this.presenceOf(occupant, true), unknown: this.presenceOf(occupant, false) };
  }

  /** One that is written for the occasion. */
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
    // Many clients read the first item only: it belongs to the client whose presence this is.
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
  /** What is said; the occupant's last presence unless it is given. */
  readonly stanza?: Stanza;
  readonly isKnown: boolean;
  readonly codes: readonly string[];
  readonly standing?: Standing;
  readonly item?: ItemParts;
  /** The clients that have an item each, where real addresses are shown; all of the occupant unless they are given. */
  readonly seats?: readonly Seat[];
  /** Further children of `<x/>`. */
  readonly more?: readonly Element[];
}

export interface ItemParts {
  readonly nick?: string | undefined;
  readonly reason?: string | undefined;
  /** The nickname of who did it. */
  readonly actor?: string | undefined;
}

export const occupantIdElement = (id: string): Element => el('occupant-id', { xmlns: NS.occupantId, id });

export const stanzaIdElement = (id: string, by: Jid): Element =>
  el('stanza-id', { xmlns: NS.stanzaId, id, by: by.bare });

/** The client whose presence stands for the occupant. */
export const lastOf = (occupant: Occupant): Seat => occupant.seats.at(-1)!;

/** Clients of one occupant whose addresses are shown. */
const mostItems = 20;

/** RFC 6121 §4.7.2.1, the least available first; a client without `<show/>` is available. */
const shows = ['dnd', 'xa', 'away', '', 'chat'];

/** The greater the more available; the priority (RFC 6121 §4.7.2.3) decides between clients that say the same. */
function availabilityOf(presence: Stanza): number {
  const show = shows.indexOf(presence.text(NS.client, 'show')?.trim() ?? '');
  const priority = Number(presence.text(NS.client, 'priority') ?? 0);
  return (show < 0 ? shows.indexOf('') : show) * 256 + (Math.min(Math.max(priority, -128), 127) || 0);
}

/** Gives a client its presence, and with it a place among the clients of its occupant: the latest of equals is behind. */
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

/** What shows as nothing though it is no space: blanks of Braille, Khitan, Egyptian and music. */
const blanks = /[\u2800\u{16FE4}\u{13441}\u{13442}\u{1D159}]/gu;

/**
 * RFC 8266 §2.3: a nickname as it is shown. Beyond that blanks count as spaces, and none begins with a mark: one could not
 * be seen, or would pass for another. Throws PrecisError.
 */
export function shownNick(text: string): string {
  const nick = nickname(text.replace(blanks, ' '));
  if (/^\p{M}/u.test(nick)) throw new PrecisError('a mark without a letter');
  return nick;
}

/**
 * RFC 8266 §2.4: what nicknames that pass for the same have in common. Nicknames of blanks alone, which were reserved when
 * they were let in, have a key as well. Throws PrecisError.
 */
export function keyOf(nick: string): string {
  const clear = nick.replace(blanks, ' ');
  return nicknameKey(clear.trim() === '' ? nick : clear);
}

/** Whether the room may be entered, or read, by somebody of this affiliation: but for its password. */
export const isWelcome = ({ config }: Room, affiliation: Affiliation): boolean =>
  affiliation !== 'outcast' && (!config.membersOnly || isAtLeast(affiliation, 'member'));

/** §7.2.10: before its owner has configured it a room is there for nobody else. */
export const isOpenTo = (room: Room, asker: Jid): boolean =>
  room.lockedSince === undefined || room.affiliationOf(asker) === 'owner';

/** Whether somebody is on one of the lists, but for that of banned ones. */
export const isListed = (member: Member | undefined): boolean =>
  member !== undefined && member.affiliation !== 'outcast';

/** Who reads the lists of rooms in which all see the real addresses. */
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
  // Where all see the real addresses the lists hide nothing.
  if (room.config.whois !== 'anyone' || openTo === 'admins') return false;
  return isAtLeast(own, 'member') || (occupant !== undefined && (room.config.membersOnly || openTo === 'occupants'));
}

function settled<T>(
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
