/** Errors of unknown senders carry no content to a user, wherever they come from (RFC 6120 §8.3). Those of the server itself do. */
import { NS } from '../../src/server/stanza/ns.js';
import { makeSelfSigned } from '../../src/server/tls/self-signed.js';
import { withComponents } from './component.js';
import { refusal } from './phrases.js';
import { Impostor, play, type Servers } from './servers.js';

const [montague, capulet, padua] = ['montague.example', 'capulet.example', 'padua.example'];
const trusted = makeSelfSigned([montague, `conference.${montague}`]);
const modules = { strangers: { messages: 'refuse' } };

const active = `<active xmlns='${NS.chatStates}'/>`;
const advertises = (name: string, from: string, to: string) =>
  `<${name} type='error' id='e' from='${from}' to='${to}'><body>Buy gold</body>
    <error type='cancel'><gone xmlns='${NS.stanzas}'>xmpp:gold.example</gone><text xmlns='${NS.stanzas}'>Buy gold</text>
    <gold xmlns='urn:gold'/></error></${name}>`;
const alone = (name: string, from: string) =>
  `<${name} type='error' id='e' from='${from}' to='*'><error type='cancel'><gone xmlns='${NS.stanzas}'/></error></${name}>`;
const whole = (from: string) =>
  `<message type='error' id='e' from='${from}'><body>Buy gold</body>
    <error type='cancel'><gone xmlns='${NS.stanzas}'/><text xmlns='${NS.stanzas}'>Buy gold</text></error></message>`;

async function enters(servers: Servers): Promise<Impostor> {
  const peer = Impostor.connect(servers.stage(capulet).port('s2s'), `from='${montague}' to='${capulet}'`);
  await peer.opensWithTls(trusted);
  peer.says(`<auth xmlns='${NS.sasl}' mechanism='EXTERNAL'>=</auth>`);
  await peer.hearsElement('success');
  await peer.opens();
  return peer;
}

for (const isManaged of [false, true])
  play(
    `another server, ${isManaged ? 'with' : 'without'} stream management`,
    { [capulet]: { trusts: [trusted], modules, s2s: { domains: { [padua]: { policy: 'deny' } } } } },
    async (servers) => {
      const juliet = await servers.stage(capulet).actor(`juliet@${capulet}/balcony`, { presence: true });
      const peer = await enters(servers);
      if (isManaged) {
        peer.says(`<enable xmlns='${NS.sm}'/>`);
        await peer.hearsElement('enabled');
      }
      const romeo = `romeo@${montague}/orchard`;
      for (const name of ['message', 'presence']) {
        peer.says(advertises(name, romeo, juliet.jid));
        await juliet.receives(alone(name, romeo), { exactly: true });
      }
      // A chat state makes nobody known. The error is the server's own, and its content that of Juliet.
      await juliet.sends(`<message type='chat' id='p' to='romeo@${padua}'>${active}</message>`);
      await juliet.receives(
        `<message type='error' id='p' from='romeo@${padua}'>${active}
          ${refusal('cancel', 'not-allowed').replace('</error>', `<text xmlns='${NS.stanzas}'>*</text></error>`)}</message>`,
      );
      // Romeo is known once she has written to that address.
      await juliet.sends(`<message type='chat' to='romeo@${montague}'><body>Wherefore?</body></message>`);
      // Nobody serves the domain.
      await juliet.receives(`<message type='error' from='romeo@${montague}'/>`);
      peer.says(advertises('message', romeo, juliet.jid));
      await juliet.receives(whole(romeo));
    },
  );

withComponents(
  'a component',
  { mantua: {} },
  async ({ actor, component }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const mantua = await component('mantua').logsIn();
    for (const name of ['message', 'presence']) {
      mantua.says(advertises(name, 'friar@mantua/cell', juliet.jid));
      await juliet.receives(alone(name, 'friar@mantua/cell'), { exactly: true });
    }
    await juliet.sends(`<message type='chat' to='friar@mantua'><body>Father?</body></message>`);
    await mantua.hears('message');
    mantua.says(advertises('message', 'friar@mantua/cell', juliet.jid));
    await juliet.receives(whole('friar@mantua/cell'));
  },
  { config: { modules } },
);
