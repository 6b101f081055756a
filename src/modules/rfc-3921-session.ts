/**
 * RFC 3921 §3: session establishment. RFC 6121 removed it, since binding a resource is enough; clients that still
 * request a session get an empty result.
 */
import { defineModule, iq } from '../server/module/index.js';
import { NS } from '../server/stanza/ns.js';

export default defineModule({
  name: 'session',
  summary: 'Answers the session request of older clients.',
  implements: { 'RFC 3921': '2004' },
  start: () => [
    iq.set('account', NS.session, 'session', () => {}),
    iq.set('server', NS.session, 'session', () => {}, { access: 'users' }),
  ],
});
