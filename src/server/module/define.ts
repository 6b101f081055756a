/**
 * What a feature is: `defineModule()`. The top declares what others need to know (specifications, disco features,
 * configuration, stores, services); `start` returns its hooks. A module reaches only what `start` is given.
 */
import type { Logger } from 'pino';
import type { z } from 'zod';
import type { ModuleDefinition } from './definition.js';
import type { Hook } from './hooks.js';
import type { Host } from './host.js';
import type { Services } from './services.js';
import type { Opened, StoreDeclaration } from './stores.js';

export interface ModuleContext<C, S, N extends keyof Services, W extends keyof Services = never> {
  readonly host: Host;
  readonly config: C;
  readonly stores: S;
  /** Those that it needs, and of those that it wants the ones that there are. */
  readonly services: Pick<Services, N> & { readonly [K in W]: Services[K] | undefined };
  readonly log: Logger;
  /** Makes this module's service known; called once in `start`. */
  provide<K extends keyof Services>(name: K, service: Services[K]): void;
}

/** Declares a module; inference gives `start` the types of its configuration, stores and services. */
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
    ) => readonly Hook[] | Promise<readonly Hook[]>;
  },
): ModuleDefinition {
  return definition as ModuleDefinition;
}
