/**
 * The invites of a host. They live at the home of the host's address, where they are redeemed one after the other; other
 * nodes ask there. A token is stored as its hash alone, so that who can read the storage cannot redeem it.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import { answers, defineQuestion, type Hook, type Host } from '../../server/module/index.js';
import { Serial } from '../../server/serial.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { bareJid } from '../../server/stanza/stored.js';
import type { MapStore } from '../../storage/contract.js';
import type { Invite, Wanted } from './services.js';

export const inviteSchema = z.object({
  by: bareJid.optional(),
  name: z.string().optional(),
  role: z.literal('admin').optional(),
  groups: z.array(z.string()).optional(),
  registers: z.boolean(),
  connects: z.boolean(),
  uses: z.number().int().nonnegative(),
  at: z.number(),
  until: z.number(),
});

export const idOf = (token: string): string => createHash('sha256').update(token).digest('hex').slice(0, 32);

/** Adds an invite under an id. Answers why not. */
const adding = defineQuestion<{ id: string; wanted: Wanted }, 'many' | 'taken' | null>({
  name: 'invites.adding',
  given: z.object({ id: z.string(), wanted: inviteSchema.omit({ at: true }) }),
  answer: z.enum(['many', 'taken']).nullable(),
});
const listing = defineQuestion<null, [string, Invite][]>({
  name: 'invites.listing',
  given: z.null(),
  answer: z.array(z.tuple([z.string(), inviteSchema])),
});
const revoking = defineQuestion<string, boolean>({ name: 'invites.revoking', given: z.string(), answer: z.boolean() });
/** Looks at an invite that has not expired. */
const looking = defineQuestion<string, Invite | null>({
  name: 'invites.looking',
  given: z.string(),
  answer: inviteSchema.nullable(),
});
/**
 * Uses an invite (`id`), or none ('') for the account of this name, or undoes that. Answers null if the invite cannot be used.
 * reserved: the name belongs to another invite.
 */
const using = defineQuestion<{ id: string; name: string | null; uses: 1 | -1 }, Invite | 'reserved' | null>({
  name: 'invites.using',
  given: z.object({ id: z.string(), name: z.string().nullable(), uses: z.union([z.literal(1), z.literal(-1)]) }),
  answer: z.union([inviteSchema, z.literal('reserved')]).nullable(),
});

export interface InvitesParts {
  readonly host: Host;
  readonly store: MapStore<Invite>;
  readonly limits: () => { readonly pending: number; readonly per_account: number };
}

export class Invites {
  readonly #parts: InvitesParts;
  readonly #turns = new Serial();

  constructor(parts: InvitesParts) {
    this.#parts = parts;
  }

  // --- from any node ----------------------------------------------------------------------------------------------

  async add(id: string, wanted: Wanted): Promise<Invite> {
    const { host } = this.#parts;
    const refused = await host.askHome(adding, host.jid, { id, wanted });
    if (refused === 'many') {
      host.limitHit('invites');
      throw new StanzaError('resource-constraint', 'There are too many invitations that nobody has used yet.');
    }
    if (refused === 'taken') throw new StanzaError('conflict', 'The name is not available. Choose another one.');
    return { ...wanted, at: wall() };
  }

  async list(): Promise<readonly (readonly [string, Invite])[]> {
    const found = await this.#parts.host.askHome(listing, this.#parts.host.jid, null);
    return [...found].sort(([, a], [, b]) => a.at - b.at);
  }

  async revoke(id: string): Promise<boolean> {
    return this.#parts.host.askHome(revoking, this.#parts.host.jid, id);
  }

  async look(id: string): Promise<Invite | undefined> {
    return (await this.#parts.host.askHome(looking, this.#parts.host.jid, id)) ?? undefined;
  }

  /** `name` is that of a new account; null if none is made. */
  async use(id: string, name: string | null): Promise<Invite | 'reserved' | undefined> {
    return (await this.#parts.host.askHome(using, this.#parts.host.jid, { id, name, uses: 1 })) ?? undefined;
  }

  async undo(id: string): Promise<void> {
    await this.#parts.host.askHome(using, this.#parts.host.jid, { id, name: null, uses: -1 });
  }

  // --- at home ----------------------------------------------------------------------------------------------------

  hooks(): Hook[] {
    const { store, host } = this.#parts;
    const domain = host.domain;
    const inTurn = <T>(work: () => Promise<T>) => this.#turns.run(domain, work);
    return [
      answers(adding, ({ id, wanted }) => inTurn(() => this.#add(id, wanted))),
      answers(listing, () => inTurn(async () => [...(await this.#valid())])),
      answers(revoking, (id) =>
        inTurn(async () => {
          const ids = [...(await store.all(domain)).keys()].filter((one) => id.length >= 8 && one.startsWith(id));
          await store.delete(domain, ids);
          return ids.length > 0;
        }),
      ),
      answers(looking, async (id) => {
        const invite = await store.get(domain, id);
        return invite !== undefined && invite.until > wall() && (await this.#hasInviter(invite)) ? invite : null;
      }),
      answers(using, (given) => inTurn(() => this.#use(given))),
    ];
  }

  async #add(id: string, wanted: Wanted): Promise<'many' | 'taken' | null> {
    const { host, store, limits } = this.#parts;
    const valid = [...(await this.#valid()).values()];
    const { pending, per_account } = limits();
    const own = wanted.by === undefined ? 0 : valid.filter(({ by }) => by === wanted.by).length;
    if (valid.length >= pending || own >= per_account) return 'many';
    if (wanted.name !== undefined) {
      if (valid.some(({ name }) => name === wanted.name)) return 'taken';
      if (await host.accounts.exists(`${wanted.name}@${host.domain}`)) return 'taken';
    }
    await store.set(host.domain, [[id, { ...wanted, at: wall() }]]);
    return null;
  }

  /** Deletes those that have expired. */
  async #valid(): Promise<ReadonlyMap<string, Invite>> {
    const { host, store } = this.#parts;
    const all = await store.all(host.domain);
    const now = wall();
    const expired = [...all].filter(([, { until }]) => until <= now).map(([id]) => id);
    if (expired.length === 0) return all;
    await store.delete(host.domain, expired);
    return new Map([...all].filter(([, { until }]) => until > now));
  }

  /** XEP-0445 §4: that it has not expired was checked before. It is used up durably before the account is made. */
  async #use({
    id,
    name,
    uses,
  }: {
    id: string;
    name: string | null;
    uses: 1 | -1;
  }): Promise<Invite | 'reserved' | null> {
    const { host, store } = this.#parts;
    if (name !== null) {
      const now = wall();
      const others = [...(await store.all(host.domain))].filter(([other]) => other !== id);
      // §5: the server must reserve the name until the token expires
      if (others.some(([, other]) => other.name === name && other.until > now && other.uses > 0)) return 'reserved';
    }
    if (id === '') return null;
    const invite = await store.get(host.domain, id);
    if (invite === undefined || invite.uses < uses || !(await this.#hasInviter(invite))) return null;
    if (uses === 1 && !(await this.#mayStill(invite))) return null;
    if (uses === 1 && name !== null && (!invite.registers || (invite.name ?? name) !== name)) return null;
    await store.set(host.domain, [[id, { ...invite, uses: invite.uses - uses }]]);
    return invite;
  }

  /** Who is no administrator any more makes no others. */
  async #mayStill({ by, role }: Invite): Promise<boolean> {
    return role === undefined || by === undefined || (await this.#parts.host.isAdmin(Jid.parse(by)));
  }

  /** Who has left invites nobody. */
  async #hasInviter({ by }: Invite): Promise<boolean> {
    return by === undefined || this.#parts.host.accounts.exists(by);
  }
}
