/** XEP-0199: XMPP Ping. */
import { defineModule, iq } from '../server/module/index.js';
import { NS } from '../server/stanza/ns.js';

export default defineModule({
  name: 'ping',
  summary: 'Answers pings.',
  implements: { 'XEP-0199': '2.0.1' },
  features: { server: [NS.ping], account: [NS.ping] },
  start: () => [iq.get('account', NS.ping, 'ping', () => {}), iq.get('server', NS.ping, 'ping', () => {})],
});
