import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compare } from '../../src/storage/order.js';
import { words } from '../../src/storage/words.js';

test('text is ordered by its UTF-8 bytes', () => {
  const texts = ['', '\0', 'a', 'a\0', 'ab', 'b', '\x7f', '\x80', '\u07ff', '\u0800', '\ud7ff', '\ue000', '\uffff'];
  texts.push('\u{10000}', '\u{10000}a', '\u{10001}', '\u{103ff}', '\u{10400}', '\u{10ffff}');
  for (const a of texts) {
    for (const b of texts) {
      const bytes = Buffer.compare(Buffer.from(a), Buffer.from(b));
      assert.equal(Math.sign(compare(a, b)), bytes, JSON.stringify([a, b]));
    }
  }
});

test('words', () => {
  const cases: [string, string][] = [
    ['', ''],
    [' .,-_ ', ''],
    ['Hello, hello WORLD!', 'hello world'],
    ['it’s a.b c_d e-mail x@y', 'it s a b c d e mail x y'],
    ['Crème brûlée İstanbul', 'creme brulee istanbul'],
    ['ﬁ Ｆｕｌｌ ½', 'fi full 1 2'],
    ['한국어 東京タワーへ go', '한국어 東 京 タ ワ ー へ go'],
    ['हिन्दी भाषा', 'हिन्दी भाषा'],
    ['emoji😀between', 'emoji between'],
    ['\ue0001 \0x', '1 x'],
    [`${'a'.repeat(64)}b ${'a'.repeat(64)}c`, 'a'.repeat(64)],
    ['𝒳𝒴 \u{1f600}', 'xy'],
  ];
  for (const [text, expected] of cases) assert.equal([...words(text)].join(' '), expected, text);
});
