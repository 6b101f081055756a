import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { prepareDomain } from '../../src/server/address/domain.js';
import { PrecisError } from '../../src/server/address/precis.js';

const label = (length: number): string => 'a'.repeat(length);

const valid: readonly (readonly [string, string])[] = [
  ['example.com', 'example.com'],
  ['EXAMPLE.com', 'example.com'],
  ['example.com.', 'example.com'],
  ['localhost', 'localhost'],
  ['a', 'a'],
  ['3com.example', '3com.example'],
  ['1.example', '1.example'],
  ['a-b.c--d.example', 'a-b.c--d.example'],
  [`${label(63)}.example`, `${label(63)}.example`],
  [`${label(63)}.${label(63)}.${label(63)}.${label(61)}`, `${label(63)}.${label(63)}.${label(63)}.${label(61)}`],
  // addresses
  ['192.0.2.1', '192.0.2.1'],
  ['[::1]', '[::1]'],
  ['[2001:DB8:0:0:0:0:0:1]', '[2001:db8::1]'],
  ['[::ffff:192.0.2.1]', '[::ffff:c000:201]'],
  // IDNs
  ['m\xFCnchen.de', 'm\xFCnchen.de'],
  ['xn--mnchen-3ya.de', 'm\xFCnchen.de'],
  ['XN--MNCHEN-3YA.DE', 'm\xFCnchen.de'],
  ['M\xDCNCHEN.de', 'm\xFCnchen.de'],
  ['mu\u0308nchen.de', 'm\xFCnchen.de'],
  ['fa\xDF.example', 'fa\xDF.example'],
  ['xn--fa-hia.example', 'fa\xDF.example'],
  ['\u03B1\u03C2.gr', '\u03B1\u03C2.gr'],
  ['\u0391\u03A3.gr', '\u03B1\u03C3.gr'],
  ['\uFF45\uFF58\uFF41\uFF4D\uFF50\uFF4C\uFF45\uFF0E\uFF43\uFF4F\uFF4D', 'example.com'],
  ['\u4F8B\u3048\u3002\u30C6\u30B9\u30C8', '\u4F8B\u3048.\u30C6\u30B9\u30C8'],
  ['\u4F8B\u3048\uFF61\u30C6\u30B9\u30C8', '\u4F8B\u3048.\u30C6\u30B9\u30C8'],
  ['\u30A2\u30FB\u30A4', '\u30A2\u30FB\u30A4'],
  ['paral\xB7lel.cat', 'paral\xB7lel.cat'],
  ['\u05D0\u05D1.\u05D2', '\u05D0\u05D1.\u05D2'],
  ['\u05D0\u05D1.com', '\u05D0\u05D1.com'],
  ['\u0646\u0627\u0645\u0647\u200C\u0627\u06CC.com', '\u0646\u0627\u0645\u0647\u200C\u0627\u06CC.com'],
];

const invalid: readonly string[] = [
  '',
  '.',
  '..',
  '.a',
  'a..',
  'a..b',
  'a b',
  'a_b.example',
  '-a.example',
  'a-.example',
  'ab--cd.example',
  'a@b',
  'a/b',
  'a:5222',
  'a\0',
  'a\uFF0Fb',
  `${label(64)}.example`,
  `${label(63)}.${label(63)}.${label(63)}.${label(62)}`,
  label(100_000),
  // no addresses, or other addresses than they look like
  '192.0.2.256',
  '192.0.2',
  '192.0.2.01',
  '0x7f.0.0.1',
  '127.1',
  '2130706433',
  '1.2.3.4.5',
  'example.1',
  '[::1',
  '[]',
  '[1.2.3.4]',
  '[fe80::1%eth0]',
  '[v1.a]',
  '::1',
  // IDNs
  'xn--a.example',
  'xn--.example',
  'xn--example-.com',
  'xn--zz--',
  'xn--\xFC',
  'xn--ls8h.example', // an emoji
  'xn--1ch.example', // not equal to
  '\u{1F4A9}.example',
  '\u265A.example',
  'a\u2163.example',
  '\uFB01.example',
  'a\u200Db.example',
  'a\u200Bb.example',
  '\u0301a.example',
  '\xFC-.example',
  '-\xFC.example',
  'ab--\xFC.example',
  `\xFC${label(63)}.example`,
  `\xFC.${label(63)}.${label(63)}.${label(63)}.${label(60)}`,
  '\u0378.example',
  '\uD800.example',
  '\u05D0a.example',
  '1\u05D0.example',
  '\u05D0.3com',
  '\u0661.example',
  '\xFC.1',
];

describe('a domainpart', () => {
  for (const [input, output] of valid) {
    it(`${JSON.stringify(input).slice(0, 60)} is ${JSON.stringify(output).slice(0, 60)}`, () => {
      assert.equal(prepareDomain(input), output);
      assert.equal(prepareDomain(output), output);
    });
  }
  for (const input of invalid) {
    it(`${JSON.stringify(input).slice(0, 60)} is refused`, () => {
      assert.throws(() => prepareDomain(input), PrecisError);
    });
  }
});
