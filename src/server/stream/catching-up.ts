/** A resumption (XEP-0198 §5) waits for pending work of the former connection, on streams of clients and of servers. */
import type { Config } from '../config/schema.js';

/** Share of the login deadline that a resumption may wait. */
const pendingShare = 0.5;

/**
 * Whether `work` resolves in time; undefined is done already. Work that never finishes must not lock out the peer.
 * Rejects if the work does.
 */
export function catchesUp(work: Promise<unknown> | undefined, limits: Config['limits']): Promise<boolean> {
  if (work === undefined) return Promise.resolve(true);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(false), limits.login_deadline_seconds * 1000 * pendingShare).unref();
    work.then(() => {
      clearTimeout(timer);
      resolve(true);
    }, reject);
  });
}
