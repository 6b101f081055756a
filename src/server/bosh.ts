/** BOSH (XEP-0124) of this server: where it is served, to whom, and within which limits. */
import { Jid } from './address/jid.js';
import { sidAt } from './bosh-gateway.js';
import { addressBlock, isAllowedOrigin } from './config/address.js';
import type { Config } from './config/schema.js';
import type { Membership } from './membership.js';
import { HttpError } from './module/http.js';
import type { Hooks } from './routing/hooks.js';
import type { BoshBody } from './transport/bosh/bodies.js';
import { BoshService, wrapperBytes } from './transport/bosh/service.js';
import type { Transport } from './transport/transport.js';

/** Elements of the largest size in a body before login. */
const unauthenticatedElements = 4;

export interface BoshParts {
  config(): Config;
  /** Returns undefined if the server has no such host. */
  host(domain: string): unknown;
  /** Counts a connection from the address. Returns the limit that it would exceed, if any. */
  enter(address: string): string | undefined;
  leave(address: string): void;
  limitHit(limit: string): void;
  connected(transport: Transport): void;
  /** Undefined if the server is not in a cluster. */
  readonly membership: Membership | undefined;
}

export function openBosh({ config, host, enter, membership, ...parts }: BoshParts): BoshService {
  const service: BoshService = new BoshService({
    ...parts,
    isHost: (domain) => host(Jid.tryParse(domain)?.full ?? '') !== undefined,
    settings: () => config().http.bosh,
    limits: () => {
      const { stanza_bytes, stanza_depth, stanza_attributes, stanza_elements } = config().limits;
      const { body_bytes } = config().http.bosh;
      return {
        stanzaBytes: Math.max(body_bytes, stanza_bytes + wrapperBytes),
        depth: stanza_depth + 1,
        attributes: stanza_attributes,
        elements: stanza_elements * Math.max(1, Math.ceil(body_bytes / stanza_bytes)) + 1,
      };
    },
    blockOf: addressBlock,
    least: () => unauthenticatedElements * config().limits.stanza_bytes_unauthenticated + wrapperBytes,
    mayBeElsewhere: (sid) => membership?.bosh.isElsewhere(sid) ?? false,
    busy: () => {
      throw new HttpError(503, 'Too many requests are being read.', { headers: { 'retry-after': '5' } });
    },
    sidFor: (random) => (membership === undefined ? random : sidAt(membership.node.number, random)),
    elsewhere: (sid, request) => membership?.bosh.forward(sid, request),
    enter: (address) => (service.total >= config().limits.connections ? 'connections' : enter(address)),
  });
  membership?.bosh.serve(service);
  return service;
}

/** Serves BOSH on a host, under the names of all hosts. Throws HookError if a module has the path. */
export function serveBosh(hooks: Hooks, { config, service }: { config(): Config; service(): BoshService }): void {
  const { enabled, path } = config().http.bosh;
  if (!enabled) return;
  const origins = () => config().http.origins;
  hooks.serve('POST', path, {
    module: 'bosh',
    handler: ({ address, secure, gone, headers }, gate) => {
      const body = (gate as BoshBody | undefined) ?? service().body(address, 0);
      if (isAllowedOrigin(headers.origin, origins())) return service().answer({ address, secure, gone, body });
      body.release();
      throw new HttpError(403);
    },
    body: ({ address, length = 0 }) => service().body(address, length),
    below: false,
    cors: { origins, headers: ['Content-Type'] },
    isServedAtLast: true,
  });
}
