/** Of the sessions of an account those that a stanza is for, where the account's home chooses them. */
import type { Services } from '../module/index.js';
import type { Jid } from '../stanza/jid.js';
import type { Audience } from './passage.js';
import type { Session } from './session.js';

/**
 * The full addresses to which a stanza goes; undefined: wherever its address and type say. None: it is dropped.
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
