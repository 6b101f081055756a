import type { Bound } from '../listeners.js';
import type { ModuleListener } from '../module/index.js';

/** Printed when the server is ready. */
export interface Started {
  readonly version: string;
  readonly pid: number;
  /** Its log file; null if it runs in the foreground. */
  readonly background: string | null;
  readonly hosts: readonly string[];
  readonly listening: readonly (Bound | ModuleListener)[];
  /** Addresses of the web client, of the first host first. */
  readonly webClients: readonly string[];
  /** The account created by the first start. */
  readonly admin: { readonly jid: string; readonly password: string; readonly invitation: string | null } | null;
  /** Next steps, a sentence each. */
  readonly advice: readonly string[];
}
