/** Keys of server dialback: XEP-0185 §3, XEP-0220 §2.1.1 and §2.1.2. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DialbackKeys } from '../../src/server/stream/s2s/dialback.js';

const claim = { receiving: 'xmpp.example.com', originating: 'example.org', streamId: 'D60000229F' };
const key = '37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643';

test('XEP-0185 §3: the example', () => {
  const keys = new DialbackKeys('s3cr3tf0rd14lb4ck');
  assert.equal(keys.make(claim), key);
  assert.ok(keys.isValid(key, claim));
  assert.ok(keys.isValid(`\n  ${key}\n`, claim));
});

test('XEP-0220 §2.1: both examples', () => {
  for (const [secret, receiving, originating, streamId, wanted] of [
    [
      's3cr3tf0rd14lb4ck',
      'montague.example',
      'capulet.example',
      'D60000229F',
      'b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df3',
    ],
    [
      'd14lb4ck43v3r',
      'capulet.example',
      'montague.example',
      '417GAF25',
      '225cc5aa6a071133249d25fef42ae516fc7a86c523aa1c6980a7f73e784c972d',
    ],
  ] as const)
    assert.equal(new DialbackKeys(secret).make({ receiving, originating, streamId }), wanted);
});

test('a key is for one pair of domains, one direction, one stream and one secret', () => {
  const keys = new DialbackKeys('s3cr3tf0rd14lb4ck');
  const others = [
    { ...claim, receiving: 'xmpp.example.net' },
    { ...claim, originating: 'example.com' },
    { ...claim, streamId: 'D60000229E' },
    { receiving: claim.originating, originating: claim.receiving, streamId: claim.streamId },
    // The spaces separate the parts.
    { receiving: 'xmpp.example.com example.org', originating: '', streamId: 'D60000229F' },
  ];
  for (const other of others) assert.ok(!keys.isValid(key, other), JSON.stringify(other));
  for (const wrong of ['', key.slice(1), `${key}0`, key.toUpperCase(), 'ä'.repeat(32)])
    assert.ok(!keys.isValid(wrong, claim), wrong);
});

test('without a secret each process generates one', () => {
  const keys = new DialbackKeys('');
  assert.ok(keys.isValid(keys.make(claim), claim));
  assert.ok(!new DialbackKeys('').isValid(keys.make(claim), claim));
});
