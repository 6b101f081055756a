/**
 * One notification for a burst of messages: the first message for an app is notified at once, and after a pause, while
 * the app is not awake, one notification stands for all that came meanwhile.
 */
import type { StanzaError } from '../../server/stanza/errors.js';
import type { Summary } from './notification.js';

export interface BurstsParts {
  /** Between two notifications for an app, in ms. */
  pauseMs(): number;
  /** Most apps that may be in a pause. */
  most(): number;
  /** Called for a message that finds no room. */
  isFull(): void;
  /** Whether the app is connected again, or no longer wants notifications. */
  isAwake(owner: string, app: string): Promise<boolean>;
  /** Resolves when it has been tried. */
  notify(owner: string, app: string, summary: Summary): Promise<void>;
  broke(error: unknown): void;
}

interface Burst {
  /** Messages since the last notification. */
  count: number;
  /** Whether there is something to notify of. */
  isNew: boolean;
  last: Last;
  timer: NodeJS.Timeout | undefined;
}

/** Of the last message: what a notification may tell. */
export type Last = Omit<Summary, 'count'>;

/** Failures that are counted: those of most apps. */
const mostFailures = 10_000;

export class Bursts {
  readonly #parts: BurstsParts;
  /** By owner, then app. Bounded by `most`. */
  readonly #bursts = new Map<string, Map<string, Burst>>();
  #size = 0;
  /** Failures in a row, by owner and app. */
  readonly #failures = new Map<string, number>();

  constructor(parts: BurstsParts) {
    this.#parts = parts;
  }

  /** `count`: 1 for a message, 0 for something else. */
  add(owner: string, app: string, last: Last, count: 0 | 1): void {
    const burst = this.#bursts.get(owner)?.get(app);
    if (burst !== undefined) {
      burst.count += count;
      burst.last = { ...last, pending: last.pending ?? (burst.isNew ? burst.last.pending : undefined) };
      burst.isNew = true;
      return;
    }
    if (this.#size >= this.#parts.most()) {
      this.#parts.isFull();
      return;
    }
    const made: Burst = { count, isNew: true, last, timer: undefined };
    const ofOwner = this.#bursts.get(owner);
    if (ofOwner === undefined) this.#bursts.set(owner, new Map([[app, made]]));
    else ofOwner.set(app, made);
    this.#size++;
    void this.#notify(owner, app, made);
  }

  /** Never rejects. */
  async #notify(owner: string, app: string, burst: Burst): Promise<void> {
    const summary = { ...burst.last, count: burst.count };
    burst.count = 0;
    burst.isNew = false;
    try {
      await this.#parts.notify(owner, app, summary);
    } catch (error) {
      this.#parts.broke(error);
    }
    // It may have been forgotten meanwhile.
    if (this.#bursts.get(owner)?.get(app) !== burst) return;
    burst.timer = setTimeout(() => void this.#goOn(owner, app, burst), this.#parts.pauseMs());
    burst.timer.unref();
  }

  /** The pause is over. Never rejects. */
  async #goOn(owner: string, app: string, burst: Burst): Promise<void> {
    let isOver = !burst.isNew;
    try {
      isOver ||= await this.#parts.isAwake(owner, app);
    } catch (error) {
      this.#parts.broke(error);
    }
    if (this.#bursts.get(owner)?.get(app) !== burst) return;
    if (isOver) this.#delete(owner, app);
    else await this.#notify(owner, app, burst);
  }

  /** The app is awake, or gone: what is pending is void. */
  forget(owner: string, app: string): void {
    this.#delete(owner, app);
    this.#failures.delete(nameOf(owner, app));
  }

  forgetAll(concerns: (owner: string) => boolean): void {
    for (const [owner, apps] of this.#bursts)
      if (concerns(owner)) for (const app of [...apps.keys()]) this.forget(owner, app);
  }

  #delete(owner: string, app: string): void {
    const ofOwner = this.#bursts.get(owner);
    const burst = ofOwner?.get(app);
    if (burst === undefined) return;
    clearTimeout(burst.timer);
    ofOwner!.delete(app);
    if (ofOwner!.size === 0) this.#bursts.delete(owner);
    this.#size--;
  }

  // --- failures -------------------------------------------------------------------------------------------------

  succeeded(owner: string, app: string): void {
    this.#failures.delete(nameOf(owner, app));
  }

  /** Returns how many in a row. An error that will pass does not count. */
  failed(owner: string, app: string, error: StanzaError): number {
    if (error.type === 'wait' || error.condition.startsWith('remote-server')) return 0;
    const name = nameOf(owner, app);
    const count = (this.#failures.get(name) ?? 0) + 1;
    this.#failures.delete(name);
    this.#failures.set(name, count);
    if (this.#failures.size > mostFailures) this.#failures.delete(this.#failures.keys().next().value!);
    return count;
  }
}

const nameOf = (owner: string, app: string): string => `${owner} ${app}`;
