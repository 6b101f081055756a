/**
 * XEP-0156: Discovering Alternative XMPP Connection Methods: the URLs of WebSocket and other ways to connect, in the
 * host metadata of the domain (RFC 6415). With XEP-0487 the same file has everything that a client or server needs to
 * connect, without DNS: it does without pinned keys, ECH and QUIC.
 */
import { isIP } from 'node:net';
import { z } from 'zod';
import { parseListenAddress } from '../server/config/address.js';
import { seconds } from '../server/config/units.js';
import { defineModule, type HttpAnswer, http } from '../server/module/index.js';
import { el, serialize } from '../server/xml/element.js';

export interface HostMetaLink {
  /** Relation type: `urn:xmpp:alt-connections:websocket`. */
  readonly rel: string;
  readonly href: string;
}

declare module '../server/module/index.js' {
  interface Services {
    hostMeta: {
      /** Adds a link. Undefined if it is absent now. */
      add(link: () => HostMetaLink | undefined): void;
    };
  }
}

const alternatives = 'urn:xmpp:alt-connections:';
const xrdNs = 'http://docs.oasis-open.org/ns/xri/xrd-1.0';

const port = z.int().min(0).max(65_535).default(0);

export default defineModule({
  name: 'host_meta',
  summary: 'Tells clients where to connect over WebSocket, and on request everything about how to connect.',
  implements: { 'XEP-0156': '1.4.0', 'XEP-0487': '0.1.0' },
  notes: 'Of XEP-0487: pinned keys, ECH, QUIC.',
  provides: ['hostMeta'],
  config: z.strictObject({
    ips: z
      .array(z.string().refine((text) => isIP(text) !== 0))
      .default([])
      .describe(
        'Public IP addresses of the server. With them, host-meta.json has all that is needed to connect (XEP-0487), and clients and servers that know this no longer look for SRV records. It needs listen.c2s_tls, and listen.s2s_tls if the server talks to other servers.',
      ),
    tls_port: port.describe('Public port of direct TLS for clients. 0: that of listen.c2s_tls.'),
    s2s_tls_port: port.describe('Public port of direct TLS for other servers. 0: that of listen.s2s_tls.'),
    ttl_seconds: seconds({ min: 60, max: 604_800 })
      .default(3600)
      .describe('How long clients and servers may cache the file.'),
  }),

  start: ({ host, config, provide }) => {
    const { listen, s2s } = host.config;
    const portOf = (configured: number, addresses: readonly string[]) =>
      configured === 0 ? parseListenAddress(addresses[0] ?? '')?.port : configured;
    const tlsPort = portOf(config.tls_port, listen.c2s_tls);
    const serverPort = s2s.enabled === false ? undefined : portOf(config.s2s_tls_port, listen.s2s_tls);
    const isComplete = config.ips.length > 0;
    if (isComplete && tlsPort === undefined) throw new Error('ips needs a port for direct TLS: set listen.c2s_tls');
    if (isComplete && s2s.enabled !== false && serverPort === undefined)
      throw new Error('ips needs a port for direct TLS from other servers: set listen.s2s_tls');

    const further: (() => HostMetaLink | undefined)[] = [];
    provide('hostMeta', { add: (link) => void further.push(link) });

    const websocket = (): HostMetaLink | undefined =>
      host.publicUrl === undefined
        ? undefined
        : {
            rel: `${alternatives}websocket`,
            href: host.publicUrl.replace(/^http/, 'ws') + host.config.http.websocket_path,
          };
    const bosh = (): HostMetaLink | undefined => {
      const { enabled, path } = host.config.http.bosh;
      if (host.publicUrl === undefined || !enabled) return undefined;
      return { rel: `${alternatives}xbosh`, href: host.publicUrl + path };
    };
    const links = (): HostMetaLink[] =>
      [websocket, bosh, ...further].flatMap((link) => {
        const found = link();
        // XEP-0156 §2.2: connections with TLS alone
        const isUnsafe = found?.rel.startsWith(alternatives) && !/^(?:https|wss):/.test(found.href);
        return found === undefined || isUnsafe ? [] : [found];
      });

    /** XEP-0487 §2.1: what a link has beside its URL or port. Lower priorities are tried first. */
    const reach = (sni: string, priority: number) => ({ priority, weight: 50, sni, ips: config.ips });
    const json = () => {
      if (!isComplete) return { links: links() };
      const tls = (rel: string, at: number | undefined) =>
        at === undefined ? [] : [{ rel: `${alternatives}${rel}`, port: at, ...reach(host.domain, 10) }];
      const web = links().map((link) =>
        link.rel.startsWith(alternatives) ? { ...link, ...reach(new URL(link.href).hostname, 20) } : link,
      );
      return {
        xmpp: { ttl: config.ttl_seconds },
        links: [...tls('tls', tlsPort), ...tls('s2s-tls', serverPort), ...web],
      };
    };
    const xrd = () => serialize(el('XRD', { xmlns: xrdNs }, ...links().map((link) => el('Link', { ...link }))));

    const answer = (type: string, body: string): HttpAnswer => ({
      headers: { 'content-type': type, 'cache-control': `public, max-age=${config.ttl_seconds}` },
      body,
    });
    // XEP-0156 §3: for web clients of any origin
    const open = { cors: { origins: '*' } } as const;
    return [
      http(
        'GET',
        '/.well-known/host-meta',
        () => answer('application/xrd+xml; charset=utf-8', `<?xml version="1.0" encoding="UTF-8"?>\n${xrd()}\n`),
        open,
      ),
      http('GET', '/.well-known/host-meta.json', () => answer('application/json', JSON.stringify(json())), open),
    ];
  },
});
