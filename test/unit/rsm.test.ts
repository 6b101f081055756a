import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { StanzaError } from '../../src/server/stanza/errors.js';
import { readRsm, rsmSet } from '../../src/server/stanza/rsm.js';
import { parse, serialize } from '../../src/server/xml/element.js';

const limits = { default: 50, cap: 100 };
const set = (content: string) => parse(`<set xmlns='http://jabber.org/protocol/rsm'>${content}</set>`);

describe('readRsm', () => {
  const valid = [
    ['', { max: 50 }],
    ['<max>10</max>', { max: 10 }],
    ['<max> 10\n</max>', { max: 10 }],
    ['<max>0</max>', { max: 0 }],
    ['<max>1000</max>', { max: 100 }],
    ['<max>4294967295</max>', { max: 100 }],
    ['<max>10</max><after>a</after>', { max: 10, after: 'a' }],
    ['<after/>', { max: 50 }],
    ['<before/>', { max: 50, before: true }],
    ['<before> b </before>', { max: 50, before: ' b ' }],
    ['<after>a</after><before>b</before>', { max: 50, after: 'a', before: 'b' }],
    ['<index>371</index>', { max: 50, index: 371 }],
    ["<max xmlns='other'>1</max>", { max: 50 }],
  ] as const;
  for (const [content, request] of valid) {
    it(`takes ${content || 'an empty set'}`, () => assert.deepEqual(readRsm(set(content), limits), request));
  }

  it('takes no set for the first page', () => assert.deepEqual(readRsm(undefined, limits), { max: 50 }));

  for (const content of [
    '<max/>',
    '<max>-1</max>',
    '<max>1.5</max>',
    '<max>1e3</max>',
    '<max>ten</max>',
    '<max>99999999999</max>',
    '<max>1</max><max>2</max>',
    '<index>-1</index>',
    '<index/>',
    '<after>a</after><after>b</after>',
    '<before/><before/>',
    '<index>1</index><after>a</after>',
    '<index>1</index><before/>',
  ]) {
    it(`refuses ${content}`, () => {
      assert.throws(
        () => readRsm(set(content), limits),
        (error) => error instanceof StanzaError && error.condition === 'bad-request',
      );
    });
  }
});

describe('rsmSet', () => {
  for (const [page, content] of [
    [{}, ''],
    [{ count: 0 }, '<count>0</count>'],
    [{ first: 'a', last: 'b' }, '<first>a</first><last>b</last>'],
    [{ first: 'a', last: 'b', count: 800, index: 0 }, '<first index="0">a</first><last>b</last><count>800</count>'],
  ] as const) {
    it(`writes ${JSON.stringify(page)}`, () => {
      const open = '<set xmlns="http://jabber.org/protocol/rsm"';
      assert.equal(serialize(rsmSet(page)), content === '' ? `${open}/>` : `${open}>${content}</set>`);
    });
  }
});
