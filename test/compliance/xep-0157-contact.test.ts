/** XEP-0157: contact addresses of the service, in its disco#info. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, scenario } from './dialogue.js';

const contact = {
  abuse: ['mailto:abuse@localhost', 'xmpp:abuse@localhost'],
  security: ['https://localhost/security?a=1&b=2'],
};
const config = { hosts: { localhost: { contact }, 'elsewhere.example': {} } };

async function forms(peer: Peer) {
  await peer.sends(`<iq type='get' id='1' to='${peer.host}'><query xmlns='${NS.discoInfo}'/></iq>`);
  const result = await peer.receives(`<iq type='result' id='1'><query xmlns='${NS.discoInfo}'/></iq>`);
  return result
    .getChild('query', NS.discoInfo)!
    .getChildren('x', NS.dataForms)
    .map((form) => ({
      type: form.attrs.type,
      fields: Object.fromEntries(
        form
          .getChildren('field')
          .map((field) => [field.attrs.var!, field.getChildren('value').map((value) => value.getText())]),
      ),
    }))
    .filter(({ fields }) => fields.FORM_TYPE?.[0] === 'http://jabber.org/network/serverinfo');
}

scenario('§3: the contact addresses of the host, for its users', { config }, async ({ actor }) => {
  assert.deepEqual(await forms(await actor('romeo@localhost/orchard')), [
    {
      type: 'result',
      fields: {
        FORM_TYPE: ['http://jabber.org/network/serverinfo'],
        'abuse-addresses': contact.abuse,
        'security-addresses': contact.security,
      },
    },
  ]);
  // The other host has its own: none
  assert.deepEqual(await forms(await actor('juliet@elsewhere.example/balcony')), []);
});

scenario(
  '§3: administrators of the host are reachable, unless another address is configured',
  {
    config: {
      hosts: {
        localhost: { admins: ['romeo@localhost', 'o\\27neil?%@localhost'], contact: { security: contact.security } },
        'elsewhere.example': { admins: ['juliet@elsewhere.example'], contact: { admin: ['mailto:a@localhost'] } },
      },
    },
  },
  async ({ actor }) => {
    const fieldsFor = async (peer: Peer) => (await forms(peer)).map(({ fields }) => fields);
    assert.deepEqual(await fieldsFor(await actor('romeo@localhost/orchard')), [
      {
        FORM_TYPE: ['http://jabber.org/network/serverinfo'],
        'admin-addresses': ['xmpp:romeo@localhost', 'xmpp:o%5C27neil%3F%25@localhost'],
        'security-addresses': contact.security,
      },
    ]);
    assert.deepEqual(await fieldsFor(await actor('juliet@elsewhere.example/balcony')), [
      { FORM_TYPE: ['http://jabber.org/network/serverinfo'], 'admin-addresses': ['mailto:a@localhost'] },
    ]);
  },
);

scenario(
  '§5: administrators may stay unnamed',
  {
    config: {
      hosts: { localhost: { admins: ['romeo@localhost'] }, 'elsewhere.example': {} },
      modules: { contact: { publish_admins: false } },
    },
  },
  async ({ actor }) => {
    assert.deepEqual(await forms(await actor('romeo@localhost/orchard')), []);
  },
);
