/** Pairs of domains for which no stream is opened for a time, because it failed: exponentially longer each time. */
import { Recent } from '../../../storage/recent.js';
import { monotonic } from '../../clock.js';
import type { StanzaError } from '../../stanza/errors.js';
import { isoTime, type Pause } from './inspection.js';
import type { Pair } from './outgoing.js';

/** The first and the longest back-off after a failure, in ms. Up to half of it is jitter. */
const first = 4000;
const longest = 300_000;
/** How many remote domains may have pairs in back-off. Those that are evicted may be connected to again. */
const mostDomains = 10_000;

interface BackOff {
  readonly failures: number;
  /** In ms of the monotonic clock. */
  readonly until: number;
  readonly reason: StanzaError;
}

export class BackOffs {
  /** By remote domain, then by local domain. */
  readonly #all = new Recent<Map<string, BackOff>>(mostDomains);

  /** Why no stream is opened for the pair now. Returns undefined if one may be. */
  reason({ from, to }: Pair): StanzaError | undefined {
    const backOff = this.#all.get(to)?.get(from);
    return backOff !== undefined && monotonic() < backOff.until ? backOff.reason : undefined;
  }

  /** No stream could be opened. */
  failed({ from, to }: Pair, reason: StanzaError): void {
    const same = this.#all.get(to) ?? new Map<string, BackOff>();
    const failures = (same.get(from)?.failures ?? 0) + 1;
    const ms = Math.min(first * 2 ** (failures - 1), longest) * (0.5 + Math.random() / 2);
    same.set(from, { failures, until: monotonic() + ms, reason });
    this.#all.set(to, same);
  }

  /** A stream is open. */
  over({ from, to }: Pair): void {
    const same = this.#all.get(to);
    if (same?.delete(from) === true && same.size === 0) this.#all.delete(to);
  }

  /** An administrator ends those of a remote domain. */
  clear(domain: string): void {
    this.#all.delete(domain);
  }

  /** The server of the domain runs again. The failures still count, in case it cannot be connected to. */
  isBack(domain: string): void {
    const same = this.#all.get(domain);
    for (const [from, backOff] of same ?? []) same!.set(from, { ...backOff, until: 0 });
  }

  /** Those of a remote domain, for administrators. */
  describe(domain: string): Pause[] {
    const now = monotonic();
    return [...(this.#all.get(domain) ?? [])]
      .filter(([, { until }]) => until > now)
      .map(
        ([
          local,
          {
            failures,
            until,
            reason: { condition, text },
          },
        ]) => ({
          local,
          remote: domain,
          failures,
          condition,
          text: text ?? null,
          until: isoTime(until),
        }),
      );
  }
}
