/**
 * XEP-0478: Stream Limits Advertisement: the maximum element size of the stream, and the idle time after which the
 * server pings the client or, before login, closes the connection.
 */
import { defineModule, streamFeature } from '../server/module/index.js';
import { NS } from '../server/stanza/ns.js';
import { type Element, el } from '../server/xml/element.js';

export default defineModule({
  name: 'limits',
  summary: 'Announces the maximum stanza size and the idle time of a stream.',
  implements: { 'XEP-0478': '0.2.0' },
  start: ({ host }) => [
    streamFeature('unauthenticated', () => {
      const { stanza_bytes_unauthenticated, login_deadline_seconds } = host.config.limits;
      return limits(stanza_bytes_unauthenticated, login_deadline_seconds);
    }),
    streamFeature('authenticated', () => {
      const { stanza_bytes, ping_after_seconds } = host.config.limits;
      return limits(stanza_bytes, ping_after_seconds);
    }),
  ],
});

/** §3.1; both must be integers. */
const limits = (bytes: number, seconds: number): Element =>
  el(
    'limits',
    { xmlns: NS.streamLimits },
    el('max-bytes', null, String(bytes)),
    el('idle-seconds', null, String(Math.floor(seconds))),
  );
