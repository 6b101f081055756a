/** XEP-0050: the commands that every user has, at the server and at their own account. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { type Peer, scenario } from './dialogue.js';
import { logsInAnonymously, refusal } from './phrases.js';

const command = (node: string, attributes = '', content = '', to = 'localhost') =>
  `<iq type='set' id='c' to='${to}'><command xmlns='${NS.commands}' node='${node}' ${attributes}>${content}</command></iq>`;

async function runs(peer: Peer, node: string, attributes = '', content = '', to?: string): Promise<Element> {
  await peer.sends(command(node, attributes, content, to));
  const result = await peer.receives(`<iq type='result' id='c'><command xmlns='${NS.commands}' node='${node}'/></iq>`);
  return result.getChild('command', NS.commands)!;
}

const noteIn = (answer: Element) => {
  assert.equal(answer.attrs.status, 'completed');
  return answer.getChildText('note', NS.commands) ?? '';
};

const form = (fields: Readonly<Record<string, readonly string[]>>) =>
  `<x xmlns='${NS.dataForms}' type='submit'>${Object.entries(fields)
    .map(([name, all]) => `<field var='${name}'>${all.map((one) => `<value>${one}</value>`).join('')}</field>`)
    .join('')}</x>`;

scenario('ping, uptime and time', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  for (const to of ['localhost', 'romeo@localhost']) {
    assert.match(noteIn(await runs(romeo, 'ping', '', '', to)), /^The server is running\.$/);
    assert.match(noteIn(await runs(romeo, 'uptime', '', '', to)), /^Running since \d{4}-.*, for .*\d+ s\.$/);
    assert.match(noteIn(await runs(romeo, 'time', '', '', to)), /^\d{4}-\d\d-\d\dT/);
  }
  // Not for others, who learn nothing of an account
  const tybalt = await actor('tybalt@elsewhere.example/street');
  await tybalt.sends(command('uptime'));
  await tybalt.receives(`<iq type='error' id='c'>${refusal('cancel', 'forbidden')}</iq>`);
  for (const whose of ['romeo@localhost', 'nobody@localhost']) {
    await tybalt.sends(command('uptime', '', '', whose));
    await tybalt.receives(`<iq type='error' id='c'>${refusal('cancel', 'service-unavailable')}</iq>`);
  }
});

scenario('users list and end their own sessions', async ({ actor }) => {
  const orchard = await actor('romeo@localhost/orchard');
  assert.match(noteIn(await runs(orchard, 'end-sessions')), /no other/);
  const garden = await actor('romeo@localhost/garden');
  const street = await actor('romeo@localhost/street');
  const juliet = await actor('juliet@localhost/balcony');
  const rows = (await runs(orchard, 'list-sessions')).getChild('x', NS.dataForms)!.getChildren('item');
  const resources = rows.map((row) => row.getChildren('field')[0]!.getChildText('value'));
  assert.deepEqual(resources.sort(), ['garden', 'orchard', 'street']);
  const asked = await runs(orchard, 'end-sessions');
  const offered = asked
    .getChild('x', NS.dataForms)!
    .getChildren('field')
    .flatMap((field) => field.getChildren('option'));
  assert.deepEqual(offered.map((option) => option.getChildText('value')).sort(), ['garden', 'street']);
  const session = `sessionid='${asked.attrs.sessionid}'`;
  // Neither this one, nor another's
  const ended = await runs(orchard, 'end-sessions', session, form({ sessions: ['garden', 'orchard', 'balcony'] }));
  assert.match(noteIn(ended), /^One /);
  await garden.closed('policy-violation');
  for (const peer of [street, juliet]) await peer.receivesNothing();
});

scenario('users change their own password', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const change = async (password: string, again: string) => {
    const { sessionid } = (await runs(romeo, 'change-password')).attrs;
    return runs(
      romeo,
      'change-password',
      `sessionid='${sessionid}'`,
      form({ password: [password], 'password-verify': [again] }),
    );
  };
  for (const [one, other] of [
    ['rosemary for remembrance', 'rosemary'],
    ['', ''],
  ] as const) {
    const failed = await change(one, other);
    assert.equal(failed.getChild('note', NS.commands)?.attrs.type, 'error');
  }
  assert.match(noteIn(await change('rosemary for remembrance', 'rosemary for remembrance')), /changed/);
  await actor('romeo@localhost/garden', { password: 'rosemary for remembrance' });
});

scenario(
  'XEP-0175: an anonymous account has no password',
  { config: { auth: { anonymous: true } } },
  async ({ connect }) => {
    const peer = await logsInAnonymously(connect);
    await peer.sends(command('change-password'));
    await peer.receives(`<iq type='error' id='c'>${refusal('auth', 'registration-required')}</iq>`);
    assert.match(noteIn(await runs(peer, 'ping')), /^The server is running\.$/);
  },
);
