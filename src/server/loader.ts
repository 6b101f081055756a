/** Starts the modules of a host: finds them, orders them by what they need, opens their stores, collects their hooks. */
import { isAbsolute } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Logger } from 'pino';
import type { Storage } from '../storage/contract.js';
import { accountAnswers } from './accounts-elsewhere.js';
import { isEnabled } from './config/load.js';
import type { Config } from './config/schema.js';
import { coreStores } from './core-stores.js';
import type { Hook, ModuleDefinition, Services, StoreDeclaration } from './module/index.js';
import { nearest } from './nearest.js';
import { Hooks } from './routing/hooks.js';
import type { LocalHost } from './routing/host.js';
import { ownStates } from './routing/session.js';
import { checkOf } from './stanza/stored.js';

/** Names of modules, and of their stores. */
const isName = /^[a-z][a-z0-9_]*$/i;

/** What the storage calls a store of a module. */
export const storedName = (module: string, store: string, { storedAs }: StoreDeclaration): string =>
  storedAs ?? `${module}/${store}`;

/** The modules cannot be started as they are. Stops the start. */
export class ModuleError extends Error {
  override readonly name = 'ModuleError';
}

/** Imports the modules that the configuration names: packages, or files by their absolute paths. */
export async function importModules(names: readonly string[]): Promise<ModuleDefinition[]> {
  return Promise.all(
    names.map(async (name) => {
      const imported = (await import(isAbsolute(name) ? pathToFileURL(name).href : name).catch((error: unknown) => {
        throw new ModuleError(`module ${name} cannot be loaded: ${error instanceof Error ? error.message : error}`, {
          cause: error,
        });
      })) as { default?: Partial<ModuleDefinition> };
      const definition = imported.default;
      if (typeof definition?.name !== 'string' || typeof definition.start !== 'function')
        throw new ModuleError(`${name} is no Waxwing module: its default export is not made by defineModule()`);
      const mistake = mistakeIn(definition);
      if (mistake !== undefined) throw new ModuleError(`module ${definition.name} (${name}): ${mistake}`);
      return definition as ModuleDefinition;
    }),
  );
}

/** What is wrong with the head of a module that no compiler has seen; undefined: nothing. */
function mistakeIn(definition: Partial<ModuleDefinition>): string | undefined {
  const { name = '', summary, implements: specifications, config, stores = {}, cli = [] } = definition;
  if (!isName.test(name) || name === 'disabled' || name === 'load') return 'it cannot have this name';
  if (typeof summary !== 'string') return 'summary is no text';
  if (typeof specifications !== 'object' || specifications === null) return 'implements is no object';
  if (config !== undefined && typeof config.safeExtend !== 'function') return 'config is no z.object()';
  const shapes = ['document', 'map', 'log'];
  const odd = Object.entries(stores).find(([, store]) => !shapes.includes(store?.shape));
  if (odd !== undefined) return `the store ${odd[0]} is not made by document(), map() or log()`;
  if (!Array.isArray(cli)) return 'cli is no list';
  return undefined;
}

/** Those that are to run, by the configuration, each behind the ones that provide what it needs or wants. */
export function chooseModules(all: readonly ModuleDefinition[], config: Config): ModuleDefinition[] {
  const byName = new Map<string, ModuleDefinition>();
  for (const definition of all) {
    if (!isName.test(definition.name))
      throw new ModuleError(`a module cannot be named ${JSON.stringify(definition.name)}: letters, digits and _`);
    if (byName.has(definition.name)) throw new ModuleError(`two modules are named ${definition.name}`);
    byName.set(definition.name, definition);
  }
  const stores = new Map<string, string>();
  const states = new Map(ownStates.map(({ name }) => [name, 'the server']));
  const chosen = all.filter(({ name }) => isEnabled(config, name));
  for (const { name, stores: declared = {}, sessionStates = [] } of chosen) {
    for (const [store, declaration] of Object.entries(declared)) {
      if (!isName.test(store))
        throw new ModuleError(`module ${name}: a store cannot be named ${JSON.stringify(store)}`);
      const stored = storedName(name, store, declaration);
      const other = stores.get(stored) ?? (coreStores.includes(stored) ? 'the server' : undefined);
      if (other !== undefined) throw new ModuleError(`module ${name} declares a store ${stored}, which ${other} has`);
      stores.set(stored, `module ${name}`);
    }
    for (const state of sessionStates) {
      const other = states.get(state.name);
      if (other !== undefined)
        throw new ModuleError(`${other} and module ${name} both declare a session state ${state.name}`);
      states.set(state.name, `module ${name}`);
    }
  }
  demandStores(all, config);
  return byNeed(chosen);
}

/** A store that is put on a driver has to be one, of a module that runs or not: else its data lies elsewhere. */
function demandStores(all: readonly ModuleDefinition[], { storage }: Config): void {
  const known = [
    ...coreStores,
    ...all.flatMap(({ name, stores = {} }) =>
      Object.entries(stores).map(([store, made]) => storedName(name, store, made)),
    ),
  ];
  for (const name of Object.keys(storage.stores)) {
    if (known.includes(name)) continue;
    const meant = nearest(name, known);
    const hint = meant === undefined ? 'remove it' : `did you mean ${meant}?`;
    throw new ModuleError(`storage.stores: no module has a store ${name}; ${hint}`);
  }
}

function byNeed(chosen: readonly ModuleDefinition[]): ModuleDefinition[] {
  const providers = new Map<keyof Services, string>();
  for (const { name, provides = [] } of chosen) {
    for (const service of provides) {
      const other = providers.get(service);
      if (other !== undefined) throw new ModuleError(`modules ${other} and ${name} both provide ${service}`);
      providers.set(service, name);
    }
  }
  const sorted: ModuleDefinition[] = [];
  const state = new Map<string, 'visiting' | 'done'>();
  const byName = new Map(chosen.map((definition) => [definition.name, definition]));
  const visit = (definition: ModuleDefinition, path: readonly string[]): void => {
    const { name, needs = [], wants = [] } = definition;
    if (state.get(name) === 'done') return;
    if (state.get(name) === 'visiting')
      throw new ModuleError(`modules need each other in a circle: ${[...path, name].join(' → ')}`);
    state.set(name, 'visiting');
    for (const need of needs) {
      const provider = providers.get(need);
      if (provider === undefined)
        throw new ModuleError(`module ${name} needs ${need}, which no running module provides`);
      visit(byName.get(provider)!, [...path, name]);
    }
    for (const want of wants) {
      const provider = providers.get(want);
      if (provider !== undefined) visit(byName.get(provider)!, [...path, name]);
    }
    state.set(name, 'done');
    sorted.push(definition);
  };
  for (const definition of chosen) visit(definition, []);
  return sorted;
}

async function startModule(definition: ModuleDefinition, context: object, log: Logger): Promise<readonly Hook[]> {
  try {
    const hooks: unknown = await definition.start(context as never);
    if (Array.isArray(hooks)) return hooks;
    throw new TypeError('its start gives no list of hooks');
  } catch (error) {
    if (error instanceof ModuleError) throw error;
    log.error({ err: error, module: definition.name }, 'a module does not start');
    const why = error instanceof Error ? error.message : String(error);
    throw new ModuleError(`module ${definition.name} does not start: ${why}`, { cause: error });
  }
}

/** Starts the modules for a host, in their order, and gives their hooks. */
export async function startModules(
  host: LocalHost,
  definitions: readonly ModuleDefinition[],
  { storage, config, log }: { readonly storage: Storage; readonly config: Config; readonly log: Logger },
): Promise<Hooks> {
  const started: { definition: ModuleDefinition; hooks: readonly Hook[] }[] = [];
  // Modules may ask for what was declared while they start; features are known then, hooks are not.
  host.hooks = new Hooks(
    host.domain,
    definitions.map((definition) => ({ definition, hooks: [] })),
  );
  for (const definition of definitions) {
    const { name, stores = {}, needs = [], wants = [], provides = [] } = definition;
    const settings = (config.modules[name] ?? definition.config?.parse({}) ?? {}) as Readonly<Record<string, unknown>>;
    const opened = Object.fromEntries(
      Object.entries(stores).map(([store, declaration]) => [
        store,
        open(storage, storedName(name, store, declaration), declaration, settings),
      ]),
    );
    const context = {
      host,
      config: settings,
      stores: opened,
      services: Object.fromEntries([...needs, ...wants].map((need) => [need, host.services[need]])),
      log: log.child({ module: name, host: host.domain }),
      provide(service: keyof Services, implementation: never) {
        if (!provides.includes(service))
          throw new ModuleError(`module ${name} provides ${service} without declaring it`);
        host.services[service] = implementation;
      },
    };
    const hooks = await startModule(definition, context, log);
    started.push({ definition, hooks });
    for (const service of provides)
      if (host.services[service] === undefined)
        throw new ModuleError(`module ${name} declares that it provides ${service}, and does not`);
  }
  const hooks = new Hooks(host.domain, started);
  for (const answerer of accountAnswers(host.accounts)) hooks.answer(answerer);
  return hooks;
}

function open(
  storage: Storage,
  name: string,
  { shape, text, option, value, key, damaged }: StoreDeclaration,
  settings: Readonly<Record<string, unknown>>,
): unknown {
  const check = value === undefined ? undefined : checkOf(value, key);
  switch (shape) {
    case 'document':
      return storage.document(name, { check, damaged });
    case 'map':
      return storage.map(name, { check, damaged });
    case 'log':
      return storage.log(name, option !== undefined && settings[option] === false ? { check } : { check, text });
  }
}
