/**
 * Identifiers made without coordination: stanza ids, which sort by time (XEP-0359; keys of archives, the offline store,
 * room histories), and random ones for streams, sessions and tokens.
 *
 * The ids of one owner increase in the order of reception (XEP-0313 §3.1), and their times differ by at least a
 * millisecond, so that clients sorting by timestamp get the same order. If the wall clock is set back, or was ahead in
 * an earlier run, ids continue from the last one until the clock has caught up.
 */
import { createHash, randomFillSync, randomInt } from 'node:crypto';
import { wall } from '../clock.js';

/** Digits whose text order is the order of their values (RFC 4648 §7, in lower case). */
const DIGITS = '0123456789abcdefghijklmnopqrstuv';
const TIME_DIGITS = 9; // 45 bits of milliseconds: until the year 3084
const COUNTER_DIGITS = 3;
const MAX_COUNTER = 32 ** COUNTER_DIGITS - 1;
const MAX_NODE = 32 ** 2 - 1;

/** Owners whose latest id is tracked. Must include every owner whose latest id is ahead of the clock. */
const MAX_OWNERS = 16_384;
/** Ms reserved at a time. After a crash, the next process starts at most this far ahead of the clock. */
const RESERVATION = 1000;

const digits = (value: number, width: number): string => value.toString(32).padStart(width, '0');

/** The last two digits differ per process start. */
const start = digits(randomInt(32 ** 2), 2);
let suffix = `00${start}`;
/** Distinguishes ids of the same millisecond, which belong to different owners. */
let counter = 0;
/** The leading digits of a time, which stay the same for half a minute. */
let high = 0;
let prefix = digits(0, TIME_DIGITS - 3);

/** Lower bound for the time of new ids. */
let floor = 0;
/** The time of each owner's latest id. May be missing if it is below the floor. */
const latest = new Map<string, number>();
/** One more than the greatest time of any id. */
let end = 0;
/** Times before this are reserved; Infinity if there are no reservers. */
let reserved = Number.POSITIVE_INFINITY;
const reservers = new Set<(until: number) => void>();

/**
 * Sets the number of this node, 0 to 1023, unique in the cluster. Call at most once, before the first id. Throws
 * RangeError.
 */
export function setNode(node: number): void {
  if (!Number.isInteger(node) || node < 0 || node > MAX_NODE)
    throw new RangeError(`node ${node} is not 0 to ${MAX_NODE}`);
  suffix = digits(node, 2) + start;
}

/**
 * Returns a new id for an object that belongs to `owner` (a bare address): 16 characters (time, counter, node), greater
 * by code unit than all earlier ids of this owner, made by this process or by one whose reservations were read.
 */
export function stanzaId(owner: string, now: number = wall()): string {
  const last = latest.get(owner);
  let time = Math.max(now, floor);
  if (last !== undefined && last >= time) time = last + 1;
  latest.set(owner, time);
  if (latest.size > MAX_OWNERS) evictOwners(now);
  if (time >= end) {
    end = time + 1;
    if (end > reserved) reserve();
  }
  const low = time % 32 ** 3;
  if (time - low !== high) {
    high = time - low;
    prefix = digits(high / 32 ** 3, TIME_DIGITS - 3);
  }
  counter = (counter + 1) & MAX_COUNTER;
  return prefix + three(low) + three(counter) + suffix;
}

const three = (value: number): string => DIGITS[value >> 10]! + DIGITS[(value >> 5) & 31]! + DIGITS[value & 31]!;

/** Evicts owners that are not ahead of the clock, at least half of them. The floor keeps their ids increasing. */
function evictOwners(now: number): void {
  const times = Float64Array.from(latest.values()).sort();
  floor = Math.max(floor, now, times[MAX_OWNERS / 2]! + 1);
  for (const [owner, time] of latest) if (time < floor) latest.delete(owner);
}

/** Records that `id` is stored for an owner: new ids will be greater. */
export function idsAbove(owner: string, id: string): void {
  const time = timeOf(id);
  if (time > (latest.get(owner) ?? wall() - 1)) latest.set(owner, time);
}

/** Greater than the time of any id made by this process. */
export const idsEnd = (): number => end;

/** Makes all further ids of this process greater than ids with times before `from`, which another node has made. */
export function idsFrom(from: number): void {
  floor = Math.max(floor, from);
}

function reserve(): void {
  reserved = end + RESERVATION;
  for (const write of reservers) write(reserved);
}

/**
 * Makes all ids of this process greater than ids with times before `from`, which earlier processes may have made.
 * Before an id with an unreserved time is made, calls `write` with a bound to persist; the next process passes it as
 * `from`. The returned function ends this and returns the bound to persist on a clean stop.
 */
export function reserveIds(from: number, write: (until: number) => void): () => number {
  floor = Math.max(floor, from);
  reservers.add(write);
  reserved = Math.max(end, from);
  return () => {
    reservers.delete(write);
    if (reservers.size === 0) reserved = Number.POSITIVE_INFINITY;
    return Math.max(end, from);
  };
}

/**
 * Returns the lower end of a range: not greater than any id made at `ms` (since 1970) or later, greater than all
 * earlier ones.
 */
export function idAt(ms: number): string {
  return digits(Math.min(Math.max(Math.ceil(ms), 0), 32 ** TIME_DIGITS - 1), TIME_DIGITS).padEnd(16, '0');
}

/**
 * Returns the upper end of a range: greater than every id made at `ms` (since 1970) or earlier, smaller than all later
 * ones.
 */
export function idAfter(ms: number): string {
  return digits(Math.min(Math.max(Math.floor(ms), 0), 32 ** TIME_DIGITS - 1), TIME_DIGITS).padEnd(17, 'v');
}

/** An id for something that another server has dated, and its position among those of the same time. */
export interface Dated {
  readonly id: string;
  readonly time: number;
  readonly rank: number;
}

/**
 * Returns the id for an object of another server, dated in ms since 1970: it sorts by time and then by position, and is
 * the same for the same `name`, time and position. `before`: the previous one, if they come in the order of time.
 */
export function foreignId(time: number, name: string, before: Dated | undefined): Dated {
  const rank = before?.time === time ? Math.min(before.rank + 1, MAX_COUNTER) : 0;
  const hash = createHash('sha256').update(name).digest().readUInt32BE() % 32 ** 4;
  return { id: idAt(time).slice(0, TIME_DIGITS) + digits(rank, COUNTER_DIGITS) + digits(hash, 4), time, rank };
}

/** Returns when an id was made, in ms since 1970; NaN if `stanzaId` did not make it. */
export function timeOf(id: string): number {
  return /^[0-9a-v]{16}$/.test(id) ? Number.parseInt(id.slice(0, TIME_DIGITS), 32) : Number.NaN;
}

const pool = Buffer.alloc(8192);
let used = pool.length;

/**
 * Returns random bytes from the system as base64url: 16 bytes are 128 bits, 22 characters. Throws RangeError for too
 * many.
 */
export function randomId(bytes = 16): string {
  if (bytes > pool.length) throw new RangeError(`at most ${pool.length} random bytes`);
  if (used + bytes > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += bytes;
  return pool.toString('base64url', used - bytes, used);
}

/** Stands for a name that a client has chosen, which may have any characters. The same name of another kind has another id. */
export const idFor = (kind: string, name: string): string =>
  createHash('sha256').update(`${kind}\0${name}`).digest('base64url').slice(0, 22);
