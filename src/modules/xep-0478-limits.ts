/**
 * XEP-0478: Stream Limits Advertisement: the largest element that the stream takes now, and the silence after which we
 * ask whether the client is still there, or after which, before the login, the connection ends.
 */
import { defineModule, streamFeature } from '../server/module/index.js';
import { NS } from '../server/stanza/ns.js';
import { type Element, el } from '../server/xml/element.js';

export default defineModule({
  name: 'limits',
  summary: 'Announces how large stanzas may be and how long a stream may be silent.',
  implements: { 'XEP-0478': '0.2.0' },
  start: ({ host }) => [
    streamFeature('stranger', () => {
      const { stanza_bytes_unauthenticated, login_deadline_seconds } = host.config.limits;
      return limits(stanza_bytes_unauthenticated, login_deadline_seconds);
    }),
    streamFeature('authenticated', () => {
      const { stanza_bytes, ping_after_seconds } = host.config.limits;
      return limits(stanza_bytes, ping_after_seconds);
    }),
  ],
});

/** §3.1; both are whole numbers. */
const limits = (bytes: number, seconds: number): Element =>
  el(
    'limits',
    { xmlns: NS.streamLimits },
    el('max-bytes', null, String(bytes)),
    el('idle-seconds', null, String(Math.floor(seconds))),
  );
