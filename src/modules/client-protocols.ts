/**
 * Client-to-client protocols that the server only carries: stanzas with these payloads need no handling. Listed so that
 * it is documented, and tested, that they arrive unchanged. Related server behaviour (hints that archives obey, chat
 * states that are deferred) is in the modules for it.
 */
import { defineModule } from '../server/module/index.js';

export default defineModule({
  name: 'client_protocols',
  summary: 'Lists client-to-client protocols that are delivered unchanged.',
  implements: {
    'XEP-0047': '2.0.1',
    'XEP-0066': '1.5',
    'XEP-0085': '2.1',
    'XEP-0166': '1.1.2',
    'XEP-0184': '1.4.0',
    'XEP-0224': '1.0',
    'XEP-0231': '1.1',
    'XEP-0249': '1.2',
    'XEP-0297': '1.0',
    'XEP-0308': '1.2.1',
    'XEP-0333': '1.0.0',
    'XEP-0334': '1.0.0',
    'XEP-0353': '0.8.0',
    'XEP-0380': '0.4.0',
    'XEP-0384': '0.9.1',
    'XEP-0393': '1.1.1',
    'XEP-0420': '0.5.0',
    'XEP-0424': '0.4.2',
    'XEP-0428': '0.2.1',
    'XEP-0444': '0.2.1',
    'XEP-0447': '0.3.1',
    'XEP-0461': '0.2.1',
    'XEP-0482': '0.1.0',
    'XEP-0492': '0.2.0',
  },
  start: () => [],
});
