/**
 * The hooks of a host's modules, sorted once when they start, so that a stanza finds what concerns it without searching.
 */
import type {
  Access,
  BindingHandler,
  Command,
  Declared,
  DiscoSource,
  Events,
  Gate,
  Hook,
  IqHandler,
  MessageHandler,
  ModuleDefinition,
  ModuleListener,
  ModuleMetric,
  PrefetchHandler,
  ServerMessageHandler,
  Service,
  SessionMoment,
  Target,
} from '../module/index.js';
import type { Stanza } from '../stanza/stanza.js';
import { type Step, steps } from './passage.js';

export interface IqEntry {
  readonly module: string;
  readonly access: Access;
  readonly absent: boolean;
  readonly handler: IqHandler;
}

export interface ServiceEntry {
  readonly module: string;
  readonly domain: string;
  readonly service: Service;
  readonly iq: ReadonlyMap<string, IqEntry>;
}

type OfKind<K extends Hook['kind']> = Extract<Hook, { kind: K }>;

/** The key of an IQ handler: what a request is looked up by. */
export const iqKey = (type: string, ns: string, name: string): string => `${type} ${name} ${ns}`;

/** Two modules want the same thing, or one wants what is not there. Stops the start. */
export class HookError extends Error {
  override readonly name = 'HookError';
}

export class Hooks implements Declared {
  readonly account = new Map<string, IqEntry>();
  readonly server = new Map<string, IqEntry>();
  /** What is answered for every service that does not answer it itself: hooks of modules without a service. */
  readonly anyService = new Map<string, IqEntry>();
  readonly stranger = new Map<string, OfKind<'strangerIq'>['handler']>();
  readonly admit: OfKind<'admit'>['handler'][] = [];
  presence: OfKind<'presence'>['handler'] | undefined;
  readonly adorn: OfKind<'adorn'>['handler'][] = [];
  readonly messages: Readonly<Record<Step, MessageHandler[]>>;
  /** What the handlers of the step `clean` leave alone; undefined: nothing. */
  readonly skips: readonly (((stanza: Stanza) => boolean) | undefined)[];
  readonly sessions: Readonly<Record<SessionMoment, OfKind<'session'>['handler'][]>> = {
    bound: [],
    resumed: [],
    gone: [],
  };
  readonly gates: Gate[] = [];
  readonly serverMessages: ServerMessageHandler[] = [];
  readonly events = new Map<keyof Events, OfKind<'event'>['handler'][]>();
  readonly timers: OfKind<'every'>[] = [];
  readonly metrics: ModuleMetric[] = [];
  readonly listeners: (() => readonly ModuleListener[])[] = [];
  readonly serverPresences: OfKind<'serverPresence'>['handler'][] = [];
  readonly streamFeatures: OfKind<'streamFeature'>[] = [];
  readonly inline: OfKind<'inline'>[] = [];
  readonly binding: BindingHandler[] = [];
  readonly prefetches: PrefetchHandler[] = [];
  readonly #services: ServiceEntry[] = [];
  readonly #sources: { module: string; target: Target; source: DiscoSource }[] = [];
  readonly #commands: { module: string; command: Command }[] = [];
  readonly #definitions: readonly ModuleDefinition[];

  constructor(domain: string, started: readonly { definition: ModuleDefinition; hooks: readonly Hook[] }[]) {
    this.#definitions = started.map(({ definition }) => definition);
    const byStep: Record<Step, { module: string; after: readonly string[]; handler: MessageHandler }[]> = {
      clean: [],
      archive: [],
      deliver: [],
      copy: [],
      absent: [],
    };
    const skips: (((stanza: Stanza) => boolean) | undefined)[] = [];
    let presenceBy: string | undefined;
    for (const { definition, hooks } of started) {
      const module = definition.name;
      const services = hooks.filter((hook) => hook.kind === 'service');
      if (services.length > 1) throw new HookError(`module ${module} declares more than one service`);
      const own = services.length === 0 ? this.anyService : new Map<string, IqEntry>();
      for (const hook of hooks) {
        switch (hook.kind) {
          case 'iq': {
            const table = hook.target === 'account' ? this.account : hook.target === 'server' ? this.server : own;
            const key = iqKey(hook.type, hook.ns, hook.name);
            const other = table.get(key);
            if (other !== undefined)
              throw new HookError(`modules ${other.module} and ${module} both answer ${hook.target} IQ ${key}`);
            table.set(key, { module, access: hook.access, absent: hook.absent, handler: hook.handler });
            break;
          }
          case 'strangerIq':
            this.stranger.set(iqKey(hook.type, hook.ns, hook.name), hook.handler);
            break;
          case 'admit':
            this.admit.push(hook.handler);
            break;
          case 'gate':
            this.gates.push(hook.handler);
            break;
          case 'message':
            byStep[hook.step].push({ module, after: hook.after, handler: hook.handler });
            if (hook.step === 'clean') skips.push(hook.skips);
            break;
          case 'presence':
            if (presenceBy !== undefined)
              throw new HookError(`modules ${presenceBy} and ${module} both handle presence`);
            presenceBy = module;
            this.presence = hook.handler;
            break;
          case 'serverMessage':
            this.serverMessages.push(hook.handler);
            break;
          case 'adorn':
            this.adorn.push(hook.handler);
            break;
          case 'session':
            this.sessions[hook.moment].push(hook.handler);
            break;
          case 'event': {
            const handlers = this.events.get(hook.name);
            if (handlers === undefined) this.events.set(hook.name, [hook.handler]);
            else handlers.push(hook.handler);
            break;
          }
          case 'every':
            this.timers.push(hook);
            break;
          case 'serverPresence':
            this.serverPresences.push(hook.handler);
            break;
          case 'listens':
            this.listeners.push(hook.bound);
            break;
          case 'metric':
            this.metrics.push(hook.metric);
            break;
          case 'disco':
            this.#sources.push({ module, target: hook.target, source: hook.source });
            break;
          case 'command':
            this.#commands.push({ module, command: hook.command });
            break;
          case 'streamFeature':
            this.streamFeatures.push(hook);
            break;
          case 'inline':
            this.inline.push(hook);
            break;
          case 'binding':
            this.binding.push(hook.handler);
            break;
          case 'prefetch':
            this.prefetches.push(hook.handler);
            break;
          case 'service':
            this.#services.push({
              module,
              domain: `${hook.service.subdomain}.${domain}`,
              service: hook.service,
              iq: own,
            });
            break;
        }
      }
    }
    this.skips = skips;
    this.messages = Object.fromEntries(steps.map((step) => [step, ordered(step, byStep[step])])) as Record<
      Step,
      MessageHandler[]
    >;
  }

  features(target: Target, module?: string): readonly string[] {
    const names = this.#definitions
      .filter(({ name }) => module === undefined || name === module)
      .flatMap(({ features }) => features?.[target] ?? []);
    return [...new Set(names)];
  }

  disco(target: Target, module?: string): readonly DiscoSource[] {
    return this.#sources
      .filter((entry) => entry.target === target && (module === undefined || entry.module === module))
      .map(({ source }) => source);
  }

  commands(module?: string): readonly Command[] {
    return this.#commands
      .filter((entry) => module === undefined || entry.module === module)
      .map(({ command }) => command);
  }

  services(): readonly ServiceEntry[] {
    return this.#services;
  }

  modules(): readonly ModuleDefinition[] {
    return this.#definitions;
  }
}

/** The handlers of one step: in the order of loading, but each behind those that it names in `after`. */
function ordered(
  step: Step,
  entries: readonly { module: string; after: readonly string[]; handler: MessageHandler }[],
): MessageHandler[] {
  const sorted: MessageHandler[] = [];
  let rest = [...entries];
  while (rest.length > 0) {
    const waiting = new Set(rest.map(({ module }) => module));
    const ready = rest.filter(({ module, after }) => after.every((name) => name === module || !waiting.has(name)));
    if (ready.length === 0)
      throw new HookError(`modules ${[...waiting].join(', ')} each want to come after the other in step ${step}`);
    const next = ready[0]!;
    sorted.push(next.handler);
    rest = rest.filter((entry) => entry !== next);
  }
  return sorted;
}
