/** XEP-0092: Software Version, of the server. */
import { release, type } from 'node:os';
import { z } from 'zod';
import { defineModule, iq } from '../server/module/index.js';
import { NS } from '../server/stanza/ns.js';
import { el } from '../server/xml/element.js';

export default defineModule({
  name: 'version',
  summary: 'Answers queries for the name and version of the server software.',
  implements: { 'XEP-0092': '1.1' },
  features: { server: [NS.version] },
  config: z.strictObject({
    show_version: z.boolean().default(true).describe('Whether the version is shown; otherwise it is empty.'),
    // §5: it must be possible to hide it
    show_system: z.boolean().default(false).describe('Whether the operating system is shown.'),
  }),

  start: ({ host, config }) => [
    iq.get('server', NS.version, 'query', () =>
      el(
        'query',
        { xmlns: NS.version },
        el('name', null, host.software.name),
        el('version', null, config.show_version ? host.software.version : ''),
        config.show_system ? el('os', null, `${type()} ${release()}`) : undefined,
      ),
    ),
  ],
});
