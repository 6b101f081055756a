/** ProtoXEP "Group Chat Reporting": participants to those who rule the room, rooms to those who run the service. */
import assert from 'node:assert/strict';
import type { Server } from '../../src/server/index.js';
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, scenario } from './dialogue.js';
import { refusal } from './phrases.js';
import { enters, founds, grants, quiets, service } from './rooms.js';

const spam = 'urn:xmpp:reporting:spam';
const hall = `hall@${service}`;
const report = (inside = '') => `<report xmlns='${NS.reporting}' reason='${spam}'>${inside}</report>`;
const occupantId = (id: string) => `<occupant-id xmlns='${NS.occupantId}' id='${id}'/>`;
const participant = (inside: string) =>
  `<iq type='set' id='r' to='${hall}'><report-participant xmlns='${NS.gcReport}'>${inside}</report-participant></iq>`;
const chat = (inside: string, to: string = service) =>
  `<iq type='set' id='r' to='${to}'><report-chat xmlns='${NS.gcReport}'>${inside}</report-chat></iq>`;
const retained = (server: Server) => server.host('localhost')!.provided('reports')!.list({ limit: 100 });

/** Sends a message to the room; returns its id and the occupant id of the sender. */
async function says(peer: Peer, hearer: Peer, body: string): Promise<{ id: string; occupant: string }> {
  await peer.sends(`<message to='${hall}' type='groupchat'><body>${body}</body></message>`);
  const message = await hearer.receives(`<message type='groupchat'><body>${body}</body></message>`);
  return {
    id: message.getChild('stanza-id', NS.stanzaId)!.attrs.id!,
    occupant: message.getChild('occupant-id', NS.occupantId)!.attrs.id!,
  };
}

scenario('§3.3: the service and its rooms announce it', async ({ actor }) => {
  const nurse = await actor('nurse@localhost/kitchen');
  await founds(nurse, 'hall', 'nurse');
  for (const to of [service, hall]) {
    await nurse.sends(`<iq type='get' id='1' to='${to}'><query xmlns='${NS.discoInfo}'/></iq>`);
    await nurse.receives(
      `<iq type='result' id='1'><query xmlns='${NS.discoInfo}'><feature var='${NS.gcReport}'/></query></iq>`,
    );
  }
});

scenario(
  '§3.1: owners and admins are notified, with the reported messages',
  { alone: true },
  async ({ actor, server }) => {
    const nurse = await actor('nurse@localhost/kitchen', { presence: true });
    const friar = await actor('friar@localhost/cell', { presence: true });
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const tybalt = await actor('tybalt@localhost/street', { presence: true });
    await founds(nurse, 'hall', 'nurse');
    await grants(nurse, 'hall', 'friar@localhost', 'admin');
    await enters(juliet, 'hall', 'juliet');
    await enters(tybalt, 'hall', 'tybalt');
    await quiets(nurse, friar, juliet, tybalt);
    const bad = await says(tybalt, juliet, 'Buy gold');
    const other = await says(nurse, juliet, 'Supper');
    await quiets(nurse, friar, juliet, tybalt);
    const ids = [bad.id, other.id].map((id) => `<stanza-id xmlns='${NS.stanzaId}' by='${hall}' id='${id}'/>`).join('');
    await juliet.sends(participant(`${occupantId(bad.occupant)}${report(`${ids}<text xml:lang='en'>Malware</text>`)}`));
    await juliet.receives(`<iq type='result' id='r' from='${hall}'/>`);
    for (const [peer, jid] of [[nurse, 'nurse@localhost'] as const, [friar, 'friar@localhost'] as const]) {
      const reported = await peer.receives(`<message from='${hall}' to='${jid}'>
      <report-participant xmlns='${NS.gcReport}'>${occupantId(bad.occupant)}${report('<text>Malware</text>')}
      </report-participant></message>`);
      const body = reported.getChildText('body') ?? '';
      assert.equal(body, 'juliet reports tybalt@localhost (spam)\nMalware\n> Buy gold');
    }
    for (const peer of [nurse, friar, juliet, tybalt]) await peer.receivesNothing();
    const [stored] = await retained(server);
    assert.deepEqual([stored?.by, stored?.jid, stored?.room], ['juliet@localhost', 'tybalt@localhost', hall]);
    assert.equal(stored?.evidence.length, 1);
    assert.match(stored?.evidence[0] ?? '', /Buy gold/);
  },
);

scenario(
  '§3.1: also about a former occupant, by their messages, but about nobody else',
  { alone: true },
  async ({ actor, server }) => {
    const nurse = await actor('nurse@localhost/kitchen', { presence: true });
    const juliet = await actor('juliet@localhost/balcony');
    const tybalt = await actor('tybalt@localhost/street');
    await founds(nurse, 'hall', 'nurse');
    await enters(juliet, 'hall', 'juliet');
    await enters(tybalt, 'hall', 'tybalt');
    await quiets(nurse, juliet, tybalt);
    const bad = await says(tybalt, juliet, 'Buy gold');
    await tybalt.sends(`<presence type='unavailable' to='${hall}/tybalt'/>`);
    await quiets(nurse, juliet, tybalt);
    await juliet.sends(participant(`${occupantId(bad.occupant)}${report()}`));
    await juliet.receives(`<iq type='error' id='r'>${refusal('cancel', 'item-not-found')}</iq>`);
    const id = `<stanza-id xmlns='${NS.stanzaId}' by='${hall}' id='${bad.id}'/>`;
    await juliet.sends(participant(`${occupantId(bad.occupant)}${report(id)}`));
    await juliet.receives(`<iq type='result' id='r'/>`);
    assert.equal((await retained(server))[0]?.jid, 'tybalt@localhost');
  },
);

scenario('§3.1, §3.2: invalid reports', async ({ actor }) => {
  const nurse = await actor('nurse@localhost/kitchen', { presence: true });
  const juliet = await actor('juliet@localhost/balcony');
  await founds(nurse, 'hall', 'nurse');
  const bad = refusal('modify', 'bad-request');
  await nurse.sends(`<message to='${hall}' type='groupchat'><body>x</body></message>`);
  const sent = await nurse.receives(`<message type='groupchat'/>`);
  const { id } = sent.getChild('occupant-id', NS.occupantId)!.attrs;
  const noReason = `<report xmlns='${NS.reporting}'/>`;
  for (const [request, error] of [
    [participant(report()), bad],
    [participant(occupantId(id!)), bad],
    [participant(occupantId(id!) + noReason), bad],
    [participant(occupantId(id!) + report() + report()), bad],
    [participant(occupantId('nobody') + report()), refusal('cancel', 'item-not-found')],
    [chat(report()), bad],
    [chat(`<jid>${hall}</jid>`), bad],
    [chat(`<jid>@</jid>${report()}`), bad],
    [chat(`<jid>nowhere@${service}</jid>${report()}`), refusal('cancel', 'item-not-found')],
    [chat(`<jid>${hall}</jid>${report()}`, hall), bad],
  ]) {
    await nurse.sends(request!);
    await nurse.receives(`<iq type='error' id='r'>${error}</iq>`);
  }
  // Not in the room
  await juliet.sends(participant(occupantId(id!) + report()));
  await juliet.receives(`<iq type='error' id='r'>${refusal('modify', 'not-acceptable')}</iq>`);
});

scenario(
  '§3.2, §4: rooms are reported to the administrators of the server',
  { config: { hosts: { localhost: { admins: ['rook@localhost'] }, 'elsewhere.example': {} } }, alone: true },
  async ({ actor, server }) => {
    const rook = await actor('rook@localhost/tower', { presence: true });
    const nurse = await actor('nurse@localhost/kitchen', { presence: true });
    const juliet = await actor('juliet@elsewhere.example/balcony');
    await founds(nurse, 'hall', 'nurse');
    await juliet.sends(chat(`<jid>${hall}</jid>${report('<text>Against the policy</text>')}`));
    await juliet.receives(`<iq type='result' id='r' from='${service}'/>`);
    await rook.receives(`<message from='localhost' to='rook@localhost'>
      ${report(`<jid xmlns='${NS.jid}'>${hall}</jid><text>Against the policy</text>`)}</message>`);
    await nurse.receivesNothing();
    const [stored] = await retained(server);
    assert.deepEqual([stored?.by, stored?.jid, stored?.room], ['juliet@elsewhere.example', hall, undefined]);
  },
);

scenario(
  '§7: reports per hour are limited',
  { config: { modules: { muc: { reports_per_hour: 2 } } } },
  async ({ actor }) => {
    const nurse = await actor('nurse@localhost/kitchen', { presence: true });
    await founds(nurse, 'hall', 'nurse');
    for (let count = 0; count < 2; count++) {
      await nurse.sends(chat(`<jid>${hall}</jid>${report()}`));
      await nurse.receives(`<iq type='result' id='r'/>`);
    }
    await nurse.sends(chat(`<jid>${hall}</jid>${report()}`));
    await nurse.receives(`<iq type='error' id='r'>${refusal('wait', 'policy-violation')}</iq>`);
  },
);
