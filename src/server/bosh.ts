/** BOSH (XEP-0124) of this server: where it is served, to whom, and within which limits. */
import { Jid } from './address/jid.js';
import { sidAt } from './bosh-gateway.js';
import { isAllowedOrigin } from './config/address.js';
import type { Config } from './config/schema.js';
import type { Membership } from './membership.js';
import { HttpError } from './module/http.js';
import type { Hooks } from './routing/hooks.js';
import { BoshService, wrapperBytes } from './transport/bosh/service.js';
import type { Transport } from './transport/transport.js';

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
      return {
        stanzaBytes: stanza_bytes + wrapperBytes,
        depth: stanza_depth + 1,
        attributes: stanza_attributes,
        elements: stanza_elements + 1,
      };
    },
    sidFor: (random) => (membership === undefined ? random : sidAt(membership.node.number, random)),
    elsewhere: (sid, request) => membership?.bosh.forward(sid, request),
    enter: (address) => (service.total >= config().limits.connections ? 'connections' : enter(address)),
  });
  membership?.bosh.serve(service, () => bodyBytes(config()));
  return service;
}

/** Bytes of a body. */
const bodyBytes = ({ limits }: Config): number => limits.stanza_bytes + wrapperBytes;

/** Serves BOSH on a host, under the names of all hosts. Throws HookError if a module has the path. */
export function serveBosh(hooks: Hooks, { config, service }: { config(): Config; service(): BoshService }): void {
  const { enabled, path } = config().http.bosh;
  if (!enabled) return;
  const origins = () => config().http.origins;
  hooks.serve('POST', path, {
    module: 'bosh',
    handler: (request) => {
      if (!isAllowedOrigin(request.headers.origin, origins())) throw new HttpError(403);
      return service().answer(request);
    },
    get body() {
      return bodyBytes(config());
    },
    below: false,
    cors: { origins, headers: ['Content-Type'] },
    isServedAtLast: true,
  });
}
