/** Phrases that several dialogues about XEP-0060 use. */
import { NS } from '../../src/server/stanza/ns.js';

const field = (name: string, values: string | readonly string[]): string =>
  `<field var='pubsub#${name}'>${[values]
    .flat()
    .map((value) => `<value>${value}</value>`)
    .join('')}</field>`;

export type Options = Readonly<Record<string, string | readonly string[]>>;

const form = (type: string, options: Options): string =>
  `<x xmlns='${NS.dataForms}' type='submit'><field var='FORM_TYPE' type='hidden'><value>${NS.pubsub}#${type}</value></field>${Object.entries(
    options,
  )
    .map(([name, value]) => field(name, value))
    .join('')}</x>`;

const address = (to: string | undefined): string => (to === undefined ? '' : ` to='${to}'`);

const iq =
  (ns: string) =>
  (type: 'get' | 'set', inner: string, to?: string): string =>
    `<iq type='${type}' id='p'${address(to)}><pubsub xmlns='${ns}'>${inner}</pubsub></iq>`;

export const pubsub = iq(NS.pubsub);
export const owner = iq(NS.pubsubOwner);

export const payload = (text: string): string => `<entry xmlns='urn:example:entry'>${text}</entry>`;

export const publish = (
  node: string,
  id: string | undefined,
  text: string,
  { to, options }: { readonly to?: string; readonly options?: Options } = {},
): string =>
  pubsub(
    'set',
    `<publish node='${node}'><item${id === undefined ? '' : ` id='${id}'`}>${payload(text)}</item></publish>${
      options === undefined ? '' : `<publish-options>${form('publish-options', options)}</publish-options>`
    }`,
    to,
  );

export const configure = (node: string, options: Options, to?: string): string =>
  owner('set', `<configure node='${node}'>${form('node_config', options)}</configure>`, to);

export const create = (node: string, options: Options | undefined, to?: string): string =>
  pubsub(
    'set',
    `<create node='${node}'/>${options === undefined ? '' : `<configure>${form('node_config', options)}</configure>`}`,
    to,
  );

export const submitted = form;

/** The result of an IQ, with this in `<pubsub/>`. */
export const result = (inner?: string, ns: string = NS.pubsub): string =>
  inner === undefined
    ? `<iq type='result' id='p'/>`
    : `<iq type='result' id='p'><pubsub xmlns='${ns}'>${inner}</pubsub></iq>`;

export const error = (type: string, condition: string, specific?: string): string =>
  `<iq type='error' id='p'><error type='${type}'><${condition} xmlns='${NS.stanzas}'/>${
    specific === undefined ? '' : `<${specific} xmlns='${NS.pubsubErrors}'/>`
  }</error></iq>`;

/** A notification. */
export const event = (from: string, to: string, inner: string): string =>
  `<message type='headline' from='${from}' to='${to}'><event xmlns='${NS.pubsubEvent}'>${inner}</event></message>`;

export const itemEvent = (from: string, to: string, node: string, id: string, text: string): string =>
  event(from, to, `<items node='${node}'><item id='${id}'>${payload(text)}</item></items>`);
