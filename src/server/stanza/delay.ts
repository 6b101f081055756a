/** XEP-0203: Delayed Delivery. Who may be believed is for the caller: what a client stamps is no more than its word. */
import { type Element, el, escapeAttribute } from '../xml/element.js';
import { formatDateTime, parseDateTime } from './datetime.js';
import { Jid } from './jid.js';
import { NS } from './ns.js';

export interface Delay {
  /** Who delayed it, or first sent it. */
  readonly from: Jid | undefined;
  /** When it was first sent, in ms since 1970. */
  readonly stamp: number;
  readonly reason: string | undefined;
}

/** `<delay/>`, from who holds it back and when it was first sent (ms since 1970). */
export function delay(from: Jid | string | undefined, stamp: number, reason?: string): Element {
  return el('delay', { xmlns: NS.delay, from: from?.toString(), stamp: formatDateTime(stamp) }, reason);
}

/** The same of ours, as text for `Stanza.plusWritten`. */
export const writtenDelay = (domain: string, stamp: number): string =>
  `<delay xmlns="${NS.delay}" from="${escapeAttribute(domain)}" stamp="${formatDateTime(stamp)}"/>`;

/** Undefined where there is none, or where its time or its sender is none. */
export function readDelay(element: Element | undefined): Delay | undefined {
  if (element === undefined || !element.is('delay', NS.delay)) return undefined;
  const stamp = parseDateTime(element.attrs.stamp ?? '');
  const sender = element.attrs.from;
  const from = sender === undefined ? undefined : Jid.tryParse(sender);
  if (stamp === undefined || (sender !== undefined && from === undefined)) return undefined;
  return { from, stamp, reason: element.getText().trim() || undefined };
}
