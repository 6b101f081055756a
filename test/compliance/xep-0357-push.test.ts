/** XEP-0357: Push Notifications. The push service is a component. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { hits } from './dialogue.js';
import { refusal } from './phrases.js';
import {
  chat,
  disable,
  enable,
  enables,
  isPushed,
  juliet,
  leaves,
  options,
  play,
  push,
  romeo,
  service,
} from './push.js';

play('§4.1: offered by the account', async (scene) => {
  const one = await scene.actor(`${juliet}/phone`);
  await one.sends(`<iq type='get' id='i' to='${juliet}'><query xmlns='${NS.discoInfo}'/></iq>`);
  await one.receives(
    `<iq type='result' id='i'><query xmlns='${NS.discoInfo}'><feature var='${NS.push}'/></query></iq>`,
  );
});

play('§5, §7: a message for an app that is not connected is published, with its options', async (scene, app) => {
  await leaves(scene, 'phone', options('eruio&lt;234'));
  const other = await scene.actor(`${romeo}/orchard`);
  await other.sends(chat('wherefore'));
  const more = `<publish-options>${options('eruio&lt;234')}</publish-options>`;
  await isPushed(app, 'phone', { 'message-count': '1' }, { more });
  assert.deepEqual(await app.syncs(), []);
});

play(
  '§7: one notification for a burst, and another one after the pause for what came meanwhile',
  async (scene, app) => {
    await leaves(scene);
    const other = await scene.actor(`${romeo}/orchard`);
    for (const body of ['one', 'two', 'three']) await other.sends(chat(body));
    await isPushed(app, 'phone');
    await isPushed(app, 'phone', { 'message-count': '2' });
    assert.deepEqual(await app.syncs(), []);
  },
);

play('each app on its own: those that are connected are not woken', async (scene, app) => {
  await leaves(scene, 'phone');
  await leaves(scene, 'tablet');
  const desk = await scene.actor(`${juliet}/desk`, { presence: true });
  await enables(desk, 'desk');
  const phone = await scene.actor(`${juliet}/phone`, { presence: true });
  desk.forgets();
  const other = await scene.actor(`${romeo}/orchard`);
  await other.sends(chat('hello'));
  await isPushed(app, 'tablet');
  for (const peer of [desk, phone]) await peer.receives(`<message type='chat'><body>hello</body></message>`);
  assert.deepEqual(await app.syncs(), []);
});

const encrypted = (payload: string): string =>
  `<message to='${juliet}' type='chat'><encrypted xmlns='${NS.omemoLegacy}'><header sid='1'/>${payload}</encrypted><store xmlns='${NS.hints}'/></message>`;
const call = `<message to='${juliet}' type='chat'><propose xmlns='${NS.jingleMessage}' id='a'/><no-store xmlns='${NS.hints}'/></message>`;

play('what wakes: messages, encrypted ones, calls; not what is about others or the moment', async (scene, app) => {
  await leaves(scene);
  const other = await scene.actor(`${romeo}/orchard`);
  for (const inner of [
    `<composing xmlns='${NS.chatStates}'/>`,
    `<received xmlns='${NS.receipts}' id='1'/>`,
    `<displayed xmlns='${NS.markers}' id='1'/>`,
    `<reactions xmlns='${NS.reactions}' id='1'/><body>fallback</body>`,
    `<retract xmlns='${NS.retract}' id='1'/><body>fallback</body>`,
    `<body>secret</body><no-store xmlns='${NS.hints}'/>`,
  ])
    await other.sends(`<message to='${juliet}' type='chat'>${inner}</message>`);
  await other.sends(encrypted(''));
  await other.sends(`<message to='${juliet}' type='headline'><body>news</body></message>`);
  await other.syncs();
  assert.deepEqual(await app.syncs(), []);
  await other.sends(encrypted('<payload>AAAA</payload>'));
  await isPushed(app, 'phone');
  await other.sends(call);
  await isPushed(app, 'phone');
});

play('a hibernating app is woken, also for what it may not have got', async (scene, app) => {
  const other = await scene.actor(`${romeo}/orchard`);
  const phone = await scene.actor(`${juliet}/phone`, { presence: true });
  await enables(phone, 'phone');
  await phone.sends(`<enable xmlns='${NS.sm}' resume='true'/>`);
  const enabled = await phone.receives(`<enabled xmlns='${NS.sm}' id='*'/>`);
  await other.sends(chat('lost on the way'));
  await phone.receives(`<message type='chat'><body>lost on the way</body></message>`);
  phone.cut();
  await isPushed(app, 'phone');
  await other.sends(chat('and another one'));
  await isPushed(app, 'phone');
  const again = await scene.known(juliet);
  await again.sends(`<resume xmlns='${NS.sm}' previd='${enabled.attrs.id}' h='0'/>`);
  await again.receives(`<resumed xmlns='${NS.sm}'/>`);
  await again.receives(`<message type='chat'><body>lost on the way</body></message>`);
  await again.receives(`<message type='chat'><body>and another one</body></message>`);
  await other.sends(chat('here'));
  await again.receives(`<r xmlns='${NS.sm}'/>`);
  await again.receives(`<message type='chat'><body>here</body></message>`);
  assert.deepEqual(await app.syncs(), []);
});

play(
  '§7: sender and text of the last message, if the administrator wants that',
  async (scene, app) => {
    await leaves(scene);
    const other = await scene.actor(`${romeo}/orchard`);
    await other.sends(chat('art thou &lt;Romeo&gt; &amp; a Montague'));
    await isPushed(app, 'phone', {
      'message-count': '1',
      'last-message-sender': `${romeo}/orchard`,
      'last-message-body': 'art thou &lt;Romeo&gt; &amp; a Montague',
    });
  },
  push({ sender: true, body: true }),
);

play('§5: enabled again: the last options count; §6: disabled by node, and as a whole', async (scene, app) => {
  const desk = await scene.actor(`${juliet}/desk`, { presence: true });
  const other = await scene.actor(`${romeo}/orchard`);
  for (const node of ['a', 'b', 'c']) await leaves(scene, node);
  await desk.syncs();
  desk.forgets();
  await desk.sends(enable('a', options('new')));
  await desk.receives(`<iq type='result' id='e'/>`);
  await desk.sends(disable('b'));
  await desk.receives(`<iq type='result' id='d'/>`);
  await other.sends(chat('one'));
  await isPushed(app, 'c');
  await desk.sends(disable());
  await desk.syncs();
  await other.sends(chat('two'));
  await other.syncs();
  assert.deepEqual(await app.syncs(), []);
  // Nothing is wrong with disabling what is not enabled.
  desk.forgets();
  await desk.sends(disable('x'));
  await desk.receives(`<iq type='result' id='d'/>`);
});

play('§7.1: an error that says that the app is gone disables it; one that passes does not', async (scene, app) => {
  await leaves(scene);
  const other = await scene.actor(`${romeo}/orchard`);
  await other.sends(chat('one'));
  await isPushed(app, 'phone', undefined, { answer: refusal('wait', 'resource-constraint') });
  await other.sends(chat('two'));
  await isPushed(app, 'phone', undefined, { answer: refusal('cancel', 'item-not-found') });
  await other.syncs();
  await app.syncs();
  await leaves(scene, 'another');
  await other.sends(chat('three'));
  await isPushed(app, 'another');
  assert.deepEqual(await app.syncs(), []);
});

play(
  '§7.1: so many failures in a row disable it',
  async (scene, app) => {
    await leaves(scene);
    const other = await scene.actor(`${romeo}/orchard`);
    for (let failures = 0; failures < 2; failures++) {
      await other.sends(chat('hello'));
      await isPushed(app, 'phone', undefined, { answer: refusal('cancel', 'undefined-condition') });
    }
    await app.syncs();
    await leaves(scene, 'another');
    await other.sends(chat('three'));
    await isPushed(app, 'another');
    assert.deepEqual(await app.syncs(), []);
  },
  push({ failures: 2 }),
);

play('§8: the service withdraws; nobody else can', async (scene, app) => {
  await leaves(scene);
  const other = await scene.actor(`${romeo}/orchard`);
  const withdrawal = `<pubsub xmlns='${NS.pubsub}' node='phone'><affiliation jid='${juliet}' affiliation='none'/></pubsub>`;
  await other.sends(`<message to='${juliet}'>${withdrawal}</message>`);
  await other.sends(chat('one'));
  await isPushed(app, 'phone');
  app.says(`<message from='${service}' to='${juliet}'>${withdrawal}</message>`);
  await app.syncs();
  await leaves(scene, 'another');
  await other.sends(chat('two'));
  await isPushed(app, 'another');
  assert.deepEqual(await app.syncs(), []);
});

play('§5, §6: requests that are refused', async (scene) => {
  const one = await scene.actor(`${juliet}/phone`);
  const other = await scene.actor(`${romeo}/orchard`);
  for (const [request, condition, type] of [
    [`<enable xmlns='${NS.push}' node='a'/>`, 'bad-request', 'modify'],
    [`<enable xmlns='${NS.push}' jid='a@b@c' node='a'/>`, 'bad-request', 'modify'],
    [`<disable xmlns='${NS.push}' node='a'/>`, 'bad-request', 'modify'],
    [`<enable xmlns='${NS.push}' jid='${service}' node='${'n'.repeat(1025)}'/>`, 'not-acceptable', 'modify'],
    [
      `<enable xmlns='${NS.push}' jid='${service}' node='a'>${options('s'.repeat(5000))}</enable>`,
      'not-acceptable',
      'modify',
    ],
    [
      `<enable xmlns='${NS.push}' jid='${service}' node='a'><x xmlns='${NS.dataForms}' type='submit'>
        <field var='FORM_TYPE'><value>other</value></field></x></enable>`,
      'bad-request',
      'modify',
    ],
  ] as const) {
    await one.sends(`<iq type='set' id='x'>${request}</iq>`);
    await one.receives(`<iq type='error' id='x'>${refusal(type, condition)}</iq>`);
  }
  // Nobody enables apps of others.
  await other.sends(`<iq type='set' id='x' to='${juliet}'><enable xmlns='${NS.push}' jid='${service}' node='a'/></iq>`);
  await other.receives(`<iq type='error' id='x'>${refusal('cancel', 'service-unavailable')}</iq>`);
});

play(
  'the apps of an account, and what waits, are bounded',
  async (scene, app) => {
    for (const node of ['a', 'b', 'c']) await leaves(scene, node);
    const other = await scene.actor(`${romeo}/orchard`);
    await other.sends(chat('one'));
    await isPushed(app, 'b');
    assert.deepEqual(await app.syncs(), []);
    assert.equal(await hits(scene, 'push.waiting'), 1);
  },
  { ...push({ apps: 2, waiting: 1, pause_seconds: 3600 }), alone: true },
);

play(
  'apps survive a restart; a session of before is woken for what its client may not have got',
  async (scene, app) => {
    await leaves(scene, 'tablet');
    const other = await scene.actor(`${romeo}/orchard`);
    const phone = await scene.actor(`${juliet}/phone`, { presence: true });
    await enables(phone, 'phone');
    await phone.sends(`<enable xmlns='${NS.sm}' resume='true'/>`);
    await phone.receives(`<enabled xmlns='${NS.sm}' id='*'/>`);
    await other.sends(chat('just before'));
    await isPushed(app, 'tablet');
    await phone.receives(`<message type='chat'><body>just before</body></message>`);
    await scene.stage.restart();
    const again = scene.component(service);
    await again.logsIn();
    const third = await scene.actor(`${romeo}/orchard`);
    await third.sends(chat('just after'));
    const nodes = new Set<string>();
    while (nodes.size < 2) {
      again.known.clear();
      const element = await again.receives(`<iq type='set' id='{push}'><pubsub xmlns='${NS.pubsub}'/></iq>`);
      nodes.add(element.getChild('pubsub', NS.pubsub)!.getChild('publish')!.attrs.node!);
      again.sends(`<iq type='result' id='{push}' from='${service}' to='localhost'/>`);
    }
    assert.deepEqual([...nodes].sort(), ['phone', 'tablet']);
  },
  { ...push(), alone: true },
);

play('§7: a pending subscription request wakes apps, once', async (scene, app) => {
  await leaves(scene);
  const other = await scene.actor(`${romeo}/orchard`);
  const third = await scene.actor('nurse@localhost/chamber');
  for (let times = 0; times < 2; times++) await other.sends(`<presence to='${juliet}' type='subscribe'/>`);
  await isPushed(app, 'phone', { 'pending-subscription-count': '1' });
  await third.sends(`<presence to='${juliet}' type='subscribe'/>`);
  await third.sends(chat('my lady'));
  await isPushed(app, 'phone', { 'message-count': '1', 'pending-subscription-count': '2' });
  assert.deepEqual(await app.syncs(), []);
});

play(
  'silent_while_active: no app is woken while the user is at another client',
  async (scene, app) => {
    await leaves(scene);
    const desk = await scene.actor(`${juliet}/desk`, { presence: true });
    const other = await scene.actor(`${romeo}/orchard`);
    await other.sends(chat('at the desk'));
    await other.syncs();
    assert.deepEqual(await app.syncs(), []);
    for (const away of [
      '<presence><show>away</show></presence>',
      `<presence><show>chat</show></presence><inactive xmlns='${NS.csi}'/>`,
      `<active xmlns='${NS.csi}'/><presence type='unavailable'/>`,
    ]) {
      await desk.sends(away);
      await desk.syncs();
      await other.sends(chat('away'));
      await isPushed(app, 'phone');
    }
  },
  push({ silent_while_active: true }),
);
