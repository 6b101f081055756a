/** What `waxwing check` finds. */
import type { Config } from '../../config/schema.js';
import type { StatusData } from '../running.js';

export interface Finding {
  readonly area: 'configuration' | 'server' | 'certificates' | 'ports' | 'storage' | 'clock' | 'dns' | 'limits';
  /** ok: it was looked at, and is well. note: good to know. error: something does not work, or will not. */
  readonly level: 'ok' | 'note' | 'warning' | 'error';
  readonly what: string;
  /** Why it matters, a sentence. */
  readonly why?: string;
  /** What to do, a sentence. */
  readonly advice?: string;
}

/** What is looked at. */
export interface Subject {
  readonly config: Config;
  /** The running server's answer; undefined: none runs. */
  readonly running: StatusData | undefined;
  /** Whether to take all the time that it takes. */
  readonly full: boolean;
}
