/**
 * XEP-0060 §7.1.5, §8.2: publish options and node configuration as Borogove, Conversations, Converse.js, Dino, Gajim and
 * Monal send them (docs/decisions/0017-client-forms.md).
 */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { bareForm, type Changes, fieldsOf, nodeForm, valuesOf, wholeForm } from './client-forms.js';
import { type Peer, scenario } from './dialogue.js';
import { configure, create, error, type Options, owner, pubsub, result, submitted } from './pubsub.js';

const bookmarks = 'urn:xmpp:bookmarks:1';

const publish = (node: string, id: string, payload: string, options: Options): string =>
  pubsub(
    'set',
    `<publish node='${node}'><item id='${id}'>${payload}</item></publish>
      <publish-options>${submitted('publish-options', options)}</publish-options>`,
  );

/** Another client's change of the node is not of interest here. */
async function isDone(peer: Peer): Promise<void> {
  await peer.syncs();
  const answer = peer.forgets().find(({ attrs }) => attrs.id === 'p');
  assert.equal(answer?.attrs.type, 'result', String(answer));
}

async function formOf(peer: Peer, node: string): Promise<Element> {
  await peer.sends(owner('get', `<configure node='${node}'/>`));
  const answer = await peer.receives(`<iq type='result' id='p'/>`);
  const configured = answer.getChild('pubsub', NS.pubsubOwner)!.getChild('configure', NS.pubsubOwner)!;
  return configured.getChild('x', NS.dataForms)!;
}

const conference = `<conference xmlns='${bookmarks}' name='Inn' autojoin='true'/>`;
const state = (id: string): string =>
  `<displayed xmlns='${NS.displayed}'><stanza-id xmlns='${NS.stanzaId}' by='inn@conference.localhost' id='${id}'/></displayed>`;
const privately = { persist_items: 'true', max_items: 'max', access_model: 'whitelist' };
const silently = { ...privately, send_last_published_item: 'never' };
const told = { notify_delete: 'true', notify_retract: 'true' };
const devices = `<list xmlns='eu.siacs.conversations.axolotl'><device id='1'/></list>`;

/** What clients publish, and the options of each. */
const nodes: Readonly<Record<string, { payload: string; options: Readonly<Record<string, Options>> }>> = {
  [bookmarks]: {
    payload: conference,
    options: {
      Borogove: { ...silently, ...told },
      Conversations: { ...silently, ...told },
      'Converse.js': silently,
      Dino: silently,
      Gajim: { ...silently, ...told },
      Monal: { ...privately, ...told },
    },
  },
  [NS.displayed]: {
    payload: state('1'),
    options: { Conversations: { ...silently, ...told }, Dino: silently, Gajim: silently, slixmpp: silently },
  },
  'eu.siacs.conversations.axolotl.devicelist': {
    payload: devices,
    options: {
      Conversations: { access_model: 'open' },
      'Converse.js': { access_model: 'open' },
      slixmpp: { access_model: 'open', persist_items: 'true' },
      Monal: { access_model: 'open', persist_items: 'true', ...told },
    },
  },
};

for (const [node, { payload, options }] of Object.entries(nodes)) {
  scenario(`§7.1.5: clients share ${node}, whichever of them creates it`, async ({ actor }) => {
    const juliet = await actor('juliet@localhost/balcony');
    for (const first of Object.values(options)) {
      for (const [client, wanted] of [['the first', first] as const, ...Object.entries(options)]) {
        await juliet.sends(publish(node, 'inn@conference.localhost', payload, wanted));
        await isDone(juliet).catch((failure: unknown) => assert.fail(`${client}: ${failure}`));
      }
      await juliet.sends(owner('set', `<delete node='${node}'/>`));
      await isDone(juliet);
    }
  });
}

const fills: Readonly<Record<string, (form: Element, changes: Changes) => Element>> = {
  'Dino, Gajim, Monal': wholeForm,
  Conversations: bareForm,
};

scenario('§7.1.5.3: a node with other settings is configured and published to again', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  const other = { access_model: 'presence', max_items: '5', send_last_published_item: 'on_sub', title: 'Inns' };
  const wanted = { ...silently, ...told };
  const sent = publish(bookmarks, 'inn@conference.localhost', conference, wanted);
  const changes = Object.fromEntries(Object.entries(wanted).map(([name, value]) => [`pubsub#${name}`, value]));
  for (const fill of [...Object.values(fills), nodeForm]) {
    await juliet.sends(create(bookmarks, other));
    await juliet.receives(result());
    await juliet.sends(sent);
    await juliet.receives(error('cancel', 'conflict', 'precondition-not-met'));
    const form = await formOf(juliet, bookmarks);
    // Monal gives up unless each of its options is there with a value
    const valued = fieldsOf(form).filter((field) => valuesOf(field).length > 0);
    for (const name of Object.keys(changes))
      assert.ok(
        valued.some(({ attrs }) => attrs.var === name),
        name,
      );
    await juliet.sends(owner('set', `<configure node='${bookmarks}'>${fill(form, changes)}</configure>`));
    await isDone(juliet);
    await juliet.sends(sent);
    await isDone(juliet);
    const now = new Map(fieldsOf(await formOf(juliet, bookmarks)).map((field) => [field.attrs.var, valuesOf(field)]));
    assert.deepEqual(now.get('pubsub#title'), ['Inns']);
    await juliet.sends(owner('set', `<delete node='${bookmarks}'/>`));
    await isDone(juliet);
  }
  // Borogove sends its publish options as they are
  await juliet.sends(create(bookmarks, other));
  await juliet.receives(result());
  await juliet.sends(
    owner('set', `<configure node='${bookmarks}'>${submitted('publish-options', wanted)}</configure>`),
  );
  await isDone(juliet);
  await juliet.sends(sent);
  await isDone(juliet);
});

scenario('§8.2: a form that comes back as it was changes nothing', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  await juliet.sends(
    `<iq type='set' id='p'><query xmlns='${NS.roster}'><item jid='romeo@localhost'><group>Friends</group></item></query></iq>`,
  );
  await isDone(juliet);
  const configs: Readonly<Record<string, Options>> = {
    plain: {},
    full: {
      title: 'A &lt;title>',
      description: 'one',
      contact: ['juliet@localhost', 'romeo@localhost'],
      language: 'en',
      access_model: 'roster',
      roster_groups_allowed: ['Friends', 'Foes'],
      max_items: 'max',
      item_expire: '60',
      notification_type: 'chat',
      publish_model: 'open',
    },
    collection: { node_type: 'collection', children_association_policy: 'whitelist' },
  };
  for (const [node, options] of Object.entries(configs)) {
    await juliet.sends(create(node, options));
    await juliet.receives(result());
    const before = await formOf(juliet, node);
    for (const field of fieldsOf(before)) {
      const offered = field.getChildren('option', NS.dataForms).flatMap(valuesOf);
      assert.equal(new Set(offered).size, offered.length, `${field}`);
    }
    for (const [client, fill] of Object.entries(fills)) {
      await juliet.sends(owner('set', `<configure node='${node}'>${fill(before, {})}</configure>`));
      await juliet.receives(result());
      assert.equal((await formOf(juliet, node)).toString(), before.toString(), `${client}: ${node}`);
    }
  }
  // a form of something else is refused all the same
  await juliet.sends(owner('set', `<configure node='plain'>${submitted('subscribe_options', {})}</configure>`));
  await juliet.receives(error('modify', 'bad-request'));
  await juliet.sends(configure('plain', { title: 'x' }));
  await juliet.receives(result());
});
