/** XEP-0198: stream management on streams between servers, at both ends, and over connections that break. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { DialbackKeys } from '../../src/server/stream/s2s/dialback.js';
import { makeSelfSigned } from '../../src/server/tls/self-signed.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { takeClocks } from '../unit/clocks.js';
import { hits, type Peer } from './dialogue.js';
import { Gate } from './gate.js';
import { refusal } from './phrases.js';
import { Impostor, lure, play, Relay, type Servers } from './servers.js';

const [montague, capulet] = ['montague.example', 'capulet.example'];
const secret = 's3cr3tf0rd14lb4ck';
const keys = new DialbackKeys(secret);
const unknown = (domain: string) => makeSelfSigned([domain, `conference.${domain}`]);
const lenient = { require_valid_certificate: false };

const r = `<r xmlns='${NS.sm}'/>`;
const a = (h: number) => `<a xmlns='${NS.sm}' h='${h}'/>`;
const enable = (attributes = `resume='true'`) => `<enable xmlns='${NS.sm}' ${attributes}/>`;
const resume = (previd: string, h = 0) => `<resume xmlns='${NS.sm}' previd='${previd}' h='${h}'/>`;
const failedWith = (condition: string) => `<${condition} xmlns="${NS.stanzas}"/>`;

// --- who receives -----------------------------------------------------------------------------------------------------

/** Capulet receives; Montague vouches for keys that the test makes. */
const receiving = {
  [capulet]: { s2s: lenient },
  [montague]: { s2s: { dialback_secret: secret } },
};

const message = (id: number | string, from = montague) =>
  `<message from='romeo@${from}/orchard' to='juliet@${capulet}' type='chat' id='${id}'><body>${id}</body></message>`;

/** Connects to Capulet as Montague, and is authenticated. */
async function authenticated(servers: Servers, from = montague): Promise<Impostor> {
  const friend = Impostor.connect(servers.stage(capulet).port('s2s'), `from='${from}' to='${capulet}'`);
  const { id } = await friend.opensWithTls();
  const key = keys.make({ receiving: capulet, originating: from, streamId: id });
  friend.says(`<db:result from='${from}' to='${capulet}'>${key}</db:result>`);
  assert.equal((await friend.hearsElement('result')).attrs.type, 'valid');
  return friend;
}

/** As `authenticated`, with a session. Returns the id that resumes it. */
async function managed(servers: Servers, attributes?: string): Promise<readonly [friend: Impostor, id: string]> {
  const friend = await authenticated(servers);
  friend.says(enable(attributes));
  return [friend, (await friend.hearsElement('enabled')).attrs.id ?? ''];
}

const juliets = (servers: Servers) =>
  servers.stage(capulet).actor('juliet@capulet.example/balcony', { presence: true });

async function hearsCount(friend: Impostor, h: number): Promise<void> {
  assert.equal((await friend.hearsElement('a')).attrs.h, String(h));
}

play(
  '§2: it is offered over TLS, before dialback and after SASL',
  { [capulet]: {}, [montague]: {} },
  async (servers) => {
    const plain = Impostor.connect(servers.stage(capulet).port('s2s'), `from='${montague}' to='${capulet}'`);
    assert.doesNotMatch((await plain.opens()).features.content, /urn:xmpp:sm/);
    const friend = Impostor.connect(servers.stage(capulet).port('s2s'), `from='${montague}' to='${capulet}'`);
    assert.match((await friend.opensWithTls()).features.content, new RegExp(`<sm xmlns="${NS.sm}"/>`));
  },
);

play('§3: only for a server that has authenticated, and once', receiving, async (servers) => {
  const enemy = Impostor.connect(servers.stage(capulet).port('s2s'), `from='${montague}' to='${capulet}'`);
  await enemy.opensWithTls();
  for (const xml of [enable(), resume('some-id'), r, a(0)]) {
    enemy.says(xml);
    assert.match((await enemy.hearsElement('failed')).content, new RegExp(failedWith('unexpected-request')));
  }
  const [friend] = await managed(servers);
  for (const xml of [enable(), resume('some-id')]) {
    friend.says(xml);
    assert.match((await friend.hearsElement('failed')).content, new RegExp(failedWith('unexpected-request')));
  }
  friend.says(`<enabled xmlns='${NS.sm}'/>`);
  await friend.hearsError('unsupported-stanza-type');
});

play('§3: with resumption, and without', receiving, async (servers) => {
  for (const [attributes, wanted] of [
    ['', undefined],
    [`resume='false' max='5'`, undefined],
    [`resume='true' max='0'`, undefined],
    [`resume='true'`, '60'],
    [`resume='1' max='30'`, '30'],
    [`resume='true' max='9999'`, '60'],
    [`resume='true' max='long'`, '60'],
  ] as const) {
    const friend = await authenticated(servers);
    friend.says(enable(attributes));
    const { attrs } = await friend.hearsElement('enabled');
    assert.deepEqual([attrs.resume, attrs.max], wanted === undefined ? [undefined, undefined] : ['true', wanted]);
    assert.equal(attrs.id === undefined, wanted === undefined);
    friend.cut();
  }
});

play('§4: stanzas are counted, and nothing else', receiving, async (servers) => {
  const juliet = await juliets(servers);
  const friend = await authenticated(servers);
  friend.says(message('before'));
  friend.says(enable());
  await friend.hearsElement('enabled');
  friend.says(`${r} ${message(1)}<presence from='romeo@${montague}/orchard' to='juliet@${capulet}'/>${r}`);
  await hearsCount(friend, 0);
  await hearsCount(friend, 2);
  friend.says(
    `<iq from='romeo@${montague}/orchard' to='${capulet}' type='get' id='q'><ping xmlns='${NS.ping}'/></iq>${a(0)}${r}`,
  );
  await hearsCount(friend, 3);
  await juliet.receives(`<message type='chat' id='before'/>`);
  await juliet.receives(`<message type='chat' id='1'/>`);
});

play(
  '§4: a stanza that exceeds a limit counts too, so that it is not sent again and again',
  receiving,
  async (servers) => {
    const juliet = await juliets(servers);
    const [friend] = await managed(servers);
    const attributes = Array.from({ length: 101 }, (_, n) => `a${n}='${n}'`).join(' ');
    friend.says(message('deep').replace('<body>', `${'<a>'.repeat(100)}${'</a>'.repeat(100)}<body>`));
    friend.says(message('unreadable').replace('type=', `${attributes} type=`) + message(1) + r);
    await juliet.receives(`<message type='chat' id='1'/>`);
    await hearsCount(friend, 3);
  },
);

const gate = new Gate();
const slow = { ...receiving, [capulet]: { s2s: lenient, storage: () => gate.around(new MemoryStorage()) } };
play('§4: a stanza is acknowledged once it is durable', slow, async (servers) => {
  const stage = servers.stage(capulet);
  await stage.account('juliet@capulet.example');
  const [friend] = await managed(servers);
  const nurse = await stage.actor('nurse@capulet.example/kitchen', { presence: true });
  gate.close();
  try {
    // Juliet is offline: the message is stored. The one to the nurse is delivered meanwhile.
    friend.says(message(1) + message(2).replace('juliet@', 'nurse@') + r);
    await nurse.receives(`<message type='chat' id='2'/>`);
    friend.says(`<db:result from='conference.${capulet}' to='${capulet}'>x</db:result>`);
    // The answer to a later question comes first.
    assert.equal((await friend.hearsElement('result')).attrs.type, 'error');
  } finally {
    gate.open();
  }
  await hearsCount(friend, 2);
});

play('§5: a lost stream is resumed, and what was handled is counted', receiving, async (servers) => {
  const juliet = await juliets(servers);
  const [first, id] = await managed(servers);
  first.says(message(1) + message(2));
  await juliet.receives(`<message type='chat' id='1'/>`);
  await juliet.receives(`<message type='chat' id='2'/>`);
  first.cut();
  const second = await authenticated(servers);
  second.says(resume(id));
  assert.deepEqual({ ...(await second.hearsElement('resumed')).attrs }, { previd: id, h: '2' });
  second.says(message(3) + r);
  await hearsCount(second, 3);
  await juliet.receives(`<message type='chat' id='3'/>`);
});

play(
  '§4: requests in quick succession share an answer, at the latest when the stream ends',
  receiving,
  async (servers) => {
    await juliets(servers);
    const [friend] = await managed(servers);
    // They are not stored, so that none waits for the disk.
    for (let n = 1; n <= 20; n++) friend.says(message(n).replace('chat', 'headline') + r);
    await hearsCount(friend, 1);
    friend.says('</stream:stream>');
    let counts: (string | undefined)[] = ['1'];
    for (let item = await friend.hears(); item.kind === 'element'; item = await friend.hears())
      if (item.name === 'a') counts = [...counts, item.attrs.h];
    assert.equal(counts.at(-1), '20');
    assert.ok(counts.length < 20, `${counts}`);
  },
);

play('§5: the connection that still has the session is closed', receiving, async (servers) => {
  const [first, id] = await managed(servers);
  const second = await authenticated(servers);
  second.says(resume(id));
  await second.hearsElement('resumed');
  await first.hearsError('conflict');
  // And again.
  const third = await authenticated(servers);
  third.says(resume(id));
  await third.hearsElement('resumed');
  await second.hearsError('conflict');
});

play('§5: what is unknown, has ended or belongs to others is not resumed', receiving, async (servers) => {
  await juliets(servers);
  const refuses = async (friend: Impostor, id: string, h: string | undefined) => {
    friend.says(resume(id));
    const { attrs, content } = await friend.hearsElement('failed');
    assert.equal(attrs.h, h);
    assert.match(content, new RegExp(failedWith('item-not-found')));
  };
  const [first, id] = await managed(servers);
  first.says(message(1) + r);
  await hearsCount(first, 1);
  const other = await authenticated(servers, `conference.${montague}`);
  await refuses(other, id, undefined);
  // §7: a session ends with its stream, and its count is remembered.
  first.says('</stream:stream>');
  assert.equal((await first.hears()).kind, 'close');
  await refuses(other, id, undefined);
  const second = await authenticated(servers);
  await refuses(second, id, '1');
  await refuses(second, 'some-id', undefined);
  // A new one is enabled instead.
  second.says(enable());
  await second.hearsElement('enabled');
  // A session that cannot be resumed.
  const [third, none] = await managed(servers, '');
  assert.equal(none, '');
  third.cut();
});

play('§5: not after stanzas', receiving, async (servers) => {
  const [first, id] = await managed(servers);
  first.cut();
  const second = await authenticated(servers);
  second.says(message(1) + resume(id));
  assert.match((await second.hearsElement('failed')).content, new RegExp(failedWith('unexpected-request')));
});

const short = { ...receiving, [capulet]: { s2s: { ...lenient, resume_seconds: 1 } } };
play('§5: a session ends after its time', short, async (servers) => {
  const clocks = takeClocks();
  try {
    const [first, id] = await managed(servers);
    first.says(message(1) + r);
    await hearsCount(first, 1);
    first.cut();
    // A connection is closed at its login deadline. When the first one is, the loss of the session has been noticed; when
    // the second one is, the session is over.
    for (let n = 0; n < 2; n++) {
      const idle = Impostor.connect(servers.stage(capulet).port('s2s'), `from='${montague}' to='${capulet}'`);
      await idle.opens();
      clocks.pass(60_000);
      await idle.hearsError('connection-timeout');
    }
    const second = await authenticated(servers);
    second.says(resume(id));
    assert.equal((await second.hearsElement('failed')).attrs.h, '1');
  } finally {
    clocks.restore();
  }
});

play('lost sessions of one domain are bounded', receiving, async (servers) => {
  const ids: string[] = [];
  for (let n = 0; n < 17; n++) {
    const [friend, id] = await managed(servers);
    ids.push(id);
    friend.cut();
  }
  const friend = await authenticated(servers);
  friend.says(resume(ids[0]!));
  assert.equal((await friend.hearsElement('failed')).attrs.h, '0');
  friend.says(resume(ids[16]!));
  await friend.hearsElement('resumed');
  assert.ok((await hits(servers.stage(capulet), 's2s.resumable')) >= 1);
});

play('§6: nobody acknowledges more than was sent', receiving, async (servers) => {
  const [friend] = await managed(servers);
  friend.says(a(1));
  const { content } = await friend.hearsElement('error');
  assert.match(
    content,
    new RegExp(`<undefined-condition .*<handled-count-too-high xmlns="${NS.sm}" h="1" send-count="0"/>`),
  );
  for (const h of ['', '-1', '4294967296', 'x']) {
    const [other] = await managed(servers);
    other.says(`<a xmlns='${NS.sm}' h='${h}'/>`);
    await other.hearsError('invalid-xml');
  }
});

play('§4: the last count is sent before the stream is closed', receiving, async (servers) => {
  const [friend] = await managed(servers);
  friend.says(message(1) + r);
  await hearsCount(friend, 1);
  friend.says(message(2) + r);
  await hearsCount(friend, 2);
  await servers.stage(capulet).stop();
  await hearsCount(friend, 2);
  await friend.hearsError('system-shutdown');
});

// --- who sends --------------------------------------------------------------------------------------------------------

const sending = (s2s: Readonly<Record<string, unknown>> = {}) => ({
  [montague]: { s2s: { ...lenient, dialback_secret: secret, ...s2s } },
});
const offer = `<sm xmlns='${NS.sm}'/>`;
const enabled = (id = 'some-session', more = '') => `<enabled xmlns='${NS.sm}' id='${id}' resume='true' ${more}/>`;

/** Messages from Romeo to Juliet. */
const says = (romeo: Peer, ...ids: readonly (number | string)[]) =>
  romeo.sends(
    ids.map((id) => `<message to='juliet@${capulet}' type='chat' id='${id}'><body>${id}</body></message>`).join(''),
  );
const returned = (id: number | string, condition = 'remote-server-timeout') =>
  `<message type='error' id='${id}' from='juliet@${capulet}'>${refusal('wait', condition)}</message>`;

interface Trap {
  readonly romeo: Peer;
  /** The next connection, up to what follows dialback. */
  next(more?: string): Promise<Impostor>;
}

async function traps(servers: Servers): Promise<Trap> {
  const romeo = await servers.stage(montague).actor(`romeo@${montague}/orchard`, { presence: true });
  const trap = await lure(`from='${capulet}' to='${montague}'`);
  servers.leads(capulet, trap.port);
  return {
    romeo,
    async next(more = offer) {
      const server = await trap.next();
      await server.answers(unknown(capulet), 'some-id', more);
      await server.hearsElement('result');
      server.says(`<db:result from='${capulet}' to='${montague}' type='valid'/>`);
      return server;
    },
  };
}

/** The next connection, with a new session. */
async function enables(trap: Trap, id?: string): Promise<Impostor> {
  const server = await trap.next();
  const { attrs } = await server.hearsElement('enable');
  assert.deepEqual({ ...attrs }, { resume: 'true', max: '60' });
  server.says(enabled(id));
  return server;
}

async function hearsMessages(server: Impostor, ...ids: readonly (number | string)[]): Promise<void> {
  for (const id of ids) {
    let item = await server.hears();
    while (item.kind === 'element' && item.name === 'r') item = await server.hears();
    assert.ok(item.kind === 'element' && item.attrs.id === String(id), JSON.stringify(item));
  }
}

play(
  '§3, §4: it is enabled, stanzas wait for that, and their sender for the acknowledgement',
  sending(),
  async (servers) => {
    const trap = await traps(servers);
    const { romeo } = trap;
    await romeo.sends(enable());
    await romeo.receives(`<enabled xmlns='${NS.sm}'/>`);
    await says(romeo, 1);
    await romeo.sends(r);
    const server = await trap.next();
    await server.hearsElement('enable');
    server.says(enabled());
    await hearsMessages(server, 1);
    await server.hearsElement('r');
    // It was sent, and is not acknowledged yet.
    await romeo.sends(`<iq type='get' id='p' to='${montague}'><ping xmlns='${NS.ping}'/></iq>`);
    await romeo.receives(`<iq type='result' id='p'/>`);
    await romeo.receives(r);
    server.says(a(1));
    await romeo.receives(`<a xmlns='${NS.sm}' h='*'/>`);
  },
);

for (const [title, more, answer] of [
  ['a server without it', '', ''],
  [
    'a server that refuses it',
    offer,
    `<failed xmlns='${NS.sm}'><internal-server-error xmlns='${NS.stanzas}'/></failed>`,
  ],
] as const)
  play(`${title} gets stanzas uncounted`, sending(), async (servers) => {
    const trap = await traps(servers);
    await says(trap.romeo, 1);
    const server = await trap.next(more);
    if (answer !== '') {
      await server.hearsElement('enable');
      server.says(answer);
    }
    assert.equal((await server.hearsElement('message')).attrs.id, '1');
    await says(trap.romeo, 2);
    assert.equal((await server.hearsElement('message')).attrs.id, '2');
  });

play(
  '§5: a lost stream is resumed: unacknowledged stanzas are sent again, before all others',
  sending(),
  async (servers) => {
    const trap = await traps(servers);
    await says(trap.romeo, 1, 2, 3);
    const first = await enables(trap);
    await hearsMessages(first, 1, 2, 3);
    first.says(a(1));
    // Romeo's fourth message was not read when the connection broke.
    first.cut();
    await says(trap.romeo, 4);
    const second = await trap.next();
    assert.deepEqual({ ...(await second.hearsElement('resume')).attrs }, { previd: 'some-session', h: '0' });
    await says(trap.romeo, 5);
    second.says(`<resumed xmlns='${NS.sm}' previd='some-session' h='2'/>`);
    await hearsMessages(second, 3, 4, 5);
    second.says(a(5) + r);
    await hearsCount(second, 0);
    second.cut();
    // Nothing is left to resume.
    await says(trap.romeo, 6);
    await hearsMessages(await enables(trap, 'another'), 6);
    await trap.romeo.receivesNothing();
  },
);

play('§5: connections that break before the session is resumed lose nothing', sending(), async (servers) => {
  const trap = await traps(servers);
  await says(trap.romeo, 1);
  const first = await enables(trap);
  await hearsMessages(first, 1);
  first.cut();
  const second = await trap.next();
  await second.hearsElement('resume');
  second.cut();
  const third = await trap.next();
  await third.hearsElement('resume');
  third.says(`<resumed xmlns='${NS.sm}' previd='some-session' h='0'/>`);
  await hearsMessages(third, 1);
});

play('§5: a session that ended with a count: exactly the others are sent again', sending(), async (servers) => {
  const trap = await traps(servers);
  await says(trap.romeo, 1, 2, 3);
  const first = await enables(trap);
  await hearsMessages(first, 1, 2, 3);
  first.cut();
  await says(trap.romeo, 4);
  const second = await trap.next();
  await second.hearsElement('resume');
  second.says(`<failed xmlns='${NS.sm}' h='2'><item-not-found xmlns='${NS.stanzas}'/></failed>`);
  await second.hearsElement('enable');
  second.says(enabled('another'));
  await hearsMessages(second, 3, 4);
  await trap.romeo.receivesNothing();
});

for (const answer of [
  `<failed xmlns='${NS.sm}'><item-not-found xmlns='${NS.stanzas}'/></failed>`,
  `<failed xmlns='${NS.sm}' h='9'/>`,
  '',
])
  play(
    `§4: a session whose count is unknown: messages and requests are returned (${answer || 'not offered'})`,
    sending(),
    async (servers) => {
      const trap = await traps(servers);
      const { romeo } = trap;
      await romeo.sends(`<presence to='juliet@${capulet}' id='p'/>`);
      await says(romeo, 1);
      await romeo.sends(`<iq type='get' to='${capulet}' id='2'><ping xmlns='${NS.ping}'/></iq>`);
      const first = await enables(trap);
      await hearsMessages(first, 'p', 1, 2);
      first.cut();
      await says(romeo, 3);
      const second = await trap.next(answer === '' ? '' : offer);
      if (answer !== '') {
        await second.hearsElement('resume');
        second.says(answer);
        await second.hearsElement('enable');
        second.says(enabled('another'));
      }
      // Repeated presence changes nothing.
      await hearsMessages(second, 'p', 3);
      await romeo.receives(returned(1));
      await romeo.receives(
        `<iq type='error' id='2' from='${capulet}'>${refusal('wait', 'remote-server-timeout')}</iq>`,
      );
    },
  );

play('§7: also after the peer closed the stream, its count is asked for', sending(), async (servers) => {
  const trap = await traps(servers);
  await says(trap.romeo, 1, 2);
  const first = await enables(trap);
  await hearsMessages(first, 1, 2);
  first.says('</stream:stream>');
  const second = await trap.next();
  await second.hearsElement('resume');
  second.says(`<failed xmlns='${NS.sm}' h='1'/>`);
  await second.hearsElement('enable');
  second.says(enabled('another'));
  await hearsMessages(second, 2);
});

play(
  'a stream error that blames a stanza: unacknowledged ones are returned and not sent again',
  sending(),
  async (servers) => {
    const trap = await traps(servers);
    await says(trap.romeo, 1, 2);
    const first = await enables(trap);
    await hearsMessages(first, 1, 2);
    first.says(`${a(1)}<stream:error><policy-violation xmlns='${NS.streams}'/></stream:error></stream:stream>`);
    await trap.romeo.receives(returned(2));
    await says(trap.romeo, 3);
    await hearsMessages(await enables(trap, 'another'), 3);
  },
);

play('§6: a peer that acknowledges more than was sent is disconnected', sending(), async (servers) => {
  const trap = await traps(servers);
  await says(trap.romeo, 1);
  const first = await enables(trap);
  await hearsMessages(first, 1);
  await first.hearsElement('r');
  first.says(a(2));
  const { content } = await first.hearsElement('error');
  assert.match(content, new RegExp(`<handled-count-too-high xmlns="${NS.sm}" h="2" send-count="1"/>`));
  await trap.romeo.receives(returned(1));
});

play('§5: the same in an answer to a resumption', sending(), async (servers) => {
  const trap = await traps(servers);
  await says(trap.romeo, 1);
  const first = await enables(trap);
  await hearsMessages(first, 1);
  first.cut();
  const second = await trap.next();
  await second.hearsElement('resume');
  second.says(`<resumed xmlns='${NS.sm}' previd='some-session' h='2'/>`);
  assert.match((await second.hearsElement('error')).content, /handled-count-too-high/);
  await trap.romeo.receives(returned(1));
});

play(
  'only a window is sent ahead of acknowledgements',
  sending({ queue_bytes_per_domain: 65_536 }),
  async (servers) => {
    const trap = await traps(servers);
    const body = 'x'.repeat(5000);
    const ids = Array.from({ length: 10 }, (_, n) => n);
    for (const id of ids)
      await trap.romeo.sends(`<message to='juliet@${capulet}' type='chat' id='${id}'><body>${body}</body></message>`);
    await trap.romeo.syncs();
    const server = await enables(trap);
    // Half of the queue, and what exceeds it.
    const ahead = 7;
    await hearsMessages(server, ...ids.slice(0, ahead));
    await server.hearsElement('r');
    server.says(r);
    await hearsCount(server, 0);
    server.says(a(1));
    await hearsMessages(server, ahead);
    server.says(a(ahead + 1));
    await hearsMessages(server, ...ids.slice(ahead + 1));
  },
);

play(
  'a peer that acknowledges nothing: stanzas are returned after a time, and the pair pauses',
  sending({ acknowledgement_seconds: 1 }),
  async (servers) => {
    const trap = await traps(servers);
    await says(trap.romeo, 1);
    const server = await enables(trap);
    await hearsMessages(server, 1);
    await server.hearsElement('r');
    // Counts without progress do not help.
    server.says(a(0));
    await trap.romeo.receives(returned(1));
    await says(trap.romeo, 2);
    await trap.romeo.receives(returned(2));
  },
);

play('a peer that stays away: stanzas are returned after a time', sending({ resume_seconds: 1 }), async (servers) => {
  const trap = await traps(servers);
  await says(trap.romeo, 1);
  const server = await trap.next();
  await server.hearsElement('enable');
  server.says(enabled());
  await hearsMessages(server, 1);
  servers.leads(capulet, 1);
  server.cut();
  await says(trap.romeo, 2);
  await trap.romeo.receives(returned(1));
  await trap.romeo.receives(returned(2));
});

// --- both -------------------------------------------------------------------------------------------------------------

const total = 2000;
const fast = { stanzas_per_second: 'unlimited', bytes_per_second: 'unlimited' };
const roomy = {
  s2s: { bidirectional: false, queue_stanzas_per_domain: 10_000 },
  limits: { rate: fast, rate_account: fast, rate_server: fast },
};

play(
  '2,000 messages over connections that break many times: none is lost or doubled',
  { [montague]: roomy, [capulet]: roomy },
  async (servers) => {
    const romeo = await servers.stage(montague).actor(`romeo@${montague}/orchard`, { presence: true });
    const juliet = await servers.stage(capulet).actor(`juliet@${capulet}/balcony`, { presence: true });
    const relay = await Relay.open(servers.stage(capulet).port('s2s'));
    servers.leads(capulet, relay.port);
    // Romeo is no unknown sender to Juliet.
    await juliet.sends(`<message to='romeo@${montague}' type='chat' id='first'><body>first</body></message>`);
    await romeo.receives(`<message type='chat' id='first'/>`);
    let next = 0;
    for (let n = 0; n < total; n++) {
      // At most 120 are on their way.
      for (; next < total && next < n + 100; next += 20)
        await says(romeo, ...Array.from({ length: 20 }, (_, at) => next + at));
      const { attrs } = await juliet.receivesAny();
      assert.equal(attrs.id, String(n));
      if (n % 80 === 11) relay.cut();
    }
    await juliet.receivesNothing();
    await romeo.receivesNothing();
    assert.ok(relay.made > 10, `${relay.made} connections`);
  },
);
