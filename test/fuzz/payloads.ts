/**
 * Requests of the maximum size and number of elements, in the most expensive shapes: wide, deep, with many attributes,
 * prefixes, namespaces, addresses, fields and values, and with text that is expensive to normalise. Every payload that
 * a module answers is sent in the general shapes; payloads whose content is read also have their own.
 */
import { NS } from '../../src/server/stanza/ns.js';

/** The defaults of `limits`, less room for the stanza around the payload. */
const mostBytes = 262_144 - 2000;
const mostElements = 5000 - 20;

export interface Shape {
  readonly title: string;
  /** The payload. `run` makes it another than in the run before. */
  xml(run: number): string;
}

/** Pieces of text to repeat: each is expensive for something that maps or compares text. */
export const letters: Readonly<Record<string, string>> = {
  plain: 'x',
  references: '&lt;',
  combining: 'a\u0316\u0301',
  'marks only': '\u0301\u0316',
  'right to left': '\u05d0',
  'fullwidth capitals': '\uff21',
  'U+FDFA': '\ufdfa',
  'middle dots': '\u30fb',
  'Arabic digits': '\u0660',
  'beyond the BMP': '\u{1d400}',
  'dotted I': '\u0130',
  hangul: '\u1112\u1161\u11ab',
  spaces: '\u00a0',
  dots: '.',
};

/** A repeated piece, up to so many bytes. */
export const fill = (piece: string, bytes: number): string =>
  piece.repeat(Math.max(1, Math.floor(bytes / Buffer.byteLength(piece))));

/** What `limits.stanza_elements` counts. */
function weigh(xml: string): number {
  let weight = 0;
  for (const [tag] of xml.matchAll(/<[^/>][^>]*>/g)) weight += 1 + Math.max(0, (tag.match(/=['"]/g)?.length ?? 0) - 5);
  return weight;
}

/** `before`, as many items as the limits allow, `after`. */
export function many(before: string, item: (index: number) => string, after: string, most = mostBytes): string {
  const items: string[] = [];
  let bytes = most - Buffer.byteLength(before) - Buffer.byteLength(after);
  let elements = mostElements - weigh(before);
  for (let index = 0; ; index++) {
    const next = item(index);
    bytes -= Buffer.byteLength(next);
    elements -= weigh(next);
    if (bytes < 0 || elements < 0) return before + items.join('') + after;
    items.push(next);
  }
}

/** Addresses of 3 KB, all different, that are expensive to read. */
const longAddresses: Readonly<Record<string, (index: number) => string>> = Object.fromEntries(
  Object.entries(letters).map(([title, letter]) => [
    title,
    (index: number) => `a${index}@b/${fill(letter, 3000)}\u30a2${index}`,
  ]),
);
const longLocals = (letter: string) => (index: number) => `${index}${fill(letter, 1000)}@b`;
const longDomain = (index: number) => `a@${'\u00fc.'.repeat(80)}x${index}`;

/** Attributes that modules read, all of them addresses, names or numbers. */
const named = (value: string): string =>
  `jid='${value}' node='${value}' id='${value}' by='${value}' name='${value}' nick='${value}' affiliation='member' role='participant' subscription='subscribed'`;

/** The general shapes, around children that have some name. */
export function general(name: string, ns: string, attributes = '', inner = ''): readonly Shape[] {
  const open = (run: number) => `<${name} xmlns='${ns}' ${attributes} run='${run}'>${inner}`;
  const close = `</${name}>`;
  const shape = (title: string, item: (index: number) => string): Shape => ({
    title,
    xml: (run) => many(open(run), item, close),
  });
  const deep = '<a>'.repeat(90) + '</a>'.repeat(90);
  return [
    shape('wide', () => '<a/>'),
    shape('wide, names differ', (index) => `<a${index}>${index}</a${index}>`),
    shape('items', (index) => `<item ${named(`u${index}@x.example`)}/>`),
    shape('text items', (index) => `<value>u${index}@x.example</value>`),
    shape('deep', () => deep),
    shape('attributes', () => `<a ${numbered(95, (n) => `a${n}=''`)}/>`),
    shape('prefixes', () => `<a ${numbered(95, (n) => `xmlns:a${n}='b'`)}/>`),
    shape('prefixes used', () => `<a ${numbered(40, (n) => `xmlns:a${n}='b${n}' a${n}:x=''`)}/>`),
    shape('namespaces', (index) => `<a xmlns='urn:${index}'/>`),
    shape('long addresses', (index) => `<item ${named(longAddresses['middle dots']!(index))}/>`),
    shape(
      'form',
      (index) => `<x xmlns='${NS.dataForms}' type='submit'><field var='f${index}'><value>1</value></field></x>`,
    ),
    ...['references', 'U+FDFA'].map((title) => shape(title, () => fill(letters[title]!, mostBytes - 3000))),
  ];
}

const numbered = (count: number, of: (n: number) => string): string =>
  Array.from({ length: count }, (_, n) => of(n)).join(' ');

/** Forms: many fields, many values of the fields that are known, and long ones. */
export function forms(formType: string, fields: readonly string[]): readonly Shape[] {
  const open = `<x xmlns='${NS.dataForms}' type='submit'><field var='FORM_TYPE'><value>${formType}</value></field>`;
  return [
    {
      title: 'form: fields',
      xml: (run) => many(open, (n) => `<field var='f${run}-${n}'><value>1</value></field>`, '</x>'),
    },
    ...fields.flatMap((field) => [
      {
        title: `form: values of ${field}`,
        xml: (run: number) =>
          many(`${open}<field var='${field}'>`, (n) => `<value>u${run}-${n}@x.example</value>`, '</field></x>'),
      },
      {
        title: `form: long values of ${field}`,
        xml: (run: number) =>
          many(
            `${open}<field var='${field}'>`,
            (n) => `<value>${longAddresses['middle dots']!(n)}${run}</value>`,
            '</field></x>',
          ),
      },
      ...['U+FDFA', 'combining'].map((title) => ({
        title: `form: ${title} in ${field}`,
        xml: (run: number) =>
          `${open}<field var='${field}'><value>${run}${fill(letters[title]!, mostBytes - 3000)}</value></field></x>`,
      })),
    ]),
  ];
}

const wrap = (before: string, shapes: readonly Shape[], after: string): readonly Shape[] =>
  shapes.map(({ title, xml }) => ({ title, xml: (run) => before + xml(run) + after }));

/** A list of items that hold an address in an attribute. */
function addresses(before: string, item: (address: string) => string, after: string): readonly Shape[] {
  const list = (title: string, of: (index: number) => string): Shape => ({
    title: `addresses: ${title}`,
    xml: (run) => many(before, (index) => item(of(index + 10_000 * run)), after),
  });
  return [
    list('short', (index) => `u${index}@x.example`),
    list('local', (index) => `u${index}@localhost`),
    list('the same', () => 'bob@localhost'),
    list('capitals', (index) => `U${index}@X.EXAMPLE/\u00c5`),
    list('long domains', longDomain),
    ...[
      'middle dots',
      'Arabic digits',
      'fullwidth capitals',
      'combining',
      'U+FDFA',
      'right to left',
      'hangul',
      'dotted I',
    ].flatMap((title) => [
      list(`long, ${title}`, longAddresses[title]!),
      list(`long locals, ${title}`, longLocals(letters[title]!)),
    ]),
  ];
}

const conference = (n: number) => `<conference jid='r${n}@c.example' name='n' autojoin='1'><nick>x</nick></conference>`;
const tel = '<TEL><VOICE/><NUMBER>1</NUMBER></TEL>';

const published = (node: string, inner: readonly Shape[]): readonly Shape[] =>
  wrap(`<pubsub xmlns='${NS.pubsub}'><publish node='${node}'><item>`, inner, '</item></publish></pubsub>').map(
    ({ title, xml }) => ({ title: `${node}: ${title}`, xml }),
  );

const items = (before: string, title: string, item: (n: number) => string, after: string): Shape => ({
  title,
  xml: (run) => many(before, (n) => item(n + 10_000 * run), after),
});

const pubsubSet: readonly Shape[] = [
  ...published('wide', [items(`<a xmlns='urn:a'>`, 'wide', (n) => `<a n='${n}'/>`, '</a>')]),
  ...published(NS.bookmarks, [
    items(
      `<conference xmlns='${NS.bookmarks}'><extensions>`,
      'extensions',
      (n) => `<a xmlns='urn:${n}'/>`,
      '</extensions></conference>',
    ),
  ]),
  ...published(NS.bookmarksPrivate, [
    items(`<storage xmlns='${NS.bookmarksPrivate}'>`, 'conferences', conference, '</storage>'),
  ]),
  ...published(NS.vcard4Node, [
    items(
      `<vcard xmlns='${NS.vcard4}'>`,
      'tel',
      () => '<tel><parameters><type><text>work</text></type></parameters><uri>tel:1</uri></tel>',
      '</vcard>',
    ),
    items(`<vcard xmlns='${NS.vcard4}'>`, 'email', (n) => `<email><text>${n}</text></email>`, '</vcard>'),
    items(`<vcard xmlns='${NS.vcard4}'>`, 'wide', () => '<a/>', '</vcard>'),
    items(`<vcard xmlns='${NS.vcard4}'><adr>`, 'street', () => '<street>x</street>', '</adr></vcard>'),
    {
      title: 'photo',
      xml: (run) =>
        `<vcard xmlns='${NS.vcard4}'><photo><uri>data:image/png;base64,${run}${fill('AAAA', 240_000)}</uri></photo></vcard>`,
    },
  ]),
  ...published(NS.avatarData, [
    {
      title: 'data',
      xml: (run) => `<data xmlns='${NS.avatarData}'>${'AAAA'.repeat(run)}${fill('AAA\n', 250_000)}</data>`,
    },
  ]),
  ...published(NS.avatarMetadata, [
    items(
      `<metadata xmlns='${NS.avatarMetadata}'>`,
      'infos',
      (n) => `<info id='${n}' bytes='1' type='image/png'/>`,
      '</metadata>',
    ),
  ]),
  ...published(NS.contactsNode, [items(`<contacts xmlns='urn:c'>`, 'wide', (n) => `<c n='${n}'/>`, '</contacts>')]),
  ...published(`${NS.attachments}/x`, [
    items(
      `<attachments xmlns='${NS.attachments}'>`,
      'reactions',
      () => `<reactions xmlns='${NS.attachments}'><reaction>x</reaction></reactions>`,
      '</attachments>',
    ),
    items(
      `<attachments xmlns='${NS.attachments}'><reactions>`,
      'one',
      (n) => `<reaction>${n}</reaction>`,
      '</reactions></attachments>',
    ),
  ]),
  items(
    `<pubsub xmlns='${NS.pubsub}'><publish node='wide'>`,
    'publish items',
    (n) => `<item id='${n}'><a xmlns='urn:a'/></item>`,
    '</publish></pubsub>',
  ),
  items(
    `<pubsub xmlns='${NS.pubsub}'><retract node='wide'>`,
    'retract',
    (n) => `<item id='${n}'/>`,
    '</retract></pubsub>',
  ),
  ...wrap(
    `<pubsub xmlns='${NS.pubsub}'><publish node='wide'/><publish-options>`,
    forms(`${NS.pubsub}#publish-options`, ['pubsub#access_model', 'pubsub#roster_groups_allowed']),
    '</publish-options></pubsub>',
  ),
  ...wrap(
    `<pubsub xmlns='${NS.pubsub}'><create/><configure>`,
    forms(`${NS.pubsub}#node_config`, [
      'pubsub#title',
      'pubsub#children',
      'pubsub#contact',
      'pubsub#roster_groups_allowed',
    ]),
    '</configure></pubsub>',
  ),
  ...wrap(
    `<pubsub xmlns='${NS.pubsub}'><subscribe node='wide' jid='alice@localhost'/><options>`,
    forms(`${NS.pubsub}#subscribe_options`, ['pubsub#show-values', 'pubsub#expire']),
    '</options></pubsub>',
  ),
  ...Object.entries(longAddresses).map(([title, of]) => ({
    title: `subscribe: ${title}`,
    xml: (run: number) => `<pubsub xmlns='${NS.pubsub}'><subscribe node='${of(run)}' jid='${of(run)}'/></pubsub>`,
  })),
];

const pubsubGet: readonly Shape[] = [
  items(`<pubsub xmlns='${NS.pubsub}'><items node='wide'>`, 'items', (n) => `<item id='${n}'/>`, '</items></pubsub>'),
  items(
    `<pubsub xmlns='${NS.pubsub}'><items node='many'>`,
    'items of a long node',
    (n) => `<item id='${n % 10_000}'/>`,
    '</items></pubsub>',
  ),
];

const adminItem = (address: string) => `<item jid='${address}' affiliation='member'/>`;
const nickItem = (n: number) => `<item nick='n${n}' role='visitor'><reason>r</reason></item>`;

/** What stands in `roomconfig` forms and holds addresses or long text. */
const roomFields = [
  'muc#roomconfig_roomname',
  'muc#roomconfig_roomadmins',
  'muc#roomconfig_roomowners',
  'muc#roomconfig_presencebroadcast',
  'muc#roomconfig_lang',
];

/** By `type name namespace` of the IQ. */
export const particular: Readonly<Record<string, readonly Shape[]>> = {
  [`set query ${NS.roster}`]: [
    items(
      `<query xmlns='${NS.roster}'><item jid='c@x.example'>`,
      'groups',
      (n) => `<group>g${n}</group>`,
      '</item></query>',
    ),
    items(
      `<query xmlns='${NS.roster}'><item jid='c@x.example'>`,
      'long groups',
      (n) => `<group>${n}${fill('\ufdfa', 3000)}</group>`,
      '</item></query>',
    ),
    ...addresses(`<query xmlns='${NS.roster}'>`, (address) => `<item jid='${address}'/>`, '</query>'),
  ],
  [`set query ${NS.private}`]: [
    items(
      `<query xmlns='${NS.private}'><storage xmlns='${NS.bookmarksPrivate}'>`,
      'conferences',
      conference,
      '</storage></query>',
    ),
    items(
      `<query xmlns='${NS.private}'><storage xmlns='${NS.bookmarksPrivate}'>`,
      'the same conference',
      () => conference(1),
      '</storage></query>',
    ),
    items(
      `<query xmlns='${NS.private}'><storage xmlns='${NS.bookmarksPrivate}'>`,
      'long conferences',
      (n) => `<conference jid='${longLocals('\uff21')(n)}'/>`,
      '</storage></query>',
    ),
    items(`<query xmlns='${NS.private}'><wide xmlns='urn:w'>`, 'element', (n) => `<a>${n}</a>`, '</wide></query>'),
    items(`<query xmlns='${NS.private}'><wide xmlns='urn:w'>`, 'empty elements', () => '<a/>', '</wide></query>'),
  ],
  [`get query ${NS.private}`]: [
    { title: 'the element', xml: () => `<query xmlns='${NS.private}'><wide xmlns='urn:w'/></query>` },
    { title: 'bookmarks', xml: () => `<query xmlns='${NS.private}'><storage xmlns='${NS.bookmarksPrivate}'/></query>` },
  ],
  [`set vCard ${NS.vcardTemp}`]: [
    items(`<vCard xmlns='${NS.vcardTemp}'>`, 'TEL', () => tel, '</vCard>'),
    items(`<vCard xmlns='${NS.vcardTemp}'>`, 'TEL without content', () => '<TEL/>', '</vCard>'),
    items(`<vCard xmlns='${NS.vcardTemp}'>`, 'EMAIL', (n) => `<EMAIL><USERID>${n}</USERID></EMAIL>`, '</vCard>'),
    items(`<vCard xmlns='${NS.vcardTemp}'>`, 'ADR', () => '<ADR><HOME/><STREET>x</STREET></ADR>', '</vCard>'),
    items(
      `<vCard xmlns='${NS.vcardTemp}'><CATEGORIES>`,
      'KEYWORD',
      () => '<KEYWORD>x</KEYWORD>',
      '</CATEGORIES></vCard>',
    ),
    {
      title: 'PHOTO',
      xml: (run) =>
        `<vCard xmlns='${NS.vcardTemp}'><PHOTO><TYPE>image/png</TYPE><BINVAL>${'AAAA'.repeat(run)}${fill('AAA\n', 250_000)}</BINVAL></PHOTO></vCard>`,
    },
    ...Object.entries(letters).map(([title, letter]) => ({
      title: `FN: ${title}`,
      xml: (run: number) => `<vCard xmlns='${NS.vcardTemp}'><FN>${run}${fill(letter, 250_000)}</FN></vCard>`,
    })),
  ],
  [`set pubsub ${NS.pubsub}`]: pubsubSet,
  [`get pubsub ${NS.pubsub}`]: pubsubGet,
  [`set pubsub ${NS.pubsubOwner}`]: [
    ...addresses(
      `<pubsub xmlns='${NS.pubsubOwner}'><affiliations node='wide'>`,
      (address) => `<affiliation jid='${address}' affiliation='member'/>`,
      '</affiliations></pubsub>',
    ),
    ...addresses(
      `<pubsub xmlns='${NS.pubsubOwner}'><subscriptions node='wide'>`,
      (address) => `<subscription jid='${address}' subscription='subscribed'/>`,
      '</subscriptions></pubsub>',
    ),
    ...wrap(
      `<pubsub xmlns='${NS.pubsubOwner}'><configure node='wide'>`,
      forms(`${NS.pubsub}#node_config`, [
        'pubsub#title',
        'pubsub#children',
        'pubsub#contact',
        'pubsub#roster_groups_allowed',
      ]),
      '</configure></pubsub>',
    ),
  ],
  [`set block ${NS.blocking}`]: [
    ...addresses(`<block xmlns='${NS.blocking}'>`, (address) => `<item jid='${address}'/>`, '</block>'),
    items(
      `<block xmlns='${NS.blocking}'>`,
      'reports',
      (n) =>
        `<item jid='u${n}@x.example'><report xmlns='${NS.reporting}' reason='urn:xmpp:reporting:spam'><stanza-id xmlns='${NS.stanzaId}' by='alice@localhost' id='${n}'/><text>x</text></report></item>`,
      '</block>',
    ),
    items(
      `<block xmlns='${NS.blocking}'><item jid='u@x.example'><report xmlns='${NS.reporting}' reason='urn:xmpp:reporting:spam'>`,
      'stanza-ids of a report',
      (n) => `<stanza-id xmlns='${NS.stanzaId}' by='alice@localhost' id='${n}'/>`,
      '</report></item></block>',
    ),
  ],
  [`set unblock ${NS.blocking}`]: addresses(
    `<unblock xmlns='${NS.blocking}'>`,
    (address) => `<item jid='${address}'/>`,
    '</unblock>',
  ),
  [`set prefs ${NS.mam}`]: addresses(
    `<prefs xmlns='${NS.mam}' default='roster'><always>`,
    (address) => `<jid>${address}</jid>`,
    '</always><never/></prefs>',
  ),
  [`set query ${NS.mam}`]: [
    ...wrap(
      `<query xmlns='${NS.mam}'>`,
      forms(NS.mam, ['with', 'ids', 'start', 'before-id', '{urn:xmpp:fulltext:0}fulltext']),
      '</query>',
    ),
    items(`<query xmlns='${NS.mam}'><set xmlns='${NS.rsm}'>`, 'rsm', (n) => `<after>${n}</after>`, '</set></query>'),
  ],
  [`set query ${NS.search}`]: [
    ...wrap(`<query xmlns='${NS.search}'>`, forms(NS.search, ['nick', 'fn', 'user', 'email']), '</query>'),
    ...Object.entries(letters).map(([title, letter]) => ({
      title: `nick: ${title}`,
      xml: (run: number) => `<query xmlns='${NS.search}'><nick>${run}${fill(letter, 250_000)}</nick></query>`,
    })),
    {
      title: '200 times U+FDFA',
      xml: (run) => `<query xmlns='${NS.search}'><nick>${run}${'\ufdfa'.repeat(200)}</nick></query>`,
    },
  ],
  [`get search ${NS.channelSearchQuery}`]: wrap(
    `<search xmlns='${NS.channelSearchQuery}'>`,
    forms(NS.channelSearch, ['q', 'sinname', 'sindescription', 'sinaddress', 'types', 'key']),
    '</search>',
  ),
  [`set query ${NS.register}`]: [
    ...wrap(
      `<query xmlns='${NS.register}'>`,
      forms(NS.register, ['username', 'password', 'muc#register_roomnick', 'nick', 'fn']),
      '</query>',
    ),
    ...Object.entries(letters).map(([title, letter]) => ({
      title: `fields: ${title}`,
      xml: (run: number) =>
        `<query xmlns='${NS.register}'><username>alice</username><nick>${run}${fill(letter, 200_000)}</nick></query>`,
    })),
  ],
  [`set query ${NS.mucAdmin}`]: [
    ...addresses(`<query xmlns='${NS.mucAdmin}'>`, adminItem, '</query>'),
    items(`<query xmlns='${NS.mucAdmin}'>`, 'nicknames', nickItem, '</query>'),
    items(
      `<query xmlns='${NS.mucAdmin}'>`,
      'long nicknames',
      (n) => `<item nick='${n}${fill('\u30fb', 3000)}\u30a2' role='visitor'/>`,
      '</query>',
    ),
    items(
      `<query xmlns='${NS.mucAdmin}'>`,
      'members of the room',
      (n) => `<item jid='u${n % 2000}@x.example' affiliation='${n % 2 ? 'member' : 'none'}'><reason>r</reason></item>`,
      '</query>',
    ),
  ],
  [`set query ${NS.mucOwner}`]: wrap(`<query xmlns='${NS.mucOwner}'>`, forms(NS.mucRoomConfig, roomFields), '</query>'),
  [`set command ${NS.commands}`]: [],
};

/** By module-independent title: `<message/>` and `<presence/>` content. */
export const messages: readonly (Shape & { readonly to: string; readonly type: string })[] = [
  'alice@localhost',
  'bob@localhost',
  'room@conference.localhost',
  'localhost',
  'pubsub.localhost',
].flatMap((to) => {
  const type = to.startsWith('room') ? 'groupchat' : 'chat';
  const body = '<body>hi</body>';
  const of = (title: string, item: (n: number) => string, before = body, after = '', as = type) => ({
    title: `${as} to ${to}: ${title}`,
    to,
    type: as,
    xml: (run: number) => many(before, (n) => item(n + 10_000 * run), after),
  });
  return [
    of('wide', () => '<a/>'),
    of('namespaces', (n) => `<a xmlns='urn:${n}'/>`),
    of('stanza-ids', (n) => `<stanza-id xmlns='${NS.stanzaId}' by='${to}' id='${n}'/>`),
    of('stanza-ids of others', (n) => `<stanza-id xmlns='${NS.stanzaId}' by='u${n}@x.example' id='${n}'/>`),
    of(
      'stanza-ids by long addresses',
      (n) => `<stanza-id xmlns='${NS.stanzaId}' by='${longAddresses['middle dots']!(n)}' id='1'/>`,
    ),
    of('stanza-ids and children', (n) => `<stanza-id xmlns='${NS.stanzaId}' by='${to}' id='${n}'><a/></stanza-id>`),
    of('origin-ids', (n) => `<origin-id xmlns='${NS.stanzaId}' id='${n}'/>`),
    of('occupant-ids', (n) => `<occupant-id xmlns='${NS.occupantId}' id='${n}'/>`),
    of('delays', () => `<delay xmlns='${NS.delay}' from='${to}' stamp='2020-01-01T00:00:00Z'/>`),
    of('bodies', (n) => `<body xml:lang='l${n}'>x</body>`),
    of('subjects', (n) => `<subject xml:lang='l${n}'>x</subject>`, ''),
    of(
      'references',
      () => `<reference xmlns='${NS.reference}' type='mention' begin='0' end='1' uri='xmpp:bob@localhost'/>`,
    ),
    of('mentions', (n) => `<mention xmlns='${NS.explicitMentions}' occupantid='${n}' begin='0' end='1'/>`),
    of('hints', () => `<no-store xmlns='${NS.hints}'/>`),
    of('chat states', () => `<active xmlns='${NS.chatStates}'/>`, ''),
    of('receipts', (n) => `<received xmlns='${NS.receipts}' id='${n}'/>`, ''),
    of('markers', (n) => `<displayed xmlns='${NS.markers}' id='${n}'/>`, ''),
    of('retractions', (n) => `<retract xmlns='${NS.retract}' id='${n}'/>`),
    of('reactions', () => '<reaction>x</reaction>', `<reactions xmlns='${NS.reactions}' id='x'>`, '</reactions>'),
    of(
      'forwarded',
      () => `<forwarded xmlns='${NS.forward}'><message xmlns='${NS.client}'><body>x</body></message></forwarded>`,
    ),
    of('carbons', () => `<private xmlns='${NS.carbons}'/>`),
    of('invitations', (n) => `<invite to='u${n}@localhost'/>`, `<x xmlns='${NS.mucUser}'>`, '</x>', 'normal'),
    of(
      'long invitations',
      (n) => `<invite to='${longAddresses['middle dots']!(n)}'/>`,
      `<x xmlns='${NS.mucUser}'>`,
      '</x>',
      'normal',
    ),
    of(
      'addresses',
      (n) => `<address type='to' jid='u${n}@localhost'/>`,
      `${body}<addresses xmlns='${NS.addresses}'>`,
      '</addresses>',
    ),
    of(
      'long addresses',
      (n) => `<address type='to' jid='${longAddresses['middle dots']!(n)}'/>`,
      `${body}<addresses xmlns='${NS.addresses}'>`,
      '</addresses>',
    ),
    of(
      'fields of a form',
      (n) => `<field var='f${n}'><value>x</value></field>`,
      `<x xmlns='${NS.dataForms}' type='submit'>`,
      '</x>',
      'normal',
    ),
    of(
      'a request for voice',
      (n) => `<field var='f${n}'><value>x</value></field>`,
      `<x xmlns='${NS.dataForms}' type='submit'><field var='FORM_TYPE'><value>${NS.mucRequest}</value></field>`,
      '</x>',
      'normal',
    ),
    of(
      'events',
      (n) => `<item id='${n}'/>`,
      `<event xmlns='${NS.pubsubEvent}'><items node='x'>`,
      '</items></event>',
      'headline',
    ),
    of('errors', () => '<a/>', "<error type='cancel'>", '</error>', 'error'),
    ...Object.entries(letters).map(([title, letter]) => ({
      title: `${type} to ${to}: a body of ${title}`,
      to,
      type,
      xml: () => `<body>${fill(letter, 255_000)}</body>`,
    })),
  ];
});

export const presences: readonly Shape[] = [
  { title: 'status', xml: (run) => `<status>${run}${fill('&lt;', 250_000)}</status>` },
  items('', 'wide', () => '<a/>', ''),
  items('', 'statuses', (n) => `<status xml:lang='l${n}'>x</status>`, ''),
  items('', 'capabilities', (n) => `<c xmlns='${NS.caps}' hash='sha-1' node='n' ver='${n}'/>`, ''),
  items('', 'avatar updates', (n) => `<x xmlns='${NS.vcardUpdate}'><photo>${n}</photo></x>`, ''),
  items('', 'joins', () => `<x xmlns='${NS.muc}'/>`, ''),
  items('', 'hats', (n) => `<hats xmlns='${NS.hats}'><hat title='x' uri='${n}'/></hats>`, ''),
];
