/**
 * XEP-0115: Entity Capabilities, of the server itself: announced in the stream features once a client has logged in
 * (§6.3), so that it need not ask again what it knows already. Clients may leave their capabilities out of later
 * presence, and the server leaves them out for subscribers that have got them (§8.4): rfc-6121-presence does both.
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
    const hash = ({ identities, features, forms }: ServerInfo) => capsHash(identities, features, forms);

    /** The current hash; undefined while what it is made of is still being gathered, before it was known once. */
    const current = (): string | undefined => {
      if (ver !== undefined) return ver;
      const info = services.disco.server();
      if (!(info instanceof Promise)) ver = hash(info);
      else
        void info.then(
          (gathered) => (ver = hash(gathered)),
          () => {}, // a source failed: tried again at the next stream
        );
      return ver;
    };

    /** §6.2: the answer to node#ver is what anybody is told without a node; another hash is not ours. */
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
      event('reloaded', () => {
        ver = undefined;
      }),
      disco('server', {
        node: (node) => node.startsWith(`${software}#`),
        identities: async (query) => (await verified(query)).identities,
        features: async (query) => (await verified(query)).features,
        forms: async (query) => (await verified(query)).forms,
      }),
    ];
  },
});
