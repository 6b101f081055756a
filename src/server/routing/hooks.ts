/** The hooks of a host's modules, sorted once at start, so that no stanza has to search for its handlers. */

import type { Jid } from '../address/jid.js';
import type { Maybe } from '../maybe.js';
import type {
  Access,
  BindingHandler,
  Command,
  Declared,
  Derivation,
  DiscoSource,
  DivertHandler,
  Events,
  Gate,
  Hook,
  HttpAnswer,
  HttpCors,
  HttpMethod,
  HttpRequest,
  IqHandler,
  Memory,
  MessageHandler,
  ModuleDefinition,
  ModuleListener,
  ModuleMetric,
  Order,
  Portable,
  PrefetchHandler,
  Question,
  QuestionHandler,
  ServerGate,
  ServerMessageHandler,
  Service,
  SessionMoment,
  Target,
} from '../module/index.js';
import type { Stanza } from '../stanza/stanza.js';
import { type Origin, type Step, steps } from './passage.js';
import { ownStates } from './session.js';
import { declareState, type SessionState } from './session-state.js';

export interface IqEntry {
  readonly module: string;
  readonly access: Access;
  readonly absent: boolean;
  readonly asksOthers: boolean;
  readonly handler: IqHandler;
}

/** What is known of a request before its body is read. */
export interface BodyHead {
  /** IP address of the client. */
  readonly address: string;
  /** The announced length of the body, in bytes; undefined if there is none. */
  readonly length: number | undefined;
}

/** Collects the body of one request, and decides how much of it is read. Its handler gets it. */
export interface BodyGate {
  /** Returns whether more is to be read. If not, the handler is called at once. */
  takes(chunk: Buffer): boolean;
  /** The body cannot be read to its end, and the handler is not called. */
  release(): void;
}

/** The handler of an HTTP path. */
export interface HttpRoute {
  readonly module: string;
  readonly handler: (request: HttpRequest, body?: BodyGate) => Maybe<HttpAnswer>;
  /** Largest request body, in bytes, or 'stream', or what collects it. */
  readonly body: number | 'stream' | ((request: BodyHead) => BodyGate);
  readonly below: boolean;
  readonly cors: HttpCors | undefined;
  /** It is also served while the server stops, until all streams are closed. */
  readonly isServedAtLast?: true;
}

/** Largest body of an HTTP request unless the hook sets a limit, in bytes. */
const usualBody = 65_536;

export interface Answerer {
  readonly question: Question<never, unknown>;
  readonly handler: QuestionHandler<never, unknown>;
}

/** Returns what answers a question. */
export const answererOf = <Given, Answer>(
  question: Question<Given, Answer>,
  handler: QuestionHandler<Given, Answer>,
): Answerer => ({ question: question as never, handler: handler as never });

export interface ServiceEntry {
  readonly module: string;
  readonly domain: string;
  readonly service: Service;
  readonly iq: ReadonlyMap<string, IqEntry>;
}

type OfKind<K extends Hook['kind']> = Extract<Hook, { kind: K }>;

/** Hooks with an order. */
type Ordered = Extract<Hook, { readonly order: Order }>;
type OrderedByKind = { readonly [H in Ordered as H['kind']]: H };

interface Entry {
  readonly module: string;
  readonly hook: Ordered;
}

/** The lookup key of an IQ handler. */
export const iqKey = (type: string, ns: string, name: string): string => `${type} ${name} ${ns}`;

/** Modules conflict, or one needs something that is missing. Stops the start. */
export class HookError extends Error {
  override readonly name = 'HookError';
}

export class Hooks implements Declared {
  readonly account = new Map<string, IqEntry>();
  readonly server = new Map<string, IqEntry>();
  /** Answered for every service that does not answer it itself: IQ hooks of modules without a service. */
  readonly anyService = new Map<string, IqEntry>();
  readonly beforeLogin = new Map<string, OfKind<'unauthenticatedIq'>['handler']>();
  readonly #diverts: readonly DivertHandler[];
  readonly admit: readonly OfKind<'admit'>['handler'][];
  presence: OfKind<'presence'>['handler'] | undefined;
  readonly adorn: readonly OfKind<'adorn'>['handler'][];
  readonly messages: Readonly<Record<Step, readonly MessageHandler[]>>;
  /** Which stanzas each handler of the step `clean` skips, if any. */
  readonly skips: readonly (((stanza: Stanza) => boolean) | undefined)[];
  readonly sessions: Readonly<Record<SessionMoment, readonly OfKind<'session'>['handler'][]>>;
  readonly gates: Gate[] = [];
  readonly serverGates: ServerGate[] = [];
  readonly serverMessages: readonly ServerMessageHandler[];
  readonly events: ReadonlyMap<keyof Events, readonly OfKind<'event'>['handler'][]>;
  readonly timers: OfKind<'every'>[] = [];
  readonly memories = new Map<string, Memory<unknown>>();
  readonly metrics: ModuleMetric[] = [];
  readonly listeners: (() => readonly ModuleListener[])[] = [];
  readonly serverPresences: OfKind<'serverPresence'>['handler'][] = [];
  readonly streamFeatures: OfKind<'streamFeature'>[] = [];
  readonly inline: OfKind<'inline'>[] = [];
  readonly binding: BindingHandler[] = [];
  readonly prefetches: PrefetchHandler[] = [];
  readonly questions = new Map<string, Answerer>();
  /** What modules export of accounts, by module. */
  readonly portables = new Map<string, Portable>();
  readonly #claims = new Map<string, string>();
  /** The states of this host's sessions. */
  readonly sessionStates: readonly SessionState[];
  readonly derived = new Map<SessionState, Derivation<unknown>>();
  /** By path and method. */
  readonly http = new Map<string, Map<HttpMethod, HttpRoute>>();
  readonly #services: ServiceEntry[] = [];
  readonly #sources: { module: string; target: Target; source: DiscoSource }[] = [];
  readonly #commands: { module: string; command: Command }[] = [];
  readonly #definitions: readonly ModuleDefinition[];

  constructor(domain: string, started: readonly { definition: ModuleDefinition; hooks: readonly Hook[] }[]) {
    this.#definitions = started.map(({ definition }) => definition);
    this.sessionStates = [...ownStates, ...this.#definitions.flatMap(({ sessionStates = [] }) => sessionStates)];
    for (const state of this.sessionStates) declareState(state);
    const ordered: Entry[] = [];
    const claim = (module: string, what: string) => this.#claim(module, what);
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
            const { access, absent, asksOthers, handler } = hook;
            table.set(key, { module, access, absent, asksOthers, handler });
            break;
          }
          case 'unauthenticatedIq': {
            const key = iqKey(hook.type, hook.ns, hook.name);
            claim(module, `IQ ${key} of an unauthenticated stream`);
            this.beforeLogin.set(key, hook.handler);
            break;
          }
          case 'divert':
          case 'admit':
          case 'adorn':
          case 'serverMessage':
          case 'session':
          case 'event':
            ordered.push({ module, hook });
            break;
          case 'gate':
            this.gates.push(hook.handler);
            break;
          case 'serverGate':
            this.serverGates.push(hook.handler);
            break;
          case 'message':
            ordered.push({ module, hook });
            if (hook.step === 'clean') skips.push(hook.skips);
            break;
          case 'presence':
            if (presenceBy !== undefined)
              throw new HookError(`modules ${presenceBy} and ${module} both handle presence`);
            presenceBy = module;
            this.presence = hook.handler;
            break;
          case 'every':
            this.timers.push(hook);
            break;
          case 'serverPresence':
            this.serverPresences.push(hook.handler);
            break;
          case 'listens':
            this.listeners.push(hook.bound);
            break;
          case 'moves':
            claim(module, `the memory ${hook.memory.name}`);
            this.memories.set(hook.memory.name, hook.memory);
            break;
          case 'metric':
            this.metrics.push(hook.metric);
            break;
          case 'disco':
            this.#sources.push({ module, target: hook.target, source: hook.source });
            break;
          case 'command': {
            const { node, target } = hook.command;
            const other = this.#commands.find(
              ({ module: by, command }) =>
                command.node === node && command.target === target && (target !== 'service' || by === module),
            );
            if (other !== undefined)
              throw new HookError(`modules ${other.module} and ${module} both have a ${target} command ${node}`);
            this.#commands.push({ module, command: hook.command });
            break;
          }
          case 'streamFeature':
            this.streamFeatures.push(hook);
            break;
          case 'inline':
            claim(module, `<${hook.name} xmlns="${hook.ns}"/> while a client binds`);
            this.inline.push(hook);
            break;
          case 'binding':
            this.binding.push(hook.handler);
            break;
          case 'derive':
            if (definition.sessionStates?.includes(hook.state) !== true || this.derived.has(hook.state))
              throw new HookError(
                `module ${module} must derive ${hook.state.name} once and declare it in sessionStates`,
              );
            this.derived.set(hook.state, hook.handler);
            break;
          case 'prefetch':
            this.prefetches.push(hook.handler);
            break;
          case 'http': {
            const { method, path, handler, options } = hook;
            if (!/^(\/|(\/[^/?#\s]+)+)$/.test(path))
              throw new HookError(
                `module ${module}: ${JSON.stringify(path)} is not a valid path: it must start with / and not end in /`,
              );
            const { body = usualBody, below = false, cors } = options;
            this.serve(method, path, { module, handler, body, below, cors });
            break;
          }
          case 'question': {
            this.answer(hook);
            break;
          }
          case 'portable':
            this.port(module, hook.portable);
            break;
          case 'service':
            this.#services.push({
              module,
              domain: `${hook.service.subdomain}.${domain}`,
              service: hook.service,
              iq: own,
            });
            break;
          default:
            throw new HookError(`module ${module}: unknown kind of hook: ${JSON.stringify((hook as Hook).kind)}`);
        }
      }
    }
    this.skips = skips;
    const take = <K extends Ordered['kind']>(
      kind: K,
      what: string,
      isMeant: (hook: OrderedByKind[K]) => boolean = () => true,
    ): OrderedByKind[K]['handler'][] => {
      const entries = ordered.filter(({ hook }) => hook.kind === kind && isMeant(hook as OrderedByKind[K]));
      return inOrder(what, entries).map(({ handler }) => handler);
    };
    this.admit = take('admit', 'admission');
    this.#diverts = take('divert', 'diverting requests');
    this.adorn = take('adorn', 'adorning presence');
    this.serverMessages = take('serverMessage', 'messages to the server');
    this.messages = recordOf(steps, (step) => take('message', `step ${step}`, (hook) => hook.step === step));
    this.sessions = recordOf(['bound', 'hibernated', 'resumed', 'gone'], (moment) =>
      take('session', `sessions that are ${moment}`, (hook) => hook.moment === moment),
    );
    const events = new Set(ordered.flatMap(({ hook }) => (hook.kind === 'event' ? [hook.name] : [])));
    this.events = new Map(
      [...events].map((name) => [name, take('event', `event ${name}`, (hook) => hook.name === name)]),
    );
  }

  /** The first diversion of a request to the host or an account. */
  diversion(stanza: Stanza, to: Jid, origin: Origin): IqEntry | undefined {
    for (const handler of this.#diverts) {
      const diversion = handler(stanza, to, origin);
      if (diversion !== undefined) return { module: '', absent: false, ...diversion };
    }
    return undefined;
  }

  /** Modules that answer requests of a namespace to the host or its accounts. */
  answering(ns: string): readonly string[] {
    const found = [...this.account, ...this.server].filter(([key]) => key.endsWith(` ${ns}`));
    return [...new Set(found.map(([, { module }]) => module))];
  }

  #claim(module: string, what: string): void {
    const other = this.#claims.get(what);
    if (other !== undefined) throw new HookError(`modules ${other} and ${module} both answer ${what}`);
    this.#claims.set(what, module);
  }

  /** Adds what exports and imports a part of accounts. Throws HookError if something else takes one of its elements. */
  port(module: string, portable: Portable): void {
    if (this.portables.has(module)) throw new HookError(`module ${module} has more than one hook of kind portable`);
    for (const { ns, name } of portable.takes) this.#claim(module, `<${name} xmlns="${ns}"/> of exported accounts`);
    this.portables.set(module, portable);
  }

  /** Adds a handler of an HTTP path. Throws HookError if it has one. */
  serve(method: HttpMethod, path: string, route: HttpRoute): void {
    let byMethod = this.http.get(path);
    if (byMethod === undefined) this.http.set(path, (byMethod = new Map()));
    const other = byMethod.get(method);
    if (other !== undefined)
      throw new HookError(`modules ${other.module} and ${route.module} both answer ${method} ${path}`);
    byMethod.set(method, route);
  }

  /** Adds what answers a question. Throws HookError where something does already. */
  answer({ question, handler }: Answerer): void {
    if (this.questions.has(question.name)) throw new HookError(`question ${question.name} is answered twice`);
    this.questions.set(question.name, { question, handler });
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

const recordOf = <K extends string, V>(keys: readonly K[], of: (key: K) => V): Record<K, V> =>
  Object.fromEntries(keys.map((key) => [key, of(key)])) as Record<K, V>;

/** Whether a hook must run after another. */
function isAfter({ module, hook }: Entry, other: Entry): boolean {
  const { after = [] } = hook.order;
  const { before = [] } = other.hook.order;
  return (
    (after === 'all' ? other.hook.order.after !== 'all' : after.includes(other.module)) ||
    (before === 'all' ? hook.order.before !== 'all' : before.includes(module))
  );
}

/** Orders hooks of one kind by their constraints; otherwise modules and their hooks run as started. */
function inOrder(what: string, entries: readonly Entry[]): Ordered[] {
  const sorted: Ordered[] = [];
  let rest = [...entries];
  while (rest.length > 0) {
    const next = rest.find((entry, n) =>
      rest.every((other, m) => (other.module === entry.module ? m >= n : !isAfter(entry, other))),
    );
    if (next === undefined) {
      const modules = [...new Set(rest.map(({ module }) => module))].join(', ');
      throw new HookError(`modules ${modules} have circular order constraints in ${what}`);
    }
    sorted.push(next.hook);
    rest = rest.filter((entry) => entry !== next);
  }
  return sorted;
}
