/**
 * The subset of the Distinguished Encoding Rules of ASN.1 (X.690 §10, §11) needed for certificates: strict reading of
 * tags, lengths and object identifiers, and writing. The caller decides how deep to read.
 */

/** The bytes are not DER, or not of the expected type. */
export class DerError extends Error {
  override readonly name = 'DerError';
}

export interface DerValue {
  /** The identifier octet: class, constructed bit, number. */
  readonly tag: number;
  readonly content: Buffer;
}

export const derTag = {
  octetString: 0x04,
  oid: 0x06,
  utf8String: 0x0c,
  ia5String: 0x16,
  sequence: 0x30,
  /** [n], constructed. */
  context: (n: number) => 0xa0 + n,
  /** [n], primitive: a context tag that replaces the tag of a simple type. */
  implicit: (n: number) => 0x80 + n,
} as const;

/** Reads a sequence of values. Throws DerError if the last one is truncated. */
export function readDer(bytes: Buffer): DerValue[] {
  const values: DerValue[] = [];
  for (let at = 0; at < bytes.length; ) {
    const tag = bytes[at]!;
    if ((tag & 0x1f) === 0x1f) throw new DerError('a multi-byte tag is not supported');
    const { start, end } = readLength(bytes, at + 1);
    values.push({ tag, content: bytes.subarray(start, end) });
    at = end;
  }
  return values;
}

/** Reads exactly one value with this tag. Throws DerError. */
export function readOne(bytes: Buffer, tag: number): Buffer {
  const [value, ...rest] = readDer(bytes);
  if (value?.tag !== tag || rest.length > 0) throw new DerError(`expected one value with tag ${tag}`);
  return value.content;
}

function readLength(bytes: Buffer, at: number): { readonly start: number; readonly end: number } {
  const first = bytes[at];
  if (first === undefined) throw new DerError('truncated');
  if (first < 0x80) return within(bytes, at + 1, first);
  // DER forbids the indefinite form (0x80), and nothing here needs 4 GiB
  const size = first & 0x7f;
  if (size === 0 || size > 3 || at + size >= bytes.length) throw new DerError('invalid length');
  const length = bytes.readUIntBE(at + 1, size);
  if (length < 0x80 || length < 2 ** (8 * (size - 1))) throw new DerError('a length is not minimal');
  return within(bytes, at + 1 + size, length);
}

function within(bytes: Buffer, start: number, length: number) {
  if (start + length > bytes.length) throw new DerError('truncated');
  return { start, end: start + length };
}

/** Reads an object identifier as "1.2.840.10045.4.3.2". Throws DerError. */
export function readOid(content: Buffer): string {
  const numbers: number[] = [];
  let number = 0;
  let isFirst = true;
  for (const byte of content) {
    if ((isFirst && byte === 0x80) || number > 2 ** 40) throw new DerError('invalid object identifier');
    number = number * 128 + (byte & 0x7f);
    isFirst = (byte & 0x80) === 0;
    if (isFirst) {
      numbers.push(number);
      number = 0;
    }
  }
  const [head] = numbers;
  if (head === undefined || !isFirst) throw new DerError('invalid object identifier');
  const root = Math.min(2, Math.floor(head / 40));
  return [root, head - 40 * root, ...numbers.slice(1)].join('.');
}

export function writeDer(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.of(tag, length), content]);
  const size = length < 0x100 ? 1 : length < 0x10000 ? 2 : 3;
  const head = Buffer.alloc(2 + size);
  head[0] = tag;
  head[1] = 0x80 | size;
  head.writeUIntBE(length, 2, size);
  return Buffer.concat([head, content]);
}

export function writeOid(oid: string): Buffer {
  const [first = 0, second = 0, ...rest] = oid.split('.').map(Number);
  const bytes = [40 * first + second, ...rest].flatMap((number) => {
    const groups = [number & 0x7f];
    for (let left = Math.floor(number / 128); left > 0; left = Math.floor(left / 128)) {
      groups.unshift((left & 0x7f) | 0x80);
    }
    return groups;
  });
  return writeDer(derTag.oid, Buffer.from(bytes));
}
