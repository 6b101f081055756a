/**
 * Acknowledgements (XEP-0198 §4) that are due when a session moves to another node: stanzas that its old home has
 * handled, and that another server has not taken yet. The old home tells the new one when it may acknowledge them. If
 * the old home is lost nobody knows, so the session ends, and its client sends them again.
 */
import { z } from 'zod';
import type { Jid } from '../../address/jid.js';
import type { Question } from '../../module/index.js';
import type { Answerer } from '../../routing/hooks.js';
import type { LateCount } from '../xep-0198-record.js';
import type { SessionsParts } from './parts.js';

interface Settled {
  readonly ticket: string;
}
const settled: Question<Settled, null> = {
  name: 'sm.settled',
  given: z.object({ ticket: z.string() }),
  answer: z.null(),
};

/** Ms between attempts to tell the new home, and their number. */
const pause = 1000;
const mostAttempts = 60;

interface Expected {
  readonly node: string;
  readonly settle: () => void;
  readonly lost: () => void;
}

export class LateAcknowledgements {
  /** Answers the old homes. */
  readonly answerer: Answerer;
  readonly #parts: Pick<SessionsParts, 'host' | 'cluster' | 'log'>;
  readonly #expected = new Map<string, Expected>();

  constructor(parts: Pick<SessionsParts, 'host' | 'cluster' | 'log'>) {
    this.#parts = parts;
    const handler = ({ ticket }: Settled): null => {
      this.#expected.get(ticket)?.settle();
      this.#expected.delete(ticket);
      return null;
    };
    this.answerer = { question: settled as never, handler: handler as never };
  }

  /** At the old home: tells the home of the account once `written` has resolved. Never rejects. */
  async tell(owner: Jid, ticket: string, written: Promise<void>): Promise<void> {
    await written;
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#parts.host(owner.domain)?.askHome(settled, owner, { ticket });
        return;
      } catch (error) {
        if (attempt === mostAttempts) {
          this.#parts.log.error(
            { err: error, account: owner.bare },
            'a session that has moved acknowledges nothing more',
          );
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, pause).unref());
      }
    }
  }

  /** At the new home: resolves once the old one has told. `lost` is called if it is gone before. */
  expect({ ticket, node }: LateCount, lost: () => void): Promise<void> {
    return new Promise((settle) => this.#expected.set(ticket, { node, settle, lost }));
  }

  /** The session has moved on: its next home is told. */
  forget(ticket: string): void {
    this.#expected.delete(ticket);
  }

  /** Nodes may have left the cluster. */
  viewed(): void {
    for (const [ticket, { node, lost }] of this.#expected) {
      if (this.#parts.cluster().isMember(node)) continue;
      this.#expected.delete(ticket);
      lost();
    }
  }
}
