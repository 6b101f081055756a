/** Who is present at the service, and how an address is there. */
import { z } from 'zod';
import { defineQuestion, type Host, type Maybe, type Services } from '../../server/module/index.js';
import { Portions } from '../../server/portions.js';
import type { Jid } from '../../server/stanza/jid.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { type Holder, type Show, shows } from './node.js';

/** Addresses whose presence at the service is kept in memory. */
const mostGuests = 10_000;

/** Those who sent presence to the service: by bare address, then by full. */
export class Guests {
  readonly #here = new Map<string, Map<string, Show>>();
  readonly #portions = new Portions(() => ({ all: mostGuests, each: mostGuests }));
  readonly #full: () => void;

  /** `full` is called where one more is not kept. */
  constructor(full: () => void) {
    this.#full = full;
  }

  /** Whether it was not there before. */
  arrives(jid: Jid, show: Show): boolean {
    const same = this.#here.get(jid.bare) ?? new Map<string, Show>();
    const isNew = !same.has(jid.full);
    if (isNew && this.#portions.take(jid.domain) !== undefined) {
      this.#full();
      return true;
    }
    this.#here.set(jid.bare, same.set(jid.full, show));
    return isNew;
  }

  leaves(jid: Jid): void {
    const same = this.#here.get(jid.bare);
    if (same === undefined) return;
    for (const full of jid.resource === undefined ? [...same.keys()] : [jid.full])
      if (same.delete(full)) this.#portions.give(jid.domain);
    if (same.size === 0) this.#here.delete(jid.bare);
  }

  of(bare: string): ReadonlyMap<string, Show> | undefined {
    return this.#here.get(bare);
  }
}

/** Where presence is known. */
interface Present {
  readonly host: Host;
  readonly caps: Services['clientCaps'];
  readonly guests: Guests;
}

const showNamed = (text: string | undefined): Show => shows.find((one) => one === text) ?? 'online';

export const showOf = (presence: Stanza): Show => showNamed(presence.text(NS.client, 'show')?.trim());

/** At an account of this host: how its clients are there, or the one of a resource. */
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

/** How an address is there, at each of its clients; undefined: nobody knows. */
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
