/** What people publish of themselves (XEP-0163), for contacts of the other server. `one` reads, `other` publishes. */
import assert from 'node:assert/strict';
import { NS } from '../../../src/server/stanza/ns.js';
import type { Client } from './client.js';
import type { Play } from './scene.js';

const devices = `${NS.omemoLegacy}.devicelist`;
const bundles = `${NS.omemoLegacy}.bundles:12345`;
const notified = [`${NS.avatarMetadata}+notify`, `${devices}+notify`];

/** A picture: what is in it does not matter to servers. */
const picture = Buffer.from('a picture of Juliet, of some size '.repeat(500)).toString('base64');

const option = (name: string, value: string): string => `<field var='${name}'><value>${value}</value></field>`;

const openNode = `<publish-options><x xmlns='${NS.dataForms}' type='submit'><field var='FORM_TYPE' type='hidden'><value>${NS.pubsub}#publish-options</value></field>${option('pubsub#persist_items', 'true')}${option('pubsub#access_model', 'open')}</x></publish-options>`;

const publish = (client: Client, node: string, payload: string, options = ''): Promise<unknown> =>
  client.asks(
    'set',
    `<pubsub xmlns='${NS.pubsub}'><publish node='${node}'><item id='current'>${payload}</item></publish>${options}</pubsub>`,
  );

const fetched = (node: string): string => `<pubsub xmlns='${NS.pubsub}'><items node='${node}'/></pubsub>`;

const event = (from: string, node: string, item: string): string =>
  `<message from='${from}' type='headline'><event xmlns='${NS.pubsubEvent}'><items node='${node}'><item>${item}</item></items></event></message>`;

export const pep: readonly Play[] = [
  {
    title: 'a picture (XEP-0084): contacts are notified, and fetch it',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other, { features: notified });
      await juliet.can.pep.setAvatar('image/png', picture);
      await romeo.gets(
        event(
          juliet.bare,
          NS.avatarMetadata,
          `<metadata xmlns='${NS.avatarMetadata}'><info type='image/png'/></metadata>`,
        ),
      );
      assert.equal(await romeo.can.pep.avatar(juliet.bare), picture);
      // XEP-0163 §4.3.2: who becomes available gets the last item.
      const second = await scene.someone(one, { bare: romeo.bare, resource: 'laptop', features: notified });
      await second.gets(event(juliet.bare, NS.avatarMetadata, `<metadata xmlns='${NS.avatarMetadata}'/>`));
    },
  },
  {
    title: 'OMEMO (XEP-0384): contacts are notified of devices, and anybody fetches keys',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other, { features: notified });
      const list = `<list xmlns='${NS.omemoLegacy}'><device id='12345'/></list>`;
      await publish(juliet, devices, list, openNode);
      await romeo.gets(event(juliet.bare, devices, list));
      const keys = `<bundle xmlns='${NS.omemoLegacy}'><identityKey>BQ==</identityKey><prekeys><preKeyPublic preKeyId='1'>BQ==</preKeyPublic></prekeys></bundle>`;
      await publish(juliet, bundles, keys, openNode);
      const paris = await scene.someone(one);
      for (const person of [romeo, paris]) {
        const answer = await person.asks('get', fetched(bundles), juliet.bare);
        const item = answer.getChild('pubsub', NS.pubsub)?.getChild('items')?.getChild('item');
        assert.equal(item?.getChild('bundle', NS.omemoLegacy)?.getChildText('identityKey'), 'BQ==');
      }
      // Somebody else's keys are theirs to publish.
      const item = `<item id='current'>${keys}</item>`;
      const forged = `<pubsub xmlns='${NS.pubsub}'><publish node='${bundles}'>${item}</publish></pubsub>`;
      assert.equal(await romeo.isRefused('set', forged, juliet.bare), 'forbidden');
    },
  },
  {
    title: 'what is for contacts alone is kept from others',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other, { features: notified });
      const tune = `<nick xmlns='http://jabber.org/protocol/nick'>Jule</nick>`;
      await publish(juliet, 'http://jabber.org/protocol/nick', tune);
      await romeo.asks('get', fetched('http://jabber.org/protocol/nick'), juliet.bare);
      const paris = await scene.someone(one);
      const condition = await paris.isRefused('get', fetched('http://jabber.org/protocol/nick'), juliet.bare);
      assert.ok(['not-authorized', 'forbidden', 'item-not-found'].includes(condition), condition);
    },
  },
];
