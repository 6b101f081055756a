/**
 * XEP-0292: vCard4 Over XMPP. A vCard4 is an item of a pubsub node of the account. It is kept in sync with the older
 * vCard (XEP-0054): changes to one are converted to the other as far as possible, for readers that may read the node.
 */

import type { Jid } from '../../server/address/jid.js';
import { defineModule } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { childrenOf, type Element, el, serialize } from '../../server/xml/element.js';
import { fourFrom, tempFrom } from './mapping.js';

/** §4.1, XEP-0222 §2: public, like the older vCard. */
const asPublic = {
  'pubsub#persist_items': true,
  'pubsub#send_last_published_item': 'never',
  'pubsub#access_model': 'open',
} as const;
/** §5.2, XEP-0223 §2. */
const asContacts = {
  'pubsub#persist_items': true,
  'pubsub#max_items': 'max',
  'pubsub#send_last_published_item': 'never',
  'pubsub#access_model': 'whitelist',
} as const;
const current = 'current';

export default defineModule({
  name: 'vcard4',
  summary: 'Stores vCards of version 4, in sync with those of version 3.',
  implements: { 'XEP-0292': '0.12.0' },
  features: { server: [NS.vcard4], account: [NS.vcard4] },
  needs: ['pep', 'vcard'],

  start: ({ services: { pep, vcard } }) => {
    const cardOf = async (owner: Jid): Promise<{ id: string; card: Element | undefined }> => {
      const last = await pep.last(owner.bare, NS.vcard4Node);
      const isCard = last?.payload.is('vcard', NS.vcard4) === true;
      return { id: last?.id ?? current, card: isCard ? last.payload : undefined };
    };

    pep.know(NS.contactsNode, { config: asContacts });
    pep.know(NS.vcard4Node, {
      config: asPublic,
      around: async (owner, { publish }, proceed) => {
        const before = await vcard.get(owner.bare);
        if (publish !== undefined) {
          if (publish.payload?.is('vcard', NS.vcard4) !== true)
            throw new StanzaError('bad-request', 'The payload must be a vcard element.', {
              extra: [el('invalid-payload', { xmlns: NS.pubsubErrors })],
            });
          vcard.demandFew(publish.payload);
          vcard.demandRoom(tempFrom(before, publish.payload));
        }
        await proceed();
        const after = tempFrom(before, (await cardOf(owner)).card);
        if (before === undefined ? childrenOf(after).length > 0 : serialize(before) !== serialize(after))
          await vcard.set(owner, childrenOf(after).length === 0 ? undefined : after);
      },
    });

    vcard.filter('access', {
      /** The older vCard must not bypass the access model of the node. */
      read: async (card, owner, who) =>
        card === undefined ||
        who.bare === owner.bare ||
        !(await pep.has(owner.bare, NS.vcard4Node)) ||
        (await pep.mayRead(owner.bare, NS.vcard4Node, who))
          ? card
          : undefined,
      write: async (card, owner) => {
        const { id, card: before } = await cardOf(owner);
        const after = fourFrom(before, card);
        if (before === undefined ? childrenOf(after).length === 0 : serialize(before) === serialize(after)) return card;
        pep.demandPace(owner);
        await pep.change(owner, NS.vcard4Node, { publish: new Map([[id, after]]) });
        return card;
      },
    });

    return [];
  },
});
