/** XEP-0133: Service Administration, as ad-hoc commands of the host for its administrators. */
import { z } from 'zod';
import { command, defineModule, document } from '../../server/module/index.js';
import { jid } from '../../server/stanza/stored.js';
import { accountCommands } from './accounts.js';
import { figureCommands } from './figures.js';
import { announcements, type Greeted, type Greetings, storedGreetings } from './messages.js';
import { type Policies, policies } from './policies.js';
import { serviceCommands } from './service.js';

export default defineModule({
  name: 'admin',
  summary: 'Lets administrators manage accounts and send announcements, from their clients.',
  implements: { 'XEP-0133': '1.3.1' },
  needs: ['roster'],
  stores: {
    greetings: document<Greetings>({ storedAs: 'greetings', value: storedGreetings }),
    greeted: document<Greeted>({
      storedAs: 'greeted',
      isPortable: true,
      value: z.object({ motd: z.string().exactOptional(), isNew: z.boolean().exactOptional() }),
    }),
    policies: document<Policies>({
      storedAs: 'policies',
      value: z.object({ blocked: z.array(jid).exactOptional(), allowed: z.array(jid).exactOptional() }),
      // Unreadable lists must not let everybody in: only this host is allowed until they are written again.
      damaged: (host) => ({ allowed: [host] }),
    }),
  },

  start: async ({ host, stores, services: { roster }, log }) => {
    const { announce, ...announcing } = await announcements(host, stores);
    const failed = (error: unknown) => log.error({ err: error }, 'the server could not be stopped or restarted');
    const parts = [
      accountCommands(host, roster),
      figureCommands(host),
      announcing,
      await policies(host, stores.policies),
      serviceCommands(host, { announce, failed }),
    ];
    return parts.flatMap(({ commands, hooks }) => [...commands.map(command), ...hooks]);
  },
});
