/** XEP-0227 §4.4, §4.9: the roster and pending requests of an account, exported and imported. */
import type { Jid } from '../../server/address/jid.js';
import { type PartsImported, type Portable, takeEach } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { stanzaFrom } from '../../server/stanza/stored.js';
import { hasFrom } from '../../server/stanza/subscription.js';
import { type Element, serialize } from '../../server/xml/element.js';
import type { MapStore } from '../../storage/contract.js';
import type { RosterItem } from './services.js';

export interface PortableRosterParts {
  readonly store: MapStore<RosterItem>;
  readonly mostItems: () => number;
  readonly mostRequests: number;
  elementOf(contact: string, item: RosterItem): Element;
  /** Parses a roster set. Throws StanzaError. */
  read(query: Element): { contact: Jid; wanted: Pick<RosterItem, 'name' | 'groups'> | undefined };
}

export function portableRoster({ store, mostItems, mostRequests, elementOf, read }: PortableRosterParts): Portable {
  const itemOf = (query: Element, owner: Jid, before: RosterItem | undefined): [string, RosterItem] | undefined => {
    const { contact, wanted } = read(query);
    if (wanted === undefined || (before !== undefined && before.hidden !== true)) return undefined;
    if (contact.bare === owner.bare) throw new StanzaError('not-allowed', 'it is the account itself');
    const { attrs } = query.getChild('item', NS.roster)!;
    const subscription = (['to', 'from', 'both'] as const).find((one) => one === attrs.subscription) ?? 'none';
    const isAsked = attrs.ask === 'subscribe' && (subscription === 'none' || subscription === 'from');
    const isApproved = attrs.approved === 'true' || attrs.approved === '1';
    const pendingIn = hasFrom({ subscription }) ? undefined : before?.pendingIn;
    const item: RosterItem = {
      ...(wanted.name !== undefined && { name: wanted.name }),
      groups: wanted.groups,
      subscription,
      ...(isAsked && { ask: true }),
      ...(isApproved && { approved: true }),
      ...(pendingIn !== undefined && { pendingIn }),
    };
    return [contact.bare, item];
  };

  const requestOf = (presence: Element, owner: Jid): { contact: string; xml: string } => {
    if (presence.attrs.type !== 'subscribe') throw new StanzaError('bad-request', 'it is not a subscription request');
    const stanza = stanzaFrom(presence);
    const from = stanza?.from;
    if (stanza === undefined || from === undefined || from.bare === owner.bare)
      throw new StanzaError('bad-request', 'it has no valid sender');
    return { contact: from.bare, xml: stanza.with({ from: from.toBare(), to: owner }).toXml(NS.client) };
  };

  return {
    takes: [
      { ns: NS.roster, name: 'query', containers: 1 },
      { ns: NS.client, name: 'presence' },
      // Prosody (13) leaves out the namespace.
      { ns: NS.pie, name: 'presence' },
    ],
    async *export({ bare }) {
      const items = [...(await store.all(bare))];
      const visible = items.filter(([, { hidden }]) => hidden !== true);
      if (visible.length > 0) {
        yield `<query xmlns="${NS.roster}">`;
        for (const [contact, item] of visible) yield serialize(elementOf(contact, item), NS.roster);
        yield '</query>';
      }
      for (const [, { pendingIn }] of items) if (pendingIn !== undefined) yield pendingIn;
    },
    async import(owner, parts): Promise<PartsImported> {
      const items = await store.all(owner.bare);
      const changed = new Map<string, RosterItem>();
      const set = (contact: string, item: RosterItem) => {
        items.set(contact, item);
        changed.set(contact, item);
      };
      const count = (isHidden: boolean) =>
        [...items.values()].filter(({ hidden = false }) => hidden === isHidden).length;
      const take = (part: Element): void => {
        if (part.getName() === 'presence') {
          const { contact, xml } = requestOf(part, owner);
          const before = items.get(contact);
          if (before !== undefined && (before.pendingIn !== undefined || hasFrom(before))) return;
          if (before === undefined && count(true) >= mostRequests)
            throw new StanzaError('resource-constraint', 'there are too many requests');
          const none = { subscription: 'none', groups: [], hidden: true } as const;
          set(contact, { ...(before ?? none), pendingIn: xml });
        } else if (part.getChild('item', NS.roster) !== undefined) {
          const contact = read(part).contact.bare;
          const found = itemOf(part, owner, items.get(contact));
          if (found === undefined) return;
          if (count(false) >= mostItems()) throw new StanzaError('resource-constraint', 'the roster is full');
          set(...found);
        }
      };
      const nameOf = (part: Element) => (part.getName() === 'presence' ? 'a subscription request' : 'a roster item');
      const refused = await takeEach(parts, nameOf, take);
      if (changed.size > 0) await store.set(owner.bare, changed);
      return { refused };
    },
  };
}
