/** RFC 6120 §4 and §11: streams and the XML on them. */
import assert from 'node:assert/strict';
import { defineModule, streamFeature } from '../../src/server/index.js';
import { NS } from '../../src/server/stanza/ns.js';
import { oneProcess, overTcp, type Peer, scenarioWith } from './dialogue.js';

const scenario = scenarioWith(overTcp);

/** One reader serves all transports, and is tried on each that has a stream of bytes. */
const transports = ['tcp', 'tls'] as const;

const header = (attributes: string, changed: { root?: string; content?: string; prefixed?: string } = {}) => {
  const { root = 'stream:stream', content = NS.client, prefixed = NS.stream } = changed;
  return `<?xml version='1.0'?><${root} xmlns='${content}' xmlns:stream='${prefixed}' ${attributes}>`;
};

const ping = (id: string) => `<iq type='get' id='${id}' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>`;
const pong = (id: string) => `<iq type='result' id='${id}' from='localhost'/>`;

// --- §4.7: the header -------------------------------------------------------------------------------------------

scenario('§4.7: the header is answered with from, id, version and language', async ({ connect }) => {
  const romeo = await connect();
  await romeo.opens({ from: 'romeo@localhost' });
  const { from, to, id, version, 'xml:lang': lang } = await romeo.receivesOpen();
  assert.deepEqual([from, to, version, lang], ['localhost', 'romeo@localhost', '1.0', 'en']);
  assert.ok(id!.length >= 16);
});

scenario('§4.7.2: the response has the bare address', async ({ connect }) => {
  const romeo = await connect();
  await romeo.opens({ from: 'romeo@localhost/orchard' });
  assert.equal((await romeo.receivesOpen()).to, 'romeo@localhost');
});

scenario('§4.7.3: each stream and each restart has a new id', async ({ connect, actor }) => {
  const ids = new Set<string>();
  for (let at = 0; at < 5; at++) {
    const peer = await connect();
    await peer.opens();
    ids.add((await peer.receivesOpen()).id!);
  }
  assert.equal(ids.size, 5);
  const transcript = (await actor('romeo@localhost/orchard')).raw();
  const own = [...transcript.matchAll(/<stream:stream [^>]* id="([^"]+)"/g)].map(([, id]) => id);
  assert.equal(new Set(own).size, 2);
});

scenario('§4.7.5: a higher version is answered with 1.0', async ({ connect }) => {
  for (const version of ['1.1', '1.10', '2.0', '01.0']) {
    const peer = await connect();
    await peer.opens({ version });
    assert.equal((await peer.receivesOpen()).version, '1.0');
    await peer.receives(`<features xmlns='${NS.stream}'/>`);
  }
});

scenario('§4.9.3.25: missing, old and invalid versions', async ({ connect }) => {
  for (const version of [undefined, '0.9', '1', '1.', 'x.y', '']) {
    const peer = await connect();
    await peer.opens({ version });
    await peer.receivesStreamError('unsupported-version');
  }
});

scenario('§4.9.3.6: an unknown host', async ({ connect }) => {
  for (const to of ['nowhere.example', 'romeo@localhost', 'localhost/orchard']) {
    const peer = await connect();
    await peer.opens({ to });
    const { from } = await peer.receivesOpen();
    assert.equal(from, 'localhost');
    await peer.receivesStreamError('host-unknown');
  }
});

scenario('§4.9.3.7: a header without a valid address', async ({ connect }) => {
  for (const attributes of [{ to: undefined }, { to: '' }, { to: 'ex ample' }]) {
    const peer = await connect();
    await peer.opens(attributes);
    await peer.receivesStreamError('improper-addressing');
  }
});

scenario('§4.9.3.9, XEP-0388 §2.1: a header from elsewhere', async ({ connect }) => {
  const peer = await connect();
  await peer.opens({ from: 'romeo@elsewhere.example' });
  await peer.receivesStreamError('invalid-from');
});

/** Values of `from` that name no local account; they are ignored. */
const hints = [
  'some-machine',
  'localhost',
  'elsewhere.example',
  'romeo@nowhere.example',
  'juliet@conference.localhost',
  '@localhost',
  'ex ample',
  '',
  'a@b@c',
  '/',
  `a@b/${'・'.repeat(2047)}ア`,
  `${'x'.repeat(1200)}@localhost`,
  'x'.repeat(4000),
];
for (const transport of ['tcp', 'tls', 'starttls', 'websocket', 'wss', 'bosh'] as const)
  scenario(
    `§4.7.1: from may be any address that is not of another local account: ${transport}`,
    async ({ connect, stage }) => {
      await stage.account('romeo@localhost');
      for (const from of hints) {
        const peer = await connect({ transport });
        await peer.opens({ from });
        await peer.receivesFeatures();
        await peer.proves('romeo');
        await peer.opens({ from });
        await peer.receivesFeatures();
        await peer.binds('orchard');
        await peer.closes();
        await peer.isClosed();
      }
    },
  );

scenario('§4.7.1: also before TLS', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  for (const from of hints) {
    const peer = await connect();
    await peer.opens({ from });
    await peer.receivesFeatures();
    await peer.sends(`<starttls xmlns='${NS.tls}'/>`);
    await peer.receives(`<proceed xmlns='${NS.tls}'/>`);
    await peer.closes();
  }
});

scenario("§4.7.2: the response is addressed to the header's from", async ({ connect }) => {
  for (const [from, to] of [
    ['romeo@localhost/orchard', 'romeo@localhost'],
    ['Some-Machine', 'some-machine'],
    ['@localhost', undefined],
  ] as const) {
    const peer = await connect();
    await peer.opens({ from });
    assert.equal((await peer.receivesOpen()).to, to);
  }
});

scenario('§4.9.3.10, §4.9.3.1: namespaces and the root element', async ({ connect }) => {
  const wrong = [
    [header("to='localhost' version='1.0'", { content: 'jabber:server' }), 'invalid-namespace'],
    [header("to='localhost' version='1.0'", { content: 'nope' }), 'invalid-namespace'],
    [header("to='localhost' version='1.0'", { prefixed: 'nope' }), 'invalid-namespace'],
    [header("to='localhost' version='1.0'", { root: 'stream:other' }), 'bad-format'],
    [header("to='localhost' version='1.0'", { root: 'stream' }), 'invalid-namespace'],
    [`<message xmlns='${NS.client}'><body>hi</body></message>`, 'invalid-namespace'],
    [`<stream:stream xmlns:stream='${NS.stream}' to='localhost' version='1.0'>`, 'invalid-namespace'],
  ] as const;
  for (const [text, condition] of wrong) {
    const peer = await connect();
    await peer.sends(text);
    await peer.receivesStreamError(condition);
  }
});

scenario(
  '§4.8: other prefixes, quotes, attribute orders, white space and a missing XML declaration',
  async ({ connect }) => {
    const same = [
      `<stream:stream version="1.0" to="localhost" xmlns:stream="${NS.stream}" xmlns="${NS.client}">`,
      `<s:stream xmlns:s='${NS.stream}' xmlns='${NS.client}' to='localhost' version='1.0'>`,
      `<stream xmlns='${NS.stream}' xmlns:c='${NS.client}' to='localhost' version='1.0'>`.replace(
        `xmlns='${NS.stream}' xmlns:c`,
        `xmlns:c`,
      ),
      `\ufeff<?xml version="1.0" encoding="UTF-8"?>\n<stream:stream\n\txmlns='${NS.client}'\n xmlns:stream='${NS.stream}' to='localhost'\r\nversion='1.0'\n>`,
      `<?xml version='1.0' encoding='utf-8' standalone='yes'?><stream:stream xmlns:stream='${NS.stream}' xmlns='${NS.client}' xmlns:x='y' x:z='1' to='LOCALHOST' version='1.0' xml:lang='de'>`,
    ];
    for (const text of same) {
      const peer = await connect();
      await peer.sends(text);
      if (text.startsWith('<stream xmlns:c')) await peer.receivesStreamError('invalid-namespace');
      else await peer.receivesFeatures();
    }
  },
);

scenario('§4.2: one header per stream', async ({ connect, actor }) => {
  const unauthenticated = await connect();
  await unauthenticated.opens();
  await unauthenticated.receivesFeatures();
  await unauthenticated.sends(header("to='localhost' version='1.0'").replace(/^<\?.*\?>/, ''));
  await unauthenticated.receivesStreamError('bad-format');
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(header("to='localhost' version='1.0'").replace(/^<\?.*\?>/, ''));
  await romeo.receivesStreamError('bad-format');
});

// --- §4.3: negotiation ------------------------------------------------------------------------------------------

scenario('§4.3.2: features follow the header, and differ after authentication', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const romeo = await connect();
  await romeo.opens();
  const before = await romeo.receivesFeatures();
  assert.equal(before.getChild('bind', NS.bind), undefined);
  assert.notEqual(before.getChild('mechanisms', NS.sasl), undefined);
  const then = await romeo.authenticates('romeo');
  assert.notEqual(then.getChild('bind', NS.bind), undefined);
  assert.equal(then.getChild('mechanisms', NS.sasl), undefined);
});

scenario('§6.4.6: a restart changes neither host nor account', async ({ stage, connect }) => {
  await stage.account('romeo@localhost');
  for (const [attributes, condition] of [
    [{ to: 'elsewhere.example' }, 'host-unknown'],
    [{ from: 'juliet@localhost' }, 'invalid-from'],
    [{ from: 'romeo@elsewhere.example' }, 'invalid-from'],
  ] as const) {
    const romeo = await connect();
    await romeo.opens();
    await romeo.receivesFeatures();
    await romeo.proves('romeo');
    await romeo.opens(attributes);
    await romeo.receivesStreamError(condition);
  }
});

scenario('§6.4.6: after authentication the client has to send a header', async ({ stage, connect }) => {
  await stage.account('romeo@localhost');
  const romeo = await connect();
  await romeo.opens();
  await romeo.receivesFeatures();
  await romeo.proves('romeo');
  await romeo.sends(`<iq type='set' id='1'><bind xmlns='${NS.bind}'/></iq>`);
  await romeo.receivesStreamError('invalid-namespace');
});

for (const [title, xml] of [
  ['a message', `<message to='juliet@localhost'><body>hi</body></message>`],
  ['presence', '<presence/>'],
  ['an IQ', ping('1')],
  ['a roster query', `<iq type='get' id='1'><query xmlns='${NS.roster}'/></iq>`],
  ['binding', `<iq type='set' id='1'><bind xmlns='${NS.bind}'/></iq>`],
  ['anything', `<whatever xmlns='nope'/>`],
] as const) {
  scenario(`§4.9.3.12: before login, ${title} closes the stream`, async ({ connect, actor }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    for (const transport of ['tcp', 'tls', 'websocket'] as const) {
      const unauthenticated = await connect({ transport });
      await unauthenticated.opens();
      await unauthenticated.receivesFeatures();
      await unauthenticated.sends(xml);
      await unauthenticated.receivesStreamError('not-authorized');
    }
    await juliet.receivesNothing();
  });
}

scenario('§4.9.3.12: so it does between login and binding', async ({ stage, connect }) => {
  await stage.account('romeo@localhost');
  for (const xml of ['<presence/>', `<message to='romeo@localhost'/>`, ping('1')]) {
    const romeo = await connect();
    await romeo.opens();
    await romeo.receivesFeatures();
    await romeo.authenticates('romeo');
    await romeo.sends(xml);
    await romeo.receivesStreamError('not-authorized');
  }
});

// --- §4.9.3, §11: what ends a stream ------------------------------------------------------------------------------

const wrongs: readonly (readonly [title: string, text: string | Buffer, condition: string])[] = [
  ['§4.9.3.1: text between stanzas', 'hello', 'bad-format'],
  ['§4.9.3.1: text after a stanza', `<message type='error' to='localhost'/>hello`, 'bad-format'],
  ['§4.9.3.2: an undeclared prefix', '<x:message/>', 'bad-namespace-prefix'],
  ['§4.9.3.2: an undeclared prefix inside', `<message><x:body/></message>`, 'bad-namespace-prefix'],
  ['§4.9.3.2: an undeclared prefix of an attribute', `<message x:y='1'/>`, 'bad-namespace-prefix'],
  ['§4.9.3.10: a stanza of the server namespace', `<message xmlns='jabber:server'/>`, 'invalid-namespace'],
  ['§4.9.3.10: a stanza without a namespace', `<message xmlns=''/>`, 'invalid-namespace'],
  ['§4.9.3.10: a stanza of another namespace', `<iq xmlns='nope' type='get' id='1'/>`, 'invalid-namespace'],
  ['§4.9.3.13: mismatched tags', '<message></presence>', 'not-well-formed'],
  ['§4.9.3.13: duplicate attributes', `<message to='a' to='b'/>`, 'not-well-formed'],
  ['§4.9.3.13: missing quotes', '<message to=a/>', 'not-well-formed'],
  ['§4.9.3.13: < in an attribute', `<message to='<'/>`, 'not-well-formed'],
  ['§4.9.3.13: an end tag without a start tag', '</message>', 'not-well-formed'],
  ['§4.9.3.13: a bare &', '<message><body>you & me</body></message>', 'not-well-formed'],
  ['§4.9.3.13: ]]> in text', '<message><body>]]></body></message>', 'not-well-formed'],
  ['§4.9.3.18: a comment', '<!-- psst -->', 'restricted-xml'],
  ['§4.9.3.18: a comment inside', '<message><!-- psst --></message>', 'restricted-xml'],
  ['§4.9.3.18: a processing instruction', '<?php ?>', 'restricted-xml'],
  ['§4.9.3.18: a DTD', '<!DOCTYPE lolz [<!ENTITY lol "lol">]>', 'restricted-xml'],
  ['§4.9.3.18: an entity', '<message><body>&lol;</body></message>', 'restricted-xml'],
  ['§4.9.3.18: an entity in an attribute', `<message to='&lol;'/>`, 'restricted-xml'],
  ['§11.6: a control character', '<message><body>\x01</body></message>', 'not-well-formed'],
  ['§11.6: a control character as a reference', '<message><body>&#1;</body></message>', 'not-well-formed'],
  ['§11.6: a surrogate as a reference', '<message><body>&#xD800;</body></message>', 'not-well-formed'],
  ['§11.6: U+FFFF', '<message><body>\uffff</body></message>', 'not-well-formed'],
  ['§11.6: NUL', Buffer.from('<message>\0</message>'), 'not-well-formed'],
  ['§11.6: invalid UTF-8', Buffer.from('3c6d6573736167653eff3c2f6d6573736167653e', 'hex'), 'not-well-formed'],
  ['§11.6: an overlong encoding', Buffer.from('3c6d6573736167653ec0bc3c2f6d6573736167653e', 'hex'), 'not-well-formed'],
  ['§11.6: a surrogate', Buffer.from('3c6d6573736167653eeda0803c2f6d6573736167653e', 'hex'), 'not-well-formed'],
  ['§11.3: a reserved prefix', `<message xmlns:xmlns='x'/>`, 'not-well-formed'],
  ['§11.3: a duplicate attribute with two prefixes', `<m xmlns:a='x' xmlns:b='x' a:c='1' b:c='2'/>`, 'not-well-formed'],
  ['§4.9.3.24: an unknown element', `<foo xmlns='${NS.client}'/>`, 'unsupported-stanza-type'],
  ['§4.9.3.24: an element of an unknown namespace', `<foo xmlns='bar'/>`, 'unsupported-stanza-type'],
  ['§4.9.3.24: features', `<stream:features/>`, 'unsupported-stanza-type'],
  ['§4.9.3.24: STARTTLS again', `<starttls xmlns='${NS.tls}'/>`, 'unsupported-stanza-type'],
  ['§4.9.3.14: authentication again', `<auth xmlns='${NS.sasl}' mechanism='PLAIN'>AGEAYg==</auth>`, 'policy-violation'],
  ['§4.9.3.14: too deep', `<message>${'<a>'.repeat(100)}`, 'policy-violation'],
  [
    '§4.9.3.14: too many attributes',
    `<message ${Array.from({ length: 101 }, (_, at) => `a${at}=''`).join(' ')}/>`,
    'policy-violation',
  ],
];

for (const [title, text, condition] of wrongs) {
  scenario(title, async ({ actor }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    for (const transport of transports) {
      const romeo = await actor('romeo@localhost/orchard', { transport });
      await romeo.sends(text);
      await romeo.receivesStreamError(condition);
    }
    await juliet.receivesNothing();
  });
}

scenario('§4.9.3.22: an encoding other than UTF-8', async ({ connect }) => {
  for (const encoding of ['ISO-8859-1', 'UTF-16', 'utf8']) {
    const peer = await connect();
    await peer.sends(`<?xml version='1.0' encoding='${encoding}'?>`);
    await peer.receivesStreamError('unsupported-encoding');
  }
});

scenario('§11.1: a stanza that breaks the stream has no effect', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<message to='juliet@localhost' type='chat'><body>one</body></message>`);
  await romeo.sends(`<message to='juliet@localhost' type='chat'><body>two</body><!-- --></message>`);
  await juliet.receives(`<message from='romeo@localhost/orchard' type='chat'><body>one</body></message>`);
  await romeo.receivesStreamError('restricted-xml');
  await juliet.receivesNothing();
});

scenario('§4.9.1.1: data after an error is ignored', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<oops/><message to='juliet@localhost' type='chat'><body>one</body></message>`);
  await romeo.receivesStreamError('unsupported-stanza-type');
  await juliet.receivesNothing();
});

scenario("§4.9.1.1: a client's stream error ends the stream", async ({ actor, server }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<stream:error><reset xmlns='${NS.streams}'/></stream:error>`);
  await romeo.isClosed();
  assert.equal(server.sessions.size, 0);
});

scenario('§4.9.1.1: a stream error before login is not answered with another', async ({ connect }) => {
  const romeo = await connect();
  await romeo.opens();
  await romeo.receivesOpen();
  await romeo.receives(`<features xmlns='${NS.stream}'/>`);
  await romeo.sends(`<stream:error><reset xmlns='${NS.streams}'/></stream:error>`);
  await romeo.isClosed();
});

const broken = defineModule({
  name: 'broken',
  summary: 'Fails.',
  implements: {},
  start: () => [
    streamFeature('unauthenticated', () => {
      throw new Error('broken on purpose');
    }),
  ],
});

scenario('§4.9.3.8: an internal error', { modules: [broken], errors: true }, async ({ connect, stage }) => {
  const peer = await connect();
  await peer.opens();
  await peer.receivesStreamError('internal-server-error');
  assert.match(stage.takeErrors().join(), /broken on purpose/);
});

// --- §4.1: segments mean nothing ----------------------------------------------------------------------------------

for (const transport of transports) {
  scenario(`§4.1: byte by byte (${transport})`, async ({ connect, actor, stage }) => {
    await stage.account('romeo@localhost');
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const romeo = await connect({ transport });
    romeo.pieceSize = 1;
    await romeo.opens();
    await romeo.receivesFeatures();
    await romeo.authenticates('romeo');
    await romeo.binds('orchard');
    await romeo.sends(`<message to='juliet@localhost' type='chat'><body>a € 𝄞 &amp; &#x20ac;</body></message>`);
    await juliet.receives(`<message from='romeo@localhost/orchard' type='chat'><body>a € 𝄞 &amp; €</body></message>`);
    await romeo.sends('</stream:stream>');
    await romeo.isClosed();
  });
}

scenario('§4.1: fifty stanzas in one write are handled in order', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const romeo = await actor('romeo@localhost/orchard');
  const all = Array.from({ length: 50 }, (_, at) => at);
  await romeo.sends(
    all.map((at) => `<message to='juliet@localhost' type='chat'><body>${at}</body></message>\n`).join('') + ping('p'),
  );
  for (const at of all) await juliet.receives(`<message type='chat'><body>${at}</body></message>`);
  await romeo.receives(pong('p'));
});

scenario('§4.1: pipelined elements are handled in order', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const romeo = await connect();
  await romeo.opens();
  await romeo.receivesFeatures();
  await romeo.proves('romeo', (response) =>
    romeo.sends(
      response +
        header("to='localhost' version='1.0'") +
        `<iq type='set' id='b'><bind xmlns='${NS.bind}'><resource>orchard</resource></bind></iq>` +
        ping('p'),
    ),
  );
  await romeo.receivesFeatures();
  await romeo.receives(
    `<iq type='result' id='b'><bind xmlns='${NS.bind}'><jid>romeo@localhost/orchard</jid></bind></iq>`,
  );
  await romeo.receives(pong('p'));
});

scenario('§4.6.1: white space between stanzas is ignored', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(` \n\t\r\n ${ping('1')}   \n`);
  await romeo.receives(pong('1'));
  await romeo.receivesNothing();
});

scenario('§4.8.4, §11.3: forwarded stanzas keep their meaning', async ({ actor, connect, stage }) => {
  await stage.account('romeo@localhost');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const romeo = await connect();
  await romeo.sends(
    header("to='localhost' version='1.0'").replace(
      '<stream:stream',
      `$& xmlns:e='urn:example:e' xmlns:c='${NS.client}'`,
    ),
  );
  await romeo.receivesFeatures();
  await romeo.proves('romeo');
  await romeo.sends(
    header("to='localhost' version='1.0'").replace(
      '<stream:stream',
      `$& xmlns:e='urn:example:e' xmlns:c='${NS.client}'`,
    ),
  );
  await romeo.receivesFeatures();
  await romeo.binds('orchard');
  const sent = `<body>hi</body><x xmlns='urn:example:e' a='&#10;'><y/></x>`;
  for (const xml of [
    `<message to='juliet@localhost' type='chat'>${sent}</message>`,
    `<c:message to='juliet@localhost' type='chat'><c:body>hi</c:body><e:x a='&#xA;'><e:y/></e:x></c:message>`,
    `<message to='juliet@localhost' type='chat' xmlns:f='urn:example:e'><c:body>hi</c:body><f:x a='&#10;'><y xmlns='urn:example:e'/></f:x></message>`,
    `<q:message xmlns:q='${NS.client}' to='juliet@localhost' type='chat'><body xmlns='${NS.client}'><![CDATA[hi]]></body><e:x a='&#10;'><e:y/></e:x></q:message>`,
  ]) {
    await romeo.sends(xml);
    await juliet.receives(`<message from='romeo@localhost/orchard' type='chat'>${sent}</message>`);
  }
  await romeo.sends(`<message to='juliet@localhost' type='chat'><body>1</body><stream:features/></message>`);
  const got = await juliet.receives(`<message type='chat'><features xmlns='${NS.stream}'/></message>`);
  assert.equal(got.getChild('body', NS.client)?.getText(), '1');
});

// --- §4.4: ends -------------------------------------------------------------------------------------------------

for (const transport of ['tcp', 'tls', 'websocket'] as const) {
  scenario(`§4.4: a closing tag is answered with a closing tag (${transport})`, async ({ actor, server }) => {
    const romeo = await actor('romeo@localhost/orchard', { transport });
    await romeo.closes();
    await romeo.isClosed();
    assert.equal(server.sessions.size, 0);
  });
}

scenario('§4.4: an unauthenticated client may close its stream, too', async ({ connect }) => {
  const peer = await connect();
  await peer.opens();
  await peer.receivesFeatures();
  await peer.closes();
  await peer.isClosed();
});

scenario('§4.4: later data is ignored', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`</stream:stream><message to='juliet@localhost' type='chat'><body>late</body></message>`);
  await romeo.isClosed();
  await juliet.receivesNothing();
});

async function isGone(juliet: Peer): Promise<void> {
  await juliet.receives(`<presence from='romeo@localhost/orchard' to='juliet@localhost/balcony' type='unavailable'/>`);
}

for (const [title, end] of [
  ['closed stream', (romeo: Peer) => romeo.closes()],
  ['cut connection', async (romeo: Peer) => romeo.cut()],
  ['half-closed connection', async (romeo: Peer) => romeo.halfCloses()],
] as const) {
  for (const transport of transports) {
    scenario(`§4.6: a ${title} ends the session (${transport})`, async ({ actor, server }) => {
      const juliet = await actor('juliet@localhost/balcony', { presence: true });
      const romeo = await actor('romeo@localhost/orchard', { transport, presence: true });
      await romeo.sends(`<presence to='juliet@localhost/balcony'/>`);
      await juliet.receives(`<presence from='romeo@localhost/orchard'/>`);
      await end(romeo);
      await isGone(juliet);
      assert.equal(server.sessions.size, 1);
    });
  }
}

scenario('§4.9.3.20: the server announces its shutdown', oneProcess, async ({ actor, server }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { transport: 'websocket' });
  const stopped = server.stop();
  await Promise.all([
    romeo.receivesStreamError('system-shutdown'),
    juliet.receivesStreamError('system-shutdown'),
    stopped,
  ]);
});
