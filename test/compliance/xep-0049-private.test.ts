/** XEP-0049: private XML storage. */
import { NS } from '../../src/server/stanza/ns.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { type Peer, scenario } from './dialogue.js';
import { refusal } from './phrases.js';

const query = (content: string) => `<query xmlns='${NS.private}'>${content}</query>`;

async function stores(peer: Peer, content: string): Promise<void> {
  await peer.sends(`<iq type='set' id='set'>${query(content)}</iq>`);
  await peer.receives(`<iq type='result' id='set'/>`, { exactly: false });
}

async function finds(peer: Peer, asked: string, content: string): Promise<void> {
  await peer.sends(`<iq type='get' id='get'>${query(asked)}</iq>`);
  await peer.receives(`<iq type='result' id='get' to='${peer.jid}'>${query(content)}</iq>`, { exactly: true });
}

const ns = 'exodus:prefs';

scenario('§2.3: an element is stored unchanged under its name', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await finds(romeo, `<exodus xmlns='${ns}'/>`, `<exodus xmlns='${ns}'/>`);
  const prefs = `<exodus xmlns='${ns}' a='&lt;1&gt;'><defaultnick>Hamlet &amp; co.</defaultnick><p:x xmlns:p='urn:p' p:b='c'/></exodus>`;
  await stores(romeo, prefs);
  await finds(romeo, `<exodus xmlns='${ns}'/>`, prefs);
  // Another client, another name, another namespace
  const garden = await actor('romeo@localhost/garden');
  await finds(garden, `<exodus xmlns='${ns}'/>`, prefs);
  await finds(romeo, `<other xmlns='${ns}'/>`, `<other xmlns='${ns}'/>`);
  await finds(romeo, `<exodus xmlns='urn:other'/>`, `<exodus xmlns='urn:other'/>`);
  await stores(garden, `<exodus xmlns='${ns}'><new/></exodus><two xmlns='urn:two'/>`);
  await finds(romeo, `<exodus xmlns='${ns}'/>`, `<exodus xmlns='${ns}'><new/></exodus>`);
  await finds(romeo, `<two xmlns='urn:two'/>`, `<two xmlns='urn:two'/>`);
  // §2.3: several of one name belong together
  await stores(romeo, `<x xmlns='urn:x'>1</x><x xmlns='urn:x'>2</x>`);
  await finds(romeo, `<x xmlns='urn:x'/>`, `<x xmlns='urn:x'>1</x><x xmlns='urn:x'>2</x>`);
});

scenario('XEP-0048: bookmarks in private storage', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const bookmarks = `<storage xmlns='storage:bookmarks'><conference name='The Den' autojoin='true' jid='den@chat.example'>
    <nick>Romeo</nick></conference></storage>`;
  await stores(romeo, bookmarks);
  await finds(romeo, `<storage xmlns='storage:bookmarks'/>`, bookmarks);
});

scenario('§2.3, §3: invalid requests', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const refused: readonly (readonly ['get' | 'set', string, string])[] = [
    ['get', '', refusal('modify', 'bad-request')],
    ['get', `<a xmlns='urn:a'/><b xmlns='urn:b'/>`, refusal('modify', 'bad-request')],
    ['set', '', refusal('modify', 'not-acceptable')],
    ['set', `<item/>`, refusal('modify', 'not-acceptable')],
    ['set', `<x xmlns='${NS.roster}'/>`, refusal('modify', 'not-acceptable')],
    ['set', `<vCard xmlns='${NS.vcardTemp}'/>`, refusal('modify', 'not-acceptable')],
    ['set', `<x xmlns='${NS.muc}'/>`, refusal('modify', 'not-acceptable')],
  ];
  for (const [type, content, error] of refused) {
    await romeo.sends(`<iq type='${type}' id='1'>${query(content)}</iq>`);
    await romeo.receives(`<iq type='error' id='1'>${error}</iq>`);
  }
});

scenario("§4: access to another's data is forbidden, as for a missing account", async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  await stores(juliet, `<secret xmlns='urn:secret'>mine</secret>`);
  const romeo = await actor('romeo@localhost/orchard');
  for (const whose of ['juliet@localhost', 'nobody@localhost'])
    for (const type of ['get', 'set']) {
      await romeo.sends(`<iq type='${type}' id='1' to='${whose}'>${query(`<secret xmlns='urn:secret'/>`)}</iq>`);
      await romeo.receives(`<iq type='error' id='1' from='${whose}'>${refusal('auth', 'forbidden')}</iq>`);
    }
  await finds(juliet, `<secret xmlns='urn:secret'/>`, `<secret xmlns='urn:secret'>mine</secret>`);
});

const small = { config: { limits: { private_bytes: 200 } } };
scenario('§4: the total size is limited', small, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await stores(romeo, `<a xmlns='urn:a'>${'x'.repeat(80)}</a>`);
  await romeo.sends(`<iq type='set' id='1'>${query(`<b xmlns='urn:b'>${'x'.repeat(80)}</b>`)}</iq>`);
  await romeo.receives(`<iq type='error' id='1'>${refusal('modify', 'policy-violation')}</iq>`);
  await stores(romeo, `<a xmlns='urn:a'/>`);
  await stores(romeo, `<b xmlns='urn:b'>${'x'.repeat(80)}</b>`);
});

const lasting = new MemoryStorage();
scenario('§1: stored across a restart', { storage: () => lasting }, async ({ actor, stage }) => {
  await stores(await actor('romeo@localhost/orchard'), `<x xmlns='urn:x'>1</x>`);
  await stage.restart();
  await finds(await actor('romeo@localhost/orchard'), `<x xmlns='urn:x'/>`, `<x xmlns='urn:x'>1</x>`);
});
