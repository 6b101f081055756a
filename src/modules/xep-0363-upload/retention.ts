/** Deletes expired files, and contents that are no file, a few at a time. */
import type { Logger } from 'pino';
import { Jid } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import type { Maybe } from '../../server/module/index.js';
import { expiryOf, type FileStores, filesOf, recordOf } from './stored.js';

/** Time between steps, in ms. */
export const stepMs = 10_000;
const ownersAStep = 100;
const contentsAStep = 200;
/** Pauses between rounds, in ms. */
const expiryPauseMs = 3_600_000;
const contentsPauseMs = 86_400_000;
/** A content that is no file may still become one; after this time, in ms, nothing would make it one. */
const orphanMs = 86_400_000;

export interface ExpiryParts {
  readonly stores: FileStores;
  readonly domain: string;
  /** In ms. */
  readonly retention: number;
  /** Deletes the expired files of an account at its home. Returns how many there were. */
  deleteExpired(owner: Jid): Maybe<number>;
  readonly log: Logger;
}

/** Returns the step that deletes expired files. `now` in milliseconds since 1970. */
export function expiry({ stores: { files }, domain, retention, deleteExpired, log }: ExpiryParts) {
  let after: string | undefined;
  let deleted = 0;
  let notBefore = 0;

  const hasExpired = async (owner: string, now: number): Promise<boolean> => {
    for await (const entries of filesOf(files, owner))
      if (entries.some(([, file]) => expiryOf(file, retention) <= now)) return true;
    return false;
  };

  return async (now = wall()): Promise<void> => {
    if (now < notBefore) return;
    const owners = await files.owners({ after, limit: ownersAStep, suffix: `@${domain}` });
    after = owners.at(-1);
    for (const owner of owners) if (await hasExpired(owner, now)) deleted += await deleteExpired(Jid.parse(owner));
    if (owners.length === ownersAStep) return;
    after = undefined;
    notBefore = now + expiryPauseMs;
    if (deleted > 0) log.debug({ deleted }, 'expired files were deleted');
    deleted = 0;
  };
}

/**
 * Returns the step that deletes what crashes left: contents that are no file of any host, and unfinished ones. Contents
 * older than `since` stay: they belong to another database that may still be needed.
 */
export function orphans({ owners, files, contents }: FileStores, since: number, log: Logger) {
  let after: string | undefined;
  let deleted = 0;
  let notBefore = 0;

  return async (now = wall()): Promise<void> => {
    if (now < notBefore) return;
    const found = await contents.list({ after, limit: contentsAStep });
    after = found.at(-1)?.key;
    for (const { key, at } of found) {
      if (at < since || at > now - orphanMs) continue;
      const owner = (await owners.get(key))?.owner;
      if (owner !== undefined && (await recordOf(files, owner, key)) !== undefined) continue;
      if (owner !== undefined) await owners.delete(key);
      deleted += await contents.delete([key]);
    }
    if (after !== undefined) return;
    deleted += await contents.tidy(now - orphanMs, contentsAStep);
    notBefore = now + contentsPauseMs;
    if (deleted > 0) log.info({ deleted }, 'contents that belong to no file were deleted');
    deleted = 0;
  };
}
