/** A module in the view of the server: its declarations, and the function that starts it. */

import type { z } from 'zod';
import type { Maybe } from '../maybe.js';
import type { SessionState } from '../routing/session-state.js';
import type { CliCommand } from './cli.js';
import type { Hook } from './hooks.js';
import type { Target } from './requests.js';
import type { Services } from './services.js';
import type { StoreDeclaration } from './stores.js';

export interface ModuleDefinition {
  /** Its name in the configuration: `[modules.NAME]`. */
  readonly name: string;
  /** One sentence for the documentation. */
  readonly summary: string;
  /** Specifications with the implemented version. */
  readonly implements: Readonly<Record<string, string>>;
  /** What the module does not implement of the first specification, for docs/xeps.md. */
  readonly notes?: string | undefined;
  /** Disco features (XEP-0030) by target. */
  readonly features?: Partial<Readonly<Record<Target, readonly string[]>>> | undefined;
  readonly config?: z.ZodObject | undefined;
  readonly stores?: Readonly<Record<string, StoreDeclaration>> | undefined;
  /** State that the module adds to sessions. */
  readonly sessionStates?: readonly SessionState[] | undefined;
  readonly needs?: readonly (keyof Services)[] | undefined;
  /** Optional services: undefined if no running module provides them. */
  readonly wants?: readonly (keyof Services)[] | undefined;
  readonly provides?: readonly (keyof Services)[] | undefined;
  /** Runs only with `[modules.NAME] enabled = true`. Other modules run unless disabled. */
  readonly optional?: boolean | undefined;
  /** Commands of the program `waxwing`. */
  readonly cli?: readonly CliCommand[] | undefined;
  readonly start: (context: never) => Maybe<readonly Hook[]>;
}
