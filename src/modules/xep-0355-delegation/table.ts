/** The configured delegations of one host. */
import type { Host } from '../../server/module/index.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el } from '../../server/xml/element.js';

type Config = Host['config'];

export interface Delegation {
  readonly ns: string;
  /** The domain of the managing entity. */
  readonly component: string;
  /** §4.1: attributes that the payload must have. */
  readonly attributes: readonly string[];
}

/** §7.2.4, §7.2.5: service discovery at accounts, as far as the server does not answer it. */
export const remainingInfo = `${NS.delegation}:bare:disco#info:*`;
export const remainingItems = `${NS.delegation}:bare:disco#items:*`;

export class Delegations {
  readonly #host: Pick<Host, 'domain' | 'config'>;
  /** The configuration that `#byNamespace` was made from. */
  #of: Config['components'] | undefined;
  #byNamespace: ReadonlyMap<string, Delegation> = new Map();

  constructor(host: Pick<Host, 'domain' | 'config'>) {
    this.#host = host;
  }

  get all(): ReadonlyMap<string, Delegation> {
    const { components } = this.#host.config;
    if (components !== this.#of) {
      this.#of = components;
      this.#byNamespace = new Map(
        Object.entries(components).flatMap(([component, { delegations }]) =>
          Object.entries(delegations[this.#host.domain] ?? {}).map(([ns, attributes]) => [
            ns,
            { ns, component, attributes },
          ]),
        ),
      );
    }
    return this.#byNamespace;
  }

  /** Namespaces that are described by the managing entity in the service discovery of the host. */
  get described(): readonly Delegation[] {
    return [...this.all.values()].filter(({ ns }) => ns !== remainingInfo && ns !== remainingItems);
  }

  /** Those of one component, in the order of the configuration. */
  of(component: string): readonly Delegation[] {
    return [...this.all.values()].filter((one) => one.component === component);
  }

  /** The delegation of a request by its payload. */
  for(stanza: Stanza): Delegation | undefined {
    const { all } = this;
    if (all.size === 0) return undefined;
    const [payload] = stanza.childNames();
    const found = payload === undefined ? undefined : all.get(payload.ns);
    if (found === undefined || found.attributes.length === 0) return found;
    const { attrs } = stanza.child(payload!.ns, payload!.name)!;
    return found.attributes.every((name) => attrs[name] !== undefined) ? found : undefined;
  }
}

/** §4.2. */
export const announcement = (delegations: readonly Delegation[]): Element =>
  el(
    'delegation',
    { xmlns: NS.delegation },
    ...delegations.map(({ ns, attributes }) =>
      el('delegated', { namespace: ns }, ...attributes.map((name) => el('attribute', { name }))),
    ),
  );
