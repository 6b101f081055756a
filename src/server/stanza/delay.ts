/** XEP-0203: Delayed Delivery. The caller decides whom to trust: a stamp from a client is only a claim. */

import { Jid } from '../address/jid.js';
import { type Element, el, escapeAttribute } from '../xml/element.js';
import { formatDateTime, parseDateTime } from './datetime.js';
import { NS } from './ns.js';

export interface Delay {
  /** The entity that delayed the stanza, or first sent it. */
  readonly from: Jid | undefined;
  /** Time when it was first sent, in ms since 1970. */
  readonly stamp: number;
  readonly reason: string | undefined;
}

/** Builds `<delay/>` from the delaying entity and the time of first sending (ms since 1970). */
export function delay(from: Jid | string | undefined, stamp: number, reason?: string): Element {
  return el('delay', { xmlns: NS.delay, from: from?.toString(), stamp: formatDateTime(stamp) }, reason);
}

/** The same for our own domain, as text for `Stanza.plusWritten`. */
export const writtenDelay = (domain: string, stamp: number): string =>
  `<delay xmlns="${NS.delay}" from="${escapeAttribute(domain)}" stamp="${formatDateTime(stamp)}"/>`;

/** Returns undefined if the element is not `<delay/>`, or its time or sender is invalid. */
export function readDelay(element: Element | undefined): Delay | undefined {
  if (element === undefined || !element.is('delay', NS.delay)) return undefined;
  const stamp = parseDateTime(element.attrs.stamp ?? '');
  const sender = element.attrs.from;
  const from = sender === undefined ? undefined : Jid.tryParse(sender);
  if (stamp === undefined || (sender !== undefined && from === undefined)) return undefined;
  return { from, stamp, reason: element.getText().trim() || undefined };
}
