/**
 * Any data that a client stores for its account, in any form: each request is answered once, nothing fails, and the
 * forms agree.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import presence from '../../src/modules/rfc-6121-presence/index.js';
import roster from '../../src/modules/rfc-6121-roster/index.js';
import privateStorage from '../../src/modules/xep-0049-private.js';
import vcard from '../../src/modules/xep-0054-vcard.js';
import pubsub from '../../src/modules/xep-0060-pubsub/index.js';
import clientCaps from '../../src/modules/xep-0115-client-caps/index.js';
import vcard4 from '../../src/modules/xep-0292-vcard4/index.js';
import mam from '../../src/modules/xep-0313-mam/index.js';
import avatars from '../../src/modules/xep-0398-avatars.js';
import { differences } from '../../src/modules/xep-0402-bookmarks/conversion.js';
import bookmarks from '../../src/modules/xep-0402-bookmarks/index.js';
import displayed from '../../src/modules/xep-0490-displayed.js';
import { NS } from '../../src/server/stanza/ns.js';
import { escapeAttribute, parse } from '../../src/server/xml/element.js';
import { startHost } from '../unit/module-host.js';

const rounds = 3000;

/** Numbers that look random and are the same each time (xorshift). */
function seeded(seed: number): <T>(from: readonly T[]) => T {
  let state = seed;
  return (from) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return from[(state >>> 0) % from.length]!;
  };
}

test('no stored account data makes a request fail', async () => {
  const pick = seeded(402_398);
  const { connect, account, stop } = await startHost(
    [roster, presence, privateStorage, vcard, clientCaps, pubsub, mam, bookmarks, vcard4, avatars, displayed],
    {
      config: {
        modules: {
          pubsub: { items_per_node: 5, items_per_account: 30, item_bytes: 3000, changes_per_minute: 1_000_000 },
        },
      },
    },
  );
  await account('alice');
  await account('bob', { 'alice@example.org': 'both' });
  const alice = connect('alice@example.org/a');
  const bob = connect('bob@example.org/b');
  await alice.says('<presence/>');

  const nodes = [
    NS.bookmarks,
    NS.bookmarksPrivate,
    NS.avatarData,
    NS.avatarMetadata,
    NS.vcard4Node,
    NS.displayed,
    NS.contactsNode,
    'x',
  ];
  const namespaces = [
    NS.bookmarks,
    NS.bookmarksPrivate,
    NS.avatarData,
    NS.avatarMetadata,
    NS.vcard4,
    NS.vcardTemp,
    'urn:x',
  ];
  const names = [
    'conference',
    'storage',
    'data',
    'metadata',
    'info',
    'vcard',
    'vCard',
    'nick',
    'extensions',
    'fn',
    'FN',
    'N',
  ];
  const more = [
    'PHOTO',
    'photo',
    'uri',
    'BINVAL',
    'TYPE',
    'EXTVAL',
    'text',
    'TEL',
    'tel',
    'NUMBER',
    'parameters',
    'url',
  ];
  const values = [
    '',
    'true',
    '1',
    'r1@c.example',
    'r2@c.example',
    'R1@c.example',
    'r1@c.example/n',
    '@',
    'current',
    '31b2eb4d0ea6d1de3ef63f7c1f4e9a8ed8fd8a1e',
    'AAAA',
    'R0lGODlh',
    'data:image/gif;base64,R0lGODlh',
    'image/gif',
    'é\u0301',
    '<&"\'',
    'x'.repeat(2000),
    '__proto__',
    'constructor',
  ];
  const some = (one: () => string, counts = [0, 1, 1, 2]): string => Array.from({ length: pick(counts) }, one).join('');
  const attribute = (): string =>
    ` ${pick(['jid', 'name', 'autojoin', 'id', 'url', 'type'])}='${escapeAttribute(pick(values))}'`;
  const element = (depth: number, name = pick([...names, ...more])): string => {
    const ns = pick([true, false]) ? ` xmlns='${pick(namespaces)}'` : '';
    const attributes = [...new Set([attribute(), attribute()].map((one) => one.trim()))];
    const once = attributes.filter(
      (one, at) => attributes.findIndex((it) => it.split('=')[0] === one.split('=')[0]) === at,
    );
    const inside = depth === 0 ? escapeAttribute(pick(values)) : some(() => element(depth - 1), [0, 1, 2, 3]);
    return `<${name}${ns} ${once.join(' ')}>${inside}</${name}>`;
  };
  const conference = (ns: string, jid = ''): string =>
    `<conference xmlns='${ns}'${jid} name='${escapeAttribute(pick(values))}' autojoin='${pick(['true', '1', '0', 'x'])}'>${some(
      () => `<${pick(['nick', 'password'])}>n</${'@'}>`,
    ).replace(/<(\w+)>n<\/@>/g, '<$1>n</$1>')}${some(() => element(1))}</conference>`;
  const list = (): string =>
    `<storage xmlns='${NS.bookmarksPrivate}'>${some(
      () =>
        pick([() => conference(NS.bookmarksPrivate, ` jid='${escapeAttribute(pick(values))}'`), () => element(1)])(),
      [0, 1, 2, 3, 7],
    )}</storage>`;
  const card = (): string => `<vCard xmlns='${NS.vcardTemp}'>${some(() => element(2), [0, 1, 3, 5])}</vCard>`;
  const photo = `<PHOTO><TYPE>image/gif</TYPE><BINVAL>R0lGODlh</BINVAL></PHOTO>`;
  const payload = (): string =>
    pick([
      () => conference(NS.bookmarks),
      () => conference(NS.bookmarks),
      list,
      () => element(3),
      () => `<metadata xmlns='${NS.avatarMetadata}'>${some(() => `<info${attribute()}/>`)}</metadata>`,
      () => `<data xmlns='${NS.avatarData}'>${pick(values.slice(9, 13))}</data>`,
      () => `<vcard xmlns='${NS.vcard4}'>${some(() => element(2), [0, 1, 3, 5])}</vcard>`,
    ])();
  const query = (type: string, inner: string): string => `<iq type='${type}' id='q'>${inner}</iq>`;
  const ask = (ns: string, type: string, inner: string): string =>
    query(type, `<pubsub xmlns='${ns}'>${inner}</pubsub>`);
  const deletable = nodes.filter((node) => node !== NS.bookmarksPrivate);
  const requests = [
    () =>
      ask(
        NS.pubsub,
        'set',
        `<publish node='${pick(nodes)}'><item id='${escapeAttribute(pick(values))}'>${payload()}</item></publish>`,
      ),
    () =>
      ask(
        NS.pubsub,
        'set',
        `<publish node='${NS.bookmarks}'><item id='r${pick([1, 2, 3, 4, 5, 6])}@c.example'>${conference(NS.bookmarks)}</item></publish>`,
      ),
    () => ask(NS.pubsub, 'set', `<publish node='${NS.bookmarksPrivate}'><item id='current'>${list()}</item></publish>`),
    () =>
      ask(
        NS.pubsub,
        'set',
        `<retract node='${pick(deletable)}'><item id='${escapeAttribute(pick(values))}'/></retract>`,
      ),
    () => ask(NS.pubsubOwner, 'set', `<${pick(['purge', 'delete'])} node='${pick(deletable)}'/>`),
    () => ask(NS.pubsub, 'get', `<items node='${pick(nodes)}'/>`),
    () => query('set', `<query xmlns='${NS.private}'>${pick([list, list, payload])()}</query>`),
    () => query('get', `<query xmlns='${NS.private}'><storage xmlns='${NS.bookmarksPrivate}'/></query>`),
    () => query('set', pick([card, card, () => `<vCard xmlns='${NS.vcardTemp}'>${photo}</vCard>`])()),
    () => query('get', `<vCard xmlns='${NS.vcardTemp}'/>`),
    () =>
      `<presence>${some(() => `<x xmlns='${NS.vcardUpdate}'>${some(() => `<photo>${pick(['', 'AAAA'])}</photo>`)}</x>`)}</presence>`,
    () =>
      `<message to='${pick(['bob@example.org', 'bob@example.org/b', 'alice@example.org'])}'>${some(() => `<displayed xmlns='${NS.displayed}'>${some(() => `<stanza-id xmlns='${NS.stanzaId}'${attribute()}/>`)}</displayed>`)}<body>b</body></message>`,
  ];
  const itemsOf = async (node: string) => {
    const answer = parse(await alice.asks(ask(NS.pubsub, 'get', `<items node='${node}'/>`)), NS.client);
    const items = answer.getChild('pubsub', NS.pubsub)?.getChild('items')?.getChildElements() ?? [];
    return new Map(items.flatMap((item) => item.getChildElements().map((inner) => [item.attrs.id!, inner] as const)));
  };

  for (let round = 0; round < rounds; round++) {
    const client = pick([alice, alice, alice, bob]);
    const sent = pick(requests)();
    const request = client === alice ? sent : sent.replace(/^<iq /, "<iq to='alice@example.org' ");
    const answers = (await client.asks(request)).split('\n').filter((one) => /^<iq [^>]*id="q"/.test(one));
    assert.equal(answers.length, request.startsWith('<iq') ? 1 : 0, request);
    assert.ok(!answers.join('').includes('<internal-server-error'), request);
    if (round % 10 > 0) continue;
    alice.received.length = 0;
    const [storage] = (await itemsOf(NS.bookmarksPrivate)).values();
    if (storage === undefined) continue;
    const { publish, retract } = differences(storage, await itemsOf(NS.bookmarks));
    assert.deepEqual([[...publish.keys()], retract], [[], []], `after ${request}`);
  }
  await stop();
});
