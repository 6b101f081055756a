/** Messages of strangers that are held until the recipient wants them, or sent back. */
import { wall } from '../../server/clock.js';
import type { Host, Maybe } from '../../server/module/index.js';
import type { MessagePassage, Origin } from '../../server/routing/passage.js';
import { Serial } from '../../server/serial.js';
import { idAt, stanzaId, timeOf } from '../../server/stanza/ids.js';
import { Jid } from '../../server/stanza/jid.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { el } from '../../server/xml/element.js';
import type { LogStore } from '../../storage/contract.js';
import { tooMany, unwanted } from './refusals.js';

/** Which of the messages that are held for an account. */
type Which = { readonly with?: string; readonly to?: string };

const page = 500;

/** Whence a message comes that was held. */
export class Release implements Origin {
  readonly session = undefined;
  readonly acknowledges = true;
  readonly writes: Promise<unknown>[] = [];

  /** `since`: when it came first, in ms since 1970. */
  constructor(readonly since: number) {}

  acknowledgeAfter(durable: Promise<unknown>): void {
    this.writes.push(durable);
  }
}

interface HeldParts {
  readonly host: Host;
  readonly store: LogStore;
  /** Messages that are held for one account, and for how long, in s. */
  readonly most: number;
  readonly seconds: number;
  knows(owner: Jid, who: Jid): Maybe<boolean>;
  /** Nobody waits for it; its failure is logged. */
  aside(work: Promise<unknown>): void;
}

export class Held {
  /** So many were held, and sent back. */
  readonly counts = { held: 0, sentBack: 0 };
  readonly #parts: HeldParts;
  readonly #taking = new Serial();

  constructor(parts: HeldParts) {
    this.#parts = parts;
  }

  /** Rejects with StanzaError where too much is held. */
  async hold({ owner, stanza }: MessagePassage, who: Jid): Promise<'handled'> {
    const { host, store, most, knows } = this.#parts;
    if ((await store.count(owner.bare, {}, most)) >= most) {
      host.limitHit('strangers.held');
      throw tooMany('The recipient does not know you, and too much waits for him.');
    }
    const isFirst = (await store.count(owner.bare, { with: who.bare }, 1)) === 0;
    const entry = { id: stanzaId(owner.bare), with: who.bare, value: stanza.toXml(NS.client) };
    await store.append(owner.bare, entry);
    this.counts.held++;
    if (await knows(owner, who)) this.release(owner, who);
    else if (isFirst) {
      const words = `${who.bare} has written to you and is not among your contacts. Add the address to your contacts, or write to it, to get what it sent; or block it.`;
      const notice = Stanza.build('message', { from: host.jid, to: owner, id: entry.id }, el('body', null, words));
      void host.route(notice);
    }
    return 'handled';
  }

  /** Delivers what was held from an address that the owner knows now. */
  release(owner: Jid, who: Jid): void {
    const again = async (stanza: Stanza, id: string) => {
      const origin = new Release(timeOf(id));
      await this.#parts.host.route(stanza, origin);
      await Promise.all(origin.writes);
    };
    this.#parts.aside(this.#take(owner.bare, { with: who.bare }, again));
  }

  /** All that is held for an account, or what some of them sent. */
  sendBack(owner: string, which: Which = {}): Promise<void> {
    return this.#take(owner, which, (stanza) => {
      this.counts.sentBack++;
      return this.#parts.host.route(stanza.error(unwanted()));
    });
  }

  /** What those sent who are blocked now. */
  async sendBackBlocked(owner: string, isBlocked: (who: Jid) => boolean): Promise<void> {
    const { entries } = await this.#parts.store.page(owner, { limit: this.#parts.most });
    const blocked = new Set(entries.flatMap(({ with: who }) => (who && isBlocked(Jid.parse(who)) ? [who] : [])));
    for (const who of blocked) await this.sendBack(owner, { with: who });
  }

  /** What has been held for too long. */
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

  /** Does something with each message that is held, and takes it out of the store after that: nothing is lost in between. */
  #take(owner: string, which: Which, use: (stanza: Stanza, id: string) => Maybe<void>): Promise<void> {
    const { store, most } = this.#parts;
    // One after the other, so that no message goes two ways.
    return this.#taking.run(owner, async () => {
      const { entries } = await store.page(owner, { ...which, limit: most });
      for (const { id, value } of entries) {
        await use(Stanza.parse(value), id);
        await store.remove(owner, [id]);
      }
    });
  }
}
