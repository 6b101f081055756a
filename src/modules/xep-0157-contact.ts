/** XEP-0157: Contact Addresses for XMPP Services: the configured addresses of the host, in its disco#info. */
import { defineModule, disco } from '../server/module/index.js';
import { form } from '../server/stanza/forms.js';
import { NS } from '../server/stanza/ns.js';

export default defineModule({
  name: 'contact',
  summary: 'Publishes the contact addresses of the service.',
  implements: { 'XEP-0157': '1.1.1' },
  start: ({ host }) => [
    disco('server', {
      forms: () => {
        const contact: Readonly<Record<string, readonly string[]>> = host.config.hosts[host.domain]?.contact ?? {};
        const fields = Object.entries(contact)
          .filter(([, addresses]) => addresses.length > 0)
          .map(([role, addresses]) => ({ var: `${role}-addresses`, type: 'list-multi' as const, value: addresses }));
        return fields.length === 0 ? [] : [form({ type: 'result', formType: NS.serverInfo, fields })];
      },
    }),
  ],
});
