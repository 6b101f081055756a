/** RFC 6120 §7: resource binding. */
import assert from 'node:assert/strict';
import { defineModule, iq } from '../../src/server/module/index.js';
import { NS } from '../../src/server/stanza/ns.js';
import { overTcp, type Peer, type Scene, scenario } from './dialogue.js';
import { refusal } from './phrases.js';

const bind = (resource?: string, id = 'b') =>
  `<iq type='set' id='${id}'><bind xmlns='${NS.bind}'>${resource === undefined ? '' : `<resource>${resource}</resource>`}</bind></iq>`;
const bound = (jid: string, id = 'b') =>
  `<iq type='result' id='${id}'><bind xmlns='${NS.bind}'><jid>${jid}</jid></bind></iq>`;

const known = (scene: Scene): Promise<Peer> => scene.known('romeo@localhost');

scenario('§7.6: the server generates a resource', async (scene) => {
  const seen = new Set<string>();
  for (const xml of [bind(), bind(''), bind()]) {
    const romeo = await known(scene);
    await romeo.sends(xml);
    const result = await romeo.receives(bound('romeo@localhost/{made}'));
    seen.add(result.getChild('bind')!.getChildText('jid')!);
    scene.stage.captured.clear();
  }
  assert.equal(seen.size, 3);
  for (const jid of seen) assert.ok(jid.length >= 'romeo@localhost/'.length + 8);
});

scenario("§7.7: the client's resource is normalised", async (scene) => {
  for (const [wanted, got] of [
    ['orchard', 'orchard'],
    ['Orchard', 'Orchard'],
    ['a/b@c', 'a/b@c'],
    ['a\u0308', '\u00e4'],
    ['&lt;&amp;&quot;', '&lt;&amp;&quot;'],
    ['x'.repeat(1023), 'x'.repeat(1023)],
  ] as const) {
    const romeo = await known(scene);
    await romeo.sends(bind(wanted));
    await romeo.receives(bound(`romeo@localhost/${got}`));
    await romeo.sends(`<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>`);
    await romeo.receives(`<iq type='result' id='1' to='romeo@localhost/${got}'/>`);
  }
});

scenario('§7.7.2.1: an invalid resource is refused; the client may try again', async (scene) => {
  const romeo = await known(scene);
  for (const wanted of ['x'.repeat(1024), 'é'.repeat(512), '&#x9;', 'a\u00ad', '\ufdd0']) {
    await romeo.sends(bind(wanted));
    await romeo.receives(`<iq type='error' id='b'>${refusal('modify', 'bad-request')}</iq>`);
  }
  await romeo.sends(bind('orchard'));
  await romeo.receives(bound('romeo@localhost/orchard'));
});

scenario('§7.7.2.2: the newer of two sessions takes over the resource', async (scene) => {
  const { actor, server } = scene;
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const first = await actor('romeo@localhost/orchard');
  const second = await actor('romeo@localhost/orchard');
  await first.receivesStreamError('conflict');
  const third = await actor('romeo@localhost/garden');
  await second.receivesNothing();
  await juliet.sends(`<message to='romeo@localhost/orchard' type='chat'><body>which?</body></message>`);
  await second.receives(`<message type='chat'><body>which?</body></message>`);
  await third.receivesNothing();
  assert.equal(server.sessions.size, 3);
});

scenario('§7.1: only once per stream', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(bind('garden'));
  await romeo.receives(`<iq type='error' id='b'>${refusal('cancel', 'service-unavailable')}</iq>`);
  await romeo.sends(`<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>`);
  await romeo.receives(`<iq type='result' id='1' to='romeo@localhost/orchard'/>`);
});

scenario('§7.1: no stanzas before binding', async (scene) => {
  for (const xml of [
    bind('orchard').replace("'set'", "'get'"),
    bind('orchard').replace("id='b'", ''),
    `<iq type='set' id='1'><session xmlns='${NS.session}'/></iq>`,
    `<iq type='result' id='1'/>`,
    '<message/>',
  ]) {
    const romeo = await known(scene);
    await romeo.sends(xml);
    await romeo.receivesStreamError('not-authorized');
  }
});

scenario(
  '§7.6.2.1: sessions per account are limited',
  { ...overTcp, config: { limits: { sessions_per_account: 2 } } },
  async (scene) => {
    const { actor } = scene;
    const one = await actor('romeo@localhost/1');
    await actor('romeo@localhost/2');
    const three = await known(scene);
    await three.sends(bind('3'));
    await three.receives(`<iq type='error' id='b'>${refusal('wait', 'resource-constraint')}</iq>`);
    // One's own resource may be taken over all the same.
    await three.sends(bind('1'));
    await three.receives(bound('romeo@localhost/1'));
    await one.receivesStreamError('conflict');
    // Who waits for a client makes room.
    await three.managesStream();
    three.cut();
    await scene.stage.settle();
    const four = await actor('romeo@localhost/4');
    await four.receivesNothing();
  },
);

scenario('RFC 3921 §3: the obsolete session request is answered', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<iq type='set' id='1'><session xmlns='${NS.session}'/></iq>`);
  await romeo.receives(`<iq type='result' id='1'/>`);
});

scenario('§7: over every transport', async ({ actor }) => {
  for (const transport of ['tcp', 'starttls', 'tls', 'websocket', 'wss', 'bosh'] as const) {
    const romeo = await actor(`romeo@localhost/${transport}`, { transport });
    assert.equal(romeo.jid, `romeo@localhost/${transport}`);
    await romeo.receivesNothing();
  }
});

/** What was handled, and what it waits for. */
const handled: (string | undefined)[] = [];
let open = (): void => {};
let entered = (): void => {};
const isEntered = new Promise<void>((resolve) => {
  entered = resolve;
});
const gate = new Promise<void>((resolve) => {
  open = resolve;
});
const slow = defineModule({
  name: 'slow',
  summary: 'Takes its time.',
  implements: {},
  start: () => [
    iq.set('server', 'urn:example:slow', 'slow', async ({ payload }) => {
      entered();
      await gate;
      handled.push(payload.attrs.n);
    }),
  ],
});

scenario(
  '§7.7.2.2: what a client sends again in its next session is handled once, and last (XEP-0198 §5)',
  { ...overTcp, modules: [slow] },
  async (scene) => {
    const sets = (n: number) =>
      `<iq type='set' id='${n}' to='localhost'><slow xmlns='urn:example:slow' n='${n}'/></iq>`;
    const romeo = await scene.actor('romeo@localhost/orchard');
    await romeo.sends(`<enable xmlns='${NS.sm}' resume='true'/>`);
    await romeo.receives(`<enabled xmlns='${NS.sm}'/>`);
    await romeo.sends(`${sets(1)}${sets(2)}`);
    await isEntered;
    romeo.cut();
    const again = await known(scene);
    const former = () => scene.server.sessions.of('romeo@localhost')[0];
    const first = former();
    await again.sends(bind('orchard'));
    while (former() === first) await new Promise((resolve) => setImmediate(resolve));
    open();
    await again.receives(bound('romeo@localhost/orchard'));
    assert.deepEqual(handled, ['1']);
    for (const n of [1, 2]) {
      await again.sends(sets(n));
      await again.receives(`<iq type='result' id='${n}'/>`);
    }
    assert.deepEqual(handled, ['1', '1', '2']);
  },
);
