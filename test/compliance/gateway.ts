/** Phrases of dialogues with the push gateway, a push service of XEP-0357 §3. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import type { Subscription } from '../web-push-service.js';
import type { Peer } from './dialogue.js';

export const gateway = 'push.localhost';
export const juliet = 'juliet@localhost';

export const command = (node: string, fields?: Readonly<Record<string, string>>, to = gateway): string =>
  `<iq type='set' id='c' to='${to}'><command xmlns='${NS.commands}' node='${node}' action='execute'>${
    fields === undefined
      ? ''
      : `<x xmlns='${NS.dataForms}' type='submit'>${Object.entries(fields)
          .map(([field, value]) => `<field var='${field}'><value>${value}</value></field>`)
          .join('')}</x>`
  }</command></iq>`;

export const valueIn = (form: Element | undefined, field: string): string | undefined =>
  form
    ?.getChildren('field', NS.dataForms)
    .find(({ attrs }) => attrs.var === field)
    ?.getChildText('value', NS.dataForms) ?? undefined;

export interface Registered {
  readonly node: string;
  readonly secret: string;
}

export async function runs(
  peer: Peer,
  node: string,
  fields?: Readonly<Record<string, string>>,
): Promise<Element | undefined> {
  await peer.sends(command(node, fields));
  const answer = await peer.receives(
    `<iq type='result' id='c' from='${gateway}'><command xmlns='${NS.commands}'/></iq>`,
  );
  return answer.getChild('command', NS.commands)!.getChild('x', NS.dataForms);
}

export const fieldsOf = ({ endpoint, p256dh, auth }: Subscription) => ({ endpoint, p256dh, auth });

export async function registers(peer: Peer, fields: Readonly<Record<string, string>>): Promise<Registered> {
  const form = await runs(peer, 'register-push-web', fields);
  assert.equal(valueIn(form, 'jid'), gateway);
  return { node: valueIn(form, 'node')!, secret: valueIn(form, 'secret')! };
}

export const optionsWith = (secret: string): string =>
  `<x xmlns='${NS.dataForms}' type='submit'><field var='FORM_TYPE'><value>${NS.pubsub}#publish-options</value></field>
    <field var='secret'><value>${secret}</value></field></x>`;

export async function enables(peer: Peer, { node, secret }: Registered): Promise<void> {
  await peer.sends(
    `<iq type='set' id='e'><enable xmlns='${NS.push}' jid='${gateway}' node='${node}'>${optionsWith(secret)}</enable></iq>`,
  );
  await peer.receives(`<iq type='result' id='e'/>`);
}

export const publish = ({ node, secret }: Registered, inner = ''): string =>
  `<iq type='set' id='p' to='${gateway}'><pubsub xmlns='${NS.pubsub}'><publish node='${node}'><item>
    <notification xmlns='${NS.push}'>${inner}</notification></item></publish>
    <publish-options>${optionsWith(secret)}</publish-options></pubsub></iq>`;

export const summary = (fields: Readonly<Record<string, string>>): string =>
  `<x xmlns='${NS.dataForms}'><field var='FORM_TYPE'><value>urn:xmpp:push:summary</value></field>${Object.entries(
    fields,
  )
    .map(([field, value]) => `<field var='${field}'><value>${value}</value></field>`)
    .join('')}</x>`;

/** The publication is taken, the device is gone, and the user is told. */
export const isWithdrawn = (peer: Peer, { node }: Registered) =>
  peer.receivesAnyOrder([
    `<iq type='result' id='p'/>`,
    `<message from='${gateway}'><pubsub xmlns='${NS.pubsub}' node='${node}'>
      <affiliation jid='${juliet}' affiliation='none'/></pubsub></message>`,
  ]);
