import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { StanzaError } from '../../src/server/stanza/errors.js';
import { pageOf, readRsm, rsmSet } from '../../src/server/stanza/rsm.js';
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
    it(`reads ${content || 'an empty set'}`, () => assert.deepEqual(readRsm(set(content), limits), request));
  }

  it('without a set, reads the first page', () => assert.deepEqual(readRsm(undefined, limits), { max: 50 }));

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

describe('pageOf', () => {
  const names = Array.from({ length: 10 }, (_, n) => `n${n}`);
  const page = (content: string | undefined, sizeOf?: (name: string) => number) => {
    const request = content === undefined ? undefined : parse(`<query>${serialize(set(content))}</query>`);
    const { shown, isWhole } = pageOf(names, (name) => name, request, { default: 8, cap: 9 }, sizeOf);
    return { shown: shown.map((name) => Number(name.slice(1))), isWhole };
  };
  const cases: readonly (readonly [string | undefined, readonly number[]])[] = [
    [undefined, [0, 1, 2, 3, 4, 5, 6, 7]],
    ['<max>100</max>', [0, 1, 2, 3, 4, 5, 6, 7, 8]],
    ['<max>2</max>', [0, 1]],
    ['<max>2</max><after>n3</after>', [4, 5]],
    ['<max>2</max><after>n9</after>', []],
    ['<max>2</max><before>n3</before>', [1, 2]],
    ['<max>2</max><before>n0</before>', []],
    ['<max>2</max><before/>', [8, 9]],
    ['<max>2</max><index>9</index>', [9]],
    ['<max>2</max><index>99</index>', []],
    ['<max>9</max><after>n3</after><before>n6</before>', [4, 5]],
    ['<max>9</max><after>n6</after><before>n3</before>', []],
    ['<max>0</max>', []],
  ];
  for (const [content, expected] of cases)
    it(`for ${content ?? 'no page'}`, () => assert.deepEqual(page(content).shown, expected));

  it('reports whether a list is complete without paging', () => {
    const all = (request: string | undefined) =>
      pageOf(['a'], (name) => name, request === undefined ? undefined : parse(request), limits).isWhole;
    assert.deepEqual([all(undefined), all('<query/>'), page(undefined).isWhole], [true, true, false]);
    assert.equal(all(`<query>${serialize(set('<max>5</max>'))}</query>`), false);
  });

  it('ends a page that gets too large, after at least one item', () => {
    const large = () => 90_000;
    assert.deepEqual(page('<max>5</max>', large).shown, [0, 1]);
    assert.deepEqual(page('<max>5</max><before/>', large).shown, [8, 9]);
    for (const content of ['<max>5</max>', '<max>5</max><before>n1</before>'])
      assert.deepEqual(page(content, () => 1_000_000).shown, [0]);
  });

  it('refuses a missing item', () => {
    for (const content of ['<after>x</after>', '<before>x</before>'])
      assert.throws(
        () => page(content),
        (error) => error instanceof StanzaError && error.condition === 'item-not-found',
      );
  });
});
