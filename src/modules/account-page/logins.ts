/**
 * Who is logged in to the page. Logins are stored, so that they survive a restart and hold at any node of a cluster; they are
 * read and changed at the home of their account. A login ends with the password by which it was made.
 */
import { z } from 'zod';
import type { Jid } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import { defineQuestion, type Host } from '../../server/module/index.js';
import { Serial } from '../../server/serial.js';
import type { MapStore } from '../../storage/contract.js';
import type { Proved } from './cookies.js';

declare module '../../server/module/index.js' {
  interface Services {
    pageLogins: {
      /** Logins to the account page, each with a name of its own; times in ms since 1970. Call it at the home of `owner`. */
      list(owner: Jid): Promise<readonly { readonly id: string; readonly at: number }[]>;
    };
  }
}

/** A login, under the digest of its secret. */
export interface Login {
  /** `Account.epoch` when the password was checked. */
  readonly epoch: string;
  /** Begin and end, in ms since 1970. */
  readonly at: number;
  readonly until: number;
  readonly address: string;
  /** Nonces of forms that were sent, and when the forms were made: the latest ones. */
  readonly used: readonly (readonly [nonce: string, at: number])[];
  /** Forms that were made until then count as sent, in ms since 1970. */
  readonly floor: number;
}

export const loginSchema: z.ZodType<Login> = z.object({
  epoch: z.string(),
  at: z.number(),
  until: z.number(),
  address: z.string(),
  used: z.array(z.tuple([z.string(), z.number()]).readonly()).readonly(),
  floor: z.number(),
});

/** Nonces that a login remembers. */
const mostUsed = 50;
/** Accounts per read of `tidy`. */
const page = 200;

/** `none`: there is no such login. `sent`: there is, but the form was sent before. */
export type Standing = 'in' | 'sent' | 'none';

export const opening = defineQuestion({
  name: 'account_page.open',
  given: z.object({ key: z.string(), epoch: z.string(), address: z.string(), seconds: z.number() }),
  answer: z.boolean(),
});
export const using = defineQuestion<{ readonly key: string; readonly form: Proved | null }, Standing>({
  name: 'account_page.use',
  given: z.object({ key: z.string(), form: z.object({ nonce: z.string(), at: z.number() }).nullable() }),
  answer: z.enum(['in', 'sent', 'none']),
});
export const closing = defineQuestion({
  name: 'account_page.close',
  given: z.object({ key: z.string() }),
  answer: z.null(),
});

export class Logins {
  readonly #host: Host;
  readonly #store: MapStore<Login>;
  readonly #most: () => number;
  readonly #serial = new Serial();

  /** `most`: logins of one account at a time. */
  constructor(host: Host, store: MapStore<Login>, most: () => number) {
    this.#host = host;
    this.#store = store;
    this.#most = most;
  }

  /** Resolves with whether the password is still the one that was checked. The oldest login makes room. */
  open(owner: Jid, { key, epoch, address, seconds }: z.output<typeof opening.given>): Promise<boolean> {
    return this.#serial.run(owner.bare, async () => {
      const { bare } = owner;
      if (!(await this.#isCurrent(owner, epoch))) return false;
      const at = wall();
      const before = [...(await this.#store.all(bare))].sort(([, one], [, other]) => other.at - one.at);
      const ended = before.filter(([, login], place) => login.until <= at || place >= this.#most() - 1);
      await this.#store.delete(
        bare,
        ended.map(([one]) => one),
      );
      await this.#store.set(bare, [[key, { epoch, at, until: at + seconds * 1000, address, used: [], floor: 0 }]]);
      return true;
    });
  }

  /** With a form, marks it as sent before it resolves. */
  async use(owner: Jid, key: string, form: Proved | null): Promise<Standing> {
    const { bare } = owner;
    if (form === null) return (await this.#find(owner, key)) === undefined ? 'none' : 'in';
    return this.#serial.run(bare, async () => {
      const login = await this.#find(owner, key);
      if (login === undefined) return 'none';
      if (form.at <= login.floor || login.used.some(([nonce]) => nonce === form.nonce)) return 'sent';
      const used = [...login.used, [form.nonce, form.at] as const].sort(([, one], [, other]) => other - one);
      const forgotten = used.slice(mostUsed).map(([, at]) => at);
      const floor = Math.max(login.floor, ...forgotten);
      await this.#store.set(bare, [[key, { ...login, used: used.slice(0, mostUsed), floor }]]);
      return 'in';
    });
  }

  /** The logins of an account that have not ended, the newest first. */
  async list(owner: Jid): Promise<(readonly [key: string, login: Login])[]> {
    const now = wall();
    const all = [...(await this.#store.all(owner.bare))].filter(([, { until }]) => until > now);
    const current = await Promise.all(all.map(([, { epoch }]) => this.#isCurrent(owner, epoch)));
    return all.filter((_, at) => current[at]).sort(([, one], [, other]) => other.at - one.at);
  }

  /** Resolves with how many there were. */
  close(owner: Jid, keys: readonly string[]): Promise<number> {
    return this.#serial.run(owner.bare, () => this.#store.delete(owner.bare, keys));
  }

  async #find(owner: Jid, key: string): Promise<Login | undefined> {
    const login = await this.#store.get(owner.bare, key);
    if (login === undefined || login.until <= wall()) return undefined;
    return (await this.#isCurrent(owner, login.epoch)) ? login : undefined;
  }

  #isCurrent(jid: Jid, epoch: string) {
    return this.#host.accounts.isCurrent({ jid, epoch, anonymous: false });
  }

  /** Deletes those that have ended. */
  async tidy(): Promise<void> {
    for (let after: string | undefined; ; ) {
      const owners = await this.#store.owners({ after, limit: page, suffix: `@${this.#host.domain}` });
      for (const owner of owners) {
        const now = wall();
        const ended = [...(await this.#store.all(owner))].filter(([, { until }]) => until <= now);
        if (ended.length > 0)
          await this.#store.delete(
            owner,
            ended.map(([key]) => key),
          );
      }
      if (owners.length < page) return;
      after = owners.at(-1);
    }
  }
}
