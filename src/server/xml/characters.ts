/**
 * Which characters XML 1.0 (fifth edition) allows where, and what each byte of UTF-8 can be. The tables serve the
 * reader, which looks at bytes, and the writer, which looks at UTF-16 units.
 */

/** May begin a name (§2.3 NameStartChar), the colon left out: XML-NAMES §4 gives it a meaning of its own. */
export const NAME_START = 1;
/** May stand in a name (§2.3 NameChar), the colon left out. */
export const NAME = 2;
/** Ends a run of plain character data: markup, references, `]` (of `]]>`), forbidden controls, anything beyond ASCII. */
export const TEXT_STOP = 4;
/** Ends a run of plain attribute value: as above, both quotes, and the white space that a reader turns into spaces. */
export const VALUE_STOP = 8;
/** §2.3 S. */
export const SPACE = 16;

/** What each byte is: an or of the above. */
export const BYTES = new Uint8Array(256);

for (let c = 0; c < 256; c++) {
  const letter = (c >= 0x41 && c <= 0x5a) || (c >= 0x61 && c <= 0x7a) || c === 0x5f;
  const more = (c >= 0x30 && c <= 0x39) || c === 0x2d || c === 0x2e;
  const space = c === 0x20 || c === 0x09 || c === 0x0a || c === 0x0d;
  const special = (c < 0x20 && !space) || c >= 0x80 || c === 0x3c || c === 0x26;
  const whiteControl = space && c !== 0x20;
  BYTES[c] =
    (letter ? NAME_START | NAME : 0) |
    (more ? NAME : 0) |
    (special || c === 0x5d ? TEXT_STOP : 0) |
    (special || whiteControl || c === 0x22 || c === 0x27 ? VALUE_STOP : 0) |
    (space ? SPACE : 0);
}

/** NameStartChar beyond ASCII. */
export function isNameStart(c: number): boolean {
  return (
    (c >= 0xc0 && c <= 0x2ff && c !== 0xd7 && c !== 0xf7) ||
    (c >= 0x370 && c <= 0x1fff && c !== 0x37e) ||
    c === 0x200c ||
    c === 0x200d ||
    (c >= 0x2070 && c <= 0x218f) ||
    (c >= 0x2c00 && c <= 0x2fef) ||
    (c >= 0x3001 && c <= 0xd7ff) ||
    (c >= 0xf900 && c <= 0xfdcf) ||
    (c >= 0xfdf0 && c <= 0xfffd) ||
    (c >= 0x10000 && c <= 0xeffff)
  );
}

/** NameChar beyond ASCII. */
export function isNameChar(c: number): boolean {
  return isNameStart(c) || c === 0xb7 || (c >= 0x300 && c <= 0x36f) || c === 0x203f || c === 0x2040;
}

/** §2.2 Char: may stand in a document, written plainly or as a character reference. */
export function isChar(c: number): boolean {
  return (
    (c >= 0x20 && c <= 0xd7ff) ||
    c === 0x09 ||
    c === 0x0a ||
    c === 0x0d ||
    (c >= 0xe000 && c <= 0xfffd) ||
    (c >= 0x10000 && c <= 0x10ffff)
  );
}
