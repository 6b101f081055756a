/** How a node is configured: §8.2 and §16.4.4, the form, the defaults, and options as preconditions (§7.1.5). */
import { defineForm, type Submission } from '../../server/stanza/define-form.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import type { Element } from '../../server/xml/element.js';
import { pubsubError } from './errors.js';
import type { Settings } from './settings.js';

const fields = {
  'pubsub#title': { type: 'text-single', label: 'Name of the node', longest: 1000 },
  'pubsub#description': { type: 'text-single', label: 'Description', longest: 4000 },
  'pubsub#type': { type: 'text-single', label: 'Namespace of the payloads', longest: 1000 },
  'pubsub#language': { type: 'text-single', label: 'Language', longest: 50 },
  'pubsub#node_type': { type: 'list-single', label: 'Type of the node', options: ['leaf'] },
  'pubsub#access_model': {
    type: 'list-single',
    label: 'Who may subscribe and retrieve items',
    options: ['open', 'presence', 'roster', 'authorize', 'whitelist'],
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
  'pubsub#publish_node_full': {
    type: 'list-single',
    label: 'What happens to the oldest item of a full node',
    options: ['discard-oldest', 'retract-oldest', 'reject'],
  },
  'pubsub#max_payload_size': { type: 'text-single', datatype: 'xs:integer', label: 'Bytes of a payload', min: 1 },
  'pubsub#send_last_published_item': {
    type: 'list-single',
    label: 'When the last item is sent',
    options: ['never', 'on_sub', 'on_sub_and_presence'],
  },
  'pubsub#deliver_notifications': { type: 'boolean', label: 'Send notifications' },
  'pubsub#deliver_payloads': { type: 'boolean', label: 'Send payloads with notifications' },
  'pubsub#notification_type': {
    type: 'list-single',
    label: 'Type of the messages',
    options: ['normal', 'headline', 'chat'],
  },
  'pubsub#notify_config': { type: 'boolean', label: 'Notify of changed configuration' },
  'pubsub#notify_delete': { type: 'boolean', label: 'Notify when the node is deleted' },
  'pubsub#notify_retract': { type: 'boolean', label: 'Notify when items are removed' },
  'pubsub#subscribe': { type: 'boolean', label: 'Allow subscriptions' },
} as const;

type Fields = typeof fields;
export type NodeConfig = Required<Submission<Fields>>;

export const configForm = defineForm(`${NS.pubsub}#node_config`, fields);
/** §7.1.5: unknown fields MUST be refused. */
const optionsForm = defineForm(`${NS.pubsub}#publish-options`, fields, { unknown: 'refuse' });

const common = {
  'pubsub#title': '',
  'pubsub#description': '',
  'pubsub#type': '',
  'pubsub#language': '',
  'pubsub#node_type': 'leaf',
  'pubsub#roster_groups_allowed': [],
  'pubsub#publish_model': 'publishers',
  'pubsub#persist_items': true,
  'pubsub#item_expire': 'max',
  'pubsub#publish_node_full': 'discard-oldest',
  'pubsub#deliver_notifications': true,
  'pubsub#deliver_payloads': true,
  'pubsub#notification_type': 'headline',
  'pubsub#notify_config': false,
  'pubsub#notify_delete': true,
  'pubsub#notify_retract': true,
  'pubsub#subscribe': true,
} as const;

/** What a node is like unless it was configured. A change changes nodes that exist: only what differs is kept. */
export const defaults = (isAccount: boolean, { item_bytes }: Settings): NodeConfig => ({
  ...common,
  'pubsub#max_payload_size': item_bytes,
  // XEP-0163 §5
  'pubsub#access_model': isAccount ? 'presence' : 'open',
  'pubsub#max_items': isAccount ? 1 : 'max',
  'pubsub#send_last_published_item': isAccount ? 'on_sub_and_presence' : 'never',
});

/** Options as they hold here: what is more than the service allows is what it allows. */
function bounded(options: Submission<Fields>, { items_per_node, item_bytes }: Settings): Partial<NodeConfig> {
  // A copy, so that its texts do not keep alive the stanza that they were cut from.
  const copy = JSON.parse(JSON.stringify(options)) as { -readonly [K in keyof NodeConfig]?: NodeConfig[K] };
  const items = copy['pubsub#max_items'];
  if (typeof items === 'number') copy['pubsub#max_items'] = Math.min(items, items_per_node);
  const size = copy['pubsub#max_payload_size'];
  if (size !== undefined) copy['pubsub#max_payload_size'] = Math.min(size, item_bytes);
  return copy;
}

/** §8.2: the submitted configuration; undefined where it was cancelled. Throws StanzaError. */
export function readConfig(form: Element | undefined, settings: Settings): Partial<NodeConfig> | undefined {
  const submission = configForm.read(form);
  return submission === undefined ? undefined : bounded(submission, settings);
}

/** §7.1.5: the preconditions of a publication. Throws StanzaError. */
export function readOptions(form: Element | undefined, settings: Settings): Partial<NodeConfig> {
  const submission = optionsForm.read(form);
  if (submission === undefined) throw new StanzaError('bad-request', 'Options that are cancelled.');
  return bounded(submission, settings);
}

/** §7.1.5: throws where the node is configured otherwise. */
export function demand(options: Partial<NodeConfig>, config: NodeConfig): void {
  for (const name of Object.keys(options) as (keyof NodeConfig)[])
    if (!sameValue(options[name], config[name]))
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
