import type { Bound } from '../listeners.js';
import type { ModuleListener } from '../module/index.js';

/** What is told of a server that is ready. */
export interface Started {
  readonly version: string;
  readonly pid: number;
  /** The file that its output goes to; null: it runs in the foreground. */
  readonly background: string | null;
  readonly hosts: readonly string[];
  readonly listening: readonly (Bound | ModuleListener)[];
  /** The account that the first start made. */
  readonly admin: { readonly jid: string; readonly password: string } | null;
  /** What to do next, a sentence each. */
  readonly advice: readonly string[];
}
