/**
 * XEP-0359: Unique and Stable Stanza IDs. What claims to be an id of our account is taken off every message, archived or
 * not, so that the ids which the archive gives (xep-0313) can be believed. Ids by others and origin ids pass.
 */
import { defineModule, message } from '../server/module/index.js';
import { NS } from '../server/stanza/ns.js';
import type { Stanza } from '../server/stanza/stanza.js';
import { withoutIdsBy } from '../server/stanza/stanza-id.js';

export default defineModule({
  name: 'stanza_id',
  summary: 'Takes forged archive ids off messages.',
  implements: { 'XEP-0359': '0.7.0' },
  features: { account: [NS.stanzaId] },
  start: () => [
    message(
      'clean',
      (passage) => {
        passage.stanza = withoutIdsBy(passage.stanza, passage.owner);
      },
      { skips: isUnsuspected },
    ),
  ],
});

/** Whether nobody but the sender itself is said to have given ids. */
function isUnsuspected(stanza: Stanza): boolean {
  const others = stanza.without(NS.stanzaId, 'stanza-id', ({ by }) => by !== stanza.from?.bare);
  return others === stanza;
}
