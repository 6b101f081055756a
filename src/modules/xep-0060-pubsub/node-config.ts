/** How a node is configured: §8.2 and §16.4.4, the form, the defaults, and options as preconditions (§7.1.5). */
import { defineForm, type Submission } from '../../server/stanza/define-form.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { Jid } from '../../server/stanza/jid.js';
import { NS } from '../../server/stanza/ns.js';
import { type Element, el } from '../../server/xml/element.js';
import { pubsubError, unsupported } from './errors.js';
import type { Settings } from './settings.js';

export const accessModels = ['open', 'presence', 'roster', 'authorize', 'whitelist'] as const;

const fields = {
  'pubsub#title': { type: 'text-single', label: 'Name of the node', longest: 1000 },
  'pubsub#description': { type: 'text-single', label: 'Description', longest: 4000 },
  'pubsub#type': { type: 'text-single', label: 'What the items are: mostly the namespace of payloads', longest: 1000 },
  'pubsub#language': { type: 'list-single', label: 'Language', options: [] as string[], open: true },
  'pubsub#contact': { type: 'jid-multi', label: 'Whom to ask about the node' },
  'pubsub#node_type': { type: 'list-single', label: 'Type of the node', options: ['leaf', 'collection'] },
  'pubsub#collection': { type: 'text-multi', label: 'Collections that the node is in', longest: 1023 },
  'pubsub#access_model': {
    type: 'list-single',
    label: 'Who may subscribe and retrieve items',
    options: accessModels,
  },
  'pubsub#roster_groups_allowed': {
    type: 'list-multi',
    label: 'Roster groups that may, with the model roster',
    options: [] as string[],
    open: true,
  },
  'pubsub#publish_model': {
    type: 'list-single',
    label: 'Who may publish',
    options: ['publishers', 'subscribers', 'open'],
  },
  'pubsub#persist_items': { type: 'boolean', label: 'Keep items' },
  'pubsub#max_items': {
    type: 'text-single',
    datatype: 'pubsub:integer-or-max',
    label: 'Items that are kept',
    min: 0,
  },
  'pubsub#item_expire': {
    type: 'text-single',
    datatype: 'pubsub:integer-or-max',
    label: 'Seconds after which items are removed',
    min: 1,
  },
  'pubsub#purge_offline': { type: 'boolean', label: 'Remove the items of a publisher who goes offline' },
  'pubsub#publish_node_full': {
    type: 'list-single',
    label: 'What happens to the oldest item of a full node',
    options: ['retract-oldest', 'discard-oldest', 'reject'],
  },
  'pubsub#max_payload_size': { type: 'text-single', datatype: 'xs:integer', label: 'Bytes of a payload', min: 1 },
  'pubsub#send_last_published_item': {
    type: 'list-single',
    label: 'When the last item is sent',
    options: ['never', 'on_sub', 'on_sub_and_presence'],
  },
  'pubsub#deliver_notifications': { type: 'boolean', label: 'Send notifications' },
  'pubsub#deliver_payloads': { type: 'boolean', label: 'Send payloads with notifications' },
  'pubsub#presence_based_delivery': { type: 'boolean', label: 'Notify those alone who are there' },
  'pubsub#itemreply': {
    type: 'list-single',
    label: 'Who is named as the one to reply to',
    options: ['publisher', 'owner', 'none'],
  },
  'pubsub#notification_type': {
    type: 'list-single',
    label: 'Type of the messages',
    options: ['normal', 'headline', 'chat'],
  },
  'pubsub#notify_config': { type: 'boolean', label: 'Notify of changed configuration' },
  'pubsub#notify_delete': { type: 'boolean', label: 'Notify when the node is deleted' },
  'pubsub#notify_retract': { type: 'boolean', label: 'Notify when items are removed' },
  'pubsub#notify_sub': { type: 'boolean', label: 'Notify owners of those who subscribe and unsubscribe' },
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

/** XEP-0248: what collections have besides. The children are no part of what is kept: their parents are. */
const ofCollections = {
  'pubsub#children': { type: 'text-multi', label: 'The nodes in the collection', longest: 1023 },
  'pubsub#children_association_policy': {
    type: 'list-single',
    label: 'Who may put nodes into the collection',
    options: ['all', 'owners', 'whitelist'],
  },
  'pubsub#children_association_whitelist': { type: 'jid-multi', label: 'Who may, with the policy whitelist' },
  'pubsub#children_max': {
    type: 'text-single',
    datatype: 'xs:integer',
    label: 'Nodes that the collection has at most',
    min: 0,
  },
} as const;

const allFields = { ...fields, ...ofCollections } as const;

type Fields = typeof allFields;
type Submitted = Submission<Fields>;
type Addressed = 'pubsub#contact' | 'pubsub#children_association_whitelist';
/** As it is kept: addresses are text. */
export type NodeConfig = Omit<Required<Submitted>, Addressed | 'pubsub#children'> & {
  readonly [K in Addressed]: readonly string[];
};
/** As it is submitted. */
export type ConfigChange = Partial<NodeConfig> & { readonly 'pubsub#children'?: readonly string[] };

const leafForm = defineForm(`${NS.pubsub}#node_config`, fields);
const configForm = defineForm(`${NS.pubsub}#node_config`, allFields);
/** §7.1.5: unknown fields MUST be refused. */
const optionsForm = defineForm(`${NS.pubsub}#publish-options`, fields, { unknown: 'refuse' });

/** Nodes that a collection has at most. */
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
  // §4.3: where the feature last-published is announced
  'pubsub#send_last_published_item': 'on_sub_and_presence',
} as const;

/** What a node is like unless it was configured. A change changes nodes that exist: only what differs is kept. */
export const defaults = (isAccount: boolean, { item_bytes }: Settings): NodeConfig => ({
  ...common,
  'pubsub#max_payload_size': item_bytes,
  // XEP-0163 §5
  'pubsub#access_model': isAccount ? 'presence' : 'open',
  'pubsub#max_items': isAccount ? 1 : 'max',
  // §7.1.2.6. Of an account's nodes most have one item: that the next takes its place need not be said twice.
  'pubsub#publish_node_full': isAccount ? 'discard-oldest' : 'retract-oldest',
});

/** Values with addresses as forms have them. */
const addressed = (config: NodeConfig, children: readonly string[] = []): Required<Submitted> => ({
  ...config,
  'pubsub#contact': config['pubsub#contact'].map((jid) => Jid.parse(jid)),
  'pubsub#children_association_whitelist': config['pubsub#children_association_whitelist'].map((jid) => Jid.parse(jid)),
  'pubsub#children': children,
});

const formFor = (config: NodeConfig) => (config['pubsub#node_type'] === 'collection' ? configForm : leafForm);

/** §8.2.2. `groups`: of the roster, to choose from. */
export function offeredConfig(
  config: NodeConfig,
  groups: Iterable<string> = [],
  children?: readonly string[],
): Element {
  const form = formFor(config).form(addressed(config, children));
  const field = form.getChildren('field').find(({ attrs }) => attrs.var === 'pubsub#roster_groups_allowed');
  for (const group of groups) field?.cnode(el('option', null, el('value', null, group)));
  return form;
}
/** §8.2.5.3. */
export const shownConfig = (config: NodeConfig, children?: readonly string[]): Element =>
  formFor(config).result(addressed(config, children));

/** Options as they hold here: what is more than the service allows is what it allows. */
function bounded(options: Submitted, { items_per_node, item_bytes }: Settings): ConfigChange {
  const contact = options['pubsub#contact']?.map(({ full }) => full);
  const whitelist = options['pubsub#children_association_whitelist']?.map(({ bare }) => bare);
  const texts = {
    ...options,
    ...(contact && { 'pubsub#contact': contact }),
    ...(whitelist && { 'pubsub#children_association_whitelist': whitelist }),
  };
  // A copy, so that its texts do not keep alive the stanza that they were cut from.
  const copy = JSON.parse(JSON.stringify(texts)) as { -readonly [K in keyof ConfigChange]: ConfigChange[K] };
  // An empty name is the root (§6.2.1), which holds what is in no collection.
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

/** Most addresses that a node names for questions. */
const mostContacts = 20;
/** Most addresses that a collection lets in. */
const mostListed = 1000;

/** What is asked for and not had here, in the words of §8.1.2 and XEP-0248. Nobody publishes to a collection. */
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

/** §8.2: the submitted configuration; undefined where it was cancelled. Throws StanzaError. */
export function readConfig(form: Element | undefined, settings: Settings): ConfigChange | undefined {
  demandSupported(form);
  const submission = configForm.read(form);
  return submission === undefined ? undefined : checked(submission, settings);
}

/** §7.1.5: the preconditions of a publication. Throws StanzaError. */
export function readOptions(form: Element | undefined, settings: Settings): Partial<NodeConfig> {
  demandSupported(form, true);
  const submission = optionsForm.read(form);
  if (submission === undefined) throw new StanzaError('bad-request', 'Options that are cancelled.');
  return checked(submission, settings);
}

function checked(submission: Submitted, settings: Settings): ConfigChange {
  const options = bounded(submission, settings);
  if ((options['pubsub#contact']?.length ?? 0) > mostContacts)
    throw new StanzaError('not-acceptable', `A node has at most ${mostContacts} contacts.`);
  if ((options['pubsub#children_association_whitelist']?.length ?? 0) > mostListed)
    throw new StanzaError('not-acceptable', `A collection lets in at most ${mostListed} addresses.`);
  demandSpace(options);
  return options;
}

/**
 * XEP-0503 §3: what makes a node a space; what of it is said here has to be so, what is not said becomes so where the
 * node is made (`asSpace`).
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
      throw new StanzaError('not-acceptable', `A space has another ${name}.`);
  if (!spaceModels.includes(options['pubsub#access_model'] ?? 'open'))
    throw new StanzaError('not-acceptable', 'A space is open, or for those who are let in.');
}

/** The configuration of a new node: XEP-0503 says what one is like that shall be a space. */
export const asSpace = (config: Partial<NodeConfig>): Partial<NodeConfig> =>
  config['pubsub#type'] === NS.spaces ? { ...spaceDefaults, ...config } : config;

/** §7.1.5: throws where the node is configured otherwise. */
export function demand(options: Partial<NodeConfig>, config: NodeConfig): void {
  for (const name in options)
    if (!sameValue(options[name as keyof NodeConfig], config[name as keyof NodeConfig]))
      throw pubsubError('conflict', 'precondition-not-met', `The node has another ${name}.`);
}

/** Lists are sets here. */
export function sameValue(one: unknown, other: unknown): boolean {
  if (!Array.isArray(one) || !Array.isArray(other)) return one === other;
  return one.length === other.length && one.every((value) => other.includes(value));
}

/** What differs from the defaults: what is kept of a configuration. */
export function differing(config: NodeConfig, from: NodeConfig): Partial<NodeConfig> {
  const entries = Object.entries(config).filter(([name, value]) => !sameValue(value, from[name as keyof NodeConfig]));
  return Object.fromEntries(entries);
}

/** Items that the node keeps at most. */
export function roomFor(config: NodeConfig, { items_per_node }: Settings): number {
  const items = config['pubsub#max_items'];
  return items === 'max' ? items_per_node : Math.min(items, items_per_node);
}
