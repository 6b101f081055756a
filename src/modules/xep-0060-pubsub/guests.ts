/** Presence at the service, and the availability of subscribers. */
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { Portions } from '../../server/limits/portions.js';
import { defineQuestion, type Host, type Maybe, type Memory, type Services } from '../../server/module/index.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { jid } from '../../server/stanza/stored.js';
import { type Holder, type Show, shows } from './node.js';

/** Addresses whose presence at the service is tracked. */
const mostGuests = 10_000;

const movedGuest = z.object({ jid, show: z.enum(shows) });

/** Presence at the service: by bare address, then by full address. */
export class Guests {
  readonly #present = new Map<string, Map<string, Show>>();
  readonly #portions = new Portions(() => ({ all: mostGuests, each: mostGuests }));
  readonly #full: () => void;

  /** `full` is called for each address that is not tracked because of the limit. */
  constructor(full: () => void) {
    this.#full = full;
  }

  /** Returns whether the address was absent before. An untracked address counts as absent. */
  arrives(jid: Jid, show: Show): boolean {
    const same = this.#present.get(jid.bare) ?? new Map<string, Show>();
    const isNew = !same.has(jid.full);
    if (isNew && this.#portions.take(jid.domain) !== undefined) {
      this.#full();
      return true;
    }
    this.#present.set(jid.bare, same.set(jid.full, show));
    return isNew;
  }

  leaves(jid: Jid): void {
    const same = this.#present.get(jid.bare);
    if (same === undefined) return;
    for (const full of jid.resource === undefined ? [...same.keys()] : [jid.full])
      if (same.delete(full)) this.#portions.give(jid.domain);
    if (same.size === 0) this.#present.delete(jid.bare);
  }

  /** The service has moved to another node, or from one. */
  clear(): void {
    for (const same of [...this.#present.values()])
      for (const full of same.keys()) this.#portions.give(Jid.parse(full).domain);
    this.#present.clear();
  }

  /** For the hook `moves`. */
  memory(service: Jid): Memory<z.output<typeof movedGuest>> {
    const present = this.#present;
    return {
      name: 'pubsub.guests',
      schema: movedGuest,
      *describe(concerns) {
        if (!concerns(service.bare)) return;
        for (const same of present.values()) for (const [jid, show] of same) yield [service.bare, { jid, show }];
      },
      restore: (_, { jid, show }) => void this.arrives(Jid.parse(jid), show),
    };
  }

  of(bare: string): ReadonlyMap<string, Show> | undefined {
    return this.#present.get(bare);
  }
}

/** What `showsOf` needs. */
interface Present {
  readonly host: Host;
  readonly caps: Services['clientCaps'];
  readonly guests: Guests;
}

const showNamed = (text: string | undefined): Show => shows.find((one) => one === text) ?? 'online';

export const showOf = (presence: Stanza): Show => showNamed(presence.text(NS.client, 'show')?.trim());

/** Asked at a local account: the availability of its clients, or of the client with this resource. */
export const shown = defineQuestion({
  name: 'pubsub.shown',
  given: z.object({ resource: z.string().optional() }),
  answer: z.array(z.enum(shows)),
});

export const shownBy = (
  { host }: Pick<Present, 'host'>,
  owner: Jid,
  { resource }: { readonly resource?: string | undefined },
): Show[] =>
  host
    .sessions(owner.bare)
    .flatMap(({ jid, presence }) =>
      presence !== undefined && (resource === undefined || resource === jid.resource) ? [showOf(presence)] : [],
    );

/** The availability of an address at each of its clients; undefined if unknown. */
export function showsOf({ host, caps, guests }: Present, holder: Holder, jid: Jid): Maybe<readonly Show[] | undefined> {
  if (jid.domain === host.domain) return host.askHome(shown, jid.toBare(), { resource: jid.resource });
  const isMeant = (full: string) => jid.resource === undefined || full === jid.full;
  const found: Show[] = [];
  if (holder.isAccount) {
    for (const visitor of caps.visitors(holder.jid.bare).values())
      if (visitor.jid.bare === jid.bare && isMeant(visitor.jid.full)) found.push(showNamed(visitor.show));
  } else for (const [full, show] of guests.of(jid.bare) ?? []) if (isMeant(full)) found.push(show);
  return found.length === 0 ? undefined : found;
}
