import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import roster from '../../src/modules/rfc-6121-roster/index.js';
import mam from '../../src/modules/xep-0313-mam/index.js';
import inbox, { type Conversation, follow, type Meaning, meaningOf, readTo } from '../../src/modules/xep-0430-inbox.js';
import { Jid } from '../../src/server/address/jid.js';
import { NS } from '../../src/server/stanza/ns.js';
import { parse } from '../../src/server/xml/element.js';
import { startHost } from './module-host.js';

const BODY = '<body>x</body>';
const owner = Jid.parse('romeo@example.org');

test('the conversation of an entry (§4)', () => {
  const cases: [from: string, content: string, meaning: Meaning][] = [
    ['juliet@example.org/x', BODY, { kind: 'received', id: 'm' }],
    ['juliet@example.org', `<encrypted xmlns='${NS.omemo}'/>`, { kind: 'received', id: 'm' }],
    ['juliet@example.org', `<received xmlns='${NS.receipts}' id='1'/>`, { kind: 'other' }],
    ['juliet@example.org', `<displayed xmlns='${NS.markers}' id='1'/>`, { kind: 'other' }],
    ['juliet@example.org', `${BODY}<retract xmlns='${NS.retract}' id='1'/>`, { kind: 'other' }],
    ['juliet@example.org', `${BODY}<reactions xmlns='${NS.reactions}' id='1'/>`, { kind: 'other' }],
    ['juliet@example.org', `<retracted xmlns='${NS.retract}' id='1'/>`, { kind: 'other' }],
    ['romeo@example.org/x', BODY, { kind: 'sent' }],
    ['romeo@example.org/x', `<displayed xmlns='${NS.markers}' id='1'/>`, { kind: 'displayed', id: '1' }],
    ['romeo@example.org/x', `<acknowledged xmlns='${NS.markers}' id='1'/>`, { kind: 'displayed', id: '1' }],
    ['romeo@example.org/x', `<displayed xmlns='${NS.markers}'/>`, { kind: 'other' }],
    ['romeo@example.org/x', `<received xmlns='${NS.receipts}' id='1'/>`, { kind: 'other' }],
  ];
  for (const [from, content, meaning] of cases) {
    const value = `<message xmlns="jabber:client" from="${from}" id="m">${content}</message>`;
    assert.deepEqual(meaningOf({ id: '1', value }, owner), meaning, value);
  }
});

test('unread messages', () => {
  const received = (id: string): Meaning => ({ kind: 'received', id });
  const displayed = (id: string): Meaning => ({ kind: 'displayed', id });
  const run = (...meanings: Meaning[]) =>
    meanings.reduce<Conversation | undefined>((known, meaning, n) => follow(known, `${n + 1}`, meaning), undefined)!;
  const other: Meaning = { kind: 'other' };
  assert.deepEqual(run(received('a')), { last: '1', message: '1', unread: 1, ids: ['a'], at: ['1'] });
  assert.deepEqual(run(received('a'), received('b'), other), {
    last: '3',
    message: '2',
    unread: 2,
    ids: ['a', 'b'],
    at: ['1', '2'],
  });
  assert.equal(run(received('a'), received('b'), received('c'), displayed('b')).unread, 1);
  assert.equal(run(received('a'), received('b'), displayed('b')).unread, 0);
  assert.equal(run(received('a'), received('b'), displayed('b'), displayed('a')).unread, 0, 'only forward');
  assert.equal(run(received('a'), displayed('z')).unread, 1, 'what is not there');
  assert.deepEqual(run(received('a'), { kind: 'sent' }), { last: '2', message: '2', unread: 0, ids: [], at: [] });
  assert.deepEqual(run(other), { last: '1', message: undefined, unread: 0, ids: [], at: [] });
  const known = run(received('a'), received('b'));
  assert.equal(follow(known, '2', received('b')), known, 'an entry counts once');
  assert.deepEqual(readTo(known, '1'), { ...known, unread: 1, ids: ['b'], at: ['2'] });
  assert.deepEqual(readTo(known, '3'), { ...known, unread: 0, ids: [], at: [] });
  assert.equal(readTo(known, '0'), known, 'read before');
});

test('only the latest of many unread messages are checked one by one', () => {
  let known: Conversation | undefined;
  for (let n = 0; n < 150; n++) known = follow(known, `${1000 + n}`, { kind: 'received', id: `m${n}` });
  assert.equal(known!.unread, 150);
  assert.equal(known!.ids.length, 100);
  assert.equal(follow(known, '2000', { kind: 'displayed', id: 'm3' }).unread, 150);
  assert.equal(follow(known, '2000', { kind: 'displayed', id: 'm147' }).unread, 2);
});

const { host, storage, account, connect, stop } = await startHost([roster, mam, inbox], {
  config: { modules: { inbox: { conversations: 4, history: 100 } } },
});
after(stop);

const list = async (client: ReturnType<typeof connect>, inner = '', attributes = '') => {
  const xml = await client.asks(`<iq type='get' id='i'><inbox xmlns='${NS.inbox}' ${attributes}>${inner}</inbox></iq>`);
  const elements = parse(`<all xmlns='jabber:client'>${xml}</all>`).getChildElements();
  const entries = elements.flatMap((element) => element.getChild('entry', NS.inbox) ?? []);
  const results = elements.flatMap((element) => element.getChild('result', NS.mam) ?? []);
  const fin = elements.at(-1)?.getChild('fin', NS.inbox);
  return {
    entries: entries.map(({ attrs }) => `${Jid.parse(attrs.jid!).local} ${attrs.unread}`),
    results: results.map((one) => one.getChild('forwarded', NS.forward)?.getChild('message')?.getChildText('body')),
    fin: fin && [fin.attrs.total, fin.attrs.unread, fin.attrs['all-unread']],
    set: fin?.getChild('set', NS.rsm),
    last: elements.at(-1)!,
  };
};

test('is updated with later messages, also after restarts', async () => {
  const romeo = await account('romeo');
  const orchard = connect(`${romeo}/orchard`);
  const says = (who: string, body: string) =>
    connect(`${who}@example.org/x`).says(
      `<message to='${romeo}' type='chat' id='${body}'><body>${body}</body></message>`,
    );
  await says('juliet', 'j1');
  await says('juliet', 'j2');
  await says('nurse', 'n1');
  await says('tybalt', 't1');
  const first = await list(orchard);
  assert.deepEqual(first.entries, ['tybalt 1', 'nurse 1', 'juliet 2']);
  assert.deepEqual(first.results, ['t1', 'n1', 'j2']);
  assert.deepEqual(first.fin, ['3', '3', '4']);

  await orchard.says(
    `<message to='juliet@example.org' type='chat'><displayed xmlns='${NS.markers}' id='j1'/></message>`,
  );
  await orchard.says("<message to='tybalt@example.org' type='chat'><body>peace</body></message>");
  orchard.received.length = 0;
  const second = await list(orchard);
  assert.deepEqual(second.entries, ['tybalt 0', 'juliet 1', 'nurse 1']);
  assert.deepEqual(second.results, ['peace', 'j2', 'n1']);
  assert.deepEqual(second.fin, ['3', '2', '2']);
  assert.deepEqual((await list(orchard)).entries, second.entries);
  assert.deepEqual((await list(orchard, '', "unread-only='true'")).entries, ['juliet 1', 'nurse 1']);
  const bare = await list(orchard, '', "messages='false'");
  assert.deepEqual([bare.entries.length, bare.results], [3, []]);

  const page = await list(orchard, `<set xmlns='${NS.rsm}'><max>1</max><after>tybalt@example.org</after></set>`);
  assert.deepEqual(page.entries, ['juliet 1']);
  assert.equal(page.set?.getChild('first')?.attrs.index, '1');
  assert.equal(page.set?.getChildText('count'), '3');
  const end = await list(orchard, `<set xmlns='${NS.rsm}'><max>2</max><before/></set>`);
  assert.deepEqual(end.entries, ['juliet 1', 'nurse 1']);
  const before = await list(orchard, `<set xmlns='${NS.rsm}'><max>5</max><before>nurse@example.org</before></set>`);
  assert.deepEqual(before.entries, ['tybalt 0', 'juliet 1']);
  const index = await list(orchard, `<set xmlns='${NS.rsm}'><max>5</max><index>2</index></set>`);
  assert.deepEqual(index.entries, ['nurse 1']);
  const none = await list(orchard, `<set xmlns='${NS.rsm}'><max>0</max></set>`);
  assert.deepEqual([none.entries, none.set?.getChildText('count')], [[], '3']);
  assert.match(
    (await list(orchard, `<set xmlns='${NS.rsm}'><after>x</after></set>`)).last.toString(),
    /item-not-found/,
  );

  await says('paris', 'p1');
  await says('benvolio', 'b1');
  assert.deepEqual((await list(orchard)).entries, ['benvolio 1', 'paris 1', 'tybalt 0', 'juliet 1'], 'the oldest goes');
  assert.equal(await storage.map('inbox').count(romeo.bare), 5);

  await host.services.archive!.trim(romeo);
  await says('nurse', 'n2');
  assert.deepEqual((await list(orchard)).entries, ['nurse 1'], 'what is not in the archive has no conversation');
});

test('several sessions can request it at once', async () => {
  const romeo = await account('mercutio');
  const clients = ['a', 'b', 'c'].map((resource) => connect(`${romeo}/${resource}`));
  for (let n = 0; n < 10; n++)
    await connect('juliet@example.org/x').says(`<message to='${romeo}' type='chat' id='${n}'>${BODY}</message>`);
  const lists = await Promise.all(clients.map((client) => list(client)));
  for (const { entries } of lists) assert.deepEqual(entries, ['juliet 10']);
});

test('reads no further back than configured', async () => {
  const romeo = await account('escalus');
  const log = storage.log('archive');
  for (let n = 0; n < 150; n++)
    await log.append(romeo.bare, {
      id: `${1000 + n}`,
      with: n < 50 ? 'nurse@example.org' : 'juliet@example.org',
      value: `<message xmlns="jabber:client" from="juliet@example.org/x" to="${romeo}" id="${n}">${BODY}</message>`,
    });
  assert.deepEqual((await list(connect(`${romeo}/x`))).entries, ['juliet 100']);
});
