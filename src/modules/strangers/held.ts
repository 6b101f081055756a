/** Messages of unknown senders, held until the recipient accepts the sender, or sent back. */

import { Jid } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import { type Host, type Maybe, repeatedFrame, storedFrom, tagOf } from '../../server/module/index.js';
import type { MessagePassage, Origin } from '../../server/routing/passage.js';
import { Serial } from '../../server/serial.js';
import { idAt, stanzaId, timeOf } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { el } from '../../server/xml/element.js';
import type { LogStore } from '../../storage/contract.js';
import { tooMany, unwanted } from './refusals.js';

/** Selects held messages of an account. */
type Selection = { readonly with?: string; readonly to?: string };

const page = 500;

/** The origin of a held message on release. */
export class Release implements Origin {
  readonly session = undefined;
  readonly acknowledges = true;
  readonly writes: Promise<unknown>[] = [];

  /** `since`: when it was received, in ms since 1970. */
  constructor(readonly since: number) {}

  acknowledgeAfter(durable: Promise<unknown>): void {
    this.writes.push(durable);
  }
}

interface HeldParts {
  readonly host: Host;
  readonly store: LogStore;
  /** Maximum messages held for one account, and how long each is held, in s. */
  readonly most: number;
  readonly seconds: number;
  knows(owner: Jid, who: Jid): Maybe<boolean>;
  /** Runs the work in the background, and logs its failure. */
  inBackground(work: Promise<unknown>): void;
}

export class Held {
  /** Messages held and sent back, for metrics. */
  readonly counts = { held: 0, sentBack: 0 };
  readonly #parts: HeldParts;
  readonly #taking = new Serial();

  constructor(parts: HeldParts) {
    this.#parts = parts;
  }

  /** Rejects with StanzaError if too many messages are held. */
  async hold({ owner, stanza, origin }: MessagePassage, who: Jid): Promise<'handled'> {
    const { host, store, most, knows } = this.#parts;
    const frame = repeatedFrame(origin);
    if (frame !== undefined && (await storedFrom(store, owner.bare, frame, stanza)) !== undefined) return 'handled';
    if ((await store.count(owner.bare, {}, most)) >= most) {
      host.limitHit('strangers.held');
      throw tooMany('The recipient does not know you, and too many messages to them are pending.');
    }
    const isFirst = (await store.count(owner.bare, { with: who.bare }, 1)) === 0;
    const entry = {
      id: stanzaId(owner.bare),
      with: who.bare,
      tag: tagOf(origin),
      value: stanza.toXml(NS.client),
    };
    await store.append(owner.bare, entry);
    this.counts.held++;
    if (await knows(owner, who)) this.release(owner, who);
    else if (isFirst) {
      const words = `${who.bare} has written to you and is not in your contacts. To receive the messages, add the address to your contacts or write to it. To refuse them, block it.`;
      const notice = Stanza.build('message', { from: host.jid, to: owner, id: entry.id }, el('body', null, words));
      void host.route(notice);
    }
    return 'handled';
  }

  /** Delivers the held messages of an address that the owner now knows. */
  release(owner: Jid, who: Jid): void {
    const again = async (stanza: Stanza, id: string) => {
      const origin = new Release(timeOf(id));
      await this.#parts.host.route(stanza, origin);
      await Promise.all(origin.writes);
    };
    this.#parts.inBackground(this.#take(owner.bare, { with: who.bare }, again));
  }

  /** Sends back the held messages of an account, or the selected ones. */
  sendBack(owner: string, which: Selection = {}): Promise<void> {
    return this.#take(owner, which, (stanza) => {
      this.counts.sentBack++;
      return this.#parts.host.route(stanza.error(unwanted()));
    });
  }

  /** Sends back the held messages of blocked senders. */
  async sendBackBlocked(owner: string, isBlocked: (who: Jid) => boolean): Promise<void> {
    const { entries } = await this.#parts.store.page(owner, { limit: this.#parts.most });
    const blocked = new Set(entries.flatMap(({ with: who }) => (who && isBlocked(Jid.parse(who)) ? [who] : [])));
    for (const who of blocked) await this.sendBack(owner, { with: who });
  }

  /** Sends back expired messages. */
  async expire(): Promise<void> {
    const { host, store, seconds } = this.#parts;
    const to = idAt(wall() - seconds * 1000);
    let after: string | undefined;
    for (;;) {
      const owners = await store.owners({ after, limit: page, suffix: `@${host.domain}` });
      for (const owner of owners) await this.sendBack(owner, { to });
      if (owners.length < page) return;
      after = owners.at(-1);
    }
  }

  /** Processes each held message, and removes it from the store only then, so that none is lost. */
  #take(owner: string, which: Selection, use: (stanza: Stanza, id: string) => Maybe<void>): Promise<void> {
    const { store, most } = this.#parts;
    // One run at a time, so that no message is processed twice.
    return this.#taking.run(owner, async () => {
      const { entries } = await store.page(owner, { ...which, limit: most });
      for (const { id, value } of entries) {
        await use(Stanza.parse(value), id);
        await store.remove(owner, [id]);
      }
    });
  }
}
