/** XEP-0478: Stream Limits Advertisement: the element that clients, servers and this server announce limits by. */
import { type Element, el } from '../xml/element.js';
import { NS } from './ns.js';

/** §3.1: both have to be integers. `bytes`: of the largest element that is accepted. */
export const streamLimits = (bytes: number, seconds: number): Element =>
  el(
    'limits',
    { xmlns: NS.streamLimits },
    el('max-bytes', null, String(bytes)),
    el('idle-seconds', null, String(Math.floor(seconds))),
  );

/** The size of the largest element that the peer accepts, by its features or `<bidi/>`; Infinity if it does not say. */
export function announcedBytes(from: Element): number {
  const text = from.getChild('limits', NS.streamLimits)?.getChildText('max-bytes')?.trim() ?? '';
  return /^\d{1,15}$/.test(text) ? Math.max(Number(text), leastBytes) : Number.POSITIVE_INFINITY;
}

/** RFC 6120 §13.12: any server accepts this much. */
const leastBytes = 10_000;
