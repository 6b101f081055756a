/**
 * Other servers and a cluster: the streams with a domain are at its home, whichever node a stanza or a connection comes
 * to. The dialogues about federation also run with WAXWING_NODES=2 WAXWING_SPREAD=1.
 */
import assert from 'node:assert/strict';
import { LocalNetwork } from '../../src/server/cluster/local-link.js';
import type { Federation } from '../../src/server/federation.js';
import type { Peers } from '../../src/server/federation-nodes.js';
import type { Server } from '../../src/server/index.js';
import { NS } from '../../src/server/stanza/ns.js';
import { makeSelfSigned } from '../../src/server/tls/self-signed.js';
import { adminOf } from './admin.js';
import type { Peer } from './dialogue.js';
import { refusal } from './phrases.js';
import { Impostor, lure, play, type Servers } from './servers.js';

const [montague, capulet] = ['montague.example', 'capulet.example'];
/** Montague is a cluster. */
const two = { [montague]: { nodes: 2 }, [capulet]: { nodes: 1 } };
/** Capulet is a program of the test, without a valid certificate. */
const lenient = { [montague]: { nodes: 2, s2s: { require_valid_certificate: false } } };
const certificate = makeSelfSigned([capulet]);
const unknownCertificate = makeSelfSigned([capulet]);

const federationOf = ({ federation }: Server): Federation => {
  assert.ok(typeof federation === 'object');
  return federation;
};

/** Streams with Capulet at each node of Montague. */
const streamsAt = (servers: Servers, direction: 'in' | 'out') =>
  servers.stage(montague).nodes.map(
    (node) =>
      federationOf(node)
        .describe()
        .filter((one) => one.direction === direction).length,
  );

/** The node where the streams with a domain live, and another. */
function nodesFor(servers: Servers, domain: string): { readonly home: number; readonly other: number } {
  const { nodes } = servers.stage(montague);
  const home = nodes.indexOf(servers.stage(montague).home(domain));
  return { home, other: 1 - home };
}

/** A user of Montague whose account lives at the node, and who is connected there. */
async function userAt(servers: Servers, at: number): Promise<Peer> {
  const stage = servers.stage(montague);
  for (let n = 0; ; n++) {
    const address = `user${n}@${montague}`;
    if (stage.home(address) === stage.nodes[at]) return stage.actor(`${address}/orchard`, { presence: true, node: at });
  }
}

const chat = (id: string, to = `juliet@${capulet}`) =>
  `<message to='${to}' type='chat' id='${id}'><body>${id}</body></message>`;
const returned = (id: string, condition = 'remote-server-timeout', type = 'wait') =>
  `<message type='error' id='${id}' from='juliet@${capulet}'>${refusal(type, condition)}</message>`;

play('administrators see and close the streams of all nodes', two, async (servers) => {
  const users = [await userAt(servers, 0), await userAt(servers, 1)];
  const juliet = await servers.stage(capulet).actor(`juliet@${capulet}/balcony`, { presence: true });
  // Two domains of Capulet, with streams at the node that each lives at.
  await users[0]!.sends(chat('1'));
  await juliet.receives(`<message type='chat' id='1'/>`);
  await users[1]!.sends(`<iq type='get' id='2' to='conference.${capulet}'><ping xmlns='${NS.ping}'/></iq>`);
  await users[1]!.receives(`<iq type='result' id='2'/>`);
  const stage = servers.stage(montague);
  const open = streamsAt(servers, 'out').reduce((sum, one) => sum + one, 0);
  assert.ok(open >= 2);
  for (const server of stage.nodes) {
    const admin = await adminOf({ server, folder: stage.folder });
    const { streams, total } = await admin.ask<Peers>('s2s list', { domain: capulet });
    const outgoing = streams.filter(({ direction }) => direction === 'out');
    assert.equal(outgoing.length, open);
    assert.equal(total, streams.length);
    const remotes = streams.map(({ pairs }) => pairs[0]!.remote);
    assert.deepEqual(remotes, [...remotes].sort());
    const first = await admin.ask<Peers>('s2s list', { domain: capulet, limit: 1 });
    assert.deepEqual([first.streams.length, first.total], [1, total]);
    const shown = await admin.ask<Peers>('s2s show', { domain: capulet });
    assert.ok(shown.counts!.sent >= 1);
  }
  const { home } = nodesFor(servers, capulet);
  const away = await adminOf({ server: stage.nodes[1 - home]!, folder: stage.folder });
  const { closed } = await away.ask<Peers>('s2s kick', { domain: capulet });
  assert.ok(closed >= 1);
  await users[0]!.sends(chat('3'));
  await juliet.receives(`<message type='chat' id='3'/>`);
});

play('users at two nodes write to one domain over one stream, in order', two, async (servers) => {
  const users = [await userAt(servers, 0), await userAt(servers, 1)];
  const juliet = await servers.stage(capulet).actor(`juliet@${capulet}/balcony`, { presence: true });
  for (let n = 0; n < 50; n++) for (const user of users) await user.sends(chat(`${n}`));
  const heard = new Map<string, string[]>();
  for (let n = 0; n < 100; n++) {
    const { attrs } = await juliet.receives(`<message type='chat'/>`);
    heard.set(attrs.from!, [...(heard.get(attrs.from!) ?? []), attrs.id!]);
  }
  const inOrder = Array.from({ length: 50 }, (_, n) => `${n}`);
  for (const { jid } of users) assert.deepEqual(heard.get(jid), inOrder);
  const { home } = nodesFor(servers, capulet);
  assert.deepEqual(streamsAt(servers, 'out'), home === 0 ? [1, 0] : [0, 1]);
  for (const user of users) {
    await juliet.sends(chat('answer', user.jid));
    await user.receives(chat('answer', user.jid).replace('<message', `<message from='${juliet.jid}'`));
  }
  // The stream that brings the answers is at the same node, or is the same (XEP-0288).
  assert.equal(streamsAt(servers, 'in')[1 - home], 0);
});

play('requests of users and of the server are answered, and errors return', two, async (servers) => {
  const { home, other } = nodesFor(servers, capulet);
  for (const at of [home, other]) {
    const user = await userAt(servers, at);
    await user.sends(`<iq type='get' id='1' to='${capulet}'><ping xmlns='${NS.ping}'/></iq>`);
    await user.receives(`<iq type='result' id='1' from='${capulet}'/>`);
    await user.sends(`<iq type='get' id='2' to='nobody@${capulet}'><ping xmlns='${NS.ping}'/></iq>`);
    await user.receives(
      `<iq type='error' id='2' from='nobody@${capulet}'>${refusal('cancel', 'service-unavailable')}</iq>`,
    );
    await user.sends(`<message to='friar@mantua.example' type='chat' id='3'><body>?</body></message>`);
    await user.receives(
      `<message type='error' id='3' from='friar@mantua.example'>${refusal('cancel', 'remote-server-not-found')}</message>`,
    );
  }
});

/** Accepts the stream that Montague opens, by dialback. */
async function accepts(server: Impostor): Promise<void> {
  await server.answers(unknownCertificate, 'some-id');
  await server.hearsElement('result');
  server.says(`<db:result from='${capulet}' to='${montague}' type='valid'/>`);
}

play('XEP-0220 §2.2.2: any node confirms a key that another one has made', lenient, async (servers) => {
  const { other } = nodesFor(servers, capulet);
  const trap = await lure(`from='${capulet}' to='${montague}'`);
  servers.leads(capulet, trap.port);
  const user = await userAt(servers, other);
  await user.sends(chat('1'));
  const server = await trap.next();
  await server.answers(unknownCertificate, 'some-id');
  const { content: key } = await server.hearsElement('result');
  const stage = servers.stage(montague);
  for (const node of stage.nodes)
    for (const attributes of [`from='${capulet}' to='${montague}'`, `to='${montague}'`]) {
      const asker = Impostor.connect(stage.port('s2s', node), attributes);
      await asker.opensWithTls();
      for (const [given, type] of [
        [key, 'valid'],
        [`${key}0`, 'invalid'],
      ]) {
        asker.says(`<db:verify from='${capulet}' to='${montague}' id='some-id'>${given}</db:verify>`);
        assert.equal((await asker.hearsElement('verify')).attrs.type, type);
      }
      asker.cut();
    }
  server.says(`<db:result from='${capulet}' to='${montague}' type='valid'/>`);
  assert.equal((await server.hearsElement('message')).attrs.id, '1');
});

for (const [title, condition, end] of [
  [
    'the node that relays it stops',
    'system-shutdown',
    (servers: Servers, { other }: { readonly other: number }) => servers.stage(montague).nodes[other]!.stop(),
  ],
  [
    'its home is lost',
    'remote-connection-failed',
    async (servers: Servers, { home, other }: { readonly home: number; readonly other: number }) => {
      const { nodes } = servers.stage(montague);
      await nodes[other]!.node!.expel(nodes[home]!.node!.name.id);
    },
  ],
] as const)
  play(
    `RFC 6120 §4.9.1.2: a header precedes the error of a stream that has not begun: ${title}`,
    { [montague]: { nodes: 2, trusts: [certificate] } },
    async (servers) => {
      const at = nodesFor(servers, capulet);
      const stage = servers.stage(montague);
      const connect = () =>
        Impostor.connect(stage.port('s2s', stage.nodes[at.other]), `from='${capulet}' to='${montague}'`);
      const authenticated = connect();
      await authenticated.opensWithTls(certificate);
      authenticated.says(`<auth xmlns='${NS.sasl}' mechanism='EXTERNAL'>=</auth>`);
      await authenticated.hearsElement('success');
      authenticated.expectsHeader();
      const open = connect();
      await open.opensWithTls(certificate);
      const ended = end(servers, at);
      const heard = open.hearsError(condition);
      const header = await authenticated.hears();
      assert.ok(header.kind === 'open', JSON.stringify(header));
      assert.equal(header.attrs.from, montague);
      await Promise.all([authenticated.hearsError(condition), heard]);
      await ended;
      // The lost node logs that it is fenced off, if it has noticed by now.
      stage.takeErrors();
    },
  );

play('stanzas wait for their stream while its node stops, and go over that of the next', lenient, async (servers) => {
  const { home, other } = nodesFor(servers, capulet);
  const trap = await lure(`from='${capulet}' to='${montague}'`);
  servers.leads(capulet, trap.port);
  const user = await userAt(servers, other);
  for (const id of ['1', '2', '3']) await user.sends(chat(id));
  const first = await trap.next();
  await servers.stage(montague).nodesAtRest();
  // A stream that is cut before its domain has moved has failed as at any time: its stanzas return to their sender.
  await servers.stage(montague).nodes[home]!.stop();
  first.cut();
  await user.sends(chat('4'));
  const next = await trap.next();
  await accepts(next);
  for (const id of ['1', '2', '3', '4']) {
    const { attrs } = await next.hearsElement('message');
    assert.deepEqual([attrs.id, attrs.from], [id, user.jid]);
  }
  await user.receivesNothing();
});

const slow = new LocalNetwork();

play(
  'a stream that is cut while its node hands over has failed as at any time',
  { [montague]: { nodes: 2, s2s: { require_valid_certificate: false }, network: slow } },
  async (servers) => {
    const { home, other } = nodesFor(servers, capulet);
    const trap = await lure(`from='${capulet}' to='${montague}'`);
    servers.leads(capulet, trap.port);
    const user = await userAt(servers, other);
    for (const id of ['1', '2', '3']) await user.sends(chat(id));
    const first = await trap.next();
    await servers.stage(montague).nodesAtRest();
    // It cannot hand over before the other node confirms what it was sent.
    const go = slow.halt('frames');
    const stopped = servers.stage(montague).nodes[home]!.stop();
    first.cut();
    go();
    for (const id of ['1', '2', '3']) await user.receives(returned(id));
    await stopped;
    await user.sends(chat('4'));
    const next = await trap.next();
    await accepts(next);
    assert.equal((await next.hearsElement('message')).attrs.id, '4');
    await user.receivesNothing();
  },
);

play('XEP-0198 §4: what a lost node may have sent returns to its sender', lenient, async (servers) => {
  const { home, other } = nodesFor(servers, capulet);
  const trap = await lure(`from='${capulet}' to='${montague}'`);
  servers.leads(capulet, trap.port);
  const user = await userAt(servers, other);
  await user.sends(chat('1'));
  await user.sends(`<presence to='juliet@${capulet}' type='subscribe' id='2'/>`);
  await trap.next();
  const { nodes } = servers.stage(montague);
  await nodes[other]!.node!.expel(nodes[home]!.node!.name.id);
  await user.receives(returned('1'));
  // Its presence can be repeated, and later messages go over a stream of this node.
  await user.sends(chat('3'));
  const next = await trap.next();
  await accepts(next);
  for (const [name, id] of [
    ['presence', '2'],
    ['message', '3'],
  ] as const)
    assert.equal((await next.hearsElement(name)).attrs.id, id);
  // The lost node logs that it is fenced off, if it has noticed by now.
  servers.stage(montague).takeErrors();
});
