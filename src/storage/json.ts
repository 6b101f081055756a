/** Values as drivers keep them: JSON text, so that nothing is shared with the caller. */
import { isDeepStrictEqual } from 'node:util';
import { unreadable } from './contract.js';

/** Throws TypeError for what JSON has no text for. */
export function write(value: unknown): string {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`${typeof value} cannot be stored`);
  return text;
}

/** The value, or `unreadable`: what is stored is input, and may be damaged. */
export function read(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return unreadable;
  }
}

/** Whether two texts (undefined: there is none) stand for the same value: the order of properties does not count. */
export function isSame(a: string | undefined, b: string | undefined): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  const [one, other] = [read(a), read(b)];
  return one !== unreadable && other !== unreadable && isDeepStrictEqual(one, other);
}
