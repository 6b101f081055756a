/**
 * XEP-0054: vcard-temp. An account's card, kept as its client wrote it, for anybody to read. Other modules may show more
 * of it, or less to some, and take from it what they keep elsewhere.
 */
import { defineModule, demandOwn, document, iq } from '../server/module/index.js';
import { StanzaError } from '../server/stanza/errors.js';
import type { Jid } from '../server/stanza/jid.js';
import { NS } from '../server/stanza/ns.js';
import { elementXml } from '../server/stanza/stored.js';
import { type Element, el, parse, serialize } from '../server/xml/element.js';

/** What a module has to do with cards. */
export interface CardFilter {
  /** What is shown of a card, and to whom; undefined: there is none. */
  read(card: Element | undefined, owner: Jid, who: Jid): Promise<Element | undefined>;
  /** What is kept of a card that the owner has written. Throws StanzaError where that cannot be. */
  write(card: Element, owner: Jid): Promise<Element>;
}

declare module '../server/module/index.js' {
  interface Services {
    vcard: {
      /**
       * Has a say in cards from now on; one module for each. Of what is read, whoever decides on access is asked before
       * whoever puts content into it; of what is written, after.
       */
      filter(say: 'access' | 'content', filter: CardFilter): void;
      /** As it is kept. */
      get(owner: string): Promise<Element | undefined>;
      /** Past all filters; undefined takes it away. Throws StanzaError where it is too large. */
      set(owner: Jid, card: Element | undefined): Promise<void>;
      /** Throws where `set` would. */
      demandRoom(card: Element): void;
      /** Throws StanzaError for a card of either kind that has too many elements to be converted. */
      demandFew(card: Element): void;
    };
  }
  interface Events {
    /** What is kept of an account's card is another. */
    cardChanged: { readonly owner: Jid };
  }
}

/** Of one card. Each is looked at by every rule of the conversion (XEP-0292 §11), in both directions. */
const mostElements = 1000;

const countElements = (element: Element): number =>
  element.getChildElements().reduce((sum, child) => sum + countElements(child), 1);

export default defineModule({
  name: 'vcard',
  summary: "Keeps the accounts' vCards.",
  implements: { 'XEP-0054': '1.3.0' },
  features: { server: [NS.vcardTemp], account: [NS.vcardTemp] },
  stores: { vcards: document<string>({ storedAs: 'vcards', value: elementXml }) },
  provides: ['vcard'],

  start: ({ host, stores: { vcards }, provide }) => {
    const filters: { access?: CardFilter; content?: CardFilter } = {};

    const demandRoom = (card: string): void => {
      const limit = host.config.limits.vcard_bytes;
      if (Buffer.byteLength(card) <= limit) return;
      host.limitHit('vcard_bytes');
      throw new StanzaError('policy-violation', `A vCard has at most ${limit} bytes.`);
    };

    const demandFew = (card: Element): void => {
      if (countElements(card) <= mostElements) return;
      host.limitHit('vcard_elements');
      throw new StanzaError('policy-violation', `A vCard has at most ${mostElements} elements.`);
    };

    const get = async (owner: string): Promise<Element | undefined> => {
      const card = await vcards.get(owner);
      return card === undefined ? undefined : parse(card);
    };

    provide('vcard', {
      filter: (say, filter) => {
        filters[say] = filter;
      },
      get,
      set: async (owner, card) => {
        const text = card && serialize(card);
        if (text !== undefined) demandRoom(text);
        await (text === undefined ? vcards.delete(owner.bare) : vcards.set(owner.bare, text));
        await host.emit('cardChanged', { owner });
      },
      demandRoom: (card) => demandRoom(serialize(card)),
      demandFew,
    });

    return [
      iq.get(
        'account',
        NS.vcardTemp,
        'vCard',
        async ({ to, from, isOwn, isAbsent }) => {
          if (isAbsent) throw new StanzaError('service-unavailable');
          const owner = to.toBare();
          let card = await get(owner.bare);
          for (const filter of [filters.access, filters.content])
            if (filter !== undefined) card = await filter.read(card, owner, from);
          if (card !== undefined) return card;
          // §3.1: an empty card, as some clients show an error for what is no error
          if (isOwn) return el('vCard', { xmlns: NS.vcardTemp });
          // §3.3: to others the same as if the account did not exist
          throw new StanzaError('service-unavailable');
        },
        { access: 'anyone', absent: true },
      ),
      iq.set(
        'account',
        NS.vcardTemp,
        'vCard',
        async (request) => {
          demandOwn(request); // §3.2
          const { to, payload } = request;
          demandFew(payload);
          demandRoom(serialize(payload));
          const owner = to.toBare();
          let card = payload;
          for (const filter of [filters.content, filters.access])
            if (filter !== undefined) card = await filter.write(card, owner);
          await vcards.set(owner.bare, serialize(card));
          await host.emit('cardChanged', { owner });
        },
        { access: 'anyone', absent: true },
      ),
    ];
  },
});
