/** XEP-0441: Message Archive Management Preferences. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { bareForm, desktopForm, typedForm, wholeForm } from './client-forms.js';
import { type Peer, scenario } from './dialogue.js';
import { befriends, refusal } from './phrases.js';

const prefs = (policy: string, always = '', never = ''): string =>
  `<prefs xmlns='${NS.mam}' default='${policy}'><always>${always}</always><never>${never}</never></prefs>`;
const jid = (address: string): string => `<jid>${address}</jid>`;
const get = `<iq type='get' id='g'><prefs xmlns='${NS.mam}'/></iq>`;
const set = (payload: string): string => `<iq type='set' id='s'>${payload}</iq>`;

async function archives(who: Peer, bodies: readonly string[]): Promise<void> {
  await who.sends(`<iq type='set' id='q'><query xmlns='${NS.mam}'/></iq>`);
  for (const body of bodies)
    await who.receives(
      `<message><result xmlns='${NS.mam}'><forwarded xmlns='${NS.forward}'><message xmlns='jabber:client'><body>${body}</body></message></forwarded></result></message>`,
    );
  await who.receives(`<iq type='result' id='q'><fin xmlns='${NS.mam}' complete='true'/></iq>`);
}

scenario('§2.1 preferences are set and returned', async ({ actor, stage }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(get);
  await romeo.receives(`<iq to='{romeo}' type='result' id='g'>${prefs('always')}</iq>`, { exactly: true });
  const wanted = prefs('roster', jid('juliet@localhost') + jid('Nurse@LOCALHOST/x'), jid('tybalt@localhost'));
  const stored = wanted.replace('Nurse@LOCALHOST/x', 'nurse@localhost/x');
  await romeo.sends(set(wanted));
  await romeo.receives(`<iq to='{romeo}' type='result' id='s'>${stored}</iq>`, { exactly: true });
  await stage.restart();
  const again = await actor('romeo@localhost/orchard');
  await again.sends(get);
  await again.receives(`<iq to='{romeo}' type='result' id='g'>${stored}</iq>`, { exactly: true });
  // §2.1.2, §2.1.3: lists that are left out are empty
  await again.sends(set(`<prefs xmlns='${NS.mam}' default='never'/>`));
  await again.receives(`<iq to='{romeo}' type='result' id='s'>${prefs('never')}</iq>`, { exactly: true });
});

scenario('§2.1 invalid preferences', { config: { modules: { mam_prefs: { max_items: 2 } } } }, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const cases: [payload: string, error: string][] = [
    [`<prefs xmlns='${NS.mam}'/>`, refusal('modify', 'bad-request')],
    [prefs('sometimes'), refusal('modify', 'bad-request')],
    [prefs('never', jid('@@')), refusal('modify', 'jid-malformed')],
    [prefs('never', '', jid('')), refusal('modify', 'jid-malformed')],
    [prefs('never', jid('a@b') + jid('b@b'), jid('c@b')), refusal('wait', 'resource-constraint')],
  ];
  for (const [payload, error] of cases) {
    await romeo.sends(set(payload));
    await romeo.receives(`<iq type='error' id='s'>${error}</iq>`);
  }
  await romeo.sends(get);
  await romeo.receives(`<iq type='result' id='g'>${prefs('always')}</iq>`);
});

scenario('preferences of others are not readable', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await actor('juliet@localhost/balcony');
  for (const to of ['juliet@localhost', 'nobody@localhost']) {
    await romeo.sends(get.replace("id='g'", `id='g' to='${to}'`));
    await romeo.receives(`<iq type='error' id='g' from='${to}'>${refusal('auth', 'forbidden')}</iq>`);
    await romeo.sends(set(prefs('never')).replace("id='s'", `id='s' to='${to}'`));
    await romeo.receives(`<iq type='error' id='s' from='${to}'>${refusal('auth', 'forbidden')}</iq>`);
  }
});

scenario('§2.1.1, §2.3 preferences decide which incoming and outgoing messages are archived', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const nurse = await actor('nurse@localhost/house', { presence: true });
  await befriends(romeo, juliet);
  await romeo.sends(set(prefs('roster', '', jid('juliet@localhost/cellar'))));
  await romeo.receives(`<iq type='result' id='s'/>`);
  await juliet.sends("<message to='romeo@localhost' type='chat'><body>from a contact</body></message>");
  await nurse.sends("<message to='romeo@localhost' type='chat'><body>from a stranger</body></message>");
  await juliet.syncs();
  await nurse.syncs();
  for (const to of ['juliet@localhost', 'nurse@localhost', 'juliet@localhost/cellar'])
    await romeo.sends(`<message to='${to}' type='chat'><body>to ${to}</body></message>`);
  await romeo.sends("<message to='romeo@localhost' type='chat'><body>note</body></message>");
  await romeo.syncs();
  romeo.forgets();
  await archives(romeo, ['from a contact', 'to juliet@localhost', 'note']);
});

scenario('§2.2 a command for more preferences', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const node = 'urn:xmpp:mam#configure';
  await romeo.sends(
    `<iq type='get' id='i' to='romeo@localhost'><query xmlns='${NS.discoItems}' node='${NS.commands}'/></iq>`,
  );
  await romeo.receives(
    `<iq type='result' id='i'><query xmlns='${NS.discoItems}'><item jid='romeo@localhost' node='${node}' name='*'/></query></iq>`,
  );
  await romeo.sends(
    `<iq type='set' id='c' to='romeo@localhost'><command xmlns='${NS.commands}' node='${node}' action='execute'/></iq>`,
  );
  await romeo.receives(
    `<iq type='result' id='c'><command xmlns='${NS.commands}' node='${node}' status='executing' sessionid='{session}'>
      <x xmlns='jabber:x:data' type='form'><field var='default'><value>always</value></field><field var='days'/></x></command></iq>`,
  );
  await romeo.sends(
    `<iq type='set' id='c' to='romeo@localhost'><command xmlns='${NS.commands}' node='${node}' sessionid='{session}' action='complete'>
      <x xmlns='jabber:x:data' type='submit'><field var='default'><value>roster</value></field>
      <field var='never'><value>tybalt@localhost</value></field><field var='days'><value>30</value></field></x></command></iq>`,
  );
  await romeo.receives(
    `<iq type='result' id='c'><command xmlns='${NS.commands}' node='${node}' status='completed'/></iq>`,
  );
  await romeo.sends(get);
  await romeo.receives(`<iq type='result' id='g'>${prefs('roster', '', jid('tybalt@localhost'))}</iq>`);
});

scenario('§2.2 the form of the command, as clients return it', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const executes = async (attributes: string, form = ''): Promise<Element> => {
    await romeo.sends(
      `<iq type='set' id='c' to='romeo@localhost'>
        <command xmlns='${NS.commands}' node='urn:xmpp:mam#configure' ${attributes}>${form}</command></iq>`,
    );
    return (await romeo.receives(`<iq type='result' id='c'/>`)).getChild('command', NS.commands)!;
  };
  await romeo.sends(set(prefs('roster', jid('juliet@localhost') + jid('nurse@localhost'), jid('tybalt@localhost'))));
  await romeo.receives(`<iq type='result' id='s'/>`);
  let before: string | undefined;
  for (const fill of [bareForm, desktopForm, typedForm, wholeForm]) {
    const command = await executes(`action='execute'`);
    const form = command.getChild('x', NS.dataForms)!;
    before ??= form.toString();
    assert.equal(form.toString(), before);
    const returned = fill(form, {});
    await executes(`sessionid='${command.attrs.sessionid}' action='complete'`, returned.toString());
  }
  assert.equal((await executes(`action='execute'`)).getChild('x', NS.dataForms)!.toString(), before);
});

scenario(
  'the default is configurable',
  { config: { modules: { mam_prefs: { default: 'never' } } } },
  async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard');
    await romeo.sends(get);
    await romeo.receives(`<iq type='result' id='g'>${prefs('never')}</iq>`);
    await romeo.sends("<message to='romeo@localhost' type='chat'><body>x</body></message>");
    await archives(romeo, []);
    await romeo.sends(set(prefs('always')));
    await romeo.receives("<iq type='result' id='s'/>");
    await romeo.sends("<message to='romeo@localhost' type='chat'><body>y</body></message>");
    await archives(romeo, ['y']);
  },
);

scenario(
  'disabled, there are no preferences',
  { config: { modules: { mam_prefs: { enabled: false } } } },
  async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard');
    await romeo.sends(get);
    await romeo.receives(`<iq type='error' id='g'>${refusal('cancel', 'service-unavailable')}</iq>`);
    await romeo.sends("<message to='romeo@localhost' type='chat'><body>x</body></message>");
    await archives(romeo, ['x']);
  },
);
