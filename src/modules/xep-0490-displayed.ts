/**
 * XEP-0490: Message Displayed Synchronization. How far a conversation was displayed is an item of a pubsub node of the
 * account. Clients can attach it to a message, and the server publishes it. The inbox (xep-0430-inbox.ts) uses it to
 * count unread messages.
 */

import type { Jid } from '../server/address/jid.js';
import { defineModule, message } from '../server/module/index.js';
import { StanzaError } from '../server/stanza/errors.js';
import { NS } from '../server/stanza/ns.js';
import type { Element } from '../server/xml/element.js';

/** §4.2, §5.2. */
const asDisplayed = {
  'pubsub#persist_items': true,
  'pubsub#max_items': 'max',
  'pubsub#send_last_published_item': 'never',
  'pubsub#access_model': 'whitelist',
} as const;
/** §7: published items are visible to the account alone. */
const isPrivate = { 'pubsub#persist_items': true, 'pubsub#access_model': 'whitelist' } as const;

export default defineModule({
  name: 'displayed',
  summary: 'Tells all clients of an account which messages one of them has displayed.',
  implements: { 'XEP-0490': '1.0.1' },
  features: { account: [NS.displayedAssist] },
  needs: ['pep'],

  start: ({ services: { pep } }) => {
    pep.know(NS.displayed, { config: asDisplayed });

    /** Without room, or above the rate limit, the item is dropped and the message still sent. */
    const publish = async (owner: Jid, id: string, displayed: Element): Promise<void> => {
      try {
        pep.demandPace(owner);
        await pep.change(owner, NS.displayed, { publish: new Map([[id, displayed]]) }, { demand: isPrivate });
      } catch (error) {
        if (!(error instanceof StanzaError)) throw error;
      }
    };

    return [
      // §5.2: before it is archived or copied
      message(
        'clean',
        (passage) => {
          const { way, owner, stanza } = passage;
          const displayed = way === 'out' ? stanza.child(NS.displayed, 'displayed') : undefined;
          if (displayed === undefined) return;
          passage.stanza = stanza.without(NS.displayed, 'displayed');
          const isState = displayed.getChildren('stanza-id', NS.stanzaId).length === 1;
          if (stanza.to === undefined || stanza.type === 'error' || !isState) return;
          passage.acknowledgeAfter(publish(owner, stanza.to.full, displayed));
        },
        // Not for refused messages, nor for those to the server.
        { after: ['carbons', 'pubsub'], skips: () => true },
      ),
    ];
  },
});
