/**
 * `defineModule()`: the definition of a feature. It declares specifications, disco features, configuration, stores and
 * services; `start` returns the hooks. A module has access only to the arguments of `start`.
 */

import type { Logger } from 'pino';
import type { z } from 'zod';
import type { Maybe } from '../maybe.js';
import type { ModuleDefinition } from './definition.js';
import type { Hook } from './hooks.js';
import type { Host } from './host.js';
import type { Services } from './services.js';
import type { Opened, StoreDeclaration } from './stores.js';

export interface ModuleContext<C, S, N extends keyof Services, W extends keyof Services = never> {
  readonly host: Host;
  readonly config: C;
  readonly stores: S;
  /** The needed services, and the wanted ones that are provided. */
  readonly services: Pick<Services, N> & { readonly [K in W]: Services[K] | undefined };
  readonly log: Logger;
  /** Publishes a service of this module; call it once in `start`. */
  provide<K extends keyof Services>(name: K, service: Services[K]): void;
}

/** Declares a module. Type inference gives `start` the types of its configuration, stores and services. */
export function defineModule<
  C extends z.ZodObject = z.ZodObject<Record<string, never>>,
  S extends Readonly<Record<string, StoreDeclaration>> = Record<string, never>,
  N extends keyof Services = never,
  W extends keyof Services = never,
>(
  definition: Omit<ModuleDefinition, 'config' | 'stores' | 'needs' | 'wants' | 'start'> & {
    readonly config?: C;
    readonly stores?: S;
    readonly needs?: readonly N[];
    readonly wants?: readonly W[];
    readonly start: (
      context: ModuleContext<z.output<C>, { readonly [K in keyof S]: Opened<S[K]> }, N, W>,
    ) => Maybe<readonly Hook[]>;
  },
): ModuleDefinition {
  return definition as ModuleDefinition;
}
