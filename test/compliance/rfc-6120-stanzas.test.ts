/** RFC 6120 §8 and §10: stanzas, with any addresses. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { scenario } from './dialogue.js';
import { refusal } from './phrases.js';

const me = 'romeo@localhost/orchard';

// --- §8.1.2: from ---------------------------------------------------------------------------------------------------

scenario('§8.1.2.1: the server sets from', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  for (const transport of ['tcp', 'tls', 'websocket'] as const) {
    const romeo = await actor(me, { transport });
    for (const from of ['', `from='${me}'`, `from='romeo@localhost'`, `from='ROMEO@LOCALHOST/orchard'`]) {
      await romeo.sends(`<message ${from} to='juliet@localhost' type='chat'><body>hi</body></message>`);
      await juliet.receives(`<message from='${me}' to='juliet@localhost' type='chat'><body>hi</body></message>`);
    }
    romeo.cut();
  }
});

for (const from of [
  'juliet@localhost',
  'juliet@localhost/balcony',
  'romeo@localhost/garden',
  'romeo@elsewhere.example/orchard',
  'localhost',
  'romeo',
  '',
  '@localhost',
]) {
  scenario(`§8.1.2.1: a client cannot use from '${from}'`, async ({ actor }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    for (const xml of [
      `<message from='${from}' to='juliet@localhost' type='chat'><body>hi</body></message>`,
      `<presence from='${from}' to='juliet@localhost'/>`,
      `<iq from='${from}' to='juliet@localhost/balcony' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>`,
    ]) {
      const romeo = await actor(me);
      await romeo.sends(xml);
      await romeo.receivesStreamError('invalid-from');
    }
    await juliet.receivesNothing();
  });
}

scenario('§8.1.5: the default language is that of the stream', async ({ actor, connect, stage }) => {
  await stage.account('romeo@localhost');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const romeo = await connect();
  await romeo.opens();
  await romeo.receivesFeatures();
  await romeo.proves('romeo');
  await romeo.opens({ 'xml:lang': 'it' });
  await romeo.receivesFeatures();
  await romeo.binds('orchard');
  await romeo.sends(`<message to='juliet@localhost' type='chat'><body>ciao</body></message>`);
  await juliet.receives(`<message type='chat' xml:lang='it'><body>ciao</body></message>`);
  await romeo.sends(`<message to='juliet@localhost' type='chat' xml:lang='en'><body>hi</body></message>`);
  await juliet.receives(`<message type='chat' xml:lang='en'><body>hi</body></message>`);
});

// --- §8.1.1, §10.3: to ----------------------------------------------------------------------------------------------

scenario('§10.3: a stanza without an address is for the account', async ({ actor }) => {
  const romeo = await actor(me, { presence: true });
  await romeo.sends(`<message type='chat' id='1'><body>to me</body></message>`);
  await romeo.receives(`<message from='${me}' to='romeo@localhost' type='chat' id='1'><body>to me</body></message>`);
  await romeo.sends(`<iq type='get' id='2'><query xmlns='${NS.roster}'/></iq>`);
  await romeo.receives(`<iq type='result' id='2' to='${me}'><query xmlns='${NS.roster}'/></iq>`);
});

scenario('§8.3.3.8: an invalid address', async ({ actor }) => {
  const romeo = await actor(me);
  for (const to of [
    '@localhost',
    'romeo@',
    'a b@localhost',
    'romeo@local host',
    '/orchard',
    `${'x'.repeat(1024)}@localhost`,
    '',
  ]) {
    for (const [open, close] of [
      [`message type='chat'`, 'message'],
      ['presence', 'presence'],
      [`iq type='get'`, 'iq'],
    ]) {
      await romeo.sends(`<${open} id='1' to='${to}'><x xmlns='y'/></${close}>`);
      await romeo.receives(
        `<${close} type='error' id='1'><x xmlns='y'/>${refusal('modify', 'jid-malformed')}</${close}>`,
      );
    }
    await romeo.sends(`<iq type='result' id='2' to='${to}'/><message type='error' to='${to}'/>`);
  }
  await romeo.receivesNothing();
});

scenario('RFC 7622 §3: addresses are normalised before they are compared', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const romeo = await actor(me);
  for (const to of ['JULIET@LOCALHOST', 'Juliet@localhost/balcony', 'ｊuliet@localhost', 'juliet@localhost.']) {
    await romeo.sends(`<message to='${to}' type='chat'><body>hi</body></message>`);
    await juliet.receives(`<message from='${me}' type='chat'><body>hi</body></message>`);
  }
});

// --- §8.2.3: IQ -----------------------------------------------------------------------------------------------------

for (const [title, attributes, content] of [
  ['no id', `type='get'`, `<ping xmlns='urn:xmpp:ping'/>`],
  ['no type', `id='1'`, `<ping xmlns='urn:xmpp:ping'/>`],
  ['an unknown type', `id='1' type='fetch'`, `<ping xmlns='urn:xmpp:ping'/>`],
  ['no child', `id='1' type='get'`, ''],
  ['only text', `id='1' type='set'`, 'please'],
  ['two children', `id='1' type='get'`, `<ping xmlns='urn:xmpp:ping'/><ping xmlns='urn:xmpp:ping'/>`],
] as const) {
  scenario(`§8.2.3: an IQ with ${title} is invalid`, async ({ actor }) => {
    const romeo = await actor(me);
    await actor('juliet@localhost/balcony');
    for (const to of ['', `to='localhost'`, `to='romeo@localhost'`, `to='juliet@localhost/balcony'`]) {
      await romeo.sends(`<iq ${attributes} ${to}>${content}</iq>`);
      await romeo.receives(`<iq type='error'>${refusal('modify', 'bad-request')}</iq>`);
    }
    await romeo.receivesNothing();
  });
}

scenario('§8.2.3: every request gets one answer with its id', async ({ actor }) => {
  const romeo = await actor(me);
  await actor('juliet@localhost/balcony');
  for (const type of ['get', 'set']) {
    for (const to of [
      undefined,
      'localhost',
      'localhost/somewhere',
      'romeo@localhost',
      'juliet@localhost',
      'juliet@localhost/nowhere',
      'nobody@localhost',
      'nobody@localhost/x',
    ]) {
      await romeo.sends(
        `<iq type='${type}' id='a&amp;b' ${to === undefined ? '' : `to='${to}'`}><query xmlns='nope' a='1'>x</query></iq>`,
      );
      const from = to === undefined ? '' : `from='${to}'`;
      await romeo.receives(
        `<iq type='error' id='a&amp;b' to='${me}' ${from}><query xmlns='nope' a='1'>x</query>${refusal('cancel', 'service-unavailable')}</iq>`,
      );
    }
  }
  await romeo.receivesNothing();
});

scenario('§8.2.3: requests and answers between resources', async ({ actor }) => {
  const romeo = await actor(me);
  const juliet = await actor('juliet@localhost/balcony');
  await romeo.sends(`<iq type='get' id='1' to='juliet@localhost/balcony'><query xmlns='nope'/></iq>`);
  await juliet.receives(`<iq type='get' id='1' from='${me}' to='juliet@localhost/balcony'><query xmlns='nope'/></iq>`);
  await juliet.sends(`<iq type='result' id='1' to='${me}'><query xmlns='nope'/></iq>`);
  await romeo.receives(`<iq type='result' id='1' from='juliet@localhost/balcony'><query xmlns='nope'/></iq>`);
  await juliet.sends(`<iq type='error' id='1' to='${me}'>${refusal('cancel', 'item-not-found')}</iq>`);
  await romeo.receives(
    `<iq type='error' id='1' from='juliet@localhost/balcony'>${refusal('cancel', 'item-not-found')}</iq>`,
  );
});

// --- §8.3: errors ---------------------------------------------------------------------------------------------------

scenario('§8.3.1: errors and results are not answered', async ({ actor }) => {
  const romeo = await actor(me);
  const error = refusal('cancel', 'item-not-found');
  for (const to of [
    'localhost',
    'nobody@localhost',
    'nobody@localhost/x',
    'juliet@nowhere.invalid',
    '@',
    'romeo@localhost/gone',
  ])
    await romeo.sends(
      `<iq type='result' id='1' to='${to}'/><iq type='error' id='1' to='${to}'>${error}</iq>` +
        `<message type='error' to='${to}'>${error}</message><presence type='error' to='${to}'>${error}</presence>`,
    );
  await romeo.sends(`<iq type='result' id='1'/><iq type='error' id='1'>${error}</iq>`);
  await romeo.receivesNothing();
});

scenario('§8.3.2: an error has the address, the request and the condition', async ({ actor }) => {
  const romeo = await actor(me);
  await romeo.sends(
    `<message to='nobody@localhost' type='chat' id='7' xml:lang='it'><body>ciao</body><x xmlns='y'>&lt;</x></message>`,
  );
  const error = await romeo.receives(
    `<message from='nobody@localhost' to='${me}' type='error' id='7'><body>ciao</body><x xmlns='y'>&lt;</x>
      <error type='cancel' code='503'><service-unavailable xmlns='${NS.stanzas}'/></error></message>`,
  );
  assert.equal(error.getChildren('error').length, 1);
});

scenario('§10.4: the server of the recipient cannot be reached', async ({ actor }) => {
  const romeo = await actor(me);
  for (const xml of [
    `<message to='juliet@nowhere.invalid' type='chat' id='1'><body>hi</body></message>`,
    `<iq to='juliet@nowhere.invalid/x' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>`,
  ]) {
    await romeo.sends(xml);
    await romeo.receives(
      `<${xml.slice(1, xml.indexOf(' '))} type='error' id='1'>${refusal('cancel', 'remote-server-not-found')}</${xml.slice(1, xml.indexOf(' '))}>`,
    );
  }
});

// --- §10.1: order ---------------------------------------------------------------------------------------------------

scenario('§10.1: stanzas between two entities stay in order, whatever their kind', async ({ actor }) => {
  const romeo = await actor(me);
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const kinds = [
    (at: number) => `<message to='${juliet.jid}' type='chat' id='${at}'><body>${at}</body></message>`,
    (at: number) => `<presence to='${juliet.jid}' id='${at}'/>`,
    (at: number) => `<iq to='${juliet.jid}' type='get' id='${at}'><query xmlns='nope'/></iq>`,
  ];
  const all = Array.from({ length: 60 }, (_, at) => kinds[at % 3]!(at));
  await romeo.sends(all.join(''));
  for (let at = 0; at < all.length; at++) assert.equal((await juliet.receivesAny()).attrs.id, String(at));
});

scenario('§13.12: a stanza of 10000 bytes is delivered', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  for (const transport of ['tcp', 'tls', 'websocket'] as const) {
    const romeo = await actor(me, { transport });
    const text = 'x'.repeat(100_000);
    await romeo.sends(`<message to='juliet@localhost' type='chat'><body>${text}</body></message>`);
    const got = await juliet.receives(`<message type='chat'><body>*</body></message>`);
    assert.equal(got.getChildText('body'), text);
    romeo.cut();
  }
});
