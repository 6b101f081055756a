/** XEP-0355: Namespace Delegation. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { type ComponentPeer, type ComponentScene, withComponents } from './component.js';
import type { Peer, Scene } from './dialogue.js';
import { befriends, refusal } from './phrases.js';

const ns = 'urn:example:delegated';
const filtered = 'urn:example:filtered';
const delegation = NS.delegation;
const unavailable = refusal('cancel', 'service-unavailable');
const infoOfAccounts = `${delegation}:bare:disco#info:*`;
const itemsOfAccounts = `${delegation}:bare:disco#items:*`;

/** `mantua` answers for accounts of localhost; `padua` for nothing. */
const play = (
  title: string,
  namespaces: Readonly<Record<string, readonly string[]>>,
  dialogue: (scene: ComponentScene & { friar: ComponentPeer }) => Promise<void>,
  more: Parameters<typeof withComponents>[3] & { readonly privileges?: Readonly<Record<string, unknown>> } = {},
) =>
  withComponents(
    title,
    {
      mantua: {
        delegations: { localhost: namespaces },
        ...(more.privileges && { privileges: { localhost: more.privileges } }),
      },
      padua: {},
    },
    async (scene) => dialogue({ ...scene, friar: await connects(scene, namespaces, more.privileges !== undefined) }),
    more,
  );

/** Logs in, hears what it is to do, and describes nothing. */
async function connects(
  scene: Pick<ComponentScene, 'component'>,
  namespaces: Readonly<Record<string, unknown>>,
  isPrivileged = false,
): Promise<ComponentPeer> {
  const friar = await scene.component('mantua').logsIn();
  const heard = [await friar.hears('message'), ...(isPrivileged ? [await friar.hears('message')] : [])];
  const announced = heard.map(({ content }) => /^<(\w+) xmlns="([^"]+)"/.exec(content)!.slice(1));
  const expected = [['delegation', delegation], ...(isPrivileged ? [['privilege', NS.privilege]] : [])];
  assert.deepEqual(announced.sort(), expected);
  const described = Object.keys(namespaces).filter((one) => !one.startsWith(delegation));
  for (const node of described.flatMap((one) => [`${delegation}::${one}`, `${delegation}:bare:${one}`])) {
    await friar.receives(`<iq type='get' id='{asked}'><query xmlns='${NS.discoInfo}' node='${node}'/></iq>`);
    friar.sends(`<iq type='error' id='{asked}' from='mantua' to='localhost'/>`);
    friar.known.delete('asked');
  }
  await friar.hearsNothing();
  return friar;
}

const request = (content: string, attributes = `type='get' id='1'`) => `<iq ${attributes}>${content}</iq>`;
const wrapped = (inner: string) =>
  `<delegation xmlns='${delegation}'><forwarded xmlns='${NS.forward}'>${inner}</forwarded></delegation>`;
const inner = (attributes: string, content = '') => `<iq xmlns='jabber:client' ${attributes}>${content}</iq>`;
const query = `<query xmlns='${ns}'><x/></query>`;

/** The component gets a delegated request, whose wrapper has the id `name`. */
const gets = (friar: ComponentPeer, attributes: string, content: string, name = 'd') => {
  friar.known.delete(name);
  return friar.receives(
    `<iq type='set' id='{${name}}' from='localhost' to='mantua'>${wrapped(inner(attributes, content))}</iq>`,
  );
};
const replies = (friar: ComponentPeer, result: string, name = 'd', type = 'result') =>
  friar.sends(`<iq type='${type}' id='{${name}}' from='mantua' to='localhost'>${result}</iq>`);

async function metric({ server }: Pick<Scene, 'server'>, name: string): Promise<number> {
  const { text } = await server.metrics.text();
  return Number(new RegExp(`^waxwing_delegation_${name} (\\d+)`, 'm').exec(text)?.[1]);
}

// --- §4.2 ---------------------------------------------------------------------------------------------------------------

withComponents(
  '§4.2: delegations are announced after the login, by each host',
  {
    mantua: {
      connections: 2,
      delegations: {
        localhost: { [ns]: [], [filtered]: ['node', 'jid'] },
        'elsewhere.example': { [itemsOfAccounts]: [] },
      },
    },
    padua: {},
  },
  async ({ component }) => {
    for (const friar of [await component('mantua').logsIn(), await component('mantua').logsIn()]) {
      const received = [await friar.hears('message'), await friar.hears('message')];
      assert.deepEqual(
        received.map(({ attrs, content }) => [attrs.from, attrs.to, content.replaceAll('"', "'")]),
        [
          [
            'localhost',
            'mantua',
            `<delegation xmlns='${delegation}'><delegated namespace='${ns}'/>` +
              `<delegated namespace='${filtered}'><attribute name='node'/><attribute name='jid'/></delegated></delegation>`,
          ],
          [
            'elsewhere.example',
            'mantua',
            `<delegation xmlns='${delegation}'><delegated namespace='${itemsOfAccounts}'/></delegation>`,
          ],
        ],
      );
    }
    await (await component('padua').logsIn()).hearsNothing();
  },
);

// --- §4.3 ---------------------------------------------------------------------------------------------------------------

play('§4.3: requests to the own account, another account and the host are forwarded', { [ns]: [] }, async (scene) => {
  const { actor, friar } = scene;
  const romeo = await actor('romeo@localhost/orchard');
  await actor('juliet@localhost/balcony');
  for (const [to, from] of [
    ['', ''],
    [`to='romeo@localhost'`, `from='romeo@localhost'`],
    [`to='juliet@localhost'`, `from='juliet@localhost'`],
    [`to='juliet@localhost'`, ''],
    [`to='localhost'`, `from='localhost'`],
  ] as const)
    for (const type of ['get', 'set']) {
      await romeo.sends(request(query, `type='${type}' id='1' ${to}`));
      await gets(friar, `type='${type}' id='1' from='romeo@localhost/orchard' ${to}`, query);
      replies(
        friar,
        wrapped(
          inner(`type='result' id='1' to='romeo@localhost/orchard' ${from}`, `<query xmlns='${ns}'><y/></query>`),
        ),
      );
      await romeo.receives(
        `<iq type='result' id='1' to='romeo@localhost/orchard'><query xmlns='${ns}'><y xmlns='${ns}'/></query></iq>`,
      );
    }
  await romeo.sends(request(query));
  await gets(friar, `id='1'`, query);
  replies(friar, wrapped(inner(`type='result' id='1' to='romeo@localhost/orchard'`)));
  await romeo.receives(`<iq type='result' id='1' to='romeo@localhost/orchard'/>`, { exactly: true });
  await friar.hearsNothing();
});

play('§4.3: other hosts, clients and accounts that do not exist are not delegated', { [ns]: [] }, async (scene) => {
  const { actor, friar } = scene;
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await befriends(romeo, juliet);
  const benvolio = await actor('benvolio@elsewhere.example/street');
  await benvolio.sends(request(query));
  await benvolio.receives(`<iq type='error' id='1'>${unavailable}</iq>`);
  for (const to of ['nobody@localhost', 'conference.localhost', 'elsewhere.example']) {
    await romeo.sends(request(query, `type='get' id='1' to='${to}'`));
    await romeo.receives(`<iq type='error' id='1' from='${to}'>${unavailable}</iq>`);
  }
  await romeo.sends(request(query, `type='get' id='1' to='juliet@localhost/balcony'`));
  await juliet.receives(request(query));
  // A user of another host may ask an account here.
  await benvolio.sends(request(query, `type='get' id='2' to='juliet@localhost'`));
  await gets(friar, `type='get' id='2' from='benvolio@elsewhere.example/street' to='juliet@localhost'`, query);
  replies(friar, wrapped(inner(`type='result' id='2' to='benvolio@elsewhere.example/street'`)));
  await benvolio.receives(`<iq type='result' id='2' from='juliet@localhost'/>`);
  // Who is blocked sees no account.
  await juliet.sends(
    `<iq type='set' id='b'><block xmlns='${NS.blocking}'><item jid='benvolio@elsewhere.example'/></block></iq>`,
  );
  await juliet.receives(`<iq type='result' id='b'/>`);
  await benvolio.sends(request(query, `type='get' id='3' to='juliet@localhost'`));
  await benvolio.receives(`<iq type='error' id='3'>${unavailable}</iq>`);
  await friar.hearsNothing();
});

play('§4.1, N.B. 3: the attributes decide', { [filtered]: ['node', 'jid'] }, async ({ actor, friar }) => {
  const romeo = await actor('romeo@localhost/orchard');
  for (const attributes of ['', `node='n'`, `jid='j'`]) {
    await romeo.sends(request(`<query xmlns='${filtered}' ${attributes}/>`));
    await romeo.receives(`<iq type='error' id='1'>${unavailable}</iq>`);
  }
  await romeo.sends(request(`<query xmlns='${filtered}' node='' jid='j'/>`));
  await gets(friar, `id='1'`, `<query xmlns='${filtered}' jid='j'/>`);
  replies(friar, wrapped(inner(`type='result' id='1' to='romeo@localhost/orchard'`)));
  await romeo.receives(`<iq type='result' id='1'/>`);
  await friar.hearsNothing();
});

play('§4.3: a wrong answer is service-unavailable', { [ns]: [] }, async (scene) => {
  const { actor, friar } = scene;
  const romeo = await actor('romeo@localhost/orchard');
  const good = `type='result' id='1' to='romeo@localhost/orchard'`;
  const wrong = [
    '',
    `<delegation xmlns='${delegation}'/>`,
    wrapped(''),
    wrapped(`<iq xmlns='jabber:server' ${good}/>`),
    wrapped(`<message xmlns='jabber:client' ${good}/>`),
    wrapped(inner(good)).replace(delegation, 'urn:xmpp:delegation:1'),
    wrapped(inner(good.replace(`id='1'`, `id='2'`))),
    wrapped(inner(good.replace(`id='1'`, ''))),
    wrapped(inner(good.replace('orchard', 'garden'))),
    wrapped(inner(good.replace('romeo', 'juliet'))),
    wrapped(inner(`type='result' id='1'`)),
    wrapped(inner(`${good} from='juliet@localhost'`)),
    wrapped(inner(`${good} from='mantua'`)),
    wrapped(inner(good.replace('result', 'error'), refusal('cancel', 'item-not-found'))),
    wrapped(inner(good.replace('result', 'get'))),
    wrapped(inner(good, `<x xmlns='${ns}'/><y xmlns='${ns}'/>`)),
  ];
  const before = await metric(scene, 'wrong_answers_total');
  for (const answer of wrong) {
    await romeo.sends(request(query));
    await gets(friar, `id='1'`, query);
    replies(friar, answer);
    await romeo.receives(`<iq type='error' id='1'>${unavailable}</iq>`);
  }
  assert.equal((await metric(scene, 'wrong_answers_total')) - before, wrong.length);
  // N.B. 2
  await romeo.sends(request(query));
  await gets(friar, `id='1'`, query);
  replies(friar, refusal('cancel', 'item-not-found'), 'd', 'error');
  await romeo.receives(`<iq type='error' id='1'>${unavailable}</iq>`);
  await romeo.receivesNothing();
});

play('§4.3: answers come from the component, once, in any order', { [ns]: [] }, async (scene) => {
  const { actor, friar, component } = scene;
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony');
  const padua = await component('padua').logsIn();
  // Both have the same id; and one of them twice.
  await romeo.sends(request(query));
  await gets(friar, `id='1' from='romeo@localhost/orchard'`, query, 'a');
  await juliet.sends(request(query));
  await gets(friar, `id='1' from='juliet@localhost/balcony'`, query, 'b');
  await romeo.sends(request(query));
  await gets(friar, `id='1' from='romeo@localhost/orchard'`, query, 'c');
  const result = (who: string, content: string) =>
    wrapped(inner(`type='result' id='1' to='${who}'`, `<${content} xmlns='${ns}'/>`));
  padua.says(
    `<iq type='result' id='${friar.known.get('a')}' from='padua' to='localhost'>${result('romeo@localhost/orchard', 'forged')}</iq>`,
  );
  friar.sends(
    `<iq type='result' id='{a}' from='user@mantua' to='localhost'>${result('romeo@localhost/orchard', 'forged')}</iq>`,
  );
  await romeo.receivesNothing();
  await romeo.sends(
    `<iq type='result' id='${friar.known.get('b')}' to='localhost'>${result('juliet@localhost/balcony', 'forged')}</iq>`,
  );
  await padua.syncs();
  replies(friar, result('romeo@localhost/orchard', 'third'), 'c');
  await romeo.receives(`<iq type='result' id='1'><third xmlns='${ns}'/></iq>`);
  replies(friar, result('juliet@localhost/balcony', 'second'), 'b');
  await juliet.receives(`<iq type='result' id='1'><second xmlns='${ns}'/></iq>`);
  replies(friar, result('romeo@localhost/orchard', 'first'), 'a');
  await romeo.receives(`<iq type='result' id='1'><first xmlns='${ns}'/></iq>`);
  for (const name of ['a', 'b', 'c']) replies(friar, result('romeo@localhost/orchard', 'again'), name);
  await friar.hearsNothing();
  await romeo.receivesNothing();
  await juliet.receivesNothing();
});

play(
  'N.B. 1: a component that is away, goes away or does not answer',
  { [ns]: [] },
  async (scene) => {
    const { actor, friar } = scene;
    const romeo = await actor('romeo@localhost/orchard');
    const fails = () => romeo.receives(`<iq type='error' id='1' to='romeo@localhost/orchard'>${unavailable}</iq>`);
    await romeo.sends(request(query));
    await gets(friar, `id='1'`, query);
    await fails();
    replies(friar, wrapped(inner(`type='result' id='1' to='romeo@localhost/orchard'`)));
    await friar.hearsNothing();
    friar.says('</stream:stream>');
    await friar.hearsEnd();
    await romeo.sends(request(query));
    await fails();
    const again = await connects(scene, { [ns]: [] });
    await romeo.sends(request(query));
    await gets(again, `id='1'`, query);
    replies(again, wrapped(inner(`type='result' id='1' to='romeo@localhost/orchard'`)));
    await romeo.receives(`<iq type='result' id='1'/>`);
  },
  { config: { modules: { delegation: { timeout_seconds: 1 } } } },
);

play(
  'N.B. 1: requests that wait for a component that goes away are answered at once',
  { [ns]: [] },
  async ({ actor, friar }) => {
    const romeo = await actor('romeo@localhost/orchard');
    for (const id of ['a', 'b']) {
      await romeo.sends(request(query, `type='get' id='${id}'`));
      await gets(friar, `id='${id}'`, query, id);
    }
    friar.socket.destroy();
    await romeo.receives(`<iq type='error' id='a' to='romeo@localhost/orchard'>${unavailable}</iq>`);
    await romeo.receives(`<iq type='error' id='b' to='romeo@localhost/orchard'>${unavailable}</iq>`);
    await romeo.receivesNothing();
  },
  { config: { modules: { delegation: { timeout_seconds: 600 } } } },
);

play(
  '§9, note 3: other requests go on meanwhile; those that wait are bounded',
  { [ns]: [] },
  async (scene) => {
    const { actor, friar } = scene;
    const romeo = await actor('romeo@localhost/orchard');
    for (const id of ['a', 'b']) {
      await romeo.sends(request(query, `type='get' id='${id}'`));
      await gets(friar, `id='${id}'`, query, id);
    }
    await romeo.syncs();
    await romeo.sends(request(query, `type='get' id='c'`));
    await romeo.receives(`<iq type='error' id='c'>${refusal('wait', 'resource-constraint')}</iq>`);
    replies(friar, wrapped(inner(`type='result' id='a' to='romeo@localhost/orchard'`)), 'a');
    await romeo.receives(`<iq type='result' id='a'/>`);
    await romeo.sends(request(query, `type='get' id='d'`));
    await gets(friar, `id='d'`, query);
  },
  { config: { modules: { delegation: { pending: 2 } } } },
);

// --- §4.3.1 -------------------------------------------------------------------------------------------------------------

play(
  '§4.3.1: what the managing entity sends is handled by the server',
  { [NS.roster]: [] },
  async (scene) => {
    const { actor, friar } = scene;
    const juliet = await actor('juliet@localhost/balcony');
    const item = (group = '') =>
      `<query xmlns='${NS.roster}'><item jid='romeo@montaigu.lit' name='My Romeo'>${group}</item></query>`;
    await juliet.sends(request(item(), `type='set' id='roster1'`));
    await gets(friar, `type='set' id='roster1' from='juliet@localhost/balcony'`, item());
    replies(friar, wrapped(inner(`type='result' id='roster1' to='juliet@localhost/balcony'`)));
    await juliet.receives(`<iq type='result' id='roster1'/>`);
    const rivals = item('<group>Rivals</group>');
    friar.says(`<iq type='set' id='roster2' from='mantua' to='juliet@localhost'>${rivals}</iq>`);
    await friar.receives(`<iq type='set' from='juliet@localhost' to='mantua'>${rivals}</iq>`);
    await friar.receives(`<iq type='result' id='roster2' from='juliet@localhost'/>`);
    // The same as a request of the account.
    friar.says(
      `<iq type='get' id='roster3' from='mantua' to='juliet@localhost'><privileged_iq xmlns='${NS.privilege}'>` +
        `<iq xmlns='jabber:client' type='get' id='x'><query xmlns='${NS.roster}'/></iq></privileged_iq></iq>`,
    );
    await friar.receives(
      `<iq type='result' id='roster3'><privilege xmlns='${NS.privilege}'><forwarded xmlns='${NS.forward}'>
      <iq xmlns='jabber:client' type='result' id='x'>${rivals}</iq></forwarded></privilege></iq>`,
    );
    await friar.hearsNothing();
  },
  { privileges: { roster: 'both', iq: { [NS.roster]: 'get' } } },
);

// --- §7 -----------------------------------------------------------------------------------------------------------------

const info = (to: string, node = '') =>
  `<iq type='get' id='i' to='${to}'><query xmlns='${NS.discoInfo}' ${node && `node='${node}'`}/></iq>`;

async function featuresOf(peer: Peer, to: string): Promise<string[]> {
  await peer.sends(info(to));
  const answer = await peer.receives(`<iq type='result' id='i'><query xmlns='${NS.discoInfo}'/></iq>`);
  const all = answer.getChild('query', NS.discoInfo)!.getChildElements();
  return all.map(({ name, attrs, ...element }) =>
    name === 'feature'
      ? attrs.var!
      : name === 'identity'
        ? `${attrs.category}/${attrs.type}`
        : `form ${String(element.children.length)}`,
  );
}

withComponents(
  '§7.2: the component describes what is delegated, and the server does no more',
  { mantua: { delegations: { localhost: { [NS.pubsub]: [] } } } },
  async ({ actor, component, connect }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const features = (prefix: string, all: readonly string[]) => all.filter((one) => one.includes(prefix)).sort();
    // Away: nothing of the server's own.
    assert.deepEqual(features('pubsub', await featuresOf(juliet, 'localhost')), []);
    assert.deepEqual(features('pubsub', await featuresOf(juliet, 'juliet@localhost')), []);
    const friar = await component('mantua').logsIn();
    await friar.receives(`<message><delegation xmlns='${delegation}'/></message>`);
    const answer = (node: string, content: string) =>
      `<iq type='result' id='{${node}}' from='mantua' to='localhost'><query xmlns='${NS.discoInfo}'>${content}</query></iq>`;
    await friar.receives(
      `<iq type='get' id='{server}' from='localhost' to='mantua'>
        <query xmlns='${NS.discoInfo}' node='${delegation}::${NS.pubsub}'/></iq>`,
    );
    await friar.receives(
      `<iq type='get' id='{account}'><query xmlns='${NS.discoInfo}' node='${delegation}:bare:${NS.pubsub}'/></iq>`,
    );
    friar.sends(
      answer('server', `<feature var='${NS.pubsub}'/><feature var='${NS.pubsub}#publish'/><feature/><other/>`),
    );
    friar.sends(
      answer(
        'account',
        `<identity category='pubsub' type='pep'/><identity type='x'/><feature var='${NS.pubsub}#config-node'/>
          <x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:example:f</value></field></x>`,
      ),
    );
    await friar.syncs();
    assert.deepEqual(features('pubsub', await featuresOf(juliet, 'localhost')), [NS.pubsub, `${NS.pubsub}#publish`]);
    for (let count = 0; count < 2; count++) {
      const all = await featuresOf(juliet, 'juliet@localhost');
      assert.deepEqual(features('pubsub', all), [`${NS.pubsub}#config-node`, 'pubsub/pep']);
      assert.deepEqual(features('form', all), ['form 1']);
      assert.ok(all.includes(NS.mam), 'everything else is still there');
    }
    assert.ok((await featuresOf(juliet, 'localhost')).includes(delegation), '§7.1');
    // XEP-0115 §6.2: the hash in the stream features is that of the new answer.
    const nurse = await connect();
    await nurse.opens();
    await nurse.receivesFeatures();
    const { node, ver } = (await nurse.authenticates('juliet')).getChild('c', NS.caps)!.attrs;
    await juliet.sends(info('localhost', `${node}#${ver}`));
    await juliet.receives(
      `<iq type='result' id='i'><query xmlns='${NS.discoInfo}'><feature var='${NS.pubsub}#publish'/></query></iq>`,
    );
    // Gone.
    friar.says('</stream:stream>');
    await friar.hearsEnd();
    assert.deepEqual(features('pubsub', await featuresOf(juliet, 'localhost')), []);
  },
);

play(
  '§7.2.4: discovery of nodes of an account that the server does not know',
  { [NS.pubsub]: [], [infoOfAccounts]: [] },
  async ({ actor, friar }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const node = 'urn:xmpp:microblog:0';
    await juliet.sends(info('juliet@localhost', node));
    const asked = `<query xmlns='${NS.discoInfo}' node='${node}'/>`;
    await gets(friar, `type='get' id='i' from='juliet@localhost/balcony' to='juliet@localhost'`, asked);
    const described = `<query xmlns='${NS.discoInfo}' node='${node}'><identity category='pubsub' type='leaf'/></query>`;
    replies(friar, wrapped(inner(`type='result' id='i' to='juliet@localhost/balcony'`, described)));
    await juliet.receives(`<iq type='result' id='i' from='juliet@localhost'>${described}</iq>`);
    // The account itself, the host, a node of the server, and somebody who may not know of it.
    await juliet.sends(info('juliet@localhost'));
    await juliet.receives(`<iq type='result' id='i'/>`);
    await juliet.sends(info('localhost', node));
    await juliet.receives(`<iq type='error' id='i'>${refusal('cancel', 'item-not-found')}</iq>`);
    await juliet.sends(info('juliet@localhost', NS.commands));
    await juliet.receivesAny();
    const tybalt = await actor('tybalt@localhost/street');
    await tybalt.sends(info('juliet@localhost', node));
    await tybalt.receives(`<iq type='error' id='i'>${unavailable}</iq>`);
    await friar.hearsNothing();
  },
);

play('§7.2.5: items of an account', { [NS.pubsub]: [], [itemsOfAccounts]: [] }, async ({ actor, friar }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const list = (to: string, node = '') =>
    `<iq type='get' id='l' to='${to}'><query xmlns='${NS.discoItems}' ${node && `node='${node}'`}/></iq>`;
  for (const node of ['', 'urn:xmpp:microblog:0']) {
    await juliet.sends(list('juliet@localhost', node));
    await gets(
      friar,
      `type='get' id='l' from='juliet@localhost/balcony' to='juliet@localhost'`,
      `<query xmlns='${NS.discoItems}' ${node && `node='${node}'`}/>`,
    );
    const items = `<query xmlns='${NS.discoItems}'><item jid='juliet@localhost' node='n'/></query>`;
    replies(friar, wrapped(inner(`type='result' id='l' to='juliet@localhost/balcony'`, items)));
    await juliet.receives(`<iq type='result' id='l' from='juliet@localhost'>${items}</iq>`);
  }
  // XEP-0030 §8: an account that does not exist, and one whose component fails, look the same.
  const tybalt = await actor('tybalt@localhost/street');
  await tybalt.sends(list('juliet@localhost'));
  await gets(friar, `id='l' from='tybalt@localhost/street'`, `<query xmlns='${NS.discoItems}'/>`);
  replies(friar, '', 'd', 'error');
  const empty = (from: string) =>
    `<iq type='result' id='l' from='${from}' to='tybalt@localhost/street'><query xmlns='${NS.discoItems}'/></iq>`;
  await tybalt.receives(empty('juliet@localhost'), { exactly: true });
  await tybalt.sends(list('nobody@localhost'));
  await tybalt.receives(empty('nobody@localhost'), { exactly: true });
  await juliet.sends(list('juliet@localhost'));
  await gets(friar, `id='l' from='juliet@localhost/balcony'`, `<query xmlns='${NS.discoItems}'/>`);
  replies(friar, '', 'd', 'error');
  await juliet.receives(`<iq type='error' id='l'>${unavailable}</iq>`);
  await juliet.sends(list('localhost'));
  await juliet.receives(`<iq type='result' id='l' from='localhost'/>`);
  await friar.hearsNothing();
});
