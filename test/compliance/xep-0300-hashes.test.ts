/**
 * XEP-0300: the server reads no hashes of others, and so does not claim to (§5); those that it makes are named as the registry
 * of hash functions names them; those of others go through as they are.
 */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { scenario } from './dialogue.js';

const hashes = 'urn:xmpp:hashes:2';

scenario('§5: only existing support is announced', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  for (const to of ['localhost', 'romeo@localhost', 'conference.localhost', 'pubsub.localhost']) {
    await romeo.sends(`<iq type='get' id='1' to='${to}'><query xmlns='${NS.discoInfo}'/></iq>`);
    const info = await romeo.receives(`<iq type='result' id='1'/>`);
    const features = info
      .getChild('query', NS.discoInfo)!
      .getChildren('feature')
      .map(({ attrs }) => attrs.var as string);
    assert.deepEqual(
      features.filter((feature) => feature.startsWith('urn:xmpp:hash')),
      [],
      to,
    );
  }
});

scenario('§4: hash names are from the registry', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const romeo = await connect();
  await romeo.opens();
  await romeo.receivesFeatures();
  const features = await romeo.authenticates('romeo');
  assert.equal(features.getChild('c', NS.caps)?.attrs.hash, 'sha-1');
});

scenario('§3: hashes in messages are delivered unchanged', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const content = `<file xmlns='urn:xmpp:file:metadata:0'><hash xmlns='${hashes}' algo='sha3-256'>2XarmwTlNxDAMkvymloX3S5+VbylNrJt/l5QyPa+YoU=</hash>
    <hash xmlns='${hashes}' algo='id-blake2b256'>2XarmwTlNxDAMkvymloX3S5+VbylNrJt/l5QyPa+YoU=</hash></file>`;
  await romeo.sends(`<message to='juliet@localhost'><body>x</body>${content}</message>`);
  await juliet.receives(`<message><body>x</body>${content}</message>`);
});
