/**
 * XEP-0133 §4.11, §4.12: the block list, and the allow list, which permits only the listed addresses. The router
 * enforces them in both directions, for the host and its services. The host's own accounts and services are always
 * allowed, to prevent a lockout.
 */
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import {
  answers,
  type Command,
  defineQuestion,
  gate,
  type Hook,
  type Host,
  serverGate,
} from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { jid } from '../../server/stanza/stored.js';
import type { DocumentStore } from '../../storage/contract.js';
import { asking } from './asking.js';

/** The lists of the host: full and bare addresses, domains, and resources of domains. */
export interface Policies {
  readonly blocked?: readonly string[];
  readonly allowed?: readonly string[];
}

/** Sent to every node: the lists have changed. */
const changed = defineQuestion({
  name: 'admin.policies',
  given: z.object({ blocked: z.array(jid).readonly(), allowed: z.array(jid).readonly() }),
  answer: z.null(),
});

/** Maximum addresses in one list. */
const longestList = 10_000;

export async function policies(
  host: Host,
  store: DocumentStore<Policies>,
): Promise<{ commands: Command[]; hooks: Hook[] }> {
  const stored = (await store.get(host.domain)) ?? {};
  const lists = { blocked: new Set(stored.blocked), allowed: new Set(stored.allowed) };

  const isOurs = ({ domain }: Jid) =>
    domain === host.domain || host.declared.services().some((service) => service.domain === domain);

  const isClosed = (party: Jid): boolean => {
    const { blocked, allowed } = lists;
    if (blocked.size > 0 && covers(blocked, party)) return true;
    return allowed.size > 0 && !isOurs(party) && !covers(allowed, party);
  };

  const change = async (which: keyof Policies, jids: readonly Jid[]): Promise<void> => {
    if (jids.length > longestList)
      throw new StanzaError('not-acceptable', `A list can have at most ${longestList} addresses.`);
    const names = new Set(jids.map(({ full }) => full));
    const next = {
      blocked: [...(which === 'blocked' ? names : lists.blocked)],
      allowed: [...(which === 'allowed' ? names : lists.allowed)],
    };
    await store.set(host.domain, next);
    await host.askNodes(changed, next);
  };

  const field = (label: string) => ({ type: 'jid-multi', label }) as const;
  const commands = [
    asking({
      node: 'edit-blacklist',
      name: 'Edit the block list',
      instructions: 'Addresses and domains that this server does not communicate with.',
      fields: { blacklistjids: field('The block list') },
      values: () => ({ blacklistjids: parsed(lists.blocked) }),
      run: async ({ blacklistjids = [] }) => {
        for (const jid of blacklistjids) {
          if (isOurs(jid) && jid.local === undefined)
            throw new StanzaError('not-acceptable', `${jid.full} is this server and cannot be blocked.`);
          if (await host.isAdmin(jid))
            throw new StanzaError('not-acceptable', `${jid.bare} is an administrator and cannot be blocked.`);
        }
        await change('blocked', blacklistjids);
      },
    }),
    asking({
      node: 'edit-whitelist',
      name: 'Edit the allow list',
      instructions:
        'Addresses and domains that this server communicates with. Unless the list is empty, all others except its own users are blocked.',
      fields: { whitelistjids: field('The allow list') },
      values: () => ({ whitelistjids: parsed(lists.allowed) }),
      run: ({ whitelistjids = [] }) => change('allowed', whitelistjids),
    }),
  ];
  const hooks = [
    gate(isClosed),
    serverGate((domain) => lists.blocked.has(domain)),
    answers(changed, ({ blocked, allowed }) => {
      lists.blocked = new Set(blocked);
      lists.allowed = new Set(allowed);
      void host.emit('serverListsChanged', {});
      return null;
    }),
  ];
  return { commands, hooks };
}

/** XEP-0016 §2.1: matches the resource, the account, a resource of the domain, or the domain. */
export function covers(list: ReadonlySet<string>, { full, bare, domain, resource }: Jid): boolean {
  if (list.has(full) || list.has(bare) || list.has(domain)) return true;
  return resource !== undefined && list.has(`${domain}/${resource}`);
}

const parsed = (names: ReadonlySet<string>): Jid[] => [...names].map((name) => Jid.parse(name));
