/** XEP-0033 §6 between servers: one stanza for several users of a server that delivers to them. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { makeSelfSigned } from '../../src/server/tls/self-signed.js';
import type { Peer } from './dialogue.js';
import { Impostor, play, type Servers } from './servers.js';

const [montague, capulet] = ['montague.example', 'capulet.example'];
const list = (...addresses: string[]) =>
  `<addresses xmlns='${NS.addresses}'>${addresses.map((attributes) => `<address ${attributes}/>`).join('')}</addresses>`;
const to = (name: string, type = 'to') => `type='${type}' jid='${name}@${capulet}'`;
const message = (id: string, ...addresses: string[]) =>
  `<message to='${montague}' type='chat' id='${id}'>${list(...addresses)}<body>${id}</body></message>`;

const romeoOf = (servers: Servers) => servers.stage(montague).actor(`romeo@${montague}/orchard`, { presence: true });

/** The addresses that somebody sees, "type name" with a mark for those that have it. */
async function seen(peer: Peer, id: string): Promise<string[]> {
  const stanza = await peer.receives(
    `<message type='chat' id='${id}' from='romeo@${montague}/orchard'><body>${id}</body></message>`,
  );
  const all = stanza.getChild('addresses', NS.addresses)!.getChildren('address', NS.addresses);
  return all.map(({ attrs }) => `${attrs.type} ${attrs.jid}${attrs.delivered === 'true' ? ' has it' : ''}`);
}

play(
  'two servers: all get it, whatever is known of the other server',
  { [montague]: {}, [capulet]: {} },
  async (servers) => {
    const romeo = await romeoOf(servers);
    const actor = (name: string) => servers.stage(capulet).actor(`${name}@${capulet}/balcony`, { presence: true });
    const [juliet, nurse, tybalt] = [await actor('juliet'), await actor('nurse'), await actor('tybalt')];
    const friar = await servers.stage(montague).actor(`friar@${montague}/cell`, { presence: true });
    const addresses = [to('juliet'), to('nurse', 'cc'), `type='to' jid='friar@${montague}'`, to('tybalt', 'bcc')];
    const shown = [`to juliet@${capulet} has it`, `cc nurse@${capulet} has it`, `to friar@${montague} has it`];
    for (let n = 0; n < 3; n++) {
      await romeo.sends(message(`${n}`, ...addresses));
      for (const peer of [juliet, nurse, friar]) assert.deepEqual(await seen(peer, `${n}`), shown);
      assert.deepEqual(await seen(tybalt, `${n}`), [...shown, `bcc tybalt@${capulet}`]);
      // The features of the other server are known after this request, which it handles later.
      await romeo.sends(`<iq type='get' id='p${n}' to='${capulet}'><ping xmlns='${NS.ping}'/></iq>`);
      await romeo.receives(`<iq type='result' id='p${n}'/>`);
    }
    for (const peer of [romeo, juliet, nurse, tybalt, friar]) await peer.receivesNothing();
  },
);

const certificate = makeSelfSigned([capulet]);
/** Capulet is a program of the test. */
const lone = { [montague]: { nodes: 1, trusts: [certificate] } };

/** The server of Capulet, by a stream for both directions (XEP-0288), and a message to two of its users. */
async function opened(servers: Servers): Promise<{ readonly romeo: Peer; readonly server: Impostor }> {
  const server = Impostor.connect(servers.stage(montague).port('s2s'), `from='${capulet}' to='${montague}'`);
  await server.opensWithTls(certificate);
  server.says(`<bidi xmlns='${NS.bidi}'/><auth xmlns='${NS.sasl}' mechanism='EXTERNAL'>=</auth>`);
  await server.hearsElement('success');
  await server.opens();
  const romeo = await romeoOf(servers);
  server.says(`<message from='juliet@${capulet}' to='${romeo.jid}' type='chat' id='0'><body>0</body></message>`);
  await romeo.receives(`<message id='0' type='chat'/>`);
  await romeo.sends(message('1', to('juliet'), to('nurse')));
  return { romeo, server };
}

/** What Montague sends for a message whose effect is not known yet: one stanza each, and its question. */
async function answersThat(server: Impostor, features: string): Promise<void> {
  const recipients: string[] = [];
  let question: string | undefined;
  while (recipients.length < 2 || question === undefined) {
    const item = await server.hears();
    assert.ok(item.kind === 'element', JSON.stringify(item));
    if (item.name === 'message') recipients.push(item.attrs.to!);
    else question = item.attrs.id!;
  }
  assert.deepEqual(recipients, [`juliet@${capulet}`, `nurse@${capulet}`]);
  server.says(
    `<iq from='${capulet}' to='${montague}' type='result' id='${question}'><query xmlns='${NS.discoInfo}'>${features}</query></iq>`,
  );
}

const feature = `<feature var='${NS.addresses}'/>`;
const recipientsIn = (content: string): string[] =>
  [...content.matchAll(/<address ([^>]*)\/>/g)].map(([, attributes]) => attributes!);

/** Montague has handled everything that its users and Capulet have sent. */
async function settles(romeo: Peer, server: Impostor): Promise<void> {
  server.says(`<message from='juliet@${capulet}' to='${romeo.jid}' type='chat' id='s'><body>s</body></message>`);
  await romeo.receives(`<message id='s' type='chat'/>`);
}

play('one stanza for a server that announces the feature, without the marks of its users', lone, async (servers) => {
  const { romeo, server } = await opened(servers);
  await answersThat(server, feature);
  await settles(romeo, server);
  const paris = `type='to' jid='paris@verona.example' delivered='true'`;
  await romeo.sends(
    message('2', to('juliet'), to('nurse', 'cc'), to('friar', 'bcc'), paris, `type='to' jid='${capulet}'`),
  );
  // Those that cannot be sent together come first.
  for (const recipient of [capulet, `friar@${capulet}`])
    assert.equal((await server.hearsElement('message')).attrs.to, recipient);
  const { attrs, content } = await server.hearsElement('message');
  assert.deepEqual([attrs.to, attrs.from, attrs.id], [capulet, romeo.jid, '2']);
  assert.deepEqual(
    recipientsIn(content).map((text) => [/jid="([^"]*)"/.exec(text)?.[1], text.includes('delivered')]),
    [
      [`juliet@${capulet}`, false],
      [`nurse@${capulet}`, false],
      ['paris@verona.example', true],
      [capulet, true],
    ],
  );
  // One recipient alone needs no service, and few are sent at once.
  await romeo.sends(message('3', to('juliet')));
  assert.equal((await server.hearsElement('message')).attrs.to, `juliet@${capulet}`);
  await romeo.sends(message('4', ...Array.from({ length: 41 }, (_, n) => to(`user${n}`))));
  const counts: number[] = [];
  for (const recipient of [capulet, capulet, `user40@${capulet}`]) {
    const one = await server.hearsElement('message');
    assert.equal(one.attrs.to, recipient);
    counts.push(recipientsIn(one.content).filter((text) => !text.includes('delivered')).length);
  }
  assert.deepEqual(counts, [20, 20, 0]);
});

play('a server that refuses such a stanza gets no more of them, and the sender is told', lone, async (servers) => {
  const { romeo, server } = await opened(servers);
  await answersThat(server, feature);
  await settles(romeo, server);
  await romeo.sends(message('2', to('juliet'), to('nurse')));
  const { attrs, content } = await server.hearsElement('message');
  assert.equal(attrs.to, capulet);
  server.says(
    `<message from='${capulet}' to='${romeo.jid}' type='error' id='2'>${content}<error type='auth'><forbidden xmlns='${NS.stanzas}'/></error></message>`,
  );
  await romeo.receives(
    `<message from='${capulet}' type='error' id='2'><error><forbidden xmlns='${NS.stanzas}'/></error></message>`,
  );
  await romeo.sends(message('3', to('juliet'), to('nurse')));
  for (const name of ['juliet', 'nurse'])
    assert.equal((await server.hearsElement('message')).attrs.to, `${name}@${capulet}`);
});

play('a server that does not announce it gets one stanza for each user', lone, async (servers) => {
  const { romeo, server } = await opened(servers);
  await answersThat(server, `<feature var='${NS.ping}'/>`);
  await settles(romeo, server);
  await romeo.sends(message('2', to('juliet'), to('nurse')));
  for (const name of ['juliet', 'nurse'])
    assert.equal((await server.hearsElement('message')).attrs.to, `${name}@${capulet}`);
});
