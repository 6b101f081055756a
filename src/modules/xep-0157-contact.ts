/**
 * XEP-0157: Contact Addresses for XMPP Services: the configured addresses of the host, in its disco#info. Administrators
 * can be reached without any configuration.
 */
import { z } from 'zod';
import { defineModule, disco } from '../server/module/index.js';
import { type Field, form } from '../server/stanza/forms.js';
import { NS } from '../server/stanza/ns.js';

declare module '../server/module/index.js' {
  interface Services {
    /** The form of the server's information, which several specifications share (XEP-0485 §8.2). */
    serverInfo: {
      /** Adds a field. Undefined if it is absent now. */
      add(field: () => Field | undefined): void;
    };
  }
}

export default defineModule({
  name: 'contact',
  summary: 'Publishes the contact addresses of the service.',
  implements: { 'XEP-0157': '1.1.1' },
  provides: ['serverInfo'],
  config: z.strictObject({
    publish_admins: z
      .boolean()
      .default(true)
      .describe(
        'Whether the accounts in hosts.*.admins are published as the addresses of the administrators if hosts.*.contact.admin is empty.',
      ),
  }),

  start: ({ host, config, provide }) => {
    const further: (() => Field | undefined)[] = [];
    provide('serverInfo', { add: (field) => void further.push(field) });

    const contacts = (): Readonly<Record<string, readonly string[]>> => {
      const { admins = [], contact = {} } = host.config.hosts[host.domain] ?? {};
      const given: Readonly<Record<string, readonly string[]>> = contact;
      if (!config.publish_admins || (given.admin ?? []).length > 0) return given;
      return { ...given, admin: admins.map(addressOf) };
    };

    return [
      disco('server', {
        forms: () => {
          const fields: Field[] = Object.entries(contacts())
            .filter(([, addresses]) => addresses.length > 0)
            .map(([role, addresses]) => ({ var: `${role}-addresses`, type: 'list-multi', value: addresses }));
          for (const field of further) {
            const one = field();
            if (one !== undefined) fields.push(one);
          }
          return fields.length === 0 ? [] : [form({ type: 'result', formType: NS.serverInfo, fields })];
        },
      }),
    ];
  },
});

/** RFC 5122 §2.2: characters that an address may have and a URI may not are escaped. */
const addressOf = (jid: string): string => `xmpp:${jid.split('@').map(encodeURIComponent).join('@')}`;
