/** XEP-0030: what may be found out about the server, its services and its accounts, and by whom. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { type Peer, scenario } from './dialogue.js';
import { befriends, refusal, subscribes } from './phrases.js';

const info = (node?: string) => `<query xmlns='${NS.discoInfo}'${node === undefined ? '' : ` node='${node}'`}/>`;
const items = (node?: string) => `<query xmlns='${NS.discoItems}'${node === undefined ? '' : ` node='${node}'`}/>`;

async function asks(peer: Peer, to: string, query: string): Promise<Element> {
  await peer.sends(`<iq type='get' id='disco' to='${to}'>${query}</iq>`);
  const result = await peer.receives(`<iq type='result' id='disco' from='${to}' to='${peer.jid}'>${query}</iq>`);
  return result.getChildElements()[0]!;
}

async function isRefused(peer: Peer, to: string, query: string, error: string): Promise<void> {
  await peer.sends(`<iq type='get' id='disco' to='${to}'>${query}</iq>`);
  await peer.receives(`<iq type='error' id='disco' from='${to}'>${query}${error}</iq>`);
}

const features = (query: Element) => query.getChildren('feature').map(({ attrs }) => attrs.var);
const addresses = (query: Element) => query.getChildren('item').map(({ attrs }) => attrs.jid);

scenario('§3.1: the server', async ({ actor }) => {
  for (const host of ['localhost', 'elsewhere.example']) {
    const romeo = await actor(`romeo@${host}/orchard`);
    const query = await asks(romeo, host, info());
    const identities = query.getChildren('identity').map(({ attrs }) => `${attrs.category}/${attrs.type}`);
    assert.ok(identities.includes('server/im'));
    const found = features(query);
    for (const needed of [NS.discoInfo, NS.discoItems]) assert.ok(found.includes(needed), needed);
    assert.equal(new Set(found).size, found.length, 'no feature twice');
    for (const { name, children } of query.getChildElements())
      assert.ok(name === 'x' || children.length === 0, 'identities and features are empty');
  }
});

scenario('§4.1: the server lists its services, and each describes itself', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const services = addresses(await asks(romeo, 'localhost', items()));
  assert.ok(services.length > 0);
  for (const service of services) {
    const query = await asks(romeo, service!, info());
    assert.ok(query.getChild('identity'), `${service} has an identity`);
    assert.ok(features(query).includes(NS.discoInfo));
    await asks(romeo, service!, items());
  }
});

scenario('§3.2, §7: a missing node', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const error = refusal('cancel', 'item-not-found');
  for (const to of ['localhost', 'romeo@localhost']) {
    await isRefused(romeo, to, info('no such node'), error);
    await isRefused(romeo, to, items('no such node'), error);
  }
});

scenario('§3.1, §4.1: an account, to itself and its subscribers', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const balcony = await actor('juliet@localhost/balcony', { presence: true });
  await actor('juliet@localhost/chamber', { presence: '<presence><priority>-1</priority></presence>' });
  await actor('juliet@localhost/silent');
  await subscribes(romeo, balcony);
  for (const peer of [romeo, balcony]) {
    const query = await asks(peer, 'juliet@localhost', info());
    const identities = query.getChildren('identity').map(({ attrs }) => `${attrs.category}/${attrs.type}`);
    assert.ok(identities.includes('account/registered'));
    assert.ok(features(query).includes(NS.discoInfo));
    assert.deepEqual(addresses(await asks(peer, 'juliet@localhost', items())).sort(), [
      'juliet@localhost/balcony',
      'juliet@localhost/chamber',
    ]);
  }
  // Without an address it is the account that answers
  await balcony.sends(`<iq type='get' id='own'>${info()}</iq>`);
  await balcony.receives(
    `<iq type='result' id='own'><query xmlns='${NS.discoInfo}'><identity category='account' type='registered'/></query></iq>`,
  );
});

scenario('§8: an account that is not visible looks missing', async ({ actor, stage }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await stage.account('paris@localhost');
  const tybalt = await actor('tybalt@elsewhere.example/street', { presence: true });
  // She is subscribed to Romeo, but not Romeo to her
  await subscribes(juliet, romeo);
  const answers = new Set<string>();
  const set = `<set xmlns='${NS.rsm}'><max>5</max><after>y</after></set>`;
  const [paged, pagedNode] = [items(), items('x')].map((query) => query.replace('/>', `>${set}</query>`)) as [
    string,
    string,
  ];
  for (const outsider of [romeo, tybalt]) {
    for (const whom of ['juliet@localhost', 'paris@localhost', 'nobody@localhost']) {
      const received: string[] = [];
      for (const query of [
        info(),
        info('x'),
        info(NS.commands),
        items(),
        items('x'),
        items(NS.commands),
        paged,
        pagedNode,
      ]) {
        await outsider.sends(`<iq type='get' id='disco' to='${whom}'>${query}</iq>`);
        received.push(
          String(await outsider.receivesAny())
            .replaceAll(whom, 'WHOM')
            .replaceAll(outsider.jid, 'WHO'),
        );
      }
      answers.add(received.join('\n'));
    }
    for (const node of [undefined, 'x', NS.commands])
      for (const whom of ['juliet@localhost', 'nobody@localhost']) {
        await isRefused(outsider, whom, info(node), refusal('cancel', 'service-unavailable'));
        assert.deepEqual((await asks(outsider, whom, items(node))).children, []);
      }
  }
  assert.equal(answers.size, 1, [...answers].join('\n\n'));
  await juliet.receivesNothing();
});

scenario('§8: access ends with the subscription', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await befriends(romeo, juliet);
  await asks(romeo, 'juliet@localhost', info());
  await juliet.sends(`<presence type='unsubscribed' to='romeo@localhost'/>`);
  await juliet.syncs();
  await romeo.syncs();
  romeo.forgets();
  await isRefused(romeo, 'juliet@localhost', info(), refusal('cancel', 'service-unavailable'));
  assert.deepEqual((await asks(romeo, 'juliet@localhost', items())).children, []);
});

scenario('§3.1: a client answers requests to itself', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await romeo.sends(`<iq type='get' id='1' to='juliet@localhost/balcony'>${info('urn:x#ver')}</iq>`);
  await juliet.receives(`<iq type='get' id='1' from='romeo@localhost/orchard'>${info('urn:x#ver')}</iq>`);
  await juliet.sends(`<iq type='result' id='1' to='romeo@localhost/orchard'><query xmlns='${NS.discoInfo}' node='urn:x#ver'>
    <identity category='client' type='pc'/></query></iq>`);
  await romeo.receives(`<iq type='result' id='1' from='juliet@localhost/balcony'><query xmlns='${NS.discoInfo}'>
    <identity category='client' type='pc'/></query></iq>`);
  await isRefused(romeo, 'juliet@localhost/nowhere', info(), refusal('cancel', 'service-unavailable'));
});
