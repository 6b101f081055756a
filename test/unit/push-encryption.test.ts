/** RFC 8291 (encryption for Web Push): the example of §5, and what must be refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { whyOf } from '../../src/modules/push-gateway/backend.js';
import { encrypt, longestText, validKeys } from '../../src/modules/push-gateway/rfc-8291-encryption.js';
import { newKeys, Vapid } from '../../src/modules/push-gateway/rfc-8292-vapid.js';
import { retryAfter } from '../../src/server/outbound/request.js';
import { Subscription } from '../web-push-service.js';

const keys = {
  p256dh: 'BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4',
  auth: 'BTBZMqHH6r4Tts7J_aSIgg',
};

test('§5: the example of the specification', () => {
  const fresh = {
    privateKey: Buffer.from('yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw', 'base64url'),
    salt: Buffer.from('DGv6ra1nlYgDCS1FRnbzlw', 'base64url'),
  };
  assert.equal(
    encrypt('When I grow up, I want to be a watermelon', keys, fresh).toString('base64url'),
    'DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_' +
      'yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN',
  );
});

test('a message is read by its device, is padded, and has at most 4096 bytes', () => {
  const device = new Subscription('https://push.example/1');
  const encrypted = (value: unknown) => encrypt(JSON.stringify(value), device);
  const received = (body: Buffer) => ({ path: '/', headers: { 'content-encoding': 'aes128gcm' }, body });
  for (const value of [{}, { body: 'ö'.repeat(1000) }, { body: 'x'.repeat(longestText - 11) }]) {
    const body = encrypted(value);
    assert.ok(body.length <= 4096);
    assert.deepEqual(device.reads(received(body)), value);
  }
  assert.equal(encrypted({}).length, encrypted({ count: 1 }).length);
  assert.notDeepEqual(encrypted({}), encrypted({}));
  assert.throws(() => encrypt('x'.repeat(longestText + 1), device), RangeError);
});

test('keys that are no keys are refused', () => {
  assert.deepEqual(validKeys(keys.p256dh, keys.auth), keys);
  assert.deepEqual(validKeys(`${keys.p256dh}=`, keys.auth), keys);
  const other = Buffer.from(keys.p256dh, 'base64url');
  other[40]! ^= 1;
  for (const [p256dh, auth] of [
    ['', keys.auth],
    [keys.p256dh, ''],
    [keys.p256dh.slice(0, -4), keys.auth],
    [other.toString('base64url'), keys.auth], // not on the curve
    [Buffer.alloc(65, 4).toString('base64url'), keys.auth],
  ] as const)
    assert.equal(validKeys(p256dh, auth), undefined);
});

test('RFC 8292: a token is used again for the same server, and not for another', () => {
  const vapid = new Vapid(newKeys(), 'mailto:admin@example.org');
  assert.equal(vapid.header('https://a.example'), vapid.header('https://a.example'));
  assert.notEqual(vapid.header('https://a.example'), vapid.header('https://b.example'));
});

test('RFC 9110 §10.2.3: the pause that an answer asks for', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  for (const [text, ms] of [
    [undefined, undefined],
    ['120', 120_000],
    ['Thu, 01 Jan 2026 00:01:00 GMT', 60_000],
    ['Thu, 01 Jan 2015 00:01:00 GMT', 0],
    ['soon', undefined],
    ['-5', undefined],
  ] as const)
    assert.equal(retryAfter({ headers: { 'retry-after': text } }, now), ms, text);
});

test('explanations of services are short and can be shown on a terminal', () => {
  assert.equal(whyOf(400, 'a\u001b[31m\nb\u2028c'), '400 a [31m b c');
  assert.equal(whyOf(400, 'x'.repeat(1000)).length, 200);
});
