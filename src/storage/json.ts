/** Values as drivers keep them: JSON text, so that nothing is shared with the caller. */
import { isDeepStrictEqual } from 'node:util';

/** Throws TypeError for what JSON has no text for. */
export function write(value: unknown): string {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`${typeof value} cannot be stored`);
  return text;
}

export function read(text: string | undefined): unknown {
  return text === undefined ? undefined : JSON.parse(text);
}

/** Whether two texts (undefined: there is none) stand for the same value: the order of properties does not count. */
export function isSame(a: string | undefined, b: string | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && isDeepStrictEqual(JSON.parse(a), JSON.parse(b)));
}
