/**
 * What no honest server sends: forged addresses and keys, certificates that prove nothing, floods, silence. Each ends in
 * the error of the RFC, is logged once and counted, and other servers notice nothing.
 */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { DialbackKeys } from '../../src/server/stream/s2s/dialback.js';
import { makeSelfSigned, type Pem } from '../../src/server/tls/self-signed.js';
import { CertificateAuthority } from '../certificate-authority.js';
import { withoutTime } from '../unit/clocks.js';
import type { Peer } from './dialogue.js';
import { refusal } from './phrases.js';
import { Impostor, lure, play, type ServerOptions, type Servers } from './servers.js';

const [montague, capulet] = ['montague.example', 'capulet.example'];
const authority = new CertificateAuthority('the authority that all trust');
const trusted = authority.issues([montague, `conference.${montague}`]);

const header = (from: string, to = capulet) => `from='${from}' to='${to}'`;
const message = (from: string, body: string, to = `juliet@${capulet}`) =>
  `<message from='${from}' to='${to}' type='chat'><body>${body}</body></message>`;
const condition = (content: string) => /<error [^>]*type="cancel"[^>]*><([a-z-]+)/.exec(content)?.[1];
const metricsOf = async (servers: Servers) => (await servers.stage(capulet).server.metrics.text()).text;
const incoming = async (servers: Servers) =>
  Number(/^waxwing_server_streams\{direction="incoming"\} (\d+)$/m.exec(await metricsOf(servers))![1]);
/** Waits until this many streams of other servers are left. */
async function untilLeft(servers: Servers, count: number): Promise<void> {
  while ((await incoming(servers)) !== count) await new Promise((resolve) => setImmediate(resolve));
}

const connects = (servers: Servers, from = montague, address?: string) =>
  Impostor.connect(servers.stage(capulet).port('s2s'), header(from), address);

const julietOf = (servers: Servers) =>
  servers.stage(capulet).actor('juliet@capulet.example/balcony', { presence: true });

async function authenticates(peer: Impostor, pem: Pem = trusted): Promise<Impostor> {
  await peer.opensWithTls(pem);
  peer.says(`<auth xmlns='${NS.sasl}' mechanism='EXTERNAL'>=</auth>`);
  await peer.hearsElement('success');
  await peer.opens();
  return peer;
}

async function logsInAnonymously(
  peer: Impostor,
  juliet: Peer,
  body: string,
  from = 'romeo@montague.example',
): Promise<void> {
  peer.says(message(from, body));
  await juliet.receives(message(from, body));
}

const scene = (title: string, options: ServerOptions, dialogue: (servers: Servers) => Promise<void>) =>
  play(title, { [capulet]: { trusts: [authority.pem], ...options } }, dialogue);

const secret = 's3cr3tf0rd14lb4ck';
const keys = new DialbackKeys(secret);
const keyFor = (streamId: string, originating = montague, receiving = capulet) =>
  keys.make({ receiving, originating, streamId });
const result = (key: string, from = montague) => `<db:result from='${from}' to='${capulet}'>${key}</db:result>`;
/** Montague has a secret that the test knows, and a certificate that proves its domain. */
const withMontague = { [capulet]: { trusts: [authority.pem] }, [montague]: { s2s: { dialback_secret: secret } } };

// --- addresses ------------------------------------------------------------------------------------------------------

scene('RFC 7622 §3.2: other spellings of a proved domain are that domain, lookalikes are not', {}, async (servers) => {
  const juliet = await julietOf(servers);
  const peer = await authenticates(connects(servers));
  for (const spelling of ['MONTAGUE.example', 'montague.example.', 'ｍontague.example', 'montague。example']) {
    peer.says(message(`romeo@${spelling}`, spelling));
    await juliet.receives(message('romeo@montague.example', spelling));
  }
  peer.says(message(`romeo@montague.example/juliet@${capulet}`, 'a resource'));
  await juliet.receives(message(`romeo@montague.example/juliet@${capulet}`, 'a resource'));
  for (const forged of [
    'romeo@mоntague.example', // a Cyrillic o
    'romeo@montague.example.example',
    'romeo@capulet.example/montague.example',
    'capulet.example/romeo@montague.example',
    'xn--mntague-8nf.example',
  ]) {
    const enemy = await authenticates(connects(servers));
    enemy.says(message(forged, 'false'));
    await enemy.hearsError('invalid-from');
  }
  await juliet.receivesNothing();
});

scene('names that are no domains, in a key and a question about one', {}, async (servers) => {
  for (const name of [
    'romeo@montague.example',
    'montague.example/x',
    'a..b',
    '-',
    '*',
    '',
    'x'.repeat(64),
    '[::1',
    '..',
  ])
    for (const xml of [
      `<db:result from='${name}' to='${capulet}'>0</db:result>`,
      `<db:result from='${montague}' to='${name}'>0</db:result>`,
      `<db:verify from='${name}' to='${capulet}' id='1'>0</db:verify>`,
    ]) {
      const enemy = connects(servers);
      await enemy.opensWithTls();
      enemy.says(xml);
      await enemy.hearsError('improper-addressing');
    }
  assert.deepEqual(servers.dns.asked, []);
});

// --- keys -----------------------------------------------------------------------------------------------------------

play('XEP-0220 §2.2.1: the key of another stream, of the same peer or somebody else', withMontague, async (servers) => {
  const [one, other] = [connects(servers), connects(servers)];
  const { id } = await one.opensWithTls();
  await other.opensWithTls();
  other.says(result(keyFor(id)));
  assert.equal((await other.hearsElement('result')).attrs.type, 'invalid');
  assert.equal((await other.hears()).kind, 'close');
  // The key is good for its own stream all the same, and once it is known it changes nothing to send it again.
  for (let n = 0; n < 3; n++) {
    one.says(result(keyFor(id)));
    assert.equal((await one.hearsElement('result')).attrs.type, 'valid');
  }
  const late = connects(servers);
  await late.opensWithTls();
  late.says(result(keyFor(id)));
  assert.equal((await late.hearsElement('result')).attrs.type, 'invalid');
  const text = await metricsOf(servers);
  assert.match(text, /^waxwing_server_refusals_total\{direction="incoming",condition="forbidden"\} 2$/m);
});

scene('keys of every length and alphabet are only invalid', { s2s: { dialback_secret: secret } }, async (servers) => {
  const asker = connects(servers);
  await asker.opensWithTls();
  const right = keyFor('1', capulet, montague);
  for (const key of [
    '',
    ' ',
    right.slice(1),
    `${right}0`,
    right.toUpperCase(),
    'é'.repeat(32),
    '\u{1F600}'.repeat(16),
    '0'.repeat(8000),
    `${right.slice(0, 32)}<x/>${right.slice(32, 63)}`,
  ]) {
    asker.says(`<db:verify from='${montague}' to='${capulet}' id='1'>${key}</db:verify>`);
    assert.equal((await asker.hearsElement('verify')).attrs.type, 'invalid', key);
  }
  asker.says(`<db:verify from='${montague}' to='${capulet}' id='1'>${right}</db:verify>`);
  assert.equal((await asker.hearsElement('verify')).attrs.type, 'valid');
});

scene(
  'XEP-0220 §3.1: who is asked about a key can answer that alone, and sends nothing over that stream',
  { s2s: { require_valid_certificate: false } },
  async (servers) => {
    const juliet = await julietOf(servers);
    const trap = await lure(header(montague));
    servers.leads(montague, trap.port);
    const enemy = connects(servers);
    const { id } = await enemy.opensWithTls();
    enemy.says(result('0'));
    const asked = await trap.next();
    await asked.answers(trusted, 'some-id');
    const question = await asked.hearsElement('verify');
    assert.equal(question.attrs.id, id);
    for (const [from, to, about] of [
      [montague, capulet, 'another-id'],
      ['mantua.example', capulet, id],
      [montague, `conference.${capulet}`, id],
      [capulet, montague, id],
    ])
      asked.says(`<db:verify from='${from}' to='${to}' id='${about}' type='valid'/>`);
    asked.says(`<db:result from='${montague}' to='${capulet}' type='valid'/>`);
    asked.says(message(`romeo@${montague}`, 'over a stream of theirs'));
    asked.says(`<iq type='set' id='1' from='${montague}' to='${capulet}'><ping xmlns='${NS.ping}'/></iq>`);
    asked.says('</stream:stream>');
    assert.equal(condition((await enemy.hearsElement('result')).content), 'remote-server-timeout');
    enemy.says(message(`romeo@${montague}`, 'not proved'));
    await enemy.hearsError('not-authorized');
    await juliet.receivesNothing();
  },
);

play('two servers that claim one domain: each has to prove it', withMontague, async (servers) => {
  const juliet = await julietOf(servers);
  const [honest, enemy] = [connects(servers), connects(servers, montague, '127.0.1.9')];
  const { id } = await honest.opensWithTls();
  honest.says(result(keyFor(id)));
  assert.equal((await honest.hearsElement('result')).attrs.type, 'valid');
  await enemy.opensWithTls(makeSelfSigned([montague]));
  enemy.says(message(`romeo@${montague}`, 'false'));
  await enemy.hearsError('not-authorized');
  await logsInAnonymously(honest, juliet, 'true');
  // Two nodes of one cluster are two servers that can prove it.
  const node = connects(servers, montague, '127.0.1.10');
  const second = await node.opensWithTls();
  node.says(result(keyFor(second.id)));
  assert.equal((await node.hearsElement('result')).attrs.type, 'valid');
  await logsInAnonymously(node, juliet, 'also true');
  await logsInAnonymously(honest, juliet, 'still true');
});

// --- certificates ---------------------------------------------------------------------------------------------------

const day = 86_400_000;
const outsider = new CertificateAuthority('an authority that nobody trusts');
const certificates: Readonly<Record<string, (domain: string) => Pem>> = {
  valid: (domain) => authority.issues([domain]),
  expired: (domain) => authority.issues([domain], Date.now() - 100 * day),
  future: (domain) => authority.issues([domain], Date.now() + day),
  'other-name': () => authority.issues([montague]),
  'self-signed': (domain) => makeSelfSigned([domain]),
  'unknown-authority': (domain) => outsider.issues([domain]),
};

const policies = { 'strict.example': {}, 'lenient.example': { require_valid_certificate: false } };
scene(
  'RFC 6120 §13.7.2: every fault of a certificate, with every policy, as peer, as authority, and as recipient',
  { s2s: { domains: policies } },
  async (servers) => {
    const juliet = await julietOf(servers);
    for (const [kind, make] of Object.entries(certificates))
      for (const policy of Object.keys(policies)) {
        const domain = `${kind}.${policy}`;
        const pem = make(domain);
        const isValid = kind === 'valid';
        const isEnough = isValid || policy === 'lenient.example';
        const trap = await lure(header(domain));
        servers.leads(domain, trap.port);

        // XEP-0178: the policy changes nothing about EXTERNAL.
        const peer = connects(servers, domain);
        const { features } = await peer.opensWithTls(pem);
        assert.equal(features.content.includes('EXTERNAL'), isValid, domain);
        peer.says(`<auth xmlns='${NS.sasl}' mechanism='EXTERNAL'>=</auth>`);
        await peer.hearsElement(isValid ? 'success' : 'failure');

        // XEP-0220: the certificate of the server that is asked counts.
        const sender = connects(servers, domain);
        const { id } = await sender.opensWithTls();
        sender.says(result('key', domain));
        const asked = await trap.next();
        await asked.answers(pem, 'some-id');
        if (isEnough) {
          await asked.hearsElement('verify');
          asked.says(`<db:verify from='${domain}' to='${capulet}' id='${id}' type='valid'/>`);
        } else assert.equal((await asked.hears()).kind, 'close', domain);
        const { attrs, content } = await sender.hearsElement('result');
        assert.deepEqual(
          [attrs.type, condition(content)],
          isEnough ? ['valid', undefined] : ['error', 'remote-server-timeout'],
          domain,
        );

        // The peer cannot send stanzas to other domains either.
        await juliet.sends(`<message to='romeo@${domain}' type='chat' id='${domain}'><body>secret</body></message>`);
        const called = await trap.next();
        await called.answers(pem, 'some-id');
        if (isEnough) {
          await called.hearsElement('result');
          called.says(`<db:result from='${domain}' to='${capulet}' type='valid'/>`);
          assert.match((await called.hearsElement('message')).content, /secret/);
        } else {
          assert.equal((await called.hears()).kind, 'close', domain);
          await juliet.receives(
            `<message type='error' id='${domain}'>${refusal('wait', 'remote-server-timeout')}</message>`,
          );
        }
      }
  },
);

// --- silence --------------------------------------------------------------------------------------------------------

scene(
  'half-open streams end at the deadline, whatever they wait for',
  // Long enough for a slow machine to open all streams.
  { limits: { login_deadline_seconds: 4, close_timeout_seconds: 1 } },
  async (servers) => {
    const trap = await lure('');
    servers.leads('silent.example', trap.port);
    const silent = connects(servers);
    const opened = connects(servers);
    await opened.opens();
    const inTls = connects(servers);
    await inTls.opens();
    inTls.says(`<starttls xmlns='${NS.tls}'/>`);
    await inTls.hearsElement('proceed');
    const secured = connects(servers);
    await secured.opensWithTls();
    const dialing = connects(servers, 'silent.example');
    await dialing.opensWithTls();
    dialing.says(result('0', 'silent.example'));
    const cut = connects(servers);
    await cut.opensWithTls();
    cut.ends();
    for (const peer of [opened, secured]) await peer.hearsError('connection-timeout');
    assert.equal((await silent.hears()).kind, 'open');
    await silent.hearsError('connection-timeout');
    assert.equal(condition((await dialing.hearsElement('result')).content), 'remote-server-timeout');
    await untilLeft(servers, 0);
    assert.match(await metricsOf(servers), /^waxwing_server_streams_unauthenticated 0$/m);
  },
);

// --- floods ---------------------------------------------------------------------------------------------------------

scene(
  'XEP-0205 §3: streams of one address that prove nothing',
  { s2s: { unauthenticated_streams_per_address: 3 } },
  async (servers) => {
    const juliet = await julietOf(servers);
    // Connected, and nothing more.
    const patient = connects(servers, montague, '127.0.1.7');
    const flood = Array.from({ length: 2 }, () => connects(servers, montague, '127.0.1.7'));
    for (const peer of flood) await peer.opens();
    for (let n = 0; n < 3; n++) {
      const one = connects(servers, montague, '127.0.1.7');
      assert.equal((await one.hears()).kind, 'open');
      await one.hearsError('resource-constraint');
    }
    await logsInAnonymously(
      await authenticates(connects(servers, montague, '127.0.1.8')),
      juliet,
      'from another address',
    );
    // One that has proved its domain makes room.
    await authenticates(patient);
    await logsInAnonymously(await authenticates(connects(servers, montague, '127.0.1.7')), juliet, 'there is room');
    assert.match(
      await metricsOf(servers),
      /^waxwing_limits_hit_total\{limit="s2s.unauthenticated_streams_per_address"\} 3$/m,
    );
  },
);

scene(
  'of too many streams that prove nothing one is closed, of the address with the most; those with a domain stay',
  { s2s: { unauthenticated_streams: 10 } },
  async (servers) => {
    const juliet = await julietOf(servers);
    const friend = await authenticates(connects(servers));
    const slow = connects(servers, montague, '127.0.2.1');
    await slow.opens();
    const flood = Array.from({ length: 9 }, (_, n) => connects(servers, montague, n < 5 ? '127.0.2.2' : '127.0.2.3'));
    for (const peer of flood) await peer.opens();
    for (let n = 0; n < 3; n++)
      await logsInAnonymously(await authenticates(connects(servers, montague, '127.0.2.4')), juliet, `a new one ${n}`);
    await flood[0]!.hearsError('resource-constraint');
    await logsInAnonymously(friend, juliet, 'still here');
    slow.says(`<starttls xmlns='${NS.tls}'/>`);
    await slow.hearsElement('proceed');
    assert.match(await metricsOf(servers), /^waxwing_limits_hit_total\{limit="s2s.unauthenticated_streams"\} \d$/m);
  },
);

scene(
  'streams of one pair: the one that was silent the longest is closed',
  { s2s: { incoming_streams_per_pair: 2 } },
  async (servers) => {
    const juliet = await julietOf(servers);
    const one = await authenticates(connects(servers));
    const two = await authenticates(connects(servers));
    await logsInAnonymously(one, juliet, 'alive');
    const three = await authenticates(connects(servers));
    await two.hearsError('resource-constraint');
    await logsInAnonymously(one, juliet, 'one');
    await logsInAnonymously(three, juliet, 'three');
    // A stream for another pair is no such stream.
    const rooms = await authenticates(connects(servers, `conference.${montague}`));
    await logsInAnonymously(rooms, juliet, 'rooms', `room@conference.${montague}/romeo`);
    await logsInAnonymously(one, juliet, 'one again');
  },
);

scene('streams in total', { s2s: { incoming_streams: 10 } }, async (servers) => {
  const juliet = await julietOf(servers);
  const friend = await authenticates(connects(servers));
  const flood = Array.from({ length: 9 }, () => connects(servers));
  for (const peer of flood) await peer.opens();
  const late = connects(servers);
  assert.equal((await late.hears()).kind, 'open');
  await late.hearsError('resource-constraint');
  await logsInAnonymously(friend, juliet, 'still here');
  for (const peer of flood) peer.ends();
  await untilLeft(servers, 1);
  await logsInAnonymously(await authenticates(connects(servers)), juliet, 'there is room');
});

scene('XEP-0220 §2.5: domains of one stream, proved and asked for', {}, async (servers) => {
  const juliet = await julietOf(servers);
  const names = Array.from({ length: 101 }, (_, n) => `n${n}.${montague}`);
  const many = authority.issues([montague, ...names]);
  const peer = await authenticates(connects(servers), many);
  for (const name of names.slice(0, 99)) peer.says(result('0', name));
  for (const name of names.slice(0, 99)) {
    const { attrs } = await peer.hearsElement('result');
    assert.deepEqual([attrs.to, attrs.type], [name, 'valid']);
  }
  peer.says(result('0', names[100]));
  assert.equal(condition((await peer.hearsElement('result')).content), 'resource-constraint');
  await logsInAnonymously(peer, juliet, 'a proved one', `romeo@${names[98]}`);
  peer.says(message(`romeo@${names[100]}`, 'not proved'));
  await peer.hearsError('invalid-from');
});

const few = {
  ...withMontague,
  [capulet]: { trusts: [authority.pem], s2s: { dialbacks: 40, dialbacks_per_minute: 30 } },
};
play('dialbacks that never end leave room for those of others', few, async (servers) => {
  const juliet = await julietOf(servers);
  const trap = await lure('');
  servers.leads('silent.example', trap.port);
  const address = '127.0.3.1';
  let refused = 0;
  for (let n = 0; n < 4; n++) {
    const enemy = connects(servers, 'silent.example', address);
    await enemy.opensWithTls();
    for (let at = 0; at < 10; at++)
      enemy.says(result('0', `conference.silent.example`.replace('conference', `c${at}`)));
    for (let at = 0; at < 10; at++) servers.leads(`c${at}.silent.example`, trap.port);
    // One more than a stream may have under way, so that there is an answer.
    enemy.says(result('0', 'silent.example'));
    for (;;) {
      const { attrs, content } = await enemy.hearsElement('result');
      assert.equal(condition(content), 'resource-constraint');
      refused++;
      if (attrs.to === 'silent.example') break;
    }
  }
  assert.ok(refused > 4, String(refused));
  const friend = connects(servers, montague, '127.0.3.2');
  const { id } = await friend.opensWithTls();
  friend.says(result(keyFor(id)));
  assert.equal((await friend.hearsElement('result')).attrs.type, 'valid');
  await logsInAnonymously(friend, juliet, 'proved');
  assert.match(await metricsOf(servers), /^waxwing_limits_hit_total\{limit="s2s.dialbacks"\} \d+$/m);
  // Those that fail at once are as many as there may be in a minute.
  const quick = connects(servers, montague, '127.0.3.3');
  await quick.opensWithTls();
  await withoutTime(async () => {
    for (let n = 0; n < 31; n++) {
      quick.says(result('0', `n${n}.nowhere.example`));
      const { content } = await quick.hearsElement('result');
      assert.equal(condition(content), n < 30 ? 'remote-server-not-found' : 'resource-constraint');
    }
  });
  assert.match(await metricsOf(servers), /^waxwing_limits_hit_total\{limit="s2s.dialbacks_per_minute"\} 1$/m);
});

scene('one user cannot use up all streams to other servers', { s2s: { streams: 12 } }, async (servers) => {
  const juliet = await julietOf(servers);
  const nurse = await servers.stage(capulet).actor('nurse@capulet.example/kitchen');
  const trap = await lure('');
  for (let n = 0; n < 12; n++) servers.leads(`silent${n}.example`, trap.port);
  for (let n = 0; n < 12; n++)
    await juliet.sends(`<iq type='get' id='${n}' to='silent${n}.example'><ping xmlns='${NS.ping}'/></iq>`);
  await juliet.receivesAny();
  const friend = await lure(header(montague));
  servers.leads(montague, friend.port);
  await nurse.sends(`<message to='romeo@${montague}' type='chat' id='1'><body>news</body></message>`);
  const called = await friend.next();
  await called.answers(trusted, 'some-id');
  await called.hearsElement('result');
  called.says(`<db:result from='${montague}' to='${capulet}' type='valid'/>`);
  assert.match((await called.hearsElement('message')).content, /news/);
});

// --- where DNS leads -------------------------------------------------------------------------------------------------

scene('RFC 6120 §4.9.3.6: a domain whose server is this one, without a loop', {}, async (servers) => {
  const juliet = await julietOf(servers);
  servers.leads('padua.example', servers.stage(capulet).port('s2s'));
  await juliet.sends(`<message to='friar@padua.example' type='chat' id='1'><body>?</body></message>`);
  await juliet.receives(`<message type='error' id='1'>${refusal('cancel', 'remote-server-not-found')}</message>`);
  const enemy = connects(servers, 'padua.example');
  await enemy.opensWithTls();
  enemy.says(result('0', 'padua.example'));
  assert.equal(condition((await enemy.hearsElement('result')).content), 'remote-server-not-found');
  enemy.ends();
  await untilLeft(servers, 0);
});

scene(
  'a dialback cannot make the server connect into its own network',
  { s2s: { allow_networks: [] } },
  async (servers) => {
    const trap = await lure('');
    servers.leads('inside.example', trap.port);
    const enemy = connects(servers, 'inside.example');
    await enemy.opensWithTls();
    for (const name of [
      'inside.example',
      '127.0.0.1',
      '[::1]',
      '10.0.0.1',
      '169.254.169.254',
      '[::ffff:127.0.0.1]',
      '[fe80::1]',
    ]) {
      enemy.says(result('0', name));
      const { content } = await enemy.hearsElement('result');
      assert.equal(condition(content), 'remote-server-not-found', name);
    }
  },
);

// --- size -----------------------------------------------------------------------------------------------------------

scene(
  'RFC 6120 §13.12: oversized elements, before and after the proof',
  { limits: { stanza_bytes: 20_000, stanza_bytes_server: 20_000 } },
  async (servers) => {
    const juliet = await julietOf(servers);
    const friend = await authenticates(connects(servers));
    const early = connects(servers);
    await early.opensWithTls();
    early.says(result('0'.repeat(10_001)));
    await early.hearsError('policy-violation');
    const enemy = await authenticates(connects(servers));
    // An element of one user does not end the stream of the others, unless it is sixteen times too long.
    for (const body of ['x'.repeat(20_000), '<a>'.repeat(100) + '</a>'.repeat(100)])
      enemy.says(message('romeo@montague.example', body));
    await logsInAnonymously(enemy, juliet, 'still here');
    assert.match(await metricsOf(servers), /^waxwing_limits_hit_total\{limit="stanza"\} 3$/m);
    enemy.says(message('romeo@montague.example', 'x'.repeat(400_000)));
    await enemy.hearsError('policy-violation');
    await logsInAnonymously(friend, juliet, 'x'.repeat(15_000));
  },
);

// --- the log --------------------------------------------------------------------------------------------------------

scene(
  'a refusal is logged once, without keys, and a flood does not fill the log',
  { log: { level: 'warn' } },
  async (servers) => {
    const stage = servers.stage(capulet);
    stage.takeErrors();
    const enemy = connects(servers, montague, '127.0.4.1');
    await enemy.opensWithTls();
    enemy.says(result('t0ps3cr3t', 'nowhere.example'));
    assert.equal(condition((await enemy.hearsElement('result')).content), 'remote-server-not-found');
    enemy.says(message('romeo@montague.example', 'private words'));
    await enemy.hearsError('not-authorized');
    const lines = stage.takeErrors().map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(
      lines.map(({ msg, domain, condition: why, address }) => [msg, domain, why, address]),
      [
        ['dialback failed', 'nowhere.example', 'remote-server-not-found', '127.0.4.1'],
        ['closed a stream of another server', montague, 'not-authorized', '127.0.4.1'],
      ],
    );
    assert.doesNotMatch(JSON.stringify(lines), /t0ps3cr3t|private words/);
    for (let n = 0; n < 30; n++) {
      const one = connects(servers, montague, '127.0.4.1');
      one.says('<x/>');
      assert.equal((await one.hears()).kind, 'open');
      await one.hearsElement('error');
    }
    assert.equal(stage.takeErrors().length, 18);
    assert.match(
      await metricsOf(servers),
      /^waxwing_server_refusals_total\{direction="incoming",condition="[a-z-]+"\} 30$/m,
    );
  },
);
