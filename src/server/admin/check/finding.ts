/** Findings of `waxwing check`. */
import type { Config } from '../../config/schema.js';
import type { StatusData } from '../running.js';

export interface Finding {
  readonly area:
    | 'configuration'
    | 'server'
    | 'certificates'
    | 'ports'
    | 'storage'
    | 'clock'
    | 'dns'
    | 'federation'
    | 'web'
    | 'limits';
  /** ok: checked, no problem. note: information. error: something does not work, or soon will not. */
  readonly level: 'ok' | 'note' | 'warning' | 'error';
  readonly what: string;
  /** Why it matters, a sentence. */
  readonly why?: string;
  /** What to do, a sentence. */
  readonly advice?: string;
}

/** What is checked. */
export interface Subject {
  readonly config: Config;
  /** Status of the running server; undefined if none runs. */
  readonly running: StatusData | undefined;
  /** Whether to include slow checks. */
  readonly full: boolean;
}

/** The only finding about an engine of the storage that cannot be used. */
export const unusable = (error: unknown, why: string, advice: string): Finding[] => [
  { area: 'storage', level: 'error', what: (error as Error).message, why, advice },
];
