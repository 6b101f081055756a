/** Rate limits for changes: each is written to disk, and most cause notifications. */

import type { Jid } from '../../server/address/jid.js';
import { Rates } from '../../server/limits/rates.js';
import type { Host } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import type { Settings } from './settings.js';

const minute = 60_000;

/** Returns a check for each changing request, by the name of its element. It throws StanzaError over the limit. */
export function paces(host: Host, settings: Settings): (request: string, from: Jid) => void {
  const changes = new Rates(settings.changes_per_minute, minute, 50_000);
  const creations = new Rates(settings.creations_per_hour, 60 * minute, 50_000);
  const demand = (rates: Rates, limit: string, from: Jid): void => {
    if (rates.take(host.userOf(from))) return;
    host.limitHit(limit);
    throw new StanzaError('policy-violation', 'Too many changes. Try again later.', { type: 'wait' });
  };
  return (request, from) => {
    demand(changes, 'pubsub.changes_per_minute', from);
    if (request === 'create') demand(creations, 'pubsub.creations_per_hour', from);
  };
}
