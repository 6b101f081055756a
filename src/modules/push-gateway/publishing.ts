/** XEP-0357 §7: what users' servers publish. */
import type { IqRequest } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { readForm } from '../../server/stanza/forms.js';
import { NS } from '../../server/stanza/ns.js';
import type { Element } from '../../server/xml/element.js';
import type { Notice } from './backend.js';

export interface Published {
  readonly node: string;
  readonly secret: string;
  readonly notice: Notice;
}

const summary = 'urn:xmpp:push:summary';
const mostCount = 1_000_000;
const longestAddress = 512;
const longestBody = 4096;

/** Throws StanzaError unless it is a publication of one notification. */
export function readPublished({ payload }: IqRequest): Published {
  const publish = payload.getChild('publish', NS.pubsub);
  if (publish === undefined) throw new StanzaError('feature-not-implemented', 'Notifications can only be published.');
  const items = publish.getChildren('item', NS.pubsub);
  const notification = items[0]?.getChild('notification', NS.push);
  if (items.length !== 1 || notification === undefined)
    throw new StanzaError('bad-request', 'Publish one item with a notification.');
  const options = payload.getChild('publish-options', NS.pubsub)?.getChild('x', NS.dataForms);
  return {
    node: publish.attrs.node ?? '',
    secret: options === undefined ? '' : (readForm(options).get('secret') ?? ''),
    notice: noticeIn(notification.getChild('x', NS.dataForms)),
  };
}

/** The fields of a form that some servers send without its type. */
function noticeIn(form: Element | undefined): Notice {
  const fields = new Map<string, string>();
  for (const field of form?.getChildren('field', NS.dataForms) ?? [])
    if (field.attrs.var !== undefined) fields.set(field.attrs.var, field.getChildText('value', NS.dataForms) ?? '');
  const type = fields.get('FORM_TYPE');
  if (type !== undefined && type !== summary) return {};
  const number = (name: string) => {
    const text = fields.get(name) ?? '';
    return /^\d{1,9}$/.test(text) ? Math.min(Number(text), mostCount) : undefined;
  };
  const text = (name: string, longest: number) => fields.get(name)?.slice(0, longest) || undefined;
  const notice = {
    count: number('message-count'),
    pending: number('pending-subscription-count'),
    sender: text('last-message-sender', longestAddress),
    body: text('last-message-body', longestBody),
  };
  return Object.fromEntries(Object.entries(notice).filter(([, value]) => value !== undefined));
}

/** One notice in place of two: the later one, with the messages of both. */
export function merged(earlier: Notice, later: Notice): Notice {
  const count = (earlier.count ?? 0) + (later.count ?? 0);
  const pending = later.pending ?? earlier.pending;
  return {
    ...earlier,
    ...later,
    ...(count > 0 && { count: Math.min(count, mostCount) }),
    ...(pending !== undefined && { pending }),
  };
}
