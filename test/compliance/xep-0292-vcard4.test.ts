/** XEP-0292: vCard4 Over XMPP, and its unity with XEP-0054. */
import { NS } from '../../src/server/stanza/ns.js';
import { appears } from './capabilities.js';
import { type Peer, scenario } from './dialogue.js';
import { refusal } from './phrases.js';
import { error, event, type Options, owner, pubsub, result, submitted } from './pubsub.js';

const juliet = 'juliet@localhost';
const romeo = 'romeo@localhost';

const four = (inner: string): string => `<vcard xmlns='${NS.vcard4}'>${inner}</vcard>`;
const temp = (inner: string): string => `<vCard xmlns='${NS.vcardTemp}'>${inner}</vCard>`;

const publish = (payload: string, options?: Options): string =>
  pubsub(
    'set',
    `<publish node='${NS.vcard4Node}'><item id='c'>${payload}</item></publish>${
      options === undefined ? '' : `<publish-options>${submitted('publish-options', options)}</publish-options>`
    }`,
  );

async function publishes(peer: Peer, inner: string, options?: Options): Promise<void> {
  await peer.sends(publish(four(inner), options));
  await peer.receives(result());
}

async function writes(peer: Peer, inner: string): Promise<void> {
  await peer.sends(`<iq type='set' id='w'>${temp(inner)}</iq>`);
  await peer.receives(`<iq type='result' id='w'/>`);
}

async function findsFour(peer: Peer, inner: string, id = 'c'): Promise<void> {
  await peer.sends(pubsub('get', `<items node='${NS.vcard4Node}'/>`, juliet));
  await peer.receives(
    `<iq type='result' id='p' from='${juliet}' to='${peer.jid}'><pubsub xmlns='${NS.pubsub}'><items node='${NS.vcard4Node}'><item id='${id}'>${four(inner)}</item></items></pubsub></iq>`,
    { exactly: true },
  );
}

async function findsTemp(peer: Peer, inner: string): Promise<void> {
  await peer.sends(`<iq type='get' id='v' to='${juliet}'>${temp('')}</iq>`);
  await peer.receives(`<iq type='result' id='v' from='${juliet}' to='${peer.jid}'>${temp(inner)}</iq>`, {
    exactly: true,
  });
}

/** Everything that has a counterpart, in both forms. */
const everything: readonly (readonly [temp: string, four: string])[] = [
  ['<FN>Juliet Capulet</FN>', '<fn><text>Juliet Capulet</text></fn>'],
  [
    '<N><FAMILY>Capulet</FAMILY><GIVEN>Juliet</GIVEN><MIDDLE>R.</MIDDLE><PREFIX>Miss</PREFIX><SUFFIX>II</SUFFIX></N><SORT-STRING>Capulet</SORT-STRING>',
    '<n><parameters><sort-as><text>Capulet</text></sort-as></parameters><surname>Capulet</surname><given>Juliet</given><additional>R.</additional><prefix>Miss</prefix><suffix>II</suffix></n>',
  ],
  [
    '<NICKNAME>jul</NICKNAME><NICKNAME>jc</NICKNAME>',
    '<nickname><text>jul</text></nickname><nickname><text>jc</text></nickname>',
  ],
  [
    '<PHOTO><EXTVAL>http://juliet.example/p.png</EXTVAL></PHOTO>',
    '<photo><uri>http://juliet.example/p.png</uri></photo>',
  ],
  ['<BDAY>1476-06-09</BDAY>', '<bday><date>1476-06-09</date></bday>'],
  [
    '<ADR><HOME/><PREF/><POBOX>1</POBOX><EXTADD>Balcony</EXTADD><STREET>Via Cappello 23</STREET><LOCALITY>Verona</LOCALITY><REGION>VR</REGION><PCODE>37121</PCODE><CTRY>Italy</CTRY></ADR>',
    '<adr><parameters><type><text>home</text></type><pref><integer>1</integer></pref></parameters><pobox>1</pobox><ext>Balcony</ext><street>Via Cappello 23</street><locality>Verona</locality><region>VR</region><code>37121</code><country>Italy</country></adr>',
  ],
  [
    '<TEL><WORK/><VOICE/><NUMBER>+39-045-1</NUMBER></TEL><TEL><CELL/><NUMBER>call the nurse</NUMBER></TEL>',
    '<tel><parameters><type><text>work</text><text>voice</text></type></parameters><uri>tel:+39-045-1</uri></tel><tel><parameters><type><text>cell</text></type></parameters><text>call the nurse</text></tel>',
  ],
  [
    '<EMAIL><HOME/><USERID>j@capulet.example</USERID></EMAIL>',
    '<email><parameters><type><text>home</text></type></parameters><text>j@capulet.example</text></email>',
  ],
  ['<JABBERID>juliet@localhost</JABBERID>', '<impp><uri>xmpp:juliet@localhost</uri></impp>'],
  ['<TZ>Europe/Rome</TZ>', '<tz><text>Europe/Rome</text></tz>'],
  ['<GEO><LAT>45.44</LAT><LON>10.99</LON></GEO>', '<geo><uri>geo:45.44,10.99</uri></geo>'],
  ['<TITLE>Heiress</TITLE>', '<title><text>Heiress</text></title>'],
  ['<ROLE>Lover</ROLE>', '<role><text>Lover</text></role>'],
  ['<LOGO><TYPE>image/gif</TYPE><BINVAL>R0lG</BINVAL></LOGO>', '<logo><uri>data:image/gif;base64,R0lG</uri></logo>'],
  [
    '<AGENT><EXTVAL>http://nurse.example/card</EXTVAL></AGENT>',
    '<related><parameters><type><text>agent</text></type></parameters><uri>http://nurse.example/card</uri></related>',
  ],
  [
    '<ORG><ORGNAME>House of Capulet</ORGNAME><ORGUNIT>Daughters</ORGUNIT></ORG>',
    '<org><text>House of Capulet</text><text>Daughters</text></org>',
  ],
  [
    '<CATEGORIES><KEYWORD>love</KEYWORD><KEYWORD>verona</KEYWORD></CATEGORIES>',
    '<categories><text>love</text><text>verona</text></categories>',
  ],
  ['<DESC>Star-crossed</DESC>', '<note><text>Star-crossed</text></note>'],
  ['<PRODID>client</PRODID>', '<prodid><text>client</text></prodid>'],
  ['<REV>20200101T000000Z</REV>', '<rev><timestamp>20200101T000000Z</timestamp></rev>'],
  ['<SOUND><BINVAL>AAAA</BINVAL></SOUND>', '<sound><uri>data:audio/basic;base64,AAAA</uri></sound>'],
  ['<UID>urn:uuid:1</UID>', '<uid><uri>urn:uuid:1</uri></uid>'],
  ['<URL>http://juliet.example/</URL>', '<url><uri>http://juliet.example/</uri></url>'],
  ['<KEY><CRED>key</CRED></KEY>', '<key><text>key</text></key>'],
];
const allOf = (at: 0 | 1): string => everything.map((pair) => pair[at]).join('');

scenario('§7: support is announced', async ({ actor }) => {
  const peer = await actor(`${juliet}/balcony`);
  for (const to of [juliet, 'localhost']) {
    await peer.sends(`<iq type='get' id='d' to='${to}'><query xmlns='${NS.discoInfo}'/></iq>`);
    await peer.receives(
      `<iq type='result' id='d'><query xmlns='${NS.discoInfo}'><feature var='${NS.vcard4}'/></query></iq>`,
    );
  }
});

scenario('§4.1, §4.2: a card is public, and interested users are notified', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  const chamber = await actor(`${juliet}/chamber`);
  const orchard = await actor(`${romeo}/orchard`);
  await appears(chamber, `${NS.vcard4Node}+notify`);
  const card = '<fn><text>Juliet</text></fn><gender><sex>F</sex></gender>';
  await publishes(balcony, card);
  await chamber.receives(
    event(juliet, `${juliet}/chamber`, `<items node='${NS.vcard4Node}'><item id='c'>${four(card)}</item></items>`),
  );
  await findsFour(orchard, card);
  for (const payload of [temp('<FN>J</FN>'), `<vcards xmlns='${NS.vcard4}'/>`, `<vcard xmlns='urn:other'/>`]) {
    await balcony.sends(publish(payload));
    await balcony.receives(error('modify', 'bad-request', 'invalid-payload'));
  }
});

scenario('§11: vCard4 is converted to vcard-temp', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  await publishes(balcony, allOf(1));
  await findsTemp(balcony, allOf(0));
});

scenario('§11: vcard-temp is converted to vCard4', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  await writes(balcony, allOf(0));
  await findsTemp(balcony, allOf(0));
  await findsFour(balcony, allOf(1), 'current');
});

scenario('§11: fields without a counterpart are kept', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  const onlyTemp =
    '<MAILER>m</MAILER><CLASS><PUBLIC/></CLASS><SOUND><PHONETIC>jooliet</PHONETIC></SOUND><X xmlns="urn:example:x"/>';
  await writes(balcony, `<FN>Juliet</FN><TEL><HOME/><ISDN/><NUMBER>1</NUMBER></TEL>${onlyTemp}`);
  const onlyFour =
    '<gender><sex>F</sex></gender><impp><uri>sip:j@capulet.example</uri></impp><anniversary><date>1476-07-01</date></anniversary>';
  const tel = '<tel><parameters><type><text>home</text></type></parameters><uri>tel:1</uri></tel>';
  await publishes(balcony, `<fn><text>Juliet M.</text></fn>${tel}${onlyFour}`);
  // The number is the same: its type stays, too.
  await findsTemp(balcony, `<FN>Juliet M.</FN><TEL><HOME/><ISDN/><NUMBER>1</NUMBER></TEL>${onlyTemp}`);
  await writes(balcony, `<FN>Juliet C.</FN><JABBERID>${juliet}</JABBERID>${onlyTemp}`);
  await findsFour(
    balcony,
    `<fn><text>Juliet C.</text></fn><gender><sex>F</sex></gender><impp><uri>xmpp:${juliet}</uri></impp><impp><uri>sip:j@capulet.example</uri></impp><anniversary><date>1476-07-01</date></anniversary>`,
  );
  // Deleted
  await balcony.sends(owner('set', `<delete node='${NS.vcard4Node}'/>`));
  await balcony.receives(result());
  await findsTemp(balcony, onlyTemp);
});

scenario('§4.1: vcard-temp does not circumvent the access model', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  const orchard = await actor(`${romeo}/orchard`);
  await publishes(balcony, '<fn><text>Juliet</text></fn>', { access_model: 'whitelist' });
  await findsTemp(balcony, '<FN>Juliet</FN>');
  await orchard.sends(`<iq type='get' id='v' to='${juliet}'>${temp('')}</iq>`);
  await orchard.receives(`<iq type='error' id='v'>${refusal('cancel', 'service-unavailable')}</iq>`);
  await orchard.sends(`<iq type='get' id='v' to='nobody@localhost'>${temp('')}</iq>`);
  await orchard.receives(`<iq type='error' id='v'>${refusal('cancel', 'service-unavailable')}</iq>`);
});

scenario('§11.4: card, node and avatar have the same picture', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  const photo = '<PHOTO><TYPE>image/gif</TYPE><BINVAL>R0lGODlh</BINVAL></PHOTO>';
  await balcony.sends('<presence/>');
  await balcony.receives(`<presence from='${juliet}/balcony'/>`);
  await balcony.sends(publish(four('<fn><text>J</text></fn><photo><uri>data:image/gif;base64,R0lGODlh</uri></photo>')));
  await balcony.receivesAnyOrder([
    `<presence from='${juliet}/balcony'><x xmlns='${NS.vcardUpdate}'><photo>{hash}</photo></x></presence>`,
    result(),
  ]);
  await findsTemp(balcony, `<FN>J</FN>${photo}`);
  // Written back, it becomes the avatar; its hash stays.
  await writes(balcony, `<FN>J</FN>${photo}`);
  await findsTemp(balcony, `<FN>J</FN>${photo}`);
  await balcony.sends(pubsub('get', `<items node='${NS.avatarMetadata}'/>`));
  await balcony.receives(
    result(
      `<items node='${NS.avatarMetadata}'><item id='{hash}'><metadata xmlns='${NS.avatarMetadata}'><info id='{hash}' bytes='6' type='image/gif'/></metadata></item></items>`,
    ),
  );
});

scenario(
  '§8: the size is limited, in either form',
  { config: { limits: { vcard_bytes: 1000 } } },
  async ({ actor }) => {
    const balcony = await actor(`${juliet}/balcony`);
    await publishes(balcony, '<fn><text>J</text></fn>');
    await balcony.sends(publish(four(`<note><text>${'x'.repeat(1000)}</text></note>`)));
    await balcony.receives(error('modify', 'policy-violation'));
    await findsFour(balcony, '<fn><text>J</text></fn>');
  },
);

scenario('§5.2: cards of contacts are private, one for each contact', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  const orchard = await actor(`${romeo}/orchard`);
  for (const contact of [romeo, 'nurse@localhost']) {
    await balcony.sends(
      pubsub(
        'set',
        `<publish node='${NS.contactsNode}'><item id='${contact}'>${four(`<fn><text>${contact}</text></fn>`)}</item></publish>`,
      ),
    );
    await balcony.receives(result());
  }
  await balcony.sends(pubsub('get', `<items node='${NS.contactsNode}'/>`));
  await balcony.receives(
    result(`<items node='${NS.contactsNode}'><item id='${romeo}'/><item id='nurse@localhost'/></items>`),
  );
  await orchard.sends(pubsub('get', `<items node='${NS.contactsNode}'/>`, juliet));
  await orchard.receives(error('cancel', 'not-allowed', 'closed-node'));
});
