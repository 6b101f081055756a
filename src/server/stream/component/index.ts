/** All external components (XEP-0114) of a server, and their connections. */

import { Jid } from '../../address/jid.js';
import { readSecrets } from '../../config/components.js';
import type { Config } from '../../config/schema.js';
import type { LocalHost } from '../../routing/host.js';
import { type Destination, type Router, serverOrigin } from '../../routing/router.js';
import { StreamError } from '../../stanza/errors.js';
import type { Transport } from '../../transport/transport.js';
import type { Swept } from '../sweeper.js';
import { Component, type ComponentParts } from './component.js';
import { ComponentStream, type ComponentStreamParts } from './stream.js';

export interface ComponentsParts extends Omit<ComponentParts, 'refuse' | 'connected' | 'gone'> {
  readonly router: Pick<Router, 'attach'>;
  /** What the router gets for a component: in a cluster its stanzas go to the home of its domain. */
  wayTo(component: Component): Destination;
  hosts(): Iterable<LocalHost>;
}

/** State of a component, for lists and metrics. */
export interface ComponentFigures {
  readonly domain: string;
  readonly connections: readonly { readonly address: string; readonly since: number }[];
  /** Stanzas since the server started. */
  readonly received: number;
  readonly sent: number;
  readonly refusedLogins: number;
  readonly waitingBytes: number;
}

export class Components {
  readonly #parts: ComponentsParts;
  readonly #components: ReadonlyMap<string, Component>;
  readonly #streams = new Set<ComponentStream>();

  /**
   * Attaches the configured domains to the router. Throws ConfigError for an invalid secret, HookError for a domain in
   * use.
   */
  constructor(parts: ComponentsParts) {
    this.#parts = parts;
    const own: ComponentParts = {
      ...parts,
      refuse: (stanza, error) => this.#anyHost().refuse(stanza, error, serverOrigin),
      connected: (event) => {
        for (const host of parts.hosts()) void host.emit('componentConnected', event);
      },
      gone: (event) => {
        for (const host of parts.hosts()) {
          host.asks.unanswered((to) => to.domain === event.domain);
          void host.emit('componentGone', event);
        }
      },
    };
    const secrets = [...readSecrets(parts.config().components)];
    this.#components = new Map(
      secrets.map(([domain, secret]) => [domain, new Component(Jid.parse(domain), own, secret)]),
    );
    for (const [domain, component] of this.#components) parts.router.attach(domain, parts.wayTo(component));
  }

  /** A component has connected; `connectedAt` is when the connection was accepted (`monotonic`). */
  connected(
    transport: Transport,
    connectedAt: number,
    parts: Omit<ComponentStreamParts, 'component' | 'host' | 'gone'>,
  ): void {
    const all: ComponentStreamParts = {
      ...parts,
      component: (domain) => this.#components.get(domain),
      host: () => this.#anyHost(),
      gone: (stream) => void this.#streams.delete(stream),
    };
    this.#streams.add(new ComponentStream(transport, all, connectedAt));
  }

  /** Used to send errors. */
  #anyHost(): LocalHost {
    const [first] = this.#parts.hosts();
    return first!;
  }

  get streams(): Iterable<Swept> {
    return this.#streams;
  }

  /** Connections, authenticated or not. */
  get size(): number {
    return this.#streams.size;
  }

  get figures(): readonly ComponentFigures[] {
    return [...this.#components.values()].map(({ domain, lines, counts, waitingBytes }) => ({
      domain,
      connections: lines.map(({ remoteAddress, since }) => ({ address: remoteAddress, since })),
      ...counts,
      waitingBytes,
    }));
  }

  /** Uses the new secrets for later handshakes. Connected components stay connected. */
  useSecrets(secrets: ReadonlyMap<string, string>): void {
    for (const [domain, component] of this.#components) component.secret = secrets.get(domain) ?? component.secret;
  }

  /** Closes all connections of a component. Returns how many; undefined if there is no such component. */
  kick(domain: string): number | undefined {
    const component = this.#components.get(domain);
    if (component === undefined) return undefined;
    const { lines } = component;
    for (const line of lines)
      line.close(new StreamError('policy-violation', 'An administrator closed the connection.'));
    return lines.length;
  }

  /** Stops taking stanzas. Resolves once the received ones have been handled. */
  async stopTaking(): Promise<void> {
    await Promise.all([...this.#streams].map(({ xml }) => xml.stopTaking()));
  }

  close(error: StreamError): void {
    for (const stream of this.#streams) stream.close(error);
  }
}

/**
 * Settings of connected components after a reload: the new ones, or the old ones if a restart will remove the
 * component.
 */
export const stillConfigured = (before: Config['components'], next: Config['components']): Config['components'] =>
  Object.fromEntries(Object.entries(before).map(([domain, settings]) => [domain, next[domain] ?? settings]));
