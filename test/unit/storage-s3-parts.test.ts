/** Pure parts of the S3 driver: signatures, frames of streamed bodies, memory of parts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Frames } from '../../src/storage/s3/frames.js';
import { Budget } from '../../src/storage/s3/parts.js';
import { encodePath, queryText, sha256, signedHeaders, signedQuery } from '../../src/storage/s3/sign.js';
import { parseAnswer, textOf } from '../../src/storage/s3/xml.js';

/** The example of Amazon's documentation of the signature. */
const example = {
  credentials: { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' },
  region: 'us-east-1',
  now: Date.UTC(2013, 4, 24),
};

test('requests and links are signed as in the documentation', () => {
  const request = { method: 'GET', host: 'examplebucket.s3.amazonaws.com', path: '/test.txt', query: {} };
  const { authorization } = signedHeaders(request, { range: 'bytes=0-9' }, sha256(''), example);
  assert.equal(
    authorization,
    'AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
  );
  const list = { ...request, path: '/', query: { prefix: 'J', 'max-keys': '2' } };
  assert.match(
    signedHeaders(list, {}, sha256(''), example).authorization!,
    /Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7$/,
  );
  assert.match(
    signedQuery(request, 86_400, example),
    /X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404$/,
  );
  const passing = { ...example, credentials: { ...example.credentials, sessionToken: 'a token' } };
  assert.equal(signedHeaders(request, {}, '', passing)['x-amz-security-token'], 'a token');
  assert.match(signedQuery(request, 1, passing), /X-Amz-Security-Token=a%20token/);
});

test('paths and queries are encoded as they are signed', () => {
  assert.equal(encodePath("/b/a b/ä(1)'!*~_-."), '/b/a%20b/%C3%A4%281%29%27%21%2A~_-.');
  assert.equal(queryText({ b: '', a: 'x/y&z', 'A-': '=' }), 'A-=%3D&a=x%2Fy%26z&b=');
});

test('a framed body has the announced length, however it comes', () => {
  const mebibyte = 2 ** 20;
  for (const size of [1, 5, mebibyte - 1, mebibyte, mebibyte + 1, 3 * mebibyte, 3 * mebibyte + 7])
    for (const step of [65_537, mebibyte, 5 * mebibyte]) {
      const frames = new Frames(size);
      const body: Uint8Array[] = [];
      for (let at = 0; at < size; at += step) body.push(...frames.frame(Buffer.alloc(Math.min(step, size - at), 'x')));
      body.push(Buffer.from(frames.end('AAAAAA==')));
      const text = Buffer.concat(body).toString();
      assert.equal(text.length, frames.length);
      const chunk = Math.min(size, mebibyte);
      assert.ok(text.startsWith(`${chunk.toString(16)}\r\n${'x'.repeat(chunk)}\r\n`));
      assert.ok(text.endsWith('x\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n'));
      assert.equal(text.match(/x/g)!.length, size + 1);
    }
});

test('memory is bounded, and used again only when nobody reads it', () => {
  const budget = new Budget(2500, 1000);
  const pieces = [budget.take(), budget.take()];
  assert.ok(budget.isSpent);
  budget.give([pieces[0]!], true);
  assert.ok(!budget.isSpent);
  assert.equal(budget.take(), pieces[0]);
  budget.give([pieces[1]!], false);
  assert.notEqual(budget.take(), pieces[1]);
});

test('answers that are no XML, or have entities', () => {
  for (const text of ['', 'text', '<a>', '<a></b>', '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'])
    assert.equal(parseAnswer(text), undefined, text);
  assert.equal(textOf(parseAnswer('<a><Key>x&amp;y</Key></a>')!, 'Key'), 'x&y');
});
