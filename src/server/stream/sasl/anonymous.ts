/** ANONYMOUS (RFC 4505, XEP-0175): an address for one session. Offered only where the configuration says so. */
import { randomUUID } from 'node:crypto';
import { Jid } from '../../stanza/jid.js';
import { type Mechanism, SaslError, text } from './mechanism.js';

/** RFC 4505 §2: 255 characters, of four bytes at most. The trace is for tracing only, and not kept. */
const longestTrace = 4 * 255;

export const anonymous: Mechanism = {
  name: 'ANONYMOUS',
  start: (context) => ({
    // XEP-0175 §4: an `<auth/>` without any data is complete.
    step: (message = Buffer.alloc(0)) => {
      if (message.length > longestTrace || [...text(message)].length > 255) throw new SaslError('malformed-request');
      const jid = Jid.of(randomUUID(), context.host); // XEP-0175 §3
      return {
        success: {
          jid,
          local: jid.local ?? '',
          mechanism: 'ANONYMOUS',
          channelBound: false,
          anonymous: true,
          epoch: undefined,
          byPassword: false,
        },
      };
    },
  }),
};
