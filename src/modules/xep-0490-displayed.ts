/**
 * XEP-0490: Message Displayed Synchronization. How far a conversation was displayed is an item of a node of the account;
 * a client may send it with a message that it sends anyhow, and the server publishes it. The inbox (xep-0430-inbox.ts)
 * counts by it.
 */
import { defineModule, message } from '../server/module/index.js';
import { StanzaError } from '../server/stanza/errors.js';
import type { Jid } from '../server/stanza/jid.js';
import { NS } from '../server/stanza/ns.js';
import type { Element } from '../server/xml/element.js';

/** §4.2, §5.2. */
const asDisplayed = {
  'pubsub#persist_items': true,
  'pubsub#max_items': 'max',
  'pubsub#send_last_published_item': 'never',
  'pubsub#access_model': 'whitelist',
} as const;
/** §7: what we publish is for the account alone. */
const isPrivate = { 'pubsub#persist_items': true, 'pubsub#access_model': 'whitelist' } as const;

export default defineModule({
  name: 'displayed',
  summary: 'Tells all clients of an account what one of them has displayed.',
  implements: { 'XEP-0490': '1.0.1' },
  features: { account: [NS.displayedAssist] },
  needs: ['pep'],

  start: ({ services: { pep } }) => {
    pep.know(NS.displayed, { config: asDisplayed });

    /** Where there is no room for it, or it is too often, the message goes all the same. */
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
        // Not for what is refused, or is for the server.
        { after: ['carbons', 'pubsub'], skips: () => true },
      ),
    ];
  },
});
