/**
 * XEP-0133: Service Administration, as ad-hoc commands of the host for its administrators. Left out: black and white
 * lists (§4.11, §4.12), the list of administrators (§4.29) and the end of the service (§4.30, §4.31), which the
 * configuration and the program `waxwing` are for.
 */
import { command, defineModule, document } from '../../server/module.js';
import { accountCommands } from './accounts.js';
import { figureCommands } from './figures.js';
import { announcements, type Greeted, type Greetings } from './messages.js';

export default defineModule({
  name: 'admin',
  summary: 'Lets administrators manage accounts and speak to everybody, from their clients.',
  implements: { 'XEP-0133': '1.3.1' },
  notes: 'Black and white lists, the list of administrators, restart and shutdown.',
  needs: ['roster'],
  stores: { greetings: document<Greetings>(), greeted: document<Greeted>() },

  start: async ({ host, stores, services: { roster } }) => {
    const { commands, hooks } = await announcements(host, stores);
    return [...accountCommands(host, roster), ...figureCommands(host), ...commands].map(command).concat(hooks);
  },
});
