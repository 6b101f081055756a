/**
 * XEP-0478: Stream Limits Advertisement: the maximum element size of the stream, and the idle time after which the
 * server pings the client or, before login, closes the connection.
 */
import { defineModule, streamFeature } from '../server/module/index.js';
import { streamLimits } from '../server/stanza/stream-limits.js';

export default defineModule({
  name: 'limits',
  summary: 'Announces the maximum stanza size and the idle time of a stream.',
  implements: { 'XEP-0478': '0.2.0' },
  start: ({ host }) => [
    streamFeature('unauthenticated', () => {
      const { stanza_bytes_unauthenticated, login_deadline_seconds } = host.config.limits;
      return streamLimits(stanza_bytes_unauthenticated, login_deadline_seconds);
    }),
    streamFeature('authenticated', () => {
      const { stanza_bytes, ping_after_seconds } = host.config.limits;
      return streamLimits(stanza_bytes, ping_after_seconds);
    }),
  ],
});
