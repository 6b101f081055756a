import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Jid, JidError } from '../../src/server/address/jid.js';

type Parts = readonly [local: string | undefined, domain: string, resource?: string];

// RFC 7622 §3.5, table 1, and more of the same kind
const valid: readonly (readonly [string, Parts])[] = [
  ['juliet@example.com', ['juliet', 'example.com']],
  ['juliet@example.com/foo', ['juliet', 'example.com', 'foo']],
  ['juliet@example.com/foo bar', ['juliet', 'example.com', 'foo bar']],
  ['juliet@example.com/foo@bar', ['juliet', 'example.com', 'foo@bar']],
  ['foo\\20bar@example.com', ['foo\\20bar', 'example.com']],
  ['fussball@example.com', ['fussball', 'example.com']],
  ['fu\xDFball@example.com', ['fu\xDFball', 'example.com']],
  ['\u03C0@example.com', ['\u03C0', 'example.com']],
  ['\u03A3@example.com/foo', ['\u03C3', 'example.com', 'foo']],
  ['\u03C3@example.com/foo', ['\u03C3', 'example.com', 'foo']],
  ['\u03C2@example.com/foo', ['\u03C2', 'example.com', 'foo']],
  ['king@example.com/\u265A', ['king', 'example.com', '\u265A']],
  ['example.com', [undefined, 'example.com']],
  ['example.com/foobar', [undefined, 'example.com', 'foobar']],
  ['a.example.com/b@example.net', [undefined, 'a.example.com', 'b@example.net']],
  ['juliet@example.com/ foo', ['juliet', 'example.com', ' foo']], // table 2 as corrected by erratum 4560
  ['ALICE@Example.COM./Work', ['alice', 'example.com', 'Work']],
  ['\uFF21\uFF2C\uFF29\uFF23\uFF25@\uFF45\uFF58.org', ['alice', 'ex.org']],
  ['a@b/c/d@e', ['a', 'b', 'c/d@e']],
  ['a@[::1]/x', ['a', '[::1]', 'x']],
  ['a@b/\xA0', ['a', 'b', ' ']],
];

// table 2, and more
const invalid: readonly (readonly [string, RegExp])[] = [
  ['"juliet"@example.com', /localpart/],
  ['foo bar@example.com', /localpart/],
  ['@example.com/', /localpart/],
  ['henry\u2163@example.com', /localpart/],
  ['\u265A@example.com', /localpart/],
  ['juliet@', /domainpart/],
  ['/foobar', /domainpart/],
  ['', /domainpart/],
  ['@', /localpart/],
  ['a@b@c', /domainpart/],
  ['a@/b', /domainpart/],
  ['a@b/', /resourcepart/],
  ['a@b/c\0', /resourcepart/],
  ['a\uFF20b', /domainpart/],
  ['a\uFF0Fb@c', /localpart/],
  [`${'a'.repeat(1024)}@b`, /localpart/],
  [`a@b/${'c'.repeat(1024)}`, /resourcepart/],
];

describe('a Jid', () => {
  for (const [text, [local, domain, resource]] of valid) {
    it(`is parsed from ${JSON.stringify(text)}`, () => {
      const jid = Jid.parse(text);
      assert.deepEqual([jid.local, jid.domain, jid.resource], [local, domain, resource]);
      assert.equal(jid.bare, local === undefined ? domain : `${local}@${domain}`);
      assert.equal(jid.full, resource === undefined ? jid.bare : `${jid.bare}/${resource}`);
      assert.equal(jid.isBare, resource === undefined);
      assert.equal(String(jid), jid.full);
      assert.equal(Jid.parse(jid.full), jid);
      assert.equal(Jid.of(local, domain, resource), jid);
    });
  }
  for (const [text, message] of invalid) {
    it(`is not parsed from ${JSON.stringify(text).slice(0, 60)}`, () => {
      assert.throws(
        () => Jid.parse(text),
        (error) => error instanceof JidError && message.test(error.message),
      );
      assert.throws(() => Jid.parse(text), JidError, 'nor the second time');
      assert.equal(Jid.tryParse(text), undefined);
    });
  }

  it('is built from parts, which cannot change their boundaries', () => {
    assert.throws(() => Jid.of('a@b', 'c'), JidError);
    assert.throws(() => Jid.of('a', 'b/c'), JidError);
    assert.throws(() => Jid.of(undefined, 'a@b'), JidError);
    assert.throws(() => Jid.of('', 'b'), JidError);
    assert.throws(() => Jid.of('a', 'b', ''), JidError);
    assert.equal(Jid.of('A', 'B', 'c/d').full, 'a@b/c/d');
  });

  it('is cached', () => {
    const phone = Jid.parse('romeo@verona.example/phone');
    const desk = Jid.parse('ROMEO@verona.example/desk');
    assert.equal(phone.toBare(), desk.toBare());
    assert.equal(phone.toBare(), Jid.parse('romeo@verona.example'));
    assert.equal(phone.toBare().toBare(), phone.toBare());
    assert.equal(phone.withResource('desk'), desk);
    assert.equal(Jid.parse('romeo@verona.example/phone'), phone);
  });

  it('compares', () => {
    const [one, two] = [Jid.parse('a@b/1'), Jid.parse('a@b/2')];
    assert.ok(one.equals(Jid.parse('A@b/1')) && !one.equals(two) && !one.equals(undefined));
    assert.ok(one.sameBare(two) && one.sameBare(Jid.parse('a@b')));
    assert.ok(!one.sameBare(Jid.parse('c@b/1')) && !one.sameBare(undefined));
  });

  it('stays equal after eviction from the cache', () => {
    const before = Jid.parse('lasting@verona.example/x');
    for (let i = 0; i < 30_000; i++) Jid.parse(`passing${i}@verona.example`);
    const after = Jid.parse('lasting@verona.example/x');
    assert.notEqual(after, before);
    assert.ok(after.equals(before) && after.sameBare(before.toBare()));
  });

  it('works if it is too long for the cache', () => {
    const text = `a@b/${'c'.repeat(1000)}`;
    assert.ok(Jid.parse(text).equals(Jid.parse(text)));
  });
});
