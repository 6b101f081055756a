/** Configuration of nodes (§8.2, §16.4.4): the form, the defaults, and publish options as preconditions (§7.1.5). */

import { Jid } from '../../server/address/jid.js';
import { defineForm, type Submission } from '../../server/stanza/define-form.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { type Element, el } from '../../server/xml/element.js';
import { pubsubError, unsupported } from './errors.js';
import type { Settings } from './settings.js';

export const accessModels = ['open', 'presence', 'roster', 'authorize', 'whitelist'] as const;

const fields = {
  'pubsub#title': { type: 'text-single', label: 'Name of the node', longest: 1000 },
  'pubsub#description': { type: 'text-single', label: 'Description', longest: 4000 },
  'pubsub#type': { type: 'text-single', label: 'Type of the payloads, usually their namespace', longest: 1000 },
  'pubsub#language': { type: 'list-single', label: 'Language', options: [] as string[], open: true },
  'pubsub#contact': { type: 'jid-multi', label: 'Contact addresses for questions about the node' },
  'pubsub#node_type': { type: 'list-single', label: 'Type of the node', options: ['leaf', 'collection'] },
  'pubsub#collection': { type: 'text-multi', label: 'Collections that contain the node', longest: 1023 },
  'pubsub#access_model': {
    type: 'list-single',
    label: 'Who may subscribe and retrieve items',
    options: accessModels,
  },
  'pubsub#roster_groups_allowed': {
    type: 'list-multi',
    label: 'Roster groups with access (access model "roster")',
    options: [] as string[],
    open: true,
  },
  'pubsub#publish_model': {
    type: 'list-single',
    label: 'Who may publish',
    options: ['publishers', 'subscribers', 'open'],
  },
  'pubsub#persist_items': { type: 'boolean', label: 'Persist items' },
  'pubsub#max_items': {
    type: 'text-single',
    datatype: 'pubsub:integer-or-max',
    label: 'Maximum number of items',
    min: 0,
  },
  'pubsub#item_expire': {
    type: 'text-single',
    datatype: 'pubsub:integer-or-max',
    label: 'Seconds until items expire',
    min: 1,
  },
  'pubsub#purge_offline': { type: 'boolean', label: 'Remove the items of a publisher who goes offline' },
  'pubsub#publish_node_full': {
    type: 'list-single',
    label: 'What happens to the oldest item of a full node',
    options: ['retract-oldest', 'discard-oldest', 'reject'],
  },
  'pubsub#max_payload_size': {
    type: 'text-single',
    datatype: 'xs:integer',
    label: 'Maximum payload size in bytes',
    min: 1,
  },
  'pubsub#send_last_published_item': {
    type: 'list-single',
    label: 'When the last item is sent',
    options: ['never', 'on_sub', 'on_sub_and_presence'],
  },
  'pubsub#deliver_notifications': { type: 'boolean', label: 'Send notifications' },
  'pubsub#deliver_payloads': { type: 'boolean', label: 'Send payloads with notifications' },
  'pubsub#presence_based_delivery': { type: 'boolean', label: 'Notify only available subscribers' },
  'pubsub#itemreply': {
    type: 'list-single',
    label: 'Address for replies',
    options: ['publisher', 'owner', 'none'],
  },
  'pubsub#notification_type': {
    type: 'list-single',
    label: 'Message type of notifications',
    options: ['normal', 'headline', 'chat'],
  },
  'pubsub#notify_config': { type: 'boolean', label: 'Notify when the configuration changes' },
  'pubsub#notify_delete': { type: 'boolean', label: 'Notify when the node is deleted' },
  'pubsub#notify_retract': { type: 'boolean', label: 'Notify when items are removed' },
  'pubsub#notify_sub': { type: 'boolean', label: 'Notify owners of new and ended subscriptions' },
  'pubsub#subscribe': { type: 'boolean', label: 'Allow subscriptions' },
  'pubsub#tempsub': { type: 'boolean', label: 'Subscriptions end when the subscriber goes offline' },
  'pubsub#body_xslt': {
    type: 'text-single',
    label: 'Transformation of payloads to a body, for clients',
    longest: 1000,
  },
  'pubsub#dataform_xslt': {
    type: 'text-single',
    label: 'Transformation of payloads to data forms, for clients',
    longest: 1000,
  },
} as const;

/**
 * XEP-0248: additional fields of collections. Children are not stored with a node; the links are stored with the child.
 */
const ofCollections = {
  'pubsub#children': { type: 'text-multi', label: 'Nodes in the collection', longest: 1023 },
  'pubsub#children_association_policy': {
    type: 'list-single',
    label: 'Who may add nodes to the collection',
    options: ['all', 'owners', 'whitelist'],
  },
  'pubsub#children_association_whitelist': {
    type: 'jid-multi',
    label: 'Addresses that may add nodes (policy "whitelist")',
  },
  'pubsub#children_max': {
    type: 'text-single',
    datatype: 'xs:integer',
    label: 'Maximum number of nodes in the collection',
    min: 0,
  },
} as const;

const allFields = { ...fields, ...ofCollections } as const;

type Fields = typeof allFields;
type Submitted = Submission<Fields>;
type Addressed = 'pubsub#contact' | 'pubsub#children_association_whitelist';
/** The stored form: addresses are text. */
export type NodeConfig = Omit<Required<Submitted>, Addressed | 'pubsub#children'> & {
  readonly [K in Addressed]: readonly string[];
};
/** The submitted form. */
export type ConfigChange = Partial<NodeConfig> & { readonly 'pubsub#children'?: readonly string[] };

const optionsType = `${NS.pubsub}#publish-options`;
const leafForm = defineForm(`${NS.pubsub}#node_config`, fields);
// Borogove configures nodes with the form of its publish options.
const configForm = defineForm(`${NS.pubsub}#node_config`, allFields, { alsoType: optionsType });
/** §7.1.5: unknown fields MUST be rejected. */
const optionsForm = defineForm(optionsType, fields, { unknown: 'refuse' });

/** Maximum number of nodes in a collection. */
const mostChildren = 1000;

const common = {
  'pubsub#title': '',
  'pubsub#description': '',
  'pubsub#type': '',
  'pubsub#language': '',
  'pubsub#contact': [],
  'pubsub#node_type': 'leaf',
  'pubsub#collection': [],
  'pubsub#children_association_policy': 'owners',
  'pubsub#children_association_whitelist': [],
  'pubsub#children_max': mostChildren,
  'pubsub#roster_groups_allowed': [],
  'pubsub#publish_model': 'publishers',
  'pubsub#persist_items': true,
  'pubsub#item_expire': 'max',
  'pubsub#purge_offline': false,
  'pubsub#deliver_notifications': true,
  'pubsub#deliver_payloads': true,
  'pubsub#presence_based_delivery': false,
  'pubsub#itemreply': 'publisher',
  'pubsub#notification_type': 'headline',
  'pubsub#notify_config': false,
  'pubsub#notify_delete': true,
  'pubsub#notify_retract': true,
  'pubsub#notify_sub': false,
  'pubsub#subscribe': true,
  'pubsub#tempsub': false,
  'pubsub#body_xslt': '',
  'pubsub#dataform_xslt': '',
  // §4.3: required with the feature last-published
  'pubsub#send_last_published_item': 'on_sub_and_presence',
} as const;

/** The default configuration. Only differences from it are stored, so a new default also applies to existing nodes. */
export const defaults = (isAccount: boolean, { item_bytes }: Settings): NodeConfig => ({
  ...common,
  'pubsub#max_payload_size': item_bytes,
  // XEP-0163 §5
  'pubsub#access_model': isAccount ? 'presence' : 'open',
  'pubsub#max_items': isAccount ? 1 : 'max',
  // §7.1.2.6. Most nodes of accounts have one item: the notification of the next implies that it is replaced.
  'pubsub#publish_node_full': isAccount ? 'discard-oldest' : 'retract-oldest',
});

/** Converts stored addresses to the form's type. */
const addressed = (config: NodeConfig, children: readonly string[] = []): Required<Submitted> => ({
  ...config,
  'pubsub#contact': config['pubsub#contact'].map((jid) => Jid.parse(jid)),
  'pubsub#children_association_whitelist': config['pubsub#children_association_whitelist'].map((jid) => Jid.parse(jid)),
  'pubsub#children': children,
});

const formFor = (config: NodeConfig) => (config['pubsub#node_type'] === 'collection' ? configForm : leafForm);

/** §8.2.2. `groups` are the roster groups to choose from. */
export function offeredConfig(
  config: NodeConfig,
  groups: Iterable<string> = [],
  children?: readonly string[],
): Element {
  const form = formFor(config).form(addressed(config, children));
  const field = form.getChildren('field').find(({ attrs }) => attrs.var === 'pubsub#roster_groups_allowed');
  const isOffered = (group: string) => config['pubsub#roster_groups_allowed'].includes(group);
  for (const group of groups) if (!isOffered(group)) field?.cnode(el('option', null, el('value', null, group)));
  return form;
}
/** §8.2.5.3. */
export const shownConfig = (config: NodeConfig, children?: readonly string[]): Element =>
  formFor(config).result(addressed(config, children));

/** Limits options to what the service allows, and converts addresses to text. */
function bounded(options: Submitted, { items_per_node, item_bytes }: Settings): ConfigChange {
  const contact = options['pubsub#contact']?.map(({ full }) => full);
  const whitelist = options['pubsub#children_association_whitelist']?.map(({ bare }) => bare);
  const texts = {
    ...options,
    ...(contact && { 'pubsub#contact': contact }),
    ...(whitelist && { 'pubsub#children_association_whitelist': whitelist }),
  };
  // A copy, so that its texts do not retain the stanza they were sliced from.
  const copy = JSON.parse(JSON.stringify(texts)) as { -readonly [K in keyof ConfigChange]: ConfigChange[K] };
  // An empty name is the root (§6.2.1): the node is in no collection.
  for (const name of ['pubsub#collection', 'pubsub#children'] as const)
    if (copy[name] !== undefined) copy[name] = [...new Set(copy[name])].filter((node) => node !== '');
  const children = copy['pubsub#children_max'];
  if (children !== undefined) copy['pubsub#children_max'] = Math.min(children, mostChildren);
  const items = copy['pubsub#max_items'];
  if (typeof items === 'number') copy['pubsub#max_items'] = Math.min(items, items_per_node);
  const size = copy['pubsub#max_payload_size'];
  if (size !== undefined) copy['pubsub#max_payload_size'] = Math.min(size, item_bytes);
  return copy;
}

/** Maximum number of contacts of a node. */
const mostContacts = 20;
/** Maximum number of addresses on a collection's whitelist. */
const mostListed = 1000;

/** Rejects unsupported values with the errors of §8.1.2 and XEP-0248. Publishing to a collection is not supported. */
function demandSupported(form: Element | undefined, isToPublish = false): void {
  const givenFor = (name: string) =>
    form
      ?.getChildren('field', NS.dataForms)
      .find(({ attrs }) => attrs.var === name)
      ?.getChildText('value', NS.dataForms);
  const model = givenFor('pubsub#access_model') || undefined;
  if (model !== undefined && !accessModels.some((one) => one === model))
    throw pubsubError('not-acceptable', 'unsupported-access-model');
  if (isToPublish && (givenFor('pubsub#node_type') === 'collection' || givenFor('pubsub#collection')))
    throw unsupported('collections');
}

/** §8.2: the submitted configuration; undefined if it was cancelled. Throws StanzaError. */
export function readConfig(form: Element | undefined, settings: Settings): ConfigChange | undefined {
  demandSupported(form);
  const submission = configForm.read(form);
  return submission === undefined ? undefined : checked(submission, settings);
}

/** §7.1.5: the preconditions of a publication. Throws StanzaError. */
export function readOptions(form: Element | undefined, settings: Settings): Partial<NodeConfig> {
  demandSupported(form, true);
  const submission = optionsForm.read(form);
  if (submission === undefined)
    throw new StanzaError('bad-request', 'The form of the options must be of type "submit".');
  return checked(submission, settings);
}

function checked(submission: Submitted, settings: Settings): ConfigChange {
  const options = bounded(submission, settings);
  if ((options['pubsub#contact']?.length ?? 0) > mostContacts)
    throw new StanzaError('not-acceptable', `A node can have at most ${mostContacts} contacts.`);
  if ((options['pubsub#children_association_whitelist']?.length ?? 0) > mostListed)
    throw new StanzaError('not-acceptable', `The whitelist of a collection can have at most ${mostListed} addresses.`);
  demandSpace(options);
  return options;
}

/**
 * XEP-0503 §3: required settings of a space. Submitted values must match; missing ones are set when the node is created
 * (`asSpace`).
 */
const space = {
  'pubsub#notify_retract': true,
  'pubsub#persist_items': true,
  'pubsub#purge_offline': false,
} as const satisfies Partial<NodeConfig>;
const spaceDefaults = {
  ...space,
  'pubsub#max_items': 'max',
  'pubsub#notify_sub': true,
  'pubsub#notify_config': true,
  'pubsub#notify_delete': true,
} as const satisfies Partial<NodeConfig>;
const spaceModels: readonly string[] = ['open', 'authorize', 'whitelist'] satisfies NodeConfig['pubsub#access_model'][];

function demandSpace(options: Partial<NodeConfig>): void {
  if (options['pubsub#type'] !== NS.spaces) return;
  for (const [name, value] of Object.entries(space))
    if ((options[name as keyof NodeConfig] ?? value) !== value)
      throw new StanzaError('not-acceptable', `A space needs another value of ${name}.`);
  if (!spaceModels.includes(options['pubsub#access_model'] ?? 'open'))
    throw new StanzaError('not-acceptable', 'The access model of a space must be open, authorize or whitelist.');
}

/** The configuration of a new node, with the defaults of a space if it is one (XEP-0503). */
export const asSpace = (config: Partial<NodeConfig>): Partial<NodeConfig> =>
  config['pubsub#type'] === NS.spaces ? { ...spaceDefaults, ...config } : config;

/** §7.1.5: throws StanzaError if the node's configuration differs from the options. */
export function demand(options: Partial<NodeConfig>, config: NodeConfig): void {
  for (const name in options)
    if (!sameValue(options[name as keyof NodeConfig], config[name as keyof NodeConfig]))
      throw pubsubError('conflict', 'precondition-not-met', `The node has a different value of ${name}.`);
}

/** Compares lists as sets. */
export function sameValue(one: unknown, other: unknown): boolean {
  if (!Array.isArray(one) || !Array.isArray(other)) return one === other;
  return one.length === other.length && one.every((value) => other.includes(value));
}

/** The settings that differ from the defaults, as they are stored. */
export function differing(config: NodeConfig, from: NodeConfig): Partial<NodeConfig> {
  const entries = Object.entries(config).filter(([name, value]) => !sameValue(value, from[name as keyof NodeConfig]));
  return Object.fromEntries(entries);
}

/** Maximum number of items of the node. */
export function roomFor(config: NodeConfig, { items_per_node }: Settings): number {
  const items = config['pubsub#max_items'];
  return items === 'max' ? items_per_node : Math.min(items, items_per_node);
}
