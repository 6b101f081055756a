/** XEP-0124 and XEP-0206: BOSH. The rules of the session alone are in test/unit/bosh-session.test.ts. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Agent } from 'node:http';
import { connect as connectTcp } from 'node:net';
import { NS } from '../../src/server/stanza/ns.js';
import { type Element, el, serialize } from '../../src/server/xml/element.js';
import { type BoshOptions, post, type Reply, readBody } from './bosh.js';
import {
  base64,
  hits,
  isHit,
  overTcp,
  password,
  type ScenarioOptions,
  type Scene,
  type Stage,
  scenario as usualScenario,
} from './dialogue.js';

type Attributes = Readonly<Record<string, string | undefined>>;

const path = '/http-bind';
const plainLogin = `<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${base64(`\0romeo\0${password}`)}</auth>`;
/** PLAIN spares the scenarios that are not about logins a round trip. */
const config = { c2s: { allow_sasl_plain_without_tls: true } };

/** Those of the scenario. */
const clients: Client[] = [];

function scenario(
  title: string,
  ...rest: [ScenarioOptions, (scene: Scene) => Promise<void>] | [(scene: Scene) => Promise<void>]
) {
  const [options, play] = rest.length === 1 ? [{}, rest[0]] : rest;
  // The terms of sessions are the usual ones.
  usualScenario(title, { ...overTcp, ...options }, async (scene) => {
    try {
      await play(scene);
    } finally {
      for (const client of clients) await client.leaves();
      for (const client of clients.splice(0)) client.disconnects();
    }
  });
}

/** A client that writes its requests itself. */
class Client {
  readonly #options: BoshOptions;
  rid = 1000;
  sid: string | undefined;

  constructor(stage: Stage, options: BoshOptions = {}) {
    this.#options = { port: stage.port('http'), agent: new Agent({ keepAlive: true }), ...options };
    clients.push(this);
  }

  /** Ends the session, if it has one. */
  async leaves(): Promise<void> {
    if (this.sid !== undefined) await post(this.#options, this.text({ type: 'terminate' }));
  }

  disconnects(): void {
    (this.#options.agent as Agent).destroy();
  }

  /** The text of a request. Its rid is the next unless it is given. */
  text(attributes: Attributes, payload = ''): string {
    const { rid = String(++this.rid), ...others } = attributes;
    const tag = serialize(el('body', { xmlns: NS.httpBind, 'xmlns:xmpp': NS.xbosh, rid, sid: this.sid, ...others }));
    return payload === '' ? tag : `${tag.slice(0, -2)}>${payload}</body>`;
  }

  async sendsText(text: string | Buffer, options: BoshOptions = {}): Promise<Element> {
    const reply = await post({ ...this.#options, ...options }, text);
    assert.equal(reply?.status, 200, reply?.text);
    return readBody(reply.text);
  }

  sends(attributes: Attributes = {}, payload = ''): Promise<Element> {
    return this.sendsText(this.text(attributes, payload));
  }

  /** Takes the sid from the answer, if it has none. */
  async posts(attributes: Attributes = {}, payload = '', options: BoshOptions = {}): Promise<Reply | undefined> {
    const reply = await post({ ...this.#options, ...options }, this.text(attributes, payload));
    if (reply?.status === 200) this.sid ??= readBody(reply.text).attrs.sid;
    return reply;
  }

  async status(attributes: Attributes = {}, payload = '', options: BoshOptions = {}): Promise<number | undefined> {
    return (await this.posts(attributes, payload, options))?.status;
  }

  /** The session creation response. */
  async creates(attributes: Attributes = {}, payload = ''): Promise<Element> {
    const usual = { to: 'localhost', ver: '1.11', wait: '60', hold: '1', 'xmpp:version': '1.0' };
    const body = await this.sends({ ...usual, ...attributes }, payload);
    this.sid = body.attrs.sid;
    return body;
  }

  /** A bound session of romeo. Returns the answers. */
  /** Makes empty requests until there is something in the answer: the wait may be over first. */
  async asks(attributes: Attributes, payload = ''): Promise<Element> {
    let body = await this.sends(attributes, payload);
    for (let left = 20; left > 0 && body.children.length === 0; left--) body = await this.sends();
    return body;
  }

  async logsIn(attributes: Attributes = {}): Promise<void> {
    await this.creates(attributes);
    const success = await this.asks({}, plainLogin);
    assert.ok(success.getChild('success', NS.sasl), serialize(success));
    const features = await this.asks({ 'xmpp:restart': 'true', to: 'localhost' });
    assert.ok(features.getChild('features', NS.stream)?.getChild('bind', NS.bind), serialize(features));
    const bound = await this.asks(
      {},
      `<iq type='set' id='b'><bind xmlns='${NS.bind}'><resource>web</resource></bind></iq>`,
    );
    assert.ok(bound.getChild('iq', NS.client)?.getChild('bind', NS.bind), serialize(bound));
  }
}

async function loggedIn(stage: Stage, attributes: Attributes = {}): Promise<Client> {
  await stage.account('romeo@localhost');
  const client = new Client(stage);
  await client.logsIn(attributes);
  return client;
}

const ping = (id: string): string => `<iq xmlns='${NS.client}' type='get' id='${id}'><ping xmlns='${NS.ping}'/></iq>`;

function isTerminated(body: Element, condition?: string): void {
  assert.equal(body.attrs.type, 'terminate', serialize(body));
  assert.equal(body.attrs.condition, condition);
}

/** XEP-0206 §6. */
function isStreamError(body: Element, condition: string): void {
  isTerminated(body, 'remote-stream-error');
  assert.ok(body.getChild('error', NS.stream)?.getChild(condition, NS.streams), serialize(body));
}

const declaresStream = /^<body [^>]*xmlns:stream="http:\/\/etherx.jabber.org\/streams"/;

/** The bodies of all stanzas. */
const texts = (body: Element): string[] =>
  body.getChildren('message', NS.client).map((message) => message.getChildText('body', NS.client) ?? '');

const message = (text: string): string =>
  `<message xmlns='${NS.client}' to='romeo@localhost/web' type='chat'><body>${text}</body></message>`;

// --- §5: HTTP -------------------------------------------------------------------------------------------------------

scenario('§5: POST alone, and the types of the answers', async ({ stage }) => {
  const client = new Client(stage);
  for (const [method, status] of [
    ['GET', 405],
    ['PUT', 405],
  ] as const)
    assert.equal((await post({ port: stage.port('http'), method }, ''))?.status, status);
  const reply = await client.posts({ to: 'localhost' });
  assert.equal(reply?.headers['content-type'], 'text/xml; charset=utf-8');
  // A page that makes a browser show an answer must not make it run scripts in it.
  assert.match(String(reply?.headers['content-security-policy']), /default-src 'none'/);
  assert.equal(reply?.headers['x-content-type-options'], 'nosniff');
  // §7.1: the type that the client can read, in all answers.
  const other = new Client(stage);
  assert.equal((await other.posts({ to: 'localhost', content: 'text/html' }))?.headers['content-type'], 'text/html');
  assert.equal((await other.posts({ type: 'terminate' }))?.headers['content-type'], 'text/html');
  for (const content of ['text/html\r\nx-evil: 1', 'text', 'text/html; charset', `text/${'x'.repeat(200)}`])
    isTerminated(await new Client(stage).creates({ content }), 'bad-request');
});

scenario('§5: pages of other origins may use it, and are asked for nothing else', async ({ stage }) => {
  const client = new Client(stage);
  const headers = {
    origin: 'https://chat.example.org',
    'access-control-request-method': 'POST',
    'access-control-request-headers': 'content-type',
  };
  const preflight = await post({ port: stage.port('http'), method: 'OPTIONS', headers }, '');
  assert.equal(preflight?.status, 204);
  assert.equal(preflight.headers['access-control-allow-origin'], '*');
  assert.match(String(preflight.headers['access-control-allow-headers']), /content-type/i);
  const reply = await client.posts({ to: 'localhost' }, '', { headers });
  assert.equal(reply?.headers['access-control-allow-origin'], '*');
});

scenario(
  'http.origins holds for BOSH too',
  { config: { http: { origins: ['https://chat.example.org'] } } },
  async ({ stage }) => {
    for (const [origin, status] of [
      ['https://evil.example', 403],
      ['null', 403],
      ['https://chat.example.org', 200],
    ] as const)
      assert.equal(await new Client(stage).status({ to: 'localhost' }, '', { headers: { origin } }), status);
    assert.equal(await new Client(stage).status({ to: 'localhost' }), 200);
  },
);

scenario('http.bosh.enabled', { config: { http: { bosh: { enabled: false } } } }, async ({ stage }) => {
  assert.equal(await new Client(stage).status({ to: 'localhost' }), 404);
});

scenario('http.bosh.path', { config: { http: { bosh: { path: '/bosh' } } } }, async ({ stage }) => {
  assert.equal(await new Client(stage).status({ to: 'localhost' }), 404);
  assert.equal(await new Client(stage, { path: '/bosh' }).status({ to: 'localhost' }), 200);
});

// --- §6: the wrapper ------------------------------------------------------------------------------------------------

scenario('§6: what is no body is refused, and no session ends for it', { config }, async ({ stage, actor }) => {
  await actor('romeo@localhost/orchard');
  const client = new Client(stage);
  await client.logsIn();
  const { sid } = client;
  for (const text of [
    '',
    'hello',
    '<body',
    `<!DOCTYPE body [<!ENTITY x "y">]><body xmlns='${NS.httpBind}' rid='1001' sid='${sid}'/>`,
    `<?evil?><body xmlns='${NS.httpBind}' rid='1005' sid='${sid}'/>`,
    `<!-- --><body xmlns='${NS.httpBind}' rid='1005' sid='${sid}'/>`,
    `<body rid='1005' sid='${sid}'/>`,
    `<body xmlns='${NS.client}' rid='1005' sid='${sid}'/>`,
    `<other xmlns='${NS.httpBind}' rid='1005' sid='${sid}'/>`,
    `<body xmlns='${NS.httpBind}' rid='1005' rid='1005' sid='${sid}'/>`,
    `<body xmlns='${NS.httpBind}' rid='1005' sid='${sid}' a:b='c'/>`,
    `<body xmlns='${NS.httpBind}' rid='1005' sid='${sid}' long='${'x'.repeat(9000)}'/>`,
    Buffer.concat([Buffer.from(`<body xmlns='${NS.httpBind}' rid='1005' sid='${sid}' x='`), Buffer.from([0xff, 0x27])]),
  ])
    isTerminated(await client.sendsText(text), 'bad-request');
  const answer = await client.sends({}, ping('1'));
  assert.equal(answer.getChild('iq', NS.client)?.attrs.type, 'result');
});

scenario('§6: text between payloads', { config }, async ({ stage }) => {
  for (const [payload, isAllowed] of [
    [`\n  ${ping('1')}\r\n\t`, true],
    [`x${ping('1')}`, false],
    [`${ping('1')}<![CDATA[ x]]>`, false],
    [`${ping('1')}&#x20;`, false],
  ] as const) {
    const client = await loggedIn(stage);
    const answer = await client.sends({}, payload);
    if (isAllowed) assert.equal(answer.getChildren('iq', NS.client).length, 1);
    else isTerminated(answer, 'bad-request');
  }
});

scenario('RFC 6120 §11: what is no XML ends the stream with its error', { config }, async ({ stage }) => {
  await stage.account('romeo@localhost');
  for (const [payload, condition] of [
    [`<message to='romeo@localhost'><body></message>`, 'not-well-formed'],
    ['<message/></body><evil/>', 'bad-format'],
    ['</body><body>', 'bad-format'],
    ['<!-- -->', 'restricted-xml'],
    ['<?x y?>', 'restricted-xml'],
    ['<!DOCTYPE x>', 'restricted-xml'],
    ['<message>&evil;</message>', 'restricted-xml'],
    ['<x:message/>', 'bad-namespace-prefix'],
    ['<message a="1" a="2"/>', 'not-well-formed'],
    ['\u0001', 'not-well-formed'],
    [`<message>${'<a>'.repeat(200)}`, 'policy-violation'],
    [`<message>${'<a/>'.repeat(5001)}</message>`, 'policy-violation'],
    [`<message xmlns='${NS.client}'><body>${'x'.repeat(262_144)}</body></message>`, 'policy-violation'],
  ] as const) {
    const client = new Client(stage);
    await client.logsIn();
    const answer = await client.sends({}, payload);
    isStreamError(answer, condition);
    isTerminated(await client.sends(), 'item-not-found');
  }
});

scenario('before login payloads are limited to a small size', async ({ stage }) => {
  const client = new Client(stage);
  await client.creates();
  const answer = await client.sends({}, `<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${'A'.repeat(10_000)}</auth>`);
  isStreamError(answer, 'policy-violation');
});

scenario('several large stanzas in one body', { config }, async ({ stage, actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const client = await loggedIn(stage);
  const text = 'x€'.repeat(40_000);
  const large = [1, 2, 3, 4, 5, 6].map(
    (id) => `<message to='${juliet.jid}' id='${id}'><body>${id}${text}</body></message>`,
  );
  const answer = await client.asks({}, large.join('') + ping('1'));
  assert.ok(answer.getChild('iq', NS.client));
  for (let id = 1; id <= 6; id++) await juliet.receivesFirst(`<message id='${id}'><body>${id}${text}</body></message>`);
  // The next body waits for this one, and for the rate.
  await client.asks({}, `<message to='${juliet.jid}' id='7'><body>after</body></message>${ping('2')}`);
  await juliet.receivesFirst(`<message id='7'/>`);
});

const small = { config: { ...config, http: { bosh: { body_bytes: 65_536 } }, limits: { stanza_bytes: 100_000 } } };
/** The least that one stanza and its body take. */
const mostBytes = 100_000 + 16_384;

scenario('§17.2: a body that is too long ends its session', small, async (scene) => {
  await scene.stage.account('romeo@localhost');
  const body = `<x xmlns='y'>${'x'.repeat(10_000)}</x>`.repeat(20);
  for (const options of [{}, { headers: { 'transfer-encoding': 'chunked' } }] as const) {
    const client = new Client(scene.stage);
    await client.logsIn();
    isTerminated(await client.sendsText(client.text({}, body), options), 'policy-violation');
    isTerminated(await client.sends(), 'item-not-found');
  }
  // Before login little is allowed.
  const early = new Client(scene.stage);
  await early.creates();
  isTerminated(await early.sends({}, body.slice(0, 70_000)), 'policy-violation');
  isTerminated(await early.sends(), 'item-not-found');
  const creating = new Client(scene.stage);
  isTerminated(await creating.creates({}, body), 'policy-violation');
  // §17.1: for clients that name no version.
  const legacy = new Client(scene.stage);
  await legacy.logsIn({ ver: undefined });
  assert.equal(await legacy.status({}, body), 403);
  // Of no session.
  const other = new Client(scene.stage);
  other.sid = 'nobody';
  isTerminated(await other.sends({}, body), 'item-not-found');
  isTerminated(await other.sendsText('x'.repeat(300_000)), 'bad-request');
  assert.ok((await hits(scene, 'bosh_body')) >= 5);
});

scenario('the longest body that one stanza may need', small, async ({ stage, actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const client = await loggedIn(stage);
  const start = `<message to='${juliet.jid}' id='1'><body>`;
  const padded = (length: number): string => {
    const text = client.text({}, `${start}</body></message>${ping('1')}`);
    return text.replace('</body></message>', `${'x'.repeat(length - text.length)}</body></message>`);
  };
  // The attributes of a body may take the rest.
  const bytes = 100_000 - 200;
  await client.sendsText(padded(bytes));
  await juliet.receives(`<message id='1'/>`);
  isTerminated(await client.sendsText(padded(mostBytes + 1)), 'policy-violation');
});

scenario('XML-NAMES: payloads mean the same outside of their body', { config }, async ({ stage, actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  const client = await loggedIn(stage, { 'xml:lang': 'en' });
  const to = `to='${juliet.jid}'`;
  const as = (text: string) => text;
  const cases: [attributes: Attributes, payload: string, wanted: string, edit: (text: string) => string][] = [
    // XEP-0206 §2: stanzas without a namespace are those of a client.
    [{}, `<message ${to}><body>1</body></message>`, '<body>1</body>', as],
    [{ 'xmlns:c': NS.client }, `<c:message ${to}><c:body>2</c:body></c:message>`, '<body>2</body>', as],
    [
      { 'xmlns:x': 'urn:x', 'xmlns:y': 'urn:y' },
      `<message ${to}><x:a y:b='1'/><body>3</body></message>`,
      `<a xmlns='urn:x' xmlns:y='urn:y' y:b='1'/><body>3</body>`,
      as,
    ],
    [
      {},
      `<message xmlns='${NS.client}' ${to}><body><![CDATA[<4>&]]></body></message>`,
      '<body>&lt;4&gt;&amp;</body>',
      as,
    ],
    [
      { 'xmlns:b': NS.httpBind },
      `<message xmlns='${NS.client}' ${to}><body>5</body></message>`,
      '<body>5</body>',
      (text) => text.replace(/^<body/, '<b:body').replace(/<\/body>$/, '</b:body>'),
    ],
    [
      {},
      `<message ${to}><body>6 € 𝄞</body></message>`,
      '<body>6 € 𝄞</body>',
      (text) => `\ufeff<?xml version='1.0'?>${text}\n`,
    ],
  ];
  for (const [attributes, payload, wanted, edit] of cases) {
    await client.sendsText(edit(client.text(attributes, payload + ping('p'))));
    await juliet.receives(`<message from='romeo@localhost/web' xml:lang='en'>${wanted}</message>`);
  }
  // XML §2.12: the language of the body is that of its payloads.
  await client.sends({ 'xml:lang': 'de' }, `<message ${to}/><message ${to} xml:lang='fr'/>${ping('p')}`);
  await juliet.receives(`<message from='romeo@localhost/web' xml:lang='de'/>`);
  await juliet.receives(`<message from='romeo@localhost/web' xml:lang='fr'/>`);
  // Payloads of no client's namespace are none.
  isStreamError(await client.sends({}, `<message xmlns='' ${to}/>`), 'invalid-namespace');
});

// --- §7: the session ------------------------------------------------------------------------------------------------

scenario('§7.2, XEP-0206 §4: the session creation response', async ({ stage }) => {
  const client = new Client(stage);
  const body = await client.creates({ from: 'romeo@localhost', route: 'xmpp:other.example:9999', 'xml:lang': 'en' });
  const { sid, authid, ...attributes } = body.attrs;
  assert.match(sid!, /^\S{20,}$/);
  assert.match(authid!, /^\S{20,}$/);
  assert.deepEqual(
    { ...attributes },
    {
      xmlns: NS.httpBind,
      'xmlns:xmpp': NS.xbosh,
      wait: '60',
      hold: '1',
      requests: '2',
      polling: '5',
      inactivity: '60',
      maxpause: '120',
      ack: '1001',
      ver: '1.11',
      from: 'localhost',
      'xmpp:version': '1.0',
      'xmpp:restartlogic': 'true',
    },
  );
  const features = body.getChild('features', NS.stream);
  assert.ok(features?.getChild('mechanisms', NS.sasl)?.getChildren('mechanism').length);
  // XEP-0206 §4: TLS is a matter of HTTP, and so is compression.
  assert.equal(features.getChild('starttls', NS.tls), undefined);
  assert.ok(!serialize(features).includes('PLUS'));
});

scenario('§7.1, §7.2: what is granted is at most what was asked for', async ({ stage }) => {
  for (const [asked, granted] of [
    [
      { wait: '10', hold: '1' },
      { wait: '10', hold: '1', requests: '2', inactivity: '60' },
    ],
    [
      { wait: '9999', hold: '9' },
      { wait: '60', hold: '2', requests: '3', inactivity: '60' },
    ],
    [
      { wait: undefined, hold: undefined },
      { wait: '60', hold: '1', requests: '2', inactivity: '60' },
    ],
    // §12: those that poll are given more time.
    [{ wait: '0' }, { wait: '0', hold: '1', requests: '2', inactivity: '70' }],
    [{ hold: '0' }, { wait: '60', hold: '0', requests: '1', inactivity: '70' }],
    [{ ver: '1.6' }, { ver: '1.6' }],
    [{ ver: '1.20' }, { ver: '1.11' }],
    [{ ver: '2.0' }, { ver: '1.11' }],
    [{ ver: '0.99' }, { ver: '0.99' }],
  ] as const) {
    const { attrs } = await new Client(stage).creates(asked);
    for (const [name, value] of Object.entries(granted)) assert.equal(attrs[name], value, JSON.stringify(asked));
  }
});

scenario('§7.1: a malformed session creation request', async ({ stage }) => {
  for (const [attributes, condition] of [
    [{ to: undefined }, 'improper-addressing'],
    [{ to: '' }, 'improper-addressing'],
    [{ to: 'nowhere.example' }, 'host-unknown'],
    [{ to: 'romeo@localhost' }, 'host-unknown'],
    [{ to: '\u0001'.slice(1) }, 'improper-addressing'],
    [{ rid: undefined, rid2: '1' }, 'bad-request'],
    [{ rid: '0' }, 'bad-request'],
    [{ rid: '-5' }, 'bad-request'],
    [{ rid: '1e3' }, 'bad-request'],
    [{ rid: ' 7' }, 'bad-request'],
    // §14.1
    [{ rid: '9007199254740992' }, 'bad-request'],
    [{ wait: 'long' }, 'bad-request'],
    [{ hold: '-1' }, 'bad-request'],
    [{ ver: 'new' }, 'bad-request'],
    [{ newkey: 'short' }, 'bad-request'],
  ] as const) {
    const client = new Client(stage);
    const text =
      'rid2' in attributes ? client.text({ rid: '', to: 'localhost', ver: '1.6' }).replace(' rid=""', '') : '';
    const body = text === '' ? await client.creates(attributes) : await client.sendsText(text);
    isTerminated(body, condition);
  }
  // A stream error of the header is one of the session (XEP-0206 §6).
  isStreamError(await new Client(stage).creates({ 'xmpp:version': '0.9' }), 'unsupported-version');
  const { attrs } = await new Client(stage).creates({ 'xmpp:version': undefined, to: 'LOCALHOST' });
  assert.equal(attrs.from, 'localhost');
});

scenario('a session creation request may carry the first elements', { config }, async ({ stage }) => {
  await stage.account('romeo@localhost');
  const client = new Client(stage);
  await client.creates({}, plainLogin);
  const answer = await client.sends();
  assert.ok(answer.getChild('success', NS.sasl), serialize(answer));
  isTerminated(await new Client(stage).creates({}, '<unfinished>'), 'bad-request');
});

scenario('§17.2: another sid is no session', { config }, async ({ stage }) => {
  const client = await loggedIn(stage);
  for (const sid of ['', 'x', client.sid!.toUpperCase(), `${client.sid} `, '__proto__'])
    isTerminated(await client.sends({ sid, rid: String(client.rid + 1) }), 'item-not-found');
  assert.ok((await client.sends({}, ping('1'))).getChild('iq', NS.client));
});

scenario(
  'sessions are bounded like connections',
  { config: { limits: { connections: 3 }, log: { level: 'silent' } } },
  async ({ stage, ...scene }) => {
    const agent = new Agent({ keepAlive: true });
    for (let n = 0; n < 3; n++) assert.ok((await new Client(stage, { agent }).creates()).attrs.sid);
    isTerminated(await new Client(stage, { agent }).creates(), 'policy-violation');
    assert.equal(await hits(scene, 'connections'), 1);
  },
);

// --- §8, §9: payloads and acknowledgements --------------------------------------------------------------------------

scenario('§8, §9.1: requests are held, and answered in order', { config }, async ({ stage, actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  const client = await loggedIn(stage);
  const held = client.sends();
  await juliet.sends(message('one'));
  assert.deepEqual(texts(await held), ['one']);
  const first = client.sends();
  const second = client.sends({}, `<presence xmlns='${NS.client}' to='${juliet.jid}'/>`);
  await juliet.receives(`<presence from='romeo@localhost/web'/>`);
  const answer = await first;
  assert.equal(answer.children.length, 0);
  assert.equal(answer.attrs.ack, String(client.rid));
  await juliet.sends(message('two'));
  await juliet.syncs();
  assert.deepEqual(texts(await second), ['two']);
  // Without a request the output waits for one.
  await juliet.sends(message('three'));
  await juliet.sends(message('four'));
  await juliet.syncs();
  assert.deepEqual(texts(await client.sends()), ['three', 'four']);
});

scenario('§8: a request is answered after its wait', { config }, async ({ stage }) => {
  const client = await loggedIn(stage, { wait: '1' });
  const answer = await client.sends();
  assert.equal(serialize(answer), `<body xmlns="${NS.httpBind}"/>`);
});

// --- §10 to §13: inactivity, overactivity, polling, the end ---------------------------------------------------------

scenario(
  '§10: a client that makes no request is gone; a pause gives it more time',
  { config: { ...config, http: { bosh: { inactivity_seconds: 1, pause_seconds: 100 } } } },
  async ({ stage, actor }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    await stage.account('romeo@localhost');
    const available = `<presence xmlns='${NS.client}' to='${juliet.jid}'/>`;
    const client = new Client(stage);
    await client.logsIn();
    const held = client.sends({}, available);
    await juliet.receives(`<presence from='romeo@localhost/web'/>`);
    const paused = await client.sends({ pause: '100' });
    assert.equal(serialize(paused), `<body xmlns="${NS.httpBind}"/>`);
    assert.equal((await held).attrs.ack, String(client.rid));
    // Another client is gone meanwhile.
    const other = new Client(stage);
    await other.creates();
    while ((await other.sends({ rid: '5' })).attrs.condition === undefined);
    const later = client.sends({}, `${available}${ping('1')}`);
    await juliet.receives(`<presence from='romeo@localhost/web'/>`);
    assert.ok((await later).getChild('iq', NS.client));
    await juliet.receives(`<presence type='unavailable' from='romeo@localhost/web'/>`);
    isTerminated(await client.sends(), 'item-not-found');
  },
);

scenario('§11: empty requests that nobody needs', { config }, async ({ stage }) => {
  const client = await loggedIn(stage);
  const held = client.sends();
  isTerminated(await client.sends(), 'policy-violation');
  isTerminated(await held, 'other-request');
});

scenario('§12: a session that polls', async ({ stage }) => {
  for (const attributes of [{ wait: '0' }, { hold: '0' }]) {
    const client = new Client(stage);
    await client.creates(attributes);
    assert.equal(serialize(await client.sends()), `<body xmlns="${NS.httpBind}"/>`);
    isTerminated(await client.sends(), 'policy-violation');
  }
});

scenario('§13: the client ends the session', { config }, async ({ stage, actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const client = await loggedIn(stage);
  const held = client.sends({}, `<presence xmlns='${NS.client}' to='${juliet.jid}'/>`);
  await juliet.receives(`<presence from='romeo@localhost/web'/>`);
  const last = await client.sends(
    { type: 'terminate' },
    `<presence xmlns='${NS.client}' type='unavailable'><status>bye</status></presence>`,
  );
  assert.equal(serialize(last), `<body xmlns="${NS.httpBind}"/>`);
  isTerminated(await held);
  await juliet.receives(`<presence type='unavailable' from='romeo@localhost/web'><status>bye</status></presence>`);
  isTerminated(await client.sends(), 'item-not-found');
});

scenario('§13: with no other request the end is its own answer', { config }, async ({ stage }) => {
  const client = await loggedIn(stage);
  const body = await client.sends({ type: 'terminate' }, ping('1'));
  isTerminated(body);
  assert.ok(body.getChild('iq', NS.client));
  const polling = new Client(stage);
  await polling.creates({ wait: '0' });
  isTerminated(await polling.sends({ type: 'terminate' }));
});

// --- §14: request ids -----------------------------------------------------------------------------------------------

scenario('§14.2: requests out of order are handled in order', { config }, async ({ stage, actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  const client = await loggedIn(stage);
  const [one, two] = ['1', '2'].map((n) => client.text({}, `<message to='${juliet.jid}' id='${n}'/>${ping(n)}`));
  const second = client.sendsText(two!);
  await juliet.receivesNothing();
  const first = client.sendsText(one!);
  await juliet.receives(`<message id='1'/>`);
  await juliet.receives(`<message id='2'/>`);
  await client.sends({ type: 'terminate' });
  const answers = [...(await first).getChildElements(), ...(await second).getChildElements()];
  assert.deepEqual(
    answers.map(({ attrs }) => attrs.id),
    ['1', '2'],
  );
});

scenario('§14.2: a rid out of the window ends the session', { config }, async ({ stage }) => {
  await stage.account('romeo@localhost');
  for (const rid of [1004 + 3, 2 ** 53 - 1, 1004 - 5]) {
    const client = new Client(stage);
    await client.logsIn();
    isTerminated(await client.sends({ rid: String(rid) }), 'item-not-found');
    isTerminated(await client.sends(), 'item-not-found');
  }
});

scenario('§14.3: a request sent again is not handled again', { config }, async ({ stage, actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  const client = await loggedIn(stage);
  const text = client.text({}, `<message to='${juliet.jid}' id='once'/>${ping('1')}`);
  const answer = await client.sendsText(text);
  assert.equal(serialize(await client.sendsText(text)), serialize(answer));
  await juliet.receives(`<message id='once'/>`);
  await juliet.receivesNothing();
  // Before it was answered.
  const held = client.text({}, `<message to='${juliet.jid}' id='held'/>`);
  const lost = client.sendsText(held);
  await juliet.receives(`<message id='held'/>`);
  const again = client.sendsText(held);
  assert.equal(serialize(await lost), `<body xmlns="${NS.httpBind}" type="error"/>`);
  await juliet.sends(message('hello'));
  assert.deepEqual(texts(await again), ['hello']);
  await juliet.receivesNothing();
});

scenario(
  '§14.3: what was written to a broken connection is sent again',
  { config },
  async ({ stage, actor, server }) => {
    const juliet = await actor('juliet@localhost/balcony');
    const client = await loggedIn(stage);
    const text = client.text({});
    const before = server.inspect().connections;
    const agent = new Agent();
    const broken = post({ port: stage.port('http'), agent }, text);
    while (server.inspect().connections === before) await new Promise((resolve) => setImmediate(resolve));
    agent.destroy();
    assert.equal(await broken, undefined);
    while (server.inspect().connections > before) await new Promise((resolve) => setImmediate(resolve));
    await juliet.sends(message('hello'));
    await juliet.syncs();
    assert.deepEqual(texts(await client.sendsText(text)), ['hello']);
  },
);

// --- §15 to §19 -----------------------------------------------------------------------------------------------------

const hash = (text: string): string => createHash('sha1').update(text).digest('hex');

scenario('§15: keys', { config }, async ({ stage }) => {
  await stage.account('romeo@localhost');
  const keys = ['seed'];
  while (keys.length < 5) keys.push(hash(keys.at(-1)!));
  const client = new Client(stage);
  await client.creates({ newkey: keys.pop()! });
  assert.ok((await client.sends({ key: keys.pop()! }, plainLogin)).getChild('success'));
  assert.ok((await client.sends({ key: keys.pop()!, 'xmpp:restart': 'true' })).getChild('features'));
  isTerminated(await client.sends({ key: hash('other') }), 'item-not-found');
  isTerminated(await client.sends({ key: keys.pop()! }), 'item-not-found');
});

scenario('§16: several streams are not supported: their attributes are ignored', { config }, async ({ stage }) => {
  await stage.account('romeo@localhost');
  const client = new Client(stage);
  assert.equal((await client.creates()).attrs.stream, undefined);
  await client.sends({}, plainLogin);
  assert.ok((await client.sends({ 'xmpp:restart': '1', stream: 'x', to: 'localhost' })).getChild('features'));
});

scenario('§17.1: clients without a version get codes of HTTP', { config }, async ({ stage }) => {
  await stage.account('romeo@localhost');
  assert.equal(await new Client(stage).status({ to: 'localhost', wait: 'x' }), 400);
  for (const [attributes, payload, status] of [
    [{ rid: '1' }, '', 404],
    [{ rid: 'x' }, '', 400],
    [{ pause: 'x' }, '', 400],
    [{}, 'text', 400],
  ] as const) {
    const client = new Client(stage);
    await client.logsIn({ ver: undefined });
    assert.equal(await client.status(attributes, payload), status);
  }
  // §12
  const client = new Client(stage);
  await client.creates({ ver: undefined, wait: '0' });
  await client.sends();
  assert.equal(await client.status(), 403);
});

scenario('§19.1: a session of HTTPS is not used without TLS, and goes on', { config }, async ({ stage }) => {
  await stage.account('romeo@localhost');
  const { Agent: SecureAgent } = await import('node:https');
  const agent = new SecureAgent({ keepAlive: true, rejectUnauthorized: false });
  const client = new Client(stage, { port: stage.port('https'), agent, isSecure: true });
  await client.logsIn();
  const text = client.text({}, ping('1'));
  const plain = await post({ port: stage.port('http') }, text);
  assert.equal(plain?.status, 403);
  assert.ok((await client.sendsText(text)).getChild('iq', NS.client));
  agent.destroy();
});

// --- XEP-0206 -------------------------------------------------------------------------------------------------------

scenario('XEP-0206 §5: nothing but a restart follows a login', { config }, async ({ stage }) => {
  await stage.account('romeo@localhost');
  const client = new Client(stage);
  await client.creates();
  await client.sends({}, plainLogin);
  isStreamError(await client.sends({}, ping('1')), 'bad-format');
});

scenario(
  'XEP-0206 §5: what comes with a restart is ignored, and a restart must be due',
  { config },
  async ({ stage }) => {
    await stage.account('romeo@localhost');
    const client = new Client(stage);
    await client.creates({ 'xml:lang': 'de' });
    await client.sends({}, plainLogin);
    const restarted = await client.posts({ 'xmpp:restart': 'true' }, ping('1'));
    assert.equal(readBody(restarted!.text).getChildElements().length, 1);
    // XEP-0206 §2
    assert.match(restarted!.text, declaresStream);
    isStreamError(await client.sends({ 'xmpp:restart': 'true' }), 'bad-format');
    const other = new Client(stage);
    await other.creates();
    await other.sends({}, plainLogin);
    isStreamError(await other.sends({ 'xmpp:restart': 'true', to: 'elsewhere.example' }), 'host-unknown');
  },
);

scenario(
  'XEP-0206 §6: the error of the stream comes after its stanzas, and last',
  { config },
  async ({ stage, actor, server }) => {
    const juliet = await actor('juliet@localhost/balcony');
    const client = await loggedIn(stage);
    await juliet.sends(message('one'));
    await juliet.syncs();
    const [session] = server.sessions.of('romeo@localhost');
    server.kick(session!, 'Out.');
    const { text } = (await client.posts())!;
    const body = readBody(text);
    isStreamError(body, 'policy-violation');
    assert.deepEqual(
      body.getChildElements().map(({ name }) => name),
      ['message', 'error'],
    );
    assert.match(text, declaresStream);
  },
);

scenario('XEP-0198 over BOSH: a session is resumed in another one', async ({ actor, connect }) => {
  const juliet = await actor('juliet@localhost/balcony');
  const romeo = await actor('romeo@localhost/orchard', { transport: 'bosh' });
  const enabled = await romeo.managesStream();
  await juliet.sends(`<message to='${romeo.jid}' id='1'/>`);
  await romeo.receives(`<message id='1'/>`);
  romeo.cut();
  await juliet.sends(`<message to='${romeo.jid}' id='2'/>`);
  await juliet.syncs();
  const again = await connect({ transport: 'bosh' });
  await again.opens();
  await again.receivesFeatures();
  await again.authenticates('romeo');
  await again.sends(`<resume xmlns='${NS.sm}' previd='${enabled.attrs.id}' h='${romeo.handled}'/>`);
  await again.receives(`<resumed xmlns='${NS.sm}'/>`);
  await again.receivesFirst(`<message id='2'/>`);
});

scenario('all transports carry the same stanzas', async ({ actor, server }) => {
  const romeo = await actor('romeo@localhost/orchard', { transport: 'bosh' });
  const juliet = await actor('juliet@localhost/balcony', { transport: 'wss', presence: true });
  assert.equal(server.connections.bosh, 1);
  await romeo.sends(`<message to='${juliet.jid}' type='chat'><body>&lt; € 𝄞</body><x xmlns='y' z='"'/></message>`);
  await juliet.receives(`<message from='${romeo.jid}' type='chat'><body>&lt; € 𝄞</body><x xmlns='y' z='"'/></message>`);
  await juliet.sends(
    `<message xmlns='${NS.client}' to='${romeo.jid}'><stream:x xmlns:stream='${NS.stream}'/></message>`,
  );
  await romeo.receives(`<message from='${juliet.jid}'><x xmlns='${NS.stream}'/></message>`);
  await romeo.closes();
  await juliet.receivesNothing();
});

// --- bounds ---------------------------------------------------------------------------------------------------------

scenario('a slow body holds up nobody', { config }, async ({ stage }) => {
  const client = await loggedIn(stage);
  const text = client.text({}, ping('1'));
  const slow = connectTcp({ host: '127.0.0.1', port: stage.port('http') });
  await once(slow, 'connect');
  slow.write(`POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${text.length}\r\n\r\n${text.slice(0, -10)}`);
  // The same request, sent whole: half of a request is none.
  assert.ok((await client.sendsText(text)).getChild('iq', NS.client));
  const heard = once(slow, 'data');
  slow.write(text.slice(-10));
  assert.match(String(await heard), /200 OK[\s\S]*<iq /);
  slow.destroy();
});

scenario('a client that takes no answers is bounded', { config }, async ({ stage, actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  const client = await loggedIn(stage);
  // Answers of a limited size: the rest waits for the next requests.
  const text = 'x'.repeat(20_000);
  for (let n = 0; n < 10; n++) await juliet.sends(message(`${n} ${text}`));
  await juliet.syncs();
  const heard: string[] = [];
  let answers = 0;
  for (; heard.length < 10; answers++) heard.push(...texts(await client.sends()));
  assert.deepEqual(
    heard.map((one) => one.slice(0, 2)),
    Array.from({ length: 10 }, (_, n) => `${n} `),
  );
  assert.equal(answers, 4);
});

const slowRate = {
  stanzas_per_second: 100,
  stanza_burst: 10,
  bytes_per_second: 'unlimited',
  byte_burst: 'unlimited',
};

scenario(
  '§11: requests of a client that is slowed down are answered',
  { config: { ...config, limits: { rate: slowRate } } },
  async (scene) => {
    const client = await loggedIn(scene.stage);
    // They cause no output. The client has made as many requests as it may, and waits.
    const silent = `<iq xmlns='${NS.client}' type='result' id='x'/>`.repeat(20);
    const first = client.sends({}, silent);
    const second = client.sends({}, silent);
    assert.equal((await first).getChildElements().length, 0);
    await isHit(scene, 'rate');
    const third = client.sends({}, ping('1'));
    const answered = [await second];
    const last = client.sends({ type: 'terminate' });
    answered.push(await third, await last);
    // By the first of them that is still there when it comes.
    assert.equal(answered.filter((body) => body.getChild('iq', NS.client) !== undefined).length, 1);
    client.sid = undefined;
  },
);

scenario('§17.2: at a shutdown the last answer says so', { config, alone: true }, async ({ stage, actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  const client = await loggedIn(stage);
  const held = client.sends({}, `<message xmlns='${NS.client}' to='${juliet.jid}' id='held'/>`);
  await juliet.receives(`<message id='held'/>`);
  const stopped = stage.stop();
  isStreamError(await held, 'system-shutdown');
  await stopped;
});
