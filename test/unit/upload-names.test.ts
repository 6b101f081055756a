/** XEP-0363: names and types of files are safe in paths and headers, whatever users choose. */
import assert from 'node:assert/strict';
import { validateHeaderValue } from 'node:http';
import { test } from 'node:test';
import { cleanName, encodeName, essenceOf, inertHeaders } from '../../src/modules/xep-0363-upload/names.js';
import { sign, slotSchema, verify } from '../../src/modules/xep-0363-upload/slots.js';
import { mulberry32 } from '../../src/storage/wrappers.js';

const pieces = [
  ...'aZ09._- /\\:"\'%&;=?#*|<>()[]{}~`^$@!+,',
  ...'\t\r\n\0\u001b\u007f\u0085\u00a0\u200b\u202e\u2028\ufeff\ufffd',
  ...'äßéℵ日本語\u0301\u05d0\u{1f600}\u{1f468}\u200d\u{e0041}\u{10ffff}',
  '\ud800',
  '\udfff',
  '..',
  '../',
  '.jpg',
  '.tar.gz',
  'x'.repeat(300),
];

test('any name becomes one that is safe, and stays so', () => {
  const random = mulberry32(Number(process.env.SEED ?? 1));
  for (let round = 0; round < Number(process.env.ROUNDS ?? 5000); round++) {
    const length = Math.floor(random() * 12);
    const given = Array.from({ length }, () => pieces[Math.floor(random() * pieces.length)]).join('');
    const name = cleanName(given);
    const what = JSON.stringify(given);
    assert.ok(name !== '' && name !== '.' && name !== '..', what);
    assert.ok(Buffer.byteLength(name) <= 255, what);
    assert.doesNotMatch(name, /[/\\\p{Cc}\p{Zl}\p{Zp}]|\p{Surrogate}|[\u202a-\u202e]/u, what);
    assert.equal(cleanName(name), name, what);
    const path = encodeName(name);
    assert.match(path, /^(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+$/, what);
    assert.equal(decodeURIComponent(path), name, what);
    const url = new URL(`https://localhost/upload/id/${path}`);
    assert.equal(url.pathname, `/upload/id/${path}`, what);
    for (const [header, value] of Object.entries(inertHeaders(name, essenceOf(given))))
      validateHeaderValue(header, value);
  }
});

test('a slot is read as it was signed, and no other', () => {
  const random = mulberry32(Number(process.env.SEED ?? 2));
  const secret = Buffer.alloc(32, 1);
  const id = '0123456789abcdef0123456789abcdef';
  const slot = slotSchema.parse({ id, owner: 'romeo@ä.example', name: 'ä "x"', size: 5, purpose: 'message', until: 7 });
  const signed = sign(slot, secret);
  assert.deepEqual(
    verify(signed, () => secret),
    slot,
  );
  assert.equal(
    verify(signed, () => Buffer.alloc(32, 2)),
    undefined,
  );
  assert.equal(
    verify(signed, () => undefined),
    undefined,
  );
  // The last character of a signature has bits that do not count.
  const significant = signed.length - 1;
  for (let round = 0; round < 2000; round++) {
    const at = Math.floor(random() * significant);
    const other = '-_.AZaz09'[Math.floor(random() * 9)]!;
    const changed = signed.slice(0, at) + other + signed.slice(at + 1);
    if (changed !== signed)
      assert.equal(
        verify(changed, () => secret),
        undefined,
        changed,
      );
  }
});
