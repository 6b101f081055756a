/** XEP-0388: SASL2, with XEP-0386 (Bind 2), XEP-0198 §9 (stream management inline) and XEP-0480 (upgrades). */
import assert from 'node:assert/strict';
import { enabled as copied } from '../../src/modules/xep-0280-carbons.js';
import { Jid } from '../../src/server/address/jid.js';
import { binding, defineModule } from '../../src/server/module/index.js';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { base64, type Peer, password, plain, type Scene, scenario } from './dialogue.js';
import { unlimitedRate } from './phrases.js';
import { type Attempt, attempts, channelBindings, greeted, hashOf, mechanisms, outcome } from './sasl.js';
import { digest, hashBytes, mac, saltPassword } from './scram.js';

const id = 'd4565fa7-4d72-4749-b3d3-740edbf87770';
const agent = (uuid = id) => `<user-agent id='${uuid}'><software>AwesomeXMPP</software></user-agent>`;
const bind = (content = '') => `<bind xmlns='${NS.bind2}'>${content}</bind>`;
const failure = (condition: string) => `<failure xmlns='${NS.sasl2}'><${condition} xmlns='${NS.sasl}'/></failure>`;

let places = 1;
const newPlace = () => `127.2.0.${++places}`;

/** Logs in, and returns `<success/>`, `<continue/>` or `<failure/>`. */
async function logsIn(scene: Scene, inline: string, attempt: Attempt = {}, from?: string): Promise<[Peer, Element]> {
  await scene.stage.account('romeo@localhost');
  const [peer] = await greeted(scene.connect, { transport: 'tls' }, from === undefined ? {} : { from });
  return [peer, await attempts(peer, { ...attempt, inline })];
}

const identifier = (success: Element): string => success.getChildText('authorization-identifier', NS.sasl2)!;

// --- XEP-0388 -----------------------------------------------------------------------------------------------------------

scenario('§2.1: offered with its inline features', async ({ connect }) => {
  const [, features] = await greeted(connect, { transport: 'tls' });
  const offer = features.getChild('authentication', NS.sasl2)!;
  const inline = offer.getChild('inline', NS.sasl2)!;
  assert.ok(mechanisms(features, 'sasl2').includes('SCRAM-SHA-256-PLUS'));
  assert.ok(inline.getChild('sm', NS.sm));
  const vars = inline.getChild('bind', NS.bind2)!.getChild('inline', NS.bind2)!.getChildren('feature');
  assert.deepEqual(
    [NS.sm, NS.csi, NS.carbons].filter((ns) => !vars.some(({ attrs }) => attrs.var === ns)),
    [],
  );
  assert.ok(channelBindings(features).length > 0);
  const upgrades = offer.getChildren('upgrade', NS.saslUpgrade).map((upgrade) => upgrade.getText());
  assert.deepEqual(upgrades.sort(), ['UPGR-SCRAM-SHA-1', 'UPGR-SCRAM-SHA-256', 'UPGR-SCRAM-SHA-512']);
});

for (const mechanism of ['SCRAM-SHA-1', 'SCRAM-SHA-256-PLUS', 'SCRAM-SHA-512-PLUS']) {
  scenario(`§2.6.1: success and features without a restart (${mechanism})`, async (scene) => {
    const [peer, success] = await logsIn(scene, agent(), { mechanism });
    assert.equal(outcome(success), 'success');
    assert.equal(identifier(success), 'romeo@localhost');
    const features = await peer.receives(`<features xmlns='${NS.stream}'><bind xmlns='${NS.bind}'/></features>`);
    assert.equal(features.getChild('authentication', NS.sasl2), undefined);
    await peer.binds('orchard');
    await peer.receivesNothing();
  });
}

scenario('§2.6.1: PLAIN in one step', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const [peer] = await greeted(connect, { transport: 'tls' });
  // White space around the data is let pass here (§2.2).
  await peer.sends(
    `<authenticate xmlns='${NS.sasl2}' mechanism='PLAIN'><initial-response>
      ${base64(`\0romeo\0${password}`)}
    </initial-response></authenticate>`,
  );
  const success = await peer.receives(`<success xmlns='${NS.sasl2}'/>`);
  assert.equal(success.getChild('additional-data', NS.sasl2), undefined);
  await peer.receives(`<features xmlns='${NS.stream}'/>`);
});

scenario('§2.2: a missing initial response differs from an empty one', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const [peer] = await greeted(connect, { transport: 'tls' });
  await peer.sends(`<authenticate xmlns='${NS.sasl2}' mechanism='PLAIN'/>`);
  await peer.receives(`<challenge xmlns='${NS.sasl2}'/>`);
  await peer.sends(`<response xmlns='${NS.sasl2}'>${base64(`\0romeo\0${password}`)}</response>`);
  await peer.receives(`<success xmlns='${NS.sasl2}'/>`);
  const [other] = await greeted(connect, { transport: 'tls' });
  await other.sends(`<authenticate xmlns='${NS.sasl2}' mechanism='PLAIN'><initial-response/></authenticate>`);
  await other.receives(failure('malformed-request'));
});

scenario('§2.6.2: the stream can be used after a failure', async (scene) => {
  const { connect, stage } = scene;
  await stage.account('romeo@localhost');
  const [peer] = await greeted(connect, { transport: 'tls', address: newPlace() });
  const wrong = await attempts(peer, { secret: 'wrong', inline: agent() + bind() });
  assert.equal(outcome(wrong), 'not-authorized');
  assert.equal(wrong.getNS(), NS.sasl2);
  await peer.sends(`<authenticate xmlns='${NS.sasl2}' mechanism='NOPE'/>`);
  await peer.receives(failure('invalid-mechanism'));
  // Features requested in a failed attempt are not enabled by the next.
  const success = await attempts(peer, { inline: '' });
  assert.equal(identifier(success), 'romeo@localhost');
  assert.equal(success.getChild('bound', NS.bind2), undefined);
});

for (const [title, xml, condition] of [
  ['an unknown element', `<whatever xmlns='${NS.sasl2}'/>`, 'malformed-request'],
  ['a response without a challenge', `<response xmlns='${NS.sasl2}'/>`, 'malformed-request'],
  ['no mechanism', `<authenticate xmlns='${NS.sasl2}'/>`, 'invalid-mechanism'],
  [
    'no base64',
    `<authenticate xmlns='${NS.sasl2}' mechanism='PLAIN'><initial-response>?</initial-response></authenticate>`,
    'incorrect-encoding',
  ],
  [
    'a token mechanism without <fast/>',
    `<authenticate xmlns='${NS.sasl2}' mechanism='HT-SHA-256-NONE'/>`,
    'invalid-mechanism',
  ],
  [
    '<fast/> with another mechanism',
    `<authenticate xmlns='${NS.sasl2}' mechanism='PLAIN'><fast xmlns='${NS.fast}'/></authenticate>`,
    'invalid-mechanism',
  ],
] as const) {
  scenario(`§2.6.2: ${title}`, async ({ connect }) => {
    const [peer] = await greeted(connect, { transport: 'tls' });
    await peer.sends(xml);
    await peer.receives(failure(condition));
  });
}

scenario('§4.7: a client may abort and try again', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const [peer] = await greeted(connect, { transport: 'tls' });
  await peer.sends(`<authenticate xmlns='${NS.sasl2}' mechanism='SCRAM-SHA-1'/>`);
  await peer.receives(`<challenge xmlns='${NS.sasl2}'/>`);
  await peer.sends(`<abort xmlns='${NS.sasl2}'><text>changed my mind</text></abort>`);
  await peer.receives(failure('aborted'));
  assert.equal(outcome(await attempts(peer, { inline: '' })), 'success');
});

scenario('§4.9: only once', async (scene) => {
  const [peer] = await logsIn(scene, '');
  await peer.receives(`<features xmlns='${NS.stream}'/>`);
  await peer.sends(`<authenticate xmlns='${NS.sasl2}' mechanism='SCRAM-SHA-1'/>`);
  await peer.receivesStreamError('policy-violation');
});

scenario('§4.4: another account than in the header', async (scene) => {
  const [, end] = await logsIn(scene, '', { header: 'n,a=romeo@localhost,' }, 'juliet@localhost');
  assert.equal(outcome(end), 'invalid-authzid');
});

// --- XEP-0386 -------------------------------------------------------------------------------------------------------------

scenario('XEP-0386 §3: binds during authentication', async (scene) => {
  const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
  const [peer, success] = await logsIn(scene, agent() + bind('<tag>AwesomeXMPP</tag>'));
  const jid = Jid.parse(identifier(success));
  assert.match(jid.resource!, /^AwesomeXMPP\/[\w-]{8}$/);
  assert.ok(!jid.full.includes(id));
  assert.ok(success.getChild('bound', NS.bind2));
  const features = await peer.receives(`<features xmlns='${NS.stream}'/>`);
  assert.equal(features.getChild('bind', NS.bind), undefined);
  await peer.sends(`<message to='${juliet.jid}' type='chat'><body>hi</body></message>`);
  await juliet.receives(`<message from='${jid.full}' type='chat'><body>hi</body></message>`);
});

scenario('XEP-0386 §3.2.1: a client gets the same resource again, others get their own', async (scene) => {
  const resources = new Map<string, string>();
  const other = id.replace('d4', 'd5');
  for (const [name, inline] of [
    ['a', agent() + bind('<tag>X</tag>')],
    ['a again', agent() + bind('<tag>X</tag>')],
    ['another tag', agent() + bind('<tag>Y</tag>')],
    ['no tag', agent() + bind()],
    ['another client', agent(other) + bind('<tag>X</tag>')],
    ['no client', bind('<tag>X</tag>')],
    ['no client again', bind('<tag>X</tag>')],
    ['no resource', bind('<tag>\u00ad</tag>')],
    ['a long one', bind(`<tag>${'x'.repeat(2000)}</tag>`)],
  ] as const) {
    const [, success] = await logsIn(scene, inline);
    resources.set(name, Jid.parse(identifier(success)).resource!);
  }
  assert.equal(resources.get('a'), resources.get('a again'));
  const [suffix] = resources.get('a')!.split('/').slice(-1);
  assert.equal(resources.get('another tag'), `Y/${suffix}`);
  assert.equal(resources.get('no tag'), suffix);
  assert.equal(new Set(resources.values()).size, resources.size - 1);
  assert.ok(resources.get('a long one')!.length < 100);
});

scenario('XEP-0386 §3.2: a client ends its own previous session, whatever its tag', async (scene) => {
  const [first] = await logsIn(scene, agent() + bind('<tag>X</tag>'));
  await first.receives(`<features xmlns='${NS.stream}'/>`);
  const [other] = await logsIn(scene, agent(id.replace('d4', 'd5')) + bind('<tag>X</tag>'));
  await other.receives(`<features xmlns='${NS.stream}'/>`);
  const [second] = await logsIn(scene, agent() + bind('<tag>Y</tag>'));
  await second.receives(`<features xmlns='${NS.stream}'/>`);
  await first.receivesStreamError('conflict');
  assert.equal(scene.server.sessions.of('romeo@localhost').length, 2);
});

scenario('XEP-0386 §3.3: features that are enabled inline', async (scene) => {
  const { actor } = scene;
  const inline = `<enable xmlns='${NS.carbons}'/><enable xmlns='${NS.sm}' resume='true'/><inactive xmlns='${NS.csi}'/><x xmlns='unknown'/>`;
  const [peer, success] = await logsIn(scene, agent() + bind(inline));
  const bound = success.getChild('bound', NS.bind2)!;
  const enabled = bound.getChild('enabled', NS.sm)!;
  assert.equal(enabled.attrs.resume, 'true');
  assert.equal(bound.getChild('x', 'unknown'), undefined);
  await peer.receives(`<features xmlns='${NS.stream}'/>`);
  const jid = identifier(success);
  const [session] = scene.server.sessions.of('romeo@localhost');
  assert.equal(session?.get(copied), true);
  const juliet = await actor('juliet@localhost/balcony');
  await juliet.sends(`<presence to='${jid}'/>`);
  await juliet.syncs();
  // Inactive: the presence is held back. Managed: the following request is counted.
  await peer.sends(`<iq type='get' id='1' to='localhost'><ping xmlns='${NS.ping}'/></iq><r xmlns='${NS.sm}'/>`);
  await peer.receives(`<presence from='${juliet.jid}'/>`);
  await peer.receives(`<r xmlns='${NS.sm}'/>`);
  await peer.receives(`<iq type='result' id='1'/>`);
  await peer.receives(`<a xmlns='${NS.sm}' h='1'/>`);
});

scenario('XEP-0386: too many sessions', { config: { limits: { sessions_per_account: 1 } } }, async (scene) => {
  await scene.actor('romeo@localhost/orchard');
  await scene.stage.account('romeo@localhost');
  const [peer] = await greeted(scene.connect, { transport: 'tls' });
  const attempt = attempts(peer, { inline: bind() }).catch(() => undefined);
  const end = await attempt;
  assert.equal(end?.name, 'error');
  assert.ok(end.getChild('resource-constraint', NS.streams));
});

// --- XEP-0198 §9 ------------------------------------------------------------------------------------------------------------

scenario('XEP-0198 §9.2: resumes during authentication, without features', async (scene) => {
  const juliet = await scene.actor('juliet@localhost/balcony');
  const romeo = await scene.actor('romeo@localhost/orchard', { presence: true });
  const { id: previd } = (await romeo.managesStream()).attrs;
  romeo.cut();
  await juliet.sends(`<message to='${romeo.jid}' type='chat'><body>1</body></message>`);
  await juliet.syncs();
  const [peer, success] = await logsIn(scene, `<resume xmlns='${NS.sm}' previd='${previd}' h='0'/>${agent()}${bind()}`);
  assert.equal(identifier(success), 'romeo@localhost/orchard');
  assert.equal(success.getChild('resumed', NS.sm)?.attrs.previd, previd);
  assert.equal(success.getChild('bound', NS.bind2), undefined);
  await peer.receives(`<message type='chat'><body>1</body></message>`);
  await peer.receives(`<r xmlns='${NS.sm}'/>`);
  assert.equal(scene.server.sessions.of('romeo@localhost').length, 1);
});

scenario('XEP-0198 §9.2: a failed resumption is reported, and a resource bound', async (scene) => {
  const [peer, success] = await logsIn(
    scene,
    `<resume xmlns='${NS.sm}' previd='nope' h='0'/>${agent()}${bind(`<enable xmlns='${NS.sm}' resume='true'/>`)}`,
  );
  assert.ok(success.getChild('failed', NS.sm)?.getChild('item-not-found', NS.stanzas));
  assert.ok(success.getChild('bound', NS.bind2)?.getChild('enabled', NS.sm)?.attrs.id);
  assert.notEqual(Jid.parse(identifier(success)).resource, undefined);
  await peer.receives(`<features xmlns='${NS.stream}'/>`);
  const [only, alone] = await logsIn(scene, `<resume xmlns='${NS.sm}' previd='nope' h='0'/>`);
  assert.ok(alone.getChild('failed', NS.sm));
  assert.equal(identifier(alone), 'romeo@localhost');
  await only.receives(`<features xmlns='${NS.stream}'><bind xmlns='${NS.bind}'/></features>`);
});

// --- one session, one state ---------------------------------------------------------------------------------------------------

const enable = (attributes = "resume='true'") => `<enable xmlns='${NS.sm}' ${attributes}/>`;
const refused = (condition: string) => `<failed xmlns='${NS.sm}'><${condition} xmlns='${NS.stanzas}'/></failed>`;
const resumes = (previd: string, h = 0) => `<resume xmlns='${NS.sm}' previd='${previd}' h='${h}'/>`;

/** The contents of `<bound/>` about stream management, in order. */
const managed = (success: Element): Element[] =>
  success
    .getChild('bound', NS.bind2)!
    .getChildElements()
    .filter((child) => child.getNS() === NS.sm);

for (const [title, requests] of [
  ['two', enable() + enable()],
  ['three different ones', enable('') + enable("resume='true' max='60'") + enable()],
  ['the resumable one last', enable("resume='false'") + enable()],
] as const) {
  scenario(`XEP-0198 §3: of several <enable/> in one <bind/> the first counts (${title})`, async (scene) => {
    const [peer, success] = await logsIn(scene, agent() + bind(requests));
    const [first, ...others] = managed(success);
    assert.equal(first?.name, 'enabled');
    assert.ok(others.length > 0);
    for (const other of others) assert.ok(other.getChild('unexpected-request', NS.stanzas), other.toString());
    await peer.receives(`<features xmlns='${NS.stream}'/>`);
    // Nor once more in the classic way.
    await peer.sends(enable());
    await peer.receives(refused('unexpected-request'));
    peer.cut();
    const previd = first.attrs.id;
    const [again, answer] = await logsIn(scene, resumes(previd ?? 'none'));
    assert.equal(answer.getChild(previd === undefined ? 'failed' : 'resumed', NS.sm)?.getNS(), NS.sm);
    if (previd === undefined) return;
    await again.closes();
    await again.isClosed();
    assert.deepEqual([scene.server.sessions.size, scene.server.hibernating], [0, 0]);
  });
}

for (const [title, inline] of [
  ['<resume/>', resumes('x') + resumes('y')],
  ['<bind/>', bind(enable()) + bind()],
  ['<tag/>', bind('<tag>one</tag><tag>two</tag>')],
  ['<user-agent/>', agent() + agent('another')],
  ['<fast/>', `<fast xmlns='${NS.fast}'/><fast xmlns='${NS.fast}' invalidate='true'/>`],
  ['<request-token/>', `<request-token xmlns='${NS.fast}' mechanism='HT-SHA-256-NONE'/>`.repeat(2)],
  ['<initial-response/>', '<initial-response>=</initial-response>'],
] as const) {
  scenario(`§6: ${title} twice in one <authenticate/> is malformed, and has no effect`, async (scene) => {
    const [peer, answer] = await logsIn(scene, inline, {}, 'romeo@localhost');
    assert.equal(outcome(answer), 'malformed-request');
    assert.equal(scene.server.sessions.size, 0);
    // The stream is where it was.
    assert.equal(outcome(await attempts(peer, { inline: bind() })), 'success');
  });
}

scenario('XEP-0386 §3.2: carbons and client state may be repeated', async (scene) => {
  const juliet = await scene.actor('juliet@localhost/balcony');
  const states = ['inactive', 'active', 'inactive'].map((state) => `<${state} xmlns='${NS.csi}'/>`).join('');
  const [peer, success] = await logsIn(scene, bind(`<enable xmlns='${NS.carbons}'/>`.repeat(2) + enable() + states));
  await peer.receives(`<features xmlns='${NS.stream}'/>`);
  assert.equal(managed(success).length, 1);
  // It is inactive: presence waits, once.
  await juliet.sends(`<presence to='${identifier(success)}'/>`);
  await juliet.syncs();
  await peer.sends(`<inactive xmlns='${NS.csi}'/><inactive xmlns='${NS.csi}'/><r xmlns='${NS.sm}'/>`);
  await peer.receives(`<a xmlns='${NS.sm}' h='0'/>`);
  await peer.sends(`<active xmlns='${NS.csi}'/><active xmlns='${NS.csi}'/>`);
  await peer.receives(`<presence from='${juliet.jid}'/>`);
  await peer.receives(`<r xmlns='${NS.sm}'/>`);
  for (const id of ['1', '2']) {
    await peer.sends(`<iq type='set' id='${id}'><enable xmlns='${NS.carbons}'/></iq>`);
    await peer.receives(`<iq type='result' id='${id}'/>`);
    await peer.sends(`<a xmlns='${NS.sm}' h='${Number(id) + 1}'/>`);
  }
});

scenario('XEP-0386 §3.2: a resumed session ignores <bind/>, and another resource cannot be bound', async (scene) => {
  const romeo = await scene.actor('romeo@localhost/orchard');
  const { id: previd } = (await romeo.managesStream()).attrs;
  const [peer, success] = await logsIn(scene, bind(enable() + enable()) + resumes(previd!));
  assert.deepEqual(
    success.getChildElements().map(({ name }) => name),
    ['additional-data', 'authorization-identifier', 'resumed'],
  );
  await romeo.receivesStreamError('conflict');
  await peer.sends(resumes(previd!));
  await peer.receives(refused('unexpected-request'));
  await peer.sends(`<iq type='set' id='b'><bind xmlns='${NS.bind}'><resource>garden</resource></bind></iq>`);
  await peer.receives(`<iq type='error' id='b'/>`);
  assert.equal(scene.server.sessions.size, 1);
});

// --- XEP-0480 -----------------------------------------------------------------------------------------------------------------

/** An account that came with keys for SHA-1 alone. */
async function oldAccount({ server }: Scene): Promise<void> {
  const salt = Buffer.from('a salt of tests.');
  const key = saltPassword('SHA-1', password, salt, 4096);
  const storedKey = digest('SHA-1', mac('SHA-1', key, 'Client Key'));
  const keys = { 'SHA-1': { salt, iterations: 4096, storedKey, serverKey: mac('SHA-1', key, 'Server Key') } };
  await server.accounts.remove('old@localhost');
  await server.accounts.create(Jid.parse('old@localhost'), keys);
}

const upgrade = (...names: string[]) =>
  names.map((name) => `<upgrade xmlns='${NS.saslUpgrade}'>UPGR-${name}</upgrade>`).join('');

/** Does the task that `<continue/>` names; the server's answer. */
async function performs(peer: Peer, tasks: Element): Promise<Element> {
  const task = tasks.getChild('tasks', NS.sasl2)!.getChildText('task', NS.sasl2)!;
  await peer.sends(`<next xmlns='${NS.sasl2}' task='${task}'/>`);
  const data = await peer.receives(
    `<task-data xmlns='${NS.sasl2}'><salt xmlns='${NS.scramUpgrade}' iterations='4096'>*</salt></task-data>`,
  );
  const salt = Buffer.from(data.getChildText('salt', NS.scramUpgrade)!, 'base64');
  const hash = hashOf(task.slice('UPGR-'.length));
  const salted = saltPassword(hash, password, salt, 4096);
  await peer.sends(
    `<task-data xmlns='${NS.sasl2}'><hash xmlns='${NS.scramUpgrade}'>${base64(salted)}</hash></task-data>`,
  );
  return peer.receivesAny();
}

scenario('XEP-0480 §2: missing keys are created one after another', async (scene) => {
  await oldAccount(scene);
  const [peer] = await greeted(scene.connect, { transport: 'tls', address: newPlace() });
  assert.equal(outcome(await attempts(peer, { user: 'old', mechanism: 'SCRAM-SHA-256' })), 'not-authorized');
  const inline = upgrade('SCRAM-SHA-256', 'SCRAM-SHA-512', 'SCRAM-SHA-1', 'NOPE') + bind();
  const first = await attempts(peer, { user: 'old', inline });
  assert.equal(first.name, 'continue');
  const second = await performs(peer, first);
  assert.equal(second.name, 'continue');
  assert.equal(second.getChild('additional-data', NS.sasl2), undefined);
  const success = await performs(peer, second);
  assert.equal(success.name, 'success');
  // Bound only now.
  assert.match(identifier(success), /^old@localhost\/./);
  for (const mechanism of ['SCRAM-SHA-256', 'SCRAM-SHA-512-PLUS', 'SCRAM-SHA-1']) {
    const [again] = await greeted(scene.connect, { transport: 'tls' });
    assert.equal(outcome(await attempts(again, { user: 'old', mechanism, inline })), 'success');
  }
});

scenario('XEP-0480 §2: failed tasks', async (scene) => {
  const salted = base64('x'.repeat(hashBytes['SHA-256']));
  const data = (hash: string) =>
    `<task-data xmlns='${NS.sasl2}'><hash xmlns='${NS.scramUpgrade}'>${hash}</hash></task-data>`;
  const next = (task: string) => `<next xmlns='${NS.sasl2}' task='${task}'/>`;
  for (const [steps, condition] of [
    [[next('UPGR-SCRAM-SHA-512')], 'malformed-request'],
    [[data(salted)], 'malformed-request'],
    [[next('UPGR-SCRAM-SHA-256'), data('')], 'malformed-request'],
    [[next('UPGR-SCRAM-SHA-256'), data(base64('short'))], 'malformed-request'],
    [[next('UPGR-SCRAM-SHA-256'), data('?')], 'incorrect-encoding'],
    [[next('UPGR-SCRAM-SHA-256'), next('UPGR-SCRAM-SHA-256')], 'malformed-request'],
    [[`<abort xmlns='${NS.sasl2}'/>`], 'aborted'],
    [[`<response xmlns='${NS.sasl2}'/>`], 'malformed-request'],
  ] as const) {
    await oldAccount(scene);
    const [peer] = await greeted(scene.connect, { transport: 'tls' });
    await attempts(peer, { user: 'old', inline: upgrade('SCRAM-SHA-256') });
    for (const xml of steps.slice(0, -1)) {
      await peer.sends(xml);
      await peer.receives(`<task-data xmlns='${NS.sasl2}'/>`);
    }
    await peer.sends(steps.at(-1)!);
    await peer.receives(failure(condition));
    // And one is not logged in.
    await peer.sends(`<iq type='set' id='1'><bind xmlns='${NS.bind}'/></iq>`);
    await peer.receivesStreamError('not-authorized');
  }
});

scenario('§4.9: no second authentication while a task is pending', async (scene) => {
  await oldAccount(scene);
  const [peer] = await greeted(scene.connect, { transport: 'tls' });
  await attempts(peer, { user: 'old', inline: upgrade('SCRAM-SHA-256') });
  await peer.sends(`<authenticate xmlns='${NS.sasl2}' mechanism='SCRAM-SHA-1'/>`);
  await peer.receivesStreamError('policy-violation');
});

scenario('the password may change while a task is pending', async (scene) => {
  await oldAccount(scene);
  const [peer] = await greeted(scene.connect, { transport: 'tls', address: newPlace() });
  const due = await attempts(peer, { user: 'old', inline: upgrade('SCRAM-SHA-256') });
  await scene.server.accounts.setPassword('old@localhost', 'another');
  assert.equal(outcome(await performs(peer, due)), 'credentials-expired');
});

scenario('PLAIN creates missing keys by itself', async (scene) => {
  await oldAccount(scene);
  const [peer] = await greeted(scene.connect, { transport: 'tls' });
  await peer.sends(`<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${base64(`\0old\0${password}`)}</auth>`);
  await peer.receives(`<success xmlns='${NS.sasl}'/>`);
  const [again] = await greeted(scene.connect);
  assert.equal(outcome(await attempts(again, { user: 'old', mechanism: 'SCRAM-SHA-512' })), 'success');
});

scenario('over WebSocket, everything pipelined', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const [peer] = await greeted(connect, { transport: 'wss' });
  const success = await attempts(peer, {
    mechanism: 'SCRAM-SHA-256',
    inline: agent() + bind(`<enable xmlns='${NS.sm}'/>`),
  });
  assert.match(identifier(success), /^romeo@localhost\//);
  assert.match(plain(success.getChild('additional-data', NS.sasl2)!), /^v=/);
  await peer.receives(`<features xmlns='${NS.stream}'/>`);
});

{
  let finish = () => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const slow = defineModule({
    name: 'slow',
    summary: 'Takes its time.',
    implements: {},
    start: () => [binding(() => finished.then(() => undefined))],
  });
  scenario(
    'XEP-0386: stanzas that arrive during binding are queued, however many',
    { modules: [slow], config: { limits: { rate: unlimitedRate } } },
    async (scene) => {
      const juliet = await scene.actor('juliet@localhost/balcony');
      const loggingIn = logsIn(scene, agent() + bind('<tag>X</tag>'));
      while (scene.server.sessions.of('romeo@localhost').length === 0)
        await new Promise((resolve) => setImmediate(resolve));
      const { jid } = scene.server.sessions.of('romeo@localhost')[0]!;
      const count = 1500;
      for (let at = 0; at < count; at++)
        void juliet.sends(`<message to='${jid.full}' type='chat'><body>${at}</body></message>`);
      await juliet.syncs();
      finish();
      const [peer] = await loggingIn;
      await peer.receives(`<features xmlns='${NS.stream}'/>`);
      for (let at = 0; at < count; at++) assert.equal((await peer.receivesAny()).getChildText('body'), String(at));
    },
  );
}
