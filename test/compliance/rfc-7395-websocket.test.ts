/** RFC 7395: XMPP over WebSocket. Features common to all transports are tested with the others. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import type { Socket } from 'node:net';
import { type ClientOptions, WebSocket } from 'ws';
import { NS } from '../../src/server/stanza/ns.js';
import { overTcp, type Peer, type Stage, scenarioWith } from './dialogue.js';

// Connections over WebSocket are counted.
const scenario = scenarioWith(overTcp);

const path = '/xmpp-websocket';

function socket(stage: Stage, protocols: string[] | string = 'xmpp', options: ClientOptions = {}): WebSocket {
  const ws = new WebSocket(`ws://127.0.0.1:${stage.port('http')}${path}`, protocols, options);
  ws.on('error', () => {});
  return ws;
}

/** The code with which the server closes. */
async function closing(ws: WebSocket): Promise<number> {
  const [code] = (await once(ws, 'close')) as [number];
  return code;
}

async function greeted(connect: () => Promise<Peer>): Promise<Peer> {
  const peer = await connect();
  await peer.opens();
  await peer.receivesFeatures();
  return peer;
}

// --- §3.1: the handshake --------------------------------------------------------------------------------------------

scenario('§3.1: the subprotocol has to be xmpp', async ({ stage }) => {
  for (const protocols of ['xmpp', ['other', 'xmpp']]) {
    const ws = socket(stage, protocols);
    await once(ws, 'open');
    assert.equal(ws.protocol, 'xmpp');
    ws.terminate();
  }
  for (const protocols of [[], ['other'], ['XMPP']]) {
    const ws = socket(stage, protocols);
    const [, response] = await once(ws, 'unexpected-response');
    assert.equal(response.statusCode, 400);
    ws.terminate();
  }
});

scenario('§3.1: only at its path, and only upgrades', async ({ stage }) => {
  const other = new WebSocket(`ws://127.0.0.1:${stage.port('http')}/other`, 'xmpp');
  other.on('error', () => {});
  const [, refused] = await once(other, 'unexpected-response');
  assert.equal(refused.statusCode, 404);
  other.terminate();
  const plain = request({ host: '127.0.0.1', port: stage.port('http'), path }).end();
  const [response] = await once(plain, 'response');
  assert.equal(response.statusCode, 404);
  response.destroy();
});

scenario('RFC 6455 §4.2.2, §4.4: refusals have the form of other errors, and end the connection', async ({ stage }) => {
  const asks = (headers: Record<string, string>) =>
    request({
      host: '127.0.0.1',
      port: stage.port('http'),
      path,
      headers: {
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
        'sec-websocket-version': '13',
        'sec-websocket-protocol': 'xmpp',
        ...headers,
      },
    }).end();
  for (const [headers, status] of [
    [{ 'sec-websocket-version': '12' }, 426],
    [{ 'sec-websocket-key': 'short' }, 400],
    [{ 'sec-websocket-protocol': 'other' }, 400],
  ] as const)
    for (const [accept, type] of [
      ['text/html', 'text/html; charset=utf-8'],
      ['*/*', 'application/problem+json'],
    ] as const) {
      const [response] = await once(asks({ ...headers, accept }), 'response');
      assert.equal(response.statusCode, status);
      assert.equal(response.headers['content-type'], type);
      assert.equal(response.headers['x-content-type-options'], 'nosniff');
      assert.equal(response.headers.connection, 'close');
      if (status === 426) assert.equal(response.headers['sec-websocket-version'], '13');
      response.resume();
      await once(response.socket, 'close');
    }
});

/** Whether a page of this origin gets a connection; the response if not. */
async function upgraded(stage: Stage, origin: string | undefined): Promise<number> {
  const ws = socket(stage, 'xmpp', origin === undefined ? {} : { headers: { origin } });
  const outcome = await Promise.race([
    once(ws, 'open').then(() => 101),
    once(ws, 'unexpected-response').then(([, { statusCode }]) => statusCode as number),
  ]);
  ws.terminate();
  return outcome;
}

scenario('RFC 6455 §10.2: by default pages of any origin may connect', async ({ stage }) => {
  for (const origin of [undefined, 'https://evil.example', 'null']) assert.equal(await upgraded(stage, origin), 101);
});

scenario(
  'RFC 6455 §4.2.2: pages of unlisted origins get 403',
  { config: { http: { origins: ['https://chat.example.org', 'http://localhost:8080', 'capacitor://localhost'] } } },
  async ({ stage, server }) => {
    for (const [origin, status] of [
      // No page.
      [undefined, 101],
      ['https://chat.example.org', 101],
      ['https://CHAT.example.org', 101],
      ['https://chat.example.org:443', 101],
      ['http://localhost:8080', 101],
      ['capacitor://localhost', 101],
      ['http://chat.example.org', 403],
      ['https://chat.example.org:8443', 403],
      ['https://chat.example.org.evil.example', 403],
      ['https://evil.example', 403],
      ['https://chat.example.org@evil.example', 403],
      ['https://chat.example.org, https://evil.example', 403],
      ['http://localhost', 403],
      ['null', 403],
      ['*', 403],
      ['', 403],
    ] as const)
      assert.equal(await upgraded(stage, origin), status, origin);
    while (server.inspect().connections > 0) await new Promise((resolve) => setImmediate(resolve));
  },
);

scenario('XEP-0205: compression is not offered', async ({ stage }) => {
  const ws = socket(stage, 'xmpp', { perMessageDeflate: true });
  await once(ws, 'open');
  assert.equal(ws.extensions, '');
  ws.terminate();
});

// --- §3.3, §3.4: messages -----------------------------------------------------------------------------------------------

scenario('§3.3.2, §3.4: each message is one complete element', async ({ stage }) => {
  const ws = socket(stage);
  const messages: string[] = [];
  ws.on('message', (data, isBinary) => {
    assert.equal(isBinary, false);
    messages.push(String(data));
  });
  await once(ws, 'open');
  ws.send(`<open xmlns='${NS.framing}' to='localhost' version='1.0'/>`);
  while (messages.length < 2) await once(ws, 'message');
  assert.match(
    messages[0]!,
    /^<open xmlns="urn:ietf:params:xml:ns:xmpp-framing" from="localhost" id="[^"]{16,}" version="1.0" xml:lang="en"\/>$/,
  );
  assert.match(
    messages[1]!,
    /^<stream:features xmlns:stream="http:\/\/etherx.jabber.org\/streams">.*<\/stream:features>$/,
  );
  ws.terminate();
});

scenario('§3.3.3: each element that the server sends declares its namespace', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { transport: 'websocket' });
  await romeo.sends(`<iq xmlns='${NS.client}' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>`);
  await romeo.receives(`<iq type='result' id='1'/>`);
  assert.match(romeo.raw(), /S: <iq xmlns="jabber:client" [^>]*id="1"/);
});

scenario('§3.4: a restart is another <open/>', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { transport: 'websocket' });
  assert.equal(romeo.raw().match(/C: <open/g)?.length, 2);
  await romeo.sends(`<open xmlns='${NS.framing}' to='localhost' version='1.0'/>`);
  await romeo.receivesStreamError('bad-format');
});

for (const [title, text, condition] of [
  [
    '§3.3.1: a stream header as over TCP',
    `<stream:stream xmlns='${NS.client}' xmlns:stream='${NS.stream}' to='localhost' version='1.0'>`,
    'not-well-formed',
  ],
  ['§3.3.3: two elements', `<presence xmlns='${NS.client}'/><presence xmlns='${NS.client}'/>`, 'bad-format'],
  ['§3.3.3: half an element', `<presence xmlns='${NS.client}'>`, 'not-well-formed'],
  ['§3.3.3: text', 'hello', 'bad-format'],
  ['§3.3.3: a prefix that is declared on TCP', '<stream:features/>', 'bad-namespace-prefix'],
  ['§4.8.3 of RFC 6120: a stanza without its namespace', '<presence xmlns=""/>', 'invalid-namespace'],
  ['a DTD', '<!DOCTYPE x>', 'restricted-xml'],
  ['a comment', `<presence xmlns='${NS.client}'><!-- --></presence>`, 'restricted-xml'],
  ['too deep', `<message xmlns='${NS.client}'>${'<a>'.repeat(100)}${'</a>'.repeat(100)}</message>`, 'policy-violation'],
] as const) {
  scenario(title, async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard', { transport: 'websocket' });
    await romeo.sendsAsOne(text);
    await romeo.receivesStreamError(condition);
  });
}

scenario('§3.4: an invalid <open/> is answered with a stream error', async ({ connect }) => {
  for (const [attributes, condition] of [
    [{ to: 'nowhere.example' }, 'host-unknown'],
    [{ to: undefined }, 'improper-addressing'],
    [{ version: undefined }, 'unsupported-version'],
    [{ from: 'romeo@elsewhere.example' }, 'invalid-from'],
  ] as const) {
    const peer = await connect({ transport: 'websocket' });
    await peer.opens(attributes);
    await peer.receivesOpen();
    await peer.receivesStreamError(condition);
  }
  const early = await connect({ transport: 'websocket' });
  await early.sends(`<presence xmlns='${NS.client}'/>`);
  await early.receivesOpen();
  await early.receivesStreamError('bad-format');
});

/** A frame as a client masks it (RFC 6455 §5.2), with a mask of zeros. `first`: the bits before the length. */
function frame(first: number, payload: string | Buffer, isMasked = true): Buffer {
  const bytes = Buffer.from(payload);
  const head = Buffer.from([first, (isMasked ? 0x80 : 0) | 126, bytes.length >> 8, bytes.length & 255]);
  return Buffer.concat([head, isMasked ? Buffer.alloc(4) : Buffer.alloc(0), bytes]);
}

/** Sends bytes below the frames. */
function injects(ws: WebSocket, ...frames: Buffer[]): void {
  const { _socket } = ws as unknown as { _socket: Socket };
  for (const one of frames) _socket.write(one);
}

const presence = `<presence xmlns='${NS.client}'/>`;
const small = { config: { limits: { stanza_bytes: 20_000 } } };
const text = 0x81;
const unfinished = 0x01;
const continuation = 0x00;

for (const [title, condition, code, frames] of [
  ['§3.2: binary messages', 'bad-format', 1003, [frame(0x82, presence)]],
  ['RFC 6455 §8.1: invalid UTF-8', 'not-well-formed', 1007, [frame(text, Buffer.from([0x3c, 0xff, 0x3e]))]],
  [
    'RFC 6455 §8.1: invalid UTF-8 over two fragments',
    'not-well-formed',
    1007,
    [frame(unfinished, Buffer.from([0x3c, 0xe2])), frame(0x80, Buffer.from([0x3e]))],
  ],
  ['RFC 7692 §5: compressed messages, which were not agreed on', 'bad-format', 1002, [frame(0xc1, presence)]],
  ['RFC 6455 §5.1: unmasked messages', 'bad-format', 1002, [frame(text, presence, false)]],
  ['RFC 6455 §5.2: unknown opcodes', 'bad-format', 1002, [frame(0x83, presence)]],
  ['RFC 6455 §5.4: a fragment of no message', 'bad-format', 1002, [frame(0x80, presence)]],
  [
    'RFC 6455 §5.4: a message within a message',
    'bad-format',
    1002,
    [frame(unfinished, '<presence'), frame(text, presence)],
  ],
  ['RFC 6120 §4.9.3.14: a message that is too long', 'policy-violation', 1009, [frame(text, 'x'.repeat(20_001))]],
  [
    'RFC 6120 §4.9.3.14: fragments that are too long together',
    'policy-violation',
    1009,
    [frame(unfinished, 'x'.repeat(15_000)), frame(continuation, 'x'.repeat(5001))],
  ],
  [
    'RFC 6120 §4.9.3.14: fragments without end',
    'policy-violation',
    1008,
    [frame(unfinished, '<'), ...Array.from({ length: 20_000 }, () => frame(continuation, ''))],
  ],
] as const)
  scenario(`${title}: a stream error, <close/>, and the code`, small, async ({ actor, stage, server }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    for (const isEarly of [true, false]) {
      const ws = socket(stage);
      const messages: string[] = [];
      ws.on('message', (data) => messages.push(String(data)));
      const closed = closing(ws);
      await once(ws, 'open');
      ws.send(`<open xmlns='${NS.framing}' to='localhost' version='1.0'/>`);
      if (!isEarly) while (messages.length < 2) await once(ws, 'message');
      injects(ws, ...frames);
      assert.equal(await closed, code);
      // §3.6: earlier messages are answered first.
      assert.match(messages[0]!, /^<open /);
      assert.match(messages.at(-2)!, new RegExp(`^<stream:error [^>]*><${condition} `));
      assert.match(messages.at(-1)!, /^<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'\/>$/);
    }
    while (server.connections.websocket! > 0) await new Promise((resolve) => setImmediate(resolve));
    await juliet.receivesNothing();
  });

scenario('what was sent before a message that is too long arrives; its sender is gone', small, async (scene) => {
  const { actor } = scene;
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const romeo = await actor('romeo@localhost/orchard', { transport: 'websocket', presence: true });
  await romeo.sends(`<presence to='${juliet.jid}'/>`);
  await juliet.receives(`<presence from='${romeo.jid}'/>`);
  const sent = [1, 2, 3].map((id) => `<message xmlns='${NS.client}' to='${juliet.jid}' id='${id}'/>`);
  for (const one of [...sent, `<message xmlns='${NS.client}'><body>${'x'.repeat(20_000)}</body></message>`])
    await romeo.sends(one);
  await romeo.receivesStreamError('policy-violation');
  for (const id of [1, 2, 3]) await juliet.receives(`<message id='${id}'/>`);
  await juliet.receives(`<presence from='${romeo.jid}' type='unavailable'/>`);
});

scenario('RFC 6455 §5.4: fragments are reassembled', async ({ stage }) => {
  const ws = socket(stage);
  await once(ws, 'open');
  const text = `<open xmlns='${NS.framing}' to='localhost' version='1.0'/>`;
  ws.send(text.slice(0, 10), { fin: false });
  ws.send(text.slice(10, 20), { fin: false });
  ws.send(text.slice(20), { fin: true });
  const [data] = await once(ws, 'message');
  assert.match(String(data), /^<open /);
  ws.terminate();
});

scenario(
  'before login messages are limited to a small size, later to that of a stanza',
  async ({ connect, actor, stage }) => {
    const peer = await greeted(() => connect({ transport: 'websocket' }));
    await peer.sends(`<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${'A'.repeat(10_000)}</auth>`);
    await peer.receivesStreamError('policy-violation');
    const romeo = await actor('romeo@localhost/orchard', { transport: 'websocket' });
    await romeo.sends(`<message xmlns='${NS.client}'><body>${'x'.repeat(262_144)}</body></message>`);
    await romeo.receivesStreamError('policy-violation');
    const ws = socket(stage);
    await once(ws, 'open');
    ws.send('x'.repeat(200_000), { fin: false });
    ws.send('x'.repeat(200_000), { fin: false });
    assert.equal(await closing(ws), 1009);
  },
);

scenario('RFC 6455 §5.5.2: pings are answered', async ({ stage }) => {
  const ws = socket(stage);
  await once(ws, 'open');
  ws.ping('are you there');
  const [data] = await once(ws, 'pong');
  assert.equal(String(data), 'are you there');
  ws.terminate();
});

// --- §3.6: ends -----------------------------------------------------------------------------------------------------------

scenario('§3.6: <close/> is answered, and the connection closed', async ({ stage }) => {
  const ws = socket(stage);
  const messages: string[] = [];
  ws.on('message', (data) => messages.push(String(data)));
  await once(ws, 'open');
  ws.send(`<open xmlns='${NS.framing}' to='localhost' version='1.0'/>`);
  ws.send(`<close xmlns='${NS.framing}'/>`);
  assert.equal(await closing(ws), 1000);
  assert.match(messages.at(-1)!, /^<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'\/>$/);
});

scenario('§3.6: a connection that closes without <close/> counts as lost', async ({ actor, server }) => {
  const romeo = await actor('romeo@localhost/orchard', { transport: 'websocket' });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await romeo.sends(`<presence to='${juliet.jid}'/>`);
  await juliet.receives(`<presence from='${romeo.jid}'/>`);
  romeo.cut();
  await juliet.receives(`<presence from='${romeo.jid}' type='unavailable'/>`);
  assert.equal(server.connections.websocket, 0);
});

scenario('all transports carry the same stanzas', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { transport: 'wss' });
  const juliet = await actor('juliet@localhost/balcony', { transport: 'tls', presence: true });
  await romeo.sends(`<message to='${juliet.jid}' type='chat'><body>&lt; € 𝄞</body><x xmlns='y' z='"'/></message>`);
  await juliet.receives(`<message from='${romeo.jid}' type='chat'><body>&lt; € 𝄞</body><x xmlns='y' z='"'/></message>`);
  await juliet.sends(`<message to='${romeo.jid}' type='chat'><body>&gt;</body><stream:x/></message>`);
  await romeo.receives(
    `<message from='${juliet.jid}' type='chat'><body>&gt;</body><x xmlns='${NS.stream}'/></message>`,
  );
});
