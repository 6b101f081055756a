/** Chooses, at the home of an account, which of its sessions get a stanza. */

import type { Jid } from '../address/jid.js';
import type { Services } from '../module/index.js';
import type { Audience } from './passage.js';
import type { Session } from './session.js';

/**
 * The full addresses that get the stanza; empty if it is dropped. Returns undefined if its address and type decide.
 * `to`: the account, or one session of it.
 */
export function chosen(
  audience: Audience,
  to: Jid,
  sessions: readonly Session[],
  caps: Services['clientCaps'] | undefined,
): readonly Jid[] | undefined {
  if (audience.kind === 'present') return sessions.length === 0 ? [] : undefined;
  const { kind, feature, except } = audience;
  const willing: Jid[] = [];
  for (const session of sessions) {
    const { jid } = session;
    const isMeant = to.resource === undefined || to.resource === jid.resource;
    if (!isMeant || session.presence === undefined || except.includes(jid.full)) continue;
    if (caps?.features(session).has(feature) === true) willing.push(jid);
  }
  if (kind === 'willing') return willing;
  return willing.length === 0 ? undefined : [];
}
