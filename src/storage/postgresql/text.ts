/**
 * Texts and arrays as parameters. PostgreSQL's text has no U+0000: it is stored as U+0001 U+0001, and U+0001 as U+0001
 * U+0002. This preserves the order by code point, and changes no text without these two characters.
 */

/** U+0000 and U+0001. */
const first = '\0';
const second = '\u0001';

/** Returns the stored form of a text. */
export function stored(text: string): string {
  if (!text.includes(first) && !text.includes(second)) return text;
  return text.replaceAll(second, '\u0001\u0002').replaceAll(first, '\u0001\u0001');
}

/** Returns the text of a stored form. */
export function restored(text: string): string {
  if (!text.includes(second)) return text;
  return text.replace(/\u0001([\u0001\u0002])/g, (_, code: string) => (code === second ? first : second));
}

/** Type numbers (pg_type.oid) of array elements. */
const textType = 25;
const int8Type = 20;
const headerBytes = 20;

/**
 * Returns a text[] in PostgreSQL's binary form, which needs no quoting and no parsing. Null is NULL. The texts must be
 * in their stored form.
 */
export function textArray(texts: readonly (string | null)[]): Buffer {
  let size = headerBytes;
  for (const text of texts) size += text === null ? 4 : 4 + Buffer.byteLength(text);
  const array = arrayOf(size, textType, texts.length);
  let at = headerBytes;
  for (const text of texts) {
    const bytes = text === null ? -1 : array.write(text, at + 4);
    array.writeInt32BE(bytes, at);
    at += 4 + Math.max(bytes, 0);
  }
  return array;
}

/** Returns an int8[] in PostgreSQL's binary form, of numbers given by their upper and lower 32 bits. */
export function int8Array(numbers: readonly (readonly [high: number, low: number])[]): Buffer {
  const array = arrayOf(headerBytes + 12 * numbers.length, int8Type, numbers.length);
  let at = headerBytes;
  for (const [high, low] of numbers) {
    array.writeInt32BE(8, at);
    array.writeInt32BE(high | 0, at + 4);
    array.writeInt32BE(low | 0, at + 8);
    at += 12;
  }
  return array;
}

/** Returns an int2[] or int4[] in its text form. */
export function intArray(numbers: readonly number[]): string {
  return `{${numbers.join(',')}}`;
}

/** Returns an array of one dimension, without its elements. */
function arrayOf(size: number, type: number, length: number): Buffer {
  const array = Buffer.allocUnsafe(length === 0 ? 12 : size);
  array.writeInt32BE(length === 0 ? 0 : 1, 0); // dimensions
  array.writeInt32BE(1, 4); // may contain NULL
  array.writeInt32BE(type, 8);
  if (length > 0) {
    array.writeInt32BE(length, 12);
    array.writeInt32BE(1, 16); // the first index
  }
  return array;
}

/** Returns what follows the last `@`, or null if there is none. */
export function hostOf(owner: string): string | null {
  const at = owner.lastIndexOf('@');
  return at === -1 ? null : owner.slice(at + 1);
}
