/** §7: the presence of accounts, and of their contacts, for components. */
import { flat } from '../../server/address/flat.js';
import { Jid } from '../../server/address/jid.js';
import type { Host, Maybe, Services } from '../../server/module/index.js';
import type { Session } from '../../server/routing/session.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { hasFrom, hasTo } from '../../server/stanza/subscription.js';
import { Recent } from '../../storage/recent.js';
import type { Permissions } from './permissions.js';

/** Contacts whose last presence is remembered. */
const mostContacts = 20_000;

export interface PresenceParts {
  readonly host: Host;
  readonly roster: Services['roster'];
  readonly permissions: Permissions;
  failed(error: unknown): void;
}

export class ManagedPresence {
  readonly #parts: PresenceParts;
  /**
   * Last presence of contacts on other hosts, by full address: as text without `to`, or null if they are unavailable.
   * A component that connects later gets it, and the copies to other accounts are not sent again (§8).
   */
  readonly #contacts = new Recent<string | null>(mostContacts);
  /** Counts connections of a component: a new one starts from the beginning. */
  readonly #runs = new Map<string, number>();

  constructor(parts: PresenceParts) {
    this.#parts = parts;
  }

  /** §7.1: an account's own presence. */
  ofSession({ jid }: Session, stanza: Stanza): void {
    for (const [component, { presence }] of this.#parts.permissions.granted())
      if (presence !== 'none') void this.#tellUnlessContact(component, jid.toBare(), stanza);
  }

  /** §7.4: presence of a contact. Presence of a host whose accounts the component manages is sent once, by that host. */
  ofContact(owner: Jid, stanza: Stanza): void {
    const { permissions, roster, host } = this.#parts;
    const { from, type } = stanza;
    if (from === undefined || (type !== undefined && type !== 'unavailable') || from.domain === host.domain) return;
    const entitled = [...permissions.granted()].filter(
      ([component, { presence }]) => presence === 'roster' && component !== from.domain,
    );
    if (entitled.length === 0) return;
    const go = (items: Awaited<ReturnType<typeof roster.get>>) => {
      if (!hasTo(items.get(from.bare))) return;
      const said = stanza.with({ to: undefined, id: undefined });
      const text = type === undefined ? flat(said.toXml()) : null;
      if (this.#contacts.get(from.full) === text) return;
      this.#contacts.set(from.full, text);
      for (const [component] of entitled)
        if (!permissions.seesPresenceOf(component, from.domain)) void this.#tell(component, said);
    };
    const items = roster.get(owner.bare);
    if (items instanceof Promise) items.then(go).catch(this.#parts.failed);
    else go(items);
  }

  /** §8, rule 1: the component gets what it would have got if it had been connected before. */
  async catchUp(component: string): Promise<void> {
    const { host, permissions } = this.#parts;
    const { presence } = permissions.of(component);
    if (presence === 'none') return;
    const run = (this.#runs.get(component) ?? 0) + 1;
    this.#runs.set(component, run);
    const to = Jid.parse(component);
    const isOver = () => this.#runs.get(component) !== run;
    for (const session of [...host.allSessions()]) {
      await host.roomFor(to);
      if (isOver()) return;
      if (session.presence !== undefined) await this.#tell(component, session.presence);
    }
    if (presence !== 'roster') return;
    for (const text of [...this.#contacts.values()]) {
      if (text === null) continue;
      await host.roomFor(to);
      if (isOver()) return;
      const stanza = Stanza.parse(text);
      if (!permissions.seesPresenceOf(component, stanza.from!.domain)) await this.#tell(component, stanza);
    }
  }

  /** The component is not connected. */
  stop(component: string): void {
    const run = this.#runs.get(component);
    if (run !== undefined) this.#runs.set(component, run + 1);
  }

  /** §8, rule 2: a component that is a contact of the account gets its presence already. Never rejects. */
  #tellUnlessContact(component: string, owner: Jid, stanza: Stanza): Maybe<void> {
    const items = this.#parts.roster.get(owner.bare);
    if (items instanceof Promise)
      return items
        .then((all) => (hasFrom(all.get(component)) ? undefined : this.#tell(component, stanza)))
        .catch(this.#parts.failed);
    return hasFrom(items.get(component)) ? undefined : this.#tell(component, stanza);
  }

  /** An account that blocks the component hides its presence from it. Never rejects. */
  #tell(component: string, stanza: Stanza): Maybe<void> {
    const { host } = this.#parts;
    const sent = stanza.with({ to: Jid.parse(component) });
    const admitted = sent.from!.domain === host.domain ? host.admits(sent) : true;
    if (admitted instanceof Promise)
      return admitted.then((yes) => (yes ? host.route(sent) : undefined)).catch(this.#parts.failed);
    return admitted ? host.route(sent) : undefined;
  }
}
