/** ProtoXEP "Message Archive Management: Trim Command". */
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, scenario } from './dialogue.js';
import { refusal } from './phrases.js';

const trim = (inner = '', to = ''): string =>
  `<iq type='set' id='t'${to === '' ? '' : ` to='${to}'`}><trim xmlns='${NS.mamTrim}'>${inner}</trim></iq>`;

async function archives(who: Peer, bodies: readonly string[]): Promise<void> {
  await who.sends(`<iq type='set' id='q'><query xmlns='${NS.mam}'/></iq>`);
  for (const body of bodies)
    await who.receives(
      `<message><result xmlns='${NS.mam}' id='{${body}}'><forwarded xmlns='${NS.forward}'><message xmlns='jabber:client'><body>${body}</body></message></forwarded></result></message>`,
    );
  await who.receives(`<iq type='result' id='q'><fin xmlns='${NS.mam}' complete='true'/></iq>`);
}

const notes = async (who: Peer, bodies: readonly string[]): Promise<void> => {
  for (const body of bodies) await who.sends(`<message type='chat'><body>${body}</body></message>`);
  await who.syncs();
};

scenario('support is announced', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<iq type='get' id='d' to='romeo@localhost'><query xmlns='${NS.discoInfo}'/></iq>`);
  await romeo.receives(
    `<iq type='result' id='d'><query xmlns='${NS.discoInfo}'><feature var='${NS.mamTrim}'/></query></iq>`,
  );
});

scenario('deletes everything up to and including a message', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await notes(romeo, ['one', 'two', 'three']);
  await archives(romeo, ['one', 'two', 'three']);
  await romeo.sends(trim('<id>{two}</id>'));
  await romeo.receives("<iq type='result' id='t' to='romeo@localhost/orchard'/>", { exactly: true });
  await archives(romeo, ['three']);
  // XEP-0313 §4.3.2: a client that pages from a deleted message gets an error
  await romeo.sends(
    `<iq type='set' id='q'><query xmlns='${NS.mam}'><set xmlns='${NS.rsm}'><after>{two}</after></set></query></iq>`,
  );
  await romeo.receives(`<iq type='error' id='q'>${refusal('cancel', 'item-not-found')}</iq>`);
});

scenario('deletes everything', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony');
  await notes(romeo, ['one', 'two']);
  await juliet.sends("<message to='romeo@localhost' type='chat'><body>three</body></message>");
  await juliet.syncs();
  await romeo.sends(trim());
  await romeo.receives("<iq type='result' id='t'/>");
  await archives(romeo, []);
  await archives(juliet, ['three']);
  await romeo.sends(trim());
  await romeo.receives("<iq type='result' id='t'/>");
  await notes(romeo, ['four']);
  await archives(romeo, ['four']);
});

scenario('a missing message, or several', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await notes(romeo, ['one']);
  const cases: [inner: string, error: string][] = [
    ['<id>nope</id>', refusal('cancel', 'item-not-found')],
    ['<id/>', refusal('modify', 'bad-request')],
    ['<id>a</id><id>b</id>', refusal('modify', 'bad-request')],
  ];
  for (const [inner, error] of cases) {
    await romeo.sends(trim(inner));
    await romeo.receives(`<iq type='error' id='t'>${error}</iq>`);
  }
  await archives(romeo, ['one']);
});

scenario("nobody can trim another's archive", async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony');
  await notes(juliet, ['one']);
  for (const to of ['juliet@localhost', 'nobody@localhost']) {
    await romeo.sends(trim('', to));
    await romeo.receives(`<iq type='error' id='t' from='${to}'>${refusal('auth', 'forbidden')}</iq>`);
  }
  await archives(juliet, ['one']);
});

scenario(
  'not offered where archives have to be retained',
  { config: { modules: { mam_trim: { enabled: false } } } },
  async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard');
    await notes(romeo, ['one']);
    await romeo.sends(trim());
    await romeo.receives(`<iq type='error' id='t'>${refusal('cancel', 'service-unavailable')}</iq>`);
    await archives(romeo, ['one']);
  },
);
