/** XEP-0033: one stanza for many addresses. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, scenario } from './dialogue.js';
import { bareOf } from './phrases.js';

const configOf = (addresses: Readonly<Record<string, unknown>>) => ({ modules: { addresses } });
const list = (...addresses: string[]) =>
  `<addresses xmlns='${NS.addresses}'>${addresses.map((attributes) => `<address ${attributes}/>`).join('')}</addresses>`;
const message = (...addresses: string[]) =>
  `<message to='localhost' id='m' type='chat'>${list(...addresses)}<body>Hello</body></message>`;

/** What of the message one got, and the addresses in it. */
async function got(peer: Peer): Promise<Record<string, string>[]> {
  const received = await peer.receives(
    `<message from='romeo@localhost/orchard' id='m' type='chat'><body>Hello</body></message>`,
  );
  assert.equal(received.attrs.to, peer.jid.split('/')[0]);
  const all = received.getChildren('addresses', NS.addresses);
  assert.equal(all.length, 1);
  return all[0]!.getChildElements().map(({ attrs: { xmlns: _, ...attrs } }) => attrs as Record<string, string>);
}

async function refuses(peer: Peer, condition: string): Promise<void> {
  await peer.receives(
    `<message type='error' id='m' from='localhost'><error><${condition} xmlns='${NS.stanzas}'/></error></message>`,
  );
}

scenario('§2.1: the host announces it', async ({ actor }) => {
  for (const address of ['romeo@localhost/orchard', 'juliet@elsewhere.example/balcony']) {
    const peer = await actor(address);
    await peer.sends(`<iq type='get' id='1' to='localhost'><query xmlns='${NS.discoInfo}'/></iq>`);
    await peer.receives(
      `<iq type='result' id='1'><query xmlns='${NS.discoInfo}'><feature var='http://jabber.org/protocol/address'/></query></iq>`,
    );
  }
});

scenario('§6: all recipients get the message, with all addresses except blind copies', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const nurse = await actor('nurse@elsewhere.example/chamber', { presence: true });
  const friar = await actor('friar@localhost/cell', { presence: true });
  const tybalt = await actor('tybalt@localhost/street', { presence: true });
  const paris = await actor('paris@localhost/hall', { presence: true });
  await romeo.sends(
    message(
      `type='to' jid='juliet@localhost' desc='Juliet'`,
      `type='cc' jid='nurse@elsewhere.example'`,
      `type='bcc' jid='friar@localhost'`,
      `type='bcc' jid='tybalt@localhost'`,
      `type='to' jid='paris@localhost' delivered='true'`,
      `type='replyto' jid='romeo@localhost'`,
    ),
  );
  const shown = [
    { type: 'to', jid: 'juliet@localhost', desc: 'Juliet', delivered: 'true' },
    { type: 'cc', jid: 'nurse@elsewhere.example', delivered: 'true' },
    { type: 'to', jid: 'paris@localhost', delivered: 'true' },
    { type: 'replyto', jid: 'romeo@localhost' },
  ];
  assert.deepEqual(await got(juliet), shown);
  assert.deepEqual(await got(nurse), shown);
  // §6, rule 8: the copy that is one's own
  assert.deepEqual(await got(friar), [...shown, { type: 'bcc', jid: 'friar@localhost' }]);
  assert.deepEqual(await got(tybalt), [...shown, { type: 'bcc', jid: 'tybalt@localhost' }]);
  // §4.5: has it already
  await paris.receivesNothing();
  await romeo.receivesNothing();
});

scenario('no recipient gets it twice', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await romeo.sends(message(...Array(3).fill(`type='to' jid='juliet@localhost'`), `type='bcc' jid='JULIET@localhost'`));
  assert.equal((await got(juliet)).length, 3);
  await juliet.receivesNothing();
});

scenario('RFC 6120 §10.1: later messages follow it', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await romeo.sends(
    `${message(`type='to' jid='juliet@localhost'`)}<message to='juliet@localhost'><body>second</body></message>`,
  );
  await got(juliet);
  await juliet.receives(`<message><body>second</body></message>`);
});

scenario('offline recipients get it later; missing ones are reported to the sender', async ({ actor, stage }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await stage.account('juliet@localhost');
  await romeo.sends(message(`type='to' jid='juliet@localhost'`, `type='cc' jid='nobody@localhost'`));
  await romeo.receives(
    `<message type='error' id='m' from='nobody@localhost'><error><service-unavailable xmlns='${NS.stanzas}'/></error></message>`,
  );
  await romeo.receivesNothing();
  const juliet = await actor('juliet@localhost/balcony');
  await juliet.sends('<presence/>');
  await juliet.receives(`<presence from='juliet@localhost/balcony'/>`);
  await got(juliet);
});

scenario(
  '§9: users of other hosts can be refused, and nothing is delivered',
  { config: configOf({ access: 'users' }) },
  async ({ actor }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const tybalt = await actor('tybalt@elsewhere.example/street');
    await tybalt.sends(message(`type='to' jid='juliet@localhost'`));
    await refuses(tybalt, 'forbidden');
    await juliet.receivesNothing();
  },
);

scenario('§2.2: users of other hosts cannot reach other servers', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const nurse = await actor('nurse@elsewhere.example/chamber', { presence: true });
  const tybalt = await actor('tybalt@elsewhere.example/street');
  await tybalt.sends(message(`type='to' jid='juliet@localhost'`, `type='bcc' jid='nurse@elsewhere.example'`));
  await refuses(tybalt, 'forbidden');
  await tybalt.sends(message(`type='to' jid='juliet@localhost'`));
  await juliet.receives(
    `<message type='chat' from='tybalt@elsewhere.example/street' to='juliet@localhost'><body>Hello</body></message>`,
  );
  await nurse.receivesNothing();
});

scenario(
  '§9: limits on addresses, and per minute',
  { config: configOf({ limit: 3, per_minute: 5 }) },
  async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard');
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    await romeo.sends(message(...Array(4).fill(`type='to' jid='juliet@localhost'`)));
    await refuses(romeo, 'not-acceptable');
    await juliet.receivesNothing();
    for (let round = 0; round < 5; round++) {
      await romeo.sends(message(`type='to' jid='juliet@localhost'`));
      await got(juliet);
    }
    await romeo.sends(message(`type='to' jid='juliet@localhost'`));
    await refuses(romeo, 'resource-constraint');
  },
);

scenario('§4: invalid addresses', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  for (const [address, condition] of [
    [`type='to' uri='sip:juliet@example.org'`, 'jid-malformed'],
    [`type='to' jid='@'`, 'jid-malformed'],
    [`type='bcc' jid='localhost'`, 'jid-malformed'],
    [`type='bcc' jid='localhost/x'`, 'jid-malformed'],
    [`type='to' desc='Juliet'`, 'bad-request'],
    [`type='to'`, 'bad-request'],
    [`type='to' jid='juliet@localhost' uri='im:juliet@localhost'`, 'bad-request'],
    [`jid='juliet@localhost'`, 'bad-request'],
  ] as const) {
    await romeo.sends(message(address));
    await refuses(romeo, condition);
  }
  // §4.6.6: nothing to deliver, and nothing wrong
  await romeo.sends(message(`type='noreply'`));
  await romeo.receivesNothing();
});

scenario('§3: a message to one recipient is forwarded unchanged', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const inside = list(`type='to' jid='nurse@localhost'`, `type='bcc' jid='friar@localhost'`);
  await romeo.sends(`<message to='juliet@localhost'>${inside}<body>x</body></message>`);
  await juliet.receives(`<message>${inside}<body>x</body></message>`);
  // A message to a resource of the host, or without a list, is for nobody
  await romeo.sends(message(`type='to' jid='juliet@localhost'`).replace(`to='localhost'`, `to='localhost/x'`));
  await romeo.receives(
    `<message type='error' id='m'><error><service-unavailable xmlns='${NS.stanzas}'/></error></message>`,
  );
  await romeo.sends(`<message to='localhost' id='m'><body>x</body></message>`);
  await romeo.receives(
    `<message type='error' id='m'><error><service-unavailable xmlns='${NS.stanzas}'/></error></message>`,
  );
  await juliet.receivesNothing();
});

scenario('XEP-0191: it does not circumvent blocking', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const block = async (peer: Peer, jid: string) => {
    await peer.sends(`<iq type='set' id='b'><block xmlns='${NS.blocking}'><item jid='${jid}'/></block></iq>`);
    await peer.receives(`<iq type='result' id='b'/>`);
  };
  await block(juliet, 'romeo@localhost');
  await romeo.sends(message(`type='bcc' jid='juliet@localhost'`));
  await romeo.receives(
    `<message type='error' id='m' from='juliet@localhost'><error><service-unavailable xmlns='${NS.stanzas}'/></error></message>`,
  );
  await block(romeo, 'nurse@localhost');
  await romeo.sends(message(`type='to' jid='nurse@localhost'`));
  await romeo.receives(
    `<message type='error' id='m' from='nurse@localhost'><error><not-acceptable xmlns='${NS.stanzas}'/></error></message>`,
  );
  await juliet.receivesNothing();
});

const presence = (type: string, ...addresses: string[]) =>
  `<presence to='localhost'${type && ` type='${type}'`}>${list(...addresses)}</presence>`;

scenario('§5.1: presence; its recipients also get the unavailable presence', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const nurse = await actor('nurse@localhost/chamber', { presence: true });
  await romeo.sends(presence('', `type='to' jid='juliet@localhost'`, `type='bcc' jid='nurse@localhost/chamber'`));
  await juliet.receives(
    `<presence from='romeo@localhost/orchard' to='juliet@localhost'>${list(`type='to' jid='juliet@localhost' delivered='true'`)}</presence>`,
    { exactly: false },
  );
  await nurse.receives(`<presence from='romeo@localhost/orchard' to='nurse@localhost/chamber'/>`);
  // one of them already got unavailable presence from the sender
  await romeo.sends(presence('unavailable', `type='to' jid='juliet@localhost'`));
  await juliet.receives(`<presence type='unavailable' from='romeo@localhost/orchard'/>`);
  await nurse.receivesNothing();
  await romeo.sends(`<presence type='unavailable'/>`);
  await nurse.receives(`<presence type='unavailable' from='romeo@localhost/orchard' to='nurse@localhost/chamber'/>`);
  await juliet.receivesNothing();
});

scenario('§5.1: also from a client that was never available, and is disconnected', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await romeo.sends(presence('', `type='to' jid='juliet@localhost'`));
  await juliet.receives(`<presence from='romeo@localhost/orchard'/>`);
  romeo.cut();
  await juliet.receives(`<presence type='unavailable' from='romeo@localhost/orchard'/>`);
  await juliet.receivesNothing();
});

scenario('XEP-0191 §3.2: a blocked recipient gets unavailable presence', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const nurse = await actor('nurse@localhost/chamber', { presence: true });
  await romeo.sends(presence('', `type='to' jid='juliet@localhost'`, `type='to' jid='nurse@localhost'`));
  for (const peer of [juliet, nurse]) await peer.receives(`<presence from='romeo@localhost/orchard'/>`);
  await romeo.sends(`<iq type='set' id='b'><block xmlns='${NS.blocking}'><item jid='${bareOf(juliet)}'/></block></iq>`);
  await romeo.receives(`<iq type='result' id='b'/>`);
  await juliet.receives(`<presence type='unavailable' from='romeo@localhost/orchard'/>`);
  await romeo.sends(`<presence type='unavailable'/>`);
  await nurse.receives(`<presence type='unavailable' from='romeo@localhost/orchard'/>`);
  for (const peer of [juliet, nurse]) await peer.receivesNothing();
});

scenario('long messages count several times', { config: configOf({ per_minute: 5 }) }, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const nurse = await actor('nurse@localhost/chamber', { presence: true });
  const both = list(...[juliet, nurse].map((peer) => `type='to' jid='${bareOf(peer)}'`));
  const long = (length: number) => `<message to='localhost' id='m'>${both}<body>${'x'.repeat(length)}</body></message>`;
  await romeo.sends(long(20_000)); // 2 times 3
  await refuses(romeo, 'resource-constraint');
  await romeo.sends(long(10_000));
  for (const peer of [juliet, nurse]) await peer.receives(`<message id='m' from='romeo@localhost/orchard'/>`);
  await romeo.sends(long(0));
  await refuses(romeo, 'resource-constraint');
});

scenario('§5.1: addresses with presence are limited', { config: configOf({ presences: 10 }) }, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const many = Array.from({ length: 11 }, (_, at) => `type='to' jid='u${at}@localhost'`);
  await romeo.sends(presence('', ...many));
  await romeo.receives(
    `<presence type='error' from='localhost'><error><resource-constraint xmlns='${NS.stanzas}'/></error></presence>`,
  );
});
