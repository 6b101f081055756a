/** What an account has by its groups: contacts that it keeps as long as it shares a group with them. */
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { answers, defineQuestion, type Hook, type Host, type Services } from '../../server/module/index.js';
import { Serial } from '../../server/serial.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { probe } from '../../server/stanza/probe.js';
import { bareJid } from '../../server/stanza/stored.js';
import type { MapStore } from '../../storage/contract.js';
import type { RosterItem } from '../rfc-6121-roster/services.js';

/** A contact by groups. */
export interface Link {
  /** The names of the shared groups, by id. */
  readonly groups: Readonly<Record<string, string>>;
  /** The account had no subscription with this contact before. */
  readonly isMade: boolean;
}

export const linkSchema = z.object({ groups: z.record(z.string(), z.string()), isMade: z.boolean() });

/** The link of a contact after a change. Undefined if it was removed. */
type Changed = readonly [contact: string, link: Link | undefined];

/** All contacts of an account by one group; none: it is not a member any more. */
interface Told {
  readonly group: string;
  readonly name: string;
  readonly contacts: readonly string[];
}

/** Asked at the home of the account. Answers the contacts that are new to it. */
export const telling = defineQuestion<Told, string[]>({
  name: 'shared_groups.telling',
  given: z.object({ group: z.string(), name: z.string(), contacts: z.array(bareJid) }),
  answer: z.array(bareJid),
});

/**
 * The account asks for the presence of new contacts (RFC 6121 §4.3), which must have it as a contact already. Asked at the home
 * of the account.
 */
export const probing = defineQuestion<string[], null>({
  name: 'shared_groups.probing',
  given: z.array(bareJid),
  answer: z.null(),
});

export class Links {
  readonly #host: Host;
  readonly #store: MapStore<Link>;
  readonly #roster: Services['roster'];
  readonly #turns = new Serial();

  constructor(host: Host, store: MapStore<Link>, roster: Services['roster']) {
    this.#host = host;
    this.#store = store;
    this.#roster = roster;
  }

  hooks(): Hook[] {
    return [
      answers(telling, (told, owner) => this.#turns.run(owner.bare, () => this.#take(owner, told))),
      answers(probing, async (contacts, owner) => {
        await probe(this.#host, owner, new Set(contacts));
        return null;
      }),
    ];
  }

  async #take(owner: Jid, { group, name, contacts }: Told): Promise<string[]> {
    const [links, items] = await Promise.all([this.#store.all(owner.bare), this.#roster.get(owner.bare)]);
    const wanted = new Set(contacts);
    const changes = [
      ...contacts.map((contact) => this.#added(owner, contact, items.get(contact), links.get(contact), group, name)),
      ...[...links]
        .filter(([contact, link]) => !wanted.has(contact) && Object.hasOwn(link.groups, group))
        .map(([contact, link]) => this.#dropped(owner, contact, items.get(contact), link, group)),
    ];
    const settled = await Promise.allSettled(changes);
    const done = settled.flatMap((one) => (one.status === 'fulfilled' && one.value !== undefined ? [one.value] : []));
    const kept = done.flatMap(([contact, link]) => (link === undefined ? [] : [[contact, link] as const]));
    const gone = done.flatMap(([contact, link]) => (link === undefined ? [contact] : []));
    if (kept.length > 0) await this.#store.set(owner.bare, kept);
    if (gone.length > 0) await this.#store.delete(owner.bare, gone);
    // StanzaError: the contact list is full. Trying again would not help.
    const failed = settled.find((one) => one.status === 'rejected' && !(one.reason instanceof StanzaError));
    if (failed?.status === 'rejected') throw failed.reason;
    return kept.flatMap(([contact, { isMade }]) => (isMade && !links.has(contact) ? [contact] : []));
  }

  /**
   * The contact is added before the link is stored: after a crash in between, it would stay when the group does not, which
   * is better than that it is missing. A contact that the user has removed is not added again.
   */
  async #added(
    owner: Jid,
    contact: string,
    item: RosterItem | undefined,
    link: Link | undefined,
    group: string,
    name: string,
  ): Promise<Changed | undefined> {
    const before = link?.groups[group];
    if (before === name) return undefined;
    const isThere = item !== undefined && item.hidden !== true;
    if (isThere || link === undefined) {
      const { ask: _, pendingIn: __, hidden: ___, ...rest } = item ?? { groups: [] };
      const others = rest.groups.filter((one) => one !== before && one !== name);
      await this.#roster.set(owner, Jid.parse(contact), { ...rest, groups: [...others, name], subscription: 'both' });
    }
    const isMade = link?.isMade ?? (!isThere || item.subscription === 'none');
    return [contact, { groups: { ...link?.groups, [group]: name }, isMade }];
  }

  async #dropped(
    owner: Jid,
    contact: string,
    item: RosterItem | undefined,
    link: Link,
    group: string,
  ): Promise<Changed> {
    const { [group]: name, ...groups } = link.groups;
    const isLast = Object.keys(groups).length === 0;
    if (item !== undefined) {
      const isNamed = Object.values(groups).includes(name!);
      const rest = isNamed ? item.groups : item.groups.filter((one) => one !== name);
      const to = Jid.parse(contact);
      if (isLast && link.isMade) {
        // Not as by the user, who would cancel the subscriptions: the contact loses the account in the same way.
        await this.#roster.set(owner, to, { ...item, groups: rest, subscription: 'none', ask: undefined });
        await this.#roster.set(owner, to, undefined);
      } else await this.#roster.set(owner, to, { ...item, groups: rest });
    }
    return [contact, isLast ? undefined : { ...link, groups }];
  }
}
