/** All external components (XEP-0114) of a server, and their connections. */
import { readSecrets } from '../../config/components.js';
import type { Config } from '../../config/schema.js';
import type { LocalHost } from '../../routing/host.js';
import { type Router, serverOrigin } from '../../routing/router.js';
import { StreamError } from '../../stanza/errors.js';
import { Jid } from '../../stanza/jid.js';
import type { Transport } from '../../transport/transport.js';
import type { Swept } from '../sweeper.js';
import { Component, type ComponentParts } from './component.js';
import { ComponentStream, type ComponentStreamParts } from './stream.js';

export interface ComponentsParts extends Omit<ComponentParts, 'refuse'> {
  readonly router: Pick<Router, 'attach'>;
  /** A host of the server, which answers where no other has to. */
  host(): LocalHost;
}

/** What is told of a component. */
export interface ComponentFigures {
  readonly domain: string;
  readonly connections: readonly { readonly address: string; readonly since: number }[];
  /** Stanzas since the start of the server. */
  readonly received: number;
  readonly sent: number;
  readonly refusedLogins: number;
  readonly waitingBytes: number;
}

export class Components {
  readonly #parts: ComponentsParts;
  readonly #components: ReadonlyMap<string, Component>;
  readonly #streams = new Set<ComponentStream>();

  /** Answers for the domains of the configuration. Throws ConfigError for a bad secret, HookError for a domain that is taken. */
  constructor(parts: ComponentsParts) {
    this.#parts = parts;
    const own: ComponentParts = {
      ...parts,
      refuse: (stanza, error) => parts.host().refuse(stanza, error, serverOrigin),
    };
    const secrets = [...readSecrets(parts.config().components)];
    this.#components = new Map(
      secrets.map(([domain, secret]) => [domain, new Component(Jid.parse(domain), own, secret)]),
    );
    for (const [domain, component] of this.#components) parts.router.attach(domain, component);
  }

  /** A component has opened a connection, which was accepted at that time (`monotonic`). */
  connected(
    transport: Transport,
    connectedAt: number,
    parts: Omit<ComponentStreamParts, 'component' | 'host' | 'gone'>,
  ): void {
    const all: ComponentStreamParts = {
      ...parts,
      component: (domain) => this.#components.get(domain),
      host: () => this.#parts.host(),
      gone: (stream) => void this.#streams.delete(stream),
    };
    this.#streams.add(new ComponentStream(transport, all, connectedAt));
  }

  get streams(): Iterable<Swept> {
    return this.#streams;
  }

  /** Connections, logged in or not. */
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

  /** Handshakes from now on need the secrets that the configuration has now. Components keep their connections. */
  useSecrets(secrets: ReadonlyMap<string, string>): void {
    for (const [domain, component] of this.#components) component.secret = secrets.get(domain) ?? component.secret;
  }

  /** Ends all connections of a component. Returns how many there were; undefined if there is no such component. */
  kick(domain: string): number | undefined {
    const component = this.#components.get(domain);
    if (component === undefined) return undefined;
    const { lines } = component;
    for (const line of lines) line.close(new StreamError('policy-violation', 'An administrator ends the connection.'));
    return lines.length;
  }

  /** Takes no more from any of them. Resolves once what was taken has been handled. */
  async stopTaking(): Promise<void> {
    await Promise.all([...this.#streams].map(({ xml }) => xml.stopTaking()));
  }

  close(error: StreamError): void {
    for (const stream of this.#streams) stream.close(error);
  }
}

/** The components that keep their connections: with their new settings, those that a restart takes away included. */
export const stillConfigured = (before: Config['components'], next: Config['components']): Config['components'] =>
  Object.fromEntries(Object.entries(before).map(([domain, settings]) => [domain, next[domain] ?? settings]));
