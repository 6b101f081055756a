/** What sessions need of the server. */
import type { Logger } from 'pino';
import type { Jid } from '../../address/jid.js';
import type { Config } from '../../config/schema.js';
import type { Queues } from '../../limits/queues.js';
import type { SessionDirectory } from '../../routing/directory.js';
import type { LocalHost } from '../../routing/host.js';
import type { Session } from '../../routing/session.js';
import type { StreamCounts } from '../counts.js';
import type { Resumables } from '../xep-0198-resumables.js';

export interface SessionsParts {
  config(): Config;
  host(domain: string): LocalHost | undefined;
  /** Whether this node is the home of the account. */
  isHere(jid: Jid): boolean;
  readonly directory: SessionDirectory;
  readonly resumables: Resumables;
  readonly counts: StreamCounts;
  readonly log: Logger;
  /** Notified when an anonymous session starts, and when the last one of an address has ended. */
  readonly anonymous: {
    started(jid: Jid, address: string): void;
    ended(jid: Jid, notified: Promise<void> | void): void;
  };
  /** A session has ended. */
  ended(session: Session): void;
  /** A stored state cannot be read: the owner of the record, and the name of the state. */
  damaged(owner: string, state: string): void;
  readonly queues: Queues;
  limitHit(limit: string): void;
}
