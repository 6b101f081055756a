/** Lets go of what is too old or too much (XEP-0313 §3.2: always the oldest), a few archives at a time. */

import type { Logger } from 'pino';
import { wall } from '../../server/clock.js';
import { idAt } from '../../server/stanza/ids.js';
import type { LogStore } from '../../storage/contract.js';

/** How often something is done, in ms; archives that are looked at then, and messages that go of each. */
export const stepMs = 10_000;
const ownersAStep = 100;
const removedAStep = 500;
/** From the end of one round to the beginning of the next. */
const pauseMs = 6 * 3_600_000;

export interface Keeping {
  /** Of domains: whose archives these are. */
  readonly domains: () => readonly string[];
  /** Messages of one archive. */
  readonly messages: number;
  /** How long, in ms. */
  readonly age: (owner: string) => number | Promise<number>;
  /** Neither can lead to anything: there is nothing to do. */
  readonly isEndless: () => boolean;
}

/** Gives the step that is to be taken every so often. Resolves when it is over; `now` in ms. */
export function retention(store: LogStore, keeping: Keeping, log: Logger): (now?: number) => Promise<void> {
  /** Domains that are still to be gone through in this round, and how far the first has come. */
  let domains: string[] = [];
  let after: string | undefined;
  /** Archives that had more to go than one step takes. */
  const unfinished: string[] = [];
  let removed = 0;
  let notBefore = 0;

  const tidy = async (owner: string, now: number): Promise<void> => {
    const age = await keeping.age(owner);
    const before = age === Number.POSITIVE_INFINITY ? undefined : idAt(now - age);
    if (!(await isDue(owner, before))) return;
    const keep = keeping.messages === Number.POSITIVE_INFINITY ? undefined : keeping.messages;
    const gone = await store.trim(owner, { before, keep, limit: removedAStep });
    removed += gone;
    if (gone === removedAStep) unfinished.push(owner);
  };

  /** A look is cheaper than a commit. */
  const isDue = async (owner: string, before: string | undefined): Promise<boolean> => {
    const [first] = (await store.page(owner, { limit: 1 })).entries;
    if (first === undefined) return false;
    if (before !== undefined && first.id < before) return true;
    const { messages } = keeping;
    return messages !== Number.POSITIVE_INFINITY && (await store.count(owner, {}, messages + 1)) > messages;
  };

  const next = async (): Promise<string[]> => {
    if (unfinished.length > 0) return unfinished.splice(0);
    const [domain] = domains;
    if (domain === undefined) return [];
    const owners = await store.owners({ after, limit: ownersAStep, suffix: `@${domain}` });
    after = owners.at(-1);
    if (owners.length < ownersAStep) {
      domains.shift();
      after = undefined;
    }
    return owners;
  };

  return async (now = wall()) => {
    if (now < notBefore || keeping.isEndless()) return;
    if (domains.length === 0 && unfinished.length === 0) domains = [...keeping.domains()];
    const owners = await next();
    await Promise.all(owners.map((owner) => tidy(owner, now)));
    if (domains.length > 0 || unfinished.length > 0) return;
    notBefore = now + pauseMs;
    if (removed > 0) log.debug({ removed }, 'messages whose time was over were removed from archives');
    removed = 0;
  };
}
