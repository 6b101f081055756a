import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  nickname,
  nicknameKey,
  opaqueString,
  PrecisError,
  prepareLocal,
  prepareResource,
} from '../../src/server/address/precis.js';

/** Input, and what becomes of it; undefined where it is refused. */
type Table = readonly (readonly [input: string, output: string | undefined, why?: string])[];

function table(prepare: (text: string) => string, rows: Table): void {
  for (const [input, output, why] of rows) {
    it(`${JSON.stringify(input)} ${output === undefined ? 'is refused' : `is ${JSON.stringify(output)}`}`, () => {
      if (output === undefined) assert.throws(() => prepare(input), PrecisError, why);
      else {
        assert.equal(prepare(input), output, why);
        assert.equal(prepare(output), output, 'the result stays as it is');
      }
    });
  }
}

describe('UsernameCaseMapped, as localpart', () => {
  table(prepareLocal, [
    // RFC 8265 §3.5, tables 1 and 2; the address there is refused by RFC 7622 §3.3.1
    ['juliet@example.com', undefined],
    ['fussball', 'fussball'],
    ['fu\xDFball', 'fu\xDFball', 'sharp s is a letter of its own'],
    ['\u03C0', '\u03C0'],
    ['\u03A3', '\u03C3'],
    ['\u03C3', '\u03C3'],
    ['\u03C2', '\u03C2'],
    ['foo bar', undefined],
    ['', undefined],
    ['henry\u2163', undefined],
    ['\u265A', undefined],
    // lookalike spellings
    ['ALICE', 'alice'],
    ['\uFF21\uFF2C\uFF29\uFF23\uFF25', 'alice', 'full width'],
    ['\uFF76\uFF9E', '\u30AC', 'half width kana with a voiced mark'],
    ['\u212Aelvin', undefined, 'the Kelvin sign'],
    ['a\uFB01', undefined, 'a ligature'],
    ['\u2126', undefined, 'the Ohm sign, which NFC would make an omega'],
    ['\uF900', undefined, 'a CJK compatibility ideograph'],
    ['\u01C5', undefined, 'a digraph in title case'],
    ['\u24D0', undefined, 'circled'],
    ['\u1D400', undefined],
    ['\u{1D41A}lice', undefined, 'mathematical bold'],
    // case
    ['\u0391\u03A3', '\u03B1\u03C2', 'a final sigma'],
    ['\u0391\u03A3\u0391', '\u03B1\u03C3\u03B1'],
    ['\u0130', 'i\u0307', 'I with a dot'],
    ['\u0131', '\u0131', 'i without one'],
    ['\u1E9E', '\xDF', 'capital sharp s'],
    ['\u13A0', '\uAB70', 'Cherokee'],
    // combining marks
    ['re\u0301sume\u0301', 'r\xE9sum\xE9'],
    ['E\u0301', '\xE9'],
    ['\u0301', '\u0301'],
    ['a\u0327\u0301', '\xE1\u0327'],
    ['a\u0301\u0327', '\xE1\u0327', 'marks in the other order'],
    // ignorable, unassigned, private, noncharacters, controls, surrogates
    ['a\xADb', undefined, 'soft hyphen'],
    ['a\u200Bb', undefined, 'zero width space'],
    ['a\uFE0Fb', undefined, 'variation selector'],
    ['a\u2060b', undefined],
    ['\uFEFFa', undefined],
    ['a\u034Fb', undefined],
    ['\u3164', undefined, 'Hangul filler'],
    ['a\u202Eb', undefined, 'right-to-left override'],
    ['\u0378', undefined, 'unassigned'],
    ['\uE000', undefined],
    ['\uFDD0', undefined],
    ['\uFFFF', undefined],
    ['a\0', undefined],
    ['a\x7F', undefined],
    ['\uD800', undefined],
    ['a\uDC00b', undefined],
    ['\uD83D', undefined],
    ['\u{1F600}', undefined],
    ['\u{20000}', '\u{20000}'],
    // RFC 7622 §3.3.1, also in full width
    ...['"', '&', "'", '/', ':', '<', '>', '@'].map((sign) => [`a${sign}b`, undefined] as const),
    ...['\uFF20', '\uFF0F', '\uFF02', '\uFF06'].map((sign) => [`a${sign}b`, undefined] as const),
    ['foo\\20bar', 'foo\\20bar'],
    ['!#$%()*+,-.;=?[]^_`{|}~', '!#$%()*+,-.;=?[]^_`{|}~'],
    // RFC 5892 §2.6
    ['\u0640', undefined],
    ['\u302E', undefined],
    ['\u3007', '\u3007'],
    ['\u0F0B', '\u0F0B'],
    ['\u1100', undefined, 'old Hangul jamo'],
    ['\uAC00', '\uAC00'],
    ['\uFFA1\uFFC2', undefined, 'half width jamo'],
    // RFC 5892 appendix A
    ['\u0915\u094D\u200D\u0937', '\u0915\u094D\u200D\u0937', 'ZWJ behind a virama'],
    ['\u0915\u200D\u0937', undefined],
    ['a\u200Db', undefined],
    ['\u200D', undefined],
    ['\u0915\u094D\u200C\u0937', '\u0915\u094D\u200C\u0937', 'ZWNJ behind a virama'],
    [
      '\u0646\u0627\u0645\u0647\u200C\u0627\u06CC',
      '\u0646\u0627\u0645\u0647\u200C\u0627\u06CC',
      'between joining letters',
    ],
    ['\u0628\u064E\u200C\u064E\u0627', '\u0628\u064E\u200C\u064E\u0627', 'with marks'],
    ['\u0627\u200C\u0628', undefined, 'alef does not join forward'],
    ['\u0628\u200C', undefined],
    ['\u0628\u200Ca', undefined],
    ['paral\xB7lel', 'paral\xB7lel'],
    ['PARAL\xB7LEL', 'paral\xB7lel'],
    ['a\xB7l', undefined],
    ['l\xB7', undefined],
    ['\u0375\u03B1', '\u0375\u03B1'],
    ['\u0375a', undefined],
    ['\u0375', undefined],
    ['\u05D0\u05F3', '\u05D0\u05F3'],
    ['\u05D0\u05F4\u05D1', '\u05D0\u05F4\u05D1'],
    ['a\u05F3', undefined],
    ['\u05F4', undefined],
    ['\u30A2\u30FB\u30A4', '\u30A2\u30FB\u30A4'],
    ['\u30FB', undefined],
    ['a\u30FBb', undefined],
    ['\uFF65\u6F22', '\u30FB\u6F22'],
    ['\u0628\u0661', '\u0628\u0661'],
    ['\u0628\u06F1', '\u0628\u06F1'],
    ['\u0628\u0661\u06F1', undefined, 'both kinds of Arabic digits'],
    // RFC 5893 §2
    ['\u05D0\u05D1', '\u05D0\u05D1'],
    ['\u05D0a', undefined],
    ['a\u05D0', undefined],
    ['\u05D01', '\u05D01'],
    ['1\u05D0', undefined],
    ['\u05D0-', undefined, 'ends neither in a letter nor in a digit'],
    ['\u05D0-\u05D1', '\u05D0-\u05D1'],
    ['\u05D0\u05B0', '\u05D0\u05B0', 'ends in a mark'],
    ['\u05B0\u05D0', undefined],
    ['\u06281\u0661', undefined, 'European and Arabic digits'],
    ['\u0661', undefined, 'an Arabic digit alone'],
    ['\u06F1', '\u06F1', 'an extended one counts as European'],
    // length
    ['a'.repeat(1023), 'a'.repeat(1023)],
    ['a'.repeat(1024), undefined],
    ['\xE9'.repeat(511), '\xE9'.repeat(511)],
    ['\xE9'.repeat(512), undefined],
    ['\uFF41'.repeat(1023), 'a'.repeat(1023), 'the length counts after mapping'],
    ['\u0301'.repeat(100_000), undefined],
  ]);
});

describe('OpaqueString, as resourcepart and password', () => {
  const rows: Table = [
    // RFC 8265 §4.3, tables 3 and 4
    ['correct horse battery staple', 'correct horse battery staple'],
    ['Correct Horse Battery Staple', 'Correct Horse Battery Staple'],
    ['\u03C0\xDF\xE5', '\u03C0\xDF\xE5'],
    ['Jack of \u2666s', 'Jack of \u2666s'],
    ['foo\u1680bar', 'foo bar', 'Ogham space mark'],
    ['', undefined],
    ['my cat is a \tby', undefined],
    [' foo', ' foo', 'RFC 7622 erratum 4560'],
    ['foo@bar/\u265A', 'foo@bar/\u265A'],
    ['\xA0\u3000', '  '],
    ['\uFF21', '\uFF21', 'width stays'],
    ['\u2163', '\u2163'],
    ['e\u0301', '\xE9'],
    ['\u2126', '\u03A9'],
    ['\u{1F40E}', '\u{1F40E}'],
    ['a\u0661\u06F1', undefined],
    ['\u05D0a', '\u05D0a', 'no Bidi Rule'],
    ['a\u200Db', undefined],
    ['\u2764\uFE0F', undefined],
    ['a\nb', undefined],
    ['\uD83D', undefined],
    ['\uFFFE', undefined],
    ['\u0378', undefined],
    ['\u2028', undefined],
    ['\u0640', undefined],
  ];
  table(prepareResource, [
    ...rows,
    ['a'.repeat(1023), 'a'.repeat(1023)],
    ['a'.repeat(1024), undefined],
    ['\u265A'.repeat(342), undefined],
  ]);
  table(opaqueString, [...rows, ['a'.repeat(1024), 'a'.repeat(1024)]]);
});

describe('Nickname', () => {
  table(nickname, [
    // RFC 8266 §3, table 1
    ['Foo', 'Foo'],
    ['foo', 'foo'],
    ['Foo Bar', 'Foo Bar'],
    ['\u03A3', '\u03A3'],
    ['\u03C2', '\u03C2'],
    ['\u265A', '\u265A'],
    ['Richard \u2163', 'Richard IV'],
    ['  Swan  of   Avon   ', 'Swan of Avon'],
    ['\xA0Foo\u3000\u2003Bar', 'Foo Bar'],
    ['\xA8', '\u0308', 'NFKC makes a space here, which goes in the second round'],
    ['   ', undefined],
    ['', undefined],
    ['a\0b', undefined],
    ['\uD800', undefined],
  ]);
  it('compares without case', () => {
    for (const [input, key] of [
      ['Foo', 'foo'],
      ['\u03A3', '\u03C3'],
      ['\u03C3', '\u03C3'],
      ['\u03C2', '\u03C2'],
      ['\u265A', '\u265A'],
      ['Richard \u2163', 'richard iv'],
      [' FOO  bar', 'foo bar'],
      ['\uFF26oo', 'foo'],
    ] as const) {
      assert.equal(nicknameKey(input), key);
    }
  });
});

it('names the refused character, but not the string', () => {
  assert.throws(() => prepareLocal('a\uFB01'), { message: 'U+FB01' });
  assert.throws(() => prepareLocal('king\u265A'), { message: 'U+265A' });
});

it('is stable', () => {
  let seed = 1;
  const random = (below: number): number => (seed = (seed * 48_271) % 0x7fffffff) % below;
  const blocks = [
    0x20, 0xa0, 0x370, 0x590, 0x600, 0x900, 0x1100, 0x1e00, 0x1f00, 0x2000, 0x3040, 0xfb00, 0xff00, 0x1d400,
  ];
  for (let round = 0; round < 4000; round++) {
    const text = Array.from({ length: 1 + random(4) }, () =>
      String.fromCodePoint(blocks[random(blocks.length)]! + random(0x100)),
    ).join('');
    for (const prepare of [prepareLocal, prepareResource, nickname, nicknameKey]) {
      let once: string;
      try {
        once = prepare(text);
      } catch (error) {
        assert.ok(error instanceof PrecisError);
        continue;
      }
      assert.equal(prepare(once), once, JSON.stringify(text));
    }
  }
});

it('refuses input that is too long, or has too many marks on one letter, before any work (UAX #15 §13)', () => {
  for (const prepare of [prepareLocal, prepareResource, opaqueString, nickname, nicknameKey]) {
    assert.throws(() => prepare('\u30FB'.repeat(100_000)), PrecisError);
    assert.throws(() => prepare(`a${'\u0316'.repeat(31)}`), { message: 'more than 30 marks on one letter' });
    assert.equal(prepare(`a${'\u0316'.repeat(30)}`), `a${'\u0316'.repeat(30)}`);
  }
});
