/**
 * Starts the modules of a host: loads them, orders them by their dependencies, opens their stores, collects their
 * hooks.
 */
import { isAbsolute } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { BlobStorage } from '../storage/blobs.js';
import type { Shape, Storage } from '../storage/contract.js';
import { lastLogin } from './accounts/stored.js';
import { accountAnswers } from './accounts-elsewhere.js';
import { isEnabled } from './config/load.js';
import type { Config } from './config/schema.js';
import { coreStores, lossyCoreStores } from './core-stores.js';
import type { Hook, ModuleDefinition, ModuleListener, Services, StoreDeclaration } from './module/index.js';
import { nearest } from './nearest.js';
import { type PortableStore, portableRecords } from './portable/records.js';
import { storedQuota } from './quotas.js';
import { Hooks } from './routing/hooks.js';
import type { LocalHost } from './routing/host.js';
import { ownStates } from './routing/session.js';
import { checkOf } from './stanza/stored.js';

/** Valid names of modules and their stores. */
const isName = /^[a-z][a-z0-9_]*$/i;

/** The name of a module's store in the storage. */
export const storedName = (module: string, store: string, { storedAs }: StoreDeclaration): string =>
  storedAs ?? `${module}/${store}`;

/** The modules cannot be started as configured. Stops the start. */
export class ModuleError extends Error {
  override readonly name = 'ModuleError';
}

/** The open ports of modules; hosts may share a listener. */
export function distinctListeners(all: readonly (() => readonly ModuleListener[])[]): readonly ModuleListener[] {
  const bound = all.flatMap((read) => read());
  return [...new Map(bound.map((one) => [`${one.address} ${one.port}`, one])).values()];
}

/** Imports the modules named in the configuration: packages, or files by absolute path. Rejects with ModuleError. */
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
        throw new ModuleError(`${name} is not a Waxwing module: its default export must be made by defineModule()`);
      const mistake = mistakeIn(definition);
      if (mistake !== undefined) throw new ModuleError(`module ${definition.name} (${name}): ${mistake}`);
      return definition as ModuleDefinition;
    }),
  );
}

/** The first mistake in the definition of a module that no compiler has checked. Returns undefined if there is none. */
function mistakeIn(definition: Partial<ModuleDefinition>): string | undefined {
  const { name = '', summary, implements: specifications, config, stores = {}, cli = [] } = definition;
  if (!isName.test(name) || name === 'disabled' || name === 'load') return 'this name is not allowed';
  if (typeof summary !== 'string') return 'summary must be a string';
  if (typeof specifications !== 'object' || specifications === null) return 'implements must be an object';
  if (config !== undefined && typeof config.safeExtend !== 'function') return 'config must be a z.object()';
  const shapes = ['document', 'map', 'log', 'blobs'];
  const odd = Object.entries(stores).find(([, store]) => !shapes.includes(store?.shape));
  if (odd !== undefined) return `the store ${odd[0]} must be made by document(), map(), log() or blobs()`;
  if (!Array.isArray(cli)) return 'cli must be an array';
  return undefined;
}

/** The enabled modules, each after the ones that provide what it needs or wants. */
export function chooseModules(all: readonly ModuleDefinition[], config: Config): ModuleDefinition[] {
  const byName = new Map<string, ModuleDefinition>();
  for (const definition of all) {
    if (!isName.test(definition.name))
      throw new ModuleError(`invalid module name ${JSON.stringify(definition.name)}: use letters, digits and _`);
    if (byName.has(definition.name)) throw new ModuleError(`two modules are named ${definition.name}`);
    byName.set(definition.name, definition);
  }
  const stores = new Map<string, string>();
  const states = new Map(ownStates.map(({ name }) => [name, 'the server']));
  const chosen = all.filter(({ name }) => isEnabled(config, name));
  for (const { name, stores: declared = {}, sessionStates = [] } of chosen) {
    for (const [store, declaration] of Object.entries(declared)) {
      if (!isName.test(store))
        throw new ModuleError(`module ${name}: invalid store name ${JSON.stringify(store)}: use letters, digits and _`);
      const stored = storedName(name, store, declaration);
      const other = stores.get(stored) ?? (coreStores.includes(stored) ? 'the server' : undefined);
      if (other !== undefined)
        throw new ModuleError(`module ${name} declares a store ${stored}, which ${other} already has`);
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

/** The stores that may be lost, and so may be on Redis, by their names in the storage. */
export function lossyStores(all: readonly ModuleDefinition[]): Map<string, { readonly seconds?: number }> {
  const ofModules = all.flatMap(({ name, stores = {} }) =>
    Object.entries(stores).flatMap(([store, made]) =>
      made.mayBeLost === undefined ? [] : [[storedName(name, store, made), made.mayBeLost] as const],
    ),
  );
  return new Map([...lossyCoreStores.map((name) => [name, {}] as const), ...ofModules]);
}

/**
 * Throws ModuleError if `storage.stores` names a store that no module has, running or not: a typing error would leave
 * its data on another driver. The same if it puts a store on Redis that must not be lost.
 */
export function demandStores(all: readonly ModuleDefinition[], { storage }: Config): void {
  const known = [
    ...coreStores,
    ...all.flatMap(({ name, stores = {} }) =>
      Object.entries(stores).flatMap(([store, made]) => (made.shape === 'blobs' ? [] : storedName(name, store, made))),
    ),
  ];
  const lossy = lossyStores(all);
  for (const [name, on] of Object.entries(storage.stores)) {
    if (on === 'redis' && known.includes(name) && !lossy.has(name))
      throw new ModuleError(
        `storage.stores.${name}: it must not be lost, and Redis may lose what it holds; only ${[...lossy.keys()].sort().join(', ')} may be on Redis`,
      );
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
      throw new ModuleError(`circular dependency of modules: ${[...path, name].join(' → ')}`);
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
    throw new TypeError('its start() must return an array of hooks');
  } catch (error) {
    if (error instanceof ModuleError) throw error;
    log.error({ err: error, module: definition.name }, 'could not start a module');
    const why = error instanceof Error ? error.message : String(error);
    throw new ModuleError(`could not start module ${definition.name}: ${why}`, { cause: error });
  }
}

export interface StartParts {
  readonly storage: Storage;
  readonly blobs: BlobStorage;
  readonly config: Config;
  readonly log: Logger;
}

/** Starts the modules of a host in order. Returns their hooks. Rejects with ModuleError. */
export async function startModules(
  host: LocalHost,
  definitions: readonly ModuleDefinition[],
  { storage, blobs, config, log }: StartParts,
): Promise<Hooks> {
  const portables: PortableStore[] = [];
  const started: { definition: ModuleDefinition; hooks: readonly Hook[] }[] = [];
  // Modules may query declarations while they start; features are known by then, hooks are not.
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
        declaration.shape === 'blobs'
          ? blobs.blobs(storedName(name, store, declaration))
          : open(storage, storedName(name, store, declaration), declaration.shape, declaration, settings),
      ]),
    );
    for (const [store, declaration] of Object.entries(stores)) {
      const { shape, isPortable, value = z.unknown(), key } = declaration;
      if (isPortable !== true || shape === 'blobs') continue;
      const accepts = checkOf(value, key);
      portables.push({ name: storedName(name, store, declaration), shape, store: opened[store], accepts });
    }
    const context = {
      host,
      config: settings,
      stores: opened,
      services: Object.fromEntries([...needs, ...wants].map((need) => [need, host.services[need]])),
      log: log.child({ module: name, host: host.domain }),
      provide(service: keyof Services, implementation: never) {
        if (!provides.includes(service))
          throw new ModuleError(`module ${name} provides ${service}, but does not declare it`);
        host.services[service] = implementation;
      },
    };
    const hooks = await startModule(definition, context, log);
    started.push({ definition, hooks });
    for (const service of provides)
      if (host.services[service] === undefined)
        throw new ModuleError(`module ${name} declares that it provides ${service}, but does not provide it`);
  }
  const hooks = new Hooks(host.domain, started);
  hooks.port('the server', portableRecords([...coreRecords(storage), ...portables]));
  for (const answerer of accountAnswers(host.accounts)) hooks.answer(answerer);
  return hooks;
}

/** The server's own stores about accounts. */
const coreRecords = (storage: Storage): PortableStore[] =>
  [['last_logins', lastLogin] as const, ['quotas', storedQuota] as const].map(([name, value]) => {
    const check = checkOf(value);
    return { name, shape: 'document', store: storage.document(name, { check }), accepts: check };
  });

function open(
  storage: Storage,
  name: string,
  shape: Shape,
  { text, option, value, key, damaged }: StoreDeclaration,
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
