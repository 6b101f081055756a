/** XEP-0485: PubSub Server Information. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { type Peer, scenario } from './dialogue.js';
import { play } from './servers.js';

const ns = 'urn:xmpp:serverinfo:0';
const on = (settings: Readonly<Record<string, unknown>> = {}) => ({
  modules: { server_info: { enabled: true, ...settings } },
});

async function discoOf(peer: Peer): Promise<Element> {
  await peer.sends(`<iq type='get' id='d' to='${peer.host}'><query xmlns='${NS.discoInfo}'/></iq>`);
  return (await peer.receives(`<iq type='result' id='d'/>`)).getChild('query', NS.discoInfo)!;
}

const ask = (peer: Peer) =>
  peer.sends(
    `<iq type='get' id='i' to='pubsub.${peer.host}'><pubsub xmlns='${NS.pubsub}'><items node='serverinfo'/></pubsub></iq>`,
  );

/** The information in an event or an answer: elements below their names, names of remote domains or '?'. */
function facts(information: Element) {
  const domain = information.getChild('domain', ns)!;
  const remotes = domain.getChild('federation', ns)?.getChildren('remote-domain', ns);
  return {
    domain: domain.attrs.name,
    software: information.getChild('query', NS.version)?.getChildText('name', NS.version) ?? undefined,
    remotes: remotes?.map(({ attrs }) => attrs.name ?? '?').sort(),
  };
}

scenario('§2: it is disabled unless the administrator enables it', {}, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const query = await discoOf(romeo);
  assert.equal(query.toString().includes(ns), false);
  await ask(romeo);
  await romeo.receives(
    `<iq type='error' id='i'><error type='cancel'><item-not-found xmlns='${NS.stanzas}'/></error></iq>`,
  );
});

scenario(
  '§2, §4, §5: the minimal information, at a node that is announced; each host has its own',
  { config: on({ remote_domains: 'none' }) },
  async ({ actor }) => {
    for (const address of ['romeo@localhost/orchard', 'juliet@elsewhere.example/balcony']) {
      const peer = await actor(address);
      const query = await discoOf(peer);
      assert.ok(query.getChildren('feature').some(({ attrs }) => attrs.var === ns));
      const forms = query.getChildren('x', NS.dataForms).filter((form) => form.toString().includes(NS.serverInfo));
      assert.equal(forms.length, 1, '§8.2: one form with the contact addresses');
      assert.match(forms[0]!.toString(), new RegExp(`xmpp:pubsub\\.${peer.host}\\?;node=serverinfo`));
      await peer.sends(
        `<iq type='get' id='n' to='pubsub.${peer.host}'><query xmlns='${NS.discoInfo}' node='serverinfo'/></iq>`,
      );
      await peer.receives(
        `<iq type='result' id='n'><query xmlns='${NS.discoInfo}'><identity category='pubsub' type='leaf'/></query></iq>`,
      );
      await ask(peer);
      const answer = await peer.receives(
        `<iq type='result' id='i'><pubsub xmlns='${NS.pubsub}'><items node='serverinfo'><item id='current'>
          <serverinfo xmlns='${ns}'><domain name='${peer.host}'/>
            <query xmlns='${NS.version}'><name>Waxwing</name><version>*</version></query></serverinfo>
        </item></items></pubsub></iq>`,
      );
      const items = answer.getChild('pubsub', NS.pubsub)!.getChild('items', NS.pubsub)!;
      assert.equal(items.getChildElements().length, 1);
      // Nobody else publishes there.
      await peer.sends(
        `<iq type='set' id='p' to='pubsub.${peer.host}'><pubsub xmlns='${NS.pubsub}'><publish node='serverinfo'>
          <item id='current'><serverinfo xmlns='${ns}'/></item></publish></pubsub></iq>`,
      );
      await peer.receives(`<iq type='error' id='p'><error type='auth'><forbidden xmlns='${NS.stanzas}'/></error></iq>`);
    }
  },
);

scenario(
  '§4: the software is left out if configured',
  { config: on({ software: false, remote_domains: 'counted' }) },
  async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard');
    await ask(romeo);
    const answer = await romeo.receives(`<iq type='result' id='i'/>`);
    const item = answer.getChild('pubsub', NS.pubsub)!.getChild('items', NS.pubsub)!.getChild('item', NS.pubsub)!;
    assert.deepEqual(facts(item.getChild('serverinfo', ns)!), {
      domain: 'localhost',
      software: undefined,
      remotes: [],
    });
  },
);

const [montague, capulet, verona] = ['montague.example', 'capulet.example', 'verona.example'];

for (const [remote_domains, wanted] of [
  ['named', ['?', capulet]],
  ['counted', ['?', '?']],
] as const)
  play(
    `§4, §7: connected servers are named only if they publish the same (${remote_domains})`,
    {
      [montague]: on({ update_seconds: 1, remote_domains }),
      [capulet]: on(),
      [verona]: {},
    },
    async (servers) => {
      const romeo = await servers.stage(montague).actor('romeo@montague.example/orchard', { presence: true });
      await romeo.sends(
        `<iq type='set' id='s' to='pubsub.${montague}'><pubsub xmlns='${NS.pubsub}'>
          <subscribe node='serverinfo' jid='romeo@montague.example'/></pubsub></iq>`,
      );
      await romeo.receives(`<iq type='result' id='s'/>`);
      for (const domain of [capulet, verona]) {
        await romeo.sends(`<iq type='get' id='${domain}' to='${domain}'><ping xmlns='${NS.ping}'/></iq>`);
      }
      // Answers, the last item and each update come in any order.
      for (;;) {
        const { name, attrs, ...stanza } = await romeo.receivesAny();
        if (name !== 'message') continue;
        const event = (stanza as unknown as Element).children.find(
          (child): child is Element => typeof child === 'object' && child.is('event', NS.pubsubEvent),
        );
        const item = event?.getChild('items', NS.pubsubEvent)?.getChild('item', NS.pubsubEvent);
        const { domain, remotes } = facts(item!.getChild('serverinfo', ns)!);
        assert.equal(domain, montague);
        assert.ok(!remotes!.includes(verona), 'this server has not agreed');
        assert.equal(attrs.from, `pubsub.${montague}`);
        if (JSON.stringify(remotes) === JSON.stringify(wanted)) break;
      }
    },
  );
