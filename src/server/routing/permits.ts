/** Access control for requests to accounts, servers and services. */

import type { Jid } from '../address/jid.js';
import type { Maybe } from '../maybe.js';
import type { Access, Services } from '../module/index.js';

/** What this needs of the host. */
export interface Permitting {
  readonly domain: string;
  readonly services: Partial<Services>;
  isAdmin(jid: Jid): Maybe<boolean>;
}

/** Whether `from` may send requests to the account, server or service `to`. */
export function permits(host: Permitting, access: Access, from: Jid, to: Jid): Maybe<boolean> {
  switch (access) {
    case 'anyone':
      return true;
    case 'users':
      return from.domain === host.domain && from.local !== undefined;
    case 'owner':
      return from.bare === to.bare;
    case 'contacts':
      return from.bare === to.bare || seesPresence(host, from, to.bare);
    case 'admins':
      return host.isAdmin(from);
  }
}

/** Subscribed to the owner's presence and not blocked. */
function seesPresence({ services }: Permitting, who: Jid, owner: string): Maybe<boolean> {
  const { roster, blocking } = services;
  const isUnblocked = (sees: boolean): Maybe<boolean> => {
    if (!sees) return false;
    const blocked = blocking?.isBlocked(owner, who) ?? false;
    return typeof blocked === 'boolean' ? !blocked : blocked.then((one) => !one);
  };
  const sees = roster?.sees(owner, who) ?? false;
  return typeof sees === 'boolean' ? isUnblocked(sees) : sees.then(isUnblocked);
}
