/** XEP-0054: vcard-temp. An account's card, kept as its client wrote it, for anybody to read. */
import { defineModule, document, iq } from '../server/module.js';
import { StanzaError } from '../server/stanza/errors.js';
import { NS } from '../server/stanza/ns.js';
import { parse, serialize } from '../server/xml/element.js';

export default defineModule({
  name: 'vcard',
  summary: "Keeps the accounts' vCards.",
  implements: { 'XEP-0054': '1.3.0' },
  features: { server: [NS.vcardTemp], account: [NS.vcardTemp] },
  stores: { vcards: document<string>() },

  start: ({ host, stores: { vcards } }) => [
    iq.get(
      'account',
      NS.vcardTemp,
      'vCard',
      async ({ to, isOwn }) => {
        const card = await vcards.get(to.bare);
        if (card !== undefined) return parse(card);
        // §3.1; §3.3: to others the same as if the account did not exist
        throw new StanzaError(isOwn ? 'item-not-found' : 'service-unavailable');
      },
      { access: 'anyone', absent: true },
    ),
    iq.set(
      'account',
      NS.vcardTemp,
      'vCard',
      async ({ to, isOwn, payload }) => {
        if (!isOwn) throw new StanzaError('forbidden'); // §3.2
        const card = serialize(payload);
        const limit = host.config.limits.vcard_bytes;
        if (Buffer.byteLength(card) > limit) {
          host.limitHit('vcard_bytes');
          throw new StanzaError('policy-violation', `A vCard has at most ${limit} bytes.`);
        }
        await vcards.set(to.bare, card);
      },
      { access: 'anyone', absent: true },
    ),
  ],
});
