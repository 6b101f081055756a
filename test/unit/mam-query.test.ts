import assert from 'node:assert/strict';
import { test } from 'node:test';
import { searchableIn } from '../../src/modules/xep-0313-mam/archivable.js';
import { formOf, type Query, readQuery } from '../../src/modules/xep-0313-mam/query.js';
import { find, resultXml, turns } from '../../src/modules/xep-0313-mam/results.js';
import { Jid } from '../../src/server/address/jid.js';
import { StanzaError } from '../../src/server/stanza/errors.js';
import { idAfter, idAt } from '../../src/server/stanza/ids.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { parse } from '../../src/server/xml/element.js';
import { MemoryStorage } from '../../src/storage/memory.js';

const limits = { default: 50, cap: 250 };
const field = (name: string, ...values: string[]) =>
  `<field var='${name}'>${values.map((value) => `<value>${value}</value>`).join('')}</field>`;
const submitted = (fields: string) => `<x xmlns='jabber:x:data' type='submit'>${fields}</x>`;
const read = (inner: string, searches = true) =>
  readQuery(parse(`<query xmlns='${NS.mam}' queryid='q'>${inner}</query>`), formOf(searches), limits);
const refused = (condition: string) => (error: unknown) =>
  error instanceof StanzaError && error.condition === condition;

const nothing: Query = {
  with: undefined,
  start: undefined,
  end: undefined,
  afterId: undefined,
  beforeId: undefined,
  ids: undefined,
  words: undefined,
  page: { max: 50 },
  flipped: false,
  descending: false,
  queryId: 'q',
};

test('reads a query', () => {
  assert.deepEqual(read(''), nothing);
  const asked = read(
    `${submitted(
      field('FORM_TYPE', NS.mam) +
        field('with', 'juliet@example.org') +
        field('start', '2026-01-01T00:00:00Z') +
        field('end', '2026-01-02T00:00:00Z') +
        field('after-id', 'a') +
        field('before-id', 'b') +
        field('ids', 'c', 'd', 'c') +
        field('include-groupchat', 'false') +
        field('{urn:xmpp:fulltext:0}fulltext', 'parting sorrow'),
    )}<set xmlns='${NS.rsm}'><max>1000</max><before/></set><flip-page/><order xmlns='${NS.orderBy}' by='creation' desc='1'/>`,
  );
  assert.deepEqual(asked, {
    with: Jid.parse('juliet@example.org'),
    start: Date.UTC(2026, 0, 1),
    end: Date.UTC(2026, 0, 2),
    afterId: 'a',
    beforeId: 'b',
    ids: ['c', 'd'],
    words: 'parting sorrow',
    page: { max: 250, before: true },
    flipped: true,
    descending: true,
    queryId: 'q',
  });
  assert.equal(read(submitted(field('withtext', 'x'))).words, 'x');
  assert.equal(read(submitted(field('{urn:xmpp:fulltext:0}fulltext', ''))).words, undefined);
  assert.equal(read(submitted(field('after-id', ''))).afterId, undefined);
  assert.equal(read(`<order xmlns='${NS.orderBy}' by='creation'/>`).descending, false);
});

test('refuses unknown fields', () => {
  const cases: [inner: string, condition: string, searches?: boolean][] = [
    [submitted(field('colour', 'red')), 'feature-not-implemented'],
    [submitted(field('{urn:xmpp:fulltext:0}fulltext', 'x')), 'feature-not-implemented', false],
    [submitted(field('withtext', 'x')), 'feature-not-implemented', false],
    [submitted(field('FORM_TYPE', 'urn:xmpp:mam:1')), 'bad-request'],
    ["<x xmlns='jabber:x:data' type='cancel'/>", 'bad-request'],
    ["<x xmlns='jabber:x:data' type='form'/>", 'bad-request'],
    ["<x xmlns='jabber:x:data'/>", 'bad-request'],
    [submitted(field('start', 'yesterday')), 'not-acceptable'],
    [submitted(field('with', '@@')), 'not-acceptable'],
    [submitted(field('include-groupchat', 'maybe')), 'not-acceptable'],
    [submitted(field('withtext', 'x'.repeat(1025))), 'not-acceptable'],
    [submitted(field('ids', ...Array.from({ length: 251 }, (_, n) => `i${n}`))), 'not-acceptable'],
    [`<set xmlns='${NS.rsm}'><max>many</max></set>`, 'bad-request'],
    [`<set xmlns='${NS.rsm}'><max>-1</max></set>`, 'bad-request'],
    [`<set xmlns='${NS.rsm}'><index>3</index></set>`, 'feature-not-implemented'],
    [`<order xmlns='${NS.orderBy}' by='modification'/>`, 'feature-not-implemented'],
    [`<order xmlns='${NS.orderBy}'/>`, 'feature-not-implemented'],
  ];
  for (const [inner, condition, searches] of cases)
    assert.throws(() => read(inner, searches), refused(condition), `${condition}: ${inner.slice(0, 120)}`);
});

// ---------------------------------------------------------------------------------------------------------------
// Finding

const owner = Jid.parse('romeo@example.org');
const texts = ['wherefore art thou', 'It was the lark', 'no nightingale', 'the LARK again', 'more light'];
const store = new MemoryStorage().log('archive', { text: searchableIn });
const archive = Array.from({ length: 90 }, (_, n) => {
  const peer = n % 3 === 0 ? 'juliet@example.org' : 'nurse@example.org';
  const resource = n % 2 === 0 ? 'balcony' : 'hall';
  return {
    id: `${idAt(1_000_000 + n * 1000).slice(0, 12)}0000`,
    time: 1_000_000 + n * 1000,
    with: peer,
    resource,
    value: `<message xmlns="jabber:client" to="romeo@example.org" from="${peer}/${resource}" type="chat"><body>${texts[n % 5]}</body></message>`,
  };
});
for (const { id, with: peer, value } of archive) await store.append(owner.bare, { id, with: peer, value });
const idOf = (n: number) => archive[n]!.id;
const searching = { store, inTurn: turns() };
const seek = (asked: Partial<Query>) => find(owner, { ...nothing, ...asked }, undefined, searching);

test('equals a slow implementation, page by page, in both orders and directions', async () => {
  const filters: [Partial<Query>, (entry: (typeof archive)[number]) => boolean][] = [
    [{}, () => true],
    [{ with: Jid.parse('juliet@example.org') }, (entry) => entry.with === 'juliet@example.org'],
    [
      { with: Jid.parse('nurse@example.org/hall') },
      (entry) => entry.with === 'nurse@example.org' && entry.resource === 'hall',
    ],
    [{ with: Jid.parse('nobody@example.org') }, () => false],
    [{ start: 1_020_000, end: 1_050_500 }, ({ time }) => time >= 1_020_000 && time <= 1_050_500],
    [{ start: 1_050_000, end: 1_020_000 }, () => false],
    [{ words: 'lark' }, ({ value }) => value.toLowerCase().includes('lark')],
    [{ words: 'lark it' }, ({ value }) => value.includes('It was the lark')],
    [{ words: '!?' }, () => false],
    [{ afterId: idOf(10), beforeId: idOf(70) }, ({ id }) => id > idOf(10) && id < idOf(70)],
    [{ ids: [idOf(3), idOf(60), idOf(4)] }, ({ id }) => [idOf(3), idOf(4), idOf(60)].includes(id)],
    [{ ids: [idOf(3), idOf(60)], with: Jid.parse('juliet@example.org') }, ({ id }) => [idOf(3), idOf(60)].includes(id)],
  ];
  for (const [filter, isMatch] of filters) {
    for (const descending of [false, true]) {
      const all = archive.filter(isMatch).map(({ id }) => id);
      if (descending) all.reverse();
      const what = `${JSON.stringify(filter)}${descending ? ' descending' : ''}`;
      for (const max of [1, 7, 60, 250]) {
        const forwards: string[] = [];
        for (let after: string | undefined; ; ) {
          const page = { max, ...(after !== undefined && { after }) };
          const { entries, complete } = await seek({ ...filter, descending, page });
          forwards.push(...entries.map(({ id }) => id));
          after = entries.at(-1)?.id ?? after;
          if (complete) break;
          assert.ok(entries.length > 0, what);
        }
        assert.deepEqual(forwards, all, `${what}, forwards by ${max}`);
        const backwards: string[] = [];
        for (let before: string | true = true; ; ) {
          const { entries, complete } = await seek({ ...filter, descending, page: { max, before } });
          backwards.unshift(...entries.map(({ id }) => id));
          before = entries[0]?.id ?? before;
          if (complete) break;
          assert.ok(entries.length > 0, what);
        }
        assert.deepEqual(backwards, all, `${what}, backwards by ${max}`);
      }
    }
  }
});

test('between two messages of a page request', async () => {
  const { entries, complete } = await seek({ page: { max: 50, after: idOf(10), before: idOf(20) } });
  assert.deepEqual(
    entries.map(({ id }) => id),
    archive.slice(11, 20).map(({ id }) => id),
  );
  assert.equal(complete, true);
});

test('a missing message (§4.1.3, §4.3.2)', async () => {
  const there = idOf(5);
  for (const asked of [
    { page: { max: 5, after: 'x' } },
    { page: { max: 5, before: 'x' } },
    { afterId: 'x' },
    { beforeId: 'x' },
    { afterId: there, page: { max: 5, after: 'x' } },
    { afterId: 'x', page: { max: 5, after: there } },
    { afterId: '0', page: { max: 5, after: there } },
    { beforeId: 'zzz', page: { max: 5, before: there } },
    { ids: [there, 'x'] },
    { ids: ['x'], with: Jid.parse('nobody@example.org') },
    { page: { max: 0, after: 'x' } },
  ])
    await assert.rejects(seek(asked), refused('item-not-found'), JSON.stringify(asked));
});

test('counts what is cheap to count', async () => {
  assert.deepEqual(await seek({ page: { max: 0 } }), { entries: [], complete: false, edge: undefined, count: 90 });
  const none = await seek({ page: { max: 0 }, with: Jid.parse('nobody@example.org') });
  assert.deepEqual(none, { entries: [], complete: true, edge: undefined, count: 0 });
  assert.equal((await seek({ page: { max: 0 }, words: 'lark' })).count, 36);
  assert.equal((await seek({ page: { max: 0 }, with: Jid.parse('nurse@example.org/hall') })).count, undefined);
  assert.equal((await seek({})).count, undefined);
  assert.equal((await seek({ page: { max: 90 } })).count, 90);
  assert.equal((await seek({ page: { max: 90, before: true } })).count, 90);
  assert.equal((await seek({ page: { max: 90, after: idOf(80) } })).count, undefined);
});

test('the size of a page and the search for it are limited', async () => {
  const big = new MemoryStorage().log('archive');
  const body = 'x'.repeat(100_000);
  for (let n = 0; n < 20; n++)
    await big.append(owner.bare, { id: idAfter(n).slice(0, 16), value: `<message><body>${body}</body></message>` });
  const { entries, complete } = await find(owner, nothing, undefined, { store: big, inTurn: turns() });
  assert.equal(entries.length, 6);
  assert.equal(complete, false);

  const vast = new MemoryStorage().log('archive');
  const id = (n: number) => idAfter(n).slice(0, 16);
  const nurse = 'nurse@example.org';
  for (let n = 0; n < 5500; n++)
    await vast.append(owner.bare, {
      id: id(n),
      with: nurse,
      value: `<message from="${nurse}/${n === 5400 ? 'hall' : n}"/>`,
    });
  const asked = { ...nothing, with: Jid.parse(`${nurse}/hall`) };
  const first = await find(owner, asked, undefined, { store: vast, inTurn: turns() });
  assert.deepEqual(first, { entries: [], complete: false, edge: id(4999), count: undefined });
  const page = { max: 50, after: first.edge! };
  const second = await find(owner, { ...asked, page }, undefined, { store: vast, inTurn: turns() });
  assert.deepEqual([second.entries.map((entry) => entry.id), second.complete], [[id(5400)], true]);
});

test('in a room, users who cannot see real addresses find nobody by them', async () => {
  const room = Jid.parse('verona@rooms.example.org');
  const log = new MemoryStorage().log('archive');
  const say = (id: string, nick: string, real: string) =>
    log.append(room.bare, {
      id,
      with: real,
      value: `<message xmlns="jabber:client" from="verona@rooms.example.org/${nick}" type="groupchat"><body>x</body></message>`,
    });
  await say('1', 'Romeo', 'romeo@example.org');
  await say('2', 'Juliet &amp; Co', 'juliet@example.org');
  const seen = async (who: string, knowsSenders: boolean) => {
    const query = { ...nothing, with: Jid.parse(who) };
    const { entries } = await find(room, query, { knowsSenders }, { store: log, inTurn: turns() });
    return entries.map(({ id }) => id).join();
  };
  assert.equal(await seen('romeo@example.org', true), '1');
  assert.equal(await seen('romeo@example.org', false), '');
  assert.equal(await seen('verona@rooms.example.org/Romeo', false), '1');
  assert.equal(await seen('verona@rooms.example.org/Juliet & Co', false), '2');
  assert.equal(await seen('verona@rooms.example.org', false), '1,2');
});

test('a result is written as if built as a tree', () => {
  const message = '<message xmlns="jabber:client" from="a@b"><body>&lt;|&gt;</body></message>';
  const id = idAt(Date.UTC(2026, 1, 3, 4, 5, 6, 7));
  assert.equal(
    resultXml(id, 'a"|&', message),
    `<result xmlns="urn:xmpp:mam:2" id="${id}" queryid="a&quot;|&amp;"><forwarded xmlns="urn:xmpp:forward:0"><delay xmlns="urn:xmpp:delay" stamp="2026-02-03T04:05:06.007Z"/>${message}</forwarded></result>`,
  );
  const head = Stanza.build('message', { to: owner });
  for (const queryId of [undefined, 'f27']) {
    const xml = resultXml(id, queryId, message);
    const written = head.plusWritten(xml);
    assert.deepEqual(written, head.plus(xml));
    assert.equal(written.child(NS.mam, 'result')?.attrs.id, id);
    assert.deepEqual(written.plus('<a/>').childNames(), [
      { ns: NS.mam, name: 'result' },
      { ns: NS.client, name: 'a' },
    ]);
  }
});
