/** The routes to other servers, and those of one domain, of one carrier, or that wait for one session, found at once. */
import type { Outbox } from '../../routing/outbox.js';
import type { Carrier } from './carriers.js';
import type { Delivery } from './delivery.js';
import type { Step } from './domains.js';
import type { OutgoingStream, Pair } from './outgoing.js';
import { ServerSm } from './sm.js';

/** How stanzas of a pair get to the other server. */
export interface Route {
  readonly pair: Pair;
  readonly outbox: Outbox;
  /** When it was made, in ms of the monotonic clock. */
  readonly since: number;
  /** Stanzas. */
  sent: number;
  /** The latest connection and its delivery. Undefined while there is no connection. */
  last: { readonly stream: OutgoingStream; readonly delivery: Delivery } | undefined;
  /** The step at which there was no connection. */
  step: Step;
  /** The user whose stanza it is opened for. Undefined once it has been open, and if it is the server's own stanza. */
  opener: string | undefined;
  /** The established stream, and since when in ms (`monotonic`). Undefined until there is one. */
  open: { readonly stream: OutgoingStream; readonly delivery: Delivery; readonly since: number } | undefined;
  /** A bidirectional stream of the other server, if that is used instead. `Routes.lead` sets it. */
  carrier: Carrier | undefined;
  /** The session of such a stream that is lost: stanzas wait until it is resumed or over. `Routes.lead` sets it. */
  waitsFor: ServerSm | undefined;
  /** The session of the lost stream, to be resumed (XEP-0198). */
  resumes: ServerSm | undefined;
  /** When a stream was lost, in ms, unless the peer has accepted stanzas since. */
  lostAt: number | undefined;
  /** Attempts to connect since then. */
  attempts: number;
  /** Set between two attempts. */
  pause: NodeJS.Timeout | undefined;
}

export const keyOf = ({ from, to }: Pair): string => `${from} ${to}`;

const none: ReadonlySet<Route> = new Set();

export class Routes {
  /** By pair. */
  readonly #all = new Map<string, Route>();
  readonly #byDomain = new Map<string, Set<Route>>();
  /** By carrier, or by the session that they wait for. The route that was led last is the last. */
  readonly #led = new Map<Carrier | ServerSm, Set<Route>>();

  get size(): number {
    return this.#all.size;
  }

  get(pair: string): Route | undefined {
    return this.#all.get(pair);
  }

  all(): Route[] {
    return [...this.#all.values()];
  }

  /** Those to a remote domain: at most one for each local domain. */
  to(domain: string): ReadonlySet<Route> {
    return this.#byDomain.get(domain) ?? none;
  }

  /** Those that use a carrier, or wait for a session. */
  led(over: Carrier | ServerSm): readonly Route[] {
    return [...(this.#led.get(over) ?? none)];
  }

  add(route: Route): void {
    this.#all.set(keyOf(route.pair), route);
    put(this.#byDomain, route.pair.to, route);
  }

  delete(route: Route): void {
    this.lead(route, undefined);
    this.#all.delete(keyOf(route.pair));
    take(this.#byDomain, route.pair.to, route);
  }

  /** From now on the route uses a carrier, waits for a session, or has streams of its own. */
  lead(route: Route, over: Carrier | ServerSm | undefined): void {
    const before = route.carrier ?? route.waitsFor;
    if (before !== undefined) take(this.#led, before, route);
    if (over !== undefined) put(this.#led, over, route);
    const isSession = over instanceof ServerSm;
    route.carrier = isSession ? undefined : over;
    route.waitsFor = isSession ? over : undefined;
  }
}

function put<K>(all: Map<K, Set<Route>>, key: K, route: Route): void {
  const same = all.get(key);
  if (same === undefined) all.set(key, new Set([route]));
  else same.add(route);
}

function take<K>(all: Map<K, Set<Route>>, key: K, route: Route): void {
  const same = all.get(key);
  if (same?.delete(route) === true && same.size === 0) all.delete(key);
}
