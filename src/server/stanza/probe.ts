import { Jid } from '../address/jid.js';
import { Stanza } from './stanza.js';

/** The host of an account. */
interface Prober {
  sessions(owner: string): readonly { readonly available: boolean; readonly jid: Jid }[];
  route(stanza: Stanza): unknown;
}

/** Asks contacts (bare addresses) for their presence (RFC 6121 §4.3), for each available session of an account. */
export async function probe(host: Prober, owner: Jid, contacts: ReadonlySet<string>): Promise<void> {
  for (const { available, jid: from } of host.sessions(owner.bare)) {
    if (!available) continue;
    for (const contact of contacts)
      await host.route(Stanza.build('presence', { type: 'probe', from, to: Jid.parse(contact) }));
  }
}
