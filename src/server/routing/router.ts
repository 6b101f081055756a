import { StanzaError } from '../stanza/errors.js';
import type { Stanza } from '../stanza/stanza.js';
import type { Origin } from './passage.js';

/** Whoever answers for a domain: a host of ours, a service of one, a component, another server. */
export interface Destination {
  receive(stanza: Stanza, origin: Origin): void | Promise<void>;
}

/** The server itself as a sender: nobody waits for an acknowledgement. */
export const serverOrigin: Origin = {
  session: undefined,
  acknowledges: false,
  acknowledgeAfter() {},
};

/** Decides by the addressee's domain alone. */
export class Router {
  readonly #local = new Map<string, Destination>();
  /** Takes what is for other servers. */
  remote: Destination = {
    receive() {
      throw new StanzaError('remote-server-not-found');
    },
  };

  add(domain: string, destination: Destination): void {
    if (this.#local.has(domain)) throw new Error(`two things answer for ${domain}`);
    this.#local.set(domain, destination);
  }

  isLocal(domain: string): boolean {
    return this.#local.has(domain);
  }

  /**
   * Hands a stanza to whoever answers for its `to`. Throws or rejects with StanzaError where it is refused; what is
   * said of that to the sender is the caller's.
   */
  route(stanza: Stanza, origin: Origin): void | Promise<void> {
    const { to } = stanza;
    if (to === undefined) throw new Error('a stanza without an address cannot be routed');
    return (this.#local.get(to.domain) ?? this.remote).receive(stanza, origin);
  }
}
