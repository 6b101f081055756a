/** Trims expired and excess messages, always the oldest (XEP-0313 §3.2), a few archives at a time. */

import type { Logger } from 'pino';
import { wall } from '../../server/clock.js';
import type { Maybe } from '../../server/module/index.js';
import { idAt } from '../../server/stanza/ids.js';
import type { LogStore } from '../../storage/contract.js';

/** Time between steps, in ms; archives per step; and messages removed per archive and step. */
export const stepMs = 10_000;
const ownersAStep = 100;
const removedAStep = 500;
/** Pause between rounds, in ms. */
const pauseMs = 6 * 3_600_000;

export interface RetentionPolicy {
  /** The domains whose archives are trimmed. */
  readonly domains: () => readonly string[];
  /** Maximum messages of one archive. */
  readonly messages: number;
  /** Maximum age of a message, in ms. */
  readonly age: (owner: string) => Maybe<number>;
  /** Whether there are no limits at all. */
  readonly isEndless: () => boolean;
}

/** Returns the step to run periodically. It resolves when the step is done; `now` in ms since 1970. */
export function retention(store: LogStore, policy: RetentionPolicy, log: Logger): (now?: number) => Promise<void> {
  /** Domains left in this round, and the last owner visited in the first of them. */
  let domains: string[] = [];
  let after: string | undefined;
  /** Archives with more to remove than one step removes. */
  const unfinished: string[] = [];
  let removed = 0;
  let notBefore = 0;

  const tidy = async (owner: string, now: number): Promise<void> => {
    const age = await policy.age(owner);
    const before = age === Number.POSITIVE_INFINITY ? undefined : idAt(now - age);
    if (!(await isDue(owner, before))) return;
    const keep = policy.messages === Number.POSITIVE_INFINITY ? undefined : policy.messages;
    const gone = await store.trim(owner, { before, keep, limit: removedAStep });
    removed += gone;
    if (gone === removedAStep) unfinished.push(owner);
  };

  /** Reading is cheaper than a commit. */
  const isDue = async (owner: string, before: string | undefined): Promise<boolean> => {
    const [first] = (await store.page(owner, { limit: 1 })).entries;
    if (first === undefined) return false;
    if (before !== undefined && first.id < before) return true;
    const { messages } = policy;
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
    if (now < notBefore || policy.isEndless()) return;
    if (domains.length === 0 && unfinished.length === 0) domains = [...policy.domains()];
    const owners = await next();
    await Promise.all(owners.map((owner) => tidy(owner, now)));
    if (domains.length > 0 || unfinished.length > 0) return;
    notBefore = now + pauseMs;
    if (removed > 0) log.debug({ removed }, 'expired messages were removed from archives');
    removed = 0;
  };
}
