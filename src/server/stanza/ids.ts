/**
 * Identifiers that are made without asking anybody: stanza ids, which sort by time (XEP-0359; the keys of archives, of the
 * offline store, of rooms' histories), and random ones for streams, sessions and tokens.
 *
 * Ids of one owner rise in the order of reception (XEP-0313 §3.1), and their times rise by at least a millisecond each, so
 * that clients which sort by stamp get the same order. If the wall clock is set back, or was ahead in an earlier run, the
 * ids go on from where they were until the clock has caught up.
 */
import { randomFillSync, randomInt } from 'node:crypto';
import { wall } from '../clock.js';

/** Digits that sort as text in the order of their values (RFC 4648 §7, in lower case). */
const DIGITS = '0123456789abcdefghijklmnopqrstuv';
const TIME_DIGITS = 9; // 45 bits of milliseconds: until the year 3084
const COUNTER_DIGITS = 3;
const MAX_COUNTER = 32 ** COUNTER_DIGITS - 1;
const MAX_NODE = 32 ** 2 - 1;

/** Owners whose latest id is remembered: those that are ahead of the clock must be among them. */
const MAX_OWNERS = 16_384;
/** Ms that are reserved at a time. A crash leaves the next process so far ahead of the clock at most. */
const RESERVATION = 1000;

const digits = (value: number, width: number): string => value.toString(32).padStart(width, '0');

/** The last two digits differ from start to start. */
const start = digits(randomInt(32 ** 2), 2);
let suffix = `00${start}`;
/** Tells ids of one millisecond apart, which belong to different owners. */
let counter = 0;
/** The first digits of a time, which are the same for half a minute. */
let high = 0;
let prefix = digits(0, TIME_DIGITS - 3);

/** No id is made with a time before this. */
let floor = 0;
/** The time of each owner's latest id; it may be missing if it is behind the floor. */
const latest = new Map<string, number>();
/** One more than the greatest time of an id. */
let end = 0;
/** Ids before this time are reserved; Infinity if nobody wants to know. */
let reserved = Number.POSITIVE_INFINITY;
const reservers = new Set<(until: number) => void>();

/** The number of this node, 0 to 1023, which no other node of the cluster has; before the first id, once. */
export function setNode(node: number): void {
  if (!Number.isInteger(node) || node < 0 || node > MAX_NODE)
    throw new RangeError(`node ${node} is not 0 to ${MAX_NODE}`);
  suffix = digits(node, 2) + start;
}

/**
 * A new id for something that `owner` (a bare address) keeps: 16 characters (time, counter, node), greater by code unit
 * than all that were made for this owner before, in this process or in one whose reservations were read.
 */
export function stanzaId(owner: string, now: number = wall()): string {
  const last = latest.get(owner);
  let time = Math.max(now, floor);
  if (last !== undefined && last >= time) time = last + 1;
  latest.set(owner, time);
  if (latest.size > MAX_OWNERS) forgetOwners(now);
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

/** Forgets owners that are not ahead, at least half of all; the floor keeps them rising. */
function forgetOwners(now: number): void {
  const times = Float64Array.from(latest.values()).sort();
  floor = Math.max(floor, now, times[MAX_OWNERS / 2]! + 1);
  for (const [owner, time] of latest) if (time < floor) latest.delete(owner);
}

/** What is stored for an owner has this id: those to come are greater. */
export function idsAbove(owner: string, id: string): void {
  const time = timeOf(id);
  if (time > (latest.get(owner) ?? wall() - 1)) latest.set(owner, time);
}

function reserve(): void {
  reserved = end + RESERVATION;
  for (const write of reservers) write(reserved);
}

/**
 * Ids of this process are greater than all with times before `from`, which earlier processes may have made. `write` is
 * called before an id is made whose time is not reserved yet: what it writes, the next process gives as `from`. The result
 * ends this, and gives what to write if nothing crashed.
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

/** Smaller than every id made at `ms` (since 1970) or later, not smaller than any made before: the end of a range. */
export function idAt(ms: number): string {
  return digits(Math.min(Math.max(Math.ceil(ms), 0), 32 ** TIME_DIGITS - 1), TIME_DIGITS).padEnd(16, '0');
}

/** Greater than every id made at `ms` (since 1970) or before, smaller than any made after: the other end of a range. */
export function idAfter(ms: number): string {
  return digits(Math.min(Math.max(Math.floor(ms), 0), 32 ** TIME_DIGITS - 1), TIME_DIGITS).padEnd(17, 'v');
}

/** When an id was made, in ms since 1970; NaN for what `stanzaId` never made. */
export function timeOf(id: string): number {
  return /^[0-9a-v]{16}$/.test(id) ? Number.parseInt(id.slice(0, TIME_DIGITS), 32) : Number.NaN;
}

const pool = Buffer.alloc(8192);
let used = pool.length;

/** Random bytes from the system as base64url: 16 bytes are 128 bits, 22 characters. */
export function randomId(bytes = 16): string {
  if (bytes > pool.length) throw new RangeError(`more than ${pool.length} random bytes`);
  if (used + bytes > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += bytes;
  return pool.toString('base64url', used - bytes, used);
}
