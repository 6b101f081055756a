/**
 * Contacts whose server is denied while they are shown as available: their server cannot send unavailable presence any
 * more, so that ours does. Once the server is allowed again, they are probed (RFC 6121 §4.3.1).
 */
import { Jid } from '../../server/address/jid.js';
import type { Host, Maybe } from '../../server/module/index.js';
import type { Session } from '../../server/routing/session.js';
import { hasTo } from '../../server/stanza/subscription.js';
import type { RosterItem } from '../rfc-6121-roster/services.js';

export interface DeniedParts {
  readonly host: Host;
  roster(owner: string): Maybe<ReadonlyMap<string, RosterItem>>;
  /** Addresses outside the roster that the session has sent presence to, such as rooms that it is in. */
  directed(session: Session): Iterable<Jid>;
  /** The address cannot be reached any more: the client sees it as unavailable. */
  shut(session: Session, address: Jid): void;
  /** The contact can be reached again. */
  reopened(session: Session, contact: Jid, item: RosterItem): Maybe<void>;
}

/** Sessions that are looked at before others get their turn. */
const atOnce = 100;
const { setImmediate } = globalThis;

export class Denied {
  readonly #parts: DeniedParts;
  /** Domains that were denied at the last look; of contacts of the sessions at that time. */
  #before: ReadonlySet<string> = new Set();
  #isChanged = false;

  constructor(parts: DeniedParts) {
    this.#parts = parts;
  }

  /** The policy may have changed. The next `look` finds out. */
  changed(): void {
    this.#isChanged = true;
  }

  /** Called regularly. Does nothing unless the policy may have changed since. */
  async look(): Promise<void> {
    if (!this.#isChanged) return;
    this.#isChanged = false;
    const { host, roster, directed, shut, reopened } = this.#parts;
    const known = new Map<string, boolean>();
    const isDenied = (domain: string): boolean => {
      let is = known.get(domain);
      if (is === undefined) known.set(domain, (is = !host.isLocal(domain) && host.isDenied(domain)));
      return is;
    };
    const before = this.#before;
    let count = 0;
    for (const session of [...host.allSessions()]) {
      if (++count % atOnce === 0) await new Promise((resolve) => setImmediate(resolve));
      for (const to of [...directed(session)]) if (isDenied(to.domain)) shut(session, to);
      if (!session.available) continue;
      for (const [bare, item] of await roster(session.jid.bare)) {
        const contact = Jid.parse(bare);
        const is = isDenied(contact.domain);
        if (is === before.has(contact.domain) || !hasTo(item) || !session.available) continue;
        if (is) shut(session, contact);
        else await reopened(session, contact, item);
      }
    }
    this.#before = new Set([...known].flatMap(([domain, is]) => (is ? [domain] : [])));
  }
}
