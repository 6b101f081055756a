/** ANONYMOUS (RFC 4505, XEP-0175): a temporary address for one session. Offered only if configured. */
import { randomUUID } from 'node:crypto';
import { Jid } from '../../address/jid.js';
import { type Mechanism, type SaslContext, SaslError, text } from './mechanism.js';

/** RFC 4505 §2: 255 characters, of four bytes at most. The trace is not stored. */
const longestTrace = 4 * 255;

/** Random addresses that are tried for one at home here. A node of few addresses finds one at home elsewhere. */
const mostTries = 1000;

export const anonymous: Mechanism = {
  name: 'ANONYMOUS',
  start: (context) => ({
    // XEP-0175 §4: an `<auth/>` without any data is complete.
    step: (message = Buffer.alloc(0)) => {
      if (message.length > longestTrace || [...text(message)].length > 255) throw new SaslError('malformed-request');
      const jid = unused(context);
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

/** XEP-0175 §3: a random address, at home on the node that the client is connected to. */
function unused({ host, isHere }: SaslContext): Jid {
  let jid = Jid.of(randomUUID(), host);
  for (let tries = 1; tries < mostTries && isHere?.(jid) === false; tries++) jid = Jid.of(randomUUID(), host);
  return jid;
}
