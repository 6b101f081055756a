import assert from 'node:assert/strict';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { networks } from '../../src/server/config/address.js';
import { accessAddress, requestPeer } from '../../src/server/forwarded.js';

const request = (remoteAddress: string, headers: IncomingHttpHeaders) =>
  ({ headers, socket: { remoteAddress, localAddress: '127.0.0.1' } as Socket }) as IncomingMessage;
const forwarded = networks(['127.0.0.1', '10.0.0.0/8', 'fd00::/8']);
const trusted = { forwarded, protocol: networks(['127.9.0.1']) };

for (const [sent, address] of [
  ['9.9.9.9', '9.9.9.9'],
  ['9.9.9.9:123', '9.9.9.9'],
  ['"9.9.9.9:123"', '9.9.9.9'],
  ['2001:DB8::7', '2001:db8::7'],
  ['[2001:db8::7]', '2001:db8::7'],
  ['[2001:db8::7]:443', '2001:db8::7'],
  ['::ffff:9.9.9.9', '9.9.9.9'],
  ['::FFFF:9.9.9.9', '9.9.9.9'],
  ['1.2.3.4, 9.9.9.9', '9.9.9.9'],
  ['1.2.3.4, 9.9.9.9, 10.1.2.3', '9.9.9.9'],
  ['9.9.9.9, 10.1.2.3:80, [fd00::1]:80', '9.9.9.9'],
  ['unknown, 9.9.9.9', '9.9.9.9'],
  ['unknown', undefined],
  ['9.9.9.9, unknown', undefined],
  ['1.2.3.4, unknown, 10.1.2.3', undefined],
  ['_hidden', undefined],
  ['', undefined],
  ['9.9.9.9,', undefined],
  [',', undefined],
  ['9.9.9', undefined],
  ['999.9.9.9', undefined],
  ['9.9.9.9:', undefined],
  ['9.9.9.9:123456', undefined],
  ['9.9.9.9:123:4', undefined],
  ['[9.9.9.9]:1', undefined],
  ['[2001:db8::7', undefined],
  ['fe80::1%eth0', undefined],
  ['9.9.9.9 127.0.0.1', undefined],
  ['127.0.0.1', '127.0.0.1'],
] as const)
  test(`X-Forwarded-For ${JSON.stringify(sent)} is ${address ?? 'refused'}`, () => {
    assert.equal(requestPeer(request('127.0.0.1', { 'x-forwarded-for': sent }), forwarded)?.address, address);
  });

test('the header of other addresses is ignored', () => {
  for (const sent of ['9.9.9.9', 'unknown'])
    assert.equal(requestPeer(request('127.0.0.2', { 'x-forwarded-for': sent }), forwarded)?.address, '127.0.0.2');
});

test("access by address: a request through a proxy counts as its client's", () => {
  const none = networks([]);
  const untrusted = { forwarded: none, protocol: none };
  assert.equal(accessAddress(request('127.0.0.1', {}), untrusted), '127.0.0.1');
  for (const name of ['x-forwarded-for', 'forwarded', 'via', 'x-real-ip', 'x-forwarded-proto'] as const) {
    assert.equal(accessAddress(request('127.0.0.1', { [name]: '127.0.0.1' }), untrusted), undefined, name);
    const through = accessAddress(request('127.0.0.1', { [name]: '127.0.0.1' }), trusted);
    assert.equal(through, name === 'x-forwarded-for' ? '127.0.0.1' : undefined, name);
  }
  assert.equal(accessAddress(request('127.0.0.1', {}), trusted), '127.0.0.1');
  assert.equal(accessAddress(request('127.0.0.1', { 'x-forwarded-for': '9.9.9.9:1' }), trusted), '9.9.9.9');
  assert.equal(accessAddress(request('127.0.0.1', { 'x-forwarded-for': 'unknown' }), trusted), undefined);
  assert.equal(accessAddress(request('127.9.0.1', {}), trusted), undefined);
});
