/**
 * XEP-0054: vcard-temp. An account's vCard, stored as its client wrote it, for anybody to read. Other modules can add
 * to it, hide parts of it from some readers, and move parts elsewhere when it is written.
 */

import type { Jid } from '../server/address/jid.js';
import { defineModule, demandOwn, document, iq, portable, takeEach } from '../server/module/index.js';
import { StanzaError } from '../server/stanza/errors.js';
import { NS } from '../server/stanza/ns.js';
import { elementXml } from '../server/stanza/stored.js';
import { type Element, el, parse, serialize } from '../server/xml/element.js';

/** A module's filter for reading and writing vCards. */
export interface CardFilter {
  /** The vCard as `who` may see it. Undefined if there is none. */
  read(card: Element | undefined, owner: Jid, who: Jid): Promise<Element | undefined>;
  /** The vCard to store, from what the owner has written. Throws StanzaError to refuse it. */
  write(card: Element, owner: Jid): Promise<Element>;
}

declare module '../server/module/index.js' {
  interface Services {
    vcard: {
      /**
       * Installs a filter; one module for each kind. On reading, the access filter runs before the content filter; on
       * writing, after it.
       */
      filter(say: 'access' | 'content', filter: CardFilter): void;
      /** The stored vCard, unfiltered. */
      get(owner: string): Promise<Element | undefined>;
      /** Stores a vCard, bypassing all filters; undefined deletes it. Throws StanzaError if it is too large. */
      set(owner: Jid, card: Element | undefined): Promise<void>;
      /** Throws StanzaError if `set` would. */
      demandRoom(card: Element): void;
      /** Throws StanzaError if a vCard of either kind has too many elements to be converted. */
      demandFew(card: Element): void;
    };
  }
  interface Events {
    /** The stored vCard of an account has changed. */
    cardChanged: { readonly owner: Jid };
  }
}

/** Maximum elements of a vCard. Each is checked by every rule of the conversion (XEP-0292 §11), in both directions. */
const mostElements = 1000;

const countElements = (element: Element): number =>
  element.getChildElements().reduce((sum, child) => sum + countElements(child), 1);

export default defineModule({
  name: 'vcard',
  summary: 'Stores the vCards of accounts.',
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
      throw new StanzaError('policy-violation', `A vCard can have at most ${limit} bytes.`);
    };

    const demandFew = (card: Element): void => {
      if (countElements(card) <= mostElements) return;
      host.limitHit('vcard_elements');
      throw new StanzaError('policy-violation', `A vCard can have at most ${mostElements} elements.`);
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
      portable({
        takes: [{ ns: NS.vcardTemp, name: 'vCard' }],
        async *export({ bare }) {
          const card = await vcards.get(bare);
          if (card !== undefined) yield card;
        },
        import: async ({ bare }, parts) => ({
          refused: await takeEach(
            parts,
            () => 'the vCard',
            async (card) => {
              const text = serialize(card);
              demandFew(card);
              demandRoom(text);
              await vcards.compareAndSet(bare, undefined, text);
            },
          ),
        }),
      }),
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
          // §3.1: an empty vCard rather than an error, which some clients show to the user
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
