/** XEP-0050: ad-hoc commands, by the example of XEP-0133's. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { type Peer, scenario } from './dialogue.js';
import { refusal, subscribes } from './phrases.js';

const config = { hosts: { localhost: { admins: ['nurse@localhost'] }, 'elsewhere.example': {} } };
const admin = 'http://jabber.org/protocol/admin';
const roster = `${admin}#get-user-roster`;

const command = (attributes: string, content = '') =>
  `<command xmlns='${NS.commands}' ${attributes}>${content}</command>`;
const about = (jid: string) => `<x xmlns='${NS.dataForms}' type='submit'>
  <field var='FORM_TYPE'><value>${admin}</value></field><field var='accountjids'><value>${jid}</value></field></x>`;

async function executes(peer: Peer, attributes: string, content = ''): Promise<Element> {
  await peer.sends(`<iq type='set' id='c' to='localhost'>${command(attributes, content)}</iq>`);
  const result = await peer.receives(`<iq type='result' id='c' from='localhost'>${command('')}</iq>`);
  return result.getChild('command', NS.commands)!;
}

async function isRefused(peer: Peer, attributes: string, error: string, content = ''): Promise<void> {
  await peer.sends(`<iq type='set' id='c' to='localhost'>${command(attributes, content)}</iq>`);
  await peer.receives(`<iq type='error' id='c' from='localhost'>${command(attributes)}${error}</iq>`);
}

/** §4.4: with its specific condition. */
const specific = (type: string, general: string, name: string) =>
  refusal(type, general).replace('</error>', `<${name} xmlns='${NS.commands}'/></error>`);

scenario('§2.1, §2.2: available commands are listed and described', { config }, async ({ actor }) => {
  const nurse = await actor('nurse@localhost/kitchen');
  const romeo = await actor('romeo@localhost/orchard');
  const list = `<query xmlns='${NS.discoItems}' node='${NS.commands}'/>`;
  await nurse.sends(`<iq type='get' id='1' to='localhost'>${list}</iq>`);
  const listed = await nurse.receives(`<iq type='result' id='1'><query xmlns='${NS.discoItems}' node='${NS.commands}'>
    <item jid='localhost' node='${roster}' name='*'/></query></iq>`);
  for (const { attrs } of listed.getChildElements()[0]!.getChildElements()) {
    await nurse.sends(
      `<iq type='get' id='2' to='localhost'><query xmlns='${NS.discoInfo}' node='${attrs.node}'/></iq>`,
    );
    await nurse.receives(`<iq type='result' id='2'><query xmlns='${NS.discoInfo}' node='${attrs.node}'>
      <identity category='automation' type='command-node' name='${attrs.name}'/>
      <feature var='${NS.commands}'/><feature var='${NS.dataForms}'/></query></iq>`);
    if (!attrs.node!.startsWith(admin)) continue; // for every user §2.2, §4.4: nobody else's
    const described = `<query xmlns='${NS.discoInfo}' node='${attrs.node}'/>`;
    await romeo.sends(`<iq type='get' id='3' to='localhost'>${described}</iq>`);
    await romeo.receives(`<iq type='error' id='3'>${described}${refusal('cancel', 'forbidden')}</iq>`);
    await isRefused(romeo, `node='${attrs.node}' action='execute'`, refusal('cancel', 'forbidden'));
  }
  await romeo.sends(`<iq type='get' id='4' to='localhost'>${list}</iq>`);
  const own = await romeo.receives(`<iq type='result' id='4'>${list}</iq>`);
  assert.ok(
    own
      .getChildElements()[0]!
      .getChildElements()
      .every(({ attrs }) => !attrs.node!.startsWith(admin)),
  );
  await romeo.sends(`<iq type='get' id='5' to='localhost'><query xmlns='${NS.discoInfo}'/></iq>`);
  await romeo.receives(
    `<iq type='result' id='5'><query xmlns='${NS.discoInfo}'><feature var='${NS.commands}'/></query></iq>`,
  );
});

scenario('§2.4: a form is filled in', { config }, async ({ actor }) => {
  const nurse = await actor('nurse@localhost/kitchen');
  await actor('romeo@localhost/orchard');
  const asked = await executes(nurse, `node='${roster}' action='execute'`);
  assert.equal(asked.attrs.status, 'executing');
  assert.equal(asked.attrs.node, roster);
  assert.deepEqual(
    asked
      .getChild('actions')!
      .getChildElements()
      .map(({ name }) => name),
    ['complete'],
  );
  assert.equal(asked.getChild('actions')!.attrs.execute, 'complete');
  const form = asked.getChild('x', NS.dataForms)!;
  assert.equal(form.attrs.type, 'form');
  assert.ok(form.getChildren('field').some(({ attrs }) => attrs.var === 'accountjids'));
  const done = await executes(
    nurse,
    `node='${roster}' sessionid='${asked.attrs.sessionid}' action='complete'`,
    about('romeo@localhost'),
  );
  assert.equal(done.attrs.status, 'completed');
  assert.equal(done.attrs.sessionid, asked.attrs.sessionid);
  // §4.4: it is over
  await isRefused(
    nurse,
    `node='${roster}' sessionid='${asked.attrs.sessionid}'`,
    specific('cancel', 'not-allowed', 'session-expired'),
  );
});

scenario('§2.4.3, §3.4: cancel, and the default action', { config }, async ({ actor }) => {
  const nurse = await actor('nurse@localhost/kitchen');
  const { sessionid } = (await executes(nurse, `node='${roster}'`)).attrs;
  const canceled = await executes(nurse, `node='${roster}' sessionid='${sessionid}' action='cancel'`);
  assert.deepEqual([canceled.attrs.status, canceled.attrs.sessionid], ['canceled', sessionid]);
  await isRefused(
    nurse,
    `node='${roster}' sessionid='${sessionid}' action='complete'`,
    specific('cancel', 'not-allowed', 'session-expired'),
    about('nurse@localhost'),
  );
  const again = await executes(nurse, `node='${roster}'`);
  assert.notEqual(again.attrs.sessionid, sessionid);
  const done = await executes(
    nurse,
    `node='${roster}' sessionid='${again.attrs.sessionid}' action='execute'`,
    about('nurse@localhost'),
  );
  assert.equal(done.attrs.status, 'completed');
});

scenario('§4.4: errors', { config }, async ({ actor }) => {
  const nurse = await actor('nurse@localhost/kitchen');
  await isRefused(nurse, `node='nope'`, refusal('cancel', 'item-not-found'));
  await isRefused(nurse, '', refusal('cancel', 'item-not-found'));
  await isRefused(nurse, `node='${roster}' action='jump'`, specific('modify', 'bad-request', 'malformed-action'));
  for (const action of ['next', 'prev', 'complete', 'cancel'])
    await isRefused(nurse, `node='${roster}' action='${action}'`, specific('modify', 'bad-request', 'bad-action'));
  await isRefused(nurse, `node='${roster}' sessionid='nope'`, specific('modify', 'bad-request', 'bad-sessionid'));
  const { sessionid } = (await executes(nurse, `node='${roster}'`)).attrs;
  const step = `node='${roster}' sessionid='${sessionid}'`;
  await isRefused(nurse, `${step} action='prev'`, specific('modify', 'bad-request', 'bad-action'));
  for (const content of ['', `<x xmlns='${NS.dataForms}'/>`, `<x xmlns='${NS.dataForms}' type='result'/>`])
    await isRefused(nurse, `${step} action='complete'`, specific('modify', 'bad-request', 'bad-payload'), content);
  // The session continues
  await isRefused(
    nurse,
    step.replace('get-user-roster', 'user-stats'),
    specific('modify', 'bad-request', 'bad-sessionid'),
  );
  const done = await executes(nurse, `${step} action='complete'`, about('nurse@localhost'));
  assert.equal(done.attrs.status, 'completed');
  // §3.4: a form with wrong values completes the command, which has failed
  for (const content of [
    `<x xmlns='${NS.dataForms}' type='submit'/>`,
    about('not@@an.address'),
    about('no@localhost'),
  ]) {
    const begun = await executes(nurse, `node='${roster}'`);
    const failed = await executes(nurse, `node='${roster}' sessionid='${begun.attrs.sessionid}'`, content);
    assert.equal(failed.attrs.status, 'completed');
    assert.equal(failed.getChild('note', NS.commands)?.attrs.type, 'error');
  }
});

scenario('§3.3: a session belongs to the client that opened it', { config }, async ({ actor }) => {
  const nurse = await actor('nurse@localhost/kitchen');
  const pantry = await actor('nurse@localhost/pantry');
  const romeo = await actor('romeo@localhost/orchard');
  const { sessionid } = (await executes(nurse, `node='${roster}'`)).attrs;
  const step = `node='${roster}' sessionid='${sessionid}' action='complete'`;
  await isRefused(pantry, step, specific('modify', 'bad-request', 'bad-sessionid'), about('nurse@localhost'));
  await isRefused(romeo, step, refusal('cancel', 'forbidden'), about('nurse@localhost'));
  assert.equal((await executes(nurse, step, about('nurse@localhost'))).attrs.status, 'completed');
});

scenario('§6: commands of an account are for itself only', { config }, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const nurse = await actor('nurse@localhost/kitchen', { presence: true });
  await subscribes(nurse, juliet);
  const list = `<query xmlns='${NS.discoItems}' node='${NS.commands}'/>`;
  await juliet.sends(`<iq type='get' id='1' to='juliet@localhost'>${list}</iq>`);
  const own = await juliet.receives(`<iq type='result' id='1'>${list}</iq>`);
  const nodes = own
    .getChildElements()[0]!
    .getChildElements()
    .map(({ attrs }) => attrs.node);
  for (const node of nodes) {
    for (const whose of ['juliet@localhost', 'nobody@localhost']) {
      await romeo.sends(`<iq type='set' id='2' to='${whose}'>${command(`node='${node}'`)}</iq>`);
      await romeo.receives(`<iq type='error' id='2' from='${whose}'>${refusal('cancel', 'service-unavailable')}</iq>`);
    }
    // A user who sees her presence may learn that a command exists, but not run it
    await nurse.sends(`<iq type='set' id='3' to='juliet@localhost'>${command(`node='${node}'`)}</iq>`);
    await nurse.receives(`<iq type='error' id='3'>${refusal('cancel', 'forbidden')}</iq>`);
  }
  await nurse.sends(`<iq type='get' id='4' to='juliet@localhost'>${list}</iq>`);
  const others = await nurse.receives(`<iq type='result' id='4'>${list}</iq>`);
  assert.deepEqual(others.getChildElements()[0]!.children, []);
});
