/** How often one may change something: every change is written to disk, and many are told of most. */
import type { Host } from '../../server/module/index.js';
import { Rates } from '../../server/rates.js';
import { StanzaError } from '../../server/stanza/errors.js';
import type { Jid } from '../../server/stanza/jid.js';
import type { Settings } from './settings.js';

const minute = 60_000;

/** For each request that changes something, by the name of what it asks for. Throws StanzaError where it is too much. */
export function paces(host: Host, settings: Settings): (asked: string, from: Jid) => void {
  const changes = new Rates(settings.changes_per_minute, minute, 50_000);
  const creations = new Rates(settings.creations_per_hour, 60 * minute, 50_000);
  const demand = (rates: Rates, limit: string, from: Jid): void => {
    if (rates.take(host.userOf(from))) return;
    host.limitHit(limit);
    throw new StanzaError('policy-violation', 'Too many changes. Try again later.', { type: 'wait' });
  };
  return (asked, from) => {
    demand(changes, 'pubsub.changes_per_minute', from);
    if (asked === 'create') demand(creations, 'pubsub.creations_per_hour', from);
  };
}
