/**
 * XEP-0115: Entity Capabilities, of the server itself: announced in the stream features after login (§6.3), so that
 * clients can use a cached answer. Clients can omit their capabilities from later presence, and the server omits them
 * for subscribers that have received them (§8.4): both in rfc-6121-presence.
 */
import { type DiscoQuery, defineModule, disco, event, type ServerInfo, streamFeature } from '../server/module/index.js';
import { capsHash } from '../server/stanza/caps.js';
import { StanzaError } from '../server/stanza/errors.js';
import { NS } from '../server/stanza/ns.js';
import { el } from '../server/xml/element.js';

/** §4: identifies the software. A name that needs no registration. */
const software = 'urn:uuid:3f1a5ade-acb0-4f62-95da-20da742fc3ed';

export default defineModule({
  name: 'caps',
  summary: "Announces the server's capabilities in the stream features.",
  implements: { 'XEP-0115': '1.6.0' },
  features: { server: [NS.caps, `${NS.caps}#optimize`] },
  needs: ['disco'],

  start: ({ services }) => {
    let ver: string | undefined;
    /** The answer being gathered; an earlier one may be outdated. */
    let latest: Promise<ServerInfo> | undefined;
    const hash = ({ identities, features, forms }: ServerInfo) => capsHash(identities, features, forms);

    /** The current hash. Undefined until its inputs have been gathered for the first time. */
    const current = (): string | undefined => {
      if (ver !== undefined) return ver;
      const info = services.disco.server();
      if (!(info instanceof Promise)) return (ver = hash(info));
      latest = info;
      void info.then(
        (gathered) => {
          if (latest === info) ver = hash(gathered);
        },
        () => {}, // a source failed: retried at the next stream
      );
      return undefined;
    };

    const renew = (): void => {
      ver = undefined;
      latest = undefined;
    };

    /** §6.2: node#ver returns the same answer as no node; other hashes are unknown. */
    const verified = async ({ node }: DiscoQuery): Promise<ServerInfo> => {
      const info = await services.disco.server();
      if (node !== `${software}#${hash(info)}`) throw new StanzaError('item-not-found');
      return info;
    };

    return [
      streamFeature('authenticated', () => {
        const known = current();
        return known === undefined ? undefined : el('c', { xmlns: NS.caps, hash: 'sha-1', node: software, ver: known });
      }),
      event('reloaded', renew),
      event('discoChanged', renew),
      disco('server', {
        node: (node) => node.startsWith(`${software}#`),
        identities: async (query) => (await verified(query)).identities,
        features: async (query) => (await verified(query)).features,
        forms: async (query) => (await verified(query)).forms,
      }),
    ];
  },
});
