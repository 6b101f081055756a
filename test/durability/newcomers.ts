/** Accounts that are created and deleted, and one that changes its password: confirmed changes survive any fault. */
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { NS } from '../../src/server/stanza/ns.js';
import { Client } from './client.js';
import type { Random } from './random.js';

/** The account that changes its password; it has to be there, with this password. */
export const changeling = { address: 'pia@localhost/one', password: 'pencil' };

/** unknown: it was asked for and not answered. */
type State = 'there' | 'gone' | 'unknown';

export class Newcomers {
  readonly #random: Random;
  readonly #port: () => number;
  readonly #states = new Map<string, State>();
  #pia: Client;
  /** Passwords of the account that changes: the last confirmed one, and those requested since. */
  #passwords: string[] = [changeling.password];
  /** One that is no longer valid. */
  #former: string | undefined;
  #count = 0;

  constructor(random: Random, port: () => number) {
    this.#random = random;
    this.#port = port;
    this.#pia = new Client({ ...changeling, port });
  }

  async work(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      // A server that goes leaves a question open: that is what `unknown` is for.
      await (this.#random.chance(0.5) ? this.#change() : this.#come()).catch(() => {});
      await pause(this.#random.between(5, 40));
    }
  }

  async #come(): Promise<void> {
    const there = [...this.#states].filter(([, state]) => state === 'there').map(([name]) => name);
    if (there.length > 3 && this.#random.chance(0.4)) return this.#go(this.#random.pick(there));
    const name = `new-${++this.#count}`;
    this.#states.set(name, 'unknown');
    const fields = `<username>${name}</username><password>${secretOf(name)}</password>`;
    const answer = await this.#client(name).asStranger(`<query xmlns='${NS.register}'>${fields}</query>`);
    assert.equal(answer.attrs.type, 'result', answer.content);
    this.#states.set(name, 'there');
  }

  async #go(name: string): Promise<void> {
    const client = this.#client(name);
    await client.connect();
    this.#states.set(name, 'unknown');
    await client.requestNow('set', `<query xmlns='${NS.register}'><remove/></query>`);
    this.#states.set(name, 'gone');
    client.cut();
  }

  async #change(): Promise<void> {
    if (!this.#pia.online) await this.#logIn();
    const next = `pencil-${++this.#count}`;
    this.#passwords.push(next);
    const fields = `<username>pia</username><password>${next}</password>`;
    await this.#pia.requestNow('set', `<query xmlns='${NS.register}'>${fields}</query>`);
    this.#former = this.#passwords[0];
    this.#passwords = [next];
  }

  /** By the one that holds: the last that was confirmed, or one that was asked for since. */
  async #logIn(): Promise<void> {
    // A new client: unsent stanzas of the previous one are not sent again.
    this.#pia.forget();
    this.#pia = new Client({ ...changeling, port: this.#port });
    for (const password of this.#passwords.toReversed())
      if (await this.#pia.tries(password)) {
        if (password !== this.#passwords[0]) this.#former = this.#passwords[0];
        this.#passwords = [password];
        return this.#pia.connect(password);
      }
    throw new Error('no password of the account holds');
  }

  #client(name: string): Client {
    return new Client({ address: `${name}@localhost/one`, password: secretOf(name), port: this.#port });
  }

  /** Throws if a confirmed change is missing. */
  async compare(): Promise<void> {
    await this.#logIn();
    if (this.#former !== undefined)
      assert.ok(!(await this.#client('pia').tries(this.#former)), 'a password holds that was changed');
    for (const [name, state] of this.#states) {
      const holds = await this.#client(name).tries(secretOf(name));
      if (state === 'there') assert.ok(holds, `the account ${name} was confirmed and is not there`);
      if (state === 'gone') assert.ok(!holds, `the account ${name} is there, and its removal was confirmed`);
      if (holds) this.#states.set(name, 'there');
      else this.#states.delete(name);
    }
  }
}

const secretOf = (name: string): string => `secret of ${name}`;
