/** Subscription options (§6.3, §16.4.3). */
import { wall } from '../../server/clock.js';
import { formatDateTime, parseDateTime } from '../../server/stanza/datetime.js';
import { defineForm } from '../../server/stanza/define-form.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { readForm } from '../../server/stanza/forms.js';
import { NS } from '../../server/stanza/ns.js';
import type { Element } from '../../server/xml/element.js';
import { isCollection } from './collections.js';
import { pubsubError } from './errors.js';
import { hasText } from './events.js';
import { type Node, type Show, type Subscription, shows } from './node.js';

const common = {
  'pubsub#deliver': { type: 'boolean', label: 'Send notifications' },
  'pubsub#expire': { type: 'text-single', label: 'End of the subscription: a time, or "presence"', longest: 100 },
  'pubsub#show-values': { type: 'list-multi', label: 'Availability required for notifications', options: shows },
  'pubsub#subscription_type': { type: 'list-single', label: 'Type of notifications', options: ['items'] },
  'pubsub#subscription_depth': { type: 'list-single', label: 'Depth', options: ['1'] },
} as const;
const ofCollections = {
  ...common,
  'pubsub#subscription_type': {
    type: 'list-single',
    label: 'Type of notifications',
    options: ['nodes', 'items', 'all'],
  },
  'pubsub#subscription_depth': { type: 'text-single', label: 'Depth: a number, or "all"', longest: 10 },
} as const;
const textual = { ...common, 'pubsub#include_body': { type: 'boolean', label: 'Include a text body' } } as const;
const type = `${NS.pubsub}#subscribe_options`;
const plainForm = defineForm(type, common);
const textualForm = defineForm(type, textual);
const collectionForm = defineForm(type, ofCollections);

/** A subscription without its state. */
export type Options = Omit<Subscription, 'state'>;

export const offeredOptions = (
  node: Node | undefined,
  { deliver, expires, shows: wanted = shows, body, type = 'nodes', depth = 1 }: Options,
): Element => {
  const usual = {
    'pubsub#deliver': deliver !== false,
    'pubsub#expire': expires === undefined ? '' : expires === 'presence' ? expires : formatDateTime(expires),
    'pubsub#show-values': wanted,
  };
  if (node !== undefined && isCollection(node))
    return collectionForm.form({
      ...usual,
      'pubsub#subscription_type': type,
      'pubsub#subscription_depth': String(depth),
    });
  const values = {
    ...usual,
    'pubsub#subscription_type': 'items',
    'pubsub#subscription_depth': '1',
  } as const;
  // §12.7: MUST NOT be offered for payloads without text
  if (node === undefined || !hasText(node)) return plainForm.form(values);
  return textualForm.form({ ...values, 'pubsub#include_body': body === true });
};

export const invalidOptions = (text?: string) => pubsubError('bad-request', 'invalid-options', text);

/** §6.3.6.2. Missing fields keep their values. Returns undefined if the form was cancelled. Throws StanzaError. */
export function readOptions(form: Element | undefined, node: Node, before: Options): Options | undefined {
  const reading = form && readForm(form, type);
  if (reading?.get('pubsub#digest') !== undefined && reading.bool('pubsub#digest'))
    throw invalidOptions('Digests are not supported.');
  if (reading?.get('pubsub#include_body') !== undefined && reading.bool('pubsub#include_body') && !hasText(node))
    throw invalidOptions('The payloads of this node have no text for a body.');
  let submitted: ReturnType<typeof textualForm.read>;
  let reach: Pick<Options, 'type' | 'depth'> = {};
  try {
    if (isCollection(node)) {
      const read = collectionForm.read(form);
      reach = reachOf(read?.['pubsub#subscription_type'], read?.['pubsub#subscription_depth'], before);
      const { 'pubsub#subscription_type': _, 'pubsub#subscription_depth': __, ...rest } = read ?? {};
      submitted = read && rest;
    } else submitted = textualForm.read(form);
  } catch (error) {
    throw error instanceof StanzaError ? invalidOptions(error.text) : error;
  }
  if (submitted === undefined) return undefined;
  const {
    'pubsub#deliver': deliver = before.deliver !== false,
    'pubsub#include_body': body = before.body === true,
    'pubsub#show-values': wanted = before.shows ?? shows,
    'pubsub#expire': expire,
  } = submitted;
  const expires = expire === undefined ? before.expires : expiryOf(expire);
  return {
    ...(deliver ? {} : { deliver: false }),
    ...(body ? { body: true } : {}),
    ...(wanted.length === 0 || wanted.length === shows.length ? {} : { shows: wanted.map(ownShow) }),
    ...(expires === undefined ? {} : { expires }),
    ...(before.public ? { public: true } : {}),
    ...reach,
  };
}

/** XEP-0248 §5.1: the default is nodes at depth 1. */
function reachOf(
  type: 'nodes' | 'items' | 'all' | undefined,
  written: string | undefined,
  before: Options,
): Pick<Options, 'type' | 'depth'> {
  const given = written?.trim();
  if (given && given !== 'all' && !/^\d{1,4}$/.test(given))
    throw invalidOptions('The depth must be a number or "all".');
  const depth = given ? (given === 'all' ? given : Number(given)) : before.depth;
  const kind = type ?? before.type ?? 'nodes';
  return {
    ...(kind === 'nodes' ? {} : { type: kind }),
    ...(depth === undefined || depth === 1 ? {} : { depth }),
  };
}

/** Returns the constant, which does not retain the stanza. */
const ownShow = (show: Show): Show => shows.find((one) => one === show)!;

/** §12.4, §12.18; undefined means never. Throws StanzaError. */
function expiryOf(text: string): Options['expires'] {
  const given = text.trim();
  if (given === '') return undefined;
  if (given === 'presence') return given;
  const time = parseDateTime(given);
  if (time === undefined || time <= wall())
    throw invalidOptions('The expiry must be a time in the future or "presence".');
  return time;
}
