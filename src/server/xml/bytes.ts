/** Byte-level scanning of XML: text, attribute values, names, references. */
import { isChar, isNameChar, isNameStart, isSpace } from './characters.js';
import { fail, refuseName } from './errors.js';

// Character classes, as bits.
/** XML 1.0 §2.3 NameStartChar, ASCII only, without the colon. */
export const NAME_START = 1;
/** XML 1.0 §2.3 NameChar, ASCII only, without the colon. */
export const NAME = 2;
export const SPACE = 4;
/** Ends a run of plain character data: markup, a reference, `]` (of `]]>`), a forbidden character, or non-ASCII. */
const TEXT_STOP = 8;
/** Ends a run of plain attribute value: as above, quotes, and white space to be normalised. */
const VALUE_STOP = 16;

/** Maximum length of a reference, in bytes. */
const REFERENCE_LENGTH = 16;

/** Character classes of each byte. */
export const BYTES = Uint8Array.from({ length: 256 }, (_, c) => {
  const special = c >= 0x80 || c === 0x3c || c === 0x26 || (c < 0x20 && !isSpace(c));
  return (
    (c < 0x80 && isNameStart(c) ? NAME_START : 0) |
    (c < 0x80 && isNameChar(c) ? NAME : 0) |
    (isSpace(c) ? SPACE : 0) |
    (special || c === 0x5d ? TEXT_STOP : 0) |
    (special || c < 0x20 || c === 0x22 || c === 0x27 ? VALUE_STOP : 0)
  );
});

/** Skips plain character data. Returns the offset of the first byte that is not, or `end`. */
export function plainText(buffer: Buffer, view: DataView | undefined, at: number, end: number): number {
  const bytes = BYTES;
  let i = at;
  for (;;) {
    let near = end;
    if (view !== undefined) {
      // Four bytes at once: sets the high bit of each byte that is below U+0020, `<`, `&`, `]`, or non-ASCII.
      for (const last = end - 4; i <= last; i += 4) {
        const word = view.getInt32(i, true);
        const stops =
          word |
          (word - 0x20202020) |
          ((word ^ 0x3c3c3c3c) - 0x01010101) |
          ((word ^ 0x26262626) - 0x01010101) |
          ((word ^ 0x5d5d5d5d) - 0x01010101);
        if ((stops & 0x80808080) !== 0) break;
      }
      near = Math.min(i + 4, end);
    }
    while (i < near && (bytes[buffer[i]!]! & TEXT_STOP) === 0) i++;
    if (i < near || i >= end) return i;
  }
}

/** Skips plain attribute value. Returns the offset of the first byte that is not, or `end`. */
export function plainValue(buffer: Buffer, view: DataView | undefined, at: number, end: number, quote: number): number {
  let i = at;
  if (view !== undefined) {
    const quotes = quote * 0x01010101;
    for (const last = end - 4; i <= last; i += 4) {
      const word = view.getInt32(i, true);
      const stops =
        word |
        (word - 0x20202020) |
        ((word ^ 0x3c3c3c3c) - 0x01010101) |
        ((word ^ 0x26262626) - 0x01010101) |
        ((word ^ quotes) - 0x01010101);
      if ((stops & 0x80808080) !== 0) break;
    }
  }
  const bytes = BYTES;
  while (i < end && (bytes[buffer[i]!]! & VALUE_STOP) === 0) i++;
  return i;
}

export function matches(buffer: Buffer, at: number, name: Uint8Array): boolean {
  for (let i = 0; i < name.length; i++) if (buffer[at + i] !== name[i]) return false;
  return true;
}

/** RFC 3629 §4: returns the length in bytes of the non-ASCII character at `at`, or 0 if it is incomplete. */
export function sequence(buffer: Buffer, at: number, end: number): number {
  const first = buffer[at]!;
  const size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (first < 0xc2 || first > 0xf4) refuseCharacter();
  if (at + 1 >= end) return 0;
  const second = buffer[at + 1]!;
  if (
    (second & 0xc0) !== 0x80 ||
    (first === 0xe0 && second < 0xa0) ||
    (first === 0xed && second > 0x9f) ||
    (first === 0xf0 && second < 0x90) ||
    (first === 0xf4 && second > 0x8f)
  ) {
    refuseCharacter();
  }
  if (size === 2) return 2;
  if (at + 2 >= end) return 0;
  const third = buffer[at + 2]!;
  if ((third & 0xc0) !== 0x80 || (first === 0xef && second === 0xbf && third > 0xbd)) refuseCharacter();
  if (size === 3) return 3;
  if (at + 3 >= end) return 0;
  if ((buffer[at + 3]! & 0xc0) !== 0x80) refuseCharacter();
  return 4;
}

function refuseCharacter(): never {
  fail('not-well-formed', 'invalid UTF-8');
}

/** Properties of the name read last. */
interface Name {
  /** Bytes before its colon; 0 if it has none. */
  colon: number;
  /** Bytes minus UTF-16 units. */
  nameShift: number;
}

/** XML-NAMES §4 QName. Returns its end, or -1 if it is incomplete. Stores its colon and shift in `name`. */
export function qname(buffer: Buffer, from: number, end: number, limit: number, name: Name): number {
  let start = true;
  let colon = 0;
  let shift = 0;
  let i = from;
  for (;;) {
    if (i - from > limit) refuseName();
    if (i >= end) return -1;
    const c = buffer[i]!;
    if (c >= 0x80) {
      const size = sequence(buffer, i, end);
      if (size === 0) return -1;
      const character = buffer.toString('utf8', i, i + size).codePointAt(0)!;
      if (start ? !isNameStart(character) : !isNameChar(character)) fail('not-well-formed', 'invalid name');
      i += size;
      shift += size === 2 ? 1 : 2;
    } else if ((BYTES[c]! & (start ? NAME_START : NAME)) !== 0) {
      i++;
    } else if (c === 0x3a /* : */ && !start && colon === 0) {
      colon = i - from;
      start = true;
      i++;
      continue;
    } else if (start || c === 0x3a) {
      return fail('not-well-formed', 'invalid name');
    } else {
      break;
    }
    start = false;
  }
  name.colon = colon;
  name.nameShift = shift;
  return i;
}

const ENTITIES = ['lt', 'gt', 'amp', 'quot', 'apos'].map((name) => Buffer.from(name));

/** Reads the reference at `at` (XML 1.0 §4.1). Returns its end, or -1 if it is incomplete. */
export function reference(buffer: Buffer, at: number, end: number): number {
  let i = at + 1;
  if (i >= end) return -1;
  if (buffer[i] === 0x23 /* # */) {
    if (++i >= end) return -1;
    const hex = buffer[i] === 0x78; /* x */
    if (hex) i++;
    const digits = i;
    let code = 0;
    for (; ; i++) {
      if (i - at > REFERENCE_LENGTH) fail('policy-violation', 'a reference is too long');
      if (i >= end) return -1;
      const c = buffer[i]!;
      const digit =
        c >= 0x30 && c <= 0x39 ? c - 0x30 : hex && (c | 0x20) >= 0x61 && (c | 0x20) <= 0x66 ? (c | 0x20) - 0x57 : -1;
      if (digit < 0) break;
      code = Math.min((hex ? 16 : 10) * code + digit, 0x110000);
    }
    if (buffer[i] !== 0x3b /* ; */ || i === digits || !isChar(code))
      fail('not-well-formed', 'invalid character reference');
    return i + 1;
  }
  for (; ; i++) {
    if (i >= end) return -1;
    const c = buffer[i]!;
    const named = (BYTES[c]! & (i === at + 1 ? NAME_START : NAME)) !== 0 || c === 0x3a;
    if (c >= 0x80 || i - at > REFERENCE_LENGTH) refuseEntity();
    if (named) continue;
    if (c !== 0x3b /* ; */ || i === at + 1) fail('not-well-formed', 'an unescaped &');
    const length = i - at - 1;
    if (!ENTITIES.some((entity) => entity.length === length && matches(buffer, at + 1, entity))) refuseEntity();
    return i + 1;
  }
}

/** RFC 6120 §11.1. */
function refuseEntity(): never {
  fail('restricted-xml', 'only the five predefined entities are allowed');
}

/** RFC 6120 §11.1: refuses anything that begins with `<!`. */
export function refuseDeclaration(third: number): never {
  const known = third === 0x2d /* - */ || (BYTES[third]! & NAME_START) !== 0;
  fail(known ? 'restricted-xml' : 'not-well-formed', 'comments and declarations are not allowed');
}
