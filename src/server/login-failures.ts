/**
 * Wrong passwords, counted for the whole cluster. What concerns an account is counted at its home, where its clients log
 * in. An address fails at accounts of many homes, so all nodes learn of each failure that counts against it.
 */
import type { Logger } from 'pino';
import { z } from 'zod';
import { monotonic } from './clock.js';
import type { Config } from './config/schema.js';
import { defineQuestion } from './module/index.js';
import type { Answerer } from './routing/hooks.js';
import type { LocalHost } from './routing/host.js';
import { randomId } from './stanza/ids.js';
import { Throttle, throttleLimits } from './stream/sasl/throttle.js';

/** Addresses whose failures wait to be sent, at most; those of further addresses count at this node alone. */
const mostWaiting = 1000;

const addressesFailed = defineQuestion({
  name: 'logins.failed',
  /** Failures by address, as they are counted. `by`: the process that sends it, which has counted them. */
  given: z.object({ by: z.string(), failures: z.record(z.string(), z.int().min(1)) }),
  answer: z.null(),
});

export interface LoginFailuresParts {
  readonly config: () => Config;
  readonly hosts: ReadonlyMap<string, Pick<LocalHost, 'askNodes'>>;
  readonly log: Logger;
  limitHit(limit: string): void;
}

export class LoginFailures {
  readonly throttle: Throttle;
  /** Answers the other nodes. */
  readonly answerer: Answerer;
  readonly #parts: LoginFailuresParts;
  readonly #self = randomId();
  #waiting = new Map<string, number>();
  #isSending = false;

  constructor(parts: LoginFailuresParts) {
    this.#parts = parts;
    this.throttle = new Throttle({
      limits: () => throttleLimits(parts.config().auth),
      now: monotonic,
      addressFailed: (block) => this.#tell(block),
    });
    const handler = ({ by, failures }: z.output<typeof addressesFailed.given>): null => {
      if (by !== this.#self)
        for (const [block, times] of Object.entries(failures)) this.throttle.addressFailedElsewhere(block, times);
      return null;
    };
    this.answerer = { question: addressesFailed as never, handler: handler as never };
  }

  #tell(block: string): void {
    if (!this.#waiting.has(block) && this.#waiting.size >= mostWaiting) {
      this.#parts.limitHit('failures_per_address.cluster');
      return;
    }
    this.#waiting.set(block, (this.#waiting.get(block) ?? 0) + 1);
    if (!this.#isSending) void this.#send();
  }

  /** One question at a time: meanwhile failures add up. Never rejects. */
  async #send(): Promise<void> {
    const [host] = this.#parts.hosts.values();
    this.#isSending = true;
    while (this.#waiting.size > 0) {
      const failures = Object.fromEntries(this.#waiting);
      this.#waiting.clear();
      try {
        await host!.askNodes(addressesFailed, { by: this.#self, failures });
      } catch (error) {
        // A node that is gone has nothing to count; one that is overloaded counts its own.
        this.#parts.log.debug({ err: error }, 'a node does not know about failed logins');
      }
    }
    this.#isSending = false;
  }
}
