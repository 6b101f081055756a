/** Addresses that others may name, and those that would lead into private networks. */
import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { test } from 'node:test';
import { networks } from '../../src/server/config/address.js';
import { isReachable } from '../../src/server/config/reachable.js';

const reaches = isReachable(networks([]));

test('public addresses are reached', () => {
  for (const address of [
    '93.184.215.14',
    '2606:4700::1111',
    '::ffff:93.184.215.14',
    '64:ff9b::93.184.215.14',
    '2002:5db8:d70e::1',
    '172.32.0.1',
  ])
    assert.ok(reaches(address), address);
});

test('private addresses are not, in whatever form (RFC 6890, RFC 4291 §2.5.5.2, RFC 6052 §2.1, RFC 3056 §2)', () => {
  const own = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address));
  for (const address of [
    '127.0.0.1',
    '10.1.2.3',
    '169.254.169.254',
    '::1',
    'fd00::1',
    'fe80::1',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '64:ff9b::127.0.0.1',
    '64:ff9b::a9fe:a9fe',
    '64:ff9b::10.0.0.1',
    '64:ff9b:1::1',
    '2002:7f00:1::',
    '2002:a01:203::1',
    '2002:c0a8:101:5::9',
    '2001:0:4136:e378:8000:63bf:3fff:fdd2',
    ...own,
  ])
    assert.equal(reaches(address), false, address);
});

test('what is allowed is reached', () => {
  assert.ok(isReachable(networks(['127.0.0.0/8']))('127.0.0.1'));
  assert.equal(isReachable(networks(['127.0.0.0/8']))('10.0.0.1'), false);
});
