/** XEP-0288: one connection carries the stanzas of both directions, only between domains that are proved on it. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { DialbackKeys } from '../../src/server/stream/s2s/dialback.js';
import { makeSelfSigned, type Pem } from '../../src/server/tls/self-signed.js';
import type { TopLevel } from '../../src/server/xml/reader.js';
import type { Peer } from './dialogue.js';
import { Impostor, lure, play, Relay, type Servers } from './servers.js';

const [montague, capulet] = ['montague.example', 'capulet.example'];
const secret = 's3cr3tf0rd14lb4ck';
const keys = new DialbackKeys(secret);
const lenient = { require_valid_certificate: false };

const bidi = `<bidi xmlns='${NS.bidi}'/>`;
const offer = `<bidi xmlns='${NS.bidiFeature}'/>`;
const offered = new RegExp(`<bidi xmlns="${NS.bidiFeature}"/>`);
const r = `<r xmlns='${NS.sm}'/>`;
const a = (h: number) => `<a xmlns='${NS.sm}' h='${h}'/>`;

const message = (from: string, to: string, id: number | string) =>
  `<message from='${from}' to='${to}' type='chat' id='${id}'><body>${id}</body></message>`;
const chat = (to: string, id: number | string) =>
  `<message to='${to}' type='chat' id='${id}'><body>${id}</body></message>`;
const got = (id: number | string) => `<message type='chat' id='${id}'><body>${id}</body></message>`;

// --- who receives the stream ------------------------------------------------------------------------------------------

/** A certificate that Capulet trusts, as a client's as well. */
const trusted: Pem = makeSelfSigned([montague, `conference.${montague}`]);
/** Capulet receives. DNS leads Montague's stanzas to a trap, which counts the connections. */
const receiving = (s2s: Readonly<Record<string, unknown>> = {}) => ({
  [capulet]: { s2s, trusts: [trusted] },
});

async function stageOf(servers: Servers) {
  const trap = await lure(`from='${montague}' to='${capulet}'`);
  servers.leads(montague, trap.port);
  const juliet = await servers.stage(capulet).actor(`juliet@${capulet}/balcony`, { presence: true });
  return { trap, juliet };
}

/** The next message, after any requests for acknowledgements. */
async function hearsMessage(peer: Impostor): Promise<TopLevel> {
  let item = await peer.hears();
  while (item.kind === 'element' && item.name === 'r') item = await peer.hears();
  assert.ok(item.kind === 'element' && item.name === 'message', JSON.stringify(item));
  return item;
}

const connects = (servers: Servers, from = montague) =>
  Impostor.connect(servers.stage(capulet).port('s2s'), `from='${from}' to='${capulet}'`);

/** Authenticates by SASL EXTERNAL, with what is said before it. */
async function authenticates(friend: Impostor, before = bidi): Promise<void> {
  await friend.opensWithTls(trusted);
  const identity = Buffer.from(montague).toString('base64');
  friend.says(`${before}<auth xmlns='${NS.sasl}' mechanism='EXTERNAL'>${identity}</auth>`);
  await friend.hearsElement('success');
  assert.doesNotMatch((await friend.opens()).features.content, offered);
}

play('§2.2: it is offered after TLS, and not before TLS or after authentication', receiving(), async (servers) => {
  const plain = connects(servers);
  assert.doesNotMatch((await plain.opens()).features.content, offered);
  const friend = connects(servers);
  assert.match((await friend.opensWithTls(trusted)).features.content, offered);
  await authenticates(connects(servers));
});

play('it is offered only to a server whose certificate proves its domain', receiving(), async (servers) => {
  // Who reads what we send must be that server. Dialback would prove only who sends.
  for (const pem of [undefined, makeSelfSigned([montague])]) {
    const enemy = connects(servers);
    assert.doesNotMatch((await enemy.opensWithTls(pem)).features.content, offered);
    enemy.says(bidi);
    await enemy.hearsError('not-authorized');
  }
});

play('where it is switched off, it is not offered', receiving({ bidirectional: false }), async (servers) => {
  const friend = connects(servers);
  assert.doesNotMatch((await friend.opens()).features.content, offered);
  const other = connects(servers);
  assert.doesNotMatch((await other.opensWithTls(trusted)).features.content, offered);
});

play('§2.2: stanzas of the inverse pair go over it, and those of others do not', receiving(), async (servers) => {
  const { trap, juliet } = await stageOf(servers);
  const friend = connects(servers);
  await authenticates(friend);
  friend.says(message(`romeo@${montague}/orchard`, `juliet@${capulet}`, 1));
  await juliet.receives(got(1));
  await juliet.sends(chat(`romeo@${montague}`, 2));
  const { attrs } = await friend.hearsElement('message');
  assert.deepEqual([attrs.from, attrs.to, attrs.id], [`juliet@${capulet}/balcony`, `romeo@${montague}`, '2']);
  // A domain that the peer has not proved on this stream, though its certificate is valid for it.
  await juliet.sends(chat(`room@conference.${montague}`, 3));
  const server = await trap.next();
  assert.equal((await server.hears()).kind, 'open');
  friend.says(message(`romeo@${montague}/orchard`, `juliet@${capulet}`, 4));
  await juliet.receives(got(4));
});

play('the answer to the first stanza goes over it', receiving(), async (servers) => {
  const { trap } = await stageOf(servers);
  const friend = connects(servers);
  await authenticates(friend);
  friend.says(`<iq from='${montague}' to='${capulet}' type='get' id='first'><ping xmlns='${NS.ping}'/></iq>`);
  const { attrs } = await friend.hearsElement('iq');
  assert.deepEqual([attrs.type, attrs.id], ['result', 'first']);
  assert.equal(trap.made(), 0);
});

play('§2.2: nothing is sent before authentication', receiving(), async (servers) => {
  const { trap, juliet } = await stageOf(servers);
  const friend = connects(servers);
  await friend.opensWithTls(trusted);
  friend.says(bidi);
  await juliet.sends(chat(`romeo@${montague}`, 1));
  // A connection of its own.
  assert.equal((await (await trap.next()).hears()).kind, 'open');
});

play('a stream without it stays unidirectional', receiving(), async (servers) => {
  const { trap, juliet } = await stageOf(servers);
  const friend = connects(servers);
  await authenticates(friend, '');
  friend.says(message(`romeo@${montague}/orchard`, `juliet@${capulet}`, 1));
  await juliet.receives(got(1));
  // Too late.
  friend.says(bidi);
  await friend.hearsError('unsupported-stanza-type');
  await juliet.sends(chat(`romeo@${montague}`, 2));
  assert.equal((await (await trap.next()).hears()).kind, 'open');
});

play(
  '§2.2: after dialback, the inverse of each proved pair',
  { [capulet]: { s2s: lenient }, [montague]: { s2s: { dialback_secret: secret } } },
  async (servers) => {
    const juliet = await servers.stage(capulet).actor(`juliet@${capulet}/balcony`, { presence: true });
    const friend = connects(servers);
    const { id, features } = await friend.opensWithTls();
    assert.match(features.content, offered);
    friend.says(bidi);
    for (const from of [montague, `conference.${montague}`]) {
      const key = keys.make({ receiving: capulet, originating: from, streamId: id });
      friend.says(`<db:result from='${from}' to='${capulet}'>${key}</db:result>`);
      assert.equal((await friend.hearsElement('result')).attrs.type, 'valid');
      friend.says(message(`a@${from}/b`, `juliet@${capulet}`, from));
      await juliet.receives(got(from));
      await juliet.sends(chat(`a@${from}/b`, `to ${from}`));
      assert.equal((await friend.hearsElement('message')).attrs.id, `to ${from}`);
    }
    // XEP-0220 §3.1: answers that nobody asked for prove nothing.
    friend.says(`<db:result from='padua.example' to='${capulet}' type='valid'/>`);
    friend.says(message('a@padua.example', `juliet@${capulet}`, 'false'));
    await friend.hearsError('invalid-from');
  },
);

play('XEP-0198: one session counts both directions, and is resumed', receiving(), async (servers) => {
  const { juliet } = await stageOf(servers);
  const first = connects(servers);
  await authenticates(first);
  first.says(`<enable xmlns='${NS.sm}' resume='true'/>`);
  const { id } = (await first.hearsElement('enabled')).attrs;
  first.says(message(`romeo@${montague}/orchard`, `juliet@${capulet}`, 1));
  await juliet.receives(got(1));
  for (const n of [2, 3]) await juliet.sends(chat(`romeo@${montague}`, n));
  assert.equal((await hearsMessage(first)).attrs.id, '2');
  first.says(a(1));
  first.cut();
  // Juliet's stanzas wait: they must not overtake what may have to be sent again.
  await juliet.sends(chat(`romeo@${montague}`, 4));
  const second = connects(servers);
  await authenticates(second);
  second.says(`<resume xmlns='${NS.sm}' previd='${id}' h='1'/>`);
  assert.equal((await second.hearsElement('resumed')).attrs.h, '1');
  assert.equal((await hearsMessage(second)).attrs.id, '3');
  assert.equal((await hearsMessage(second)).attrs.id, '4');
  // Message 3 was counted in the former connection.
  second.says(`${a(3)}<db:result from='${capulet}' to='${capulet}'>x</db:result>`);
  let item = await second.hears();
  while (item.kind === 'element' && item.name === 'r') item = await second.hears();
  assert.ok(item.kind === 'element' && item.name === 'result', JSON.stringify(item));
  second.says(r);
  assert.equal((await second.hearsElement('a')).attrs.h, '1');
});

play('XEP-0198 §5: it is not resumed over a stream that is unidirectional', receiving(), async (servers) => {
  const { trap, juliet } = await stageOf(servers);
  const first = connects(servers);
  await authenticates(first);
  first.says(`<enable xmlns='${NS.sm}' resume='true'/>`);
  const { id } = (await first.hearsElement('enabled')).attrs;
  await juliet.sends(chat(`romeo@${montague}`, 1));
  await first.hearsElement('message');
  first.cut();
  const second = connects(servers);
  await authenticates(second, '');
  second.says(`<resume xmlns='${NS.sm}' previd='${id}' h='0'/>`);
  assert.equal((await second.hearsElement('failed')).attrs.h, '0');
  // Nobody knows whether the message arrived. Later ones use a stream of their own.
  await juliet.receives(`<message type='error' id='1'/>`);
  await juliet.sends(chat(`romeo@${montague}`, 2));
  assert.equal((await (await trap.next()).hears()).kind, 'open');
});

play(
  'XEP-0198 §5: a session that another stream resumes takes ours along only if it may',
  receiving(),
  async (servers) => {
    const { trap, juliet } = await stageOf(servers);
    const first = connects(servers);
    await authenticates(first);
    first.says(`<enable xmlns='${NS.sm}' resume='true'/>`);
    const { id } = (await first.hearsElement('enabled')).attrs;
    await juliet.sends(chat(`romeo@${montague}`, 1));
    await first.hearsElement('message');
    await first.hearsElement('r');
    first.says(a(1) + r);
    assert.equal((await first.hearsElement('a')).attrs.h, '0');
    // Everything is acknowledged. The new stream is unidirectional, and the old one is still there.
    const second = connects(servers);
    await authenticates(second, '');
    second.says(`<resume xmlns='${NS.sm}' previd='${id}' h='1'/>`);
    assert.equal((await second.hearsElement('resumed')).attrs.h, '0');
    await juliet.sends(chat(`romeo@${montague}`, 2));
    assert.equal((await (await trap.next()).hears()).kind, 'open');
    second.says(r);
    assert.equal((await second.hearsElement('a')).attrs.h, '0');
  },
);

play('what waits when the peer closes the stream is sent over another', receiving(), async (servers) => {
  const { trap, juliet } = await stageOf(servers);
  const friend = connects(servers);
  await authenticates(friend);
  friend.says(message(`romeo@${montague}/orchard`, `juliet@${capulet}`, 1));
  await juliet.receives(got(1));
  friend.says('</stream:stream>');
  assert.equal((await friend.hears()).kind, 'close');
  await juliet.sends(chat(`romeo@${montague}`, 2));
  assert.equal((await (await trap.next()).hears()).kind, 'open');
});

// --- who opens the stream ---------------------------------------------------------------------------------------------

const sending = (s2s: Readonly<Record<string, unknown>> = {}) => ({
  [montague]: { s2s: { ...lenient, dialback_secret: secret, ...s2s } },
});

/** A certificate of Capulet that Montague trusts. */
const trustedCapulet: Pem = makeSelfSigned([capulet, `conference.${capulet}`]);

/** Montague has opened a stream to Capulet and sent a message over it. */
async function opened(servers: Servers, certificate = makeSelfSigned([capulet]), more = offer) {
  const romeo = await servers.stage(montague).actor(`romeo@${montague}/orchard`, { presence: true });
  const trap = await lure(`from='${capulet}' to='${montague}'`);
  servers.leads(capulet, trap.port);
  await romeo.sends(chat(`juliet@${capulet}`, 1));
  const server = await trap.next();
  await server.answers(certificate, 'some-id', more);
  return { romeo, trap, server };
}

async function proves(server: Impostor): Promise<void> {
  await server.hearsElement('bidi');
  await server.hearsElement('result');
  server.says(`<db:result from='${capulet}' to='${montague}' type='valid'/>`);
  assert.equal((await server.hearsElement('message')).attrs.id, '1');
}

play(
  '§2.2: it is enabled before authentication, and stanzas of the inverse pair are taken',
  sending(),
  async (servers) => {
    const { romeo, server } = await opened(servers);
    await proves(server);
    server.says(message(`juliet@${capulet}/balcony`, `romeo@${montague}`, 2));
    await romeo.receives(got(2));
    server.says(`<iq from='${capulet}' to='${montague}' type='get' id='p'><ping xmlns='${NS.ping}'/></iq>`);
    const { attrs } = await server.hearsElement('iq');
    assert.deepEqual([attrs.type, attrs.id], ['result', 'p']);
  },
);

for (const [what, xml, condition] of [
  ['another remote domain', message('a@padua.example', `romeo@${montague}`, 2), 'invalid-from'],
  ['a local domain', message(`a@${montague}`, `romeo@${montague}`, 2), 'invalid-from'],
  ['another local domain', message(`juliet@${capulet}`, `room@conference.${montague}`, 2), 'not-authorized'],
  ['no sender', `<message to='romeo@${montague}' type='chat'/>`, 'improper-addressing'],
] as const)
  play(`stanzas with ${what} end the stream`, sending(), async (servers) => {
    const { romeo, server } = await opened(servers);
    await proves(server);
    server.says(xml);
    await server.hearsError(condition);
    await romeo.receivesNothing();
  });

play('§2.2: nothing is taken before authentication, or without it', sending(), async (servers) => {
  const { romeo, trap, server } = await opened(servers);
  server.says(message(`juliet@${capulet}/balcony`, `romeo@${montague}`, 'early'));
  await proves(server);
  server.says(message(`juliet@${capulet}/balcony`, `romeo@${montague}`, 2));
  await romeo.receives(got(2));
  server.cut();
  await romeo.sends(chat(`juliet@${capulet}`, 3));
  const other = await trap.next();
  await other.answers(makeSelfSigned([capulet]), 'another-id');
  await other.hearsElement('result');
  other.says(`<db:result from='${capulet}' to='${montague}' type='valid'/>`);
  await other.hearsElement('message');
  other.says(message(`juliet@${capulet}/balcony`, `romeo@${montague}`, 'not offered'));
  other.says(message('a@padua.example', `romeo@${montague}`, 'not offered'));
  await romeo.sends(chat(`juliet@${capulet}`, 4));
  await other.hearsElement('message');
  await romeo.receivesNothing();
});

play(
  '§2.2: the peer may ask for further domains, if its certificate proves them',
  { [montague]: { s2s: { dialback_secret: secret }, trusts: [trustedCapulet] } },
  async (servers) => {
    const { romeo, server } = await opened(servers, trustedCapulet);
    await proves(server);
    const asks = async (from: string, to: string) => {
      server.says(`<db:result from='${from}' to='${to}'>key</db:result>`);
      const { attrs } = await server.hearsElement('result');
      assert.deepEqual([attrs.from, attrs.to], [to, from]);
      return attrs.type;
    };
    assert.equal(await asks(`conference.${capulet}`, montague), 'valid');
    server.says(message(`room@conference.${capulet}/a`, `romeo@${montague}`, 2));
    await romeo.receives(got(2));
    assert.equal(await asks('padua.example', montague), 'error');
    assert.equal(await asks(capulet, 'padua.example'), 'error');
    assert.equal(await asks(montague, montague), 'error');
    // XEP-0220 §3.1: what nobody asked for.
    server.says(`<db:result from='padua.example' to='${montague}' type='valid'/>`);
    server.says(`<db:verify from='padua.example' to='${montague}' id='some-id' type='valid'/>`);
    server.says(message('a@padua.example', `romeo@${montague}`, 'false'));
    await server.hearsError('invalid-from');
  },
);

play(
  'a further domain that a reload denies sends nothing more',
  { [montague]: { s2s: { dialback_secret: secret }, trusts: [trustedCapulet] } },
  async (servers) => {
    const { romeo, trap, server } = await opened(servers, trustedCapulet);
    await proves(server);
    const further = `conference.${capulet}`;
    const asks = async (peer: Impostor) => {
      peer.says(`<db:result from='${further}' to='${montague}'>key</db:result>`);
      return (await peer.hearsElement('result')).attrs.type;
    };
    assert.equal(await asks(server), 'valid');
    await servers.changes(montague, { s2s: { domains: { [further]: { policy: 'deny' } } } });
    assert.equal((await server.hears()).kind, 'close');
    // The pair of the stream is still allowed.
    await romeo.sends(chat(`juliet@${capulet}`, 2));
    const other = await trap.next();
    await other.answers(trustedCapulet, 'other-id', offer);
    await other.hearsElement('bidi');
    await other.hearsElement('result');
    other.says(`<db:result from='${capulet}' to='${montague}' type='valid'/>`);
    assert.equal((await other.hearsElement('message')).attrs.id, '2');
    assert.equal(await asks(other), 'error');
  },
);

play('XEP-0198 §5: a stream that is lost is resumed for the sake of the peer', sending(), async (servers) => {
  const sm = `<sm xmlns='${NS.sm}'/>`;
  const { romeo, trap, server } = await opened(servers, undefined, offer + sm);
  await server.hearsElement('bidi');
  await server.hearsElement('result');
  server.says(`<db:result from='${capulet}' to='${montague}' type='valid'/>`);
  await server.hearsElement('enable');
  // Before it is enabled, stanzas are not counted.
  server.says(message(`juliet@${capulet}/balcony`, `romeo@${montague}`, 'before'));
  server.says(`<enabled xmlns='${NS.sm}' id='some-session' resume='true'/>`);
  assert.equal((await server.hearsElement('message')).attrs.id, '1');
  await server.hearsElement('r');
  server.says(a(1) + message(`juliet@${capulet}/balcony`, `romeo@${montague}`, 2) + r);
  assert.equal((await server.hearsElement('a')).attrs.h, '1');
  await romeo.receives(got('before'));
  await romeo.receives(got(2));
  server.cut();
  const next = await trap.next();
  await next.answers(makeSelfSigned([capulet]), 'another-id', offer + sm);
  await next.hearsElement('bidi');
  await next.hearsElement('result');
  next.says(`<db:result from='${capulet}' to='${montague}' type='valid'/>`);
  assert.deepEqual({ ...(await next.hearsElement('resume')).attrs }, { previd: 'some-session', h: '1' });
  next.says(`<resumed xmlns='${NS.sm}' previd='some-session' h='1'/>`);
  next.says(message(`juliet@${capulet}/balcony`, `romeo@${montague}`, 3) + r);
  assert.equal((await next.hearsElement('a')).attrs.h, '2');
  await romeo.receives(got(3));
});

// --- both -------------------------------------------------------------------------------------------------------------

const fast = { stanzas_per_second: 'unlimited', bytes_per_second: 'unlimited' };
const roomy = {
  s2s: { queue_stanzas_per_domain: 10_000 },
  limits: { rate: fast, rate_account: fast, rate_server: fast },
};

const actors = async (servers: Servers) => ({
  romeo: await servers.stage(montague).actor(`romeo@${montague}/orchard`, { presence: true }),
  juliet: await servers.stage(capulet).actor(`juliet@${capulet}/balcony`, { presence: true }),
});

async function streamsOf(servers: Servers, domain: string): Promise<string[]> {
  const { text } = await servers.stage(domain).server.metrics.text();
  return [...text.matchAll(/^waxwing_server_streams\{direction="(\w+)"\} (\d+)$/gm)].map(([, way, n]) => `${way} ${n}`);
}

play('two servers use one connection', { [montague]: {}, [capulet]: {} }, async (servers) => {
  const { romeo, juliet } = await actors(servers);
  for (let n = 0; n < 20; n++) {
    await romeo.sends(chat(`juliet@${capulet}`, n));
    await juliet.receives(got(n));
    await juliet.sends(chat(`romeo@${montague}`, n));
    await romeo.receives(got(n));
  }
  assert.deepEqual(await streamsOf(servers, montague), ['incoming 0', 'outgoing 1']);
  assert.deepEqual(await streamsOf(servers, capulet), ['incoming 1', 'outgoing 0']);
});

const total = 2000;

play(
  '2,000 messages in each direction over a connection that breaks many times: none is lost or doubled',
  { [montague]: roomy, [capulet]: roomy },
  async (servers) => {
    const { romeo, juliet } = await actors(servers);
    const relay = await Relay.open(servers.stage(capulet).port('s2s'));
    servers.leads(capulet, relay.port);
    await romeo.sends(chat(`juliet@${capulet}`, 'first'));
    await juliet.receives(got('first'));
    await juliet.sends(chat(`romeo@${montague}`, 'first'));
    await romeo.receives(got('first'));
    const talks = async (from: Peer, to: Peer, address: string, cutAt: number) => {
      let next = 0;
      for (let n = 0; n < total; n++) {
        // At most 120 are on their way.
        for (; next < total && next < n + 100; next += 20)
          await from.sends(Array.from({ length: 20 }, (_, at) => chat(address, next + at)).join(''));
        const { attrs } = await to.receivesAny();
        assert.equal(attrs.id, String(n));
        if (n % 160 === cutAt) relay.cut();
      }
    };
    await Promise.all([talks(romeo, juliet, `juliet@${capulet}`, 11), talks(juliet, romeo, `romeo@${montague}`, 91)]);
    await juliet.receivesNothing();
    await romeo.receivesNothing();
    assert.ok(relay.made > 10, `${relay.made} connections`);
  },
);
