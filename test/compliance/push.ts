/** Phrases of dialogues about push notifications (XEP-0357). The push service is a component. */
import { NS } from '../../src/server/stanza/ns.js';
import type { ComponentPeer, ComponentScene } from './component.js';
import { withComponents } from './component.js';
import type { Peer } from './dialogue.js';

export const service = 'push.localhost.example';
export const juliet = 'juliet@localhost';
export const romeo = 'romeo@localhost';

export const push = (config: Readonly<Record<string, unknown>> = {}) => ({
  config: { modules: { push: { pause_seconds: 1, ...config } } },
});

export const play = (
  title: string,
  dialogue: (scene: ComponentScene, app: ComponentPeer) => Promise<void>,
  more: { readonly config?: Readonly<Record<string, unknown>>; readonly alone?: boolean } = push(),
) =>
  withComponents(
    title,
    { [service]: {} },
    async (scene) => dialogue(scene, await scene.component(service).logsIn()),
    more,
  );

export const enable = (node: string, inner = '', jid = service): string =>
  `<iq type='set' id='e'><enable xmlns='${NS.push}' jid='${jid}' node='${node}'>${inner}</enable></iq>`;
export const disable = (node?: string): string =>
  `<iq type='set' id='d'><disable xmlns='${NS.push}' jid='${service}'${node === undefined ? '' : ` node='${node}'`}/></iq>`;

export async function enables(peer: Peer, node: string, inner = ''): Promise<void> {
  await peer.sends(enable(node, inner));
  await peer.receives(`<iq type='result' id='e'/>`);
}

export const options = (secret: string): string =>
  `<x xmlns='${NS.dataForms}' type='submit'><field var='FORM_TYPE'><value>${NS.pubsub}#publish-options</value></field>
    <field var='secret'><value>${secret}</value></field></x>`;

const published = (node: string, fields: Readonly<Record<string, string>>, more = ''): string =>
  `<iq type='set' id='{push}' from='localhost' to='${service}'><pubsub xmlns='${NS.pubsub}'>
    <publish node='${node}'><item><notification xmlns='${NS.push}'><x xmlns='${NS.dataForms}' type='form'>
      <field var='FORM_TYPE'><value>urn:xmpp:push:summary</value></field>
      ${Object.entries(fields)
        .map(([name, value]) => `<field var='${name}'><value>${value}</value></field>`)
        .join('')}</x></notification></item></publish>${more}</pubsub></iq>`;

/** The service gets a notification, and answers. */
export async function isPushed(
  app: ComponentPeer,
  node: string,
  fields: Readonly<Record<string, string>> = { 'message-count': '1' },
  { more = '', answer = '' }: { readonly more?: string; readonly answer?: string } = {},
): Promise<void> {
  app.known.clear();
  await app.receives(published(node, fields, more));
  app.sends(
    `<iq type='${answer === '' ? 'result' : 'error'}' id='{push}' from='${service}' to='localhost'>${answer}</iq>`,
  );
}

export const chat = (body: string, to = juliet): string =>
  `<message to='${to}' type='chat'><body>${body}</body></message>`;

/** A phone that has enabled push, and is gone. */
export async function leaves(scene: ComponentScene, node = 'phone', inner = ''): Promise<void> {
  const phone = await scene.actor(`${juliet}/${node}`, { presence: true });
  await enables(phone, node, inner);
  await phone.closes();
  await phone.isClosed();
}
