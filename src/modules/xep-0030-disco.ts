/**
 * XEP-0030: Service Discovery, with the forms of XEP-0128: identities, features and items of the server, its accounts
 * and its services, as modules declare them and their disco sources add them. Long lists are paged (XEP-0059), also for
 * clients that request no page. Also asks other servers, for modules that use what those announce.
 */
import type { Logger } from 'pino';
import { Jid } from '../server/address/jid.js';
import { monotonic } from '../server/clock.js';
import {
  type DiscoItem,
  type DiscoQuery,
  type DiscoSource,
  defineModule,
  type Host,
  type Identity,
  type IqRequest,
  iq,
  type Maybe,
  type ModuleDefinition,
  type ServerInfo,
  type Target,
} from '../server/module/index.js';
import { StanzaError } from '../server/stanza/errors.js';
import { NS } from '../server/stanza/ns.js';
import { pageOf } from '../server/stanza/rsm.js';
import { Stanza } from '../server/stanza/stanza.js';
import { type Element, el } from '../server/xml/element.js';
import { Recent } from '../storage/recent.js';

declare module '../server/module/index.js' {
  interface Services {
    disco: {
      /** The server's public disco#info. Synchronous unless a source is asynchronous. */
      server(): Maybe<ServerInfo>;
      /**
       * What other servers announce, of these features. `limit`: for the metric that counts how often too many servers
       * were being asked.
       */
      announced(features: readonly string[], limit: string): Announced;
    };
  }

  interface Events {
    /** What the server or its accounts answer has changed while it runs. */
    discoChanged: Record<string, never>;
  }
}

/** Features of other servers. */
export interface Announced {
  /** Whether a server announces a feature. False until it has been asked, which this starts. */
  has(domain: string, feature: string): boolean;
  /** For an hour, as if the server had announced nothing. */
  none(domain: string): void;
}

const both = [NS.discoInfo, NS.discoItems];

interface OwnedSource {
  readonly module: string;
  readonly source: DiscoSource;
}

interface Remaining {
  readonly features: readonly string[];
  readonly sources: readonly DiscoSource[];
}

/** Maximum items in one answer, unless a source has a lower limit. */
const largestPage = 500;

export default defineModule({
  name: 'disco',
  summary: 'Answers service discovery for the server, its accounts and its services.',
  implements: { 'XEP-0030': '2.5.0', 'XEP-0128': '1.0.1' },
  features: { server: [...both, NS.rsm], account: both, service: both },
  provides: ['disco'],

  start: ({ host, provide, log }) => {
    const features = new Map<string, readonly string[]>();

    const serviceOf = (domain: string): string | undefined =>
      host.declared.services().find((service) => service.domain === domain)?.module;

    /** Modules that contribute: for a service its own module, and modules without a service, which apply to all. */
    const modulesFor = (target: Target, domain: string): readonly ModuleDefinition[] => {
      if (target !== 'service') return host.declared.modules();
      const owners = new Set(host.declared.services().map(({ module }) => module));
      const own = serviceOf(domain);
      return host.declared.modules().filter(({ name }) => name === own || !owners.has(name));
    };

    /** The declared features, collected once. */
    const featuresOf = (target: Target, domain: string): readonly string[] => {
      const key = target === 'service' ? `service ${domain}` : target;
      let names = features.get(key);
      if (names === undefined) {
        names = modulesFor(target, domain).flatMap((module) => module.features?.[target] ?? []);
        features.set(key, names);
      }
      return names;
    };

    /** The sources for the requested node that the requester may see. */
    const sources = async (target: Target, query: DiscoQuery): Promise<OwnedSource[]> => {
      const found: OwnedSource[] = [];
      for (const { name } of modulesFor(target, query.to.domain)) {
        for (const source of host.declared.disco(target, name)) {
          if (!answersFor(source, query.node)) continue;
          if (await host.permits(source.access ?? 'anyone', query.from, query.to)) found.push({ module: name, source });
        }
      }
      return found;
    };

    /** What remains of the declared features and the sources if some of these replace modules. */
    const remaining = (target: Target, query: DiscoQuery, all: readonly OwnedSource[]): Remaining => {
      const replaced = all.flatMap(({ source }) => source.replaces?.(query) ?? []);
      const features = query.node === undefined ? featuresOf(target, query.to.domain) : [];
      if (replaced.length === 0) return { features, sources: all.map(({ source }) => source) };
      const modules = new Set(replaced.flatMap((ns) => host.declared.answering(ns)));
      const isLeftOut = (name: string) => replaced.some((ns) => name === ns || name.startsWith(`${ns}#`));
      return {
        features: modulesFor(target, query.to.domain)
          .filter(({ name }) => !modules.has(name))
          .flatMap((module) => module.features?.[target] ?? [])
          .filter((name) => !isLeftOut(name)),
        sources: all.filter(({ module }) => !modules.has(module)).map(({ source }) => source),
      };
    };

    const identityOf = (target: Target, query: DiscoQuery): readonly Identity[] => {
      if (target === 'server') return [{ category: 'server', type: 'im', name: host.software.name }];
      if (target === 'service') return [];
      return [{ category: 'account', type: host.isAnonymous(query.to.bare) ? 'anonymous' : 'registered' }];
    };

    const info = (target: Target) => async (request: IqRequest) => {
      const query = queryOf(request);
      const answering = await sources(target, query);
      if (query.node !== undefined && answering.length === 0) throw new StanzaError('item-not-found');
      const own = query.node === undefined ? identityOf(target, query) : [];
      const { identities, features: names, forms } = await describe(query, own, remaining(target, query, answering));
      return el(
        'query',
        { xmlns: NS.discoInfo, node: request.payload.attrs.node },
        ...identities.map(({ category, type, name, lang }) =>
          el('identity', { category, type, name, 'xml:lang': lang }),
        ),
        ...names.map((name) => el('feature', { var: name })),
        ...forms,
      );
    };

    const items = (target: Target) => async (request: IqRequest) => {
      const query = queryOf(request);
      const answer = (...children: Element[]) =>
        el('query', { xmlns: NS.discoItems, node: request.payload.attrs.node }, ...children);
      if (target !== 'account') return answer(...(await pageFor(target, query)));
      // §8: the answer must not reveal whether an account exists whose presence the requester may not see.
      if (request.isAbsent) return answer();
      if (await host.permits('contacts', query.from, query.to)) return answer(...(await pageFor(target, query)));
      return answer(...(await pageFor(target, query, true).catch(nothing)));
    };

    /** `isHidden`: do not list the account's resources. */
    const pageFor = async (target: Target, query: DiscoQuery, isHidden = false): Promise<readonly Element[]> => {
      const answering = await sources(target, query);
      if (query.node !== undefined && answering.length === 0) throw new StanzaError('item-not-found');
      const own = query.node !== undefined || isHidden ? [] : itemsOf(target, query);
      const further = await Promise.all(answering.map(({ source }) => source.items?.(query) ?? []));
      const all = [...own, ...further.flat()];
      if (isHidden && all.length === 0) return [];
      const cap = Math.min(largestPage, ...answering.map(({ source: { page = largestPage } }) => page));
      // Items that are nodes of this address are identified by node or name, others by node or address.
      const idOf = ({ jid, node, name }: DiscoItem) => node ?? (jid === query.to.full ? (name ?? jid) : jid);
      const sizeOf = ({ jid, node, name }: DiscoItem) => jid.length + (node?.length ?? 0) + (name?.length ?? 0);
      const { shown, set, isWhole } = pageOf(all, idOf, query.payload, { default: cap, cap }, sizeOf);
      const elements = shown.map(({ jid, node, name }) => el('item', { jid, node, name }));
      return isWhole ? elements : [...elements, set];
    };

    /** External components (XEP-0114): at the host that they are below; those that are below none at every host. */
    const components = (): DiscoItem[] => {
      const { components, hosts } = host.config;
      const isBelow = (domain: string, above: string) => domain.endsWith(`.${above}`);
      return Object.entries(components)
        .filter(([domain, { listed }]) => {
          const above = Object.keys(hosts).filter((name) => isBelow(domain, name));
          return listed && (above.length === 0 || above.includes(host.domain));
        })
        .map(([domain, { name }]) => ({ jid: domain, name: name === '' ? undefined : name }));
    };

    const itemsOf = (target: Target, query: DiscoQuery): DiscoItem[] => {
      if (target === 'server')
        return [...host.declared.services().map(({ domain }) => ({ jid: domain })), ...components()];
      if (target === 'service') return [];
      const owner = query.to;
      return host
        .sessions(owner.bare)
        .filter(({ available }) => available)
        .map(({ jid }) => ({ jid: jid.full }));
    };

    provide('disco', {
      announced: (features, limit) => new AnnouncedFeatures({ host, log, features, limit }),
      server: () => {
        const query: DiscoQuery = { from: host.jid, to: host.jid, node: undefined, session: undefined };
        const open = host.declared
          .modules()
          .flatMap(({ name }) => host.declared.disco('server', name).map((source) => ({ module: name, source })))
          .filter(({ source: { node, access = 'anyone' } }) => node === undefined && access === 'anyone');
        return describe(query, identityOf('server', query), remaining('server', query, open));
      },
    });

    return [
      iq.get('server', NS.discoInfo, 'query', info('server')),
      iq.get('server', NS.discoItems, 'query', items('server')),
      iq.get('service', NS.discoInfo, 'query', info('service')),
      iq.get('service', NS.discoItems, 'query', items('service')),
      // §8: service-unavailable, as for an account that does not exist
      iq.get('account', NS.discoInfo, 'query', info('account'), { access: 'contacts' }),
      iq.get('account', NS.discoItems, 'query', items('account'), { access: 'anyone', absent: true }),
    ];
  },
});

/** Turns a refused query into an empty list. */
function nothing(error: unknown): [] {
  if (error instanceof StanzaError) return [];
  throw error;
}

/** An empty node counts as none. */
const queryOf = ({ from, to, payload, session }: IqRequest): DiscoQuery => ({
  from,
  to,
  node: payload.attrs.node || undefined,
  session,
  payload,
});

const answersFor = (source: DiscoSource, node: string | undefined): boolean =>
  typeof source.node === 'function' ? node !== undefined && source.node(node) : source.node === node;

/** Combines the answers of the sources. */
function describe(
  query: DiscoQuery,
  ownIdentities: readonly Identity[],
  { features: ownFeatures, sources }: Remaining,
): Maybe<ServerInfo> {
  const identities = gather([ownIdentities, ...sources.map((source) => source.identities?.(query) ?? [])]);
  const features = gather([ownFeatures, ...sources.map((source) => source.features?.(query) ?? [])]);
  const forms = gather(sources.map((source) => source.forms?.(query) ?? []));
  if (identities instanceof Promise || features instanceof Promise || forms instanceof Promise) {
    return Promise.all([identities, features, forms]).then(([i, f, x]) => ({
      identities: i,
      features: [...new Set(f)],
      forms: x,
    }));
  }
  return { identities, features: [...new Set(features)], forms };
}

/** Concatenates the lists. Synchronous unless one of them is a promise. */
function gather<T>(lists: readonly Maybe<readonly T[]>[]): Maybe<T[]> {
  const here: T[] = [];
  for (const list of lists) {
    if (list instanceof Promise) return Promise.all(lists).then((all) => all.flat());
    here.push(...list);
  }
  return here;
}

/** Servers whose features are cached, for how long, and for how long if there was no answer, in ms. */
const rememberedServers = 10_000;
const dayMs = 86_400_000;
const hourMs = 3_600_000;
/** Servers that are being asked. */
const mostAsked = 20;

interface AnnouncedParts {
  readonly host: Host;
  readonly log: Logger;
  /** The features that matter. */
  readonly features: readonly string[];
  /** For the metric that counts how often too many servers were being asked. */
  readonly limit: string;
}

interface Known {
  readonly names: ReadonlySet<string>;
  /** In ms of the monotonic clock. */
  readonly until: number;
}

/** What other servers announce: asked in the background when needed, and cached. */
class AnnouncedFeatures implements Announced {
  readonly #parts: AnnouncedParts;
  readonly #known = new Recent<Known>(rememberedServers);
  #asking = 0;

  constructor(parts: AnnouncedParts) {
    this.#parts = parts;
  }

  has(domain: string, feature: string): boolean {
    const known = this.#known.get(domain);
    if (known !== undefined && monotonic() < known.until) return known.names.has(feature);
    const { host, limit, log } = this.#parts;
    if (this.#asking >= mostAsked) {
      host.limitHit(limit);
      return false;
    }
    this.#asking++;
    this.none(domain);
    this.#ask(domain)
      .then(
        (names) => this.#known.set(domain, { names, until: monotonic() + dayMs }),
        (error: unknown) => {
          if (!(error instanceof StanzaError)) throw error;
        },
      )
      .finally(() => this.#asking--)
      .catch((error: unknown) => log.error({ err: error, domain }, 'could not ask a server for its features'));
    return false;
  }

  none(domain: string): void {
    this.#known.set(domain, { names: new Set(), until: monotonic() + hourMs });
  }

  /** Rejects with StanzaError. */
  async #ask(domain: string): Promise<ReadonlySet<string>> {
    const { host, features } = this.#parts;
    const query = el('query', { xmlns: NS.discoInfo });
    const answer = await host.ask(Stanza.build('iq', { type: 'get', from: host.jid, to: Jid.parse(domain) }, query));
    const found = answer.child(NS.discoInfo, 'query')?.getChildren('feature', NS.discoInfo) ?? [];
    return new Set(found.map(({ attrs }) => attrs.var ?? '').filter((name) => features.includes(name)));
  }
}
