/**
 * Identifiers that are made without asking anybody: stanza ids, which sort by time (XEP-0359, the archive's and the
 * offline store's keys), and random ones for streams, sessions and tokens.
 */

import { randomFillSync, randomInt } from 'node:crypto';
import { wall } from '../clock.js';

/** Digits that sort as text in the order of their values (RFC 4648 §7, in lower case). */
const DIGITS = '0123456789abcdefghijklmnopqrstuv';
const TIME_DIGITS = 9; // 45 bits of milliseconds: until the year 3084
const COUNTER_DIGITS = 3; // 32 million ids a second
const MAX_COUNTER = 32 ** COUNTER_DIGITS - 1;
const MAX_NODE = 32 ** 2 - 1;

const digits = (value: number, width: number): string => value.toString(32).padStart(width, '0');

/** The last two digits differ from start to start: ids stay unique if the clock was set back in between. */
const start = digits(randomInt(32 ** 2), 2);
let suffix = `00${start}`;
let last = 0;
let counter = -1;
let prefix = digits(0, TIME_DIGITS);

/** The number of this node, 0 to 1023, which no other node of the cluster has; before the first id, once. */
export function setNode(node: number): void {
  if (!Number.isInteger(node) || node < 0 || node > MAX_NODE)
    throw new RangeError(`node ${node} is not 0 to ${MAX_NODE}`);
  suffix = digits(node, 2) + start;
}

/**
 * A new id: 16 characters (time, counter, node) that sort by code unit in the order of making, on one node, and by the
 * millisecond between nodes. Never repeats and never goes back, even if the clock does.
 */
export function stanzaId(now: number = wall()): string {
  if (now > last) {
    last = now;
    counter = 0;
    prefix = digits(last, TIME_DIGITS);
  } else if (counter < MAX_COUNTER) {
    counter++;
  } else {
    // A full millisecond, or a clock set back for long: borrow from the next one
    last++;
    counter = 0;
    prefix = digits(last, TIME_DIGITS);
  }
  return prefix + DIGITS[counter >> 10]! + DIGITS[(counter >> 5) & 31]! + DIGITS[counter & 31]! + suffix;
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
