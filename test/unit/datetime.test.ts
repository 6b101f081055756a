import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatDateTime, parseDate, parseDateTime, parseTime } from '../../src/server/stanza/datetime.js';

describe('DateTime', () => {
  const times = [
    ['1969-07-21T02:56:15Z', Date.UTC(1969, 6, 21, 2, 56, 15)],
    ['1969-07-20T21:56:15-05:00', Date.UTC(1969, 6, 21, 2, 56, 15)],
    ['2000-01-01T00:00:00+14:00', Date.UTC(1999, 11, 31, 10)],
    ['2000-01-01T00:00:00.5Z', Date.UTC(2000, 0, 1, 0, 0, 0, 500)],
    ['2000-01-01T00:00:00.123999Z', Date.UTC(2000, 0, 1, 0, 0, 0, 123)],
    ['2000-02-29T23:59:59Z', Date.UTC(2000, 1, 29, 23, 59, 59)],
    ['2000-12-31T24:00:00Z', Date.UTC(2001, 0, 1)],
    ['0050-01-01T00:00:00Z', -60_589_296_000_000],
    ['9999-12-31T23:59:59.999Z', 253_402_300_799_999],
  ] as const;
  for (const [text, ms] of times) {
    it(`reads ${text}`, () => {
      assert.equal(parseDateTime(text), ms);
      assert.equal(parseDateTime(formatDateTime(ms)), ms);
    });
  }

  for (const text of [
    '',
    '2000-01-01',
    '2000-01-01T00:00:00',
    '2000-01-01T00:00Z',
    '2000-01-01 00:00:00Z',
    '2000-01-01t00:00:00z',
    '2000-13-01T00:00:00Z',
    '2000-00-01T00:00:00Z',
    '2000-01-00T00:00:00Z',
    '2000-01-32T00:00:00Z',
    '1900-02-29T00:00:00Z',
    '2000-01-01T24:00:01Z',
    '2000-01-01T25:00:00Z',
    '2000-01-01T00:60:00Z',
    '2000-01-01T00:00:60Z',
    '2000-01-01T00:00:00.Z',
    '2000-01-01T00:00:00+0100',
    '2000-01-01T00:00:00+14:01',
    '2000-01-01T00:00:00+15:00',
    '2000-01-01T00:00:00ZZ',
    ' 2000-01-01T00:00:00Z',
    '20000101T00:00:00',
    '200000-01-01T00:00:00Z',
    '-2000-01-01T00:00:00Z',
    '+2000-01-01T00:00:00Z',
    '\u0662000-01-01T00:00:00Z',
  ]) {
    it(`refuses ${JSON.stringify(text)}`, () => assert.equal(parseDateTime(text), undefined));
  }

  it('is written in UTC', () => {
    assert.equal(formatDateTime(0), '1970-01-01T00:00:00.000Z');
    assert.throws(() => formatDateTime(Number.NaN), RangeError);
  });
});

describe('Date', () => {
  it('is read', () => {
    assert.equal(parseDate('1776-07-04'), Date.UTC(1776, 6, 4));
    for (const text of ['1776-7-4', '1776-02-30', '1776-07-04Z', '17760704', ''])
      assert.equal(parseDate(text), undefined);
  });
});

describe('Time', () => {
  it('is read', () => {
    for (const [text, ms] of [
      ['16:00:00', 57_600_000],
      ['16:00:00.25Z', 57_600_250],
      ['16:00:00+01:00', 54_000_000],
      ['00:30:00+01:00', -1_800_000],
    ] as const) {
      assert.equal(parseTime(text), ms);
    }
    for (const text of ['24:00:00', '1:00:00', '16:00', '']) assert.equal(parseTime(text), undefined);
  });
});
