/**
 * RFC 3921 §3: session establishment. RFC 6121 did away with it, since binding a resource is enough; clients that still
 * ask are told that it is well.
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
