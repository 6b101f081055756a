/** XEP-0398: avatars of XEP-0084 and of XEP-0153 are one. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { NS } from '../../src/server/stanza/ns.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { appears } from './capabilities.js';
import { type Peer, scenario } from './dialogue.js';
import { befriends, refusal } from './phrases.js';
import { configure, error, event, type Options, owner, pubsub, result, submitted } from './pubsub.js';
import { founds, joins, service } from './rooms.js';

const juliet = 'juliet@localhost';
const romeo = 'romeo@localhost';
const png = Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), Buffer.alloc(80, 7)]);
const gif = Buffer.from('GIF89a, and more of it');
const sha1 = (bytes: Buffer) => createHash('sha1').update(bytes).digest('hex');
const id = sha1(png);

const put = (node: string, itemId: string, payload: string, options?: Options): string =>
  pubsub(
    'set',
    `<publish node='${node}'><item id='${itemId}'>${payload}</item></publish>${
      options === undefined ? '' : `<publish-options>${submitted('publish-options', options)}</publish-options>`
    }`,
  );
const data = (text: string): string => `<data xmlns='${NS.avatarData}'>${text}</data>`;
const metadata = (inner: string): string => `<metadata xmlns='${NS.avatarMetadata}'>${inner}</metadata>`;
const info = (bytes: Buffer, type: string): string =>
  `<info id='${sha1(bytes)}' bytes='${bytes.length}' type='${type}'/>`;

const ask = (whose?: string): string =>
  `<iq type='get' id='v'${whose === undefined ? '' : ` to='${whose}'`}><vCard xmlns='${NS.vcardTemp}'/></iq>`;
const write = (inner: string): string => `<iq type='set' id='w'><vCard xmlns='${NS.vcardTemp}'>${inner}</vCard></iq>`;
const photo = (bytes: Buffer, type: string): string =>
  `<PHOTO><TYPE>${type}</TYPE><BINVAL>${bytes.toString('base64')}</BINVAL></PHOTO>`;
const x = (hash: string | undefined): string =>
  hash === undefined ? '' : `<x xmlns='${NS.vcardUpdate}'><photo>${hash}</photo></x>`;

async function shows(peer: Peer, whose: string, inner: string): Promise<void> {
  await peer.sends(ask(whose));
  await peer.receives(
    `<iq type='result' id='v' from='${whose}' to='${peer.jid}'><vCard xmlns='${NS.vcardTemp}'>${inner}</vCard></iq>`,
    { exactly: true },
  );
}

async function publishes(peer: Peer, bytes: Buffer, type: string, options?: Options): Promise<void> {
  await peer.sends(put(NS.avatarData, sha1(bytes), data(bytes.toString('base64')), options));
  await peer.receives(result());
  await peer.sends(put(NS.avatarMetadata, sha1(bytes), metadata(info(bytes, type)), options));
  await peer.receives(result());
}

scenario('§2: conversion is announced', async ({ actor }) => {
  const peer = await actor(`${juliet}/balcony`);
  await peer.sends(`<iq type='get' id='d' to='${juliet}'><query xmlns='${NS.discoInfo}'/></iq>`);
  await peer.receives(
    `<iq type='result' id='d'><query xmlns='${NS.discoInfo}'><feature var='urn:xmpp:pep-vcard-conversion:0'/></query></iq>`,
  );
});

scenario('§3.1: the published avatar is the PHOTO of the vCard', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  const orchard = await actor(`${romeo}/orchard`);
  const outsider = await actor('tybalt@elsewhere.example/street');
  await balcony.sends(write('<FN>Juliet</FN>'));
  await balcony.receives(`<iq type='result' id='w'/>`);
  await balcony.sends(put(NS.avatarData, id, data(png.toString('base64')), { access_model: 'open' }));
  await balcony.receives(result());
  await shows(orchard, juliet, '<FN>Juliet</FN>');
  // The one that is not at an address of its own
  const elsewhere = `<info id='${sha1(gif)}' bytes='22' type='image/gif' url='http://avatars.example/a.gif'/>`;
  await balcony.sends(
    put(NS.avatarMetadata, id, metadata(elsewhere + info(png, 'image/png')), { access_model: 'open' }),
  );
  await balcony.receives(result());
  for (const peer of [orchard, outsider]) await shows(peer, juliet, `<FN>Juliet</FN>${photo(png, 'image/png')}`);
  await balcony.sends(put(NS.avatarMetadata, 'none', metadata('')));
  await balcony.receives(result());
  await shows(orchard, juliet, '<FN>Juliet</FN>');
});

scenario('§3.2: a PHOTO is published: the data first, then the metadata', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  const chamber = await actor(`${juliet}/chamber`);
  await appears(chamber, `${NS.avatarMetadata}+notify`, `${NS.avatarData}+notify`);
  const reported = (node: string, itemId: string, payload: string) =>
    event(juliet, `${juliet}/chamber`, `<items node='${node}'><item id='${itemId}'>${payload}</item></items>`);
  await balcony.sends(write(`<FN>Juliet</FN>${photo(png, 'image/png')}<URL>http://juliet.example/</URL>`));
  await chamber.receives(reported(NS.avatarData, id, data(png.toString('base64'))));
  await chamber.receives(reported(NS.avatarMetadata, id, metadata(info(png, 'image/png'))));
  await chamber.receives(`<presence from='${juliet}/chamber'>${x(id)}</presence>`);
  await balcony.receives(`<iq type='result' id='w'/>`);
  await shows(balcony, juliet, `<FN>Juliet</FN><URL>http://juliet.example/</URL>${photo(png, 'image/png')}`);

  // Written back as it was read, nothing happens.
  await balcony.sends(write(`<FN>J.</FN>${photo(png, 'image/png')}`));
  await balcony.receives(`<iq type='result' id='w'/>`);
  await chamber.receivesNothing();
  await shows(balcony, juliet, `<FN>J.</FN>${photo(png, 'image/png')}`);

  // XEP-0153 §5: the type is detected from the picture. Lines may be wrapped.
  const cut = gif.toString('base64').replace(/(.{10})/g, '$1\n');
  await balcony.sends(write(`<PHOTO><TYPE>image/png</TYPE><BINVAL>\n${cut}\n</BINVAL></PHOTO>`));
  await chamber.receives(reported(NS.avatarData, sha1(gif), data(gif.toString('base64'))));
  await chamber.receives(reported(NS.avatarMetadata, sha1(gif), metadata(info(gif, 'image/gif'))));
  await chamber.receives(`<presence from='${juliet}/chamber'>${x(sha1(gif))}</presence>`);
  await balcony.receives(`<iq type='result' id='w'/>`);

  // Without a picture the avatar is removed.
  await balcony.sends(write(`<FN>J.</FN><PHOTO><BINVAL/></PHOTO>`));
  await chamber.receives(reported(NS.avatarMetadata, '*', metadata('')));
  await chamber.receives(`<presence from='${juliet}/chamber'>${x('')}</presence>`);
  await balcony.receives(`<iq type='result' id='w'/>`);
  await shows(balcony, juliet, `<FN>J.</FN><PHOTO><BINVAL/></PHOTO>`);
});

scenario('§3.2: an invalid picture stays in the vCard, and is not published', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  for (const inner of [
    `<PHOTO><EXTVAL>http://juliet.example/p.png</EXTVAL></PHOTO>`,
    `<PHOTO><TYPE>image/png</TYPE><BINVAL>not base64!</BINVAL></PHOTO>`,
    `<PHOTO><TYPE>text/html</TYPE><BINVAL>PGI+</BINVAL></PHOTO>`,
  ]) {
    await balcony.sends(write(inner));
    await balcony.receives(`<iq type='result' id='w'/>`);
    await shows(balcony, juliet, inner);
    await balcony.sends(pubsub('get', `<items node='${NS.avatarMetadata}'/>`));
    await balcony.receives(error('cancel', 'item-not-found'));
  }
});

scenario('§5.2, §7: the avatar has the access model of its node', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`, { presence: true });
  const orchard = await actor(`${romeo}/orchard`, { presence: true });
  const street = await actor('tybalt@localhost/street', { presence: true });
  await befriends(balcony, orchard);
  await publishes(await actor(`${juliet}/chamber`), png, 'image/png'); // the model of PEP: presence
  await balcony.syncs();
  balcony.forgets();
  await orchard.receives(`<presence from='${juliet}/balcony'>${x(id)}</presence>`);
  await shows(orchard, juliet, photo(png, 'image/png'));
  await street.sends(ask(juliet));
  await street.receives(`<iq type='error' id='v'>${refusal('cancel', 'service-unavailable')}</iq>`);
  // Neither a room nor a recipient of directed presence learns its hash
  await balcony.sends(`<presence to='tybalt@localhost'><status>directly</status></presence>`);
  await street.receives(`<presence from='${juliet}/balcony'><status>directly</status></presence>`, { exactly: false });
  await balcony.sends(`<presence to='tybalt@localhost'/>`);
  await street.receives(`<presence from='${juliet}/balcony' to='tybalt@localhost'/>`, { exactly: true });
  // The owner's client writes back the card that it got: the avatar stays as private as it was.
  await balcony.sends(write(`<FN>Juliet</FN>${photo(png, 'image/png')}`));
  await balcony.receives(`<iq type='result' id='w'/>`);
  await shows(street, juliet, '<FN>Juliet</FN>');
  await balcony.sends(write(`<FN>Juliet</FN>${photo(gif, 'image/gif')}`));
  await balcony.receives(`<presence from='${juliet}/balcony'>${x(sha1(gif))}</presence>`);
  await balcony.receives(`<iq type='result' id='w'/>`);
  await shows(street, juliet, '<FN>Juliet</FN>');
  await orchard.receives(`<presence from='${juliet}/balcony'>${x(sha1(gif))}</presence>`);
  await shows(orchard, juliet, `<FN>Juliet</FN>${photo(gif, 'image/gif')}`);
  // For the account alone
  for (const node of [NS.avatarData, NS.avatarMetadata]) {
    await balcony.sends(configure(node, { access_model: 'whitelist' }));
    await balcony.receives(result());
  }
  await shows(orchard, juliet, '<FN>Juliet</FN>');
  await balcony.sends('<presence><show>away</show></presence>');
  await orchard.receives(`<presence from='${juliet}/balcony' to='${romeo}'><show>away</show></presence>`, {
    exactly: true,
  });
});

scenario('§4: the hash is in broadcast and directed presence', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  await publishes(balcony, png, 'image/png', { access_model: 'open' });
  const own = `${juliet}/balcony`;
  const foreign = '0123456789012345678901234567890123456789';
  const cases: readonly (readonly [said: string, heard: string])[] = [
    ['', x(id)],
    [`<x xmlns='${NS.vcardUpdate}'/>`, x(id)],
    [x(foreign), x(id)],
    [x(id), x(id)],
    [
      `<status>a</status><x xmlns='${NS.vcardUpdate}'/><show>away</show>`,
      `<status>a</status><show>away</show>${x(id)}`,
    ],
    ['', x(id)],
    [x(''), x('')],
  ];
  for (const [said, heard] of cases) {
    await balcony.sends(`<presence>${said}</presence>`);
    await balcony.receives(`<presence from='${own}' to='${own}'>${heard}</presence>`, { exactly: true });
  }
  const orchard = await actor(`${romeo}/orchard`, { presence: true });
  for (const [said, heard] of cases) {
    await balcony.sends(`<presence to='${romeo}/orchard'>${said}</presence>`);
    await orchard.receives(`<presence from='${own}' to='${romeo}/orchard'>${heard}</presence>`, { exactly: true });
  }
  // A client without an avatar keeps none, whatever happens (its last broadcast said so).
  await publishes(await actor(`${juliet}/chamber`), gif, 'image/gif');
  await balcony.receivesNothing();
  await balcony.sends(`<presence type='unavailable'/>`);
  await balcony.receives(`<presence type='unavailable' from='${own}' to='${own}'/>`, { exactly: true });
});

scenario('§1, §4, §8: in rooms, only a public avatar is shown', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const balcony = await actor(`${juliet}/balcony`);
  const street = await actor('tybalt@localhost/street');
  await founds(orchard, 'hall', 'Romeo');
  await publishes(balcony, png, 'image/png', { access_model: 'open' });
  await publishes(street, gif, 'image/gif'); // the model of PEP: presence
  await balcony.sends(joins(`hall@${service}/Juliet`));
  await orchard.receives(`<presence from='hall@${service}/Juliet'>${x(id)}</presence>`);
  await street.sends(joins(`hall@${service}/Tybalt`));
  const tybalt = await orchard.receives(`<presence from='hall@${service}/Tybalt'/>`);
  if (tybalt.getChild('x', NS.vcardUpdate) !== undefined) throw new Error('his hash was told');
  await orchard.sends(ask(`hall@${service}/Juliet`));
  await orchard.receives(
    `<iq type='result' id='v' from='hall@${service}/Juliet'><vCard xmlns='${NS.vcardTemp}'>${photo(png, 'image/png')}</vCard></iq>`,
  );
  await orchard.sends(ask(`hall@${service}/Tybalt`));
  await orchard.receives(
    `<iq type='error' id='v' from='hall@${service}/Tybalt'>${refusal('cancel', 'service-unavailable')}</iq>`,
  );
});

scenario('§4, XEP-0153 §4.1: contacts are notified of a new avatar', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`, { presence: true });
  const orchard = await actor(`${romeo}/orchard`, { presence: true });
  const chamber = await actor(`${juliet}/chamber`);
  await befriends(balcony, orchard);
  await balcony.sends('<presence><status>here</status></presence>');
  await orchard.receives(`<presence from='${juliet}/balcony' to='${romeo}'><status>here</status></presence>`, {
    exactly: true,
  });
  const gets = (hash: string) =>
    orchard.receives(`<presence from='${juliet}/balcony' to='${romeo}'><status>here</status>${x(hash)}</presence>`, {
      exactly: true,
    });
  await publishes(chamber, png, 'image/png');
  await gets(id);
  await publishes(chamber, png, 'image/png');
  await orchard.receivesNothing();
  await publishes(chamber, gif, 'image/gif');
  await gets(sha1(gif));
  await chamber.sends(owner('set', `<delete node='${NS.avatarMetadata}'/>`));
  await chamber.receives(result());
  await orchard.receives(`<presence from='${juliet}/balcony' to='${romeo}'><status>here</status></presence>`, {
    exactly: true,
  });
});

scenario('XEP-0084 §3.1, §4: invalid avatars are refused', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  const base64 = png.toString('base64');
  const refused: readonly (readonly [node: string, itemId: string, payload: string])[] = [
    [NS.avatarData, sha1(gif), data(base64)],
    [NS.avatarData, 'current', data(base64)],
    [NS.avatarData, id, data('')],
    [NS.avatarData, id, data(`${base64}!`)],
    [NS.avatarData, id, data(base64.slice(1))],
    [NS.avatarData, id, metadata('')],
    [NS.avatarMetadata, id, data(base64)],
    [NS.avatarMetadata, id, metadata(`<info bytes='1' type='image/png'/>`)],
    [NS.avatarMetadata, id, metadata(`<info id='../x' bytes='1' type='image/png'/>`)],
  ];
  for (const [node, itemId, payload] of refused) {
    await balcony.sends(put(node, itemId, payload));
    await balcony.receives(error('modify', 'bad-request', 'invalid-payload'));
  }
  await balcony.sends(put(NS.avatarData, id.toUpperCase(), data(base64.replace(/(.{20})/g, '$1\n'))));
  await balcony.receives(result());
});

const before = new MemoryStorage();
scenario('§4: an older vCard is used until there is a node', { storage: () => before }, async ({ actor }) => {
  const card = `<vCard xmlns='${NS.vcardTemp}'>${photo(png, 'image/png')}</vCard>`;
  await before.document('vcards').set(juliet, card);
  const balcony = await actor(`${juliet}/balcony`);
  await balcony.sends('<presence/>');
  await balcony.receives(`<presence from='${juliet}/balcony'>${x(id)}</presence>`);
  await balcony.sends(write('<FN>Juliet</FN>'));
  await balcony.receives(`<presence from='${juliet}/balcony'>${x('')}</presence>`);
  await balcony.receives(`<iq type='result' id='w'/>`);
  await shows(balcony, juliet, '<FN>Juliet</FN>');
});

scenario('§4: a new avatar is immediately shown in rooms', async ({ actor }) => {
  const peer = await actor('nurse@localhost/balcony', { presence: true });
  const plain = await actor('nurse@localhost/plain', { presence: true });
  const other = await actor(`${romeo}/garden`, { presence: true });
  const room = `avatar-room@${service}`;
  await founds(other, 'avatar-room', 'romeo');
  await peer.sends(joins(`${room}/nurse`));
  // this client announces that it has none
  await plain.sends(`<presence><x xmlns='${NS.vcardUpdate}'><photo/></x></presence>`);
  await plain.sends(
    `<presence to='${room}/plain'><x xmlns='${NS.muc}'/><x xmlns='${NS.vcardUpdate}'><photo/></x></presence>`,
  );
  for (const one of [peer, plain, other]) {
    await one.syncs();
    one.forgets();
  }
  const open = { access_model: 'open' };
  const changes = async (change: () => Promise<void>, hash: string) => {
    await peer.syncs();
    peer.forgets();
    await change();
    await other.syncs();
    const seen = other.forgets().filter(({ name, attrs }) => name === 'presence' && attrs.from?.startsWith(room));
    const hashes = seen.map((one) => one.getChild('x', NS.vcardUpdate)?.getChildText('photo', NS.vcardUpdate) ?? '');
    return [seen.map(({ attrs }) => attrs.from), hashes, hash] as const;
  };
  for (const [bytes, type] of [
    [png, 'image/png'],
    [gif, 'image/gif'],
  ] as const) {
    const says = async () => {
      await peer.sends(put(NS.avatarData, sha1(bytes), data(bytes.toString('base64')), open));
      await peer.sends(put(NS.avatarMetadata, sha1(bytes), metadata(info(bytes, type)), open));
      await peer.syncs();
    };
    const [from, hashes, hash] = await changes(says, sha1(bytes));
    assert.ok(from.length > 0);
    assert.ok(from.every((one) => one === `${room}/nurse`));
    assert.equal(hashes.at(-1), hash);
  }
});
