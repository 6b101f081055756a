/**
 * XEP-0359: Unique and Stable Stanza IDs. Removes forged ids of the account from every message, archived or not, so
 * that clients can trust the ids that the archive (xep-0313-mam) adds. Ids by others and origin ids are unchanged.
 */
import { defineModule, message } from '../server/module/index.js';
import { NS } from '../server/stanza/ns.js';
import type { Stanza } from '../server/stanza/stanza.js';
import { withoutIdsBy } from '../server/stanza/stanza-id.js';

export default defineModule({
  name: 'stanza_id',
  summary: 'Removes forged archive ids from messages.',
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

/** Whether the message has no ids, or only ids by its sender. */
function isUnsuspected(stanza: Stanza): boolean {
  const others = stanza.without(NS.stanzaId, 'stanza-id', ({ by }) => by !== stanza.from?.bare);
  return others === stanza;
}
