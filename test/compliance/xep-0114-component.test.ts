/** XEP-0114: Jabber Component Protocol. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ownCommands } from '../../src/server/admin/commands.js';
import { createServer } from '../../src/server/index.js';
import { NS } from '../../src/server/stanza/ns.js';
import type { TopLevel } from '../../src/server/xml/reader.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { ComponentPeer } from './component.js';
import { hits, type Scene, scenario } from './dialogue.js';
import { refusal, unlimitedRate } from './phrases.js';

const secret = 'a pound of apothecary';
const unlimitedRates = { rate: unlimitedRate, rate_account: unlimitedRate };
const ping = (id: string) => `<iq type='get' id='${id}' to='localhost'><ping xmlns='${NS.ping}'/></iq>`;
const chat = (id: string, to = 'friar@mantua') =>
  `<message to='${to}' id='${id}' type='chat'><body>${id}</body></message>`;

interface Play extends Scene {
  component(domain?: string): ComponentPeer;
}

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'waxwing-'));
  try {
    await work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Receives on several connections until the total is reached. */
async function gathers(peers: readonly ComponentPeer[], all: number): Promise<TopLevel[][]> {
  const received = peers.map((): TopLevel[] => []);
  for (let left = all; left > 0; ) {
    await Promise.race(peers.map((peer) => peer.readable()));
    for (const [at, peer] of peers.entries()) {
      const items = peer.takes();
      received[at]!.push(...items);
      left -= items.length;
    }
  }
  return received;
}

interface Rules {
  /** Of the component mantua. */
  readonly mantua?: Readonly<Record<string, unknown>>;
  readonly config?: Readonly<Record<string, unknown>>;
  readonly alone?: boolean;
}

function play(
  title: string,
  { mantua = {}, config = {}, alone = false }: Rules,
  dialogue: (scene: Play) => Promise<void>,
) {
  const whole = {
    ...config,
    listen: { component: ['127.0.0.1:0'] },
    components: {
      mantua: { secret, ...mantua },
      'gateway.localhost': { secret, name: 'Gateway' },
      'hidden.localhost': { secret, listed: false },
    },
  };
  scenario(title, { config: whole, alone }, async (scene) => {
    const made: ComponentPeer[] = [];
    const component = (domain = 'mantua') => {
      const peer = new ComponentPeer(scene.stage.port('component'), domain, secret);
      made.push(peer);
      return peer;
    };
    try {
      await dialogue({ ...scene, component });
    } finally {
      for (const { socket } of made) socket.destroy();
    }
  });
}

play('stanzas between a client and a component (§3)', {}, async ({ actor, component }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const friar = component();
  friar.opens();
  const header = await friar.hearsOpen();
  assert.equal(header.from, 'mantua');
  assert.match(header.id!, /^[\w-]{22}$/);
  assert.equal('version' in header, false, 'there are no features to wait for');
  friar.handshake();
  const { ns, content } = await friar.hears('handshake');
  assert.deepEqual([ns, content], [NS.component, '']);
  await romeo.sends(chat('1'));
  const received = await friar.hears('message');
  assert.deepEqual(
    [received.ns, received.attrs.from, received.attrs.to],
    [NS.component, 'romeo@localhost/orchard', 'friar@mantua'],
  );
  friar.says(`<message from='friar@mantua/cell' to='romeo@localhost/orchard' type='chat'><body>late</body></message>`);
  await romeo.receives(
    `<message from='friar@mantua/cell' to='romeo@localhost/orchard' type='chat' xml:lang='it'><body>late</body></message>`,
  );
  friar.says(`<iq type='get' id='2' from='mantua' to='localhost'><ping xmlns='${NS.ping}'/></iq>`);
  const pong = await friar.hears('iq');
  assert.deepEqual([pong.attrs.type, pong.attrs.id, pong.attrs.from], ['result', '2', 'localhost']);
  friar.says(`<iq type='get' from='mantua' to='localhost' id='3'/>`);
  const wrong = await friar.hears('iq');
  assert.deepEqual([wrong.attrs.type, wrong.attrs.id], ['error', '3']);
  assert.match(wrong.content, /<bad-request /);
  await romeo.receivesNothing();
  friar.says('</stream:stream>');
  await friar.hearsEnd();
});

play(
  'an unknown component in the header, or another kind of stream (§3, RFC 6120 §4.7.1)',
  {},
  async ({ component }) => {
    for (const [attributes, ns, condition] of [
      [{ to: 'padua' }, NS.component, 'host-unknown'],
      [{ to: 'localhost' }, NS.component, 'host-unknown'],
      [{ to: 'friar@mantua' }, NS.component, 'host-unknown'],
      [{ to: undefined }, NS.component, 'improper-addressing'],
      [{ to: 'mantua', version: '1.0' }, NS.client, 'invalid-namespace'],
    ] as const) {
      const peer = component();
      peer.opens(attributes, ns);
      await peer.hearsOpen();
      await peer.hearsStreamError(condition);
    }
  },
);

play('connections only from allowed addresses', { mantua: { allow_from: ['192.0.2.1'] } }, async ({ component }) => {
  const peer = component();
  peer.opens();
  await peer.hearsOpen();
  await peer.hearsStreamError('host-unknown');
});

play('a wrong secret is refused, and later stanzas are ignored (§3)', {}, async (scene) => {
  const { actor, component } = scene;
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const sent = `<message from='friar@mantua' to='romeo@localhost'><body>false</body></message>`;
  for (const first of ['<handshake>00</handshake>', '<handshake/>', sent, `<handshake xmlns='jabber:client'/>`]) {
    const tybalt = component();
    tybalt.opens();
    await tybalt.hearsOpen();
    tybalt.says(first + sent);
    await tybalt.hearsStreamError('not-authorized');
  }
  const long = component();
  long.opens();
  await long.hearsOpen();
  long.says(`<handshake>${'0'.repeat(20_000)}</handshake>`);
  await long.hearsStreamError('policy-violation');
  await romeo.receivesNothing();
  const [mantua] = scene.server.components.figures;
  assert.deepEqual([mantua!.connections.length, mantua!.refusedLogins], [0, 2]);
});

play(
  'repeated wrong secrets lock the address',
  { config: { auth: { failures_per_account: 2 } }, alone: true },
  async (scene) => {
    for (const guess of ['one', 'two', secret]) {
      const tybalt = scene.component();
      tybalt.opens();
      await tybalt.hearsOpen();
      tybalt.handshake(guess);
      await tybalt.hearsStreamError('not-authorized');
    }
    assert.equal(await hits(scene, 'auth.failures_per_account'), 1);
    await scene.component('gateway.localhost').logsIn();
  },
);

play('a stanza needs a sender of the component and a valid recipient (§3)', {}, async (scene) => {
  const { actor, component } = scene;
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  for (const [stanza, condition] of [
    [`<message from='juliet@localhost' to='romeo@localhost'/>`, 'invalid-from'],
    [`<message from='gateway.localhost' to='romeo@localhost'/>`, 'invalid-from'],
    [`<message from='friar@sub.mantua' to='romeo@localhost'/>`, 'invalid-from'],
    [`<message from='@mantua' to='romeo@localhost'/>`, 'improper-addressing'],
    [`<message to='romeo@localhost'/>`, 'improper-addressing'],
    [`<message from='friar@mantua'/>`, 'improper-addressing'],
    [`<message xmlns='jabber:client' from='friar@mantua' to='romeo@localhost'/>`, 'invalid-namespace'],
    [`<log from='friar@mantua' to='romeo@localhost'/>`, 'unsupported-stanza-type'],
    [
      `<message from='friar@mantua' to='romeo@localhost'><body>${'x'.repeat(5_000_000)}</body></message>`,
      'policy-violation',
    ],
  ] as const) {
    const friar = await component().logsIn();
    friar.says(stanza);
    await friar.hearsStreamError(condition);
  }
  await romeo.receivesNothing();
  // RFC 6120 §8.3.3.8: an error of one user of the component does not disconnect the others.
  const friar = await component().logsIn();
  friar.says(`<message id='1' from='friar@mantua/cell' to='@localhost'/>`);
  const malformed = await friar.hears('message');
  assert.deepEqual([malformed.attrs.type, malformed.attrs.id, malformed.attrs.to], ['error', '1', 'friar@mantua/cell']);
  assert.match(malformed.content, /<jid-malformed /);
  friar.says(`<message id='2' type='error' from='friar@mantua/cell' to='@localhost'/>`);
  await friar.hearsNothing();
});

play('RFC 6120 §13.12: a stanza that exceeds a limit does not disconnect the other users', {}, async (scene) => {
  const romeo = await scene.actor('romeo@localhost/orchard', { presence: true });
  const friar = await scene.component().logsIn();
  const before = await hits(scene, 'stanza');
  const to = `from='friar@mantua/cell' to='romeo@localhost'`;
  const attributes = Array.from({ length: 101 }, (_, n) => `a${n}=''`).join(' ');
  const contents = {
    deep: `${'<a>'.repeat(100)}${'</a>'.repeat(100)}`,
    wide: '<a/>'.repeat(5001),
    long: `<body>${'x'.repeat(300_000)}</body>`,
    attributes: `<a ${attributes}/>`,
  };
  for (const [id, content] of Object.entries(contents)) {
    friar.says(`<message id='${id}' ${to}>${content}</message>`);
    friar.says(`<message id='${id}' type='error' ${to}>${content}</message>`);
    friar.says(`<iq id='${id}-iq' type='set' ${to}>${content}</iq>`);
    for (const name of ['message', 'iq']) {
      const { attrs, content: error } = await friar.hears(name);
      assert.deepEqual(
        [attrs.type, attrs.id, attrs.from, attrs.to],
        ['error', name === 'iq' ? `${id}-iq` : id, 'romeo@localhost', 'friar@mantua/cell'],
      );
      assert.match(
        error,
        /^<error [^>]*type="modify"[^>]*><policy-violation [^>]*><text [^>]*>The stanza was not read: /,
      );
    }
  }
  // Nothing is known of its sender, so that nobody gets an error.
  friar.says(`<message ${to} ${attributes}><body>lost</body></message>`);
  friar.says(`<message ${to}><body>still here</body></message>`);
  await romeo.receives(`<message from='friar@mantua/cell'><body>still here</body></message>`);
  assert.equal((await hits(scene, 'stanza')) - before, 13);
});

play('stanzas for a disconnected component (RFC 6120 §8.3.3.17)', {}, async ({ actor, component }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const away = async () => {
    await romeo.sends(chat('1'));
    await romeo.receives(
      `<message type='error' id='1' from='friar@mantua'><body/>${refusal('wait', 'remote-server-timeout')}</message>`,
    );
    await romeo.sends(`<iq type='get' id='2' to='mantua'><query xmlns='${NS.discoInfo}'/></iq>`);
    await romeo.receives(
      `<iq type='error' id='2' from='mantua'><query xmlns='${NS.discoInfo}'/>${refusal('wait', 'remote-server-timeout')}</iq>`,
    );
    await romeo.sends(
      `<presence to='friar@mantua'/><presence to='friar@mantua' type='unavailable'/>` +
        `<message to='friar@mantua' type='error' id='3'>${refusal('cancel', 'gone')}</message>` +
        `<iq to='mantua' type='result' id='4'/>`,
    );
    await romeo.receivesNothing();
  };
  await away();
  const friar = await component().logsIn();
  await romeo.sends(chat('5'));
  assert.equal((await friar.hears('message')).attrs.id, '5');
  friar.says('</stream:stream>');
  await friar.hearsEnd();
  await away();
  await (await component().logsIn()).hearsNothing();
});

play('the oldest of too many connections is closed', {}, async ({ actor, component }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const first = await component().logsIn();
  const second = await component().logsIn();
  await first.hearsStreamError('conflict');
  await romeo.sends(chat('1'));
  assert.equal((await second.hears('message')).attrs.id, '1');
});

play(
  'several connections share the senders, whose stanzas stay in order',
  { mantua: { connections: 3 } },
  async (scene) => {
    const { actor, component } = scene;
    const friars = [await component().logsIn(), await component().logsIn(), await component().logsIn()];
    const senders = await Promise.all(Array.from({ length: 12 }, (_, n) => actor(`user${n}@localhost/here`)));
    const says = async (from: number, to: number) => {
      for (let id = from; id < to; id++) for (const sender of senders) await sender.sends(chat(String(id)));
    };
    await says(0, 20);
    const received = await gathers(friars, 20 * senders.length);
    const places = received.map((messages) => new Set(messages.map(({ attrs }) => attrs.from!)));
    assert.equal(
      places.reduce((sum, { size }) => sum + size, 0),
      senders.length,
      'a sender has one connection',
    );
    assert.ok(
      places.every(({ size }) => size > 0),
      'each connection has senders',
    );
    for (const messages of received)
      for (const from of new Set(messages.map(({ attrs }) => attrs.from)))
        assert.deepEqual(
          messages.filter(({ attrs }) => attrs.from === from).map(({ attrs }) => Number(attrs.id)),
          Array.from({ length: 20 }, (_, n) => n),
        );
    // The senders of the one that goes go to the others, whose own stay where they are.
    friars[0]!.says('</stream:stream>');
    await friars[0]!.hearsEnd();
    await says(20, 25);
    const after = await gathers(friars.slice(1), 5 * senders.length);
    for (const [at, messages] of after.entries())
      for (const { attrs } of messages) assert.ok(places[0]!.has(attrs.from!) || places[at + 1]!.has(attrs.from!));
  },
);

play(
  'a component that does not read blocks nobody; its queue is limited, and stays in order',
  { config: { limits: { component_queue_bytes: 2_000_000, ...unlimitedRates } } },
  async (scene) => {
    const { actor, component } = scene;
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const friar = await component().logsIn();
    const count = 500;
    const filler = 'x'.repeat(20_000);
    let refused = 0;
    let pongs = 0;
    for (let id = 0; id < count; id += 20) {
      let xml = '';
      for (let n = id; n < id + 20; n++)
        xml += `<message to='friar@mantua' id='${n}' type='chat'><body>${filler}</body></message>`;
      await romeo.sends(xml + ping('p'));
      for (let at = pongs; at === pongs; ) {
        const { name, attrs } = await romeo.receivesAny();
        if (name === 'iq') pongs++;
        else if (attrs.type === 'error') refused++;
      }
    }
    assert.equal(pongs, count / 20);
    assert.ok(refused > 0, 'more than there is room for is refused');
    assert.equal(await hits(scene, 'component_queue_bytes'), refused);
    assert.ok(scene.server.components.figures[0]!.waitingBytes <= 2_000_000);
    let last = -1;
    for (let received = 0; received < count - refused; received++) {
      const { attrs } = await friar.hears('message');
      assert.ok(Number(attrs.id) > last);
      last = Number(attrs.id);
    }
    await romeo.receivesNothing();
    assert.equal(scene.server.components.figures[0]!.waitingBytes, 0);
  },
);

play(
  'stanzas that are unsent when the connection closes are refused',
  { config: { limits: unlimitedRates } },
  async (scene) => {
    const { actor, component } = scene;
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const friar = await component().logsIn();
    const filler = 'x'.repeat(100_000);
    // More than the system takes for a peer that does not read.
    const all = 150;
    for (let id = 0; id < all; id++)
      await romeo.sends(`<message to='friar@mantua' id='${id}' type='chat'><body>${filler}</body></message>`);
    await romeo.syncs();
    friar.socket.destroy();
    const seen = new Set<string>();
    while (!seen.has(String(all - 1))) {
      const error = await romeo.receivesAny();
      assert.deepEqual([error.name, error.attrs.type], ['message', 'error']);
      seen.add(error.attrs.id!);
    }
    await romeo.receivesNothing();
  },
);

play('subscriptions and presence as between servers (RFC 6121 §3, §4)', {}, async ({ actor, component }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const friar = await component().logsIn();
  await romeo.sends(`<iq type='get' id='1'><query xmlns='${NS.roster}'/></iq>`);
  await romeo.receives(`<iq type='result' id='1'><query xmlns='${NS.roster}'/></iq>`);
  await romeo.sends(`<presence to='friar@mantua' type='subscribe'/>`);
  const request = await friar.hears('presence');
  assert.deepEqual([request.attrs.type, request.attrs.from], ['subscribe', 'romeo@localhost']);
  friar.says(`<presence from='friar@mantua' to='romeo@localhost' type='subscribed'/>`);
  friar.says(`<presence from='friar@mantua/cell' to='romeo@localhost'/>`);
  friar.says(`<presence from='friar@mantua' to='romeo@localhost' type='subscribe'/>`);
  await friar.syncs();
  await romeo.syncs();
  const received = romeo.forgets().filter(({ name }) => name === 'presence');
  assert.deepEqual(
    received.map(({ attrs }) => [attrs.type, attrs.from]),
    [
      ['subscribed', 'friar@mantua'],
      [undefined, 'friar@mantua/cell'],
      ['subscribe', 'friar@mantua'],
    ],
  );
  await romeo.sends(`<presence to='friar@mantua' type='subscribed'/>`);
  const types = [await friar.hears('presence'), await friar.hears('presence')].map(({ attrs }) => attrs.type);
  assert.deepEqual(types, ['subscribed', undefined], 'the contact is told, and sees the presence');
  friar.says(`<presence from='friar@mantua' to='romeo@localhost' type='probe'/>`);
  assert.equal((await friar.hears('presence')).attrs.from, 'romeo@localhost/orchard');
  await romeo.closes();
  assert.equal((await friar.hears('presence')).attrs.type, 'unavailable');
});

play('ending a session leaves the rooms of a component (RFC 6121 §4.6)', {}, async ({ actor, component }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const rooms = await component().logsIn();
  await romeo.sends(`<presence to='capulet@mantua/romeo'><x xmlns='${NS.muc}'/></presence>`);
  assert.equal((await rooms.hears('presence')).attrs.to, 'capulet@mantua/romeo');
  const item = `<x xmlns='${NS.mucUser}'><item affiliation='none' role='participant'/><status code='110'/></x>`;
  rooms.says(`<presence from='capulet@mantua/romeo' to='romeo@localhost/orchard'>${item}</presence>`);
  await romeo.receives(`<presence from='capulet@mantua/romeo'>${item}</presence>`);
  rooms.says(
    `<message type='groupchat' from='capulet@mantua/juliet' to='romeo@localhost/orchard'><body>here</body></message>`,
  );
  await romeo.receives(`<message type='groupchat' from='capulet@mantua/juliet'><body>here</body></message>`);
  await romeo.closes();
  const left = await rooms.hears('presence');
  assert.deepEqual([left.attrs.type, left.attrs.to], ['unavailable', 'capulet@mantua/romeo']);
});

play('service discovery lists components, which answer for themselves (XEP-0030 §4)', {}, async (scene) => {
  const { actor, component } = scene;
  const romeo = await actor('romeo@localhost/orchard');
  const benvolio = await actor('benvolio@elsewhere.example/street');
  const items = async (peer: typeof romeo) => {
    await peer.sends(`<iq type='get' id='1' to='${peer.host}'><query xmlns='${NS.discoItems}'/></iq>`);
    const answer = await peer.receives(`<iq type='result' id='1'><query xmlns='${NS.discoItems}'/></iq>`);
    const all = answer.getChild('query', NS.discoItems)!.getChildElements();
    return all.map(({ attrs }) => [attrs.jid, attrs.name]);
  };
  const atLocalhost = await items(romeo);
  assert.ok(atLocalhost.some(([jid, name]) => jid === 'gateway.localhost' && name === 'Gateway'));
  assert.ok(
    atLocalhost.some(([jid]) => jid === 'mantua'),
    'what is below no host is listed by all',
  );
  assert.ok(!atLocalhost.some(([jid]) => jid === 'hidden.localhost'));
  const elsewhere = await items(benvolio);
  assert.deepEqual(
    [elsewhere.some(([jid]) => jid === 'gateway.localhost'), elsewhere.some(([jid]) => jid === 'mantua')],
    [false, true],
  );
  const gateway = await component('gateway.localhost').logsIn();
  await romeo.sends(`<iq type='get' id='2' to='gateway.localhost'><query xmlns='${NS.discoInfo}'/></iq>`);
  const { attrs } = await gateway.hears('iq');
  const answer = `<query xmlns='${NS.discoInfo}'><identity category='gateway' type='irc'/></query>`;
  gateway.says(`<iq type='result' id='${attrs.id}' from='gateway.localhost' to='${attrs.from}'>${answer}</iq>`);
  await romeo.receives(`<iq type='result' id='2' from='gateway.localhost'>${answer}</iq>`);
});

play('stanzas between components', {}, async ({ component }) => {
  const friar = await component().logsIn();
  const gateway = await component('gateway.localhost').logsIn();
  friar.says(`<message id='1' from='friar@mantua' to='x@gateway.localhost'><body>1</body></message>`);
  const received = await gateway.hears('message');
  assert.deepEqual([received.attrs.from, received.attrs.to], ['friar@mantua', 'x@gateway.localhost']);
  friar.says(`<message id='2' from='friar@mantua' to='x@hidden.localhost'><body>2</body></message>`);
  assert.match((await friar.hears('message')).content, /<remote-server-timeout /);
});

play('the login deadline (RFC 6120 §4.9.3.4)', { config: { limits: { login_deadline_seconds: 1 } } }, async (scene) => {
  const tybalt = scene.component();
  tybalt.opens();
  await tybalt.hearsOpen();
  await tybalt.hearsStreamError('connection-timeout');
  assert.equal(await hits(scene, 'login_deadline_seconds'), 1);
});

test('a component cannot have the domain of a service', async () => {
  const components = { 'conference.localhost': { secret } };
  const storage = new MemoryStorage();
  const text = '[log]\nlevel = "silent"\n[storage]\nlow_space_bytes = 0';
  await inFolder(async (data) => {
    await assert.rejects(createServer({ text, overrides: { data, components }, storage }), {
      name: 'HookError',
      message: /conference\.localhost/,
    });
  });
});

test('a reload applies a new secret, and components keep their connections', async () => {
  await inFolder(async (data) => {
    const file = join(data, 'waxwing.toml');
    const secretFile = join(data, 'mantua.secret');
    const configure = (more = '') =>
      writeFileSync(
        file,
        `[listen]\nc2s = []\nc2s_tls = []\nhttps = []\nhttp = []\ncomponent = ["127.0.0.1:0"]\n` +
          `[modules.proxy65]\nlisten = []\n[log]\nlevel = "silent"\n[storage]\nlow_space_bytes = 0\n` +
          `[components.mantua]\nsecret_file = "mantua.secret"\nconnections = 2\n${more}`,
      );
    configure();
    writeFileSync(secretFile, secret);
    const server = await createServer({ file, overrides: { data }, storage: new MemoryStorage() });
    const made: ComponentPeer[] = [];
    try {
      await server.start();
      const component = (known: string) => {
        const peer = new ComponentPeer(server.listening[0]!.port, 'mantua', known);
        made.push(peer);
        return peer;
      };
      await component(secret).logsIn();
      const other = 'a dram of poison from Mantua';
      writeFileSync(secretFile, other);
      configure(`[components.padua]\nsecret = "${secret}"\n`);
      assert.deepEqual(await server.reload(), { applied: [], restart: ['components.padua'] });
      const late = component(secret);
      late.opens();
      await late.hearsOpen();
      late.handshake();
      await late.hearsStreamError('not-authorized');
      await component(other).logsIn();
      assert.equal(server.components.figures[0]!.connections.length, 2);
      writeFileSync(secretFile, 'short');
      await assert.rejects(server.reload(), { name: 'ConfigError' });
    } finally {
      for (const { socket } of made) socket.destroy();
      await server.stop();
    }
  });
});

play('administrators list and close connections', {}, async ({ component, server }) => {
  const run = (name: string, values: object) => {
    const command = ownCommands.find((one) => one.name === name)!;
    const data = command.run({ server, config: server.config } as never, values as never) as never;
    return command.text(data) as string;
  };
  const friar = await component().logsIn();
  await friar.hearsNothing();
  assert.match(run('component list', {}), /^mantua +127\.0\.0\.1 .* UTC +\d+ +\d+ +0$/m);
  assert.match(run('component list', {}), /^gateway\.localhost +not connected/m);
  assert.equal(run('component kick', { domain: 'mantua' }), '1 connection of mantua ended.');
  await friar.hearsStreamError('policy-violation');
  assert.equal(run('component kick', { domain: 'mantua' }), 'mantua was not connected.');
  assert.throws(() => run('component kick', { domain: 'padua' }), /has no component padua/);
});

play('a shutdown is announced, and the component connects again', { alone: true }, async (scene) => {
  const friar = await scene.component().logsIn();
  const restarted = scene.stage.restart();
  await friar.hearsStreamError('system-shutdown');
  await restarted;
  await (await scene.component().logsIn()).hearsNothing();
});
