/** Changes to valid protocol at random: parts removed, doubled, reversed, with flipped bits, or with something put in. */

/** Mulberry32: the same numbers for the same seed, at least 0 and less than 1. */
export function mulberry32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What is put in at random places. */
const pieces: readonly (string | Buffer)[] = [
  '<',
  '>',
  '/>',
  '&',
  ';',
  '"',
  "'",
  '=',
  ' ',
  '\n',
  '\0',
  '</',
  '<!',
  '<!--',
  '-->',
  '<![CDATA[',
  ']]>',
  '<?xml version="1.0"?>',
  '<!DOCTYPE x>',
  '&lt;',
  '&#0;',
  '&#x10FFFF;',
  '&unknown;',
  'xmlns=',
  `xmlns=''`,
  `xmlns:a='b'`,
  `xml:lang='x'`,
  'type=',
  `type='error'`,
  `to=''`,
  `to='@'`,
  `to='localhost'`,
  `from='root@localhost'`,
  `id=''`,
  'stream:',
  '<a>',
  '<a/>',
  '</a>',
  '<a>'.repeat(200),
  'x'.repeat(20_000),
  '</stream:stream>',
  '</message>',
  Buffer.from([0xff]),
  Buffer.from([0xc0, 0xaf]),
  Buffer.from([0xed, 0xa0, 0x80]),
  Buffer.from([0xf0, 0x9f, 0x98]),
  '\ufeff',
  '\u202e',
  '\ud7ff',
  '𝄞',
  '4294967295',
  '-1',
  '1e999',
  '__proto__',
  'constructor',
];

export function mutated(text: string, random: () => number): Buffer {
  let bytes = Buffer.from(text);
  const place = () => Math.floor(random() * (bytes.length + 1));
  for (let changes = Math.floor(random() * 4); changes > 0; changes--) {
    const at = place();
    const to = Math.min(bytes.length, at + 1 + Math.floor(random() * 20));
    const kind = Math.floor(random() * 6);
    const piece = Buffer.from(pieces[Math.floor(random() * pieces.length)]!);
    const middle = [
      piece,
      Buffer.alloc(0),
      Buffer.concat([bytes.subarray(at, to), bytes.subarray(at, to)]),
      Buffer.from(bytes.subarray(at, to)).reverse(),
      Buffer.from(bytes.subarray(at, to).map((byte) => byte ^ (1 << Math.floor(random() * 8)))),
      Buffer.concat([piece, bytes.subarray(at, to)]),
    ][kind]!;
    bytes = Buffer.concat([bytes.subarray(0, at), middle, bytes.subarray(kind === 0 ? at : to)]);
  }
  return bytes;
}
