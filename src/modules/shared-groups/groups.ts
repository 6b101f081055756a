/**
 * The groups of a host. They live at the home of the host's address, where changes are made one after the other; other nodes
 * ask there. A change is stored, then the members are told their contacts, each at its own home (links.ts), and then it is
 * marked as told: after a crash the members are told again.
 */
import type { Logger } from 'pino';
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { answers, defineQuestion, type Hook, type Host } from '../../server/module/index.js';
import { Serial } from '../../server/serial.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { bareJid } from '../../server/stanza/stored.js';
import type { MapStore } from '../../storage/contract.js';
import { inParallel } from '../../storage/in-parallel.js';
import { probing, telling } from './links.js';
import type { SharedGroup } from './services.js';

export interface StoredGroup {
  readonly name: string;
  readonly members: readonly string[];
  /** It comes from the configuration. */
  readonly configured?: true;
  /** Those that are to be told their contacts. */
  readonly untold?: readonly string[];
  /** It is deleted once its members are told. */
  readonly deleted?: true;
}

export const groupSchema = z.object({
  name: z.string(),
  members: z.array(bareJid),
  configured: z.literal(true).exactOptional(),
  untold: z.array(bareJid).exactOptional(),
  deleted: z.literal(true).exactOptional(),
});

/** As in the configuration. */
export interface WantedGroup {
  readonly name: string;
  readonly members: readonly string[];
}

type Change =
  | { readonly kind: 'create'; readonly id: string; readonly name: string }
  | { readonly kind: 'remove'; readonly id: string }
  | { readonly kind: 'add' | 'drop'; readonly id: string; readonly member: string };

type Outcome = 'done' | 'none' | 'exists' | 'configured' | 'full' | 'many' | 'stranger';

const listing = defineQuestion<null, SharedGroup[]>({
  name: 'shared_groups.listing',
  given: z.null(),
  answer: z.array(
    z.object({ id: z.string(), name: z.string(), members: z.array(z.string()), isConfigured: z.boolean() }),
  ),
});
const changing = defineQuestion<Change, Outcome>({
  name: 'shared_groups.changing',
  given: z.union([
    z.object({ kind: z.literal('create'), id: z.string(), name: z.string() }),
    z.object({ kind: z.literal('remove'), id: z.string() }),
    z.object({ kind: z.enum(['add', 'drop']), id: z.string(), member: bareJid }),
  ]),
  answer: z.enum(['done', 'none', 'exists', 'configured', 'full', 'many', 'stranger']),
});
/** The account is gone: it is in no group any more. */
const leaving = defineQuestion<string, null>({ name: 'shared_groups.leaving', given: bareJid, answer: z.null() });

const refusals: Readonly<Record<Exclude<Outcome, 'done'>, () => StanzaError>> = {
  none: () => new StanzaError('item-not-found', 'There is no such group.'),
  exists: () => new StanzaError('conflict', 'There is a group with this id.'),
  configured: () => new StanzaError('not-allowed', 'The group is in the configuration; change it there.'),
  full: () => new StanzaError('resource-constraint', 'The group has as many members as it may have.'),
  many: () => new StanzaError('resource-constraint', 'There are as many groups as there may be.'),
  stranger: () => new StanzaError('item-not-found', 'There is no such account.'),
};

/** Makes the groups what the configuration says. */
const catchingUp = defineQuestion<null, null>({ name: 'shared_groups.catching_up', given: z.null(), answer: z.null() });

/** Members that are told at the same time. */
const parallel = 8;

export interface GroupsParts {
  readonly host: Host;
  readonly store: MapStore<StoredGroup>;
  readonly config: {
    readonly groups: Readonly<Record<string, WantedGroup>>;
    readonly max_members: number;
    readonly max_groups: number;
  };
  readonly log: Logger;
}

export class Groups {
  readonly #parts: GroupsParts;
  readonly #turns = new Serial();

  constructor(parts: GroupsParts) {
    this.#parts = parts;
  }

  // --- from any node ----------------------------------------------------------------------------------------------

  async list(): Promise<readonly SharedGroup[]> {
    return this.#parts.host.askHome(listing, this.#parts.host.jid, null);
  }

  /** Throws StanzaError, except if the change is that a member leaves who is none: false. */
  async change(change: Change): Promise<boolean> {
    const outcome = await this.#parts.host.askHome(changing, this.#parts.host.jid, change);
    if (outcome === 'done') return true;
    if (outcome === 'stranger' && change.kind === 'drop') return false;
    if (outcome === 'full' || outcome === 'many') this.#parts.host.limitHit('shared_groups');
    throw refusals[outcome]();
  }

  /** Makes the groups what the configuration says, and tells members what they could not be told before. */
  async catchUp(): Promise<void> {
    await this.#parts.host.askHome(catchingUp, this.#parts.host.jid, null);
  }

  async forget(member: Jid): Promise<void> {
    await this.#parts.host.askHome(leaving, this.#parts.host.jid, member.bare);
  }

  // --- at home ----------------------------------------------------------------------------------------------------

  hooks(): Hook[] {
    const { store, host } = this.#parts;
    return [
      answers(listing, async () => {
        const all = [...(await store.all(host.domain))].filter(([, { deleted }]) => !deleted);
        return all
          .map(([id, { name, members, configured = false }]) => ({
            id,
            name,
            members: [...members],
            isConfigured: configured,
          }))
          .sort((a, b) => (a.id < b.id ? -1 : 1));
      }),
      answers(changing, (change) => this.#inTurn(() => this.#change(change))),
      answers(catchingUp, () =>
        this.#inTurn(async () => {
          await this.#catchUp();
          return null;
        }),
      ),
      answers(leaving, (member) =>
        this.#inTurn(async () => {
          for (const [id, group] of await store.all(host.domain)) {
            const rest = group.members.filter((one) => one !== member);
            if (rest.length < group.members.length) await this.#save(id, group, { ...group, members: rest });
          }
          return null;
        }),
      ),
    ];
  }

  async #catchUp(): Promise<void> {
    const { store, host, config } = this.#parts;
    const all = await store.all(host.domain);
    for (const [id, group] of all) {
      const wanted = Object.hasOwn(config.groups, id);
      if (group.deleted) await this.#tell(id, group);
      else if (group.configured && !wanted) await this.#save(id, group, { ...group, members: [], deleted: true });
      else if (group.untold !== undefined) await this.#tell(id, group);
    }
    for (const [id, { name, members }] of Object.entries(config.groups)) {
      const before = all.get(id);
      const exist = await Promise.all(members.map((member) => host.accounts.exists(member)));
      const present = members.filter((_, at) => exist[at]).sort();
      const after: StoredGroup = { name: name === '' ? id : name, members: present, configured: true };
      const isSame = before?.configured && before.name === after.name && before.members.join() === present.join();
      if (!isSame) await this.#save(id, before, after);
    }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    return this.#turns.run(this.#parts.host.domain, work);
  }

  async #change(change: Change): Promise<Outcome> {
    const { host, store, config } = this.#parts;
    const { kind, id } = change;
    const all = await store.all(host.domain);
    const group = all.get(id);
    const isThere = group !== undefined && !group.deleted;
    if (kind === 'create') {
      if (group !== undefined) return 'exists';
      if (all.size >= config.max_groups) return 'many';
      await store.set(host.domain, [[id, { name: change.name, members: [] }]]);
      return 'done';
    }
    if (!isThere) return 'none';
    if (group.configured) return 'configured';
    if (kind === 'remove') {
      await this.#save(id, group, { ...group, members: [], deleted: true });
      return 'done';
    }
    const { member } = change;
    const isMember = group.members.includes(member);
    if (kind === 'drop') {
      if (!isMember) return 'stranger';
      await this.#save(id, group, { ...group, members: group.members.filter((one) => one !== member) });
      return 'done';
    }
    if (isMember) return 'done';
    if (!(await host.accounts.exists(member))) return 'stranger';
    if (group.members.length >= config.max_members) return 'full';
    await this.#save(id, group, { ...group, members: [...group.members, member].sort() });
    return 'done';
  }

  /** Stores a group, and then tells all who are or were members. */
  async #save(id: string, before: StoredGroup | undefined, after: StoredGroup): Promise<void> {
    const { host, store } = this.#parts;
    const concerned = new Set([...(before?.untold ?? []), ...(before?.members ?? []), ...after.members]);
    const stored: StoredGroup = { ...after, untold: [...concerned] };
    await store.set(host.domain, [[id, stored]]);
    await this.#tell(id, stored);
  }

  async #tell(id: string, group: StoredGroup): Promise<void> {
    const { host, store, log } = this.#parts;
    const { name, members, untold = [], deleted } = group;
    const isMember = new Set(members);
    const failed: string[] = [];
    const fresh = new Map<string, string[]>();
    await inParallel(untold, parallel, async (member) => {
      const contacts = isMember.has(member) ? members.filter((one) => one !== member) : [];
      try {
        // The data of who is gone is gone too.
        if (!(await host.accounts.exists(member))) return;
        fresh.set(member, await host.askHome(telling, Jid.parse(member), { group: id, name, contacts }));
      } catch (error) {
        failed.push(member);
        log.warn({ err: error, account: member, group: id }, 'a member of a group did not get its contacts');
      }
    });
    // All have each other by now.
    await inParallel(fresh.keys(), parallel, async (member) => {
      const contacts = fresh.get(member)!;
      if (contacts.length === 0) return;
      await Promise.resolve(host.askHome(probing, Jid.parse(member), contacts)).catch((error: unknown) =>
        log.warn({ err: error, account: member, group: id }, 'a member of a group did not get presence'),
      );
    });
    const { untold: _, ...told } = group;
    if (failed.length > 0) await store.set(host.domain, [[id, { ...group, untold: failed }]]);
    else if (deleted) await store.delete(host.domain, [id]);
    else await store.set(host.domain, [[id, told]]);
  }
}
