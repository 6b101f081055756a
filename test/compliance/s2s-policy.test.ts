/** Which servers there are streams with, and on what terms: s2s.policy, s2s.domains, block lists; at reload too. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { DialbackKeys } from '../../src/server/stream/s2s/dialback.js';
import { makeSelfSigned } from '../../src/server/tls/self-signed.js';
import { adminOf } from './admin.js';
import type { Peer } from './dialogue.js';
import { refusal } from './phrases.js';
import { configure, pubsub } from './pubsub.js';
import { Impostor, lure, play, type Servers } from './servers.js';

const [montague, capulet] = ['montague.example', 'capulet.example'];
const rooms = `conference.${montague}`;
/** All servers trust it. Its subject differs from that of Montague's own certificate. */
const trusted = makeSelfSigned(['gate.example', montague, rooms, `x.${rooms}`]);

const header = (from: string | undefined, to = capulet) =>
  from === undefined ? `to='${to}'` : `from='${from}' to='${to}'`;
const impostor = (servers: Servers, from: string | undefined = montague, to = capulet) =>
  Impostor.connect(servers.stage(capulet).port('s2s'), header(from, to));
const message = (from: string, body = 'hi') =>
  `<message from='romeo@${from}' to='juliet@${capulet}' type='chat'><body>${body}</body></message>`;
const condition = (content: string) => /<error [^>]*type="cancel"[^>]*><([a-z-]+)/.exec(content)?.[1];
const metricsOf = async (servers: Servers) => (await servers.stage(capulet).server.metrics.text()).text;

/** Lets a server in by the trusted certificate. */
async function enters(servers: Servers, from = montague, to = capulet): Promise<Impostor> {
  const peer = impostor(servers, from, to);
  await peer.opensWithTls(trusted);
  peer.says(`<auth xmlns='${NS.sasl}' mechanism='EXTERNAL'>=</auth>`);
  await peer.hearsElement('success');
  await peer.opens();
  return peer;
}

async function isDenied(servers: Servers, from: string, to = capulet): Promise<void> {
  const peer = impostor(servers, from, to);
  peer.sendsHeader();
  assert.equal((await peer.hears()).kind, 'open');
  await peer.hearsError('policy-violation');
}

async function mayNotWrite(juliet: Peer, domain: string): Promise<void> {
  await juliet.sends(`<message to='romeo@${domain}' type='chat' id='1'><body>?</body></message>`);
  await juliet.receives(
    `<message type='error' id='1' from='romeo@${domain}'>${refusal('cancel', 'not-allowed')}</message>`,
  );
}

const julietOf = (servers: Servers) =>
  servers.stage(capulet).actor('juliet@capulet.example/balcony', { presence: true });

/** One server with these settings; DNS resolves `montague` and its subdomains to nowhere. */
const scene = (
  title: string,
  s2s: Readonly<Record<string, unknown>>,
  dialogue: (servers: Servers) => Promise<void>,
  host: Readonly<Record<string, unknown>> = {},
) => play(title, { [capulet]: { trusts: [trusted], s2s, host } }, dialogue);

const deny = { policy: 'deny' };
const allow = { policy: 'allow' };

scene(
  'RFC 6120 §4.9.3.14, §8.3.3.10: a denied domain and its subdomains get no stream, and nothing is looked up',
  { domains: { [montague]: deny } },
  async (servers) => {
    const juliet = await julietOf(servers);
    for (const domain of [montague, rooms, `x.${rooms}`]) {
      await isDenied(servers, domain);
      await mayNotWrite(juliet, domain);
    }
    await juliet.sends(`<iq type='get' id='2' to='${montague}'><ping xmlns='${NS.ping}'/></iq>`);
    await juliet.receives(`<iq type='error' id='2' from='${montague}'>${refusal('cancel', 'not-allowed')}</iq>`);
    assert.deepEqual(servers.dns.asked, []);
    const text = await metricsOf(servers);
    assert.match(text, /^waxwing_server_refusals_total\{direction="incoming",condition="policy-violation"\} 3$/m);
    assert.match(text, /^waxwing_server_refusals_total\{direction="outgoing",condition="not-allowed"\} 4$/m);
  },
);

scene(
  'XEP-0220 §2.5: a stream cannot be used for a denied domain either, and its keys are not confirmed',
  { domains: { 'mantua.example': deny } },
  async (servers) => {
    const peer = await enters(servers);
    peer.says(`<db:result from='mantua.example' to='${capulet}'>0</db:result>`);
    assert.equal(condition((await peer.hearsElement('result')).content), 'not-allowed');
    peer.says(`<db:verify from='mantua.example' to='${capulet}' id='1'>0</db:verify>`);
    assert.equal(condition((await peer.hearsElement('verify')).content), 'not-allowed');
    assert.deepEqual(servers.dns.asked, []);
    const juliet = await julietOf(servers);
    peer.says(message(montague, 'still here'));
    await juliet.receives(message(montague, 'still here'));
  },
);

scene('a header without a domain is judged once there is one', { domains: { [montague]: deny } }, async (servers) => {
  const peer = Impostor.connect(servers.stage(capulet).port('s2s'), header(undefined));
  await peer.opensWithTls(trusted);
  peer.says(`<db:result from='${montague}' to='${capulet}'>0</db:result>`);
  assert.equal(condition((await peer.hearsElement('result')).content), 'not-allowed');
  peer.says(message(montague));
  await peer.hearsError('not-authorized');
});

scene(
  '"*.DOMAIN" leaves the domain itself; the more specific rule wins',
  { domains: { [`*.${montague}`]: deny, [rooms]: allow } },
  async (servers) => {
    await enters(servers);
    await enters(servers, rooms);
    await enters(servers, `x.${rooms}`);
    await isDenied(servers, `other.${montague}`);
    await isDenied(servers, `very.other.${montague}`);
  },
);

scene('an allow list', { policy: 'deny', domains: { [montague]: allow } }, async (servers) => {
  await enters(servers);
  await enters(servers, rooms);
  const juliet = await julietOf(servers);
  for (const domain of ['mantua.example', `not${montague}`, 'example', '192.0.2.1', '[::1]']) {
    await isDenied(servers, domain);
    await mayNotWrite(juliet, domain);
  }
});

scene(
  'the rules of a host come before those of all, also for its services',
  { policy: 'deny', domains: { [rooms]: allow, 'mantua.example': allow } },
  async (servers) => {
    await enters(servers);
    await enters(servers, montague, `conference.${capulet}`);
    await isDenied(servers, rooms);
    await isDenied(servers, rooms, `conference.${capulet}`);
    await isDenied(servers, 'padua.example');
    // Neither denies it: DNS is asked.
    const juliet = await julietOf(servers);
    await juliet.sends(`<message to='friar@mantua.example' type='chat' id='1'><body>?</body></message>`);
    await juliet.receives(
      `<message type='error' id='1' from='friar@mantua.example'>${refusal('cancel', 'remote-server-not-found')}</message>`,
    );
  },
  { s2s: { domains: { [montague]: allow, [rooms]: deny } } },
);

scene(
  'the policy of a host instead of that of all',
  { policy: 'deny' },
  async (servers) => {
    await enters(servers);
  },
  { s2s: { policy: 'allow' } },
);

play(
  'a reload that denies a domain closes its streams in both directions',
  { [montague]: {}, [capulet]: {} },
  async (servers) => {
    const romeo = await servers.stage(montague).actor('romeo@montague.example/orchard', { presence: true });
    const juliet = await julietOf(servers);
    await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='1'><body>1</body></message>`);
    await juliet.receives(`<message type='chat' id='1'><body>1</body></message>`);
    await juliet.sends(`<message to='romeo@montague.example' type='chat' id='2'><body>2</body></message>`);
    await romeo.receives(`<message type='chat' id='2'><body>2</body></message>`);
    // Else it would be returned, because it may not have arrived.
    while (!/^waxwing_server_waiting_bytes 0$/m.test(await metricsOf(servers)))
      await new Promise((resolve) => setImmediate(resolve));
    await servers.changes(capulet, { s2s: { domains: { [montague]: deny } } });
    await mayNotWrite(juliet, montague);
    while (!/^waxwing_server_streams\{direction="incoming"\} 0$/m.test(await metricsOf(servers)))
      await new Promise((resolve) => setImmediate(resolve));
    while (!/^waxwing_server_streams\{direction="outgoing"\} 0$/m.test(await metricsOf(servers)))
      await new Promise((resolve) => setImmediate(resolve));
    await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='3'><body>3</body></message>`);
    await romeo.receives(
      `<message type='error' id='3' from='juliet@capulet.example'>${refusal('wait', 'remote-server-timeout')}</message>`,
    );
    // Once allowed again, there is no back-off for the denied domain.
    await servers.changes(capulet, { s2s: { domains: {} } });
    await juliet.sends(`<message to='romeo@montague.example' type='chat' id='4'><body>4</body></message>`);
    await romeo.receives(`<message type='chat' id='4'><body>4</body></message>`);
  },
);

scene('a reload closes the stream of a server that sends nothing', {}, async (servers) => {
  const [one, other] = [await enters(servers), await enters(servers, rooms)];
  await servers.changes(capulet, { s2s: { domains: { [`*.${montague}`]: deny } } });
  await other.hearsError('policy-violation');
  const juliet = await julietOf(servers);
  one.says(message(montague, 'still here'));
  await juliet.receives(message(montague, 'still here'));
});

const secret = 's3cr3tf0rd14lb4ck';
const keys = new DialbackKeys(secret);
const unknown = makeSelfSigned([montague, rooms]);
const lenient = { require_valid_certificate: false };
/** The key of Montague's server for a domain of its own. */
const result = (id: string, from: string) =>
  `<db:result from='${from}' to='${capulet}'>${keys.make({ receiving: capulet, originating: from, streamId: id })}</db:result>`;

play(
  'RFC 6120 §13.7.2: a domain whose certificate need not be valid; the others need one',
  {
    [capulet]: { s2s: { domains: { [`*.${montague}`]: lenient } } },
    [montague]: { certificate: unknown, s2s: { dialback_secret: secret } },
  },
  async (servers) => {
    const juliet = await julietOf(servers);
    const peer = impostor(servers);
    const { id } = await peer.opensWithTls();
    peer.says(result(id, montague));
    assert.equal(condition((await peer.hearsElement('result')).content), 'remote-server-timeout');
    peer.says(result(id, rooms));
    assert.equal((await peer.hearsElement('result')).attrs.type, 'valid');
    peer.says(message(rooms));
    await juliet.receives(message(rooms));
    // From now on the certificate has to be valid: streams without one are closed.
    await servers.changes(capulet, { s2s: { domains: { [`*.${montague}`]: { require_valid_certificate: true } } } });
    await peer.hearsError('policy-violation');
  },
);

scene('a domain that is denied while its key is verified is let in no more', { ...lenient }, async (servers) => {
  const trap = await lure(header('padua.example'));
  servers.leads('padua.example', trap.port);
  const peer = await enters(servers);
  peer.says(`<db:result from='padua.example' to='${capulet}'>key</db:result>`);
  const asked = await trap.next();
  await asked.answers(unknown, 'some-id');
  await asked.hearsElement('verify');
  await servers.changes(capulet, { s2s: { domains: { 'padua.example': deny } } });
  assert.equal((await asked.hears()).kind, 'close');
  assert.equal(condition((await peer.hearsElement('result')).content), 'not-allowed');
});

play(
  'a stricter reload leaves what a certificate has proved: of the peer, and of the server that was asked',
  {
    [capulet]: { trusts: [trusted], s2s: { domains: { 'mantua.example': lenient } } },
    [montague]: { s2s: { dialback_secret: secret } },
  },
  async (servers) => {
    const juliet = await julietOf(servers);
    const peer = await enters(servers);
    const other = impostor(servers);
    const { id } = await other.opensWithTls();
    other.says(result(id, montague));
    assert.equal((await other.hearsElement('result')).attrs.type, 'valid');
    // All streams are checked in one turn.
    const last = await enters(servers, rooms);
    await servers.changes(capulet, { s2s: { domains: { [rooms]: deny } } });
    await last.hearsError('policy-violation');
    for (const one of [peer, other]) {
      one.says(message(montague, 'still here'));
      await juliet.receives(message(montague, 'still here'));
    }
  },
);

scene(
  'the largest stanza of a domain, and its rate',
  { domains: { [montague]: { stanza_bytes: 10_000, stanzas_per_second: 20, stanza_burst: 2 } } },
  async (servers) => {
    const juliet = await julietOf(servers);
    const peer = await enters(servers);
    for (let n = 0; n < 10; n++) peer.says(message(montague, `${n}`));
    for (let n = 0; n < 10; n++) await juliet.receives(message(montague, `${n}`));
    assert.match(await metricsOf(servers), /^waxwing_limits_hit_total\{limit="rate(_server.stanzas_per_second)?"\} /m);
    peer.says(message(montague, 'x'.repeat(10_000)));
    peer.says(message(montague, 'the stream goes on'));
    await juliet.receives(message(montague, 'the stream goes on'));
    assert.match(await metricsOf(servers), /^waxwing_limits_hit_total\{limit="stanza"\} 1$/m);
  },
);

scene(
  's2s show: the policy for a domain, and the key that decides it',
  { domains: { [montague]: deny, 'mantua.example': lenient }, policy: 'deny' },
  async (servers) => {
    const admin = await adminOf(servers.stage(capulet));
    for (const [domain, wanted] of [
      [rooms, /^Policy +denied by s2s\.domains\."montague\.example"$/m],
      ['x.mantua.example', /^Policy +allowed by hosts\."capulet\.example"\.s2s\.policy, with any certificate$/m],
      ['padua.example', /^Policy +allowed by hosts\."capulet\.example"\.s2s\.policy, with a valid certificate$/m],
      ['verona.example', /^Policy +denied by hosts\."capulet\.example"\.s2s\.domains\."verona\.example"$/m],
    ] as const)
      assert.match(await admin.read('s2s show', { domain }), wanted);
  },
  { s2s: { policy: 'allow', domains: { 'verona.example': deny } } },
);

const list = `pubsub.${capulet}`;
const does = async (peer: Peer, xml: string) => {
  await peer.sends(xml);
  await peer.receives(`<iq type='result' id='p'/>`);
};

play(
  'a block list of servers: names and hashes, subdomains, changes; a rule exempts',
  {
    [capulet]: {
      trusts: [trusted],
      s2s: { domains: { [`x.${rooms}`]: allow } },
      modules: { rtbl: { server_lists: [`${list}/servers`] } },
    },
  },
  async (servers) => {
    const juliet = await julietOf(servers);
    const { server } = servers.stage(capulet);
    const publishes = (id: string) =>
      does(juliet, pubsub('set', `<publish node='servers'><item id='${id}'><x xmlns='y'/></item></publish>`, list));
    await does(juliet, pubsub('set', `<create node='servers'/>`, list));
    await does(juliet, configure('servers', { access_model: 'open', max_items: 'max' }, list));
    // None of these means all of "example", this server, or an account.
    for (const id of ['example', capulet, list, 'romeo@montague.example', '@', 'montague.example/x'])
      await publishes(id);
    await server.host(capulet)!.provided('blockLists')!.sync();
    const peer = await enters(servers);
    const exempt = await enters(servers, `x.${rooms}`);
    await publishes('MONTAGUE.example');
    await peer.hearsError('policy-violation');
    await isDenied(servers, montague);
    await isDenied(servers, rooms);
    await mayNotWrite(juliet, rooms);
    const admin = await adminOf(servers.stage(capulet));
    assert.match(await admin.read('s2s show', { domain: rooms }), /^Policy +denied by a block list$/m);
    exempt.says(message(`x.${rooms}`, 'still here'));
    await juliet.receives(message(`x.${rooms}`, 'still here'));
    await does(
      juliet,
      pubsub('set', `<retract node='servers' notify='true'><item id='MONTAGUE.example'/></retract>`, list),
    );
    await servers.stage(capulet).settle();
    await enters(servers);
    // The SHA-256 of montague.example.
    await publishes('62a15c0e4890b624bb2b60a6e4a91ab36824ce455a87c909b1b3f1be7ae406d3');
    await servers.stage(capulet).settle();
    await isDenied(servers, rooms);
    await enters(servers, `x.${rooms}`);
  },
);

scene(
  'XEP-0133 §4.11: a domain on the block list of the administrators has no streams, as long as it is on it',
  {},
  async (servers) => {
    const juliet = await julietOf(servers);
    const blocks = async (...domains: string[]) => {
      const command = (attributes: string, form = '') =>
        `<iq type='set' id='c' to='${capulet}'><command xmlns='${NS.commands}' node='${NS.admin}#edit-blacklist' ${attributes}>${form}</command></iq>`;
      await juliet.sends(command(`action='execute'`));
      const asked = await juliet.receives(
        `<iq type='result' id='c'><command xmlns='${NS.commands}' sessionid='*'/></iq>`,
      );
      const session = asked.getChild('command', NS.commands)!.attrs.sessionid;
      const values = domains.map((domain) => `<value>${domain}</value>`).join('');
      const form = `<x xmlns='${NS.dataForms}' type='submit'><field var='FORM_TYPE'><value>${NS.admin}</value></field><field var='blacklistjids'>${values}</field></x>`;
      await juliet.sends(command(`sessionid='${session}'`, form));
      await juliet.receives(`<iq type='result' id='c'><command xmlns='${NS.commands}' status='completed'/></iq>`);
    };
    const peer = await enters(servers);
    await blocks(montague);
    await peer.hearsError('policy-violation');
    await isDenied(servers, montague);
    // As listed: without its subdomains.
    await enters(servers, rooms);
    await juliet.sends(`<message to='romeo@${montague}' type='chat' id='1'><body>?</body></message>`);
    await juliet.receives(`<message type='error' id='1'>${refusal('auth', 'forbidden')}</message>`);
    await blocks();
    await enters(servers);
  },
  { admins: [`juliet@${capulet}`] },
);
