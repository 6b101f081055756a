/** The rooms of a service: a short entry for each, and those in memory. */

import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { monotonic, wall } from '../../server/clock.js';
import { Portions } from '../../server/limits/portions.js';
import { Rates } from '../../server/limits/rates.js';
import { defineQuestion, type Maybe } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { randomId, timeOf } from '../../server/stanza/ids.js';
import { bareJid } from '../../server/stanza/stored.js';
import { compare } from '../../storage/order.js';
import type { MucParts } from './parts.js';
import { Room, type StoredRoom, stanzaIdElement } from './room.js';
import { restored } from './room-config.js';
import { asBroadcast, isSubject, setHistory } from './room-history.js';
import { defaultsOf } from './settings.js';

/** What is known about a room that is not loaded. */
export interface Listed {
  readonly jid: Jid;
  readonly creator: string;
  readonly name: string;
  readonly description: string;
  readonly lang: string;
  readonly isPublic: boolean;
  readonly isMembersOnly: boolean;
  readonly hasPassword: boolean;
  readonly isAnonymous: boolean;
  readonly persistent: boolean;
  /** The user it counts for in limits: its creator, or the network address of an anonymous creator. */
  readonly holder: string;
}

/** To all nodes: what is listed of a room that has changed; null: the room was removed. */
export const listed = defineQuestion({
  name: 'muc.listed',
  given: z.object({
    room: bareJid,
    entry: z
      .object({
        creator: z.string(),
        name: z.string(),
        description: z.string(),
        lang: z.string(),
        isPublic: z.boolean(),
        isMembersOnly: z.boolean(),
        hasPassword: z.boolean(),
        isAnonymous: z.boolean(),
        persistent: z.boolean(),
        holder: z.string(),
      })
      .nullable(),
  }),
  answer: z.null(),
});
type Entry = NonNullable<z.output<typeof listed.given>['entry']>;

/** At a room: removes it if it is temporary and nobody is in it. */
export const leftover = defineQuestion({ name: 'muc.leftover', given: z.null(), answer: z.null() });

const page = 500;
/** Idle rooms are evicted after this many loads. */
const loadsBetweenEvictions = 500;
/** Ms. Rooms used more recently are not evicted. */
const recentMs = 10_000;

/** The list entry of a room with a damaged record. */
const damagedRoom = { creator: '' };

export class Rooms {
  readonly #listed = new Map<string, Listed>();
  readonly #loaded = new Map<string, Room>();
  /** Rooms being loaded, created or removed. */
  readonly #loading = new Map<string, Promise<Room | undefined>>();
  readonly #created: Portions;
  /** Clients in rooms, by account. */
  readonly #joins = new Map<string, number>();
  /** Administrators of the host who have used a room: they own all rooms if configured so. */
  readonly #globalOwners = new Set<string>();
  /** Public rooms ordered by address; kept sorted, since there may be many. */
  readonly #public: Listed[] = [];
  readonly #muc: MucParts;
  readonly #creations: Rates;
  readonly #started = monotonic();
  /** Temporary rooms of an earlier run, kept for a while in case occupants return. */
  #leftovers: Jid[] = [];
  #loads = 0;

  constructor(muc: MucParts) {
    this.#muc = muc;
    const { rooms, rooms_per_user } = muc.config;
    this.#created = new Portions(() => ({ all: rooms, each: rooms_per_user }));
    this.#creations = new Rates(muc.config.creations_per_hour, 3_600_000);
  }

  /** Loads the list of rooms. */
  async open(): Promise<void> {
    const { stores, jid, config } = this.#muc;
    let after: string | undefined;
    for (;;) {
      const names = await stores.muc_rooms.owners({ after, limit: page, suffix: `@${jid.domain}` });
      const found = await stores.muc_rooms.getMany(names);
      for (const bare of names) {
        const jid = Jid.tryParse(bare);
        const stored = found.get(bare);
        if (jid?.local === undefined) continue; // a damaged key that no address can match
        // A damaged record: the name stays taken, and entering fails with an error.
        const shown = stored ?? { ...damagedRoom, config: { ...defaultsOf(config), public: false, persistent: true } };
        this.noteListed(jid, this.#entryOf(jid, shown));
        if (stored?.config.persistent === false) this.#leftovers.push(jid);
      }
      if (names.length < page) return;
      after = names.at(-1);
    }
  }

  get size(): number {
    return this.#listed.size;
  }

  /** Public rooms ordered by address. */
  get public(): readonly Listed[] {
    return this.#public;
  }

  /** The addresses of all rooms. */
  all(): Jid[] {
    return [...this.#listed.values()].map(({ jid }) => jid);
  }

  /** Rooms ordered by address, starting after `after`. */
  page(after: string | undefined, limit: number): Listed[] {
    return [...this.#listed.values()]
      .filter(({ jid }) => after === undefined || compare(jid.bare, after) > 0)
      .sort((one, other) => compare(one.jid.bare, other.jid.bare))
      .slice(0, limit);
  }

  listed(jid: Jid): Listed | undefined {
    return this.#listed.get(jid.bare);
  }

  /** The room if it is in memory. */
  peek(bare: string): Room | undefined {
    return this.#loaded.get(bare);
  }

  loaded(): Iterable<Room> {
    return this.#loaded.values();
  }

  /** `inRoom` for a request: first checks whether the asker is an administrator who owns all rooms. */
  inRoomFor<T>(asker: Jid, jid: Jid, operation: (room: Room | undefined) => Maybe<T>): Maybe<T> {
    const checked = this.#checkAdmin(asker);
    return checked === undefined ? this.inRoom(jid, operation) : checked.then(() => this.inRoom(jid, operation));
  }

  #checkAdmin(asker: Jid): Promise<void> | undefined {
    const { config, host } = this.#muc;
    if (!config.admins_own_rooms || asker.domain !== host.domain) return undefined;
    const { bare } = asker;
    const isAdmin = host.isAdmin(asker);
    if (isAdmin instanceof Promise) return isAdmin.then((yes) => this.#setGlobalOwner(bare, yes));
    this.#setGlobalOwner(bare, isAdmin);
    return undefined;
  }

  #setGlobalOwner(bare: string, isAdmin: boolean): void {
    if (isAdmin) this.#globalOwners.add(bare);
    else this.#globalOwners.delete(bare);
  }

  /** Queues an operation in a room and runs it; with undefined if there is no such room. */
  inRoom<T>(jid: Jid, operation: (room: Room | undefined) => Maybe<T>): Maybe<T> {
    const room = this.#find(jid.toBare());
    if (room instanceof Promise)
      return room.then((loaded) => (loaded === undefined ? operation(undefined) : this.#inTurn(loaded, operation)));
    return this.#inTurn(room, operation);
  }

  #inTurn<T>(room: Room, operation: (room: Room | undefined) => Maybe<T>): Maybe<T> {
    room.touched = monotonic();
    return room.turn(() => (room.isDestroyed ? this.inRoom(room.jid, operation) : operation(room)));
  }

  /** The list does not decide: another node may have created the room while this one started. */
  #find(jid: Jid): Room | Promise<Room | undefined> {
    const { bare } = jid;
    return this.#loaded.get(bare) ?? this.#loading.get(bare) ?? this.#load(jid);
  }

  #load(jid: Jid, proceed?: (room: Room) => void): Promise<Room | undefined> {
    const { stores, archive, config } = this.#muc;
    if (++this.#loads % loadsBetweenEvictions === 0) this.#evictIdle(recentMs);
    const load = async (): Promise<Room | undefined> => {
      const found = await stores.muc_rooms.get(jid.bare);
      if (found === undefined) return undefined;
      const stored: StoredRoom = { ...found, config: restored(defaultsOf(config), found.config) };
      const room = new Room(jid, stored, this.#globalOwners);
      for (const [user, member] of await stores.muc_members.all(jid.bare)) room.setMember(user, member);
      if (stored.config.archived && config.history > 0) {
        const { entries } = await archive.read(jid, { limit: config.history, backwards: true });
        // XEP-0045 §7.2.13: subjects are archived but not part of the history
        const messages = entries.map(({ id, value }) => ({ id, at: timeOf(id), stanza: asBroadcast(value) }));
        const remembered = messages.filter(({ stanza }) => !isSubject(stanza));
        setHistory(
          room,
          remembered.map((one) => ({ ...one, stanza: one.stanza.plus(stanzaIdElement(one.id, jid)) })),
        );
      }
      proceed?.(room);
      return room;
    };
    return this.#whileLoading(jid, load());
  }

  /** Concurrent callers share the same load. */
  #whileLoading<T extends Room | undefined>(jid: Jid, loading: Promise<T>): Promise<T> {
    const shared: Promise<T> = loading
      .then((room) => {
        // Otherwise it has moved to another node meanwhile.
        if (room !== undefined && this.#loading.get(jid.bare) === shared) this.#loaded.set(jid.bare, room);
        return room;
      })
      .finally(() => {
        if (this.#loading.get(jid.bare) === shared) this.#loading.delete(jid.bare);
      });
    this.#loading.set(jid.bare, shared);
    return shared;
  }

  /** Resolves when none of these rooms is being read. Returns undefined if none is. Never rejects. */
  reading(concerns: (bare: string) => boolean): Promise<void> | undefined {
    const reading = [...this.#loading].flatMap(([bare, loading]) => (concerns(bare) ? [loading] : []));
    return reading.length === 0 ? undefined : Promise.allSettled(reading).then(() => {});
  }

  /** A room has moved to this node: goes on with it once it is read. */
  restore(jid: Jid, proceed: (room: Room) => void): void {
    const loading = this.#load(jid, proceed);
    loading.catch((error: unknown) => this.#muc.log.error({ err: error, room: jid.bare }, 'a moved room was not read'));
  }

  /** These addresses have moved to another node, or from one. */
  moved(concerns: (bare: string) => boolean): void {
    for (const bare of this.#loading.keys()) if (concerns(bare)) this.#loading.delete(bare);
    for (const [bare, room] of this.#loaded) {
      if (concerns(bare)) {
        room.isDestroyed = true;
        this.#loaded.delete(bare);
        for (const { occupant } of room.seats.values()) this.countJoin(occupant.user.bare, -1);
      } else for (const seat of room.seats.values()) if (concerns(seat.jid.bare)) seat.session = undefined;
    }
  }

  /** §10.1: creates and persists a room with its owner, or returns the one that was created meanwhile. */
  async create(jid: Jid, creator: Jid): Promise<{ room: Room; isNew: boolean }> {
    const present = await this.#find(jid);
    if (present !== undefined) return { room: present, isNew: false };
    // Another request is creating it.
    if (this.#loaded.has(jid.bare) || this.#loading.has(jid.bare)) return this.create(jid, creator);
    const { stores, config, host, log } = this.#muc;
    if (this.#created.refuses(host.userOf(creator)) !== undefined) {
      host.limitHit('muc.rooms');
      throw new StanzaError('resource-constraint', 'The limit of rooms is reached.', { type: 'wait' });
    }
    // All users of a remote server share one rate.
    if (!this.#creations.take(host.holderOf(creator))) {
      host.limitHit('muc.creations_per_hour');
      throw new StanzaError('resource-constraint', 'You create too many rooms. Try again later.', { type: 'wait' });
    }
    const defaults = defaultsOf(config);
    const isAnonymous = host.isAnonymous(creator.bare);
    const stored: StoredRoom = {
      v: 1,
      config: isAnonymous ? { ...defaults, persistent: false } : defaults,
      creator: isAnonymous ? jid.domain : creator.bare,
      created: wall(),
      secret: Buffer.from(randomId(32), 'base64url').toString('base64'),
    };
    this.#list(jid, { ...stored, creator: creator.bare });
    const make = async (): Promise<Room> => {
      try {
        if (!isAnonymous) await stores.muc_members.set(jid.bare, [[creator.bare, { affiliation: 'owner' }]]);
        await stores.muc_rooms.set(jid.bare, stored);
      } catch (error) {
        this.#unlist(jid);
        throw error;
      }
      const room = new Room(jid, stored, this.#globalOwners);
      room.setMember(creator.bare, { affiliation: 'owner' });
      if (config.lock_new_rooms) room.lockedSince = monotonic();
      return room;
    };
    const room = await this.#whileLoading(jid, make());
    log.info({ room: jid.bare, by: creator.bare }, 'room created');
    await host.emit('roomCreated', { room: jid, by: creator });
    return { room, isNew: true };
  }

  /** A room without owners is removed when it is empty. */
  async makeTemporary(room: Room): Promise<void> {
    if (room.config.persistent) await this.save(room, { config: { ...room.config, persistent: false } });
    if (room.seats.size === 0) await this.remove(room);
  }

  /** Persists changed fields, then applies them in memory. */
  async save(room: Room, changed: Partial<StoredRoom>): Promise<void> {
    const stored = { ...room.stored, ...changed };
    await this.#muc.stores.muc_rooms.set(room.jid.bare, stored);
    room.stored = stored;
    this.#list(room.jid, stored);
  }

  /** Removes a room and all its data, so that a later room of this name inherits nothing. */
  async remove(room: Room): Promise<void> {
    const { stores, archive, host } = this.#muc;
    const { bare } = room.jid;
    await stores.muc_rooms.delete(bare);
    room.isDestroyed = true;
    this.#loaded.delete(bare);
    const rest = async () => {
      await Promise.all([
        stores.muc_members.forget(bare),
        stores.muc_vcards.delete(bare),
        archive.trim(room.jid).catch((error: unknown) => {
          if (!(error instanceof StanzaError)) throw error;
        }),
      ]);
      this.#unlist(room.jid);
      return undefined;
    };
    // Whoever asks for the room waits until all its data is deleted.
    await this.#whileLoading(room.jid, rest());
    await host.emit('roomDestroyed', { room: room.jid });
  }

  /** §10.9: evicts idle rooms from memory, and removes idle temporary ones. */
  async sweep(): Promise<void> {
    const { config } = this.#muc;
    const now = monotonic();
    for (const room of [...this.#loaded.values()]) {
      // §10.1.3: the owner is assumed to have accepted the default configuration
      if (room.lockedSince !== undefined && now - room.lockedSince > config.lock_seconds * 1000)
        room.lockedSince = undefined;
      const isUsed = room.seats.size > 0 || room.config.persistent || now - room.touched < config.idle_seconds * 1000;
      if (!isUsed) await room.turn(() => (room.seats.size > 0 || room.isDestroyed ? undefined : this.remove(room)));
    }
    this.#evictIdle(config.idle_seconds * 1000);
    if (now - this.#started < config.idle_seconds * 1000) return;
    for (const jid of this.#leftovers.splice(0)) await this.#muc.host.askHome(leftover, jid, null);
  }

  async removeLeftover(jid: Jid): Promise<null> {
    await this.inRoom(jid, (room) =>
      room === undefined || room.config.persistent || room.seats.size > 0 ? undefined : this.remove(room),
    );
    return null;
  }

  /** Evicts persistent rooms without occupants that have been idle for at least `idleMs`. */
  #evictIdle(idleMs: number): void {
    const latest = monotonic() - idleMs;
    for (const [bare, room] of this.#loaded) {
      if (room.seats.size > 0 || !room.isIdle || room.touched > latest || !room.config.persistent) continue;
      if (room.lockedSince !== undefined) continue;
      room.isDestroyed = true;
      this.#loaded.delete(bare);
    }
  }

  // --- counts -------------------------------------------------------------------------------------------------

  joins(user: string): number {
    return this.#joins.get(user) ?? 0;
  }

  countJoin(user: string, by: 1 | -1): void {
    const joins = this.joins(user) + by;
    if (joins > 0) this.#joins.set(user, joins);
    else this.#joins.delete(user);
  }

  // --- the list -----------------------------------------------------------------------------------------------

  /** Lists a room as another node or this one describes it; null: the room is gone. */
  noteListed(jid: Jid, entry: Entry | null): null {
    const { bare } = jid;
    const before = this.#listed.get(bare);
    if (before !== undefined) {
      this.#hide(bare);
      this.#listed.delete(bare);
      this.#created.give(before.holder);
    }
    if (entry === null) return null;
    const listed: Listed = { jid, ...entry };
    this.#created.add(entry.holder);
    this.#listed.set(bare, listed);
    if (entry.isPublic) this.#public.splice(this.#placeOf(bare), 0, listed);
    return null;
  }

  #list(jid: Jid, stored: Pick<StoredRoom, 'config' | 'creator'>): void {
    const entry = this.#entryOf(jid, stored);
    const before = this.#listed.get(jid.bare);
    if (before === undefined || !isSameEntry(before, entry)) this.#tellNodes(jid, entry);
  }

  #unlist(jid: Jid): void {
    this.#tellNodes(jid, null);
  }

  /** This node has it at once. Another that does not answer for so long has left the cluster, or is shut out of it. */
  #tellNodes(jid: Jid, entry: Entry | null): void {
    const { host, log } = this.#muc;
    const delivered = host.askNodes(listed, { room: jid.bare, entry });
    if (delivered instanceof Promise)
      delivered.catch((error: unknown) =>
        log.warn({ err: error, room: jid.bare }, 'could not announce a room to another node'),
      );
  }

  #entryOf({ bare, local }: Jid, { config, creator }: Pick<StoredRoom, 'config' | 'creator'>): Entry {
    return {
      creator,
      name: config.name || local!,
      description: config.description,
      lang: config.lang,
      isPublic: config.public,
      isMembersOnly: config.membersOnly,
      hasPassword: config.password !== '',
      isAnonymous: config.whois !== 'anyone',
      persistent: config.persistent,
      holder: this.#listed.get(bare)?.holder ?? this.#holderOf(creator),
    };
  }

  #holderOf(creator: string): string {
    const { host } = this.#muc;
    return host.isAnonymous(creator) ? host.userOf(Jid.parse(creator)) : creator;
  }

  #hide(bare: string): void {
    const place = this.#placeOf(bare);
    if (this.#public[place]?.jid.bare === bare) this.#public.splice(place, 1);
  }

  /** The index of a public room, or the index at which it would be inserted. */
  #placeOf(bare: string): number {
    let low = 0;
    let high = this.#public.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compare(this.#public[middle]!.jid.bare, bare) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const isSameEntry = (before: Entry, entry: Entry): boolean =>
  (Object.keys(entry) as (keyof Entry)[]).every((key) => before[key] === entry[key]);
