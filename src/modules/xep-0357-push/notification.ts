/** §7: what is published to a push service, and what its refusal means. */
import type { Jid } from '../../server/address/jid.js';
import type { StanzaError, StanzaErrorCondition } from '../../server/stanza/errors.js';
import { form } from '../../server/stanza/forms.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { el, parse } from '../../server/xml/element.js';

/** Most characters of the text of a message. */
const longestBody = 1024;

export interface Summary {
  /** Messages that the notification stands for. */
  readonly count: number;
  /** Pending subscription requests, if there is a new one. */
  readonly pending?: number | undefined;
  /** Of the last message; undefined if it is not told. */
  readonly sender: string | undefined;
  readonly body: string | undefined;
}

/** What a service of others is told. */
export const reduced = (summary: Summary, tells: { readonly sender: boolean; readonly body: boolean }): Summary => ({
  ...summary,
  sender: tells.sender ? summary.sender : undefined,
  body: tells.body ? summary.body : undefined,
});

export interface Notified {
  readonly from: Jid;
  readonly service: Jid;
  readonly node: string;
  /** A form, as XML. */
  readonly options: string | undefined;
  readonly summary: Summary;
}

/** The request that publishes it. Without an id, which `host.ask` assigns. */
export function notification({ from, service, node, options, summary }: Notified): Stanza {
  const fields = [
    ['message-count', 'text-single', summary.count === 0 ? undefined : String(summary.count)],
    ['pending-subscription-count', 'text-single', summary.pending?.toString()],
    ['last-message-sender', 'jid-single', summary.sender],
    ['last-message-body', 'text-single', summary.body?.slice(0, longestBody)],
  ] as const;
  const told = form({
    type: 'form',
    formType: 'urn:xmpp:push:summary',
    fields: fields.flatMap(([name, type, value]) => (value === undefined ? [] : [{ var: name, type, value }])),
  });
  const published = el(
    'publish',
    { node: node === '' ? undefined : node },
    el('item', {}, el('notification', { xmlns: NS.push }, told)),
  );
  const extra = options === undefined ? undefined : el('publish-options', {}, parse(options));
  return Stanza.build('iq', { type: 'set', from, to: service }, el('pubsub', { xmlns: NS.pubsub }, published, extra));
}

const final: readonly StanzaErrorCondition[] = ['item-not-found', 'gone', 'forbidden', 'not-authorized', 'not-allowed'];

/** §7.1: whether an error says that the app is gone, or that this server may not notify it. */
export const isFinal = ({ condition }: StanzaError): boolean => final.includes(condition);
