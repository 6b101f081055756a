/** Stored form of values: JSON text, so that nothing is shared with the caller. */
import { isDeepStrictEqual } from 'node:util';
import { unreadable } from './contract.js';

/** Serializes a value. Throws TypeError if it has no JSON form. */
export function write(value: unknown): string {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`${typeof value} cannot be stored`);
  return text;
}

/** Parses a stored value. Returns `unreadable` if it is damaged: stored data is input. */
export function read(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return unreadable;
  }
}

/** Whether two texts (undefined for none) have the same value, ignoring the order of properties. */
export function isSame(a: string | undefined, b: string | undefined): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  const [one, other] = [read(a), read(b)];
  return one !== unreadable && other !== unreadable && isDeepStrictEqual(one, other);
}
