/**
 * XEP-0455: Service Outage Status: the addresses of the file with the status, in the disco#info of the host. The
 * administrator announces an outage by `waxwing outage`; the server serves the file at /outage.json, from where the
 * administrator or a cache brings it to a place that does not depend on the server.
 */
import { z } from 'zod';
import { monotonic } from '../../server/clock.js';
import { defineModule, disco, document, http } from '../../server/module/index.js';
import { form } from '../../server/stanza/forms.js';
import { NS } from '../../server/stanza/ns.js';
import { cli } from './cli.js';
import type { Outage } from './services.js';

/** How long a read status is used, in ms: another node may have changed it. */
const memoryMs = 5000;

export default defineModule({
  name: 'outage',
  summary: 'Tells clients where to read about outages, and serves what the administrator announces.',
  implements: { 'XEP-0455': '0.4.0' },
  provides: ['outage'],
  cli,
  stores: {
    outage: document<Outage>({
      value: z.object({
        planned: z.boolean(),
        beginning: z.string(),
        expected_end: z.string().exactOptional(),
        message: z.record(z.string(), z.string()).exactOptional(),
      }),
    }),
  },

  start: ({ host, stores, provide }) => {
    let known: { readonly at: number; readonly text: Promise<string> } | undefined;

    /** §2.2: the file; an empty object if there is no outage. */
    const file = (): Promise<string> => {
      if (known !== undefined && monotonic() - known.at < memoryMs) return known.text;
      const text = stores.outage.get(host.domain).then((outage) => JSON.stringify(outage ?? {}));
      const read = { at: monotonic(), text };
      known = read;
      text.catch(() => {
        if (known === read) known = undefined;
      });
      return text;
    };

    const addresses = (): readonly string[] => host.config.hosts[host.domain]?.outage_status ?? [];

    provide('outage', {
      get: () => stores.outage.get(host.domain),
      set: async (outage) => {
        if (outage === undefined) await stores.outage.delete(host.domain);
        else await stores.outage.set(host.domain, outage);
        known = undefined;
      },
      addresses,
    });

    return [
      // §2.1
      disco('server', {
        forms: () => {
          const value = addresses();
          if (value.length === 0) return [];
          const fields = [{ var: 'external-status-addresses', type: 'list-multi', value } as const];
          return [form({ type: 'result', formType: NS.serviceOutage, fields })];
        },
      }),
      // Web clients of other origins read it too.
      http('GET', '/outage.json', async () => ({
        headers: {
          'content-type': 'application/json',
          'access-control-allow-origin': '*',
          'cache-control': 'max-age=30',
        },
        body: await file(),
      })),
    ];
  },
});
