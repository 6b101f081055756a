/**
 * XEP-0487: where the server of a domain is, by the host metadata that its web server has. Used for a domain without SRV
 * records. Left out: QUIC, WebSocket, pinned keys, ECH; the file is not cached, as it is read only to open a stream.
 */
import { request } from 'node:http';
import { isIP } from 'node:net';
import { connect, type SecureContext } from 'node:tls';
import { z } from 'zod';
import { abortable } from '../../clock.js';

/** §2.1: a link to a server by direct TLS. */
export interface MetaLink {
  readonly ips: readonly string[];
  readonly port: number;
  readonly priority: number;
  readonly weight: number;
  /** The name to send in the ClientHello. */
  readonly sni: string;
}

/** Time limit in ms, and the largest file in bytes. */
const longestMs = 3000;
const mostBytes = 65_536;
/** Links and addresses that are read. */
const mostLinks = 100;
const mostIps = 16;

const uint16 = z.int().min(0).max(65_535);
const document = z.object({ xmpp: z.object({ ttl: z.number() }), links: z.array(z.unknown()) });
const link = z.object({
  rel: z.literal('urn:xmpp:alt-connections:s2s-tls'),
  ips: z.array(z.string().refine((ip) => isIP(ip) !== 0)).min(1),
  port: uint16.min(1),
  priority: uint16,
  weight: uint16,
  sni: z
    .string()
    .max(253)
    .regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i),
});

/** The links of a file. None if it is not one of XEP-0487; links that are not understood are skipped. */
export function linksOf(text: string): readonly MetaLink[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return [];
  }
  const found = document.safeParse(json);
  if (!found.success) return [];
  return found.data.links.slice(0, mostLinks).flatMap((one) => {
    const read = link.safeParse(one);
    if (!read.success) return [];
    const { ips, port, priority, weight, sni } = read.data;
    return [{ ips: ips.slice(0, mostIps), port, priority, weight, sni }];
  });
}

/**
 * Reads the file of a domain from a web server at one of these addresses, whose certificate must be valid for the domain
 * (§4). Resolves with undefined if there is none, it is too large or late, or `stop` aborts. Redirections are not followed.
 */
export function readHostMeta(
  domain: string,
  addresses: readonly string[],
  secureContext: SecureContext,
  stop: AbortSignal,
  port = 443,
): Promise<string | undefined> {
  return abortable(longestMs, stop, async (signal) => {
    for (const address of addresses) {
      try {
        return await read({ domain, address, port, secureContext, signal });
      } catch {
        // Most domains have no such file. The next address may.
        if (signal.aborted) return undefined;
      }
    }
    return undefined;
  });
}

interface Asked {
  readonly domain: string;
  readonly address: string;
  readonly port: number;
  readonly secureContext: SecureContext;
  readonly signal: AbortSignal;
}

function read({ domain, address, port, secureContext, signal }: Asked): Promise<string> {
  return new Promise((resolve, reject) => {
    const asking = request({
      createConnection: () =>
        connect({ host: address, port, servername: domain, secureContext, rejectUnauthorized: true }),
      signal,
      path: '/.well-known/host-meta.json',
      headers: { Host: domain, Accept: 'application/json' },
    });
    asking.on('error', reject).on('response', (response) => {
      if (response.statusCode !== 200) {
        asking.destroy(new Error(`status ${response.statusCode}`));
        return;
      }
      let size = 0;
      const chunks: Buffer[] = [];
      response.on('error', reject).on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > mostBytes) asking.destroy(new Error('the file is too large'));
        else chunks.push(chunk);
      });
      response.on('end', () => resolve(Buffer.concat(chunks).toString()));
    });
    asking.end();
  });
}
