/** §7.2: features of delegated namespaces, which the managing entity describes and the server answers. */
import { Jid } from '../../server/address/jid.js';
import type { Host, Identity } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el, parse, serialize } from '../../server/xml/element.js';
import type { Delegation } from './table.js';

/** The managing entity's answer about one namespace. */
interface Description {
  readonly identities: readonly Identity[];
  readonly features: readonly string[];
  /** As text: an element can be in one answer only. */
  readonly forms: readonly string[];
}

export interface NestingParts {
  readonly host: Host;
  readonly timeoutMs: number;
  /** A description has changed. */
  changed(): void;
}

/** Where the description is shown: at the host, or at its accounts. */
export type Place = 'server' | 'account';
const separators = { server: '::', account: ':bare:' } as const;

export class Nesting {
  readonly #parts: NestingParts;
  /** By component, and by node. Empty until the component has answered. */
  readonly #known = new Map<string, Map<string, Description>>();

  constructor(parts: NestingParts) {
    this.#parts = parts;
  }

  /** Asks a component, which has connected, for its descriptions. Earlier ones are invalid. Never rejects. */
  async ask(component: string, delegations: readonly Delegation[]): Promise<void> {
    const descriptions = new Map<string, Description>();
    this.forget(component);
    this.#known.set(component, descriptions);
    const nodes = delegations.flatMap(({ ns }) => [nodeOf('server', ns), nodeOf('account', ns)]);
    await Promise.all(
      nodes.map(async (node) => {
        const description = await this.#describe(component, node);
        if (description !== undefined) descriptions.set(node, description);
      }),
    );
    if (this.#known.get(component) === descriptions) this.#parts.changed();
  }

  /** The component is not connected any longer, so it offers nothing. */
  forget(component: string): void {
    if (this.#known.delete(component)) this.#parts.changed();
  }

  /** The descriptions for one place, of these delegations. */
  all(place: Place, delegations: readonly Delegation[]): readonly Description[] {
    return delegations.flatMap(({ component, ns }) => this.#known.get(component)?.get(nodeOf(place, ns)) ?? []);
  }

  /** Returns undefined if the component does not describe the namespace. */
  async #describe(component: string, node: string): Promise<Description | undefined> {
    const { host, timeoutMs } = this.#parts;
    const header = { type: 'get', from: host.jid, to: Jid.parse(component) };
    try {
      const answer = await host.ask(Stanza.build('iq', header, el('query', { xmlns: NS.discoInfo, node })), {
        timeoutMs,
      });
      return descriptionOf(answer.child(NS.discoInfo, 'query'));
    } catch (error) {
      if (error instanceof StanzaError) return undefined;
      throw error;
    }
  }
}

const nodeOf = (place: Place, ns: string): string => `${NS.delegation}${separators[place]}${ns}`;

function descriptionOf(query: Element | undefined): Description {
  const children = query?.getChildElements() ?? [];
  return {
    identities: children
      .filter((child) => child.is('identity', NS.discoInfo))
      .map(({ attrs: { category = '', type = '', name, 'xml:lang': lang } }) => ({ category, type, name, lang }))
      .filter(({ category, type }) => category !== '' && type !== ''),
    features: children
      .filter((child) => child.is('feature', NS.discoInfo))
      .map(({ attrs }) => attrs.var ?? '')
      .filter((name) => name !== ''),
    forms: children.filter((child) => child.is('x', NS.dataForms)).map((form) => serialize(form)),
  };
}

export const formsOf = ({ forms }: Description): readonly Element[] => forms.map((text) => parse(text));
