import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isLoopback, networks, parseListenAddress } from '../../src/server/config/address.js';
import { formatQuantity, parseQuantity, type Unit } from '../../src/server/config/units.js';
import { nearest } from '../../src/server/nearest.js';

describe('amounts', () => {
  const read: readonly (readonly [text: string, unit: Unit, value: number | undefined])[] = [
    ['64 KiB', 'bytes', 65_536],
    ['1.5MiB', 'bytes', 1_572_864],
    ['10 KB', 'bytes', 10_000],
    ['1.1 kB', 'bytes', 1100],
    ['12 bytes', 'bytes', 12],
    ['5 minutes', 'seconds', 300],
    ['250 ms', 'seconds', 0.25],
    ['1.5 h', 'seconds', 5400],
    ['2 weeks', 'seconds', 1_209_600],
    ['unlimited', 'count', Infinity],
    ['64k', 'bytes', undefined],
    ['64 kb', 'bytes', undefined],
    ['5 m', 'seconds', undefined],
    ['5', 'seconds', undefined],
    ['-5 s', 'seconds', undefined],
    ['5 constructor', 'seconds', undefined],
    ['5 apples', 'count', undefined],
    ['', 'bytes', undefined],
  ];
  for (const [text, unit, value] of read) {
    test(`"${text}" in ${unit}`, () => assert.equal(parseQuantity(text, unit), value));
  }

  const written: readonly (readonly [value: number, unit: Unit, text: string])[] = [
    [262_144, 'bytes', '256 KiB'],
    [10_000, 'bytes', '10 KB'],
    [65_537, 'bytes', '65537 bytes'],
    [0, 'bytes', '0 bytes'],
    [300, 'seconds', '5 minutes'],
    [86_400, 'seconds', '1 day'],
    [90, 'seconds', '90 seconds'],
    [1, 'seconds', '1 second'],
    [0.25, 'seconds', '250 ms'],
    [2.5, 'seconds', '2.5 seconds'],
    [7, 'count', '7'],
    [Infinity, 'bytes', 'unlimited'],
  ];
  for (const [value, unit, text] of written) {
    test(`${value} ${unit} is ${text}`, () => {
      assert.equal(formatQuantity(value, unit), text);
      if (unit !== 'count') assert.equal(parseQuantity(text, unit), value);
    });
  }
});

describe('addresses', () => {
  const listen: readonly (readonly [text: string, host: string | undefined, port: number | undefined])[] = [
    ['127.0.0.1:5222', '127.0.0.1', 5222],
    ['[::1]:5222', '::1', 5222],
    ['*:443', undefined, 443],
    ['localhost:0', '127.0.0.1', 0],
    ['5222', undefined, undefined],
    [':5222', undefined, undefined],
    ['::1:5222', undefined, undefined],
    ['1.2.3:4', undefined, undefined],
    ['[127.0.0.1]:4', undefined, undefined],
    ['127.0.0.1:65536', undefined, undefined],
    ['example.org:5222', undefined, undefined],
  ];
  for (const [text, host, port] of listen) {
    test(`listen on "${text}"`, () =>
      assert.deepEqual(parseListenAddress(text), port === undefined ? undefined : { host, port }));
  }

  test('loopback', () => {
    for (const address of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1'])
      assert.ok(isLoopback(address), address);
    for (const address of ['0.0.0.0', '::', '10.0.0.1', '::ffff:10.0.0.1', 'localhost', undefined]) {
      assert.ok(!isLoopback(address), address);
    }
  });

  test('networks', () => {
    const list = networks(['10.0.0.0/8', '192.0.2.7', 'fd00::/8']);
    assert.ok(list.check('10.1.2.3') && list.check('192.0.2.7') && list.check('fd12::1', 'ipv6'));
    assert.ok(!list.check('192.0.2.8') && !list.check('2001:db8::1', 'ipv6'));
    for (const text of ['10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', 'host', '', 'fd00::/129', '10.0.0.0/-1']) {
      assert.throws(() => networks([text]), RangeError, text);
    }
  });
});

test('the name that was probably meant', () => {
  const names = ['stanza_bytes', 'stanza_depth', 'connections'];
  assert.equal(nearest('stanza_byte', names), 'stanza_bytes');
  assert.equal(nearest('stnaza_bytes', names), 'stanza_bytes');
  assert.equal(nearest('StanzaBytes', names), 'stanza_bytes');
  assert.equal(nearest('conections', names), 'connections');
  assert.equal(nearest('roster', names), undefined);
});
