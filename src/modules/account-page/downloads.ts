/** The data of an account as a file (XEP-0227), sent as it is read, so that an archive of any size needs little memory. */
import { Readable } from 'node:stream';
import type { Jid } from '../../server/address/jid.js';
import { Rates } from '../../server/limits/rates.js';
import type { Host, HttpAnswer } from '../../server/module/index.js';
import { HttpError } from '../../server/module/index.js';
import { NS } from '../../server/stanza/ns.js';
import { escapeAttribute } from '../../server/xml/element.js';
import { privately } from './view.js';

/** Of one account in an hour. */
const mostPerHour = 10;
const hourMs = 3_600_000;
/** Characters sent at a time. */
const piece = 65_536;

export class Downloads {
  readonly #host: Host;
  readonly #most: number;
  readonly #running = new Set<string>();
  readonly #rates = new Rates(mostPerHour, hourMs);

  /** `most`: at a time. */
  constructor(host: Host, most: number) {
    this.#host = host;
    this.#most = most;
  }

  /** Undefined if there are too many. */
  async begin(owner: Jid): Promise<HttpAnswer | undefined> {
    const { bare } = owner;
    const account = await this.#host.accounts.get(bare);
    if (account === undefined || this.#running.has(bare)) return undefined;
    if (this.#running.size >= this.#most || !this.#rates.take(bare)) {
      this.#host.limitHit('account_page.exports');
      return undefined;
    }
    this.#running.add(bare);
    const body = Readable.from(this.#pieces(owner, account.epoch));
    body.once('close', () => this.#running.delete(bare));
    return {
      headers: {
        ...privately,
        'content-type': 'application/xml; charset=utf-8',
        'content-disposition': 'attachment; filename="account.xml"',
      },
      body,
    };
  }

  async *#pieces(owner: Jid, epoch: string): AsyncGenerator<string> {
    let waiting = `<?xml version="1.0" encoding="UTF-8"?>\n<server-data xmlns="${NS.pie}">\n<host jid="${escapeAttribute(this.#host.domain)}">\n`;
    for await (const text of this.#host.exportOf(owner)) {
      waiting += text;
      if (waiting.length < piece) continue;
      await this.#demandSame(owner, epoch);
      yield waiting;
      waiting = '';
    }
    await this.#demandSame(owner, epoch);
    yield `${waiting}</host>\n</server-data>\n`;
  }

  /** Without the end of the file, nobody takes what is left of a deleted account for all of it. Throws HttpError. */
  async #demandSame({ bare }: Jid, epoch: string): Promise<void> {
    const account = await this.#host.accounts.get(bare);
    if (account?.epoch !== epoch || account.disabled) throw new HttpError(410, 'The account has changed.');
  }
}
