/** The first bytes of a connection are a proxy header, a prefix of one, or refused, independent of later bytes. */
import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import { test } from 'node:test';
import { ProxyHeaderError, readProxyHeader } from '../../src/server/transport/proxy-protocol.js';

const rounds = 20_000;

let state = 20_260;
/** Below `end`; the same each time. */
function random(end: number): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((state / 2 ** 32) * end);
}

const good = [
  Buffer.from('PROXY TCP4 192.0.2.7 198.51.100.1 56324 5222\r\n<stream'),
  Buffer.from('PROXY TCP6 2001:db8::7 2001:db8::1 56324 5222\r\n'),
  Buffer.from('PROXY UNKNOWN\r\n\x16\x03'),
  Buffer.from('0d0a0d0a000d0a515549540a2111000cc0000207c6336401dc041466ffff', 'hex'),
  Buffer.from('0d0a0d0a000d0a515549540a21110014c0000207c6336401dc041466200005010000000016', 'hex'),
  Buffer.from(`0d0a0d0a000d0a515549540a21210024${'20010db8'.repeat(8)}dc041466`, 'hex'),
  Buffer.from('0d0a0d0a000d0a515549540a20000000', 'hex'),
];

test(`${rounds} headers, most of them damaged`, () => {
  let taken = 0;
  for (let round = 0; round < rounds; round++) {
    const bytes = Buffer.from(good[random(good.length)]!);
    for (let changes = random(4); changes > 0; changes--) bytes[random(bytes.length)] = random(256);
    try {
      const header = readProxyHeader(bytes);
      if (header === undefined) continue;
      taken++;
      assert.ok(header.length <= bytes.length);
      if (header.address !== undefined) assert.notEqual(isIP(header.address), 0);
      assert.deepEqual(readProxyHeader(bytes.subarray(0, header.length)), header);
      for (let length = 0; length < header.length; length++)
        assert.equal(readProxyHeader(bytes.subarray(0, length)), undefined);
    } catch (error) {
      if (!(error instanceof ProxyHeaderError)) throw error;
    }
  }
  assert.ok(taken > rounds / 10);
});
